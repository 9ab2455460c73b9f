/*
 * middle.c - pointers into the middle of an object or a block.
 */
#include "corruption.h"

static void middle_object(void)
{
	char *p = malloc(1000);

	free(expect(p + 8, "free of " MIDDLE_OBJECT));
}

static void middle_object_16(void)
{
	char *p = malloc(1000);

	free(expect(p + 16, "free of " MIDDLE_OBJECT));
}

static void middle_object_realloc(void)
{
	char *p = malloc(1000);

	p = realloc(expect(p + 16, "realloc of " MIDDLE_OBJECT), 1020);
}

static void middle_object_usable_size(void)
{
	char *p = malloc(1000);

	CHECK(malloc_usable_size(expect(p + 16, "malloc_usable_size of " MIDDLE_OBJECT)));
}

static void middle_block(void)
{
	char *p = malloc(100000);

	free(expect(p + 16, "free of " MIDDLE_BLOCK));
}

static void middle_block_page(void)
{
	char *p = malloc(100000);

	free(expect(p + 2 * PAGE, "free of " MIDDLE_BLOCK));
}

static void middle_block_realloc(void)
{
	char *p = malloc(100000);

	CHECK(realloc(expect(p + PAGE, "realloc of " MIDDLE_BLOCK), 1000));
}

static void middle_span(void)
{
	char *p = malloc(40 * MIB);

	free(expect(p + PAGE, "free of " MIDDLE_BLOCK));
}

static void middle_span_far(void)
{
	char *p = malloc(40 * MIB);

	free(expect(p + 20 * MIB, "free of " MIDDLE_BLOCK));
}

static const struct misuse misuses[] = {
	FROM(0, middle_block),
	FROM(0, middle_block_page),
	FROM(0, middle_block_realloc),
	FROM(0, middle_span),
	FROM(0, middle_span_far),
	FROM(1, middle_object),
	FROM(1, middle_object_16),
	FROM(1, middle_object_realloc),
	FROM(1, middle_object_usable_size),
};

const struct kind middle = {
	.misuses = misuses,
	.nr_misuses = ARRAY_SIZE(misuses),
};
