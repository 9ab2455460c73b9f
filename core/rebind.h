/*
 * rebind.h - the memory policies of all ranges follow the nodes that are in service.
 *
 * Memory must not be placed on a node that is away.  An offline therefore goes on only when every
 * range has a policy without the leaving nodes; the policy of a range that cannot be set later is
 * an older one, which does not name them either.  Thus the way back cannot fail: where policies
 * lack a node that has returned, its pages land on others that are in service.  The reaper tries
 * again, and what was placed meanwhile counts as displaced.  A new range without a policy would
 * take pages from anywhere, and is not used.
 *
 * The allocator's own structures have no node of their own: from the first transition on they have
 * a policy over all nodes that are in service.  Without one, pages that had left would return: NUMA
 * balancing moves them to who uses them, and so does the first touch of new ones.  Nothing depends
 * on it for anybody's objects, so a policy that cannot be set there is no failure.
 *
 * Where the system refuses policies as such (a container, a filter), nothing can be promised about
 * physical places, and nothing is refused for that: pages lie where they are first touched, as the
 * placement says of itself.  The reaper tries again there, too.
 */
#ifndef SLABNODE_REBIND_H
#define SLABNODE_REBIND_H

#include "node.h"

/* The policy of one range, tried twice.  0, also when policies are refused as such, or a negative
 * errno value.  Any lock may be held. */
int sn_bind_range(struct sn_node *node, void *addr, size_t len, const struct sn_nodemask *allowed);
/* The same for a part of a range that was mapped anew, with page_lock held; what fails is tried
 * again by the reaper. */
void sn_bind_again(struct sn_node *node, void *addr, size_t len) SN_REQUIRES(&node->page_lock);
/* Every range gets a policy over these nodes, under the lock so that of two transitions the later
 * one's masks stay.  A range that is added meanwhile reads the published masks.  Returns
 * the longest time, in ns, for which a node's page_lock was held. */
uint64_t sn_rebind_ranges(const struct sn_nodemask *allowed) SN_REQUIRES(&sn_lifecycle_lock);
/* Why some range did not get its policy the last time, or 0; what is refused as such is no reason.
 */
int sn_rebind_error(void) SN_REQUIRES(&sn_lifecycle_lock);
/* Whether sn_rebind_repair() has something to do. */
bool sn_rebind_stale(void);
/* The reaper's: tries again, and gives back what is free of what was misplaced. No lock held. */
void sn_rebind_repair(void) SN_EXCLUDES(&sn_lifecycle_lock);

#endif
