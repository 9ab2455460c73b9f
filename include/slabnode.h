/*
 * slabnode.h - the public interface of libslabnode.so, for C and C++.
 *
 * Link with -lslabnode (pkg-config slabnode), or look the functions up with dlsym() in a
 * program that merely runs under LD_PRELOAD=libslabnode.so.  slabnode.h(3) has the same in more
 * words, docs/examples has programs.
 *
 * Units: sizes are bytes, times milliseconds.  Nodes are the operating system's numbers, which may
 * have holes; on simulated topologies those of the description.
 *
 * Errors: what returns int returns 0, or a value >= 0 where stated, on success and a negative errno
 * value on failure.  What returns a pointer returns NULL and sets errno.
 *
 * Threads: every function may be called by any thread, and by several at once on the same node,
 * cache or notifier; slabnode_cache_destroy() alone wants the cache to itself.
 *
 * Context: where a function may be called.
 *   - any: as malloc(), also in callbacks of this interface and with locks of the program held.
 *   - sleeps: waits for transitions, callbacks or locks.  Not with a lock held that a callback or
 *     a constructor of the program takes.
 *   - no callback: sleeps, and returns -EDEADLK in notifiers and in callbacks of movable caches,
 *     which must not wait for another thread that calls it, either.
 *
 * None may be called in a signal handler, in a handler of pthread_atfork(), or in the child of a
 * vfork().  The child of a fork() may call all of them.
 */
#ifndef SLABNODE_H
#define SLABNODE_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SLABNODE_VERSION_MAJOR 0
#define SLABNODE_VERSION_MINOR 1

/**
 * slabnode_version() - the version of the library that runs, which may be newer than this header.
 *
 * Context: any.
 * Return: such as "0.1.0"; never NULL, never freed.
 */
const char *slabnode_version(void);

/* --- nodes ------------------------------------------------------------------------------- */

enum slabnode_state {
	SLABNODE_OFFLINE,
	SLABNODE_GOING_ONLINE,
	SLABNODE_ONLINE,
	SLABNODE_GOING_OFFLINE
};

/**
 * slabnode_max_node() - the end of a loop over nodes.
 *
 * Context: any.
 * Return: one more than the highest node number.
 */
int slabnode_max_node(void);

/**
 * slabnode_node_state() - whether a node is there; may be out of date when it is read.
 *
 * Context: any.
 * Return: an enum slabnode_state, or -ENODEV.
 */
int slabnode_node_state(int node);

/**
 * slabnode_malloc_node() - memory of one node and no other, aligned to 16 bytes.
 * @size: bytes; 0 gives a pointer that can be freed
 *
 * Freed with free().  A later offline with SLABNODE_MIGRATE moves it like anything else.  After a
 * node has come back without a rebalance, memory of a slab that was in use meanwhile may still lie
 * where it was moved to: slabnode_node_of() tells.
 *
 * Context: any.
 * Return: the memory, or NULL with errno ENODEV (no such node), EBUSY (the node is offline,
 * leaving, or cordoned) or ENOMEM (it is full, or address space is short).
 */
void *slabnode_malloc_node(size_t size, int node);

/**
 * slabnode_node_of() - the node on which memory is now.
 * @ptr: anywhere in an object that is allocated
 *
 * Where the page at ptr really is, by the simulator's ledger or by asking the kernel (one system
 * call); for a page that was never touched, and where the kernel does not tell, the node that its
 * policy names.
 *
 * Context: any.
 * Return: the node's number, or -ENOENT for a pointer that is not this allocator's.
 */
int slabnode_node_of(const void *ptr);

/**
 * slabnode_prefer_node() - what the calling thread allocates from now on comes from a node.
 * @node: -1: as at the start, which is the node of the CPU it runs on, or that of
 *	`numactl --preferred`
 *
 * On real nodes a policy of one node that the thread sets with set_mempolicy() or libnuma does the
 * same.  While the node is away or full the thread gets memory of other nodes, the nearest first,
 * and of the node itself again as soon as it has some.  New threads do not inherit it.
 *
 * Context: any.
 * Return: 0, -ENODEV, or -EAGAIN (no memory for the thread's tables).
 */
int slabnode_prefer_node(int node);

/* --- lifecycle --------------------------------------------------------------------------- */

enum slabnode_policy {
	SLABNODE_STRICT, /* only when nothing lives on the node (-EBUSY otherwise) */
	SLABNODE_WAIT,	 /* until the last object is freed, or the timeout passes */
	SLABNODE_MIGRATE /* pages that live there move to other nodes, addresses unchanged */
};

/**
 * slabnode_offline() - takes a node out of service.
 * @timeout_ms: negative: none.  Then SLABNODE_WAIT waits for ever, and SLABNODE_MIGRATE tries again
 *	for five seconds what does not move.
 * @message: receives the reason of a failure, cut to message_size; may be NULL
 *
 * Returns when that is done or has failed.  Nothing is allocated from the node from the moment at
 * which notifiers are told.  When somebody else is taking the node away already, waits for that and
 * returns its result.  After a failure the node is as it was before, but that cached memory may be
 * gone, and that pages which were moved stay where they are.
 *
 * Context: no callback.
 * Return: 0, also when the node was offline already; -ENODEV, -EINVAL (no such policy, or the
 * process may not use the node), -EBUSY (live memory, pages that do not move, the last usable node,
 * a notifier's veto, the opposite request under way), -ENOMEM (no room elsewhere), -ETIMEDOUT,
 * -ECANCELED, -EPERM (the kernel or a sandbox refuses what is needed), -EDEADLK.
 */
int slabnode_offline(int node, enum slabnode_policy policy, long timeout_ms, char *message,
		     size_t message_size);

/**
 * slabnode_online() - brings a node back.
 * @rebalance: not 0: its pages that were moved away return, also when the node is online already
 * @message: as slabnode_offline()
 *
 * Context: no callback.
 * Return: 0, also when the node was online already; -ENODEV, -EINVAL (it has no memory), -EPERM
 * (the process may not use it), -EBUSY (it is going offline, or a notifier's veto), -ENOMEM,
 * -EDEADLK.
 */
int slabnode_online(int node, int rebalance, char *message, size_t message_size);

/**
 * slabnode_cancel() - cancels an offline that is under way, whoever asked for it.
 *
 * Returns when the offline has ended; while a callback of the program runs, at once, and the cancel
 * takes effect when that returns.
 *
 * Context: no callback.
 * Return: 0, also when nothing is under way or it was too late; -ENODEV, -EDEADLK.
 */
int slabnode_cancel(int node);

/**
 * slabnode_cordon() - stops new allocations on a node; nothing is drained or moved.
 *
 * Context: no callback.
 * Return: 0, also when it was cordoned already; -ENODEV, -EBUSY (the last usable node), -EDEADLK.
 */
int slabnode_cordon(int node);

/**
 * slabnode_uncordon() - takes a cordon back.
 *
 * Context: no callback.
 * Return: 0, also when there was none; -ENODEV, -EDEADLK.
 */
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
	size_t live_bytes; /* bytes that live on the node at this moment, approximate */
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

/**
 * slabnode_memory_fn, slabnode_node_fn - callbacks of notifiers.
 * @notify: valid during the call
 * @data: as it was registered
 *
 * They run one at a time, with no lock of the library held, in the thread that changes the node:
 * the caller of slabnode_offline() or slabnode_online(), or a thread of the library's in which all
 * signals are blocked.  They may allocate, free, create and destroy caches and take their time
 * (`hotplugctl why` names one that is running); a cancel or a timeout takes effect when they have
 * returned.
 *
 * Return: 0, or a negative errno value to veto; of actions that cannot be vetoed it is ignored.
 */
typedef int slabnode_memory_fn(enum slabnode_mem_action action,
			       const struct slabnode_memory_notify *notify, void *data);
typedef int slabnode_node_fn(enum slabnode_node_action action,
			     const struct slabnode_node_notify *notify, void *data);

/**
 * slabnode_register_memory_notifier() - tells a callback of memory actions.
 * @name: not NULL; 31 bytes of it are kept and shown in messages
 * @priority: higher ones are called first, equal ones in the order of registration
 *
 * One that is registered while a node is in transition is told of its beginning before the function
 * returns, and may veto it: so each notifier sees whole transitions, each event once, in order; one
 * that refused a beginning is told of the cancel, too.
 *
 * Context: no callback.
 * Return: an id > 0 that is not used again; -EINVAL (name or fn is NULL), -ENOSPC (64 notifiers
 * exist), -EDEADLK.
 */
int slabnode_register_memory_notifier(const char *name, int priority, slabnode_memory_fn *fn,
				      void *data);

/**
 * slabnode_register_node_notifier() - tells a callback of node actions; else as
 * slabnode_register_memory_notifier().
 *
 * Context: no callback.
 * Return: as slabnode_register_memory_notifier().
 */
int slabnode_register_node_notifier(const char *name, int priority, slabnode_node_fn *fn,
				    void *data);

/**
 * slabnode_unregister_notifier() - when it has returned, the callback does not run any more.
 * @id: as it was returned for a memory or a node notifier
 *
 * Of a transition under way it does not hear the end.
 *
 * Context: no callback.
 * Return: 0, -ENOENT, -EDEADLK.
 */
int slabnode_unregister_notifier(int id);

/* --- object caches ----------------------------------------------------------------------- */

struct slabnode_cache;

/**
 * slabnode_cache_create() - a cache of objects of one kind.
 * @name: not NULL; 31 bytes of it are kept and shown by `hotplugctl slabinfo`
 * @size: bytes of an object, 1 to 32768
 * @align: a power of two of at most 4096; 0: 16
 * @ctor: may be NULL; run once on each object when its slab is built, in the thread that allocates,
 *	with no lock of the library held.  It may allocate, but not from this cache.
 *
 * Objects are handed out as they were freed, so with a constructor they are freed in their
 * constructed state.
 *
 * Context: sleeps.
 * Return: the cache, or NULL with errno EINVAL or ENOSPC (no more than 215 exist at once).
 */
struct slabnode_cache *slabnode_cache_create(const char *name, size_t size, size_t align,
					     void (*ctor)(void *));

/**
 * slabnode_cache_destroy() - ends a cache, which no other thread uses any more.
 * @cache: may be NULL
 *
 * Context: sleeps; of a movable cache: no callback.
 * Return: 0; -EBUSY while objects of it are allocated, and it is as before; -EDEADLK; -EINVAL: it
 * was destroyed before, and its place not used again.
 */
int slabnode_cache_destroy(struct slabnode_cache *cache);

/**
 * slabnode_cache_alloc() - an object near the calling thread.
 *
 * As fast as malloc(), and like it from other nodes, the nearest first, when this one has none.
 *
 * Context: any.
 * Return: the object, or NULL with errno ENOMEM, or EINVAL (cache is NULL, or was destroyed and its
 * place not used again).
 */
void *slabnode_cache_alloc(struct slabnode_cache *cache);

/**
 * slabnode_cache_alloc_node() - an object of one node and no other.
 *
 * Context: any.
 * Return: the object, or NULL with errno as slabnode_malloc_node(), or EINVAL as
 * slabnode_cache_alloc().
 */
void *slabnode_cache_alloc_node(struct slabnode_cache *cache, int node);

/**
 * slabnode_cache_free() - frees an object; free() does the same.
 * @object: may be NULL; by any thread
 *
 * Context: any.
 * Return: nothing; errno is kept.  What is not an object of this allocator ends the program.
 */
void slabnode_cache_free(struct slabnode_cache *cache, void *object);

/**
 * slabnode_cache_shrink() - gives what the cache does not need back to the system: free objects to
 * their slabs, empty slabs to the system; objects of a movable cache are asked to leave sparse
 * slabs first (not in callbacks).
 *
 * Context: sleeps.
 * Return: bytes given back; 0 when cache is NULL.
 */
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

/**
 * slabnode_get_fn - phase 1: pins objects.
 * @count: objects of one slab, at most 64, which look allocated
 * @objects: in the order of their addresses; those that do not live or cannot be moved are to be
 *	replaced by NULL
 * @data: as it was set
 *
 * Called with a lock of the library held that allocations and frees of this cache need: must be
 * quick, and must not sleep, fork, allocate, free or call the library, nor wait for a lock under
 * which the program does so.
 *
 * Return: what is handed to phase 2, not NULL; or NULL, with nothing pinned: not now.
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

/**
 * slabnode_reclaim_fn - phase 2: for each object that is not NULL, moves or frees it, or lets go of
 * it, and says which.
 * @request: valid during the call
 * @data: as it was set
 *
 * Called with no lock held, one call at a time, in the thread that changes the node or drains: may
 * allocate, free and take its time (`hotplugctl why` names it).  The slab hands out nothing
 * meanwhile.
 */
typedef void slabnode_reclaim_fn(const struct slabnode_reclaim *request, void *data);

/**
 * slabnode_cache_set_movable() - makes a cache movable, or (both functions NULL) no longer so.
 *
 * Waits for calls that are under way: when it has returned, what was set before does not run any
 * more.
 *
 * Context: no callback.
 * Return: 0; -EINVAL (no constructor, one function only, or it was destroyed), -ENOMEM, -EDEADLK.
 */
int slabnode_cache_set_movable(struct slabnode_cache *cache, slabnode_get_fn *get,
			       slabnode_reclaim_fn *reclaim, void *data);

#ifdef __cplusplus
}
#endif

#endif
