/*
 * alloc.c - the slow paths of malloc and free: what happens when an array is empty or full,
 * when an object belongs to another node, or when there are no arrays at all.
 */
#include "alloc.h"

#include "alien.h"
#include "biased.h"
#include "core.h"
#include "guarded.h"
#include "hardened.h"
#include "large.h"
#include "lifecycle.h"
#include "misuse.h"
#include "probe.h"
#include "sites.h"
#include "slab.h"

#include <string.h>

#define FEW_OBJECTS 16

/* --- allocation -------------------------------------------------------------------------- */

static void *internal_alloc(unsigned int cache)
{
	void *object;

	sn_core_early();
	return sn_cache_refill(sn_nodes[SN_NODE_INTERNAL], cache, &object, 1, false) == 1 ? object
											  : NULL;
}

static void *pop(struct sn_thread *self, unsigned int cache)
{
	if (sn_rseq_enabled)
		return sn_rseq_pop(self->words, cache);
	return sn_locked_pop(self, cache);
}

static unsigned int push_many(struct sn_thread *self, unsigned int cache, void **objects,
			      unsigned int n, unsigned int home)
{
	if (sn_fault(SN_FAULT_TABLE_PUT) != 0)
		return 0;
	if (sn_rseq_enabled)
		return sn_rseq_push_many(self->words, cache, objects, n, &sn_standin[home]);
	return sn_locked_push_many(self, cache, objects, n, home);
}

static unsigned int pop_many(struct sn_thread *self, unsigned int cache, void **objects,
			     unsigned int n)
{
	if (sn_rseq_enabled)
		return sn_rseq_pop_many(self->words, cache, objects, n);
	return sn_locked_pop_many(self, cache, objects, n);
}

/*
 * The table of the thread's CPU, built when it does not exist; how many objects to take: for small
 * sizes a multiple of eight, so that batches cut from a fresh slab end where a cache line does, and
 * two CPUs do not begin with halves of one.
 */
static unsigned int prepare_table(struct sn_thread *self, unsigned int cache)
{
	unsigned int cpu = sn_thread_cpu(self);
	struct sn_table *table = __atomic_load_n(&self->words[cpu], __ATOMIC_ACQUIRE);

	if (sn_unlikely(table == &sn_empty_table)) {
		sn_table_ensure(self->set, cpu);
		table = __atomic_load_n(&self->words[cpu], __ATOMIC_ACQUIRE);
	}
	if (cache > SN_NR_CLASSES)
		sn_table_install(table, cache, self->words);
	return sn_min(sn_max(sn_table_grow(table, cache) / 2, 1u), (unsigned int)SN_BATCH_MAX);
}

/* Takes from the slabs of nodes that are away and lent to `target`. Returns how many, all of
 * one home. */
static unsigned int refill_lent(unsigned int target, unsigned int cache, void **objects,
				unsigned int want)
{
	for_each_node(node) {
		unsigned int n;

		if (node == target || sn_node_standin(node) != target)
			continue;
		n = sn_cache_refill(sn_nodes[node], cache, objects, want, true);
		if (n > 0)
			return n;
	}
	return 0;
}

static void count_placement(unsigned int home, unsigned int from, unsigned int n)
{
	if (home == from) {
		atomic_fetch_add_explicit(&sn_nodes[home]->numa_hit, n, memory_order_relaxed);
	} else {
		atomic_fetch_add_explicit(&sn_nodes[from]->numa_miss, n, memory_order_relaxed);
		atomic_fetch_add_explicit(&sn_nodes[home]->numa_foreign, n, memory_order_relaxed);
	}
}

/* The nearest other node that has something: one object, since no table here takes more. */
static unsigned int refill_fallback(unsigned int home, unsigned int cache, void **objects)
{
	for_each_in_order(node, sn_nodes[home]->fallback)
		if (sn_cache_refill(sn_nodes[node], cache, objects, 1, false) == 1)
			return 1;
	return 0;
}

/* No node had anything: what is free anywhere goes back, address space included, since one node's
 * empty ranges may be what another lacks. */
static SN_COLD void reclaim_everywhere(void)
{
	struct sn_drain_result drained;

	/* Cached objects, too: one of them keeps a whole segment from being of use elsewhere. */
	sn_drain(SN_NODE_NONE, false, &drained);
	SN_PROBE(short_of_memory, drained.drained_objects, drained.released_bytes);
	for (unsigned int n = SN_NODE_INTERNAL; n < sn_node_end; n++) {
		sn_make_room(sn_nodes[n]);
		sn_ranges_trim(sn_nodes[n]);
	}
}

/* Objects from the node the thread should get memory of, else from any other.  Returns how many,
 * 0 only when no node had any. */
static unsigned int refill_any(unsigned int home, unsigned int cache, void **objects,
			       unsigned int want)
{
	for (bool reclaimed = false;;) {
		uint32_t seq = sn_node_usable_seq();
		unsigned int target = sn_node_target(home), n = 0;

		if (target != SN_NODE_NONE) {
			n = refill_lent(target, cache, objects, want);
			if (n == 0)
				n = sn_cache_refill(sn_nodes[target], cache, objects, want, false);
		}
		if (n == 0)
			n = refill_fallback(home, cache, objects);
		if (n > 0)
			return n;
		if (sn_node_usable_seq() != seq)
			continue;
		if (reclaimed)
			return 0;
		/* Then once more, also when nothing was found: what refused may not now. */
		reclaim_everywhere();
		reclaimed = true;
	}
}

/*
 * An array hands out first what was put there last.  Neighbours come from their slab in ascending
 * order, and are handed out like that, so that what a program allocates in a row lies in a row:
 * processors prefetch that way.  Not so the first few of a size, which may be meant for different
 * threads: those that follow each other should not share a cache line.
 */
static void order_batch(void **objects, unsigned int n)
{
	if (n <= FEW_OBJECTS)
		return;
	for (unsigned int i = 1, j = n - 1; i < j; i++, j--) {
		void *object = objects[i];

		objects[i] = objects[j];
		objects[j] = object;
	}
}

static void *refill(struct sn_thread *self, unsigned int cache)
{
	unsigned int want = prepare_table(self, cache), home = sn_thread_home(self);
	void *objects[SN_BATCH_MAX];
	unsigned int n = refill_any(home, cache, objects, want), from, pushed;

	if (n == 0)
		return NULL;
	from = sn_segmap_entry(objects[0]);
	count_placement(home, from, n);
	SN_PROBE(refill, sn_nodes[home]->os_number, sn_nodes[from]->os_number,
		 sn_caches[cache].name, n);
	if (n > 1) {
		order_batch(objects, n);
		pushed = push_many(self, cache, objects + 1, n - 1, from);
		if (pushed < n - 1)
			sn_cache_flush(sn_nodes[from], cache, objects + 1 + pushed, n - 1 - pushed);
	}
	return objects[0];
}

/* Hardened: one object from a slab, past every store, or one with pages of its own. */
static SN_COLD void *direct_alloc(struct sn_thread *self, unsigned int cache)
{
	unsigned int home = sn_thread_home(self);
	void *object = sn_guarded_alloc(home, cache);

	if (object == NULL) {
		if (refill_any(home, sn_hardened_cache(cache), &object, 1) == 0)
			return NULL;
		sn_hardened_taken(object, sn_hardened_cache(cache));
	}
	count_placement(home, sn_segmap_entry(object), 1);
	if (sn_slow_hook != NULL)
		sn_slow_hook(sn_caches[cache].size);
	return object;
}

static void *alloc_slow(unsigned int cache)
{
	struct sn_thread *self = &sn_self;
	void *object;

	if (sn_unlikely(self->internal > 0 || (!self->ready && !sn_thread_setup(self))))
		return internal_alloc(cache);
	if (sn_unlikely(sn_hardened > 0))
		return direct_alloc(self, cache);
	object = pop(self, cache); /* the sequence may only have been aborted */
	if (object != NULL)
		return object;
	object = refill(self, cache);
	if (sn_slow_hook != NULL)
		sn_slow_hook((size_t)sn_caches[cache].size * sn_caches[cache].array_limit / 2);
	return object;
}

/* Of a cache that was destroyed everything is drained, so whoever still allocates from it comes
 * here, until its place is another cache's. */
static bool cache_is_gone(unsigned int cache)
{
	if (sn_likely(cache <= SN_NR_CLASSES || sn_cache_in_use(cache)))
		return false;
	errno = EINVAL;
	return true;
}

static SN_NOINLINE void *alloc_or_errno(unsigned int cache)
{
	void *p;

	if (cache_is_gone(cache))
		return NULL;
	p = alloc_slow(cache);
	if (sn_unlikely(p == NULL))
		errno = ENOMEM;
	else if (sn_unlikely(sn_sites_on))
		sn_sites_alloc(p, sn_caches[cache].size);
	return p;
}

SN_NOINLINE void *sn_alloc_slow(unsigned int cache)
{
	void *p = sn_biased_pop(&sn_self, cache);

	return sn_likely(p != NULL) ? p : alloc_or_errno(cache);
}

/* Sizes above SN_SMALL_MAX, and all of a thread whose gates are shut. */
SN_NOINLINE void *sn_malloc_beyond(size_t size)
{
	if (sn_likely(size <= SN_CLASS_MAX))
		return sn_alloc_cache(sn_size_class(size));
	return sn_alloc_large(size, SN_PAGE_SIZE, false);
}

static void *large_once(unsigned int home, size_t size, size_t align, bool zero)
{
	void *p = sn_large_alloc(sn_nodes[home], size, align, zero);

	if (p != NULL)
		return p;
	for_each_in_order(node, sn_nodes[home]->fallback) {
		p = sn_large_alloc(sn_nodes[node], size, align, zero);
		if (p != NULL)
			return p;
	}
	return NULL;
}

static void *large_any(unsigned int home, size_t size, size_t align, bool zero)
{
	for (bool reclaimed = false;;) {
		uint32_t seq = sn_node_usable_seq();
		void *p = large_once(home, size, align, zero);

		if (p != NULL)
			return p;
		if (sn_node_usable_seq() != seq)
			continue;
		if (reclaimed)
			return NULL;
		/* Then once more, also when nothing was found: what refused may not now. */
		reclaim_everywhere();
		reclaimed = true;
	}
}

static void *alloc_large(size_t size, size_t align, bool zero)
{
	struct sn_thread *self = &sn_self;
	unsigned int home;
	void *p;

	if (size > PTRDIFF_MAX - SN_SEG_SIZE || align > PTRDIFF_MAX / 2)
		return NULL;
	if (self->internal > 0 || !sn_thread_setup(self)) {
		sn_core_early();
		return sn_large_alloc(sn_nodes[SN_NODE_INTERNAL], size, align, zero);
	}
	home = sn_thread_home(self);
	p = large_any(home, size, align, zero);
	if (p != NULL)
		count_placement(home, sn_home_of(p), 1);
	if (sn_slow_hook != NULL)
		sn_slow_hook(size);
	return p;
}

static void sample_large(void *p, size_t size)
{
	if (sn_unlikely(sn_sites_on) && p != NULL)
		sn_sites_alloc(p, sn_pages_for(sn_max(size, (size_t)1)) << SN_PAGE_SHIFT);
}

SN_NOINLINE void *sn_alloc_large(size_t size, size_t align, bool zero)
{
	void *p = alloc_large(size, align, zero);

	sample_large(p, size);
	if (sn_unlikely(p == NULL))
		errno = ENOMEM;
	return p;
}

void *sn_malloc_node(size_t size, unsigned int node)
{
	void *p = NULL;

	if (!sn_node_usable(sn_nodes[node])) {
		errno = EBUSY;
		return NULL;
	}
	if (size > SN_CLASS_MAX)
		p = size > PTRDIFF_MAX - SN_SEG_SIZE
			    ? NULL
			    : sn_large_alloc(sn_nodes[node], size, SN_PAGE_SIZE, false);
	else
		return sn_alloc_cache_node(sn_size_class(size), node);
	if (p == NULL)
		errno = sn_node_usable(sn_nodes[node]) ? ENOMEM : EBUSY;
	sample_large(p, size);
	return p;
}

void *sn_alloc_cache_node(unsigned int cache, unsigned int node)
{
	void *object = NULL;

	if (cache_is_gone(cache))
		return NULL;
	cache = sn_hardened_cache(cache);
	for (;;) {
		uint32_t seq = sn_node_usable_seq();

		if (sn_cache_refill(sn_nodes[node], cache, &object, 1, false) == 1)
			break;
		/* It may have been away only for that moment. */
		if (sn_node_usable_seq() != seq)
			continue;
		errno = sn_node_usable(sn_nodes[node]) ? ENOMEM : EBUSY;
		return NULL;
	}
	if (sn_unlikely(sn_hardened > 0))
		sn_hardened_taken(object, cache);
	if (sn_unlikely(sn_sites_on))
		sn_sites_alloc(object, sn_caches[cache].size);
	return object;
}

/* --- free -------------------------------------------------------------------------------- */

/* The thread's array is full: half of it goes to the stores of the objects' homes. */
static bool make_room(struct sn_thread *self, unsigned int cache)
{
	void *objects[SN_BATCH_MAX];
	unsigned int want = sn_min(sn_caches[cache].array_limit / 2u + 1, (unsigned)SN_BATCH_MAX);
	unsigned int n = pop_many(self, cache, objects, want);

	sn_cache_give_back(cache, objects, n, false);
	return n > 0;
}

/* Whether the tables that the thread uses now take objects of `home`.  A CPU whose threads only
 * free gets its table here. */
static bool accepted_here(const struct sn_thread *self, unsigned int home)
{
	unsigned int cpu = sn_thread_cpu(self), target;
	const struct sn_table *table = __atomic_load_n(&self->words[cpu], __ATOMIC_ACQUIRE);

	if (sn_unlikely(table == &sn_empty_table) && cpu < sn_nr_cpus) {
		target = sn_node_target(sn_set_home(self->set, cpu));
		if (target != SN_NODE_NONE && sn_table_at(target, cpu) == NULL)
			sn_table_ensure(self->set, cpu);
		table = __atomic_load_n(&self->words[cpu], __ATOMIC_ACQUIRE);
	}
	return table->node == sn_node_standin(home);
}

static void free_object(struct sn_thread *self, void *p, unsigned int home, unsigned int cache)
{
	struct sn_node *node = sn_nodes[home];
	unsigned int here;

	if (sn_unlikely(sn_hardened > 0)) {
		sn_cache_free_checked(node, cache, p);
		return;
	}
	if (home != SN_NODE_INTERNAL && self->internal == 0 && sn_thread_setup(self)) {
		if (push_many(self, cache, &p, 1, home) == 1)
			return;
		if (accepted_here(self, home)) {
			sn_table_grow(__atomic_load_n(&self->words[sn_thread_cpu(self)],
						      __ATOMIC_ACQUIRE),
				      cache);
			if (push_many(self, cache, &p, 1, home) == 1)
				return;
			if (make_room(self, cache) && push_many(self, cache, &p, 1, home) == 1)
				return;
		}
		here = sn_node_target(sn_thread_home(self));
		if (sn_alien_enabled && here != home && here != SN_NODE_NONE &&
		    sn_alien_put(here, home, cache, p))
			return;
	}
	sn_cache_flush(node, cache, &p, 1);
}

static SN_NOINLINE void free_any(void *p)
{
	unsigned int home, cache;

	if (p == NULL || sn_unlikely(sn_ending()))
		return;
	home = sn_segmap_entry(p);
	if (sn_unlikely(home == SN_NODE_NONE))
		sn_misuse("free", p);
	if (sn_unlikely(sn_sites_on))
		sn_sites_free(p);
	cache = sn_cache_of(p, home);
	if (cache != 0)
		free_object(&sn_self, p, home, cache);
	else
		sn_large_free(p);
}

SN_NOINLINE void sn_free_slow(void *p)
{
	unsigned int home = sn_segmap_entry(p), cache;

	if (sn_self.own != NULL && home != SN_NODE_NONE && home < SN_SEG_CONTINUED) {
		cache = sn_counter_read(sn_segment_of(p)->page_cache[sn_page_number(p)]);
		if (sn_likely(cache != 0) && sn_likely(sn_biased_push(&sn_self, cache, p, home)))
			return;
	}
	free_any(p);
}

/* The usable size of an object or block, which is looked up from level 1 on. */
static size_t live_size(const char *call, const void *p)
{
	unsigned int home = sn_segmap_entry(p), cache;

	if (sn_unlikely(home == SN_NODE_NONE))
		sn_misuse(call, p);
	cache = sn_cache_of(p, home);
	if (cache == 0)
		return sn_large_size(call, p);
	if (sn_unlikely(sn_hardened > 0))
		sn_hardened_check(call, p, home, cache);
	return sn_caches[cache].size;
}

SN_NOINLINE void sn_free_new_slow(const char *call, void *p, size_t size, size_t align)
{
	if (sn_unlikely(sn_hardened > 0) && p != NULL)
		sn_hardened_check_new(call, p, live_size("free", p), size, align);
	sn_free_slow(p);
}

SN_NOINLINE void sn_free_aligned_slow(void *p, size_t align)
{
	if (sn_unlikely(sn_hardened > 0) && p != NULL) {
		live_size("free", p);
		sn_hardened_check_align("delete", p, align);
	}
	sn_free_slow(p);
}

SN_NOINLINE void sn_free_sized_slow(void *p, size_t size)
{
	if (sn_unlikely(sn_hardened > 0) && p != NULL)
		sn_hardened_check_fit("free_sized", p, live_size("free", p), size);
	sn_free_slow(p);
}

SN_NOINLINE void sn_free_cached_slow(void *p, unsigned int cache)
{
	if (sn_unlikely(sn_hardened > 0) && p != NULL) {
		live_size("free", p);
		if (sn_cache_of(p, sn_segmap_entry(p)) != cache)
			sn_fatal_call("slabnode_cache_free", "of an object of another cache", p, p);
	}
	sn_free_slow(p);
}

/* --- the rest of the family -------------------------------------------------------------- */

SN_NOINLINE void *sn_calloc_slow(size_t size)
{
	void *p;

	if (size > SN_CLASS_MAX)
		return sn_alloc_large(size, SN_PAGE_SIZE, true);
	p = sn_alloc_cache(sn_size_class(size));
	return p != NULL ? memset(p, 0, size) : NULL;
}

unsigned int sn_home_of(const void *p)
{
	return sn_segmap_entry(p) & ~SN_SEG_CONTINUED;
}

size_t sn_usable_size(const void *p)
{
	return p == NULL ? 0 : live_size("malloc_usable_size", p);
}

/* A block that stays keeps its sample, one that has moved is a new allocation. */
static SN_COLD void *resize_sampled(void *p, size_t have, size_t size)
{
	struct sn_sample sample = sn_sites_take(p);
	void *q = sn_large_resize(p, have, size);

	if (q == NULL)
		sn_sites_put_back(p, have, sample);
	else if (q == p)
		sn_sites_put_back(p, sn_large_size("realloc", p), sample);
	else
		sample_large(q, size);
	return q;
}

SN_NOINLINE void *sn_realloc_slow(void *p, size_t size)
{
	size_t have = live_size("realloc", p);
	void *q;

	if (sn_fits_in_place(have, size))
		return p;
	if (have > SN_CLASS_MAX && size > SN_CLASS_MAX && !sn_ending()) {
		q = sn_unlikely(sn_sites_on) ? resize_sampled(p, have, size)
					     : sn_large_resize(p, have, size);
		if (q != NULL)
			return q;
	}
	q = sn_malloc(size);
	if (q == NULL)
		return size <= have ? p : NULL;
	memcpy(q, p, sn_min(have, size));
	sn_free(p);
	return q;
}

void sn_realloc_none(void *p)
{
	live_size("realloc", p);
	sn_free(p);
}

void *sn_memalign(size_t align, size_t size)
{
	if (size <= SN_CLASS_MAX && align <= SN_PAGE_SIZE)
		return sn_malloc(sn_aligned_size(align, size));
	return sn_alloc_large(size, sn_max(align, SN_PAGE_SIZE), false);
}
