/*
 * Operations on nodes of processes that are chosen already: asking, with progress and Ctrl-C, and
 * showing what came of it.
 */
#ifndef HOTPLUGCTL_LIFECYCLE_H
#define HOTPLUGCTL_LIFECYCLE_H

#include "progress.h"
#include "target.h"
#include "util.h"

struct operation {
	const struct context *context;
	struct node_list nodes;
	struct progress progress;
	int interrupts;
};

/* The request may be NULL: then each session has its own. */
void ask_operation(struct operation *operation, const char *request, bool cancellable,
		   struct targets *targets);
void show_results(const struct context *context, const struct targets *targets);

#endif
