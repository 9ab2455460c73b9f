/*
 * topology.c - simulated topologies, read with hwloc.
 *
 * A description is hwloc's synthetic syntax or an lstopo XML file.  Three things need care:
 *
 * - hwloc gives NUMA nodes of a synthetic topology a size of its own (1 GiB, or none) when
 *   `memory=` is not written or, in some places, written as 0.  A default must not become a
 *   capacity, nor a written 0 be lost.  So a description that writes sizes is loaded once more
 *   with every written value replaced by a mark of its own: the marks that the nodes then carry
 *   tell which value, if any, is theirs.  Only hwloc knows which attribute belongs to which node,
 *   so it is asked instead of parsed a second time.
 * - hwloc attaches a node without CPUs of its own (a CXL or HBM node) to the CPUs near it.  A CPU
 *   belongs to one node here: the one with the fewest CPUs around, then the lowest number.
 * - distances come from hwloc's "NUMALatency" matrix where the topology has one; what is missing
 *   or does not fit a distance byte is 10 to itself and 20 to others.
 *
 * The hwloc topology is destroyed when its contents have been copied.
 */
#include "sim.h"
#include "../preload/cpulist.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <hwloc.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIRST_MARK	((hwloc_uint64_t)0x5a000000) /* marks are a page apart and no default */
#define MARK_DIGITS	20
#define LOCAL_DISTANCE	10
#define REMOTE_DISTANCE 20
#define MAX_CPUS	(1u << 20)

struct sim sim;

/* The NUMA nodes in order of their numbers; position in here is position in the table. */
struct node_list {
	unsigned int nr;
	hwloc_obj_t obj[SN_MAX_NODES];
};

__attribute__((format(printf, 4, 5))) static int fail(char *message, size_t size, int error,
						      const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(message, size, format, args);
	va_end(args);
	return error;
}

/* hwloc reports a file that it cannot parse on stderr in its own words; what is plainly not an
 * lstopo export is refused here first. */
static int check_xml_file(const char *path, char *message, size_t message_size)
{
	char head[4096];
	ssize_t n;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0) {
		int error = errno;

		return fail(message, message_size, -error, "%.100s: %s", path, strerror(error));
	}
	n = read(fd, head, sizeof(head) - 1);
	close(fd);
	head[n > 0 ? n : 0] = '\0';
	if (strstr(head, "<topology") == NULL)
		return fail(message, message_size, -EINVAL, "%.100s: not an lstopo XML file", path);
	return 0;
}

static int load(const char *description, bool xml, hwloc_topology_t *out)
{
	hwloc_topology_t topology;

	if (hwloc_topology_init(&topology) != 0)
		return -ENOMEM;
	/* Nothing is asked of cores and caches.  Packages and groups stay: they hold the nodes. */
	hwloc_topology_set_cache_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_NONE);
	hwloc_topology_set_type_filter(topology, HWLOC_OBJ_CORE, HWLOC_TYPE_FILTER_KEEP_NONE);
	if ((xml ? hwloc_topology_set_xml(topology, description)
		 : hwloc_topology_set_synthetic(topology, description)) != 0 ||
	    hwloc_topology_load(topology) != 0) {
		hwloc_topology_destroy(topology);
		return -EINVAL;
	}
	*out = topology;
	return 0;
}

static const char *behind(const char *at, const char *end)
{
	at += strcspn(at, end);
	return at + (*at != '\0');
}

/* Finds the numbers where hwloc does: it wants no blank between two levels, and looks for a level's
 * colon wherever that is. */
unsigned long sim_count_places(const char *description)
{
	const char *at = *description == '(' ? behind(description, ")") : description;
	unsigned long places = 1;

	while (*(at += strspn(at, " \n")) != '\0' && places <= SIM_MOST_PLACES) {
		unsigned long count;
		char *end;

		if (*at == '[') {
			at = behind(at, "]");
			continue;
		}
		if (*at < '0' || *at > '9')
			at = behind(at, ":");
		count = strtoul(at, &end, 0);
		/* hwloc refuses what is none, and -1, but -18446744073709551614 is 2. */
		if (end == at || (count > UINT_MAX && memchr(at, '-', (size_t)(end - at)) != NULL))
			break;
		if (count > 1)
			places *= sn_min(count, SIM_MOST_PLACES + 1ul);
		at = *end == '(' ? behind(end, ")") : end;
	}
	return places;
}

bool sim_indexes_fit(const char *description)
{
	static const char key[] = "indexes=";

	while ((description = strstr(description, key)) != NULL) {
		description += sizeof(key) - 1;
		while (*description != '\0' && strchr(" )", *description) == NULL) {
			char *end;

			if (strtoul(description, &end, 0) > SIM_MOST_INDEX)
				return false;
			description = end == description ? description + 1 : end;
		}
	}
	return true;
}

static int compare_nodes(const void *a, const void *b)
{
	const hwloc_obj_t *x = a, *y = b;

	return (*x)->os_index < (*y)->os_index ? -1 : (*x)->os_index > (*y)->os_index;
}

static int list_nodes(const struct sn_module_args *args, hwloc_topology_t topology,
		      struct node_list *list, char *message, size_t message_size)
{
	int nr = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_NUMANODE);
	int max = (int)(SN_MAX_NODES + 1 - args->first_index);

	if (nr <= 0)
		return fail(message, message_size, -EINVAL, "the topology has no NUMA node");
	if (nr > max)
		return fail(message, message_size, -E2BIG,
			    "the topology has %d NUMA nodes, at most %d are supported", nr, max);
	list->nr = (unsigned int)nr;
	for (unsigned int i = 0; i < list->nr; i++)
		list->obj[i] = hwloc_get_obj_by_type(topology, HWLOC_OBJ_NUMANODE, i);
	qsort(list->obj, list->nr, sizeof(list->obj[0]), compare_nodes);
	if (list->obj[list->nr - 1]->os_index > INT_MAX)
		return fail(message, message_size, -EINVAL, "a NUMA node has no number");
	for (unsigned int i = 1; i < list->nr; i++)
		if (list->obj[i]->os_index == list->obj[i - 1]->os_index)
			return fail(message, message_size, -EINVAL,
				    "two NUMA nodes have the number %u", list->obj[i]->os_index);
	return 0;
}

/* What `memory=` says of a node: nothing, "0", or some size. */
enum written { NOT_WRITTEN, WRITTEN_ZERO, WRITTEN_SIZE };

static const char memory_attribute[] = "memory=";

/* A copy of the description in which the k-th value of `memory=` is the k-th mark. */
static char *mark_memory(const char *description)
{
	size_t attribute_len = sizeof(memory_attribute) - 1;
	char *copy = malloc(strlen(description) * (1 + MARK_DIGITS / attribute_len + 1) +
			    MARK_DIGITS + 1);
	hwloc_uint64_t mark = FIRST_MARK;
	char *to = copy;

	for (const char *from = description; copy != NULL && *from != '\0';) {
		if (strncmp(from, memory_attribute, attribute_len) != 0) {
			*to++ = *from++;
			continue;
		}
		from += attribute_len;
		from += strcspn(from, " )");
		to += sprintf(to, "%s%llu", memory_attribute, (unsigned long long)mark);
		mark += SN_PAGE_SIZE;
	}
	if (copy != NULL)
		*to = '\0';
	return copy;
}

static bool is_unit(const char *at, size_t len)
{
	static const char *const units[] = {"", "kB", "kiB", "MB", "MiB", "GB", "GiB", "TB", "TiB"};

	for (size_t i = 0; i < SN_ARRAY_SIZE(units); i++)
		if (strlen(units[i]) == len && strncasecmp(at, units[i], len) == 0)
			return true;
	return false;
}

/* Takes what hwloc takes, but neither nothing, nor -1 for the greatest number that there is.
 * Returns the first value that is no size, and its length, or NULL. */
static const char *find_no_size(const char *at, size_t *len)
{
	while ((at = strstr(at, memory_attribute)) != NULL) {
		char *end;

		at += sizeof(memory_attribute) - 1;
		*len = strcspn(at, " )");
		errno = 0;
		strtoull(at, &end, 0);
		if (*at < '0' || *at > '9' || errno != 0 || end > at + *len ||
		    !is_unit(end, (size_t)(at + *len - end)))
			return at;
	}
	return NULL;
}

/* The written value that `mark` stands for. */
static enum written written_value(const char *description, hwloc_uint64_t mark)
{
	for (hwloc_uint64_t at = FIRST_MARK;
	     (description = strstr(description, memory_attribute)) != NULL; at += SN_PAGE_SIZE) {
		description += sizeof(memory_attribute) - 1;
		if (at == mark)
			return strtoull(description, NULL, 0) == 0 ? WRITTEN_ZERO : WRITTEN_SIZE;
	}
	return NOT_WRITTEN;
}

static int find_written(const char *description, const struct node_list *list,
			enum written *written)
{
	hwloc_topology_t topology;
	char *marked;
	int error;

	for (unsigned int i = 0; i < list->nr; i++)
		written[i] = NOT_WRITTEN;
	if (strstr(description, memory_attribute) == NULL)
		return 0;
	marked = mark_memory(description);
	if (marked == NULL)
		return -ENOMEM;
	error = load(marked, false, &topology);
	free(marked);
	if (error != 0)
		return error;
	for (unsigned int i = 0; i < list->nr; i++) {
		hwloc_obj_t node =
			hwloc_get_numanode_obj_by_os_index(topology, list->obj[i]->os_index);

		if (node != NULL)
			written[i] = written_value(description, node->attr->numanode.local_memory);
	}
	hwloc_topology_destroy(topology);
	return 0;
}

/* In an XML file a node without memory says so by having none, unless the file tells no sizes
 * at all. */
static void find_exported(const struct node_list *list, enum written *written)
{
	bool any = false;

	for (unsigned int i = 0; i < list->nr; i++)
		any |= list->obj[i]->attr->numanode.local_memory != 0;
	for (unsigned int i = 0; i < list->nr; i++)
		written[i] = any ? WRITTEN_SIZE : NOT_WRITTEN;
}

static int copy_memory(const struct sn_module_args *args, const struct node_list *list,
		       struct sn_topology *out, char *message, size_t message_size)
{
	enum written written[SN_MAX_NODES];
	bool any = false;

	if (args->xml)
		find_exported(list, written);
	else if (find_written(args->description, list, written) != 0)
		return fail(message, message_size, -EINVAL, "memory= of \"%.100s\" is not clear",
			    args->description);
	for (unsigned int i = 0; i < list->nr; i++) {
		struct sn_topology_node *node = &out->node[i];
		size_t bytes = list->obj[i]->attr->numanode.local_memory & ~(SN_PAGE_SIZE - 1);

		node->os_number = (int)list->obj[i]->os_index;
		node->allowed = true;
		node->size = written[i] == NOT_WRITTEN	  ? SIM_UNLIMITED
			     : written[i] == WRITTEN_ZERO ? 0
							  : bytes;
		node->has_memory = node->size != 0;
		any |= node->has_memory;
	}
	return any ? 0 : fail(message, message_size, -EINVAL, "no node has memory");
}

static void default_distances(struct sn_topology *out)
{
	for (unsigned int i = 0; i < out->nr_nodes; i++)
		for (unsigned int j = 0; j < out->nr_nodes; j++)
			out->node[i].distance[j] = i == j ? LOCAL_DISTANCE : REMOTE_DISTANCE;
}

static int position_of(const struct node_list *list, hwloc_obj_t obj)
{
	for (unsigned int i = 0; i < list->nr; i++)
		if (obj != NULL && list->obj[i] == obj)
			return (int)i;
	return -1;
}

static void copy_distances(hwloc_topology_t topology, const struct node_list *list,
			   struct sn_topology *out)
{
	struct hwloc_distances_s *matrix;
	unsigned int nr = 1;

	default_distances(out);
	if (hwloc_distances_get_by_name(topology, "NUMALatency", &nr, &matrix, 0) != 0 || nr == 0)
		return;
	for (unsigned int i = 0; i < matrix->nbobjs; i++) {
		for (unsigned int j = 0; j < matrix->nbobjs; j++) {
			int from = position_of(list, matrix->objs[i]);
			int to = position_of(list, matrix->objs[j]);
			hwloc_uint64_t value = matrix->values[i * matrix->nbobjs + j];

			if (from >= 0 && to >= 0 && value > 0 && value <= UINT8_MAX)
				out->node[from].distance[to] = (uint8_t)value;
		}
	}
	hwloc_distances_release(topology, matrix);
}

/* The position of the node that a CPU belongs to, or -1. */
static int node_of_pu(const struct node_list *list, hwloc_obj_t pu)
{
	int best = -1, best_weight = INT_MAX;

	for (unsigned int i = 0; i < list->nr; i++) {
		hwloc_const_cpuset_t set = list->obj[i]->cpuset;
		int weight;

		if (set == NULL || !hwloc_bitmap_isset(set, pu->os_index))
			continue;
		weight = hwloc_bitmap_weight(set);
		if (weight < best_weight) {
			best = (int)i;
			best_weight = weight;
		}
	}
	return best;
}

static int copy_cpus(hwloc_topology_t topology, const struct node_list *list,
		     struct sn_topology *out, char *message, size_t message_size)
{
	int last = hwloc_bitmap_last(hwloc_topology_get_topology_cpuset(topology));

	if (last < 0 || (unsigned int)last >= MAX_CPUS)
		return fail(message, message_size, -EINVAL, "CPU numbers from 0 to %u expected",
			    MAX_CPUS - 1);
	sim.nr_cpus = (size_t)last + 1;
	sim.cpu_node = sim.meta_alloc(sn_align_up(sim.nr_cpus, SN_PAGE_SIZE));
	if (sim.cpu_node == NULL)
		return fail(message, message_size, -ENOMEM, "no memory for %zu CPUs", sim.nr_cpus);
	for (hwloc_obj_t pu = NULL;
	     (pu = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_PU, pu)) != NULL;) {
		int position = node_of_pu(list, pu);

		if (position < 0 || pu->os_index >= sim.nr_cpus)
			continue;
		sim.cpu_node[pu->os_index] = (uint8_t)(sim.first_index + (unsigned int)position);
		out->node[position].nr_cpus++;
	}
	return 0;
}

static int copy_topology(const struct sn_module_args *args, hwloc_topology_t topology,
			 struct sn_topology *out, char *message, size_t message_size)
{
	struct node_list list;
	int error = list_nodes(args, topology, &list, message, message_size);

	if (error != 0)
		return error;
	out->nr_nodes = list.nr;
	error = copy_memory(args, &list, out, message, message_size);
	if (error != 0)
		return error;
	copy_distances(topology, &list, out);
	return copy_cpus(topology, &list, out, message, message_size);
}

/* What beginners write: "numa:4". */
static bool ends_without_cpus(const char *description)
{
	const char *last = strrchr(description, ' ');

	last = last != NULL ? last + 1 : description;
	return isalpha((unsigned char)*last) && strcasestr(description, "pu:") == NULL;
}

int sim_topology_read(const struct sn_module_args *args, struct sn_topology *topology,
		      char *message, size_t message_size)
{
	const char *description = args->description, *wrong;
	hwloc_topology_t loaded;
	size_t len;
	int error;

	if (description == NULL || *description == '\0')
		return fail(message, message_size, -EINVAL, "the %s is empty",
			    args->xml ? "path" : "description");
	if (args->xml) {
		error = check_xml_file(description, message, message_size);
		if (error != 0)
			return error;
	}
	if (!args->xml && sim_count_places(description) > SIM_MOST_PLACES)
		return fail(message, message_size, -E2BIG, "at most %d CPUs can be simulated",
			    SIM_MOST_PLACES);
	if (!args->xml && !sim_indexes_fit(description))
		return fail(message, message_size, -E2BIG, "indexes can be up to %d",
			    SIM_MOST_INDEX);
	if (!args->xml && (wrong = find_no_size(description, &len)) != NULL)
		return fail(
			message, message_size, -EINVAL,
			"memory=%.*s is not a size (bytes, or kB, MB, GB, TB, kiB, MiB, GiB, TiB)",
			(int)sn_min(len, (size_t)40), wrong);
	error = load(description, args->xml, &loaded);
	if (error != 0)
		return fail(message, message_size, error, "hwloc does not accept \"%.100s\"%s",
			    description,
			    !args->xml && ends_without_cpus(description)
				    ? " (the last level must be CPUs, as in numa:4 pu:2)"
				    : "");
	error = copy_topology(args, loaded, topology, message, message_size);
	hwloc_topology_destroy(loaded);
	return error;
}

static bool cpu_is_on(const void *node, size_t cpu)
{
	return sim.cpu_node[cpu] == *(const unsigned int *)node;
}

void sim_cpus(unsigned int node, char *buf, size_t size)
{
	sn_cpulist_format(buf, size, sim.nr_cpus, cpu_is_on, &node);
}
