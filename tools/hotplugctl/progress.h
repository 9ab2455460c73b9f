/*
 * The progress bar of long commands.
 */
#ifndef HOTPLUGCTL_PROGRESS_H
#define HOTPLUGCTL_PROGRESS_H

#include "exchange.h"

struct progress {
	bool shown; /* stderr is a terminal */
	bool drawn;
	char phase[32];
	uint64_t phase_started;
	double phase_begin; /* what was done when the phase was first seen */
};

void draw_progress(struct progress *progress, const struct session *sessions, size_t count);
void clear_progress(struct progress *progress);

#endif
