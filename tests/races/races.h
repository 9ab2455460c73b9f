/*
 * races.h - the frame of the races that have a number, T1 to T32 (docs/lifecycle.md).
 *
 * Each row provokes its race against the library, under a simulated topology, and looks at the
 * contents of all objects and at the states of all nodes afterwards.  Nodes change by the public
 * interface, from threads of the program itself, so that the row has a hand on both sides of the
 * race.  What cannot be hit by luck is held open: `delay:STEP` of the simulator stops a change at
 * a step of it, and until_delayed() returns when it really stands there.
 */
#ifndef TESTS_RACES_H
#define TESTS_RACES_H

#include "../../include/slabnode.h"
#include "../lifecycle/lifecycle.h"

#include <stdatomic.h>

/* The public interface, found with dlsym(). */
struct library {
	int (*offline)(int, enum slabnode_policy, long, char *, size_t);
	int (*online)(int, int, char *, size_t);
	int (*cancel)(int), (*cordon)(int), (*uncordon)(int);
	int (*register_memory)(const char *, int, slabnode_memory_fn *, void *);
	int (*unregister)(int);
	struct slabnode_cache *(*cache_create)(const char *, size_t, size_t, void (*)(void *));
	int (*cache_destroy)(struct slabnode_cache *);
	void *(*cache_alloc_node)(struct slabnode_cache *, int);
	void (*cache_free)(struct slabnode_cache *, void *);
};
extern struct library lib;

void races_start(void);
/* Begins the row anew where the variable has another value: before races_start(). */
void races_with(const char *variable, const char *value);

/* One request on the row's own connection; the answer, without progress.  Of one thread alone. */
__attribute__((format(printf, 1, 2))) const char *ask(const char *format, ...);
/* The number behind KEY in the answer to `status`: of a node. */
long long status_of(int node, const char *key);
/* Arms faults, "off" disarms all of them; insists that it was understood. */
__attribute__((format(printf, 1, 2))) void fault(const char *format, ...);

/* A change of a node in a thread of its own. */
struct change {
	int node;
	bool online, rebalance;
	enum slabnode_policy policy;
	long timeout_ms; /* 0: none */
	pthread_t thread;
	_Atomic bool done;
	double end; /* when it returned, now_sec() */
	int error;
	char message[256];
};
void change_begin(struct change *change);
/* The error; a failure must have said why. */
int change_end(struct change *change);
struct change *offline_begin(int node, enum slabnode_policy policy, long timeout_ms);
struct change *online_begin(int node, bool rebalance);

/* In this thread; the same insistence on a reason. */
int offline(int node, enum slabnode_policy policy);
void online(int node);

/* Until some other thread sleeps in an armed delay, which nothing else in these programs does. */
void until_delayed(void);
bool is_delayed(void);

/* Nothing is under way on any node, each is online, gives memory, and every reason of `offline`
 * not to be strict is the caller's: no leftover of what went before. */
void check_all_online(void);
/* The node is empty: strict takes it offline, nothing of the process is on it; then it returns. */
void check_empties(int node);

pthread_t thread_begin(void *(*run)(void *), void *arg);
void thread_end(pthread_t thread);

/* Between two looks at a word, in a loop that must not be long. */
static inline void relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* A bunch of objects of all kinds on one node, each filled with what names it. */
#define BUNCH 300
struct bunch {
	int node;
	void *p[BUNCH];
};
void bunch_hold(struct bunch *bunch, int node);
void bunch_check(const struct bunch *bunch);
void bunch_free(struct bunch *bunch); /* checks first */
size_t bunch_bytes(void);

#endif
