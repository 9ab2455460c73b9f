/*
 * survey.h - what a drain of a node would give back to the system, found out without draining.
 *
 * A survey describes one moment of one node.  Its memory is mapped when it begins and unmapped when
 * it ends; nothing of the allocator is changed, and no lock is held for longer than it takes to
 * look at one slab, one store or one segment.  While the program runs, what moves meanwhile is seen
 * in its old place, its new one, or both.
 */
#ifndef SLABNODE_SURVEY_H
#define SLABNODE_SURVEY_H

#include "node.h"

struct sn_survey {
	uint64_t released_pages; /* what a drain counts as given back */
	uint64_t trimmed_pages;	 /* headers of segments that would be empty, beside those */
	bool failed;		 /* no memory for the survey: the numbers are too small */
	uint16_t **segment;	 /* by segment of the window: see survey.c */
	char *chunk;		 /* where the tallies come from */
	size_t left;
};

/* `evict`: as if every object of a movable cache left, too.  false: no memory.  Every survey that
 * began has to end. */
bool sn_survey_node(struct sn_survey *survey, struct sn_node *node, bool evict);
/* Whether a page would be given back. */
bool sn_survey_gone(const struct sn_survey *survey, const void *page);
void sn_survey_end(struct sn_survey *survey);

#endif
