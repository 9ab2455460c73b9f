/* SPDX-License-Identifier: MIT */
/*
 * False sharing. An allocator that hands bytes of one cache line to two threads
 * makes each write of the one wait for the other.
 *
 * share-active: every thread allocates small objects and writes them; is the
 * line shared from the outset?
 *
 * share-passive: the main thread allocates neighbouring objects and gives one
 * to each thread, which frees it and allocates anew; does the allocator hand
 * the neighbour's line out again?
 */
#include "bench.h"

#define SIZE   16
#define LIVES  (UINT64_C(3500) * 1000)
#define WRITES 400

static void scribble(void *object)
{
	volatile unsigned char *bytes = object;

	for (unsigned int i = 0; i < WRITES; i++)
		bytes[8 + i % 4]++;
}

static void live(struct bench_thread *self)
{
	uint64_t lives = bench_share(self->params, LIVES);

	for (uint64_t i = 0; i < lives; i++) {
		void *object = object_new(SIZE);

		memset((char *)object + 8, 0, 4);
		scribble(object);
		object_free(object);
	}
}

static void live_on(struct bench_thread *self)
{
	void **given = self->arg;

	scribble(given[self->id]);
	object_free(given[self->id]);
	live(self);
}

static void run_active(const struct bench_params *params)
{
	bench_threads(params, live, NULL);
}

static void run_passive(const struct bench_params *params)
{
	void **given = bench_map(params->threads * sizeof(*given));

	for (unsigned int i = 0; i < params->threads; i++)
		given[i] = object_new(SIZE);
	bench_threads(params, live_on, given);
	bench_unmap(given, params->threads * sizeof(*given));
}

const struct workload workload_share_active = {
	.name = "share-active",
	.help = "threads write small objects of their own; do they share cache lines?",
	.min_threads = 2,
	.run = run_active,
};

const struct workload workload_share_passive = {
	.name = "share-passive",
	.help = "the same after freeing neighbouring objects that another thread made",
	.min_threads = 2,
	.run = run_passive,
};
