/*
 * A program in a sandbox of its own making: from some moment on a system call outside a short list
 * ends it. Threads that were there before go on allocating, also those that had never done so.
 *
 * `_work` is what other sandboxes (cage.c, places.py) run: the same without a filter.
 */
#include "filter.h"

#include <dlfcn.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>

/* What docs/system-calls.md promises to be enough for malloc and free, and an end. */
static const int least[] = {SYS_mmap,	 SYS_munmap, SYS_mprotect, SYS_mremap,
			    SYS_madvise, SYS_futex,  SYS_write,	   SYS_exit_group};

/* What libc needs besides to start threads and to see them end. */
static const int with_threads[] = {
	SYS_mmap,	  SYS_munmap,	      SYS_mprotect,	   SYS_mremap,
	SYS_madvise,	  SYS_futex,	      SYS_write,	   SYS_exit,
	SYS_exit_group,	  SYS_clone3,	      SYS_clone,	   SYS_rseq,
	SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_set_robust_list, SYS_rt_sigreturn};

#define OBJECTS 300

struct object {
	void *ptr;
	size_t size;
};

static void check_and_free(struct object *o)
{
	if (o->ptr)
		CHECK_INTACT(o->ptr, o->size, o->size);
	free(o->ptr);
	*o = (struct object){NULL, 0};
}

static size_t some_size(uint64_t *seed)
{
	static const size_t span[] = {64, 300, 300, 2000, 40000, 700000};
	uint64_t r = rnd(seed);

	return rnd(seed) % (r % 400 == 0 ? 9 * MIB : span[r % ARRAY_SIZE(span)]) + 1;
}

static void renew(struct object *o, uint64_t *seed)
{
	size_t size = some_size(seed), align = 16UL << rnd(seed) % 10;

	switch (rnd(seed) % 4) {
	case 0:
		check_and_free(o);
		o->ptr = calloc(1, size);
		CHECK(o->ptr && all_zero(o->ptr, size));
		break;
	case 1:
		check_and_free(o);
		o->ptr = aligned_alloc(align, size);
		CHECK(o->ptr && (uintptr_t)o->ptr % align == 0);
		break;
	case 2:
		check_and_free(o);
		o->ptr = malloc(size);
		CHECK(o->ptr);
		break;
	default: /* also large ones that grow, which moves their pages */
		if (o->ptr)
			CHECK_INTACT(o->ptr, o->size, o->size);
		o->ptr = realloc(o->ptr, size);
		CHECK(o->ptr);
	}
	o->size = size;
	fill(o->ptr, size, size);
}

static void work(uint64_t seed, unsigned long rounds)
{
	struct object o[OBJECTS] = {{NULL, 0}};

	for (unsigned long i = 0; i < rounds; i++) {
		renew(&o[rnd(&seed) % OBJECTS], &seed);
		if (i % 1000 == 999)
			malloc_trim(0);
	}
	for (size_t i = 0; i < OBJECTS; i++)
		check_and_free(&o[i]);
}

/* Threads that wait for the filter; they stay when they are done, since libc's end of a thread asks
 * for more. */
enum { THREADS = 6 };

static unsigned long rounds; /* of each thread, when confined */
static sem_t ready, confined, done, never;

static void await(sem_t *sem)
{
	while (sem_wait(sem) != 0)
		CHECK(errno == EINTR);
}

static void *prisoner(void *arg)
{
	uintptr_t n = (uintptr_t)arg;

	if (n % 2 == 0) /* the others have never allocated */
		work(n + 1, 50);
	CHECK(sem_post(&ready) == 0);
	await(&confined);
	work(n + 100, rounds);
	CHECK(sem_post(&done) == 0);
	await(&never);
	return NULL;
}

static void start_prisoners(void)
{
	pthread_t t;

	CHECK(!sem_init(&ready, 0, 0) && !sem_init(&confined, 0, 0));
	CHECK(!sem_init(&done, 0, 0) && !sem_init(&never, 0, 0));
	for (uintptr_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&t, NULL, prisoner, (void *)i) == 0);
	for (size_t i = 0; i < THREADS; i++)
		await(&ready);
}

static void imprison(enum asking how, const int *calls, size_t n)
{
	work(7, 100);
	start_prisoners();
	work(8, 300);
	confine(how, calls, n, SECCOMP_RET_TRAP);
	for (size_t i = 0; i < THREADS; i++)
		CHECK(sem_post(&confined) == 0);
}

static void imprison_all(enum asking how, const int *calls, size_t n)
{
	rounds = scaled(400);
	imprison(how, calls, n);
	work(9, rounds);
	for (size_t i = 0; i < THREADS; i++)
		await(&done);
	_exit(0);
}

/* Arrays are emptied all the time while threads use them: who waits for another may only do so by
 * futex. */
static void trimming(void)
{
	double end = now_sec() + (double)scaled(2);

	rounds = ~0UL;
	imprison(BY_SYSCALL, least, ARRAY_SIZE(least));
	while (now_sec() < end)
		malloc_trim(0);
	_exit(0);
}

static void by_prctl(void)
{
	imprison_all(BY_PRCTL, least, ARRAY_SIZE(least));
}

static void by_seccomp(void)
{
	imprison_all(BY_SYSCALL, least, ARRAY_SIZE(least));
}

/*
 * Nobody told the library, and libc ends a program whose new threads cannot be registered as its
 * first one is. The program starts none, and allocates enough for one of the library's.
 */
static void no_sequences_later(void)
{
	static const int calls[] = {SYS_mmap,
				    SYS_munmap,
				    SYS_mprotect,
				    SYS_mremap,
				    SYS_madvise,
				    SYS_futex,
				    SYS_write,
				    SYS_exit,
				    SYS_exit_group,
				    SYS_clone3,
				    SYS_clone,
				    SYS_getpid,
				    SYS_gettid,
				    SYS_membarrier,
				    SYS_rt_sigprocmask,
				    SYS_rt_sigaction,
				    SYS_set_robust_list,
				    SYS_clock_nanosleep};
	static void *p[40];

	confine(BY_INSTRUCTION, calls, ARRAY_SIZE(calls), SECCOMP_RET_ERRNO | EPERM);
	for (size_t i = 0; i < ARRAY_SIZE(p); i++)
		CHECK(p[i] = calloc(1, MIB));
	sleep_ms(300); /* for such a thread to begin */
	for (size_t i = 0; i < ARRAY_SIZE(p); i++)
		free(p[i]);
	work(19, 300);
	_exit(0);
}

/* Nobody told the library: it empties other CPUs' arrays by membarrier when memory is short. */
static void by_instruction_row(void)
{
	static const int calls[] = {SYS_mmap,	SYS_munmap,	SYS_mprotect,
				    SYS_mremap, SYS_madvise,	SYS_futex,
				    SYS_write,	SYS_exit_group, SYS_membarrier};

	imprison_all(BY_INSTRUCTION, calls, ARRAY_SIZE(calls));
}

/* The filter at once, as the first thing that the program does. */
static void at_once(void)
{
	confine(BY_SYSCALL, least, ARRAY_SIZE(least), SECCOMP_RET_TRAP);
	work(11, scaled(1500));
	_exit(0);
}

/* A worker of a browser or server: threads are allowed, and whatever else libc needs for them. */
static void *short_worker(void *arg)
{
	work((uintptr_t)arg + 20, 30);
	return arg;
}

static void threads_later(void)
{
	work(12, 100);
	confine(BY_SYSCALL, with_threads, ARRAY_SIZE(with_threads), SECCOMP_RET_TRAP);
	for (int round = 0; round < 15; round++) {
		pthread_t t[4];

		for (uintptr_t i = 0; i < ARRAY_SIZE(t); i++)
			CHECK(pthread_create(&t[i], NULL, short_worker, (void *)i) == 0);
		for (size_t i = 0; i < ARRAY_SIZE(t); i++)
			CHECK(pthread_join(t[i], NULL) == 0);
	}
	_exit(0);
}

/* Threads that end by pthread_exit, which the library watches. */
static void *leaver(void *arg)
{
	work(13, 20);
	pthread_exit(arg);
}

static void threads_leave(void)
{
	pthread_t t;

	/* libc loads what it needs for it the first time. */
	CHECK(!pthread_create(&t, NULL, leaver, NULL) && !pthread_join(t, NULL));
	confine(BY_SYSCALL, with_threads, ARRAY_SIZE(with_threads), SECCOMP_RET_TRAP);
	for (int round = 0; round < 60; round++)
		CHECK(!pthread_create(&t, NULL, leaver, NULL) && !pthread_join(t, NULL));
	_exit(0);
}

/* A sandbox that forks, as servers with a process for each client do. */
static void forks(void)
{
	static const int calls[] = {
		SYS_mmap,	    SYS_munmap, SYS_mprotect,	     SYS_mremap,    SYS_madvise,
		SYS_futex,	    SYS_write,	SYS_exit_group,	     SYS_clone,	    SYS_wait4,
		SYS_rt_sigprocmask, SYS_rseq,	SYS_set_robust_list, SYS_membarrier};
	imprison(BY_SYSCALL, calls, ARRAY_SIZE(calls));
	for (int i = 0; i < 12; i++) {
		pid_t pid = fork();
		int status;

		CHECK(pid >= 0);
		if (pid == 0) {
			work((uint64_t)i + 30, 50);
			_exit(0);
		}
		CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	}
	_exit(0);
}

/* A filter over a filter, and capabilities in between: each time the library looks whether a thread
 * of its own is in the way. */
static void twice(void)
{
	static const int calls[] = {SYS_mmap,	 SYS_munmap,  SYS_mprotect,    SYS_mremap,
				    SYS_madvise, SYS_futex,   SYS_write,       SYS_exit_group,
				    SYS_prctl,	 SYS_seccomp, SYS_rt_sigaction};

	work(16, 200);
	confine(BY_SYSCALL, calls, ARRAY_SIZE(calls), SECCOMP_RET_TRAP);
	work(17, 200);
	CHECK(prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) == 0);
	confine(BY_PRCTL, least, ARRAY_SIZE(least), SECCOMP_RET_TRAP);
	work(18, 200);
	_exit(0);
}

/* The oldest sandbox: read, write, exit. What is at hand must be given without any call. */
static void strict(void)
{
	static void *p[2000];
	cpu_set_t here;

	/* What is freed waits on this CPU; another one might have to ask the system for memory. */
	CPU_ZERO(&here);
	CPU_SET((size_t)sched_getcpu(), &here);
	CHECK(sched_setaffinity(0, sizeof(here), &here) == 0);
	for (size_t i = 0; i < ARRAY_SIZE(p); i++)
		p[i] = malloc(i % 500);
	for (size_t i = 0; i < ARRAY_SIZE(p); i++)
		free(p[i]);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0)
		check_skip("seccomp filters are not permitted here");
	for (int round = 0; round < 20; round++) {
		for (size_t i = 0; i < ARRAY_SIZE(p); i++)
			p[i] = malloc(i % 500);
		for (size_t i = 0; i < ARRAY_SIZE(p); i++)
			free(p[i]);
	}
	by_instruction(SYS_exit, 0, 0, 0);
}

/* --- system calls that only libc may make ----------------------------------------------------- */

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif
#define DISPATCH_ON    1
#define DISPATCH_BLOCK 1

static volatile sig_atomic_t dispatched;
static volatile char dispatch;

static void on_dispatched(int sig)
{
	(void)sig;
	dispatched++;
}

/* Where the instructions of the library with `inside` are. */
struct text {
	uintptr_t inside, begin, end;
};

static int find_text(struct dl_phdr_info *info, size_t size, void *data)
{
	struct text *text = data;

	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		uintptr_t begin = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;

		if (info->dlpi_phdr[i].p_type == PT_LOAD &&
		    (info->dlpi_phdr[i].p_flags & PF_X) != 0 && text->inside >= begin &&
		    text->inside < begin + info->dlpi_phdr[i].p_memsz) {
			text->begin = begin;
			text->end = begin + info->dlpi_phdr[i].p_memsz;
		}
	}
	return 0;
}

/* Emulators, and programs that trace themselves, catch all system calls but libc's. */
static void dispatched_but_libc(void)
{
	struct text libc = {.inside = (uintptr_t)dlsym(RTLD_DEFAULT, "getpid")};
	struct sigaction sa = {.sa_handler = on_dispatched};
	char name[16];

	dl_iterate_phdr(find_text, &libc);
	CHECK(libc.begin != 0);
	CHECK(sigaction(SIGSYS, &sa, NULL) == 0);
	if (prctl(PR_SET_SYSCALL_USER_DISPATCH, DISPATCH_ON, libc.begin, libc.end - libc.begin,
		  &dispatch) != 0)
		check_skip("this kernel dispatches no system calls to programs");
	dispatch = DISPATCH_BLOCK;
	CHECK(syscall(SYS_getpid) == getpid());
	CHECK(prctl(PR_GET_NAME, name) == 0);
	CHECK(unshare(0) == 0);
	work(12, scaled(1500));
	malloc_trim(0);
	CHECK_MSG(dispatched == 0, "%d system calls are not libc's", (int)dispatched);
	by_instruction(SYS_getpid, 0, 0, 0); /* the handler is there */
	dispatch = 0;
	CHECK(dispatched == 1);
}

static void only_work(void)
{
	pthread_t t[4];
	size_t n = 0;

	work(1, scaled(1000));
	while (n < ARRAY_SIZE(t) &&
	       pthread_create(&t[n], NULL, short_worker, (void *)(uintptr_t)n) == 0)
		n++;
	while (n > 0)
		CHECK(pthread_join(t[--n], NULL) == 0);
	for (int i = 0; i < 3; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			work(2, 100);
			_exit(0);
		}
		if (pid > 0)
			wait_exit(pid, 0);
	}
	work(3, 100);
	dprintf(1, "worked\n");
}

static const struct row rows[] = {
	{"trimming", trimming},
	{"by-prctl", by_prctl},
	{"by-seccomp", by_seccomp},
	{"by-instruction", by_instruction_row},
	{"no-sequences-later", no_sequences_later},
	{"at-once", at_once},
	{"threads-later", threads_later},
	{"threads-leave", threads_leave},
	{"forks", forks},
	{"twice", twice},
	{"strict", strict},
	{"dispatched-but-libc", dispatched_but_libc},
	{"_work", only_work},
};

int main(int argc, char **argv)
{
	return run_rows(argc, argv, rows, ARRAY_SIZE(rows));
}
