/*
 * sites.h - where the program allocated what it holds: a sample of its objects, with their stacks.
 *
 * Off unless a mean is given at start; then every call takes the slow path, where sn_sites_alloc()
 * and sn_sites_free() are called.  On average one allocation in each `mean` bytes is sampled, every
 * one with a mean of 1.  See sites.c.
 */
#ifndef SLABNODE_SITES_H
#define SLABNODE_SITES_H

#include "base.h"

/* Set once at start. */
extern bool sn_sites_on;

#define SN_SITE_FRAMES 16
/* Writes the return addresses of the caller's stack, innermost first; returns how many.  Whatever
 * it allocates comes from the internal node, with no lock held. Set before the start. */
extern unsigned int (*sn_stack_hook)(void **frame, unsigned int max);

/* Start-up, before any thread is set up.  false: no memory, sampling stays off. */
bool sn_sites_start(uint64_t mean);

/* Where code stands: `offset` is as `addr2line -e FILE` wants it. */
struct sn_place {
	const char *file; /* without its folder; stays */
	uintptr_t offset;
};
/* The place of the call that returns to `frame`; false: unknown.  Takes no lock, allocates nothing:
 * it is asked when the program ends. Set before the start, NULL where there is no such thing. */
extern bool (*sn_place_hook)(const void *frame, struct sn_place *place);

/* A new object of the calling thread, with its usable size. No lock held. */
void sn_sites_alloc(void *p, size_t size);
/* The object is about to be given back: before anybody else can get its address. */
void sn_sites_free(void *p);

/* A sample taken out of the table while its object may move. */
struct sn_sample {
	uint32_t site;
	bool taken;
};
struct sn_sample sn_sites_take(void *p);
/* The object is where it was, with this size. */
void sn_sites_put_back(void *p, size_t size, struct sn_sample sample);

/* What objects of a node were allocated by, estimated from the sample, largest first. */
struct sn_site {
	uint64_t objects, bytes;
	unsigned int nr_frames; /* 0: stacks that are not known, or had no room */
	void *frame[SN_SITE_FRAMES];
};
struct sn_sites_summary {
	uint64_t mean;	   /* bytes between samples, 0: off */
	uint64_t dropped;  /* samples that had no room since the start */
	unsigned int more; /* sites beyond those written */
};
unsigned int sn_sites_of(unsigned int node, struct sn_site *site, unsigned int max,
			 struct sn_sites_summary *summary);

/* The stack that allocated the object at p, or the last one there if it is free: returns how many
 * frames.  0 where not every object is sampled.  No lock, any pointer. */
unsigned int sn_sites_at(const void *p, void *const **frame);

/* fork: all locks; see fork.c. */
void sn_sites_fork_lock(void);
void sn_sites_fork_unlock(bool child);

#endif
