/*
 * refuse.c - runs a program as containers do: the kernel refuses it every call about memory
 * policies and the places of pages.
 *
 *	refuse PROGRAM ARG...
 *
 * The calls are those that the default filter of container engines refuses without CAP_SYS_NICE,
 * with the answer that it gives, EPERM.
 */
#include "guest.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

#ifndef SYS_set_mempolicy_home_node
#define SYS_set_mempolicy_home_node 450
#endif

#define REFUSE(call)                                                                               \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##call, 0, 1),                                     \
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM)

static struct sock_filter filter[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	REFUSE(mbind),
	REFUSE(get_mempolicy),
	REFUSE(set_mempolicy),
	REFUSE(set_mempolicy_home_node),
	REFUSE(move_pages),
	REFUSE(migrate_pages),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};

int main(int argc, char **argv)
{
	struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};

	if (argc < 2)
		die("usage: refuse PROGRAM ARG...");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		die("the filter");
	execvp(argv[1], argv + 1);
	die("%s", argv[1]);
}
