/*
 * From replies to exit codes and to messages that say what to do next: see result.h. The codes are
 * part of the interface: scripts branch on them.
 */
#include "result.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "json.h"
#include "util.h"

#define MAX_NAMED_HOLDERS 3

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

/* Nothing came of the request in such a process, since it could not be made. */
bool not_asked(const char *error)
{
	return !strcmp(error, "ENOTCONN") || !strcmp(error, "EACCES");
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

/* What else the policy that was refused could be; scripts set one, people often none. */
static const char *other_policies(const char *policy, bool late)
{
	if (policy && !strcmp(policy, "strict"))
		return "--policy migrate moves them, --policy wait waits until they are freed";
	if (policy && !strcmp(policy, "wait"))
		return "--policy migrate moves them, a longer --timeout gives them more time";
	return late ? "a longer --timeout gives the move more time"
		    : "--policy wait waits until they are freed";
}

static char *advise_busy(const char *target, const char *policy, const json_t *reply)
{
	long long node = (long long)field_count(reply, "node");
	bool late = !strcmp(reply_error(reply), "ETIMEDOUT");
	const char *state = field_text(reply, "state");

	/* Nothing of a node: a connection, a thread or the memory for the answer could not be had.
	 */
	if (!field_present(reply, "node"))
		return copy_text("others ask it as well, or it is short of memory or threads: try "
				 "again, or end their 'events' and 'top'");
	if (!late && state && !strcmp(state, "going-offline"))
		return format_text("'hotplugctl %s cancel %lld' takes the offline back, 'why %lld' "
				   "shows what it waits for",
				   target, node, node);
	if (json_array_size(field_array(reply, "holders")))
		return format_text("'hotplugctl %s why %lld' lists them, %s", target, node,
				   other_policies(policy, late));
	if (late)
		return format_text("a longer --timeout gives it more time; 'hotplugctl %s why "
				   "%lld' shows what it waits for",
				   target, node);
	if (!strcmp(reply_error(reply), "ENOMEM") || !strcmp(reply_error(reply), "ENOSPC"))
		return format_text("'hotplugctl %s plan %lld' shows where room is missing; bring "
				   "another node online, or 'hotplugctl %s drain' first",
				   target, node, target);
	return format_text("'hotplugctl %s status' shows the nodes, 'hotplugctl %s plan %lld' what "
			   "stands in the way",
			   target, target, node);
}

static char *advise_invalid(const struct context *context, const char *target)
{
	if (context->command->run == run_fault)
		return format_text("'hotplugctl %s fault list' names the steps, libslabnode(7) "
				   "tells how faults are written",
				   target);
	return format_text("'hotplugctl %s status' shows the nodes, 'hotplugctl help %s' what %s "
			   "takes",
			   target, context->command->name, context->command->name);
}

static char *advise_refused(const struct context *context, const char *error, const char *target,
			    bool of_node)
{
	if (!strcmp(error, "EPERM") || !strcmp(error, "EACCES"))
		return copy_text(
			of_node ? "the kernel or a sandbox does not let the process do it; "
				  "'--policy strict' and 'wait' move nothing of the node's"
				: "only the process's own user and root may ask");
	if (!strcmp(error, "EDEADLK"))
		return copy_text("a callback of the process waits for this; ask again when it has "
				 "returned");
	if (!strcmp(error, "ENODEV"))
		return format_text("'hotplugctl %s topology' lists the nodes", target);
	if (!strcmp(error, "EINVAL"))
		return advise_invalid(context, target);
	return NULL;
}

static char *advise_unreachable(const struct process *process, const char *error)
{
	if (!process->pid)
		return copy_text("'hotplugctl list -o PID,COMMAND,SOCKET' shows the sockets of "
				 "those that run now");
	if (!strcmp(error, "EACCES"))
		return copy_text("run hotplugctl as the process's own user or as root");
	if (!strcmp(error, "ENOTCONN"))
		return copy_text("a control thread starts when the program has threads or 8 MiB in "
				 "use, or at once with SLABNODE_CONTROL=on; never with off");
	if (!strcmp(error, "ENOENT"))
		return copy_text("its run directory was removed, or is not to be seen from here; "
				 "SLABNODE_RUNDIR names one that stays");
	if (!strcmp(error, "ETIMEDOUT"))
		return copy_text("a stopped process goes on with SIGCONT; else try again");
	if (!strcmp(error, "ESRCH"))
		return copy_text("'hotplugctl list' shows what is running now");
	return NULL;
}

/* What to do next, or NULL. */
char *advise(const struct context *context, const struct process *process, const json_t *reply)
{
	const char *error = reply_error(reply), *hint = field_text(reply, "hint");
	char *target = target_options(process), *advice = NULL;

	if (hint) {
		advice = clean_text(copy_text(hint));
	} else if (!*target) {
		; /* the kernel's answer, which no command to a process explains */
	} else if (process->error || !strcmp(error, "ESRCH") || not_asked(error) ||
		   (!strcmp(error, "ETIMEDOUT") && !field_present(reply, "node"))) {
		advice = advise_unreachable(process, error);
	} else if (error_code(error) == EXIT_REFUSED) {
		advice = advise_refused(context, error, target, field_present(reply, "node"));
	} else if (error_code(error) == EXIT_BUSY || error_code(error) == EXIT_TIMED_OUT) {
		advice = advise_busy(target, context->set.policy, reply);
	}
	free(target);
	return advice;
}

/* For a row or a label instead of figures: what we found has no error name that tells more. */
char *problem_words(int code, const json_t *reply)
{
	const char *message = field_text(reply, "message");

	if (code == EXIT_NO_PROCESS && message)
		return clean_text(copy_text(message));
	return failure_text(reply);
}

/* The largest by name, the others by number: "3 objects in malloc-64, 1 large block and 2 more". */
static char *holders_text(const json_t *holders)
{
	size_t count = json_array_size(holders),
	       named = count > MAX_NAMED_HOLDERS + 1 ? MAX_NAMED_HOLDERS : count;
	char *text = NULL;

	for (size_t i = 0; i < named; i++) {
		const json_t *holder = json_array_get(holders, i);
		unsigned long long objects = (unsigned long long)field_count(holder, "objects");
		const char *cache = field_text(holder, "cache"), *plural = objects == 1 ? "" : "s";

		append_text(&text, "%s", i ? ", " : "");
		if (cache && !strcmp(cache, "large"))
			append_text(&text, "%llu large block%s", objects, plural);
		else
			append_text(&text, "%llu object%s in %s", objects, plural,
				    cache ? cache : "?");
	}
	if (count > named)
		append_text(&text, " and in %zu more caches", count - named);
	return clean_text(text);
}

/* "node 1 is busy: who holds it", or the process's own words where nobody does. */
static char *failure_line(const json_t *reply)
{
	const json_t *holders = field_array(reply, "holders");
	const char *error = reply_error(reply), *state = field_text(reply, "state");
	unsigned long long node = (unsigned long long)field_count(reply, "node");
	bool busy = !strcmp(error, "EBUSY"), late = !strcmp(error, "ETIMEDOUT");
	char *text = failure_text(reply), *who = format_text("node %llu", node), *held, *line;
	bool told = strstr(text, who) != NULL, going = state && !strncmp(state, "going-", 6);

	free(who);
	if (!field_present(reply, "node"))
		return text;
	if ((busy || late) && json_array_size(holders) &&
	    !json_array_size(field_array(reply, "unmovable"))) {
		held = holders_text(holders);
		line = format_text("node %llu is %s: %s (%s); it is %s as before", node,
				   busy ? "busy" : "still busy at the end of the time", held, error,
				   state ? state : "online");
		free(held);
	} else {
		line = told ? copy_text("") : format_text("node %llu: ", node);
		append_text(&line, "%s", text);
		if (state)
			append_text(&line, "; it is %s%s", state, going ? "" : " as before");
	}
	free(text);
	return clean_text(line);
}

/* On stderr: who, what, and what to do next. */
void print_failure(const struct context *context, const struct process *process,
		   const json_t *reply)
{
	char *line = failure_line(reply), *advice = advise(context, process, reply);
	char *who = copy_text("");

	if (context->set.all)
		append_text(&who, "pid %d (%s): ", (int)process->pid, process->command);
	complain("%s%s", clean_text(who), line);
	if (advice)
		complain("%s", advice);
	free(who);
	free(advice);
	free(line);
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
		print_filled(names[i][0] == 'w' ? "warning: " : "note: ", text,
			     (size_t)output_width(STDOUT_FILENO));
		free(text);
	}
}
