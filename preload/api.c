/*
 * api.c - the functions of slabnode.h: numbers and errors of the interface, mechanism in core/.
 */
#include "control.h"
#include "internal.h"

#include "../core/alloc.h"
#include "../core/lifecycle.h"
#include "../core/movable.h"
#include "../core/notifier.h"
#include "../include/slabnode.h"

#include <stdio.h>
#include <string.h>

_Static_assert(SLABNODE_OFFLINE == (int)SN_OFFLINE &&
		       SLABNODE_GOING_ONLINE == (int)SN_GOING_ONLINE &&
		       SLABNODE_ONLINE == (int)SN_ONLINE &&
		       SLABNODE_GOING_OFFLINE == (int)SN_GOING_OFFLINE,
	       "the public states are the core's");
_Static_assert(SLABNODE_STRICT == (int)SN_STRICT && SLABNODE_WAIT == (int)SN_WAIT &&
		       SLABNODE_MIGRATE == (int)SN_MIGRATE,
	       "the public policies are the core's");

SN_EXPORT const char *slabnode_version(void)
{
	return sn_version();
}

SN_EXPORT int slabnode_max_node(void)
{
	int most = -1;

	for_each_node(n)
		most = sn_max(most, sn_nodes[n]->os_number);
	return most + 1;
}

SN_EXPORT int slabnode_node_state(int node)
{
	unsigned int index = sn_node_find(node);

	return index == SN_NODE_NONE ? -ENODEV : (int)sn_node_state(sn_nodes[index]);
}

SN_EXPORT void *slabnode_malloc_node(size_t size, int node)
{
	unsigned int index = sn_node_find(node);

	if (index == SN_NODE_NONE) {
		errno = ENODEV;
		return NULL;
	}
	return sn_malloc_node(size, index);
}

SN_EXPORT int slabnode_node_of(const void *ptr)
{
	unsigned int home = sn_home_of(ptr), now;
	void *page = (void *)((uintptr_t)ptr & ~(SN_PAGE_SIZE - 1));
	int where = -ENOENT;

	if (home == SN_NODE_NONE || home == SN_NODE_INTERNAL)
		return -ENOENT;
	if (sn_placement->query != NULL && sn_placement->query(page, 1, &where) == 0 && where > 0)
		return sn_nodes[where]->os_number;
	/* Never touched, or nobody knows: where its policy would put it. */
	now = sn_node_state(sn_nodes[home]) == SN_OFFLINE ? sn_node_target(home) : home;
	return sn_nodes[now == SN_NODE_NONE ? home : now]->os_number;
}

SN_EXPORT int slabnode_prefer_node(int node)
{
	unsigned int index = node < 0 ? SN_NODE_NONE : sn_node_find(node);

	if (node >= 0 && index == SN_NODE_NONE)
		return -ENODEV;
	return sn_thread_prefer(index);
}

/* --- lifecycle --------------------------------------------------------------------------- */

static void copy_message(const struct sn_lifecycle_result *result, char *message, size_t size)
{
	if (message != NULL && size > 0)
		snprintf(message, size, "%s", result->message);
}

/* A failure that never got as far as a result has a reason all the same. */
static int refuse(int error, const char *why, char *message, size_t size)
{
	if (message != NULL && size > 0)
		snprintf(message, size, "%s", why);
	return error;
}

SN_EXPORT int slabnode_offline(int node, enum slabnode_policy policy, long timeout_ms,
			       char *message, size_t message_size)
{
	struct sn_offline_request request = {.policy = (enum sn_policy)policy,
					     .timeout_ms = timeout_ms < 0 ? -1 : timeout_ms};
	struct sn_lifecycle_result result;
	unsigned int index = sn_node_find(node);
	int error;

	if ((unsigned int)policy > SLABNODE_MIGRATE)
		return refuse(-EINVAL, "no such policy", message, message_size);
	if (index == SN_NODE_NONE)
		return refuse(-ENODEV, "no such node", message, message_size);
	error = sn_offline(&index, 1, &request, &result);
	copy_message(&result, message, message_size);
	return error;
}

SN_EXPORT int slabnode_online(int node, int rebalance, char *message, size_t message_size)
{
	struct sn_lifecycle_result result;
	int error = sn_online(sn_node_find(node), rebalance != 0, &result);

	copy_message(&result, message, message_size);
	return error;
}

SN_EXPORT int slabnode_cancel(int node)
{
	struct sn_lifecycle_result result;

	return sn_cancel(sn_node_find(node), &result);
}

SN_EXPORT int slabnode_cordon(int node)
{
	struct sn_lifecycle_result result;

	return sn_cordon(sn_node_find(node), true, &result);
}

SN_EXPORT int slabnode_uncordon(int node)
{
	struct sn_lifecycle_result result;

	return sn_cordon(sn_node_find(node), false, &result);
}

/* --- notifiers --------------------------------------------------------------------------- */

SN_EXPORT int slabnode_register_memory_notifier(const char *name, int priority,
						slabnode_memory_fn *fn, void *data)
{
	sn_control_callbacks();
	return sn_notifier_register(name, priority, fn, NULL, data);
}

SN_EXPORT int slabnode_register_node_notifier(const char *name, int priority, slabnode_node_fn *fn,
					      void *data)
{
	sn_control_callbacks();
	return sn_notifier_register(name, priority, NULL, fn, data);
}

SN_EXPORT int slabnode_unregister_notifier(int id)
{
	return sn_notifier_unregister(id);
}

/* --- object caches ----------------------------------------------------------------------- */

/* A handle is the address of the core's cache. */
static unsigned int index_of(const struct slabnode_cache *cache)
{
	return (unsigned int)((const struct sn_cache *)(const void *)cache - sn_caches);
}

SN_EXPORT struct slabnode_cache *slabnode_cache_create(const char *name, size_t size, size_t align,
						       void (*ctor)(void *))
{
	int index;

	sn_start();
	index = name == NULL ? -EINVAL : sn_cache_create(name, size, align, ctor);
	if (index < 0) {
		errno = -index;
		return NULL;
	}
	return (struct slabnode_cache *)(void *)&sn_caches[index];
}

SN_EXPORT int slabnode_cache_destroy(struct slabnode_cache *cache)
{
	return cache == NULL ? 0 : sn_cache_destroy(index_of(cache));
}

/* A cache that could not be created has no objects. */
static void *no_cache(void)
{
	errno = EINVAL;
	return NULL;
}

SN_EXPORT void *slabnode_cache_alloc(struct slabnode_cache *cache)
{
	return __builtin_expect(cache == NULL, 0) ? no_cache() : sn_alloc_cache(index_of(cache));
}

SN_EXPORT void *slabnode_cache_alloc_node(struct slabnode_cache *cache, int node)
{
	unsigned int index = sn_node_find(node);

	if (cache == NULL)
		return no_cache();
	if (index == SN_NODE_NONE) {
		errno = ENODEV;
		return NULL;
	}
	return sn_alloc_cache_node(index_of(cache), index);
}

SN_EXPORT void slabnode_cache_free(struct slabnode_cache *cache, void *object)
{
	sn_free_cached(object, index_of(cache));
}

SN_EXPORT int slabnode_cache_set_movable(struct slabnode_cache *cache, slabnode_get_fn *get,
					 slabnode_reclaim_fn *reclaim, void *data)
{
	sn_control_callbacks();
	return cache == NULL ? -EINVAL : sn_movable_set(index_of(cache), get, reclaim, data);
}

SN_EXPORT size_t slabnode_cache_shrink(struct slabnode_cache *cache)
{
	return cache == NULL ? 0 : sn_cache_shrink(index_of(cache));
}
