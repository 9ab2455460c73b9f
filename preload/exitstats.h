/*
 * exitstats.h - SLABNODE_STATS: the node and cache tables at the end of the program.
 */
#ifndef SLABNODE_EXITSTATS_H
#define SLABNODE_EXITSTATS_H

/* At start: many programs close stderr before the library's destructor runs, so with
 * SLABNODE_STATS=exit a copy of it is kept. */
void sn_exit_stats_prepare(void);
void sn_exit_stats(void);

#endif
