/*
 * control.c - the life of the control thread, its loop, and how others wake it.
 *
 * The thread is a guest.  It has all signals blocked, a descriptor table of its own (fd.h), takes
 * no memory from the heap, and when anything it needs cannot be had it goes without: with no
 * socket it still ages cached memory, with no thread at all the program still runs.
 *
 * Waking it.  The thread sleeps in poll(), without a timeout while nothing ages.  A thread of the
 * program must be able to wake it, but owns none of its descriptors (its table is another one)
 * and may sit in a sandbox in which only memory calls and futex are left.  What both sides share
 * is memory, and no call waits for a futex and for descriptors at once.  So there is a second
 * small thread, the relay: it sleeps on the futex `wakes` and writes a byte into the pipe that
 * poll() watches.  Workers that share the control thread's descriptors (spawn.h) write that byte
 * themselves.  Where the relay cannot be started, the loop looks around itself every
 * COARSE_MS instead; where there is no socket there is no poll(), no pipe and no relay, and the
 * control thread sleeps on the futex itself.
 *
 * A wake-up is only sent to a thread that asked for it: `age_armed` and `events_armed` are set
 * before the loop looks for the last time whether there is anything to do, and a waker makes its
 * change before it looks at them, so that one of the two always sees the other.
 *
 * State: IDLE -> STARTING -> RUNNING -> RETIRED; FAILED and RETIRED are ends.  A forked child
 * begins at IDLE again, without anything of the parent's: no descriptors (they stood in another
 * table), no memory (MADV_DONTFORK), no right to remove the socket (its file knows its process).
 */
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../core/tell.h"
#include "client.h"
#include "control.h"
#include "internal.h"
#include "rundir.h"
#include "spawn.h"
#include "threads.h"
#include "worker.h"

#define CONTROL_STACK	 ((size_t)128 << 10)
#define RELAY_STACK	 ((size_t)32 << 10)
#define COARSE_MS	 1000
#define ACCEPTS_IN_A_ROW 16
#define ACCEPT_PAUSE_MS	 1000
#define RETRY_MS	 100
#define RETIRE_WAIT_MS	 3000
#define MAX_REASON	 512
#define OPERATIONS_MS	 2000

enum state { IDLE, STARTING, RUNNING, FAILED, RETIRED };

static const struct sn_control_config no_config = {
	.rundir = "", .command = "", .topology_source = "auto", .default_policy = SN_MIGRATE};
static struct sn_control_config configuration;
const struct sn_control_config *sn_control_config = &no_config;
uint64_t (*sn_control_reap)(void);

static _Atomic uint32_t state; /* enum state; a futex */
static _Atomic uint32_t wakes; /* a futex: counts wake-ups */
static _Atomic uint32_t age_armed, events_armed;
static _Atomic uint32_t stopping; /* retire */
static _Atomic uint32_t leaving;  /* the process ends */
static _Atomic uint32_t relay_stopping;
static _Atomic uint32_t callbacks; /* the program has registered some */
static pid_t process;		   /* that the threads were started in */

/* The control thread's own. */
static struct sn_fd listener, wake_read, wake_write;
static struct sn_socket_file socket_file;
static _Atomic uint32_t has_socket; /* socket_file may be read by others */
static bool has_relay;
static int64_t next_reap; /* -1: when poked */
static int64_t accept_after;

static void wake_all(void)
{
	atomic_fetch_add(&wakes, 1);
	sn_futex_wake(&wakes, INT_MAX);
}

void sn_control_poke(void)
{
	/* The caller's change before our look; pairs with the store in age(). */
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&age_armed, memory_order_relaxed) &&
	    atomic_exchange(&age_armed, 0))
		wake_all();
}

static void on_event(void)
{
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&events_armed, memory_order_relaxed))
		wake_all();
}

void sn_control_notify(void)
{
	struct sn_fd fd;
	int number;

	if (!sn_fd_reachable()) {
		wake_all();
		return;
	}
	/* A copy: sn_fd_use() marks a lost number, and several threads may be here. */
	fd = wake_write;
	number = sn_fd_use(&fd);
	/* Full is as good as written. */
	if (number >= 0 && write(number, "", 1) < 0)
		return;
}

static void relay(void *arg)
{
	uint32_t seen = (uint32_t)(uintptr_t)arg;

	for (;;) {
		uint32_t now;

		while ((now = atomic_load(&wakes)) == seen && !atomic_load(&relay_stopping))
			sn_futex_wait(&wakes, seen, -1);
		seen = now;
		if (atomic_load(&relay_stopping))
			return;
		sn_control_notify();
	}
}

/* Ages what is due.  Returns in how many ms it is due again, -1: when poked. */
static int64_t age(int64_t now)
{
	uint64_t again;

	if (!sn_control_reap || sn_control_config->reap_interval_ms == 0)
		return -1;
	if (next_reap < 0 && !atomic_load(&age_armed))
		next_reap = now; /* poked */
	if (next_reap < 0 || next_reap > now)
		return next_reap < 0 ? -1 : next_reap - now;
	/* First "wake me", then the last look. */
	atomic_store(&age_armed, 1);
	again = sn_control_reap();
	if (again == UINT64_MAX) {
		next_reap = -1;
		return -1;
	}
	atomic_store(&age_armed, 0);
	again = sn_max(again, (uint64_t)1);
	next_reap = now + (int64_t)sn_min(again, (uint64_t)INT_MAX);
	return next_reap - now;
}

/* The soonest of two times, where -1 is never. */
static int64_t sooner(int64_t a, int64_t b)
{
	if (a < 0 || b < 0)
		return sn_max(a, b);
	return sn_min(a, b);
}

/* With no socket there is nothing but the reaper. */
static void age_only(void)
{
	while (!atomic_load(&stopping)) {
		uint32_t seen = atomic_load(&wakes);
		int64_t wait = age(sn_now_ms());

		/* A poke since then has changed `wakes`. */
		if (!atomic_load(&stopping))
			sn_futex_wait(&wakes, seen, wait < 0 ? -1 : wait * 1000000);
	}
}

static void drain_pipe(void)
{
	char bytes[64];
	int number = sn_fd_use(&wake_read);

	while (number >= 0 && read(number, bytes, sizeof(bytes)) == (ssize_t)sizeof(bytes))
		;
}

static void accept_clients(int64_t now)
{
	for (int i = 0; i < ACCEPTS_IN_A_ROW; i++) {
		int number;

		/* Those that have gone since the last look make room first. */
		if (i > 0 && sn_clients_full())
			return;
		number = accept4(listener.number, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (number >= 0) {
			sn_clients_add(number);
			continue;
		}
		/* No descriptor or memory left: the connection stays in the queue, and poll()
		 * would report it for ever. */
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			accept_after = now + ACCEPT_PAUSE_MS;
		return;
	}
}

/* How long poll() may sleep. */
static int64_t next_due(int64_t now, bool was_following)
{
	int64_t due = sooner(age(now), sn_clients_due());
	bool following = sn_clients_following();

	atomic_store(&events_armed, following);
	if (following && !was_following)
		return 0; /* armed, now the last look */
	if (sn_operations_retry())
		due = sooner(due, RETRY_MS);
	if (accept_after > now)
		due = sooner(due, accept_after - now);
	if (!has_relay) {
		if (next_reap < 0)
			atomic_store(&age_armed, 0); /* look again, poked or not */
		due = sooner(due, COARSE_MS);
	}
	return due;
}

/* One round.  False: the control plane is gone. */
static bool serve_once(void)
{
	struct pollfd fds[2 + SN_MAX_CLIENTS];
	bool was_following = atomic_load(&events_armed);
	int64_t now = sn_now_ms();
	int64_t due = next_due(now, was_following);
	unsigned int count;

	if (sn_fd_use(&listener) < 0 || sn_fd_use(&wake_read) < 0)
		return false;
	fds[0] = (struct pollfd){.fd = wake_read.number, .events = POLLIN};
	/* A negative number is passed over. */
	fds[1] = (struct pollfd){.fd = accept_after > now ? -1 : listener.number, .events = POLLIN};
	count = sn_clients_poll(fds + 2);
	due = sn_min(due, (int64_t)INT_MAX);
	if (poll(fds, 2 + count, (int)due) < 0) {
		/* EINVAL: the program lowered its limit of descriptors below what we have. */
		return errno == EINTR || errno == EAGAIN || errno == ENOMEM;
	}
	if (fds[0].revents)
		drain_pipe();
	sn_clients_serve(fds + 2, count);
	if (fds[1].revents & (POLLERR | POLLNVAL))
		return false;
	if (fds[1].revents & POLLIN)
		accept_clients(sn_now_ms());
	return true;
}

static bool open_pipe(void)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
		return false;
	if (!sn_fd_adopt(&wake_read, ends[0])) {
		close(ends[1]);
		return false;
	}
	if (!sn_fd_adopt(&wake_write, ends[1])) {
		sn_fd_close(&wake_read);
		return false;
	}
	return true;
}

static void remove_socket(void)
{
	if (atomic_exchange(&has_socket, 0))
		sn_rundir_remove(&socket_file);
}

/* In one line, for those who asked for messages: descriptor 2 may be anything by now. */
static void tell_no_socket(const char *reason)
{
	char line[MAX_REASON + 64];
	struct sn_text text;
	int to;

	if (!sn_control_config->verbose)
		return;
	sn_text_begin(&text, line, sizeof(line));
	sn_text_add(&text, "slabnode: no control socket: ");
	sn_text_add(&text, reason);
	sn_text_add(&text, "\n");
	to = sn_fd_stderr();
	sn_tell(to, line, strlen(line));
	if (to != STDERR_FILENO)
		close(to);
}

static bool open_all(void)
{
	char reason[MAX_REASON];

	wake_read = wake_write = listener = SN_FD_NONE;
	if (sn_rundir_listen(sn_control_config->rundir, &listener, &socket_file, reason,
			     sizeof(reason)) != 0) {
		tell_no_socket(reason);
		return false;
	}
	atomic_store(&has_socket, 1);
	/* The program may have ended meanwhile, without seeing the socket. */
	if (atomic_load(&leaving) || !open_pipe()) {
		remove_socket();
		sn_fd_close(&listener);
		return false;
	}
	has_relay = sn_thread_start("slabnode-wake", relay, (void *)(uintptr_t)atomic_load(&wakes),
				    RELAY_STACK) == 0;
	return true;
}

static void close_all(void)
{
	remove_socket();
	atomic_store(&events_armed, 0);
	sn_operations_end(OPERATIONS_MS);
	sn_clients_close_all();
	atomic_store(&relay_stopping, 1);
	wake_all();
	sn_fd_close(&listener);
	sn_fd_close(&wake_read);
	/* wake_write stays: a worker or the relay may be about to use it, and the number must not
	 * become anything else.  The table ends with its last thread. */
}

static void run(void *arg)
{
	(void)arg;
	sn_fd_isolate();
	if (open_all()) {
		while (!atomic_load(&stopping) && serve_once())
			;
		close_all();
	}
	age_only();
	sn_spawn_end();
	atomic_store(&state, RETIRED);
	sn_futex_wake(&state, INT_MAX);
}

void sn_control_configure(const struct sn_control_config *config)
{
	static char rundir[PATH_MAX], command[256];
	struct sn_text text;

	/* Environment and arguments lie where programs write their title (redis, nginx). */
	sn_text_begin(&text, rundir, sizeof(rundir));
	sn_text_add(&text, config->rundir);
	sn_text_begin(&text, command, sizeof(command));
	sn_text_add(&text, config->command);
	configuration = *config;
	configuration.rundir = rundir;
	configuration.command = command;
	sn_control_config = &configuration;
	sn_event_hook = on_event;
	sn_fatal_descriptor = sn_fd_stderr;
}

bool sn_control_start(void)
{
	uint32_t expected = IDLE;
	uint32_t now = atomic_load_explicit(&state, memory_order_acquire);

	if (now != IDLE || atomic_load(&stopping))
		return now == STARTING || now == RUNNING;
	if (!atomic_compare_exchange_strong(&state, &expected, STARTING))
		return expected == STARTING || expected == RUNNING;
	process = getpid();
	if (atomic_load(&callbacks))
		sn_spawn_begin();
	/* RETIRED may already stand there when the thread was very quick. */
	expected = STARTING;
	if (sn_thread_start("slabnode-ctl", run, NULL, CONTROL_STACK) != 0) {
		atomic_compare_exchange_strong(&state, &expected, FAILED);
		sn_futex_wake(&state, INT_MAX);
		return false;
	}
	atomic_compare_exchange_strong(&state, &expected, RUNNING);
	sn_futex_wake(&state, INT_MAX);
	return true;
}

void sn_control_callbacks(void)
{
	atomic_store(&callbacks, 1);
	if (atomic_load(&state) == RUNNING && !atomic_load(&stopping) && !sn_thread_is_ours())
		sn_spawn_begin();
	if (atomic_load(&stopping))
		sn_spawn_end(); /* it may have come too late to be ended by the control thread */
}

void sn_control_at_exit(void)
{
	int saved = errno;

	atomic_store(&leaving, 1);
	remove_socket();
	errno = saved;
}

void sn_control_fork_child(void)
{
	/* Retired for good: the filter was inherited too. */
	bool retired = atomic_load(&stopping);

	atomic_store(&state, retired ? RETIRED : IDLE);
	atomic_store(&wakes, 0);
	atomic_store(&age_armed, 0);
	atomic_store(&events_armed, 0);
	atomic_store(&leaving, 0);
	atomic_store(&relay_stopping, 0);
	atomic_store(&has_socket, 0);
	listener = wake_read = wake_write = SN_FD_NONE;
	has_relay = false;
	next_reap = 0;
	accept_after = 0;
	sn_clients_forget();
	sn_operations_forget();
	sn_spawn_forget();
	sn_threads_forget();
	sn_reply_reset_total();
}

/* Threads are there, or about to be, that the caller can wait for. */
static bool can_end_them(void)
{
	uint32_t now = atomic_load(&state);

	if (now != STARTING && now != RUNNING)
		return false;
	/* The child of a bare clone, or of vfork: they are its parent's. */
	if (getpid() != process)
		return false;
	/* A callback in a worker cannot wait for itself. */
	return !sn_thread_is_ours();
}

void sn_control_retire(void)
{
	int64_t end = sn_now_ms() + RETIRE_WAIT_MS;
	uint32_t expected = IDLE;
	uint32_t now;
	int saved = errno;

	if (atomic_load(&state) == IDLE) {
		atomic_store(&stopping, 1);
		atomic_compare_exchange_strong(&state, &expected, RETIRED);
	}
	if (!can_end_them())
		return;
	atomic_store(&stopping, 1);
	wake_all();
	while ((now = atomic_load(&state)) != RETIRED && now != FAILED && sn_now_ms() < end)
		sn_futex_wait(&state, now, (int64_t)RETRY_MS * 1000000);
	sn_threads_gone(sn_max(end - sn_now_ms(), (int64_t)100));
	errno = saved;
}

const char *sn_control_socket(void)
{
	return atomic_load(&has_socket) ? socket_file.path : "";
}
