/*
 * migrate.h - moving the pages of what lives on a node, addresses unchanged.
 */
#ifndef SLABNODE_MIGRATE_H
#define SLABNODE_MIGRATE_H

#include "lifecycle.h"
#include "pace.h"

struct sn_migration {
	struct sn_node *node;	 /* whose ranges are moved */
	unsigned int from;	 /* pages found here are moved: node itself, or anywhere (0) */
	struct sn_nodemask to;	 /* targets */
	struct sn_nodemask full; /* those that turned out to have no room, in this pass */
	unsigned int refused;	 /* the one that took nothing the last time, or SN_NODE_NONE */
	const uint8_t *order;	 /* the order in which targets are filled; 0 ends */
	struct sn_pace *pace;	 /* of the batches */
	bool metadata_only;	 /* of the node itself just the headers of segments */
	bool guests_only;	 /* just other nodes' pages that lie on `from` */
	bool guests_gone;	 /* those have moved already: the proof alone looks at them */
	bool unproven;		 /* no query afterwards */
	bool (*stop)(void *arg); /* cancelled or out of time */
	void (*progress)(void *arg, uint64_t done, uint64_t total);
	/* Dry run only: whether the page is given back before anything moves. */
	bool (*released)(void *arg, const void *page);
	void *arg;
	/* Results. */
	struct sn_move_result moved;
	size_t guest_pages; /* of these, or of those left by a dry run, other nodes' */
	/* Between moving and looking: batches of guests under way, and how many had begun. */
	uint32_t guests_moving, guests_begun;
	struct sn_segment *segment; /* being moved: of `home`; NULL: metadata */
	struct sn_node *home;
	uint64_t left_pages; /* still on `from` after the pass, by query: the proof; of an
				unproven pass: what moves said has stayed */
	uint64_t proof_pages, proof_ns; /* what it looked at, and how long it took */
	bool stopped;			/* the pass is not complete: stop() said so */
	int error;			/* the operation as a whole was refused */
};

/* One pass over all memory of the node's ranges, then a query of every page, the proof. */
void sn_migrate_pass(struct sn_migration *m);
/* Waits until no batch is on its way to a node whose state is no longer online. */
void sn_migrate_await_batches(struct sn_node *node);
/* Counts in left_pages what a pass would move; changes nothing. */
void sn_migrate_dry_run(struct sn_migration *m);
/* All pages of the node's ranges are on the node again; or they may be anywhere. */
void sn_migrate_settled(const struct sn_migration *m);
/* In a forked child: nothing is under way. */
void sn_migrate_fork_child(void);
void sn_migrate_unsettled(struct sn_node *node);
/* Bytes of the node that a migration would have to move, headers included. */
uint64_t sn_migrate_bytes(struct sn_node *node);

#endif
