/*
 * test_notifier_stalls.c - a callback takes its time: what waits for it, what does not, and what is
 * told to listeners that come meanwhile.
 */
#include "listeners.h"

static void *cancel_thread(void *arg)
{
	struct call *call = arg;

	call->error = sn_cancel(NODE, &call->result);
	atomic_store(&call->over, true);
	return NULL;
}

static void check_waits_for(const char *what)
{
	struct sn_transition_info info;

	CHECK(sn_transition_info(NODE, &info));
	if (strcmp(info.waiting_for, what) != 0)
		unit_fail(__FILE__, __LINE__, "waits for \"%s\", not %s", info.waiting_for, what);
	CHECK(!sn_transition_info(FIRST, &info));
}

UNIT_TEST(cancel_during_a_stall)
{
	static struct call offline = {.policy = SN_MIGRATE, .timeout_ms = -1}, cancel;
	pthread_t worker, canceller;

	unit_start(2);
	prepare_stall(&mem, "going-offline");
	mem.name = "the-slow-one-with-a-name-of-more-than-thirty-one-bytes";
	join_in(&mem, 1);
	join_in(&node, 0);
	worker = stalled_thread(offline_thread, &offline);
	check_waits_for("notifier the-slow-one-with-a-name-of-mor");
	CHECK_EQUAL(unit_state(NODE), SN_GOING_OFFLINE);
	/* Meanwhile everything else is as ever. */
	sn_free(sn_malloc(3 * MIB));
	CHECK(sn_malloc_node(64, NODE) == NULL);
	canceller = unit_thread(cancel_thread, &cancel);
	unit_sleep_ms(20);
	CHECK(!atomic_load(&offline.over));
	sem_post(&go_on);
	unit_join(canceller);
	unit_join(worker);
	CHECK_EQUAL(cancel.error, 0);
	CHECK_EQUAL(offline.error, -ECANCELED);
	CHECK_EQUAL(offline.result.state, SN_ONLINE);
	CHECK_EQUAL(unit_state(NODE), SN_ONLINE);
	CHECK(sn_malloc_node(64, NODE) != NULL);
	CHECK_EQUAL(mem.heard, 2);
	CHECK_EQUAL(node.heard, 2);
	CHECK(strstr(tape, "cancel-offline/1 n:cancel-removing/1 ") != NULL);
}

/* Another node's offline waits for the turn to tell the same notifier.  It can be cancelled, and
 * run out of time, meanwhile; the notifier never hears of it. */
UNIT_TEST(cancel_behind_a_stall)
{
	static struct call offline = {.policy = SN_MIGRATE, .timeout_ms = -1};
	struct sn_lifecycle_result result;
	pthread_t worker;

	unit_start(3);
	prepare_stall(&mem, "going-offline");
	join_in(&mem, 0);
	worker = stalled_thread(offline_thread, &offline);
	CHECK_EQUAL(unit_offline(NODE + 1, SN_MIGRATE, 30, &result), -ETIMEDOUT);
	CHECK_EQUAL(unit_state(NODE + 1), SN_ONLINE);
	CHECK(!atomic_load(&offline.over));
	TAPE("m:going-offline/1 ");
	sem_post(&go_on);
	unit_join(worker);
	CHECK_EQUAL(offline.error, 0);
	TAPE("m:offline/1 ");
	mem.inside = NULL;
	CHECK_EQUAL(unit_offline(NODE + 1, SN_MIGRATE, -1, &result), 0);
}

UNIT_TEST(timeout_during_a_stall)
{
	static struct call offline = {.policy = SN_WAIT, .timeout_ms = 20};
	pthread_t worker;
	void *p;

	unit_start(2);
	p = sn_malloc_node(64, NODE);
	prepare_stall(&node, "removing");
	join_in(&mem, 1);
	join_in(&node, 0);
	worker = stalled_thread(offline_thread, &offline);
	check_waits_for("notifier n");
	unit_sleep_ms(50);
	CHECK(!atomic_load(&offline.over));
	sem_post(&go_on);
	unit_join(worker);
	CHECK_EQUAL(offline.error, -ETIMEDOUT);
	TAPE("n:removing/1 m:going-offline/1 m:cancel-offline/1 n:cancel-removing/1 ");
	sn_free(p);
}

/* The ends stall as well: the transition is not over, and the opposite waits for it. */
UNIT_TEST(stall_at_the_end)
{
	static struct call offline = {.policy = SN_STRICT, .timeout_ms = -1}, online;
	pthread_t worker, opposite;

	unit_start(2);
	prepare_stall(&mem, "offline");
	join_in(&mem, 1);
	join_in(&node, 0);
	worker = stalled_thread(offline_thread, &offline);
	check_waits_for("notifier m");
	CHECK_EQUAL(unit_state(NODE), SN_OFFLINE);
	opposite = unit_thread(online_thread, &online);
	unit_sleep_ms(20);
	CHECK(!atomic_load(&online.over));
	sem_post(&go_on);
	unit_join(worker);
	unit_join(opposite);
	CHECK_EQUAL(offline.error, 0);
	CHECK_EQUAL(online.error, 0);
	TAPE("n:removing/1 m:going-offline/1 n:removed/1 m:offline/1 "
	     "n:adding/1 m:going-online/1 n:added/1 m:online/1 ");
}

static void *unregister_thread(void *arg)
{
	struct call *call = arg;

	call->error = sn_notifier_unregister(mem.id);
	atomic_store(&call->over, true);
	return NULL;
}

UNIT_TEST(unregister_waits_for_the_callback)
{
	static struct call offline = {.policy = SN_STRICT, .timeout_ms = -1}, leave;
	pthread_t worker, leaver;

	unit_start(2);
	prepare_stall(&mem, "going-offline");
	join_in(&mem, 1);
	worker = stalled_thread(offline_thread, &offline);
	leaver = unit_thread(unregister_thread, &leave);
	unit_sleep_ms(50);
	CHECK(!atomic_load(&leave.over));
	CHECK_EQUAL(mem.heard, 0);
	sem_post(&go_on);
	unit_join(leaver);
	CHECK_EQUAL(leave.error, 0);
	unit_join(worker);
	CHECK_EQUAL(offline.error, 0);
	CHECK(mem.heard <= 2); /* it may have been in time for the end */
	tape[0] = '\0';
	CHECK_EQUAL(unit_online(NODE), 0);
	TAPE("");
}

/* --- newcomers ----------------------------------------------------------------------------- */

static struct listener first = {.name = "first", .refuse = NOTHING}, refuser = {.name = "refuser"};

UNIT_TEST(newcomer_in_the_middle)
{
	static struct call offline = {.policy = SN_WAIT, .timeout_ms = -1};
	pthread_t worker;
	void *p;

	unit_start(3);
	join_in(&mem, 0);
	p = sn_malloc_node(64, NODE);
	worker = unit_thread(offline_thread, &offline);
	unit_until_phase(NODE, SN_PHASE_WAIT);
	TAPE("m:going-offline/1 ");
	join_in(&node, 0);
	TAPE("n:removing/1 "); /* when register has returned it was told */
	join_in(&first, 100);
	TAPE("first:going-offline/1 ");
	CHECK_EQUAL(sn_notifier_unregister(mem.id), 0); /* hears no end */
	CHECK(!atomic_load(&offline.over));
	sn_free(p);
	unit_join(worker);
	CHECK_EQUAL(offline.error, 0);
	TAPE("n:removed/1 first:offline/1 ");
	CHECK_EQUAL(unit_online(NODE), 0);
	TAPE("n:adding/1 first:going-online/1 n:added/1 first:online/1 ");
}

UNIT_TEST(late_veto)
{
	static struct call offline = {.policy = SN_WAIT, .timeout_ms = -1};
	pthread_t worker;
	void *p;

	unit_start(3);
	join_in(&mem, 0);
	p = sn_malloc_node(64, NODE);
	for (unsigned int kind = 0; kind < 2; kind++) {
		refuser.is_node = kind == 1;
		refuser.refuse = kind == 1 ? (int)SLABNODE_NODE_REMOVING_LAST_MEMORY
					   : (int)SLABNODE_MEM_GOING_OFFLINE;
		worker = unit_thread(offline_thread, &offline);
		unit_until_phase(NODE, SN_PHASE_WAIT);
		join_in(&refuser, 100);
		unit_join(worker);
		CHECK_EQUAL(offline.error, -EBUSY);
		CHECK_EQUAL(offline.result.error, -EBUSY);
		CHECK(strcmp(offline.result.message, "refused by notifier refuser") == 0);
		CHECK_EQUAL(unit_state(NODE), SN_ONLINE);
		if (kind == 0)
			TAPE("m:going-offline/1 refuser:going-offline/1 "
			     "refuser:cancel-offline/1 m:cancel-offline/1 ");
		else
			TAPE("m:going-offline/1 refuser:removing/1 m:cancel-offline/1 "
			     "refuser:cancel-removing/1 ");
		CHECK_EQUAL(sn_notifier_unregister(refuser.id), 0);
	}
	sn_free(p);
	CHECK_EQUAL(unit_offline(NODE, SN_STRICT, -1, NULL), 0); /* the veto is forgotten */
}

static void *newcomer_thread(void *arg)
{
	join_in(arg, 100);
	return NULL;
}

/* Newcomers wait while a callback stalls, then they are told before the end. */
UNIT_TEST(newcomers_during_a_stall)
{
	static struct call online;
	pthread_t worker, newcomers[2];

	unit_start(2);
	CHECK_EQUAL(unit_offline(NODE, SN_STRICT, -1, NULL), 0);
	prepare_stall(&node, "adding");
	join_in(&node, 0);
	refuser.refuse = SLABNODE_MEM_GOING_ONLINE;
	worker = stalled_thread(online_thread, &online);
	newcomers[0] = unit_thread(newcomer_thread, &refuser);
	newcomers[1] = unit_thread(newcomer_thread, &first);
	unit_sleep_ms(20);
	sem_post(&go_on);
	unit_join(worker);
	unit_join(newcomers[0]);
	unit_join(newcomers[1]);
	/* Who came too late for the beginning hears nothing, but nobody hears half of it. */
	CHECK(refuser.heard % 2 == 0 && first.heard % 2 == 0);
	CHECK_EQUAL(node.heard, 2);
	CHECK(online.error == 0 || (online.error == -EBUSY && refuser.heard == 2));
	CHECK_EQUAL(unit_state(NODE), online.error == 0 ? SN_ONLINE : SN_OFFLINE);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cancel_during_a_stall),
		cmocka_unit_test(cancel_behind_a_stall),
		cmocka_unit_test(timeout_during_a_stall),
		cmocka_unit_test(stall_at_the_end),
		cmocka_unit_test(unregister_waits_for_the_callback),
		cmocka_unit_test(newcomer_in_the_middle),
		cmocka_unit_test(late_veto),
		cmocka_unit_test(newcomers_during_a_stall),
	};

	unit_arguments(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
