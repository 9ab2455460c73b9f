/*
 * exitstats.h - SLABNODE_STATS: the node and cache tables at the end of the program.
 */
#ifndef SLABNODE_EXITSTATS_H
#define SLABNODE_EXITSTATS_H

/* At start: many programs close stderr before the library's destructor runs, so a
 * copy of it is kept where SLABNODE_STATS is set. */
void sn_exit_stats_prepare(void);
void sn_exit_stats(void);

#endif
