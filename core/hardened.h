/*
 * hardened.h - SLABNODE_HARDENED: how much is checked, at what cost.
 *
 * From level 1 on the gates of the fast paths stay shut, so that every call comes here:
 *
 *	1  An object is taken from its slab's free map and put back there, past all arrays and
 *	   stores.  Each pointer that comes in is looked up: every double free, and every free,
 *	   realloc or sized delete of what is not a live object's start, ends the program.
 *	2  Freed objects are cleared, wait in quarantine (quarantine.h), and must still be zero when
 *	   they are used again.  Which object of a slab is taken, and which leaves the quarantine,
 *	   is random.  Headers of segments stand between closed pages, and what slabs say of
 *	   themselves and their lists is checked.  Freed blocks are closed at once.
 *	3  Each slab and block ends in a closed page (guard.h); small objects have pages of their
 *	   own as long as there are not too many.  The stack of every allocation is kept
 *	   (sites.h).
 *
 * Docs: docs/hardened.md has the table of checks and what they cost.
 */
#ifndef SLABNODE_HARDENED_H
#define SLABNODE_HARDENED_H

#include "cache.h"

extern unsigned int sn_hardened;

/* Start-up, before any thread is set up. */
void sn_hardened_start(unsigned int level, uint64_t seed);

/* Hard enough to guess from outside the process, and quick. */
uint64_t sn_hardened_random(void);
/* The length of a new segment's gap (guard.h). */
uint32_t sn_hardened_gap(void);

/* The cache that serves a size: from level 2 on none of objects below 32 bytes. */
static inline unsigned int sn_hardened_cache(unsigned int cache)
{
	return sn_hardened > 1 && cache == 1 ? 2 : cache;
}

/* An object was taken from its slab for use: it must read as zero (level 2). */
void sn_hardened_taken(const void *p, unsigned int cache);
/* Ends the program unless p, of which home and cache were found, is a live object. No lock held. */
void sn_hardened_check(const char *call, const void *p, unsigned int home, unsigned int cache);
/* End the program unless this is an alignment and p has it; `have`, the object's usable size, is
 * what a request of this size and alignment (0: the usual one) gives; or, after any realloc, this
 * size fits there. */
void sn_hardened_check_align(const char *call, const void *p, size_t align);
void sn_hardened_check_new(const char *call, const void *p, size_t have, size_t size, size_t align);
void sn_hardened_check_fit(const char *call, const void *p, size_t have, size_t size);

#endif
