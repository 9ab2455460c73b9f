/*
 * module.c - the simulator as a module: its start, its fork handlers and the table of what it
 * can do.
 */
#include "sim.h"

#include <stdio.h>
#include <string.h>

static struct sn_placement placement = {
	.name = "simulated",
	.simulated = true,
	.populate = sim_populate,
	.depopulate = sim_depopulate,
	.bind_range = sim_bind_range,
	.move = sim_move,
	.query = sim_query,
	.room = sim_room,
	.resident = sim_resident,
	.capacity = sim_capacity,
	.vacate = sim_vacate,
	.restore = sim_restore,
	.thread_node = sim_thread_node,
	.cpus = sim_cpus,
};

/* What stays in use after discover() moves from the table to the simulator's own. */
static void keep(const struct sn_topology *topology)
{
	sim.nr_nodes = topology->nr_nodes;
	for (unsigned int i = 0; i < topology->nr_nodes; i++) {
		sim.capacity[sim.first_index + i] = topology->node[i].size;
		memcpy(sim.distance[i], topology->node[i].distance, topology->nr_nodes);
	}
}

static int discover(const struct sn_module_args *args, struct sn_topology *topology, char *message,
		    size_t message_size)
{
	int error;

	memset(&sim, 0, sizeof(sim));
	memset(topology, 0, sizeof(*topology));
	sim.meta_alloc = args->meta_alloc;
	sim.window_base = args->window_base;
	sim.in_main_thread = args->in_main_thread;
	sim.fault_hook = args->fault_hook;
	sim.first_index = args->first_index;
	sim_ledger_reset();
	sim_vacate_reset();
	sim_fault_reset();
	error = sim_topology_read(args, topology, message, message_size);
	if (error != 0)
		return error;
	sim_capacity_apply(args, topology);
	error = sim_threads_init();
	if (error != 0) {
		snprintf(message, message_size, "no memory for %zu CPUs", sim.nr_cpus);
		return error;
	}
	keep(topology);
	placement.reason = args->xml ? "topology from an XML file" : "synthetic topology";
	topology->source = args->xml ? "xml" : "synthetic";
	topology->simulated = true;
	topology->placement = &placement;
	return 0;
}

_Atomic uintptr_t sim_fork_owner;

/* clang cannot follow locks that are taken here and given back in another function. */
static void fork_prepare(void) SN_NO_THREAD_SAFETY
{
	sim_lock(&sim_ledger_lock);
	sim_lock(&sim_fault_lock);
	atomic_store(&sim_fork_owner, (uintptr_t)__builtin_thread_pointer());
}

static void fork_parent(void) SN_NO_THREAD_SAFETY
{
	atomic_store(&sim_fork_owner, 0);
	sim_unlock(&sim_fault_lock);
	sim_unlock(&sim_ledger_lock);
}

static void fork_child(void) SN_NO_THREAD_SAFETY
{
	atomic_store(&sim_fork_owner, 0);
	sim_lock_reset(&sim_fault_lock);
	sim_lock_reset(&sim_ledger_lock);
}

__attribute__((visibility("default"))) const struct sn_module slabnode_module = {
	.version = SN_MODULE_VERSION,
	.discover = discover,
	.fork_child = fork_child,
	.fork_prepare = fork_prepare,
	.fork_parent = fork_parent,
	.fault = sim_fault_arm,
};
