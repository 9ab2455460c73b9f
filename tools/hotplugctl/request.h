/*
 * Request lines made of the command line.
 */
#ifndef HOTPLUGCTL_REQUEST_H
#define HOTPLUGCTL_REQUEST_H

#include "hotplugctl.h"
#include "util.h"

bool named_nodes(const struct context *context, struct node_list *list);
bool add_lifecycle_options(const struct context *context, char **request);
char *build_request(const char *name, const struct context *context, struct node_list *nodes);

#endif
