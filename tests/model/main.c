/*
 * main.c - the configurations that are explored, and which mutation each must catch.
 *
 *	model			all correct configurations, then every mutation
 *	model CONFIG		one, correct
 *	model CONFIG MUTATION	one with a rule left out; prints the trace of the violation
 *	model --list		names
 *
 * Status 0: the correct protocol has no violation and each mutation has one.
 */
#include "model.h"

#include <stdio.h>
#include <string.h>

const char *const mutation_name[NR_MUTATIONS] = {
	[NO_MUTATION] = "correct",
	[NO_FENCE] = "no-fence",
	[NO_PASSED_LOCKS] = "no-passed-locks",
	[FLUSH_READS_FIRST] = "flush-reads-first",
	[REFILL_READS_FIRST] = "refill-reads-first",
	[ALIEN_READS_FIRST] = "alien-reads-first",
	[WORD_READ_ONCE] = "word-read-once",
	[STANDIN_OUTSIDE] = "standin-outside",
	[DRAIN_ONCE] = "drain-once",
	[DRAIN_FIRST] = "drain-first",
	[LOAN_NOT_DRAINED] = "loan-not-drained",
	[LOAN_NOT_FENCED] = "loan-not-fenced",
	[LOAN_FORGOTTEN] = "loan-forgotten",
	[CLOSED_IS_A_FLAG] = "closed-is-a-flag",
	[CHILD_KEEPS_CLOSED] = "child-keeps-closed",
	[COUNTED_LATE] = "counted-late",
	[COUNTED_BACKWARDS] = "counted-backwards",
};

static const struct config configs[] = {
	{
		/* A thread at home on the node that leaves, one on the other; all stores. */
		.name = "offline",
		.nodes = 2,
		.cpus = 2,
		.object = {[1] = {1, IN_SLAB, 0, 0},
			   [2] = {1, IN_PROGRAM, 0, 0},
			   [3] = {2, IN_SHARED, 0, 0}},
		.proc = {{.kind = THREAD, .home = 1, .cpu = 0, .ops = 3},
			 {.kind = THREAD, .home = 2, .cpu = 1, .ops = 2},
			 {.kind = OPERATOR, .ops = 1, .command = {{STRICT, 1}}}},
	},
	{
		.name = "offline-locked",
		.nodes = 2,
		.cpus = 1,
		.locked = true,
		.object = {[1] = {1, IN_TABLE, 0, 1},
			   [2] = {1, IN_PROGRAM, 0, 0},
			   [3] = {2, IN_SLAB, 0, 0}},
		.proc = {{.kind = THREAD, .home = 1, .cpu = 0, .ops = 2},
			 {.kind = THREAD, .home = 1, .cpu = 0, .ops = 2},
			 {.kind = OPERATOR, .ops = 1, .command = {{STRICT, 1}}}},
	},
	{
		/* Two threads share a CPU: sequences are aborted by preemption too. */
		.name = "one-cpu",
		.nodes = 2,
		.cpus = 1,
		.object = {[1] = {1, IN_TABLE, 0, 1},
			   [2] = {1, IN_PROGRAM, 0, 0},
			   [3] = {2, IN_SLAB, 0, 0}},
		.proc = {{.kind = THREAD, .home = 1, .cpu = 0, .ops = 3},
			 {.kind = THREAD, .home = 2, .cpu = 0, .ops = 2},
			 {.kind = OPERATOR, .ops = 1, .command = {{STRICT, 1}}}},
	},
	{
		/* Only cached objects, in more than one batch: strict succeeds. */
		.name = "cached",
		.nodes = 2,
		.cpus = 2,
		.object = {[1] = {1, IN_TABLE, 0, 1},
			   [2] = {1, IN_TABLE, 0, 1},
			   [3] = {1, IN_SHARED, 0, 0}},
		.proc = {{.kind = THREAD, .home = 1, .cpu = 0, .ops = 2},
			 {.kind = OPERATOR, .ops = 1, .command = {{STRICT, 1}}}},
	},
	{
		/* Away, lent, back, away, without end; a thread of either home. */
		.name = "cycle",
		.nodes = 2,
		.cpus = 1,
		.object = {[1] = {1, IN_SLAB, 0, 0}, [2] = {1, IN_PROGRAM, 0, 0}},
		.proc = {{.kind = THREAD, .home = 2, .cpu = 0, .ops = FOR_EVER},
			 {.kind = OPERATOR,
			  .ops = FOR_EVER,
			  .command = {{STRICT, 1}, {MIGRATE, 1}, {BRING_ONLINE, 1}}}},
	},
	{
		/* The same seen from both homes. */
		.name = "cycle-both",
		.nodes = 2,
		.cpus = 2,
		.object = {[1] = {1, IN_SLAB, 0, 0}, [2] = {2, IN_SLAB, 0, 0}},
		.proc = {{.kind = THREAD, .home = 1, .cpu = 0, .ops = FOR_EVER},
			 {.kind = THREAD, .home = 2, .cpu = 1, .ops = FOR_EVER},
			 {.kind = OPERATOR,
			  .ops = FOR_EVER,
			  .command = {{STRICT, 1}, {MIGRATE, 1}, {BRING_ONLINE, 1}}}},
	},
	{
		.name = "cycle-locked",
		.nodes = 2,
		.cpus = 1,
		.locked = true,
		.object = {[1] = {1, IN_SLAB, 0, 0}, [2] = {1, IN_PROGRAM, 0, 0}},
		.proc = {{.kind = THREAD, .home = 2, .cpu = 0, .ops = FOR_EVER},
			 {.kind = OPERATOR,
			  .ops = FOR_EVER,
			  .command = {{STRICT, 1}, {MIGRATE, 1}, {BRING_ONLINE, 1}}}},
	},
	{
		/* The loan ends while the reaper has the stand-in's tables closed as well. */
		.name = "reaper",
		.nodes = 2,
		.cpus = 1,
		.lent = {1, 2},
		.object = {[1] = {1, IN_TABLE, 0, 2}, [2] = {2, IN_TABLE, 0, 2}},
		.proc = {{.kind = THREAD, .home = 2, .cpu = 0, .ops = 3},
			 {.kind = OPERATOR, .ops = 2, .command = {{BRING_ONLINE, 1}, {STRICT, 1}}},
			 {.kind = OPERATOR, .ops = 1, .command = {{REAP, 2}}}},
	},
	{
		/* The stand-in leaves, or is kept from it, while what it was lent comes back. */
		.name = "stand-in-leaves",
		.nodes = 3,
		.cpus = 1,
		.veto = true,
		.lent = {1, 2},
		.object = {[1] = {1, IN_TABLE, 0, 2}, [2] = {2, IN_PROGRAM, 0, 0}},
		.proc = {{.kind = THREAD, .home = 2, .cpu = 0, .ops = 2},
			 {.kind = OPERATOR, .ops = 2, .command = {{BRING_ONLINE, 1}, {STRICT, 1}}},
			 {.kind = OPERATOR, .ops = 1, .command = {{STRICT, 2}, {MIGRATE, 2}}}},
	},
	{
		/* Both operators can do anything. */
		.name = "two-operators",
		.nodes = 3,
		.cpus = 1,
		.object = {[1] = {1, IN_TABLE, 0, 1}, [2] = {2, IN_SLAB, 0, 0}},
		.proc = {{.kind = THREAD, .home = 1, .cpu = 0, .ops = 2},
			 {.kind = OPERATOR,
			  .ops = 2,
			  .command = {{STRICT, 1},
				      {MIGRATE, 1},
				      {MIGRATE, 2},
				      {BRING_ONLINE, 1},
				      {BRING_ONLINE, 2}}},
			 {.kind = OPERATOR,
			  .ops = 2,
			  .command = {{MIGRATE, 1},
				      {MIGRATE, 2},
				      {BRING_ONLINE, 1},
				      {BRING_ONLINE, 2}}}},
	},
	{
		/* A fork at any moment of an offline of the stand-in (not the nearest node: that
		 * one was cordoned) and of an online. */
		.name = "fork",
		.nodes = 3,
		.cpus = 1,
		.lent = {1, 3},
		.object = {[1] = {1, IN_TABLE, 0, 3}, [2] = {3, IN_SLAB, 0, 0}},
		.proc = {{.kind = THREAD, .home = 3, .cpu = 0, .ops = 2},
			 {.kind = OPERATOR,
			  .ops = 2,
			  .command = {{MIGRATE, 3}, {BRING_ONLINE, 1}, {STRICT, 1}}},
			 {.kind = FORKER, .ops = 1}},
	},
	{
		.name = "blocks",
		.nodes = 2,
		.cpus = 1,
		.object = {[1] = {1, IN_SLAB, 0, 0}},
		.proc = {{.kind = BLOCKS, .home = 1, .ops = FOR_EVER},
			 {.kind = BLOCKS, .home = 1, .ops = FOR_EVER},
			 {.kind = OPERATOR,
			  .ops = FOR_EVER,
			  .command = {{STRICT, 1}, {BRING_ONLINE, 1}}}},
	},
};
#define NR_CONFIGS (sizeof(configs) / sizeof(configs[0]))

/* Where each mutation has to be found. */
static const struct {
	enum mutation mutation;
	const char *config;
} cases[] = {
	{NO_FENCE, "offline"},		 {NO_FENCE, "one-cpu"},
	{NO_PASSED_LOCKS, "blocks"},	 {FLUSH_READS_FIRST, "offline"},
	{REFILL_READS_FIRST, "offline"}, {ALIEN_READS_FIRST, "offline"},
	{STANDIN_OUTSIDE, "cycle"},	 {DRAIN_ONCE, "cached"},
	{DRAIN_FIRST, "offline"},	 {LOAN_NOT_DRAINED, "cycle"},
	{LOAN_NOT_FENCED, "cycle"},	 {LOAN_FORGOTTEN, "stand-in-leaves"},
	{CLOSED_IS_A_FLAG, "reaper"},	 {COUNTED_LATE, "blocks"},
	{CHILD_KEEPS_CLOSED, "fork"},	 {LOAN_FORGOTTEN, "fork"},
	{COUNTED_BACKWARDS, "blocks"},
};

/*
 * Second lines of defence: left out alone, nothing goes wrong.  A drain takes the very locks that
 * pass_locks() and the locked fence pass, and a push reads the stand-in under the table's lock.
 */
static const struct {
	enum mutation mutation;
	const char *config;
} harmless[] = {
	{NO_FENCE, "offline-locked"},
	{WORD_READ_ONCE, "offline-locked"},
	{WORD_READ_ONCE, "cycle-locked"},
	{NO_PASSED_LOCKS, "offline"},
};

static const struct config *config_named(const char *name)
{
	for (size_t i = 0; i < NR_CONFIGS; i++)
		if (strcmp(configs[i].name, name) == 0)
			return &configs[i];
	return NULL;
}

static enum mutation mutation_named(const char *name)
{
	unsigned int i = 0;

	while (i < NR_MUTATIONS && strcmp(mutation_name[i], name) != 0)
		i++;
	return (enum mutation)i;
}

/* Whether it went as it should. */
static bool run(const struct config *which, enum mutation broken, bool catch, bool show)
{
	const char *wrong;
	size_t states;
	bool good;

	config = which;
	mutation = broken;
	wrong = explore(&states, show);
	good = (wrong != NULL) == catch;
	printf("%-16s %-18s %8zu states  %s%s\n", which->name, mutation_name[broken], states,
	       good ? "" : "WRONG: ", wrong == NULL ? "no violation" : wrong);
	fflush(stdout);
	return good;
}

static bool run_all(void)
{
	bool tried[NR_MUTATIONS] = {true}, good = true;

	for (size_t i = 0; i < NR_CONFIGS; i++)
		good &= run(&configs[i], NO_MUTATION, false, true);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		good &= run(config_named(cases[i].config), cases[i].mutation, true, false);
		tried[cases[i].mutation] = true;
	}
	for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++) {
		good &= run(config_named(harmless[i].config), harmless[i].mutation, false, true);
		tried[harmless[i].mutation] = true;
	}
	for (unsigned int i = 0; i < NR_MUTATIONS; i++)
		if (!tried[i]) {
			printf("%s: no configuration is there to catch it\n", mutation_name[i]);
			good = false;
		}
	return good;
}

int main(int argc, char **argv)
{
	const struct config *which;
	enum mutation broken;

	if (argc == 1)
		return run_all() ? 0 : 1;
	if (argc == 2 && strcmp(argv[1], "--list") == 0) {
		for (size_t i = 0; i < NR_CONFIGS; i++)
			printf("configuration %s\n", configs[i].name);
		for (unsigned int i = 0; i < NR_MUTATIONS; i++)
			printf("mutation %s\n", mutation_name[i]);
		return 0;
	}
	which = config_named(argv[1]);
	broken = argc > 2 ? mutation_named(argv[2]) : NO_MUTATION;
	if (which == NULL || broken == NR_MUTATIONS) {
		fprintf(stderr, "usage: model [CONFIGURATION [MUTATION]] | --list\n");
		return 2;
	}
	return run(which, broken, broken != NO_MUTATION, true) ? 0 : 1;
}
