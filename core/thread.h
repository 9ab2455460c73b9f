/*
 * thread.h - what the allocator knows of the calling thread: a few words of TLS.
 *
 * Nothing is cached per thread, so a thread's death needs no destructor, and a thread that
 * sleeps for ever holds nothing back.  Initial-exec TLS: access never allocates.
 */
#ifndef SLABNODE_THREAD_H
#define SLABNODE_THREAD_H

#include "table.h"

struct sn_thread {
	/* The gates of the fast paths, in comparisons that malloc and free make anyway: sizes from
	 * here on, and addresses of segments of these numbers on, take the slow one.  They are open
	 * only while fast is set. */
	size_t gate_malloc;
	size_t gate_free;
	void *const *fast;    /* words for the sequences; NULL sends every call to the slow path:
				 not yet set up, locked mode, or inside the library itself */
	void *const *words;   /* the thread's set, in either mode */
	struct sn_table *own; /* locked mode: the table to try without its lock; NULL where fast is
				 NULL in rseq mode */
	uint16_t shard;	      /* locked mode */
	uint8_t set;	      /* SN_SET_LOCAL or the home node */
	uint8_t ready;	      /* words are set up */
	uint16_t internal;    /* > 0: libc works on our behalf, allocate from the internal node */
	int64_t sample_in;    /* sampling: bytes to the next sample */
	uint64_t sample_seed;
};

extern _Thread_local struct sn_thread sn_self SN_TLS SN_HIDDEN;
/* What threads prefer until they say otherwise; SN_NODE_NONE: the node of their CPU.  Set at start.
 */
extern unsigned int sn_thread_preferred;

/* Added to `internal` by sn_thread_ends(). */
#define SN_ENDING 0x8000

SN_INLINE bool sn_ending(void)
{
	return sn_self.internal >= SN_ENDING;
}

/* Between these, the calling thread allocates from the internal node.  They nest. */
void sn_internal_enter(void);
void sn_internal_leave(void);
/* The program's code is called from inside: it allocates as anywhere else. Returns what resume
 * takes. */
unsigned int sn_internal_suspend(void);
void sn_internal_resume(unsigned int depth);

/*
 * The calling thread ends the program, by abort(): the program's handler of SIGABRT runs in it, and
 * such handlers allocate.  It may hold locks of a heap that is not to be trusted.  So from now on
 * locks mean nothing to it, its memory is the internal node's, and what it frees stays where it is.
 * False: it did so before, and is in that handler.
 */
bool sn_thread_ends(void);
/* Gives the thread its home; false while the library is not started. Slow path. */
bool sn_thread_setup(struct sn_thread *self);
/* The thread's home becomes `node` (its preferred node), or its CPU's again (SN_NODE_NONE). */
int sn_thread_prefer(unsigned int node);
/* The home node of the calling thread now. */
unsigned int sn_thread_home(const struct sn_thread *self);
/* The index into words that the thread would use now. */
unsigned int sn_thread_cpu(const struct sn_thread *self);

/*
 * The locked variant of the sequences: the same slots, the table's lock held or its bias used.  A
 * shard that is busy is left for the next one; so a signal handler that interrupts a holder never
 * waits for it.
 */
void *sn_locked_pop(struct sn_thread *self, unsigned int cache);
unsigned int sn_locked_pop_many(struct sn_thread *self, unsigned int cache, void **objects,
				unsigned int want);
unsigned int sn_locked_push_many(struct sn_thread *self, unsigned int cache, void *const *objects,
				 unsigned int count, unsigned int home);

#endif
