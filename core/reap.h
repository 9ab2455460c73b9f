/*
 * reap.h - ageing: memory that nobody used for a while goes back to the system.
 */
#ifndef SLABNODE_REAP_H
#define SLABNODE_REAP_H

#include "node.h"

/*
 * One round, for the control thread: arrays of idle CPUs, half of every idle store, and the
 * pages that were free during the whole last interval.  Returns bytes given back.
 */
uint64_t sn_reap(void);
/*
 * malloc_trim(): everything that is free goes back, objects in arrays included; for programs that
 * ask all the time at most ten times a second, and in between only when there is much.  Returns
 * bytes.  No lock held.
 */
uint64_t sn_trim(void);
/* The same without a fence, for a process without a control thread, from an allocation's slow
 * path: pages only. */
uint64_t sn_reap_inline(void);
/* Whether another round could find something: while false, nothing ages, until sn_ageing_hook is
 * called or an allocation takes a slow path. */
bool sn_reap_wanted(void);

#endif
