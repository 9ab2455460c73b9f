/*
 * remap.h - pages that change their address instead of being copied.
 *
 * mremap moves page tables, which costs neither copies nor page faults.  MREMAP_DONTUNMAP (Linux
 * 5.7) leaves the mapping that the pages come from where it is, empty; what arrives brings along a
 * policy of its own, the same node's.
 *
 * A migration walks addresses, and would miss a page that moves behind its back:
 *
 *	a migration			a thread that allocates a large block
 *	looks at A, finds nothing
 *					moves a page from B to A
 *	looks at B, finds nothing
 *
 * So nobody moves pages between sn_remap_hold() and sn_remap_release().  The hold is published, and
 * then waits for who had looked before: they hold a page_lock, or have counted themselves in as
 * who gives memory back does (release.h).
 */
#ifndef SLABNODE_REMAP_H
#define SLABNODE_REMAP_H

#include "node.h"

enum sn_remapped {
	SN_REMAPPED,
	SN_REMAP_REFUSED, /* everything is as it was */
	SN_REMAP_LOST,	  /* there is a hole at the destination, or memory without a policy */
};

/* Whether pages of the node may move now, until page_lock is dropped; a release that was begun
 * under it makes that last until its end. */
bool sn_remap_allowed(const struct sn_node *node) SN_REQUIRES(&node->page_lock);
/* Moves the pages of [from, from + len) to `to`, of the same node; what is there is dropped. */
enum sn_remapped sn_remap(struct sn_node *node, void *to, void *from, size_t len);
void sn_remap_hold(void);
void sn_remap_release(void);
/* In a forked child: nobody holds. */
void sn_remap_fork_child(void);

#endif
