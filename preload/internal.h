/*
 * internal.h - what the files of the preload library share.
 */
#ifndef SLABNODE_INTERNAL_H
#define SLABNODE_INTERNAL_H

#include "../core/core.h"

#define SN_EXPORT __attribute__((visibility("default")))

/* core/thread.h: what libc allocates in between comes from no node. */
void sn_internal_enter(void);
void sn_internal_leave(void);

const char *sn_version(void);
/* One line "slabnode: MESSAGE" on stderr, once a process for each key (a constant string). */
void sn_warn_once(const char *key, const char *message);

/* start.c: the process does not use our malloc, since the program, or a library that was preloaded
 * before, has one of its own. */
extern bool sn_standing_by;
/* Runs once, from the constructor or from the first call that needs it. */
void sn_start(void);
/* Whether the caller is the process's main thread; asks the system only where it has to. */
bool sn_in_main_thread(void);
/* sandbox.c: at the start, before there are threads. */
void sn_sandbox_prepare(void);
/* The program asked for a seccomp filter: no thread is started any more. */
void sn_sandboxed(void);

#endif
