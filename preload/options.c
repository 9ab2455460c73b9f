/*
 * options.c - see options.h.
 */
#include "options.h"

#include "internal.h"

#include "../core/meta.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

struct sn_options sn_options;

enum kind { TEXT, CHOICE, NUMBER, SIZE };

struct option {
	const char *name;
	enum kind kind;
	const char *range;    /* CHOICE: the words, separated by '|', in the order of values */
	const char *fallback; /* what stands in `hotplugctl options` and the manual */
	const char *help;
	void *target; /* TEXT: const char **; CHOICE: int *; NUMBER: int * or int64_t *; SIZE:
			 int64_t * */
	long least, most;
	bool wide;			  /* NUMBER: target is int64_t */
	bool (*check)(const char *value); /* TEXT: whether it is well formed; NULL: any is */
};

static bool check_topology(const char *value)
{
	return strcmp(value, "auto") == 0 || strncmp(value, "synthetic:", 10) == 0 ||
	       strncmp(value, "xml:", 4) == 0;
}

static bool check_list(const char *value)
{
	int numbers[SN_MAX_NODES];

	return sn_parse_list(value, numbers, SN_MAX_NODES) >= 0;
}

static bool check_placement(const char *value)
{
	return strcmp(value, "preferred") == 0 || strcmp(value, "strict") == 0 ||
	       strcmp(value, "none") == 0;
}

static bool check_rundir(const char *value)
{
	return value[0] == '/';
}

static bool check_stats(const char *value)
{
	return strcmp(value, "exit") == 0 || (strncmp(value, "json:", 5) == 0 && value[5] != '\0');
}

static const struct option table[] = {
	{"SLABNODE_TOPOLOGY", TEXT, "auto|synthetic:DESCRIPTION|xml:FILE", "auto",
	 "where nodes come from: this machine, or a simulation", &sn_options.topology, 0, 0, false,
	 check_topology},
	{"SLABNODE_NODE_CAPACITY", TEXT, "SIZE or NODE:SIZE,...", "", "memory of simulated nodes",
	 &sn_options.node_capacity, 0, 0, false, NULL},
	{"SLABNODE_OFFLINE", TEXT, "NODE[-NODE],...", "", "nodes offline from the start",
	 &sn_options.offline, 0, 0, false, check_list},
	{"SLABNODE_CONTROL", CHOICE, "lazy|on|off", "lazy", "when the control thread starts",
	 &sn_options.control, 0, 0, false, NULL},
	{"SLABNODE_RUNDIR", TEXT, "an absolute path", "", "where control sockets live",
	 &sn_options.rundir, 0, 0, false, check_rundir},
	{"SLABNODE_OFFLINE_POLICY", CHOICE, "strict|wait|migrate", "migrate",
	 "default policy of offline", &sn_options.policy, 0, 0, false, NULL},
	{"SLABNODE_PLACEMENT", TEXT, "preferred|strict|none", "preferred",
	 "how real nodes are asked for memory", &sn_options.placement, 0, 0, false,
	 check_placement},
	{"SLABNODE_FASTPATH", CHOICE, "auto|locked", "auto", "restartable sequences, or locks",
	 &sn_options.fastpath_locked, 0, 0, false, NULL},
	{"SLABNODE_ALIEN", CHOICE, "on|off", "on",
	 "frees across nodes go through alien caches, or straight home", &sn_options.alien_off, 0,
	 0, false, NULL},
	{"SLABNODE_REAP_INTERVAL", NUMBER, "0..3600000", "1000",
	 "how often cached memory ages, ms; 0 never", &sn_options.reap_interval_ms, 0, 3600000,
	 true, NULL},
	{"SLABNODE_HARDENED", NUMBER, "0..3", "0", "more checking at more cost",
	 &sn_options.hardened, 0, 3, false, NULL},
	{"SLABNODE_SAMPLE", SIZE, "0..1G, with K, M or G", "0",
	 "mean bytes between allocations whose stacks `why` shows; 0 none, 1 all",
	 &sn_options.sample, 0, 1 << 30, true, NULL},
	{"SLABNODE_STATS", TEXT, "exit|json:FILE", "", "print the node and cache tables at exit",
	 &sn_options.stats, 0, 0, false, check_stats},
	{"SLABNODE_VERBOSE", NUMBER, "0..2", "0", "messages on stderr", &sn_options.verbose, 0, 2,
	 false, NULL},
};

/* The value in force, as text, for `hotplugctl options`. */
static char value_text[SN_ARRAY_SIZE(table)][24];

bool sn_options_secure(void)
{
	return getauxval(AT_SECURE) != 0;
}

static int choice_index(const char *words, const char *value)
{
	size_t len = strlen(value);

	for (int i = 0; *words != '\0'; i++) {
		size_t word = strcspn(words, "|");

		if (word == len && strncmp(words, value, len) == 0)
			return i;
		words += word + (words[word] == '|');
	}
	return -1;
}

/* Digits, and nothing that strtol() takes beside; the text behind them, NULL: none, or too many. */
static const char *read_number(const char *text, long *number)
{
	char *end;

	if (*text < '0' || *text > '9')
		return NULL;
	errno = 0;
	*number = strtol(text, &end, 10);
	return errno == 0 ? end : NULL;
}

/* The shift of a unit, -1: there is none such. */
static int unit_shift(const char *unit)
{
	static const char units[] = "KkMmGg";
	const char *found;

	if (unit[0] == '\0')
		return 0;
	found = strchr(units, unit[0]);
	return found == NULL || unit[1] != '\0' ? -1 : 10 * (int)((found - units) / 2 + 1);
}

static void store_number(const struct option *option, long value)
{
	if (option->wide)
		*(int64_t *)option->target = value;
	else
		*(int *)option->target = (int)value;
}

/* A program may write over its environment (setproctitle does), so values are copied. */
static const char *keep(const char *value)
{
	size_t size = strlen(value) + 1;
	char *copy = sn_meta_alloc(size, 1);

	return copy == NULL ? NULL : memcpy(copy, value, size);
}

/* False: malformed, nothing stored. */
static bool option_set(const struct option *option, const char *value)
{
	const char *end;
	long number;
	int choice, shift;

	switch (option->kind) {
	case TEXT:
		if (value[0] != '\0' && option->check != NULL && !option->check(value))
			return false;
		*(const char **)option->target = value[0] == '\0' ? NULL : keep(value);
		return true;
	case CHOICE:
		choice = choice_index(option->range, value);
		if (choice >= 0)
			*(int *)option->target = choice;
		return choice >= 0;
	case NUMBER:
	case SIZE:
		end = read_number(value, &number);
		if (end == NULL || (option->kind == NUMBER && *end != '\0'))
			return false;
		shift = unit_shift(end);
		if (shift < 0 || __builtin_mul_overflow(number, 1l << shift, &number) ||
		    number < option->least || number > option->most)
			return false;
		store_number(option, number);
		return true;
	}
	return false;
}

static void report_bad(const struct option *option, const char *value)
{
	const char *used = option->target == &sn_options.rundir ? "the usual directory"
			   : option->fallback[0] == '\0'	? "none"
								: option->fallback;
	const char *relation = strchr(option->range, '|') != NULL ? "one of "
			       : option->kind == TEXT		  ? ""
								  : "in ";
	char message[256];

	snprintf(message, sizeof(message), "%s: '%.64s' is not %s%s, using %s", option->name, value,
		 relation, option->range, used);
	sn_warn_once(option->name, message);
}

static bool is_option(const char *name, size_t length)
{
	for (size_t i = 0; i < SN_ARRAY_SIZE(table); i++)
		if (strlen(table[i].name) == length && strncmp(table[i].name, name, length) == 0)
			return true;
	return false;
}

/* Variables that look like ours may be somebody else's: only who asks for messages is told. */
static void report_unknown(void)
{
	char message[256];

	for (char **variable = environ; *variable != NULL; variable++) {
		size_t length = strcspn(*variable, "=");

		if (strncmp(*variable, "SLABNODE_", 9) != 0 || is_option(*variable, length))
			continue;
		snprintf(message, sizeof(message), "%.*s: no such option, ignored",
			 (int)sn_min(length, (size_t)64), *variable);
		sn_warn_once(*variable, message);
	}
}

void sn_options_read(void)
{
	int saved = errno;
	bool secure = sn_options_secure();

	for (size_t i = 0; i < SN_ARRAY_SIZE(table); i++) {
		const char *value = secure ? NULL : getenv(table[i].name);

		option_set(&table[i], table[i].fallback);
		if (value != NULL && value[0] != '\0' && !option_set(&table[i], value)) {
			report_bad(&table[i], value);
			option_set(&table[i], table[i].fallback);
		}
	}
	if (!secure && sn_options.verbose > 0)
		report_unknown();
	errno = saved;
}

/* The word of a choice, or the number, into the option's own buffer. */
static const char *current_value(size_t i)
{
	const struct option *option = &table[i];
	const char *words = option->range, *text;

	switch (option->kind) {
	case TEXT:
		text = *(const char **)option->target;
		return text == NULL ? "" : text;
	case CHOICE:
		for (int skip = *(int *)option->target; skip > 0; skip--)
			words += strcspn(words, "|") + 1;
		snprintf(value_text[i], sizeof(value_text[i]), "%.*s", (int)strcspn(words, "|"),
			 words);
		return value_text[i];
	case NUMBER:
	case SIZE:
		snprintf(value_text[i], sizeof(value_text[i]), "%lld",
			 option->wide ? (long long)*(int64_t *)option->target
				      : (long long)*(int *)option->target);
		return value_text[i];
	}
	return "";
}

bool sn_options_row(unsigned int index, struct sn_control_option *row)
{
	static const char *const types[] = {"text", "choice", "number", "size"};

	if (index >= SN_ARRAY_SIZE(table))
		return false;
	row->name = table[index].name;
	row->type = types[table[index].kind];
	row->range = table[index].range;
	row->fallback = table[index].fallback;
	row->help = table[index].help;
	row->value = current_value(index);
	return true;
}

int sn_parse_list(const char *text, int *numbers, int max)
{
	long first, last;
	int n = 0;

	while (*text != '\0') {
		text = read_number(text, &first);
		if (text == NULL)
			return -1;
		last = first;
		if (*text == '-')
			text = read_number(text + 1, &last);
		if (text == NULL || last < first || last > 65535)
			return -1;
		for (long i = first; i <= last && n < max; i++)
			numbers[n++] = (int)i;
		if (*text == ',' && text[1] != '\0')
			text++;
		else if (*text != '\0')
			return -1;
	}
	return n;
}
