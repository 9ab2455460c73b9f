/*
 * slab.h - one slab: a run of pages cut into objects of one size, with its free map outside.
 *
 * All functions but build and destroy are called with the list_lock of (cache, node) held, whether
 * they are given the struct that has it or not.
 */
#ifndef SLABNODE_SLAB_H
#define SLABNODE_SLAB_H

#include "cache.h"

/* Builds a slab on a fresh run of `node`; it is in the caller's hand. NULL: no memory. */
struct sn_page *sn_slab_build(struct sn_node *node, const struct sn_cache *cache)
	SN_EXCLUDES(&node->page_lock);
/* Gives an empty slab that is on no list back. No lock held. */
void sn_slab_destroy(struct sn_page *slab);

/* Takes up to `want` free objects, lowest addresses first. Returns how many. */
unsigned int sn_slab_take(struct sn_page *slab, const struct sn_cache *cache, void **objects,
			  unsigned int want);
/* Marks an object free.  Ends the program when `p` is no object of the slab, or free. */
void sn_slab_put(struct sn_page *slab, const struct sn_cache *cache, void *p);

/* Moves the slab to the list that its counters say, adjusting cn->nr_free. */
void sn_slab_relist(struct sn_cache_node *cn, struct sn_page *slab) SN_REQUIRES(&cn->list_lock);
void sn_slab_unlist(struct sn_cache_node *cn, struct sn_page *slab) SN_REQUIRES(&cn->list_lock);
/* Keeps the slab from handing out anything until it rejoins the list that its counters say. */
void sn_slab_isolate(struct sn_cache_node *cn, struct sn_page *slab) SN_REQUIRES(&cn->list_lock);
void sn_slab_rejoin(struct sn_cache_node *cn, struct sn_page *slab) SN_REQUIRES(&cn->list_lock);

/* Collects up to `max` objects that are not free, from number *next on, which is moved behind
 * them. Returns how many. */
unsigned int sn_slab_allocated(struct sn_page *slab, const struct sn_cache *cache,
			       unsigned int *next, void **objects, unsigned int max);
/* Whether an object of the slab is free, by its map. */
bool sn_slab_object_is_free(struct sn_page *slab, const struct sn_cache *cache, const void *p);

/* Hardened levels.  Ends the program when p, of which the caller found home and cache, is no live
 * object, or (level 2) its slab's descriptor not what it must be. */
void sn_slab_check(const char *call, const void *p, unsigned int home, unsigned int cache);
/* The object waits in quarantine, or no longer (level 2). */
void sn_slab_hold(struct sn_page *slab, const struct sn_cache *cache, const void *p, bool hold);

/* The cache of the slab that p lies in, whose map entry is given; 0: in no slab. */
static inline unsigned int sn_cache_of(const void *p, unsigned int entry)
{
	size_t number = sn_page_number(p);

	if (entry & SN_SEG_CONTINUED || number < SN_HEADER_PAGES)
		return 0;
	return sn_counter_read(sn_segment_of(p)->page_cache[number]);
}

/* The slab that a pointer into a slab page lies in. */
static inline struct sn_page *sn_slab_head(const void *p)
{
	struct sn_page *page = sn_page_of(p);

	return page - sn_counter_read(page->head);
}

#endif
