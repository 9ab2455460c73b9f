/*
 * stack.h - the stack of the program's call, for the sampling of allocation sites.
 */
#ifndef SLABNODE_STACK_H
#define SLABNODE_STACK_H

/* Loads what unwinding needs, once, while nothing else runs; then core/sites.h asks here. */
void sn_stack_start(void);

#endif
