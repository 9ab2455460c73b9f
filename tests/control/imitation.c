/*
 * imitation.c - see imitation.h.
 */
#include "imitation.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "sites.h"
#include "stats.h"

#include "internal.h"

#define DELAY_MS 400
#define NODES	 4

static const int numbers[NODES] = {0, 1, 2, 5};
static struct sn_node memory[NODES];
struct sn_node *sn_nodes[SN_MAX_NODES + 1];
_Atomic unsigned int sn_node_end = SN_FIRST_NODE;
void (*sn_event_hook)(void);

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static _Atomic int cancelled[SN_MAX_NODES + 1];
static _Atomic int under_way[SN_MAX_NODES + 1]; /* how many joined */
static _Atomic int64_t began[SN_MAX_NODES + 1];
static _Atomic int policy_of[SN_MAX_NODES + 1];
static struct sn_event events[SN_EVENTS];
static uint64_t last_event;
_Atomic int imitation_caches = 1;

const char *sn_version(void)
{
	return "0.0-test";
}

static void fake_cpus(unsigned int node, char *buf, size_t size)
{
	snprintf(buf, size, "%u-%u", 2 * (node - SN_FIRST_NODE), 2 * (node - SN_FIRST_NODE) + 1);
}

static size_t fake_room(unsigned int node)
{
	return node == SN_FIRST_NODE ? SIZE_MAX : 12345;
}

static const struct sn_placement placement = {
	.name = "simulated", .reason = "a \"test\"", .cpus = fake_cpus, .room = fake_room};
const struct sn_placement *sn_placement = &placement;

const char *sn_errno_name(int error)
{
	const char *name = strerrorname_np(error < 0 ? -error : error);

	return name ? name : "EIO";
}

unsigned int sn_node_find(int os_number)
{
	for_each_node(n)
		if (sn_nodes[n]->os_number == os_number)
			return n;
	return SN_NODE_NONE;
}

void sn_node_usable_mask(struct sn_nodemask *mask)
{
	memset(mask, 0, sizeof(*mask));
	for_each_node(n)
		sn_mask_add(mask, n);
}

void imitation_event(unsigned int node, enum sn_node_state to, const char *action)
{
	struct sn_event *event;
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	pthread_mutex_lock(&mutex);
	event = &events[last_event++ % SN_EVENTS];
	event->seq = last_event;
	event->time_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	event->os_node = sn_nodes[node]->os_number;
	event->from = sn_node_state(sn_nodes[node]);
	event->to = to;
	event->action = action;
	strcpy(event->cause, "test");
	atomic_store(&sn_nodes[node]->state, to);
	pthread_mutex_unlock(&mutex);
	if (sn_event_hook)
		sn_event_hook();
}

bool sn_event_next(uint64_t since, struct sn_event *event)
{
	bool found;

	pthread_mutex_lock(&mutex);
	found = since < last_event;
	if (found) {
		uint64_t seq = since + 1;

		if (last_event - seq >= SN_EVENTS)
			seq = last_event - SN_EVENTS + 1;
		*event = events[(seq - 1) % SN_EVENTS];
	}
	pthread_mutex_unlock(&mutex);
	return found;
}

uint64_t sn_event_last(void)
{
	uint64_t last;

	pthread_mutex_lock(&mutex);
	last = last_event;
	pthread_mutex_unlock(&mutex);
	return last;
}

static void tell(const struct sn_offline_request *req, unsigned int node, enum sn_phase phase,
		 uint64_t done, uint64_t total)
{
	struct sn_progress progress = {
		.os_node = sn_nodes[node]->os_number, .phase = phase, .done = done, .total = total};

	if (req->progress)
		req->progress(req->arg, &progress);
}

static int fail(struct sn_lifecycle_result *result, int error, const char *message)
{
	result->error = error;
	strcpy(result->message, message);
	return error;
}

static int leave_slowly(unsigned int node, const struct sn_offline_request *req,
			struct sn_lifecycle_result *result)
{
	for (int ms = 0; req->policy == SN_WAIT || ms < DELAY_MS; ms += 5) {
		if (cancelled[node])
			return fail(result, -ECANCELED, "cancelled");
		if (req->timeout_ms >= 0 && ms >= req->timeout_ms)
			return fail(result, -ETIMEDOUT, "the time is over");
		if (sn_node_state(sn_nodes[node]) == SN_OFFLINE)
			return 0;
		if (ms % 100 == 0)
			tell(req, node, req->policy == SN_WAIT ? SN_PHASE_WAIT : SN_PHASE_MIGRATE,
			     (uint64_t)ms, DELAY_MS);
		imitation_pause(5);
	}
	return 0;
}

static int leave(unsigned int node, const struct sn_offline_request *req,
		 struct sn_lifecycle_result *result)
{
	int error = 0;
	bool first;

	result->policy = req->policy;
	if (sn_node_state(sn_nodes[node]) == SN_OFFLINE) {
		result->already = true;
		return 0;
	}
	first = under_way[node]++ == 0;
	if (first) {
		cancelled[node] = 0;
		began[node] = imitation_now();
		policy_of[node] = (int)req->policy;
		imitation_event(node, SN_GOING_OFFLINE, "MEM_GOING_OFFLINE");
	}
	tell(req, node, SN_PHASE_CLOSE, 1, 1);
	if (req->policy == SN_STRICT) {
		result->nr_holders = 1;
		result->holders[0] = (struct sn_holder){"malloc-64", 3, 1, 192};
		error = fail(result, -EBUSY, "live memory remains");
	} else {
		error = leave_slowly(node, req, result);
	}
	if (first)
		imitation_event(node, error ? SN_ONLINE : SN_OFFLINE,
				error ? "MEM_CANCEL_OFFLINE" : "MEM_OFFLINE");
	under_way[node]--;
	result->drained_objects = 7;
	result->elapsed_ms = 1.5;
	result->nr_unmovable = 1;
	result->unmovable[0] = (struct sn_unmovable){"pinned", 2};
	return error;
}

int sn_offline(const unsigned int *node, unsigned int count, const struct sn_offline_request *req,
	       struct sn_lifecycle_result *result)
{
	int first = 0;

	for (unsigned int i = 0; i < count; i++) {
		int error = leave(node[i], req, &result[i]);

		first = first ? first : error;
		result[i].state = sn_node_state(sn_nodes[node[i]]);
	}
	return first;
}

int sn_online(unsigned int node, bool rebalance, struct sn_lifecycle_result *result)
{
	result->already = sn_node_state(sn_nodes[node]) == SN_ONLINE;
	result->migrated_bytes = rebalance ? 4096 : 0;
	if (!result->already)
		imitation_event(node, SN_ONLINE, "MEM_ONLINE");
	result->state = SN_ONLINE;
	return 0;
}

void imitation_cancel(unsigned int node)
{
	cancelled[node] = 1;
}

int sn_cancel(unsigned int node, struct sn_lifecycle_result *result)
{
	result->already = under_way[node] == 0;
	imitation_cancel(node);
	while (under_way[node])
		imitation_pause(1);
	result->state = sn_node_state(sn_nodes[node]);
	return 0;
}

int sn_cordon(unsigned int node, bool cordon, struct sn_lifecycle_result *result)
{
	result->already = sn_nodes[node]->cordoned == cordon;
	sn_nodes[node]->cordoned = cordon;
	result->state = sn_node_state(sn_nodes[node]);
	return 0;
}

int sn_plan(unsigned int node, struct sn_plan *plan)
{
	plan->node = node;
	plan->feasible = true;
	plan->nr_targets = 1;
	plan->target[0].node = SN_FIRST_NODE;
	plan->target[0].free_bytes = UINT64_MAX;
	plan->nr_obstacles = 1;
	plan->obstacle[0] = "none worth the name";
	return 0;
}

bool (*sn_place_hook)(const void *frame, struct sn_place *place);

unsigned int sn_sites_at(const void *p, void *const **frame)
{
	(void)p, (void)frame;
	return 0;
}

unsigned int sn_sites_of(unsigned int node, struct sn_site *site, unsigned int max,
			 struct sn_sites_summary *summary)
{
	static const uintptr_t frames[] = {0x7f00deadbeef, 0, 0x10};

	*summary = (struct sn_sites_summary){
		.mean = node == SN_FIRST_NODE ? 0 : 4096, .dropped = 3, .more = 1};
	if (summary->mean == 0 || max == 0)
		return 0;
	site[0] = (struct sn_site){.objects = 2, .bytes = 8192, .nr_frames = 3};
	for (unsigned int i = 0; i < 3; i++)
		site[0].frame[i] = (void *)frames[i];
	return 1;
}

void sn_plan_obstacle(struct sn_plan *plan, const char *what)
{
	plan->obstacle[plan->nr_obstacles++] = what;
}

int sn_drain(unsigned int node, bool evict, struct sn_drain_result *result)
{
	result->drained_objects = node == SN_NODE_NONE ? 100 : 1;
	result->evicted_objects = evict ? 2 : 0;
	result->released_bytes = result->drained_objects * 4096;
	return 0;
}

void sn_refresh_allowed(void)
{
}

bool sn_transition_info(unsigned int node, struct sn_transition_info *info)
{
	if (under_way[node] == 0)
		return false;
	info->policy = (enum sn_policy)policy_of[node];
	info->phase = SN_PHASE_WAIT;
	info->online = false;
	info->elapsed_ms = (uint64_t)(imitation_now() - began[node]);
	strcpy(info->waiting_for, "objects");
	return true;
}

void sn_node_stats(unsigned int node, struct sn_node_stats *stats)
{
	stats->node = node;
	stats->os_node = sn_nodes[node]->os_number;
	stats->state = sn_node_state(sn_nodes[node]);
	stats->cordoned = sn_nodes[node]->cordoned;
	stats->allowed = stats->has_memory = true;
	stats->capacity_bytes = node == SN_FIRST_NODE ? SIZE_MAX : 1u << 30;
	stats->live_bytes = UINT64_MAX - 1;
	stats->large_blocks = 2;
	stats->large_bytes = 1000;
}

bool sn_slabinfo(unsigned int cache, unsigned int node, struct sn_slabinfo *info)
{
	if ((int)cache >= imitation_caches)
		return false;
	info->cache = cache % 2 ? "malloc-64" : "odd \\\n name";
	info->node = node;
	info->os_node = sn_nodes[node]->os_number;
	info->object_size = 64;
	info->active_objects = cache + 3;
	return true;
}

void sn_totals(struct sn_totals *totals)
{
	totals->nodes = NODES;
	totals->nodes_online = NODES;
	totals->live_bytes = 1;
	totals->cached_bytes = 2;
}

const char *sn_fast_path_name(void)
{
	return "locked";
}

const char *sn_fast_path_reason(void)
{
	return "a test";
}

unsigned int sn_fallback(unsigned int node, unsigned int *order, unsigned int max)
{
	unsigned int count = 0;

	for_each_node(n)
		if (n != node && count < max)
			order[count++] = n;
	return count;
}

static bool fake_option(unsigned int index, struct sn_control_option *row)
{
	*row = (struct sn_control_option){.name = "SLABNODE_X",
					  .type = "text",
					  .range = "any",
					  .value = "\xff\xc3\xa9",
					  .fallback = "none",
					  .help = "a row"};
	return index == 0;
}

static int fake_fault(const char *spec, char *message, size_t size)
{
	if (!strncmp(spec, "good", 4))
		return 0;
	snprintf(message, size, "no fault '%s'", spec);
	return -EINVAL;
}

static int fake_move(unsigned int from, const struct sn_nodemask *to, struct sn_move_result *result)
{
	result->moved = 3;
	result->busy = from == SN_FIRST_NODE ? 1 : 0;
	return sn_mask_count(to) ? 0 : -EINVAL;
}

void imitation_start(void)
{
	last_event = 0;
	sn_node_end = SN_FIRST_NODE;
	for (unsigned int i = 0; i < NODES; i++, sn_node_end++) {
		cancelled[sn_node_end] = under_way[sn_node_end] = 0;
		sn_nodes[sn_node_end] = &memory[i];
		memory[i].index = sn_node_end;
		memory[i].os_number = numbers[i];
		memory[i].allowed = memory[i].has_memory = true;
		memory[i].cordoned = false;
		for (unsigned int j = 0; j < NODES; j++)
			memory[i].distance[SN_FIRST_NODE + j] = i == j ? 10 : 20;
		atomic_store(&memory[i].state, SN_ONLINE);
	}
}

const struct sn_control_config imitation_config = {
	.rundir = "",
	.command = "fake \"core\"",
	.topology_source = "synthetic",
	.simulated = true,
	.verbose = true,
	.default_policy = SN_MIGRATE,
	.reap_interval_ms = 1000,
	.option = fake_option,
	.fault = fake_fault,
	.move_process = fake_move,
};
