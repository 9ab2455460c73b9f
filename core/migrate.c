/*
 * migrate.c - see migrate.h.
 *
 * Memory moves in units of 2 MiB, so that a huge page is moved whole and targets change at
 * huge page borders only; a unit is cut into smaller batches while one takes longer than the
 * wanted stall.  The pass walks ranges and segments, not slabs: whatever is free or not there
 * is found absent, and what is freed or purged meanwhile is no harm.  Nothing is allocated.
 */
#include "migrate.h"

#include "drain.h"
#include "segment.h"

#define UNIT_PAGES  ((size_t)512)
#define LEAST_BATCH ((size_t)16)

/* The first target in order that has room for the bytes; SN_NODE_NONE: none. */
static unsigned int choose_target(const struct sn_migration *m, size_t bytes)
{
	for (const uint8_t *order = m->order; *order != 0; order++) {
		if (!sn_mask_has(&m->to, *order))
			continue;
		if (sn_placement->room == NULL || sn_placement->room(*order) >= bytes)
			return *order;
	}
	return SN_NODE_NONE;
}

/* Pages of the batch that are on nodes other than wanted. */
static size_t count_on(const struct sn_migration *m, char *addr, size_t npages)
{
	int where[64];
	size_t found = 0;

	for (size_t i = 0; i < npages; i += 64) {
		size_t n = sn_min(npages - i, (size_t)64);

		if (sn_placement->query(addr + (i << SN_PAGE_SHIFT), n, where) != 0)
			return 0;
		for (size_t k = 0; k < n; k++)
			if (where[k] > 0 &&
			    (m->from != 0 ? (unsigned int)where[k] == m->from
					  : !sn_mask_has(&m->to, (unsigned int)where[k])))
				found++;
	}
	return found;
}

static void move_batch(struct sn_migration *m, char *addr, size_t npages)
{
	size_t here = count_on(m, addr, npages);
	unsigned int target;
	uint64_t begin;

	if (here == 0)
		return;
	target = choose_target(m, here << SN_PAGE_SHIFT);
	if (target == SN_NODE_NONE) {
		m->moved.no_room += here;
		m->moved.last_error = ENOMEM;
		return;
	}
	begin = sn_now_ns();
	m->error = sn_placement->move(addr, npages << SN_PAGE_SHIFT, target, &m->moved);
	m->stall_ns = sn_max(m->stall_ns, sn_now_ns() - begin);
}

/* Moves [addr, addr + npages) in batches that keep to the wanted stall. */
static void move_unit(struct sn_migration *m, char *addr, size_t npages, size_t *batch)
{
	while (npages > 0 && m->error == 0) {
		size_t n = sn_min(npages, *batch);
		uint64_t begin = sn_now_ns(), took;

		move_batch(m, addr, n);
		took = sn_now_ns() - begin;
		if (took > m->max_stall_ns && *batch > LEAST_BATCH)
			*batch /= 2;
		else if (took * 4 < m->max_stall_ns && *batch < UNIT_PAGES)
			*batch *= 2;
		addr += n << SN_PAGE_SHIFT;
		npages -= n;
	}
}

/* What of segment `at` of a range is opened: pages [first, end) from its start; under
 * page_lock. A continued segment belongs to the span before it. */
static void opened_pages(const struct sn_migration *m, struct sn_segment *segment, size_t *first,
			 size_t *end)
{
	unsigned int entry = sn_segmap_entry(segment);
	struct sn_segment *span = segment;
	size_t offset, begin, stop;

	*first = *end = 0;
	if (entry == SN_NODE_NONE)
		return;
	while (sn_segmap_entry(span) & SN_SEG_CONTINUED)
		span = (struct sn_segment *)((char *)span - SN_SEG_SIZE);
	if (m->metadata_only) {
		*end = span == segment ? SN_HEADER_PAGES : 0;
		return;
	}
	if (!span->info.is_span) {
		*end = segment->info.opened_pages;
		return;
	}
	offset = (size_t)((char *)segment - (char *)span) >> SN_PAGE_SHIFT;
	begin = span->info.block_first;
	stop = begin + span->info.room_pages;
	/* The header and the block of a span are moved as one stretch; what is closed between
	 * them is absent. */
	*end = stop <= offset ? 0 : sn_min(stop - offset, SN_SEG_PAGES);
}

typedef void unit_fn(struct sn_migration *m, char *addr, size_t npages, size_t *batch);

static void walk(struct sn_migration *m, unit_fn *fn, uint64_t *done, uint64_t total)
{
	size_t batch = UNIT_PAGES;

	for (struct sn_range *range = m->node->ranges; range != NULL; range = range->next) {
		for (size_t i = 0; i < range->nr_segments; i++) {
			char *base = range->base + (i << SN_SEG_SHIFT);
			size_t first, end;

			sn_lock_acquire(&m->node->page_lock, SN_RANK_PAGES);
			opened_pages(m, (struct sn_segment *)base, &first, &end);
			sn_lock_release(&m->node->page_lock, SN_RANK_PAGES);
			for (size_t p = first; p < end; p += UNIT_PAGES) {
				size_t n = sn_min(end - p, UNIT_PAGES);

				if (m->error != 0 || m->stop(m->arg))
					return;
				fn(m, base + (p << SN_PAGE_SHIFT), n, &batch);
				*done += n << SN_PAGE_SHIFT;
				if (m->progress != NULL)
					m->progress(m->arg, *done, sn_max(total, *done));
			}
		}
	}
}

static void count_left(struct sn_migration *m, char *addr, size_t npages, size_t *batch)
{
	(void)batch;
	m->left_pages += count_on(m, addr, npages);
}

uint64_t sn_migrate_bytes(struct sn_node *node)
{
	return (uint64_t)node->mapped_pages << SN_PAGE_SHIFT;
}

void sn_migrate_pass(struct sn_migration *m)
{
	uint64_t done = 0, total = sn_migrate_bytes(m->node);
	void (*progress)(void *, uint64_t, uint64_t) = m->progress;

	m->left_pages = 0;
	if (sn_placement->move == NULL || sn_placement->query == NULL) {
		m->error = -ENOSYS;
		return;
	}
	walk(m, move_unit, &done, total);
	m->progress = NULL;
	done = 0;
	if (m->error == 0)
		walk(m, count_left, &done, 0);
	m->progress = progress;
}
