/*
 * online.c - brings a node back: what other nodes' tables hold of it is taken out, its memory made
 * accessible, then it is published.  All of that may fail; then the node stays away.
 */
#include "callback.h"
#include "core.h"
#include "drain.h"
#include "event.h"
#include "loan.h"
#include "migrate.h"
#include "notifier.h"
#include "pages.h"
#include "table.h"
#include "transition.h"

#include <stdio.h>

static bool rebalance_stop(void *arg)
{
	const struct sn_node *node = arg;

	return atomic_load(&node->transition->cancel) != 0;
}

/* Brings the node's pages back that a migration moved away. */
static void rebalance(struct sn_node *node, struct sn_lifecycle_result *result, uint64_t *stall_ns)
{
	const uint8_t order[2] = {(uint8_t)node->index, 0};
	struct sn_pace pace = sn_pace_start(SN_PACE_DEFAULT_MS * 1000000ull);
	struct sn_migration m = {
		.node = node,
		.order = order,
		.pace = &pace,
		.stop = rebalance_stop,
		.arg = node,
	};

	sn_mask_add(&m.to, node->index);
	m.error = sn_fault(SN_FAULT_REBALANCE);
	if (m.error == 0)
		sn_migrate_pass(&m);
	*stall_ns = sn_max(*stall_ns, pace.longest_ns);
	if (m.error != 0) { /* the node is online all the same */
		snprintf(result->message, sizeof(result->message),
			 "pages stay where they are: moving them is refused (%s)",
			 sn_errno_name(m.error));
		return;
	}
	if (m.left_pages == 0 && atomic_load(&node->transition->cancel) == 0)
		sn_migrate_settled(&m);
	result->migrated_bytes = (uint64_t)m.moved.moved << SN_PAGE_SHIFT;
	sn_result_unmovable(result, &m.moved);
}

/* 1: nothing to do. */
static int online_check(struct sn_node *node, struct sn_lifecycle_result *result)
	SN_REQUIRES(&sn_lifecycle_lock)
{
	switch (sn_node_state(node)) {
	case SN_ONLINE:
		result->already = true;
		return 1;
	case SN_GOING_OFFLINE:
		return sn_result_fail(result, -EBUSY,
				      "node %d is going offline: the opposite request",
				      node->os_number);
	case SN_GOING_ONLINE:
		return 0;
	case SN_OFFLINE:
		break;
	}
	if (!node->has_memory)
		return sn_result_fail(result, -EINVAL, "node %d has no memory", node->os_number);
	if (!node->allowed)
		return sn_result_fail(result, -EPERM, "node %d is not allowed to this process",
				      node->os_number);
	return 0;
}

/* The state machine's part of an online, the node claimed and GOING_ONLINE. */
static int online_carry_out(struct sn_node *node, const struct sn_nodemask *lent_to,
			    struct sn_lifecycle_result *result, uint64_t *stall_ns)
{
	struct sn_notify_request request = {.stop = NULL};
	int error;

	sn_event_add(node, SN_OFFLINE, SN_GOING_ONLINE, "MEM_GOING_ONLINE", "requested");
	error = sn_fault(SN_FAULT_GOING_ONLINE);
	if (error != 0)
		return sn_result_fail(result, error, "going-online was vetoed: %s",
				      sn_errno_name(error));
	error = sn_notify_begin(node, true, SN_MIGRATE, &request);
	if (error != 0)
		return sn_result_fail(result, -EBUSY, "refused by notifier %s (%s)", request.who,
				      sn_errno_name(error));
	error = sn_loans_end(lent_to, stall_ns);
	if (error != 0)
		return sn_result_fail(result, -EPERM, "membarrier is refused here (%s)",
				      sn_errno_name(error));
	error = sn_pages_restore(node);
	if (error != 0)
		return sn_result_fail(result, error,
				      "the node's memory cannot be made accessible: %s",
				      sn_errno_name(error));
	if (atomic_load(&node->transition->vetoed))
		return sn_result_fail(result, -EBUSY, "refused by notifier %s",
				      node->transition->veto);
	error = sn_fault(SN_FAULT_STRUCTURES);
	if (error == 0)
		error = sn_fault(SN_FAULT_ONLINE);
	if (error != 0)
		return sn_result_fail(result, error, "the node's structures: %s",
				      sn_errno_name(error));
	return 0;
}

static void online_cancel(struct sn_node *node, const char *why)
{
	sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	sn_transition_set_state(node, SN_OFFLINE);
	sn_loans_find();
	sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	sn_pages_vacate(node);
	sn_event_add(node, SN_GOING_ONLINE, SN_OFFLINE, "MEM_CANCEL_ONLINE", why);
	sn_notify_end(node, true, true, SN_MIGRATE);
}

static void online_commit(struct sn_node *node, uint64_t *stall_ns)
{
	uint64_t held;

	sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	node->lent_to = (struct sn_nodemask){{0}};
	held = sn_transition_publish_online(node);
	*stall_ns = sn_max(*stall_ns, held);
	sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	sn_tables_open(node->index);
	sn_event_add(node, SN_GOING_ONLINE, SN_ONLINE, "MEM_ONLINE", "requested");
	sn_notify_end(node, true, false, SN_MIGRATE);
}

static void finish(struct sn_node *node, struct sn_lifecycle_result *result, uint64_t begin_ns,
		   uint64_t stall_ns)
{
	result->elapsed_ms = (double)(sn_now_ns() - begin_ns) / 1e6;
	result->max_stall_ms = (double)stall_ns / 1e6;
	sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	sn_transition_unclaim(node, result);
	sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
}

/* The node was online before: just its pages come back.  Drops the lock. */
static int rebalance_claimed(struct sn_node *node, struct sn_lifecycle_result *result)
	SN_RELEASE(&sn_lifecycle_lock)
{
	uint64_t begin = sn_now_ns(), stall_ns = 0;

	sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	rebalance(node, result, &stall_ns);
	finish(node, result, begin, stall_ns);
	return 0;
}

int sn_online(unsigned int index, bool rebalance_too, struct sn_lifecycle_result *result)
{
	uint64_t begin = sn_now_ns(), stall_ns = 0;
	struct sn_joiner joiner;
	struct sn_node *node;
	struct sn_nodemask lent_to;
	int error;

	sn_result_begin(result, index);
	if (!SN_HOTPLUG)
		return sn_result_refuse_static(result);
	if (sn_in_callback())
		return sn_result_refuse_callback(result);
	if (index < SN_FIRST_NODE || index >= sn_node_end || !sn_core_started())
		return sn_result_fail(result, -ENODEV, "no such node");
	sn_lock_check_none_held();
	node = sn_nodes[index];
	sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	sn_transition_settle(node);
	error = online_check(node, result);
	if (error == 0 && sn_node_state(node) == SN_GOING_ONLINE) {
		sn_transition_join(node, &joiner, result);
		sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
		sn_transition_await(node, &joiner, 0);
		return result->error;
	}
	if (error == 0 && sn_transition_claim(node, result, true, SN_MIGRATE) != 0)
		error = sn_result_fail(result, -ENOMEM, "no memory for the transition record");
	if (error != 0) {
		if (error == 1 && rebalance_too) {
			if (sn_transition_claim(node, result, true, SN_MIGRATE) == 0)
				return rebalance_claimed(node, result);
			error = sn_result_fail(result, -ENOMEM,
					       "no memory for the transition record");
		}
		sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
		return error == 1 ? 0 : error;
	}
	sn_transition_set_state(node, SN_GOING_ONLINE);
	atomic_store(&sn_standin[index], SN_NODE_NONE);
	lent_to = node->lent_to; /* nobody adds to it while the node is not OFFLINE */
	sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);

	error = online_carry_out(node, &lent_to, result, &stall_ns);
	if (error == 0) {
		online_commit(node, &stall_ns);
		sn_loans_move(&stall_ns);
		if (rebalance_too)
			rebalance(node, result, &stall_ns);
	} else {
		online_cancel(node, result->message);
	}
	result->state = sn_node_state(node);
	finish(node, result, begin, stall_ns);
	return error;
}
