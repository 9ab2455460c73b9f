/* SPDX-License-Identifier: MIT */
/*
 * Growth by realloc. Each thread has a set of buffers that grow in turn, so that
 * none has the end of the heap to itself: strings that gain a few bytes,
 * vectors that grow by half, and one in sixteen that goes on to 8 MiB. A buffer
 * that has reached its length is shrunk to two thirds, checked and freed. The
 * bytes at both ends of every step are verified.
 */
#include "bench.h"

#define BUFFERS 64
#define STEPS	(UINT64_C(4800) * 1000)

struct buffer {
	unsigned char *data;
	size_t size;
	size_t end;
	unsigned char mark;
	int appends;
};

static void resize(struct buffer *buffer, size_t size)
{
	unsigned char *data = realloc(buffer->data, size);
	size_t kept = size < buffer->size ? size : buffer->size;

	if (!data)
		bench_die("realloc(%zu) failed", size);
	if (kept &&
	    (data[0] != buffer->mark || (size >= buffer->size && data[kept - 1] != buffer->mark)))
		bench_die("realloc lost the contents");
	/* A program fills what it gained. */
	if (size > kept)
		memset(data + kept, buffer->mark, size - kept);
	buffer->data = data;
	buffer->size = size;
}

static void begin(struct buffer *buffer, struct rng *rng)
{
	uint64_t kind = rng_below(rng, 2048);

	buffer->data = NULL;
	buffer->size = 0;
	buffer->mark = (unsigned char)(1 + rng_below(rng, 255));
	buffer->appends = kind % 2 == 0;
	if (kind == 1)
		buffer->end = (size_t)8 << 20;
	else
		buffer->end = buffer->appends ? rng_log(rng, 6, 12) : rng_log(rng, 8, 17);
}

static void grow(struct buffer *buffer, struct rng *rng)
{
	size_t size = buffer->appends ? buffer->size + rng_between(rng, 8, 48)
				      : buffer->size + buffer->size / 2 + 16;

	if (size <= buffer->end) {
		resize(buffer, size);
		return;
	}
	if (buffer->size > 3)
		resize(buffer, buffer->size / 3 * 2);
	free(buffer->data);
	begin(buffer, rng);
}

static void work(struct bench_thread *self)
{
	uint64_t steps = bench_share(self->params, STEPS);
	struct buffer buffers[BUFFERS];

	for (unsigned int i = 0; i < BUFFERS; i++)
		begin(&buffers[i], &self->rng);
	for (uint64_t i = 0; i < steps; i++)
		grow(&buffers[rng_below(&self->rng, BUFFERS)], &self->rng);
	for (unsigned int i = 0; i < BUFFERS; i++)
		free(buffers[i].data);
}

static void run(const struct bench_params *params)
{
	bench_threads(params, work, NULL);
}

const struct workload workload_regrow = {
	.name = "regrow",
	.help = "64 buffers a thread grow by realloc, by bytes and by half, up to 8 MiB",
	.min_threads = 1,
	.run = run,
};
