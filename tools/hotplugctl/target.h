/*
 * Which processes a command is for, and asking them all.
 */
#ifndef HOTPLUGCTL_TARGET_H
#define HOTPLUGCTL_TARGET_H

#include "exchange.h"
#include "hotplugctl.h"
#include "process.h"

struct targets {
	struct process_list processes;
	struct session *sessions;
};

void select_all(struct targets *targets);
int select_targets(struct context *context, struct targets *targets);
void ask_targets(struct targets *targets, const struct exchange *exchange);
int targets_code(const struct targets *targets);
json_t *tag_reply(const struct session *session);
void print_replies(const struct context *context, const struct targets *targets);
bool show_failure(const struct context *context, const struct targets *targets);
int fail_here(const struct context *context, int code, const char *error, const char *message);
int ask_and_show(struct context *context, const struct exchange *exchange,
		 void (*show)(const struct context *, const struct targets *));

#endif
