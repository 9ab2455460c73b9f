/*
 * test_notifier.c - who is told of a node's life, in which order, and what a veto does.
 *
 * Every listener writes what it hears on one tape, by the letters of its name and of the event:
 * "a:going-offline" and the like, so that a test compares whole stories.
 */
#include "unit.h"

#include "callback.h"

#include "cache.h"
#include "notifier.h"

#include <semaphore.h>
#include <sys/wait.h>

#define NODE	(FIRST + 1) /* the one that leaves */
#define NOTHING (-1)

static const char *const memory_names[] = {"going-online",  "cancel-online",  "online",
					   "going-offline", "cancel-offline", "offline"};
static const char *const node_names[] = {"adding",   "cancel-adding",	"added",
					 "removing", "cancel-removing", "removed"};

struct listener {
	const char *name;
	int refuse; /* the action that it vetoes */
	bool is_node;
	int id;
	void (*inside)(struct listener *listener, const char *event, int node);
	_Atomic unsigned int heard;
};

static char tape[4096]; /* callbacks come one at a time */

static void put(const char *text)
{
	size_t used = strlen(tape);

	if (used + strlen(text) + 1 < sizeof(tape))
		strcpy(tape + used, text);
}

static int hear(struct listener *l, const char *event, int node, bool refuse)
{
	char line[128];

	snprintf(line, sizeof(line), "%s:%s/%d ", l->name, event, node);
	put(line);
	CHECK(sn_in_callback());
	if (l->inside != NULL)
		l->inside(l, event, node);
	atomic_fetch_add(&l->heard, 1);
	return refuse ? -EPERM : 0;
}

static int on_memory(enum slabnode_mem_action action, const struct slabnode_memory_notify *notify,
		     void *data)
{
	struct listener *l = data;

	return hear(l, memory_names[action], notify->node, l->refuse == (int)action);
}

static int on_node(enum slabnode_node_action action, const struct slabnode_node_notify *notify,
		   void *data)
{
	struct listener *l = data;

	return hear(l, node_names[action], notify->node, l->refuse == (int)action);
}

static void join_in(struct listener *l, int priority)
{
	l->id = sn_notifier_register(l->name, priority, l->is_node ? NULL : on_memory,
				     l->is_node ? on_node : NULL, l);
	CHECK(l->id > 0);
}

static void check_tape(int line, const char *want)
{
	if (strcmp(tape, want) != 0)
		unit_fail(__FILE__, line, "the tape says \"%s\",\nnot \"%s\"", tape, want);
	tape[0] = '\0';
}
#define TAPE(want) check_tape(__LINE__, want)

static struct listener mem = {.name = "m", .refuse = NOTHING},
		       node = {.name = "n", .refuse = NOTHING, .is_node = true};

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

/* --- a callback that takes its time -------------------------------------------------------- */

static sem_t stalled, go_on;
static const char *stall_at;

static void stall(struct listener *l, const char *event, int os_node)
{
	(void)l, (void)os_node;
	if (strcmp(event, stall_at) != 0)
		return;
	sem_post(&stalled);
	while (sem_wait(&go_on) != 0)
		;
}

static void prepare_stall(const char *event)
{
	sem_init(&stalled, 0, 0);
	sem_init(&go_on, 0, 0);
	stall_at = event;
}

struct call {
	enum sn_policy policy;
	int64_t timeout_ms;
	int error;
	struct sn_lifecycle_result result;
	_Atomic bool over;
};

static void *offline_thread(void *arg)
{
	struct call *call = arg;

	call->error = unit_offline(NODE, call->policy, call->timeout_ms, &call->result);
	atomic_store(&call->over, true);
	return NULL;
}

static void *online_thread(void *arg)
{
	struct call *call = arg;

	call->error = sn_online(NODE, false, &call->result);
	atomic_store(&call->over, true);
	return NULL;
}

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
	prepare_stall("going-offline");
	mem.inside = stall;
	mem.name = "the-slow-one-with-a-name-of-more-than-thirty-one-bytes";
	join_in(&mem, 1);
	join_in(&node, 0);
	worker = unit_thread(offline_thread, &offline);
	sem_wait(&stalled);
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
	prepare_stall("going-offline");
	mem.inside = stall;
	join_in(&mem, 0);
	worker = unit_thread(offline_thread, &offline);
	sem_wait(&stalled);
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
	prepare_stall("removing");
	node.inside = stall;
	join_in(&mem, 1);
	join_in(&node, 0);
	worker = unit_thread(offline_thread, &offline);
	sem_wait(&stalled);
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
	prepare_stall("offline");
	mem.inside = stall;
	join_in(&mem, 1);
	join_in(&node, 0);
	worker = unit_thread(offline_thread, &offline);
	sem_wait(&stalled);
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
	prepare_stall("going-offline");
	mem.inside = stall;
	join_in(&mem, 1);
	worker = unit_thread(offline_thread, &offline);
	sem_wait(&stalled);
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
	prepare_stall("adding");
	node.inside = stall;
	join_in(&node, 0);
	refuser.refuse = SLABNODE_MEM_GOING_ONLINE;
	worker = unit_thread(online_thread, &online);
	sem_wait(&stalled);
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

/* --- a storm ------------------------------------------------------------------------------- */

#define STORM_NODES	4
#define STORM_LISTENERS 24

/* A listener of the storm: what it heard last of each node must fit what comes next. */
struct witness {
	bool is_node;
	int id;
	_Atomic bool present; /* from before register to after unregister */
	enum { SILENT, LEAVING, COMING } at[STORM_NODES];
	bool known[STORM_NODES], away[STORM_NODES];
	uint64_t seed;
};

static struct witness witnesses[STORM_LISTENERS];
static _Atomic bool stop;
static _Atomic unsigned int told, vetoed;
static _Atomic int inside_callback;
static bool no_vetoes;

/* Both enumerations have the same order: beginning, cancel, end; first of coming then leaving. */
static int witness_event(struct witness *w, int action, int os_node)
{
	bool leaving = action >= 3;
	int part = action % 3;
	void *p;

	CHECK_EQUAL(atomic_fetch_add(&inside_callback, 1), 0);
	CHECK(atomic_load(&w->present));
	CHECK(os_node >= 0 && os_node < STORM_NODES);
	if (part == 0) {
		CHECK_EQUAL(w->at[os_node], SILENT);
		CHECK(!w->known[os_node] || w->away[os_node] == !leaving);
		w->at[os_node] = leaving ? LEAVING : COMING;
	} else {
		CHECK_EQUAL(w->at[os_node], leaving ? LEAVING : COMING);
		w->at[os_node] = SILENT;
		w->known[os_node] = true;
		w->away[os_node] = leaving == (part == 2);
	}
	p = sn_malloc(1 + unit_random(&w->seed) % 5000);
	CHECK(p != NULL && sn_home_of(p) >= FIRST);
	sn_free(p);
	atomic_fetch_add(&told, 1);
	atomic_fetch_sub(&inside_callback, 1);
	if (part == 0 && !no_vetoes && unit_random(&w->seed) % 64 == 0) {
		atomic_fetch_add(&vetoed, 1);
		return -EAGAIN;
	}
	return 0;
}

static int witness_memory(enum slabnode_mem_action action,
			  const struct slabnode_memory_notify *notify, void *data)
{
	return witness_event(data, (int)action, notify->node);
}

static int witness_node(enum slabnode_node_action action, const struct slabnode_node_notify *notify,
			void *data)
{
	return witness_event(data, (int)action, notify->node);
}

static void witness_joins(struct witness *w, uint64_t *seed)
{
	memset(w->at, 0, sizeof(w->at));
	memset(w->known, 0, sizeof(w->known));
	w->is_node = unit_random(seed) % 2;
	w->seed = unit_random(seed) | 1;
	atomic_store(&w->present, true);
	w->id = sn_notifier_register("witness", (int)(unit_random(seed) % 9) - 4,
				     w->is_node ? NULL : witness_memory,
				     w->is_node ? witness_node : NULL, w);
	CHECK(w->id > 0);
}

static void witness_leaves(struct witness *w)
{
	CHECK_EQUAL(sn_notifier_unregister(w->id), 0);
	atomic_store(&w->present, false);
}

/* Two of them, each with half of the witnesses. */
static void *come_and_go(void *arg)
{
	unsigned int half = (unsigned int)(uintptr_t)arg;
	uint64_t seed = half + 11;

	while (!atomic_load(&stop)) {
		struct witness *w =
			&witnesses[unit_random(&seed) % (STORM_LISTENERS / 2) * 2 + half];

		if (atomic_load(&w->present))
			witness_leaves(w);
		else
			witness_joins(w, &seed);
		if (unit_random(&seed) % 4 == 0)
			unit_sleep_ms(1);
	}
	return NULL;
}

static void *change_nodes(void *arg)
{
	uint64_t seed = (uintptr_t)arg + 100;

	while (!atomic_load(&stop)) {
		unsigned int nodes[2] = {FIRST + (unsigned int)(unit_random(&seed) % STORM_NODES)};
		struct sn_offline_request request = {.policy = unit_random(&seed) % 3,
						     .timeout_ms = 2};
		struct sn_lifecycle_result result[2];
		unsigned int what = (unsigned int)(unit_random(&seed) % 8);

		nodes[1] = FIRST + (nodes[0] - FIRST + 1) % STORM_NODES;
		if (what < 4)
			sn_online(nodes[0], what == 0, result);
		else if (what == 4)
			sn_cancel(nodes[0], result);
		else
			sn_offline(nodes, what == 5 ? 2 : 1, &request, result);
	}
	return NULL;
}

static void *load(void *arg)
{
	uint64_t seed = (uintptr_t)arg + 200;
	void *held[64] = {NULL};

	unit_cpu_node(FIRST + (unsigned int)(uintptr_t)arg % STORM_NODES);
	while (!atomic_load(&stop)) {
		unsigned int at = (unsigned int)(unit_random(&seed) % 64);

		sn_free(held[at]);
		held[at] = sn_malloc(1 + unit_random(&seed) % 20000);
		CHECK(held[at] != NULL);
	}
	for (unsigned int i = 0; i < 64; i++)
		sn_free(held[i]);
	return NULL;
}

static void storm_ends(pthread_t *threads, unsigned int count)
{
	atomic_store(&stop, true);
	for (unsigned int i = 0; i < count; i++)
		unit_join(threads[i]);
	for (unsigned int i = 0; i < STORM_LISTENERS; i++)
		for (unsigned int n = 0; atomic_load(&witnesses[i].present) && n < STORM_NODES;
		     n++) {
			CHECK_EQUAL(witnesses[i].at[n], SILENT);
			CHECK(!witnesses[i].known[n] ||
			      witnesses[i].away[n] == (unit_state(FIRST + n) == SN_OFFLINE));
		}
}

UNIT_TEST(storm)
{
	pthread_t threads[6];

	unit_start(STORM_NODES);
	for (uintptr_t i = 0; i < 2; i++) {
		threads[i] = unit_thread(come_and_go, (void *)i);
		threads[2 + i] = unit_thread(change_nodes, (void *)i);
		threads[4 + i] = unit_thread(load, (void *)i);
	}
	for (unsigned int i = 0;
	     i < 3000 && (i < 300 || atomic_load(&told) < 5000 || atomic_load(&vetoed) < 20); i++)
		unit_sleep_ms(10);
	storm_ends(threads, 6);
	CHECK(atomic_load(&told) > 1000 && atomic_load(&vetoed) > 10);
}

/* --- fork ---------------------------------------------------------------------------------- */

/* The machine's ledger has a lock of its own, which must be free when a child begins: no thread is
 * inside the machine while another one forks. */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static const struct sn_placement *ungated;

#define GATED(call)                                                                                \
	pthread_mutex_lock(&gate);                                                                 \
	int result = ungated->call;                                                                \
	pthread_mutex_unlock(&gate);                                                               \
	return result

static int gated_populate(void *addr, size_t len, unsigned int n)
{
	GATED(populate(addr, len, n));
}

static void gated_depopulate(void *addr, size_t len, unsigned int n)
{
	pthread_mutex_lock(&gate);
	ungated->depopulate(addr, len, n);
	pthread_mutex_unlock(&gate);
}

static int gated_bind(void *addr, size_t len, unsigned int n, const struct sn_nodemask *allowed)
{
	GATED(bind_range(addr, len, n, allowed));
}

static int gated_move(void *addr, size_t len, unsigned int target, struct sn_move_result *moved)
{
	GATED(move(addr, len, target, moved));
}

static int gated_query(void *addr, size_t npages, int *nodes)
{
	GATED(query(addr, npages, nodes));
}

static int gated_restore(void *addr, size_t len, unsigned int n)
{
	GATED(restore(addr, len, n));
}

static void start_gated(unsigned int nodes)
{
	static struct sn_placement gated;

	unit_start(nodes);
	ungated = sn_placement;
	gated = *sn_placement;
	gated.populate = gated_populate;
	gated.depopulate = gated_depopulate;
	gated.bind_range = gated_bind;
	gated.move = gated_move;
	gated.query = gated_query;
	gated.restore = gated_restore;
	sn_placement = &gated;
}

/* In the child: as if nothing had been under way; whole stories from here on. */
static void child_changes_nodes(void)
{
	struct listener child = {.name = "child", .refuse = NOTHING};
	struct sn_transition_info info;

	tape[0] = '\0';
	mem.inside = node.inside = NULL;
	CHECK(!sn_in_callback());
	CHECK(!sn_transition_info(NODE, &info));
	CHECK_EQUAL(unit_state(NODE), SN_ONLINE);
	join_in(&child, -9);
	TAPE("");
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
	TAPE("n:removing/1 m:going-offline/1 child:going-offline/1 n:removed/1 m:offline/1 "
	     "child:offline/1 ");
	CHECK_EQUAL(unit_online(NODE), 0);
	CHECK_EQUAL(sn_notifier_unregister(mem.id), 0);
	CHECK_EQUAL(sn_notifier_unregister(child.id), 0);
}

UNIT_TEST(fork_during_a_transition)
{
	static struct call offline = {.policy = SN_WAIT, .timeout_ms = -1};
	pthread_t worker;
	pid_t pid;
	void *p;

	if (!unit_can_fork())
		return;
	start_gated(2);
	join_in(&mem, 0);
	join_in(&node, 0);
	p = sn_malloc_node(64, NODE);
	worker = unit_thread(offline_thread, &offline);
	unit_until_phase(NODE, SN_PHASE_WAIT);
	pid = unit_fork(&gate);
	if (pid == 0) {
		child_changes_nodes();
		_exit(0);
	}
	unit_child_ends(pid);
	sn_free(p);
	unit_join(worker);
	CHECK_EQUAL(offline.error, 0);
	TAPE("n:removing/1 m:going-offline/1 n:removed/1 m:offline/1 ");
}

UNIT_TEST(fork_during_a_stall)
{
	static struct call offline = {.policy = SN_STRICT, .timeout_ms = -1};
	pthread_t worker;
	pid_t pid;

	if (!unit_can_fork())
		return;
	start_gated(2);
	prepare_stall("going-offline");
	mem.inside = stall;
	join_in(&mem, 0);
	join_in(&node, 0);
	worker = unit_thread(offline_thread, &offline);
	sem_wait(&stalled);
	pid = unit_fork(&gate); /* does not wait for the callback */
	if (pid == 0) {
		child_changes_nodes();
		_exit(0);
	}
	unit_child_ends(pid);
	sem_post(&go_on);
	unit_join(worker);
	CHECK_EQUAL(offline.error, 0);
	TAPE("n:removing/1 m:going-offline/1 n:removed/1 m:offline/1 ");
}

static pid_t forked;

static void fork_inside(struct listener *l, const char *event, int os_node)
{
	(void)l, (void)os_node;
	if (strcmp(event, stall_at) == 0)
		forked = unit_fork(&gate);
}

/* The callback returns twice; in the child the transition has been undone, and nobody hears more.
 */
UNIT_TEST(fork_inside_a_callback)
{
	static const char *const at[] = {"removing", "going-offline", "removed", "offline"};
	struct sn_lifecycle_result result;

	if (!unit_can_fork())
		return;
	start_gated(2);
	mem.inside = node.inside = fork_inside;
	join_in(&mem, 0);
	join_in(&node, 0);
	for (unsigned int i = 0; i < 4; i++) {
		int error;

		stall_at = at[i];
		forked = -1;
		tape[0] = '\0';
		error = unit_offline(NODE, SN_STRICT, -1, &result);
		if (forked == 0) {
			CHECK_EQUAL(error, i < 2 ? -ECANCELED : 0);
			CHECK_EQUAL(unit_state(NODE), i < 2 ? SN_ONLINE : SN_OFFLINE);
			CHECK(strstr(tape, "cancel") == NULL);
			if (i >= 2)
				CHECK_EQUAL(unit_online(NODE), 0);
			child_changes_nodes();
			_exit(0);
		}
		CHECK(forked > 0);
		unit_child_ends(forked);
		CHECK_EQUAL(error, 0);
		TAPE("n:removing/1 m:going-offline/1 n:removed/1 m:offline/1 ");
		CHECK_EQUAL(unit_online(NODE), 0);
	}
}

UNIT_TEST(fork_in_a_storm)
{
	pthread_t threads[6];

	if (!unit_can_fork())
		return;
	start_gated(STORM_NODES);
	for (uintptr_t i = 0; i < 2; i++) {
		threads[i] = unit_thread(come_and_go, (void *)i);
		threads[2 + i] = unit_thread(change_nodes, (void *)i);
		threads[4 + i] = unit_thread(load, (void *)i);
	}
	for (unsigned int i = 0; i < 60; i++) {
		pid_t pid = unit_fork(&gate);

		if (pid == 0) {
			struct listener child = {.name = "c", .refuse = NOTHING};

			/* Witnesses of the parent are in the middle of anything; one that was just
			 * being registered may stay. */
			no_vetoes = true;
			for (unsigned int w = 0; w < STORM_LISTENERS; w++) {
				int id = witnesses[w].id;

				atomic_store(&witnesses[w].present, true);
				memset(witnesses[w].at, 0, sizeof(witnesses[w].at));
				memset(witnesses[w].known, 0, sizeof(witnesses[w].known));
				if (id > 0)
					sn_notifier_unregister(id);
			}
			atomic_store(&inside_callback, 0);
			join_in(&child, 0);
			for (unsigned int n = FIRST; n < FIRST + STORM_NODES; n++)
				CHECK_EQUAL(unit_online(n), 0);
			tape[0] = '\0';
			CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
			TAPE("c:going-offline/1 c:offline/1 ");
			_exit(0);
		}
		unit_child_ends(pid);
		unit_sleep_ms(5);
	}
	storm_ends(threads, 6);
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
		cmocka_unit_test(cancel_during_a_stall),
		cmocka_unit_test(cancel_behind_a_stall),
		cmocka_unit_test(timeout_during_a_stall),
		cmocka_unit_test(stall_at_the_end),
		cmocka_unit_test(unregister_waits_for_the_callback),
		cmocka_unit_test(newcomer_in_the_middle),
		cmocka_unit_test(late_veto),
		cmocka_unit_test(newcomers_during_a_stall),
		cmocka_unit_test(several_nodes),
		cmocka_unit_test(storm),
		cmocka_unit_test(fork_during_a_transition),
		cmocka_unit_test(fork_during_a_stall),
		cmocka_unit_test(fork_inside_a_callback),
		cmocka_unit_test(fork_in_a_storm),
	};

	unit_arguments(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
