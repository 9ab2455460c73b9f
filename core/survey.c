/*
 * survey.c - see survey.h.
 *
 * A slab is given back when all its objects are free, or wait in a store that a drain empties: the
 * tables of the node, alien caches on their way to it, and its shared stores.  So the survey
 *
 *	1. counts for each slab the objects that wait in stores,
 *	2. marks the slabs whose free and waiting objects are all they have,
 *	3. walks the runs of each segment: those slabs, free runs that still have pages, cached
 *	   spans, and the headers of segments in which nothing else is left.
 *
 * The counts are kept beside the allocator, a tally of 16 bits a page for each segment that has
 * anything to count: at the first page of a slab its waiting objects, or GONE for a page that would
 * be given back; page 0, a header, says GONE for the whole segment.
 *
 * The tables of a node may also hold objects of nodes that are lent to it.  Their slabs are given
 * back as well when they are empty then, but are not counted as the node's.
 *
 * A header is only read under the page_lock of its node, after a look at the segment map: it may be
 * closed at any other moment.
 */
#include "survey.h"

#include "alien.h"
#include "pages.h"
#include "slab.h"
#include "table.h"

#include <string.h>
#include <sys/mman.h>

#define GONE	   UINT16_MAX
#define TALLY_SIZE (SN_SEG_PAGES * sizeof(uint16_t))
#define CHUNK_SIZE ((size_t)1 << 20)
#define DIRECTORY  (SN_WINDOW_SEGS * sizeof(uint16_t *))

/* --- tallies ----------------------------------------------------------------------------- */

static void *map(size_t size)
{
	int saved = errno;
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p != MAP_FAILED)
		madvise(p, size, MADV_DONTFORK);
	errno = saved;
	return p == MAP_FAILED ? NULL : p;
}

/* A chunk begins with a pointer to the one before it, in the place of its first tally. */
static bool add_chunk(struct sn_survey *s)
{
	char *chunk = map(CHUNK_SIZE);

	if (chunk == NULL)
		return false;
	memcpy(chunk, &s->chunk, sizeof(s->chunk));
	s->chunk = chunk;
	s->left = CHUNK_SIZE / TALLY_SIZE - 1;
	return true;
}

static uint16_t **tally_slot(const struct sn_survey *s, const void *p)
{
	return &s->segment[((uintptr_t)p - sn_window) >> SN_SEG_SHIFT];
}

/* The tally of the segment that p lies in; NULL: no memory for one. */
static uint16_t *tally(struct sn_survey *s, const void *p)
{
	uint16_t **slot = tally_slot(s, p);

	if (*slot == NULL && (s->left > 0 || add_chunk(s)))
		*slot = (uint16_t *)(s->chunk + s->left-- * TALLY_SIZE);
	s->failed |= *slot == NULL;
	return *slot;
}

static void mark_gone(uint16_t *counts, size_t first, size_t npages)
{
	for (size_t i = first; i < first + npages; i++)
		counts[i] = GONE;
}

/* --- 1. objects that wait in stores ------------------------------------------------------- */

/* The cache of the slab that p lies in, 0: in no slab. */
static unsigned int cache_at(const struct sn_node *node, const void *p)
	SN_REQUIRES(&node->page_lock)
{
	if (sn_segmap_entry(p) != node->index)
		return 0;
	return sn_counter_read(sn_segment_of(p)->page_cache[sn_page_number(p)]);
}

static void count_object(struct sn_survey *s, const void *p)
{
	unsigned int home = sn_segmap_entry(p);
	struct sn_node *node;
	uint16_t *counts;
	size_t number = 0;

	if (home < SN_FIRST_NODE || home & SN_SEG_CONTINUED)
		return;
	counts = tally(s, p);
	if (counts == NULL)
		return;
	node = sn_nodes[home];
	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	if (cache_at(node, p) != 0)
		number = sn_page_index(sn_slab_head(p));
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	if (number != 0 && counts[number] < GONE - 1)
		counts[number]++;
}

static void count_objects(struct sn_survey *s, void *const *objects, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		count_object(s, objects[i]);
}

static void count_tables(struct sn_survey *s, const struct sn_node *node, unsigned int cache)
{
	void *objects[SN_STORE_MAX];

	for (unsigned int cpu = 0; cpu < sn_nr_cpus; cpu++) {
		struct sn_table *table = sn_table_at(node->index, cpu);

		if (table != NULL)
			count_objects(s, objects,
				      sn_table_peek(table, cache, objects, SN_STORE_MAX));
	}
}

static void count_alien(struct sn_survey *s, unsigned int here, unsigned int home,
			unsigned int cache)
{
	struct sn_alien *alien = sn_alien_of(here, home, cache);
	void *objects[SN_STORE_MAX];
	unsigned int n;

	if (alien == NULL)
		return;
	sn_lock_acquire(&alien->lock, SN_RANK_ALIEN);
	n = sn_min(alien->avail, (uint32_t)SN_STORE_MAX);
	memcpy(objects, alien->entry, n * sizeof(*objects));
	sn_lock_release(&alien->lock, SN_RANK_ALIEN);
	count_objects(s, objects, n);
}

/* Slabs that are empty in any case.  list_lock held. */
static void mark_list(struct sn_survey *s, struct sn_page *slab)
{
	for (; slab != NULL; slab = slab->next) {
		uint16_t *counts = tally(s, slab);

		if (counts != NULL)
			mark_gone(counts, sn_page_index(slab), slab->npages);
	}
}

/* The shared store; and slabs that are empty already, which a drain gives back too. */
static void count_shared(struct sn_survey *s, struct sn_node *node, unsigned int cache, bool evict)
{
	struct sn_cache_node *cn = sn_cache_node(node, cache);
	void *objects[SN_STORE_MAX];
	unsigned int n = 0;

	sn_lock_acquire(&cn->list_lock, SN_RANK_LIST);
	if (cn->shared != NULL) {
		n = sn_min(cn->shared->avail, (uint32_t)SN_STORE_MAX);
		memcpy(objects, cn->shared->entry, n * sizeof(*objects));
	}
	mark_list(s, cn->free);
	if (evict && atomic_load(&sn_caches[cache].movable) != NULL) {
		mark_list(s, cn->partial);
		mark_list(s, cn->full);
	}
	sn_lock_release(&cn->list_lock, SN_RANK_LIST);
	count_objects(s, objects, n);
}

static void count_stores(struct sn_survey *s, struct sn_node *node, bool evict)
{
	for (unsigned int c = 1; c < sn_cache_end; c++) {
		count_tables(s, node, c);
		if (!sn_counter_read(sn_cache_node(node, c)->active))
			continue;
		for_each_node(here)
			count_alien(s, here, node->index, c);
		count_shared(s, node, c, evict);
	}
}

/* --- 2. slabs that would be empty --------------------------------------------------------- */

/* The length of the slab that begins at `first` when it would be empty with `waiting` more free
 * objects, else 0. */
static size_t empty_with(struct sn_node *node, const char *first, unsigned int waiting)
{
	struct sn_cache_node *cn;
	unsigned int cache;
	size_t npages = 0;

	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	cache = cache_at(node, first);
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	if (cache == 0)
		return 0;
	cn = sn_cache_node(node, cache);
	sn_lock_acquire(&cn->list_lock, SN_RANK_LIST);
	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	if (cache_at(node, first) == cache) {
		const struct sn_page *slab = sn_slab_head(first);

		if (sn_page_address(slab) == first &&
		    slab->nr_free + waiting >= (unsigned int)slab->nr_objects)
			npages = slab->npages;
	}
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	sn_lock_release(&cn->list_lock, SN_RANK_LIST);
	return npages;
}

static void mark_slabs(struct sn_survey *s, struct sn_node *node, const char *segment)
{
	uint16_t *counts = *tally_slot(s, segment);

	for (size_t i = SN_HEADER_PAGES; counts != NULL && i < SN_SEG_PAGES; i++)
		if (counts[i] != 0 && counts[i] != GONE)
			mark_gone(counts, i,
				  empty_with(node, segment + (i << SN_PAGE_SHIFT), counts[i]));
}

/* --- 3. runs ------------------------------------------------------------------------------ */

/* Pages of a span, counted from its start, would be given back. */
static void span_pages_gone(struct sn_survey *s, const struct sn_segment *span, size_t first,
			    size_t npages)
{
	s->released_pages += npages;
	while (npages > 0) {
		size_t i = first % SN_SEG_PAGES, n = sn_min(npages, SN_SEG_PAGES - i);
		uint16_t *counts = tally(s, (const char *)span + (first << SN_PAGE_SHIFT));

		if (counts != NULL)
			mark_gone(counts, i, n);
		first += n;
		npages -= n;
	}
}

/* One that holds no block goes as a whole, headers and all; else what is spare of it. */
static void survey_span(struct sn_survey *s, const struct sn_segment *span)
{
	size_t end = span->info.block_first + span->info.room_pages;

	if (span->info.block_pages != 0) {
		span_pages_gone(s, span, end - span->info.spare_pages, span->info.spare_pages);
		return;
	}
	s->released_pages += SN_HEADER_PAGES + span->info.room_pages;
	for (size_t i = 0; i < span->info.nr_segments; i++) {
		uint16_t *counts = tally(s, (const char *)span + (i << SN_SEG_SHIFT));

		if (counts != NULL)
			counts[0] = GONE;
	}
}

static bool run_is_gone(struct sn_page *run, const uint16_t *counts)
{
	switch (sn_counter_read(run->kind)) {
	case SN_PAGE_FREE_DIRTY:
		return !(run->fixed & SN_RUN_FIXED);
	case SN_PAGE_SLAB:
		return counts[sn_page_index(run)] == GONE;
	}
	return false;
}

/* page_lock held: runs follow each other from the first to where the segment is opened. */
static void survey_runs(struct sn_survey *s, struct sn_segment *segment, uint16_t *counts)
{
	bool whole = true;
	size_t npages;

	for (size_t i = sn_segment_first(segment); i < segment->info.opened_pages; i += npages) {
		struct sn_page *run = sn_page_at(segment, i);

		npages = __atomic_load_n(&run->npages, __ATOMIC_ACQUIRE);
		if (run_is_gone(run, counts)) {
			mark_gone(counts, i, npages);
			s->released_pages += npages;
		} else if (sn_counter_read(run->kind) != SN_PAGE_FREE_CLEAN) {
			whole = false;
		}
	}
	if (whole) {
		counts[0] = GONE;
		s->trimmed_pages += SN_HEADER_PAGES;
	}
}

static void survey_segment(struct sn_survey *s, struct sn_node *node, struct sn_segment *segment)
{
	uint16_t *counts;

	if (sn_segmap_entry(segment) != node->index)
		return;
	counts = tally(s, segment);
	if (counts == NULL)
		return;
	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	if (sn_segmap_entry(segment) == node->index) {
		if (segment->info.is_span)
			survey_span(s, segment);
		else
			survey_runs(s, segment, counts);
	}
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
}

bool sn_survey_node(struct sn_survey *s, struct sn_node *node, bool evict)
{
	*s = (struct sn_survey){.segment = map(DIRECTORY)};
	if (s->segment == NULL)
		return false;
	count_stores(s, node, evict);
	for_each_node(n) {
		if (sn_nodes[n] != node && sn_node_state(sn_nodes[n]) != SN_OFFLINE)
			continue;
		for (struct sn_range *r = sn_first_range(sn_nodes[n]); r != NULL; r = r->next)
			for (size_t i = 0; i < r->nr_segments; i++)
				mark_slabs(s, sn_nodes[n], r->base + (i << SN_SEG_SHIFT));
	}
	for (struct sn_range *r = sn_first_range(node); r != NULL; r = r->next)
		for (size_t i = 0; i < r->nr_segments; i++)
			survey_segment(s, node,
				       (struct sn_segment *)(r->base + (i << SN_SEG_SHIFT)));
	return !s->failed;
}

bool sn_survey_gone(const struct sn_survey *s, const void *page)
{
	size_t number = ((uintptr_t)page - sn_window) >> SN_SEG_SHIFT;
	const uint16_t *counts = number < SN_WINDOW_SEGS ? s->segment[number] : NULL;

	return counts != NULL && (counts[0] == GONE || counts[sn_page_number(page)] == GONE);
}

void sn_survey_end(struct sn_survey *s)
{
	int saved = errno;

	while (s->chunk != NULL) {
		char *before;

		memcpy(&before, s->chunk, sizeof(before));
		munmap(s->chunk, CHUNK_SIZE);
		s->chunk = before;
	}
	if (s->segment != NULL)
		munmap(s->segment, DIRECTORY);
	errno = saved;
}
