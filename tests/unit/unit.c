/*
 * unit.c - see unit.h.
 */
#include "unit.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#define LEDGER_PAGES ((size_t)1 << (SN_WINDOW_SHIFT - SN_PAGE_SHIFT))
#define SECONDS	     120

bool unit_locked;
uint64_t unit_sample;
unsigned int unit_cpus;
struct unit_machine machine;

static uint8_t *ledger; /* by page of the window: node index, 0 for no page */
static struct sn_lock ledger_lock;
static _Atomic size_t resident[SN_MAX_NODES + 1];
static struct sn_nodemask policy[SN_MAX_NODES + 1];
static bool has_policy[SN_MAX_NODES + 1];
static _Thread_local unsigned int cpu_node = SN_FIRST_NODE;

/* --- children ------------------------------------------------------------------------------ */

void unit_fail(const char *file, int line, const char *format, ...)
{
	va_list args;

	dprintf(2, "%s:%d: ", file, line);
	va_start(args, format);
	vdprintf(2, format, args);
	va_end(args);
	dprintf(2, "\n");
	_exit(1);
}

/* How long a test may take; an emulator, or a build that counts lines, needs longer. */
static unsigned int patience(void)
{
	const char *seconds = getenv("UNIT_SECONDS");

	return seconds == NULL ? SECONDS : (unsigned int)atoi(seconds);
}

void unit_isolated(unit_body *body)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		/* cmocka's handlers would hide what happened. */
		signal(SIGSEGV, SIG_DFL);
		signal(SIGBUS, SIG_DFL);
		alarm(patience());
		body();
		exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status))
		fail_msg("ended by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static size_t read_all(int fd, char *text, size_t size)
{
	size_t used = 0;
	ssize_t n;

	while (used < size - 1 && (n = read(fd, text + used, size - 1 - used)) > 0)
		used += (size_t)n;
	text[used] = '\0';
	return used;
}

void unit_dies(void (*fn)(void *), void *arg, const char *message)
{
	char got[512], want[256];
	int fds[2], status;
	pid_t pid;

	CHECK(pipe(fds) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		signal(SIGABRT, SIG_DFL);
		dup2(fds[1], 2);
		close(fds[0]);
		close(fds[1]);
		fn(arg);
		_exit(0);
	}
	close(fds[1]);
	read_all(fds[0], got, sizeof(got));
	close(fds[0]);
	/* An emulator of processors speaks of the signal as well. */
	if (strstr(got, "qemu: ") != NULL)
		*strstr(got, "qemu: ") = '\0';
	CHECK(waitpid(pid, &status, 0) == pid);
	snprintf(want, sizeof(want), message, arg);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT)
		unit_fail(__FILE__, __LINE__, "status %#x, not SIGABRT; stderr: %s", status, got);
	if (strcmp(got, want) != 0)
		unit_fail(__FILE__, __LINE__, "stderr is \"%s\", not \"%s\"", got, want);
}

void unit_arguments(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "locked") == 0) {
		unit_locked = true;
	} else if (argc != 2 || strcmp(argv[1], "rseq") != 0) {
		fprintf(stderr, "usage: %s rseq|locked\n", argv[0]);
		exit(2);
	}
}

/* --- the ledger ---------------------------------------------------------------------------- */

static uint8_t *entry_of(const void *p)
{
	size_t page = ((uintptr_t)p - sn_window) >> SN_PAGE_SHIFT;

	CHECK(page < LEDGER_PAGES);
	return &ledger[page];
}

static size_t room_pages(unsigned int node)
{
	size_t all = machine.capacity[node] >> SN_PAGE_SHIFT, used = atomic_load(&resident[node]);

	if (machine.capacity[node] == 0)
		return SIZE_MAX >> SN_PAGE_SHIFT;
	return used < all ? all - used : 0;
}

static void put_page(uint8_t *entry, unsigned int node)
{
	if (*entry != 0)
		atomic_fetch_sub(&resident[*entry], 1);
	*entry = (uint8_t)node;
	if (node != 0)
		atomic_fetch_add(&resident[node], 1);
}

/* Whether this call is the one that fails. */
static int fails(int *countdown, enum sn_fault_point point)
{
	int error = sn_fault(point);

	if (error != 0)
		return error;
	if (*countdown > 0 && --*countdown == 0)
		return machine.error != 0 ? machine.error : -ENOMEM;
	return 0;
}

/* Where a new page of home's range lands by its policy. */
static unsigned int landing(unsigned int home)
{
	if (!has_policy[home] || sn_mask_has(&policy[home], home))
		return room_pages(home) > 0 ? home : 0;
	for (const uint8_t *order = sn_nodes[home]->fallback; *order != 0; order++)
		if (sn_mask_has(&policy[home], *order) && room_pages(*order) > 0)
			return *order;
	return 0;
}

static void drop_pages(uint8_t *entry, size_t npages)
{
	for (size_t i = 0; i < npages; i++)
		put_page(&entry[i], 0);
}

static int populate(void *addr, size_t len, unsigned int node)
{
	uint8_t *entry = entry_of(addr);
	size_t npages = len >> SN_PAGE_SHIFT;
	int error;

	sn_lock_acquire(&ledger_lock, SN_RANK_SIMULATION);
	error = fails(&machine.fail_populate, SN_FAULT_POPULATE);
	for (size_t i = 0; error == 0 && i < npages; i++) {
		unsigned int target = landing(node);

		CHECK(entry[i] == 0); /* handed out twice, or never given back */
		if (target == 0) {
			drop_pages(entry, i);
			error = -ENOMEM;
		} else {
			put_page(&entry[i], target);
		}
	}
	sn_lock_release(&ledger_lock, SN_RANK_SIMULATION);
	return error;
}

static void depopulate(void *addr, size_t len, unsigned int node)
{
	(void)node;
	sn_lock_acquire(&ledger_lock, SN_RANK_SIMULATION);
	drop_pages(entry_of(addr), len >> SN_PAGE_SHIFT);
	sn_lock_release(&ledger_lock, SN_RANK_SIMULATION);
}

static int bind_range(void *addr, size_t len, unsigned int node, const struct sn_nodemask *allowed)
{
	int error;

	(void)addr, (void)len;
	atomic_fetch_add(&machine.binds, 1);
	if (machine.on_bind != NULL)
		machine.on_bind(node);
	sn_lock_acquire(&ledger_lock, SN_RANK_SIMULATION);
	error = fails(&machine.fail_bind, SN_FAULT_BIND);
	if (error == 0) {
		policy[node] = *allowed;
		has_policy[node] = true;
	}
	sn_lock_release(&ledger_lock, SN_RANK_SIMULATION);
	return error;
}

static int move(void *addr, size_t len, unsigned int target, struct sn_move_result *result)
{
	uint8_t *entry = entry_of(addr);
	int error;

	atomic_fetch_add(&machine.moves, 1);
	if (machine.on_move != NULL)
		machine.on_move(target);
	sn_lock_acquire(&ledger_lock, SN_RANK_SIMULATION);
	error = fails(&machine.fail_move, SN_FAULT_MOVE);
	for (size_t i = 0; error == 0 && i < len >> SN_PAGE_SHIFT; i++) {
		if (entry[i] == 0) {
			result->absent++;
		} else if (entry[i] == target) {
			result->moved++;
		} else if (machine.pages_busy || sn_fault(SN_FAULT_MOVE_BUSY) != 0) {
			result->busy++;
		} else if (sn_fault(SN_FAULT_MOVE_SHARED) != 0) {
			result->shared++;
		} else if (room_pages(target) == 0 || sn_fault(SN_FAULT_MOVE_NOMEM) != 0) {
			result->no_room++;
		} else {
			put_page(&entry[i], target);
			result->moved++;
		}
	}
	sn_lock_release(&ledger_lock, SN_RANK_SIMULATION);
	if (machine.after_move != NULL)
		machine.after_move(target);
	return error;
}

static int query(void *addr, size_t npages, int *nodes)
{
	uint8_t *entry = entry_of(addr);
	int error = sn_fault(SN_FAULT_QUERY);

	if (error != 0)
		return error;
	atomic_fetch_add(&machine.queried, npages);
	sn_lock_acquire(&ledger_lock, SN_RANK_SIMULATION);
	for (size_t i = 0; i < npages; i++)
		nodes[i] = entry[i] == 0 ? -ENOENT : entry[i];
	sn_lock_release(&ledger_lock, SN_RANK_SIMULATION);
	return 0;
}

static size_t room(unsigned int node)
{
	return machine.capacity[node] == 0 ? SIZE_MAX : room_pages(node) << SN_PAGE_SHIFT;
}

static size_t resident_bytes(unsigned int node)
{
	return atomic_load(&resident[node]) << SN_PAGE_SHIFT;
}

static size_t capacity(unsigned int node)
{
	return machine.capacity[node] == 0 ? SIZE_MAX : machine.capacity[node];
}

static int vacate(void *addr, size_t len, unsigned int node)
{
	atomic_fetch_add(&machine.vacates, 1);
	if (machine.on_vacate != NULL)
		machine.on_vacate(node);
	if (sn_fault(SN_FAULT_VACATE) != 0)
		return -ENOMEM;
	return mprotect(addr, len, PROT_NONE) == 0 ? 0 : -errno;
}

static int restore(void *addr, size_t len, unsigned int node)
{
	int error;

	(void)node;
	atomic_fetch_add(&machine.restores, 1);
	sn_lock_acquire(&ledger_lock, SN_RANK_SIMULATION);
	error = fails(&machine.fail_restore, SN_FAULT_RESTORE);
	sn_lock_release(&ledger_lock, SN_RANK_SIMULATION);
	if (error != 0)
		return error;
	return mprotect(addr, len, PROT_READ | PROT_WRITE) == 0 ? 0 : -errno;
}

static unsigned int thread_node(void)
{
	return cpu_node;
}

static int allowed(struct sn_nodemask *mask)
{
	for_each_node(n)
		if (!sn_mask_has(&machine.forbidden, n))
			sn_mask_add(mask, n);
	return 0;
}

static const struct sn_placement placement = {
	.name = "simulated",
	.reason = "unit test",
	.simulated = true,
	.populate = populate,
	.depopulate = depopulate,
	.bind_range = bind_range,
	.move = move,
	.query = query,
	.room = room,
	.resident = resident_bytes,
	.capacity = capacity,
	.vacate = vacate,
	.restore = restore,
	.thread_node = thread_node,
	.allowed = allowed,
};

void unit_cpu_node(unsigned int node)
{
	cpu_node = node;
}

unsigned int unit_page_node(const void *p)
{
	unsigned int node;

	sn_lock_acquire(&ledger_lock, SN_RANK_SIMULATION);
	node = *entry_of(p);
	sn_lock_release(&ledger_lock, SN_RANK_SIMULATION);
	return node;
}

size_t unit_resident(unsigned int node)
{
	return atomic_load(&resident[node]);
}

/*
 * Over a fork, after the core's locks (these handlers are registered first, so prepare runs last).
 * The word itself: for the thread that forks sn_lock_acquire() means nothing by then.
 */
static void ledger_fork_prepare(void)
{
	uint32_t free = 0;

	while (!atomic_compare_exchange_strong(&ledger_lock.word, &free, 1)) {
		free = 0;
		sched_yield();
	}
}

static void ledger_fork_parent(void)
{
	atomic_store(&ledger_lock.word, 0);
	sn_lock_wake(&ledger_lock);
}

static void ledger_fork_child(void)
{
	atomic_store(&ledger_lock.word, 0);
}

void unit_start(unsigned int nodes)
{
	struct sn_core_config config = {
		.locked = unit_locked,
		.locked_reason = "asked for by the test",
		.nr_cpus = unit_cpus != 0 ? unit_cpus : (unsigned int)sysconf(_SC_NPROCESSORS_CONF),
		.sample = unit_sample,
	};

	CHECK(pthread_atfork(ledger_fork_prepare, ledger_fork_parent, ledger_fork_child) == 0);
	ledger = mmap(NULL, LEDGER_PAGES, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(ledger != MAP_FAILED);
	sn_core_early();
	for (unsigned int i = 0; i < nodes; i++)
		CHECK_EQUAL(sn_node_add((int)i, true, true), FIRST + i);
	for (unsigned int i = FIRST; i < FIRST + nodes; i++) {
		uint8_t distance[SN_MAX_NODES + 1] = {0};

		for (unsigned int k = FIRST; k < FIRST + nodes; k++)
			distance[k] = (uint8_t)(10 + (i > k ? i - k : k - i));
		sn_node_set_distances(i, distance);
		sn_node_start(i);
	}
	sn_placement = &placement;
	CHECK(sn_core_start(&config));
	CHECK(unit_locked || strcmp(sn_fast_path_name(), "rseq") == 0);
}

/* --- helpers ------------------------------------------------------------------------------- */

void unit_fill(void *p, size_t size, uint64_t id)
{
	uint64_t word = (id + 1) * 0x9e3779b97f4a7c15ULL;
	unsigned char *at = p;
	size_t i = 0;

	for (; i + 8 <= size; i += 8) {
		uint64_t v = word + i;

		memcpy(at + i, &v, 8);
	}
	for (; i < size; i++)
		at[i] = (unsigned char)(word >> 56);
}

bool unit_intact(const void *p, size_t size, uint64_t id)
{
	uint64_t word = (id + 1) * 0x9e3779b97f4a7c15ULL, v;
	const unsigned char *at = p;
	size_t i = 0;

	for (; i + 8 <= size; i += 8) {
		memcpy(&v, at + i, 8);
		if (v != word + i)
			return false;
	}
	for (; i < size; i++)
		if (at[i] != (unsigned char)(word >> 56))
			return false;
	return true;
}

bool unit_zero(const void *p, size_t size)
{
	const unsigned char *at = p;

	return size == 0 || (at[0] == 0 && memcmp(at, at + 1, size - 1) == 0);
}

int unit_offline(unsigned int node, enum sn_policy how, int64_t timeout_ms,
		 struct sn_lifecycle_result *result)
{
	struct sn_offline_request request = {.policy = how, .timeout_ms = timeout_ms};
	struct sn_lifecycle_result mine;

	return sn_offline(&node, 1, &request, result != NULL ? result : &mine);
}

int unit_online(unsigned int node)
{
	struct sn_lifecycle_result result;

	return sn_online(node, false, &result);
}

enum sn_node_state unit_state(unsigned int node)
{
	return sn_node_state(sn_nodes[node]);
}

void unit_until_phase(unsigned int node, enum sn_phase phase)
{
	struct sn_transition_info info;

	for (int i = 0;; i++) {
		if (sn_transition_info(node, &info) && info.phase == phase)
			return;
		CHECK(i < 20000);
		unit_sleep_ms(1);
	}
}

void unit_sleep_ms(long ms)
{
	struct timespec ts = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&ts, NULL);
}

bool unit_can_fork(void)
{
#ifdef __SANITIZE_THREAD__
	return false;
#else
	return true;
#endif
}

pid_t unit_fork(pthread_mutex_t *gate)
{
	pid_t pid;

	sn_core_fork_prepare();
	if (gate != NULL)
		pthread_mutex_lock(gate);
	pid = fork();
	CHECK(pid >= 0);
	if (gate != NULL)
		pthread_mutex_unlock(gate);
	if (pid == 0) {
		alarm(60);
		sn_core_fork_child();
	} else {
		sn_core_fork_parent();
	}
	return pid;
}

void unit_child_ends(pid_t pid)
{
	int status;

	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK_EQUAL(status, 0);
}

pthread_t unit_thread(void *(*fn)(void *), void *arg)
{
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, fn, arg) == 0);
	return thread;
}

void *unit_join(pthread_t thread)
{
	void *value;

	CHECK(pthread_join(thread, &value) == 0);
	return value;
}

void unit_quiesce(void)
{
	struct sn_drain_result result;

	CHECK_EQUAL(sn_drain(SN_NODE_NONE, false, &result), 0);
	/* What came out of alien caches during the first round lies in shared stores. */
	CHECK_EQUAL(sn_drain(SN_NODE_NONE, false, &result), 0);
}

void *unit_hold(unsigned int node, size_t size)
{
	void *p = sn_malloc_node(size, node);

	CHECK(p != NULL);
	CHECK_EQUAL(sn_home_of(p), node);
	return p;
}

void unit_check_allocates(unsigned int node)
{
	void *small = sn_malloc_node(100, node), *large = sn_malloc_node(3 * MIB, node);

	CHECK(small != NULL && large != NULL);
	CHECK_EQUAL(sn_home_of(small), node);
	memset(large, 1, 3 * MIB);
	CHECK_EQUAL(unit_page_node(large), node);
	CHECK_EQUAL(unit_page_node((char *)large + 3 * MIB - 1), node);
	sn_free(small);
	sn_free(large);
}

uint64_t unit_out(unsigned int node)
{
	uint64_t out = 0;

	for (unsigned int c = 1; c < sn_cache_end; c++)
		out += sn_cache_node(sn_nodes[node], c)->nr_out;
	return out;
}
