/*
 * control.c - races of those who ask with those who change.
 */
#include "races.h"

#include <limits.h>
#include <malloc.h>
#include <sys/socket.h>
#include <sys/un.h>

static _Atomic bool stop;

/* --- T22: statistics ----------------------------------------------------------------------------
 */

/* A reader with a connection of its own. */
static size_t read_line(int fd, char *text, size_t size)
{
	size_t used = 0;

	do {
		ssize_t n = read(fd, text + used, size - 1 - used);

		CHECK(n > 0);
		used += (size_t)n;
	} while (text[used - 1] != '\n' && used < size - 1);
	text[used] = '\0';
	return used;
}

static const char *const questions[] = {"status", "slabinfo", "why 1",	  "topology",
					"plan 1", "events",   "list-self"};

static unsigned long long sum_of(const char *text, const char *key)
{
	unsigned long long sum = 0;

	while ((text = strstr(text, key)) != NULL) {
		text += strlen(key);
		sum += strtoull(text, NULL, 10);
	}
	return sum;
}

#define KEPT (40 * MIB)
/* What the loads may hold at a moment, and what is counted twice or not at all while it moves. */
#define SLACK (24 * MIB)

#define ASKERS 2
/* Answers to each, and to the reader of mallinfo behind them. */
static _Atomic unsigned long answers[ASKERS + 1];

static unsigned long fewest_answers(void)
{
	unsigned long fewest = ULONG_MAX;

	for (unsigned int i = 0; i < ARRAY_SIZE(answers); i++) {
		unsigned long n = atomic_load(&answers[i]);

		fewest = n < fewest ? n : fewest;
	}
	return fewest;
}

static void *asker(void *arg)
{
	static char texts[ASKERS][1 << 20];
	uintptr_t me = (uintptr_t)arg;
	char *text = texts[me];
	int fd = link_open();

	while (!atomic_load(&stop)) {
		char question[32];

		snprintf(question, sizeof(question), "%s\n",
			 questions[answers[me] % ARRAY_SIZE(questions)]);
		link_send(fd, question);
		read_line(fd, text, sizeof(texts[0]));
		CHECK_MSG(strstr(text, "\"ok\":true") != NULL, "%s: %s", question, text);
		if (strcmp(question, "status\n") == 0) {
			unsigned long long live = sum_of(text, "\"live_bytes\":");

			CHECK_MSG(live >= KEPT - MIB && live < KEPT + SLACK, "%llu bytes live",
				  live);
			CHECK(sum_of(text, "\"cached_bytes\":") < 1024 * MIB);
			CHECK(sum_of(text, "\"slabs\":") < 1000000);
		}
		answers[me]++;
	}
	close(fd);
	return arg;
}

static void *reads_mallinfo(void *arg)
{
	while (!atomic_load(&stop)) {
		struct mallinfo2 info = mallinfo2();

		CHECK_MSG(info.uordblks >= KEPT - MIB && info.uordblks < KEPT + SLACK,
			  "%zu bytes in use", info.uordblks);
		answers[ASKERS]++;
	}
	return arg;
}

static void *small_load(void *arg)
{
	uint64_t seed = (uintptr_t)arg + 1;
	void *p[200] = {NULL};

	while (!atomic_load(&stop)) {
		unsigned int i = (unsigned int)(rnd(&seed) % ARRAY_SIZE(p));

		free(p[i]);
		p[i] = malloc(1 + rnd(&seed) % (i % 50 ? 2000 : 200000));
		CHECK(p[i] != NULL);
		memset(p[i], 1, 1);
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(p); i++)
		free(p[i]);
	return NULL;
}

static void tight_loop(void)
{
	pthread_t askers[ASKERS], reader, loads[ASKERS];
	double until;
	void *kept;

	races_start();
	kept = held(KEPT, 1, 1);
	for (uintptr_t i = 0; i < ASKERS; i++) {
		askers[i] = thread_begin(asker, (void *)i);
		loads[i] = thread_begin(small_load, (void *)i);
	}
	reader = thread_begin(reads_mallinfo, NULL);
	until = now_sec() + 0.001 * (double)scaled(3000);
	for (unsigned int i = 0; goes_on(until, fewest_answers(), 50); i++) {
		CHECK(offline(1 + (int)(i % 3), SLABNODE_MIGRATE) == 0);
		CHECK(lib.online(1 + (int)(i % 3), i % 2, NULL, 0) == 0);
	}
	atomic_store(&stop, true);
	for (unsigned int i = 0; i < ASKERS; i++) {
		thread_end(askers[i]);
		thread_end(loads[i]);
	}
	thread_end(reader);
	CHECK_MSG(fewest_answers() > 50, "only %lu answers", fewest_answers());
	CHECK_INTACT(kept, KEPT, 1);
	free(kept);
	check_all_online();
}

static void *cordon_other(void *arg)
{
	CHECK(lib.cordon(3) == 0 && lib.uncordon(3) == 0);
	atomic_store((_Atomic bool *)arg, true);
	return NULL;
}

/* The policies of ranges are set under the lifecycle lock: while that takes its time, whoever wants
 * the lock waits, which is shown by a cordon, and whoever just asks does not. */
static void takes_no_lifecycle_lock(void)
{
	static const char *const asked[] = {"status",	"slabinfo", "why 1",
					    "topology", "events",   "list-self"};
	_Atomic bool cordoned = false;
	struct change *change;
	pthread_t thread;
	void *p[4];

	races_start();
	/* Ranges that are there already: else an allocation of this thread might add one first. */
	for (int n = 0; n < 4; n++)
		p[n] = held(64, n, (uint64_t)n);
	check_all_online();
	fault("delay:bind=1500");
	change = offline_begin(1, SLABNODE_MIGRATE, 0);
	until_delayed();
	thread = thread_begin(cordon_other, &cordoned);
	for (unsigned int i = 0; i < ARRAY_SIZE(asked); i++)
		CHECK(strstr(ask("%s", asked[i]), "\"ok\":true") != NULL);
	CHECK(mallinfo2().uordblks > 0);
	CHECK(api.node_state(1) == GOING_OFFLINE);
	CHECK(is_delayed() && !atomic_load(&cordoned));
	CHECK(change_end(change) == 0);
	thread_end(thread);
	CHECK(atomic_load(&cordoned));
	online(1);
	for (int n = 0; n < 4; n++) {
		CHECK_INTACT(p[n], 64, n);
		free(p[n]);
	}
	check_all_online();
}

/* --- T28: the socket under abuse
 * ------------------------------------------------------------------ */

static int connect_raw(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval patience = {20, 0};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%d.sock",
		 getenv("SLABNODE_RUNDIR"), (int)getpid());
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -1;
}

/* Says something, all or half of it, and goes; what it is told does not matter. */
static void abuse_once(uint64_t *seed)
{
	static const char *const said[] = {
		"status",
		"status\n\n\n",
		"offline\n",
		"offline 1",
		"offline 99\n",
		"offline 1 policy=gently\n",
		"offline 1 policy=wait timeout=0.01\n",
		"online x\n",
		"fault nothing=ENOENT\n",
		"\n",
		"help\nhelp\nhelp\n",
		"events since=0 follow=1\n",
		"slabinfo\nslabinfo\nslabinfo\nslabinfo\nslabinfo\nslabinfo\n",
		"cancel 1\n",
		"drain 1\n",
		"plan 1\nplan -1\n",
	};
	int fd = connect_raw();
	char junk[9000];
	size_t n;

	if (fd < 0)
		return; /* there are enough of them */
	if (rnd(seed) % 4 == 0) {
		n = 1 + rnd(seed) % sizeof(junk);
		for (size_t i = 0; i < n; i++)
			junk[i] = (char)rnd(seed);
		send(fd, junk, n, MSG_NOSIGNAL);
	} else {
		const char *what = said[rnd(seed) % ARRAY_SIZE(said)];

		n = rnd(seed) % 3 ? strlen(what) : rnd(seed) % (strlen(what) + 1);
		send(fd, what, n, MSG_NOSIGNAL);
	}
	if (rnd(seed) % 2)
		recv(fd, junk, 1 + rnd(seed) % 100, MSG_DONTWAIT);
	close(fd);
}

static void *abuser(void *arg)
{
	uint64_t seed = (uintptr_t)arg + 28;

	for (unsigned long i = 0; i < scaled(1500); i++)
		abuse_once(&seed);
	return NULL;
}

/* Asks without end and reads nothing: it may be thrown out, nobody has to wait for it. */
static int slow_reader(void)
{
	int fd = connect_raw();

	CHECK(fd >= 0);
	for (unsigned int i = 0; i < 2000; i++)
		if (send(fd, "slabinfo\n", 9, MSG_DONTWAIT | MSG_NOSIGNAL) != 9)
			break;
	return fd;
}

static void socket_abused(void)
{
	static struct bunch bunch;
	pthread_t abusers[3];
	int slow, crowd[200];

	races_start();
	bunch_hold(&bunch, 2);
	slow = slow_reader();
	for (uintptr_t i = 0; i < 3; i++)
		abusers[i] = thread_begin(abuser, (void *)i);
	for (unsigned int i = 0; i < 60; i++) {
		CHECK(offline(2, SLABNODE_MIGRATE) == 0);
		CHECK(lib.online(2, 1, NULL, 0) == 0);
	}
	for (unsigned int i = 0; i < 3; i++)
		thread_end(abusers[i]);
	/* A crowd that says nothing; when it has gone, there is room again. */
	for (unsigned int i = 0; i < ARRAY_SIZE(crowd); i++)
		crowd[i] = connect_raw();
	for (unsigned int i = 0; i < ARRAY_SIZE(crowd); i++)
		if (crowd[i] >= 0)
			close(crowd[i]);
	close(slow);
	for (int n = 0; n < 4; n++) { /* whatever the abuse has asked for has come to its end */
		CHECK(lib.cancel(n) == 0);
		online(n);
	}
	close(link_open());
	CHECK(offline(2, SLABNODE_MIGRATE) == 0);
	online(2);
	bunch_free(&bunch);
	check_all_online();
	check_empties(2);
}

static const struct row rows[] = {
	{"T22-tight-loop", tight_loop},
	{"T22-takes-no-lifecycle-lock", takes_no_lifecycle_lock},
	{"T28-socket-abused", socket_abused},
};

int main(int argc, char **argv)
{
	return run_rows(argc, argv, rows, ARRAY_SIZE(rows));
}
