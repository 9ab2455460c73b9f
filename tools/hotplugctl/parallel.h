/*
 * Work that several processes of ours do at the same time.
 */
#ifndef HOTPLUGCTL_PARALLEL_H
#define HOTPLUGCTL_PARALLEL_H

#include <jansson.h>
#include <stddef.h>

/*
 * Calls work(data, index) for each index below count, each in a process of its own. An array of
 * what they returned, null for one that ended without. SIGINT, SIGTERM and SIGHUP are passed on.
 */
json_t *run_parallel(size_t count, json_t *(*work)(void *data, size_t index), void *data);

#endif
