/*
 * handled.c - misuses in a program that handles SIGABRT, as those with crash reports do: its
 * handler allocates, frees, forks, in the thread that was found out, and the program ends all the
 * same.
 *
 * The handler writes the expected line when it is done; so a row fails when it does not get there.
 */
#include "corruption.h"

#include <signal.h>

#define SIZES 8

static const size_t sizes[SIZES] = {1, 100, 1000, 5000, 32000, 100000, 600000, 8 * MIB};
static char *before[SIZES]; /* what the handler finds */
static void *misused;

static void check_memory(char *p, size_t size)
{
	CHECK(p);
	memset(p, 7, size);
	CHECK(malloc_usable_size(p) >= size);
}

static void use_heap(void)
{
	for (size_t i = 0; i < SIZES; i++) {
		char *p = malloc(sizes[i]), *q;

		check_memory(p, sizes[i]);
		q = realloc(opaque(p), sizes[i] * 3);
		CHECK(q && q[sizes[i] - 1] == 7);
		check_memory(q, sizes[i] * 3);
		free(q);
		check_memory(before[i], sizes[i]);
		q = realloc(opaque(before[i]), sizes[i] * 3);
		CHECK(q && q[sizes[i] - 1] == 7);
		free(q);
	}
}

static void allocate(int sig)
{
	(void)sig;
	use_heap();
	expect(misused, "double free");
}

static void fork_first(int sig)
{
	pid_t pid = fork();
	int status;

	CHECK(pid >= 0);
	if (pid == 0) {
		use_heap();
		_exit(5);
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 5);
	allocate(sig);
}

/* What it does wrong itself is not told: it ends the program at once. */
static void err_again(int sig)
{
	char here[64];

	(void)sig;
	expect(misused, "double free");
	CHECK(realloc(opaque(here + 16), 100) == NULL);
	_exit(8);
}

static void *freed_before(size_t size, void (*handler)(int))
{
	for (size_t i = 0; i < SIZES; i++)
		CHECK(before[i] = malloc(sizes[i]));
	misused = malloc(size);
	CHECK(misused && signal(SIGABRT, handler) != SIG_ERR);
	alarm(60);
	free(opaque(misused));
	return opaque(misused);
}

static void handled_object(void)
{
	free(freed_before(100, allocate));
}

/* Noticed when the array is emptied, with locks held. */
static void handled_trim(void)
{
	free(freed_before(100, allocate));
	malloc_trim(0);
}

static void handled_block(void)
{
	free(freed_before(100000, allocate));
}

static void handled_span(void)
{
	free(freed_before(9 * MIB, allocate));
}

static void handled_fork(void)
{
	free(freed_before(100000, fork_first));
}

/* In a program with threads fork takes all locks. */
static void *in_block(void *arg)
{
	handled_block();
	return arg;
}

static void *in_fork(void *arg)
{
	handled_fork();
	return arg;
}

static void handled_thread(void)
{
	in_thread(in_block, NULL);
}

static void handled_fork_threads(void)
{
	in_thread(in_fork, NULL);
}

static void handled_again(void)
{
	free(freed_before(100000, err_again));
}

static const struct misuse misuses[] = {
	FROM(1, handled_object),       FROM(0, handled_trim),  FROM(0, handled_block),
	FROM(0, handled_span),	       FROM(0, handled_fork),  FROM(0, handled_thread),
	FROM(0, handled_fork_threads), FROM(0, handled_again),
};

const struct kind handled = {
	.misuses = misuses,
	.nr_misuses = ARRAY_SIZE(misuses),
};
