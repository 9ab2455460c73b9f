/*
 * states.c - races of the state machine: failure, cancel, two at once, too often.
 */
#include "races.h"

#include "../preload/proc.h"

#include <sys/resource.h>

static _Atomic bool stop;

/* --- T7: after a failure everything is as before ---------------------------------------------- */

#define PAIRS 40000

/* Objects that pairs of calls take from the node's slabs: a few while the tables are open, one for
 * each pair when they were left closed. */
static long long hits_of_pairs(void)
{
	long long before = status_of(1, "numa_hit");

	for (unsigned int i = 0; i < PAIRS; i++)
		free(opaque(malloc(96)));
	return status_of(1, "numa_hit") - before;
}

struct figures {
	long long live, elsewhere, resident, slabs, hits;
};

static void look(struct figures *f)
{
	f->live = status_of(1, "live_bytes");
	f->elsewhere = status_of(1, "elsewhere_bytes");
	f->slabs = status_of(1, "slabs");
	ask("drain 1");
	f->resident = status_of(1, "resident_bytes");
	f->hits = hits_of_pairs();
}

static void as_before(void)
{
	static const enum slabnode_policy policies[] = {SLABNODE_STRICT, SLABNODE_WAIT};
	static struct bunch bunch;
	struct figures before, after;

	races_start();
	CHECK(api.prefer_node(1) == 0);
	bunch_hold(&bunch, 1);
	look(&before);
	for (unsigned int i = 0; i < 6; i++) {
		if (i % 2 == 0)
			CHECK(offline(1, policies[0]) == -EBUSY);
		else
			CHECK(lib.offline(1, policies[1], 5, NULL, 0) == -ETIMEDOUT);
		CHECK(api.node_state(1) == ONLINE);
		CHECK(api.node_of(malloc(200)) == 1); /* at once, and by default */
		look(&after);
		CHECK(after.live >= before.live && after.live < before.live + 10000);
		CHECK(after.elsewhere == 0 && before.elsewhere == 0);
		CHECK(after.slabs <= before.slabs + 1);
		CHECK(after.resident <= before.resident + 64 * (long long)KIB);
		CHECK_MSG(after.hits < PAIRS / 10, "pairs took %lld objects, before %lld",
			  after.hits, before.hits);
		bunch_check(&bunch);
	}
	bunch_free(&bunch);
	check_all_online();
}

/* --- T8: cancel in every phase ---------------------------------------------------------------- */

/* A step of an offline, and what makes it pass there. */
static const struct phase {
	const char *step;
	enum slabnode_policy policy;
	int cancelled; /* what a cancel in this step ends in */
	int timed_out;
} phases[] = {
	{"going-offline", SLABNODE_MIGRATE, -ECANCELED, -ETIMEDOUT},
	{"going-offline", SLABNODE_WAIT, -ECANCELED, -ETIMEDOUT},
	{"drain", SLABNODE_STRICT, -ECANCELED, -EBUSY},
	{"drain", SLABNODE_MIGRATE, -ECANCELED, -ETIMEDOUT},
	{"release", SLABNODE_WAIT, -ECANCELED, -ETIMEDOUT},
	{"release", SLABNODE_MIGRATE, -ECANCELED, -ETIMEDOUT},
	{"wait", SLABNODE_WAIT, -ECANCELED, -ETIMEDOUT},
	{"migrate", SLABNODE_MIGRATE, -ECANCELED, -ETIMEDOUT},
	{"move", SLABNODE_MIGRATE, -ECANCELED, -ETIMEDOUT},
	/* The last moment.  Out of time it is done all the same, since it is done. */
	{"commit", SLABNODE_MIGRATE, -ECANCELED, 0},
	/* Too late: the offline is what it is, and the cancel says so by its own success. */
	{"vacate", SLABNODE_MIGRATE, 0, 0},
	{"rollback", SLABNODE_STRICT, -EBUSY, -EBUSY},
};

static struct bunch live;

static struct change *stop_in(const struct phase *phase, long timeout_ms)
{
	struct change *change;

	bunch_hold(&live, 1);
	free(held(3 * MIB, 1, 1)); /* something to make inaccessible */
	fault("delay:%s=120", phase->step);
	change = offline_begin(1, phase->policy, timeout_ms);
	until_delayed();
	return change;
}

static void check_undone(const struct phase *phase, int error, int expected)
{
	CHECK_MSG(error == expected, "%s, policy %d: %d, not %d", phase->step, phase->policy, error,
		  expected);
	CHECK(api.node_state(1) == (error == 0 ? OFFLINE : ONLINE));
	online(1);
	CHECK(status_of(1, "live_bytes") >= (long long)bunch_bytes());
	bunch_free(&live);
	check_allocates(1);
	fault("off");
}

static void cancel_in_phases(void)
{
	races_start();
	for (unsigned int i = 0; i < ARRAY_SIZE(phases); i++) {
		struct change *change = stop_in(&phases[i], 0);

		CHECK(lib.cancel(1) == 0);
		/* It waits for the end: nothing is under way any more. */
		CHECK(api.node_state(1) == (phases[i].cancelled == 0 ? OFFLINE : ONLINE));
		CHECK(lib.cancel(1) == 0);
		check_undone(&phases[i], change_end(change), phases[i].cancelled);
	}
	check_all_online();
	check_empties(1);
}

static void *cancel_once(void *arg)
{
	CHECK(lib.cancel(1) == 0);
	return arg;
}

static void cancel_twice(void)
{
	races_start();
	for (unsigned int i = 0; i < ARRAY_SIZE(phases); i++) {
		struct change *change = stop_in(&phases[i], 0);
		pthread_t one = thread_begin(cancel_once, NULL);
		pthread_t other = thread_begin(cancel_once, NULL);

		thread_end(one);
		thread_end(other);
		check_undone(&phases[i], change_end(change), phases[i].cancelled);
	}
	check_all_online();
	check_empties(1);
}

static void cancel_without_start(void)
{
	static struct bunch bunch;

	races_start();
	bunch_hold(&bunch, 1);
	for (int n = 0; n < 4; n++)
		CHECK(lib.cancel(n) == 0 && api.node_state(n) == ONLINE);
	CHECK(lib.cancel(77) == -ENODEV && lib.cancel(-1) == -ENODEV);
	CHECK(offline(1, SLABNODE_MIGRATE) == 0);
	CHECK(lib.cancel(1) == 0 && api.node_state(1) == OFFLINE);
	/* Of an online: it is not an offline, and goes on. */
	fault("delay:going-online=100");
	struct change *change = online_begin(1, false);
	until_delayed();
	CHECK(lib.cancel(1) == 0);
	CHECK(change_end(change) == 0);
	check_all_online();
	/* One that came too early does not count later. */
	CHECK(lib.cancel(1) == 0);
	CHECK(offline(1, SLABNODE_MIGRATE) == 0);
	online(1);
	bunch_free(&bunch);
	check_empties(1);
}

static void timeout_in_phases(void)
{
	races_start();
	for (unsigned int i = 0; i < ARRAY_SIZE(phases); i++) {
		struct change *change = stop_in(&phases[i], 40);

		check_undone(&phases[i], change_end(change), phases[i].timed_out);
	}
	check_all_online();
	check_empties(1);
}

/* The client goes: by closing its end, by Ctrl-C, by being killed. */
static void client_goes(bool interrupt)
{
	static const char *const policies[] = {"strict", "wait", "migrate"};

	races_start();
	for (unsigned int i = 0; i < ARRAY_SIZE(phases); i++) {
		const struct phase *phase = &phases[i];
		char order[64];
		int fd = -1, status;
		pid_t pid = 0;

		if (phase->cancelled == 0)
			continue;
		bunch_hold(&live, 1);
		fault("delay:%s=600", phase->step);
		snprintf(order, sizeof(order), "offline 1 policy=%s\n", policies[phase->policy]);
		if (interrupt) {
			pid = ctl_begin("--json offline 1 --policy %s", policies[phase->policy]);
		} else {
			fd = link_open();
			link_send(fd, order);
		}
		until_delayed();
		if (interrupt) {
			kill(pid, SIGINT);
			status = ctl_end(pid);
			CHECK_MSG(status == (phase->cancelled == -ECANCELED ? 5 : 4),
				  "%s: status %d: %s", phase->step, status, ctl_out);
		} else {
			close(fd);
			until_state(1, ONLINE);
		}
		check_undone(phase, -EBUSY, -EBUSY);
	}
	check_all_online();
	check_empties(1);
}

static void hang_up_in_phases(void)
{
	client_goes(false);
}

static void interrupt_in_phases(void)
{
	client_goes(true);
}

/* --- T9 -------------------------------------------------------------------------------------- */

static void two_at_once(void)
{
	static struct bunch a, b;

	races_start();
	for (unsigned int i = 0; i < scaled(40); i++) {
		struct change *one, *other;
		int first, second;

		bunch_hold(&a, 1);
		bunch_hold(&b, 2);
		if (i % 2 == 0)
			fault("delay:%s=%u", i % 4 ? "move" : "drain", 1 + i % 7);
		one = offline_begin(1, SLABNODE_MIGRATE, 0);
		other = offline_begin(2, SLABNODE_MIGRATE, 0);
		CHECK(change_end(one) == 0 && change_end(other) == 0);
		CHECK(status_of(1, "resident_bytes") == 0 && status_of(2, "resident_bytes") == 0);
		bunch_check(&a);
		bunch_check(&b);
		/* The opposite of each other, on one node. */
		one = online_begin(1, true);
		other = offline_begin(1, SLABNODE_MIGRATE, 0);
		first = change_end(one);
		second = change_end(other);
		CHECK_MSG((first == 0 || first == -EBUSY) && (second == 0 || second == -EBUSY),
			  "%d, %d", first, second);
		online(1);
		online(2);
		bunch_free(&a);
		bunch_free(&b);
		fault("off");
	}
	check_all_online();
	check_empties(1);
	check_empties(2);
}

/* Everybody wants to be the one that may leave last. */
static void last_node(void)
{
	races_start();
	for (unsigned int i = 0; i < scaled(60); i++) {
		struct change *change[4];
		unsigned int refused = 0, there = 0;

		for (int n = 0; n < 4; n++)
			change[n] = offline_begin((n + (int)i) % 4, SLABNODE_MIGRATE, 0);
		for (int n = 0; n < 4; n++) {
			if (change_end(change[n]) == 0)
				continue;
			CHECK(change[n]->error == -EBUSY);
			CHECK_MSG(strstr(change[n]->message, "last usable node") != NULL, "%s",
				  change[n]->message);
			refused++;
		}
		CHECK(refused == 1);
		for (int n = 0; n < 4; n++)
			there += api.node_state(n) == ONLINE;
		CHECK(there == 1);
		free(malloc(10000));
		for (int n = 0; n < 4; n++)
			CHECK(lib.online(n, 1, NULL, 0) == 0);
	}
	check_all_online();
}

/* --- T11: the undo needs nothing ---------------------------------------------------------------
 */

/* No page, no mapping, no policy can be had from now on. */
static void nothing_more(struct rlimit *space)
{
	struct rlimit none;

	fault("populate%%100,seed=1;bind%%100,seed=2");
	CHECK(getrlimit(RLIMIT_AS, space) == 0);
	none = (struct rlimit){64 * KIB, space->rlim_max};
	CHECK(setrlimit(RLIMIT_AS, &none) == 0);
}

static void undo_without_memory(void)
{
	static struct bunch bunch;
	struct rlimit space;

	races_start();
	bunch_hold(&bunch, 1);
	for (unsigned int i = 0; i < 3; i++) {
		static const char *const steps[] = {"drain", "release", "rollback"};
		struct change *change;
		int error;

		fault("delay:%s=60", steps[i % 3]);
		change = offline_begin(1, i == 1 ? SLABNODE_WAIT : SLABNODE_STRICT, 30);
		until_delayed();
		nothing_more(&space);
		CHECK(malloc(40 * MIB) == NULL && errno == ENOMEM);
		error = change_end(change);
		CHECK(error == (i == 1 ? -ETIMEDOUT : -EBUSY));
		CHECK(api.node_state(1) == ONLINE);
		CHECK(setrlimit(RLIMIT_AS, &space) == 0);
		fault("off");
		bunch_check(&bunch);
		/* Policies that were refused are set again within a while. */
		for (int again = 0;; again++) {
			unsigned char *p = held(12 * MIB, 1, 1);
			bool there = api.node_of(p) == 1 && api.node_of(p + 12 * MIB - 1) == 1;

			free(p);
			if (there)
				break;
			CHECK_MSG(again < 300, "pages of node 1 land elsewhere");
			sleep_ms(100);
		}
	}
	bunch_free(&bunch);
	check_all_online();
	check_empties(1);
}

/* --- T25: often --------------------------------------------------------------------------------
 */

#define CELLS 400

/* A load of constant size: what grows is not the program. */
static void *constant_load(void *arg)
{
	static void *cells[2][CELLS];
	void **cell = cells[(uintptr_t)arg];
	uint64_t seed = (uintptr_t)arg + 3;

	while (!atomic_load(&stop)) {
		unsigned int i = (unsigned int)(rnd(&seed) % CELLS);
		size_t size = 16 + (size_t)i * i % 40000;

		if (cell[i] != NULL)
			CHECK_INTACT(cell[i], size, i);
		free(cell[i]);
		cell[i] = malloc(size);
		CHECK(cell[i] != NULL);
		fill(cell[i], size, i);
	}
	for (unsigned int i = 0; i < CELLS; i++)
		free(cell[i]);
	return NULL;
}

struct budget {
	long mappings, files, threads, rss;
	long long metadata;
};

static void measure(struct budget *b)
{
	ask("status"); /* the connection is one of the files */
	b->mappings = count_mappings();
	b->files = count_entries("/proc/self/fd");
	b->threads = count_entries("/proc/self/task");
	b->rss = rss_kib();
	b->metadata = 0;
	for (int n = 0; n < 4; n++)
		b->metadata += status_of(n, "metadata_bytes");
}

static void cycles(void)
{
	struct budget warm, now;
	pthread_t threads[2];
	unsigned long n = scaled(2000);

	races_start();
	for (uintptr_t i = 0; i < 2; i++)
		threads[i] = thread_begin(constant_load, (void *)i);
	for (unsigned long i = 0; i < n; i++) {
		int node = 1 + (int)(i % 3);

		CHECK(offline(node, SLABNODE_MIGRATE) == 0);
		CHECK(lib.online(node, i % 4 == 0, NULL, 0) == 0);
		if (i == 200)
			measure(&warm);
	}
	measure(&now);
	CHECK_MSG(now.mappings <= warm.mappings + 400, "%ld mappings, %ld", warm.mappings,
		  now.mappings);
	CHECK_MSG(now.files == warm.files && now.threads == warm.threads,
		  "%ld files, %ld; %ld threads, %ld", warm.files, now.files, warm.threads,
		  now.threads);
	CHECK_MSG(now.rss <= warm.rss + warm.rss / 4 + 16384, "%ld KiB, %ld KiB", warm.rss,
		  now.rss);
	CHECK_MSG(now.metadata <= warm.metadata * 2 + (long long)MIB,
		  "%lld bytes of metadata, %lld", warm.metadata, now.metadata);
	atomic_store(&stop, true);
	for (unsigned int i = 0; i < 2; i++)
		thread_end(threads[i]);
	check_all_online();
	for (int node = 1; node < 4; node++)
		check_empties(node);
}

/* --- T32: a failure has a reason ---------------------------------------------------------------
 */

/* (Pages that stay, for five seconds each, are T10, T12 and T13.) */
static const struct failure {
	const char *spec;
	int error; /* the only one it may end in */
} failures[] = {
	{"going-offline%100,seed=1", -EBUSY}, {"going-offline=EPERM%100,seed=1", -EPERM},
	{"drain%100,seed=1", -EIO},	      {"drain=ENOSPC%100,seed=1", -ENOSPC},
	{"release%100,seed=1", -EIO},	      {"release=EAGAIN%100,seed=1", -EAGAIN},
	{"wait=EFAULT%100,seed=1", -EFAULT},  {"migrate=EINVAL%100,seed=1", -EINVAL},
	{"move=EPERM%100,seed=1", -EPERM},    {"move=ENOSYS%100,seed=1", -EPERM},
	{"going-online%100,seed=1", -EBUSY},  {"going-online=ENOMEM%100,seed=1", -ENOMEM},
	{"structures%100,seed=1", -ENOMEM},   {"online=EIO%100,seed=1", -EIO},
	{"restore%100,seed=1", -ENOMEM},
};

/* Whatever is asked: an error has a text, success has none. */
static int fuzz_once(unsigned int way, uint64_t *seed)
{
	int node = (int)(rnd(seed) % 6) - 1; /* two that are not there */
	enum slabnode_policy policy = (enum slabnode_policy)(rnd(seed) % 4);
	/* Only what ends by itself may go without. */
	long timeout = policy != SLABNODE_WAIT && rnd(seed) % 2 ? -1 : (long)(rnd(seed) % 20);
	char message[256] = "unwritten";
	/* An online that brings pages back may succeed with a note on those that stay. */
	bool back = way % 4 == 3 && rnd(seed) % 2;
	int error;

	if (way % 4 == 3)
		error = lib.online(node, back, message, sizeof(message));
	else
		error = lib.offline(node, policy, timeout, message, sizeof(message));
	CHECK_MSG(error <= 0 && strcmp(message, "unwritten") != 0 &&
			  ((message[0] != '\0') == (error != 0) || (error == 0 && back)),
		  "node %d, way %u: error %d says \"%s\"", node, way, error, message);
	return error;
}

static void fuzz_for(double seconds, uint64_t *seed, bool *seen)
{
	double until = now_sec() + seconds;

	for (unsigned int way = 0; now_sec() < until; way++) {
		int error = fuzz_once(way, seed);

		CHECK(-error < 200);
		seen[-error] = true;
		if (way % 16 == 0)
			for (int n = 0; n < 4; n++)
				lib.online(n, 0, NULL, 0);
	}
}

static void always_a_reason(void)
{
	static struct bunch bunch;
	bool seen[200] = {false};
	uint64_t seed = 32;

	races_start();
	bunch_hold(&bunch, 1);
	for (unsigned int i = 0; i < ARRAY_SIZE(failures); i++) {
		const struct failure *f = &failures[i];
		struct change *change;
		bool coming = strstr(f->spec, "online") != NULL ||
			      strstr(f->spec, "struct") != NULL ||
			      strstr(f->spec, "restore") != NULL;
		int error;

		if (coming) {
			free(held(3 * MIB, 1, 3)); /* to be made inaccessible, and opened */
			CHECK(offline(1, SLABNODE_MIGRATE) == 0);
		}
		fault("%s", f->spec);
		change = coming ? online_begin(1, false)
				: offline_begin(1,
						strncmp(f->spec, "wait", 4) ? SLABNODE_MIGRATE
									    : SLABNODE_WAIT,
						0);
		error = change_end(change);
		CHECK_MSG(error == f->error, "%s: %d, not %d: %s", f->spec, error, f->error,
			  change->message);
		fault("off");
		CHECK(api.node_state(1) == (coming ? OFFLINE : ONLINE));
		online(1);
		bunch_check(&bunch);
	}
	fuzz_for(1, &seed, seen);
	fault("going-offline%%10,seed=1;drain%%10,seed=2;release%%10,seed=3;migrate%%10,seed=4;"
	      "move=EPERM%%5,seed=5;structures%%10,seed=6;online%%10,seed=7;going-online%%10,seed="
	      "8");
	fuzz_for((double)scaled(2), &seed, seen);
	fault("off");
	CHECK(seen[EBUSY] && seen[ENODEV] && seen[EIO] && seen[EINVAL]);
	for (int n = 0; n < 4; n++)
		online(n);
	bunch_free(&bunch);
	check_all_online();
}

static const struct row rows[] = {
	{"T7-as-before", as_before},
	{"T8-cancel-in-phases", cancel_in_phases},
	{"T8-cancel-twice", cancel_twice},
	{"T8-cancel-without-start", cancel_without_start},
	{"T8-timeout-in-phases", timeout_in_phases},
	{"T8-hang-up-in-phases", hang_up_in_phases},
	{"T8-interrupt-in-phases", interrupt_in_phases},
	{"T9-two-at-once", two_at_once},
	{"T9-last-node", last_node},
	{"T11-undo-without-memory", undo_without_memory},
	{"T25-cycles", cycles},
	{"T32-always-a-reason", always_a_reason},
};

int main(int argc, char **argv)
{
	return run_rows(argc, argv, rows, ARRAY_SIZE(rows));
}
