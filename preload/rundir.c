/*
 * rundir.c - the run directory and the process's socket in it.
 *
 * The directory must belong to the effective user and be writable by nobody else; a symbolic
 * link in its place is refused, since in /tmp anybody could have put it there.  The process's
 * umask is shared by all its threads and therefore not touched: modes are set on what was made.
 *
 * The socket is bound under another name, made 0600, listens, and is then renamed: whoever finds
 * PID.sock can connect.  A socket that an earlier process of this number left is replaced that
 * way; one that somebody listens on (another pid namespace sharing the directory) is not.
 *
 * Programs that are killed or that exec leave their sockets behind.  Each newcomer removes those
 * whose process does not exist and on which nobody listens; a lock on the directory keeps two
 * newcomers apart.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h> /* renameat */
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "../core/lifecycle.h"
#include "../core/lock.h"
#include "../core/tell.h"
#include "reply.h"
#include "rundir.h"

#define BACKLOG	       64
#define MAX_CLEANED    64
#define LOCK_TRIES     5
#define LOCK_PAUSE_NS  2000000
#define NAME_SIZE      32
#define SOCKET_SUFFIX  ".sock"
#define NEWBORN_SUFFIX ".new"

static int refuse(char *reason, size_t size, int error, const char *path, const char *why)
{
	struct sn_text text;

	sn_text_begin(&text, reason, sn_min(size, (size_t)SN_PATH_SHOWN + 1));
	sn_text_add(&text, path);
	sn_text_begin(&text, reason + strlen(reason), size - strlen(reason));
	sn_text_add(&text, ": ");
	sn_text_add(&text, why);
	return error;
}

/* The same where only the system's error tells more: "...: cannot be made: ENOENT". */
static int refuse_by_system(char *reason, size_t size, int error, const char *path, const char *why)
{
	struct sn_text text;

	refuse(reason, size, error, path, why);
	sn_text_begin(&text, reason + strlen(reason), size - strlen(reason));
	sn_text_add(&text, ": ");
	sn_text_add(&text, sn_errno_name(error));
	return error;
}

/* Returns a descriptor of the directory, or a negative errno value. */
static int open_directory(const char *rundir, char *reason, size_t size)
{
	struct stat st;
	bool made;
	int fd;

	if (rundir[0] != '/')
		return refuse(reason, size, -EINVAL, rundir, "not an absolute path");
	made = mkdir(rundir, 0700) == 0;
	if (!made && errno != EEXIST)
		return refuse_by_system(reason, size, -errno, rundir, "cannot be made");
	fd = open(rundir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return refuse_by_system(reason, size, -errno, rundir,
					"not a directory that can be opened");
	if (fstat(fd, &st) != 0 || st.st_uid != sn_effective_user()) {
		close(fd);
		return refuse(reason, size, -EPERM, rundir, "belongs to somebody else");
	}
	if (!made && (st.st_mode & (S_IWGRP | S_IWOTH))) {
		close(fd);
		return refuse(reason, size, -EPERM, rundir, "others can write to it");
	}
	return fd;
}

/* The address of a name in the directory, however long the directory's own name is. */
static bool address_of(struct sockaddr_un *address, const char *rundir, int directory,
		       const char *name)
{
	struct sn_text text;

	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	sn_text_begin(&text, address->sun_path, sizeof(address->sun_path));
	if (strlen(rundir) + 1 + strlen(name) < sizeof(address->sun_path)) {
		sn_text_add(&text, rundir);
	} else {
		/* Not /proc/self: that is the program's descriptor table. */
		sn_text_add(&text, "/proc/thread-self/fd/");
		sn_text_number(&text, (uint64_t)directory);
	}
	sn_text_add(&text, "/");
	sn_text_add(&text, name);
	return text.left > 1;
}

/* Nobody listens there any more. */
static bool is_stale(const char *rundir, int directory, const char *name)
{
	struct sockaddr_un address;
	bool stale = false;
	int fd;

	if (!address_of(&address, rundir, directory, name))
		return false;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return false;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		stale = errno == ECONNREFUSED;
	close(fd);
	return stale;
}

static void name_of(char *name, int pid, const char *suffix)
{
	struct sn_text text;

	sn_text_begin(&text, name, NAME_SIZE);
	sn_text_number(&text, (uint64_t)pid);
	sn_text_add(&text, suffix);
}

/* The process number of "PID.sock" or "PID.new", 0 for any other name. */
static int pid_of(const char *name)
{
	int pid = 0;

	while (*name >= '0' && *name <= '9' && pid < 100000000)
		pid = pid * 10 + (*name++ - '0');
	return !strcmp(name, SOCKET_SUFFIX) || !strcmp(name, NEWBORN_SUFFIX) ? pid : 0;
}

/* Reads the directory without opendir(), which allocates. */
static void remove_stale(const char *rundir, int directory)
{
	struct entry {
		uint64_t inode;
		int64_t offset;
		unsigned short length;
		unsigned char type;
		char name[];
	};
	_Alignas(struct entry) char buffer[4096];
	unsigned int looked = 0;
	long got;

	while ((got = syscall(SYS_getdents64, directory, buffer, sizeof(buffer))) > 0) {
		for (long at = 0; at < got;) {
			const struct entry *entry = (const void *)(buffer + at);
			int pid = pid_of(entry->name);

			at += entry->length;
			if (pid == 0 || pid == getpid() || kill(pid, 0) == 0 || errno != ESRCH)
				continue;
			if (looked++ == MAX_CLEANED)
				return;
			if (is_stale(rundir, directory, entry->name))
				unlinkat(directory, entry->name, 0);
		}
	}
}

static bool lock_directory(int directory)
{
	for (int i = 0; i < LOCK_TRIES; i++) {
		_Atomic uint32_t never = 0;

		if (flock(directory, LOCK_EX | LOCK_NB) == 0)
			return true;
		sn_futex_wait(&never, 0, LOCK_PAUSE_NS);
	}
	return false;
}

static int bind_and_listen(int fd, const char *rundir, int directory, struct sn_socket_file *file)
{
	char newborn[NAME_SIZE], name[NAME_SIZE];
	struct sockaddr_un address;
	struct stat st;
	int error;

	name_of(newborn, getpid(), NEWBORN_SUFFIX);
	name_of(name, getpid(), SOCKET_SUFFIX);
	if (fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    !is_stale(rundir, directory, name))
		return -EADDRINUSE;
	if (!address_of(&address, rundir, directory, newborn))
		return -ENAMETOOLONG;
	unlinkat(directory, newborn, 0);
	/* The mode of an unbound socket, cut by the umask, becomes that of its file. */
	fchmod(fd, 0600);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		return -errno;
	if (fchmodat(directory, newborn, 0600, 0) != 0 || listen(fd, BACKLOG) != 0 ||
	    fstatat(directory, newborn, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
	    renameat(directory, newborn, directory, name) != 0) {
		error = -errno;
		unlinkat(directory, newborn, 0);
		return error;
	}
	file->device = st.st_dev;
	file->inode = st.st_ino;
	file->pid = getpid();
	return 0;
}

static int listen_in(const char *rundir, int directory, struct sn_fd *listener,
		     struct sn_socket_file *file)
{
	bool locked = lock_directory(directory);
	int fd, error;

	if (locked)
		remove_stale(rundir, directory);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	error = bind_and_listen(fd, rundir, directory, file);
	if (error)
		close(fd);
	else if (!sn_fd_adopt(listener, fd))
		error = -EMFILE;
	return error;
}

int sn_rundir_listen(const char *rundir, struct sn_fd *listener, struct sn_socket_file *file,
		     char *reason, size_t reason_size)
{
	char name[NAME_SIZE];
	struct sn_text text;
	struct sn_fd directory;
	int fd, error;

	*listener = SN_FD_NONE;
	file->path[0] = '\0';
	if (strlen(rundir) + NAME_SIZE + 1 >= sizeof(file->path))
		return refuse(reason, reason_size, -ENAMETOOLONG, rundir, "too long");
	fd = open_directory(rundir, reason, reason_size);
	if (fd < 0)
		return fd;
	if (!sn_fd_adopt(&directory, fd))
		return refuse(reason, reason_size, -EMFILE, rundir, "no descriptor left");
	error = listen_in(rundir, directory.number, listener, file);
	sn_fd_close(&directory);
	if (error)
		return refuse_by_system(reason, reason_size, error, rundir,
					"no socket can be made there");
	name_of(name, file->pid, SOCKET_SUFFIX);
	sn_text_begin(&text, file->path, sizeof(file->path));
	sn_text_add(&text, rundir);
	sn_text_add(&text, "/");
	sn_text_add(&text, name);
	return 0;
}

void sn_rundir_remove(struct sn_socket_file *file)
{
	struct stat st;

	if (file->path[0] && file->pid == getpid() && lstat(file->path, &st) == 0 &&
	    st.st_dev == file->device && st.st_ino == file->inode)
		unlink(file->path);
	file->path[0] = '\0';
}
