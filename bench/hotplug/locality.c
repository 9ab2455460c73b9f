/* SPDX-License-Identifier: MIT */
/*
 * slabnode-locality - whose memory a thread gets, and where the memory goes that it frees for
 * another node's threads.
 *
 *	slabnode-locality prodcons|migrate OPERATIONS
 *
 * prodcons: threads of node 0 allocate, threads of node 1 free that and as often replace an object
 * of their own.  migrate: threads replace objects of their own at random, and go to the other node
 * now and then.  It runs under any allocator, which sees nothing but malloc and free.
 *
 * The observer.  Where there are several nodes with CPUs, threads are bound to the CPUs of theirs
 * and the kernel tells where an object's pages are (move_pages).  On a machine of one node there is
 * nothing to ask, and an allocator that was told of nodes must not be believed either.  There a
 * page counts for the node whose thread touched it first since it last came from the system, which
 * is where the kernel would have put it.  Whether a page came anew is asked of the kernel before
 * the object is touched (mincore: no page is there yet).  What this does not see:
 *   - a page that is there when it is met first (the allocator wrote something into it before it
 *     returned) counts for the thread that has just got it;
 *   - an allocator that binds memory to nodes is not credited for it where another node's thread
 *     comes first;
 *   - huge pages are switched off.
 * slabnode is told where a thread is by slabnode_prefer_node(), as the processor would tell it.
 *
 * An object that a thread of another node than its page's frees is a remote free.  Its place is
 * remembered; the next object there tells who got it: a thread of the page's node (home) or another
 * one (away), or that the page had meanwhile been given back (system).
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE_SIZE   ((uintptr_t)4096)
#define GRAIN_SHIFT 4
#define GRAIN_WORDS (PAGE_SIZE >> GRAIN_SHIFT >> 6)
#define NR_PAGES    ((size_t)1 << 20) /* of the table: 4 GiB of heap addresses */
#define NR_THREADS  4
#define NR_OWN	    ((size_t)8192)
#define BATCH	    64
#define DEPTH	    16
#define STAY	    20000 /* operations until a thread moves */

struct seen_page {
	_Atomic uintptr_t address; /* written once */
	_Atomic int node;
	_Atomic uint64_t freed[GRAIN_WORDS]; /* starts of objects that were freed remotely */
};

struct figures {
	uint64_t objects, bytes, local_bytes, remote_frees, home, away, system;
};

struct object {
	void *p;
	size_t size;
};

struct queue {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned int count;
	struct object batch[DEPTH][BATCH];
};

struct worker {
	pthread_t thread;
	unsigned int id;
	int node;
	uint64_t seed, operations;
	struct figures figures;
	struct object own[NR_OWN];
	struct queue *queue;
};

static struct seen_page *table;
static bool real;	       /* the kernel tells where pages are */
static cpu_set_t node_cpus[2]; /* of the two nodes */
static int node_number[2];
static int (*prefer_node)(int node);

static _Noreturn __attribute__((format(printf, 1, 2))) void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fprintf(stderr, "slabnode-locality: ");
	vfprintf(stderr, format, args);
	fprintf(stderr, "\n");
	va_end(args);
	exit(1);
}

static void *map(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		die("no memory for the benchmark itself");
	return p;
}

/* --- nodes --------------------------------------------------------------------------------------
 */

/* The CPUs of a node as the system writes them: 0-3,8. */
static bool read_cpus(int node, cpu_set_t *cpus)
{
	char path[64];
	unsigned int first, last;
	FILE *file;
	int c;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/cpulist", node);
	file = fopen(path, "r");
	CPU_ZERO(cpus);
	if (file == NULL)
		return false;
	while (fscanf(file, "%u", &first) == 1) {
		last = first;
		c = fgetc(file);
		if (c == '-' && fscanf(file, "%u", &last) == 1)
			c = fgetc(file);
		for (; first <= last && first < CPU_SETSIZE; first++)
			CPU_SET(first, cpus);
		if (c != ',')
			break;
	}
	fclose(file);
	return CPU_COUNT(cpus) > 0;
}

/* The first two nodes with CPUs; or the CPUs that there are, dealt out to two that are not. */
static void find_nodes(void)
{
	unsigned int found = 0;
	cpu_set_t all;

	for (int node = 0; node < 1024 && found < 2; node++)
		if (read_cpus(node, &node_cpus[found]))
			node_number[found++] = node;
	real = found == 2;
	if (real)
		return;
	sched_getaffinity(0, sizeof(all), &all);
	for (int node = 0; node < 2; node++) {
		CPU_ZERO(&node_cpus[node]);
		node_number[node] = node;
	}
	for (unsigned int cpu = 0, n = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &all))
			CPU_SET(cpu, &node_cpus[n++ % 2]);
	if (CPU_COUNT(&node_cpus[1]) == 0)
		node_cpus[1] = node_cpus[0];
	*(void **)&prefer_node = dlsym(RTLD_DEFAULT, "slabnode_prefer_node");
}

static void go_to(struct worker *self, int node)
{
	self->node = node;
	if (sched_setaffinity(0, sizeof(node_cpus[node]), &node_cpus[node]) != 0)
		die("a thread cannot be bound: %s", strerror(errno));
	if (prefer_node != NULL && prefer_node(node) != 0)
		die("slabnode_prefer_node(%d) failed: is the simulated topology set?", node);
}

/* --- the observer -------------------------------------------------------------------------------
 */

static struct seen_page *page_of(uintptr_t address)
{
	size_t at = (address / PAGE_SIZE * UINT64_C(0x9e3779b97f4a7c15)) >> 44;

	for (size_t tries = 0; tries < NR_PAGES; tries++, at = (at + 1) % NR_PAGES) {
		uintptr_t there = atomic_load(&table[at].address);

		if (there == 0 &&
		    atomic_compare_exchange_strong(&table[at].address, &there, address)) {
			atomic_store(&table[at].node, -1);
			return &table[at];
		}
		if (there == address)
			return &table[at];
	}
	die("a heap of more than %zu pages", NR_PAGES);
}

/* The pages of an object that is about to be touched: those that came anew count for `node`. */
static void look_at(struct worker *self, uintptr_t first, uintptr_t end)
{
	for (uintptr_t at = first; at < end; at += PAGE_SIZE) {
		struct seen_page *page = page_of(at);
		unsigned char there = 0;

		if (mincore((void *)at, PAGE_SIZE, &there) != 0)
			die("mincore: %s", strerror(errno));
		if ((there & 1) == 0) {
			for (size_t w = 0; w < GRAIN_WORDS; w++)
				self->figures.system += (uint64_t)__builtin_popcountll(
					atomic_exchange(&page->freed[w], 0));
			atomic_store(&page->node, self->node);
		} else if (atomic_load(&page->node) == -1) {
			atomic_store(&page->node, self->node);
		}
	}
}

/* The same where the kernel knows: after the object was touched. */
static void ask_kernel(uintptr_t first, uintptr_t end)
{
	for (uintptr_t at = first; at < end; at += PAGE_SIZE) {
		void *address = (void *)at;
		int status = -1;

		if (syscall(SYS_move_pages, 0, 1ul, &address, NULL, &status, 0) != 0 || status < 0)
			die("move_pages does not tell where a page is");
		atomic_store(&page_of(at)->node, status == node_number[0]   ? 0
						 : status == node_number[1] ? 1
									    : 2);
	}
}

/* Who got places that were freed remotely. */
static void settle(struct worker *self, uintptr_t p, size_t size)
{
	for (uintptr_t at = p; at < p + size; at += (uintptr_t)1 << GRAIN_SHIFT) {
		struct seen_page *page = page_of(at & -PAGE_SIZE);
		size_t grain = at % PAGE_SIZE >> GRAIN_SHIFT;
		uint64_t bit = UINT64_C(1) << grain % 64;

		if (grain % 64 == 0 && at + PAGE_SIZE / GRAIN_WORDS <= p + size &&
		    atomic_load(&page->freed[grain / 64]) == 0) {
			at += PAGE_SIZE / GRAIN_WORDS - ((uintptr_t)1 << GRAIN_SHIFT);
			continue;
		}
		if ((atomic_load(&page->freed[grain / 64]) & bit) == 0)
			continue;
		atomic_fetch_and(&page->freed[grain / 64], ~bit);
		if (atomic_load(&page->node) == self->node)
			self->figures.home++;
		else
			self->figures.away++;
	}
}

static void count_bytes(struct worker *self, uintptr_t p, size_t size)
{
	for (uintptr_t at = p, next; at < p + size; at = next) {
		next = (at & -PAGE_SIZE) + PAGE_SIZE;
		next = next < p + size ? next : p + size;
		if (atomic_load(&page_of(at & -PAGE_SIZE)->node) == self->node)
			self->figures.local_bytes += next - at;
	}
	self->figures.bytes += size;
	self->figures.objects++;
}

static struct object object_new(struct worker *self, size_t size)
{
	struct object object = {malloc(size), size};
	uintptr_t p = (uintptr_t)object.p, first = p & -PAGE_SIZE, end = p + size;

	if (object.p == NULL)
		die("no memory for an object of %zu bytes", size);
	if (!real)
		look_at(self, first, end);
	memset(object.p, 1, size);
	if (real)
		ask_kernel(first, end);
	settle(self, p, size);
	count_bytes(self, p, size);
	return object;
}

static void object_free(struct worker *self, struct object object)
{
	uintptr_t p = (uintptr_t)object.p;
	struct seen_page *page;

	if (object.p == NULL)
		return;
	page = page_of(p & -PAGE_SIZE);
	if (atomic_load(&page->node) != self->node) {
		size_t grain = p % PAGE_SIZE >> GRAIN_SHIFT;

		self->figures.remote_frees++;
		/* Before it is freed: then somebody else may have it. */
		atomic_fetch_or(&page->freed[grain / 64], UINT64_C(1) << grain % 64);
	}
	free(object.p);
}

/* --- the workloads ------------------------------------------------------------------------------
 */

static uint64_t draw(struct worker *self, uint64_t bound)
{
	self->seed ^= self->seed << 13;
	self->seed ^= self->seed >> 7;
	self->seed ^= self->seed << 17;
	return (self->seed >> 11) % bound;
}

/* 16 bytes to 4 KiB, each doubling as often; one in 64 up to 64 KiB. */
static size_t draw_size(struct worker *self)
{
	size_t base = (size_t)16 << (draw(self, 64) == 0 ? 8 + draw(self, 4) : draw(self, 8));

	return base + draw(self, base);
}

static void replace_own(struct worker *self)
{
	struct object *own = &self->own[draw(self, NR_OWN)];

	object_free(self, *own);
	*own = object_new(self, draw_size(self));
}

static void produce(struct worker *self)
{
	struct queue *queue = self->queue;

	for (uint64_t i = 0; i < self->operations / BATCH; i++) {
		struct object batch[BATCH];

		for (unsigned int k = 0; k < BATCH; k++)
			batch[k] = object_new(self, draw_size(self));
		pthread_mutex_lock(&queue->lock);
		while (queue->count == DEPTH)
			pthread_cond_wait(&queue->changed, &queue->lock);
		memcpy(queue->batch[queue->count++], batch, sizeof(batch));
		pthread_cond_signal(&queue->changed);
		pthread_mutex_unlock(&queue->lock);
	}
}

static void consume(struct worker *self)
{
	struct queue *queue = self->queue;

	for (uint64_t i = 0; i < self->operations / BATCH; i++) {
		struct object batch[BATCH];

		pthread_mutex_lock(&queue->lock);
		while (queue->count == 0)
			pthread_cond_wait(&queue->changed, &queue->lock);
		memcpy(batch, queue->batch[--queue->count], sizeof(batch));
		pthread_cond_signal(&queue->changed);
		pthread_mutex_unlock(&queue->lock);
		for (unsigned int k = 0; k < BATCH; k++) {
			object_free(self, batch[k]);
			replace_own(self);
		}
	}
}

static void migrate(struct worker *self)
{
	for (uint64_t i = 1; i <= self->operations; i++) {
		replace_own(self);
		if (i % STAY == 0)
			go_to(self, !self->node);
	}
}

static void *run_prodcons(void *arg)
{
	struct worker *self = arg;

	go_to(self, (int)(self->id % 2));
	if (self->node == 0)
		produce(self);
	else
		consume(self);
	return NULL;
}

static void *run_migrate(void *arg)
{
	struct worker *self = arg;

	go_to(self, (int)(self->id % 2));
	migrate(self);
	return NULL;
}

static void add(struct figures *sum, const struct figures *part)
{
	sum->objects += part->objects;
	sum->bytes += part->bytes;
	sum->local_bytes += part->local_bytes;
	sum->remote_frees += part->remote_frees;
	sum->home += part->home;
	sum->away += part->away;
	sum->system += part->system;
}

static void run(void *(*workload)(void *arg), uint64_t operations)
{
	struct worker *workers = map(NR_THREADS * sizeof(*workers));
	struct queue *queues = map(NR_THREADS / 2 * sizeof(*queues));
	struct figures sum = {0};

	for (unsigned int i = 0; i < NR_THREADS / 2; i++) {
		pthread_mutex_init(&queues[i].lock, NULL);
		pthread_cond_init(&queues[i].changed, NULL);
	}
	for (unsigned int i = 0; i < NR_THREADS; i++) {
		workers[i].id = i;
		workers[i].seed = (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
		workers[i].operations = operations / NR_THREADS;
		workers[i].queue = &queues[i / 2];
		if (pthread_create(&workers[i].thread, NULL, workload, &workers[i]) != 0)
			die("no thread");
	}
	for (unsigned int i = 0; i < NR_THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		add(&sum, &workers[i].figures);
	}
	printf("{\"observer\": \"%s\", \"objects\": %llu, \"bytes\": %llu, \"local_bytes\": %llu, "
	       "\"remote_frees\": %llu, \"home\": %llu, \"away\": %llu, \"system\": %llu}\n",
	       real ? "move_pages" : "first touch", (unsigned long long)sum.objects,
	       (unsigned long long)sum.bytes, (unsigned long long)sum.local_bytes,
	       (unsigned long long)sum.remote_frees, (unsigned long long)sum.home,
	       (unsigned long long)sum.away, (unsigned long long)sum.system);
}

int main(int argc, char **argv)
{
	uint64_t operations = argc == 3 ? strtoull(argv[2], NULL, 10) : 0;

	if (operations < NR_THREADS * BATCH)
		die("usage: prodcons|migrate OPERATIONS (at least %d)", NR_THREADS * BATCH);
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	find_nodes();
	table = map(NR_PAGES * sizeof(*table));
	if (strcmp(argv[1], "prodcons") == 0)
		run(run_prodcons, operations);
	else if (strcmp(argv[1], "migrate") == 0)
		run(run_migrate, operations);
	else
		die("'%s' is neither prodcons nor migrate", argv[1]);
	return 0;
}
