/*
 * The nodes as a picture. hwloc's lstopo draws it: from the replies an hwloc topology is written as
 * XML, in which each node has boxes with its state and bytes, and lstopo is started on it. So the
 * picture looks as pictures of machines do, in each format that lstopo knows.
 *
 * The XML goes through a file in memory, which nothing can leave behind.
 */
#include "picture.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "json.h"
#include "table.h"
#include "util.h"

extern char **environ;

static const char *const formats[] = {"svg", "png", "pdf", "ps", "fig", "txt"};

#define NR_FORMATS (sizeof(formats) / sizeof(formats[0]))

/* "-" is standard output, in SVG. NULL: no format that is known here. */
static const char *format_of(const char *file)
{
	const char *ending = strrchr(file, '.');

	if (!strcmp(file, "-"))
		return formats[0];
	for (size_t i = 0; ending && i < NR_FORMATS; i++)
		if (!strcasecmp(ending + 1, formats[i]))
			return formats[i];
	return NULL;
}

/* To be called before anything is asked. */
bool check_picture(const char *file)
{
	if (format_of(file))
		return true;
	complain("--draw takes a file that ends in .svg, .png, .pdf, .ps, .fig or .txt, or '-' for "
		 "SVG on standard output, not '%s'",
		 file);
	return false;
}

struct drawing {
	FILE *xml;
	unsigned int objects; /* each has a number of its own */
};

/* hwloc's form of a set: words of 32 bits, the highest first. */
static char *set_text(const struct node_list *set)
{
	size_t words = 1;
	char *text = NULL;

	for (size_t i = 0; i < set->count; i++)
		if (set->nodes[i] / 32 + 1 > words)
			words = set->nodes[i] / 32 + 1;
	while (words-- > 0) {
		uint32_t word = 0;

		for (size_t i = 0; i < set->count; i++)
			if (set->nodes[i] / 32 == words)
				word |= UINT32_C(1) << set->nodes[i] % 32;
		append_text(&text, "%s0x%08x", text ? "," : "", word);
	}
	return text;
}

/* Leaves the element open for attributes. */
static void begin_object(struct drawing *drawing, const char *type, const struct node_list *cpus,
			 const struct node_list *nodes)
{
	char *cpu_set = set_text(cpus), *node_set = set_text(nodes);

	fprintf(drawing->xml,
		"<object type=\"%s\" gp_index=\"%u\" cpuset=\"%s\" complete_cpuset=\"%s\""
		" nodeset=\"%s\" complete_nodeset=\"%s\"",
		type, ++drawing->objects, cpu_set, cpu_set, node_set, node_set);
	free(cpu_set);
	free(node_set);
}

static void add_style(struct drawing *drawing, const char *colour)
{
	fprintf(drawing->xml, "<info name=\"lstopoStyle\" value=\"Background=%s\"/>", colour);
}

/* Takes the text over; it is ours and has nothing in it that XML would have to quote. */
static void add_box(struct drawing *drawing, const char *colour, char *text)
{
	fprintf(drawing->xml, "<object type=\"Misc\" gp_index=\"%u\" name=\"%s\">",
		++drawing->objects, text);
	add_style(drawing, colour);
	fputs("</object>\n", drawing->xml);
	free(text);
}

static const char *state_colour(const json_t *node)
{
	const char *state = field_text(node, "state");

	if (field_flag(node, "cordoned") || (state && !strncmp(state, "going-", 6)))
		return "#ffe9a0";
	return state && !strcmp(state, "online") ? "#c8eec8" : "#f4b8b0";
}

static const char *state_word(const json_t *node)
{
	static const char *const known[] = {"online", "going-online", "going-offline", "offline"};
	const char *state = field_text(node, "state");

	for (size_t i = 0; state && i < sizeof(known) / sizeof(known[0]); i++)
		if (!strcmp(state, known[i]))
			return known[i];
	return "unknown";
}

static void add_bytes(struct drawing *drawing, const json_t *object, const char *key,
		      const char *word, const char *colour)
{
	char *bytes = format_bytes(field_count(object, key), false);

	add_box(drawing, colour, format_text("%s %s", word, bytes));
	free(bytes);
}

static void add_boxes(struct drawing *drawing, const json_t *place, const json_t *node)
{
	char *fallback = compress_list(field_array(place, "fallback"));

	add_box(drawing, state_colour(node),
		format_text("%s%s", state_word(node),
			    field_flag(node, "cordoned") ? ", cordoned" : ""));
	add_bytes(drawing, node, "live_bytes", "live", "#ffffff");
	add_bytes(drawing, node, "cached_bytes", "cached", "#ffffff");
	if (field_count(node, "elsewhere_bytes"))
		add_bytes(drawing, node, "elsewhere_bytes", "elsewhere", "#ffffff");
	if (field_present(place, "free_bytes"))
		add_bytes(drawing, place, "free_bytes", "free", "#ffffff");
	add_box(drawing, "#ffffff", format_text("falls back to %s", fallback));
	free(fallback);
}

static const json_t *node_status(const json_t *status, uint64_t number)
{
	const json_t *nodes = field_array(status, "nodes");

	for (size_t i = 0; i < json_array_size(nodes); i++)
		if (field_count(json_array_get(nodes, i), "node") == number)
			return json_array_get(nodes, i);
	return NULL;
}

static void add_memory(struct drawing *drawing, const json_t *place, const json_t *status,
		       const struct node_list *cpus, const struct node_list *self)
{
	const json_t *node = node_status(status, self->nodes[0]);

	begin_object(drawing, "NUMANode", cpus, self);
	fprintf(drawing->xml, " os_index=\"%u\"", self->nodes[0]);
	if (field_present(place, "size_bytes"))
		fprintf(drawing->xml, " local_memory=\"%llu\"",
			(unsigned long long)field_count(place, "size_bytes"));
	fputc('>', drawing->xml);
	add_style(drawing, state_colour(node));
	add_boxes(drawing, place, node);
	fputs("</object>\n", drawing->xml);
}

static void add_cpu(struct drawing *drawing, unsigned int cpu, const struct node_list *self)
{
	struct node_list one = {.nodes = &cpu, .count = 1};

	begin_object(drawing, "PU", &one, self);
	fprintf(drawing->xml, " os_index=\"%u\"/>\n", cpu);
}

static void read_cpus(const json_t *place, struct node_list *cpus)
{
	const char *text = field_text(place, "cpus");

	if (text && *text)
		parse_nodes(text, cpus);
}

/* A node with CPUs is a group of its own; one without stands beside the groups. */
static void add_node(struct drawing *drawing, const json_t *place, const json_t *status)
{
	unsigned int number = (unsigned int)field_count(place, "node");
	struct node_list self = {.nodes = &number, .count = 1}, cpus = {0};

	read_cpus(place, &cpus);
	if (cpus.count) {
		begin_object(drawing, "Group", &cpus, &self);
		fprintf(drawing->xml,
			" name=\"node %u\" kind=\"0\" subkind=\"0\" dont_merge=\"1\">\n", number);
	}
	add_memory(drawing, place, status, &cpus, &self);
	for (size_t i = 0; i < cpus.count; i++)
		add_cpu(drawing, cpus.nodes[i], &self);
	if (cpus.count)
		fputs("</object>\n", drawing->xml);
	free(cpus.nodes);
}

static void write_xml(FILE *xml, const json_t *topology, const json_t *status)
{
	const json_t *places = field_array(topology, "nodes");
	struct node_list cpus = {0}, nodes = {0};
	struct drawing drawing = {.xml = xml};

	for (size_t i = 0; i < json_array_size(places); i++) {
		const json_t *place = json_array_get(places, i);
		char *number = format_text("%llu", (unsigned long long)field_count(place, "node"));

		parse_nodes(number, &nodes);
		read_cpus(place, &cpus);
		free(number);
	}
	fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
	      "<!DOCTYPE topology SYSTEM \"hwloc2.dtd\">\n"
	      "<topology version=\"2.0\">\n",
	      xml);
	begin_object(&drawing, "Machine", &cpus, &nodes);
	fputs(" os_index=\"0\">\n", xml);
	for (size_t i = 0; i < json_array_size(places); i++)
		add_node(&drawing, json_array_get(places, i), status);
	fputs("</object>\n</topology>\n", xml);
	free(cpus.nodes);
	free(nodes.nodes);
}

static char *legend(const struct process *process, const json_t *topology)
{
	const char *source = field_text(topology, "source");
	time_t now = time(NULL);
	struct tm local;
	char when[32] = "";

	if (localtime_r(&now, &local))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &local);
	return clean_text(format_text("process %d %s, %s topology (%s), %s", (int)process->pid,
				      process->command,
				      field_flag(topology, "simulated") ? "simulated" : "real",
				      source ? source : "unknown", when));
}

/* lstopo-no-graphics is the same without PNG, from a package that needs no graphics libraries. */
static int start_lstopo(pid_t *child, const char **arguments)
{
	static const char *const programs[] = {"lstopo", "lstopo-no-graphics"};
	int error = ENOENT;

	for (size_t i = 0; error == ENOENT && i < sizeof(programs) / sizeof(programs[0]); i++) {
		arguments[0] = programs[i];
		error = posix_spawnp(child, programs[i], NULL, NULL, (char **)arguments, environ);
	}
	return error;
}

static void complain_drawing(const char *file, int error, int status)
{
	bool png = !strcmp(format_of(file), "png");

	if (error == ENOENT)
		complain("--draw needs hwloc's lstopo: install the package hwloc, or hwloc-nox "
			 "(without PNG)");
	else if (error)
		complain("lstopo cannot be started: %s", strerror(error));
	else if (!WIFSIGNALED(status)) /* it said why itself; a closed pipe needs no words */
		complain("lstopo did not draw '%s'%s", file,
			 png ? "; the one of hwloc-nox knows no PNG" : "");
}

static bool run_lstopo(const char *file, int xml, const char *legend_line)
{
	const char *format = format_of(file);
	char *input = format_text("/dev/fd/%d", xml);
	const char *arguments[] = {
		NULL, /* its name */
		"--if",
		"xml",
		"-i",
		input,
		"--of",
		strcmp(format, "txt") ? format : "ascii",
		"-f",
		"-p",
		"--no-factorize",
		"--no-default-legend",
		"--append-legend",
		legend_line,
		"--append-legend",
		"green: online, yellow: changing or cordoned, red: offline",
		file,
		NULL,
	};
	int error, status = 0;
	pid_t child;

	fflush(stdout);
	error = start_lstopo(&child, arguments);
	while (!error && waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (error || status)
		complain_drawing(file, error, status);
	free(input);
	return !error && !status;
}

/* False after a complaint. */
bool draw_picture(const char *file, const struct process *process, const json_t *topology,
		  const json_t *status)
{
	int descriptor = memfd_create("topology.xml", 0);
	FILE *xml = descriptor < 0 ? NULL : fdopen(descriptor, "w+");
	char *line;
	bool drawn;

	if (!xml) {
		complain("no file for the topology: %s", strerror(errno));
		return false;
	}
	write_xml(xml, topology, status);
	if (fflush(xml)) {
		complain("the topology could not be written: %s", strerror(errno));
		fclose(xml);
		return false;
	}
	line = legend(process, topology);
	drawn = run_lstopo(file, descriptor, line);
	free(line);
	fclose(xml);
	return drawn;
}
