/*
 * The commands that change nodes: offline, online, cordon, uncordon, cancel, drain. A long one
 * belongs to its connection: on Ctrl-C a second connection asks for the cancel, so that the first
 * still gets the result, which says that the node is back; where that is not possible, closing the
 * connection has the same effect.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "figures.h"
#include "hotplugctl.h"
#include "json.h"
#include "kernel.h"
#include "lifecycle.h"
#include "other_memory.h"
#include "progress.h"
#include "request.h"
#include "result.h"
#include "table.h"
#include "target.h"
#include "util.h"

#define ROLLBACK_LOOKS	 100
#define ROLLBACK_LOOK_MS 100

static const struct figure offline_figures[] = {
	{"drained_objects", "drained", FIGURE_COUNT, "cached objects"},
	{"released_bytes", "released", FIGURE_BYTES, "to the system"},
	{"evicted_objects", "evicted", FIGURE_COUNT | FIGURE_SPARSE, "objects of movable caches"},
	{"migrated_bytes", "moved", FIGURE_BYTES, "to other nodes, addresses unchanged"},
	{"guest_bytes", "of these", FIGURE_BYTES | FIGURE_SPARSE,
	 "belong to other nodes, and lay here"},
	{"max_stall_ms", "longest stall", FIGURE_MS, "ms"},
	{0},
};

static const struct figure online_figures[] = {
	{"migrated_bytes", "moved back", FIGURE_BYTES | FIGURE_SPARSE,
	 "from other nodes, addresses unchanged"},
	{"elsewhere_bytes", "elsewhere", FIGURE_BYTES | FIGURE_SPARSE,
	 "stay on other nodes; --rebalance brings them back"},
	{"max_stall_ms", "longest stall", FIGURE_MS | FIGURE_SPARSE, "ms"},
	{0},
};

static const struct figure drain_figures[] = {
	{"drained_objects", "drained", FIGURE_COUNT, "cached objects"},
	{"released_bytes", "released", FIGURE_BYTES, "to the system"},
	{"evicted_objects", "evicted", FIGURE_COUNT | FIGURE_SPARSE, "objects of movable caches"},
	{0},
};

/* Where an offline has left things, whether it did it or found it so. */
static const struct figure away_figures[] = {
	{"elsewhere_bytes", "elsewhere", FIGURE_BYTES | FIGURE_SPARSE,
	 "lie on other nodes until 'online --rebalance'"},
	{0},
};

static const struct figure other_figures[] = {
	{"other_bytes", "other memory", FIGURE_BYTES | FIGURE_SPARSE,
	 "of the process is on the node; --whole-process moves it"},
	{0},
};

static const struct figure stayed_figures[] = {
	{"other_bytes", "other memory", FIGURE_BYTES | FIGURE_SPARSE,
	 "of the process is on the node still"},
	{0},
};

static const struct figure no_figures[] = {{0}};

static char *cell_result(const json_t *row, bool exact)
{
	(void)exact;
	return clean_text(copy_text(reply_code(row) == EXIT_DONE ? "done" : reply_error(row)));
}

static char *cell_note(const json_t *row, bool exact)
{
	const char *message = field_text(row, "message"), *note = field_text(row, "note");

	(void)exact;
	return clean_text(copy_text(message ? message : note ? note : "-"));
}

static const struct column result_columns[] = {
	{"PID", "pid", CELL_COUNT, COLUMN_SEVERAL | COLUMN_WHO, NULL},
	{"COMMAND", "command", CELL_TEXT, COLUMN_SEVERAL | COLUMN_WHO | COLUMN_SPARE, NULL},
	{"NODE", "node", CELL_COUNT, COLUMN_SHOWN, NULL},
	{"RESULT", "error", CELL_TEXT, COLUMN_SHOWN | COLUMN_STATE, cell_result},
	{"STATE", "state", CELL_TEXT, COLUMN_SHOWN, NULL},
	{"DRAINED", "drained_objects", CELL_COUNT, COLUMN_SPARSE | COLUMN_SPARE, NULL},
	{"RELEASED", "released_bytes", CELL_BYTES, COLUMN_SPARSE | COLUMN_SPARE, NULL},
	{"EVICTED", "evicted_objects", CELL_COUNT, COLUMN_SPARSE | COLUMN_SPARE, NULL},
	{"MOVED", "migrated_bytes", CELL_BYTES, COLUMN_SPARSE, NULL},
	{"MS", "elapsed_ms", CELL_MS, COLUMN_SPARSE | COLUMN_SPARE, NULL},
	{"NOTE", "note", CELL_TEXT, COLUMN_SPARSE | COLUMN_WRAPPED, cell_note},
	{0},
};

/* A drain is of the whole process, or of nodes together. */
static const struct column drain_columns[] = {
	{"PID", "pid", CELL_COUNT, COLUMN_SEVERAL | COLUMN_WHO, NULL},
	{"COMMAND", "command", CELL_TEXT, COLUMN_SEVERAL | COLUMN_WHO | COLUMN_SPARE, NULL},
	{"RESULT", "error", CELL_TEXT, COLUMN_SHOWN | COLUMN_STATE, cell_result},
	{"DRAINED", "drained_objects", CELL_COUNT, COLUMN_SHOWN, NULL},
	{"RELEASED", "released_bytes", CELL_BYTES, COLUMN_SHOWN, NULL},
	{"EVICTED", "evicted_objects", CELL_COUNT, COLUMN_SPARSE, NULL},
	{"NOTE", "note", CELL_TEXT, COLUMN_SPARSE | COLUMN_WRAPPED, cell_note},
	{0},
};

static const struct column *columns_of(const struct context *context)
{
	return !strcmp(context->command->name, "drain") ? drain_columns : result_columns;
}

static const struct figure *figures_of(const struct context *context)
{
	const char *name = context->command->name;

	if (!strcmp(name, "drain"))
		return drain_figures;
	if (!strcmp(name, "online"))
		return online_figures;
	return no_figures;
}

/* "node 1: offline, policy migrate, 0.3 ms"; what was so already took no time, and no policy. */
static void print_head(const struct context *context, const json_t *reply)
{
	const char *state = field_text(reply, "state"), *policy = field_text(reply, "policy");
	bool already = field_flag(reply, "already");
	char *head = copy_text("");

	if (field_present(reply, "node"))
		append_text(&head, "node %llu: ", (unsigned long long)field_count(reply, "node"));
	else
		append_text(&head, "%s", context->count ? "nodes " : "all nodes");
	for (size_t i = 0; !field_present(reply, "node") && i < context->count; i++)
		append_text(&head, "%s%s", i ? "," : "", context->arguments[i]);
	append_text(&head, "%s%s", field_present(reply, "node") ? "" : ": ",
		    state ? state : "done");
	if (field_flag(reply, "cordoned"))
		append_text(&head, ", cordoned");
	if (policy && !already)
		append_text(&head, ", policy %s", policy);
	if (field_present(reply, "elapsed_ms") && !already)
		append_text(&head, ", %.1f ms", field_number(reply, "elapsed_ms", 0));
	puts(clean_text(head));
	free(head);
}

/* What --whole-process came to. */
static void print_whole_process(const struct context *context, const json_t *reply)
{
	const json_t *whole = json_object_get(reply, "whole_process");
	bool exact = exact_bytes(context);
	char *text, *moved, *stayed;

	if (!json_is_object(whole))
		return;
	moved = format_bytes(field_count(whole, "moved_bytes"), exact);
	stayed = format_bytes(field_count(whole, "stayed_bytes"), exact);
	text = json_is_false(json_object_get(whole, "ok"))
		       ? failure_text(whole)
		       : format_text("%s moved, %s stayed", moved, stayed);
	print_figure_text("whole process", text);
	free(text);
	free(moved);
	free(stayed);
}

/* What stayed, by the reason. */
static void print_unmovable(const json_t *reply)
{
	const json_t *rows = field_array(reply, "unmovable");

	for (size_t i = 0; i < json_array_size(rows); i++) {
		const json_t *row = json_array_get(rows, i);
		const char *reason = field_text(row, "reason");
		char *text = clean_text(format_text("%llu pages: %s",
						    (unsigned long long)field_count(row, "pages"),
						    reason ? reason : "?"));

		print_figure_text(i ? "" : "unmovable", text);
		free(text);
	}
}

static void print_other_memory(const struct context *context, const struct session *session)
{
	uint64_t bytes = field_count(session->reply, "other_bytes");
	unsigned int node = (unsigned int)field_count(session->reply, "node");
	char *text =
		bytes ? name_other_memory(session->process->pid, node, bytes, exact_bytes(context))
		      : NULL;

	if (text)
		print_figure_text("", text);
	free(text);
}

static void print_done(const struct context *context, const struct session *session)
{
	const json_t *reply = session->reply;
	bool offline = context->command->run == run_offline;

	print_head(context, reply);
	print_note(reply);
	if (!offline)
		print_figures(context, figures_of(context), reply);
	else if (!field_flag(reply, "already"))
		print_figures(context, offline_figures, reply);
	print_unmovable(reply);
	if (!offline)
		return;
	print_figures(context, away_figures, reply);
	print_whole_process(context, reply);
	print_figures(context,
		      context->set.given & OPT_WHOLE_PROCESS ? stayed_figures : other_figures,
		      reply);
	print_other_memory(context, session);
}

/* What a failure leaves behind: pages that moved stay where they are. */
static void print_moved(const struct context *context, const struct session *session)
{
	uint64_t moved = field_count(session->reply, "migrated_bytes");
	uint64_t guests = field_count(session->reply, "guest_bytes");
	char *target = target_options(session->process), *bytes;

	if (moved > guests) {
		bytes = format_bytes(moved - guests, exact_bytes(context));
		complain("%s were moved before and stay on other nodes; 'hotplugctl %s online %llu "
			 "--rebalance' brings them back",
			 bytes, target, (unsigned long long)field_count(session->reply, "node"));
		free(bytes);
	}
	if (guests) {
		bytes = format_bytes(guests, exact_bytes(context));
		complain("%s of other nodes, which lay there, have moved on", bytes);
		free(bytes);
	}
	free(target);
}

/* Those that keep the node busy, under the message that says so. */
static void print_holders(const struct context *context, const json_t *reply)
{
	json_t *holders = field_array(reply, "holders");
	struct context plain = *context;
	struct table table = {.columns = why_columns, .rows = holders};

	if (!json_array_size(holders))
		return;
	plain.set.columns = NULL;
	print_table(&plain, &table);
}

static bool several_results(const struct context *context, const struct targets *targets)
{
	return context->set.all || field_array(targets->sessions[0].reply, "results");
}

/* One row a node and process; a node's own row where the reply holds several. */
static json_t *result_rows(const struct targets *targets)
{
	json_t *rows = json_array();

	for (size_t i = 0; i < targets->processes.count; i++) {
		const struct session *session = &targets->sessions[i];
		const json_t *results = field_array(session->reply, "results");
		json_t *whole = tag_reply(session);

		if (session->code == EXIT_NO_PROCESS)
			json_object_set(whole, "problem", json_object_get(whole, "message"));
		if (!results)
			json_array_append(rows, whole);
		for (size_t k = 0; k < json_array_size(results); k++) {
			json_t *row = json_copy(json_array_get(results, k));

			json_object_set(row, "pid", json_object_get(whole, "pid"));
			json_object_set(row, "command", json_object_get(whole, "command"));
			json_array_append_new(rows, row);
		}
		json_decref(whole);
	}
	return rows;
}

/* What to do about the failure of one row, unless the same was told of another. */
static void print_row_advice(const struct context *context, const struct process *process,
			     const json_t *row, json_t *told)
{
	const char *error = reply_error(row);
	char *advice;

	if (reply_code(row) == EXIT_DONE || not_asked(error) || json_object_get(told, error))
		return;
	advice = advise(context, process, row);
	if (advice) {
		complain("%s", advice);
		json_object_set_new(told, error, json_true());
	}
	free(advice);
}

/* Under a table: what to do about each kind of failure that is in it, once. */
static void print_advice(const struct context *context, const struct targets *targets)
{
	json_t *told = json_object();

	for (size_t i = 0; i < targets->processes.count; i++) {
		const struct session *session = &targets->sessions[i];
		const json_t *results = field_array(session->reply, "results");

		if (!results)
			print_row_advice(context, session->process, session->reply, told);
		for (size_t k = 0; k < json_array_size(results); k++)
			print_row_advice(context, session->process, json_array_get(results, k),
					 told);
	}
	json_decref(told);
}

/* Their rows say why; what that means for the node does not go without saying. */
static void print_not_asked(const struct context *context, const struct targets *targets)
{
	size_t count = 0;

	for (size_t i = 0; i < targets->processes.count; i++)
		count += targets->sessions[i].code == EXIT_NO_PROCESS &&
			 not_asked(reply_error(targets->sessions[i].reply));
	if (!count || count == targets->processes.count || context->command->run != run_offline)
		return;
	printf("note: %zu process%s could not be asked; what %s on the node stays there\n", count,
	       count == 1 ? "" : "es", count == 1 ? "it has" : "they have");
}

/* What Ctrl-C promised: which nodes are back. False where nothing can be said. */
static bool print_back(const struct session *session)
{
	const json_t *results = field_array(session->reply, "results");
	size_t count = results ? json_array_size(results) : 1;
	char *nodes = NULL;

	if (session->code != EXIT_CANCELLED)
		return false;
	for (size_t i = 0; i < count; i++) {
		const json_t *row = results ? json_array_get(results, i) : session->reply;
		const char *state = field_text(row, "state");

		if (state && !strcmp(state, "online"))
			append_text(&nodes, "%s%llu", nodes ? "," : "",
				    (unsigned long long)field_count(row, "node"));
	}
	if (!nodes)
		return false;
	complain(strchr(nodes, ',') ? "cancelled: nodes %s are back" : "cancelled: node %s is back",
		 nodes);
	free(nodes);
	return true;
}

static void show_table(const struct context *context, const struct targets *targets)
{
	struct table table = {.columns = columns_of(context), .several = context->set.all};

	table.rows = result_rows(targets);
	print_table(context, &table);
	json_decref(table.rows);
	print_not_asked(context, targets);
	print_advice(context, targets);
	for (size_t i = 0; i < targets->processes.count; i++)
		print_back(&targets->sessions[i]);
}

void show_results(const struct context *context, const struct targets *targets)
{
	const struct session *session = &targets->sessions[0];

	if (several_results(context, targets)) {
		show_table(context, targets);
	} else if (session->code == EXIT_DONE) {
		print_done(context, session);
	} else {
		if (!print_back(session))
			print_failure(context, session->process, session->reply);
		print_moved(context, session);
		print_unmovable(session->reply);
		print_holders(context, session->reply);
	}
}

static void on_progress(struct session *session, void *data)
{
	struct operation *operation = data;
	json_t *reply;

	if (!(operation->context->set.given & OPT_DETACH))
		return;
	/* The first progress object acknowledges; from here on the process needs nobody. */
	reply = json_pack("{s:b, s:b, s:O}", "ok", 1, "detached", 1, "progress", session->progress);
	if (operation->nodes.count == 1)
		json_object_set_new(reply, "node", json_integer(operation->nodes.nodes[0]));
	json_object_set_new(reply, "state", json_string("going-offline"));
	json_object_set_new(reply, "note",
			    json_string("goes on by itself; 'status' and 'events' show how far it "
					"is, 'cancel' takes it back"));
	finish_session(session, reply, EXIT_DONE);
}

static void on_tick(struct session *sessions, size_t count, void *data)
{
	struct operation *operation = data;

	draw_progress(&operation->progress, sessions, count);
}

static bool still_going(const json_t *status, unsigned int node)
{
	const json_t *nodes = field_array(status, "nodes");

	for (size_t i = 0; i < json_array_size(nodes); i++) {
		const json_t *row = json_array_get(nodes, i);
		const char *state = field_text(row, "state");

		if (field_count(row, "node") == node)
			return state && !strcmp(state, "going-offline");
	}
	return false;
}

/* After a hang-up: until none of the nodes is on its way any more, or the process gone. */
static bool rolled_back(struct process *process, const struct node_list *nodes)
{
	const struct timespec pause = {.tv_nsec = ROLLBACK_LOOK_MS * 1000000L};

	for (int look = 0; look < ROLLBACK_LOOKS; look++) {
		bool going = false;
		int code;
		json_t *status = ask_process(process, "status", &code);

		for (size_t i = 0; i < nodes->count; i++)
			going |= still_going(status, nodes->nodes[i]);
		json_decref(status);
		if (code != EXIT_DONE || !going)
			return code == EXIT_DONE;
		nanosleep(&pause, NULL);
	}
	return false;
}

static void hang_up(struct session *session, const struct operation *operation, bool wait)
{
	json_t *reply;
	bool back;

	close_session(session);
	back = wait && rolled_back(session->process, &operation->nodes);
	reply = make_failure("ECANCELED", back ? "cancelled by closing the connection"
					       : "cancelled; the process is rolling back");
	if (operation->nodes.count == 1) {
		json_object_set_new(reply, "node", json_integer(operation->nodes.nodes[0]));
		if (back)
			json_object_set_new(reply, "state", json_string("online"));
	}
	finish_session(session, reply, EXIT_CANCELLED);
}

/* Asks on a second connection; the first then gets the result of the rolled back operation. */
static bool send_cancels(struct session *session, const struct operation *operation)
{
	bool sent = true;

	for (size_t i = 0; i < operation->nodes.count && sent; i++) {
		char *request = format_text("cancel %u", operation->nodes.nodes[i]);
		int code;

		json_decref(ask_process(session->process, request, &code));
		sent = code != EXIT_NO_PROCESS;
		free(request);
	}
	return sent;
}

static void leave(struct session *session, const char *message)
{
	finish_session(session, make_failure("ECANCELED", message), EXIT_CANCELLED);
}

static void cancel_session(struct session *session, const struct operation *operation)
{
	if (!session->hello)
		leave(session, "cancelled before the process was asked");
	else if (operation->context->set.given & OPT_DETACH)
		leave(session, "left; the process goes on, 'cancel' takes it back");
	else if (field_flag(session->progress, "joined"))
		leave(session, "left; the offline that another client asked for goes on");
	else if (operation->interrupts > 1)
		hang_up(session, operation, false);
	else if (!send_cancels(session, operation))
		hang_up(session, operation, true);
}

static void on_interrupt(struct session *sessions, size_t count, void *data)
{
	struct operation *operation = data;

	operation->interrupts++;
	clear_progress(&operation->progress);
	if (!operation->context->set.json)
		complain(operation->interrupts > 1 ? "leaving at once" : "cancelling");
	for (size_t i = 0; i < count; i++)
		if (!sessions[i].done)
			cancel_session(&sessions[i], operation);
}

void ask_operation(struct operation *operation, const char *request, bool cancellable,
		   struct targets *targets)
{
	struct exchange exchange = {
		.request = request,
		.on_progress = on_progress,
		.on_tick = on_tick,
		.on_interrupt = cancellable ? on_interrupt : NULL,
		.data = operation,
	};

	operation->progress.shown = isatty(STDERR_FILENO) && !operation->context->set.json;
	ask_targets(targets, &exchange);
	clear_progress(&operation->progress);
}

static int run_long(struct context *context, bool cancellable)
{
	struct operation operation = {.context = context};
	char *request = build_request(context->command->name, context, &operation.nodes);
	struct targets targets;
	int code = EXIT_USAGE;

	if (!request)
		return code;
	code = select_targets(context, &targets);
	if (code == EXIT_DONE) {
		ask_operation(&operation, request, cancellable, &targets);
		if (context->set.json)
			print_replies(context, &targets);
		else
			show_results(context, &targets);
		code = targets_code(&targets);
	}
	free(operation.nodes.nodes);
	free(request);
	return code;
}

int run_offline(struct context *context)
{
	return context->set.given & OPT_KERNEL ? kernel_offline(context) : run_long(context, true);
}

int run_online(struct context *context)
{
	return context->set.given & OPT_KERNEL ? kernel_online(context) : run_long(context, false);
}

/*
 * cordon, uncordon, cancel, drain, as online: Ctrl-C ends hotplugctl, and the connection with it,
 * which is all the cancelling that they need.
 */
int run_lifecycle(struct context *context)
{
	return run_long(context, false);
}
