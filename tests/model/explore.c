/*
 * explore.c - breadth first through all states of a configuration, so that the first violation
 * found has the shortest trace.  States are kept and compared whole.
 */
#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_STATES 6000000u
#define NOBODY	   UINT32_MAX

struct node_of_search {
	uint32_t parent;
	uint8_t proc, choice;
};

static struct world *worlds;
static struct node_of_search *reached;
static uint32_t *table; /* open addressing: index of a state + 1 */
static size_t nr_worlds, room, table_size;

static void *resize(void *old, size_t n, size_t size)
{
	void *new = realloc(old, n * size);

	if (new == NULL) {
		fprintf(stderr, "no memory for the search\n");
		exit(1);
	}
	return new;
}

static uint64_t hash_of(const struct world *w)
{
	const uint8_t *at = (const uint8_t *)w;
	uint64_t hash = 0x9e3779b97f4a7c15u, word;
	size_t i;

	for (i = 0; i + sizeof(word) <= sizeof(*w); i += sizeof(word)) {
		memcpy(&word, at + i, sizeof(word));
		hash = (hash ^ word) * 0xff51afd7ed558ccdu;
		hash ^= hash >> 32;
	}
	for (; i < sizeof(*w); i++)
		hash = (hash ^ at[i]) * 0xff51afd7ed558ccdu;
	return hash ^ hash >> 29;
}

static size_t slot_for(const struct world *w)
{
	size_t slot = hash_of(w) & (table_size - 1);

	while (table[slot] != 0 && memcmp(&worlds[table[slot] - 1], w, sizeof(*w)) != 0)
		slot = (slot + 1) & (table_size - 1);
	return slot;
}

static void grow(void)
{
	room = room == 0 ? 1u << 14 : room * 2;
	worlds = resize(worlds, room, sizeof(*worlds));
	reached = resize(reached, room, sizeof(*reached));
	table_size = room * 2;
	table = resize(table, table_size, sizeof(*table));
	memset(table, 0, table_size * sizeof(*table));
	for (size_t i = 0; i < nr_worlds; i++)
		table[slot_for(&worlds[i])] = (uint32_t)i + 1;
}

/* Adds a state unless it is known already. */
static void add(const struct world *w, struct node_of_search from)
{
	size_t slot;

	if (nr_worlds == room)
		grow();
	slot = slot_for(w);
	if (table[slot] != 0)
		return;
	if (nr_worlds == MAX_STATES) {
		fprintf(stderr, "%s: more than %u states\n", config->name, MAX_STATES);
		exit(1);
	}
	worlds[nr_worlds] = *w;
	reached[nr_worlds++] = from;
	table[slot] = (uint32_t)nr_worlds;
}

static void show_step(uint32_t from, unsigned int proc, unsigned int choice)
{
	static const char *const kinds[] = {"", "thread", "blocks", "operator", "fork"};
	const struct proc *p = &worlds[from].proc[proc];
	const struct step *step = step_of(p, &config->proc[proc]);

	printf("    %s %u: %s", kinds[config->proc[proc].kind], proc, step->text);
	if (p->pc == IDLE && config->proc[proc].kind == OPERATOR)
		printf(" (verb %u, node %u)", config->proc[proc].command[choice].verb,
		       config->proc[proc].command[choice].node);
	else if (step->choices > 1)
		printf(" (choice %u)", choice);
	printf("\n");
}

static void show_trace(uint32_t at, unsigned int proc, unsigned int choice)
{
	uint32_t path[1024];
	unsigned int n = 0;

	for (uint32_t i = at; reached[i].parent != NOBODY && n < 1024; i = reached[i].parent)
		path[n++] = i;
	while (n-- > 0)
		show_step(reached[path[n]].parent, reached[path[n]].proc, reached[path[n]].choice);
	if (proc < PROCS)
		show_step(at, proc, choice);
}

/* All that one process can do in a state. Counts the steps. */
static const char *follow(uint32_t at, unsigned int proc, unsigned int *steps, bool show)
{
	const struct step *step = step_of(&worlds[at].proc[proc], &config->proc[proc]);
	unsigned int choices = step->choices == 0 ? 1 : step->choices;

	for (unsigned int choice = 0; choice < choices; choice++) {
		struct world next = worlds[at];
		const char *wrong;

		if (!step->fn(&next, &next.proc[proc], choice))
			continue;
		(*steps)++;
		if (config->proc[proc].kind == THREAD)
			preempt(&next, &next.proc[proc]);
		wrong = violated();
		if (wrong == NULL)
			wrong = check_world(&next);
		if (wrong != NULL) {
			if (show)
				show_trace(at, proc, choice);
			return wrong;
		}
		add(&next, (struct node_of_search){at, (uint8_t)proc, (uint8_t)choice});
	}
	return NULL;
}

const char *explore(size_t *states, bool show)
{
	const char *wrong = NULL;
	struct world first;

	nr_worlds = 0;
	if (room > 0)
		memset(table, 0, table_size * sizeof(*table));
	world_begin(&first);
	add(&first, (struct node_of_search){NOBODY, 0, 0});
	for (size_t at = 0; at < nr_worlds && wrong == NULL; at++) {
		unsigned int steps = 0;

		for (unsigned int proc = 0; proc < PROCS && wrong == NULL; proc++)
			if (config->proc[proc].kind != 0)
				wrong = follow((uint32_t)at, proc, &steps, show);
		if (wrong == NULL && steps == 0 && !all_idle(&worlds[at])) {
			wrong = "deadlock";
			if (show)
				show_trace((uint32_t)at, PROCS, 0);
		}
	}
	*states = nr_worlds;
	return wrong;
}
