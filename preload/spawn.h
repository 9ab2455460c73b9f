/*
 * spawn.h - workers that see the program's descriptors.
 *
 * What the control thread starts shares its descriptor table, in which nothing of the program's is
 * open.  Callbacks of the program, which run in workers, may want to write to a log.  So once the
 * program has registered one, its own thread starts one more of ours, which sleeps on a futex and
 * starts the workers from then on.  Programs without callbacks never have it.
 *
 * sn_spawn() is the control thread's; the others may be called from any.
 */
#ifndef SLABNODE_SPAWN_H
#define SLABNODE_SPAWN_H

#include <stddef.h>

/* In a thread of the program.  When it fails, workers see no descriptors, as before. */
void sn_spawn_begin(void);
/* As sn_thread_start(). */
int sn_spawn(const char *name, void (*run)(void *arg), void *arg, size_t stack_size);
void sn_spawn_end(void);
/* In a forked child. */
void sn_spawn_forget(void);

#endif
