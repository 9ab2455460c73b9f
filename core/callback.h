/*
 * callback.h - the program's code, called from inside the library.
 *
 * Notifiers and the reclaim functions of movable caches run with no lock of the core held and may
 * take any time.  While one runs, its thread is marked, so that requests which would wait for
 * itself are refused with -EDEADLK, and its name is known to `why`.
 */
#ifndef SLABNODE_CALLBACK_H
#define SLABNODE_CALLBACK_H

#include "base.h"

/*
 * Whose turn it is to call the program's code: a sleeping lock, and outside the order of lock.h,
 * since it is held over that code.  0 free, 1 taken, 2 taken and wanted.
 */
struct sn_turn {
	_Atomic uint32_t word;
};

void sn_turn_take(struct sn_turn *turn);
/* Gives up, false, when stop(arg) says so; it is asked every few milliseconds. */
bool sn_turn_take_unless(struct sn_turn *turn, bool (*stop)(void *arg), void *arg);
void sn_turn_give(struct sn_turn *turn);

/* Of each kind one runs at a time, under a turn; two kinds may run for one node. */
enum sn_callback_kind { SN_CALLBACK_NOTIFIER, SN_CALLBACK_MOVABLE, SN_CALLBACK_KINDS };

/* What is to be put back after a call; on the caller's stack. */
struct sn_callback {
	enum sn_callback_kind kind;
	unsigned int node, internal, generation;
};

/*
 * Around each call, made for a node, under the turn of its kind.  `name` is the notifier's or the
 * cache's.  What the program allocates meanwhile is its own, not the library's.
 */
void sn_callback_enter(struct sn_callback *call, enum sn_callback_kind kind, const char *name,
		       unsigned int node);
/* False: the call has returned in a forked child. */
bool sn_callback_leave(const struct sn_callback *call);

/* Whether the calling thread is inside a callback. */
bool sn_in_callback(void);
/* "notifier NAME", "reclaim of NAME": what runs for a node now, "" for nothing. False: nothing. */
bool sn_callback_running(unsigned int node, char *text, size_t size);
/* Counts the forks between this process and the first one: it differs after a callback that
 * returned in a forked child, where whatever was under way had been undone. */
unsigned int sn_callback_generation(void);
/* In a forked child: nobody is running callbacks but, perhaps, the thread that forked. */
void sn_callback_fork_child(void);

#endif
