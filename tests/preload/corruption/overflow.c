/*
 * overflow.c - writes beyond the end, or before the beginning.
 */
#include "corruption.h"

static void write_behind_it(char *p)
{
	size_t room = malloc_usable_size(p);

	memset(p, 1, room);
	((volatile char *)expect_fault(p))[room] = 1;
}

static void write_behind(size_t size)
{
	char *p = malloc(size), *q = malloc(size);

	CHECK(p && q);
	write_behind_it(p);
	free(q);
}

static void overflow_object(void)
{
	write_behind(100);
}

static void overflow_object_1(void)
{
	write_behind(1);
}

static void overflow_object_32k(void)
{
	write_behind(32768);
}

static void overflow_block(void)
{
	write_behind(100000);
}

/* Longer blocks have segments for themselves, closed behind the block. */
static void overflow_span(void)
{
	write_behind(8 * MIB);
}

/* What it had behind its new end was open once. */
static void overflow_span_resized(void)
{
	static const size_t sizes[] = {8 * MIB, 40 * MIB, 20 * MIB, 90 * MIB, 30 * MIB};
	char *p = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		CHECK(p = realloc(opaque(p), sizes[i]));
		memset(p, 1, malloc_usable_size(p));
	}
	write_behind_it(p);
}

/* Whatever is first in a segment: below it the header would be. */
static void below_first(void)
{
	char *p = malloc(100);

	((volatile char *)expect_fault(segment_of(p)))[HEADER_PAGES * PAGE] = 1;
}

/* The last page of a full segment: behind it the next header would be. */
static void behind_last(void)
{
	char *first = malloc(60000), *p = first;

	while (segment_of(p) == segment_of(first))
		p = malloc(60000);
	((volatile char *)expect_fault(segment_of(first)))[SEGMENT - 1] = 1;
}

static const struct misuse misuses[] = {
	FROM(2, below_first),
	FROM(2, behind_last),
	{"overflow_span", overflow_span, 2, 3, true},
	{"overflow_span_resized", overflow_span_resized, 2, 3, true},
	FROM(3, overflow_object),
	FROM(3, overflow_object_1),
	FROM(3, overflow_object_32k),
	FROM(3, overflow_block),
};

const struct kind overflow = {
	.misuses = misuses,
	.nr_misuses = ARRAY_SIZE(misuses),
};
