/*
 * sim.h - what the files of the simulator share.
 *
 *	topology.c	reads a description or an XML file with hwloc
 *	capacity.c	SLABNODE_NODE_CAPACITY
 *	ledger.c	which simulated node each page is on, and how full the nodes are
 *	vacate.c	free memory of a node that left is made inaccessible
 *	threads.c	threads are given simulated CPUs
 *	fault.c		failures and delays on request
 *	module.c	the table that the preload library calls
 *
 * After discover() the tables of struct sim are never written again and are read without a
 * lock.  Outside of discover() nothing here calls malloc: most of it runs inside malloc.
 */
#ifndef SLABNODE_SIM_H
#define SLABNODE_SIM_H

#include "../preload/topology.h"
#include "lock.h"

#define SIM_UNLIMITED SIZE_MAX

struct sim {
	void *(*meta_alloc)(size_t size);
	uintptr_t (*window_base)(void);
	bool (*in_main_thread)(void);
	int (**fault_hook)(enum sn_fault_point point);
	unsigned int first_index;
	unsigned int nr_nodes;
	size_t capacity[SN_MAX_NODES + 1]; /* by node index, bytes */
	uint8_t distance[SN_MAX_NODES][SN_MAX_NODES];
	/* CPUs: cpu_node[c] is the node index of simulated CPU c, 0 where there is none. */
	uint8_t *cpu_node;
	size_t nr_cpus; /* one past the highest CPU number */
	size_t budget;	/* mappings that vacate may cause */
};

extern struct sim sim;

/* topology.c: fills topology and the tables of sim. */
int sim_topology_read(const struct sn_module_args *args, struct sn_topology *topology,
		      char *message, size_t message_size);
/*
 * How many places a synthetic description multiplies to, in words "TYPE:COUNT" or "COUNT"; above
 * the most it is not exact.  The time that hwloc takes grows with the square, 2 s at the most: a
 * few digits too many would keep the program for hours.
 */
#define SIM_MOST_PLACES 8192
unsigned long sim_count_places(const char *description);
/*
 * Whether the numbers of each "indexes=" are those of CPUs and nodes that can be.  hwloc has a bit
 * for each number up to the highest, in a set for each place: one of ten digits is half a gibibyte
 * a set.
 */
#define SIM_MOST_INDEX 65535
bool sim_indexes_fit(const char *description);
void sim_cpus(unsigned int node, char *buf, size_t size);

/* capacity.c: applies SLABNODE_NODE_CAPACITY to size and has_memory of the nodes.  A bad value
 * is reported through args->warn and changes nothing. */
void sim_capacity_apply(const struct sn_module_args *args, struct sn_topology *topology);
/* "512M" -> bytes; K, M, G, T, P are powers of 1024.  0, -EINVAL or -ERANGE. */
int sim_parse_size(const char *text, size_t len, size_t *bytes);

/* The ledger's counters are read without. */
extern struct sim_lock sim_fault_lock;
extern struct sim_lock sim_ledger_lock SN_ACQUIRED_BEFORE(&sim_fault_lock);

/* ledger.c: the operations of struct sn_placement of the same names. */
int sim_populate(void *addr, size_t len, unsigned int node);
void sim_depopulate(void *addr, size_t len, unsigned int node);
int sim_bind_range(void *addr, size_t len, unsigned int node, const struct sn_nodemask *allowed);
int sim_move(void *addr, size_t len, unsigned int target, struct sn_move_result *result);
int sim_query(void *addr, size_t npages, int *nodes);
size_t sim_room(unsigned int node);
size_t sim_resident(unsigned int node);
size_t sim_capacity(unsigned int node);
void sim_ledger_reset(void);

/* For vacate.c: a ledger byte is a node index, 0 for "no page", and this bit for "made
 * inaccessible".  sim_ledger_page() answers NULL where the ledger has no room for the page yet;
 * sim_ledger_reserve() makes room. */
#define SIM_INACCESSIBLE 0x80
uint8_t *sim_ledger_page(uintptr_t addr) SN_REQUIRES(&sim_ledger_lock);
/* The next page's byte, from the one of the page at `addr`; cheap inside a block. */
uint8_t *sim_ledger_next(uint8_t *byte, uintptr_t addr) SN_REQUIRES(&sim_ledger_lock);
int sim_ledger_reserve(const void *addr, size_t len) SN_EXCLUDES(&sim_ledger_lock);

/* vacate.c */
int sim_vacate(void *addr, size_t len, unsigned int node);
int sim_restore(void *addr, size_t len, unsigned int node);
void sim_vacate_reset(void);

/* threads.c */
int sim_threads_init(void); /* after sim_topology_read() */
unsigned int sim_thread_node(void);

/* fault.c */
int sim_fault_arm(const char *spec, char *message, size_t message_size);
/* At a fault point, the ledger's own and, as sn_fault_hook, the core's: sleeps for the armed delay,
 * then returns 0 or the armed error.  Points of a page never sleep: they are passed under the
 * ledger's lock. */
int sim_fault(enum sn_fault_point point);
void sim_fault_reset(void);

#endif
