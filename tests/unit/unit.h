/*
 * unit.h - the frame of the unit tests of core/.
 *
 * The core has one state a process, so each test runs in a child: UNIT_TEST(name) defines the
 * cmocka test that forks and insists on the child's clean end, and the body that the child runs.
 * In bodies CHECK() stands in for cmocka's assertions, which cannot leave a child.
 *
 * The simulated machine of the tests is a placement of a few lines: a byte a page says where it
 * is, nodes have capacities, every operation can be made to fail or be watched by a hook.
 *
 * The program's only argument, "rseq" or "locked", chooses the fast path.
 */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "alloc.h"
#include "core.h"
#include "drain.h"
#include "large.h"
#include "lifecycle.h"
#include "pages.h"
#include "slab.h"
#include "stats.h"

#include <pthread.h>
#include <unistd.h>

#define MIB   ((size_t)1 << 20)
#define GIB   ((size_t)1 << 30)
#define FIRST ((unsigned int)SN_FIRST_NODE) /* index of the machine's node 0 */

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond))                                                                       \
			unit_fail(__FILE__, __LINE__, "%s", #cond);                                \
	} while (0)
#define CHECK_EQUAL(a, b)                                                                          \
	do {                                                                                       \
		long long a_ = (long long)(a), b_ = (long long)(b);                                \
		if (a_ != b_)                                                                      \
			unit_fail(__FILE__, __LINE__, "%s is %lld, not %s (%lld)", #a, a_, #b,     \
				  b_);                                                             \
	} while (0)

__attribute__((noreturn, format(printf, 3, 4))) void unit_fail(const char *file, int line,
							       const char *format, ...);

typedef void unit_body(void);
void unit_isolated(unit_body *body);

#define UNIT_TEST(name)                                                                            \
	static void name##_body(void);                                                             \
	static void name(void **state)                                                             \
	{                                                                                          \
		(void)state;                                                                       \
		unit_isolated(name##_body);                                                        \
	}                                                                                          \
	static void name##_body(void)

/* Runs fn in a child that must end by SIGABRT with the one line "slabnode: MESSAGE"; `%p` in
 * the message is the pointer that fn returned before. */
void unit_dies(void (*fn)(void *), void *arg, const char *message);

/* In main: cmocka's group, or nothing when argv does not say how. */
void unit_arguments(int argc, char **argv);
extern bool unit_locked;
/* Mean bytes between samples of allocation sites; before unit_start(). */
extern uint64_t unit_sample;
/* Possible CPUs; before unit_start(), 0: as many as there are. */
extern unsigned int unit_cpus;

/* --- the machine --- */

struct unit_machine {
	size_t capacity[SN_MAX_NODES + 1]; /* by index, 0: unlimited */
	/* What the next calls answer: decremented at each call, the one that finds 1 fails. */
	int fail_populate, fail_move, fail_restore, fail_bind;
	int error;		      /* what they fail with */
	bool pages_busy;	      /* pages would not move */
	struct sn_nodemask forbidden; /* nodes that the cpuset lacks */
	/* Called, with no lock held, in the middle of the operation. */
	void (*on_vacate)(unsigned int node);
	void (*on_move)(unsigned int target);
	void (*after_move)(unsigned int target);
	/* The same with the node's page_lock held. */
	void (*on_bind)(unsigned int node);
	_Atomic int binds, vacates, restores, moves;
	_Atomic size_t queried; /* pages */
};
extern struct unit_machine machine;

/* Starts the core on `nodes` nodes in a row: distance grows with the difference of numbers. */
void unit_start(unsigned int nodes);
/* The thread's CPU is on this node: before its first allocation. */
void unit_cpu_node(unsigned int node);
unsigned int unit_page_node(const void *p); /* by the ledger, 0: no page */
size_t unit_resident(unsigned int node);    /* pages */

/* --- helpers --- */

/* xorshift64*: a sequence that is the same everywhere. */
static inline uint64_t unit_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * 0x2545f4914f6cdd1dULL;
}

void unit_fill(void *p, size_t size, uint64_t id);
bool unit_intact(const void *p, size_t size, uint64_t id);
bool unit_zero(const void *p, size_t size);

int unit_offline(unsigned int node, enum sn_policy policy, int64_t timeout_ms,
		 struct sn_lifecycle_result *result);
int unit_online(unsigned int node);
enum sn_node_state unit_state(unsigned int node);
/* Until a transition of the node has got there; twenty seconds at most. */
void unit_until_phase(unsigned int node, enum sn_phase phase);
void unit_sleep_ms(long ms);
/* The sanitizers' own locks and the thread sanitizer's state do not survive every fork. */
bool unit_can_fork(void);
/* fork() within the core's handlers; the child has a minute.  `gate` (may be NULL): a lock of the
 * test's own that must be free in the child. */
pid_t unit_fork(pthread_mutex_t *gate);
/* The child ends, and with 0. */
void unit_child_ends(pid_t pid);
pthread_t unit_thread(void *(*fn)(void *), void *arg);
void *unit_join(pthread_t thread);
/* An object or block of that node. */
void *unit_hold(unsigned int node, size_t size);
/* Allocation on the node works at once, and its new pages are there. */
void unit_check_allocates(unsigned int node);
/* Puts every free object into its slab: afterwards nr_out counts what the program holds. */
void unit_quiesce(void);
/* Objects of malloc's classes that slabs of the node count as out. */
uint64_t unit_out(unsigned int node);

#endif
