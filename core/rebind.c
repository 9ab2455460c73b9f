/*
 * rebind.c - see rebind.h.
 */
#include "rebind.h"

#include "core.h"
#include "large.h"
#include "migrate.h"
#include "pace.h"
#include "segment.h"

/* Some range could not be given its policy: the reaper tries again. */
static _Atomic bool policies_stale;

void sn_bind_range(struct sn_node *node, void *addr, size_t len, const struct sn_nodemask *allowed)
{
	if (sn_placement->bind_range == NULL || node->index == SN_NODE_INTERNAL)
		return;
	for (int attempt = 0; attempt < 2; attempt++)
		if (sn_placement->bind_range(addr, len, node->index, allowed) >= 0)
			return;
	atomic_store(&policies_stale, true);
	if (sn_ageing_hook != NULL)
		sn_ageing_hook(); /* the reaper may be asleep */
}

/* Every range gets a policy over these nodes.  Lifecycle lock held, so that of two transitions
 * the later one's masks stay.  A range that is added meanwhile reads the published masks. */
uint64_t sn_rebind_ranges(const struct sn_nodemask *allowed)
{
	uint64_t longest = 0;

	if (sn_placement->bind_range == NULL)
		return 0;
	/* Before: what fails from now on counts, here or where a range is added. */
	atomic_store(&policies_stale, false);
	for_each_node(n) {
		struct sn_node *node = sn_nodes[n];
		struct sn_range *range;
		uint64_t begin, held;

		sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
		begin = sn_now_ns();
		for (range = node->ranges; range != NULL; range = range->next)
			sn_bind_range(node, range->base, range->nr_segments << SN_SEG_SHIFT,
				      allowed);
		held = sn_now_ns() - begin;
		sn_lock_release(&node->page_lock, SN_RANK_PAGES);
		longest = sn_max(longest, held);
	}
	return longest;
}

bool sn_rebind_stale(void)
{
	return atomic_load(&policies_stale);
}

void sn_rebind_repair(void)
{
	struct sn_nodemask allowed;

	if (!atomic_load(&policies_stale))
		return;
	sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	sn_node_policy_mask(&allowed);
	sn_rebind_ranges(&allowed);
	sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	if (atomic_load(&policies_stale))
		return;
	/* What was placed meanwhile may be anywhere: what is free of it goes back. */
	for_each_node(n) {
		sn_migrate_unsettled(sn_nodes[n]);
		sn_make_room(sn_nodes[n]);
	}
}
