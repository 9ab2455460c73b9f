/*
 * world.c - what the steps of the model have in common: nodes, words, locks, stores.
 */
#include "model.h"

#include <string.h>

const struct config *config;
enum mutation mutation;

unsigned int count_bits(unsigned int mask)
{
	return (unsigned int)__builtin_popcount(mask);
}

unsigned int home_of(unsigned int object)
{
	return config->object[object].home;
}

const struct proc_config *config_of(const struct world *w, const struct proc *p)
{
	return &config->proc[p - w->proc];
}

const struct step *step_of(const struct proc *p, const struct proc_config *pc)
{
	return pc->kind == OPERATOR ? &operator_steps[p->pc]
	       : pc->kind == FORKER ? &fork_steps[p->pc]
				    : &thread_steps[p->pc];
}

static void place_object(struct world *w, unsigned int o)
{
	const struct object_config *oc = &config->object[o];
	struct table *table = &w->table[oc->cpu][oc->table];

	if (oc->home == 0)
		return;
	switch (oc->place) {
	case IN_SLAB:
		w->slab |= BIT(o);
		break;
	case IN_PROGRAM:
		w->program |= BIT(o);
		break;
	case IN_SHARED:
		w->shared[oc->home] |= BIT(o);
		break;
	case IN_TABLE:
		table->entry[table->top++] = (uint8_t)o;
		break;
	}
}

void world_begin(struct world *w)
{
	memset(w, 0, sizeof(*w));
	for_each_node(n) {
		bool away = n == config->lent.away;

		w->state[n] = away ? OFFLINE : ONLINE;
		w->standin[n] = away ? config->lent.standin : (uint8_t)n;
		w->lent_to[n] = (uint8_t)(away ? BIT(config->lent.standin) : 0);
		w->closed[n] = away;
	}
	for (unsigned int o = 1; o <= OBJECTS; o++)
		place_object(w, o);
	for (unsigned int i = 0; i < PROCS; i++) {
		w->proc[i].ops = config->proc[i].ops;
		w->proc[i].pc = IDLE;
	}
	tables_publish(w);
}

bool usable(const struct world *w, unsigned int node)
{
	return w->state[node] == ONLINE;
}

/* All distances are equal: the nodes behind this one, in turn. */
unsigned int fallback(unsigned int home, unsigned int i)
{
	return i + 1 >= config->nodes ? 0 : (home + i) % config->nodes + 1;
}

unsigned int node_target(const struct world *w, unsigned int home)
{
	if (usable(w, home))
		return home;
	for (unsigned int i = 0; fallback(home, i) != 0; i++)
		if (usable(w, fallback(home, i)))
			return fallback(home, i);
	return 0;
}

unsigned int table_for(const struct world *w, unsigned int set)
{
	unsigned int target = node_target(w, set);

	return target == 0 || w->closed[target] > 0 ? 0 : target;
}

void tables_publish(struct world *w)
{
	for_each_node(set)
		for (unsigned int cpu = 0; cpu < config->cpus; cpu++)
			w->word[set][cpu] = (uint8_t)table_for(w, set);
}

void find_standins(struct world *w)
{
	for_each_node(n) {
		if (w->state[n] != OFFLINE || w->standin[n] != 0)
			continue;
		w->standin[n] = (uint8_t)node_target(w, n);
		w->lent_to[n] |= (uint8_t)(BIT(w->standin[n]) & ~1u);
	}
}

/* Inside a sequence nothing has been stored yet: it begins again. */
static void abort_sequence(const struct world *w, struct proc *p)
{
	const struct step *step = step_of(p, config_of(w, p));

	if (config_of(w, p)->kind != THREAD || step->restart == 0)
		return;
	p->pc = step->restart;
	p->table = p->top = p->object = 0;
}

/* The thread p runs: whoever was in a sequence on its CPU is not any more. */
void preempt(struct world *w, const struct proc *p)
{
	for (unsigned int i = 0; !config->locked && i < PROCS; i++)
		if (&w->proc[i] != p && config->proc[i].kind == THREAD &&
		    config->proc[i].cpu == config_of(w, p)->cpu)
			abort_sequence(w, &w->proc[i]);
}

/* Locked: one table's lock a step, p->index counts them. */
enum fenced fence(struct world *w, struct proc *p)
{
	unsigned int cpu = p->index / config->nodes, node = p->index % config->nodes + 1;

	if (!config->locked) {
		for (unsigned int i = 0; i < PROCS; i++)
			abort_sequence(w, &w->proc[i]);
		return FENCED;
	}
	if (HAS(w->table_lock[cpu], node))
		return FENCE_WAITS;
	if (++p->index < config->cpus * config->nodes)
		return FENCE_GOES_ON;
	p->index = 0;
	return FENCED;
}

bool acquire(uint8_t *lock, unsigned int i)
{
	if (HAS(*lock, i))
		return false;
	*lock |= (uint8_t)BIT(i);
	return true;
}

void release(uint8_t *lock, unsigned int i)
{
	*lock &= (uint8_t)~BIT(i);
}

/* take_locked(): from the shared store first, then from slabs. */
unsigned int take(struct world *w, unsigned int node, uint8_t *hand, unsigned int want)
{
	unsigned int n = 0;

	for (unsigned int o = 1; o <= OBJECTS && n < want; o++)
		if (HAS(w->shared[node], o)) {
			w->shared[node] &= (uint8_t)~BIT(o);
			hand[n++] = (uint8_t)o;
		}
	for (unsigned int o = 1; o <= OBJECTS && n < want; o++)
		if (HAS(w->slab, o) && home_of(o) == node) {
			w->slab &= (uint8_t)~BIT(o);
			hand[n++] = (uint8_t)o;
		}
	return n;
}

void put(struct world *w, struct proc *p)
{
	unsigned int o = p->hand[--p->n], node = home_of(o);

	p->hand[p->n] = 0;
	if (p->flag && !p->to_slabs && count_bits(w->shared[node]) < SHARED_ROOM)
		w->shared[node] |= (uint8_t)BIT(o);
	else
		w->slab |= (uint8_t)BIT(o);
}
