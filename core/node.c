/*
 * node.c - see node.h.
 */
#include "node.h"

#include "cache.h"
#include "meta.h"

struct sn_node *sn_nodes[SN_MAX_NODES + 1];
_Atomic unsigned int sn_node_end = SN_NODE_INTERNAL;
_Atomic uint8_t sn_standin[256];
struct sn_lock sn_lifecycle_lock;
_Atomic uint32_t sn_usable_seq;

static const struct sn_placement no_placement = {
	.name = "first-touch",
	.reason = "one node",
};
const struct sn_placement *sn_placement = &no_placement;

static struct sn_node *node_build(unsigned int index, int os_number)
{
	struct sn_node *node = sn_meta_alloc(sizeof(*node), 64);

	if (node == NULL)
		return NULL;
	node->cache_nodes = sn_meta_alloc(SN_MAX_CACHES * sizeof(struct sn_cache_node), 64);
	if (node->cache_nodes == NULL)
		return NULL;
	node->index = index;
	node->os_number = os_number;
	return node;
}

bool sn_node_add_internal(void)
{
	struct sn_node *node = node_build(SN_NODE_INTERNAL, -1);

	if (node == NULL)
		return false;
	node->has_memory = true;
	atomic_store(&node->allowed, true);
	node->state = SN_ONLINE;
	node->usable = 1;
	/* No table accepts its objects: they go straight back to their slab. */
	sn_nodes[SN_NODE_INTERNAL] = node;
	sn_node_end = SN_FIRST_NODE;
	return true;
}

int sn_node_add(int os_number, bool has_memory, bool allowed)
{
	unsigned int index = sn_node_end;
	struct sn_node *node;

	if (index > SN_MAX_NODES)
		return -ENOSPC;
	node = node_build(index, os_number);
	if (node == NULL)
		return -ENOMEM;
	node->has_memory = has_memory;
	node->allowed = allowed;
	node->distance[index] = 10;
	sn_nodes[index] = node;
	atomic_store(&sn_node_end, index + 1);
	return (int)index;
}

/* Nearest first; equal ones keep the order of their numbers, but begin behind this node, so that
 * not all nodes fall back to node 0. An insertion sort.  The number of nodes in it. */
static unsigned int fallback_order(unsigned int index, const uint8_t *distance, uint8_t *order)
{
	unsigned int count = 0;

#define KEY(m) ((unsigned int)distance[m] << 8 | (uint8_t)((m)-index))
	for_each_node(n) {
		unsigned int at = count;

		if (n == index)
			continue;
		for (; at > 0 && KEY(order[at - 1]) > KEY(n); at--)
			order[at] = order[at - 1];
		order[at] = (uint8_t)n;
		count++;
	}
#undef KEY
	return count;
}

/*
 * The order is walked without a lock while a node joins it.  Written from its end, with all others
 * in the order in which they were, a walk may meet a node twice and misses none that was there.
 * Released and acquired one by one: so it is seen on every processor, and whoever finds the
 * newcomer's index finds the node.
 */
void sn_node_set_distances(unsigned int index, const uint8_t *distance)
{
	struct sn_node *node = sn_nodes[index];
	uint8_t order[SN_MAX_NODES + 1];
	unsigned int count = fallback_order(index, distance, order);

	for_each_node(i)
		__atomic_store_n(&node->distance[i], distance[i], __ATOMIC_RELAXED);
	order[count] = 0;
	for (unsigned int i = count + 1; i-- > 0;)
		__atomic_store_n(&node->fallback[i], order[i], __ATOMIC_RELEASE);
}

void sn_node_update_usable(struct sn_node *node)
{
	bool usable = sn_node_state(node) == SN_ONLINE && !node->cordoned && node->allowed &&
		      node->has_memory;

	atomic_store(&node->usable, usable); /* sequentially consistent: sn_movable_settle() */
	atomic_fetch_add(&sn_usable_seq, 1);
}

void sn_node_start(unsigned int index) SN_NO_THREAD_SAFETY
{
	struct sn_node *node = sn_nodes[index];

	atomic_store(&node->state, node->has_memory ? SN_ONLINE : SN_OFFLINE);
	sn_node_update_usable(node);
	atomic_store(&sn_standin[index], node->has_memory ? (uint8_t)index : SN_NODE_NONE);
}

unsigned int sn_node_find(int os_number)
{
	for_each_node(node)
		if (sn_nodes[node]->os_number == os_number)
			return node;
	return SN_NODE_NONE;
}

unsigned int sn_node_target(unsigned int home)
{
	const struct sn_node *node = sn_nodes[home];

	if (node == NULL)
		return SN_NODE_NONE;
	if (sn_likely(sn_node_usable(node)))
		return home;
	for_each_in_order(other, node->fallback)
		if (sn_node_usable(sn_nodes[other]))
			return other;
	return SN_NODE_NONE;
}

unsigned int sn_node_count_usable(void)
{
	unsigned int count = 0;

	for_each_node(node)
		count += sn_node_usable(sn_nodes[node]);
	return count;
}

void sn_node_usable_mask(struct sn_nodemask *mask)
{
	*mask = (struct sn_nodemask){{0}};
	for_each_node(node)
		if (sn_node_usable(sn_nodes[node]))
			sn_mask_add(mask, node);
}

void sn_node_policy_mask(struct sn_nodemask *mask)
{
	*mask = (struct sn_nodemask){{0}};
	for_each_node(n) {
		const struct sn_node *node = sn_nodes[n];

		if ((sn_node_state(node) == SN_ONLINE || node->returning) && node->allowed &&
		    node->has_memory)
			sn_mask_add(mask, n);
	}
}

void sn_node_wake(struct sn_node *node)
{
	atomic_fetch_add(&node->free_seq, 1);
	if (atomic_load(&node->waiters) != 0)
		sn_futex_wake(&node->free_seq, 64);
}
