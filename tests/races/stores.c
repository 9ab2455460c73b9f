/*
 * stores.c - races of the stores: who holds a free object while its node changes.
 */
#include "races.h"

#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>

static _Atomic bool stop;
static _Atomic unsigned long operations;

/* --- a load: objects that go from thread to thread, each of them verified ------------------- */

#define SLOTS	 512
#define LOADERS	 4
#define LOAD_MAX 6000

static struct slot {
	_Atomic bool taken;
	unsigned char *p;
	size_t size;
	uint64_t id;
} slots[SLOTS];

/* What a second owner of an object would write is found by the first one. */
static void replace(struct slot *s, uint64_t *seed, int nodes)
{
	if (s->p != NULL) {
		CHECK_INTACT(s->p, s->size, s->id);
		free(s->p);
	}
	s->size = 8 + rnd(seed) % (rnd(seed) % 64 == 0 ? 100000 : rnd(seed) % 2 ? 200 : LOAD_MAX);
	s->id = rnd(seed);
	s->p = rnd(seed) % 4 == 0 ? api.malloc_node(s->size, (int)(rnd(seed) % (unsigned)nodes))
				  : NULL;
	if (s->p == NULL)
		s->p = malloc(s->size);
	CHECK(s->p != NULL);
	fill(s->p, s->size, s->id);
}

static void load_once(uint64_t *seed, int nodes)
{
	struct slot *s = &slots[rnd(seed) % SLOTS];

	if (atomic_exchange(&s->taken, true))
		return;
	replace(s, seed, nodes);
	atomic_store(&s->taken, false);
	atomic_fetch_add(&operations, 1);
}

static void *loader(void *arg)
{
	uint64_t seed = (uintptr_t)arg * 7 + 3;
	int nodes = api.max_node();

	while (!atomic_load(&stop))
		load_once(&seed, nodes);
	return NULL;
}

static void loaders_begin(pthread_t *thread, void *(*run)(void *))
{
	atomic_store(&stop, false);
	for (uintptr_t i = 0; i < LOADERS; i++)
		thread[i] = thread_begin(run, (void *)i);
}

static void loaders_end(pthread_t *thread)
{
	atomic_store(&stop, true);
	for (unsigned int i = 0; i < LOADERS; i++)
		thread_end(thread[i]);
	for (struct slot *s = slots; s < slots + SLOTS; s++) {
		if (s->p == NULL)
			continue;
		CHECK_INTACT(s->p, s->size, s->id);
		free(s->p);
		s->p = NULL;
	}
}

/* Every node, around and around, with every policy. */
/* For some seconds, and until what is counted has come about often enough. */
static void change_nodes(double seconds, const _Atomic unsigned long *count, unsigned long wanted)
{
	double until = now_sec() + seconds;

	for (unsigned int i = 0; goes_on(until, atomic_load(count), wanted); i++) {
		int node = 1 + (int)(i % 3);
		int error;

		error = i % 5 == 4 ? lib.offline(node, SLABNODE_WAIT, 5, NULL, 0)
				   : offline(node, i % 5 == 3 ? SLABNODE_STRICT : SLABNODE_MIGRATE);
		CHECK_MSG(error == 0 || (i % 5 == 3 && error == -EBUSY) ||
				  (i % 5 == 4 && error == -ETIMEDOUT),
			  "offline: %d", error);
		CHECK(lib.online(node, i % 2, NULL, 0) == 0);
	}
}

static void check_nothing_lost(void)
{
	check_all_online();
	for (int n = 1; n < 4; n++)
		check_empties(n);
}

/* --- threads that are stopped anywhere ------------------------------------------------------- */

static _Atomic unsigned long stops;

/* Wherever the thread is: for longer than a drain takes. */
static void stand_still(int sig)
{
	int saved = errno;
	struct timespec rest = {0, 300000 + (long)(atomic_fetch_add(&stops, 1) % 8) * 400000};

	(void)sig;
	syscall(SYS_nanosleep, &rest, NULL);
	errno = saved;
}

/* The calling thread, each millisecond of its own time; not in step with the others. */
static timer_t stops_begin(long number)
{
	struct sigaction action = {.sa_handler = stand_still, .sa_flags = SA_RESTART};
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGPROF};
	struct itimerspec each = {.it_interval = {0, 1000000 + number * 70001},
				  .it_value = {0, 1000000}};
	timer_t timer;

	CHECK(sigaction(SIGPROF, &action, NULL) == 0);
	event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
	CHECK(timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer) == 0);
	CHECK(timer_settime(timer, 0, &each, NULL) == 0);
	return timer;
}

/* --- T1 ------------------------------------------------------------------------------------- */

#define CACHES 40

/* A cache that is created at this moment gives objects of every node that is there. */
static void use_new_cache(const char *name, size_t size)
{
	struct slabnode_cache *cache = lib.cache_create(name, size, 0, NULL);
	unsigned char *p[4];

	CHECK(cache != NULL);
	for (int n = 0; n < 4; n++) {
		p[n] = lib.cache_alloc_node(cache, n);
		if (p[n] == NULL)
			CHECK(errno == EBUSY && (n == 1 || api.node_state(0) != ONLINE));
		else
			fill(p[n], size, (uint64_t)n);
	}
	CHECK(p[0] != NULL && p[2] != NULL && p[3] != NULL);
	for (int n = 0; n < 4; n++) {
		if (p[n] == NULL)
			continue;
		CHECK_INTACT(p[n], size, n);
		lib.cache_free(cache, p[n]);
	}
	CHECK(lib.cache_destroy(cache) == 0);
}

/* In each step of a change, for certain. */
static void cache_created_in_steps(void)
{
	static const char *const away[] = {"going-offline", "drain", "release", "migrate",
					   "commit"};
	static const char *const back[] = {"going-online", "structures", "online"};
	struct slabnode_cache *kept[ARRAY_SIZE(away) + ARRAY_SIZE(back)];
	struct change *change;
	char name[16];
	unsigned int n = 0;

	races_start();
	for (unsigned int i = 0; i < ARRAY_SIZE(kept); i++) {
		bool leaves = i < ARRAY_SIZE(away);

		if (!leaves && api.node_state(1) == ONLINE)
			CHECK(offline(1, SLABNODE_MIGRATE) == 0);
		fault("delay:%s=80", leaves ? away[i] : back[i - ARRAY_SIZE(away)]);
		change = leaves ? offline_begin(1, SLABNODE_MIGRATE, 0) : online_begin(1, false);
		until_delayed();
		snprintf(name, sizeof(name), "kept-%u", i);
		kept[n] = lib.cache_create(name, 72 + i * 8, 0, NULL);
		CHECK(kept[n++] != NULL);
		use_new_cache("brief", 200 + i * 8);
		CHECK(change_end(change) == 0);
		if (leaves)
			online(1);
	}
	for (unsigned int i = 0; i < n; i++)
		for (int node = 0; node < 4; node++) {
			void *p = lib.cache_alloc_node(kept[i], node);

			CHECK_MSG(p != NULL, "cache %u gives nothing of node %d", i, node);
			CHECK(api.node_of(p) == node);
			lib.cache_free(kept[i], p);
		}
	check_nothing_lost();
}

static void *cache_maker(void *arg)
{
	char name[16];

	for (unsigned int i = 0; !atomic_load(&stop); i++) {
		snprintf(name, sizeof(name), "made-%lu", (unsigned long)(uintptr_t)arg);
		use_new_cache(name, 16 + i % 50 * 40);
		atomic_fetch_add(&operations, 1);
	}
	return NULL;
}

static void *changer_of_one(void *arg)
{
	while (!atomic_load(&stop)) {
		CHECK(offline(1, SLABNODE_MIGRATE) == 0);
		online(1);
	}
	return arg;
}

static void cache_created(void)
{
	pthread_t makers[3], changer;
	double until;

	races_start();
	for (uintptr_t i = 0; i < 3; i++)
		makers[i] = thread_begin(cache_maker, (void *)i);
	changer = thread_begin(changer_of_one, NULL);
	until = now_sec() + 0.001 * (double)scaled(2500);
	while (goes_on(until, atomic_load(&operations), 100))
		sleep_ms(10);
	atomic_store(&stop, true);
	for (unsigned int i = 0; i < 3; i++)
		thread_end(makers[i]);
	thread_end(changer);
	CHECK(atomic_load(&operations) > 100);
	check_nothing_lost();
}

/* --- T3, T31: frees that meet the drain ------------------------------------------------------ */

#define FREED 4000

static void *to_free[FREED];
static _Atomic double freed_at;
static _Atomic unsigned int free_gate;

/* Frees all of them from another node, beginning with the gate; a part of the rounds slowly. */
static void *free_from(void *arg)
{
	CHECK(api.prefer_node((int)(uintptr_t)arg) == 0);
	free(malloc(100));
	while (atomic_load(&free_gate) == 0)
		sched_yield();
	for (unsigned int i = 0; i < FREED; i++)
		free(to_free[i]);
	atomic_store(&freed_at, now_sec());
	return NULL;
}

/* A strict offline looks for 100 ms: what was freed before it gave up is not there any more. */
static void free_meets_drain(uint64_t *seed, const char *step, unsigned int round)
{
	struct change *change;
	pthread_t thread;
	int error;

	for (unsigned int i = 0; i < FREED; i++)
		to_free[i] = held(16 + i % 64 * 16, 1, i);
	atomic_store(&free_gate, 0);
	atomic_store(&freed_at, 0);
	thread = thread_begin(free_from, (void *)(uintptr_t)(round % 2 ? 2 : 0));
	if (step != NULL)
		fault("delay:%s=%u", step, 1 + round % 3);
	if (round % 2 == 0)
		atomic_store(&free_gate, 1);
	change = offline_begin(1, SLABNODE_STRICT, 0);
	for (uint64_t i = rnd(seed) % 3000; i > 0; i--)
		relax();
	atomic_store(&free_gate, 1);
	thread_end(thread);
	error = change_end(change);
	if (error != 0) {
		CHECK(error == -EBUSY);
		CHECK_MSG(change->end - atomic_load(&freed_at) < 0.02,
			  "round %u: EBUSY %.0f ms after the last free", round,
			  (change->end - atomic_load(&freed_at)) * 1e3);
		CHECK(offline(1, SLABNODE_STRICT) == 0);
	}
	CHECK(status_of(1, "live_bytes") == 0);
	online(1);
	fault("off");
}

static void free_between(void)
{
	uint64_t seed = 11;

	races_start();
	for (unsigned int i = 0; i < scaled(200); i++)
		free_meets_drain(&seed, NULL, i);
	check_nothing_lost();
}

static void slabs_empty_in_drain(void)
{
	static const char *const steps[] = {"going-offline", "drain", "release"};
	uint64_t seed = 31;

	races_start();
	for (unsigned int i = 0; i < scaled(120); i++)
		free_meets_drain(&seed, steps[i % 3], i);
	check_nothing_lost();
}

/* The same with objects that are allocated and freed all the time: nothing remains. */
static void *in_and_out(void *arg)
{
	timer_t timer = stops_begin((long)(uintptr_t)arg);
	uint64_t seed = (uintptr_t)arg + 1;
	void *p[40];

	while (!atomic_load(&stop)) {
		size_t size = 16 + rnd(&seed) % 700;

		CHECK(api.prefer_node((int)(rnd(&seed) % 4)) == 0);
		for (unsigned int i = 0; i < ARRAY_SIZE(p); i++) {
			p[i] = malloc(size);
			CHECK(p[i] != NULL);
			fill(p[i], size, i);
		}
		CHECK(api.prefer_node((int)(rnd(&seed) % 4)) == 0);
		for (unsigned int i = 0; i < ARRAY_SIZE(p); i++) {
			CHECK_INTACT(p[i], size, i);
			free(p[i]);
		}
	}
	CHECK(timer_delete(timer) == 0);
	return NULL;
}

static void never_refused(void)
{
	pthread_t threads[3];

	races_start();
	for (uintptr_t i = 0; i < 3; i++)
		threads[i] = thread_begin(in_and_out, (void *)i);
	/* What is held is held for microseconds: a count that was taken once says EBUSY. */
	for (unsigned int i = 0; i < scaled(1000); i++) {
		int error = lib.offline(1, SLABNODE_WAIT, 10000, NULL, 0);

		CHECK_MSG(error == 0, "round %u: %d", i, error);
		CHECK(api.malloc_node(64, 1) == NULL && errno == EBUSY);
		/* Nor does one that was stopped on its way to the node get there afterwards. */
		CHECK(status_of(1, "resident_bytes") == 0);
		online(1);
	}
	atomic_store(&stop, true);
	for (unsigned int i = 0; i < 3; i++)
		thread_end(threads[i]);
	check_nothing_lost();
}

/* --- T4: stopped anywhere -------------------------------------------------------------------- */

static void *stopped_loader(void *arg)
{
	uint64_t seed = (uintptr_t)arg + 77;
	timer_t timer = stops_begin((long)(uintptr_t)arg);

	while (!atomic_load(&stop))
		load_once(&seed, 4);
	CHECK(timer_delete(timer) == 0);
	return NULL;
}

static void stopped_anywhere(void)
{
	pthread_t threads[LOADERS];

	races_start();
	loaders_begin(threads, stopped_loader);
	change_nodes((double)scaled(4), &stops, 100);
	loaders_end(threads);
	CHECK_MSG(atomic_load(&stops) > 100, "only %lu stops", atomic_load(&stops));
	check_nothing_lost();
}

/* The scheduler's own preemption, at the least convenient rate: everybody on one CPU. */
static void preempted(void)
{
	pthread_t threads[LOADERS];
	cpu_set_t one, all;

	races_start();
	CHECK(sched_getaffinity(0, sizeof(all), &all) == 0);
	CPU_ZERO(&one);
	for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; cpu++)
		if (CPU_ISSET(cpu, &all))
			CPU_SET(cpu, &one);
	CHECK(sched_setaffinity(0, sizeof(one), &one) == 0);
	loaders_begin(threads, loader);
	change_nodes((double)scaled(2), &operations, 100);
	loaders_end(threads);
	check_nothing_lost();
}

/* --- T5: moved anywhere ---------------------------------------------------------------------- */

static void *moved_loader(void *arg)
{
	uint64_t seed = (uintptr_t)arg + 55;
	cpu_set_t all, one;
	int cpus;

	CHECK(sched_getaffinity(0, sizeof(all), &all) == 0);
	cpus = (int)sysconf(_SC_NPROCESSORS_CONF);
	while (!atomic_load(&stop)) {
		CPU_ZERO(&one);
		CPU_SET((int)(rnd(&seed) % (unsigned)cpus), &one);
		sched_setaffinity(0, sizeof(one), &one); /* one that is not there: no matter */
		CHECK(api.prefer_node((int)(rnd(&seed) % 5) - 1) == 0);
		for (unsigned int i = 0; i < 20; i++)
			load_once(&seed, 4);
	}
	return NULL;
}

/* Another hand moves them in the middle. */
static void *mover(void *arg)
{
	pthread_t *threads = arg;
	uint64_t seed = 9;
	int cpus = (int)sysconf(_SC_NPROCESSORS_CONF);
	cpu_set_t one;

	while (!atomic_load(&stop)) {
		CPU_ZERO(&one);
		CPU_SET((int)(rnd(&seed) % (unsigned)cpus), &one);
		pthread_setaffinity_np(threads[rnd(&seed) % LOADERS], sizeof(one), &one);
	}
	return NULL;
}

static void moved_anywhere(void)
{
	pthread_t threads[LOADERS], moves;

	races_start();
	loaders_begin(threads, moved_loader);
	moves = thread_begin(mover, threads);
	change_nodes((double)scaled(4), &operations, 100);
	atomic_store(&stop, true);
	thread_end(moves);
	loaders_end(threads);
	check_nothing_lost();
}

/* --- T6: nothing of the node after the acknowledgement ---------------------------------------- */

/* Odd from the acknowledgement, which is the notification, to the news of the end.  An undone
 * offline is in service again before that: only while the state says so, too, is the node away. */
static _Atomic unsigned int away[4];
static _Atomic unsigned long audited;

static int on_memory(enum slabnode_mem_action action, const struct slabnode_memory_notify *notify,
		     void *data)
{
	(void)data;
	if (action == SLABNODE_MEM_GOING_OFFLINE || action == SLABNODE_MEM_CANCEL_OFFLINE ||
	    action == SLABNODE_MEM_GOING_ONLINE || action == SLABNODE_MEM_CANCEL_ONLINE)
		atomic_fetch_add(&away[notify->node], 1);
	return 0;
}

static unsigned int away_since(int node)
{
	unsigned int since = atomic_load(&away[node]);
	int state = api.node_state(node);

	return state == GOING_OFFLINE || state == OFFLINE ? since : 0;
}

static void *auditor(void *arg)
{
	uint64_t seed = (uintptr_t)arg * 5 + 2;
	void *ring[128] = {NULL};

	while (!atomic_load(&stop)) {
		unsigned int before[4], at = (unsigned int)(rnd(&seed) % ARRAY_SIZE(ring));
		size_t size = 1 + rnd(&seed) % (rnd(&seed) % 100 == 0 ? 2000000 : 3000);
		int node;

		free(ring[at]);
		if (rnd(&seed) % 64 == 0)
			api.prefer_node((int)(rnd(&seed) % 4));
		for (unsigned int n = 0; n < 4; n++)
			before[n] = away_since((int)n);
		ring[at] = malloc(size);
		CHECK(ring[at] != NULL);
		node = api.node_of((char *)ring[at] + size - 1);
		CHECK(node >= 0 && node < 4);
		if (before[node] % 2 != 0 && away_since(node) == before[node])
			check_fail(__FILE__, __LINE__, "%zu bytes at %p are on node %d, away", size,
				   ring[at], node);
		atomic_fetch_add(&audited, 1);
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(ring); i++)
		free(ring[i]);
	return NULL;
}

static void acknowledged(void)
{
	pthread_t threads[LOADERS];
	double begin;

	races_start();
	/* A node that is told of its return first of all: its memory may be there at once. */
	CHECK(lib.register_memory("auditor", 1000, on_memory, NULL) > 0);
	loaders_begin(threads, auditor);
	begin = now_sec();
	for (unsigned int i = 0; i < scaled(250) || goes_on(begin, atomic_load(&audited), 10000);
	     i++) {
		int node = 1 + (int)(i % 3);

		if (i % 2 == 0)
			fault("commit=off;rollback=off;delay:%s=2", i % 4 ? "commit" : "rollback");
		if (i % 3 == 0)
			CHECK(offline(node, SLABNODE_MIGRATE) == 0);
		else
			lib.offline(node, i % 3 == 1 ? SLABNODE_STRICT : SLABNODE_WAIT, 3, NULL, 0);
		CHECK(lib.online(node, i % 5 == 0, NULL, 0) == 0);
	}
	loaders_end(threads);
	CHECK_MSG(atomic_load(&audited) > 10000, "only %lu", atomic_load(&audited));
	fault("off");
	check_nothing_lost();
}

static const struct row rows[] = {
	{"T1-cache-created", cache_created},  {"T1-cache-created-in-steps", cache_created_in_steps},
	{"T3-free-between", free_between},    {"T4-stopped-anywhere", stopped_anywhere},
	{"T4-preempted", preempted},	      {"T5-moved-anywhere", moved_anywhere},
	{"T6-acknowledged", acknowledged},    {"T31-slabs-empty-in-drain", slabs_empty_in_drain},
	{"T31-never-refused", never_refused},
};

int main(int argc, char **argv)
{
	return run_rows(argc, argv, rows, ARRAY_SIZE(rows));
}
