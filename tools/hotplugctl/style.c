/*
 * Colours on terminals: see style.h. NO_COLOR (no-color.org) and TERM=dumb switch them off; a pipe
 * or a file never sees them.
 */
#include "style.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool colours_wanted(void)
{
	const char *refused = getenv("NO_COLOR"), *terminal = getenv("TERM");

	return !(refused && *refused) && terminal && *terminal && strcmp(terminal, "dumb");
}

bool styled(int descriptor)
{
	return colours_wanted() && isatty(descriptor);
}

const char *style_begin(int descriptor, enum style style)
{
	static const char *const sequences[] = {
		[STYLE_PLAIN] = "",	   [STYLE_HEADING] = "\033[1m", [STYLE_GOOD] = "\033[32m",
		[STYLE_WARN] = "\033[33m", [STYLE_BAD] = "\033[31m",	[STYLE_FAINT] = "\033[2m",
	};

	return styled(descriptor) ? sequences[style] : "";
}

const char *style_end(int descriptor, enum style style)
{
	return style != STYLE_PLAIN && styled(descriptor) ? "\033[0m" : "";
}

/* Of a node's state, or of what became of a request. */
enum style style_of_state(const char *state)
{
	if (!strcmp(state, "online") || !strcmp(state, "done"))
		return STYLE_GOOD;
	if (!strncmp(state, "going-", 6) || !strncmp(state, "online,", 7))
		return STYLE_WARN;
	return strcmp(state, "-") ? STYLE_BAD : STYLE_PLAIN;
}
