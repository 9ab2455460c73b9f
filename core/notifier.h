/*
 * notifier.h - who is told of a node's life, and may refuse.
 *
 * Actions and their order are the kernel's (Documentation/core-api/memory-hotplug): the six
 * memory actions, and beside them the six node events of the 2025 notifier, a node's first
 * memory arriving and its last leaving.  Since a node's memory comes and goes as a whole here,
 * both accompany every transition, but they reach different callbacks, each with its own typed
 * argument, so that nobody casts one into the other.
 *
 *	offline:  NODE_REMOVING_LAST_MEMORY, MEM_GOING_OFFLINE ... NODE_REMOVED_LAST_MEMORY,
 *		  MEM_OFFLINE	or	MEM_CANCEL_OFFLINE, NODE_CANCEL_REMOVING_LAST_MEMORY
 *	online:	  NODE_ADDING_FIRST_MEMORY, MEM_GOING_ONLINE ... NODE_ADDED_FIRST_MEMORY,
 *		  MEM_ONLINE	or	MEM_CANCEL_ONLINE, NODE_CANCEL_ADDING_FIRST_MEMORY
 *
 * The types of callbacks and arguments are the public ones.
 */
#ifndef SLABNODE_NOTIFIER_H
#define SLABNODE_NOTIFIER_H

#include "lifecycle.h"

#include "../include/slabnode.h"

/*
 * Registers a callback; higher priorities are called first, equal ones in order of registration.
 * Exactly one of memory and node is given.  `name` (at most 31 bytes count) is what `why` and a
 * veto's message call it.  A notifier that is registered while a node is in transition is told of
 * that transition's GOING_ event before this function returns, and may veto it: so it sees every
 * transition whole, once, in order.  Returns an id > 0, -EDEADLK from inside a callback, -ENOSPC,
 * -ENOMEM.
 */
int sn_notifier_register(const char *name, int priority, slabnode_memory_fn *memory,
			 slabnode_node_fn *node, void *data);
/* No callback of it runs any more when this has returned.  -ENOENT, -EDEADLK. */
int sn_notifier_unregister(int id);

struct sn_notify_request {
	bool (*stop)(void *arg); /* asked while another delivery goes on; NULL: waits for it */
	void *arg;
	bool told;    /* false: stopped before anybody was told, -ECANCELED; no end is due */
	char who[32]; /* the one that refused */
};

/*
 * For the lifecycle, with no lock held.  begin tells everybody of the GOING_ events, until one
 * refuses: its errno value, with its name in `who`, after which end(cancel) follows.
 * end tells those who were told of the beginning, the one that refused included, how it ended.
 */
int sn_notify_begin(struct sn_node *node, bool online, enum sn_policy policy,
		    struct sn_notify_request *request);
void sn_notify_end(struct sn_node *node, bool online, bool cancelled, enum sn_policy policy);
/* In a forked child: nobody is running callbacks. */
void sn_notifier_fork_child(void);

#endif
