/*
 * core.h - starting the core, and what it asks of its host.
 *
 * Before sn_core_start() (libc and the loader allocate early) every request is served by the
 * internal node.  The host (the preload library, or a unit test) adds the nodes in between.
 */
#ifndef SLABNODE_CORE_H
#define SLABNODE_CORE_H

#include "fault.h"
#include "node.h"

/* First use: size classes and the internal node.  Idempotent, cheap, thread-safe. */
void sn_core_early(void);
bool sn_core_started(void);

struct sn_core_config {
	unsigned int hardened;	   /* 0 to 3, see hardened.h */
	uint64_t seed;		   /* what is random in these levels */
	uint64_t sample;	   /* mean bytes between sampled objects, 0: none */
	bool locked;		   /* do not use restartable sequences */
	const char *locked_reason; /* shown in status when locked */
	unsigned int nr_shards;	   /* locked mode: how many tables a node has; 0: one a CPU */
	unsigned int nr_cpus;	   /* possible CPUs; 0: unknown, forces the locked mode */
	const uint8_t *cpu_node;   /* node index of each CPU (real machines), or NULL */
};
/* After the nodes were added.  false: no memory (the internal node goes on serving). */
bool sn_core_start(const struct sn_core_config *config);

/*
 * Called at the end of an allocation's slow path with no lock held, never from a free: the
 * host starts its control thread here, or ages memory inline.  May be NULL.
 */
extern void (*sn_slow_hook)(size_t bytes);

/* Called, with any lock held, when there is something for the reaper: freed memory begins to lie
 * about, a memory policy could not be set.  No system call but futex. May be NULL. */
extern void (*sn_ageing_hook)(void);

/*
 * Decides what happens at the fault points (fault.h): called from any thread, with locks held where
 * the table says so, and must not come back to the core then.  Installed and removed at any time;
 * stays callable.
 */
extern int (*sn_fault_hook)(enum sn_fault_point point);

/* fork: all core locks, in their order.  See fork.c. */
void sn_core_fork_prepare(void);
void sn_core_fork_parent(void);
void sn_core_fork_child(void);

#endif
