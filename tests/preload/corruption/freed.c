/*
 * freed.c - what was freed, by other calls than free().
 */
#include "corruption.h"

static void realloc_freed(size_t had, size_t wanted)
{
	void *p = malloc(had);

	expect(p, "realloc of freed memory");
	free(opaque(p));
	p = realloc(opaque(p), wanted);
}

static void usable_size_freed(size_t had)
{
	void *p = malloc(had);

	expect(p, "malloc_usable_size of freed memory");
	free(opaque(p));
	CHECK(malloc_usable_size(opaque(p)));
}

static void freed_realloc(void)
{
	realloc_freed(100, 110);
}

static void freed_realloc_none(void)
{
	void *p = malloc(100);

	expect(p, "realloc of freed memory");
	free(opaque(p));
	CHECK(realloc(opaque(p), 0) == NULL);
}

static void freed_usable_size(void)
{
	usable_size_freed(100);
}

static void freed_block_realloc(void)
{
	realloc_freed(100000, 10);
}

static void freed_block_usable_size(void)
{
	usable_size_freed(100000);
}

static void freed_span_realloc(void)
{
	realloc_freed(200 * MIB, 10);
}

static void freed_span_usable_size(void)
{
	usable_size_freed(8 * MIB);
}

static const struct misuse misuses[] = {
	FROM(0, freed_block_realloc), FROM(0, freed_block_usable_size),
	FROM(0, freed_span_realloc),  FROM(0, freed_span_usable_size),
	FROM(1, freed_realloc),	      FROM(1, freed_usable_size),
	FROM(1, freed_realloc_none),
};

const struct kind freed = {
	.misuses = misuses,
	.nr_misuses = ARRAY_SIZE(misuses),
};
