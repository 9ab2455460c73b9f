/*
 * test_movable.c - objects that are asked to leave: a leaving node, sparse slabs, and every answer.
 */
#include "things.h"

#include "hardened.h"
#include "notifier.h"
#include "table.h"

#define ROUNDS 6 /* that movable.c asks */

/* --- registering ------------------------------------------------------------------------------ */

UNIT_TEST(bounds)
{
	int plain;

	start(2);
	plain = sn_cache_create("plain", 64, 0, NULL);
	CHECK_EQUAL(sn_movable_set(0, get, reclaim, NULL), -EINVAL);
	CHECK_EQUAL(sn_movable_set(1, get, reclaim, NULL), -EINVAL); /* malloc's */
	CHECK_EQUAL(sn_movable_set((unsigned int)plain, get, reclaim, NULL), -EINVAL);
	CHECK_EQUAL(sn_movable_set(sn_cache_end, get, reclaim, NULL), -EINVAL);
	CHECK_EQUAL(sn_movable_set(things, get, NULL, &how), -EINVAL);
	CHECK_EQUAL(sn_movable_set(things, NULL, reclaim, &how), -EINVAL);
	fill(0, THINGS, NODE);
	CHECK_EQUAL(sn_movable_set(things, NULL, NULL, NULL), 0);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
	CHECK_EQUAL(how.gets, 0); /* taken back */
	check_rest();
}

static unsigned int other_gets;

static void *other_get(struct slabnode_cache *cache, unsigned int count, void **objects, void *data)
{
	(void)cache, (void)count, (void)objects, (void)data;
	other_gets++;
	return NULL;
}

UNIT_TEST(an_index_is_used_again)
{
	unsigned int before;
	int index;

	start(2);
	fill(0, 100, NODE);
	CHECK_EQUAL(sn_cache_destroy(things), -EBUSY); /* and is as before: movable */
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
	CHECK_EQUAL(how.moved, 100);
	for (uint32_t i = 0; i < 100; i++)
		drop_now(i);
	CHECK_EQUAL(unit_online(NODE), 0);
	CHECK_EQUAL(sn_cache_destroy(things), 0);
	before = how.gets;
	index = sn_cache_create("others", 2048, 0, construct);
	CHECK_EQUAL(index, things);
	for (unsigned int i = 0; i < 100; i++)
		CHECK(sn_alloc_cache_node(things, NODE) != NULL);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
	CHECK_EQUAL(how.gets, before);
	CHECK_EQUAL(sn_movable_set(things, other_get, reclaim, NULL), 0);
	CHECK_EQUAL(unit_online(NODE), 0);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
	CHECK(other_gets > 0);
}

/* --- a leaving node --------------------------------------------------------------------------- */

UNIT_TEST(migrate_of_movable_objects_alone)
{
	struct sn_lifecycle_result result;
	struct sn_plan plan;

	start(2);
	fill(0, THINGS, NODE);
	CHECK_EQUAL(sn_plan(NODE, &plan), 0);
	CHECK_EQUAL(plan.evict_objects, THINGS);
	CHECK_EQUAL(plan.evict_bytes, THINGS * SIZE);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, &result), 0);
	CHECK_EQUAL(result.evicted_objects, THINGS);
	CHECK_EQUAL(how.moved, THINGS);
	CHECK_EQUAL(sn_drain_live(sn_nodes[NODE]), 0);
	CHECK_EQUAL(slabs_on(NODE), 0);
	CHECK_EQUAL(things_on(FIRST), THINGS);
	CHECK_EQUAL(unit_resident(NODE), 0);
	CHECK_EQUAL(unit_online(NODE), 0);
	check_rest();
}

UNIT_TEST(other_policies_do_not_ask)
{
	start(2);
	fill(0, 10, NODE);
	CHECK_EQUAL(unit_offline(NODE, SN_STRICT, -1, NULL), -EBUSY);
	CHECK_EQUAL(unit_offline(NODE, SN_WAIT, 10, NULL), -ETIMEDOUT);
	CHECK_EQUAL(how.gets, 0);
	check_rest();
}

UNIT_TEST(migrate_mixed)
{
	struct sn_lifecycle_result result;
	void *fixed[500];

	start(3);
	fill(0, THINGS, NODE);
	for (unsigned int i = 0; i < 500; i++) {
		fixed[i] = sn_malloc_node(200, NODE);
		unit_fill(fixed[i], 200, i);
	}
	how.scribble = true; /* the library does not take get's word for where objects are */
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, &result), 0);
	CHECK_EQUAL(result.evicted_objects, THINGS);
	CHECK(result.migrated_bytes >= (500 * 200u >> SN_PAGE_SHIFT << SN_PAGE_SHIFT));
	CHECK_EQUAL(unit_resident(NODE), 0);
	for (unsigned int i = 0; i < 500; i++) {
		CHECK(unit_intact(fixed[i], 200, i));
		CHECK_EQUAL(sn_home_of(fixed[i]), NODE);
		sn_free(fixed[i]);
	}
	check_rest();
}

static enum slabnode_answer by_entry(uint32_t entry, bool *lie)
{
	static const enum slabnode_answer answers[] = {SLABNODE_MOVED, SLABNODE_WILL_NOT,
						       SLABNODE_LATER, SLABNODE_GONE,
						       SLABNODE_MOVED, (enum slabnode_answer)99};

	*lie = entry % 6 == 4; /* says so, and is still there */
	return answers[entry % 6];
}

UNIT_TEST(all_answers)
{
	static const unsigned int times[] = {1, 1, ROUNDS, 1, 1, 1};
	struct sn_lifecycle_result result;

	start(2);
	fill(0, 3000, NODE);
	how.plan = by_entry;
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, &result), 0);
	CHECK_EQUAL(result.evicted_objects, 1000);
	CHECK_EQUAL(how.moved, 500);
	CHECK_EQUAL(how.gone, 500);
	for (uint32_t i = 0; i < 3000; i++) {
		CHECK_EQUAL(directory[i].asked, times[i % 6]);
		CHECK((directory[i].thing == NULL) == (i % 6 == 3));
	}
	CHECK_EQUAL(things_on(NODE), 2000); /* with their pages they have moved all the same */
	CHECK_EQUAL(unit_resident(NODE), 0);
	check_rest();
}

static enum slabnode_answer always_later(uint32_t entry, bool *lie)
{
	(void)entry, (void)lie;
	return SLABNODE_LATER;
}

static enum slabnode_answer never(uint32_t entry, bool *lie)
{
	(void)entry, (void)lie;
	return SLABNODE_WILL_NOT;
}

/* Neither holds the node up, nor the objects of another cache. */
UNIT_TEST(declining_for_ever)
{
	struct sn_lifecycle_result result;

	start(2);
	fill(0, THINGS, NODE);
	for (int round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < THINGS; i++)
			directory[i].asked = 0;
		how.plan = round == 0 ? always_later : never;
		how.decline = round == 1;
		how.reclaims = 0;
		CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, &result), 0);
		CHECK(result.elapsed_ms < 10000); /* on a busy machine */
		CHECK_EQUAL(result.evicted_objects, 0);
		CHECK_EQUAL(how.reclaims == 0, round == 1);
		/* More than can be remembered: nobody is asked twice rather than for ever. */
		for (uint32_t i = 0; i < THINGS; i++)
			CHECK_EQUAL(directory[i].asked, round == 2 ? 1 : ROUNDS);
		CHECK_EQUAL(unit_resident(NODE), 0);
		CHECK_EQUAL(unit_online(NODE), 0);
	}
	check_rest();
}

UNIT_TEST(several_nodes)
{
	unsigned int nodes[] = {NODE, FIRST + 2};
	struct sn_offline_request request = {.policy = SN_MIGRATE, .timeout_ms = -1};
	struct sn_lifecycle_result result[2];

	start(4);
	fill(0, 1000, NODE);
	fill(1000, 3000, FIRST + 2);
	sn_mask_add(&request.to, FIRST + 3);
	CHECK_EQUAL(sn_offline(nodes, 2, &request, result), 0);
	CHECK_EQUAL(result[0].evicted_objects, 1000);
	CHECK_EQUAL(result[1].evicted_objects, 2000);
	CHECK_EQUAL(things_on(FIRST + 3), 3000);
	check_rest();
}

UNIT_TEST(rollback_after_eviction)
{
	struct sn_lifecycle_result result;
	void *fixed;

	start(2);
	fill(0, THINGS, NODE);
	fixed = sn_malloc_node(5000, NODE);
	machine.pages_busy = true;
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, 2000, &result), -ETIMEDOUT);
	CHECK_EQUAL(result.evicted_objects, THINGS);
	CHECK_EQUAL(unit_state(NODE), SN_ONLINE);
	CHECK_EQUAL(things_on(FIRST), THINGS);
	CHECK(sn_alloc_cache_node(things, NODE) != NULL);
	machine.pages_busy = false;
	sn_free(fixed);
	CHECK_EQUAL(check_all(), THINGS);
}

UNIT_TEST(hardened)
{
	struct sn_lifecycle_result result;

	start(2);
	sn_hardened_start(2, 1);
	fill(0, THINGS, NODE);
	thin_out(5);
	CHECK(drain_now(NODE).evicted_objects > 0);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, &result), 0);
	CHECK_EQUAL(result.evicted_objects, THINGS / 5);
	check_rest();
}

/* --- what callbacks may do ----------------------------------------------------------------------
 */

static void use_the_library(const struct slabnode_reclaim *request)
{
	struct sn_lifecycle_result result;
	struct sn_drain_result drained;
	void *p = sn_malloc(300), *q = sn_malloc(1 << 20);
	int index;

	CHECK(p != NULL && q != NULL);
	CHECK((int)sn_home_of(p) - (int)FIRST != request->from || unit_state(NODE) == SN_ONLINE);
	sn_free(p);
	sn_free(q);
	index = sn_cache_create("inside", 80, 0, NULL);
	CHECK(index > 0);
	p = sn_alloc_cache((unsigned int)index);
	sn_free(p);
	CHECK_EQUAL(sn_cache_destroy((unsigned int)index), 0);
	CHECK_EQUAL(unit_offline(FIRST, SN_STRICT, -1, &result), -EDEADLK);
	CHECK(strstr(result.message, "callback") != NULL);
	CHECK_EQUAL(unit_online(NODE), -EDEADLK);
	CHECK_EQUAL(sn_cancel(NODE, &result), -EDEADLK);
	CHECK_EQUAL(sn_cordon(FIRST, true, &result), -EDEADLK);
	CHECK_EQUAL(sn_movable_set(things, NULL, NULL, NULL), -EDEADLK);
	CHECK_EQUAL(sn_cache_destroy(things), -EDEADLK);
	CHECK_EQUAL(sn_notifier_unregister(1), -EDEADLK);
	CHECK_EQUAL(sn_drain(SN_NODE_NONE, true, &drained), 0);
	CHECK_EQUAL(drained.evicted_objects, 0);
	sn_cache_shrink(things);
}

UNIT_TEST(callbacks_use_the_library)
{
	struct sn_lifecycle_result result;

	start(2);
	how.inside = use_the_library;
	fill(0, 1000, NODE);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, &result), 0);
	CHECK_EQUAL(result.evicted_objects, 1000);
	CHECK_EQUAL(unit_online(NODE), 0);
	fill(1000, THINGS, FIRST);
	thin_out(4);
	CHECK(drain_now(FIRST).evicted_objects > 0);
	check_rest();
}

/* --- sparse slabs -------------------------------------------------------------------------------
 */

static uint64_t slabs_needed(uint64_t objects)
{
	return (objects + sn_caches[things].slab_objects - 1) / sn_caches[things].slab_objects;
}

UNIT_TEST(drain_empties_sparse_slabs)
{
	struct sn_drain_result result;
	uint64_t before;
	size_t resident;

	start(2);
	fill(0, THINGS, FIRST);
	thin_out(8);
	unit_quiesce();
	before = slabs_on(FIRST);
	resident = unit_resident(FIRST);
	CHECK(before > 3 * slabs_needed(THINGS / 8));
	result = drain_now(FIRST);
	CHECK_EQUAL(result.evicted_objects, how.moved);
	CHECK(how.most_slabs <= before); /* nothing was built to make room */
	CHECK_EQUAL(slabs_on(FIRST), slabs_needed(THINGS / 8));
	CHECK_EQUAL(resident - unit_resident(FIRST),
		    (before - slabs_on(FIRST)) * sn_caches[things].slab_pages);
	CHECK(result.released_bytes > 0);
	CHECK_EQUAL(check_all(), THINGS / 8);
	/* Nothing is left to do. */
	CHECK_EQUAL(drain_now(FIRST).evicted_objects, 0);
	/* And tables serve the cache as before. */
	fill(1, 7, SN_NODE_NONE);
	for (uint32_t i = 1; i < 7; i++)
		drop_now(i);
	CHECK(sn_tables_count(FIRST, things) >= 6);
	check_rest();
}

UNIT_TEST(shrink_empties_sparse_slabs)
{
	uint64_t before;

	start(2);
	fill(0, THINGS, NODE);
	thin_out(16);
	unit_quiesce();
	before = slabs_on(NODE);
	CHECK_EQUAL(sn_cache_shrink(things),
		    (before - slabs_needed(THINGS / 16)) * sn_caches[things].slab_pages
			    << SN_PAGE_SHIFT);
	check_rest();
}

UNIT_TEST(drain_of_those_who_decline)
{
	uint64_t before;

	start(2);
	fill(0, THINGS, FIRST);
	thin_out(4);
	unit_quiesce();
	before = slabs_on(FIRST);
	how.plan = never;
	for (int round = 0; round < 3; round++) {
		how.decline = round == 1;
		if (round == 2)
			how.plan = always_later;
		CHECK_EQUAL(drain_now(FIRST).evicted_objects, 0);
		CHECK_EQUAL(slabs_on(FIRST), before);
	}
	CHECK(how.gets > 0);
	how.plan = by_entry; /* entries 0, 4, 8: moved, lies, later */
	CHECK_EQUAL(drain_now(FIRST).evicted_objects, how.moved + how.gone);
	CHECK(slabs_on(FIRST) <= before);
	check_rest();
}

UNIT_TEST(a_cordoned_node_is_not_compacted)
{
	struct sn_lifecycle_result result;

	start(2);
	fill(0, THINGS, FIRST);
	thin_out(4);
	CHECK_EQUAL(sn_cordon(FIRST, true, &result), 0);
	CHECK_EQUAL(drain_now(FIRST).evicted_objects, 0);
	CHECK_EQUAL(how.gets, 0);
	CHECK_EQUAL(sn_cordon(FIRST, false, &result), 0);
	CHECK(drain_now(FIRST).evicted_objects > 0);
	check_rest();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bounds),
		cmocka_unit_test(an_index_is_used_again),
		cmocka_unit_test(migrate_of_movable_objects_alone),
		cmocka_unit_test(other_policies_do_not_ask),
		cmocka_unit_test(migrate_mixed),
		cmocka_unit_test(all_answers),
		cmocka_unit_test(declining_for_ever),
		cmocka_unit_test(several_nodes),
		cmocka_unit_test(rollback_after_eviction),
		cmocka_unit_test(hardened),
		cmocka_unit_test(callbacks_use_the_library),
		cmocka_unit_test(drain_empties_sparse_slabs),
		cmocka_unit_test(shrink_empties_sparse_slabs),
		cmocka_unit_test(drain_of_those_who_decline),
		cmocka_unit_test(a_cordoned_node_is_not_compacted),
	};

	unit_arguments(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
