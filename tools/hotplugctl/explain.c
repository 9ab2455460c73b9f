/*
 * The commands that explain and change nothing: why and plan.
 */
#include <stdio.h>
#include <stdlib.h>

#include "figures.h"
#include "hotplugctl.h"
#include "json.h"
#include "request.h"
#include "result.h"
#include "symbols.h"
#include "table.h"
#include "target.h"
#include "util.h"

const struct column why_columns[] = {
	{"PID", "pid", CELL_COUNT, COLUMN_SEVERAL | COLUMN_WHO, NULL},
	{"COMMAND", "command", CELL_TEXT, COLUMN_SEVERAL | COLUMN_WHO | COLUMN_SPARE, NULL},
	{"CACHE", "cache", CELL_TEXT, COLUMN_SHOWN, NULL},
	{"OBJECTS", "objects", CELL_COUNT, COLUMN_SHOWN, NULL},
	{"SLABS", "slabs", CELL_COUNT, COLUMN_SHOWN, NULL},
	{"BYTES", "bytes", CELL_BYTES, COLUMN_SHOWN, NULL},
	{0},
};

static const struct figure plan_figures[] = {
	{"released_bytes", "give back", FIGURE_BYTES, "to the system"},
	{"cached_bytes", "cached", FIGURE_BYTES, "held for the program, not in use"},
	{"live_bytes", "live", FIGURE_BYTES, "in use by the program"},
	{"evict_bytes", "evict", FIGURE_BYTES | FIGURE_SPARSE, "of movable caches"},
	{"metadata_bytes", "metadata", FIGURE_BYTES, "of slabnode itself"},
	{"to_move_bytes", "move", FIGURE_BYTES, "to other nodes"},
	{"guest_bytes", "of these", FIGURE_BYTES | FIGURE_SPARSE,
	 "belong to other nodes, and lie here"},
	{"other_bytes", "other memory", FIGURE_BYTES | FIGURE_SPARSE,
	 "of the process, moved by --whole-process"},
	{"obstacles", "in the way", FIGURE_LIST, ""},
	{0},
};

static void print_who(const struct context *context, const struct session *session)
{
	char *who;

	if (!context->set.all)
		return;
	who = clean_text(
		format_text("pid %d (%s)", (int)session->process->pid, session->process->command));
	printf("%s, ", who);
	free(who);
}

/* "under way: offline, policy wait, phase wait, for 118 ms, waiting for objects" */
static void print_transition(const json_t *transition)
{
	const char *action = field_text(transition, "action"), *text;
	char *line = format_text("under way: %s", action ? action : "?");

	if ((text = field_text(transition, "policy")))
		append_text(&line, ", policy %s", text);
	if ((text = field_text(transition, "phase")))
		append_text(&line, ", phase %s", text);
	append_text(&line, ", for %llu ms",
		    (unsigned long long)field_count(transition, "elapsed_ms"));
	text = field_text(transition, "waiting_for");
	if (text && *text)
		append_text(&line, ", waiting for %s", text);
	puts(clean_text(line));
	free(line);
}

static void print_why_head(const struct context *context, const struct session *session)
{
	const char *state = field_text(session->reply, "state");
	const json_t *transition = json_object_get(session->reply, "transition");
	char *text = clean_text(copy_text(state ? state : "?"));

	print_who(context, session);
	printf("node %llu: %s\n", (unsigned long long)field_count(session->reply, "node"), text);
	free(text);
	if (json_is_object(transition))
		print_transition(transition);
	if (!json_array_size(field_array(session->reply, "holders")))
		puts("nothing holds it");
}

static void print_site(const struct context *context, struct symbols *symbols, const json_t *site)
{
	const json_t *frames = field_array(site, "frames");
	char *bytes = format_bytes(field_count(site, "bytes"), exact_bytes(context));

	printf("%s in %llu objects\n", bytes, (unsigned long long)field_count(site, "objects"));
	free(bytes);
	if (!json_array_size(frames))
		puts("    (stacks that are not known)");
	for (size_t i = 0; i < json_array_size(frames); i++) {
		const char *frame = json_string_value(json_array_get(frames, i));
		char *text = describe_return(symbols, frame ? strtoull(frame, NULL, 16) : 0);

		printf("    %s\n", text);
		free(text);
	}
}

static void print_sites(const struct context *context, const struct session *session)
{
	const json_t *sites = field_array(session->reply, "sites");
	const json_t *sampling = json_object_get(session->reply, "sampling");
	uint64_t mean = field_count(sampling, "mean_bytes");
	uint64_t dropped = field_count(sampling, "dropped");
	uint64_t more = field_count(sampling, "more_sites");
	struct symbols *symbols;
	char *text;

	if (!mean)
		return;
	text = format_bytes(mean, exact_bytes(context));
	putchar('\n');
	print_who(context, session);
	if (mean > 1)
		printf("allocated by (estimates, one sample in %s):\n", text);
	else
		puts("allocated by:");
	free(text);
	symbols = open_symbols(session->process->pid);
	for (size_t i = 0; i < json_array_size(sites); i++)
		print_site(context, symbols, json_array_get(sites, i));
	close_symbols(symbols);
	if (more)
		printf("and %llu smaller sites\n", (unsigned long long)more);
	if (dropped)
		printf("%llu samples had no room and are missing\n", (unsigned long long)dropped);
}

static void show_why(const struct context *context, const struct targets *targets)
{
	struct table table = {.columns = why_columns, .several = context->set.all};

	if (show_failure(context, targets))
		return;
	for (size_t i = 0; i < targets->processes.count; i++)
		if (targets->sessions[i].code == EXIT_DONE &&
		    !(context->set.given & OPT_NO_HEADING))
			print_why_head(context, &targets->sessions[i]);
	table.rows = collect_rows(targets, "holders", NULL);
	if (json_array_size(table.rows))
		print_table(context, &table);
	json_decref(table.rows);
	for (size_t i = 0; i < targets->processes.count; i++)
		if (targets->sessions[i].code == EXIT_DONE)
			print_sites(context, &targets->sessions[i]);
}

static char *cell_feasible(const json_t *row, bool exact)
{
	(void)exact;
	return copy_text(field_flag(row, "feasible") ? "yes" : "no");
}

/* Where the plan would move to, together. */
static char *cell_room(const json_t *row, bool exact)
{
	const json_t *targets = field_array(row, "targets");
	uint64_t room = 0;

	for (size_t i = 0; i < json_array_size(targets); i++) {
		const json_t *target = json_array_get(targets, i);

		if (!field_present(target, "free_bytes"))
			return copy_text("unlimited");
		room += field_count(target, "free_bytes");
	}
	return format_bytes(room, exact);
}

static char *cell_obstacles(const json_t *row, bool exact)
{
	const json_t *obstacles = field_array(row, "obstacles");
	char *text = NULL;

	(void)exact;
	for (size_t i = 0; i < json_array_size(obstacles); i++) {
		char *part = describe_value(json_array_get(obstacles, i));

		append_text(&text, "%s%s", text ? "; " : "", part);
		free(part);
	}
	return text ? text : copy_text("-");
}

/* With -o, -n or -a: a row a process. */
const struct column plan_columns[] = {
	{"PID", "pid", CELL_COUNT, COLUMN_SEVERAL | COLUMN_WHO, NULL},
	{"COMMAND", "command", CELL_TEXT, COLUMN_SEVERAL | COLUMN_WHO | COLUMN_SPARE, NULL},
	{"NODE", "node", CELL_COUNT, COLUMN_SHOWN, NULL},
	{"FEASIBLE", "feasible", CELL_TEXT, COLUMN_SHOWN, cell_feasible},
	{"RELEASED", "released_bytes", CELL_BYTES, COLUMN_SHOWN, NULL},
	{"EVICT", "evict_bytes", CELL_BYTES, COLUMN_SHOWN, NULL},
	{"MOVE", "to_move_bytes", CELL_BYTES, COLUMN_SHOWN, NULL},
	{"ROOM", "targets", CELL_BYTES, COLUMN_SHOWN, cell_room},
	{"LIVE", "live_bytes", CELL_BYTES, 0, NULL},
	{"CACHED", "cached_bytes", CELL_BYTES, 0, NULL},
	{"METADATA", "metadata_bytes", CELL_BYTES, 0, NULL},
	{"OTHER", "other_bytes", CELL_BYTES, 0, NULL},
	{"OBSTACLES", "obstacles", CELL_TEXT, COLUMN_SHOWN | COLUMN_WRAPPED, cell_obstacles},
	{0},
};

static void show_plan_rows(const struct context *context, const struct targets *targets)
{
	struct table table = {.columns = plan_columns, .several = context->set.all};

	if (show_failure(context, targets))
		return;
	table.rows = collect_rows(targets, NULL, NULL);
	print_table(context, &table);
	json_decref(table.rows);
}

static void print_plan_targets(const struct context *context, const json_t *reply)
{
	const json_t *targets = field_array(reply, "targets");

	for (size_t i = 0; i < json_array_size(targets); i++) {
		const json_t *target = json_array_get(targets, i);
		char *room = field_present(target, "free_bytes")
				     ? format_bytes(field_count(target, "free_bytes"),
						    exact_bytes(context))
				     : copy_text("no limit");

		printf("  %-14s node %llu, free %s\n", i ? "" : "targets",
		       (unsigned long long)field_count(target, "node"), room);
		free(room);
	}
}

static void show_plan(const struct context *context, const struct targets *targets)
{
	const json_t *reply = targets->sessions[0].reply;
	struct table table = {.columns = why_columns, .rows = field_array(reply, "holders")};

	if (show_failure(context, targets))
		return;
	printf("node %llu: offline %s\n", (unsigned long long)field_count(reply, "node"),
	       field_flag(reply, "already")    ? "already: nothing would change"
	       : field_flag(reply, "feasible") ? "would succeed"
					       : "would not succeed");
	print_note(reply);
	print_figures(context, plan_figures, reply);
	print_plan_targets(context, reply);
	if (json_array_size(table.rows))
		print_table(context, &table);
}

static int explain(struct context *context,
		   void (*show)(const struct context *, const struct targets *))
{
	struct exchange exchange = {.timeout_ms = QUERY_TIMEOUT_MS};
	char *request = build_request(context->command->name, context, NULL);
	int code;

	if (!request)
		return EXIT_USAGE;
	exchange.request = request;
	code = ask_and_show(context, &exchange, show);
	free(request);
	return code;
}

int run_why(struct context *context)
{
	return explain(context, show_why);
}

int run_plan(struct context *context)
{
	bool rows = context->set.all || (context->set.given & (OPT_COLUMNS | OPT_NO_HEADING));

	return explain(context, rows ? show_plan_rows : show_plan);
}
