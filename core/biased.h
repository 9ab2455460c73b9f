/*
 * biased.h - the locked mode without its lock: a table that one thread may use alone.
 *
 * Taking a table's lock is an exchange, twenty cycles of which the rest of a malloc is half.  So a
 * table is biased towards the first thread that takes its lock, its owner: while it is, the owner
 * goes in and out with two plain stores.  Whoever else wants the table takes its lock as ever, and
 * finds the bias and ends it:
 *
 *	owner				another thread, table->lock held
 *	busy = 1			biased = 0
 *	(nothing but the compiler	membarrier: as if the owner had a fence on its left
 *	 is held back here)		busy?  then the lock is given back, and tried again or not
 *	biased? then it is inside,
 *	 else busy = 0, and the lock
 *	...
 *	busy = 0
 *
 * The bias comes back when the owner has taken the lock QUIET times and nobody else has meanwhile.
 *
 * A table has one owner for ever, named by the address of its thread's sn_self: an owner that lost
 * the bias still writes `busy`, at any later time, so nobody else may ever.  When a thread ends,
 * its address is that of a later thread sooner or later, which takes the table over
 * (sn_biased_choose()); until then the table is an ordinary one.
 *
 * A signal handler that interrupts the owner inside finds `busy` set and uses another shard.  A
 * fork and the control side take the lock, and wait for the owner to leave.  There is no bias where
 * membarrier is refused, and none any more once the program asks for a seccomp filter.
 */
#ifndef SLABNODE_BIASED_H
#define SLABNODE_BIASED_H

#include "thread.h"

extern bool sn_biased_enabled;

/* Start-up, in locked mode. */
void sn_biased_init(void);
/* No table is biased from now on: membarrier may soon be refused.  No lock held. */
void sn_biased_end(void);
/* The shard that a thread begins with: one it owns, else one without an owner, else `shard`. */
uint16_t sn_biased_choose(const struct sn_thread *self, uint16_t shard);
/* The caller holds the table's lock and found the word right.  True: it is inside as the owner now,
 * and is to give the lock back. */
bool sn_biased_claim(struct sn_thread *self, struct sn_table *table);

/* The owner goes in; false: it needs the lock, or is inside already, below a signal handler. */
SN_INLINE bool sn_biased_enter(struct sn_bias *bias)
{
	if (sn_unlikely(sn_counter_read(bias->busy) != 0))
		return false;
	sn_counter_set(bias->busy, 1);
	atomic_signal_fence(memory_order_seq_cst);
	if (sn_likely(atomic_load_explicit(&bias->biased, memory_order_acquire) != 0))
		return true;
	sn_counter_set(bias->busy, 0);
	return false;
}

SN_INLINE void sn_biased_leave(struct sn_bias *bias)
{
	__atomic_store_n(&bias->busy, 0, __ATOMIC_RELEASE);
}

/* The fast paths: from and into the table that the thread owns, if it does. */
SN_INLINE void *sn_biased_pop(struct sn_thread *self, unsigned int cache)
{
	struct sn_table *table = self->own;
	void *object;

	if (table == NULL || !sn_biased_enter(sn_table_bias(table)))
		return NULL;
	object = *table->top[cache];
	if (sn_likely(object != NULL))
		sn_counter_sub(table->top[cache], 1);
	sn_biased_leave(sn_table_bias(table));
	return object;
}

SN_INLINE bool sn_biased_push(struct sn_thread *self, unsigned int cache, void *object,
			      unsigned int home)
{
	struct sn_table *table = self->own;
	bool done = false;

	if (table == NULL || !sn_biased_enter(sn_table_bias(table)))
		return false;
	if (sn_likely(sn_node_standin(home) == table->node &&
		      table->top[cache] < __atomic_load_n(&table->end[cache], __ATOMIC_ACQUIRE))) {
		sn_counter_set(table->top[cache][1], object);
		sn_counter_add(table->top[cache], 1);
		done = true;
	}
	sn_biased_leave(sn_table_bias(table));
	return done;
}

#endif
