/*
 * What `metrics` writes, apart from where it is written.
 */
#ifndef HOTPLUGCTL_METRICS_H
#define HOTPLUGCTL_METRICS_H

#include <jansson.h>
#include <stddef.h>

#include "process.h"

/* What one process said; NULL where it was not asked or did not answer. */
struct metrics_source {
	const struct process *process;
	const json_t *status;
	const json_t *caches;
	const char *problem; /* why there is no status */
};

void write_metrics(const struct metrics_source *sources, size_t count);

#endif
