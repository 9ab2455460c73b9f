/*
 * guard.c - see guard.h.
 *
 * Linux 6.13 closes pages by markers in the page tables (MADV_GUARD_INSTALL), as many as one likes.
 * Where it is missing mprotect does it, which splits mappings: so only few are closed then.
 */
#include "guard.h"

#include "pages.h"

#include <sys/mman.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE  103
#endif

/* Of 65530 mappings that a process may have. */
#define MOST_PROTECTED 8192

unsigned int sn_segment_tail, sn_segment_gap, sn_run_tail;

static _Atomic bool no_markers;
static _Atomic int nr_protected;

static bool protect(void *addr, size_t len)
{
	if (atomic_fetch_add(&nr_protected, 1) < MOST_PROTECTED && sn_discard_memory(addr, len) &&
	    mprotect(addr, len, PROT_NONE) == 0)
		return true;
	atomic_fetch_sub(&nr_protected, 1);
	return false;
}

/* Once refused (an old kernel, locked memory), the markers are not tried again. */
bool sn_guard_close(void *addr, size_t len)
{
	int saved = errno;
	bool done;

	if (!atomic_load_explicit(&no_markers, memory_order_relaxed)) {
		if (madvise(addr, len, MADV_GUARD_INSTALL) == 0)
			return true;
		if (errno == EINVAL)
			atomic_store(&no_markers, true);
	}
	done = protect(addr, len);
	errno = saved;
	return done;
}

/* Pages may be closed in either way: what was closed by markers stays so when they are refused. */
void sn_guard_open(void *addr, size_t len)
{
	int saved = errno;

	madvise(addr, len, MADV_GUARD_REMOVE);
	if (atomic_load(&nr_protected) > 0 && mprotect(addr, len, PROT_READ | PROT_WRITE) == 0)
		atomic_fetch_sub(&nr_protected, 1);
	errno = saved;
}

static char *last_page(const struct sn_page *run)
{
	return sn_page_address(run) + ((size_t)(run->npages - 1) << SN_PAGE_SHIFT);
}

void sn_guard_run(struct sn_page *run)
{
	if (sn_guard_close(last_page(run), SN_PAGE_SIZE))
		run->fixed |= SN_RUN_GUARDED;
}

/* A walk over samples may ask for the length of a block that is being freed. */
void sn_unguard_run(struct sn_page *run)
{
	if ((run->fixed & SN_RUN_GUARDED) == 0)
		return;
	sn_guard_open(last_page(run), SN_PAGE_SIZE);
	sn_counter_set(run->fixed, run->fixed & (uint8_t)~SN_RUN_GUARDED);
}

bool sn_guard_whole(struct sn_page *run)
{
	if (atomic_load_explicit(&no_markers, memory_order_relaxed))
		sn_unguard_run(run);
	sn_counter_set(run->fixed, run->fixed & (uint8_t)~SN_RUN_GUARDED);
	if (sn_guard_close(sn_page_address(run), (size_t)run->npages << SN_PAGE_SHIFT))
		return true;
	sn_guard_open(last_page(run), SN_PAGE_SIZE);
	return false;
}

void sn_unguard_whole(struct sn_page *run)
{
	sn_guard_open(sn_page_address(run), (size_t)run->npages << SN_PAGE_SHIFT);
}
