/*
 * hotplugctl: takes memory nodes out of service and brings them back in running programs that use
 * libslabnode.so. This file reads the command line; commands.c has the table of commands.
 *
 * Options may stand before and after the command. One parser takes all of them, and the command's
 * entry says which of the particular ones it knows.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hotplugctl.h"
#include "table.h"
#include "util.h"

/* Values of getopt_long: letters, LONG_ for the rest, and a command's own option bits above. */
enum { LONG_JSON = 256, LONG_OPTION = 1 << 24 };

static const struct option long_options[] = {
	{"pid", required_argument, NULL, 'p'},
	{"all", no_argument, NULL, 'a'},
	{"socket", required_argument, NULL, 's'},
	{"json", no_argument, NULL, LONG_JSON},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{"output", required_argument, NULL, 'o'},
	{"noheadings", no_argument, NULL, 'n'},
	{"bytes", no_argument, NULL, 'b'},
	{"policy", required_argument, NULL, LONG_OPTION + OPT_POLICY},
	{"timeout", required_argument, NULL, LONG_OPTION + OPT_TIMEOUT},
	{"to", required_argument, NULL, LONG_OPTION + OPT_TO},
	{"max-stall", required_argument, NULL, LONG_OPTION + OPT_MAX_STALL},
	{"whole-process", no_argument, NULL, LONG_OPTION + OPT_WHOLE_PROCESS},
	{"detach", no_argument, NULL, LONG_OPTION + OPT_DETACH},
	{"rebalance", no_argument, NULL, LONG_OPTION + OPT_REBALANCE},
	{"since", required_argument, NULL, LONG_OPTION + OPT_SINCE},
	{"no-follow", no_argument, NULL, LONG_OPTION + OPT_NO_FOLLOW},
	{"seed", required_argument, NULL, LONG_OPTION + OPT_SEED},
	{"duration", required_argument, NULL, LONG_OPTION + OPT_DURATION},
	{"rate", required_argument, NULL, LONG_OPTION + OPT_RATE},
	{"requests", required_argument, NULL, LONG_OPTION + OPT_REQUESTS},
	{"clients", required_argument, NULL, LONG_OPTION + OPT_CLIENTS},
	{"draw", required_argument, NULL, LONG_OPTION + OPT_DRAW},
	{"delay", required_argument, NULL, LONG_OPTION + OPT_DELAY},
	{"caches", no_argument, NULL, LONG_OPTION + OPT_CACHES},
	{"http", no_argument, NULL, LONG_OPTION + OPT_HTTP},
	{"kernel", no_argument, NULL, LONG_OPTION + OPT_KERNEL},
	{0},
};

static int usage(void)
{
	fputs("usage: hotplugctl [-p PID | -a | -s SOCKET] [--json] COMMAND ...\n"
	      "'hotplugctl help' lists the commands.\n",
	      stderr);
	return EXIT_USAGE;
}

static bool set_pid(struct settings *set, const char *text)
{
	char *end;
	long pid;

	errno = 0;
	pid = strtol(text, &end, 10);
	if (errno || !*text || *end || pid <= 0 || pid > INT_MAX) {
		complain("-p takes a process number, not '%s'", text);
		return false;
	}
	set->pid = (pid_t)pid;
	return true;
}

/* Options that belong to particular commands. */
static bool set_particular(struct settings *set, unsigned int bit)
{
	const char **place = bit == OPT_COLUMNS	    ? &set->columns
			     : bit == OPT_POLICY    ? &set->policy
			     : bit == OPT_TIMEOUT   ? &set->timeout
			     : bit == OPT_TO	    ? &set->to
			     : bit == OPT_MAX_STALL ? &set->max_stall
			     : bit == OPT_SINCE	    ? &set->since
			     : bit == OPT_SEED	    ? &set->seed
			     : bit == OPT_DURATION  ? &set->duration
			     : bit == OPT_RATE	    ? &set->rate
			     : bit == OPT_REQUESTS  ? &set->requests
			     : bit == OPT_CLIENTS   ? &set->clients
			     : bit == OPT_DRAW	    ? &set->draw
			     : bit == OPT_DELAY	    ? &set->delay
						    : NULL;

	set->given |= bit;
	if (place)
		*place = optarg;
	return true;
}

static bool set_option(struct settings *set, int option, bool *help, bool *version)
{
	if (option & LONG_OPTION)
		return set_particular(set, (unsigned int)option & ~(unsigned int)LONG_OPTION);
	switch (option) {
	case 'p':
		return set_pid(set, optarg);
	case 'a':
		set->all = true;
		return true;
	case 's':
		set->socket = optarg;
		return true;
	case LONG_JSON:
		set->json = true;
		return true;
	case 'o':
		return set_particular(set, OPT_COLUMNS);
	case 'n':
		return set_particular(set, OPT_NO_HEADING);
	case 'b':
		return set_particular(set, OPT_BYTES);
	case 'h':
		*help = true;
		return true;
	case 'V':
		*version = true;
		return true;
	}
	return false;
}

static bool check_target(const struct settings *set)
{
	if (set->socket && !*set->socket) {
		complain("-s takes the path of a control socket; 'hotplugctl list -o "
			 "PID,COMMAND,SOCKET' shows them");
		return false;
	}
	if ((set->pid != 0) + set->all + (set->socket != NULL) <= 1)
		return true;
	complain("-p, -a and -s exclude each other");
	return false;
}

static bool check_options(const struct context *context)
{
	unsigned int unknown = context->set.given & ~context->command->options;
	const char *name = context->command->name;

	if (unknown & OPT_TABLE) {
		complain("%s does not take -%c; see 'hotplugctl help %s'", name,
			 unknown & OPT_COLUMNS	    ? 'o'
			 : unknown & OPT_NO_HEADING ? 'n'
						    : 'b',
			 name);
		return false;
	}
	for (const struct option *option = long_options; option->name; option++) {
		if (!(option->val & LONG_OPTION) || !(unknown & (unsigned int)option->val))
			continue;
		complain("%s does not take --%s; see 'hotplugctl help %s'", name, option->name,
			 name);
		return false;
	}
	return true;
}

static bool check_arguments(const struct context *context)
{
	const struct command *command = context->command;

	if (context->count < (size_t)command->min_arguments) {
		complain("%s: what is missing is %s; see 'hotplugctl help %s'", command->name,
			 command->run == run_fault ? "SPEC" : "a node", command->name);
		return false;
	}
	if (command->max_arguments >= 0 && context->count > (size_t)command->max_arguments) {
		complain("%s: '%s' is too much; see 'hotplugctl help %s'", command->name,
			 context->arguments[command->max_arguments], command->name);
		return false;
	}
	return check_target(&context->set) && check_options(context) &&
	       (!context->set.columns || check_columns(command->columns, context->set.columns));
}

static void complain_unknown(const char *name)
{
	const struct command *meant = similar_command(name);

	if (meant)
		complain("there is no command '%s'; did you mean '%s'?", name, meant->name);
	else
		complain("there is no command '%s'; 'hotplugctl help' lists them", name);
}

/* What stands behind "--" is the last of the operands, whatever getopt has moved about. */
static int words_behind_dashes(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], "--"))
			return argc - i - 1;
	return 0;
}

/* False after a complaint: a command, and nobody asked for it. */
static bool take_wrapped(struct context *context, size_t behind)
{
	const char *first;

	if (!(context->command->options & OPT_KERNEL) || !behind || behind > context->count)
		return true;
	first = context->arguments[context->count - behind];
	if (context->set.given & OPT_KERNEL) {
		context->count -= behind;
		context->wrapped = context->arguments + context->count;
	} else if (*first < '0' || *first > '9') {
		complain("%s: the command '%s' behind '--' takes the place of the kernel's part: "
			 "it needs --kernel",
			 context->command->name, first);
		return false;
	}
	return true;
}

static int run(struct context *context, int count, char **words, int behind, bool help,
	       bool version)
{
	if (version)
		context->command = find_command("version");
	else if (help)
		context->command = find_command("help");
	else if (!count)
		return usage();
	else
		context->command = find_command(words[0]);
	if (!context->command) {
		complain_unknown(words[0]);
		return EXIT_USAGE;
	}
	if (!help && !version) {
		words++;
		count--;
	}
	context->arguments = words;
	context->count = version ? 0 : (size_t)count;
	if (!take_wrapped(context, (size_t)behind) || !check_arguments(context))
		return EXIT_USAGE;
	return context->command->run(context);
}

/* A full disk behind stdout must not look like success. */
static int close_output(int code)
{
	if (!fflush(stdout) && !ferror(stdout))
		return code;
	complain("writing the output failed: %s", strerror(errno));
	return code == EXIT_DONE ? EXIT_NO_PROCESS : code;
}

int main(int argc, char **argv)
{
	struct context context = {0};
	int option, behind = words_behind_dashes(argc, argv);
	bool help = false, version = false;

	setlocale(LC_TIME, "");
	while ((option = getopt_long(argc, argv, "p:as:o:nbhV", long_options, NULL)) != -1)
		if (!set_option(&context.set, option, &help, &version))
			return usage();
	return close_output(run(&context, argc - optind, argv + optind, behind, help, version));
}
