/*
 * test_plan.c - what an offline would do, foretold, and what it then does.
 */
#include "unit.h"

#define NODE (FIRST + 1) /* the one that leaves */

UNIT_TEST(plan_says_what_would_happen)
{
	struct sn_lifecycle_result result;
	struct sn_plan plan;

	unit_start(3);
	unit_hold(NODE, 3 * MIB);
	sn_free(unit_hold(NODE, MIB));
	CHECK_EQUAL(sn_plan(NODE, &plan), 0);
	CHECK(plan.feasible);
	CHECK_EQUAL(plan.nr_targets, 2);
	CHECK(plan.live_bytes >= 3 * MIB);
	CHECK(plan.cached_bytes >= MIB);
	CHECK(plan.to_move_bytes >= plan.live_bytes);
	CHECK(plan.released_bytes >= MIB);
	machine.capacity[FIRST] = machine.capacity[FIRST + 2] = MIB;
	CHECK_EQUAL(sn_plan(NODE, &plan), 0);
	CHECK(!plan.feasible);
	CHECK_EQUAL(unit_state(NODE), SN_ONLINE);
	machine.capacity[FIRST] = machine.capacity[FIRST + 2] = 0;
	CHECK_EQUAL(unit_offline(FIRST, SN_MIGRATE, -1, &result), 0);
	CHECK_EQUAL(unit_offline(FIRST + 2, SN_MIGRATE, -1, &result), 0);
	CHECK_EQUAL(sn_plan(NODE, &plan), 0);
	CHECK(!plan.feasible);
	CHECK_EQUAL(sn_plan(FIRST + 3, &plan), -ENODEV);
}

/* Nothing else runs: the numbers are exact. */
static void plan_and_do(unsigned int node)
{
	struct sn_lifecycle_result result;
	struct sn_plan plan;

	CHECK_EQUAL(sn_plan(node, &plan), 0);
	CHECK(plan.feasible);
	CHECK_EQUAL(unit_offline(node, SN_MIGRATE, -1, &result), 0);
	CHECK_EQUAL(plan.released_bytes, result.released_bytes);
	CHECK_EQUAL(plan.to_move_bytes, result.migrated_bytes);
	CHECK_EQUAL(plan.guest_bytes, result.guest_bytes);
}

UNIT_TEST(plan_is_what_happens)
{
	static void *p[20000];
	uint64_t seed = 5;

	unit_start(3);
	unit_cpu_node(NODE);
	for (unsigned int i = 0; i < SN_ARRAY_SIZE(p); i++)
		p[i] = sn_malloc(1 + unit_random(&seed) % (i % 100 == 0 ? 200000 : 3000));
	for (unsigned int i = 0; i < SN_ARRAY_SIZE(p); i++)
		if (unit_random(&seed) % 100 < 70)
			sn_free(p[i]), p[i] = NULL;
	plan_and_do(NODE);
	/* Its stand-in has its pages, and takes its free objects. */
	for (unsigned int i = 0; i < SN_ARRAY_SIZE(p); i++)
		if (unit_random(&seed) % 100 < 80)
			sn_free(p[i]), p[i] = NULL;
	plan_and_do(sn_node_target(NODE));
	CHECK_EQUAL(unit_online(NODE), 0);
	for (unsigned int i = 0; i < 5000; i++)
		p[i] = p[i] == NULL ? sn_malloc(700) : p[i];
	plan_and_do(NODE);
}

static _Atomic bool churning;

static void *churn(void *arg)
{
	uint64_t seed = (uintptr_t)arg;
	void *p[400] = {NULL};

	unit_cpu_node(NODE);
	while (atomic_load(&churning)) {
		unsigned int i = unit_random(&seed) % SN_ARRAY_SIZE(p);

		sn_free(p[i]);
		p[i] = sn_malloc(unit_random(&seed) % (i % 16 == 0 ? 9000000 : 5000));
		if (i % 32 == 0)
			p[i] = sn_realloc(p[i], 100000);
		if (i == 7)
			sn_make_room(sn_nodes[NODE]);
	}
	for (unsigned int i = 0; i < SN_ARRAY_SIZE(p); i++)
		sn_free(p[i]);
	return NULL;
}

/* Segments, slabs and spans come and go under the survey. */
UNIT_TEST(plan_of_a_busy_program)
{
	struct sn_plan plan;
	pthread_t thread[3];

	unit_start(3);
	atomic_store(&churning, true);
	for (uintptr_t i = 0; i < 3; i++)
		CHECK(pthread_create(&thread[i], NULL, churn, (void *)(i + 1)) == 0);
	for (uint64_t end = sn_now_ns() + 1000000000u; sn_now_ns() < end;)
		CHECK_EQUAL(sn_plan(NODE, &plan), 0);
	atomic_store(&churning, false);
	for (unsigned int i = 0; i < 3; i++)
		CHECK(pthread_join(thread[i], NULL) == 0);
	plan_and_do(NODE);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plan_says_what_would_happen),
		cmocka_unit_test(plan_is_what_happens),
		cmocka_unit_test(plan_of_a_busy_program),
	};

	unit_arguments(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
