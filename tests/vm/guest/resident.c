/*
 * resident.c - a program that holds memory of all kinds on a node while the node is taken away.
 *
 *	resident STOP CPU [mlock] [fork] [thp] [half] [idle]
 *
 * Fills objects and blocks on the CPU's node, writes "ready" and goes on using them: two threads,
 * one on the CPU and one anywhere, read all of it and replace some, and rest as long as that took,
 * so that others are not kept from the CPUs.  When the file STOP appears,
 * every byte is looked at once more, memory that was never touched is touched and must be zero, and
 * the last line is "intact".  Anything wrong ends the program at once.
 *
 *	mlock	all memory is locked
 *	fork	a child holds the same pages and looks at them all the while
 *	thp	two large blocks, which have room for huge pages
 *	half	blocks of which every second page is touched, and one that is not touched at all
 *	idle	the threads only sleep, so that nothing faults in between
 */
#include "guest.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define NR_OBJECTS 800
#define NR_BLOCKS  3
#define BLOCK	   (4 * MIB)
#define NR_THREADS 2

struct held {
	uint64_t *at;
	size_t words;
	uint64_t seed;
};

static struct held objects[NR_THREADS][NR_OBJECTS], blocks[NR_BLOCKS];
static unsigned char *half, *untouched;
static _Atomic bool stop;
static bool idle;

/* Word i of what has this seed. */
static uint64_t word(uint64_t seed, size_t i)
{
	return (seed + i) * 0x9e3779b97f4a7c15ull;
}

static void hold(struct held *h, size_t bytes, uint64_t seed)
{
	h->words = bytes / 8;
	h->seed = seed;
	h->at = malloc(bytes);
	if (h->at == NULL)
		die("malloc(%zu)", bytes);
	for (size_t i = 0; i < h->words; i++)
		h->at[i] = word(seed, i);
}

static void check(const struct held *h)
{
	for (size_t i = 0; i < h->words; i++)
		if (h->at[i] != word(h->seed, i))
			die("%p: word %zu of %zu is wrong", (void *)h->at, i, h->words);
}

static size_t size_of(size_t i)
{
	static const size_t sizes[] = {24, 100, 500, 1500, 4000, 12000, 40000};

	return sizes[i % 7] / 8 * 8;
}

static void replace(struct held *h, uint64_t seed)
{
	check(h);
	free(h->at);
	hold(h, h->words * 8, seed);
}

static void *use(void *arg)
{
	struct held *mine = arg;

	for (uint64_t round = 1; !atomic_load(&stop); round++) {
		double begin = now_sec();

		for (size_t i = 0; i < NR_OBJECTS && !idle && !atomic_load(&stop); i++) {
			if ((i + round) % 4 == 0)
				replace(&mine[i], round << 20 | i);
			else
				check(&mine[i]);
		}
		for (size_t i = 0; i < NR_BLOCKS && !idle; i++)
			check(&blocks[i]);
		sleep_ms(20 + (long)((now_sec() - begin) * 1000));
	}
	return NULL;
}

static void check_all(void)
{
	for (size_t t = 0; t < NR_THREADS; t++)
		for (size_t i = 0; i < NR_OBJECTS; i++)
			check(&objects[t][i]);
	for (size_t i = 0; i < NR_BLOCKS; i++)
		check(&blocks[i]);
}

/* Touched pages hold what was written, the others are zero when they are touched now. */
static void check_half(void)
{
	if (half == NULL)
		return;
	for (size_t i = 0; i < 2 * BLOCK; i += PAGE)
		if (half[i] != (i / PAGE % 2 == 0 ? 7 : 0) || untouched[i] != 0)
			die("page %zu of a block that was touched in part is wrong", i / PAGE);
		else
			half[i] = untouched[i] = 9;
}

static void touch_half(void)
{
	half = calloc(1, 2 * BLOCK);
	untouched = calloc(1, 2 * BLOCK);
	if (half == NULL || untouched == NULL)
		die("calloc");
	for (size_t i = 0; i < 2 * BLOCK; i += 2 * PAGE)
		half[i] = 7;
}

/* The child has its copy as long as the parent lives. */
static pid_t share(const char *stop_file)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	while (access(stop_file, F_OK) != 0) {
		check_all();
		sleep_ms(50);
	}
	check_all();
	_exit(0);
}

static bool has(char **argv, const char *word)
{
	for (; *argv != NULL; argv++)
		if (strcmp(*argv, word) == 0)
			return true;
	return false;
}

int main(int argc, char **argv)
{
	cpu_set_t everywhere;
	pthread_t thread[NR_THREADS];
	bool thp = argc > 3 && has(argv + 3, "thp");
	pid_t child = 0;
	int status = 0;

	if (argc < 3)
		die("usage: resident STOP CPU [mlock] [fork] [thp] [half] [idle]");
	setvbuf(stdout, NULL, _IOLBF, 0);
	idle = has(argv + 3, "idle");
	sched_getaffinity(0, sizeof(everywhere), &everywhere);
	run_on(atoi(argv[2]));
	if (has(argv + 3, "mlock") && mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
		die("mlockall");
	for (size_t t = 0; t < NR_THREADS; t++)
		for (size_t i = 0; i < NR_OBJECTS; i++)
			hold(&objects[t][i], size_of(i), t << 60 | i);
	for (size_t i = 0; i < NR_BLOCKS; i++)
		hold(&blocks[i], thp && i < 2 ? 4 * BLOCK : BLOCK - 3 * PAGE, i << 50);
	if (has(argv + 3, "half"))
		touch_half();
	if (has(argv + 3, "fork"))
		child = share(argv[1]);
	pthread_create(&thread[0], NULL, use, objects[0]);
	sched_setaffinity(0, sizeof(everywhere), &everywhere);
	pthread_create(&thread[1], NULL, use, objects[1]);
	printf("ready\n");
	while (access(argv[1], F_OK) != 0)
		sleep_ms(20);
	atomic_store(&stop, true);
	for (size_t t = 0; t < NR_THREADS; t++)
		pthread_join(thread[t], NULL);
	check_all();
	check_half();
	if (child > 0 && (waitpid(child, &status, 0) != child || status != 0))
		die("the child ended with status %#x", status);
	printf("intact\n");
	return 0;
}
