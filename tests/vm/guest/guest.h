/*
 * guest.h - what the programs that run in a guest share.  They use nothing of slabnode: they say
 * what is true of memory under any malloc, by the kernel's word alone.
 */
#ifndef TESTS_VM_GUEST_H
#define TESTS_VM_GUEST_H

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PAGE	  4096ul
#define KIB	  1024ul
#define MIB	  (1024ul * 1024ul)
#define MAX_NODES 64

/* Ends the program with a message: neither needs the heap that is being tested. */
__attribute__((noreturn, format(printf, 1, 2))) static inline void die(const char *format, ...)
{
	int error = errno;
	va_list args;

	va_start(args, format);
	vdprintf(2, format, args);
	va_end(args);
	dprintf(2, " (errno %d)\n", error);
	_exit(1);
}

static inline double now_sec(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static inline void sleep_ms(long ms)
{
	struct timespec time = {ms / 1000, ms % 1000 * 1000000};

	while (nanosleep(&time, &time) != 0 && errno == EINTR)
		;
}

/* The calling thread runs on this CPU from now on; the node of it. */
static inline int run_on(int cpu)
{
	unsigned int now, node;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) != 0)
		die("CPU %d", cpu);
	if (syscall(SYS_getcpu, &now, &node, NULL) != 0 || (int)now != cpu)
		die("thread is on CPU %u, not on %d", now, cpu);
	return (int)node;
}

/* Where pages are: nodes, or negative errno values. */
static inline void where_are(int pid, void **page, int *node, size_t nr)
{
	if (syscall(SYS_move_pages, pid, nr, page, NULL, node, 0) != 0)
		die("move_pages");
}

#endif
