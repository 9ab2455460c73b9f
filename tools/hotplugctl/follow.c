/*
 * The command follow: see follow.h. One loop looks at the kernel's memory blocks and the processes'
 * cpusets, at intervals and when the kernel announces something, and speaks to all processes at the
 * same time; what is slow or stopped delays nobody else.
 *
 * A look takes longer the more memory blocks there are: the interval is at least fifty times the
 * CPU time that it took.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "follow.h"
#include "json.h"
#include "target.h"
#include "uevents.h"
#include "util.h"

#define DEFAULT_DELAY	 "1"
#define DEFAULT_TIMEOUT	 "30"
#define LONGEST_TIMEOUT	 3600.0
#define SEARCH_EVERY_MS	 10000
#define AT_ONCE_AGAIN_MS 50 /* between looks for events: they come in swarms */
#define SHARE_OF_TIME	 50
#define SHORTEST_MS	 10

struct clock {
	uint64_t looked, look_at, search_at;
};

/* Tells the service manager, where there is one, as sd_notify(3) does. */
static void notify(const char *state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const char *path = getenv("NOTIFY_SOCKET");
	int fd;

	if (!path || (*path != '/' && *path != '@') || strlen(path) >= sizeof(address.sun_path))
		return;
	memcpy(address.sun_path, path, strlen(path));
	if (*path == '@')
		address.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address,
	       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path)));
	close(fd);
}

/* Of this process alone: a busy machine is no reason to look less often. */
static uint64_t cpu_ms(void)
{
	struct timespec used;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return (uint64_t)used.tv_sec * 1000 + (uint64_t)used.tv_nsec / 1000000;
}

/* Processes are searched for where they matter, else now and then. */
static void look(struct follow *follow, struct clock *clock)
{
	uint64_t began = cpu_ms(), took;
	bool changed = look_at_nodes(follow);

	if (changed || nodes_move(follow) || now_ms() >= clock->search_at) {
		search_processes(follow);
		clock->search_at = now_ms() + SEARCH_EVERY_MS;
	}
	if (changed)
		expect_changes(follow);
	forget_returns(follow);
	look_at_cpusets(follow);
	clock->looked = now_ms();
	took = (cpu_ms() - began) * SHARE_OF_TIME;
	clock->look_at = clock->looked + (took > follow->delay_ms ? took : follow->delay_ms);
}

static void serve_followers(struct follow *follow, const struct exchange *exchange)
{
	for (size_t i = 0; i < follow->count; i++) {
		recall_offline(follow, i);
		if (has_answer(follow, i))
			take_answer(follow, i);
		tell_process(follow, i, exchange);
	}
}

/* Until the next look, or a process that failed is to be told again. */
static int sleep_ms(const struct follow *follow, const struct clock *clock)
{
	uint64_t now = now_ms(), until = clock->look_at;

	for (size_t i = 0; i < follow->count; i++) {
		const struct follower *follower = &follow->followers[i];

		if (has_answer(follow, i))
			return 0;
		if (follower->stale && follower->deed == DEED_NONE && follower->retry_at < until &&
		    !follower->foreign)
			until = follower->retry_at;
	}
	return until <= now ? SHORTEST_MS : (int)(until - now);
}

static void run_loop(struct follow *follow, int uevents, const sigset_t *mask)
{
	const struct exchange exchange = {0};
	struct clock clock = {0};

	look(follow, &clock);
	log_start(follow, uevents);
	notify("READY=1");
	for (;;) {
		struct pollfd own = {.fd = uevents, .events = POLLIN};

		serve_followers(follow, &exchange);
		serve_sessions(follow->sessions, follow->count, &exchange, &own, 1,
			       sleep_ms(follow, &clock), mask);
		if (take_interrupt())
			return;
		if (own.revents && take_uevents(uevents) &&
		    clock.look_at > clock.looked + AT_ONCE_AGAIN_MS)
			clock.look_at = clock.looked + AT_ONCE_AGAIN_MS;
		if (now_ms() >= clock.look_at)
			look(follow, &clock);
	}
}

static bool read_settings(struct follow *follow)
{
	const struct settings *set = &follow->context->set;
	const char *delay = set->delay ? set->delay : DEFAULT_DELAY;
	double number;

	if (set->pid || set->socket) {
		complain("follow is for every process: leave -p and -s out");
		return false;
	}
	if (!parse_number(delay, &number) || number < 0.1 || number > 3600) {
		complain("--delay takes seconds from 0.1 to 3600, not '%s'", delay);
		return false;
	}
	follow->delay_ms = (uint64_t)lround(number * 1000);
	follow->timeout = set->timeout ? set->timeout : DEFAULT_TIMEOUT;
	if (!parse_number(follow->timeout, &number) || number > LONGEST_TIMEOUT) {
		complain("--timeout takes seconds, at most an hour of them, not '%s'",
			 follow->timeout);
		return false;
	}
	return true;
}

/* Hanging up cancels what is under way. */
static void leave(struct follow *follow)
{
	notify("STOPPING=1");
	for (size_t i = 0; i < follow->count; i++)
		close_session(&follow->sessions[i]);
	log_end(follow);
}

int run_follow(struct context *context)
{
	struct follow follow = {.context = context};
	struct machine machine;
	sigset_t mask;
	int uevents;

	if (!read_settings(&follow))
		return EXIT_USAGE;
	if (!read_machine(&machine))
		return fail_here(context, EXIT_REFUSED, "ENODEV",
				 "this kernel has no memory blocks that could go offline "
				 "(CONFIG_MEMORY_HOTPLUG)");
	free_machine(&machine);
	hold_signals(&mask);
	uevents = open_uevents();
	run_loop(&follow, uevents, &mask);
	leave(&follow);
	if (uevents >= 0)
		close(uevents);
	release_signals(&mask);
	return EXIT_DONE;
}
