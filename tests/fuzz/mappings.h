/*
 * mappings.h - memory of the system, counted, and refused when asked to: reply.c is compiled with
 * these in place of the system's (meson.build).
 */
#ifndef TESTS_MAPPINGS_H
#define TESTS_MAPPINGS_H

#include <stddef.h>
#include <sys/types.h>

/* Bytes that are mapped now. */
extern size_t mappings_bytes;
/* The n-th mapping from now fails; 0: none does. */
extern unsigned int mappings_fail;

void *mappings_mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset);
void *mappings_mremap(void *at, size_t length, size_t new_length, int flags);
int mappings_munmap(void *at, size_t length);

#endif
