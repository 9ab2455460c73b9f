/*
 * test_vacate.c - memory of a node that left faults when it is used, comes back when the node
 * does, and never costs more mappings than the budget.
 */
#include "sim_test.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define WINDOW_BYTES (1024 * MIB)

static const struct sn_placement *p;

static char *page(size_t n)
{
	return window + n * PAGE;
}

/* Does writing to the page end a process by SIGSEGV? */
static bool faults(size_t n)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		*(volatile char *)page(n) = 1;
		_exit(0);
	}
	waitpid(pid, &status, 0);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

static int setup(void **state)
{
	(void)state;
	window = mmap(NULL, WINDOW_BYTES, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_true(window != MAP_FAILED);
	p = machine("numa:2 pu:1", NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return munmap(window, WINDOW_BYTES);
}

static void test_use_faults(void **state)
{
	(void)state;
	assert_false(faults(3));
	assert_int_equal(p->vacate(page(2), 4 * PAGE, FIRST), 0);
	assert_false(faults(1));
	assert_true(faults(2));
	assert_true(faults(5));
	assert_false(faults(6));
	/* A part comes back, the rest stays away. */
	assert_int_equal(p->restore(page(3), PAGE, FIRST), 0);
	assert_true(faults(2));
	assert_false(faults(3));
	assert_true(faults(4));
	assert_int_equal(p->restore(page(0), 64 * PAGE, FIRST), 0);
	for (size_t n = 0; n < 8; n++)
		assert_false(faults(n));
}

/* What nobody vacated is not opened: ranges are reserved without access. */
static void test_restore_opens_only_what_was_vacated(void **state)
{
	(void)state;
	assert_int_equal(mprotect(page(8), 8 * PAGE, PROT_NONE), 0);
	assert_int_equal(p->vacate(page(4), 4 * PAGE, FIRST), 0);
	assert_int_equal(p->restore(page(0), 16 * PAGE, FIRST), 0);
	assert_false(faults(4));
	assert_true(faults(8));
}

/* The ledger goes on counting what is vacated. */
static void test_ledger_is_not_confused(void **state)
{
	int where[2];

	(void)state;
	assert_int_equal(p->populate(page(0), 2 * PAGE, FIRST), 0);
	assert_int_equal(p->vacate(page(0), 2 * PAGE, FIRST), 0);
	assert_int_equal(p->query(page(0), 2, where), 0);
	assert_int_equal(where[0], FIRST);
	p->depopulate(page(0), 2 * PAGE, FIRST);
	assert_int_equal(p->resident(FIRST), 0);
	assert_int_equal(p->query(page(0), 2, where), 0);
	assert_int_equal(where[0], -ENOENT);
	assert_true(faults(0));
	assert_int_equal(p->restore(page(0), 2 * PAGE, FIRST), 0);
	assert_false(faults(0));
}

static size_t budget_stretches(void)
{
	FILE *f = fopen("/proc/sys/vm/max_map_count", "r");
	unsigned long count = 65530;

	if (f != NULL) {
		if (fscanf(f, "%lu", &count) != 1)
			count = 65530;
		fclose(f);
	}
	return count / 4 / 2;
}

static void test_budget(void **state)
{
	size_t most = budget_stretches(), n = 0;

	(void)state;
	if ((most * 2 + 8) * PAGE > WINDOW_BYTES)
		skip();
	while (n <= most && p->vacate(page(2 * n), PAGE, FIRST) == 0)
		n++;
	assert_int_equal(n, most);
	assert_int_equal(p->vacate(page(2 * n), PAGE, FIRST), -ENOSPC);
	assert_false(faults(2 * n));
	/* What joins stretches costs nothing and makes room. */
	assert_int_equal(p->vacate(page(1), PAGE, FIRST), 0);
	assert_int_equal(p->vacate(page(2 * n), PAGE, FIRST), 0);
	assert_int_equal(p->vacate(page(2 * n + 2), PAGE, FIRST), -ENOSPC);
	/* To cut one in two costs; to give all back frees all. */
	assert_int_equal(p->restore(page(0), (2 * n + 4) * PAGE, FIRST), 0);
	for (size_t again = 0; again < most; again++)
		assert_int_equal(p->vacate(page(2 * again), PAGE, FIRST), 0);
	assert_int_equal(p->vacate(page(2 * most), PAGE, FIRST), -ENOSPC);
}

static void test_failures(void **state)
{
	char message[200];

	(void)state;
	assert_int_equal(slabnode_module.fault("vacate restore=EIO", message, sizeof(message)), 0);
	assert_int_equal(p->vacate(page(0), PAGE, FIRST), -ENOMEM);
	assert_false(faults(0));
	assert_int_equal(p->vacate(page(0), PAGE, FIRST), 0);
	assert_int_equal(p->restore(page(0), PAGE, FIRST), -EIO);
	assert_true(faults(0));
	assert_int_equal(p->restore(page(0), PAGE, FIRST), 0);
	assert_false(faults(0));
	/* The kernel's own refusal: these addresses are not mapped. */
	assert_int_equal(munmap(page(16), PAGE), 0);
	assert_int_equal(p->vacate(page(16), PAGE, FIRST), -ENOMEM);
	assert_int_equal(p->vacate(window - PAGE, PAGE, FIRST), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_use_faults, setup, teardown),
		cmocka_unit_test_setup_teardown(test_restore_opens_only_what_was_vacated, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_ledger_is_not_confused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_budget, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
	};

	return cmocka_run_group_tests_name("vacate", tests, NULL, NULL);
}
