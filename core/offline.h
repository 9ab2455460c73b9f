/*
 * offline.h - between offline.c, which carries an offline out, and policy.c, which decides what
 * becomes of what lives on the node.
 */
#ifndef SLABNODE_OFFLINE_H
#define SLABNODE_OFFLINE_H

#include "pace.h"
#include "transition.h"

/* One node of a command. */
struct sn_offline {
	struct sn_node *node;
	const struct sn_offline_request *request;
	struct sn_lifecycle_result *result;
	uint64_t begin_ns;
	struct sn_pace pace;	 /* of batches; its longest is the reported stall */
	uint64_t deadline_ns;	 /* 0: none */
	unsigned int generation; /* sn_callback_generation() at the start */
	bool claimed;
	bool told;   /* notifiers heard of the beginning */
	int unbound; /* why memory policies still name the node, or 0 */
	bool joins;  /* somebody else is taking it offline: wait for that result */
	struct sn_joiner joiner;
	struct sn_nodemask recalled; /* nodes whose loan to this one was called back */
	uint64_t returned_before;    /* node->returned_pages at the start */
	struct sn_offline *set;	     /* all nodes of the command */
	unsigned int count;
};

/* Progress to the requester, and the phase to whoever asks. */
void sn_offline_report(struct sn_offline *o, enum sn_phase phase, uint64_t done, uint64_t total);
/* The fault point of a phase: a failure of it is the offline's, but for commit and rollback. */
int sn_offline_step(struct sn_offline *o, enum sn_phase phase);
/* Begins a phase: its fault point, and progress. */
int sn_offline_enter(struct sn_offline *o, enum sn_phase phase);
bool sn_offline_cancelled(const struct sn_offline *o);
/* Cancelled or out of time. `arg` is a struct sn_offline. */
bool sn_offline_must_stop(void *arg);
/* Takes out of a mask what the request does not name as a target, if it names any. */
void sn_offline_limit_targets(const struct sn_offline_request *request,
			      struct sn_nodemask *targets);
/* What is on the node has to fit on the targets; what is cached there is given back when it does
 * not. 0, or the result says what is missing. No lock held. */
int sn_offline_find_room(struct sn_offline *o, const struct sn_nodemask *to);
/* The nodes of one command take their turns; one that is cancelled before its turn does not
 * have to wait for it. */
void sn_offline_serve_cancels(struct sn_offline *o);

/* A callback forked, and this is the child: everything was undone already. */
bool sn_offline_forked(const struct sn_offline *o);

/* policy.c */
int sn_policy_apply(struct sn_offline *o);
/* Sets the error of an offline that was cancelled, vetoed late or timed out. */
int sn_offline_fail_stopped(struct sn_offline *o);
/* Passes over the node until a query finds no page of it left there; guests_only: no page of other
 * nodes' ranges, which lie there since those nodes were away. */
int sn_policy_move_off(struct sn_offline *o, bool guests_only);
/* The allocator's own per-node metadata leaves under every policy; what cannot is reported. */
void sn_policy_move_metadata(struct sn_offline *o);
/* Other nodes' pages on this one leave before the acknowledgement, since their slabs go on handing
 * out objects. */
int sn_policy_move_guests(struct sn_offline *o);

#endif
