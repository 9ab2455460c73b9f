/*
 * stats.c - see stats.h.
 *
 * Free objects are found where they wait: tables, shared stores, alien caches; what slabs have
 * handed out less those is what the program holds.
 */
#include "stats.h"

#include "alien.h"
#include "large.h"
#include "meta.h"
#include "table.h"

#include <string.h>

static uint64_t load(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static uint64_t alien_count(unsigned int home, unsigned int cache)
{
	uint64_t total = 0;

	for_each_node(here) {
		const struct sn_alien *alien = sn_alien_of(here, home, cache);

		if (alien != NULL)
			total += __atomic_load_n(&alien->avail, __ATOMIC_RELAXED);
	}
	return total;
}

static uint64_t shared_count(const struct sn_cache_node *cn)
{
	const struct sn_array *shared = __atomic_load_n(&cn->shared, __ATOMIC_ACQUIRE);

	return shared == NULL ? 0 : __atomic_load_n(&shared->avail, __ATOMIC_RELAXED);
}

/* Objects of the node that wait in stores. The tables of its stand-in may hold some, too:
 * counted there as the stand-in's. */
static uint64_t stored_count(unsigned int node, unsigned int cache)
{
	return sn_tables_count(node, cache) + alien_count(node, cache) +
	       shared_count(sn_cache_node(sn_nodes[node], cache));
}

uint64_t sn_live_objects(unsigned int node, unsigned int cache)
{
	uint64_t out = load(&sn_cache_node(sn_nodes[node], cache)->nr_out);
	uint64_t stored = stored_count(node, cache);

	return out > stored ? out - stored : 0;
}

uint64_t sn_live_bytes(unsigned int node)
{
	uint64_t bytes = (uint64_t)atomic_load(&sn_nodes[node]->large_pages) << SN_PAGE_SHIFT;

	for (unsigned int c = 1; c < sn_cache_end; c++)
		if (sn_counter_read(sn_cache_node(sn_nodes[node], c)->active))
			bytes += sn_live_objects(node, c) * sn_caches[c].size;
	return bytes;
}

/* Bytes of the node's structures that are on other nodes, by ledger or by asking. */
static uint64_t elsewhere(struct sn_node *node)
{
	uint64_t pages = 0;
	int where[256];

	if (sn_placement->query == NULL || sn_node_state(node) == SN_GOING_OFFLINE)
		return 0;
	for (struct sn_range *range = sn_first_range(node); range != NULL; range = range->next)
		for (size_t i = 0; i < range->nr_segments; i++)
			for (size_t p = 0;
			     sn_counter_read(range->state[i]) == SN_SEG_USED && p < SN_SEG_PAGES;
			     p += 256) {
				char *at = range->base + (i << SN_SEG_SHIFT) + (p << SN_PAGE_SHIFT);

				if (sn_placement->query(at, 256, where) != 0)
					return 0;
				for (unsigned int k = 0; k < 256; k++)
					pages += where[k] > 0 &&
						 (unsigned int)where[k] != node->index;
			}
	return pages << SN_PAGE_SHIFT;
}

static uint64_t metadata(const struct sn_node *node)
{
	return (uint64_t)__atomic_load_n(&node->nr_headers, __ATOMIC_RELAXED) * SN_HEADER_PAGES
	       << SN_PAGE_SHIFT;
}

/* mapped_pages: everything with pages; what is neither live nor metadata is cached. */
static uint64_t cached_beside(const struct sn_node *node, uint64_t live)
{
	uint64_t mapped = (uint64_t)sn_counter_read(node->mapped_pages) << SN_PAGE_SHIFT;
	uint64_t in_use = live + metadata(node);

	return mapped > in_use ? mapped - in_use : 0;
}

uint64_t sn_cached_bytes(unsigned int node)
{
	return cached_beside(sn_nodes[node], sn_live_bytes(node));
}

/* What needs no look at pages, so that it can be had at any moment. */
static void basic_stats(unsigned int index, struct sn_node_stats *stats)
{
	struct sn_node *node = sn_nodes[index];

	memset(stats, 0, sizeof(*stats));
	stats->node = index;
	stats->os_node = node->os_number;
	stats->state = sn_node_state(node);
	stats->cordoned = atomic_load(&node->cordoned) != 0;
	stats->allowed = node->allowed;
	stats->has_memory = node->has_memory;
	stats->capacity_bytes =
		sn_placement->capacity == NULL ? SIZE_MAX : sn_placement->capacity(index);
	stats->live_bytes = sn_live_bytes(index);
	for (unsigned int c = 1; c < sn_cache_end; c++)
		stats->slabs +=
			__atomic_load_n(&sn_cache_node(node, c)->nr_slabs, __ATOMIC_RELAXED);
	stats->large_blocks = atomic_load(&node->large_blocks);
	stats->large_bytes = (uint64_t)atomic_load(&node->large_pages) << SN_PAGE_SHIFT;
	stats->metadata_bytes = metadata(node);
	stats->cached_bytes = cached_beside(node, stats->live_bytes);
	stats->resident_bytes = (uint64_t)sn_counter_read(node->mapped_pages) << SN_PAGE_SHIFT;
	stats->numa_hit = atomic_load(&node->numa_hit);
	stats->numa_miss = atomic_load(&node->numa_miss);
	stats->numa_foreign = atomic_load(&node->numa_foreign);
}

void sn_node_stats(unsigned int index, struct sn_node_stats *stats)
{
	struct sn_node *node = sn_nodes[index];

	basic_stats(index, stats);
	if (sn_placement->resident != NULL)
		stats->resident_bytes = sn_placement->resident(index);
	stats->elsewhere_bytes = elsewhere(node);
	stats->other_bytes = sn_placement->other == NULL ? 0 : sn_placement->other(index);
}

static void count_slabs(struct sn_cache_node *cn, struct sn_slabinfo *info)
{
	sn_lock_acquire(&cn->list_lock, SN_RANK_LIST);
	for (const struct sn_page *slab = cn->full; slab != NULL; slab = slab->next)
		info->slabs_full++;
	for (const struct sn_page *slab = cn->partial; slab != NULL; slab = slab->next)
		info->slabs_partial++;
	for (const struct sn_page *slab = cn->isolated; slab != NULL; slab = slab->next)
		info->slabs_partial++;
	info->slabs_free = cn->nr_free;
	info->total_objects = cn->nr_objects;
	sn_lock_release(&cn->list_lock, SN_RANK_LIST);
}

bool sn_slabinfo(unsigned int cache, unsigned int index, struct sn_slabinfo *info)
{
	struct sn_node *node = sn_nodes[index];
	struct sn_cache_node *cn = sn_cache_node(node, cache);

	memset(info, 0, sizeof(*info));
	if (!sn_counter_read(cn->active) || sn_caches[cache].size == 0)
		return false;
	info->cache = sn_caches[cache].name;
	info->node = index;
	info->os_node = node->os_number;
	info->object_size = sn_caches[cache].size;
	info->objects_per_slab = sn_caches[cache].slab_objects;
	count_slabs(cn, info);
	info->cpu_arrays = sn_tables_count(index, cache);
	info->shared = shared_count(cn);
	info->alien = alien_count(index, cache);
	info->active_objects = sn_live_objects(index, cache);
	return true;
}

void sn_totals(struct sn_totals *totals)
{
	memset(totals, 0, sizeof(*totals));
	for (unsigned int n = SN_NODE_INTERNAL; n < sn_node_end; n++) {
		struct sn_node_stats stats;

		basic_stats(n, &stats);
		totals->live_bytes += stats.live_bytes;
		totals->cached_bytes += stats.cached_bytes;
		totals->large_bytes += stats.large_bytes;
		totals->large_blocks += stats.large_blocks;
		totals->mapped_bytes += (uint64_t)sn_counter_read(sn_nodes[n]->mapped_pages)
					<< SN_PAGE_SHIFT;
		if (n >= SN_FIRST_NODE) {
			totals->nodes++;
			totals->nodes_online += stats.state == SN_ONLINE;
		}
	}
	totals->mapped_bytes += sn_meta_bytes();
}

unsigned int sn_fallback(unsigned int index, unsigned int *order, unsigned int max)
{
	unsigned int n = 0;

	for_each_in_order(next, sn_nodes[index]->fallback)
		if (n < max && sn_node_usable(sn_nodes[next]))
			order[n++] = next;
	return n;
}
