/*
 * hardened.c - see hardened.h.
 */
#include "hardened.h"

#include "alloc.h"
#include "guard.h"
#include "slab.h"

#include <string.h>

#define LONGEST_GAP 16

unsigned int sn_hardened;

static uint64_t secret;
static _Atomic uint64_t drawn;

/* What was freed so far waits in stores of the internal node, where nothing notices a second free.
 */
static void empty_internal(void)
{
	for (unsigned int c = 1; c <= SN_NR_CLASSES; c++)
		sn_cache_drain_shared(sn_nodes[SN_NODE_INTERNAL], c);
}

void sn_hardened_start(unsigned int level, uint64_t seed)
{
	if (level == 0)
		return;
	secret = seed;
	empty_internal();
	sn_hardened = level;
	if (level > 1) {
		sn_segment_tail = 1;
		sn_segment_gap = LONGEST_GAP;
	}
	if (level > 2)
		sn_run_tail = 1;
}

/* splitmix64 (Steele, Lea, Flood 2014) over a counter of all threads. */
uint64_t sn_hardened_random(void)
{
	uint64_t x = secret +
		     atomic_fetch_add_explicit(&drawn, 0x9e3779b97f4a7c15ULL, memory_order_relaxed);

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

uint32_t sn_hardened_gap(void)
{
	return sn_segment_gap == 0 ? 0 : 1 + (uint32_t)(sn_hardened_random() % sn_segment_gap);
}

static bool is_zero(const void *p, size_t size)
{
	const char *bytes = p;

	return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0;
}

void sn_hardened_taken(const void *p, unsigned int cache)
{
	if (sn_hardened > 1 && sn_caches[cache].ctor == NULL && !is_zero(p, sn_caches[cache].size))
		sn_fatal("write to freed memory", p);
}

void sn_hardened_check(const char *call, const void *p, unsigned int home, unsigned int cache)
{
	struct sn_cache_node *cn = sn_cache_node(sn_nodes[home], cache);

	sn_lock_acquire(&cn->list_lock, SN_RANK_LIST);
	sn_slab_check(call, p, home, cache);
	sn_lock_release(&cn->list_lock, SN_RANK_LIST);
}

static size_t usable_size(size_t size)
{
	return size > SN_CLASS_MAX ? sn_pages_for(size) << SN_PAGE_SHIFT
				   : sn_class_size[sn_hardened_cache(sn_size_class(size))];
}

/* An object from before the start has the size that it would have without hardening. */
static bool is_size_of(size_t have, size_t size)
{
	return have == usable_size(size) ||
	       (size <= SN_CLASS_MAX && have == sn_class_size[sn_size_class(size)]);
}

void sn_hardened_check_align(const char *call, const void *p, size_t align)
{
	if (align == 0 || (((uintptr_t)p | align) & (align - 1)) != 0)
		sn_fatal_mismatch(call, "alignment", align, (size_t)((uintptr_t)p & -(uintptr_t)p),
				  p);
}

void sn_hardened_check_new(const char *call, const void *p, size_t have, size_t size, size_t align)
{
	size_t asked = align == 0 ? size : sn_aligned_size(align, size);

	if (align != 0)
		sn_hardened_check_align(call, p, align);
	/* Such alignments only blocks have. */
	if (align > SN_PAGE_SIZE ? have != sn_pages_for(sn_max(size, (size_t)1)) << SN_PAGE_SHIFT
				 : !is_size_of(have, asked))
		sn_fatal_mismatch(call, "size", size, have, p);
}

void sn_hardened_check_fit(const char *call, const void *p, size_t have, size_t size)
{
	if (!sn_fits_in_place(have, size))
		sn_fatal_mismatch(call, "size", size, have, p);
}
