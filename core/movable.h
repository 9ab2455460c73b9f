/*
 * movable.h - caches whose objects the program can move: asked to leave a node before its pages are
 * moved, and to leave sparse slabs when memory is drained.
 *
 * The two phases are those of the kernel's slab defragmentation (Lameter, "Movable memory and
 * reliable higher order allocations", 2017; Harding's SMO patches, 2019): `get` pins objects under
 * the slab's lock, or declines; `reclaim` runs with no lock and frees or moves them.  The public
 * header has the types and says what the callbacks may do.
 */
#ifndef SLABNODE_MOVABLE_H
#define SLABNODE_MOVABLE_H

#include "cache.h"

#include "../include/slabnode.h"

/*
 * Makes the objects of a cache movable, or (get and reclaim NULL) no longer so.  -EINVAL: not an
 * object cache, without a constructor, or only one function; -EDEADLK from inside a callback;
 * -ENOMEM.  When it has returned, the functions that were registered before run no more.
 */
int sn_movable_set(unsigned int cache, slabnode_get_fn *get, slabnode_reclaim_fn *reclaim,
		   void *data);

/* A round of asking; zeroed but for what is said to be given. */
struct sn_eviction {
	/* Given. */
	struct sn_node *node;
	unsigned int target; /* where objects are told to go, an index; SN_NODE_NONE: anywhere */
	bool (*stop)(void *arg); /* asked between batches; may be NULL; not for compaction */
	void (*progress)(void *arg, uint64_t done, uint64_t total); /* slabs; may be NULL */
	void *arg;
	/* Results. */
	uint64_t evicted;  /* objects that left */
	uint64_t will_not; /* objects that stay */
	uint64_t later;	   /* objects that wanted to be asked again, when there was no more time */
	uint64_t stall_ns; /* the longest hold of a slab's lock */
	uint64_t done, total; /* slabs */
};

/* Asks all objects of movable caches on a node that is closed and drained.  No lock held. */
void sn_movable_evict(struct sn_eviction *e);
/* Asks the objects of sparse slabs, as long as the node is in service, to go to denser ones; of one
 * cache, or (0) of all.  No lock held; does nothing inside a callback. */
void sn_movable_compact(struct sn_eviction *e, unsigned int cache);
/* Objects of movable caches that live on the node, and their bytes; approximate, no lock. */
void sn_movable_count(unsigned int node, uint64_t *objects, uint64_t *bytes);
/* Before a node that has left service is emptied: waits until nobody compacts it, since an isolated
 * slab is not given back.  False: stop(arg) said so; it may be NULL. */
bool sn_movable_settle(struct sn_node *node, bool (*stop)(void *arg), void *arg);
/* Around the destruction of a cache, when it is movable: nobody is asked meanwhile.  False: this is
 * a callback. */
bool sn_movable_hold(unsigned int cache, bool *movable);
void sn_movable_release(void);
/* In a forked child, whose only thread is the caller: slabs that were isolated rejoin. */
void sn_movable_fork_child(void);

#endif
