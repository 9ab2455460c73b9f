/*
 * arch/x86_64/rseq.h - the restartable sequences for x86-64.  Include core/rseq.h, not this.
 *
 * Each sequence is [1, 2): the kernel aborts it (jumps to 4) when the thread is preempted,
 * migrated, signalled or fenced by membarrier before the store at 2 has been done.  The area is
 * glibc's: fields cpu_id (offset 4) and rseq_cs (offset 8) at %fs:sn_rseq_offset.  cpu_id is
 * read after rseq_cs was set, so it cannot be stale inside the sequence; it is -1 or -2 in a
 * thread that is not registered, and words[-1] and words[-2] name the empty table.
 *
 * The descriptor stands in section __rseq_cs, its abort target behind the signature 0x53053053
 * (encoded so that a disassembler reads one harmless instruction).
 */
#ifndef SLABNODE_RSEQ_INSIDE
#error "include rseq.h"
#endif

#define RSEQ_BEGIN                                                                                 \
	RSEQ_DESCRIPTOR                                                                            \
	"leaq 3b(%%rip), %[t]\n"                                                                   \
	"movq %[t], %%fs:8(%[rseq])\n"                                                             \
	"1:\n"                                                                                     \
	"movslq %%fs:4(%[rseq]), %[t]\n"                                                           \
	"movq (%[words], %[t], 8), %[t]\n"

/* What an aborted sequence does instead: `undo`, then leaves as if it had found nothing.  In a
 * section that no compiler puts code into: in one of the function's own it would stand in its way.
 */
#define RSEQ_END(undo)                                                                             \
	"2:\n"                                                                                     \
	".pushsection .text.rseq_abort, \"ax\"\n"                                                  \
	".byte 0x0f, 0xb9, 0x3d\n"                                                                 \
	".long 0x53053053\n"                                                                       \
	"4:\n" undo "jmp 2b\n"                                                                     \
	".popsection\n"

#define SN_HAVE_RSEQ 1

/* As RSEQ_END, for sequences that say by a jump that they found nothing. */
#define RSEQ_END_GOTO(label)                                                                       \
	"2:\n"                                                                                     \
	".pushsection .text.rseq_abort, \"ax\"\n"                                                  \
	".byte 0x0f, 0xb9, 0x3d\n"                                                                 \
	".long 0x53053053\n"                                                                       \
	"4:\n"                                                                                     \
	"jmp %l[" #label "]\n"                                                                     \
	".popsection\n"

/*
 * The two that malloc and free consist of compute the slot's address first: a load that names one
 * register gets what an earlier store left there sooner than one with an index.
 */

/* Takes the newest object of a slot; NULL: none, or aborted. */
SN_INLINE void *sn_rseq_pop(void *const *words, size_t cache)
{
	void *object, *t, *top;

	/* In rax, where a function that returns it wants it. */
	__asm__ volatile goto(RSEQ_BEGIN "leaq (%[t], %[cache], 8), %[t]\n"
					 "movq (%[t]), %[top]\n"
					 "movq (%[top]), %[object]\n"
					 "testq %[object], %[object]\n"
					 "jz %l[nothing]\n"
					 "subq $8, %[top]\n"
					 "movq %[top], (%[t])\n" RSEQ_END_GOTO(nothing)
			      : [object] "=&a"(object), [t] "=&r"(t), [top] "=&r"(top)
			      : [rseq] "r"(sn_rseq_offset), [words] "r"(words), [cache] "r"(cache)
			      : "memory", "cc"
			      : nothing);
	if (object == NULL) /* tested above already */
		__builtin_unreachable();
	return object;
nothing:
	return NULL;
}

/*
 * Puts an object of node `home` into a slot of the current table, if that is a table of the home's
 * stand-in and has room.  False: not done.  The slot's cache is pages[page], which is read only
 * where `home` is a node: nobody stands in for SN_NODE_NONE, or an entry with SN_SEG_CONTINUED.
 */
SN_INLINE bool sn_rseq_push(void *const *words, const void *standins, size_t home,
			    const uint8_t *pages, size_t page, void *object)
{
	void *t, *top;
	size_t index = home; /* then the stand-in, then the cache: registers are few */

	__asm__ volatile goto(RSEQ_BEGIN "movzbl (%[standins], %[index]), %k[index]\n"
					 "cmpb %b[index], (%[t])\n"
					 "jne %l[refused]\n"
					 "movzbl (%[pages], %[page]), %k[index]\n"
					 "leaq (%[t], %[index], 8), %[t]\n"
					 "movq (%[t]), %[top]\n"
					 "cmpq %c[ends](%[t]), %[top]\n"
					 "jae %l[refused]\n"
					 "movq %[object], 8(%[top])\n"
					 "addq $8, %[top]\n"
					 "movq %[top], (%[t])\n" RSEQ_END_GOTO(refused)
			      : [t] "=&r"(t), [top] "=&r"(top), [index] "+&q"(index)
			      : [rseq] "r"(sn_rseq_offset), [words] "r"(words),
				[standins] "r"(standins), [pages] "r"(pages), [page] "r"(page),
				[object] "r"(object), [ends] "i"(SN_RSEQ_ENDS)
			      : "memory", "cc"
			      : refused);
	return true;
refused:
	return false;
}

/* Takes up to `want` objects. Returns how many. */
SN_INLINE unsigned int sn_rseq_pop_many(void *const *words, size_t cache, void **objects,
					size_t want)
{
	void *t, *top, *object;
	size_t n;

	__asm__ volatile(RSEQ_BEGIN
			 "movq (%[t], %[cache], 8), %[top]\n"
			 "xorl %k[n], %k[n]\n"
			 "5:\n"
			 "cmpq %[want], %[n]\n"
			 "jae 6f\n"
			 "movq (%[top]), %[object]\n"
			 "testq %[object], %[object]\n"
			 "jz 6f\n"
			 "movq %[object], (%[objects], %[n], 8)\n"
			 "subq $8, %[top]\n"
			 "incq %[n]\n"
			 "jmp 5b\n"
			 "6:\n"
			 "testq %[n], %[n]\n"
			 "jz 2f\n"
			 "movq %[top], (%[t], %[cache], 8)\n" RSEQ_END("xorl %k[n], %k[n]\n")
			 : [t] "=&r"(t), [top] "=&r"(top), [object] "=&r"(object), [n] "=&r"(n)
			 : [rseq] "r"(sn_rseq_offset), [words] "r"(words), [cache] "r"(cache),
			   [objects] "r"(objects), [want] "r"(want)
			 : "memory", "cc");
	return (unsigned int)n;
}

/* Puts up to `count` objects of one node. Returns how many it took. */
SN_INLINE unsigned int sn_rseq_push_many(void *const *words, size_t cache, void *const *objects,
					 size_t count, const void *standin)
{
	void *t, *top, *object;
	size_t n;

	__asm__ volatile(RSEQ_BEGIN
			 "movzbl (%[standin]), %k[top]\n"
			 "xorl %k[n], %k[n]\n"
			 "cmpb %b[top], (%[t])\n"
			 "jne 2f\n"
			 "movq (%[t], %[cache], 8), %[top]\n"
			 "5:\n"
			 "cmpq %[count], %[n]\n"
			 "jae 6f\n"
			 "cmpq %c[ends](%[t], %[cache], 8), %[top]\n"
			 "jae 6f\n"
			 "movq (%[objects], %[n], 8), %[object]\n"
			 "movq %[object], 8(%[top])\n"
			 "addq $8, %[top]\n"
			 "incq %[n]\n"
			 "jmp 5b\n"
			 "6:\n"
			 "testq %[n], %[n]\n"
			 "jz 2f\n"
			 "movq %[top], (%[t], %[cache], 8)\n" RSEQ_END("xorl %k[n], %k[n]\n")
			 : [t] "=&r"(t), [top] "=&q"(top), [object] "=&r"(object), [n] "=&r"(n)
			 : [rseq] "r"(sn_rseq_offset), [words] "r"(words), [cache] "r"(cache),
			   [objects] "r"(objects), [count] "r"(count), [standin] "r"(standin),
			   [ends] "i"(SN_RSEQ_ENDS)
			 : "memory", "cc");
	return (unsigned int)n;
}

/* Gives a slot of table `want_table` its array: stores `array` as its top if the table is the
 * current one and the slot's top is still `expected`. */
SN_INLINE bool sn_rseq_install(void *const *words, size_t cache, const void *want_table,
			       const void *expected, const void *array)
{
	void *t;
	int done;

	__asm__ volatile(RSEQ_BEGIN
			 "xorl %[done], %[done]\n"
			 "cmpq %[want], %[t]\n"
			 "jne 2f\n"
			 "cmpq %[expected], (%[t], %[cache], 8)\n"
			 "jne 2f\n"
			 "movl $1, %[done]\n"
			 "movq %[array], (%[t], %[cache], 8)\n" RSEQ_END("xorl %[done], %[done]\n")
			 : [t] "=&r"(t), [done] "=&r"(done)
			 : [rseq] "r"(sn_rseq_offset), [words] "r"(words), [cache] "r"(cache),
			   [want] "r"(want_table), [expected] "r"(expected), [array] "r"(array)
			 : "memory", "cc");
	return done;
}

#undef RSEQ_BEGIN
#undef RSEQ_END
#undef RSEQ_END_GOTO
