/*
 * A program that defines malloc() itself, and cannot serve anybody before its main() has begun, as
 * GNU Common Lisp's: the library must neither use it that early nor stand in its way.
 */
#include "proc.h"

#include <dlfcn.h>
#include <pthread.h>

#define HEAP (32 * MIB)

static char heap[HEAP] __attribute__((aligned(16)));
static size_t used;
static bool ready;

/* Memory is never used again; its size stands before it. */
void *malloc(size_t size)
{
	size_t room = (size + 31) & ~(size_t)15;
	size_t at = __atomic_fetch_add(&used, room, __ATOMIC_RELAXED);

	CHECK_MSG(ready, "malloc was called before main");
	CHECK(at + room <= HEAP);
	memcpy(heap + at, &size, sizeof(size));
	return heap + at + 16;
}

void free(void *p)
{
	CHECK_MSG(ready || !p, "free was called before main");
}

void *calloc(size_t n, size_t size)
{
	return malloc(n * size); /* of zeroes */
}

void *realloc(void *p, size_t size)
{
	char *q = malloc(size);
	size_t had = 0;

	if (p)
		memcpy(&had, (char *)p - 16, sizeof(had));
	return memcpy(q, p ? p : q, had < size ? had : size);
}

static bool is_own(const void *p)
{
	return (const char *)p >= heap && (const char *)p < heap + HEAP;
}

/* main() has been reached. */
static void not_before_main(void)
{
	char *copy = strdup("text");

	CHECK(is_own(copy) && strcmp(copy, "text") == 0);
}

static void *allocate(void *arg)
{
	for (int i = 0; i < 1000; i++)
		CHECK(is_own(opaque(malloc((size_t)i))));
	return arg;
}

/* Threads and libraries come and go, and none of the library's threads with them. */
static void stands_by(void)
{
	pthread_t t;

	for (int i = 0; i < 20; i++) {
		CHECK(pthread_create(&t, NULL, allocate, NULL) == 0);
		CHECK(pthread_join(t, NULL) == 0);
	}
	CHECK(dlopen("libm.so.6", RTLD_NOW));
	for (int i = 0; i < 300 && count_entries("/proc/self/task") > 1; i++)
		sleep_ms(10); /* the last thread's entry stays for a moment */
	CHECK(count_entries("/proc/self/task") == 1);
	if (under_slabnode()) {
		int (*max_node)(void) = (int (*)(void))dlsym(RTLD_DEFAULT, "slabnode_max_node");

		CHECK(max_node && max_node() == 1);
	}
}

static const struct row rows[] = {
	{"not-before-main", not_before_main},
	{"stands-by", stands_by},
};

int main(int argc, char **argv)
{
	ready = true;
	return run_rows(argc, argv, rows, ARRAY_SIZE(rows));
}
