/*
 * plan.c - what `plan N` says, the offline that follows does.
 *
 * A program at rest with a mix of memory asks for the plan, takes the node offline, and compares
 * the bytes given back and moved.  Its rows run on several topologies; nothing ages meanwhile
 * (SLABNODE_REAP_INTERVAL=0).
 */
#include "lifecycle.h"

#define MANY 30000

static void *kept[MANY];
static size_t kept_size[MANY];

/* 3 %, and what asking and answering themselves need. */
static void check_close(const char *what, long long planned, long long done)
{
	long long most = done / 33 + 64 * (long long)KIB, off = planned - done;

	CHECK_MSG(off <= most && off >= -most, "%s: planned %lld, done %lld", what, planned, done);
}

static void compare(int node, const char *more)
{
	long long released, moved;

	/* What starting hotplugctl itself allocates comes from elsewhere. */
	CHECK(api.prefer_node(node == 0 ? api.max_node() - 1 : 0) == 0);
	CTL(0, "--json plan %d", node);
	PRINTED("\"feasible\":true");
	PRINTED("\"obstacles\":[]");
	released = printed_number(NULL, "released_bytes");
	moved = printed_number(NULL, "to_move_bytes");
	CTL(0, "--json plan %d", node); /* it has changed nothing */
	check_close("a second plan", printed_number(NULL, "released_bytes"), released);
	check_close("a second plan", printed_number(NULL, "to_move_bytes"), moved);
	CTL(0, "--json offline %d --policy migrate%s", node, more);
	check_close("given back", released, printed_number(NULL, "released_bytes"));
	check_close("moved", moved, printed_number(NULL, "migrated_bytes"));
	CHECK(api.prefer_node(1) == 0);
}

/* Sizes of all classes, small ones more often, a few large blocks. */
static size_t some_size(uint64_t *seed, bool large)
{
	unsigned int bits = 4 + (unsigned int)(rnd(seed) % 11);
	size_t size = ((size_t)1 << bits) + rnd(seed) % ((size_t)1 << bits);

	if (large && rnd(seed) % 500 == 0)
		size = 40 * KIB + rnd(seed) % (3 * MIB);
	if (large && rnd(seed) % 4000 == 0)
		size = 9 * MIB + rnd(seed) % (9 * MIB);
	return size;
}

static void allocate(uint64_t seed, bool large)
{
	for (unsigned int i = 0; i < MANY; i++) {
		kept_size[i] = some_size(&seed, large);
		kept[i] = malloc(kept_size[i]);
		CHECK(kept[i] != NULL);
		fill(kept[i], kept_size[i], i);
	}
}

static void release(uint64_t seed, unsigned int of_hundred)
{
	for (unsigned int i = 0; i < MANY; i++)
		if (kept[i] != NULL && rnd(&seed) % 100 < of_hundred) {
			free(kept[i]);
			kept[i] = NULL;
		}
}

static void check_kept(void)
{
	for (unsigned int i = 0; i < MANY; i++)
		if (kept[i] != NULL)
			CHECK_INTACT(kept[i], kept_size[i], i);
}

static void cached_only(void)
{
	start();
	CHECK(api.prefer_node(1) == 0);
	allocate(1, true);
	release(1, 100);
	compare(1, "");
}

/* From nothing freed to nearly all, in no order. */
static void mixed(void)
{
	static const unsigned int parts[] = {0, 30, 50, 90, 97};

	start();
	CHECK(api.prefer_node(1) == 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(parts); i++) {
		allocate(i + 1, true);
		release(i + 100, parts[i]);
		compare(1, "");
		check_kept();
		release(1, 100);
		CTL(0, "online 1");
	}
}

/* Whole stretches freed: slabs that are empty but for what waits in stores. */
static void stretches(void)
{
	start();
	CHECK(api.prefer_node(1) == 0);
	allocate(7, false);
	for (unsigned int i = 0; i < MANY; i++)
		if (i / 1000 % 2 == 0) {
			free(kept[i]);
			kept[i] = NULL;
		}
	compare(1, "");
	check_kept();
}

static void large_blocks(void)
{
	static const size_t sizes[] = {40 * KIB, 300 * KIB, 3 * MIB, 7 * MIB, 12 * MIB, 40 * MIB};
	void *p[60];

	start();
	CHECK(api.prefer_node(1) == 0);
	for (unsigned int i = 0; i < 60; i++)
		p[i] = held(sizes[i % ARRAY_SIZE(sizes)], 1, i);
	for (unsigned int i = 0; i < 60; i += 2)
		free(p[i + (i / 6 % 2)]);
	compare(1, "");
}

/* Pages that moved away and did not come back are not moved again, but those that were added. */
static void displaced(void)
{
	static void *more[3000];

	start();
	CHECK(api.prefer_node(1) == 0);
	allocate(11, true);
	CTL(0, "offline 1");
	release(12, 40);
	CTL(0, "online 1");
	for (unsigned int i = 0; i < 3000; i++)
		more[i] = held(100 + i, 1, i);
	for (unsigned int i = 0; i < 3000; i += 3)
		free(more[i]);
	compare(1, "");
	check_kept();
	CTL(0, "online 1 --rebalance");
	compare(1, "");
	check_kept();
}

/* Node 0 holds pages of node 1 when it leaves itself, as guests or while it stands in for node 1.
 */
static void guests(bool back)
{
	start();
	CHECK(api.prefer_node(1) == 0);
	allocate(21, true);
	CTL(0, "offline 1 --to 0");
	if (back)
		CTL(0, "online 1");
	release(22, 95); /* some of it goes to the tables of whoever stands in */
	compare(0, "");
	check_kept();
}

static void guests_back(void)
{
	guests(true);
}

static void guests_lent(void)
{
	if (strstr(getenv("SLABNODE_TOPOLOGY"), "node:2") != NULL)
		check_skip("two nodes: the other is the last usable one");
	guests(false);
}

static pthread_barrier_t at_rest;

static void *one_thread(void *arg)
{
	uint64_t seed = (uint64_t)(uintptr_t)arg;
	void *p[500];

	CHECK(api.prefer_node((int)(seed % 2)) == 0);
	for (unsigned int i = 0; i < 500; i++)
		CHECK((p[i] = malloc(some_size(&seed, false))) != NULL);
	pthread_barrier_wait(&at_rest);
	for (unsigned int i = 0; i < 500; i++) /* of the main thread's: across nodes */
		if ((i + seed) % 3 != 0)
			free(p[i]);
	for (unsigned int i = (unsigned int)(uintptr_t)arg; i < MANY; i += 16)
		if (i % 5 != 0) {
			free(kept[i]);
			kept[i] = NULL;
		}
	pthread_barrier_wait(&at_rest);
	for (;;)
		pause();
	return NULL;
}

/* Stores of many threads and CPUs, and alien caches. */
static void threads(void)
{
	start();
	CHECK(api.prefer_node(1) == 0);
	allocate(31, false);
	pthread_barrier_init(&at_rest, NULL, 17);
	for (uintptr_t i = 0; i < 16; i++) {
		pthread_t thread;

		CHECK(pthread_create(&thread, NULL, one_thread, (void *)i) == 0);
	}
	pthread_barrier_wait(&at_rest);
	pthread_barrier_wait(&at_rest);
	sleep_ms(20);
	compare(1, "");
	check_kept();
}

/* --- nodes of 64 MiB: what is cached elsewhere makes room --- */

static void room(void)
{
	void *p[2], *cached;
	long long moves;

	start();
	p[0] = held(40 * MIB, 0, 0);
	p[1] = held(30 * MIB, 1, 1);
	CTL(0, "offline 2 3"); /* 64 MiB on node 0 are all there is */
	CTL(0, "--json plan 1");
	PRINTED("\"feasible\":false");
	PRINTED("no room");
	CTL(4, "--json offline 1");
	PRINTED("ENOMEM");
	free(p[0]); /* a span: cached */
	cached = held(30 * MIB, 0, 5);
	p[0] = held(10 * MIB, 0, 0);
	free(cached);
	CTL(0, "--json plan 1");
	PRINTED("\"feasible\":true");
	moves = printed_number(NULL, "to_move_bytes");
	CHECK_MSG(printed_number("\"targets\"", "free_bytes") < moves &&
			  printed_number("\"targets\"", "reclaimable_bytes") > 0,
		  "it would fit without giving anything back: %s", ctl_out);
	CTL(0, "--json offline 1");
	check_close("moved", moves, printed_number(NULL, "migrated_bytes"));
	CHECK_INTACT(p[0], 10 * MIB, 0);
	CHECK_INTACT(p[1], 30 * MIB, 1);
	CTL(0, "--json plan 1");
	PRINTED("\"feasible\":true,\"already\":true");
	CTL(0, "--json plan 0");
	PRINTED("last usable");
}

static const struct row rows[] = {
	{"cached-only", cached_only},	{"mixed", mixed},	  {"stretches", stretches},
	{"large-blocks", large_blocks}, {"displaced", displaced}, {"guests-back", guests_back},
	{"guests-lent", guests_lent},	{"threads", threads},	  {"_room", room},
};

int main(int argc, char **argv)
{
	return run_rows(argc, argv, rows, ARRAY_SIZE(rows));
}
