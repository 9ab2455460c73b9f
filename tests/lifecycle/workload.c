/*
 * workload.c - see workload.h.
 *
 * Each thread has a place: a pocket of objects and a mailbox.  A thread that dies leaves its
 * pocket to the next one at its place.  An operation runs under its pocket's lock, so that a
 * child that is forked under all locks finds objects and records in agreement; mailboxes lie
 * inside pockets in the order of locks.
 *
 * Whether memory is misplaced is decided by epochs.  A notifier gives each MEM_GOING_OFFLINE a
 * number; an allocation that began when this number had been given out must not lie on the node
 * as long as the same transition goes on.  The state is asked before the epoch is read again: a
 * cancel sets the node online first and tells the notifiers then.
 */
#include "workload.h"

#include "../preload/proc.h"

#include <inttypes.h>
#include <malloc.h>
#include <semaphore.h>
#include <spawn.h>
#include <sys/mman.h>

#define POCKET	  400
#define MAILBOX	  64
#define MAX_NODES 128
#define STACK	  (256 * KIB)
#define GRANULE	  16
#define SHADOW	  ((1ul << 47) / GRANULE / 8) /* bytes; address space, mostly untouched */
#define WHOLE	  (64 * KIB)		      /* larger ones are filled and verified in samples */
#define SAMPLES	  10
#define STUCK_SEC 60

struct object {
	unsigned char *p;
	size_t size;
	uint64_t id; /* the thread that made it, and a number */
	bool cached; /* of the object cache */
};

/* Larger objects begin with this. */
struct header {
	uint64_t id, owner, size, check;
};

struct place {
	pthread_mutex_t lock; /* of the pocket; held during an operation */
	struct object pocket[POCKET];
	pthread_mutex_t mail_lock;
	struct object mail[MAILBOX];
	unsigned int mails;
	pthread_t thread;
	uint64_t life, number, seed; /* of the thread at the place */
	_Atomic bool dead;
	struct watch *watch;
	char *stack;
};

struct watch {
	const char *name;
	_Atomic uint64_t beats;
	_Atomic bool on;
	uint64_t seen; /* the watchdog's */
	double since;
};

static struct {
	struct place place[WORKLOAD_THREADS];
	struct watch watch[64];
	void *shepherd_stack;
} * shared;

static struct workload_options options;
static struct workload_figures figures;
static _Atomic uint64_t live_bytes, lives;
static _Atomic bool stop;
static sem_t deaths;
static pthread_t shepherd;

/* --- memory of our own ----------------------------------------------------------------------- */

static void *map(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK_MSG(p != MAP_FAILED, "no %zu bytes, with %ld mappings", size, count_mappings());
	return p;
}

static void count(uint64_t *figure)
{
	__atomic_fetch_add(figure, 1, __ATOMIC_RELAXED);
}

/* --- the shadow: what is live ---------------------------------------------------------------- */

static _Atomic uint64_t *shadow;

/* Bits of one word that belong to granules [first, last]. */
static uint64_t word_mask(uintptr_t word, uintptr_t first, uintptr_t last)
{
	uint64_t mask = ~0ull;

	if (word == first / 64)
		mask &= ~0ull << first % 64;
	if (word == last / 64)
		mask &= ~0ull >> (63 - last % 64);
	return mask;
}

static void shadow_change(const void *p, size_t size, bool live)
{
	uintptr_t first = (uintptr_t)p / GRANULE, last = ((uintptr_t)p + size - 1) / GRANULE;

	for (uintptr_t w = first / 64; w <= last / 64; w++) {
		uint64_t mask = word_mask(w, first, last);
		uint64_t before = live ? atomic_fetch_or(&shadow[w], mask)
				       : atomic_fetch_and(&shadow[w], ~mask);

		CHECK_MSG((before & mask) == (live ? 0 : mask),
			  "%zu bytes at %p: a doubled object: %s live at %p", size, p,
			  live ? "something else is" : "parts are not", (void *)(w * 64 * GRANULE));
	}
}

/* --- contents -------------------------------------------------------------------------------- */

static uint64_t pattern(uint64_t id, size_t offset)
{
	return (id + 1) * 0x9e3779b97f4a7c15ull + offset * 0xff51afd7ed558ccdull;
}

/* The stretches of an object that are filled: all of it, or its ends and pages in between. */
static bool stretch(size_t size, uint64_t id, unsigned int i, size_t *from, size_t *to)
{
	size_t pages = size / (4 * KIB);

	if (size <= WHOLE) {
		*from = 0;
		*to = size;
		return i == 0;
	}
	*from = i == 0	 ? 0
		: i == 1 ? (size - 1) / (4 * KIB) * (4 * KIB)
			 : (pattern(id, i) >> 20) % pages * (4 * KIB);
	*to = *from + 4 * KIB < size ? *from + 4 * KIB : size;
	return i < SAMPLES;
}

static struct header header_of(const struct object *o)
{
	struct header h = {o->id, o->id >> 32, o->size, 0};

	h.check = pattern(h.id ^ h.owner << 48, h.size);
	return h;
}

static size_t header_size(size_t size)
{
	return size < 2 * sizeof(struct header) ? 0 : sizeof(struct header);
}

/* One access, whatever the compiler may make of memcpy(). */
typedef uint64_t __attribute__((may_alias)) word_t;

static void fill_object(const struct object *o)
{
	struct header h = header_of(o);
	size_t from, to, at;

	for (unsigned int i = 0; stretch(o->size, o->id, i, &from, &to); i++) {
		for (at = from; at + 8 <= to; at += 8)
			*(word_t *)(o->p + at) = pattern(o->id, at);
		for (; at < to; at++)
			o->p[at] = (unsigned char)o->id;
	}
	memcpy(o->p, &h, header_size(o->size));
}

__attribute__((noreturn)) static void fail_spoilt(const struct object *o, size_t at)
{
	check_fail(__FILE__, __LINE__, "object %" PRIx64 " of %zu bytes at %p: spoilt at %zu",
		   o->id, o->size, (void *)o->p, at);
}

/* Its first `keep` bytes. */
static void verify_part(const struct object *o, size_t keep)
{
	struct header h = header_of(o);
	size_t head = header_size(o->size), from, to, at;

	CHECK_MSG(keep < head || memcmp(o->p, &h, head) == 0,
		  "object %" PRIx64 " of %zu bytes at %p: not its header: id %" PRIx64, o->id,
		  o->size, (void *)o->p, ((struct header *)o->p)->id);
	for (unsigned int i = 0; stretch(o->size, o->id, i, &from, &to); i++) {
		bool tail = to == o->size && keep == o->size;

		for (at = from < head ? head : from; at + 8 <= to && at + 8 <= keep; at += 8)
			if (*(word_t *)(o->p + at) != pattern(o->id, at))
				fail_spoilt(o, at);
		for (; tail && at < to; at++)
			if (o->p[at] != (unsigned char)o->id)
				fail_spoilt(o, at);
	}
}

static void check_zero(const struct object *o)
{
	size_t from, to;

	for (unsigned int i = 0; stretch(o->size, o->id, i, &from, &to); i++)
		CHECK_MSG(all_zero(o->p + from, to - from), "calloc(%zu) is not zero", o->size);
}

/* --- places ---------------------------------------------------------------------------------- */

/* The number of the transition that made a node leave; 0: it is in service. */
static _Atomic uint64_t away[MAX_NODES];
static _Atomic uint64_t epoch;
static _Atomic int nr_away;

static int on_memory(enum slabnode_mem_action action, const struct slabnode_memory_notify *notify,
		     void *data)
{
	(void)data;
	switch (action) {
	case SLABNODE_MEM_GOING_OFFLINE:
	case SLABNODE_MEM_CANCEL_ONLINE:
		atomic_store(&away[notify->node], atomic_fetch_add(&epoch, 1) + 1);
		atomic_fetch_add(&nr_away, 1);
		break;
	case SLABNODE_MEM_CANCEL_OFFLINE:
	case SLABNODE_MEM_GOING_ONLINE:
		atomic_store(&away[notify->node], 0);
		atomic_fetch_sub(&nr_away, 1);
		break;
	default:
		break;
	}
	return 0;
}

/* Whether the node has been away without a break since `began`, by its epoch and state. */
static bool away_since(int node, uint64_t began)
{
	int state = api.node_state(node);
	uint64_t since = atomic_load(&away[node]);

	return since != 0 && since <= began && (state == OFFLINE || state == GOING_OFFLINE);
}

static void audit_byte(const struct object *o, size_t at, uint64_t began)
{
	int node = api.node_of(o->p + at);

	CHECK_MSG(node >= 0, "%p has no node: %d", (void *)(o->p + at), node);
	CHECK_MSG(!away_since(node, began),
		  "%zu bytes at %p, allocated after node %d left: +%zu lies there", o->size,
		  (void *)o->p, node, at);
}

/* Memory that was allocated when `began` epochs had been given out. */
static void audit_fresh(const struct object *o, uint64_t began)
{
	size_t from, to;

	for (unsigned int i = 0; stretch(o->size, o->id, i, &from, &to); i++)
		audit_byte(o, from, began);
	audit_byte(o, o->size - 1, began);
	count(&figures.audits);
	if (atomic_load(&nr_away) > 0)
		count(&figures.away);
}

/* An object that is held must not lie on a node that is offline for long. */
static void audit_held(const struct object *o)
{
	int node = api.node_of(o->p), state;
	uint64_t since;

	CHECK_MSG(node >= 0, "%p has no node: %d", (void *)o->p, node);
	since = atomic_load(&away[node]);
	state = api.node_state(node);
	if (since == 0 || state != OFFLINE)
		return;
	CHECK_MSG(api.node_of(o->p) != node || atomic_load(&away[node]) != since,
		  "object %" PRIx64 " of %zu bytes at %p lies on node %d, which is offline", o->id,
		  o->size, (void *)o->p, node);
}

/* --- the object cache ------------------------------------------------------------------------ */

#define CACHE_SIZE 304
#define CTOR_MARK  0x636f6e7374727563ull

static struct slabnode_cache *cache;

/* Of a constructed object this stays; the workload uses the rest. */
static void construct(void *object)
{
	uint64_t mark = CTOR_MARK;

	memcpy((char *)object + CACHE_SIZE - 8, &mark, 8);
}

static void check_constructed(const void *object)
{
	uint64_t mark;

	memcpy(&mark, (const char *)object + CACHE_SIZE - 8, 8);
	CHECK_MSG(mark == CTOR_MARK, "an object at %p is not constructed", object);
}

/* --- operations ------------------------------------------------------------------------------ */

static size_t draw_size(uint64_t *seed)
{
	static const struct {
		unsigned int below; /* of 1000 */
		size_t most;
	} sizes[] = {{560, 256},       {850, 4 * KIB}, {950, 32 * KIB},
		     {988, 256 * KIB}, {998, 2 * MIB}, {1000, 64 * MIB}};
	unsigned int r = (unsigned int)(rnd(seed) % 1000), i = 0;
	size_t size;

	while (r >= sizes[i].below)
		i++;
	size = 8 + rnd(seed) % (sizes[i].most - 7);
	/* The very large ones are spread by magnitude. */
	return sizes[i].most > 2 * MIB ? size >> rnd(seed) % 5 : size;
}

/* A random node; numbers without a node are answered with ENODEV. */
static int draw_node(uint64_t *seed)
{
	return (int)(rnd(seed) % (uint64_t)api.max_node());
}

static void *from_node(struct object *o, uint64_t *seed, uint64_t began)
{
	int node = draw_node(seed);

	if (o->cached)
		o->p = api.cache_alloc_node(cache, node);
	else
		o->p = api.malloc_node(o->size, node);
	if (o->p != NULL)
		CHECK_MSG(!away_since(node, began), "node %d is away and gave %zu bytes", node,
			  o->size);
	else
		CHECK_MSG(errno == EBUSY || errno == ENOMEM, "node %d gave nothing: errno %d", node,
			  errno);
	return o->p;
}

static void *from_anywhere(struct object *o, uint64_t *seed)
{
	size_t align = 16ul << rnd(seed) % 9;

	if (o->cached)
		return api.cache_alloc(cache);
	switch (rnd(seed) % 4) {
	case 0:
		o->p = calloc(1, o->size);
		if (o->p != NULL)
			check_zero(o);
		return o->p;
	case 1:
		o->p = aligned_alloc(align, o->size);
		CHECK((uintptr_t)o->p % align == 0);
		return o->p;
	default:
		return malloc(o->size);
	}
}

/* Takes what was allocated into the books and fills it. */
static void enter(struct object *o, uint64_t began)
{
	CHECK((uintptr_t)o->p % GRANULE == 0);
	shadow_change(o->p, o->size, true);
	atomic_fetch_add(&live_bytes, o->size);
	fill_object(o);
	audit_fresh(o, began);
}

static void make(struct place *place, struct object *o)
{
	uint64_t *seed = &place->seed, began = atomic_load(&epoch);
	bool one_node = rnd(seed) % 8 == 0;

	*o = (struct object){.size = draw_size(seed), .cached = rnd(seed) % 10 == 0};
	o->id = place->life << 32 | place->number++;
	if (o->cached)
		o->size = CACHE_SIZE - 8;
	if (atomic_load(&live_bytes) + o->size > options.live_limit) {
		o->size = 8 + o->size % 500;
		o->cached = false;
	}
	o->p = one_node ? from_node(o, seed, began) : from_anywhere(o, seed);
	if (o->p == NULL) {
		CHECK_MSG(one_node || options.fails, "no memory: %zu bytes", o->size);
		count(&figures.refused);
		return;
	}
	if (o->cached)
		check_constructed(o->p);
	enter(o, began);
}

static void drop(struct object *o)
{
	if (o->p == NULL)
		return;
	verify_part(o, o->size);
	audit_held(o);
	if (o->cached)
		check_constructed(o->p);
	shadow_change(o->p, o->size, false);
	atomic_fetch_sub(&live_bytes, o->size);
	if (o->cached && o->id % 2 != 0)
		api.cache_free(cache, o->p);
	else
		free(o->p);
	o->p = NULL;
}

static void resize(struct place *place, struct object *o)
{
	uint64_t began = atomic_load(&epoch), fresh;
	size_t size = draw_size(&place->seed), keep, room;
	bool grown;
	unsigned char *p;

	if (o->p == NULL || o->cached)
		return;
	/* Half of them grow or shrink by little, which may happen in place. */
	if (rnd(&place->seed) % 2 != 0)
		size = 8 + o->size / 2 + rnd(&place->seed) % o->size;
	if (atomic_load(&live_bytes) + size > options.live_limit || size > 64 * MIB)
		size = 8 + o->size / 2;
	keep = size < o->size ? size : o->size;
	verify_part(o, o->size);
	shadow_change(o->p, o->size, false);
	atomic_fetch_sub(&live_bytes, o->size);
	room = malloc_usable_size(o->p);
	p = realloc(o->p, size);
	if (p == NULL) {
		CHECK_MSG(options.fails, "no memory: %zu bytes become %zu", o->size, size);
		count(&figures.refused);
		shadow_change(o->p, o->size, true);
		atomic_fetch_add(&live_bytes, o->size);
		return;
	}
	grown = p == o->p && size > room;
	/* What stayed in place may be older: only a block that moved is fresh, and what it grew. */
	fresh = p == o->p ? 0 : began;
	o->p = p;
	verify_part(o, keep);
	o->size = size;
	o->id = place->life << 32 | place->number++;
	enter(o, fresh);
	if (grown)
		audit_byte(o, size - 1, began);
}

static void post(struct place *to, struct object *o)
{
	if (o->p == NULL)
		return;
	pthread_mutex_lock(&to->mail_lock);
	if (to->mails < MAILBOX) {
		to->mail[to->mails++] = *o;
		o->p = NULL;
		count(&figures.mails);
	}
	pthread_mutex_unlock(&to->mail_lock);
}

/* Other threads' objects: most are freed here. */
static void read_mail(struct place *place)
{
	for (;;) {
		struct object *o = &place->pocket[rnd(&place->seed) % POCKET], got = {.p = NULL};

		pthread_mutex_lock(&place->mail_lock);
		if (place->mails > 0)
			got = place->mail[--place->mails];
		pthread_mutex_unlock(&place->mail_lock);
		if (got.p == NULL)
			return;
		if (o->p == NULL)
			*o = got;
		else
			drop(&got);
	}
}

static void operate(struct place *place)
{
	struct object *o = &place->pocket[rnd(&place->seed) % POCKET];
	unsigned int r = (unsigned int)(rnd(&place->seed) % 100);

	if (r < 55) {
		drop(o);
		make(place, o);
	} else if (r < 70) {
		resize(place, o);
	} else if (r < 82) {
		post(&shared->place[rnd(&place->seed) % options.threads], o);
	} else if (r < 88) {
		read_mail(place);
	} else if (r < 90) {
		int node = rnd(&place->seed) % 3 == 0 ? -1 : draw_node(&place->seed);

		CHECK(api.prefer_node(node) == 0);
	} else if (r < 97) {
		if (o->p != NULL) {
			verify_part(o, o->size);
			audit_held(o);
		}
	} else {
		drop(o);
	}
}

/* --- threads --------------------------------------------------------------------------------- */

static void *live(void *arg)
{
	struct place *place = arg;
	uint64_t left = 300 + rnd(&place->seed) % 6000;

	for (; left > 0 && !atomic_load(&stop); left--) {
		pthread_mutex_lock(&place->lock);
		operate(place);
		pthread_mutex_unlock(&place->lock);
		count(&figures.operations);
		watch_beat(place->watch);
		/* A thread that never sleeps would leave no processor to those who make requests.
		 */
		if (left % 128 == 0)
			sleep_ms((long)(rnd(&place->seed) % 4));
	}
	atomic_store(&place->dead, true);
	sem_post(&deaths);
	return NULL;
}

pthread_t workload_thread(void *stack, void *(*body)(void *), void *arg)
{
	pthread_attr_t attr;
	pthread_t thread;

	CHECK(pthread_attr_init(&attr) == 0);
	CHECK(pthread_attr_setstack(&attr, stack, STACK) == 0);
	for (int i = 0; pthread_create(&thread, &attr, body, arg) != 0; i++) {
		CHECK_MSG(options.fails && i < 1000, "no thread");
		sleep_ms(1);
	}
	pthread_attr_destroy(&attr);
	return thread;
}

void *workload_stack(void)
{
	return map(STACK);
}

static void give_birth(struct place *place)
{
	place->life = atomic_fetch_add(&lives, 1) + 1;
	place->number = 0;
	place->seed = options.seed * 0x9e3779b97f4a7c15ull + place->life;
	atomic_store(&place->dead, false);
	place->thread = workload_thread(place->stack, live, place);
	count(&figures.lives);
}

static void *shepherd_all(void *arg)
{
	struct watch *watch = watch_begin("shepherd");

	while (!atomic_load(&stop)) {
		sem_wait(&deaths);
		watch_beat(watch);
		for (unsigned int i = 0; i < options.threads; i++) {
			struct place *place = &shared->place[i];

			if (!atomic_load(&place->dead) || atomic_load(&stop))
				continue;
			CHECK(pthread_join(place->thread, NULL) == 0);
			give_birth(place);
		}
	}
	watch_end(watch);
	return arg;
}

static void init_once(void)
{
	if (shared != NULL)
		return;
	shared = map(sizeof(*shared));
	shadow = map(SHADOW);
	for (unsigned int i = 0; i < WORKLOAD_THREADS; i++) {
		pthread_mutex_init(&shared->place[i].lock, NULL);
		pthread_mutex_init(&shared->place[i].mail_lock, NULL);
		shared->place[i].stack = map(STACK);
	}
	shared->shepherd_stack = map(STACK);
	sem_init(&deaths, 0, 0);
	CHECK(api.max_node() <= MAX_NODES);
	for (int n = 0; n < api.max_node(); n++)
		CHECK(api.node_state(n) == ONLINE);
	CHECK(api.register_memory_notifier("workload", 0, on_memory, NULL) > 0);
	cache = api.cache_create("workload", CACHE_SIZE, 0, construct);
	CHECK(cache != NULL);
}

void workload_begin(const struct workload_options *wanted)
{
	options = *wanted;
	CHECK(options.threads <= WORKLOAD_THREADS);
	init_once();
	atomic_store(&stop, false);
	for (unsigned int i = 0; i < options.threads; i++) {
		shared->place[i].watch = watch_begin("worker");
		give_birth(&shared->place[i]);
	}
	shepherd = workload_thread(shared->shepherd_stack, shepherd_all, NULL);
}

void workload_end(void)
{
	atomic_store(&stop, true);
	sem_post(&deaths);
	CHECK(pthread_join(shepherd, NULL) == 0);
	for (unsigned int i = 0; i < options.threads; i++) {
		CHECK(pthread_join(shared->place[i].thread, NULL) == 0);
		watch_end(shared->place[i].watch);
	}
	for (unsigned int i = 0; i < options.threads; i++) {
		struct place *place = &shared->place[i];

		for (unsigned int k = 0; k < POCKET; k++)
			drop(&place->pocket[k]);
		while (place->mails > 0)
			drop(&place->mail[--place->mails]);
	}
	CHECK_MSG(atomic_load(&live_bytes) == 0, "%" PRIu64 " bytes are still in the books",
		  atomic_load(&live_bytes));
	/* No bit is set any more; what is measured next is the allocator's memory, not ours. */
	CHECK(madvise((void *)shadow, SHADOW, MADV_DONTNEED) == 0);
}

struct workload_figures workload_figures(void)
{
	figures.departures = atomic_load(&epoch);
	return figures;
}

/* --- fork ------------------------------------------------------------------------------------ */

void workload_pause(void)
{
	for (unsigned int i = 0; i < options.threads; i++)
		pthread_mutex_lock(&shared->place[i].lock);
}

void workload_resume(void)
{
	for (unsigned int i = 0; i < options.threads; i++)
		pthread_mutex_unlock(&shared->place[i].lock);
}

void workload_in_child(bool paused, unsigned int operations)
{
	struct place *place = &shared->place[rnd(&options.seed) % options.threads];

	/* What was under way in the parent is undone here, without a word to the notifiers. */
	for (int n = 0; n < api.max_node(); n++) {
		int state = api.node_state(n);

		CHECK_MSG(state == ONLINE || state == OFFLINE, "node %d is in state %d in a child",
			  n, state);
		atomic_store(&away[n], state == OFFLINE ? atomic_load(&epoch) : 0);
	}
	for (unsigned int i = 0; paused && i < options.threads; i++) {
		struct place *other = &shared->place[i];

		for (unsigned int k = 0; k < POCKET; k++)
			if (other->pocket[k].p != NULL) {
				verify_part(&other->pocket[k], other->pocket[k].size);
				audit_held(&other->pocket[k]);
			}
		pthread_mutex_unlock(&other->lock);
	}
	/* Torn records and objects of the others are not touched. */
	if (!paused) {
		for (unsigned int i = 0; i < options.threads; i++)
			memset(shared->place[i].pocket, 0, sizeof(shared->place[i].pocket));
		memset((void *)place, 0, sizeof(*place));
		for (unsigned int i = 0; i < options.threads; i++) {
			pthread_mutex_init(&shared->place[i].mail_lock, NULL);
			shared->place[i].mails = 0;
		}
		munmap((void *)shadow, SHADOW);
		shadow = map(SHADOW);
	}
	place->life = 1ull << 30;
	place->seed = options.seed + (uint64_t)getpid();
	for (unsigned int i = 0; i < operations; i++)
		operate(place);
}

/* --- watching -------------------------------------------------------------------------------- */

static void print_file(pid_t pid, const char *task, const char *file)
{
	char path[96], text[4096];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/task/%s/%s", (int)pid, task, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n > 0)
		dprintf(2, "  %s: %.*s%s", file, (int)n, text, text[n - 1] == '\n' ? "" : "\n");
}

static void run_gdb(pid_t pid)
{
	char number[16];
	char *argv[] = {
		"gdb", "-nx", "-batch", "-p", number, "-ex", "thread apply all backtrace 24", NULL};
	char *env[] = {"PATH=/usr/bin:/bin", NULL};
	posix_spawn_file_actions_t actions;
	pid_t gdb;

	snprintf(number, sizeof(number), "%d", (int)pid);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, 2, 1);
	if (posix_spawnp(&gdb, "gdb", &actions, NULL, argv, env) == 0)
		waitpid(gdb, NULL, 0);
}

void print_stacks(pid_t pid)
{
	static const char *const files[] = {"comm", "wchan", "stack"};
	struct entries tasks;
	const char *thread;
	char path[64];

	run_gdb(pid);
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	entries_open(&tasks, path);
	while ((thread = entries_next(&tasks)) != NULL) {
		dprintf(2, "thread %s\n", thread);
		for (size_t i = 0; i < ARRAY_SIZE(files); i++)
			print_file(pid, thread, files[i]);
	}
}

static void *watchdog(void *arg)
{
	for (;; sleep_ms(500)) {
		double now = now_sec();

		for (size_t i = 0; i < ARRAY_SIZE(shared->watch); i++) {
			struct watch *w = &shared->watch[i];
			uint64_t beats = atomic_load(&w->beats);

			if (!atomic_load(&w->on) || beats != w->seen || w->since == 0) {
				w->seen = beats;
				w->since = now;
			}
			if (now - w->since < STUCK_SEC)
				continue;
			dprintf(2, "%s makes no progress for %d s\n", w->name, STUCK_SEC);
			print_stacks(getpid());
			_exit(1);
		}
	}
	return arg;
}

static pthread_mutex_t watch_lock = PTHREAD_MUTEX_INITIALIZER;

struct watch *watch_begin(const char *name)
{
	static bool started;
	struct watch *found = NULL;
	pthread_t thread;

	init_once();
	pthread_mutex_lock(&watch_lock);
	for (size_t i = 0; i < ARRAY_SIZE(shared->watch) && found == NULL; i++)
		if (!atomic_load(&shared->watch[i].on))
			found = &shared->watch[i];
	CHECK(found != NULL);
	found->name = name;
	watch_beat(found);
	atomic_store(&found->on, true);
	if (!started)
		CHECK(pthread_create(&thread, NULL, watchdog, NULL) == 0);
	started = true;
	pthread_mutex_unlock(&watch_lock);
	return found;
}

void watch_beat(struct watch *watch)
{
	atomic_fetch_add_explicit(&watch->beats, 1, memory_order_relaxed);
}

void watch_end(struct watch *watch)
{
	atomic_store(&watch->on, false);
}
