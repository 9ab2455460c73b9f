/*
 * A seccomp filter that a program puts on itself: a list of system calls that stay, and what
 * becomes of every other one. Written out as BPF, since the programs that use it may ask for it in
 * ways that libseccomp does not.
 */
#ifndef TESTS_SANDBOX_FILTER_H
#define TESTS_SANDBOX_FILTER_H

#include "../preload/check.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define MOST_CALLS 64

/* glibc's own malloc asks for more. */
static const int of_glibc[] = {SYS_brk,	 SYS_getrandom, SYS_openat,
			       SYS_read, SYS_close,	SYS_newfstatat};

/* The ways to ask for a filter. Of the last one nobody else in the process can know. */
enum asking { BY_PRCTL, BY_SYSCALL, BY_INSTRUCTION };

/* Says which call it was, by nothing but write. */
static inline void on_forbidden_call(int sig, siginfo_t *info, void *context)
{
	char text[] = "forbidden system call     \n";
	size_t at = sizeof(text) - 3;

	(void)sig, (void)context;
	for (int n = info->si_syscall; n > 0; n /= 10)
		text[at--] = (char)('0' + n % 10);
	if (write(2, text, sizeof(text) - 1) > 0)
		_exit(1);
	_exit(2);
}

static inline long by_instruction(long number, long a, long b, long c)
{
#if defined(__x86_64__)
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "0"(number), "D"(a), "S"(b), "d"(c)
			 : "rcx", "r11", "memory");
	return result;
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
	return x0;
#else
#error "which instruction?"
#endif
}

static inline bool ask(enum asking how, unsigned int flags, struct sock_fprog *program)
{
	switch (how) {
	case BY_PRCTL: /* of this thread alone */
		return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program) == 0;
	case BY_SYSCALL:
		return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, program) == 0;
	default:
		return by_instruction(SYS_seccomp, SECCOMP_SET_MODE_FILTER, (long)flags,
				      (long)(uintptr_t)program) == 0;
	}
}

static inline unsigned short let_through(struct sock_filter *code, unsigned short at, int call)
{
	code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, 1);
	code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	return at;
}

/*
 * From here on `calls` alone are let through. `otherwise` is a SECCOMP_RET_ value; of a call that
 * is trapped the handler says the number. Skips the row where filters are not permitted.
 */
static inline void confine(enum asking how, const int *calls, size_t n, uint32_t otherwise)
{
	struct sock_filter code[(MOST_CALLS + ARRAY_SIZE(of_glibc)) * 2 + 2];
	struct sock_fprog program = {.filter = code};
	struct sigaction sa = {.sa_sigaction = on_forbidden_call, .sa_flags = SA_SIGINFO};
	unsigned short at = 0;

	CHECK(n <= MOST_CALLS && sigaction(SIGSYS, &sa, NULL) == 0);
	code[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
						  offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < n; i++)
		at = let_through(code, at, calls[i]);
	for (size_t i = 0; i < ARRAY_SIZE(of_glibc) && !under_slabnode(); i++)
		at = let_through(code, at, of_glibc[i]);
	code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, otherwise);
	program.len = at;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    !ask(how, SECCOMP_FILTER_FLAG_TSYNC, &program))
		check_skip("seccomp filters are not permitted here");
}

#endif
