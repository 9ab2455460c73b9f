/*
 * policies.c - what each policy promises, by hotplugctl on a four-node topology.
 */
#include "lifecycle.h"

#include <sys/resource.h>

#define OBJECTS 400

static void *objects[OBJECTS], *run, *span;

static size_t size_of(unsigned int i)
{
	return 8 + (size_t)i * i % 30000;
}

static void hold_objects(int node)
{
	for (unsigned int i = 0; i < OBJECTS; i++)
		objects[i] = held(size_of(i), node, i);
	run = held(3 * MIB, node, 9000);
	span = held(20 * MIB, node, 9001);
}

static void check_objects(void)
{
	for (unsigned int i = 0; i < OBJECTS; i++)
		CHECK_INTACT(objects[i], size_of(i), i);
	CHECK_INTACT(run, 3 * MIB, 9000);
	CHECK_INTACT(span, 20 * MIB, 9001);
}

static void free_objects(void)
{
	check_objects();
	for (unsigned int i = 0; i < OBJECTS; i++)
		free(objects[i]);
	free(run);
	free(span);
}

static void strict_busy(void)
{
	void *p[3];

	start();
	for (unsigned int i = 0; i < 3; i++)
		p[i] = held(64, 1, i);
	CTL(4, "--json offline 1 --policy strict");
	PRINTED("\"ok\":false");
	PRINTED("\"error\":\"EBUSY\"");
	PRINTED("\"state\":\"online\"");
	PRINTED("\"cache\":\"malloc-64\"");
	CHECK(printed_number("\"holders\"", "objects") == 3);
	CHECK(printed_number("\"holders\"", "slabs") == 1);
	CHECK(printed_number("\"holders\"", "bytes") == 192);
	check_allocates(1);
	CTL(4, "offline 1 --policy strict");
	PRINTED("malloc-64");
	check_allocates(1);
	hold_objects(1);
	CTL(4, "--json offline 1 --policy strict");
	PRINTED("\"cache\":\"large\"");
	CTL(0, "--json why 1");
	PRINTED("large");
	check_objects();
	free_objects();
	for (unsigned int i = 0; i < 3; i++) {
		CHECK_INTACT(p[i], 64, i);
		free(p[i]);
	}
	CTL(0, "offline 1 --policy strict");
}

static void strict_cached(void)
{
	start();
	for (unsigned int round = 0; round < 3; round++) {
		hold_objects(1);
		free_objects();
		CTL(0, "--json offline 1 --policy strict");
		PRINTED("\"state\":\"offline\"");
		CHECK(printed_number(NULL, "released_bytes") > (long long)(20 * MIB));
		CHECK(api.node_state(1) == OFFLINE);
		CTL(0, "--json status");
		CHECK(printed_number("\"node\":1,", "resident_bytes") == 0);
		CHECK(printed_number("\"node\":1,", "cached_bytes") == 0);
		CTL(0, "offline 1"); /* already: says so, success */
		PRINTED("already");
		audit_away(1, 1500);
		CTL(0, "online 1");
		CTL(0, "online 1");
		PRINTED("already");
		check_allocates(1);
	}
}

static void wait_success(void)
{
	pid_t pid;

	start();
	hold_objects(1);
	pid = ctl_begin("--json offline 1 --policy wait");
	until_state(1, GOING_OFFLINE);
	sleep_ms(300);
	CHECK(waitpid(pid, NULL, WNOHANG) == 0);
	CHECK(api.malloc_node(64, 1) == NULL);
	free_objects();
	CHECK_MSG(ctl_end(pid) == 0, "%s", ctl_out);
	PRINTED("\"policy\":\"wait\"");
	CHECK(api.node_state(1) == OFFLINE);
	audit_away(1, 1500);
}

static void wait_timeout(void)
{
	double before;

	start();
	hold_objects(1);
	before = now_sec();
	CTL(6, "--json offline 1 --policy wait --timeout 1");
	CHECK(now_sec() - before > 0.9);
	PRINTED("ETIMEDOUT");
	PRINTED("\"holders\":[{");
	CHECK(api.node_state(1) == ONLINE);
	check_allocates(1);
	check_objects();
}

static void wait_cancelled(void)
{
	pid_t pid;

	start();
	hold_objects(1);
	CTL(0, "cancel 1"); /* nothing under way */
	pid = ctl_begin("--json offline 1 --policy wait");
	until_state(1, GOING_OFFLINE);
	sleep_ms(50);
	kill(pid, SIGINT);
	CHECK_MSG(ctl_end(pid) == 5, "%s", ctl_out);
	PRINTED("ECANCELED");
	CHECK(api.node_state(1) == ONLINE);
	check_allocates(1);
	for (int i = 0; i < 2; i++) {
		char line[8192];
		int fd = link_open();

		link_send(fd, "offline 1 policy=wait\n");
		until_state(1, GOING_OFFLINE);
		CTL(0, "cancel 1");
		CHECK(api.node_state(1) == ONLINE);
		do
			CHECK(link_line(fd, line, sizeof(line)));
		while (strstr(line, "\"progress\"") != NULL);
		CHECK_MSG(strstr(line, "ECANCELED") != NULL, "%s", line);
		check_allocates(1);
		close(fd);
	}
	check_objects();
}

static void migrate_intact(void)
{
	start();
	for (unsigned int round = 0; round < 3; round++) {
		hold_objects(1);
		CTL(0, "--json offline 1 --policy migrate");
		CHECK(printed_number(NULL, "migrated_bytes") >= (long long)(23 * MIB));
		CTL(0, "--json status");
		CHECK(printed_number("\"node\":1,", "resident_bytes") == 0);
		CHECK(printed_number("\"node\":1,", "elsewhere_bytes") >= (long long)(23 * MIB));
		check_objects();
		CHECK(api.node_of(span) != 1 && api.node_of(run) != 1);
		audit_away(1, 1500);
		CTL(0, "--json online 1 --rebalance");
		CHECK(api.node_of(span) == 1 && api.node_of(run) == 1);
		CTL(0, "--json status");
		CHECK(printed_number("\"node\":1,", "elsewhere_bytes") == 0);
		check_objects();
		free_objects();
		check_allocates(1);
	}
}

/* From the first progress object on, nothing of the node is handed out. */
static void acknowledged(void)
{
	static const char *const policies[] = {"wait", "migrate", "strict"};
	char line[8192], order[64];

	start();
	for (unsigned int i = 0; i < 12; i++) {
		void *p;
		int fd = link_open();

		/* Pages of this node on others, and of others here, are part of it. */
		hold_objects((int)(i % 4));
		p = held(100, 1, 1);
		snprintf(order, sizeof(order), "offline 1 policy=%s\n", policies[i % 3]);
		link_send(fd, order);
		CHECK(link_line(fd, line, sizeof(line)));
		CHECK_MSG(strstr(line, "\"progress\"") != NULL, "%s", line);
		if (i % 3 == 0)
			audit_away(1, 300);
		free_objects();
		free(p);
		do
			CHECK(link_line(fd, line, sizeof(line)));
		while (strstr(line, "\"progress\"") != NULL);
		if (i % 3 != 2) {
			CHECK_MSG(strstr(line, "\"ok\":true") != NULL, "%s", line);
			audit_away(1, 300);
		}
		close(fd);
		CTL(0, "online 1");
		check_allocates(1);
	}
}

/* What node 1 moved to node 2 does not stay there when node 2 leaves. */
static void guests(void)
{
	static const char *const policies[] = {"migrate", "strict", "wait"};

	start();
	for (unsigned int i = 0; i < 3; i++) {
		hold_objects(1);
		CTL(0, "offline 1 --to 2");
		CHECK(api.node_of(span) == 2);
		CTL(0, "offline 2 --policy %s", policies[i]);
		for (size_t o = 0; o < 20 * MIB; o += 4 * KIB)
			CHECK(api.node_of((char *)span + o) != 2);
		for (unsigned int k = 0; k < OBJECTS; k++)
			CHECK(api.node_of(objects[k]) != 2 && api.node_of(objects[k]) != 1);
		CTL(0, "--json status");
		CHECK(printed_number("\"node\":2,", "resident_bytes") == 0);
		audit_away(2, 500);
		audit_away(1, 500);
		free_objects();
		CTL(0, "online 1");
		CTL(0, "online 2");
		check_allocates(1);
		check_allocates(2);
	}
}

/* What was moved and then freed is not handed out as the node's own, once that has returned. */
static void displaced_free(void)
{
	static const size_t sizes[] = {50000, 3 * MIB, 20 * MIB};

	start();
	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		unsigned char *p = held(sizes[i], 1, i);

		CTL(0, "offline 1");
		CTL(0, "online 1");
		CHECK(api.node_of(p) != 1);
		free(p);
		p = held(sizes[i], 1, i);
		for (size_t o = 0; o < sizes[i]; o += 4 * KIB)
			CHECK_MSG(api.node_of(p + o) == 1, "%zu bytes: +%zu is on node %d",
				  sizes[i], o, api.node_of(p + o));
		free(p);
	}
}

static void last_node(void)
{
	start();
	CTL(4, "offline 0 1 2 3");
	for (int n = 0; n < 4; n++)
		CHECK(api.node_state(n) == ONLINE);
	CTL(0, "offline 1 2 3");
	for (unsigned int i = 0; i < 3; i++) {
		static const char *const policies[] = {"strict", "wait", "migrate"};

		CTL(4, "--json offline 0 --policy %s", policies[i]);
		PRINTED("EBUSY");
		PRINTED("last usable node");
		CHECK(api.node_state(0) == ONLINE);
	}
	CTL(4, "cordon 0");
	check_allocates(0);
	CTL(3, "offline 7");
	PRINTED("no such node");
	CTL(1, "offline");
	CTL(1, "offline 1 --policy gently");
}

static pthread_barrier_t freed;

static void *idle_thread(void *arg)
{
	void *p[1000];

	CHECK(api.prefer_node(1) == 0);
	for (unsigned int i = 0; i < 1000; i++) {
		p[i] = malloc(16 + i);
		CHECK(api.node_of(p[i]) == 1);
	}
	for (unsigned int i = 0; i < 1000; i++)
		free(p[i]);
	pthread_barrier_wait(&freed);
	for (;;)
		pause();
	return arg;
}

static void idle_threads(void)
{
	pthread_t thread;

	start();
	pthread_barrier_init(&freed, NULL, 9);
	for (unsigned int i = 0; i < 8; i++) {
		cpu_set_t cpus;

		CHECK(pthread_create(&thread, NULL, idle_thread, NULL) == 0);
		CPU_ZERO(&cpus);
		CPU_SET(i % (unsigned int)sysconf(_SC_NPROCESSORS_ONLN), &cpus);
		pthread_setaffinity_np(thread, sizeof(cpus), &cpus);
	}
	pthread_barrier_wait(&freed);
	CTL(0, "--json offline 1 --policy strict");
	CHECK(printed_number(NULL, "drained_objects") > 0);
	audit_away(1, 500);
}

/* Memory that was given back is out of reach; whoever uses it all the same gets to know. */
static void vacated(void)
{
	volatile char *small, *large, *huge;
	void *stay;

	start();
	stay = held(64, 1, 1); /* so that the segment is not closed as a whole */
	small = held(5000, 1, 2);
	large = held(MIB, 1, 3);
	huge = held(30 * MIB, 1, 4);
	free((void *)small);
	free((void *)large);
	free((void *)huge);
	CTL(0, "offline 1 --policy migrate");
	for (int i = 0; i < 3; i++) {
		volatile char *p = i == 0 ? small : i == 1 ? large : huge;
		struct rlimit none = {0, 0};
		pid_t pid = fork();
		int status;

		CHECK(pid >= 0);
		if (pid == 0) {
			setrlimit(RLIMIT_CORE, &none);
			signal(SIGSEGV, SIG_DFL);
			_exit(p[100]);
		}
		CHECK(waitpid(pid, &status, 0) == pid);
		CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV,
			  "reading block %d of a node that left: status %#x", i, status);
	}
	CHECK_INTACT(stay, 64, 1);
	CTL(0, "online 1");
	check_allocates(1);
}

static void cordon(void)
{
	start();
	CTL(0, "cordon 1");
	CTL(0, "--json status");
	CHECK(strstr(strstr(ctl_out, "\"node\":1,"), "\"cordoned\":true") != NULL);
	CHECK(api.node_state(1) == ONLINE);
	audit_away(1, 1000);
	CTL(0, "uncordon 1");
	check_allocates(1);
	CTL(0, "cordon 1");
	CTL(0, "offline 1");
	CTL(0, "online 1");
	CHECK(api.malloc_node(64, 1) == NULL && errno == EBUSY);
	CTL(0, "uncordon 1");
	check_allocates(1);
}

static void several(void)
{
	void *p;

	start();
	hold_objects(1);
	p = held(30 * MIB, 2, 77);
	CTL(0, "--json offline 1 2");
	PRINTED("\"results\":[");
	check_objects();
	CHECK_INTACT(p, 30 * MIB, 77);
	/* None of the named is a target of another one. */
	for (size_t o = 0; o < 20 * MIB; o += 4 * KIB)
		CHECK(api.node_of((char *)span + o) == 0 || api.node_of((char *)span + o) == 3);
	CHECK(api.node_of(p) == 0 || api.node_of(p) == 3);
	audit_away(1, 300);
	audit_away(2, 300);
	CTL(0, "online 1 2");
	/* Different results: each row says which. */
	free(p);
	CTL(64, "--json offline 1 2 --policy strict");
	PRINTED("EBUSY");
	CHECK(api.node_state(1) == ONLINE && api.node_state(2) == OFFLINE);
	free_objects();
}

static void offline_at_start(void)
{
	start();
	CHECK(api.node_state(1) == OFFLINE && api.node_state(3) == OFFLINE);
	CHECK(api.node_state(0) == ONLINE && api.node_state(2) == ONLINE);
	audit_away(1, 800);
	audit_away(3, 800);
	CTL(0, "online 1");
	check_allocates(1);
	CTL(0, "offline 1 --policy strict");
	CTL(0, "online 1 3");
	check_allocates(3);
}

static void offline_at_start_all(void)
{
	void *p = malloc(100);

	start();
	CHECK(p != NULL && api.node_of(p) >= 0);
	CHECK(api.node_state(0) == ONLINE || api.node_state(1) == ONLINE ||
	      api.node_state(2) == ONLINE || api.node_state(3) == ONLINE);
}

/* --- capacity: the topology of these rows has four nodes of 64 MiB --- */

static unsigned int fill_up(void **blocks, unsigned int max)
{
	unsigned int n = 0;

	while (n < max && (blocks[n] = malloc(MIB)) != NULL)
		memset(blocks[n++], 1, MIB);
	return n;
}

static void capacity(void)
{
	static void *blocks[400];
	unsigned int per_node[4] = {0}, n, order[4] = {0}, seen = 0;

	start();
	CHECK(api.prefer_node(1) == 0);
	for (unsigned int round = 0; round < 3; round++) {
		memset(per_node, 0, sizeof(per_node));
		seen = 0;
		errno = 0;
		n = fill_up(blocks, 400);
		CHECK(n < 400 && errno == ENOMEM);
		CHECK_MSG(n > 4 * 55, "only %u MiB of 256", n);
		for (unsigned int i = 0; i < n; i++) {
			int node = api.node_of(blocks[i]);

			if (per_node[node]++ == 0)
				order[seen++] = (unsigned int)node;
		}
		CHECK(seen == 4 && order[0] == 1);
		for (unsigned int i = 0; i < 4; i++)
			CHECK(per_node[i] > 50);
		for (unsigned int i = 0; i < n; i++)
			free(blocks[i]);
	}
	CHECK(api.malloc_node(100 * MIB, 1) == NULL && errno == ENOMEM);
	/* Cached large memory makes way for small objects. */
	free(api.malloc_node(30 * MIB, 1));
	for (n = 0; n < 50; n++)
		CHECK(api.malloc_node(MIB - 100, 1) != NULL);
}

static void capacity_migrate(void)
{
	void *p[4];
	long long before;

	start();
	for (int i = 0; i < 4; i++)
		p[i] = held(40 * MIB, i, (uint64_t)i);
	CTL(0, "--json plan 1");
	PRINTED("\"feasible\":true");
	/* Of 192 MiB on three nodes 160 are in use then. */
	CTL(0, "offline 3");
	CTL(0, "--json status");
	before = printed_number("\"node\":1,", "resident_bytes");
	CTL(4, "--json offline 1");
	PRINTED("ENOMEM");
	CTL(0, "--json status");
	CHECK(printed_number("\"node\":1,", "resident_bytes") == before);
	CHECK(printed_number("\"node\":1,", "elsewhere_bytes") == 0);
	CTL(0, "--json plan 1");
	PRINTED("\"feasible\":false");
	for (int i = 0; i < 4; i++)
		CHECK_INTACT(p[i], 40 * MIB, i);
	CHECK(api.malloc_node(MIB, 1) != NULL);
	free(p[0]);
	CTL(0, "offline 1");
	CHECK_INTACT(p[1], 40 * MIB, 1);
}

static const struct row rows[] = {
	{"strict-busy", strict_busy},
	{"strict-cached", strict_cached},
	{"wait-success", wait_success},
	{"wait-timeout", wait_timeout},
	{"wait-cancelled", wait_cancelled},
	{"migrate-intact", migrate_intact},
	{"acknowledged", acknowledged},
	{"guests", guests},
	{"displaced-free", displaced_free},
	{"last-node", last_node},
	{"idle-threads", idle_threads},
	{"vacated", vacated},
	{"cordon", cordon},
	{"several", several},
	{"_offline-at-start", offline_at_start},
	{"_offline-at-start-all", offline_at_start_all},
	{"_capacity", capacity},
	{"_capacity-migrate", capacity_migrate},
};

int main(int argc, char **argv)
{
	return run_rows(argc, argv, rows, ARRAY_SIZE(rows));
}
