/*
 * test_numa.c - slabnode-numa's sources on a machine that the test makes up.
 *
 * libnuma is not linked: its functions and the system calls' wrappers are defined here, over a
 * machine with nodes 1, 4, 9 and 12 (no node 0; 9 has CPUs and no memory, 4 has memory and no
 * CPUs) and a page table of PAGES pages.  `deny` makes single calls fail as a container does.
 */
#include "sim_test.h"

#include <numa.h>
#include <numaif.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../preload/numa_module.h"

#define PAGES	     1200
#define STATIC_NODES (1 << 15)
#define HOME_NODE    450

static const int machine_node[] = {1, 4, 9, 12};

static struct {
	int mbind, home, move, move_all, get; /* errno, 0: works */
	int available;
} deny;

static struct {
	int mode, calls;
	unsigned long nodes; /* the first word */
	long home;
} bound;

static struct {
	unsigned long cpuset, policy_nodes;
	int policy;
	int where[PAGES];   /* node, or a negative errno value */
	int stuck[PAGES];   /* status that a page which does not move reports, 0: moves */
	bool marked[PAGES]; /* by NUMA balancing: move_pages() does not see it */
	size_t huge_tail;   /* this page reports EBUSY and moves, as tails of huge pages do */
	long migrate_stays;
	unsigned long migrate_from, migrate_to;
} fake;

/* ---- libnuma ---- */

static unsigned long nodes_word[NUMA_MASK_WORDS], memory_word[NUMA_MASK_WORDS];
static struct bitmask nodes_mask = {NUMA_MAX_OS_NODES, nodes_word};
static struct bitmask memory_mask = {NUMA_MAX_OS_NODES, memory_word};
struct bitmask *numa_nodes_ptr = &nodes_mask, *numa_all_nodes_ptr = &memory_mask;

static int answer(int error)
{
	errno = error;
	return error == 0 ? 0 : -1;
}

int numa_available(void)
{
	return answer(deny.available);
}

int numa_bitmask_isbitset(const struct bitmask *mask, unsigned int n)
{
	return n < mask->size && (mask->maskp[n / 64] >> n % 64 & 1) != 0;
}

struct bitmask *numa_bitmask_clearall(struct bitmask *mask)
{
	memset(mask->maskp, 0, mask->size / 8);
	return mask;
}

struct bitmask *numa_allocate_cpumask(void)
{
	struct bitmask *mask = calloc(1, sizeof(*mask) + 16);

	mask->size = 128;
	mask->maskp = (unsigned long *)(mask + 1);
	return mask;
}

void numa_bitmask_free(struct bitmask *mask)
{
	free(mask);
}

int numa_num_possible_cpus(void)
{
	return 100;
}

int numa_node_to_cpus(int node, struct bitmask *mask)
{
	if (node == 1)
		mask->maskp[0] = 0x3;
	else if (node == 9)
		mask->maskp[1] = 0x5; /* CPUs 64 and 66 */
	else if (node == 12)
		return -1;
	return 0;
}

long long numa_node_size64(int node, long long *freep)
{
	*freep = 0;
	return node == 9 ? 0 : (long long)node << 30;
}

int numa_distance(int a, int b)
{
	if (b == 12 && a == 9)
		return 0; /* no such column */
	return a == b ? 10 : 10 + abs(a - b);
}

/* ---- system calls ---- */

long get_mempolicy(int *mode, unsigned long *mask, unsigned long maxnode, void *addr,
		   unsigned int flags)
{
	(void)addr;
	assert_int_equal(maxnode, NUMA_MAX_OS_NODES + 1);
	if (deny.get != 0)
		return answer(deny.get);
	memset(mask, 0, NUMA_MAX_OS_NODES / 8);
	mask[0] = flags == MPOL_F_MEMS_ALLOWED ? fake.cpuset : fake.policy_nodes;
	if (mode != NULL)
		*mode = fake.policy;
	return 0;
}

long mbind(void *addr, unsigned long len, int mode, const unsigned long *mask,
	   unsigned long maxnode, unsigned int flags)
{
	(void)addr, (void)len;
	assert_int_equal(maxnode, NUMA_MAX_OS_NODES + 1);
	assert_int_equal(flags, 0);
	assert_true((mode & STATIC_NODES) != 0);
	bound.mode = mode & ~STATIC_NODES;
	bound.nodes = mask[0];
	bound.home = -1;
	bound.calls++;
	return answer(deny.mbind);
}

long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
	va_list args;
	long arg[4];

	va_start(args, number);
	for (int i = 0; i < 4; i++)
		arg[i] = va_arg(args, long);
	va_end(args);
	assert_int_equal(number, HOME_NODE);
	assert_int_equal(bound.mode, MPOL_BIND);
	assert_int_equal(arg[3], 0);
	if (deny.home == 0)
		bound.home = arg[2];
	return answer(deny.home);
}

static size_t page_number(const void *page)
{
	size_t n = (size_t)((const char *)page - window) / PAGE;

	assert_in_range(n, 0, PAGES - 1);
	return n;
}

static int move_one(size_t n, int target, int flags)
{
	if (fake.where[n] < 0)
		return fake.where[n];
	if (fake.stuck[n] == -EACCES && flags == MPOL_MF_MOVE_ALL)
		fake.stuck[n] = 0;
	if (fake.stuck[n] != 0)
		return fake.stuck[n];
	fake.where[n] = target;
	return n == fake.huge_tail ? -EBUSY : target;
}

long move_pages(int pid, unsigned long count, void **pages, const int *nodes, int *status,
		int flags)
{
	assert_int_equal(pid, 0);
	if (deny.move != 0 || (flags == MPOL_MF_MOVE_ALL && deny.move_all != 0))
		return answer(deny.move != 0 ? deny.move : deny.move_all);
	for (unsigned long i = 0; i < count; i++) {
		/* The probe asks for a page outside of the window. */
		bool mine = (char *)pages[i] >= window && (char *)pages[i] < window + 64 * MIB;
		size_t n = mine ? page_number(pages[i]) : 0;

		if (nodes == NULL)
			status[i] = mine && !fake.marked[n] ? fake.where[n] : -ENOENT;
		else if (fake.marked[n])
			status[i] = -ENOENT;
		else
			status[i] = move_one(n, nodes[i], flags);
	}
	return 0;
}

/* A page that is there has a node; reading one takes its mark off. */
int __wrap_mincore(void *addr, size_t len, unsigned char *there);
int __wrap_mincore(void *addr, size_t len, unsigned char *there)
{
	for (size_t i = 0; i < len / PAGE; i++)
		there[i] = fake.where[page_number(addr) + i] >= 0;
	return 0;
}

int __wrap_madvise(void *addr, size_t len, int advice);
int __wrap_madvise(void *addr, size_t len, int advice)
{
	assert_int_equal(len, PAGE);
	assert_int_equal(advice, MADV_POPULATE_READ);
	assert_true(fake.where[page_number(addr)] >= 0);
	fake.marked[page_number(addr)] = false;
	return 0;
}

long migrate_pages(int pid, unsigned long maxnode, const unsigned long *from,
		   const unsigned long *to)
{
	assert_int_equal(pid, 0);
	assert_int_equal(maxnode, NUMA_MAX_OS_NODES + 1);
	fake.migrate_from = from[0];
	fake.migrate_to = to[0];
	if (fake.migrate_stays < 0)
		return answer((int)-fake.migrate_stays);
	return fake.migrate_stays;
}

/* ---- the tests ---- */

static struct sn_topology t;
static const struct sn_placement *p;

static unsigned long bits(int a, int b, int c)
{
	return 1ul << a | 1ul << b | 1ul << c;
}

/* Node indexes of the made-up machine: 1, 4, 9, 12 are at FIRST.. */
static unsigned int index_of(int os_node)
{
	for (unsigned int i = 0; i < SN_ARRAY_SIZE(machine_node); i++)
		if (machine_node[i] == os_node)
			return FIRST + i;
	fail();
	return 0;
}

static struct sn_nodemask nodes_of(unsigned long os_nodes)
{
	struct sn_nodemask mask = {{0}};

	for (unsigned int i = 0; i < SN_ARRAY_SIZE(machine_node); i++)
		if ((os_nodes >> machine_node[i] & 1) != 0)
			sn_mask_add(&mask, FIRST + i);
	return mask;
}

static void start(const char *placement)
{
	struct sn_module_args args = test_args(NULL, NULL);
	char message[200];

	args.placement = placement;
	assert_int_equal(slabnode_module.discover(&args, &t, message, sizeof(message)), 0);
	p = t.placement;
	bound.calls = 0;
}

static int setup(void **state)
{
	(void)state;
	memset(&deny, 0, sizeof(deny));
	memset(&fake, 0, sizeof(fake));
	fake.cpuset = bits(1, 4, 12);
	fake.huge_tail = PAGES;
	for (size_t i = 0; i < PAGES; i++)
		fake.where[i] = 1;
	nodes_word[0] = bits(1, 4, 9) | 1ul << 12;
	memory_word[0] = bits(1, 4, 12);
	start("preferred");
	return 0;
}

static void test_topology(void **state)
{
	char cpus[32];

	(void)state;
	assert_int_equal(t.nr_nodes, 4);
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(t.node[i].os_number, machine_node[i]);
	assert_false(t.node[2].has_memory);
	assert_true(t.node[0].has_memory && t.node[0].allowed && t.node[3].allowed);
	assert_int_equal(t.node[0].nr_cpus, 2);
	assert_int_equal(t.node[1].nr_cpus, 0);
	assert_int_equal(t.node[3].nr_cpus, 0);
	assert_true(t.node[1].size == 4 * GIB && p->capacity(index_of(4)) == 4 * GIB);
	assert_int_equal(t.node[0].distance[3], 21);
	assert_int_equal(t.node[2].distance[3], 20);
	assert_int_equal(t.node[2].distance[2], 10);
	p->cpus(index_of(9), cpus, sizeof(cpus));
	assert_string_equal(cpus, "64,66");
	assert_string_equal(p->name, "bound");
	assert_string_equal(p->reason, "own node first");
}

static void allowed_are(unsigned long os_nodes)
{
	for (unsigned int i = 0; i < 4; i++)
		if (t.node[i].has_memory)
			assert_int_equal(t.node[i].allowed, os_nodes >> machine_node[i] & 1);
}

static void test_start_policy(void **state)
{
	(void)state;
	fake.cpuset = bits(1, 12, 12);
	start("preferred");
	allowed_are(bits(1, 12, 12));
	fake.cpuset = bits(1, 4, 12);
	fake.policy_nodes = bits(4, 12, 12);
	fake.policy = MPOL_BIND;
	start("preferred");
	allowed_are(bits(4, 12, 12));
	fake.policy = MPOL_INTERLEAVE | STATIC_NODES;
	start("preferred");
	allowed_are(bits(4, 12, 12));
	fake.policy = MPOL_PREFERRED;
	start("preferred");
	allowed_are(bits(1, 4, 12));
	/* Relative to the cpuset: its second node, and its fifth, counted around. */
	fake.policy = MPOL_BIND | 1 << 14;
	fake.policy_nodes = bits(1, 4, 4);
	start("preferred");
	allowed_are(bits(4, 4, 4));
	fake.policy_nodes = bits(1, 3, 3);
	start("preferred");
	allowed_are(bits(1, 4, 4));
	/* The kernel does not say: what /proc said counts. */
	deny.get = EPERM;
	deny.available = EPERM;
	start("preferred");
	allowed_are(bits(1, 4, 12));
}

static unsigned long allowed_now(void)
{
	struct sn_nodemask mask = {{0}};
	unsigned long os_nodes = 0;

	if (p->allowed(&mask) != 0)
		return 0;
	for (unsigned int i = 0; i < 4; i++)
		if (sn_mask_has(&mask, index_of(machine_node[i])))
			os_nodes |= 1ul << machine_node[i];
	return os_nodes;
}

/* The cpuset shrinks and grows again under a program that was bound at its start. */
static void test_cpuset_changes(void **state)
{
	(void)state;
	fake.policy = MPOL_BIND;
	fake.policy_nodes = bits(1, 4, 4);
	start("preferred");
	assert_int_equal(allowed_now(), bits(1, 4, 4));
	fake.cpuset = bits(4, 12, 12);
	assert_int_equal(allowed_now(), bits(4, 4, 4));
	fake.cpuset = bits(12, 12, 12); /* nothing of the policy is left: the cpuset rules */
	assert_int_equal(allowed_now(), bits(12, 12, 12));
	fake.cpuset = bits(1, 4, 12);
	assert_int_equal(allowed_now(), bits(1, 4, 4));
	deny.get = EPERM;
	assert_int_equal(allowed_now(), 0);
}

/* numactl --preferred=4: threads prefer that node, and none is forbidden. */
static void test_preferred_at_start(void **state)
{
	(void)state;
	fake.policy = MPOL_PREFERRED;
	fake.policy_nodes = bits(4, 4, 4);
	start("preferred");
	assert_int_equal(t.preferred, index_of(4));
	allowed_are(bits(1, 4, 12));
	fake.policy_nodes = 0; /* prefers the local node */
	start("preferred");
	assert_int_equal(t.preferred, 0);
	fake.policy = MPOL_BIND;
	fake.policy_nodes = bits(4, 4, 4);
	start("preferred");
	assert_int_equal(t.preferred, 0);
}

static void bind_for(int os_node, unsigned long allowed)
{
	struct sn_nodemask mask = nodes_of(allowed);

	assert_int_equal(p->bind_range(window, 16 * MIB, index_of(os_node), &mask), 0);
}

static void test_bind_preferred(void **state)
{
	(void)state;
	bind_for(4, bits(1, 4, 12));
	assert_int_equal(bound.mode, MPOL_BIND);
	assert_int_equal(bound.nodes, bits(1, 4, 12));
	assert_int_equal(bound.home, 4);
	/* A node without memory is never in a mask. */
	bind_for(4, bits(4, 9, 12));
	assert_int_equal(bound.nodes, bits(4, 12, 12));
	/* The node leaves: the nearest of the rest is home. */
	bind_for(4, bits(1, 12, 12));
	assert_int_equal(bound.nodes, bits(1, 12, 12));
	assert_int_equal(bound.home, 1);
	bind_for(9, bits(1, 12, 12));
	assert_int_equal(bound.home, 1); /* 18 away; 12 has no distance from 9, so 20 */
}

/* The allocator's own structures: anywhere in the mask, and nowhere else. */
static void test_bind_internal(void **state)
{
	struct sn_nodemask mask = nodes_of(bits(1, 4, 4));

	(void)state;
	assert_int_equal(p->bind_range(window, PAGE, SN_NODE_INTERNAL, &mask), 0);
	assert_int_equal(bound.mode, MPOL_BIND);
	assert_int_equal(bound.nodes, bits(1, 4, 4));
	assert_int_equal(bound.home, -1);
}

static void test_bind_without_homes(void **state)
{
	(void)state;
	deny.home = ENOSYS;
	start("preferred");
	assert_string_equal(p->name, "bound");
	assert_non_null(strstr(p->reason, "preferred node only"));
	bind_for(4, bits(1, 4, 12));
	assert_int_equal(bound.mode, MPOL_PREFERRED);
	assert_int_equal(bound.nodes, 1ul << 4);
	assert_int_equal(bound.calls, 1);
	bind_for(4, bits(1, 12, 12));
	assert_int_equal(bound.mode, MPOL_BIND);
	assert_int_equal(bound.nodes, bits(1, 12, 12));
}

static void test_homes_vanish_later(void **state)
{
	(void)state;
	deny.home = EPERM;
	bind_for(4, bits(1, 4, 12));
	assert_int_equal(bound.mode, MPOL_PREFERRED);
	assert_int_equal(bound.nodes, 1ul << 4);
	assert_non_null(strstr(p->reason, "preferred node only"));
}

static void test_bind_strict(void **state)
{
	(void)state;
	start("strict");
	bind_for(4, bits(1, 4, 12));
	assert_int_equal(bound.mode, MPOL_BIND);
	assert_int_equal(bound.nodes, 1ul << 4);
	bind_for(4, bits(1, 12, 12));
	assert_int_equal(bound.nodes, bits(1, 12, 12));
}

static void test_none_makes_no_calls(void **state)
{
	struct sn_move_result r = {0};
	int where;

	(void)state;
	deny.mbind = deny.move = EIO; /* would show */
	start("none");
	assert_string_equal(p->name, "first-touch");
	bind_for(4, bits(1, 4, 12));
	assert_int_equal(bound.calls, 0);
	assert_int_equal(p->move(window, PAGE, index_of(4), &r), -ENOSYS);
	assert_int_equal(p->query(window, 1, &where), -ENOSYS);
}

static void test_bind_errors(void **state)
{
	struct sn_nodemask none = {{0}}, some = nodes_of(bits(1, 4, 12));

	(void)state;
	assert_int_equal(p->bind_range(window, PAGE, index_of(4), &none), -EINVAL);
	assert_int_equal(p->bind_range(window, PAGE, FIRST + 4, &some), -EINVAL);
	deny.mbind = ENOMEM;
	errno = 77;
	assert_int_equal(p->bind_range(window, PAGE, index_of(4), &some), -ENOMEM);
	assert_int_equal(errno, 77);
	assert_string_equal(p->name, "bound");
	/* A container: everything goes on, and the call is not made again. */
	deny.mbind = EPERM;
	assert_int_equal(p->bind_range(window, PAGE, index_of(4), &some), 0);
	assert_string_equal(p->name, "first-touch");
	assert_non_null(strstr(p->reason, "mbind"));
	bound.calls = 0;
	assert_int_equal(p->bind_range(window, PAGE, index_of(4), &some), 0);
	assert_int_equal(bound.calls, 0);
}

static void test_container(void **state)
{
	struct sn_move_result r = {0};
	int where;

	(void)state;
	deny.get = deny.mbind = deny.move = deny.available = EPERM;
	start("preferred");
	assert_int_equal(t.nr_nodes, 4);
	assert_string_equal(p->name, "first-touch");
	assert_non_null(strstr(p->reason, "not permitted"));
	assert_int_equal(p->query(window, 1, &where), -EPERM);
	assert_int_equal(p->move(window, PAGE, index_of(4), &r), -EPERM);
	assert_int_equal(warnings, 0);
}

static void test_query(void **state)
{
	static int where[PAGES];

	(void)state;
	fake.where[0] = -ENOENT;
	fake.where[1] = -EFAULT;
	fake.where[2] = 12;
	fake.where[3] = -EIO;
	fake.where[PAGES - 1] = 4;
	assert_int_equal(p->query(window, PAGES, where), 0);
	assert_int_equal(where[0], -ENOENT);
	assert_int_equal(where[1], -ENOENT);
	assert_int_equal(where[2], index_of(12));
	assert_int_equal(where[3], -EIO);
	assert_int_equal(where[4], index_of(1));
	assert_int_equal(where[PAGES - 1], index_of(4));
}

static void test_move(void **state)
{
	struct sn_move_result r = {0};

	(void)state;
	deny.move_all = EPERM;
	fake.where[0] = -ENOENT;
	fake.where[1] = -EFAULT;
	fake.where[2] = 4; /* there already */
	fake.stuck[3] = -EBUSY;
	fake.stuck[4] = -EACCES;
	fake.stuck[5] = -ENOMEM;
	fake.stuck[6] = -EIO;
	fake.stuck[7] = 1; /* the call says nothing of it */
	fake.huge_tail = 8;
	assert_int_equal(p->move(window, PAGES * PAGE, index_of(4), &r), 0);
	assert_int_equal(r.absent, 2);
	assert_int_equal(r.busy, 2);
	assert_int_equal(r.shared, 1);
	assert_int_equal(r.no_room, 1);
	assert_int_equal(r.failed, 1);
	assert_int_equal(r.moved, PAGES - 7);
	assert_int_equal(r.last_error, EBUSY);
	/* With permission the shared one goes as well. */
	deny.move_all = 0;
	start("preferred");
	memset(&r, 0, sizeof(r));
	assert_int_equal(p->move(window, PAGES * PAGE, index_of(4), &r), 0);
	assert_int_equal(r.shared, 0);
	assert_int_equal(r.moved, PAGES - 6);
}

/* Busy at first, since they are seen only after the call that should have moved them. */
static void test_marked_pages(void **state)
{
	struct sn_move_result r = {0};
	int where[4];

	(void)state;
	fake.marked[1] = fake.marked[2] = true;
	fake.where[3] = -ENOENT;
	assert_int_equal(p->move(window, 4 * PAGE, index_of(4), &r), 0);
	assert_int_equal(r.moved, 1);
	assert_int_equal(r.busy, 2);
	assert_int_equal(r.absent, 1);
	fake.marked[1] = true;
	assert_int_equal(p->query(window, 4, where), 0);
	assert_int_equal(where[0], index_of(4));
	assert_int_equal(where[1], index_of(1));
	assert_int_equal(where[2], index_of(1));
	assert_int_equal(where[3], -ENOENT);
}

static void test_move_refused(void **state)
{
	struct sn_move_result r = {0};

	(void)state;
	deny.move = ENODEV;
	assert_int_equal(p->move(window, PAGE, index_of(4), &r), -ENODEV);
	deny.move = ENOSYS;
	assert_int_equal(p->move(window, PAGE, index_of(4), &r), -ENOSYS);
	assert_string_equal(p->name, "first-touch");
	assert_non_null(strstr(p->reason, "move_pages"));
	assert_int_equal(p->move(window, PAGE, FIRST + 4, &r), -EINVAL);
	assert_int_equal(r.moved, 0);
}

static void test_move_process(void **state)
{
	struct sn_nodemask to = nodes_of(bits(4, 9, 12));
	struct sn_move_result r = {0};

	(void)state;
	fake.migrate_stays = 3;
	assert_int_equal(slabnode_module.move_process(index_of(1), &to, &r), 0);
	assert_int_equal(fake.migrate_from, 1ul << 1);
	assert_int_equal(fake.migrate_to, bits(4, 12, 12));
	assert_int_equal(r.busy, 3);
	assert_int_equal(r.last_error, EBUSY);
	fake.migrate_stays = -EPERM;
	assert_int_equal(slabnode_module.move_process(index_of(1), &to, &r), -EPERM);
}

static void test_room(void **state)
{
	char dir[] = "/tmp/slabnode-test-XXXXXX", path[128];
	FILE *f;

	(void)state;
	assert_non_null(mkdtemp(dir));
	numa_sysfs_nodes = dir;
	assert_int_equal(p->room(index_of(4)), 0);
	snprintf(path, sizeof(path), "%s/node4", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	strcat(path, "/meminfo");
	f = fopen(path, "w");
	assert_non_null(f);
	fputs("Node 4 MemTotal:       4194304 kB\nNode 4 MemFree:           1234 kB\n", f);
	fclose(f);
	assert_int_equal(p->room(index_of(4)), 1234 * 1024);
	unlink(path);
	*strrchr(path, '/') = '\0';
	rmdir(path);
	rmdir(dir);
}

static void write_file(const char *dir, const char *name, const char *text)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static struct {
	int calls, error, last;
} added;

static int add_node(struct sn_topology *topology)
{
	added.calls++;
	added.last = topology->node[topology->nr_nodes - 1].os_number;
	return added.error;
}

/* Nodes 6 and 9 get memory: 6 is new, 9 was known by its CPUs; 7 has none and 13 is refused. */
static void test_look(void **state)
{
	char dir[] = "/tmp/numa-test-XXXXXX", name[32], path[128];
	const int present[] = {1, 4, 6, 9, 12};
	struct sn_nodemask mask = {{0}};

	(void)state;
	assert_non_null(mkdtemp(dir));
	numa_sysfs_nodes = dir;
	memset(&added, 0, sizeof(added));
	slabnode_module.look(&t, add_node); /* no such files */
	assert_int_equal(added.calls, 0);
	for (size_t i = 0; i < SN_ARRAY_SIZE(present); i++) {
		snprintf(path, sizeof(path), "%s/node%d", dir, present[i]);
		assert_int_equal(mkdir(path, 0700), 0);
		snprintf(name, sizeof(name), "node%d/meminfo", present[i]);
		write_file(dir, name, "Node 0 MemTotal: 2097152 kB\n");
	}
	write_file(dir, "has_memory", "1,4,6-7,9,12\n");
	write_file(dir, "online", "1,4,6-7,9,12\n");
	write_file(dir, "node6/distance", "31 32 10 33 34 35\n");
	added.error = -ENOSPC;
	slabnode_module.look(&t, add_node);
	assert_int_equal(added.calls, 1);
	assert_int_equal(t.nr_nodes, 4);
	added.error = 0;
	slabnode_module.look(&t, add_node);
	assert_int_equal(added.calls, 2);
	assert_int_equal(added.last, 6);
	assert_int_equal(t.nr_nodes, 5);
	assert_true(t.node[4].has_memory && t.node[4].allowed && t.node[4].size == 2 * GIB);
	for (unsigned int i = 0; i < 4; i++) {
		const int distance[] = {31, 32, 34, 35};

		assert_int_equal(t.node[4].distance[i], distance[i]);
		assert_int_equal(t.node[i].distance[4], distance[i]);
	}
	assert_int_equal(t.node[4].distance[4], 10);
	assert_true(t.node[2].has_memory && p->capacity(index_of(9)) == 2 * GIB);
	slabnode_module.look(&t, add_node);
	assert_int_equal(added.calls, 2);
	/* From now on it is a node like any other. */
	fake.cpuset = bits(1, 4, 6);
	assert_int_equal(p->allowed(&mask), 0);
	assert_true(sn_mask_has(&mask, FIRST + 4));
	mask = nodes_of(bits(4, 9, 9));
	sn_mask_add(&mask, FIRST + 4);
	assert_int_equal(p->bind_range(window, PAGE, FIRST + 4, &mask), 0);
	assert_int_equal(bound.nodes, bits(4, 6, 9));
	assert_int_equal(bound.home, 6);
	snprintf(path, sizeof(path), "rm -r %s", dir);
	assert_int_equal(system(path), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_topology, setup),
		cmocka_unit_test_setup(test_start_policy, setup),
		cmocka_unit_test_setup(test_cpuset_changes, setup),
		cmocka_unit_test_setup(test_preferred_at_start, setup),
		cmocka_unit_test_setup(test_bind_preferred, setup),
		cmocka_unit_test_setup(test_bind_internal, setup),
		cmocka_unit_test_setup(test_bind_without_homes, setup),
		cmocka_unit_test_setup(test_homes_vanish_later, setup),
		cmocka_unit_test_setup(test_bind_strict, setup),
		cmocka_unit_test_setup(test_none_makes_no_calls, setup),
		cmocka_unit_test_setup(test_bind_errors, setup),
		cmocka_unit_test_setup(test_container, setup),
		cmocka_unit_test_setup(test_query, setup),
		cmocka_unit_test_setup(test_move, setup),
		cmocka_unit_test_setup(test_marked_pages, setup),
		cmocka_unit_test_setup(test_move_refused, setup),
		cmocka_unit_test_setup(test_move_process, setup),
		cmocka_unit_test_setup(test_room, setup),
		cmocka_unit_test_setup(test_look, setup),
	};

	window =
		mmap(NULL, 64 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return cmocka_run_group_tests_name("numa", tests, NULL, NULL);
}
