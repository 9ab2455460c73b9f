/*
 * remap.c - see remap.h.
 */
#include "remap.h"

#include "fault.h"
#include "rebind.h"
#include "release.h"

#include <sys/mman.h>

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

static _Atomic uint32_t holders;

bool sn_remap_allowed(const struct sn_node *node)
{
	return atomic_load(&holders) == 0 && !node->locked_memory;
}

/*
 * Kernels before 6.17 refuse a source of several mappings only after they have unmapped the
 * destination, so a hole is filled again.
 */
enum sn_remapped sn_remap(struct sn_node *node, void *to, void *from, size_t len)
{
	struct sn_nodemask allowed;
	void *filled;

	if (sn_fault(SN_FAULT_MREMAP) == 0 &&
	    mremap(from, len, len, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to) == to)
		return SN_REMAPPED;
	filled = mmap(to, len, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (filled == MAP_FAILED)
		return errno == EEXIST ? SN_REMAP_REFUSED : SN_REMAP_LOST;
	if (filled != to) { /* a kernel before 4.17, and there is no hole */
		munmap(filled, len);
		return SN_REMAP_REFUSED;
	}
	madvise(to, len, MADV_NOHUGEPAGE); /* as all of the range that is not open */
	sn_node_policy_mask(&allowed);
	return sn_bind_range(node, to, len, &allowed) == 0 ? SN_REMAP_REFUSED : SN_REMAP_LOST;
}

void sn_remap_hold(void)
{
	atomic_fetch_add(&holders, 1);
	sn_releases_await();
}

void sn_remap_release(void)
{
	atomic_fetch_sub(&holders, 1);
}

void sn_remap_fork_child(void)
{
	atomic_store(&holders, 0);
}
