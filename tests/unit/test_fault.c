/*
 * test_fault.c - every fault point fails in every operation.
 *
 * An operation is prepared, then acted out with one point failing, then everything must be as if
 * nothing had been: objects intact, nodes emptied by strict, all pages given back, each node
 * handing out its own memory.  First a run without failures counts how often each point is passed;
 * then each passage fails alone, in a run of its own, and then all passages of the point do.
 *
 * A failure that stays alone never makes a NULL.  A request that failed says why, and only when
 * something was made to fail.
 */
#include "unit.h"

#include "movable.h"
#include "notifier.h"
#include "reap.h"
#include "rebind.h"
#include "sites.h"

#include <sys/mman.h>
#include <sys/wait.h>

#define NODES 3
#define NODE  (FIRST + 1)
/* How many passes fail, one after the other, and then the last one.  Each is a process, which the
 * thread sanitizer makes twenty times as slow. */
#ifdef __SANITIZE_THREAD__
#define FIRST_PASSES 1u
#else
#define FIRST_PASSES 8u
#endif
#define MAX_HELD 1024

struct operation {
	void (*prepare)(void); /* NULL: nothing */
	void (*act)(void);
};

/* Shared with the children. */
static struct {
	_Atomic unsigned int passed[SN_FAULT_COUNT];
	_Atomic unsigned int runs, struck;
} * tally;

static enum sn_fault_point target = SN_FAULT_COUNT;
static unsigned int strike; /* which passage; 0: all of them */
static _Atomic unsigned int passes, struck;

static int on_point(enum sn_fault_point point)
{
	unsigned int pass;

	atomic_fetch_add(&tally->passed[point], 1);
	if (point != target)
		return 0;
	pass = atomic_fetch_add(&passes, 1) + 1;
	if (strike != 0 && pass != strike)
		return 0;
	atomic_fetch_add(&struck, 1);
	return -sn_fault_info[point].usual;
}

/* --- what operations use ------------------------------------------------------------------- */

static struct {
	void *p;
	size_t size;
} held[MAX_HELD];
static unsigned int nr_held;

/* One failure alone leaves another attempt, or another node. */
static void *got(void *p)
{
	CHECK(p != NULL || (strike == 0 && struck > 0));
	return p;
}

static void keep(void *p, size_t size)
{
	if (got(p) == NULL)
		return;
	unit_fill(p, size, nr_held);
	CHECK(nr_held < MAX_HELD);
	held[nr_held].p = p;
	held[nr_held++].size = size;
}

static void drop(unsigned int i)
{
	if (held[i].p != NULL)
		CHECK(unit_intact(held[i].p, held[i].size, i));
	sn_free(held[i].p);
	held[i].p = NULL;
}

static void drop_all(void)
{
	while (nr_held > 0)
		drop(--nr_held);
}

/* Of a request that may fail only when something was made to fail, or with `expected`. */
static void told(int error, int expected, const struct sn_lifecycle_result *result)
{
	CHECK_EQUAL(error, result->error);
	if (error != 0)
		CHECK(result->message[0] != '\0');
	/* Where everything is slow, the short patience may end before the point was reached. */
	if (error != expected && struck == 0 && !(strike == 0 && error == -ETIMEDOUT))
		unit_fail(__FILE__, __LINE__, "error %d, not %d: %s", error, expected,
			  result->message);
}

static void leave(enum sn_policy policy, int64_t timeout_ms, int expected)
{
	struct sn_lifecycle_result result;
	int error = unit_offline(NODE, policy, timeout_ms, &result);

	told(error, expected, &result);
	CHECK_EQUAL(unit_state(NODE), error == 0 ? SN_OFFLINE : SN_ONLINE);
}

/* Long when pages that stay are tried again, short when they always stay. */
static int64_t patience(void)
{
	return strike == 0 ? 30 : 10000;
}

static void come_back(bool rebalance)
{
	struct sn_lifecycle_result result;
	int error = sn_online(NODE, rebalance, &result);

	told(error, 0, &result);
	CHECK_EQUAL(unit_state(NODE), error == 0 ? SN_ONLINE : SN_OFFLINE);
}

static void populate_node(void)
{
	for (unsigned int i = 0; i < 200; i++)
		keep(sn_malloc_node(40 + i * 20, NODE), 40 + i * 20);
	keep(sn_malloc_node(300000, NODE), 300000);
	keep(sn_malloc_node(20 * MIB, NODE), 20 * MIB);
	for (unsigned int i = 0; i < 200; i += 3)
		drop(i);
}

/* --- afterwards ---------------------------------------------------------------------------- */

static void check_node(unsigned int n)
{
	struct sn_lifecycle_result result;
	void *small, *large;

	unit_quiesce();
	CHECK_EQUAL(unit_out(n), 0);
	CHECK_EQUAL(atomic_load(&sn_nodes[n]->large_blocks), 0);
	CHECK_EQUAL(atomic_load(&sn_nodes[n]->large_pages), 0);
	CHECK_EQUAL(atomic_load(&sn_nodes[n]->in_hand), 0);
	CHECK_EQUAL(sn_live_bytes(n), 0);
	if (unit_offline(n, SN_STRICT, -1, &result) != 0)
		unit_fail(__FILE__, __LINE__, "node %u afterwards: %s", n - FIRST, result.message);
	CHECK_EQUAL(unit_resident(n), 0);
	CHECK_EQUAL(sn_online(n, false, &result), 0);
	small = sn_malloc_node(64, n);
	large = sn_malloc_node(12 * MIB, n);
	CHECK(small != NULL && large != NULL);
	CHECK_EQUAL(unit_page_node(small), n);
	CHECK_EQUAL(unit_page_node((char *)large + 12 * MIB - 1), n);
	memset(large, 1, 12 * MIB);
	sn_free(small);
	sn_free(large);
}

static void check_settled(void)
{
	size_t mapped = 0, resident = 0;

	sn_fault_hook = NULL;
	for_each_node(n)
		CHECK_EQUAL(unit_online(n), 0);
	sn_reap(); /* policies that could not be set */
	CHECK(!sn_rebind_stale());
	drop_all();
	for_each_node(n)
		check_node(n);
	unit_quiesce();
	for_each_node(n) {
		mapped += sn_nodes[n]->mapped_pages;
		resident += unit_resident(n);
	}
	CHECK_EQUAL(mapped, resident);
}

/* --- runs ---------------------------------------------------------------------------------- */

/* In a child, since what is built is built once. */
static void run(const struct operation *op, enum sn_fault_point point, unsigned int k)
{
	int status;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		alarm(30);
		if (op->prepare != NULL)
			op->prepare();
		target = point;
		strike = k;
		sn_fault_hook = on_point;
		op->act();
		check_settled();
		tally->struck += struck;
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	tally->runs++;
	if (status != 0)
		unit_fail(__FILE__, __LINE__, "point %s, passage %u: status %#x",
			  point == SN_FAULT_COUNT ? "none" : sn_fault_info[point].name, k, status);
}

static void fail_everywhere(void (*prepare)(void), void (*act)(void))
{
	const struct operation op = {prepare, act};
	unsigned int passed[SN_FAULT_COUNT];

	tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	CHECK(tally != MAP_FAILED);
	unit_start(NODES);
	run(&op, SN_FAULT_COUNT, 1);
	for (unsigned int i = 0; i < SN_FAULT_COUNT; i++)
		passed[i] = tally->passed[i];
	for (unsigned int i = 0; i < SN_FAULT_COUNT; i++) {
		if (passed[i] == 0 || !(sn_fault_info[i].kind & SN_FAULT_FAILS))
			continue;
		for (unsigned int k = 1; k <= sn_min(passed[i], FIRST_PASSES); k++)
			run(&op, i, k);
		if (passed[i] > FIRST_PASSES)
			run(&op, i, passed[i]);
		run(&op, i, 0);
	}
	CHECK(tally->struck > 0);
	print_message("%u runs, %u failures\n", tally->runs, tally->struck);
}

/* --- allocation and free ------------------------------------------------------------------- */

static void act_small(void)
{
	for (unsigned int c = 1; c <= SN_NR_CLASSES; c++)
		keep(sn_malloc(sn_class_size[c]), sn_class_size[c]);
	for (unsigned int i = 0; i < SN_NR_CLASSES; i += 2)
		drop(i);
	keep(sn_memalign(2048, 100), 100);
}

UNIT_TEST(allocation)
{
	fail_everywhere(NULL, act_small);
}

static void act_batch(void)
{
	for (unsigned int i = 0; i < 700; i++)
		keep(sn_malloc(300), 300);
	drop_all();
	for (unsigned int i = 0; i < 300; i++)
		keep(sn_malloc(300), 300);
}

UNIT_TEST(refill_and_flush)
{
	fail_everywhere(NULL, act_batch);
}

static void hold_afar(void)
{
	for (unsigned int i = 0; i < 120; i++)
		keep(sn_malloc_node(64, NODE + i % 2), 64);
}

UNIT_TEST(free_across_nodes)
{
	fail_everywhere(hold_afar, drop_all);
}

static void act_on_a_node(void)
{
	keep(sn_malloc_node(64, NODE), 64);
	keep(sn_malloc_node(100000, NODE), 100000);
	keep(sn_malloc_node(20 * MIB, NODE), 20 * MIB);
}

UNIT_TEST(allocation_from_a_node)
{
	fail_everywhere(NULL, act_on_a_node);
}

static void keep_zero(size_t size)
{
	void *p = sn_calloc(size);

	CHECK(p == NULL || unit_zero(p, size));
	keep(p, size);
}

static void act_large(void)
{
	keep(sn_malloc(100000), 100000);
	keep(sn_malloc(20 * MIB), 20 * MIB);
	drop_all();
	keep_zero(100000);
	keep_zero(18 * MIB);
	keep(sn_memalign(MIB, 3 * MIB), 3 * MIB);
	keep(sn_memalign(4 * MIB, 20 * MIB), 20 * MIB);
	drop_all();
	keep(sn_malloc(12 * MIB), 12 * MIB);
}

UNIT_TEST(large_blocks)
{
	fail_everywhere(NULL, act_large);
}

static void act_realloc(void)
{
	static const size_t sizes[] = {40000,	 200000,   7 * MIB,  9 * MIB, 30 * MIB,
				       34 * MIB, 50 * MIB, 12 * MIB, 100000,  10};
	size_t size = 1000;
	void *p = sn_malloc(size), *q;

	if (got(p) == NULL)
		return;
	unit_fill(p, size, 7);
	for (size_t i = 0; i < SN_ARRAY_SIZE(sizes); i++) {
		q = got(sn_realloc(p, sizes[i]));
		if (q == NULL)
			continue; /* p is as it was */
		p = q;
		CHECK(unit_intact(p, sn_min(size, sizes[i]) & ~(size_t)7, 7));
		size = sizes[i];
		unit_fill(p, size, 7);
	}
	sn_free(p);
}

UNIT_TEST(resizing)
{
	fail_everywhere(NULL, act_realloc);
}

/* --- nodes --------------------------------------------------------------------------------- */

static void use_and_free(void)
{
	populate_node();
	drop_all();
	hold_afar(); /* alien caches and shared stores */
	drop_all();
}

static void act_strict(void)
{
	leave(SN_STRICT, -1, 0);
}

UNIT_TEST(strict)
{
	fail_everywhere(use_and_free, act_strict);
}

static void act_strict_busy(void)
{
	leave(SN_STRICT, -1, -EBUSY);
}

UNIT_TEST(strict_refused)
{
	fail_everywhere(hold_afar, act_strict_busy);
}

static void act_wait(void)
{
	leave(SN_WAIT, 1, -ETIMEDOUT);
	drop_all();
	leave(SN_WAIT, patience(), 0);
}

UNIT_TEST(waiting)
{
	fail_everywhere(hold_afar, act_wait);
}

static void act_migrate(void)
{
	leave(SN_MIGRATE, patience(), 0);
}

UNIT_TEST(migration)
{
	fail_everywhere(populate_node, act_migrate);
}

static void act_several(void)
{
	struct sn_offline_request request = {.policy = SN_MIGRATE, .timeout_ms = patience()};
	struct sn_lifecycle_result result[2];
	const unsigned int nodes[2] = {NODE, NODE + 1};

	sn_offline(nodes, 2, &request, result);
	for (unsigned int i = 0; i < 2; i++) {
		told(result[i].error, 0, &result[i]);
		CHECK_EQUAL(unit_state(nodes[i]), result[i].error == 0 ? SN_OFFLINE : SN_ONLINE);
	}
}

UNIT_TEST(migration_of_two)
{
	fail_everywhere(populate_node, act_several);
}

static void begin_away(void)
{
	populate_node();
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
}

static void act_away(void)
{
	for (unsigned int i = 0; i < nr_held; i += 2)
		drop(i);
	for (unsigned int i = 0; i < 300; i++)
		keep(sn_malloc(100), 100);
	keep(sn_malloc(200000), 200000);
}

UNIT_TEST(use_while_away)
{
	fail_everywhere(begin_away, act_away);
}

static void act_online(void)
{
	come_back(false);
	keep(sn_malloc(100), 100);
}

UNIT_TEST(online)
{
	fail_everywhere(begin_away, act_online);
}

static void act_rebalance(void)
{
	come_back(true);
	come_back(true);
}

UNIT_TEST(online_with_rebalance)
{
	fail_everywhere(begin_away, act_rebalance);
}

static void act_cordon(void)
{
	struct sn_lifecycle_result result;
	int error = sn_cordon(NODE, true, &result);

	told(error, 0, &result);
	keep(sn_malloc(64), 64);
	told(sn_cordon(NODE, false, &result), 0, &result);
	if (result.error != 0)
		CHECK_EQUAL(sn_cordon(NODE, false, &result), strike == 0 ? -EBUSY : 0);
	if (strike == 0 && target == SN_FAULT_CORDON)
		return;
	CHECK(sn_node_usable(sn_nodes[NODE]));
}

UNIT_TEST(cordon)
{
	fail_everywhere(use_and_free, act_cordon);
}

static void *wait_for_objects(void *arg)
{
	struct sn_lifecycle_result *result = arg;

	unit_offline(NODE, SN_WAIT, -1, result);
	return NULL;
}

static void act_cancel(void)
{
	struct sn_lifecycle_result result, cancelled = {0};
	pthread_t thread = unit_thread(wait_for_objects, &result);

	do {
		CHECK_EQUAL(sn_cancel(NODE, &cancelled), 0);
		unit_sleep_ms(1);
	} while (cancelled.already && unit_state(NODE) != SN_ONLINE);
	while (unit_state(NODE) == SN_GOING_OFFLINE)
		sn_cancel(NODE, &cancelled);
	if (cancelled.already) /* it had not begun, or failed at once */
		for (int i = 0; i < 20; i++, unit_sleep_ms(1))
			sn_cancel(NODE, &cancelled);
	unit_join(thread);
	told(result.error, -ECANCELED, &result);
	CHECK_EQUAL(unit_state(NODE), SN_ONLINE);
}

UNIT_TEST(cancel)
{
	fail_everywhere(hold_afar, act_cancel);
}

static int agree(enum slabnode_mem_action action, const struct slabnode_memory_notify *notify,
		 void *data)
{
	(void)action, (void)notify, (void)data;
	sn_free(sn_malloc(64));
	return 0;
}

static void register_notifiers(void)
{
	CHECK(sn_notifier_register("one", 0, agree, NULL, NULL) > 0);
	CHECK(sn_notifier_register("two", 0, agree, NULL, NULL) > 0);
	use_and_free();
}

static void act_there_and_back(void)
{
	leave(SN_MIGRATE, patience(), 0);
	if (unit_state(NODE) == SN_OFFLINE)
		come_back(false);
}

UNIT_TEST(notifiers)
{
	fail_everywhere(register_notifiers, act_there_and_back);
}

/* --- the rest ------------------------------------------------------------------------------ */

static void construct(void *object)
{
	memset(object, 0x5a, 200);
}

static void act_cache(void)
{
	int cache = sn_cache_create("things", 200, 0, construct), error;
	void *object[100];

	if (cache < 0) {
		CHECK(struck > 0);
		return;
	}
	for (unsigned int i = 0; i < 100; i++) {
		object[i] = got(i % 3 == 0 ? sn_alloc_cache_node((unsigned int)cache, NODE)
					   : sn_alloc_cache((unsigned int)cache));
		for (unsigned int b = 0; object[i] != NULL && b < 200; b++)
			CHECK_EQUAL(((unsigned char *)object[i])[b], 0x5a);
	}
	for (unsigned int i = 0; i < 100; i++)
		sn_free(object[i]);
	error = sn_cache_destroy((unsigned int)cache);
	CHECK(error == 0 || struck > 0);
	sn_fault_hook = NULL;
	if (error != 0)
		CHECK_EQUAL(sn_cache_destroy((unsigned int)cache), 0);
}

UNIT_TEST(object_cache)
{
	fail_everywhere(NULL, act_cache);
}

/* --- a movable cache: objects name the place that names them --- */

static struct thing {
	struct thing **place;
} * things[300];
static int movable;

static void construct_thing(void *object)
{
	((struct thing *)object)->place = NULL;
}

static void *get_things(struct slabnode_cache *cache, unsigned int count, void **objects,
			void *data)
{
	(void)cache, (void)count, (void)objects, (void)data;
	return things;
}

static void reclaim_things(const struct slabnode_reclaim *request, void *data)
{
	(void)data;
	for (unsigned int i = 0; i < request->count; i++) {
		struct thing *old = request->objects[i], *new;

		request->answers[i] = SLABNODE_WILL_NOT;
		if (old->place == NULL)
			continue;
		new = sn_alloc_cache((unsigned int)movable);
		if (new == NULL)
			continue;
		new->place = old->place;
		*new->place = new;
		old->place = NULL;
		sn_free(old);
		request->answers[i] = SLABNODE_MOVED;
	}
}

static void make_things(void)
{
	movable = sn_cache_create("things", 2000, 0, construct_thing);
	CHECK(movable > 0);
	for (unsigned int i = 0; i < SN_ARRAY_SIZE(things); i++) {
		things[i] = sn_alloc_cache_node((unsigned int)movable, NODE);
		CHECK(things[i] != NULL);
		things[i]->place = &things[i];
	}
}

static void act_movable(void)
{
	struct sn_drain_result result;
	int error = sn_movable_set((unsigned int)movable, get_things, reclaim_things, NULL);

	CHECK(error == 0 || struck > 0);
	for (unsigned int i = 0; i < SN_ARRAY_SIZE(things); i += 2) {
		things[i]->place = NULL;
		sn_free(things[i]);
		things[i] = NULL;
	}
	CHECK_EQUAL(sn_drain(NODE, true, &result), 0);
	leave(SN_MIGRATE, patience(), 0);
	for (unsigned int i = 0; i < SN_ARRAY_SIZE(things); i++) {
		if (things[i] == NULL)
			continue;
		CHECK(things[i]->place == &things[i]);
		things[i]->place = NULL;
		sn_free(things[i]);
	}
	sn_fault_hook = NULL;
	CHECK_EQUAL(unit_online(NODE), 0);
	CHECK_EQUAL(sn_cache_destroy((unsigned int)movable), 0);
}

UNIT_TEST(movable_cache)
{
	fail_everywhere(make_things, act_movable);
}

static void act_reap(void)
{
	struct sn_drain_result result;

	sn_reap();
	keep(sn_malloc(20 * MIB), 20 * MIB);
	drop_all();
	sn_reap();
	sn_reap_inline();
	CHECK_EQUAL(sn_drain(SN_NODE_NONE, true, &result), 0);
}

UNIT_TEST(ageing)
{
	fail_everywhere(use_and_free, act_reap);
}

static void act_fork(void)
{
	pid_t pid = unit_fork(NULL);

	if (pid == 0) {
		keep(sn_malloc(64), 64);
		check_settled();
		_exit(0);
	}
	unit_child_ends(pid);
	keep(sn_malloc(64), 64);
}

UNIT_TEST(forking)
{
	fail_everywhere(populate_node, act_fork);
}

/* --- one node: no other can serve ---------------------------------------------------------- */

static unsigned int failures_left;

static int fail_once(enum sn_fault_point point)
{
	if (point != target || failures_left == 0)
		return 0;
	failures_left--;
	return -sn_fault_info[point].usual;
}

static int fail_always(enum sn_fault_point point)
{
	return point == target ? -sn_fault_info[point].usual : 0;
}

/* What failed for good is remembered, and made up for. */
UNIT_TEST(failures_are_made_up_for)
{
	size_t headers;

	unit_start(2);
	sn_fault_hook = fail_always;
	target = SN_FAULT_BIND;
	CHECK(sn_malloc(64) == NULL); /* a range without a policy is not used */
	CHECK(!sn_rebind_stale());
	sn_fault_hook = NULL;
	keep(sn_malloc(64), 64);
	leave(SN_MIGRATE, -1, 0);
	sn_fault_hook = fail_always;
	come_back(false);
	CHECK(sn_rebind_stale());
	drop_all();
	target = SN_FAULT_DISCARD;
	unit_quiesce();
	headers = sn_nodes[FIRST]->nr_headers;
	sn_segments_trim(sn_nodes[FIRST], NULL);
	CHECK(headers > 0);
	CHECK_EQUAL(sn_nodes[FIRST]->nr_headers, headers); /* their pages are still there */
	sn_fault_hook = NULL;
	sn_reap();
	CHECK(!sn_rebind_stale());
	unit_quiesce();
	CHECK_EQUAL(sn_nodes[FIRST]->nr_headers, 0);
	CHECK_EQUAL(unit_resident(FIRST), 0);
}

/* Phases and their points have the same names. */
UNIT_TEST(points_of_phases)
{
	for (unsigned int i = SN_FAULT_CLOSE; i <= SN_FAULT_ROLLBACK; i++)
		CHECK(strcmp(sn_fault_info[i].name, sn_phase_name(i - SN_FAULT_CLOSE)) == 0);
}

#ifdef SLABNODE_DEBUG
static void act_everything(void)
{
	struct sn_drain_result result;

	act_batch();
	populate_node();
	hold_afar();
	drop_all();
	leave(SN_MIGRATE, -1, 0);
	come_back(false);
	CHECK_EQUAL(sn_drain(SN_NODE_NONE, true, &result), 0);
}

static unsigned int one_frame(void **frame, unsigned int max)
{
	(void)max;
	frame[0] = __builtin_return_address(0);
	return 1;
}

/* Every lock is delayed at both of its points. */
UNIT_TEST(points_of_locks)
{
	const struct operation op = {NULL, act_everything};

	tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	CHECK(tally != MAP_FAILED);
	sn_stack_hook = one_frame;
	CHECK(sn_sites_start(1));
	unit_start(NODES);
	run(&op, SN_FAULT_COUNT, 1);
	for (unsigned int i = SN_FAULT_LOCK; i < SN_FAULT_COUNT; i++)
		if (tally->passed[i] == 0)
			unit_fail(__FILE__, __LINE__, "%s was not passed", sn_fault_info[i].name);
}
#endif

UNIT_TEST(single_failures_with_one_node)
{
	static const enum sn_fault_point points[] = {
		SN_FAULT_METADATA, SN_FAULT_RESERVE,  SN_FAULT_OPEN, SN_FAULT_RUN,
		SN_FAULT_SPAN,	   SN_FAULT_POPULATE, SN_FAULT_BIND, SN_FAULT_SLAB,
	};

	unit_start(1);
	sn_fault_hook = fail_once;
	for (unsigned int round = 0; round < 40; round++)
		for (size_t i = 0; i < SN_ARRAY_SIZE(points); i++) {
			target = points[i];
			failures_left = 1;
			keep(sn_malloc(32000), 32000);
			keep(sn_malloc(200000), 200000);
			failures_left = 1;
			keep(sn_malloc(9 * MIB), 9 * MIB);
			if (round % 8 == 7)
				drop_all();
		}
	drop_all();
	sn_fault_hook = NULL;
	unit_quiesce();
	CHECK_EQUAL(sn_live_bytes(FIRST), 0);
	CHECK_EQUAL(sn_nodes[FIRST]->mapped_pages, unit_resident(FIRST));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(allocation),
		cmocka_unit_test(refill_and_flush),
		cmocka_unit_test(free_across_nodes),
		cmocka_unit_test(allocation_from_a_node),
		cmocka_unit_test(large_blocks),
		cmocka_unit_test(resizing),
		cmocka_unit_test(strict),
		cmocka_unit_test(strict_refused),
		cmocka_unit_test(waiting),
		cmocka_unit_test(migration),
		cmocka_unit_test(migration_of_two),
		cmocka_unit_test(use_while_away),
		cmocka_unit_test(online),
		cmocka_unit_test(online_with_rebalance),
		cmocka_unit_test(cordon),
		cmocka_unit_test(cancel),
		cmocka_unit_test(notifiers),
		cmocka_unit_test(object_cache),
		cmocka_unit_test(movable_cache),
		cmocka_unit_test(ageing),
		cmocka_unit_test(forking),
		cmocka_unit_test(failures_are_made_up_for),
		cmocka_unit_test(points_of_phases),
#ifdef SLABNODE_DEBUG
		cmocka_unit_test(points_of_locks),
#endif
		cmocka_unit_test(single_failures_with_one_node),
	};

	unit_arguments(argc, argv);
	return cmocka_run_group_tests_name("fault", tests, NULL, NULL);
}
