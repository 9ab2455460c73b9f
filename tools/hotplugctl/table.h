/*
 * Tables in the manner of lsmem: columns chosen with -o, heading off with -n, bytes with -b.
 */
#ifndef HOTPLUGCTL_TABLE_H
#define HOTPLUGCTL_TABLE_H

#include <jansson.h>
#include <stdbool.h>

#include "hotplugctl.h"
#include "target.h"

enum cell_kind { CELL_TEXT, CELL_COUNT, CELL_BYTES, CELL_NODES, CELL_MS };

enum column_flag {
	COLUMN_SHOWN = 1 << 0,	 /* by default */
	COLUMN_SPARSE = 1 << 1,	 /* by default where any row has something other than 0 in it */
	COLUMN_SEVERAL = 1 << 2, /* by default where there are several processes */
	COLUMN_WHO = 1 << 3,	 /* names the process: kept for rows that are only a problem */
	COLUMN_STATE = 1 << 4,	 /* of a node or a request: coloured by what it says */
	COLUMN_SPARE = 1 << 5,	 /* left out first where the terminal is too narrow */
	COLUMN_USEFUL = 1 << 6,	 /* left out next */
	COLUMN_WRAPPED =
		1 << 7, /* words of the last column: go on below where a line is too short */
};

/* A table of columns ends with one without a name. */
struct column {
	const char *name;
	const char *key;
	enum cell_kind kind;
	unsigned int flags;
	char *(*cell)(const json_t *row, bool exact); /* instead of key and kind */
};

/* The tables of the commands, so that -o can be checked before anything is asked. */
extern const struct column list_columns[];
extern const struct column status_columns[];
extern const struct column slabinfo_columns[];
extern const struct column options_columns[];
extern const struct column why_columns[];
extern const struct column plan_columns[];
extern const struct column topology_columns[];

struct table {
	const struct column *columns;
	json_t *rows;
	bool several; /* processes: show the columns that name them */
};

bool check_columns(const struct column *columns, const char *chosen);
void print_table(const struct context *context, const struct table *table);
json_t *problem_row(const struct session *session);
json_t *collect_rows(const struct targets *targets, const char *array,
		     bool (*wanted)(const json_t *row));
bool cache_used(const json_t *row);
char *compress_list(const json_t *list);

#endif
