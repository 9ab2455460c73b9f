/*
 * test_notifier.c - who is told of a node's life, in which order, what a veto does, and what a
 * callback may do.
 */
#include "listeners.h"

#include "cache.h"

/* The last step of the next online fails. */
static bool fail_online;

static int on_step(enum sn_fault_point point)
{
	if (!fail_online || point != SN_FAULT_ONLINE)
		return 0;
	fail_online = false;
	return -ENOMEM;
}

/* --- order --------------------------------------------------------------------------------- */

UNIT_TEST(events_of_success)
{
	unit_start(2);
	join_in(&mem, 0);
	join_in(&node, -1);
	CHECK_EQUAL(unit_offline(NODE, SN_STRICT, -1, NULL), 0);
	TAPE("n:removing/1 m:going-offline/1 n:removed/1 m:offline/1 ");
	CHECK_EQUAL(unit_offline(NODE, SN_STRICT, -1, NULL), 0); /* it was so already */
	TAPE("");
	CHECK_EQUAL(unit_online(NODE), 0);
	TAPE("n:adding/1 m:going-online/1 n:added/1 m:online/1 ");
	CHECK_EQUAL(unit_online(NODE), 0);
	TAPE("");
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
	TAPE("n:removing/1 m:going-offline/1 n:removed/1 m:offline/1 ");
	CHECK_EQUAL(unit_offline(FIRST, SN_MIGRATE, -1, NULL), -EBUSY); /* never began */
	TAPE("");
}

UNIT_TEST(events_of_failure)
{
	void *p;

	unit_start(2);
	sn_fault_hook = on_step;
	join_in(&mem, 0);
	join_in(&node, -1);
	p = sn_malloc_node(64, NODE);
	CHECK(p != NULL);
	CHECK_EQUAL(unit_offline(NODE, SN_STRICT, -1, NULL), -EBUSY);
	TAPE("n:removing/1 m:going-offline/1 m:cancel-offline/1 n:cancel-removing/1 ");
	CHECK_EQUAL(unit_offline(NODE, SN_WAIT, 5, NULL), -ETIMEDOUT);
	TAPE("n:removing/1 m:going-offline/1 m:cancel-offline/1 n:cancel-removing/1 ");
	sn_free(p);
	CHECK_EQUAL(unit_offline(NODE, SN_STRICT, -1, NULL), 0);
	tape[0] = '\0';
	fail_online = true;
	CHECK_EQUAL(unit_online(NODE), -ENOMEM);
	TAPE("n:adding/1 m:going-online/1 m:cancel-online/1 n:cancel-adding/1 ");
	CHECK_EQUAL(unit_state(NODE), SN_OFFLINE);
	CHECK_EQUAL(unit_online(NODE), 0);
	TAPE("n:adding/1 m:going-online/1 n:added/1 m:online/1 ");
}

UNIT_TEST(priorities)
{
	static struct listener l[] = {
		{.name = "a"}, {.name = "b"}, {.name = "c"}, {.name = "d"}, {.name = "e"},
	};
	static const int priority[] = {0, 10, 0, -2147483647 - 1, 10};

	unit_start(2);
	for (unsigned int i = 0; i < 5; i++) {
		l[i].refuse = NOTHING;
		join_in(&l[i], priority[i]);
	}
	CHECK_EQUAL(unit_offline(NODE, SN_STRICT, -1, NULL), 0);
	TAPE("b:going-offline/1 e:going-offline/1 a:going-offline/1 c:going-offline/1 "
	     "d:going-offline/1 b:offline/1 e:offline/1 a:offline/1 c:offline/1 d:offline/1 ");
	CHECK_EQUAL(sn_notifier_unregister(l[1].id), 0);
	CHECK_EQUAL(sn_notifier_unregister(l[1].id), -ENOENT);
	CHECK_EQUAL(sn_notifier_unregister(l[2].id), 0);
	join_in(&l[1], 10); /* behind e now */
	CHECK_EQUAL(unit_online(NODE), 0);
	TAPE("e:going-online/1 b:going-online/1 a:going-online/1 d:going-online/1 "
	     "e:online/1 b:online/1 a:online/1 d:online/1 ");
}

UNIT_TEST(bounds)
{
	static struct listener many[65];
	int id = 0;

	unit_start(2);
	CHECK_EQUAL(sn_notifier_register("x", 0, NULL, NULL, NULL), -EINVAL);
	CHECK_EQUAL(sn_notifier_register("x", 0, on_memory, on_node, NULL), -EINVAL);
	CHECK_EQUAL(sn_notifier_register(NULL, 0, on_memory, NULL, NULL), -EINVAL);
	CHECK_EQUAL(sn_notifier_unregister(0), -ENOENT);
	CHECK_EQUAL(sn_notifier_unregister(-1), -ENOENT);
	CHECK_EQUAL(sn_notifier_unregister(1), -ENOENT);
	for (unsigned int i = 0; i < 64; i++) {
		many[i] = (struct listener){.name = "x", .refuse = NOTHING, .is_node = i % 2};
		join_in(&many[i], (int)(i * 7 % 5));
	}
	CHECK_EQUAL(sn_notifier_register("x", 0, on_memory, NULL, &many[64]), -ENOSPC);
	CHECK_EQUAL(unit_offline(NODE, SN_STRICT, -1, NULL), 0);
	for (unsigned int i = 0; i < 64; i++) {
		CHECK_EQUAL(many[i].heard, 2);
		for (unsigned int k = 0; k < i; k++)
			CHECK(many[i].id != many[k].id);
		CHECK_EQUAL(sn_notifier_unregister(many[i].id), 0);
	}
	for (unsigned int i = 0; i < 64; i++) {
		id = sn_notifier_register("x", 0, on_memory, NULL, &many[0]);
		CHECK(id > many[63].id);
	}
	CHECK_EQUAL(sn_notifier_unregister(many[3].id), -ENOENT); /* ids are not used again */
}

/* --- veto ---------------------------------------------------------------------------------- */

static struct listener first = {.name = "first", .refuse = NOTHING}, refuser = {.name = "refuser"},
		       last = {.name = "last", .refuse = NOTHING};

static void three(bool is_node, int refuse)
{
	unit_start(2);
	first.is_node = refuser.is_node = last.is_node = is_node;
	refuser.refuse = refuse;
	join_in(&last, -5);
	join_in(&refuser, 0);
	join_in(&first, 5);
	mem.is_node = !is_node; /* of the other kind */
	join_in(&mem, 0);
}

static void refused_offline(void)
{
	struct sn_lifecycle_result result;

	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, &result), -EBUSY);
	CHECK_EQUAL(result.error, -EBUSY);
	CHECK(strcmp(result.message, "refused by notifier refuser (EPERM)") == 0);
	CHECK_EQUAL(result.state, SN_ONLINE);
	CHECK_EQUAL(unit_state(NODE), SN_ONLINE);
	CHECK(sn_malloc_node(64, NODE) != NULL);
}

UNIT_TEST(veto_of_going_offline)
{
	three(false, SLABNODE_MEM_GOING_OFFLINE);
	for (unsigned int i = 0; i < 3; i++) {
		refused_offline();
		TAPE("m:removing/1 first:going-offline/1 refuser:going-offline/1 "
		     "first:cancel-offline/1 refuser:cancel-offline/1 m:cancel-removing/1 ");
	}
	refuser.refuse = NOTHING;
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
	CHECK_EQUAL(last.heard, 2);
}

UNIT_TEST(veto_of_removing)
{
	three(true, SLABNODE_NODE_REMOVING_LAST_MEMORY);
	refused_offline();
	TAPE("first:removing/1 refuser:removing/1 first:cancel-removing/1 "
	     "refuser:cancel-removing/1 ");
	refuser.refuse = NOTHING;
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
}

static void refused_online(void)
{
	struct sn_lifecycle_result result;

	CHECK_EQUAL(unit_offline(NODE, SN_STRICT, -1, NULL), 0);
	tape[0] = '\0';
	CHECK_EQUAL(sn_online(NODE, true, &result), -EBUSY);
	CHECK(strcmp(result.message, "refused by notifier refuser (EPERM)") == 0);
	CHECK_EQUAL(result.state, SN_OFFLINE);
	CHECK_EQUAL(unit_state(NODE), SN_OFFLINE);
	CHECK(sn_malloc_node(64, NODE) == NULL);
}

UNIT_TEST(veto_of_going_online)
{
	three(false, SLABNODE_MEM_GOING_ONLINE);
	refused_online();
	TAPE("m:adding/1 first:going-online/1 refuser:going-online/1 first:cancel-online/1 "
	     "refuser:cancel-online/1 m:cancel-adding/1 ");
	refuser.refuse = NOTHING;
	CHECK_EQUAL(unit_online(NODE), 0);
	CHECK(sn_malloc_node(64, NODE) != NULL);
}

UNIT_TEST(veto_of_adding)
{
	three(true, SLABNODE_NODE_ADDING_FIRST_MEMORY);
	refused_online();
	TAPE("first:adding/1 refuser:adding/1 first:cancel-adding/1 refuser:cancel-adding/1 ");
	refuser.refuse = NOTHING;
	CHECK_EQUAL(unit_online(NODE), 0);
}

/* What cannot be vetoed goes on whatever is returned. */
UNIT_TEST(other_events_cannot_be_refused)
{
	static const int actions[] = {SLABNODE_MEM_CANCEL_ONLINE, SLABNODE_MEM_ONLINE,
				      SLABNODE_MEM_CANCEL_OFFLINE, SLABNODE_MEM_OFFLINE};
	void *p;

	unit_start(2);
	sn_fault_hook = on_step;
	join_in(&mem, 0);
	join_in(&node, 0);
	for (unsigned int i = 0; i < 4; i++) {
		mem.refuse = node.refuse = actions[i]; /* both enumerations have this order */
		p = sn_malloc_node(64, NODE);
		CHECK_EQUAL(unit_offline(NODE, SN_STRICT, -1, NULL), -EBUSY);
		CHECK_EQUAL(unit_state(NODE), SN_ONLINE);
		sn_free(p);
		CHECK_EQUAL(unit_offline(NODE, SN_STRICT, -1, NULL), 0);
		fail_online = true;
		CHECK_EQUAL(unit_online(NODE), -ENOMEM);
		CHECK_EQUAL(unit_online(NODE), 0);
	}
}

/* --- what callbacks do --------------------------------------------------------------------- */

static unsigned int where(const void *p)
{
	CHECK(p != NULL);
	return sn_home_of(p);
}

static void *kept[64];
static unsigned int nr_kept, uses;

/* At every event: the allocator is all there, but for the node that is on its way. */
static void use_allocator(struct listener *l, const char *event, int os_node)
{
	bool away = strcmp(event, "added") != 0 && strcmp(event, "online") != 0 &&
		    strncmp(event, "cancel-off", 10) != 0 && strncmp(event, "cancel-rem", 10) != 0;
	void *p = sn_malloc(100), *large = sn_malloc(300000), *object;
	int cache;

	(void)l;
	CHECK_EQUAL(os_node, 1);
	CHECK(where(p) >= FIRST && where(large) >= FIRST); /* not the library's own memory */
	CHECK(!away || (where(p) != NODE && where(large) != NODE));
	memset(large, 1, 300000);
	sn_free(large);
	errno = 0;
	object = sn_malloc_node(64, NODE);
	if (away)
		CHECK(object == NULL && errno == EBUSY);
	else
		CHECK_EQUAL(where(object), NODE);
	sn_free(object);
	cache = sn_cache_create("in-callback", 72, 0, NULL);
	CHECK(cache > 0);
	object = sn_alloc_cache((unsigned int)cache);
	CHECK(where(object) >= FIRST);
	CHECK_EQUAL(sn_cache_destroy((unsigned int)cache), -EBUSY);
	sn_free(object);
	CHECK_EQUAL(sn_cache_destroy((unsigned int)cache), 0);
	if (nr_kept < 64)
		kept[nr_kept++] = p;
	else
		sn_free(p);
	if (uses++ % 3 == 0 && nr_kept > 0)
		sn_free(kept[--nr_kept]);
}

UNIT_TEST(callbacks_allocate)
{
	void *p;

	unit_start(3);
	sn_fault_hook = on_step;
	unit_cpu_node(NODE);
	mem.inside = node.inside = use_allocator;
	join_in(&mem, 0);
	join_in(&node, 0);
	for (unsigned int i = 0; i < 10; i++) {
		p = sn_malloc_node(64, NODE);
		CHECK_EQUAL(unit_offline(NODE, SN_STRICT, -1, NULL), -EBUSY);
		sn_free(p);
		while (nr_kept > 0)
			sn_free(kept[--nr_kept]);
		CHECK_EQUAL(unit_offline(NODE, i % 2 ? SN_STRICT : SN_MIGRATE, -1, NULL), 0);
		fail_online = true;
		CHECK_EQUAL(unit_online(NODE), -ENOMEM);
		CHECK_EQUAL(unit_online(NODE), 0);
	}
	CHECK_EQUAL(mem.heard, 80);
	CHECK_EQUAL(node.heard, 80);
}

/* A callback frees what keeps the node busy: that is what it is told for. */
static void give_up(struct listener *l, const char *event, int os_node)
{
	(void)l, (void)os_node;
	if (strcmp(event, "going-offline") == 0)
		while (nr_kept > 0)
			sn_free(kept[--nr_kept]);
}

UNIT_TEST(callbacks_give_memory_up)
{
	unit_start(2);
	for (; nr_kept < 40; nr_kept++)
		kept[nr_kept] = sn_malloc_node(64 + nr_kept * 4000, NODE);
	CHECK_EQUAL(unit_offline(NODE, SN_STRICT, -1, NULL), -EBUSY);
	mem.inside = give_up;
	join_in(&mem, 0);
	CHECK_EQUAL(unit_offline(NODE, SN_STRICT, -1, NULL), 0);
	CHECK_EQUAL(unit_resident(NODE), 0);
}

static void ask_for_changes(struct listener *l, const char *event, int os_node)
{
	unsigned int both[2] = {NODE, FIRST};
	struct sn_offline_request request = {.policy = SN_STRICT, .timeout_ms = -1};
	struct sn_lifecycle_result result[2];

	(void)event, (void)os_node;
	for (unsigned int n = FIRST; n < FIRST + 3; n++) {
		CHECK_EQUAL(unit_offline(n, SN_MIGRATE, -1, result), -EDEADLK);
		CHECK_EQUAL(result->error, -EDEADLK);
		CHECK(result->message[0] != '\0');
		CHECK_EQUAL(sn_online(n, true, result), -EDEADLK);
		CHECK_EQUAL(sn_cancel(n, result), -EDEADLK);
		CHECK_EQUAL(sn_cordon(n, true, result), -EDEADLK);
		CHECK_EQUAL(sn_cordon(n, false, result), -EDEADLK);
	}
	CHECK_EQUAL(sn_offline(both, 2, &request, result), -EDEADLK);
	CHECK_EQUAL(result[1].error, -EDEADLK);
	CHECK_EQUAL(sn_notifier_register("x", 0, on_memory, NULL, NULL), -EDEADLK);
	CHECK_EQUAL(sn_notifier_unregister(l->id), -EDEADLK);
	CHECK_EQUAL(sn_notifier_unregister(12345), -EDEADLK);
}

UNIT_TEST(callbacks_change_no_node)
{
	void *p;

	unit_start(3);
	sn_fault_hook = on_step;
	mem.inside = node.inside = ask_for_changes;
	join_in(&mem, 0);
	join_in(&node, 0);
	p = sn_malloc_node(64, NODE);
	CHECK_EQUAL(unit_offline(NODE, SN_STRICT, -1, NULL), -EBUSY);
	sn_free(p);
	CHECK_EQUAL(unit_offline(NODE, SN_STRICT, -1, NULL), 0);
	fail_online = true;
	CHECK_EQUAL(unit_online(NODE), -ENOMEM);
	CHECK_EQUAL(unit_online(NODE), 0);
	CHECK_EQUAL(mem.heard, 8);
	CHECK(!sn_in_callback());
	CHECK_EQUAL(sn_notifier_unregister(mem.id), 0);
	CHECK_EQUAL(unit_offline(FIRST, SN_STRICT, -1, NULL), 0);
}

/* --- several nodes ------------------------------------------------------------------------- */

static unsigned int veto_node;

static int on_memory_of_one(enum slabnode_mem_action action,
			    const struct slabnode_memory_notify *notify, void *data)
{
	int result = on_memory(action, notify, data);

	return action == SLABNODE_MEM_GOING_OFFLINE && notify->node == (int)veto_node ? -EBUSY
										      : result;
}

UNIT_TEST(several_nodes)
{
	unsigned int nodes[2] = {FIRST + 1, FIRST + 2};
	struct sn_offline_request request = {.policy = SN_MIGRATE, .timeout_ms = -1};
	struct sn_lifecycle_result result[2];

	unit_start(4);
	join_in(&node, 0);
	mem.id = sn_notifier_register("one", 0, on_memory_of_one, NULL, &mem);
	CHECK(mem.id > 0);
	veto_node = 7;
	CHECK_EQUAL(sn_offline(nodes, 2, &request, result), 0);
	TAPE("n:removing/1 m:going-offline/1 n:removing/2 m:going-offline/2 "
	     "n:removed/1 m:offline/1 n:removed/2 m:offline/2 ");
	CHECK_EQUAL(unit_online(nodes[0]), 0);
	CHECK_EQUAL(unit_online(nodes[1]), 0);
	for (veto_node = 1; veto_node <= 2; veto_node++) {
		tape[0] = '\0';
		CHECK_EQUAL(sn_offline(nodes, 2, &request, result), -EBUSY);
		CHECK_EQUAL(result[veto_node - 1].error, -EBUSY);
		CHECK(strcmp(result[veto_node - 1].message, "refused by notifier one (EBUSY)") ==
		      0);
		CHECK_EQUAL(result[2 - veto_node].error, 0);
		CHECK_EQUAL(unit_state(FIRST + veto_node), SN_ONLINE);
		CHECK_EQUAL(unit_state(FIRST + 3 - veto_node), SN_OFFLINE);
		TAPE(veto_node == 1
			     ? "n:removing/1 m:going-offline/1 m:cancel-offline/1 "
			       "n:cancel-removing/1 n:removing/2 m:going-offline/2 "
			       "n:removed/2 m:offline/2 "
			     : "n:removing/1 m:going-offline/1 n:removing/2 m:going-offline/2 "
			       "m:cancel-offline/2 n:cancel-removing/2 n:removed/1 m:offline/1 ");
		CHECK_EQUAL(unit_online(FIRST + 3 - veto_node), 0);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(events_of_success),
		cmocka_unit_test(events_of_failure),
		cmocka_unit_test(priorities),
		cmocka_unit_test(bounds),
		cmocka_unit_test(veto_of_going_offline),
		cmocka_unit_test(veto_of_removing),
		cmocka_unit_test(veto_of_going_online),
		cmocka_unit_test(veto_of_adding),
		cmocka_unit_test(other_events_cannot_be_refused),
		cmocka_unit_test(callbacks_allocate),
		cmocka_unit_test(callbacks_give_memory_up),
		cmocka_unit_test(callbacks_change_no_node),
		cmocka_unit_test(several_nodes),
	};

	unit_arguments(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
