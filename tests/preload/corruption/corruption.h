/*
 * corruption.h - pointers that are not the heap's, objects freed twice, memory used after it was
 * freed or beyond its end: which levels of SLABNODE_HARDENED notice what, and what they say, byte
 * for byte.
 *
 * A file has the misuses of one kind, each a deed in a process of its own, which writes the line
 * that it expects to stdout before it does it.  From a row's level on the process must end by
 * SIGABRT with just this line on stderr, or by SIGSEGV with none where a closed page is touched.
 * Below it the deed must go unnoticed: so each row is seen to depend on the check that its level
 * switches on.
 *
 * These rows hold under slabnode only.
 */
#ifndef TESTS_CORRUPTION_H
#define TESTS_CORRUPTION_H

#include "../check.h"

#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>

#define SEGMENT	     (16UL * MIB)
#define HEADER_PAGES 65UL
#define PAGE	     4096UL

#define FOREIGN	      "a pointer that is not from this allocator"
#define OWN	      "a pointer into the allocator's own memory"
#define MIDDLE_OBJECT "a pointer into the middle of an object"
#define MIDDLE_BLOCK  "a pointer into the middle of a block"
#define NOT_ALLOCATED "memory that is not allocated"

struct misuse {
	const char *name;
	void (*deed)(void);
	int from, to;	/* the levels that notice it */
	bool unsettled; /* below them it may end in any way */
};

/* A row that is named as its deed, noticed from a level on. */
#define FROM(level, deed)                                                                          \
	{                                                                                          \
#deed, deed, level, 3, false                                                       \
	}

/* The misuses of one kind, and what holds there, rather than is noticed. */
struct kind {
	const struct misuse *misuses;
	size_t nr_misuses;
	const struct row *rows;
	size_t nr_rows;
};

extern const struct kind foreign, metadata, middle, twice, freed, sized, stale, overflow,
	overwritten, caches, handled, named, promises;

/* SLABNODE_HARDENED, as the process has it. */
int level(void);
void not_before_level(int from);

/* The line that is to come, and the pointer, ready to be misused. */
__attribute__((format(printf, 2, 3))) void *expect(void *p, const char *fmt, ...);
void *expect_fault(void *p);

/* Runs a deed in a process of its own; returns its status, with what it wrote. */
int run_apart(const char *deed, char *expected, char *err, size_t size);

static inline char *segment_of(const void *p)
{
	return (char *)((uintptr_t)p & ~(SEGMENT - 1));
}

static inline void in_thread(void *(*fn)(void *), void *arg)
{
	pthread_t t;

	CHECK(pthread_create(&t, NULL, fn, arg) == 0);
	CHECK(pthread_join(t, NULL) == 0);
}

static inline void *function(const char *name)
{
	void *fn = dlsym(RTLD_DEFAULT, name);

	CHECK_MSG(fn, "no %s", name);
	return fn;
}

#endif
