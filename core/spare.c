/*
 * spare.c - see spare.h.
 *
 * All of it happens under page_lock, system calls included, since the blocks in front of spare
 * pages live, and may be freed or resized at any moment.  They are short: a chunk that moves is one
 * entry of a page directory, and no more than a chunk is given back at a time.
 */
#include "spare.h"

#include "pages.h"
#include "remap.h"
#include "span.h"

/* A node may keep so many pages, or a sixth of what its large blocks hold. */
#define LEAST_BUDGET ((size_t)6144)

size_t sn_spare_budget(const struct sn_node *node)
{
	size_t large = atomic_load_explicit(&node->large_pages, memory_order_relaxed);
	size_t most = sn_max(LEAST_BUDGET, large / 6);

	return node->cached_span_pages >= most ? 0 : most - node->cached_span_pages;
}

static void list_add(struct sn_node *node, struct sn_segment *span) SN_REQUIRES(&node->page_lock)
{
	span->info.prev_spare = NULL;
	span->info.next_spare = node->spares;
	if (node->spares != NULL)
		node->spares->info.prev_spare = span;
	node->spares = span;
}

static void list_remove(struct sn_node *node, struct sn_segment *span) SN_REQUIRES(&node->page_lock)
{
	struct sn_segment *before = span->info.prev_spare, *after = span->info.next_spare;

	if (before != NULL)
		before->info.next_spare = after;
	else
		node->spares = after;
	if (after != NULL)
		after->info.prev_spare = before;
}

void sn_spare_set(struct sn_node *node, struct sn_segment *span, size_t npages)
{
	size_t before = span->info.spare_pages;

	if (before == 0 && npages > 0)
		list_add(node, span);
	if (before > 0 && npages == 0)
		list_remove(node, span);
	span->info.spare_pages = npages;
	sn_span_count_cached(node, before, npages);
}

/* The whole chunks behind the block of a donor, which has spare pages or is cached: where the first
 * begins, counted from the span's start, and how many. */
static size_t chunks_of(const struct sn_segment *donor, size_t *first)
{
	size_t end = donor->info.block_first + donor->info.room_pages;

	*first = sn_align_up(donor->info.block_first + donor->info.block_pages, SN_CHUNK_PAGES);
	return sn_segment_displaced(donor) || end <= *first ? 0 : (end - *first) / SN_CHUNK_PAGES;
}

bool sn_spare_any(const struct sn_node *node)
{
	size_t first;

	if (!sn_remap_allowed(node))
		return false;
	for (const struct sn_segment *s = node->spares; s != NULL; s = s->info.next_spare)
		if (chunks_of(s, &first) > 0)
			return true;
	for (const struct sn_segment *s = node->cached_spans; s != NULL; s = s->info.next)
		if (chunks_of(s, &first) > 0)
			return true;
	return false;
}

/* The donor's room ends at page `end` from now on, counted from its start. */
static void cut_room(struct sn_node *node, struct sn_segment *donor, size_t end)
	SN_REQUIRES(&node->page_lock)
{
	size_t room = end - donor->info.block_first, gone = donor->info.room_pages - room;

	sn_span_cut_room(node, donor, room);
	if (donor->info.spare_pages > 0)
		sn_spare_set(node, donor, donor->info.spare_pages - gone);
	else
		sn_span_count_cached(node, gone, 0);
}

static bool give_back_behind(struct sn_node *node, char *at, size_t len)
	SN_REQUIRES(&node->page_lock)
{
	if (len == 0 || sn_discard_memory(at, len))
		return true;
	sn_counter_set(node->locked_memory, true);
	return false;
}

/* Moves a donor's last chunks, `chunks` of them at most. What lies behind them is given back. */
static size_t take_from(struct sn_node *node, struct sn_segment *donor, struct sn_segment *span,
			size_t at, size_t chunks, bool *lost) SN_REQUIRES(&node->page_lock)
{
	size_t first, have = chunks_of(donor, &first), n = sn_min(have, chunks);
	size_t from = first + (have - n) * SN_CHUNK_PAGES,
	       len = n * SN_CHUNK_PAGES << SN_PAGE_SHIFT;
	size_t behind =
		donor->info.block_first + donor->info.room_pages - from - n * SN_CHUNK_PAGES;
	char *source = (char *)donor + (from << SN_PAGE_SHIFT);
	char *target = (char *)span + (at << SN_PAGE_SHIFT);
	enum sn_remapped outcome;

	if (n == 0 || !give_back_behind(node, source + len, behind << SN_PAGE_SHIFT) ||
	    sn_populate(node, target, len) < 0)
		return 0;
	outcome = sn_remap(node, target, source, len);
	if (outcome != SN_REMAPPED) {
		sn_depopulate(node, target, len);
		*lost = outcome == SN_REMAP_LOST;
		return 0;
	}
	sn_counter_add(node->mapped_pages, n * SN_CHUNK_PAGES);
	span->info.moved = span->info.split = 1;
	sn_span_huge_pages(source, len + (behind << SN_PAGE_SHIFT), false);
	cut_room(node, donor, from);
	return n;
}

size_t sn_spare_take(struct sn_node *node, struct sn_segment *span, size_t at, size_t chunks,
		     bool *lost)
{
	struct sn_segment *donor, *next;
	size_t done = 0;

	*lost = false;
	for (donor = node->spares; donor != NULL && done < chunks && !*lost; donor = next) {
		next = donor->info.next_spare;
		done += take_from(node, donor, span, at + done * SN_CHUNK_PAGES, chunks - done,
				  lost);
	}
	for (donor = node->cached_spans; donor != NULL && done < chunks && !*lost;
	     donor = donor->info.next)
		done += take_from(node, donor, span, at + done * SN_CHUNK_PAGES, chunks - done,
				  lost);
	return done;
}

/* The last pages of a span's spare ones; they stay, and are no longer spare, when memory is locked.
 */
static size_t purge_step(struct sn_node *node, struct sn_segment *span, size_t most)
	SN_REQUIRES(&node->page_lock)
{
	size_t n = sn_min(span->info.spare_pages, most);
	size_t end = span->info.block_first + span->info.room_pages - n;
	char *tail = (char *)span + (end << SN_PAGE_SHIFT);

	/* A huge page of the block's end is not to reach behind it again. */
	sn_span_huge_pages(tail, n << SN_PAGE_SHIFT, false);
	if (!sn_discard_memory(tail, n << SN_PAGE_SHIFT)) {
		sn_span_huge_pages(tail, n << SN_PAGE_SHIFT, true); /* one mapping still */
		sn_counter_set(node->locked_memory, true);
		sn_spare_set(node, span, 0);
		return 0;
	}
	cut_room(node, span, end);
	atomic_fetch_add_explicit(&node->returned_pages, n, memory_order_relaxed);
	return n;
}

size_t sn_spares_purge(struct sn_node *node, size_t max, struct sn_pace *pace)
{
	size_t done = 0;
	int saved = errno;
	bool more = true;

	while (more && done < max) {
		uint64_t begin;

		sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
		begin = sn_pace_begin(pace);
		more = node->spares != NULL;
		if (more)
			done += purge_step(node, node->spares,
					   sn_min(max - done, sn_pace_pages(pace, SN_CHUNK_PAGES)));
		sn_lock_release(&node->page_lock, SN_RANK_PAGES);
		sn_pace_end(pace, begin);
	}
	errno = saved;
	return done;
}
