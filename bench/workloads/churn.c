/* SPDX-License-Identifier: MIT */
/*
 * Server churn in the manner of Larson and Krishnan: a table of sessions whose
 * entries are replaced by whichever thread serves the request. A thread works
 * mostly on its own slice of the table, one step in eight on any entry, where
 * it meets and frees objects that another thread made. After each round the
 * threads end and new ones take over slices that others filled.
 */
#include <stdatomic.h>

#include "bench.h"

#define ENTRIES 8192
#define STEPS	(UINT64_C(22) * 1000 * 1000)
#define ROUNDS	8

struct table {
	unsigned int round;
	_Atomic(void *) entries[ENTRIES];
};

static void replace(struct table *table, uint64_t index, size_t size)
{
	void *old = atomic_exchange_explicit(&table->entries[index], object_new(size),
					     memory_order_acq_rel);

	if (old)
		object_free(old);
}

static void work(struct bench_thread *self)
{
	struct table *table = self->arg;
	unsigned int threads = self->params->threads;
	uint64_t steps = bench_share(self->params, STEPS / ROUNDS);
	uint64_t slice = ENTRIES / threads;
	uint64_t first = (self->id + table->round) % threads * slice;

	self->rng.state += (uint64_t)table->round << 32;
	for (uint64_t i = 0; i < steps; i++) {
		size_t size = rng_between(&self->rng, 16, 512);

		if (i % 8)
			replace(table, first + rng_below(&self->rng, slice), size);
		else
			replace(table, rng_below(&self->rng, ENTRIES), size);
	}
}

static void run(const struct bench_params *params)
{
	struct table *table = bench_map(sizeof(*table));

	for (table->round = 0; table->round < ROUNDS; table->round++)
		bench_threads(params, work, table);
	for (unsigned int i = 0; i < ENTRIES; i++)
		if (table->entries[i])
			object_free(table->entries[i]);
	bench_unmap(table, sizeof(*table));
}

const struct workload workload_churn = {
	.name = "churn",
	.help = "threads replace each other's objects in a table of 8192, end and are succeeded",
	.min_threads = 1,
	.max_threads = 512,
	.run = run,
};
