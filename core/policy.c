/*
 * policy.c - what becomes of the objects that live on a leaving node: strict, wait, migrate.
 *
 * Called with the node closed, drained and acknowledged, and with no lock held.  Each returns 0
 * when nothing of the node is in use any more (strict, wait) or in place (migrate), else the error
 * that the result tells, and the caller rolls back.
 */
#include "offline.h"

#include "drain.h"
#include "migrate.h"
#include "movable.h"

#define STRICT_LOOK_AGAIN_MS 100
#define MIGRATE_RETRY_MS     5000

static int fail_busy(struct sn_offline *o, int error, const char *why)
{
	struct sn_lifecycle_result *result = o->result;

	result->nr_holders = sn_drain_holders(o->node, result->holders, SN_MAX_HOLDERS);
	if (result->nr_holders > 0)
		return sn_result_fail(result, error, "%s: %llu objects in %s%s", why,
				      (unsigned long long)result->holders[0].objects,
				      result->holders[0].cache,
				      result->nr_holders > 1 ? " and others" : "");
	return sn_result_fail(result, error, "%s", why);
}

int sn_offline_fail_stopped(struct sn_offline *o)
{
	if (atomic_load(&o->node->transition->vetoed) && !sn_offline_forked(o))
		return sn_result_fail(o->result, -EBUSY, "refused by notifier %s",
				      o->node->transition->veto);
	if (sn_offline_forked(o))
		return sn_result_fail(o->result, -ECANCELED, "undone by a fork");
	if (sn_offline_cancelled(o))
		return sn_result_fail(o->result, -ECANCELED, "cancelled");
	return fail_busy(o, -ETIMEDOUT, "timed out");
}

/* strict: frees may be in flight, look again for a moment, or for the request's time if that is
 * shorter.  What is left then is the answer: busy. */
static int policy_strict(struct sn_offline *o)
{
	uint64_t until = sn_now_ns() + STRICT_LOOK_AGAIN_MS * 1000000ull;

	if (o->deadline_ns != 0)
		until = sn_min(until, o->deadline_ns);
	for (;;) {
		uint32_t seq = atomic_load(&o->node->free_seq);

		if (sn_drain_live(o->node) == 0)
			return 0;
		if (sn_offline_cancelled(o))
			return sn_offline_fail_stopped(o);
		if (sn_now_ns() >= until)
			return fail_busy(o, -EBUSY, "live memory remains");
		atomic_fetch_add(&o->node->waiters, 1);
		sn_futex_wait(&o->node->free_seq, seq, 1000000);
		atomic_fetch_sub(&o->node->waiters, 1);
	}
}

static int policy_wait(struct sn_offline *o)
{
	uint64_t before = sn_drain_live(o->node), told = 0;
	int error = sn_offline_enter(o, SN_PHASE_WAIT);

	if (error != 0)
		return error;
	for (;;) {
		uint32_t seq;
		uint64_t live, now;
		int64_t left = -1;

		atomic_fetch_add(&o->node->waiters, 1);
		seq = atomic_load(&o->node->free_seq);
		live = sn_drain_live(o->node);
		now = sn_now_ns();
		if (live > 0 && now - told > 100000000) {
			sn_offline_report(o, SN_PHASE_WAIT, before - sn_min(live, before), before);
			told = now;
		}
		if (o->deadline_ns != 0)
			left = now >= o->deadline_ns ? 0 : (int64_t)(o->deadline_ns - now);
		if (live > 0 && !sn_offline_must_stop(o))
			sn_futex_wait(&o->node->free_seq, seq, left);
		atomic_fetch_sub(&o->node->waiters, 1);
		if (live == 0)
			return 0;
		if (sn_offline_must_stop(o))
			return sn_offline_fail_stopped(o);
		sn_offline_serve_cancels(o);
	}
}

static void migrate_progress(void *arg, uint64_t done, uint64_t total)
{
	sn_offline_report(arg, SN_PHASE_MIGRATE, done, total);
}

static void migration_init(struct sn_offline *o, struct sn_migration *m)
{
	const struct sn_offline_request *request = o->request;

	*m = (struct sn_migration){
		.node = o->node,
		.from = o->node->index,
		.order = o->node->fallback,
		.pace = &o->pace,
		.stop = sn_offline_must_stop,
		.progress = migrate_progress,
		.arg = o,
	};
	sn_node_usable_mask(&m->to);
	sn_offline_limit_targets(request, &m->to);
}

static void evict_progress(void *arg, uint64_t done, uint64_t total)
{
	sn_offline_report(arg, SN_PHASE_EVICT, done, total);
}

/* The nearest node that objects may move to. */
static unsigned int nearest_target(const struct sn_migration *m)
{
	for_each_in_order(node, m->order)
		if (sn_mask_has(&m->to, node))
			return node;
	return SN_NODE_NONE;
}

/* Objects that can move by themselves leave before pages do: the fewer pages, and what is left of
 * their slabs goes back to the system.  Nobody has to: what stays is moved with its pages. */
static int evict(struct sn_offline *o)
{
	struct sn_migration m;
	struct sn_eviction e = {
		.node = o->node,
		.stop = sn_offline_must_stop,
		.progress = evict_progress,
		.arg = o,
	};

	migration_init(o, &m);
	e.target = nearest_target(&m);
	sn_movable_evict(&e);
	o->result->evicted_objects = e.evicted;
	o->pace.longest_ns = sn_max(o->pace.longest_ns, e.stall_ns);
	if (sn_offline_forked(o) || sn_offline_must_stop(o))
		return sn_offline_fail_stopped(o);
	if (e.evicted > 0)
		sn_drain_release(o->node, &o->pace);
	return 0;
}

static int policy_migrate(struct sn_offline *o)
{
	int error = sn_offline_enter(o, SN_PHASE_EVICT);

	if (error == 0)
		error = evict(o);
	if (error == 0)
		error = sn_offline_enter(o, SN_PHASE_MIGRATE);
	return error != 0 ? error : sn_policy_move_off(o, false);
}

static int fail_refused(struct sn_offline *o)
{
	return sn_result_fail(o->result, -EPERM, "moving pages is refused here (%s: %s)",
			      sn_placement->name, sn_placement->reason);
}

static int fail_unmoved(struct sn_offline *o, const struct sn_migration *m)
{
	const struct sn_move_result *moved = &m->moved;

	sn_result_unmovable(o->result, moved);
	if (moved->no_room > 0)
		return sn_result_fail(o->result, -ENOMEM,
				      "no room elsewhere for %zu pages of the node",
				      moved->no_room);
	return fail_busy(o, -EBUSY,
			 moved->busy > 0     ? "pinned pages would not move"
			 : moved->shared > 0 ? "pages shared after fork would not move"
					     : "pages would not move");
}

#define PASS_AGAIN 1

/* 0: nothing is left; PASS_AGAIN; or the error that ends the offline. */
static int judge_pass(struct sn_offline *o, const struct sn_migration *m, uint64_t give_up_ns)
{
	bool stop = sn_offline_must_stop(o);

	/* Should the time end before the next pass does, this is what stayed. */
	if (m->left_pages > 0 && !m->stopped)
		sn_result_unmovable(o->result, &m->moved);
	if (m->error == -ENOSYS || m->error == -EPERM)
		return fail_refused(o);
	if (stop && (m->error == 0 || sn_offline_cancelled(o)))
		return sn_offline_fail_stopped(o);
	stop |= o->deadline_ns == 0 && sn_now_ns() >= give_up_ns;
	/* Other errors may pass, as pages that stay may move. */
	if (m->error != 0)
		return !stop ? PASS_AGAIN
			     : sn_result_fail(o->result, m->error, "pages cannot be moved: %s",
					      sn_errno_name(m->error));
	if (sn_offline_step(o, SN_PHASE_VERIFY) != 0)
		return o->result->error;
	if (m->left_pages == 0) {
		o->result->nr_unmovable = 0;
		return 0;
	}
	return stop ? fail_unmoved(o, m) : PASS_AGAIN;
}

/* Also of a pass that fails: what it moved stays where it is. */
static void count_moved(struct sn_lifecycle_result *result, const struct sn_migration *m)
{
	result->migrated_bytes += (uint64_t)m->moved.moved << SN_PAGE_SHIFT;
	result->guest_bytes += (uint64_t)m->guest_pages << SN_PAGE_SHIFT;
}

/* Passes over the node until a query finds no page of it left there; guests_only: no page of other
 * nodes' ranges, which lie there since those nodes were away. */
int sn_policy_move_off(struct sn_offline *o, bool guests_only)
{
	uint64_t give_up = 0;
	struct sn_migration m;
	bool guests_gone = true; /* they left before the acknowledgement; the proof shall tell */
	int error;

	migration_init(o, &m);
	if (sn_offline_find_room(o, &m.to) != 0)
		return o->result->error;
	for (int64_t pause_ns = 1000000;; pause_ns = sn_min(pause_ns * 2, (int64_t)100000000)) {
		migration_init(o, &m);
		m.guests_only = guests_only;
		m.guests_gone = guests_gone;
		guests_gone = false;
		sn_migrate_pass(&m);
		count_moved(o->result, &m);
		o->result->proof_bytes = m.proof_pages << SN_PAGE_SHIFT;
		o->result->proof_ms = (double)m.proof_ns / 1e6;
		if ((m.error == -ENOSYS || m.error == -EPERM) && sn_drain_live(o->node) == 0)
			return 0; /* nothing lives here, and nobody can move anything */
		/* However long the first pass took: the time is for what did not move in it. */
		if (give_up == 0)
			give_up = sn_now_ns() + MIGRATE_RETRY_MS * 1000000ull;
		error = judge_pass(o, &m, give_up);
		if (error != PASS_AGAIN)
			return error;
		sn_offline_report(o, SN_PHASE_VERIFY, 0, m.left_pages);
		sn_futex_wait(&o->node->transition->cancel, 0, pause_ns);
	}
}

/* One pass on the side: what does not move is no failure of it. */
static void move_some(struct sn_offline *o, struct sn_migration *m)
{
	m->progress = NULL;
	m->unproven = true;
	sn_migrate_pass(m);
	count_moved(o->result, m);
}

/* The allocator's own per-node metadata leaves under every policy; what cannot is reported. */
void sn_policy_move_metadata(struct sn_offline *o)
{
	struct sn_migration m;

	migration_init(o, &m);
	m.metadata_only = true;
	move_some(o, &m);
	if (m.error == 0)
		sn_result_unmovable(o->result, &m.moved);
}

/* Other nodes' pages on this one leave before the acknowledgement, since their slabs go on handing
 * out objects.  Where moving is refused as such, the policy decides what that means. */
int sn_policy_move_guests(struct sn_offline *o)
{
	uint64_t give_up = sn_now_ns() + MIGRATE_RETRY_MS * 1000000ull;
	struct sn_migration m;
	int error;

	sn_migrate_await_batches(o->node);
	for (int64_t pause_ns = 1000000;; pause_ns = sn_min(pause_ns * 2, (int64_t)100000000)) {
		migration_init(o, &m);
		m.guests_only = true;
		move_some(o, &m);
		if (m.error == -ENOSYS || m.error == -EPERM ||
		    (m.error == 0 && m.left_pages == 0 && !m.stopped)) {
			o->result->nr_unmovable = 0;
			return 0;
		}
		error = judge_pass(o, &m, give_up);
		if (error != PASS_AGAIN)
			return error;
		sn_futex_wait(&o->node->transition->cancel, 0, pause_ns);
	}
}

int sn_policy_apply(struct sn_offline *o)
{
	switch (o->request->policy) {
	case SN_STRICT:
		return policy_strict(o);
	case SN_WAIT:
		return policy_wait(o);
	case SN_MIGRATE:
		return policy_migrate(o);
	}
	return -EINVAL;
}
