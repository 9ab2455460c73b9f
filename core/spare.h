/*
 * spare.h - pages that spans keep for each other.
 *
 * A block that takes a cached span with more room than it needs leaves the rest where it is, behind
 * itself: spare pages.  A block that is longer than any cached span gets what is missing from
 * there, and from other cached spans: whole chunks, as long and aligned as huge pages, change their
 * address.  So large blocks of changing lengths find pages that are there already, as they would
 * if all of them were cut from one stretch and put together again, and nothing is lost between
 * them.
 *
 *	| header | block ........ | spare ................ |
 *			| chunk | chunk | chunk | chunk | ..
 *				          ^ these may leave, from the end
 *
 * Spare pages count as cached: the reaper, a full node and an offline give them back.
 */
#ifndef SLABNODE_SPARE_H
#define SLABNODE_SPARE_H

#include "pace.h"
#include "segment.h"

/* Pages of a chunk. */
#define SN_CHUNK_PAGES ((size_t)512)

/* How many pages more the node's spans may keep. */
size_t sn_spare_budget(const struct sn_node *node) SN_REQUIRES(&node->page_lock);
/* The span keeps this many pages behind its block from now on; 0: none, nobody else touches its
 * room. */
void sn_spare_set(struct sn_node *node, struct sn_segment *span, size_t npages)
	SN_REQUIRES(&node->page_lock);
/* Whether there are chunks that may change their address now. */
bool sn_spare_any(const struct sn_node *node) SN_REQUIRES(&node->page_lock);
/*
 * Moves up to `chunks` chunks to page `at` of a span that is on no list.  Returns how many; *lost:
 * there is a hole behind them, the span cannot be used.
 */
size_t sn_spare_take(struct sn_node *node, struct sn_segment *span, size_t at, size_t chunks,
		     bool *lost) SN_REQUIRES(&node->page_lock);
/* Gives up to `max` spare pages back to the system, at a pace (or NULL). Pages. */
size_t sn_spares_purge(struct sn_node *node, size_t max, struct sn_pace *pace)
	SN_EXCLUDES(&node->page_lock);

#endif
