/*
 * overwritten.c - the allocator's own memory, written by a stray pointer.
 */
#include "corruption.h"

/* The descriptor of the slab that p lies in: core/segment.h, 64 bytes a page behind the map of
 * caches and what is known of the segment. */
static unsigned char *descriptor_of(const void *p)
{
	size_t page = ((uintptr_t)p & (SEGMENT - 1)) / PAGE;
	unsigned char *at =
		(unsigned char *)segment_of(p) + PAGE + 128 + (page - HEADER_PAGES) * 64;
	uint16_t back;

	memcpy(&back, at, sizeof(back));
	return at - (size_t)back * 64;
}

static void overwrite(size_t offset)
{
	void *p = malloc(100), *q = malloc(100);
	unsigned char *slab = descriptor_of(p);

	expect(slab, "the allocator's own memory was overwritten");
	slab[offset] ^= 0x40;
	free(p);
	free(q);
}

static void overwritten_cache(void)
{
	overwrite(3);
}

static void overwritten_list(void)
{
	overwrite(8);
}

static void overwritten_count(void)
{
	overwrite(27);
}

static const struct misuse misuses[] = {
	{"overwritten_cache", overwritten_cache, 2, 2, true},
	{"overwritten_list", overwritten_list, 2, 2, true},
	{"overwritten_count", overwritten_count, 2, 2, true},
};

const struct kind overwritten = {
	.misuses = misuses,
	.nr_misuses = ARRAY_SIZE(misuses),
};
