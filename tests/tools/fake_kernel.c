/*
 * Loaded into hotplugctl by the tests: what it writes to the state of a memory block below
 * SLABNODE_SYSFS is played by a test program, which answers on the socket `kernel` there.
 *
 * As in the kernel, the write lasts as long as the answer does, fails with the answer's error, and
 * ends with EINTR at a signal: the program sees its connection closed then, and takes it back.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static const char *state_file(int fd, char *path, size_t size)
{
	const char *root = getenv("SLABNODE_SYSFS");
	char link[64];
	ssize_t length;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	length = root ? readlink(link, path, size - 1) : -1;
	if (length < 6 || strncmp(path, root, strlen(root)))
		return NULL;
	path[length] = '\0';
	return strcmp(path + length - 6, "/state") ? NULL : path;
}

static int ask(const char *path, const void *word, size_t length)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), error = EIO;
	char answer[16] = "";

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/kernel", getenv("SLABNODE_SYSFS"));
	if (!connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		dprintf(fd, "%s %.*s\n", path, (int)length, (const char *)word);
		error = recv(fd, answer, sizeof(answer) - 1, 0) > 0 ? atoi(answer) : errno;
	}
	close(fd);
	return error;
}

ssize_t write(int fd, const void *bytes, size_t length)
{
	char path[PATH_MAX];
	int error;

	if (!state_file(fd, path, sizeof(path)))
		return syscall(SYS_write, fd, bytes, length);
	error = ask(path, bytes, length);
	if (!error)
		return (ssize_t)length;
	errno = error;
	return -1;
}
