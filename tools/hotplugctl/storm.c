/*
 * The command storm: random valid requests. What is asked next depends on the seed and on the
 * nodes that were usable at the start, never on how a request ended, so that the same seed asks
 * the same again. Therefore the storm keeps a cautious picture of its own: a node counts as out of
 * service from the request that may take it out until the request that brings it back, and the
 * last node with memory in that picture is never named. A refusal is then always a defect; "busy",
 * "timed out" and "cancelled" are not, as long as the node is back afterwards.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "hotplugctl.h"
#include "json.h"
#include "request.h"
#include "result.h"
#include "table.h"
#include "target.h"
#include "util.h"

enum storm_kind { STORM_OFFLINE, STORM_ONLINE, STORM_CANCEL, STORM_DRAIN, STORM_KINDS };

static const char *const kind_names[] = {"offline", "online", "cancel", "drain"};
static const char *const policies[] = {"strict", "wait", "migrate"};

struct storm_node {
	unsigned int number;
	bool memory;
	bool out; /* in the storm's picture */
};

struct tally {
	unsigned long tried, done, busy, cancelled, timed_out, failed;
};

struct storm {
	const struct context *context;
	struct process *process;
	uint64_t state; /* of the random numbers */
	uint64_t seed;
	double duration, rate;
	struct storm_node *nodes;
	size_t count;
	struct tally tallies[STORM_KINDS];
	json_t *failures;
	unsigned long step;
	int code;
	bool stop;
	/* The cancel that is due while an offline runs. */
	uint64_t cancel_at;
	unsigned int cancel_node;
};

static const struct column storm_columns[] = {
	{"REQUEST", "request", CELL_TEXT, COLUMN_SHOWN, NULL},
	{"TRIED", "tried", CELL_COUNT, COLUMN_SHOWN, NULL},
	{"DONE", "done", CELL_COUNT, COLUMN_SHOWN, NULL},
	{"BUSY", "busy", CELL_COUNT, COLUMN_SHOWN, NULL},
	{"CANCELLED", "cancelled", CELL_COUNT, COLUMN_SHOWN, NULL},
	{"TIMEDOUT", "timed_out", CELL_COUNT, COLUMN_SHOWN, NULL},
	{"FAILED", "failed", CELL_COUNT, COLUMN_SHOWN, NULL},
	{0},
};

/* Splitmix64: the seed's whole sequence is fixed on every machine. */
static uint64_t draw(struct storm *storm)
{
	uint64_t value = storm->state += 0x9e3779b97f4a7c15;

	value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
	value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
	return value ^ (value >> 31);
}

static void note_failure(struct storm *storm, enum storm_kind kind, const char *request,
			 const json_t *reply, const char *text)
{
	json_t *failure = json_object();

	storm->tallies[kind].failed++;
	json_object_set_new(failure, "step", json_integer((json_int_t)storm->step));
	json_object_set_new(failure, "request", json_string(request));
	json_object_set_new(failure, "message", json_string(text));
	json_object_set(failure, "reply", (json_t *)reply);
	json_array_append_new(storm->failures, failure);
}

/* After a failure the node is as it was before, or the rollback is broken: in service where it was
 * to leave, away where it was to return. */
static bool state_kept(enum storm_kind kind, const json_t *reply)
{
	const char *state = field_text(reply, "state");

	return !state || !strcmp(state, kind == STORM_ONLINE ? "offline" : "online");
}

static void judge(struct storm *storm, enum storm_kind kind, const char *request,
		  const json_t *reply, int code)
{
	struct tally *tally = &storm->tallies[kind];
	char *text;

	tally->tried++;
	if (code == EXIT_DONE) {
		tally->done++;
		return;
	}
	if (code == EXIT_BUSY || code == EXIT_CANCELLED || code == EXIT_TIMED_OUT) {
		tally->busy += code == EXIT_BUSY;
		tally->cancelled += code == EXIT_CANCELLED;
		tally->timed_out += code == EXIT_TIMED_OUT;
		if (state_kept(kind, reply))
			return;
		storm->code = combine_codes(storm->code, EXIT_REFUSED);
		note_failure(storm, kind, request, reply, "the node is not as it was before");
		return;
	}
	storm->code = combine_codes(storm->code, code);
	text = failure_text(reply);
	note_failure(storm, kind, request, reply, text);
	free(text);
	/* Without the process nothing more can be learned. */
	storm->stop |= code == EXIT_NO_PROCESS;
}

static void on_interrupt(struct session *sessions, size_t count, void *data)
{
	struct storm *storm = data;

	(void)sessions;
	(void)count;
	storm->stop = true;
	storm->code = combine_codes(storm->code, EXIT_CANCELLED);
}

static void on_tick(struct session *sessions, size_t count, void *data)
{
	struct storm *storm = data;
	char *request;
	json_t *reply;
	int code;

	(void)count;
	if (!storm->cancel_at || now_ms() < storm->cancel_at || !sessions[0].hello)
		return;
	storm->cancel_at = 0;
	request = format_text("cancel %u", storm->cancel_node);
	reply = ask_process(storm->process, request, &code);
	judge(storm, STORM_CANCEL, request, reply, code);
	json_decref(reply);
	free(request);
}

static json_t *send_one(struct storm *storm, const char *request, int *code)
{
	struct session session = {.process = storm->process, .fd = -1};
	struct exchange exchange = {
		.request = request,
		.on_interrupt = on_interrupt,
		.on_tick = storm->cancel_at ? on_tick : NULL,
		.tick_ms = 2,
		.data = storm,
	};

	run_exchange(&session, 1, &exchange);
	json_decref(session.hello);
	json_decref(session.progress);
	*code = session.code;
	return session.reply;
}

static void ask(struct storm *storm, enum storm_kind kind, char *request)
{
	int code;
	json_t *reply = send_one(storm, request, &code);

	judge(storm, kind, request, reply, code);
	/* Where the offline ended first, the cancel is still asked: it must be a success. */
	if (storm->cancel_at) {
		char *cancel = format_text("cancel %u", storm->cancel_node);

		storm->cancel_at = 0;
		json_decref(reply);
		reply = send_one(storm, cancel, &code);
		judge(storm, STORM_CANCEL, cancel, reply, code);
		free(cancel);
	}
	json_decref(reply);
	free(request);
}

/* Whether the storm may take this node out: another one with memory must stay. */
static bool may_leave(const struct storm *storm, size_t index)
{
	size_t others = 0;

	for (size_t i = 0; i < storm->count; i++)
		others += i != index && storm->nodes[i].memory && !storm->nodes[i].out;
	return !storm->nodes[index].out && others;
}

/* The first node from a random one on for which the request is valid; NULL where there is none. */
static struct storm_node *pick(struct storm *storm, uint64_t random, bool leave)
{
	for (size_t i = 0; i < storm->count; i++) {
		size_t index = (size_t)((random + i) % storm->count);

		if (leave ? may_leave(storm, index) : storm->nodes[index].out)
			return &storm->nodes[index];
	}
	return NULL;
}

static void ask_offline(struct storm *storm, struct storm_node *node, const char *policy,
			uint64_t random, bool cancel)
{
	node->out = true;
	if (cancel) {
		storm->cancel_at = now_ms() + 1 + random % 50;
		storm->cancel_node = node->number;
	}
	ask(storm, STORM_OFFLINE,
	    format_text("offline %u policy=%s timeout=%.1f", node->number, policy,
			0.2 + (double)(random % 14) / 10));
}

/* Each step draws the same count of random numbers, whatever becomes of it. */
static void make_step(struct storm *storm)
{
	uint64_t kind = draw(storm) % 100, where = draw(storm), what = draw(storm);
	uint64_t random = draw(storm);
	const char *policy = storm->context->set.policy;
	struct storm_node *node = NULL;
	bool leave = kind < 55;

	if (!policy)
		policy = policies[what % 3];
	if (kind < 90) {
		node = pick(storm, where, leave);
		if (!node) {
			leave = !leave;
			node = pick(storm, where, leave);
		}
	}
	storm->step++;
	if (node && leave) {
		ask_offline(storm, node, policy, random, kind >= 40);
	} else if (node) {
		node->out = false;
		ask(storm, STORM_ONLINE, format_text("online %u", node->number));
	} else {
		ask(storm, STORM_DRAIN, copy_text("drain"));
	}
}

static void rest_until(uint64_t when)
{
	uint64_t now = now_ms();
	struct timespec pause;

	if (when <= now)
		return;
	pause = (struct timespec){(time_t)((when - now) / 1000),
				  (long)((when - now) % 1000) * 1000000L};
	nanosleep(&pause, NULL);
}

static void make_storm(struct storm *storm)
{
	uint64_t start = now_ms(), end = start + (uint64_t)(storm->duration * 1000);

	while (!storm->stop && now_ms() < end) {
		make_step(storm);
		rest_until(start + (uint64_t)((double)storm->step * 1000 / storm->rate));
	}
	/* Whoever was in service is again, also after Ctrl-C. */
	storm->stop = false;
	for (size_t i = 0; i < storm->count && !storm->stop; i++) {
		storm->step++;
		if (storm->nodes[i].out)
			ask(storm, STORM_ONLINE, format_text("online %u", storm->nodes[i].number));
	}
}

/* Nodes that are in service and may take part; fails where taking one out would be refused. */
static bool take_nodes(struct storm *storm, const json_t *status)
{
	const json_t *nodes = field_array(status, "nodes");
	size_t memory = 0;

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
		memory += node.memory;
		storm->nodes[storm->count++] = node;
	}
	return memory >= 2;
}

static json_t *tally_rows(const struct storm *storm)
{
	json_t *rows = json_array();

	for (int kind = 0; kind < STORM_KINDS; kind++) {
		const struct tally *tally = &storm->tallies[kind];

		json_array_append_new(
			rows, json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "request",
					kind_names[kind], "tried", (json_int_t)tally->tried, "done",
					(json_int_t)tally->done, "busy", (json_int_t)tally->busy,
					"cancelled", (json_int_t)tally->cancelled, "timed_out",
					(json_int_t)tally->timed_out, "failed",
					(json_int_t)tally->failed));
	}
	return rows;
}

static void report_json(const struct storm *storm, json_t *rows)
{
	json_t *report = json_object();

	json_object_set_new(report, "ok", json_boolean(storm->code <= EXIT_DONE));
	/* As text: a seed uses all 64 bits, and readers of JSON may not. */
	json_object_set_new(report, "seed", json_sprintf("%llu", (unsigned long long)storm->seed));
	json_object_set_new(report, "steps", json_integer((json_int_t)storm->step));
	json_object_set(report, "requests", rows);
	json_object_set(report, "failures", storm->failures);
	print_json(report);
	json_decref(report);
}

static void report(const struct storm *storm)
{
	struct table table = {.columns = storm_columns, .rows = tally_rows(storm)};

	if (storm->context->set.json) {
		report_json(storm, table.rows);
	} else {
		print_table(storm->context, &table);
		for (size_t i = 0; i < json_array_size(storm->failures); i++) {
			const json_t *failure = json_array_get(storm->failures, i);

			complain("step %llu: %s: %s",
				 (unsigned long long)field_count(failure, "step"),
				 field_text(failure, "request"), field_text(failure, "message"));
		}
		if (json_array_size(storm->failures))
			complain("--seed %llu asks the same again",
				 (unsigned long long)storm->seed);
	}
	json_decref(table.rows);
}

static bool read_number(const char *option, const char *text, double *number)
{
	if (!text || (parse_number(text, number) && *number > 0 && *number <= 1e6))
		return true;
	complain("%s takes a number above 0, not '%s'", option, text);
	return false;
}

static bool read_seed(struct storm *storm, const char *text)
{
	char *end;

	if (!text)
		return getrandom(&storm->seed, sizeof(storm->seed), 0) > 0;
	errno = 0;
	storm->seed = strtoull(text, &end, 0);
	if (!errno && *text && *text != '-' && !*end)
		return true;
	complain("--seed takes a number, not '%s'", text);
	return false;
}

static bool read_settings(struct storm *storm)
{
	const struct settings *set = &storm->context->set;
	char *checked = copy_text("");
	bool good = add_lifecycle_options(storm->context, &checked) &&
		    read_number("--duration", set->duration, &storm->duration) &&
		    read_number("--rate", set->rate, &storm->rate) && read_seed(storm, set->seed);

	free(checked);
	if (good && set->all) {
		complain("storm is for one process: choose it with -p PID");
		return false;
	}
	return good;
}

int run_storm(struct context *context)
{
	struct storm storm = {.context = context, .duration = 10, .rate = 10, .code = NO_CODE};
	struct targets targets;
	json_t *status;
	int code;

	if (!read_settings(&storm))
		return EXIT_USAGE;
	code = select_targets(context, &targets);
	if (code != EXIT_DONE)
		return code;
	storm.process = &targets.processes.items[0];
	storm.state = storm.seed;
	storm.failures = json_array();
	status = send_one(&storm, "status", &code);
	if (code != EXIT_DONE) {
		if (context->set.json)
			print_json(status);
		else
			print_failure(context, storm.process, status);
	} else if (!take_nodes(&storm, status)) {
		code = fail_here(context, EXIT_BUSY, "EBUSY",
				 "a storm needs two nodes with memory that are online and not "
				 "cordoned; 'hotplugctl status' shows them");
	} else {
		if (!context->set.json)
			printf("storm: seed %llu, %zu nodes, %g s, %g requests a second\n",
			       (unsigned long long)storm.seed, storm.count, storm.duration,
			       storm.rate);
		fflush(stdout);
		make_storm(&storm);
		report(&storm);
		code = storm.code == NO_CODE ? EXIT_DONE : storm.code;
	}
	json_decref(status);
	json_decref(storm.failures);
	free(storm.nodes);
	return code;
}
