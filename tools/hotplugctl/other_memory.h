/*
 * Memory of a process on a node that is not slabnode's.
 */
#ifndef HOTPLUGCTL_OTHER_MEMORY_H
#define HOTPLUGCTL_OTHER_MEMORY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* "8.1M program and libraries, 132K stack, 2.5M mappings"; NULL where the kernel does not say. */
char *name_other_memory(pid_t pid, unsigned int node, uint64_t total, bool exact);

#endif
