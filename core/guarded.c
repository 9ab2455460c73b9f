/*
 * guarded.c - level 3: which small objects have pages of their own, before a closed one.
 *
 * A page for an object of 32 bytes cannot be had for all of them.  The first get one, as long as
 * half of the places are free; of those that come later one in ONE_IN.  So each object of a small
 * program is guarded, and in a large one an error that is repeated is found.
 */
#include "guarded.h"

#include "hardened.h"
#include "large.h"

#define MOST_GUARDED 16384
#define ONE_IN	     32

static _Atomic unsigned int nr_guarded;

static bool has_place(void)
{
	unsigned int n = atomic_load_explicit(&nr_guarded, memory_order_relaxed);

	return n < MOST_GUARDED / 2 || (n < MOST_GUARDED && sn_hardened_random() % ONE_IN == 0);
}

void *sn_guarded_alloc(unsigned int home, unsigned int cache)
{
	unsigned int target;
	void *p;

	if (sn_hardened < 3 || cache > SN_NR_CLASSES || !has_place())
		return NULL;
	target = sn_node_target(home);
	if (target == SN_NODE_NONE)
		return NULL;
	p = sn_large_alloc_object(sn_nodes[target], sn_caches[sn_hardened_cache(cache)].size);
	if (p != NULL)
		atomic_fetch_add_explicit(&nr_guarded, 1, memory_order_relaxed);
	return p;
}

void sn_guarded_freed(void)
{
	atomic_fetch_sub_explicit(&nr_guarded, 1, memory_order_relaxed);
}
