/*
 * notifiers.c - a program that is told of its nodes' lives, ordered about by hotplugctl.
 *
 * What each listener hears is written on one tape; callbacks come one at a time, so that the tape
 * tells the order among them.
 */
#include "lifecycle.h"

#include "../../include/slabnode.h"

#include <dlfcn.h>
#include <semaphore.h>

static int (*register_memory)(const char *, int, slabnode_memory_fn *, void *);
static int (*register_node)(const char *, int, slabnode_node_fn *, void *);
static int (*unregister)(int);
static int (*offline)(int, enum slabnode_policy, long, char *, size_t);
static int (*online)(int, int, char *, size_t);
static int (*cancel)(int), (*cordon)(int), (*uncordon)(int);
static struct slabnode_cache *(*cache_create)(const char *, size_t, size_t, void (*)(void *));
static int (*cache_destroy)(struct slabnode_cache *);
static void *(*cache_alloc)(struct slabnode_cache *);
static void (*cache_free)(struct slabnode_cache *, void *);

static void *find(const char *name)
{
	void *p = dlsym(RTLD_DEFAULT, name);

	CHECK_MSG(p != NULL, "%s is not exported", name);
	return p;
}

static void begin(void)
{
	start();
	*(void **)&register_memory = find("slabnode_register_memory_notifier");
	*(void **)&register_node = find("slabnode_register_node_notifier");
	*(void **)&unregister = find("slabnode_unregister_notifier");
	*(void **)&offline = find("slabnode_offline");
	*(void **)&online = find("slabnode_online");
	*(void **)&cancel = find("slabnode_cancel");
	*(void **)&cordon = find("slabnode_cordon");
	*(void **)&uncordon = find("slabnode_uncordon");
	*(void **)&cache_create = find("slabnode_cache_create");
	*(void **)&cache_destroy = find("slabnode_cache_destroy");
	*(void **)&cache_alloc = find("slabnode_cache_alloc");
	*(void **)&cache_free = find("slabnode_cache_free");
}

/* --- listeners ----------------------------------------------------------------------------- */

struct listener {
	const char *name;
	int refuse, refuse_node; /* the action that it vetoes, on this node; -1: none */
	void (*inside)(struct listener *listener, const char *event);
	int id;
};

static char tape[1 << 14];
static pthread_mutex_t tape_lock = PTHREAD_MUTEX_INITIALIZER;

static int hear(struct listener *l, const char *event, int action, int node)
{
	size_t used;

	pthread_mutex_lock(&tape_lock);
	used = strlen(tape);
	snprintf(tape + used, sizeof(tape) - used, "%s:%s/%d ", l->name, event, node);
	pthread_mutex_unlock(&tape_lock);
	if (l->inside != NULL)
		l->inside(l, event);
	return l->refuse == action && l->refuse_node == node ? -EPERM : 0;
}

static int on_memory(enum slabnode_mem_action action, const struct slabnode_memory_notify *notify,
		     void *data)
{
	static const char *const names[] = {"going-online",  "cancel-online",  "online",
					    "going-offline", "cancel-offline", "offline"};

	return hear(data, names[action], (int)action, notify->node);
}

static int on_node(enum slabnode_node_action action, const struct slabnode_node_notify *notify,
		   void *data)
{
	static const char *const names[] = {"adding",	"cancel-adding",   "added",
					    "removing", "cancel-removing", "removed"};

	return hear(data, names[action], (int)action, notify->node);
}

static void listen_memory(struct listener *l, int priority)
{
	l->id = register_memory(l->name, priority, on_memory, l);
	CHECK(l->id > 0);
}

static void listen_node(struct listener *l, int priority)
{
	l->id = register_node(l->name, priority, on_node, l);
	CHECK(l->id > 0);
}

static void check_tape(int line, const char *want)
{
	if (strcmp(tape, want) != 0)
		check_fail(__FILE__, line, "the tape says \"%s\", not \"%s\"", tape, want);
	tape[0] = '\0';
}
#define TAPE(want) check_tape(__LINE__, want)

static struct listener mem = {.name = "mem", .refuse = -1}, node = {.name = "node", .refuse = -1},
		       keeper = {.name = "keeper", .refuse = -1};

/* --- rows ---------------------------------------------------------------------------------- */

static void order(void)
{
	void *p;

	begin();
	listen_memory(&mem, 0);
	listen_node(&node, 0);
	CTL(0, "offline 1");
	TAPE("node:removing/1 mem:going-offline/1 node:removed/1 mem:offline/1 ");
	CTL(0, "offline 1");
	CTL(0, "cordon 2");
	CTL(0, "uncordon 2");
	TAPE("");
	CTL(0, "online 1");
	TAPE("node:adding/1 mem:going-online/1 node:added/1 mem:online/1 ");
	p = held(64, 1, 1);
	CTL(4, "offline 1 --policy strict");
	TAPE("node:removing/1 mem:going-offline/1 mem:cancel-offline/1 node:cancel-removing/1 ");
	CTL(6, "offline 1 --policy wait --timeout 0.05");
	TAPE("node:removing/1 mem:going-offline/1 mem:cancel-offline/1 node:cancel-removing/1 ");
	CHECK_INTACT(p, 64, 1);
	CTL(0, "offline 1 2");
	TAPE("node:removing/1 mem:going-offline/1 node:removing/2 mem:going-offline/2 "
	     "node:removed/1 mem:offline/1 node:removed/2 mem:offline/2 ");
	CHECK(unregister(mem.id) == 0 && unregister(mem.id) == -ENOENT);
	CTL(0, "online 2");
	TAPE("node:adding/2 node:added/2 ");
}

/* The one that refuses and those before it hear of the cancel, those after it nothing. */
static void veto(void)
{
	static struct listener before = {.name = "before", .refuse = -1},
			       after = {.name = "after", .refuse = -1};

	begin();
	keeper.refuse_node = 1;
	keeper.refuse = SLABNODE_MEM_GOING_OFFLINE;
	listen_memory(&after, -1);
	listen_memory(&keeper, 0);
	listen_memory(&before, 1);
	CTL(4, "--json offline 1");
	PRINTED("EBUSY");
	PRINTED("refused by notifier keeper (EPERM)");
	TAPE("before:going-offline/1 keeper:going-offline/1 before:cancel-offline/1 "
	     "keeper:cancel-offline/1 ");
	CHECK(api.node_state(1) == ONLINE);
	check_allocates(1);
	CTL(4, "offline 1");
	PRINTED("keeper");
	CTL(64, "offline 1 2"); /* the other node goes all the same */
	CHECK(api.node_state(1) == ONLINE && api.node_state(2) == OFFLINE);
	keeper.refuse = SLABNODE_MEM_GOING_ONLINE;
	CTL(0, "offline 1");
	tape[0] = '\0';
	CTL(4, "--json online 1");
	PRINTED("refused by notifier keeper (EPERM)");
	TAPE("before:going-online/1 keeper:going-online/1 before:cancel-online/1 "
	     "keeper:cancel-online/1 ");
	CHECK(api.node_state(1) == OFFLINE);
	audit_away(1, 300);
	CTL(0, "online 2"); /* it refuses node 1 alone */
	keeper.refuse = -1;
	CTL(0, "online 1");
	check_allocates(1);
}

static void veto_of_node_events(void)
{
	begin();
	keeper.refuse_node = 1;
	keeper.refuse = SLABNODE_NODE_REMOVING_LAST_MEMORY;
	listen_node(&keeper, 0);
	listen_memory(&mem, 100);
	CTL(4, "offline 1");
	PRINTED("refused by notifier keeper");
	TAPE("keeper:removing/1 keeper:cancel-removing/1 ");
	check_allocates(1);
	keeper.refuse = SLABNODE_NODE_ADDING_FIRST_MEMORY;
	CTL(0, "offline 1");
	tape[0] = '\0';
	CTL(4, "online 1");
	PRINTED("refused by notifier keeper");
	TAPE("keeper:adding/1 keeper:cancel-adding/1 ");
	audit_away(1, 300);
	CHECK(unregister(keeper.id) == 0);
	CTL(0, "online 1");
	check_allocates(1);
}

static unsigned int nr_inside;

/* What a callback may do, and what not.  Its memory is the program's: on nodes, not the library's
 * own. */
static void use_everything(struct listener *l, const char *event)
{
	struct slabnode_cache *cache = cache_create("inside", 88, 0, NULL);
	void *small = malloc(100), *large = malloc(300 * KIB), *object;
	char message[100];

	(void)event;
	CHECK(cache != NULL && small != NULL && large != NULL);
	memset(small, 1, 100);
	memset(large, 1, 300 * KIB);
	object = cache_alloc(cache);
	CHECK(object != NULL);
	memset(object, 1, 88);
	CHECK(api.node_of(small) >= 0 && api.node_of(large) >= 0 && api.node_of(object) >= 0);
	CHECK(cache_destroy(cache) == -EBUSY);
	cache_free(cache, object);
	CHECK(cache_destroy(cache) == 0);
	small = realloc(small, 20000);
	CHECK(small != NULL && api.node_of(small) >= 0);
	free(small);
	free(large);
	for (int n = 0; n < 4; n++) {
		CHECK(offline(n, SLABNODE_MIGRATE, -1, message, sizeof(message)) == -EDEADLK);
		CHECK(message[0] != '\0');
		CHECK(online(n, 1, NULL, 0) == -EDEADLK);
		CHECK(cancel(n) == -EDEADLK);
		CHECK(cordon(n) == -EDEADLK && uncordon(n) == -EDEADLK);
	}
	CHECK(register_memory("x", 0, on_memory, l) == -EDEADLK);
	CHECK(register_node("x", 0, on_node, l) == -EDEADLK);
	CHECK(unregister(l->id) == -EDEADLK);
	nr_inside++;
}

static void inside(void)
{
	void *p;

	begin();
	mem.inside = node.inside = use_everything;
	listen_memory(&mem, 0);
	listen_node(&node, 0);
	for (unsigned int i = 0; i < 5; i++) {
		p = held(64, 1, 1);
		CTL(4, "offline 1 --policy strict");
		free(p);
		CTL(0, "offline 1 --policy strict");
		CTL(0, "online 1");
		/* In the program's own threads as in the library's. */
		CHECK(offline(2, SLABNODE_MIGRATE, -1, NULL, 0) == 0);
		CHECK(online(2, 0, NULL, 0) == 0);
	}
	CHECK(nr_inside == 5 * 20);
}

static sem_t stalled, go_on;
static const char *stall_at;

static void stall(struct listener *l, const char *event)
{
	(void)l;
	if (strcmp(event, stall_at) != 0)
		return;
	sem_post(&stalled);
	while (sem_wait(&go_on) != 0)
		CHECK(errno == EINTR);
}

static void begin_stall(struct listener *l, const char *event)
{
	sem_init(&stalled, 0, 0);
	sem_init(&go_on, 0, 0);
	stall_at = event;
	l->inside = stall;
}

/* An order on a connection of its own: hotplugctl's output is wanted for others meanwhile. */
static int order_offline(const char *policy)
{
	int fd = link_open();
	char text[64];

	snprintf(text, sizeof(text), "offline 1 policy=%s\n", policy);
	link_send(fd, text);
	return fd;
}

static void answer(int fd, const char *want)
{
	char line[8192];

	do
		CHECK(link_line(fd, line, sizeof(line)));
	while (strstr(line, "\"progress\"") != NULL);
	CHECK_MSG(strstr(line, want) != NULL, "%s", line);
	close(fd);
}

/* Whatever a callback does, the operator can ask. */
static void check_answers(const char *what)
{
	double before = now_sec();
	char text[64];

	snprintf(text, sizeof(text), "\"waiting_for\":\"%s\"", what);
	CTL(0, "--json status");
	PRINTED(text);
	CTL(0, "--json why 1");
	PRINTED(what);
	CTL(0, "why 1");
	PRINTED(what);
	CHECK(now_sec() - before < 10);
}

static void stalls(void)
{
	static const char *const events[] = {"removing", "going-offline"};

	begin();
	listen_memory(&mem, 0);
	listen_node(&node, 0);
	for (unsigned int i = 0; i < 2; i++) {
		struct listener *slow = i == 0 ? &node : &mem;
		char text[64];
		pid_t pid;
		int fd;

		mem.inside = node.inside = NULL;
		begin_stall(slow, events[i]);
		snprintf(text, sizeof(text), "notifier %s", slow->name);
		fd = order_offline("migrate");
		CHECK(sem_wait(&stalled) == 0);
		check_answers(text);
		check_allocates(2);
		CTL(4, "online 1"); /* the opposite request */
		pid = ctl_begin("cancel 1");
		sleep_ms(200);
		tape[0] = '\0';
		sem_post(&go_on);
		CHECK_MSG(ctl_end(pid) == 0, "%s", ctl_out);
		answer(fd, "ECANCELED");
		CHECK(api.node_state(1) == ONLINE);
		TAPE(i == 0 ? "mem:going-offline/1 mem:cancel-offline/1 node:cancel-removing/1 "
			    : "mem:cancel-offline/1 node:cancel-removing/1 ");
		check_allocates(1);
	}
}

/* The end may take its time as well. */
static void stall_at_the_end(void)
{
	int fd;

	begin();
	listen_memory(&mem, 0);
	listen_node(&node, 0);
	begin_stall(&mem, "offline");
	fd = order_offline("strict");
	CHECK(sem_wait(&stalled) == 0);
	CHECK(api.node_state(1) == OFFLINE);
	check_answers("notifier mem");
	audit_away(1, 200);
	sem_post(&go_on);
	answer(fd, "\"ok\":true");
	TAPE("node:removing/1 mem:going-offline/1 node:removed/1 mem:offline/1 ");
}

static void newcomers(void)
{
	void *p;
	int fd;

	begin();
	p = held(100, 1, 1);
	for (unsigned int i = 0; i < 4; i++) {
		fd = order_offline("wait");
		until_state(1, GOING_OFFLINE);
		sleep_ms(50);
		listen_memory(&mem, 0);
		TAPE("mem:going-offline/1 "); /* told before register returns */
		keeper.refuse_node = 1;
		keeper.refuse = i % 2 ? (int)SLABNODE_MEM_GOING_OFFLINE
				      : (int)SLABNODE_NODE_REMOVING_LAST_MEMORY;
		i % 2 ? listen_memory(&keeper, 1) : listen_node(&keeper, 1);
		answer(fd, "refused by notifier keeper");
		CHECK(api.node_state(1) == ONLINE);
		TAPE(i % 2 ? "keeper:going-offline/1 keeper:cancel-offline/1 mem:cancel-offline/1 "
			   : "keeper:removing/1 mem:cancel-offline/1 keeper:cancel-removing/1 ");
		CHECK(unregister(keeper.id) == 0 && unregister(mem.id) == 0);
		check_allocates(1);
		CHECK_INTACT(p, 100, 1);
	}
	fd = order_offline("wait");
	until_state(1, GOING_OFFLINE);
	sleep_ms(50);
	listen_node(&node, 0);
	free(p);
	answer(fd, "\"ok\":true");
	TAPE("node:removing/1 node:removed/1 ");
}

static void *leave(void *arg)
{
	CHECK(unregister(mem.id) == 0);
	__atomic_store_n((bool *)arg, true, __ATOMIC_SEQ_CST);
	return NULL;
}

static void unregister_waits(void)
{
	bool gone = false;
	pthread_t thread;
	int fd;

	begin();
	listen_memory(&mem, 0);
	begin_stall(&mem, "going-offline");
	fd = order_offline("migrate");
	CHECK(sem_wait(&stalled) == 0);
	CHECK(pthread_create(&thread, NULL, leave, &gone) == 0);
	sleep_ms(100);
	CHECK(!__atomic_load_n(&gone, __ATOMIC_SEQ_CST));
	sem_post(&go_on);
	CHECK(pthread_join(thread, NULL) == 0);
	answer(fd, "\"ok\":true");
	tape[0] = '\0';
	CTL(0, "online 1");
	TAPE("");
}

/* --- a storm of transitions ---------------------------------------------------------------- */

#define WITNESSES 16

/* What it heard last of each node must fit what comes next. */
struct witness {
	int id, at[4]; /* 0 nothing, 1 a node comes, 2 it leaves */
	bool memory;
	volatile bool present;
	uint64_t seed;
};

static struct witness witnesses[WITNESSES];
static unsigned long told;
static volatile bool stop;

static int witness_event(struct witness *w, int action, int n)
{
	int way = action < 3 ? 1 : 2;
	void *p = malloc(1 + rnd(&w->seed) % 3000);

	CHECK(p != NULL && api.node_of(p) >= 0);
	free(p);
	CHECK(w->present && n >= 0 && n < 4);
	CHECK_MSG(w->at[n] == (action % 3 == 0 ? 0 : way), "action %d on node %d after %d", action,
		  n, w->at[n]);
	w->at[n] = action % 3 == 0 ? way : 0;
	told++;
	/* Leaving alone: the storm wants every node in service after a refusal. */
	return action == 3 && rnd(&w->seed) % 30 == 0 ? -EBUSY : 0;
}

static int witness_memory(enum slabnode_mem_action action,
			  const struct slabnode_memory_notify *notify, void *data)
{
	return witness_event(data, (int)action, notify->node);
}

static int witness_node(enum slabnode_node_action action, const struct slabnode_node_notify *notify,
			void *data)
{
	return witness_event(data, (int)action, notify->node);
}

static void *come_and_go(void *arg)
{
	uint64_t seed = 5;

	while (!stop) {
		struct witness *w = &witnesses[rnd(&seed) % WITNESSES];

		if (w->present) {
			CHECK(unregister(w->id) == 0);
			w->present = false;
		} else {
			memset(w->at, 0, sizeof(w->at));
			w->seed = rnd(&seed) | 1;
			w->present = true;
			w->id = rnd(&seed) % 2 ? register_memory("witness", (int)(rnd(&seed) % 5),
								 witness_memory, w)
					       : register_node("witness", (int)(rnd(&seed) % 5),
							       witness_node, w);
			CHECK(w->id > 0);
		}
		sleep_ms((long)(rnd(&seed) % 3));
	}
	return arg;
}

/* Children in the middle of it begin with nothing under way, and can change nodes. */
static void fork_once(void)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		int away = 0;

		alarm(60);
		for (int n = 0; n < 4; n++) {
			int state = api.node_state(n);

			CHECK(state == ONLINE || state == OFFLINE);
			away += state == OFFLINE;
		}
		CHECK(away < 4);
		keeper.refuse = -1;
		listen_node(&keeper, 1000);
		tape[0] = '\0';
		free(malloc(100000));
		_exit(0);
	}
	wait_exit(pid, 0);
}

static void storm(void)
{
	pthread_t thread;
	siginfo_t info;
	pid_t pid;

	begin();
	CHECK(pthread_create(&thread, NULL, come_and_go, NULL) == 0);
	pid = ctl_begin("storm --seed 3 --duration %lu --rate 400", scaled(5));
	do {
		info = (siginfo_t){0};
		sleep_ms(50);
		fork_once();
		CHECK(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0);
	} while (info.si_pid == 0);
	CHECK_MSG(ctl_end(pid) == 0, "%s", ctl_out);
	stop = true;
	CHECK(pthread_join(thread, NULL) == 0);
	for (unsigned int i = 0; i < WITNESSES; i++)
		for (int n = 0; witnesses[i].present && n < 4; n++)
			CHECK(witnesses[i].at[n] == 0);
	CHECK_MSG(told > 100, "only %lu events", told);
}

static void fork_in_a_callback(void)
{
	pid_t pid;
	int fd;

	begin();
	listen_memory(&mem, 0);
	listen_node(&node, 0);
	begin_stall(&mem, "going-offline");
	fd = order_offline("migrate");
	CHECK(sem_wait(&stalled) == 0);
	pid = fork(); /* another thread is inside the callback */
	CHECK(pid >= 0);
	if (pid == 0) {
		alarm(60);
		mem.inside = NULL;
		tape[0] = '\0';
		CHECK(api.node_state(1) == ONLINE);
		check_allocates(1);
		CHECK(offline(1, SLABNODE_MIGRATE, -1, NULL, 0) == 0);
		TAPE("node:removing/1 mem:going-offline/1 node:removed/1 mem:offline/1 ");
		CHECK(unregister(mem.id) == 0);
		CHECK(online(1, 0, NULL, 0) == 0);
		TAPE("node:adding/1 node:added/1 ");
		_exit(0);
	}
	wait_exit(pid, 0);
	sem_post(&go_on);
	answer(fd, "\"ok\":true");
	TAPE("node:removing/1 mem:going-offline/1 node:removed/1 mem:offline/1 ");
}

/* --- descriptors --------------------------------------------------------------------------- */

static int log_fd;

static void write_log(struct listener *l, const char *event)
{
	(void)l;
	CHECK_MSG(dprintf(log_fd, "%s ", event) > 0, "a callback cannot write: %s",
		  strerror(errno));
}

/* Callbacks in workers of the control thread see the program's descriptors, whether they were
 * registered before it started or after. */
static void descriptors(void)
{
	struct listener early = {.name = "early", .refuse = -1, .inside = write_log};
	struct listener late = {.name = "late", .refuse = -1, .inside = write_log};
	char text[256] = "";
	int fds[2];

	begin();
	CHECK(pipe(fds) == 0);
	log_fd = fds[1];
	listen_memory(&early, 0);
	CTL(0, "offline 1");
	listen_memory(&late, 0);
	CTL(0, "online 1");
	CHECK(read(fds[0], text, sizeof(text) - 1) > 0);
	CHECK_MSG(strcmp(text, "going-offline offline going-online going-online online online ") ==
			  0,
		  "%s", text);
}

static const struct row rows[] = {
	{"order", order},
	{"veto", veto},
	{"veto-of-node-events", veto_of_node_events},
	{"inside", inside},
	{"stalls", stalls},
	{"stall-at-the-end", stall_at_the_end},
	{"newcomers", newcomers},
	{"unregister-waits", unregister_waits},
	{"storm", storm},
	{"fork-in-a-callback", fork_in_a_callback},
	{"descriptors", descriptors},
};

int main(int argc, char **argv)
{
	return run_rows(argc, argv, rows, ARRAY_SIZE(rows));
}
