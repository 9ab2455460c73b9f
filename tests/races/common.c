/*
 * common.c - see races.h.
 */
#include "races.h"

#include "../preload/proc.h"

#include <dlfcn.h>

struct library lib;

static int connection = -1;
static char answer[1 << 20];

static void find(void *function, const char *name)
{
	void *p = dlsym(RTLD_DEFAULT, name);

	CHECK_MSG(p != NULL, "%s is not exported", name);
	*(void **)function = p;
}

void races_start(void)
{
	start();
	find(&lib.offline, "slabnode_offline");
	find(&lib.online, "slabnode_online");
	find(&lib.cancel, "slabnode_cancel");
	find(&lib.cordon, "slabnode_cordon");
	find(&lib.uncordon, "slabnode_uncordon");
	find(&lib.register_memory, "slabnode_register_memory_notifier");
	find(&lib.unregister, "slabnode_unregister_notifier");
	find(&lib.cache_create, "slabnode_cache_create");
	find(&lib.cache_destroy, "slabnode_cache_destroy");
	find(&lib.cache_alloc_node, "slabnode_cache_alloc_node");
	find(&lib.cache_free, "slabnode_cache_free");
}

void races_with(const char *variable, const char *value)
{
	static char row[128];
	const char *now = getenv(variable);
	ssize_t n, name = 0;
	int fd;

	if (now != NULL && strcmp(now, value) == 0)
		return;
	fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0 && (n = read(fd, row, sizeof(row) - 1)) > 0);
	close(fd);
	row[n] = '\0';
	name = (ssize_t)strlen(row) + 1;
	CHECK(name < n && setenv(variable, value, 1) == 0);
	execl("/proc/self/exe", row, row + name, (char *)NULL);
	CHECK_MSG(false, "exec");
}

/* --- the control socket -------------------------------------------------------------------- */

/* One line, without what lies behind it: requests and answers take turns here. */
static void read_answer(void)
{
	size_t used = 0;

	do {
		ssize_t n = read(connection, answer + used, sizeof(answer) - 1 - used);

		if (n < 0 && errno == EINTR)
			continue;
		CHECK_MSG(n > 0, "the control thread hung up");
		used += (size_t)n;
		CHECK(used < sizeof(answer) - 1);
	} while (answer[used - 1] != '\n');
	answer[used] = '\0';
}

const char *ask(const char *format, ...)
{
	static pid_t owner;
	char line[512];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line) - 1, format, args);
	va_end(args);
	strcat(line, "\n");
	if (owner != getpid()) { /* a child has a socket of its own */
		if (connection >= 0)
			close(connection);
		connection = link_open();
		owner = getpid();
	}
	link_send(connection, line);
	read_answer();
	return answer;
}

long long status_of(int node, const char *key)
{
	char text[64];
	const char *at;

	snprintf(text, sizeof(text), "\"node\":%d,", node);
	at = strstr(ask("status"), text);
	CHECK_MSG(at != NULL, "no node %d in %s", node, answer);
	snprintf(text, sizeof(text), "\"%s\":", key);
	at = strstr(at, text);
	CHECK_MSG(at != NULL, "no %s in %s", key, answer);
	return strtoll(at + strlen(text), NULL, 10);
}

static char spec[400]; /* of the last fault */

void fault(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(spec, sizeof(spec), format, args);
	va_end(args);
	ask("fault %s", spec);
	CHECK_MSG(strstr(answer, "\"ok\":true") != NULL, "%s", answer);
}

/* --- changes ------------------------------------------------------------------------------- */

pthread_t thread_begin(void *(*run)(void *), void *arg)
{
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, run, arg) == 0);
	return thread;
}

void thread_end(pthread_t thread)
{
	CHECK(pthread_join(thread, NULL) == 0);
}

static void *change_thread(void *arg)
{
	struct change *c = arg;

	c->error = c->online ? lib.online(c->node, c->rebalance, c->message, sizeof(c->message))
			     : lib.offline(c->node, c->policy, c->timeout_ms ? c->timeout_ms : -1,
					   c->message, sizeof(c->message));
	c->end = now_sec();
	atomic_store(&c->done, true);
	return NULL;
}

void change_begin(struct change *c)
{
	c->thread = thread_begin(change_thread, c);
}

int change_end(struct change *c)
{
	int error;

	thread_end(c->thread);
	error = c->error;
	CHECK_MSG(error <= 0 &&
			  ((error == 0) == (c->message[0] == '\0') || (error == 0 && c->rebalance)),
		  "error %d says \"%s\"", error, c->message);
	return error;
}

static struct change *a_change(int node, bool is_online)
{
	static struct change changes[8];
	static unsigned int next;
	struct change *c = &changes[next++ % ARRAY_SIZE(changes)];

	memset(c, 0, sizeof(*c));
	c->node = node;
	c->online = is_online;
	return c;
}

struct change *offline_begin(int node, enum slabnode_policy policy, long timeout_ms)
{
	struct change *c = a_change(node, false);

	c->policy = policy;
	c->timeout_ms = timeout_ms;
	change_begin(c);
	return c;
}

struct change *online_begin(int node, bool rebalance)
{
	struct change *c = a_change(node, true);

	c->rebalance = rebalance;
	change_begin(c);
	return c;
}

int offline(int node, enum slabnode_policy policy)
{
	char message[256] = "unwritten";
	int error = lib.offline(node, policy, -1, message, sizeof(message));

	CHECK_MSG(error <= 0 && (error == 0) == (message[0] == '\0') &&
			  strcmp(message, "unwritten") != 0,
		  "error %d says \"%s\"", error, message);
	return error;
}

void online(int node)
{
	char message[256] = "";
	int error = lib.online(node, 0, message, sizeof(message));

	CHECK_MSG(error == 0, "online of node %d: %d %s", node, error, message);
	CHECK(api.node_state(node) == ONLINE);
}

/* Whether the thread is inside clock_nanosleep(), by what the kernel says. */
static bool sleeps(const char *tid)
{
	char path[64], text[32] = "";
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%.20s/syscall", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	return n > 0 && strtol(text, NULL, 10) == SYS_clock_nanosleep && text[0] != 'r';
}

/* Memory may be what the delayed step keeps others from. */
bool is_delayed(void)
{
	struct entries tasks;
	const char *thread;
	bool found = false;

	entries_open(&tasks, "/proc/self/task");
	while ((thread = entries_next(&tasks)) != NULL)
		found = found ||
			(strtol(thread, NULL, 10) != syscall(SYS_gettid) && sleeps(thread));
	return found;
}

void until_delayed(void)
{
	double until = now_sec() + 20;

	while (!is_delayed())
		CHECK_MSG(now_sec() < until, "nothing was delayed: %s", spec);
}

/* --- what must hold afterwards ------------------------------------------------------------- */

void check_all_online(void)
{
	const char *at = ask("status");

	CHECK_MSG(strstr(at, "\"transition\":{") == NULL, "something is under way: %s", at);
	for (int n = 0; n < api.max_node(); n++) {
		if (api.node_state(n) < 0)
			continue;
		CHECK_MSG(api.node_state(n) == ONLINE, "node %d is in state %d", n,
			  api.node_state(n));
		check_allocates(n);
	}
}

void check_empties(int node)
{
	char message[256];
	int error = lib.offline(node, SLABNODE_STRICT, -1, message, sizeof(message));

	CHECK_MSG(error == 0, "strict offline of node %d: %s", node, message);
	CHECK(status_of(node, "resident_bytes") == 0);
	CHECK(status_of(node, "live_bytes") == 0);
	online(node);
}

/* --- bunches ------------------------------------------------------------------------------- */

static size_t size_in_bunch(unsigned int i)
{
	static const size_t large[] = {50000, 300000, 3 * MIB, 12 * MIB};

	return i < BUNCH - ARRAY_SIZE(large) ? 8 + (size_t)i * i % 9000
					     : large[i - (BUNCH - ARRAY_SIZE(large))];
}

size_t bunch_bytes(void)
{
	size_t sum = 0;

	for (unsigned int i = 0; i < BUNCH; i++)
		sum += size_in_bunch(i);
	return sum;
}

void bunch_hold(struct bunch *bunch, int node)
{
	bunch->node = node;
	for (unsigned int i = 0; i < BUNCH; i++)
		bunch->p[i] = held(size_in_bunch(i), node, i + (uint64_t)node * BUNCH);
}

void bunch_check(const struct bunch *bunch)
{
	for (unsigned int i = 0; i < BUNCH; i++)
		CHECK_INTACT(bunch->p[i], size_in_bunch(i), i + (uint64_t)bunch->node * BUNCH);
}

void bunch_free(struct bunch *bunch)
{
	bunch_check(bunch);
	for (unsigned int i = 0; i < BUNCH; i++)
		free(bunch->p[i]);
}
