/* SPDX-License-Identifier: MIT */
/*
 * bare.c - see hotplug.h.
 *
 * The least that an offline can cost: one madvise for each free run that has pages, cut into
 * batches, and one move for each stretch of pages that stay, in the batches of a migration
 * (units of 2 MiB of addresses).  Where these are is found out before the clock starts; the same
 * operation of the placement moves the pages.
 *
 * Afterwards what was moved comes back, and in the books nothing has changed: the free runs count
 * as such that have pages, which they get by bare_touch().
 */
#include "hotplug.h"

#include "../../core/pages.h"

#include <sys/mman.h>

struct stretch {
	char *addr;
	size_t len;
};

struct list {
	struct stretch *at;
	size_t nr, max;
};

static void list_add(struct list *list, char *addr, size_t len)
{
	if (list->nr == list->max)
		die("more than %zu stretches", list->max);
	list->at[list->nr++] = (struct stretch){addr, len};
}

static struct list list_new(size_t max)
{
	return (struct list){.at = map_own(max * sizeof(struct stretch)), .max = max};
}

static void list_drop(struct list *list)
{
	munmap(list->at, sn_align_up(list->max * sizeof(struct stretch), SN_PAGE_SIZE));
}

static void add_cached(struct list *list, char *addr, size_t len, size_t batch)
{
	for (size_t at = 0; at < len; at += batch)
		list_add(list, addr + at, sn_min(batch, len - at));
}

/* Free runs with pages and cached spans. */
static void find_cached(struct sn_node *node, size_t batch, struct list *list)
{
	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	for (unsigned int bin = 0; bin < SN_RUN_BINS; bin++)
		for (struct sn_page *run = node->dirty.bin[bin]; run != NULL; run = run->next)
			add_cached(list, sn_page_address(run), (size_t)run->npages << SN_PAGE_SHIFT,
				   batch);
	for (struct sn_segment *s = node->cached_spans; s != NULL; s = s->info.next)
		add_cached(list, (char *)s + ((size_t)s->info.block_first << SN_PAGE_SHIFT),
			   s->info.room_pages << SN_PAGE_SHIFT, batch);
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
}

/* Stretches of pages that are on the node now, cut at the borders of units. */
static void find_live(struct sn_node *node, size_t unit, struct list *list)
{
	int where[512];

	for (struct sn_range *range = node->ranges; range != NULL; range = range->next)
		for (size_t at = 0; at < range->nr_segments << SN_SEG_SHIFT; at += unit) {
			size_t first = 0, n = unit >> SN_PAGE_SHIFT;

			sn_placement->query(range->base + at, n, where);
			for (size_t i = 0; i <= n; i++) {
				if (i < n && where[i] == (int)node->index)
					continue;
				if (i > first)
					list_add(list, range->base + at + (first << SN_PAGE_SHIFT),
						 (i - first) << SN_PAGE_SHIFT);
				first = i + 1;
			}
		}
}

static uint64_t longer(uint64_t *longest, uint64_t begin)
{
	uint64_t now = now_ns();

	*longest = sn_max(*longest, now - begin);
	return now;
}

static void drop_cached(const struct list *list, struct bare *bare)
{
	uint64_t begin = now_ns(), at = begin;

	for (size_t i = 0; i < list->nr; i++) {
		if (madvise(list->at[i].addr, list->at[i].len, MADV_DONTNEED) != 0)
			die("madvise failed");
		bare->cached_bytes += list->at[i].len;
		at = longer(&bare->longest_ns, at);
	}
	bare->madvises = list->nr;
	bare->madvise_ns = at - begin;
}

static size_t move_all(const struct list *list, unsigned int target, uint64_t *longest)
{
	struct sn_move_result moved = {0};
	uint64_t at = now_ns();

	for (size_t i = 0; i < list->nr; i++) {
		if (sn_placement->move(list->at[i].addr, list->at[i].len, target, &moved) != 0)
			die("move failed");
		at = longer(longest, at);
	}
	return moved.moved << SN_PAGE_SHIFT;
}

static void drop_ledger(const struct list *list, unsigned int node, bool away)
{
	for (size_t i = 0; i < list->nr; i++) {
		if (away)
			sn_placement->depopulate(list->at[i].addr, list->at[i].len, node);
		else if (sn_placement->populate(list->at[i].addr, list->at[i].len, node) != 0)
			die("populate failed");
	}
}

void bare_touch(unsigned int index)
{
	struct list list = list_new(1u << 20);

	find_cached(sn_nodes[index], SIZE_MAX / 2, &list);
	for (size_t i = 0; i < list.nr; i++)
		for (size_t at = 0; at < list.at[i].len; at += SN_PAGE_SIZE)
			((volatile char *)list.at[i].addr)[at] = 1;
	list_drop(&list);
}

void bare_loop(unsigned int index, unsigned int target, size_t batch_pages, struct bare *bare)
{
	struct sn_node *node = sn_nodes[index];
	struct list cached = list_new(1u << 20), live = list_new(1u << 20);
	size_t batch = batch_pages << SN_PAGE_SHIFT;
	uint64_t begin, cpu;

	memset(bare, 0, sizeof(*bare));
	find_cached(node, batch, &cached);
	drop_ledger(&cached, index, true);
	find_live(node, batch, &live);
	cpu = cpu_ns();
	drop_cached(&cached, bare);
	begin = now_ns();
	bare->live_bytes = move_all(&live, target, &bare->longest_ns);
	bare->move_ns = now_ns() - begin;
	bare->cpu_ns = cpu_ns() - cpu;
	bare->moves = live.nr;

	move_all(&live, index, &begin);
	drop_ledger(&cached, index, false);
	list_drop(&cached);
	list_drop(&live);
}
