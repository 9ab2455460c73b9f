/*
 * The lower part of the live screen: a row a cache, as many as there is room for.
 */
#include <stdio.h>
#include <stdlib.h>

#include "top_draw.h"
#include "util.h"

#define NAME_WIDTH 17

/* In the order of the screen. Narrow ones lose those of the largest rank first. */
static const struct cache_column {
	const char *name;
	int width, rank;
	enum top_order order;
} cache_columns[] = {
	{"SIZE", 8, 1, BY_SIZE},   {"ACTIVE", 10, 2, BY_ACTIVE}, {"TOTAL", 10, 3, BY_TOTAL},
	{"USE%", 7, 4, BY_USE},	   {"CACHED", 8, 5, BY_CACHED},	 {"SLABS", 7, 6, NR_ORDERS},
	{"BYTES", 8, 0, BY_BYTES},
};

#define NR_CACHE_COLUMNS (sizeof(cache_columns) / sizeof(cache_columns[0]))

/* The largest rank that there is room for. */
static int last_rank(const struct top_view *view)
{
	int width = NAME_WIDTH + (view->by_node ? 5 : 0), rank = 0;

	for (;; rank++) {
		bool found = false;

		for (size_t i = 0; i < NR_CACHE_COLUMNS; i++) {
			if (cache_columns[i].rank != rank)
				continue;
			found = true;
			width += cache_columns[i].width;
		}
		if (!found || width > COLS)
			return rank - 1;
	}
}

static void draw_cache_heading(const struct top_view *view, int y)
{
	char *line = format_text("%s%-*s%s", view->order == BY_NAME ? "*" : "",
				 NAME_WIDTH - (view->order == BY_NAME), "CACHE",
				 view->by_node ? " NODE" : "");
	int rank = last_rank(view);

	for (size_t i = 0; i < NR_CACHE_COLUMNS; i++) {
		const struct cache_column *column = &cache_columns[i];
		char name[16];

		if (column->rank > rank)
			continue;
		snprintf(name, sizeof(name), "%s%s", view->order == column->order ? "*" : "",
			 column->name);
		append_text(&line, "%*s", column->width, name);
	}
	put(y, 0, A_NORMAL, line);
	fill_line(y, A_REVERSE);
}

static char *cache_figure(const struct cache_row *row, const struct cache_column *column)
{
	switch (column->order) {
	case BY_BYTES:
		return format_bytes(row->total * row->size, false);
	case BY_USE:
		return format_text(
			"%.1f", row->total ? 100.0 * (double)row->active / (double)row->total : 0);
	case BY_ACTIVE:
		return format_text("%llu", (unsigned long long)row->active);
	case BY_TOTAL:
		return format_text("%llu", (unsigned long long)row->total);
	case BY_SIZE:
		return format_text("%llu", (unsigned long long)row->size);
	case BY_CACHED:
		return format_text("%llu", (unsigned long long)row->cached);
	default:
		return format_text("%llu", (unsigned long long)row->slabs);
	}
}

static void draw_cache(const struct top_view *view, int y, const struct cache_row *row)
{
	char *line = format_text("%-*.*s", NAME_WIDTH, NAME_WIDTH, row->name);
	int rank = last_rank(view);

	if (view->by_node)
		append_text(&line, " %4d", row->node);
	for (size_t i = 0; i < NR_CACHE_COLUMNS; i++) {
		char *figure;

		if (cache_columns[i].rank > rank)
			continue;
		figure = cache_figure(row, &cache_columns[i]);
		append_text(&line, "%*s", cache_columns[i].width, figure);
		free(figure);
	}
	put(y, 0, A_NORMAL, line);
}

void draw_caches(struct top_view *view, int y)
{
	struct cache_rows rows;

	sort_caches(view, &rows);
	if (view->first_cache >= rows.count)
		view->first_cache = rows.count ? rows.count - 1 : 0;
	draw_cache_heading(view, y++);
	for (size_t i = view->first_cache; i < rows.count && y < LINES - 1; i++)
		draw_cache(view, y++, &rows.items[i]);
	free(rows.items);
}
