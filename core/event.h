/*
 * event.h - adding to the ring of state transitions (reading it: lifecycle.h).
 */
#ifndef SLABNODE_EVENT_H
#define SLABNODE_EVENT_H

#include "lifecycle.h"

/* No lock of a rank above SN_RANK_META held; in practice none. */
void sn_event_add(const struct sn_node *node, enum sn_node_state from, enum sn_node_state to,
		  const char *action, const char *cause);
void sn_event_fork_lock(void);
void sn_event_fork_unlock(bool child);

#endif
