/*
 * cache.c - between slabs and everything above them: refill, flush, and the shared store.
 *
 * The grace period of an offline closes the stores here by taking each list_lock once after
 * the node's state changed (drain.c).  Therefore everything here that puts an object into the
 * shared store, or takes objects out of the node for use, reads the node's state again under
 * list_lock:
 *
 *	thread				offline
 *	reads ONLINE
 *					publishes GOING_OFFLINE
 *					takes and drops list_lock
 *					drains shared: empty
 *	takes list_lock
 *	puts the object into shared	<- lost until online, were the state not read here
 */
#include "cache.h"

#include "alien.h"
#include "fault.h"
#include "hardened.h"
#include "meta.h"
#include "movable.h"
#include "pages.h"
#include "probe.h"
#include "quarantine.h"
#include "slab.h"
#include "table.h"

#include <string.h>

/* Empty slabs that (cache, node) keeps, so that a program at a boundary does not build and
 * destroy one again and again. */
#define FREE_SLABS_KEPT 1
#define PUT_AHEAD	8 /* objects, that put_slabs() looks ahead */

struct sn_cache sn_caches[SN_MAX_CACHES];
_Atomic unsigned int sn_cache_end;
bool sn_alien_enabled = true;

/* Slabs that became empty under the lock, to be destroyed after it is dropped. */
struct empty_slabs {
	struct sn_page *first;
};

static void mark_active(struct sn_cache_node *cn) SN_REQUIRES(&cn->list_lock)
{
	if (sn_unlikely(!cn->active))
		sn_counter_set(cn->active, 1);
}

static void collect_empty(struct sn_cache_node *cn, struct empty_slabs *empty, uint32_t keep)
	SN_REQUIRES(&cn->list_lock)
{
	while (cn->nr_free > keep) {
		struct sn_page *slab = cn->free;

		sn_slab_unlist(cn, slab);
		sn_counter_sub(cn->nr_slabs, 1);
		sn_counter_sub(cn->nr_objects, slab->nr_objects);
		slab->next = empty->first;
		empty->first = slab;
	}
}

static size_t destroy_empty(struct empty_slabs *empty)
{
	size_t bytes = 0;

	while (empty->first != NULL) {
		struct sn_page *slab = empty->first;

		empty->first = slab->next;
		bytes += (size_t)slab->npages << SN_PAGE_SHIFT;
		sn_slab_destroy(slab);
	}
	return bytes;
}

/* Objects from the shared store, then from slabs that exist. */
static unsigned int take_locked(struct sn_cache_node *cn, const struct sn_cache *cache,
				void **objects, unsigned int want) SN_REQUIRES(&cn->list_lock)
{
	struct sn_array *shared = cn->shared;
	unsigned int n = 0;

	/* What waits there from level 2 on is in quarantine. */
	if (shared != NULL && shared->avail > 0 && sn_hardened < 2) {
		n = sn_min(want, shared->avail);
		sn_counter_sub(shared->avail, n);
		memcpy(objects, &shared->entry[shared->avail], n * sizeof(*objects));
	}
	while (n < want) {
		struct sn_page *slab = cn->partial != NULL ? cn->partial : cn->free;
		unsigned int got;

		if (slab == NULL)
			break;
		got = sn_slab_take(slab, cache, objects + n, want - n);
		sn_counter_add(cn->nr_out, got);
		n += got;
		sn_slab_relist(cn, slab);
	}
	return n;
}

static bool may_take(const struct sn_node *node, bool lent)
{
	return lent ? sn_node_state(node) == SN_OFFLINE
		    : node->index == SN_NODE_INTERNAL || sn_node_usable(node);
}

unsigned int sn_cache_refill(struct sn_node *node, unsigned int index, void **objects,
			     unsigned int want, bool lent)
{
	const struct sn_cache *cache = &sn_caches[index];
	struct sn_cache_node *cn = sn_cache_node(node, index);
	struct sn_page *fresh = NULL;
	bool built = false;
	unsigned int n = 0;

	if (lent && sn_counter_read(cn->partial) == NULL && sn_counter_read(cn->free) == NULL)
		return 0;
	for (;;) {
		sn_lock_acquire(&cn->list_lock, SN_RANK_LIST);
		mark_active(cn);
		if (may_take(node, lent)) {
			if (fresh != NULL) {
				sn_counter_add(cn->nr_slabs, 1);
				sn_counter_add(cn->nr_objects, fresh->nr_objects);
				sn_slab_relist(cn, fresh);
				fresh = NULL;
			}
			n = take_locked(cn, cache, objects, want);
		}
		sn_lock_release(&cn->list_lock, SN_RANK_LIST);
		if (fresh != NULL) { /* the node left while the slab was being built */
			sn_slab_destroy(fresh);
			sn_run_settled(node);
			return 0;
		}
		if (built)
			sn_run_settled(node);
		built = false;
		if (n > 0 || lent || !may_take(node, lent))
			return n;
		/* Twice: the system may be short of something for a moment. */
		fresh = sn_slab_build(node, cache);
		if (fresh == NULL)
			fresh = sn_slab_build(node, cache);
		if (fresh == NULL)
			return 0;
		built = true;
	}
}

/* Objects that were allocated together are often freed together: neighbours of one slab have the
 * look at its lists in common, and the descriptors of the next are fetched meanwhile. */
static void put_slabs(struct sn_cache_node *cn, const struct sn_cache *cache, void **objects,
		      unsigned int n) SN_REQUIRES(&cn->list_lock)
{
	for (unsigned int i = 0; i < n;) {
		struct sn_page *slab = sn_slab_head(objects[i]);
		uintptr_t begin = (uintptr_t)sn_page_address(slab);
		size_t len = (size_t)slab->npages << SN_PAGE_SHIFT;

		do {
			if (i + PUT_AHEAD < n)
				__builtin_prefetch(sn_page_of(objects[i + PUT_AHEAD]), 1);
			sn_slab_put(slab, cache, objects[i++]);
		} while (i < n && (uintptr_t)objects[i] - begin < len);
		sn_slab_relist(cn, slab);
	}
	sn_counter_sub(cn->nr_out, n);
}

/* The shared store, built on first use; NULL when there is no memory for it. */
static struct sn_array *shared_of(struct sn_cache_node *cn, const struct sn_cache *cache)
	SN_REQUIRES(&cn->list_lock)
{
	if (cn->shared == NULL && sn_fault(SN_FAULT_SHARED) == 0) {
		size_t size = sizeof(struct sn_array) + cache->shared_limit * sizeof(void *);
		struct sn_array *shared = sn_meta_alloc(size, _Alignof(struct sn_array));

		if (shared != NULL)
			shared->limit = cache->shared_limit;
		__atomic_store_n(&cn->shared, shared, __ATOMIC_RELEASE);
	}
	return cn->shared;
}

static void put_objects(struct sn_node *node, unsigned int index, void **objects, unsigned int n,
			bool to_shared)
{
	const struct sn_cache *cache = &sn_caches[index];
	struct sn_cache_node *cn = sn_cache_node(node, index);
	struct empty_slabs empty = {NULL};
	unsigned int kept = 0;
	bool online;

	sn_lock_acquire(&cn->list_lock, SN_RANK_LIST);
	mark_active(cn);
	online = sn_node_in_service(node);
	if (to_shared && online && !(SN_HOTPLUG && cn->vacating) &&
	    sn_fault(SN_FAULT_SHARED_PUT) == 0) {
		struct sn_array *shared = shared_of(cn, cache);

		if (shared != NULL) {
			kept = sn_min(n, shared->limit - shared->avail);
			memcpy(&shared->entry[shared->avail], objects, kept * sizeof(*objects));
			sn_counter_add(shared->avail, kept);
		}
	}
	put_slabs(cn, cache, objects + kept, n - kept);
	collect_empty(cn, &empty, online ? FREE_SLABS_KEPT : 0);
	sn_lock_release(&cn->list_lock, SN_RANK_LIST);
	SN_PROBE(flush, node->os_number, cache->name, n, kept);
	destroy_empty(&empty);
	if (sn_unlikely(!online))
		sn_node_freed(node);
}

/* Where an object waits when it is freed from level 2 on; else it goes straight to its slab. */
static bool has_quarantine(const struct sn_node *node, const struct sn_cache_node *cn)
	SN_REQUIRES(&cn->list_lock)
{
	return sn_hardened > 1 && node->index != SN_NODE_INTERNAL && sn_node_in_service(node) &&
	       !(SN_HOTPLUG && cn->vacating);
}

void sn_cache_free_checked(struct sn_node *node, unsigned int index, void *p)
{
	const struct sn_cache *cache = &sn_caches[index];
	struct sn_cache_node *cn = sn_cache_node(node, index);
	struct empty_slabs empty = {NULL};
	bool online;

	sn_lock_acquire(&cn->list_lock, SN_RANK_LIST);
	mark_active(cn);
	online = sn_node_in_service(node);
	sn_slab_check("free", p, node->index, index);
	if (sn_hardened > 1 && cache->ctor == NULL) /* constructed objects keep their contents */
		memset(p, 0, cache->size);
	if (has_quarantine(node, cn) && shared_of(cn, cache) != NULL)
		p = sn_quarantine_object(cn, cache, p);
	if (p != NULL) {
		put_slabs(cn, cache, &p, 1);
		collect_empty(cn, &empty, online ? FREE_SLABS_KEPT : 0);
	}
	sn_lock_release(&cn->list_lock, SN_RANK_LIST);
	destroy_empty(&empty);
	if (sn_unlikely(!online))
		sn_node_freed(node);
}

void sn_cache_flush(struct sn_node *node, unsigned int cache, void **objects, unsigned int n)
{
	put_objects(node, cache, objects, n, true);
}

void sn_cache_free_block(struct sn_node *node, unsigned int cache, void **objects, unsigned int n)
{
	put_objects(node, cache, objects, n, false);
}

void sn_cache_give_back(unsigned int cache, void **objects, unsigned int n, bool to_slabs)
{
	for (unsigned int i = 0, end; i < n; i = end) {
		unsigned int home = sn_segmap_entry(objects[i]);

		for (end = i + 1; end < n && sn_segmap_entry(objects[end]) == home; end++)
			;
		put_objects(sn_nodes[home], cache, objects + i, end - i, !to_slabs);
	}
}

unsigned int sn_cache_drain_shared(struct sn_node *node, unsigned int index)
{
	struct sn_cache_node *cn = sn_cache_node(node, index);
	void *batch[SN_BATCH_MAX];
	unsigned int total = 0, n;

	do {
		struct empty_slabs empty = {NULL};

		n = 0;
		sn_lock_acquire(&cn->list_lock, SN_RANK_LIST);
		if (cn->shared != NULL && cn->shared->avail > 0) {
			n = sn_min(cn->shared->avail, (uint32_t)SN_BATCH_MAX);
			sn_counter_sub(cn->shared->avail, n);
			memcpy(batch, &cn->shared->entry[cn->shared->avail], n * sizeof(*batch));
			sn_quarantine_leave(&sn_caches[index], batch, n);
			put_slabs(cn, &sn_caches[index], batch, n);
			collect_empty(cn, &empty, FREE_SLABS_KEPT);
		}
		sn_lock_release(&cn->list_lock, SN_RANK_LIST);
		destroy_empty(&empty);
		total += n;
	} while (n > 0);
	return total;
}

size_t sn_cache_shrink_node(struct sn_node *node, unsigned int index)
{
	struct sn_cache_node *cn = sn_cache_node(node, index);
	struct empty_slabs empty = {NULL};

	sn_lock_acquire(&cn->list_lock, SN_RANK_LIST);
	collect_empty(cn, &empty, 0);
	sn_lock_release(&cn->list_lock, SN_RANK_LIST);
	return destroy_empty(&empty);
}

struct sn_page *sn_slab_of(const void *p)
{
	unsigned int entry = sn_segmap_entry(p);
	size_t number = sn_page_number(p);

	if (entry == SN_NODE_NONE || entry & SN_SEG_CONTINUED || number < SN_HEADER_PAGES)
		return NULL;
	return sn_segment_of(p)->page_cache[number] == 0 ? NULL : sn_slab_head(p);
}

/* Slab length: 16, 32 or 64 KiB by object size (docs/study.md), stretched while more than one
 * part in sixteen would be wasted. */
static void choose_slab(struct sn_cache *cache)
{
	const size_t most = 32;
	size_t pages = cache->size <= 1024 ? 4 : cache->size <= 4096 ? 8 : 16;

	for (; pages < most; pages++) {
		size_t bytes = pages << SN_PAGE_SHIFT;

		if (bytes % cache->size * 16 <= bytes)
			break;
	}
	cache->slab_pages = (uint16_t)pages;
	cache->slab_objects = (uint16_t)((pages << SN_PAGE_SHIFT) / cache->size);
}

/* Entries of an array cache, by object size, some 60 KiB worth of small ones: a table whose arrays
 * are all full holds 2.9 MiB. */
static uint16_t choose_limit(size_t size)
{
	static const struct {
		uint16_t size, limit;
	} limits[] = {{64, SN_ARRAY_MAX}, {128, 480}, {256, 240}, {512, 128},
		      {1024, 64},	  {4096, 32}, {16384, 12}};

	for (size_t i = 0; i < SN_ARRAY_SIZE(limits); i++)
		if (size <= limits[i].size)
			return limits[i].limit;
	return 6;
}

/* Entries of the shared store: eight arrays' worth, fewer where objects are large or very many. */
static uint16_t choose_shared(size_t size, unsigned int array_limit)
{
	unsigned int arrays = size <= 1024 ? 8 : size <= 4096 ? 4 : 2;

	return (uint16_t)sn_min(arrays * array_limit, (unsigned int)SN_STORE_MAX);
}

static void cache_init(unsigned int index, size_t size, size_t align, void (*ctor)(void *))
	SN_REQUIRES(&sn_lifecycle_lock)
{
	struct sn_cache *cache = &sn_caches[index];

	cache->index = (uint8_t)index;
	cache->size = (uint32_t)size;
	cache->align = (uint16_t)align;
	cache->ctor = ctor;
	atomic_store(&cache->movable, NULL);
	cache->reciprocal = (((uint64_t)1 << 40) + size - 1) / size;
	choose_slab(cache);
	cache->array_limit = choose_limit(size);
	cache->shared_limit = choose_shared(size, cache->array_limit);
	sn_counter_set(cache->in_use, 1);
}

/* snprintf is not for start-up: it can take locks of libc's. */
static void name_class(char *name, size_t size)
{
	char digits[8];
	size_t i = sizeof(digits);

	do {
		digits[--i] = (char)('0' + size % 10);
		size /= 10;
	} while (size != 0);
	memcpy(name, "malloc-", 7);
	memcpy(name + 7, digits + i, sizeof(digits) - i);
}

/* Start-up: single-threaded. */
void sn_caches_init(void) SN_NO_THREAD_SAFETY
{
	for (unsigned int i = 1; i <= SN_NR_CLASSES; i++) {
		cache_init(i, sn_class_size[i], 16, NULL);
		name_class(sn_caches[i].name, sn_class_size[i]);
	}
	sn_cache_end = SN_NR_CLASSES + 1;
}

int sn_cache_create(const char *name, size_t size, size_t align, void (*ctor)(void *))
{
	unsigned int index;
	int error;

	if (align == 0)
		align = 16;
	if (size == 0 || size > SN_CLASS_MAX || (align & (align - 1)) != 0 || align > SN_PAGE_SIZE)
		return -EINVAL;
	size = sn_align_up(size, sn_max(align, (size_t)(sn_hardened > 1 ? 32 : 16)));
	if (size > SN_CLASS_MAX)
		return -EINVAL;
	error = sn_fault(SN_FAULT_CACHE_CREATE);
	if (error != 0)
		return error;
	sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	for (index = SN_NR_CLASSES + 1; index < SN_MAX_CACHES; index++)
		if (!sn_caches[index].in_use)
			break;
	if (index < SN_MAX_CACHES) {
		strncpy(sn_caches[index].name, name, sizeof(sn_caches[index].name) - 1);
		cache_init(index, size, align, ctor);
		if (index >= sn_cache_end)
			sn_cache_end = index + 1;
	}
	sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	return index < SN_MAX_CACHES ? (int)index : -ENOSPC;
}

/* Every store of every node gives the cache's objects back to their slabs. */
static void cache_drain_all(unsigned int index)
{
	sn_tables_drain_cache(index);
	for_each_node(here)
		for_each_node(home) {
			sn_lock_acquire(&sn_batch_lock, SN_RANK_BATCH);
			sn_alien_drain(here, home, index, true);
			sn_lock_release(&sn_batch_lock, SN_RANK_BATCH);
		}
	/* The internal node, too: it serves threads that have no tables (yet). */
	for (unsigned int n = SN_NODE_INTERNAL; n < sn_node_end; n++) {
		sn_cache_drain_shared(sn_nodes[n], index);
		sn_cache_shrink_node(sn_nodes[n], index);
	}
}

uint64_t sn_cache_shrink(unsigned int index)
{
	uint64_t before = 0, after = 0;

	for_each_node(n)
		before += sn_counter_read(sn_cache_node(sn_nodes[n], index)->nr_slabs);
	for_each_node(n) {
		struct sn_eviction e = {.node = sn_nodes[n], .target = n};

		sn_movable_compact(&e, index);
	}
	cache_drain_all(index);
	for_each_node(n)
		after += sn_counter_read(sn_cache_node(sn_nodes[n], index)->nr_slabs);
	return before > after ? (before - after) * sn_caches[index].slab_pages << SN_PAGE_SHIFT : 0;
}

/* 0 when nothing of the cache is left, -EBUSY when objects are out, -EAGAIN when somebody (the
 * reaper) still has some in hand. */
static int cache_left(unsigned int index) SN_REQUIRES(&sn_lifecycle_lock)
{
	bool slabs = false;

	for (unsigned int n = SN_NODE_INTERNAL; n < sn_node_end; n++) {
		struct sn_cache_node *cn = sn_cache_node(sn_nodes[n], index);

		if (__atomic_load_n(&cn->nr_out, __ATOMIC_RELAXED) != 0)
			return -EBUSY;
		slabs |= __atomic_load_n(&cn->nr_slabs, __ATOMIC_RELAXED) != 0;
	}
	return slabs ? -EAGAIN : 0;
}

int sn_cache_destroy(unsigned int index)
{
	int error = sn_fault(SN_FAULT_CACHE_DESTROY);
	bool movable;

	if (error != 0)
		return error;
	if (!sn_movable_hold(index, &movable))
		return -EDEADLK;
	error = -EAGAIN;
	/* An index is used again only when no slab of the old geometry is left. */
	for (int tries = 0; tries < 100 && error == -EAGAIN; tries++) {
		cache_drain_all(index);
		sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
		error = sn_caches[index].in_use ? cache_left(index) : -EINVAL;
		if (error == 0) {
			atomic_store(&sn_caches[index].movable, NULL);
			sn_counter_set(sn_caches[index].in_use, 0);
		}
		sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	}
	if (movable)
		sn_movable_release();
	return error == -EAGAIN ? -EBUSY : error;
}
