/*
 * Finding the processes that run with the library: whoever has libslabnode.so in its memory map.
 * That holds for processes in containers and for those that changed their name, environment or
 * user, and needs no registry that could be stale. hotplugctl itself may run with the library
 * (LD_PRELOAD in the operator's shell); it and its like are never candidates.
 */
#include "process.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "json.h"
#include "util.h"

static const char library_name[] = "libslabnode.so";

/* The library may have been replaced on disk meanwhile: the kernel then adds " (deleted)". */
static bool names_library(const char *line)
{
	const char *file = strrchr(line, '/');

	if (!file || strncmp(++file, library_name, sizeof(library_name) - 1))
		return false;
	file += sizeof(library_name) - 1;
	return !*file || *file == '.' || *file == ' ' || *file == '\n';
}

enum library_use uses_library(pid_t pid)
{
	enum library_use use = LIBRARY_NO;
	char path[64], *line = NULL;
	size_t size = 0;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = fopen(path, "re");
	if (!maps)
		return errno == EACCES || errno == EPERM ? LIBRARY_UNKNOWN : LIBRARY_NO;
	errno = 0;
	while (use == LIBRARY_NO && getline(&line, &size, maps) > 0)
		if (names_library(line))
			use = LIBRARY_YES;
	if (use == LIBRARY_NO && ferror(maps) && (errno == EACCES || errno == EPERM))
		use = LIBRARY_UNKNOWN;
	free(line);
	fclose(maps);
	return use;
}

/*
 * A number of a line of /proc/PID/status, counted from 0; the last one where there are fewer.
 * "Uid:" has the effective user second, "NSpid:" the pid in the innermost namespace last.
 */
static long status_number(const char *status, const char *name, unsigned int index, long otherwise)
{
	const char *line = strstr(status, name);
	long number = otherwise;

	if (!line)
		return otherwise;
	line += strlen(name);
	for (unsigned int i = 0; i <= index; i++) {
		line += strspn(line, " \t");
		if (!isdigit((unsigned char)*line))
			break;
		number = strtol(line, (char **)&line, 10);
	}
	return number;
}

/* The user that the process takes itself for; the default run directory is made of it. */
static uid_t inner_user(pid_t pid, uid_t outer)
{
	unsigned int inside, outside, count;
	uid_t found = outer;
	char path[64];
	FILE *map;

	snprintf(path, sizeof(path), "/proc/%d/uid_map", (int)pid);
	map = fopen(path, "re");
	if (!map)
		return outer;
	while (fscanf(map, "%u %u %u", &inside, &outside, &count) == 3)
		if (outer >= outside && outer - outside < count)
			found = inside + (outer - outside);
	fclose(map);
	return found;
}

static char *process_command(pid_t pid)
{
	char path[64], name[64];
	json_t *valid;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	if (!read_small_file(path, name, sizeof(name)))
		return copy_text("");
	name[strcspn(name, "\n")] = '\0';
	valid = json_string(name);
	if (!valid)
		for (char *at = name; *at; at++)
			if ((unsigned char)*at >= 0x80)
				*at = '?';
	json_decref(valid);
	return copy_text(name);
}

/* Fills in what /proc tells about a process; false where there is none. */
bool describe_process(pid_t pid, struct process *process)
{
	char path[64], status[4096];
	uid_t user;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	if (!read_small_file(path, status, sizeof(status)) || !status[0])
		return false;
	user = (uid_t)status_number(status, "\nUid:", 1, 0);
	*process = (struct process){
		.pid = pid,
		.inner_pid = (pid_t)status_number(status, "\nNSpid:", UINT_MAX, pid),
		.inner_uid = inner_user(pid, user),
		.command = process_command(pid),
	};
	return true;
}

void free_process(struct process *process)
{
	free(process->command);
	free(process->socket);
	free(process->problem);
	*process = (struct process){0};
}

/* When it began, in ticks since boot: another process of the same number began later. 0: gone. */
uint64_t process_born(pid_t pid)
{
	char path[64], text[1024];
	const char *at;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	read_small_file(path, text, sizeof(text));
	/* The command's name, in brackets, may hold anything; the state behind it is field 3. */
	at = strrchr(text, ')');
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	return at ? strtoull(at, NULL, 10) : 0;
}

static char process_state(pid_t pid)
{
	char path[64], status[1024];
	const char *state;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	if (!read_small_file(path, status, sizeof(status)))
		return '\0';
	state = strstr(status, "\nState:\t");
	return state ? state[8] : '\0';
}

bool process_stopped(pid_t pid)
{
	char state = process_state(pid);

	return state == 'T' || state == 't';
}

bool process_exists(pid_t pid)
{
	char state = process_state(pid);

	return state && state != 'Z' && state != 'X';
}

static bool is_hotplugctl(pid_t pid)
{
	char path[64], target[PATH_MAX];
	const char *file;
	ssize_t length;

	if (pid == getpid())
		return true;
	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	length = readlink(path, target, sizeof(target) - 1);
	if (length <= 0)
		return false;
	target[length] = '\0';
	file = strrchr(target, '/');
	file = file ? file + 1 : target;
	return !strcmp(file, "hotplugctl") || !strcmp(file, "hotplugctl (deleted)");
}

/*
 * A process whose maps may not be read counts where a socket with its name stands in one of the
 * places that we would look in: its answer then says more.
 */
static void consider(pid_t pid, struct process_list *list)
{
	enum library_use use = uses_library(pid);
	struct process process;

	if (use == LIBRARY_NO || is_hotplugctl(pid) || !describe_process(pid, &process))
		return;
	if (use == LIBRARY_UNKNOWN && !has_socket_here(&process)) {
		free_process(&process);
		return;
	}
	list->items = grow(list->items, (list->count + 1) * sizeof(*list->items));
	list->items[list->count++] = process;
}

static int by_pid(const void *left, const void *right)
{
	const struct process *a = left, *b = right;

	return (a->pid > b->pid) - (a->pid < b->pid);
}

void find_processes(struct process_list *list)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;

	*list = (struct process_list){0};
	if (!proc)
		return;
	while ((entry = readdir(proc))) {
		char *end;
		long pid = strtol(entry->d_name, &end, 10);

		if (pid > 0 && !*end)
			consider((pid_t)pid, list);
	}
	closedir(proc);
	if (list->count)
		qsort(list->items, list->count, sizeof(*list->items), by_pid);
}
