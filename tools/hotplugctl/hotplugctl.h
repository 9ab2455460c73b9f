/*
 * What all parts of hotplugctl share: exit codes, what was asked for on the command line, and the
 * table of commands. A command gets a context and returns an exit code.
 */
#ifndef HOTPLUGCTL_H
#define HOTPLUGCTL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum exit_code {
	EXIT_DONE = 0,
	EXIT_USAGE = 1,
	EXIT_NO_PROCESS = 2,
	EXIT_REFUSED = 3,
	EXIT_BUSY = 4,
	EXIT_CANCELLED = 5,
	EXIT_TIMED_OUT = 6,
	EXIT_MIXED = 64,
};

/* Options that only some commands take; each command declares its set. */
enum option_bit {
	OPT_COLUMNS = 1 << 0,
	OPT_NO_HEADING = 1 << 1,
	OPT_BYTES = 1 << 2,
	OPT_POLICY = 1 << 3,
	OPT_TIMEOUT = 1 << 4,
	OPT_TO = 1 << 5,
	OPT_MAX_STALL = 1 << 6,
	OPT_WHOLE_PROCESS = 1 << 7,
	OPT_DETACH = 1 << 8,
	OPT_REBALANCE = 1 << 9,
	OPT_SINCE = 1 << 10,
	OPT_NO_FOLLOW = 1 << 11,
	OPT_SEED = 1 << 12,
	OPT_DURATION = 1 << 13,
	OPT_RATE = 1 << 14,
	OPT_REQUESTS = 1 << 15,
	OPT_CLIENTS = 1 << 16,
	OPT_DRAW = 1 << 17,
	OPT_DELAY = 1 << 18,
	OPT_CACHES = 1 << 19,
	OPT_HTTP = 1 << 20,
	OPT_KERNEL = 1 << 21,
};

#define OPT_TABLE (OPT_COLUMNS | OPT_NO_HEADING | OPT_BYTES)

struct settings {
	/* The target: at most one of the three is given. */
	pid_t pid;
	bool all;
	const char *socket;

	bool json;
	unsigned int given; /* option_bit of each option that was typed */
	const char *columns;
	const char *policy;
	const char *timeout;
	const char *to;
	const char *max_stall;
	const char *since;
	const char *seed;
	const char *duration;
	const char *rate;
	const char *requests;
	const char *clients;
	const char *draw;
	const char *delay;
};

struct column;

struct context {
	const struct command *command;
	struct settings set;
	char **arguments; /* after the command's name */
	size_t count;
	char **wrapped; /* with --kernel: the command behind "--", or NULL */
};

struct command {
	const char *name;
	const char *synopsis;
	const char *summary;
	const char *help;
	unsigned int options;
	int min_arguments;
	int max_arguments; /* -1: no limit */
	const struct column *columns;
	int (*run)(struct context *context);
};

extern const struct command commands[];
const struct command *find_command(const char *name);
const struct command *similar_command(const char *name);

static inline bool exact_bytes(const struct context *context)
{
	return context->set.given & OPT_BYTES;
}

int run_list(struct context *context);
int run_status(struct context *context);
int run_slabinfo(struct context *context);
int run_topology(struct context *context);
int run_options(struct context *context);
int run_why(struct context *context);
int run_plan(struct context *context);
int run_offline(struct context *context);
int run_online(struct context *context);
int run_lifecycle(struct context *context);
int run_events(struct context *context);
int run_follow(struct context *context);
int run_top(struct context *context);
int run_metrics(struct context *context);
int run_fault(struct context *context);
int run_storm(struct context *context);
int run_version(struct context *context);
int run_help(struct context *context);

#endif
