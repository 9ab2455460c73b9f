/*
 * sized.c - sized and aligned forms that do not fit the object.
 */
#include "corruption.h"

typedef void *new_fn(size_t size);
typedef void *new_aligned_fn(size_t size, size_t align);
typedef void delete_sized_fn(void *p, size_t size);
typedef void delete_sized_aligned_fn(void *p, size_t size, size_t align);

static void *new_object(size_t size)
{
	return ((new_fn *)function("_Znwm"))(size);
}

static void delete_sized(void *p, size_t size)
{
	((delete_sized_fn *)function("_ZdlPvm"))(p, size);
}

static void delete_too_large(void)
{
	delete_sized(expect(new_object(40), "delete with size 400, the object has 48"), 400);
}

static void delete_too_small(void)
{
	delete_sized(expect(new_object(400), "delete with size 100, the object has 448"), 100);
}

static void delete_block(void)
{
	delete_sized(expect(new_object(100000), "delete with size 90000, the object has 102400"),
		     90000);
}

static void delete_array(void)
{
	((delete_sized_fn *)function("_ZdaPvm"))(
		expect(((new_fn *)function("_Znam"))(64), "delete with size 8, the object has 64"),
		8);
}

static void delete_middle(void)
{
	delete_sized(expect((char *)new_object(400) + 16, "free of " MIDDLE_OBJECT), 384);
}

static void delete_twice(void)
{
	void *p = new_object(40);

	expect(p, "double free");
	delete_sized(p, 40);
	delete_sized(opaque(p), 40);
}

/* An object of 48 bytes that is not aligned to 64. */
static void *unaligned_object(void)
{
	void *p = new_object(40);

	while ((uintptr_t)p % 64 == 0)
		p = new_object(40);
	return p;
}

static unsigned long alignment_of(const void *p)
{
	return (uintptr_t)p & -(uintptr_t)p;
}

static void delete_unaligned(void)
{
	void *p = unaligned_object();

	expect(p, "delete with alignment 64, the object has %lu", alignment_of(p));
	((delete_sized_fn *)function("_ZdlPvSt11align_val_t"))(p, 64);
}

static void delete_unaligned_sized(void)
{
	void *p = unaligned_object();

	expect(p, "delete with alignment 64, the object has %lu", alignment_of(p));
	((delete_sized_aligned_fn *)function("_ZdlPvmSt11align_val_t"))(p, 40, 64);
}

/* Allocated for an alignment of 64, so in 64 bytes; the plain form would have 48. */
static void delete_without_alignment(void)
{
	void *p = ((new_aligned_fn *)function("_ZnwmSt11align_val_t"))(40, 64);

	delete_sized(expect(p, "delete with size 40, the object has 64"), 40);
}

static void free_sized_wrong(void)
{
	delete_sized_fn *free_sized = (delete_sized_fn *)function("free_sized");

	free_sized(expect(malloc(40), "free_sized with size 49, the object has 48"), 49);
}

static void free_aligned_sized_wrong(void)
{
	void (*free_aligned_sized)(void *, size_t, size_t) =
		(void (*)(void *, size_t, size_t))function("free_aligned_sized");

	free_aligned_sized(expect(aligned_alloc(64, 128),
				  "free_aligned_sized with size 64, the object has 128"),
			   64, 64);
}

/* Valid calls of the sized and aligned forms are none of the above. */
static void sized_right(void)
{
	new_aligned_fn *new_aligned = (new_aligned_fn *)function("_ZnwmSt11align_val_t");
	delete_sized_aligned_fn *delete_aligned =
		(delete_sized_aligned_fn *)function("_ZdlPvmSt11align_val_t");
	delete_sized_fn *free_sized = (delete_sized_fn *)function("free_sized");

	for (size_t size = 0; size < 200000; size += 1 + size / 7) {
		delete_sized(new_object(size), size);
		free_sized(malloc(size), size);
		free_sized(realloc(malloc(size), size + 3), size + 3);
		free_sized(realloc(malloc(size + 100), size + 1), size + 1);
		for (size_t align = 1; align <= 4 * MIB; align *= 8)
			delete_aligned(new_aligned(size, align), size, align);
	}
}

/* The object is aligned so, but nothing is ever aligned like that. */
static void free_aligned_sized_odd(void)
{
	void (*free_aligned_sized)(void *, size_t, size_t) =
		(void (*)(void *, size_t, size_t))function("free_aligned_sized");
	char *p = aligned_alloc(64, 128);

	expect(p, "free_aligned_sized with alignment 48, the object has %lu", alignment_of(p));
	free_aligned_sized(p, 48, 128);
}

static const struct misuse misuses[] = {
	FROM(1, delete_too_large),
	FROM(1, delete_too_small),
	FROM(1, delete_block),
	FROM(1, delete_array),
	FROM(1, delete_middle),
	FROM(1, delete_twice),
	FROM(1, delete_unaligned),
	FROM(1, delete_unaligned_sized),
	FROM(1, delete_without_alignment),
	FROM(1, free_sized_wrong),
	FROM(1, free_aligned_sized_wrong),
	FROM(1, free_aligned_sized_odd),
};

static const struct row rows[] = {
	{"sized_right", sized_right},
};

const struct kind sized = {
	.misuses = misuses,
	.nr_misuses = ARRAY_SIZE(misuses),
	.rows = rows,
	.nr_rows = ARRAY_SIZE(rows),
};
