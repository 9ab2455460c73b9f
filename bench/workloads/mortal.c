/* SPDX-License-Identifier: MIT */
/*
 * Threads that die and leave objects.
 *
 * relay: as many lanes as threads; in each wave a thread is born for every
 * lane, takes over the objects that its predecessor left, replaces most of
 * them and dies; the next wave's lanes are shifted by one. All that a dead
 * thread left is freed by a stranger.
 *
 * swarm: 256 threads are born, live at the same time, allocate, leave one
 * object in eight to the main thread and die; again and again. The survivors
 * of a wave are freed two waves later. This is what per-thread heaps pay for.
 */
#include <pthread.h>

#include "bench.h"

#define LANE_OBJECTS  2000
#define RELAY_BIRTHS  (UINT64_C(6) * 1000)
#define RELAY_STEPS   400
#define SWARM	      256
#define SWARM_WAVES   15
#define SWARM_OBJECTS 160
#define SWARM_LEFT    (SWARM_OBJECTS / 8)

struct lane {
	struct rng rng;
	void *objects[LANE_OBJECTS];
};

struct member {
	struct rng rng;
	pthread_barrier_t *all_alive;
	void *left[SWARM_LEFT];
};

static void start(pthread_t *id, void *(*fn)(void *), void *arg)
{
	if (pthread_create(id, NULL, fn, arg))
		bench_die("cannot create a thread");
}

static void *relay_life(void *arg)
{
	struct lane *lane = arg;

	for (unsigned int i = 0; i < RELAY_STEPS; i++) {
		void **slot = &lane->objects[rng_below(&lane->rng, LANE_OBJECTS)];

		if (*slot)
			object_free(*slot);
		*slot = object_new(rng_log(&lane->rng, 4, 10));
	}
	return NULL;
}

static void run_relay(const struct bench_params *params)
{
	unsigned int threads = params->threads;
	uint64_t waves = bench_share(params, RELAY_BIRTHS);
	struct lane *lanes = bench_map(threads * sizeof(*lanes));
	pthread_t *ids = bench_map(threads * sizeof(*ids));

	for (unsigned int i = 0; i < threads; i++)
		rng_seed(&lanes[i].rng, i);
	for (uint64_t w = 0; w < waves; w++) {
		for (unsigned int i = 0; i < threads; i++)
			start(&ids[i], relay_life, &lanes[(i + w) % threads]);
		for (unsigned int i = 0; i < threads; i++)
			pthread_join(ids[i], NULL);
	}
	for (unsigned int i = 0; i < threads; i++)
		for (unsigned int k = 0; k < LANE_OBJECTS; k++)
			if (lanes[i].objects[k])
				object_free(lanes[i].objects[k]);
	bench_unmap(ids, threads * sizeof(*ids));
	bench_unmap(lanes, threads * sizeof(*lanes));
}

static void *swarm_life(void *arg)
{
	struct member *member = arg;
	void *objects[SWARM_OBJECTS];

	for (unsigned int i = 0; i < SWARM_OBJECTS; i++)
		objects[i] = object_new(rng_log(&member->rng, 4, 11));
	pthread_barrier_wait(member->all_alive);
	for (unsigned int i = 0; i < SWARM_OBJECTS; i++) {
		if (i % 8 == 0)
			member->left[i / 8] = objects[i];
		else
			object_free(objects[i]);
	}
	return NULL;
}

static void bury(struct member *members)
{
	for (unsigned int i = 0; i < SWARM; i++) {
		for (unsigned int k = 0; k < SWARM_LEFT; k++) {
			if (members[i].left[k])
				object_free(members[i].left[k]);
			members[i].left[k] = NULL;
		}
	}
}

static void run_swarm(const struct bench_params *params)
{
	uint64_t waves = bench_share(params, SWARM_WAVES);
	struct member *members = bench_map(2 * SWARM * sizeof(*members));
	pthread_t ids[SWARM];
	pthread_barrier_t all_alive;

	pthread_barrier_init(&all_alive, NULL, SWARM);
	for (uint64_t w = 0; w < waves; w++) {
		struct member *wave = members + w % 2 * SWARM;

		bury(wave);
		for (unsigned int i = 0; i < SWARM; i++) {
			rng_seed(&wave[i].rng, w * SWARM + i);
			wave[i].all_alive = &all_alive;
			start(&ids[i], swarm_life, &wave[i]);
		}
		for (unsigned int i = 0; i < SWARM; i++)
			pthread_join(ids[i], NULL);
	}
	bury(members);
	bury(members + SWARM);
	pthread_barrier_destroy(&all_alive);
	bench_unmap(members, 2 * SWARM * sizeof(*members));
}

const struct workload workload_relay = {
	.name = "relay",
	.help = "short-lived threads that take over and hand on 2000 objects each",
	.min_threads = 1,
	.run = run_relay,
};

const struct workload workload_swarm = {
	.name = "swarm",
	.help = "waves of 256 threads alive at once, which leave survivors and die",
	.min_threads = 1,
	.max_threads = 1,
	.run = run_swarm,
};
