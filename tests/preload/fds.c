/*
 * The descriptors are the program's: it sees none of the library's, may close and reuse every
 * number, and what it does with them harms neither side.
 */
#include "proc.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <linux/close_range.h>

#define MOST 4096

static void open_fds(bool *seen)
{
	struct entries dir;
	const char *name;

	entries_open(&dir, "/proc/self/fd");
	CHECK(dir.fd >= 0);
	memset(seen, 0, MOST * sizeof(seen[0]));
	while ((name = entries_next(&dir)) != NULL) {
		int fd = atoi(name);

		CHECK_MSG(fd < MOST, "descriptor %d is open", fd);
		if (fd != dir.fd)
			seen[fd] = true;
	}
}

/* By one call; where the system has none, one by one. */
static void close_from(int first)
{
	if (close_range((unsigned int)first, ~0U, 0) == 0)
		return;
	CHECK(errno == ENOSYS);
	for (int fd = first; fd < MOST; fd++)
		close(fd);
}

static void *toucher(void *arg)
{
	for (int i = 0; i < 50000; i++)
		free(opaque(malloc((size_t)i % 3000)));
	return arg;
}

/* Enough of everything to start whatever the library starts late. */
static void use_memory(void)
{
	static void *p[64];
	pthread_t t[4];

	for (size_t i = 0; i < ARRAY_SIZE(p); i++) {
		p[i] = malloc(MIB);
		CHECK(p[i]);
		memset(p[i], 1, MIB);
	}
	for (size_t i = 0; i < 4; i++)
		CHECK(pthread_create(&t[i], NULL, toucher, NULL) == 0);
	for (size_t i = 0; i < 4; i++)
		CHECK(pthread_join(t[i], NULL) == 0);
	for (size_t i = 0; i < ARRAY_SIZE(p); i++)
		free(p[i]);
	sleep_ms(200);
	for (int i = 0; i < 100000; i++)
		free(opaque(malloc((size_t)i % 5000)));
}

static void check_same(const bool *before, const bool *after)
{
	for (int fd = 0; fd < MOST; fd++)
		CHECK_MSG(before[fd] == after[fd], "descriptor %d was %s by somebody", fd,
			  after[fd] ? "opened" : "closed");
}

static void invisible(void)
{
	static bool before[MOST], after[MOST];

	open_fds(before);
	use_memory();
	open_fds(after);
	check_same(before, after);
}

/* Nor does a child inherit any, by fork or by exec. */
static void fd_list(void)
{
	static bool seen[MOST];

	open_fds(seen);
	for (int fd = 3; fd < MOST; fd++)
		CHECK_MSG(!seen[fd], "descriptor %d was inherited", fd);
}

static void not_inherited(void)
{
	const char *self = own_path();
	pid_t pid;

	close_from(3);
	use_memory();
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		fd_list();
		execl(self, self, "_fd-list", NULL);
		_exit(9);
	}
	wait_exit(pid, 0);
}

/* The numbers are free from 3 on, in order, as the program expects. */
static void write_files(int *fds, size_t n, const char *dir)
{
	char path[256];

	for (size_t i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/%zu", dir, i);
		fds[i] = open(path, O_CREAT | O_RDWR | O_TRUNC, 0600);
		CHECK_MSG(fds[i] == (int)i + 3, "open gave %d, expected %zu", fds[i], i + 3);
		CHECK(pwrite(fds[i], &i, sizeof(i), 0) == sizeof(i));
	}
}

static void check_files(int *fds, size_t n, const char *dir)
{
	char path[256];

	for (size_t i = 0; i < n; i++) {
		struct stat st;
		size_t v;

		CHECK(fstat(fds[i], &st) == 0 && st.st_size == sizeof(v));
		CHECK(pread(fds[i], &v, sizeof(v), 0) == sizeof(v) && v == i);
		CHECK(close(fds[i]) == 0);
		snprintf(path, sizeof(path), "%s/%zu", dir, i);
		unlink(path);
	}
	rmdir(dir);
}

static void close_all(void)
{
	char dir[] = "/tmp/slabnode-test-XXXXXX";
	int fds[100];

	CHECK(mkdtemp(dir));
	use_memory();
	for (int round = 0; round < 5; round++) {
		close_from(3);
		use_memory();
	}
	write_files(fds, ARRAY_SIZE(fds), dir);
	use_memory();
	check_files(fds, ARRAY_SIZE(fds), dir);
}

/* Even 0, 1 and 2: a program that closes them and opens files of its own there. */
static void close_standard(void)
{
	char path[] = "/tmp/slabnode-test-XXXXXX";
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		int fd;
		struct stat st;

		close_from(0);
		fd = mkstemp(path);
		if (fd != 0 || dup(0) != 1 || dup(0) != 2)
			_exit(3);
		unlink(path);
		use_memory();
		_exit(fstat(2, &st) == 0 && st.st_size == 0 ? 0 : 4);
	}
	wait_exit(pid, 0);
}

/* No descriptor to be had: the allocator needs none. */
static void none_left(void)
{
	struct rlimit rl = {3, 3};

	close_from(3);
	CHECK(setrlimit(RLIMIT_NOFILE, &rl) == 0);
	use_memory();
	CHECK(open("/dev/null", O_RDONLY) < 0 && errno == EMFILE);
}

static void as_daemon(void)
{
	int pipefd[2], ok = 0;
	pid_t pid;

	use_memory();
	CHECK(pipe(pipefd) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		int yes = 1;

		CHECK(daemon(0, 0) == 0);
		use_memory();
		CHECK(write(pipefd[1], &yes, sizeof(yes)) == sizeof(yes));
		_exit(0);
	}
	close(pipefd[1]);
	wait_exit(pid, 0);
	CHECK_MSG(read(pipefd[0], &ok, sizeof(ok)) == sizeof(ok) && ok == 1,
		  "the daemon did not come through");
}

static void *closer(void *arg)
{
	for (int i = 0; i < 300; i++) {
		close_from(50);
		usleep(100);
	}
	return arg;
}

/* Closing all while memory is being used for the first time, when the library is starting. */
static void close_race(void)
{
	pthread_t t;

	CHECK(pthread_create(&t, NULL, closer, NULL) == 0);
	use_memory();
	CHECK(pthread_join(t, NULL) == 0);
}

static const struct row rows[] = {
	{"invisible", invisible}, {"not-inherited", not_inherited},   {"_fd-list", fd_list},
	{"close-all", close_all}, {"close-standard", close_standard}, {"none-left", none_left},
	{"daemon", as_daemon},	  {"close-race", close_race},
};

int main(int argc, char **argv)
{
	return run_rows(argc, argv, rows, ARRAY_SIZE(rows));
}
