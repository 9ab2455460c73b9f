/*
 * The kernel's part of an offline or online: states of memory blocks that are written, or a command
 * that has this done, in a child process that can be interrupted.
 */
#ifndef HOTPLUGCTL_KERNEL_JOB_H
#define HOTPLUGCTL_KERNEL_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define BLOCK_UNTOUCHED (-1)

struct block_job {
	unsigned int number, node;
	int result; /* of the last try: 0, an errno value, or BLOCK_UNTOUCHED */
};

struct kernel_job {
	/* Set by the caller: blocks in the order in which they are written, or a command. */
	struct block_job *blocks;
	size_t count;
	const char *word, *second_word; /* what is written; where that is EINVAL, the second */
	char **command;			/* instead of all that; NULL */
	uint64_t deadline;		/* by now_ms(); 0: none */
	/* Five times a second and after each block. */
	void (*on_tick)(const struct kernel_job *job, void *data);
	void *data;

	/* What became of it. */
	size_t done;
	bool interrupted, late;
	int status; /* of the command, as waitpid() gives it */
};

void run_kernel_job(struct kernel_job *job);
int write_block_state(unsigned int block, const char *word);

#endif
