/*
 * fork.c - a fork at any moment: see "LOCK ORDER" in lock.h, which prepare follows forwards.
 *
 * prepare takes every lock of the core, so that no structure is half changed when the address
 * space is copied; a drain holds sn_batch_lock while it has objects in hand, so that fork waits
 * for one batch and none is lost.  The child has one thread: it resets all locks and undoes
 * whatever transition was under way before its handler returns.
 *
 * What the child may find: objects that other threads had in hand (a batch between a store and
 * an array) are out of their slabs for good, as are the objects those threads held; an array of
 * a CPU on which a sequence was under way is as before that sequence, since its only store that
 * counts is the last.
 *
 * clang cannot follow locks taken by loops and function pointers, hence SN_NO_THREAD_SAFETY; the
 * locks that the parent takes here it gives back in another function, and the child has no other
 * thread.
 */
#include "core.h"

#include "alien.h"
#include "event.h"
#include "meta.h"
#include "sites.h"
#include "table.h"

typedef void lock_fn(struct sn_lock *lock, enum sn_lock_rank rank);

static void each_table(void (*fn)(struct sn_table *table))
{
	for_each_node(n)
		for (unsigned int cpu = 0; cpu < sn_nr_cpus; cpu++) {
			struct sn_table *table = sn_table_at(n, cpu);

			if (table != NULL)
				fn(table);
		}
}

static void each_alien(lock_fn *fn)
{
	for_each_node(here)
		for (unsigned int c = 1; c < sn_cache_end; c++)
			for_each_node(home) {
				struct sn_alien *alien = sn_alien_of(here, home, c);

				if (alien != NULL)
					fn(&alien->lock, SN_RANK_ALIEN);
			}
}

/* All of them, used or not: one that comes into use just now must not be missed. */
static void each_list(lock_fn *fn)
{
	for (unsigned int n = SN_NODE_INTERNAL; n < sn_node_end; n++)
		for (unsigned int c = 1; c < sn_cache_end; c++)
			fn(&sn_cache_node(sn_nodes[n], c)->list_lock, SN_RANK_LIST);
}

static void each_node_lock(lock_fn *fn)
{
	for (unsigned int n = SN_NODE_INTERNAL; n < sn_node_end; n++)
		fn(&sn_nodes[n]->page_lock, SN_RANK_PAGES);
}

static void reset(struct sn_lock *lock, enum sn_lock_rank rank) SN_NO_THREAD_SAFETY
{
	(void)rank;
	sn_lock_reset(lock);
}

static void reset_table(struct sn_table *table) SN_NO_THREAD_SAFETY
{
	sn_lock_reset(&table->lock);
	sn_table_bias(table)->busy = 0; /* of an owner that was just being refused */
}

void sn_core_fork_prepare(void) SN_NO_THREAD_SAFETY
{
	sn_core_early();
	sn_fault(SN_FAULT_FORK);
	sn_lock_check_suspend(true);
	sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	sn_lock_acquire(&sn_tables_lock, SN_RANK_TABLES);
	sn_lock_acquire(&sn_batch_lock, SN_RANK_BATCH);
	each_table(sn_table_lock);
	each_alien(sn_lock_acquire);
	each_list(sn_lock_acquire);
	each_node_lock(sn_lock_acquire);
	sn_meta_fork_lock();
	sn_event_fork_lock();
	sn_sites_fork_lock();
	atomic_store(&sn_fork_owner, (uintptr_t)__builtin_thread_pointer());
}

void sn_core_fork_parent(void) SN_NO_THREAD_SAFETY
{
	atomic_store(&sn_fork_owner, 0);
	sn_sites_fork_unlock(false);
	sn_event_fork_unlock(false);
	sn_meta_fork_unlock(false);
	each_node_lock(sn_lock_release);
	each_list(sn_lock_release);
	each_alien(sn_lock_release);
	each_table(sn_table_unlock);
	sn_lock_release(&sn_batch_lock, SN_RANK_BATCH);
	sn_lock_release(&sn_tables_lock, SN_RANK_TABLES);
	sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	sn_lock_check_suspend(false);
}

void sn_core_fork_child(void) SN_NO_THREAD_SAFETY
{
	atomic_store(&sn_fork_owner, 0);
	sn_sites_fork_unlock(true);
	sn_event_fork_unlock(true);
	sn_meta_fork_unlock(true);
	each_node_lock(reset);
	each_list(reset);
	each_alien(reset);
	each_table(reset_table);
	sn_lock_reset(&sn_batch_lock);
	sn_lock_reset(&sn_tables_lock);
	sn_lock_reset(&sn_lifecycle_lock);
	sn_lock_check_suspend(false);
	sn_lifecycle_fork_child();
	sn_tables_reset();
}
