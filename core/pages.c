/*
 * pages.c - see pages.h.
 *
 * Boundary tags: the first page of a free run carries kind and length, the last page the same,
 * every page in between and every page of a busy run but the first is SN_PAGE_INSIDE.  So a
 * run that is freed finds its neighbours without a search, and a pointer into the middle of
 * anything never looks like the start of something.
 *
 * Memory is given back to the system with no lock held: the run leaves its bin, is in hand
 * (SN_PAGE_BUSY) during madvise, and comes back as a clean one.
 */
#include "pages.h"

#include "core.h"
#include "guard.h"
#include "hardened.h"
#include "probe.h"
#include "release.h"
#include "sitemap.h"

#include <sys/mman.h>

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24 /* Linux 5.18 */
#endif

#define EXACT_BINS     32
#define OPEN_MIN_PAGES ((size_t)64)
#define OPEN_MAX_PAGES ((size_t)1024)

static unsigned int bin_of(size_t npages)
{
	unsigned int msb;

	if (npages <= EXACT_BINS)
		return (unsigned int)npages - 1;
	msb = 63 - (unsigned int)__builtin_clzll(npages);
	return EXACT_BINS + (msb - 5) * 4 + (unsigned int)(npages >> (msb - 2) & 3);
}

static struct sn_page *last_page(struct sn_page *run)
{
	return run + run->npages - 1;
}

/* Of a free run of this kind and with these flags. */
static struct sn_run_bins *bins_of(struct sn_node *node, uint8_t kind, uint8_t flags)
	SN_REQUIRES(&node->page_lock)
{
	if (kind == SN_PAGE_FREE_DIRTY)
		return &node->dirty;
	return flags & SN_RUN_VACATED ? &node->vacated : &node->clean;
}

static void bin_insert(struct sn_run_bins *bins, struct sn_page *run, uint8_t kind)
{
	unsigned int bin = bin_of(run->npages);

	run->kind = kind;
	last_page(run)->kind = kind;
	last_page(run)->npages = run->npages;
	run->prev = NULL;
	run->next = bins->bin[bin];
	if (run->next != NULL)
		run->next->prev = run;
	bins->bin[bin] = run;
	bins->nonempty |= (uint64_t)1 << bin;
	sn_counter_add(bins->pages, run->npages);
}

/* Takes a run out of its bin, into the caller's hand. */
static void bin_remove(struct sn_run_bins *bins, struct sn_page *run)
{
	unsigned int bin = bin_of(run->npages);

	if (run->prev != NULL)
		run->prev->next = run->next;
	else
		bins->bin[bin] = run->next;
	if (run->next != NULL)
		run->next->prev = run->prev;
	if (bins->bin[bin] == NULL)
		bins->nonempty &= ~((uint64_t)1 << bin);
	sn_counter_sub(bins->pages, run->npages);
	last_page(run)->kind = SN_PAGE_INSIDE;
	run->kind = SN_PAGE_BUSY;
}

/* The smallest run that holds npages, or nearly: the first that fits in its own bin. */
static struct sn_page *bin_find(const struct sn_run_bins *bins, size_t npages)
{
	unsigned int bin = bin_of(npages);
	uint64_t above;

	if (bins->nonempty >> bin & 1)
		for (struct sn_page *run = bins->bin[bin]; run != NULL; run = run->next)
			if (run->npages >= npages)
				return run;
	above = bins->nonempty & ~(((uint64_t)2 << bin) - 1);
	return above == 0 ? NULL : bins->bin[__builtin_ctzll(above)];
}

/* Whether a free neighbour can be merged: same kind, and accessible or not alike. */
static bool mergeable(const struct sn_page *neighbour, uint8_t kind, uint8_t flags)
{
	return __atomic_load_n(&neighbour->kind, __ATOMIC_RELAXED) == kind &&
	       ((neighbour->fixed ^ flags) & SN_RUN_VACATED) == 0;
}

/* Puts a run in hand into the bins of `kind`, merged with free neighbours of that kind. */
static void run_insert(struct sn_node *node, struct sn_page *run, uint8_t kind)
	SN_REQUIRES(&node->page_lock)
{
	struct sn_run_bins *bins = bins_of(node, kind, run->fixed);
	struct sn_segment *segment = sn_segment_of(run);
	size_t index = sn_page_index(run), end = index + run->npages;

	if (end < segment->info.opened_pages) {
		struct sn_page *after = sn_page_at(segment, end);

		if (mergeable(after, kind, run->fixed)) {
			bin_remove(bins, after);
			after->kind = SN_PAGE_INSIDE;
			run->fixed |= after->fixed;
			run->npages += after->npages;
		}
	}
	if (index > sn_segment_first(segment) &&
	    sn_counter_read(sn_page_at(segment, index - 1)->kind) == kind) {
		struct sn_page *tail = sn_page_at(segment, index - 1);
		struct sn_page *before = tail - (tail->npages - 1);

		if (mergeable(before, kind, run->fixed)) {
			bin_remove(bins, before);
			before->fixed |= run->fixed;
			before->npages += run->npages;
			run->kind = SN_PAGE_INSIDE;
			run = before;
		}
	}
	bin_insert(bins, run, kind);
}

bool sn_open_memory(void *addr, size_t len)
{
	int saved = errno;
	bool done =
		sn_fault(SN_FAULT_OPEN) == 0 && mprotect(addr, len, PROT_READ | PROT_WRITE) == 0;

	errno = saved;
	return done;
}

bool sn_discard_memory(void *addr, size_t len)
{
	int saved = errno;
	bool done = sn_fault(SN_FAULT_DISCARD) == 0 &&
		    (madvise(addr, len, MADV_DONTNEED) == 0 ||
		     (errno == EINVAL && madvise(addr, len, MADV_DONTNEED_LOCKED) == 0));

	errno = saved;
	return done;
}

int sn_populate(struct sn_node *node, void *addr, size_t len)
{
	if (sn_placement->populate == NULL || node->index == SN_NODE_INTERNAL)
		return 0;
	return sn_placement->populate(addr, len, node->index);
}

void sn_depopulate(struct sn_node *node, void *addr, size_t len)
{
	if (sn_placement->depopulate != NULL && node->index != SN_NODE_INTERNAL)
		sn_placement->depopulate(addr, len, node->index);
}

/* Opens `pages` more of a segment and makes them a clean free run. */
static bool segment_open(struct sn_node *node, struct sn_segment *segment, size_t pages)
	SN_REQUIRES(&node->page_lock)
{
	size_t first = segment->info.opened_pages;
	struct sn_page *run;

	if (!sn_open_memory((char *)segment + (first << SN_PAGE_SHIFT), pages << SN_PAGE_SHIFT))
		return false;
	segment->info.opened_pages = (uint32_t)(first + pages);
	run = sn_page_at(segment, first);
	run->npages = (uint32_t)pages;
	run->fixed = 0;
	run_insert(node, run, SN_PAGE_FREE_CLEAN);
	return true;
}

static void segment_link(struct sn_node *node, struct sn_segment *segment)
	SN_REQUIRES(&node->page_lock)
{
	segment->info.prev = NULL;
	segment->info.next = node->segments;
	if (node->segments != NULL)
		node->segments->info.prev = segment;
	node->segments = segment;
	sn_counter_add(node->mapped_pages, SN_HEADER_PAGES);
	sn_counter_add(node->nr_headers, 1);
}

static struct sn_segment *segment_add(struct sn_node *node) SN_REQUIRES(&node->page_lock)
{
	struct sn_segment *segment = sn_segments_reserve(node, 1);
	size_t header = SN_HEADER_PAGES << SN_PAGE_SHIFT;

	if (segment == NULL)
		return NULL;
	if (sn_populate(node, segment, header) < 0) {
		sn_segments_release(node, segment, 1);
		return NULL;
	}
	if (!sn_open_memory(segment, header)) {
		sn_depopulate(node, segment, header);
		sn_segments_release(node, segment, 1);
		return NULL;
	}
	/* All of it: a header that could not be discarded (locked memory) is not zero. */
	segment->info = (struct sn_segment_info){
		.nr_segments = 1,
		.gap = sn_hardened_gap(),
	};
	segment->info.opened_pages = (uint32_t)sn_segment_first(segment);
	segment_link(node, segment);
	return segment;
}

static size_t pages_left(const struct sn_segment *segment)
{
	return SN_SEG_PAGES - sn_segment_tail - segment->info.opened_pages;
}

/* Makes a clean run of at least npages by opening more memory. */
static bool pages_grow(struct sn_node *node, size_t npages) SN_REQUIRES(&node->page_lock)
{
	struct sn_segment *segment = node->open_segment;
	size_t step = sn_min(sn_max(node->mapped_pages / 8, OPEN_MIN_PAGES), OPEN_MAX_PAGES);
	size_t left = segment == NULL ? 0 : pages_left(segment);

	if (left < npages) {
		/* What is left of the old segment serves smaller runs. */
		if (left > 0)
			segment_open(node, segment, left);
		segment = segment_add(node);
		if (segment == NULL)
			return false;
		node->open_segment = segment;
		left = pages_left(segment);
	}
	return segment_open(node, segment, sn_min(sn_max(step, npages), left)) ||
	       segment_open(node, segment, npages);
}

/* Cuts [skip, skip + npages) out of a run in hand; the rest goes back to bins of `kind`. */
static struct sn_page *run_cut(struct sn_node *node, struct sn_page *run, size_t skip,
			       size_t npages, uint8_t kind) SN_REQUIRES(&node->page_lock)
{
	size_t rest = run->npages - skip - npages;
	struct sn_page *cut = run + skip;
	uint8_t flags = run->fixed;

	if (rest > 0) {
		struct sn_page *tail = cut + npages;

		tail->npages = (uint32_t)rest;
		tail->fixed = flags;
		run_insert(node, tail, kind);
	}
	if (skip > 0) {
		run->npages = (uint32_t)skip;
		run_insert(node, run, kind);
	}
	cut->npages = (uint32_t)npages;
	cut->fixed = flags;
	cut->kind = SN_PAGE_BUSY;
	return cut;
}

/* Pages to skip so that the run's address is aligned. */
static size_t align_skip(const struct sn_page *run, size_t align)
{
	size_t page = (uintptr_t)sn_page_address(run) >> SN_PAGE_SHIFT;

	return -page & (align - 1);
}

static int run_shortage(const struct sn_node *node) SN_REQUIRES(&node->page_lock)
{
	return node->dirty.pages > 0 || node->cached_span_pages > 0 || node->quarantine != NULL
		       ? -EAGAIN
		       : -ENOMEM;
}

/* A clean run in hand gets its pages. */
static bool run_populate(struct sn_node *node, struct sn_page *run) SN_REQUIRES(&node->page_lock)
{
	size_t len = (size_t)run->npages << SN_PAGE_SHIFT;

	if (sn_populate(node, sn_page_address(run), len) < 0)
		return false;
	sn_counter_add(node->mapped_pages, run->npages);
	return true;
}

/* -ENOMEM: no memory to be had; -EAGAIN: the node is full, purging helps. */
static int run_take(struct sn_node *node, size_t npages, size_t align, struct sn_page **out,
		    bool *zeroed) SN_REQUIRES(&node->page_lock)
{
	size_t want = npages + align - 1;
	struct sn_page *run = bin_find(&node->dirty, want);
	uint8_t kind = SN_PAGE_FREE_DIRTY;

	if (run == NULL) {
		kind = SN_PAGE_FREE_CLEAN;
		run = bin_find(&node->clean, want);
		if (run == NULL && pages_grow(node, want))
			run = bin_find(&node->clean, want);
		if (run == NULL)
			return run_shortage(node);
	}
	bin_remove(bins_of(node, kind, 0), run);
	run = run_cut(node, run, align_skip(run, align), npages, kind);
	if (kind == SN_PAGE_FREE_CLEAN && !run_populate(node, run)) {
		run_insert(node, run, kind);
		return run_shortage(node);
	}
	node->dirty_low = sn_min(node->dirty_low, node->dirty.pages);
	run->fixed = 0;
	*out = run;
	*zeroed = kind == SN_PAGE_FREE_CLEAN;
	return 0;
}

struct sn_page *sn_run_alloc(struct sn_node *node, size_t npages, size_t align, bool *zeroed)
{
	struct sn_page *run = NULL;
	int error = -EAGAIN;

	for (int attempt = 0; attempt < 2 && error == -EAGAIN; attempt++) {
		if (attempt > 0)
			sn_make_room(node);
		sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
		/* Read under the lock: an offline that has taken page_lock once after it
		 * published its state knows that no run of this node is handed out later. */
		error = sn_node_usable(node) && sn_fault(SN_FAULT_RUN) == 0
				? run_take(node, npages, align, &run, zeroed)
				: -ENOMEM;
		if (error == 0)
			sn_node_take_in_hand(node);
		sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	}
	return error == 0 ? run : NULL;
}

void sn_run_settled(struct sn_node *node)
{
	sn_node_put_from_hand(node);
	sn_node_freed(node);
}

bool sn_run_extend(struct sn_page *run, size_t more, bool *zeroed)
{
	struct sn_segment *segment = sn_segment_of(run);
	struct sn_node *node = sn_node_of_segment(segment);
	size_t end = sn_page_index(run) + run->npages;
	struct sn_page *after;
	bool done = false;

	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	if (end < segment->info.opened_pages && sn_node_usable(node) &&
	    sn_fault(SN_FAULT_EXTEND) == 0) {
		uint8_t kind;

		after = sn_page_at(segment, end);
		kind = sn_counter_read(after->kind);
		if ((kind == SN_PAGE_FREE_DIRTY || kind == SN_PAGE_FREE_CLEAN) &&
		    (after->fixed & SN_RUN_VACATED) == 0 && after->npages >= more) {
			bin_remove(bins_of(node, kind, 0), after);
			after = run_cut(node, after, 0, more, kind);
			done = kind == SN_PAGE_FREE_DIRTY || run_populate(node, after);
			if (done) {
				after->kind = SN_PAGE_INSIDE;
				run->npages += (uint32_t)more;
				*zeroed = kind == SN_PAGE_FREE_CLEAN;
			} else {
				run_insert(node, after, kind);
			}
		}
	}
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	return done;
}

void sn_run_shrink(struct sn_page *run, size_t npages)
{
	struct sn_page *tail = run + npages;

	/* Whoever walks the runs under page_lock finds the tail as soon as the run ends there. */
	tail->npages = run->npages - (uint32_t)npages;
	sn_counter_set(tail->kind, SN_PAGE_BUSY);
	__atomic_store_n(&run->npages, (uint32_t)npages, __ATOMIC_RELEASE);
	sn_run_free(tail);
}

/* The longest dirty run that can be given back, taken into hand; NULL: none. */
static struct sn_page *take_dirty(struct sn_node *node) SN_REQUIRES(&node->page_lock)
{
	uint64_t bins = node->dirty.nonempty;

	while (bins != 0) {
		unsigned int bin = 63 - (unsigned int)__builtin_clzll(bins);

		for (struct sn_page *run = node->dirty.bin[bin]; run != NULL; run = run->next) {
			if (run->fixed & SN_RUN_FIXED)
				continue;
			bin_remove(&node->dirty, run);
			return run;
		}
		bins &= ~((uint64_t)1 << bin);
	}
	return NULL;
}

/* Whether a run in hand belongs to a node that is away, so that nobody may reach it. */
static bool should_vacate(const struct sn_node *node)
{
	return SN_HOTPLUG && node->index != SN_NODE_INTERNAL && sn_placement->vacate != NULL &&
	       sn_node_state(node) == SN_OFFLINE;
}

/* A run in hand whose pages are gone becomes a clean one. */
static void make_clean(struct sn_node *node, struct sn_page *run, uint8_t flags)
	SN_REQUIRES(&node->page_lock)
{
	sn_depopulate(node, sn_page_address(run), (size_t)run->npages << SN_PAGE_SHIFT);
	sn_counter_sub(node->mapped_pages, run->npages);
	atomic_fetch_add_explicit(&node->returned_pages, run->npages, memory_order_relaxed);
	run->fixed = flags;
	run_insert(node, run, SN_PAGE_FREE_CLEAN);
}

/*
 * Puts a run that was given back into the clean bins; of a node that is away, out of reach.
 *
 *	purge				online
 *	reads OFFLINE, vacates
 *					publishes GOING_ONLINE
 *					restores every vacated run it finds
 *	inserts the run as vacated	<- handed out inaccessible, were the state not read here
 *
 * When it cannot be restored just now, the reaper or a drain does it later.
 */
static void insert_purged(struct sn_node *node, struct sn_page *run)
{
	size_t len = (size_t)run->npages << SN_PAGE_SHIFT;
	bool away = should_vacate(node);

	if (away)
		sn_placement->vacate(sn_page_address(run), len, node->index);
	sn_fault(SN_FAULT_PURGE);
	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	if (away && !should_vacate(node)) {
		sn_lock_release(&node->page_lock, SN_RANK_PAGES);
		away = sn_placement->restore(sn_page_address(run), len, node->index) < 0;
		sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	}
	sn_counter_set(node->locked_memory, false);
	make_clean(node, run, away ? SN_RUN_VACATED : 0);
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	SN_PROBE(give_back, node->os_number, len);
}

/* Gives the pages of a run in hand back and makes a clean run of it, which ends the release; false:
 * they stay (locked). */
static bool purge_run(struct sn_node *node, struct sn_page *run, unsigned int turn)
{
	if (sn_discard_memory(sn_page_address(run), (size_t)run->npages << SN_PAGE_SHIFT)) {
		insert_purged(node, run);
		sn_release_end(node, turn, false);
		return true;
	}
	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	run->fixed = SN_RUN_FIXED;
	sn_counter_set(node->locked_memory, true);
	run_insert(node, run, SN_PAGE_FREE_DIRTY);
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	sn_release_end(node, turn, false); /* kept, yet it was in the map all the while */
	return false;
}

/*
 * Where pages may be on other nodes (the segment's node was away), and where the node leaves, what
 * is freed goes back to the system, so that it comes from the node itself when it is used again.
 * Just this run: what else lies about is the offline's to release, which reads it under page_lock
 * after its state was published.  A thread of the program never pays for more than it freed.
 */
void sn_run_free(struct sn_page *run)
{
	struct sn_segment *segment = sn_segment_of(run);
	struct sn_node *node = sn_node_of_segment(segment);
	unsigned int turn = 0;
	bool keep;

	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	keep = sn_node_in_service(node) && !sn_segment_displaced(segment);
	if (keep) {
		run->fixed = 0;
		run_insert(node, run, SN_PAGE_FREE_DIRTY);
	} else {
		turn = sn_release_begin(node);
	}
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	if (!keep)
		purge_run(node, run, turn);
	else if (sn_ageing_hook != NULL)
		sn_ageing_hook();
}

void sn_runs_return(struct sn_node *node, struct sn_page **runs, unsigned int n)
{
	unsigned int turn, done = 0;

	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	turn = sn_release_begin(node);
	for (; done < n && !should_vacate(node); done++)
		make_clean(node, runs[done], 0);
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	for (; done < n; done++)
		insert_purged(node, runs[done]);
	sn_release_end(node, turn, false);
}

void sn_pages_unfix(struct sn_node *node)
{
	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	for (uint64_t bins = node->dirty.nonempty; bins != 0; bins &= bins - 1)
		for (struct sn_page *run = node->dirty.bin[__builtin_ctzll(bins)]; run != NULL;
		     run = run->next)
			run->fixed = 0;
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
}

/* Up to `max` pages of a dirty run, taken into hand to be given back. */
static struct sn_page *take_to_purge(struct sn_node *node, size_t max, unsigned int *turn)
{
	struct sn_page *run;

	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	run = take_dirty(node);
	if (run != NULL && run->npages > max)
		run = run_cut(node, run, 0, max, SN_PAGE_FREE_DIRTY);
	if (run != NULL)
		*turn = sn_release_begin(node);
	node->dirty_low = sn_min(node->dirty_low, node->dirty.pages);
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	return run;
}

size_t sn_pages_purge(struct sn_node *node, size_t max, struct sn_pace *pace)
{
	size_t done = 0;

	while (done < max) {
		uint64_t begin = sn_pace_begin(pace);
		size_t batch = sn_pace_pages(pace, max - done), npages;
		unsigned int turn = 0;
		struct sn_page *run = take_to_purge(node, batch, &turn);

		if (run == NULL)
			break;
		npages = run->npages;
		if (purge_run(node, run, turn))
			done += npages;
		sn_pace_end(pace, begin);
	}
	return done << SN_PAGE_SHIFT;
}

/* The one clean run that is all of a segment's memory, or NULL: something is in use there. */
static struct sn_page *whole_run(struct sn_segment *segment)
{
	struct sn_page *run = sn_page_at(segment, sn_segment_first(segment));

	if (segment->info.is_span || sn_counter_read(run->kind) != SN_PAGE_FREE_CLEAN ||
	    run->npages + sn_segment_first(segment) != segment->info.opened_pages ||
	    (run->fixed & SN_RUN_VACATED) != 0)
		return NULL;
	return run;
}

/* Takes a segment that holds nothing out of the node's lists. */
static void segment_unlink(struct sn_node *node, struct sn_segment *segment, struct sn_page *run)
	SN_REQUIRES(&node->page_lock)
{
	bin_remove(&node->clean, run);
	if (segment->info.prev != NULL)
		segment->info.prev->info.next = segment->info.next;
	else
		node->segments = segment->info.next;
	if (segment->info.next != NULL)
		segment->info.next->info.prev = segment->info.prev;
	if (node->open_segment == segment)
		node->open_segment = NULL;
	sn_counter_sub(node->mapped_pages, SN_HEADER_PAGES);
	sn_counter_sub(node->nr_headers, 1);
}

/* Takes all segments that hold nothing out of lists and map, chained by info.next. */
static struct sn_segment *take_whole(struct sn_node *node, unsigned int *turn)
{
	struct sn_segment *segment, *next, *whole = NULL;

	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	for (segment = node->segments; segment != NULL; segment = next) {
		struct sn_page *run = whole_run(segment);

		next = segment->info.next;
		if (run == NULL)
			continue;
		segment_unlink(node, segment, run);
		sn_segments_hide(node, segment, 1, true);
		segment->info.next = whole;
		whole = segment;
	}
	*turn = sn_release_begin(node);
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	return whole;
}

/* A segment that take_whole() took is as it was. */
static void segment_rejoin(struct sn_node *node, struct sn_segment *segment)
{
	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	sn_segments_hide(node, segment, 1, false);
	segment_link(node, segment);
	run_insert(node, sn_page_at(segment, sn_segment_first(segment)), SN_PAGE_FREE_CLEAN);
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
}

size_t sn_segments_trim(struct sn_node *node, struct sn_pace *pace)
{
	size_t header = SN_HEADER_PAGES << SN_PAGE_SHIFT, done = 0;
	uint64_t looking = sn_pace_begin(pace);
	unsigned int turn;
	struct sn_segment *segment = take_whole(node, &turn), *next;
	bool kept = false;
	int saved = errno;

	sn_pace_end(pace, looking); /* page_lock was held */
	for (; segment != NULL; segment = next) {
		size_t opened = (size_t)segment->info.opened_pages << SN_PAGE_SHIFT;
		uint64_t begin = sn_pace_begin(pace);

		next = segment->info.next;
		/* With no lock held: closing a mapping waits for every page fault. */
		if (!sn_discard_memory(segment, header)) {
			segment_rejoin(node, segment); /* locked memory */
			kept = true;
			sn_pace_end(pace, begin);
			continue;
		}
		mprotect(segment, opened, PROT_NONE);
		sn_sitemap_forget(segment);
		sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
		sn_depopulate(node, segment, header);
		sn_segments_release(node, segment, 1);
		sn_lock_release(&node->page_lock, SN_RANK_PAGES);
		sn_pace_end(pace, begin);
		done++;
	}
	sn_release_end(node, turn, kept);
	errno = saved;
	return done << SN_SEG_SHIFT;
}

/* A run of the bins' longest, taken into hand. */
static struct sn_page *take_long(struct sn_run_bins *bins)
{
	struct sn_page *run;

	if (bins->nonempty == 0)
		return NULL;
	run = bins->bin[63 - __builtin_clzll(bins->nonempty)];
	bin_remove(bins, run);
	return run;
}

/* Clean runs become vacated ones or the reverse, one at a time; long ones first, since the
 * simulator makes a limited number of stretches inaccessible. */
static int pages_switch(struct sn_node *node, bool vacate)
{
	struct sn_run_bins *from = vacate ? &node->clean : &node->vacated;
	int error = 0;

	while (error == 0) {
		struct sn_page *run;
		size_t len;

		sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
		run = take_long(from);
		sn_lock_release(&node->page_lock, SN_RANK_PAGES);
		if (run == NULL)
			break;
		len = (size_t)run->npages << SN_PAGE_SHIFT;
		if (vacate)
			sn_placement->vacate(sn_page_address(run), len, node->index);
		else
			error = sn_placement->restore(sn_page_address(run), len, node->index);
		sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
		run->fixed = vacate || error != 0 ? SN_RUN_VACATED : 0;
		run_insert(node, run, SN_PAGE_FREE_CLEAN);
		sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	}
	return error;
}

int sn_pages_vacate(struct sn_node *node)
{
	return sn_placement->vacate == NULL ? 0 : pages_switch(node, true);
}

int sn_pages_restore(struct sn_node *node)
{
	return sn_placement->restore == NULL ? 0 : pages_switch(node, false);
}
