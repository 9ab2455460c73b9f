/*
 * The machine's memory as the kernel has it: nodes, their memory blocks, and the states of these.
 */
#ifndef HOTPLUGCTL_MACHINE_H
#define HOTPLUGCTL_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util.h"

enum block_state { BLOCK_OFFLINE, BLOCK_GOING_OFFLINE, BLOCK_ONLINE, BLOCK_OTHER };

struct memory_block {
	unsigned int number, node;
	enum block_state state;
};

struct machine {
	struct node_list nodes;	     /* ascending */
	struct memory_block *blocks; /* by node and number */
	size_t count;
	uint64_t block_bytes; /* 0: not known */
};

/* Counts of one node. */
struct node_memory {
	size_t blocks, online, going;
};

const char *sysfs_root(void);
bool sysfs_is_another(void);
bool read_machine(struct machine *machine);
void free_machine(struct machine *machine);
struct node_memory memory_of(const struct machine *machine, unsigned int node);
char *block_path(unsigned int block, const char *file);
char *read_block_file(unsigned int block, const char *file);

#endif
