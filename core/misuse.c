/*
 * misuse.c - see misuse.h.
 *
 * What a page was is left in its descriptor when its slab is destroyed or its block freed
 * (SN_LIST_SLAB_GONE, SN_LIST_BLOCK_GONE), and where the block of a span began in its range when
 * its segments go back (SN_SEG_BLOCK_GONE): so a double free is told from a free of what never was,
 * as long as the page is not used for something else.
 */
#include "misuse.h"

#include "large.h"
#include "meta.h"
#include "slab.h"

#include <string.h>

static bool in_metadata(const void *p)
{
	void *addr;
	size_t len;

	for (unsigned int i = 0; sn_meta_stretch(i, &addr, &len); i++)
		if ((uintptr_t)p - (uintptr_t)addr < len)
			return true;
	return false;
}

/* NULL: it was a block. */
static const char *outside(const void *p)
{
	if (in_metadata(p))
		return "of a pointer into the allocator's own memory";
	if (sn_block_was_at((uintptr_t)p))
		return NULL;
	return sn_in_range((uintptr_t)p) ? "of memory that is not allocated"
					 : "of a pointer that is not from this allocator";
}

/* NULL: it was an object or a block, and is free. */
static const char *in_span(const struct sn_segment *span, const void *p)
{
	size_t offset = (size_t)((const char *)p - (const char *)span) -
			((size_t)span->info.block_first << SN_PAGE_SHIFT);

	if ((const char *)p - (const char *)span < (ptrdiff_t)SN_HEADER_PAGES << SN_PAGE_SHIFT)
		return "of a pointer into the allocator's own memory";
	if (offset < span->info.block_pages << SN_PAGE_SHIFT)
		return "of a pointer into the middle of a block";
	return offset == 0 ? NULL : "of memory that is not allocated";
}

/* The run that a page lies in, found from the first one on; NULL: behind them all. */
static struct sn_page *run_of(struct sn_segment *segment, size_t number)
{
	size_t npages;

	for (size_t i = sn_segment_first(segment); i < segment->info.opened_pages; i += npages) {
		struct sn_page *run = sn_page_at(segment, i);

		npages = __atomic_load_n(&run->npages, __ATOMIC_ACQUIRE);
		if (npages == 0 || npages > SN_SEG_PAGES)
			break;
		if (number < i + npages)
			return run;
	}
	return NULL;
}

static const char *in_free_page(struct sn_page *page, const void *p)
{
	size_t offset = (uintptr_t)p & (SN_PAGE_SIZE - 1);

	switch (page->list) {
	case SN_LIST_SLAB_GONE:
		offset += (size_t)page->hint << SN_PAGE_SHIFT;
		return offset % sn_caches[page->cache].size == 0
			       ? NULL
			       : "of a pointer into the middle of an object";
	case SN_LIST_BLOCK_GONE:
		return offset == sn_block_offset(page) ? NULL : "of memory that is not allocated";
	}
	return "of memory that is not allocated";
}

static const char *in_segment(struct sn_segment *segment, const void *p)
{
	size_t number = sn_page_number(p);
	struct sn_page *run;

	if (number < SN_HEADER_PAGES)
		return "of a pointer into the allocator's own memory";
	if (sn_counter_read(segment->page_cache[number]) != 0)
		return sn_slab_is_object(p) ? NULL : "of a pointer into the middle of an object";
	run = run_of(segment, number);
	if (run == NULL)
		return "of memory that is not allocated";
	if (sn_counter_read(run->kind) == SN_PAGE_BLOCK)
		return run->fixed & SN_RUN_OBJECT ? "of a pointer into the middle of an object"
						  : "of a pointer into the middle of a block";
	return in_free_page(sn_page_of(p), p);
}

SN_COLD void sn_misuse(const char *call, const void *p)
{
	const struct sn_segment *span;
	const char *what;

	if (sn_segmap_entry(p) == SN_NODE_NONE) {
		what = outside(p);
	} else {
		span = sn_span_of(p);
		what = span != NULL ? in_span(span, p) : in_segment(sn_segment_of(p), p);
	}
	if (what != NULL)
		sn_fatal_call(call, what, p);
	if (strcmp(call, "free") == 0)
		sn_fatal("double free", p);
	sn_fatal_call(call, "of freed memory", p);
}
