/* SPDX-License-Identifier: MIT */
/*
 * hotplug.h - what the parts of slabnode-hotplug share.
 *
 *	main.c		options, the measurements and what is printed
 *	heap.c		fills nodes with what programs hold, and with cached memory
 *	bare.c		the bare loop that an offline is held against
 *	heartbeat.c	threads that notice when they are held up
 *
 * The program is linked with the objects of libslabnode.so: its malloc is the library's, and it
 * can ask the page heap what is cached where, which no interface tells.
 */
#ifndef SLABNODE_HOTPLUG_H
#define SLABNODE_HOTPLUG_H

#include "../../core/node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB ((size_t)1 << 20)

_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
uint64_t now_ns(void);
uint64_t cpu_ns(void); /* of the calling thread */
/* Memory of the benchmark's own, not of any node. */
void *map_own(size_t size);

/* heap.c: the calling thread's preferred node is changed by these. */

/* `bytes` of objects of all kinds, touched, which are never freed. */
void heap_rest(unsigned int node, size_t bytes);
/* Live and cached memory side by side: groups of objects, of which some stay. */
void heap_mixed(unsigned int node, size_t live, size_t cached);
/* Blocks of 1 to 8 MiB, touched, which are never freed. */
void heap_large(unsigned int node, size_t bytes);
/* Makes the node's cached memory again, as heap_mixed() has left it. */
void heap_cache_again(void);

/* bare.c */

struct bare {
	uint64_t madvise_ns, move_ns, cpu_ns, longest_ns;
	size_t cached_bytes, live_bytes;
	size_t madvises, moves;
};
/* Gives back the cached pages of the node and moves the rest to `target`, timed. */
void bare_loop(unsigned int node, unsigned int target, size_t batch_pages, struct bare *bare);
/* Touches all of the node's cached memory. */
void bare_touch(unsigned int node);

/* heartbeat.c */

/* Threads that use objects of `node`, and as many that use `other`'s. */
void heartbeats_start(unsigned int node, unsigned int other);
void heartbeats_stop(void);
/* The longest iteration of any thread since the last call. */
uint64_t heartbeats_longest_ns(void);

#endif
