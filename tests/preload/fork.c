/*
 * fork in all its forms while other threads allocate. The child must find a whole heap with no lock
 * held; what it does with the memory must not show in the parent.
 */
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

extern char **environ;

static bool stop;

static void *busy(void *arg)
{
	uint64_t seed = (uintptr_t)arg + 1;
	void *p[64] = {NULL};

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		size_t i = rnd(&seed) % ARRAY_SIZE(p);

		free(p[i]);
		p[i] = malloc(rnd(&seed) % (i == 0 ? 300000 : 2000));
		CHECK(p[i]);
		*(volatile char *)p[i] = 1;
	}
	for (size_t i = 0; i < ARRAY_SIZE(p); i++)
		free(p[i]);
	return NULL;
}

static void start_busy(pthread_t *t, size_t n)
{
	for (size_t i = 0; i < n; i++)
		CHECK(pthread_create(&t[i], NULL, busy, (void *)i) == 0);
}

static void stop_busy(pthread_t *t, size_t n)
{
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (size_t i = 0; i < n; i++)
		CHECK(pthread_join(t[i], NULL) == 0);
}

/* n threads run fn beside others that allocate. */
static void beside_busy(size_t n, void *(*fn)(void *), size_t nr_busy)
{
	pthread_t t[16], b[4];

	CHECK(n <= ARRAY_SIZE(t) && nr_busy <= ARRAY_SIZE(b));
	start_busy(b, nr_busy);
	for (uintptr_t i = 0; i < n; i++)
		CHECK(pthread_create(&t[i], NULL, fn, (void *)i) == 0);
	for (size_t i = 0; i < n; i++)
		CHECK(pthread_join(t[i], NULL) == 0);
	stop_busy(b, nr_busy);
}

/* What a child does: it touches every size, so a lock left held hangs it and the alarm shows it. */
static void child_work(uint64_t seed)
{
	void *p[200];
	size_t size[200];

	alarm(30);
	for (size_t i = 0; i < ARRAY_SIZE(p); i++) {
		size[i] = rnd(&seed) % (i % 25 == 0 ? 500000 : 4000);
		p[i] = malloc(size[i]);
		CHECK(p[i]);
		fill(p[i], size[i], i);
	}
	for (size_t i = 0; i < ARRAY_SIZE(p); i++) {
		CHECK_INTACT(p[i], size[i], i);
		free(p[i]);
	}
}

static void *child_thread(void *arg)
{
	child_work((uintptr_t)arg + 5);
	return NULL;
}

static void fork_worker(uint64_t seed)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		child_work(seed);
		_exit(0);
	}
	wait_exit(pid, 0);
}

static void with_threads(void)
{
	enum { N = 8 };
	pthread_t t[N], own;

	start_busy(t, N);
	for (unsigned long i = 0; i < scaled(120); i++) {
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (pid == 0) {
			child_work(i + 1);
			if (i % 4 == 0)
				fork_worker(i + 2);
			if (i % 4 == 1) {
				CHECK(!pthread_create(&own, NULL, child_thread, NULL));
				CHECK(!pthread_join(own, NULL));
			}
			_exit(0);
		}
		wait_exit(pid, 0);
	}
	stop_busy(t, N);
}

/* Several threads fork at once while others allocate. */
static void *forker(void *arg)
{
	for (uintptr_t i = 0; i < 60; i++)
		fork_worker(i + (uintptr_t)arg * 1000 + 1);
	return NULL;
}

static void many_forkers(void)
{
	beside_busy(4, forker, 4);
}

/* Each generation adds objects, checks all that it inherited, and forks the next. */
static void nested(void)
{
	enum { DEPTH = 24 };
	static void *p[DEPTH][20];
	static size_t size[DEPTH][20];
	uint64_t seed = 5;

	for (size_t d = 0; d < DEPTH; d++) {
		pid_t pid;

		for (size_t i = 0; i < 20; i++) {
			size[d][i] = rnd(&seed) % 9000;
			p[d][i] = malloc(size[d][i]);
			CHECK(p[d][i]);
			fill(p[d][i], size[d][i], d * 20 + i);
		}
		pid = fork();
		CHECK(pid >= 0);
		if (pid == 0) {
			alarm(60);
			continue;
		}
		wait_exit(pid, 0);
		for (size_t g = 0; g <= d; g++) {
			for (size_t i = 0; i < 20; i++) {
				CHECK_INTACT(p[g][i], size[g][i], g * 20 + i);
				free(p[g][i]);
			}
		}
		if (d == 0)
			return;
		_exit(0);
	}
	_exit(0);
}

/* Both sides free and rewrite what both inherited: neither may see the other's doings. */
static void apart(void)
{
	static void *p[3000];

	for (size_t i = 0; i < ARRAY_SIZE(p); i++) {
		p[i] = malloc(i % 700 + 1);
		CHECK(p[i]);
		fill(p[i], i % 700 + 1, i);
	}
	for (int round = 0; round < 20; round++) {
		pid_t pid = fork();
		uint64_t mark = pid ? 1 : 1000000;

		CHECK(pid >= 0);
		for (size_t i = 0; i < ARRAY_SIZE(p); i++) {
			CHECK_INTACT(p[i], i % 700 + 1, round ? i + 1 : i);
			free(p[i]);
		}
		for (size_t i = 0; i < ARRAY_SIZE(p); i++) {
			p[i] = malloc(i % 700 + 1);
			CHECK(p[i]);
			fill(p[i], i % 700 + 1, i + mark);
		}
		for (size_t i = 0; i < ARRAY_SIZE(p); i++)
			CHECK_INTACT(p[i], i % 700 + 1, i + mark);
		if (pid == 0)
			_exit(0);
		wait_exit(pid, 0);
	}
}

/* Of the forking thread: several may be between their handlers at once. */
static __thread char *handler_data[3];

static void take_data(int which)
{
	free(handler_data[which]);
	handler_data[which] = malloc(40000);
	CHECK(handler_data[which]);
	memset(handler_data[which], which, 40000);
	for (int i = 0; i < 300; i++)
		free(opaque(malloc((size_t)i * 7)));
}

static void on_prepare(void)
{
	take_data(0);
}

static void on_parent(void)
{
	take_data(1);
}

static void on_child(void)
{
	take_data(2);
}

/* Fork handlers of the program allocate, whichever side of the library's own they were set. */
__attribute__((constructor)) static void register_early(void)
{
	if (getenv("TEST_ATFORK"))
		CHECK(pthread_atfork(on_prepare, on_parent, on_child) == 0);
}

static void atfork_handlers(void)
{
	pthread_t t[4];

	for (int i = 0; i < 4; i++)
		CHECK(pthread_atfork(on_prepare, on_parent, on_child) == 0);
	start_busy(t, 4);
	for (int i = 0; i < 100; i++) {
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (pid == 0) {
			child_work((uint64_t)i + 1);
			CHECK(handler_data[2] && handler_data[2][39999] == 2);
			_exit(0);
		}
		wait_exit(pid, 0);
	}
	stop_busy(t, 4);
	CHECK(handler_data[0] && handler_data[1] && !handler_data[2]);
}

static volatile sig_atomic_t forks_done;

static void fork_in_handler(int sig)
{
	int saved = errno;
	pid_t pid = fork();

	(void)sig;
	if (pid == 0)
		_exit(0);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	forks_done++;
	errno = saved;
}

static void handle(int sig, void (*fn)(int))
{
	struct sigaction sa = {.sa_handler = fn, .sa_flags = SA_RESTART};

	CHECK(sigaction(sig, &sa, NULL) == 0);
}

/* As glibc's own test of this: the one thread of a process is interrupted inside malloc. */
static void in_handler(void)
{
	pid_t parent = getpid(), pid;
	uint64_t seed = 1;
	double end;

	handle(SIGUSR1, fork_in_handler); /* the child may be faster */
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		while (getppid() == parent && kill(parent, SIGUSR1) == 0)
			usleep(1500);
		_exit(0);
	}
	end = now_sec() + 0.6;
	while (goes_on(end, (unsigned long)forks_done, 100))
		for (int i = 0; i < 1000; i++)
			free(opaque(malloc(rnd(&seed) % 3000)));
	CHECK(kill(pid, SIGKILL) == 0);
	CHECK(waitpid(pid, NULL, 0) == pid);
	CHECK_MSG(forks_done > 50, "only %d forks", (int)forks_done);
}

/* With threads about, only one that is not inside malloc itself may fork from a handler. */
static void in_handler_threads(void)
{
	sigset_t set;
	pthread_t t[6];

	handle(SIGUSR1, fork_in_handler);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
	start_busy(t, 6);
	CHECK(pthread_sigmask(SIG_UNBLOCK, &set, NULL) == 0);
	for (int i = 0; i < 100; i++)
		CHECK(pthread_kill(pthread_self(), SIGUSR1) == 0);
	CHECK(forks_done == 100);
	stop_busy(t, 6);
}

/* _Fork and a bare clone run no handlers: their child may do no more than exec. */
static void bare(void)
{
	pthread_t t[4];

	start_busy(t, 4);
	for (int i = 0; i < 200; i++) {
		pid_t pid = i & 1 ? _Fork()
				  : (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);

		CHECK(pid >= 0);
		if (pid == 0) {
			execl("/bin/true", "true", NULL);
			_exit(9);
		}
		wait_exit(pid, 0);
	}
	stop_busy(t, 4);
}

/* The child of a bare clone asks for what no hidden thread may stand in the way of: it has none,
 * and must not wait for its parent's. */
static void bare_alone(void)
{
	/* Enough for a control thread. */
	free(opaque(malloc(9 * MIB)));
	free(opaque(malloc(9 * MIB)));
	for (int i = 0; i < 5; i++) {
		pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);

		CHECK(pid >= 0);
		if (pid == 0) {
			double begin = now_sec();

			CHECK(prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) == 0);
			CHECK_MSG(now_sec() - begin < 2, "it took %f s", now_sec() - begin);
			_exit(0);
		}
		wait_exit(pid, 0);
	}
}

static void vfork_exec(void)
{
	pthread_t t[4];

	start_busy(t, 4);
	for (int i = 0; i < 200; i++) {
		pid_t pid = vfork();

		CHECK(pid >= 0);
		if (pid == 0) {
			execl("/bin/true", "true", NULL);
			_exit(9);
		}
		wait_exit(pid, 0);
	}
	stop_busy(t, 4);
}

/* A shell's way: the vfork child of a single-threaded parent allocates before it execs. */
static void vfork_malloc(void)
{
	for (int i = 0; i < 200; i++) {
		char *volatile from_child = NULL;
		pid_t pid = vfork();

		CHECK(pid >= 0);
		if (pid == 0) {
			char *p = malloc((size_t)i * 100 + 1);

			memset(p, 5, (size_t)i * 100 + 1);
			free(opaque(malloc(300)));
			from_child = p;
			execl("/bin/true", "true", NULL);
			_exit(9);
		}
		wait_exit(pid, 0);
		CHECK(from_child && from_child[i * 100] == 5);
		free(from_child);
	}
}

static void *checking(void *arg)
{
	uint64_t seed = (uintptr_t)arg + 1;
	void *p[100] = {NULL};

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		size_t i = rnd(&seed) % ARRAY_SIZE(p), size = 64 + i % 3 * 100;

		if (p[i]) {
			CHECK_INTACT(p[i], size, i + (uintptr_t)arg * 1000);
			free(p[i]);
		}
		p[i] = malloc(size);
		CHECK(p[i]);
		fill(p[i], size, i + (uintptr_t)arg * 1000);
	}
	return NULL;
}

/* Any CPU but the one that the calling thread runs on, where there is another. */
static void go_elsewhere(void)
{
	cpu_set_t set;
	int here = sched_getcpu();

	if (sched_getaffinity(0, sizeof(set), &set) != 0 || CPU_COUNT(&set) < 2 || here < 0)
		return;
	CPU_CLR((size_t)here, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/*
 * The same among threads: the child has its parent's thread-local storage, but runs on another CPU
 * than its parent did, and what is cached for that one belongs to the threads there.
 */
static void vfork_malloc_threads(void)
{
	enum { N = 4, KEPT = 200 };
	static void *kept[KEPT];
	pthread_t t[N];

	for (uintptr_t i = 0; i < N; i++)
		CHECK(pthread_create(&t[i], NULL, checking, (void *)i) == 0);
	for (unsigned long round = 0; round < scaled(40); round++) {
		pid_t pid;

		for (size_t i = 0; i < KEPT; i++)
			kept[i] = malloc(64 + i % 3 * 100);
		pid = vfork();
		CHECK(pid >= 0);
		if (pid == 0) {
			go_elsewhere();
			for (int n = 0; n < 50; n++) {
				for (size_t i = 0; i < KEPT; i++) {
					free(kept[i]);
					kept[i] = malloc(64 + i % 3 * 100);
				}
			}
			for (size_t i = 0; i < KEPT; i++)
				fill(kept[i], 64 + i % 3 * 100, i + 7777);
			_exit(0);
		}
		wait_exit(pid, 0);
		for (size_t i = 0; i < KEPT; i++) {
			CHECK_INTACT(kept[i], 64 + i % 3 * 100, i + 7777);
			free(kept[i]);
		}
	}
	stop_busy(t, N);
}

static void *vforker(void *arg)
{
	for (int i = 0; i < 40; i++) {
		pid_t pid = vfork();

		CHECK(pid >= 0);
		if (pid == 0) {
			free(opaque(malloc((size_t)i * 50)));
			execl("/bin/true", "true", NULL);
			_exit(9);
		}
		wait_exit(pid, 0);
	}
	return arg;
}

/* From several threads at once, which stop only themselves. */
static void vfork_storm(void)
{
	beside_busy(6, vforker, 2);
}

/* A child by clone() with a stack of its own, as container tools start theirs: no handlers run, and
 * in a program with one thread no lock can be held. */
static int cloned(void *arg)
{
	child_work((uintptr_t)arg);
	return 0;
}

static void by_clone(void)
{
	enum { STACK = 256 * 1024 };
	char *stack = malloc(STACK);

	CHECK(stack);
	for (uintptr_t i = 0; i < 40; i++) {
		pid_t pid = clone(cloned, stack + STACK, SIGCHLD, (void *)(i + 1));

		CHECK(pid > 0);
		wait_exit(pid, 0);
		pid = _Fork();
		CHECK(pid >= 0);
		if (pid == 0) {
			child_work(i + 2);
			_exit(0);
		}
		wait_exit(pid, 0);
	}
	free(stack);
}

/* They take enough for a control thread, and end as clone() ends them: by their only thread. */
static int cloned_large(void *arg)
{
	for (int i = 0; i < 2; i++) {
		void *p = malloc(9 * MIB);

		CHECK(p);
		memset(p, 1, 9 * MIB);
		free(opaque(p));
	}
	return arg == NULL;
}

static void clone_large(void)
{
	enum { STACK = 256 * 1024 };
	char *stack = malloc(STACK);

	CHECK(stack);
	for (int i = 0; i < 10; i++)
		wait_exit(
			clone(cloned_large, stack + STACK, SIGCHLD | (i & 1 ? CLONE_VM : 0), stack),
			0);
	CHECK(cloned_large(stack) == 0);
	free(stack);
}

static void *spawner(void *arg)
{
	char *argv[] = {(char *)"true", NULL};

	for (int i = 0; i < 15; i++) {
		pid_t pid;
		void *p = malloc(1000);

		CHECK(p);
		fill(p, 1000, 1);
		CHECK(posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ) == 0);
		wait_exit(pid, 0);
		CHECK_INTACT(p, 1000, 1);
		free(p);
	}
	return arg;
}

static void spawn(void)
{
	beside_busy(16, spawner, 2);
}

static void *popener(void *arg)
{
	for (int i = 0; i < 20; i++) {
		char line[100];
		FILE *f = popen("echo from the shell", "r");

		CHECK(f && fgets(line, sizeof(line), f));
		CHECK(strcmp(line, "from the shell\n") == 0);
		CHECK(pclose(f) == 0);
		CHECK(system("test -n \"$PATH\"") == 0);
	}
	return arg;
}

static void popen_system(void)
{
	beside_busy(4, popener, 2);
}

/* A big heap forked again and again: the child must not copy or walk it. */
static void big_heap(void)
{
	static void *p[200000];

	for (size_t i = 0; i < ARRAY_SIZE(p); i++) {
		p[i] = malloc(500);
		CHECK(p[i]);
		memset(p[i], 1, 500);
	}
	for (int i = 0; i < 20; i++) {
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (pid == 0) {
			for (size_t k = (size_t)i; k < ARRAY_SIZE(p); k += 20)
				free(p[k]);
			child_work(3);
			_exit(0);
		}
		wait_exit(pid, 0);
	}
}

static const struct row rows[] = {
	{"threads", with_threads},
	{"many-forkers", many_forkers},
	{"nested", nested},
	{"apart", apart},
	{"atfork", atfork_handlers},
	{"signal-handler", in_handler},
	{"signal-handler-threads", in_handler_threads},
	{"bare", bare},
	{"bare-alone", bare_alone},
	{"vfork-exec", vfork_exec},
	{"vfork-malloc", vfork_malloc},
	{"vfork-malloc-threads", vfork_malloc_threads},
	{"vfork-storm", vfork_storm},
	{"clone", by_clone},
	{"clone-large", clone_large},
	{"posix-spawn", spawn},
	{"popen-system", popen_system},
	{"big-heap", big_heap},
};

int main(int argc, char **argv)
{
	return run_rows(argc, argv, rows, ARRAY_SIZE(rows));
}
