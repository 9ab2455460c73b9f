/*
 * Drawing on the live screen, shared by its parts. Only for files that are built with ncurses.
 */
#ifndef HOTPLUGCTL_TOP_DRAW_H
#define HOTPLUGCTL_TOP_DRAW_H

#include <curses.h>

#include "top.h"

enum pair { PAIR_GOOD = 1, PAIR_WARN, PAIR_BAD, PAIR_LIVE, PAIR_CACHED };

/* What stands above and below a part at least: head, headings and keys. */
#define REST_OF_LINES 5

attr_t colour(enum pair pair);
void put(int y, int x, attr_t look, char *text);
void fill_line(int y, attr_t look);
const char *top_text(const json_t *object, const char *name);

/* The parts; those that are followed by others give back the line behind them. */
int draw_nodes(struct top_view *view, int y);
int draw_events(const struct top_view *view, int y);
void draw_caches(struct top_view *view, int y);

#endif
