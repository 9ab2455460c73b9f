/*
 * The small commands: fault, version, help.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "exchange.h"
#include "hotplugctl.h"
#include "json.h"
#include "result.h"
#include "target.h"
#include "util.h"

#define TARGETS	   "hotplugctl [-p PID | -a | -s SOCKET] [--json]"
#define HELP_WIDTH 80

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

static size_t help_width(void)
{
	size_t width = (size_t)output_width(STDOUT_FILENO);

	return width && width < HELP_WIDTH ? width : HELP_WIDTH;
}

/* What stands between brackets stays on one line: its blanks are other characters on the way. */
static void print_usage(const struct command *command)
{
	char *text = format_text("%s %s%s%s", TARGETS, command->name, *command->synopsis ? " " : "",
				 command->synopsis);
	size_t width = help_width(), length;
	bool inside = false;

	for (char *at = text; *at; at++) {
		inside = *at == '[' || (inside && *at != ']');
		if (inside && *at == ' ')
			*at = '\a';
	}
	for (const char *at = text; *at; at += length + strspn(at + length, " ")) {
		length = fitting_length(at, width - strlen("usage: "));
		fputs(at == text ? "usage: " : "       ", stdout);
		for (size_t i = 0; i < length; i++)
			putchar(at[i] == '\a' ? ' ' : at[i]);
		putchar('\n');
	}
	free(text);
}

/* Paragraphs, each a line of the text. */
static void print_help(const char *text)
{
	for (size_t length; *text; text += length + (text[length] == '\n')) {
		char *paragraph;

		length = strcspn(text, "\n");
		paragraph = format_text("%.*s", (int)length, text);
		print_filled("", paragraph, help_width());
		free(paragraph);
	}
}

static void help_all(void)
{
	puts("usage: " TARGETS " COMMAND ...\n"
	     "Takes memory nodes out of service and brings them back in programs that run with\n"
	     "libslabnode.so. Without a target: the only such process.\n"
	     "\n"
	     "  -p, --pid PID        this process\n"
	     "  -a, --all            every process that may be asked\n"
	     "  -s, --socket SOCKET  the process behind this control socket\n"
	     "      --json           the answer as JSON, for scripts\n"
	     "  -h, --help           this, or more about the command behind it\n"
	     "  -V, --version        the version\n"
	     "\n"
	     "Commands:");
	for (const struct command *command = commands; command->name; command++)
		printf("  %-10s %s\n", command->name, command->summary);
	puts("\n"
	     "Tables take -o COLUMN,... (these columns), -n (no heading), -b (exact bytes).\n"
	     "'hotplugctl help COMMAND' tells more, hotplugctl(1) has examples.\n"
	     "\n"
	     "Exit status: 0 done, 1 bad usage, 2 no such process or connection, 3 refused,\n"
	     "4 busy, 5 cancelled, 6 timed out, 64 different results.");
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
	print_usage(command);
	putchar('\n');
	print_help(command->help);
	return EXIT_DONE;
}
