/*
 * test_races.c - operations on one node that meet, and threads that work meanwhile.
 *
 * Hooks of the machine and of the steps hold one operation at the place where another one
 * would do harm, so that most meetings here are made, not hoped for.
 */
#include "unit.h"

#define NODE (FIRST + 1)

static void until(_Atomic int *flag)
{
	for (int i = 0; atomic_load(flag) == 0; i++) {
		CHECK(i < 20000);
		unit_sleep_ms(1);
	}
}

/* --- an online that begins while the offline before it still vacates pages --- */

static _Atomic int vacating, online_done;

static void *online_thread(void *arg)
{
	(void)arg;
	until(&vacating);
	CHECK_EQUAL(unit_online(NODE), 0);
	atomic_store(&online_done, 1);
	return NULL;
}

static void hold_vacate(unsigned int node)
{
	(void)node;
	if (atomic_exchange(&vacating, 1) != 0)
		return;
	/* It may well wait for us: then it has nothing to tell for a while. */
	for (int i = 0; i < 200 && atomic_load(&online_done) == 0; i++)
		unit_sleep_ms(1);
}

static void use_memory(unsigned int node)
{
	void *p[64];

	for (unsigned int i = 0; i < 64; i++) {
		p[i] = sn_malloc_node(40000 + i * 5000, node);
		CHECK(p[i] != NULL);
		unit_fill(p[i], 40000 + i * 5000, i);
	}
	for (unsigned int i = 0; i < 64; i++) {
		CHECK(unit_intact(p[i], 40000 + i * 5000, i));
		sn_free(p[i]);
	}
}

UNIT_TEST(online_during_the_tail_of_an_offline)
{
	pthread_t thread;
	void *p;

	unit_start(3);
	p = sn_malloc_node(100000, NODE); /* its segment stays, and free pages of it */
	use_memory(NODE);
	machine.on_vacate = hold_vacate;
	thread = unit_thread(online_thread, NULL);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
	unit_join(thread);
	sn_free(p);
	CHECK_EQUAL(unit_state(NODE), SN_ONLINE);
	use_memory(NODE);
}

/* --- a run that is purged while its node returns --- */

static void *free_thread(void *arg)
{
	sn_free(arg);
	return NULL;
}

UNIT_TEST(purge_during_online)
{
	pthread_t freeing, onlining;
	void *p;

	unit_start(3);
	p = sn_malloc_node(3 * MIB, NODE);
	memset(p, 1, 3 * MIB);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
	machine.on_vacate = hold_vacate;
	freeing = unit_thread(free_thread, p);
	onlining = unit_thread(online_thread, NULL);
	unit_join(freeing);
	unit_join(onlining);
	machine.on_vacate = NULL;
	for (unsigned int i = 0; i < 8; i++) {
		p = sn_malloc_node(3 * MIB, NODE);
		CHECK(p != NULL);
		memset(p, 2, 3 * MIB);
	}
}

/* The same when the run cannot be made accessible again at that moment: it is not lost. */

static _Thread_local bool restore_fails;
static _Atomic int refusals;

static int refuse_restore(enum sn_fault_point point)
{
	if (point != SN_FAULT_RESTORE || !restore_fails)
		return 0;
	atomic_fetch_add(&refusals, 1);
	return -ENOMEM;
}

static void *free_without_restore(void *arg)
{
	restore_fails = true;
	return free_thread(arg);
}

UNIT_TEST(purge_that_cannot_restore)
{
	pthread_t freeing, onlining;
	void *p;

	unit_start(3);
	p = sn_malloc_node(3 * MIB, NODE);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
	sn_fault_hook = refuse_restore;
	machine.on_vacate = hold_vacate;
	freeing = unit_thread(free_without_restore, p);
	onlining = unit_thread(online_thread, NULL);
	unit_join(freeing);
	unit_join(onlining);
	machine.on_vacate = NULL;
	CHECK(atomic_load(&refusals) > 0);
	use_memory(NODE);
	p = sn_malloc_node(3 * MIB, NODE);
	CHECK(p != NULL);
	memset(p, 2, 3 * MIB);
	sn_free(p);
	unit_quiesce();
	/* All free again: no run is missing that would keep its segment. */
	CHECK_EQUAL(sn_nodes[NODE]->nr_headers, 0);
}

/* --- memory that somebody is giving back, out of everybody's sight, while its node leaves --- */

static _Thread_local bool gives_back;
static _Atomic int giving_back, may_go_on, offline_done;
static bool gives_in_vain;

static int hold_discard(enum sn_fault_point point)
{
	if (point != SN_FAULT_DISCARD || !gives_back)
		return 0;
	if (atomic_exchange(&giving_back, 1) == 0)
		until(&may_go_on);
	return gives_in_vain ? -EINVAL : 0;
}

/* A block: frees it.  None: trims. */
static void *give_back(void *p)
{
	gives_back = true;
	if (p != NULL)
		sn_free(p);
	else
		sn_segments_trim(sn_nodes[NODE], NULL);
	gives_back = false;
	return NULL;
}

static void *offline_now(void *result)
{
	unit_offline(NODE, SN_MIGRATE, -1, result);
	atomic_store(&offline_done, 1);
	return NULL;
}

static void leave_while_given_back(void *p)
{
	struct sn_lifecycle_result result;
	pthread_t giver, leaver;

	atomic_store(&giving_back, 0);
	atomic_store(&may_go_on, 0);
	atomic_store(&offline_done, 0);
	sn_fault_hook = hold_discard;
	giver = unit_thread(give_back, p);
	until(&giving_back);
	leaver = unit_thread(offline_now, &result);
	unit_sleep_ms(20);
	CHECK(!offline_done);
	atomic_store(&may_go_on, 1);
	unit_join(leaver);
	CHECK_EQUAL(result.error, 0);
	CHECK_EQUAL(unit_resident(NODE), 0);
	unit_join(giver);
	CHECK_EQUAL(unit_resident(NODE), 0);
	sn_fault_hook = NULL;
	unit_quiesce();
	CHECK_EQUAL(unit_online(NODE), 0);
}

UNIT_TEST(offline_while_memory_is_given_back)
{
	unit_start(3);
	for (unsigned int i = 0; i < 2; i++) {
		gives_in_vain = i == 1;
		/* A segment that holds nothing: its run is clean. */
		sn_free(sn_malloc_node(MIB / 4, NODE));
		sn_pages_purge(sn_nodes[NODE], SN_ALL_PAGES, NULL);
		CHECK(unit_resident(NODE) > 0);
		leave_while_given_back(NULL);
		/* A span too long to be kept. */
		leave_while_given_back(sn_malloc_node(64 * MIB, NODE));
	}
}

/* --- an offline that begins while a rebalance still brings pages back --- */

static _Atomic int moving;

static void *offline_thread(void *arg)
{
	struct sn_lifecycle_result *result = arg;

	until(&moving);
	unit_offline(NODE, SN_MIGRATE, -1, result);
	atomic_store(&offline_done, 1);
	return NULL;
}

static void hold_move(unsigned int target)
{
	if (target != NODE || atomic_exchange(&moving, 1) != 0)
		return;
	for (int i = 0; i < 200 && atomic_load(&offline_done) == 0; i++)
		unit_sleep_ms(1);
}

UNIT_TEST(offline_during_rebalance)
{
	struct sn_lifecycle_result result, online;
	struct sn_transition_info info;
	pthread_t thread;
	void *p;

	unit_start(3);
	p = sn_malloc_node(40 * MIB, NODE);
	unit_fill(p, 40 * MIB, 1);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
	machine.on_move = hold_move;
	thread = unit_thread(offline_thread, &result);
	CHECK_EQUAL(sn_online(NODE, true, &online), 0);
	unit_join(thread);
	CHECK_EQUAL(result.error, 0);
	CHECK_EQUAL(unit_state(NODE), SN_OFFLINE);
	CHECK_EQUAL(unit_resident(NODE), 0);
	CHECK(unit_page_node(p) != NODE);
	CHECK(!sn_transition_info(NODE, &info));
	CHECK(unit_intact(p, 40 * MIB, 1));
	/* The same for "online --rebalance" of a node that is online already. */
	machine.on_move = NULL;
	CHECK_EQUAL(unit_online(NODE), 0);
	atomic_store(&moving, 0);
	atomic_store(&offline_done, 0);
	machine.on_move = hold_move;
	thread = unit_thread(offline_thread, &result);
	CHECK_EQUAL(sn_online(NODE, true, &online), 0);
	unit_join(thread);
	CHECK_EQUAL(result.error, 0);
	CHECK_EQUAL(unit_resident(NODE), 0);
}

/* --- a stand-in whose own offline is vetoed while the node that it stands in for returns --- */

static int veto_and_online(enum sn_fault_point point)
{
	if (point != SN_FAULT_GOING_OFFLINE)
		return 0;
	sn_fault_hook = NULL;
	CHECK_EQUAL(unit_online(NODE), 0);
	return -EPERM;
}

UNIT_TEST(veto_of_the_stand_in)
{
	unsigned int standin;
	void *p[400];

	unit_start(3);
	unit_cpu_node(NODE);
	for (unsigned int i = 0; i < 400; i++)
		p[i] = sn_malloc(64);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
	standin = atomic_load(&sn_standin[NODE]);
	for (unsigned int i = 0; i < 400; i++)
		sn_free(p[i]); /* into the stand-in's arrays */
	sn_fault_hook = veto_and_online;
	CHECK_EQUAL(unit_offline(standin, SN_MIGRATE, -1, NULL), -EPERM);
	CHECK_EQUAL(unit_state(standin), SN_ONLINE);
	CHECK_EQUAL(unit_state(NODE), SN_ONLINE);
	CHECK_EQUAL(unit_offline(NODE, SN_STRICT, -1, NULL), 0);
	CHECK_EQUAL(unit_out(NODE), 0);
}

/* --- joining, the opposite, cancel of the second of two --- */

static void *wait_thread(void *arg)
{
	unit_offline(NODE, SN_WAIT, -1, arg);
	return NULL;
}

static void until_waiting(unsigned int node)
{
	struct sn_transition_info info;

	for (int i = 0; !sn_transition_info(node, &info) || info.phase != SN_PHASE_WAIT; i++) {
		CHECK(i < 20000);
		unit_sleep_ms(1);
	}
}

UNIT_TEST(join_and_the_opposite)
{
	struct sn_lifecycle_result result[3];
	pthread_t thread[3];
	void *p;

	unit_start(3);
	p = sn_malloc_node(64, NODE);
	thread[0] = unit_thread(wait_thread, &result[0]);
	until_waiting(NODE);
	CHECK_EQUAL(unit_online(NODE), -EBUSY);
	thread[1] = unit_thread(wait_thread, &result[1]);
	thread[2] = unit_thread(wait_thread, &result[2]);
	unit_sleep_ms(50);
	CHECK_EQUAL(unit_state(NODE), SN_GOING_OFFLINE);
	sn_free(p);
	for (unsigned int i = 0; i < 3; i++) {
		unit_join(thread[i]);
		CHECK_EQUAL(result[i].error, 0);
		CHECK_EQUAL(result[i].state, SN_OFFLINE);
	}
	/* Joined to one that fails: the same failure. */
	CHECK_EQUAL(unit_online(NODE), 0);
	p = sn_malloc_node(64, NODE);
	thread[0] = unit_thread(wait_thread, &result[0]);
	until_waiting(NODE);
	thread[1] = unit_thread(wait_thread, &result[1]);
	unit_sleep_ms(50);
	CHECK_EQUAL(sn_cancel(NODE, &result[2]), 0);
	unit_join(thread[0]);
	unit_join(thread[1]);
	CHECK_EQUAL(result[0].error, -ECANCELED);
	CHECK_EQUAL(result[1].error, -ECANCELED);
	CHECK_EQUAL(unit_state(NODE), SN_ONLINE);
	sn_free(p);
}

static struct sn_lifecycle_result pair[2];

static void *wait_for_two(void *arg)
{
	struct sn_offline_request request = {.policy = SN_WAIT, .timeout_ms = -1};
	unsigned int nodes[2] = {NODE, NODE + 1};

	(void)arg;
	sn_offline(nodes, 2, &request, pair);
	return NULL;
}

static void *cancel_second(void *arg)
{
	struct sn_lifecycle_result result;

	CHECK_EQUAL(sn_cancel(NODE + 1, &result), 0);
	atomic_store((_Atomic int *)arg, 1);
	return NULL;
}

UNIT_TEST(cancel_of_the_second_of_two)
{
	_Atomic int cancelled = 0;
	pthread_t waiter, canceller;
	void *p, *q;

	unit_start(4);
	p = sn_malloc_node(64, NODE);
	q = sn_malloc_node(64, NODE + 1);
	waiter = unit_thread(wait_for_two, NULL);
	until_waiting(NODE);
	canceller = unit_thread(cancel_second, &cancelled);
	for (int i = 0; i < 3000 && !atomic_load(&cancelled); i++)
		unit_sleep_ms(1);
	CHECK(atomic_load(&cancelled)); /* though the first waits for ever */
	CHECK_EQUAL(unit_state(NODE + 1), SN_ONLINE);
	CHECK_EQUAL(unit_state(NODE), SN_GOING_OFFLINE);
	CHECK(sn_malloc_node(64, NODE + 1) != NULL);
	sn_free(p);
	unit_join(waiter);
	unit_join(canceller);
	CHECK_EQUAL(pair[0].error, 0);
	CHECK_EQUAL(pair[1].error, -ECANCELED);
	sn_free(q);
}

/* --- a storm: workers verify their objects and where they are, nodes come and go --- */

#define WORKERS 3
#define HELD	300

struct worker {
	unsigned int number;
	uint64_t objects;
};

static _Atomic int stop;
/* Odd while no allocation may be of the node: bumped when the offline is acknowledged, before it
 * is rolled back, and before an online begins. */
static _Atomic uint32_t away[8];

static void on_progress(void *arg, const struct sn_progress *progress)
{
	_Atomic uint32_t *count = &away[progress->os_node];

	(void)arg;
	/* An offline may be rolled back before it was acknowledged. */
	if ((progress->phase == SN_PHASE_CLOSE && progress->done == 1) ||
	    (progress->phase == SN_PHASE_ROLLBACK && atomic_load(count) % 2 != 0))
		atomic_fetch_add(count, 1);
}

static size_t draw_size(uint64_t *seed)
{
	static const size_t most[] = {64, 1024, 32768, 300000, 9000000};
	unsigned int r = (unsigned int)(unit_random(seed) % 200);

	return 1 + unit_random(seed) % most[r < 100   ? 0
					    : r < 160 ? 1
					    : r < 190 ? 2
					    : r < 199 ? 3
						      : 4];
}

static void *audited_malloc(size_t size)
{
	uint32_t before[8];
	unsigned int where;
	void *p;

	for (unsigned int n = 0; n < 8; n++)
		before[n] = atomic_load(&away[n]);
	p = sn_malloc(size);
	CHECK(p != NULL);
	where = unit_page_node(p) - FIRST;
	CHECK(where < 8);
	if (before[where] % 2 != 0 && atomic_load(&away[where]) == before[where])
		unit_fail(__FILE__, __LINE__, "%zu bytes at %p (home %u) are on node %u, away",
			  size, p, sn_home_of(p) - FIRST, where);
	return p;
}

static void *storm_worker(void *arg)
{
	struct worker *self = arg;
	uint64_t seed = self->number * 77 + 1;
	struct {
		void *p;
		size_t size;
		uint64_t id;
	} held[HELD] = {{NULL, 0, 0}};

	unit_cpu_node(FIRST + self->number % 4);
	for (uint64_t id = self->number << 20; atomic_load(&stop) == 0; id++) {
		unsigned int at = (unsigned int)(unit_random(&seed) % HELD);
		size_t size = draw_size(&seed), keep = sn_min(size, held[at].size);

		if (held[at].p != NULL)
			CHECK(unit_intact(held[at].p, held[at].size, held[at].id));
		if (held[at].p != NULL && id % 7 == 0) {
			void *p = sn_realloc(held[at].p, size);

			CHECK(p != NULL);
			/* The pattern does not depend on the length, but for its last bytes. */
			CHECK(unit_intact(p, keep & ~(size_t)7, held[at].id));
			held[at].p = p;
		} else {
			sn_free(held[at].p);
			held[at].p = audited_malloc(size);
		}
		held[at].size = size;
		held[at].id = id;
		unit_fill(held[at].p, size, id);
		self->objects++;
	}
	for (unsigned int i = 0; i < HELD; i++)
		sn_free(held[i].p);
	return NULL;
}

static void storm_step(uint64_t *seed)
{
	static const enum sn_policy policies[] = {SN_STRICT, SN_WAIT, SN_MIGRATE, SN_MIGRATE};
	struct sn_offline_request request = {.timeout_ms = 30, .progress = on_progress};
	unsigned int node = FIRST + (unsigned int)(unit_random(seed) % 4);
	struct sn_lifecycle_result result;
	struct sn_drain_result drained;

	request.policy = policies[unit_random(seed) % 4];
	switch (unit_random(seed) % 6) {
	case 0:
	case 1:
	case 2:
		sn_offline(&node, 1, &request, &result);
		break;
	case 3:
	case 4:
		if (atomic_load(&away[node - FIRST]) % 2 != 0)
			atomic_fetch_add(&away[node - FIRST], 1);
		CHECK_EQUAL(sn_online(node, unit_random(seed) % 2 != 0, &result), 0);
		break;
	default:
		CHECK_EQUAL(sn_drain(SN_NODE_NONE, false, &drained), 0);
		break;
	}
}

UNIT_TEST(storm_over_a_workload)
{
	struct worker workers[WORKERS];
	pthread_t threads[WORKERS];
	const char *seconds = getenv("TEST_SECONDS");
	uint64_t seed = 20211123, until_ns;
	uint64_t out = 0;

	unit_start(4);
	for (unsigned int i = 0; i < WORKERS; i++) {
		workers[i] = (struct worker){.number = i};
		threads[i] = unit_thread(storm_worker, &workers[i]);
	}
	until_ns = sn_now_ns() + (seconds != NULL ? strtoull(seconds, NULL, 10) : 5) * 1000000000u;
	while (sn_now_ns() < until_ns) {
		storm_step(&seed);
		unit_sleep_ms((long)(unit_random(&seed) % 5));
	}
	atomic_store(&stop, 1);
	for (unsigned int i = 0; i < WORKERS; i++) {
		unit_join(threads[i]);
		CHECK(workers[i].objects > 100);
	}
	for (unsigned int n = FIRST; n < FIRST + 4; n++) {
		CHECK_EQUAL(unit_online(n), 0);
		CHECK_EQUAL(atomic_load(&sn_standin[n]), n);
	}
	unit_quiesce();
	for (unsigned int n = FIRST; n < FIRST + 4; n++) {
		out += unit_out(n);
		CHECK_EQUAL(sn_nodes[n]->large_blocks, 0);
		CHECK_EQUAL(sn_nodes[n]->large_pages, 0);
	}
	CHECK_EQUAL(out, 0); /* nothing lost, nothing doubled */
	for (unsigned int n = FIRST; n < FIRST + 3; n++) {
		CHECK_EQUAL(unit_offline(n, SN_STRICT, -1, NULL), 0);
		CHECK_EQUAL(unit_resident(n), 0);
	}
}

/* Two controllers at once: their requests meet in every order. */
static void *controller(void *arg)
{
	uint64_t seed = (uintptr_t)arg;
	struct sn_lifecycle_result result;

	while (atomic_load(&stop) == 0) {
		unsigned int node = FIRST + (unsigned int)(unit_random(&seed) % 4);

		switch (unit_random(&seed) % 5) {
		case 0:
			unit_offline(node, SN_MIGRATE, 100, &result);
			break;
		case 1:
			unit_offline(node, SN_STRICT, 100, &result);
			break;
		case 2:
			sn_cancel(node, &result);
			break;
		default:
			sn_online(node, unit_random(&seed) % 2 != 0, &result);
			break;
		}
	}
	return NULL;
}

UNIT_TEST(two_controllers)
{
	struct worker workers[2] = {{.number = 0}, {.number = 1}};
	struct sn_transition_info info;
	pthread_t threads[4];
	const char *seconds = getenv("TEST_SECONDS");

	unit_start(4);
	for (unsigned int i = 0; i < 2; i++) {
		threads[i] = unit_thread(storm_worker, &workers[i]);
		threads[2 + i] = unit_thread(controller, (void *)(uintptr_t)(i + 5));
	}
	unit_sleep_ms((seconds != NULL ? strtol(seconds, NULL, 10) : 5) * 1000);
	atomic_store(&stop, 1);
	for (unsigned int i = 0; i < 4; i++)
		unit_join(threads[i]);
	for (unsigned int n = FIRST; n < FIRST + 4; n++) {
		CHECK(!sn_transition_info(n, &info));
		CHECK_EQUAL(unit_online(n), 0);
	}
	unit_quiesce();
	for (unsigned int n = FIRST; n < FIRST + 4; n++) {
		void *p = sn_malloc_node(2 * MIB, n);

		CHECK_EQUAL(unit_out(n), 0);
		CHECK(p != NULL);
		memset(p, 1, 2 * MIB);
		CHECK_EQUAL(unit_page_node(p), n); /* the policies are right again, too */
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(online_during_the_tail_of_an_offline),
		cmocka_unit_test(purge_during_online),
		cmocka_unit_test(purge_that_cannot_restore),
		cmocka_unit_test(offline_while_memory_is_given_back),
		cmocka_unit_test(offline_during_rebalance),
		cmocka_unit_test(veto_of_the_stand_in),
		cmocka_unit_test(join_and_the_opposite),
		cmocka_unit_test(cancel_of_the_second_of_two),
		cmocka_unit_test(storm_over_a_workload),
		cmocka_unit_test(two_controllers),
	};

	unit_arguments(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
