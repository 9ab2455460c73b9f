/* SPDX-License-Identifier: MIT */
/*
 * Fragmentation over a long run. The program goes through phases, each with a
 * band of sizes of its own: it fills up to a fixed number of live bytes, churns,
 * and then drops most objects at random. The survivors of four phases sit among
 * each other's slabs when the next band comes. Live bytes never exceed the
 * target, so peak memory above it is what fragmentation costs; the report
 * gives the live and resident bytes at the end of the last phase.
 */
#include <stdatomic.h>

#include "bench.h"

#define PHASES	    12
#define TARGET	    (UINT64_C(48) << 20) /* of all threads together */
#define MAX_OBJECTS (TARGET / 64)
#define CHURN	    (UINT64_C(5) * 1000 * 1000)
#define GENERATIONS 4

static const struct band {
	size_t low, high;
} bands[] = {
	{64, 128}, {500, 1500}, {150, 300}, {4000, 12000}, {80, 100}, {1000, 5000}, {256, 700},
};

static atomic_ullong live_at_end;

struct set {
	void **objects;
	uint64_t count;
};

/* One object in sixteen survives its phase, with a list for each of the last four. */
static uint64_t drop(struct set *set, struct set *survivors, struct rng *rng)
{
	uint64_t freed = 0;

	for (uint64_t i = 0; i < survivors->count; i++)
		freed += object_free(survivors->objects[i]);
	survivors->count = 0;
	for (uint64_t i = 0; i < set->count; i++) {
		if (rng_below(rng, 16))
			freed += object_free(set->objects[i]);
		else
			survivors->objects[survivors->count++] = set->objects[i];
	}
	set->count = 0;
	return freed;
}

static uint64_t phase(struct set *set, const struct band *band, uint64_t live, uint64_t target,
		      uint64_t churn, struct rng *rng)
{
	for (;;) {
		size_t size = rng_between(rng, band->low, band->high);

		if (live + size > target)
			break;
		set->objects[set->count++] = object_new(size);
		live += size;
	}
	for (uint64_t i = 0; i < churn && set->count; i++) {
		void **slot = &set->objects[rng_below(rng, set->count)];
		size_t size = rng_between(rng, band->low, band->high);
		size_t old = object_free(*slot);

		if (live - old + size > target)
			size = old;
		*slot = object_new(size);
		live += size - old;
	}
	return live;
}

static void work(struct bench_thread *self)
{
	unsigned int threads = self->params->threads;
	size_t bytes = MAX_OBJECTS / threads * sizeof(void *);
	uint64_t churn = bench_share(self->params, CHURN / PHASES);
	struct set set = {bench_map(bytes), 0};
	struct set survivors[GENERATIONS];
	uint64_t live = 0;

	for (unsigned int i = 0; i < GENERATIONS; i++)
		survivors[i] = (struct set){bench_map(bytes), 0};
	for (unsigned int p = 0; p < PHASES; p++) {
		const struct band *band = &bands[(p + self->id) % (sizeof(bands) / sizeof(*bands))];

		live = phase(&set, band, live, TARGET / threads, churn, &self->rng);
		live -= drop(&set, &survivors[p % GENERATIONS], &self->rng);
	}
	atomic_fetch_add(&live_at_end, live);
}

static void run(const struct bench_params *params)
{
	bench_threads(params, work, NULL);
	bench_report("live_kib", live_at_end / 1024);
}

const struct workload workload_frag = {
	.name = "frag",
	.help = "twelve phases of changing sizes within 48 MiB live, few objects survive each",
	.min_threads = 1,
	.max_threads = 64,
	.run = run,
};
