/*
 * fatal.c - the end of a program whose heap is corrupted: one line, then SIGABRT.
 */
#include "base.h"

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

SN_COLD void sn_fatal(const char *what, const void *ptr)
{
	char line[256];
	size_t used = put(line, 0, sizeof(line) - 1, "slabnode: ");

	used = put(line, used, sizeof(line) - 1, what);
	if (ptr != NULL) {
		used = put(line, used, sizeof(line) - 1, ": ");
		used = put_hex(line, used, sizeof(line) - 1, (uintptr_t)ptr);
	}
	line[used++] = '\n';
	if (write(sn_fatal_descriptor == NULL ? STDERR_FILENO : sn_fatal_descriptor(), line, used) <
	    0)
		line[0] = '\0'; /* nothing else can be done */
	abort();
}
