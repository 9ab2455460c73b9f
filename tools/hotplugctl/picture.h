/*
 * The picture that `topology --draw` makes.
 */
#ifndef HOTPLUGCTL_PICTURE_H
#define HOTPLUGCTL_PICTURE_H

#include <jansson.h>
#include <stdbool.h>

#include "process.h"

bool check_picture(const char *file);
bool draw_picture(const char *file, const struct process *process, const json_t *topology,
		  const json_t *status);

#endif
