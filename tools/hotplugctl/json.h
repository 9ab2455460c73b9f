/*
 * Reading fields of replies. A field that is missing, null or of another type gives the default:
 * a newer library may leave fields out, and a reply is never trusted.
 */
#ifndef HOTPLUGCTL_JSON_H
#define HOTPLUGCTL_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

const char *field_text(const json_t *object, const char *name);
uint64_t field_count(const json_t *object, const char *name);
double field_number(const json_t *object, const char *name, double otherwise);
bool field_flag(const json_t *object, const char *name);
bool field_present(const json_t *object, const char *name);
json_t *field_array(const json_t *object, const char *name);
char *describe_value(const json_t *value);
json_t *make_failure(const char *error, const char *message);
void print_json(const json_t *value);

#endif
