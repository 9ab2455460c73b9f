/*
 * client.c - connections: see client.h.
 *
 * A hang-up is the loss of both directions, which poll() reports as POLLHUP; the end of the
 * client's writing side alone is none ("echo status | socat - UNIX-CONNECT:..." must work).  What
 * was sent before a hang-up still counts as sent.
 *
 * Limits, all for the sake of the others: at most SN_MAX_CLIENTS connections, and when all are
 * taken the one that has been silent longest, with nothing under way, makes room for a new one; a
 * client that leaves its output unread is asked for no further input, and goes after
 * STALL_LIMIT_MS; one that broke the rules is told so and goes.
 */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"
#include "command.h"
#include "rundir.h"
#include "show.h"
#include "threads.h"

/* No further request is taken while this much output waits. */
#define ENOUGH_OUTPUT  ((size_t)64 << 10)
#define STALL_LIMIT_MS 30000
#define LINGER_MS      2000
#define IDLE_LIMIT_MS  5000
/* Requests of one client in a row, before the others have their turn. */
#define LINES_IN_A_ROW 16

static struct sn_client *clients[SN_MAX_CLIENTS];

static void free_client(struct sn_client *client)
{
	sn_reply_free(&client->output);
	sn_control_unmap(client, sizeof(*client));
}

static void drop(unsigned int slot)
{
	struct sn_client *client = clients[slot];

	clients[slot] = NULL;
	if (client->operation)
		sn_operation_hang_up(client->operation);
	sn_fd_close(&client->fd);
	free_client(client);
}

/* Errors of a connection that has no client yet; one small message always fits. */
static void turn_away(int number, int error, const char *message)
{
	struct sn_reply reply = {0};

	sn_reply_error(&reply, error, message);
	if (reply.length)
		send(number, reply.data, reply.length, MSG_NOSIGNAL | MSG_DONTWAIT);
	sn_reply_free(&reply);
	close(number);
}

/* A free slot, or that of the client that was silent longest; -1: all are at work. */
static int find_slot(int64_t now)
{
	int64_t oldest = now - IDLE_LIMIT_MS + 1;
	int slot = -1;

	for (unsigned int i = 0; i < SN_MAX_CLIENTS; i++) {
		const struct sn_client *client = clients[i];

		if (!client)
			return (int)i;
		if (!client->operation && !client->following && client->active_ms < oldest) {
			oldest = client->active_ms;
			slot = (int)i;
		}
	}
	if (slot >= 0)
		drop((unsigned int)slot);
	return slot;
}

static bool is_permitted(int number)
{
	struct ucred peer;
	socklen_t length = sizeof(peer);

	if (getsockopt(number, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0)
		return false;
	return peer.uid == 0 || peer.uid == sn_effective_user();
}

/* With its hello, without which it must not hear anything else. */
static struct sn_client *new_client(int64_t now)
{
	struct sn_client *client = sn_control_map(sizeof(*client));

	if (!client)
		return NULL;
	client->active_ms = now;
	sn_show_hello(&client->output);
	if (client->output.failed) {
		free_client(client);
		return NULL;
	}
	return client;
}

void sn_clients_add(int number)
{
	int64_t now = sn_now_ms();
	struct sn_client *client;
	int slot;

	if (!is_permitted(number)) {
		turn_away(number, -EPERM, "only the process's own user and root may ask");
		return;
	}
	slot = find_slot(now);
	if (slot < 0) {
		turn_away(number, -EAGAIN, "too many clients");
		return;
	}
	client = new_client(now);
	if (!client) {
		turn_away(number, -ENOMEM, "no memory for another client");
		return;
	}
	if (sn_fd_adopt(&client->fd, number))
		clients[slot] = client;
	else
		free_client(client);
}

static bool is_busy(const struct sn_client *client)
{
	return client->operation || client->following;
}

static bool wants_input(const struct sn_client *client)
{
	return !client->input_ended && !is_busy(client) &&
	       (client->closing || sn_reply_pending(&client->output) < ENOUGH_OUTPUT);
}

unsigned int sn_clients_poll(struct pollfd *poll)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < SN_MAX_CLIENTS; i++) {
		struct sn_client *client = clients[i];
		short events = 0;
		int number;

		if (!client)
			continue;
		number = sn_fd_use(&client->fd);
		if (number < 0) {
			drop(i); /* the program has closed it */
			continue;
		}
		if (wants_input(client))
			events |= POLLIN;
		if (sn_reply_pending(&client->output) && !client->output_broken)
			events |= POLLOUT;
		poll[count++] = (struct pollfd){.fd = number, .events = events};
	}
	return count;
}

static short reported(const struct pollfd *poll, unsigned int count, int number)
{
	for (unsigned int i = 0; i < count; i++)
		if (poll[i].fd == number)
			return poll[i].revents;
	return 0;
}

/* The client broke the rules: it gets the reason and no more. */
static void close_with(struct sn_client *client, const char *message)
{
	sn_reply_error(&client->output, -EINVAL, message);
	client->closing = true;
	client->input_length = 0;
}

/* Takes one line out of the input and carries it out; false: there is no whole line. */
static bool next_line(struct sn_client *client)
{
	char line[SN_MAX_LINE];
	char *end = memchr(client->input, '\n', client->input_length);
	size_t length;

	if (!end)
		return false;
	length = (size_t)(end - client->input);
	memcpy(line, client->input, length);
	line[length] = '\0';
	client->input_length -= length + 1;
	memmove(client->input, end + 1, client->input_length);
	sn_command(client, line, length);
	return true;
}

static void take_lines(struct sn_client *client)
{
	for (int i = 0; i < LINES_IN_A_ROW; i++)
		if (is_busy(client) || client->closing || client->output.failed ||
		    sn_reply_pending(&client->output) >= ENOUGH_OUTPUT || !next_line(client))
			break;
	if (client->closing || is_busy(client) || client->output.failed)
		return;
	if (client->input_length == SN_MAX_LINE &&
	    !memchr(client->input, '\n', client->input_length))
		close_with(client, "a request is one line of at most 4096 bytes");
	else if (client->input_ended && client->input_length &&
		 !memchr(client->input, '\n', client->input_length))
		close_with(client, "the last line was not ended");
}

static void receive(struct sn_client *client)
{
	ssize_t got;

	if (client->closing)
		client->input_length = 0; /* read and thrown away */
	if (client->input_length == SN_MAX_LINE)
		return;
	got = recv(client->fd.number, client->input + client->input_length,
		   SN_MAX_LINE - client->input_length, MSG_DONTWAIT);
	if (got > 0) {
		client->input_length += (size_t)got;
		if (!client->closing)
			client->active_ms = sn_now_ms();
	} else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
		client->input_ended = true;
	}
}

static void transmit(struct sn_client *client, int64_t now)
{
	ssize_t sent;

	if (client->output_broken)
		sn_reply_consume(&client->output, sn_reply_pending(&client->output));
	while (sn_reply_pending(&client->output)) {
		sent = send(client->fd.number, sn_reply_next(&client->output),
			    sn_reply_pending(&client->output), MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent > 0) {
			sn_reply_consume(&client->output, (size_t)sent);
			client->stalled_ms = 0;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno == EAGAIN) {
			if (!client->stalled_ms)
				client->stalled_ms = now;
			return;
		}
		client->output_broken = true;
		sn_reply_consume(&client->output, sn_reply_pending(&client->output));
	}
	client->stalled_ms = 0;
}

static void collect(struct sn_client *client)
{
	if (client->operation && sn_operation_collect(client->operation, &client->output)) {
		client->operation = NULL;
		client->active_ms = sn_now_ms();
	}
	if (client->following)
		sn_command_follow(client);
}

/* All is said: shuts down our side first and lets the client read in peace. */
static bool is_done(struct sn_client *client, int64_t now)
{
	if (sn_reply_pending(&client->output) || is_busy(client))
		return false;
	if (client->closing && !client->lingering) {
		client->lingering = true;
		client->active_ms = now;
		shutdown(client->fd.number, SHUT_WR);
	}
	if (!client->input_ended)
		return client->closing && now - client->active_ms >= LINGER_MS;
	return client->closing || client->input_length == 0;
}

static bool must_go(struct sn_client *client, int64_t now)
{
	/* Nobody is there, and nobody waits for what is under way. */
	if (client->hung_up && (is_busy(client) || client->closing))
		return true;
	if (client->output.failed)
		return true;
	if (client->stalled_ms && now - client->stalled_ms >= STALL_LIMIT_MS)
		return true;
	return is_done(client, now);
}

static void serve(unsigned int slot, short events, int64_t now)
{
	struct sn_client *client = clients[slot];

	if (events & (POLLHUP | POLLERR | POLLNVAL))
		client->hung_up = true;
	/* A busy client's requests wait, but for one that hung up there is no later. */
	if ((events & POLLIN) || (client->hung_up && wants_input(client)))
		receive(client);
	take_lines(client);
	collect(client);
	transmit(client, now);
	if (must_go(client, now))
		drop(slot);
}

void sn_clients_serve(const struct pollfd *poll, unsigned int count)
{
	int64_t now = sn_now_ms();

	for (unsigned int i = 0; i < SN_MAX_CLIENTS; i++)
		if (clients[i])
			serve(i, reported(poll, count, clients[i]->fd.number), now);
}

/* Whether a whole line waits that can be carried out without hearing from the client. */
static bool has_more(const struct sn_client *client)
{
	return !is_busy(client) && !client->closing &&
	       sn_reply_pending(&client->output) < ENOUGH_OUTPUT &&
	       memchr(client->input, '\n', client->input_length);
}

int64_t sn_clients_due(void)
{
	int64_t now = sn_now_ms(), due = -1;

	for (unsigned int i = 0; i < SN_MAX_CLIENTS; i++) {
		const struct sn_client *client = clients[i];
		int64_t at = -1;

		if (!client)
			continue;
		if (has_more(client))
			return 0;
		if (client->stalled_ms)
			at = client->stalled_ms + STALL_LIMIT_MS;
		else if (client->lingering)
			at = client->active_ms + LINGER_MS;
		if (at >= 0 && (due < 0 || at - now < due))
			due = at > now ? at - now : 0;
	}
	return due;
}

bool sn_clients_full(void)
{
	for (unsigned int i = 0; i < SN_MAX_CLIENTS; i++)
		if (!clients[i])
			return false;
	return true;
}

bool sn_clients_following(void)
{
	for (unsigned int i = 0; i < SN_MAX_CLIENTS; i++)
		if (clients[i] && clients[i]->following)
			return true;
	return false;
}

void sn_clients_close_all(void)
{
	int64_t now = sn_now_ms();

	for (unsigned int i = 0; i < SN_MAX_CLIENTS; i++) {
		if (!clients[i])
			continue;
		collect(clients[i]); /* the last replies */
		transmit(clients[i], now);
		drop(i);
	}
}

void sn_clients_forget(void)
{
	memset(clients, 0, sizeof(clients));
}
