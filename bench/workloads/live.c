/* SPDX-License-Identifier: MIT */
/*
 * Random live sets: each thread holds 1024 objects and replaces one at random,
 * over and over. live-small draws 16 to 272 bytes uniformly, as a small program
 * does; live-wide draws from 16 bytes to 32 KiB, every power of two equally
 * likely, so that small and medium paths alternate.
 */
#include "bench.h"

#define LIVE	    1024
#define SMALL_STEPS (UINT64_C(60) * 1000 * 1000)
#define WIDE_STEPS  (UINT64_C(10) * 1000 * 1000)

struct shape {
	uint64_t steps;
	int wide;
};

static size_t draw(struct rng *rng, const struct shape *shape)
{
	return shape->wide ? rng_log(rng, 4, 15) : rng_between(rng, 16, 272);
}

static void work(struct bench_thread *self)
{
	const struct shape *shape = self->arg;
	uint64_t steps = bench_share(self->params, shape->steps);
	void *live[LIVE];

	for (unsigned int i = 0; i < LIVE; i++)
		live[i] = object_new(draw(&self->rng, shape));
	for (uint64_t i = 0; i < steps; i++) {
		void **slot = &live[rng_below(&self->rng, LIVE)];

		object_free(*slot);
		*slot = object_new(draw(&self->rng, shape));
	}
	for (unsigned int i = 0; i < LIVE; i++)
		object_free(live[i]);
}

static void run_small(const struct bench_params *params)
{
	struct shape shape = {.steps = SMALL_STEPS, .wide = 0};

	bench_threads(params, work, &shape);
}

static void run_wide(const struct bench_params *params)
{
	struct shape shape = {.steps = WIDE_STEPS, .wide = 1};

	bench_threads(params, work, &shape);
}

const struct workload workload_live_small = {
	.name = "live-small",
	.help = "1024 live objects a thread, random replacement; 16 to 272 bytes",
	.min_threads = 1,
	.run = run_small,
};

const struct workload workload_live_wide = {
	.name = "live-wide",
	.help = "1024 live objects a thread, random replacement; 16 bytes to 32 KiB",
	.min_threads = 1,
	.run = run_wide,
};
