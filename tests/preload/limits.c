/*
 * Memory that runs out: limits set before the start and while running, strict overcommit, locked
 * memory, the limit on mappings, and transparent huge pages in each setting. Exhaustion is NULL and
 * ENOMEM, and what is freed afterwards serves again.
 */
#include "proc.h"

#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

/* Runs another row of this program in a fresh process, after `prepare` in the child. */
static void run_row(const char *row, bool (*prepare)(unsigned long), unsigned long arg)
{
	const char *self = own_path();
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		if (!prepare(arg))
			_exit(77);
		execl(self, self, row, NULL);
		_exit(9);
	}
	wait_exit(pid, 0);
}

static void set_limit(int what, rlim_t soft)
{
	struct rlimit rl;

	CHECK(getrlimit(what, &rl) == 0);
	rl.rlim_cur = soft;
	CHECK(setrlimit(what, &rl) == 0);
}

/* Blocks are chained through themselves: the test needs no memory besides. */
struct link {
	struct link *next;
	size_t size;
};

static struct link *take_until_null(size_t size, size_t most, size_t *got)
{
	struct link *head = NULL, *l;

	*got = 0;
	while (*got < most) {
		errno = 0;
		l = malloc(size);
		if (!l) {
			CHECK_MSG(errno == ENOMEM, "NULL with errno %d", errno);
			break;
		}
		memset(l, 0xee, size);
		l->next = head;
		l->size = size;
		head = l;
		*got += size;
	}
	return head;
}

static void give_chain(struct link *head)
{
	while (head) {
		struct link *next = head->next;
		const unsigned char *p = (const unsigned char *)head;

		for (size_t i = sizeof(*head); i < head->size; i += 97)
			CHECK(p[i] == 0xee);
		free(head);
		head = next;
	}
}

/*
 * Until NULL in each size in turn, everything freed in between: at least `want` each time, which
 * shows that what was freed came back, whatever size it had been.
 */
static void exhaust(size_t want, size_t most)
{
	static const size_t sizes[] = {1000, 64 * KIB, 1 * MIB, 100, 300 * KIB};
	struct link *head;
	size_t got, first = 0;

	for (size_t i = 0; i < 2 * ARRAY_SIZE(sizes); i++) {
		head = take_until_null(sizes[i % ARRAY_SIZE(sizes)], most, &got);
		CHECK_MSG(got < most, "the limit did not hold");
		CHECK_MSG(got >= want, "%zu bytes in blocks of %zu, %zu expected (round %zu)", got,
			  sizes[i % ARRAY_SIZE(sizes)], want, i);
		for (int k = 0; k < 100; k++) {
			void *p = malloc(40 * KIB);

			/* A little may be left for another size; the errors must be clean. */
			CHECK(p || errno == ENOMEM);
			free(p);
			p = calloc(1, 2 * MIB);
			CHECK(p || errno == ENOMEM);
			free(p);
		}
		if (i == 0)
			first = got;
		give_chain(head);
	}
	head = take_until_null(sizes[0], most, &got);
	CHECK_MSG(got >= first - first / 5, "%zu bytes at first, %zu at the end", first, got);
	give_chain(head);
}

static bool limit_as(unsigned long mib)
{
	set_limit(RLIMIT_AS, mib * MIB);
	return true;
}

/* Run by the rows below in a process whose address space was limited before it started. */
static void exhaust_as(void)
{
	struct rlimit rl;

	CHECK(getrlimit(RLIMIT_AS, &rl) == 0);
	exhaust(rl.rlim_cur / 4, rl.rlim_cur);
}

static void as_64(void)
{
	run_row("_exhaust-as", limit_as, 64);
}

static void as_128(void)
{
	run_row("_exhaust-as", limit_as, 128);
}

static void as_256(void)
{
	run_row("_exhaust-as", limit_as, 256);
}

static void as_1024(void)
{
	run_row("_exhaust-as", limit_as, 1024);
}

/* Set while running: what the library reserved before must still be of use, or not count. */
static void as_while_running(void)
{
	size_t size = (size_t)status_kib("VmSize:") * KIB;
	struct link *head;
	size_t got;

	for (int i = 0; i < 10000; i++)
		free(opaque(malloc((size_t)i)));
	size = (size_t)status_kib("VmSize:") * KIB;
	set_limit(RLIMIT_AS, size + 128 * MIB);
	head = take_until_null(1000, size + 4096 * MIB, &got);
	CHECK_MSG(got < size + 4096 * MIB, "the limit did not hold");
	CHECK_MSG(got >= 64 * MIB, "only %zu bytes", got);
	give_chain(head);
	set_limit(RLIMIT_AS, RLIM_INFINITY);
	head = take_until_null(1000, 256 * MIB, &got);
	CHECK_MSG(got >= 256 * MIB, "%zu bytes after the limit was lifted", got);
	give_chain(head);
}

/* Below what is mapped already: nothing new, but nothing breaks, and frees are of use. */
static void as_below_use(void)
{
	struct link *head = take_until_null(2000, 32 * MIB, &(size_t){0});
	struct link *more;
	size_t got;

	set_limit(RLIMIT_AS, 1 * MIB);
	more = take_until_null(2000, 1UL << 40, &got);
	give_chain(more);
	give_chain(head);
	head = take_until_null(2000, 16 * MIB, &got);
	/* glibc gives the end of its heap back and cannot get it again. */
	CHECK_MSG(got >= 16 * MIB || !under_slabnode(), "only %zu bytes of 32 MiB serve again",
		  got);
	give_chain(head);
}

static void data_while_running(void)
{
	size_t got;
	struct link *head;

	free(opaque(malloc(100)));
	set_limit(RLIMIT_DATA, (rlim_t)status_kib("VmData:") * KIB + 96 * MIB);
	exhaust(48 * MIB, 4096 * MIB);
	set_limit(RLIMIT_DATA, RLIM_INFINITY);
	head = take_until_null(5000, 256 * MIB, &got);
	CHECK(got >= 256 * MIB);
	give_chain(head);
}

static bool limit_data(unsigned long mib)
{
	set_limit(RLIMIT_DATA, mib * MIB);
	return true;
}

static void exhaust_data(void)
{
	exhaust(24 * MIB, 4096 * MIB);
}

static void data_at_start(void)
{
	run_row("_exhaust-data", limit_data, 96);
}

static void *thread_exhaust(void *arg)
{
	for (int i = 0; i < 6; i++) {
		size_t got;
		struct link *head = take_until_null(500 + (uintptr_t)arg * 777, 4096 * MIB, &got);

		give_chain(head);
	}
	return NULL;
}

/* Several threads run into the limit at the same time, and all of them recover. */
static void threads_at_limit(void)
{
	pthread_t t[4];
	void *p;

	for (uintptr_t i = 0; i < 4; i++)
		CHECK(pthread_create(&t[i], NULL, thread_exhaust, (void *)i) == 0);
	set_limit(RLIMIT_AS, (rlim_t)status_kib("VmSize:") * KIB + 64 * MIB);
	for (size_t i = 0; i < 4; i++)
		CHECK(pthread_join(t[i], NULL) == 0);
	p = malloc(8 * MIB);
	CHECK_MSG(p, "8 MiB of 64 after all was freed");
	free(p);
}

/* Every kind of growth fails cleanly: realloc keeps the object, alignment keeps its promise. */
static void entry_points_at_limit(void)
{
	struct link *head;
	void *keep = malloc(20000), *p = &head;
	size_t got;

	CHECK(keep);
	fill(keep, 20000, 1);
	set_limit(RLIMIT_AS, (rlim_t)status_kib("VmSize:") * KIB + 32 * MIB);
	head = take_until_null(64 * KIB, 4096 * MIB, &got);
	errno = 0;
	CHECK(!realloc(keep, 64 * MIB) && errno == ENOMEM);
	CHECK_INTACT(keep, 20000, 1);
	errno = 0;
	CHECK(!calloc(64, MIB) && errno == ENOMEM);
	errno = 0;
	CHECK(!aligned_alloc(2 * MIB, 64 * MIB) && errno == ENOMEM);
	CHECK(posix_memalign(&p, 2 * MIB, 64 * MIB) == ENOMEM && p == &head);
	free(keep);
	give_chain(head);
}

/* A working mix whose contents are checked: small and large, grown, zeroed, freed at random. */
static void mix(void)
{
	static struct {
		void *ptr;
		size_t size;
	} o[512];
	uint64_t seed = 17;

	for (int n = 0; n < 60000; n++) {
		size_t i = rnd(&seed) % ARRAY_SIZE(o);
		size_t size = rnd(&seed) % (n % 100 == 0 ? 3 * MIB : 6000) + 1;

		if (o[i].ptr)
			CHECK_INTACT(o[i].ptr, o[i].size, i);
		if (n % 3 == 0) {
			free(o[i].ptr);
			o[i].ptr = calloc(1, size);
			CHECK(o[i].ptr && all_zero(o[i].ptr, size));
		} else {
			o[i].ptr = realloc(o[i].ptr, size);
			CHECK(o[i].ptr);
		}
		o[i].size = size;
		fill(o[i].ptr, size, i);
	}
	for (size_t i = 0; i < ARRAY_SIZE(o); i++) {
		free(o[i].ptr);
		o[i].ptr = NULL;
	}
	malloc_trim(0);
}

/* On locked memory madvise fails, so pages given back are not fresh; and nothing may swell. */
static void locked(int flags)
{
	if (mlockall(flags) != 0)
		check_skip("mlockall is not permitted here");
	mix();
	mix();
	CHECK_MSG(rss_kib() < 1024 * 1024, "%ld KiB resident", rss_kib());
}

static void mlock_future(void)
{
	locked(MCL_CURRENT | MCL_FUTURE);
}

static void mlock_onfault(void)
{
	locked(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
}

/* Locked first and limited afterwards, as daemons do that drop their rights. */
static void mlock_limited(void)
{
	struct rlimit rl = {256 * MIB, 256 * MIB};
	struct link *head;
	size_t got;

	if (setrlimit(RLIMIT_MEMLOCK, &rl) != 0)
		check_skip("the limit on locked memory cannot be raised here");
	if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
		check_skip("mlockall is not permitted here");
	if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
		check_skip("cannot give up root");
	head = take_until_null(3000, 1024 * MIB, &got);
	CHECK_MSG(got < 1024 * MIB, "the limit on locked memory did not hold");
	CHECK_MSG(got >= 16 * MIB, "only %zu bytes", got);
	give_chain(head);
}

/* VMAs are a resource of the program too: many blocks, every second freed, and mmap still works. */
static void mappings(void)
{
	enum { N = 70000 };
	static void *p[N];
	size_t got = 0;
	void *m;

	for (size_t i = 0; i < N; i++) {
		p[i] = malloc(132 * KIB);
		if (!p[i]) {
			CHECK(errno == ENOMEM);
			break;
		}
		*(volatile char *)p[i] = 1;
		got++;
	}
	for (size_t i = 0; i < got; i += 2) {
		free(p[i]);
		p[i] = NULL;
	}
	for (size_t i = 0; i < got; i += 2) {
		p[i] = malloc(50 * KIB);
		CHECK(p[i] || errno == ENOMEM);
	}
	if (under_slabnode()) {
		CHECK_MSG(got == N, "only %zu blocks", got);
		m = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK_MSG(m != MAP_FAILED, "no mapping is left for the program");
	}
	for (size_t i = 0; i < got; i++)
		free(p[i]);
	free(opaque(malloc(10 * MIB)));
}

static const char *const thp_file = "/sys/kernel/mm/transparent_hugepage/enabled";
static char thp_before[32];

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

static bool no_preparation(unsigned long arg)
{
	(void)arg;
	return true;
}

static bool disable_thp(unsigned long arg)
{
	return prctl(PR_SET_THP_DISABLE, arg, 0, 0, 0) == 0;
}

/* A megabyte held may not cost tens of them, whatever the system's setting is. */
static void thp_small(void)
{
	long before = rss_kib();

	for (int i = 0; i < 1000; i++)
		memset(opaque(malloc(1000)), 1, 1000);
	CHECK_MSG(rss_kib() - before < 24 * 1024, "1 MB held costs %ld KiB", rss_kib() - before);
	mix();
}

static void thp_disabled(void)
{
	run_row("_thp-small", disable_thp, 1);
}

static bool read_thp_setting(void)
{
	char buf[128] = "";
	int fd = open(thp_file, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, buf, sizeof(buf) - 1) : -1;
	char *open_bracket, *close_bracket;

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return false;
	open_bracket = strchr(buf, '[');
	close_bracket = strchr(buf, ']');
	if (!open_bracket || !close_bracket)
		return false;
	*close_bracket = '\0';
	strncpy(thp_before, open_bracket + 1, sizeof(thp_before) - 1);
	return true;
}

/* The setting is the machine's: this process only watches over it, and puts it back in any case. */
static void thp_setting(const char *setting)
{
	int status = 0;
	pid_t pid;

	if (!read_thp_setting() || !write_file(thp_file, setting))
		check_skip("the setting of transparent huge pages is not writable here");
	pid = fork();
	if (pid == 0) {
		run_row("_thp-small", no_preparation, 0);
		_exit(0);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	CHECK(write_file(thp_file, thp_before));
	CHECK(pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void thp_always(void)
{
	thp_setting("always");
}

static void thp_madvise(void)
{
	thp_setting("madvise");
}

static void thp_never(void)
{
	thp_setting("never");
}

/* Under strict overcommit only what can be written counts, so reservations must not be writable. */
static void commit_child(void)
{
	struct link *head;
	size_t got;
	void *p;

	head = take_until_null(3000, 128 * MIB, &got);
	CHECK_MSG(got >= 128 * MIB, "only %zu bytes", got);
	errno = 0;
	p = opaque(malloc((size_t)1 << 44));
	CHECK(!p && errno == ENOMEM);
	give_chain(head);
	mix();
}

static long meminfo_kib(const char *key)
{
	return proc_kib("/proc/meminfo", key);
}

static void strict_overcommit(void)
{
	static const char path[] = "/proc/sys/vm/overcommit_memory";
	char before[8] = "";
	int fd, status = 0;
	pid_t pid;

	if (meminfo_kib("CommitLimit") - meminfo_kib("Committed_AS") < (long)(2048 * MIB / 1024))
		check_skip("others have committed what there is");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, before, sizeof(before) - 1) <= 0 || !write_file(path, "2"))
		check_skip("vm.overcommit_memory is not writable here");
	close(fd);
	pid = fork();
	if (pid == 0) {
		run_row("_commit-child", no_preparation, 0);
		_exit(0);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	CHECK(write_file(path, before));
	CHECK(pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/*
 * A memory cgroup: the kernel's answer is not NULL but the end of the program, so what is cached
 * must not add up.
 */
#define CGROUP_LIMIT (128 * MIB)

static char cgroup[128];

static bool write_number(const char *dir, const char *file, unsigned long n)
{
	char path[256], text[32];

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	snprintf(text, sizeof(text), "%lu", n);
	return write_file(path, text);
}

/* Of either version; the limit's file has another name in each. */
static bool make_cgroup(void)
{
	static const char *const tops[][2] = {
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
		{"/sys/fs/cgroup", "memory.max"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(tops); i++) {
		snprintf(cgroup, sizeof(cgroup), "%s/slabnode-test-%d", tops[i][0], (int)getpid());
		if (mkdir(cgroup, 0755) == 0 && write_number(cgroup, tops[i][1], CGROUP_LIMIT))
			return true;
		rmdir(cgroup);
	}
	return false;
}

static bool enter_cgroup(unsigned long arg)
{
	(void)arg;
	return write_number(cgroup, "cgroup.procs", (unsigned long)getpid());
}

/* A quarter of the limit is held; ten times the limit goes through, in one size after another. */
static void in_cgroup(void)
{
	static const size_t sizes[] = {100, 1000, 5000, 40000, 300000, 3 * MIB};
	struct link *held = take_until_null(3000, CGROUP_LIMIT / 4, &(size_t){0});

	for (size_t round = 0; round < 40; round++)
		give_chain(take_until_null(sizes[round % ARRAY_SIZE(sizes)], CGROUP_LIMIT / 3,
					   &(size_t){0}));
	give_chain(held);
}

static void memory_cgroup(void)
{
	if (!make_cgroup())
		check_skip("no memory cgroup can be made here");
	run_row("_in-cgroup", enter_cgroup, 0);
	for (int tries = 0; rmdir(cgroup) != 0 && tries < 100; tries++)
		sleep_ms(10);
}

static const struct row rows[] = {
	{"as-64M", as_64},
	{"as-128M", as_128},
	{"as-256M", as_256},
	{"as-1G", as_1024},
	{"_exhaust-as", exhaust_as},
	{"as-while-running", as_while_running},
	{"as-below-use", as_below_use},
	{"data-at-start", data_at_start},
	{"_exhaust-data", exhaust_data},
	{"data-while-running", data_while_running},
	{"threads-at-limit", threads_at_limit},
	{"entry-points-at-limit", entry_points_at_limit},
	{"mix", mix},
	{"mlock-future", mlock_future},
	{"mlock-onfault", mlock_onfault},
	{"mlock-limited", mlock_limited},
	{"mappings", mappings},
	{"thp-disabled", thp_disabled},
	{"thp-always", thp_always},
	{"thp-madvise", thp_madvise},
	{"thp-never", thp_never},
	{"_thp-small", thp_small},
	{"strict-overcommit", strict_overcommit},
	{"_commit-child", commit_child},
	{"memory-cgroup", memory_cgroup},
	{"_in-cgroup", in_cgroup},
};

int main(int argc, char **argv)
{
	return run_rows(argc, argv, rows, ARRAY_SIZE(rows));
}
