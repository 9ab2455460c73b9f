/*
 * test_spans.c - long blocks, and the pages that their spans keep for each other.
 */
#include "unit.h"

#include "reap.h"
#include "remap.h"
#include "spare.h"

#include <string.h>
#include <sys/mman.h>

#define NODE (FIRST + 1)
#define MIB  ((size_t)1 << 20)

static const struct sn_segment *span_of(const void *p)
{
	return sn_span_of(p);
}

static size_t spare_of(const void *p)
{
	return span_of(p)->info.spare_pages;
}

/* A block that took the cached span of a longer one. */
static char *block_with_spare(size_t size, size_t room, uint64_t id)
{
	char *p;

	sn_free(sn_malloc(room));
	p = sn_malloc(size);
	unit_fill(p, size, id);
	return p;
}

/* Nobody would give back what lies there. */
static void check_behind(struct sn_segment *span)
{
	static unsigned char present[64 * SN_SEG_PAGES];
	size_t first = span->info.block_first + span->info.room_pages;
	size_t npages = span->info.nr_segments * SN_SEG_PAGES - first;

	CHECK(npages <= SN_ARRAY_SIZE(present));
	if (mincore((char *)span + (first << SN_PAGE_SHIFT), npages << SN_PAGE_SHIFT, present) !=
	    0) {
		CHECK_EQUAL(errno, ENOMEM); /* nothing is mapped, as qemu says of closed pages */
		return;
	}
	for (size_t i = 0; i < npages; i++)
		CHECK_EQUAL(present[i] & 1, 0);
}

/* What a node says that it keeps is what its spans have. */
static void check_node(unsigned int index)
{
	struct sn_node *node = sn_nodes[index];
	size_t cached = 0, spare = 0, listed = 0;

	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	for (struct sn_segment *s = node->cached_spans; s != NULL; s = s->info.next) {
		CHECK_EQUAL(s->info.block_pages, 0);
		CHECK_EQUAL(s->info.spare_pages, 0);
		check_behind(s);
		cached += s->info.room_pages;
	}
	for (struct sn_segment *s = node->segments; s != NULL; s = s->info.next)
		if (s->info.is_span) {
			CHECK(s->info.room_pages >= s->info.block_pages + s->info.spare_pages);
			check_behind(s);
			spare += s->info.spare_pages;
		}
	for (struct sn_segment *s = node->spares; s != NULL; s = s->info.next_spare) {
		CHECK(s->info.spare_pages > 0);
		CHECK_EQUAL(s->info.room_pages, s->info.block_pages + s->info.spare_pages);
		listed += s->info.spare_pages;
	}
	CHECK_EQUAL(spare, listed);
	CHECK_EQUAL(node->cached_span_pages, cached + listed);
	CHECK(node->span_low <= node->cached_span_pages);
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
}

/* Wherever they are. */
static void check_ledger(void)
{
	size_t mapped = 0, resident = 0;

	for_each_node(n) {
		check_node(n);
		mapped += sn_nodes[n]->mapped_pages;
		resident += unit_resident(n);
	}
	CHECK_EQUAL(mapped, resident);
}

UNIT_TEST(pages_go_to_the_next_block)
{
	char *p, *q;

	unit_start(1);
	p = block_with_spare(9 * MIB, 20 * MIB, 1);
	CHECK_EQUAL(spare_of(p), 11 * MIB >> SN_PAGE_SHIFT);
	check_ledger();
	q = sn_malloc(9 * MIB);
	CHECK(span_of(q)->info.split);
	CHECK(spare_of(p) < 4 * SN_CHUNK_PAGES);
	unit_fill(q, 9 * MIB, 2);
	check_ledger();
	CHECK(unit_intact(p, 9 * MIB, 1));
	CHECK(unit_intact(q, 9 * MIB, 2));
	sn_free(p);
	CHECK(unit_intact(q, 9 * MIB, 2));
	sn_free(q);
	check_ledger();
	unit_quiesce();
	CHECK_EQUAL(sn_nodes[FIRST]->cached_span_pages, 0);
	check_ledger();
}

/* A huge page of a block's end does not reach where others took pages away. */
UNIT_TEST(no_pages_behind_what_was_taken)
{
	char *p, *q;

	unit_start(1);
	p = block_with_spare(9 * MIB, 20 * MIB, 1);
	q = sn_malloc(9 * MIB);
	CHECK(span_of(q)->info.split);
	unit_quiesce();
	for (size_t size = 9 * MIB + MIB / 2; size < 20 * MIB; size += MIB / 2) {
		CHECK(sn_realloc(p, size) == p);
		unit_fill(p, size, 2);
		check_ledger();
	}
	sn_free(q);
}

UNIT_TEST(blocks_of_zeroes_take_none)
{
	char *p, *q;

	unit_start(1);
	p = block_with_spare(9 * MIB, 20 * MIB, 1);
	q = sn_calloc(9 * MIB);
	CHECK(!span_of(q)->info.split);
	CHECK(unit_zero(q, 9 * MIB));
	sn_free(q);
	q = sn_malloc(12 * MIB); /* with pages of p */
	memset(q, 1, 12 * MIB);
	sn_free(q);
	q = sn_calloc(12 * MIB);
	CHECK(unit_zero(q, 12 * MIB));
	CHECK(unit_intact(p, 9 * MIB, 1));
	check_ledger();
}

UNIT_TEST(growth_takes_what_is_spare)
{
	char *p;

	unit_start(1);
	p = block_with_spare(9 * MIB, 20 * MIB, 1);
	CHECK(sn_realloc(p, 12 * MIB) == p);
	CHECK_EQUAL(spare_of(p), 8 * MIB >> SN_PAGE_SHIFT);
	check_ledger();
	CHECK(sn_realloc(p, 20 * MIB) == p);
	CHECK_EQUAL(spare_of(p), 0);
	CHECK(sn_realloc(p, 25 * MIB) == p);
	CHECK(sn_realloc(p, 10 * MIB) == p);
	CHECK_EQUAL(spare_of(p), 0);
	check_ledger();
	CHECK(unit_intact(p, 9 * MIB, 1));
}

/* A free span that is too much keeps a part. */
UNIT_TEST(no_more_is_kept_than_may_be)
{
	char *p[8];

	unit_start(1);
	for (unsigned int i = 0; i < SN_ARRAY_SIZE(p); i++)
		p[i] = sn_malloc(10 * MIB);
	for (unsigned int i = 0; i < SN_ARRAY_SIZE(p); i++) {
		sn_free(p[i]);
		check_ledger();
		CHECK(sn_nodes[FIRST]->cached_span_pages <= 24 * MIB >> SN_PAGE_SHIFT);
	}
	CHECK(sn_nodes[FIRST]->cached_span_pages > 22 * MIB >> SN_PAGE_SHIFT);
	p[0] = sn_malloc(40 * MIB); /* of all of them, but for what is before the first chunk */
	CHECK(sn_nodes[FIRST]->cached_span_pages < 6 * MIB >> SN_PAGE_SHIFT);
	check_ledger();
}

UNIT_TEST(nothing_moves_behind_a_migration)
{
	char *p, *q;

	unit_start(1);
	p = block_with_spare(9 * MIB, 20 * MIB, 1);
	sn_remap_hold();
	q = sn_malloc(9 * MIB);
	CHECK(!span_of(q)->info.split);
	CHECK_EQUAL(spare_of(p), 11 * MIB >> SN_PAGE_SHIFT);
	sn_remap_release();
	sn_free(q);
	unit_quiesce();
	CHECK_EQUAL(spare_of(p), 0);
	CHECK(unit_intact(p, 9 * MIB, 1));
}

static int refuse(enum sn_fault_point point)
{
	return point == SN_FAULT_MREMAP ? -ENOMEM : 0;
}

UNIT_TEST(pages_that_cannot_move_stay)
{
	char *p, *q;

	unit_start(1);
	p = block_with_spare(9 * MIB, 20 * MIB, 1);
	sn_fault_hook = refuse;
	q = sn_malloc(9 * MIB);
	sn_fault_hook = NULL;
	CHECK(!span_of(q)->info.split);
	unit_fill(q, 9 * MIB, 2);
	CHECK(unit_intact(p, 9 * MIB, 1));
	CHECK(unit_intact(q, 9 * MIB, 2));
	check_ledger();
}

/* What a drain gives back a plan knows, and an offline takes along. */
UNIT_TEST(spare_pages_are_no_load)
{
	struct sn_lifecycle_result result;
	struct sn_plan plan;
	char *p;

	unit_start(2);
	unit_cpu_node(NODE);
	p = block_with_spare(9 * MIB, 20 * MIB, 1);
	CHECK_EQUAL(sn_plan(NODE, &plan), 0);
	CHECK(plan.released_bytes >= 11 * MIB);
	CHECK(plan.to_move_bytes < 10 * MIB);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, &result), 0);
	CHECK_EQUAL(plan.released_bytes, result.released_bytes);
	CHECK_EQUAL(plan.to_move_bytes, result.migrated_bytes);
	CHECK_EQUAL(unit_resident(NODE), 0);
	CHECK(unit_intact(p, 9 * MIB, 1));
	CHECK_EQUAL(unit_online(NODE), 0);
	CHECK(unit_intact(p, 9 * MIB, 1));
}

struct block {
	char *p;
	size_t size;
	uint64_t id;
};

static void check_block(const struct block *b)
{
	CHECK(b->p == NULL || unit_intact(b->p, b->size, b->id));
}

static void change(struct block *b, uint64_t *seed, uint64_t id)
{
	size_t size = (3 * MIB + unit_random(seed) % (14 * MIB)) & ~(size_t)7;
	size_t keep = sn_min(size, b->size);

	check_block(b);
	if (unit_random(seed) % 3 == 0 && b->p != NULL) {
		b->p = sn_realloc(b->p, size);
		CHECK(b->p != NULL && unit_intact(b->p, keep, b->id));
	} else {
		sn_free(b->p);
		b->p = unit_random(seed) % 4 == 0 ? sn_calloc(size) : sn_malloc(size);
		CHECK(b->p != NULL);
	}
	*b = (struct block){b->p, size, id};
	unit_fill(b->p, size, id);
}

UNIT_TEST(blocks_of_all_lengths)
{
	struct block b[12] = {0};
	uint64_t seed = 11;

	unit_start(2);
	for (unsigned int i = 0; i < 200; i++) {
		change(&b[unit_random(&seed) % SN_ARRAY_SIZE(b)], &seed, i);
		check_ledger();
		if (i % 25 == 24)
			sn_reap();
		if (i % 50 == 49) {
			CHECK_EQUAL(unit_offline(FIRST, SN_MIGRATE, -1, NULL), 0);
			CHECK_EQUAL(unit_online(FIRST), 0);
		}
	}
	for (unsigned int i = 0; i < SN_ARRAY_SIZE(b); i++) {
		check_block(&b[i]);
		sn_free(b[i].p);
	}
	unit_quiesce();
	CHECK_EQUAL(sn_nodes[FIRST]->cached_span_pages, 0);
	CHECK_EQUAL(sn_nodes[FIRST]->large_pages, 0);
	check_ledger();
}

static _Atomic bool busy;

static void *change_all_the_time(void *arg)
{
	uint64_t seed = (uintptr_t)arg;
	struct block b[4] = {0};

	unit_cpu_node(FIRST);
	for (uint64_t i = seed << 32; atomic_load(&busy); i++)
		change(&b[unit_random(&seed) % SN_ARRAY_SIZE(b)], &seed, i);
	for (unsigned int i = 0; i < SN_ARRAY_SIZE(b); i++) {
		check_block(&b[i]);
		sn_free(b[i].p);
	}
	return NULL;
}

/* Spans give and take from each other while nodes come and go. */
UNIT_TEST(threads_and_offlines)
{
	pthread_t thread[3];

	unit_start(3);
	atomic_store(&busy, true);
	for (uintptr_t i = 0; i < SN_ARRAY_SIZE(thread); i++)
		thread[i] = unit_thread(change_all_the_time, (void *)(i + 1));
	for (uint64_t end = sn_now_ns() + 2000000000u; sn_now_ns() < end;) {
		unsigned int node = FIRST + (unsigned int)(sn_now_ns() >> 10) % 2;

		if (unit_offline(node, SN_MIGRATE, -1, NULL) == 0) {
			CHECK_EQUAL(unit_resident(node), 0);
			CHECK_EQUAL(unit_online(node), 0);
		}
		sn_reap();
	}
	atomic_store(&busy, false);
	for (unsigned int i = 0; i < SN_ARRAY_SIZE(thread); i++)
		unit_join(thread[i]);
	unit_quiesce();
	check_ledger();
	for_each_node(n)
		CHECK_EQUAL(sn_nodes[n]->cached_span_pages, 0);
}

static const struct sn_placement *machine_placement;
static void *freed_again;

/* In the midst of a release, as another thread may come. */
static void depopulate_and_free(void *addr, size_t len, unsigned int node)
{
	if (addr == freed_again)
		sn_free(addr);
	machine_placement->depopulate(addr, len, node);
}

static void free_while_given_back(void *p)
{
	static struct sn_placement placement;

	machine_placement = sn_placement;
	placement = *sn_placement;
	placement.depopulate = depopulate_and_free;
	sn_placement = &placement;
	freed_again = p;
	sn_free(p);
	unit_quiesce();
}

static void *free_block(void *p)
{
	sn_free(p);
	return NULL;
}

/* One thread has found the span and waits for the lock, while another closes the header. */
static void free_before_closed(void *p)
{
	struct sn_segment *span = sn_span_of(p);
	struct sn_node *node = sn_node_of_segment(span);
	pthread_t thread;

	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	CHECK(pthread_create(&thread, NULL, free_block, p) == 0);
	usleep(200000);
	sn_segments_hide(node, span, span->info.nr_segments, true);
	sn_segments_remember(node, p, SN_SEG_BLOCK_GOING);
	CHECK(mprotect(span, SN_HEADER_PAGES << SN_PAGE_SHIFT, PROT_NONE) == 0);
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	pthread_join(thread, NULL);
}

UNIT_TEST(second_free_during_the_first)
{
	void *blocks[2];

	unit_start(1);
	blocks[0] = sn_malloc(9 * MIB);
	blocks[1] = sn_memalign(64 * MIB, 20 * MIB); /* in another segment than its header */
	for (size_t i = 0; i < SN_ARRAY_SIZE(blocks); i++) {
		unit_dies(free_while_given_back, blocks[i], "slabnode: double free: %p\n");
		unit_dies(free_before_closed, blocks[i], "slabnode: double free: %p\n");
		sn_free(blocks[i]);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pages_go_to_the_next_block),
		cmocka_unit_test(no_pages_behind_what_was_taken),
		cmocka_unit_test(blocks_of_zeroes_take_none),
		cmocka_unit_test(growth_takes_what_is_spare),
		cmocka_unit_test(no_more_is_kept_than_may_be),
		cmocka_unit_test(nothing_moves_behind_a_migration),
		cmocka_unit_test(pages_that_cannot_move_stay),
		cmocka_unit_test(spare_pages_are_no_load),
		cmocka_unit_test(blocks_of_all_lengths),
		cmocka_unit_test(threads_and_offlines),
		cmocka_unit_test(second_free_during_the_first),
	};

	unit_arguments(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
