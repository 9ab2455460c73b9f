/*
 * Colours on terminals, always on top of words that say the same.
 */
#ifndef HOTPLUGCTL_STYLE_H
#define HOTPLUGCTL_STYLE_H

#include <stdbool.h>

enum style { STYLE_PLAIN, STYLE_HEADING, STYLE_GOOD, STYLE_WARN, STYLE_BAD, STYLE_FAINT };

bool colours_wanted(void);
bool styled(int descriptor);
const char *style_begin(int descriptor, enum style style);
const char *style_end(int descriptor, enum style style);
enum style style_of_state(const char *state);

#endif
