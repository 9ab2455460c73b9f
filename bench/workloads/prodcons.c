/* SPDX-License-Identifier: MIT */
/*
 * Producers allocate, consumers free: no object is ever freed by the thread that
 * made it. Half of the threads produce and half consume, each pair over a
 * bounded queue of batches, so that the memory in flight is the same for every
 * allocator and what it holds beyond that is its own. Batches travel under a
 * mutex, which keeps the cost of the hand-over itself small and even.
 */
#include <pthread.h>

#include "bench.h"

#define BATCH	256
#define DEPTH	16
#define OBJECTS (UINT64_C(7) * 1000 * 1000)

struct batch {
	void *objects[BATCH];
};

struct queue {
	pthread_mutex_t lock;
	pthread_cond_t filled;
	pthread_cond_t emptied;
	unsigned int head;
	unsigned int count;
	struct batch batches[DEPTH];
};

static void push(struct queue *queue, const struct batch *batch)
{
	pthread_mutex_lock(&queue->lock);
	while (queue->count == DEPTH)
		pthread_cond_wait(&queue->emptied, &queue->lock);
	queue->batches[(queue->head + queue->count++) % DEPTH] = *batch;
	pthread_cond_signal(&queue->filled);
	pthread_mutex_unlock(&queue->lock);
}

static void pull(struct queue *queue, struct batch *batch)
{
	pthread_mutex_lock(&queue->lock);
	while (!queue->count)
		pthread_cond_wait(&queue->filled, &queue->lock);
	*batch = queue->batches[queue->head];
	queue->head = (queue->head + 1) % DEPTH;
	queue->count--;
	pthread_cond_signal(&queue->emptied);
	pthread_mutex_unlock(&queue->lock);
}

static void work(struct bench_thread *self)
{
	struct queue *queue = (struct queue *)self->arg + self->id / 2;
	uint64_t batches = bench_share(self->params, 2 * OBJECTS / BATCH);
	struct batch batch;

	for (uint64_t b = 0; b < batches; b++) {
		if (self->id % 2) {
			pull(queue, &batch);
			for (unsigned int i = 0; i < BATCH; i++)
				object_free(batch.objects[i]);
		} else {
			for (unsigned int i = 0; i < BATCH; i++)
				batch.objects[i] = object_new(rng_log(&self->rng, 4, 9));
			push(queue, &batch);
		}
	}
}

static void run(const struct bench_params *whole)
{
	/* An odd thread would have no partner. */
	struct bench_params params = {.threads = whole->threads & ~1u, .scale = whole->scale};
	size_t bytes = params.threads / 2 * sizeof(struct queue);
	struct queue *queues = bench_map(bytes);

	for (unsigned int i = 0; i < params.threads / 2; i++) {
		pthread_mutex_init(&queues[i].lock, NULL);
		pthread_cond_init(&queues[i].filled, NULL);
		pthread_cond_init(&queues[i].emptied, NULL);
	}
	bench_threads(&params, work, queues);
	bench_unmap(queues, bytes);
}

const struct workload workload_prodcons = {
	.name = "prodcons",
	.help = "half of the threads allocate, the other half free; 16 to 512 bytes",
	.min_threads = 2,
	.run = run,
};
