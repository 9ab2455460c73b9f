/*
 * meta.c - see meta.h.
 */
#include "meta.h"

#include "lock.h"

#include <sys/mman.h>

#define STATIC_AREA ((size_t)64 << 10)
#define CHUNK	    ((size_t)256 << 10)

static _Alignas(4096) char static_area[STATIC_AREA];

static struct {
	struct sn_lock lock SN_RANKED(meta);
	char *next SN_GUARDED_BY(&lock); /* the current chunk */
	char *end SN_GUARDED_BY(&lock);
	void (*follower)(void *addr, size_t len) SN_GUARDED_BY(&lock);
	_Atomic size_t bytes;
} meta = {.next = static_area, .end = static_area + STATIC_AREA};

#define MAX_STRETCHES 1024
static struct {
	void *addr;
	size_t len;
} stretch[MAX_STRETCHES]; /* written under meta.lock, published by nr_stretches */
static _Atomic unsigned int nr_stretches;

static void remember(void *addr, size_t len) SN_REQUIRES(&meta.lock)
{
	unsigned int i = atomic_load_explicit(&nr_stretches, memory_order_relaxed);

	if (i == MAX_STRETCHES)
		return; /* its pages stay where they are, as those of libc do */
	stretch[i].addr = addr;
	stretch[i].len = len;
	atomic_store_explicit(&nr_stretches, i + 1, memory_order_release);
}

bool sn_meta_stretch(unsigned int i, void **addr, size_t *len)
{
	if (i == 0) {
		*addr = static_area;
		*len = STATIC_AREA;
		return true;
	}
	if (i > atomic_load_explicit(&nr_stretches, memory_order_acquire))
		return false;
	*addr = stretch[i - 1].addr;
	*len = stretch[i - 1].len;
	return true;
}

void sn_meta_follow(void (*fn)(void *addr, size_t len))
{
	void *addr;
	size_t len;

	sn_lock_acquire(&meta.lock, SN_RANK_META);
	meta.follower = fn;
	for (unsigned int i = 0; sn_meta_stretch(i, &addr, &len); i++)
		fn(addr, len);
	sn_lock_release(&meta.lock, SN_RANK_META);
}

/* Opened after the follower saw it: under mlockall(MCL_FUTURE) its pages are there from then on. */
static void *map_stretch(size_t size) SN_REQUIRES(&meta.lock)
{
	int access = PROT_READ | PROT_WRITE, first = meta.follower != NULL ? PROT_NONE : access;
	void *p = mmap(NULL, size, first, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || meta.follower == NULL)
		return p;
	meta.follower(p, size);
	if (mprotect(p, size, access) == 0)
		return p;
	munmap(p, size);
	return MAP_FAILED;
}

/* Page-aligned zero pages of their own; NULL when refused. */
static void *map_pages(size_t size) SN_REQUIRES(&meta.lock)
{
	int saved = errno;
	void *p = map_stretch(size);

	errno = saved;
	if (p == MAP_FAILED)
		return NULL;
	remember(p, size);
	return p;
}

/* Takes from the current chunk, or NULL when it does not fit. */
static void *bump(size_t size, size_t align) SN_REQUIRES(&meta.lock)
{
	uintptr_t at = sn_align_up((uintptr_t)meta.next, align);

	if (at > (uintptr_t)meta.end || size > (uintptr_t)meta.end - at)
		return NULL;
	meta.next = (char *)at + size;
	return (void *)at;
}

void *sn_meta_alloc(size_t size, size_t align)
{
	void *p;

	if (sn_fault(SN_FAULT_METADATA) != 0)
		return NULL;
	sn_lock_acquire(&meta.lock, SN_RANK_META);
	p = bump(size, align);
	if (p == NULL && size >= CHUNK / 4) {
		p = map_pages(sn_align_up(size, SN_PAGE_SIZE));
	} else if (p == NULL) {
		char *chunk = map_pages(CHUNK);

		if (chunk != NULL) {
			meta.next = chunk;
			meta.end = chunk + CHUNK;
			p = bump(size, align);
		}
	}
	sn_lock_release(&meta.lock, SN_RANK_META);
	if (p != NULL)
		atomic_fetch_add_explicit(&meta.bytes, size, memory_order_relaxed);
	return p;
}

size_t sn_meta_bytes(void)
{
	return atomic_load_explicit(&meta.bytes, memory_order_relaxed);
}

/* These two are halves of what the fork handler does. */
void sn_meta_fork_lock(void) SN_NO_THREAD_SAFETY
{
	sn_lock_acquire(&meta.lock, SN_RANK_META);
}

void sn_meta_fork_unlock(bool child) SN_NO_THREAD_SAFETY
{
	if (child)
		sn_lock_reset(&meta.lock);
	else
		sn_lock_release(&meta.lock, SN_RANK_META);
}
