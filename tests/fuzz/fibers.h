/*
 * fibers.h - an imitation of threads, futexes and time: preload/threads.h, preload/spawn.h and
 * core/lock.h as the control plane uses them.
 *
 * What would be a thread is a fiber with a stack of its own that runs when it is told to, until it
 * waits or ends.  So what happens depends on the input alone, and a worker can be stopped at each
 * point at which it waits.
 */
#ifndef TESTS_FIBERS_H
#define TESTS_FIBERS_H

#include <stdbool.h>
#include <stdint.h>

/* Lets the one that waited longest go on; false: there is none. */
bool fibers_step(void);
/* How many there are. */
unsigned int fibers_alive(void);
/* In a fiber: lets others go on for a while. */
void fibers_wait(int64_t ms);
void fibers_advance(int64_t ms);
/* The clock begins anew. */
void fibers_reset(void);

#endif
