/*
 * things.h - the program of the tests of movable objects.
 *
 * It keeps things, each held by one entry of a directory.  A thing says in its first word whether
 * it lives; whoever frees one first takes it out of service with a compare-and-swap, which a pinned
 * thing refuses, so that reclaim alone disposes of what is pinned.
 */
#ifndef TESTS_THINGS_H
#define TESTS_THINGS_H

#include "unit.h"

#include "movable.h"

#define NODE   (FIRST + 1) /* the one that leaves */
#define THINGS 4000
#define SIZE   112
#define BODY   (SIZE - offsetof(struct thing, body))

enum { FREE, LIVE, PINNED };

struct thing {
	_Atomic uint32_t state;
	uint32_t entry;	  /* of the directory */
	uint32_t version; /* of what is written into the body */
	unsigned char body[];
};

struct entry {
	pthread_mutex_t lock;
	struct thing *thing;
	uint32_t version;
	_Atomic unsigned int asked; /* by get */
};

extern struct entry directory[THINGS];
extern unsigned int things; /* index of the cache */

/* How the callbacks behave. */
struct how {
	bool decline;  /* get: not now */
	bool scribble; /* get writes into its array what it likes */
	enum slabnode_answer (*plan)(uint32_t entry, bool *lie);
	void (*inside)(const struct slabnode_reclaim *request);
	void (*after)(const struct slabnode_reclaim *request);
	bool skip; /* inside() has done it all */
	_Atomic unsigned int gets, reclaims;
	_Atomic unsigned int moved, gone;
	_Atomic uint64_t most_slabs; /* of the cache on the node that is being vacated */
};
extern struct how how;

/* The core on so many nodes, with the cache of things, which is movable. */
void start(unsigned int nodes);
/* Things for entries that have none, on a node, or (SN_NODE_NONE) on the thread's. */
void fill(uint32_t from, uint32_t to, unsigned int node);
/* The entry's lock held. */
struct thing *make(uint32_t entry, unsigned int node);
void check_thing(uint32_t entry);
bool drop(uint32_t entry); /* false: pinned */

void drop_now(uint32_t entry);
/* Sparse: one of `part` stays, of things that fill slabs one after the other. */
void thin_out(uint32_t part);
struct sn_drain_result drain_now(unsigned int node);

/* All things are as they were written; how many there are. */
unsigned int check_all(void);
/* Every object that is out is in the directory; nothing is isolated or closed. */
void check_rest(void);
unsigned int things_on(unsigned int node);
uint64_t slabs_on(unsigned int node);

/* The callbacks, and the constructor of things. */
void construct(void *p);
void *get(struct slabnode_cache *cache, unsigned int count, void **objects, void *data);
void reclaim(const struct slabnode_reclaim *request, void *data);

#endif
