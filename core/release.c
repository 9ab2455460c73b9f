/*
 * release.c - see release.h.
 */
#include "release.h"

static _Atomic uint32_t kept_ever;

unsigned int sn_release_begin(struct sn_node *node)
{
	unsigned int turn = node->release_turn;

	if (!SN_HOTPLUG)
		return 0;
	atomic_fetch_add(&node->releases[turn], 1);
	return turn;
}

void sn_release_end(struct sn_node *node, unsigned int turn, bool kept)
{
	if (!SN_HOTPLUG)
		return;
	if (kept)
		atomic_fetch_add(&kept_ever, 1);
	if (atomic_fetch_sub(&node->releases[turn], 1) == 1 && !sn_node_in_service(node))
		sn_futex_wake(&node->releases[turn], INT32_MAX);
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
	await_node(sn_nodes[SN_NODE_INTERNAL]);
	for_each_node(n)
		await_node(sn_nodes[n]);
}

uint32_t sn_releases_kept(void)
{
	return atomic_load(&kept_ever);
}

void sn_releases_fork_child(void)
{
	for (unsigned int turn = 0; turn < 2; turn++) {
		atomic_store(&sn_nodes[SN_NODE_INTERNAL]->releases[turn], 0);
		for_each_node(n)
			atomic_store(&sn_nodes[n]->releases[turn], 0);
	}
}
