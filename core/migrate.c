/*
 * migrate.c - see migrate.h.
 *
 * Memory moves in units of 2 MiB, so that a huge page is moved whole and targets change at
 * huge page borders only; a unit is cut into smaller batches while one takes longer than the
 * wanted stall (pace.h).  The pass walks ranges and segments, not slabs: whatever is free or not
 * there is found absent, and what is freed or purged meanwhile is no harm.  Nothing is allocated.
 *
 * A pass has its mask of targets from its beginning, and a target may leave meanwhile.  Each
 * batch therefore counts itself in at its target (moves_in) and then looks whether that is
 * online; who takes the target away publishes its state and then waits for the count to be zero.
 * After that nothing more arrives, and the segments of what did are marked as displaced.
 */
#include "migrate.h"

#include "drain.h"
#include "meta.h"
#include "probe.h"
#include "release.h"
#include "remap.h"
#include "segment.h"

#define UNIT_PAGES SN_PACE_MOST

static void end_batch(struct sn_node *target)
{
	if (atomic_fetch_sub(&target->moves_in, 1) == 1 && atomic_load(&target->state) != SN_ONLINE)
		sn_futex_wake(&target->moves_in, INT32_MAX);
}

static bool begin_batch(struct sn_node *target)
{
	atomic_fetch_add(&target->moves_in, 1);
	if (atomic_load(&target->state) == SN_ONLINE)
		return true;
	end_batch(target);
	return false;
}

void sn_migrate_await_batches(struct sn_node *node)
{
	uint32_t batches;

	while ((batches = atomic_load(&node->moves_in)) != 0)
		sn_futex_wait(&node->moves_in, batches, -1);
}

/* The first target in order that has room for the bytes, the batch counted in there;
 * SN_NODE_NONE: none. */
static unsigned int choose_target(const struct sn_migration *m, size_t bytes)
{
	for_each_in_order(target, m->order) {
		if (!sn_mask_has(&m->to, target) || sn_mask_has(&m->full, target))
			continue;
		if (sn_placement->room != NULL && sn_placement->room(target) < bytes)
			continue;
		if (begin_batch(sn_nodes[target]))
			return target;
	}
	return SN_NODE_NONE;
}

/* A pass asks so often that one failure must not end it. */
static int query(char *addr, size_t npages, int *where)
{
	int error = sn_placement->query(addr, npages, where);

	return error == 0 ? 0 : sn_placement->query(addr, npages, where);
}

/* Where each of at most UNIT_PAGES pages is; m->error when that is refused. */
static bool look_at(struct sn_migration *m, char *addr, size_t npages, int *where)
{
	for (size_t i = 0; i < npages && m->error == 0; i += 64)
		m->error = query(addr + (i << SN_PAGE_SHIFT), sn_min(npages - i, (size_t)64),
				 where + i);
	return m->error == 0;
}

static bool is_to_move(const struct sn_migration *m, int where)
{
	if (where <= 0)
		return false; /* no page */
	return m->from != 0 ? (unsigned int)where == m->from
			    : !sn_mask_has(&m->to, (unsigned int)where);
}

static struct sn_segment *first_of_span(struct sn_segment *segment)
{
	while (sn_segmap_entry(segment) & SN_SEG_CONTINUED)
		segment = (struct sn_segment *)((char *)segment - SN_SEG_SIZE);
	return segment;
}

static void displace(struct sn_node *node, struct sn_segment *segment) SN_REQUIRES(&node->page_lock)
{
	sn_counter_set(segment->info.displaced, 1);
	node->displaced = true;
}

static void mark_segment(struct sn_segment *segment)
{
	unsigned int home;

	while ((home = sn_segmap_entry(segment) & ~SN_SEG_CONTINUED) != SN_NODE_NONE) {
		struct sn_node *node = sn_nodes[home];
		bool same;

		sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
		same = (sn_segmap_entry(segment) & ~SN_SEG_CONTINUED) == home;
		if (same)
			displace(node, first_of_span(segment));
		sn_lock_release(&node->page_lock, SN_RANK_PAGES);
		if (same)
			return;
	}
}

/* Batches of other nodes' pages that are under way, and how many ever began. */
static _Atomic uint32_t guests_moving, guests_begun;

/*
 * Pages of another node's ranges move: their segment is marked as displaced, again if need be,
 * before and after.  Before: that node's rebalance may have found every page at home and be about
 * to take the marks away, see sn_migrate_settled().  After: what was listed may have been freed,
 * and be part of a new block by now.
 */
static void begin_guests(const struct sn_migration *m)
{
	atomic_fetch_add(&guests_moving, 1);
	atomic_fetch_add(&guests_begun, 1);
	mark_segment(m->segment);
}

static void end_guests(const struct sn_migration *m)
{
	mark_segment(m->segment);
	atomic_fetch_sub(&guests_moving, 1);
}

/* Adds up what became of a stretch; pages for which the target had no room do not count yet. */
static void add_result(struct sn_migration *m, const struct sn_move_result *result)
{
	m->moved.moved += result->moved;
	m->moved.absent += result->absent;
	m->moved.busy += result->busy;
	m->moved.shared += result->shared;
	m->moved.failed += result->failed;
	if (result->last_error != 0)
		m->moved.last_error = result->last_error;
}

/* Whether what is being moved, or looked at, belongs to another node. */
static bool of_guests(const struct sn_migration *m)
{
	return m->segment != NULL && m->home != m->node && m->home->index != SN_NODE_INTERNAL;
}

/*
 * Pages that are all to move, `here` of them, or absent.  False: not all had room on the target,
 * whatever it said of its free memory (a kernel keeps some of that back): the rest is tried again.
 * A target that took nothing twice is full, and the next one gets it.
 */
static bool move_stretch(struct sn_migration *m, char *addr, size_t npages, size_t here)
{
	unsigned int target = choose_target(m, here << SN_PAGE_SHIFT);
	struct sn_move_result result = {0};
	bool guests = of_guests(m);

	if (target == SN_NODE_NONE) {
		m->moved.no_room += here;
		m->moved.last_error = ENOMEM;
		return true;
	}
	if (guests)
		begin_guests(m);
	m->error = sn_placement->move(addr, npages << SN_PAGE_SHIFT, target, &result);
	SN_PROBE(move, m->node->os_number, sn_nodes[target]->os_number, here, m->error);
	if (guests) {
		end_guests(m);
		m->guest_pages += result.moved;
	}
	end_batch(sn_nodes[target]);
	if (result.no_room > 0) {
		if (result.moved == 0 && m->refused == target)
			sn_mask_add(&m->full, target);
		m->refused = result.moved == 0 ? target : SN_NODE_NONE;
		m->moved.moved += result.moved;
		return false;
	}
	add_result(m, &result);
	return true;
}

/* What is at home, or a guest of a third node, stays: a batch of another node's range is a mixture
 * once that node was away.  False: look again, a target turned out to be full. */
static bool move_stretches(struct sn_migration *m, char *addr, size_t npages)
{
	int where[UNIT_PAGES];

	if (!look_at(m, addr, npages, where))
		return true;
	for (size_t i = 0, end; i < npages && m->error == 0; i = end + 1) {
		size_t here = 0;

		for (end = i; end < npages && (where[end] <= 0 || is_to_move(m, where[end])); end++)
			here += where[end] > 0;
		if (here > 0 && !move_stretch(m, addr + (i << SN_PAGE_SHIFT), end - i, here))
			return false;
	}
	return true;
}

/* Each look more is for fewer pages, or for one target less. */
static void move_batch(struct sn_migration *m, char *addr, size_t npages)
{
	while (!move_stretches(m, addr, npages) && m->error == 0)
		;
}

/* Moves [addr, addr + npages) in batches that keep to the wanted stall. */
static void move_unit(struct sn_migration *m, char *addr, size_t npages)
{
	while (npages > 0 && m->error == 0) {
		size_t n = sn_pace_pages(m->pace, npages);
		uint64_t begin = sn_pace_begin(m->pace);

		move_batch(m, addr, n);
		sn_pace_end(m->pace, begin);
		addr += n << SN_PAGE_SHIFT;
		npages -= n;
	}
}

static bool must_stop(struct sn_migration *m)
{
	m->stopped |= m->stop(m->arg);
	return m->stopped;
}

/* Pages of a segment, from its start, that are to be looked at.  Closed stretches in between are
 * found absent. */
static size_t pages_to_visit(const struct sn_migration *m, struct sn_node *node,
			     struct sn_segment *segment) SN_REQUIRES(&node->page_lock)
{
	struct sn_segment *first;
	size_t offset, stop;

	if (sn_segmap_entry(segment) == SN_NODE_NONE)
		return 0;
	first = first_of_span(segment);
	if (node == m->node && m->from == node->index) {
		if (m->released == NULL)
			displace(node, first);
	} else if (!sn_counter_read(first->info.displaced) && sn_placement->simulated)
		return 0; /* the ledger knows; a real full node may have overflowed anywhere */
	if (m->metadata_only && node == m->node)
		return first == segment ? SN_HEADER_PAGES : 0;
	if (!first->info.is_span)
		return segment->info.opened_pages;
	offset = (size_t)((char *)segment - (char *)first) >> SN_PAGE_SHIFT;
	stop = first->info.block_first + first->info.room_pages;
	return stop <= offset ? 0 : sn_min(stop - offset, SN_SEG_PAGES);
}

typedef void unit_fn(struct sn_migration *m, char *addr, size_t npages);

struct walk {
	unit_fn *fn;
	uint64_t done, total;
};

static void walk_segment(struct sn_migration *m, struct walk *walk, struct sn_node *node,
			 char *base)
{
	size_t end;

	m->segment = (struct sn_segment *)base;
	m->home = node;
	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	end = pages_to_visit(m, node, m->segment);
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	for (size_t p = 0; p < end && m->error == 0 && !must_stop(m); p += UNIT_PAGES) {
		size_t n = sn_min(end - p, UNIT_PAGES);

		walk->fn(m, base + (p << SN_PAGE_SHIFT), n);
		walk->done += n << SN_PAGE_SHIFT;
		if (m->progress != NULL)
			m->progress(m->arg, walk->done, sn_max(walk->total, walk->done));
	}
}

/* Whether pages of another node's ranges may lie where they do not belong.  The ledger knows, and
 * most nodes were never away: they cost nothing, however much they hold. */
static bool may_be_displaced(struct sn_node *node)
{
	bool displaced;

	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	displaced = node->displaced || !sn_placement->simulated;
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	return displaced;
}

static void walk_node(struct sn_migration *m, struct walk *walk, struct sn_node *node)
{
	for (struct sn_range *range = sn_first_range(node); range != NULL; range = range->next)
		for (size_t i = 0; i < range->nr_segments; i++)
			walk_segment(m, walk, node, range->base + (i << SN_SEG_SHIFT));
}

/* The allocator's own structures, on real nodes: first touched by whoever needed them. */
static void walk_metadata(struct sn_migration *m, struct walk *walk)
{
	void *addr;
	size_t len;

	if (sn_placement->simulated)
		return;
	walk_node(m, walk, sn_nodes[SN_NODE_INTERNAL]);
	m->segment = NULL;
	for (unsigned int i = 0; sn_meta_stretch(i, &addr, &len); i++)
		for (size_t at = 0; at < len && m->error == 0 && !must_stop(m);
		     at += UNIT_PAGES << SN_PAGE_SHIFT) {
			size_t n = sn_min(len - at, UNIT_PAGES << SN_PAGE_SHIFT) >> SN_PAGE_SHIFT;

			walk->fn(m, (char *)addr + at, n);
		}
}

/* The node's own ranges, and what other nodes' ranges may have on it since they were away. */
static void walk_all(struct sn_migration *m, unit_fn *fn, bool guests, uint64_t total)
{
	struct walk walk = {.fn = fn, .total = total};

	if (!m->guests_only)
		walk_node(m, &walk, m->node);
	if (m->from == SN_NODE_NONE)
		return;
	for_each_node(n)
		if (guests && sn_nodes[n] != m->node && may_be_displaced(sn_nodes[n]))
			walk_node(m, &walk, sn_nodes[n]);
	if (!m->guests_only)
		walk_metadata(m, &walk);
}

static void count_left(struct sn_migration *m, char *addr, size_t npages)
{
	int where[UNIT_PAGES];

	m->proof_pages += npages;
	if (look_at(m, addr, npages, where))
		for (size_t i = 0; i < npages; i++)
			m->left_pages += is_to_move(m, where[i]);
}

static void count_kept(struct sn_migration *m, char *addr, size_t npages)
{
	int where[UNIT_PAGES];
	size_t kept = 0;

	if (look_at(m, addr, npages, where))
		for (size_t i = 0; i < npages; i++)
			kept += is_to_move(m, where[i]) &&
				!m->released(m->arg, addr + (i << SN_PAGE_SHIFT));
	m->left_pages += kept;
	m->guest_pages += of_guests(m) ? kept : 0;
}

void sn_migrate_dry_run(struct sn_migration *m)
{
	m->left_pages = 0;
	if (sn_placement->move == NULL || sn_placement->query == NULL)
		m->error = -ENOSYS;
	else
		walk_all(m, count_kept, true, 0);
}

uint64_t sn_migrate_bytes(struct sn_node *node)
{
	return (uint64_t)sn_counter_read(node->mapped_pages) << SN_PAGE_SHIFT;
}

void sn_migrate_pass(struct sn_migration *m)
{
	void (*progress)(void *, uint64_t, uint64_t) = m->progress;
	uint32_t kept = sn_releases_kept();

	m->left_pages = m->proof_pages = m->proof_ns = 0;
	if (sn_placement->move == NULL || sn_placement->query == NULL) {
		m->error = -ENOSYS;
		return;
	}
	sn_remap_hold();
	walk_all(m, move_unit, !m->guests_gone, sn_migrate_bytes(m->node));
	m->progress = NULL;
	m->guests_moving = atomic_load(&guests_moving);
	m->guests_begun = atomic_load(&guests_begun);
	if (m->unproven)
		m->left_pages =
			m->moved.busy + m->moved.shared + m->moved.no_room + m->moved.failed;
	if (m->error == 0 && !m->unproven) {
		uint64_t begin = sn_now_ns();

		walk_all(m, count_left, true, 0);
		m->proof_ns = sn_now_ns() - begin;
	}
	/* Nobody saw what was being given back; if it came back, it may not have moved. */
	sn_remap_release();
	sn_releases_await();
	if (m->left_pages == 0 && sn_releases_kept() != kept)
		m->left_pages = 1;
	m->progress = progress;
}

static void mark_displaced(struct sn_node *node, uint32_t displaced) SN_REQUIRES(&node->page_lock)
{
	node->displaced = displaced != 0;
	for (struct sn_segment *s = node->segments; s != NULL; s = s->info.next)
		sn_counter_set(s->info.displaced, displaced);
	for (struct sn_segment *s = node->cached_spans; s != NULL; s = s->info.next)
		sn_counter_set(s->info.displaced, displaced);
}

/* The lock decides between this and a batch that begins: it was counted before its mark, so either
 * this sees the count, or the mark comes later.  So no other offline and no fork finds the marks
 * gone that are needed. */
void sn_migrate_settled(const struct sn_migration *m)
{
	sn_lock_acquire(&m->node->page_lock, SN_RANK_PAGES);
	/* One that was under way may have moved a page away behind the look; the next will tell. */
	if (m->guests_moving == 0 && atomic_load(&guests_begun) == m->guests_begun)
		mark_displaced(m->node, 0);
	sn_lock_release(&m->node->page_lock, SN_RANK_PAGES);
}

void sn_migrate_unsettled(struct sn_node *node)
{
	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	mark_displaced(node, 1);
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
}

/* Batches that were under way end here without their second mark: what they moved may be part of
 * anything. */
void sn_migrate_fork_child(void)
{
	bool guests = atomic_exchange(&guests_moving, 0) != 0;

	sn_remap_fork_child();
	for_each_node(n) {
		atomic_store(&sn_nodes[n]->moves_in, 0);
		if (guests)
			sn_migrate_unsettled(sn_nodes[n]);
	}
}
