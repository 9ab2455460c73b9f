/*
 * test_ledger.c - the page ledger against a model that is too simple to be wrong.
 *
 * The model keeps one int a page and counts nodes by looking at all of them.  A seeded walk of
 * random operations, with failures injected into moves, must leave ledger and model equal after
 * each step.  SIM_TEST_SEED repeats a walk, SIM_TEST_STEPS lengthens it.
 */
#include "sim_test.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#define NODES	       4
#define WINDOW_PAGES   12288 /* three blocks of the ledger */
#define CAPACITY_PAGES 2048

static const struct sn_placement *p;
static uint64_t random_state;

static uint64_t next_random(uint64_t below)
{
	uint64_t z = random_state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return (z ^ z >> 31) % below;
}

static void *page(size_t n)
{
	return window + n * PAGE;
}

/* ---- single operations ---- */

static void test_capacity_is_charged(void **state)
{
	int where[4];

	(void)state;
	p = machine("numa:2 pu:1", "0:16K,1:8K");
	assert_int_equal(p->capacity(FIRST), 4 * PAGE);
	assert_int_equal(p->populate(page(0), 3 * PAGE, FIRST), 0);
	assert_int_equal(p->room(FIRST), PAGE);
	assert_int_equal(p->resident(FIRST), 3 * PAGE);
	assert_int_equal(p->populate(page(3), 2 * PAGE, FIRST), -ENOMEM);
	assert_int_equal(p->resident(FIRST), 3 * PAGE); /* nothing half done */
	/* What is there is not charged again. */
	assert_int_equal(p->populate(page(0), 4 * PAGE, FIRST), 0);
	assert_int_equal(p->room(FIRST), 0);
	p->depopulate(page(1), PAGE, FIRST);
	assert_int_equal(p->query(page(0), 4, where), 0);
	assert_int_equal(where[0], FIRST);
	assert_int_equal(where[1], -ENOENT);
	assert_int_equal(where[3], FIRST);
	p->depopulate(page(0), 4 * PAGE, FIRST);
	p->depopulate(page(0), 4 * PAGE, FIRST);
	assert_int_equal(p->resident(FIRST), 0);
}

static void test_outside(void **state)
{
	struct sn_move_result r = {0};
	char *before = window - PAGE;
	int where;

	(void)state;
	p = machine("numa:2 pu:1", NULL);
	assert_int_equal(p->populate(before, PAGE, FIRST), -EINVAL);
	assert_int_equal(p->populate(before, 2 * PAGE, FIRST), -EINVAL);
	assert_int_equal(p->populate(window + ((size_t)1 << 44), PAGE, FIRST), -EINVAL);
	assert_int_equal(p->populate(window, ((size_t)1 << 44) + PAGE, FIRST), -EINVAL);
	assert_int_equal(p->populate(window, PAGE, 1), -EINVAL);
	assert_int_equal(p->populate(window, PAGE, FIRST + 2), -EINVAL);
	assert_int_equal(p->move(window, PAGE, FIRST + 2, &r), -EINVAL);
	assert_int_equal(p->move(before, PAGE, FIRST, &r), -EINVAL);
	assert_int_equal(p->query(before, 1, &where), 0);
	assert_int_equal(where, -ENOENT);
	p->depopulate(before, 2 * PAGE, FIRST);
	assert_int_equal(p->resident(FIRST), 0);
	/* The last page of the window is inside. */
	assert_int_equal(p->populate(window + ((size_t)1 << 44) - PAGE, PAGE, FIRST), 0);
	assert_int_equal(p->resident(FIRST), PAGE);
}

static void test_no_room_for_the_ledger(void **state)
{
	(void)state;
	p = machine("numa:2 pu:1", NULL);
	/* Neither directory nor block, then a directory and no block for it. */
	for (size_t left = 0; left < 2; left++) {
		meta_left = left;
		assert_int_equal(p->populate(page(0), PAGE, FIRST), -ENOMEM);
		assert_int_equal(p->resident(FIRST), 0);
	}
	meta_left = SIZE_MAX;
	assert_int_equal(p->populate(page(0), PAGE, FIRST), 0);
}

static void test_policy_without_own_node(void **state)
{
	struct sn_nodemask mask = {{0}};
	int where[4];

	(void)state;
	p = machine("numa:3 pu:1", "1:4K,2:8K");
	sn_mask_add(&mask, FIRST + 1);
	sn_mask_add(&mask, FIRST + 2);
	assert_int_equal(p->bind_range(page(0), 16 * MIB, FIRST, &mask), 0);
	assert_int_equal(p->populate(page(0), 4 * PAGE, FIRST), -ENOMEM);
	assert_int_equal(p->populate(page(0), 3 * PAGE, FIRST), 0);
	assert_int_equal(p->query(page(0), 3, where), 0);
	assert_int_equal(where[0], FIRST + 1);
	assert_int_equal(where[1], FIRST + 2);
	assert_int_equal(where[2], FIRST + 2);
	assert_int_equal(p->resident(FIRST), 0);
	sn_mask_add(&mask, FIRST);
	assert_int_equal(p->bind_range(page(0), 16 * MIB, FIRST, &mask), 0);
	assert_int_equal(p->populate(page(3), PAGE, FIRST), 0);
	assert_int_equal(p->query(page(3), 1, where), 0);
	assert_int_equal(where[0], FIRST);
	/* Given back where they are, not where they were charged by name. */
	p->depopulate(page(0), 4 * PAGE, FIRST);
	for (unsigned int n = 0; n < 3; n++)
		assert_int_equal(p->resident(FIRST + n), 0);
}

static void test_move_results(void **state)
{
	struct sn_move_result r = {0};
	char message[200];

	(void)state;
	p = machine("numa:2 pu:1", "1:12K");
	assert_int_equal(p->populate(page(0), 5 * PAGE, FIRST), 0);
	assert_int_equal(p->move(page(0), 6 * PAGE, FIRST + 1, &r), 0);
	assert_int_equal(r.moved, 3);
	assert_int_equal(r.no_room, 2);
	assert_int_equal(r.absent, 1);
	assert_int_equal(r.last_error, ENOMEM);
	assert_int_equal(slabnode_module.fault("move=EPERM", message, sizeof(message)), 0);
	assert_int_equal(p->move(page(0), PAGE, FIRST, &r), -EPERM);
	assert_int_equal(p->move(page(0), PAGE, FIRST, &r), 0);
	assert_int_equal(r.moved, 4);
}

/* ---- the walk ---- */

static struct {
	int where[WINDOW_PAGES]; /* node position, -1: absent */
	size_t capacity[NODES];	 /* pages */
} model;

static bool faults_armed;

static size_t model_resident(int node)
{
	size_t n = 0;

	for (size_t i = 0; i < WINDOW_PAGES; i++)
		n += model.where[i] == node;
	return n;
}

static void check_model(void)
{
	static int where[WINDOW_PAGES];

	assert_int_equal(p->query(page(0), WINDOW_PAGES, where), 0);
	for (size_t i = 0; i < WINDOW_PAGES; i++)
		assert_int_equal(where[i],
				 model.where[i] < 0 ? -ENOENT : model.where[i] + (int)FIRST);
	for (unsigned int n = 0; n < NODES; n++) {
		size_t resident = model_resident((int)n);

		assert_int_equal(p->resident(FIRST + n), resident * PAGE);
		assert_int_equal(p->room(FIRST + n), (model.capacity[n] - resident) * PAGE);
	}
}

static void walk_populate(size_t first, size_t count, int node)
{
	size_t absent = 0;
	bool fits;

	for (size_t i = first; i < first + count; i++)
		absent += model.where[i] < 0;
	fits = absent <= model.capacity[node] - model_resident(node);
	assert_int_equal(p->populate(page(first), count * PAGE, FIRST + (unsigned int)node),
			 fits ? 0 : -ENOMEM);
	for (size_t i = first; fits && i < first + count; i++)
		if (model.where[i] < 0)
			model.where[i] = node;
}

static void walk_depopulate(size_t first, size_t count)
{
	p->depopulate(page(first), count * PAGE, FIRST);
	for (size_t i = first; i < first + count; i++)
		model.where[i] = -1;
}

/* Which pages an injected failure hits is the simulator's choice: the model takes the pages from
 * the query, and checks that they and the result tell the same story. */
static void walk_move(size_t first, size_t count, int target)
{
	static int where[WINDOW_PAGES];
	struct sn_move_result r = {0};
	size_t room = model.capacity[target] - model_resident(target), moved = 0, absent = 0;
	size_t stayed, changed = 0;

	assert_int_equal(p->move(page(first), count * PAGE, FIRST + (unsigned int)target, &r), 0);
	assert_int_equal(p->query(page(first), count, where), 0);
	for (size_t i = 0; i < count; i++) {
		int *old = &model.where[first + i];
		int now = where[i] == -ENOENT ? -1 : where[i] - (int)FIRST;

		assert_true(now == *old || (now == target && *old >= 0));
		absent += now < 0;
		moved += now == target;
		changed += now != *old;
		*old = now;
	}
	assert_true(changed <= room);
	assert_int_equal(r.moved, moved);
	assert_int_equal(r.absent, absent);
	stayed = r.busy + r.shared + r.no_room + r.failed;
	assert_int_equal(stayed, count - moved - absent);
	assert_int_equal(stayed > 0, r.last_error != 0);
	if (changed < room && !faults_armed)
		assert_int_equal(stayed, 0);
}

static void arm(const char *spec)
{
	char message[200];

	if (slabnode_module.fault(spec, message, sizeof(message)) != 0)
		fail_msg("%s", message);
}

static void walk_faults(void)
{
	static const char *const kinds[] = {"move-busy%5", "move-shared%3", "move-nomem%2.5",
					    "move=EIO%10", "move=EACCES%10"};
	char text[64];

	arm("off");
	faults_armed = next_random(2) == 0;
	if (!faults_armed)
		return;
	snprintf(text, sizeof(text), "%s,seed=%u", kinds[next_random(SN_ARRAY_SIZE(kinds))],
		 (unsigned int)next_random(1000));
	arm(text);
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text == NULL ? otherwise : strtoull(text, NULL, 0);
}

static void test_walk(void **state)
{
	uint64_t seed = number_from("SIM_TEST_SEED", 29),
		 steps = number_from("SIM_TEST_STEPS", 2000);

	(void)state;
	print_message("seed %llu, %llu steps\n", (unsigned long long)seed,
		      (unsigned long long)steps);
	random_state = seed;
	p = machine("numa:4 pu:1", "0:8M,1:8M,2:4M,3:12M");
	memset(model.where, -1, sizeof(model.where));
	for (unsigned int n = 0; n < NODES; n++)
		model.capacity[n] = p->capacity(FIRST + n) / PAGE;
	assert_int_equal(model.capacity[0], CAPACITY_PAGES);
	for (uint64_t i = 0; i < steps; i++) {
		size_t first = next_random(WINDOW_PAGES);
		size_t longest = 1 + next_random(4096); /* mostly short, sometimes blocks long */
		size_t count = 1 + next_random(sn_min(longest, WINDOW_PAGES - first));
		int node = (int)next_random(NODES);

		switch (next_random(8)) {
		case 0:
			walk_faults();
			break;
		case 1:
		case 2:
			walk_depopulate(first, count);
			break;
		case 3:
		case 4:
			walk_move(first, count, node);
			break;
		default:
			walk_populate(first, count, node);
		}
		check_model();
	}
}

/* ---- threads and fork ---- */

struct worker {
	pthread_t thread;
	unsigned int number;
	int errors;
};

static void *work(void *arg)
{
	struct worker *w = arg;

	for (int i = 0; i < 2000; i++) {
		size_t first = w->number * 3000 + (size_t)i % 7;
		struct sn_move_result r = {0};
		int where;

		w->errors += p->populate(page(first), 64 * PAGE, FIRST + w->number % 2) != 0;
		w->errors += p->move(page(first), 64 * PAGE, FIRST + i % 2, &r) != 0;
		w->errors += r.moved != 64;
		w->errors += p->query(page(first), 1, &where) != 0 || where != (int)FIRST + i % 2;
		p->depopulate(page(first), 64 * PAGE, FIRST);
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct worker w[4] = {{0}};

	(void)state;
	p = machine("numa:2 pu:1", "1M");
	for (unsigned int i = 0; i < 4; i++) {
		w[i].number = i;
		assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
	}
	for (unsigned int i = 0; i < 4; i++) {
		pthread_join(w[i].thread, NULL);
		assert_int_equal(w[i].errors, 0);
	}
	assert_int_equal(p->resident(FIRST) + p->resident(FIRST + 1), 0);
}

static void test_fork(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	p = machine("numa:2 pu:1", NULL);
	assert_int_equal(p->populate(page(0), PAGE, FIRST), 0);
	slabnode_module.fork_prepare();
	pid = fork();
	if (pid == 0) {
		slabnode_module.fork_child();
		alarm(10); /* a lock that was forgotten */
		_exit(p->populate(page(1), PAGE, FIRST) != 0 || p->resident(FIRST) != 2 * PAGE);
	}
	slabnode_module.fork_parent();
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_int_equal(p->populate(page(1), PAGE, FIRST), 0);
	assert_int_equal(p->resident(FIRST), 2 * PAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_capacity_is_charged),
		cmocka_unit_test(test_outside),
		cmocka_unit_test(test_no_room_for_the_ledger),
		cmocka_unit_test(test_policy_without_own_node),
		cmocka_unit_test(test_move_results),
		cmocka_unit_test(test_walk),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_fork),
	};

	/* The ledger counts pages; nobody touches them.  Not aligned to more than a page, since
	 * nothing may rest on that. */
	window = (char *)mmap(NULL, 64 * MIB, PROT_NONE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) +
		 PAGE;
	return cmocka_run_group_tests_name("ledger", tests, NULL, NULL);
}
