/*
 * check.c - what must hold; see model.h.
 */
#include "model.h"

#include <string.h>

static const char *what_was_violated;

void violation(const char *what)
{
	what_was_violated = what;
}

const char *violated(void)
{
	const char *what = what_was_violated;

	what_was_violated = NULL;
	return what;
}

static bool in_some_hand(const struct world *w, unsigned int o)
{
	for (unsigned int i = 0; i < PROCS; i++)
		for (unsigned int k = 0; k < w->proc[i].n; k++)
			if (w->proc[i].hand[k] == o)
				return true;
	return false;
}

static unsigned int count_in_tables(const struct world *w, unsigned int o)
{
	unsigned int count = 0;

	for (unsigned int cpu = 0; cpu < config->cpus; cpu++)
		for_each_node(n)
			for (unsigned int i = 0; i < w->table[cpu][n].top; i++)
				count += w->table[cpu][n].entry[i] == o;
	return count;
}

static unsigned int count_places(const struct world *w, unsigned int o)
{
	unsigned int count =
		HAS(w->slab, o) + HAS(w->program, o) + HAS(w->lost, o) + count_in_tables(w, o);

	for_each_node(n) {
		count += HAS(w->shared[n], o);
		for_each_node(home)
			count += HAS(w->alien[n][home], o);
	}
	for (unsigned int i = 0; i < PROCS; i++)
		for (unsigned int k = 0; k < w->proc[i].n; k++)
			count += w->proc[i].hand[k] == o;
	return count;
}

bool all_idle(const struct world *w)
{
	for (unsigned int i = 0; i < PROCS; i++)
		if (w->proc[i].pc != IDLE)
			return false;
	return true;
}

bool some_lock_held(const struct world *w)
{
	unsigned int held = w->lifecycle_lock | w->batch_lock | w->list_lock | w->page_lock;

	for_each_node(n)
		held |= w->alien_lock[n];
	for (unsigned int cpu = 0; cpu < config->cpus; cpu++)
		held |= w->table_lock[cpu];
	return held != 0;
}

static const char *check_quiet(const struct world *w)
{
	if (some_lock_held(w))
		return "all are idle and a lock is held";
	for_each_node(n) {
		if (w->state[n] != ONLINE && w->state[n] != OFFLINE)
			return "all are idle and a node is in between";
		if (w->closed[n] != (w->state[n] == OFFLINE))
			return "all are idle and tables are closed or open against the state";
		if (usable(w, n) ? w->standin[n] != n
				 : w->standin[n] == 0 || !usable(w, w->standin[n]))
			return "all are idle and a stand-in is wrong";
		for (unsigned int cpu = 0; cpu < config->cpus; cpu++)
			if (w->word[n][cpu] != table_for(w, n))
				return "all are idle and a word names the wrong table";
	}
	return NULL;
}

const char *check_world(const struct world *w)
{
	for (unsigned int o = 1; o <= OBJECTS; o++) {
		unsigned int places = config->object[o].home == 0 ? 1 : count_places(w, o);

		if (places != 1)
			return places == 0 ? "an object is lost" : "an object is in two places";
	}
	if (count_in_tables(w, 0) > 0)
		return "a table has a hole";
	return all_idle(w) ? check_quiet(w) : NULL;
}

void check_returned(const struct world *w, const struct proc *p, unsigned int node)
{
	(void)w;
	if (HAS(p->began, node))
		violation("an allocation that began after the acknowledgement got memory of the "
			  "node");
}

static bool something_out(const struct world *w, unsigned int node, bool hands_only)
{
	for (unsigned int i = 0; i < PROCS; i++)
		if (w->proc[i].hold == node)
			return true;
	for (unsigned int o = 1; o <= OBJECTS; o++) {
		if (home_of(o) != node)
			continue;
		if (hands_only ? HAS(w->program | w->lost, o) || in_some_hand(w, o)
			       : !HAS(w->slab, o))
			return true;
	}
	return false;
}

void check_strict_success(const struct world *w, unsigned int node)
{
	if (something_out(w, node, false))
		violation("a strict offline succeeded while something of the node was out");
}

void check_busy(const struct world *w, unsigned int node)
{
	if (!something_out(w, node, true))
		violation("EBUSY although nobody holds anything of the node");
}

void check_rolled_back(const struct world *w, unsigned int node)
{
	bool same = w->state[node] == ONLINE && w->standin[node] == node;

	for (unsigned int cpu = 0; cpu < config->cpus; cpu++)
		same = same && (w->closed[node] > 0 || w->word[node][cpu] == node);
	if (!same)
		violation("a rollback left the node different");
}
