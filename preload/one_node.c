/*
 * one_node.c - the CPUs and the memory of a machine that no module has read, since it has one node
 * or is taken for one: what the system says of all of it, when somebody wants to see it.  No
 * malloc.
 */
#include "one_node.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got;

	if (fd < 0)
		return false;
	got = read(fd, text, size - 1);
	close(fd);
	text[got > 0 ? got : 0] = '\0';
	return got > 0;
}

void sn_one_node_cpus(char *list, size_t size)
{
	if (read_text("/sys/devices/system/cpu/online", list, size))
		list[strcspn(list, "\n")] = '\0';
	else
		list[0] = '\0';
}

static size_t bytes_of(const char *meminfo, const char *name)
{
	const char *at = strstr(meminfo, name);

	return at ? (size_t)strtoull(at + strlen(name), NULL, 10) << 10 : SIZE_MAX;
}

void sn_one_node_memory(size_t *total, size_t *left)
{
	char text[512];

	if (!read_text("/proc/meminfo", text, sizeof(text)))
		text[0] = '\0';
	*total = bytes_of(text, "MemTotal:");
	*left = bytes_of(text, "MemFree:");
}
