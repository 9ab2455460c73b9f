/*
 * locality.c - on which node is memory that a thread got? Asked page by page, under any malloc.
 *
 *	locality CPU CPU SCENARIO...
 *
 * Threads run on the two CPUs in turn.  A scenario allocates objects of all sizes and prints, for
 * slabs, runs and large blocks, how many bytes of them are on the node of the CPU that allocated:
 *
 *	home	  a thread allocates on each of the CPUs
 *	crossed	  what one CPU allocated is freed on the other, and both allocate again
 *	moved	  a thread allocates, moves to the other CPU, allocates there, moves back, frees all
 *		  and allocates again
 *	traffic	  a producer and a consumer pass blocks for some rounds; each then holds what it
 *		  got last
 */
#include "guest.h"

#include <pthread.h>

#define MAX_OBJECTS 40000

struct kind {
	const char *name;
	size_t sizes[6];
	size_t bytes; /* of each size */
};

static const struct kind kinds[] = {
	{"slabs", {16, 64, 200, 720, 2048, 8000}, 256 * KIB},
	{"runs", {20 * KIB, 48 * KIB, 100 * KIB, 200 * KIB}, MIB},
	{"large", {300 * KIB, 1100 * KIB, 5 * MIB, 9 * MIB}, 10 * MIB},
};
#define NR_KINDS (sizeof(kinds) / sizeof(kinds[0]))

struct object {
	char *at;
	size_t size;
};

/* What one thread holds: of one kind, allocated on one node. */
struct hold {
	int node;
	size_t nr;
	struct object object[MAX_OBJECTS];
};

static struct hold hold[2];
static int cpus[2];

static void take(struct hold *h, const struct kind *kind, int cpu)
{
	h->node = run_on(cpu);
	for (size_t i = 0; i < 6 && kind->sizes[i] != 0; i++) {
		size_t size = kind->sizes[i], count = kind->bytes / size + 1;

		for (; count > 0 && h->nr < MAX_OBJECTS; count--) {
			struct object *object = &h->object[h->nr++];

			object->size = size;
			object->at = malloc(size);
			if (object->at == NULL)
				die("malloc(%zu)", size);
			memset(object->at, (int)size, size);
		}
	}
}

static void give(struct hold *h, int cpu)
{
	run_on(cpu);
	while (h->nr > 0)
		free(h->object[--h->nr].at);
}

/* Bytes of the hold, and those of them that are on its node. */
static void measure(const struct hold *h, size_t *all, size_t *local)
{
	void *asked = NULL;
	int node = -1;

	for (size_t i = 0; i < h->nr; i++) {
		uintptr_t at = (uintptr_t)h->object[i].at, end = at + h->object[i].size;

		while (at < end) {
			uintptr_t next = (at / PAGE + 1) * PAGE;
			size_t bytes = (next < end ? next : end) - at;
			void *page = (void *)(at & ~(PAGE - 1));

			if (page != asked)
				where_are(0, &page, &node, 1);
			asked = page;
			*all += bytes;
			*local += node == h->node ? bytes : 0;
			at += bytes;
		}
	}
}

static void tell(const char *scenario, const struct kind *kind)
{
	size_t all = 0, local = 0;

	for (int i = 0; i < 2; i++)
		measure(&hold[i], &all, &local);
	printf("%s %s %zu of %zu\n", scenario, kind->name, local, all);
	for (int i = 0; i < 2; i++)
		give(&hold[i], cpus[i]);
}

/* A part of a scenario, in a thread of its own. */
struct part {
	void (*run)(const struct kind *kind, int i);
	const struct kind *kind;
	int i;
};

static void *part_main(void *arg)
{
	struct part *part = arg;

	part->run(part->kind, part->i);
	return NULL;
}

static void in_thread(void (*run)(const struct kind *, int), const struct kind *kind, int i)
{
	struct part part = {run, kind, i};
	pthread_t thread;

	if (pthread_create(&thread, NULL, part_main, &part) != 0 || pthread_join(thread, NULL) != 0)
		die("thread");
}

static void take_here(const struct kind *kind, int i)
{
	take(&hold[i], kind, cpus[i]);
}

static void give_there(const struct kind *kind, int i)
{
	(void)kind;
	give(&hold[i], cpus[!i]);
}

static void home(const struct kind *kind)
{
	for (int i = 0; i < 2; i++)
		in_thread(take_here, kind, i);
	tell("home", kind);
}

static void crossed(const struct kind *kind)
{
	for (int i = 0; i < 2; i++)
		in_thread(take_here, kind, i);
	for (int i = 0; i < 2; i++)
		in_thread(give_there, kind, i);
	for (int i = 0; i < 2; i++)
		in_thread(take_here, kind, i);
	tell("crossed", kind);
}

static void wander(const struct kind *kind, int i)
{
	take(&hold[i], kind, cpus[i]);
	take(&hold[!i], kind, cpus[!i]);
	give(&hold[!i], cpus[i]);
	give(&hold[i], cpus[i]);
	take(&hold[!i], kind, cpus[!i]);
	take(&hold[i], kind, cpus[i]);
}

static void moved(const struct kind *kind)
{
	in_thread(wander, kind, 0);
	tell("moved", kind);
}

/* --- blocks on their way between two threads --- */

#define ROUNDS 30

static pthread_barrier_t turn;

/* Round by round: everyone frees what the other allocated, and allocates anew. */
static void pass(const struct kind *kind, int i)
{
	for (int round = 0; round < ROUNDS; round++) {
		give(&hold[!i], cpus[i]);
		pthread_barrier_wait(&turn);
		take(&hold[i], kind, cpus[i]);
		pthread_barrier_wait(&turn);
	}
}

static void traffic(const struct kind *kind)
{
	struct part part[2] = {{pass, kind, 0}, {pass, kind, 1}};
	pthread_t thread[2];

	pthread_barrier_init(&turn, NULL, 2);
	for (int i = 0; i < 2; i++)
		if (pthread_create(&thread[i], NULL, part_main, &part[i]) != 0)
			die("thread");
	for (int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	pthread_barrier_destroy(&turn);
	tell("traffic", kind);
}

static const struct {
	const char *name;
	void (*run)(const struct kind *kind);
} scenarios[] = {{"home", home}, {"crossed", crossed}, {"moved", moved}, {"traffic", traffic}};

int main(int argc, char **argv)
{
	if (argc < 4)
		die("usage: locality CPU CPU SCENARIO...");
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 0; i < 2; i++)
		cpus[i] = atoi(argv[1 + i]);
	for (int arg = 3; arg < argc; arg++)
		for (size_t s = 0; s < sizeof(scenarios) / sizeof(scenarios[0]); s++)
			for (size_t k = 0;
			     strcmp(argv[arg], scenarios[s].name) == 0 && k < NR_KINDS; k++)
				scenarios[s].run(&kinds[k]);
	return 0;
}
