/*
 * storm.c - a hundred thousand requests over a workload that verifies itself (workload.h).
 *
 * Requests come from hotplugctl's storm, by several clients as fast as answers come, and from
 * threads of the program itself; other threads fork children, which verify what they inherited
 * and take a node away on their own, and ask the control thread whether it is still there.  After
 * a first, short storm everything is freed and measured; after the long one the program must have
 * come back to the same: nothing live, no mapping, descriptor or thread more, and every node
 * can be emptied.
 *
 * TEST_REQUESTS: how many requests hotplugctl makes (2000); TEST_SEED: which.
 */
#include "workload.h"

#include "../preload/proc.h"

#include <inttypes.h>

#define OPERATORS   2
#define CHILD_LIMIT 60.0
#define FORK_EVERY  40 /* ms, about */
#define PACE	    20 /* ms between questions to the control thread */

static _Atomic bool stop;
static _Atomic uint64_t requests, forks, questions;
static bool with_faults;

static unsigned long number_from(const char *name, unsigned long otherwise)
{
	const char *v = getenv(name);

	return v != NULL ? strtoul(v, NULL, 10) : otherwise;
}

/* --- requests by the program itself ---------------------------------------------------------- */

/* Refusals that others' requests or the clock explain. */
static void expect_result(const char *what, int node, int result, const char *message)
{
	bool fine = result == 0 || result == -EBUSY || result == -ETIMEDOUT ||
		    result == -ECANCELED || result == -ENOMEM;

	CHECK_MSG(fine || with_faults, "%s of node %d: %d: %s", what, node, result, message);
	atomic_fetch_add(&requests, 1);
}

static void request(uint64_t *seed)
{
	int node = (int)(rnd(seed) % (uint64_t)api.max_node());
	unsigned int r = (unsigned int)(rnd(seed) % 100);
	char message[200] = "";

	if (r < 45)
		expect_result("offline", node,
			      api.offline(node, (enum slabnode_policy)((rnd(seed) % 5 + 1) / 2),
					  (long)(rnd(seed) % 50), message, sizeof(message)),
			      message);
	else if (r < 80)
		expect_result("online", node,
			      api.online(node, rnd(seed) % 2 != 0, message, sizeof(message)),
			      message);
	else if (r < 88)
		expect_result("cancel", node, api.cancel(node), "");
	else if (r < 92)
		expect_result("cordon", node, api.cordon(node), "");
	else
		expect_result("uncordon", node, api.uncordon(node), "");
}

static void *operator(void *arg)
{
	uint64_t seed = (uintptr_t)arg;
	struct watch *watch = watch_begin("operator");

	while (!atomic_load(&stop)) {
		request(&seed);
		watch_beat(watch);
		sleep_ms((long)(rnd(&seed) % 4));
	}
	watch_end(watch);
	return NULL;
}

/* The answer's length; its beginning stays in `text`. */
static size_t read_answer(int fd, char *text, size_t size)
{
	size_t used = 0, all = 0;

	do {
		ssize_t n = read(fd, text + used, size - used);

		CHECK_MSG(n > 0, "the control thread hung up");
		all += (size_t)n;
		used += (size_t)n;
		if (used > size / 2 && text[used - 1] != '\n')
			used = size / 2;
	} while (text[used - 1] != '\n');
	return all;
}

/* Is the control thread there, and does it answer? */
static void *asker(void *arg)
{
	static const char *const lines[] = {"status\n", "slabinfo\n", "why 0\n", "plan 1\n"};
	static char text[128 * KIB];
	struct watch *watch = watch_begin("control thread");
	int fd = link_open();

	for (unsigned int i = 0; !atomic_load(&stop); i++) {
		link_send(fd, lines[i % ARRAY_SIZE(lines)]);
		CHECK(read_answer(fd, text, sizeof(text)) > 10);
		CHECK_MSG(strncmp(text, "{\"ok\":true", 10) == 0, "%.200s", text);
		atomic_fetch_add(&questions, 1);
		watch_beat(watch);
		sleep_ms(PACE);
	}
	close(fd);
	watch_end(watch);
	return arg;
}

/* --- fork ------------------------------------------------------------------------------------ */

/* A child has nodes of its own. */
static void offline_in_child(int node)
{
	char message[200] = "";
	int error = api.offline(node, SLABNODE_MIGRATE, 5000, message, sizeof(message));

	if (error != 0) {
		CHECK_MSG(error == -EBUSY || error == -ENOMEM || with_faults,
			  "offline of node %d in a child: %d: %s", node, error, message);
		return;
	}
	CHECK(api.node_state(node) == OFFLINE);
	workload_in_child(true, 200);
	error = api.online(node, 1, message, sizeof(message));
	CHECK_MSG(error == 0 || with_faults, "online of node %d in a child: %d: %s", node, error,
		  message);
}

static void run_child(bool paused, uint64_t seed)
{
	workload_in_child(paused, 200);
	if (seed % 3 == 0)
		offline_in_child((int)(seed / 3 % (uint64_t)api.max_node()));
	_exit(0);
}

static void wait_child(pid_t pid, struct watch *watch)
{
	double until = now_sec() + CHILD_LIMIT;
	int status;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (now_sec() > until) {
			dprintf(2, "a child does not end\n");
			print_stacks(pid);
			kill(pid, SIGKILL);
			check_fail(__FILE__, __LINE__, "child %d hangs", (int)pid);
		}
		watch_beat(watch);
		sleep_ms(1);
	}
	CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child %d ended with %x", (int)pid,
		  status);
}

static void *forker(void *arg)
{
	uint64_t seed = (uintptr_t)arg;
	struct watch *watch = watch_begin("forker");

	while (!atomic_load(&stop)) {
		bool paused = rnd(&seed) % 2 != 0;
		pid_t pid;

		if (paused)
			workload_pause();
		pid = fork();
		if (pid == 0)
			run_child(paused, rnd(&seed));
		if (paused)
			workload_resume();
		CHECK(pid > 0);
		rnd(&seed);
		wait_child(pid, watch);
		atomic_fetch_add(&forks, 1);
		watch_beat(watch);
		sleep_ms((long)(rnd(&seed) % (2 * FORK_EVERY)));
	}
	watch_end(watch);
	return NULL;
}

/* --- what must not grow ---------------------------------------------------------------------- */

struct measure {
	long mappings, descriptors, threads, rss_kib;
	long long live, slabs_active;
};

/* Of all threads: the control thread has a table of its own. */
static long count_descriptors(void)
{
	char path[sizeof("/proc/self/task//fd") + 256];
	struct entries tasks;
	const char *thread;
	long most = 0;

	entries_open(&tasks, "/proc/self/task");
	while ((thread = entries_next(&tasks)) != NULL) {
		long n;

		snprintf(path, sizeof(path), "/proc/self/task/%s/fd", thread);
		n = count_entries(path);
		most = n > most ? n : most;
	}
	return most;
}

/* Of all nodes' rows in what hotplugctl printed. */
static long long printed_sum(const char *key)
{
	char quoted[64];
	long long sum = 0;

	snprintf(quoted, sizeof(quoted), "\"%s\":", key);
	for (const char *at = ctl_out; (at = strstr(at, quoted)) != NULL;) {
		at += strlen(quoted);
		sum += strtoll(at, NULL, 10);
	}
	return sum;
}

static struct measure measure(void)
{
	struct measure m = {0};

	CTL(0, "--json status");
	m.live = printed_sum("live_bytes");
	CTL(0, "--json slabinfo");
	m.slabs_active = printed_sum("active_objects");
	m.mappings = count_mappings();
	m.descriptors = count_descriptors();
	m.threads = count_entries("/proc/self/task");
	m.rss_kib = rss_kib();
	return m;
}

/* A step that injected faults may have made fail is taken again. */
static void bring_back(int node)
{
	CTL(0, "online %d --rebalance", node);
	CTL(0, "uncordon %d", node);
	CHECK(api.node_state(node) == ONLINE);
}

static struct measure settle(void)
{
	int nodes = api.max_node();

	for (int n = 0; n < nodes; n++)
		bring_back(n);
	workload_end();
	for (int n = 0; n < nodes; n++)
		check_allocates(n);
	CTL(0, "drain");
	sleep_ms(100); /* threads of the last requests end */
	return measure();
}

/* Where the resident memory is: for whoever reads why a run failed. */
static void print_resident(void)
{
	FILE *smaps = fopen("/proc/self/smaps", "re");
	char line[256], mapping[256] = "";
	long kib;

	while (smaps != NULL && fgets(line, sizeof(line), smaps) != NULL)
		if (sscanf(line, "Rss: %ld kB", &kib) == 1 && kib >= 256)
			dprintf(1, "%ld KiB: %s", kib, mapping);
		else if (strchr(line, '-') != NULL && strchr(line, '-') < strchr(line, ' '))
			memcpy(mapping, line, sizeof(mapping));
	if (smaps != NULL)
		fclose(smaps);
	CTL(0, "status");
	dprintf(1, "%s", ctl_out);
	CTL(0, "slabinfo");
	dprintf(1, "%s", ctl_out);
}

static void compare(const struct measure *before, const struct measure *after)
{
	long nodes = api.max_node();
	/* Alien caches are built on first use and stay: 320 bytes for 40 sizes and two nodes. */
	long aliens_kib = nodes * nodes * 13;

	dprintf(1,
		"mappings %ld -> %ld, descriptors %ld -> %ld, threads %ld -> %ld, resident %ld -> "
		"%ld KiB, live %lld -> %lld bytes, %lld -> %lld objects\n",
		before->mappings, after->mappings, before->descriptors, after->descriptors,
		before->threads, after->threads, before->rss_kib, after->rss_kib, before->live,
		after->live, before->slabs_active, after->slabs_active);
	CHECK(after->live <= before->live + 4096);
	CHECK(after->slabs_active <= before->slabs_active + 16);
	CHECK(after->threads <= before->threads);
	CHECK(after->descriptors <= before->descriptors);
	/*
	 * Closed stretches of address space do not join in the kernel when their pages were first
	 * touched before and after a fork (their anon_vma differ), so there are more mappings after
	 * thousands of forks; a stretch keeps its own, so the number of segments bounds them.
	 */
	CHECK(after->mappings <= before->mappings + 64 + 16 * nodes);
	if (after->rss_kib > before->rss_kib + before->rss_kib / 5 + 4 * (long)KIB + aliens_kib) {
		print_resident();
		CHECK(!"resident memory as before");
	}
}

/* Nothing of the program's is left on a node: strict finds it empty. */
static void check_empty_nodes(void)
{
	/* Node 0 holds what libraries and stdio have. */
	for (int n = 1; n < api.max_node(); n++) {
		char message[200] = "";
		int error = api.offline(n, SLABNODE_STRICT, 10000, message, sizeof(message));

		CHECK_MSG(error == 0, "strict offline of node %d: %d: %s", n, error, message);
	}
	CTL(0, "--json status");
	for (int n = 1; n < api.max_node(); n++) {
		char key[32];

		snprintf(key, sizeof(key), "\"node\":%d,", n);
		CHECK(printed_number(key, "resident_bytes") == 0);
		CHECK(api.online(n, 0, NULL, 0) == 0);
	}
}

/* --- rows ------------------------------------------------------------------------------------ */

static void *(*const helpers[])(void *) = {operator, operator, asker, forker};

static void storm_for(unsigned long count, unsigned long seed)
{
	struct workload_options options = {
		.seed = seed,
		.threads = 6,
		.live_limit = 256 * MIB,
		.fails = with_faults,
	};
	static void *stacks[ARRAY_SIZE(helpers)];
	uint64_t departures = workload_figures().departures;
	pthread_t threads[ARRAY_SIZE(helpers)];
	pid_t tool;
	int status;

	for (size_t i = 0; i < ARRAY_SIZE(helpers); i++)
		stacks[i] = stacks[i] != NULL ? stacks[i] : workload_stack();
	atomic_store(&stop, false);
	workload_begin(&options);
	tool = ctl_begin("storm --seed %lu --requests %lu --rate 0 --clients 4", seed, count);
	/* The tool has seen all nodes online before others take them away. */
	for (int i = 0; i < 5000 && workload_figures().departures == departures; i++)
		sleep_ms(1);
	for (size_t i = 0; i < ARRAY_SIZE(helpers); i++)
		threads[i] = workload_thread(stacks[i], helpers[i],
					     (void *)(uintptr_t)(seed * 64 + i + 1));
	status = ctl_end(tool);
	CHECK_MSG(status == 0 || (with_faults && status != 2), "%d: %s", status, ctl_out);
	dprintf(1, "%s", ctl_out);
	atomic_store(&stop, true);
	for (size_t i = 0; i < ARRAY_SIZE(helpers); i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
}

static void report(double seconds)
{
	struct workload_figures f = workload_figures();

	dprintf(1,
		"%.1f s: %" PRIu64 " requests of the program itself, %" PRIu64 " forks, %" PRIu64
		" questions; workload: %" PRIu64 " operations, %" PRIu64 " threads, %" PRIu64
		" mails, %" PRIu64 " refused, %" PRIu64 " placements audited, %" PRIu64
		" while a node was away\n",
		seconds, atomic_load(&requests), atomic_load(&forks), atomic_load(&questions),
		f.operations, f.lives, f.mails, f.refused, f.audits, f.away);
	CHECK(f.operations > 1000 && f.lives > 6 && f.away > 100 && atomic_load(&forks) > 5);
}

/* One step in a hundred fails. */
static void arm_faults(unsigned long seed)
{
	with_faults = true;
	CTL(0,
	    "fault populate%%1,seed=%lu;bind%%1,seed=2;move%%1,seed=3;move-busy%%1,seed=4;"
	    "move-nomem%%1,seed=5;move-shared%%1,seed=6;restore%%1,seed=7;vacate%%1,seed=8;"
	    "going-offline%%1,seed=9;going-online%%1,seed=10;structures%%1,seed=11;close%%1,seed="
	    "12;"
	    "drain%%1,seed=13;release%%1,seed=14;wait%%1,seed=15;migrate%%1,seed=16;"
	    "verify%%1,seed=17;online%%1,seed=18;delay:commit=2%%1,seed=19;"
	    "delay:rollback=2%%1,seed=20",
	    seed);
}

static void great_storm(bool faulty)
{
	unsigned long seed = number_from("TEST_SEED", 1),
		      count = number_from("TEST_REQUESTS", 2000);
	struct measure before, after;
	double begin;

	start();
	storm_for(count / 10 + 100, seed + 1000);
	before = settle();
	if (faulty)
		arm_faults(seed);
	begin = now_sec();
	storm_for(count, seed);
	if (faulty)
		CTL(0, "fault off");
	after = settle();
	report(now_sec() - begin);
	compare(&before, &after);
	check_empty_nodes();
}

static void storm(void)
{
	great_storm(false);
}

/* The workload takes NULL and runs on, and nothing is left over. */
static void faults(void)
{
	great_storm(true);
}

static const struct row rows[] = {
	{"storm", storm},
	{"faults", faults},
};

int main(int argc, char **argv)
{
	return run_rows(argc, argv, rows, ARRAY_SIZE(rows));
}
