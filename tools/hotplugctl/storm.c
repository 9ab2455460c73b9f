/*
 * The command storm: random valid requests. What is asked next depends on the seed and on the
 * nodes that were usable at the start, never on how a request ended, so that the same seed asks
 * the same again. Therefore a client keeps a cautious picture of its own: a node counts as out of
 * service from the request that may take it out until the request that brings it back, and the
 * last node with memory in that picture is never named. A refusal is then always a defect; "busy",
 * "timed out" and "cancelled" are not.
 *
 * Several clients are processes of their own, each with a seed that follows from the storm's, and
 * none knows what the others ask: they join, refuse and cancel each other. Alone, a client also
 * insists that a node whose transition failed is as it was before.
 */
#include "storm.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "json.h"
#include "request.h"
#include "result.h"
#include "target.h"
#include "util.h"

#define MAX_CLIENTS	16
#define MAX_SEVERAL	4     /* nodes of one offline */
#define ANSWER_LIMIT_MS 60000 /* every request of a storm ends long before that */

static const char *const policies[] = {"strict", "wait", "migrate"};

/* What a hundred steps are on the average. Where a request is not valid, another one is asked. */
static const struct {
	enum storm_kind kind;
	unsigned int share;
} mixture[] = {
	{STORM_OFFLINE, 36}, {STORM_ONLINE, 30},  {STORM_CORDON, 5}, {STORM_UNCORDON, 5},
	{STORM_CANCEL, 4},   {STORM_DRAIN, 5},	  {STORM_PLAN, 4},   {STORM_WHY, 4},
	{STORM_STATUS, 4},   {STORM_SLABINFO, 3},
};

/* Splitmix64: the seed's whole sequence is fixed on every machine. */
static uint64_t draw(uint64_t *state)
{
	uint64_t value = *state += 0x9e3779b97f4a7c15;

	value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
	value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
	return value ^ (value >> 31);
}

static double now_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* --- asking ------------------------------------------------------------------------------ */

static void on_interrupt(struct session *sessions, size_t count, void *data)
{
	struct storm *storm = data;

	(void)sessions;
	(void)count;
	storm->stop = true;
	storm->code = combine_codes(storm->code, EXIT_CANCELLED);
}

static void exchange_one(struct storm *storm, struct session *link, enum storm_kind kind,
			 const char *request,
			 void (*on_tick)(struct session *sessions, size_t count, void *data))
{
	struct exchange exchange = {
		.request = request,
		.timeout_ms = ANSWER_LIMIT_MS,
		.on_interrupt = on_interrupt,
		.on_tick = on_tick,
		.tick_ms = 1,
		.data = storm,
	};
	double begin = now_seconds();

	storm->changes += kind < STORM_CHANGES;
	run_exchange(link, 1, &exchange);
	storm_tally_add(storm, kind, request, link->reply, link->code,
			(now_seconds() - begin) * 1000);
}

static void ask_cancel(struct storm *storm)
{
	char *request = format_text("cancel %u", storm->cancel_node);

	storm->cancel_due = false;
	exchange_one(storm, &storm->canceller, STORM_CANCEL, request, NULL);
	free(request);
}

static void on_tick(struct session *sessions, size_t count, void *data)
{
	struct storm *storm = data;

	(void)count;
	if (storm->cancel_due && sessions[0].hello && !sessions[0].done &&
	    (storm->cancel_at ? now_ms() >= storm->cancel_at : sessions[0].progress != NULL))
		ask_cancel(storm);
}

static void ask(struct storm *storm, enum storm_kind kind, char *request)
{
	exchange_one(storm, &storm->link, kind, request, storm->cancel_due ? on_tick : NULL);
	/* Where the offline ended first, the cancel is still asked: it must be a success. */
	if (storm->cancel_due && !storm->stop)
		ask_cancel(storm);
	storm->cancel_due = false;
	free(request);
}

/* --- what to ask ------------------------------------------------------------------------- */

static bool usable(const struct storm_node *node)
{
	return node->memory && !node->out && !node->cordoned;
}

static size_t count_usable(const struct storm *storm)
{
	size_t count = 0;

	for (size_t i = 0; i < storm->count; i++)
		count += usable(&storm->nodes[i]);
	return count;
}

/* Whether the request is valid for this node: another one with memory must stay. */
static bool fits(const struct storm *storm, const struct storm_node *node, enum storm_kind kind)
{
	bool last = usable(node) && count_usable(storm) == 1;

	switch (kind) {
	case STORM_OFFLINE:
		return !node->out && !last;
	case STORM_ONLINE:
		return node->out;
	case STORM_CORDON:
		return !node->cordoned && !last;
	case STORM_UNCORDON:
		return node->cordoned;
	default:
		return true;
	}
}

/* The first node from a random one on for which the request is valid; NULL where there is none. */
static struct storm_node *pick(struct storm *storm, enum storm_kind kind, uint64_t random)
{
	for (size_t i = 0; i < storm->count; i++) {
		struct storm_node *node = &storm->nodes[(random + i) % storm->count];

		if (fits(storm, node, kind))
			return node;
	}
	return NULL;
}

/* Timeouts and the moments of cancels lie between 1 and 100 ms, short ones more often. */
static uint64_t short_ms(uint64_t random)
{
	uint64_t most = (uint64_t)1 << (random % 7);

	return 1 + (random >> 8) % (most + most / 2);
}

static void ask_offline(struct storm *storm, struct storm_node *node, uint64_t what,
			uint64_t random)
{
	const char *policy = storm->context->set.policy;
	size_t several = what % 5 ? 1 : 2 + (what >> 8) % (MAX_SEVERAL - 1);
	char *request = format_text("offline");

	for (size_t i = 0; i < several && node; i++) {
		node->out = true;
		append_text(&request, " %u", node->number);
		storm->cancel_node = node->number;
		node = pick(storm, STORM_OFFLINE, what >> 16);
	}
	/* strict looks for a tenth of a second where it finds something: half as often. */
	append_text(&request, " policy=%s timeout=0.%03u",
		    policy ? policy : policies[((what >> 32) % 5 + 1) / 2],
		    (unsigned int)short_ms(random));
	storm->cancel_due = (random >> 32) % 4 == 0;
	storm->cancel_at = (random >> 34) % 2 ? now_ms() + short_ms(random >> 35) : 0;
	ask(storm, STORM_OFFLINE, request);
}

static void ask_about(struct storm *storm, enum storm_kind kind, struct storm_node *node,
		      uint64_t what, uint64_t random)
{
	switch (kind) {
	case STORM_OFFLINE:
		ask_offline(storm, node, what, random);
		break;
	case STORM_ONLINE:
		node->out = false;
		ask(storm, kind,
		    format_text("online %u%s", node->number, what % 2 ? " rebalance=1" : ""));
		break;
	case STORM_CANCEL:
		ask(storm, kind, format_text("cancel %u", node->number));
		break;
	case STORM_CORDON:
	case STORM_UNCORDON:
		node->cordoned = kind == STORM_CORDON;
		ask(storm, kind,
		    format_text("%s %u", node->cordoned ? "cordon" : "uncordon", node->number));
		break;
	case STORM_PLAN:
		ask(storm, kind, format_text("plan %u", node->number));
		break;
	case STORM_WHY:
		ask(storm, kind, format_text("why %u", node->number));
		break;
	case STORM_STATUS:
		ask(storm, kind, format_text("status"));
		break;
	case STORM_SLABINFO:
		ask(storm, kind, format_text("slabinfo %u", node->number));
		break;
	default:
		ask(storm, STORM_DRAIN,
		    what % 2 ? format_text("drain %u", node->number) : format_text("drain"));
		break;
	}
}

static enum storm_kind draw_kind(uint64_t random)
{
	size_t i = 0;

	for (random %= 100; random >= mixture[i].share; i++)
		random -= mixture[i].share;
	return mixture[i].kind;
}

/* Each step draws the same count of random numbers, whatever becomes of it. */
static void make_step(struct storm *storm)
{
	enum storm_kind kind = draw_kind(draw(&storm->state));
	uint64_t where = draw(&storm->state), what = draw(&storm->state);
	uint64_t random = draw(&storm->state);
	struct storm_node *node = pick(storm, kind, where);

	if (!node && kind != STORM_ONLINE)
		node = pick(storm, kind = STORM_ONLINE, where);
	if (!node)
		node = pick(storm, kind = STORM_OFFLINE, where);
	if (!node)
		node = pick(storm, kind = STORM_DRAIN, where);
	storm->steps++;
	ask_about(storm, kind, node, what, random);
}

static void rest_until(double when)
{
	double left = when - now_seconds();
	struct timespec pause;

	if (left <= 0)
		return;
	pause = (struct timespec){(time_t)left, (long)((left - (double)(time_t)left) * 1e9)};
	nanosleep(&pause, NULL);
}

static void make_storm(struct storm *storm)
{
	double start = now_seconds(), end = start + storm->duration;

	while (!storm->stop && (!storm->duration || now_seconds() < end) &&
	       (!storm->requests || storm->changes < storm->requests)) {
		make_step(storm);
		if (storm->rate)
			rest_until(start + (double)storm->steps / storm->rate);
	}
}

/* Whoever was in service is again, also after Ctrl-C. */
static void restore(struct storm *storm)
{
	storm->stop = false;
	storm->cancel_due = false;
	for (size_t i = 0; i < storm->count && !storm->stop; i++) {
		struct storm_node *node = &storm->nodes[i];

		storm->steps++;
		if (node->out)
			ask(storm, STORM_ONLINE, format_text("online %u", node->number));
		if (node->cordoned && !storm->stop)
			ask(storm, STORM_UNCORDON, format_text("uncordon %u", node->number));
		node->out = node->cordoned = false;
	}
}

/* --- several clients --------------------------------------------------------------------- */

struct client {
	pid_t pid;
	FILE *report; /* what it writes at its end */
};

static void hang_up(struct session *link)
{
	close_session(link);
	json_decref(link->hello);
	json_decref(link->progress);
	json_decref(link->reply);
	link->hello = link->progress = link->reply = NULL;
}

/* The share of client `index` of `count`. */
static void share_out(struct storm *storm, unsigned int index, unsigned int count)
{
	for (unsigned int i = 0; i <= index; i++)
		storm->state = draw(&storm->state);
	if (storm->requests)
		storm->requests = (storm->requests + count - 1 - index) / count;
	storm->rate /= count;
}

static struct client start_client(struct storm *storm, unsigned int index, unsigned int count)
{
	struct client client = {0};
	int ends[2];

	if (pipe(ends) || (client.pid = fork()) < 0) {
		complain("no process for a client: %s", strerror(errno));
		exit(EXIT_NO_PROCESS);
	}
	if (client.pid) {
		close(ends[1]);
		client.report = fdopen(ends[0], "r");
		return client;
	}
	close(ends[0]);
	share_out(storm, index, count);
	if (!storm->requests || storm->changes < storm->requests)
		make_storm(storm);
	json_object_set_new(storm->tally, "code", json_integer(storm->code));
	json_dumpfd(storm->tally, ends[1], JSON_COMPACT);
	_exit(EXIT_DONE);
}

static void collect_client(struct storm *storm, struct client *client)
{
	json_t *tally = json_loadf(client->report, JSON_DISABLE_EOF_CHECK, NULL);
	int code = EXIT_NO_PROCESS;

	if (tally) {
		code = (int)field_number(tally, "code", EXIT_NO_PROCESS);
		storm_tally_merge(storm->tally, tally);
	} else {
		complain("a client of the storm ended without a report");
	}
	if (code != NO_CODE)
		storm->code = combine_codes(storm->code, code);
	fclose(client->report);
	waitpid(client->pid, NULL, 0);
	json_decref(tally);
}

static struct client clients[MAX_CLIENTS];

/* A signal to the storm is one to all its clients; whether they got it already does no harm. */
static void pass_on(int number)
{
	for (size_t i = 0; i < MAX_CLIENTS && clients[i].pid > 0; i++)
		kill(clients[i].pid, number);
}

static void make_storms(struct storm *storm, unsigned int count)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction action = {.sa_handler = pass_on, .sa_flags = SA_RESTART};

	fflush(stdout);
	hang_up(&storm->link);
	for (unsigned int i = 0; i < count; i++)
		clients[i] = start_client(storm, i, count);
	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &action, NULL);
	for (unsigned int i = 0; i < count; i++)
		collect_client(storm, &clients[i]);
	memset(clients, 0, sizeof(clients));
	for (size_t i = 0; i < storm->count; i++)
		storm->nodes[i].out = storm->nodes[i].cordoned = true;
}

/* --- the command ------------------------------------------------------------------------- */

/* Nodes that are in service and may take part; fails where taking one out would be refused. */
static bool take_nodes(struct storm *storm, const json_t *status)
{
	const json_t *nodes = field_array(status, "nodes");

	storm->nodes = grow(NULL, json_array_size(nodes) * sizeof(*storm->nodes));
	for (size_t i = 0; i < json_array_size(nodes); i++) {
		const json_t *row = json_array_get(nodes, i);
		const json_t *capacity = json_object_get(row, "capacity_bytes");
		const char *state = field_text(row, "state");
		struct storm_node node = {.number = (unsigned int)field_count(row, "node")};

		if (!state || strcmp(state, "online") || field_flag(row, "cordoned") ||
		    json_is_false(json_object_get(row, "allowed")))
			continue;
		node.memory = !json_is_integer(capacity) || json_integer_value(capacity) > 0;
		storm->nodes[storm->count++] = node;
	}
	return count_usable(storm) >= 2;
}

static bool read_number(const char *option, const char *text, double least, double most,
			double *number)
{
	if (!text || (parse_number(text, number) && *number >= least && *number <= most))
		return true;
	complain("%s takes a number from %g to %.0f, not '%s'", option, least, most, text);
	return false;
}

static bool read_seed(uint64_t *seed, const char *text)
{
	char *end;

	if (!text)
		return getrandom(seed, sizeof(*seed), 0) > 0;
	errno = 0;
	*seed = strtoull(text, &end, 0);
	if (!errno && *text && *text != '-' && !*end)
		return true;
	complain("--seed takes a number, not '%s'", text);
	return false;
}

static bool read_settings(struct storm *storm, double *clients_wanted)
{
	const struct settings *set = &storm->context->set;
	char *checked = copy_text("");
	double requests = 0;
	bool good = add_lifecycle_options(storm->context, &checked) &&
		    read_number("--duration", set->duration, 0.001, 1e6, &storm->duration) &&
		    read_number("--rate", set->rate, 0, 1e6, &storm->rate) &&
		    read_number("--requests", set->requests, 1, 1e9, &requests) &&
		    read_number("--clients", set->clients, 1, MAX_CLIENTS, clients_wanted) &&
		    read_seed(&storm->state, set->seed);

	free(checked);
	storm->requests = (uint64_t)requests;
	if (storm->requests && !set->duration)
		storm->duration = 0;
	if (good && set->all) {
		complain("storm is for one process: choose it with -p PID");
		return false;
	}
	return good;
}

static int run_and_report(struct storm *storm, unsigned int count)
{
	uint64_t seed = storm->state;
	double begin = now_seconds(), seconds;

	if (!storm->context->set.json)
		printf("storm: seed %llu, %zu nodes\n", (unsigned long long)seed, storm->count);
	storm->alone = count == 1;
	if (count == 1)
		make_storm(storm);
	else
		make_storms(storm, count);
	seconds = now_seconds() - begin;
	restore(storm);
	storm_report(storm->context, storm->tally, seed, seconds, storm->code);
	return storm->code == NO_CODE ? EXIT_DONE : storm->code;
}

int run_storm(struct context *context)
{
	struct storm storm = {.context = context, .duration = 10, .rate = 10, .code = NO_CODE};
	struct process *process;
	struct targets targets;
	double count = 1;
	json_t *status;
	int code;

	if (!read_settings(&storm, &count))
		return EXIT_USAGE;
	code = select_targets(context, &targets);
	if (code != EXIT_DONE)
		return code;
	process = &targets.processes.items[0];
	storm.link = storm.canceller = (struct session){.process = process, .fd = -1, .kept = true};
	storm.tally = storm_tally_new();
	status = ask_process(process, "status", &code);
	if (code != EXIT_DONE) {
		if (context->set.json)
			print_json(status);
		else
			print_failure(context, process, status);
	} else if (!take_nodes(&storm, status)) {
		code = fail_here(context, EXIT_BUSY, "EBUSY",
				 "a storm needs two nodes with memory that are online and not "
				 "cordoned; 'hotplugctl status' shows them");
	} else {
		code = run_and_report(&storm, (unsigned int)count);
	}
	hang_up(&storm.link);
	hang_up(&storm.canceller);
	json_decref(status);
	json_decref(storm.tally);
	free(storm.nodes);
	return code;
}
