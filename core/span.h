/*
 * span.h - blocks that are longer than a run: consecutive segments of their own.
 */
#ifndef SLABNODE_SPAN_H
#define SLABNODE_SPAN_H

#include "pace.h"
#include "segment.h"

/* The span that p lies in, or NULL when p lies in a shared segment. */
struct sn_segment *sn_span_of(const void *p);
/* Where its block begins. */
static inline char *sn_span_block(struct sn_segment *span)
{
	return (char *)span + ((size_t)span->info.block_first << SN_PAGE_SHIFT);
}

/*
 * A block in hand, of npages, aligned to align pages.  The first `unwanted` pages of it will be
 * replaced, or have to read as zero: pages that were used already are no good there.  *zeroed:
 * whether the whole block has to read as zero; then whether it does.  NULL: the node cannot.
 */
void *sn_span_alloc(struct sn_node *node, size_t npages, size_t align, size_t unwanted,
		    bool *zeroed) SN_EXCLUDES(&node->page_lock);
/* Ends the program when p is not the start of the span's block. */
void sn_span_free(struct sn_node *node, struct sn_segment *span, const void *p)
	SN_EXCLUDES(&node->page_lock);
/* Grows or shrinks the block where it is. */
bool sn_span_resize(struct sn_node *node, struct sn_segment *span, size_t npages)
	SN_EXCLUDES(&node->page_lock);
/* The first `have` bytes of a span's block become those of another one's, which is new: moved, or
 * copied.  False: that one is lost. */
bool sn_span_hand_on(struct sn_node *node, struct sn_segment *from, struct sn_segment *to,
		     size_t have) SN_EXCLUDES(&node->page_lock);
/* Gives up to `max` pages of cached spans, and spare ones, back to the system, at a pace (or NULL).
 * Bytes. */
size_t sn_spans_purge(struct sn_node *node, size_t max, struct sn_pace *pace)
	SN_EXCLUDES(&node->page_lock);
/* Whether memory may have huge pages: not behind the room, where nobody would give back what a huge
 * page of its end brings along. */
void sn_span_huge_pages(char *at, size_t len, bool allow);
/* The span's room ends behind so many pages from now on; the rest has been given back, or moved. */
void sn_span_cut_room(struct sn_node *node, struct sn_segment *span, size_t npages)
	SN_REQUIRES(&node->page_lock);
/* So many pages of spans are no longer cached, so many others are. */
void sn_span_count_cached(struct sn_node *node, size_t gone, size_t come)
	SN_REQUIRES(&node->page_lock);

#endif
