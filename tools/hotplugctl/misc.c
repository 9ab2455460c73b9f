/*
 * The small commands: fault, version, help.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exchange.h"
#include "hotplugctl.h"
#include "json.h"
#include "result.h"
#include "target.h"
#include "util.h"

#ifndef SLABNODE_VERSION
#error "SLABNODE_VERSION comes from the build"
#endif

static void show_notes(const struct context *context, const struct targets *targets)
{
	for (size_t i = 0; i < targets->processes.count; i++) {
		const struct session *session = &targets->sessions[i];

		if (session->code != EXIT_DONE)
			print_failure(context, session->process, session->reply);
		else
			print_note(session->reply);
	}
}

/* The words of the specification are the library's; here they only have to be one line. */
int run_fault(struct context *context)
{
	struct exchange exchange = {.timeout_ms = QUERY_TIMEOUT_MS};
	char *request = copy_text("fault");
	int code = EXIT_USAGE;

	for (size_t i = 0; i < context->count; i++) {
		for (const char *at = context->arguments[i]; *at; at++) {
			if (!iscntrl((unsigned char)*at))
				continue;
			complain("fault: a specification has no control characters");
			goto out;
		}
		append_text(&request, " %s", context->arguments[i]);
	}
	if (strlen(request) + 1 > MAX_REQUEST) {
		complain("fault: the specification is too long");
		goto out;
	}
	exchange.request = request;
	code = ask_and_show(context, &exchange, show_notes);
out:
	free(request);
	return code;
}

static void show_version(const struct context *context, const struct targets *targets)
{
	printf("hotplugctl %s\n", SLABNODE_VERSION);
	for (size_t i = 0; i < targets->processes.count; i++) {
		const struct session *session = &targets->sessions[i];
		const char *version = field_text(session->reply, "version");
		char *line;

		if (session->code != EXIT_DONE) {
			print_failure(context, session->process, session->reply);
			continue;
		}
		line = format_text("%d %s: libslabnode %s", (int)session->process->pid,
				   session->process->command, version ? version : "?");
		puts(clean_text(line));
		free(line);
	}
}

/* Of hotplugctl alone where no target is given: that needs no process. */
int run_version(struct context *context)
{
	struct exchange exchange = {.request = "version", .timeout_ms = QUERY_TIMEOUT_MS};
	const struct targets nobody = {0};

	if (context->set.pid || context->set.all || context->set.socket)
		return ask_and_show(context, &exchange, show_version);
	if (context->set.json)
		printf("{\"ok\":true,\"version\":\"%s\"}\n", SLABNODE_VERSION);
	else
		show_version(context, &nobody);
	return EXIT_DONE;
}

static void help_all(void)
{
	puts("usage: hotplugctl [-p PID | -a | -s SOCKET] [--json] COMMAND ...\n"
	     "Takes memory nodes out of service and brings them back in programs that run with\n"
	     "libslabnode.so. Without a target: the only such process.\n"
	     "\n"
	     "  -p, --pid PID        this process\n"
	     "  -a, --all            every process that may be asked\n"
	     "  -s, --socket SOCKET  the process behind this control socket\n"
	     "      --json           the answer as JSON, for scripts\n"
	     "\n"
	     "Commands:");
	for (const struct command *command = commands; command->name; command++)
		printf("  %-10s %s\n", command->name, command->summary);
	puts("\n"
	     "Tables take -o COLUMN,... (these columns), -n (no heading), -b (exact bytes).\n"
	     "'hotplugctl help COMMAND' tells more; hotplugctl(1) has exit codes and examples.");
}

int run_help(struct context *context)
{
	const struct command *command;

	if (!context->count) {
		help_all();
		return EXIT_DONE;
	}
	command = find_command(context->arguments[0]);
	if (!command) {
		complain("there is no command '%s'; 'hotplugctl help' lists them",
			 context->arguments[0]);
		return EXIT_USAGE;
	}
	printf("usage: hotplugctl [-p PID | -a | -s SOCKET] [--json] %s%s%s\n\n%s\n", command->name,
	       *command->synopsis ? " " : "", command->synopsis, command->help);
	return EXIT_DONE;
}
