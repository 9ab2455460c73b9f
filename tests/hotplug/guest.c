/*
 * An ordinary program with threads, whose nodes hotplug.py takes away and brings back: it knows
 * nothing of nodes. Its objects carry patterns; one that is spoilt ends it with an error. It does
 * what it is told on stdin, a word a line, and answers "done".
 */
#include "../preload/check.h"

#include <pthread.h>
#include <sys/stat.h>

enum { THREADS = 4, OBJECTS = 300, FILES = 60 };

static struct object {
	void *ptr;
	size_t size;
} held[THREADS][OBJECTS];

static bool idle, ended;
static unsigned int resting;

static void renew(struct object *o, uint64_t *seed)
{
	if (o->ptr)
		CHECK_INTACT(o->ptr, o->size, o->size);
	free(o->ptr);
	o->size = rnd(seed) % (rnd(seed) % 50 == 0 ? 300000 : 3000) + 1;
	o->ptr = malloc(o->size);
	CHECK(o->ptr);
	fill(o->ptr, o->size, o->size);
}

static void drop_all(struct object *o)
{
	for (size_t i = 0; i < OBJECTS; i++) {
		if (o[i].ptr)
			CHECK_INTACT(o[i].ptr, o[i].size, o[i].size);
		free(o[i].ptr);
		o[i].ptr = NULL;
	}
}

/* Holds nothing while the program is told to be idle. */
static void rest(struct object *o)
{
	drop_all(o);
	__atomic_add_fetch(&resting, 1, __ATOMIC_ACQ_REL);
	while (__atomic_load_n(&idle, __ATOMIC_ACQUIRE) &&
	       !__atomic_load_n(&ended, __ATOMIC_ACQUIRE))
		sleep_ms(1);
	__atomic_sub_fetch(&resting, 1, __ATOMIC_ACQ_REL);
}

static void *work(void *arg)
{
	struct object *o = arg;
	uint64_t seed = (uintptr_t)arg;

	while (!__atomic_load_n(&ended, __ATOMIC_ACQUIRE)) {
		/* The first one stays: nobody can wait for this thread's node to be empty. */
		if (!o[0].ptr)
			renew(&o[0], &seed);
		for (int i = 0; i < 200; i++)
			renew(&o[1 + rnd(&seed) % (OBJECTS - 1)], &seed);
		if (__atomic_load_n(&idle, __ATOMIC_ACQUIRE))
			rest(o);
		sleep_ms(1);
	}
	drop_all(o);
	return NULL;
}

static void be_idle(void)
{
	__atomic_store_n(&idle, true, __ATOMIC_RELEASE);
	while (__atomic_load_n(&resting, __ATOMIC_ACQUIRE) < THREADS)
		sleep_ms(1);
}

static void be_busy(void)
{
	__atomic_store_n(&idle, false, __ATOMIC_RELEASE);
	while (__atomic_load_n(&resting, __ATOMIC_ACQUIRE) > 0)
		sleep_ms(1);
}

static void in_child(void)
{
	static struct object own[OBJECTS];
	uint64_t seed = 9;

	for (int i = 0; i < 500; i++)
		renew(&own[rnd(&seed) % OBJECTS], &seed);
	drop_all(own);
}

static void fork_one(void)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		alarm(60);
		in_child();
		_exit(0);
	}
	wait_exit(pid, 0);
}

/* All descriptors are closed, and their numbers are files of the program's. */
static void reuse_descriptors(void)
{
	CHECK(close_range(3, ~0U, 0) == 0);
	for (int i = 0; i < FILES; i++) {
		char path[] = "/tmp/slabnode-test-XXXXXX";
		int fd = mkstemp(path);

		CHECK_MSG(fd == i + 3, "descriptor %d, expected %d", fd, i + 3);
		unlink(path);
		CHECK(write(fd, &i, sizeof(i)) == sizeof(i));
	}
}

static void check_descriptors(void)
{
	for (int i = 0; i < FILES; i++) {
		struct stat st;
		int v;

		CHECK(fstat(i + 3, &st) == 0 && st.st_size == sizeof(v));
		CHECK(pread(i + 3, &v, sizeof(v), 0) == sizeof(v) && v == i);
	}
}

static const struct {
	const char *word;
	void (*act)(void);
} words[] = {{"idle", be_idle},
	     {"busy", be_busy},
	     {"fork", fork_one},
	     {"reuse-descriptors", reuse_descriptors},
	     {"check-descriptors", check_descriptors}};

/* Read byte by byte: stdio would keep a buffer, and a daemon its parent's. */
static bool next_word(char *line, size_t size)
{
	size_t n = 0;

	while (n + 1 < size && read(0, &line[n], 1) == 1) {
		if (line[n] == '\n') {
			line[n] = '\0';
			return true;
		}
		n++;
	}
	return false;
}

static void obey(void)
{
	char line[64];

	while (next_word(line, sizeof(line))) {
		bool known = false;

		for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
			if (strcmp(line, words[i].word) != 0)
				continue;
			known = true;
			words[i].act();
		}
		CHECK_MSG(known, "unknown word %s", line);
		dprintf(1, "done\n");
	}
}

int main(int argc, char **argv)
{
	pthread_t t[THREADS];

	if (argc > 1 && strcmp(argv[1], "daemon") == 0)
		CHECK(daemon(1, 1) == 0);
	for (size_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&t[i], NULL, work, held[i]) == 0);
	dprintf(1, "%d\n", (int)getpid());
	obey();
	__atomic_store_n(&ended, true, __ATOMIC_RELEASE);
	for (size_t i = 0; i < THREADS; i++)
		CHECK(pthread_join(t[i], NULL) == 0);
	dprintf(1, "intact\n");
	return 0;
}
