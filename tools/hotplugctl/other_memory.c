/*
 * What else of a process lies on a node: see other_memory.h. /proc/PID/numa_maps has a line a
 * mapping, "ADDRESS POLICY file=/lib/x.so ... N1=20 ... kernelpagesize_kB=4", or "heap" or "stack"
 * in the place of the file. The library's own ranges have none of these names; the process has told
 * the sum of what is not its own, and what these names do not account for are mappings without one,
 * such as the stacks of threads.
 */
#include "other_memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util.h"

enum kind { IMAGES, FILES, HEAP, STACK, REST, NR_KINDS };

static const char *const kind_names[NR_KINDS] = {
	[IMAGES] = "program and libraries",
	[FILES] = "files",
	[HEAP] = "heap (brk)",
	[STACK] = "stack",
	[REST] = "mappings",
};

/* One that is loaded, by its name: a library, or the program itself. */
static bool is_image(const char *file, const char *program)
{
	const char *base = strrchr(file, '/');

	base = base ? base + 1 : file;
	return strstr(base, ".so") || !strcmp(file, program);
}

static enum kind kind_of_word(const char *word, const char *program)
{
	if (!strncmp(word, "file=", 5))
		return is_image(word + 5, program) ? IMAGES : FILES;
	return !strcmp(word, "heap") ? HEAP : !strcmp(word, "stack") ? STACK : REST;
}

static void add_line(char *line, unsigned int node, const char *program, uint64_t *bytes)
{
	unsigned long long pages = 0, count, page_kb = 4;
	enum kind kind = REST;
	unsigned int number;
	char *rest = NULL;

	for (char *word = strtok_r(line, " \n", &rest); word; word = strtok_r(NULL, " \n", &rest)) {
		if (kind == REST)
			kind = kind_of_word(word, program);
		if (sscanf(word, "N%u=%llu", &number, &count) == 2 && number == node)
			pages = count;
		sscanf(word, "kernelpagesize_kB=%llu", &page_kb);
	}
	if (kind != REST)
		bytes[kind] += pages * page_kb * 1024;
}

static char *program_file(pid_t pid)
{
	char *path = format_text("/proc/%d/exe", (int)pid), *file = realpath(path, NULL);

	free(path);
	return file ? file : copy_text("");
}

static bool read_maps(pid_t pid, unsigned int node, uint64_t *bytes)
{
	char *path = format_text("/proc/%d/numa_maps", (int)pid), *program, *line = NULL;
	FILE *maps = fopen(path, "re");
	size_t size = 0;

	free(path);
	if (!maps)
		return false;
	program = program_file(pid);
	while (getline(&line, &size, maps) > 0)
		add_line(line, node, program, bytes);
	free(program);
	free(line);
	fclose(maps);
	return true;
}

char *name_other_memory(pid_t pid, unsigned int node, uint64_t total, bool exact)
{
	uint64_t bytes[NR_KINDS] = {0}, named = 0;
	char *text = NULL;

	if (pid <= 0 || !read_maps(pid, node, bytes))
		return NULL;
	for (enum kind kind = IMAGES; kind < REST; kind++)
		named += bytes[kind];
	bytes[REST] = total > named ? total - named : 0;
	for (enum kind kind = IMAGES; kind < NR_KINDS; kind++) {
		char *amount;

		if (!bytes[kind])
			continue;
		amount = format_bytes(bytes[kind], exact);
		append_text(&text, "%s%s %s", text ? ", " : "", amount, kind_names[kind]);
		free(amount);
	}
	return text;
}
