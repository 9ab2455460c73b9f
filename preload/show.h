/*
 * show.h - what the library knows, as JSON.  Every function but the *_members ones writes one
 * whole line.  None takes the lifecycle lock: they answer at once whatever is under way.
 */
#ifndef SLABNODE_SHOW_H
#define SLABNODE_SHOW_H

#include "../core/lifecycle.h"
#include "reply.h"

void sn_show_hello(struct sn_reply *reply);
void sn_show_self(struct sn_reply *reply);
void sn_show_status(struct sn_reply *reply);
void sn_show_topology(struct sn_reply *reply);
/* An empty mask: all nodes. */
void sn_show_slabinfo(struct sn_reply *reply, const struct sn_nodemask *nodes);
void sn_show_why(struct sn_reply *reply, unsigned int node);
void sn_show_event(struct sn_reply *reply, const struct sn_event *event);
void sn_show_options(struct sn_reply *reply);
void sn_show_version(struct sn_reply *reply);
void sn_show_plan(struct sn_reply *reply, const struct sn_plan *plan);
void sn_show_progress(struct sn_reply *reply, const struct sn_progress *progress);
/* "ok", or the error, and what became of the node: all that there is to say of a cordon or cancel.
 * Of an online what moved back; of an offline all it did, and on failure who holds the node. */
void sn_show_outcome_members(struct sn_reply *reply, const struct sn_lifecycle_result *result);
void sn_show_online_members(struct sn_reply *reply, const struct sn_lifecycle_result *result);
void sn_show_offline_members(struct sn_reply *reply, const struct sn_lifecycle_result *result);

#endif
