/*
 * rseq.h - restartable sequences, independent of the architecture, and the grace period.
 *
 * Linux runs a registered sequence of instructions on one CPU without interruption, or not at
 * all.  An array cache per CPU therefore needs no lock and no atomic instruction.  glibc (2.35)
 * registers every thread; its area is used, never one of our own, and of its fields only
 * rseq_cs is written (rseq(2), and the manual of glibc, "Restartable Sequences").
 *
 * The grace period: after sn_rseq_fence() returned 0, no thread is inside a sequence that began
 * before the call, hence none can still use a table whose word was replaced before it.
 */
#ifndef SLABNODE_RSEQ_H
#define SLABNODE_RSEQ_H

#include "base.h"

/* Offset of glibc's area from the thread pointer; set once by sn_rseq_init(). */
extern ptrdiff_t sn_rseq_offset SN_HIDDEN;
/* The sequences may be used: registered by glibc, and membarrier registered by us. */
extern bool sn_rseq_enabled;

/* Finds out whether sequences can be used; *reason says why not, or "glibc registered it". */
bool sn_rseq_init(const char **reason);
/* Aborts every sequence that is under way, in all threads.  0, or a negative errno value
 * (-EPERM, -ENOSYS: a sandbox refuses membarrier). */
int sn_rseq_fence(void);
/* The locked mode's: a memory barrier in all threads of the process, wherever they are.  Whether it
 * is to be had; 0 or a negative errno value. */
bool sn_membarrier_init(void);
int sn_membarrier(void);
/* From now on both fences refuse, without a system call: a filter may kill on membarrier. */
void sn_rseq_forbid_fence(void);
/* The CPU of the calling thread as rseq sees it, negative when not registered. */
int sn_rseq_cpu(void);

/* What the sequences know of a table: its header begins with the node, tops stand from its start
 * and ends from here on, both by cache. */
#define SN_RSEQ_ENDS 2048

/* What the kernel is told of the sequence [1, 2) with the abort 4: label 3. */
#define RSEQ_DESCRIPTOR                                                                            \
	".pushsection __rseq_cs, \"aw\"\n"                                                         \
	".balign 32\n"                                                                             \
	"3:\n"                                                                                     \
	".long 0, 0\n"                                                                             \
	".quad 1f, 2f - 1f, 4f\n"                                                                  \
	".popsection\n"                                                                            \
	".pushsection __rseq_cs_ptr_array, \"aw\"\n"                                               \
	".quad 3b\n"                                                                               \
	".popsection\n"

#define SLABNODE_RSEQ_INSIDE
#if defined(__x86_64__) && !defined(SLABNODE_LOCKED_ONLY)
#include "arch/x86_64/rseq.h"
#elif defined(__aarch64__) && !defined(SLABNODE_LOCKED_ONLY)
#include "arch/aarch64/rseq.h"
#else
/* No sequences on this architecture: sn_rseq_enabled stays false and nobody calls these. */
#define SN_HAVE_RSEQ 0
SN_INLINE void *sn_rseq_pop(void *const *words, size_t cache)
{
	(void)words, (void)cache;
	return NULL;
}
SN_INLINE bool sn_rseq_push(void *const *words, const void *standins, size_t home,
			    const uint8_t *pages, size_t page, void *object)
{
	(void)words, (void)standins, (void)home, (void)pages, (void)page, (void)object;
	return false;
}
SN_INLINE unsigned int sn_rseq_pop_many(void *const *words, size_t cache, void **objects,
					size_t want)
{
	(void)words, (void)cache, (void)objects, (void)want;
	return 0;
}
SN_INLINE unsigned int sn_rseq_push_many(void *const *words, size_t cache, void *const *objects,
					 size_t count, const void *standin)
{
	(void)words, (void)cache, (void)objects, (void)count, (void)standin;
	return 0;
}
SN_INLINE bool sn_rseq_install(void *const *words, size_t cache, const void *want_table,
			       const void *expected, const void *array)
{
	(void)words, (void)cache, (void)want_table, (void)expected, (void)array;
	return false;
}
#endif
#undef SLABNODE_RSEQ_INSIDE
#undef RSEQ_DESCRIPTOR

#endif
