/*
 * large.c - blocks above 32 KiB.
 *
 * Up to SN_RUN_MAX_PAGES a block is a run cut from a shared segment.  A longer one has a span:
 * consecutive segments of its own, whose header describes just this block.
 *
 *	| header | (closed, for large alignments) | block ......... | room | closed |
 *	0        65                               block_first       ^ block_pages
 *	                                                                   ^ room_pages
 *
 * A freed span keeps its pages for a while (cached_spans), for programs that free and allocate
 * large blocks in turn; the reaper, a full node, or an offline gives them back.
 */
#include "large.h"

#include "core.h"
#include "probe.h"
#include "rebind.h"
#include "release.h"

#include <string.h>
#include <sys/mman.h>

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

/* Cached spans of a node, in pages: a freed span that is too much for this, and for an eighth of
 * what large blocks hold, goes back at once. */
#define CACHED_MAX_PAGES ((size_t)8192)

static void count_block(struct sn_node *node, size_t npages, bool born)
{
	if (born) {
		atomic_fetch_add_explicit(&node->large_pages, npages, memory_order_relaxed);
		atomic_fetch_add_explicit(&node->large_blocks, 1, memory_order_relaxed);
	} else {
		atomic_fetch_sub_explicit(&node->large_pages, npages, memory_order_relaxed);
		atomic_fetch_sub_explicit(&node->large_blocks, 1, memory_order_relaxed);
	}
}

/* --- spans ------------------------------------------------------------------------------- */

static char *span_block(struct sn_segment *span)
{
	return (char *)span + ((size_t)span->info.block_first << SN_PAGE_SHIFT);
}

struct sn_segment *sn_span_of(const void *p)
{
	struct sn_segment *segment = sn_segment_of(p);

	while (sn_segmap_entry(segment) & SN_SEG_CONTINUED)
		segment = (struct sn_segment *)((char *)segment - SN_SEG_SIZE);
	return segment->info.is_span ? segment : NULL;
}

static void list_push(struct sn_segment **head, struct sn_segment *span)
{
	span->info.prev = NULL;
	span->info.next = *head;
	if (*head != NULL)
		(*head)->info.prev = span;
	*head = span;
}

static void list_remove(struct sn_segment **head, struct sn_segment *span)
{
	if (span->info.prev != NULL)
		span->info.prev->info.next = span->info.next;
	else
		*head = span->info.next;
	if (span->info.next != NULL)
		span->info.next->info.prev = span->info.prev;
}

/*
 * Blocks of spans may have huge pages.  All of a block gets the advice, so that it stays one
 * mapping (mremap wants that), yet its first and last part, which no whole huge page fits in, are
 * small pages: a buffer of which only the beginning is used costs no more.
 */
static void allow_huge_pages(char *at, size_t len, bool allow)
{
	int saved = errno;

	madvise(at, len, allow ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	errno = saved;
}

/* Opens and populates [first, first + npages) of a span. */
static bool span_open(struct sn_node *node, struct sn_segment *span, size_t first, size_t npages)
	SN_REQUIRES(&node->page_lock)
{
	char *at = (char *)span + (first << SN_PAGE_SHIFT);

	if (sn_populate(node, at, npages << SN_PAGE_SHIFT) < 0)
		return false;
	if (!sn_open_memory(at, npages << SN_PAGE_SHIFT)) {
		sn_depopulate(node, at, npages << SN_PAGE_SHIFT);
		return false;
	}
	if (first > 0)
		allow_huge_pages(at, npages << SN_PAGE_SHIFT, true);
	sn_counter_add(node->mapped_pages, npages);
	return true;
}

/* Segments behind the first `keep`, taken for growth that failed. */
static void span_give_back(struct sn_node *node, struct sn_segment *span, size_t keep)
	SN_REQUIRES(&node->page_lock)
{
	sn_segments_release(node, (struct sn_segment *)((char *)span + (keep << SN_SEG_SHIFT)),
			    span->info.nr_segments - keep);
	span->info.nr_segments = (uint32_t)keep;
}

/* Makes room for npages in a span that has fewer, where it is. */
static bool span_extend(struct sn_node *node, struct sn_segment *span, size_t npages)
	SN_REQUIRES(&node->page_lock)
{
	size_t first = span->info.block_first, room = span->info.room_pages;
	size_t segments = span->info.nr_segments;
	size_t need = (first + npages + SN_SEG_PAGES - 1) / SN_SEG_PAGES;

	if (need > segments) {
		if (!sn_segments_extend(node, span, segments, need - segments))
			return false;
		span->info.nr_segments = (uint32_t)need;
	}
	if (npages > room) {
		if (!span_open(node, span, first + room, npages - room)) {
			if (need > segments)
				span_give_back(node, span, segments);
			return false;
		}
		span->info.room_pages = npages;
		span->info.split |= span->info.moved;
	}
	return true;
}

/* Gives pages behind the block back; they stay, and the room with them, when memory is locked.  Nor
 * may a huge page of the block's end reach there: nobody would give it back. */
static void span_trim(struct sn_node *node, struct sn_segment *span, size_t npages)
	SN_EXCLUDES(&node->page_lock)
{
	size_t room = span->info.room_pages, len = (room - npages) << SN_PAGE_SHIFT;
	char *tail = span_block(span) + (npages << SN_PAGE_SHIFT);

	allow_huge_pages(tail, len, false);
	if (!sn_discard_memory(tail, len)) {
		allow_huge_pages(tail, len, true); /* one mapping still */
		return;
	}
	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	sn_depopulate(node, tail, len);
	sn_counter_sub(node->mapped_pages, room - npages);
	span->info.room_pages = npages;
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
}

/* Of the cached spans the smallest that has room for npages, else the largest. */
static struct sn_segment *span_choose(const struct sn_node *node, size_t npages)
	SN_REQUIRES(&node->page_lock)
{
	struct sn_segment *best = NULL;

	for (struct sn_segment *s = node->cached_spans; s != NULL; s = s->info.next) {
		size_t room = s->info.room_pages, have = best == NULL ? 0 : best->info.room_pages;

		if (room >= npages ? have < npages || room < have : have < npages && room > have)
			best = s;
	}
	return best;
}

/*
 * A cached span for npages: its pages are used again, what is missing is opened, and what is too
 * much goes back (span_alloc).
 */
static struct sn_segment *span_take_cached(struct sn_node *node, size_t npages)
	SN_REQUIRES(&node->page_lock)
{
	struct sn_segment *span = span_choose(node, npages);
	size_t room;

	if (span == NULL)
		return NULL;
	room = span->info.room_pages;
	if (!span_extend(node, span, npages))
		return NULL;
	list_remove(&node->cached_spans, span);
	sn_counter_sub(node->cached_span_pages, room);
	node->span_low = sn_min(node->span_low, node->cached_span_pages);
	span->info.block_pages = npages;
	list_push(&node->segments, span);
	return span;
}

/* A new span with a block of npages aligned to align pages. */
static struct sn_segment *span_build(struct sn_node *node, size_t npages, size_t align)
	SN_REQUIRES(&node->page_lock)
{
	size_t most = SN_HEADER_PAGES + npages + align - 1;
	size_t count = (most + SN_SEG_PAGES - 1) / SN_SEG_PAGES, first;
	struct sn_segment *span = sn_segments_reserve(node, count);

	if (span == NULL)
		return NULL;
	first = ((uintptr_t)span >> SN_PAGE_SHIFT) + SN_HEADER_PAGES;
	first = SN_HEADER_PAGES + (-first & (align - 1));
	if (!span_open(node, span, 0, SN_HEADER_PAGES)) {
		sn_segments_release(node, span, count);
		return NULL;
	}
	if (!span_open(node, span, first, npages)) {
		sn_discard_memory(span, SN_HEADER_PAGES << SN_PAGE_SHIFT);
		mprotect(span, SN_HEADER_PAGES << SN_PAGE_SHIFT, PROT_NONE);
		sn_depopulate(node, span, SN_HEADER_PAGES << SN_PAGE_SHIFT);
		sn_counter_sub(node->mapped_pages, SN_HEADER_PAGES);
		sn_segments_release(node, span, count);
		return NULL;
	}
	span->info = (struct sn_segment_info){
		.nr_segments = (uint32_t)count,
		.opened_pages = SN_HEADER_PAGES,
		.is_span = 1,
		.block_first = (uint32_t)first,
		.block_pages = npages,
		.room_pages = npages,
	};
	sn_counter_add(node->nr_headers, 1);
	list_push(&node->segments, span);
	return span;
}

size_t sn_make_room(struct sn_node *node)
{
	size_t bytes = sn_spans_purge(node, SN_ALL_PAGES, NULL);

	bytes += sn_pages_purge(node, SN_ALL_PAGES, NULL);
	return bytes + sn_segments_trim(node, NULL);
}

/*
 * *zeroed: whether the block has to read as zero; then whether it does.  Pages of a cached span go
 * back to the system for that: clearing them would touch all of a block that is often used in part.
 */
static void *span_alloc(struct sn_node *node, size_t npages, size_t align, bool *zeroed)
{
	struct sn_segment *span = NULL;
	bool zero = *zeroed, cached = false;

	for (int attempt = 0; attempt < 2 && span == NULL; attempt++) {
		if (attempt > 0 && sn_make_room(node) == 0)
			break;
		sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
		if (sn_node_usable(node) && sn_fault(SN_FAULT_SPAN) == 0) {
			span = align == 1 ? span_take_cached(node, npages) : NULL;
			cached = span != NULL;
			if (!cached)
				span = span_build(node, npages, align);
			if (span != NULL)
				sn_node_take_in_hand(node);
		}
		sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	}
	if (span == NULL)
		return NULL;
	if (cached && span->info.room_pages > npages)
		span_trim(node, span, npages);
	*zeroed = !cached || (zero && sn_discard_memory(span_block(span), npages << SN_PAGE_SHIFT));
	return span_block(span);
}

static bool discard_paced(char *at, size_t npages, struct sn_pace *pace)
{
	bool done = true;

	while (npages > 0 && done) {
		size_t n = sn_pace_pages(pace, npages);
		uint64_t begin = sn_pace_begin(pace);

		done = sn_discard_memory(at, n << SN_PAGE_SHIFT);
		sn_pace_end(pace, begin);
		at += n << SN_PAGE_SHIFT;
		npages -= n;
	}
	return done;
}

/*
 * Gives a span that is on no list back to the system; false: its pages stay (locked).  It is
 * taken out of the map first: whoever walks the node's segments finds headers through it.
 */
static bool span_release(struct sn_node *node, struct sn_segment *span, struct sn_pace *pace)
{
	size_t count = span->info.nr_segments, room = span->info.room_pages;
	size_t header = SN_HEADER_PAGES << SN_PAGE_SHIFT, len = room << SN_PAGE_SHIFT;
	char *block = span_block(span);
	int saved = errno;
	bool done;

	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	sn_segments_hide(node, span, count, true);
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	done = discard_paced(block, room, pace);
	if (done) {
		allow_huge_pages(block, len, false);
		mprotect(block, len, PROT_NONE);
		sn_discard_memory(span, header);
		mprotect(span, header, PROT_NONE);
	}
	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	if (done) {
		sn_depopulate(node, block, len);
		sn_depopulate(node, span, header);
		sn_counter_sub(node->mapped_pages, room + SN_HEADER_PAGES);
		sn_counter_sub(node->nr_headers, 1);
		atomic_fetch_add_explicit(&node->returned_pages, room + SN_HEADER_PAGES,
					  memory_order_relaxed);
		sn_segments_release(node, span, count);
	} else {
		sn_counter_set(node->locked_memory, true);
		sn_segments_hide(node, span, count, false);
	}
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	if (done)
		SN_PROBE(give_back, node->os_number, len + header);
	errno = saved;
	return done;
}

/* Into the cache of its node, whatever it is worth there. */
static void span_keep(struct sn_node *node, struct sn_segment *span)
{
	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	list_push(&node->cached_spans, span);
	sn_counter_add(node->cached_span_pages, span->info.room_pages);
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
}

static struct sn_segment *span_take(struct sn_node *node)
{
	struct sn_segment *span;

	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	span = node->cached_spans;
	if (span != NULL) {
		list_remove(&node->cached_spans, span);
		sn_counter_sub(node->cached_span_pages, span->info.room_pages);
		node->span_low = sn_min(node->span_low, node->cached_span_pages);
	}
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	return span;
}

size_t sn_spans_purge(struct sn_node *node, size_t max, struct sn_pace *pace)
{
	struct sn_segment *stay = NULL, *span;
	unsigned int turn;
	size_t done = 0;
	bool kept;

	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	turn = sn_release_begin(node);
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	while (done < max && (span = span_take(node)) != NULL) {
		size_t room = span->info.room_pages;

		if (span_release(node, span, pace))
			done += room;
		else
			list_push(&stay, span); /* one that stays does not keep the others */
	}
	kept = stay != NULL;
	while (stay != NULL) {
		span = stay;
		list_remove(&stay, span);
		span_keep(node, span);
	}
	sn_release_end(node, turn, kept);
	return done << SN_PAGE_SHIFT;
}

/* Gives back a span that nobody else knows any more. */
static void span_free_now(struct sn_node *node, struct sn_segment *span, unsigned int turn)
{
	bool done = span_release(node, span, NULL);

	if (!done)
		span_keep(node, span);
	sn_release_end(node, turn, !done);
}

/* Whether a free span is worth its pages. */
static bool span_is_kept(const struct sn_node *node, const struct sn_segment *span)
	SN_REQUIRES(&node->page_lock)
{
	size_t large = atomic_load_explicit(&node->large_pages, memory_order_relaxed);
	size_t most = sn_max(CACHED_MAX_PAGES, large / 8);

	return sn_node_in_service(node) && !sn_segment_displaced(span) &&
	       span->info.block_first == SN_HEADER_PAGES &&
	       node->cached_span_pages + span->info.room_pages <= most;
}

static void span_free(struct sn_node *node, struct sn_segment *span, const void *p)
{
	unsigned int turn = 0;
	bool keep;

	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	if (p != span_block(span) || span->info.block_pages == 0)
		sn_fatal("free of a pointer that is not an allocated block", p);
	count_block(node, span->info.block_pages, false);
	span->info.block_pages = 0;
	list_remove(&node->segments, span);
	keep = span_is_kept(node, span);
	if (keep) {
		list_push(&node->cached_spans, span);
		sn_counter_add(node->cached_span_pages, span->info.room_pages);
	} else {
		turn = sn_release_begin(node);
	}
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	if (!keep)
		span_free_now(node, span, turn);
	else if (sn_ageing_hook != NULL)
		sn_ageing_hook();
}

/* Grows or shrinks the block where it is. */
static bool span_resize(struct sn_node *node, struct sn_segment *span, size_t npages)
{
	size_t have = span->info.block_pages;
	bool done;

	if (npages < have)
		span_trim(node, span, npages);
	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	done = npages <= have || (sn_node_usable(node) && sn_fault(SN_FAULT_EXTEND) == 0 &&
				  span_extend(node, span, npages));
	if (done) {
		atomic_fetch_add_explicit(&node->large_pages, npages - have, memory_order_relaxed);
		span->info.block_pages = npages;
	}
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	return done;
}

enum outcome { PAGES_MOVED, PAGES_STAY, PAGES_LOST };

/*
 * Moves the pages of a block to a new place without copying them.  Kernels before 6.17 refuse a
 * source of several mappings only after they have unmapped the destination, so such sources are not
 * tried, and a hole is filled again.  PAGES_LOST: it could not be, or has no policy.
 */
static enum outcome pages_move(struct sn_node *node, void *to, void *from, size_t len)
{
	struct sn_nodemask allowed;
	void *filled;

	if (sn_fault(SN_FAULT_MREMAP) == 0 &&
	    mremap(from, len, len, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to) == to)
		return PAGES_MOVED;
	filled = mmap(to, len, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (filled == MAP_FAILED)
		return errno == EEXIST ? PAGES_STAY : PAGES_LOST;
	sn_node_policy_mask(&allowed);
	return sn_bind_range(node, to, len, &allowed) == 0 ? PAGES_STAY : PAGES_LOST;
}

/* There is a hole where the span's block was: nobody finds the span from now on, and its addresses
 * are not used again. */
static void span_forget(struct sn_node *node, struct sn_segment *span)
{
	size_t room = span->info.room_pages;

	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	count_block(node, span->info.block_pages, false);
	list_remove(&node->segments, span);
	sn_depopulate(node, span_block(span), room << SN_PAGE_SHIFT);
	sn_counter_sub(node->mapped_pages, room);
	sn_segments_hide(node, span, span->info.nr_segments, true);
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
}

/* The pages of one span are another one's now, wherever they lie. */
static void span_inherit(struct sn_node *node, struct sn_segment *span,
			 const struct sn_segment *from)
{
	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	span->info.moved = 1;
	if (sn_segment_displaced(from))
		sn_counter_set(span->info.displaced, 1);
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
}

/* The block becomes a new, longer one; its pages move, or its bytes are copied. */
static void *span_move(struct sn_node *node, struct sn_segment *span, void *p, size_t have,
		       size_t size)
{
	void *q = sn_large_alloc(node, size, SN_PAGE_SIZE, false);
	enum outcome outcome = PAGES_STAY;
	int saved = errno;

	if (q == NULL)
		return NULL;
	if (!span->info.split)
		outcome = pages_move(node, q, p, have);
	errno = saved;
	if (outcome == PAGES_LOST) {
		span_forget(node, sn_span_of(q));
		return NULL;
	}
	if (outcome == PAGES_MOVED)
		span_inherit(node, sn_span_of(q), span);
	else
		memcpy(q, p, have);
	sn_large_free(p);
	return q;
}

/* --- blocks ------------------------------------------------------------------------------ */

/* A block in hand. */
static void *block_alloc(struct sn_node *node, size_t npages, size_t align, bool *zeroed)
{
	struct sn_page *run;

	if (npages > SN_RUN_MAX_PAGES || npages + align - 1 > SN_RUN_MAX_PAGES)
		return span_alloc(node, npages, align, zeroed);
	run = sn_run_alloc(node, npages, align, zeroed);
	if (run == NULL)
		return NULL;
	__atomic_store_n(&run->kind, SN_PAGE_BLOCK, __ATOMIC_RELEASE);
	return sn_page_address(run);
}

void *sn_large_alloc(struct sn_node *node, size_t size, size_t align, bool zero)
{
	size_t npages = sn_pages_for(sn_max(size, (size_t)1)), align_pages = align >> SN_PAGE_SHIFT;
	bool zeroed = zero;
	void *p = block_alloc(node, npages, align_pages, &zeroed);

	if (p == NULL) /* the system may be short of something for a moment */
		p = block_alloc(node, npages, align_pages, &zeroed);
	if (p == NULL)
		return NULL;
	count_block(node, npages, true);
	sn_run_settled(node);
	SN_PROBE(large_alloc, node->os_number, size, p);
	if (zero && !zeroed)
		memset(p, 0, size);
	return p;
}

/* The run whose first byte p is, or NULL. */
static struct sn_page *block_run(const void *p)
{
	struct sn_page *run;

	if (sn_segmap_entry(p) & SN_SEG_CONTINUED || sn_page_number(p) < SN_HEADER_PAGES)
		return NULL;
	run = sn_page_of(p);
	if (__atomic_load_n(&run->kind, __ATOMIC_RELAXED) != SN_PAGE_BLOCK ||
	    (uintptr_t)p % SN_PAGE_SIZE != 0)
		return NULL;
	return run;
}

void sn_large_free(void *p)
{
	struct sn_node *node = sn_nodes[sn_segmap_entry(p) & ~SN_SEG_CONTINUED];
	struct sn_segment *span = sn_span_of(p);
	uint8_t block = SN_PAGE_BLOCK;

	SN_PROBE(large_free, node->os_number, p);
	if (span != NULL) {
		span_free(node, span, p);
	} else {
		struct sn_page *run = block_run(p);

		/* Of two threads that free one block at once, one loses here. */
		if (run == NULL ||
		    !__atomic_compare_exchange_n(&run->kind, &block, SN_PAGE_BUSY, false,
						 __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			sn_fatal("free of a pointer that is not an allocated block", p);
		count_block(node, run->npages, false);
		sn_run_free(run);
	}
	sn_node_freed(node);
}

size_t sn_large_size(const void *p)
{
	struct sn_segment *span = sn_span_of(p);
	struct sn_page *run;

	if (span != NULL && p == span_block(span) && span->info.block_pages != 0)
		return span->info.block_pages << SN_PAGE_SHIFT;
	run = span == NULL ? block_run(p) : NULL;
	if (run == NULL)
		sn_fatal("pointer that is not an allocated block", p);
	return (size_t)run->npages << SN_PAGE_SHIFT;
}

static bool run_resize(struct sn_node *node, struct sn_page *run, size_t npages)
{
	size_t have = run->npages;
	bool zeroed;

	if (npages < have)
		sn_run_shrink(run, npages);
	else if (npages > have && !sn_run_extend(run, npages - have, &zeroed))
		return false;
	atomic_fetch_add_explicit(&node->large_pages, npages - have, memory_order_relaxed);
	return true;
}

void *sn_large_resize(void *p, size_t have, size_t size)
{
	struct sn_node *node = sn_nodes[sn_segmap_entry(p) & ~SN_SEG_CONTINUED];
	struct sn_segment *span = sn_span_of(p);
	size_t npages = sn_pages_for(size);

	if (size > PTRDIFF_MAX - SN_SEG_SIZE)
		return NULL;
	if (span == NULL) {
		struct sn_page *run = block_run(p);

		if (npages > SN_RUN_MAX_PAGES)
			return NULL;
		return run_resize(node, run, npages) ? p : NULL;
	}
	if (npages <= SN_RUN_MAX_PAGES)
		return NULL;
	if (span_resize(node, span, npages))
		return p;
	return sn_node_usable(node) ? span_move(node, span, p, have, size) : NULL;
}
