/*
 * listeners.h - who hears of a node's life in the tests of notifiers, and what it heard.
 *
 * Every listener writes what it hears on one tape, by the letters of its name and of the event:
 * "a:going-offline" and the like, so that a test compares whole stories.
 */
#ifndef TESTS_LISTENERS_H
#define TESTS_LISTENERS_H

#include "unit.h"

#include "callback.h"

#include "notifier.h"

#include <semaphore.h>

#define NODE	(FIRST + 1) /* the one that leaves */
#define NOTHING (-1)

struct listener {
	const char *name;
	int refuse; /* the action that it vetoes */
	bool is_node;
	int id;
	void (*inside)(struct listener *listener, const char *event, int os_node);
	_Atomic unsigned int heard;
};

/* One of the memory chain, "m", and one of the nodes', "n". */
extern struct listener mem, node;

slabnode_memory_fn on_memory;
slabnode_node_fn on_node;
void join_in(struct listener *l, int priority);

/* The tape must say just this; then it is empty. */
#define TAPE(want) check_tape(__FILE__, __LINE__, want)
void check_tape(const char *file, int line, const char *want);
extern char tape[4096]; /* callbacks come one at a time */

/* --- a callback that takes its time ---------------------------------------------------------- */

extern sem_t go_on;
extern const char *stall_at; /* the event */

/* At this event the listener stays until `go_on` is posted. */
void prepare_stall(struct listener *l, const char *event);

/* Of NODE, in a thread of its own. */
struct call {
	enum sn_policy policy;
	int64_t timeout_ms;
	int error;
	struct sn_lifecycle_result result;
	_Atomic bool over;
};
void *offline_thread(void *call);
void *online_thread(void *call);
/* Starts one of these, and returns when it stands in the listener. */
pthread_t stalled_thread(void *(*change)(void *call), struct call *call);

#endif
