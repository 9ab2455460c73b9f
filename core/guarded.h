/*
 * guarded.h - small objects with pages of their own (level 3).
 */
#ifndef SLABNODE_GUARDED_H
#define SLABNODE_GUARDED_H

/*
 * An object of one of malloc's caches at the end of pages of its own, right before a closed page.
 * NULL: not at this level, there are enough of them, or no memory; slabs serve the others.
 */
void *sn_guarded_alloc(unsigned int home, unsigned int cache);
/* One was freed. */
void sn_guarded_freed(void);

#endif
