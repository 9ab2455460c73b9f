/*
 * The command topology: what numactl -H prints, in its shape, so that eyes and scripts that know
 * it find their way; and what it does not have: fallback orders, and where the topology is from.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hotplugctl.h"
#include "json.h"
#include "picture.h"
#include "result.h"
#include "table.h"
#include "target.h"
#include "util.h"

static void print_size(const struct context *context, const json_t *node, const char *what,
		       const char *name)
{
	unsigned long long number = (unsigned long long)field_count(node, "node");
	unsigned long long bytes = (unsigned long long)field_count(node, name);

	if (!field_present(node, name))
		printf("node %llu %s: unknown\n", number, what);
	else if (exact_bytes(context))
		printf("node %llu %s: %llu bytes\n", number, what, bytes);
	else
		printf("node %llu %s: %llu MB\n", number, what, bytes >> 20);
}

/* "0-3,8" as numactl writes it: 0 1 2 3 8. Anything else is shown as it came. */
static char *spread_cpus(const char *cpus)
{
	struct node_list list = {0};
	char *text;

	if (!*cpus)
		return copy_text("");
	if (parse_nodes(cpus, &list))
		text = join_nodes(&list, " ");
	else
		text = clean_text(copy_text(cpus));
	free(list.nodes);
	return text;
}

static void print_node(const struct context *context, const json_t *node)
{
	unsigned long long number = (unsigned long long)field_count(node, "node");
	const char *cpus = field_text(node, "cpus"), *state = field_text(node, "state");
	char *list = spread_cpus(cpus ? cpus : "");

	printf("node %llu cpus:%s%s\n", number, *list ? " " : "", list);
	free(list);
	if (field_present(node, "size_bytes"))
		print_size(context, node, "size", "size_bytes");
	else
		printf("node %llu size: unlimited\n", number);
	if (field_present(node, "free_bytes"))
		print_size(context, node, "free", "free_bytes");
	if (state) {
		char *text = clean_text(copy_text(state));

		printf("node %llu state: %s\n", number, text);
		free(text);
	}
}

static void print_distances(const json_t *nodes)
{
	size_t count = json_array_size(nodes);

	puts("node distances:");
	fputs("node ", stdout);
	for (size_t i = 0; i < count; i++)
		printf(" %3llu", (unsigned long long)field_count(json_array_get(nodes, i), "node"));
	putchar('\n');
	for (size_t i = 0; i < count; i++) {
		const json_t *node = json_array_get(nodes, i);
		const json_t *distances = field_array(node, "distances");

		printf("%3llu: ", (unsigned long long)field_count(node, "node"));
		for (size_t k = 0; k < json_array_size(distances); k++)
			printf(" %3lld",
			       (long long)json_integer_value(json_array_get(distances, k)));
		putchar('\n');
	}
}

static void print_fallback(const json_t *nodes)
{
	for (size_t i = 0; i < json_array_size(nodes); i++) {
		const json_t *node = json_array_get(nodes, i);
		char *order = compress_list(field_array(node, "fallback"));

		printf("node %llu fallback: %s\n", (unsigned long long)field_count(node, "node"),
		       order);
		free(order);
	}
}

static void print_topology(const struct context *context, const json_t *reply)
{
	const json_t *nodes = field_array(reply, "nodes");
	size_t count = json_array_size(nodes);
	const char *source = field_text(reply, "source");
	char *from = clean_text(copy_text(source ? source : "unknown"));
	json_t *numbers = json_array();
	char *list;

	for (size_t i = 0; i < count; i++)
		json_array_append(numbers, json_object_get(json_array_get(nodes, i), "node"));
	list = compress_list(numbers);
	printf("topology: %s (%s)\n", from, field_flag(reply, "simulated") ? "simulated" : "real");
	printf("available: %zu node%s (%s)\n", count, count == 1 ? "" : "s", list);
	for (size_t i = 0; i < count; i++)
		print_node(context, json_array_get(nodes, i));
	print_distances(nodes);
	print_fallback(nodes);
	json_decref(numbers);
	free(list);
	free(from);
}

static char *cell_size(const json_t *row, bool exact)
{
	return field_present(row, "size_bytes")
		       ? format_bytes(field_count(row, "size_bytes"), exact)
		       : copy_text("unlimited");
}

static char *cell_distances(const json_t *row, bool exact)
{
	const json_t *distances = field_array(row, "distances");
	char *text = copy_text("");

	(void)exact;
	for (size_t i = 0; i < json_array_size(distances); i++)
		append_text(&text, "%s%lld", i ? "," : "",
			    (long long)json_integer_value(json_array_get(distances, i)));
	return text;
}

/* With -o or -n: a row a node, for scripts that know lsmem rather than numactl. */
const struct column topology_columns[] = {
	{"PID", "pid", CELL_COUNT, COLUMN_SEVERAL | COLUMN_WHO, NULL},
	{"COMMAND", "command", CELL_TEXT, COLUMN_SEVERAL | COLUMN_WHO | COLUMN_SPARE, NULL},
	{"NODE", "node", CELL_COUNT, COLUMN_SHOWN, NULL},
	{"STATE", "state", CELL_TEXT, COLUMN_SHOWN | COLUMN_STATE, NULL},
	{"CPUS", "cpus", CELL_TEXT, COLUMN_SHOWN | COLUMN_SPARE, NULL},
	{"SIZE", "size_bytes", CELL_BYTES, COLUMN_SHOWN, cell_size},
	{"FREE", "free_bytes", CELL_BYTES, COLUMN_SHOWN, NULL},
	{"DISTANCES", "distances", CELL_TEXT, COLUMN_SHOWN | COLUMN_SPARE, cell_distances},
	{"FALLBACK", "fallback", CELL_NODES, COLUMN_SHOWN | COLUMN_SPARE, NULL},
	{0},
};

static void show_table(const struct context *context, const struct targets *targets)
{
	struct table table = {.columns = topology_columns, .several = context->set.all};

	if (show_failure(context, targets))
		return;
	table.rows = collect_rows(targets, "nodes", NULL);
	print_table(context, &table);
	json_decref(table.rows);
}

static void show_topology(const struct context *context, const struct targets *targets)
{
	for (size_t i = 0; i < targets->processes.count; i++) {
		const struct session *session = &targets->sessions[i];

		if (session->code != EXIT_DONE) {
			print_failure(context, session->process, session->reply);
			continue;
		}
		if (context->set.all) {
			char *who =
				clean_text(format_text("process: %d %s", (int)session->process->pid,
						       session->process->command));

			printf("%s%s\n", i ? "\n" : "", who);
			free(who);
		}
		print_topology(context, session->reply);
	}
}

/* Two questions: how the nodes stand to each other, and what is on them. */
static int draw_topology(struct context *context)
{
	struct exchange exchange = {.request = "topology", .timeout_ms = QUERY_TIMEOUT_MS};
	struct targets targets;
	struct session *session;
	json_t *status;
	int code;

	if (context->set.all) {
		complain("--draw shows one process; choose it with -p");
		return EXIT_USAGE;
	}
	if (!check_picture(context->set.draw))
		return EXIT_USAGE;
	code = select_targets(context, &targets);
	if (code != EXIT_DONE)
		return code;
	ask_targets(&targets, &exchange);
	session = &targets.sessions[0];
	if (session->code != EXIT_DONE) {
		print_failure(context, session->process, session->reply);
		return session->code;
	}
	status = ask_process(session->process, "status", &code);
	if (code != EXIT_DONE)
		print_failure(context, session->process, status);
	else if (!draw_picture(context->set.draw, session->process, session->reply, status))
		code = EXIT_NO_PROCESS;
	json_decref(status);
	return code;
}

int run_topology(struct context *context)
{
	struct exchange exchange = {.request = "topology", .timeout_ms = QUERY_TIMEOUT_MS};
	bool as_table = context->set.given & (OPT_COLUMNS | OPT_NO_HEADING);

	if (context->set.draw)
		return draw_topology(context);
	return ask_and_show(context, &exchange, as_table ? show_table : show_topology);
}
