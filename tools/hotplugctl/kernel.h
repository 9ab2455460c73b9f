/*
 * offline and online with --kernel: the heaps of all processes and the kernel's memory blocks in
 * one.
 *
 * kernel.c has the order of steps and what is shown, kernel_heaps.c the processes' part,
 * kernel_blocks.c the kernel's.
 */
#ifndef HOTPLUGCTL_KERNEL_H
#define HOTPLUGCTL_KERNEL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "hotplugctl.h"
#include "kernel_job.h"
#include "lifecycle.h"
#include "machine.h"

struct kernel_change {
	struct context context; /* as if -a had been given */
	bool offline;
	struct operation operation; /* has the nodes */
	uint64_t started, deadline; /* by now_ms(); 0: none */

	struct machine before;
	struct kernel_job job;
	bool *movable; /* of each block of the job: the zone that it was in */

	struct targets heaps; /* processes that have something to change */
	json_t *passive;      /* those that cannot be asked: [{pid, command, error, message}] */
	json_t *failure;      /* why it is undone; NULL while all goes well */
	bool heaps_failed;    /* then the reason stands in their results */
};

int kernel_offline(struct context *context);
int kernel_online(struct context *context);

json_t *kernel_failure(const char *error, unsigned int node, char *message, const char *hint);

bool find_heaps(struct kernel_change *change);
bool change_heaps(struct kernel_change *change);
bool restore_heaps(struct kernel_change *change);
int heaps_code(const struct kernel_change *change);

bool find_blocks(struct kernel_change *change);
bool change_blocks(struct kernel_change *change);
bool restore_blocks(struct kernel_change *change);
json_t *block_rows(const struct kernel_change *change);

#endif
