/*
 * show.c - what the library knows, as JSON: see show.h.
 */
#include <string.h>
#include <unistd.h>

#include "../core/sites.h"
#include "../core/stats.h"
#include "control.h"
#include "internal.h"
#include "one_node.h"
#include "show.h"

#define PROTOCOL 1
/* The largest sites of a node. */
#define MAX_SITES 24
/* A list of 4096 scattered CPUs takes 20 KiB. */
#define CPU_LIST_SIZE ((size_t)32 << 10)

void sn_show_hello(struct sn_reply *reply)
{
	sn_json_begin(reply);
	sn_json_u64(reply, "slabnode", PROTOCOL);
	sn_json_string(reply, "version", sn_version());
	sn_json_u64(reply, "pid", (uint64_t)getpid());
	sn_json_string(reply, "command", sn_control_config->command);
	sn_json_end(reply);
}

void sn_show_version(struct sn_reply *reply)
{
	sn_json_begin(reply);
	sn_json_bool(reply, "ok", true);
	sn_json_string(reply, "version", sn_version());
	sn_json_u64(reply, "slabnode", PROTOCOL);
	sn_json_u64(reply, "pid", (uint64_t)getpid());
	sn_json_end(reply);
}

void sn_show_self(struct sn_reply *reply)
{
	struct sn_totals totals = {0};

	sn_totals(&totals);
	sn_json_begin(reply);
	sn_json_bool(reply, "ok", true);
	sn_json_u64(reply, "pid", (uint64_t)getpid());
	sn_json_string(reply, "command", sn_control_config->command);
	sn_json_string(reply, "socket", sn_control_socket());
	sn_json_u64(reply, "nodes", totals.nodes);
	sn_json_u64(reply, "nodes_online", totals.nodes_online);
	sn_json_u64(reply, "live_bytes", totals.live_bytes);
	sn_json_u64(reply, "cached_bytes", totals.cached_bytes);
	sn_json_end(reply);
}

static void show_node_number(struct sn_reply *reply, const char *key, unsigned int node)
{
	sn_json_i64(reply, key, sn_nodes[node]->os_number);
}

static void show_cpus(struct sn_reply *reply, unsigned int node)
{
	char *list = sn_control_map(CPU_LIST_SIZE);

	if (list && sn_placement->cpus)
		sn_placement->cpus(node, list, CPU_LIST_SIZE);
	else if (list && !sn_control_config->simulated)
		sn_one_node_cpus(list, CPU_LIST_SIZE);
	sn_json_string(reply, "cpus", list);
	sn_control_unmap(list, CPU_LIST_SIZE);
}

static void show_fallback(struct sn_reply *reply, unsigned int node)
{
	unsigned int order[SN_MAX_NODES];
	unsigned int count = sn_fallback(node, order, SN_MAX_NODES);

	sn_json_open_array(reply, "fallback");
	for (unsigned int i = 0; i < count; i++)
		show_node_number(reply, NULL, order[i]);
	sn_json_close_array(reply);
}

static void show_transition(struct sn_reply *reply, unsigned int node)
{
	struct sn_transition_info info = {0};

	if (!sn_transition_info(node, &info)) {
		sn_json_null(reply, "transition");
		return;
	}
	sn_json_open_object(reply, "transition");
	sn_json_string(reply, "action", info.online ? "online" : "offline");
	if (!info.online)
		sn_json_string(reply, "policy", sn_policy_name(info.policy));
	sn_json_string(reply, "phase", sn_phase_name(info.phase));
	sn_json_u64(reply, "elapsed_ms", info.elapsed_ms);
	sn_json_string(reply, "waiting_for", info.waiting_for);
	sn_json_close_object(reply);
}

static void show_node(struct sn_reply *reply, unsigned int node)
{
	struct sn_node_stats stats = {0};

	sn_node_stats(node, &stats);
	sn_json_open_object(reply, NULL);
	sn_json_i64(reply, "node", stats.os_node);
	sn_json_string(reply, "state", sn_state_name(stats.state));
	sn_json_bool(reply, "cordoned", stats.cordoned);
	sn_json_bool(reply, "allowed", stats.allowed);
	sn_json_bool(reply, "has_memory", stats.has_memory);
	show_cpus(reply, node);
	sn_json_size(reply, "capacity_bytes", stats.capacity_bytes);
	sn_json_u64(reply, "live_bytes", stats.live_bytes);
	sn_json_u64(reply, "cached_bytes", stats.cached_bytes);
	sn_json_u64(reply, "slabs", stats.slabs);
	sn_json_u64(reply, "large_bytes", stats.large_bytes);
	sn_json_u64(reply, "large_blocks", stats.large_blocks);
	sn_json_u64(reply, "metadata_bytes", stats.metadata_bytes);
	sn_json_u64(reply, "resident_bytes", stats.resident_bytes);
	sn_json_u64(reply, "elsewhere_bytes", stats.elsewhere_bytes);
	sn_json_u64(reply, "other_bytes", stats.other_bytes);
	sn_json_u64(reply, "numa_hit", stats.numa_hit);
	sn_json_u64(reply, "numa_miss", stats.numa_miss);
	sn_json_u64(reply, "numa_foreign", stats.numa_foreign);
	show_fallback(reply, node);
	show_transition(reply, node);
	sn_json_close_object(reply);
}

void sn_show_status(struct sn_reply *reply)
{
	sn_json_begin(reply);
	sn_json_bool(reply, "ok", true);
	sn_json_u64(reply, "pid", (uint64_t)getpid());
	sn_json_string(reply, "command", sn_control_config->command);
	sn_json_string(reply, "version", sn_version());
	sn_json_string(reply, "topology", sn_control_config->topology_source);
	sn_json_bool(reply, "simulated", sn_control_config->simulated);
	sn_json_string(reply, "fast_path", sn_fast_path_name());
	sn_json_string(reply, "fast_path_reason", sn_fast_path_reason());
	sn_json_string(reply, "placement", sn_placement->name);
	sn_json_string(reply, "placement_reason", sn_placement->reason);
	sn_json_open_array(reply, "nodes");
	for_each_node(n)
		show_node(reply, n);
	sn_json_close_array(reply);
	sn_json_end(reply);
}

static void show_place(struct sn_reply *reply, unsigned int node)
{
	const struct sn_node *self = sn_nodes[node];
	size_t total = SIZE_MAX, left = SIZE_MAX;

	if (sn_placement->capacity)
		total = sn_placement->capacity(node);
	else if (!sn_control_config->simulated)
		sn_one_node_memory(&total, &left);
	if (sn_placement->room)
		left = sn_placement->room(node);
	sn_json_open_object(reply, NULL);
	sn_json_i64(reply, "node", self->os_number);
	show_cpus(reply, node);
	sn_json_size(reply, "size_bytes", total);
	sn_json_size(reply, "free_bytes", left);
	sn_json_string(reply, "state", sn_state_name(sn_node_state(self)));
	sn_json_bool(reply, "allowed", self->allowed);
	sn_json_bool(reply, "has_memory", self->has_memory);
	sn_json_open_array(reply, "distances");
	for_each_node(other)
		sn_json_u64(reply, NULL, self->distance[other]);
	sn_json_close_array(reply);
	show_fallback(reply, node);
	sn_json_close_object(reply);
}

void sn_show_topology(struct sn_reply *reply)
{
	sn_json_begin(reply);
	sn_json_bool(reply, "ok", true);
	sn_json_string(reply, "source", sn_control_config->topology_source);
	sn_json_bool(reply, "simulated", sn_control_config->simulated);
	sn_json_open_array(reply, "nodes");
	for_each_node(n)
		show_place(reply, n);
	sn_json_close_array(reply);
	sn_json_end(reply);
}

static void show_cache(struct sn_reply *reply, const struct sn_slabinfo *info)
{
	sn_json_open_object(reply, NULL);
	sn_json_string(reply, "cache", info->cache);
	sn_json_i64(reply, "node", info->os_node);
	sn_json_u64(reply, "object_size", info->object_size);
	sn_json_u64(reply, "active_objects", info->active_objects);
	sn_json_u64(reply, "total_objects", info->total_objects);
	sn_json_u64(reply, "objects_per_slab", info->objects_per_slab);
	sn_json_u64(reply, "slabs_full", info->slabs_full);
	sn_json_u64(reply, "slabs_partial", info->slabs_partial);
	sn_json_u64(reply, "slabs_free", info->slabs_free);
	sn_json_u64(reply, "cpu_arrays", info->cpu_arrays);
	sn_json_u64(reply, "shared", info->shared);
	sn_json_u64(reply, "alien", info->alien);
	sn_json_close_object(reply);
}

void sn_show_slabinfo(struct sn_reply *reply, const struct sn_nodemask *nodes)
{
	bool all = sn_mask_count(nodes) == 0;

	sn_json_begin(reply);
	sn_json_bool(reply, "ok", true);
	sn_json_open_array(reply, "caches");
	for (unsigned int cache = 0; cache < SN_MAX_CACHES; cache++) {
		for_each_node(n) {
			struct sn_slabinfo info = {0};

			if ((all || sn_mask_has(nodes, n)) && sn_slabinfo(cache, n, &info))
				show_cache(reply, &info);
		}
	}
	sn_json_close_array(reply);
	sn_json_end(reply);
}

static void show_holders(struct sn_reply *reply, const struct sn_holder *holder, unsigned int count)
{
	sn_json_open_array(reply, "holders");
	for (unsigned int i = 0; i < count; i++) {
		sn_json_open_object(reply, NULL);
		sn_json_string(reply, "cache", holder[i].cache);
		sn_json_u64(reply, "objects", holder[i].objects);
		sn_json_u64(reply, "slabs", holder[i].slabs);
		sn_json_u64(reply, "bytes", holder[i].bytes);
		sn_json_close_object(reply);
	}
	sn_json_close_array(reply);
}

/* Keeps the largest, in order; returns the new count. */
static unsigned int add_holder(struct sn_holder *top, unsigned int count,
			       const struct sn_holder *holder)
{
	unsigned int at = count;

	while (at > 0 && top[at - 1].bytes < holder->bytes)
		at--;
	if (at == SN_MAX_HOLDERS)
		return count;
	if (count < SN_MAX_HOLDERS)
		count++;
	memmove(&top[at + 1], &top[at], (count - at - 1) * sizeof(*top));
	top[at] = *holder;
	return count;
}

static unsigned int find_holders(unsigned int node, struct sn_holder *top)
{
	struct sn_node_stats stats = {0};
	unsigned int count = 0;

	for (unsigned int cache = 0; cache < SN_MAX_CACHES; cache++) {
		struct sn_holder holder = {0};
		struct sn_slabinfo info = {0};
		struct sn_text name;

		if (!sn_slabinfo(cache, node, &info) || info.active_objects == 0)
			continue;
		sn_text_begin(&name, holder.cache, sizeof(holder.cache));
		sn_text_add(&name, info.cache);
		holder.objects = info.active_objects;
		holder.slabs = info.slabs_full + info.slabs_partial;
		holder.bytes = info.active_objects * info.object_size;
		count = add_holder(top, count, &holder);
	}
	sn_node_stats(node, &stats);
	if (stats.large_blocks) {
		struct sn_holder large = {.cache = "large",
					  .objects = stats.large_blocks,
					  .bytes = stats.large_bytes};

		count = add_holder(top, count, &large);
	}
	return count;
}

static void show_frames(struct sn_reply *reply, const struct sn_site *site)
{
	static const char digits[] = "0123456789abcdef";

	sn_json_open_array(reply, "frames");
	for (unsigned int i = 0; i < site->nr_frames; i++) {
		uintptr_t frame = (uintptr_t)site->frame[i];
		char text[2 + 2 * sizeof(frame) + 1], *at = text + sizeof(text);

		for (*--at = '\0'; at == text + sizeof(text) - 1 || frame != 0; frame >>= 4)
			*--at = digits[frame & 15];
		*--at = 'x';
		*--at = '0';
		sn_json_string(reply, NULL, at);
	}
	sn_json_close_array(reply);
}

/* Where what lives on the node was allocated; nothing when nothing is sampled. */
static void show_sites(struct sn_reply *reply, unsigned int node)
{
	static struct sn_site sites[MAX_SITES]; /* the control thread's alone */
	struct sn_sites_summary summary;
	unsigned int count = sn_sites_of(node, sites, MAX_SITES, &summary);

	if (summary.mean == 0)
		return;
	sn_json_open_object(reply, "sampling");
	sn_json_u64(reply, "mean_bytes", summary.mean);
	sn_json_u64(reply, "dropped", summary.dropped);
	sn_json_u64(reply, "more_sites", summary.more);
	sn_json_close_object(reply);
	sn_json_open_array(reply, "sites");
	for (unsigned int i = 0; i < count; i++) {
		sn_json_open_object(reply, NULL);
		sn_json_u64(reply, "objects", sites[i].objects);
		sn_json_u64(reply, "bytes", sites[i].bytes);
		show_frames(reply, &sites[i]);
		sn_json_close_object(reply);
	}
	sn_json_close_array(reply);
}

void sn_show_why(struct sn_reply *reply, unsigned int node)
{
	struct sn_holder top[SN_MAX_HOLDERS];
	unsigned int count = find_holders(node, top);

	sn_json_begin(reply);
	sn_json_bool(reply, "ok", true);
	show_node_number(reply, "node", node);
	sn_json_string(reply, "state", sn_state_name(sn_node_state(sn_nodes[node])));
	show_holders(reply, top, count);
	show_sites(reply, node);
	show_transition(reply, node);
	sn_json_end(reply);
}

void sn_show_event(struct sn_reply *reply, const struct sn_event *event)
{
	sn_json_begin(reply);
	sn_json_u64(reply, "seq", event->seq);
	sn_json_scaled(reply, "time", event->time_ns / 1000, 6);
	sn_json_i64(reply, "node", event->os_node);
	sn_json_string(reply, "from", sn_state_name(event->from));
	sn_json_string(reply, "to", sn_state_name(event->to));
	sn_json_string(reply, "action", event->action);
	sn_json_string(reply, "cause", event->cause);
	sn_json_end(reply);
}

void sn_show_options(struct sn_reply *reply)
{
	struct sn_control_option row = {0};

	sn_json_begin(reply);
	sn_json_bool(reply, "ok", true);
	sn_json_open_array(reply, "options");
	for (unsigned int i = 0; sn_control_config->option && sn_control_config->option(i, &row);
	     i++) {
		sn_json_open_object(reply, NULL);
		sn_json_string(reply, "name", row.name);
		sn_json_string(reply, "type", row.type);
		sn_json_string(reply, "range", row.range);
		sn_json_string(reply, "value", row.value);
		sn_json_string(reply, "default", row.fallback);
		sn_json_string(reply, "help", row.help);
		sn_json_close_object(reply);
		row = (struct sn_control_option){0};
	}
	sn_json_close_array(reply);
	sn_json_end(reply);
}

void sn_show_plan(struct sn_reply *reply, const struct sn_plan *plan)
{
	struct sn_node_stats stats = {0};

	sn_node_stats(plan->node, &stats);
	sn_json_begin(reply);
	sn_json_bool(reply, "ok", true);
	show_node_number(reply, "node", plan->node);
	sn_json_bool(reply, "feasible", plan->feasible);
	sn_json_bool(reply, "already", plan->already);
	sn_json_u64(reply, "cached_bytes", plan->cached_bytes);
	sn_json_u64(reply, "live_bytes", plan->live_bytes);
	sn_json_u64(reply, "metadata_bytes", plan->metadata_bytes);
	sn_json_u64(reply, "released_bytes", plan->released_bytes);
	sn_json_u64(reply, "evict_bytes", plan->evict_bytes);
	sn_json_u64(reply, "evict_objects", plan->evict_objects);
	sn_json_u64(reply, "to_move_bytes", plan->to_move_bytes);
	sn_json_u64(reply, "guest_bytes", plan->guest_bytes);
	sn_json_u64(reply, "other_bytes", stats.other_bytes);
	sn_json_open_array(reply, "targets");
	for (unsigned int i = 0; i < plan->nr_targets; i++) {
		sn_json_open_object(reply, NULL);
		show_node_number(reply, "node", plan->target[i].node);
		sn_json_size(reply, "free_bytes", plan->target[i].free_bytes);
		sn_json_u64(reply, "reclaimable_bytes", plan->target[i].reclaimable_bytes);
		sn_json_close_object(reply);
	}
	sn_json_close_array(reply);
	sn_json_open_array(reply, "obstacles");
	for (unsigned int i = 0; i < plan->nr_obstacles; i++)
		sn_json_string(reply, NULL, plan->obstacle[i]);
	sn_json_close_array(reply);
	show_holders(reply, plan->holders, plan->nr_holders);
	sn_json_end(reply);
}

void sn_show_progress(struct sn_reply *reply, const struct sn_progress *progress)
{
	sn_json_begin(reply);
	sn_json_open_object(reply, "progress");
	sn_json_i64(reply, "node", progress->os_node);
	sn_json_string(reply, "phase", sn_phase_name(progress->phase));
	sn_json_u64(reply, "done", progress->done);
	sn_json_u64(reply, "total", progress->total);
	sn_json_u64(reply, "elapsed_ms", progress->elapsed_ms);
	sn_json_close_object(reply);
	sn_json_end(reply);
}

void sn_show_outcome_members(struct sn_reply *reply, const struct sn_lifecycle_result *result)
{
	if (result->error)
		sn_json_error(reply, result->error, result->message);
	else
		sn_json_bool(reply, "ok", true);
	sn_json_i64(reply, "node", result->os_node);
	sn_json_string(reply, "state", sn_state_name(result->state));
	sn_json_bool(reply, "already", result->already);
}

static void show_moved(struct sn_reply *reply, const struct sn_lifecycle_result *result)
{
	sn_json_u64(reply, "migrated_bytes", result->migrated_bytes);
	sn_json_open_array(reply, "unmovable");
	for (unsigned int i = 0; i < result->nr_unmovable; i++) {
		sn_json_open_object(reply, NULL);
		sn_json_string(reply, "reason", result->unmovable[i].reason);
		sn_json_u64(reply, "pages", result->unmovable[i].pages);
		sn_json_close_object(reply);
	}
	sn_json_close_array(reply);
	sn_json_ms(reply, "elapsed_ms", result->elapsed_ms);
	sn_json_ms(reply, "max_stall_ms", result->max_stall_ms);
}

void sn_show_online_members(struct sn_reply *reply, const struct sn_lifecycle_result *result)
{
	sn_show_outcome_members(reply, result);
	show_moved(reply, result);
}

void sn_show_offline_members(struct sn_reply *reply, const struct sn_lifecycle_result *result)
{
	sn_show_outcome_members(reply, result);
	sn_json_string(reply, "policy", sn_policy_name(result->policy));
	sn_json_u64(reply, "drained_objects", result->drained_objects);
	sn_json_u64(reply, "released_bytes", result->released_bytes);
	sn_json_u64(reply, "evicted_objects", result->evicted_objects);
	show_moved(reply, result);
	sn_json_u64(reply, "guest_bytes", result->guest_bytes);
	if (result->error)
		show_holders(reply, result->holders, result->nr_holders);
	sn_json_u64(reply, "proof_bytes", result->proof_bytes);
	sn_json_ms(reply, "proof_ms", result->proof_ms);
}
