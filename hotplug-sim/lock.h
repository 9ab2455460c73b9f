/*
 * lock.h - the simulator's own lock.
 *
 * The module does not link the core, so it brings a small futex lock: 0 free, 1 held, 2 held and
 * somebody sleeps.  Its rank in the core's lock order is SN_RANK_SIMULATION, the innermost: the
 * ledger is consulted under a node's page_lock, and nothing of the core may be called while one
 * of these is held.  Inside the module the ledger's lock comes before the fault table's.
 */
#ifndef SLABNODE_SIM_LOCK_H
#define SLABNODE_SIM_LOCK_H

#include "../core/annotate.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SIM_LOCK_SPINS 100

struct SN_CAPABILITY sim_lock {
	_Atomic uint32_t word;
};

/*
 * The thread that forks holds all of these while it does, and may allocate in handlers of others:
 * for it, named by its thread pointer, locking and unlocking mean nothing then.
 */
extern _Atomic uintptr_t sim_fork_owner;

static inline int sim_forking(void)
{
	return atomic_load_explicit(&sim_fork_owner, memory_order_relaxed) ==
	       (uintptr_t)__builtin_thread_pointer();
}

static inline void sim_lock(struct sim_lock *lock) SN_ACQUIRE(lock) SN_NO_THREAD_SAFETY
{
	int saved = errno;

	if (sim_forking())
		return;
	for (int i = 0; i < SIM_LOCK_SPINS; i++) {
		uint32_t expected = 0;

		if (atomic_compare_exchange_weak_explicit(
			    &lock->word, &expected, 1, memory_order_acquire, memory_order_relaxed))
			return;
	}
	while (atomic_exchange_explicit(&lock->word, 2, memory_order_acquire) != 0)
		syscall(SYS_futex, &lock->word, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
	errno = saved;
}

static inline void sim_unlock(struct sim_lock *lock) SN_RELEASE(lock) SN_NO_THREAD_SAFETY
{
	int saved = errno;

	if (sim_forking())
		return;
	if (atomic_exchange_explicit(&lock->word, 0, memory_order_release) == 2)
		syscall(SYS_futex, &lock->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	errno = saved;
}

/* In a forked child, whose only thread is the caller. */
static inline void sim_lock_reset(struct sim_lock *lock) SN_RELEASE(lock) SN_NO_THREAD_SAFETY
{
	atomic_store_explicit(&lock->word, 0, memory_order_relaxed);
}

#endif
