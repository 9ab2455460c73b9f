/*
 * fork.c - the world of a child: sn_core_fork_prepare(), sn_core_fork_child(),
 * sn_lifecycle_fork_child(), sn_tables_reset().
 *
 * A fork holds every lock, so it happens where none is held.  What threads had in hand is out for
 * good.  The processes of the model then are threads and operators of the child, which begin anew.
 * The parent is what happens when this step is not taken.
 */
#include "model.h"

#include <string.h>

static void undo_transitions(struct world *w)
{
	for_each_node(n) {
		if (!HAS(w->active, n))
			continue;
		if (w->state[n] == GOING_OFFLINE) {
			w->state[n] = ONLINE;
			w->standin[n] = (uint8_t)n;
		} else if (w->state[n] == GOING_ONLINE) {
			w->state[n] = OFFLINE;
		}
	}
	w->active = w->acked = 0;
	find_standins(w);
}

static void reset_tables(struct world *w)
{
	for_each_node(n)
		if (mutation != CHILD_KEEPS_CLOSED)
			w->closed[n] = w->state[n] == OFFLINE;
	tables_publish(w);
}

static void begin_anew(struct world *w, unsigned int i)
{
	struct proc *p = &w->proc[i];
	uint8_t ops = config->proc[i].kind == OPERATOR ? config->proc[i].ops : p->ops;

	for (unsigned int k = 0; k < p->n; k++)
		w->lost |= (uint8_t)BIT(p->hand[k]);
	memset(p, 0, sizeof(*p));
	p->ops = ops;
}

static bool fork_child(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	if (p->ops == 0 || some_lock_held(w))
		return false;
	p->ops = 0;
	for (unsigned int i = 0; i < PROCS; i++)
		begin_anew(w, i);
	undo_transitions(w);
	reset_tables(w);
	return true;
}

const struct step fork_steps[] = {
	[IDLE] = {fork_child, 1, 0, "fork: what follows is the child"},
};
