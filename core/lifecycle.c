/*
 * lifecycle.c - the state machine of a node.
 *
 *	          cancel, or refused                     cancel
 *	        +--------------------+          +-------------------+
 *	        v                    |          |                   v
 *	     ONLINE ----------> GOING_OFFLINE   GOING_ONLINE <--- OFFLINE
 *	        ^    offline         |               |      online  ^
 *	        |                    +---------------|--------------+
 *	        +------------------------------------+
 *
 *	state		usable	sn_standin[n]	tables of n	frees of n's objects
 *	ONLINE		yes	n		published	tables, stores, slabs
 *	GOING_OFFLINE	no	none		closed, drained	straight to the slab
 *	OFFLINE		no	stand-in m	closed, empty	m's tables; else the slab
 *	GOING_ONLINE	no	none		closed, empty	straight to the slab
 *
 * Offline: claim (under sn_lifecycle_lock: refuse, publish GOING_OFFLINE), grace period,
 * drain, release, what the policy says, commit or roll back.  The lock covers each change of
 * state, never a drain, a move or a wait; in between the node's transition record says who is
 * at it.  Whoever wants the same joins; the opposite is refused with -EBUSY.
 *
 * While a node is OFFLINE its structures are lent to its stand-in: refills there take its
 * partly filled slabs first, so that a program whose nodes come and go does not bloat.
 * Every change of sn_standin away from a value m is followed by a fence, and a drain of the
 * tables of m.
 *
 * The undo allocates nothing and cannot fail; what can fail on the way back (rebinding ranges)
 * is tried again by the reaper.
 */
#include "lifecycle.h"

#include "core.h"
#include "drain.h"
#include "event.h"
#include "large.h"
#include "meta.h"
#include "migrate.h"
#include "notifier.h"
#include "stats.h"
#include "table.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define STRICT_LOOK_AGAIN_MS 100
#define MIGRATE_RETRY_MS     5000
#define DEFAULT_STALL_MS     20
#define LONGEST_TIMEOUT_MS   (1000ll * 86400 * 365 * 10) /* beyond that: none */

/* Who changes a node.  One record a node, never freed. */
struct sn_transition {
	/* Written under sn_lifecycle_lock; status reads them without. */
	_Atomic bool active;
	_Atomic bool online;
	_Atomic uint32_t policy; /* enum sn_policy */
	_Atomic uint64_t begin_ns;
	_Atomic uint32_t phase;		 /* enum sn_phase */
	_Atomic uint32_t cancel;	 /* somebody wants it undone */
	_Atomic uint32_t finished;	 /* counts transitions that ended: joiners sleep on it */
	_Atomic bool vetoed;		 /* somebody refused after the beginning */
	char veto[32];			 /* who; written before `vetoed` is set */
	struct sn_lifecycle_result last; /* of the one that ended last */
};

/* --- names ------------------------------------------------------------------------------- */

const char *sn_phase_name(enum sn_phase phase)
{
	static const char *const names[] = {"close",   "drain",	 "release", "wait",
					    "migrate", "verify", "commit",  "rollback"};

	return names[phase];
}

const char *sn_state_name(enum sn_node_state state)
{
	static const char *const names[] = {"offline", "going-online", "online", "going-offline"};

	return names[state];
}

const char *sn_policy_name(enum sn_policy policy)
{
	static const char *const names[] = {"strict", "wait", "migrate"};

	return names[policy];
}

const char *sn_errno_name(int error)
{
	static const struct {
		int error;
		const char *name;
	} names[] = {
		{EBUSY, "EBUSY"},	  {EINVAL, "EINVAL"},
		{ENOMEM, "ENOMEM"},	  {ENODEV, "ENODEV"},
		{ETIMEDOUT, "ETIMEDOUT"}, {ECANCELED, "ECANCELED"},
		{EPERM, "EPERM"},	  {ENOSYS, "ENOSYS"},
		{EDEADLK, "EDEADLK"},	  {EACCES, "EACCES"},
		{ENOSPC, "ENOSPC"},	  {EAGAIN, "EAGAIN"},
		{ENOENT, "ENOENT"},	  {EIO, "EIO"},
		{EFAULT, "EFAULT"},	  {ENOTSUP, "ENOTSUP"},
	};

	for (size_t i = 0; i < SN_ARRAY_SIZE(names); i++)
		if (names[i].error == (error < 0 ? -error : error))
			return names[i].name;
	return "EIO";
}

/* --- results ----------------------------------------------------------------------------- */

static void result_begin(struct sn_lifecycle_result *result, unsigned int node)
{
	memset(result, 0, sizeof(*result));
	result->node = node;
	result->os_node = -1;
	if (node < sn_node_end && sn_nodes[node] != NULL) {
		result->os_node = sn_nodes[node]->os_number;
		result->state = sn_node_state(sn_nodes[node]);
	}
}

__attribute__((format(printf, 3, 4))) static int result_fail(struct sn_lifecycle_result *result,
							     int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(result->message, sizeof(result->message), format, args);
	va_end(args);
	result->error = error;
	return error;
}

static int refuse_callback(struct sn_lifecycle_result *result)
{
	return result_fail(result, -EDEADLK, "not from inside a notifier");
}

static void result_unmovable(struct sn_lifecycle_result *result, const struct sn_move_result *moved)
{
	const struct sn_unmovable rows[] = {
		{"pinned", moved->busy},
		{"shared after fork", moved->shared},
		{"no room", moved->no_room},
		{"failed", moved->failed},
	};

	result->nr_unmovable = 0;
	for (size_t i = 0; i < SN_ARRAY_SIZE(rows); i++)
		if (rows[i].pages > 0)
			result->unmovable[result->nr_unmovable++] = rows[i];
}

/* --- claiming ---------------------------------------------------------------------------- */

static struct sn_transition *transition_of(struct sn_node *node)
{
	if (node->transition == NULL)
		__atomic_store_n(&node->transition, sn_meta_alloc(sizeof(*node->transition), 64),
				 __ATOMIC_RELEASE);
	return node->transition;
}

/* Lifecycle lock held. */
static int claim(struct sn_node *node, bool online, enum sn_policy policy)
{
	struct sn_transition *t = transition_of(node);

	if (t == NULL)
		return -ENOMEM;
	t->active = true;
	t->online = online;
	t->policy = policy;
	t->begin_ns = sn_now_ns();
	atomic_store(&t->cancel, 0);
	atomic_store(&t->vetoed, false);
	atomic_store(&t->phase, SN_PHASE_CLOSE);
	return 0;
}

/* Lifecycle lock held; wakes those who joined. */
static void unclaim(struct sn_node *node, const struct sn_lifecycle_result *result)
{
	struct sn_transition *t = node->transition;

	t->active = false;
	t->last = *result;
	atomic_fetch_add(&t->finished, 1);
	sn_futex_wake(&t->finished, INT32_MAX);
}

static bool transition_active(const struct sn_node *node)
{
	return node->transition != NULL && node->transition->active;
}

/*
 * Sleeps until the transition that is under way ended, and copies its result; at most until the
 * deadline (0: none).  Called with the lifecycle lock held, returns with it dropped.
 */
static void join_transition(struct sn_node *node, uint64_t deadline_ns,
			    struct sn_lifecycle_result *result)
{
	struct sn_transition *t = node->transition;
	uint32_t finished = atomic_load(&t->finished);
	int64_t left = -1;

	sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	while (atomic_load(&t->finished) == finished && left != 0) {
		uint64_t now = sn_now_ns();

		if (deadline_ns != 0)
			left = now >= deadline_ns ? 0 : (int64_t)(deadline_ns - now);
		sn_futex_wait(&t->finished, finished, left);
	}
	if (atomic_load(&t->finished) == finished) {
		result->state = sn_node_state(node);
		result_fail(result, -ETIMEDOUT, "timed out; the request that was joined goes on");
		return;
	}
	sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	*result = t->last;
	sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
}

static void set_state(struct sn_node *node, enum sn_node_state state)
{
	atomic_store_explicit(&node->state, state, memory_order_seq_cst);
	sn_node_update_usable(node);
}

static void lend(unsigned int node, unsigned int to)
{
	if (to != SN_NODE_NONE)
		sn_mask_add(&sn_nodes[node]->lent_to, to);
	atomic_store(&sn_standin[node], (uint8_t)to);
}

/* Nodes that are away and whose stand-in is gone (or was never there) get the nearest usable
 * one.  Lifecycle lock held. */
static void find_standins(void)
{
	for_each_node(n) {
		if (sn_node_state(sn_nodes[n]) != SN_OFFLINE || atomic_load(&sn_standin[n]) != 0)
			continue;
		lend(n, sn_node_target(n));
	}
}

/* Nodes lent to `node` are lent to nobody for now.  Lifecycle lock held. */
static void recall_loans(unsigned int node, struct sn_nodemask *recalled)
{
	for_each_node(n)
		if (n != node && atomic_load(&sn_standin[n]) == node) {
			atomic_store(&sn_standin[n], SN_NODE_NONE);
			sn_mask_add(recalled, n);
		}
}

/* Some range could not be given its policy: the reaper tries again. */
static _Atomic bool policies_stale;

/* Every range gets a policy over these nodes.  Lifecycle lock held, so that of two transitions
 * the later one's masks stay.  A range that is added meanwhile reads the published masks. */
static void rebind_ranges(const struct sn_nodemask *allowed)
{
	bool failed = false;

	if (sn_placement->bind_range == NULL)
		return;
	for_each_node(n) {
		struct sn_node *node = sn_nodes[n];
		struct sn_range *range;

		sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
		for (range = node->ranges; range != NULL; range = range->next)
			failed |= sn_placement->bind_range(range->base,
							   range->nr_segments << SN_SEG_SHIFT, n,
							   allowed) < 0;
		sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	}
	atomic_store(&policies_stale, failed);
	if (failed && sn_ageing_hook != NULL)
		sn_ageing_hook(); /* the reaper may be asleep */
}

bool sn_lifecycle_stale(void)
{
	return atomic_load(&policies_stale);
}

void sn_lifecycle_repair(void)
{
	struct sn_nodemask allowed;

	if (!atomic_load(&policies_stale))
		return;
	sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	sn_node_policy_mask(&allowed);
	rebind_ranges(&allowed);
	sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	if (atomic_load(&policies_stale))
		return;
	/* What was placed meanwhile may be anywhere: what is free of it goes back. */
	for_each_node(n) {
		sn_migrate_unsettled(sn_nodes[n]);
		sn_make_room(sn_nodes[n]);
	}
}

/* The node is in service (again): policies first, then it hands memory out.  Lock held. */
static void publish_online(struct sn_node *node)
{
	struct sn_nodemask allowed;

	sn_node_policy_mask(&allowed);
	sn_mask_add(&allowed, node->index);
	rebind_ranges(&allowed);
	set_state(node, SN_ONLINE);
	/* Again: a range that was added in between read the masks without the node. */
	rebind_ranges(&allowed);
	atomic_store(&sn_standin[node->index], (uint8_t)node->index);
	find_standins();
}

/* Waits until nothing of an earlier transition is at work on the node: the tail of one whose
 * state is published already (memory being made inaccessible, pages coming back).  Lock held at
 * call and return, dropped in between.  A rebalance gives up for the newcomer. */
static void settle(struct sn_node *node)
{
	struct sn_transition *t = node->transition;

	while (transition_active(node) &&
	       (sn_node_state(node) == SN_ONLINE || sn_node_state(node) == SN_OFFLINE)) {
		uint32_t finished = atomic_load(&t->finished);

		if (t->online)
			atomic_store(&t->cancel, 1);
		sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
		while (atomic_load(&t->finished) == finished)
			sn_futex_wait(&t->finished, finished, -1);
		sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	}
}

/* --- offline ----------------------------------------------------------------------------- */

struct offline {
	struct sn_node *node;
	const struct sn_offline_request *request;
	struct sn_lifecycle_result *result;
	uint64_t begin_ns, stall_ns;
	uint64_t deadline_ns; /* 0: none */
	bool claimed;
	bool joins;		     /* somebody else is taking it offline: wait for that result */
	struct sn_nodemask recalled; /* nodes whose loan to this one was called back */
	uint64_t returned_before;    /* node->returned_pages at the start */
	struct offline *set;	     /* all nodes of the command */
	unsigned int count;
};

static int step(const char *name)
{
	return sn_step_hook == NULL ? 0 : sn_step_hook(name);
}

static void report(struct offline *o, enum sn_phase phase, uint64_t done, uint64_t total)
{
	struct sn_progress progress = {
		.os_node = o->node->os_number,
		.phase = phase,
		.done = done,
		.total = total,
		.elapsed_ms = (sn_now_ns() - o->begin_ns) / 1000000,
	};

	atomic_store(&o->node->transition->phase, phase);
	if (o->request->progress != NULL)
		o->request->progress(o->request->arg, &progress);
}

/* The step that opens a phase; an injected failure of it is the offline's. */
static int enter_phase(struct offline *o, enum sn_phase phase)
{
	int error = step(sn_phase_name(phase));

	report(o, phase, 0, 0);
	if (error == 0 || phase == SN_PHASE_COMMIT || phase == SN_PHASE_ROLLBACK)
		return 0;
	return result_fail(o->result, error, "step %s failed: %s", sn_phase_name(phase),
			   sn_errno_name(error));
}

static bool cancelled(const struct offline *o)
{
	return atomic_load(&o->node->transition->cancel) != 0;
}

static bool out_of_time(const struct offline *o)
{
	return o->deadline_ns != 0 && sn_now_ns() >= o->deadline_ns;
}

static bool must_stop(void *arg)
{
	return cancelled(arg) || out_of_time(arg);
}

/* What would move has to fit elsewhere; *need adds up over the nodes of one command. */
static int check_room(uint64_t bytes, uint64_t *need, const struct sn_nodemask *to,
		      struct sn_lifecycle_result *result)
{
	uint64_t room = 0;

	if (sn_placement->room == NULL)
		return 0;
	for_each_node(n) {
		size_t free = sn_mask_has(to, n) ? sn_placement->room(n) : 0;

		room = free > UINT64_MAX - room ? UINT64_MAX : room + free;
	}
	if (room < *need + bytes)
		return result_fail(result, -ENOMEM,
				   "no room elsewhere: %llu bytes to move, %llu bytes free",
				   (unsigned long long)(*need + bytes), (unsigned long long)room);
	*need += bytes;
	return 0;
}

/* Can this node leave?  Lifecycle lock held.  1: nothing to do, result filled. */
static int check_node(struct offline *o)
{
	struct sn_lifecycle_result *result = o->result;
	struct sn_node *node = o->node;

	switch (sn_node_state(node)) {
	case SN_OFFLINE:
		result->already = true;
		return 1;
	case SN_GOING_ONLINE:
		return result_fail(result, -EBUSY, "node %d is coming online: the opposite request",
				   node->os_number);
	case SN_GOING_OFFLINE:
		o->joins = true;
		return 0;
	case SN_ONLINE:
		return 0;
	}
	return 0;
}

/* Publishes GOING_OFFLINE for all nodes that can leave. */
static void claim_all(struct offline *set, unsigned int count)
{
	struct sn_nodemask targets;
	uint64_t need = 0;
	unsigned int leaving = 0, usable = sn_node_count_usable();
	bool any = false, to_given = sn_mask_count(&set[0].request->to) > 0;

	sn_node_usable_mask(&targets);
	for (unsigned int i = 0; i < count; i++)
		sn_mask_remove(&targets, set[i].node->index);
	for (unsigned int w = 0; to_given && w < SN_NODE_MASK_WORDS; w++)
		targets.word[w] &= set[0].request->to.word[w];
	for (unsigned int i = 0; i < count; i++)
		leaving += sn_node_usable(set[i].node);
	for (unsigned int i = 0; i < count; i++) {
		struct offline *o = &set[i];

		if (o->result->error != 0 || o->result->already ||
		    sn_node_state(o->node) != SN_ONLINE)
			continue;
		if (leaving > 0 && leaving >= usable) {
			count == 1
				? result_fail(o->result, -EBUSY, "node %d is the last usable node",
					      o->node->os_number)
				: result_fail(o->result, -EBUSY,
					      "no usable node would remain without node %d",
					      o->node->os_number);
			continue;
		}
		if (o->request->policy == SN_MIGRATE) {
			if (sn_mask_count(&targets) == 0) {
				result_fail(o->result, -EINVAL, "no usable node among the targets");
				continue;
			}
			if (check_room(sn_live_bytes(o->node->index), &need, &targets, o->result) !=
			    0)
				continue;
		}
		if (claim(o->node, false, o->request->policy) != 0) {
			result_fail(o->result, -ENOMEM, "no memory for the transition record");
			continue;
		}
		o->claimed = any = true;
		set_state(o->node, SN_GOING_OFFLINE);
		atomic_store(&sn_standin[o->node->index], SN_NODE_NONE);
		recall_loans(o->node->index, &o->recalled);
	}
	if (!any)
		return;
	/* Before any page moves: else untouched pages would fault on the leaving nodes later. */
	sn_node_policy_mask(&targets);
	rebind_ranges(&targets);
}

static void roll_back(struct offline *o)
{
	struct sn_node *node = o->node;

	enter_phase(o, SN_PHASE_ROLLBACK);
	sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	publish_online(node);
	sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	sn_tables_open(node->index);
	o->result->state = SN_ONLINE;
	sn_event_add(node, SN_GOING_OFFLINE, SN_ONLINE, "MEM_CANCEL_OFFLINE", o->result->message);
	sn_notify_end(node, false, true, o->request->policy);
}

static int fail_busy(struct offline *o, int error, const char *why)
{
	struct sn_lifecycle_result *result = o->result;

	result->nr_holders = sn_drain_holders(o->node, result->holders, SN_MAX_HOLDERS);
	if (result->nr_holders > 0)
		return result_fail(result, error, "%s: %llu objects in %s%s", why,
				   (unsigned long long)result->holders[0].objects,
				   result->holders[0].cache,
				   result->nr_holders > 1 ? " and others" : "");
	return result_fail(result, error, "%s", why);
}

static int fail_stopped(struct offline *o)
{
	if (atomic_load(&o->node->transition->vetoed))
		return result_fail(o->result, -EBUSY, "refused by notifier %s",
				   o->node->transition->veto);
	if (cancelled(o))
		return result_fail(o->result, -ECANCELED, "cancelled");
	return fail_busy(o, -ETIMEDOUT, "timed out");
}

/* strict: frees may be in flight, look again for a moment. */
static int policy_strict(struct offline *o)
{
	uint64_t until = sn_now_ns() + STRICT_LOOK_AGAIN_MS * 1000000ull;

	for (;;) {
		uint32_t seq = atomic_load(&o->node->free_seq);

		if (sn_drain_live(o->node) == 0)
			return 0;
		if (cancelled(o))
			return fail_stopped(o);
		if (sn_now_ns() >= until)
			return fail_busy(o, -EBUSY, "live memory remains");
		atomic_fetch_add(&o->node->waiters, 1);
		sn_futex_wait(&o->node->free_seq, seq, 1000000);
		atomic_fetch_sub(&o->node->waiters, 1);
	}
}

static void finish(struct offline *o);

/* The nodes of one command take their turns; one that is cancelled before its turn does not
 * have to wait for it. */
static void serve_cancels(struct offline *o)
{
	for (unsigned int i = 0; i < o->count; i++) {
		struct offline *other = &o->set[i];

		if (other == o || !other->claimed || !cancelled(other))
			continue;
		fail_stopped(other);
		roll_back(other);
		other->claimed = false;
		finish(other);
	}
}

static int policy_wait(struct offline *o)
{
	uint64_t before = sn_drain_live(o->node), told = 0;

	for (;;) {
		uint32_t seq;
		uint64_t live, now;
		int64_t left = -1;

		atomic_fetch_add(&o->node->waiters, 1);
		seq = atomic_load(&o->node->free_seq);
		live = sn_drain_live(o->node);
		now = sn_now_ns();
		if (live > 0 && now - told > 100000000) {
			report(o, SN_PHASE_WAIT, before - sn_min(live, before), before);
			told = now;
		}
		if (o->deadline_ns != 0)
			left = now >= o->deadline_ns ? 0 : (int64_t)(o->deadline_ns - now);
		if (live > 0 && !must_stop(o))
			sn_futex_wait(&o->node->free_seq, seq, left);
		atomic_fetch_sub(&o->node->waiters, 1);
		if (live == 0)
			return 0;
		if (must_stop(o))
			return fail_stopped(o);
		serve_cancels(o);
	}
}

static void migrate_progress(void *arg, uint64_t done, uint64_t total)
{
	report(arg, SN_PHASE_MIGRATE, done, total);
}

static void migration_init(struct offline *o, struct sn_migration *m)
{
	const struct sn_offline_request *request = o->request;
	unsigned int stall = request->max_stall_ms == 0 ? DEFAULT_STALL_MS : request->max_stall_ms;

	*m = (struct sn_migration){
		.node = o->node,
		.from = o->node->index,
		.order = o->node->fallback,
		.max_stall_ns = stall * 1000000ull,
		.stop = must_stop,
		.progress = migrate_progress,
		.arg = o,
	};
	sn_node_usable_mask(&m->to);
	for (unsigned int w = 0; sn_mask_count(&request->to) > 0 && w < SN_NODE_MASK_WORDS; w++)
		m->to.word[w] &= request->to.word[w];
}

static int fail_unmoved(struct offline *o, const struct sn_migration *m)
{
	const struct sn_move_result *moved = &m->moved;

	result_unmovable(o->result, moved);
	if (moved->no_room > 0)
		return result_fail(o->result, -ENOMEM,
				   "no room elsewhere for %zu pages of the node", moved->no_room);
	return fail_busy(o, -EBUSY,
			 moved->busy > 0     ? "pinned pages would not move"
			 : moved->shared > 0 ? "pages shared after fork would not move"
					     : "pages would not move");
}

/* Passes over the node until a query finds no page of it left there; guests_only: no page of other
 * nodes' ranges, which lie there since those nodes were away. */
static int move_off(struct offline *o, bool guests_only)
{
	uint64_t give_up = sn_now_ns() + MIGRATE_RETRY_MS * 1000000ull;
	struct sn_migration m;
	size_t moved = 0;
	uint64_t need = 0;

	/* By now exactly what has to move has pages: found out before any of them does. */
	migration_init(o, &m);
	if (sn_placement->resident != NULL &&
	    check_room(sn_placement->resident(o->node->index), &need, &m.to, o->result) != 0)
		return o->result->error;
	for (int64_t pause_ns = 1000000;; pause_ns = sn_min(pause_ns * 2, (int64_t)100000000)) {
		migration_init(o, &m);
		m.guests_only = guests_only;
		sn_migrate_pass(&m);
		moved += m.moved.moved;
		o->stall_ns = sn_max(o->stall_ns, m.stall_ns);
		if ((m.error == -ENOSYS || m.error == -EPERM) && sn_drain_live(o->node) == 0)
			return 0; /* nothing lives here, and nobody can move anything */
		if (m.error != 0)
			return result_fail(o->result, m.error == -ENOSYS ? -EPERM : m.error,
					   "moving pages is refused here (%s: %s)",
					   sn_placement->name, sn_placement->reason);
		if (must_stop(o))
			return fail_stopped(o);
		if (m.left_pages == 0) {
			o->result->migrated_bytes += (uint64_t)moved << SN_PAGE_SHIFT;
			return 0;
		}
		if (o->deadline_ns == 0 && sn_now_ns() >= give_up)
			return fail_unmoved(o, &m);
		report(o, SN_PHASE_VERIFY, 0, m.left_pages);
		sn_futex_wait(&o->node->transition->cancel, 0, pause_ns);
	}
}

/* One pass on the side: what does not move is no failure of it. */
static void move_some(struct offline *o, struct sn_migration *m)
{
	m->progress = NULL;
	sn_migrate_pass(m);
	o->stall_ns = sn_max(o->stall_ns, m->stall_ns);
	if (m->error == 0)
		o->result->migrated_bytes += (uint64_t)m->moved.moved << SN_PAGE_SHIFT;
}

/* The allocator's own per-node metadata leaves under every policy; what cannot is reported. */
static void move_metadata(struct offline *o)
{
	struct sn_migration m;

	migration_init(o, &m);
	m.metadata_only = true;
	move_some(o, &m);
	if (m.error == 0)
		result_unmovable(o->result, &m.moved);
}

static int apply_policy(struct offline *o)
{
	static const enum sn_phase phase[] = {SN_PHASE_CLOSE, SN_PHASE_WAIT, SN_PHASE_MIGRATE};
	int error = o->request->policy == SN_STRICT ? 0 : enter_phase(o, phase[o->request->policy]);

	if (error != 0)
		return error;
	switch (o->request->policy) {
	case SN_STRICT:
		return policy_strict(o);
	case SN_WAIT:
		return policy_wait(o);
	case SN_MIGRATE:
		return move_off(o, false);
	}
	return -EINVAL;
}

static void commit(struct offline *o)
{
	struct sn_node *node = o->node;

	enter_phase(o, SN_PHASE_COMMIT);
	sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	set_state(node, SN_OFFLINE);
	find_standins();
	sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	/* Slabs that emptied meanwhile were purged as they came; now they are out of reach. */
	sn_pages_vacate(node);
	o->result->state = SN_OFFLINE;
	sn_event_add(node, SN_GOING_OFFLINE, SN_OFFLINE, "MEM_OFFLINE",
		     sn_policy_name(o->request->policy));
	sn_notify_end(node, false, false, o->request->policy);
}

/* Steps 4 to 7 for one node whose grace period has passed. */
static void offline_one(struct offline *o)
{
	struct sn_lifecycle_result *result = o->result;
	uint64_t returned;
	int error;

	error = enter_phase(o, SN_PHASE_DRAIN);
	result->drained_objects += sn_drain_stores(o->node);
	report(o, SN_PHASE_DRAIN, result->drained_objects, result->drained_objects);
	if (error == 0)
		error = enter_phase(o, SN_PHASE_RELEASE);
	sn_drain_release(o->node);
	if (error == 0)
		error = cancelled(o) ? fail_stopped(o) : apply_policy(o);
	if (error == 0 && o->request->policy != SN_MIGRATE)
		error = move_off(o, true);
	if (error == 0) {
		sn_drain_release(o->node);
		if (o->request->policy != SN_MIGRATE)
			move_metadata(o);
		commit(o);
	} else {
		roll_back(o);
	}
	returned = atomic_load(&o->node->returned_pages) - o->returned_before;
	result->released_bytes = returned << SN_PAGE_SHIFT;
}

static void finish(struct offline *o)
{
	o->result->elapsed_ms = (double)(sn_now_ns() - o->begin_ns) / 1e6;
	o->result->max_stall_ms = (double)o->stall_ns / 1e6;
	sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	unclaim(o->node, o->result);
	sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	sn_tables_publish();
}

/* Takes every object out of a node's tables: after a stand-in changed, before its loans are
 * given to somebody else. */
static int empty_tables(unsigned int node, uint64_t *stall_ns)
{
	uint64_t begin = sn_now_ns();
	int error;

	sn_tables_close(node);
	error = sn_tables_fence();
	*stall_ns = sn_max(*stall_ns, sn_now_ns() - begin);
	if (error == 0)
		sn_tables_drain(node, false);
	sn_tables_open(node);
	return error;
}

/* Undoes a claim whose tables were never closed.  Its tables may hold objects of nodes whose
 * loans were recalled: those loans are given back, or, when somebody has moved them on already,
 * the objects are taken out. */
static void abandon(struct offline *o)
{
	sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	for_each_node(n)
		if (sn_mask_has(&o->recalled, n) && atomic_load(&sn_standin[n]) == SN_NODE_NONE &&
		    sn_node_state(sn_nodes[n]) == SN_OFFLINE)
			lend(n, o->node->index);
	publish_online(o->node);
	sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	sn_tables_publish();
	if (sn_mask_count(&o->recalled) > 0)
		empty_tables(o->node->index, &o->stall_ns);
	o->result->state = SN_ONLINE;
	o->claimed = false;
	sn_event_add(o->node, SN_GOING_OFFLINE, SN_ONLINE, "MEM_CANCEL_OFFLINE",
		     o->result->message);
	finish(o);
}

/* Other nodes' pages on this one leave before the acknowledgement, since their slabs go on handing
 * out objects.  What does not move now is tried again, and decided about, under the policy. */
static void move_guests(struct offline *o)
{
	struct sn_migration m;

	migration_init(o, &m);
	m.guests_only = true;
	move_some(o, &m);
}

static int close_one(struct offline *o)
{
	int error = step("going-offline");

	if (error != 0)
		return result_fail(o->result, error, "going-offline was vetoed: %s",
				   sn_errno_name(error));
	o->returned_before = atomic_load(&o->node->returned_pages);
	error = sn_drain_close(o->node, &o->stall_ns);
	if (error != 0)
		return result_fail(o->result, -EPERM, "membarrier is refused here (%s)",
				   sn_errno_name(error));
	/* At once, not when its turn comes: what is cached here may belong to others. */
	o->result->drained_objects = sn_tables_drain(o->node->index, true);
	move_guests(o);
	return 0;
}

/* Tells the notifiers, now that the node allocates nothing any more; one that refuses undoes all.
 */
static void begin_notify(struct offline *o)
{
	char who[32] = "";
	int error = sn_notify_begin(o->node, false, o->request->policy, who);

	if (error == 0)
		return;
	result_fail(o->result, -EBUSY, "refused by notifier %s (%s)", who, sn_errno_name(error));
	roll_back(o);
	o->claimed = false;
	finish(o);
}

/* Step 3 for all nodes that leave, all of which are out of the masks and policies already. */
static void close_all(struct offline *set, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		struct offline *o = &set[i];

		if (!o->claimed)
			continue;
		if (close_one(o) != 0) {
			abandon(o);
			continue;
		}
		sn_event_add(o->node, SN_ONLINE, SN_GOING_OFFLINE, "MEM_GOING_OFFLINE",
			     sn_policy_name(o->request->policy));
		report(o, SN_PHASE_CLOSE, 1, 1);
		begin_notify(o);
	}
}

/* Waits for those of the set that somebody else is taking offline. */
static void join_others(struct offline *set, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		struct offline *o = &set[i];

		if (!o->joins)
			continue;
		sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
		if (transition_active(o->node)) {
			join_transition(o->node, o->deadline_ns, o->result);
		} else {
			*o->result = o->node->transition->last;
			sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
		}
	}
}

/* settle() drops the lock: all nodes are settled when one round found nothing to wait for. */
static void settle_all(struct offline *set, unsigned int count)
{
	for (unsigned int i = 0; i < count;) {
		struct sn_node *node = set[i].node;
		bool waits = transition_active(node) && (sn_node_state(node) == SN_ONLINE ||
							 sn_node_state(node) == SN_OFFLINE);

		if (waits)
			settle(node);
		i = waits ? 0 : i + 1;
	}
}

static bool set_begin(struct offline *set, const unsigned int *node, unsigned int count,
		      const struct sn_offline_request *request, struct sn_lifecycle_result *result)
{
	bool valid = true;

	for (unsigned int i = 0; i < count; i++) {
		struct offline *o = &set[i];

		result_begin(&result[i], node[i]);
		result[i].policy = request->policy;
		*o = (struct offline){
			.request = request, .result = &result[i], .set = set, .count = count};
		o->begin_ns = sn_now_ns();
		if (request->timeout_ms >= 0 && request->timeout_ms < LONGEST_TIMEOUT_MS)
			o->deadline_ns = o->begin_ns + (uint64_t)request->timeout_ms * 1000000u + 1;
		if (node[i] < SN_FIRST_NODE || node[i] >= sn_node_end) {
			result_fail(&result[i], -ENODEV, "no such node");
			valid = false;
			continue;
		}
		o->node = sn_nodes[node[i]];
		if (!o->node->allowed) {
			result_fail(&result[i], -EINVAL, "node %d is not allowed to this process",
				    o->node->os_number);
			valid = false;
		}
		for (unsigned int k = 0; k < i; k++)
			if (node[k] == node[i]) {
				result_fail(&result[i], -EINVAL, "node named twice");
				valid = false;
			}
	}
	return valid;
}

int sn_offline(const unsigned int *node, unsigned int count,
	       const struct sn_offline_request *request, struct sn_lifecycle_result *result)
{
	struct offline set[SN_MAX_NODES];
	int error = 0;

	if (count == 0 || count > SN_MAX_NODES)
		return -EINVAL;
	if (sn_in_callback()) {
		for (unsigned int i = 0; i < count; i++) {
			result_begin(&result[i], node[i]);
			refuse_callback(&result[i]);
		}
		return -EDEADLK;
	}
	if (!sn_core_started()) {
		for (unsigned int i = 0; i < count; i++) {
			result_begin(&result[i], node[i]);
			result_fail(&result[i], -EINVAL, "the library has not started yet");
		}
		return -EINVAL;
	}
	sn_lock_check_none_held();
	if (set_begin(set, node, count, request, result)) {
		sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
		settle_all(set, count);
		for (unsigned int i = 0; i < count; i++)
			check_node(&set[i]);
		claim_all(set, count);
		sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
		close_all(set, count);
		for (unsigned int i = 0; i < count; i++)
			if (set[i].claimed) {
				offline_one(&set[i]);
				set[i].claimed = false;
				finish(&set[i]);
			}
		join_others(set, count);
	}
	for (unsigned int i = 0; i < count && error == 0; i++)
		error = result[i].error;
	return error;
}

/* --- online ------------------------------------------------------------------------------ */

static bool rebalance_stop(void *arg)
{
	const struct sn_node *node = arg;

	return atomic_load(&node->transition->cancel) != 0;
}

/* Brings the node's pages back that a migration moved away. */
static void rebalance(struct sn_node *node, struct sn_lifecycle_result *result, uint64_t *stall_ns)
{
	const uint8_t order[2] = {(uint8_t)node->index, 0};
	struct sn_migration m = {
		.node = node,
		.order = order,
		.max_stall_ns = DEFAULT_STALL_MS * 1000000ull,
		.stop = rebalance_stop,
		.arg = node,
	};

	sn_mask_add(&m.to, node->index);
	sn_migrate_pass(&m);
	if (m.error != 0)
		return;
	if (m.left_pages == 0 && atomic_load(&node->transition->cancel) == 0)
		sn_migrate_settled(node);
	result->migrated_bytes = (uint64_t)m.moved.moved << SN_PAGE_SHIFT;
	result_unmovable(result, &m.moved);
	*stall_ns = sn_max(*stall_ns, m.stall_ns);
}

/* Lifecycle lock held.  1: nothing to do. */
static int online_check(struct sn_node *node, struct sn_lifecycle_result *result)
{
	switch (sn_node_state(node)) {
	case SN_ONLINE:
		result->already = true;
		return 1;
	case SN_GOING_OFFLINE:
		return result_fail(result, -EBUSY, "node %d is going offline: the opposite request",
				   node->os_number);
	case SN_GOING_ONLINE:
		return 0;
	case SN_OFFLINE:
		break;
	}
	if (!node->has_memory)
		return result_fail(result, -EINVAL, "node %d has no memory", node->os_number);
	if (!node->allowed)
		return result_fail(result, -EPERM, "node %d is not allowed to this process",
				   node->os_number);
	return 0;
}

/* Nodes that are away are lent to the nearest usable node: after that has changed, loans move. */
static void move_loans(uint64_t *stall_ns)
{
	struct sn_nodemask old = {{0}};

	sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	for_each_node(n) {
		unsigned int standin = atomic_load(&sn_standin[n]);

		if (sn_node_state(sn_nodes[n]) != SN_OFFLINE || standin == SN_NODE_NONE ||
		    standin == sn_node_target(n))
			continue;
		atomic_store(&sn_standin[n], SN_NODE_NONE);
		sn_mask_add(&old, standin);
	}
	sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	if (sn_mask_count(&old) == 0)
		return;
	for_each_node(n)
		if (sn_mask_has(&old, n))
			empty_tables(n, stall_ns);
	sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	find_standins();
	sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
}

/* Takes a returning node's objects out of all tables that may hold some: those of every node it
 * was lent to, since a recalled loan does not tell when the tables of that node were emptied. */
static int end_loans(const struct sn_nodemask *lent_to, uint64_t *stall_ns)
{
	int error = 0;

	for_each_node(n)
		if (sn_mask_has(lent_to, n) && error == 0)
			error = empty_tables(n, stall_ns);
	return error;
}

/* The state machine's part of an online, the node claimed and GOING_ONLINE. */
static int online_carry_out(struct sn_node *node, const struct sn_nodemask *lent_to,
			    struct sn_lifecycle_result *result, uint64_t *stall_ns)
{
	char who[32] = "";
	int error;

	sn_event_add(node, SN_OFFLINE, SN_GOING_ONLINE, "MEM_GOING_ONLINE", "requested");
	error = step("going-online");
	if (error != 0)
		return result_fail(result, error, "going-online was vetoed: %s",
				   sn_errno_name(error));
	error = sn_notify_begin(node, true, SN_MIGRATE, who);
	if (error != 0)
		return result_fail(result, -EBUSY, "refused by notifier %s (%s)", who,
				   sn_errno_name(error));
	error = end_loans(lent_to, stall_ns);
	if (error != 0)
		return result_fail(result, -EPERM, "membarrier is refused here (%s)",
				   sn_errno_name(error));
	error = sn_pages_restore(node);
	if (error != 0)
		return result_fail(result, error, "the node's memory cannot be made accessible: %s",
				   sn_errno_name(error));
	if (atomic_load(&node->transition->vetoed))
		return result_fail(result, -EBUSY, "refused by notifier %s",
				   node->transition->veto);
	error = step("structures");
	if (error == 0)
		error = step("online");
	if (error != 0)
		return result_fail(result, error, "the node's structures: %s",
				   sn_errno_name(error));
	return 0;
}

static void online_cancel(struct sn_node *node, const char *why)
{
	sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	set_state(node, SN_OFFLINE);
	find_standins();
	sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	sn_pages_vacate(node);
	sn_event_add(node, SN_GOING_ONLINE, SN_OFFLINE, "MEM_CANCEL_ONLINE", why);
	sn_notify_end(node, true, true, SN_MIGRATE);
}

static void online_commit(struct sn_node *node)
{
	sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	node->lent_to = (struct sn_nodemask){{0}};
	publish_online(node);
	sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	sn_tables_open(node->index);
	sn_event_add(node, SN_GOING_ONLINE, SN_ONLINE, "MEM_ONLINE", "requested");
	sn_notify_end(node, true, false, SN_MIGRATE);
}

/* The node was online before: just its pages come back.  Called with the lock held. */
static int rebalance_claimed(struct sn_node *node, struct sn_lifecycle_result *result)
{
	uint64_t begin = sn_now_ns(), stall_ns = 0;

	sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	rebalance(node, result, &stall_ns);
	result->elapsed_ms = (double)(sn_now_ns() - begin) / 1e6;
	result->max_stall_ms = (double)stall_ns / 1e6;
	sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	unclaim(node, result);
	sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	return 0;
}

int sn_online(unsigned int index, bool rebalance_too, struct sn_lifecycle_result *result)
{
	uint64_t begin = sn_now_ns(), stall_ns = 0;
	struct sn_node *node;
	struct sn_nodemask lent_to;
	int error;

	result_begin(result, index);
	if (sn_in_callback())
		return refuse_callback(result);
	if (index < SN_FIRST_NODE || index >= sn_node_end || !sn_core_started())
		return result_fail(result, -ENODEV, "no such node");
	sn_lock_check_none_held();
	node = sn_nodes[index];
	sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	settle(node);
	error = online_check(node, result);
	if (error == 0 && sn_node_state(node) == SN_GOING_ONLINE) {
		join_transition(node, 0, result);
		return result->error;
	}
	if (error == 0 && claim(node, true, SN_MIGRATE) != 0)
		error = result_fail(result, -ENOMEM, "no memory for the transition record");
	if (error != 0) {
		if (error == 1 && rebalance_too && claim(node, true, SN_MIGRATE) == 0)
			return rebalance_claimed(node, result);
		sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
		return error == 1 ? 0 : error;
	}
	set_state(node, SN_GOING_ONLINE);
	atomic_store(&sn_standin[index], SN_NODE_NONE);
	lent_to = node->lent_to; /* nobody adds to it while the node is not OFFLINE */
	sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);

	error = online_carry_out(node, &lent_to, result, &stall_ns);
	if (error == 0) {
		online_commit(node);
		move_loans(&stall_ns);
		if (rebalance_too)
			rebalance(node, result, &stall_ns);
	} else {
		online_cancel(node, result->message);
	}
	result->state = sn_node_state(node);
	result->elapsed_ms = (double)(sn_now_ns() - begin) / 1e6;
	result->max_stall_ms = (double)stall_ns / 1e6;
	sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	unclaim(node, result);
	sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	return error;
}

/* --- cancel, cordon ---------------------------------------------------------------------- */

int sn_cancel(unsigned int index, struct sn_lifecycle_result *result)
{
	char who[32];
	struct sn_node *node;

	result_begin(result, index);
	if (sn_in_callback())
		return refuse_callback(result);
	if (index < SN_FIRST_NODE || index >= sn_node_end)
		return result_fail(result, -ENODEV, "no such node");
	node = sn_nodes[index];
	sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	if (!transition_active(node) || node->transition->online) {
		result->already = true;
		sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
		return 0;
	}
	atomic_store(&node->transition->cancel, 1);
	sn_futex_wake(&node->transition->cancel, INT32_MAX);
	/* The command may be waiting for another of its nodes. */
	for_each_node(n) {
		atomic_fetch_add(&sn_nodes[n]->free_seq, 1);
		sn_futex_wake(&sn_nodes[n]->free_seq, INT32_MAX);
	}
	sn_notifier_running(index, who);
	if (who[0] != '\0') {
		/* It takes as long as it takes; the cancel stands, and this answers at once. */
		sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
		snprintf(result->message, sizeof(result->message),
			 "cancelled; notifier %s has yet to return", who);
		result->state = sn_node_state(node);
		return 0;
	}
	join_transition(node, 0, result);
	/* The offline's own failure is what was asked for; it may also have been too late. */
	result->error = 0;
	result->state = sn_node_state(node);
	return 0;
}

int sn_cordon(unsigned int index, bool cordon, struct sn_lifecycle_result *result)
{
	struct sn_node *node;
	int error = 0;

	result_begin(result, index);
	if (sn_in_callback())
		return refuse_callback(result);
	if (index < SN_FIRST_NODE || index >= sn_node_end)
		return result_fail(result, -ENODEV, "no such node");
	node = sn_nodes[index];
	sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	if (cordon && sn_node_usable(node) && sn_node_count_usable() == 1) {
		error = result_fail(result, -EBUSY, "node %d is the last usable node",
				    node->os_number);
	} else {
		result->already = (node->cordoned != 0) == cordon;
		atomic_store(&node->cordoned, cordon);
		sn_node_update_usable(node);
	}
	sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	if (error == 0 && !result->already) {
		uint64_t stall_ns = 0;

		sn_tables_publish();
		sn_tables_fence();
		move_loans(&stall_ns);
	}
	return error;
}

void sn_transition_veto(unsigned int index, const char *who)
{
	struct sn_transition *t = sn_nodes[index]->transition;

	/* Only the first counts: its name may be being read. */
	if (atomic_load(&t->vetoed))
		return;
	snprintf(t->veto, sizeof(t->veto), "%s", who);
	atomic_store(&t->vetoed, true);
	atomic_store(&t->cancel, 1);
	sn_futex_wake(&t->cancel, INT32_MAX);
	atomic_fetch_add(&sn_nodes[index]->free_seq, 1);
	sn_futex_wake(&sn_nodes[index]->free_seq, INT32_MAX);
}

bool sn_transition_info(unsigned int index, struct sn_transition_info *info)
{
	const struct sn_transition *t =
		__atomic_load_n(&sn_nodes[index]->transition, __ATOMIC_ACQUIRE);
	char name[32];

	memset(info, 0, sizeof(*info));
	if (t == NULL || !atomic_load(&t->active))
		return false;
	info->policy = (enum sn_policy)atomic_load(&t->policy);
	info->phase = (enum sn_phase)atomic_load(&t->phase);
	info->online = atomic_load(&t->online);
	info->elapsed_ms = (sn_now_ns() - atomic_load(&t->begin_ns)) / 1000000;
	sn_notifier_running(index, name);
	if (name[0] != '\0')
		snprintf(info->waiting_for, sizeof(info->waiting_for), "notifier %s", name);
	else if (info->phase == SN_PHASE_WAIT || info->phase == SN_PHASE_MIGRATE)
		strcpy(info->waiting_for, info->phase == SN_PHASE_WAIT ? "objects" : "pages");
	return true;
}

void sn_lifecycle_start(void)
{
	find_standins();
}

/* --- fork -------------------------------------------------------------------------------- */

/* In the child, whose only thread is the caller, all locks still held: whatever was under way
 * is undone.  No sequence can be under way, so no fence is needed. */
void sn_lifecycle_fork_child(void)
{
	bool undone = false;

	sn_notifier_fork_child();
	for_each_node(n) {
		struct sn_node *node = sn_nodes[n];

		if (!transition_active(node))
			continue;
		undone = true;
		node->transition->active = false;
		atomic_fetch_add(&node->transition->finished, 1);
		atomic_store(&node->waiters, 0);
		if (sn_node_state(node) == SN_GOING_OFFLINE) {
			set_state(node, SN_ONLINE);
			atomic_store(&sn_standin[n], (uint8_t)n);
		} else if (sn_node_state(node) == SN_GOING_ONLINE) {
			set_state(node, SN_OFFLINE);
		}
	}
	find_standins();
	if (undone) {
		struct sn_nodemask allowed;

		sn_node_policy_mask(&allowed);
		rebind_ranges(&allowed);
	}
}
