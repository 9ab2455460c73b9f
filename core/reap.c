/*
 * reap.c - see reap.h.
 *
 * What ages is what was not needed: each node keeps the lowest number of dirty pages since the
 * last round.  So many pages lay about during the whole interval; a part of them is given back.
 * A program whose use goes up and down faster than that keeps its pages, one that has shrunk
 * loses them within a few rounds.
 */
#include "reap.h"

#include "alien.h"
#include "drain.h"
#include "lifecycle.h"
#include "large.h"
#include "probe.h"
#include "rebind.h"
#include "table.h"

/* Of the pages that nobody wanted: at least this many go, else the half. */
#define STEP_PAGES ((size_t)256)

#define TRIM_EVERY_NS 100000000u
#define TRIM_LEAST    ((size_t)4096) /* pages, 16 MiB */

static uint64_t reap_pages(struct sn_node *node)
{
	size_t dirty, span;

	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	dirty = node->dirty_low;
	span = node->span_low;
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	dirty = dirty <= STEP_PAGES ? dirty : sn_max(dirty / 2, STEP_PAGES);
	dirty = dirty == 0 ? 0 : sn_pages_purge(node, dirty, NULL);
	span = span == 0 ? 0 : sn_spans_purge(node, span, NULL);
	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	node->dirty_low = node->dirty.pages;
	node->span_low = node->cached_span_pages;
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	return dirty + span;
}

uint64_t sn_reap_inline(void)
{
	uint64_t bytes = 0;

	for (unsigned int n = SN_NODE_INTERNAL; n < sn_node_end; n++)
		bytes += reap_pages(sn_nodes[n]);
	SN_PROBE(reap, bytes);
	return bytes;
}

uint64_t sn_reap(void)
{
	sn_fault(SN_FAULT_REAP);
	sn_refresh_allowed();
	sn_rebind_repair();
	sn_tables_reap(false);
	for_each_node(n) {
		struct sn_node *node = sn_nodes[n];

		if (sn_node_state(node) != SN_ONLINE)
			continue;
		sn_pages_restore(node); /* what could not be, when the node came back */
		sn_drain_stores_open(node);
		for (unsigned int c = 1; c < sn_cache_end; c++)
			if (sn_counter_read(sn_cache_node(node, c)->active))
				sn_cache_shrink_node(node, c);
	}
	return sn_reap_inline();
}

/* What is less waits for the reaper, or the next trim. */
static uint64_t trim_pages(struct sn_node *node)
{
	size_t pages =
		sn_counter_read(node->dirty.pages) + sn_counter_read(node->cached_span_pages);

	return pages < TRIM_LEAST ? 0 : sn_make_room(node);
}

uint64_t sn_trim(void)
{
	static _Atomic uint64_t next_ns;
	uint64_t now = sn_now_ns(), next = atomic_load(&next_ns), bytes = 0;
	struct sn_drain_result drained;

	if (now >= next && atomic_compare_exchange_strong(&next_ns, &next, now + TRIM_EVERY_NS)) {
		sn_drain(SN_NODE_NONE, false, &drained);
		return drained.released_bytes;
	}
	for (unsigned int n = SN_NODE_INTERNAL; n < sn_node_end; n++)
		bytes += trim_pages(sn_nodes[n]);
	return bytes;
}

bool sn_reap_wanted(void)
{
	if (sn_rebind_stale() || sn_tables_cached())
		return true;
	for (unsigned int n = SN_NODE_INTERNAL; n < sn_node_end; n++) {
		const struct sn_node *node = sn_nodes[n];

		if (!sn_counter_read(node->locked_memory) &&
		    (sn_counter_read(node->dirty.pages) > 0 ||
		     sn_counter_read(node->cached_span_pages) > 0))
			return true;
	}
	return false;
}
