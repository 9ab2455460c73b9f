/*
 * slabnode.h - the public interface of libslabnode.so.
 *
 * Link with -lslabnode (pkg-config slabnode), or look the functions up with dlsym() in a
 * program that merely runs under LD_PRELOAD=libslabnode.so.
 *
 * Nodes are named by the operating system's numbers.  Functions that return int return 0 (or a
 * value >= 0 where stated) on success and a negative errno value on failure.  Unless stated
 * otherwise every function may be called from any thread at any time, with no lock of the
 * library's held; none may be called from a signal handler.
 */
#ifndef SLABNODE_H
#define SLABNODE_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SLABNODE_VERSION_MAJOR 0
#define SLABNODE_VERSION_MINOR 1

/* The library's version, "0.1.0". */
const char *slabnode_version(void);

/* --- nodes ------------------------------------------------------------------------------- */

enum slabnode_state {
	SLABNODE_OFFLINE,
	SLABNODE_GOING_ONLINE,
	SLABNODE_ONLINE,
	SLABNODE_GOING_OFFLINE
};

/* One more than the highest node number; numbers may have holes. */
int slabnode_max_node(void);
/* The state of a node (enum slabnode_state), or -ENODEV. */
int slabnode_node_state(int node);

/*
 * `size` bytes (aligned to 16) from this node and no other.  NULL with errno ENODEV (no such
 * node), EBUSY (the node is offline, leaving, or cordoned) or ENOMEM (it is full).  Freed with
 * free().  After the node has come back without a rebalance, memory of a slab that was in use
 * meanwhile may still lie where it was moved to: slabnode_node_of() tells.
 */
void *slabnode_malloc_node(size_t size, int node);

/*
 * The node on which the object's memory is now: where its first page really is, by the
 * simulator's ledger or by asking the kernel (one system call); for a page that was never
 * touched the node its policy names.  -ENOENT for a pointer that is not slabnode's.
 */
int slabnode_node_of(const void *ptr);

/*
 * The calling thread prefers a node for what it allocates from now on; -1: as at the start, which
 * is the node of the CPU it runs on (or that of `numactl --preferred`).  On real nodes a policy of
 * one node that the thread sets with set_mempolicy() or libnuma does the same.  While a preferred
 * node is away the thread gets memory of the node's stand-in, and of the node itself again as soon
 * as it returns.  -ENODEV.
 */
int slabnode_prefer_node(int node);

/* --- lifecycle --------------------------------------------------------------------------- */

enum slabnode_policy {
	SLABNODE_STRICT, /* only when nothing lives on the node (-EBUSY otherwise) */
	SLABNODE_WAIT,	 /* until the last object is freed, or the timeout passes */
	SLABNODE_MIGRATE /* pages that live there move to other nodes, addresses unchanged */
};

/*
 * Takes a node out of service and returns when that is done or has failed.  timeout_ms < 0:
 * none.  -EBUSY (live memory, the last usable node, the opposite request under way), -ENOMEM
 * (no room elsewhere), -ETIMEDOUT, -ECANCELED, -EPERM, -ENODEV.  After a failure the node is
 * as it was before.  message (may be NULL) receives the reason.
 */
int slabnode_offline(int node, enum slabnode_policy policy, long timeout_ms, char *message,
		     size_t message_size);
/* Brings a node back; rebalance != 0: its pages that were moved away return. */
int slabnode_online(int node, int rebalance, char *message, size_t message_size);
/* Cancels an offline under way; 0 also when nothing is under way. */
int slabnode_cancel(int node);
/* Stops and resumes new allocations on a node; drains nothing. */
int slabnode_cordon(int node);
int slabnode_uncordon(int node);

/* --- notifiers --------------------------------------------------------------------------- */

/*
 * Names, order and meaning are the kernel's.  A node that leaves: REMOVING_LAST_MEMORY,
 * MEM_GOING_OFFLINE, then REMOVED_LAST_MEMORY, MEM_OFFLINE, or, when that failed,
 * MEM_CANCEL_OFFLINE, CANCEL_REMOVING_LAST_MEMORY.  A node that returns likewise.  At
 * MEM_GOING_OFFLINE nothing new is allocated from the node any more, but what lives there still
 * does.
 */
enum slabnode_mem_action {
	SLABNODE_MEM_GOING_ONLINE, /* can be vetoed */
	SLABNODE_MEM_CANCEL_ONLINE,
	SLABNODE_MEM_ONLINE,
	SLABNODE_MEM_GOING_OFFLINE, /* can be vetoed */
	SLABNODE_MEM_CANCEL_OFFLINE,
	SLABNODE_MEM_OFFLINE
};

struct slabnode_memory_notify {
	int node;
	int policy;	   /* of an offline: enum slabnode_policy */
	size_t live_bytes; /* what lives on the node at this moment, approximate */
};

enum slabnode_node_action {
	SLABNODE_NODE_ADDING_FIRST_MEMORY, /* can be vetoed */
	SLABNODE_NODE_CANCEL_ADDING_FIRST_MEMORY,
	SLABNODE_NODE_ADDED_FIRST_MEMORY,
	SLABNODE_NODE_REMOVING_LAST_MEMORY, /* can be vetoed */
	SLABNODE_NODE_CANCEL_REMOVING_LAST_MEMORY,
	SLABNODE_NODE_REMOVED_LAST_MEMORY
};

struct slabnode_node_notify {
	int node;
};

/*
 * Callbacks return 0, or a negative errno value to veto (of the other actions it is ignored).  They
 * run one at a time, with no lock of the library's held, in the thread that changes the node; they
 * may allocate, free, create and destroy caches and take their time (`hotplugctl why` names one
 * that is running).  Requests that change nodes or notifiers get -EDEADLK in them.
 */
typedef int slabnode_memory_fn(enum slabnode_mem_action action,
			       const struct slabnode_memory_notify *notify, void *data);
typedef int slabnode_node_fn(enum slabnode_node_action action,
			     const struct slabnode_node_notify *notify, void *data);

/*
 * Higher priorities are called first.  One that is registered while a node is in transition is told
 * of its beginning before the function returns, and may veto it: so each notifier sees whole
 * transitions, each event once, in order; one that refused a beginning is told of the cancel, too.
 * Returns an id > 0, -EINVAL, -EDEADLK, or -ENOSPC (at most 64).
 */
int slabnode_register_memory_notifier(const char *name, int priority, slabnode_memory_fn *fn,
				      void *data);
int slabnode_register_node_notifier(const char *name, int priority, slabnode_node_fn *fn,
				    void *data);
/* When this has returned, no callback of it runs any more.  -ENOENT, -EDEADLK. */
int slabnode_unregister_notifier(int id);

/* --- object caches ----------------------------------------------------------------------- */

struct slabnode_cache;

/*
 * A cache of objects of `size` bytes (at most 32 KiB), aligned to `align` (a power of two of at
 * most 4096, 0: 16).  ctor (may be NULL) is run once on each object when its slab is built;
 * objects are handed out as they were freed.  NULL with errno EINVAL, ENOSPC (no more than 215
 * caches exist at once) or ENOMEM.
 */
struct slabnode_cache *slabnode_cache_create(const char *name, size_t size, size_t align,
					     void (*ctor)(void *));
/* -EBUSY while objects of the cache are allocated; -EDEADLK inside a callback of a movable one. */
int slabnode_cache_destroy(struct slabnode_cache *cache);
/* An object near the calling thread, or NULL with errno ENOMEM. */
void *slabnode_cache_alloc(struct slabnode_cache *cache);
/* An object of this node: NULL with errno as slabnode_malloc_node(). */
void *slabnode_cache_alloc_node(struct slabnode_cache *cache, int node);
/* object may be NULL.  free() does the same.  errno is kept. */
void slabnode_cache_free(struct slabnode_cache *cache, void *object);
/* Gives cached objects and empty slabs back to the system, after asking the objects of a movable
 * cache to leave sparse slabs; bytes given back. */
size_t slabnode_cache_shrink(struct slabnode_cache *cache);

/* --- movable caches ---------------------------------------------------------------------- */

/*
 * Objects that the program can move: they are asked to leave a node that goes offline with
 * `migrate`, before pages are moved, and to leave sparse slabs when memory is drained.  The two
 * phases are those of the kernel's slab defragmentation (C. Lameter, linux-mm, March 2017).
 *
 * What the program has to keep to:
 *   - The cache has a constructor, which leaves an object in a state that says "free", and an
 *     object is freed in that state.  Nothing of the library's is written into free objects, so
 *     get() can tell from the object itself whether it lives.  It may be asked of an object that
 *     another thread is just allocating or freeing.
 *   - What is pinned by get() is freed by nobody else until reclaim() is done with it: a thread
 *     that wants to free a pinned object marks it, and reclaim() frees it.
 *   - In a child that was forked between the two, objects stay pinned for ever.
 */
enum slabnode_answer {
	SLABNODE_WILL_NOT, /* stays, and is not asked again in this attempt */
	SLABNODE_MOVED,	   /* its contents are elsewhere, and it was freed */
	SLABNODE_LATER,	   /* stays for now: ask again, a few times within some milliseconds */
	SLABNODE_GONE	   /* it was freed without a copy */
};

/*
 * Phase 1.  `count` objects (at most 64) of one slab, which look allocated.  Pins those that live
 * and can be moved, replaces the others by NULL, and returns what is handed to phase 2 (not NULL),
 * or pins nothing and returns NULL: not now.  Called with the slab's lock held: must be quick, and
 * must not sleep, fork, allocate, free or call the library, nor wait for a lock under which the
 * program does so.
 */
typedef void *slabnode_get_fn(struct slabnode_cache *cache, unsigned int count, void **objects,
			      void *data);

struct slabnode_reclaim {
	struct slabnode_cache *cache;
	int from; /* the node that is being vacated */
	int to;	  /* where to: for slabnode_cache_alloc_node(); -1: anywhere */
	unsigned int count;
	void *const *objects;	       /* as get() left them; NULL: not pinned */
	enum slabnode_answer *answers; /* to be set for each; WILL_NOT before the call */
	void *token;		       /* what get() returned */
};

/*
 * Phase 2.  For each object that is not NULL: moves or frees it, or lets go of it, and says which.
 * Called with no lock held, in the thread that changes the node or drains: may allocate, free and
 * take its time (`hotplugctl why` names it).  Requests that change nodes, notifiers or caches'
 * movability get -EDEADLK in it.  The slab hands out nothing meanwhile.
 */
typedef void slabnode_reclaim_fn(const struct slabnode_reclaim *request, void *data);

/*
 * Makes a cache movable, or (both functions NULL) no longer so; waits for calls that are under way.
 * -EINVAL (no constructor, one function only), -EDEADLK (inside a callback), -ENOMEM.
 */
int slabnode_cache_set_movable(struct slabnode_cache *cache, slabnode_get_fn *get,
			       slabnode_reclaim_fn *reclaim, void *data);

#ifdef __cplusplus
}
#endif

#endif
