/*
 * One request to one or many processes at once, over their control sockets.
 */
#ifndef HOTPLUGCTL_EXCHANGE_H
#define HOTPLUGCTL_EXCHANGE_H

#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "process.h"

#define MAX_REQUEST 4096 /* bytes with the newline, fixed by the protocol */

/* How long a process may take to answer a question that waits for nothing. */
#define QUERY_TIMEOUT_MS 15000

struct session {
	struct process *process;
	const char *request; /* NULL: the exchange's, and its timeout */
	int timeout_ms;	     /* for the reply to a request of its own; 0: as long as it takes */
	int fd;		     /* -1: closed */
	char *buffer;
	size_t length;
	json_t *hello;
	json_t *progress; /* the latest */
	json_t *reply;	  /* what the process answered, or a failure that we found */
	uint64_t started;
	uint64_t deadline; /* 0: none */
	bool done;
	bool kept; /* the connection outlives an answer: run_exchange() may be called again */
	int code;  /* an exit code, valid when done */
};

struct exchange {
	const char *request;
	int timeout_ms; /* for the reply; 0: as long as it takes */
	int hello_ms;	/* for the hello of a new connection; 0: the usual three seconds */
	void (*on_progress)(struct session *session, void *data);
	/* Each object that is not the hello or progress; true: it was not the reply. */
	bool (*on_object)(struct session *session, json_t *object, void *data);
	/* After every arrival and at least every tick_ms, while replies are missing. */
	void (*on_tick)(struct session *sessions, size_t count, void *data);
	/* On each SIGINT, SIGTERM or SIGHUP; NULL: these end the program as usual. */
	void (*on_interrupt)(struct session *sessions, size_t count, void *data);
	int tick_ms; /* 0: five times a second */
	/* When there is something to read on stdin; NULL: stdin is not looked at. */
	void (*on_input)(void *data);
	/* Looked at after every tick: the loop ends when it is true, not with the last reply. */
	bool (*finished)(void *data);
	void *data;
};

/*
 * SIGINT, SIGTERM and SIGHUP are held back, but for the time of a ppoll() with `before`; whoever
 * polls asks after it whether one came.
 */
void hold_signals(sigset_t *before);
void release_signals(const sigset_t *before);
bool take_interrupt(void);

void ask_session(struct session *session, const struct exchange *exchange);
void serve_sessions(struct session *sessions, size_t count, const struct exchange *exchange,
		    struct pollfd *own, size_t own_count, int sleep_ms, const sigset_t *mask);
void run_exchange(struct session *sessions, size_t count, const struct exchange *exchange);
void finish_session(struct session *session, json_t *reply, int code);
void close_session(struct session *session);
json_t *ask_process(struct process *process, const char *request, int *code);

#endif
