/*
 * fatal.c - the end of a program whose heap is corrupted: one line, then SIGABRT.
 *
 * The program's handler of that signal may allocate: see sn_thread_ends().  When it misuses the
 * heap once more, the program ends at once; its line has been said.
 */
#include "sites.h"
#include "tell.h"
#include "thread.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int (*sn_fatal_descriptor)(void);

struct line {
	char text[SN_TELL_MAX];
	size_t used;
};

/* The last place is for its end. */
static void put_char(struct line *line, char c)
{
	if (line->used < sizeof(line->text) - 1)
		line->text[line->used++] = c;
}

static void put(struct line *line, const char *text)
{
	while (*text != '\0')
		put_char(line, *text++);
}

static void put_number(struct line *line, uintptr_t value, unsigned int base)
{
	char digits[24];
	size_t i = sizeof(digits) - 1;

	digits[i] = '\0';
	do {
		digits[--i] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value != 0);
	put(line, digits + i);
}

static void put_hex(struct line *line, const void *ptr)
{
	put(line, "0x");
	put_number(line, (uintptr_t)ptr, 16);
}

/* Frames of a site that are told: wrappers of malloc are often the first. */
#define FRAMES 4u

static void put_frame(struct line *line, const void *frame)
{
	struct sn_place place;

	if (sn_place_hook != NULL && sn_place_hook(frame, &place)) {
		put(line, place.file);
		put(line, "+0x");
		put_number(line, place.offset, 16);
	} else {
		put_hex(line, frame);
	}
}

static void put_site(struct line *line, const void *object)
{
	void *const *frame;
	unsigned int n = object == NULL ? 0 : sn_sites_at(object, &frame);

	for (unsigned int i = 0; i < sn_min(n, FRAMES); i++) {
		put(line, i == 0 ? ", allocated by " : " < ");
		put_frame(line, frame[i]);
	}
}

static void say(struct line *line)
{
	/* Unheard, too, it is SIGABRT that ends the program. */
	sn_tell(sn_fatal_descriptor == NULL ? STDERR_FILENO : sn_fatal_descriptor(), line->text,
		line->used + 1);
}

static _Noreturn void end_line(struct line *line, const void *ptr, const void *object)
{
	if (sn_thread_ends()) {
		if (ptr != NULL) {
			put(line, ": ");
			put_hex(line, ptr);
		}
		put_site(line, object);
		say(line);
	} else {
		signal(SIGABRT, SIG_DFL);
	}
	abort();
}

SN_COLD void sn_fatal(const char *what, const void *ptr)
{
	struct line line = {.used = 0};

	put(&line, "slabnode: ");
	put(&line, what);
	end_line(&line, ptr, ptr);
}

SN_COLD void sn_fatal_call(const char *call, const char *what, const void *ptr, const void *object)
{
	struct line line = {.used = 0};

	put(&line, "slabnode: ");
	put(&line, call);
	put(&line, " ");
	put(&line, what);
	end_line(&line, ptr, object);
}

SN_COLD void sn_fatal_mismatch(const char *call, const char *what, size_t given, size_t have,
			       const void *ptr)
{
	struct line line = {.used = 0};

	put(&line, "slabnode: ");
	put(&line, call);
	put(&line, " with ");
	put(&line, what);
	put(&line, " ");
	put_number(&line, given, 10);
	put(&line, ", the object has ");
	put_number(&line, have, 10);
	end_line(&line, ptr, ptr);
}
