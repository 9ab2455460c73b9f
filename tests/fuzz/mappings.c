/*
 * mappings.c - see mappings.h.
 */
#include "mappings.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/mman.h>

size_t mappings_bytes;
unsigned int mappings_fail;

static bool refused(void)
{
	return mappings_fail != 0 && --mappings_fail == 0;
}

void *mappings_mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset)
{
	void *got;

	errno = ENOMEM;
	if (refused())
		return MAP_FAILED;
	got = mmap(at, length, protection, flags, fd, offset);
	if (got != MAP_FAILED)
		mappings_bytes += length;
	return got;
}

void *mappings_mremap(void *at, size_t length, size_t new_length, int flags)
{
	void *got;

	errno = ENOMEM;
	if (refused())
		return MAP_FAILED;
	got = mremap(at, length, new_length, flags);
	if (got != MAP_FAILED)
		mappings_bytes += new_length - length;
	return got;
}

int mappings_munmap(void *at, size_t length)
{
	mappings_bytes -= length;
	return munmap(at, length);
}
