/*
 * Pointers that are not the heap's. The program ends by SIGABRT, and stderr has exactly one line,
 * which begins "slabnode:" and names the pointer; only a misuse that cannot be told from a valid
 * call may pass. Each misuse happens in a process of its own. These rows hold under slabnode only.
 */
#include "check.h"

#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>

static char self[4096];

enum outcome { ENDED, UNNOTICED };

/* Exactly one line, with the prefix, and the pointer in it unless the caller has none to expect. */
static void check_line(const char *text, const char *pointer)
{
	const char *nl = strchr(text, '\n');

	CHECK_MSG(strncmp(text, "slabnode:", 9) == 0, "stderr: \"%s\"", text);
	CHECK_MSG(nl && nl[1] == '\0', "not exactly one line: \"%s\"", text);
	CHECK_MSG(!pointer[0] || strstr(text, pointer), "%s is not named in \"%s\"", pointer, text);
}

/* The misuse writes the pointer it is about to misuse to stdout, so that the line can be checked.
 */
static enum outcome run(const char *row)
{
	char err[4096], pointer[64] = "";
	int errpipe[2], outpipe[2], status;
	size_t n = 0;
	ssize_t got;
	pid_t pid;

	if (!under_slabnode())
		check_skip("only slabnode promises this");
	got = readlink("/proc/self/exe", self, sizeof(self) - 1);
	CHECK(got > 0);
	self[got] = '\0';
	CHECK(pipe(errpipe) == 0 && pipe(outpipe) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		dup2(errpipe[1], 2);
		dup2(outpipe[1], 1);
		execl(self, self, row, NULL);
		_exit(9);
	}
	close(errpipe[1]);
	close(outpipe[1]);
	while (n < sizeof(err) - 1 && (got = read(errpipe[0], err + n, sizeof(err) - 1 - n)) > 0)
		n += (size_t)got;
	err[n] = '\0';
	got = read(outpipe[0], pointer, sizeof(pointer) - 1);
	pointer[got > 0 ? got : 0] = '\0';
	close(errpipe[0]);
	close(outpipe[0]);
	while (waitpid(pid, &status, 0) < 0)
		CHECK(errno == EINTR);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		CHECK_MSG(n == 0, "it went on, but said \"%s\"", err);
		return UNNOTICED;
	}
	CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT,
		  "status %x instead of SIGABRT, stderr: %s", (unsigned)status, err);
	check_line(err, pointer);
	return ENDED;
}

static void must_end(const char *row)
{
	CHECK_MSG(run(row) == ENDED, "%s went unnoticed", row);
}

/* Where noticing is not promised at every level, going on is no failure, and is said. */
static void may_end(const char *row)
{
	if (run(row) == UNNOTICED)
		check_skip("not noticed at this hardening level");
}

static void *announce(void *p)
{
	dprintf(1, "%p", p);
	return opaque(p);
}

static void do_stack(void)
{
	char buf[256] __attribute__((aligned(64)));

	memset(buf, 0, sizeof(buf));
	free(announce(buf + 64));
}

static void do_mmap(void)
{
	char *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	free(announce(p + 4096));
}

static void do_static(void)
{
	static char buf[4096] __attribute__((aligned(64)));

	free(announce(buf + 128));
}

static void do_unmapped(void)
{
	free(announce((void *)0x123456780UL));
}

static void do_low(void)
{
	free(announce((void *)16UL));
}

static void do_high(void)
{
	free(announce((void *)0xffffffffffffff00UL));
}

/* The middle of all addresses: no wrap of a subtraction may make a valid one of it. */
static void do_half(void)
{
	free(announce((void *)0x8000000000000010UL));
}

static void do_realloc(void)
{
	static char buf[4096] __attribute__((aligned(64)));
	void *p = realloc(announce(buf + 128), 500);

	CHECK(p);
}

static void *foreign_in_thread(void *arg)
{
	do_stack();
	return arg;
}

static void do_thread(void)
{
	pthread_t t;

	for (int i = 0; i < 1000; i++)
		free(opaque(malloc((size_t)i * 10)));
	CHECK(pthread_create(&t, NULL, foreign_in_thread, NULL) == 0);
	pthread_join(t, NULL);
}

/* Address space of the heap that never held an object: far behind the last one. */
static void do_beyond(void)
{
	char *p = malloc(100);

	CHECK(p);
	free(announce((void *)(((uintptr_t)p + (64UL << 20)) & ~63UL)));
}

static void do_middle_small(void)
{
	char *p = malloc(1000);

	CHECK(p);
	free(announce(p + 8));
}

static void do_middle_large(void)
{
	char *p = malloc(8 * MIB);

	CHECK(p);
	free(announce(p + 4096));
}

static void do_double_small(void)
{
	void *p = malloc(100);

	CHECK(p);
	announce(p);
	free(opaque(p));
	free(opaque(p));
}

static void do_double_large(void)
{
	void *p = malloc(8 * MIB);

	CHECK(p);
	announce(p);
	free(opaque(p));
	free(opaque(p));
}

#define MUST(name)                                                                                 \
	static void name(void)                                                                     \
	{                                                                                          \
		must_end("_" #name);                                                               \
	}
#define MAY(name)                                                                                  \
	static void name(void)                                                                     \
	{                                                                                          \
		may_end("_" #name);                                                                \
	}

MUST(foreign_stack)
MUST(foreign_mmap)
MUST(foreign_static)
MUST(foreign_unmapped)
MUST(foreign_low)
MUST(foreign_high)
MUST(foreign_half)
MUST(foreign_realloc)
MUST(foreign_thread)
MAY(beyond)
MAY(middle_small)
MAY(middle_large)
MAY(double_small)
MAY(double_large)

#define PAIR(name, action)                                                                         \
	{#name, name},                                                                             \
	{                                                                                          \
		"_" #name, action                                                                  \
	}

static const struct row rows[] = {
	PAIR(foreign_stack, do_stack),	     PAIR(foreign_mmap, do_mmap),
	PAIR(foreign_static, do_static),     PAIR(foreign_unmapped, do_unmapped),
	PAIR(foreign_low, do_low),	     PAIR(foreign_high, do_high),
	PAIR(foreign_half, do_half),	     PAIR(foreign_realloc, do_realloc),
	PAIR(foreign_thread, do_thread),     PAIR(beyond, do_beyond),
	PAIR(middle_small, do_middle_small), PAIR(middle_large, do_middle_large),
	PAIR(double_small, do_double_small), PAIR(double_large, do_double_large),
};

int main(int argc, char **argv)
{
	return run_rows(argc, argv, rows, ARRAY_SIZE(rows));
}
