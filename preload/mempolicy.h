/*
 * mempolicy.h - what becomes of a thread's memory policy; see mempolicy.c.
 */
#ifndef SLABNODE_MEMPOLICY_H
#define SLABNODE_MEMPOLICY_H

/* The calling thread has set this policy, successfully: arguments as of set_mempolicy(2). */
void sn_mempolicy_set(int mode, const unsigned long *nodes, unsigned long maxnode);

#endif
