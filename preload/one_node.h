/*
 * one_node.h - what a machine with one node has, for those who ask.
 */
#ifndef SLABNODE_ONE_NODE_H
#define SLABNODE_ONE_NODE_H

#include <stdbool.h>
#include <stddef.h>

/* The CPUs that are online, "0-3,8"; "" where the system does not tell. */
void sn_one_node_cpus(char *list, size_t size);
/* Bytes, SIZE_MAX where the system does not tell. */
void sn_one_node_memory(size_t *total, size_t *left);

#endif
