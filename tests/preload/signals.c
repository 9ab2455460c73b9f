/*
 * Signals that arrive in the middle of malloc. Handlers do what they may under any libc: either
 * nothing of the heap, or allocate in a thread that was not itself inside malloc.
 */
#include "proc.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>

static bool stop;
static unsigned long hits;

static void *worker(void *arg)
{
	uint64_t seed = (uintptr_t)arg + 1;
	struct {
		void *ptr;
		size_t size;
	} o[128] = {{NULL, 0}};

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		size_t i = rnd(&seed) % ARRAY_SIZE(o);

		if (o[i].ptr) {
			CHECK_INTACT(o[i].ptr, o[i].size, (uintptr_t)o[i].ptr);
			free(o[i].ptr);
		}
		o[i].size = rnd(&seed) % (i < 3 ? 70000 : 700);
		o[i].ptr = malloc(o[i].size);
		CHECK(o[i].ptr);
		fill(o[i].ptr, o[i].size, (uintptr_t)o[i].ptr);
	}
	for (size_t i = 0; i < ARRAY_SIZE(o); i++)
		free(o[i].ptr);
	return NULL;
}

static void on_signal(int sig, void (*fn)(int), int flags)
{
	struct sigaction sa = {.sa_handler = fn, .sa_flags = flags};

	CHECK(sigaction(sig, &sa, NULL) == 0);
}

static void count(int sig)
{
	(void)sig;
	__atomic_fetch_add(&hits, 1, __ATOMIC_RELAXED);
}

static unsigned long signals(void)
{
	return __atomic_load_n(&hits, __ATOMIC_RELAXED);
}

static void run_workers(size_t n, long ms, unsigned long wanted,
			void (*meanwhile)(pthread_t *, size_t))
{
	pthread_t t[8];
	double end = now_sec() + (double)scaled((unsigned long)ms) / 1000;

	CHECK(n <= ARRAY_SIZE(t));
	for (size_t i = 0; i < n; i++)
		CHECK(pthread_create(&t[i], NULL, worker, (void *)i) == 0);
	while (goes_on(end, signals(), wanted))
		meanwhile(t, n);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (size_t i = 0; i < n; i++)
		CHECK(pthread_join(t[i], NULL) == 0);
	CHECK_MSG(signals() > wanted, "only %lu signals", signals());
}

static void idle(pthread_t *t, size_t n)
{
	(void)t;
	(void)n;
	sleep_ms(20);
}

/* A profiler's timer: the handler runs at any instruction of the allocator and returns. */
static void profile_timer(void)
{
	struct itimerval it = {{0, 1000}, {0, 1000}};

	on_signal(SIGPROF, count, SA_RESTART);
	CHECK(setitimer(ITIMER_PROF, &it, NULL) == 0);
	run_workers(6, 2500, 50, idle);
}

static void shoot(pthread_t *t, size_t n)
{
	for (size_t i = 0; i < n; i++)
		pthread_kill(t[i], SIGUSR1);
	usleep(20);
}

/* Far denser than a timer: each thread is shot at as fast as another can. */
static void direct_signals(void)
{
	on_signal(SIGUSR1, count, SA_RESTART);
	run_workers(4, 2500, 1000, shoot);
}

static void allocate(int sig)
{
	int saved = errno;
	void *p[8];

	(void)sig;
	for (size_t i = 0; i < ARRAY_SIZE(p); i++) {
		p[i] = malloc(i * 60 + 1);
		CHECK(p[i]);
		fill(p[i], i * 60 + 1, i);
	}
	for (size_t i = 0; i < ARRAY_SIZE(p); i++) {
		CHECK_INTACT(p[i], i * 60 + 1, i);
		free(p[i]);
	}
	__atomic_fetch_add(&hits, 1, __ATOMIC_RELAXED);
	errno = saved;
}

static void *target(void *arg)
{
	uint64_t x = 1;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
		rnd(&x);
	return arg;
}

static pthread_t target_thread;

static void shoot_target(pthread_t *t, size_t n)
{
	(void)t;
	(void)n;
	pthread_kill(target_thread, SIGUSR2);
	usleep(50);
}

/* Handlers allocate in a thread that does nothing with the heap but in its handlers. */
static void allocating_handler(void)
{
	on_signal(SIGUSR2, allocate, SA_RESTART);
	CHECK(pthread_create(&target_thread, NULL, target, NULL) == 0);
	run_workers(4, 2000, 50, shoot_target);
	CHECK(pthread_join(target_thread, NULL) == 0);
}

/* On the smallest stack that the system allows for handlers: the slow path must fit on it. */
static void small_stack(void)
{
	size_t size = (size_t)sysconf(_SC_MINSIGSTKSZ) + 16 * KIB;
	stack_t ss = {.ss_size = size};

	ss.ss_sp =
		mmap(NULL, size + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(ss.ss_sp != MAP_FAILED);
	CHECK(mprotect(ss.ss_sp, 4096, PROT_NONE) == 0);
	ss.ss_sp = (char *)ss.ss_sp + 4096;
	CHECK(sigaltstack(&ss, NULL) == 0);
	on_signal(SIGUSR2, allocate, SA_ONSTACK);
	for (int i = 0; i < 2000; i++)
		CHECK(raise(SIGUSR2) == 0);
	CHECK(hits == 2000);
}

/* The same for threads: the smallest stack that pthread_create takes. */
static void *on_min_stack(void *arg)
{
	for (size_t size = 1; size < 4 * MIB; size = size * 3 / 2 + 1)
		free(opaque(malloc(size)));
	return arg;
}

static void small_thread_stack(void)
{
	pthread_attr_t attr;
	pthread_t t;

	CHECK(pthread_attr_init(&attr) == 0);
	CHECK(pthread_attr_setstacksize(&attr, (size_t)sysconf(_SC_THREAD_STACK_MIN)) == 0);
	for (int i = 0; i < 100; i++) {
		CHECK(pthread_create(&t, &attr, on_min_stack, NULL) == 0);
		CHECK(pthread_join(t, NULL) == 0);
	}
	pthread_attr_destroy(&attr);
}

static sigjmp_buf out;

static void leave(int sig)
{
	char *p = malloc(500);

	CHECK(p);
	memset(p, sig, 500);
	free(p);
	siglongjmp(out, 1);
}

/* A program that catches its own faults: the handler allocates and jumps out. */
static void fault_and_jump(void)
{
	char *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	volatile int caught = 0;

	CHECK(page != MAP_FAILED);
	on_signal(SIGSEGV, leave, SA_NODEFER);
	for (volatile int i = 0; i < 5000; i++) {
		void *p = opaque(malloc((size_t)i));

		if (sigsetjmp(out, 1) == 0)
			*(volatile char *)page = 1;
		else
			caught++;
		free(p);
	}
	CHECK(caught == 5000);
}

/* The signal mask and dispositions are the program's: no thread of ours takes its signals. */
static void mask_kept(void)
{
	sigset_t set, now;
	void *p;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGCHLD);
	CHECK(pthread_sigmask(SIG_SETMASK, &set, NULL) == 0);
	for (int i = 0; i < 64; i++) {
		p = opaque(malloc(MIB));
		CHECK(p);
		memset(p, 1, MIB);
	}
	sleep_ms(100);
	CHECK(pthread_sigmask(SIG_SETMASK, NULL, &now) == 0);
	for (int sig = 1; sig < 32; sig++)
		CHECK(sigismember(&now, sig) == sigismember(&set, sig));
	/* Blocked here, it must stay pending; a thread that took it would end the process. */
	CHECK(kill(getpid(), SIGTERM) == 0);
	sleep_ms(100);
	CHECK(sigpending(&now) == 0 && sigismember(&now, SIGTERM));
}

/* --- lines that cannot be written --------------------------------------------------------------
 */

/* Descriptor 2 is one of these, which answer a write with a signal. */
static void pipe_without_reader(void)
{
	int ends[2];

	CHECK(pipe(ends) == 0 && dup2(ends[1], 2) == 2);
	close(ends[0]);
	close(ends[1]);
}

static void socket_without_reader(void)
{
	int ends[2];

	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0 && dup2(ends[1], 2) == 2);
	close(ends[0]);
	close(ends[1]);
}

static void full_file(void)
{
	static const struct rlimit none = {0, 0};
	int fd = memfd_create("full", 0);

	CHECK(fd >= 0 && dup2(fd, 2) == 2 && setrlimit(RLIMIT_FSIZE, &none) == 0);
}

static int ends_with(void (*unheard)(void), const char *row)
{
	const char *self = own_path();
	pid_t pid = fork();
	int status;

	CHECK(pid >= 0);
	if (pid == 0) {
		unheard();
		execl(self, self, row, NULL);
		_exit(9);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	return status;
}

static void unheard(void (*how)(void))
{
	setenv("SLABNODE_SAMPLE", "all", 1);
	CHECK(ends_with(how, "_nothing") == 0);
	setenv("SLABNODE_SAMPLE", "0", 1);
	setenv("SLABNODE_STATS", "exit", 1);
	CHECK(ends_with(how, "_nothing") == 0);
	CHECK(ends_with(how, "_kept") == 0);
	setenv("SLABNODE_STATS", "json:/dev/stderr", 1);
	CHECK(ends_with(how, "_nothing") == 0);
	unsetenv("SLABNODE_STATS");
	if (under_slabnode())
		CHECK(WTERMSIG(ends_with(how, "_misuse")) == SIGABRT);
}

static void unheard_pipe(void)
{
	unheard(pipe_without_reader);
}

static void unheard_socket(void)
{
	unheard(socket_without_reader);
}

static void unheard_file(void)
{
	unheard(full_file);
}

static void nothing(void)
{
}

static void misuse(void)
{
	char here[64];

	free(opaque(here + 16));
}

/* What was pending before the start is the program's, and stays. */
static void kept(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0 && raise(SIGPIPE) == 0);
	setenv("SLABNODE_SAMPLE", "all", 1);
	execl(own_path(), own_path(), "_pending", NULL);
}

static void pending(void)
{
	sigset_t now;

	CHECK(sigpending(&now) == 0 && sigismember(&now, SIGPIPE) && !sigismember(&now, SIGXFSZ));
}

static const struct row rows[] = {
	{"profile-timer", profile_timer},
	{"direct-signals", direct_signals},
	{"allocating-handler", allocating_handler},
	{"small-stack", small_stack},
	{"small-thread-stack", small_thread_stack},
	{"fault-and-jump", fault_and_jump},
	{"mask-kept", mask_kept},
	{"unheard-pipe", unheard_pipe},
	{"unheard-socket", unheard_socket},
	{"unheard-file", unheard_file},
	{"_nothing", nothing},
	{"_misuse", misuse},
	{"_kept", kept},
	{"_pending", pending},
};

int main(int argc, char **argv)
{
	return run_rows(argc, argv, rows, ARRAY_SIZE(rows));
}
