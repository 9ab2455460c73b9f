/*
 * lock.c - waiting for a lock, futexes, and (in debug builds) the check of the lock order.
 */
#include "lock.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SPINS	 100
#define PAUSE_NS 20000

_Atomic uintptr_t sn_fork_owner;

static inline void cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

int sn_futex_wait(_Atomic uint32_t *word, uint32_t expected, int64_t timeout_ns)
{
	struct timespec ts, *timeout = NULL;
	int saved = errno, error = 0;

	if (timeout_ns >= 0) {
		ts.tv_sec = timeout_ns / 1000000000;
		ts.tv_nsec = timeout_ns % 1000000000;
		timeout = &ts;
	}
	if (syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, timeout, NULL, 0) < 0)
		error = -errno;
	errno = saved;
	return error;
}

void sn_futex_wake(_Atomic uint32_t *word, int how_many)
{
	int saved = errno;

	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, how_many, NULL, NULL, 0);
	errno = saved;
}

SN_COLD void sn_lock_pause(void)
{
	_Atomic uint32_t never = 0;

	sn_futex_wait(&never, 0, PAUSE_NS);
}

SN_COLD void sn_lock_wait(struct sn_lock *lock)
{
	for (int i = 0; i < SPINS; i++) {
		uint32_t expected = 0;

		cpu_relax();
		if (atomic_load_explicit(&lock->word, memory_order_relaxed) == 0 &&
		    atomic_compare_exchange_weak_explicit(
			    &lock->word, &expected, 1, memory_order_acquire, memory_order_relaxed))
			return;
	}
	/* 2 tells the holder to wake somebody; whoever gets the lock this way keeps the 2,
	 * because others may sleep too. */
	while (atomic_exchange_explicit(&lock->word, 2, memory_order_acquire) != 0)
		sn_futex_wait(&lock->word, 2, -1);
}

SN_COLD void sn_lock_wake(struct sn_lock *lock)
{
	sn_futex_wake(&lock->word, 1);
}

#ifdef SLABNODE_DEBUG
static _Thread_local SN_TLS uint32_t held[SN_RANK_COUNT];
static _Thread_local SN_TLS bool suspended;

void sn_lock_check_suspend(bool suspend)
{
	suspended = suspend;
}

void sn_lock_check_acquire(struct sn_lock *lock, enum sn_lock_rank rank)
{
	if (suspended)
		return;
	for (unsigned int r = rank; r < SN_RANK_COUNT; r++)
		if (held[r] != 0)
			sn_fatal("lock order violated", lock);
	held[rank]++;
}

void sn_lock_check_release(struct sn_lock *lock, enum sn_lock_rank rank)
{
	if (suspended)
		return;
	if (held[rank] == 0)
		sn_fatal("lock released that was not held", lock);
	held[rank]--;
}

void sn_lock_check_none_held(void)
{
	if (suspended)
		return;
	for (unsigned int r = 1; r < SN_RANK_COUNT; r++)
		if (held[r] != 0)
			sn_fatal("lock held where none may be", NULL);
}

_Static_assert(SN_FAULT_NR_RANKS == SN_RANK_SIMULATION - SN_RANK_LIFECYCLE,
	       "two fault points a rank, but for the simulator's");

void sn_lock_delay(enum sn_lock_rank rank)
{
	if (rank < SN_RANK_SIMULATION)
		sn_fault((enum sn_fault_point)(SN_FAULT_LOCK + rank - SN_RANK_LIFECYCLE));
}

void sn_lock_delay_held(enum sn_lock_rank rank)
{
	if (rank < SN_RANK_SIMULATION)
		sn_fault((enum sn_fault_point)(SN_FAULT_LOCKED + rank - SN_RANK_LIFECYCLE));
}
#endif
