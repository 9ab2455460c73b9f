/*
 * caches.c - object caches and node-local allocation, as a program that merely runs under the
 * library finds them with dlsym().
 */
#include "check.h"

#include "../../include/slabnode.h"

#include <dlfcn.h>
#include <pthread.h>

static struct {
	struct slabnode_cache *(*create)(const char *, size_t, size_t, void (*)(void *));
	int (*destroy)(struct slabnode_cache *);
	void *(*alloc)(struct slabnode_cache *);
	void *(*alloc_node)(struct slabnode_cache *, int);
	void (*free)(struct slabnode_cache *, void *);
	size_t (*shrink)(struct slabnode_cache *);
	int (*set_movable)(struct slabnode_cache *, slabnode_get_fn *, slabnode_reclaim_fn *,
			   void *);
	void *(*malloc_node)(size_t, int);
	int (*node_of)(const void *);
	int (*node_state)(int);
	int (*max_node)(void);
} api;

#define FIND(member, name) (*(void **)&api.member = dlsym(RTLD_DEFAULT, name))

static void begin(void)
{
	if (!FIND(create, "slabnode_cache_create"))
		check_skip("the library is not loaded");
	FIND(destroy, "slabnode_cache_destroy");
	FIND(alloc, "slabnode_cache_alloc");
	FIND(alloc_node, "slabnode_cache_alloc_node");
	FIND(free, "slabnode_cache_free");
	FIND(shrink, "slabnode_cache_shrink");
	FIND(set_movable, "slabnode_cache_set_movable");
	FIND(malloc_node, "slabnode_malloc_node");
	FIND(node_of, "slabnode_node_of");
	FIND(node_state, "slabnode_node_state");
	FIND(max_node, "slabnode_max_node");
}

#define OBJECTS 5000

static void life(void)
{
	struct slabnode_cache *cache;
	static void *object[OBJECTS];

	begin();
	cache = api.create("test-life", 100, 64, NULL);
	CHECK(cache);
	for (int i = 0; i < OBJECTS; i++) {
		object[i] = api.alloc(cache);
		CHECK(object[i] && (uintptr_t)object[i] % 64 == 0);
		memset(object[i], i, 100);
	}
	CHECK(api.destroy(cache) == -EBUSY);
	for (int i = 0; i < OBJECTS; i++) {
		unsigned char *p = object[i];

		CHECK(p[0] == (unsigned char)i && p[99] == (unsigned char)i);
		if (i % 2)
			api.free(cache, p);
		else
			free(p); /* the same */
	}
	api.free(cache, NULL);
	/* Most slabs went when they became empty; the last are kept by what is cached. */
	CHECK(api.shrink(cache) > 0 && api.shrink(cache) == 0);
	CHECK(api.destroy(cache) == 0);
	CHECK(api.destroy(NULL) == 0);
}

static void set_up(void *object)
{
	memset(object, 0x5a, 48);
}

/* The constructor runs once for each object; what is in it when it is freed stays. */
static void constructor(void)
{
	struct slabnode_cache *cache;
	unsigned char *p;

	begin();
	cache = api.create("test-ctor", 48, 0, set_up);
	CHECK(cache);
	for (int i = 0; i < 1000; i++) {
		p = api.alloc(cache);
		CHECK(p && p[0] == 0x5a && p[47] == 0x5a);
		api.free(cache, p);
	}
	CHECK(api.destroy(cache) == 0);
}

/* Until its place is another cache's. */
static void destroyed(void)
{
	struct slabnode_cache *cache;

	begin();
	cache = api.create("test-destroyed", 48, 0, set_up);
	CHECK(cache);
	api.free(cache, api.alloc(cache));
	CHECK(api.destroy(cache) == 0);
	CHECK(api.destroy(cache) == -EINVAL);
	errno = 0;
	CHECK(!api.alloc(cache) && errno == EINVAL);
	errno = 0;
	CHECK(!api.alloc_node(cache, 0) && errno == EINVAL);
	CHECK(api.shrink(cache) == 0);
	CHECK(api.set_movable(cache, NULL, NULL, NULL) == -EINVAL);
	CHECK(api.create("test-next", 64, 0, NULL) == cache);
	api.free(cache, api.alloc(cache));
	CHECK(api.destroy(cache) == 0);
}

static void refused(void)
{
	begin();
	errno = 0;
	CHECK(!api.create("zero", 0, 0, NULL) && errno == EINVAL);
	CHECK(!api.create("large", 40000, 0, NULL) && errno == EINVAL);
	CHECK(!api.create("align", 64, 48, NULL) && errno == EINVAL);
	CHECK(!api.create("align", 64, 8192, NULL) && errno == EINVAL);
	CHECK(!api.malloc_node(64, 999) && errno == ENODEV);
	CHECK(api.node_state(999) == -ENODEV);
	CHECK(api.node_of(&api) == -ENOENT);
}

/* As many as there can be, each with another size than the one that had its place before. */
static void many(void)
{
	static struct slabnode_cache *cache[300];
	int n = 0;

	begin();
	for (int round = 0; round < 3; round++) {
		for (n = 0; n < 300; n++) {
			char name[16];
			unsigned char *p;

			snprintf(name, sizeof(name), "test-%d", n);
			cache[n] = api.create(name, 16 + (size_t)(n * 37 + round * 501) % 3000, 0,
					      NULL);
			if (!cache[n])
				break;
			p = api.alloc(cache[n]);
			CHECK(p);
			memset(p, n, 16);
			api.free(cache[n], p);
		}
		CHECK_MSG(n >= 200 && n < 300 && errno == ENOSPC, "%d caches", n);
		while (n-- > 0)
			CHECK(api.destroy(cache[n]) == 0);
	}
}

static void *user(void *arg)
{
	struct slabnode_cache *cache = arg;
	void *object[300];

	for (int round = 0; round < 300; round++) {
		for (int i = 0; i < 300; i++) {
			object[i] = api.alloc(cache);
			CHECK(object[i]);
			*(void **)object[i] = &object[i];
		}
		for (int i = 0; i < 300; i++) {
			CHECK(*(void **)object[i] == &object[i]);
			api.free(cache, object[i]);
		}
	}
	return NULL;
}

static void threads(void)
{
	struct slabnode_cache *cache;
	pthread_t t[6];

	begin();
	cache = api.create("test-threads", 72, 0, NULL);
	CHECK(cache);
	for (int i = 0; i < 6; i++)
		CHECK(pthread_create(&t[i], NULL, user, cache) == 0);
	for (int i = 0; i < 50; i++) {
		api.shrink(cache);
		usleep(1000);
	}
	for (int i = 0; i < 6; i++)
		CHECK(pthread_join(t[i], NULL) == 0);
	CHECK(api.destroy(cache) == 0);
}

/* Everything that is asked of a node is on it. */
static void nodes(void)
{
	struct slabnode_cache *cache;

	begin();
	cache = api.create("test-nodes", 200, 0, NULL);
	CHECK(cache);
	for (int node = 0; node < api.max_node(); node++)
		for (int i = 0; i < 200; i++) {
			void *p = api.alloc_node(cache, node);
			void *q = api.malloc_node(1 + (size_t)i * i * 10, node);

			CHECK(p && q);
			*(char *)p = *(char *)q = 1;
			CHECK(api.node_of(p) == node && api.node_of(q) == node);
			api.free(cache, p);
			free(q);
		}
	CHECK(api.destroy(cache) == 0);
}

static const struct row rows[] = {
	{"life", life},		  {"constructor", constructor},
	{"destroyed", destroyed}, {"refused", refused},
	{"many", many},		  {"threads", threads},
	{"nodes", nodes},
};

int main(int argc, char **argv)
{
	return run_rows(argc, argv, rows, ARRAY_SIZE(rows));
}
