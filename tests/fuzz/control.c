/*
 * control.c - the control socket: clients that say anything, in pieces of any length, go at any
 * time, read or do not, while workers get stuck anywhere and memory runs out.
 *
 * An input is what a few clients send.  Some control characters, which have no place in a request,
 * are steps instead: see step().  At the end everybody reads, what is under way is cancelled, and
 * these must hold:
 *
 *  - what a client read is lines of JSON, the first one the hello;
 *  - a client that kept to the rules and stayed has one reply for each of its lines;
 *  - no memory, no descriptor and no operation is left.
 *
 * Real are client.c, command.c, reply.c, show.c, worker.c and fd.c; of threads and time there is an
 * imitation (fibers.h), and the allocator is that of tests/control.
 */
#include "fibers.h"
#include "fuzz.h"
#include "mappings.h"

#include <fcntl.h>
#include <jansson.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"
#include "control.h"
#include "imitation.h"
#include "internal.h"
#include "thread.h"
#include "threads.h"

#define CLIENTS	     4
#define CROWD	     70
#define MOST_ROUNDS  4000
#define LONG_ENOUGH  100 /* rounds of going on before what waits for ever is cancelled */
#define QUIET_ROUNDS 3
#define OUTPUT_SIZE  ((size_t)1 << 20)
#define READ_AT_ONCE 3000

/* A client's end of a connection. */
struct client {
	int fd;		    /* -1: none */
	size_t line;	    /* length of the line it is sending */
	bool follows;	    /* asked for events as they come: its later lines wait for ever */
	bool broke_rules;   /* a line that is too long */
	bool ended;	    /* sends no more */
	unsigned int lines; /* sent whole */
	unsigned int replies;
	bool greeted, closed;
	size_t got;
	char *output; /* the line it is reading */
	char text[SN_MAX_LINE + 1];
};

static struct client clients[CLIENTS];
static int crowd[CROWD];
static unsigned int crowd_size;
static unsigned int talking, connections;
/* Not everybody can expect replies: time went by, places or memory ran out. */
static bool patience_lost;

static struct sn_control_config config;
const struct sn_control_config *sn_control_config = &config;

void sn_internal_enter(void)
{
}

bool sn_thread_ends(void)
{
	return true;
}

void sn_internal_leave(void)
{
}

void sn_control_notify(void)
{
}

const char *sn_control_socket(void)
{
	return "/run/slabnode/1.sock";
}

int64_t imitation_now(void)
{
	return sn_now_ms();
}

void imitation_pause(long ms)
{
	fibers_wait(ms);
}

/* --- the server's loop ----------------------------------------------------------------------- */

static void serve(void)
{
	struct pollfd fds[SN_MAX_CLIENTS];
	unsigned int count = sn_clients_poll(fds);

	FUZZ_CHECK(count <= SN_MAX_CLIENTS);
	poll(fds, count, 0);
	sn_clients_serve(fds, count);
	FUZZ_CHECK(sn_clients_due() >= -1);
	sn_operations_retry();
}

/* --- the clients ----------------------------------------------------------------------------- */

/* Of more clients than there are places some may be turned away: the places of those that went are
 * free when the server has looked. */
static bool connect_pair(int *fd)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0)
		return false;
	patience_lost |= ++connections > SN_MAX_CLIENTS;
	*fd = ends[0];
	sn_clients_add(ends[1]);
	return true;
}

static struct client *client_now(void)
{
	struct client *client = &clients[talking];

	if (client->fd < 0) {
		char *output = client->output;

		*client = (struct client){.fd = -1, .output = output};
		FUZZ_CHECK(connect_pair(&client->fd));
	}
	return client;
}

static void check_line(struct client *client, const char *line, size_t length)
{
	/* Numbers of 64 bits without a sign do not fit jansson's integers. */
	json_t *object =
		json_loadb(line, length, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, NULL);

	FUZZ_CHECK(json_is_object(object));
	if (!client->greeted && json_object_get(object, "slabnode"))
		client->greeted = true;
	else if (json_object_get(object, "ok"))
		client->replies++;
	else
		FUZZ_CHECK(json_object_get(object, "progress") || json_object_get(object, "seq"));
	/* Who was turned away was told why, and nothing else. */
	FUZZ_CHECK(client->greeted || json_is_false(json_object_get(object, "ok")));
	json_decref(object);
}

/* Takes the first whole line out of what was read. */
static bool take_line(struct client *client)
{
	char *end = memchr(client->output, '\n', client->got);
	size_t length;

	if (end == NULL)
		return false;
	length = (size_t)(end - client->output);
	check_line(client, client->output, length);
	client->got -= length + 1;
	memmove(client->output, end + 1, client->got);
	return true;
}

/* How much it got, of `most`. */
static size_t read_some(struct client *client, size_t most)
{
	size_t sum = 0;

	while (client->fd >= 0 && sum < most) {
		size_t room = sn_min(OUTPUT_SIZE - client->got, most - sum);
		ssize_t n = recv(client->fd, client->output + client->got, room, 0);

		if (n <= 0) {
			client->closed = n == 0 || errno != EAGAIN;
			FUZZ_CHECK(!client->closed || client->got == 0 || patience_lost);
			return sum;
		}
		sum += (size_t)n;
		client->got += (size_t)n;
		while (take_line(client))
			;
		FUZZ_CHECK(client->got < OUTPUT_SIZE);
	}
	return sum;
}

/* What of it the server will have seen as lines. */
static void count_byte(struct client *client, char byte)
{
	if (client->broke_rules || client->follows)
		return;
	if (byte != '\n') {
		client->broke_rules = client->line == SN_MAX_LINE - 1;
		client->text[client->line++] = byte;
		return;
	}
	client->text[client->line] = '\0';
	client->lines++;
	client->line = 0;
	client->follows = strstr(client->text, "follow=1") != NULL;
}

static void say(const char *bytes, size_t length)
{
	struct client *client = client_now();
	ssize_t sent = client->ended ? 0 : send(client->fd, bytes, length, MSG_NOSIGNAL);

	/* What does not fit, or comes too late, is not sent. */
	for (ssize_t i = 0; i < sent; i++)
		count_byte(client, bytes[i]);
}

static void hang_up(struct client *client)
{
	if (client->fd >= 0)
		close(client->fd);
	client->fd = -1;
}

static void stop_sending(struct client *client)
{
	if (client->fd >= 0)
		shutdown(client->fd, SHUT_WR);
	client->ended = true;
}

static void let_crowd_in(void)
{
	while (crowd_size < CROWD && connect_pair(&crowd[crowd_size]))
		crowd_size++;
	patience_lost = true;
}

/* --- an input -------------------------------------------------------------------------------- */

static void pass_time(int64_t ms)
{
	fibers_advance(ms);
	patience_lost = true;
}

/* The steps; false: the byte is one to be sent. */
static bool step(char byte)
{
	switch (byte) {
	case 0x01: /* the next client speaks */
		talking = (talking + 1) % CLIENTS;
		return true;
	case 0x02: /* the server's turn */
		serve();
		return true;
	case 0x03: /* a worker's turn */
		fibers_step();
		return true;
	case 0x04: /* the client reads a part */
		read_some(&clients[talking], READ_AT_ONCE);
		return true;
	case 0x05: /* it sends no more */
		stop_sending(client_now());
		return true;
	case 0x06: /* it goes */
		hang_up(&clients[talking]);
		return true;
	case 0x07: /* the program changes a node's state */
		imitation_event(SN_FIRST_NODE, SN_ONLINE, "MEM_ONLINE");
		return true;
	case 0x0e:
		pass_time(3000);
		return true;
	case 0x0f:
		pass_time(40000);
		return true;
	case 0x10: /* a lot of clients that say nothing */
		let_crowd_in();
		return true;
	case 0x11: /* the next mapping is refused; twice: the one after it */
		mappings_fail++;
		patience_lost = true;
		return true;
	case 0x12: /* tables become long */
		imitation_caches = SN_MAX_CACHES;
		return true;
	default:
		return false;
	}
}

static void run_input(const char *data, size_t size)
{
	size_t from = 0;

	for (size_t at = 0; at < size; at++) {
		bool escape = data[at] == 0x1b;

		if (!escape && ((unsigned char)data[at] >= 0x20 || data[at] == '\n'))
			continue;
		say(data + from, at - from);
		from = at + 1;
		/* Escaped, or of no meaning: a byte as any other. */
		if (escape && at + 1 < size)
			at++, from++;
		if (escape || !step(data[at]))
			say(data + at, 1);
	}
	say(data + from, size - from);
	serve();
}

/* Whether the server has yet to read what the client sent, and will. */
static bool is_unheard(const struct client *client)
{
	int unread = 0;

	if (client->fd < 0 || client->closed || client->follows)
		return false;
	return ioctl(client->fd, SIOCOUTQ, &unread) == 0 && unread > 0;
}

/* One round of everybody; whether anything moved. */
static bool go_on(void)
{
	bool moved = fibers_step();

	serve();
	moved |= sn_clients_due() == 0;
	for (unsigned int i = 0; i < CLIENTS; i++) {
		moved |= is_unheard(&clients[i]);
		moved |= read_some(&clients[i], SIZE_MAX) > 0;
	}
	return moved;
}

/* Until nothing moves any more. */
static void settle(void)
{
	unsigned int quiet = 0;

	mappings_fail = 0;
	for (unsigned int i = 0; i < MOST_ROUNDS && quiet < QUIET_ROUNDS; i++) {
		quiet = go_on() ? 0 : quiet + 1;
		for (unsigned int n = SN_FIRST_NODE; i > LONG_ENOUGH && n < sn_node_end; n++)
			imitation_cancel(n);
	}
	FUZZ_CHECK(quiet == QUIET_ROUNDS);
}

static void check_replies(const struct client *client)
{
	unsigned int more = client->broke_rules || (client->ended && client->line > 0);
	unsigned int expected = client->lines + more;

	if (client->fd < 0 || patience_lost)
		return;
	FUZZ_CHECK(client->greeted);
	if (client->follows)
		/* Refused, or not: then it gets no reply. */
		FUZZ_CHECK(client->replies + 1 >= client->lines);
	else
		FUZZ_CHECK(client->replies == expected);
	FUZZ_CHECK(!client->ended || client->follows || client->closed);
}

static void start(void)
{
	config = imitation_config;
	imitation_start();
	imitation_caches = 1;
	fibers_reset();
	sn_event_hook = NULL;
	for (unsigned int i = 0; i < CLIENTS; i++) {
		char *output = clients[i].output;

		clients[i] = (struct client){.fd = -1, .output = output};
		if (output == NULL)
			clients[i].output = malloc(OUTPUT_SIZE);
	}
	talking = connections = 0;
	patience_lost = false;
}

static void end(void)
{
	for (unsigned int i = 0; i < CLIENTS; i++)
		hang_up(&clients[i]);
	while (crowd_size > 0)
		close(crowd[--crowd_size]);
	for (unsigned int i = 0; i < 4; i++)
		serve();
	sn_clients_close_all();
	sn_operations_end(1000);
	for (unsigned int i = 0; i < MOST_ROUNDS && fibers_step(); i++)
		sn_operations_retry();
	FUZZ_CHECK(fibers_alive() == 0);
}

static int lowest_free_descriptor(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	close(fd);
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int descriptor = lowest_free_descriptor();
	size_t bytes = mappings_bytes;

	start();
	run_input((const char *)data, size);
	settle();
	for (unsigned int i = 0; i < CLIENTS; i++)
		check_replies(&clients[i]);
	end();
	FUZZ_CHECK(lowest_free_descriptor() == descriptor);
	FUZZ_CHECK(mappings_bytes == bytes);
	return 0;
}
