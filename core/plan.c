/*
 * plan.c - the dry run of an offline, and the return of cached memory while nodes stay online.
 *
 * The dry run says what the offline of a program at rest would put into its result: given back is
 * what a survey finds (survey.h), moved are the pages on the node that a pass of migrate.c would
 * come across, other nodes' displaced ones among them, less those given back.  Of movable caches
 * it is assumed that all their objects will leave when they are asked.
 */
#include "drain.h"
#include "large.h"
#include "migrate.h"
#include "movable.h"
#include "stats.h"
#include "survey.h"
#include "table.h"

#include <string.h>

void sn_plan_obstacle(struct sn_plan *plan, const char *what)
{
	if (plan->nr_obstacles < SN_ARRAY_SIZE(plan->obstacle))
		plan->obstacle[plan->nr_obstacles++] = what;
}

static uint64_t reclaimable(unsigned int node)
{
	struct sn_survey survey;

	sn_survey_node(&survey, sn_nodes[node], false);
	sn_survey_end(&survey);
	return (survey.released_pages + survey.trimmed_pages) << SN_PAGE_SHIFT;
}

/* The usable nodes in fallback order; whether there is room on them for what would move. */
static bool plan_targets(struct sn_plan *plan)
{
	const struct sn_node *node = sn_nodes[plan->node];
	uint64_t room = 0;

	for_each_in_order(other, node->fallback) {
		size_t free = SIZE_MAX;
		uint64_t cached = 0;

		if (!sn_node_usable(sn_nodes[other]))
			continue;
		if (sn_placement->room != NULL)
			free = sn_placement->room(other);
		if (free != SIZE_MAX)
			cached = reclaimable(other);
		plan->target[plan->nr_targets].node = other;
		plan->target[plan->nr_targets].reclaimable_bytes = cached;
		plan->target[plan->nr_targets++].free_bytes = free == SIZE_MAX ? UINT64_MAX : free;
		if (free == SIZE_MAX || __builtin_add_overflow(room, free + cached, &room))
			room = UINT64_MAX;
	}
	return room >= plan->to_move_bytes;
}

static bool never(void *arg)
{
	(void)arg;
	return false;
}

static bool released(void *arg, const void *page)
{
	return sn_survey_gone(arg, page);
}

/* What would be given back, and what moved. 0 or a negative errno value. */
static int plan_pages(struct sn_plan *plan, int *move_error)
{
	struct sn_survey survey;
	struct sn_migration m = {
		.node = sn_nodes[plan->node],
		.from = plan->node,
		.stop = never,
		.released = released,
		.arg = &survey,
	};
	bool done = sn_survey_node(&survey, sn_nodes[plan->node], true);

	if (done) {
		sn_migrate_dry_run(&m);
		plan->released_bytes = survey.released_pages << SN_PAGE_SHIFT;
		plan->to_move_bytes = m.left_pages << SN_PAGE_SHIFT;
		plan->guest_bytes = (uint64_t)m.guest_pages << SN_PAGE_SHIFT;
		*move_error = m.error;
	}
	sn_survey_end(&survey);
	return done ? 0 : -ENOMEM;
}

static void name_obstacles(struct sn_plan *plan, int move_error)
{
	const struct sn_node *node = sn_nodes[plan->node];
	struct sn_transition_info info;

	if (!node->allowed && sn_counter_read(node->mapped_pages) == 0)
		sn_plan_obstacle(plan, "the node is not allowed to this process");
	if (sn_transition_info(plan->node, &info))
		sn_plan_obstacle(plan, "another transition of the node is under way");
	if (sn_node_usable(node) && sn_node_count_usable() == 1)
		sn_plan_obstacle(plan, "it is the last usable node");
	if (sn_tables_fence() != 0)
		sn_plan_obstacle(plan, "membarrier is refused here");
	if (move_error != 0 && plan->live_bytes > 0)
		sn_plan_obstacle(plan, "pages cannot be moved here");
	if (!plan_targets(plan) && plan->nr_targets > 0)
		sn_plan_obstacle(plan, "the other nodes have no room for what lives here");
}

int sn_plan(unsigned int index, struct sn_plan *plan)
{
	struct sn_node_stats stats;
	int move_error = 0, error;

	memset(plan, 0, sizeof(*plan));
	plan->node = index;
	if (index < SN_FIRST_NODE || index >= sn_node_end)
		return -ENODEV;
	sn_node_stats(index, &stats);
	plan->cached_bytes = stats.cached_bytes;
	plan->live_bytes = stats.live_bytes;
	plan->metadata_bytes = stats.metadata_bytes;
	sn_movable_count(index, &plan->evict_objects, &plan->evict_bytes);
	plan->nr_holders = sn_drain_holders(sn_nodes[index], plan->holders, SN_MAX_HOLDERS);
	if (sn_node_state(sn_nodes[index]) == SN_OFFLINE) {
		plan->feasible = plan->already = true;
		return 0;
	}
	error = plan_pages(plan, &move_error);
	if (error == 0)
		name_obstacles(plan, move_error);
	plan->feasible = plan->nr_obstacles == 0;
	return error;
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
