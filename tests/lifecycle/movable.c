/*
 * movable.c - what the operator sees of a program's movable objects: its answers stall, it
 * declines, it forks.  Linked with the library.
 */
#include "lifecycle.h"

#include "../../include/slabnode.h"

#include <semaphore.h>

#define OBJECTS 600

struct object {
	_Atomic int live;
	unsigned int number;
	unsigned char body[240];
};

static struct slabnode_cache *cache;
static struct object *objects[OBJECTS];
static sem_t stalled, go_on;
static _Atomic bool stalls, declines;

static void construct(void *p)
{
	((struct object *)p)->live = 0;
}

/* One thread owns all objects, and waits while they are asked. */
static void *get(struct slabnode_cache *of, unsigned int count, void **asked, void *data)
{
	CHECK(of == cache);
	for (unsigned int i = 0; i < count; i++)
		if (!((struct object *)asked[i])->live)
			asked[i] = NULL;
	return declines ? NULL : data;
}

static void reclaim(const struct slabnode_reclaim *request, void *data)
{
	CHECK(data == &cache && request->token == &cache);
	if (stalls) {
		stalls = false;
		sem_post(&stalled);
		while (sem_wait(&go_on) != 0)
			;
	}
	for (unsigned int i = 0; i < request->count; i++) {
		struct object *old = request->objects[i], *new;

		if (old == NULL)
			continue;
		CHECK(objects[old->number] == old);
		new = slabnode_cache_alloc_node(cache, request->to);
		if (new == NULL)
			continue; /* the node that is being compacted leaves */
		new->number = old->number;
		memcpy(new->body, old->body, sizeof(new->body));
		new->live = 1;
		objects[old->number] = new;
		old->live = 0;
		slabnode_cache_free(cache, old);
		request->answers[i] = SLABNODE_MOVED;
	}
}

static void begin(void)
{
	if (!under_slabnode())
		check_skip("needs simulated nodes");
	start();
	sem_init(&stalled, 0, 0);
	sem_init(&go_on, 0, 0);
	cache = slabnode_cache_create("movers", sizeof(struct object), 0, construct);
	CHECK(cache != NULL && slabnode_cache_set_movable(cache, get, reclaim, &cache) == 0);
	for (unsigned int i = 0; i < OBJECTS; i++) {
		objects[i] = slabnode_cache_alloc_node(cache, 1);
		CHECK(objects[i] != NULL);
		objects[i]->number = i;
		fill(objects[i]->body, sizeof(objects[i]->body), i);
		objects[i]->live = 1;
	}
}

static unsigned int check_objects(int node)
{
	unsigned int there = 0;

	for (unsigned int i = 0; i < OBJECTS; i++) {
		CHECK(objects[i]->number == i && objects[i]->live == 1);
		CHECK_INTACT(objects[i]->body, sizeof(objects[i]->body), i);
		there += slabnode_node_of(objects[i]) == node;
	}
	return there;
}

static int order(const char *command)
{
	int fd = link_open();

	stalls = true;
	link_send(fd, command);
	CHECK(sem_wait(&stalled) == 0);
	return fd;
}

/* The line that ends the request. */
static void answer(int fd, const char *want)
{
	char line[8192];

	do
		CHECK(link_line(fd, line, sizeof(line)));
	while (strstr(line, "\"ok\":") == NULL);
	CHECK_MSG(strstr(line, want) != NULL, "%s: %s", want, line);
	close(fd);
}

static void at_once(double since)
{
	CHECK(now_sec() - since < 5);
}

static void stall(void)
{
	double before;
	int fd;

	begin();
	fd = order("offline 1 policy=migrate\n");
	before = now_sec();
	CTL(0, "why 1");
	PRINTED("reclaim of movers");
	CTL(0, "--json status");
	PRINTED("evict");
	CTL(0, "slabinfo");
	check_allocates(2);
	CTL(0, "cancel 1");
	at_once(before);
	CHECK(api.node_state(1) == GOING_OFFLINE);
	sem_post(&go_on);
	answer(fd, "ECANCELED");
	CHECK(api.node_state(1) == ONLINE);
	CHECK(check_objects(1) >= OBJECTS - 64);
	check_allocates(1);
}

/* Who asked is gone: undone when reclaim has returned. */
static void hang_up(void)
{
	int fd;

	begin();
	fd = order("offline 1 policy=migrate\n");
	close(fd);
	sleep_ms(200);
	CHECK(api.node_state(1) == GOING_OFFLINE);
	sem_post(&go_on);
	until_state(1, ONLINE);
	CHECK(check_objects(1) >= OBJECTS - 64);
	CTL(0, "--json offline 1");
	CHECK(check_objects(1) == 0);
}

static void declining(void)
{
	double before;

	begin();
	declines = true;
	before = now_sec();
	CTL(0, "--json offline 1");
	at_once(before);
	CHECK(printed_number(NULL, "evicted_objects") == 0);
	CHECK(printed_number(NULL, "migrated_bytes") >=
	      (long long)(OBJECTS * sizeof(struct object)));
	CHECK(check_objects(1) == 0); /* their pages moved */
}

/* A drain that stalls: everything else goes on, an offline of that node as soon as it may. */
static void stalled_drain(void)
{
	double before;
	pid_t pid;
	int fd;

	begin();
	for (unsigned int i = 0; i < OBJECTS; i++)
		if (i % 5 != 0) {
			objects[i]->live = 0;
			slabnode_cache_free(cache, objects[i]);
			objects[i] = NULL;
		}
	fd = order("drain 1\n");
	before = now_sec();
	CTL(0, "offline 2");
	CTL(0, "online 2");
	pid = ctl_begin("offline 1");
	until_state(1, GOING_OFFLINE);
	sem_post(&go_on);
	CHECK_MSG(ctl_end(pid) == 0, "%s", ctl_out);
	at_once(before);
	answer(fd, "evicted_objects");
	CHECK(api.node_state(1) == OFFLINE);
	for (unsigned int i = 0; i < OBJECTS; i += 5)
		CHECK_INTACT(objects[i]->body, sizeof(objects[i]->body), i);
}

static void fork_meanwhile(void)
{
	pid_t pid;
	int fd;

	begin();
	fd = order("offline 1 policy=migrate\n");
	pid = fork(); /* another thread is between get and the end of reclaim */
	CHECK(pid >= 0);
	if (pid == 0) {
		char why[200];

		alarm(60);
		CHECK(api.node_state(1) == ONLINE);
		CHECK(check_objects(1) == OBJECTS);
		check_allocates(1);
		CHECK(slabnode_offline(1, SLABNODE_MIGRATE, -1, why, sizeof(why)) == 0);
		CHECK(check_objects(1) == 0);
		CHECK(slabnode_online(1, 0, why, sizeof(why)) == 0);
		_exit(0);
	}
	wait_exit(pid, 0);
	sem_post(&go_on);
	answer(fd, "\"evicted_objects\":600");
	CHECK(check_objects(1) == 0);
}

static const struct row rows[] = {
	{"stall", stall},	  {"hang-up", hang_up},
	{"declining", declining}, {"stalled-drain", stalled_drain},
	{"fork", fork_meanwhile},
};

int main(int argc, char **argv)
{
	return run_rows(argc, argv, rows, ARRAY_SIZE(rows));
}
