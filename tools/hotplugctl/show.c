/*
 * The commands that show tables: list, status, slabinfo, options; and topology in the shape of
 * numactl -H.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hotplugctl.h"
#include "json.h"
#include "request.h"
#include "result.h"
#include "table.h"
#include "target.h"
#include "util.h"

/* Nodes in service of those that there are. */
static char *cell_nodes(const json_t *row, bool exact)
{
	(void)exact;
	if (!field_present(row, "nodes"))
		return copy_text("-");
	return format_text("%llu/%llu", (unsigned long long)field_count(row, "nodes_online"),
			   (unsigned long long)field_count(row, "nodes"));
}

static char *cell_state(const json_t *row, bool exact)
{
	const json_t *allowed = json_object_get(row, "allowed");
	const char *state = field_text(row, "state");

	(void)exact;
	return clean_text(format_text("%s%s%s", state ? state : "-",
				      field_flag(row, "cordoned") ? ",cordoned" : "",
				      json_is_false(allowed) ? ",not-allowed" : ""));
}

static char *cell_capacity(const json_t *row, bool exact)
{
	if (!field_present(row, "capacity_bytes"))
		return copy_text("-");
	return format_bytes(field_count(row, "capacity_bytes"), exact);
}

/* Of the objects that this node gave out, those that were wanted on it. */
static char *cell_local(const json_t *row, bool exact)
{
	double hit = field_number(row, "numa_hit", 0), miss = field_number(row, "numa_miss", 0);

	(void)exact;
	if (hit + miss <= 0)
		return copy_text("-");
	return format_text("%.1f", 100 * hit / (hit + miss));
}

const struct column list_columns[] = {
	{"PID", "pid", CELL_COUNT, COLUMN_SHOWN | COLUMN_WHO, NULL},
	{"COMMAND", "command", CELL_TEXT, COLUMN_SHOWN | COLUMN_WHO, NULL},
	{"NODES", "nodes", CELL_TEXT, COLUMN_SHOWN, cell_nodes},
	{"LIVE", "live_bytes", CELL_BYTES, COLUMN_SHOWN, NULL},
	{"CACHED", "cached_bytes", CELL_BYTES, COLUMN_SHOWN | COLUMN_SPARE, NULL},
	{"SOCKET", "socket", CELL_TEXT, 0, NULL},
	{0},
};

const struct column status_columns[] = {
	{"PID", "pid", CELL_COUNT, COLUMN_SEVERAL | COLUMN_WHO, NULL},
	{"COMMAND", "command", CELL_TEXT, COLUMN_SEVERAL | COLUMN_WHO | COLUMN_SPARE, NULL},
	{"NODE", "node", CELL_COUNT, COLUMN_SHOWN, NULL},
	{"STATE", "state", CELL_TEXT, COLUMN_SHOWN | COLUMN_STATE, cell_state},
	{"CPUS", "cpus", CELL_TEXT, COLUMN_SHOWN | COLUMN_SPARE, NULL},
	{"CAPACITY", "capacity_bytes", CELL_BYTES, COLUMN_SPARSE | COLUMN_USEFUL, cell_capacity},
	{"LIVE", "live_bytes", CELL_BYTES, COLUMN_SHOWN, NULL},
	{"CACHED", "cached_bytes", CELL_BYTES, COLUMN_SHOWN, NULL},
	{"SLABS", "slabs", CELL_COUNT, COLUMN_SHOWN | COLUMN_SPARE, NULL},
	{"LARGE", "large_bytes", CELL_BYTES, 0, NULL},
	{"LOCAL%", "numa_hit", CELL_COUNT, COLUMN_SHOWN | COLUMN_SPARE, cell_local},
	{"RESIDENT", "resident_bytes", CELL_BYTES, COLUMN_SPARSE | COLUMN_USEFUL, NULL},
	{"ELSEWHERE", "elsewhere_bytes", CELL_BYTES, COLUMN_SPARSE | COLUMN_USEFUL, NULL},
	{"OTHER", "other_bytes", CELL_BYTES, COLUMN_SPARSE | COLUMN_USEFUL, NULL},
	{"HIT", "numa_hit", CELL_COUNT, 0, NULL},
	{"MISS", "numa_miss", CELL_COUNT, 0, NULL},
	{"FOREIGN", "numa_foreign", CELL_COUNT, 0, NULL},
	{"FALLBACK", "fallback", CELL_NODES, COLUMN_SHOWN | COLUMN_SPARE, NULL},
	{0},
};

const struct column slabinfo_columns[] = {
	{"PID", "pid", CELL_COUNT, COLUMN_SEVERAL | COLUMN_WHO, NULL},
	{"COMMAND", "command", CELL_TEXT, COLUMN_SEVERAL | COLUMN_WHO | COLUMN_SPARE, NULL},
	{"CACHE", "cache", CELL_TEXT, COLUMN_SHOWN, NULL},
	{"NODE", "node", CELL_COUNT, COLUMN_SHOWN, NULL},
	{"ACTIVE", "active_objects", CELL_COUNT, COLUMN_SHOWN, NULL},
	{"NUM", "total_objects", CELL_COUNT, COLUMN_SHOWN, NULL},
	{"SIZE", "object_size", CELL_COUNT, COLUMN_SHOWN | COLUMN_USEFUL, NULL},
	{"PER", "objects_per_slab", CELL_COUNT, COLUMN_SHOWN | COLUMN_SPARE, NULL},
	{"FULL", "slabs_full", CELL_COUNT, COLUMN_SHOWN | COLUMN_SPARE, NULL},
	{"PART", "slabs_partial", CELL_COUNT, COLUMN_SHOWN | COLUMN_SPARE, NULL},
	{"FREE", "slabs_free", CELL_COUNT, COLUMN_SHOWN | COLUMN_SPARE, NULL},
	{"CPU", "cpu_arrays", CELL_COUNT, COLUMN_SHOWN | COLUMN_USEFUL, NULL},
	{"SHARED", "shared", CELL_COUNT, COLUMN_SHOWN | COLUMN_SPARE, NULL},
	{"ALIEN", "alien", CELL_COUNT, COLUMN_SHOWN | COLUMN_SPARE, NULL},
	{0},
};

const struct column options_columns[] = {
	{"PID", "pid", CELL_COUNT, COLUMN_SEVERAL | COLUMN_WHO, NULL},
	{"COMMAND", "command", CELL_TEXT, COLUMN_SEVERAL | COLUMN_WHO | COLUMN_SPARE, NULL},
	{"NAME", "name", CELL_TEXT, COLUMN_SHOWN, NULL},
	{"TYPE", "type", CELL_TEXT, 0, NULL},
	{"VALUE", "value", CELL_TEXT, COLUMN_SHOWN, NULL},
	{"DEFAULT", "default", CELL_TEXT, COLUMN_SHOWN, NULL},
	{"HELP", "help", CELL_TEXT, COLUMN_SHOWN | COLUMN_WRAPPED, NULL},
	{0},
};

static void show_rows(const struct context *context, const struct targets *targets,
		      const char *array, bool (*wanted)(const json_t *))
{
	struct table table = {
		.columns = context->command->columns,
		.rows = collect_rows(targets, array, wanted),
		.several = context->set.all,
	};

	print_table(context, &table);
	json_decref(table.rows);
}

/* Each process that was found, asked or not, in the shape of the interface. */
static json_t *list_entry(const struct session *session)
{
	static const char *const figures[] = {"nodes_online", "nodes", "live_bytes",
					      "cached_bytes"};
	const struct process *process = session->process;
	json_t *entry = tag_reply(session);

	json_object_del(entry, "ok");
	json_object_set_new(entry, "socket",
			    process->socket ? json_string(process->socket) : json_null());
	if (session->code != EXIT_DONE)
		for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++)
			json_object_set_new(entry, figures[i], json_null());
	return entry;
}

static void print_list_json(const struct targets *targets)
{
	json_t *processes = json_array(), *all = json_object();

	for (size_t i = 0; i < targets->processes.count; i++)
		json_array_append_new(processes, list_entry(&targets->sessions[i]));
	json_object_set_new(all, "processes", processes);
	print_json(all);
	json_decref(all);
}

/* A process that cannot be asked is a finding, not a failure of the list. */
int run_list(struct context *context)
{
	struct exchange exchange = {.request = "list-self", .timeout_ms = QUERY_TIMEOUT_MS};
	bool everything = !context->set.pid && !context->set.socket;
	struct targets targets;
	int code;

	if (everything)
		context->set.all = true;
	code = select_targets(context, &targets);
	if (code != EXIT_DONE)
		return code;
	ask_targets(&targets, &exchange);
	if (context->set.json)
		print_list_json(&targets);
	else if (everything || !show_failure(context, &targets))
		show_rows(context, &targets, NULL, NULL);
	return everything ? EXIT_DONE : targets_code(&targets);
}

static void print_status_line(const char *what, const json_t *reply, const char *name,
			      const char *reason_name)
{
	const char *value = field_text(reply, name), *reason = field_text(reply, reason_name);
	char *line;

	if (!value)
		return;
	line = clean_text(format_text("%s: %s%s%s%s", what, value, reason && *reason ? " (" : "",
				      reason && *reason ? reason : "",
				      reason && *reason ? ")" : ""));
	puts(line);
	free(line);
}

/* What holds for the process as a whole stands above the nodes. */
static void print_status_head(const struct session *session)
{
	const struct process *process = session->process;
	char *line;

	if (process->pid)
		line = format_text("process: %d %s", (int)process->pid, process->command);
	else
		line = format_text("process: %s", process->command);
	puts(clean_text(line));
	free(line);
	print_status_line("topology", session->reply, "topology", "topology_reason");
	print_status_line("fast path", session->reply, "fast_path", "fast_path_reason");
	print_status_line("placement", session->reply, "placement", "placement_reason");
	print_note(session->reply);
}

static void show_status(const struct context *context, const struct targets *targets)
{
	if (show_failure(context, targets))
		return;
	if (!context->set.all && !(context->set.given & (OPT_NO_HEADING | OPT_COLUMNS)))
		print_status_head(&targets->sessions[0]);
	show_rows(context, targets, "nodes", NULL);
}

int run_status(struct context *context)
{
	struct exchange exchange = {.request = "status", .timeout_ms = QUERY_TIMEOUT_MS};

	return ask_and_show(context, &exchange, show_status);
}

/* Caches that never held anything on a node only hide the others. */
bool cache_used(const json_t *row)
{
	static const char *const figures[] = {"active_objects", "total_objects", "slabs_full",
					      "slabs_partial",	"slabs_free",	 "cpu_arrays",
					      "shared",		"alien"};

	for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++)
		if (field_count(row, figures[i]))
			return true;
	return false;
}

static void show_slabinfo(const struct context *context, const struct targets *targets)
{
	if (!show_failure(context, targets))
		show_rows(context, targets, "caches", cache_used);
}

int run_slabinfo(struct context *context)
{
	struct exchange exchange = {.timeout_ms = QUERY_TIMEOUT_MS};
	char *request = build_request("slabinfo", context, NULL);
	int code;

	if (!request)
		return EXIT_USAGE;
	exchange.request = request;
	code = ask_and_show(context, &exchange, show_slabinfo);
	free(request);
	return code;
}

static void show_options(const struct context *context, const struct targets *targets)
{
	if (!show_failure(context, targets))
		show_rows(context, targets, "options", NULL);
}

int run_options(struct context *context)
{
	struct exchange exchange = {.request = "options", .timeout_ms = QUERY_TIMEOUT_MS};

	return ask_and_show(context, &exchange, show_options);
}
