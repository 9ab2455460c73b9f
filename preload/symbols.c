/*
 * symbols.c - the allocation functions of libc, interposed.
 *
 * Every entry point that glibc's manual names for a replacement ("Replacing malloc"), those
 * that programs are known to call beside them, and the __libc_ aliases.  Each is a line or two:
 * policy stands here (errno, size limits, what a size of 0 means), mechanism in core/.
 */
#include "internal.h"

#include "../core/alloc.h"
#include "../core/reap.h"
#include "../core/stats.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__clang__)
#define ALIAS(of) __attribute__((alias(#of), visibility("default")))
#else
#define ALIAS(of) __attribute__((alias(#of), visibility("default"), copy(of)))
#endif

void *reallocarray(void *p, size_t n, size_t size);
void cfree(void *p);
void free_sized(void *p, size_t size);
void free_aligned_sized(void *p, size_t align, size_t size);

static SN_COLD void *no_memory(void)
{
	errno = ENOMEM;
	return NULL;
}

SN_EXPORT void *malloc(size_t size)
{
	return sn_malloc(size);
}

SN_EXPORT void free(void *p)
{
	sn_free(p);
}

SN_EXPORT void *calloc(size_t n, size_t size)
{
	size_t bytes;

	if (sn_unlikely(__builtin_mul_overflow(n, size, &bytes)))
		return no_memory();
	return sn_calloc(bytes);
}

static SN_COLD void *free_instead(void *p)
{
	sn_realloc_none(p);
	return NULL;
}

/* realloc(p, 0) frees and returns NULL, as glibc's does. */
SN_EXPORT void *realloc(void *p, size_t size)
{
	if (sn_unlikely(p == NULL))
		return malloc(size);
	if (sn_unlikely(size == 0))
		return free_instead(p);
	return sn_realloc(p, size);
}

SN_EXPORT void *reallocarray(void *p, size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes))
		return no_memory();
	return realloc(p, bytes);
}

static bool power_of_two(size_t n)
{
	return n != 0 && (n & (n - 1)) == 0;
}

static SN_COLD void *no_alignment(void)
{
	errno = EINVAL;
	return NULL;
}

/* An alignment that is no power of two is rounded up, as glibc does. */
SN_EXPORT void *memalign(size_t align, size_t size)
{
	if (align > PTRDIFF_MAX / 2)
		return no_alignment();
	if (size > PTRDIFF_MAX)
		return no_memory();
	if (!power_of_two(align))
		align = align <= 16 ? 16 : (size_t)1 << (64 - __builtin_clzll(align - 1));
	return sn_memalign(align, size);
}

static SN_NOINLINE void *aligned_alloc_slow(size_t align, size_t size)
{
	return power_of_two(align) ? memalign(align, size) : no_alignment();
}

/* Not for a slab; an alignment of 0 is none either. */
static bool beyond_slabs(size_t align, size_t size)
{
	return sn_unlikely(align - 1 >= SN_PAGE_SIZE) || sn_unlikely(size > SN_CLASS_MAX);
}

SN_EXPORT void *aligned_alloc(size_t align, size_t size)
{
	if (beyond_slabs(align, size) || sn_unlikely((align & (align - 1)) != 0))
		return aligned_alloc_slow(align, size);
	return sn_malloc(sn_aligned_size(align, size));
}

static SN_NOINLINE int posix_memalign_slow(void **out, size_t align, size_t size)
{
	int saved = errno;
	void *p;

	if (!power_of_two(align) || align % sizeof(void *) != 0)
		return EINVAL;
	if (size > PTRDIFF_MAX || align > PTRDIFF_MAX / 2)
		return ENOMEM;
	p = sn_memalign(align, size);
	errno = saved;
	if (p == NULL)
		return ENOMEM;
	*out = p;
	return 0;
}

SN_EXPORT int posix_memalign(void **out, size_t align, size_t size)
{
	void *p;

	if (beyond_slabs(align, size) ||
	    sn_unlikely(((align & (align - 1)) | align % sizeof(void *)) != 0))
		return posix_memalign_slow(out, align, size);
	p = sn_malloc_quick(sn_aligned_size(align, size));
	if (sn_unlikely(p == NULL))
		return posix_memalign_slow(out, align, size);
	*out = p;
	return 0;
}

SN_EXPORT void *valloc(size_t size)
{
	return memalign(SN_PAGE_SIZE, size);
}

SN_EXPORT void *pvalloc(size_t size)
{
	if (size > PTRDIFF_MAX)
		return no_memory();
	return memalign(SN_PAGE_SIZE, sn_align_up(sn_max(size, (size_t)1), SN_PAGE_SIZE));
}

SN_EXPORT size_t malloc_usable_size(void *p)
{
	return sn_usable_size(p);
}

SN_EXPORT void cfree(void *p)
{
	sn_free(p);
}

SN_EXPORT void free_sized(void *p, size_t size)
{
	sn_free_sized(p, size);
}

SN_EXPORT void free_aligned_sized(void *p, size_t align, size_t size)
{
	sn_free_new("free_aligned_sized", p, size, align);
}

ALIAS(malloc) void *__libc_malloc(size_t size);
ALIAS(free) void __libc_free(void *p);
ALIAS(calloc) void *__libc_calloc(size_t n, size_t size);
ALIAS(realloc) void *__libc_realloc(void *p, size_t size);
ALIAS(memalign) void *__libc_memalign(size_t align, size_t size);
ALIAS(valloc) void *__libc_valloc(size_t size);
ALIAS(pvalloc) void *__libc_pvalloc(size_t size);

/* --- what reports and tunes -------------------------------------------------------------- */

/* pad is a hint that glibc's heap needs and this one does not. */
SN_EXPORT int malloc_trim(size_t pad)
{
	int saved = errno;
	uint64_t bytes;

	(void)pad;
	if (!sn_core_started())
		return 0;
	bytes = sn_trim();
	errno = saved;
	return bytes > 0;
}

/* The parameters are those of glibc's heap; success, as for any that glibc itself ignores. */
SN_EXPORT int mallopt(int parameter, int value)
{
	(void)parameter, (void)value;
	return 1;
}

static void fill_mallinfo(struct mallinfo2 *info)
{
	struct sn_totals totals;

	memset(info, 0, sizeof(*info));
	if (!sn_core_started())
		return;
	sn_totals(&totals);
	info->arena = totals.mapped_bytes - totals.large_bytes;
	info->hblks = totals.large_blocks;
	info->hblkhd = totals.large_bytes;
	info->uordblks = totals.live_bytes;
	info->fordblks = totals.cached_bytes;
}

SN_EXPORT struct mallinfo2 mallinfo2(void)
{
	struct mallinfo2 info;

	fill_mallinfo(&info);
	return info;
}

static int clip(size_t value)
{
	return value > INT32_MAX ? INT32_MAX : (int)value;
}

SN_EXPORT struct mallinfo mallinfo(void)
{
	struct mallinfo2 wide;

	fill_mallinfo(&wide);
	return (struct mallinfo){
		.arena = clip(wide.arena),
		.hblks = clip(wide.hblks),
		.hblkhd = clip(wide.hblkhd),
		.uordblks = clip(wide.uordblks),
		.fordblks = clip(wide.fordblks),
	};
}

SN_EXPORT int malloc_info(int options, FILE *out)
{
	struct mallinfo2 info;

	if (options != 0)
		return EINVAL;
	fill_mallinfo(&info);
	fprintf(out, "<malloc version=\"1\">\n<!-- slabnode %s -->\n", sn_version());
	for_each_node(n) {
		struct sn_node_stats stats;

		sn_node_stats(n, &stats);
		fprintf(out,
			"<heap nr=\"%d\">\n<system type=\"current\" size=\"%llu\"/>\n"
			"<total type=\"rest\" count=\"%llu\" size=\"%llu\"/>\n</heap>\n",
			stats.os_node, (unsigned long long)(stats.live_bytes + stats.cached_bytes),
			(unsigned long long)stats.slabs, (unsigned long long)stats.cached_bytes);
	}
	fprintf(out,
		"<total type=\"mmap\" count=\"%zu\" size=\"%zu\"/>\n"
		"<system type=\"current\" size=\"%zu\"/>\n</malloc>\n",
		info.hblks, info.hblkhd, info.arena);
	return 0;
}

SN_EXPORT void malloc_stats(void)
{
	struct mallinfo2 info;

	fill_mallinfo(&info);
	fprintf(stderr,
		"slabnode %s\nsystem bytes     = %10zu\nin use bytes     = %10zu\n"
		"cached bytes     = %10zu\nlarge blocks     = %10zu\nlarge bytes      = %10zu\n",
		sn_version(), info.arena, info.uordblks, info.fordblks, info.hblks, info.hblkhd);
}
