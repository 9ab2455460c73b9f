/*
 * pool.c - a pool of buffers that makes way when a node leaves, and refuses when it cannot.
 *
 * Free buffers wait in a list for each node.  When a node is about to leave, its list is emptied:
 * the memory goes back without anybody moving pages.  While a buffer of the node is in use by a
 * device, say, so that its pages must not move, the pool vetoes.
 */
#include <errno.h>
#include <pthread.h>
#include <slabnode.h>
#include <stdio.h>
#include <stdlib.h>

#define MOST_NODES 64
#define SIZE	   8192

struct buffer {
	struct buffer *next;
	char data[SIZE - sizeof(struct buffer *)];
};

struct pool {
	pthread_mutex_t lock; /* guards all below; held for moments only */
	struct buffer *free[MOST_NODES];
	unsigned int pinned[MOST_NODES];
	unsigned int trimmed;
};

static struct buffer *take(struct pool *pool, int node)
{
	struct buffer *buffer;

	pthread_mutex_lock(&pool->lock);
	buffer = pool->free[node];
	if (buffer)
		pool->free[node] = buffer->next;
	pthread_mutex_unlock(&pool->lock);
	return buffer ? buffer : slabnode_malloc_node(sizeof(*buffer), node);
}

static void give(struct pool *pool, struct buffer *buffer, int node)
{
	pthread_mutex_lock(&pool->lock);
	buffer->next = pool->free[node];
	pool->free[node] = buffer;
	pthread_mutex_unlock(&pool->lock);
}

static void pin(struct pool *pool, int node, int more)
{
	pthread_mutex_lock(&pool->lock);
	pool->pinned[node] += (unsigned int)more;
	pthread_mutex_unlock(&pool->lock);
}

static void trim(struct pool *pool, int node)
{
	struct buffer *buffer, *next;

	pthread_mutex_lock(&pool->lock);
	buffer = pool->free[node];
	pool->free[node] = NULL;
	pthread_mutex_unlock(&pool->lock);
	for (; buffer; buffer = next, pool->trimmed++) {
		next = buffer->next;
		free(buffer);
	}
}

/* In the thread that changes the node, with no lock of the library held. */
static int on_memory(enum slabnode_mem_action action, const struct slabnode_memory_notify *notify,
		     void *data)
{
	struct pool *pool = data;
	unsigned int pinned;

	if (action != SLABNODE_MEM_GOING_OFFLINE || notify->node >= MOST_NODES)
		return 0;
	pthread_mutex_lock(&pool->lock);
	pinned = pool->pinned[notify->node];
	pthread_mutex_unlock(&pool->lock);
	if (pinned)
		return -EBUSY;
	trim(pool, notify->node);
	return 0;
}

static void leave(int node, enum slabnode_policy policy)
{
	char why[256];
	int error = slabnode_offline(node, policy, 1000, why, sizeof(why));

	printf("offline %d: %s\n", node, error ? why : "done");
}

int main(void)
{
	static struct pool pool = {.lock = PTHREAD_MUTEX_INITIALIZER};
	struct buffer *buffers[100];
	int id = slabnode_register_memory_notifier("pool", 0, on_memory, &pool);

	if (id < 0)
		return 1;
	for (int node = 1; node <= 2; node++) {
		for (int i = 0; i < 100; i++) {
			buffers[i] = take(&pool, node);
			if (!buffers[i])
				return 1;
		}
		for (int i = 0; i < 100; i++)
			give(&pool, buffers[i], node);
	}

	leave(1, SLABNODE_STRICT);
	printf("%u buffers were given up\n", pool.trimmed);

	pin(&pool, 2, 1);
	leave(2, SLABNODE_MIGRATE);
	pin(&pool, 2, -1);
	leave(2, SLABNODE_STRICT);
	printf("%u buffers were given up\n", pool.trimmed);
	return slabnode_unregister_notifier(id) != 0;
}
