/*
 * base.h - what every file of the core builds on: constants, small helpers, and the way
 * the allocator ends a program whose heap is corrupted.
 *
 * The core allocates nothing from libc, opens nothing, reads no environment.  All its
 * symbols begin with sn_ and are hidden in the shared library; the static library that the
 * unit tests link sees them under the same names.
 */
#ifndef SLABNODE_BASE_H
#define SLABNODE_BASE_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SN_PAGE_SHIFT 12
#define SN_PAGE_SIZE  ((size_t)1 << SN_PAGE_SHIFT)

/* Node indexes.  An index is dense and never reused; the operating system's node number
 * stands in struct sn_node.  Index 0 means "not ours", so that the segment map can be
 * zero-filled memory; index 1 is the internal node, which serves what libc allocates on the
 * library's own behalf and never leaves. */
#define SN_NODE_NONE	 0
#define SN_NODE_INTERNAL 1
#define SN_FIRST_NODE	 2
#define SN_MAX_NODES	 127
/* Set in a segment map entry for the later segments of a span: no header stands there. */
#define SN_SEG_CONTINUED 0x80

/* Whether nodes may leave and return.  A library without (-Dhotplug=false) is for measuring what
 * that costs: states are constants then, and what only transitions need is not there. */
#ifdef SLABNODE_WITHOUT_HOTPLUG
#define SN_HOTPLUG 0
#else
#define SN_HOTPLUG 1
#endif

/* Cache indexes: 0 is "no slab" in a segment's page map. */
#define SN_MAX_CACHES 256

#define sn_likely(x)   __builtin_expect(!!(x), 1)
#define sn_unlikely(x) __builtin_expect(!!(x), 0)
#define SN_NOINLINE    __attribute__((noinline))
#define SN_COLD	       __attribute__((cold, noinline))
#define SN_INLINE      static inline __attribute__((always_inline))
#define SN_TLS	       __attribute__((tls_model("initial-exec")))
/* On variables of the fast paths: reached without the global offset table. */
#define SN_HIDDEN	 __attribute__((visibility("hidden")))
#define SN_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* Each argument is evaluated once. */
#define sn_min(a, b)                                                                               \
	__extension__({                                                                            \
		__auto_type min_a_ = (a);                                                          \
		__auto_type min_b_ = (b);                                                          \
		min_a_ < min_b_ ? min_a_ : min_b_;                                                 \
	})
#define sn_max(a, b)                                                                               \
	__extension__({                                                                            \
		__auto_type max_a_ = (a);                                                          \
		__auto_type max_b_ = (b);                                                          \
		max_a_ > max_b_ ? max_a_ : max_b_;                                                 \
	})

/*
 * Counters that are changed under a lock and read by statistics without it: one plain store, which
 * a reader sees whole.
 */
#define sn_counter_set(counter, value) __atomic_store_n(&(counter), (value), __ATOMIC_RELAXED)
#define sn_counter_add(counter, n)     sn_counter_set(counter, sn_counter_read(counter) + (n))
#define sn_counter_sub(counter, n)     sn_counter_set(counter, sn_counter_read(counter) - (n))
#define sn_counter_read(counter)       __atomic_load_n(&(counter), __ATOMIC_RELAXED)

static inline size_t sn_align_up(size_t n, size_t to)
{
	return (n + to - 1) & ~(to - 1);
}

static inline size_t sn_pages_for(size_t bytes)
{
	return (bytes + SN_PAGE_SIZE - 1) >> SN_PAGE_SHIFT;
}

/*
 * Ends the program: one line "slabnode: WHAT: 0xPTR" on stderr, then SIGABRT.  Uses no
 * allocation, no locks, no stdio.  Async-signal-safe.  Where the site of every object is known, the
 * line goes on with that of the object at ptr.
 */
_Noreturn void sn_fatal(const char *what, const void *ptr);
/* The same with "CALL WHAT", and the site of another object (NULL: none); with "CALL with WHAT
 * GIVEN, the object has HAVE". */
_Noreturn void sn_fatal_call(const char *call, const char *what, const void *ptr,
			     const void *object);
_Noreturn void sn_fatal_mismatch(const char *call, const char *what, size_t given, size_t have,
				 const void *ptr);
/* Where the line goes; NULL: descriptor 2. */
extern int (*sn_fatal_descriptor)(void);

/* Checks that cost little stay in every build; sn_debug_assert() only in debug builds. */
#define sn_assert(cond, what)                                                                      \
	do {                                                                                       \
		if (sn_unlikely(!(cond)))                                                          \
			sn_fatal(what, NULL);                                                      \
	} while (0)

#ifdef SLABNODE_DEBUG
#define sn_debug_assert(cond) sn_assert(cond, "internal check failed: " #cond)
#else
#define sn_debug_assert(cond)                                                                      \
	do {                                                                                       \
	} while (0)
#endif

#endif
