/*
 * sitemap.c - see sitemap.h.
 *
 *	maps[number of a segment] --> 16 bits for each 16 bytes of it, built when first needed
 *
 * An entry is written by whoever has the object in hand, before it is handed out and before it is
 * given back: no lock.  A map stays when its segment goes, for the next one at its place, and loses
 * its pages.  Of a map only the pages are resident that stood for objects, one for 32 KiB of heap.
 */
#include "sitemap.h"

#include "large.h"
#include "meta.h"
#include "slab.h"

#define GRANULE_SHIFT 4
#define MAP_ENTRIES   (SN_SEG_SIZE >> GRANULE_SHIFT)
#define PAGE_ENTRIES  (SN_PAGE_SIZE >> GRANULE_SHIFT)

static uint16_t *_Atomic *maps;
/* Built by a thread that another was ahead of. */
static uint16_t *_Atomic spare;

bool sn_sitemap_start(void)
{
	maps = sn_meta_alloc(SN_WINDOW_SEGS * sizeof(*maps), SN_PAGE_SIZE);
	return maps != NULL;
}

static size_t segment_number(const void *p)
{
	return ((uintptr_t)p - sn_counter_read(sn_window)) >> SN_SEG_SHIFT;
}

static uint16_t *_Atomic *map_slot(const void *p)
{
	return &maps[segment_number(p)];
}

static SN_COLD uint16_t *build_map(uint16_t *_Atomic *slot)
{
	uint16_t *map = atomic_exchange(&spare, NULL), *other = NULL;

	if (map == NULL)
		map = sn_meta_alloc(MAP_ENTRIES * sizeof(*map), SN_PAGE_SIZE);
	if (map == NULL || atomic_compare_exchange_strong(slot, &other, map))
		return map;
	atomic_store(&spare, map);
	return other;
}

static uint16_t *entry_of(uint16_t *map, const void *p)
{
	return &map[((uintptr_t)p & (SN_SEG_SIZE - 1)) >> GRANULE_SHIFT];
}

bool sn_sitemap_set(const void *p, uint16_t value)
{
	uint16_t *_Atomic *slot = map_slot(p);
	uint16_t *map = atomic_load_explicit(slot, memory_order_acquire);

	if (sn_unlikely(map == NULL)) {
		map = value == 0 ? NULL : build_map(slot);
		if (map == NULL)
			return value == 0;
	}
	sn_counter_set(*entry_of(map, p), value);
	return true;
}

uint16_t sn_sitemap_get(const void *p)
{
	uint16_t *map = NULL;

	if (segment_number(p) < SN_WINDOW_SEGS)
		map = atomic_load_explicit(map_slot(p), memory_order_acquire);
	return map == NULL ? 0 : sn_counter_read(*entry_of(map, p));
}

void sn_sitemap_forget(const void *segment)
{
	uint16_t *map = maps == NULL ? NULL : atomic_load(map_slot(segment));

	if (map != NULL)
		sn_discard_memory(map, MAP_ENTRIES * sizeof(*map));
}

/* 0: it was freed meanwhile. */
static size_t size_at(struct sn_node *node, const void *p)
{
	unsigned int entry, cache;
	size_t size = 0;

	/* Under it no header is closed. */
	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	entry = sn_segmap_entry(p);
	if (entry != SN_NODE_NONE && !(entry & SN_SEG_CONTINUED)) {
		cache = sn_cache_of(p, entry);
		size = cache != 0 ? sn_caches[cache].size : sn_block_size(p);
	}
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	return size;
}

static void walk_page(struct sn_node *node, const char *page, uint16_t *map,
		      void (*fn)(void *arg, uint16_t value, size_t size), void *arg)
{
	const char *p = page;

	for (size_t i = 0; i < PAGE_ENTRIES; i++, p += (size_t)1 << GRANULE_SHIFT) {
		uint16_t value = sn_counter_read(*entry_of(map, p));
		bool live = value != 0 && (value & SN_SITEMAP_FREED) == 0;
		size_t size = live ? size_at(node, p) : 0;

		if (size != 0)
			fn(arg, value, size);
	}
}

void sn_sitemap_walk(unsigned int node, void (*fn)(void *arg, uint16_t value, size_t size),
		     void *arg)
{
	for (struct sn_range *r = sn_first_range(sn_nodes[node]); r != NULL; r = r->next)
		for (size_t i = 0; i < r->nr_segments; i++) {
			const char *segment = r->base + (i << SN_SEG_SHIFT);
			uint16_t *map =
				atomic_load_explicit(map_slot(segment), memory_order_acquire);

			for (size_t page = 0; map != NULL && page < SN_SEG_PAGES; page++)
				walk_page(sn_nodes[node], segment + (page << SN_PAGE_SHIFT), map,
					  fn, arg);
		}
}
