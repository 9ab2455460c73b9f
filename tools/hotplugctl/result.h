/*
 * From replies to exit codes and to messages that say what to do next.
 */
#ifndef HOTPLUGCTL_RESULT_H
#define HOTPLUGCTL_RESULT_H

#include <jansson.h>
#include <stdbool.h>

#include "hotplugctl.h"
#include "process.h"

#define NO_CODE (-1)

int reply_code(const json_t *reply);
int combine_codes(int one, int other);
const char *reply_error(const json_t *reply);
bool not_asked(const char *error);
char *problem_words(int code, const json_t *reply);
char *failure_text(const json_t *reply);
void print_failure(const struct context *context, const struct process *process,
		   const json_t *reply);
void print_note(const json_t *reply);
char *advise(const struct context *context, const struct process *process, const json_t *reply);
char *target_options(const struct process *process);

#endif
