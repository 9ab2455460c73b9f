/*
 * Threads that come and go, objects that outlive them or are freed by others, and threads torn
 * from CPU to CPU in the middle of everything. Each object carries a pattern of its own, so an
 * object that is given out twice or spoilt shows at its free.
 */
#include "proc.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>

static void start(pthread_t *t, void *(*fn)(void *), void *arg)
{
	int rc;

	/* Thread creation may fail for a moment when thousands have only just ended. */
	for (int tries = 0; (rc = pthread_create(t, NULL, fn, arg)) == EAGAIN && tries < 200;
	     tries++)
		sleep_ms(5);
	CHECK_MSG(rc == 0, "pthread_create gave %d", rc);
}

static void join(pthread_t t, void **result)
{
	CHECK(pthread_join(t, result) == 0);
}

static void *one_malloc(void *arg)
{
	size_t size = (size_t)(uintptr_t)arg;
	void *p = malloc(size);

	CHECK(p);
	fill(p, size, size);
	return p;
}

static void *one_calloc(void *arg)
{
	size_t size = (size_t)(uintptr_t)arg;
	char *p = calloc(1, size);

	CHECK(p && all_zero(p, size));
	fill(p, size, size);
	return p;
}

static void *one_aligned(void *arg)
{
	size_t size = (size_t)(uintptr_t)arg;
	char *p = aligned_alloc(512, size);

	CHECK(p && (uintptr_t)p % 512 == 0);
	fill(p, size, size);
	return p;
}

static void *one_realloc(void *arg)
{
	size_t size = (size_t)(uintptr_t)arg;
	char *p = realloc(NULL, size);

	CHECK(p);
	fill(p, size, size);
	return p;
}

/* The first and only thing that a thread does is one allocation of one size. */
static void first_operation(void)
{
	static void *(*const ops[])(void *) = {one_malloc, one_calloc, one_aligned, one_realloc};
	pthread_t t[20];
	void *p;

	for (size_t size = 0; size <= 2 * MIB; size = size * 3 / 2 + 8) {
		for (size_t i = 0; i < scaled(ARRAY_SIZE(t)); i += ARRAY_SIZE(t)) {
			for (size_t k = 0; k < ARRAY_SIZE(t); k++)
				start(&t[k], ops[k % 4], (void *)size);
			for (size_t k = 0; k < ARRAY_SIZE(t); k++) {
				join(t[k], &p);
				CHECK_INTACT(p, size, size);
				free(p);
			}
		}
	}
}

struct batch {
	void *p[128];
	size_t size;
};

static void *free_batch(void *arg)
{
	struct batch *b = arg;

	for (size_t i = 0; i < ARRAY_SIZE(b->p); i++) {
		CHECK_INTACT(b->p[i], b->size, i);
		free(b->p[i]);
	}
	return NULL;
}

/* Threads that only free, and as few objects as fit any cache, must not keep what they freed. */
static void free_only(void)
{
	static struct batch b[4];
	long before = 0;

	for (int round = 0; round < 1500; round++) {
		pthread_t t[4];

		for (size_t k = 0; k < 4; k++) {
			b[k].size = 64 + (size_t)round % 5 * 200;
			for (size_t i = 0; i < ARRAY_SIZE(b[k].p); i++) {
				b[k].p[i] = malloc(b[k].size);
				CHECK(b[k].p[i]);
				fill(b[k].p[i], b[k].size, i);
			}
			start(&t[k], free_batch, &b[k]);
		}
		for (size_t k = 0; k < 4; k++)
			join(t[k], NULL);
		if (round == 150)
			before = rss_kib();
	}
	CHECK_MSG(rss_kib() - before < 4096, "RSS grew by %ld KiB", rss_kib() - before);
}

struct left {
	void *p[200];
	size_t size[200];
	uint64_t seed;
};

static void *leave_behind(void *arg)
{
	struct left *l = arg;

	for (size_t i = 0; i < ARRAY_SIZE(l->p); i++) {
		l->size[i] = rnd(&l->seed) % (i % 20 == 0 ? 100000 : 2000);
		l->p[i] = malloc(l->size[i]);
		CHECK(l->p[i]);
		fill(l->p[i], l->size[i], l->seed ^ i);
		free(opaque(malloc(l->size[i] + 5)));
	}
	return NULL;
}

/* Memory stays whole long after its thread is gone, and can be grown by another. */
static void outlive(void)
{
	enum { N = 64 };
	static struct left l[N];

	for (int round = 0; round < 8; round++) {
		pthread_t t[N];

		for (size_t k = 0; k < N; k++) {
			l[k].seed = k * 77 + (uint64_t)round + 1;
			start(&t[k], leave_behind, &l[k]);
		}
		for (size_t k = 0; k < N; k++)
			join(t[k], NULL);
		for (size_t k = 0; k < N; k++) {
			for (size_t i = 0; i < ARRAY_SIZE(l[k].p); i++) {
				size_t size = l[k].size[i];

				/* The seed moved on after each fill: replay it. */
				uint64_t seed = k * 77 + (uint64_t)round + 1;

				for (size_t r = 0; r <= i; r++)
					rnd(&seed);
				CHECK_INTACT(l[k].p[i], size, seed ^ i);
				if (i % 3 == 0) {
					l[k].p[i] = realloc(l[k].p[i], size + 3000);
					CHECK(l[k].p[i]);
					CHECK_INTACT(l[k].p[i], size & ~7UL, seed ^ i);
				}
				free(l[k].p[i]);
			}
		}
	}
}

/* Rings between neighbours: each thread frees only what another allocated. */
#define RING 512

struct ring {
	struct {
		void *ptr;
		size_t size;
		uint64_t id;
	} slot[RING];
	unsigned long head __attribute__((aligned(64)));
	unsigned long tail __attribute__((aligned(64)));
};

struct worker {
	struct ring *out, *in;
	uint64_t seed;
	unsigned long rounds;
};

static bool put(struct worker *w)
{
	struct ring *r = w->out;
	unsigned long h = r->head;
	size_t size;

	if (h - __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE) == RING)
		return false;
	size = rnd(&w->seed) % (h % 64 == 0 ? 60000 : 1000);
	r->slot[h % RING].ptr = malloc(size);
	CHECK(r->slot[h % RING].ptr);
	r->slot[h % RING].size = size;
	r->slot[h % RING].id = w->seed;
	fill(r->slot[h % RING].ptr, size, w->seed);
	__atomic_store_n(&r->head, h + 1, __ATOMIC_RELEASE);
	return true;
}

static bool get(struct worker *w)
{
	struct ring *r = w->in;
	unsigned long t = r->tail;

	if (t == __atomic_load_n(&r->head, __ATOMIC_ACQUIRE))
		return false;
	CHECK_INTACT(r->slot[t % RING].ptr, r->slot[t % RING].size, r->slot[t % RING].id);
	free(r->slot[t % RING].ptr);
	__atomic_store_n(&r->tail, t + 1, __ATOMIC_RELEASE);
	return true;
}

static void *neighbour(void *arg)
{
	struct worker *w = arg;
	unsigned long sent = 0, got = 0;

	while (sent < w->rounds || got < w->rounds) {
		bool any = false;

		for (int i = 0; i < 100 && sent < w->rounds && put(w); i++, sent++)
			any = true;
		for (int i = 0; i < 100 && got < w->rounds && get(w); i++, got++)
			any = true;
		if (!any)
			sched_yield();
	}
	return NULL;
}

static void cross_free(void)
{
	enum { N = 6 };
	static struct ring rings[N];
	static struct worker w[N];
	pthread_t t[N];

	for (size_t i = 0; i < N; i++) {
		w[i].out = &rings[i];
		w[i].in = &rings[(i + 1) % N];
		w[i].seed = i + 1;
		w[i].rounds = scaled(200000);
		start(&t[i], neighbour, &w[i]);
	}
	for (size_t i = 0; i < N; i++)
		join(t[i], NULL);
	CHECK_MSG(rss_kib() < 300 * 1024, "%ld KiB resident at the end", rss_kib());
}

static void *short_life(void *arg)
{
	uint64_t seed = (uintptr_t)arg + 1;
	void *p[16];

	for (size_t i = 0; i < ARRAY_SIZE(p); i++) {
		p[i] = malloc(rnd(&seed) % 3000);
		CHECK(p[i]);
		*(volatile char *)p[i] = 1;
	}
	for (size_t i = 0; i < ARRAY_SIZE(p) - 1; i++)
		free(p[i]);
	return p[ARRAY_SIZE(p) - 1];
}

/* Thousands of short threads: what each leaves in the allocator must be nothing. */
static void churn(void)
{
	unsigned long n = scaled(10000);
	long before = 0;
	pthread_t t[8];
	void *p;

	for (unsigned long i = 0; i < n; i += ARRAY_SIZE(t)) {
		for (size_t k = 0; k < ARRAY_SIZE(t); k++)
			start(&t[k], short_life, (void *)(i + k));
		for (size_t k = 0; k < ARRAY_SIZE(t); k++) {
			join(t[k], &p);
			free(p);
		}
		/* By then every store of every node has had its objects once. */
		if (i == n / 2)
			before = rss_kib();
	}
	CHECK(before > 0);
	CHECK_MSG(rss_kib() - before < 4096, "RSS grew by %ld KiB over %lu threads",
		  rss_kib() - before, n / 2);
}

struct crowd {
	sem_t up, leave;
};

static void *stand_by(void *arg)
{
	struct crowd *c = arg;
	void *p[8];

	for (size_t i = 0; i < ARRAY_SIZE(p); i++) {
		p[i] = malloc(i * 300 + 1);
		CHECK(p[i]);
		fill(p[i], i * 300 + 1, (uintptr_t)p);
	}
	CHECK(sem_post(&c->up) == 0);
	while (sem_wait(&c->leave) != 0)
		CHECK(errno == EINTR);
	for (size_t i = 0; i < ARRAY_SIZE(p); i++) {
		CHECK_INTACT(p[i], i * 300 + 1, (uintptr_t)p);
		free(p[i]);
	}
	return NULL;
}

/* Thousands at a time: nothing of the allocator's may be a number of threads. */
static void crowd(void)
{
	enum { N = 5000 };
	static pthread_t t[N];
	static struct crowd c;
	pthread_attr_t attr;
	size_t least = (size_t)sysconf(_SC_THREAD_STACK_MIN); /* 128 KiB on ARM */
	size_t stack = least > 64 * KIB ? least : 64 * KIB, n = 0;

	CHECK(sem_init(&c.up, 0, 0) == 0 && sem_init(&c.leave, 0, 0) == 0);
	CHECK(pthread_attr_init(&attr) == 0);
	CHECK(pthread_attr_setstacksize(&attr, stack) == 0);
	while (n < N && pthread_create(&t[n], &attr, stand_by, &c) == 0)
		n++;
	if (n < 500)
		check_skip("not even 500 threads may be started here");
	for (size_t i = 0; i < n; i++)
		while (sem_wait(&c.up) != 0)
			CHECK(errno == EINTR);
	for (size_t i = 0; i < n; i++)
		CHECK(sem_post(&c.leave) == 0);
	for (size_t i = 0; i < n; i++)
		join(t[i], NULL);
}

static void *resize(void *arg)
{
	struct left *l = arg;

	for (size_t i = 0; i < ARRAY_SIZE(l->p); i++) {
		size_t size = rnd(&l->seed) % 20000;
		size_t keep = size < l->size[i] ? size : l->size[i];

		l->p[i] = realloc(l->p[i], size + 1);
		CHECK(l->p[i]);
		CHECK_INTACT(l->p[i], keep & ~7UL, i);
		fill(l->p[i], size + 1, i);
		l->size[i] = size + 1;
	}
	return NULL;
}

/* Objects handed from thread to thread, each of which grows or shrinks them. */
static void realloc_elsewhere(void)
{
	static struct left l[4];
	pthread_t t[4];

	for (size_t k = 0; k < 4; k++)
		l[k].seed = k + 1;
	for (size_t round = 0; round < 200; round++) {
		for (size_t k = 0; k < 4; k++)
			start(&t[k], resize, &l[(k + round) % 4]);
		for (size_t k = 0; k < 4; k++)
			join(t[k], NULL);
	}
	for (size_t k = 0; k < 4; k++)
		for (size_t i = 0; i < ARRAY_SIZE(l[k].p); i++)
			free(l[k].p[i]);
}

static bool stop;

static void *storm_worker(void *arg)
{
	static const size_t span[] = {64, 64, 256, 1024, 1024, 8192};
	struct {
		void *ptr;
		size_t size;
	} o[256] = {{NULL, 0}};
	uint64_t seed = (uintptr_t)arg * 0x9e3779b9 + 1;
	unsigned long n = 0;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		size_t i = rnd(&seed) % ARRAY_SIZE(o);

		if (o[i].ptr) {
			CHECK_INTACT(o[i].ptr, o[i].size, (uintptr_t)o[i].ptr ^ (uintptr_t)arg);
			free(o[i].ptr);
		}
		o[i].size = rnd(&seed) % span[rnd(&seed) % ARRAY_SIZE(span)] + 1;
		o[i].ptr = malloc(o[i].size);
		CHECK(o[i].ptr);
		fill(o[i].ptr, o[i].size, (uintptr_t)o[i].ptr ^ (uintptr_t)arg);
		if (++n % 512 == 0)
			sched_yield();
	}
	for (size_t i = 0; i < ARRAY_SIZE(o); i++)
		free(o[i].ptr);
	return (void *)n;
}

struct mover {
	pthread_t *t;
	size_t n;
	cpu_set_t allowed;
};

/* Moves every thread from CPU to CPU as fast as it can. */
static void *move_about(void *arg)
{
	struct mover *m = arg;
	uint64_t seed = 99;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		cpu_set_t one;
		size_t cpu = rnd(&seed) % CPU_SETSIZE;

		while (!CPU_ISSET(cpu, &m->allowed))
			cpu = (cpu + 1) % CPU_SETSIZE;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		pthread_setaffinity_np(m->t[rnd(&seed) % m->n], sizeof(one), &one);
		usleep(50);
	}
	return NULL;
}

static void migration_storm(void)
{
	enum { N = 8 };
	pthread_t t[N], mover;
	struct mover m = {t, N, {{0}}};

	CHECK(sched_getaffinity(0, sizeof(m.allowed), &m.allowed) == 0);
	for (size_t i = 0; i < N; i++)
		start(&t[i], storm_worker, (void *)(i + 1));
	start(&mover, move_about, &m);
	sleep_ms((long)scaled(3000));
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	join(mover, NULL);
	for (size_t i = 0; i < N; i++)
		join(t[i], NULL);
}

static const char *plugin_path;

static void *load_unload(void *arg)
{
	for (unsigned long i = 0; i < scaled(400); i++) {
		void *h = dlopen(plugin_path, RTLD_NOW | RTLD_LOCAL);
		int (*work)(int);

		CHECK_MSG(h, "dlopen: %s", dlerror());
		work = (int (*)(int))dlsym(h, "plugin_work");
		CHECK(work && work((int)i) > 200);
		CHECK(dlclose(h) == 0);
	}
	return arg;
}

/* The loader allocates with its locks held, also for the thread-local storage of the library. */
static void dlopen_loop(void)
{
	pthread_t t[4], busy[2];
	char path[4096 + 20];

	strcpy(path, own_path());
	strcpy(strrchr(path, '/') + 1, "libplugin.so");
	plugin_path = path;
	if (access(path, R_OK) != 0)
		check_skip("libplugin.so is not beside the program");
	for (size_t i = 0; i < 2; i++)
		start(&busy[i], storm_worker, (void *)(i + 1));
	for (size_t i = 0; i < 4; i++)
		start(&t[i], load_unload, NULL);
	for (size_t i = 0; i < 4; i++)
		join(t[i], NULL);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (size_t i = 0; i < 2; i++)
		join(busy[i], NULL);
}

/*
 * With RTLD_DEEPBIND a library would find libc's malloc and free.  The bare name is found by the
 * search path of this program alone: the loader has to see who asks.
 */
static void deepbind(void)
{
	void *h = dlopen("libplugin.so", RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
	char *(*exchange)(char *, size_t), *held = NULL;

	CHECK_MSG(h, "dlopen: %s", dlerror());
	*(void **)&exchange = dlsym(h, "plugin_exchange");
	CHECK(exchange);
	for (size_t i = 0; i < 3000; i++) {
		held = exchange(held, i * i % 60000 + 1);
		CHECK(held);
		memset(held, 1, i * i % 60000 + 1);
		free(held);
		held = malloc(i * 7 % 5000 + 1);
	}
	free(held);
	CHECK(dlopen("libno-such-library.so", RTLD_NOW) == NULL && dlerror() != NULL);
}

/* Our own handle closed as often as it was opened, and once more: the library stays. */
static void close_self(void)
{
	Dl_info info;
	void *h;

	CHECK(dladdr(dlsym(RTLD_DEFAULT, "malloc"), &info));
	for (int i = 0; i < 10; i++) {
		h = dlopen(info.dli_fname, RTLD_NOW);
		CHECK(h);
		dlclose(h);
	}
	h = dlopen(info.dli_fname, RTLD_NOW);
	CHECK(h);
	dlclose(h);
	dlclose(h);
	for (int i = 0; i < 100000; i++)
		free(opaque(malloc((size_t)i % 4000)));
}

static void *cancelled(void *arg)
{
	for (;;) {
		free(opaque(malloc(200)));
		pthread_testcancel();
	}
	return arg;
}

/* malloc and free are no cancellation points: a thread is cancelled between, never inside. */
static void cancel(void)
{
	for (int i = 0; i < 500; i++) {
		pthread_t t[4];
		void *r;

		for (size_t k = 0; k < 4; k++)
			start(&t[k], cancelled, NULL);
		for (size_t k = 0; k < 4; k++)
			CHECK(pthread_cancel(t[k]) == 0);
		for (size_t k = 0; k < 4; k++) {
			join(t[k], &r);
			CHECK(r == PTHREAD_CANCELED);
		}
	}
}

static void *on_last_cpu(void *arg)
{
	cpu_set_t *set = arg;

	CHECK(pthread_setaffinity_np(pthread_self(), sizeof(*set), set) == 0);
	for (int i = 0; i < 300000; i++) {
		void *p = opaque(malloc((size_t)i % 2000));

		CHECK(p);
		free(p);
	}
	return NULL;
}

/* A program confined to its last CPU: numbers above the count of CPUs it may use. */
static void last_cpu(void)
{
	cpu_set_t all, one;
	pthread_t t[4];

	CHECK(sched_getaffinity(0, sizeof(all), &all) == 0);
	CPU_ZERO(&one);
	for (size_t cpu = CPU_SETSIZE; cpu-- > 0;) {
		if (CPU_ISSET(cpu, &all)) {
			CPU_SET(cpu, &one);
			break;
		}
	}
	for (size_t i = 0; i < 4; i++)
		start(&t[i], on_last_cpu, &one);
	for (size_t i = 0; i < 4; i++)
		join(t[i], NULL);
}

static const struct row rows[] = {
	{"first-operation", first_operation},
	{"free-only", free_only},
	{"outlive", outlive},
	{"cross-free", cross_free},
	{"churn", churn},
	{"crowd", crowd},
	{"realloc-elsewhere", realloc_elsewhere},
	{"migration-storm", migration_storm},
	{"dlopen-loop", dlopen_loop},
	{"deepbind", deepbind},
	{"close-self", close_self},
	{"cancel", cancel},
	{"last-cpu", last_cpu},
};

int main(int argc, char **argv)
{
	return run_rows(argc, argv, rows, ARRAY_SIZE(rows));
}
