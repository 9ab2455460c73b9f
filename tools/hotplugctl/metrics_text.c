/*
 * The text of `metrics`: OpenMetrics 1.0 from replies.
 *
 * One table says what there is; each of its entries is a metric family, and the format wants all
 * samples of a family together, so the outer loop is over the table and the inner one over
 * processes. Only gauges and counters are used, which readers of the older Prometheus text (a node
 * exporter's textfile collector) understand as well: states are a gauge with a label, as state sets
 * are written, and facts a gauge called _info.
 *
 * A process is one series by its pid and command. Values that a process does not know are left out
 * rather than reported as 0.
 */
#include "metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "table.h"
#include "util.h"

enum scope { SCOPE_PROCESS, SCOPE_NODE, SCOPE_CACHE };

struct family {
	const char *name; /* without _total */
	const char *type;
	const char *unit; /* the name ends with it, or "" */
	const char *help;
	enum scope scope;
	const char *key; /* of the reply's object: a number or a truth value */
	void (*write)(const struct family *family, const struct metrics_source *source,
		      const json_t *object, const char *labels); /* instead of key */
};

/* Label values may hold anything but have to be one line, in UTF-8, with these three escaped. */
static void add_label(char **labels, const char *name, const char *value)
{
	char *clean = clean_text(copy_text(value ? value : ""));

	append_text(labels, "%s%s=\"", **labels ? "," : "", name);
	for (const char *at = clean; *at; at++)
		if (*at == '\\' || *at == '"')
			append_text(labels, "\\%c", *at);
		else
			append_text(labels, "%c", *at);
	append_text(labels, "\"");
	free(clean);
}

static void add_number_label(char **labels, const char *name, uint64_t number)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
	add_label(labels, name, text);
}

static void write_sample(const struct family *family, const char *labels, const json_t *value)
{
	bool counter = !strcmp(family->type, "counter");

	if (!json_is_number(value) && !json_is_boolean(value))
		return;
	printf("%s%s{%s} ", family->name, counter ? "_total" : "", labels);
	if (json_is_integer(value))
		printf("%lld\n", (long long)json_integer_value(value));
	else if (json_is_real(value))
		printf("%.17g\n", json_real_value(value));
	else
		printf("%d\n", json_is_true(value));
}

static void write_value(const struct family *family, const char *labels, double value)
{
	printf("%s{%s} %.15g\n", family->name, labels, value);
}

static void write_up(const struct family *family, const struct metrics_source *source,
		     const json_t *object, const char *labels)
{
	(void)object;
	write_value(family, labels, source->status != NULL);
}

static void write_problem(const struct family *family, const struct metrics_source *source,
			  const json_t *object, const char *labels)
{
	char *more = copy_text(labels);

	(void)object;
	if (!source->status) {
		add_label(&more, "problem", source->problem);
		write_value(family, more, 1);
	}
	free(more);
}

static void write_info(const struct family *family, const struct metrics_source *source,
		       const json_t *object, const char *labels)
{
	static const char *const facts[] = {"version", "topology", "fast_path", "placement"};
	char *more;

	if (!object)
		return;
	more = copy_text(labels);
	add_number_label(&more, "namespace_pid", (uint64_t)source->process->inner_pid);
	for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++)
		add_label(&more, facts[i], field_text(object, facts[i]));
	write_value(family, more, 1);
	free(more);
}

static void write_state(const struct family *family, const struct metrics_source *source,
			const json_t *object, const char *labels)
{
	static const char *const states[] = {"online", "going-online", "going-offline", "offline"};
	const char *state = field_text(object, "state");

	(void)source;
	for (size_t i = 0; state && i < sizeof(states) / sizeof(states[0]); i++) {
		char *more = copy_text(labels);

		add_label(&more, "state", states[i]);
		write_value(family, more, !strcmp(state, states[i]));
		free(more);
	}
}

static void write_transition(const struct family *family, const struct metrics_source *source,
			     const json_t *object, const char *labels)
{
	const json_t *transition = json_object_get(object, "transition");
	char *more;

	(void)source;
	if (!field_present(transition, "elapsed_ms"))
		return;
	more = copy_text(labels);
	add_label(&more, "action", field_text(transition, "action"));
	add_label(&more, "phase", field_text(transition, "phase"));
	write_value(family, more, field_number(transition, "elapsed_ms", 0) / 1000);
	free(more);
}

static void write_slabs(const struct family *family, const struct metrics_source *source,
			const json_t *object, const char *labels)
{
	static const char *const kinds[][2] = {
		{"full", "slabs_full"}, {"partial", "slabs_partial"}, {"free", "slabs_free"}};

	(void)source;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		char *more = copy_text(labels);

		add_label(&more, "kind", kinds[i][0]);
		write_sample(family, more, json_object_get(object, kinds[i][1]));
		free(more);
	}
}

#define NODE_BYTES(field, help)                                                                    \
	{                                                                                          \
		"slabnode_node_" field "_bytes", "gauge", "bytes", help, SCOPE_NODE,               \
			field "_bytes", NULL                                                       \
	}

static const struct family families[] = {
	{"slabnode_process_up", "gauge", "", "Whether the process answered its control socket.",
	 SCOPE_PROCESS, NULL, write_up},
	{"slabnode_process_problem_info", "gauge", "",
	 "Why a process that runs with the library could not be asked.", SCOPE_PROCESS, NULL,
	 write_problem},
	{"slabnode_process_info", "gauge", "",
	 "What the process runs with; namespace_pid is its pid in its own pid namespace.",
	 SCOPE_PROCESS, NULL, write_info},
	{"slabnode_node_state", "gauge", "", "1 for the state in which the node is.", SCOPE_NODE,
	 NULL, write_state},
	{"slabnode_node_cordoned", "gauge", "", "Whether new allocations on the node are stopped.",
	 SCOPE_NODE, "cordoned", NULL},
	{"slabnode_node_transition_seconds", "gauge", "seconds",
	 "For how long the offline or online of the node has been under way.", SCOPE_NODE, NULL,
	 write_transition},
	NODE_BYTES("capacity", "Memory of the node; missing where it is not limited."),
	NODE_BYTES("live", "Memory that the program holds on the node, as usable sizes."),
	NODE_BYTES("cached", "Free memory that the library keeps for the program."),
	NODE_BYTES("large", "Memory in blocks that are too large for slabs."),
	NODE_BYTES("metadata", "Memory of the library itself."),
	NODE_BYTES("resident", "Memory that is physically on the node."),
	NODE_BYTES("elsewhere", "Memory of the node that lies on other nodes after a move."),
	NODE_BYTES("other", "Other memory of the process on the node."),
	{"slabnode_node_slabs", "gauge", "", "Slabs of the node.", SCOPE_NODE, "slabs", NULL},
	{"slabnode_node_large_blocks", "gauge", "", "Blocks that are too large for slabs.",
	 SCOPE_NODE, "large_blocks", NULL},
	{"slabnode_node_numa_hit", "counter", "",
	 "Objects given out by the node that were wanted on it.", SCOPE_NODE, "numa_hit", NULL},
	{"slabnode_node_numa_miss", "counter", "",
	 "Objects given out by the node that were wanted on another one.", SCOPE_NODE, "numa_miss",
	 NULL},
	{"slabnode_node_numa_foreign", "counter", "",
	 "Objects wanted on the node that another one gave out.", SCOPE_NODE, "numa_foreign", NULL},
	{"slabnode_cache_object_size_bytes", "gauge", "bytes", "Size of one object.", SCOPE_CACHE,
	 "object_size", NULL},
	{"slabnode_cache_active_objects", "gauge", "objects", "Objects in use.", SCOPE_CACHE,
	 "active_objects", NULL},
	{"slabnode_cache_total_objects", "gauge", "objects",
	 "Objects that all slabs have room for.", SCOPE_CACHE, "total_objects", NULL},
	{"slabnode_cache_slabs", "gauge", "", "Slabs, by how much of them is in use.", SCOPE_CACHE,
	 NULL, write_slabs},
};

static char *process_labels(const struct metrics_source *source)
{
	const struct process *process = source->process;
	uint64_t pid = process->pid ? (uint64_t)process->pid : field_count(source->status, "pid");
	char *labels = copy_text("");

	add_number_label(&labels, "pid", pid);
	add_label(&labels, "command", process->command);
	return labels;
}

static void write_object(const struct family *family, const struct metrics_source *source,
			 const json_t *object, const char *labels)
{
	if (family->write)
		family->write(family, source, object, labels);
	else
		write_sample(family, labels, json_object_get(object, family->key));
}

static void write_rows(const struct family *family, const struct metrics_source *source,
		       const json_t *rows, const char *labels)
{
	for (size_t i = 0; i < json_array_size(rows); i++) {
		const json_t *row = json_array_get(rows, i);
		char *more = copy_text(labels);

		if (family->scope == SCOPE_CACHE)
			add_label(&more, "cache", field_text(row, "cache"));
		add_number_label(&more, "node", field_count(row, "node"));
		if (family->scope == SCOPE_NODE || cache_used(row))
			write_object(family, source, row, more);
		free(more);
	}
}

static void write_source(const struct family *family, const struct metrics_source *source)
{
	char *labels = process_labels(source);

	if (family->scope == SCOPE_PROCESS)
		write_object(family, source, source->status, labels);
	else if (family->scope == SCOPE_NODE)
		write_rows(family, source, field_array(source->status, "nodes"), labels);
	else
		write_rows(family, source, field_array(source->caches, "caches"), labels);
	free(labels);
}

static bool any_caches(const struct metrics_source *sources, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (sources[i].caches)
			return true;
	return false;
}

/* Families of nodes and processes are announced without any process, too: dashboards find them. */
void write_metrics(const struct metrics_source *sources, size_t count)
{
	bool caches = any_caches(sources, count);

	for (size_t f = 0; f < sizeof(families) / sizeof(families[0]); f++) {
		const struct family *family = &families[f];

		if (family->scope == SCOPE_CACHE && !caches)
			continue;
		printf("# TYPE %s %s\n", family->name, family->type);
		if (*family->unit)
			printf("# UNIT %s %s\n", family->name, family->unit);
		printf("# HELP %s %s\n", family->name, family->help);
		for (size_t i = 0; i < count; i++)
			write_source(family, &sources[i]);
	}
	puts("# EOF");
}
