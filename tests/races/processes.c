/*
 * processes.c - races with threads that end and processes that fork while a node changes.
 */
#include "races.h"

static _Atomic bool stop;

/* --- T12: fork in each phase ------------------------------------------------------------------ */

static const struct phase {
	const char *step;
	bool online;
	enum slabnode_policy policy;
} phases[] = {
	{"going-offline", false, SLABNODE_MIGRATE},
	{"bind", false, SLABNODE_STRICT},
	{"drain", false, SLABNODE_STRICT},
	{"release", false, SLABNODE_MIGRATE},
	{"wait", false, SLABNODE_WAIT},
	{"migrate", false, SLABNODE_MIGRATE},
	{"move", false, SLABNODE_MIGRATE},
	{"commit", false, SLABNODE_MIGRATE},
	{"vacate", false, SLABNODE_MIGRATE},
	{"rollback", false, SLABNODE_STRICT},
	{"going-online", true, SLABNODE_MIGRATE},
	{"restore", true, SLABNODE_MIGRATE},
	{"structures", true, SLABNODE_MIGRATE},
	{"online", true, SLABNODE_MIGRATE},
	{"bind", true, SLABNODE_MIGRATE},
};

static struct bunch mine, others;

static void *use_memory(void *arg)
{
	for (size_t size = 8; size < 8 * MIB; size += size / 3) {
		void *p = malloc(size);

		CHECK(p != NULL);
		fill(p, size, size);
		CHECK_INTACT(p, size, size);
		free(p);
	}
	return arg;
}

/* One thread, a whole heap, no lock held, nothing under way, nodes that obey. */
static void child(int before)
{
	int state = api.node_state(1);

	alarm(60);
	CHECK_MSG(state == ONLINE || state == OFFLINE, "state %d in the child, %d in the parent",
		  state, before);
	bunch_check(&mine);
	bunch_check(&others);
	use_memory(NULL);
	thread_end(thread_begin(use_memory, NULL));
	if (state == OFFLINE)
		online(1);
	CHECK(offline(2, SLABNODE_MIGRATE) == 0);
	online(2);
	CHECK(offline(1, SLABNODE_MIGRATE) == 0);
	CHECK(api.malloc_node(100, 1) == NULL && errno == EBUSY);
	CHECK(lib.online(1, 1, NULL, 0) == 0);
	bunch_free(&mine);
	bunch_free(&others);
	check_all_online(); /* on the child's own socket */
	check_empties(1);
	exit(0); /* with everything that is done at an exit: the parent's socket stays */
}

static void fork_in_phases(void)
{
	races_start();
	for (unsigned int i = 0; i < ARRAY_SIZE(phases); i++) {
		const struct phase *phase = &phases[i];
		struct change *change;
		int error, state;
		pid_t pid;

		bunch_hold(&mine, 1);
		bunch_hold(&others, 2);
		free(held(3 * MIB, 1, 1));
		if (phase->online)
			CHECK(offline(1, SLABNODE_MIGRATE) == 0);
		fault("delay:%s=200", phase->step);
		change = phase->online ? online_begin(1, true)
				       : offline_begin(1, phase->policy,
						       phase->policy == SLABNODE_WAIT ? 400 : 0);
		until_delayed();
		state = api.node_state(1);
		pid = fork();
		CHECK(pid >= 0);
		if (pid == 0)
			child(state);
		error = change_end(change);
		CHECK_MSG(error == (phase->policy == SLABNODE_STRICT ? -EBUSY
				    : phase->policy == SLABNODE_WAIT ? -ETIMEDOUT
								     : 0),
			  "%s: %d", phase->step, error);
		wait_exit(pid, 0);
		close(link_open()); /* the child has not taken it away */
		online(1);
		bunch_free(&mine);
		bunch_free(&others);
		fault("off");
		check_all_online();
	}
	check_empties(1);
}

/* Pages shared after fork stay where they are: said, tried again, and moved once they can. */
static void fork_shares_pages(void)
{
	struct change *change;

	races_start();
	bunch_hold(&mine, 1);
	fault("move-shared%%100,seed=1");
	change = offline_begin(1, SLABNODE_MIGRATE, 0);
	CHECK(change_end(change) == -EBUSY);
	CHECK_MSG(strstr(change->message, "shared after fork") != NULL, "%s", change->message);
	CHECK(api.node_state(1) == ONLINE && status_of(1, "elsewhere_bytes") == 0);
	change = offline_begin(1, SLABNODE_MIGRATE, 0);
	sleep_ms(200);
	CHECK(api.node_state(1) == GOING_OFFLINE);
	fault("off");
	CHECK(change_end(change) == 0);
	CHECK(status_of(1, "resident_bytes") == 0);
	online(1);
	bunch_free(&mine);
	check_all_online();
	check_empties(1);
}

/* --- T21: threads end while the node leaves -----------------------------------------------------
 */

#define LEFT 60

static pthread_key_t key;
static _Atomic unsigned long ended;

static __thread void *own[LEFT] __attribute__((tls_model("initial-exec")));

static void free_left(void *arg)
{
	void **left = arg;

	for (unsigned int i = 0; i < LEFT; i++) {
		CHECK_INTACT(left[i], 100 + i * 90, i);
		free(left[i]);
	}
	free(left);
	/* Memory that is had this late is memory, too; a later round of destructors frees it. */
	CHECK((left = calloc(LEFT, sizeof(*left))) != NULL);
	free(left);
	atomic_fetch_add(&ended, 1);
}

static void *brief_thread(void *arg)
{
	void **left = malloc(LEFT * sizeof(*left));

	CHECK(left != NULL);
	CHECK(api.prefer_node((int)(uintptr_t)arg % 4) == 0);
	for (unsigned int i = 0; i < LEFT; i++) {
		left[i] = malloc(100 + i * 90);
		CHECK(left[i] != NULL);
		fill(left[i], 100 + i * 90, i);
		own[i] = malloc(64);
		CHECK(own[i] != NULL);
	}
	for (unsigned int i = 0; i < LEFT; i++)
		free(own[i]);
	CHECK(pthread_setspecific(key, left) == 0);
	return NULL;
}

static void *births(void *arg)
{
	for (uintptr_t i = (uintptr_t)arg; !atomic_load(&stop); i++)
		thread_end(thread_begin(brief_thread, (void *)i));
	return NULL;
}

static void threads_end(void)
{
	pthread_t threads[3];
	double until;

	races_start();
	CHECK(pthread_key_create(&key, free_left) == 0);
	for (uintptr_t i = 0; i < 3; i++)
		threads[i] = thread_begin(births, (void *)i);
	until = now_sec() + 0.001 * (double)scaled(2500);
	for (unsigned int i = 0; goes_on(until, atomic_load(&ended), 50); i++) {
		int node = 1 + (int)(i % 3);

		if (i % 8 == 0)
			fault("drain=off;release=off;delay:%s=2", i % 16 ? "drain" : "release");
		CHECK(offline(node, SLABNODE_MIGRATE) == 0);
		CHECK(lib.online(node, 1, NULL, 0) == 0);
	}
	atomic_store(&stop, true);
	for (unsigned int i = 0; i < 3; i++)
		thread_end(threads[i]);
	CHECK_MSG(atomic_load(&ended) > 50, "only %lu threads", atomic_load(&ended));
	fault("off");
	check_all_online();
	/* What is left is libc's, of the stacks that it keeps for the next threads. */
	for (int n = 1; n < 4; n++)
		CHECK(status_of(n, "live_bytes") < 16 * (long long)KIB);
}

/* --- T26: the last free ends a wait, wherever it comes from --------------------------------------
 */

#define LAST 50

static void *last[LAST];

static void free_last(void)
{
	for (unsigned int i = 0; i < LAST; i++) {
		CHECK_INTACT(last[i], 30 + i * 37, i);
		free(last[i]);
	}
}

static void *free_elsewhere(void *arg)
{
	CHECK(api.prefer_node(3) == 0);
	free(malloc(100));
	free_last();
	return arg;
}

static void free_at_the_end(void *arg)
{
	(void)arg;
	free_last();
}

static void *die(void *arg)
{
	CHECK(pthread_setspecific(key, (void *)1) == 0);
	return arg;
}

/* Resized away, which is a free as well. */
static void *resize_away(void *arg)
{
	for (unsigned int i = 0; i < LAST; i++) {
		last[i] = realloc(last[i], 60000);
		CHECK(last[i] != NULL && api.node_of(last[i]) != 1);
		CHECK_INTACT(last[i], (30 + i * 37) & ~7u, i);
	}
	for (unsigned int i = 0; i < LAST; i++)
		free(last[i]);
	return arg;
}

static struct change *wait_for_last(void)
{
	struct change *change;

	for (unsigned int i = 0; i < LAST; i++)
		last[i] = held(30 + i * 37, 1, i);
	change = offline_begin(1, SLABNODE_WAIT, 0);
	until_state(1, GOING_OFFLINE);
	return change;
}

/* A waiter that missed the wake-up would sleep for ever: it has no deadline. */
static void check_woken(struct change *change, double freed)
{
	CHECK(change_end(change) == 0);
	CHECK_MSG(change->end - freed < 2, "woken %.3f s after the last free", change->end - freed);
	CHECK(api.node_state(1) == OFFLINE);
	online(1);
}

static void last_free(void)
{
	static void *(*const ways[])(void *) = {free_elsewhere, die, resize_away};

	races_start();
	CHECK(pthread_key_create(&key, free_at_the_end) == 0);
	for (unsigned int i = 0; i < scaled(150); i++) {
		struct change *change = wait_for_last();
		uint64_t seed = i + 1;

		/* At once, in the middle of the offline's own steps, or when it sleeps. */
		if (i % 5 == 0)
			sleep_ms(5);
		for (uint64_t spins = rnd(&seed) % 40000; spins > 0; spins--)
			relax();
		thread_end(thread_begin(ways[i % ARRAY_SIZE(ways)], NULL));
		check_woken(change, now_sec());
	}
	check_all_online();
	check_empties(1);
}

static struct change *pending;

static void free_and_see(void)
{
	free_last();
	check_woken(pending, now_sec());
	_exit(7); /* the parent wants to know that this has run */
}

/* The very last moment: a handler of exit(). */
static void last_free_at_exit(void)
{
	pid_t pid;

	races_start();
	for (unsigned int i = 0; i < 5; i++) {
		pid = fork();
		CHECK(pid >= 0);
		if (pid == 0) {
			alarm(60);
			pending = wait_for_last();
			atexit(free_and_see);
			sleep_ms(i * 3);
			exit(0);
		}
		wait_exit(pid, 7);
	}
	check_all_online();
}

static const struct row rows[] = {
	{"T12-fork-in-phases", fork_in_phases},
	{"T12-fork-shares-pages", fork_shares_pages},
	{"T21-threads-end", threads_end},
	{"T26-last-free", last_free},
	{"T26-last-free-at-exit", last_free_at_exit},
};

int main(int argc, char **argv)
{
	return run_rows(argc, argv, rows, ARRAY_SIZE(rows));
}
