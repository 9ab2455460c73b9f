/*
 * numa_look.c - nodes that the machine gets while the program runs, and memory of nodes that had
 * none.
 *
 * libnuma reads the machine once, when it is loaded; so the kernel's files are read here, with
 * plain system calls into buffers on the stack.  Nodes are never forgotten: one that is gone keeps
 * its index, and the kernel no longer allows it.  CPUs that come with a new node are asked for
 * their node by numa_thread_node(); the tables of CPUs keep the home that they were started with.
 */
#include "numa_module.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOCAL_DISTANCE	10
#define REMOTE_DISTANCE 20

/* "0-1,4" as a set. */
static void parse_list(const char *at, struct numa_mask *mask)
{
	char *end;

	do {
		unsigned long first = strtoul(at, &end, 10), last = first;

		if (end == at)
			return;
		if (*end == '-')
			last = strtoul(end + 1, &end, 10);
		for (; first <= last && first < NUMA_MAX_OS_NODES; first++)
			numa_mask_add(mask, (unsigned int)first);
		at = end + 1;
	} while (*end == ',');
}

static void read_list(const char *name, struct numa_mask *mask)
{
	char text[4096];

	memset(mask, 0, sizeof(*mask));
	if (numa_read_sysfs(name, text, sizeof(text)))
		parse_list(text, mask);
}

static unsigned int position(int os_node)
{
	return numa_state.index_of[os_node] - numa_state.first_index;
}

/* A row of distances has a column for each node that is online, in the order of their numbers. */
static void read_distances(const struct numa_mask *online, int from, uint8_t *distance)
{
	char name[64], text[8192];
	const char *at = text;
	char *end;

	snprintf(name, sizeof(name), "node%d/distance", from);
	numa_read_sysfs(name, text, sizeof(text));
	for (unsigned int n = 0; n < NUMA_MAX_OS_NODES; n++) {
		unsigned long d;

		if (!numa_mask_has(online, n))
			continue;
		d = strtoul(at, &end, 10);
		if (end == at)
			return;
		at = end;
		if (d > 0 && d <= UINT8_MAX)
			distance[n] = (uint8_t)d;
	}
}

/* Those from and to the node at the end of the table. */
static void add_distances(struct sn_topology *topology)
{
	unsigned int last = topology->nr_nodes - 1;
	uint8_t distance[NUMA_MAX_OS_NODES];
	struct numa_mask online;

	read_list("online", &online);
	memset(distance, REMOTE_DISTANCE, sizeof(distance));
	read_distances(&online, topology->node[last].os_number, distance);
	for (unsigned int i = 0; i <= last; i++) {
		uint8_t d = i == last ? LOCAL_DISTANCE : distance[topology->node[i].os_number];

		/* As far there as back: what firmware says of the old nodes was read without
		 * this one. */
		topology->node[i].distance[last] = topology->node[last].distance[i] = d;
		numa_state.distance[i][last] = numa_state.distance[last][i] = d;
	}
}

static void read_memory(struct sn_topology_node *node, unsigned int index)
{
	size_t bytes = numa_meminfo(node->os_number, "MemTotal:");

	if (bytes == 0)
		return;
	node->size = numa_state.size[index] = bytes;
	node->has_memory = numa_state.has_memory[index] = true;
}

static void take_in(struct sn_topology *topology, unsigned int os_node,
		    int (*add)(struct sn_topology *topology))
{
	unsigned int nr = topology->nr_nodes, index = numa_state.first_index + nr;
	struct sn_topology_node *node = &topology->node[nr];

	if (index > SN_MAX_NODES)
		return;
	*node = (struct sn_topology_node){.os_number = (int)os_node, .allowed = true};
	numa_state.os_number[index] = (int)os_node;
	read_memory(node, index);
	if (!node->has_memory)
		return;
	topology->nr_nodes = nr + 1;
	add_distances(topology);
	atomic_store(&numa_state.nr_nodes, nr + 1);
	if (add(topology) == 0) {
		__atomic_store_n(&numa_state.index_of[os_node], (uint8_t)index, __ATOMIC_RELEASE);
	} else {
		topology->nr_nodes = nr;
		atomic_store(&numa_state.nr_nodes, nr);
	}
}

void numa_look(struct sn_topology *topology, int (*add)(struct sn_topology *topology))
{
	struct numa_mask memory;

	read_list("has_memory", &memory);
	for (unsigned int n = 0; n < NUMA_MAX_OS_NODES; n++) {
		if (!numa_mask_has(&memory, n))
			continue;
		if (numa_state.index_of[n] == 0)
			take_in(topology, n, add);
		else
			read_memory(&topology->node[position((int)n)], numa_state.index_of[n]);
	}
}
