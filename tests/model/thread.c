/*
 * thread.c - the program's threads: malloc and free of slab objects, and of large blocks.
 *
 * A restartable sequence is three steps: the word is loaded, the table is looked at, the one
 * store that counts.  Preemption by a thread on the same CPU and the fence put it back to its
 * begin.  In locked mode the second step takes the table's lock (and reads the word again), the
 * third drops it.  A section under a lock is two steps: the lock is taken and states are read;
 * then the store is changed and the lock is dropped.
 */
#include "model.h"

#include <string.h>

enum pc {
	T_IDLE,
	POP_LOAD,
	POP_READ,
	POP_COMMIT,
	RF_ENSURE,
	RF_TARGET,
	RF_LENT,
	RF_LENT_LOCK,
	RF_LENT_TAKE,
	RF_STATE,
	RF_LOCK,
	RF_TAKE,
	PUSH_STANDIN,
	PUSH_LOAD,
	PUSH_READ,
	PUSH_COMMIT,
	MR_LOAD,
	MR_READ,
	MR_COMMIT,
	AL_TARGET,
	AL_STATE,
	AL_LOCK,
	AL_PUT,
	FL_STATE,
	FL_LOCK,
	FL_PUT,
	BL_LOCK,
	BL_TAKE,
	BL_LATE,
	BL_COUNT,
	BL_SETTLE,
};

/* --- ends --------------------------------------------------------------------------------- */

static void go_idle(const struct world *w, struct proc *p)
{
	uint8_t ops = p->ops, hold = p->hold;

	(void)w;
	memset(p, 0, sizeof(*p));
	p->ops = ops;
	p->hold = hold;
	p->pc = T_IDLE;
}

/* malloc returns the only object in hand. */
static void alloc_return(struct world *w, struct proc *p)
{
	check_returned(w, p, home_of(p->hand[0]));
	w->program |= (uint8_t)BIT(p->hand[0]);
	go_idle(w, p);
}

static void push_begin(struct proc *p)
{
	p->table = p->top = p->object = p->standin = 0;
	p->pc = mutation == STANDIN_OUTSIDE ? PUSH_STANDIN : PUSH_LOAD;
}

static void flush_begin(struct proc *p)
{
	p->table = p->top = p->object = p->standin = 0;
	p->pc = mutation == FLUSH_READS_FIRST ? FL_STATE : FL_LOCK;
}

static void refill_from(struct proc *p)
{
	p->pc = mutation == REFILL_READS_FIRST ? RF_STATE : RF_LOCK;
}

static uint8_t cpu_of(const struct world *w, const struct proc *p)
{
	return config_of(w, p)->cpu;
}

static uint8_t word_of(const struct world *w, const struct proc *p)
{
	return w->word[config_of(w, p)->home][cpu_of(w, p)];
}

/* The second step of every sequence, in locked mode.  False: the sequence finds nothing. */
static bool enter_table(struct world *w, struct proc *p)
{
	if (p->table == 0)
		return false;
	if (!config->locked)
		return true;
	if (!acquire(&w->table_lock[cpu_of(w, p)], p->table))
		return false; /* busy: as empty, when there is no other shard */
	if (mutation == WORD_READ_ONCE || word_of(w, p) == p->table)
		return true;
	release(&w->table_lock[cpu_of(w, p)], p->table);
	return false;
}

static void leave_table(struct world *w, struct proc *p)
{
	if (config->locked)
		release(&w->table_lock[cpu_of(w, p)], p->table);
}

static struct table *table_of(struct world *w, struct proc *p)
{
	return &w->table[cpu_of(w, p)][p->table];
}

static bool load_word(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	p->table = word_of(w, p);
	p->pc++;
	return true;
}

/* --- malloc ------------------------------------------------------------------------------- */

/* Choice 0: malloc; o: free of object o. */
static bool idle(struct world *w, struct proc *p, unsigned int choice)
{
	const struct proc_config *pc = config_of(w, p);

	if (p->ops == 0 || (choice == 0 ? pc->no_alloc : pc->no_free))
		return false;
	if (choice != 0 && !HAS(w->program, choice))
		return false;
	if (p->ops != FOR_EVER)
		p->ops--;
	if (choice == 0) {
		p->began = w->acked;
		p->pc = POP_LOAD;
		return true;
	}
	w->program &= (uint8_t)~BIT(choice);
	p->hand[p->n++] = (uint8_t)choice;
	p->freeing = 1;
	push_begin(p);
	return true;
}

/* Also the second step of make_room()'s sequence. */
static bool read_top(struct world *w, struct proc *p, unsigned int choice)
{
	struct table *table;

	(void)choice;
	if (!enter_table(w, p)) {
		p->table = 0;
		p->pc = p->freeing ? AL_TARGET : RF_ENSURE;
		return true;
	}
	table = table_of(w, p);
	if (table->top > 0) {
		p->top = table->top;
		p->object = table->entry[table->top - 1];
		p->pc++;
		return true;
	}
	leave_table(w, p);
	p->table = 0;
	p->pc = p->freeing ? AL_TARGET : RF_ENSURE;
	return true;
}

static bool pop_commit(struct world *w, struct proc *p, unsigned int choice)
{
	struct table *table = table_of(w, p);

	(void)choice;
	table->top = p->top - 1;
	table->entry[table->top] = 0;
	p->hand[p->n++] = p->object;
	leave_table(w, p);
	p->table = p->top = p->object = 0;
	if (!p->freeing) {
		alloc_return(w, p);
	} else {
		p->made_room = 1;
		flush_begin(p);
	}
	return true;
}

static bool refill_ensure(struct world *w, struct proc *p, unsigned int choice)
{
	unsigned int set = config_of(w, p)->home;

	(void)choice;
	if (word_of(w, p) == 0)
		w->word[set][cpu_of(w, p)] = (uint8_t)table_for(w, set);
	p->pc = RF_TARGET;
	return true;
}

static bool refill_target(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	p->node = (uint8_t)node_target(w, config_of(w, p)->home);
	p->other = 1;
	if (p->node == 0)
		go_idle(w, p); /* NULL */
	else
		p->pc = RF_LENT;
	return true;
}

static bool refill_lent(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	while (p->other <= config->nodes &&
	       (p->other == p->node || w->standin[p->other] != p->node))
		p->other++;
	if (p->other <= config->nodes) {
		p->pc = RF_LENT_LOCK;
	} else {
		p->other = 0;
		refill_from(p);
	}
	return true;
}

static bool refill_lent_lock(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	if (!acquire(&w->list_lock, p->other))
		return false;
	p->flag = w->state[p->other] == OFFLINE;
	p->pc = RF_LENT_TAKE;
	return true;
}

/* The first object is malloc's, what is more goes into the thread's table. */
static void have_refilled(struct world *w, struct proc *p)
{
	p->node = p->other = p->index = p->flag = 0;
	if (p->n > 1)
		push_begin(p);
	else
		alloc_return(w, p);
}

static bool refill_lent_take(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	p->n = (uint8_t)(p->flag ? take(w, p->other, p->hand, 2) : 0);
	p->flag = 0;
	release(&w->list_lock, p->other);
	if (p->n > 0) {
		have_refilled(w, p);
	} else {
		p->other++;
		p->pc = RF_LENT;
	}
	return true;
}

static bool refill_state(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	p->flag = usable(w, p->node);
	p->pc = RF_LOCK;
	return true;
}

static bool refill_lock(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	if (!acquire(&w->list_lock, p->node))
		return false;
	if (mutation != REFILL_READS_FIRST)
		p->flag = usable(w, p->node);
	p->pc = RF_TAKE;
	return true;
}

/* p->index counts the nodes of the fallback order that were asked: one object of those. */
static bool refill_take(struct world *w, struct proc *p, unsigned int choice)
{
	unsigned int next;

	(void)choice;
	p->n = (uint8_t)(p->flag ? take(w, p->node, p->hand, p->index == 0 ? 2 : 1) : 0);
	p->flag = 0;
	release(&w->list_lock, p->node);
	if (p->n > 0) {
		have_refilled(w, p);
		return true;
	}
	next = fallback(config_of(w, p)->home, p->index++);
	p->node = (uint8_t)next;
	if (next != 0)
		refill_from(p);
	else
		go_idle(w, p); /* NULL */
	return true;
}

/* --- free --------------------------------------------------------------------------------- */

static bool push_standin(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	p->standin = w->standin[home_of(p->hand[p->n - 1])];
	p->pc = PUSH_LOAD;
	return true;
}

static void push_failed(struct proc *p, bool accepted)
{
	p->table = p->top = p->standin = 0;
	if (!p->freeing)
		flush_begin(p);
	else if (accepted && !p->made_room)
		p->pc = MR_LOAD;
	else
		p->pc = AL_TARGET;
}

static bool push_read(struct world *w, struct proc *p, unsigned int choice)
{
	uint8_t standin =
		mutation == STANDIN_OUTSIDE ? p->standin : w->standin[home_of(p->hand[p->n - 1])];
	bool accepted, room;

	(void)choice;
	if (!enter_table(w, p)) {
		push_failed(p, false);
		return true;
	}
	accepted = standin == p->table;
	room = table_of(w, p)->top < TABLE_ROOM;
	if (accepted && room) {
		p->top = table_of(w, p)->top;
		p->pc = PUSH_COMMIT;
		return true;
	}
	leave_table(w, p);
	push_failed(p, accepted);
	return true;
}

static bool push_commit(struct world *w, struct proc *p, unsigned int choice)
{
	struct table *table = table_of(w, p);

	(void)choice;
	table->entry[p->top] = p->hand[--p->n];
	p->hand[p->n] = 0;
	table->top = p->top + 1;
	leave_table(w, p);
	p->table = p->top = p->standin = 0;
	if (p->freeing)
		go_idle(w, p);
	else
		alloc_return(w, p);
	return true;
}

static bool alien_target(struct world *w, struct proc *p, unsigned int choice)
{
	uint8_t home = (uint8_t)home_of(p->hand[0]);

	(void)choice;
	p->node = (uint8_t)node_target(w, config_of(w, p)->home);
	p->other = home;
	if (p->node == 0 || p->node == home) {
		p->node = p->other = 0;
		flush_begin(p);
	} else {
		p->pc = mutation == ALIEN_READS_FIRST ? AL_STATE : AL_LOCK;
	}
	return true;
}

static uint8_t both_online(const struct world *w, const struct proc *p)
{
	return w->state[p->node] == ONLINE && w->state[p->other] == ONLINE;
}

static bool alien_state(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	p->flag = both_online(w, p);
	p->pc = AL_LOCK;
	return true;
}

static bool alien_lock(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	if (!acquire(&w->alien_lock[p->node], p->other))
		return false;
	if (mutation != ALIEN_READS_FIRST)
		p->flag = both_online(w, p);
	p->pc = AL_PUT;
	return true;
}

/* Room for one: what was there goes home. */
static bool alien_put(struct world *w, struct proc *p, unsigned int choice)
{
	uint8_t *alien = &w->alien[p->node][p->other], full = *alien, done = p->flag;

	(void)choice;
	if (done) {
		*alien = (uint8_t)BIT(p->hand[0]);
		p->hand[0] = full == 0 ? 0 : (uint8_t)__builtin_ctz(full);
		p->n = full != 0;
	}
	release(&w->alien_lock[p->node], p->other);
	p->node = p->other = p->flag = 0;
	if (p->n > 0)
		flush_begin(p);
	else
		go_idle(w, p);
	return true;
}

static bool flush_state(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	p->flag = w->state[home_of(p->hand[p->n - 1])] == ONLINE;
	p->pc = FL_LOCK;
	return true;
}

static bool flush_lock(struct world *w, struct proc *p, unsigned int choice)
{
	unsigned int home = home_of(p->hand[p->n - 1]);

	(void)choice;
	if (!acquire(&w->list_lock, home))
		return false;
	if (mutation != FLUSH_READS_FIRST)
		p->flag = w->state[home] == ONLINE;
	p->pc = FL_PUT;
	return true;
}

static bool flush_put(struct world *w, struct proc *p, unsigned int choice)
{
	unsigned int home = home_of(p->hand[p->n - 1]);

	(void)choice;
	put(w, p);
	p->flag = 0;
	release(&w->list_lock, home);
	if (p->n == 0)
		go_idle(w, p);
	else if (p->freeing)
		push_begin(p); /* make_room() has made room */
	else
		alloc_return(w, p);
	return true;
}

/* --- large blocks ------------------------------------------------------------------------- */

static bool blocks_idle(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	if (p->ops == 0)
		return false;
	if (p->ops != FOR_EVER)
		p->ops--;
	if (p->hold != 0) {
		w->blocks[p->hold]--;
		p->hold = 0;
		return true;
	}
	p->began = w->acked;
	p->node = config_of(w, p)->home;
	p->pc = BL_LOCK;
	return true;
}

static bool blocks_lock(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	if (!acquire(&w->page_lock, p->node))
		return false;
	p->flag = usable(w, p->node);
	p->pc = BL_TAKE;
	return true;
}

static bool blocks_take(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	if (p->flag) {
		p->hold = p->node;
		if (mutation != COUNTED_LATE)
			w->in_hand[p->node]++;
		p->pc = mutation == COUNTED_LATE ? BL_LATE : BL_COUNT;
	}
	release(&w->page_lock, p->node);
	if (!p->flag)
		go_idle(w, p);
	p->flag = 0;
	return true;
}

static bool blocks_late(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	w->in_hand[p->node]++;
	p->pc = BL_COUNT;
	return true;
}

static bool blocks_count(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	w->blocks[p->node]++;
	p->pc = BL_SETTLE;
	return true;
}

static bool blocks_settle(struct world *w, struct proc *p, unsigned int choice)
{
	(void)choice;
	w->in_hand[p->node]--;
	check_returned(w, p, p->node);
	go_idle(w, p);
	return true;
}

/* Both kinds begin here. */
static bool begin(struct world *w, struct proc *p, unsigned int choice)
{
	if (config_of(w, p)->kind == THREAD)
		return idle(w, p, choice);
	return choice == 0 && blocks_idle(w, p, choice);
}

const struct step thread_steps[] = {
	[T_IDLE] = {begin, 1 + OBJECTS, 0,
		    "begins: sn_malloc (choice 0), or sn_free of object CHOICE"},
	[POP_LOAD] = {load_word, 1, 0, "sn_rseq_pop, sn_locked_pop: loads the word"},
	[POP_READ] = {read_top, 1, POP_LOAD,
		      "sn_rseq_pop: reads top and object (lock_table: locks)"},
	[POP_COMMIT] = {pop_commit, 1, POP_LOAD, "sn_rseq_pop: stores top; malloc returns"},
	[RF_ENSURE] = {refill_ensure, 1, 0, "refill: prepare_table, sn_table_ensure"},
	[RF_TARGET] = {refill_target, 1, 0, "refill_any: sn_node_target"},
	[RF_LENT] = {refill_lent, 1, 0, "refill_lent: reads sn_standin"},
	[RF_LENT_LOCK] = {refill_lent_lock, 1, 0, "sn_cache_refill(lent): list_lock, may_take"},
	[RF_LENT_TAKE] = {refill_lent_take, 1, 0, "sn_cache_refill(lent): take_locked, unlocks"},
	[RF_STATE] = {refill_state, 1, 0, "MUTATION: may_take before list_lock"},
	[RF_LOCK] = {refill_lock, 1, 0, "sn_cache_refill: list_lock, may_take"},
	[RF_TAKE] = {refill_take, 1, 0, "sn_cache_refill: take_locked, unlocks"},
	[PUSH_STANDIN] = {push_standin, 1, 0, "MUTATION: sn_standin is read outside the sequence"},
	[PUSH_LOAD] = {load_word, 1, 0, "sn_rseq_push, sn_locked_push_many: loads the word"},
	[PUSH_READ] = {push_read, 1, PUSH_LOAD,
		       "sn_rseq_push: reads stand-in, node, top (lock_table: locks)"},
	[PUSH_COMMIT] = {push_commit, 1, PUSH_LOAD, "sn_rseq_push: stores object and top"},
	[MR_LOAD] = {load_word, 1, 0, "make_room: sn_rseq_pop_many loads the word"},
	[MR_READ] = {read_top, 1, MR_LOAD, "make_room: sn_rseq_pop_many reads"},
	[MR_COMMIT] = {pop_commit, 1, MR_LOAD, "make_room: sn_rseq_pop_many stores top"},
	[AL_TARGET] = {alien_target, 1, 0, "free_object: sn_node_target"},
	[AL_STATE] = {alien_state, 1, 0, "MUTATION: states are read before alien->lock"},
	[AL_LOCK] = {alien_lock, 1, 0, "sn_alien_put: alien->lock, reads both states"},
	[AL_PUT] = {alien_put, 1, 0, "sn_alien_put: puts the object, unlocks"},
	[FL_STATE] = {flush_state, 1, 0, "MUTATION: the state is read before list_lock"},
	[FL_LOCK] = {flush_lock, 1, 0,
		     "sn_cache_flush, put_objects: list_lock, sn_node_in_service"},
	[FL_PUT] = {flush_put, 1, 0, "put_objects: to shared or slab, unlocks"},
	[BL_LOCK] = {blocks_lock, 1, 0, "sn_run_alloc, span_alloc: page_lock, sn_node_usable"},
	[BL_TAKE] = {blocks_take, 1, 0, "sn_run_alloc: takes the run, counts in_hand, unlocks"},
	[BL_LATE] = {blocks_late, 1, 0, "MUTATION: in_hand is counted after page_lock"},
	[BL_COUNT] = {blocks_count, 1, 0, "sn_large_alloc: count_block"},
	[BL_SETTLE] = {blocks_settle, 1, 0, "sn_large_alloc: sn_run_settled, returns"},
};
