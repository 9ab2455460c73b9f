/*
 * stale.c - memory that is read or written after it was freed.
 */
#include "corruption.h"

/* Others of the size come and go until somebody looks at the freed one. */
static void churn(size_t size)
{
	void *p[64];

	for (int round = 0; round < 20000; round++) {
		for (int i = 0; i < 64; i++)
			p[i] = opaque(malloc(size));
		for (int i = 0; i < 64; i++)
			free(p[i]);
	}
}

static void write_freed(void)
{
	char *p = malloc(100);

	expect(p, "write to freed memory");
	free(opaque(p));
	((volatile char *)p)[50] = 1;
	churn(100);
}

static void write_freed_closed(void)
{
	char *p = expect_fault(malloc(100));

	free(opaque(p));
	((volatile char *)opaque(p))[50] = 1;
}

static void read_freed_closed(void)
{
	char *p = expect_fault(malloc(3000));

	free(opaque(p));
	(void)((volatile char *)opaque(p))[2000];
}

static void read_freed_block(void)
{
	char *p = expect_fault(malloc(100000));

	free(opaque(p));
	(void)((volatile char *)opaque(p))[50000];
}

static void read_freed_span(void)
{
	char *p = expect_fault(malloc(8 * MIB));

	free(opaque(p));
	(void)((volatile char *)opaque(p))[5 * MIB];
}

static const struct misuse misuses[] = {
	FROM(2, read_freed_block),
	{"read_freed_span", read_freed_span, 2, 3, true},
	FROM(3, write_freed_closed),
	FROM(3, read_freed_closed),
	{"write_freed", write_freed, 2, 2, false},
};

const struct kind stale = {
	.misuses = misuses,
	.nr_misuses = ARRAY_SIZE(misuses),
};
