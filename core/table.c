/*
 * table.c - building, publishing, closing and emptying tables; see table.h.
 */
#include "table.h"

#include "meta.h"
#include "probe.h"
#include "rseq.h"

#include <string.h>
#include <sys/mman.h>

#define GUARD_WORDS 2  /* words[-1] and words[-2]: a thread without rseq */
#define FIRST_LIMIT 16 /* entries of a fresh array that may be used, at most a quarter of all */

struct sn_lock sn_tables_lock;
struct sn_lock sn_batch_lock;
unsigned int sn_nr_cpus;
unsigned int sn_nr_shards;
bool sn_shard_by_cpu;
_Alignas(4096) struct sn_table sn_empty_table;
_Static_assert(sizeof(struct sn_table) == 4096, "the empty table is one read-only page");

/* The array of a slot that has none: its NULL entry. Never written. */
static void *no_array[1];

static void **sets[SN_MAX_NODES + 1] SN_GUARDED_BY(&sn_tables_lock); /* words of each set */
static struct sn_table **tables[SN_MAX_NODES + 1] SN_GUARDED_BY(&sn_tables_lock); /* [node][cpu] */
static const uint8_t *cpu_node;			/* home of each CPU in set 0 */
static uint32_t array_start[SN_NR_CLASSES + 2]; /* in entries from the arrays' start */

/* Counted, since an offline and the reaper may have the same tables closed at one time. */
static unsigned int closed_count[SN_MAX_NODES + 1] SN_GUARDED_BY(&sn_tables_lock);

/* A bit a cache whose slots stay closed. */
static uint64_t closed_caches[SN_MAX_NODES + 1][SN_MAX_CACHES / 64] SN_GUARDED_BY(&sn_tables_lock);

static bool slot_closed(unsigned int node, unsigned int cache) SN_REQUIRES(&sn_tables_lock)
{
	return closed_caches[node][cache / 64] >> cache % 64 & 1;
}

void sn_table_lock(struct sn_table *table)
{
	sn_lock_delay(SN_RANK_TABLE);
	for (unsigned int tries = 0; !sn_table_try(table); tries++)
		if (tries >= 100)
			sn_lock_pause();
}

static void **array_base(struct sn_table *table, unsigned int cache)
{
	return (void **)((char *)(table + 1) + SN_BIAS_SIZE) + array_start[cache];
}

bool sn_tables_init(unsigned int nr_cpus, unsigned int nr_shards, const uint8_t *node_of_cpu)
{
	sn_nr_cpus = nr_cpus;
	sn_shard_by_cpu = node_of_cpu != NULL;
	sn_nr_shards = nr_shards == 0 || sn_shard_by_cpu ? nr_cpus : sn_min(nr_shards, nr_cpus);
	cpu_node = node_of_cpu;
	for (unsigned int c = 1; c <= SN_NR_CLASSES; c++)
		array_start[c + 1] = array_start[c] + 1 + sn_caches[c].array_limit;
	for (unsigned int c = 1; c < SN_MAX_CACHES; c++)
		sn_empty_table.top[c] = no_array;
	sn_empty_table.node = SN_NODE_EMPTY;
	return mprotect(&sn_empty_table, sizeof(sn_empty_table), PROT_READ) == 0 || errno != 0;
}

unsigned int sn_set_home(unsigned int set, unsigned int cpu)
{
	if (set != SN_SET_LOCAL)
		return set;
	return cpu_node != NULL && cpu < sn_nr_cpus ? cpu_node[cpu] : SN_FIRST_NODE;
}

/* The table that a word should name now. */
static struct sn_table *table_for(unsigned int set, unsigned int cpu) SN_REQUIRES(&sn_tables_lock)
{
	unsigned int target = sn_node_target(sn_set_home(set, cpu));
	struct sn_table *table =
		target == SN_NODE_NONE || tables[target] == NULL ? NULL : tables[target][cpu];

	return table == NULL || closed_count[target] > 0 ? &sn_empty_table : table;
}

static void publish_set(unsigned int set) SN_REQUIRES(&sn_tables_lock)
{
	for (unsigned int cpu = 0; cpu < sn_nr_cpus; cpu++)
		__atomic_store_n(&sets[set][cpu], (void *)table_for(set, cpu), __ATOMIC_RELEASE);
}

void sn_tables_publish(void)
{
	sn_lock_acquire(&sn_tables_lock, SN_RANK_TABLES);
	for (unsigned int set = 0; set < sn_node_end; set++)
		if (sets[set] != NULL)
			publish_set(set);
	sn_lock_release(&sn_tables_lock, SN_RANK_TABLES);
}

void sn_tables_reset(void) SN_NO_THREAD_SAFETY
{
	for_each_node(node)
		closed_count[node] = sn_node_state(sn_nodes[node]) == SN_OFFLINE;
	for (unsigned int set = 0; set < sn_node_end; set++)
		if (sets[set] != NULL)
			publish_set(set);
}

void *const *sn_set_words(unsigned int set)
{
	void **words;

	sn_lock_acquire(&sn_tables_lock, SN_RANK_TABLES);
	words = sets[set];
	if (words == NULL && sn_fault(SN_FAULT_SET) == 0) {
		words = sn_meta_alloc((sn_nr_cpus + GUARD_WORDS) * sizeof(*words), 64);
		if (words != NULL) {
			for (unsigned int i = 0; i < GUARD_WORDS; i++)
				words[i] = &sn_empty_table;
			words += GUARD_WORDS;
			sets[set] = words;
			publish_set(set);
		}
	}
	sn_lock_release(&sn_tables_lock, SN_RANK_TABLES);
	return words;
}

static struct sn_table *table_build(unsigned int node, unsigned int cpu)
	SN_REQUIRES(&sn_tables_lock)
{
	size_t entries = array_start[SN_NR_CLASSES + 1];
	struct sn_table *table;

	if (sn_fault(SN_FAULT_TABLE) != 0)
		return NULL;
	if (tables[node] == NULL)
		__atomic_store_n(&tables[node],
				 sn_meta_alloc(sn_nr_cpus * sizeof(*tables[node]), 64),
				 __ATOMIC_RELEASE);
	if (tables[node] == NULL)
		return NULL;
	table = sn_meta_alloc(sizeof(*table) + SN_BIAS_SIZE + entries * sizeof(void *), 64);
	if (table == NULL)
		return NULL;
	table->node = (uint8_t)node;
	table->cpu = (uint16_t)cpu;
	for (unsigned int c = 1; c < sn_cache_end; c++) {
		table->top[c] = c <= SN_NR_CLASSES ? array_base(table, c) : no_array;
		if (c <= SN_NR_CLASSES)
			table->end[c] =
				table->top[c] +
				sn_min(sn_max(sn_caches[c].array_limit / 4, 2), FIRST_LIMIT);
	}
	for (unsigned int c = sn_cache_end; c < SN_MAX_CACHES; c++)
		table->top[c] = no_array;
	return table;
}

void sn_table_ensure(unsigned int set, unsigned int cpu)
{
	unsigned int target;

	if (cpu >= sn_nr_cpus)
		return;
	sn_lock_acquire(&sn_tables_lock, SN_RANK_TABLES);
	target = sn_node_target(sn_set_home(set, cpu));
	if (target != SN_NODE_NONE && sets[set] != NULL) {
		if (tables[target] == NULL || tables[target][cpu] == NULL) {
			struct sn_table *table = table_build(target, cpu);

			if (table != NULL)
				__atomic_store_n(&tables[target][cpu], table, __ATOMIC_RELEASE);
		}
		if (tables[target] != NULL && tables[target][cpu] != NULL)
			__atomic_store_n(&sets[set][cpu], (void *)table_for(set, cpu),
					 __ATOMIC_RELEASE);
	}
	sn_lock_release(&sn_tables_lock, SN_RANK_TABLES);
}

struct sn_table *sn_table_at(unsigned int node, unsigned int cpu)
{
	struct sn_table **row = __atomic_load_n(&tables[node], __ATOMIC_ACQUIRE);

	return row == NULL ? NULL : __atomic_load_n(&row[cpu], __ATOMIC_ACQUIRE);
}

void sn_tables_close(unsigned int node)
{
	sn_lock_acquire(&sn_tables_lock, SN_RANK_TABLES);
	closed_count[node]++;
	sn_lock_release(&sn_tables_lock, SN_RANK_TABLES);
	sn_tables_publish();
}

void sn_tables_open(unsigned int node)
{
	sn_lock_acquire(&sn_tables_lock, SN_RANK_TABLES);
	closed_count[node]--;
	sn_lock_release(&sn_tables_lock, SN_RANK_TABLES);
	sn_tables_publish();
}

static int fence(void)
{
	int error = sn_fault(SN_FAULT_FENCE);

	if (error != 0)
		return error;
	if (sn_rseq_enabled)
		return sn_rseq_fence();
	/* Locked mode: whoever takes a table's lock from now on reads the word again under it. */
	for_each_node(node)
		for (unsigned int cpu = 0; cpu < sn_nr_cpus; cpu++) {
			struct sn_table *table = sn_table_at(node, cpu);

			if (table != NULL) {
				sn_table_lock(table);
				sn_table_unlock(table);
			}
		}
	return 0;
}

/* The kernel may be short of memory for a moment; a refusal that lasts is told. */
int sn_tables_fence(void)
{
	int error = fence();

	if (error != 0)
		error = fence();
	SN_PROBE(fence, error);
	return error;
}

/* Takes up to SN_BATCH_MAX entries out of a table that no word names; the lock keeps two
 * drains (an offline's and the reaper's) apart, and stragglers of the locked mode. */
static unsigned int take_entries(struct sn_table *table, unsigned int cache, void **objects)
	SN_REQUIRES(&sn_batch_lock)
{
	unsigned int n = 0;

	sn_table_lock(table);
	while (n < SN_BATCH_MAX && *table->top[cache] != NULL) {
		objects[n++] = *table->top[cache];
		sn_counter_sub(table->top[cache], 1);
	}
	sn_table_unlock(table);
	return n;
}

/* Only the base of an array is NULL: so this looks at the address, not at what another thread
 * may just be writing there. */
static bool slot_empty(struct sn_table *table, unsigned int cache)
{
	void **top = sn_counter_read(table->top[cache]);

	return cache <= SN_NR_CLASSES ? top == array_base(table, cache)
				      : sn_counter_read(*top) == NULL;
}

static uint64_t drain_slot(struct sn_table *table, unsigned int cache, bool to_slabs)
{
	void *objects[SN_BATCH_MAX];
	uint64_t total = 0;
	unsigned int n;

	if (slot_empty(table, cache))
		return 0;
	do {
		sn_lock_acquire(&sn_batch_lock, SN_RANK_BATCH);
		n = take_entries(table, cache, objects);
		sn_cache_give_back(cache, objects, n, to_slabs);
		sn_lock_release(&sn_batch_lock, SN_RANK_BATCH);
		total += n;
	} while (n > 0);
	return total;
}

/* What another drain took out of a slot found empty here is back when its batch is. */
static void await_batch(void)
{
	sn_lock_acquire(&sn_batch_lock, SN_RANK_BATCH);
	sn_lock_release(&sn_batch_lock, SN_RANK_BATCH);
}

static uint64_t drain_table(struct sn_table *table, bool to_slabs)
{
	uint64_t total = 0;

	for (unsigned int c = 1; c < sn_cache_end; c++)
		total += drain_slot(table, c, to_slabs);
	await_batch();
	return total;
}

uint64_t sn_tables_drain(unsigned int node, bool to_slabs)
{
	uint64_t total = 0;

	for (unsigned int cpu = 0; cpu < sn_nr_cpus; cpu++) {
		struct sn_table *table = sn_table_at(node, cpu);

		if (table != NULL)
			total += drain_table(table, to_slabs);
	}
	return total;
}

typedef uint64_t table_fn(struct sn_table *table, unsigned int arg);

/* Closes, fences and opens all tables of one node around fn, whose results are added to *total.
 * An error: the fence is refused, and fn was not called. */
static int with_tables_closed(unsigned int node, table_fn *fn, unsigned int arg, uint64_t *total)
{
	int error;

	if (__atomic_load_n(&tables[node], __ATOMIC_ACQUIRE) == NULL)
		return 0;
	sn_tables_close(node);
	error = sn_tables_fence();
	for (unsigned int cpu = 0; error == 0 && cpu < sn_nr_cpus; cpu++)
		if (sn_table_at(node, cpu) != NULL)
			*total += fn(sn_table_at(node, cpu), arg);
	sn_tables_open(node);
	return error;
}

static uint64_t drain_one_cache(struct sn_table *table, unsigned int cache)
{
	uint64_t total = drain_slot(table, cache, true);

	await_batch();
	return total;
}

uint64_t sn_tables_drain_cache(unsigned int cache)
{
	uint64_t total = 0;

	for_each_node(node)
		with_tables_closed(node, drain_one_cache, cache, &total);
	return total;
}

static bool table_empty(struct sn_table *table)
{
	for (unsigned int c = 1; c < sn_cache_end; c++)
		if (!slot_empty(table, c))
			return false;
	return true;
}

/* `misses` counts refills and flushes since the last round: a table without any is idle. */
static bool table_idle(struct sn_table *table)
{
	return sn_counter_read(sn_table_bias(table)->misses) == 0 && !table_empty(table);
}

static uint64_t reap_table(struct sn_table *table, unsigned int everything)
{
	return everything || table_idle(table) ? drain_table(table, true) : 0;
}

/* Closing tables sends every thread of the node to the slow path for a moment, so it is done
 * only when there is something to find. */
static bool worth_closing(unsigned int node)
{
	bool found = false;

	for (unsigned int cpu = 0; cpu < sn_nr_cpus; cpu++) {
		struct sn_table *table = sn_table_at(node, cpu);

		if (table == NULL)
			continue;
		found |= table_idle(table);
	}
	return found;
}

static void begin_round(unsigned int node)
{
	for (unsigned int cpu = 0; cpu < sn_nr_cpus; cpu++) {
		struct sn_table *table = sn_table_at(node, cpu);

		if (table != NULL)
			sn_counter_set(sn_table_bias(table)->misses, 0);
	}
}

uint64_t sn_tables_reap(bool everything)
{
	uint64_t total = 0;

	for_each_node(node) {
		if (everything || worth_closing(node))
			with_tables_closed(node, reap_table, everything, &total);
		begin_round(node);
	}
	return total;
}

bool sn_tables_cached(void)
{
	for_each_node(node)
		for (unsigned int cpu = 0; cpu < sn_nr_cpus; cpu++) {
			struct sn_table *table = sn_table_at(node, cpu);

			if (table != NULL && !table_empty(table))
				return true;
		}
	return false;
}

unsigned int sn_table_grow(struct sn_table *table, unsigned int cache)
{
	unsigned int limit = sn_caches[cache].array_limit;
	void **base, **end;
	unsigned int have;

	if (table == &sn_empty_table)
		return 0;
	if (cache > SN_NR_CLASSES)
		return sn_counter_read(table->end[cache]) == NULL ? 0 : limit;
	base = array_base(table, cache);
	end = __atomic_load_n(&table->end[cache], __ATOMIC_RELAXED);
	have = sn_min((unsigned int)(end - base) * 2, limit);
	/* Several threads may do this at once: each stores a value within the array, and more
	 * room than another thought of is no harm. */
	__atomic_store_n(&table->end[cache], base + have, __ATOMIC_RELAXED);
	sn_counter_add(sn_table_bias(table)->misses, 1);
	return have;
}

void sn_table_install(struct sn_table *table, unsigned int cache, void *const *words)
{
	unsigned int limit = sn_caches[cache].array_limit;
	void **array;

	if (table == &sn_empty_table || sn_counter_read(table->top[cache]) != no_array ||
	    sn_fault(SN_FAULT_ARRAY) != 0)
		return;
	array = sn_meta_alloc((limit + 1) * sizeof(*array), 64);
	if (array == NULL)
		return;
	/* While end is NULL the slot is full whatever top says: top first, then end.  Between the
	 * two the cache may be closed for the table's node: the end waits in the first entry. */
	sn_counter_set(array[1], (void *)(array + limit)); /* statistics may look */
	if (sn_rseq_enabled) {
		if (!sn_rseq_install(words, cache, table, no_array, array))
			return;
	} else {
		sn_table_lock(table);
		if (table->top[cache] != no_array)
			array = NULL;
		else
			__atomic_store_n(&table->top[cache], array, __ATOMIC_RELEASE);
		sn_table_unlock(table);
		if (array == NULL)
			return;
	}
	sn_lock_acquire(&sn_tables_lock, SN_RANK_TABLES);
	if (!slot_closed(table->node, cache))
		__atomic_store_n(&table->end[cache], array + limit, __ATOMIC_RELEASE);
	sn_lock_release(&sn_tables_lock, SN_RANK_TABLES);
}

static uint64_t close_slot(struct sn_table *table, unsigned int cache)
{
	uint64_t total = drain_one_cache(table, cache);

	/* No word names the table now, so nobody uses the slot.  Emptied, its top is its base; the
	 * end is kept in the first entry until the slot is opened. */
	if (table->end[cache] != NULL) {
		sn_counter_set(table->top[cache][1], (void *)table->end[cache]);
		sn_counter_set(table->end[cache], NULL);
	}
	return total;
}

int sn_tables_close_cache(unsigned int node, unsigned int cache)
{
	uint64_t drained = 0;

	sn_lock_acquire(&sn_tables_lock, SN_RANK_TABLES);
	closed_caches[node][cache / 64] |= (uint64_t)1 << cache % 64;
	sn_lock_release(&sn_tables_lock, SN_RANK_TABLES);
	return with_tables_closed(node, close_slot, cache, &drained);
}

void sn_tables_open_cache(unsigned int node, unsigned int cache)
{
	sn_lock_acquire(&sn_tables_lock, SN_RANK_TABLES);
	closed_caches[node][cache / 64] &= ~((uint64_t)1 << cache % 64);
	for (unsigned int cpu = 0; cpu < sn_nr_cpus; cpu++) {
		struct sn_table *table = sn_table_at(node, cpu);
		void **top;

		if (table == NULL || __atomic_load_n(&table->end[cache], __ATOMIC_RELAXED) != NULL)
			continue;
		/* Nobody gives to the slot: an array that it has, or just gets, is empty. */
		top = __atomic_load_n(&table->top[cache], __ATOMIC_ACQUIRE);
		if (top != no_array)
			__atomic_store_n(&table->end[cache], (void **)top[1], __ATOMIC_RELEASE);
	}
	sn_lock_release(&sn_tables_lock, SN_RANK_TABLES);
}

uint64_t sn_tables_count(unsigned int node, unsigned int cache)
{
	uint64_t total = 0;

	for (unsigned int cpu = 0; cpu < sn_nr_cpus; cpu++) {
		struct sn_table *table = sn_table_at(node, cpu);
		void **top;

		if (table == NULL)
			continue;
		/* Entries below the top are never NULL, the base always is. */
		top = __atomic_load_n(&table->top[cache], __ATOMIC_ACQUIRE);
		if (cache <= SN_NR_CLASSES)
			total += (uint64_t)(top - array_base(table, cache));
		else
			for (; __atomic_load_n(top, __ATOMIC_RELAXED) != NULL; top--)
				total++;
	}
	return total;
}

/* In locked mode the lock keeps the entries still; a sequence is not held up, and what it pushes or
 * pops meanwhile is seen or not. */
unsigned int sn_table_peek(struct sn_table *table, unsigned int cache, void **objects,
			   unsigned int max)
{
	unsigned int n = 0;
	void **top;

	sn_table_lock(table);
	top = sn_counter_read(table->top[cache]);
	for (; n < max && sn_counter_read(*top) != NULL; top--)
		objects[n++] = sn_counter_read(*top);
	sn_table_unlock(table);
	return n;
}
