/*
 * segment.h - from an address to its node, its page and its slab, by arithmetic.
 *
 * All memory of a node lies in ranges: address space reserved without access and opened piece
 * by piece.  A range is a run of 16 MiB segments, aligned to their size.
 *
 *	address - window base				(the window spans 16 TiB)
 *	|  segment number (20 bits)  |  offset in segment (24 bits)  |
 *	        |                            |
 *	sn_segmap[number] = node index       page number = offset >> 12
 *
 *	a segment:  | page_cache[4096] | info | page[4031] | memory ...  |
 *	              1 byte a page           64 bytes a page
 *
 * The header at the start of a segment is the metadata of its pages: outside the slabs, never
 * beside an object.  page_cache is what the fast path of free() reads: the cache index of the
 * slab a page belongs to, 0 for anything else.  A block larger than half a segment has a
 * "span" of consecutive segments for itself; only the first has a header, and the map entries
 * of the others carry SN_SEG_CONTINUED.
 *
 * A map entry is written under the node's page_lock before memory of the segment is handed out, and
 * cleared when the segment goes back to its range.
 */
#ifndef SLABNODE_SEGMENT_H
#define SLABNODE_SEGMENT_H

#include "node.h"

#define SN_SEG_SHIFT	24
#define SN_SEG_SIZE	((size_t)1 << SN_SEG_SHIFT)
#define SN_SEG_PAGES	(SN_SEG_SIZE >> SN_PAGE_SHIFT)
#define SN_WINDOW_SHIFT 44
#define SN_WINDOW_SEGS	((size_t)1 << (SN_WINDOW_SHIFT - SN_SEG_SHIFT))
#define SN_HEADER_PAGES 65

enum sn_page_kind {
	SN_PAGE_INSIDE,	    /* not the first page of anything */
	SN_PAGE_FREE_DIRTY, /* first (and last) page of a free run that still has pages */
	SN_PAGE_FREE_CLEAN, /* first (and last) page of a free run that reads as zero */
	SN_PAGE_BUSY,	    /* first page of a run in somebody's hand */
	SN_PAGE_SLAB,	    /* first page of a slab */
	SN_PAGE_BLOCK,	    /* first page of a block that has a run of its own */
};

enum sn_slab_list {
	SN_LIST_NONE,
	SN_LIST_PARTIAL,
	SN_LIST_FULL,
	SN_LIST_FREE,
	SN_LIST_ISOLATED, /* its objects are asked to leave: hands out nothing, see movable.c */
	/* What a page in no slab was, until it is used again; see misuse.c. */
	SN_LIST_SLAB_GONE,  /* of each page: `cache` and, in `hint`, pages back to the first one */
	SN_LIST_BLOCK_GONE, /* of the first page; `hint` as in the block */
};

#define SN_BITS_PER_PAGE 4

/*
 * What is known of a page, or, in the first page of a run, of the run.  The free map of a slab
 * is spread over the descriptors of its pages, four words each: a page holds at most 256
 * objects.  Guarded by page_lock while the run is free, by the list_lock of (cache, node)
 * while it is a slab, by nobody while it is a block (its owner's).
 */
struct sn_page {
	uint16_t head;	 /* pages back to the first page of the slab */
	uint8_t kind;	 /* enum sn_page_kind */
	uint8_t cache;	 /* slab: cache index */
	uint32_t npages; /* length of the run; in a free run also in its last page */
	struct sn_page *prev, *next;
	uint16_t nr_free;    /* slab: objects in it that are free */
	uint16_t nr_objects; /* slab */
	uint16_t hint; /* slab: no free object in words before this one; else sn_block_offset() */
	uint8_t list;  /* enum sn_slab_list */
	uint8_t fixed; /* SN_RUN_FIXED and others, pages.h */
	uint64_t free_map[SN_BITS_PER_PAGE]; /* slab: bit set: the object is free */
};
_Static_assert(sizeof(struct sn_page) == 64, "one cache line a page");

/* State of a segment or span, guarded by the node's page_lock. */
struct sn_segment_info {
	uint32_t nr_segments;  /* 1, or the length of a span */
	uint32_t opened_pages; /* from the start, header included */
	uint32_t moved;	       /* span: its pages came by mremap once */
	uint32_t split;	       /* span: grown in place after that, so of several mappings */
	uint32_t displaced;    /* pages of it may be on other nodes: its node was away */
	uint32_t gap;	       /* closed pages between header and first run; see guard.h */
	struct sn_segment *next, *prev; /* all of the node, or its cached spans */
	/* Of a span, see span.c. */
	uint32_t is_span;
	uint32_t block_first; /* page number of the block, from the span's start */
	size_t block_pages;   /* length of the block, 0 while the span is cached */
	size_t room_pages;    /* pages from block_first on that are opened and populated */
	size_t spare_pages;   /* of them behind the block, for other spans: see spare.h */
	struct sn_segment *next_spare, *prev_spare; /* spans that have some */
};

struct sn_segment {
	uint8_t page_cache[SN_SEG_PAGES];
	struct sn_segment_info info;
	_Alignas(64) struct sn_page page[SN_SEG_PAGES - SN_HEADER_PAGES];
};
_Static_assert(sizeof(struct sn_segment) <= SN_HEADER_PAGES * SN_PAGE_SIZE,
	       "the header must end where the first page begins");

extern _Atomic uint8_t sn_segmap[SN_WINDOW_SEGS] SN_HIDDEN;
extern uintptr_t sn_window SN_HIDDEN;

SN_INLINE unsigned int sn_segmap_entry(const void *p)
{
	size_t number = ((uintptr_t)p - sn_counter_read(sn_window)) >> SN_SEG_SHIFT;

	if (sn_unlikely(number >= SN_WINDOW_SEGS))
		return SN_NODE_NONE;
	return atomic_load_explicit(&sn_segmap[number], memory_order_relaxed);
}

SN_INLINE struct sn_segment *sn_segment_of(const void *p)
{
	return (struct sn_segment *)((uintptr_t)p & ~(SN_SEG_SIZE - 1));
}

SN_INLINE size_t sn_page_number(const void *p)
{
	return ((uintptr_t)p & (SN_SEG_SIZE - 1)) >> SN_PAGE_SHIFT;
}

/* The page number of a shared segment's first run. */
static inline size_t sn_segment_first(const struct sn_segment *segment)
{
	return SN_HEADER_PAGES + segment->info.gap;
}

/* Whether pages of it may be on other nodes. */
static inline bool sn_segment_displaced(const struct sn_segment *segment)
{
	return SN_HOTPLUG && sn_counter_read(segment->info.displaced);
}

static inline struct sn_page *sn_page_at(struct sn_segment *segment, size_t number)
{
	return &segment->page[number - SN_HEADER_PAGES];
}

/* The descriptor of the page that p lies in, behind a segment's header. */
static inline struct sn_page *sn_page_of(const void *p)
{
	return sn_page_at(sn_segment_of(p), sn_page_number(p));
}

static inline size_t sn_page_index(const struct sn_page *page)
{
	const struct sn_segment *segment = sn_segment_of(page);

	return (size_t)(page - segment->page) + SN_HEADER_PAGES;
}

static inline char *sn_page_address(const struct sn_page *page)
{
	return (char *)sn_segment_of(page) + (sn_page_index(page) << SN_PAGE_SHIFT);
}

/* Where a block begins in its first page: but for guarded objects (guard.h), where that does. */
static inline size_t sn_block_offset(const struct sn_page *run)
{
	return (size_t)sn_counter_read(run->hint) << 4;
}

static inline struct sn_node *sn_node_of_segment(const struct sn_segment *segment)
{
	return sn_nodes[sn_segmap_entry(segment) & ~SN_SEG_CONTINUED];
}

/* What a segment of a range is: unused or used; or, to these, that the block of a span was freed
 * that began in it, at a page whose number is added: it is unused since then, or used until the
 * block's memory has been given back. */
enum {
	SN_SEG_UNUSED,
	SN_SEG_USED,
	SN_SEG_BLOCK_GONE = SN_SEG_PAGES,
	SN_SEG_BLOCK_GOING = 2 * SN_SEG_PAGES
};

/* A reserved range of a node.  Guarded by the node's page_lock; the list only grows. */
struct sn_range {
	struct sn_range *next;
	char *base;
	size_t nr_segments;
	size_t nr_used;	  /* hint: no free segment when equal to nr_segments */
	uint16_t state[]; /* by segment */
};

/* Whether an address lies in a range of any node.  Takes no lock. */
bool sn_in_range(uintptr_t addr);
/* Whether a span's block began at this address, whose segments were or are being given back and are
 * not used again.  Takes no lock. */
bool sn_block_was_at(uintptr_t addr);

/* The list as readers without page_lock see it. */
static inline struct sn_range *sn_first_range(const struct sn_node *node)
{
	return __atomic_load_n(&node->ranges, __ATOMIC_ACQUIRE);
}

/*
 * Finds `count` consecutive unused segments in the node's ranges, reserving a new range when
 * there are none, and marks them used.  The memory is not opened.  NULL: no address space.
 */
struct sn_segment *sn_segments_reserve(struct sn_node *node, size_t count)
	SN_REQUIRES(&node->page_lock);
/* The segments right behind a span, for growing in place: true when they were free and are
 * now used. */
bool sn_segments_extend(struct sn_node *node, struct sn_segment *segment, size_t have, size_t more)
	SN_REQUIRES(&node->page_lock);
/* Address space is short: ranges in which nothing is used are unmapped. Bytes. No lock held. */
size_t sn_ranges_trim(struct sn_node *node) SN_EXCLUDES(&node->page_lock);
/* Takes segments out of the map, or puts them back: nobody finds a header there that is about to
 * be closed. */
void sn_segments_hide(struct sn_node *node, struct sn_segment *segment, size_t count, bool hide)
	SN_REQUIRES(&node->page_lock);
/* Gives hidden segments back to the range; their memory must have been given back and closed. */
void sn_segments_release(struct sn_node *node, struct sn_segment *segment, size_t count)
	SN_REQUIRES(&node->page_lock);
/* Keeps in mind that a block began here: SN_SEG_BLOCK_GOING when its segments are hidden, then
 * SN_SEG_BLOCK_GONE when they were given back, or SN_SEG_USED when they stay after all. */
void sn_segments_remember(struct sn_node *node, const void *block, unsigned int what)
	SN_REQUIRES(&node->page_lock);

#endif
