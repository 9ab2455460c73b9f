/*
 * test_stores.c - tables, shared stores, alien caches, statistics, fork, lock order: whatever
 * holds free objects between a slab and a program.
 */
#include "unit.h"

#include "alien.h"
#include "biased.h"
#include "event.h"
#include "reap.h"
#include "table.h"
#include "thread.h"

#include <sys/wait.h>

/* --- refill and flush --- */

UNIT_TEST(refill_and_flush_add_up)
{
	unsigned int cache = 0;
	struct sn_cache_node *cn;
	void *objects[SN_BATCH_MAX * 8];
	uint64_t seed = 1;
	unsigned int held = 0;

	unit_start(2);
	cache = sn_size_class(100);
	cn = sn_cache_node(sn_nodes[FIRST], cache);
	for (unsigned int i = 0; i < 20000; i++) {
		unsigned int n = 1 + (unsigned int)(unit_random(&seed) % SN_BATCH_MAX);

		if (unit_random(&seed) % 2 == 0 && held + n <= SN_ARRAY_SIZE(objects)) {
			unsigned int got =
				sn_cache_refill(sn_nodes[FIRST], cache, objects + held, n, false);

			CHECK(got >= 1 && got <= n);
			held += got;
		} else if (held >= n) {
			held -= n;
			if (i % 3 == 0)
				sn_cache_free_block(sn_nodes[FIRST], cache, objects + held, n);
			else
				sn_cache_flush(sn_nodes[FIRST], cache, objects + held, n);
		}
		/* Out of slabs: in hand, or in the shared store. */
		CHECK_EQUAL(cn->nr_out, held + (cn->shared == NULL ? 0 : cn->shared->avail));
		CHECK(cn->nr_objects >= cn->nr_out);
	}
	sn_cache_flush(sn_nodes[FIRST], cache, objects, sn_min(held, (unsigned)SN_BATCH_MAX));
	CHECK(!sn_cache_refill(sn_nodes[FIRST], cache, objects, 1, true)); /* not lent: online */
}

/* --- a table that its owner uses without the lock --- */

/* Takes the lock of the table that its owner is busy with: nothing may move under it. */
static void *intruder(void *arg)
{
	struct sn_table *table = arg;
	unsigned int cache = sn_size_class(64);

	for (unsigned int i = 0; i < 3000; i++) {
		void **top;

		sn_table_lock(table);
		CHECK_EQUAL(sn_table_bias(table)->biased, 0);
		top = sn_counter_read(table->top[cache]);
		for (volatile unsigned int spin = 0; spin < 200; spin++)
			;
		CHECK(sn_counter_read(table->top[cache]) == top);
		sn_table_unlock(table);
		if (i % 16 == 0)
			unit_sleep_ms(0);
	}
	return NULL;
}

static void use_and_free(unsigned int rounds)
{
	for (unsigned int i = 0; i < rounds; i++) {
		void *p[4];

		for (unsigned int k = 0; k < 4; k++)
			CHECK((p[k] = sn_malloc(64)) != NULL);
		for (unsigned int k = 0; k < 4; k++)
			sn_free(p[k]);
	}
}

static void *use_in_a_thread(void *arg)
{
	use_and_free(100);
	*(struct sn_table **)arg = sn_self.own;
	return NULL;
}

UNIT_TEST(bias_goes_and_comes)
{
	struct sn_table *table, *other = NULL;
	pthread_t thread;

	unit_start(2);
	if (!sn_biased_enabled) /* rseq mode, or the thread sanitizer */
		return;
	use_and_free(10);
	table = sn_self.own;
	CHECK(table != NULL);
	CHECK(sn_table_bias(table)->owner == &sn_self);
	CHECK_EQUAL(sn_table_bias(table)->biased, 1);
	unit_join(unit_thread(use_in_a_thread, &other));
	CHECK(other != NULL && other != table);

	thread = unit_thread(intruder, table);
	while (pthread_tryjoin_np(thread, NULL) != 0)
		use_and_free(100);
	/* Left alone, the owner has it back; a fence ends it; and so does the end of all. */
	use_and_free(5000);
	CHECK(sn_self.own == table);
	CHECK_EQUAL(sn_table_bias(table)->biased, 1);
	CHECK_EQUAL(sn_tables_fence(), 0);
	CHECK_EQUAL(sn_table_bias(table)->biased, 0);
	use_and_free(5000);
	CHECK_EQUAL(sn_table_bias(table)->biased, 1);
	sn_biased_end();
	use_and_free(5000);
	CHECK_EQUAL(sn_table_bias(table)->biased, 0);
	CHECK_EQUAL(sn_table_bias(table)->busy, 0);
	unit_quiesce();
	CHECK_EQUAL(unit_out(FIRST) + unit_out(FIRST + 1), 0);
}

/* --- tables closed and opened under threads --- */

#define TOKENS 4000

static _Atomic int stop;

static void *churn(void *arg)
{
	uint64_t seed = (uintptr_t)arg + 1;
	void *p[200] = {NULL};

	unit_cpu_node(FIRST + (unsigned int)(uintptr_t)arg % 2);
	while (!atomic_load(&stop)) {
		unsigned int i = (unsigned int)(unit_random(&seed) % 200);
		size_t size = 16 + unit_random(&seed) % 300;

		if (p[i] != NULL) {
			/* An object that two threads were given would not hold this. */
			CHECK_EQUAL(*(uintptr_t *)p[i], (uintptr_t)arg << 32 | i);
			sn_free(p[i]);
			p[i] = NULL;
		} else {
			p[i] = sn_malloc(size);
			CHECK(p[i] != NULL);
			*(uintptr_t *)p[i] = (uintptr_t)arg << 32 | i;
		}
	}
	for (unsigned int i = 0; i < 200; i++)
		sn_free(p[i]);
	return NULL;
}

UNIT_TEST(tables_close_under_threads)
{
	pthread_t threads[4];
	uint64_t drained = 0;

	unit_start(2);
	for (uintptr_t i = 0; i < 4; i++)
		threads[i] = unit_thread(churn, (void *)i);
	for (unsigned int i = 0; i < 400; i++) {
		unsigned int node = FIRST + i % 2;

		sn_tables_close(node);
		CHECK_EQUAL(sn_tables_fence(), 0);
		drained += sn_tables_drain(node, i % 3 == 0);
		/* Nobody puts anything in after the fence. */
		for (unsigned int c = 1; c < sn_cache_end; c++)
			CHECK_EQUAL(sn_tables_count(node, c), 0);
		CHECK_EQUAL(sn_tables_drain(node, true), 0);
		sn_tables_open(node);
		if (i % 16 == 0)
			sn_reap();
		unit_sleep_ms(1);
	}
	atomic_store(&stop, 1);
	for (unsigned int i = 0; i < 4; i++)
		unit_join(threads[i]);
	CHECK(drained > 0);
	unit_quiesce();
	CHECK_EQUAL(unit_out(FIRST), 0);
	CHECK_EQUAL(unit_out(FIRST + 1), 0);
}

static int by_address(const void *a, const void *b)
{
	uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;

	return (x > y) - (x < y);
}

/* A set of objects survives being freed by several nodes and taken again: no two are one. */
UNIT_TEST(no_object_is_doubled)
{
	static void *p[TOKENS];

	unit_start(3);
	for (unsigned int round = 0; round < 20; round++) {
		for (unsigned int i = 0; i < TOKENS; i++)
			CHECK((p[i] = sn_malloc_node(48, FIRST + i % 3)) != NULL);
		for (unsigned int i = 0; i < TOKENS; i += 2) {
			sn_free(p[i]);
			p[i] = sn_malloc(48);
		}
		qsort(p, TOKENS, sizeof(*p), by_address);
		for (unsigned int i = 1; i < TOKENS; i++)
			CHECK(p[i] != p[i - 1]);
		for (unsigned int i = 0; i < TOKENS; i++)
			sn_free(p[i]);
	}
	unit_quiesce();
	for (unsigned int n = FIRST; n < FIRST + 3; n++)
		CHECK_EQUAL(unit_out(n), 0);
}

/* --- alien caches --- */

static void alien_round(unsigned int n, bool expect)
{
	unsigned int cache = sn_size_class(64);
	void *p[100];

	for (unsigned int i = 0; i < n; i++)
		p[i] = sn_malloc_node(64, FIRST + 1);
	for (unsigned int i = 0; i < n; i++)
		sn_free(p[i]); /* the thread's home is FIRST */
	CHECK_EQUAL(sn_alien_of(FIRST, FIRST + 1, cache) != NULL, expect);
}

/* malloc_trim() by a program that calls it all the time gives back only what is worth it. */
UNIT_TEST(trims_are_not_for_nothing)
{
	const size_t little = 1 << 20, much = 24 << 20;
	uint64_t begin, bytes;

	unit_start(1);
	sn_free(sn_malloc(64));
	CHECK(sn_tables_count(FIRST, sn_size_class(64)) > 0);
	begin = sn_now_ns();
	sn_trim();
	CHECK_EQUAL(sn_tables_count(FIRST, sn_size_class(64)), 0);
	sn_free(sn_malloc(little));
	bytes = sn_trim();
	CHECK(bytes == 0 || sn_now_ns() - begin > 100000000); /* preempted */
	sn_free(sn_malloc(much));
	CHECK(sn_trim() >= much);
	sn_free(sn_malloc(little));
	unit_sleep_ms(110);
	CHECK(sn_trim() >= little);
}

/* Threads that never allocate have arrays, too, on whatever CPU they are. */

#define FREED 100

static void *only_frees(void *objects)
{
	void **p = objects;
	uint64_t before;

	/* The first may find arrays that hold nothing yet, and grow. */
	sn_free(p[0]);
	before = sn_tables_count(FIRST, sn_size_class(64));
	CHECK(before > 0);
	for (unsigned int i = 1; i < FREED; i++)
		sn_free(p[i]);
	CHECK(sn_tables_count(FIRST, sn_size_class(64)) > before + FREED / 2);
	return NULL;
}

UNIT_TEST(threads_that_only_free)
{
	void *p[FREED];

	unit_start(1);
	for (unsigned int i = 0; i < FREED; i++)
		p[i] = sn_malloc_node(64, FIRST); /* past the arrays: none exists yet */
	unit_join(unit_thread(only_frees, p));
}

UNIT_TEST(alien_caches)
{
	unsigned int cache;
	struct sn_alien *alien;

	unit_start(3);
	cache = sn_size_class(64);
	sn_free(sn_malloc(64));
	sn_alien_enabled = false;
	alien_round(50, false);
	sn_alien_enabled = true;
	alien_round(10, true);
	alien = sn_alien_of(FIRST, FIRST + 1, cache);
	CHECK_EQUAL(alien->avail, 10);
	CHECK(sn_alien_of(FIRST + 2, FIRST + 1, cache) == NULL);
	alien_round(100, true);
	CHECK(alien->avail >= 1 && alien->avail <= alien->limit);
	CHECK(sn_alien_drain(FIRST, FIRST + 1, cache, true) > 0);
	CHECK_EQUAL(alien->avail, 0);
	/* Nothing enters while the home is away. */
	CHECK_EQUAL(unit_offline(FIRST + 1, SN_STRICT, -1, NULL), 0);
	CHECK_EQUAL(alien->avail, 0);
	CHECK(!sn_alien_put(FIRST, FIRST + 1, cache, &cache));
	CHECK_EQUAL(alien->avail, 0);
}

/* --- fork and a shrink --- */

static void *shrink(void *arg)
{
	sn_cache_shrink(*(unsigned int *)arg);
	return NULL;
}

/* A shrink that has objects of an alien cache in hand, at the moment of the fork. */
static void fork_in_shrink(unsigned int cache)
{
	struct sn_cache_node *cn = sn_cache_node(sn_nodes[FIRST + 1], cache);
	struct sn_alien *alien = sn_alien_of(FIRST, FIRST + 1, cache);
	pthread_t thread;
	pid_t pid;

	sn_lock_acquire(&cn->list_lock, SN_RANK_LIST);
	thread = unit_thread(shrink, &cache);
	while (sn_counter_read(alien->avail) > 0)
		unit_sleep_ms(1);
	sn_lock_release(&cn->list_lock, SN_RANK_LIST);
	pid = unit_fork(NULL);
	if (pid == 0)
		_exit(cn->nr_out == 0 ? 0 : 1);
	unit_child_ends(pid);
	unit_join(thread);
}

UNIT_TEST(fork_waits_for_a_shrink)
{
	unsigned int cache;

#ifdef __SANITIZE_THREAD__
	return; /* it does not support threads after a fork of many */
#endif
	unit_start(2);
	cache = sn_size_class(64);
	sn_free(sn_malloc(64));
	for (unsigned int i = 0; i < 30; i++) {
		alien_round(10, true);
		fork_in_shrink(cache);
	}
}

/* --- statistics --- */

UNIT_TEST(statistics_are_exact_when_quiet)
{
	struct sn_slabinfo info;
	struct sn_node_stats stats;
	uint64_t want[2] = {0, 0}, seed = 8;
	void *p[3000];

	unit_start(2);
	for (unsigned int i = 0; i < 3000; i++) {
		unsigned int at = i % 2;

		p[i] = sn_malloc_node(1 + unit_random(&seed) % 60000, FIRST + at);
		CHECK(p[i] != NULL);
		want[at] += sn_usable_size(p[i]);
		if (i % 3 == 0) {
			want[at] -= sn_usable_size(p[i]);
			sn_free(p[i]);
			p[i] = NULL;
		}
	}
	for (unsigned int at = 0; at < 2; at++) {
		uint64_t objects = 0;

		sn_node_stats(FIRST + at, &stats);
		CHECK_EQUAL(stats.live_bytes, want[at]);
		CHECK_EQUAL(sn_live_bytes(FIRST + at), want[at]);
		for (unsigned int c = 1; c < sn_cache_end; c++)
			if (sn_slabinfo(c, FIRST + at, &info)) {
				CHECK(info.active_objects + info.cpu_arrays + info.shared +
					      info.alien <=
				      info.total_objects);
				objects += info.active_objects * info.object_size;
				CHECK_EQUAL(info.object_size, sn_caches[c].size);
				CHECK_EQUAL(
					(info.slabs_full + info.slabs_partial + info.slabs_free) *
						info.objects_per_slab,
					info.total_objects);
			}
		CHECK_EQUAL(objects + stats.large_bytes, want[at]);
		CHECK_EQUAL(stats.resident_bytes, unit_resident(FIRST + at) << SN_PAGE_SHIFT);
		CHECK(stats.live_bytes + stats.cached_bytes + stats.metadata_bytes ==
		      stats.resident_bytes);
	}
	for (unsigned int i = 0; i < 3000; i++)
		sn_free(p[i]);
	unit_quiesce();
	for (unsigned int at = 0; at < 2; at++)
		CHECK_EQUAL(sn_live_bytes(FIRST + at), 0);
}

/* --- object caches --- */

static void construct(void *p)
{
	memset(p, 0x5c, 200);
}

UNIT_TEST(object_caches)
{
	int cache, second;
	unsigned char *p[300];

	unit_start(2);
	CHECK_EQUAL(sn_cache_create("x", 0, 16, NULL), -EINVAL);
	CHECK_EQUAL(sn_cache_create("x", 32769, 16, NULL), -EINVAL);
	CHECK_EQUAL(sn_cache_create("x", 10, 24, NULL), -EINVAL);
	CHECK_EQUAL(sn_cache_create("x", 10, 8192, NULL), -EINVAL);
	cache = sn_cache_create("things", 200, 64, construct);
	CHECK(cache > SN_NR_CLASSES);
	for (unsigned int i = 0; i < 300; i++) {
		p[i] = sn_alloc_cache((unsigned int)cache);
		CHECK(p[i] != NULL && (uintptr_t)p[i] % 64 == 0);
		CHECK(p[i][0] == 0x5c && p[i][199] == 0x5c);
	}
	CHECK_EQUAL(sn_cache_destroy((unsigned int)cache), -EBUSY);
	p[7][3] = 1; /* handed out as it was freed */
	for (unsigned int i = 0; i < 300; i++)
		sn_free(p[i]);
	CHECK(sn_cache_shrink((unsigned int)cache) > 0);
	CHECK_EQUAL(sn_cache_destroy((unsigned int)cache), 0);
	second = sn_cache_create("others", 4000, 0, NULL);
	CHECK_EQUAL(second, cache); /* the place is used again, with its new size */
	for (unsigned int i = 0; i < 300; i++) {
		p[i] = sn_alloc_cache((unsigned int)second);
		CHECK_EQUAL(sn_usable_size(p[i]), 4000);
		memset(p[i], (int)i, 4000);
	}
	for (unsigned int i = 0; i < 300; i++) {
		CHECK(p[i][0] == (unsigned char)i && p[i][3999] == (unsigned char)i);
		sn_free(p[i]);
	}
	for (unsigned int i = 0; i < 214; i++)
		CHECK(sn_cache_create("many", 64, 0, NULL) > 0);
	CHECK_EQUAL(sn_cache_create("one more", 64, 0, NULL), -ENOSPC);
	CHECK_EQUAL(sn_cache_destroy((unsigned int)second), 0);
}

/* --- fallback, stand-ins, preferences --- */

UNIT_TEST(fallback_by_distance)
{
	unsigned int order[8];

	unit_start(4);
	CHECK_EQUAL(sn_fallback(FIRST, order, 8), 3);
	CHECK(order[0] == FIRST + 1 && order[1] == FIRST + 2 && order[2] == FIRST + 3);
	CHECK_EQUAL(sn_fallback(FIRST + 3, order, 8), 3);
	CHECK(order[0] == FIRST + 2 && order[1] == FIRST + 1 && order[2] == FIRST);
	CHECK_EQUAL(sn_node_target(FIRST), FIRST);
	CHECK_EQUAL(unit_offline(FIRST + 1, SN_STRICT, -1, NULL), 0);
	CHECK_EQUAL(sn_fallback(FIRST, order, 8), 2);
	CHECK_EQUAL(order[0], FIRST + 2);
	CHECK_EQUAL(sn_node_target(FIRST + 1), FIRST + 2);
	CHECK_EQUAL(atomic_load(&sn_standin[FIRST + 1]), FIRST + 2);
	CHECK_EQUAL(unit_offline(FIRST + 2, SN_STRICT, -1, NULL), 0);
	CHECK_EQUAL(sn_node_target(FIRST + 1), FIRST);
	CHECK(atomic_load(&sn_standin[FIRST + 1]) == FIRST);
	CHECK_EQUAL(unit_online(FIRST + 1), 0);
	CHECK_EQUAL(sn_node_target(FIRST + 1), FIRST + 1);
	CHECK_EQUAL(atomic_load(&sn_standin[FIRST + 1]), FIRST + 1);
	CHECK_EQUAL(sn_node_find(2), FIRST + 2);
	CHECK_EQUAL(sn_node_find(9), SN_NODE_NONE);
}

UNIT_TEST(full_nodes_fall_back)
{
	unsigned int seen[3] = {0}, last = FIRST;
	void *p;

	unit_start(3);
	for (unsigned int n = FIRST; n < FIRST + 3; n++)
		machine.capacity[n] = 8 * MIB;
	while ((p = sn_malloc(4000)) != NULL) {
		unsigned int node = unit_page_node(p);

		seen[node - FIRST]++;
		last = sn_max(last, node);
		CHECK(node + 1 >= last); /* in order; a nearer one may have an odd page left */
	}
	for (unsigned int n = 0; n < 3; n++)
		CHECK(seen[n] * 4096 > 6 * MIB);
	CHECK(sn_calloc(100000) == NULL);
	CHECK(sn_memalign(4096, 100000) == NULL);
}

UNIT_TEST(preferred_nodes)
{
	void *p;

	unit_start(3);
	CHECK_EQUAL(sn_thread_prefer(FIRST + 2), 0);
	CHECK_EQUAL(sn_home_of(sn_malloc(64)), FIRST + 2);
	CHECK_EQUAL(sn_home_of(sn_malloc(MIB)), FIRST + 2);
	CHECK_EQUAL(unit_offline(FIRST + 2, SN_MIGRATE, -1, NULL), 0);
	p = sn_malloc(MIB);
	CHECK_EQUAL(sn_home_of(p), FIRST + 1);
	CHECK_EQUAL(unit_online(FIRST + 2), 0);
	CHECK_EQUAL(sn_home_of(sn_malloc(MIB)), FIRST + 2);
	CHECK_EQUAL(sn_thread_prefer(SN_NODE_NONE), 0);
	CHECK_EQUAL(sn_home_of(sn_malloc(64)), FIRST);
	CHECK_EQUAL(sn_thread_prefer(FIRST + 3), -ENODEV);
}

/* --- ageing --- */

UNIT_TEST(reaping_returns_what_lies_about)
{
	static void *p[20000];

	unit_start(2);
	for (unsigned int i = 0; i < 20000; i++)
		memset(p[i] = sn_malloc(1000), 1, 1000);
	for (unsigned int i = 0; i < 20000; i++)
		sn_free(p[i]);
	sn_free(sn_malloc(20 * MIB));
	for (unsigned int i = 0; i < 40 && sn_reap_wanted(); i++)
		sn_reap();
	CHECK(!sn_reap_wanted());
	sn_reap();
	CHECK(unit_resident(FIRST) < MIB >> SN_PAGE_SHIFT);
	CHECK_EQUAL(unit_out(FIRST), 0);
}

/* --- fork --- */

static void child_works(void)
{
	void *p[500];

	for (unsigned int i = 0; i < 500; i++) {
		p[i] = sn_malloc(i * 100 + 1);
		if (p[i] == NULL)
			_exit(2);
		memset(p[i], 1, i * 100 + 1);
	}
	for (unsigned int i = 0; i < 500; i++)
		sn_free(p[i]);
	for (unsigned int n = FIRST; n < FIRST + 2; n++) {
		struct sn_transition_info info;
		void *q;

		if (sn_transition_info(n, &info) || unit_state(n) == SN_GOING_OFFLINE ||
		    unit_state(n) == SN_GOING_ONLINE)
			_exit(3);
		if (unit_state(n) != SN_ONLINE && unit_online(n) != 0)
			_exit(4);
		q = sn_malloc_node(12 * MIB, n);
		if (q == NULL)
			_exit(5);
		/* Beyond what it had cached: by the policy that is in force. */
		if (unit_page_node(q) != n)
			_exit(6);
		sn_free(q);
	}
	_exit(0);
}

static void *cycler(void *arg)
{
	for (unsigned int i = 0; !atomic_load(&stop); i++) {
		unit_offline(FIRST + 1, i % 2 ? SN_MIGRATE : SN_WAIT, 3, NULL);
		unit_online(FIRST + 1);
	}
	return arg;
}

UNIT_TEST(fork_at_any_moment)
{
	pthread_t threads[3];
	unsigned int seen[4] = {0};

#ifdef __SANITIZE_THREAD__
	return; /* it does not support threads after a fork of many */
#endif
	unit_start(2);
	for (uintptr_t i = 0; i < 2; i++)
		threads[i] = unit_thread(churn, (void *)i);
	threads[2] = unit_thread(cycler, NULL);
	for (unsigned int i = 0; i < 300; i++) {
		pid_t pid;

		sn_core_fork_prepare();
		seen[unit_state(FIRST + 1)]++;
		pid = fork();
		if (pid == 0) {
			sn_core_fork_child();
			child_works();
		}
		sn_core_fork_parent();
		CHECK(pid > 0);
		unit_child_ends(pid);
	}
	atomic_store(&stop, 1);
	for (unsigned int i = 0; i < 3; i++)
		unit_join(threads[i]);
	CHECK(seen[SN_ONLINE] + seen[SN_GOING_OFFLINE] > 0);
}

/* --- locks --- */

#ifdef SLABNODE_DEBUG
static void invert(void *lock)
{
	struct sn_lock inner = SN_LOCK_INIT(SN_RANK_PAGES);

	sn_lock_acquire(&inner, SN_RANK_PAGES);
	sn_lock_acquire(lock, SN_RANK_LIST);
}

static void release_free(void *lock)
{
	sn_lock_release(lock, SN_RANK_LIST);
}

static void offline_with_lock(void *arg)
{
	(void)arg;
	sn_lock_acquire(&sn_nodes[FIRST]->page_lock, SN_RANK_PAGES);
	unit_offline(FIRST, SN_STRICT, -1, NULL);
}

UNIT_TEST(lock_order_is_checked)
{
	struct sn_lock lock = SN_LOCK_INIT(SN_RANK_LIST);

	unit_start(2);
	unit_dies(invert, &lock, "slabnode: lock order violated: %p\n");
	unit_dies(release_free, &lock, "slabnode: lock released that was not held: %p\n");
	unit_dies(offline_with_lock, NULL, "slabnode: lock held where none may be\n");
	sn_lock_check_none_held();
}
#endif

static struct sn_lock counter_lock = SN_LOCK_INIT(SN_RANK_META);
static unsigned long counter;

static void *count(void *arg)
{
	for (unsigned int i = 0; i < 100000; i++) {
		sn_lock_acquire(&counter_lock, SN_RANK_META);
		counter++;
		sn_lock_release(&counter_lock, SN_RANK_META);
	}
	return arg;
}

UNIT_TEST(lock_excludes)
{
	pthread_t threads[4];

	for (unsigned int i = 0; i < 4; i++)
		threads[i] = unit_thread(count, NULL);
	for (unsigned int i = 0; i < 4; i++)
		unit_join(threads[i]);
	CHECK_EQUAL(counter, 400000);
	CHECK(sn_lock_try(&counter_lock, SN_RANK_META));
	CHECK(!sn_lock_try(&counter_lock, SN_RANK_META));
	sn_lock_release(&counter_lock, SN_RANK_META);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refill_and_flush_add_up),
		cmocka_unit_test(bias_goes_and_comes),
		cmocka_unit_test(tables_close_under_threads),
		cmocka_unit_test(no_object_is_doubled),
		cmocka_unit_test(trims_are_not_for_nothing),
		cmocka_unit_test(threads_that_only_free),
		cmocka_unit_test(alien_caches),
		cmocka_unit_test(statistics_are_exact_when_quiet),
		cmocka_unit_test(object_caches),
		cmocka_unit_test(fallback_by_distance),
		cmocka_unit_test(full_nodes_fall_back),
		cmocka_unit_test(preferred_nodes),
		cmocka_unit_test(reaping_returns_what_lies_about),
		cmocka_unit_test(fork_at_any_moment),
		cmocka_unit_test(fork_waits_for_a_shrink),
#ifdef SLABNODE_DEBUG
		cmocka_unit_test(lock_order_is_checked),
#endif
		cmocka_unit_test(lock_excludes),
	};

	unit_arguments(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
