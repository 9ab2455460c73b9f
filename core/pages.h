/*
 * pages.h - runs of pages of a node: what slabs and medium blocks are made of.
 *
 * Free runs lie in bins by length, dirty ones (their pages are still there) apart from clean
 * ones (their pages read as zero).  Neighbours of one kind are merged at once.  A dirty run is
 * taken before a clean one, so that resident memory does not grow while freed memory lies
 * about; the reaper turns dirty runs that nobody wanted for a while into clean ones.
 */
#ifndef SLABNODE_PAGES_H
#define SLABNODE_PAGES_H

#include "pace.h"
#include "segment.h"

/* The longest run that is cut from a shared segment; longer blocks get spans. */
#define SN_RUN_MAX_PAGES ((size_t)1100)
#define SN_ALL_PAGES	 SIZE_MAX

#define SN_RUN_FIXED   1 /* page.fixed: madvise failed on it, it stays dirty */
#define SN_RUN_VACATED 2 /* page.fixed: made inaccessible, since its node is or was away */
#define SN_RUN_GUARDED 4 /* page.fixed, in use: its last page is closed, see guard.h */
#define SN_RUN_OBJECT  8 /* page.fixed, in use: a guarded object, see large.h */

/*
 * A run of `npages` whose address is aligned to `align` pages (a power of two), from `node`.
 * *zeroed: its pages read as zero.  The run is in the caller's hand (SN_PAGE_BUSY) and counts
 * as live until sn_run_settled(), when it is counted as what it was made into.  NULL: the node is
 * not usable, full, or out of address space.  No lock held.
 */
struct sn_page *sn_run_alloc(struct sn_node *node, size_t npages, size_t align, bool *zeroed)
	SN_EXCLUDES(&node->page_lock);
/* The caller's run has become something that is counted by itself, or was given back. */
void sn_run_settled(struct sn_node *node);
/* Gives a run back; at once to the system when its node is not in service.  No lock held. */
void sn_run_free(struct sn_page *run);
/* Gives runs of one node back that hold no memory any more. */
void sn_runs_return(struct sn_node *node, struct sn_page **runs, unsigned int n);
/* Grows a busy run in place by `more` pages when the pages behind it are free. */
bool sn_run_extend(struct sn_page *run, size_t more, bool *zeroed);
/* Cuts a busy run down to `npages` and frees the rest. */
void sn_run_shrink(struct sn_page *run, size_t npages);

/* The node is full, or address space is short: everything of it that is free goes back (span.c).
 * Bytes. No lock held. */
size_t sn_make_room(struct sn_node *node) SN_EXCLUDES(&node->page_lock);

/* Turns up to `max` dirty pages into clean ones, at a pace (or NULL).  Returns bytes given back. No
 * lock held. */
size_t sn_pages_purge(struct sn_node *node, size_t max, struct sn_pace *pace)
	SN_EXCLUDES(&node->page_lock);
/* Pages that could not be given back earlier are tried again by the next purge. No lock held. */
void sn_pages_unfix(struct sn_node *node) SN_EXCLUDES(&node->page_lock);
/* Gives segments in which nothing is in use back to their range, headers and all, for spans and
 * new segments. Returns bytes of address space. No lock held. */
size_t sn_segments_trim(struct sn_node *node, struct sn_pace *pace) SN_EXCLUDES(&node->page_lock);
/* Makes the free memory of a node inaccessible, or accessible again: placement->vacate and
 * ->restore over every clean run.  Returns 0 or the first error of restore. */
int sn_pages_vacate(struct sn_node *node) SN_EXCLUDES(&node->page_lock);
int sn_pages_restore(struct sn_node *node) SN_EXCLUDES(&node->page_lock);

/* Opens [addr, addr+len) of a range; false: refused (strict overcommit, locked limit). */
bool sn_open_memory(void *addr, size_t len);
/* Gives the pages back to the system; false: they stay (locked memory). */
bool sn_discard_memory(void *addr, size_t len);
/* placement->populate and depopulate when there are any. */
int sn_populate(struct sn_node *node, void *addr, size_t len) SN_REQUIRES(&node->page_lock);
void sn_depopulate(struct sn_node *node, void *addr, size_t len) SN_REQUIRES(&node->page_lock);

#endif
