/*
 * metadata.c - pointers into the heap's addresses where nobody was given anything.
 */
#include "corruption.h"

static void metadata_header(void)
{
	char *p = malloc(1000);

	free(expect(segment_of(p) + 8192, "free of " OWN));
}

static void metadata_span(void)
{
	char *p = malloc(40 * MIB);

	free(expect(segment_of(p) + 8192, "free of " OWN));
}

static void metadata_realloc(void)
{
	char *p = malloc(1000);

	CHECK(realloc(expect(segment_of(p) + 8192, "realloc of " OWN), 100));
}

/* Reserved for the heap, and nothing there yet: in this segment, and in the next. */
static void unused_page(void)
{
	char *p = malloc(1000);

	free(expect(segment_of(p) + 3900 * PAGE, "free of " NOT_ALLOCATED));
}

static void unused_segment(void)
{
	char *p = malloc(1000);

	free(expect(segment_of(p) + SEGMENT + 500 * PAGE, "free of " NOT_ALLOCATED));
}

static const struct misuse misuses[] = {
	FROM(0, metadata_header), FROM(0, metadata_span),  FROM(0, metadata_realloc),
	FROM(0, unused_page),	  FROM(0, unused_segment),
};

const struct kind metadata = {
	.misuses = misuses,
	.nr_misuses = ARRAY_SIZE(misuses),
};
