/*
 * cache.h - object caches: the slabs of one object size, kept per node.
 *
 * A cache index names a cache (1 to SN_NR_CLASSES are malloc's); (cache, node) has a struct
 * sn_cache_node with the slab lists, the shared store and the alien caches.  All sn_cache_node
 * of a node stand in one zero-filled array, built with the node: zero is a valid empty one, so
 * creating a cache or a node can never find one missing (the kernel's create-against-online
 * race, 03afc0e25f7f, has no place to happen).
 *
 *	struct sn_cache_node
 *	  shared    an array of free objects of this node, any CPU's
 *	  alien[h]  free objects of node h, freed by threads whose home is this node
 *	  partial, full, free	slabs (lists of struct sn_page)
 */
#ifndef SLABNODE_CACHE_H
#define SLABNODE_CACHE_H

#include "segment.h"
#include "sizes.h"

/* The most objects that pass between an array cache and a store at once. */
#define SN_BATCH_MAX 128

/* The most entries of an array cache, and of any store of a cache. */
#define SN_ARRAY_MAX 1000
#define SN_STORE_MAX 1920

struct sn_movable;

struct sn_cache {
	uint64_t reciprocal; /* ceil(2^40 / size) */
	uint32_t size;	     /* of an object, as malloc_usable_size() answers */
	uint16_t slab_pages, slab_objects;
	uint16_t array_limit;  /* entries of a per-CPU array */
	uint16_t shared_limit; /* entries of the shared store */
	uint16_t align;
	uint8_t index;
	/* Set last, cleared by destroy. */
	uint8_t in_use SN_GUARDED_BY(&sn_lifecycle_lock);
	void (*ctor)(void *);
	struct sn_movable *_Atomic movable; /* NULL: objects stay; see movable.h */
	char name[32];
};

/* A locked store of object pointers. */
struct sn_array {
	uint32_t avail, limit;
	void *entry[];
};

struct sn_alien {
	struct sn_lock lock SN_RANKED(alien);
	uint32_t avail SN_GUARDED_BY(&lock);
	uint32_t limit; /* set once */
	void *entry[] SN_GUARDED_BY(&lock);
};

/* Statistics read the counters without the lock. */
struct sn_cache_node {
	struct sn_lock list_lock SN_RANKED(list);
	/* Was ever used: statistics skip others. */
	uint8_t active SN_GUARDED_BY(&list_lock);
	/* Sparse slabs of an online node are being vacated: frees go straight to the slab.  Alien
	 * caches read it under their own lock and are drained after it was set. */
	uint8_t vacating SN_GUARDED_BY(&list_lock);
	/* Slabs on the free list, all slabs, and the objects in them. */
	uint32_t nr_free SN_GUARDED_BY(&list_lock);
	uint32_t nr_slabs SN_GUARDED_BY(&list_lock);
	uint64_t nr_objects SN_GUARDED_BY(&list_lock);
	/* Objects that slabs have handed out, wherever they are now. */
	uint64_t nr_out SN_GUARDED_BY(&list_lock);
	struct sn_page *partial SN_GUARDED_BY(&list_lock);
	struct sn_page *full SN_GUARDED_BY(&list_lock);
	struct sn_page *free SN_GUARDED_BY(&list_lock);
	/* Being vacated; see movable.c. */
	struct sn_page *isolated SN_GUARDED_BY(&list_lock);
	struct sn_array *shared SN_GUARDED_BY(&list_lock) SN_PT_GUARDED_BY(&list_lock);
	/* By node index; built on first use, then never changes. */
	struct sn_alien *_Atomic *_Atomic alien;
};

extern struct sn_cache sn_caches[SN_MAX_CACHES];
extern _Atomic unsigned int sn_cache_end; /* one past the highest index ever used */
/* Frees across nodes go through alien caches; else straight to the owner's shared store. */
extern bool sn_alien_enabled;

/* Takes no lock: for those who must not use a cache that somebody else destroys, and might. */
static inline bool sn_cache_in_use(unsigned int cache) SN_NO_THREAD_SAFETY
{
	return __atomic_load_n(&sn_caches[cache].in_use, __ATOMIC_RELAXED);
}

static inline struct sn_cache_node *sn_cache_node(struct sn_node *node, unsigned int cache)
{
	return &node->cache_nodes[cache];
}

void sn_caches_init(void);

/*
 * Takes up to `want` objects of `cache` from `node` itself (its shared store, its slabs, or a
 * new slab): they are in the caller's hand and count as live.  `lent`: the node is offline and
 * the caller is its stand-in; nothing new is built.  Returns how many; 0 when the node has
 * none, is full, or may not be used.  No lock held.
 */
unsigned int sn_cache_refill(struct sn_node *node, unsigned int cache, void **objects,
			     unsigned int want, bool lent) SN_EXCLUDES(&node->page_lock);

/*
 * Takes `n` objects of one cache and one home node back: into the node's shared store while it
 * is online, the rest to their slabs; slabs that are empty then are given back.  No lock held.
 */
void sn_cache_flush(struct sn_node *node, unsigned int cache, void **objects, unsigned int n);
/* Straight to the slabs, whatever the node's state. Same as flush else. */
void sn_cache_free_block(struct sn_node *node, unsigned int cache, void **objects, unsigned int n);
/* Hardened levels: one object, whatever the program says that it is; into quarantine from level 2
 * on.
 */
void sn_cache_free_checked(struct sn_node *node, unsigned int cache, void *p);
/* A batch of one cache, of any homes: each to its home's store, or slab. No lock held but
 * sn_batch_lock. */
void sn_cache_give_back(unsigned int cache, void **objects, unsigned int n, bool to_slabs);
/* Empties the shared store into slabs. Returns the number of objects. */
unsigned int sn_cache_drain_shared(struct sn_node *node, unsigned int cache);
/* Gives all empty slabs back to the pages of the node. Returns bytes. */
size_t sn_cache_shrink_node(struct sn_node *node, unsigned int cache) SN_EXCLUDES(&node->page_lock);

/* The cache index of an object pointer (0: not in a slab), its slab, and its usable size. */
struct sn_page *sn_slab_of(const void *p);

/* Object caches, for the public API.  0 or a negative errno value. */
int sn_cache_create(const char *name, size_t size, size_t align, void (*ctor)(void *))
	SN_EXCLUDES(&sn_lifecycle_lock);
/* Cached objects and empty slabs of all nodes go back. Returns bytes. No lock held. */
uint64_t sn_cache_shrink(unsigned int cache);
/* -EBUSY while objects are out. */
int sn_cache_destroy(unsigned int cache) SN_EXCLUDES(&sn_lifecycle_lock);

#endif
