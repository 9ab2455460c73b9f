/* SPDX-License-Identifier: MIT */
/*
 * What is kept when the work is over. The threads fill 85 MiB with objects of
 * all sizes, free most of them, one another's as well as their own, and then do
 * nothing: those of odd number have ended, the others wait, as the threads of
 * a pool do. One object in 256 stays, spread over everything.
 *
 * The time is the load's alone (load_s). Resident memory is told at the load's
 * end and after each of the pauses that were asked for.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "bench.h"

#define COUNT  65536 /* objects of all threads together, about 85 MiB */
#define ROUNDS 24
#define KEPT   256 /* one in so many */

struct pool {
	double begin;
	pthread_barrier_t turn; /* of all threads */
	pthread_barrier_t rest; /* of those that wait */
	_Atomic(void *) objects[COUNT];
};

static void fill(struct bench_thread *self, struct pool *pool)
{
	for (uint64_t i = self->id; i < COUNT; i += self->params->threads) {
		void *object = object_new(rng_log(&self->rng, 4, 13));

		atomic_store_explicit(&pool->objects[i], object, memory_order_release);
	}
}

/* Half of the objects are freed by a thread that did not make them. */
static void drain(struct bench_thread *self, struct pool *pool, bool last)
{
	for (uint64_t i = self->id; i < COUNT; i += self->params->threads) {
		/* Two of four change places with their mirror images, which are two of four. */
		uint64_t at = (i + 1) / 2 % 2 ? COUNT - 1 - i : i;
		void *object;

		if (last && at % KEPT == 0)
			continue;
		object = atomic_exchange_explicit(&pool->objects[at], NULL, memory_order_acquire);
		object_free(object);
	}
}

static void pause_and_tell(const struct bench_params *params, struct pool *pool)
{
	unsigned int slept = 0;
	char key[24];

	bench_report("load_ms", (uint64_t)((bench_seconds() - pool->begin) * 1000));
	bench_report("after0_kib", bench_status_kib("VmRSS"));
	for (unsigned int i = 0; i < MAX_PAUSES && params->pauses[i]; i++) {
		sleep(params->pauses[i] - slept);
		slept = params->pauses[i];
		snprintf(key, sizeof(key), "after%u_kib", slept);
		bench_report(key, bench_status_kib("VmRSS"));
	}
}

static void work(struct bench_thread *self)
{
	struct pool *pool = self->arg;
	uint64_t rounds = (uint64_t)(ROUNDS * self->params->scale) + 1;

	for (uint64_t r = 1; r <= rounds; r++) {
		fill(self, pool);
		pthread_barrier_wait(&pool->turn);
		drain(self, pool, r == rounds);
		pthread_barrier_wait(&pool->turn);
	}
	if (self->id == 0)
		pause_and_tell(self->params, pool);
	if (self->id % 2 == 0)
		pthread_barrier_wait(&pool->rest);
}

static void run(const struct bench_params *params)
{
	struct pool *pool = bench_map(sizeof(*pool));

	pthread_barrier_init(&pool->turn, NULL, params->threads);
	pthread_barrier_init(&pool->rest, NULL, (params->threads + 1) / 2);
	pool->begin = bench_seconds();
	bench_threads(params, work, pool);
	for (uint64_t i = 0; i < COUNT; i += KEPT)
		object_free(pool->objects[i]);
	bench_unmap(pool, sizeof(*pool));
}

const struct workload workload_idle = {
	.name = "idle",
	.help = "85 MiB allocated and freed repeatedly, then the threads rest: what stays "
		"resident?",
	.min_threads = 1,
	.run = run,
};
