/*
 * offline and online with --kernel.
 *
 * Nothing announces beforehand that the kernel will take memory offline, so whoever orders that
 * makes way first: the heaps of all processes leave the node, then its memory blocks go offline. On
 * the way back the blocks come first. A kernel that refuses, a process that does, Ctrl-C and the
 * end of the time undo both. An online of heaps that fails undoes nothing: the memory is there, and
 * the processes that refuse it harm nobody.
 *
 * A command behind "--" (chmem, daxctl) takes the place of our own writes. How it ended decides.
 */
#include "kernel.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "json.h"
#include "request.h"
#include "result.h"
#include "util.h"

static bool check_usage(const struct context *context)
{
	if (context->set.pid || context->set.socket) {
		complain("--kernel takes the nodes from every process: leave -p and -s out");
		return false;
	}
	if (context->set.given & OPT_DETACH) {
		complain("--kernel and --detach exclude each other: both parts are undone when one "
			 "fails");
		return false;
	}
	return true;
}

/* ---- what is shown ---- */

static void print_passive(const struct kernel_change *change)
{
	for (size_t i = 0; i < json_array_size(change->passive); i++) {
		const json_t *row = json_array_get(change->passive, i);
		char *why = problem_words(EXIT_NO_PROCESS, row),
		     *line = format_text(
			     "note: pid %d (%s) was not asked: %s; the kernel moves "
			     "its memory",
			     (int)field_count(row, "pid"),
			     field_text(row, "command") ? field_text(row, "command") : "?", why);

		puts(clean_text(line));
		free(line);
		free(why);
	}
}

static void print_blocks(const struct kernel_change *change, const json_t *rows)
{
	for (size_t i = 0; i < json_array_size(rows); i++) {
		const json_t *row = json_array_get(rows, i);
		unsigned long long blocks = field_count(row, "blocks");
		char *size = format_bytes(field_count(row, "bytes"), exact_bytes(&change->context));

		printf("node %llu: %llu memory block%s (%s), %s in the kernel%s\n",
		       (unsigned long long)field_count(row, "node"), blocks, blocks == 1 ? "" : "s",
		       size, field_text(row, "state"),
		       field_flag(row, "already") ? " as before" : "");
		free(size);
	}
}

/* The processes' results are a table as with -a; the kernel's stand below it. */
static void print_change(const struct kernel_change *change, const json_t *rows)
{
	const struct process nobody = {0};

	if (change->heaps.sessions && change->heaps.sessions[0].reply)
		show_results(&change->context, &change->heaps);
	if (!change->failure) {
		print_passive(change);
		print_blocks(change, rows);
		return;
	}
	print_failure(&(struct context){.set = {.policy = change->context.set.policy}}, &nobody,
		      change->failure);
}

static void print_change_json(const struct kernel_change *change, json_t *rows, int code)
{
	json_t *all = change->failure ? json_copy(change->failure) : json_object(),
	       *results = json_array();

	json_object_set_new(all, "ok", json_boolean(code == EXIT_DONE));
	for (size_t i = 0; i < change->heaps.processes.count; i++)
		if (change->heaps.sessions[i].reply)
			json_array_append_new(results, tag_reply(&change->heaps.sessions[i]));
	json_object_set_new(all, "results", results);
	json_object_set(all, "passive", change->passive);
	json_object_set(all, "kernel", rows);
	json_object_set_new(all, "elapsed_ms",
			    json_integer((json_int_t)(now_ms() - change->started)));
	print_json(all);
	json_decref(all);
}

static int finish(const struct kernel_change *change)
{
	int code = change->heaps_failed ? heaps_code(change)
		   : change->failure	? reply_code(change->failure)
					: EXIT_DONE;
	json_t *rows = block_rows(change);

	if (change->context.set.json)
		print_change_json(change, rows, code);
	else
		print_change(change, rows);
	json_decref(rows);
	return code;
}

/* ---- the order of steps ---- */

static bool prepare(struct kernel_change *change, struct context *context, bool offline)
{
	double seconds;

	*change = (struct kernel_change){.context = *context,
					 .offline = offline,
					 .started = now_ms(),
					 .passive = json_array()};
	change->context.set.all = true;
	change->operation.context = &change->context;
	change->operation.progress.shown = isatty(STDERR_FILENO) && !context->set.json;
	if (context->set.timeout && parse_number(context->set.timeout, &seconds))
		change->deadline = change->started + (uint64_t)(seconds * 1000);
	return true;
}

/* What the processes refused, in the shape of every other failure. */
static void fail_heaps(struct kernel_change *change)
{
	const char *error = "EBUSY";

	for (size_t i = 0; i < change->heaps.processes.count; i++)
		if (reply_code(change->heaps.sessions[i].reply) == heaps_code(change) &&
		    field_text(change->heaps.sessions[i].reply, "error"))
			error = reply_error(change->heaps.sessions[i].reply);
	change->failure =
		kernel_failure(error, change->operation.nodes.nodes[0],
			       copy_text(change->offline ? "not all processes could leave the node"
							 : "not all processes use the node again"),
			       NULL);
}

/* Both as they were, undisturbed by more Ctrl-C. */
static void undo(struct kernel_change *change, bool blocks)
{
	sigset_t mask;
	bool restored;

	hold_signals(&mask);
	restored = !blocks || restore_blocks(change);
	restored &= restore_heaps(change);
	release_signals(&mask);
	json_object_set_new(change->failure, "state",
			    json_string(change->offline == restored ? "online" : "offline"));
}

static void offline_both(struct kernel_change *change)
{
	if (!change_heaps(change)) {
		fail_heaps(change);
		undo(change, false);
	} else if (!change_blocks(change)) {
		undo(change, true);
	}
}

static void online_both(struct kernel_change *change)
{
	if (!change_blocks(change)) {
		undo(change, true);
		return;
	}
	if (find_heaps(change) && !change_heaps(change))
		fail_heaps(change);
}

static int run(struct context *context, bool offline)
{
	struct kernel_change change;
	char *request;

	if (!check_usage(context))
		return EXIT_USAGE;
	prepare(&change, context, offline);
	/* Made for its checks of what was typed; each process gets a request of its own. */
	request = build_request(context->command->name, context, &change.operation.nodes);
	if (!request)
		return EXIT_USAGE;
	free(request);
	if (!find_blocks(&change))
		return finish(&change);
	if (!offline)
		online_both(&change);
	else if (find_heaps(&change))
		offline_both(&change);
	return finish(&change);
}

int kernel_offline(struct context *context)
{
	return run(context, true);
}

int kernel_online(struct context *context)
{
	return run(context, false);
}
