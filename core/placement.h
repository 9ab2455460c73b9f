/*
 * placement.h - the seam between the allocator and physical memory.
 *
 * The core decides which node's range an object lies in; where the pages of that range are is
 * the business of a placement: libnuma's on a real machine, the simulator's ledger on a
 * simulated topology, or none (a machine with one node, which makes no NUMA call at all).
 * Every operation returns 0 or a negative errno value and may be called from any thread.  A
 * NULL operation means "nothing to do" (for query and move: not possible, -ENOSYS).
 *
 * Locking: populate and depopulate are called with the node's page_lock held and take only
 * locks of rank SN_RANK_SIMULATION.  bind_range may be called with page_lock held.  move,
 * query, vacate and restore are called with no lock held.
 */
#ifndef SLABNODE_PLACEMENT_H
#define SLABNODE_PLACEMENT_H

#include "base.h"

#define SN_NODE_MASK_WORDS 2

/* A set of node indexes. */
struct sn_nodemask {
	uint64_t word[SN_NODE_MASK_WORDS];
};

static inline bool sn_mask_has(const struct sn_nodemask *mask, unsigned int node)
{
	return mask->word[node / 64] >> (node % 64) & 1;
}

static inline void sn_mask_add(struct sn_nodemask *mask, unsigned int node)
{
	mask->word[node / 64] |= (uint64_t)1 << (node % 64);
}

static inline void sn_mask_remove(struct sn_nodemask *mask, unsigned int node)
{
	mask->word[node / 64] &= ~((uint64_t)1 << (node % 64));
}

static inline unsigned int sn_mask_count(const struct sn_nodemask *mask)
{
	return (unsigned int)(__builtin_popcountll(mask->word[0]) +
			      __builtin_popcountll(mask->word[1]));
}

/* What became of a move, in pages, with the pages that stayed counted by reason. */
struct sn_move_result {
	size_t moved;	/* pages now on the target */
	size_t absent;	/* nothing there yet: no failure */
	size_t busy;	/* -EBUSY: pinned or under I/O */
	size_t shared;	/* -EACCES: mapped by several processes (copy-on-write after fork) */
	size_t no_room; /* -ENOMEM: the target is full */
	size_t failed;	/* anything else */
	int last_error; /* the errno of the last page that stayed, 0 for none */
};

struct sn_placement {
	const char *name;   /* "bound", "first-touch", "simulated": INTERFACE section 7 */
	const char *reason; /* why this one, a short phrase */
	bool simulated;

	/* The pages [addr, addr+len) of `node`'s range are about to be used for the first time
	 * since they were given back.  -ENOMEM: the node is full. */
	int (*populate)(void *addr, size_t len, unsigned int node);
	/* The pages have been given back to the system. */
	void (*depopulate)(void *addr, size_t len, unsigned int node);
	/* Sets the memory policy of a whole reserved range of `node`: its own node first among
	 * `allowed` (which lacks nodes that are leaving).  SN_NODE_INTERNAL, on real nodes: of
	 * memory that has no own node. */
	int (*bind_range)(void *addr, size_t len, unsigned int node,
			  const struct sn_nodemask *allowed);
	/* Moves the pages of [addr, addr+len) to `target`, addresses unchanged. Adds to *result.
	 * Returns 0 when every page was handled (also when some stayed), or a negative errno
	 * value when the operation as a whole is refused (-EPERM, -ENOSYS). */
	int (*move)(void *addr, size_t len, unsigned int target, struct sn_move_result *result);
	/* Where each page is: a node index, or a negative errno value (-ENOENT: absent). */
	int (*query)(void *addr, size_t npages, int *nodes);
	/* Bytes the node can still take, SIZE_MAX when not limited or unknown. */
	size_t (*room)(unsigned int node);
	/* Bytes physically on the node as far as known (simulator: ledger), 0 when unknown. */
	size_t (*resident)(unsigned int node);
	/* The node's total memory in bytes, SIZE_MAX when not limited or unknown. */
	size_t (*capacity)(unsigned int node);
	/* Free memory of a node that went away for good is made inaccessible (simulation), and
	 * accessible again before the node returns.  vacate returns -ENOSPC when its budget of
	 * mappings is used up; the ledger then audits instead. */
	int (*vacate)(void *addr, size_t len, unsigned int node);
	int (*restore)(void *addr, size_t len, unsigned int node);
	/* The node (index) of the calling thread's CPU: real CPU's node, or the simulated CPU
	 * that the thread was given. Called from slow paths, once a thread in simulation. */
	unsigned int (*thread_node)(void);
	/* Lists the node's CPUs into buf ("0-1,4"), for status.  Optional. */
	void (*cpus)(unsigned int node, char *buf, size_t size);
	/* The nodes (indexes) that the process may use now, by its cpuset and the policy it was
	 * started with; -ENODATA: unknown, nothing has changed.  Optional. */
	int (*allowed)(struct sn_nodemask *mask);
	/* Bytes of the process on this node that are not slabnode's (real nodes). Optional. */
	size_t (*other)(unsigned int node);
};

/* Never NULL; the null placement until the preload library installs another at start. */
extern const struct sn_placement *sn_placement;

#endif
