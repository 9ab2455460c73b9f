/*
 * fault.c - the table of fault points; see fault.h.
 *
 * Data alone: the simulator, which does not link the core, is built with it, too.
 */
#include "fault.h"

#define FAILS  (SN_FAULT_FAILS | SN_FAULT_DELAYS)
#define LASTS  SN_FAULT_DELAYS
#define HELD   SN_FAULT_HELD
#define A_PAGE SN_FAULT_FAILS

const struct sn_fault_info sn_fault_info[SN_FAULT_COUNT] = {
	[SN_FAULT_METADATA] = {"metadata", FAILS | HELD, ENOMEM, "memory for own structures"},
	[SN_FAULT_RESERVE] = {"reserve", FAILS | HELD, ENOMEM, "mmap of address space"},
	[SN_FAULT_OPEN] = {"open", FAILS | HELD, ENOMEM, "mprotect that opens memory"},
	[SN_FAULT_DISCARD] = {"discard", FAILS | HELD, EINVAL, "madvise that gives pages back"},
	[SN_FAULT_MREMAP] = {"mremap", FAILS | HELD, ENOMEM, "mremap of a block's pages"},
	[SN_FAULT_RUN] = {"run", FAILS | HELD, ENOMEM, "a run of pages for a slab or block"},
	[SN_FAULT_SPAN] = {"span", FAILS | HELD, ENOMEM, "segments for a large block"},
	[SN_FAULT_EXTEND] = {"extend", FAILS | HELD, ENOMEM, "growing a block in place"},
	[SN_FAULT_SLAB] = {"slab", FAILS, ENOMEM, "building a slab"},
	[SN_FAULT_CTOR] = {"ctor", LASTS, 0, "constructing a slab's objects"},
	[SN_FAULT_PURGE] = {"purge", LASTS, 0, "a run that was given back, in hand"},

	[SN_FAULT_SET] = {"set", FAILS | HELD, ENOMEM, "building a set of words"},
	[SN_FAULT_TABLE] = {"table", FAILS | HELD, ENOMEM, "building a table"},
	[SN_FAULT_ARRAY] = {"array", FAILS, ENOMEM, "building an object cache's array"},
	[SN_FAULT_SHARED] = {"shared", FAILS | HELD, ENOMEM, "building a shared store"},
	[SN_FAULT_ALIEN] = {"alien", FAILS | HELD, ENOMEM, "building an alien cache"},
	[SN_FAULT_TABLE_PUT] = {"table-put", FAILS, ENOSPC, "objects into a table"},
	[SN_FAULT_SHARED_PUT] = {"shared-put", FAILS | HELD, ENOSPC, "objects into a shared store"},
	[SN_FAULT_ALIEN_PUT] = {"alien-put", FAILS, ENOSPC, "an object into an alien cache"},
	[SN_FAULT_FENCE] = {"fence", FAILS, EPERM, "membarrier"},
	[SN_FAULT_CACHE_CREATE] = {"cache-create", FAILS, ENOMEM, "creating an object cache"},
	[SN_FAULT_CACHE_DESTROY] = {"cache-destroy", FAILS, EBUSY, "destroying an object cache"},
	[SN_FAULT_GET] = {"get", FAILS | HELD, EAGAIN, "pinning movable objects"},
	[SN_FAULT_RECLAIM] = {"reclaim", LASTS, 0, "before pinned objects are asked to leave"},

	[SN_FAULT_POPULATE] = {"populate", FAILS | HELD, ENOMEM, "pages for memory handed out"},
	[SN_FAULT_BIND] = {"bind", FAILS | HELD, ENOMEM, "the memory policy of a range"},
	[SN_FAULT_MOVE] = {"move", FAILS, EBUSY, "a batch of pages that moves"},
	[SN_FAULT_MOVE_BUSY] = {"move-busy", A_PAGE, EBUSY, "one page, pinned"},
	[SN_FAULT_MOVE_NOMEM] = {"move-nomem", A_PAGE, ENOMEM, "one page, no room for it"},
	[SN_FAULT_MOVE_SHARED] = {"move-shared", A_PAGE, EACCES, "one page, shared after fork"},
	[SN_FAULT_QUERY] = {"query", FAILS, EIO, "asking where pages are"},
	[SN_FAULT_VACATE] = {"vacate", FAILS, ENOMEM, "making a node's memory inaccessible"},
	[SN_FAULT_RESTORE] = {"restore", FAILS, ENOMEM, "making it accessible again"},

	[SN_FAULT_GOING_OFFLINE] = {"going-offline", FAILS, EBUSY, "a node is to leave"},
	[SN_FAULT_CLOSE] = {"close", FAILS, EIO, "before the grace period"},
	[SN_FAULT_DRAIN] = {"drain", FAILS, EIO, "before the drain"},
	[SN_FAULT_RELEASE] = {"release", FAILS, EIO, "before memory is released"},
	[SN_FAULT_EVICT] = {"evict", FAILS, EIO, "policy migrate, movable caches"},
	[SN_FAULT_WAIT] = {"wait", FAILS, EIO, "policy wait"},
	[SN_FAULT_MIGRATE] = {"migrate", FAILS, EIO, "policy migrate"},
	[SN_FAULT_VERIFY] = {"verify", FAILS, EIO, "pages were moved, all of them?"},
	[SN_FAULT_COMMIT] = {"commit", LASTS, 0, "before OFFLINE is published"},
	[SN_FAULT_ROLLBACK] = {"rollback", LASTS, 0, "before ONLINE is published again"},
	[SN_FAULT_GOING_ONLINE] = {"going-online", FAILS, EBUSY, "a node is to return"},
	[SN_FAULT_STRUCTURES] = {"structures", FAILS, ENOMEM, "its structures are made ready"},
	[SN_FAULT_ONLINE] = {"online", FAILS, EIO, "before ONLINE is published"},
	[SN_FAULT_REBALANCE] = {"rebalance", FAILS, EIO, "before pages are moved back"},
	[SN_FAULT_CORDON] = {"cordon", FAILS, EBUSY, "cordon and uncordon"},
	[SN_FAULT_CANCEL] = {"cancel", LASTS, 0, "before a cancel is told"},
	[SN_FAULT_NOTIFIER] = {"notifier", FAILS, EBUSY, "a notifier's answer (a veto)"},
	[SN_FAULT_NOTIFIER_END] = {"notifier-end", LASTS, 0, "a notifier is told of an end"},
	[SN_FAULT_EVENT] = {"event", LASTS, 0, "before an event is recorded"},
	[SN_FAULT_REAP] = {"reap", LASTS, 0, "the reaper's round"},
	[SN_FAULT_FORK] = {"fork", LASTS, 0, "before a fork takes the locks"},
#ifdef SLABNODE_DEBUG
	{"lock-lifecycle", LASTS, 0, "before the lock is acquired"},
	{"lock-tables", LASTS | HELD, 0, "the same"},
	{"lock-batch", LASTS | HELD, 0, "the same"},
	{"lock-table", LASTS | HELD, 0, "the same"},
	{"lock-alien", LASTS | HELD, 0, "the same"},
	{"lock-list", LASTS | HELD, 0, "the same"},
	{"lock-pages", LASTS | HELD, 0, "the same"},
	{"lock-meta", LASTS | HELD, 0, "the same"},
	{"lock-events", LASTS | HELD, 0, "the same"},
	{"lock-sites", LASTS | HELD, 0, "the same"},
	{"locked-lifecycle", LASTS | HELD, 0, "while the lock is held"},
	{"locked-tables", LASTS | HELD, 0, "the same"},
	{"locked-batch", LASTS | HELD, 0, "the same"},
	{"locked-table", LASTS | HELD, 0, "the same"},
	{"locked-alien", LASTS | HELD, 0, "the same"},
	{"locked-list", LASTS | HELD, 0, "the same"},
	{"locked-pages", LASTS | HELD, 0, "the same"},
	{"locked-meta", LASTS | HELD, 0, "the same"},
	{"locked-events", LASTS | HELD, 0, "the same"},
	{"locked-sites", LASTS | HELD, 0, "the same"},
#endif
};
