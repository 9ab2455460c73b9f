/*
 * topology.h - where nodes come from, and the modules that know.
 *
 * A topology source fills a table of nodes and names a placement.  Two modules exist, each a
 * shared object that the preload library opens at start only when it is needed:
 * slabnode-numa.so (libnuma; a machine with several nodes) and slabnode-sim.so (hwloc; a
 * simulated topology).  A module exports exactly one symbol, `slabnode_module`, and finds the
 * core through the pointer it is given: it links neither the core nor the preload library.
 */
#ifndef SLABNODE_TOPOLOGY_H
#define SLABNODE_TOPOLOGY_H

#include "../core/fault.h"
#include "../core/placement.h"

#define SN_MODULE_VERSION 4

struct sn_topology_node {
	int os_number;
	bool has_memory;
	bool allowed; /* by cpuset and start-up policy (real); always true in simulation */
	size_t size;  /* bytes; SIZE_MAX: not limited or unknown */
	unsigned int nr_cpus;
	uint8_t distance[SN_MAX_NODES]; /* by position in the table */
};

struct sn_topology {
	const char *source; /* "auto", "synthetic", "xml" */
	bool simulated;
	unsigned int nr_nodes;
	struct sn_topology_node node[SN_MAX_NODES];
	unsigned int preferred; /* index of the node that threads prefer from the start, 0: none */
	const struct sn_placement *placement;
};

/* What the preload library hands to a module. */
struct sn_module_args {
	const char *description;   /* of SLABNODE_TOPOLOGY, without its prefix */
	bool xml;		   /* description names a file */
	const char *node_capacity; /* SLABNODE_NODE_CAPACITY or NULL */
	const char *placement;	   /* SLABNODE_PLACEMENT */
	/* Core services.  node_index: position in the table -> node index (valid after
	 * discover returned); os_node: node index -> system's number. */
	unsigned int first_index; /* index of table position 0; positions are consecutive */
	/* Page-aligned zeroed memory that is never freed and belongs to no node; NULL: none. */
	void *(*meta_alloc)(size_t size);
	/* Prints one line "slabnode: ..." on stderr, once a process for a given `key`. */
	void (*warn)(const char *key, const char *message);
	/* The window of addresses in which all ranges lie: set before the first populate. */
	uintptr_t (*window_base)(void);
	/* Whether an address lies in a range of some node; at any time, from any thread. */
	bool (*in_range)(uintptr_t addr);
	/* Whether the caller is the process's main thread, without a system call where possible. */
	bool (*in_main_thread)(void);
	/* The core's sn_fault_hook, for a module that injects faults. */
	int (**fault_hook)(enum sn_fault_point point);
};

struct sn_module {
	unsigned int version; /* SN_MODULE_VERSION */
	/* Reads the topology.  0, or a negative errno value with the reason in message. */
	int (*discover)(const struct sn_module_args *args, struct sn_topology *topology,
			char *message, size_t message_size);
	/* Looks for nodes and memory that the machine has got since then (real nodes; no malloc).
	 * A new node stands at the end of the table when add() is called for it, which answers
	 * with 0 or a negative errno value: then it is not in the table. */
	void (*look)(struct sn_topology *topology, int (*add)(struct sn_topology *topology));
	/* In a forked child, called before any other thread exists. */
	void (*fork_child)(void);
	void (*fork_prepare)(void);
	void (*fork_parent)(void);
	/* Arms a fault (simulation only): INTERFACE section 5. 0 or -EINVAL with message. */
	int (*fault)(const char *spec, char *message, size_t message_size);
	/* Moves the rest of the process off the node (real nodes): --whole-process. */
	int (*move_process)(unsigned int from, const struct sn_nodemask *to,
			    struct sn_move_result *result);
};

extern const struct sn_module slabnode_module;

#endif
