/*
 * table.c - see table.h.  A worked example of a movable cache: copy it.
 *
 * What makes the nodes movable is their first word, which says at any moment what a node is:
 *
 *	            put()                  get()
 *	  FREE -------------> LIVE <=================> PINNED
 *	   ^                   |      reclaim() lets     |
 *	   |      remove()     |      go of it           | remove()
 *	   +-------------------+                         v
 *	   +------------------------------------------ DOOMED
 *	                    reclaim() frees it
 *
 * The constructor leaves nodes FREE and they are freed so; the library writes nothing into free
 * nodes.  Hence pin_nodes(), which may be shown a node that another thread is just allocating or
 * freeing, can tell from the word alone whether it is in use.
 *
 * Who changes the word, and under which lock:
 *
 *   LIVE to PINNED	compare-and-swap, no lock: pin_nodes() is called under a lock of the
 *			library, which the table's threads take when they allocate and free; were
 *			it to wait for a bucket, the two could wait for each other
 *   all else		under the bucket's lock, or nobody else knows the node
 *
 * So a node that is found PINNED under its bucket's lock stays so until the lock is dropped:
 * remove() then leaves the node to reclaim (deferred free), and reclaim can put a copy in its
 * place.
 */
#include "table.h"

#include <slabnode.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { FREE, LIVE, PINNED, DOOMED };

struct node {
	_Atomic int state;
	uint64_t hash;
	struct node *next;
	uint64_t value;
	char key[TABLE_KEY_MAX + 1];
};

struct bucket {
	pthread_mutex_t lock;
	struct node *first;
};

struct table {
	struct slabnode_cache *cache;
	size_t nr_buckets;
	struct bucket bucket[];
};

/* --- the table ------------------------------------------------------------------------------ */

static uint64_t hash_of(const char *key) /* FNV-1a */
{
	uint64_t hash = 0xcbf29ce484222325;

	for (; *key != '\0'; key++)
		hash = (hash ^ (unsigned char)*key) * 0x100000001b3;
	return hash;
}

static struct bucket *lock_bucket(struct table *table, uint64_t hash)
{
	struct bucket *bucket = &table->bucket[hash % table->nr_buckets];

	pthread_mutex_lock(&bucket->lock);
	return bucket;
}

/* The pointer that names the key's node, or the NULL at the chain's end. */
static struct node **find(struct bucket *bucket, uint64_t hash, const char *key)
{
	struct node **link = &bucket->first;

	while (*link != NULL && ((*link)->hash != hash || strcmp((*link)->key, key) != 0))
		link = &(*link)->next;
	return link;
}

int table_put(struct table *table, const char *key, uint64_t value)
{
	uint64_t hash = hash_of(key);
	struct bucket *bucket;
	struct node *node, **link;

	if (strlen(key) > TABLE_KEY_MAX)
		return -E2BIG;
	node = slabnode_cache_alloc(table->cache);
	if (node == NULL)
		return -ENOMEM;
	bucket = lock_bucket(table, hash);
	link = find(bucket, hash, key);
	if (*link != NULL) {
		(*link)->value = value;
	} else {
		node->hash = hash;
		node->next = NULL;
		node->value = value;
		strcpy(node->key, key);
		*link = node;
		atomic_store(&node->state, LIVE); /* from now on it can be asked to move */
		node = NULL;
	}
	pthread_mutex_unlock(&bucket->lock);
	slabnode_cache_free(table->cache, node); /* not needed: it never was anything but FREE */
	return 0;
}

bool table_get(struct table *table, const char *key, uint64_t *value)
{
	uint64_t hash = hash_of(key);
	struct bucket *bucket = lock_bucket(table, hash);
	const struct node *node = *find(bucket, hash, key);

	if (node != NULL)
		*value = node->value;
	pthread_mutex_unlock(&bucket->lock);
	return node != NULL;
}

bool table_remove(struct table *table, const char *key)
{
	uint64_t hash = hash_of(key);
	struct bucket *bucket = lock_bucket(table, hash);
	struct node **link = find(bucket, hash, key), *node = *link;
	bool found = node != NULL;

	if (found) {
		int live = LIVE;

		*link = node->next;
		if (!atomic_compare_exchange_strong(&node->state, &live, FREE)) {
			atomic_store(&node->state, DOOMED);
			node = NULL; /* pinned: reclaim frees it */
		}
	}
	pthread_mutex_unlock(&bucket->lock);
	slabnode_cache_free(table->cache, node);
	return found;
}

void table_each(struct table *table,
		void (*fn)(const void *node, const char *key, uint64_t value, void *arg), void *arg)
{
	for (size_t i = 0; i < table->nr_buckets; i++) {
		struct bucket *bucket = lock_bucket(table, i);

		for (const struct node *node = bucket->first; node != NULL; node = node->next)
			fn(node, node->key, node->value, arg);
		pthread_mutex_unlock(&bucket->lock);
	}
}

/* --- moving --------------------------------------------------------------------------------- */

/* Phase 1, under a lock of the library: quick, waits for nothing, calls nothing. */
static void *pin_nodes(struct slabnode_cache *cache, unsigned int count, void **objects, void *data)
{
	bool any = false;

	(void)cache;
	for (unsigned int i = 0; i < count; i++) {
		struct node *node = objects[i];
		int live = LIVE;

		if (atomic_compare_exchange_strong(&node->state, &live, PINNED))
			any = true;
		else
			objects[i] = NULL; /* somebody is allocating or freeing it */
	}
	return any ? data : NULL;
}

/* The pointer that names this very node. */
static struct node **find_node(struct bucket *bucket, const struct node *node)
{
	struct node **link = &bucket->first;

	while (*link != node)
		link = &(*link)->next;
	return link;
}

/* The bucket's lock held: puts `copy` in the place of `node`. */
static void replace(struct bucket *bucket, struct node *node, struct node *copy)
{
	copy->hash = node->hash;
	copy->next = node->next;
	copy->value = node->value;
	strcpy(copy->key, node->key);
	atomic_store(&copy->state, LIVE);
	*find_node(bucket, node) = copy;
	atomic_store(&node->state, FREE);
}

/* A pinned node stays where it is in memory, and so do its hash and key: they can be read without
 * the lock.  Its links cannot. */
static enum slabnode_answer move_node(struct table *table, struct node *node, int to)
{
	struct node *copy = to < 0 ? slabnode_cache_alloc(table->cache)
				   : slabnode_cache_alloc_node(table->cache, to);
	struct bucket *bucket = lock_bucket(table, node->hash);
	enum slabnode_answer answer;
	struct node *unused;

	if (atomic_load(&node->state) == DOOMED) { /* removed meanwhile */
		atomic_store(&node->state, FREE);
		slabnode_cache_free(table->cache, node);
		unused = copy;
		answer = SLABNODE_GONE;
	} else if (copy == NULL) { /* no room just now: let go */
		atomic_store(&node->state, LIVE);
		unused = NULL;
		answer = SLABNODE_LATER;
	} else {
		replace(bucket, node, copy);
		unused = node;
		answer = SLABNODE_MOVED;
	}
	pthread_mutex_unlock(&bucket->lock);
	slabnode_cache_free(table->cache, unused);
	return answer;
}

/* Phase 2, with no lock held. */
static void move_nodes(const struct slabnode_reclaim *request, void *data)
{
	for (unsigned int i = 0; i < request->count; i++)
		if (request->objects[i] != NULL)
			request->answers[i] = move_node(data, request->objects[i], request->to);
}

/* --- life ----------------------------------------------------------------------------------- */

static void construct_node(void *object)
{
	struct node *node = object;

	atomic_init(&node->state, FREE);
}

struct table *table_create(const char *name, size_t buckets)
{
	struct table *table = calloc(1, sizeof(*table) + buckets * sizeof(table->bucket[0]));
	int error;

	if (table == NULL)
		return NULL;
	table->nr_buckets = buckets;
	for (size_t i = 0; i < buckets; i++)
		pthread_mutex_init(&table->bucket[i].lock, NULL);
	table->cache = slabnode_cache_create(name, sizeof(struct node), 0, construct_node);
	if (table->cache == NULL) {
		free(table);
		return NULL;
	}
	error = slabnode_cache_set_movable(table->cache, pin_nodes, move_nodes, table);
	if (error != 0) {
		slabnode_cache_destroy(table->cache);
		free(table);
		errno = -error;
		return NULL;
	}
	return table;
}

void table_destroy(struct table *table)
{
	/* Waits for move_nodes(): from now on nothing is pinned, and nobody asks. */
	slabnode_cache_set_movable(table->cache, NULL, NULL, NULL);
	for (size_t i = 0; i < table->nr_buckets; i++) {
		struct node *node = table->bucket[i].first, *next;

		for (; node != NULL; node = next) {
			next = node->next;
			atomic_store(&node->state, FREE);
			slabnode_cache_free(table->cache, node);
		}
		pthread_mutex_destroy(&table->bucket[i].lock);
	}
	slabnode_cache_destroy(table->cache);
	free(table);
}
