/*
 * fd.h - descriptors that the program neither sees nor loses.
 *
 * On Linux 5.9 and later the control thread unshares its descriptor table: nothing of the
 * program's stays open in it, and none of our numbers exist in the program's table.  Threads
 * that the control thread starts share its table.  Where that call is missing or refused, our
 * descriptors live among the program's: numbers of 1000 and above, close-on-exec, and the
 * identity (device, inode) looked at before each use, because a program that closes everything
 * may meanwhile have a file of its own under our number.  Such a number is never closed.  For
 * that reason only things with an inode of their own are used: sockets, pipes and directories,
 * no eventfd.
 */
#ifndef SLABNODE_FD_H
#define SLABNODE_FD_H

#include <sys/types.h>

#include "../core/base.h"

struct sn_fd {
	int number; /* -1: none */
	dev_t device;
	ino_t inode;
};

#define SN_FD_NONE ((struct sn_fd){.number = -1})

/* The calling thread gets a table of its own, if possible. */
void sn_fd_isolate(void);
/* Whether the calling thread sees our numbers; for a new thread: what its creator's answer was. */
bool sn_fd_reachable(void);
void sn_fd_inherit(bool reachable);
/* The program's standard error, in whichever table the calling thread is.  Async-signal-safe. */
int sn_fd_stderr(void);
/* A duplicate with the lowest free number from `lowest` on, close-on-exec; -1: none. */
int sn_fd_copy(int number, int lowest);
/* Takes `number` over, which is moved out of the way; on failure it is closed. */
bool sn_fd_adopt(struct sn_fd *fd, int number);
/* The number to use now, or -1 when it is lost. */
int sn_fd_use(struct sn_fd *fd);
void sn_fd_close(struct sn_fd *fd);

#endif
