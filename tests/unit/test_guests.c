/*
 * test_guests.c - memory that is not where it belongs, since its node is or was away: lent to a
 * stand-in, a guest on another node, and brought back.
 */
#include "unit.h"

#include "reap.h"
#include "rebind.h"

#define NODE (FIRST + 1) /* the one that leaves */

/* Nodes that were never away cost nothing; those that were do, until a rebalance. */
UNIT_TEST(offline_follows_the_node)
{
	struct sn_lifecycle_result result;
	void *p;

	unit_start(3);
	p = unit_hold(NODE + 1, 200 * MIB);
	sn_free(unit_hold(NODE, MIB));
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
	CHECK(atomic_load(&machine.queried) < 2 * SN_SEG_PAGES);
	CHECK_EQUAL(unit_online(NODE), 0);
	CHECK_EQUAL(unit_offline(NODE + 1, SN_MIGRATE, -1, NULL), 0);
	CHECK_EQUAL(sn_online(NODE + 1, false, &result), 0);
	atomic_store(&machine.queried, 0);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
	CHECK(atomic_load(&machine.queried) > 200 * MIB >> SN_PAGE_SHIFT);
	CHECK_EQUAL(unit_online(NODE), 0);
	CHECK_EQUAL(sn_online(NODE + 1, true, &result), 0);
	atomic_store(&machine.queried, 0);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, NULL), 0);
	CHECK(atomic_load(&machine.queried) < 2 * SN_SEG_PAGES);
	sn_free(p);
}

/* Partly filled slabs of a node that is away serve its stand-in. */
UNIT_TEST(loan_and_its_end)
{
	struct sn_lifecycle_result result;
	unsigned int lent = 0;
	void *p[4000];

	unit_start(3);
	unit_cpu_node(NODE);
	for (unsigned int i = 0; i < 4000; i++)
		p[i] = sn_malloc(64);
	for (unsigned int i = 0; i < 4000; i += 2) {
		CHECK_EQUAL(sn_home_of(p[i]), NODE);
		sn_free(p[i]);
	}
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, &result), 0);
	for (unsigned int i = 0; i < 4000; i += 2) {
		p[i] = sn_malloc(64);
		lent += sn_home_of(p[i]) == NODE;
		CHECK(unit_page_node(p[i]) != NODE);
		CHECK(unit_page_node(p[i]) != 0);
	}
	CHECK(lent > 1500);
	CHECK_EQUAL(unit_resident(NODE), 0);
	for (unsigned int i = 0; i < 4000; i += 2)
		sn_free(p[i]); /* into the arrays of the stand-in */
	CHECK_EQUAL(unit_online(NODE), 0);
	for (unsigned int i = 1; i < 4000; i += 2)
		sn_free(p[i]);
	/* Nothing of it is left in arrays of another node: else this is busy. */
	CHECK_EQUAL(unit_offline(NODE, SN_STRICT, -1, &result), 0);
	CHECK_EQUAL(unit_out(NODE), 0);
}

/* A node that hosts what another one moved to it has to give that up, too. */
static void guests_leave(enum sn_policy policy)
{
	struct sn_lifecycle_result result;
	unsigned int host;
	void *p, *q;

	unit_start(4);
	unit_fill(p = unit_hold(NODE, 3 * MIB), 3 * MIB, 1);
	unit_fill(q = unit_hold(NODE, 500), 500, 2);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, &result), 0);
	host = unit_page_node(p);
	CHECK(host != NODE);
	CHECK_EQUAL(result.guest_bytes, 0);
	CHECK_EQUAL(unit_offline(host, policy, -1, &result), 0);
	CHECK(result.guest_bytes >= 3 * MIB);
	CHECK(result.guest_bytes <= result.migrated_bytes);
	CHECK_EQUAL(unit_state(host), SN_OFFLINE);
	CHECK(unit_page_node(p) != host);
	CHECK(unit_page_node(q) != host);
	CHECK_EQUAL(unit_resident(host), 0);
	CHECK(unit_intact(p, 3 * MIB, 1) && unit_intact(q, 500, 2));
}

UNIT_TEST(guests_leave_by_migrate)
{
	guests_leave(SN_MIGRATE);
}

UNIT_TEST(guests_leave_by_strict)
{
	guests_leave(SN_STRICT);
}

/* A block of NODE, which has left; the node that its pages are on. */
static unsigned int make_guest(void **p)
{
	struct sn_lifecycle_result result;

	unit_fill(*p = unit_hold(NODE, 3 * MIB), 3 * MIB, 1);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, &result), 0);
	return unit_page_node(*p);
}

/* A refusal says whose pages it moved all the same. */
UNIT_TEST(guests_leave_before_a_refusal)
{
	struct sn_lifecycle_result result;
	unsigned int host;
	void *p;

	unit_start(4);
	host = make_guest(&p);
	unit_fill(unit_hold(host, MIB), MIB, 2);
	CHECK_EQUAL(unit_offline(host, SN_STRICT, -1, &result), -EBUSY);
	CHECK(unit_page_node(p) != host);
	CHECK(result.guest_bytes >= 3 * MIB);
	CHECK_EQUAL(result.migrated_bytes, result.guest_bytes);
	CHECK_EQUAL(unit_offline(host, SN_STRICT, -1, &result), -EBUSY);
	CHECK_EQUAL(result.migrated_bytes, 0);
}

/* The same when the first node has returned without them. */
UNIT_TEST(guests_of_an_online_node_leave)
{
	struct sn_lifecycle_result result;
	unsigned int host;
	void *p;

	unit_start(4);
	host = make_guest(&p);
	CHECK_EQUAL(unit_online(NODE), 0);
	CHECK_EQUAL(unit_page_node(p), host);
	CHECK_EQUAL(unit_offline(host, SN_MIGRATE, -1, &result), 0);
	CHECK(unit_page_node(p) != host);
	CHECK_EQUAL(unit_resident(host), 0);
	CHECK(unit_intact(p, 3 * MIB, 1));
}

/* --- a fork in the middle of a batch ------------------------------------------------------- */

#define SPAN (18 * MIB)

static void *replaced; /* a span of NODE whose pages are on another node */
static pid_t forked;

/* The span is freed when its pages were found, and its place taken by another one: at home. */
static void replace_span(unsigned int target)
{
	void *p = replaced;

	(void)target;
	machine.on_move = NULL;
	sn_free(p);
	replaced = unit_hold(NODE, SPAN);
	CHECK(replaced == p);
	CHECK_EQUAL(unit_page_node(p), NODE);
}

/* The moment after the pages of the wrong span have moved.  The child sees them leave. */
static void fork_behind_the_move(unsigned int target)
{
	struct sn_lifecycle_result result;

	machine.after_move = NULL;
	CHECK(unit_resident(target) > 0);
	forked = unit_fork(NULL);
	if (forked > 0)
		return;
	CHECK_EQUAL(unit_offline(target, SN_MIGRATE, -1, &result), 0);
	CHECK_EQUAL(unit_resident(target), 0);
	_exit(0);
}

UNIT_TEST(fork_behind_a_move)
{
	struct sn_lifecycle_result result;
	unsigned int host;

	unit_start(4);
	replaced = unit_hold(NODE, SPAN);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, &result), 0);
	host = unit_page_node(replaced);
	CHECK_EQUAL(unit_online(NODE), 0);
	machine.on_move = replace_span;
	machine.after_move = fork_behind_the_move;
	CHECK_EQUAL(unit_offline(host, SN_MIGRATE, -1, &result), 0);
	CHECK(forked > 0);
	unit_child_ends(forked);
	CHECK_EQUAL(unit_resident(host), 0);
}

UNIT_TEST(rebalance_brings_pages_back)
{
	struct sn_lifecycle_result result;
	struct sn_node_stats stats;
	void *p;

	unit_start(4);
	unit_fill(p = unit_hold(NODE, 7 * MIB), 7 * MIB, 1);
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, &result), 0);
	sn_node_stats(NODE, &stats);
	CHECK(stats.elsewhere_bytes >= 7 * MIB);
	CHECK_EQUAL(stats.resident_bytes, 0);
	CHECK_EQUAL(sn_online(NODE, true, &result), 0);
	CHECK(result.migrated_bytes >= 7 * MIB);
	CHECK_EQUAL(unit_page_node(p), NODE);
	sn_node_stats(NODE, &stats);
	CHECK_EQUAL(stats.elsewhere_bytes, 0);
	CHECK(unit_intact(p, 7 * MIB, 1));
	/* Without: they stay, and a later order brings them back. */
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, &result), 0);
	CHECK_EQUAL(sn_online(NODE, false, &result), 0);
	CHECK(unit_page_node(p) != NODE);
	CHECK_EQUAL(sn_online(NODE, true, &result), 0);
	CHECK_EQUAL(unit_page_node(p), NODE);
}

static int refuse_bind(enum sn_fault_point point)
{
	return point == SN_FAULT_BIND ? -ENOMEM : 0;
}

/*
 * A node whose policies cannot be pointed away stays.  One that returned without policies of its
 * own has its pages elsewhere, and from there they leave like all others.
 */
UNIT_TEST(policies_that_cannot_be_set)
{
	struct sn_lifecycle_result result;
	unsigned int host;
	void *p;

	unit_start(3);
	sn_free(unit_hold(NODE, 5 * MIB));
	sn_fault_hook = refuse_bind;
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, &result), -ENOMEM);
	CHECK(strstr(result.message, "policies") != NULL);
	CHECK_EQUAL(unit_state(NODE), SN_ONLINE);
	sn_fault_hook = NULL;
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, &result), 0);
	sn_fault_hook = refuse_bind;
	CHECK_EQUAL(unit_online(NODE), 0);
	p = unit_hold(NODE, 5 * MIB);
	host = unit_page_node(p);
	CHECK(host != NODE);
	sn_fault_hook = NULL;
	CHECK_EQUAL(unit_offline(host, SN_MIGRATE, -1, &result), 0);
	CHECK_EQUAL(unit_resident(host), 0);
	CHECK(unit_page_node(p) != host);
	CHECK(sn_rebind_stale()); /* the reaper has free memory to give back */
	sn_reap();
	CHECK(!sn_rebind_stale());
}

/* --- what is bound while a node returns ---------------------------------------------------- */

static struct sn_nodemask named;
static unsigned int times_named;

/* The ranges of NODE have been bound: who binds a part of them anew asks the same. */
static void ask_for_policies(unsigned int node)
{
	struct sn_nodemask now;

	if (node != NODE + 2)
		return;
	sn_node_policy_mask(&now);
	named = now;
	times_named += sn_mask_has(&now, NODE);
}

UNIT_TEST(policies_name_a_node_that_returns)
{
	struct sn_lifecycle_result result;
	void *p;

	unit_start(4);
	for (unsigned int n = NODE; n <= NODE + 2; n++)
		sn_free(unit_hold(n, 5 * MIB));
	CHECK_EQUAL(unit_offline(NODE, SN_MIGRATE, -1, &result), 0);
	sn_node_policy_mask(&named);
	CHECK(!sn_mask_has(&named, NODE));
	machine.on_bind = ask_for_policies;
	CHECK_EQUAL(unit_online(NODE), 0);
	machine.on_bind = NULL;
	CHECK(times_named > 0);
	CHECK(sn_mask_has(&named, NODE));
	p = unit_hold(NODE, 5 * MIB);
	CHECK_EQUAL(unit_page_node(p), NODE);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(offline_follows_the_node),
		cmocka_unit_test(loan_and_its_end),
		cmocka_unit_test(guests_leave_by_migrate),
		cmocka_unit_test(guests_leave_by_strict),
		cmocka_unit_test(guests_leave_before_a_refusal),
		cmocka_unit_test(guests_of_an_online_node_leave),
		cmocka_unit_test(fork_behind_a_move),
		cmocka_unit_test(rebalance_brings_pages_back),
		cmocka_unit_test(policies_that_cannot_be_set),
		cmocka_unit_test(policies_name_a_node_that_returns),
	};

	unit_arguments(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
