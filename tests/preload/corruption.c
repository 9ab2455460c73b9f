/*
 * Pointers that are not the heap's, objects freed twice, memory used after it was freed or beyond
 * its end: which levels of SLABNODE_HARDENED notice what, and what they say, byte for byte.
 *
 * Each misuse happens in a process of its own, which writes the line that it expects to stdout
 * before it does the deed.  From a row's level on the process must end by SIGABRT with just this
 * line on stderr, or by SIGSEGV with none where a closed page is touched.  Below it the deed must
 * go unnoticed: so each row is seen to depend on the check that its level switches on.
 *
 * These rows hold under slabnode only.
 */
#include "check.h"

#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>

#define SEGMENT	     (16UL * MIB)
#define HEADER_PAGES 65UL
#define PAGE	     4096UL

#define FOREIGN	      "a pointer that is not from this allocator"
#define OWN	      "a pointer into the allocator's own memory"
#define MIDDLE_OBJECT "a pointer into the middle of an object"
#define MIDDLE_BLOCK  "a pointer into the middle of a block"
#define NOT_ALLOCATED "memory that is not allocated"

/* --- what is expected --------------------------------------------------------------------- */

static int level(void)
{
	const char *v = getenv("SLABNODE_HARDENED");

	return v ? atoi(v) : 0;
}

/* The line that is to come, and the pointer, ready to be misused. */
__attribute__((format(printf, 2, 3))) static void *expect(void *p, const char *fmt, ...)
{
	char line[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	dprintf(1, "slabnode: %s: %p\n", line, p);
	return opaque(p);
}

static void *expect_fault(void *p)
{
	dprintf(1, "SIGSEGV");
	return opaque(p);
}

static ssize_t read_all(int fd, char *text, size_t size)
{
	size_t n = 0;
	ssize_t got;

	while (n < size - 1 && (got = read(fd, text + n, size - 1 - n)) > 0)
		n += (size_t)got;
	text[n] = '\0';
	close(fd);
	return (ssize_t)n;
}

/* Runs the deed `row`; returns its status, with what it wrote. */
static int run(const char *row, char *expected, char *err, size_t size)
{
	int errpipe[2], outpipe[2], status;
	char self[4096];
	ssize_t got = readlink("/proc/self/exe", self, sizeof(self) - 1);
	pid_t pid;

	CHECK(got > 0);
	self[got] = '\0';
	CHECK(pipe(errpipe) == 0 && pipe(outpipe) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		dup2(errpipe[1], 2);
		dup2(outpipe[1], 1);
		execl(self, self, row, NULL);
		_exit(9);
	}
	close(errpipe[1]);
	close(outpipe[1]);
	read_all(errpipe[0], err, size);
	read_all(outpipe[0], expected, size);
	while (waitpid(pid, &status, 0) < 0)
		CHECK(errno == EINTR);
	return status;
}

static void check_noticed(int status, const char *expected, const char *err)
{
	bool fault = strcmp(expected, "SIGSEGV") == 0;

	CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == (fault ? SIGSEGV : SIGABRT),
		  "status %#x, expected \"%s\", stderr: \"%s\"", (unsigned)status, expected, err);
	CHECK_MSG(strcmp(err, fault ? "" : expected) == 0, "it said \"%s\", not \"%s\"", err,
		  expected);
}

/* --- foreign memory and metadata ---------------------------------------------------------- */

static char in_data[4096] __attribute__((aligned(64)));

static void foreign_stack(void)
{
	char buf[256] __attribute__((aligned(64)));

	memset(buf, 0, sizeof(buf));
	free(expect(buf + 64, "free of " FOREIGN));
}

static void foreign_static(void)
{
	free(expect(in_data + 128, "free of " FOREIGN));
}

static void foreign_mmap(void)
{
	char *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	free(expect(p + 4096, "free of " FOREIGN));
}

static void foreign_unmapped(void)
{
	free(expect((void *)0x123456780UL, "free of " FOREIGN));
}

static void foreign_low(void)
{
	free(expect((void *)16UL, "free of " FOREIGN));
}

static void foreign_high(void)
{
	free(expect((void *)0xffffffffffffff00UL, "free of " FOREIGN));
}

/* The middle of all addresses: no wrap of a subtraction may make a valid one of it. */
static void foreign_half(void)
{
	free(expect((void *)0x8000000000000010UL, "free of " FOREIGN));
}

static void foreign_realloc(void)
{
	CHECK(realloc(expect(in_data + 128, "realloc of " FOREIGN), 500));
}

static void foreign_usable_size(void)
{
	CHECK(malloc_usable_size(expect(in_data + 128, "malloc_usable_size of " FOREIGN)));
}

static void *free_stack(void *arg)
{
	foreign_stack();
	return arg;
}

static void in_thread(void *(*fn)(void *), void *arg)
{
	pthread_t t;

	CHECK(pthread_create(&t, NULL, fn, arg) == 0);
	CHECK(pthread_join(t, NULL) == 0);
}

static void foreign_thread(void)
{
	for (int i = 0; i < 1000; i++)
		free(opaque(malloc((size_t)i * 10)));
	in_thread(free_stack, NULL);
}

static char *segment_of(const void *p)
{
	return (char *)((uintptr_t)p & ~(SEGMENT - 1));
}

static void metadata_header(void)
{
	char *p = malloc(1000);

	free(expect(segment_of(p) + 8192, "free of " OWN));
}

static void metadata_span(void)
{
	char *p = malloc(40 * MIB);

	free(expect(segment_of(p) + 8192, "free of " OWN));
}

static void metadata_realloc(void)
{
	char *p = malloc(1000);

	CHECK(realloc(expect(segment_of(p) + 8192, "realloc of " OWN), 100));
}

/* Reserved for the heap, and nothing there yet: in this segment, and in the next. */
static void unused_page(void)
{
	char *p = malloc(1000);

	free(expect(segment_of(p) + 3900 * PAGE, "free of " NOT_ALLOCATED));
}

static void unused_segment(void)
{
	char *p = malloc(1000);

	free(expect(segment_of(p) + SEGMENT + 500 * PAGE, "free of " NOT_ALLOCATED));
}

/* --- the middle of something -------------------------------------------------------------- */

static void middle_object(void)
{
	char *p = malloc(1000);

	free(expect(p + 8, "free of " MIDDLE_OBJECT));
}

static void middle_object_16(void)
{
	char *p = malloc(1000);

	free(expect(p + 16, "free of " MIDDLE_OBJECT));
}

static void middle_object_realloc(void)
{
	char *p = malloc(1000);

	p = realloc(expect(p + 16, "realloc of " MIDDLE_OBJECT), 1020);
}

static void middle_object_usable_size(void)
{
	char *p = malloc(1000);

	CHECK(malloc_usable_size(expect(p + 16, "malloc_usable_size of " MIDDLE_OBJECT)));
}

static void middle_block(void)
{
	char *p = malloc(100000);

	free(expect(p + 16, "free of " MIDDLE_BLOCK));
}

static void middle_block_page(void)
{
	char *p = malloc(100000);

	free(expect(p + 2 * PAGE, "free of " MIDDLE_BLOCK));
}

static void middle_block_realloc(void)
{
	char *p = malloc(100000);

	CHECK(realloc(expect(p + PAGE, "realloc of " MIDDLE_BLOCK), 1000));
}

static void middle_span(void)
{
	char *p = malloc(40 * MIB);

	free(expect(p + PAGE, "free of " MIDDLE_BLOCK));
}

static void middle_span_far(void)
{
	char *p = malloc(40 * MIB);

	free(expect(p + 20 * MIB, "free of " MIDDLE_BLOCK));
}

/* --- double frees ------------------------------------------------------------------------- */

static void *freed(void *p)
{
	expect(p, "double free");
	free(opaque(p));
	return opaque(p);
}

static void double_object(void)
{
	free(freed(malloc(100)));
}

static void double_object_32k(void)
{
	free(freed(malloc(32000)));
}

/* Others are freed in between. */
static void double_object_later(void)
{
	void *p[10], *q = malloc(100);

	for (int i = 0; i < 10; i++)
		p[i] = malloc(100);
	freed(q);
	for (int i = 0; i < 10; i++)
		free(p[i]);
	free(q);
}

static void double_calloc(void)
{
	free(freed(calloc(10, 10)));
}

static void double_memalign(void)
{
	free(freed(memalign(256, 300)));
}

static void *free_it(void *p)
{
	free(p);
	return NULL;
}

static void double_thread(void)
{
	void *p = malloc(100);

	expect(p, "double free");
	in_thread(free_it, p);
	free(opaque(p));
}

static int (*prefer_node)(int node);
static int (*offline)(int node, int policy, long timeout_ms, char *message, size_t size);
static int (*online)(int node, int rebalance, char *message, size_t size);

static void need_two_nodes(void)
{
	int (*max_node)(void) = (int (*)(void))dlsym(RTLD_DEFAULT, "slabnode_max_node");

	prefer_node = (int (*)(int))dlsym(RTLD_DEFAULT, "slabnode_prefer_node");
	offline = (int (*)(int, int, long, char *, size_t))dlsym(RTLD_DEFAULT, "slabnode_offline");
	online = (int (*)(int, int, char *, size_t))dlsym(RTLD_DEFAULT, "slabnode_online");
	CHECK(max_node && prefer_node && offline && online);
	if (max_node() < 2)
		check_skip("one node");
}

static void *free_on_node_1(void *p)
{
	CHECK(prefer_node(1) == 0);
	free(p);
	return NULL;
}

/* Freed by a thread of another node, then by one of its own. */
static void double_node(void)
{
	void *p;

	need_two_nodes();
	CHECK(prefer_node(0) == 0);
	p = malloc(100);
	expect(p, "double free");
	in_thread(free_on_node_1, p);
	free(opaque(p));
}

/* Trimming drains every store. */
static void double_trimmed(void)
{
	void *p = malloc(100), *q = malloc(100);

	freed(p);
	malloc_trim(0);
	free(opaque(p));
	free(q);
}

/* Nothing of the slab is in use: it is given back, the double free is told all the same. */
static void double_trimmed_slab(void)
{
	void *p = malloc(5000), *q = malloc(100);

	freed(p);
	malloc_trim(0);
	free(opaque(p));
	free(q);
}

/* The node leaves after the first free; another object of the node keeps its segment. */
static void double_offline(void)
{
	char message[200];
	void *p, *q;

	need_two_nodes();
	CHECK(prefer_node(1) == 0);
	p = malloc(5000);
	q = malloc(100);
	freed(p);
	CHECK_MSG(offline(1, 2, -1, message, sizeof(message)) == 0, "%s", message);
	free(opaque(p));
	free(q);
}

static void double_online(void)
{
	char message[200];
	void *p, *q;

	need_two_nodes();
	CHECK(prefer_node(1) == 0);
	p = malloc(5000);
	q = malloc(100);
	CHECK_MSG(offline(1, 2, -1, message, sizeof(message)) == 0, "%s", message);
	freed(p);
	CHECK_MSG(online(1, 1, message, sizeof(message)) == 0, "%s", message);
	free(opaque(p));
	free(q);
}

static void double_block(void)
{
	free(freed(malloc(100000)));
}

static void double_block_trimmed(void)
{
	void *q = malloc(100), *p = malloc(100000);

	freed(p);
	malloc_trim(0);
	free(opaque(p));
	free(q);
}

/* Cached at first; from level 2 on a span goes back at once, header and all. */
static void double_span(void)
{
	free(freed(malloc(8 * MIB)));
}

/* Two threads at once: which one is late does not matter. */
static void *free_together(void *arg)
{
	pthread_barrier_wait((pthread_barrier_t *)((void **)arg)[0]);
	free(((void **)arg)[1]);
	return NULL;
}

static void double_race(void)
{
	pthread_barrier_t barrier;
	void *arg[2] = {&barrier, malloc(100)};
	pthread_t t[2];

	expect(arg[1], "double free");
	CHECK(pthread_barrier_init(&barrier, NULL, 2) == 0);
	for (int i = 0; i < 2; i++)
		CHECK(pthread_create(&t[i], NULL, free_together, arg) == 0);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
}

static void double_fork(void)
{
	void *p = malloc(100);
	int status;
	pid_t pid;

	expect(p, "double free");
	free(opaque(p));
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		free(opaque(p));
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	if (WIFSIGNALED(status))
		kill(getpid(), WTERMSIG(status));
}

/* --- what was freed, by other calls ------------------------------------------------------- */

static void realloc_freed(size_t had, size_t wanted)
{
	void *p = malloc(had);

	expect(p, "realloc of freed memory");
	free(opaque(p));
	p = realloc(opaque(p), wanted);
}

static void usable_size_freed(size_t had)
{
	void *p = malloc(had);

	expect(p, "malloc_usable_size of freed memory");
	free(opaque(p));
	CHECK(malloc_usable_size(opaque(p)));
}

static void freed_realloc(void)
{
	realloc_freed(100, 110);
}

static void freed_usable_size(void)
{
	usable_size_freed(100);
}

static void freed_block_realloc(void)
{
	realloc_freed(100000, 10);
}

static void freed_block_usable_size(void)
{
	usable_size_freed(100000);
}

/* --- sized and aligned forms --------------------------------------------------------------- */

typedef void *new_fn(size_t size);
typedef void *new_aligned_fn(size_t size, size_t align);
typedef void delete_sized_fn(void *p, size_t size);
typedef void delete_sized_aligned_fn(void *p, size_t size, size_t align);

static void *function(const char *name)
{
	void *fn = dlsym(RTLD_DEFAULT, name);

	CHECK_MSG(fn, "no %s", name);
	return fn;
}

static void *new_object(size_t size)
{
	return ((new_fn *)function("_Znwm"))(size);
}

static void delete_sized(void *p, size_t size)
{
	((delete_sized_fn *)function("_ZdlPvm"))(p, size);
}

static void delete_too_large(void)
{
	delete_sized(expect(new_object(40), "delete with size 400, the object has 48"), 400);
}

static void delete_too_small(void)
{
	delete_sized(expect(new_object(400), "delete with size 100, the object has 448"), 100);
}

static void delete_block(void)
{
	delete_sized(expect(new_object(100000), "delete with size 90000, the object has 102400"),
		     90000);
}

static void delete_array(void)
{
	((delete_sized_fn *)function("_ZdaPvm"))(
		expect(((new_fn *)function("_Znam"))(64), "delete with size 8, the object has 64"),
		8);
}

static void delete_middle(void)
{
	delete_sized(expect((char *)new_object(400) + 16, "free of " MIDDLE_OBJECT), 384);
}

static void delete_twice(void)
{
	void *p = new_object(40);

	expect(p, "double free");
	delete_sized(p, 40);
	delete_sized(opaque(p), 40);
}

/* An object of 48 bytes that is not aligned to 64. */
static void *unaligned_object(void)
{
	void *p = new_object(40);

	while ((uintptr_t)p % 64 == 0)
		p = new_object(40);
	return p;
}

static unsigned long alignment_of(const void *p)
{
	return (uintptr_t)p & -(uintptr_t)p;
}

static void delete_unaligned(void)
{
	void *p = unaligned_object();

	expect(p, "delete with alignment 64, the object has %lu", alignment_of(p));
	((delete_sized_fn *)function("_ZdlPvSt11align_val_t"))(p, 64);
}

static void delete_unaligned_sized(void)
{
	void *p = unaligned_object();

	expect(p, "delete with alignment 64, the object has %lu", alignment_of(p));
	((delete_sized_aligned_fn *)function("_ZdlPvmSt11align_val_t"))(p, 40, 64);
}

/* Allocated for an alignment of 64, so in 64 bytes; the plain form would have 48. */
static void delete_without_alignment(void)
{
	void *p = ((new_aligned_fn *)function("_ZnwmSt11align_val_t"))(40, 64);

	delete_sized(expect(p, "delete with size 40, the object has 64"), 40);
}

static void free_sized_wrong(void)
{
	delete_sized_fn *free_sized = (delete_sized_fn *)function("free_sized");

	free_sized(expect(malloc(40), "free_sized with size 49, the object has 48"), 49);
}

static void free_aligned_sized_wrong(void)
{
	void (*free_aligned_sized)(void *, size_t, size_t) =
		(void (*)(void *, size_t, size_t))function("free_aligned_sized");

	free_aligned_sized(expect(aligned_alloc(64, 128),
				  "free_aligned_sized with size 64, the object has 128"),
			   64, 64);
}

/* --- use after free ------------------------------------------------------------------------ */

/* Others of the size come and go until somebody looks at the freed one. */
static void churn(size_t size)
{
	void *p[64];

	for (int round = 0; round < 20000; round++) {
		for (int i = 0; i < 64; i++)
			p[i] = opaque(malloc(size));
		for (int i = 0; i < 64; i++)
			free(p[i]);
	}
}

static void write_freed(void)
{
	char *p = malloc(100);

	expect(p, "write to freed memory");
	free(opaque(p));
	((volatile char *)p)[50] = 1;
	churn(100);
}

static void write_freed_closed(void)
{
	char *p = expect_fault(malloc(100));

	free(opaque(p));
	((volatile char *)opaque(p))[50] = 1;
}

static void read_freed_closed(void)
{
	char *p = expect_fault(malloc(3000));

	free(opaque(p));
	(void)((volatile char *)opaque(p))[2000];
}

static void read_freed_block(void)
{
	char *p = expect_fault(malloc(100000));

	free(opaque(p));
	(void)((volatile char *)opaque(p))[50000];
}

/* --- overflows ------------------------------------------------------------------------------ */

static void write_behind(size_t size)
{
	char *p = malloc(size), *q = malloc(size);
	size_t room = malloc_usable_size(p);

	CHECK(p && q);
	memset(p, 1, room);
	((volatile char *)expect_fault(p))[room] = 1;
	free(q);
}

static void overflow_object(void)
{
	write_behind(100);
}

static void overflow_object_1(void)
{
	write_behind(1);
}

static void overflow_object_32k(void)
{
	write_behind(32768);
}

static void overflow_block(void)
{
	write_behind(100000);
}

/* Whatever is first in a segment: below it the header would be. */
static void below_first(void)
{
	char *p = malloc(100);

	((volatile char *)expect_fault(segment_of(p)))[HEADER_PAGES * PAGE] = 1;
}

/* The last page of a full segment: behind it the next header would be. */
static void behind_last(void)
{
	char *first = malloc(60000), *p = first;

	while (segment_of(p) == segment_of(first))
		p = malloc(60000);
	((volatile char *)expect_fault(segment_of(first)))[SEGMENT - 1] = 1;
}

/* The descriptor of the slab that p lies in: core/segment.h, 64 bytes a page behind the map of
 * caches and what is known of the segment. */
static unsigned char *descriptor_of(const void *p)
{
	size_t page = ((uintptr_t)p & (SEGMENT - 1)) / PAGE;
	unsigned char *at =
		(unsigned char *)segment_of(p) + PAGE + 128 + (page - HEADER_PAGES) * 64;
	uint16_t back;

	memcpy(&back, at, sizeof(back));
	return at - (size_t)back * 64;
}

static void overwritten(size_t offset)
{
	void *p = malloc(100), *q = malloc(100);
	unsigned char *slab = descriptor_of(p);

	expect(slab, "the allocator's own memory was overwritten");
	slab[offset] ^= 0x40;
	free(p);
	free(q);
}

static void overwritten_cache(void)
{
	overwritten(3);
}

static void overwritten_list(void)
{
	overwritten(8);
}

static void overwritten_count(void)
{
	overwritten(27);
}

/* --- what holds, rather than is noticed ---------------------------------------------------- */

static void not_before_level(int from)
{
	if (level() < from)
		check_skip("nothing is promised at this level");
}

/* Valid calls of the sized and aligned forms are none of the above. */
static void sized_right(void)
{
	new_aligned_fn *new_aligned = (new_aligned_fn *)function("_ZnwmSt11align_val_t");
	delete_sized_aligned_fn *delete_aligned =
		(delete_sized_aligned_fn *)function("_ZdlPvmSt11align_val_t");
	delete_sized_fn *free_sized = (delete_sized_fn *)function("free_sized");

	for (size_t size = 0; size < 200000; size += 1 + size / 7) {
		delete_sized(new_object(size), size);
		free_sized(malloc(size), size);
		free_sized(realloc(malloc(size), size + 3), size + 3);
		free_sized(realloc(malloc(size + 100), size + 1), size + 1);
		for (size_t align = 1; align <= 4 * MIB; align *= 8)
			delete_aligned(new_aligned(size, align), size, align);
	}
}

/* Freed memory reads as zero, where it can be read at all. */
static void freed_is_zero(void)
{
	static char *p[20000];
	size_t n = 20000;

	not_before_level(2);
	for (size_t i = 0; i < n; i++)
		memset(p[i] = malloc(200), 0x55, 200);
	for (size_t i = 0; i < n; i++) {
		bool closed = level() == 3; /* most have pages of their own there */

		free(opaque(p[i]));
		CHECK(closed || all_zero(opaque(p[i]), 200));
	}
}

/* What is freed is not handed out again at once. */
static void freed_waits(void)
{
	void *p[100];

	not_before_level(2);
	for (int i = 0; i < 100; i++) {
		p[i] = malloc(200);
		free(opaque(p[i]));
		for (int k = 0; k < i; k++)
			CHECK(p[k] != p[i]);
	}
}

static void freed_block_waits(void)
{
	void *p[100];

	not_before_level(2);
	for (int i = 0; i < 100; i++) {
		p[i] = malloc(100000);
		free(opaque(p[i]));
		for (int k = 0; k < i; k++)
			CHECK(p[k] != p[i]);
	}
}

static void write_places(void)
{
	uintptr_t offset[64];

	for (int i = 0; i < 64; i++)
		offset[i] = (uintptr_t)opaque(malloc(200)) & (SEGMENT - 1);
	CHECK(write(1, offset, sizeof(offset)) == (ssize_t)sizeof(offset));
}

/* Two processes that do the same find their objects at different places of their segments. */
static void places_differ(void)
{
	char first[1024], second[1024], err[1024];

	not_before_level(2);
	memset(first, 0, sizeof(first));
	memset(second, 0, sizeof(second));
	CHECK(run("_write_places", first, err, sizeof(err)) == 0);
	CHECK(run("_write_places", second, err, sizeof(err)) == 0);
	CHECK(memcmp(first, second, 512) != 0);
}

/* Nothing of the allocator's is in an object, live or free, or between two of a slab. */
static void nothing_inside(void)
{
	unsigned char *p[2000];

	not_before_level(1);
	for (int i = 0; i < 2000; i++) {
		p[i] = malloc(64);
		memset(p[i], 0xa5, malloc_usable_size(p[i]));
	}
	for (int i = 0; i < 2000; i++)
		for (size_t k = 0; k < malloc_usable_size(p[i]); k++)
			CHECK(p[i][k] == 0xa5);
	if (level() > 1)
		return; /* freed_is_zero has more to say */
	for (int i = 0; i < 2000; i += 2)
		free(opaque(p[i]));
	for (int i = 0; i < 2000; i += 2)
		for (size_t k = 0; k < 64; k++)
			CHECK(p[i][k] == 0xa5);
}

/* --- the rows ------------------------------------------------------------------------------- */

static const struct misuse {
	const char *name;
	void (*deed)(void);
	int from, to;	/* the levels that notice it */
	bool unsettled; /* below them it may end in any way */
} misuses[] = {
#define FROM(level, deed)                                                                          \
	{                                                                                          \
#deed, deed, level, 3, false                                                       \
	}
	FROM(0, foreign_stack),
	FROM(0, foreign_static),
	FROM(0, foreign_mmap),
	FROM(0, foreign_unmapped),
	FROM(0, foreign_low),
	FROM(0, foreign_high),
	FROM(0, foreign_half),
	FROM(0, foreign_realloc),
	FROM(0, foreign_usable_size),
	FROM(0, foreign_thread),
	FROM(0, metadata_header),
	FROM(0, metadata_span),
	FROM(0, metadata_realloc),
	FROM(0, unused_page),
	FROM(0, unused_segment),
	FROM(0, middle_block),
	FROM(0, middle_block_page),
	FROM(0, middle_block_realloc),
	FROM(0, middle_span),
	FROM(0, middle_span_far),
	FROM(0, double_trimmed_slab),
	FROM(0, double_offline),
	FROM(0, double_online),
	FROM(0, double_block),
	FROM(0, double_block_trimmed),
	FROM(0, double_span),
	FROM(0, freed_block_realloc),
	FROM(0, freed_block_usable_size),
	FROM(1, middle_object),
	FROM(1, middle_object_16),
	FROM(1, middle_object_realloc),
	FROM(1, middle_object_usable_size),
	FROM(1, double_object),
	FROM(1, double_object_32k),
	FROM(1, double_object_later),
	FROM(1, double_calloc),
	FROM(1, double_memalign),
	FROM(1, double_thread),
	FROM(1, double_node),
	FROM(1, double_trimmed),
	FROM(1, double_race),
	FROM(1, double_fork),
	FROM(1, freed_realloc),
	FROM(1, freed_usable_size),
	FROM(1, delete_too_large),
	FROM(1, delete_too_small),
	FROM(1, delete_block),
	FROM(1, delete_array),
	FROM(1, delete_middle),
	FROM(1, delete_twice),
	FROM(1, delete_unaligned),
	FROM(1, delete_unaligned_sized),
	FROM(1, delete_without_alignment),
	FROM(1, free_sized_wrong),
	FROM(1, free_aligned_sized_wrong),
	{"write_freed", write_freed, 2, 2, false},
	FROM(2, read_freed_block),
	FROM(2, below_first),
	FROM(2, behind_last),
	{"overwritten_cache", overwritten_cache, 2, 2, true},
	{"overwritten_list", overwritten_list, 2, 2, true},
	{"overwritten_count", overwritten_count, 2, 2, true},
	FROM(3, write_freed_closed),
	FROM(3, read_freed_closed),
	FROM(3, overflow_object),
	FROM(3, overflow_object_1),
	FROM(3, overflow_object_32k),
	FROM(3, overflow_block),
};

static const struct row properties[] = {
	{"sized_right", sized_right},	  {"freed_is_zero", freed_is_zero},
	{"freed_waits", freed_waits},	  {"freed_block_waits", freed_block_waits},
	{"places_differ", places_differ}, {"nothing_inside", nothing_inside},
	{"_write_places", write_places},
};

/* The row itself: its deed in another process. */
static int judge(const struct misuse *m)
{
	char expected[4096], err[4096], deed[64];
	int status;

	if (level() > m->to || (level() < m->from && m->unsettled))
		check_skip("nothing is promised at this level");
	snprintf(deed, sizeof(deed), "_%s", m->name);
	status = run(deed, expected, err, sizeof(err));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		check_skip("one node");
	if (level() >= m->from)
		check_noticed(status, expected, err);
	else
		CHECK_MSG(status == 0 && err[0] == '\0',
			  "noticed at level %d, not from %d on: status %#x, stderr: \"%s\"",
			  level(), m->from, (unsigned)status, err);
	return 0;
}

int main(int argc, char **argv)
{
	const char *name = argc == 2 ? argv[1] : "";

	if (strcmp(name, "--list") != 0 && !under_slabnode())
		check_skip("only slabnode promises this");
	for (size_t i = 0; i < ARRAY_SIZE(misuses); i++) {
		if (strcmp(name, "--list") == 0)
			dprintf(1, "%s\n", misuses[i].name);
		else if (strcmp(name, misuses[i].name) == 0)
			return judge(&misuses[i]);
		else if (name[0] == '_' && strcmp(name + 1, misuses[i].name) == 0)
			return misuses[i].deed(), 0;
	}
	return run_rows(argc, argv, properties, ARRAY_SIZE(properties));
}
