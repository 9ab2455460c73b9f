/*
 * A second preloaded library that allocates in its constructor, registers fork handlers that
 * allocate, and frees in its destructor: before or after the library, as LD_PRELOAD orders them.
 */
#include "check.h"

#include <pthread.h>

static void *early[64];

/* Several threads may be forking at once, each between its own handlers. */
static __thread void *in_fork;

static void fork_prepare(void)
{
	in_fork = malloc(3000);
	CHECK(in_fork);
	memset(in_fork, 7, 3000);
}

static void fork_done(void)
{
	char *p = realloc(in_fork, 30000);

	CHECK(p && p[2999] == 7);
	free(p);
	in_fork = NULL;
}

__attribute__((constructor)) static void early_start(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(early); i++) {
		early[i] = malloc(i * i * 10);
		CHECK(early[i]);
		fill(early[i], i * i * 10, i);
	}
	CHECK(pthread_atfork(fork_prepare, fork_done, fork_done) == 0);
}

/* The last word of the process, unless something stopped it: the runner waits for this line. */
__attribute__((destructor)) static void early_end(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(early); i++) {
		CHECK_INTACT(early[i], i * i * 10, i);
		early[i] = realloc(early[i], i * 20 + 1);
		CHECK(early[i]);
		free(early[i]);
	}
	if (getenv("TEST_EARLY"))
		dprintf(1, "early library done\n");
}
