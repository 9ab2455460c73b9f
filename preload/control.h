/*
 * control.h - the control thread as the rest of the preload library sees it.
 *
 * What it needs from the library beside the core (preload/internal.h): sn_internal_enter() and
 * sn_internal_leave(), between which what libc allocates for the calling thread comes from the
 * internal node (calls nest: the threads here are inside for their whole life and start others),
 * and sn_version().
 */
#ifndef SLABNODE_CONTROL_H
#define SLABNODE_CONTROL_H

#include "../core/lifecycle.h"

/* One row of the `options` command; every string lives for ever. */
struct sn_control_option {
	const char *name, *type, *range, *value, *fallback, *help;
};

/* rundir and command are copied; topology_source must live for ever. */
struct sn_control_config {
	const char *rundir;	     /* an absolute path */
	const char *command;	     /* the program's name, for hello and list */
	const char *topology_source; /* "auto", "synthetic", "xml" */
	bool simulated;
	bool verbose; /* messages on stderr are wanted */
	enum sn_policy default_policy;
	int64_t reap_interval_ms; /* 0: sn_control_reap is never called */
	/* Row `index` of the option table; false: no such row. */
	bool (*option)(unsigned int index, struct sn_control_option *row);
	/* Arms a fault: 0 or a negative errno value with a message.  NULL: not simulated. */
	int (*fault)(const char *spec, char *message, size_t message_size);
	/* Looks for nodes that the machine has got since.  NULL: there can be none. */
	void (*look)(void);
	/* Moves the rest of the process off a node (indexes).  NULL: not possible here. */
	int (*move_process)(unsigned int from, const struct sn_nodemask *to,
			    struct sn_move_result *result);
};

/* At start, while the program has one thread.  Takes sn_event_hook. */
void sn_control_configure(const struct sn_control_config *config);

/*
 * Starts the thread, once in a process: later calls only tell whether there is one.  To be called
 * with no lock held, never from free(), a signal handler or a fork handler.  Returns before the
 * socket exists.  Keeps errno.
 */
bool sn_control_start(void);

/*
 * Ages cached memory; called in the control thread with no lock held.  Returns after how many
 * milliseconds it wants to be called again, UINT64_MAX: not before sn_control_poke().  Set it
 * before sn_control_start(); NULL: nothing ages.
 */
extern uint64_t (*sn_control_reap)(void);

/*
 * "There is something to age now": for the moment in which the first memory is cached after
 * sn_control_reap returned UINT64_MAX.  From any thread, with any lock held; one load while the
 * reaper is awake or there is no thread, at most a futex call else.  The change that it announces
 * must have been made before.
 */
void sn_control_poke(void);

/* The program has registered a callback: workers are to see its descriptors.  From any thread. */
void sn_control_callbacks(void);

/* The process ends: the socket goes away.  Waits for nothing. */
void sn_control_at_exit(void);

/* In a forked child, before any other thread exists; then sn_control_start() may be called. */
void sn_control_fork_child(void);

/*
 * Ends the thread and its workers (operations under way are cancelled), removes the socket, and
 * starts none again, in children neither: for programs that ask for a seccomp filter.  Waits
 * until the threads are gone, at most for three seconds.
 */
void sn_control_retire(void);

/* The socket's path, "" while there is none. */
const char *sn_control_socket(void);

extern const struct sn_control_config *sn_control_config;

#endif
