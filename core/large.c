/*
 * large.c - blocks above 32 KiB.
 *
 * Up to SN_RUN_MAX_PAGES a block is a run cut from a shared segment.  A longer one has a span:
 * consecutive segments of its own, whose header describes just this block.
 */
#include "large.h"

#include "core.h"
#include "guard.h"
#include "guarded.h"
#include "misuse.h"
#include "probe.h"
#include "quarantine.h"

#include <string.h>

/* What counts as the block's: but for a closed page behind it. */
static size_t run_pages(const struct sn_page *run)
{
	return run->npages - ((sn_counter_read(run->fixed) & SN_RUN_GUARDED) != 0);
}

/* A run in hand becomes a block that begins `offset` bytes behind its start. */
static void *run_block(struct sn_page *run, size_t offset)
{
	sn_counter_set(run->hint, (uint16_t)(offset >> 4));
	__atomic_store_n(&run->kind, SN_PAGE_BLOCK, __ATOMIC_RELEASE);
	return sn_page_address(run) + offset;
}

/* A block in hand; *npages becomes what counts as its. */
static void *block_alloc(struct sn_node *node, size_t *npages, size_t align, size_t unwanted,
			 bool *zeroed)
{
	size_t want = *npages + sn_run_tail;
	struct sn_page *run;

	if (want > SN_RUN_MAX_PAGES || want + align - 1 > SN_RUN_MAX_PAGES)
		return sn_span_alloc(node, *npages, align, unwanted, zeroed);
	run = sn_run_alloc(node, want, align, zeroed);
	if (run == NULL)
		return NULL;
	if (sn_run_tail > 0)
		sn_guard_run(run);
	*npages = run_pages(run);
	return run_block(run, 0);
}

/* The first `unwanted` pages are about to be replaced. */
static void *large_alloc(struct sn_node *node, size_t size, size_t align, size_t unwanted,
			 bool zero)
{
	size_t npages = sn_pages_for(sn_max(size, (size_t)1)), align_pages = align >> SN_PAGE_SHIFT;
	bool zeroed = zero;
	void *p = block_alloc(node, &npages, align_pages, unwanted, &zeroed);

	if (p == NULL) /* the system may be short of something for a moment */
		p = block_alloc(node, &npages, align_pages, unwanted, &zeroed);
	if (p == NULL)
		return NULL;
	sn_large_count(node, npages, true);
	sn_run_settled(node);
	SN_PROBE(large_alloc, node->os_number, size, p);
	if (zero && !zeroed)
		memset(p, 0, size);
	return p;
}

void *sn_large_alloc(struct sn_node *node, size_t size, size_t align, bool zero)
{
	return large_alloc(node, size, align, 0, zero);
}

void *sn_large_alloc_object(struct sn_node *node, size_t size)
{
	size_t npages = sn_pages_for(size);
	struct sn_page *run;
	bool zeroed;
	void *p = NULL;

	run = sn_run_alloc(node, npages + 1, 1, &zeroed);
	if (run == NULL)
		return NULL;
	sn_guard_run(run);
	if (run->fixed & SN_RUN_GUARDED) {
		run->fixed |= SN_RUN_OBJECT;
		p = run_block(run, (npages << SN_PAGE_SHIFT) - size);
		sn_large_count(node, npages, true);
	} else {
		sn_run_free(run);
	}
	sn_run_settled(node);
	return p;
}

/* The run whose block begins at p, or NULL. */
static struct sn_page *block_run(const void *p)
{
	struct sn_page *run;
	unsigned int entry = sn_segmap_entry(p);

	if (entry == SN_NODE_NONE || entry & SN_SEG_CONTINUED ||
	    sn_page_number(p) < SN_HEADER_PAGES)
		return NULL;
	run = sn_page_of(p);
	if (__atomic_load_n(&run->kind, __ATOMIC_RELAXED) != SN_PAGE_BLOCK ||
	    (uintptr_t)p % SN_PAGE_SIZE != sn_block_offset(run))
		return NULL;
	return run;
}

static void run_block_free(struct sn_node *node, struct sn_page *run)
{
	sn_large_count(node, run_pages(run), false);
	if (run->fixed & SN_RUN_OBJECT)
		sn_guarded_freed();
	run->list = SN_LIST_BLOCK_GONE;
	if (sn_quarantine_run(node, run))
		return;
	sn_unguard_run(run);
	sn_run_free(run);
}

void sn_large_free(void *p)
{
	unsigned int home = sn_segmap_entry(p) & ~SN_SEG_CONTINUED;
	struct sn_node *node = sn_nodes[home];
	struct sn_segment *span = sn_span_of(p);
	uint8_t block = SN_PAGE_BLOCK;

	if (home == SN_NODE_NONE) /* freed by another thread since the caller looked */
		sn_misuse("free", p);
	SN_PROBE(large_free, node->os_number, p);
	if (span != NULL) {
		sn_span_free(node, span, p);
	} else {
		struct sn_page *run = block_run(p);

		/* Of two threads that free one block at once, one loses here. */
		if (run == NULL ||
		    !__atomic_compare_exchange_n(&run->kind, &block, SN_PAGE_BUSY, false,
						 __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			sn_misuse("free", p);
		run_block_free(node, run);
	}
	sn_node_freed(node);
}

size_t sn_block_size(const void *p)
{
	struct sn_segment *span = sn_span_of(p);
	struct sn_page *run;

	if (span != NULL)
		return p == sn_span_block(span) ? span->info.block_pages << SN_PAGE_SHIFT : 0;
	run = block_run(p);
	return run == NULL ? 0 : (run_pages(run) << SN_PAGE_SHIFT) - sn_block_offset(run);
}

size_t sn_large_size(const char *call, const void *p)
{
	size_t size = sn_block_size(p);

	if (size == 0)
		sn_misuse(call, p);
	return size;
}

static bool run_resize(struct sn_node *node, struct sn_page *run, size_t npages)
{
	size_t have = run->npages;
	bool zeroed;

	if (npages < have)
		sn_run_shrink(run, npages);
	else if (npages > have && !sn_run_extend(run, npages - have, &zeroed))
		return false;
	atomic_fetch_add_explicit(&node->large_pages, npages - have, memory_order_relaxed);
	return true;
}

/* The block becomes a new, longer one. */
static void *span_move(struct sn_node *node, struct sn_segment *span, void *p, size_t have,
		       size_t size)
{
	void *q = large_alloc(node, size, SN_PAGE_SIZE, sn_pages_for(have), false);

	if (q == NULL || !sn_span_hand_on(node, span, sn_span_of(q), have))
		return NULL;
	sn_large_free(p);
	return q;
}

void *sn_large_resize(void *p, size_t have, size_t size)
{
	struct sn_node *node = sn_nodes[sn_segmap_entry(p) & ~SN_SEG_CONTINUED];
	struct sn_segment *span = sn_span_of(p);
	size_t npages = sn_pages_for(size);

	if (size > PTRDIFF_MAX - SN_SEG_SIZE)
		return NULL;
	if (span == NULL) {
		struct sn_page *run = block_run(p);

		if (run == NULL || npages > SN_RUN_MAX_PAGES || run->fixed & SN_RUN_GUARDED)
			return NULL;
		return run_resize(node, run, npages) ? p : NULL;
	}
	if (npages <= SN_RUN_MAX_PAGES)
		return NULL;
	if (sn_span_resize(node, span, npages))
		return p;
	return sn_node_usable(node) ? span_move(node, span, p, have, size) : NULL;
}
