/*
 * rundir.h - the run directory and the process's socket in it.
 */
#ifndef SLABNODE_RUNDIR_H
#define SLABNODE_RUNDIR_H

#include "fd.h"

#include <sys/auxv.h>
#include <unistd.h>

/* The effective user; where a sandbox refuses to say, the one that the process was started as. */
static inline uid_t sn_effective_user(void)
{
	uid_t user = geteuid();

	return user != (uid_t)-1 ? user : (uid_t)getauxval(AT_EUID);
}

struct sn_socket_file {
	char path[4096]; /* empty: there is none */
	dev_t device;
	ino_t inode;
	int pid; /* who made it: a forked child must not remove it */
};

/*
 * Makes the run directory where it is missing, removes what dead processes left in it, and
 * listens on RUNDIR/PID.sock.  On failure returns a negative errno value and says in `reason`
 * what was in the way.
 */
int sn_rundir_listen(const char *rundir, struct sn_fd *listener, struct sn_socket_file *file,
		     char *reason, size_t reason_size);
/* Removes the socket, if it is still ours. */
void sn_rundir_remove(struct sn_socket_file *file);

#endif
