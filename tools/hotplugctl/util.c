/*
 * Small helpers of hotplugctl: see util.h. Running out of memory ends the program: it holds
 * nothing that another process would miss.
 */
#include "util.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "hotplugctl.h"

static _Noreturn void out_of_memory(void)
{
	fputs("hotplugctl: out of memory\n", stderr);
	exit(EXIT_NO_PROCESS);
}

void *grow(void *memory, size_t bytes)
{
	void *grown = realloc(memory, bytes ? bytes : 1);

	if (!grown)
		out_of_memory();
	return grown;
}

char *copy_text(const char *text)
{
	return format_text("%s", text);
}

char *format_text(const char *format, ...)
{
	va_list arguments;
	char *text;

	va_start(arguments, format);
	if (vasprintf(&text, format, arguments) < 0)
		out_of_memory();
	va_end(arguments);
	return text;
}

/* Appends to *text, which may be NULL. */
void append_text(char **text, const char *format, ...)
{
	va_list arguments;
	char *more, *joined;

	va_start(arguments, format);
	if (vasprintf(&more, format, arguments) < 0)
		out_of_memory();
	va_end(arguments);
	joined = format_text("%s%s", *text ? *text : "", more);
	free(more);
	free(*text);
	*text = joined;
}

/*
 * Process names and messages come from programs that may be hostile: nothing of them may steer
 * the operator's terminal. UTF-8 text stays as it is.
 */
char *clean_text(char *text)
{
	for (unsigned char *at = (unsigned char *)text; *at; at++) {
		/* The C1 controls, in UTF-8 the two bytes c2 80 to c2 9f. */
		if (*at == 0xc2 && at[1] >= 0x80 && at[1] <= 0x9f) {
			*at++ = '?';
			*at = '?';
		} else if (*at < 0x20 || *at == 0x7f) {
			*at = '?';
		}
	}
	return text;
}

/* Of a message; what is wrong stands at its end. */
#define LONGEST 1000
#define LAST	200

/* Where the character begins that `at` lies in. */
static size_t character_start(const char *text, size_t at)
{
	while (at > 0 && ((unsigned char)text[at] & 0xc0) == 0x80)
		at--;
	return at;
}

/* A word of the command line can be as long as one likes. */
static void shorten(char *text)
{
	size_t length = strlen(text), end, rest;

	if (length <= LONGEST)
		return;
	end = character_start(text, LONGEST - LAST - 3);
	rest = character_start(text, length - LAST);
	for (size_t i = 0; i < 3; i++)
		text[end++] = '.';
	memmove(text + end, text + rest, length - rest + 1);
}

void complain(const char *format, ...)
{
	va_list arguments;
	char *text;

	fflush(stdout);
	va_start(arguments, format);
	if (vasprintf(&text, format, arguments) >= 0) {
		shorten(text);
		fprintf(stderr, "hotplugctl: %s\n", clean_text(text));
		free(text);
	}
	va_end(arguments);
}

uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* 1024-based, short enough for a column: "0", "512B", "1.5M", "124M". */
char *format_bytes(uint64_t bytes, bool exact)
{
	static const char units[] = "BKMGTPE";
	double value = (double)bytes;
	size_t unit = 0;

	if (exact || !bytes)
		return format_text("%llu", (unsigned long long)bytes);
	while (value >= 1023.5 && unit < sizeof(units) - 2) {
		value /= 1024;
		unit++;
	}
	if (value < 99.95 && fabs(value - round(value)) >= 0.05)
		return format_text("%.1f%c", value, units[unit]);
	return format_text("%.0f%c", value, units[unit]);
}

/* As many digits as tell something: "0.006", "0.15", "12.7", "2850". */
char *format_ms(double ms)
{
	if (ms <= 0)
		return copy_text("0");
	return format_text("%.*f", ms < 0.1 ? 3 : ms < 1 ? 2 : ms < 100 ? 1 : 0, ms);
}

/* A plain decimal number that is not negative; no exponent, no sign, no "inf". */
bool parse_number(const char *text, double *number)
{
	char *end;

	if (!*text || strspn(text, "0123456789.") != strlen(text))
		return false;
	errno = 0;
	*number = strtod(text, &end);
	return !errno && !*end && end != text;
}

static bool parse_node(const char **at, unsigned int *node)
{
	unsigned long value;
	char *end;

	if (!isdigit((unsigned char)**at))
		return false;
	errno = 0;
	value = strtoul(*at, &end, 10);
	if (errno || value > INT32_MAX)
		return false;
	*node = (unsigned int)value;
	*at = end;
	return true;
}

bool list_has(const struct node_list *list, unsigned int node)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->nodes[i] == node)
			return true;
	return false;
}

void list_remove(struct node_list *list, unsigned int node)
{
	size_t kept = 0;

	for (size_t i = 0; i < list->count; i++)
		if (list->nodes[i] != node)
			list->nodes[kept++] = list->nodes[i];
	list->count = kept;
}

/* Once each; false where there are more than any request may name. */
bool list_add(struct node_list *list, unsigned int node)
{
	if (list_has(list, node))
		return true;
	if (list->count >= MAX_NAMED_NODES)
		return false;
	list->nodes = grow(list->nodes, (list->count + 1) * sizeof(*list->nodes));
	list->nodes[list->count++] = node;
	return true;
}

/* Adds "3", "1,3-4" to the list, each node once, in the order in which they are named. */
bool parse_nodes(const char *text, struct node_list *list)
{
	for (;;) {
		unsigned int first, last;

		if (!parse_node(&text, &first))
			return false;
		last = first;
		if (*text == '-') {
			text++;
			if (!parse_node(&text, &last) || last < first)
				return false;
		}
		if (last - first >= MAX_NAMED_NODES)
			return false;
		for (unsigned int node = first; node <= last; node++)
			if (!list_add(list, node))
				return false;
		if (!*text)
			return true;
		if (*text++ != ',')
			return false;
	}
}

char *join_nodes(const struct node_list *list, const char *separator)
{
	char *text = copy_text("");

	for (size_t i = 0; i < list->count; i++)
		append_text(&text, "%s%u", i ? separator : "", list->nodes[i]);
	return text;
}

/* Cells on a terminal: bytes that begin a character. */
size_t text_width(const char *text)
{
	size_t width = 0;

	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

/* Bytes of the text that make a line of so many cells: whole words, where the first one fits. */
size_t fitting_length(const char *text, size_t width)
{
	size_t at = 0, cells = 0, words = 0;

	for (; text[at]; at++) {
		if (((unsigned char)text[at] & 0xc0) == 0x80)
			continue;
		if (text[at] == ' ')
			words = at;
		if (++cells > width)
			return words ? words : at;
	}
	return at;
}

/* Whole words in lines of so many cells, the later ones indented as far as the label; 0: one line.
 */
void print_filled(const char *label, const char *text, size_t width)
{
	size_t indent = strlen(label);
	size_t room = width > 2 * indent ? width - indent : SIZE_MAX;
	size_t length = fitting_length(text, room);

	printf("%s%.*s\n", label, (int)length, text);
	while (*(text += length)) {
		text += strspn(text, " ");
		length = fitting_length(text, room);
		printf("%*s%.*s\n", (int)indent, "", (int)length, text);
	}
}

/* Columns of the terminal behind a descriptor; 0 where there is none and nothing is cut. */
int output_width(int descriptor)
{
	struct winsize size;

	if (!isatty(descriptor))
		return 0;
	if (!ioctl(descriptor, TIOCGWINSZ, &size) && size.ws_col)
		return size.ws_col;
	return 80;
}

/* Reads the beginning of a file of /proc; false where it cannot be read. */
bool read_small_file(const char *path, char *buffer, size_t size)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);
	size_t have = 0;
	ssize_t got = -1;

	buffer[0] = '\0';
	if (file < 0)
		return false;
	while (have < size - 1 && (got = read(file, buffer + have, size - 1 - have)) > 0)
		have += (size_t)got;
	close(file);
	buffer[have] = '\0';
	return got >= 0;
}
