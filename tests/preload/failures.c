/*
 * Every system call for memory that the allocator makes fails once, in a process of its own, from
 * its first moment on; then it and all that follow. A failure that stays alone is not noticed by
 * the program. When they last, NULL and ENOMEM are the answer, and nothing that lives is touched.
 *
 * libnth.so, preloaded, lets the calls fail.
 */
#include "proc.h"

#include <malloc.h>
#include <pthread.h>
#include <signal.h>

extern unsigned long nth_struck __attribute__((weak));
extern void nth_begin(void) __attribute__((weak));

enum { INTACT = 0, NOT_REACHED = 3 };

static bool lasting; /* NULL may be an answer */

static struct {
	void *ptr;
	size_t size;
} o[400];

static void drop(size_t i)
{
	if (o[i].ptr)
		CHECK_INTACT(o[i].ptr, o[i].size, i);
	free(o[i].ptr);
	o[i].ptr = NULL;
}

static void keep(size_t i, void *p, size_t size)
{
	if (!p) {
		CHECK_MSG(lasting && nth_struck > 0, "NULL for %zu bytes", size);
		CHECK(errno == ENOMEM);
		return;
	}
	o[i].ptr = p;
	o[i].size = size;
	fill(p, size, i);
}

static void change(size_t i, uint64_t *seed)
{
	size_t size = rnd(seed) % (i % 40 == 0 ? MIB : i % 4 == 0 ? 60000 : 900) + 1;
	void *p;

	switch (rnd(seed) % 3) {
	case 0:
		drop(i);
		p = calloc(1, size);
		CHECK(!p || all_zero(p, size));
		keep(i, p, size);
		break;
	case 1:
		if (o[i].ptr)
			CHECK_INTACT(o[i].ptr, o[i].size, i);
		p = realloc(o[i].ptr, size);
		if (!p && o[i].ptr) { /* refused: the object is as it was */
			CHECK_INTACT(o[i].ptr, o[i].size, i);
			CHECK(lasting && errno == ENOMEM);
		} else {
			keep(i, p, size);
		}
		break;
	default:
		drop(i);
		keep(i, malloc(size), size);
	}
}

static void *on_thread(void *arg)
{
	uint64_t seed = 77;

	for (size_t i = 200; i < ARRAY_SIZE(o); i++)
		change(i, &seed);
	return arg;
}

/* Blocks that grow in turn, beyond a segment at last, are in each other's way: they move. */
static void grow(void)
{
	for (size_t size = 2 * MIB; size <= 18 * MIB; size *= 3) {
		for (size_t i = 0; i < 3; i++) {
			void *p = realloc(o[i].ptr, size);

			CHECK(p || (lasting && errno == ENOMEM));
			if (p)
				keep(i, p, size);
		}
	}
}

/* In a process of its own: exit status NOT_REACHED when there were fewer calls. */
static void act(void)
{
	const char *text = getenv("TEST_NTH");
	uint64_t seed = 5;
	pthread_t t;

	if (!&nth_struck)
		check_skip("libnth.so is not preloaded");
	lasting = text && strchr(text, '+');
	nth_begin();
	for (int n = 0; n < 600; n++)
		change(rnd(&seed) % 200, &seed);
	if (pthread_create(&t, NULL, on_thread, NULL) == 0)
		CHECK(pthread_join(t, NULL) == 0);
	grow();
	for (size_t i = 0; i < ARRAY_SIZE(o); i++)
		drop(i);
	malloc_trim(0);
	for (size_t i = 0; i < ARRAY_SIZE(o); i++)
		change(i, &seed);
	for (size_t i = 0; i < ARRAY_SIZE(o); i++)
		drop(i);
	_exit(nth_struck > 0 ? INTACT : NOT_REACHED);
}

static bool says_no_memory(int fd)
{
	char text[4096];
	ssize_t n = read(fd, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	return strstr(text, "no memory for the allocator's first structures") != NULL;
}

/* The exit status of a child in which calls fail as `which` says. */
static int child(const char *which)
{
	const char *self = own_path();
	int said[2], status;
	pid_t pid;

	CHECK(pipe(said) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		CHECK(setenv("TEST_NTH", which, 1) == 0);
		CHECK(dup2(said[1], 2) == 2);
		close(said[0]);
		close(said[1]);
		alarm(60);
		execl(self, self, "_act", NULL);
		_exit(9);
	}
	close(said[1]);
	CHECK(waitpid(pid, &status, 0) == pid);
	/* Not one page at the very start: that is said, and nothing can be done without it. */
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && says_no_memory(said[0]))
		status = INTACT;
	close(said[0]);
	CHECK_MSG(WIFEXITED(status), "%s: ended by signal %d", which, WTERMSIG(status));
	return WEXITSTATUS(status);
}

/* Each one up to a number, then ever fewer, to the last. */
static void each(const char *call, const char *how)
{
	unsigned long n = 1, most = scaled(6), reached = 0;
	char which[40];

	for (;; n += n < most ? 1 : n - n / 3) {
		int status;

		snprintf(which, sizeof(which), "%s:%lu%s", call, n, how);
		status = child(which);
		if (status == NOT_REACHED)
			break;
		if (status == 77)
			check_skip("libnth.so is not preloaded");
		CHECK_MSG(status == INTACT, "%s: exit status %d", which, status);
		reached = n;
	}
	CHECK_MSG(reached > 0 || !under_slabnode(), "there was no call of %s", call);
}

static void mmap_fails(void)
{
	each("mmap", "");
	each("mmap", "+");
}

static void munmap_fails(void)
{
	each("munmap", "");
	each("munmap", "+");
}

static void mprotect_fails(void)
{
	each("mprotect", "");
	each("mprotect", "+");
}

static void madvise_fails(void)
{
	each("madvise", "");
	each("madvise", "+");
}

static void mremap_fails(void)
{
	each("mremap", "");
	each("mremap", "+");
}

static const struct row rows[] = {
	{"mmap", mmap_fails},	    {"munmap", munmap_fails}, {"mprotect", mprotect_fails},
	{"madvise", madvise_fails}, {"mremap", mremap_fails}, {"_act", act},
};

int main(int argc, char **argv)
{
	return run_rows(argc, argv, rows, ARRAY_SIZE(rows));
}
