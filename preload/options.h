/*
 * options.h - the environment variables of the library: one table, one parser.
 *
 * A bad value is reported once and the default is used: a program is never stopped by a typing
 * error.  In set-user-ID programs every option has its default.
 */
#ifndef SLABNODE_OPTIONS_H
#define SLABNODE_OPTIONS_H

#include "control.h"

enum sn_control_mode { SN_CONTROL_LAZY, SN_CONTROL_ON, SN_CONTROL_OFF };

struct sn_options {
	const char *topology;	   /* "auto", "synthetic:...", "xml:..." */
	const char *node_capacity; /* NULL: none */
	const char *offline;	   /* NULL: none */
	const char *rundir;	   /* NULL: the default */
	const char *placement;	   /* "preferred", "strict", "none" */
	const char *stats;	   /* NULL, "exit", "json:FILE" */
	int alien_off;
	int control, policy, fastpath_locked, hardened, verbose;
	int64_t reap_interval_ms;
	int64_t sample; /* mean bytes between sampled objects, 0: none */
};

extern struct sn_options sn_options;

/* Reads the environment. Once, before any other thread exists; allocates nothing. */
void sn_options_read(void);
/* Row `index` of the table, for `hotplugctl options`. */
bool sn_options_row(unsigned int index, struct sn_control_option *row);
/* Whether the process runs with another identity's rights (AT_SECURE). */
bool sn_options_secure(void);
/* Parses "1,3-4" into up to max numbers; -1 for a malformed list. */
int sn_parse_list(const char *text, int *numbers, int max);

#endif
