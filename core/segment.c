/*
 * segment.c - ranges: reserving address space, and handing segments of it out.
 *
 * The first range of a node is four segments; each further one doubles what the node has, so
 * that a process that sets RLIMIT_AS late has little reserved beyond what it uses, and a large
 * heap needs few ranges (one memory policy, one or two mappings each).
 */
#include "segment.h"

#include "fault.h"
#include "hardened.h"
#include "meta.h"
#include "rebind.h"

#include <sys/mman.h>

#define FIRST_RANGE   4
#define LARGEST_RANGE 4096 /* 64 GiB */

_Atomic uint8_t sn_segmap[SN_WINDOW_SEGS];
uintptr_t sn_window;
static struct sn_lock window_lock SN_RANKED(meta);

/* The window is laid around the first range: the kernel places mappings downwards from there,
 * so most of the window is below. Returns false when [base, end) is outside it. */
static bool in_window(uintptr_t base, uintptr_t end)
{
	const uintptr_t span = (uintptr_t)1 << SN_WINDOW_SHIFT;
	const uintptr_t above = (uintptr_t)1 << (SN_WINDOW_SHIFT - 3);
	bool inside;

	sn_lock_acquire(&window_lock, SN_RANK_META);
	/* Never 0, which means "not laid yet". */
	if (sn_window == 0)
		sn_counter_set(sn_window, base > span - above
						  ? (base - (span - above)) & ~(SN_SEG_SIZE - 1)
						  : SN_SEG_SIZE);
	inside = base >= sn_window && end - sn_window <= span;
	sn_lock_release(&window_lock, SN_RANK_META);
	return inside;
}

static char *map_closed(void *at, size_t size)
{
	char *p;

	if (sn_fault(SN_FAULT_RESERVE) != 0)
		return NULL;
	p = mmap(at, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

/* Maps more than wanted and gives back what is not aligned. */
static char *map_with_slack(size_t want)
{
	size_t size = want + SN_SEG_SIZE - SN_PAGE_SIZE;
	char *p = map_closed(NULL, size), *base;

	if (p == NULL)
		return NULL;
	base = (char *)sn_align_up((uintptr_t)p, SN_SEG_SIZE);
	if (base > p)
		munmap(p, (size_t)(base - p));
	if (base + want < p + size)
		munmap(base + want, (size_t)(p + size - (base + want)));
	return base;
}

/* Just there, or NULL. */
static char *map_closed_at(uintptr_t at, size_t want)
{
	char *p = map_closed((void *)at, want);

	/* A wish, which is granted where there is room.  MAP_FIXED_NOREPLACE says no more, and is
	 * unknown to kernels before 4.17 and to emulators. */
	if (p != NULL && (uintptr_t)p != at) {
		munmap(p, want);
		p = NULL;
	}
	return p;
}

/* Where address space is short: finds out where there is room, and asks for aligned places there.
 * Room goes on below it where mappings grow downwards, as is usual, and above it where they grow
 * upwards. */
static char *map_without_slack(size_t want)
{
	char *p = map_closed(NULL, want), *base = NULL;
	uintptr_t at;

	if (p == NULL)
		return NULL;
	munmap(p, want);
	at = (uintptr_t)p & ~(SN_SEG_SIZE - 1);
	for (uintptr_t away = 0; away < 8 && base == NULL; away++) {
		base = map_closed_at(at + ((away + 1) << SN_SEG_SHIFT), want);
		if (base == NULL)
			base = map_closed_at(at - (away << SN_SEG_SHIFT), want);
	}
	return base;
}

/* Where the newest range ends. */
static _Atomic uintptr_t newest_end;

/* The window is large enough for what a kernel does.  Emulators go far away when the place that
 * they began at is taken: so places are asked for behind the newest range, each time twice as far.
 */
static char *map_in_window(size_t want)
{
	uintptr_t from = atomic_load_explicit(&newest_end, memory_order_relaxed), at = from;
	char *base = NULL;

	for (size_t away = SN_SEG_SIZE; base == NULL && in_window(at, at + want); away *= 2) {
		base = map_closed_at(at, want);
		at = from + away;
	}
	return base;
}

/* Reserves nr segments aligned to a segment; NULL when refused. */
static char *reserve(size_t nr)
{
	size_t want = nr << SN_SEG_SHIFT;
	int saved = errno;
	char *base = map_with_slack(want);

	if (base == NULL)
		base = map_without_slack(want);
	if (base != NULL && !in_window((uintptr_t)base, (uintptr_t)base + want)) {
		munmap(base, want);
		base = map_in_window(want);
	}
	if (base != NULL) {
		atomic_store_explicit(&newest_end, (uintptr_t)base + want, memory_order_relaxed);
		/* Touching one page of a huge page would make two MiB resident. */
		madvise(base, want, MADV_NOHUGEPAGE);
	}
	errno = saved;
	return base;
}

static size_t next_range_size(const struct sn_node *node) SN_REQUIRES(&node->page_lock)
{
	size_t have = 0;

	/* What libc needs on our behalf is little. */
	if (node->index == SN_NODE_INTERNAL && node->ranges == NULL)
		return 1;
	for (const struct sn_range *range = node->ranges; range != NULL; range = range->next)
		have += range->nr_segments;
	return sn_min(sn_max(have, (size_t)FIRST_RANGE), (size_t)LARGEST_RANGE);
}

/* Adds a range of at least `count` segments. */
static struct sn_range *range_add(struct sn_node *node, size_t count) SN_REQUIRES(&node->page_lock)
{
	size_t nr = sn_max(next_range_size(node), count);
	struct sn_nodemask allowed;
	struct sn_range *range;
	char *base = NULL;

	for (; (base = reserve(nr)) == NULL; nr = sn_max(nr / 2, count))
		if (nr == count)
			return NULL;
	/* A transition that publishes other masks after this waits for page_lock and rebinds it. */
	sn_node_policy_mask(&allowed);
	range = sn_bind_range(node, base, nr << SN_SEG_SHIFT, &allowed) != 0
			? NULL
			: sn_meta_alloc(sizeof(*range) + nr * sizeof(range->state[0]),
					_Alignof(struct sn_range));
	if (range == NULL) {
		munmap(base, nr << SN_SEG_SHIFT);
		return NULL;
	}
	range->base = base;
	range->nr_segments = nr;
	range->next = node->ranges;
	__atomic_store_n(&node->ranges, range, __ATOMIC_RELEASE);
	return range;
}

static const struct sn_range *range_at(uintptr_t addr)
{
	for (unsigned int n = SN_NODE_INTERNAL; n < sn_node_end; n++)
		for (struct sn_range *r = sn_first_range(sn_nodes[n]); r != NULL; r = r->next)
			if (addr - (uintptr_t)r->base < r->nr_segments << SN_SEG_SHIFT)
				return r;
	return NULL;
}

bool sn_in_range(uintptr_t addr)
{
	return range_at(addr) != NULL;
}

bool sn_block_was_at(uintptr_t addr)
{
	const struct sn_range *range = range_at(addr);
	size_t page = sn_page_number((const void *)addr), state;

	if (range == NULL || addr % SN_PAGE_SIZE != 0)
		return false;
	state = sn_counter_read(range->state[(addr - (uintptr_t)range->base) >> SN_SEG_SHIFT]);
	return state == SN_SEG_BLOCK_GONE + page || state == SN_SEG_BLOCK_GOING + page;
}

static bool segment_used(unsigned int state)
{
	return state == SN_SEG_USED || state >= SN_SEG_BLOCK_GOING;
}

/* Position of `count` consecutive unused segments, of which no block is remembered if `fresh`, or
 * nr_segments. */
static size_t find_unused(const struct sn_range *range, size_t count, bool fresh)
{
	size_t run = 0;

	for (size_t i = 0; i < range->nr_segments; i++) {
		bool taken =
			fresh ? range->state[i] != SN_SEG_UNUSED : segment_used(range->state[i]);

		run = taken ? 0 : run + 1;
		if (run == count)
			return i + 1 - count;
	}
	return range->nr_segments;
}

static void mark_used(const struct sn_node *node, struct sn_range *range, size_t at, size_t count,
		      bool continues) SN_REQUIRES(&node->page_lock)
{
	size_t number = ((uintptr_t)range->base + (at << SN_SEG_SHIFT) - sn_window) >> SN_SEG_SHIFT;

	for (size_t i = 0; i < count; i++) {
		uint8_t entry =
			(uint8_t)(node->index | (continues || i > 0 ? SN_SEG_CONTINUED : 0));

		sn_counter_set(range->state[at + i], SN_SEG_USED);
		atomic_store_explicit(&sn_segmap[number + i], entry, memory_order_release);
	}
	range->nr_used += count;
}

static struct sn_range *range_with(const struct sn_node *node, size_t count, bool fresh, size_t *at)
	SN_REQUIRES(&node->page_lock)
{
	for (struct sn_range *range = node->ranges; range != NULL; range = range->next) {
		if (range->nr_segments - range->nr_used < count)
			continue;
		*at = find_unused(range, count, fresh);
		if (*at < range->nr_segments)
			return range;
	}
	return NULL;
}

/* From level 2 on, places of freed blocks are the last to be used again. */
struct sn_segment *sn_segments_reserve(struct sn_node *node, size_t count)
{
	struct sn_range *range = NULL;
	size_t at = 0;

	if (sn_hardened > 1)
		range = range_with(node, count, true, &at);
	if (range == NULL)
		range = range_with(node, count, false, &at);
	if (range == NULL) {
		range = range_add(node, count);
		if (range == NULL)
			return NULL;
		at = 0;
	}
	mark_used(node, range, at, count, false);
	return (struct sn_segment *)(range->base + (at << SN_SEG_SHIFT));
}

static struct sn_range *range_of(struct sn_node *node, const void *p) SN_REQUIRES(&node->page_lock)
{
	for (struct sn_range *range = node->ranges; range != NULL; range = range->next)
		if ((uintptr_t)p - (uintptr_t)range->base < range->nr_segments << SN_SEG_SHIFT)
			return range;
	return NULL;
}

bool sn_segments_extend(struct sn_node *node, struct sn_segment *segment, size_t have, size_t more)
{
	struct sn_range *range = range_of(node, segment);
	size_t at = ((size_t)((char *)segment - range->base) >> SN_SEG_SHIFT) + have;

	if (at + more > range->nr_segments)
		return false;
	for (size_t i = 0; i < more; i++)
		if (segment_used(range->state[at + i]))
			return false;
	mark_used(node, range, at, more, true);
	return true;
}

void sn_segments_hide(struct sn_node *node, struct sn_segment *segment, size_t count, bool hide)
{
	size_t number = ((uintptr_t)segment - sn_window) >> SN_SEG_SHIFT;

	for (size_t i = 0; i < count; i++) {
		uint8_t entry = (uint8_t)(node->index | (i > 0 ? SN_SEG_CONTINUED : 0));

		atomic_store_explicit(&sn_segmap[number + i], hide ? SN_NODE_NONE : entry,
				      memory_order_release);
	}
}

void sn_segments_release(struct sn_node *node, struct sn_segment *segment, size_t count)
{
	struct sn_range *range = range_of(node, segment);
	size_t at = (size_t)((char *)segment - range->base) >> SN_SEG_SHIFT;

	sn_segments_hide(node, segment, count, true);
	for (size_t i = 0; i < count; i++)
		sn_counter_set(range->state[at + i], SN_SEG_UNUSED);
	range->nr_used -= count;
}

void sn_segments_remember(struct sn_node *node, const void *block, unsigned int what)
{
	struct sn_range *range = range_of(node, block);
	size_t at = (size_t)((const char *)block - range->base) >> SN_SEG_SHIFT;
	size_t page = what == SN_SEG_USED ? 0 : sn_page_number(block);

	sn_counter_set(range->state[at], (uint16_t)(what + page));
}

size_t sn_ranges_trim(struct sn_node *node)
{
	struct sn_range **link = &node->ranges, *range;
	size_t bytes = 0;
	int saved = errno;

	sn_lock_acquire(&node->page_lock, SN_RANK_PAGES);
	while ((range = *link) != NULL) {
		size_t size = range->nr_segments << SN_SEG_SHIFT;

		if (range->nr_used > 0) {
			link = &range->next;
			continue;
		}
		/* Its record stays: whoever walks the list without the lock goes on from it, and
		 * finds no segment of it in the map. */
		__atomic_store_n(link, range->next, __ATOMIC_RELEASE);
		munmap(range->base, size);
		bytes += size;
	}
	sn_lock_release(&node->page_lock, SN_RANK_PAGES);
	errno = saved;
	return bytes;
}
