/*
 * test_movable_races.c - what happens while objects are asked to leave: a callback that does not
 * return, other commands, threads that use the cache, forks.
 */
#include "things.h"

#include "callback.h"
#include "table.h"

#include <sched.h>
#include <semaphore.h>

/* --- stalls -------------------------------------------------------------------------------------
 */

static sem_t stalled, go_on;
static bool stalls;

static void stall(const struct slabnode_reclaim *request)
{
	(void)request;
	if (!stalls)
		return;
	stalls = false;
	sem_post(&stalled);
	while (sem_wait(&go_on) != 0)
		;
}

static void start_stalling(unsigned int nodes)
{
	start(nodes);
	sem_init(&stalled, 0, 0);
	sem_init(&go_on, 0, 0);
	stalls = true;
	how.inside = stall;
}

struct call {
	unsigned int node;
	enum sn_policy policy;
	int64_t timeout_ms;
	_Atomic bool done;
	int error;
	struct sn_lifecycle_result result;
};

static void *offline_thread(void *arg)
{
	struct call *call = arg;

	call->error = unit_offline(call->node, call->policy, call->timeout_ms, &call->result);
	call->done = true;
	return NULL;
}

static void *drain_thread(void *arg)
{
	drain_now((unsigned int)(uintptr_t)arg);
	return NULL;
}

static void cancel_at_once(unsigned int node)
{
	struct sn_lifecycle_result result;
	struct sn_transition_info info;
	uint64_t begin = sn_now_ns();

	CHECK(sn_transition_info(node, &info));
	CHECK(strcmp(info.waiting_for, "reclaim of things") == 0);
	CHECK_EQUAL(sn_cancel(node, &result), 0);
	CHECK(strstr(result.message, "reclaim of things has yet to return") != NULL);
	CHECK(sn_now_ns() - begin < 10000000000);
}

UNIT_TEST(cancel_during_a_stall)
{
	static struct call offline = {.node = NODE, .policy = SN_MIGRATE, .timeout_ms = -1};
	struct sn_transition_info info;
	struct sn_slabinfo slabinfo;
	pthread_t worker;

	start_stalling(2);
	fill(0, THINGS, NODE);
	worker = unit_thread(offline_thread, &offline);
	sem_wait(&stalled);
	CHECK(sn_transition_info(NODE, &info));
	CHECK_EQUAL(info.phase, SN_PHASE_EVICT);
	CHECK(sn_slabinfo(things, NODE, &slabinfo)); /* while slabs are isolated */
	CHECK_EQUAL(slabinfo.active_objects, THINGS);
	CHECK_EQUAL(slabinfo.slabs_partial, slabs_on(NODE));
	cancel_at_once(NODE);
	sem_post(&go_on);
	unit_join(worker);
	CHECK_EQUAL(offline.error, -ECANCELED);
	CHECK_EQUAL(offline.result.evicted_objects, how.moved);
	CHECK(how.moved > 0 && how.moved <= 64);
	CHECK_EQUAL(unit_state(NODE), SN_ONLINE);
	check_rest();
}

/* Whether it came so far; or else it has ended. */
static bool has_stalled(const struct call *offline)
{
	while (sem_trywait(&stalled) != 0) {
		if (offline->done)
			return false;
		unit_sleep_ms(1);
	}
	return true;
}

/* On a busy machine a short timeout may pass before: then a longer one is taken. */
UNIT_TEST(timeout_during_a_stall)
{
	static struct call offline = {.node = NODE, .policy = SN_MIGRATE, .timeout_ms = 20};
	pthread_t worker;

	start_stalling(2);
	fill(0, THINGS, NODE);
	worker = unit_thread(offline_thread, &offline);
	while (!has_stalled(&offline)) {
		unit_join(worker);
		CHECK_EQUAL(offline.error, -ETIMEDOUT);
		offline.done = false;
		offline.timeout_ms *= 2;
		worker = unit_thread(offline_thread, &offline);
	}
	unit_sleep_ms((unsigned int)offline.timeout_ms + 20);
	sem_post(&go_on);
	unit_join(worker);
	CHECK_EQUAL(offline.error, -ETIMEDOUT);
	CHECK(how.moved <= 64);
	check_rest();
}

/* Two commands: the second gives up its wait for the first one's reclaim when it is cancelled, and
 * else is served after it. */
UNIT_TEST(two_offlines)
{
	static struct call first = {.node = NODE, .policy = SN_MIGRATE, .timeout_ms = -1};
	static struct call second = {.node = FIRST + 4, .policy = SN_MIGRATE, .timeout_ms = -1};
	struct sn_lifecycle_result result;
	pthread_t workers[2];

	start_stalling(5);
	fill(0, 1000, NODE);
	fill(1000, 2000, second.node);
	workers[0] = unit_thread(offline_thread, &first);
	sem_wait(&stalled);
	workers[1] = unit_thread(offline_thread, &second);
	while (unit_state(second.node) != SN_GOING_OFFLINE)
		sched_yield();
	unit_sleep_ms(20);
	CHECK_EQUAL(sn_cancel(second.node, &result), 0);
	unit_join(workers[1]);
	CHECK_EQUAL(second.error, -ECANCELED);
	workers[1] = unit_thread(offline_thread, &second);
	sem_post(&go_on);
	unit_join(workers[0]);
	unit_join(workers[1]);
	CHECK_EQUAL(first.error, 0);
	CHECK_EQUAL(second.error, 0);
	CHECK_EQUAL(first.result.evicted_objects, 1000);
	CHECK_EQUAL(second.result.evicted_objects, 1000);
	check_rest();
}

static enum slabnode_answer goes(uint32_t entry, bool *lie)
{
	(void)entry, (void)lie;
	return SLABNODE_GONE;
}

/* A slab that is isolated for compaction is not given back by an offline, even when it is empty:
 * the offline waits for the call. */
UNIT_TEST(offline_during_a_compaction)
{
	static struct call offline = {.node = NODE, .policy = SN_STRICT, .timeout_ms = -1};
	pthread_t drainer, worker;

	start_stalling(2);
	how.inside = NULL;
	how.after = stall;
	how.plan = goes;
	for (int round = 0; round < 3; round++) {
		fill(0, THINGS, NODE);
		thin_out(4);
		stalls = true;
		drainer = unit_thread(drain_thread, (void *)(uintptr_t)NODE);
		sem_wait(&stalled);
		for (uint32_t i = 0; i < THINGS; i++)
			drop_now(i);
		offline.done = false;
		offline.policy = round == 1 ? SN_MIGRATE : SN_STRICT;
		worker = unit_thread(offline_thread, &offline);
		while (unit_state(NODE) != SN_GOING_OFFLINE)
			sched_yield();
		unit_sleep_ms(150);
		CHECK(!offline.done);
		if (round == 2)
			cancel_at_once(NODE);
		sem_post(&go_on);
		unit_join(worker);
		CHECK_EQUAL(offline.error, round == 2 ? -ECANCELED : 0);
		if (round < 2)
			CHECK_EQUAL(unit_resident(NODE), 0);
		unit_join(drainer);
		CHECK_EQUAL(unit_online(NODE), 0);
	}
	check_rest();
}

static _Atomic bool taken_back;

static void *take_back(void *arg)
{
	(void)arg;
	CHECK_EQUAL(sn_movable_set(things, NULL, NULL, NULL), 0);
	taken_back = true;
	return NULL;
}

UNIT_TEST(taken_back_during_an_attempt)
{
	static struct call offline = {.node = NODE, .policy = SN_MIGRATE, .timeout_ms = -1};
	pthread_t worker, taker;
	unsigned int gets;

	start_stalling(2);
	fill(0, THINGS, NODE);
	worker = unit_thread(offline_thread, &offline);
	sem_wait(&stalled);
	taker = unit_thread(take_back, NULL);
	unit_sleep_ms(20);
	CHECK(!taken_back); /* waits: no call runs after it returned */
	sem_post(&go_on);
	unit_join(taker);
	gets = how.gets;
	unit_join(worker);
	CHECK_EQUAL(offline.error, 0);
	CHECK_EQUAL(unit_online(NODE), 0);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
	CHECK_EQUAL(how.gets, gets);
	check_rest();
}

UNIT_TEST(slots_installed_while_closed)
{
	void *p;

	start(2);
	CHECK_EQUAL(sn_tables_close_cache(FIRST, things), 0);
	p = sn_alloc_cache(things); /* gives the slot its array */
	sn_free(p);
	CHECK_EQUAL(sn_tables_count(FIRST, things), 0);
	sn_tables_open_cache(FIRST, things);
	p = sn_alloc_cache(things);
	sn_free(p);
	CHECK(sn_tables_count(FIRST, things) > 0);
	CHECK_EQUAL(sn_tables_close_cache(FIRST, things), 0);
	CHECK_EQUAL(sn_tables_count(FIRST, things), 0);
	sn_free(sn_alloc_cache(things));
	CHECK_EQUAL(sn_tables_count(FIRST, things), 0);
	sn_tables_open_cache(FIRST, things);
	check_rest();
}

/* --- threads ------------------------------------------------------------------------------------
 */

#define WORKERS 3

static _Atomic bool stop;

/* Replaces, frees and verifies things; its CPU is on a node of its own. */
static void *churn(void *arg)
{
	uint64_t seed = (uintptr_t)arg * 77 + 5;

	unit_cpu_node(FIRST + (unsigned int)(uintptr_t)arg % 3);
	while (!stop) {
		uint32_t i = (uint32_t)(unit_random(&seed) % THINGS);

		pthread_mutex_lock(&directory[i].lock);
		check_thing(i);
		if (unit_random(&seed) % 3 == 0 && drop(i) && unit_random(&seed) % 2 == 0)
			directory[i].thing = make(i, SN_NODE_NONE);
		else if (directory[i].thing == NULL)
			directory[i].thing = make(i, SN_NODE_NONE);
		pthread_mutex_unlock(&directory[i].lock);
	}
	return NULL;
}

static void *drains(void *arg)
{
	(void)arg;
	while (!stop) {
		drain_now(SN_NODE_NONE);
		unit_sleep_ms(1);
	}
	return NULL;
}

static enum slabnode_answer mostly(uint32_t entry, bool *lie)
{
	static _Atomic unsigned int n;

	(void)entry;
	*lie = n % 11 == 3;
	return atomic_fetch_add(&n, 1) % 5 == 0 ? SLABNODE_LATER : SLABNODE_MOVED;
}

UNIT_TEST(drains_under_threads)
{
	pthread_t threads[WORKERS + 1];

	start(3);
	how.plan = mostly;
	for (uintptr_t i = 0; i < WORKERS; i++)
		threads[i] = unit_thread(churn, (void *)i);
	threads[WORKERS] = unit_thread(drains, NULL);
	unit_sleep_ms(1500);
	stop = true;
	for (unsigned int i = 0; i <= WORKERS; i++)
		unit_join(threads[i]);
	CHECK(how.moved > 0);
	check_rest();
}

UNIT_TEST(nodes_come_and_go_under_threads)
{
	struct sn_lifecycle_result result;
	pthread_t threads[WORKERS + 1];
	uint64_t until, evicted = 0;

	start(3);
	for (uintptr_t i = 0; i < WORKERS; i++)
		threads[i] = unit_thread(churn, (void *)i);
	threads[WORKERS] = unit_thread(drains, NULL);
	until = sn_now_ns() + 2000000000ull;
	for (unsigned int i = 0; sn_now_ns() < until; i++) {
		unsigned int node = FIRST + i % 3;

		CHECK_EQUAL(unit_offline(node, SN_MIGRATE, -1, &result), 0);
		evicted += result.evicted_objects;
		CHECK_EQUAL(unit_resident(node), 0);
		unit_sleep_ms(2);
		CHECK_EQUAL(unit_online(node), 0);
		unit_sleep_ms(2);
	}
	stop = true;
	for (unsigned int i = 0; i <= WORKERS; i++)
		unit_join(threads[i]);
	CHECK(evicted > 0);
	check_rest();
}

/* --- fork ---------------------------------------------------------------------------------------
 */

/* Whatever was under way is undone; pinned things stay pinned, and all is asked anew. */
static void child_goes_on(void)
{
	struct sn_lifecycle_result result;
	unsigned int pinned = 0, on_node;

	CHECK(!sn_in_callback());
	how.inside = NULL;
	for_each_node(n) {
		struct sn_cache_node *cn = sn_cache_node(sn_nodes[n], things);

		CHECK(cn->isolated == NULL);
		CHECK_EQUAL(cn->vacating, 0);
		CHECK_EQUAL(unit_state(n), SN_ONLINE);
	}
	for (uint32_t i = 0; i < THINGS; i++)
		pinned += directory[i].thing != NULL && directory[i].thing->state == PINNED;
	CHECK(pinned <= 64);
	CHECK_EQUAL(check_all(), THINGS / 4);
	on_node = things_on(NODE);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, &result), 0);
	CHECK_EQUAL(result.evicted_objects, on_node - pinned);
	CHECK_EQUAL(unit_online(NODE), 0);
	drain_now(SN_NODE_NONE);
	check_rest();
}

static pid_t forked;

static void fork_inside(const struct slabnode_reclaim *request)
{
	(void)request;
	if (forked >= 0)
		return;
	forked = unit_fork(NULL);
	if (forked == 0) {
		/* What the child frees here may be the very slab that the parent is asking. */
		for (unsigned int k = 0; k < request->count; k++)
			if (request->objects[k] != NULL)
				atomic_store(&((struct thing *)request->objects[k])->state, LIVE);
		child_goes_on();
		sn_cache_shrink(things);
		_exit(0);
	}
}

/* Reclaim goes on in the child with the request of the parent: it has to let go of what it holds.
 */
static enum slabnode_answer not_in_the_child(uint32_t entry, bool *lie)
{
	(void)entry, (void)lie;
	return forked == 0 ? SLABNODE_WILL_NOT : SLABNODE_MOVED;
}

/* The callback returns in the child, too. */
static void fork_and_return(const struct slabnode_reclaim *request)
{
	if (forked >= 0)
		return;
	forked = unit_fork(NULL);
	if (forked == 0) {
		how.plan = NULL;
		child_goes_on();
		how.plan = not_in_the_child;
	}
	(void)request;
}

static void thin_node(void)
{
	start(2);
	fill(0, THINGS, NODE);
	thin_out(4);
	forked = -1;
}

UNIT_TEST(fork_inside_reclaim)
{
	if (!unit_can_fork())
		return;
	thin_node();
	how.inside = fork_inside;
	drain_now(NODE);
	CHECK(forked > 0);
	unit_child_ends(forked);
	forked = -1;
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
	CHECK(forked > 0);
	unit_child_ends(forked);
	CHECK_EQUAL(unit_online(NODE), 0);
	check_rest();
}

static void fork_returns(bool offline)
{
	struct sn_lifecycle_result result = {0};

	how.inside = fork_and_return;
	how.plan = not_in_the_child;
	forked = -1;
	if (offline)
		unit_offline(NODE, SN_MIGRATE, -1, &result);
	else
		drain_now(NODE);
	CHECK(forked >= 0);
	if (forked == 0) {
		if (offline)
			CHECK_EQUAL(result.error, -ECANCELED);
		how.plan = NULL;
		CHECK_EQUAL(check_all(), THINGS / 4);
		CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
		CHECK_EQUAL(unit_online(NODE), 0);
		check_rest();
		_exit(0);
	}
	unit_child_ends(forked);
}

UNIT_TEST(reclaim_returns_in_the_child)
{
	if (!unit_can_fork())
		return;
	thin_node();
	fork_returns(false);
	fork_returns(true);
	check_rest();
}

/* The child frees all things, whose slabs become others', before it returns into the attempt. */
static void fork_and_clear(const struct slabnode_reclaim *request)
{
	(void)request;
	if (forked >= 0)
		return;
	forked = unit_fork(NULL);
	if (forked > 0)
		return;
	for (uint32_t i = 0; i < THINGS; i++) {
		if (directory[i].thing != NULL)
			atomic_store(&directory[i].thing->state, LIVE);
		drop_now(i);
	}
	sn_cache_shrink(things);
	CHECK_EQUAL(slabs_on(NODE), 0);
	for (unsigned int i = 0; i < 10000; i++)
		CHECK(sn_malloc_node(240, NODE) != NULL);
	how.skip = true;
}

UNIT_TEST(slabs_are_gone_in_the_child)
{
	if (!unit_can_fork())
		return;
	thin_node();
	how.inside = fork_and_clear;
	for (int round = 0; round < 2; round++) {
		const struct sn_cache_node *cn = sn_cache_node(sn_nodes[NODE], things);

		forked = -1;
		round == 0 ? (void)drain_now(NODE) : (void)unit_offline(NODE, SN_MIGRATE, -1, NULL);
		CHECK(forked >= 0);
		if (forked == 0) {
			CHECK(cn->partial == NULL && cn->full == NULL && cn->free == NULL);
			how.inside = NULL;
			how.skip = false;
			fill(0, THINGS, NODE);
			CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
			check_rest();
			_exit(0);
		}
		unit_child_ends(forked);
	}
	check_rest();
}

/* Another thread forks while a batch is between get and the end of reclaim, or before. */
UNIT_TEST(fork_during_an_attempt)
{
	static struct call offline = {.node = NODE, .policy = SN_MIGRATE, .timeout_ms = -1};
	pthread_t worker;
	pid_t pid;

	if (!unit_can_fork())
		return;
	start_stalling(2);
	fill(0, THINGS, NODE);
	thin_out(4);
	for (int round = 0; round < 2; round++) {
		stalls = true;
		worker = round == 0 ? unit_thread(drain_thread, (void *)(uintptr_t)NODE)
				    : unit_thread(offline_thread, &offline);
		sem_wait(&stalled);
		pid = unit_fork(NULL);
		if (pid == 0) {
			child_goes_on();
			_exit(0);
		}
		unit_child_ends(pid);
		sem_post(&go_on);
		unit_join(worker);
	}
	CHECK_EQUAL(offline.error, 0);
	check_rest();
}

UNIT_TEST(fork_at_any_moment)
{
	pthread_t drainer;

	if (!unit_can_fork())
		return;
	thin_node();
	how.plan = mostly;
	drainer = unit_thread(drains, NULL);
	for (unsigned int i = 0; i < 60; i++) {
		pid_t pid = unit_fork(NULL);

		if (pid == 0) {
			for (uint32_t k = 0; k < THINGS; k++) /* the locks of those who were */
				pthread_mutex_init(&directory[k].lock, NULL);
			how.plan = NULL;
			CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
			CHECK_EQUAL(unit_online(NODE), 0);
			drain_now(SN_NODE_NONE);
			for_each_node(n) {
				CHECK(sn_cache_node(sn_nodes[n], things)->isolated == NULL);
				CHECK_EQUAL(sn_cache_node(sn_nodes[n], things)->vacating, 0);
			}
			_exit(0);
		}
		unit_child_ends(pid);
		CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
		CHECK_EQUAL(unit_online(NODE), 0);
	}
	stop = true;
	unit_join(drainer);
	check_rest();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cancel_during_a_stall),
		cmocka_unit_test(timeout_during_a_stall),
		cmocka_unit_test(two_offlines),
		cmocka_unit_test(offline_during_a_compaction),
		cmocka_unit_test(taken_back_during_an_attempt),
		cmocka_unit_test(slots_installed_while_closed),
		cmocka_unit_test(drains_under_threads),
		cmocka_unit_test(nodes_come_and_go_under_threads),
		cmocka_unit_test(fork_inside_reclaim),
		cmocka_unit_test(reclaim_returns_in_the_child),
		cmocka_unit_test(slabs_are_gone_in_the_child),
		cmocka_unit_test(fork_during_an_attempt),
		cmocka_unit_test(fork_at_any_moment),
	};

	unit_arguments(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
