/*
 * test_memory.c - sizes, page runs, slabs and large blocks of one node, against models.
 */
#include "unit.h"

#include <sys/mman.h>

UNIT_TEST(class_tables)
{
	for (unsigned int c = 1; c <= SN_NR_CLASSES; c++) {
		CHECK(sn_class_size[c] > sn_class_size[c - 1]);
		CHECK_EQUAL(sn_class_size[c] % 16, 0);
	}
	CHECK_EQUAL(sn_class_size[SN_NR_CLASSES], SN_CLASS_MAX);
	for (size_t size = 0; size <= SN_CLASS_MAX; size++) {
		unsigned int c = sn_size_class(size);

		CHECK(c >= 1 && c <= SN_NR_CLASSES);
		CHECK(sn_class_size[c] >= size);
		/* The smallest that fits. */
		CHECK(c == 1 || sn_class_size[c - 1] < size);
	}
	sn_core_early();
	for (unsigned int c = 1; c <= SN_NR_CLASSES; c++) {
		const struct sn_cache *cache = &sn_caches[c];
		size_t bytes = (size_t)cache->slab_pages << SN_PAGE_SHIFT;

		CHECK_EQUAL(cache->size, sn_class_size[c]);
		CHECK((size_t)cache->slab_objects * cache->size <= bytes);
		CHECK(bytes - (size_t)cache->slab_objects * cache->size <= bytes / 8);
		CHECK(cache->slab_objects <= SN_BITS_PER_PAGE * 64 * cache->slab_pages);
		/* The division by multiplication is exact for every offset of the slab. */
		for (size_t offset = 0; offset < bytes; offset++)
			CHECK_EQUAL(offset * cache->reciprocal >> 40, offset / cache->size);
	}
}

/* --- runs --- */

#define RUNS 200

struct model_run {
	struct sn_page *run;
	size_t npages;
	uint64_t id;
};

static void model_check(const struct model_run *m)
{
	char *at = sn_page_address(m->run);

	CHECK_EQUAL(m->run->npages, m->npages);
	/* One word a page: its owner. */
	for (size_t i = 0; i < m->npages; i++)
		CHECK(unit_intact(at + (i << SN_PAGE_SHIFT), 64, m->id + i));
}

static void model_fill(const struct model_run *m, size_t from)
{
	char *at = sn_page_address(m->run);

	for (size_t i = from; i < m->npages; i++)
		unit_fill(at + (i << SN_PAGE_SHIFT), 64, m->id + i);
}

static void check_fresh(const struct model_run *m, size_t from)
{
	char *at = sn_page_address(m->run);

	for (size_t i = from; i < m->npages; i++)
		CHECK(unit_zero(at + (i << SN_PAGE_SHIFT), SN_PAGE_SIZE));
}

static void model_step(struct model_run *m, uint64_t *seed, uint64_t id)
{
	struct sn_node *node = sn_nodes[FIRST];
	bool zeroed = false;

	if (m->run == NULL) {
		size_t align = (size_t)1 << unit_random(seed) % 9 % 7;

		m->npages = 1 + unit_random(seed) % (unit_random(seed) % 8 == 0 ? 1500 : 40);
		m->run = sn_run_alloc(node, m->npages, align, &zeroed);
		CHECK(m->run != NULL);
		CHECK_EQUAL((uintptr_t)sn_page_address(m->run) % (align << SN_PAGE_SHIFT), 0);
		m->id = id << 20;
		if (zeroed)
			check_fresh(m, 0);
		model_fill(m, 0);
		return;
	}
	model_check(m);
	switch (unit_random(seed) % 4) {
	case 0: {
		size_t more = 1 + unit_random(seed) % 30, had = m->npages;

		if (!sn_run_extend(m->run, more, &zeroed))
			return;
		m->npages += more;
		if (zeroed)
			check_fresh(m, had);
		model_fill(m, had);
		return;
	}
	case 1:
		if (m->npages > 1) {
			m->npages -= 1 + unit_random(seed) % (m->npages - 1);
			sn_run_shrink(m->run, m->npages);
		}
		return;
	default:
		sn_run_free(m->run);
		m->run = NULL;
	}
}

UNIT_TEST(runs_against_a_model)
{
	static struct model_run runs[RUNS];
	struct sn_node *node;
	uint64_t seed = 99;

	unit_start(1);
	node = sn_nodes[FIRST];
	for (uint64_t step = 0; step < 40000; step++) {
		model_step(&runs[unit_random(&seed) % RUNS], &seed, step);
		if (step % 1000 == 0) {
			size_t used = 0;

			for (unsigned int i = 0; i < RUNS; i++)
				used += runs[i].run == NULL ? 0 : runs[i].npages;
			/* mapped: what is used, dirty, or a header. */
			CHECK(node->mapped_pages >= used + node->dirty.pages);
			CHECK_EQUAL((node->mapped_pages - used - node->dirty.pages) %
					    SN_HEADER_PAGES,
				    0);
			CHECK_EQUAL(unit_resident(FIRST), node->mapped_pages);
			if (step % 5000 == 0)
				sn_pages_purge(node, step % 10000 == 0 ? SN_ALL_PAGES : 100, NULL);
		}
	}
	for (unsigned int i = 0; i < RUNS; i++)
		if (runs[i].run != NULL) {
			model_check(&runs[i]);
			sn_run_free(runs[i].run);
		}
	sn_pages_purge(node, SN_ALL_PAGES, NULL);
	CHECK_EQUAL(node->dirty.pages, 0);
	CHECK_EQUAL(node->dirty.nonempty, 0);
	CHECK_EQUAL(node->mapped_pages % SN_HEADER_PAGES, 0);
}

UNIT_TEST(purged_pages_read_as_zero)
{
	struct sn_page *run;
	bool zeroed;
	size_t before;

	unit_start(1);
	run = sn_run_alloc(sn_nodes[FIRST], 500, 1, &zeroed);
	CHECK(zeroed);
	memset(sn_page_address(run), 0xff, 500 << SN_PAGE_SHIFT);
	sn_run_free(run);
	run = sn_run_alloc(sn_nodes[FIRST], 500, 1, &zeroed);
	CHECK(!zeroed); /* dirty ones are taken first */
	sn_run_free(run);
	before = unit_resident(FIRST);
	CHECK_EQUAL(sn_pages_purge(sn_nodes[FIRST], 100, NULL), 100 << SN_PAGE_SHIFT);
	CHECK_EQUAL(unit_resident(FIRST), before - 100);
	CHECK_EQUAL(sn_pages_purge(sn_nodes[FIRST], SN_ALL_PAGES, NULL), 400 << SN_PAGE_SHIFT);
	run = sn_run_alloc(sn_nodes[FIRST], 500, 1, &zeroed);
	CHECK(zeroed);
	CHECK(unit_zero(sn_page_address(run), 500 << SN_PAGE_SHIFT));
}

UNIT_TEST(calloc_is_zero)
{
	uint64_t seed = 5;

	unit_start(2);
	for (unsigned int i = 0; i < 3000; i++) {
		size_t size = 1 + unit_random(&seed) % (i % 100 == 0 ? 20 * MIB
							: i % 5 == 0 ? 200000
								     : 3000);
		unsigned char *p = sn_calloc(size);

		CHECK(p != NULL && unit_zero(p, size));
		memset(p, 0xee, size);
		sn_free(p);
	}
}

/* --- slabs --- */

static void free_twice(void *p)
{
	struct sn_page *slab = sn_slab_of(p);

	sn_slab_put(slab, &sn_caches[slab->cache], p);
	sn_slab_put(slab, &sn_caches[slab->cache], p);
}

static void free_it(void *p)
{
	sn_free(p);
	unit_quiesce();
}

static void size_it(void *p)
{
	sn_usable_size(p);
}

UNIT_TEST(wrong_frees_end_the_program)
{
	static int not_ours;
	char *object, *large, *span;

	unit_start(2);
	object = sn_malloc_node(100, FIRST);
	large = sn_malloc(50000);
	span = sn_malloc(20 * MIB);
	unit_dies(free_twice, object, "slabnode: double free: %p\n");
	unit_dies(free_it, object + 8,
		  "slabnode: free of a pointer into the middle of an object: %p\n");
	unit_dies(free_it, &not_ours,
		  "slabnode: free of a pointer that is not from this allocator: %p\n");
	unit_dies(free_it, large + 4096,
		  "slabnode: free of a pointer into the middle of a block: %p\n");
	unit_dies(free_it, large + 16,
		  "slabnode: free of a pointer into the middle of a block: %p\n");
	unit_dies(free_it, span + 16,
		  "slabnode: free of a pointer into the middle of a block: %p\n");
	unit_dies(free_it, span + 17 * MIB,
		  "slabnode: free of a pointer into the middle of a block: %p\n");
	unit_dies(free_it, (char *)sn_segment_of(large) + 4096,
		  "slabnode: free of a pointer into the allocator's own memory: %p\n");
	unit_dies(free_it, sn_nodes[FIRST]->cache_nodes,
		  "slabnode: free of a pointer into the allocator's own memory: %p\n");
	unit_dies(
		size_it, &not_ours,
		"slabnode: malloc_usable_size of a pointer that is not from this allocator: %p\n");
	unit_dies(size_it, large + 4096,
		  "slabnode: malloc_usable_size of a pointer into the middle of a block: %p\n");
	sn_free(large);
	sn_free(span);
	unit_dies(free_it, large, "slabnode: double free: %p\n");
	unit_dies(free_it, span, "slabnode: double free: %p\n");
	unit_dies(size_it, large, "slabnode: malloc_usable_size of freed memory: %p\n");
}

UNIT_TEST(slab_hands_out_each_object_once)
{
	unit_start(1);
	for (unsigned int c = 1; c <= SN_NR_CLASSES; c++) {
		const struct sn_cache *cache = &sn_caches[c];
		struct sn_page *slab = sn_slab_build(sn_nodes[FIRST], cache);
		void *objects[1100];
		unsigned int n = 0, got;
		uint64_t seed = c;

		CHECK(slab != NULL && cache->slab_objects <= 1100);
		while ((got = sn_slab_take(slab, cache, objects + n, 1 + unit_random(&seed) % 9)) >
		       0)
			n += got;
		CHECK_EQUAL(n, cache->slab_objects);
		CHECK_EQUAL(slab->nr_free, 0);
		for (unsigned int i = 0; i < n; i++) {
			CHECK(sn_slab_of(objects[i]) == slab);
			CHECK(sn_slab_of((char *)objects[i] + cache->size - 1) == slab);
			CHECK_EQUAL((char *)objects[i] - sn_page_address(slab), i * cache->size);
		}
		for (unsigned int i = n; i > 1; i--) { /* back in another order */
			unsigned int k = (unsigned int)(unit_random(&seed) % i);
			void *swap = objects[k];

			objects[k] = objects[i - 1];
			objects[i - 1] = swap;
		}
		for (unsigned int i = 0; i < n; i++) {
			sn_slab_put(slab, cache, objects[i]);
			CHECK_EQUAL(slab->nr_free, i + 1);
			if (i % 3 == 0) { /* the lowest free one comes again */
				CHECK_EQUAL(sn_slab_take(slab, cache, &objects[i], 1), 1);
				sn_slab_put(slab, cache, objects[i]);
			}
		}
		sn_slab_destroy(slab);
	}
}

/* --- large blocks --- */

UNIT_TEST(large_alignment)
{
	static const size_t sizes[] = {1, 100, 5000, 40000, 3 * MIB, 9 * MIB, 40 * MIB};

	unit_start(2);
	for (size_t align = 16; align <= GIB; align *= 2)
		for (size_t i = 0; i < SN_ARRAY_SIZE(sizes); i++) {
			char *p = sn_memalign(align, sizes[i]);

			CHECK(p != NULL);
			CHECK_EQUAL((uintptr_t)p % align, 0);
			CHECK(sn_usable_size(p) >= sizes[i]);
			p[0] = p[sizes[i] - 1] = 1;
			CHECK(sn_home_of(p + sizes[i] - 1) == FIRST);
			sn_free(p);
		}
	CHECK_EQUAL(sn_nodes[FIRST]->large_blocks, 0);
	CHECK_EQUAL(sn_nodes[FIRST]->large_pages, 0);
	CHECK(sn_memalign((size_t)1 << 62, 1) == NULL);
	CHECK(sn_malloc(PTRDIFF_MAX) == NULL);
	CHECK(sn_malloc(SIZE_MAX) == NULL);
}

UNIT_TEST(realloc_keeps_contents)
{
	static const size_t sizes[] = {1,	16,	 17,	   100,	     1000,     4000,
				       32768,	32769,	 40000,	   100000,   MIB,      5 * MIB,
				       8 * MIB, 9 * MIB, 16 * MIB, 17 * MIB, 40 * MIB, 100 * MIB};

	unit_start(2);
	for (size_t i = 0; i < SN_ARRAY_SIZE(sizes); i++)
		for (size_t k = 0; k < SN_ARRAY_SIZE(sizes); k++) {
			size_t keep = sn_min(sizes[i], sizes[k]) & ~(size_t)7;
			char *p = sn_malloc(sizes[i]), *q;

			CHECK(p != NULL);
			unit_fill(p, sizes[i], i);
			q = sn_realloc(p, sizes[k]);
			CHECK(q != NULL);
			CHECK(unit_intact(q, keep, i));
			CHECK(sn_usable_size(q) >= sizes[k]);
			q[sizes[k] - 1] = 1;
			sn_free(q);
		}
	CHECK_EQUAL(sn_nodes[FIRST]->large_blocks, 0);
	CHECK_EQUAL(sn_nodes[FIRST]->large_pages, 0);
}

UNIT_TEST(spans_grow_and_shrink)
{
	uint64_t seed = 3;
	size_t size = 10 * MIB;
	char *p, *other[8] = {NULL};

	unit_start(1);
	p = sn_malloc(size);
	unit_fill(p, size, 1);
	for (unsigned int i = 0; i < 300; i++) {
		size_t next = 8 * MIB + unit_random(&seed) % (60 * MIB);
		size_t keep = sn_min(size, next) & ~(size_t)7;

		p = sn_realloc(p, next);
		CHECK(p != NULL && unit_intact(p, sn_min(keep, 64 * MIB), 1));
		size = next;
		unit_fill(p, size, 1);
		CHECK_EQUAL(sn_nodes[FIRST]->large_pages,
			    sn_pages_for(sn_usable_size(p)) +
				    (sn_nodes[FIRST]->large_blocks - 1) * sn_pages_for(9 * MIB));
		/* Neighbours, so that it cannot always grow where it is. */
		sn_free(other[i % 8]);
		other[i % 8] = i % 3 == 0 ? NULL : sn_malloc(9 * MIB);
		if (other[i % 8] != NULL)
			memset(other[i % 8], 7, 9 * MIB / 64);
	}
	for (unsigned int i = 0; i < 8; i++)
		sn_free(other[i]);
	sn_free(p);
	unit_quiesce();
	CHECK_EQUAL(sn_nodes[FIRST]->large_pages, 0);
	CHECK_EQUAL(sn_nodes[FIRST]->cached_span_pages, 0);
	CHECK_EQUAL(unit_resident(FIRST), sn_nodes[FIRST]->mapped_pages);
}

/* A failed population leaves everything as it was. */
UNIT_TEST(populate_failures)
{
	unit_start(2);
	for (int at = 1; at < 60; at++) {
		void *p[40];

		machine.fail_populate = at;
		for (unsigned int i = 0; i < 40; i++)
			p[i] = sn_malloc_node(i % 2 ? 30000 * i + 1 : 9 * MIB, FIRST);
		for (unsigned int i = 0; i < 40; i++)
			if (p[i] != NULL)
				sn_free(p[i]);
		machine.fail_populate = 0;
		unit_quiesce();
		CHECK_EQUAL(unit_out(FIRST), 0);
		CHECK_EQUAL(sn_nodes[FIRST]->large_blocks, 0);
		CHECK_EQUAL(sn_nodes[FIRST]->mapped_pages, unit_resident(FIRST));
	}
	CHECK_EQUAL(unit_offline(FIRST + 1, SN_STRICT, -1, NULL), 0);
}

/* Pages of a stretch that have memory. */
static size_t pages_present(char *from, size_t len)
{
	unsigned char present[4096];
	size_t n = 0;

	CHECK(len >> SN_PAGE_SHIFT <= sizeof(present));
	CHECK(mincore(from, len, present) == 0);
	for (size_t i = 0; i < len >> SN_PAGE_SHIFT; i++)
		n += present[i] & 1;
	return n;
}

/* What was cut off a span stays empty, though a huge page at the block's end would reach there. */
UNIT_TEST(no_pages_behind_a_block)
{
	const size_t whole = 20 * MIB, shrunk = 9 * MIB + SN_PAGE_SIZE;
	char *p;

	unit_start(1);
	for (size_t len = 8 * MIB; len < 16 * MIB; len += 3 * MIB / 4) {
		p = sn_malloc(
			whole); /* untouched: nothing is there that a huge page could not replace */
		sn_free(p);
		CHECK(sn_malloc(len) == p); /* the cached span; what is behind it is spare */
		unit_quiesce();
		memset(p, 1, len);
		CHECK_EQUAL(pages_present(p + len, whole - len), 0);
		sn_free(p);
		unit_quiesce();
	}
	p = sn_malloc(whole);
	CHECK(sn_realloc(p, shrunk) == p);
	memset(p, 1, shrunk);
	CHECK_EQUAL(pages_present(p + shrunk, whole - shrunk), 0);
}

UNIT_TEST(cached_spans_make_way_for_small)
{
	size_t got = 0;

	unit_start(2);
	machine.capacity[FIRST] = 64 * MIB;
	sn_free(sn_malloc_node(30 * MIB, FIRST));
	while (sn_malloc_node(2000, FIRST) != NULL)
		got += 2048;
	CHECK_EQUAL(errno, ENOMEM);
	CHECK(got > 55 * MIB);
}

/* A step is compared with a clock that has gone on by so much. */
static size_t batch_after(struct sn_pace *pace, uint64_t ns)
{
	sn_pace_end(pace, sn_now_ns() - ns);
	return pace->batch;
}

UNIT_TEST(pace_keeps_to_what_is_wanted)
{
	struct sn_pace pace = sn_pace_start(1000000000);

	CHECK_EQUAL(sn_pace_pages(&pace, 10000), SN_PACE_MOST);
	CHECK_EQUAL(sn_pace_pages(&pace, 10), 10);
	CHECK_EQUAL(sn_pace_pages(NULL, 10000), 10000);
	CHECK_EQUAL(batch_after(&pace, 2000000000), SN_PACE_MOST / 2);
	CHECK(pace.longest_ns >= 2000000000);
	CHECK_EQUAL(batch_after(&pace, 500000000), SN_PACE_MOST / 2); /* neither long nor short */
	CHECK_EQUAL(batch_after(&pace, 0), SN_PACE_MOST);
	CHECK_EQUAL(batch_after(&pace, 0), SN_PACE_MOST);
	for (int i = 0; i < 20; i++)
		batch_after(&pace, 2000000000);
	CHECK_EQUAL(pace.batch, SN_PACE_LEAST);
}

UNIT_TEST(purge_at_a_pace)
{
	struct sn_pace pace = sn_pace_start(0); /* whatever it does is too long */
	struct sn_node *node;
	bool zeroed;

	unit_start(1);
	node = sn_nodes[FIRST];
	sn_run_free(sn_run_alloc(node, 1900, 1, &zeroed));
	sn_free(sn_malloc_node(20 * MIB, FIRST));
	CHECK_EQUAL(node->dirty.pages, 1900);
	CHECK_EQUAL(sn_pages_purge(node, 1000, &pace), 1000 << SN_PAGE_SHIFT);
	CHECK_EQUAL(node->dirty.pages, 900);
	CHECK_EQUAL(pace.batch, SN_PACE_LEAST);
	CHECK(pace.longest_ns > 0);
	CHECK(sn_spans_purge(node, SN_ALL_PAGES, &pace) >= 20 * MIB);
	CHECK_EQUAL(sn_pages_purge(node, SN_ALL_PAGES, &pace), 900 << SN_PAGE_SHIFT);
	CHECK_EQUAL(sn_segments_trim(node, &pace), SN_SEG_SIZE);
	CHECK_EQUAL(unit_resident(FIRST), 0);
	CHECK_EQUAL(node->mapped_pages, 0);
	sn_free(sn_malloc_node(5 * MIB, FIRST)); /* and all of it can be used again */
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(class_tables),
		cmocka_unit_test(runs_against_a_model),
		cmocka_unit_test(purged_pages_read_as_zero),
		cmocka_unit_test(calloc_is_zero),
		cmocka_unit_test(wrong_frees_end_the_program),
		cmocka_unit_test(slab_hands_out_each_object_once),
		cmocka_unit_test(large_alignment),
		cmocka_unit_test(realloc_keeps_contents),
		cmocka_unit_test(spans_grow_and_shrink),
		cmocka_unit_test(populate_failures),
		cmocka_unit_test(no_pages_behind_a_block),
		cmocka_unit_test(cached_spans_make_way_for_small),
		cmocka_unit_test(pace_keeps_to_what_is_wanted),
		cmocka_unit_test(purge_at_a_pace),
	};

	unit_arguments(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
