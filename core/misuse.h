/*
 * misuse.h - what is wrong with a pointer that a call cannot take: one line, then SIGABRT.
 *
 * Called only when something is wrong, so it takes its time, and reads without locks: another
 * thread may make the answer less exact, never a crash of another kind.
 */
#ifndef SLABNODE_MISUSE_H
#define SLABNODE_MISUSE_H

#include "base.h"

/* `call` is what the program called: "free", "realloc", "malloc_usable_size". */
_Noreturn void sn_misuse(const char *call, const void *p);

#endif
