/*
 * The lines of follow: one an event, written at once. In the journal they have a priority in front,
 * as sd-daemon(3) has it, and its time; elsewhere the time of day. With --json an object each.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "follow.h"
#include "json.h"
#include "result.h"
#include "util.h"

enum priority { WARNING = 4, NOTICE = 5, INFO = 6 };

static double time_of_day(void)
{
	struct timespec now;
	int64_t ms;

	clock_gettime(CLOCK_REALTIME, &now);
	ms = now.tv_sec * 1000 + now.tv_nsec / 1000000;
	return (double)ms / 1000;
}

/* Takes the text over. */
static void print_text(enum priority priority, char *text)
{
	double now = time_of_day();
	time_t whole = (time_t)now;
	struct tm local;
	char clock[16];

	clean_text(text);
	if (getenv("JOURNAL_STREAM")) {
		printf("<%d>%s\n", priority, text);
	} else {
		localtime_r(&whole, &local);
		strftime(clock, sizeof(clock), "%H:%M:%S", &local);
		printf("%s.%03d %s\n", clock, (int)((now - (double)whole) * 1000), text);
	}
	free(text);
	fflush(stdout);
}

/* Takes the object over. */
static void print_object(const char *event, json_t *object)
{
	json_object_set_new(object, "time", json_real(time_of_day()));
	json_object_set_new(object, "event", json_string(event));
	print_json(object);
	fflush(stdout);
	json_decref(object);
}

static json_t *numbers(const struct node_list *list)
{
	json_t *array = json_array();

	for (size_t i = 0; i < list->count; i++)
		json_array_append_new(array, json_integer(list->nodes[i]));
	return array;
}

static void name_process(json_t *object, const struct follower *follower)
{
	json_object_set_new(object, "pid", json_integer(follower->process->pid));
	json_object_set_new(object, "command", json_string(follower->process->command));
}

static char *process_text(const struct follower *follower)
{
	return format_text("pid %d (%s)", (int)follower->process->pid, follower->process->command);
}

void log_start(const struct follow *follow, int uevents)
{
	struct node_list nodes = {0};
	size_t blocks = 0;
	char *text;

	for (size_t i = 0; i < follow->nodes.count; i++) {
		list_add(&nodes, follow->nodes.items[i].number);
		blocks += follow->nodes.items[i].memory.blocks;
	}
	if (follow->context->set.json) {
		print_object("start", json_pack("{s:o, s:i, s:i, s:b}", "nodes", numbers(&nodes),
						"blocks", (int)blocks, "processes",
						(int)follow->count, "uevents", uevents >= 0));
	} else {
		text = join_nodes(&nodes, ",");
		print_text(INFO,
			   format_text("following nodes %s: %zu memory blocks, %zu "
				       "process%s%s",
				       text, blocks, follow->count, follow->count == 1 ? "" : "es",
				       uevents < 0 ? "; the kernel's events cannot be had, "
						     "looking only"
						   : ""));
		free(text);
	}
	free(nodes.nodes);
}

void log_end(const struct follow *follow)
{
	if (follow->context->set.json)
		print_object("end", json_object());
	else
		print_text(INFO, copy_text("ended"));
}

void log_node(const struct follow *follow, const struct watched_node *node, const char *what)
{
	const struct node_memory *memory = &node->memory;
	char *text, *size;

	if (follow->context->set.json) {
		print_object("node",
			     json_pack("{s:i, s:s, s:i, s:i, s:i}", "node", (int)node->number,
				       "state", what, "blocks", (int)memory->blocks,
				       "blocks_online", (int)memory->online, "blocks_going_offline",
				       (int)memory->going));
		return;
	}
	size = format_bytes(memory->online * follow->nodes.block_bytes, false);
	text = format_text("node %u: %s", node->number, what);
	if (node->phase != NODE_AWAY)
		append_text(&text, ", %zu of %zu memory blocks online (%s)", memory->online,
			    memory->blocks, size);
	if (memory->going)
		append_text(&text, ", %zu going offline", memory->going);
	free(size);
	print_text(NOTICE, text);
}

void log_cpuset(const struct follow *follow, const struct follower *follower,
		const struct node_list *lost, const struct node_list *gained)
{
	char *text, *list;

	if (follow->context->set.json) {
		json_t *object =
			json_pack("{s:o, s:o}", "lost", numbers(lost), "gained", numbers(gained));

		name_process(object, follower);
		print_object("cpuset", object);
		return;
	}
	text = process_text(follower);
	append_text(&text, ": its cpuset ");
	if (lost->count) {
		list = join_nodes(lost, ",");
		append_text(&text, "has lost node%s %s%s", lost->count > 1 ? "s" : "", list,
			    gained->count ? " and " : "");
		free(list);
	}
	if (gained->count) {
		list = join_nodes(gained, ",");
		append_text(&text, "has got node%s %s", gained->count > 1 ? "s" : "", list);
		free(list);
	}
	print_text(NOTICE, text);
}

/* What came of an offline or online of one node, by the process's own words. */
void log_deed(const struct follow *follow, const struct follower *follower, const json_t *row,
	      uint64_t retry_ms)
{
	bool offline = follower->deed == DEED_OFFLINE, done = reply_code(row) == EXIT_DONE;
	char *text, *who, *part;

	if (follow->context->set.json) {
		json_t *object = json_copy((json_t *)row);

		name_process(object, follower);
		if (retry_ms)
			json_object_set_new(object, "retry_ms", json_integer((json_int_t)retry_ms));
		print_object(offline ? "offline" : "online", object);
		return;
	}
	who = process_text(follower);
	text = format_text("node %llu: %s: ", (unsigned long long)field_count(row, "node"), who);
	if (!done) {
		part = failure_text(row);
		append_text(&text, "not %s: %s", offline ? "offline" : "online", part);
		if (retry_ms)
			append_text(&text, "; again in %g s", (double)retry_ms / 1000);
	} else {
		part = format_bytes(field_count(row, "migrated_bytes"), false);
		append_text(&text, "%s", offline ? "offline" : "online");
		if (offline)
			append_text(&text, ", %s moved", part);
		if (field_present(row, "elapsed_ms"))
			append_text(&text, ", %.1f ms", field_number(row, "elapsed_ms", 0));
	}
	free(part);
	free(who);
	print_text(done ? INFO : WARNING, text);
}

void log_trouble(const struct follow *follow, const struct follower *follower)
{
	if (follow->context->set.json) {
		json_t *object = json_pack("{s:s}", "message", follower->trouble);

		name_process(object, follower);
		print_object("unreachable", object);
	} else {
		char *who = process_text(follower);

		print_text(WARNING, format_text("%s cannot be told: %s", who, follower->trouble));
		free(who);
	}
}
