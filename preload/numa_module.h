/*
 * numa_module.h - what the files of slabnode-numa.so share: numa_module.c reads the topology
 * and the process's start-up policy, pages_real.c places and moves pages, numa_maps.c reads the
 * kernel's figures.
 */
#ifndef SLABNODE_NUMA_MODULE_H
#define SLABNODE_NUMA_MODULE_H

#include "topology.h"

/* The kernel's limit on every architecture; masks are of fixed size. */
#define NUMA_MAX_OS_NODES 1024
#define NUMA_WORD_BITS	  (8 * sizeof(unsigned long))
#define NUMA_MASK_WORDS	  (NUMA_MAX_OS_NODES / NUMA_WORD_BITS)
/* What the system calls are told: the kernel uses one bit less than `maxnode` says. */
#define NUMA_MAXNODE (NUMA_MAX_OS_NODES + 1ul)

/* A set of the system's node numbers, as the system calls want it. */
struct numa_mask {
	unsigned long word[NUMA_MASK_WORDS];
};

static inline bool numa_mask_has(const struct numa_mask *mask, unsigned int os_node)
{
	return os_node < NUMA_MAX_OS_NODES &&
	       (mask->word[os_node / NUMA_WORD_BITS] >> (os_node % NUMA_WORD_BITS) & 1) != 0;
}

static inline void numa_mask_add(struct numa_mask *mask, unsigned int os_node)
{
	if (os_node < NUMA_MAX_OS_NODES)
		mask->word[os_node / NUMA_WORD_BITS] |= 1ul << (os_node % NUMA_WORD_BITS);
}

enum numa_wish { WISH_PREFERRED, WISH_STRICT, WISH_NONE };

/* A memory policy as the kernel tells it. */
struct numa_policy {
	int mode;
	struct numa_mask nodes;
};

/* Written by discover(); numa_look() adds nodes, and fills in what is known of each before nr_nodes
 * and index_of name it. */
struct numa_state {
	unsigned int first_index;
	_Atomic unsigned int nr_nodes;
	int os_number[SN_MAX_NODES + 1];     /* by node index */
	size_t size[SN_MAX_NODES + 1];	     /* bytes, by node index */
	bool has_memory[SN_MAX_NODES + 1];   /* by node index */
	uint8_t index_of[NUMA_MAX_OS_NODES]; /* by the system's number; 0: unknown */
	uint8_t distance[SN_MAX_NODES][SN_MAX_NODES];
	uint8_t *cpu_node; /* node index by CPU number, 0: unknown */
	size_t nr_cpus;
	enum numa_wish wish;
	struct numa_policy start; /* of the first thread at the start */
	bool (*in_range)(uintptr_t addr);
};

extern struct numa_state numa_state;

/* numa_look.c: the module's `look`. */
void numa_look(struct sn_topology *topology, int (*add)(struct sn_topology *topology));

/* numa_module.c: the placement's `allowed`. */
int numa_allowed(struct sn_nodemask *mask);

/* Where /sys keeps the nodes; a variable for the tests. */
extern const char *numa_sysfs_nodes;

/* pages_real.c: tries each system call once on a page of its own, and answers with the
 * placement that is possible.  `name` and `reason` of it may change later, when a call is
 * refused that worked at start. */
const struct sn_placement *numa_placement_probe(void);
void numa_placement_fork_child(void);
int numa_move_process(unsigned int from, const struct sn_nodemask *to,
		      struct sn_move_result *result);
unsigned int numa_thread_node(void);
void numa_cpus(unsigned int node, char *buf, size_t size);

/* numa_maps.c: bytes of this process on a node (index) by /proc/self/numa_maps, inside and outside
 * the window.  0 where unknown.  No malloc; reads at most every tenth of a second. */
size_t numa_maps_resident(unsigned int node);
size_t numa_maps_other(unsigned int node);
void numa_maps_forget(void);

/* Bytes of a node (the system's number) by a line of its meminfo, such as "MemFree:"; 0 when
 * unknown. */
size_t numa_meminfo(int os_node, const char *key);
/* Reads a file below numa_sysfs_nodes as text; false: it cannot be read. No malloc. */
bool numa_read_sysfs(const char *name, char *text, size_t size);

#endif
