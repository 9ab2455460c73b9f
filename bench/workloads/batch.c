/* SPDX-License-Identifier: MIT */
/*
 * Batches: a few hundred objects of one size are allocated and then all freed,
 * in order of allocation, in reverse or shuffled, in turn. A batch is larger
 * than the usual per-thread array, so the exchange with the store behind it is
 * part of what is measured.
 */
#include "bench.h"

#define BATCH	512 /* a power of two */
#define BATCHES (UINT64_C(40) * 1000)

static void work(struct bench_thread *self)
{
	uint64_t batches = bench_share(self->params, BATCHES);
	void *objects[BATCH];

	for (uint64_t b = 0; b < batches; b++) {
		size_t size = rng_log(&self->rng, 4, 10);
		unsigned int order = (unsigned int)(b % 3);

		for (unsigned int i = 0; i < BATCH; i++)
			objects[i] = object_new(size);
		for (unsigned int i = 0; i < BATCH; i++) {
			/* An odd stride visits every index of a power of two once. */
			unsigned int at = order == 0   ? i
					  : order == 1 ? BATCH - 1 - i
						       : i * 197 % BATCH;

			object_free(objects[at]);
		}
	}
}

static void run(const struct bench_params *params)
{
	bench_threads(params, work, NULL);
}

const struct workload workload_batch = {
	.name = "batch",
	.help = "512 objects of a size allocated, then freed in three orders",
	.min_threads = 1,
	.run = run,
};
