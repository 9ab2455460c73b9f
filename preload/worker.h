/*
 * worker.h - lifecycle operations asked for by clients: one thread each, while it lasts.
 *
 * The control thread makes an operation, starts it, and collects what it has to say whenever it
 * is woken.  When the client goes, the control thread lets go of the operation; an offline whose
 * client hung up is then cancelled, in a thread of its own, since sn_cancel() waits.
 */
#ifndef SLABNODE_WORKER_H
#define SLABNODE_WORKER_H

#include "../core/lifecycle.h"
#include "reply.h"

enum sn_operation_kind {
	SN_DO_OFFLINE,
	SN_DO_ONLINE,
	SN_DO_CANCEL,
	SN_DO_CORDON,
	SN_DO_UNCORDON,
	SN_DO_PLAN,
	SN_DO_DRAIN,
};

/* What moving the rest of the process off a node came to (whole-process=1). */
struct sn_whole_process {
	int error;
	struct sn_move_result moved;
};

/* Guards the list of operations, and what the control thread and the workers share of each. */
extern struct sn_lock sn_operations_lock SN_RANKED(simulation);

struct sn_operation {
	/* Set by the control thread before the start. */
	enum sn_operation_kind kind;
	bool rebalance, detach;
	unsigned int count; /* of nodes; 0 (drain only): all */
	unsigned int node[SN_MAX_NODES];
	struct sn_offline_request request;

	/* Of the operation itself. */
	struct sn_operation *next SN_GUARDED_BY(&sn_operations_lock);
	struct sn_reply output SN_GUARDED_BY(&sn_operations_lock); /* progress, at last the reply */
	bool finished SN_GUARDED_BY(&sn_operations_lock);	   /* output ends with the reply */
	bool cancel_wanted SN_GUARDED_BY(&sn_operations_lock);	   /* its client hung up */
	bool canceller SN_GUARDED_BY(&sn_operations_lock);	   /* a thread is at it */
	struct sn_nodemask nodes; /* set before it enters the list */
	int64_t began_ms;	  /* the same */
	_Atomic uint32_t references;
	_Atomic uint32_t over; /* a futex: the core's function has returned */
	struct sn_lifecycle_result *result;
	struct sn_whole_process *whole;
	size_t size; /* of the mapping that all this stands in */
};

/* NULL: no memory. */
struct sn_operation *sn_operation_new(enum sn_operation_kind kind, const unsigned int *node,
				      unsigned int count);
/* 0 or a negative errno value; the operation is gone then. */
int sn_operation_start(struct sn_operation *operation);
/* Moves what it has to say to `reply`.  True: that was the end, the operation is gone. */
bool sn_operation_collect(struct sn_operation *operation, struct sn_reply *reply);
/* The client is gone: cancels, unless detached, and lets go. */
void sn_operation_hang_up(struct sn_operation *operation);

/* Starts cancels that could not be started before; true: some could not again. */
bool sn_operations_retry(void);
/* Cancels all, also the detached, and waits until none is left or the time is over. */
void sn_operations_end(int64_t timeout_ms);
/* In a forked child. */
void sn_operations_forget(void);

/* Wakes the control thread's loop; in control.c. */
void sn_control_notify(void);

#endif
