/*
 * named.c - who allocated what is misused: in level 3, where the site of every object is known, the
 * line goes on with it.
 *
 * Below that level the rows are misuses like others.
 */
#include "corruption.h"

typedef void delete_sized_fn(void *p, size_t size);

/* Nothing but the call stands in it, so its frame lies close behind its beginning. */
static __attribute__((noinline)) char *allocate(size_t size)
{
	char *p = malloc(size);

	CHECK(p);
	memset(p, 1, size);
	return p;
}

static __attribute__((noinline)) void *allocate_elsewhere(void *arg)
{
	CHECK(arg == NULL);
	return opaque(malloc(200));
}

#define CODE_OF_ONE 256

/* Behind the expected line: where the first frame that is told must be. */
static void from(const void *function)
{
	Dl_info info;
	size_t begin;

	CHECK(dladdr(function, &info) != 0);
	begin = (size_t)((const char *)function - (const char *)info.dli_fbase);
	dprintf(1, "site %zx %zx\n", begin, begin + CODE_OF_ONE);
}

static void *expect_named(void *p, const char *what)
{
	expect(p, "%s", what);
	from((void *)(uintptr_t)&allocate);
	return opaque(p);
}

static void twice_of_size(size_t size)
{
	char *p = expect_named(allocate(size), "double free");

	free(opaque(p));
	free(opaque(p));
}

static void named_double(void)
{
	twice_of_size(100);
}

static void named_double_block(void)
{
	twice_of_size(200000);
}

/* The last that had the address is told. */
static void named_double_again(void)
{
	char *p = NULL, *q = opaque(malloc(100));

	free(opaque(q));
	for (int i = 0; i < 100000 && p != q; i++) {
		p = allocate(100);
		if (p != q)
			free(opaque(p));
	}
	if (p != q)
		p = allocate(100);
	expect_named(p, "double free");
	free(opaque(p));
	free(opaque(p));
}

static void named_middle(void)
{
	free((char *)expect_named(allocate(1000) + 512, "free of " MIDDLE_OBJECT));
}

static void named_middle_block(void)
{
	free(expect_named(allocate(200000) + 4096, "free of " MIDDLE_BLOCK));
}

static void named_middle_span(void)
{
	free(expect_named(allocate(40 * MIB) + 30 * MIB, "free of " MIDDLE_BLOCK));
}

static void named_realloc(void)
{
	char *p = expect_named(allocate(100), "realloc of freed memory");

	free(opaque(p));
	CHECK(realloc(opaque(p), 300) != p);
}

static void named_size(void)
{
	((delete_sized_fn *)function("_ZdlPvm"))(
		expect_named(allocate(40), "delete with size 400, the object has 48"), 400);
}

static void named_thread(void)
{
	pthread_t t;
	void *p;

	CHECK(pthread_create(&t, NULL, allocate_elsewhere, NULL) == 0);
	CHECK(pthread_join(t, &p) == 0);
	expect(p, "double free");
	from((void *)(uintptr_t)&allocate_elsewhere);
	free(opaque(p));
	free(opaque(p));
}

static const struct misuse misuses[] = {
	FROM(1, named_double),	FROM(0, named_double_block), FROM(1, named_double_again),
	FROM(1, named_middle),	FROM(0, named_middle_block), FROM(0, named_middle_span),
	FROM(1, named_realloc), FROM(1, named_size),	     FROM(1, named_thread),
};

const struct kind named = {.misuses = misuses, .nr_misuses = ARRAY_SIZE(misuses)};
