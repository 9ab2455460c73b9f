/*
 * movable_table.c - the worked example of docs/examples/movable-table under threads, while nodes
 * leave and return and memory is drained.  It is linked with the library, as a program of its own
 * would be.
 */
#include "lifecycle.h"

#include "../../docs/examples/movable-table/table.h"

#include <dlfcn.h>

#define THREADS 4
#define KEYS	3000 /* of each thread */
#define NODES	4

static struct table *table;
static int (*home_of)(const void *ptr);
void cxx_uses_the_table(void); /* movable_table_cxx.cpp */

static void begin(void)
{
	if (!under_slabnode())
		check_skip("needs simulated nodes");
	start();
	*(void **)&home_of = dlsym(RTLD_DEFAULT, "slabnode_node_of");
	table = table_create("example", 512);
	CHECK(table != NULL);
}

static void key_of(char *key, unsigned int thread, unsigned int i)
{
	snprintf(key, TABLE_KEY_MAX + 1, "thread %u, key %u%.*s", thread, i, (int)(i % 20),
		 "--------------------");
}

/* --- what the operator says ----------------------------------------------------------------- */

static long long evicted;

static void leave(int node)
{
	CTL(0, "--json offline %d", node);
	evicted += printed_number(NULL, "evicted_objects");
}

struct census {
	unsigned int nodes[NODES], total;
};

static void count_node(const void *node, const char *key, uint64_t value, void *arg)
{
	struct census *census = arg;
	int at = home_of(node);

	(void)key, (void)value;
	CHECK(at >= 0 && at < NODES);
	census->nodes[at]++;
	census->total++;
}

static struct census take_census(void)
{
	struct census census = {0};

	table_each(table, count_node, &census);
	return census;
}

/* --- rows ------------------------------------------------------------------------------------ */

static void fill_from(int node, unsigned int thread, unsigned int keys)
{
	char key[TABLE_KEY_MAX + 1];

	CHECK(api.prefer_node(node) == 0);
	for (unsigned int i = 0; i < keys; i++) {
		key_of(key, thread, i);
		CHECK(table_put(table, key, i) == 0);
	}
}

static void check_from(unsigned int thread, unsigned int keys)
{
	char key[TABLE_KEY_MAX + 1];
	uint64_t value;

	for (unsigned int i = 0; i < keys; i++) {
		key_of(key, thread, i);
		CHECK(table_get(table, key, &value) && value == i);
	}
}

/* Nodes of the table leave by themselves: none of them had to be moved with its page. */
static void leaves(void)
{
	struct census census;

	begin();
	fill_from(1, 0, KEYS);
	fill_from(2, 1, KEYS);
	census = take_census();
	CHECK(census.nodes[1] == KEYS && census.nodes[2] == KEYS);
	CTL(0, "--json plan 1");
	CHECK(printed_number(NULL, "evict_objects") == KEYS);
	leave(1);
	CHECK(evicted == KEYS);
	CTL(0, "--json slabinfo");
	CHECK(take_census().nodes[1] == 0);
	check_from(0, KEYS);
	check_from(1, KEYS);
	CTL(0, "online 1");
	table_destroy(table);
}

static void drains(void)
{
	char key[TABLE_KEY_MAX + 1];

	begin();
	fill_from(1, 0, KEYS);
	for (unsigned int i = 0; i < KEYS; i++) {
		key_of(key, 0, i);
		if (i % 10 != 0)
			CHECK(table_remove(table, key));
	}
	CTL(0, "--json drain 1");
	CHECK(printed_number(NULL, "evicted_objects") > 0);
	CHECK(printed_number(NULL, "released_bytes") > 0);
	CHECK(take_census().total == KEYS / 10);
	CTL(0, "drain");
	PRINTED("cached objects");
	table_destroy(table);
}

struct worker {
	unsigned int number;
	pthread_t thread;
	bool present[KEYS];
	uint64_t value[KEYS];
};

static struct worker workers[THREADS];
static _Atomic bool stop;

/* Each thread knows what it put under its own keys; others' nodes share buckets and slabs with it.
 */
static void *work(void *arg)
{
	struct worker *w = arg;
	uint64_t seed = w->number + 1;

	CHECK(api.prefer_node((int)(w->number % NODES)) == 0);
	while (!stop) {
		unsigned int i = (unsigned int)(rnd(&seed) % KEYS),
			     what = (unsigned int)(rnd(&seed) % 4);
		char key[TABLE_KEY_MAX + 1];
		uint64_t value = 0;

		key_of(key, w->number, i);
		if (what == 0) {
			CHECK(table_remove(table, key) == w->present[i]);
			w->present[i] = false;
		} else if (what == 1) {
			w->value[i] = rnd(&seed);
			CHECK(table_put(table, key, w->value[i]) == 0);
			w->present[i] = true;
		} else {
			CHECK(table_get(table, key, &value) == w->present[i]);
			CHECK(!w->present[i] || value == w->value[i]);
		}
	}
	return NULL;
}

static void check_workers(void)
{
	unsigned int total = 0;

	for (unsigned int t = 0; t < THREADS; t++)
		for (unsigned int i = 0; i < KEYS; i++) {
			char key[TABLE_KEY_MAX + 1];
			uint64_t value = 0;

			key_of(key, t, i);
			CHECK(table_get(table, key, &value) == workers[t].present[i]);
			CHECK(!workers[t].present[i] || value == workers[t].value[i]);
			total += workers[t].present[i];
		}
	CHECK(take_census().total == total);
}

static void under_threads(void)
{
	double until = now_sec() + 4 * (double)scaled(1);

	begin();
	for (unsigned int t = 0; t < THREADS; t++) {
		workers[t].number = t;
		CHECK(pthread_create(&workers[t].thread, NULL, work, &workers[t]) == 0);
	}
	sleep_ms(50);
	for (int i = 0; now_sec() < until; i++) {
		int node = i % NODES;

		leave(node);
		CHECK(take_census().nodes[node] == 0);
		CTL(0, "drain");
		CTL(0, "online %d", node);
	}
	stop = true;
	for (unsigned int t = 0; t < THREADS; t++)
		CHECK(pthread_join(workers[t].thread, NULL) == 0);
	CHECK(evicted > 0);
	check_workers();
	table_destroy(table);
}

static void from_cxx(void)
{
	if (!under_slabnode())
		check_skip("needs simulated nodes");
	start();
	cxx_uses_the_table();
}

static const struct row rows[] = {
	{"leaves", leaves},
	{"drains", drains},
	{"threads", under_threads},
	{"cxx", from_cxx},
};

int main(int argc, char **argv)
{
	return run_rows(argc, argv, rows, ARRAY_SIZE(rows));
}
