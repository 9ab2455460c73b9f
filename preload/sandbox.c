/*
 * sandbox.c - noticing what the program asks for that a hidden thread would spoil: a seccomp
 * filter, other capabilities, other namespaces.
 *
 * From then on a system call outside the filter may kill the program, so no thread is started
 * any more and a running control thread retires, before the filter comes into force.  Filters
 * installed by raw instructions are not seen; docs name that limit.
 *
 * The watched functions are passed on as system calls, all by the next syscall(): programs that
 * dispatch system calls by the address of the instruction (PR_SET_SYSCALL_USER_DISPATCH) let those
 * of libc pass, not ours.  Looking it up takes the loader's lock, so that is done at the start, and
 * what is called before is an instruction of our own.
 */
#include "internal.h"

#include "control.h"
#include "mempolicy.h"

#include <dlfcn.h>
#include <linux/seccomp.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
static long raw_syscall(long number, const long *a)
{
	register long r10 __asm__("r10") = a[3];
	register long r8 __asm__("r8") = a[4];
	register long r9 __asm__("r9") = a[5];
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "0"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}
#elif defined(__aarch64__)
static long raw_syscall(long number, const long *a)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a[0];
	register long x1 __asm__("x1") = a[1];
	register long x2 __asm__("x2") = a[2];
	register long x3 __asm__("x3") = a[3];
	register long x4 __asm__("x4") = a[4];
	register long x5 __asm__("x5") = a[5];

	__asm__ volatile("svc 0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}
#else
#error "raw_syscall() is not written for this architecture"
#endif

typedef long syscall_fn(long number, ...);

static syscall_fn *next_syscall; /* written once, while there is no other thread */

void sn_sandbox_prepare(void)
{
	*(void **)&next_syscall = dlsym(RTLD_NEXT, "syscall");
}

static long call(long number, const long *a)
{
	long result;

	if (sn_likely(next_syscall))
		return next_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
	result = raw_syscall(number, a);
	if (result < 0 && result > -4096) {
		errno = (int)-result;
		return -1;
	}
	return result;
}

/* Reads the variable arguments, as many as any system call has. */
#define TAKE_ARGS(a, from, last)                                                                   \
	do {                                                                                       \
		va_list args;                                                                      \
                                                                                                   \
		va_start(args, last);                                                              \
		for (int i_ = (from); i_ < 6; i_++)                                                \
			(a)[i_] = va_arg(args, long);                                              \
		va_end(args);                                                                      \
	} while (0)

/*
 * Capabilities and namespaces belong to threads.  A program with one thread that changes its own
 * would leave the control thread behind: libc then aborts in the next setuid(), since not all
 * threads may do it, and unshare() and setns() refuse.  So the control thread retires before.
 */
static bool must_be_alone(long number, const long *a)
{
	switch (number) {
	case SYS_capset:
	case SYS_unshare:
	case SYS_setns:
		return true;
	case SYS_prctl:
		return a[0] == PR_SET_KEEPCAPS || a[0] == PR_SET_SECUREBITS ||
		       a[0] == PR_CAPBSET_DROP ||
		       /* Many programs merely ask: libcap-ng does when it is loaded. */
		       (a[0] == PR_CAP_AMBIENT && a[1] != PR_CAP_AMBIENT_IS_SET);
	default:
		return false;
	}
}

static bool asks_for_filter(long number, const long *a)
{
	if (number == SYS_seccomp)
		return a[0] == SECCOMP_SET_MODE_STRICT || a[0] == SECCOMP_SET_MODE_FILTER;
	return number == SYS_prctl && a[0] == PR_SET_SECCOMP;
}

static void watch(long number, const long *a)
{
	if (sn_unlikely(asks_for_filter(number, a)))
		sn_sandboxed();
	else if (sn_unlikely(must_be_alone(number, a)))
		sn_control_retire();
}

SN_EXPORT long syscall(long number, ...)
{
	long a[6], result;

	TAKE_ARGS(a, 0, number);
	watch(number, a);
	result = call(number, a);
	if (sn_unlikely(number == SYS_set_mempolicy) && result == 0)
		sn_mempolicy_set((int)a[0], (const unsigned long *)a[1], (unsigned long)a[2]);
	return result;
}

SN_EXPORT int prctl(int option, ...)
{
	long a[6] = {option};

	TAKE_ARGS(a, 1, option);
	watch(SYS_prctl, a);
	return (int)call(SYS_prctl, a);
}

int seccomp(unsigned int operation, unsigned int flags, void *args);

SN_EXPORT int seccomp(unsigned int operation, unsigned int flags, void *args)
{
	long a[6] = {(long)operation, (long)flags, (long)(uintptr_t)args};

	watch(SYS_seccomp, a);
	return (int)call(SYS_seccomp, a);
}

int capset(void *header, const void *data);

SN_EXPORT int capset(void *header, const void *data)
{
	long a[6] = {(long)(uintptr_t)header, (long)(uintptr_t)data};

	watch(SYS_capset, a);
	return (int)call(SYS_capset, a);
}

int unshare(int flags);

SN_EXPORT int unshare(int flags)
{
	long a[6] = {flags};

	watch(SYS_unshare, a);
	return (int)call(SYS_unshare, a);
}

int setns(int fd, int type);

SN_EXPORT int setns(int fd, int type)
{
	long a[6] = {fd, type};

	watch(SYS_setns, a);
	return (int)call(SYS_setns, a);
}
