/*
 * test_apart.c - descriptions that are read in a process of their own: the same comes of them, and
 * nothing that hwloc does over a bad one reaches this process.
 */
#include "sim_test.h"

#include <dirent.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define MUTATIONS 150

static struct sn_topology t;
static char message[200], text[16384];
static size_t length;

static int discover_apart(const char *description, bool xml)
{
	struct sn_module_args args = test_args(description, NULL);

	args.xml = xml;
	args.apart = true;
	message[0] = '\0';
	return slabnode_module.discover(&args, &t, message, sizeof(message));
}

/* No child is left, and none of its end was heard of. */
static void check_no_child(void)
{
	assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), -1);
	assert_int_equal(errno, ECHILD);
}

static void check_same(const char *description, bool xml)
{
	static struct sn_topology here;
	char cpus[2][64];

	assert_int_equal(discover_from(description, NULL, xml, &here, message, sizeof(message)), 0);
	here.placement->cpus(FIRST, cpus[0], sizeof(cpus[0]));
	assert_int_equal(discover_apart(description, xml), 0);
	t.placement->cpus(FIRST, cpus[1], sizeof(cpus[1]));
	assert_memory_equal(&t, &here, sizeof(t));
	assert_string_equal(cpus[0], cpus[1]);
	check_no_child();
}

static void test_the_same(void **state)
{
	(void)state;
	check_same("numa:4 core:2 pu:1", false);
	check_same("pack:2 [numa(memory=0)] [numa(memory=64MiB)] pu:2", false);
	check_same("numa:3(indexes=4,2,9) pu:1", false);
	check_same(xml_path("holes.xml"), true);
	check_same(xml_path("uneven.xml"), true);
}

static void test_refused(void **state)
{
	(void)state;
	assert_int_equal(discover_apart("numa:2 pu:", false), -EINVAL);
	assert_string_equal(message, "hwloc does not accept \"numa:2 pu:\"");
	assert_int_equal(discover_apart("numa:127 pu:1", false), -E2BIG);
	assert_int_equal(discover_apart(xml_path("absent.xml"), true), -ENOENT);
	assert_int_equal(discover_apart(xml_path("truncated.xml"), true), -EINVAL);
	assert_true(message[0] != '\0');
	for (size_t left = 0; left < 2; left++) {
		meta_left = left;
		assert_int_equal(discover_apart("numa:2 pu:1", false), -ENOMEM);
	}
	meta_left = SIZE_MAX;
	check_no_child();
}

/* A file of these bytes is one that can be used, or it is refused in one line. */
static void read_text(size_t size)
{
	char path[] = "/tmp/slabnode-xml-XXXXXX";
	int fd = mkstemp(path), error;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, size), (ssize_t)size);
	close(fd);
	error = discover_apart(path, true);
	unlink(path);
	if (error == 0)
		assert_true(t.nr_nodes > 0);
	else
		assert_true(error < 0 && message[0] != '\0');
}

static void load_text(const char *path)
{
	FILE *f = fopen(path, "re");

	assert_non_null(f);
	length = fread(text, 1, sizeof(text), f);
	assert_true(length > 0 && length < sizeof(text));
	fclose(f);
}

static void test_cut_off(void **state)
{
	(void)state;
	load_text(xml_path("holes.xml"));
	for (size_t size = 0; size < length; size += 29)
		read_text(size);
	check_no_child();
}

/* xorshift64*: the same files everywhere. */
static uint64_t next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dULL;
}

/* Digits and quotes matter most: numbers that do not fit each other, and attributes that end
 * elsewhere. */
static void spoil(uint64_t *seed)
{
	static const char by[] = "0123456789\"\"<>/ -xf";

	for (unsigned int n = 1 + next(seed) % 4; n > 0; n--)
		text[next(seed) % length] = by[next(seed) % (sizeof(by) - 1)];
}

static void test_spoilt(void **state)
{
	uint64_t seed = 1;

	(void)state;
	for (int i = 0; i < MUTATIONS; i++) {
		load_text(xml_path(i % 2 == 0 ? "holes.xml" : "uneven.xml"));
		spoil(&seed);
		read_text(length);
	}
	check_no_child();
}

/* Files that hwloc 2.9 does not survive. */
static void test_deadly(void **state)
{
	DIR *dir = opendir(getenv("SIM_TEST_XML"));
	unsigned int n = 0;

	(void)state;
	assert_non_null(dir);
	for (struct dirent *e; (e = readdir(dir)) != NULL;) {
		if (strncmp(e->d_name, "bug-", 4) != 0)
			continue;
		load_text(xml_path(e->d_name));
		read_text(length);
		n++;
	}
	closedir(dir);
	assert_true(n > 0);
	check_no_child();
}

/* What RLIMIT_DATA counts, as the kernel says in pages. */
static size_t data_bytes(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	size_t pages = 0;

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%*s %*s %*s %*s %*s %zu", &pages), 1);
	fclose(f);
	return pages * PAGE;
}

/* hwloc does not look at what malloc() returns. */
static void test_no_memory(void **state)
{
	(void)state;
#ifdef __SANITIZE_ADDRESS__
	skip(); /* it needs memory of its own at any time */
#endif
	for (size_t more = 0; more < 2 * MIB; more += 64 << 10) {
		pid_t pid = fork();
		int status;

		assert_true(pid >= 0);
		if (pid == 0) {
			struct rlimit limit = {data_bytes() + more, RLIM_INFINITY};

			setrlimit(RLIMIT_DATA, &limit);
			_exit(discover_apart("numa:8 core:64 pu:1", false) > 0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_same), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_cut_off),	 cmocka_unit_test(test_spoilt),
		cmocka_unit_test(test_deadly),	 cmocka_unit_test(test_no_memory),
	};

	window =
		mmap(NULL, 64 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return cmocka_run_group_tests_name("apart", tests, NULL, NULL);
}
