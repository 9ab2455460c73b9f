/*
 * large.h - blocks that have a run of pages, or a span of segments, of their own.
 */
#ifndef SLABNODE_LARGE_H
#define SLABNODE_LARGE_H

#include "pages.h"
#include "span.h"

/* A block of at least `size` bytes aligned to `align` (a power of two, a page at least) from
 * this node; NULL when the node cannot give it.  No lock held. */
void *sn_large_alloc(struct sn_node *node, size_t size, size_t align, bool zero)
	SN_EXCLUDES(&node->page_lock);
/* Ends the program when p is not the start of a block. */
void sn_large_free(void *p);
/* The usable size of the block that begins at p; 0: none does. */
size_t sn_block_size(const void *p);
/* The same, and ends the program likewise; `call` is what was called. */
size_t sn_large_size(const char *call, const void *p);
/* Level 3: an object of this size at the end of its pages, before a closed one; NULL: none. */
void *sn_large_alloc_object(struct sn_node *node, size_t size) SN_EXCLUDES(&node->page_lock);
/* Resizes in place, or by moving pages instead of bytes; NULL: p is as it was. */
void *sn_large_resize(void *p, size_t have, size_t size);
/* A block is born, or gone. */
static inline void sn_large_count(struct sn_node *node, size_t npages, bool born)
{
	atomic_fetch_add_explicit(&node->large_pages, born ? npages : -npages,
				  memory_order_relaxed);
	atomic_fetch_add_explicit(&node->large_blocks, born ? 1 : (size_t)-1, memory_order_relaxed);
}

#endif
