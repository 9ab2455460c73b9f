/*
 * Replies as indented lines, "  label  value", for commands about one node.
 */
#ifndef HOTPLUGCTL_FIGURES_H
#define HOTPLUGCTL_FIGURES_H

#include <jansson.h>

#include "hotplugctl.h"

enum figure_kind {
	FIGURE_COUNT,
	FIGURE_BYTES,
	FIGURE_MS,
	FIGURE_LIST,
	FIGURE_SPARSE = 1 << 4, /* beside one of these: no line when it is 0 */
};

/* A table of figures ends with one without a name. */
struct figure {
	const char *name;
	const char *label;
	unsigned int kind;
	const char *after; /* unit or explanation */
};

/* One more line, below the label or without one. */
void print_figure_text(const char *label, const char *text);
void print_figures(const struct context *context, const struct figure *figures,
		   const json_t *reply);

#endif
