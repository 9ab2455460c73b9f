/*
 * What became of the requests of a storm. The tally is a JSON object, so that clients in processes
 * of their own can hand theirs over: {"requests": {KIND: {...}}, "failures": [...]}.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "result.h"
#include "storm.h"
#include "table.h"
#include "util.h"

#define MAX_FAILURES 50 /* kept; all are counted */

static const char *const kind_names[] = {"offline", "online", "cancel", "cordon", "uncordon",
					 "drain",   "plan",   "why",	"status", "slabinfo"};

static char *error_cell(const json_t *row, bool exact)
{
	const json_t *errors = json_object_get(row, "errors"), *count;
	const char *name;
	char *text = NULL;

	(void)exact;
	json_object_foreach((json_t *)errors, name, count)
	{
		append_text(&text, "%s%s %lld", text ? ", " : "", name,
			    (long long)json_integer_value(count));
	}
	return text ? text : copy_text("-");
}

static const struct column columns[] = {
	{"REQUEST", "request", CELL_TEXT, COLUMN_SHOWN, NULL},
	{"TRIED", "tried", CELL_COUNT, COLUMN_SHOWN, NULL},
	{"DONE", "done", CELL_COUNT, COLUMN_SHOWN, NULL},
	{"BUSY", "busy", CELL_COUNT, COLUMN_SHOWN, NULL},
	{"CANCELLED", "cancelled", CELL_COUNT, COLUMN_SHOWN, NULL},
	{"TIMEDOUT", "timed_out", CELL_COUNT, COLUMN_SHOWN, NULL},
	{"FAILED", "failed", CELL_COUNT, COLUMN_SHOWN, NULL},
	{"MEAN_MS", "mean_ms", CELL_MS, COLUMN_SHOWN | COLUMN_SPARE, NULL},
	{"MAX_MS", "max_ms", CELL_MS, COLUMN_SHOWN, NULL},
	{"ERRORS", "errors", CELL_TEXT, COLUMN_SPARSE | COLUMN_WRAPPED, error_cell},
	{0},
};

/* With -a: a row a process. */
static const struct column process_columns[] = {
	{"PID", "pid", CELL_COUNT, COLUMN_SEVERAL | COLUMN_WHO, NULL},
	{"COMMAND", "command", CELL_TEXT, COLUMN_SEVERAL | COLUMN_WHO | COLUMN_SPARE, NULL},
	{"TRIED", "tried", CELL_COUNT, COLUMN_SHOWN, NULL},
	{"DONE", "done", CELL_COUNT, COLUMN_SHOWN, NULL},
	{"BUSY", "busy", CELL_COUNT, COLUMN_SHOWN, NULL},
	{"CANCELLED", "cancelled", CELL_COUNT, COLUMN_SHOWN, NULL},
	{"TIMEDOUT", "timed_out", CELL_COUNT, COLUMN_SHOWN, NULL},
	{"FAILED", "failed", CELL_COUNT, COLUMN_SHOWN, NULL},
	{"MAX_MS", "max_ms", CELL_MS, COLUMN_SHOWN, NULL},
	{"ERRORS", "errors", CELL_TEXT, COLUMN_SPARSE | COLUMN_WRAPPED, error_cell},
	{0},
};

static int kind_of(const char *name)
{
	int kind = 0;

	while (kind < STORM_KINDS && (!name || strcmp(name, kind_names[kind])))
		kind++;
	return kind;
}

json_t *storm_tally_new(void)
{
	return json_pack("{s:{}, s:[]}", "requests", "failures");
}

static void add_count(json_t *object, const char *name, uint64_t more)
{
	json_object_set_new(object, name,
			    json_integer((json_int_t)(field_count(object, name) + more)));
}

static json_t *row_of(json_t *tally, const char *kind)
{
	json_t *rows = json_object_get(tally, "requests"), *row = json_object_get(rows, kind);

	if (row)
		return row;
	row = json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:{}}", "request", kind,
			"tried", 0, "done", 0, "busy", 0, "cancelled", 0, "timed_out", 0, "failed",
			0, "total_ms", 0.0, "max_ms", 0.0, "errors");
	json_object_set_new(rows, kind, row);
	return row;
}

static void add_time(json_t *row, double total_ms, double max_ms)
{
	double before = field_number(row, "max_ms", 0);

	json_object_set_new(row, "total_ms",
			    json_real(field_number(row, "total_ms", 0) + total_ms));
	json_object_set_new(row, "max_ms", json_real(max_ms > before ? max_ms : before));
}

/* After a failure the node is as it was before, or the rollback is broken: in service where it was
 * to leave, away where it was to return; or it was already where it was to go, and what failed came
 * besides, as a rebalance. */
static bool state_kept(enum storm_kind kind, const json_t *reply)
{
	const char *state = field_text(reply, "state");
	const json_t *results = field_array(reply, "results");

	for (size_t i = 0; i < json_array_size(results); i++) {
		const json_t *one = json_array_get(results, i);

		if (field_text(one, "error") && !state_kept(kind, one))
			return false;
	}
	if (!state || kind > STORM_ONLINE || field_flag(reply, "already"))
		return true;
	return !strcmp(state, kind == STORM_ONLINE ? "offline" : "online");
}

static void note_failure(struct storm *storm, json_t *row, const char *request, const json_t *reply,
			 const char *text)
{
	json_t *failures = json_object_get(storm->tally, "failures");

	add_count(row, "failed", 1);
	if (json_array_size(failures) < MAX_FAILURES)
		json_array_append_new(failures,
				      json_pack("{s:I, s:s, s:s, s:O}", "step",
						(json_int_t)storm->steps, "request", request,
						"message", text, "reply", reply));
}

static void count_errors(json_t *row, const json_t *reply)
{
	const json_t *results = field_array(reply, "results");

	for (size_t i = 0; i < json_array_size(results); i++)
		if (field_text(json_array_get(results, i), "error"))
			count_errors(row, json_array_get(results, i));
	if (!json_array_size(results))
		add_count(json_object_get(row, "errors"), reply_error(reply), 1);
}

void storm_tally_add(struct storm *storm, enum storm_kind kind, const char *request,
		     const json_t *reply, int code, double ms)
{
	json_t *row = row_of(storm->tally, kind_names[kind]);
	bool tolerable = code == EXIT_BUSY || code == EXIT_CANCELLED || code == EXIT_TIMED_OUT ||
			 code == EXIT_MIXED;

	add_count(row, "tried", 1);
	add_time(row, ms, ms);
	if (code == EXIT_DONE) {
		add_count(row, "done", 1);
		return;
	}
	count_errors(row, reply);
	if (tolerable && (!storm->alone || state_kept(kind, reply))) {
		add_count(row,
			  code == EXIT_CANCELLED   ? "cancelled"
			  : code == EXIT_TIMED_OUT ? "timed_out"
						   : "busy",
			  1);
		return;
	}
	storm->code = combine_codes(storm->code, tolerable ? EXIT_REFUSED : code);
	if (tolerable) {
		note_failure(storm, row, request, reply, "the node is not as it was before");
	} else {
		char *text = failure_text(reply);

		note_failure(storm, row, request, reply, text);
		free(text);
	}
	/* Without the process nothing more can be learned. */
	storm->stop |= code == EXIT_NO_PROCESS;
}

void storm_tally_merge(json_t *into, const json_t *tally)
{
	static const char *const counts[] = {"tried",	  "done",      "busy",
					     "cancelled", "timed_out", "failed"};
	json_t *rows = json_object_get(tally, "requests"), *row, *count;
	const char *kind, *error;

	json_object_foreach(rows, kind, row)
	{
		json_t *sum = row_of(into, kind);

		for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
			add_count(sum, counts[i], field_count(row, counts[i]));
		add_time(sum, field_number(row, "total_ms", 0), field_number(row, "max_ms", 0));
		json_object_foreach(json_object_get(row, "errors"), error, count)
		{
			add_count(json_object_get(sum, "errors"), error,
				  (uint64_t)json_integer_value(count));
		}
	}
	json_array_extend(json_object_get(into, "failures"), json_object_get(tally, "failures"));
}

/* Rows in the order of the kinds; how many requests they stand for. */
static json_t *sorted_rows(const json_t *tally, uint64_t *changes)
{
	json_t *sorted = json_array();

	*changes = 0;
	for (int kind = 0; kind < STORM_KINDS; kind++) {
		json_t *row = json_object_get(json_object_get(tally, "requests"), kind_names[kind]);

		if (!row)
			continue;
		if (kind < STORM_CHANGES)
			*changes += field_count(row, "tried");
		json_object_set_new(row, "mean_ms",
				    json_real(field_number(row, "total_ms", 0) /
					      (double)field_count(row, "tried")));
		json_object_del(row, "total_ms");
		json_array_append(sorted, row);
	}
	return sorted;
}

/* The seed as text: it uses all 64 bits, and readers of JSON may not. */
json_t *storm_report(const json_t *tally, uint64_t seed, double seconds, int code)
{
	uint64_t changes;
	json_t *rows = sorted_rows(tally, &changes);

	return json_pack("{s:b, s:o, s:I, s:f, s:f, s:o, s:O}", "ok", code == EXIT_DONE, "seed",
			 json_sprintf("%llu", (unsigned long long)seed), "changes",
			 (json_int_t)changes, "seconds", seconds, "rate", (double)changes / seconds,
			 "requests", rows, "failures", json_object_get(tally, "failures"));
}

void storm_announce(const struct storm *storm)
{
	if (!storm->context->set.json && !storm->context->set.all)
		printf("storm: seed %llu, %zu nodes\n", (unsigned long long)storm->state,
		       storm->count);
}

void storm_announce_all(const struct storm *storm, size_t processes)
{
	if (!storm->context->set.json)
		printf("storm: seed %llu, %zu processes\n", (unsigned long long)storm->state,
		       processes);
}

static void print_failures(const struct context *context, const struct session *session)
{
	const json_t *failures = field_array(session->reply, "failures"), *failure;
	char *target = context->set.all ? target_options(session->process) : copy_text("");
	size_t i;

	json_array_foreach((json_t *)failures, i, failure)
	{
		complain("%s%sstep %llu: %s: %s", target, *target ? ": " : "",
			 (unsigned long long)field_count(failure, "step"),
			 field_text(failure, "request"), field_text(failure, "message"));
	}
	if (json_array_size(failures))
		complain("%s%s--seed %s asks the same again", target, *target ? ": " : "",
			 field_text(session->reply, "seed"));
	free(target);
}

static void show_one(const struct context *context, const struct session *session)
{
	const json_t *report = session->reply;
	struct table table = {.columns = columns, .rows = field_array(report, "requests")};

	if (!table.rows) {
		print_failure(context, session->process, report);
		return;
	}
	print_table(context, &table);
	print_failures(context, session);
	printf("%llu requests in %.1f s, %.0f a second\n",
	       (unsigned long long)field_count(report, "changes"),
	       field_number(report, "seconds", 0), field_number(report, "rate", 0));
}

/* A process's whole storm, the questions in between left out. */
static json_t *sum_of(const struct session *session)
{
	json_t *rows = field_array(session->reply, "requests"), *row, *tagged, *sum;
	json_t *tally = storm_tally_new();
	size_t i;

	json_array_foreach(rows, i, row)
	{
		json_t *one = json_pack("{s:{s:O}, s:[]}", "requests", "all", row, "failures");

		if (kind_of(field_text(row, "request")) < STORM_CHANGES)
			storm_tally_merge(tally, one);
		json_decref(one);
	}
	sum = json_copy(row_of(tally, "all"));
	tagged = tag_reply(session);
	json_object_set(sum, "pid", json_object_get(tagged, "pid"));
	json_object_set(sum, "command", json_object_get(tagged, "command"));
	json_decref(tagged);
	json_decref(tally);
	return sum;
}

static void show_all(const struct context *context, const struct targets *targets)
{
	struct table table = {.columns = process_columns, .rows = json_array(), .several = true};

	for (size_t i = 0; i < targets->processes.count; i++) {
		const struct session *session = &targets->sessions[i];

		json_array_append_new(table.rows, field_array(session->reply, "requests")
							  ? sum_of(session)
							  : problem_row(session));
	}
	print_table(context, &table);
	json_decref(table.rows);
	for (size_t i = 0; i < targets->processes.count; i++)
		print_failures(context, &targets->sessions[i]);
}

void storm_show(const struct context *context, const struct targets *targets)
{
	if (context->set.json)
		print_replies(context, targets);
	else if (context->set.all)
		show_all(context, targets);
	else
		show_one(context, &targets->sessions[0]);
}
