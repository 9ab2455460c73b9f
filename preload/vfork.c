/*
 * vfork.c - vfork(), so that its child may allocate.
 *
 * The child has its parent's memory and thread-local storage, but not its restartable sequences:
 * the kernel has unregistered them, so the CPU number stays what it was when the parent stopped,
 * and nothing aborts a sequence. Another thread on that CPU could take the same object. So between
 * the call and the parent's return the thread allocates from the internal node, past every array,
 * under locks; frees go to their slabs in the same way. In locked mode parent and child are one
 * thread in turn, and the same does no harm.
 *
 * The parent's return address must not lie on the stack, which the child uses in the meantime: it
 * is kept in a register, which each of the two has for itself.
 */
#include "internal.h"

/* The parent goes on, or there was no child. */
SN_HIDDEN __attribute__((used)) long sn_vfork_return(long result);

long sn_vfork_return(long result)
{
	sn_internal_leave();
	if (result < 0) {
		errno = (int)-result;
		return -1;
	}
	return result;
}

#if defined(__x86_64__)
#define VFORK                                                                                      \
	"endbr64\n"                                                                                \
	"subq $8, %rsp\n" /* calls want the stack aligned */                                       \
	".cfi_adjust_cfa_offset 8\n"                                                               \
	"call sn_internal_enter\n"                                                                 \
	"addq $8, %rsp\n"                                                                          \
	".cfi_adjust_cfa_offset -8\n"                                                              \
	"popq %rdi\n"                                                                              \
	".cfi_adjust_cfa_offset -8\n"                                                              \
	".cfi_register %rip, %rdi\n"                                                               \
	"movl $58, %eax\n" /* SYS_vfork */                                                         \
	"syscall\n"                                                                                \
	"pushq %rdi\n"                                                                             \
	".cfi_adjust_cfa_offset 8\n"                                                               \
	".cfi_rel_offset %rip, 0\n"                                                                \
	"testq %rax, %rax\n"                                                                       \
	"jz 1f\n"                                                                                  \
	"movq %rax, %rdi\n"                                                                        \
	"jmp sn_vfork_return\n"                                                                    \
	"1:\n"                                                                                     \
	"ret\n"
#elif defined(__aarch64__)
#define VFORK                                                                                      \
	"stp x29, x30, [sp, #-16]!\n"                                                              \
	".cfi_def_cfa_offset 16\n"                                                                 \
	".cfi_offset x29, -16\n"                                                                   \
	".cfi_offset x30, -8\n"                                                                    \
	"bl sn_internal_enter\n"                                                                   \
	"ldp x29, x30, [sp], #16\n"                                                                \
	".cfi_restore x29\n"                                                                       \
	".cfi_restore x30\n"                                                                       \
	".cfi_def_cfa_offset 0\n"                                                                  \
	"mov x0, #0x4111\n" /* CLONE_VM, CLONE_VFORK, SIGCHLD */                                   \
	"mov x1, #0\n"	    /* on the same stack */                                                \
	"mov x8, #220\n"    /* SYS_clone */                                                        \
	"svc #0\n"                                                                                 \
	"cbz x0, 1f\n"                                                                             \
	"b sn_vfork_return\n"                                                                      \
	"1:\n"                                                                                     \
	"ret\n"
#endif

/* Elsewhere there are no sequences, and libc's does. */
#ifdef VFORK

__asm__(".pushsection .text\n"
	".globl vfork\n"
	".type vfork, %function\n"
	".globl __vfork\n"
	".type __vfork, %function\n"
	".balign 4\n"
	"vfork:\n"
	"__vfork:\n"
	".cfi_startproc\n" VFORK ".cfi_endproc\n"
	".size vfork, .-vfork\n"
	".size __vfork, .-__vfork\n"
	".popsection\n");
#endif
