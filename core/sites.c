/*
 * sites.c - see sites.h.
 *
 * Sampling is a Poisson process over the bytes that a thread allocates: the distance to the next
 * sample is drawn from an exponential distribution, and whatever object that byte falls into is
 * sampled.  An object of s bytes is then sampled with probability 1 - e^(-s/mean), whatever came
 * before, so that each sample stands for 1/(1 - e^(-s/mean)) objects, and the sums are unbiased for
 * small and large objects alike.
 *
 *	slots[hash]  -->  sample --> sample --> 0	by address, in 64 stripes
 *			    |
 *			    +-- site --> stack		each stack once; never removed
 *
 * The slots are the filter of free(): an object whose slot is empty was not sampled, which costs
 * one load.  What was sampled is in its slot before its address is handed out, and out of it before
 * the address can be reused.
 *
 * When every object is sampled (a mean of 1, level 3 of the hardened ones) none of that is needed:
 * sitemap.c has a place for each, without locks or a limit.
 *
 * Each stripe has a lock and a pool of samples.  All memory is mapped at start and bounded; what
 * has no room is counted.  Signals are blocked while a sample is taken or removed, so that a
 * handler that allocates finds no lock held by its own thread.
 */
#include "sites.h"

#include "alloc.h"
#include "drain.h"
#include "meta.h"
#include "sitemap.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#define SLOT_BITS	18
#define NR_SLOTS	((size_t)1 << SLOT_BITS)
#define NR_STRIPES	64
#define STRIPE_SAMPLES	1280 /* 80 Ki in all: stripes fill unevenly */
#define MAX_SITES	8192
#define SITE_INDEX	(2 * MAX_SITES)
#define UNKNOWN_SITE	0
#define WEIGHT_ONE_FROM 40.0 /* e^-40 is nothing */

struct sample {
	void *p; /* NULL: on the free list */
	size_t size;
	uint16_t site;
	uint16_t next; /* in the slot's chain or the free list: 1 + place in the stripe's pool */
};

struct stripe {
	_Alignas(64) struct sn_lock lock SN_RANKED(sites);
	uint16_t free SN_GUARDED_BY(&lock);
	uint16_t fresh SN_GUARDED_BY(&lock); /* entries from here on were never used */
	struct sample pool[STRIPE_SAMPLES] SN_GUARDED_BY(&lock);
};

struct stack {
	uint32_t hash;
	uint32_t nr_frames;
	void *frame[SN_SITE_FRAMES];
};

static struct sn_lock site_lock SN_RANKED(sites);

/* When every object is sampled its site stands in the site map, and there are no slots; 0 there
 * means nothing, so it is the site plus one. */
static bool every;

/* Heads of chains are written under their stripe's lock, and read without by free(). */
struct tables {
	struct stripe stripe[NR_STRIPES];
	uint16_t slot[NR_SLOTS];
	/* Stacks are guarded by site_lock until nr_sites says they are there; then they stay. */
	struct stack stack[MAX_SITES];
	/* By hash, open addressing: written under site_lock, read without it. */
	uint16_t index[SITE_INDEX];
};

bool sn_sites_on;
unsigned int (*sn_stack_hook)(void **frame, unsigned int max);
bool (*sn_place_hook)(const void *frame, struct sn_place *place);

static uint64_t mean;
static struct tables *tables;
static _Atomic uint32_t nr_sites;
static _Atomic uint64_t dropped;

bool sn_sites_start(uint64_t bytes)
{
	tables = sn_meta_alloc(sizeof(*tables), 64);
	if (tables == NULL)
		return false;
	mean = bytes;
	every = bytes <= 1;
	if (every && !sn_sitemap_start())
		return false;
	atomic_store(&nr_sites, UNKNOWN_SITE + 1);
	sn_sites_on = true;
	return true;
}

/* --- arithmetic, without libm ------------------------------------------------------------- */

/* -ln(u) for 0 < u <= 1. */
static double minus_ln(double u)
{
	double t, square, result = 0;

	for (; u < 0.7; u *= 2)
		result += 0.6931471805599453;
	t = (1 - u) / (1 + u);
	square = t * t;
	return result + 2 * t * (1 + square * (1. / 3 + square * (1. / 5 + square / 7)));
}

/* 1 - e^-x for x > 0. */
static double minus_expm1(double x)
{
	unsigned int halved = 0;
	double rest;

	if (x > WEIGHT_ONE_FROM)
		return 1;
	for (; x > 0.25; x /= 2)
		halved++;
	rest = x * (1 - x / 2 * (1 - x / 3 * (1 - x / 4 * (1 - x / 5))));
	for (; halved > 0; halved--)
		rest *= 2 - rest; /* 1 - (1 - r)^2 */
	return rest;
}

/* Bytes to the thread's next sample. */
static int64_t draw(struct sn_thread *self)
{
	uint64_t x = self->sample_seed;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	self->sample_seed = x;
	x = x * 0x2545f4914f6cdd1dULL >> 11;
	return (int64_t)(minus_ln((double)(x + 1) * 0x1p-53) * (double)mean) + 1;
}

/* How many objects a sample of this size stands for. */
static double weight(size_t size)
{
	return mean <= 1 ? 1 : 1 / minus_expm1((double)size / (double)mean);
}

/* --- sites -------------------------------------------------------------------------------- */

static uint32_t hash_stack(void *const *frame, unsigned int n)
{
	uint64_t hash = n;

	for (unsigned int i = 0; i < n; i++)
		hash = (hash ^ (uintptr_t)frame[i]) * 0x9e3779b97f4a7c15ULL, hash ^= hash >> 32;
	return (uint32_t)hash;
}

/* Where the index names the stack, or has room for it. */
static size_t index_of(void *const *frame, unsigned int n, uint32_t hash)
{
	size_t at = hash % SITE_INDEX;
	uint16_t site;

	for (; (site = __atomic_load_n(&tables->index[at], __ATOMIC_ACQUIRE)) != 0;
	     at = (at + 1) % SITE_INDEX) {
		const struct stack *stack = &tables->stack[site];

		if (stack->hash == hash && stack->nr_frames == n &&
		    memcmp(stack->frame, frame, n * sizeof(*frame)) == 0)
			break;
	}
	return at;
}

/* The site of a stack; UNKNOWN_SITE when there is no room for another. */
static uint16_t add_site(void *const *frame, unsigned int n, uint32_t hash) SN_REQUIRES(&site_lock)
{
	uint32_t count = atomic_load_explicit(&nr_sites, memory_order_relaxed);
	size_t at = index_of(frame, n, hash);
	struct stack *stack;

	if (tables->index[at] != 0)
		return tables->index[at];
	if (count == MAX_SITES)
		return UNKNOWN_SITE;
	stack = &tables->stack[count];
	stack->hash = hash;
	stack->nr_frames = n;
	memcpy(stack->frame, frame, n * sizeof(*frame));
	__atomic_store_n(&tables->index[at], (uint16_t)count, __ATOMIC_RELEASE);
	atomic_store_explicit(&nr_sites, count + 1, memory_order_release);
	return (uint16_t)count;
}

static uint16_t site_here(void)
{
	void *frame[SN_SITE_FRAMES];
	unsigned int n;
	uint32_t hash;
	uint16_t site;

	if (sn_stack_hook == NULL)
		return UNKNOWN_SITE;
	sn_internal_enter();
	n = sn_stack_hook(frame, SN_SITE_FRAMES);
	sn_internal_leave();
	if (n == 0)
		return UNKNOWN_SITE;
	hash = hash_stack(frame, n);
	site = __atomic_load_n(&tables->index[index_of(frame, n, hash)], __ATOMIC_ACQUIRE);
	if (sn_likely(site != 0))
		return site;
	sn_lock_acquire(&site_lock, SN_RANK_SITES);
	site = add_site(frame, n, hash);
	sn_lock_release(&site_lock, SN_RANK_SITES);
	return site;
}

/* --- samples ------------------------------------------------------------------------------ */

static size_t slot_of(const void *p)
{
	return ((uintptr_t)p >> 4) * 0x9e3779b97f4a7c15ULL >> (64 - SLOT_BITS);
}

static struct stripe *stripe_of(size_t slot)
{
	return &tables->stripe[slot % NR_STRIPES];
}

/* 0: the pool is used up. */
static uint16_t take_entry(struct stripe *stripe) SN_REQUIRES(&stripe->lock)
{
	uint16_t entry = stripe->free;

	if (entry != 0)
		stripe->free = stripe->pool[entry - 1].next;
	else if (stripe->fresh < STRIPE_SAMPLES)
		entry = ++stripe->fresh;
	return entry;
}

static void add_to_slot(void *p, size_t size, uint16_t site)
{
	size_t slot = slot_of(p);
	struct stripe *stripe = stripe_of(slot);
	uint16_t entry;

	sn_lock_acquire(&stripe->lock, SN_RANK_SITES);
	entry = take_entry(stripe);
	if (entry != 0) {
		stripe->pool[entry - 1] = (struct sample){
			.p = p, .size = size, .site = site, .next = tables->slot[slot]};
		sn_counter_set(tables->slot[slot], entry);
	}
	sn_lock_release(&stripe->lock, SN_RANK_SITES);
	if (entry == 0)
		atomic_fetch_add_explicit(&dropped, 1, memory_order_relaxed);
}

static void add_sample(void *p, size_t size, uint16_t site)
{
	if (!every)
		add_to_slot(p, size, site);
	else if (!sn_sitemap_set(p, (uint16_t)(site + 1)))
		atomic_fetch_add_explicit(&dropped, 1, memory_order_relaxed);
}

/* Takes `entry` out of its chain, behind `before` (NULL: it is the first), and into the free list.
 */
static void unchain(struct stripe *stripe, size_t slot, struct sample *before, uint16_t entry)
	SN_REQUIRES(&stripe->lock)
{
	struct sample *sample = &stripe->pool[entry - 1];

	if (before == NULL)
		sn_counter_set(tables->slot[slot], sample->next);
	else
		before->next = sample->next;
	sample->p = NULL;
	sample->next = stripe->free;
	stripe->free = entry;
}

static struct sn_sample remove_sample(const void *p, size_t slot)
{
	struct sn_sample found = {.taken = false};
	struct stripe *stripe = stripe_of(slot);
	struct sample *before = NULL, *sample;

	sn_lock_acquire(&stripe->lock, SN_RANK_SITES);
	for (uint16_t entry = tables->slot[slot]; entry != 0; entry = sample->next) {
		sample = &stripe->pool[entry - 1];
		if (sample->p == p) {
			found = (struct sn_sample){.site = sample->site, .taken = true};
			unchain(stripe, slot, before, entry);
			break;
		}
		before = sample;
	}
	sn_lock_release(&stripe->lock, SN_RANK_SITES);
	return found;
}

static void block_signals(sigset_t *before)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, before);
}

static void unblock_signals(const sigset_t *before)
{
	pthread_sigmask(SIG_SETMASK, before, NULL);
}

/* --- allocations and frees ---------------------------------------------------------------- */

static SN_COLD void sample_object(void *p, size_t size)
{
	int saved = errno;
	sigset_t before;

	block_signals(&before);
	add_sample(p, size, site_here());
	unblock_signals(&before);
	errno = saved;
}

/* Whether the next sample falls into these bytes. */
static bool is_sampled(struct sn_thread *self, size_t size)
{
	if (mean <= 1)
		return true;
	if (sn_unlikely(self->sample_seed == 0)) {
		self->sample_seed = (uintptr_t)self * 0x9e3779b97f4a7c15ULL ^ sn_now_ns();
		self->sample_seed |= 1;
		self->sample_in = draw(self);
	}
	if (sn_likely(size < (uint64_t)self->sample_in)) {
		self->sample_in -= (int64_t)size;
		return false;
	}
	self->sample_in = draw(self);
	return true;
}

void sn_sites_alloc(void *p, size_t size)
{
	struct sn_thread *self = &sn_self;

	if (self->internal == 0 && !sn_forking() && is_sampled(self, size))
		sample_object(p, size);
	else if (every)
		sn_sitemap_set(p, 0); /* not the site of who had the address before */
}

static struct sn_sample take_from_map(void *p)
{
	uint16_t value = sn_sitemap_get(p);

	if (value == 0 || (value & SN_SITEMAP_FREED) != 0)
		return (struct sn_sample){.taken = false};
	sn_sitemap_set(p, value | SN_SITEMAP_FREED);
	return (struct sn_sample){.site = value - 1u, .taken = true};
}

struct sn_sample sn_sites_take(void *p)
{
	struct sn_sample sample = {.taken = false};
	size_t slot = slot_of(p);
	sigset_t before;

	if (every)
		return take_from_map(p);
	if (sn_likely(sn_counter_read(tables->slot[slot]) == 0))
		return sample;
	block_signals(&before);
	sample = remove_sample(p, slot);
	unblock_signals(&before);
	return sample;
}

void sn_sites_free(void *p)
{
	sn_sites_take(p);
}

void sn_sites_put_back(void *p, size_t size, struct sn_sample sample)
{
	sigset_t before;

	if (!sample.taken)
		return;
	block_signals(&before);
	add_sample(p, size, (uint16_t)sample.site);
	unblock_signals(&before);
}

/* --- for the end of the program ----------------------------------------------------------- */

unsigned int sn_sites_at(const void *p, void *const **frame)
{
	unsigned int value = every ? sn_sitemap_get(p) & ~SN_SITEMAP_FREED : 0;
	const struct stack *stack;

	if (value == 0 || value > MAX_SITES) /* the map is memory, too, of a heap that is broken */
		return 0;
	stack = &tables->stack[value - 1];
	*frame = stack->frame;
	return stack->nr_frames;
}

/* --- who holds a node --------------------------------------------------------------------- */

struct sum {
	double objects, bytes;
};

static void add_stripe(struct stripe *stripe, unsigned int node, struct sum *sums)
{
	sn_lock_acquire(&stripe->lock, SN_RANK_SITES);
	for (unsigned int i = 0; i < stripe->fresh; i++) {
		const struct sample *sample = &stripe->pool[i];
		double objects;

		if (sample->p == NULL || sn_home_of(sample->p) != node)
			continue;
		objects = weight(sample->size);
		sums[sample->site].objects += objects;
		sums[sample->site].bytes += objects * (double)sample->size;
	}
	sn_lock_release(&stripe->lock, SN_RANK_SITES);
}

static void add_object(void *arg, uint16_t value, size_t size)
{
	struct sum *sum = &((struct sum *)arg)[value - 1];

	sum->objects++;
	sum->bytes += (double)size;
}

/* Takes the largest sum: its site, or -1 when none is left. */
static int take_largest(struct sum *sums, uint32_t count, struct sn_site *site)
{
	uint32_t best = 0;

	for (uint32_t i = 1; i < count; i++)
		if (sums[i].bytes > sums[best].bytes)
			best = i;
	if (sums[best].bytes <= 0)
		return -1;
	*site = (struct sn_site){.objects = (uint64_t)(sums[best].objects + 0.5),
				 .bytes = (uint64_t)(sums[best].bytes + 0.5),
				 .nr_frames = tables->stack[best].nr_frames};
	memcpy(site->frame, tables->stack[best].frame, sizeof(site->frame));
	sums[best].bytes = 0;
	return (int)best;
}

unsigned int sn_sites_of(unsigned int node, struct sn_site *site, unsigned int max,
			 struct sn_sites_summary *summary)
{
	size_t size = MAX_SITES * sizeof(struct sum);
	unsigned int n = 0;
	uint32_t count;
	sigset_t before;
	struct sum *sums;

	*summary = (struct sn_sites_summary){.mean = mean, .dropped = atomic_load(&dropped)};
	if (!sn_sites_on)
		return 0;
	sums = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (sums == MAP_FAILED)
		return 0;
	block_signals(&before);
	for (unsigned int i = 0; !every && i < NR_STRIPES; i++)
		add_stripe(&tables->stripe[i], node, sums);
	if (every)
		sn_sitemap_walk(node, add_object, sums);
	unblock_signals(&before);
	count = atomic_load_explicit(&nr_sites, memory_order_acquire);
	while (n < max && take_largest(sums, count, &site[n]) >= 0)
		n++;
	for (uint32_t i = 0; i < count; i++)
		summary->more += sums[i].bytes > 0;
	munmap(sums, size);
	return n;
}

/* --- fork --------------------------------------------------------------------------------- */

/* Loops over all locks, and halves of what the fork handler does. */
void sn_sites_fork_lock(void) SN_NO_THREAD_SAFETY
{
	if (!sn_sites_on)
		return;
	for (unsigned int i = 0; i < NR_STRIPES; i++)
		sn_lock_acquire(&tables->stripe[i].lock, SN_RANK_SITES);
	sn_lock_acquire(&site_lock, SN_RANK_SITES);
}

void sn_sites_fork_unlock(bool child) SN_NO_THREAD_SAFETY
{
	if (!sn_sites_on)
		return;
	for (unsigned int i = 0; i < NR_STRIPES; i++)
		if (child)
			sn_lock_reset(&tables->stripe[i].lock);
		else
			sn_lock_release(&tables->stripe[i].lock, SN_RANK_SITES);
	if (child)
		sn_lock_reset(&site_lock);
	else
		sn_lock_release(&site_lock, SN_RANK_SITES);
}
