/*
 * sites.c - `why N` names who allocated what lives on the node.
 *
 * The rows' options ask for a sample (SLABNODE_SAMPLE) or for all objects (SLABNODE_HARDENED=3).
 * The functions that allocate are global, so that their names are known without debug information.
 */
#include "lifecycle.h"

#include <malloc.h>

#define SMALL  120000
#define MIDDLE 6000
#define RUNS   300
#if __has_attribute(noipa)
#define SITE __attribute__((noipa)) /* no copy under another name */
#else
#define SITE __attribute__((noinline))
#endif

void *allocated_small(size_t size);
void *allocated_middle(size_t size);
void *allocated_runs(size_t size);
void *grown(void *p, size_t size);
void *in_a_handler(size_t size);

/* What follows the call keeps it from being a jump. */
#define KEEP(p) __asm__ volatile("" : "+r"(p))

SITE void *allocated_small(size_t size)
{
	void *p = malloc(size);

	KEEP(p);
	return p;
}

SITE void *allocated_middle(size_t size)
{
	void *p = calloc(1, size);

	KEEP(p);
	return p;
}

SITE void *allocated_runs(size_t size)
{
	void *p = NULL;

	CHECK(posix_memalign(&p, 4096, size) == 0);
	KEEP(p);
	return p;
}

SITE void *grown(void *p, size_t size)
{
	p = realloc(p, size);
	KEEP(p);
	return p;
}

SITE void *in_a_handler(size_t size)
{
	void *p = malloc(size);

	KEEP(p);
	return p;
}

static void *objects[SMALL + MIDDLE + RUNS];

static void hold_all(void)
{
	CHECK(api.prefer_node(1) == 0);
	for (unsigned int i = 0; i < SMALL; i++)
		CHECK((objects[i] = allocated_small(100)) != NULL); /* 112 bytes: 12.8 MiB */
	for (unsigned int i = 0; i < MIDDLE; i++)
		CHECK((objects[SMALL + i] = allocated_middle(4096)) != NULL); /* 23.4 MiB */
	for (unsigned int i = 0; i < RUNS; i++)
		objects[SMALL + MIDDLE + i] = allocated_runs(65536); /* 18.8 MiB */
	CHECK(api.prefer_node(0) == 0);
}

static void release(unsigned int first, unsigned int count)
{
	for (unsigned int i = first; i < first + count; i++) {
		free(objects[i]);
		objects[i] = NULL;
	}
}

struct found {
	long long bytes, objects;
};

/* What `why -b` says of the sites whose innermost frame is in `function`, together. */
static struct found find(const char *function)
{
	struct found found = {0, 0};
	char frame[64];

	snprintf(frame, sizeof(frame), " objects\n    %s (", function);
	for (char *at = ctl_out; (at = strstr(at, frame)) != NULL; at++) {
		long long bytes, count;
		char *line = at;

		while (line > ctl_out && line[-1] != '\n')
			line--;
		CHECK_MSG(sscanf(line, "%lld in %lld", &bytes, &count) == 2, "no numbers in %.40s",
			  line);
		found.bytes += bytes;
		found.objects += count;
	}
	return found;
}

static void check_about(const char *function, long long count, long long size, int percent)
{
	struct found found = find(function);

	CHECK_MSG(llabs(found.objects - count) * 100 <= count * percent &&
			  llabs(found.bytes - count * size) * 100 <= count * size * percent,
		  "%s: %lld bytes in %lld objects, not %lld of %lld: %s", function, found.bytes,
		  found.objects, count, size, ctl_out);
}

static void shares(void)
{
	start();
	hold_all();
	CTL(0, "why 1 -b");
	PRINTED("malloc-112"); /* the holders are there as before */
	PRINTED("allocated by (estimates, one sample in 4096)");
	check_about("allocated_small", SMALL, 112, 10);
	check_about("allocated_middle", MIDDLE, 4096, 10);
	check_about("allocated_runs", RUNS, 65536, 10);
	PRINTED("\n    main (");
	CTL(0, "why 0 -b");
	CHECK(find("allocated_small").objects == 0);
	release(SMALL, MIDDLE);
	release(0, SMALL / 2);
	CTL(0, "why 1 -b");
	CHECK(find("allocated_middle").objects == 0);
	check_about("allocated_small", SMALL / 2, 112, 14);
	check_about("allocated_runs", RUNS, 65536, 10);
	/* Where pages are makes no difference, whose they are does. */
	CTL(0, "offline 1");
	CTL(0, "why 1 -b");
	check_about("allocated_runs", RUNS, 65536, 10);
	release(0, ARRAY_SIZE(objects));
	CTL(0, "--json why 1");
	PRINTED("\"sites\":[]");
	PRINTED("\"mean_bytes\":4096");
}

static void *handled[16];
static volatile sig_atomic_t nr_handled;

static void handler(int signal)
{
	(void)signal;
	if (nr_handled < 16)
		handled[nr_handled++] = in_a_handler(200);
	free(malloc(300));
}

/* Everything, to the object. */
static void exact(void)
{
	void *p[1000], *q;

	start();
	CHECK(api.prefer_node(1) == 0);
	for (unsigned int i = 0; i < 1000; i++)
		p[i] = i % 4 == 0 ? allocated_middle(300) : allocated_small(40);
	q = grown(allocated_runs(10000), 20000);
	q = grown(q, 19000);
	CHECK(api.prefer_node(0) == 0);
	CTL(0, "why 1 -b");
	PRINTED("\nallocated by:\n");
	check_about("allocated_small", 750, 48, 0);
	check_about("allocated_middle", 250, (long long)malloc_usable_size(p[0]), 0);
	check_about("grown", 1, (long long)malloc_usable_size(q), 0);
	CHECK(find("allocated_runs").objects == 0);
	for (unsigned int i = 0; i < 1000; i += 2)
		free(p[i]);
	free(q);
	CTL(0, "why 1 -b");
	check_about("allocated_small", 500, 48, 0);
	CHECK(find("allocated_middle").objects == 0 && find("grown").objects == 0);
	for (unsigned int i = 1; i < 1000; i += 2)
		free(p[i]);
	signal(SIGALRM, handler);
	while (nr_handled < 16)
		raise(SIGALRM);
	signal(SIGALRM, SIG_IGN);
	CTL(0, "why 0 -b");
	check_about("in_a_handler", 16, (long long)malloc_usable_size(handled[0]), 0);
	CHECK(find("allocated_small").objects == 0);
	for (unsigned int i = 0; i < 16; i++)
		free(handled[i]);
}

static _Atomic bool over;

static void *churner(void *arg)
{
	uint64_t seed = (uint64_t)(uintptr_t)arg + 1;
	void *p[200] = {NULL};

	while (!over) {
		unsigned int i = (unsigned int)(rnd(&seed) % 200);

		free(p[i]);
		p[i] = allocated_small(1 + rnd(&seed) % (i == 0 ? 200000 : 2000));
		if (i % 8 == 0)
			p[i] = grown(p[i], 1 + rnd(&seed) % 40000);
	}
	for (unsigned int i = 0; i < 200; i++)
		free(p[i]);
	return NULL;
}

/* Threads, children, and nodes that come and go meanwhile. */
static void everything_at_once(void)
{
	pthread_t threads[4];

	start();
	for (uintptr_t i = 0; i < 4; i++)
		CHECK(pthread_create(&threads[i], NULL, churner, (void *)i) == 0);
	for (int i = 0; i < 15; i++) {
		int status;
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (pid == 0) {
			alarm(30);
			for (unsigned int k = 0; k < 200; k++)
				free(grown(allocated_small(k * 10), k * 200 + 1));
			_exit(0);
		}
		CTL(0, "offline %d", 1 + i % 3);
		CTL(0, "--json why %d", 1 + i % 3);
		CTL(0, "online %d", 1 + i % 3);
		CHECK(waitpid(pid, &status, 0) == pid);
		CHECK_MSG(status == 0, "the child ended with %#x", status);
	}
	over = true;
	for (unsigned int i = 0; i < 4; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	for (int n = 0; n < 4; n++) {
		CTL(0, "why %d -b", n);
		CHECK_MSG(find("allocated_small").objects == 0 && find("grown").objects == 0,
			  "left behind: %s", ctl_out);
	}
}

/* Nobody has asked: nothing is said, and nothing was loaded. */
static void off(void)
{
	static char maps[1 << 18];
	ssize_t used = 0, n;
	int fd;

	start();
	for (unsigned int i = 0; i < 1000; i++)
		CHECK((objects[i] = allocated_small(100)) != NULL);
	CTL(0, "--json why 0");
	CHECK(strstr(ctl_out, "sites") == NULL && strstr(ctl_out, "sampling") == NULL);
	fd = open("/proc/self/maps", O_RDONLY);
	while ((n = read(fd, maps + used, sizeof(maps) - 1 - (size_t)used)) > 0)
		used += n;
	CHECK(used > 0 && strstr(maps, "libslabnode") != NULL);
	CHECK(strstr(maps, "libgcc") == NULL);
}

static const struct row rows[] = {
	{"_shares", shares},
	{"_exact", exact},
	{"_everything-at-once", everything_at_once},
	{"off", off},
};

int main(int argc, char **argv)
{
	return run_rows(argc, argv, rows, ARRAY_SIZE(rows));
}
