/*
 * large.h - blocks that have a run of pages, or a span of segments, of their own.
 */
#ifndef SLABNODE_LARGE_H
#define SLABNODE_LARGE_H

#include "pages.h"

/* A block of at least `size` bytes aligned to `align` (a power of two, a page at least) from
 * this node; NULL when the node cannot give it.  No lock held. */
void *sn_large_alloc(struct sn_node *node, size_t size, size_t align, bool zero)
	SN_EXCLUDES(&node->page_lock);
/* Ends the program when p is not the start of a block. */
void sn_large_free(void *p);
size_t sn_large_size(const void *p);
/* Resizes in place, or by moving pages instead of bytes; NULL: p is as it was. */
void *sn_large_resize(void *p, size_t have, size_t size);
/* Gives up to `max` pages of cached spans back to the system, at a pace (or NULL). Bytes. */
size_t sn_spans_purge(struct sn_node *node, size_t max, struct sn_pace *pace)
	SN_EXCLUDES(&node->page_lock);
/* The span that p lies in, or NULL when p lies in a shared segment. */
struct sn_segment *sn_span_of(const void *p);

#endif
