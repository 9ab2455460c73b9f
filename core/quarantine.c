/*
 * quarantine.c - see quarantine.h.
 */
#include "quarantine.h"

#include "guard.h"
#include "hardened.h"
#include "meta.h"
#include "pages.h"
#include "slab.h"

/* Blocks of a node that wait, and their pages (which hold no memory). */
#define MOST_RUNS  256
#define MOST_PAGES 16384
#define BATCH	   32 /* that leave at once */

struct sn_quarantine {
	unsigned int first, count;
	size_t pages;
	struct sn_page *run[MOST_RUNS];
};

/* --- objects ------------------------------------------------------------------------------ */

/* Some 128 KiB of each size, eight at least. */
static unsigned int most_objects(const struct sn_cache *cache, const struct sn_array *store)
{
	unsigned int n = sn_min((128u << 10) / cache->size, 1024u);

	return sn_min(sn_max(n, 8u), (unsigned int)store->limit);
}

void *sn_quarantine_object(struct sn_cache_node *cn, const struct sn_cache *cache, void *p)
{
	struct sn_array *store = cn->shared;
	unsigned int most, i;
	void *leaving;

	sn_slab_hold(sn_slab_head(p), cache, p, true);
	most = most_objects(cache, store);
	if (store->avail < most) {
		store->entry[store->avail] = p;
		sn_counter_add(store->avail, 1);
		return NULL;
	}
	i = (unsigned int)(sn_hardened_random() % most);
	leaving = store->entry[i];
	store->entry[i] = p;
	sn_quarantine_leave(cache, &leaving, 1);
	return leaving;
}

void sn_quarantine_leave(const struct sn_cache *cache, void **objects, unsigned int n)
{
	for (unsigned int i = 0; sn_hardened > 1 && i < n; i++)
		sn_slab_hold(sn_slab_head(objects[i]), cache, objects[i], false);
}

/* --- blocks ------------------------------------------------------------------------------- */

/* Joins, unless the node leaves or there is no memory for a ring. */
static bool join(struct sn_node *node, struct sn_page *run) SN_REQUIRES(&node->page_lock)
{
	struct sn_quarantine *q = node->quarantine;

	if (!sn_node_in_service(node) || sn_segment_displaced(sn_segment_of(run)))
		return false;
	if (q == NULL)
		q = node->quarantine = sn_meta_alloc(sizeof(*q), _Alignof(struct sn_quarantine));
	if (q == NULL || q->count == MOST_RUNS)
		return false;
	q->run[(q->first + q->count) % MOST_RUNS] = run;
	q->count++;
	q->pages += run->npages;
	return true;
}

/* The oldest, up to `max`, taken into hand. */
static unsigned int take_oldest(struct sn_node *node, struct sn_page **runs, unsigned int max)
	SN_REQUIRES(&node->page_lock)
{
	struct sn_quarantine *q = node->quarantine;
	unsigned int n = 0;

	for (; q != NULL && q->count > 0 && n < max; n++) {
		runs[n] = q->run[q->first];
		q->first = (q->first + 1) % MOST_RUNS;
		q->count--;
		q->pages -= runs[n]->npages;
	}
	return n;
}

static bool too_many(const struct sn_node *node) SN_REQUIRES(&node->page_lock)
{
	const struct sn_quarantine *q = node->quarantine;

	return q != NULL && (q->count > MOST_RUNS - BATCH || q->pages > MOST_PAGES);
}

static size_t give_back(struct sn_node *node, struct sn_page **runs, unsigned int n)
{
	size_t pages = 0;

	for (unsigned int i = 0; i < n; i++) {
		pages += runs[i]->npages;
		sn_unguard_whole(runs[i]);
	}
	if (n > 0)
		sn_runs_return(node, runs, n);
	return pages;
}

bool sn_quarantine_run(struct sn_node *node, struct sn_page *run)
{
	struct sn_page *runs[BATCH + 1];
	unsigned int n = 0;

	if (sn_hardened < 2 || node->index == SN_NODE_INTERNAL || !sn_guard_whole(run))
		return false;
	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	if (!join(node, run))
		runs[n++] = run;
	if (too_many(node))
		n += take_oldest(node, runs + n, BATCH);
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	give_back(node, runs, n);
	return true;
}

size_t sn_quarantine_release(struct sn_node *node)
{
	struct sn_page *runs[BATCH];
	size_t pages = 0;
	unsigned int n;

	if (sn_hardened < 2)
		return 0;
	do {
		sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
		n = take_oldest(node, runs, BATCH);
		sn_lock_release(&node->page_lock, SN_RANK_PAGES);
		pages += give_back(node, runs, n);
	} while (n > 0);
	return pages << SN_PAGE_SHIFT;
}
