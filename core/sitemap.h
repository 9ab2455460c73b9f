/*
 * sitemap.h - the site of every object, when all are sampled: beside the heap, found by arithmetic.
 */
#ifndef SLABNODE_SITEMAP_H
#define SLABNODE_SITEMAP_H

#include "base.h"

/* Start-up.  false: no memory. */
bool sn_sitemap_start(void);
/* Stands beside a value from its object's free on, until the address is another's: so that who
 * misuses it can be told whose it was. */
#define SN_SITEMAP_FREED 0x8000
/* What stands for the object at p, 0 being nothing; false: no memory for it. */
bool sn_sitemap_set(const void *p, uint16_t value);
/* Of any pointer. */
uint16_t sn_sitemap_get(const void *p);
/* A segment is about to go back to its range: nothing of it is in use. */
void sn_sitemap_forget(const void *segment);
/* Calls fn for each object of a node that has something, with its usable size; no lock held. */
void sn_sitemap_walk(unsigned int node, void (*fn)(void *arg, uint16_t value, size_t size),
		     void *arg);

#endif
