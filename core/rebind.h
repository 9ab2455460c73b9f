/*
 * rebind.h - the memory policies of all ranges follow the nodes that are in service.
 *
 * A policy that cannot be set is no reason for a cancel to fail: the reaper tries again.
 */
#ifndef SLABNODE_REBIND_H
#define SLABNODE_REBIND_H

#include "node.h"

/* The policy of one range, tried again at once and then, when it still fails, by the reaper.  Any
 * lock may be held. */
void sn_bind_range(struct sn_node *node, void *addr, size_t len, const struct sn_nodemask *allowed);
/* Every range gets a policy over these nodes.  sn_lifecycle_lock held, so that of two transitions
 * the later one's masks stay.  A range that is added meanwhile reads the published masks.  Returns
 * the longest time, in ns, for which a node's page_lock was held. */
uint64_t sn_rebind_ranges(const struct sn_nodemask *allowed);
/* Whether some range has yet to get its policy. */
bool sn_rebind_stale(void);
/* The reaper's: tries again. No lock held. */
void sn_rebind_repair(void);

#endif
