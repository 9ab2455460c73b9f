/*
 * The command metrics: figures for a monitoring system. Like `list` it is for all processes unless
 * one is named, and a process that cannot be asked is a finding: a series that says so, exit 0. A
 * collector that ran before any program was started has to see a valid, empty answer.
 *
 * With --http one request on standard input is answered, as inetd, a systemd socket unit with
 * Accept=yes or socat hands connections over: nothing of hotplugctl has to stay running for a
 * scrape.
 */
#include "metrics.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hotplugctl.h"
#include "json.h"
#include "result.h"
#include "target.h"
#include "util.h"

#define MAX_HTTP_HEAD	16384
#define HTTP_PATIENCE_S 10

/* Reads to the empty line; false where none comes. */
static bool read_http_head(char *head, size_t size)
{
	uint64_t until = now_ms() + HTTP_PATIENCE_S * 1000;
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
	size_t length = 0;

	while (length < size - 1) {
		uint64_t now = now_ms();
		ssize_t got;

		if (now >= until || poll(&input, 1, (int)(until - now)) <= 0)
			return false;
		got = read(STDIN_FILENO, head + length, size - 1 - length);
		if (got <= 0)
			return false;
		length += (size_t)got;
		head[length] = '\0';
		if (strstr(head, "\r\n\r\n") || strstr(head, "\n\n"))
			return true;
	}
	return false;
}

/* True where the figures are to follow. */
static bool begin_http(void)
{
	static const char refusal[] =
		"HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n%s\r\n";
	char head[MAX_HTTP_HEAD];
	bool only_head;

	if (!read_http_head(head, sizeof(head))) {
		printf(refusal, "400 Bad Request", "");
		return false;
	}
	only_head = !strncmp(head, "HEAD ", 5);
	if (strncmp(head, "GET ", 4) && !only_head) {
		printf(refusal, "405 Method Not Allowed", "Allow: GET, HEAD\r\n");
		return false;
	}
	fputs("HTTP/1.1 200 OK\r\n"
	      "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"
	      "Connection: close\r\n\r\n",
	      stdout);
	return !only_head;
}

/* Asks those that answered the first question; the replies in the order of the sources. */
static void ask_caches(struct targets *targets, struct metrics_source *sources)
{
	struct exchange exchange = {.request = "slabinfo", .timeout_ms = QUERY_TIMEOUT_MS};
	size_t count = targets->processes.count, asked = 0;
	struct session *sessions = grow(NULL, count * sizeof(*sessions));

	for (size_t i = 0; i < count; i++)
		if (sources[i].status)
			sessions[asked++] =
				(struct session){.process = &targets->processes.items[i], .fd = -1};
	run_exchange(sessions, asked, &exchange);
	for (size_t i = 0, k = 0; i < count; i++) {
		if (!sources[i].status)
			continue;
		if (sessions[k].code == EXIT_DONE)
			sources[i].caches = sessions[k].reply;
		k++;
	}
	free(sessions);
}

static void collect(const struct context *context, struct targets *targets)
{
	struct exchange exchange = {.request = "status", .timeout_ms = QUERY_TIMEOUT_MS};
	size_t count = targets->processes.count;
	struct metrics_source *sources = grow(NULL, count * sizeof(*sources));

	ask_targets(targets, &exchange);
	for (size_t i = 0; i < count; i++) {
		const struct session *session = &targets->sessions[i];

		sources[i] = (struct metrics_source){.process = session->process};
		if (session->code == EXIT_DONE)
			sources[i].status = session->reply;
		else
			sources[i].problem = problem_words(session->code, session->reply);
	}
	if (context->set.given & OPT_CACHES)
		ask_caches(targets, sources);
	write_metrics(sources, count);
	free(sources);
}

int run_metrics(struct context *context)
{
	bool everything = !context->set.pid && !context->set.socket;
	struct targets targets;
	int code;

	if (context->set.json) {
		complain("metrics writes OpenMetrics text; 'status --json' has the same figures");
		return EXIT_USAGE;
	}
	if ((context->set.given & OPT_HTTP) && !begin_http())
		return EXIT_DONE;
	if (everything) {
		select_all(&targets);
	} else {
		code = select_targets(context, &targets);
		if (code != EXIT_DONE)
			return code;
	}
	collect(context, &targets);
	return everything ? EXIT_DONE : targets_code(&targets);
}
