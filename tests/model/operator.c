/*
 * operator.c - sn_offline(), sn_online() and the reaper's sn_tables_reap(), each by a process
 * that chooses one command after another.
 *
 * Whatever is under sn_lifecycle_lock is one or two steps, so that readers without the lock see
 * a state and a stand-in that do not belong together, as they can.
 */
#include "model.h"

#include <string.h>

enum pc {
	O_IDLE,
	OF_STANDIN,
	OF_VETO,
	OF_CLOSE,
	OF_PUBLISH,
	OF_FENCE,
	OF_PASS,
	OF_TABLES,
	OF_ACK,
	DS_BEGIN,
	DS_ALIEN,
	DS_SHARED,
	CO_FIRST,
	CO_SECOND,
	CO_LISTS,
	CM_STATE,
	CM_STANDIN,
	RB_STATE,
	RB_STANDIN,
	RB_OPEN,
	RB_PUBLISH,
	AB_LOANS,
	AB_STANDIN,
	AB_PUBLISH,
	ON_STANDIN,
	ON_STATE,
	ON_COMMIT,
	ON_OPEN,
	ON_PUBLISH,
	ML_RECALL,
	ML_LEND,
	ET_CLOSE,
	ET_PUBLISH,
	ET_FENCE,
	ET_OPEN,
	ET_REPUBLISH,
	DT_TAKE,
	GIVE_LOCK,
	GIVE_PUT,
	FINISH,
};

static bool lock_lifecycle(struct world *w)
{
	return acquire(&w->lifecycle_lock, 0);
}

static void unlock_lifecycle(struct world *w)
{
	release(&w->lifecycle_lock, 0);
}

/* The time in which nobody may get memory of the node has ended. */
static void end_of_ack(struct world *w, unsigned int node)
{
	w->acked &= (uint8_t)~BIT(node);
	for (unsigned int i = 0; i < PROCS; i++)
		w->proc[i].began &= (uint8_t)~BIT(node);
}

static bool finish(struct world *w, struct proc *p, unsigned int choice)
{
	uint8_t ops = p->ops;

	(void)choice;
	if (p->verb != REAP)
		w->active &= (uint8_t)~BIT(p->node);
	memset(p, 0, sizeof(*p));
	p->ops = ops;
	p->pc = O_IDLE;
	return true;
}

/* --- commands ----------------------------------------------------------------------------- */

static unsigned int count_usable(const struct world *w)
{
	unsigned int count = 0;

	for_each_node(n)
		count += usable(w, n);
	return count;
}

/* settle(), check_node(), online_check(): what would join or be refused does not begin. */
static bool may_begin(const struct world *w, const struct command *command)
{
	switch (command->verb) {
	case STRICT:
	case MIGRATE:
		return !HAS(w->active, command->node) && w->state[command->node] == ONLINE &&
		       count_usable(w) > 1;
	case BRING_ONLINE:
		return !HAS(w->active, command->node) && w->state[command->node] == OFFLINE;
	case REAP:
		return true;
	}
	return false;
}

static void empty_tables(struct proc *p, unsigned int nodes, uint8_t then)
{
	p->mask = (uint8_t)nodes;
	p->then = then;
	p->sub = 0;
	if (nodes == 0) {
		p->then = 0;
		p->pc = then;
		return;
	}
	p->sub = (uint8_t)__builtin_ctz(nodes);
	p->mask &= (uint8_t)~BIT(p->sub);
	p->pc = ET_CLOSE;
}

static bool begin(struct world *w, struct proc *p, unsigned int choice)
{
	const struct command *command = &config_of(w, p)->command[choice];

	if (p->ops == 0 || !may_begin(w, command))
		return false;
	if (command->verb != REAP && !lock_lifecycle(w))
		return false;
	if (p->ops != FOR_EVER)
		p->ops--;
	p->verb = command->verb;
	p->node = command->node;
	if (p->verb == REAP) {
		empty_tables(p, BIT(p->node), FINISH);
		p->to_slabs = 1;
		return true;
	}
	w->active |= (uint8_t)BIT(p->node);
	w->state[p->node] = p->verb == BRING_ONLINE ? GOING_ONLINE : GOING_OFFLINE;
	p->pc = p->verb == BRING_ONLINE ? ON_STANDIN : OF_STANDIN;
	return true;
}

/* --- offline: claim, grace period, acknowledgement ---------------------------------------- */

static bool offline_standin(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	w->standin[p->node] = 0;
	for_each_node(n)
		if (n != p->node && w->standin[n] == p->node) {
			w->standin[n] = 0;
			p->mask |= (uint8_t)BIT(n);
		}
	unlock_lifecycle(w);
	p->pc = OF_VETO;
	return true;
}

static bool offline_veto(struct world *w, struct proc *p, unsigned int choice)
{
	(void)w;
	if (choice == 1) {
		if (!config->veto)
			return false;
		p->pc = AB_LOANS;
		return true;
	}
	p->mask = 0;
	p->pc = mutation == DRAIN_FIRST ? DS_BEGIN : OF_CLOSE;
	return true;
}

static void close_tables(struct world *w, unsigned int node)
{
	w->closed[node] = mutation == CLOSED_IS_A_FLAG ? 1 : w->closed[node] + 1;
}

static void open_tables(struct world *w, unsigned int node)
{
	w->closed[node] -= w->closed[node] > 0;
}

static bool offline_close(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	close_tables(w, p->node);
	p->pc = OF_PUBLISH;
	return true;
}

static bool offline_publish(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	tables_publish(w);
	p->pc = mutation != NO_FENCE ? OF_FENCE : mutation != NO_PASSED_LOCKS ? OF_PASS : OF_TABLES;
	return true;
}

static bool offline_fence(struct world *w, struct proc *p, unsigned int choice)
{
	enum fenced fenced = fence(w, p);

	(void)choice;
	if (fenced == FENCED)
		p->pc = mutation == NO_PASSED_LOCKS ? OF_TABLES : OF_PASS;
	return fenced != FENCE_WAITS;
}

static bool lock_is_free(const struct world *w, const struct proc *p)
{
	unsigned int other = p->index / 2;

	if (p->index == 0)
		return !HAS(w->list_lock, p->node);
	if (p->index == 1)
		return !HAS(w->page_lock, p->node);
	return p->index % 2 == 0 ? !HAS(w->alien_lock[other], p->node)
				 : !HAS(w->alien_lock[p->node], other);
}

/* p->index: list_lock, page_lock, then both alien caches with each node. */
static bool offline_pass(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	if (!lock_is_free(w, p))
		return false;
	p->index++;
	if (p->index / 2 == p->node)
		p->index += 2;
	if (p->index / 2 > config->nodes) {
		p->index = 0;
		p->pc = OF_TABLES;
	}
	return true;
}

static void drain_tables(struct proc *p, unsigned int node, bool to_slabs, uint8_t after)
{
	p->sub = (uint8_t)node;
	p->to_slabs = to_slabs;
	p->cpu = 0;
	p->after = after;
	p->pc = DT_TAKE;
}

static bool offline_tables(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	/* From here on, before the code says so: a stronger demand. */
	w->acked |= (uint8_t)BIT(p->node);
	if (mutation == DRAIN_FIRST || mutation == DRAIN_ONCE)
		p->pc = OF_ACK;
	else
		drain_tables(p, p->node, true, OF_ACK);
	return true;
}

static void count_next(struct proc *p)
{
	p->pc = p->verb == MIGRATE ? CM_STATE : CO_FIRST;
}

static bool offline_ack(struct world *w, struct proc *p, unsigned int choice)
{
	(void)w, (void)choice;
	p->sub = p->found = 0;
	if (mutation == DRAIN_FIRST)
		count_next(p);
	else
		p->pc = DS_BEGIN;
	return true;
}

/* --- drains ------------------------------------------------------------------------------- */

static bool stores_begin(struct world *w, struct proc *p, unsigned int choice)
{
	(void)w, (void)choice;
	p->found = 0;
	p->index = 2;
	if (p->node == 1)
		p->index = 4;
	drain_tables(p, p->node, true, DS_ALIEN);
	return true;
}

/* Takes the entries of one table; all tables of p->sub, one CPU after the other. */
static bool tables_take(struct world *w, struct proc *p, unsigned int choice)
{
	struct table *table = &w->table[p->cpu][p->sub];

	(void)choice;
	if (HAS(w->batch_lock, 0) || HAS(w->table_lock[p->cpu], p->sub))
		return false;
	if (table->top == 0) {
		p->cpu++;
		if (p->cpu == config->cpus) {
			p->cpu = 0;
			p->pc = p->after;
			p->after = 0;
		}
		return true;
	}
	acquire(&w->batch_lock, 0);
	while (table->top > 0 && (mutation != DRAIN_ONCE || p->n == 0)) {
		p->hand[p->n++] = table->entry[--table->top];
		table->entry[table->top] = 0;
	}
	p->found = p->verb != BRING_ONLINE && p->verb != REAP;
	p->ret = DT_TAKE;
	if (mutation == DRAIN_ONCE && p->cpu + 1 == config->cpus) {
		p->ret = p->after;
		p->after = p->cpu = 0;
	} else if (mutation == DRAIN_ONCE) {
		p->cpu++;
	}
	p->pc = GIVE_LOCK;
	return true;
}

/* Both alien caches with each other node. */
static bool stores_alien(struct world *w, struct proc *p, unsigned int choice)
{
	unsigned int other = p->index / 2;
	bool towards = p->index % 2 == 0; /* objects of this node, freed over there */
	unsigned int here = towards ? other : p->node, home = towards ? p->node : other;
	uint8_t taken;

	(void)choice;
	if (HAS(w->batch_lock, 0) || HAS(w->alien_lock[here], home))
		return false;
	taken = w->alien[here][home];
	w->alien[here][home] = 0;
	p->index++;
	if (p->index / 2 == p->node)
		p->index += 2;
	p->pc = p->index / 2 > config->nodes ? DS_SHARED : DS_ALIEN;
	if (taken == 0)
		return true;
	acquire(&w->batch_lock, 0);
	p->hand[p->n++] = (uint8_t)__builtin_ctz(taken);
	p->to_slabs = towards;
	p->found = 1;
	p->ret = p->pc;
	p->pc = GIVE_LOCK;
	return true;
}

static bool stores_shared(struct world *w, struct proc *p, unsigned int choice)
{
	uint8_t *shared = &w->shared[p->node], taken = *shared;

	(void)choice;
	if (HAS(w->list_lock, p->node))
		return false;
	if (mutation == DRAIN_ONCE)
		taken &= (uint8_t)-taken;
	*shared &= (uint8_t)~taken;
	w->slab |= taken;
	p->index = 0;
	if ((p->found || taken != 0) && mutation != DRAIN_ONCE && mutation != DRAIN_FIRST) {
		p->pc = DS_BEGIN;
		return true;
	}
	p->sub = p->to_slabs = p->found = 0;
	if (mutation == DRAIN_FIRST)
		p->pc = OF_CLOSE;
	else
		count_next(p);
	return true;
}

static bool give_lock(struct world *w, struct proc *p, unsigned int choice)
{
	unsigned int home = home_of(p->hand[p->n - 1]);

	(void)choice;
	if (!acquire(&w->list_lock, home))
		return false;
	p->flag = w->state[home] == ONLINE;
	p->pc = GIVE_PUT;
	return true;
}

static bool give_put(struct world *w, struct proc *p, unsigned int choice)
{
	unsigned int home = home_of(p->hand[p->n - 1]);

	(void)choice;
	put(w, p);
	p->flag = 0;
	release(&w->list_lock, home);
	p->pc = GIVE_LOCK;
	if (p->n > 0)
		return true;
	release(&w->batch_lock, 0);
	p->pc = p->ret;
	p->ret = 0;
	return true;
}

/* --- strict counts ------------------------------------------------------------------------ */

/* p->top: whether anything was seen. */
static bool count_first(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	p->top = mutation == COUNTED_BACKWARDS ? w->blocks[p->node] : w->in_hand[p->node];
	p->pc = CO_SECOND;
	return true;
}

static bool count_second(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	p->top += mutation == COUNTED_BACKWARDS ? w->in_hand[p->node] : w->blocks[p->node];
	p->top = p->top != 0;
	p->pc = CO_LISTS;
	return true;
}

static bool slab_misses_some(const struct world *w, unsigned int node)
{
	for (unsigned int o = 1; o <= OBJECTS; o++)
		if (home_of(o) == node && !HAS(w->slab, o))
			return true;
	return false;
}

/* Choice 0: the last look; 1: another one. */
static bool count_lists(struct world *w, struct proc *p, unsigned int choice)
{
	bool busy;

	if (HAS(w->list_lock, p->node))
		return false;
	busy = p->top != 0 || slab_misses_some(w, p->node);
	if (choice == 1 && !busy)
		return false;
	/* What was in hand a moment ago may be gone: then it was busy when that was read. */
	if (choice == 0 && busy && p->top == 0)
		check_busy(w, p->node);
	p->top = 0;
	p->pc = choice == 1 ? CO_FIRST : busy ? RB_STATE : CM_STATE;
	return true;
}

/* --- commit, roll back, abandon ----------------------------------------------------------- */

static bool commit_state(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	if (!lock_lifecycle(w))
		return false;
	if (p->verb == STRICT)
		check_strict_success(w, p->node);
	w->state[p->node] = OFFLINE;
	end_of_ack(w, p->node);
	p->pc = CM_STANDIN;
	return true;
}

static bool commit_standin(struct world *w, struct proc *p, unsigned int choice)
{
	find_standins(w);
	unlock_lifecycle(w);
	return finish(w, p, choice);
}

static bool rollback_state(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	if (!lock_lifecycle(w))
		return false;
	w->state[p->node] = ONLINE;
	end_of_ack(w, p->node);
	p->pc = RB_STANDIN;
	return true;
}

static bool rollback_standin(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	w->standin[p->node] = p->node;
	find_standins(w);
	unlock_lifecycle(w);
	p->pc = RB_OPEN;
	return true;
}

static bool rollback_open(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	open_tables(w, p->node);
	p->pc = RB_PUBLISH;
	return true;
}

static bool rollback_publish(struct world *w, struct proc *p, unsigned int choice)
{
	tables_publish(w);
	check_rolled_back(w, p->node);
	return finish(w, p, choice);
}

static bool abandon_loans(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	if (!lock_lifecycle(w))
		return false;
	for_each_node(n)
		if (HAS(p->mask, n) && w->standin[n] == 0 && w->state[n] == OFFLINE) {
			w->standin[n] = p->node;
			w->lent_to[n] |= (uint8_t)BIT(p->node);
		}
	w->state[p->node] = ONLINE;
	p->pc = AB_STANDIN;
	return true;
}

static bool abandon_standin(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	w->standin[p->node] = p->node;
	find_standins(w);
	unlock_lifecycle(w);
	p->pc = AB_PUBLISH;
	return true;
}

static bool abandon_publish(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	tables_publish(w);
	check_rolled_back(w, p->node);
	empty_tables(p, p->mask == 0 ? 0 : BIT(p->node), FINISH);
	return true;
}

/* --- online ------------------------------------------------------------------------------- */

static bool online_standin(struct world *w, struct proc *p, unsigned int choice)
{
	unsigned int of_now = w->standin[p->node] == 0 ? 0 : BIT(w->standin[p->node]);
	unsigned int lent_to = mutation == LOAN_FORGOTTEN ? of_now : w->lent_to[p->node];

	(void)choice;
	w->standin[p->node] = 0;
	unlock_lifecycle(w);
	empty_tables(p, lent_to & ~BIT(p->node), ON_STATE);
	return true;
}

static bool online_state(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	if (!lock_lifecycle(w))
		return false;
	w->state[p->node] = ONLINE;
	p->pc = ON_COMMIT;
	return true;
}

static bool online_commit(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	w->standin[p->node] = p->node;
	w->lent_to[p->node] = 0;
	find_standins(w);
	unlock_lifecycle(w);
	p->pc = ON_OPEN;
	return true;
}

static bool online_open(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	open_tables(w, p->node);
	p->pc = ON_PUBLISH;
	return true;
}

static bool online_publish(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	tables_publish(w);
	p->pc = ML_RECALL;
	return true;
}

static bool loans_recall(struct world *w, struct proc *p, unsigned int choice)
{
	unsigned int old = 0;

	(void)choice;
	if (HAS(w->lifecycle_lock, 0))
		return false;
	for_each_node(n) {
		if (w->state[n] != OFFLINE || w->standin[n] == 0 ||
		    w->standin[n] == node_target(w, n))
			continue;
		old |= BIT(w->standin[n]);
		w->standin[n] = 0;
	}
	empty_tables(p, old, old == 0 ? FINISH : ML_LEND);
	return true;
}

static bool loans_lend(struct world *w, struct proc *p, unsigned int choice)
{
	if (HAS(w->lifecycle_lock, 0))
		return false;
	find_standins(w);
	return finish(w, p, choice);
}

/* --- the tables of p->sub are emptied: empty_tables(), with_tables_closed() ---------------- */

static bool empty_close(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	close_tables(w, p->sub);
	p->pc = ET_PUBLISH;
	return true;
}

static bool empty_publish(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	tables_publish(w);
	if (p->verb == BRING_ONLINE && mutation == LOAN_NOT_FENCED)
		drain_tables(p, p->sub, false, ET_OPEN);
	else
		p->pc = ET_FENCE;
	return true;
}

static bool empty_fence(struct world *w, struct proc *p, unsigned int choice)
{
	enum fenced fenced = fence(w, p);

	(void)choice;
	if (fenced != FENCED)
		return fenced != FENCE_WAITS;
	if (p->verb == BRING_ONLINE && mutation == LOAN_NOT_DRAINED)
		p->pc = ET_OPEN;
	else
		drain_tables(p, p->sub, p->verb == REAP, ET_OPEN);
	return true;
}

static bool empty_open(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	open_tables(w, p->sub);
	p->pc = ET_REPUBLISH;
	return true;
}

static bool empty_republish(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	tables_publish(w);
	empty_tables(p, p->mask, p->then);
	return true;
}

const struct step operator_steps[] = {
	[O_IDLE] = {begin, COMMANDS, 0,
		    "sn_offline, sn_online: claim, publish GOING_*; sn_tables_reap"},
	[OF_STANDIN] = {offline_standin, 1, 0,
			"claim_all: sn_standin = none, recall_loans, unlocks"},
	[OF_VETO] = {offline_veto, 2, 0, "close_one: step(going-offline); choice 1: vetoed"},
	[OF_CLOSE] = {offline_close, 1, 0, "sn_drain_close: sn_tables_close"},
	[OF_PUBLISH] = {offline_publish, 1, 0, "sn_tables_close: sn_tables_publish"},
	[OF_FENCE] = {offline_fence, 1, 0, "sn_drain_close: sn_tables_fence"},
	[OF_PASS] = {offline_pass, 1, 0, "sn_drain_close: pass_locks, one lock"},
	[OF_TABLES] = {offline_tables, 1, 0, "close_one: sn_tables_drain"},
	[OF_ACK] = {offline_ack, 1, 0, "close_all: MEM_GOING_OFFLINE, the acknowledgement"},
	[DS_BEGIN] = {stores_begin, 1, 0, "sn_drain_stores: drain_pass"},
	[DS_ALIEN] = {stores_alien, 1, 0, "drain_pass: sn_alien_drain takes"},
	[DS_SHARED] = {stores_shared, 1, 0, "drain_pass: sn_cache_drain_shared"},
	[CO_FIRST] = {count_first, 1, 0, "sn_drain_live: in_hand"},
	[CO_SECOND] = {count_second, 1, 0, "sn_drain_live: large_blocks"},
	[CO_LISTS] = {count_lists, 2, 0,
		      "sn_drain_live: cache_out; policy_strict; choice 1: looks again"},
	[CM_STATE] = {commit_state, 1, 0, "commit: publishes OFFLINE"},
	[CM_STANDIN] = {commit_standin, 1, 0, "commit: find_standins, unlocks"},
	[RB_STATE] = {rollback_state, 1, 0, "roll_back: publish_online, state"},
	[RB_STANDIN] = {rollback_standin, 1, 0,
			"publish_online: sn_standin, find_standins, unlocks"},
	[RB_OPEN] = {rollback_open, 1, 0, "roll_back: sn_tables_open"},
	[RB_PUBLISH] = {rollback_publish, 1, 0, "sn_tables_open: sn_tables_publish"},
	[AB_LOANS] = {abandon_loans, 1, 0, "abandon: gives loans back, publish_online, state"},
	[AB_STANDIN] = {abandon_standin, 1, 0,
			"publish_online: sn_standin, find_standins, unlocks"},
	[AB_PUBLISH] = {abandon_publish, 1, 0, "abandon: sn_tables_publish"},
	[ON_STANDIN] = {online_standin, 1, 0,
			"sn_online: sn_standin = none, copies lent_to, unlocks"},
	[ON_STATE] = {online_state, 1, 0, "online_commit: publish_online, state"},
	[ON_COMMIT] = {online_commit, 1, 0, "publish_online: sn_standin, find_standins, unlocks"},
	[ON_OPEN] = {online_open, 1, 0, "online_commit: sn_tables_open"},
	[ON_PUBLISH] = {online_publish, 1, 0, "sn_tables_open: sn_tables_publish"},
	[ML_RECALL] = {loans_recall, 1, 0, "move_loans: recalls"},
	[ML_LEND] = {loans_lend, 1, 0, "move_loans: find_standins"},
	[ET_CLOSE] = {empty_close, 1, 0,
		      "empty_tables (end_loans, move_loans, abandon), with_tables_closed: "
		      "sn_tables_close"},
	[ET_PUBLISH] = {empty_publish, 1, 0, "sn_tables_close: sn_tables_publish"},
	[ET_FENCE] = {empty_fence, 1, 0, "empty_tables: sn_tables_fence"},
	[ET_OPEN] = {empty_open, 1, 0, "empty_tables: sn_tables_open"},
	[ET_REPUBLISH] = {empty_republish, 1, 0, "sn_tables_open: sn_tables_publish"},
	[DT_TAKE] = {tables_take, 1, 0, "drain_slot: batch lock, take_entries"},
	[GIVE_LOCK] = {give_lock, 1, 0,
		       "sn_cache_give_back, put_objects: list_lock, sn_node_in_service"},
	[GIVE_PUT] = {give_put, 1, 0, "put_objects: to shared or slab, unlocks"},
	[FINISH] = {finish, 1, 0, "unclaim"},
};
