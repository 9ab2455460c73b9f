/*
 * numa_module.c - the real machine: nodes, CPUs and distances from libnuma, and which nodes the
 * process may use.
 *
 * Numbers have holes, node 0 may be absent, a node may have CPUs and no memory or the reverse;
 * only what libnuma names is taken.  CPU tables are sized by possible CPUs.  A node is allowed
 * when the cpuset has it (or it has no memory, which no cpuset lists) and the memory policy
 * with which the process was started has it, where that policy binds or interleaves (numactl
 * --membind, --interleave); a mere preference forbids nothing, and is what threads prefer.
 * libnuma's own question for the cpuset prints an error where the system call is refused, so the
 * call is made here and the kernel's text in /proc, which libnuma has read, is the second choice.
 */
#include "numa_module.h"
#include "cpulist.h"

#include <numa.h>
#include <numaif.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#ifndef MPOL_WEIGHTED_INTERLEAVE
#define MPOL_WEIGHTED_INTERLEAVE 6
#endif
#define POLICY_FLAG_RELATIVE (1 << 14)
#define POLICY_FLAGS	     (7 << 13) /* balancing, relative, static */
#define LOCAL_DISTANCE	     10
#define REMOTE_DISTANCE	     20

struct numa_state numa_state;

static void cpuset_nodes(struct numa_mask *allowed)
{
	memset(allowed, 0, sizeof(*allowed));
	if (get_mempolicy(NULL, allowed->word, NUMA_MAXNODE, NULL, MPOL_F_MEMS_ALLOWED) == 0)
		return;
	memset(allowed, 0, sizeof(*allowed));
	for (unsigned int n = 0; n < NUMA_MAX_OS_NODES; n++)
		if (numa_bitmask_isbitset(numa_all_nodes_ptr, n))
			numa_mask_add(allowed, n);
}

/* Relative masks count in the cpuset's nodes: bit i is its i-th node, counted around. */
static void fold_relative(struct numa_mask *policy, const struct numa_mask *cpuset)
{
	unsigned int member[NUMA_MAX_OS_NODES], nr = 0;
	struct numa_mask folded = {{0}};

	for (unsigned int n = 0; n < NUMA_MAX_OS_NODES; n++)
		if (numa_mask_has(cpuset, n))
			member[nr++] = n;
	for (unsigned int n = 0; n < NUMA_MAX_OS_NODES && nr > 0; n++)
		if (numa_mask_has(policy, n))
			numa_mask_add(&folded, member[n % nr]);
	*policy = folded;
}

/* The policy of the first thread, with which the process was started. */
static void read_start_policy(void)
{
	struct numa_policy *start = &numa_state.start;

	memset(start, 0, sizeof(*start));
	if (get_mempolicy(&start->mode, start->nodes.word, NUMA_MAXNODE, NULL, 0) != 0)
		start->mode = MPOL_DEFAULT;
}

/* Takes nodes that the start-up policy excludes out of `allowed`. */
static void apply_start_policy(struct numa_mask *allowed)
{
	struct numa_mask policy = numa_state.start.nodes;
	int mode = numa_state.start.mode;
	unsigned long any = 0;

	if ((mode & POLICY_FLAG_RELATIVE) != 0)
		fold_relative(&policy, allowed);
	mode &= ~POLICY_FLAGS;
	if (mode != MPOL_BIND && mode != MPOL_INTERLEAVE && mode != MPOL_WEIGHTED_INTERLEAVE)
		return;
	for (size_t i = 0; i < NUMA_MASK_WORDS; i++)
		any |= policy.word[i] & allowed->word[i];
	if (any == 0)
		return;
	for (size_t i = 0; i < NUMA_MASK_WORDS; i++)
		allowed->word[i] &= policy.word[i];
}

int numa_allowed(struct sn_nodemask *mask)
{
	struct numa_mask allowed = {{0}};

	if (numa_state.wish == WISH_NONE ||
	    get_mempolicy(NULL, allowed.word, NUMA_MAXNODE, NULL, MPOL_F_MEMS_ALLOWED) != 0)
		return -ENODATA;
	apply_start_policy(&allowed);
	for (unsigned int n = 0; n < NUMA_MAX_OS_NODES; n++)
		if (numa_mask_has(&allowed, n) && numa_state.index_of[n] != 0)
			sn_mask_add(mask, numa_state.index_of[n]);
	return 0;
}

/* numactl --preferred=N: the node that threads get memory of, whatever CPU they run on. */
static unsigned int preferred_node(void)
{
	const struct numa_policy *start = &numa_state.start;
	unsigned int found = 0, count = 0;

	if ((start->mode & POLICY_FLAG_RELATIVE) != 0 ||
	    (start->mode & ~POLICY_FLAGS) != MPOL_PREFERRED)
		return 0;
	for (unsigned int n = 0; n < NUMA_MAX_OS_NODES; n++)
		if (numa_mask_has(&start->nodes, n)) {
			found = numa_state.index_of[n];
			count++;
		}
	return count == 1 ? found : 0;
}

static int list_nodes(struct sn_topology *topology, char *message, size_t message_size)
{
	unsigned int max = SN_MAX_NODES + 1 - numa_state.first_index, nr = 0;

	for (unsigned int n = 0; n < NUMA_MAX_OS_NODES; n++) {
		if (!numa_bitmask_isbitset(numa_nodes_ptr, n))
			continue;
		if (nr == max) {
			snprintf(message, message_size, "more than %u nodes", max);
			return -E2BIG;
		}
		topology->node[nr].os_number = (int)n;
		numa_state.index_of[n] = (uint8_t)(numa_state.first_index + nr);
		numa_state.os_number[numa_state.first_index + nr++] = (int)n;
	}
	if (nr == 0) {
		snprintf(message, message_size, "libnuma knows no node");
		return -ENODEV;
	}
	topology->nr_nodes = numa_state.nr_nodes = nr;
	return 0;
}

static void read_memory(struct sn_topology *topology)
{
	struct numa_mask allowed;

	read_start_policy();
	cpuset_nodes(&allowed);
	apply_start_policy(&allowed);
	for (unsigned int i = 0; i < topology->nr_nodes; i++) {
		struct sn_topology_node *node = &topology->node[i];
		unsigned int index = numa_state.first_index + i;
		long long unused, bytes = numa_node_size64(node->os_number, &unused);

		node->has_memory = bytes > 0;
		node->size = bytes > 0 ? (size_t)bytes : 0;
		node->allowed =
			!node->has_memory || numa_mask_has(&allowed, (unsigned int)node->os_number);
		numa_state.size[index] = node->size;
		numa_state.has_memory[index] = node->has_memory;
	}
}

/* The files of sysfs have columns for online nodes only; libnuma answers 0 for the others. */
static void read_distances(struct sn_topology *topology)
{
	for (unsigned int i = 0; i < topology->nr_nodes; i++) {
		for (unsigned int j = 0; j < topology->nr_nodes; j++) {
			int d = numa_distance(topology->node[i].os_number,
					      topology->node[j].os_number);

			if (d <= 0 || d > UINT8_MAX)
				d = i == j ? LOCAL_DISTANCE : REMOTE_DISTANCE;
			topology->node[i].distance[j] = (uint8_t)d;
			numa_state.distance[i][j] = (uint8_t)d;
		}
	}
}

static int read_cpus(const struct sn_module_args *args, struct sn_topology *topology)
{
	struct bitmask *cpus = numa_allocate_cpumask();
	int possible = numa_num_possible_cpus();

	numa_state.nr_cpus = possible > 0 ? (size_t)possible : 1;
	numa_state.cpu_node = args->meta_alloc(sn_align_up(numa_state.nr_cpus, SN_PAGE_SIZE));
	if (numa_state.cpu_node == NULL || cpus == NULL) {
		if (cpus != NULL)
			numa_bitmask_free(cpus);
		return -ENOMEM;
	}
	for (unsigned int i = 0; i < topology->nr_nodes; i++) {
		numa_bitmask_clearall(cpus);
		if (numa_node_to_cpus(topology->node[i].os_number, cpus) != 0)
			continue;
		for (unsigned int cpu = 0; cpu < numa_state.nr_cpus && cpu < cpus->size; cpu++) {
			if (!numa_bitmask_isbitset(cpus, cpu))
				continue;
			numa_state.cpu_node[cpu] = (uint8_t)(numa_state.first_index + i);
			topology->node[i].nr_cpus++;
		}
	}
	numa_bitmask_free(cpus);
	return 0;
}

static enum numa_wish parse_wish(const char *placement)
{
	if (placement != NULL && strcmp(placement, "none") == 0)
		return WISH_NONE;
	if (placement != NULL && strcmp(placement, "strict") == 0)
		return WISH_STRICT;
	return WISH_PREFERRED;
}

static int discover(const struct sn_module_args *args, struct sn_topology *topology, char *message,
		    size_t message_size)
{
	int error;

	memset(&numa_state, 0, sizeof(numa_state));
	memset(topology, 0, sizeof(*topology));
	numa_maps_forget();
	numa_state.first_index = args->first_index;
	numa_state.in_range = args->in_range;
	numa_state.wish = parse_wish(args->placement);
	/* Negative also where the system calls are refused; sysfs can be read all the same. */
	if (numa_available() < 0 && errno != EPERM) {
		snprintf(message, message_size, "no NUMA support in this kernel");
		return -ENOSYS;
	}
	error = list_nodes(topology, message, message_size);
	if (error != 0)
		return error;
	read_memory(topology);
	read_distances(topology);
	error = read_cpus(args, topology);
	if (error != 0) {
		snprintf(message, message_size, "no memory for the CPU table");
		return error;
	}
	topology->source = "auto";
	topology->simulated = false;
	topology->preferred = preferred_node();
	topology->placement = numa_placement_probe();
	return 0;
}

/* A CPU that was not there at start is asked for its node by the vDSO. */
unsigned int numa_thread_node(void)
{
	unsigned int cpu, os_node;
	int now = sched_getcpu();

	if (now >= 0 && (size_t)now < numa_state.nr_cpus && numa_state.cpu_node[now] != 0)
		return numa_state.cpu_node[now];
	if (getcpu(&cpu, &os_node) == 0 && os_node < NUMA_MAX_OS_NODES &&
	    numa_state.index_of[os_node] != 0)
		return numa_state.index_of[os_node];
	return numa_state.first_index;
}

static bool cpu_is_on(const void *node, size_t cpu)
{
	return numa_state.cpu_node[cpu] == *(const unsigned int *)node;
}

void numa_cpus(unsigned int node, char *buf, size_t size)
{
	sn_cpulist_format(buf, size, numa_state.nr_cpus, cpu_is_on, &node);
}

__attribute__((visibility("default"))) const struct sn_module slabnode_module = {
	.version = SN_MODULE_VERSION,
	.discover = discover,
	.look = numa_look,
	.fork_child = numa_placement_fork_child,
	.move_process = numa_move_process,
};
