/*
 * caches.c - objects of a program's own caches (slabnode.h), freed by the wrong one.
 */
#include "corruption.h"

static void *new_cache(void)
{
	void *(*create)(const char *, size_t, size_t, void (*)(void *)) =
		(void *(*)(const char *, size_t, size_t, void (*)(void *)))function(
			"slabnode_cache_create");
	void *cache = create("cache", 100, 0, NULL);

	CHECK(cache);
	return cache;
}

static void *cache_alloc(void *cache)
{
	return ((void *(*)(void *))function("slabnode_cache_alloc"))(cache);
}

static void cache_free(void *cache, void *object)
{
	((void (*)(void *, void *))function("slabnode_cache_free"))(cache, object);
}

#define OTHER_CACHE "slabnode_cache_free of an object of another cache"

static void cache_free_other(void)
{
	void *one = new_cache(), *other = new_cache();

	cache_free(other, expect(cache_alloc(one), OTHER_CACHE));
}

static void cache_free_malloc(void)
{
	cache_free(new_cache(), expect(malloc(100), OTHER_CACHE));
}

static void cache_free_block(void)
{
	cache_free(new_cache(), expect(malloc(100000), OTHER_CACHE));
}

static void cache_free_twice(void)
{
	void *cache = new_cache(), *p = cache_alloc(cache);

	expect(p, "double free");
	cache_free(cache, p);
	cache_free(cache, opaque(p));
}

static void cache_free_middle(void)
{
	void *cache = new_cache();

	cache_free(cache, expect((char *)cache_alloc(cache) + 16, "free of " MIDDLE_OBJECT));
}

static const struct misuse misuses[] = {
	FROM(1, cache_free_other), FROM(1, cache_free_malloc), FROM(1, cache_free_block),
	FROM(1, cache_free_twice), FROM(1, cache_free_middle),
};

const struct kind caches = {
	.misuses = misuses,
	.nr_misuses = ARRAY_SIZE(misuses),
};
