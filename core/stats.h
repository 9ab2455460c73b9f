/*
 * stats.h - reading what the allocator holds.
 *
 * Statistics take no lifecycle lock and stop nobody: numbers are read one after another while
 * the program runs, so that totals of a busy program can be off by what moved meanwhile.
 * All functions may be called from any thread with no lock held.
 */
#ifndef SLABNODE_STATS_H
#define SLABNODE_STATS_H

#include "lifecycle.h"

struct sn_node_stats {
	unsigned int node;
	int os_node;
	enum sn_node_state state;
	bool cordoned, allowed, has_memory;
	size_t capacity_bytes; /* SIZE_MAX: not limited or unknown */
	uint64_t live_bytes;   /* usable sizes of what the program holds */
	uint64_t cached_bytes; /* free objects in stores, free parts of slabs, free runs with pages
				*/
	uint64_t slabs, large_bytes, large_blocks;
	uint64_t metadata_bytes;
	uint64_t resident_bytes, elsewhere_bytes, other_bytes;
	uint64_t numa_hit, numa_miss, numa_foreign;
};
/* Just the live bytes of a node. */
uint64_t sn_live_bytes(unsigned int node);
/* Objects of a cache that the program holds. */
uint64_t sn_live_objects(unsigned int node, unsigned int cache);
/* Free objects in stores, free parts of slabs, free runs with pages. */
uint64_t sn_cached_bytes(unsigned int node);
void sn_node_stats(unsigned int node, struct sn_node_stats *stats);

/* One row per (cache, node) that was ever used; columns as in /proc/slabinfo. */
struct sn_slabinfo {
	const char *cache; /* "malloc-64" */
	unsigned int node;
	int os_node;
	uint32_t object_size, objects_per_slab;
	uint64_t active_objects; /* what the program holds */
	uint64_t total_objects;
	uint64_t slabs_full, slabs_partial, slabs_free;
	uint64_t cpu_arrays, shared, alien; /* free objects of this node, by where they wait */
};
/* Fills *info for cache index `cache` on `node`; false: no such pair in use. */
bool sn_slabinfo(unsigned int cache, unsigned int node, struct sn_slabinfo *info);

/* Process-wide totals, for list and mallinfo2. */
struct sn_totals {
	uint64_t live_bytes, cached_bytes, large_bytes, large_blocks, mapped_bytes;
	unsigned int nodes, nodes_online;
};
void sn_totals(struct sn_totals *totals);

/* "rseq" or "locked", and why. */
const char *sn_fast_path_name(void);
const char *sn_fast_path_reason(void);

/* Node index -> up to `max` indexes of its current fallback order (usable nodes only). */
unsigned int sn_fallback(unsigned int node, unsigned int *order, unsigned int max);

#endif
