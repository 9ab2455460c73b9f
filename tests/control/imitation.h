/*
 * imitation.h - an imitation of the allocator for tests of the control plane alone: the core's
 * functions, small and with nothing behind them, that take their time.
 *
 * Four nodes with the system's numbers 0, 1, 2 and 5.  An offline with `strict` fails at once
 * and names its holder, `migrate` takes 400 ms with progress, `wait` lasts until it is
 * cancelled or its time is over.
 *
 * Whoever links it says what time is: imitation_pause(), imitation_now().
 */
#ifndef TESTS_IMITATION_H
#define TESTS_IMITATION_H

#include "lifecycle.h"

#include "control.h"

/* Everything but the run directory. */
extern const struct sn_control_config imitation_config;
/* How many rows slabinfo has for each node. */
extern _Atomic int imitation_caches;

/* The nodes, online; again: as at the start, while nothing is under way. */
void imitation_start(void);
/* A node changes its state. */
void imitation_event(unsigned int node, enum sn_node_state to, const char *action);
/* The offline under way on the node is to end. */
void imitation_cancel(unsigned int node);

/* Defined by the program, in milliseconds. */
int64_t imitation_now(void);
void imitation_pause(long ms);

#endif
