/*
 * alloc.h - malloc and free: the fast paths, nothing else.
 *
 * Budget (x86-64): malloc finds the class (one compare, one byte load), loads three words that
 * do not depend on each other (the thread's words, the rseq offset, the CPU) and runs a
 * sequence of seven instructions; free has the segment map, the page map and one more compare.
 * No call, no atomic instruction, no system call.
 */
#ifndef SLABNODE_ALLOC_H
#define SLABNODE_ALLOC_H

#include "rseq.h"
#include "thread.h"

void *sn_alloc_slow(unsigned int cache);
void *sn_alloc_large(size_t size, size_t align, bool zero);
void sn_free_slow(void *p);

/* NULL: no memory, and errno is ENOMEM.  The slow paths set it, so that the fast one can end in
 * a jump to them. */
SN_INLINE void *sn_alloc_cache(unsigned int cache)
{
	void *const *words = sn_self.fast;
	void *p;

	if (sn_unlikely(words == NULL))
		return sn_alloc_slow(cache);
	p = sn_rseq_pop(words, SN_SLOT(cache));
	return sn_likely(p != NULL) ? p : sn_alloc_slow(cache);
}

SN_INLINE void *sn_malloc(size_t size)
{
	if (sn_likely(size <= SN_CLASS_MAX))
		return sn_alloc_cache(sn_size_class(size));
	return sn_alloc_large(size, SN_PAGE_SIZE, false);
}

/* p may be NULL. errno is kept. */
SN_INLINE void sn_free(void *p)
{
	void *const *words = sn_self.fast;
	size_t number = ((uintptr_t)p - sn_counter_read(sn_window)) >> SN_SEG_SHIFT;
	unsigned int home, cache;

	if (sn_likely(words != NULL && number < SN_WINDOW_SEGS)) {
		home = atomic_load_explicit(&sn_segmap[number], memory_order_relaxed);
		if (sn_likely(home != SN_NODE_NONE && home < SN_SEG_CONTINUED)) {
			cache = sn_counter_read(sn_segment_of(p)->page_cache[sn_page_number(p)]);
			if (sn_likely(cache != 0) &&
			    sn_likely(sn_rseq_push(words, SN_SLOT(cache), p,
						   sn_node_accepted_by(home))))
				return;
		}
	}
	sn_free_slow(p);
}

void *sn_calloc(size_t size);
/* As realloc(3) for p not NULL and size not 0: NULL leaves p alone. */
void *sn_realloc(void *p, size_t size);
/* align is a power of two. */
void *sn_memalign(size_t align, size_t size);
/* 0 for NULL.  Ends the program for a pointer that is not ours. */
size_t sn_usable_size(const void *p);
/* Only from this node: NULL and errno (ENODEV, EBUSY, ENOMEM) when it is not to be had. */
void *sn_malloc_node(size_t size, unsigned int node);
void *sn_alloc_cache_node(unsigned int cache, unsigned int node);
/* The node index an object belongs to (its home), or SN_NODE_NONE when it is not ours. */
unsigned int sn_home_of(const void *p);

#endif
