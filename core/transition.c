/*
 * transition.c - see transition.h.
 */
#include "transition.h"

#include "drain.h"
#include "loan.h"
#include "meta.h"
#include "rebind.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void sn_result_begin(struct sn_lifecycle_result *result, unsigned int node)
{
	memset(result, 0, sizeof(*result));
	result->node = node;
	result->os_node = -1;
	if (node < sn_node_end && sn_nodes[node] != NULL) {
		result->os_node = sn_nodes[node]->os_number;
		result->state = sn_node_state(sn_nodes[node]);
	}
}

int sn_result_fail(struct sn_lifecycle_result *result, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(result->message, sizeof(result->message), format, args);
	va_end(args);
	result->error = error;
	return error;
}

int sn_result_refuse_callback(struct sn_lifecycle_result *result)
{
	return sn_result_fail(result, -EDEADLK, "not from inside a callback");
}

int sn_result_refuse_static(struct sn_lifecycle_result *result)
{
	return sn_result_fail(result, -ENOTSUP, "this library was built without hotplug");
}

void sn_result_unmovable(struct sn_lifecycle_result *result, const struct sn_move_result *moved)
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

static struct sn_transition *transition_of(struct sn_node *node)
{
	if (node->transition == NULL)
		__atomic_store_n(&node->transition, sn_meta_alloc(sizeof(*node->transition), 64),
				 __ATOMIC_RELEASE);
	return node->transition;
}

int sn_transition_claim(struct sn_node *node, const void *command, bool online,
			enum sn_policy policy)
{
	struct sn_transition *t = transition_of(node);

	if (t == NULL)
		return -ENOMEM;
	t->command = command;
	t->active = true;
	t->online = online;
	t->policy = policy;
	t->begin_ns = sn_now_ns();
	atomic_store(&t->cancel, 0);
	atomic_store(&t->vetoed, false);
	atomic_store(&t->phase, SN_PHASE_CLOSE);
	return 0;
}

void sn_transition_unclaim(struct sn_node *node, const struct sn_lifecycle_result *result)
{
	struct sn_transition *t = node->transition;

	t->active = false;
	while (t->joiners != NULL) {
		struct sn_joiner *joiner = t->joiners;

		t->joiners = joiner->next;
		*joiner->result = *result;
		atomic_store(&joiner->done, true); /* the last access: it may be gone now */
	}
	atomic_fetch_add(&t->finished, 1);
	sn_futex_wake(&t->finished, INT32_MAX);
}

bool sn_transition_active(const struct sn_node *node)
{
	return node->transition != NULL && node->transition->active;
}

void sn_transition_join(struct sn_node *node, struct sn_joiner *joiner,
			struct sn_lifecycle_result *result)
{
	*joiner = (struct sn_joiner){.next = node->transition->joiners, .result = result};
	node->transition->joiners = joiner;
}

/* The time is over: nothing may be written to the waiter's stack any more. */
static void part(struct sn_node *node, struct sn_joiner *joiner) SN_EXCLUDES(&sn_lifecycle_lock)
{
	struct sn_joiner **at = &node->transition->joiners;

	sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	while (*at != NULL && *at != joiner)
		at = &(*at)->next;
	if (*at != NULL) {
		*at = joiner->next;
		joiner->result->state = sn_node_state(node);
		sn_result_fail(joiner->result, -ETIMEDOUT,
			       "timed out; the request that was joined goes on");
	}
	sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
}

void sn_transition_await(struct sn_node *node, struct sn_joiner *joiner, uint64_t deadline_ns)
{
	struct sn_transition *t = node->transition;
	int64_t left = -1;

	for (;;) {
		uint32_t finished = atomic_load(&t->finished);
		uint64_t now = sn_now_ns();

		if (atomic_load(&joiner->done))
			return;
		if (deadline_ns != 0)
			left = now >= deadline_ns ? 0 : (int64_t)(deadline_ns - now);
		if (left == 0)
			break;
		sn_futex_wait(&t->finished, finished, left);
	}
	part(node, joiner);
}

void sn_transition_set_state(struct sn_node *node, enum sn_node_state state)
{
	atomic_store_explicit(&node->state, state, memory_order_seq_cst);
	sn_node_update_usable(node);
}

/*
 * Memory of a range may be bound at any moment under its node's page_lock, to the nodes that
 * policies name then (segment.c, span.c).  So they name this one before its ranges are bound, not
 * from its state on:
 *
 *	online				a thread
 *	binds the node's ranges
 *					gives back a block there, binds it without the node
 *	publishes ONLINE
 *					allocates there: the pages land elsewhere, unmarked
 */
uint64_t sn_transition_publish_online(struct sn_node *node)
{
	struct sn_nodemask allowed;
	uint64_t held;

	atomic_store(&node->returning, true);
	sn_node_policy_mask(&allowed);
	sn_mask_add(&allowed, node->index);
	held = sn_rebind_ranges(&allowed);
	sn_transition_set_state(node, SN_ONLINE);
	atomic_store(&node->returning, false);
	atomic_store(&sn_standin[node->index], (uint8_t)node->index);
	sn_loans_find();
	return held;
}

bool sn_transition_settle(struct sn_node *node)
{
	struct sn_transition *t = node->transition;
	bool waited = false;

	while (sn_transition_active(node) &&
	       (sn_node_state(node) == SN_ONLINE || sn_node_state(node) == SN_OFFLINE)) {
		uint32_t finished = atomic_load(&t->finished);

		waited = true;
		if (t->online)
			atomic_store(&t->cancel, 1);
		sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
		while (atomic_load(&t->finished) == finished)
			sn_futex_wait(&t->finished, finished, -1);
		sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	}
	return waited;
}
