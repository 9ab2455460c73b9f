/*
 * topology.c - SLABNODE_TOPOLOGY=synthetic:... and SLABNODE_NODE_CAPACITY: the first line of an
 * input is the description, the second the capacities.
 *
 * Whatever they are: the machine is one that the library can use, or it was refused in one line.
 */
#include "fuzz.h"

#include <hwloc.h>
#include <string.h>

#include "module_args.h"
#include "sim.h"

#define KEPT 8
/* A larger one takes hwloc too long for millions of them. */
#define MOST_PLACES 200

/* hwloc forgets a few hundred bytes of descriptions that it refuses; a process reads one, once. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libhwloc.so";
}

/* hwloc opens its plugins with the first topology that there is and closes them with the last: two
 * milliseconds for nothing, where reading a description takes some ten microseconds.  This one is
 * never loaded and keeps them open. */
static void keep_plugins(void)
{
	static hwloc_topology_t topology;

	if (topology == NULL)
		FUZZ_CHECK(hwloc_topology_init(&topology) == 0);
}

static void *kept[KEPT];
static unsigned int nr_kept, warnings;
static int (*hook)(enum sn_fault_point point);

/* From the heap, so that each table has its exact size. */
static void *keep(size_t size)
{
	FUZZ_CHECK(nr_kept < KEPT && size % SN_PAGE_SIZE == 0);
	return kept[nr_kept++] = calloc(1, size);
}

static void warn(const char *key, const char *message)
{
	FUZZ_CHECK(strncmp(message, key, strlen(key)) == 0);
	warnings++;
}

static uintptr_t no_window(void)
{
	return 0;
}

static bool in_no_range(uintptr_t addr)
{
	(void)addr;
	return false;
}

static void check_nodes(const struct sn_topology *topology)
{
	bool any = false;

	FUZZ_CHECK(topology->nr_nodes > 0 && FIRST + topology->nr_nodes <= SN_MAX_NODES + 1);
	for (unsigned int i = 0; i < topology->nr_nodes; i++) {
		const struct sn_topology_node *node = &topology->node[i];

		FUZZ_CHECK(i == 0 || node->os_number > node[-1].os_number);
		FUZZ_CHECK(node->has_memory == (node->size != 0));
		FUZZ_CHECK(node->size == SIM_UNLIMITED || node->size % SN_PAGE_SIZE == 0);
		FUZZ_CHECK(topology->placement->capacity(FIRST + i) == node->size);
		for (unsigned int j = 0; j < topology->nr_nodes; j++)
			FUZZ_CHECK(node->distance[j] > 0);
		any |= node->has_memory;
	}
	FUZZ_CHECK(any);
}

/* `places` is what the description was refused by, were it more. */
static void check_cpus(const struct sn_topology *topology, unsigned long places)
{
	char list[64];
	unsigned int nr_cpus = 0;

	for (unsigned int i = 0; i < topology->nr_nodes; i++) {
		topology->placement->cpus(FIRST + i, list, sizeof(list));
		FUZZ_CHECK(strlen(list) < sizeof(list));
		FUZZ_CHECK((list[0] == '\0') == (topology->node[i].nr_cpus == 0));
		nr_cpus += topology->node[i].nr_cpus;
	}
	FUZZ_CHECK(nr_cpus <= sim.nr_cpus && nr_cpus <= places);
	if (nr_cpus > 0)
		FUZZ_CHECK(sim_thread_node() >= FIRST);
}

static void read_machine(const char *description, const char *capacity, unsigned long places)
{
	static struct sn_topology topology;
	char message[200] = "";
	struct sn_module_args args = module_args(description, capacity);
	int error;

	args.meta_alloc = keep;
	args.warn = warn;
	args.window_base = no_window;
	args.in_range = in_no_range;
	args.fault_hook = &hook;
	warnings = 0;
	error = slabnode_module.discover(&args, &topology, message, sizeof(message));
	if (error == 0) {
		FUZZ_CHECK(warnings <= 1);
		check_nodes(&topology);
		check_cpus(&topology, places);
	} else {
		FUZZ_CHECK(error < 0 && message[0] != '\0' && warnings == 0);
	}
	while (nr_kept > 0)
		free(kept[--nr_kept]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *description = calloc(1, size + 1), *capacity;
	unsigned long places;

	keep_plugins();
	memcpy(description, data, size);
	capacity = strchr(description, '\n');
	if (capacity != NULL)
		*capacity++ = '\0';
	places = sim_count_places(description);
	if (places <= MOST_PLACES || places > SIM_MOST_PLACES)
		read_machine(description, capacity, places);
	free(description);
	return 0;
}
