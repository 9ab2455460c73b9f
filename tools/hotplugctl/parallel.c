/*
 * Work in several processes: see parallel.h. Each writes what it found as JSON into a pipe, at its
 * end; whoever started them reads one pipe after the other.
 */
#include "parallel.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hotplugctl.h"
#include "util.h"

struct helper {
	pid_t pid;
	FILE *report;
};

static const int passed_on[] = {SIGINT, SIGTERM, SIGHUP};
#define NR_PASSED_ON (sizeof(passed_on) / sizeof(passed_on[0]))

static struct helper *helpers;
static volatile size_t nr_helpers;

/* Whether they got it already, as from a terminal, does no harm. */
static void pass_on(int number)
{
	for (size_t i = 0; i < nr_helpers; i++)
		kill(helpers[i].pid, number);
}

static struct helper start_helper(size_t index, json_t *(*work)(void *data, size_t index),
				  void *data, const sigset_t *mask)
{
	struct helper helper = {0};
	int ends[2];

	if (pipe(ends) || (helper.pid = fork()) < 0) {
		complain("no process for a part of the work: %s", strerror(errno));
		pass_on(SIGTERM);
		exit(EXIT_NO_PROCESS);
	}
	if (helper.pid) {
		close(ends[1]);
		helper.report = fdopen(ends[0], "r");
		return helper;
	}
	close(ends[0]);
	nr_helpers = 0;
	sigprocmask(SIG_SETMASK, mask, NULL);
	json_dumpfd(work(data, index), ends[1], JSON_COMPACT);
	_exit(EXIT_DONE);
}

static json_t *collect(struct helper *helper)
{
	json_t *report = json_loadf(helper->report, JSON_DISABLE_EOF_CHECK, NULL);

	fclose(helper->report);
	waitpid(helper->pid, NULL, 0);
	return report ? report : json_null();
}

json_t *run_parallel(size_t count, json_t *(*work)(void *data, size_t index), void *data)
{
	struct sigaction action = {.sa_handler = pass_on, .sa_flags = SA_RESTART};
	struct sigaction before[NR_PASSED_ON];
	json_t *reports = json_array();
	sigset_t held, mask;

	fflush(stdout);
	sigemptyset(&action.sa_mask);
	sigemptyset(&held);
	for (size_t i = 0; i < NR_PASSED_ON; i++)
		sigaddset(&held, passed_on[i]);
	/* A signal while they are started would end us alone, and leave them behind. */
	sigprocmask(SIG_BLOCK, &held, &mask);
	helpers = grow(NULL, count * sizeof(*helpers));
	for (nr_helpers = 0; nr_helpers < count; nr_helpers++)
		helpers[nr_helpers] = start_helper(nr_helpers, work, data, &mask);
	for (size_t i = 0; i < NR_PASSED_ON; i++)
		sigaction(passed_on[i], &action, &before[i]);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	for (size_t i = 0; i < count; i++)
		json_array_append_new(reports, collect(&helpers[i]));
	for (size_t i = 0; i < NR_PASSED_ON; i++)
		sigaction(passed_on[i], &before[i], NULL);
	nr_helpers = 0;
	free(helpers);
	return reports;
}
