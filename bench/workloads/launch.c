/* SPDX-License-Identifier: MIT */
/*
 * Runs one program, or the same one several times, and says what it cost:
 *
 *   slabnode-launch [-w BYTES] [-n COUNT] [-p LIBRARY] [-r FD] PROGRAM ARG...
 *
 * A small process of its own does this because the kernel charges a child, in
 * ru_maxrss, with what its parent's image had resident at the moment of exec;
 * a child of the Python runner would never appear smaller than Python.
 * The preload is set here, after the fork, so that it reaches nothing but the
 * measured program (and what that starts itself).
 *
 * Before the clock starts, a child touches BYTES of memory and ends. A
 * virtual machine's host backs pages at their first touch, and the measured
 * program shall find pages that are backed.
 *
 * While the program runs, its resident memory is read every 5 ms. The median
 * over the second half of the run is what it needs once it has started: a
 * peak alone tells nothing about how long it was held.
 *
 * The result is one JSON object on descriptor FD. The exit status is the
 * program's, or 128 plus the signal that ended it.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EXEC_FAILED   127
#define SAMPLE_NS     (5 * 1000 * 1000)
#define MOST_SAMPLES  (1 << 17) /* over ten minutes */
#define LEAST_SAMPLES 8

struct cost {
	double wall, user, sys;
	long peak_kib, steady_kib, minor_faults, switches;
};

static long samples[MOST_SAMPLES];

static void die(const char *what)
{
	fprintf(stderr, "slabnode-launch: %s: %s\n", what, strerror(errno));
	exit(EXEC_FAILED);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static double in_seconds(struct timeval time)
{
	return (double)time.tv_sec + (double)time.tv_usec * 1e-6;
}

static void touch_and_exit(size_t bytes)
{
	char *memory =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		_exit(1);
	for (size_t at = 0; at < bytes; at += 4096)
		memory[at] = 1;
	_exit(0);
}

static void warm(size_t bytes)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid == 0)
		touch_and_exit(bytes);
	if (waitpid(pid, &status, 0) < 0 || status != 0) {
		fprintf(stderr, "slabnode-launch: cannot touch %zu bytes\n", bytes);
		exit(EXEC_FAILED);
	}
}

static int by_value(const void *a, const void *b)
{
	long left = *(const long *)a, right = *(const long *)b;

	return (left > right) - (left < right);
}

static long resident_kib(int statm)
{
	char text[128];
	ssize_t length = pread(statm, text, sizeof(text) - 1, 0);
	long pages = 0;

	/* A process that has ended has no memory, and the file says nothing. */
	if (length <= 0)
		return 0;
	text[length] = '\0';
	if (sscanf(text, "%*d %ld", &pages) != 1)
		return 0;
	return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* Reads the child's memory until SIGCHLD comes, which is blocked; returns its steady size. */
static long watch(pid_t pid)
{
	const struct timespec interval = {.tv_nsec = SAMPLE_NS};
	unsigned int count = 0;
	sigset_t ended;
	char path[64];
	int statm;

	sigemptyset(&ended);
	sigaddset(&ended, SIGCHLD);
	snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	statm = open(path, O_RDONLY | O_CLOEXEC);
	if (statm < 0)
		return 0;
	while (sigtimedwait(&ended, NULL, &interval) < 0) {
		long kib = resident_kib(statm);

		if (kib && count < MOST_SAMPLES)
			samples[count++] = kib;
	}
	close(statm);
	if (count < LEAST_SAMPLES)
		return 0;
	qsort(samples + count / 2, count - count / 2, sizeof(*samples), by_value);
	return samples[count / 2 + (count - count / 2) / 2];
}

/* SIGCHLD is blocked here; `unblocked` is the mask that the program gets. */
static int run_once(char **argv, const char *preload, const sigset_t *unblocked, struct cost *cost)
{
	struct rusage usage;
	int status;
	double begin = now();
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid == 0) {
		sigprocmask(SIG_SETMASK, unblocked, NULL);
		if (preload && setenv("LD_PRELOAD", preload, 1))
			die("setenv");
		execvp(argv[0], argv);
		die(argv[0]);
	}
	cost->steady_kib = watch(pid);
	while (wait4(pid, &status, 0, &usage) < 0)
		if (errno != EINTR)
			die("wait4");
	cost->wall += now() - begin;
	cost->user += in_seconds(usage.ru_utime);
	cost->sys += in_seconds(usage.ru_stime);
	cost->minor_faults += usage.ru_minflt;
	cost->switches += usage.ru_nvcsw + usage.ru_nivcsw;
	if (usage.ru_maxrss > cost->peak_kib)
		cost->peak_kib = usage.ru_maxrss;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv)
{
	struct cost cost = {0};
	const char *preload = NULL;
	unsigned long count = 1;
	sigset_t ended, unblocked;
	size_t warm_bytes = 0;
	int result_fd = STDERR_FILENO;
	int status = 0;
	int option;

	while ((option = getopt(argc, argv, "+w:n:p:r:")) != -1) {
		if (option == 'w')
			warm_bytes = strtoull(optarg, NULL, 10);
		else if (option == 'n')
			count = strtoul(optarg, NULL, 10);
		else if (option == 'p')
			preload = optarg;
		else if (option == 'r')
			result_fd = (int)strtol(optarg, NULL, 10);
		else
			return 2;
	}
	if (optind == argc) {
		fputs("usage: slabnode-launch [-w BYTES] [-n COUNT] [-p LIBRARY] [-r FD] "
		      "PROGRAM ARG...\n",
		      stderr);
		return 2;
	}
	if (result_fd > STDERR_FILENO && fcntl(result_fd, F_SETFD, FD_CLOEXEC))
		die("result descriptor");
	if (warm_bytes)
		warm(warm_bytes);
	sigemptyset(&ended);
	sigaddset(&ended, SIGCHLD);
	sigprocmask(SIG_BLOCK, &ended, &unblocked);
	for (unsigned long i = 0; i < count && status == 0; i++)
		status = run_once(argv + optind, preload, &unblocked, &cost);
	dprintf(result_fd,
		"{\"status\":%d,\"wall_s\":%.6f,\"user_s\":%.6f,\"sys_s\":%.6f,\"peak_kib\":%ld,"
		"\"steady_kib\":%ld,\"minor_faults\":%ld,\"switches\":%ld}\n",
		status, cost.wall, cost.user, cost.sys, cost.peak_kib, cost.steady_kib,
		cost.minor_faults, cost.switches);
	return status;
}
