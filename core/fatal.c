/*
 * fatal.c - the end of a program whose heap is corrupted: one line, then SIGABRT.
 *
 * The program's handler of that signal may allocate: see sn_thread_ends().  When it misuses the
 * heap once more, the program ends at once; its line has been said.
 */
#include "thread.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int (*sn_fatal_descriptor)(void);

static size_t put(char *line, size_t used, size_t size, const char *text)
{
	while (*text != '\0' && used < size)
		line[used++] = *text++;
	return used;
}

static size_t put_hex(char *line, size_t used, size_t size, uintptr_t value)
{
	char digits[2 * sizeof(value) + 1];
	size_t i = sizeof(digits) - 1;

	digits[i] = '\0';
	do {
		digits[--i] = "0123456789abcdef"[value & 15];
		value >>= 4;
	} while (value != 0);
	used = put(line, used, size, "0x");
	return put(line, used, size, digits + i);
}

static size_t put_number(char *line, size_t used, size_t size, size_t value)
{
	char digits[24];
	size_t i = sizeof(digits) - 1;

	digits[i] = '\0';
	do {
		digits[--i] = (char)('0' + value % 10);
		value /= 10;
	} while (value != 0);
	return put(line, used, size, digits + i);
}

/* Room in a line for all but its end. */
#define ROOM (size_t)255

static void say(char *line, size_t used, const void *ptr)
{
	if (ptr != NULL) {
		used = put(line, used, ROOM, ": ");
		used = put_hex(line, used, ROOM, (uintptr_t)ptr);
	}
	line[used++] = '\n';
	if (write(sn_fatal_descriptor == NULL ? STDERR_FILENO : sn_fatal_descriptor(), line, used) <
	    0)
		line[0] = '\0'; /* nothing else can be done */
}

static _Noreturn void end_line(char *line, size_t used, const void *ptr)
{
	if (sn_thread_ends())
		say(line, used, ptr);
	else
		signal(SIGABRT, SIG_DFL);
	abort();
}

SN_COLD void sn_fatal(const char *what, const void *ptr)
{
	char line[ROOM + 1];
	size_t used = put(line, 0, ROOM, "slabnode: ");

	used = put(line, used, ROOM, what);
	end_line(line, used, ptr);
}

SN_COLD void sn_fatal_call(const char *call, const char *what, const void *ptr)
{
	char line[ROOM + 1];
	size_t used = put(line, 0, ROOM, "slabnode: ");

	used = put(line, used, ROOM, call);
	used = put(line, used, ROOM, " ");
	used = put(line, used, ROOM, what);
	end_line(line, used, ptr);
}

SN_COLD void sn_fatal_mismatch(const char *call, const char *what, size_t given, size_t have,
			       const void *ptr)
{
	char line[ROOM + 1];
	size_t used = put(line, 0, ROOM, "slabnode: ");

	used = put(line, used, ROOM, call);
	used = put(line, used, ROOM, " with ");
	used = put(line, used, ROOM, what);
	used = put(line, used, ROOM, " ");
	used = put_number(line, used, ROOM, given);
	used = put(line, used, ROOM, ", the object has ");
	used = put_number(line, used, ROOM, have);
	end_line(line, used, ptr);
}
