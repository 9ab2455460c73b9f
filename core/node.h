/*
 * node.h - memory nodes: their states, who stands in for whom, and their per-node structures.
 *
 * A node's structures are built once, for every node that is known, and never freed: a state
 * is a word, not a lifetime (the kernel learned this in 2021, commit 666716fd267d).
 *
 * state		written under sn_lifecycle_lock; read anywhere.  A reader that acts on it
 *			inside a store reads it again under that store's lock (DESIGN section 4).
 * usable		"may new memory come from this node": ONLINE, not cordoned, allowed, has
 *			memory.  Written with state.
 * sn_standin[n]	whose tables accept the objects of node n: n itself while it is online,
 *			its stand-in while it is offline (its structures are lent), SN_NODE_NONE
 *			while it is going offline or coming (frees go straight to the slab).
 *			Written under sn_lifecycle_lock, followed by a fence and a drain; read
 *			inside the restartable sequences.
 */
#ifndef SLABNODE_NODE_H
#define SLABNODE_NODE_H

#include "lock.h"
#include "placement.h"

enum sn_node_state {
	SN_OFFLINE,
	SN_GOING_ONLINE,
	SN_ONLINE,
	SN_GOING_OFFLINE,
};

extern struct sn_lock sn_lifecycle_lock SN_RANKED(lifecycle);

struct sn_cache_node;
struct sn_table;
struct sn_range;
struct sn_segment;
struct sn_page;
struct sn_transition;

/* Bins of free page runs: see pages.c. */
#define SN_RUN_BINS 64

/* Guarded by the node's page_lock; `pages` is read without. */
struct sn_run_bins {
	uint64_t nonempty; /* bit i: bin[i] is not empty */
	struct sn_page *bin[SN_RUN_BINS];
	size_t pages;
};

struct sn_node {
	/* Set once before the node is published. */
	unsigned int index;
	int os_number; /* the operating system's node number; -1 for the internal node */
	/* Change when memory or a node appears later: see sn_node_appeared(). */
	bool has_memory;
	uint8_t fallback[SN_MAX_NODES + 1]; /* other nodes, nearest first; 0 ends */
	uint8_t distance[SN_MAX_NODES + 1]; /* by node index */

	_Atomic uint32_t state;	   /* enum sn_node_state */
	_Atomic uint32_t usable;   /* new allocations may come from here */
	_Atomic uint32_t cordoned; /* written under sn_lifecycle_lock, read anywhere */
	/* By the cpuset, which may change, and the policy the process was started with; same. */
	_Atomic bool allowed;
	/* Memory policies name it already, its state is about to be SN_ONLINE; same. */
	_Atomic bool returning;

	/* One sn_cache_node for every cache index, zero-filled memory being a valid one. */
	struct sn_cache_node *cache_nodes;

	/* Statistics read the counters below without the lock. */
	struct sn_lock page_lock SN_RANKED(pages);
	/* Giving memory back failed (mlock): no use in trying each second. */
	bool locked_memory SN_GUARDED_BY(&page_lock);
	/* Free runs that still have pages. */
	struct sn_run_bins dirty SN_GUARDED_BY(&page_lock);
	/* Free runs whose pages read as zero; and those inaccessible while the node is away. */
	struct sn_run_bins clean SN_GUARDED_BY(&page_lock);
	struct sn_run_bins vacated SN_GUARDED_BY(&page_lock);
	struct sn_range *ranges SN_GUARDED_BY(&page_lock);
	/* All segments and spans in use. */
	struct sn_segment *segments SN_GUARDED_BY(&page_lock);
	struct sn_segment *open_segment SN_GUARDED_BY(&page_lock);
	/* Free spans that still have pages. */
	struct sn_segment *cached_spans SN_GUARDED_BY(&page_lock);
	/* Spans with spare pages behind their block; see spare.h. */
	struct sn_segment *spares SN_GUARDED_BY(&page_lock);
	/* In cached spans, and spare. */
	size_t cached_span_pages SN_GUARDED_BY(&page_lock);
	/* The lowest numbers of dirty and cached pages since the last reap. */
	size_t dirty_low SN_GUARDED_BY(&page_lock);
	size_t span_low SN_GUARDED_BY(&page_lock);
	/* Segments of it may be: its node was away. */
	bool displaced SN_GUARDED_BY(&page_lock);
	/* Of segments and spans. */
	size_t nr_headers SN_GUARDED_BY(&page_lock);
	/* Freed blocks that wait, see quarantine.h; NULL: none so far. */
	struct sn_quarantine *quarantine SN_GUARDED_BY(&page_lock);
	/* Opened and not given back, headers included. */
	size_t mapped_pages SN_GUARDED_BY(&page_lock);
	/* Changed under page_lock or by the owner of a block or slab; read anywhere. */
	_Atomic size_t large_pages; /* in blocks that have a run of their own */
	_Atomic size_t large_blocks;
	_Atomic size_t slab_pages;
	/* Runs and spans that a thread is making a slab or a block of: counted before page_lock is
	 * dropped, so that they count as live at every moment. */
	_Atomic uint64_t in_hand;
	_Atomic uint64_t returned_pages; /* given back to the system, ever */

	/* Wakes `wait`: incremented at each free that reaches a slab while the node leaves. */
	_Atomic uint32_t free_seq;
	_Atomic uint32_t waiters;

	/* Every node it was lent to since it went away: their tables may hold its objects, even
	 * after the loan was recalled. */
	struct sn_nodemask lent_to SN_GUARDED_BY(&sn_lifecycle_lock);
	struct sn_transition *transition; /* built once; see lifecycle.c */
	/* Batches of pages that other nodes' migrations are moving here; see migrate.c. */
	_Atomic uint32_t moves_in;
	/* Memory that is being given back: changed under page_lock or at the end; see release.h. */
	_Atomic uint32_t releases[2];
	uint8_t release_turn SN_GUARDED_BY(&page_lock);

	_Atomic uint64_t numa_hit, numa_miss, numa_foreign; /* objects, counted at refill */
};

extern struct sn_node *sn_nodes[SN_MAX_NODES + 1];
/* One past the highest index in use; grows when the system gets a node, under sn_lifecycle_lock.
 * Atomic, for those who walk without it: below what they read each node is complete. */
extern _Atomic unsigned int sn_node_end;
extern _Atomic uint8_t sn_standin[256] SN_HIDDEN;
/* Changes with every change of a `usable`.  Whoever found no node to allocate from looks again
 * when it has changed meanwhile: nodes come and go while one is looked at after the other. */
extern _Atomic uint32_t sn_usable_seq;

#define for_each_node(n) for (unsigned int n = SN_FIRST_NODE; n < sn_node_end; n++)
/* A list of indexes that ends with 0, which may be changing: see sn_node_set_distances(). */
#define for_each_in_order(n, order)                                                                \
	for (unsigned int n##_at = 0, n;                                                           \
	     (n = __atomic_load_n(&(order)[n##_at], __ATOMIC_ACQUIRE)) != 0; n##_at++)

static inline enum sn_node_state sn_node_state(const struct sn_node *node)
{
	if (!SN_HOTPLUG)
		return node->has_memory ? SN_ONLINE : SN_OFFLINE;
	return (enum sn_node_state)atomic_load_explicit(&node->state, memory_order_acquire);
}

/* Whether freed memory of the node may be kept for later. */
static inline bool sn_node_in_service(const struct sn_node *node)
{
	return !SN_HOTPLUG || node->index == SN_NODE_INTERNAL || sn_node_state(node) == SN_ONLINE;
}

static inline bool sn_node_usable(const struct sn_node *node)
{
	return atomic_load_explicit(&node->usable, memory_order_acquire) != 0;
}

/* The node whose tables accept objects of `home`. */
SN_INLINE unsigned int sn_node_standin(unsigned int home)
{
	return SN_HOTPLUG ? atomic_load_explicit(&sn_standin[home], memory_order_relaxed) : home;
}

static inline uint32_t sn_node_usable_seq(void)
{
	return SN_HOTPLUG ? atomic_load(&sn_usable_seq) : 0;
}

/* A run or span is in a thread's hand from now on, and no longer.  page_lock held. */
static inline void sn_node_take_in_hand(struct sn_node *node)
{
	if (SN_HOTPLUG)
		atomic_fetch_add(&node->in_hand, 1);
}

static inline void sn_node_put_from_hand(struct sn_node *node)
{
	if (SN_HOTPLUG)
		atomic_fetch_sub(&node->in_hand, 1);
}

void sn_node_wake(struct sn_node *node);
/* Something of the node was freed to where it belongs: wakes an offline that waits for it. */
static inline void sn_node_freed(struct sn_node *node)
{
	if (SN_HOTPLUG && sn_node_state(node) == SN_GOING_OFFLINE)
		sn_node_wake(node);
}

/*
 * Adds a node, at start-up or when one appears later.  `os_number` is the system's number,
 * distances come later with sn_node_set_distances().  The node begins OFFLINE; see
 * sn_node_start().  Returns the index or -ENOMEM, -ENOSPC.
 * Locking: single-threaded start-up, or sn_lifecycle_lock.
 */
int sn_node_add(int os_number, bool has_memory, bool allowed);
/* `distance[i]` by node index; rebuilds the fallback order. Same locking. */
void sn_node_set_distances(unsigned int node, const uint8_t *distance);
/* Start-up only: puts the node in service without notifying anybody. */
void sn_node_start(unsigned int node);
/* The index of a system's node number, or SN_NODE_NONE. */
unsigned int sn_node_find(int os_number);
/* Where an allocation that wants `home` goes now: home itself when usable, else the nearest
 * usable node; SN_NODE_NONE when there is none.  Lock-free. */
unsigned int sn_node_target(unsigned int home);
/* The internal node, first of all. */
bool sn_node_add_internal(void);
/* Recomputes `usable` from state, cordon, allowed. */
void sn_node_update_usable(struct sn_node *node) SN_REQUIRES(&sn_lifecycle_lock);
unsigned int sn_node_count_usable(void);
void sn_node_usable_mask(struct sn_nodemask *mask);
/* The nodes that memory policies name: those in service, or as good as; a cordon is a matter of
 * allocation. */
void sn_node_policy_mask(struct sn_nodemask *mask);

#endif
