/*
 * twice.c - objects and blocks that are freed twice.
 */
#include "corruption.h"

#include <signal.h>

static void *freed_once(void *p)
{
	expect(p, "double free");
	free(opaque(p));
	return opaque(p);
}

static void double_object(void)
{
	free(freed_once(malloc(100)));
}

static void double_object_32k(void)
{
	free(freed_once(malloc(32000)));
}

/* Others are freed in between. */
static void double_object_later(void)
{
	void *p[10], *q = malloc(100);

	for (int i = 0; i < 10; i++)
		p[i] = malloc(100);
	freed_once(q);
	for (int i = 0; i < 10; i++)
		free(p[i]);
	free(q);
}

static void double_calloc(void)
{
	free(freed_once(calloc(10, 10)));
}

static void double_memalign(void)
{
	free(freed_once(memalign(256, 300)));
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

static void twice_around_a_trim(size_t size)
{
	void *p = malloc(size), *q = malloc(100);

	freed_once(p);
	malloc_trim(0);
	free(opaque(p));
	free(q);
}

/* Trimming drains every store. */
static void double_trimmed(void)
{
	twice_around_a_trim(100);
}

/* Nothing of the slab is in use: it is given back, the double free is told all the same. */
static void double_trimmed_slab(void)
{
	twice_around_a_trim(5000);
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
	freed_once(p);
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
	freed_once(p);
	CHECK_MSG(online(1, 1, message, sizeof(message)) == 0, "%s", message);
	free(opaque(p));
	free(q);
}

static void double_block(void)
{
	free(freed_once(malloc(100000)));
}

static void double_block_trimmed(void)
{
	void *q = malloc(100), *p = malloc(100000);

	freed_once(p);
	malloc_trim(0);
	free(opaque(p));
	free(q);
}

/* Cached at first; from level 2 on a span goes back at once, header and all. */
static void double_span(void)
{
	free(freed_once(malloc(8 * MIB)));
}

/* Too much to be cached at any level. */
static void double_span_long(void)
{
	free(freed_once(malloc(200 * MIB)));
}

/* The block begins some segments behind its header. */
static void double_span_aligned(void)
{
	free(freed_once(memalign(64 * MIB, 20 * MIB)));
}

static void double_span_trimmed(void)
{
	void *p = freed_once(malloc(8 * MIB));

	malloc_trim(0);
	free(opaque(p));
}

/* Another one of its length came meanwhile: in its place where it was cached, elsewhere from level
 * 2 on. */
static void double_span_later(void)
{
	void *p = freed_once(malloc(8 * MIB)), *q = malloc(8 * MIB);

	free(opaque(p));
	if (p != q)
		free(q);
}

/* By a realloc that had to move it. */
static void double_span_moved(void)
{
	void *p = malloc(8 * MIB);

	expect(p, "double free");
	CHECK(realloc(opaque(p), 1000));
	free(opaque(p));
}

/* Two threads at once: which one is late does not matter. */
static void *free_together(void *arg)
{
	pthread_barrier_wait((pthread_barrier_t *)((void **)arg)[0]);
	free(((void **)arg)[1]);
	return NULL;
}

static void race(void *p)
{
	pthread_barrier_t barrier;
	void *arg[2] = {&barrier, p};
	pthread_t t[2];

	expect(arg[1], "double free");
	CHECK(pthread_barrier_init(&barrier, NULL, 2) == 0);
	for (int i = 0; i < 2; i++)
		CHECK(pthread_create(&t[i], NULL, free_together, arg) == 0);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
}

static void double_race(void)
{
	race(malloc(100));
}

/* Its pages take a while to go back: the late one may come before, meanwhile, or after. */
static void double_race_span(void)
{
	race(memset(malloc(64 * MIB), 1, 64 * MIB));
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

static const struct misuse misuses[] = {
	FROM(0, double_trimmed_slab),
	FROM(0, double_offline),
	FROM(0, double_online),
	FROM(0, double_block),
	FROM(0, double_block_trimmed),
	FROM(0, double_span),
	FROM(0, double_span_long),
	FROM(0, double_span_aligned),
	FROM(0, double_span_trimmed),
	FROM(0, double_span_moved),
	FROM(1, double_object),
	FROM(1, double_object_32k),
	FROM(1, double_object_later),
	FROM(1, double_calloc),
	FROM(1, double_memalign),
	FROM(1, double_thread),
	FROM(1, double_node),
	FROM(1, double_trimmed),
	/* At level 0 the two may meet at the slab, which notices. */
	{"double_race", double_race, 1, 3, true},
	FROM(1, double_fork),
	FROM(2, double_span_later),
	FROM(0, double_race_span),
};

const struct kind twice = {
	.misuses = misuses,
	.nr_misuses = ARRAY_SIZE(misuses),
};
