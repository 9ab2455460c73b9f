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

#include "callback.h"
#include "drain.h"
#include "loan.h"
#include "movable.h"
#include "migrate.h"
#include "notifier.h"
#include "rebind.h"
#include "release.h"
#include "table.h"
#include "transition.h"

#include <stdio.h>
#include <string.h>

const char *sn_errno_name(int error)
{
	static const struct {
		int error;
		const char *name;
	} names[] = {
		{EBUSY, "EBUSY"},
		{EINVAL, "EINVAL"},
		{ENOMEM, "ENOMEM"},
		{ENODEV, "ENODEV"},
		{ETIMEDOUT, "ETIMEDOUT"},
		{ECANCELED, "ECANCELED"},
		{EPERM, "EPERM"},
		{ENOSYS, "ENOSYS"},
		{EDEADLK, "EDEADLK"},
		{EACCES, "EACCES"},
		{ENOSPC, "ENOSPC"},
		{EAGAIN, "EAGAIN"},
		{ENOENT, "ENOENT"},
		{EIO, "EIO"},
		{EFAULT, "EFAULT"},
		{ENOTSUP, "ENOTSUP"},
		/* Of files: the run directory, statistics. */
		{ENOTDIR, "ENOTDIR"},
		{EISDIR, "EISDIR"},
		{ELOOP, "ELOOP"},
		{EROFS, "EROFS"},
		{EDQUOT, "EDQUOT"},
		{EMFILE, "EMFILE"},
		{ENFILE, "ENFILE"},
		{ENAMETOOLONG, "ENAMETOOLONG"},
		{EADDRINUSE, "EADDRINUSE"},
	};

	for (size_t i = 0; i < SN_ARRAY_SIZE(names); i++)
		if (names[i].error == (error < 0 ? -error : error))
			return names[i].name;
	return "EIO";
}

/* A callback that the command of this transition is in, for this node or another one of it. */
static bool callback_of_command(const struct sn_transition *t, char *text, size_t size)
	SN_REQUIRES(&sn_lifecycle_lock)
{
	for_each_node(n)
		if (sn_transition_active(sn_nodes[n]) &&
		    sn_nodes[n]->transition->command == t->command &&
		    sn_callback_running(n, text, size))
			return true;
	return false;
}

int sn_cancel(unsigned int index, struct sn_lifecycle_result *result)
{
	char who[64];
	struct sn_joiner joiner;
	struct sn_node *node;

	sn_result_begin(result, index);
	if (!SN_HOTPLUG)
		return sn_result_refuse_static(result);
	if (sn_in_callback())
		return sn_result_refuse_callback(result);
	if (index < SN_FIRST_NODE || index >= sn_node_end)
		return sn_result_fail(result, -ENODEV, "no such node");
	node = sn_nodes[index];
	sn_fault(SN_FAULT_CANCEL);
	sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	if (!sn_transition_active(node) || node->transition->online) {
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
	if (callback_of_command(node->transition, who, sizeof(who))) {
		/* It takes as long as it takes; the cancel stands, and this answers at once. */
		sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
		snprintf(result->message, sizeof(result->message),
			 "cancelled; %s has yet to return", who);
		result->state = sn_node_state(node);
		return 0;
	}
	sn_transition_join(node, &joiner, result);
	sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	sn_transition_await(node, &joiner, 0);
	/* The offline's own failure is what was asked for; it may also have been too late. */
	result->error = 0;
	result->state = sn_node_state(node);
	return 0;
}

int sn_cordon(unsigned int index, bool cordon, struct sn_lifecycle_result *result)
{
	struct sn_node *node;
	int error;

	sn_result_begin(result, index);
	if (!SN_HOTPLUG)
		return sn_result_refuse_static(result);
	if (sn_in_callback())
		return sn_result_refuse_callback(result);
	if (index < SN_FIRST_NODE || index >= sn_node_end)
		return sn_result_fail(result, -ENODEV, "no such node");
	node = sn_nodes[index];
	error = sn_fault(SN_FAULT_CORDON);
	if (error != 0)
		return sn_result_fail(result, error, "step cordon failed: %s",
				      sn_errno_name(error));
	sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	if (cordon && sn_node_usable(node) && sn_node_count_usable() == 1) {
		error = sn_result_fail(result, -EBUSY, "node %d is the last usable node",
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
		sn_loans_move(&stall_ns);
	}
	return error;
}

/* Whether anything has changed. */
static bool set_allowed(const struct sn_nodemask *mask) SN_REQUIRES(&sn_lifecycle_lock)
{
	bool changed = false, any = false;

	for_each_node(n)
		any |= sn_nodes[n]->has_memory && sn_mask_has(mask, n);
	for_each_node(n) {
		struct sn_node *node = sn_nodes[n];
		bool allowed = sn_mask_has(mask, n);

		/* None that is known here: what is used now is still better than nothing. */
		if (!any || !node->has_memory || atomic_load(&node->allowed) == allowed)
			continue;
		atomic_store(&node->allowed, allowed);
		sn_node_update_usable(node);
		changed = true;
	}
	return changed;
}

void sn_refresh_allowed(void)
{
	struct sn_nodemask mask = {{0}};
	uint64_t stall_ns = 0;
	bool changed;

	if (!SN_HOTPLUG || sn_placement->allowed == NULL || sn_placement->allowed(&mask) != 0)
		return;
	sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	changed = set_allowed(&mask);
	if (changed) {
		sn_node_policy_mask(&mask);
		sn_rebind_ranges(&mask);
	}
	sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	if (!changed)
		return;
	sn_tables_publish();
	sn_tables_fence();
	sn_loans_move(&stall_ns);
}

int sn_node_appeared(int os_number)
{
	int index = sn_node_add(os_number, true, true);

	/* As an offline leaves them; an online opens them. */
	if (index > 0)
		sn_tables_close((unsigned int)index);
	return index;
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

	memset(info, 0, sizeof(*info));
	if (t == NULL || !atomic_load(&t->active))
		return false;
	info->policy = (enum sn_policy)atomic_load(&t->policy);
	info->phase = (enum sn_phase)atomic_load(&t->phase);
	info->online = atomic_load(&t->online);
	info->elapsed_ms = (sn_now_ns() - atomic_load(&t->begin_ns)) / 1000000;
	if (sn_callback_running(index, info->waiting_for, sizeof(info->waiting_for)))
		return true;
	if (info->phase == SN_PHASE_WAIT || info->phase == SN_PHASE_EVICT)
		strcpy(info->waiting_for, "objects");
	else if (info->phase == SN_PHASE_MIGRATE)
		strcpy(info->waiting_for, "pages");
	return true;
}

/* Start-up: single-threaded. */
void sn_lifecycle_start(void) SN_NO_THREAD_SAFETY
{
	if (SN_HOTPLUG)
		sn_loans_find();
}

/* In the child, whose only thread is the caller, all locks still held: whatever was under way
 * is undone.  No sequence can be under way, so no fence is needed. */
void sn_lifecycle_fork_child(void) SN_NO_THREAD_SAFETY
{
	bool undone = false;

	if (!SN_HOTPLUG)
		return;
	sn_callback_fork_child();
	sn_notifier_fork_child();
	sn_migrate_fork_child();
	sn_releases_fork_child();
	sn_movable_fork_child();
	for_each_node(n) {
		struct sn_node *node = sn_nodes[n];

		atomic_store(&node->returning, false);
		if (!sn_transition_active(node))
			continue;
		undone = true;
		node->transition->active = false;
		node->transition->joiners = NULL;
		atomic_fetch_add(&node->transition->finished, 1);
		atomic_store(&node->waiters, 0);
		if (sn_node_state(node) == SN_GOING_OFFLINE) {
			sn_transition_set_state(node, SN_ONLINE);
			atomic_store(&sn_standin[n], (uint8_t)n);
		} else if (sn_node_state(node) == SN_GOING_ONLINE) {
			sn_transition_set_state(node, SN_OFFLINE);
		}
	}
	sn_loans_find();
	if (undone) {
		struct sn_nodemask allowed;

		sn_node_policy_mask(&allowed);
		sn_rebind_ranges(&allowed);
	}
}
