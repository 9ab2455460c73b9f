/*
 * apart.c - hwloc reads a description in a process of its own.
 *
 * hwloc 2.9 crashes over some XML files that no lstopo wrote, and where memory is short, since it
 * does not look at what malloc() returns.  That must not be the end of a program that was only
 * started with a bad option.  So a child reads, and leaves what it found in memory that it shares
 * with its parent; when it dies, or computes too long, the description is refused like any other
 * bad one.
 *
 * The child is made by a bare clone, with no signal for its end: the program never hears of it, no
 * handler of a fork runs, and no library has to be ready for one.  Where there can be none (a
 * filter, a limit, an emulator) the description is read here.
 */
#include "sim.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE 20 /* seconds of processor time; the largest description takes two */

/* What the child leaves. */
struct report {
	int error;
	char message[256];
	struct sn_topology topology;
	size_t nr_cpus;
	uint8_t cpu_node[SIM_MOST_CPUS];
};

static struct report *report;

static void *table_of_report(size_t size)
{
	return size <= sizeof(report->cpu_node) ? report->cpu_node : NULL;
}

/* Nothing of its end is to be seen: no words of hwloc's, no core file. */
static void go_quiet(void)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	if (null < 0 || dup2(null, STDERR_FILENO) < 0)
		close(STDERR_FILENO);
	prctl(PR_SET_DUMPABLE, 0);
}

/* An end in any case, whatever the program has handlers for by now, or inherited. */
static void make_mortal(void)
{
	static const int deadly[] = {SIGXCPU, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
	struct rlimit limit;
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < SN_ARRAY_SIZE(deadly); i++) {
		signal(deadly[i], SIG_DFL);
		sigaddset(&set, deadly[i]);
	}
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	if (getrlimit(RLIMIT_CPU, &limit) == 0 && limit.rlim_cur > PATIENCE) {
		limit.rlim_cur = PATIENCE;
		setrlimit(RLIMIT_CPU, &limit);
	}
}

static _Noreturn void read_in_child(const struct sn_module_args *args)
{
	go_quiet();
	make_mortal();
	sim.meta_alloc = table_of_report;
	report->error = sim_topology_read(args, &report->topology, report->message,
					  sizeof(report->message));
	report->nr_cpus = sim.nr_cpus;
	_exit(0);
}

/* 0: the child left a report. */
static int wait_for(pid_t child, const struct sn_module_args *args, char *message,
		    size_t message_size)
{
	const char *what = args->xml ? "file" : "description";
	int status = 0;

	while (waitpid(child, &status, __WALL) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU)
		snprintf(message, message_size, "hwloc did not get through the %s in %d s", what,
			 PATIENCE);
	else
		snprintf(message, message_size, "hwloc crashes over the %s \"%.100s\"", what,
			 args->description);
	return -EINVAL;
}

/* The report becomes what sim_topology_read() would have left here. */
static int take_over(struct sn_topology *topology, char *message, size_t message_size)
{
	int error;

	if (report->error != 0) {
		snprintf(message, message_size, "%s", report->message);
		return report->error;
	}
	error = sim_cpus_init(report->nr_cpus, message, message_size);
	if (error != 0)
		return error;
	memcpy(sim.cpu_node, report->cpu_node, report->nr_cpus);
	*topology = report->topology;
	return 0;
}

static int read_apart(pid_t child, const struct sn_module_args *args, struct sn_topology *topology,
		      char *message, size_t message_size)
{
	int error = wait_for(child, args, message, message_size);

	return error != 0 ? error : take_over(topology, message, message_size);
}

int sim_topology_read_apart(const struct sn_module_args *args, struct sn_topology *topology,
			    char *message, size_t message_size)
{
	pid_t child = -1;
	int error;

	report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (report != MAP_FAILED) {
		report->error = -EINVAL; /* until the child knows better */
		strcpy(report->message, "nothing was read");
		child = (pid_t)syscall(SYS_clone, 0L, NULL, NULL, NULL, NULL);
	}
	if (child == 0)
		read_in_child(args);
	error = child < 0 ? sim_topology_read(args, topology, message, message_size)
			  : read_apart(child, args, topology, message, message_size);
	if (report != MAP_FAILED)
		munmap(report, sizeof(*report));
	return error;
}
