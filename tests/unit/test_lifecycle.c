/*
 * test_lifecycle.c - nodes leave and return, one operation at a time.
 */
#include "unit.h"

#include <sys/wait.h>

#define NODE (FIRST + 1) /* the one that leaves */

/* What an offline that did not happen must leave as it was. */
struct picture {
	enum sn_node_state state;
	unsigned int order[8], nr_order;
	uint64_t live;
	unsigned int standin;
};

static struct picture picture_of(unsigned int node)
{
	struct picture p = {.state = unit_state(node), .live = sn_live_bytes(node)};

	/* The whole order, of a neighbour: it says whether the node is in the masks. */
	p.nr_order = sn_fallback(FIRST, p.order, 8);
	p.standin = atomic_load(&sn_standin[node]);
	return p;
}

static void check_same(const struct picture *a, const struct picture *b)
{
	CHECK_EQUAL(a->state, b->state);
	CHECK_EQUAL(a->nr_order, b->nr_order);
	CHECK(memcmp(a->order, b->order, a->nr_order * sizeof(a->order[0])) == 0);
	CHECK_EQUAL(a->live, b->live);
	CHECK_EQUAL(a->standin, b->standin);
}

UNIT_TEST(strict_names_the_holders)
{
	struct sn_lifecycle_result result;
	struct picture before, after;
	void *p[10], *big;

	unit_start(4);
	for (unsigned int i = 0; i < 10; i++)
		unit_fill(p[i] = unit_hold(NODE, 64), 64, i);
	big = unit_hold(NODE, 5 * MIB);
	before = picture_of(NODE);
	CHECK_EQUAL(unit_offline(NODE, SN_STRICT, -1, &result), -EBUSY);
	CHECK_EQUAL(result.error, -EBUSY);
	CHECK(result.message[0] != '\0');
	CHECK_EQUAL(result.state, SN_ONLINE);
	CHECK_EQUAL(result.os_node, 1);
	CHECK_EQUAL(result.nr_holders, 2);
	CHECK(strcmp(result.holders[0].cache, "large") == 0);
	CHECK_EQUAL(result.holders[0].objects, 1);
	CHECK_EQUAL(result.holders[0].bytes, 5 * MIB);
	CHECK(strcmp(result.holders[1].cache, "malloc-64") == 0);
	CHECK_EQUAL(result.holders[1].objects, 10);
	CHECK_EQUAL(result.holders[1].slabs, 1);
	CHECK_EQUAL(result.holders[1].bytes, 640);
	after = picture_of(NODE);
	check_same(&before, &after);
	unit_check_allocates(NODE);
	for (unsigned int i = 0; i < 10; i++)
		CHECK(unit_intact(p[i], 64, i));
	for (unsigned int i = 0; i < 10; i++)
		sn_free(p[i]);
	sn_free(big);
	CHECK_EQUAL(unit_offline(NODE, SN_STRICT, -1, &result), 0);
	CHECK_EQUAL(unit_resident(NODE), 0);
}

static void fill_and_free(unsigned int cpu)
{
	void *p[2000];

	unit_cpu_node(cpu);
	for (unsigned int i = 0; i < 2000; i++)
		CHECK((p[i] = sn_malloc(16 + i % 700)) != NULL);
	for (unsigned int i = 0; i < 2000; i++)
		sn_free(p[i]);
}

static void *cached_thread(void *arg)
{
	fill_and_free((unsigned int)(uintptr_t)arg);
	return NULL;
}

/* Arrays, alien caches, shared stores, free slabs, dirty runs, cached spans: all go. */
UNIT_TEST(strict_with_only_cached_memory)
{
	struct sn_lifecycle_result result;
	pthread_t thread;

	unit_start(4);
	thread = unit_thread(cached_thread, (void *)(uintptr_t)NODE);
	unit_join(thread);
	for (unsigned int i = 0; i < 200; i++) /* freed from another node: alien caches */
		sn_free(unit_hold(NODE, 48));
	sn_free(unit_hold(NODE, 20 * MIB));
	sn_free(unit_hold(NODE, MIB));
	CHECK(unit_resident(NODE) > 0);
	CHECK_EQUAL(unit_offline(NODE, SN_STRICT, -1, &result), 0);
	CHECK_EQUAL(result.state, SN_OFFLINE);
	CHECK(result.drained_objects > 0);
	CHECK(result.released_bytes >= 21 * MIB); /* the run of 1 MiB and slabs count, too */
	CHECK_EQUAL(unit_state(NODE), SN_OFFLINE);
	CHECK_EQUAL(unit_out(NODE), 0);
	CHECK_EQUAL(unit_resident(NODE), 0); /* the metadata has moved */
	errno = 0;
	CHECK(sn_malloc_node(64, NODE) == NULL);
	CHECK_EQUAL(errno, EBUSY);
	errno = 0;
	CHECK(sn_malloc_node(MIB, NODE) == NULL);
	CHECK_EQUAL(errno, EBUSY);
	CHECK_EQUAL(unit_online(NODE), 0);
	unit_check_allocates(NODE);
}

static void *offline_wait(void *arg)
{
	struct sn_lifecycle_result *result = arg;

	unit_offline(NODE, SN_WAIT, -1, result);
	return NULL;
}

UNIT_TEST(wait_ends_with_the_last_free)
{
	struct sn_lifecycle_result result;
	void *small, *run, *span;
	pthread_t thread;

	unit_start(3);
	small = unit_hold(NODE, 200);
	run = unit_hold(NODE, 100000);
	span = unit_hold(NODE, 10 * MIB);
	thread = unit_thread(offline_wait, &result);
	unit_until_phase(NODE, SN_PHASE_WAIT);
	CHECK(sn_malloc_node(64, NODE) == NULL);
	sn_free(small);
	unit_sleep_ms(20);
	CHECK_EQUAL(unit_state(NODE), SN_GOING_OFFLINE);
	sn_free(span);
	unit_sleep_ms(20);
	CHECK_EQUAL(unit_state(NODE), SN_GOING_OFFLINE);
	sn_free(run);
	unit_join(thread);
	CHECK_EQUAL(result.error, 0);
	CHECK_EQUAL(unit_state(NODE), SN_OFFLINE);
	CHECK_EQUAL(unit_resident(NODE), 0);
}

UNIT_TEST(wait_times_out)
{
	struct sn_lifecycle_result result;
	struct picture before, after;
	void *p;

	unit_start(3);
	p = unit_hold(NODE, 3000);
	unit_fill(p, 3000, 7);
	before = picture_of(NODE);
	CHECK_EQUAL(unit_offline(NODE, SN_WAIT, 100, &result), -ETIMEDOUT);
	CHECK(result.elapsed_ms >= 99);
	CHECK_EQUAL(result.nr_holders, 1);
	CHECK(strcmp(result.holders[0].cache, "malloc-3072") == 0);
	after = picture_of(NODE);
	check_same(&before, &after);
	CHECK(unit_intact(p, 3000, 7));
	unit_check_allocates(NODE);
	CHECK_EQUAL(unit_offline(NODE, SN_WAIT, 0, &result), -ETIMEDOUT);
	sn_free(p);
	CHECK_EQUAL(unit_offline(NODE, SN_WAIT, 5000, &result), 0);
}

UNIT_TEST(wait_is_cancelled)
{
	struct sn_lifecycle_result result, cancel;
	struct picture before, after;
	pthread_t thread;
	void *p;

	unit_start(3);
	CHECK_EQUAL(sn_cancel(NODE, &cancel), 0);
	CHECK(cancel.already);
	p = unit_hold(NODE, 40);
	before = picture_of(NODE);
	thread = unit_thread(offline_wait, &result);
	unit_until_phase(NODE, SN_PHASE_WAIT);
	CHECK_EQUAL(sn_cancel(NODE, &cancel), 0);
	CHECK_EQUAL(cancel.state, SN_ONLINE);
	CHECK_EQUAL(unit_state(NODE), SN_ONLINE); /* before the cancel returned */
	unit_join(thread);
	CHECK_EQUAL(result.error, -ECANCELED);
	after = picture_of(NODE);
	check_same(&before, &after);
	unit_check_allocates(NODE);
	CHECK_EQUAL(sn_cancel(NODE, &cancel), 0);
	CHECK(cancel.already);
	sn_free(p);
}

UNIT_TEST(migrate_moves_everything)
{
	struct sn_lifecycle_result result;
	void *p[500], *run, *span;

	unit_start(4);
	for (unsigned int i = 0; i < 500; i++)
		unit_fill(p[i] = unit_hold(NODE, 1 + i * 40), 1 + i * 40, i);
	unit_fill(run = unit_hold(NODE, 5 * MIB), 5 * MIB, 1000);
	unit_fill(span = unit_hold(NODE, 33 * MIB), 33 * MIB, 1001);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, &result), 0);
	CHECK_EQUAL(unit_state(NODE), SN_OFFLINE);
	CHECK(result.migrated_bytes >= 38 * MIB);
	CHECK_EQUAL(unit_resident(NODE), 0);
	for (unsigned int i = 0; i < 500; i++) {
		CHECK(unit_intact(p[i], 1 + i * 40, i));
		CHECK(unit_page_node(p[i]) != NODE);
		sn_free(p[i]);
	}
	CHECK(unit_intact(run, 5 * MIB, 1000));
	CHECK(unit_intact(span, 33 * MIB, 1001));
	sn_free(run);
	sn_free(span);
	CHECK_EQUAL(unit_resident(NODE), 0);
	CHECK_EQUAL(unit_online(NODE), 0);
	unit_check_allocates(NODE);
}

static void *held_back;
static size_t dirty_before, dirty_after;

/* A thread of the program frees a block after the acknowledgement and before the release. */
static void free_in_close(void *arg, const struct sn_progress *progress)
{
	(void)arg;
	if (progress->phase != SN_PHASE_CLOSE || held_back == NULL)
		return;
	dirty_before = sn_nodes[NODE]->dirty.pages;
	sn_free(held_back);
	held_back = NULL;
	dirty_after = sn_nodes[NODE]->dirty.pages;
}

UNIT_TEST(free_pays_for_itself_alone)
{
	struct sn_offline_request request = {
		.policy = SN_STRICT, .timeout_ms = -1, .progress = free_in_close};
	struct sn_lifecycle_result result;
	unsigned int node = NODE;
	void *other;

	unit_start(2);
	held_back = unit_hold(NODE, MIB);
	other = unit_hold(NODE, 3 * MIB);
	sn_free(other);
	CHECK_EQUAL(sn_offline(&node, 1, &request, &result), 0);
	CHECK(held_back == NULL);
	CHECK_EQUAL(dirty_before, 3 * MIB >> SN_PAGE_SHIFT);
	CHECK_EQUAL(dirty_after, dirty_before); /* the rest is the offline's work */
	CHECK_EQUAL(unit_resident(NODE), 0);
	CHECK(result.released_bytes >= 4 * MIB);
	CHECK_EQUAL(sn_nodes[NODE]->dirty.pages, 0);
}

UNIT_TEST(vacated_runs_are_apart)
{
	void *p[100];

	unit_start(2);
	for (unsigned int i = 0; i < 100; i++)
		p[i] = unit_hold(NODE, 64 << 10);
	for (unsigned int i = 0; i < 100; i += 2)
		sn_free(p[i]);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
	CHECK_EQUAL(sn_nodes[NODE]->clean.pages, 0);
	CHECK(sn_nodes[NODE]->vacated.pages >= 50 * 16);
	CHECK(atomic_load(&machine.vacates) >= 50);
	CHECK_EQUAL(unit_online(NODE), 0);
	CHECK_EQUAL(sn_nodes[NODE]->vacated.pages, 0);
	CHECK(sn_nodes[NODE]->clean.pages >= 50 * 16);
	CHECK_EQUAL(atomic_load(&machine.restores), atomic_load(&machine.vacates));
	for (unsigned int i = 1; i < 100; i += 2)
		sn_free(p[i]);
	unit_check_allocates(NODE);
}

UNIT_TEST(migrate_fills_targets_in_distance_order)
{
	struct sn_lifecycle_result result;
	void *p;

	unit_start(4);
	machine.capacity[NODE + 1] = 8 * MIB; /* node 2 is as near as 0 and comes first */
	unit_fill(p = unit_hold(NODE, 30 * MIB), 30 * MIB, 3);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, &result), 0);
	CHECK(unit_resident(NODE + 1) > MIB >> SN_PAGE_SHIFT);
	CHECK(unit_resident(NODE + 1) <= 8 * MIB >> SN_PAGE_SHIFT);
	CHECK(unit_resident(FIRST) > 20 * MIB >> SN_PAGE_SHIFT);
	CHECK_EQUAL(unit_resident(FIRST + 3), 0);
	CHECK(unit_intact(p, 30 * MIB, 3));
	sn_free(p);
}

UNIT_TEST(migrate_to_named_targets)
{
	struct sn_offline_request request = {.policy = SN_MIGRATE, .timeout_ms = -1};
	struct sn_lifecycle_result result;
	unsigned int node = NODE;
	void *p;

	unit_start(4);
	p = unit_hold(NODE, 4 * MIB);
	sn_mask_add(&request.to, NODE); /* itself: no target */
	CHECK_EQUAL(sn_offline(&node, 1, &request, &result), -EINVAL);
	CHECK_EQUAL(unit_state(NODE), SN_ONLINE);
	sn_mask_add(&request.to, FIRST + 3);
	CHECK_EQUAL(sn_offline(&node, 1, &request, &result), 0);
	CHECK_EQUAL(unit_page_node(p), FIRST + 3);
	CHECK_EQUAL(unit_resident(NODE), 0);
	sn_free(p);
}

UNIT_TEST(migrate_without_room)
{
	struct sn_lifecycle_result result;
	struct picture before, after;
	size_t there;
	void *p;

	unit_start(3);
	machine.capacity[FIRST] = machine.capacity[FIRST + 2] = 4 * MIB;
	unit_fill(p = unit_hold(NODE, 10 * MIB), 10 * MIB, 3);
	before = picture_of(NODE);
	there = unit_resident(NODE);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, &result), -ENOMEM);
	after = picture_of(NODE);
	check_same(&before, &after);
	/* Before anything changes. */
	CHECK_EQUAL(unit_resident(NODE), there);
	CHECK_EQUAL(machine.moves, 0);
	CHECK_EQUAL(sn_event_last(), 0);
	unit_check_allocates(NODE);
	CHECK(unit_intact(p, 10 * MIB, 3));
}

UNIT_TEST(migrate_of_pages_that_stay)
{
	struct sn_lifecycle_result result;
	struct picture before, after;
	void *p;

	unit_start(3);
	unit_fill(p = unit_hold(NODE, 3 * MIB), 3 * MIB, 3);
	before = picture_of(NODE);
	machine.pages_busy = true;
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, 200, &result), -ETIMEDOUT);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, &result), -EBUSY);
	CHECK(result.elapsed_ms >= 4000);
	CHECK(result.nr_unmovable > 0);
	CHECK(strcmp(result.unmovable[0].reason, "pinned") == 0);
	CHECK(result.unmovable[0].pages >= 3 * MIB >> SN_PAGE_SHIFT);
	after = picture_of(NODE);
	check_same(&before, &after);
	unit_check_allocates(NODE);
	machine.pages_busy = false;
	machine.error = -EPERM;
	machine.fail_move = 1;
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, &result), -EPERM);
	after = picture_of(NODE);
	check_same(&before, &after);
	unit_check_allocates(NODE);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, &result), 0);
	CHECK(unit_intact(p, 3 * MIB, 3));
}

UNIT_TEST(last_usable_node)
{
	struct sn_lifecycle_result result[3];
	struct sn_offline_request request = {.policy = SN_MIGRATE, .timeout_ms = -1};
	unsigned int all[3] = {FIRST, FIRST + 1, FIRST + 2}, unknown = FIRST + 3, internal = 1;

	unit_start(3);
	CHECK_EQUAL(sn_offline(&unknown, 1, &request, result), -ENODEV);
	CHECK_EQUAL(sn_offline(&internal, 1, &request, result), -ENODEV);
	CHECK_EQUAL(sn_offline(all, 0, &request, result), -EINVAL);
	CHECK_EQUAL(sn_offline(all, 3, &request, result), -EBUSY);
	for (unsigned int i = 0; i < 3; i++)
		CHECK_EQUAL(unit_state(all[i]), SN_ONLINE);
	CHECK_EQUAL(sn_offline(all, 2, &request, result), 0);
	CHECK_EQUAL(unit_offline(FIRST + 2, SN_MIGRATE, -1, result), -EBUSY);
	CHECK_EQUAL(unit_offline(FIRST + 2, SN_STRICT, -1, result), -EBUSY);
	CHECK(strstr(result->message, "last usable node") != NULL);
	CHECK_EQUAL(sn_cordon(FIRST + 2, true, result), -EBUSY);
	CHECK_EQUAL(unit_online(FIRST), 0);
	/* A cordoned node is no usable one. */
	CHECK_EQUAL(sn_cordon(FIRST, true, result), 0);
	CHECK_EQUAL(unit_offline(FIRST + 2, SN_STRICT, -1, result), -EBUSY);
	CHECK_EQUAL(unit_offline(FIRST, SN_STRICT, -1, result), 0);
	all[1] = all[0];
	CHECK_EQUAL(sn_offline(all, 2, &request, result), -EINVAL);
}

/* The cpuset loses a node that is in use: nothing new from it, what lives there stays and can be
 * taken off; and it is as before when the cpuset has it again. */
UNIT_TEST(cpuset_shrinks)
{
	struct sn_lifecycle_result result;
	void *p, *q;

	unit_start(3);
	unit_cpu_node(NODE);
	p = sn_malloc(64);
	unit_fill(p, 64, 1);
	CHECK_EQUAL(sn_home_of(p), NODE);
	sn_mask_add(&machine.forbidden, NODE);
	sn_refresh_allowed();
	CHECK_EQUAL(unit_state(NODE), SN_ONLINE);
	q = sn_malloc(64);
	CHECK(q != NULL && sn_home_of(q) != NODE);
	CHECK(sn_malloc_node(64, NODE) == NULL);
	CHECK(unit_intact(p, 64, 1));
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, &result), 0);
	CHECK_EQUAL(unit_resident(NODE), 0);
	CHECK(unit_intact(p, 64, 1));
	CHECK_EQUAL(sn_online(NODE, false, &result), -EPERM);
	CHECK(strstr(result.message, "not allowed") != NULL);
	sn_mask_remove(&machine.forbidden, NODE);
	sn_refresh_allowed();
	CHECK_EQUAL(unit_online(NODE), 0);
	unit_check_allocates(NODE);
	sn_free(p);
	sn_free(q);
	/* A cpuset of nodes that nobody here knows changes nothing. */
	for_each_node(n)
		sn_mask_add(&machine.forbidden, n);
	sn_refresh_allowed();
	CHECK_EQUAL(sn_node_count_usable(), 3);
}

/* A thread's preferred node leaves and returns. */
UNIT_TEST(preferred_node_comes_and_goes)
{
	void *p[3];

	unit_start(3);
	unit_cpu_node(FIRST);
	CHECK_EQUAL(sn_thread_prefer(NODE), 0);
	p[0] = sn_malloc(64);
	CHECK_EQUAL(sn_home_of(p[0]), NODE);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
	/* Its stand-in's memory, or what is lent of its own slabs: in no case a page of it. */
	p[1] = sn_malloc(64);
	CHECK(unit_page_node(p[1]) != NODE);
	CHECK_EQUAL(unit_online(NODE), 0);
	p[2] = sn_malloc(100000);
	CHECK_EQUAL(sn_home_of(p[2]), NODE);
	CHECK_EQUAL(sn_thread_prefer(SN_NODE_NONE), 0);
	for (unsigned int i = 0; i < 3; i++)
		sn_free(p[i]);
	p[0] = sn_malloc(100000);
	CHECK_EQUAL(sn_home_of(p[0]), FIRST);
	sn_free(p[0]);
}

UNIT_TEST(cordon_stops_new_memory)
{
	struct sn_lifecycle_result result;
	void *p, *q;

	unit_start(3);
	unit_cpu_node(NODE);
	p = sn_malloc(64);
	CHECK_EQUAL(sn_home_of(p), NODE);
	CHECK_EQUAL(sn_cordon(NODE, true, &result), 0);
	CHECK(!result.already);
	CHECK_EQUAL(sn_cordon(NODE, true, &result), 0);
	CHECK(result.already);
	CHECK_EQUAL(unit_state(NODE), SN_ONLINE);
	for (unsigned int i = 0; i < 1000; i++) {
		q = sn_malloc(64);
		CHECK(q != NULL && sn_home_of(q) != NODE);
		q = sn_malloc(100000);
		CHECK(q != NULL && sn_home_of(q) != NODE);
		sn_free(q);
	}
	errno = 0;
	CHECK(sn_malloc_node(64, NODE) == NULL);
	CHECK_EQUAL(errno, EBUSY);
	sn_free(p);
	CHECK_EQUAL(sn_cordon(NODE, false, &result), 0);
	unit_check_allocates(NODE);
	p = sn_malloc(64);
	CHECK_EQUAL(sn_home_of(p), NODE);
	/* Cordoned, offline, online: still cordoned. */
	CHECK_EQUAL(sn_cordon(NODE, true, &result), 0);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, &result), 0);
	CHECK_EQUAL(unit_online(NODE), 0);
	CHECK(sn_malloc_node(64, NODE) == NULL);
	CHECK_EQUAL(sn_cordon(NODE, false, &result), 0);
	CHECK(sn_malloc_node(64, NODE) != NULL);
}

UNIT_TEST(online_whose_restore_fails)
{
	struct sn_lifecycle_result result;
	void *p;

	unit_start(3);
	p = unit_hold(NODE, 3 * MIB);
	for (unsigned int i = 0; i < 50; i++)
		sn_free(unit_hold(NODE, 20000 * (i % 5 + 2)));
	unit_fill(p, 3 * MIB, 9);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, &result), 0);
	CHECK(machine.vacates > 0);
	machine.fail_restore = 1;
	machine.error = -EIO;
	CHECK_EQUAL(sn_online(NODE, false, &result), -EIO);
	CHECK_EQUAL(result.state, SN_OFFLINE);
	CHECK_EQUAL(unit_state(NODE), SN_OFFLINE);
	CHECK(sn_malloc_node(64, NODE) == NULL);
	CHECK(atomic_load(&sn_standin[NODE]) != 0);
	CHECK(unit_intact(p, 3 * MIB, 9));
	CHECK_EQUAL(sn_online(NODE, false, &result), 0);
	unit_check_allocates(NODE);
	CHECK_EQUAL(sn_online(NODE, false, &result), 0);
	CHECK(result.already);
	sn_free(p);
}

static int veto_error;
static enum sn_fault_point veto_step = SN_FAULT_COUNT;

static int veto(enum sn_fault_point point)
{
	return point == veto_step ? veto_error : 0;
}

/* A failure at each step leaves the node exactly as it was, its policy included. */
UNIT_TEST(failure_at_each_step_rolls_back)
{
	static const enum sn_fault_point steps[] = {
		SN_FAULT_GOING_OFFLINE, SN_FAULT_CLOSE,	  SN_FAULT_DRAIN, SN_FAULT_RELEASE,
		SN_FAULT_EVICT,		SN_FAULT_MIGRATE, SN_FAULT_VERIFY};
	struct sn_lifecycle_result result;
	struct picture before, after;
	void *p;

	unit_start(4);
	p = unit_hold(NODE, 5000);
	sn_free(unit_hold(NODE, 100));
	unit_fill(p, 5000, 1);
	sn_fault_hook = veto;
	veto_error = -EIO;
	for (size_t i = 0; i < SN_ARRAY_SIZE(steps); i++) {
		unit_quiesce();
		before = picture_of(NODE);
		veto_step = steps[i];
		CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, &result), -EIO);
		CHECK(strstr(result.message, sn_fault_info[steps[i]].name) != NULL);
		after = picture_of(NODE);
		check_same(&before, &after);
		unit_check_allocates(NODE);
		CHECK(unit_intact(p, 5000, 1));
	}
	veto_step = SN_FAULT_COUNT;
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, &result), 0);
	for (size_t i = 0; i < 3; i++) {
		static const enum sn_fault_point online[] = {SN_FAULT_GOING_ONLINE,
							     SN_FAULT_STRUCTURES, SN_FAULT_ONLINE};

		veto_step = online[i];
		CHECK_EQUAL(sn_online(NODE, false, &result), -EIO);
		CHECK_EQUAL(unit_state(NODE), SN_OFFLINE);
		CHECK(sn_malloc_node(64, NODE) == NULL);
		CHECK(unit_intact(p, 5000, 1));
	}
	veto_step = SN_FAULT_COUNT;
	CHECK_EQUAL(unit_online(NODE), 0);
	unit_check_allocates(NODE);
}

UNIT_TEST(several_nodes_at_once)
{
	struct sn_offline_request request = {.policy = SN_MIGRATE, .timeout_ms = -1};
	unsigned int nodes[2] = {FIRST + 1, FIRST + 2};
	struct sn_lifecycle_result result[2];
	void *p[2];

	unit_start(4);
	for (unsigned int i = 0; i < 2; i++)
		unit_fill(p[i] = unit_hold(nodes[i], 4 * MIB), 4 * MIB, i);
	CHECK_EQUAL(sn_offline(nodes, 2, &request, result), 0);
	for (unsigned int i = 0; i < 2; i++) {
		CHECK_EQUAL(unit_state(nodes[i]), SN_OFFLINE);
		CHECK_EQUAL(unit_resident(nodes[i]), 0);
		CHECK(unit_page_node(p[i]) == FIRST || unit_page_node(p[i]) == FIRST + 3);
		CHECK(unit_intact(p[i], 4 * MIB, i));
		CHECK_EQUAL(result[i].node, nodes[i]);
	}
	/* One is away already, one holds something: each has its own result. */
	CHECK_EQUAL(unit_online(nodes[1]), 0);
	request.policy = SN_STRICT;
	CHECK_EQUAL(sn_offline(nodes, 2, &request, result), -EBUSY);
	CHECK(result[0].already && result[0].error == 0);
	CHECK_EQUAL(result[1].error, -EBUSY);
}

/* Every row says what happened, those that could have left, too. */
UNIT_TEST(invalid_among_several)
{
	struct sn_offline_request request = {.policy = SN_MIGRATE, .timeout_ms = -1};
	unsigned int nodes[3] = {NODE, FIRST + 40, NODE};
	struct sn_lifecycle_result result[3];

	unit_start(4);
	CHECK_EQUAL(sn_offline(nodes, 3, &request, result), -ENODEV);
	CHECK_EQUAL(result[0].error, -ECANCELED);
	CHECK_EQUAL(result[1].error, -ENODEV);
	CHECK_EQUAL(result[2].error, -EINVAL);
	for (unsigned int i = 0; i < 3; i++)
		CHECK(result[i].message[0] != '\0');
	CHECK_EQUAL(unit_state(NODE), SN_ONLINE);
}

UNIT_TEST(strict_heeds_its_timeout)
{
	struct sn_lifecycle_result result;

	unit_start(2);
	unit_hold(NODE, 100);
	/* The processor may be another's for a while: one of several tells. */
	for (int tries = 0; tries < 50 && (tries == 0 || result.elapsed_ms >= 60); tries++)
		CHECK_EQUAL(unit_offline(NODE, SN_STRICT, 0, &result), -EBUSY);
	CHECK(result.elapsed_ms < 60);
	CHECK_EQUAL(unit_offline(NODE, SN_STRICT, -1, &result), -EBUSY);
	CHECK(result.elapsed_ms > 90);
}

/* Live bytes constant, a hundred cycles: no growth. */
UNIT_TEST(cycles_do_not_grow)
{
	uint64_t seed = 42, at_20 = 0;
	struct sn_totals totals;
	void *p[3000] = {NULL};

	unit_start(4);
	unit_cpu_node(NODE);
	for (unsigned int cycle = 0; cycle < 100; cycle++) {
		for (unsigned int i = 0; i < 6000; i++) {
			unsigned int at = (unsigned int)(unit_random(&seed) % 3000);

			sn_free(p[at]);
			p[at] = sn_malloc(16 + at % 2000);
			CHECK(p[at] != NULL);
			memset(p[at], 1, 16 + at % 2000);
			if (i == 2000)
				CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
			if (i == 4000)
				CHECK_EQUAL(unit_online(NODE), 0);
		}
		sn_totals(&totals);
		if (cycle == 20)
			at_20 = totals.mapped_bytes;
	}
	sn_totals(&totals);
	if (totals.mapped_bytes > at_20 + at_20 / 20)
		unit_fail(__FILE__, __LINE__, "grew from %llu to %llu bytes",
			  (unsigned long long)at_20, (unsigned long long)totals.mapped_bytes);
}

UNIT_TEST(events_tell_the_story)
{
	static const char *const actions[] = {"MEM_GOING_OFFLINE", "MEM_OFFLINE",
					      "MEM_GOING_ONLINE",  "MEM_ONLINE",
					      "MEM_GOING_OFFLINE", "MEM_CANCEL_OFFLINE"};
	struct sn_event event;
	uint64_t seq = 0;

	unit_start(2);
	CHECK_EQUAL(unit_offline(NODE, SN_STRICT, -1, NULL), 0);
	CHECK_EQUAL(unit_online(NODE), 0);
	unit_hold(NODE, 64);
	CHECK_EQUAL(unit_offline(NODE, SN_STRICT, -1, NULL), -EBUSY);
	for (size_t i = 0; i < SN_ARRAY_SIZE(actions); i++) {
		CHECK(sn_event_next(seq, &event));
		CHECK_EQUAL(event.seq, seq + 1);
		CHECK(strcmp(event.action, actions[i]) == 0);
		CHECK_EQUAL(event.os_node, 1);
		CHECK(event.from != event.to);
		seq = event.seq;
	}
	CHECK(!sn_event_next(seq, &event));
	CHECK_EQUAL(sn_event_last(), SN_ARRAY_SIZE(actions));
	/* The ring keeps the newest. */
	for (unsigned int i = 0; i < SN_EVENTS / 2; i++) {
		CHECK_EQUAL(unit_offline(NODE, SN_STRICT, -1, NULL), -EBUSY);
		if (i == 1)
			sn_cordon(FIRST, true, &(struct sn_lifecycle_result){0});
		if (i == 1)
			sn_cordon(FIRST, false, &(struct sn_lifecycle_result){0});
		if (i == 4) /* a hundred milliseconds each: the rest by vetoes */
			sn_fault_hook = veto, veto_step = SN_FAULT_DRAIN, veto_error = -EBUSY;
	}
	CHECK(sn_event_next(0, &event));
	CHECK_EQUAL(event.seq, sn_event_last() - SN_EVENTS + 1);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(strict_names_the_holders),
		cmocka_unit_test(strict_with_only_cached_memory),
		cmocka_unit_test(wait_ends_with_the_last_free),
		cmocka_unit_test(wait_times_out),
		cmocka_unit_test(wait_is_cancelled),
		cmocka_unit_test(migrate_moves_everything),
		cmocka_unit_test(free_pays_for_itself_alone),
		cmocka_unit_test(vacated_runs_are_apart),
		cmocka_unit_test(migrate_fills_targets_in_distance_order),
		cmocka_unit_test(migrate_to_named_targets),
		cmocka_unit_test(migrate_without_room),
		cmocka_unit_test(migrate_of_pages_that_stay),
		cmocka_unit_test(last_usable_node),
		cmocka_unit_test(cpuset_shrinks),
		cmocka_unit_test(preferred_node_comes_and_goes),
		cmocka_unit_test(cordon_stops_new_memory),
		cmocka_unit_test(online_whose_restore_fails),
		cmocka_unit_test(failure_at_each_step_rolls_back),
		cmocka_unit_test(several_nodes_at_once),
		cmocka_unit_test(invalid_among_several),
		cmocka_unit_test(strict_heeds_its_timeout),
		cmocka_unit_test(cycles_do_not_grow),
		cmocka_unit_test(events_tell_the_story),
	};

	unit_arguments(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
