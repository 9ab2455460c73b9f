/*
 * From replies to exit codes and to messages that say what to do next: see result.h. The codes are
 * part of the interface: scripts branch on them.
 */
#include "result.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "util.h"

struct error_kind {
	const char *error;
	enum exit_code code;
};

/* Everything else is a refusal. */
static const struct error_kind error_kinds[] = {
	{"EBUSY", EXIT_BUSY},	       {"ENOMEM", EXIT_BUSY},	      {"ENOSPC", EXIT_BUSY},
	{"EALREADY", EXIT_BUSY},       {"EINPROGRESS", EXIT_BUSY},    {"EAGAIN", EXIT_BUSY},
	{"ECANCELED", EXIT_CANCELLED}, {"ETIMEDOUT", EXIT_TIMED_OUT},
};

static int error_code(const char *error)
{
	for (size_t i = 0; i < sizeof(error_kinds) / sizeof(error_kinds[0]); i++)
		if (!strcmp(error, error_kinds[i].error))
			return error_kinds[i].code;
	return EXIT_REFUSED;
}

const char *reply_error(const json_t *reply)
{
	const char *error = field_text(reply, "error");

	return error ? error : "EPROTO";
}

/* Several nodes stand in "results"; where they ended differently the exit code says only that. */
int reply_code(const json_t *reply)
{
	const json_t *results = field_array(reply, "results");
	int code = NO_CODE;

	if (!json_array_size(results)) {
		if (field_text(reply, "error") || json_is_false(json_object_get(reply, "ok")))
			return error_code(reply_error(reply));
		return EXIT_DONE;
	}
	for (size_t i = 0; i < json_array_size(results); i++)
		code = combine_codes(code, reply_code(json_array_get(results, i)));
	return code;
}

int combine_codes(int one, int other)
{
	if (one == NO_CODE)
		return other;
	return one == other ? one : EXIT_MIXED;
}

/* The words that select this process again, for advice that can be typed as it stands. */
char *target_options(const struct process *process)
{
	if (process->pid)
		return format_text("-p %d", (int)process->pid);
	return process->socket ? format_text("-s %s", process->socket) : copy_text("");
}

char *failure_text(const json_t *reply)
{
	const char *error = reply_error(reply), *message = field_text(reply, "message");

	if (!message || !*message)
		return clean_text(copy_text(error));
	return clean_text(format_text("%s (%s)", message, error));
}

static char *advise_busy(const char *target, const json_t *reply)
{
	long long node = (long long)field_count(reply, "node");

	if (json_array_size(field_array(reply, "holders")))
		return format_text(
			"'hotplugctl %s why %lld' shows who holds the node; --policy wait "
			"waits for it, --policy migrate moves it",
			target, node);
	if (!strcmp(reply_error(reply), "ENOMEM") || !strcmp(reply_error(reply), "ENOSPC"))
		return format_text("'hotplugctl %s plan %lld' shows where room is missing; bring "
				   "another node online, or 'hotplugctl %s drain' first",
				   target, node, target);
	return format_text("'hotplugctl %s status' shows the nodes, 'hotplugctl %s plan %lld' what "
			   "stands in the way",
			   target, target, node);
}

static char *advise_refused(const char *error, const char *target)
{
	if (!strcmp(error, "EPERM") || !strcmp(error, "EACCES"))
		return copy_text(
			"only the process's own user and root may ask; or what the message "
			"names is not permitted to the process");
	if (!strcmp(error, "EDEADLK"))
		return copy_text("a callback of the process waits for this; ask again when it has "
				 "returned");
	if (!strcmp(error, "ENODEV") || !strcmp(error, "EINVAL"))
		return format_text(
			"'hotplugctl %s topology' lists the nodes, 'hotplugctl help' the "
			"commands",
			target);
	return NULL;
}

static char *advise_unreachable(const char *error)
{
	if (!strcmp(error, "EACCES"))
		return copy_text("run hotplugctl as the process's own user or as root");
	if (!strcmp(error, "ENOTCONN"))
		return copy_text("a control thread starts when the program has threads or 8 MiB in "
				 "use, or at once with SLABNODE_CONTROL=on; never with off");
	if (!strcmp(error, "ETIMEDOUT"))
		return copy_text("a stopped process goes on with SIGCONT; else try again");
	if (!strcmp(error, "ESRCH"))
		return copy_text("'hotplugctl list' shows what is running now");
	return NULL;
}

static char *advise(const struct process *process, const json_t *reply)
{
	const char *error = reply_error(reply), *hint = field_text(reply, "hint");
	char *target = target_options(process), *advice = NULL;
	long long node = (long long)field_count(reply, "node");

	if (hint) {
		advice = clean_text(copy_text(hint));
	} else if (process->error || !strcmp(error, "ESRCH") || !strcmp(error, "ENOTCONN") ||
		   (!strcmp(error, "ETIMEDOUT") && !field_present(reply, "node"))) {
		advice = advise_unreachable(error);
	} else if (error_code(error) == EXIT_BUSY) {
		advice = advise_busy(target, reply);
	} else if (error_code(error) == EXIT_REFUSED) {
		advice = advise_refused(error, target);
	} else if (error_code(error) == EXIT_TIMED_OUT && field_present(reply, "node")) {
		advice = format_text("give it more time with --timeout; 'hotplugctl %s why %lld' "
				     "shows what remains",
				     target, node);
	}
	free(target);
	return advice;
}

/* On stderr: who, what, and what to do next. */
void print_failure(const struct context *context, const struct process *process,
		   const json_t *reply)
{
	char *text = failure_text(reply), *advice = advise(process, reply);
	char *who = copy_text("");

	if (context->set.all)
		append_text(&who, "pid %d (%s): ", (int)process->pid, process->command);
	if (field_present(reply, "node") && field_present(reply, "state"))
		append_text(&who,
			    "node %llu is %s: ", (unsigned long long)field_count(reply, "node"),
			    field_text(reply, "state") ? field_text(reply, "state") : "?");
	else if (field_present(reply, "node"))
		append_text(&who, "node %llu: ", (unsigned long long)field_count(reply, "node"));
	complain("%s%s", clean_text(who), text);
	if (advice)
		complain("%s", advice);
	free(who);
	free(advice);
	free(text);
}

/* What a successful reply wants to be said, such as that nothing had to be done. */
void print_note(const json_t *reply)
{
	static const char *const names[] = {"note", "message", "warning"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const json_t *value = json_object_get(reply, names[i]);
		char *text;

		if (!value || json_is_null(value))
			continue;
		text = describe_value(value);
		printf("%s: %s\n", names[i][0] == 'w' ? "warning" : "note", text);
		free(text);
	}
}
