/*
 * The upper part of the live screen: a row a node with a bar, and below them the latest
 * transitions. A node that changed within the last seconds has a '>' before it, and so has its
 * transition.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "json.h"
#include "top_draw.h"
#include "util.h"

#define STATE_WIDTH  22 /* with the phase */
#define STATE_ALONE  14
#define NARROW	     72
#define SMALLEST_BAR 10
#define LARGEST_BAR  60
#define EVENTS_ABOVE 6 /* lines of transitions at most */

static uint64_t used_bytes(const json_t *node)
{
	return field_count(node, "live_bytes") + field_count(node, "cached_bytes");
}

static uint64_t free_bytes(const json_t *node)
{
	uint64_t capacity = field_count(node, "capacity_bytes");
	uint64_t taken = field_count(node, "resident_bytes");

	if (!taken)
		taken = used_bytes(node);
	return capacity > taken ? capacity - taken : 0;
}

/* What a full bar stands for: the node's capacity, else the fullest node. */
static uint64_t bar_scale(const json_t *nodes, const json_t *node)
{
	uint64_t scale = field_count(node, "capacity_bytes");

	for (size_t i = 0; !field_present(node, "capacity_bytes") && i < json_array_size(nodes);
	     i++) {
		uint64_t used = used_bytes(json_array_get(nodes, i));

		if (used > scale)
			scale = used;
	}
	return scale;
}

/* Something is never drawn as nothing. */
static int bar_cells(uint64_t bytes, uint64_t scale, int width)
{
	int cells = scale ? (int)((double)bytes / (double)scale * width + 0.5) : 0;

	if (bytes && cells < 1)
		cells = 1;
	return cells > width ? width : cells;
}

static void draw_bar(int y, int x, int width, const json_t *nodes, const json_t *node)
{
	uint64_t scale = bar_scale(nodes, node);
	int live = bar_cells(field_count(node, "live_bytes"), scale, width);
	int cached = bar_cells(field_count(node, "cached_bytes"), scale, width - live);
	char rest = field_present(node, "capacity_bytes") ? '.' : ' ';

	put(y, x, A_NORMAL, format_text("[%*s]", width, ""));
	move(y, x + 1);
	for (int i = 0; i < width && x + 1 + i < COLS; i++) {
		attr_t look = i < live		  ? colour(PAIR_LIVE)
			      : i < live + cached ? colour(PAIR_CACHED)
						  : A_DIM;

		addch((chtype)(i < live ? '#' : i < live + cached ? '+' : rest) | look);
	}
}

static bool changed_now(const struct top_view *view, const json_t *node)
{
	size_t kept = view->nr_events < TOP_EVENTS ? view->nr_events : TOP_EVENTS;
	uint64_t now = now_ms();

	for (size_t i = 1; i <= kept; i++) {
		const struct top_event *event = &view->events[(view->nr_events - i) % TOP_EVENTS];

		if (now - event->seen >= TOP_FRESH_MS)
			return false;
		if (field_count(event->event, "node") == field_count(node, "node"))
			return true;
	}
	return false;
}

static char *state_text(const json_t *node)
{
	const char *phase = field_text(json_object_get(node, "transition"), "phase");
	const char *state = top_text(node, "state");

	if (field_flag(node, "cordoned"))
		return format_text("%s,cordoned", state);
	if (phase && !strncmp(state, "going", 5))
		return format_text("%s %s", state, phase);
	return copy_text(state);
}

static attr_t state_look(const json_t *node)
{
	const char *state = top_text(node, "state");

	if (!strncmp(state, "going", 5) || field_flag(node, "cordoned"))
		return A_BOLD | colour(PAIR_WARN);
	return strcmp(state, "online") ? colour(PAIR_BAD) : colour(PAIR_GOOD);
}

static int state_width(void)
{
	return COLS < NARROW ? STATE_ALONE : STATE_WIDTH;
}

enum node_figure { LIVE, CACHED, RESIDENT, ELSEWHERE, FREE, LOCAL, NR_FIGURES };

static const struct {
	const char *name;
	int width;
	const char *key; /* of a field without which no node has the figure; NULL: all have it */
} node_figures[NR_FIGURES] = {
	[LIVE] = {"LIVE", 8, NULL},
	[CACHED] = {"CACHED", 8, NULL},
	[RESIDENT] = {"RESIDENT", 10, "resident_bytes"},
	[ELSEWHERE] = {"ELSEWHERE", 11, "elsewhere_bytes"},
	[FREE] = {"FREE", 8, "capacity_bytes"},
	[LOCAL] = {"LOCAL%", 8, NULL},
};

/* Which figures stand behind the bar: as many as leave room for one. */
struct node_layout {
	int bar, count;
	enum node_figure figures[NR_FIGURES];
};

static bool any_node_has(const json_t *nodes, const char *key)
{
	for (size_t i = 0; i < json_array_size(nodes); i++)
		if (!key || field_count(json_array_get(nodes, i), key))
			return true;
	return false;
}

static struct node_layout lay_out_nodes(const json_t *nodes)
{
	struct node_layout layout = {.bar = COLS - 6 - state_width() - 2};

	for (enum node_figure figure = LIVE; figure < NR_FIGURES; figure++) {
		if (!any_node_has(nodes, node_figures[figure].key))
			continue;
		if (layout.count && layout.bar - node_figures[figure].width < SMALLEST_BAR)
			break;
		layout.bar -= node_figures[figure].width;
		layout.figures[layout.count++] = figure;
	}
	if (layout.bar > LARGEST_BAR)
		layout.bar = LARGEST_BAR;
	if (layout.bar < 1)
		layout.bar = 1;
	return layout;
}

static char *node_figure(const json_t *node, enum node_figure figure)
{
	double hit = field_number(node, "numa_hit", 0), miss = field_number(node, "numa_miss", 0);

	switch (figure) {
	case LIVE:
		return format_bytes(field_count(node, "live_bytes"), false);
	case CACHED:
		return format_bytes(field_count(node, "cached_bytes"), false);
	case RESIDENT:
	case ELSEWHERE:
		return format_bytes(field_count(node, node_figures[figure].key), false);
	case FREE:
		return field_present(node, "capacity_bytes") ? format_bytes(free_bytes(node), false)
							     : copy_text("-");
	default:
		return hit + miss > 0 ? format_text("%.1f", 100 * hit / (hit + miss))
				      : copy_text("-");
	}
}

static void draw_node(int y, const struct top_view *view, const struct node_layout *layout,
		      const json_t *nodes, const json_t *node)
{
	bool fresh = changed_now(view, node);
	int x = 6 + state_width();
	char *state = state_text(node);

	put(y, 0, fresh ? A_BOLD : A_NORMAL,
	    format_text("%c%4llu", fresh ? '>' : ' ',
			(unsigned long long)field_count(node, "node")));
	put(y, 6, state_look(node) | (fresh ? A_REVERSE : A_NORMAL),
	    format_text("%.*s", state_width() - 1, state));
	free(state);
	draw_bar(y, x, layout->bar, nodes, node);
	x += layout->bar + 2;
	for (int i = 0; i < layout->count; i++) {
		char *figure = node_figure(node, layout->figures[i]);
		int width = node_figures[layout->figures[i]].width;

		put(y, x, A_NORMAL, format_text("%*s", width, figure));
		x += width;
		free(figure);
	}
}

/* Nodes take at most half of the screen. Gives back the line behind them. */
int draw_nodes(struct top_view *view, int y)
{
	const json_t *nodes = field_array(view->status, "nodes");
	struct node_layout layout = lay_out_nodes(nodes);
	size_t count = json_array_size(nodes), room, last;
	int x = 6 + state_width() + layout.bar + 2;

	room = LINES > 2 * REST_OF_LINES ? (size_t)(LINES - REST_OF_LINES) / 2 : 3;
	if (view->first_node + room > count)
		view->first_node = count > room ? count - room : 0;
	last = view->first_node + room < count ? view->first_node + room : count;
	put(y, 0, A_NORMAL,
	    format_text(" NODE %-*s%.*s", state_width(), "STATE", layout.bar + 2,
			"# live + cached . free"));
	for (int i = 0; i < layout.count; i++) {
		int width = node_figures[layout.figures[i]].width;

		put(y, x, A_NORMAL,
		    format_text("%*s", width, node_figures[layout.figures[i]].name));
		x += width;
	}
	fill_line(y++, A_REVERSE);
	for (size_t i = view->first_node; i < last; i++)
		draw_node(y++, view, &layout, nodes, json_array_get(nodes, i));
	if (last - view->first_node < count)
		put(y++, 0, A_DIM,
		    format_text("      rows %zu to %zu of %zu nodes; [ and ] scroll",
				view->first_node + 1, last, count));
	return y;
}

static void draw_event(int y, const struct top_event *event)
{
	bool fresh = now_ms() - event->seen < TOP_FRESH_MS;
	double seconds = field_number(event->event, "time", 0);
	time_t whole = (time_t)seconds;
	char clock[16] = "-";
	struct tm local;

	if (localtime_r(&whole, &local))
		strftime(clock, sizeof(clock), "%H:%M:%S", &local);
	put(y, 0, fresh ? A_BOLD : A_DIM,
	    format_text("%c %s.%03d node %llu: %s -> %s  %s", fresh ? '>' : ' ', clock,
			(int)((seconds - (double)whole) * 1000),
			(unsigned long long)field_count(event->event, "node"),
			top_text(event->event, "from"), top_text(event->event, "to"),
			top_text(event->event, "cause")));
}

/* The latest transitions, the newest last. */
int draw_events(const struct top_view *view, int y)
{
	size_t kept = view->nr_events < TOP_EVENTS ? view->nr_events : TOP_EVENTS;
	int spare = (LINES - y - REST_OF_LINES) / 3;

	if (spare > EVENTS_ABOVE)
		spare = EVENTS_ABOVE;
	if (spare > (int)kept)
		spare = (int)kept;
	for (int i = spare; i > 0; i--)
		draw_event(y++, &view->events[(view->nr_events - (size_t)i) % TOP_EVENTS]);
	return y;
}
