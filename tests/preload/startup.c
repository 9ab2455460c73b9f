/*
 * malloc as the first and the last thing that a process or a thread does: before constructors, in
 * atexit and quick_exit handlers, in destructors of thread-specific data and of thread-locals.
 */
#include "proc.h"

#include <limits.h>
#include <pthread.h>

static void *from_preinit[40];
static void *from_constructor[40];
static void *in_exit[40];

static void take_all(void **p, size_t n, size_t step)
{
	for (size_t i = 0; i < n; i++) {
		p[i] = malloc(i * step);
		CHECK(p[i]);
		fill(p[i], i * step, i);
	}
}

static void give_all(void **p, size_t n, size_t step)
{
	for (size_t i = 0; i < n; i++) {
		CHECK_INTACT(p[i], i * step, i);
		free(p[i]);
		p[i] = NULL;
	}
}

static void at_preinit(int argc, char **argv, char **envp)
{
	(void)argc;
	(void)argv;
	(void)envp;
	take_all(from_preinit, ARRAY_SIZE(from_preinit), 333);
}

__attribute__((section(".preinit_array"),
	       used)) static void (*const preinit_entry)(int, char **, char **) = at_preinit;

__attribute__((constructor(101))) static void first_constructor(void)
{
	give_all(from_preinit, 20, 333);
	take_all(from_preinit, 20, 333);
}

__attribute__((constructor)) static void constructor(void)
{
	take_all(from_constructor, ARRAY_SIZE(from_constructor), 5000);
}

static void preinit(void)
{
	give_all(from_preinit, ARRAY_SIZE(from_preinit), 333);
	give_all(from_constructor, ARRAY_SIZE(from_constructor), 5000);
	for (int i = 0; i < 100000; i++)
		free(opaque(malloc((size_t)i % 3000)));
}

static void leave_42(void)
{
	give_all(in_exit, ARRAY_SIZE(in_exit), 777);
	_exit(42);
}

static void exit_work(void)
{
	void *p[40];

	take_all(p, ARRAY_SIZE(p), 6000);
	give_all(p, ARRAY_SIZE(p), 6000);
	give_all(from_preinit, 10, 333);
	take_all(from_preinit, 10, 333);
}

static void *exit_thread(void *arg)
{
	for (;;)
		free(opaque(malloc((size_t)(uintptr_t)arg)));
	return NULL;
}

/* Handlers run in reverse order, so the one registered first ends the child with the status. */
static void exit_handlers(bool quick, bool threads)
{
	pid_t pid = fork();
	pthread_t t;

	CHECK(pid >= 0);
	if (pid == 0) {
		take_all(in_exit, ARRAY_SIZE(in_exit), 777);
		CHECK((quick ? at_quick_exit : atexit)(leave_42) == 0);
		/* More than fit glibc's static block of 32, so that exit frees some itself. */
		for (int i = 0; i < 100; i++)
			CHECK((quick ? at_quick_exit : atexit)(exit_work) == 0);
		for (uintptr_t i = 0; threads && i < 4; i++)
			CHECK(!pthread_create(&t, NULL, exit_thread, (void *)(i * 100 + 8)));
		alarm(120);
		if (quick)
			quick_exit(3);
		exit(3);
	}
	wait_exit(pid, 42);
}

static void at_exit(void)
{
	exit_handlers(false, false);
}

static void at_exit_threads(void)
{
	for (int i = 0; i < 5; i++)
		exit_handlers(false, true);
}

static void at_quick(void)
{
	exit_handlers(true, false);
	exit_handlers(true, true);
}

/*
 * Thread-specific data: glibc keeps the first 32 keys in the thread itself and allocates a block
 * for the next, which it frees after the destructors. Destructors here allocate and set the value
 * again, so that all four rounds run.
 */
#define FIRST_KEY 31
#define LAST_KEY  40

static pthread_key_t keys[LAST_KEY + 1];
static unsigned long destroyed;

struct keyed {
	int key;
	int round;
	char fill[300];
};

static void destroy(void *arg)
{
	struct keyed *k = arg;
	char *p = malloc(2000);

	CHECK(p && k->fill[299] == (char)k->key);
	memset(p, 1, 2000);
	__atomic_fetch_add(&destroyed, 1, __ATOMIC_RELAXED);
	if (k->round < PTHREAD_DESTRUCTOR_ITERATIONS - 1) {
		struct keyed *next = malloc(sizeof(*next));

		CHECK(next);
		*next = *k;
		next->round++;
		CHECK(pthread_setspecific(keys[k->key], next) == 0);
	}
	free(p);
	free(k);
}

static void *keyed_thread(void *arg)
{
	(void)arg;
	for (int i = FIRST_KEY; i <= LAST_KEY; i++) {
		struct keyed *k = malloc(sizeof(*k));

		CHECK(k);
		k->key = i;
		k->round = 0;
		memset(k->fill, i, sizeof(k->fill));
		CHECK(pthread_setspecific(keys[i], k) == 0);
	}
	return NULL;
}

static void key_destructors(void)
{
	enum { THREADS = 2000 };
	long before = 0;

	for (int i = 0; i <= LAST_KEY; i++)
		CHECK(pthread_key_create(&keys[i], destroy) == 0);
	for (int i = 0; i < THREADS; i++) {
		pthread_t t[2];

		CHECK(!pthread_create(&t[0], NULL, keyed_thread, NULL));
		CHECK(!pthread_create(&t[1], NULL, keyed_thread, NULL));
		CHECK(!pthread_join(t[0], NULL) && !pthread_join(t[1], NULL));
		if (i == THREADS / 10)
			before = rss_kib();
	}
	CHECK_MSG(destroyed == 2UL * THREADS * (LAST_KEY - FIRST_KEY + 1) *
				       PTHREAD_DESTRUCTOR_ITERATIONS,
		  "%lu destructors ran", destroyed);
	CHECK_MSG(rss_kib() - before < 4096, "RSS grew by %ld KiB", rss_kib() - before);
}

/* What C++ compilers call for thread_local objects; they run before the keys' destructors. */
extern int __cxa_thread_atexit_impl(void (*)(void *), void *, void *);
extern void *__dso_handle;

static void tls_dtor(void *arg)
{
	char *p = arg;

	CHECK(p[99] == 9);
	p = realloc(p, 100000);
	CHECK(p && p[99] == 9);
	free(p);
	__atomic_fetch_add(&destroyed, 1, __ATOMIC_RELAXED);
}

static void *tls_thread(void *arg)
{
	(void)arg;
	for (int i = 0; i < 20; i++) {
		char *p = malloc(100);

		CHECK(p);
		p[99] = 9;
		CHECK(__cxa_thread_atexit_impl(tls_dtor, p, &__dso_handle) == 0);
	}
	return NULL;
}

static void tls_destructors(void)
{
	pthread_t t;

	for (int i = 0; i < 500; i++) {
		CHECK(!pthread_create(&t, NULL, tls_thread, NULL) && !pthread_join(t, NULL));
	}
	CHECK(destroyed == 500 * 20);
}

/* A program that is gone at once, a thousand times: start and end must not depend on luck. */
static void brief(void)
{
	const char *self = own_path();

	for (int i = 0; i < 200; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			execl(self, self, "_nothing", NULL);
			_exit(9);
		}
		wait_exit(pid, 0);
	}
}

static void nothing(void)
{
}

/* A process with no environment at all: no PATH, no HOME, only the preload itself. */
static void bare_environment(void)
{
	char preload[4096] = "LD_PRELOAD=";
	char *env[] = {preload, NULL};
	char *argv[] = {(char *)own_path(), (char *)"preinit", NULL};
	pid_t pid;

	if (getenv("LD_PRELOAD"))
		strncat(preload, getenv("LD_PRELOAD"), sizeof(preload) - 20);
	pid = fork();
	if (pid == 0) {
		execve(argv[0], argv, env);
		_exit(9);
	}
	wait_exit(pid, 0);
}

/* How deep the stack was until now: with RLIMIT_STACK at its least there are 16 KiB of it, which
 * arguments and environment share.  The loader takes some 7 KiB for any preloaded library. */
static void little_stack(void)
{
	const volatile uint64_t *here = __builtin_frame_address(0);
	size_t deepest = 0;

	for (size_t i = 64; i < 64 * KIB / sizeof(*here); i++)
		if (here[-(ptrdiff_t)i] != 0)
			deepest = i * sizeof(*here);
	CHECK_MSG(deepest <= 8 * KIB, "%zu bytes of stack were used", deepest);
}

static const struct row rows[] = {
	{"preinit", preinit},
	{"atexit", at_exit},
	{"atexit-threads", at_exit_threads},
	{"quick-exit", at_quick},
	{"key-destructors", key_destructors},
	{"tls-destructors", tls_destructors},
	{"brief", brief},
	{"bare-environment", bare_environment},
	{"little-stack", little_stack},
	{"_nothing", nothing},
};

int main(int argc, char **argv)
{
	return run_rows(argc, argv, rows, ARRAY_SIZE(rows));
}
