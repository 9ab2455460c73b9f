/*
 * smallfile.c - see smallfile.h.
 */
#include "smallfile.h"

#include <fcntl.h>
#include <unistd.h>

size_t sn_read_small(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = 0;

	if (fd >= 0) {
		n = read(fd, text, size - 1);
		close(fd);
	}
	text[n > 0 ? n : 0] = '\0';
	return n > 0 ? (size_t)n : 0;
}
