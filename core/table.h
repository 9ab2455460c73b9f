/*
 * table.h - the array caches: per (CPU, node) a table with one array per object cache.
 *
 *	thread --> set of words --> table of (CPU, node) --> slot of the cache --> array
 *	           words[cpu]       node, slots              top[], end[]          NULL o o o . .
 *	                                                                                ^top    ^end
 *
 * A slot is an entry of top[] and one of end[], so that the index of a cache needs no
 * scaling.  Its array begins with a NULL entry, so that taking from an empty array finds NULL and
 * needs no other check; `end` is the last entry that may be used, 0 where there is no array.
 *
 * A set belongs to a home: "the node of the CPU that I run on" (set 0, real machines), or one
 * node (a thread with a simulated CPU, or with a preferred node).  words[cpu] of the set of
 * home h names the table of (cpu, target of h): h itself while it is usable, else its
 * stand-in.  All that a sequence touches it reaches through that one word:
 *
 *   - words are written under sn_tables_lock only, by nobody else;
 *   - slots and arrays are written by sequences that began by loading the word (or under the
 *     table's lock, in locked mode), and by the control side only while no word names the table
 *     and a fence has passed.
 *
 * To close a table: replace every word that names it by the empty table (which is empty and
 * full at once, and read-only), then fence.  This is the RCU pattern with the sequence as the
 * read side: "Re: Memory hotplug: rough idea of pgdat removing" wanted it of the kernel.
 */
#ifndef SLABNODE_TABLE_H
#define SLABNODE_TABLE_H

#include "cache.h"
#include "rseq.h"

/*
 * Cache 0 does not exist, "no slab" in a page map: the header stands where its top would, and its
 * end stays NULL, so that a free without a cache finds a slot that is full.
 */
struct sn_table {
	union {
		struct {
			/* Whose objects, and those lent to it; SN_NODE_EMPTY in the empty table. */
			uint8_t node;
			uint16_t cpu;
			/* Guards all slots: in locked mode, and while no word names the table. */
			struct sn_lock lock SN_RANKED(table);
		};
		void **top[SN_MAX_CACHES]; /* by cache: newest entry */
	};
	void **end[SN_MAX_CACHES]; /* by cache: last entry that may be used */
};
_Static_assert(offsetof(struct sn_table, cpu) + sizeof(uint16_t) <= sizeof(void *) &&
		       offsetof(struct sn_table, lock) + sizeof(struct sn_lock) <= sizeof(void *),
	       "the header takes the place of one top");
_Static_assert(offsetof(struct sn_table, end) == SN_RSEQ_ENDS, "the sequences count on it");

/* No node, and in no entry of the segment map. */
#define SN_NODE_EMPTY SN_SEG_CONTINUED

/* Beside a table, since it is written where the table's header is only read. */
struct sn_bias {
	/* Locked mode: the thread that may use the table without its lock; see biased.h. */
	const void *owner;	 /* its sn_self; set once, under the table's lock */
	_Atomic uint32_t biased; /* set and cleared under the table's lock */
	uint32_t busy;		 /* the owner is inside; written by the owner alone */
	uint32_t quiet;		 /* times the owner took the lock; guarded by it */
	/* Both modes: refills and flushes, a hint for the reaper. */
	uint32_t misses;
};

/* It stands between a table and its arrays; the empty table has none. */
#define SN_BIAS_SIZE ((size_t)64)
_Static_assert(sizeof(struct sn_bias) <= SN_BIAS_SIZE, "one cache line");

static inline struct sn_bias *sn_table_bias(struct sn_table *table)
{
	return (struct sn_bias *)(table + 1);
}

/* The table's lock is held: ends the bias. False: the owner is inside. */
bool sn_biased_revoke(struct sn_bias *bias);

extern struct sn_lock sn_tables_lock SN_RANKED(tables);
/* Held by a drain while it has a batch of objects in hand, so that a fork waits for one batch
 * and no object is on nobody's list in the child. */
extern struct sn_lock sn_batch_lock SN_RANKED(batch);
extern unsigned int sn_nr_cpus;	  /* words of a set: CPU numbers are below */
extern unsigned int sn_nr_shards; /* locked mode: words that are used */
/* Locked mode on real nodes: the shard is the CPU, so that its home is. */
extern bool sn_shard_by_cpu;
extern struct sn_table sn_empty_table;

#define SN_SET_LOCAL 0 /* the set whose home is the node of the current CPU */

/* Start-up: `nr_cpus` possible CPUs, of which locked mode uses `nr_shards`. false: no memory. */
bool sn_tables_init(unsigned int nr_cpus, unsigned int nr_shards, const uint8_t *node_of_cpu);
/* The words of a home's set, built on first use; NULL: no memory. */
void *const *sn_set_words(unsigned int set) SN_EXCLUDES(&sn_tables_lock);
/* The home node that a CPU has in a set. */
unsigned int sn_set_home(unsigned int set, unsigned int cpu);
/* Builds and publishes the table that (set, cpu) should name now, when it does not exist. */
void sn_table_ensure(unsigned int set, unsigned int cpu) SN_EXCLUDES(&sn_tables_lock);
/* Takes the node's tables out of all words (no fence), and forbids publishing them. */
void sn_tables_close(unsigned int node) SN_EXCLUDES(&sn_tables_lock);
/* Undoes one close, and writes all words anew from the nodes' states. */
void sn_tables_open(unsigned int node) SN_EXCLUDES(&sn_tables_lock);
void sn_tables_publish(void) SN_EXCLUDES(&sn_tables_lock);
/* Closes exactly the tables of nodes that are away: at start, and in a forked child. No other
 * thread runs. */
void sn_tables_reset(void);
/* After close or publish: no thread uses a table by an older word. 0 or negative errno. */
int sn_tables_fence(void);
/* Empties the closed tables of a node into stores or slabs. Returns objects. */
uint64_t sn_tables_drain(unsigned int node, bool to_slabs) SN_EXCLUDES(&sn_batch_lock);
/* Empties the tables that had no refill or flush since the last call (cache_reap's), or all. */
uint64_t sn_tables_reap(bool everything) SN_EXCLUDES(&sn_tables_lock, &sn_batch_lock);
/* Whether any array holds an object. */
bool sn_tables_cached(void);
/* Gives the slot more room, up to the cache's limit; the slot's capacity afterwards. */
unsigned int sn_table_grow(struct sn_table *table, unsigned int cache);
/* The number of objects in the arrays of `node`'s tables for a cache; approximate. */
uint64_t sn_tables_count(unsigned int node, unsigned int cache);
/* Copies the entries of a slot, at most `max`, newest first; the table may be in use. */
unsigned int sn_table_peek(struct sn_table *table, unsigned int cache, void **objects,
			   unsigned int max);
/* Removes every entry of a cache from all tables (the cache is being destroyed or shrunk). */
uint64_t sn_tables_drain_cache(unsigned int cache) SN_EXCLUDES(&sn_tables_lock, &sn_batch_lock);
/* Empties the slots of an object cache in the node's tables and keeps them so until they are
 * opened, whatever this returns: they neither give nor take anything.  A negative errno value: the
 * fence is refused, and they still do.  Not nested. */
int sn_tables_close_cache(unsigned int node, unsigned int cache)
	SN_EXCLUDES(&sn_tables_lock, &sn_batch_lock);
void sn_tables_open_cache(unsigned int node, unsigned int cache) SN_EXCLUDES(&sn_tables_lock);
/* Gives a slot of an object cache its array. */
void sn_table_install(struct sn_table *table, unsigned int cache, void *const *words);
/* Tables that exist, for the fork handler and statistics: NULL when none. */
struct sn_table *sn_table_at(unsigned int node, unsigned int cpu);

/*
 * A table's lock is tried by threads and waited for by the control side only, so it needs no
 * sleepers: giving it back is one plain store, which is half of what the locked mode costs.
 */
static inline bool sn_table_try(struct sn_table *table)
	SN_TRY_ACQUIRE(true, &table->lock) SN_NO_THREAD_SAFETY
{
	if (sn_forking())
		return true;
	if (atomic_exchange_explicit(&table->lock.word, 1, memory_order_acquire) != 0)
		return false;
	if (sn_unlikely(!sn_biased_revoke(sn_table_bias(table)))) {
		atomic_store_explicit(&table->lock.word, 0, memory_order_release);
		return false;
	}
	sn_lock_check_acquire(&table->lock, SN_RANK_TABLE);
	sn_lock_delay_held(SN_RANK_TABLE);
	return true;
}

static inline void sn_table_unlock(struct sn_table *table)
	SN_RELEASE(&table->lock) SN_NO_THREAD_SAFETY
{
	if (sn_forking())
		return;
	sn_lock_check_release(&table->lock, SN_RANK_TABLE);
	atomic_store_explicit(&table->lock.word, 0, memory_order_release);
}

/* The holder is a few instructions from its end, or was preempted there. */
void sn_table_lock(struct sn_table *table) SN_ACQUIRE(&table->lock);

#endif
