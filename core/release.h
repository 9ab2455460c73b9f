/*
 * release.h - memory that somebody is giving back to the system just now.
 *
 * Runs, spans and segments are given back with no lock held, and spans and segments are out of the
 * map meanwhile, so that nobody who walks a node's memory finds them:
 *
 *	a drain				an offline
 *	hides a segment
 *					moves every page that it finds, finds none left
 *					commits: the node is away
 *	madvise of its header		<- until here its pages were on the node
 *
 * Whoever takes such memory into hand therefore counts itself in, under page_lock, and an offline
 * waits for those that were under way.  Programs may give memory back all the time, so there are
 * two counts and a switch: those that come later count elsewhere (the two-counter scheme of the
 * kernel's sleepable RCU).  What the system does not take back (locked memory) comes back into the
 * node's lists, perhaps behind the walk: `kept` tells.
 */
#ifndef SLABNODE_RELEASE_H
#define SLABNODE_RELEASE_H

#include "node.h"

/* Begins; returns the turn that the end wants. */
unsigned int sn_release_begin(struct sn_node *node) SN_REQUIRES(&node->page_lock);
/* Ends.  kept: what was out of the map is in it again.  page_lock held or not. */
void sn_release_end(struct sn_node *node, unsigned int turn, bool kept);
/* Waits for all that have begun on any node's memory, since pages of one may lie on another that
 * leaves.  No lock held. */
void sn_releases_await(void);
/* How many ended so, ever. */
uint32_t sn_releases_kept(void);
/* In a forked child: nothing is under way. */
void sn_releases_fork_child(void);

#endif
