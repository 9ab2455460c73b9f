/*
 * fd.c - hidden descriptors: see fd.h.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fd.h"

#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE (1U << 1)
#endif

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

#define FIRST_SHARED_NUMBER 1000

/* Written by the control thread before it opens anything. */
static bool private_table;
/* Of the thread: it has that table. */
static _Thread_local bool has_private_table SN_TLS;

void sn_fd_isolate(void)
{
	private_table = syscall(SYS_close_range, 0U, ~0U, CLOSE_RANGE_UNSHARE) == 0;
	has_private_table = private_table;
}

bool sn_fd_reachable(void)
{
	return !private_table || has_private_table;
}

void sn_fd_inherit(bool reachable)
{
	has_private_table = private_table && reachable;
}

/* The first thread has the program's table. */
int sn_fd_stderr(void)
{
	int process, number;

	if (!has_private_table)
		return STDERR_FILENO;
	process = (int)syscall(SYS_pidfd_open, getpid(), 0U);
	if (process < 0)
		return STDERR_FILENO;
	number = (int)syscall(SYS_pidfd_getfd, process, STDERR_FILENO, 0U);
	return number < 0 ? STDERR_FILENO : number;
}

/* Not by fcntl(), whose name in glibc is one that other libcs lack. */
int sn_fd_copy(int number, int lowest)
{
	return (int)syscall(SYS_fcntl, number, F_DUPFD_CLOEXEC, lowest);
}

/* Never 0 to 2, in a table of our own either: what writes to "stderr" must not hit a client. */
static int move_away(int number)
{
	int moved = sn_fd_copy(number, private_table ? 3 : FIRST_SHARED_NUMBER);

	/* A small RLIMIT_NOFILE: as high as it goes. */
	for (int low = FIRST_SHARED_NUMBER / 2; moved < 0 && !private_table && low > 3; low /= 2)
		moved = sn_fd_copy(number, low);
	return moved;
}

bool sn_fd_adopt(struct sn_fd *fd, int number)
{
	struct stat st;
	int moved = number;

	*fd = SN_FD_NONE;
	if (!private_table || number < 3) {
		moved = move_away(number);
		close(number);
		if (moved < 0)
			return false;
	}
	if (fstat(moved, &st) != 0) {
		close(moved);
		return false;
	}
	*fd = (struct sn_fd){.number = moved, .device = st.st_dev, .inode = st.st_ino};
	return true;
}

int sn_fd_use(struct sn_fd *fd)
{
	struct stat st;

	if (fd->number < 0 || private_table)
		return fd->number;
	if (fstat(fd->number, &st) != 0 || st.st_dev != fd->device || st.st_ino != fd->inode)
		fd->number = -1;
	return fd->number;
}

void sn_fd_close(struct sn_fd *fd)
{
	if (sn_fd_use(fd) >= 0)
		close(fd->number);
	fd->number = -1;
}
