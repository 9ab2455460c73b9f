/*
 * drain.c - see drain.h.
 *
 * Two kinds of store hold free objects, and no third: tables, closed by replacing words and a
 * fence, and stores under a lock, closed by taking the lock once after the state was
 * published.  After both, whatever holds free objects of the node can only lose some.
 */
#include "drain.h"

#include "alien.h"
#include "large.h"
#include "quarantine.h"
#include "table.h"

#include <string.h>

static void pass_alien(struct sn_alien *alien)
{
	if (alien == NULL)
		return;
	sn_lock_acquire(&alien->lock, SN_RANK_ALIEN);
	sn_lock_release(&alien->lock, SN_RANK_ALIEN);
}

/* Every locked store that may still take in objects of the node. */
static void pass_locks(struct sn_node *node)
{
	for (unsigned int c = 1; c < sn_cache_end; c++) {
		struct sn_cache_node *cn = sn_cache_node(node, c);

		sn_lock_acquire(&cn->list_lock, SN_RANK_LIST);
		sn_lock_release(&cn->list_lock, SN_RANK_LIST);
		for_each_node(other) {
			pass_alien(sn_alien_of(other, node->index, c));
			pass_alien(sn_alien_of(node->index, other, c));
		}
	}
	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
}

int sn_drain_close(struct sn_node *node, uint64_t *stall_ns)
{
	uint64_t begin = sn_now_ns(), now;
	int error;

	sn_tables_close(node->index);
	error = sn_tables_fence();
	now = sn_now_ns();
	*stall_ns = sn_max(*stall_ns, now - begin);
	if (error != 0) {
		sn_tables_open(node->index);
		return error;
	}
	pass_locks(node);
	return 0;
}

/* Most pairs of nodes never had one. */
static uint64_t drain_alien(unsigned int here, unsigned int home, unsigned int cache, bool to_slabs)
{
	uint64_t n;

	if (sn_alien_of(here, home, cache) == NULL)
		return 0;
	sn_lock_acquire(&sn_batch_lock, SN_RANK_BATCH);
	n = sn_alien_drain(here, home, cache, to_slabs);
	sn_lock_release(&sn_batch_lock, SN_RANK_BATCH);
	return n;
}

static uint64_t drain_pass(struct sn_node *node)
{
	uint64_t total = sn_tables_drain(node->index, true);

	for (unsigned int c = 1; c < sn_cache_end; c++) {
		for_each_node(other) {
			total += drain_alien(other, node->index, c, true);
			total += drain_alien(node->index, other, c, false);
		}
		total += sn_cache_drain_shared(node, c);
	}
	return total;
}

uint64_t sn_drain_stores_open(struct sn_node *node)
{
	uint64_t total = 0;

	for (unsigned int c = 1; c < sn_cache_end; c++) {
		if (!sn_counter_read(sn_cache_node(node, c)->active))
			continue;
		for_each_node(other)
			total += drain_alien(other, node->index, c, true);
		total += sn_cache_drain_shared(node, c);
	}
	return total;
}

uint64_t sn_drain_stores(struct sn_node *node)
{
	uint64_t total = 0, found;

	/* Never count first and trust the count: drain until a pass finds nothing. */
	do {
		found = drain_pass(node);
		total += found;
	} while (found > 0);
	return total;
}

uint64_t sn_drain_release(struct sn_node *node, struct sn_pace *pace)
{
	uint64_t bytes;

	for (unsigned int c = 1; c < sn_cache_end; c++)
		if (sn_counter_read(sn_cache_node(node, c)->active))
			sn_cache_shrink_node(node, c);
	/* What could not be made accessible, or given back, earlier. */
	if (sn_node_in_service(node))
		sn_pages_restore(node);
	sn_pages_unfix(node);
	bytes = sn_quarantine_release(node);
	bytes += sn_pages_purge(node, SN_ALL_PAGES, pace);
	bytes += sn_spans_purge(node, SN_ALL_PAGES, pace);
	sn_segments_trim(node, pace);
	return bytes;
}

static uint64_t cache_out(struct sn_cache_node *cn)
{
	uint64_t out;

	sn_lock_acquire(&cn->list_lock, SN_RANK_LIST);
	out = cn->nr_out;
	sn_lock_release(&cn->list_lock, SN_RANK_LIST);
	return out;
}

uint64_t sn_drain_live(struct sn_node *node)
{
	/* In this order: what is in hand becomes a block or a slab's object, never the other way.
	 */
	uint64_t live = atomic_load(&node->in_hand);

	live += atomic_load(&node->large_blocks);

	for (unsigned int c = 1; c < sn_cache_end; c++)
		if (sn_counter_read(sn_cache_node(node, c)->active))
			live += cache_out(sn_cache_node(node, c));
	return live;
}

/* Keeps the rows sorted by bytes, largest first. */
static unsigned int insert_holder(struct sn_holder *rows, unsigned int n, unsigned int max,
				  const struct sn_holder *row)
{
	unsigned int at = 0;

	while (at < n && rows[at].bytes >= row->bytes)
		at++;
	if (at == max)
		return n;
	n = sn_min(n + 1, max);
	memmove(&rows[at + 1], &rows[at], (n - at - 1) * sizeof(*rows));
	rows[at] = *row;
	return n;
}

unsigned int sn_drain_holders(struct sn_node *node, struct sn_holder *holders, unsigned int max)
{
	unsigned int n = 0;
	struct sn_holder row;

	for (unsigned int c = 1; c < sn_cache_end; c++) {
		struct sn_cache_node *cn = sn_cache_node(node, c);

		if (!sn_counter_read(cn->active))
			continue;
		row = (struct sn_holder){.objects = cache_out(cn),
					 .slabs = sn_counter_read(cn->nr_slabs) -
						  sn_counter_read(cn->nr_free)};
		row.bytes = row.objects * sn_caches[c].size;
		memcpy(row.cache, sn_caches[c].name, sizeof(row.cache));
		if (row.objects > 0)
			n = insert_holder(holders, n, max, &row);
	}
	row = (struct sn_holder){.cache = "large", .objects = node->large_blocks};
	row.bytes = atomic_load(&node->large_pages) << SN_PAGE_SHIFT;
	if (row.objects > 0)
		n = insert_holder(holders, n, max, &row);
	return n;
}
