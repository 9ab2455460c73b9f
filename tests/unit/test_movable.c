/*
 * test_movable.c - objects that are asked to leave: a leaving node, sparse slabs, and every answer.
 *
 * The program of these tests keeps things, each held by one entry of a directory.  A thing says in
 * its first word whether it lives; whoever frees one first takes it out of service with a
 * compare-and-swap, which a pinned thing refuses, so that reclaim alone disposes of what is pinned.
 */
#include "unit.h"

#include "callback.h"
#include "hardened.h"
#include "movable.h"
#include "notifier.h"
#include "table.h"

#include <sched.h>
#include <semaphore.h>
#include <sys/wait.h>

#define NODE   (FIRST + 1) /* the one that leaves */
#define THINGS 4000
#define SIZE   112
#define BODY   (SIZE - offsetof(struct thing, body))
#define ROUNDS 6 /* that movable.c asks */

enum { FREE, LIVE, PINNED };

struct thing {
	_Atomic uint32_t state;
	uint32_t entry;	  /* of the directory */
	uint32_t version; /* of what is written into the body */
	unsigned char body[];
};

struct entry {
	pthread_mutex_t lock;
	struct thing *thing;
	uint32_t version;
	_Atomic unsigned int asked; /* by get */
};

static struct entry directory[THINGS];
static unsigned int things; /* index of the cache */

/* How the callbacks behave. */
static struct {
	bool decline;  /* get: not now */
	bool scribble; /* get writes into its array what it likes */
	enum slabnode_answer (*plan)(uint32_t entry, bool *lie);
	void (*inside)(const struct slabnode_reclaim *request);
	void (*after)(const struct slabnode_reclaim *request);
	bool skip; /* inside() has done it all */
	_Atomic unsigned int gets, reclaims;
	_Atomic unsigned int moved, gone;
	_Atomic uint64_t most_slabs; /* of the cache on the node that is being vacated */
} how;

/* --- things ---------------------------------------------------------------------------------- */

static void construct(void *p)
{
	struct thing *thing = p;

	atomic_store(&thing->state, FREE);
}

static struct thing *make(uint32_t i, unsigned int node)
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

static void check_thing(uint32_t i)
{
	const struct thing *thing = directory[i].thing;

	if (thing == NULL)
		return;
	CHECK(atomic_load(&((struct thing *)(uintptr_t)thing)->state) != FREE);
	CHECK_EQUAL(thing->entry, i);
	CHECK_EQUAL(thing->version, directory[i].version);
	CHECK(unit_intact(thing->body, BODY, (uint64_t)i << 32 | thing->version));
}

static unsigned int check_all(void)
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
static bool drop(uint32_t i)
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

static void drop_now(uint32_t i)
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

static unsigned int things_on(unsigned int node)
{
	unsigned int n = 0;

	for (uint32_t i = 0; i < THINGS; i++)
		n += directory[i].thing != NULL && sn_home_of(directory[i].thing) == node;
	return n;
}

static uint64_t slabs_on(unsigned int node)
{
	return sn_counter_read(sn_cache_node(sn_nodes[node], things)->nr_slabs);
}

/* --- callbacks ------------------------------------------------------------------------------- */

static void *get(struct slabnode_cache *cache, unsigned int count, void **objects, void *data)
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

static void reclaim(const struct slabnode_reclaim *request, void *data)
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

static void start(unsigned int nodes)
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

static void fill(uint32_t from, uint32_t to, unsigned int node)
{
	for (uint32_t i = from; i < to; i++) {
		directory[i].thing = make(i, node);
		CHECK(directory[i].thing != NULL);
	}
}

/* Every object that is out is in the directory; nothing is isolated or closed. */
static void check_rest(void)
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

/* Sparse: one of `part` stays, of things that fill slabs one after the other. */
static void thin_out(uint32_t part)
{
	for (uint32_t i = 0; i < THINGS; i++)
		if (i % part != 0)
			drop_now(i);
}

static struct sn_drain_result drain_now(unsigned int node)
{
	struct sn_drain_result result;

	CHECK_EQUAL(sn_drain(node, true, &result), 0);
	return result;
}

/* --- registering ------------------------------------------------------------------------------ */

UNIT_TEST(bounds)
{
	int plain;

	start(2);
	plain = sn_cache_create("plain", 64, 0, NULL);
	CHECK_EQUAL(sn_movable_set(0, get, reclaim, NULL), -EINVAL);
	CHECK_EQUAL(sn_movable_set(1, get, reclaim, NULL), -EINVAL); /* malloc's */
	CHECK_EQUAL(sn_movable_set((unsigned int)plain, get, reclaim, NULL), -EINVAL);
	CHECK_EQUAL(sn_movable_set(sn_cache_end, get, reclaim, NULL), -EINVAL);
	CHECK_EQUAL(sn_movable_set(things, get, NULL, &how), -EINVAL);
	CHECK_EQUAL(sn_movable_set(things, NULL, reclaim, &how), -EINVAL);
	fill(0, THINGS, NODE);
	CHECK_EQUAL(sn_movable_set(things, NULL, NULL, NULL), 0);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
	CHECK_EQUAL(how.gets, 0); /* taken back */
	check_rest();
}

static unsigned int other_gets;

static void *other_get(struct slabnode_cache *cache, unsigned int count, void **objects, void *data)
{
	(void)cache, (void)count, (void)objects, (void)data;
	other_gets++;
	return NULL;
}

UNIT_TEST(an_index_is_used_again)
{
	unsigned int before;
	int index;

	start(2);
	fill(0, 100, NODE);
	CHECK_EQUAL(sn_cache_destroy(things), -EBUSY); /* and is as before: movable */
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
	CHECK_EQUAL(how.moved, 100);
	for (uint32_t i = 0; i < 100; i++)
		drop_now(i);
	CHECK_EQUAL(unit_online(NODE), 0);
	CHECK_EQUAL(sn_cache_destroy(things), 0);
	before = how.gets;
	index = sn_cache_create("others", 2048, 0, construct);
	CHECK_EQUAL(index, things);
	for (unsigned int i = 0; i < 100; i++)
		CHECK(sn_alloc_cache_node(things, NODE) != NULL);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
	CHECK_EQUAL(how.gets, before);
	CHECK_EQUAL(sn_movable_set(things, other_get, reclaim, NULL), 0);
	CHECK_EQUAL(unit_online(NODE), 0);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
	CHECK(other_gets > 0);
}

/* --- a leaving node --------------------------------------------------------------------------- */

UNIT_TEST(migrate_of_movable_objects_alone)
{
	struct sn_lifecycle_result result;
	struct sn_plan plan;

	start(2);
	fill(0, THINGS, NODE);
	CHECK_EQUAL(sn_plan(NODE, &plan), 0);
	CHECK_EQUAL(plan.evict_objects, THINGS);
	CHECK_EQUAL(plan.evict_bytes, THINGS * SIZE);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, &result), 0);
	CHECK_EQUAL(result.evicted_objects, THINGS);
	CHECK_EQUAL(how.moved, THINGS);
	CHECK_EQUAL(sn_drain_live(sn_nodes[NODE]), 0);
	CHECK_EQUAL(slabs_on(NODE), 0);
	CHECK_EQUAL(things_on(FIRST), THINGS);
	CHECK_EQUAL(unit_resident(NODE), 0);
	CHECK_EQUAL(unit_online(NODE), 0);
	check_rest();
}

UNIT_TEST(other_policies_do_not_ask)
{
	start(2);
	fill(0, 10, NODE);
	CHECK_EQUAL(unit_offline(NODE, SN_STRICT, -1, NULL), -EBUSY);
	CHECK_EQUAL(unit_offline(NODE, SN_WAIT, 10, NULL), -ETIMEDOUT);
	CHECK_EQUAL(how.gets, 0);
	check_rest();
}

UNIT_TEST(migrate_mixed)
{
	struct sn_lifecycle_result result;
	void *fixed[500];

	start(3);
	fill(0, THINGS, NODE);
	for (unsigned int i = 0; i < 500; i++) {
		fixed[i] = sn_malloc_node(200, NODE);
		unit_fill(fixed[i], 200, i);
	}
	how.scribble = true; /* the library does not take get's word for where objects are */
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, &result), 0);
	CHECK_EQUAL(result.evicted_objects, THINGS);
	CHECK(result.migrated_bytes >= (500 * 200u >> SN_PAGE_SHIFT << SN_PAGE_SHIFT));
	CHECK_EQUAL(unit_resident(NODE), 0);
	for (unsigned int i = 0; i < 500; i++) {
		CHECK(unit_intact(fixed[i], 200, i));
		CHECK_EQUAL(sn_home_of(fixed[i]), NODE);
		sn_free(fixed[i]);
	}
	check_rest();
}

static enum slabnode_answer by_entry(uint32_t entry, bool *lie)
{
	static const enum slabnode_answer answers[] = {SLABNODE_MOVED, SLABNODE_WILL_NOT,
						       SLABNODE_LATER, SLABNODE_GONE,
						       SLABNODE_MOVED, (enum slabnode_answer)99};

	*lie = entry % 6 == 4; /* says so, and is still there */
	return answers[entry % 6];
}

UNIT_TEST(all_answers)
{
	static const unsigned int times[] = {1, 1, ROUNDS, 1, 1, 1};
	struct sn_lifecycle_result result;

	start(2);
	fill(0, 3000, NODE);
	how.plan = by_entry;
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, &result), 0);
	CHECK_EQUAL(result.evicted_objects, 1000);
	CHECK_EQUAL(how.moved, 500);
	CHECK_EQUAL(how.gone, 500);
	for (uint32_t i = 0; i < 3000; i++) {
		CHECK_EQUAL(directory[i].asked, times[i % 6]);
		CHECK((directory[i].thing == NULL) == (i % 6 == 3));
	}
	CHECK_EQUAL(things_on(NODE), 2000); /* with their pages they have moved all the same */
	CHECK_EQUAL(unit_resident(NODE), 0);
	check_rest();
}

static enum slabnode_answer always_later(uint32_t entry, bool *lie)
{
	(void)entry, (void)lie;
	return SLABNODE_LATER;
}

static enum slabnode_answer never(uint32_t entry, bool *lie)
{
	(void)entry, (void)lie;
	return SLABNODE_WILL_NOT;
}

/* Neither holds the node up, nor the objects of another cache. */
UNIT_TEST(declining_for_ever)
{
	struct sn_lifecycle_result result;

	start(2);
	fill(0, THINGS, NODE);
	for (int round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < THINGS; i++)
			directory[i].asked = 0;
		how.plan = round == 0 ? always_later : never;
		how.decline = round == 1;
		how.reclaims = 0;
		CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, &result), 0);
		CHECK(result.elapsed_ms < 10000); /* on a busy machine */
		CHECK_EQUAL(result.evicted_objects, 0);
		CHECK_EQUAL(how.reclaims == 0, round == 1);
		/* More than can be remembered: nobody is asked twice rather than for ever. */
		for (uint32_t i = 0; i < THINGS; i++)
			CHECK_EQUAL(directory[i].asked, round == 2 ? 1 : ROUNDS);
		CHECK_EQUAL(unit_resident(NODE), 0);
		CHECK_EQUAL(unit_online(NODE), 0);
	}
	check_rest();
}

UNIT_TEST(several_nodes)
{
	unsigned int nodes[] = {NODE, FIRST + 2};
	struct sn_offline_request request = {.policy = SN_MIGRATE, .timeout_ms = -1};
	struct sn_lifecycle_result result[2];

	start(4);
	fill(0, 1000, NODE);
	fill(1000, 3000, FIRST + 2);
	sn_mask_add(&request.to, FIRST + 3);
	CHECK_EQUAL(sn_offline(nodes, 2, &request, result), 0);
	CHECK_EQUAL(result[0].evicted_objects, 1000);
	CHECK_EQUAL(result[1].evicted_objects, 2000);
	CHECK_EQUAL(things_on(FIRST + 3), 3000);
	check_rest();
}

UNIT_TEST(rollback_after_eviction)
{
	struct sn_lifecycle_result result;
	void *fixed;

	start(2);
	fill(0, THINGS, NODE);
	fixed = sn_malloc_node(5000, NODE);
	machine.pages_busy = true;
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, 200, &result), -ETIMEDOUT);
	CHECK_EQUAL(result.evicted_objects, THINGS);
	CHECK_EQUAL(unit_state(NODE), SN_ONLINE);
	CHECK_EQUAL(things_on(FIRST), THINGS);
	CHECK(sn_alloc_cache_node(things, NODE) != NULL);
	machine.pages_busy = false;
	sn_free(fixed);
	CHECK_EQUAL(check_all(), THINGS);
}

UNIT_TEST(hardened)
{
	struct sn_lifecycle_result result;

	start(2);
	sn_hardened_start(2, 1);
	fill(0, THINGS, NODE);
	thin_out(5);
	CHECK(drain_now(NODE).evicted_objects > 0);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, &result), 0);
	CHECK_EQUAL(result.evicted_objects, THINGS / 5);
	check_rest();
}

/* --- what callbacks may do ----------------------------------------------------------------------
 */

static void use_the_library(const struct slabnode_reclaim *request)
{
	struct sn_lifecycle_result result;
	struct sn_drain_result drained;
	void *p = sn_malloc(300), *q = sn_malloc(1 << 20);
	int index;

	CHECK(p != NULL && q != NULL);
	CHECK((int)sn_home_of(p) - (int)FIRST != request->from || unit_state(NODE) == SN_ONLINE);
	sn_free(p);
	sn_free(q);
	index = sn_cache_create("inside", 80, 0, NULL);
	CHECK(index > 0);
	p = sn_alloc_cache((unsigned int)index);
	sn_free(p);
	CHECK_EQUAL(sn_cache_destroy((unsigned int)index), 0);
	CHECK_EQUAL(unit_offline(FIRST, SN_STRICT, -1, &result), -EDEADLK);
	CHECK(strstr(result.message, "callback") != NULL);
	CHECK_EQUAL(unit_online(NODE), -EDEADLK);
	CHECK_EQUAL(sn_cancel(NODE, &result), -EDEADLK);
	CHECK_EQUAL(sn_cordon(FIRST, true, &result), -EDEADLK);
	CHECK_EQUAL(sn_movable_set(things, NULL, NULL, NULL), -EDEADLK);
	CHECK_EQUAL(sn_cache_destroy(things), -EDEADLK);
	CHECK_EQUAL(sn_notifier_unregister(1), -EDEADLK);
	CHECK_EQUAL(sn_drain(SN_NODE_NONE, true, &drained), 0);
	CHECK_EQUAL(drained.evicted_objects, 0);
	sn_cache_shrink(things);
}

UNIT_TEST(callbacks_use_the_library)
{
	struct sn_lifecycle_result result;

	start(2);
	how.inside = use_the_library;
	fill(0, 1000, NODE);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, &result), 0);
	CHECK_EQUAL(result.evicted_objects, 1000);
	CHECK_EQUAL(unit_online(NODE), 0);
	fill(1000, THINGS, FIRST);
	thin_out(4);
	CHECK(drain_now(FIRST).evicted_objects > 0);
	check_rest();
}

/* --- sparse slabs -------------------------------------------------------------------------------
 */

static uint64_t slabs_needed(uint64_t objects)
{
	return (objects + sn_caches[things].slab_objects - 1) / sn_caches[things].slab_objects;
}

UNIT_TEST(drain_empties_sparse_slabs)
{
	struct sn_drain_result result;
	uint64_t before;
	size_t resident;

	start(2);
	fill(0, THINGS, FIRST);
	thin_out(8);
	unit_quiesce();
	before = slabs_on(FIRST);
	resident = unit_resident(FIRST);
	CHECK(before > 3 * slabs_needed(THINGS / 8));
	result = drain_now(FIRST);
	CHECK_EQUAL(result.evicted_objects, how.moved);
	CHECK(how.most_slabs <= before); /* nothing was built to make room */
	CHECK_EQUAL(slabs_on(FIRST), slabs_needed(THINGS / 8));
	CHECK_EQUAL(resident - unit_resident(FIRST),
		    (before - slabs_on(FIRST)) * sn_caches[things].slab_pages);
	CHECK(result.released_bytes > 0);
	CHECK_EQUAL(check_all(), THINGS / 8);
	/* Nothing is left to do. */
	CHECK_EQUAL(drain_now(FIRST).evicted_objects, 0);
	/* And tables serve the cache as before. */
	fill(1, 7, SN_NODE_NONE);
	for (uint32_t i = 1; i < 7; i++)
		drop_now(i);
	CHECK(sn_tables_count(FIRST, things) >= 6);
	check_rest();
}

UNIT_TEST(shrink_empties_sparse_slabs)
{
	uint64_t before;

	start(2);
	fill(0, THINGS, NODE);
	thin_out(16);
	unit_quiesce();
	before = slabs_on(NODE);
	CHECK_EQUAL(sn_cache_shrink(things),
		    (before - slabs_needed(THINGS / 16)) * sn_caches[things].slab_pages
			    << SN_PAGE_SHIFT);
	check_rest();
}

UNIT_TEST(drain_of_those_who_decline)
{
	uint64_t before;

	start(2);
	fill(0, THINGS, FIRST);
	thin_out(4);
	unit_quiesce();
	before = slabs_on(FIRST);
	how.plan = never;
	for (int round = 0; round < 3; round++) {
		how.decline = round == 1;
		if (round == 2)
			how.plan = always_later;
		CHECK_EQUAL(drain_now(FIRST).evicted_objects, 0);
		CHECK_EQUAL(slabs_on(FIRST), before);
	}
	CHECK(how.gets > 0);
	how.plan = by_entry; /* entries 0, 4, 8: moved, lies, later */
	CHECK_EQUAL(drain_now(FIRST).evicted_objects, how.moved + how.gone);
	CHECK(slabs_on(FIRST) <= before);
	check_rest();
}

UNIT_TEST(a_cordoned_node_is_not_compacted)
{
	struct sn_lifecycle_result result;

	start(2);
	fill(0, THINGS, FIRST);
	thin_out(4);
	CHECK_EQUAL(sn_cordon(FIRST, true, &result), 0);
	CHECK_EQUAL(drain_now(FIRST).evicted_objects, 0);
	CHECK_EQUAL(how.gets, 0);
	CHECK_EQUAL(sn_cordon(FIRST, false, &result), 0);
	CHECK(drain_now(FIRST).evicted_objects > 0);
	check_rest();
}

/* --- stalls -------------------------------------------------------------------------------------
 */

static sem_t stalled, go_on;
static bool stalls;

static void stall(const struct slabnode_reclaim *request)
{
	(void)request;
	if (!stalls)
		return;
	stalls = false;
	sem_post(&stalled);
	while (sem_wait(&go_on) != 0)
		;
}

static void start_stalling(unsigned int nodes)
{
	start(nodes);
	sem_init(&stalled, 0, 0);
	sem_init(&go_on, 0, 0);
	stalls = true;
	how.inside = stall;
}

struct call {
	unsigned int node;
	enum sn_policy policy;
	int64_t timeout_ms;
	_Atomic bool done;
	int error;
	struct sn_lifecycle_result result;
};

static void *offline_thread(void *arg)
{
	struct call *call = arg;

	call->error = unit_offline(call->node, call->policy, call->timeout_ms, &call->result);
	call->done = true;
	return NULL;
}

static void *drain_thread(void *arg)
{
	drain_now((unsigned int)(uintptr_t)arg);
	return NULL;
}

static void cancel_at_once(unsigned int node)
{
	struct sn_lifecycle_result result;
	struct sn_transition_info info;
	uint64_t begin = sn_now_ns();

	CHECK(sn_transition_info(node, &info));
	CHECK(strcmp(info.waiting_for, "reclaim of things") == 0);
	CHECK_EQUAL(sn_cancel(node, &result), 0);
	CHECK(strstr(result.message, "reclaim of things has yet to return") != NULL);
	CHECK(sn_now_ns() - begin < 1000000000);
}

UNIT_TEST(cancel_during_a_stall)
{
	static struct call offline = {.node = NODE, .policy = SN_MIGRATE, .timeout_ms = -1};
	struct sn_transition_info info;
	struct sn_slabinfo slabinfo;
	pthread_t worker;

	start_stalling(2);
	fill(0, THINGS, NODE);
	worker = unit_thread(offline_thread, &offline);
	sem_wait(&stalled);
	CHECK(sn_transition_info(NODE, &info));
	CHECK_EQUAL(info.phase, SN_PHASE_EVICT);
	CHECK(sn_slabinfo(things, NODE, &slabinfo)); /* while slabs are isolated */
	CHECK_EQUAL(slabinfo.active_objects, THINGS);
	CHECK_EQUAL(slabinfo.slabs_partial, slabs_on(NODE));
	cancel_at_once(NODE);
	sem_post(&go_on);
	unit_join(worker);
	CHECK_EQUAL(offline.error, -ECANCELED);
	CHECK_EQUAL(offline.result.evicted_objects, how.moved);
	CHECK(how.moved > 0 && how.moved <= 64);
	CHECK_EQUAL(unit_state(NODE), SN_ONLINE);
	check_rest();
}

UNIT_TEST(timeout_during_a_stall)
{
	static struct call offline = {.node = NODE, .policy = SN_MIGRATE, .timeout_ms = 20};
	pthread_t worker;

	start_stalling(2);
	fill(0, THINGS, NODE);
	worker = unit_thread(offline_thread, &offline);
	sem_wait(&stalled);
	unit_sleep_ms(40);
	sem_post(&go_on);
	unit_join(worker);
	CHECK_EQUAL(offline.error, -ETIMEDOUT);
	CHECK(how.moved <= 64);
	check_rest();
}

/* Two commands: the second gives up its wait for the first one's reclaim when it is cancelled, and
 * else is served after it. */
UNIT_TEST(two_offlines)
{
	static struct call first = {.node = NODE, .policy = SN_MIGRATE, .timeout_ms = -1};
	static struct call second = {.node = FIRST + 4, .policy = SN_MIGRATE, .timeout_ms = -1};
	struct sn_lifecycle_result result;
	pthread_t workers[2];

	start_stalling(5);
	fill(0, 1000, NODE);
	fill(1000, 2000, second.node);
	workers[0] = unit_thread(offline_thread, &first);
	sem_wait(&stalled);
	workers[1] = unit_thread(offline_thread, &second);
	while (unit_state(second.node) != SN_GOING_OFFLINE)
		sched_yield();
	unit_sleep_ms(20);
	CHECK_EQUAL(sn_cancel(second.node, &result), 0);
	unit_join(workers[1]);
	CHECK_EQUAL(second.error, -ECANCELED);
	workers[1] = unit_thread(offline_thread, &second);
	sem_post(&go_on);
	unit_join(workers[0]);
	unit_join(workers[1]);
	CHECK_EQUAL(first.error, 0);
	CHECK_EQUAL(second.error, 0);
	CHECK_EQUAL(first.result.evicted_objects, 1000);
	CHECK_EQUAL(second.result.evicted_objects, 1000);
	check_rest();
}

static enum slabnode_answer goes(uint32_t entry, bool *lie)
{
	(void)entry, (void)lie;
	return SLABNODE_GONE;
}

/* A slab that is isolated for compaction is not given back by an offline, even when it is empty:
 * the offline waits for the call. */
UNIT_TEST(offline_during_a_compaction)
{
	static struct call offline = {.node = NODE, .policy = SN_STRICT, .timeout_ms = -1};
	pthread_t drainer, worker;

	start_stalling(2);
	how.inside = NULL;
	how.after = stall;
	how.plan = goes;
	for (int round = 0; round < 3; round++) {
		fill(0, THINGS, NODE);
		thin_out(4);
		stalls = true;
		drainer = unit_thread(drain_thread, (void *)(uintptr_t)NODE);
		sem_wait(&stalled);
		for (uint32_t i = 0; i < THINGS; i++)
			drop_now(i);
		offline.done = false;
		offline.policy = round == 1 ? SN_MIGRATE : SN_STRICT;
		worker = unit_thread(offline_thread, &offline);
		while (unit_state(NODE) != SN_GOING_OFFLINE)
			sched_yield();
		unit_sleep_ms(150);
		CHECK(!offline.done);
		if (round == 2)
			cancel_at_once(NODE);
		sem_post(&go_on);
		unit_join(worker);
		CHECK_EQUAL(offline.error, round == 2 ? -ECANCELED : 0);
		if (round < 2)
			CHECK_EQUAL(unit_resident(NODE), 0);
		unit_join(drainer);
		CHECK_EQUAL(unit_online(NODE), 0);
	}
	check_rest();
}

static _Atomic bool taken_back;

static void *take_back(void *arg)
{
	(void)arg;
	CHECK_EQUAL(sn_movable_set(things, NULL, NULL, NULL), 0);
	taken_back = true;
	return NULL;
}

UNIT_TEST(taken_back_during_an_attempt)
{
	static struct call offline = {.node = NODE, .policy = SN_MIGRATE, .timeout_ms = -1};
	pthread_t worker, taker;
	unsigned int gets;

	start_stalling(2);
	fill(0, THINGS, NODE);
	worker = unit_thread(offline_thread, &offline);
	sem_wait(&stalled);
	taker = unit_thread(take_back, NULL);
	unit_sleep_ms(20);
	CHECK(!taken_back); /* waits: no call runs after it returned */
	sem_post(&go_on);
	unit_join(taker);
	gets = how.gets;
	unit_join(worker);
	CHECK_EQUAL(offline.error, 0);
	CHECK_EQUAL(unit_online(NODE), 0);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
	CHECK_EQUAL(how.gets, gets);
	check_rest();
}

UNIT_TEST(slots_installed_while_closed)
{
	void *p;

	start(2);
	CHECK_EQUAL(sn_tables_close_cache(FIRST, things), 0);
	p = sn_alloc_cache(things); /* gives the slot its array */
	sn_free(p);
	CHECK_EQUAL(sn_tables_count(FIRST, things), 0);
	sn_tables_open_cache(FIRST, things);
	p = sn_alloc_cache(things);
	sn_free(p);
	CHECK(sn_tables_count(FIRST, things) > 0);
	CHECK_EQUAL(sn_tables_close_cache(FIRST, things), 0);
	CHECK_EQUAL(sn_tables_count(FIRST, things), 0);
	sn_free(sn_alloc_cache(things));
	CHECK_EQUAL(sn_tables_count(FIRST, things), 0);
	sn_tables_open_cache(FIRST, things);
	check_rest();
}

/* --- threads ------------------------------------------------------------------------------------
 */

#define WORKERS 3

static _Atomic bool stop;

/* Replaces, frees and verifies things; its CPU is on a node of its own. */
static void *churn(void *arg)
{
	uint64_t seed = (uintptr_t)arg * 77 + 5;

	unit_cpu_node(FIRST + (unsigned int)(uintptr_t)arg % 3);
	while (!stop) {
		uint32_t i = (uint32_t)(unit_random(&seed) % THINGS);

		pthread_mutex_lock(&directory[i].lock);
		check_thing(i);
		if (unit_random(&seed) % 3 == 0 && drop(i) && unit_random(&seed) % 2 == 0)
			directory[i].thing = make(i, SN_NODE_NONE);
		else if (directory[i].thing == NULL)
			directory[i].thing = make(i, SN_NODE_NONE);
		pthread_mutex_unlock(&directory[i].lock);
	}
	return NULL;
}

static void *drains(void *arg)
{
	(void)arg;
	while (!stop) {
		drain_now(SN_NODE_NONE);
		unit_sleep_ms(1);
	}
	return NULL;
}

static enum slabnode_answer mostly(uint32_t entry, bool *lie)
{
	static _Atomic unsigned int n;

	(void)entry;
	*lie = n % 11 == 3;
	return atomic_fetch_add(&n, 1) % 5 == 0 ? SLABNODE_LATER : SLABNODE_MOVED;
}

UNIT_TEST(drains_under_threads)
{
	pthread_t threads[WORKERS + 1];

	start(3);
	how.plan = mostly;
	for (uintptr_t i = 0; i < WORKERS; i++)
		threads[i] = unit_thread(churn, (void *)i);
	threads[WORKERS] = unit_thread(drains, NULL);
	unit_sleep_ms(1500);
	stop = true;
	for (unsigned int i = 0; i <= WORKERS; i++)
		unit_join(threads[i]);
	CHECK(how.moved > 0);
	check_rest();
}

UNIT_TEST(nodes_come_and_go_under_threads)
{
	struct sn_lifecycle_result result;
	pthread_t threads[WORKERS + 1];
	uint64_t until, evicted = 0;

	start(3);
	for (uintptr_t i = 0; i < WORKERS; i++)
		threads[i] = unit_thread(churn, (void *)i);
	threads[WORKERS] = unit_thread(drains, NULL);
	until = sn_now_ns() + 2000000000ull;
	for (unsigned int i = 0; sn_now_ns() < until; i++) {
		unsigned int node = FIRST + i % 3;

		CHECK_EQUAL(unit_offline(node, SN_MIGRATE, -1, &result), 0);
		evicted += result.evicted_objects;
		CHECK_EQUAL(unit_resident(node), 0);
		unit_sleep_ms(2);
		CHECK_EQUAL(unit_online(node), 0);
		unit_sleep_ms(2);
	}
	stop = true;
	for (unsigned int i = 0; i <= WORKERS; i++)
		unit_join(threads[i]);
	CHECK(evicted > 0);
	check_rest();
}

/* --- fork ---------------------------------------------------------------------------------------
 */

/* The thread sanitizer's state does not survive some of this. */
static bool can_fork(void)
{
#ifdef __SANITIZE_THREAD__
	return false;
#else
	return true;
#endif
}

/* Whatever was under way is undone; pinned things stay pinned, and all is asked anew. */
static void child_goes_on(void)
{
	struct sn_lifecycle_result result;
	unsigned int pinned = 0, on_node;

	CHECK(!sn_in_callback());
	how.inside = NULL;
	for_each_node(n) {
		struct sn_cache_node *cn = sn_cache_node(sn_nodes[n], things);

		CHECK(cn->isolated == NULL);
		CHECK_EQUAL(cn->vacating, 0);
		CHECK_EQUAL(unit_state(n), SN_ONLINE);
	}
	for (uint32_t i = 0; i < THINGS; i++)
		pinned += directory[i].thing != NULL && directory[i].thing->state == PINNED;
	CHECK(pinned <= 64);
	CHECK_EQUAL(check_all(), THINGS / 4);
	on_node = things_on(NODE);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, &result), 0);
	CHECK_EQUAL(result.evicted_objects, on_node - pinned);
	CHECK_EQUAL(unit_online(NODE), 0);
	drain_now(SN_NODE_NONE);
	check_rest();
}

static pid_t forked;

static void fork_inside(const struct slabnode_reclaim *request)
{
	(void)request;
	if (forked >= 0)
		return;
	forked = unit_fork(NULL);
	if (forked == 0) {
		/* What the child frees here may be the very slab that the parent is asking. */
		for (unsigned int k = 0; k < request->count; k++)
			if (request->objects[k] != NULL)
				atomic_store(&((struct thing *)request->objects[k])->state, LIVE);
		child_goes_on();
		sn_cache_shrink(things);
		_exit(0);
	}
}

/* Reclaim goes on in the child with the request of the parent: it has to let go of what it holds.
 */
static enum slabnode_answer not_in_the_child(uint32_t entry, bool *lie)
{
	(void)entry, (void)lie;
	return forked == 0 ? SLABNODE_WILL_NOT : SLABNODE_MOVED;
}

/* The callback returns in the child, too. */
static void fork_and_return(const struct slabnode_reclaim *request)
{
	if (forked >= 0)
		return;
	forked = unit_fork(NULL);
	if (forked == 0) {
		how.plan = NULL;
		child_goes_on();
		how.plan = not_in_the_child;
	}
	(void)request;
}

static void thin_node(void)
{
	start(2);
	fill(0, THINGS, NODE);
	thin_out(4);
	forked = -1;
}

UNIT_TEST(fork_inside_reclaim)
{
	if (!can_fork())
		return;
	thin_node();
	how.inside = fork_inside;
	drain_now(NODE);
	CHECK(forked > 0);
	unit_child_ends(forked);
	forked = -1;
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
	CHECK(forked > 0);
	unit_child_ends(forked);
	CHECK_EQUAL(unit_online(NODE), 0);
	check_rest();
}

static void fork_returns(bool offline)
{
	struct sn_lifecycle_result result = {0};

	how.inside = fork_and_return;
	how.plan = not_in_the_child;
	forked = -1;
	if (offline)
		unit_offline(NODE, SN_MIGRATE, -1, &result);
	else
		drain_now(NODE);
	CHECK(forked >= 0);
	if (forked == 0) {
		if (offline)
			CHECK_EQUAL(result.error, -ECANCELED);
		how.plan = NULL;
		CHECK_EQUAL(check_all(), THINGS / 4);
		CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
		CHECK_EQUAL(unit_online(NODE), 0);
		check_rest();
		_exit(0);
	}
	unit_child_ends(forked);
}

UNIT_TEST(reclaim_returns_in_the_child)
{
	if (!can_fork())
		return;
	thin_node();
	fork_returns(false);
	fork_returns(true);
	check_rest();
}

/* The child frees all things, whose slabs become others', before it returns into the attempt. */
static void fork_and_clear(const struct slabnode_reclaim *request)
{
	(void)request;
	if (forked >= 0)
		return;
	forked = unit_fork(NULL);
	if (forked > 0)
		return;
	for (uint32_t i = 0; i < THINGS; i++) {
		if (directory[i].thing != NULL)
			atomic_store(&directory[i].thing->state, LIVE);
		drop_now(i);
	}
	sn_cache_shrink(things);
	CHECK_EQUAL(slabs_on(NODE), 0);
	for (unsigned int i = 0; i < 10000; i++)
		CHECK(sn_malloc_node(240, NODE) != NULL);
	how.skip = true;
}

UNIT_TEST(slabs_are_gone_in_the_child)
{
	if (!can_fork())
		return;
	thin_node();
	how.inside = fork_and_clear;
	for (int round = 0; round < 2; round++) {
		const struct sn_cache_node *cn = sn_cache_node(sn_nodes[NODE], things);

		forked = -1;
		round == 0 ? (void)drain_now(NODE) : (void)unit_offline(NODE, SN_MIGRATE, -1, NULL);
		CHECK(forked >= 0);
		if (forked == 0) {
			CHECK(cn->partial == NULL && cn->full == NULL && cn->free == NULL);
			how.inside = NULL;
			how.skip = false;
			fill(0, THINGS, NODE);
			CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
			check_rest();
			_exit(0);
		}
		unit_child_ends(forked);
	}
	check_rest();
}

/* Another thread forks while a batch is between get and the end of reclaim, or before. */
UNIT_TEST(fork_during_an_attempt)
{
	static struct call offline = {.node = NODE, .policy = SN_MIGRATE, .timeout_ms = -1};
	pthread_t worker;
	pid_t pid;

	if (!can_fork())
		return;
	start_stalling(2);
	fill(0, THINGS, NODE);
	thin_out(4);
	for (int round = 0; round < 2; round++) {
		stalls = true;
		worker = round == 0 ? unit_thread(drain_thread, (void *)(uintptr_t)NODE)
				    : unit_thread(offline_thread, &offline);
		sem_wait(&stalled);
		pid = unit_fork(NULL);
		if (pid == 0) {
			child_goes_on();
			_exit(0);
		}
		unit_child_ends(pid);
		sem_post(&go_on);
		unit_join(worker);
	}
	CHECK_EQUAL(offline.error, 0);
	check_rest();
}

UNIT_TEST(fork_at_any_moment)
{
	pthread_t drainer;

	if (!can_fork())
		return;
	thin_node();
	how.plan = mostly;
	drainer = unit_thread(drains, NULL);
	for (unsigned int i = 0; i < 60; i++) {
		pid_t pid = unit_fork(NULL);

		if (pid == 0) {
			for (uint32_t k = 0; k < THINGS; k++) /* the locks of those who were */
				pthread_mutex_init(&directory[k].lock, NULL);
			how.plan = NULL;
			CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
			CHECK_EQUAL(unit_online(NODE), 0);
			drain_now(SN_NODE_NONE);
			for_each_node(n) {
				CHECK(sn_cache_node(sn_nodes[n], things)->isolated == NULL);
				CHECK_EQUAL(sn_cache_node(sn_nodes[n], things)->vacating, 0);
			}
			_exit(0);
		}
		unit_child_ends(pid);
		CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
		CHECK_EQUAL(unit_online(NODE), 0);
	}
	stop = true;
	unit_join(drainer);
	check_rest();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bounds),
		cmocka_unit_test(an_index_is_used_again),
		cmocka_unit_test(migrate_of_movable_objects_alone),
		cmocka_unit_test(other_policies_do_not_ask),
		cmocka_unit_test(migrate_mixed),
		cmocka_unit_test(all_answers),
		cmocka_unit_test(declining_for_ever),
		cmocka_unit_test(several_nodes),
		cmocka_unit_test(rollback_after_eviction),
		cmocka_unit_test(hardened),
		cmocka_unit_test(callbacks_use_the_library),
		cmocka_unit_test(drain_empties_sparse_slabs),
		cmocka_unit_test(shrink_empties_sparse_slabs),
		cmocka_unit_test(drain_of_those_who_decline),
		cmocka_unit_test(a_cordoned_node_is_not_compacted),
		cmocka_unit_test(cancel_during_a_stall),
		cmocka_unit_test(timeout_during_a_stall),
		cmocka_unit_test(two_offlines),
		cmocka_unit_test(offline_during_a_compaction),
		cmocka_unit_test(taken_back_during_an_attempt),
		cmocka_unit_test(slots_installed_while_closed),
		cmocka_unit_test(drains_under_threads),
		cmocka_unit_test(nodes_come_and_go_under_threads),
		cmocka_unit_test(fork_inside_reclaim),
		cmocka_unit_test(reclaim_returns_in_the_child),
		cmocka_unit_test(slabs_are_gone_in_the_child),
		cmocka_unit_test(fork_during_an_attempt),
		cmocka_unit_test(fork_at_any_moment),
	};

	unit_arguments(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
