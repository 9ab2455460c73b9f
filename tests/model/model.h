/*
 * model.h - a small model of the lifecycle's protocol, explored exhaustively.
 *
 * The unit and load tests run the real code and see the interleavings that happen to occur.
 * This model sees all of them, of small configurations: two or three nodes, one or two CPUs, a
 * few objects, threads that allocate and free, operators that take nodes out and bring them
 * back.  Every step that other threads can tell apart from its neighbours is a step here; each
 * names the function of core/ that it stands for (the tables in thread.c and operator.c are the
 * mapping).  A trace of a violation is printed in those names.
 *
 * What is checked, in every state reached (check.c):
 *   - every object is in exactly one place: a slab, a table, a shared store, an alien cache,
 *     the hand of a thread or of a drain, or the program (or out for good, in a child);
 *   - no allocation that begins after a node's acknowledgement returns memory of it;
 *   - a strict offline that commits leaves nothing of the node out, and one that says EBUSY
 *     could name who holds something;
 *   - a rollback leaves the node as it was: state, stand-in, words;
 *   - when all are idle: no lock is held, words and stand-ins are what the states demand;
 *   - nobody waits for ever.
 *
 * A mutation leaves one rule of the protocol out.  Each must be caught, or the model is blind; a
 * few that are second lines of defence in some configuration are listed as such (main.c).
 *
 * What the model does not have: slabs being built and given back, the pages below them, moves,
 * waits with timeouts, cancel, cordon.  Memory is sequentially consistent, all words are
 * published at once, and what an aborted sequence does is to begin again (the code falls into
 * the slow path, whose first act is that).
 */
#ifndef SLABNODE_MODEL_H
#define SLABNODE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NODES	    3 /* indexes 1 to 3; 0 is none, as in core/ */
#define CPUS	    2
#define OBJECTS	    3 /* numbers 1 to 3; 0 is none */
#define PROCS	    4
#define TABLE_ROOM  2
#define SHARED_ROOM 2
#define HAND_ROOM   4
#define COMMANDS    6
#define FOR_EVER    255 /* as a number of operations */

enum state { OFFLINE, GOING_ONLINE, ONLINE, GOING_OFFLINE }; /* enum sn_node_state */

enum mutation {
	NO_MUTATION,
	NO_FENCE,	    /* sn_drain_close() without sn_tables_fence() */
	NO_PASSED_LOCKS,    /* sn_drain_close() without pass_locks() */
	FLUSH_READS_FIRST,  /* put_objects() reads the state before it has list_lock */
	REFILL_READS_FIRST, /* sn_cache_refill() asks may_take() before it has list_lock */
	ALIEN_READS_FIRST,  /* sn_alien_put() reads the states before it has alien->lock */
	WORD_READ_ONCE,	    /* lock_table() does not read the word again (locked mode) */
	STANDIN_OUTSIDE,    /* sn_rseq_push() is given the stand-in, not its address */
	DRAIN_ONCE,	    /* one batch of each store, not until empty */
	DRAIN_FIRST,	    /* purge, then close: the kernel's zone_pcp lesson */
	LOAN_NOT_DRAINED,   /* sn_online() fences, but leaves the stand-in's tables as they are */
	LOAN_NOT_FENCED,    /* sn_online() drains the stand-in's tables without a fence */
	LOAN_FORGOTTEN,	    /* sn_online() looks at the stand-in of the moment only */
	CLOSED_IS_A_FLAG,   /* closed_count[] as a boolean: two closers, one opens */
	COUNTED_LATE,	    /* sn_run_alloc() counts in_hand after page_lock is dropped */
	CHILD_KEEPS_CLOSED, /* sn_tables_reset() keeps closed_count[] */
	COUNTED_BACKWARDS,  /* sn_drain_live() reads large_blocks before in_hand */
	NR_MUTATIONS
};

enum kind { THREAD = 1, BLOCKS, OPERATOR, FORKER };
enum verb { STRICT = 1, MIGRATE, BRING_ONLINE, REAP };

struct command {
	uint8_t verb, node;
};

struct proc_config {
	uint8_t kind, home, cpu, ops;
	bool no_alloc, no_free;
	struct command command[COMMANDS]; /* an operator chooses among these each time */
};

/* Where an object is at the start. */
enum place { IN_SLAB, IN_PROGRAM, IN_SHARED, IN_TABLE };
struct object_config {
	uint8_t home, place;
	uint8_t cpu, table; /* IN_TABLE: of which CPU and node */
};

struct config {
	const char *name;
	uint8_t nodes, cpus;
	bool locked; /* the locked fast path instead of restartable sequences */
	bool veto;   /* going-offline may be vetoed */
	struct {
		uint8_t away, standin;
	} lent; /* a node that is OFFLINE at the start */
	struct object_config object[OBJECTS + 1];
	struct proc_config proc[PROCS];
};

/* A thread, or whoever carries out a command.  Registers are zero while they mean nothing, so
 * that equal situations are equal states. */
struct proc {
	uint8_t pc, ops;
	uint8_t node, other, index, cpu;     /* what it works on */
	uint8_t table, top, object, standin; /* registers of a sequence */
	uint8_t hand[HAND_ROOM], n;
	uint8_t began;	   /* nodes acknowledged when this allocation began */
	uint8_t flag;	   /* what was read of a state */
	uint8_t freeing;   /* else allocating */
	uint8_t made_room; /* make_room() was here */
	uint8_t hold;	   /* BLOCKS: the node of the block that it has */
	uint8_t verb, sub; /* operator: what it does; whose tables it empties */
	uint8_t mask;	   /* nodes left to empty; loans recalled */
	uint8_t to_slabs, found;
	uint8_t ret, after; /* where to go on after a flush, after a drain of tables */
	uint8_t then;	    /* and after the tables of all of `mask` were emptied */
};

struct table {
	uint8_t top, entry[TABLE_ROOM];
};

/* A state. Masks have bit n for node or object n.  All of it is compared. */
struct world {
	uint8_t state[NODES + 1];
	uint8_t standin[NODES + 1];    /* sn_standin[] */
	uint8_t closed[NODES + 1];     /* closed_count[] */
	uint8_t lent_to[NODES + 1];    /* nodes whose tables may hold objects of this one */
	uint8_t active;		       /* transition->active */
	uint8_t acked;		       /* MEM_GOING_OFFLINE was told, the offline has not ended */
	uint8_t word[NODES + 1][CPUS]; /* words of a set name the table of (CPU, this node) */
	struct table table[CPUS][NODES + 1];
	uint8_t slab, program, lost; /* objects */
	uint8_t shared[NODES + 1], alien[NODES + 1][NODES + 1];
	uint8_t in_hand[NODES + 1], blocks[NODES + 1];
	/* Locks that are held. */
	uint8_t lifecycle_lock, batch_lock, list_lock, page_lock;
	uint8_t alien_lock[NODES + 1], table_lock[CPUS];
	struct proc proc[PROCS];
};

extern const struct config *config;
extern enum mutation mutation;
extern const char *const mutation_name[NR_MUTATIONS];

#define for_each_node(n) for (unsigned int n = 1; n <= config->nodes && n <= NODES; n++)
#define BIT(i)		 (1u << (i))
#define HAS(m, i)	 ((m) >> (i)&1)

/* A step of `p`, the `choice`th of its alternatives; false: not possible (now). */
typedef bool step_fn(struct world *w, struct proc *p, unsigned int choice);
struct step {
	step_fn *fn;
	uint8_t choices;  /* 0 is 1 */
	uint8_t restart;  /* inside a sequence: where it begins again */
	const char *text; /* the function of core/, and what it does there */
};
extern const struct step thread_steps[], operator_steps[], fork_steps[];
const struct step *step_of(const struct proc *p, const struct proc_config *pc);
const struct proc_config *config_of(const struct world *w, const struct proc *p);

enum { IDLE = 0 }; /* every kind's first pc */

/* world.c: what core/node.c and core/table.c do. */
void world_begin(struct world *w);
unsigned int home_of(unsigned int object);
bool usable(const struct world *w, unsigned int node);
unsigned int fallback(unsigned int home, unsigned int i);	    /* node->fallback[i], 0 ends */
unsigned int node_target(const struct world *w, unsigned int home); /* sn_node_target() */
unsigned int table_for(const struct world *w, unsigned int set);    /* table_for() */
void tables_publish(struct world *w);				    /* sn_tables_publish() */
void find_standins(struct world *w);				    /* find_standins() */
enum fenced { FENCE_WAITS, FENCE_GOES_ON, FENCED };
enum fenced fence(struct world *w, struct proc *p); /* sn_tables_fence() */
unsigned int take(struct world *w, unsigned int node, uint8_t *hand, unsigned int want);
void put(struct world *w, struct proc *p); /* the newest of the hand, by p->flag and to_slabs */
bool acquire(uint8_t *lock, unsigned int i);
void release(uint8_t *lock, unsigned int i);
void preempt(struct world *w, const struct proc *p);
unsigned int count_bits(unsigned int mask);

/* check.c */
void violation(const char *what); /* of the step under way */
const char *check_world(const struct world *w);
bool some_lock_held(const struct world *w);
bool all_idle(const struct world *w);
void check_returned(const struct world *w, const struct proc *p, unsigned int node);
void check_strict_success(const struct world *w, unsigned int node);
void check_busy(const struct world *w, unsigned int node);
void check_rolled_back(const struct world *w, unsigned int node);
const char *violated(void); /* and forgets it */

/* explore.c: all states of *config.  NULL, or what was violated first; *states counts. */
const char *explore(size_t *states, bool show);

#endif
