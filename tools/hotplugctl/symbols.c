/*
 * Names for addresses: see symbols.h.
 *
 * With libdw by the process's own files and what debug information is installed for them; without
 * it by /proc/PID/maps alone, which gives file and offset, as addr2line(1) wants them.
 */
#include "symbols.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef HAVE_LIBDW
#include <elfutils/libdwfl.h>
#endif

#include "util.h"

struct mapping {
	uint64_t begin, end, offset;
	char *name;
};

struct symbols {
	struct mapping *mappings;
	size_t count;
#ifdef HAVE_LIBDW
	Dwfl *dwfl; /* NULL: libdw cannot read the process */
#endif
};

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* --- /proc/PID/maps --- */

static void read_mappings(struct symbols *symbols, pid_t pid)
{
	char *path = format_text("/proc/%d/maps", (int)pid), *line = NULL;
	FILE *file = fopen(path, "re");
	size_t size = 0;

	free(path);
	while (file && getline(&line, &size, file) > 0) {
		struct mapping map;
		int name = 0;

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64 " %*s %*s %n", &map.begin,
			   &map.end, &map.offset, &name) < 3 ||
		    !name || line[name] != '/')
			continue;
		line[strcspn(line, "\n")] = '\0';
		map.name = copy_text(line + name);
		symbols->mappings = grow(symbols->mappings, (symbols->count + 1) * sizeof(map));
		symbols->mappings[symbols->count++] = map;
	}
	free(line);
	if (file)
		fclose(file);
}

/* "MODULE+0xOFFSET", or NULL. */
static char *describe_place(const struct symbols *symbols, uint64_t address)
{
	for (size_t i = 0; i < symbols->count; i++) {
		const struct mapping *map = &symbols->mappings[i];

		if (address >= map->begin && address < map->end)
			return format_text("%s+0x%" PRIx64, base_name(map->name),
					   address - map->begin + map->offset);
	}
	return NULL;
}

/* --- libdw --- */

#ifdef HAVE_LIBDW
static char *debuginfo_path;
static const Dwfl_Callbacks callbacks = {
	.find_elf = dwfl_linux_proc_find_elf,
	.find_debuginfo = dwfl_standard_find_debuginfo,
	.debuginfo_path = &debuginfo_path,
};

static void open_dwfl(struct symbols *symbols, pid_t pid)
{
	/* An answer of this tool must not wait for a server on the network. */
	unsetenv("DEBUGINFOD_URLS");
	symbols->dwfl = dwfl_begin(&callbacks);
	if (!symbols->dwfl)
		return;
	if (dwfl_linux_proc_report(symbols->dwfl, pid) == 0 &&
	    dwfl_report_end(symbols->dwfl, NULL, NULL) == 0)
		return;
	dwfl_end(symbols->dwfl);
	symbols->dwfl = NULL;
}

static void close_dwfl(struct symbols *symbols)
{
	if (symbols->dwfl)
		dwfl_end(symbols->dwfl);
}

static char *describe_line(Dwfl_Module *module, uint64_t address)
{
	Dwfl_Line *line = dwfl_module_getsrc(module, address);
	const char *file;
	int number;

	file = line ? dwfl_lineinfo(line, NULL, &number, NULL, NULL, NULL) : NULL;
	return file ? format_text("%s:%d", base_name(file), number) : NULL;
}

/* The function's name, and its line in *where when it is known; NULL: no name. */
static char *find_function(const struct symbols *symbols, uint64_t address, char **where)
{
	Dwfl_Module *module = symbols->dwfl ? dwfl_addrmodule(symbols->dwfl, address) : NULL;
	const char *name = module ? dwfl_module_addrname(module, address) : NULL;

	if (!name)
		return NULL;
	*where = describe_line(module, address);
	return copy_text(name);
}
#else
static void open_dwfl(struct symbols *symbols, pid_t pid)
{
	(void)symbols, (void)pid;
}

static void close_dwfl(struct symbols *symbols)
{
	(void)symbols;
}

static char *find_function(const struct symbols *symbols, uint64_t address, char **where)
{
	(void)symbols, (void)address, (void)where;
	return NULL;
}
#endif

/* --- both --- */

struct symbols *open_symbols(pid_t pid)
{
	struct symbols *symbols = grow(NULL, sizeof(*symbols));

	memset(symbols, 0, sizeof(*symbols));
	if (pid > 0) {
		read_mappings(symbols, pid);
		open_dwfl(symbols, pid);
	}
	return symbols;
}

char *describe_return(struct symbols *symbols, uint64_t address)
{
	/* What follows a call may belong to the next line, or the next function. */
	uint64_t call = address > 0 ? address - 1 : 0;
	char *where = NULL, *function = find_function(symbols, call, &where), *text;

	if (!where)
		where = describe_place(symbols, call);
	if (function && where)
		text = format_text("%s (%s)", function, where);
	else if (function || where)
		text = copy_text(function ? function : where);
	else
		text = format_text("0x%" PRIx64, address);
	free(function);
	free(where);
	return clean_text(text);
}

void close_symbols(struct symbols *symbols)
{
	close_dwfl(symbols);
	for (size_t i = 0; i < symbols->count; i++)
		free(symbols->mappings[i].name);
	free(symbols->mappings);
	free(symbols);
}
