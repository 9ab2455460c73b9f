/*
 * The client side of the control socket. One loop serves any number of processes at the same time,
 * so that a stopped or silent one delays nobody else's answer: each is a session that ends with a
 * reply, whether the process sent it or the loop found why there is none.
 */
#include "exchange.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "hotplugctl.h"
#include "json.h"
#include "result.h"
#include "util.h"

#define HELLO_TIMEOUT_MS 3000
#define TICK_MS		 200
#define READ_STEP	 65536
#define MAX_LINE	 ((size_t)64 << 20) /* a program gone mad must not take our memory */

static volatile sig_atomic_t interrupted;

static void note_interrupt(int signal)
{
	(void)signal;
	interrupted = 1;
}

void close_session(struct session *session)
{
	if (session->fd >= 0)
		close(session->fd);
	session->fd = -1;
	free(session->buffer);
	session->buffer = NULL;
	session->length = 0;
}

/* Takes the reply over. */
void finish_session(struct session *session, json_t *reply, int code)
{
	json_decref(session->reply);
	session->reply = reply;
	session->code = code;
	session->done = true;
	if (!session->kept || code == EXIT_NO_PROCESS)
		close_session(session);
}

static void fail_session(struct session *session, const char *error, const char *message)
{
	finish_session(session, make_failure(error, message), EXIT_NO_PROCESS);
}

/* A process that ends closes its socket a moment before it is gone. */
static bool is_ending(pid_t pid)
{
	const struct timespec moment = {.tv_nsec = 5000000};

	for (int tries = 0; tries < 20 && process_exists(pid); tries++)
		nanosleep(&moment, NULL);
	return !process_exists(pid);
}

static void report_hangup(struct session *session)
{
	pid_t pid = session->process->pid;

	if (pid && is_ending(pid))
		fail_session(session, "ESRCH", "the process ended before it answered");
	else
		fail_session(session, "ECONNRESET", "the connection was closed before the answer");
}

/* The socket's send timeout bounds this; requests fit into any socket buffer. */
static bool send_request(struct session *session, const char *request)
{
	char *line = format_text("%s\n", request);
	size_t length = strlen(line), sent = 0;

	while (sent < length) {
		ssize_t part = send(session->fd, line + sent, length - sent, MSG_NOSIGNAL);

		if (part < 0 && errno == EINTR)
			continue;
		if (part < 0)
			break;
		sent += (size_t)part;
	}
	free(line);
	return sent == length;
}

static void open_session(struct session *session, const struct exchange *exchange)
{
	struct process *process = session->process;

	json_decref(session->hello);
	session->hello = NULL;
	session->done = false;
	session->started = now_ms();
	session->deadline =
		session->started +
		(exchange->hello_ms > 0 ? (uint64_t)exchange->hello_ms : HELLO_TIMEOUT_MS);
	session->fd = process->named ? connect_path(process) : connect_process(process);
	if (session->fd < 0)
		fail_session(session, process->error, process->problem);
}

static const char *request_of(const struct session *session, const struct exchange *exchange)
{
	return session->request ? session->request : exchange->request;
}

static uint64_t reply_deadline(const struct session *session, const struct exchange *exchange)
{
	int timeout_ms = session->request ? session->timeout_ms : exchange->timeout_ms;

	return timeout_ms ? now_ms() + (uint64_t)timeout_ms : 0;
}

/* The next request on a connection that was kept. */
static void ask_again(struct session *session, const struct exchange *exchange)
{
	json_decref(session->reply);
	json_decref(session->progress);
	session->reply = session->progress = NULL;
	session->length = 0;
	session->done = false;
	session->started = now_ms();
	session->deadline = reply_deadline(session, exchange);
	if (!send_request(session, request_of(session, exchange)))
		report_hangup(session);
}

/* Asks a session that is done, or new; from on_tick, while the exchange goes on. */
void ask_session(struct session *session, const struct exchange *exchange)
{
	if (session->fd >= 0)
		ask_again(session, exchange);
	else
		open_session(session, exchange);
}

/* A process that refuses the connection may say so in place of its hello. */
static void take_hello(struct session *session, json_t *object, const struct exchange *exchange)
{
	const char *command = field_text(object, "command");

	if (!field_present(object, "slabnode")) {
		if (field_text(object, "error"))
			finish_session(session, json_incref(object), reply_code(object));
		else
			fail_session(session, "EPROTO", "what answers there is not slabnode");
		return;
	}
	session->hello = json_incref(object);
	if (command && *command) {
		free(session->process->command);
		session->process->command = copy_text(command);
	}
	session->deadline = reply_deadline(session, exchange);
	if (!send_request(session, request_of(session, exchange)))
		report_hangup(session);
}

static void take_object(struct session *session, json_t *object, const struct exchange *exchange)
{
	json_t *progress = json_object_get(object, "progress");

	if (!session->hello) {
		take_hello(session, object, exchange);
	} else if (json_is_object(progress) && !field_present(object, "ok")) {
		json_decref(session->progress);
		session->progress = json_incref(progress);
		if (exchange->on_progress)
			exchange->on_progress(session, exchange->data);
	} else if (!exchange->on_object || !exchange->on_object(session, object, exchange->data)) {
		if (!session->done)
			finish_session(session, json_incref(object), reply_code(object));
	}
}

static void take_line(struct session *session, const char *line, size_t length,
		      const struct exchange *exchange)
{
	json_t *object = json_loadb(line, length, 0, NULL);

	if (!json_is_object(object))
		fail_session(session, "EPROTO", "the answer is not understood");
	else
		take_object(session, object, exchange);
	json_decref(object);
}

static void take_lines(struct session *session, size_t scanned, const struct exchange *exchange)
{
	size_t begin = 0;

	while (!session->done) {
		char *end = memchr(session->buffer + scanned, '\n', session->length - scanned);
		size_t length;

		if (!end)
			break;
		length = (size_t)(end - (session->buffer + begin));
		if (length)
			take_line(session, session->buffer + begin, length, exchange);
		begin += length + 1;
		scanned = begin;
	}
	if (session->done || !begin)
		return;
	session->length -= begin;
	memmove(session->buffer, session->buffer + begin, session->length);
}

static void read_session(struct session *session, const struct exchange *exchange)
{
	size_t scanned = session->length;
	ssize_t got;

	if (session->length > MAX_LINE) {
		fail_session(session, "EPROTO", "the answer is longer than any answer is");
		return;
	}
	session->buffer = grow(session->buffer, session->length + READ_STEP);
	got = recv(session->fd, session->buffer + session->length, READ_STEP, MSG_DONTWAIT);
	if (got < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (got <= 0) {
		report_hangup(session);
		return;
	}
	session->length += (size_t)got;
	take_lines(session, scanned, exchange);
}

static void report_timeout(struct session *session)
{
	pid_t pid = session->process->pid;

	fail_session(session, "ETIMEDOUT",
		     pid && process_stopped(pid) ? "no answer: the process is stopped"
						 : "no answer");
}

/* Ends what is overdue; tells how long poll may sleep. */
static void prepare_poll(struct session *sessions, size_t count, struct pollfd *polls,
			 int *sleep_ms)
{
	uint64_t now = now_ms();

	for (size_t i = 0; i < count; i++) {
		struct session *session = &sessions[i];

		if (!session->done && session->deadline && now >= session->deadline) {
			report_timeout(session);
			*sleep_ms = 0; /* the caller wants to know */
		}
		polls[i] =
			(struct pollfd){.fd = session->done ? -1 : session->fd, .events = POLLIN};
		if (session->done || !session->deadline)
			continue;
		if (*sleep_ms < 0 || session->deadline - now < (uint64_t)*sleep_ms)
			*sleep_ms = (int)(session->deadline - now);
	}
}

static void take_arrivals(struct session *sessions, size_t count, const struct pollfd *polls,
			  const struct exchange *exchange)
{
	for (size_t i = 0; i < count; i++)
		if (polls[i].revents && !sessions[i].done)
			read_session(&sessions[i], exchange);
}

/*
 * One turn for a loop of the caller's own: sleeps until a session, or one of the caller's
 * descriptors, has something to read, or one is overdue, at most sleep_ms; then takes what came.
 * The descriptors' revents are 0 after a signal.
 */
void serve_sessions(struct session *sessions, size_t count, const struct exchange *exchange,
		    struct pollfd *own, size_t own_count, int sleep_ms, const sigset_t *mask)
{
	struct pollfd *polls = grow(NULL, (count + own_count) * sizeof(*polls));
	struct timespec limit;
	int ready;

	prepare_poll(sessions, count, polls, &sleep_ms);
	limit = (struct timespec){sleep_ms / 1000, sleep_ms % 1000 * 1000000L};
	for (size_t i = 0; i < own_count; i++)
		polls[count + i] = own[i];
	ready = ppoll(polls, count + own_count, sleep_ms < 0 ? NULL : &limit, mask);
	for (size_t i = 0; i < own_count; i++)
		own[i].revents = ready < 0 ? 0 : polls[count + i].revents;
	if (ready >= 0)
		take_arrivals(sessions, count, polls, exchange);
	free(polls);
}

static bool any_open(const struct session *sessions, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!sessions[i].done)
			return true;
	return false;
}

static void poll_sessions(struct session *sessions, size_t count, const struct exchange *exchange,
			  const sigset_t *mask)
{
	int tick_ms = exchange->tick_ms ? exchange->tick_ms : TICK_MS;

	do {
		/* Whoever has no use for input polls a descriptor that is none. */
		struct pollfd input = {.fd = exchange->on_input ? STDIN_FILENO : -1,
				       .events = POLLIN};

		if (!any_open(sessions, count) && !exchange->finished)
			break;
		serve_sessions(sessions, count, exchange, &input, 1,
			       exchange->on_tick ? tick_ms : -1, mask);
		if (exchange->on_interrupt && take_interrupt()) {
			exchange->on_interrupt(sessions, count, exchange->data);
			continue;
		}
		if (input.revents)
			exchange->on_input(exchange->data);
		if (exchange->on_tick)
			exchange->on_tick(sessions, count, exchange->data);
	} while (!exchange->finished || !exchange->finished(exchange->data));
}

/* Signals are only taken inside ppoll, so none can slip in between a look and the sleep. */
void hold_signals(sigset_t *before)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction action = {.sa_handler = note_interrupt};
	sigset_t held;

	sigemptyset(&held);
	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		struct sigaction now;

		/* One that was ignored from the start, as under nohup, stays ignored. */
		if (sigaction(signals[i], NULL, &now) || now.sa_handler == SIG_IGN)
			continue;
		sigaction(signals[i], &action, NULL);
		sigaddset(&held, signals[i]);
	}
	sigprocmask(SIG_BLOCK, &held, before);
}

void release_signals(const sigset_t *before)
{
	sigprocmask(SIG_SETMASK, before, NULL);
}

bool take_interrupt(void)
{
	bool taken = interrupted;

	interrupted = 0;
	return taken;
}

/*
 * Sends the request to every process and returns when each session is done. The caller has set
 * only each session's process, and `kept` where the connection is to be used again.
 */
void run_exchange(struct session *sessions, size_t count, const struct exchange *exchange)
{
	sigset_t mask;

	if (exchange->on_interrupt)
		hold_signals(&mask);
	else
		sigprocmask(SIG_SETMASK, NULL, &mask);
	for (size_t i = 0; i < count; i++)
		ask_session(&sessions[i], exchange);
	poll_sessions(sessions, count, exchange, &mask);
	if (exchange->on_interrupt)
		release_signals(&mask);
}

/* One short question on a connection of its own; the reply belongs to the caller. */
json_t *ask_process(struct process *process, const char *request, int *code)
{
	struct session session = {.process = process, .fd = -1};
	struct exchange exchange = {.request = request, .timeout_ms = QUERY_TIMEOUT_MS};

	run_exchange(&session, 1, &exchange);
	json_decref(session.hello);
	json_decref(session.progress);
	*code = session.code;
	return session.reply;
}
