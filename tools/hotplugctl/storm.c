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
 * insists that a node whose transition failed is as it was before. With -a each process has a storm
 * of its own.
 */
#include "storm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "json.h"
#include "parallel.h"
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
		.hello_ms = ANSWER_LIMIT_MS,
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

struct client_work {
	const struct storm *storm;
	unsigned int count;
};

static json_t *be_client(void *data, size_t index)
{
	const struct client_work *work = data;
	struct storm client = *work->storm;

	share_out(&client, (unsigned int)index, work->count);
	if (!client.requests || client.changes < client.requests)
		make_storm(&client);
	json_object_set_new(client.tally, "code", json_integer(client.code));
	return client.tally;
}

static void make_storms(struct storm *storm, unsigned int count)
{
	struct client_work work = {storm, count};
	json_t *tallies, *tally;
	size_t i;

	hang_up(&storm->link);
	tallies = run_parallel(count, be_client, &work);
	json_array_foreach(tallies, i, tally)
	{
		int code = (int)field_number(tally, "code", EXIT_NO_PROCESS);

		if (json_is_object(tally))
			storm_tally_merge(storm->tally, tally);
		else
			complain("a client of the storm ended without a report");
		if (code != NO_CODE)
			storm->code = combine_codes(storm->code, code);
	}
	json_decref(tallies);
	for (i = 0; i < storm->count; i++)
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

static bool read_settings(struct storm *storm)
{
	const struct settings *set = &storm->context->set;
	char *checked = copy_text("");
	double requests = 0, clients = 1;
	bool good = add_lifecycle_options(storm->context, &checked) &&
		    read_number("--duration", set->duration, 0.001, 1e6, &storm->duration) &&
		    read_number("--rate", set->rate, 0, 1e6, &storm->rate) &&
		    read_number("--requests", set->requests, 1, 1e9, &requests) &&
		    read_number("--clients", set->clients, 1, MAX_CLIENTS, &clients) &&
		    read_seed(&storm->state, set->seed);

	free(checked);
	storm->requests = (uint64_t)requests;
	storm->clients = (unsigned int)clients;
	if (storm->requests && !set->duration)
		storm->duration = 0;
	return good;
}

/* What became of it; *code is the exit code. */
static json_t *run_and_report(struct storm *storm, int *code)
{
	uint64_t seed = storm->state;
	double begin = now_seconds(), seconds;

	storm->alone = storm->clients == 1;
	if (storm->alone)
		make_storm(storm);
	else
		make_storms(storm, storm->clients);
	seconds = now_seconds() - begin;
	restore(storm);
	*code = storm->code == NO_CODE ? EXIT_DONE : storm->code;
	return storm_report(storm->tally, seed, seconds, *code);
}

static json_t *too_few_nodes(void)
{
	json_t *failure =
		make_failure("EBUSY", "a storm needs two nodes with memory that are online "
				      "and not cordoned");

	json_object_set_new(failure, "hint", json_string("'hotplugctl status' shows them"));
	return failure;
}

/* A report, or the failure for which there is none. */
static json_t *storm_one(struct storm *storm, struct process *process, int *code)
{
	json_t *status = ask_process(process, "status", code), *report;

	if (*code != EXIT_DONE)
		return status;
	storm->link = storm->canceller =
		(struct session){.process = process, .fd = -1, .kept = true};
	storm->tally = storm_tally_new();
	if (take_nodes(storm, status)) {
		storm_announce(storm);
		report = run_and_report(storm, code);
	} else {
		*code = EXIT_BUSY;
		report = too_few_nodes();
	}
	hang_up(&storm->link);
	hang_up(&storm->canceller);
	json_decref(status);
	json_decref(storm->tally);
	free(storm->nodes);
	return report;
}

struct all_work {
	const struct storm *storm;
	struct process_list *processes;
};

static json_t *storm_its_process(void *data, size_t index)
{
	const struct all_work *work = data;
	struct storm storm = *work->storm;
	int code;
	json_t *report = storm_one(&storm, &work->processes->items[index], &code);

	json_object_set_new(report, "code", json_integer(code));
	return report;
}

/* All at the same time, in processes of ours, each with the same seed. */
static void storm_all(const struct storm *storm, struct targets *targets)
{
	struct all_work work = {storm, &targets->processes};
	json_t *reports = run_parallel(targets->processes.count, storm_its_process, &work);

	for (size_t i = 0; i < targets->processes.count; i++) {
		json_t *report = json_array_get(reports, i);
		int code = (int)field_number(report, "code", EXIT_NO_PROCESS);

		if (json_is_object(report))
			json_object_del(report, "code");
		else
			report = make_failure("ECHILD", "its storm ended without a report");
		finish_session(&targets->sessions[i], json_incref(report), code);
	}
	json_decref(reports);
}

int run_storm(struct context *context)
{
	struct storm storm = {.context = context, .duration = 10, .rate = 10, .code = NO_CODE};
	struct targets targets;
	int code;

	if (!read_settings(&storm))
		return EXIT_USAGE;
	code = select_targets(context, &targets);
	if (code != EXIT_DONE)
		return code;
	if (context->set.all) {
		storm_announce_all(&storm, targets.processes.count);
		storm_all(&storm, &targets);
	} else {
		json_t *report = storm_one(&storm, targets.sessions[0].process, &code);

		finish_session(&targets.sessions[0], report, code);
	}
	storm_show(context, &targets);
	return targets_code(&targets);
}
