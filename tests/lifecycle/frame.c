/*
 * frame.c - see lifecycle.h.
 */
#include "lifecycle.h"

#include <dlfcn.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>

#define AUDIT_THREADS 3

extern char **environ;

struct api api;
char ctl_out[1 << 18];
static int ctl_fd = -1;

static void *named(const char *name)
{
	void *p = dlsym(RTLD_DEFAULT, name);

	if (p == NULL && !under_slabnode())
		check_skip("the library is not there");
	CHECK_MSG(p != NULL, "%s is not exported", name);
	return p;
}

void start(void)
{
	*(void **)&api.malloc_node = named("slabnode_malloc_node");
	*(void **)&api.node_of = named("slabnode_node_of");
	*(void **)&api.node_state = named("slabnode_node_state");
	*(void **)&api.prefer_node = named("slabnode_prefer_node");
	*(void **)&api.max_node = named("slabnode_max_node");
	*(void **)&api.offline = named("slabnode_offline");
	*(void **)&api.online = named("slabnode_online");
	*(void **)&api.cancel = named("slabnode_cancel");
	*(void **)&api.cordon = named("slabnode_cordon");
	*(void **)&api.uncordon = named("slabnode_uncordon");
	*(void **)&api.register_memory_notifier = named("slabnode_register_memory_notifier");
	*(void **)&api.cache_create = named("slabnode_cache_create");
	*(void **)&api.cache_alloc = named("slabnode_cache_alloc");
	*(void **)&api.cache_alloc_node = named("slabnode_cache_alloc_node");
	*(void **)&api.cache_free = named("slabnode_cache_free");
	close(link_open()); /* waits for the control thread */
}

/* --- hotplugctl ---------------------------------------------------------------------------- */

/* The environment without what would put hotplugctl itself under the library. */
static char **clean_environment(void)
{
	static char *clean[512];
	size_t n = 0;

	for (char **e = environ; *e != NULL && n < ARRAY_SIZE(clean) - 1; e++)
		if (strncmp(*e, "LD_PRELOAD=", 11) != 0 && strncmp(*e, "GLIBC_TUNABLES=", 15) != 0)
			clean[n++] = *e;
	clean[n] = NULL;
	return clean;
}

static pid_t begin(const char *format, va_list args)
{
	static char text[1024], tool[512], pid_text[16];
	char *argv[40] = {tool, "-p", pid_text}, *save = NULL;
	posix_spawn_file_actions_t actions;
	size_t n = 3;
	pid_t pid;
	int fd;

	vsnprintf(text, sizeof(text), format, args);
	snprintf(tool, sizeof(tool), "%s/tools/hotplugctl", getenv("TEST_BUILD"));
	snprintf(pid_text, sizeof(pid_text), "%d", (int)getpid());
	for (char *word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		argv[n++] = word;
		if (strcmp(word, "-a") == 0 && n == 4) { /* instead of -p PID */
			argv[1] = word;
			n = 2;
		}
	}
	argv[n] = NULL;
	fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	CHECK(fd >= 0);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fd, 1);
	posix_spawn_file_actions_adddup2(&actions, fd, 2);
	CHECK(posix_spawn(&pid, tool, &actions, NULL, argv, clean_environment()) == 0);
	posix_spawn_file_actions_destroy(&actions);
	ctl_fd = fd;
	return pid;
}

pid_t ctl_begin(const char *format, ...)
{
	va_list args;
	pid_t pid;

	va_start(args, format);
	pid = begin(format, args);
	va_end(args);
	return pid;
}

static int end_with(pid_t pid, int fd)
{
	ssize_t n;
	int status;

	while (waitpid(pid, &status, 0) < 0)
		CHECK(errno == EINTR);
	n = pread(fd, ctl_out, sizeof(ctl_out) - 1, 0);
	CHECK(n >= 0);
	ctl_out[n] = '\0';
	close(fd);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

int ctl_end(pid_t pid)
{
	return end_with(pid, ctl_fd);
}

int ctl(const char *format, ...)
{
	va_list args;
	pid_t pid;

	va_start(args, format);
	pid = begin(format, args);
	va_end(args);
	return end_with(pid, ctl_fd);
}

long long printed_number(const char *from, const char *key)
{
	const char *at = from == NULL ? ctl_out : strstr(ctl_out, from);
	char quoted[64];

	CHECK_MSG(at != NULL, "no %s in %s", from, ctl_out);
	snprintf(quoted, sizeof(quoted), "\"%s\":", key);
	at = strstr(at, quoted);
	CHECK_MSG(at != NULL, "no %s in %s", key, ctl_out);
	return strtoll(at + strlen(quoted), NULL, 10);
}

/* --- the socket ---------------------------------------------------------------------------- */

int link_open(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char line[4096];

	CHECK(fd >= 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%d.sock",
		 getenv("SLABNODE_RUNDIR"), (int)getpid());
	for (int i = 0; connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0; i++) {
		CHECK(i < 500);
		sleep_ms(10);
	}
	CHECK(link_line(fd, line, sizeof(line)));
	CHECK(strstr(line, "\"slabnode\":1") != NULL);
	return fd;
}

void link_send(int fd, const char *line)
{
	CHECK(send(fd, line, strlen(line), MSG_NOSIGNAL) == (ssize_t)strlen(line));
}

bool link_line(int fd, char *line, size_t size)
{
	size_t used = 0;

	while (used < size - 1) {
		ssize_t n = read(fd, line + used, 1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		if (line[used++] == '\n')
			break;
	}
	line[used] = '\0';
	return true;
}

/* --- nodes --------------------------------------------------------------------------------- */

void until_state(int node, int state)
{
	for (int i = 0; api.node_state(node) != state; i++) {
		CHECK_MSG(i < 20000, "node %d is in state %d", node, api.node_state(node));
		sleep_ms(1);
	}
}

struct audit {
	int node;
	unsigned int rounds;
	uint64_t seed;
};

static void *audit_thread(void *arg)
{
	struct audit *a = arg;
	void *ring[64] = {NULL};

	for (unsigned int i = 0; i < a->rounds; i++) {
		unsigned int at = i % 64, bits = 3 + (unsigned int)(rnd(&a->seed) % 21);
		size_t size = ((size_t)1 << bits) + rnd(&a->seed) % ((size_t)1 << bits) / 2;
		unsigned char *p;

		if (bits > 17 && i % 8 != 0)
			size >>= 8;
		if (size > 8 * MIB)
			size = 8 * MIB;
		free(ring[at]);
		p = ring[at] = i % 3 == 0 ? calloc(1, size) : malloc(size);
		CHECK(p != NULL);
		for (size_t o = 0;; o = o + 16 * KIB < size ? o + 16 * KIB : size - 1) {
			p[o] = 1;
			CHECK_MSG(api.node_of(p + o) != a->node, "%zu bytes at %p: +%zu is on %d",
				  size, (void *)p, o, a->node);
			if (o == size - 1)
				break;
		}
	}
	for (unsigned int i = 0; i < 64; i++)
		free(ring[i]);
	return NULL;
}

void audit_away(int node, unsigned int rounds)
{
	struct audit audits[AUDIT_THREADS];
	pthread_t threads[AUDIT_THREADS];

	for (unsigned int i = 0; i < AUDIT_THREADS; i++) {
		audits[i] = (struct audit){node, rounds, i + 7};
		CHECK(pthread_create(&threads[i], NULL, audit_thread, &audits[i]) == 0);
	}
	errno = 0;
	CHECK(api.malloc_node(100, node) == NULL && errno == EBUSY);
	errno = 0;
	CHECK(api.malloc_node(MIB, node) == NULL && errno == EBUSY);
	for (unsigned int i = 0; i < AUDIT_THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
}

void *held(size_t size, int node, uint64_t id)
{
	void *p = api.malloc_node(size, node);

	CHECK_MSG(p != NULL, "node %d (state %d) gives no %zu bytes", node, api.node_state(node),
		  size);
	fill(p, size, id);
	return p;
}

void check_allocates(int node)
{
	void *small = api.malloc_node(64, node), *large = api.malloc_node(12 * MIB, node);

	CHECK(small != NULL && large != NULL);
	memset(large, 1, 12 * MIB);
	for (size_t o = 0; o < 12 * MIB; o += 4 * KIB)
		CHECK(api.node_of((char *)large + o) == node);
	free(small);
	free(large);
}
