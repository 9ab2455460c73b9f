/* SPDX-License-Identifier: MIT */
/*
 * Mixed lifetimes, the ground that the sh6 and sh8 benchmarks cover.
 *
 * mixed-runs: runs of equal objects, sizes falling off as in programs; most of a
 * run goes at once, in order or in reverse, and every eighth object stays in a
 * ring until the ring comes round, long after its neighbours.
 *
 * mixed-ages: every object draws its time of death when it is made: most soon,
 * some later, a few much later. The wheel of deaths links the objects through
 * their own memory, so finding what to free touches it, as a program would.
 */
#include "bench.h"

#define RUN    120
#define RING   16384
#define RUNS   (UINT64_C(150) * 1000)
#define WHEEL  (1u << 16)
#define TICK   16 /* births from one slot of the wheel to the next */
#define BIRTHS (UINT64_C(20) * 1000 * 1000)

struct aged {
	uint64_t stamp;
	struct aged *next;
};

static size_t run_size(struct rng *rng)
{
	uint64_t kind = rng_below(rng, 16);

	if (kind < 10)
		return rng_between(rng, 16, 100);
	if (kind < 15)
		return rng_between(rng, 100, 1000);
	return rng_between(rng, 1000, 6000);
}

static void keep(void **ring, uint64_t *at, void *object)
{
	void **slot = &ring[(*at)++ % RING];

	if (*slot)
		object_free(*slot);
	*slot = object;
}

static void work_runs(struct bench_thread *self)
{
	uint64_t runs = bench_share(self->params, RUNS);
	void **ring = bench_map(RING * sizeof(*ring));
	void *objects[RUN];
	uint64_t kept = 0;

	for (uint64_t r = 0; r < runs; r++) {
		size_t size = run_size(&self->rng);

		for (unsigned int i = 0; i < RUN; i++)
			objects[i] = object_new(size);
		for (unsigned int i = 0; i < RUN; i++) {
			unsigned int at = r & 1 ? RUN - 1 - i : i;

			if (at % 8 == 3)
				keep(ring, &kept, objects[at]);
			else
				object_free(objects[at]);
		}
	}
	for (unsigned int i = 0; i < RING; i++)
		if (ring[i])
			object_free(ring[i]);
	bench_unmap(ring, RING * sizeof(*ring));
}

/* In births; at least one tick, so that the slot is still to come. */
static uint64_t lifetime(struct rng *rng)
{
	uint64_t kind = rng_below(rng, 100);

	if (kind < 70)
		return TICK + rng_below(rng, 64);
	if (kind < 96)
		return TICK + rng_below(rng, 8192);
	return TICK + rng_below(rng, (WHEEL - 2) * TICK);
}

static void reap(struct aged **slot)
{
	struct aged *object = *slot;

	*slot = NULL;
	while (object) {
		struct aged *next = object->next;

		object_free(object);
		object = next;
	}
}

static void work_ages(struct bench_thread *self)
{
	uint64_t births = bench_share(self->params, BIRTHS);
	struct aged **wheel = bench_map(WHEEL * sizeof(*wheel));

	for (uint64_t now = 0; now < births; now++) {
		size_t size = rng_below(&self->rng, 32) ? rng_log(&self->rng, 5, 9)
							: rng_log(&self->rng, 9, 13);
		struct aged *object = object_new(size);
		struct aged **slot = &wheel[(now + lifetime(&self->rng)) / TICK % WHEEL];

		object->next = *slot;
		*slot = object;
		if (now % TICK == 0)
			reap(&wheel[now / TICK % WHEEL]);
	}
	for (unsigned int i = 0; i < WHEEL; i++)
		reap(&wheel[i]);
	bench_unmap(wheel, WHEEL * sizeof(*wheel));
}

static void run_runs(const struct bench_params *params)
{
	bench_threads(params, work_runs, NULL);
}

static void run_ages(const struct bench_params *params)
{
	bench_threads(params, work_ages, NULL);
}

const struct workload workload_mixed_runs = {
	.name = "mixed-runs",
	.help = "runs of equal objects, most freed at once, one in eight kept long",
	.min_threads = 1,
	.run = run_runs,
};

const struct workload workload_mixed_ages = {
	.name = "mixed-ages",
	.help = "each object with a lifetime of its own, short, medium and long",
	.min_threads = 1,
	.run = run_ages,
};
