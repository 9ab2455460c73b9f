/*
 * span.c - see span.h.
 *
 *	| header | (closed, for large alignments) | block ......... | room | closed |
 *	0        65                               block_first       ^ block_pages
 *	                                                                   ^ room_pages
 *
 * A freed span keeps its pages for a while (cached_spans), for programs that free and allocate
 * large blocks in turn, or as many of them as the node may keep; the reaper, a full node, or an
 * offline gives them back.  Spans also keep pages for each other, see spare.h.
 */
#include "span.h"

#include "core.h"
#include "guard.h"
#include "hardened.h"
#include "large.h"
#include "misuse.h"
#include "probe.h"
#include "quarantine.h"
#include "rebind.h"
#include "release.h"
#include "remap.h"
#include "sitemap.h"
#include "spare.h"

#include <string.h>
#include <sys/mman.h>

struct sn_segment *sn_span_of(const void *p)
{
	struct sn_segment *segment = sn_segment_of(p);
	unsigned int entry;

	while ((entry = sn_segmap_entry(segment)) & SN_SEG_CONTINUED)
		segment = (struct sn_segment *)((char *)segment - SN_SEG_SIZE);
	return entry != SN_NODE_NONE && segment->info.is_span ? segment : NULL;
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

void sn_span_count_cached(struct sn_node *node, size_t gone, size_t come)
{
	sn_counter_add(node->cached_span_pages, come - gone);
	node->span_low = sn_min(node->span_low, node->cached_span_pages);
}

static void cache_push(struct sn_node *node, struct sn_segment *span) SN_REQUIRES(&node->page_lock)
{
	list_push(&node->cached_spans, span);
	sn_span_count_cached(node, 0, span->info.room_pages);
}

static void cache_remove(struct sn_node *node, struct sn_segment *span)
	SN_REQUIRES(&node->page_lock)
{
	list_remove(&node->cached_spans, span);
	sn_span_count_cached(node, span->info.room_pages, 0);
}

/* --- room -------------------------------------------------------------------------------- */

/*
 * Blocks of spans may have huge pages.  All of a block gets the advice, so that it stays one
 * mapping (mremap wants that), yet its first and last part, which no whole huge page fits in, are
 * small pages: a buffer of which only the beginning is used costs no more.
 */
void sn_span_huge_pages(char *at, size_t len, bool allow)
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
		sn_span_huge_pages(at, npages << SN_PAGE_SHIFT, true);
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

/* Segments for npages in a span that has fewer; *before: how many it had. */
static bool span_lengthen(struct sn_node *node, struct sn_segment *span, size_t npages,
			  size_t *before) SN_REQUIRES(&node->page_lock)
{
	size_t need = (span->info.block_first + npages + sn_segment_tail + SN_SEG_PAGES - 1) /
		      SN_SEG_PAGES;

	*before = span->info.nr_segments;
	if (need <= *before)
		return true;
	if (!sn_segments_extend(node, span, *before, need - *before))
		return false;
	span->info.nr_segments = (uint32_t)need;
	return true;
}

/* Fresh pages for a span that has less room. */
static bool room_open(struct sn_node *node, struct sn_segment *span, size_t npages)
	SN_REQUIRES(&node->page_lock)
{
	size_t room = span->info.room_pages;

	if (npages <= room)
		return true;
	if (!span_open(node, span, span->info.block_first + room, npages - room))
		return false;
	span->info.room_pages = npages;
	return true;
}

/* Makes room for npages behind a block that lives. */
static bool span_extend(struct sn_node *node, struct sn_segment *span, size_t npages)
	SN_REQUIRES(&node->page_lock)
{
	size_t segments, room = span->info.room_pages;

	if (!span_lengthen(node, span, npages, &segments))
		return false;
	if (!room_open(node, span, npages)) {
		if (span->info.nr_segments > segments)
			span_give_back(node, span, segments);
		return false;
	}
	if (npages > room)
		span->info.split |= span->info.moved;
	if (span->info.spare_pages > 0)
		sn_spare_set(node, span, span->info.room_pages - npages);
	return true;
}

void sn_span_cut_room(struct sn_node *node, struct sn_segment *span, size_t npages)
{
	size_t gone = span->info.room_pages - npages;

	sn_depopulate(node, sn_span_block(span) + (npages << SN_PAGE_SHIFT), gone << SN_PAGE_SHIFT);
	sn_counter_sub(node->mapped_pages, gone);
	span->info.room_pages = npages;
}

/* What is behind a block is closed from level 2 on. */
static void close_behind(char *tail, size_t len)
{
	int saved = errno;

	if (sn_hardened > 1)
		mprotect(tail, len, PROT_NONE);
	errno = saved;
}

/* Gives pages behind the block back; they stay, and the room with them, when memory is locked.  Nor
 * may a huge page of the block's end reach there: nobody would give it back. */
static void span_trim(struct sn_node *node, struct sn_segment *span, size_t npages)
	SN_EXCLUDES(&node->page_lock)
{
	char *tail = sn_span_block(span) + (npages << SN_PAGE_SHIFT);
	size_t len;

	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	sn_spare_set(node, span, 0);
	len = (span->info.room_pages - npages) << SN_PAGE_SHIFT;
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	sn_span_huge_pages(tail, len, false);
	if (!sn_discard_memory(tail, len)) {
		sn_span_huge_pages(tail, len, true); /* one mapping still */
		return;
	}
	close_behind(tail, len);
	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	sn_span_cut_room(node, span, npages);
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
}

/* The border of a chunk at or before the end of the room; what is behind it is given back, so that
 * a whole chunk can take its place. */
static size_t cut_to_border(struct sn_node *node, struct sn_segment *span)
	SN_REQUIRES(&node->page_lock)
{
	size_t first = span->info.block_first, end = first + span->info.room_pages;
	size_t border = end & ~(SN_CHUNK_PAGES - 1);
	char *tail = (char *)span + (border << SN_PAGE_SHIFT);

	if (border <= first || border == end ||
	    !sn_discard_memory(tail, (end - border) << SN_PAGE_SHIFT))
		return sn_align_up(end, SN_CHUNK_PAGES);
	sn_span_huge_pages(tail, (end - border) << SN_PAGE_SHIFT, false);
	sn_span_cut_room(node, span, border - first);
	return border;
}

/*
 * Chunks of other spans for what is missing behind the first `unwanted` pages.  The last one may
 * reach behind the block: it is spare then.  False: the span is lost.
 */
static bool room_borrow(struct sn_node *node, struct sn_segment *span, size_t npages,
			size_t unwanted) SN_REQUIRES(&node->page_lock)
{
	size_t first = span->info.block_first, end = sn_align_up(first + npages, SN_CHUNK_PAGES);
	size_t at, n, most = (size_t)span->info.nr_segments * SN_SEG_PAGES;
	bool lost;

	if (npages <= sn_max(span->info.room_pages, unwanted) || end > most || !sn_spare_any(node))
		return true;
	at = unwanted <= span->info.room_pages ? cut_to_border(node, span)
					       : sn_align_up(first + unwanted, SN_CHUNK_PAGES);
	if (at >= end || !room_open(node, span, at - first))
		return true;
	n = sn_spare_take(node, span, at, (end - at) / SN_CHUNK_PAGES, &lost);
	span->info.room_pages += n * SN_CHUNK_PAGES;
	return !lost;
}

/* Room for npages in a span that is on no list. */
static bool room_make(struct sn_node *node, struct sn_segment *span, size_t npages, size_t unwanted,
		      bool *lost) SN_REQUIRES(&node->page_lock)
{
	*lost = !room_borrow(node, span, npages, unwanted);
	return !*lost && room_open(node, span, npages);
}

/* --- spans ------------------------------------------------------------------------------- */

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

/* A cached span, off its list, with segments for npages. */
static struct sn_segment *take_cached(struct sn_node *node, size_t npages)
	SN_REQUIRES(&node->page_lock)
{
	struct sn_segment *span = span_choose(node, npages);
	size_t before;

	if (span == NULL || !span_lengthen(node, span, npages, &before))
		return NULL;
	cache_remove(node, span);
	return span;
}

/* A new span that has no room yet. */
static struct sn_segment *span_build(struct sn_node *node, size_t npages, size_t align)
	SN_REQUIRES(&node->page_lock)
{
	size_t gap = sn_hardened_gap();
	size_t most = SN_HEADER_PAGES + gap + npages + align - 1 + sn_segment_tail;
	size_t count = (most + SN_SEG_PAGES - 1) / SN_SEG_PAGES, first;
	struct sn_segment *span = sn_segments_reserve(node, count);

	if (span == NULL)
		return NULL;
	if (!span_open(node, span, 0, SN_HEADER_PAGES)) {
		sn_segments_release(node, span, count);
		return NULL;
	}
	first = ((uintptr_t)span >> SN_PAGE_SHIFT) + SN_HEADER_PAGES + gap;
	span->info = (struct sn_segment_info){
		.nr_segments = (uint32_t)count,
		.opened_pages = SN_HEADER_PAGES,
		.is_span = 1,
		.block_first = (uint32_t)(SN_HEADER_PAGES + gap + (-first & (align - 1))),
	};
	sn_counter_add(node->nr_headers, 1);
	return span;
}

/* There is a hole where its room was: nobody finds the span from now on, and its addresses are not
 * used again. */
static void span_abandon(struct sn_node *node, struct sn_segment *span)
	SN_REQUIRES(&node->page_lock)
{
	sn_span_cut_room(node, span, 0);
	sn_segments_hide(node, span, span->info.nr_segments, true);
}

static bool span_is_home(const struct sn_node *node, const struct sn_segment *span)
	SN_REQUIRES(&node->page_lock)
{
	return sn_hardened < 2 && sn_node_in_service(node) && !sn_segment_displaced(span) &&
	       span->info.block_first == SN_HEADER_PAGES;
}

struct wish {
	size_t npages, align, unwanted;
};

/* What came of it: a span with a block; or one that is to be given back, since it could not get
 * room enough. */
struct found {
	struct sn_segment *span, *unfit;
	bool fresh; /* no page of it was ever used */
	bool trim;  /* what is behind the block is not worth keeping */
};

static struct found span_find(struct sn_node *node, const struct wish *wish)
	SN_REQUIRES(&node->page_lock)
{
	struct sn_segment *span = wish->align == 1 ? take_cached(node, wish->npages) : NULL;
	struct found found = {.fresh = span == NULL};
	size_t spare;
	bool lost;

	if (span == NULL)
		span = span_build(node, wish->npages, wish->align);
	if (span == NULL)
		return found;
	if (!room_make(node, span, wish->npages, wish->unwanted, &lost)) {
		if (lost)
			span_abandon(node, span);
		else
			found.unfit = span;
		return found;
	}
	span->info.block_pages = wish->npages;
	list_push(&node->segments, span);
	spare = span->info.room_pages - wish->npages;
	found.trim = spare > sn_spare_budget(node) || !span_is_home(node, span);
	if (!found.trim)
		sn_spare_set(node, span, spare);
	found.trim &= spare > 0;
	found.fresh &= !span->info.split;
	found.span = span;
	return found;
}

/*
 * Closes a block without pages.  One whose pages changed their address is of mappings that the
 * kernel never joins with their neighbours: it is mapped anew, under page_lock, so that a policy
 * over other nodes comes before or after.  False: its addresses cannot be used again.
 */
static bool block_close(struct sn_node *node, char *block, size_t len, bool moved)
	SN_REQUIRES(&node->page_lock)
{
	if (moved && len > 0 && sn_fault(SN_FAULT_RESERVE) == 0) {
		if (mmap(block, len, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != block)
			return false;
		sn_bind_again(node, block, len);
	}
	sn_span_huge_pages(block, len, false);
	mprotect(block, len, PROT_NONE);
	return true;
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
	char *block = sn_span_block(span);
	bool done, moved = span->info.moved;
	int saved = errno;

	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	sn_segments_hide(node, span, count, true);
	sn_segments_remember(node, block, SN_SEG_BLOCK_GOING);
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	done = discard_paced(block, room, pace);
	if (done) {
		sn_discard_memory(span, header);
		mprotect(span, header, PROT_NONE);
		sn_sitemap_forget(span);
	}
	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	if (done) {
		bool usable = block_close(node, block, len, moved);

		sn_depopulate(node, block, len);
		sn_depopulate(node, span, header);
		sn_counter_sub(node->mapped_pages, room + SN_HEADER_PAGES);
		sn_counter_sub(node->nr_headers, 1);
		atomic_fetch_add_explicit(&node->returned_pages, room + SN_HEADER_PAGES,
					  memory_order_relaxed);
		if (usable) {
			sn_segments_release(node, span, count);
			sn_segments_remember(node, block, SN_SEG_BLOCK_GONE);
		}
	} else {
		sn_counter_set(node->locked_memory, true);
		sn_segments_remember(node, block, SN_SEG_USED);
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
	cache_push(node, span);
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
}

static struct sn_segment *span_take(struct sn_node *node)
{
	struct sn_segment *span;

	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	span = node->cached_spans;
	if (span != NULL)
		cache_remove(node, span);
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	return span;
}

size_t sn_spans_purge(struct sn_node *node, size_t max, struct sn_pace *pace)
{
	struct sn_segment *stay = NULL, *span;
	unsigned int turn;
	size_t done;
	bool kept;

	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	turn = sn_release_begin(node);
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	done = sn_spares_purge(node, max, pace);
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

/* Gives back a span that nobody else knows any more; turn: its release has begun. */
static void span_free_now(struct sn_node *node, struct sn_segment *span, unsigned int turn)
{
	bool done = span_release(node, span, NULL);

	if (!done)
		span_keep(node, span);
	sn_release_end(node, turn, !done);
}

/* --- blocks ------------------------------------------------------------------------------ */

/* *again: room was made meanwhile. */
static struct found span_try(struct sn_node *node, const struct wish *wish, bool *again)
{
	struct found found = {0};
	unsigned int turn = 0;

	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	if (sn_node_usable(node) && sn_fault(SN_FAULT_SPAN) == 0)
		found = span_find(node, wish);
	if (found.span != NULL)
		sn_node_take_in_hand(node);
	if (found.unfit != NULL)
		turn = sn_release_begin(node);
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	*again = found.unfit != NULL;
	if (found.unfit != NULL)
		span_free_now(node, found.unfit, turn);
	return found;
}

void *sn_span_alloc(struct sn_node *node, size_t npages, size_t align, size_t unwanted,
		    bool *zeroed)
{
	struct wish wish = {npages, align, *zeroed || align > 1 ? npages : unwanted};
	bool again;
	struct found found = span_try(node, &wish, &again);
	char *block;

	if (found.span == NULL && (sn_make_room(node) > 0 || again))
		found = span_try(node, &wish, &again);
	if (found.span == NULL)
		return NULL;
	if (found.trim)
		span_trim(node, found.span, npages);
	block = sn_span_block(found.span);
	/* Clearing them would touch all of a block that is often used in part. */
	*zeroed = found.fresh || (*zeroed && sn_discard_memory(block, npages << SN_PAGE_SHIFT));
	return block;
}

/* How many pages of a free span are worth keeping. */
static size_t span_worth(const struct sn_node *node, const struct sn_segment *span)
	SN_REQUIRES(&node->page_lock)
{
	size_t budget = sn_spare_budget(node), room = span->info.room_pages, end;

	if (!span_is_home(node, span))
		return 0;
	if (room <= budget)
		return room;
	end = (SN_HEADER_PAGES + budget) & ~(SN_CHUNK_PAGES - 1);
	return end > SN_CHUNK_PAGES ? end - SN_HEADER_PAGES : 0;
}

/* A free span that is on no list keeps the first `worth` pages of its room, or goes. */
static void span_free_part(struct sn_node *node, struct sn_segment *span, size_t worth,
			   unsigned int turn)
{
	if (worth == 0) {
		span_free_now(node, span, turn);
		return;
	}
	span_trim(node, span, worth);
	span_keep(node, span);
	sn_release_end(node, turn, false);
}

/* Whether p is the block of a span, as the caller found it without the lock: another thread may
 * have freed it and closed its header meanwhile, which the map tells. */
static bool block_lives(const struct sn_node *node, struct sn_segment *span, const void *p)
	SN_REQUIRES(&node->page_lock)
{
	return (sn_segmap_entry(p) & ~SN_SEG_CONTINUED) == node->index && sn_span_of(p) == span &&
	       p == sn_span_block(span) && span->info.block_pages > 0;
}

void sn_span_free(struct sn_node *node, struct sn_segment *span, const void *p)
{
	unsigned int turn;
	size_t worth;

	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	if (!block_lives(node, span, p))
		sn_misuse("free", p);
	sn_large_count(node, span->info.block_pages, false);
	span->info.block_pages = 0;
	list_remove(&node->segments, span);
	sn_spare_set(node, span, 0);
	worth = span_worth(node, span);
	if (worth > 0 && worth == span->info.room_pages) {
		cache_push(node, span);
		sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	} else {
		turn = sn_release_begin(node);
		sn_lock_release(&node->page_lock, SN_RANK_PAGES);
		span_free_part(node, span, worth, turn);
	}
	if (worth > 0 && sn_ageing_hook != NULL)
		sn_ageing_hook();
}

bool sn_span_resize(struct sn_node *node, struct sn_segment *span, size_t npages)
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

/* What arrived lies where it lay. */
static void span_inherit(struct sn_node *node, struct sn_segment *span,
			 const struct sn_segment *from)
{
	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	span->info.moved = 1;
	if (sn_segment_displaced(from))
		sn_counter_set(span->info.displaced, 1);
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
}

static void span_lose(struct sn_node *node, struct sn_segment *span)
{
	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	sn_large_count(node, span->info.block_pages, false);
	list_remove(&node->segments, span);
	sn_spare_set(node, span, 0);
	span_abandon(node, span);
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
}

bool sn_span_hand_on(struct sn_node *node, struct sn_segment *from, struct sn_segment *to,
		     size_t have)
{
	enum sn_remapped outcome = SN_REMAP_REFUSED;
	int saved = errno;
	unsigned int turn;
	bool may;

	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	may = !from->info.split && sn_remap_allowed(node);
	turn = sn_release_begin(node);
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	if (may)
		outcome = sn_remap(node, sn_span_block(to), sn_span_block(from), have);
	if (outcome == SN_REMAPPED)
		span_inherit(node, to, from);
	sn_release_end(node, turn, false);
	errno = saved;
	if (outcome == SN_REMAP_REFUSED)
		memcpy(sn_span_block(to), sn_span_block(from), have);
	else if (outcome == SN_REMAP_LOST)
		span_lose(node, to);
	return outcome != SN_REMAP_LOST;
}

size_t sn_make_room(struct sn_node *node)
{
	size_t bytes = sn_spans_purge(node, SN_ALL_PAGES, NULL);

	bytes += sn_quarantine_release(node);
	bytes += sn_pages_purge(node, SN_ALL_PAGES, NULL);
	return bytes + sn_segments_trim(node, NULL);
}
