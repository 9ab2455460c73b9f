/* SPDX-License-Identifier: MIT */
/*
 * Alternating pairs: malloc and free of one object at a time. Nothing is ever
 * live but that object, so this measures the straight line of both calls. The
 * sizes alternate so that a shortcut for "the same size again" shows no more
 * than it is worth to a program.
 */
#include "bench.h"

#define PAIRS (UINT64_C(64) * 1000 * 1000)

static const uint16_t sizes[16] = {16, 24,  32, 40, 48,	 64,  64,  80,
				   96, 128, 32, 16, 200, 256, 400, 1000};

static void work(struct bench_thread *self)
{
	uint64_t pairs = bench_share(self->params, PAIRS);

	for (uint64_t i = 0; i < pairs; i++)
		object_free(object_new(sizes[(i ^ (i >> 4)) & 15]));
}

static void run(const struct bench_params *params)
{
	bench_threads(params, work, NULL);
}

const struct workload workload_pairs = {
	.name = "pairs",
	.help = "one malloc, one free, again and again; 16 to 1000 bytes",
	.min_threads = 1,
	.run = run,
};
