/*
 * Tables. A row is a JSON object; a row with a "problem" stands for a process that could not be
 * asked and says so instead of figures.
 */
#include "table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "json.h"
#include "result.h"
#include "style.h"
#include "util.h"

#define MAX_COLUMNS   32
#define LEAST_WRAPPED 20 /* cells; in less, words make a bad column */

struct layout {
	const struct column *columns[MAX_COLUMNS];
	size_t widths[MAX_COLUMNS];
	bool left_out[MAX_COLUMNS];
	size_t count;
	size_t gap;   /* between columns */
	size_t limit; /* of a line; 0: none */
	bool wrapped; /* the last column, to its width */
};

/* A line that grows: its text, and which part of it is coloured how. */
struct line {
	char *text;
	size_t begin, end;
	enum style style;
};

/* A list of numbers in its order, runs shortened: 0,2-5,1. */
char *compress_list(const json_t *list)
{
	size_t count = json_array_size(list);
	char *text = NULL;

	for (size_t i = 0; i < count; i++) {
		long long first = json_integer_value(json_array_get(list, i)), last = first;

		while (i + 1 < count &&
		       json_integer_value(json_array_get(list, i + 1)) == last + 1) {
			last++;
			i++;
		}
		append_text(&text, "%s%lld", text ? "," : "", first);
		if (last > first)
			append_text(&text, "%c%lld", last == first + 1 ? ',' : '-', last);
	}
	return text ? text : copy_text("-");
}

static char *make_cell(const struct column *column, const json_t *row, bool exact)
{
	const json_t *value;

	if (column->cell)
		return column->cell(row, exact);
	value = json_object_get(row, column->key);
	if (!value || json_is_null(value))
		return copy_text("-");
	if (column->kind == CELL_BYTES && json_is_number(value))
		return format_bytes(field_count(row, column->key), exact);
	if (column->kind == CELL_MS && json_is_number(value))
		return format_text("%.1f", json_number_value(value));
	if (column->kind == CELL_NODES && json_is_array(value))
		return compress_list(value);
	if (json_is_string(value) && !*json_string_value(value))
		return copy_text("-");
	return describe_value(value);
}

static bool same_name(const struct column *column, const char *name, size_t length)
{
	return strlen(column->name) == length && !strncasecmp(column->name, name, length);
}

static const struct column *find_column(const struct column *columns, const char *name,
					size_t length)
{
	for (; columns->name; columns++)
		if (same_name(columns, name, length))
			return columns;
	return NULL;
}

/* Complains about the first name that is no column; to be called before anything is asked. */
bool check_columns(const struct column *columns, const char *chosen)
{
	size_t count = 0;

	for (const char *at = chosen;; at++) {
		size_t length = strcspn(at, ",");

		if (!find_column(columns, at, length) || ++count > MAX_COLUMNS) {
			char *names = NULL;

			for (; columns->name; columns++)
				append_text(&names, "%s%s", names ? "," : "", columns->name);
			complain("-o: no column '%.*s'; there are %s", (int)length, at, names);
			free(names);
			return false;
		}
		at += length;
		if (!*at)
			return true;
	}
}

static bool has_content(const struct table *table, const struct column *column)
{
	bool found = false;

	for (size_t i = 0; i < json_array_size(table->rows) && !found; i++) {
		const json_t *row = json_array_get(table->rows, i);
		const json_t *value = json_object_get(row, column->key);
		char *cell;

		if (field_present(row, "problem"))
			continue;
		cell = make_cell(column, row, true);
		found = strcmp(cell, "-") != 0 &&
			!(json_is_number(value) && json_number_value(value) == 0);
		free(cell);
	}
	return found;
}

static bool shown_by_default(const struct table *table, const struct column *column)
{
	if (table->several && (column->flags & COLUMN_SEVERAL))
		return true;
	if (column->flags & COLUMN_SPARSE)
		return has_content(table, column);
	return column->flags & COLUMN_SHOWN;
}

static void choose_columns(const struct context *context, const struct table *table,
			   struct layout *layout)
{
	const char *at = context->set.columns;

	if (!at) {
		for (const struct column *column = table->columns; column->name; column++)
			if (shown_by_default(table, column))
				layout->columns[layout->count++] = column;
		return;
	}
	while (*at && layout->count < MAX_COLUMNS) {
		size_t length = strcspn(at, ",");

		layout->columns[layout->count++] = find_column(table->columns, at, length);
		at += length + (at[length] == ',');
	}
}

static bool right_aligned(const struct column *column)
{
	return column->kind == CELL_COUNT || column->kind == CELL_BYTES || column->kind == CELL_MS;
}

static void fill_row(const json_t *row, bool exact, struct layout *layout, char **cells)
{
	bool problem = field_present(row, "problem");

	for (size_t c = 0; c < layout->count; c++) {
		size_t width;

		cells[c] = NULL;
		if (problem && !(layout->columns[c]->flags & COLUMN_WHO))
			continue;
		cells[c] = make_cell(layout->columns[c], row, exact);
		width = text_width(cells[c]);
		if (width > layout->widths[c])
			layout->widths[c] = width;
	}
}

static size_t layout_width(const struct layout *layout, size_t gap)
{
	size_t width = 0;

	for (size_t c = 0; c < layout->count; c++)
		if (!layout->left_out[c])
			width += layout->widths[c] + (width ? gap : 0);
	return width;
}

/* The last of a kind that is still there; false where there is none. */
static bool leave_one_out(struct layout *layout, enum column_flag kind)
{
	for (size_t c = layout->count; c-- > 0;) {
		if (layout->left_out[c] || !(layout->columns[c]->flags & kind))
			continue;
		layout->left_out[c] = true;
		return true;
	}
	return false;
}

/* Gives the last column what the others leave, if its words may go on below. */
static bool wrap_last(struct layout *layout)
{
	size_t last = layout->count - 1, others;

	if (!layout->count || !(layout->columns[last]->flags & COLUMN_WRAPPED))
		return false;
	others = layout_width(layout, layout->gap) - layout->widths[last];
	if (others + LEAST_WRAPPED > layout->limit)
		return false;
	layout->widths[last] = layout->limit - others;
	layout->wrapped = true;
	return true;
}

/*
 * Two spaces between columns look better; one still fits where two do not. Where that is not enough
 * the last column's words go on below, or whole columns go, and a line says which, unless the
 * operator chose them.
 */
static void fit_layout(const struct context *context, struct layout *layout)
{
	layout->gap = layout_width(layout, 2) > (layout->limit ? layout->limit : 80) ? 1 : 2;
	if (!layout->limit || context->set.columns)
		return;
	while (layout_width(layout, layout->gap) > layout->limit && !wrap_last(layout))
		if (!leave_one_out(layout, COLUMN_SPARE) && !leave_one_out(layout, COLUMN_USEFUL))
			return;
}

/* Bytes of the text that fit, whole characters. */
static size_t visible_length(const char *text, size_t limit)
{
	size_t length = strlen(text), width = 0, at = 0;

	while (length && text[length - 1] == ' ')
		length--;
	for (; limit && at < length; at++) {
		width += ((unsigned char)text[at] & 0xc0) != 0x80;
		if (width > limit)
			return at;
	}
	return length;
}

/* Cut where a terminal's line would wrap; the colour ends with its word or with the line. */
static void print_line(const struct layout *layout, struct line *line)
{
	size_t length = visible_length(line->text, layout->limit);
	size_t begin = line->begin < length ? line->begin : length;
	size_t end = line->end < length ? line->end : length;

	printf("%.*s%s%.*s%s%.*s\n", (int)begin, line->text,
	       style_begin(STDOUT_FILENO, line->style), (int)(end - begin), line->text + begin,
	       style_end(STDOUT_FILENO, line->style), (int)(length - end), line->text + end);
	free(line->text);
}

static void print_left_out(const struct layout *layout)
{
	char *names = NULL, *text;

	for (size_t c = 0; c < layout->count; c++)
		if (layout->left_out[c])
			append_text(&names, "%s%s", names ? ", " : "", layout->columns[c]->name);
	if (!names)
		return;
	text = format_text("(-o chooses; no room for %s)", names);
	fputs(style_begin(STDOUT_FILENO, STYLE_FAINT), stdout);
	print_filled("", text, layout->limit);
	fputs(style_end(STDOUT_FILENO, STYLE_FAINT), stdout);
	free(names);
	free(text);
}

static void add_cell(struct line *line, const struct layout *layout, size_t c, const char *text)
{
	size_t width = text_width(text), length, begin;
	int pad = layout->widths[c] > width ? (int)(layout->widths[c] - width) : 0;
	bool right = right_aligned(layout->columns[c]);

	if (layout->left_out[c])
		return;
	append_text(&line->text, "%*s%*s", *line->text ? (int)layout->gap : 0, "", right ? pad : 0,
		    "");
	begin = strlen(line->text);
	length = layout->wrapped && c + 1 == layout->count ? fitting_length(text, layout->widths[c])
							   : strlen(text);
	append_text(&line->text, "%.*s%*s", (int)length, text, right ? 0 : pad, "");
	if (!(layout->columns[c]->flags & COLUMN_STATE) || line->style != STYLE_PLAIN)
		return;
	line->style = style_of_state(text);
	line->begin = begin;
	line->end = begin + strlen(text);
}

/* What of the last column's words did not fit, below its first line. */
static void print_rest(const struct layout *layout, const char *text)
{
	size_t last = layout->count - 1;
	size_t indent = layout_width(layout, layout->gap) - layout->widths[last];

	for (text += fitting_length(text, layout->widths[last]); *text;
	     text += fitting_length(text, layout->widths[last])) {
		text += strspn(text, " ");
		printf("%*s%.*s\n", (int)indent, "",
		       (int)fitting_length(text, layout->widths[last]), text);
	}
}

/* What the leading cells of the row do not say of the process, the problem's text does. */
static char *problem_text(const struct layout *layout, const json_t *row, size_t cells)
{
	char *text = describe_value(json_object_get(row, "problem")), *whole = copy_text("");
	const char *command = field_text(row, "command");
	bool pid_shown = false, command_shown = !command || !*command;

	for (size_t c = 0; c < cells; c++) {
		if (layout->left_out[c])
			continue;
		pid_shown |= !strcmp(layout->columns[c]->key, "pid");
		command_shown |= !strcmp(layout->columns[c]->key, "command");
	}
	if (!pid_shown)
		append_text(&whole, "pid %llu, ", (unsigned long long)field_count(row, "pid"));
	if (!command_shown)
		append_text(&whole, "%s: ", command);
	append_text(&whole, "%s", text);
	free(text);
	return clean_text(whole);
}

static void print_row(const struct layout *layout, const json_t *row, char **cells)
{
	struct line line = {.text = copy_text("")};
	char *text;
	size_t c;

	for (c = 0; c < layout->count && cells[c]; c++)
		add_cell(&line, layout, c, cells[c]);
	if (field_present(row, "problem")) {
		text = problem_text(layout, row, c);
		append_text(&line.text, "%*s(%s)", *line.text ? (int)layout->gap : 0, "", text);
		free(text);
	}
	print_line(layout, &line);
	if (layout->wrapped && c == layout->count)
		print_rest(layout, cells[c - 1]);
}

static void print_heading(const struct layout *layout)
{
	struct line line = {.text = copy_text("")};

	for (size_t c = 0; c < layout->count; c++)
		add_cell(&line, layout, c, layout->columns[c]->name);
	line.begin = 0;
	line.end = strlen(line.text);
	line.style = STYLE_HEADING;
	print_line(layout, &line);
}

void print_table(const struct context *context, const struct table *table)
{
	size_t rows = json_array_size(table->rows);
	bool heading = !(context->set.given & OPT_NO_HEADING);
	struct layout layout = {.limit = (size_t)output_width(STDOUT_FILENO)};
	char **cells;

	choose_columns(context, table, &layout);
	for (size_t c = 0; heading && c < layout.count; c++)
		layout.widths[c] = strlen(layout.columns[c]->name);
	cells = grow(NULL, rows * layout.count * sizeof(*cells));
	for (size_t r = 0; r < rows; r++)
		fill_row(json_array_get(table->rows, r), exact_bytes(context), &layout,
			 cells + r * layout.count);
	fit_layout(context, &layout);
	if (heading)
		print_heading(&layout);
	for (size_t r = 0; r < rows; r++)
		print_row(&layout, json_array_get(table->rows, r), cells + r * layout.count);
	if (heading)
		print_left_out(&layout);
	for (size_t i = 0; i < rows * layout.count; i++)
		free(cells[i]);
	free(cells);
}

/* Stands for a process that has no figures. */
json_t *problem_row(const struct session *session)
{
	json_t *row = json_object();
	char *text = problem_words(session->code, session->reply);

	json_object_set_new(row, "pid", json_integer(session->process->pid));
	json_object_set_new(row, "command", json_string(session->process->command));
	json_object_set_new(row, "problem", json_string(text));
	free(text);
	return row;
}

/*
 * The rows of all processes' replies, each with its process; the replies themselves stay as they
 * are. With no array name a reply is one row.
 */
json_t *collect_rows(const struct targets *targets, const char *array,
		     bool (*wanted)(const json_t *row))
{
	json_t *rows = json_array();

	for (size_t i = 0; i < targets->processes.count; i++) {
		const struct session *session = &targets->sessions[i];
		const json_t *items = array ? field_array(session->reply, array) : NULL;

		if (session->code != EXIT_DONE) {
			json_array_append_new(rows, problem_row(session));
			continue;
		}
		if (!array)
			json_array_append_new(rows, tag_reply(session));
		for (size_t k = 0; k < json_array_size(items); k++) {
			json_t *row = json_copy(json_array_get(items, k));

			json_object_set_new(row, "pid", json_integer(session->process->pid));
			json_object_set_new(row, "command", json_string(session->process->command));
			if (!wanted || wanted(row))
				json_array_append_new(rows, row);
			else
				json_decref(row);
		}
	}
	return rows;
}
