/*
 * release.c - see release.h.
 */
#include "release.h"

#include "callback.h"

static _Atomic uint32_t kept_ever;

/* One waits at a time: two that switch in turn could keep each other waiting. */
static struct sn_turn waiting;

/* What a begin returns: the count, and the number of forks that this process comes from. */
static unsigned int turn_now(const struct sn_node *node) SN_REQUIRES(&node->page_lock)
{
	return sn_callback_generation() << 1 | node->release_turn;
}

unsigned int sn_release_begin(struct sn_node *node)
{
	unsigned int turn = turn_now(node);

	if (SN_HOTPLUG)
		atomic_fetch_add(&node->releases[turn & 1], 1);
	return turn;
}

/* Pages of a node in service that was never away are on no other node, where a ledger knows. */
static bool matters(struct sn_node *node)
{
	return !sn_placement->simulated || !sn_node_in_service(node) ||
	       sn_counter_read(node->displaced);
}

void sn_release_end(struct sn_node *node, unsigned int turn, bool kept)
{
	if (!SN_HOTPLUG)
		return;
	if (kept && matters(node))
		atomic_fetch_add(&kept_ever, 1);
	/* In a child of a fork out of a signal handler it is counted no more. */
	if (turn >> 1 != sn_callback_generation())
		return;
	if (atomic_fetch_sub(&node->releases[turn & 1], 1) == 1 && !sn_node_in_service(node))
		sn_futex_wake(&node->releases[turn & 1], INT32_MAX);
}

static void await(struct sn_node *node, unsigned int turn)
{
	uint32_t n;

	/* At nodes in service the last one wakes nobody. */
	while ((n = atomic_load(&node->releases[turn])) != 0)
		sn_futex_wait(&node->releases[turn], n, 1000000);
}

static void await_node(struct sn_node *node) SN_EXCLUDES(&node->page_lock)
{
	unsigned int turn;

	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	turn = node->release_turn;
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	/* The other count's may be those of before an earlier switch. */
	await(node, !turn);
	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	node->release_turn = !turn;
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	await(node, turn);
}

void sn_releases_await(void)
{
	sn_turn_take(&waiting);
	await_node(sn_nodes[SN_NODE_INTERNAL]);
	for_each_node(n)
		await_node(sn_nodes[n]);
	sn_turn_give(&waiting);
}

uint32_t sn_releases_kept(void)
{
	return atomic_load(&kept_ever);
}

void sn_releases_fork_child(void)
{
	atomic_store(&waiting.word, 0);
	for (unsigned int turn = 0; turn < 2; turn++) {
		atomic_store(&sn_nodes[SN_NODE_INTERNAL]->releases[turn], 0);
		for_each_node(n)
			atomic_store(&sn_nodes[n]->releases[turn], 0);
	}
}
