/*
 * test_cpus.c - threads are given simulated CPUs in turn, nodes taking turns.
 */
#include "sim_test.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct sn_placement *p;

static void *ask(void *arg)
{
	unsigned int *node = arg;

	node[0] = p->thread_node();
	node[1] = p->thread_node();
	return NULL;
}

/* The node of a fresh thread, which must keep it. */
static unsigned int thread(void)
{
	unsigned int node[2];
	pthread_t id;

	assert_int_equal(pthread_create(&id, NULL, ask, node), 0);
	pthread_join(id, NULL);
	assert_int_equal(node[0], node[1]);
	return node[0] - FIRST;
}

static void test_nodes_take_turns(void **state)
{
	(void)state;
	p = machine("numa:4 pu:2", NULL);
	/* The main thread has the lowest CPU even when others ask first. */
	assert_int_equal(thread(), 1);
	assert_int_equal(p->thread_node(), FIRST);
	assert_int_equal(thread(), 2);
	assert_int_equal(thread(), 3);
	for (unsigned int i = 0; i < 8; i++)
		assert_int_equal(thread(), i % 4);
}

static void test_uneven_nodes(void **state)
{
	/* CPUs: node 0 has 0 and 3, node 1 has 1, 2, 4, 5: turns 0 1 | 0 1 | 1 | 1. */
	static const unsigned int want[] = {1, 0, 1, 1, 1, 0, 1, 0, 1, 1, 1};
	struct sn_topology t;
	char message[200], path[512];

	(void)state;
	snprintf(path, sizeof(path), "%s/uneven.xml", getenv("SIM_TEST_XML"));
	assert_int_equal(discover_from(path, NULL, true, &t, message, sizeof(message)), 0);
	p = t.placement;
	assert_int_equal(p->thread_node(), FIRST);
	for (size_t i = 0; i < SN_ARRAY_SIZE(want); i++)
		assert_int_equal(thread(), want[i]);
}

static void test_nodes_without_cpus_are_left_out(void **state)
{
	(void)state;
	p = machine("pack:2 [numa] [numa] pu:1", NULL);
	for (unsigned int i = 0; i < 6; i++)
		assert_int_equal(thread(), i % 2 == 0 ? 2 : 0);
}

static void test_child_keeps_its_place(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	p = machine("numa:4 pu:1", NULL);
	pid = fork();
	if (pid == 0) {
		slabnode_module.fork_child();
		_exit(p->thread_node() == FIRST ? 0 : 1);
	}
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nodes_take_turns),
		cmocka_unit_test(test_uneven_nodes),
		cmocka_unit_test(test_nodes_without_cpus_are_left_out),
		cmocka_unit_test(test_child_keeps_its_place),
	};

	return cmocka_run_group_tests_name("cpus", tests, NULL, NULL);
}
