/*
 * things.c - see things.h.
 */
#include "things.h"

#include "callback.h"
#include "movable.h"
#include "table.h"

#include <sched.h>

struct entry directory[THINGS];
unsigned int things;

struct how how;

/* --- things ---------------------------------------------------------------------------------- */

void construct(void *p)
{
	struct thing *thing = p;

	atomic_store(&thing->state, FREE);
}

struct thing *make(uint32_t i, unsigned int node)
{
	struct thing *thing =
		node == SN_NODE_NONE ? sn_alloc_cache(things) : sn_alloc_cache_node(things, node);

	if (thing == NULL)
		return NULL;
	CHECK_EQUAL(atomic_load(&thing->state), FREE); /* constructed, and not doubled */
	thing->entry = i;
	thing->version = ++directory[i].version;
	unit_fill(thing->body, BODY, (uint64_t)i << 32 | thing->version);
	atomic_store(&thing->state, LIVE);
	return thing;
}

void check_thing(uint32_t i)
{
	const struct thing *thing = directory[i].thing;

	if (thing == NULL)
		return;
	CHECK(atomic_load(&((struct thing *)(uintptr_t)thing)->state) != FREE);
	CHECK_EQUAL(thing->entry, i);
	CHECK_EQUAL(thing->version, directory[i].version);
	CHECK(unit_intact(thing->body, BODY, (uint64_t)i << 32 | thing->version));
}

unsigned int check_all(void)
{
	unsigned int n = 0;

	for (uint32_t i = 0; i < THINGS; i++) {
		pthread_mutex_lock(&directory[i].lock);
		check_thing(i);
		n += directory[i].thing != NULL;
		pthread_mutex_unlock(&directory[i].lock);
	}
	return n;
}

/* The entry's lock held.  False: pinned. */
bool drop(uint32_t i)
{
	struct thing *thing = directory[i].thing;
	uint32_t live = LIVE;

	if (thing == NULL)
		return true;
	if (!atomic_compare_exchange_strong(&thing->state, &live, FREE))
		return false;
	directory[i].thing = NULL;
	sn_free(thing);
	return true;
}

void drop_now(uint32_t i)
{
	for (;;) {
		bool done;

		pthread_mutex_lock(&directory[i].lock);
		done = drop(i);
		pthread_mutex_unlock(&directory[i].lock);
		if (done)
			return;
		sched_yield();
	}
}

unsigned int things_on(unsigned int node)
{
	unsigned int n = 0;

	for (uint32_t i = 0; i < THINGS; i++)
		n += directory[i].thing != NULL && sn_home_of(directory[i].thing) == node;
	return n;
}

uint64_t slabs_on(unsigned int node)
{
	return sn_counter_read(sn_cache_node(sn_nodes[node], things)->nr_slabs);
}

/* --- callbacks ------------------------------------------------------------------------------- */

void *get(struct slabnode_cache *cache, unsigned int count, void **objects, void *data)
{
	CHECK(data == &how && cache == (void *)&sn_caches[things] && count >= 1 && count <= 64);
	CHECK(sn_in_callback());
	atomic_fetch_add(&how.gets, 1);
	for (unsigned int k = 0; k < count; k++) {
		struct thing *thing = objects[k];
		uint32_t live = LIVE;

		if (atomic_load(&thing->state) == FREE) {
			objects[k] = NULL;
			continue;
		}
		atomic_fetch_add(&directory[thing->entry].asked, 1);
		if (how.decline)
			continue;
		if (!atomic_compare_exchange_strong(&thing->state, &live, PINNED))
			objects[k] = NULL; /* somebody is freeing it */
		else if (how.scribble)
			objects[k] = (char *)thing + 5 * SN_SEG_SIZE + k;
	}
	return how.decline ? NULL : &how;
}

/* Moves a pinned thing, or says why not. */
static enum slabnode_answer move_thing(const struct slabnode_reclaim *request, struct thing *thing)
{
	struct entry *entry = &directory[thing->entry];
	struct thing *copy =
		request->to < 0 ? NULL : sn_alloc_cache_node(things, FIRST + request->to);

	if (copy == NULL) {
		atomic_store(&thing->state, LIVE);
		return SLABNODE_LATER;
	}
	CHECK_EQUAL(atomic_load(&copy->state), FREE);
	pthread_mutex_lock(&entry->lock);
	CHECK(entry->thing == thing);
	memcpy((char *)copy + sizeof(copy->state), (char *)thing + sizeof(thing->state),
	       SIZE - sizeof(thing->state));
	atomic_store(&copy->state, LIVE);
	entry->thing = copy;
	pthread_mutex_unlock(&entry->lock);
	atomic_store(&thing->state, FREE);
	sn_free(thing);
	atomic_fetch_add(&how.moved, 1);
	return SLABNODE_MOVED;
}

static enum slabnode_answer leave_directory(struct thing *thing)
{
	struct entry *entry = &directory[thing->entry];

	pthread_mutex_lock(&entry->lock);
	CHECK(entry->thing == thing);
	entry->thing = NULL;
	pthread_mutex_unlock(&entry->lock);
	atomic_store(&thing->state, FREE);
	sn_free(thing);
	atomic_fetch_add(&how.gone, 1);
	return SLABNODE_GONE;
}

void reclaim(const struct slabnode_reclaim *request, void *data)
{
	CHECK(data == &how && request->token == &how && sn_in_callback());
	CHECK(request->cache == (void *)&sn_caches[things]);
	atomic_fetch_add(&how.reclaims, 1);
	if (how.inside != NULL)
		how.inside(request);
	for (unsigned int k = 0; k < request->count && !how.skip; k++) {
		struct thing *thing = request->objects[k];
		enum slabnode_answer answer = SLABNODE_MOVED;
		bool lie = false;

		CHECK_EQUAL(request->answers[k], SLABNODE_WILL_NOT);
		if (thing == NULL)
			continue;
		CHECK_EQUAL(atomic_load(&thing->state), PINNED);
		CHECK_EQUAL((int)sn_home_of(thing), FIRST + request->from);
		if (how.plan != NULL)
			answer = how.plan(thing->entry, &lie);
		if (!lie && answer == SLABNODE_MOVED)
			answer = move_thing(request, thing);
		else if (!lie && answer == SLABNODE_GONE)
			answer = leave_directory(thing);
		else
			atomic_store(&thing->state, LIVE);
		request->answers[k] = answer;
	}
	if (how.after != NULL)
		how.after(request);
	if (how.most_slabs < slabs_on(FIRST + (unsigned int)request->from))
		how.most_slabs = slabs_on(FIRST + (unsigned int)request->from);
}

/* --- frame ----------------------------------------------------------------------------------- */

void start(unsigned int nodes)
{
	int index;

	unit_start(nodes);
	for (uint32_t i = 0; i < THINGS; i++)
		pthread_mutex_init(&directory[i].lock, NULL);
	index = sn_cache_create("things", SIZE, 0, construct);
	CHECK(index > 0);
	things = (unsigned int)index;
	CHECK_EQUAL(sn_movable_set(things, get, reclaim, &how), 0);
}

void fill(uint32_t from, uint32_t to, unsigned int node)
{
	for (uint32_t i = from; i < to; i++) {
		directory[i].thing = make(i, node);
		CHECK(directory[i].thing != NULL);
	}
}

void check_rest(void)
{
	uint64_t out = 0;
	unsigned int kept = check_all();

	unit_quiesce();
	for_each_node(n) {
		const struct sn_cache_node *cn = sn_cache_node(sn_nodes[n], things);

		out += cn->nr_out;
		CHECK(cn->isolated == NULL);
		CHECK_EQUAL(cn->vacating, 0);
		for (unsigned int cpu = 0; cpu < sn_nr_cpus; cpu++) {
			struct sn_table *table = sn_table_at(n, cpu);

			/* Who has an array may use it. */
			if (table != NULL && table->top[things] != sn_empty_table.top[things])
				CHECK(table->end[things] != NULL);
		}
	}
	CHECK_EQUAL(out, kept);
}

void thin_out(uint32_t part)
{
	for (uint32_t i = 0; i < THINGS; i++)
		if (i % part != 0)
			drop_now(i);
}

struct sn_drain_result drain_now(unsigned int node)
{
	struct sn_drain_result result;

	CHECK_EQUAL(sn_drain(node, true, &result), 0);
	return result;
}
