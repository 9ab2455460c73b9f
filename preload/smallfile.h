/*
 * smallfile.h - files of /proc and /sys that fit into a buffer.
 */
#ifndef SLABNODE_SMALLFILE_H
#define SLABNODE_SMALLFILE_H

#include <stddef.h>

/* Reads the file's beginning without stdio, and ends it with a NUL; bytes read, 0 on failure, where
 * text is "". */
size_t sn_read_small(const char *path, char *text, size_t size);

#endif
