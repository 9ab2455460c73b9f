/* SPDX-License-Identifier: MIT */
/*
 * Shared by all workloads: what a workload is, random numbers, stamped
 * objects, threads and the few figures a workload reports about itself.
 *
 * The bookkeeping of a workload (slots, queues, permutations) never comes from
 * malloc: it is mapped directly with bench_map(), so that every allocator
 * carries the same constant and only the objects under test differ.
 *
 * Objects are stamped in their first word and last byte when allocated and
 * checked when freed. This is the least that a program does with memory it asks
 * for, and it makes a corrupted or doubly used object end the run with an error
 * instead of yielding a figure.
 */
#ifndef SLABNODE_BENCH_H
#define SLABNODE_BENCH_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PAUSES 4

struct bench_params {
	unsigned int threads;
	double scale;			 /* multiplies the amount of work, not the live set */
	unsigned int pauses[MAX_PAUSES]; /* rising seconds after a load's end, 0 ends them */
};

struct workload {
	const char *name;
	const char *help;
	unsigned int min_threads;
	unsigned int max_threads; /* 0: no limit */
	void (*run)(const struct bench_params *params);
};

struct rng {
	uint64_t state;
};

struct bench_thread {
	unsigned int id;
	const struct bench_params *params;
	void *arg;
	struct rng rng;
};

_Noreturn void bench_die(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Zeroed memory of the harness, not of the allocator; given back with bench_unmap(). */
void *bench_map(size_t bytes);
void bench_unmap(void *ptr, size_t bytes);

/* `count` scaled and divided evenly among the threads, at least one. */
uint64_t bench_share(const struct bench_params *params, uint64_t count);

/*
 * Runs fn in all threads at once and returns when all have ended. One thread
 * means the main thread, so that such a run is a single-threaded program.
 */
void bench_threads(const struct bench_params *params, void (*fn)(struct bench_thread *), void *arg);

/* A figure of the workload's own, printed at the end of the run. */
void bench_report(const char *key, uint64_t value);

/* Seconds on a clock that never steps. */
double bench_seconds(void);

/* Resident memory of the process, now and at its highest, in KiB. */
uint64_t bench_status_kib(const char *field);

static inline void rng_seed(struct rng *rng, uint64_t seed)
{
	rng->state = (seed + 1) * 0x9e3779b97f4a7c15u;
}

static inline uint64_t rng_next(struct rng *rng)
{
	uint64_t x = rng->state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	rng->state = x;
	return x * 0x2545f4914f6cdd1du;
}

/* Uniform in [0, bound), bound at most 2^32. */
static inline uint64_t rng_below(struct rng *rng, uint64_t bound)
{
	return ((rng_next(rng) >> 32) * bound) >> 32;
}

/* Uniform in [low, high]. */
static inline size_t rng_between(struct rng *rng, size_t low, size_t high)
{
	return low + rng_below(rng, high - low + 1);
}

/* Each power of two from 2^low to 2^high equally likely, uniform within. */
static inline size_t rng_log(struct rng *rng, unsigned int low, unsigned int high)
{
	size_t base = (size_t)1 << (low + rng_below(rng, high - low));

	return base + rng_below(rng, base);
}

#define OBJECT_MAGIC 0x5ab5ab5a00000000u
#define OBJECT_MIN   16

static inline void object_stamp(void *ptr, size_t size)
{
	uint64_t word = OBJECT_MAGIC | size;

	memcpy(ptr, &word, sizeof(word));
	((unsigned char *)ptr)[size - 1] = (unsigned char)(size * 7 + 1);
}

/* The size the object was stamped with; ends the program when the stamp is damaged. */
static inline size_t object_check(const void *ptr)
{
	uint64_t word;
	size_t size;

	memcpy(&word, ptr, sizeof(word));
	size = (uint32_t)word;
	if ((word ^ size) != OBJECT_MAGIC ||
	    ((const unsigned char *)ptr)[size - 1] != (unsigned char)(size * 7 + 1))
		bench_die("object %p is damaged", ptr);
	return size;
}

static inline void *object_new(size_t size)
{
	void *ptr = malloc(size);

	if (!ptr)
		bench_die("malloc(%zu) failed", size);
	object_stamp(ptr, size);
	return ptr;
}

static inline size_t object_free(void *ptr)
{
	size_t size = object_check(ptr);

	/* A second free, or a second owner, meets a broken stamp. */
	memset(ptr, 0, sizeof(uint64_t));
	free(ptr);
	return size;
}

extern const struct workload workload_pairs;
extern const struct workload workload_batch;
extern const struct workload workload_live_small;
extern const struct workload workload_live_wide;
extern const struct workload workload_churn;
extern const struct workload workload_prodcons;
extern const struct workload workload_mixed_runs;
extern const struct workload workload_mixed_ages;
extern const struct workload workload_relay;
extern const struct workload workload_swarm;
extern const struct workload workload_share_active;
extern const struct workload workload_share_passive;
extern const struct workload workload_large;
extern const struct workload workload_regrow;
extern const struct workload workload_frag;
extern const struct workload workload_idle;

#endif
