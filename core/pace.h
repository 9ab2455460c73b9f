/*
 * pace.h - work on many pages is cut into batches, so that no thread is held up for long.
 *
 * While the kernel moves pages or takes them back, page faults, mappings and frees of other threads
 * may wait for it.  A batch is halved while it takes longer than wanted, and doubled again while
 * it takes less than a quarter of that; it is never longer than a huge page, which moves whole.
 * The longest batch is what an offline reports as its stall.
 *
 * A pace is the business of one thread.  NULL stands for work that nobody asked to be gentle: it is
 * not cut and no clock is read.
 */
#ifndef SLABNODE_PACE_H
#define SLABNODE_PACE_H

#include "base.h"

#define SN_PACE_MOST  ((size_t)512)
#define SN_PACE_LEAST ((size_t)16)
/* How long a batch may take where nobody says. */
#define SN_PACE_DEFAULT_MS 20

struct sn_pace {
	uint64_t wanted_ns;  /* how long a batch may take */
	uint64_t longest_ns; /* how long one took */
	size_t batch;	     /* pages of the next one */
};

uint64_t sn_now_ns(void);

static inline struct sn_pace sn_pace_start(uint64_t wanted_ns)
{
	return (struct sn_pace){.wanted_ns = wanted_ns, .batch = SN_PACE_MOST};
}

/* How many of these pages the next batch is. */
static inline size_t sn_pace_pages(const struct sn_pace *pace, size_t npages)
{
	return pace == NULL ? npages : sn_min(npages, pace->batch);
}

static inline uint64_t sn_pace_begin(const struct sn_pace *pace)
{
	return pace == NULL ? 0 : sn_now_ns();
}

/* A batch that began then has ended. */
void sn_pace_end(struct sn_pace *pace, uint64_t begin_ns);

#endif
