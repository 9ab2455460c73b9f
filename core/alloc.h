/*
 * alloc.h - malloc and free: the fast paths, nothing else.
 *
 * Budget (x86-64, gcc): malloc executes 22 instructions, free 33, from entry to return.  malloc
 * compares the size with the thread's gate, loads the class, and runs a sequence of eleven; free
 * compares the segment's number with the window, and all else it has to ask (is it a slab's, of
 * this table's node, is there room) are two compares inside the sequence, of thirteen.  No call,
 * no stack frame, no atomic instruction, no system call: tests/fastpath counts.
 */
#ifndef SLABNODE_ALLOC_H
#define SLABNODE_ALLOC_H

#include "rseq.h"
#include "thread.h"

#include <string.h>

void *sn_alloc_slow(unsigned int cache);
void *sn_malloc_beyond(size_t size);
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
	p = sn_rseq_pop(words, cache);
	return sn_likely(p != NULL) ? p : sn_alloc_slow(cache);
}

/* The cache of a size below the gate. */
SN_INLINE size_t sn_small_class(size_t size)
{
	if (size > SN_SMALL_MAX)
		__builtin_unreachable();
	return sn_class_small[(size + 15) >> 4];
}

SN_INLINE void *sn_malloc(size_t size)
{
	size_t cache;
	void *p;

	if (sn_unlikely(size >= sn_self.gate_malloc))
		return sn_malloc_beyond(size);
	cache = sn_small_class(size);
	p = sn_rseq_pop(sn_self.fast, cache);
	return sn_likely(p != NULL) ? p : sn_alloc_slow((unsigned int)cache);
}

/* For callers that have more to do where the fast path fails: NULL then, and errno is kept. */
SN_INLINE void *sn_malloc_quick(size_t size)
{
	if (sn_unlikely(size >= sn_self.gate_malloc))
		return NULL;
	return sn_rseq_pop(sn_self.fast, sn_small_class(size));
}

/*
 * The size to allocate for an alignment up to a page, a power of two.  The size of its class is a
 * multiple of the alignment: in a doubling the classes are a quarter of it apart, so either that
 * is, or the multiples are classes.  And objects lie at multiples of their size from a page border.
 */
SN_INLINE size_t sn_aligned_size(size_t align, size_t size)
{
	return sn_align_up(sn_max(size, (size_t)1), align);
}

SN_INLINE size_t sn_segment_number(const void *p)
{
	return ((uintptr_t)p - sn_counter_read(sn_window)) >> SN_SEG_SHIFT;
}

/* False: the gate is shut to this address, and nothing has happened. */
SN_INLINE bool sn_free_at_gate(void *p)
{
	size_t number = sn_segment_number(p), home;

	if (sn_unlikely(number >= sn_self.gate_free))
		return false;
	home = atomic_load_explicit(&sn_segmap[number], memory_order_relaxed);
	if (sn_unlikely(!sn_rseq_push(sn_self.fast, sn_standin, home, sn_segment_of(p)->page_cache,
				      sn_page_number(p), p)))
		sn_free_slow(p);
	return true;
}

/* p may be NULL. errno is kept. */
SN_INLINE void sn_free(void *p)
{
	if (sn_unlikely(!sn_free_at_gate(p)))
		sn_free_slow(p);
}

/* Calls that say what they free.  In hardened levels, where the gate is shut, that is compared with
 * what is there: what operator new gave for this size and alignment (0: not said) ... */
void sn_free_new_slow(const char *call, void *p, size_t size, size_t align);
SN_INLINE void sn_free_new(const char *call, void *p, size_t size, size_t align)
{
	if (sn_unlikely(!sn_free_at_gate(p)))
		sn_free_new_slow(call, p, size, align);
}

/* ... or a place where an aligned object may begin ... */
void sn_free_aligned_slow(void *p, size_t align);
SN_INLINE void sn_free_aligned(void *p, size_t align)
{
	if (sn_unlikely(!sn_free_at_gate(p)))
		sn_free_aligned_slow(p, align);
}

/* ... or what malloc and realloc left at this size. */
void sn_free_sized_slow(void *p, size_t size);
SN_INLINE void sn_free_sized(void *p, size_t size)
{
	if (sn_unlikely(!sn_free_at_gate(p)))
		sn_free_sized_slow(p, size);
}

/* Of an object cache, which p must be an object of, as is looked up from level 1 on. */
void sn_free_cached_slow(void *p, unsigned int cache);
SN_INLINE void sn_free_cached(void *p, unsigned int cache)
{
	if (sn_unlikely(!sn_free_at_gate(p)))
		sn_free_cached_slow(p, cache);
}

/* Where the fast path of calloc failed. */
void *sn_calloc_slow(size_t size);

SN_INLINE void *sn_calloc(size_t size)
{
	void *p = sn_malloc_quick(size);

	return sn_likely(p != NULL) ? memset(p, 0, size) : sn_calloc_slow(size);
}

/* As realloc(3) for p not NULL and size not 0: NULL leaves p alone. */
void *sn_realloc_slow(void *p, size_t size);
/* realloc(p, 0), p not NULL: a free that is checked, and told of, as a realloc. errno is kept. */
void sn_realloc_none(void *p);

/* Worth staying: the object keeps at least half of its room in use. */
SN_INLINE bool sn_fits_in_place(size_t have, size_t size)
{
	return size <= have && size >= (have <= 32 ? 0 : have / 2);
}

SN_INLINE void *sn_realloc(void *p, size_t size)
{
	size_t number = sn_segment_number(p);
	unsigned int home = SN_NODE_NONE, cache;

	if (sn_likely(number < sn_self.gate_free))
		home = atomic_load_explicit(&sn_segmap[number], memory_order_relaxed);
	if (sn_likely(home != SN_NODE_NONE && home < SN_SEG_CONTINUED)) {
		cache = sn_counter_read(sn_segment_of(p)->page_cache[sn_page_number(p)]);
		if (sn_likely(cache != 0) &&
		    sn_likely(sn_fits_in_place(sn_caches[cache].size, size)))
			return p;
	}
	return sn_realloc_slow(p, size);
}

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
