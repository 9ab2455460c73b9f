/*
 * modules.h - opening slabnode-sim.so or slabnode-numa.so, and building nodes from what they
 * find.
 */
#ifndef SLABNODE_MODULES_H
#define SLABNODE_MODULES_H

#include "topology.h"

#include "../core/core.h"

/* What the machine or the simulation has; static storage. */
extern struct sn_topology sn_topology;
/* The module in use, or NULL. */
extern const struct sn_module *sn_module;

/*
 * Finds the topology (options are read), adds its nodes and installs its placement.  Whatever
 * fails leaves one node and the null placement, with one message when a simulation was asked
 * for.  Start-up only.
 */
void sn_topology_start(void);
/*
 * Looks for nodes that the machine has got since the start, and for memory of nodes that had none:
 * they are known from then on, and offline until somebody brings them online.  From any thread,
 * with no lock held.
 */
void sn_topology_look(void) SN_EXCLUDES(&sn_lifecycle_lock);
/* Home node index of each possible CPU on a machine with several nodes, or NULL. */
const uint8_t *sn_topology_cpu_nodes(unsigned int nr_cpus);
/* Fills nr_cpus (an upper bound of CPU numbers, 0: unknown) and nr_shards. */
void sn_count_cpus(struct sn_core_config *config);

#endif
