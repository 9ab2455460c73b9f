/*
 * How the live screen looks. Every part is drawn anew each time, for the size that the terminal has
 * then; ncurses sends only what changed. Colours come on top of words and characters that say the
 * same: '#' is live, '+' cached, '.' free, and '>' stands before a node whose state changed just
 * now.
 *
 * Small terminals lose, in this order: older transitions, columns of nodes, rows of caches.
 */
#include "top.h"

#ifdef HAVE_NCURSES

#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "json.h"
#include "style.h"
#include "top_draw.h"
#include "util.h"

const char why_no_screen[] = " that can move its cursor (see TERM)";

static SCREEN *screen;

bool open_screen(void)
{
	setlocale(LC_CTYPE, "");
	screen = newterm(NULL, stdout, stdin);
	if (!screen)
		return false;
	atexit(close_screen);
	cbreak();
	noecho();
	nonl();
	nodelay(stdscr, TRUE);
	keypad(stdscr, TRUE);
	set_escdelay(50);
	curs_set(0);
	if (!colours_wanted() || !has_colors())
		return true;
	start_color();
	use_default_colors();
	init_pair(PAIR_GOOD, COLOR_GREEN, -1);
	init_pair(PAIR_WARN, COLOR_YELLOW, -1);
	init_pair(PAIR_BAD, COLOR_RED, -1);
	init_pair(PAIR_LIVE, COLOR_GREEN, -1);
	init_pair(PAIR_CACHED, COLOR_CYAN, -1);
	return true;
}

/* Also when the program ends for want of memory: the operator's terminal has to be usable. */
void close_screen(void)
{
	if (!screen)
		return;
	endwin();
	delscreen(screen);
	screen = NULL;
}

int read_key(void)
{
	int key = getch();

	switch (key) {
	case ERR:
		return TOP_NO_KEY;
	case KEY_UP:
		return TOP_UP;
	case KEY_DOWN:
		return TOP_DOWN;
	case KEY_PPAGE:
		return TOP_PAGE_UP;
	case KEY_NPAGE:
		return TOP_PAGE_DOWN;
	default:
		return key < 256 ? key : TOP_RESIZE;
	}
}

attr_t colour(enum pair pair)
{
	return COLORS > 0 && colours_wanted() ? COLOR_PAIR(pair) : A_NORMAL;
}

const char *top_text(const json_t *object, const char *name)
{
	const char *text = field_text(object, name);

	return text ? text : "?";
}

/* Takes the text over. What does not fit into the line is cut. */
void put(int y, int x, attr_t look, char *text)
{
	if (y >= 0 && y < LINES && x < COLS) {
		attron(look);
		mvaddnstr(y, x, clean_text(text), COLS - x);
		attroff(look);
	}
	free(text);
}

void fill_line(int y, attr_t look)
{
	if (y >= 0 && y < LINES)
		mvchgat(y, 0, -1, look, 0, NULL);
}

static void draw_head(const struct top_view *view)
{
	char *line = format_text("hotplugctl top: %d %s", (int)view->process->pid,
				 view->process->command);
	time_t now = time(NULL);
	struct tm local;
	char clock[16] = "";
	int at, behind;

	if (view->processes > 1)
		append_text(&line, " (%zu of %zu, Tab)", view->chosen + 1, view->processes);
	behind = (int)strlen(line) + 1;
	put(0, 0, A_BOLD, line);
	if (localtime_r(&now, &local))
		strftime(clock, sizeof(clock), "%H:%M:%S", &local);
	line = format_text("%severy %gs  %s", view->paused ? "PAUSED  " : "",
			   (double)view->delay_ms / 1000, clock);
	at = COLS - (int)strlen(line);
	put(0, at > behind ? at : behind, view->paused ? A_REVERSE : A_NORMAL, line);
	if (view->problem)
		put(1, 0, A_BOLD | colour(PAIR_BAD), format_text("! %s", view->problem));
	else if (view->status)
		put(1, 0, A_NORMAL,
		    format_text("topology %s, fast path %s, placement %s",
				top_text(view->status, "topology"),
				top_text(view->status, "fast_path"),
				top_text(view->status, "placement")));
	else
		put(1, 0, A_NORMAL, copy_text("asking"));
}

static void draw_help(int y)
{
	static const char *const lines[] = {
		"q        leave",
		"p space  pause; transitions are still shown",
		"+ -      longer or shorter between two looks",
		"b        caches by bytes of their slabs",
		"u        by use: active of total objects",
		"a t      by active, by total objects",
		"s c n    by object size, by cached objects, by name",
		"         the same key again: the other way round",
		"d        caches node by node, or summed up",
		"up down  scroll caches, also page up and page down",
		"[ ]      scroll nodes",
		"Tab      next process (with -a)",
		"? h      this",
	};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]) && y < LINES - 1; i++)
		put(y++, 2, A_NORMAL, copy_text(lines[i]));
}

void draw_screen(struct top_view *view)
{
	int y;

	erase();
	draw_head(view);
	y = draw_nodes(view, 2);
	y = draw_events(view, y);
	if (view->help)
		draw_help(y);
	else
		draw_caches(view, y);
	put(LINES - 1, 0, A_DIM,
	    copy_text("q quit  p pause  b u a t s c n sort  d by node  +- delay  ? help"));
	refresh();
}

#else

const char why_no_screen[] = " and a hotplugctl that was built with ncurses";

bool open_screen(void)
{
	return false;
}

void close_screen(void)
{
}

void draw_screen(struct top_view *view)
{
	(void)view;
}

int read_key(void)
{
	return TOP_NO_KEY;
}

#endif
