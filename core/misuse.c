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

#define FOREIGN		 "of a pointer that is not from this allocator"
#define OWN		 "of a pointer into the allocator's own memory"
#define NOT_ALLOCATED	 "of memory that is not allocated"
#define MIDDLE_OF_OBJECT "of a pointer into the middle of an object"
#define MIDDLE_OF_BLOCK	 "of a pointer into the middle of a block"

static bool in_metadata(const void *p)
{
	void *addr;
	size_t len;

	for (unsigned int i = 0; sn_meta_stretch(i, &addr, &len); i++)
		if ((uintptr_t)p - (uintptr_t)addr < len)
			return true;
	return false;
}

/* What was found out. */
struct finding {
	const char *what;   /* NULL: it was an object or a block, and is free */
	const void *object; /* that it is in, or was; NULL: none */
};

static struct finding outside(const void *p)
{
	if (in_metadata(p))
		return (struct finding){OWN, NULL};
	if (sn_block_was_at((uintptr_t)p))
		return (struct finding){NULL, p};
	return (struct finding){sn_in_range((uintptr_t)p) ? NOT_ALLOCATED : FOREIGN, NULL};
}

static struct finding in_span(struct sn_segment *span, const void *p)
{
	size_t offset = (size_t)((const char *)p - (const char *)span) -
			((size_t)span->info.block_first << SN_PAGE_SHIFT);

	if ((const char *)p - (const char *)span < (ptrdiff_t)SN_HEADER_PAGES << SN_PAGE_SHIFT)
		return (struct finding){OWN, NULL};
	if (offset < span->info.block_pages << SN_PAGE_SHIFT)
		return (struct finding){MIDDLE_OF_BLOCK, sn_span_block(span)};
	return (struct finding){offset == 0 ? NULL : NOT_ALLOCATED, offset == 0 ? p : NULL};
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

/* Where `nr` objects stand one behind the other from `first` on. */
static struct finding in_slab(const char *first, size_t size, size_t nr, const void *p)
{
	size_t number = (size_t)((const char *)p - first) / size;
	const char *object = first + number * size;

	if (number >= nr) /* what is left at the end of a slab */
		return (struct finding){MIDDLE_OF_OBJECT, NULL};
	return (struct finding){object == p ? NULL : MIDDLE_OF_OBJECT, object};
}

static struct finding in_free_page(struct sn_page *page, const void *p)
{
	const char *address = sn_page_address(page);
	size_t before = (size_t)page->hint << SN_PAGE_SHIFT;

	switch (page->list) {
	case SN_LIST_SLAB_GONE:
		return in_slab(address - before, sn_caches[page->cache].size, SIZE_MAX, p);
	case SN_LIST_BLOCK_GONE:
		if (p == address + sn_block_offset(page))
			return (struct finding){NULL, p};
	}
	return (struct finding){NOT_ALLOCATED, NULL};
}

static struct finding in_live_slab(const void *p)
{
	struct sn_page *slab = sn_slab_head(p);

	return in_slab(sn_page_address(slab), sn_caches[slab->cache].size, slab->nr_objects, p);
}

static struct finding in_run(struct sn_page *run, const void *p)
{
	if (sn_counter_read(run->kind) != SN_PAGE_BLOCK)
		return in_free_page(sn_page_of(p), p);
	return (struct finding){run->fixed & SN_RUN_OBJECT ? MIDDLE_OF_OBJECT : MIDDLE_OF_BLOCK,
				sn_page_address(run) + sn_block_offset(run)};
}

static struct finding in_segment(struct sn_segment *segment, const void *p)
{
	size_t number = sn_page_number(p);
	struct sn_page *run;

	if (number < SN_HEADER_PAGES)
		return (struct finding){OWN, NULL};
	if (sn_counter_read(segment->page_cache[number]) != 0)
		return in_live_slab(p);
	run = run_of(segment, number);
	return run == NULL ? (struct finding){NOT_ALLOCATED, NULL} : in_run(run, p);
}

SN_COLD void sn_misuse(const char *call, const void *p)
{
	struct sn_segment *span;
	struct finding found;

	if (sn_segmap_entry(p) == SN_NODE_NONE) {
		found = outside(p);
	} else {
		span = sn_span_of(p);
		found = span != NULL ? in_span(span, p) : in_segment(sn_segment_of(p), p);
	}
	if (found.what != NULL)
		sn_fatal_call(call, found.what, p, found.object);
	if (strcmp(call, "free") == 0)
		sn_fatal("double free", p);
	sn_fatal_call(call, "of freed memory", p, p);
}
