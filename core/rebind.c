/*
 * rebind.c - see rebind.h.
 */
#include "rebind.h"

#include "core.h"
#include "large.h"
#include "meta.h"
#include "migrate.h"
#include "pace.h"
#include "segment.h"

/* Some range could not be given its policy: negative; positive: refused as such.  Written under
 * sn_lifecycle_lock, but that a new range may make a zero positive. */
static _Atomic int failed;
/* Then all got theirs: free memory may lie where it does not belong. */
static _Atomic bool misplaced;

/* Whether the system does not take policies from this process, as containers and filters do. */
static bool refused_as_such(int error)
{
	return error == -EPERM || error == -ENOSYS || error == -EACCES || error == -EINVAL;
}

/* 0, a negative errno value, or, when policies are refused as such, the positive one. */
static int try_bind(struct sn_node *node, void *addr, size_t len, const struct sn_nodemask *allowed)
{
	int error = 0;

	if (sn_placement->bind_range == NULL ||
	    (node->index == SN_NODE_INTERNAL && sn_placement->simulated))
		return 0;
	for (int attempt = 0; attempt < 2; attempt++) {
		error = sn_placement->bind_range(addr, len, node->index, allowed);
		if (error >= 0)
			return 0;
	}
	return refused_as_such(error) ? -error : error;
}

/* The reaper, which may be asleep, tries all of them again. */
static void fail_for_now(int error)
{
	int none = 0;

	atomic_compare_exchange_strong(&failed, &none, error);
	if (sn_ageing_hook != NULL)
		sn_ageing_hook();
}

int sn_bind_range(struct sn_node *node, void *addr, size_t len, const struct sn_nodemask *allowed)
{
	int error = try_bind(node, addr, len, allowed);

	if (error <= 0)
		return error;
	fail_for_now(error);
	return 0;
}

void sn_bind_again(struct sn_node *node, void *addr, size_t len)
{
	struct sn_nodemask allowed;
	int error;

	sn_node_policy_mask(&allowed);
	error = try_bind(node, addr, len, &allowed);
	if (error != 0)
		fail_for_now(error);
}

/* Of two outcomes the one that matters more. */
static int worse(int a, int b)
{
	return a < 0 || b == 0 ? a : b;
}

/* The worst outcome of the node's ranges. */
static int bind_node(struct sn_node *node, const struct sn_nodemask *allowed)
	SN_REQUIRES(&node->page_lock)
{
	int error = 0;

	for (struct sn_range *range = node->ranges; range != NULL; range = range->next) {
		int e = try_bind(node, range->base, range->nr_segments << SN_SEG_SHIFT, allowed);

		error = worse(error, e);
	}
	return error;
}

static void bind_stretch(void *addr, size_t len)
{
	struct sn_nodemask allowed;

	sn_node_policy_mask(&allowed);
	sn_placement->bind_range(addr, len, SN_NODE_INTERNAL, &allowed);
}

/* Masks are published before this: a stretch that is added meanwhile finds the new ones. */
static void bind_metadata(const struct sn_nodemask *allowed)
{
	struct sn_node *node = sn_nodes[SN_NODE_INTERNAL];

	if (sn_placement->simulated)
		return;
	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	bind_node(node, allowed);
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	sn_meta_follow(bind_stretch);
}

static void note_outcome(int error) SN_REQUIRES(&sn_lifecycle_lock)
{
	int before = atomic_exchange(&failed, error);

	if (error == 0 && before != 0) {
		for_each_node(n)
			sn_migrate_unsettled(sn_nodes[n]);
		atomic_store(&misplaced, true);
	}
	if ((error != 0 || before != 0) && sn_ageing_hook != NULL)
		sn_ageing_hook(); /* the reaper may be asleep */
}

uint64_t sn_rebind_ranges(const struct sn_nodemask *allowed)
{
	uint64_t longest = 0;
	int error = 0;

	if (sn_placement->bind_range == NULL)
		return 0;
	for_each_node(n) {
		struct sn_node *node = sn_nodes[n];
		uint64_t begin;
		int e;

		sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
		begin = sn_now_ns();
		e = bind_node(node, allowed);
		longest = sn_max(longest, sn_now_ns() - begin);
		sn_lock_release(&node->page_lock, SN_RANK_PAGES);
		error = worse(error, e);
	}
	bind_metadata(allowed);
	note_outcome(error);
	return longest;
}

int sn_rebind_error(void)
{
	int error = atomic_load(&failed);

	return error < 0 ? error : 0;
}

bool sn_rebind_stale(void)
{
	return atomic_load(&failed) != 0 || atomic_load(&misplaced);
}

void sn_rebind_repair(void)
{
	struct sn_nodemask allowed;

	if (!sn_rebind_stale())
		return;
	sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	if (atomic_load(&failed) != 0) {
		sn_node_policy_mask(&allowed);
		sn_rebind_ranges(&allowed);
	}
	sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	if (atomic_load(&failed) != 0 || !atomic_exchange(&misplaced, false))
		return;
	for_each_node(n)
		sn_make_room(sn_nodes[n]);
}
