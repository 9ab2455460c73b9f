/*
 * meta.h - memory for the allocator's own structures.
 *
 * Structures of nodes, tables and stores are never freed once built, so this is a bump
 * allocator: zero-filled memory from a small static area first (a small program never maps
 * anything for it), then from anonymous mappings.  It belongs to no node's range.
 */
#ifndef SLABNODE_META_H
#define SLABNODE_META_H

#include "base.h"

/* Zero-filled, aligned to `align` (a power of two, at most 4096), never freed; NULL when the
 * system gives no memory.  Takes a lock of rank SN_RANK_META. */
void *sn_meta_alloc(size_t size, size_t align);
/* The i-th stretch of address space that metadata lies in; false: no more. */
bool sn_meta_stretch(unsigned int i, void **addr, size_t *len);
/* Calls fn for every stretch that there is, and for each that is added later, at once: under the
 * lock that adds them, of rank SN_RANK_META, so that of two calls for a stretch the later one knows
 * more. */
void sn_meta_follow(void (*fn)(void *addr, size_t len));
/* Bytes handed out so far. */
size_t sn_meta_bytes(void);

void sn_meta_fork_lock(void);
void sn_meta_fork_unlock(bool child);

#endif
