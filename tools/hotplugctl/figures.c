/*
 * Replies as indented lines: see figures.h. Fields that a reply lacks take no line.
 */
#include "figures.h"

#include <stdio.h>
#include <stdlib.h>

#include "json.h"
#include "util.h"

void print_figure_text(const char *label, const char *text)
{
	printf("  %-14s %s\n", label, text);
}

static void print_list(const struct figure *figure, const json_t *value)
{
	for (size_t i = 0; i < json_array_size(value); i++) {
		char *text = describe_value(json_array_get(value, i));

		print_figure_text(i ? "" : figure->label, text);
		free(text);
	}
}

static void print_figure(const struct context *context, const struct figure *figure,
			 const json_t *reply)
{
	const json_t *value = json_object_get(reply, figure->name);
	unsigned int kind = figure->kind & ~(unsigned int)FIGURE_SPARSE;
	char *text;

	if (kind == FIGURE_LIST) {
		print_list(figure, value);
		return;
	}
	if (!json_is_number(value) ||
	    ((figure->kind & FIGURE_SPARSE) && json_number_value(value) == 0))
		return;
	if (kind == FIGURE_BYTES)
		text = format_bytes(field_count(reply, figure->name), exact_bytes(context));
	else if (kind == FIGURE_MS)
		text = format_ms(json_number_value(value));
	else
		text = format_text("%llu", (unsigned long long)field_count(reply, figure->name));
	printf("  %-14s %s%s%s\n", figure->label, text, *figure->after ? " " : "", figure->after);
	free(text);
}

void print_figures(const struct context *context, const struct figure *figures, const json_t *reply)
{
	for (; figures->name; figures++)
		print_figure(context, figures, reply);
}
