/*
 * one_node.c - the CPUs and the memory of a machine that no module has read, since it has one node
 * or is taken for one: what the system says of all of it, when somebody wants to see it.  No
 * malloc.
 */
#include "one_node.h"

#include "smallfile.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void sn_one_node_cpus(char *list, size_t size)
{
	sn_read_small("/sys/devices/system/cpu/online", list, size);
	list[strcspn(list, "\n")] = '\0';
}

static size_t bytes_of(const char *meminfo, const char *name)
{
	const char *at = strstr(meminfo, name);

	return at ? (size_t)strtoull(at + strlen(name), NULL, 10) << 10 : SIZE_MAX;
}

void sn_one_node_memory(size_t *total, size_t *left)
{
	char text[512];

	sn_read_small("/proc/meminfo", text, sizeof(text));
	*total = bytes_of(text, "MemTotal:");
	*left = bytes_of(text, "MemFree:");
}
