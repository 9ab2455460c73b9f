/*
 * test_modules.c - the two modules as they are shipped: opened at run time, one symbol each, and
 * what they say on the machine that the test runs on.
 */
#include "sim_test.h"

#include <dlfcn.h>
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct sn_module *open_module(const char *variable)
{
	const struct sn_module *module;
	void *handle;

	if (getenv(variable) == NULL)
		skip();
	handle = dlopen(getenv(variable), RTLD_NOW | RTLD_LOCAL);
	if (handle == NULL)
		fail_msg("%s", dlerror());
	module = dlsym(handle, "slabnode_module");
	assert_non_null(module);
	assert_int_equal(module->version, SN_MODULE_VERSION);
	return module;
}

static void test_sim(void **state)
{
	const struct sn_module *module = open_module("SIM_TEST_SIM_MODULE");
	struct sn_module_args args = test_args("numa:4(memory=1GiB) pu:1", NULL);
	struct sn_topology t;
	char message[200];

	(void)state;
	assert_int_equal(module->discover(&args, &t, message, sizeof(message)), 0);
	assert_int_equal(t.nr_nodes, 4);
	assert_string_equal(t.placement->name, "simulated");
	assert_true(t.placement->simulated);
	/* Initial-exec storage in a module that was opened late. */
	assert_int_equal(t.placement->thread_node(), FIRST);
	assert_int_equal(t.placement->populate(window, PAGE, FIRST), 0);
	assert_int_equal(t.placement->resident(FIRST), PAGE);
}

static unsigned int nodes_of_this_machine(void)
{
	unsigned int count = 0;

	for (int n = 0; n < 1024; n++) {
		char path[80];

		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d", n);
		count += access(path, F_OK) == 0;
	}
	return count;
}

static void test_numa(void **state)
{
	const struct sn_module *module = open_module("SIM_TEST_NUMA_MODULE");
	struct sn_module_args args = test_args(NULL, NULL);
	const struct sn_placement *p;
	struct sn_topology t;
	char message[200], cpus[256];
	unsigned int node;
	int error, where[2];

	(void)state;
	error = module->discover(&args, &t, message, sizeof(message));
	if (error == -ENOSYS)
		skip();
	assert_int_equal(error, 0);
	p = t.placement;
	assert_int_equal(t.nr_nodes, nodes_of_this_machine());
	assert_string_equal(t.source, "auto");
	assert_true(t.node[0].nr_cpus > 0 || t.nr_nodes > 1);
	assert_non_null(p->reason);
	node = p->thread_node();
	assert_in_range(node, FIRST, FIRST + t.nr_nodes - 1);
	p->cpus(node, cpus, sizeof(cpus));
	assert_true(cpus[0] != '\0');
	if (strcmp(p->name, "bound") == 0) {
		struct sn_nodemask all = {{0}};
		struct sn_move_result r = {0};

		for (unsigned int i = 0; i < t.nr_nodes; i++)
			if (t.node[i].allowed)
				sn_mask_add(&all, FIRST + i);
		assert_int_equal(p->bind_range(window, 16 * MIB, node, &all), 0);
		assert_int_equal(mprotect(window, 2 * PAGE, PROT_READ | PROT_WRITE), 0);
		window[0] = 1;
		assert_int_equal(p->query(window, 2, where), 0);
		assert_int_equal(where[0], node);
		assert_int_equal(where[1], -ENOENT);
		assert_int_equal(p->move(window, 2 * PAGE, node, &r), 0);
		assert_int_equal(r.moved, 1);
		assert_int_equal(r.absent, 1);
		assert_int_equal(p->resident(node), PAGE);
		assert_true(p->other(node) > 0);
	}
	assert_true(p->capacity(node) >= p->room(node) && p->room(node) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sim),
		cmocka_unit_test(test_numa),
	};

	/* Nothing else may lie in what the modules take for the window. */
	window = mmap((void *)((uintptr_t)1 << 44), 64 * MIB, PROT_NONE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return cmocka_run_group_tests_name("modules", tests, NULL, NULL);
}
