/*
 * lock.h - the core's only lock, and the one place where the lock order stands.
 *
 * A lock is one 32-bit word: 0 free, 1 held, 2 held and somebody sleeps.  Uncontended
 * operations are one compare-and-swap and one exchange; contention spins briefly (the holders
 * are short), then sleeps on a futex.  No owner is recorded, so that a forked child can
 * release what its parent's threads held by writing zero.
 *
 * LOCK ORDER, outermost first (enum sn_lock_rank).  A lock may be taken only while every lock
 * held has a lower rank; locks of one rank are never nested, but for the fork handler, which
 * takes all of them in this order and, inside a rank, by node and cache index.
 * Debug builds check this at every acquisition, which is what proves it.  clang warns earlier of
 * less: of two locks that one function takes (SN_RANKED; annotate.h).
 */
#ifndef SLABNODE_LOCK_H
#define SLABNODE_LOCK_H

#include "annotate.h"
#include "base.h"
#include "fault.h"

enum sn_lock_rank {
	SN_RANK_LIFECYCLE = 1, /* sn_lifecycle_lock: node states, masks, cache list */
	SN_RANK_TABLES,	       /* sn_tables_lock: table words, creation of tables */
	SN_RANK_BATCH,	       /* sn_batch_lock: a drain has objects in hand */
	SN_RANK_TABLE,	       /* struct sn_table.lock: one table in locked mode */
	SN_RANK_ALIEN,	       /* struct sn_alien.lock: frees on the way to another node */
	SN_RANK_LIST,	       /* struct sn_cache_node.list_lock: slab lists, shared store */
	SN_RANK_PAGES,	       /* struct sn_node.page_lock: page runs, segments, ranges */
	SN_RANK_META,	       /* metadata allocator, segment window */
	SN_RANK_EVENTS,	       /* event ring */
	SN_RANK_SITES,	       /* a stripe of sampled objects, or the table of their sites */
	SN_RANK_SIMULATION,    /* hotplug-sim's ledger */
	SN_RANK_COUNT
};

struct SN_CAPABILITY sn_lock {
	_Atomic uint32_t word;
};

/*
 * The order for clang.  A rank lies between two points, which are names only: nobody defines or
 * holds them.  SN_RANKED(pages) behind the declaration of a lock says that it is one of
 * SN_RANK_PAGES.
 */
#define SN_RANK_FOLLOWS(rank, outer)                                                               \
	extern struct sn_lock sn_begin_##rank SN_ACQUIRED_AFTER(&sn_end_##outer),                  \
		sn_end_##rank SN_ACQUIRED_AFTER(&sn_begin_##rank)
#define SN_RANKED(rank) SN_ACQUIRED_AFTER(&sn_begin_##rank) SN_ACQUIRED_BEFORE(&sn_end_##rank)

extern struct sn_lock sn_end_outermost;
SN_RANK_FOLLOWS(lifecycle, outermost);
SN_RANK_FOLLOWS(tables, lifecycle);
SN_RANK_FOLLOWS(batch, tables);
SN_RANK_FOLLOWS(table, batch);
SN_RANK_FOLLOWS(alien, table);
SN_RANK_FOLLOWS(list, alien);
SN_RANK_FOLLOWS(pages, list);
SN_RANK_FOLLOWS(meta, pages);
SN_RANK_FOLLOWS(events, meta);
SN_RANK_FOLLOWS(sites, events);
SN_RANK_FOLLOWS(simulation, sites);

#define SN_LOCK_INIT(r)                                                                            \
	{                                                                                          \
		0                                                                                  \
	}

#ifdef SLABNODE_DEBUG
void sn_lock_check_acquire(struct sn_lock *lock, enum sn_lock_rank rank);
void sn_lock_check_release(struct sn_lock *lock, enum sn_lock_rank rank);
/* The fork handler holds many locks of one rank: it switches the check off for its thread. */
void sn_lock_check_suspend(bool suspend);
/* For entry points that must be called with no lock held (memory return, callbacks). */
void sn_lock_check_none_held(void);
/* The fault points of a lock: before it is acquired, and while it is held. */
void sn_lock_delay(enum sn_lock_rank rank);
void sn_lock_delay_held(enum sn_lock_rank rank);
#else
static inline void sn_lock_check_acquire(struct sn_lock *lock, enum sn_lock_rank rank)
{
	(void)lock, (void)rank;
}
static inline void sn_lock_check_release(struct sn_lock *lock, enum sn_lock_rank rank)
{
	(void)lock, (void)rank;
}
static inline void sn_lock_check_suspend(bool suspend)
{
	(void)suspend;
}
static inline void sn_lock_check_none_held(void)
{
}
static inline void sn_lock_delay(enum sn_lock_rank rank)
{
	(void)rank;
}
static inline void sn_lock_delay_held(enum sn_lock_rank rank)
{
	(void)rank;
}
#endif

/*
 * While a thread forks it holds every lock of the core, and handlers of other libraries that run
 * between ours (before fork: those registered earlier; after it: likewise) may allocate.  For that
 * thread, named here by its thread pointer, acquiring and releasing mean nothing.  So it is for one
 * that ends the program with locks held (sn_thread_ends() in thread.h).
 */
extern _Atomic uintptr_t sn_fork_owner;

static inline bool sn_forking(void)
{
	uintptr_t owner = atomic_load_explicit(&sn_fork_owner, memory_order_relaxed);

	return sn_unlikely(owner != 0) && owner == (uintptr_t)__builtin_thread_pointer();
}

void sn_lock_wait(struct sn_lock *lock);
void sn_lock_wake(struct sn_lock *lock);

/* The lock itself is atomic words to clang: nothing to follow in here. */
static inline void sn_lock_acquire(struct sn_lock *lock, enum sn_lock_rank rank)
	SN_ACQUIRE(lock) SN_NO_THREAD_SAFETY
{
	uint32_t expected = 0;

	if (sn_forking())
		return;
	sn_lock_check_acquire(lock, rank);
	sn_lock_delay(rank);
	if (sn_unlikely(!atomic_compare_exchange_strong_explicit(
		    &lock->word, &expected, 1, memory_order_acquire, memory_order_relaxed)))
		sn_lock_wait(lock);
	sn_lock_delay_held(rank);
}

static inline bool sn_lock_try(struct sn_lock *lock, enum sn_lock_rank rank)
	SN_TRY_ACQUIRE(true, lock) SN_NO_THREAD_SAFETY
{
	uint32_t expected = 0;

	if (sn_forking())
		return true;
	if (!atomic_compare_exchange_strong_explicit(&lock->word, &expected, 1,
						     memory_order_acquire, memory_order_relaxed))
		return false;
	sn_lock_check_acquire(lock, rank);
	sn_lock_delay_held(rank);
	return true;
}

static inline void sn_lock_release(struct sn_lock *lock, enum sn_lock_rank rank)
	SN_RELEASE(lock) SN_NO_THREAD_SAFETY
{
	if (sn_forking())
		return;
	sn_lock_check_release(lock, rank);
	if (sn_unlikely(atomic_exchange_explicit(&lock->word, 0, memory_order_release) == 2))
		sn_lock_wake(lock);
}

/* In a forked child, whose only thread is the caller: whatever the state was, free now. */
static inline void sn_lock_reset(struct sn_lock *lock) SN_RELEASE(lock) SN_NO_THREAD_SAFETY
{
	atomic_store_explicit(&lock->word, 0, memory_order_relaxed);
}

/* Futexes, private to the process; timeout in nanoseconds, negative for none.
 * Returns 0, or a negative errno value (-EAGAIN, -ETIMEDOUT, -EINTR). */
int sn_futex_wait(_Atomic uint32_t *word, uint32_t expected, int64_t timeout_ns);
/* Sleeps a moment, on a word that nobody wakes: a sandbox may have left no other call for it. */
void sn_lock_pause(void);
void sn_futex_wake(_Atomic uint32_t *word, int how_many);

#endif
