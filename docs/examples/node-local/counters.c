/*
 * counters.c - counters that each node has for itself.
 *
 * Threads of a node count in a shard that lies on that node, so that no count crosses the machine;
 * whoever wants the sum reads all shards.  A shard stays at its address when its node leaves: only
 * its pages move.
 */
#include <pthread.h>
#include <slabnode.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_NODES 64
#define THREADS	   8
#define COUNTS	   100000

struct shard {
	_Atomic long count;
	char rest[120]; /* no two shards in one cache line, nor in the line that comes with it */
};

static struct shard *shards[MOST_NODES]; /* NULL: there is no such node */

static int make_shards(void)
{
	int nodes = slabnode_max_node();

	for (int node = 0; node < nodes && node < MOST_NODES; node++) {
		if (slabnode_node_state(node) < 0)
			continue;
		shards[node] = slabnode_malloc_node(sizeof(struct shard), node);
		if (!shards[node]) /* offline, cordoned or full: any node will do */
			shards[node] = malloc(sizeof(struct shard));
		if (!shards[node])
			return -1;
		memset(shards[node], 0, sizeof(struct shard));
	}
	return nodes < MOST_NODES ? nodes : MOST_NODES;
}

static void *count(void *arg)
{
	int node = *(int *)arg;

	/* What this thread allocates from now on comes from its node as well. */
	slabnode_prefer_node(node);
	for (int i = 0; i < COUNTS; i++)
		atomic_fetch_add_explicit(&shards[node]->count, 1, memory_order_relaxed);
	return NULL;
}

static void show(int nodes)
{
	long sum = 0;

	for (int node = 0; node < nodes; node++) {
		if (!shards[node])
			continue;
		printf("shard %d: node %d, %ld\n", node, slabnode_node_of(shards[node]),
		       shards[node]->count);
		sum += shards[node]->count;
	}
	printf("sum %ld\n", sum);
}

int main(void)
{
	pthread_t threads[THREADS];
	int home[THREADS], nodes = make_shards();
	char why[256];

	if (nodes <= 0)
		return 1;
	for (int i = 0; i < THREADS; i++) {
		for (home[i] = i % nodes; !shards[home[i]];)
			home[i] = (home[i] + 1) % nodes;
		if (pthread_create(&threads[i], NULL, count, &home[i]))
			return 1;
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	show(nodes);
	if (slabnode_offline(1, SLABNODE_MIGRATE, 5000, why, sizeof(why))) {
		printf("node 1 stays: %s\n", why);
		return 1;
	}
	printf("node 1 is offline\n");
	show(nodes);
	return 0;
}
