/*
 * Which processes a command is for: -p, -s, -a, or the only one that there is. Processes that map
 * the library and have no control thread (the shell that started the server, say) are no reason to
 * make the operator choose, as long as exactly one can be asked.
 */
#include "target.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "json.h"
#include "result.h"
#include "util.h"

/* A failure before or instead of any answer: JSON for scripts, words for people. */
int fail_here(const struct context *context, int code, const char *error, const char *message)
{
	if (context->set.json) {
		json_t *failure = make_failure(error, message);

		print_json(failure);
		json_decref(failure);
	} else {
		complain("%s", message);
	}
	return code;
}

static void add_process(struct process_list *list, struct process process)
{
	list->items = grow(list->items, (list->count + 1) * sizeof(*list->items));
	list->items[list->count++] = process;
}

static int select_pid(struct context *context, struct process_list *list)
{
	struct process process;
	char *message;
	int code;

	if (!describe_process(context->set.pid, &process)) {
		message = format_text("there is no process %d; 'hotplugctl list' shows those that "
				      "run with the library",
				      (int)context->set.pid);
	} else if (uses_library(process.pid) == LIBRARY_NO) {
		message =
			format_text("process %d (%s) does not run with libslabnode.so; start it as "
				    "'slabnode-run -- %s'",
				    (int)process.pid, process.command, process.command);
	} else {
		add_process(list, process);
		return EXIT_DONE;
	}
	clean_text(message);
	code = fail_here(context, EXIT_NO_PROCESS, "ESRCH", message);
	free(message);
	return code;
}

/* Whether it can be asked at all: its socket takes connections. */
static bool reachable(struct process *process)
{
	int fd = connect_process(process);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static int fail_choice(struct context *context, struct process_list *found, size_t usable)
{
	char *text;
	int code;

	text = copy_text(
		usable ? "several processes run with the library; choose one with -p PID, or "
			 "all with -a:"
		       : "no process that runs with the library can be asked:");
	for (size_t i = 0; i < found->count; i++) {
		const struct process *process = &found->items[i];
		char *line = clean_text(format_text("%7d  %s%s%s%s", (int)process->pid,
						    process->command, process->error ? "  (" : "",
						    process->error ? process->problem : "",
						    process->error ? ")" : ""));

		append_text(&text, "\n%s", line);
		free(line);
	}
	if (!usable)
		append_text(&text,
			    "\na control thread starts when the program has threads or 8 MiB in "
			    "use, or at once with SLABNODE_CONTROL=on");
	if (context->set.json)
		for (char *at = text; *at; at++)
			*at = *at == '\n' ? ';' : *at;
	code = fail_here(context, EXIT_NO_PROCESS, usable ? "ENOTUNIQ" : "ENOTCONN", text);
	free(text);
	return code;
}

static int fail_none(struct context *context)
{
	return fail_here(context, EXIT_NO_PROCESS, "ESRCH",
			 geteuid() ? "no process of yours runs with the library; start one as "
				     "'slabnode-run -- PROGRAM'"
				   : "no process runs with the library; start one as 'slabnode-run "
				     "-- PROGRAM'");
}

static int select_only(struct context *context, struct process_list *list)
{
	struct process_list found;
	size_t usable = 0, last = 0;

	find_processes(&found);
	if (!found.count)
		return fail_none(context);
	for (size_t i = 0; i < found.count; i++) {
		if (!reachable(&found.items[i]))
			continue;
		usable++;
		last = i;
	}
	if (usable != 1)
		return fail_choice(context, &found, usable);
	add_process(list, found.items[last]);
	return EXIT_DONE;
}

static int select_processes(struct context *context, struct process_list *list)
{
	const struct settings *set = &context->set;

	if (set->pid)
		return select_pid(context, list);
	if (set->socket) {
		add_process(list, (struct process){.socket = copy_text(set->socket),
						   .named = true,
						   .command = copy_text("")});
		return EXIT_DONE;
	}
	if (!set->all)
		return select_only(context, list);
	find_processes(list);
	return list->count ? EXIT_DONE : fail_none(context);
}

static void prepare_sessions(struct targets *targets)
{
	targets->sessions = grow(NULL, targets->processes.count * sizeof(*targets->sessions));
	for (size_t i = 0; i < targets->processes.count; i++)
		targets->sessions[i] =
			(struct session){.process = &targets->processes.items[i], .fd = -1};
}

/* Every process that there is; none is no failure. */
void select_all(struct targets *targets)
{
	find_processes(&targets->processes);
	prepare_sessions(targets);
}

/* EXIT_DONE, or the exit code after the reason was told. */
int select_targets(struct context *context, struct targets *targets)
{
	int code;

	*targets = (struct targets){0};
	code = select_processes(context, &targets->processes);
	if (code != EXIT_DONE)
		return code;
	prepare_sessions(targets);
	return EXIT_DONE;
}

void ask_targets(struct targets *targets, const struct exchange *exchange)
{
	run_exchange(targets->sessions, targets->processes.count, exchange);
}

/*
 * A process without a control thread (the shell that started the server, say), or of somebody else,
 * is a row that says so, and no failure of the others, as in `list` and with --kernel. Where nobody
 * can be asked, that is the result.
 */
int targets_code(const struct targets *targets)
{
	int code = NO_CODE, asked = NO_CODE;

	for (size_t i = 0; i < targets->processes.count; i++) {
		const struct session *session = &targets->sessions[i];

		code = combine_codes(code, session->code);
		if (session->code != EXIT_NO_PROCESS || !not_asked(reply_error(session->reply)))
			asked = combine_codes(asked, session->code);
	}
	return asked == NO_CODE ? code : asked;
}

/* The reply with the process that gave it; its pid as we see it, which is what -p takes. */
json_t *tag_reply(const struct session *session)
{
	const struct process *process = session->process;
	json_t *tagged = json_object(), *command = json_string(process->command);

	json_object_set_new(tagged, "pid", json_integer(process->pid));
	if (command)
		json_object_set_new(tagged, "command", command);
	json_object_update(tagged, session->reply);
	json_object_set_new(tagged, "pid", json_integer(process->pid));
	return tagged;
}

void print_replies(const struct context *context, const struct targets *targets)
{
	json_t *results, *all;

	if (!context->set.all) {
		print_json(targets->sessions[0].reply);
		return;
	}
	results = json_array();
	for (size_t i = 0; i < targets->processes.count; i++)
		json_array_append_new(results, tag_reply(&targets->sessions[i]));
	all = json_object();
	json_object_set_new(all, "results", results);
	print_json(all);
	json_decref(all);
}

/* One failed process among several is a row; the only one is a message. */
bool show_failure(const struct context *context, const struct targets *targets)
{
	const struct session *session = &targets->sessions[0];

	if (context->set.all || session->code == EXIT_DONE)
		return false;
	print_failure(context, session->process, session->reply);
	return true;
}

/* The whole of most commands: choose, ask, print as JSON or as the command shows it. */
int ask_and_show(struct context *context, const struct exchange *exchange,
		 void (*show)(const struct context *, const struct targets *))
{
	struct targets targets;
	int code = select_targets(context, &targets);

	if (code != EXIT_DONE)
		return code;
	ask_targets(&targets, exchange);
	if (context->set.json)
		print_replies(context, &targets);
	else
		show(context, &targets);
	return targets_code(&targets);
}
