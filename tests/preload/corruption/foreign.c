/*
 * foreign.c - pointers that were never the heap's: of the stack, of other mappings, of none.
 */
#include "corruption.h"

#include <sys/mman.h>

static char in_data[4096] __attribute__((aligned(64)));

static void foreign_stack(void)
{
	char buf[256] __attribute__((aligned(64)));

	memset(buf, 0, sizeof(buf));
	free(expect(buf + 64, "free of " FOREIGN));
}

static void foreign_static(void)
{
	free(expect(in_data + 128, "free of " FOREIGN));
}

static void foreign_mmap(void)
{
	char *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	free(expect(p + 4096, "free of " FOREIGN));
}

static void foreign_unmapped(void)
{
	free(expect((void *)0x123456780UL, "free of " FOREIGN));
}

static void foreign_low(void)
{
	free(expect((void *)16UL, "free of " FOREIGN));
}

static void foreign_high(void)
{
	free(expect((void *)0xffffffffffffff00UL, "free of " FOREIGN));
}

/* The middle of all addresses: no wrap of a subtraction may make a valid one of it. */
static void foreign_half(void)
{
	free(expect((void *)0x8000000000000010UL, "free of " FOREIGN));
}

static void foreign_realloc(void)
{
	CHECK(realloc(expect(in_data + 128, "realloc of " FOREIGN), 500));
}

static void foreign_realloc_none(void)
{
	CHECK(realloc(expect(in_data + 128, "realloc of " FOREIGN), 0) == NULL);
}

static void foreign_usable_size(void)
{
	CHECK(malloc_usable_size(expect(in_data + 128, "malloc_usable_size of " FOREIGN)));
}

static void *free_stack(void *arg)
{
	foreign_stack();
	return arg;
}

static void foreign_thread(void)
{
	for (int i = 0; i < 1000; i++)
		free(opaque(malloc((size_t)i * 10)));
	in_thread(free_stack, NULL);
}

static const struct misuse misuses[] = {
	FROM(0, foreign_stack),	   FROM(0, foreign_static),	  FROM(0, foreign_mmap),
	FROM(0, foreign_unmapped), FROM(0, foreign_low),	  FROM(0, foreign_high),
	FROM(0, foreign_half),	   FROM(0, foreign_realloc),	  FROM(0, foreign_usable_size),
	FROM(0, foreign_thread),   FROM(0, foreign_realloc_none),
};

const struct kind foreign = {
	.misuses = misuses,
	.nr_misuses = ARRAY_SIZE(misuses),
};
