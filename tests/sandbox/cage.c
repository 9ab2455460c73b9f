/*
 * Runs a program in a sandbox that was there before it: cage FILTER PROGRAM [ARGUMENT...].
 *
 * Each filter refuses some system calls with an error, as container runtimes do, or kills; all
 * others are let through. The filters are libseccomp's, as those of most programs are; cage runs
 * under the library as well, which so sees libseccomp at work in its own process.
 */
#include "../preload/check.h"

#include <seccomp.h>

/* A list of calls in words; a name that this libseccomp does not know is left out, unless none is
 * known at all. */
struct rule {
	uint32_t action;
	const char *calls;
};

#define REFUSE(error) SCMP_ACT_ERRNO(error)
#define NUMA_CALLS                                                                                 \
	"get_mempolicy set_mempolicy mbind move_pages migrate_pages set_mempolicy_home_node"

/*
 * What docker's documentation lists as blocked by its default profile ("Seccomp security profiles
 * for Docker"), for a container without further capabilities, and what an allow-list of its kind
 * does not know: newer calls. clone3 is refused with ENOSYS, so that libc falls back to clone,
 * whose flags can be looked at.
 */
#define DOCKER_BLOCKS                                                                              \
	"acct add_key bpf clock_adjtime clock_settime create_module delete_module finit_module "   \
	"get_kernel_syms get_mempolicy init_module ioperm iopl kcmp kexec_file_load kexec_load "   \
	"keyctl lookup_dcookie mbind mount move_pages nfsservctl open_by_handle_at "               \
	"perf_event_open pivot_root process_vm_readv process_vm_writev ptrace query_module "       \
	"quotactl reboot request_key set_mempolicy setns settimeofday stime swapon swapoff sysfs " \
	"_sysctl umount umount2 unshare uselib userfaultfd ustat vm86 vm86old "                    \
	"set_mempolicy_home_node pidfd_getfd process_madvise migrate_pages io_uring_setup"

static const struct filter {
	const char *name;
	struct rule rule[2];
} filters[] = {
	{"numa-not-permitted", {{REFUSE(EPERM), NUMA_CALLS}}},
	{"numa-unknown", {{REFUSE(ENOSYS), NUMA_CALLS}}},
	{"numa-killed", {{SCMP_ACT_KILL_PROCESS, NUMA_CALLS}}},
	{"membarrier-not-permitted", {{REFUSE(EPERM), "membarrier"}}},
	{"membarrier-unknown", {{REFUSE(ENOSYS), "membarrier"}}},
	{"rseq-not-permitted", {{REFUSE(EPERM), "rseq"}}},
	{"rseq-unknown", {{REFUSE(ENOSYS), "rseq"}}},
	{"rseq-and-membarrier-unknown", {{REFUSE(ENOSYS), "rseq membarrier"}}},
	{"getrandom-not-permitted", {{REFUSE(EPERM), "getrandom"}}},
	{"getrandom-killed", {{SCMP_ACT_KILL_PROCESS, "getrandom"}}},
	{"affinity-not-permitted", {{REFUSE(EPERM), "sched_getaffinity"}}},
	{"user-not-told", {{REFUSE(EPERM), "getuid geteuid getgid getegid"}}},
	{"prctl-not-permitted", {{REFUSE(EPERM), "prctl"}}},
	{"madvise-not-permitted", {{REFUSE(EPERM), "madvise"}}},
	{"mremap-unknown", {{REFUSE(ENOSYS), "mremap"}}},
	{"no-threads", {{REFUSE(ENOSYS), "clone3"}, {REFUSE(EAGAIN), "clone"}}},
	{"no-sockets", {{REFUSE(EPERM), "socket socketpair bind listen"}}},
	{"no-pipes", {{REFUSE(ENFILE), "pipe pipe2"}}},
	{"close-range-unknown", {{REFUSE(ENOSYS), "close_range"}}},
	{"docker", {{REFUSE(EPERM), DOCKER_BLOCKS}, {REFUSE(ENOSYS), "clone3"}}},
};

static unsigned int add_rule(scmp_filter_ctx filter, const struct rule *rule)
{
	char calls[1200], *rest = calls, *name;
	unsigned int known = 0;

	CHECK(strlen(rule->calls) < sizeof(calls));
	strcpy(calls, rule->calls);
	while ((name = strsep(&rest, " ")) != NULL) {
		int call = seccomp_syscall_resolve_name(name);

		/* Names of other architectures' calls have negative numbers. */
		if (call >= 0 && seccomp_rule_add(filter, rule->action, call, 0) == 0)
			known++;
	}
	return known;
}

/* A new namespace needs a capability that a container lacks; its flags are clone's first word. */
static void forbid_namespaces(scmp_filter_ctx filter)
{
	static const unsigned long flags[] = {0x00020000, 0x02000000, 0x04000000, 0x08000000,
					      0x10000000, 0x20000000, 0x40000000};

	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		CHECK(seccomp_rule_add(filter, REFUSE(EPERM), SCMP_SYS(clone), 1,
				       SCMP_A0(SCMP_CMP_MASKED_EQ, flags[i], flags[i])) == 0);
}

static void enter(const struct filter *f)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

	CHECK(filter);
	for (size_t i = 0; i < ARRAY_SIZE(f->rule) && f->rule[i].calls; i++)
		CHECK_MSG(add_rule(filter, &f->rule[i]) > 0, "libseccomp knows none of %s",
			  f->rule[i].calls);
	if (strcmp(f->name, "docker") == 0)
		forbid_namespaces(filter);
	if (seccomp_load(filter) != 0)
		check_skip("seccomp filters are not permitted here");
	seccomp_release(filter);
}

int main(int argc, char **argv)
{
	bool list = argc == 2 && strcmp(argv[1], "--list") == 0;

	for (size_t i = 0; i < ARRAY_SIZE(filters); i++) {
		if (list) {
			dprintf(1, "%s\n", filters[i].name);
		} else if (argc > 2 && strcmp(filters[i].name, argv[1]) == 0) {
			enter(&filters[i]);
			execv(argv[2], argv + 2);
			CHECK_MSG(false, "cannot run %s", argv[2]);
		}
	}
	if (!list)
		dprintf(2, "usage: cage FILTER PROGRAM [ARGUMENT...] | --list\n");
	return list ? 0 : 2;
}
