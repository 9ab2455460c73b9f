/*
 * drain.h - emptying what holds free objects of a node, and giving memory back.
 */
#ifndef SLABNODE_DRAIN_H
#define SLABNODE_DRAIN_H

#include "lifecycle.h"
#include "pace.h"

/*
 * The grace period of an offline: all tables of the node are out of every word, no sequence
 * uses them, and every lock under which somebody may have read the old state was taken once.
 * The state was published before.  0, or a negative errno value when the fence is refused.
 * *stall_ns: the longest single step.
 */
int sn_drain_close(struct sn_node *node, uint64_t *stall_ns) SN_EXCLUDES(&node->page_lock);
/* Empties tables, alien caches and shared stores of a closed node until a whole pass finds
 * nothing.  Returns objects. */
uint64_t sn_drain_stores(struct sn_node *node);
/* One pass over the locked stores of a node that stays online. Returns objects. */
uint64_t sn_drain_stores_open(struct sn_node *node);
/* Empty slabs, dirty runs and cached spans go back, in batches of the pace (or NULL). Bytes. */
uint64_t sn_drain_release(struct sn_node *node, struct sn_pace *pace) SN_EXCLUDES(&node->page_lock);
/* What is out of the node's slabs and blocks, in objects.  Locks each list once. */
uint64_t sn_drain_live(struct sn_node *node);
/* The largest holders; returns how many were written. */
unsigned int sn_drain_holders(struct sn_node *node, struct sn_holder *holders, unsigned int max);

#endif
