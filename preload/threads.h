/*
 * threads.h - starting threads of our own in somebody else's process.
 *
 * All signals are blocked in them, so that none of the program's handlers ever runs there; what
 * libc allocates for them comes from the internal node.  They are detached.  A slot records each
 * one's number, so that sn_threads_gone() can tell when the kernel has forgotten them too.
 */
#ifndef SLABNODE_THREADS_H
#define SLABNODE_THREADS_H

#include "../core/lock.h"

/* Control, relay, one worker and one canceller a client, detached operations. */
#define SN_MAX_THREADS 192

/* `name`: at most 15 characters.  0 or a negative errno value.  Keeps errno. */
int sn_thread_start(const char *name, void (*run)(void *arg), void *arg, size_t stack_size);
/* Whether the calling thread is one of these. */
bool sn_thread_is_ours(void);
/* Waits until none exists any more, or the time is over. */
void sn_threads_gone(int64_t timeout_ms);
/* In a forked child: there are none. */
void sn_threads_forget(void);

int64_t sn_now_ms(void);

#endif
