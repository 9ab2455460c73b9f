/*
 * guard.h - pages that nobody may touch: a program that does ends by SIGSEGV.
 *
 * They hold no memory and are the last pages of a run (level 3: of every slab and block), or a run
 * whose block was freed and waits in quarantine (level 2).  Segments have more of them which need
 * no care, since they are never opened: a gap of random length between the header and the first
 * run, and the last page, so that no overflow reaches a header (level 2).
 *
 *	| header | gap | run .... | guard | run ..... | guard |  ...  | closed | next header
 */
#ifndef SLABNODE_GUARD_H
#define SLABNODE_GUARD_H

#include "segment.h"

/* Set at start by the level: pages at the end of a segment that are never opened, the longest gap
 * behind its header, and pages that close each run. */
extern unsigned int sn_segment_tail, sn_segment_gap, sn_run_tail;

/* Closes pages, whose contents are lost; false: refused, or too many.  Opens them again: they read
 * as zero. */
bool sn_guard_close(void *addr, size_t len);
void sn_guard_open(void *addr, size_t len);

/* The last page of a run in hand that has one for it (sn_run_tail); see SN_RUN_GUARDED. */
void sn_guard_run(struct sn_page *run);
void sn_unguard_run(struct sn_page *run);
/* All of a run, whether its last page is closed already or not; false: none of it. */
bool sn_guard_whole(struct sn_page *run);
void sn_unguard_whole(struct sn_page *run);

#endif
