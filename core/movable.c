/*
 * movable.c - see movable.h.
 *
 * A slab whose objects are asked is isolated: it stands on a list from which nothing is handed out,
 * so that its objects can only become fewer.  The list belongs to (cache, node) and not to a stack,
 * so that a forked child finds it.  Before anybody is asked, whatever holds free objects of the
 * slab is closed and drained: of a leaving node everything is, of a node in service the cache's
 * slots in the node's tables (sn_tables_close_cache()), its shared store and alien caches
 * (sn_cache_node.vacating).  Still an object that a thread is just allocating or freeing looks
 * allocated to the slab; `get` has to tell from the object itself.
 *
 *	list_lock	collect up to BATCH objects of an isolated slab; get() pins some
 *	nothing held	reclaim() moves, frees, or answers why not
 *	list_lock	whoever left the slab is counted; who said "will not" is remembered
 *
 * Objects are asked in rounds.  One that said "later", or whose `get` declined, is asked again, a
 * few times and for a limited time; one that said "will not", or said "moved" and is still there,
 * is not asked again in this attempt.
 *
 * One attempt runs at a time (`turn`), since reclaim may take any time and what is remembered is
 * kept once.
 */
#include "movable.h"

#include "alien.h"
#include "callback.h"
#include "drain.h"
#include "fault.h"
#include "meta.h"
#include "slab.h"
#include "stats.h"
#include "table.h"

#include <string.h>

#define BATCH	    64
#define ROUNDS	    6
#define PAUSE_NS    1000000 /* after the first round, doubled each time */
#define REMEMBERED  4096    /* a power of two */
#define SPARSE_MAX  64	    /* slabs of one compaction step */
#define SPARSE_PART 2	    /* sparse: at most one object in so many */

struct sn_movable {
	slabnode_get_fn *get;
	slabnode_reclaim_fn *reclaim;
	void *data;
};

/* Written under turn; of a cache that is movable the pointer is set, and never freed. */
static struct sn_movable *records[SN_MAX_CACHES];
static struct sn_turn turn;

/* Who will not: open addressing, by address.  When it is full, nobody is asked a second time. */
static const void *will_not[REMEMBERED];
static unsigned int nr_will_not;

static size_t slot_of(const void *object)
{
	size_t i = ((uintptr_t)object >> 4) * 0x9E3779B97F4A7C15u >> 40;

	for (i &= REMEMBERED - 1; will_not[i] != NULL && will_not[i] != object;)
		i = (i + 1) & (REMEMBERED - 1);
	return i;
}

static bool memory_full(void)
{
	return nr_will_not >= REMEMBERED * 3 / 4;
}

static void remember(const void *object)
{
	size_t i = slot_of(object);

	if (will_not[i] == object || memory_full())
		return;
	will_not[i] = object;
	nr_will_not++;
}

static void forget_all(void)
{
	if (nr_will_not > 0)
		memset(will_not, 0, sizeof(will_not));
	nr_will_not = 0;
}

int sn_movable_set(unsigned int index, slabnode_get_fn *get, slabnode_reclaim_fn *reclaim,
		   void *data)
{
	struct sn_cache *cache = &sn_caches[index];
	struct sn_movable *record;
	int error = 0;

	if (index <= SN_NR_CLASSES || index >= sn_cache_end || cache->ctor == NULL ||
	    (get == NULL) != (reclaim == NULL))
		return -EINVAL;
	if (sn_in_callback())
		return -EDEADLK;
	sn_turn_take(&turn);
	if (records[index] == NULL)
		records[index] = sn_meta_alloc(sizeof(*record), 16);
	record = records[index];
	if (record == NULL)
		error = -ENOMEM;
	else
		*record = (struct sn_movable){get, reclaim, data};
	atomic_store(&cache->movable, error == 0 && get != NULL ? record : NULL);
	sn_turn_give(&turn);
	return error;
}

int sn_movable_forget(unsigned int index)
{
	if (atomic_load(&sn_caches[index].movable) == NULL)
		return 0;
	if (sn_in_callback())
		return -EDEADLK;
	sn_turn_take(&turn);
	atomic_store(&sn_caches[index].movable, NULL);
	sn_turn_give(&turn);
	return 0;
}

void sn_movable_count(unsigned int node, uint64_t *objects, uint64_t *bytes)
{
	*objects = *bytes = 0;
	for (unsigned int c = SN_NR_CLASSES + 1; c < sn_cache_end; c++) {
		uint64_t n;

		if (atomic_load(&sn_caches[c].movable) == NULL)
			continue;
		n = sn_live_objects(node, c);
		*objects += n;
		*bytes += n * sn_caches[c].size;
	}
}

static bool stopped(const struct sn_eviction *e)
{
	return e->stop != NULL && e->stop(e->arg);
}

/* --- one batch --------------------------------------------------------------------------- */

struct batch {
	struct sn_cache_node *cn;
	const struct sn_cache *cache;
	struct sn_page *slab;
	unsigned int next; /* object number to go on with */
	unsigned int count;
	void *objects[BATCH];
	enum slabnode_answer answers[BATCH];
	void *token; /* get's answer; NULL: declined */
};

/* The public handle of a cache is its address. */
static struct slabnode_cache *handle(const struct sn_cache *cache)
{
	return (struct slabnode_cache *)(void *)&sn_caches[cache->index];
}

/* Phase 1.  False: the slab has no more objects to ask. */
static bool get_batch(struct sn_eviction *e, struct batch *b)
{
	const struct sn_movable *movable = atomic_load(&b->cache->movable);
	struct sn_callback call;
	unsigned int kept = 0;
	uint64_t begin;

	b->token = NULL;
	sn_lock_acquire(&b->cn->list_lock, SN_RANK_LIST);
	begin = sn_now_ns();
	b->count = sn_slab_allocated(b->slab, b->cache, &b->next, b->objects, BATCH);
	for (unsigned int i = 0; i < b->count; i++)
		if (will_not[slot_of(b->objects[i])] == NULL)
			b->objects[kept++] = b->objects[i];
	b->count = kept;
	if (kept > 0 && sn_fault(SN_FAULT_GET) == 0) {
		sn_callback_enter(&call, "get of", b->cache->name, e->node->index);
		b->token = movable->get(handle(b->cache), kept, b->objects, movable->data);
		sn_callback_leave(&call);
	}
	e->stall_ns = sn_max(e->stall_ns, sn_now_ns() - begin);
	sn_lock_release(&b->cn->list_lock, SN_RANK_LIST);
	return kept > 0 || b->next < b->slab->nr_objects;
}

/* Phase 2.  False: in a forked child, to which none of this belongs any more. */
static bool reclaim_batch(struct sn_eviction *e, struct batch *b)
{
	const struct sn_movable *movable = atomic_load(&b->cache->movable);
	struct slabnode_reclaim request = {
		.cache = handle(b->cache),
		.from = e->node->os_number,
		.to = e->target == SN_NODE_NONE ? -1 : sn_nodes[e->target]->os_number,
		.count = b->count,
		.objects = b->objects,
		.answers = b->answers,
		.token = b->token,
	};
	void *asked[BATCH];
	struct sn_callback call;

	for (unsigned int i = 0; i < b->count; i++)
		b->answers[i] = SLABNODE_WILL_NOT;
	memcpy(asked, b->objects, b->count * sizeof(*asked));
	sn_callback_enter(&call, "reclaim of", b->cache->name, e->node->index);
	sn_fault(SN_FAULT_RECLAIM);
	movable->reclaim(&request, movable->data);
	if (!sn_callback_leave(&call))
		return false;
	memcpy(b->objects, asked, b->count * sizeof(*asked));
	return true;
}

/* What became of the batch: the slab's map decides, whatever the answers say. */
static void count_batch(struct sn_eviction *e, struct batch *b)
{
	sn_lock_acquire(&b->cn->list_lock, SN_RANK_LIST);
	for (unsigned int i = 0; i < b->count; i++) {
		if (b->objects[i] == NULL)
			continue;
		if (sn_slab_object_is_free(b->slab, b->cache, b->objects[i])) {
			e->evicted++;
		} else if (b->answers[i] == SLABNODE_LATER) {
			e->later++;
		} else {
			remember(b->objects[i]);
			e->will_not++;
		}
	}
	sn_lock_release(&b->cn->list_lock, SN_RANK_LIST);
}

/* Asks all objects of an isolated slab once.  False: stop everything. */
static bool ask_slab(struct sn_eviction *e, struct sn_cache_node *cn, const struct sn_cache *cache,
		     struct sn_page *slab)
{
	struct batch b = {.cn = cn, .cache = cache, .slab = slab};

	while (!stopped(e) && get_batch(e, &b)) {
		if (b.token == NULL) {
			e->later += b.count;
			continue;
		}
		if (!reclaim_batch(e, &b))
			return false;
		count_batch(e, &b);
	}
	return !stopped(e);
}

/* --- isolating --------------------------------------------------------------------------- */

static void isolate_list(struct sn_cache_node *cn, struct sn_page *const *head, uint64_t *nr)
{
	while (*head != NULL) {
		sn_slab_isolate(cn, *head);
		++*nr;
	}
}

/* list_lock held. */
static void rejoin_all(struct sn_cache_node *cn)
{
	while (cn->isolated != NULL)
		sn_slab_rejoin(cn, cn->isolated);
}

/* The next isolated slab, or NULL; it stays isolated. */
static struct sn_page *first_isolated(struct sn_cache_node *cn)
{
	struct sn_page *slab;

	sn_lock_acquire(&cn->list_lock, SN_RANK_LIST);
	slab = cn->isolated;
	sn_lock_release(&cn->list_lock, SN_RANK_LIST);
	return slab;
}

/* Whether the slab is empty now. */
static bool rejoin(struct sn_cache_node *cn, struct sn_page *slab)
{
	bool empty;

	sn_lock_acquire(&cn->list_lock, SN_RANK_LIST);
	empty = slab->nr_free == slab->nr_objects;
	sn_slab_rejoin(cn, slab);
	sn_lock_release(&cn->list_lock, SN_RANK_LIST);
	return empty;
}

/* --- a leaving node ---------------------------------------------------------------------- */

/* Asks every object of one cache on the node once.  False: stop everything. */
static bool evict_cache(struct sn_eviction *e, unsigned int index)
{
	struct sn_cache_node *cn = sn_cache_node(e->node, index);
	struct sn_page *slab;
	bool go_on = true;

	sn_lock_acquire(&cn->list_lock, SN_RANK_LIST);
	isolate_list(cn, &cn->full, &e->total);
	isolate_list(cn, &cn->partial, &e->total);
	sn_lock_release(&cn->list_lock, SN_RANK_LIST);
	while (go_on && (slab = first_isolated(cn)) != NULL) {
		go_on = ask_slab(e, cn, &sn_caches[index], slab);
		rejoin(cn, slab);
		e->done++;
		if (e->progress != NULL)
			e->progress(e->arg, e->done, e->total);
	}
	sn_lock_acquire(&cn->list_lock, SN_RANK_LIST);
	rejoin_all(cn);
	sn_lock_release(&cn->list_lock, SN_RANK_LIST);
	return go_on;
}

static bool asks(const struct sn_eviction *e, unsigned int index)
{
	return atomic_load(&sn_caches[index].movable) != NULL &&
	       sn_counter_read(sn_cache_node(e->node, index)->nr_out) > 0;
}

static bool evict_round(struct sn_eviction *e)
{
	e->later = e->done = e->total = 0;
	for (unsigned int c = SN_NR_CLASSES + 1; c < sn_cache_end; c++)
		if (asks(e, c) && !evict_cache(e, c))
			return false;
	return true;
}

static void pause_for(int64_t ns)
{
	static _Atomic uint32_t nobody;

	sn_futex_wait(&nobody, 0, ns);
}

static bool any_to_ask(const struct sn_eviction *e)
{
	for (unsigned int c = SN_NR_CLASSES + 1; c < sn_cache_end; c++)
		if (asks(e, c))
			return true;
	return false;
}

void sn_movable_evict(struct sn_eviction *e)
{
	if (!any_to_ask(e) || !sn_turn_take_unless(&turn, e->stop, e->arg))
		return;
	forget_all();
	for (int round = 0; evict_round(e) && e->later > 0 && !memory_full(); round++) {
		if (round == ROUNDS - 1)
			break;
		pause_for((int64_t)PAUSE_NS << round);
	}
	sn_turn_give(&turn);
}

/* --- sparse slabs of a node in service --------------------------------------------------- */

/* Isolates sparse slabs; *room: free objects in those that stay. Returns how many. */
static unsigned int isolate_sparse(struct sn_cache_node *cn, uint64_t *room)
{
	unsigned int n = 0;

	*room = 0;
	sn_lock_acquire(&cn->list_lock, SN_RANK_LIST);
	for (struct sn_page *slab = cn->partial, *next; slab != NULL; slab = next) {
		unsigned int live = (unsigned int)slab->nr_objects - slab->nr_free;

		next = slab->next;
		if (n < SPARSE_MAX && live * SPARSE_PART <= slab->nr_objects) {
			sn_slab_isolate(cn, slab);
			n++;
		} else {
			*room += slab->nr_free;
		}
	}
	sn_lock_release(&cn->list_lock, SN_RANK_LIST);
	return n;
}

/* Slabs that were emptied.  Those for whose objects there is no room elsewhere take others' in. */
static unsigned int compact_step(struct sn_eviction *e, unsigned int index, bool *go_on)
{
	struct sn_cache_node *cn = sn_cache_node(e->node, index);
	unsigned int emptied = 0;
	struct sn_page *slab;
	uint64_t room;

	isolate_sparse(cn, &room);
	while (*go_on && (slab = first_isolated(cn)) != NULL) {
		unsigned int live = (unsigned int)slab->nr_objects - slab->nr_free;
		uint64_t before = e->evicted;

		if (live > room) {
			room += slab->nr_free;
			rejoin(cn, slab);
			continue;
		}
		*go_on = ask_slab(e, cn, &sn_caches[index], slab);
		emptied += rejoin(cn, slab);
		room -= sn_min(room, e->evicted - before);
	}
	sn_lock_acquire(&cn->list_lock, SN_RANK_LIST);
	rejoin_all(cn);
	sn_lock_release(&cn->list_lock, SN_RANK_LIST);
	return emptied;
}

/* Frees of the cache's objects of this node go straight to their slabs, and allocations come from
 * there, until the end. */
static void begin_vacating(struct sn_node *node, unsigned int index)
{
	struct sn_cache_node *cn = sn_cache_node(node, index);

	sn_lock_acquire(&cn->list_lock, SN_RANK_LIST);
	sn_counter_add(cn->vacating, 1);
	sn_lock_release(&cn->list_lock, SN_RANK_LIST);
	sn_tables_close_cache(node->index, index);
	for_each_node(here) {
		sn_lock_acquire(&sn_batch_lock, SN_RANK_BATCH);
		sn_alien_drain(here, node->index, index, true);
		sn_lock_release(&sn_batch_lock, SN_RANK_BATCH);
	}
	sn_cache_drain_shared(node, index);
}

static void end_vacating(struct sn_node *node, unsigned int index)
{
	struct sn_cache_node *cn = sn_cache_node(node, index);

	sn_tables_open_cache(node->index, index);
	sn_lock_acquire(&cn->list_lock, SN_RANK_LIST);
	sn_counter_sub(cn->vacating, 1);
	sn_lock_release(&cn->list_lock, SN_RANK_LIST);
}

static bool compact_cache(struct sn_eviction *e, unsigned int index)
{
	unsigned int generation = sn_callback_generation();
	bool go_on = true;

	begin_vacating(e->node, index);
	while (go_on && sn_node_state(e->node) == SN_ONLINE && compact_step(e, index, &go_on) > 0)
		;
	if (sn_callback_generation() != generation)
		return false; /* reclaim forked: this child has undone it */
	end_vacating(e->node, index);
	sn_cache_shrink_node(e->node, index);
	return go_on;
}

/* With one slab in use there is nothing to join.  What waits in stores cannot be told from what
 * lives, so more is not known before they are drained. */
static bool worth_compacting(struct sn_node *node, unsigned int index)
{
	struct sn_cache_node *cn = sn_cache_node(node, index);

	return atomic_load(&sn_caches[index].movable) != NULL &&
	       sn_counter_read(cn->nr_slabs) >= sn_counter_read(cn->nr_free) + 2;
}

void sn_movable_compact(struct sn_eviction *e, unsigned int cache)
{
	unsigned int first = cache == 0 ? SN_NR_CLASSES + 1 : cache;
	unsigned int end = cache == 0 ? sn_cache_end : cache + 1;

	if (sn_in_callback() || sn_node_state(e->node) != SN_ONLINE)
		return;
	for (unsigned int c = first; c < end; c++) {
		bool go_on;

		if (!worth_compacting(e->node, c) || !sn_turn_take_unless(&turn, e->stop, e->arg))
			continue;
		forget_all();
		/* Again: it may have been taken back, or destroyed, while this waited. */
		go_on = atomic_load(&sn_caches[c].movable) == NULL || compact_cache(e, c);
		sn_turn_give(&turn);
		if (!go_on)
			return;
	}
}

/* --- fork -------------------------------------------------------------------------------- */

void sn_movable_fork_child(void)
{
	atomic_store(&turn.word, 0);
	for (unsigned int c = SN_NR_CLASSES + 1; c < sn_cache_end; c++)
		for_each_node(n) {
			struct sn_cache_node *cn = sn_cache_node(sn_nodes[n], c);

			rejoin_all(cn);
			if (cn->vacating == 0)
				continue;
			sn_counter_set(cn->vacating, 0);
			sn_tables_open_cache(n, c);
		}
}
