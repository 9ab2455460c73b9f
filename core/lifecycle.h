/*
 * lifecycle.h - taking nodes out of service and bringing them back.
 *
 * The order of an offline, the grace period and the meaning of each policy are told in
 * lifecycle.c.  Every function here may sleep, takes sn_lifecycle_lock itself, and must be
 * called with no lock held and not from inside a callback (-EDEADLK).
 */
#ifndef SLABNODE_LIFECYCLE_H
#define SLABNODE_LIFECYCLE_H

#include "node.h"

enum sn_policy { SN_STRICT, SN_WAIT, SN_MIGRATE };

enum sn_phase {
	SN_PHASE_CLOSE,	  /* grace period */
	SN_PHASE_DRAIN,	  /* tables, alien caches, shared stores */
	SN_PHASE_RELEASE, /* empty slabs and cached blocks go back to the system */
	SN_PHASE_EVICT,	  /* movable caches are asked to give objects up */
	SN_PHASE_WAIT,	  /* for the last objects to be freed */
	SN_PHASE_MIGRATE, /* pages move */
	SN_PHASE_VERIFY,
	SN_PHASE_COMMIT,
	SN_PHASE_ROLLBACK,
};
const char *sn_phase_name(enum sn_phase phase); /* "close", "drain", ... */

struct sn_progress {
	int os_node;
	enum sn_phase phase;
	uint64_t done, total; /* bytes in migrate, objects in drain and wait, else steps */
	uint64_t elapsed_ms;
};

/* Who keeps a node busy: one row a cache; large blocks are the row "large". */
struct sn_holder {
	char cache[32];
	uint64_t objects, slabs, bytes;
};
#define SN_MAX_HOLDERS 16

/* Pages that would not move, by reason. */
struct sn_unmovable {
	const char *reason; /* "pinned", "shared after fork", "no room", "refused", "failed" */
	uint64_t pages;
};
#define SN_MAX_UNMOVABLE 6

struct sn_offline_request {
	enum sn_policy policy;
	int64_t timeout_ms;	   /* negative: none */
	struct sn_nodemask to;	   /* targets of a migration, empty: any usable node */
	unsigned int max_stall_ms; /* 0: default, 20 */
	bool whole_process;	   /* carried out by the caller of sn_offline() afterwards */
	void (*progress)(void *arg, const struct sn_progress *progress); /* may be NULL */
	void *arg;
};

struct sn_lifecycle_result {
	int error;	   /* 0 or a negative errno value, same as the function's return value */
	char message[240]; /* never empty when error is set */
	unsigned int node;
	int os_node;
	enum sn_node_state state; /* after the operation */
	enum sn_policy policy;
	bool already; /* the node was in that state before; nothing was done */
	uint64_t drained_objects, released_bytes, evicted_objects;
	uint64_t migrated_bytes; /* away by an offline, back by an online */
	uint64_t guest_bytes;	 /* of these, other nodes': they leave under every policy */
	struct sn_unmovable unmovable[SN_MAX_UNMOVABLE];
	unsigned int nr_unmovable;
	struct sn_holder holders[SN_MAX_HOLDERS];
	unsigned int nr_holders;
	double elapsed_ms, max_stall_ms;
	uint64_t proof_bytes; /* whose place was asked for at the end of a migration, */
	double proof_ms;      /* and how long that took: outside of max_stall_ms */
};

/*
 * Takes the `count` nodes (indexes) out of service, all leaving the allocation masks first;
 * then one after another.  result[i] describes node[i].  Returns 0 when all succeeded, the
 * first error otherwise: -ENODEV unknown node, -EINVAL (internal node, not allowed, bad
 * request), -EBUSY (live memory under strict, last usable node, opposite request under way,
 * pages that would not move), -ENOMEM (no room elsewhere), -ETIMEDOUT, -ECANCELED.
 * A node going offline already: joins it and gets its result.
 */
int sn_offline(const unsigned int *node, unsigned int count, const struct sn_offline_request *req,
	       struct sn_lifecycle_result *result) SN_EXCLUDES(&sn_lifecycle_lock);

/* Brings a node back; with `rebalance` its pages that were moved away return. */
int sn_online(unsigned int node, bool rebalance, struct sn_lifecycle_result *result)
	SN_EXCLUDES(&sn_lifecycle_lock);

/* Cancels an offline of the node that is under way, and waits until the node is back.
 * Nothing under way: result->already, 0. */
int sn_cancel(unsigned int node, struct sn_lifecycle_result *result)
	SN_EXCLUDES(&sn_lifecycle_lock);

int sn_cordon(unsigned int node, bool cordon, struct sn_lifecycle_result *result)
	SN_EXCLUDES(&sn_lifecycle_lock);

/*
 * Asks the placement which nodes the process may use now (its cpuset may have changed).  A node
 * that is forbidden gets nothing new and is in no memory policy any more; what lives there stays,
 * and may be taken off by an offline.  One that is allowed again is used again.  Cheap when nothing
 * has changed.  Called before a request is carried out, and by the reaper.
 */
void sn_refresh_allowed(void) SN_EXCLUDES(&sn_lifecycle_lock);

/*
 * The system has a node since now: it is known from here on, OFFLINE until sn_online() is asked
 * for. Its distances, and those of the others, are to be set next.  Its index, or -ENOMEM, -ENOSPC.
 */
int sn_node_appeared(int os_number) SN_REQUIRES(&sn_lifecycle_lock);

/* Dry run of an offline with `migrate`: see plan.c. */
struct sn_plan {
	unsigned int node;
	bool feasible;
	bool already; /* offline: nothing would change */
	uint64_t cached_bytes, live_bytes, metadata_bytes;
	/* What the offline's result will say: given back to the system, evicted from movable
	 * caches, moved; of that, other nodes' guests. */
	uint64_t released_bytes, evict_bytes, evict_objects, to_move_bytes, guest_bytes;
	struct {
		unsigned int node;
		uint64_t free_bytes;	    /* UINT64_MAX: not limited or unknown */
		uint64_t reclaimable_bytes; /* cached there, given back when room is short */
	} target[SN_MAX_NODES];
	unsigned int nr_targets;
	const char *obstacle[8];
	unsigned int nr_obstacles;
	struct sn_holder holders[SN_MAX_HOLDERS];
	unsigned int nr_holders;
};
int sn_plan(unsigned int node, struct sn_plan *plan);
/* Names something in the way that the host knows and the core does not. `feasible` stays. */
void sn_plan_obstacle(struct sn_plan *plan, const char *what);

/* Returns cached free memory of one node (SN_NODE_NONE: of all) to the system. */
struct sn_drain_result {
	uint64_t drained_objects, evicted_objects, released_bytes;
};
/* `evict`: objects of movable caches are asked to leave sparse slabs, which calls the program. */
int sn_drain(unsigned int node, bool evict, struct sn_drain_result *result);

/* A notifier that fell into line late refuses: the transition under way is undone. */
void sn_transition_veto(unsigned int node, const char *who);

/* What is under way on a node, for why and status.  false: nothing. Lock-free of lifecycle:
 * copies a snapshot under a leaf lock. */
struct sn_transition_info {
	enum sn_policy policy;
	enum sn_phase phase;
	bool online; /* else offline */
	uint64_t elapsed_ms;
	char waiting_for[64]; /* "objects", "pages", "notifier NAME", "" */
};
bool sn_transition_info(unsigned int node, struct sn_transition_info *info);

/* Start-up: nodes that begin away get their stand-ins. Fork: the child undoes what was under
 * way in its parent. In both no other thread runs. */
void sn_lifecycle_start(void);
void sn_lifecycle_fork_child(void);

const char *sn_state_name(enum sn_node_state state); /* "online", "going-offline", ... */
const char *sn_policy_name(enum sn_policy policy);   /* "strict", ... */
const char *sn_errno_name(int error);		     /* "EBUSY" for -EBUSY or EBUSY */

/*
 * State transitions as they happen.  The last SN_EVENTS are kept; sequence numbers begin at 1
 * and have no gaps.  sn_event_next() returns the first event with seq > since, or false.
 */
#define SN_EVENTS 1024
struct sn_event {
	uint64_t seq;
	uint64_t time_ns; /* CLOCK_REALTIME */
	int os_node;
	enum sn_node_state from, to;
	const char *action; /* "MEM_GOING_OFFLINE", ... */
	char cause[96];	    /* why, or who asked */
};
bool sn_event_next(uint64_t since, struct sn_event *event);
uint64_t sn_event_last(void);
/* Called (with no lock held) after an event was added, so that the control thread can wake;
 * NULL: nobody. */
extern void (*sn_event_hook)(void);

#endif
