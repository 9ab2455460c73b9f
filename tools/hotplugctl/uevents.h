/*
 * What the kernel announces of memory and nodes.
 */
#ifndef HOTPLUGCTL_UEVENTS_H
#define HOTPLUGCTL_UEVENTS_H

#include <stdbool.h>

int open_uevents(void);
bool take_uevents(int descriptor);

#endif
