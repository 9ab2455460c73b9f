/*
 * Processes that run with the library, as /proc shows them, and the way to their sockets.
 */
#ifndef HOTPLUGCTL_PROCESS_H
#define HOTPLUGCTL_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct process {
	pid_t pid;	   /* as we see it; 0 until it is known, where a socket was named */
	pid_t inner_pid;   /* in its own pid namespace: the socket's name */
	uid_t inner_uid;   /* in its own user namespace: part of the default run directory */
	char *command;	   /* "" until known */
	char *socket;	   /* where its socket was found or looked for, as it sees the path */
	bool named;	   /* the operator named the socket: each connection is to that path */
	const char *error; /* why it cannot be asked: an errno name, or NULL */
	char *problem;	   /* the same in words */
};

enum library_use { LIBRARY_NO, LIBRARY_YES, LIBRARY_UNKNOWN };

struct process_list {
	struct process *items;
	size_t count;
};

void find_processes(struct process_list *list);
bool describe_process(pid_t pid, struct process *process);
enum library_use uses_library(pid_t pid);
void free_process(struct process *process);
uint64_t process_born(pid_t pid);
bool process_stopped(pid_t pid);
bool process_exists(pid_t pid);

int connect_process(struct process *process);
bool has_socket_here(const struct process *process);
int connect_path(struct process *process);

#endif
