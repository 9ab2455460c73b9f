/*
 * The kernel's part of an offline or online: see kernel_job.h.
 *
 * A write of "offline" to a block's state lasts until the kernel has moved everything away, which
 * may be for ever; a signal to the writer ends it, and the block is online as before. So a child
 * writes, and tells of each block by a pipe; whoever asked draws progress, and sends the signal on
 * Ctrl-C or when the time is over. The child dies with its parent.
 *
 * Blocks that the kernel refuses with EBUSY or EAGAIN are tried again when the others are done:
 * their pages are often held for moments only.
 */
#include "kernel_job.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "exchange.h"
#include "machine.h"
#include "util.h"

#define TICK_MS	       200
#define RETRY_FOR_MS   5000 /* as an offline does with pages that would not move */
#define RETRY_AFTER_MS 100

struct outcome {
	size_t index;
	int result;
};

static volatile sig_atomic_t stopped;

static void stop(int signal)
{
	(void)signal;
	stopped = 1;
}

/* 0 or an errno value. */
int write_block_state(unsigned int block, const char *word)
{
	char *path = block_path(block, "state");
	int file = open(path, O_WRONLY | O_CLOEXEC), result = 0;

	free(path);
	if (file < 0)
		return errno;
	if (write(file, word, strlen(word)) < 0)
		result = errno;
	close(file);
	return result;
}

static int change_block(const struct kernel_job *job, const struct block_job *block)
{
	int result = write_block_state(block->number, job->word);

	if (result == EINVAL && job->second_word)
		result = write_block_state(block->number, job->second_word);
	return result;
}

static bool worth_another_try(int result)
{
	return result == EBUSY || result == EAGAIN || result == BLOCK_UNTOUCHED;
}

/* Tries all that are not done; whether some are worth another try. */
static bool try_blocks(const struct kernel_job *job, int report)
{
	bool again = false;

	for (size_t i = 0; i < job->count && !stopped; i++) {
		struct block_job *block = &job->blocks[i];
		struct outcome outcome = {.index = i};

		if (!worth_another_try(block->result))
			continue;
		outcome.result = block->result = change_block(job, block);
		if (write(report, &outcome, sizeof(outcome)) != sizeof(outcome))
			_exit(1);
		if (block->result && !worth_another_try(block->result))
			_exit(0);
		again |= block->result != 0;
	}
	return again && !stopped;
}

static _Noreturn void try_all(const struct kernel_job *job, int report)
{
	const struct timespec pause = {.tv_nsec = RETRY_AFTER_MS * 1000000L};
	bool again = try_blocks(job, report);
	uint64_t until = job->deadline ? job->deadline : now_ms() + RETRY_FOR_MS;

	while (again && now_ms() < until) {
		nanosleep(&pause, NULL);
		again = !stopped && try_blocks(job, report);
	}
	_exit(0);
}

/* A write is to end with EINTR, not to begin anew. */
static void take_signals(void)
{
	struct sigaction action = {.sa_handler = stop};
	sigset_t none;

	sigemptyset(&none);
	sigemptyset(&action.sa_mask);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static void default_signals(void)
{
	sigset_t none;

	sigemptyset(&none);
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static pid_t begin(const struct kernel_job *job, int report)
{
	pid_t parent = getpid(), child = fork();

	if (child)
		return child;
	prctl(PR_SET_PDEATHSIG, job->command ? SIGTERM : SIGKILL);
	if (getppid() != parent)
		_exit(1);
	if (!job->command) {
		take_signals();
		try_all(job, report);
	}
	default_signals();
	execvp(job->command[0], job->command);
	complain("%s: %s", job->command[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

static bool take_outcome(struct kernel_job *job, int report)
{
	struct outcome outcome;

	if (read(report, &outcome, sizeof(outcome)) != sizeof(outcome))
		return false;
	job->blocks[outcome.index].result = outcome.result;
	job->done += !outcome.result;
	return true;
}

/*
 * Ctrl-C and the end of the time are passed on. To our own writer again and again, since a signal
 * just before a write is one that the write does not see; to a command once.
 */
static void pass_on(struct kernel_job *job, pid_t child)
{
	bool interrupt = take_interrupt(), late = job->deadline && now_ms() >= job->deadline;
	bool again = !job->command && (job->interrupted || job->late);

	if (interrupt || (late && !job->late) || again)
		kill(child, SIGINT);
	job->interrupted |= interrupt;
	job->late |= late;
}

/*
 * Until the writer has closed its end of the pipe, or the command has ended. Signals are taken
 * while it sleeps, as in exchange.c.
 */
static void watch(struct kernel_job *job, int descriptor, pid_t child, const sigset_t *mask)
{
	struct pollfd poll = {.fd = descriptor, .events = POLLIN};
	const struct timespec tick = {.tv_nsec = TICK_MS * 1000000L};

	for (;;) {
		int ready = ppoll(&poll, 1, &tick, mask);

		pass_on(job, child);
		if (ready > 0 && (job->command || !take_outcome(job, descriptor)))
			return;
		if (job->on_tick)
			job->on_tick(job, job->data);
	}
}

/* A kernel before 5.3 has no descriptors of processes: then Ctrl-C reaches a command only from the
 * terminal. */
static void watch_command(struct kernel_job *job, pid_t child, const sigset_t *mask)
{
	int descriptor = (int)syscall(SYS_pidfd_open, child, 0);

	if (descriptor < 0)
		return;
	watch(job, descriptor, child, mask);
	close(descriptor);
}

void run_kernel_job(struct kernel_job *job)
{
	sigset_t mask;
	int ends[2];
	pid_t child;

	if (!job->count && !job->command)
		return;
	if (pipe2(ends, O_CLOEXEC)) {
		job->status = -1;
		return;
	}
	hold_signals(&mask);
	child = begin(job, ends[1]);
	close(ends[1]);
	job->status = -1;
	if (child > 0) {
		if (job->command)
			watch_command(job, child, &mask);
		else
			watch(job, ends[0], child, &mask);
		while (waitpid(child, &job->status, 0) < 0 && errno == EINTR)
			;
	}
	close(ends[0]);
	release_signals(&mask);
	/* One that came together with the end: the terminal's reaches the child as well. */
	job->interrupted |= take_interrupt();
}
