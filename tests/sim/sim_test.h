/*
 * sim_test.h - a stand-in for the preload library: what a topology module is given.
 */
#ifndef SIM_TEST_H
#define SIM_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "module_args.h"

#define MIB  ((size_t)1 << 20)
#define GIB  ((size_t)1 << 30)
#define PAGE SN_PAGE_SIZE

static char warning[512]; /* the last one */
static int warnings;
static _Atomic size_t meta_left = SIZE_MAX; /* allocations until meta_alloc fails */
static char *window;
static int (*fault_hook)(enum sn_fault_point point); /* the core's */

static inline void *test_meta_alloc(size_t size)
{
	void *p;

	if (meta_left == 0 || size % PAGE != 0)
		return NULL;
	meta_left--;
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

static inline void test_warn(const char *key, const char *message)
{
	(void)key;
	warnings++;
	snprintf(warning, sizeof(warning), "%s", message);
}

static inline uintptr_t test_window_base(void)
{
	return (uintptr_t)window;
}

static inline bool test_in_range(uintptr_t addr)
{
	return addr - (uintptr_t)window < 64 * MIB;
}

static inline struct sn_module_args test_args(const char *description, const char *capacity)
{
	struct sn_module_args args = module_args(description, capacity);

	args.meta_alloc = test_meta_alloc;
	args.warn = test_warn;
	args.window_base = test_window_base;
	args.in_range = test_in_range;
	args.fault_hook = &fault_hook;
	warnings = 0;
	warning[0] = '\0';
	return args;
}

static inline int discover_from(const char *description, const char *capacity, bool xml,
				struct sn_topology *topology, char *message, size_t size)
{
	struct sn_module_args args = test_args(description, capacity);

	args.xml = xml;
	message[0] = '\0';
	return slabnode_module.discover(&args, topology, message, size);
}

/* A simulated machine that must be readable; its placement. */
static inline const struct sn_placement *machine(const char *description, const char *capacity)
{
	static struct sn_topology topology;
	char message[200];

	assert_int_equal(
		discover_from(description, capacity, false, &topology, message, sizeof(message)),
		0);
	return topology.placement;
}

#endif
