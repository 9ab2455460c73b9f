/*
 * promises.c - what the levels promise of memory that nobody misuses.
 */
#include "corruption.h"

/* Freed memory reads as zero, where it can be read at all. */
static void freed_is_zero(void)
{
	static char *p[20000];
	size_t n = 20000;

	not_before_level(2);
	for (size_t i = 0; i < n; i++)
		memset(p[i] = malloc(200), 0x55, 200);
	for (size_t i = 0; i < n; i++) {
		bool closed = level() == 3; /* most have pages of their own there */

		free(opaque(p[i]));
		CHECK(closed || all_zero(opaque(p[i]), 200));
	}
}

/* What is freed is not handed out again at once. */
static void freed_of_size_waits(size_t size)
{
	void *p[100];

	not_before_level(2);
	for (int i = 0; i < 100; i++) {
		p[i] = malloc(size);
		free(opaque(p[i]));
		for (int k = 0; k < i; k++)
			CHECK(p[k] != p[i]);
	}
}

static void freed_waits(void)
{
	freed_of_size_waits(200);
}

static void freed_block_waits(void)
{
	freed_of_size_waits(100000);
}

static void write_places(void)
{
	uintptr_t offset[64];

	for (int i = 0; i < 64; i++)
		offset[i] = (uintptr_t)opaque(malloc(200)) & (SEGMENT - 1);
	CHECK(write(1, offset, sizeof(offset)) == (ssize_t)sizeof(offset));
}

static void read_places(char *places, size_t size)
{
	char err[1024];

	memset(places, 0, size);
	CHECK(run_apart("_write_places", places, err, sizeof(err)) == 0);
}

/* Processes that do the same find their objects at different places of their segments.  Two of them
 * may not: there are 16 places where a segment's objects can begin. */
static void places_differ(void)
{
	char first[1024], other[1024];
	bool differ = false;

	not_before_level(2);
	read_places(first, sizeof(first));
	for (int i = 0; i < 8 && !differ; i++) {
		read_places(other, sizeof(other));
		differ = memcmp(first, other, 512) != 0;
	}
	CHECK(differ);
}

/* Nothing of the allocator's is in an object, live or free, or between two of a slab. */
static void nothing_inside(void)
{
	unsigned char *p[2000];

	not_before_level(1);
	for (int i = 0; i < 2000; i++) {
		p[i] = malloc(64);
		memset(p[i], 0xa5, malloc_usable_size(p[i]));
	}
	for (int i = 0; i < 2000; i++)
		for (size_t k = 0; k < malloc_usable_size(p[i]); k++)
			CHECK(p[i][k] == 0xa5);
	if (level() > 1)
		return; /* freed_is_zero has more to say */
	for (int i = 0; i < 2000; i += 2)
		free(opaque(p[i]));
	for (int i = 0; i < 2000; i += 2)
		for (size_t k = 0; k < 64; k++)
			CHECK(p[i][k] == 0xa5);
}

static const struct row rows[] = {
	{"freed_is_zero", freed_is_zero},	  {"freed_waits", freed_waits},
	{"freed_block_waits", freed_block_waits}, {"places_differ", places_differ},
	{"nothing_inside", nothing_inside},	  {"_write_places", write_places},
};

const struct kind promises = {
	.rows = rows,
	.nr_rows = ARRAY_SIZE(rows),
};
