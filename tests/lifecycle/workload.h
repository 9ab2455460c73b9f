/*
 * workload.h - a workload that finds out by itself what an allocator does wrong.
 *
 * Threads that live and die hold objects of 8 bytes to 64 MiB from every entry of the allocator,
 * resize them, mail them to each other and leave them to their successors.  Every object is filled
 * with a pattern that names its owner and number, and is verified before it goes.  Found out are:
 *
 *   lost       contents that are not the owner's any more
 *   doubled    an allocation that overlaps a live one: the shadow, a bit for each 16 bytes of the
 *              address space, knows all live objects of the workload
 *   misplaced  memory on a node that had been acknowledged as away before the allocation began,
 *              or a held object on a node that is offline
 *   stuck      a thread that makes no progress for a minute: all stacks are printed
 *
 * All that the workload itself keeps is mapped, nothing of it comes from the allocator under test.
 */
#ifndef TESTS_WORKLOAD_H
#define TESTS_WORKLOAD_H

#include "lifecycle.h"

#include <stdatomic.h>

struct workload_options {
	uint64_t seed;
	unsigned int threads; /* at a time, at most WORKLOAD_THREADS */
	size_t live_limit;    /* bytes, about */
	bool fails;	      /* allocations may fail: the workload runs on without */
};

#define WORKLOAD_THREADS 16

struct workload_figures {
	uint64_t operations, lives, mails, refused;
	uint64_t audits, away; /* placements looked at, and while a node was away */
	uint64_t departures;   /* of nodes, acknowledged */
};

/* A thread on a stack of ours: libc keeps those it makes, and parts of a heap with them. */
pthread_t workload_thread(void *stack, void *(*body)(void *), void *arg);
void *workload_stack(void);
void workload_begin(const struct workload_options *options);
/* All threads have ended; every object was verified and freed. */
void workload_end(void);
struct workload_figures workload_figures(void);

/* Between the two no operation of the workload is under way. */
void workload_pause(void);
void workload_resume(void);
/* In a forked child: each object that was inherited, if the workload was paused at the fork; then
 * the child works on with them alone for a number of operations. */
void workload_in_child(bool paused, unsigned int operations);

/* --- watching -------------------------------------------------------------------------------- */

/* A thread that is expected to call beat() all the time; several may share a watch. */
struct watch;
struct watch *watch_begin(const char *name);
void watch_beat(struct watch *watch);
void watch_end(struct watch *watch);
/* Prints where the threads of a process stand. */
void print_stacks(pid_t pid);

#endif
