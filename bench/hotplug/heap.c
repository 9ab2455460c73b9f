/* SPDX-License-Identifier: MIT */
/*
 * heap.c - see hotplug.h.
 *
 * Objects come in groups of about 256 KiB, as a session or a request of a program makes them:
 * a group has objects of all sizes, and mostly stays or goes as a whole.  Groups that stay and
 * groups that go lie side by side, and a fifth of the objects of those that stay go as well, so
 * that slabs are partly filled and free runs are broken by live ones.
 *
 * Of the bytes, 35 in 100 are objects up to 2 KiB, 30 up to 32 KiB (slabs both), 30 up to
 * 4 MiB (runs), and 5 of up to 12 MiB (spans).
 */
#include "hotplug.h"

#include "../../core/thread.h"

#define GROUP_BYTES ((size_t)256 << 10)

static uint64_t seed = 88172645463325252u;

struct object {
	void *p;
	uint32_t size;
};

/* What goes: allocated and freed again and again. */
static struct object *passing;
static size_t nr_passing;
static unsigned int home;

static uint64_t draw(uint64_t bound)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 11) % bound;
}

/* Each power of two equally likely, uniform within. */
static size_t draw_log(unsigned int low, unsigned int high)
{
	size_t base = (size_t)1 << (low + draw(high - low));

	return base + draw(base);
}

/* Kinds are drawn by bytes: the rarer the larger they are. */
static size_t draw_size(void)
{
	static const struct {
		unsigned int share, low, high;
		size_t mean;
	} kinds[] = {
		{35, 4, 11, 438},
		{30, 11, 15, 11520},
		{30, 15, 22, 891000},
	};
	static uint64_t weight[3], total;

	if (total == 0)
		for (size_t k = 0; k < 3; k++)
			total += weight[k] = kinds[k].share * ((uint64_t)1 << 32) / kinds[k].mean;
	for (uint64_t at = draw(total), k = 0;; at -= weight[k++])
		if (at < weight[k])
			return draw_log(kinds[k].low, kinds[k].high);
}

static void touch(void *p, size_t size)
{
	for (size_t at = 0; at < size; at += SN_PAGE_SIZE)
		((volatile char *)p)[at] = 1;
	((volatile char *)p)[size - 1] = 1;
}

static void *object_new(size_t size)
{
	void *p = malloc(size);

	if (p == NULL)
		die("no memory for an object of %zu bytes", size);
	touch(p, size);
	return p;
}

void heap_rest(unsigned int node, size_t bytes)
{
	sn_thread_prefer(node);
	for (size_t done = 0; done < bytes;) {
		size_t size = draw_size();

		object_new(size);
		done += size;
	}
}

void heap_large(unsigned int node, size_t bytes)
{
	sn_thread_prefer(node);
	for (size_t done = 0; done < bytes;) {
		size_t size = MIB + draw(7 * MIB);

		size = size < bytes - done ? size : bytes - done;
		object_new(size);
		done += size;
	}
}

static void push(struct object *list, size_t *count, size_t max, void *p, size_t size)
{
	if (*count == max)
		die("too many objects");
	list[(*count)++] = (struct object){p, (uint32_t)size};
}

void heap_mixed(unsigned int node, size_t live, size_t cached)
{
	size_t max = (live + cached) / 64 + 1000, total = live * 5 / 4 + cached, done = 0,
	       stays = 0;

	home = node;
	passing = map_own(max * sizeof(*passing));
	sn_thread_prefer(node);
	while (done < total) {
		/* The part of what is still to come that has to stay. */
		bool keep = draw(total) < live * 5 / 4 && stays < live;

		for (size_t group = 0; group < GROUP_BYTES;) {
			size_t size = draw(170000) == 0 ? 8 * MIB + draw(4 * MIB) : draw_size();
			void *p;

			if (keep && size > GROUP_BYTES)
				continue; /* so that `live` is met */
			p = object_new(size);
			group += size;
			done += size;
			if (keep && draw(5) > 0)
				stays += size;
			else
				push(passing, &nr_passing, max, p, size);
		}
	}
	for (size_t i = 0; i < nr_passing; i++)
		free(passing[i].p);
}

void heap_cache_again(void)
{
	sn_thread_prefer(home);
	for (size_t i = 0; i < nr_passing; i++)
		passing[i].p = object_new(passing[i].size);
	for (size_t i = 0; i < nr_passing; i++)
		free(passing[i].p);
}
