/*
 * offline.c - takes nodes out of service: claim, close, drain, release, policy, commit or roll
 * back.  The order, and why, is told in lifecycle.c and docs/lifecycle.md.
 *
 * A command has a set of nodes.  All leave the masks and memory policies first and are closed, then
 * each is emptied in turn.  A node that somebody else is taking away already is joined, after the
 * own ones are done, so that two commands cannot wait for each other.
 */
#include "offline.h"

#include "callback.h"
#include "core.h"
#include "drain.h"
#include "event.h"
#include "loan.h"
#include "movable.h"
#include "notifier.h"
#include "pages.h"
#include "probe.h"
#include "rebind.h"
#include "release.h"
#include "stats.h"
#include "table.h"

#define LONGEST_TIMEOUT_MS (1000ll * 86400 * 365 * 10) /* beyond that: none */

void sn_offline_report(struct sn_offline *o, enum sn_phase phase, uint64_t done, uint64_t total)
{
	struct sn_progress progress = {
		.os_node = o->node->os_number,
		.phase = phase,
		.done = done,
		.total = total,
		.elapsed_ms = (sn_now_ns() - o->begin_ns) / 1000000,
	};

	atomic_store(&o->node->transition->phase, phase);
	SN_PROBE(phase, o->node->os_number, sn_phase_name(phase), done, total);
	if (o->request->progress != NULL)
		o->request->progress(o->request->arg, &progress);
}

_Static_assert(SN_FAULT_ROLLBACK - SN_FAULT_CLOSE == SN_PHASE_ROLLBACK - SN_PHASE_CLOSE,
	       "a fault point a phase, in the same order");

int sn_offline_step(struct sn_offline *o, enum sn_phase phase)
{
	int error = sn_fault((enum sn_fault_point)(SN_FAULT_CLOSE + phase - SN_PHASE_CLOSE));

	if (error == 0 || phase == SN_PHASE_COMMIT || phase == SN_PHASE_ROLLBACK)
		return 0;
	return sn_result_fail(o->result, error, "step %s failed: %s", sn_phase_name(phase),
			      sn_errno_name(error));
}

int sn_offline_enter(struct sn_offline *o, enum sn_phase phase)
{
	int error = sn_offline_step(o, phase);

	sn_offline_report(o, phase, 0, 0);
	return error;
}

bool sn_offline_cancelled(const struct sn_offline *o)
{
	return atomic_load(&o->node->transition->cancel) != 0;
}

static bool out_of_time(const struct sn_offline *o)
{
	return o->deadline_ns != 0 && sn_now_ns() >= o->deadline_ns;
}

bool sn_offline_forked(const struct sn_offline *o)
{
	return o->generation != sn_callback_generation();
}

bool sn_offline_must_stop(void *arg)
{
	return sn_offline_cancelled(arg) || out_of_time(arg);
}

static void raise_stall(struct sn_offline *o, uint64_t ns)
{
	o->pace.longest_ns = sn_max(o->pace.longest_ns, ns);
}

/* Bytes that the nodes of a mask can take, UINT64_MAX for no limit. */
static uint64_t room_on(const struct sn_nodemask *to, bool with_cached)
{
	uint64_t room = 0;

	for_each_node(n) {
		uint64_t more;

		if (!sn_mask_has(to, n))
			continue;
		more = sn_placement->room(n);
		if (more == SIZE_MAX)
			return UINT64_MAX;
		if (with_cached)
			more += sn_cached_bytes(n);
		room = more > UINT64_MAX - room ? UINT64_MAX : room + more;
	}
	return room;
}

/* What is cached on the targets goes back to the system. No lock held. */
static void reclaim_on(const struct sn_nodemask *to)
{
	struct sn_drain_result drained;

	for_each_node(n)
		if (sn_mask_has(to, n))
			sn_drain(n, false, &drained);
}

static int check_room(uint64_t bytes, uint64_t room, struct sn_lifecycle_result *result)
{
	if (room >= bytes)
		return 0;
	return sn_result_fail(result, -ENOMEM,
			      "no room elsewhere: %llu bytes to move, %llu bytes free",
			      (unsigned long long)bytes, (unsigned long long)room);
}

/*
 * What would move has to fit elsewhere; *need adds up over the nodes of one command.  What is
 * cached elsewhere counts as room here: whether it suffices is found out when it was given back.
 */
static int refuse_without_room(const struct sn_offline *o, const struct sn_nodemask *to,
			       uint64_t *need)
{
	uint64_t bytes = sn_live_bytes(o->node->index), here, room;

	if (sn_placement->room == NULL)
		return 0;
	room = room_on(to, true);
	if (room < *need + bytes && sn_placement->resident != NULL) {
		/* Some of it may be elsewhere already. */
		here = sn_placement->resident(o->node->index);
		bytes = here > 0 ? sn_min(bytes, here) : bytes;
	}
	if (check_room(*need + bytes, room, o->result) != 0)
		return -ENOMEM;
	*need += bytes;
	return 0;
}

/* By now exactly what has to move has pages: found out before any of them does. */
int sn_offline_find_room(struct sn_offline *o, const struct sn_nodemask *to)
{
	uint64_t bytes;

	if (sn_placement->room == NULL || sn_placement->resident == NULL)
		return 0;
	bytes = sn_placement->resident(o->node->index);
	if (room_on(to, false) < bytes)
		reclaim_on(to);
	return check_room(bytes, room_on(to, false), o->result);
}

void sn_offline_limit_targets(const struct sn_offline_request *request, struct sn_nodemask *targets)
{
	if (sn_mask_count(&request->to) == 0)
		return;
	for (unsigned int w = 0; w < SN_NODE_MASK_WORDS; w++)
		targets->word[w] &= request->to.word[w];
}

/* Can this node leave?  1: nothing to do, result filled. */
static int check_node(struct sn_offline *o) SN_REQUIRES(&sn_lifecycle_lock)
{
	struct sn_lifecycle_result *result = o->result;
	struct sn_node *node = o->node;

	switch (sn_node_state(node)) {
	case SN_OFFLINE:
		result->already = true;
		return 1;
	case SN_GOING_ONLINE:
		return sn_result_fail(result, -EBUSY,
				      "node %d is coming online: the opposite request",
				      node->os_number);
	case SN_GOING_OFFLINE:
		o->joins = true;
		sn_transition_join(node, &o->joiner, result);
		return 0;
	case SN_ONLINE:
		return 0;
	}
	return 0;
}

/* Publishes GOING_OFFLINE for all nodes that can leave. */
static void claim_all(struct sn_offline *set, unsigned int count) SN_REQUIRES(&sn_lifecycle_lock)
{
	struct sn_nodemask targets;
	uint64_t need = 0, held;
	unsigned int leaving = 0, usable = sn_node_count_usable();
	bool any = false;

	sn_node_usable_mask(&targets);
	for (unsigned int i = 0; i < count; i++)
		sn_mask_remove(&targets, set[i].node->index);
	sn_offline_limit_targets(set[0].request, &targets);
	for (unsigned int i = 0; i < count; i++)
		leaving += sn_node_usable(set[i].node);
	for (unsigned int i = 0; i < count; i++) {
		struct sn_offline *o = &set[i];

		if (o->result->error != 0 || o->result->already ||
		    sn_node_state(o->node) != SN_ONLINE)
			continue;
		if (leaving > 0 && leaving >= usable) {
			count == 1 ? sn_result_fail(o->result, -EBUSY,
						    "node %d is the last usable node",
						    o->node->os_number)
				   : sn_result_fail(o->result, -EBUSY,
						    "no usable node would remain without node %d",
						    o->node->os_number);
			continue;
		}
		if (o->request->policy == SN_MIGRATE) {
			if (sn_mask_count(&targets) == 0) {
				sn_result_fail(o->result, -EINVAL,
					       "no usable node among the targets");
				continue;
			}
			if (refuse_without_room(o, &targets, &need) != 0)
				continue;
		}
		if (sn_transition_claim(o->node, set, false, o->request->policy) != 0) {
			sn_result_fail(o->result, -ENOMEM, "no memory for the transition record");
			continue;
		}
		o->claimed = any = true;
		sn_transition_set_state(o->node, SN_GOING_OFFLINE);
		atomic_store(&sn_standin[o->node->index], SN_NODE_NONE);
		sn_loans_recall(o->node->index, &o->recalled);
	}
	if (!any)
		return;
	/* Before any page moves: else untouched pages would fault on the leaving nodes later. */
	sn_node_policy_mask(&targets);
	held = sn_rebind_ranges(&targets);
	for (unsigned int i = 0; i < count; i++) {
		raise_stall(&set[i], held);
		set[i].unbound = sn_rebind_error();
	}
}

static void roll_back(struct sn_offline *o)
{
	struct sn_node *node = o->node;

	if (sn_offline_forked(o))
		return; /* sn_lifecycle_fork_child() did */
	sn_offline_enter(o, SN_PHASE_ROLLBACK);
	sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	raise_stall(o, sn_transition_publish_online(node));
	sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	sn_tables_open(node->index);
	o->result->state = SN_ONLINE;
	sn_event_add(node, SN_GOING_OFFLINE, SN_ONLINE, "MEM_CANCEL_OFFLINE", o->result->message);
	if (o->told)
		sn_notify_end(node, false, true, o->request->policy);
}

static void finish(struct sn_offline *o)
{
	o->result->elapsed_ms = (double)(sn_now_ns() - o->begin_ns) / 1e6;
	o->result->max_stall_ms = (double)o->pace.longest_ns / 1e6;
	SN_PROBE(offline_done, o->node->os_number, o->result->error, o->result->migrated_bytes,
		 o->pace.longest_ns);
	sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	sn_transition_unclaim(o->node, o->result);
	sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	sn_tables_publish();
}

void sn_offline_serve_cancels(struct sn_offline *o)
{
	for (unsigned int i = 0; i < o->count; i++) {
		struct sn_offline *other = &o->set[i];

		if (other == o || !other->claimed || !sn_offline_cancelled(other))
			continue;
		sn_offline_fail_stopped(other);
		roll_back(other);
		other->claimed = false;
		finish(other);
	}
}

/* The last moment for a cancel or a veto: behind it there is no way back. */
static int commit(struct sn_offline *o)
{
	struct sn_node *node = o->node;

	sn_offline_enter(o, SN_PHASE_COMMIT);
	sn_releases_await();
	sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	if (sn_offline_cancelled(o)) {
		sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
		return sn_offline_fail_stopped(o);
	}
	sn_transition_set_state(node, SN_OFFLINE);
	sn_loans_find();
	sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	/* Slabs that emptied meanwhile were purged as they came; now they are out of reach. */
	sn_pages_vacate(node);
	o->result->state = SN_OFFLINE;
	sn_event_add(node, SN_GOING_OFFLINE, SN_OFFLINE, "MEM_OFFLINE",
		     sn_policy_name(o->request->policy));
	sn_notify_end(node, false, false, o->request->policy);
	return 0;
}

/*
 * Freed memory that could not be given back (locked) has to move.  What somebody tries again to
 * give back just now may be cached again in a moment: it was counted in before it left the lists.
 */
static bool nothing_cached(struct sn_node *node)
{
	bool nothing;

	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	nothing = node->dirty.pages == 0 && node->cached_span_pages == 0 &&
		  atomic_load(&node->releases[0]) == 0 && atomic_load(&node->releases[1]) == 0;
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	return nothing;
}

/* Steps 4 to 7 for one node whose grace period has passed. */
static void offline_one(struct sn_offline *o)
{
	struct sn_lifecycle_result *result = o->result;
	uint64_t returned;
	int error;

	error = sn_offline_enter(o, SN_PHASE_DRAIN);
	if (!sn_movable_settle(o->node, sn_offline_must_stop, o) && error == 0)
		error = sn_offline_fail_stopped(o);
	result->drained_objects += sn_drain_stores(o->node);
	sn_offline_report(o, SN_PHASE_DRAIN, result->drained_objects, result->drained_objects);
	if (error == 0)
		error = sn_offline_enter(o, SN_PHASE_RELEASE);
	sn_drain_release(o->node, &o->pace);
	if (error == 0)
		error = sn_offline_cancelled(o) ? sn_offline_fail_stopped(o) : sn_policy_apply(o);
	sn_releases_await(); /* what stays of them is cached again */
	if (error == 0 && o->request->policy != SN_MIGRATE)
		error = sn_policy_move_off(o, nothing_cached(o->node));
	if (error == 0) {
		sn_drain_release(o->node, &o->pace);
		if (o->request->policy != SN_MIGRATE)
			sn_policy_move_metadata(o);
		error = commit(o);
	}
	if (error != 0)
		roll_back(o);
	returned = atomic_load(&o->node->returned_pages) - o->returned_before;
	result->released_bytes = returned << SN_PAGE_SHIFT;
}

/* Undoes a claim whose tables were never closed.  Its tables may hold objects of nodes whose
 * loans were recalled: those loans are given back, or, when somebody has moved them on already,
 * the objects are taken out. */
static void abandon(struct sn_offline *o)
{
	sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	for_each_node(n)
		if (sn_mask_has(&o->recalled, n) && atomic_load(&sn_standin[n]) == SN_NODE_NONE &&
		    sn_node_state(sn_nodes[n]) == SN_OFFLINE)
			sn_loan_give(n, o->node->index);
	raise_stall(o, sn_transition_publish_online(o->node));
	sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	sn_tables_publish();
	if (sn_mask_count(&o->recalled) > 0)
		sn_loan_empty_tables(o->node->index, &o->pace.longest_ns);
	o->result->state = SN_ONLINE;
	o->claimed = false;
	sn_event_add(o->node, SN_GOING_OFFLINE, SN_ONLINE, "MEM_CANCEL_OFFLINE",
		     o->result->message);
	finish(o);
}

static int close_one(struct sn_offline *o)
{
	int error = sn_fault(SN_FAULT_GOING_OFFLINE);

	if (error != 0)
		return sn_result_fail(o->result, error, "going-offline was vetoed: %s",
				      sn_errno_name(error));
	if (o->unbound != 0) /* a page fault could still choose the node */
		return sn_result_fail(o->result, o->unbound, "memory policies cannot be set: %s",
				      sn_errno_name(o->unbound));
	o->returned_before = atomic_load(&o->node->returned_pages);
	error = sn_offline_step(o, SN_PHASE_CLOSE);
	if (error != 0)
		return error;
	error = sn_drain_close(o->node, &o->pace.longest_ns);
	if (error != 0)
		return sn_result_fail(o->result, -EPERM, "membarrier is refused here (%s)",
				      sn_errno_name(error));
	/* At once, not when its turn comes: what is cached here may belong to others. */
	o->result->drained_objects = sn_tables_drain(o->node->index, true);
	return 0;
}

/* The end of a node whose tables are closed and that stays. */
static void give_up(struct sn_offline *o)
{
	roll_back(o);
	o->claimed = false;
	finish(o);
}

/* Tells the notifiers, now that the node allocates nothing any more; one that refuses undoes all.
 */
static void begin_notify(struct sn_offline *o)
{
	struct sn_notify_request request = {.stop = sn_offline_must_stop, .arg = o};
	int error = sn_notify_begin(o->node, false, o->request->policy, &request);

	o->told = request.told;
	if (error == 0)
		return;
	if (sn_offline_forked(o) || !o->told)
		sn_offline_fail_stopped(o);
	else
		sn_result_fail(o->result, -EBUSY, "refused by notifier %s (%s)", request.who,
			       sn_errno_name(error));
	give_up(o);
}

/* Whether a callback for another node of the command forked: this child has undone them all. */
static bool left_behind(struct sn_offline *o)
{
	if (!sn_offline_forked(o))
		return false;
	sn_offline_fail_stopped(o);
	o->claimed = false;
	return true;
}

/* Step 3 for all nodes that leave, all of which are out of the masks and policies already. */
static void close_all(struct sn_offline *set, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		struct sn_offline *o = &set[i];

		if (!o->claimed || left_behind(o))
			continue;
		if (close_one(o) != 0) {
			abandon(o);
			continue;
		}
		if (sn_policy_move_guests(o) != 0) {
			give_up(o);
			continue;
		}
		sn_event_add(o->node, SN_ONLINE, SN_GOING_OFFLINE, "MEM_GOING_OFFLINE",
			     sn_policy_name(o->request->policy));
		sn_offline_report(o, SN_PHASE_CLOSE, 1, 1);
		begin_notify(o);
	}
}

/* Waits for those of the set that somebody else is taking offline. */
static void join_others(struct sn_offline *set, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		if (set[i].joins)
			sn_transition_await(set[i].node, &set[i].joiner, set[i].deadline_ns);
}

/* sn_transition_settle() drops the lock: all nodes are settled when one round found nothing to wait
 * for. */
static void settle_all(struct sn_offline *set, unsigned int count) SN_REQUIRES(&sn_lifecycle_lock)
{
	for (unsigned int i = 0; i < count;)
		i = sn_transition_settle(set[i].node) ? 0 : i + 1;
}

/* Whether this node may be asked for at all. */
static int check_request(struct sn_offline *o, const unsigned int *node, unsigned int i)
{
	if (node[i] < SN_FIRST_NODE || node[i] >= sn_node_end)
		return sn_result_fail(o->result, -ENODEV, "no such node");
	o->node = sn_nodes[node[i]];
	for (unsigned int k = 0; k < i; k++)
		if (node[k] == node[i])
			return sn_result_fail(o->result, -EINVAL, "node named twice");
	if (!o->node->allowed && sn_counter_read(o->node->mapped_pages) == 0)
		return sn_result_fail(o->result, -EINVAL, "node %d is not allowed to this process",
				      o->node->os_number);
	return 0;
}

/* 0, or the first reason why nothing is done for any of the nodes. */
static int set_begin(struct sn_offline *set, const unsigned int *node, unsigned int count,
		     const struct sn_offline_request *request, struct sn_lifecycle_result *result)
{
	unsigned int stall_ms =
		request->max_stall_ms == 0 ? SN_PACE_DEFAULT_MS : request->max_stall_ms;
	int error = 0;

	for (unsigned int i = 0; i < count; i++) {
		struct sn_offline *o = &set[i];
		int refused;

		sn_result_begin(&result[i], node[i]);
		result[i].policy = request->policy;
		*o = (struct sn_offline){.request = request,
					 .result = &result[i],
					 .set = set,
					 .count = count,
					 .pace = sn_pace_start(stall_ms * 1000000ull)};
		o->begin_ns = sn_now_ns();
		o->generation = sn_callback_generation();
		if (request->timeout_ms >= 0 && request->timeout_ms < LONGEST_TIMEOUT_MS)
			o->deadline_ns = o->begin_ns + (uint64_t)request->timeout_ms * 1000000u + 1;
		refused = check_request(o, node, i);
		error = error != 0 ? error : refused;
	}
	for (unsigned int i = 0; i < count && error != 0; i++)
		if (result[i].error == 0)
			sn_result_fail(&result[i], -ECANCELED,
				       "nothing was done: refused for another node");
	return error;
}

int sn_offline(const unsigned int *node, unsigned int count,
	       const struct sn_offline_request *request, struct sn_lifecycle_result *result)
{
	struct sn_offline set[SN_MAX_NODES];
	int error = 0;

	if (count == 0 || count > SN_MAX_NODES)
		return -EINVAL;
	if (!SN_HOTPLUG) {
		for (unsigned int i = 0; i < count; i++) {
			sn_result_begin(&result[i], node[i]);
			sn_result_refuse_static(&result[i]);
		}
		return -ENOTSUP;
	}
	if (sn_in_callback()) {
		for (unsigned int i = 0; i < count; i++) {
			sn_result_begin(&result[i], node[i]);
			sn_result_refuse_callback(&result[i]);
		}
		return -EDEADLK;
	}
	if (!sn_core_started()) {
		for (unsigned int i = 0; i < count; i++) {
			sn_result_begin(&result[i], node[i]);
			sn_result_fail(&result[i], -EINVAL, "the library has not started yet");
		}
		return -EINVAL;
	}
	sn_lock_check_none_held();
	error = set_begin(set, node, count, request, result);
	if (error != 0)
		return error;
	sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	settle_all(set, count);
	for (unsigned int i = 0; i < count; i++)
		check_node(&set[i]);
	claim_all(set, count);
	sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	close_all(set, count);
	for (unsigned int i = 0; i < count; i++)
		if (set[i].claimed && !left_behind(&set[i])) {
			offline_one(&set[i]);
			set[i].claimed = false;
			finish(&set[i]);
		}
	join_others(set, count);
	for (unsigned int i = 0; i < count && error == 0; i++)
		error = result[i].error;
	return error;
}
