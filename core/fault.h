/*
 * fault.h - the places where something can go wrong, or take long, on request.
 *
 * Every step of the core that can fail, and every one whose length matters to others, passes a
 * point with a name.  Nothing happens there until somebody (the simulator, a test) installs
 * sn_fault_hook; it may sleep, and returns 0, or the failure as a negative errno value.  A point
 * stands where the real failure would show: in place of the system call, or before the structure is
 * built.  What the caller does about it is therefore what it does when the machine fails.
 *
 * Points stand in slow paths only.  The sequences of malloc and free have none; what they leave to
 * the slow path passes table-put and the points of refills.
 *
 * Of the placement's points the core knows the names; whoever plays the machine (the simulator's
 * ledger, the unit tests' machine) passes them.  Those of the locks exist in debug builds.
 */
#ifndef SLABNODE_FAULT_H
#define SLABNODE_FAULT_H

#include "base.h"

#define SN_FAULT_NR_RANKS 10 /* those of lock.h but the simulator's own */

enum sn_fault_point {
	/* Memory. */
	SN_FAULT_METADATA,
	SN_FAULT_RESERVE,
	SN_FAULT_OPEN,
	SN_FAULT_DISCARD,
	SN_FAULT_MREMAP,
	SN_FAULT_RUN,
	SN_FAULT_SPAN,
	SN_FAULT_EXTEND,
	SN_FAULT_SLAB,
	SN_FAULT_CTOR,
	SN_FAULT_PURGE,
	/* Tables and stores. */
	SN_FAULT_SET,
	SN_FAULT_TABLE,
	SN_FAULT_ARRAY,
	SN_FAULT_SHARED,
	SN_FAULT_ALIEN,
	SN_FAULT_TABLE_PUT,
	SN_FAULT_SHARED_PUT,
	SN_FAULT_ALIEN_PUT,
	SN_FAULT_FENCE,
	SN_FAULT_CACHE_CREATE,
	SN_FAULT_CACHE_DESTROY,
	SN_FAULT_GET,
	SN_FAULT_RECLAIM,
	/* The placement. */
	SN_FAULT_POPULATE,
	SN_FAULT_BIND,
	SN_FAULT_MOVE,
	SN_FAULT_MOVE_BUSY,
	SN_FAULT_MOVE_NOMEM,
	SN_FAULT_MOVE_SHARED,
	SN_FAULT_QUERY,
	SN_FAULT_VACATE,
	SN_FAULT_RESTORE,
	/* The lifecycle; the phases in the order of enum sn_phase. */
	SN_FAULT_GOING_OFFLINE,
	SN_FAULT_CLOSE,
	SN_FAULT_DRAIN,
	SN_FAULT_RELEASE,
	SN_FAULT_EVICT,
	SN_FAULT_WAIT,
	SN_FAULT_MIGRATE,
	SN_FAULT_VERIFY,
	SN_FAULT_COMMIT,
	SN_FAULT_ROLLBACK,
	SN_FAULT_GOING_ONLINE,
	SN_FAULT_STRUCTURES,
	SN_FAULT_ONLINE,
	SN_FAULT_REBALANCE,
	SN_FAULT_CORDON,
	SN_FAULT_CANCEL,
	SN_FAULT_NOTIFIER,
	SN_FAULT_NOTIFIER_END,
	SN_FAULT_EVENT,
	SN_FAULT_REAP,
	SN_FAULT_FORK,
#ifdef SLABNODE_DEBUG
	/* By rank: before a lock is acquired, and while it is held. */
	SN_FAULT_LOCK,
	SN_FAULT_LOCKED = SN_FAULT_LOCK + SN_FAULT_NR_RANKS,
	SN_FAULT_COUNT = SN_FAULT_LOCKED + SN_FAULT_NR_RANKS
#else
	SN_FAULT_COUNT
#endif
};

#define SN_FAULT_FAILS	1 /* a failure may be returned */
#define SN_FAULT_DELAYS 2 /* the hook may sleep */
#define SN_FAULT_HELD	4 /* locks may be held: whoever waits for them sleeps as long */

struct sn_fault_info {
	const char *name;
	uint8_t kind;	/* SN_FAULT_FAILS, ... */
	uint8_t usual;	/* the errno value when nothing else is asked for */
	const char *at; /* what fails or takes long, for listings */
};
extern const struct sn_fault_info sn_fault_info[SN_FAULT_COUNT];

/* NULL: nothing is armed.  See core.c. */
extern int (*sn_fault_hook)(enum sn_fault_point point);

/* 0, or a negative errno value: the step fails. */
static inline int sn_fault(enum sn_fault_point point)
{
	int (*hook)(enum sn_fault_point) = __atomic_load_n(&sn_fault_hook, __ATOMIC_RELAXED);

	return sn_likely(hook == NULL) ? 0 : hook(point);
}

#endif
