/*
 * capacity.c - SLABNODE_NODE_CAPACITY: how much memory the simulated nodes have.
 *
 * The value is a list: `0:512M,1-3:2G` gives sizes to nodes by the system's numbers, an entry
 * without a number is for all nodes that have memory, and later entries win.  A node that is
 * named gets what is written, so a size of 0 takes a node's memory away and any other size gives
 * memory to a node without.  The value counts as a whole: one bad entry, and all of it is
 * ignored after one line that says what was wrong.
 */
#include "sim.h"

#include <stdio.h>
#include <string.h>

#define MAX_NUMBER 1000000000ul

static const char *skip_digits(const char *p, const char *end, uint64_t *value, bool *overflow)
{
	*value = 0;
	*overflow = false;
	for (; p < end && *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(*value, 10u, value) ||
		    __builtin_add_overflow(*value, (uint64_t)(*p - '0'), value))
			*overflow = true;
	return p;
}

static int unit_shift(const char *p, size_t len)
{
	static const char units[] = "KMGTP";
	const char *unit;

	if (len == 0 || (len == 1 && (*p == 'B' || *p == 'b')))
		return 0;
	unit = memchr(units, *p & ~0x20, sizeof(units) - 1);
	if (unit == NULL)
		return -1;
	if (len == 1 || (len == 2 && (p[1] & ~0x20) == 'B') ||
	    (len == 3 && p[1] == 'i' && (p[2] & ~0x20) == 'B'))
		return 10 * (int)(unit - units + 1);
	return -1;
}

int sim_parse_size(const char *text, size_t len, size_t *bytes)
{
	const char *end = text + len;
	uint64_t value;
	bool overflow;
	const char *p = skip_digits(text, end, &value, &overflow);
	int shift = unit_shift(p, (size_t)(end - p));

	if (p == text || shift < 0)
		return -EINVAL;
	if (overflow || value > (uint64_t)SIZE_MAX >> 1 >> shift)
		return -ERANGE;
	*bytes = (size_t)value << shift;
	return 0;
}

/* "3" or "1-4" at [p, end) -> first, last. */
static int parse_nodes(const char *p, const char *end, uint64_t *first, uint64_t *last)
{
	bool overflow, overflow_last = false;
	const char *start = p;

	p = skip_digits(p, end, first, &overflow);
	if (p == start)
		return -EINVAL;
	*last = *first;
	if (p < end && *p == '-') {
		start = ++p;
		p = skip_digits(p, end, last, &overflow_last);
		if (p == start)
			return -EINVAL;
	}
	if (p != end || overflow || overflow_last || *first > *last || *last > MAX_NUMBER)
		return -EINVAL;
	return 0;
}

static unsigned int set_size(struct sn_topology *topology, uint64_t first, uint64_t last,
			     size_t size)
{
	unsigned int matched = 0;

	for (unsigned int i = 0; i < topology->nr_nodes; i++) {
		struct sn_topology_node *node = &topology->node[i];

		if ((uint64_t)node->os_number < first || (uint64_t)node->os_number > last)
			continue;
		node->size = size;
		node->has_memory = size != 0;
		matched++;
	}
	return matched;
}

static void set_all(struct sn_topology *topology, size_t size)
{
	for (unsigned int i = 0; i < topology->nr_nodes; i++)
		if (topology->node[i].has_memory)
			topology->node[i].size = size;
}

/* One entry.  Returns NULL, or what is wrong with it. */
static const char *apply_entry(struct sn_topology *topology, const char *entry, const char *end)
{
	const char *colon = memchr(entry, ':', (size_t)(end - entry));
	const char *size_text = colon == NULL ? entry : colon + 1;
	uint64_t first, last;
	size_t size;

	switch (sim_parse_size(size_text, (size_t)(end - size_text), &size)) {
	case 0:
		break;
	case -ERANGE:
		return "is too large a size";
	default:
		return "is not NODE:SIZE or SIZE";
	}
	if (size % SN_PAGE_SIZE != 0)
		return "is not a multiple of 4K";
	if (colon == NULL) {
		if (size == 0)
			return "leaves no node with memory";
		set_all(topology, size);
		return NULL;
	}
	if (parse_nodes(entry, colon, &first, &last) != 0)
		return "is not NODE:SIZE or SIZE";
	return set_size(topology, first, last, size) == 0 ? "names no node of the topology" : NULL;
}

/* So many bytes of what is wrong. */
static int shown(const char *text, const char *end)
{
	return end - text > 40 ? 40 : (int)(end - text);
}

/* Applies the list to `topology`.  Returns NULL, or what is wrong with the entry at *bad. */
static const char *apply_list(struct sn_topology *topology, const char *list, const char **bad,
			      int *bad_len)
{
	for (const char *entry = list;; entry++) {
		const char *end = entry + strcspn(entry, ",");
		const char *wrong = apply_entry(topology, entry, end);

		if (wrong != NULL) {
			*bad = entry;
			*bad_len = shown(entry, end);
			return wrong;
		}
		if (*end == '\0')
			break;
		entry = end;
	}
	for (unsigned int i = 0; i < topology->nr_nodes; i++)
		if (topology->node[i].has_memory)
			return NULL;
	*bad = list;
	*bad_len = shown(list, list + strlen(list));
	return "leaves no node with memory";
}

struct sizes {
	size_t size[SN_MAX_NODES];
	bool has_memory[SN_MAX_NODES];
};

static void save_sizes(const struct sn_topology *topology, struct sizes *sizes)
{
	for (unsigned int i = 0; i < topology->nr_nodes; i++) {
		sizes->size[i] = topology->node[i].size;
		sizes->has_memory[i] = topology->node[i].has_memory;
	}
}

static void restore_sizes(struct sn_topology *topology, const struct sizes *sizes)
{
	for (unsigned int i = 0; i < topology->nr_nodes; i++) {
		topology->node[i].size = sizes->size[i];
		topology->node[i].has_memory = sizes->has_memory[i];
	}
}

void sim_capacity_apply(const struct sn_module_args *args, struct sn_topology *topology)
{
	const char *wrong, *bad = "";
	struct sizes before;
	char line[200];
	int bad_len = 0;

	if (args->node_capacity == NULL || *args->node_capacity == '\0')
		return;
	save_sizes(topology, &before);
	wrong = apply_list(topology, args->node_capacity, &bad, &bad_len);
	if (wrong == NULL)
		return;
	restore_sizes(topology, &before);
	snprintf(line, sizeof(line),
		 "SLABNODE_NODE_CAPACITY: '%.*s' %s, using the topology's own sizes", bad_len, bad,
		 wrong);
	if (args->warn != NULL)
		args->warn("SLABNODE_NODE_CAPACITY", line);
}
