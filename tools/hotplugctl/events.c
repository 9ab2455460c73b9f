/*
 * The command events: transitions as they happen, a line each, from one process or from several at
 * once. Lines leave at once, so that a pipe sees them when they happen.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "hotplugctl.h"
#include "json.h"
#include "request.h"
#include "result.h"
#include "target.h"
#include "util.h"

/* Seconds since 1970 as the local time of day; anything else as it came. */
static char *event_time(const json_t *event)
{
	const json_t *value = json_object_get(event, "time");
	double seconds = json_number_value(value);
	time_t whole = (time_t)seconds;
	struct tm local;
	char text[32];

	if (!json_is_number(value) || seconds < 1e9 || seconds > 1e11 ||
	    !localtime_r(&whole, &local))
		return value ? describe_value(value) : copy_text("-");
	strftime(text, sizeof(text), "%H:%M:%S", &local);
	return format_text("%s.%03d", text, (int)((seconds - floor(seconds)) * 1000));
}

static const char *text_or_dash(const json_t *event, const char *name)
{
	const char *text = field_text(event, name);

	return text && *text ? text : "-";
}

static void print_event(const struct context *context, const struct session *session,
			const json_t *event)
{
	const char *cause = field_text(event, "cause");
	char *time = event_time(event), *line = copy_text("");

	if (context->set.all)
		append_text(&line, "%7d ", (int)session->process->pid);
	append_text(&line, "%6llu %s node %llu: %s -> %s  %s%s%s",
		    (unsigned long long)field_count(event, "seq"), time,
		    (unsigned long long)field_count(event, "node"), text_or_dash(event, "from"),
		    text_or_dash(event, "to"), text_or_dash(event, "action"),
		    cause && *cause ? "  " : "", cause ? cause : "");
	puts(clean_text(line));
	free(line);
	free(time);
}

static void print_event_json(const struct context *context, const struct session *session,
			     json_t *event)
{
	if (context->set.all) {
		json_object_set_new(event, "pid", json_integer(session->process->pid));
		json_object_set_new(event, "command", json_string(session->process->command));
	}
	print_json(event);
}

static bool on_event(struct session *session, json_t *object, void *data)
{
	const struct context *context = data;

	if (!field_present(object, "seq"))
		return false;
	if (context->set.json)
		print_event_json(context, session, object);
	else
		print_event(context, session, object);
	fflush(stdout);
	return true;
}

/* Leaving is how following ends. */
static void on_leave(struct session *sessions, size_t count, void *data)
{
	(void)data;
	for (size_t i = 0; i < count; i++)
		if (!sessions[i].done)
			finish_session(&sessions[i], json_pack("{s:b}", "ok", 1), EXIT_DONE);
}

static char *events_request(const struct context *context)
{
	bool follow = !(context->set.given & OPT_NO_FOLLOW);
	const char *since = context->set.since;
	char *request = copy_text("events");

	if (since &&
	    (!*since || strspn(since, "0123456789") != strlen(since) || strlen(since) > 19)) {
		complain("--since takes an event's number, not '%s'", since);
		free(request);
		return NULL;
	}
	if (since)
		append_text(&request, " since=%s", since);
	if (follow)
		append_text(&request, " follow=1");
	return request;
}

int run_events(struct context *context)
{
	struct exchange exchange = {
		.on_object = on_event, .on_interrupt = on_leave, .data = context};
	char *request = events_request(context);
	struct targets targets;
	int code;

	if (!request)
		return EXIT_USAGE;
	exchange.request = request;
	code = select_targets(context, &targets);
	if (code != EXIT_DONE)
		goto out;
	ask_targets(&targets, &exchange);
	code = targets_code(&targets);
	for (size_t i = 0; i < targets.processes.count; i++) {
		const struct session *session = &targets.sessions[i];

		if (session->code == EXIT_DONE)
			continue;
		if (context->set.json)
			print_json(session->reply);
		else
			print_failure(context, session->process, session->reply);
	}
out:
	free(request);
	return code;
}
