/* SPDX-License-Identifier: MIT */
/*
 * Large blocks, 64 KiB to 16 MiB, every power of two equally likely. A block is
 * allocated (one in four zeroed by calloc), touched, kept for a while and freed.
 * Half are touched on every page, half only in their first 64 KiB, as buffers
 * sized for the worst case are. What an allocator does with the pages in
 * between, and how much it keeps, is the whole difference here.
 */
#include "bench.h"

#define SLOTS  16 /* of all threads together */
#define BLOCKS (UINT64_C(1800))
#define PAGE   4096
#define PART   ((size_t)64 * 1024)

static void *block_new(struct rng *rng)
{
	uint64_t kind = rng_below(rng, 8);
	size_t size = rng_log(rng, 16, 24);
	size_t touched = kind % 2 ? size : PART;
	unsigned char *block = kind < 2 ? calloc(1, size) : malloc(size);

	if (!block)
		bench_die("no block of %zu bytes", size);
	if (kind < 2 && (block[size / 2] || block[size - 1]))
		bench_die("calloc(%zu) is not zero", size);
	for (size_t at = 0; at < touched; at += PAGE)
		block[at] = (unsigned char)at;
	object_stamp(block, size);
	return block;
}

static void work(struct bench_thread *self)
{
	uint64_t blocks = bench_share(self->params, BLOCKS);
	unsigned int slots = SLOTS / self->params->threads;
	void *held[SLOTS] = {NULL};

	slots = slots ? slots : 1;
	for (uint64_t i = 0; i < blocks; i++) {
		void **slot = &held[rng_below(&self->rng, slots)];

		if (*slot)
			object_free(*slot);
		*slot = block_new(&self->rng);
	}
	for (unsigned int i = 0; i < slots; i++)
		if (held[i])
			object_free(held[i]);
}

static void run(const struct bench_params *params)
{
	bench_threads(params, work, NULL);
}

const struct workload workload_large = {
	.name = "large",
	.help = "blocks of 64 KiB to 16 MiB allocated, touched whole or in part, freed",
	.min_threads = 1,
	.run = run,
};
