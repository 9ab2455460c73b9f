/*
 * Reading fields of replies and writing JSON: see json.h.
 */
#include "json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util.h"

const char *field_text(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name));
}

uint64_t field_count(const json_t *object, const char *name)
{
	double number = field_number(object, name, 0);
	const json_t *value = json_object_get(object, name);

	if (json_is_integer(value))
		return number < 0 ? 0 : (uint64_t)json_integer_value(value);
	return number < 0 || number > 9e18 ? 0 : (uint64_t)number;
}

double field_number(const json_t *object, const char *name, double otherwise)
{
	const json_t *value = json_object_get(object, name);

	return json_is_number(value) ? json_number_value(value) : otherwise;
}

bool field_flag(const json_t *object, const char *name)
{
	return json_is_true(json_object_get(object, name));
}

bool field_present(const json_t *object, const char *name)
{
	const json_t *value = json_object_get(object, name);

	return value && !json_is_null(value);
}

/* NULL where it is no array; jansson's array functions take NULL for an empty one. */
json_t *field_array(const json_t *object, const char *name)
{
	json_t *value = json_object_get(object, name);

	return json_is_array(value) ? value : NULL;
}

/* Any value as a person reads it: text without quotes, objects as "name value, name value". */
char *describe_value(const json_t *value)
{
	const char *name;
	json_t *member;
	char *text = NULL;

	if (json_is_string(value))
		return clean_text(copy_text(json_string_value(value)));
	if (json_is_object(value)) {
		json_object_foreach((json_t *)value, name, member)
		{
			char *part = describe_value(member);

			append_text(&text, "%s%s %s", text ? ", " : "", name, part);
			free(part);
		}
		return clean_text(text ? text : copy_text(""));
	}
	text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15));
	return clean_text(text ? text : copy_text("?"));
}

/* A failure that hotplugctl itself found, in the shape in which a process reports its own. */
json_t *make_failure(const char *error, const char *message)
{
	char *text = clean_text(copy_text(message));
	json_t *failure;

	failure = json_pack("{s:b, s:s, s:s+}", "ok", 0, "error", error, "message", text, "");
	if (!failure)
		failure = json_pack("{s:b, s:s, s:s}", "ok", 0, "error", error, "message",
				    "message is no text");
	free(text);
	return failure;
}

void print_json(const json_t *value)
{
	json_dumpf(value, stdout, JSON_COMPACT | JSON_REAL_PRECISION(15));
	putchar('\n');
}
