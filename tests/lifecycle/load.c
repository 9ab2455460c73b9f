/*
 * load.c - nodes come and go under a workload that verifies itself.
 *
 * The workload: threads that hold objects of all sizes, each filled with a pattern that names
 * it, and free, resize and hand over objects to each other; each object is verified before it
 * goes.  TEST_SCALE lengthens the storms, TEST_SEED chooses another one.
 */
#include "lifecycle.h"

#include <stdatomic.h>

#define SLOTS	2048
#define WORKERS 4

struct slot {
	pthread_mutex_t lock;
	unsigned char *p;
	size_t size;
	uint64_t id;
};

/* Any worker may free what another one allocated. */
static struct slot slots[SLOTS];
static _Atomic int stop;
static _Atomic uint64_t operations, ids;
static pthread_t workers[WORKERS];
static bool takes_null; /* allocations may fail */
static _Atomic uint64_t refused;
static bool fixed_sizes; /* by slot, so that live bytes are equal at all times */
static size_t largest = 2000;

static size_t draw_size(const struct slot *s, uint64_t *seed)
{
	unsigned int r = (unsigned int)(rnd(seed) % 1000);
	uint64_t of_slot = (uint64_t)(s - slots) + 1;

	if (fixed_sizes)
		return 16 + rnd(&of_slot) % largest;
	return 1 + rnd(seed) % (r < 600	  ? 256
				: r < 900 ? 4096
				: r < 990 ? 32768
				: r < 999 ? 400000
					  : 9000000);
}

static void resize(struct slot *s, size_t size)
{
	size_t keep = (size < s->size ? size : s->size) & ~(size_t)7;
	unsigned char *p = realloc(s->p, size);

	if (p == NULL && takes_null) {
		atomic_fetch_add(&refused, 1);
		CHECK_INTACT(s->p, s->size, s->id);
		return;
	}
	CHECK(p != NULL);
	CHECK_INTACT(p, keep, s->id);
	s->p = p;
	s->size = size;
}

static void replace(struct slot *s, size_t size)
{
	free(s->p);
	s->p = malloc(size);
	s->size = size;
	if (s->p != NULL)
		return;
	CHECK_MSG(takes_null, "malloc(%zu) gave nothing", size);
	atomic_fetch_add(&refused, 1);
	s->size = 0;
}

static void work_on(struct slot *s, uint64_t *seed)
{
	size_t size = draw_size(s, seed);

	if (s->p != NULL)
		CHECK_INTACT(s->p, s->size, s->id);
	if (s->p != NULL && rnd(seed) % 5 == 0) {
		resize(s, size);
	} else {
		replace(s, size);
	}
	s->id = atomic_fetch_add(&ids, 1);
	fill(s->p, s->size, s->id);
}

static void *worker(void *arg)
{
	uint64_t seed = (uintptr_t)arg * 31 + 1;

	while (!atomic_load(&stop)) {
		struct slot *s = &slots[rnd(&seed) % SLOTS];

		pthread_mutex_lock(&s->lock);
		work_on(s, &seed);
		pthread_mutex_unlock(&s->lock);
		atomic_fetch_add(&operations, 1);
	}
	return NULL;
}

static void begin_load(void)
{
	for (unsigned int i = 0; i < SLOTS; i++)
		pthread_mutex_init(&slots[i].lock, NULL);
	for (uintptr_t i = 0; i < WORKERS; i++)
		CHECK(pthread_create(&workers[i], NULL, worker, (void *)i) == 0);
}

/* Every object is whole, and is somebody's. */
static void end_load(void)
{
	double begin = now_sec();

	while (goes_on(begin, atomic_load(&operations), 1000))
		sleep_ms(1);
	atomic_store(&stop, 1);
	for (unsigned int i = 0; i < WORKERS; i++)
		CHECK(pthread_join(workers[i], NULL) == 0);
	CHECK(atomic_load(&operations) > 1000);
	for (unsigned int i = 0; i < SLOTS; i++) {
		if (slots[i].p == NULL)
			continue;
		CHECK(api.node_of(slots[i].p) >= 0);
		CHECK(api.node_state(api.node_of(slots[i].p)) == ONLINE);
		CHECK_INTACT(slots[i].p, slots[i].size, slots[i].id);
		free(slots[i].p);
	}
}

static unsigned long seed_of_test(void)
{
	const char *v = getenv("TEST_SEED");

	return v != NULL ? strtoul(v, NULL, 10) : 4711;
}

/* After everything: each node can be used, and can be emptied by strict. */
static void check_settled(void)
{
	int nodes = api.max_node();

	for (int n = 0; n < nodes; n++)
		CTL(0, "online %d", n);
	for (int n = 0; n < nodes; n++)
		check_allocates(n);
	/* Node 0 holds what libraries and stdio have. */
	for (int n = 1; n < nodes; n++) {
		CTL(0, "--json offline %d --policy strict", n);
		CTL(0, "--json status");
		char key[32];
		snprintf(key, sizeof(key), "\"node\":%d,", n);
		CHECK(printed_number(key, "resident_bytes") == 0);
		CTL(0, "online %d", n);
	}
}

static void storm(void)
{
	unsigned long seed = seed_of_test();

	start();
	begin_load();
	CTL(0, "storm --seed %lu --duration %lu --rate 60", seed, scaled(8));
	for (int n = 0; n < api.max_node(); n++)
		CTL(0, "online %d", n);
	end_load();
	check_settled();
}

/* The same while steps fail and take their time; what is asked then may fail, nothing else. */
static void faults(void)
{
	unsigned long seed = seed_of_test();

	start();
	begin_load();
	CTL(0,
	    "fault move-busy%%1,seed=%lu;move-shared%%1,seed=2;move-nomem%%1,seed=3;"
	    "restore%%20,seed=4;vacate%%20,seed=5;populate%%0.1,seed=6;going-offline%%10,seed=7;"
	    "going-online%%10,seed=8;structures%%10,seed=9;release%%10,seed=10;drain%%10,seed=11;"
	    "delay:commit=3;delay:rollback=3;delay:move=1",
	    seed);
	ctl("storm --seed %lu --duration %lu --rate 40", seed, scaled(6));
	CTL(0, "fault off");
	for (int n = 0; n < api.max_node(); n++)
		CTL(0, "online %d", n);
	end_load();
	check_settled();
}

/* Of what a storm tells of requests that failed: each line ends with "REASON (ERROR)". */
static void check_reasons(char *told)
{
	for (char *line = strtok(told, "\n"); line != NULL; line = strtok(NULL, "\n")) {
		const char *error = strstr(line, " (E"), *step = strstr(line, "step ");

		if (strncmp(line, "hotplugctl: step ", 17) == 0)
			CHECK_MSG(error != NULL && step != NULL && error[-1] != ':', "%s", line);
	}
}

/* One of a hundred steps of everything fails, one of a thousand takes its time. */
static void faults_everywhere(void)
{
	unsigned long seed = seed_of_test();

	start();
	takes_null = true;
	begin_load();
	CTL(0, "fault all%%1,seed=%lu delay:all=1%%0.1,seed=%lu", seed, seed + 1);
	ctl("storm --seed %lu --duration %lu --rate 40", seed, scaled(6));
	check_reasons(ctl_out);
	CTL(0, "fault off");
	dprintf(1, "%lu operations, %lu refused\n", (unsigned long)operations,
		(unsigned long)refused);
	for (int n = 0; n < api.max_node(); n++) {
		CTL(0, "online %d", n);
		CTL(0, "uncordon %d",
		    n); /* what the storm itself asked at its end may have failed */
	}
	takes_null = false;
	end_load();
	check_settled();
}

/* A policy that cannot be set on the way back is set later. */
static void rebind_retried(void)
{
	start();
	held(64, 1, 1); /* a range that has a policy */
	CTL(0, "offline 1");
	CTL(0, "fault bind%%100,seed=1");
	CTL(0, "online 1");
	CTL(0, "fault off");
	for (int i = 0;; i++) {
		unsigned char *p = held(12 * MIB, 1, 1);
		bool there = api.node_of(p) == 1 && api.node_of(p + 12 * MIB - 1) == 1;

		free(p);
		if (there)
			break;
		CHECK_MSG(i < 300, "after 30 s pages of node 1 still land elsewhere");
		sleep_ms(100);
	}
}

/* Two operators who know nothing of each other. */
static void two_clients(void)
{
	pid_t one, other;
	int fd, status;

	start();
	begin_load();
	for (unsigned int i = 0; i < 15; i++) {
		one = ctl_begin("--json offline 1 2 --policy migrate");
		other = ctl_begin("--json offline 2 1 --policy %s", i % 2 ? "migrate" : "strict");
		status = ctl_end(other);
		CHECK_MSG(status == 0 || status == 4 || status == 64, "%d: %s", status, ctl_out);
		CHECK(waitpid(one, &status, 0) == one);
		CHECK(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 4 ||
					    WEXITSTATUS(status) == 64));
		one = ctl_begin("--json online 1 2 --rebalance");
		other = ctl_begin("--json online 1 2");
		CHECK_MSG(ctl_end(other) == 0, "%s", ctl_out);
		CHECK(waitpid(one, &status, 0) == one);
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	/* The opposite of what is under way. */
	fd = link_open();
	free(held(64, 1, 1));
	void *p = held(64, 1, 1);
	link_send(fd, "offline 1 policy=wait\n");
	until_state(1, GOING_OFFLINE);
	CTL(4, "online 1");
	close(fd);
	until_state(1, ONLINE); /* the client hung up: rolled back */
	free(p);
	end_load();
	check_settled();
}

static void client_killed(void)
{
	void *p;
	pid_t pid;

	start();
	p = held(64, 1, 1);
	pid = ctl_begin("offline 1 --policy wait");
	until_state(1, GOING_OFFLINE);
	kill(pid, SIGKILL);
	CHECK(ctl_end(pid) == -SIGKILL);
	until_state(1, ONLINE);
	check_allocates(1);
	/* Sent off on its own, it goes on. */
	CTL(0, "offline 1 --policy wait --detach");
	until_state(1, GOING_OFFLINE);
	sleep_ms(200);
	CHECK(api.node_state(1) == GOING_OFFLINE);
	free(p);
	until_state(1, OFFLINE);
	audit_away(1, 300);
	CTL(0, "online 1");
	check_allocates(1);
}

/* --- fork -------------------------------------------------------------------------------- */

/* `fresh`: nothing of the node was ever moved, so that all it gives is really there. */
static void *forked_child(int node, void *const *p, bool fresh)
{
	void *q;

	/* One thread, no transition, nothing lost. */
	if (api.node_state(node) != ONLINE && api.node_state(node) != OFFLINE)
		_exit(10);
	for (unsigned int i = 0; i < 50; i++)
		if (spoilt(p[i], 100 + i * 100, i) >= 0)
			_exit(11);
	for (unsigned int i = 0; i < 500; i++) {
		q = malloc(i * 50 + 1);
		if (q == NULL)
			_exit(12);
		if (api.node_state(api.node_of(q)) != ONLINE)
			_exit(13);
		memset(q, 1, i * 50 + 1);
		free(q);
	}
	if (api.node_state(node) == ONLINE) {
		q = api.malloc_node(3 * MIB, node);
		if (q == NULL)
			_exit(14);
		memset(q, 1, 3 * MIB);
		if (fresh && api.node_of((char *)q + MIB) != node)
			_exit(15);
	}
	_exit(0);
}

static void *orderer(void *arg)
{
	static const char *const policies[] = {"strict", "wait --timeout 0.02", "migrate"};

	for (unsigned int i = 0; !atomic_load(&stop); i++) {
		ctl("offline 1 --policy %s", policies[i % 3]);
		ctl("online 1%s", i % 2 ? " --rebalance" : "");
	}
	return arg;
}

/* At any moment of a node's life. */
static void fork_in_phases(void)
{
	void *p[50], *big;
	pthread_t thread;
	double until;
	unsigned int forks = 0, away = 0;

	start();
	for (unsigned int i = 0; i < 50; i++)
		p[i] = held(100 + i * 100, 1, i);
	big = held(60 * MIB, 1, 5);
	begin_load();
	CHECK(pthread_create(&thread, NULL, orderer, NULL) == 0);
	until = now_sec() + (double)scaled(8);
	while (goes_on(until, away > 0 ? forks : 0, 20)) {
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (pid == 0)
			forked_child(1, p, false);
		wait_exit(pid, 0);
		forks++;
		away += api.node_state(1) != ONLINE;
	}
	CHECK_MSG(forks > 20 && away > 0, "%u forks, %u of them away", forks, away);
	atomic_store(&stop, 1);
	CHECK(pthread_join(thread, NULL) == 0);
	CTL(0, "online 1");
	end_load();
	for (unsigned int i = 0; i < 50; i++)
		CHECK_INTACT(p[i], 100 + i * 100, i);
	CHECK_INTACT(big, 60 * MIB, 5);
}

/* While a wait is under way for certain: the child's node is in service, the parent's not. */
static void fork_in_wait(void)
{
	void *p, *all[50];
	pid_t ctl_pid, pid;

	start();
	for (unsigned int i = 0; i < 50; i++)
		all[i] = held(100 + i * 100, 2, i);
	p = held(64, 1, 1);
	ctl_pid = ctl_begin("--json offline 1 --policy wait");
	until_state(1, GOING_OFFLINE);
	sleep_ms(100);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		if (api.node_state(1) != ONLINE)
			_exit(9);
		free(p);
		forked_child(1, all, true);
	}
	wait_exit(pid, 0);
	CHECK(api.node_state(1) == GOING_OFFLINE);
	free(p);
	CHECK_MSG(ctl_end(ctl_pid) == 0, "%s", ctl_out);
	/* And of a process whose node is away already. */
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		if (api.node_state(1) != OFFLINE || api.malloc_node(64, 1) != NULL)
			_exit(9);
		forked_child(1, all, true);
	}
	wait_exit(pid, 0);
}

/* --- a hundred cycles -------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
	long x = *(const long *)a, y = *(const long *)b;

	return (x > y) - (x < y);
}

static long median(long *values, size_t n)
{
	qsort(values, n, sizeof(*values), by_value);
	return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/* A hundred cycles under the load; whether the last ten hold what the second ten did. */
static bool hundred_cycles(long *early, long *late)
{
	static long rss[101];

	for (unsigned int i = 1; i <= 100; i++) {
		unsigned int node = 1 + i % 3;
		uint64_t from;

		CTL(0, "offline %u", node);
		from = atomic_load(&operations);
		while (atomic_load(&operations) < from + 2 * SLOTS)
			sleep_ms(1);
		CTL(0, "online %u%s", node, i % 4 == 0 ? " --rebalance" : "");
		from = atomic_load(&operations);
		while (atomic_load(&operations) < from + 2 * SLOTS)
			sleep_ms(1);
		rss[i] = rss_kib();
	}
	*early = median(rss + 11, 10);
	*late = median(rss + 91, 10);
	return *late * 100 <= *early * 105 && *late * 100 >= *early * 80;
}

/* A busy machine can spoil one hundred; what grows would grow in the next as well. */
static void cycle_hundred_times(size_t most)
{
	long early = 0, late = 0;
	bool steady = false;

	start();
	fixed_sizes = true;
	largest = most;
	begin_load();
	while (atomic_load(&operations) < 100 * SLOTS)
		sleep_ms(1);
	for (int tries = 0; tries < 3 && !steady; tries++)
		steady = hundred_cycles(&early, &late);
	CHECK_MSG(steady, "median resident size of cycles 11-20 %ld KiB, of 91-100 %ld KiB", early,
		  late);
	end_load();
	check_settled();
}

static void cycles_small(void)
{
	cycle_hundred_times(6000);
}

static void cycles_mixed(void)
{
	cycle_hundred_times(50000);
}

/* --- many nodes -------------------------------------------------------------------------- */

static void idle(void)
{
	sleep_ms(200);
	dprintf(1, "%ld\n", rss_kib());
}

static long idle_rss(const char *topology)
{
	char text[32] = "";
	int fds[2], status;
	pid_t pid;

	CHECK(pipe(fds) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		setenv("SLABNODE_TOPOLOGY", topology, 1);
		dup2(fds[1], 1);
		execl("/proc/self/exe", "load", "_idle", (char *)NULL);
		_exit(127);
	}
	close(fds[1]);
	CHECK(read(fds[0], text, sizeof(text) - 1) > 0);
	close(fds[0]);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	return strtol(text, NULL, 10);
}

static void many_nodes(void)
{
	long one, many;

	start();
	one = idle_rss("synthetic:node:1 core:1 pu:1");
	many = idle_rss("synthetic:node:64 core:8 pu:2");
	CHECK_MSG(many - one <= 4096, "one node %ld KiB, 64 nodes %ld KiB", one, many);
}

/* --- all processes ------------------------------------------------------------------------ */

static void everybody(void)
{
	pid_t pid;

	start();
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		execl("/proc/self/exe", "load", "_idle-until", (char *)NULL);
		_exit(127);
	}
	for (int i = 0;; i++) { /* both are there */
		char want[32];

		snprintf(want, sizeof(want), "\"pid\":%d,", (int)pid);
		ctl("-a --json status");
		if (strstr(ctl_out, want) != NULL &&
		    strstr(strstr(ctl_out, want), "\"nodes\"") != NULL)
			break;
		CHECK_MSG(i < 200, "%s", ctl_out);
		sleep_ms(20);
	}
	PRINTED("\"results\":[");
	kill(pid, SIGKILL);
	CHECK(waitpid(pid, NULL, 0) == pid);
}

static void idle_until(void)
{
	for (;;)
		pause();
}

static const struct row rows[] = {
	{"storm", storm},
	{"faults", faults},
	{"faults-everywhere", faults_everywhere},
	{"rebind-retried", rebind_retried},
	{"two-clients", two_clients},
	{"client-killed", client_killed},
	{"fork-in-phases", fork_in_phases},
	{"fork-in-wait", fork_in_wait},
	{"cycles", cycles_small},
	{"cycles-mixed", cycles_mixed},
	{"many-nodes", many_nodes},
	{"everybody", everybody},
	{"_idle", idle},
	{"_idle-until", idle_until},
};

int main(int argc, char **argv)
{
	return run_rows(argc, argv, rows, ARRAY_SIZE(rows));
}
