/*
 * The frame of the programs that run under the library.
 *
 * Each program is a table of rows; `program ROW` runs one of them in this process, so that a row
 * starts from a fresh heap, and `program --list` names them (the runner compares that with its own
 * list). A row passes when it returns, fails at the first CHECK that does not hold, and is skipped
 * with status 77 and a line "skip: REASON" on stdout.
 *
 * The programs use nothing of slabnode: they hold under any correct malloc. What holds only under
 * slabnode asks under_slabnode(), which the runner's modes turn on.
 */
#ifndef TESTS_PRELOAD_CHECK_H
#define TESTS_PRELOAD_CHECK_H

#ifndef _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB (1024UL * 1024UL)
#define KIB 1024UL

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* Neither the message nor the exit may need the heap that is being tested. */
__attribute__((noreturn, format(printf, 3, 4))) static inline void
check_fail(const char *file, int line, const char *fmt, ...)
{
	int err = errno;
	va_list ap;

	dprintf(2, "%s:%d: pid %d: ", file, line, (int)getpid());
	va_start(ap, fmt);
	vdprintf(2, fmt, ap);
	va_end(ap);
	dprintf(2, " (errno %d)\n", err);
	_exit(1);
}

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond))                                                                       \
			check_fail(__FILE__, __LINE__, "failed: %s", #cond);                       \
	} while (0)

#define CHECK_MSG(cond, ...)                                                                       \
	do {                                                                                       \
		if (!(cond))                                                                       \
			check_fail(__FILE__, __LINE__, __VA_ARGS__);                               \
	} while (0)

__attribute__((noreturn)) static inline void check_skip(const char *reason)
{
	dprintf(1, "skip: %s\n", reason);
	_exit(77);
}

static inline bool under_slabnode(void)
{
	const char *v = getenv("SLABNODE_TEST");

	return v && strcmp(v, "1") == 0;
}

/* How much work a row does: the runner raises TEST_SCALE for its long rows. */
static inline unsigned long scaled(unsigned long n)
{
	const char *v = getenv("TEST_SCALE");
	unsigned long s = v ? strtoul(v, NULL, 10) : 1;

	return n * (s ? s : 1);
}

/* xorshift64*: the same sequence everywhere, whatever libc's rand() does with memory. */
static inline uint64_t rnd(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * 0x2545f4914f6cdd1dULL;
}

/* A pattern that names the object it belongs to, over every byte of it. */
static inline void fill(void *ptr, size_t size, uint64_t id)
{
	unsigned char *p = (unsigned char *)ptr;
	uint64_t word = (id + 1) * 0x9e3779b97f4a7c15ULL;
	size_t i = 0;

	for (; i + 8 <= size; i += 8) {
		uint64_t v = word + i;

		memcpy(p + i, &v, 8);
	}
	for (; i < size; i++)
		p[i] = (unsigned char)(word >> 56);
}

/* Offset of the first byte group that is not the pattern, or -1 when all is intact. */
static inline ssize_t spoilt(const void *ptr, size_t size, uint64_t id)
{
	const unsigned char *p = (const unsigned char *)ptr;
	uint64_t word = (id + 1) * 0x9e3779b97f4a7c15ULL;
	size_t i = 0;

	for (; i + 8 <= size; i += 8) {
		uint64_t v;

		memcpy(&v, p + i, 8);
		if (v != word + i)
			return (ssize_t)i;
	}
	for (; i < size; i++)
		if (p[i] != (unsigned char)(word >> 56))
			return (ssize_t)i;
	return -1;
}

#define CHECK_INTACT(ptr, size, id)                                                                \
	do {                                                                                       \
		ssize_t off_ = spoilt((ptr), (size), (id));                                        \
		if (off_ >= 0)                                                                     \
			check_fail(__FILE__, __LINE__, "object %p of %zu bytes spoilt at %zd",     \
				   (void *)(ptr), (size_t)(size), off_);                           \
	} while (0)

static inline bool all_zero(const void *ptr, size_t size)
{
	const unsigned char *p = (const unsigned char *)ptr;

	if (size == 0)
		return true;
	return p[0] == 0 && memcmp(p, p + 1, size - 1) == 0;
}

/* A figure in KiB from a file of /proc, read without stdio: stdio would allocate. */
static inline long proc_kib(const char *path, const char *key)
{
	char buf[8192];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;
	char *at;

	if (fd < 0)
		return -1;
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	if (n <= 0)
		return -1;
	buf[n] = '\0';
	at = strstr(buf, key);
	return at ? strtol(at + strlen(key) + 1, NULL, 10) : -1;
}

static inline long status_kib(const char *key)
{
	return proc_kib("/proc/self/status", key);
}

static inline long rss_kib(void)
{
	return status_kib("VmRSS");
}

static inline double now_sec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* A row works until END, and then on until it HAD more than it WANTED: how far one comes in a time
 * is the machine's business.  Only what never comes ends it, before the runner does. */
static inline bool goes_on(double end, unsigned long had, unsigned long wanted)
{
	double now = now_sec();

	return now < end || (had <= wanted && now < end + 40);
}

static inline void sleep_ms(long ms)
{
	struct timespec ts = {ms / 1000, (ms % 1000) * 1000000};

	while (nanosleep(&ts, &ts) != 0 && errno == EINTR)
		;
}

/* Reaps a child and insists on its exit status. */
static inline void wait_exit(pid_t pid, int expected)
{
	int status;

	CHECK_MSG(pid > 0, "no child to wait for");
	while (waitpid(pid, &status, 0) < 0)
		CHECK(errno == EINTR);
	if (WIFSIGNALED(status))
		check_fail(__FILE__, __LINE__, "child %d ended by signal %d", (int)pid,
			   WTERMSIG(status));
	CHECK_MSG(WEXITSTATUS(status) == expected, "child %d ended with %d, expected %d", (int)pid,
		  WEXITSTATUS(status), expected);
}

/* The compiler may not conclude that an allocation is unused, or know its size. */
static inline void *opaque(void *ptr)
{
	__asm__ volatile("" : "+r"(ptr) : : "memory");
	return ptr;
}

static inline size_t opaque_size(size_t size)
{
	__asm__ volatile("" : "+r"(size));
	return size;
}

struct row {
	const char *name;
	void (*run)(void);
};

/* Names that begin with '_' are a row's own second half and are not listed. */
static inline int run_rows(int argc, char **argv, const struct row *rows, size_t n)
{
	if (argc == 2 && strcmp(argv[1], "--list") == 0) {
		for (size_t i = 0; i < n; i++)
			if (rows[i].name[0] != '_')
				dprintf(1, "%s\n", rows[i].name);
		return 0;
	}
	for (size_t i = 0; argc >= 2 && i < n; i++) {
		if (strcmp(argv[1], rows[i].name) == 0) {
			rows[i].run();
			return 0;
		}
	}
	dprintf(2, "usage: %s ROW | --list\n", argv[0]);
	return 2;
}

#endif
