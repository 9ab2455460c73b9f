/*
 * slab.c - see slab.h.
 *
 * Word w of the free map stands in descriptor w / 4 of the slab's pages, place w % 4.  Objects
 * are handed out in address order, so that a slab fills from its start and untouched pages at
 * its end stay untouched.
 */
#include "slab.h"

#include "fault.h"
#include "guard.h"
#include "hardened.h"
#include "misuse.h"
#include "pages.h"
#include "probe.h"

#include <string.h>

static uint64_t *map_word(struct sn_page *slab, unsigned int w)
{
	return &slab[w / SN_BITS_PER_PAGE].free_map[w % SN_BITS_PER_PAGE];
}

static unsigned int map_words(const struct sn_page *slab)
{
	return (slab->nr_objects + 63u) / 64;
}

/* What the fast path of free() reads, beside other slabs' bytes. */
static void mark_pages(struct sn_page *slab, uint8_t cache)
{
	uint8_t *entry = &sn_segment_of(slab)->page_cache[sn_page_index(slab)];

	for (unsigned int i = 0; i < slab->npages; i++)
		sn_counter_set(entry[i], cache);
}

/* Level 2: free objects read as zero, and none waits in quarantine. */
static void prepare_hardened(struct sn_page *slab, const struct sn_cache *cache, bool zeroed)
{
	for (unsigned int w = map_words(slab); w < slab->npages * SN_BITS_PER_PAGE; w++)
		*map_word(slab, w) = 0;
	if (!zeroed && cache->ctor == NULL)
		memset(sn_page_address(slab), 0, (size_t)cache->slab_pages << SN_PAGE_SHIFT);
}

struct sn_page *sn_slab_build(struct sn_node *node, const struct sn_cache *cache)
{
	struct sn_page *slab = NULL;
	unsigned int words;
	bool zeroed;

	if (sn_fault(SN_FAULT_SLAB) == 0)
		slab = sn_run_alloc(node, cache->slab_pages + sn_run_tail, 1, &zeroed);
	if (slab == NULL)
		return NULL;
	if (sn_run_tail > 0)
		sn_guard_run(slab);
	slab->nr_objects = slab->nr_free = cache->slab_objects;
	slab->hint = 0;
	slab->list = SN_LIST_NONE;
	slab->cache = cache->index;
	words = map_words(slab);
	for (unsigned int w = 0; w < words; w++)
		*map_word(slab, w) = ~(uint64_t)0;
	if (cache->slab_objects % 64 != 0)
		*map_word(slab, words - 1) = ((uint64_t)1 << cache->slab_objects % 64) - 1;
	for (unsigned int i = 0; i < slab->npages; i++)
		sn_counter_set(slab[i].head, (uint16_t)i);
	if (sn_hardened > 1)
		prepare_hardened(slab, cache, zeroed);
	if (cache->ctor != NULL) {
		sn_fault(SN_FAULT_CTOR);
		for (unsigned int i = 0; i < cache->slab_objects; i++)
			cache->ctor(sn_page_address(slab) + (size_t)i * cache->size);
	}
	sn_counter_set(slab->kind, SN_PAGE_SLAB);
	mark_pages(slab, cache->index);
	atomic_fetch_add_explicit(&node->slab_pages, slab->npages, memory_order_relaxed);
	SN_PROBE(slab_build, node->os_number, cache->name, slab->npages);
	return slab;
}

/* For misuse.c. */
static void leave_trace(struct sn_page *page, uint8_t cache, unsigned int back)
{
	sn_counter_set(page->head, 0);
	page->cache = cache;
	page->hint = (uint16_t)back;
	page->list = SN_LIST_SLAB_GONE;
}

void sn_slab_destroy(struct sn_page *slab)
{
	struct sn_segment *segment = sn_segment_of(slab);

	SN_PROBE(slab_destroy, sn_node_of_segment(segment)->os_number, sn_caches[slab->cache].name,
		 slab->npages);
	mark_pages(slab, 0);
	for (unsigned int i = 0; i < slab->npages; i++)
		leave_trace(&slab[i], slab->cache, i);
	if (sn_run_tail > 0)
		sn_unguard_run(slab);
	atomic_fetch_sub_explicit(&sn_node_of_segment(segment)->slab_pages, slab->npages,
				  memory_order_relaxed);
	sn_counter_set(slab->kind, SN_PAGE_BUSY);
	sn_run_free(slab);
}

/* Whether a neighbour in a list is the descriptor of a slab's first page. */
static bool is_slab(const struct sn_page *other)
{
	unsigned int entry = sn_segmap_entry(other);

	return other == NULL ||
	       (entry != SN_NODE_NONE && !(entry & SN_SEG_CONTINUED) &&
		sn_page_number(other) < SN_HEADER_PAGES && (uintptr_t)other % sizeof(*other) == 0 &&
		other->kind == SN_PAGE_SLAB);
}

static bool is_listed_well(const struct sn_page *slab)
{
	return slab->list == SN_LIST_NONE ||
	       (slab->list <= SN_LIST_ISOLATED && is_slab(slab->prev) && is_slab(slab->next) &&
		(slab->prev == NULL || slab->prev->next == slab) &&
		(slab->next == NULL || slab->next->prev == slab));
}

static void verify(const struct sn_page *slab, const struct sn_cache *cache)
{
	if (slab->kind != SN_PAGE_SLAB || slab->cache != cache->index || slab->head != 0 ||
	    slab->nr_objects != cache->slab_objects || slab->nr_free > slab->nr_objects ||
	    slab->npages < cache->slab_pages || !is_listed_well(slab))
		sn_fatal("the allocator's own memory was overwritten", slab);
}

/* The n-th bit that is set. */
static unsigned int nth_bit(uint64_t bits, unsigned int n)
{
	for (; n > 0; n--)
		bits &= bits - 1;
	return (unsigned int)__builtin_ctzll(bits);
}

/* Level 2: one free object, from anywhere in the slab. */
static unsigned int take_any(struct sn_page *slab, const struct sn_cache *cache, void **objects)
{
	unsigned int words = map_words(slab), i;
	unsigned int w = (unsigned int)(sn_hardened_random() % words);
	uint64_t *word;

	verify(slab, cache);
	if (slab->nr_free == 0)
		return 0;
	for (word = map_word(slab, w); *word == 0; word = map_word(slab, w))
		w = (w + 1) % words;
	i = nth_bit(*word,
		    (unsigned int)sn_hardened_random() % (unsigned int)__builtin_popcountll(*word));
	*word &= ~((uint64_t)1 << i);
	slab->nr_free--;
	objects[0] = sn_page_address(slab) + (size_t)(w * 64 + i) * cache->size;
	return 1;
}

unsigned int sn_slab_take(struct sn_page *slab, const struct sn_cache *cache, void **objects,
			  unsigned int want)
{
	char *base = sn_page_address(slab);
	unsigned int n = 0, w = slab->hint, words = map_words(slab);

	if (sn_unlikely(sn_hardened > 1))
		return take_any(slab, cache, objects);
	for (; w < words; w++) {
		uint64_t *word = map_word(slab, w), bits = *word;

		while (bits != 0 && n < want) {
			unsigned int i = w * 64 + (unsigned int)__builtin_ctzll(bits);

			bits &= bits - 1;
			objects[n++] = base + (size_t)i * cache->size;
		}
		*word = bits;
		if (bits != 0)
			break;
	}
	slab->hint = (uint16_t)w;
	slab->nr_free = (uint16_t)(slab->nr_free - n);
	return n;
}

/* Whether a pointer into a slab page is where an object of it begins. No lock needed. */
static bool is_object(const void *p)
{
	struct sn_page *slab = sn_slab_head(p);
	size_t offset = (size_t)((const char *)p - sn_page_address(slab));

	return offset % sn_caches[slab->cache].size == 0 &&
	       offset / sn_caches[slab->cache].size < slab->nr_objects;
}

void sn_slab_put(struct sn_page *slab, const struct sn_cache *cache, void *p)
{
	size_t offset = (size_t)((char *)p - sn_page_address(slab));
	unsigned int i = (unsigned int)(offset * cache->reciprocal >> 40);
	uint64_t *word = map_word(slab, i / 64), bit = (uint64_t)1 << i % 64;

	if (sn_unlikely((size_t)i * cache->size != offset || i >= slab->nr_objects ||
			(*word & bit) != 0))
		sn_misuse("free", p);
	*word |= bit;
	slab->nr_free++;
	if (i / 64 < slab->hint)
		slab->hint = (uint16_t)(i / 64);
}

static struct sn_page **list_head(struct sn_cache_node *cn, uint8_t list)
	SN_REQUIRES(&cn->list_lock)
{
	return list == SN_LIST_PARTIAL ? &cn->partial
	       : list == SN_LIST_FULL  ? &cn->full
	       : list == SN_LIST_FREE  ? &cn->free
				       : &cn->isolated;
}

void sn_slab_unlist(struct sn_cache_node *cn, struct sn_page *slab)
{
	if (slab->list == SN_LIST_NONE)
		return;
	if (slab->prev != NULL)
		slab->prev->next = slab->next;
	else
		sn_counter_set(*list_head(cn, slab->list), slab->next);
	if (slab->next != NULL)
		slab->next->prev = slab->prev;
	if (slab->list == SN_LIST_FREE)
		sn_counter_sub(cn->nr_free, 1);
	slab->list = SN_LIST_NONE;
}

static void enlist(struct sn_cache_node *cn, struct sn_page *slab, uint8_t list)
	SN_REQUIRES(&cn->list_lock)
{
	struct sn_page **head = list_head(cn, list);

	slab->prev = NULL;
	slab->next = *head;
	if (slab->next != NULL)
		slab->next->prev = slab;
	sn_counter_set(*head, slab);
	slab->list = list;
	if (list == SN_LIST_FREE)
		sn_counter_add(cn->nr_free, 1);
}

void sn_slab_relist(struct sn_cache_node *cn, struct sn_page *slab)
{
	uint8_t list = slab->nr_free == 0		   ? SN_LIST_FULL
		       : slab->nr_free == slab->nr_objects ? SN_LIST_FREE
							   : SN_LIST_PARTIAL;

	if (slab->list == list || slab->list == SN_LIST_ISOLATED)
		return;
	sn_slab_unlist(cn, slab);
	enlist(cn, slab, list);
}

void sn_slab_isolate(struct sn_cache_node *cn, struct sn_page *slab)
{
	sn_slab_unlist(cn, slab);
	enlist(cn, slab, SN_LIST_ISOLATED);
}

void sn_slab_rejoin(struct sn_cache_node *cn, struct sn_page *slab)
{
	sn_slab_unlist(cn, slab);
	sn_slab_relist(cn, slab);
}

unsigned int sn_slab_allocated(struct sn_page *slab, const struct sn_cache *cache,
			       unsigned int *next, void **objects, unsigned int max)
{
	char *base = sn_page_address(slab);
	unsigned int n = 0;

	for (; *next < slab->nr_objects && n < max; ++*next)
		if (!(*map_word(slab, *next / 64) >> (*next % 64) & 1))
			objects[n++] = base + (size_t)*next * cache->size;
	return n;
}

/* Where level 2 keeps the bit of an object that waits in quarantine: objects are 32 bytes at least
 * there, so the free map needs half of its words at most. */
static uint64_t *held_word(struct sn_page *slab, unsigned int i)
{
	return map_word(slab, slab->npages * (SN_BITS_PER_PAGE / 2) + i / 64);
}

static unsigned int number_of(const struct sn_page *slab, const struct sn_cache *cache,
			      const void *p)
{
	return (unsigned int)((size_t)((const char *)p - sn_page_address(slab)) / cache->size);
}

void sn_slab_hold(struct sn_page *slab, const struct sn_cache *cache, const void *p, bool hold)
{
	unsigned int i = number_of(slab, cache, p);
	uint64_t bit = (uint64_t)1 << i % 64;

	if (hold)
		*held_word(slab, i) |= bit;
	else
		*held_word(slab, i) &= ~bit;
}

/* Objects of 16 bytes are the internal node's, where nothing waits. */
static bool is_live(struct sn_page *slab, const struct sn_cache *cache, const void *p)
{
	unsigned int i = number_of(slab, cache, p);

	return is_object(p) && !(*map_word(slab, i / 64) >> i % 64 & 1) &&
	       (sn_hardened < 2 || cache->size < 32 || !(*held_word(slab, i) >> i % 64 & 1));
}

void sn_slab_check(const char *call, const void *p, unsigned int home, unsigned int cache)
{
	struct sn_page *slab;

	/* The slab may have been destroyed since the caller looked. */
	if (sn_segmap_entry(p) != home || sn_cache_of(p, home) != cache)
		sn_misuse(call, p);
	slab = sn_slab_head(p);
	if (sn_hardened > 1)
		verify(slab, &sn_caches[cache]);
	if (!is_live(slab, &sn_caches[cache], p))
		sn_misuse(call, p);
}

bool sn_slab_object_is_free(struct sn_page *slab, const struct sn_cache *cache, const void *p)
{
	size_t i = (size_t)((const char *)p - sn_page_address(slab)) / cache->size;

	return *map_word(slab, (unsigned int)i / 64) >> (i % 64) & 1;
}
