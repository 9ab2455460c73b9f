/*
 * rseq.c - finding glibc's rseq area, and membarrier.
 */
#include "rseq.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Unversioned weak references: the library still loads where glibc is older (NULL then). */
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));

/* cpu_id_start, cpu_id, rseq_cs: all that is used of the area. */
#define RSEQ_LEAST_SIZE 20

ptrdiff_t sn_rseq_offset;
bool sn_rseq_enabled;

static int membarrier(int command)
{
	int saved = errno, result = 0;

	if (syscall(SYS_membarrier, command, 0, 0) < 0)
		result = -errno;
	errno = saved;
	return result;
}

bool sn_rseq_init(const char **reason)
{
	if (!SN_HAVE_RSEQ) {
		*reason = "no sequences for this architecture";
	} else if (&__rseq_size == NULL || &__rseq_offset == NULL) {
		*reason = "libc has no rseq";
	} else if (__rseq_size < RSEQ_LEAST_SIZE) {
		*reason = "libc did not register rseq";
	} else if (membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ) < 0) {
		*reason = "membarrier for rseq refused";
	} else {
		*reason = "registered by libc";
		sn_rseq_offset = __rseq_offset;
		sn_rseq_enabled = true;
	}
	return sn_rseq_enabled;
}

static _Atomic uint32_t fence_forbidden;

void sn_rseq_forbid_fence(void)
{
	atomic_store(&fence_forbidden, 1);
}

int sn_rseq_fence(void)
{
	if (atomic_load(&fence_forbidden) != 0)
		return -EPERM;
	return membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ);
}

bool sn_membarrier_init(void)
{
	return membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;
}

int sn_membarrier(void)
{
	return atomic_load(&fence_forbidden) != 0 ? -EPERM
						  : membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
}

int sn_rseq_cpu(void)
{
	const char *area = (const char *)__builtin_thread_pointer() + sn_rseq_offset;

	return *(const volatile int *)(area + 4);
}
