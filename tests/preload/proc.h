/*
 * proc.h - what /proc says of this process: its own path, its mappings, threads and descriptors.
 *
 * By bare calls and into fixed buffers, so that looking changes nothing and needs no heap.
 */
#ifndef TESTS_PRELOAD_PROC_H
#define TESTS_PRELOAD_PROC_H

#include "check.h"

#include <dirent.h>
#include <sys/syscall.h>

/* The program's own file. */
static inline const char *own_path(void)
{
	static char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	CHECK(n > 0);
	path[n] = '\0';
	return path;
}

static inline long count_lines(const char *path)
{
	char text[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	long lines = 0;
	ssize_t n;

	while (fd >= 0 && (n = read(fd, text, sizeof(text))) > 0)
		for (ssize_t i = 0; i < n; i++)
			lines += text[i] == '\n';
	if (fd >= 0)
		close(fd);
	return lines;
}

static inline long count_mappings(void)
{
	return count_lines("/proc/self/maps");
}

/* The names in a directory, to the last one. */
struct entries {
	int fd; /* -1: there is no such directory, or all were seen */
	long at, end;
	char buf[4096] __attribute__((aligned(8)));
};

static inline void entries_open(struct entries *e, const char *path)
{
	e->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	e->at = e->end = 0;
}

/* NULL: there is no other. */
static inline const char *entries_next(struct entries *e)
{
	while (e->fd >= 0) {
		const struct dirent64 *d = (const struct dirent64 *)(e->buf + e->at);

		if (e->at < e->end) {
			e->at += d->d_reclen;
			if (d->d_name[0] != '.')
				return d->d_name;
			continue;
		}
		e->at = 0;
		e->end = syscall(SYS_getdents64, e->fd, e->buf, sizeof(e->buf));
		if (e->end <= 0) {
			close(e->fd);
			e->fd = -1;
		}
	}
	return NULL;
}

static inline long count_entries(const char *path)
{
	struct entries e;
	long n = 0;

	for (entries_open(&e, path); entries_next(&e) != NULL; n++)
		;
	return n;
}

#endif
