/*
 * alien.h - alien caches: objects freed far from home, on their way back.
 *
 * A thread whose home is M that frees an object of node N puts it into M's alien cache for N;
 * a full one is handed to N's shared store in one piece.  Built on first use: N x N x caches
 * of them at once is what made SLAB heavy on machines with many nodes.
 */
#ifndef SLABNODE_ALIEN_H
#define SLABNODE_ALIEN_H

#include "table.h"

/* Puts an object of node `home`; false: not possible (home is not online, or no memory for
 * the alien cache), the caller frees it to its slab.  No lock held. */
bool sn_alien_put(unsigned int here, unsigned int home, unsigned int cache, void *object);
/* Empties alien[home] of `here` into home's slabs (to_slabs) or stores. Returns objects. */
unsigned int sn_alien_drain(unsigned int here, unsigned int home, unsigned int cache, bool to_slabs)
	SN_REQUIRES(&sn_batch_lock);
/* The alien cache, or NULL when it was never used. */
struct sn_alien *sn_alien_of(unsigned int here, unsigned int home, unsigned int cache);

#endif
