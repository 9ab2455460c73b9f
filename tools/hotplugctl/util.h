/*
 * Small helpers of hotplugctl that know nothing of processes, sockets or commands: memory that
 * cannot fail, messages, text made safe for a terminal, sizes and lists of nodes.
 */
#ifndef HOTPLUGCTL_UTIL_H
#define HOTPLUGCTL_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Every request of one command names at most this many nodes. */
#define MAX_NAMED_NODES 4096

struct node_list {
	unsigned int *nodes;
	size_t count;
};

void *grow(void *memory, size_t bytes);
char *copy_text(const char *text);
char *format_text(const char *format, ...) __attribute__((format(printf, 1, 2)));
void append_text(char **text, const char *format, ...) __attribute__((format(printf, 2, 3)));
char *clean_text(char *text);

void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

uint64_t now_ms(void);
char *format_bytes(uint64_t bytes, bool exact);
char *format_ms(double ms);
bool parse_number(const char *text, double *number);
bool parse_nodes(const char *text, struct node_list *list);
char *join_nodes(const struct node_list *list, const char *separator);
bool list_has(const struct node_list *list, unsigned int node);
bool list_add(struct node_list *list, unsigned int node);
void list_remove(struct node_list *list, unsigned int node);
int output_width(int descriptor);
size_t text_width(const char *text);
size_t fitting_length(const char *text, size_t width);
void print_filled(const char *label, const char *text, size_t width);
bool read_small_file(const char *path, char *buffer, size_t size);

#endif
