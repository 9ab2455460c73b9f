/*
 * plan.c - the dry run of an offline, and the return of cached memory while nodes stay online.
 */
#include "drain.h"
#include "large.h"
#include "movable.h"
#include "stats.h"
#include "table.h"

#include <string.h>

static void plan_targets(struct sn_plan *plan, uint64_t *room)
{
	const struct sn_node *node = sn_nodes[plan->node];

	*room = 0;
	for (const uint8_t *order = node->fallback; *order != 0; order++) {
		size_t free;

		if (!sn_node_usable(sn_nodes[*order]))
			continue;
		free = sn_placement->room == NULL ? SIZE_MAX : sn_placement->room(*order);
		plan->target[plan->nr_targets].node = *order;
		plan->target[plan->nr_targets++].free_bytes = free == SIZE_MAX ? UINT64_MAX : free;
		*room = free > UINT64_MAX - *room ? UINT64_MAX : *room + free;
	}
}

static void obstacle(struct sn_plan *plan, const char *what)
{
	if (plan->nr_obstacles < SN_ARRAY_SIZE(plan->obstacle))
		plan->obstacle[plan->nr_obstacles++] = what;
}

int sn_plan(unsigned int index, struct sn_plan *plan)
{
	struct sn_node_stats stats;
	uint64_t room;

	memset(plan, 0, sizeof(*plan));
	plan->node = index;
	if (index < SN_FIRST_NODE || index >= sn_node_end)
		return -ENODEV;
	sn_node_stats(index, &stats);
	plan->cached_bytes = stats.cached_bytes;
	plan->live_bytes = stats.live_bytes;
	plan->metadata_bytes = stats.metadata_bytes;
	plan->released_bytes = stats.cached_bytes;
	plan->to_move_bytes = stats.live_bytes + stats.metadata_bytes;
	plan->nr_holders = sn_drain_holders(sn_nodes[index], plan->holders, SN_MAX_HOLDERS);
	plan_targets(plan, &room);
	if (sn_node_state(sn_nodes[index]) == SN_OFFLINE)
		obstacle(plan, "the node is offline already");
	if (sn_node_usable(sn_nodes[index]) && sn_node_count_usable() == 1)
		obstacle(plan, "it is the last usable node");
	if (plan->live_bytes > 0 && sn_placement->move == NULL)
		obstacle(plan, "pages cannot be moved here");
	if (plan->nr_targets > 0 && room < plan->live_bytes)
		obstacle(plan, "the other nodes have no room for what lives here");
	plan->feasible = plan->nr_obstacles == 0;
	return 0;
}

int sn_drain(unsigned int index, bool evict, struct sn_drain_result *result)
{
	memset(result, 0, sizeof(*result));
	if (index != SN_NODE_NONE && (index < SN_FIRST_NODE || index >= sn_node_end))
		return -ENODEV;
	result->drained_objects = sn_tables_reap(true);
	for_each_node(n) {
		struct sn_node *node = sn_nodes[n];

		if ((index != SN_NODE_NONE && n != index) || sn_node_state(node) != SN_ONLINE)
			continue;
		if (evict) {
			struct sn_eviction e = {.node = node, .target = n};

			sn_movable_compact(&e, 0);
			result->evicted_objects += e.evicted;
		}
		result->drained_objects += sn_drain_stores_open(node);
		result->released_bytes += sn_drain_release(node, NULL);
	}
	return 0;
}
