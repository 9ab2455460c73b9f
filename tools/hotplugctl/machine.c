/*
 * The machine's memory as the kernel has it: see machine.h. Everything is read below /sys, or below
 * the directory that SLABNODE_SYSFS names, for tests and for simulated machines.
 *
 * A block that lies on several nodes, as some of boot memory do, is a block of each of them.
 */
#include "machine.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *sysfs_root(void)
{
	const char *named = getenv("SLABNODE_SYSFS");

	return named && *named ? named : "/sys";
}

bool sysfs_is_another(void)
{
	return strcmp(sysfs_root(), "/sys") != 0;
}

char *block_path(unsigned int block, const char *file)
{
	return format_text("%s/devices/system/memory/memory%u/%s", sysfs_root(), block, file);
}

/* The first word of a block's file; "" where it cannot be read. */
char *read_block_file(unsigned int block, const char *file)
{
	char *path = block_path(block, file), text[256];

	read_small_file(path, text, sizeof(text));
	free(path);
	text[strcspn(text, " \n")] = '\0';
	return copy_text(text);
}

static enum block_state read_state(unsigned int block)
{
	static const char *const names[] = {
		[BLOCK_OFFLINE] = "offline",
		[BLOCK_GOING_OFFLINE] = "going-offline",
		[BLOCK_ONLINE] = "online",
	};
	char *text = read_block_file(block, "state");
	enum block_state state = BLOCK_OTHER;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(text, names[i]))
			state = (enum block_state)i;
	free(text);
	return state;
}

/* The number in "node12" or "memory7"; false for other names. */
static bool numbered(const char *name, const char *prefix, unsigned int *number)
{
	char *end;
	unsigned long value;

	if (strncmp(name, prefix, strlen(prefix)))
		return false;
	name += strlen(prefix);
	value = strtoul(name, &end, 10);
	if (end == name || *end || *name == '-' || value > INT32_MAX)
		return false;
	*number = (unsigned int)value;
	return true;
}

static void read_node(struct machine *machine, unsigned int node)
{
	char *path = format_text("%s/devices/system/node/node%u", sysfs_root(), node);
	DIR *directory = opendir(path);
	struct dirent *entry;
	unsigned int number;

	free(path);
	while (directory && (entry = readdir(directory))) {
		if (!numbered(entry->d_name, "memory", &number))
			continue;
		machine->blocks =
			grow(machine->blocks, (machine->count + 1) * sizeof(*machine->blocks));
		machine->blocks[machine->count++] = (struct memory_block){
			.number = number, .node = node, .state = read_state(number)};
	}
	if (directory)
		closedir(directory);
}

static int by_number(const void *left, const void *right)
{
	unsigned int a = *(const unsigned int *)left, b = *(const unsigned int *)right;

	return (a > b) - (a < b);
}

static int by_place(const void *left, const void *right)
{
	const struct memory_block *a = left, *b = right;

	return a->node != b->node ? by_number(&a->node, &b->node)
				  : by_number(&a->number, &b->number);
}

static void read_nodes(struct machine *machine)
{
	char *path = format_text("%s/devices/system/node", sysfs_root());
	DIR *directory = opendir(path);
	struct dirent *entry;
	unsigned int number;
	struct node_list *nodes = &machine->nodes;

	free(path);
	while (directory && (entry = readdir(directory))) {
		if (!numbered(entry->d_name, "node", &number))
			continue;
		nodes->nodes = grow(nodes->nodes, (nodes->count + 1) * sizeof(*nodes->nodes));
		nodes->nodes[nodes->count++] = number;
	}
	if (directory)
		closedir(directory);
	if (nodes->count)
		qsort(nodes->nodes, nodes->count, sizeof(*nodes->nodes), by_number);
}

static uint64_t read_block_bytes(void)
{
	char *path = format_text("%s/devices/system/memory/block_size_bytes", sysfs_root()),
	     text[64];

	read_small_file(path, text, sizeof(text));
	free(path);
	return strtoull(text, NULL, 16);
}

/* False where the kernel has no memory blocks: nothing can be taken offline there. */
bool read_machine(struct machine *machine)
{
	*machine = (struct machine){.block_bytes = read_block_bytes()};
	read_nodes(machine);
	for (size_t i = 0; i < machine->nodes.count; i++)
		read_node(machine, machine->nodes.nodes[i]);
	if (machine->count)
		qsort(machine->blocks, machine->count, sizeof(*machine->blocks), by_place);
	return machine->count > 0;
}

void free_machine(struct machine *machine)
{
	free(machine->nodes.nodes);
	free(machine->blocks);
	*machine = (struct machine){0};
}

struct node_memory memory_of(const struct machine *machine, unsigned int node)
{
	struct node_memory memory = {0};

	for (size_t i = 0; i < machine->count; i++) {
		const struct memory_block *block = &machine->blocks[i];

		if (block->node != node)
			continue;
		memory.blocks++;
		memory.online += block->state == BLOCK_ONLINE;
		memory.going += block->state == BLOCK_GOING_OFFLINE;
	}
	return memory;
}
