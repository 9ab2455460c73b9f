/*
 * loan.h - stand-ins: whose tables accept the objects of a node that is away.
 *
 * While a node is OFFLINE its structures are lent to the nearest usable node, so that a program
 * whose nodes come and go does not build new slabs each time.  Every change of sn_standin away from
 * a value m is followed by a fence and a drain of the tables of m, before the node that was lent is
 * in service again.
 */
#ifndef SLABNODE_LOAN_H
#define SLABNODE_LOAN_H

#include "node.h"

void sn_loan_give(unsigned int node, unsigned int to) SN_REQUIRES(&sn_lifecycle_lock);
/* Nodes that are away and whose stand-in is gone (or was never there) get the nearest usable
 * one. */
void sn_loans_find(void) SN_REQUIRES(&sn_lifecycle_lock);
/* Nodes lent to `node` are lent to nobody for now. */
void sn_loans_recall(unsigned int node, struct sn_nodemask *recalled)
	SN_REQUIRES(&sn_lifecycle_lock);

/* With no lock held; *stall_ns is raised to the longest fence: */

/* Takes every object out of a node's tables: after a stand-in changed, before its loans are
 * given to somebody else.  Fails when the fence is refused. */
int sn_loan_empty_tables(unsigned int node, uint64_t *stall_ns);
/* After the nearest usable node has changed for some that are away, loans move. */
void sn_loans_move(uint64_t *stall_ns) SN_EXCLUDES(&sn_lifecycle_lock);
/* Takes a returning node's objects out of all tables that may hold some: those of every node it
 * was lent to, since a recalled loan does not tell when the tables of that node were emptied. */
int sn_loans_end(const struct sn_nodemask *lent_to, uint64_t *stall_ns);

#endif
