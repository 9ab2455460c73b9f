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
#include "probe.h"
#include "slab.h"
#include "stats.h"
#include "table.h"

#include <string.h>

#define BATCH	    64
#define ROUNDS	    6
#define PAUSE_NS    1000000 /* after the first round, doubled each time */
#define REMEMBERED  4096    /* a power of two */
#define SPARSE_MAX  64	    /* slabs of one compaction step */
#define ISOLATE_MAX 256	    /* slabs isolated under one hold of the lock */
#define SPARSE_PART 2	    /* sparse: at most one object in so many */

struct sn_movable {
	slabnode_get_fn *get;
	slabnode_reclaim_fn *reclaim;
	void *data;
};

/* Written under turn; of a cache that is movable the pointer is set, and never freed. */
static struct sn_movable *records[SN_MAX_CACHES];
static struct sn_turn turn;
static _Atomic unsigned int compacted; /* index of the node that is being compacted; 0: none */

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
	memset(will_not, 0, sizeof(will_not));
	nr_will_not = 0;
}

int sn_movable_set(unsigned int index, slabnode_get_fn *get, slabnode_reclaim_fn *reclaim,
		   void *data)
{
	struct sn_cache *cache = &sn_caches[index];
	struct sn_movable *record;
	int error = 0;

	if (!SN_HOTPLUG)
		return -ENOTSUP;
	if (index <= SN_NR_CLASSES || index >= sn_cache_end || !sn_cache_in_use(index) ||
	    cache->ctor == NULL || (get == NULL) != (reclaim == NULL))
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

/* A cache that is not movable needs no turn: callbacks may destroy it.  Nobody makes it movable
 * meanwhile, for nobody else may use a cache that is being destroyed. */
bool sn_movable_hold(unsigned int index, bool *movable)
{
	*movable = atomic_load(&sn_caches[index].movable) != NULL;
	if (*movable && sn_in_callback())
		return false;
	if (*movable)
		sn_turn_take(&turn);
	return true;
}

void sn_movable_release(void)
{
	sn_turn_give(&turn);
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
	void *asked[BATCH];
	unsigned int kept = 0;
	uint64_t begin;

	b->token = NULL;
	sn_lock_acquire(&b->cn->list_lock, SN_RANK_LIST);
	begin = sn_now_ns();
	b->count = sn_slab_allocated(b->slab, b->cache, &b->next, b->objects, BATCH);
	for (unsigned int i = 0; i < b->count; i++)
		if (will_not[slot_of(b->objects[i])] == NULL)
			asked[kept++] = b->objects[i];
	b->count = kept;
	memcpy(b->objects, asked, kept * sizeof(*asked));
	if (kept > 0 && sn_fault(SN_FAULT_GET) == 0) {
		sn_callback_enter(&call, SN_CALLBACK_MOVABLE, b->cache->name, e->node->index);
		b->token = movable->get(handle(b->cache), kept, b->objects, movable->data);
		sn_callback_leave(&call);
	}
	/* Whatever else get() may have written there. */
	for (unsigned int i = 0; i < kept; i++)
		if (b->objects[i] != NULL)
			b->objects[i] = asked[i];
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
	sn_lock_check_none_held();
	sn_callback_enter(&call, SN_CALLBACK_MOVABLE, b->cache->name, e->node->index);
	sn_fault(SN_FAULT_RECLAIM);
	movable->reclaim(&request, movable->data);
	if (!sn_callback_leave(&call))
		return false;
	SN_PROBE(evict, e->node->os_number, b->cache->name, b->count);
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

/* What is to be done next. */
enum verdict { GO_ON, STOP, FORKED };

/* Asks all objects of an isolated slab once.  FORKED: the slab may be gone. */
static enum verdict ask_slab(struct sn_eviction *e, struct sn_cache_node *cn,
			     const struct sn_cache *cache, struct sn_page *slab)
{
	struct batch b = {.cn = cn, .cache = cache, .slab = slab};

	while (!stopped(e) && get_batch(e, &b)) {
		if (b.token == NULL) {
			e->later += b.count;
			continue;
		}
		if (!reclaim_batch(e, &b))
			return FORKED;
		count_batch(e, &b);
	}
	return stopped(e) ? STOP : GO_ON;
}

/* --- isolating --------------------------------------------------------------------------- */

/* Returns how many of at most `max`. */
static unsigned int isolate_list(struct sn_cache_node *cn, struct sn_page *const *head,
				 unsigned int max) SN_REQUIRES(&cn->list_lock)
{
	unsigned int n = 0;

	for (; *head != NULL && n < max; n++)
		sn_slab_isolate(cn, *head);
	return n;
}

static void rejoin_all(struct sn_cache_node *cn) SN_REQUIRES(&cn->list_lock)
{
	while (cn->isolated != NULL)
		sn_slab_rejoin(cn, cn->isolated);
}

static void rejoin_all_locked(struct sn_cache_node *cn)
{
	sn_lock_acquire(&cn->list_lock, SN_RANK_LIST);
	rejoin_all(cn);
	sn_lock_release(&cn->list_lock, SN_RANK_LIST);
}

/* The next isolated slab, or NULL, and its objects; it stays isolated. */
static struct sn_page *first_isolated(struct sn_cache_node *cn, unsigned int *live)
{
	struct sn_page *slab;

	sn_lock_acquire(&cn->list_lock, SN_RANK_LIST);
	slab = cn->isolated;
	if (slab != NULL)
		*live = (unsigned int)slab->nr_objects - slab->nr_free;
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

/* Isolates all slabs with objects, some at a time for the sake of those who wait for the lock:
 * nothing is added meanwhile, since the node hands out nothing. */
static void isolate_all(struct sn_eviction *e, struct sn_cache_node *cn)
{
	unsigned int n;

	do {
		sn_lock_acquire(&cn->list_lock, SN_RANK_LIST);
		n = isolate_list(cn, &cn->full, ISOLATE_MAX);
		n += isolate_list(cn, &cn->partial, ISOLATE_MAX - n);
		sn_lock_release(&cn->list_lock, SN_RANK_LIST);
		e->total += n;
	} while (n > 0);
}

/* Asks every object of one cache on the node once. */
static enum verdict evict_cache(struct sn_eviction *e, unsigned int index)
{
	struct sn_cache_node *cn = sn_cache_node(e->node, index);
	enum verdict verdict = GO_ON;
	struct sn_page *slab;
	unsigned int live;

	isolate_all(e, cn);
	while (verdict == GO_ON && (slab = first_isolated(cn, &live)) != NULL) {
		verdict = ask_slab(e, cn, &sn_caches[index], slab);
		if (verdict == FORKED)
			return FORKED;
		rejoin(cn, slab);
		e->done++;
		if (e->progress != NULL)
			e->progress(e->arg, e->done, e->total);
	}
	rejoin_all_locked(cn);
	return verdict;
}

static bool asks(const struct sn_eviction *e, unsigned int index)
{
	return atomic_load(&sn_caches[index].movable) != NULL &&
	       sn_counter_read(sn_cache_node(e->node, index)->nr_out) > 0;
}

static enum verdict evict_round(struct sn_eviction *e)
{
	enum verdict verdict = GO_ON;

	e->later = e->done = e->total = 0;
	for (unsigned int c = SN_NR_CLASSES + 1; c < sn_cache_end && verdict == GO_ON; c++)
		if (asks(e, c))
			verdict = evict_cache(e, c);
	return verdict;
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
	enum verdict verdict = GO_ON;

	if (!any_to_ask(e) || !sn_turn_take_unless(&turn, e->stop, e->arg))
		return;
	forget_all();
	for (int round = 0; round < ROUNDS && verdict == GO_ON; round++) {
		if (round > 0)
			pause_for((int64_t)PAUSE_NS << (round - 1));
		verdict = evict_round(e);
		if (e->later == 0 || memory_full())
			break;
	}
	if (verdict != FORKED)
		sn_turn_give(&turn);
}

/* --- sparse slabs of a node in service --------------------------------------------------- */

/* Isolates sparse slabs.  *room: free objects in those that stay. */
static void isolate_sparse(struct sn_cache_node *cn, uint64_t *room)
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
}

/* *emptied: slabs.  Those for whose objects there is no room elsewhere take others' in. */
static enum verdict compact_step(struct sn_eviction *e, unsigned int index, unsigned int *emptied)
{
	struct sn_cache_node *cn = sn_cache_node(e->node, index);
	enum verdict verdict = GO_ON;
	struct sn_page *slab;
	unsigned int live;
	uint64_t room;

	*emptied = 0;
	isolate_sparse(cn, &room);
	while (verdict == GO_ON && (slab = first_isolated(cn, &live)) != NULL) {
		uint64_t before = e->evicted;

		if (live > room) {
			room += sn_caches[index].slab_objects - live;
			rejoin(cn, slab);
			continue;
		}
		verdict = ask_slab(e, cn, &sn_caches[index], slab);
		if (verdict == FORKED)
			return FORKED;
		*emptied += rejoin(cn, slab);
		room -= sn_min(room, e->evicted - before);
	}
	rejoin_all_locked(cn);
	return verdict;
}

/* Frees of the cache's objects of this node go straight to their slabs, and allocations come from
 * there, until the end.  False: the tables cannot be closed here. */
static bool begin_vacating(struct sn_node *node, unsigned int index)
{
	struct sn_cache_node *cn = sn_cache_node(node, index);

	sn_lock_acquire(&cn->list_lock, SN_RANK_LIST);
	sn_counter_set(cn->vacating, 1);
	sn_lock_release(&cn->list_lock, SN_RANK_LIST);
	if (sn_tables_close_cache(node->index, index) != 0)
		return false;
	for_each_node(here) {
		sn_lock_acquire(&sn_batch_lock, SN_RANK_BATCH);
		sn_alien_drain(here, node->index, index, true);
		sn_lock_release(&sn_batch_lock, SN_RANK_BATCH);
	}
	sn_cache_drain_shared(node, index);
	return true;
}

static void end_vacating(struct sn_node *node, unsigned int index)
{
	struct sn_cache_node *cn = sn_cache_node(node, index);

	sn_tables_open_cache(node->index, index);
	sn_lock_acquire(&cn->list_lock, SN_RANK_LIST);
	sn_counter_set(cn->vacating, 0);
	sn_lock_release(&cn->list_lock, SN_RANK_LIST);
}

static enum verdict compact_cache(struct sn_eviction *e, unsigned int index)
{
	enum verdict verdict = STOP;

	if (begin_vacating(e->node, index)) {
		/* Not for ever, should the program thin out slabs as fast as they are joined. */
		int64_t left = sn_counter_read(sn_cache_node(e->node, index)->nr_slabs);
		unsigned int emptied;

		do {
			verdict = compact_step(e, index, &emptied);
			left -= emptied;
		} while (verdict == GO_ON && emptied > 0 && left > 0 && !memory_full());
	}
	if (verdict == FORKED)
		return FORKED; /* this child has undone it */
	end_vacating(e->node, index);
	sn_cache_shrink_node(e->node, index);
	return verdict;
}

/* With one slab in use there is nothing to join.  What waits in stores cannot be told from what
 * lives, so more is not known before they are drained. */
static bool worth_compacting(struct sn_node *node, unsigned int index)
{
	struct sn_cache_node *cn = sn_cache_node(node, index);

	return atomic_load(&sn_caches[index].movable) != NULL &&
	       sn_counter_read(cn->nr_slabs) >= sn_counter_read(cn->nr_free) + 2;
}

static bool left_service(void *arg)
{
	const struct sn_node *node = arg;

	return atomic_load(&node->usable) == 0;
}

/* A turn for each cache, so that an offline does not wait for all of them. */
static enum verdict compact_in_turn(struct sn_eviction *e, unsigned int index)
{
	enum verdict verdict = GO_ON;

	if (!sn_turn_take_unless(&turn, e->stop, e->arg))
		return STOP;
	forget_all();
	atomic_store(&compacted, e->node->index);
	/* An offline publishes first, then looks at `compacted` (sn_movable_settle()): one of the
	 * two sees the other.  And the cache may have been taken back, or destroyed, meanwhile. */
	if (!stopped(e) && atomic_load(&sn_caches[index].movable) != NULL)
		verdict = compact_cache(e, index);
	if (verdict == FORKED)
		return FORKED;
	atomic_store(&compacted, 0);
	sn_turn_give(&turn);
	return verdict;
}

void sn_movable_compact(struct sn_eviction *e, unsigned int cache)
{
	unsigned int c = cache == 0 ? SN_NR_CLASSES + 1 : cache;
	unsigned int end = cache == 0 ? sn_cache_end : cache + 1;

	e->stop = left_service;
	e->arg = e->node;
	if (sn_in_callback() || stopped(e))
		return;
	for (; c < end; c++)
		if (worth_compacting(e->node, c) && compact_in_turn(e, c) != GO_ON)
			return;
}

bool sn_movable_settle(struct sn_node *node, bool (*stop)(void *arg), void *arg)
{
	if (atomic_load(&compacted) != node->index)
		return true;
	if (!sn_turn_take_unless(&turn, stop, arg))
		return false;
	sn_turn_give(&turn);
	return true;
}

/* --- fork -------------------------------------------------------------------------------- */

/* The caller is the only thread. */
void sn_movable_fork_child(void) SN_NO_THREAD_SAFETY
{
	atomic_store(&turn.word, 0);
	atomic_store(&compacted, 0);
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
