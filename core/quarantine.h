/*
 * quarantine.h - freed memory waits before it is used again (level 2).
 *
 * Objects wait in the shared store of their (cache, node), which nothing takes from then: when it
 * is full, each that comes takes the place of one chosen at random, which goes to its slab.  So
 * they are drained, counted and forked as objects in that store are.  Blocks wait in a ring of
 * their node, closed (guard.h), the oldest leaves first.
 */
#ifndef SLABNODE_QUARANTINE_H
#define SLABNODE_QUARANTINE_H

#include "cache.h"

/* The object joins the store, which exists; returns the one that leaves for it, or NULL when there
 * was room. */
void *sn_quarantine_object(struct sn_cache_node *cn, const struct sn_cache *cache, void *p)
	SN_REQUIRES(&cn->list_lock);
/* Objects of one cache leave the store.  Its list_lock is held. */
void sn_quarantine_leave(const struct sn_cache *cache, void **objects, unsigned int n);

/* Takes the run of a freed block that is in the caller's hand; false: it does not wait. */
bool sn_quarantine_run(struct sn_node *node, struct sn_page *run) SN_EXCLUDES(&node->page_lock);
/* All blocks that wait go back. Bytes. */
size_t sn_quarantine_release(struct sn_node *node) SN_EXCLUDES(&node->page_lock);

#endif
