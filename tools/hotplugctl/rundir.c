/*
 * The way from a process to its control socket. The library puts it into its run directory, which
 * follows from the process's own environment and user and is a path in the process's own file
 * system; so it is walked below /proc/PID/root, with symbolic links resolved there as well
 * (openat2 with RESOLVE_IN_ROOT), and reached through a descriptor, which also makes the length
 * limit of socket addresses harmless.
 *
 * Programs that write their title over their environment (redis and nginx do) hide the variables.
 * Then the other places are tried, and at last the control thread's own descriptors tell where
 * its socket is bound. Whoever answers must be the process that was meant: the kernel says who
 * listens.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "process.h"
#include "util.h"

#define CONNECT_TIMEOUT_S 3
#define MAX_PLACES	  10
#define MAX_SOCKETS	  64

static const char control_thread[] = "slabnode-ctl";

enum control_thread { THREAD_UNKNOWN, THREAD_NO, THREAD_YES };

struct places {
	char *directories[MAX_PLACES];
	size_t count;
};

static void add_place(struct places *places, char *directory)
{
	for (size_t i = 0; i < places->count; i++) {
		if (!strcmp(places->directories[i], directory)) {
			free(directory);
			return;
		}
	}
	if (places->count < MAX_PLACES)
		places->directories[places->count++] = directory;
	else
		free(directory);
}

static void free_places(struct places *places)
{
	for (size_t i = 0; i < places->count; i++)
		free(places->directories[i]);
}

/* The whole environment as the process was started with it, entries ended by NUL; may be NULL. */
static char *read_environment(pid_t pid, size_t *length)
{
	char path[64], *text = NULL;
	size_t got = 1;
	FILE *file;

	*length = 0;
	snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return NULL;
	while (got > 0) {
		text = grow(text, *length + 65537);
		got = fread(text + *length, 1, 65536, file);
		*length += got;
	}
	text[*length] = '\0';
	fclose(file);
	return text;
}

static const char *find_variable(const char *environment, size_t length, const char *name)
{
	size_t name_length = strlen(name);

	if (!environment)
		return NULL;
	for (size_t at = 0; at < length; at += strlen(environment + at) + 1)
		if (!strncmp(environment + at, name, name_length) &&
		    environment[at + name_length] == '=' && environment[at + name_length + 1])
			return environment + at + name_length + 1;
	return NULL;
}

static void add_variable_places(struct places *places, const char *rundir, const char *xdg)
{
	if (rundir && *rundir)
		add_place(places, copy_text(rundir));
	if (xdg && *xdg)
		add_place(places, format_text("%s/slabnode", xdg));
}

static void add_user_place(struct places *places, uid_t user)
{
	if (user == 0)
		add_place(places, copy_text("/run/slabnode"));
	else
		add_place(places, format_text("/tmp/slabnode-%u", (unsigned int)user));
}

/* The process's own directory first, as the library chooses it; then what it may have been. */
static void collect_places(const struct process *process, struct places *places)
{
	size_t length;
	char *environment = read_environment(process->pid, &length);

	add_variable_places(places, find_variable(environment, length, "SLABNODE_RUNDIR"),
			    find_variable(environment, length, "XDG_RUNTIME_DIR"));
	free(environment);
	add_user_place(places, process->inner_uid);
	add_variable_places(places, getenv("SLABNODE_RUNDIR"), getenv("XDG_RUNTIME_DIR"));
	add_user_place(places, 0);
	add_user_place(places, geteuid());
}

/* The directory as the process sees it: below its root, or its working directory. */
static int open_inside(pid_t pid, const char *directory)
{
	struct open_how how = {
		.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT,
	};
	char path[64];
	int root, found;

	if (*directory != '/') {
		snprintf(path, sizeof(path), "/proc/%d/cwd", (int)pid);
		how.resolve = 0;
	} else {
		snprintf(path, sizeof(path), "/proc/%d/root", (int)pid);
	}
	root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0) /* not permitted, but perhaps it lives where we live */
		return open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	found = (int)syscall(SYS_openat2, root, directory, &how, sizeof(how));
	if (found < 0 && errno == ENOSYS)
		found = openat(root, directory + strspn(directory, "/"),
			       O_PATH | O_DIRECTORY | O_CLOEXEC);
	close(root);
	return found;
}

static int connect_in(int directory, const char *name, int follow)
{
	struct timeval limit = {.tv_sec = CONNECT_TIMEOUT_S};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat status;
	int fd, length;

	if (fstatat(directory, name, &status, follow))
		return -errno;
	if (!S_ISSOCK(status.st_mode))
		return -ENOTSOCK;
	length = snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s",
			  directory, name);
	if (length < 0 || (size_t)length >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* A full backlog, as of a stopped program, must not hold us: connect obeys this limit. */
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		length = -errno;
		close(fd);
		return length;
	}
	return fd;
}

/* 0 where the listener's pid is not visible from our pid namespace. */
static pid_t listener_of(int fd)
{
	struct ucred peer = {0};
	socklen_t size = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size))
		return 0;
	return peer.pid;
}

/* Tries one directory; the process remembers the last socket path that was there. */
static int try_place(struct process *process, const char *directory)
{
	char name[32];
	int at, fd;

	snprintf(name, sizeof(name), "%d.sock", (int)process->inner_pid);
	at = open_inside(process->pid, directory);
	if (at < 0)
		return -errno;
	fd = connect_in(at, name, AT_SYMLINK_NOFOLLOW);
	close(at);
	if (fd >= 0) {
		pid_t peer = listener_of(fd);

		if (peer && peer != process->pid) {
			close(fd);
			return -ESRCH;
		}
	}
	if (fd >= 0 || fd != -ENOENT) {
		free(process->socket);
		process->socket = format_text("%s/%s", directory, name);
	}
	return fd;
}

/* Inodes of the sockets that the control thread holds; it may have a descriptor table of its own.
 */
static size_t thread_sockets(pid_t pid, const char *thread, unsigned long *inodes)
{
	char path[320], target[64];
	struct dirent *entry;
	size_t count = 0;
	DIR *descriptors;

	snprintf(path, sizeof(path), "/proc/%d/task/%.20s/fd", (int)pid, thread);
	descriptors = opendir(path);
	while (descriptors && count < MAX_SOCKETS && (entry = readdir(descriptors))) {
		ssize_t length =
			readlinkat(dirfd(descriptors), entry->d_name, target, sizeof(target) - 1);

		if (length <= 0)
			continue;
		target[length] = '\0';
		if (sscanf(target, "socket:[%lu]", &inodes[count]) == 1)
			count++;
	}
	if (descriptors)
		closedir(descriptors);
	return count;
}

/* Finds the control thread by its name. */
static enum control_thread control_sockets(pid_t pid, unsigned long *inodes, size_t *count)
{
	enum control_thread thread = THREAD_NO;
	char path[320], name[32];
	struct dirent *entry;
	DIR *tasks;

	*count = 0;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	tasks = opendir(path);
	if (!tasks)
		return THREAD_UNKNOWN;
	while (thread == THREAD_NO && (entry = readdir(tasks))) {
		snprintf(path, sizeof(path), "/proc/%d/task/%.20s/comm", (int)pid, entry->d_name);
		if (!read_small_file(path, name, sizeof(name)))
			continue;
		name[strcspn(name, "\n")] = '\0';
		if (strcmp(name, control_thread))
			continue;
		thread = THREAD_YES;
		*count = thread_sockets(pid, entry->d_name, inodes);
	}
	closedir(tasks);
	return thread;
}

/* Directories in which these sockets are bound, by the table of the process's own network. */
static void add_bound_places(pid_t pid, const unsigned long *inodes, size_t count,
			     struct places *places)
{
	char path[64], *line = NULL;
	size_t size = 0;
	FILE *table;

	snprintf(path, sizeof(path), "/proc/%d/net/unix", (int)pid);
	table = fopen(path, "re");
	while (table && getline(&line, &size, table) > 0) {
		unsigned long inode;
		int at = 0;

		if (sscanf(line, "%*s %*s %*s %*s %*s %*s %lu %n", &inode, &at) != 1 || !at)
			continue;
		line[strcspn(line, "\n")] = '\0';
		for (size_t i = 0; i < count; i++) {
			char *slash = strrchr(line + at, '/');

			if (inode != inodes[i] || !slash)
				continue;
			*slash = '\0';
			add_place(places, copy_text(line + at));
			break;
		}
	}
	free(line);
	if (table)
		fclose(table);
}

/* What can be seen from outside; a sandbox cannot, since whole containers run under filters. */
static const char *why_no_thread(const struct process *process)
{
	size_t length;
	char *environment = read_environment(process->pid, &length);
	const char *set = find_variable(environment, length, "SLABNODE_CONTROL");
	bool off = set && !strcmp(set, "off");

	free(environment);
	return off ? "no control thread: SLABNODE_CONTROL=off" : "no control thread";
}

/*
 * A control thread without a socket: what is wrong with its run directory, where that is known. An
 * environment that was written over has no LD_PRELOAD any more.
 */
static char *why_no_socket(const struct process *process)
{
	struct places places = {0};
	const char *what = NULL;
	struct stat status;
	size_t length;
	char *environment = read_environment(process->pid, &length), *text;
	int at;

	if (!find_variable(environment, length, "LD_PRELOAD")) {
		free(environment);
		return copy_text("its socket was not found");
	}
	free(environment);
	collect_places(process, &places);
	at = open_inside(process->pid, places.directories[0]);
	if (at < 0)
		what = strerror(errno);
	else if (fstat(at, &status) == 0 && (status.st_mode & (S_IWGRP | S_IWOTH)))
		what = "others can write to it";
	text = what ? format_text("its socket was not found: %s: %s", places.directories[0], what)
		    : copy_text("its socket was not found");
	if (at >= 0)
		close(at);
	free_places(&places);
	return text;
}

/*
 * A directory that we may not look into matters only where the process has a control thread: some
 * of them were guessed, and root's is closed to everybody else.
 */
static int failed(struct process *process, int result, enum control_thread thread)
{
	if (thread == THREAD_NO && (result == -EACCES || result == -EPERM))
		result = -ENOENT;
	free(process->problem);
	switch (-result) {
	case EACCES:
	case EPERM:
		process->error = "EACCES";
		process->problem = copy_text("no permission");
		break;
	case EAGAIN:
		process->error = "ETIMEDOUT";
		process->problem = copy_text(process_stopped(process->pid)
						     ? "no answer: the process is stopped"
						     : "no answer");
		break;
	default:
		process->error = thread == THREAD_YES ? "ENOENT" : "ENOTCONN";
		process->problem = thread == THREAD_YES ? why_no_socket(process)
							: copy_text(why_no_thread(process));
		break;
	}
	return -1;
}

/* Which of two failures says more about why a process cannot be asked. */
static int more_telling(int left, int right)
{
	static const int telling[] = {-EAGAIN, -EACCES, -EPERM, -ECONNREFUSED, -ESRCH};

	for (size_t i = 0; i < sizeof(telling) / sizeof(telling[0]); i++)
		if (left == telling[i] || right == telling[i])
			return telling[i];
	return left;
}

/* A connected socket, or -1 with the process's error and problem set. */
int connect_process(struct process *process)
{
	unsigned long inodes[MAX_SOCKETS];
	struct places places = {0};
	enum control_thread thread = THREAD_UNKNOWN;
	size_t known, sockets;
	int fd = -ENOENT;

	collect_places(process, &places);
	known = places.count;
	for (size_t i = 0; i < places.count && fd < 0; i++) {
		int result = try_place(process, places.directories[i]);

		fd = result >= 0 ? result : more_telling(fd, result);
		if (fd < 0 && i + 1 == known && thread == THREAD_UNKNOWN) {
			thread = control_sockets(process->pid, inodes, &sockets);
			add_bound_places(process->pid, inodes, sockets, &places);
		}
	}
	free_places(&places);
	return fd >= 0 ? fd : failed(process, fd, thread);
}

/* Whether a socket of the process's name stands in a place that we can see, whoever listens. */
bool has_socket_here(const struct process *process)
{
	struct places places = {0};
	bool found = false;

	collect_places(process, &places);
	for (size_t i = 0; i < places.count && !found; i++) {
		char *path =
			format_text("%s/%d.sock", places.directories[i], (int)process->inner_pid);
		struct stat status;

		found = !lstat(path, &status) && S_ISSOCK(status.st_mode);
		free(path);
	}
	free_places(&places);
	return found;
}

/* The same for a socket that the operator named: no process is searched for. */
int connect_path(struct process *process)
{
	const char *slash = strrchr(process->socket, '/');
	char *parent =
		slash ? format_text("%.*s", (int)(slash - process->socket) + 1, process->socket)
		      : copy_text(".");
	int directory = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int fd = -errno;

	free(parent);
	if (directory >= 0) {
		fd = connect_in(directory, slash ? slash + 1 : process->socket, 0);
		close(directory);
	}
	if (fd >= 0) {
		process->pid = listener_of(fd);
		return fd;
	}
	process->error = fd == -EACCES ? "EACCES" : fd == -EAGAIN ? "ETIMEDOUT" : "ENOTCONN";
	free(process->problem);
	process->problem =
		format_text("%s: %s", process->socket, fd == -EAGAIN ? "no answer" : strerror(-fd));
	return -1;
}
