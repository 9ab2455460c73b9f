/*
 * sandbox.c - noticing that the program asks for a seccomp filter.
 *
 * From then on a system call outside the filter may kill the program, so no thread is started
 * any more and a running control thread retires, before the filter comes into force.  Filters
 * installed by raw instructions are not seen; docs name that limit.
 *
 * The watched functions are passed on as system calls of their own, not to libc's definition:
 * looking that up could allocate.
 */
#include "internal.h"

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

static long call(long number, const long *a)
{
	long result = raw_syscall(number, a);

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

static bool asks_for_filter(long number, const long *a)
{
	if (number == SYS_seccomp)
		return a[0] == SECCOMP_SET_MODE_STRICT || a[0] == SECCOMP_SET_MODE_FILTER;
	return number == SYS_prctl && a[0] == PR_SET_SECCOMP;
}

SN_EXPORT long syscall(long number, ...)
{
	long a[6];

	TAKE_ARGS(a, 0, number);
	if (sn_unlikely(asks_for_filter(number, a)))
		sn_sandboxed();
	return call(number, a);
}

SN_EXPORT int prctl(int option, ...)
{
	long a[6] = {option};

	TAKE_ARGS(a, 1, option);
	if (sn_unlikely(asks_for_filter(SYS_prctl, a)))
		sn_sandboxed();
	return (int)call(SYS_prctl, a);
}

int seccomp(unsigned int operation, unsigned int flags, void *args);

SN_EXPORT int seccomp(unsigned int operation, unsigned int flags, void *args)
{
	long a[6] = {(long)operation, (long)flags, (long)(uintptr_t)args};

	if (asks_for_filter(SYS_seccomp, a))
		sn_sandboxed();
	return (int)call(SYS_seccomp, a);
}
