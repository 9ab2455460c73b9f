/*
 * arch/aarch64/rseq.h - the restartable sequences for 64-bit ARM.  Include core/rseq.h, not this.
 *
 * As for x86-64: each sequence is [1, 2), and the kernel aborts it (jumps to 4) unless the store at
 * its end has been done.  The area is found from the thread pointer.  The signature before an abort
 * is glibc's for this architecture, an instruction: brk #0x45e0.
 *
 * MEMORY ORDER.  ARM lets other CPUs see plain stores in any order, and does loads in any order
 * that no dependency forbids.  So for each word of a sequence: who else touches it, and what orders
 * that.
 *
 * Sequences of one CPU, of whatever threads: program order.  Between two threads on a CPU, and when
 * a thread goes to another, lies the scheduler, which is a full barrier.  So tops and arrays, which
 * one CPU's sequences write, need nothing among themselves; nor does what lies in an object that a
 * CPU frees and hands out again.
 *
 * What others publish, and a sequence reads: words, headers, first tops and ends, arrays.  They are
 * complete before the word is stored (release), and all that a sequence reads of a table it reads
 * at an address that it computed from the word (or from the top, itself read there).  ARM keeps the
 * order of such loads, and here it is instructions that do, not C, of which a compiler may make
 * something else.
 *
 * What sequences publish, and others read:
 *   - the drain, a reaper, whoever destroys or closes a cache: after membarrier only.  That is a
 * full barrier on each CPU that runs the program, at an instruction: a sequence has either been
 * aborted or all its stores are before it; and the next one's loads are behind it, so they find the
 * word (and the stand-in, which is read inside) as it was when membarrier was called.  A table that
 * is opened again is published as a new one.
 *   - an array that was just installed, whose first entry says where it ends:
 * sn_tables_open_cache() may look before any fence, hence the one store with release.  The reader's
 * load of the entry depends on that of the top.
 *   - statistics, and what asks "is it worth a fence": without order.  An entry read under a top
 * may be an older one, also NULL; addresses are not followed.  (Locked, they are read in order.)
 *
 * Two loads of a sequence that nothing orders: a slot's top and its end.  An end is any value
 * within the array, which never moves, or NULL.  NULL becomes an end only behind the sequence that
 * installed the array, on this CPU; a sequence before that one has read its end earlier, and one
 * behind it reads that top.  When a closed cache is opened, an end overwrites NULL while the top
 * stands still. Who opens it reads the first entry and then stores the end that was kept there; a
 * push reads that end, compares, and stores over the entry: ARM lets neither store pass its load.
 *
 * The stand-in and the page map: of an object that the caller owns, so the map's entry and byte
 * were written before the object was handed out; loads that ran ahead of a refusal are never used.
 */
#ifndef SLABNODE_RSEQ_INSIDE
#error "include rseq.h"
#endif

#define RSEQ_BEGIN                                                                                 \
	RSEQ_DESCRIPTOR                                                                            \
	"adrp %[t], 3b\n"                                                                          \
	"add %[t], %[t], :lo12:3b\n"                                                               \
	"str %[t], [%[rseq], #8]\n"                                                                \
	"1:\n"                                                                                     \
	"ldrsw %[t], [%[rseq], #4]\n"                                                              \
	"ldr %[t], [%[words], %[t], lsl #3]\n"

/* What an aborted sequence does instead: `undo`, then goes to `where`. */
#define RSEQ_END(undo, where)                                                                      \
	"2:\n"                                                                                     \
	".pushsection .text.rseq_abort, \"ax\"\n"                                                  \
	".balign 4\n"                                                                              \
	".inst 0xd428bc00\n"                                                                       \
	"4:\n" undo "b " where "\n"                                                                \
	".popsection\n"

#define SN_HAVE_RSEQ 1

SN_INLINE char *sn_rseq_area(void)
{
	return (char *)__builtin_thread_pointer() + sn_rseq_offset;
}

/* Takes the newest object of a slot; NULL: none, or aborted. */
SN_INLINE void *sn_rseq_pop(void *const *words, size_t cache)
{
	void *object, *t, *top;

	__asm__ volatile goto(RSEQ_BEGIN "add %[t], %[t], %[cache], lsl #3\n"
					 "ldr %[top], [%[t]]\n"
					 "ldr %[object], [%[top]], #-8\n"
					 "cbz %[object], %l[nothing]\n"
					 "str %[top], [%[t]]\n" RSEQ_END("", "%l[nothing]")
			      : [object] "=&r"(object), [t] "=&r"(t), [top] "=&r"(top)
			      : [rseq] "r"(sn_rseq_area()), [words] "r"(words), [cache] "r"(cache)
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
	void *t, *top, *other; /* the table's node, then the slot's end */
	size_t index;	       /* the stand-in, then the cache */

	__asm__ volatile goto(
		RSEQ_BEGIN "ldrb %w[index], [%[standins], %[home]]\n"
			   "ldrb %w[other], [%[t]]\n"
			   "cmp %w[index], %w[other]\n"
			   "b.ne %l[refused]\n"
			   "ldrb %w[index], [%[pages], %[page]]\n"
			   "add %[t], %[t], %[index], lsl #3\n"
			   "ldr %[top], [%[t]]\n"
			   "ldr %[other], [%[t], %[ends]]\n"
			   "cmp %[top], %[other]\n"
			   "b.hs %l[refused]\n"
			   "str %[object], [%[top], #8]!\n"
			   "str %[top], [%[t]]\n" RSEQ_END("", "%l[refused]")
		: [t] "=&r"(t), [top] "=&r"(top), [other] "=&r"(other), [index] "=&r"(index)
		: [rseq] "r"(sn_rseq_area()), [words] "r"(words), [standins] "r"(standins),
		  [home] "r"(home), [pages] "r"(pages), [page] "r"(page), [object] "r"(object),
		  [ends] "i"(SN_RSEQ_ENDS)
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

	__asm__ volatile(RSEQ_BEGIN "add %[t], %[t], %[cache], lsl #3\n"
				    "ldr %[top], [%[t]]\n"
				    "mov %[n], #0\n"
				    "5:\n"
				    "cmp %[n], %[want]\n"
				    "b.hs 6f\n"
				    "ldr %[object], [%[top]]\n"
				    "cbz %[object], 6f\n"
				    "str %[object], [%[objects], %[n], lsl #3]\n"
				    "sub %[top], %[top], #8\n"
				    "add %[n], %[n], #1\n"
				    "b 5b\n"
				    "6:\n"
				    "cbz %[n], 2f\n"
				    "str %[top], [%[t]]\n" RSEQ_END("mov %[n], #0\n", "2b")
			 : [t] "=&r"(t), [top] "=&r"(top), [object] "=&r"(object), [n] "=&r"(n)
			 : [rseq] "r"(sn_rseq_area()), [words] "r"(words), [cache] "r"(cache),
			   [objects] "r"(objects), [want] "r"(want)
			 : "memory", "cc");
	return (unsigned int)n;
}

/* Puts up to `count` objects of one node. Returns how many it took. */
SN_INLINE unsigned int sn_rseq_push_many(void *const *words, size_t cache, void *const *objects,
					 size_t count, const void *standin)
{
	void *t, *top, *end, *object;
	size_t n;

	__asm__ volatile(RSEQ_BEGIN "mov %[n], #0\n"
				    "ldrb %w[top], [%[standin]]\n"
				    "ldrb %w[end], [%[t]]\n"
				    "cmp %w[top], %w[end]\n"
				    "b.ne 2f\n"
				    "add %[t], %[t], %[cache], lsl #3\n"
				    "ldr %[top], [%[t]]\n"
				    "ldr %[end], [%[t], %[ends]]\n"
				    "5:\n"
				    "cmp %[n], %[count]\n"
				    "b.hs 6f\n"
				    "cmp %[top], %[end]\n"
				    "b.hs 6f\n"
				    "ldr %[object], [%[objects], %[n], lsl #3]\n"
				    "str %[object], [%[top], #8]!\n"
				    "add %[n], %[n], #1\n"
				    "b 5b\n"
				    "6:\n"
				    "cbz %[n], 2f\n"
				    "str %[top], [%[t]]\n" RSEQ_END("mov %[n], #0\n", "2b")
			 : [t] "=&r"(t), [top] "=&r"(top), [end] "=&r"(end), [object] "=&r"(object),
			   [n] "=&r"(n)
			 : [rseq] "r"(sn_rseq_area()), [words] "r"(words), [cache] "r"(cache),
			   [objects] "r"(objects), [count] "r"(count), [standin] "r"(standin),
			   [ends] "i"(SN_RSEQ_ENDS)
			 : "memory", "cc");
	return (unsigned int)n;
}

/* Gives a slot of table `want_table` its array: stores `array` as its top if the table is the
 * current one and the slot's top is still `expected`.  Released: what the array says is read by
 * whoever sees it there. */
SN_INLINE bool sn_rseq_install(void *const *words, size_t cache, const void *want_table,
			       const void *expected, const void *array)
{
	void *t, *top;
	int done;

	__asm__ volatile(RSEQ_BEGIN "mov %w[done], #0\n"
				    "cmp %[t], %[want]\n"
				    "b.ne 2f\n"
				    "add %[t], %[t], %[cache], lsl #3\n"
				    "ldr %[top], [%[t]]\n"
				    "cmp %[top], %[expected]\n"
				    "b.ne 2f\n"
				    "mov %w[done], #1\n"
				    "stlr %[array], [%[t]]\n" RSEQ_END("mov %w[done], #0\n", "2b")
			 : [t] "=&r"(t), [top] "=&r"(top), [done] "=&r"(done)
			 : [rseq] "r"(sn_rseq_area()), [words] "r"(words), [cache] "r"(cache),
			   [want] "r"(want_table), [expected] "r"(expected), [array] "r"(array)
			 : "memory", "cc");
	return done;
}

#undef RSEQ_BEGIN
#undef RSEQ_END
