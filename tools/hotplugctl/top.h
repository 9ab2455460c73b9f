/*
 * The live screen: what it shows (top.c fetches it), the order of its rows (top_rows.c), and how it
 * looks (top_screen.c).
 */
#ifndef HOTPLUGCTL_TOP_H
#define HOTPLUGCTL_TOP_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "process.h"

#define TOP_EVENTS	64
#define TOP_FRESH_MS	5000 /* so long a change stands out */
#define TOP_MAX_DELAY_S 3600

/* What the caches are sorted by; each is a key of the keyboard. */
enum top_order { BY_BYTES, BY_USE, BY_ACTIVE, BY_TOTAL, BY_SIZE, BY_CACHED, BY_NAME, NR_ORDERS };

struct cache_row {
	const char *name; /* of the reply */
	int node;	  /* -1: the sum of all */
	uint64_t size, active, total, slabs, cached;
};

struct cache_rows {
	struct cache_row *items;
	size_t count;
};

struct top_event {
	json_t *event;
	uint64_t seen; /* now_ms() */
};

/* Everything that is on the screen. */
struct top_view {
	const struct process *process;
	size_t processes, chosen; /* of those, which */
	json_t *status, *caches;  /* the last answers; NULL before the first */
	char *problem;		  /* why there are no newer ones, or NULL */
	struct top_event events[TOP_EVENTS];
	size_t nr_events; /* ever: the latest is at nr_events - 1, modulo the size */
	enum top_order order;
	bool reversed, by_node, paused, help;
	size_t first_cache, first_node; /* scrolled away above these */
	uint64_t delay_ms;
};

void sort_caches(const struct top_view *view, struct cache_rows *rows);
bool choose_order(struct top_view *view, int key);

extern const char why_no_screen[]; /* when it cannot be opened */
bool open_screen(void);
void close_screen(void);
void draw_screen(struct top_view *view);
int read_key(void);

/* What read_key() gives for keys that are no characters. */
enum top_key { TOP_NO_KEY = -1, TOP_UP = 256, TOP_DOWN, TOP_PAGE_UP, TOP_PAGE_DOWN, TOP_RESIZE };

#endif
