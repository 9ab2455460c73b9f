/* SPDX-License-Identifier: MIT */
/*
 * heartbeat.c - see hotplug.h.
 *
 * An iteration frees the oldest of a ring of objects, allocates another of that size and
 * touches it; so a thread of the leaving node meets all that an offline does to it: closed
 * tables, frees into slabs that leave, page faults, the locks.  Between iterations a thread
 * sleeps for a moment, since it shall not take the time that it measures from the others: what
 * holds it up for longer than the pause is noticed.
 */
#include "hotplug.h"

#include "../../core/thread.h"

#include <pthread.h>
#include <sys/mman.h>
#include <time.h>

#define NR_BEATS 2
#define RING	 4096
#define PAUSE_NS 50000

struct beat {
	pthread_t thread;
	unsigned int node;
	uint64_t seed;
	_Atomic uint64_t longest_ns;
	_Atomic bool ready;
	struct {
		void *p;
		size_t size;
	} ring[RING];
};

static struct beat *beats;
static _Atomic bool stopping;

/* Mostly small, some runs: 16 bytes to 64 KiB. */
static size_t size_of(struct beat *beat)
{
	beat->seed = beat->seed * 6364136223846793005u + 1442695040888963407u;
	return (size_t)16 << (beat->seed >> 40) % 13;
}

static void renew(struct beat *beat, size_t at)
{
	free(beat->ring[at].p);
	beat->ring[at].size = size_of(beat);
	beat->ring[at].p = malloc(beat->ring[at].size);
	if (beat->ring[at].p == NULL)
		die("a heartbeat got no memory");
	for (size_t i = 0; i < beat->ring[at].size; i += SN_PAGE_SIZE)
		((volatile char *)beat->ring[at].p)[i] = 1;
}

static void *beat_loop(void *arg)
{
	const struct timespec pause = {.tv_nsec = PAUSE_NS};
	struct beat *beat = arg;

	sn_thread_prefer(beat->node);
	for (size_t i = 0; i < RING; i++)
		renew(beat, i);
	atomic_store(&beat->ready, true);
	for (size_t at = 0; !atomic_load(&stopping); at = (at + 1) % RING) {
		uint64_t begin = now_ns(), took, longest;

		renew(beat, at);
		took = now_ns() - begin;
		longest = atomic_load(&beat->longest_ns);
		while (took > longest &&
		       !atomic_compare_exchange_weak(&beat->longest_ns, &longest, took))
			;
		nanosleep(&pause, NULL);
	}
	for (size_t i = 0; i < RING; i++)
		free(beat->ring[i].p);
	return NULL;
}

void heartbeats_start(unsigned int node, unsigned int other)
{
	beats = map_own(NR_BEATS * sizeof(*beats));
	atomic_store(&stopping, false);
	for (unsigned int i = 0; i < NR_BEATS; i++) {
		beats[i].node = i % 2 == 0 ? node : other;
		beats[i].seed = i + 1;
		if (pthread_create(&beats[i].thread, NULL, beat_loop, &beats[i]) != 0)
			die("no thread");
	}
	for (unsigned int i = 0; i < NR_BEATS; i++)
		while (!atomic_load(&beats[i].ready))
			sched_yield();
}

uint64_t heartbeats_longest_ns(void)
{
	uint64_t longest = 0;

	for (unsigned int i = 0; i < NR_BEATS; i++) {
		uint64_t own = atomic_exchange(&beats[i].longest_ns, 0);

		longest = sn_max(longest, own);
	}
	return longest;
}

void heartbeats_stop(void)
{
	atomic_store(&stopping, true);
	for (unsigned int i = 0; i < NR_BEATS; i++)
		pthread_join(beats[i].thread, NULL);
	munmap(beats, sn_align_up(NR_BEATS * sizeof(*beats), SN_PAGE_SIZE));
}
