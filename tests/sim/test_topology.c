/*
 * test_topology.c - simulated topologies: synthetic descriptions, XML files, capacities, and
 * what is wrong with them.
 */
#include "sim_test.h"

static struct sn_topology t;
static char message[200];

static void read_ok(const char *description, const char *capacity)
{
	assert_int_equal(discover_from(description, capacity, false, &t, message, sizeof(message)),
			 0);
	assert_string_equal(t.source, "synthetic");
	assert_true(t.simulated);
	assert_non_null(t.placement);
}

static const char *xml_path(const char *name)
{
	static char path[512];

	snprintf(path, sizeof(path), "%s/%s", getenv("SIM_TEST_XML"), name);
	return path;
}

static void read_xml_ok(const char *name, const char *capacity)
{
	assert_int_equal(
		discover_from(xml_path(name), capacity, true, &t, message, sizeof(message)), 0);
	assert_string_equal(t.source, "xml");
}

static const char *cpus_of(unsigned int position)
{
	static char buf[64];

	t.placement->cpus(FIRST + position, buf, sizeof(buf));
	return buf;
}

static void test_default_memory_is_no_capacity(void **state)
{
	(void)state;
	read_ok("numa:4 core:2 pu:1", NULL);
	assert_int_equal(t.nr_nodes, 4);
	for (unsigned int i = 0; i < 4; i++) {
		assert_int_equal(t.node[i].os_number, i);
		assert_true(t.node[i].has_memory && t.node[i].allowed);
		assert_true(t.node[i].size == SIZE_MAX);
		assert_int_equal(t.node[i].nr_cpus, 2);
		assert_true(t.placement->capacity(FIRST + i) == SIZE_MAX);
		assert_true(t.placement->room(FIRST + i) == SIZE_MAX);
	}
	assert_string_equal(cpus_of(0), "0-1");
	assert_string_equal(cpus_of(3), "6-7");
}

static void test_written_memory_is(void **state)
{
	(void)state;
	read_ok("numa:2(memory=512MiB) pu:2", NULL);
	assert_true(t.node[0].size == 512 * MIB && t.node[1].size == 512 * MIB);
	/* Exactly hwloc's default, but written. */
	read_ok("numa:2(memory=1GiB) pu:2", NULL);
	assert_true(t.node[0].size == GIB && t.node[1].size == GIB);
	read_ok("pack:2 [numa(memory=1073741824)] [numa] pu:2", NULL);
	assert_int_equal(t.nr_nodes, 4);
	for (unsigned int i = 0; i < 4; i += 2) {
		assert_true(t.node[i].size == GIB);
		assert_true(t.node[i + 1].size == SIZE_MAX);
	}
}

static void test_memoryless_and_cpuless(void **state)
{
	(void)state;
	read_ok("pack:2 [numa(memory=0)] [numa(memory=64MiB)] pu:2", NULL);
	assert_int_equal(t.nr_nodes, 4);
	assert_false(t.node[0].has_memory);
	assert_int_equal(t.node[0].size, 0);
	assert_int_equal(t.node[0].nr_cpus, 2);
	assert_true(t.node[1].has_memory);
	assert_int_equal(t.node[1].nr_cpus, 0);
	assert_string_equal(cpus_of(1), "");
	assert_int_equal(t.placement->populate(window, PAGE, FIRST), -ENOMEM);
	assert_int_equal(t.placement->populate(window, PAGE, FIRST + 1), 0);
}

static void test_holes_in_synthetic(void **state)
{
	(void)state;
	read_ok("numa:3(indexes=4,2,9) pu:1", "2:8M");
	assert_int_equal(t.node[0].os_number, 2);
	assert_int_equal(t.node[1].os_number, 4);
	assert_int_equal(t.node[2].os_number, 9);
	assert_true(t.node[0].size == 8 * MIB && t.node[1].size == SIZE_MAX);
	assert_string_equal(cpus_of(0), "1");
	assert_string_equal(cpus_of(1), "0");
}

static void test_default_distances(void **state)
{
	(void)state;
	read_ok("numa:3 pu:1", NULL);
	for (unsigned int i = 0; i < 3; i++)
		for (unsigned int j = 0; j < 3; j++)
			assert_int_equal(t.node[i].distance[j], i == j ? 10 : 20);
}

static void test_many(void **state)
{
	(void)state;
	read_ok("numa:64 core:16 pu:1", NULL);
	assert_int_equal(t.nr_nodes, 64);
	assert_string_equal(cpus_of(63), "1008-1023");
	read_ok("numa:126 pu:1", NULL);
	assert_int_equal(t.nr_nodes, 126);
	assert_int_equal(t.placement->populate(window, PAGE, 127), 0);
	assert_int_equal(discover_from("numa:127 pu:1", NULL, false, &t, message, sizeof(message)),
			 -E2BIG);
	assert_non_null(strstr(message, "126"));
	read_ok("numa:2 core:4 pu:2(indexes=0,8,2,10,4,12,6,14,1,9,3,11,5,13,7,15)", NULL);
	assert_string_equal(cpus_of(0), "0,2,4,6,8,10,12,14");
}

static void too_big(const char *const *description, size_t count, const char *why)
{
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(
			discover_from(description[i], NULL, false, &t, message, sizeof(message)),
			-E2BIG);
		assert_string_equal(message, why);
	}
}

/* hwloc would be busy with these for hours. */
static void test_too_many(void **state)
{
	static const char *const large[] = {
		"numa:64 core:1024 pu:1",
		"99999999",
		"numa:99999999999999999999 pu:1",
		"2 9999",
		"864pu:141",
		"numa:99core:99pu:2",
		"numa:99 l3:0x100(size=1MB indexes=0) [numa] core:8 pu:1",
		"[numa]9000",
		"pack:2[numa(memory=1GiB)][numa]5000",
		"2(memory=1)5000",
		"pu:+9000",
		"numa:2 pu: -18446744073709542616",
		"num1(core:9000",
	};

	(void)state;
	too_big(large, SN_ARRAY_SIZE(large), "at most 8192 CPUs can be simulated");
	read_ok("numa:2(memory=99999MiB indexes=1,0) core:2 pu:1", NULL);
}

/* hwloc would fill gibibytes with sets of bits for these. */
static void test_indexes_too_high(void **state)
{
	static const char *const high[] = {
		"numa:2 pu:2(indexes=0,1,2,4000000000)",
		"numa:2(indexes=65536,1) pu:1",
		"numa:2(memory=1GiB indexes=1,0x10000) pu:1",
		"numa:2(indexes=0,1) pu:2(indexes=0,-1,2,3)",
	};

	(void)state;
	too_big(high, SN_ARRAY_SIZE(high), "indexes can be up to 65535");
	read_ok("numa:2(memory=65536MiB) core:1 pu:1(indexes=0,2047)", NULL);
	assert_string_equal(cpus_of(1), "2047");
}

static void test_without_cpus(void **state)
{
	static const char *const wrong[] = {"numa:4", "numa:2 core:4", "node:3 l3:1"};

	(void)state;
	for (size_t i = 0; i < SN_ARRAY_SIZE(wrong); i++) {
		assert_int_equal(discover_from(wrong[i], NULL, false, &t, message, sizeof(message)),
				 -EINVAL);
		assert_non_null(strstr(message, "the last level must be CPUs, as in numa:4 pu:2"));
	}
	assert_int_equal(discover_from("numa:2 pu:x", NULL, false, &t, message, sizeof(message)),
			 -EINVAL);
	assert_string_equal(message, "hwloc does not accept \"numa:2 pu:x\"");
}

static void test_cpu_list_that_does_not_fit(void **state)
{
	char buf[12];

	(void)state;
	read_ok("numa:2 core:4 pu:2(indexes=0,8,2,10,4,12,6,14,1,9,3,11,5,13,7,15)", NULL);
	t.placement->cpus(FIRST, buf, sizeof(buf));
	assert_string_equal(buf, "0,2,4,6...");
}

static void test_xml_holes(void **state)
{
	static const uint8_t want[3][3] = {{10, 40, 21}, {40, 10, 41}, {21, 41, 10}};

	(void)state;
	read_xml_ok("holes.xml", NULL);
	assert_int_equal(t.nr_nodes, 3);
	assert_int_equal(t.node[0].os_number, 1);
	assert_int_equal(t.node[1].os_number, 4);
	assert_int_equal(t.node[2].os_number, 9);
	assert_true(t.node[0].size == GIB && t.node[1].size == 8 * GIB);
	assert_false(t.node[2].has_memory);
	assert_string_equal(cpus_of(0), "8-9");
	assert_string_equal(cpus_of(1), "");
	assert_string_equal(cpus_of(2), "2-5");
	for (unsigned int i = 0; i < 3; i++)
		assert_memory_equal(t.node[i].distance, want[i], 3);
}

static void test_xml_without_sizes(void **state)
{
	(void)state;
	read_xml_ok("no-sizes.xml", NULL);
	assert_int_equal(t.nr_nodes, 2);
	assert_true(t.node[0].has_memory && t.node[0].size == SIZE_MAX);
	read_xml_ok("no-sizes.xml", "1:16M");
	assert_true(t.node[1].size == 16 * MIB && t.node[0].size == SIZE_MAX);
}

static void test_bad_descriptions(void **state)
{
	static const char *const bad[] = {
		"",
		"numa:0",
		"foo:2",
		"numa:2 pu:",
		"numa:2(memory=512M) pu:1",
		"(((((",
		"numa:-1",
		"numa:2(memory=0) pu:1",
		"pu:1 numa:2",
		"numa:3(indexes=2,2,9) pu:1",
		"\xff\xfe",
	};

	(void)state;
	for (size_t i = 0; i < SN_ARRAY_SIZE(bad); i++) {
		assert_int_equal(discover_from(bad[i], NULL, false, &t, message, sizeof(message)),
				 -EINVAL);
		assert_true(message[0] != '\0');
	}
	assert_int_equal(discover_from(NULL, NULL, false, &t, message, sizeof(message)), -EINVAL);
}

/* What hwloc would take for no memory, or for all that there can be. */
static void test_no_sizes(void **state)
{
	static const char *const values[] = {
		"-1", "", "x", "1GBx", "18446744073709551616", "1e9", " 1GB",
	};

	(void)state;
	for (size_t i = 0; i < SN_ARRAY_SIZE(values); i++) {
		char description[100], wanted[100];

		snprintf(description, sizeof(description), "pack:2 [numa(memory=%s)] pu:1",
			 values[i]);
		snprintf(wanted, sizeof(wanted), "memory=%.*s is not a size",
			 (int)strcspn(values[i], " "), values[i]);
		assert_int_equal(
			discover_from(description, NULL, false, &t, message, sizeof(message)),
			-EINVAL);
		assert_non_null(strstr(message, wanted));
	}
	read_ok("numa:2(memory=4096KB indexes=1,0) pu:1", NULL);
	assert_true(t.node[0].size == (4096000 & ~4095ul));
	read_ok("numa:2(memory=0x400000) pu:1", NULL);
	assert_true(t.node[0].size == 4 * MIB);
}

static void test_bad_files(void **state)
{
	(void)state;
	assert_int_equal(
		discover_from(xml_path("absent.xml"), NULL, true, &t, message, sizeof(message)),
		-ENOENT);
	assert_int_equal(discover_from("/etc/passwd", NULL, true, &t, message, sizeof(message)),
			 -EINVAL);
	assert_int_equal(discover_from("/", NULL, true, &t, message, sizeof(message)), -EINVAL);
	assert_int_equal(discover_from("/dev/null", NULL, true, &t, message, sizeof(message)),
			 -EINVAL);
	assert_int_equal(discover_from("", NULL, true, &t, message, sizeof(message)), -EINVAL);
	assert_int_equal(
		discover_from(xml_path("truncated.xml"), NULL, true, &t, message, sizeof(message)),
		-EINVAL);
	assert_true(message[0] != '\0');
}

static void test_capacities(void **state)
{
	(void)state;
	read_ok("numa:4 pu:1", "0:512M,1:2G");
	assert_true(t.node[0].size == 512 * MIB && t.node[1].size == 2 * GIB);
	assert_true(t.node[2].size == SIZE_MAX);
	read_ok("numa:4 pu:1", "64M");
	for (unsigned int i = 0; i < 4; i++)
		assert_true(t.node[i].size == 64 * MIB);
	read_ok("numa:4 pu:1", "1GiB,1-2:8192k,3:0");
	assert_true(t.node[0].size == GIB && t.node[2].size == 8 * MIB);
	assert_false(t.node[3].has_memory);
	read_ok("pack:2 [numa(memory=0)] [numa] pu:1", "32M");
	assert_false(t.node[0].has_memory);
	read_ok("pack:2 [numa(memory=0)] [numa] pu:1", "0:32M");
	assert_true(t.node[0].has_memory && t.node[0].size == 32 * MIB);
	read_ok("numa:2(memory=1GiB) pu:1", "1:2M");
	assert_true(t.node[0].size == GIB && t.node[1].size == 2 * MIB);
	assert_int_equal(warnings, 0);
	read_ok("numa:2 pu:1", "");
	assert_int_equal(warnings, 0);
}

static void test_bad_capacities(void **state)
{
	static const char *const bad[] = {
		"x",
		"0:",
		":1G",
		"0:1Q",
		"0:1GG",
		"7:1G",
		"0:1G,",
		",",
		"0:1G,1",
		"-1:1G",
		"1-0:1G",
		"0-:1G",
		"99999999999999999999999",
		"16777216T",
		"0:1000",
		"0",
		"0-1:0",
		"0:1G 1:1G",
		"0x10M",
		"1.5G",
		"18446744073709551616:1G",
		"0:-1",
	};

	(void)state;
	for (size_t i = 0; i < SN_ARRAY_SIZE(bad); i++) {
		read_ok("numa:2(memory=256MiB) pu:1", bad[i]);
		assert_int_equal(warnings, 1);
		assert_non_null(strstr(warning, "SLABNODE_NODE_CAPACITY: "));
		for (unsigned int n = 0; n < 2; n++)
			assert_true(t.node[n].has_memory && t.node[n].size == 256 * MIB);
	}
}

static void test_no_metadata(void **state)
{
	(void)state;
	for (size_t left = 0; left < 2; left++) {
		meta_left = left;
		assert_int_equal(
			discover_from("numa:2 pu:1", NULL, false, &t, message, sizeof(message)),
			-ENOMEM);
	}
	meta_left = SIZE_MAX;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_default_memory_is_no_capacity),
		cmocka_unit_test(test_written_memory_is),
		cmocka_unit_test(test_memoryless_and_cpuless),
		cmocka_unit_test(test_holes_in_synthetic),
		cmocka_unit_test(test_default_distances),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_indexes_too_high),
		cmocka_unit_test(test_without_cpus),
		cmocka_unit_test(test_cpu_list_that_does_not_fit),
		cmocka_unit_test(test_xml_holes),
		cmocka_unit_test(test_xml_without_sizes),
		cmocka_unit_test(test_bad_descriptions),
		cmocka_unit_test(test_no_sizes),
		cmocka_unit_test(test_bad_files),
		cmocka_unit_test(test_capacities),
		cmocka_unit_test(test_bad_capacities),
		cmocka_unit_test(test_no_metadata),
	};

	window =
		mmap(NULL, 64 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return cmocka_run_group_tests_name("topology", tests, NULL, NULL);
}
