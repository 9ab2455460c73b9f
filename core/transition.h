/*
 * transition.h - who is changing a node: claims, those who join, and the results they share.
 *
 * The lifecycle lock covers each change of state and nothing that takes time.  In between, the
 * node's transition record says that somebody is at it, how far, and whether it is to be undone.
 */
#ifndef SLABNODE_TRANSITION_H
#define SLABNODE_TRANSITION_H

#include "lifecycle.h"

/* One record a node, built at the first claim, never freed. */
struct sn_transition {
	/* Written under sn_lifecycle_lock; status reads them without. */
	_Atomic bool active;
	_Atomic bool online;
	_Atomic uint32_t policy; /* enum sn_policy */
	_Atomic uint64_t begin_ns;
	_Atomic uint32_t phase;	   /* enum sn_phase */
	_Atomic uint32_t cancel;   /* somebody wants it undone */
	_Atomic uint32_t finished; /* counts transitions that ended: joiners sleep on it */
	_Atomic bool vetoed;	   /* somebody refused after the beginning */
	/* The same for all nodes of one; never followed. */
	const void *command SN_GUARDED_BY(&sn_lifecycle_lock);
	char veto[32]; /* who; written before `vetoed` is set */
	struct sn_joiner *joiners SN_GUARDED_BY(&sn_lifecycle_lock); /* of the one under way */
};

/* Who waits for a transition, on the waiter's stack.  The result is written there: by the time
 * that the waiter runs, the node may have gone through the next transition, too. */
struct sn_joiner {
	struct sn_joiner *next;
	struct sn_lifecycle_result *result;
	_Atomic bool done;
};

struct sn_move_result;

void sn_result_begin(struct sn_lifecycle_result *result, unsigned int node);
/* The only way to set an error: it takes a reason.  Returns the error. */
__attribute__((format(printf, 3, 4))) int sn_result_fail(struct sn_lifecycle_result *result,
							 int error, const char *format, ...);
int sn_result_refuse_callback(struct sn_lifecycle_result *result);
/* Built without hotplug. */
int sn_result_refuse_static(struct sn_lifecycle_result *result);
/* The pages that stayed, by reason. */
void sn_result_unmovable(struct sn_lifecycle_result *result, const struct sn_move_result *moved);

/* `command`: any address that is the caller's own.  -ENOMEM: no record. */
int sn_transition_claim(struct sn_node *node, const void *command, bool online,
			enum sn_policy policy) SN_REQUIRES(&sn_lifecycle_lock);
/* Gives the result to those who joined, and wakes them. */
void sn_transition_unclaim(struct sn_node *node, const struct sn_lifecycle_result *result)
	SN_REQUIRES(&sn_lifecycle_lock);
bool sn_transition_active(const struct sn_node *node) SN_REQUIRES(&sn_lifecycle_lock);
/* Joins the transition that is under way: its result will be written to *result. */
void sn_transition_join(struct sn_node *node, struct sn_joiner *joiner,
			struct sn_lifecycle_result *result) SN_REQUIRES(&sn_lifecycle_lock);
/* Sleeps until the transition that was joined ended, at most until the deadline
 * (0: none). */
void sn_transition_await(struct sn_node *node, struct sn_joiner *joiner, uint64_t deadline_ns)
	SN_EXCLUDES(&sn_lifecycle_lock);
void sn_transition_set_state(struct sn_node *node, enum sn_node_state state)
	SN_REQUIRES(&sn_lifecycle_lock);
/* The node is in service (again): policies first, then it hands memory out.  Returns what
 * sn_rebind_ranges() does. */
uint64_t sn_transition_publish_online(struct sn_node *node) SN_REQUIRES(&sn_lifecycle_lock);
/* Waits until nothing of an earlier transition is at work on the node: the tail of one whose
 * state is published already (memory being made inaccessible, pages coming back).  The lock is
 * dropped in between.  A rebalance gives up for the newcomer.  Returns whether it waited. */
bool sn_transition_settle(struct sn_node *node) SN_REQUIRES(&sn_lifecycle_lock);

#endif
