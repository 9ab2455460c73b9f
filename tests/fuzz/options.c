/*
 * options.c - the values of SLABNODE_*: the environment of a program is anybody's text.
 *
 * The first letter of an input names the option, by its row in the table; the rest is the value.
 * Whatever it is: afterwards the option has a value of its kind; a value that was taken is shown
 * as one that is taken again and means the same; one that was not is reported in one line.
 */
#include "fuzz.h"

#include <limits.h>
#include <string.h>

#include "internal.h"
#include "meta.h"
#include "options.h"

#define KEPT 64

static void *kept[KEPT];
static unsigned int nr_kept, complaints;

/* From the heap, so that each copy has its exact size. */
void *sn_meta_alloc(size_t size, size_t align)
{
	(void)align;
	FUZZ_CHECK(nr_kept < KEPT);
	return kept[nr_kept++] = calloc(1, size);
}

void sn_warn_once(const char *key, const char *message)
{
	FUZZ_CHECK(strncmp(message, key, strlen(key)) == 0);
	complaints++;
}

static void forget(void)
{
	while (nr_kept > 0)
		free(kept[--nr_kept]);
	complaints = 0;
}

static struct sn_control_option row_of(unsigned int index)
{
	struct sn_control_option row;

	FUZZ_CHECK(sn_options_row(index, &row));
	return row;
}

static void check_ranges(void)
{
	int numbers[SN_MAX_NODES];

	FUZZ_CHECK(sn_options.control >= SN_CONTROL_LAZY && sn_options.control <= SN_CONTROL_OFF);
	FUZZ_CHECK(sn_options.policy >= SN_STRICT && sn_options.policy <= SN_MIGRATE);
	FUZZ_CHECK(sn_options.fastpath_locked >= 0 && sn_options.fastpath_locked <= 1);
	FUZZ_CHECK(sn_options.alien_off >= 0 && sn_options.alien_off <= 1);
	FUZZ_CHECK(sn_options.hardened >= 0 && sn_options.hardened <= 3);
	FUZZ_CHECK(sn_options.verbose >= 0 && sn_options.verbose <= 2);
	FUZZ_CHECK(sn_options.reap_interval_ms >= 0 && sn_options.reap_interval_ms <= 3600000);
	FUZZ_CHECK(sn_options.sample >= 0 && sn_options.sample <= 1 << 30);
	FUZZ_CHECK(sn_options.rundir == NULL || sn_options.rundir[0] == '/');
	FUZZ_CHECK(strcmp(sn_options.topology, "auto") == 0 ||
		   strchr(sn_options.topology, ':') != NULL);
	if (sn_options.offline != NULL)
		FUZZ_CHECK(sn_parse_list(sn_options.offline, numbers, SN_MAX_NODES) >= 0);
}

/* Digits and a unit at most: what strtol() takes beside, no user wrote on purpose. */
static void check_number(const struct sn_control_option *row, const char *value)
{
	size_t digits = strspn(value, "0123456789");
	bool number = strcmp(row->type, "number") == 0, size = strcmp(row->type, "size") == 0;

	if (!number && !size)
		return;
	FUZZ_CHECK(digits > 0);
	if (value[digits] != '\0' && size)
		digits += strchr("KMGkmg", value[digits]) != NULL;
	FUZZ_CHECK(value[digits] == '\0');
}

static void read_one(unsigned int index, const char *value)
{
	char shown[32];
	const char *name = row_of(index).name;

	setenv(name, value, 1);
	sn_options_read();
	check_ranges();
	FUZZ_CHECK(complaints <= 1);
	if (complaints == 0 && value[0] != '\0') {
		struct sn_control_option row = row_of(index);
		bool text = strcmp(row.type, "text") == 0;

		check_number(&row, value);
		FUZZ_CHECK(!text || strcmp(row.value, value) == 0);
		snprintf(shown, sizeof(shown), "%s", row.value);
		setenv(name, shown, 1);
		if (!text)
			sn_options_read();
		FUZZ_CHECK(complaints == 0);
		FUZZ_CHECK(text || strcmp(row_of(index).value, shown) == 0);
	}
	unsetenv(name);
	forget();
}

/* The list's parser behind two of them, with less room than numbers. */
static void read_list(const char *value)
{
	int numbers[3] = {-1, -1, -1};
	int n = sn_parse_list(value, numbers, 2);

	FUZZ_CHECK(n >= -1 && n <= 2 && numbers[2] == -1);
	for (int i = 0; i < n; i++)
		FUZZ_CHECK(numbers[i] >= 0 && numbers[i] <= 65535);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sn_control_option row;
	unsigned int rows = 0;
	char *value;

	if (size == 0)
		return 0;
	while (sn_options_row(rows, &row))
		rows++;
	value = calloc(1, size);
	memcpy(value, data + 1, size - 1);
	read_one((data[0] - 'a') % rows, value);
	read_list(value);
	free(value);
	return 0;
}
