/*
 * test_notifier_forks.c - listeners come and go while nodes do, and children begin in the middle of
 * it: between events, inside one, and in a storm.
 */
#include "listeners.h"

#include <sys/wait.h>

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
	prepare_stall(&mem, "going-offline");
	join_in(&mem, 0);
	join_in(&node, 0);
	worker = stalled_thread(offline_thread, &offline);
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
		cmocka_unit_test(storm),
		cmocka_unit_test(fork_during_a_transition),
		cmocka_unit_test(fork_during_a_stall),
		cmocka_unit_test(fork_inside_a_callback),
		cmocka_unit_test(fork_in_a_storm),
	};

	unit_arguments(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
