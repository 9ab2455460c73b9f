/*
 * The entry points that libc's manual names for a replacement malloc, one row for each promise:
 * sizes, alignment, errors, errno, zeroing, usable size, and that all names lead to one heap.
 */
#include "check.h"

#include <dirent.h>
#include <dlfcn.h>
#include <limits.h>
#include <malloc.h>
#include <regex.h>

/* Not declared by glibc 2.36, or declared only for other standards. */
typedef void *(*alloc1_fn)(size_t);
typedef void *(*alloc2_fn)(size_t, size_t);
typedef void *(*realloc_fn)(void *, size_t);
typedef void (*free_fn)(void *);
typedef void (*free_sized_fn)(void *, size_t);
typedef void (*free_aligned_sized_fn)(void *, size_t, size_t);

static void *named(const char *name)
{
	return dlsym(RTLD_DEFAULT, name);
}

/* A name that slabnode must have; elsewhere its absence only shortens the row. */
static void *wanted(const char *name)
{
	void *p = named(name);

	CHECK_MSG(p || !under_slabnode(), "%s is not exported", name);
	return p;
}

struct object {
	void *ptr;
	size_t size;
};

static void take(struct object *o, size_t size, uint64_t id)
{
	o->size = size;
	o->ptr = malloc(size);
	CHECK_MSG(o->ptr, "malloc(%zu) failed", size);
	CHECK_MSG(((uintptr_t)o->ptr & 15) == 0, "malloc(%zu) gave %p", size, o->ptr);
	CHECK(malloc_usable_size(o->ptr) >= size);
	fill(o->ptr, size, id);
}

static void give(struct object *o, uint64_t id)
{
	CHECK_INTACT(o->ptr, o->size, id);
	free(o->ptr);
	o->ptr = NULL;
}

/* Eight edges a doubling cover those of every usual class spacing; each with its neighbours. */
static size_t edge_sizes(size_t *sizes, size_t max, size_t limit)
{
	size_t n = 0;

	for (size_t s = 0; s <= 1024 && n < max; s++)
		sizes[n++] = s;
	for (size_t base = 1024; base < limit; base *= 2) {
		for (size_t k = 0; k < 8; k++) {
			size_t edge = base + base / 8 * k;

			for (int d = -1; d <= 1 && n < max; d++)
				sizes[n++] = edge + (size_t)d;
		}
	}
	CHECK(n < max);
	sizes[n++] = limit;
	return n;
}

static void free_in_order(struct object *o, size_t n, int order)
{
	uint64_t seed = 42;

	if (order == 0) {
		for (size_t i = 0; i < n; i++)
			give(&o[i], i);
	} else if (order == 1) {
		for (size_t i = n; i-- > 0;)
			give(&o[i], i);
	} else {
		for (size_t left = n; left > 0;) {
			size_t i = rnd(&seed) % n;

			while (!o[i].ptr)
				i = (i + 1) % n;
			give(&o[i], i);
			left--;
		}
	}
}

static void sweep(void)
{
	static size_t sizes[4096];
	static struct object objs[4096];
	size_t n = edge_sizes(sizes, ARRAY_SIZE(sizes), 4 * MIB);

	for (int order = 0; order < 3; order++) {
		for (size_t i = 0; i < n; i++)
			take(&objs[i], sizes[i], i);
		free_in_order(objs, n, order);
	}
}

static void many_of_each(void)
{
	static struct object objs[512];

	for (size_t size = 1; size <= 64 * KIB; size += size / 3 + 1) {
		for (int order = 0; order < 3; order++) {
			for (size_t i = 0; i < ARRAY_SIZE(objs); i++)
				take(&objs[i], size, i);
			free_in_order(objs, ARRAY_SIZE(objs), order);
		}
	}
}

static int by_address(const void *a, const void *b)
{
	const void *const *pa = a, *const *pb = b;

	return (*pa > *pb) - (*pa < *pb);
}

static void zero_size(void)
{
	static void *p[4000];
	size_t zero = opaque_size(0);

	for (size_t i = 0; i < 4000; i += 4) {
		p[i] = malloc(zero);
		p[i + 1] = calloc(zero, 7);
		p[i + 2] = calloc(7, zero);
		p[i + 3] = aligned_alloc(64, zero);
	}
	qsort(p, 4000, sizeof(p[0]), by_address);
	for (size_t i = 0; i < 4000; i++) {
		CHECK(p[i]);
		CHECK_MSG(i == 0 || p[i] != p[i - 1], "the same pointer twice");
	}
	for (size_t i = 0; i < 4000; i++)
		free(p[i]);
	free(NULL);
}

static void realloc_basic(void)
{
	void *p = realloc(NULL, 100), *q;

	CHECK(p);
	fill(p, 100, 1);
	for (size_t size = 100; size < 8 * MIB; size = size * 5 / 4 + 3) {
		size_t next = size * 5 / 4 + 3;

		p = realloc(p, next);
		CHECK(p && malloc_usable_size(p) >= next);
		CHECK_INTACT(p, size & ~7UL, 1);
		fill(p, next, 1);
		if (next >= 8 * MIB) {
			for (; next > 1; next = next * 3 / 5) {
				p = realloc(p, next);
				CHECK(p);
				CHECK_INTACT(p, next & ~7UL, 1);
			}
			break;
		}
	}
	/* What fails leaves the object alone. */
	p = realloc(p, 4000);
	CHECK(p);
	fill(p, 4000, 2);
	errno = 0;
	q = realloc(p, opaque_size(PTRDIFF_MAX - 5UL));
	CHECK(!q && errno == ENOMEM);
	errno = 0;
	q = realloc(p, opaque_size((size_t)1 << 60));
	CHECK(!q && errno == ENOMEM);
	CHECK_INTACT(p, 4000, 2);
	free(p);
}

/*
 * realloc(p, 0) frees p; whether it answers NULL or an object differs between allocators, and what
 * it answers must be the same each time and must not leak.
 */
static void realloc_zero(void)
{
	long before = 0;
	bool null = false;

	for (int i = 0; i < 200000; i++) {
		void *p = malloc(2000), *q;

		CHECK(p);
		memset(p, i, 2000);
		q = realloc(p, opaque_size(0));
		CHECK(i == 0 || null == !q);
		null = !q;
		free(q);
		if (i == 20000)
			before = rss_kib();
	}
	CHECK_MSG(rss_kib() - before < 4096, "realloc(p, 0) leaks %ld KiB", rss_kib() - before);
}

/* Random sizes up to where blocks are remapped rather than copied. */
static void realloc_random(void)
{
	static struct object o[64];
	uint64_t seed = 7;

	for (int i = 0; i < 20000; i++) {
		size_t at = rnd(&seed) % ARRAY_SIZE(o);
		unsigned shift = (unsigned)(rnd(&seed) % 20);
		size_t size = rnd(&seed) % ((size_t)16 << shift) + 1;
		size_t keep = size < o[at].size ? size : o[at].size;
		void *p = realloc(o[at].ptr, size);

		CHECK(p && ((uintptr_t)p & 15) == 0);
		CHECK_INTACT(p, keep & ~7UL, at);
		fill(p, size, at);
		o[at].ptr = p;
		o[at].size = size;
	}
	for (size_t i = 0; i < ARRAY_SIZE(o); i++) {
		if (o[i].ptr)
			give(&o[i], i);
	}
}

static void realloc_large(void)
{
	size_t size = 1 * MIB;
	char *p = malloc(size);

	CHECK(p);
	fill(p, size, 3);
	while (size < 256 * MIB) {
		char *q = realloc(p, size * 2);

		CHECK(q);
		CHECK_INTACT(q, size, 3);
		p = q;
		size *= 2;
		fill(p, size, 3);
	}
	p = realloc(p, 300);
	CHECK(p);
	CHECK_INTACT(p, 296, 3);
	free(p);
	CHECK_MSG(rss_kib() < 200 * 1024, "%ld KiB stay resident after the shrink", rss_kib());
}

static void realloc_aligned(void)
{
	for (size_t align = 32; align <= 64 * KIB; align *= 2) {
		for (size_t size = 1; size < 200000; size = size * 3 + 1) {
			char *p = aligned_alloc(align, size);

			CHECK(p && (uintptr_t)p % align == 0);
			fill(p, size, align);
			p = realloc(p, size * 2 + 100);
			CHECK(p);
			CHECK_INTACT(p, size & ~7UL, align);
			free(p);
		}
	}
}

#define REFUSED(call)                                                                              \
	do {                                                                                       \
		void *p_;                                                                          \
		errno = 0;                                                                         \
		p_ = opaque(call);                                                                 \
		CHECK_MSG(!p_, "%s was granted", #call);                                           \
		CHECK_MSG(errno == ENOMEM, "%s gave errno %d", #call, errno);                      \
	} while (0)

static void too_large_one(size_t size)
{
	void *p;
	void *keep = malloc(40);

	CHECK(keep);
	fill(keep, 40, 9);
	size = opaque_size(size);
	REFUSED(malloc(size));
	REFUSED(calloc(size, 1));
	REFUSED(calloc(1, size));
	REFUSED(realloc(keep, size));
	REFUSED(reallocarray(keep, size, 1));
	REFUSED(reallocarray(keep, 1, size));
	REFUSED(aligned_alloc(64, size));
	REFUSED(aligned_alloc(8192, size));
	REFUSED(memalign(64, size));
	REFUSED(memalign(1 << 20, size));
	REFUSED(valloc(size));
	REFUSED(pvalloc(size));
	p = keep;
	CHECK(posix_memalign(&p, 64, size) == ENOMEM && p == keep);
	CHECK(posix_memalign(&p, 65536, size) == ENOMEM && p == keep);
	CHECK_INTACT(keep, 40, 9);
	free(keep);
}

/* The overflow bugs lived where a header, an alignment or a page was added near the top. */
static void too_large(void)
{
	for (size_t low = 0; low < (1 << 14); low += low < 300 ? 1 : 61) {
		too_large_one(SIZE_MAX - low);
		too_large_one((size_t)PTRDIFF_MAX + 1 + low);
	}
	for (unsigned shift = 62; shift >= 49; shift--)
		too_large_one((size_t)1 << shift);
}

static void overflow(void)
{
	static const size_t f[][2] = {
		{(size_t)1 << 32, (size_t)1 << 32},
		{SIZE_MAX, 2},
		{2, SIZE_MAX},
		{SIZE_MAX, SIZE_MAX},
		{(size_t)1 << 63, 2},
		{SIZE_MAX / 2 + 1, 2},
		{SIZE_MAX / 3 + 1, 3},
		{((size_t)1 << 33) + 1, (size_t)1 << 31},
		{3, SIZE_MAX / 3 + 2},
		{(size_t)1 << 60, 17},
	};
	void *keep = malloc(100);

	CHECK(keep);
	fill(keep, 100, 4);
	for (size_t i = 0; i < ARRAY_SIZE(f); i++) {
		REFUSED(calloc(opaque_size(f[i][0]), opaque_size(f[i][1])));
		REFUSED(reallocarray(keep, opaque_size(f[i][0]), opaque_size(f[i][1])));
		REFUSED(reallocarray(NULL, opaque_size(f[i][0]), opaque_size(f[i][1])));
	}
	CHECK_INTACT(keep, 100, 4);
	keep = reallocarray(keep, 50, 40);
	CHECK(keep);
	CHECK_INTACT(keep, 96, 4);
	free(keep);
}

/* Dirty memory is freed and asked for again, small and large, before and after a trim. */
static void calloc_zero(void)
{
	static void *p[64];

	for (size_t size = 1; size <= 4 * MIB; size += size / 2 + 1) {
		size_t n = size > 64 * KIB ? 4 : 64;

		for (int round = 0; round < 4; round++) {
			for (size_t i = 0; i < n; i++) {
				p[i] = malloc(size);
				CHECK(p[i]);
				memset(p[i], 0xa5, malloc_usable_size(p[i]));
			}
			for (size_t i = 0; i < n; i++)
				free(p[i]);
			if (round == 2)
				malloc_trim(0);
			for (size_t i = 0; i < n; i++) {
				p[i] = calloc(round & 1 ? size : 1, round & 1 ? 1 : size);
				CHECK(p[i]);
				CHECK_MSG(all_zero(p[i], size), "calloc of %zu is not zero", size);
				memset(p[i], 0x5a, size);
			}
			for (size_t i = 0; i < n; i++)
				free(p[i]);
		}
	}
}

static void posix_memalign_errors(void)
{
	static const size_t bad[] = {0, 1, 2, 3, 4, 6, 7, 9, 12, 24, 48, 100, 4095, SIZE_MAX};
	char sentinel;
	void *p;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		p = &sentinel;
		errno = 0x5a;
		CHECK_MSG(posix_memalign(&p, opaque_size(bad[i]), 64) == EINVAL,
			  "alignment %zu was not EINVAL", bad[i]);
		CHECK(p == &sentinel && errno == 0x5a);
	}
	for (size_t align = 8; align <= 64 * MIB; align *= 2) {
		for (size_t size = 0; size < 10000; size = size * 3 + 1) {
			p = NULL;
			errno = 0x5a;
			CHECK(posix_memalign(&p, align, size) == 0);
			CHECK(p && (uintptr_t)p % align == 0 && errno == 0x5a);
			CHECK(malloc_usable_size(p) >= size);
			fill(p, size, align);
			CHECK_INTACT(p, size, align);
			free(p);
		}
	}
	p = &sentinel;
	errno = 0x5a;
	CHECK(posix_memalign(&p, 64, opaque_size((size_t)1 << 60)) == ENOMEM);
	CHECK(p == &sentinel);
}

static void aligned_huge(void)
{
	for (size_t align = 64 * MIB; align <= 1024 * MIB; align *= 2) {
		char *p = aligned_alloc(align, 100);

		CHECK(p && (uintptr_t)p % align == 0);
		p[0] = p[99] = 1;
		free(p);
	}
}

static void aligned(void)
{
	static void *p[32];
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	for (size_t align = 1; align <= 1 * MIB; align *= 2) {
		for (size_t size = 0; size < 100000; size = size * 2 + 1) {
			for (size_t i = 0; i < ARRAY_SIZE(p); i++) {
				p[i] = i & 1 ? memalign(align, size) : aligned_alloc(align, size);
				CHECK(p[i] && (uintptr_t)p[i] % align == 0);
				CHECK(((uintptr_t)p[i] & 15) == 0 || align < 16);
				CHECK(malloc_usable_size(p[i]) >= size);
				fill(p[i], size, i);
			}
			for (size_t i = 0; i < ARRAY_SIZE(p); i++) {
				CHECK_INTACT(p[i], size, i);
				free(p[i]);
			}
		}
	}
	for (size_t size = 0; size < 100000; size = size * 2 + 1) {
		p[0] = valloc(size);
		p[1] = pvalloc(size);
		CHECK(p[0] && (uintptr_t)p[0] % page == 0);
		CHECK(p[1] && (uintptr_t)p[1] % page == 0);
		CHECK(malloc_usable_size(p[1]) >= (size + page - 1) / page * page);
		memset(p[1], 1, (size + page - 1) / page * page);
		free(p[0]);
		free(p[1]);
	}
}

/* The slack is the program's too (many use it), and an answer once given stays true. */
static void usable(void)
{
	static void *p[2000];
	static size_t u[2000];
	uint64_t seed = 3;

	CHECK(malloc_usable_size(NULL) == 0);
	for (size_t i = 0; i < ARRAY_SIZE(p); i++) {
		size_t size = rnd(&seed) % (i % 50 == 0 ? 300000 : 3000);

		p[i] = i % 7 == 0 ? aligned_alloc(256, size) : malloc(size);
		CHECK(p[i]);
		u[i] = malloc_usable_size(p[i]);
		CHECK(u[i] >= size);
		fill(p[i], u[i], i);
	}
	for (size_t i = 1; i < ARRAY_SIZE(p); i += 2)
		free(p[i]);
	malloc_trim(0);
	for (int i = 0; i < 100000; i++)
		free(opaque(malloc(rnd(&seed) % 5000)));
	for (size_t i = 0; i < ARRAY_SIZE(p); i += 2) {
		CHECK(malloc_usable_size(p[i]) == u[i]);
		CHECK_INTACT(p[i], u[i], i);
		free(p[i]);
	}
}

static void errno_kept(void)
{
	static void *p[3000];

	for (size_t size = 1; size <= 64 * MIB; size = size * 2 + 1) {
		size_t n = size < 4096 ? 3000 : size < MIB ? 200 : 3;

		for (size_t i = 0; i < n; i++) {
			errno = 0x5a;
			p[i] = malloc(size);
			CHECK(p[i] && errno == 0x5a);
			*(char *)p[i] = 1;
		}
		for (size_t i = 0; i < n; i++) {
			errno = 0x5a;
			free(p[i]);
			CHECK_MSG(errno == 0x5a, "free of %zu bytes set errno", size);
		}
	}
	errno = 0x5a;
	free(NULL);
	CHECK(errno == 0x5a);
}

/* A free that must give memory back and cannot still keeps errno. */
static void errno_locked(void)
{
	void *p = malloc(32 * MIB);
	void *q = malloc(8 * MIB);

	CHECK(p && q);
	memset(p, 1, 32 * MIB);
	errno = 0x5a;
	q = realloc(q, 100);
	CHECK(q && errno == 0x5a);
	free(p);
	CHECK(errno == 0x5a);
	malloc_trim(0);
	free(q);
}

/* Every way in crossed with every way out: a second heap behind one of the names would show. */
static void mixed_names(void)
{
	static const char *const in1[] = {"malloc",	   "__libc_malloc", "valloc",
					  "__libc_valloc", "pvalloc",	    "__libc_pvalloc"};
	static const char *const in2[] = {"calloc", "__libc_calloc"};
	static const char *const in3[] = {"memalign", "aligned_alloc", "__libc_memalign"};
	static const char *const out[] = {"free", "cfree", "__libc_free"};
	static const char *const re[] = {"realloc", "__libc_realloc"};
	void *keep[64];

	for (size_t o = 0; o < ARRAY_SIZE(out); o++) {
		free_fn out_fn = (free_fn)wanted(out[o]);
		size_t n = 0;

		/* cfree is a compat symbol of glibc: dlsym may not see it. */
		if (!out_fn)
			continue;
		for (size_t i = 0; i < ARRAY_SIZE(in1); i++) {
			alloc1_fn fn = (alloc1_fn)wanted(in1[i]);

			if (fn)
				keep[n++] = fn(777);
		}
		for (size_t i = 0; i < ARRAY_SIZE(in2); i++) {
			alloc2_fn fn = (alloc2_fn)wanted(in2[i]);

			if (fn)
				keep[n++] = fn(7, 111);
		}
		for (size_t i = 0; i < ARRAY_SIZE(in3); i++) {
			alloc2_fn fn = (alloc2_fn)wanted(in3[i]);

			if (fn)
				keep[n++] = fn(256, 777);
		}
		for (size_t i = 0; i < n; i++) {
			realloc_fn fn = (realloc_fn)wanted(re[i & 1]);

			CHECK(keep[i] && malloc_usable_size(keep[i]) >= 777);
			fill(keep[i], 777, i);
			if (fn)
				keep[i] = fn(keep[i], 1555);
			CHECK(keep[i] && malloc_usable_size(keep[i]) >= 777);
			CHECK_INTACT(keep[i], 776, i);
			out_fn(keep[i]);
		}
	}
}

static void free_sized_names(void)
{
	free_sized_fn fs = (free_sized_fn)wanted("free_sized");
	free_aligned_sized_fn fas = (free_aligned_sized_fn)wanted("free_aligned_sized");

	if (!fs || !fas)
		check_skip("this libc has no free_sized");
	for (size_t size = 0; size < 2 * MIB; size = size * 2 + 1) {
		void *p = malloc(size);

		CHECK(p);
		fs(p, size);
		p = calloc(1, size);
		CHECK(p && all_zero(p, size));
		fs(p, size);
		p = realloc(malloc(3), size + 1);
		CHECK(p);
		fs(p, size + 1);
		for (size_t align = 16; align <= 8192; align *= 4) {
			p = aligned_alloc(align, size);
			CHECK(p);
			fas(p, align, size);
		}
	}
	fs(NULL, 0);
	fas(NULL, 64, 10);
}

/* Figures are compared with what the program itself holds. */
static void mallinfo_figures(void)
{
	static void *p[4096];
	struct mallinfo2 a = mallinfo2(), b;
	size_t grown;

	for (size_t i = 0; i < ARRAY_SIZE(p); i++) {
		p[i] = malloc(4000);
		CHECK(p[i]);
		memset(p[i], 1, 4000);
	}
	b = mallinfo2();
	grown = b.uordblks + b.hblkhd - a.uordblks - a.hblkhd;
	CHECK_MSG(grown >= 15 * MIB && grown < 64 * MIB, "16 MB held, mallinfo2 shows %zu", grown);
	for (size_t i = 0; i < ARRAY_SIZE(p); i++)
		free(p[i]);
	a = mallinfo2();
	CHECK_MSG(a.uordblks + a.hblkhd + 12 * MIB < b.uordblks + b.hblkhd,
		  "mallinfo2 shows freed memory as held");
}

static void old_mallinfo(void)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
	struct mallinfo m = mallinfo();
	void *p = malloc(3 * MIB);
	struct mallinfo n;

	CHECK(p);
	n = mallinfo();
	CHECK((unsigned)n.uordblks + (unsigned)n.hblkhd >=
	      (unsigned)m.uordblks + (unsigned)m.hblkhd + 3 * MIB);
	free(p);
#pragma GCC diagnostic pop
}

static void info_text(void)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	CHECK(f);
	CHECK(malloc_info(0, f) == 0);
	CHECK(fclose(f) == 0);
	CHECK_MSG(strstr(text, "<malloc") && strstr(text, "</malloc>"), "not the XML expected: %s",
		  text);
	free(text);
	f = fopen("/dev/null", "w");
	CHECK(f);
	CHECK(malloc_info(1, f) != 0);
	fclose(f);
}

static void stats_text(void)
{
	char buf[4096];
	int pipefd[2], saved;
	ssize_t n;

	CHECK(pipe(pipefd) == 0);
	saved = dup(2);
	CHECK(saved >= 0 && dup2(pipefd[1], 2) == 2);
	malloc_stats();
	fflush(stderr);
	CHECK(dup2(saved, 2) == 2);
	close(pipefd[1]);
	n = read(pipefd[0], buf, sizeof(buf));
	CHECK_MSG(n > 0, "malloc_stats wrote nothing to stderr");
	close(pipefd[0]);
	close(saved);
}

static void mallopt_trim(void)
{
	static void *p[65536];
	long full, after;

	CHECK(mallopt(M_MMAP_THRESHOLD, 256 * 1024) >= 0);
	CHECK(mallopt(M_ARENA_MAX, 1) >= 0);
	CHECK(mallopt(M_TRIM_THRESHOLD, 1 << 20) >= 0);
	for (size_t i = 0; i < ARRAY_SIZE(p); i++) {
		p[i] = malloc(1000);
		CHECK(p[i]);
		memset(p[i], 1, 1000);
	}
	full = rss_kib();
	for (size_t i = 0; i < ARRAY_SIZE(p); i++)
		free(p[i]);
	malloc_trim(0);
	after = rss_kib();
	CHECK_MSG(full - after > 48 * 1024, "trim left %ld of %ld KiB", after, full);
	CHECK(malloc_trim(1 << 20) == 0 || malloc_trim(1 << 20) == 1);
}

/* What libc allocates for its callers is freed by the program, so both must be one heap. */
static void from_libc(void)
{
	char *s = NULL, *line = NULL;
	size_t cap = 0;
	struct dirent **names;
	regex_t re;
	FILE *f;
	int n;

	for (int i = 0; i < 2000; i++) {
		s = strdup("a string of the program");
		CHECK(s);
		free(s);
		CHECK(asprintf(&s, "%*d", i, i) >= 1);
		s = realloc(s, (size_t)i + 100);
		CHECK(s);
		free(s);
	}
	f = fopen("/proc/self/maps", "r");
	CHECK(f);
	while (getline(&line, &cap, f) > 0)
		CHECK(malloc_usable_size(line) >= cap);
	free(line);
	fclose(f);
	n = scandir("/etc", &names, NULL, alphasort);
	CHECK(n > 0);
	while (n-- > 0)
		free(names[n]);
	free(names);
	s = realpath("/proc/self/../self/exe", NULL);
	CHECK(s);
	free(s);
	s = getcwd(NULL, 0);
	CHECK(s);
	free(s);
	CHECK(regcomp(&re, "(a|b)*c{2,30}[[:alpha:]]+$", REG_EXTENDED) == 0);
	CHECK(regexec(&re, "ababcccxyz", 0, NULL, 0) == 0);
	regfree(&re);
}

/* The rows mean nothing if the loader could not load the library. */
static void loaded(void)
{
	char *line = NULL;
	size_t cap = 0;
	bool seen = false;
	FILE *f = fopen("/proc/self/maps", "r");
	Dl_info info;

	CHECK(f);
	while (getline(&line, &cap, f) > 0)
		seen |= strstr(line, "libslabnode.so") != NULL;
	free(line);
	fclose(f);
	CHECK_MSG(seen == under_slabnode(), "the library is %smapped", seen ? "" : "not ");
	CHECK(dladdr(named("malloc"), &info) && info.dli_fname);
	CHECK_MSG(!under_slabnode() || strstr(info.dli_fname, "libslabnode.so"),
		  "malloc is that of %s", info.dli_fname);
}

static const struct row rows[] = {
	{"loaded", loaded},
	{"sweep", sweep},
	{"many-of-each", many_of_each},
	{"zero-size", zero_size},
	{"realloc", realloc_basic},
	{"realloc-zero", realloc_zero},
	{"realloc-random", realloc_random},
	{"realloc-large", realloc_large},
	{"realloc-aligned", realloc_aligned},
	{"too-large", too_large},
	{"overflow", overflow},
	{"calloc-zero", calloc_zero},
	{"posix-memalign", posix_memalign_errors},
	{"aligned", aligned},
	{"aligned-huge", aligned_huge},
	{"usable-size", usable},
	{"errno-kept", errno_kept},
	{"errno-give-back", errno_locked},
	{"mixed-names", mixed_names},
	{"free-sized", free_sized_names},
	{"mallinfo2", mallinfo_figures},
	{"mallinfo", old_mallinfo},
	{"malloc-info", info_text},
	{"malloc-stats", stats_text},
	{"mallopt-trim", mallopt_trim},
	{"from-libc", from_libc},
};

int main(int argc, char **argv)
{
	return run_rows(argc, argv, rows, ARRAY_SIZE(rows));
}
