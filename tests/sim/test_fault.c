/*
 * test_fault.c - fault specifications: what is armed strikes when it says, what is malformed is
 * refused and arms nothing.
 */
#include "sim_test.h"

#include <time.h>

static const struct sn_placement *p;
static char message[2048];

static void arm(const char *spec)
{
	if (slabnode_module.fault(spec, message, sizeof(message)) != 0)
		fail_msg("%s: %s", spec, message);
}

static int setup(void **state)
{
	(void)state;
	p = machine("numa:2 pu:1", NULL);
	return 0;
}

static int populate(void)
{
	int error = p->populate(window, PAGE, FIRST);

	if (error == 0)
		p->depopulate(window, PAGE, FIRST);
	return error;
}

static void test_next_and_kth(void **state)
{
	(void)state;
	assert_int_equal(populate(), 0);
	arm("populate");
	assert_non_null(strstr(message, "populate=ENOMEM@1"));
	assert_int_equal(populate(), -ENOMEM);
	assert_int_equal(populate(), 0);
	arm("populate=EIO@3");
	assert_int_equal(populate(), 0);
	assert_int_equal(populate(), 0);
	assert_int_equal(populate(), -EIO);
	assert_int_equal(populate(), 0);
	arm("populate@1; populate@2");
	assert_int_equal(populate(), -ENOMEM);
	assert_int_equal(populate(), -ENOMEM);
	assert_int_equal(populate(), 0);
}

static void test_off(void **state)
{
	struct sn_nodemask mask = {{0}};

	(void)state;
	sn_mask_add(&mask, FIRST);
	arm("populate@1 bind@1");
	arm("populate=off");
	assert_int_equal(populate(), 0);
	assert_int_equal(p->bind_range(window, PAGE, FIRST, &mask), -ENOMEM);
	arm("populate%100");
	assert_int_equal(populate(), -ENOMEM);
	assert_int_equal(populate(), -ENOMEM);
	arm("off");
	assert_string_equal(message, "disarmed: 1");
	assert_int_equal(populate(), 0);
}

/* A run of 200 passages as a string of 0 and 1. */
static void draw(const char *spec, char *pattern)
{
	arm("off");
	arm(spec);
	for (int i = 0; i < 200; i++)
		pattern[i] = populate() == 0 ? '0' : '1';
	pattern[200] = '\0';
	arm("off");
}

static void test_seeds_repeat(void **state)
{
	char first[201], again[201], other[201], spec[64];
	const char *seed;
	int hits = 0;

	(void)state;
	draw("populate=ENOMEM%20,seed=42", first);
	draw("populate=ENOMEM%20,seed=42", again);
	draw("populate=ENOMEM%20,seed=43", other);
	assert_string_equal(first, again);
	assert_string_not_equal(first, other);
	for (int i = 0; i < 200; i++)
		hits += first[i] == '1';
	assert_in_range(hits, 20, 60);
	/* A seed that was drawn is told, and repeats. */
	arm("populate%50");
	seed = strstr(message, ",seed=");
	assert_non_null(seed);
	snprintf(spec, sizeof(spec), "populate%%50%s", seed);
	draw(spec, first);
	draw(spec, again);
	assert_string_equal(first, again);
}

static void test_moves(void **state)
{
	static const struct {
		const char *spec;
		size_t busy, shared, no_room, failed;
	} cases[] = {
		{"move", 8, 0, 0, 0},	     {"move=EACCES", 0, 8, 0, 0},
		{"move=ENOMEM", 0, 0, 8, 0}, {"move=EIO", 0, 0, 0, 8},
		{"move-busy", 1, 0, 0, 0},   {"move-busy@3 move-shared@1 move-nomem@2", 1, 1, 1, 0},
	};

	(void)state;
	for (size_t i = 0; i < SN_ARRAY_SIZE(cases); i++) {
		struct sn_move_result r = {0}, rest = {0};

		assert_int_equal(p->populate(window, 8 * PAGE, FIRST), 0);
		arm(cases[i].spec);
		assert_int_equal(p->move(window, 8 * PAGE, FIRST + 1, &r), 0);
		assert_int_equal(r.busy, cases[i].busy);
		assert_int_equal(r.shared, cases[i].shared);
		assert_int_equal(r.no_room, cases[i].no_room);
		assert_int_equal(r.failed, cases[i].failed);
		assert_int_equal(r.moved + r.busy + r.shared + r.no_room + r.failed, 8);
		assert_int_equal(p->resident(FIRST + 1), r.moved * PAGE);
		/* The next time everything goes. */
		arm("off");
		assert_int_equal(p->move(window, 8 * PAGE, FIRST + 1, &rest), 0);
		assert_int_equal(rest.moved, 8);
		p->depopulate(window, 8 * PAGE, FIRST);
	}
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void test_delays(void **state)
{
	uint64_t start = now_ms();

	(void)state;
	arm("delay:populate=60@2");
	assert_int_equal(populate(), 0);
	assert_true(now_ms() - start < 60);
	start = now_ms();
	assert_int_equal(populate(), 0);
	assert_true(now_ms() - start >= 60);
	start = now_ms();
	arm("delay:commit=30 going-offline=EBUSY");
	assert_int_equal(fault_hook(SN_FAULT_COMMIT), 0);
	assert_true(now_ms() - start >= 30);
}

/* The core's steps come by its hook, which is there while something is armed. */
static void test_hook(void **state)
{
	(void)state;
	assert_null(fault_hook);
	arm("going-offline structures@2");
	assert_int_equal(fault_hook(SN_FAULT_GOING_ONLINE), 0);
	assert_int_equal(fault_hook(SN_FAULT_STRUCTURES), 0);
	assert_int_equal(fault_hook(SN_FAULT_STRUCTURES), -ENOMEM);
	assert_int_equal(fault_hook(SN_FAULT_GOING_OFFLINE), -EBUSY);
	assert_null(fault_hook); /* all of it has struck */
	arm("metadata=EIO@9");
	assert_non_null(fault_hook);
	arm("off");
	assert_null(fault_hook);
}

/* Every step that can fail, with its usual error; every step that can be delayed. */
static void test_all(void **state)
{
	uint64_t start;

	(void)state;
	arm("all%100,seed=7");
	assert_string_equal(message, "armed: all%100,seed=7");
	for (unsigned int i = 0; i < SN_FAULT_COUNT; i++)
		assert_int_equal(fault_hook(i), sn_fault_info[i].kind & SN_FAULT_FAILS
							? -sn_fault_info[i].usual
							: 0);
	arm("all=off");
	assert_string_equal(message, "armed: all=off (1 disarmed)");
	arm("all=EIO@2 commit=off");
	assert_int_equal(fault_hook(SN_FAULT_COMMIT), 0); /* cannot fail, does not count */
	assert_int_equal(fault_hook(SN_FAULT_RUN), 0);
	assert_int_equal(fault_hook(SN_FAULT_DRAIN), -EIO);
	assert_null(fault_hook);
	arm("delay:all=20%100,seed=1");
	start = now_ms();
	assert_int_equal(fault_hook(SN_FAULT_MOVE_BUSY), 0); /* under a lock: never */
	assert_true(now_ms() - start < 20);
	assert_int_equal(fault_hook(SN_FAULT_COMMIT), 0);
	assert_true(now_ms() - start >= 20);
	arm("off");
}

static void test_list(void **state)
{
	(void)state;
	arm("list");
	assert_null(fault_hook);
	assert_ptr_equal(strstr(message, "steps: "), message);
	for (unsigned int i = 0; i < SN_FAULT_COUNT; i++) {
		bool fails = (sn_fault_info[i].kind & SN_FAULT_FAILS) != 0;
		char want[64];

		assert_true(fails == (sn_fault_info[i].usual != 0));
		snprintf(want, sizeof(want), fails ? " %s=E" : " delay:%s", sn_fault_info[i].name);
		assert_non_null(strstr(message, want));
	}
}

static void test_malformed(void **state)
{
	static const char *const bad[] = {
		"",
		" ",
		";",
		"nonsense",
		"mov",
		"moves",
		"move=",
		"move=EWHAT",
		"move=ebusy",
		"move@",
		"move@0",
		"move@x",
		"move@99999999999999999999",
		"move%",
		"move%0",
		"move%101",
		"move%100.5",
		"move%-1",
		"move%5,seed=",
		"move%5,seed=x",
		"move%5,sed=1",
		"move@2,seed=4",
		"move=EBUSY@3x",
		"move=EBUSY@1%5",
		"move=EBUSY,bind",
		"delay:",
		"delay:move",
		"delay:move=",
		"delay:move=0",
		"delay:move=x",
		"delay:move=3600001",
		"delay:move-busy=10",
		"delay:nonsense=10",
		"commit",
		"commit=EIO",
		"all=EWHAT",
		"alls",
		"delay:all",
		"list off",
		"populate; nonsense",
		"off off",
		"move=off@1",
		"populate%5,seed=18446744073709551616",
		"\xff",
	};
	char many[700];

	(void)state;
	for (size_t i = 0; i < SN_ARRAY_SIZE(bad); i++) {
		if (slabnode_module.fault(bad[i], message, sizeof(message)) != -EINVAL)
			fail_msg("accepted: %s", bad[i]);
		assert_true(message[0] != '\0');
		/* Armed whole or not at all. */
		assert_int_equal(populate(), 0);
	}
	assert_int_equal(slabnode_module.fault(NULL, message, sizeof(message)), -EINVAL);
	memset(many, 'a', sizeof(many) - 1);
	many[sizeof(many) - 1] = '\0';
	assert_int_equal(slabnode_module.fault(many, message, sizeof(message)), -EINVAL);
	many[0] = '\0';
	for (int i = 0; i < 33; i++)
		strcat(many, "bind@9 "); /* one more than fit */
	assert_int_equal(slabnode_module.fault(many, message, sizeof(message)), -EINVAL);
	many[strlen(many) - 7] = '\0';
	assert_int_equal(slabnode_module.fault(many, message, sizeof(message)), 0);
	assert_int_equal(slabnode_module.fault("bind", message, sizeof(message)), -EINVAL);
}

static void test_short_message_buffer(void **state)
{
	char small[8];

	(void)state;
	for (size_t size = 1; size <= sizeof(small); size++) {
		assert_int_equal(slabnode_module.fault("move%1", small, size), 0);
		assert_true(strlen(small) < size);
		assert_int_equal(slabnode_module.fault("nonsense", small, size), -EINVAL);
		assert_true(strlen(small) < size);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_next_and_kth, setup),
		cmocka_unit_test_setup(test_off, setup),
		cmocka_unit_test_setup(test_seeds_repeat, setup),
		cmocka_unit_test_setup(test_moves, setup),
		cmocka_unit_test_setup(test_delays, setup),
		cmocka_unit_test_setup(test_hook, setup),
		cmocka_unit_test_setup(test_all, setup),
		cmocka_unit_test_setup(test_list, setup),
		cmocka_unit_test_setup(test_malformed, setup),
		cmocka_unit_test_setup(test_short_message_buffer, setup),
	};

	window =
		mmap(NULL, 64 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return cmocka_run_group_tests_name("fault", tests, NULL, NULL);
}
