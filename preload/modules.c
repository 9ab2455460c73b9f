/*
 * modules.c - see modules.h.
 *
 * libnuma and hwloc are linked by the modules alone: a process on a machine with one node loads
 * neither.  What the loader, hwloc and libnuma allocate here comes from the internal node.
 */
#include "modules.h"

#include "internal.h"

#include "../core/thread.h"
#include "options.h"
#include "smallfile.h"

#include "../core/meta.h"
#include "../core/segment.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOST_CPUS 65536

struct sn_topology sn_topology;
const struct sn_module *sn_module;

/* The highest possible CPU number plus one, by /sys; 0: unknown. */
static unsigned int possible_cpus(void)
{
	char buf[256];
	const char *text = buf, *last;

	if (sn_read_small("/sys/devices/system/cpu/possible", buf, sizeof(buf)) == 0)
		return 0;
	/* The highest number counts, whatever holes there are. */
	for (last = buf; *last != '\0'; last++)
		if (*last == '-' || *last == ',')
			text = last + 1;
	return (unsigned int)strtoul(text, NULL, 10) + 1;
}

/* Start-up alone comes here, and may have a stack of 16 KiB (RLIMIT_STACK): hence static. */
void sn_count_cpus(struct sn_core_config *config)
{
	static uint64_t mask[MOST_CPUS / 64];
	int saved = errno;
	/* The raw call tells how many bytes of CPU numbers the kernel knows: not to be faked, as
	 * files in /sys can be, and on all but large machines an exact enough bound. */
	long bytes = syscall(SYS_sched_getaffinity, 0, sizeof(mask), mask);

	config->nr_cpus = bytes <= 0 ? 0 : (unsigned int)bytes * 8;
	if (config->nr_cpus > 1024) {
		unsigned int possible = possible_cpus();

		if (possible > 0 && possible < config->nr_cpus)
			config->nr_cpus = possible;
	}
	for (long i = 0; i < bytes / (long)sizeof(mask[0]); i++)
		config->nr_shards += (unsigned int)__builtin_popcountll(mask[i]);
	/* More than CPUs: a thread that is preempted inside a shard keeps it for a while. */
	config->nr_shards = sn_max(config->nr_shards * 8, 16u);
	errno = saved;
}

/* Several nodes, as far as /sys says. */
static bool many_nodes(void)
{
	char buf[256];
	size_t n = sn_read_small("/sys/devices/system/node/possible", buf, sizeof(buf));

	return n > 0 && strcmp(buf, "0\n") != 0;
}

static void *module_meta_alloc(size_t size)
{
	return sn_meta_alloc(sn_align_up(size, SN_PAGE_SIZE), SN_PAGE_SIZE);
}

static uintptr_t module_window(void)
{
	return sn_window;
}

/* The module's file: beside the library when installed, in its own folder in a build tree. */
static void *open_module(const char *name)
{
	static const char *const places[] = {"slabnode/", "../hotplug-sim/", ""};
	char path[4096];
	Dl_info self;
	const char *slash;

	if (dladdr((void *)(uintptr_t)&open_module, &self) == 0 || self.dli_fname == NULL)
		return NULL;
	slash = strrchr(self.dli_fname, '/');
	for (size_t i = 0; i < SN_ARRAY_SIZE(places); i++) {
		int dir = slash == NULL ? 0 : (int)(slash + 1 - self.dli_fname);
		void *handle;

		snprintf(path, sizeof(path), "%.*s%s%s.so", dir, self.dli_fname, places[i], name);
		if (access(path, R_OK) != 0)
			continue;
		handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
		if (handle == NULL && sn_options.verbose > 0)
			sn_warn_once(name, dlerror());
		if (handle != NULL)
			return handle;
	}
	return NULL;
}

static bool load(const char *name, const struct sn_module_args *args, char *message, size_t size)
{
	void *handle = open_module(name);
	const struct sn_module *module;
	int error;

	if (handle == NULL) {
		snprintf(message, size, "module %s.so not found or not loadable", name);
		return false;
	}
	module = dlsym(handle, "slabnode_module");
	if (module == NULL || module->version != SN_MODULE_VERSION) {
		snprintf(message, size, "module %s.so does not fit this library", name);
		return false;
	}
	error = module->discover(args, &sn_topology, message, size);
	if (error != 0 || sn_topology.nr_nodes == 0)
		return false;
	sn_module = module;
	return true;
}

static void set_distances(const struct sn_topology *topology)
{
	for (unsigned int i = 0; i < topology->nr_nodes; i++) {
		uint8_t distance[SN_MAX_NODES + 1] = {0};

		for (unsigned int k = 0; k < topology->nr_nodes; k++)
			distance[SN_FIRST_NODE + k] = topology->node[i].distance[k];
		sn_node_set_distances(SN_FIRST_NODE + i, distance);
	}
}

static void add_nodes(void)
{
	for (unsigned int i = 0; i < sn_topology.nr_nodes; i++) {
		const struct sn_topology_node *node = &sn_topology.node[i];

		if (sn_node_add(node->os_number, node->has_memory, node->allowed) < 0)
			sn_topology.nr_nodes = i;
	}
	set_distances(&sn_topology);
	for (unsigned int i = 0; i < sn_topology.nr_nodes; i++)
		sn_node_start(SN_FIRST_NODE + i);
	sn_thread_preferred = sn_topology.preferred;
	if (sn_topology.placement != NULL)
		sn_placement = sn_topology.placement;
}

static void one_node(void)
{
	memset(&sn_topology, 0, sizeof(sn_topology));
	sn_topology.source = "auto";
	sn_topology.nr_nodes = 1;
	sn_topology.node[0] = (struct sn_topology_node){
		.has_memory = true,
		.allowed = true,
		.size = SIZE_MAX,
		.distance = {10},
	};
}

/* Nodes of SLABNODE_OFFLINE begin away, all but the last usable one.  Start-up: single-threaded. */
static void begin_offline(void) SN_NO_THREAD_SAFETY
{
	int numbers[SN_MAX_NODES], n;

	if (sn_options.offline == NULL)
		return;
	n = sn_parse_list(sn_options.offline, numbers, SN_MAX_NODES);
	for (int i = 0; i < n; i++) {
		unsigned int node = sn_node_find(numbers[i]);

		if (node == SN_NODE_NONE) {
			sn_warn_once("offline-unknown", "SLABNODE_OFFLINE: no such node, ignored");
		} else if (sn_node_count_usable() == 1 && sn_node_usable(sn_nodes[node])) {
			sn_warn_once("offline-last",
				     "SLABNODE_OFFLINE: the last usable node stays online");
		} else {
			atomic_store(&sn_nodes[node]->state, SN_OFFLINE);
			sn_node_update_usable(sn_nodes[node]);
			atomic_store(&sn_standin[node], SN_NODE_NONE);
		}
	}
}

void sn_topology_start(void)
{
	const char *text = sn_options.topology == NULL ? "auto" : sn_options.topology;
	char message[256] = "";
	struct sn_module_args args = {
		.node_capacity = sn_options.node_capacity,
		.placement = sn_options.placement == NULL ? "preferred" : sn_options.placement,
		.first_index = SN_FIRST_NODE,
		.meta_alloc = module_meta_alloc,
		.warn = sn_warn_once,
		.window_base = module_window,
		.in_range = sn_in_range,
		.in_main_thread = sn_in_main_thread,
		.fault_hook = &sn_fault_hook,
	};
	bool found = false;

	sn_internal_enter();
	if (strcmp(text, "auto") != 0) {
		char line[400];

		args.xml = strncmp(text, "xml:", 4) == 0;
		args.description = strchr(text, ':') + 1;
		found = load("slabnode-sim", &args, message, sizeof(message));
		if (!found) {
			snprintf(line, sizeof(line), "SLABNODE_TOPOLOGY: %s, using auto", message);
			sn_warn_once("topology", line);
		}
	}
	if (!found && !sn_standing_by && many_nodes()) {
		found = load("slabnode-numa", &args, message, sizeof(message));
		if (!found && sn_options.verbose > 0)
			sn_warn_once("numa", message);
	}
	if (!found)
		one_node();
	add_nodes();
	begin_offline();
	sn_internal_leave();
}

static int add_appeared(struct sn_topology *topology) SN_REQUIRES(&sn_lifecycle_lock)
{
	int index = sn_node_appeared(topology->node[topology->nr_nodes - 1].os_number);

	if (index < 0)
		return index;
	set_distances(topology);
	return 0;
}

void sn_topology_look(void)
{
	int saved = errno;

	if (!SN_HOTPLUG || sn_module == NULL || sn_module->look == NULL || !sn_core_started())
		return;
	sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	sn_module->look(&sn_topology, add_appeared);
	for (unsigned int i = 0; i < sn_topology.nr_nodes; i++)
		if (sn_topology.node[i].has_memory)
			sn_nodes[SN_FIRST_NODE + i]->has_memory = true;
	sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	errno = saved;
}

/* Bit lists of the placement ("0-1,4") into the table.  Static as in sn_count_cpus(). */
static void mark_cpus(uint8_t *table, unsigned int nr_cpus, unsigned int node)
{
	static char list[4096];
	static int cpus[4096];
	int n;

	sn_placement->cpus(node, list, sizeof(list));
	n = sn_parse_list(list, cpus, (int)SN_ARRAY_SIZE(cpus));
	for (int i = 0; i < n; i++)
		if ((unsigned int)cpus[i] < nr_cpus)
			table[cpus[i]] = (uint8_t)node;
}

const uint8_t *sn_topology_cpu_nodes(unsigned int nr_cpus)
{
	uint8_t *table;

	if (sn_topology.simulated || sn_topology.nr_nodes < 2 || sn_placement->cpus == NULL)
		return NULL;
	table = sn_meta_alloc(nr_cpus, 64);
	if (table == NULL)
		return NULL;
	memset(table, SN_FIRST_NODE, nr_cpus);
	for_each_node(node)
		mark_cpus(table, nr_cpus, node);
	return table;
}
