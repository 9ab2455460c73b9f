/* SPDX-License-Identifier: MIT */
/*
 * slabnode-load - a client that notices each request a server is late with.
 *
 *	slabnode-load redis|memcached SOCKET fill KEYS SIZE
 *	slabnode-load redis|memcached SOCKET open KEYS SIZE SECONDS RATE CONNECTIONS
 *	slabnode-load redis|memcached SOCKET closed KEYS SIZE SECONDS CONNECTIONS
 *
 * open: requests are due at fixed times, RATE a second over all connections, whether the server
 * keeps up or not, and a request's latency counts from when it was due.  A client that waits for an
 * answer before it asks again would see one slow answer where a thousand users see a thousand.
 * closed: each connection asks again as soon as it is answered; the answers are the throughput.
 * Both end after SECONDS, or earlier by SIGTERM.
 *
 * Half of the requests set a key to a value of SIZE/2 to 3/2 SIZE bytes, the others get one.  Each
 * answer is written to standard output as two 64-bit numbers: when the request was due, by
 * CLOCK_MONOTONIC, and how many nanoseconds later its answer was there.  What happened meanwhile
 * whoever started the client knows by the same clock.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNECTIONS 64
#define MAX_VALUE	((size_t)1 << 20)
#define LATE_NS		UINT64_C(30000000000) /* no answer for so long: the server is gone */
#define WAITING		((uint64_t)1 << 14)   /* requests on one connection */

struct connection {
	int fd;
	char *out; /* not yet sent */
	size_t out_from, out_to;
	char *in; /* an answer of which only a part is there */
	size_t in_used;
	uint64_t due[WAITING]; /* of requests that wait for their answers */
	uint64_t first, last;
};

static struct connection connections[MAX_CONNECTIONS];
static unsigned int nr_connections;
static bool redis;
static uint64_t keys, mean_size, seed = 88172645463325252u;
static uint64_t *samples;
static size_t nr_samples, max_samples;
static char *filler;
static volatile sig_atomic_t stopping;

static _Noreturn __attribute__((format(printf, 1, 2))) void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fprintf(stderr, "slabnode-load: ");
	vfprintf(stderr, format, args);
	fprintf(stderr, "\n");
	va_end(args);
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void *map(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		die("no memory");
	return p;
}

static uint64_t draw(uint64_t bound)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 11) % bound;
}

/* --- requests and answers ----------------------------------------------------------------------
 */

static void put(struct connection *c, const char *text, size_t len)
{
	memcpy(c->out + c->out_to, text, len);
	c->out_to += len;
}

static __attribute__((format(printf, 2, 3))) void put_line(struct connection *c, const char *format,
							   ...)
{
	char line[160];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	put(c, line, (size_t)n);
}

static void put_set(struct connection *c, uint64_t key, size_t size)
{
	if (redis)
		put_line(c, "*3\r\n$3\r\nSET\r\n$12\r\nkey:%08llu\r\n$%zu\r\n",
			 (unsigned long long)key, size);
	else
		put_line(c, "set key:%08llu 0 0 %zu\r\n", (unsigned long long)key, size);
	put(c, filler, size);
	put(c, "\r\n", 2);
}

static void put_get(struct connection *c, uint64_t key)
{
	if (redis)
		put_line(c, "*2\r\n$3\r\nGET\r\n$12\r\nkey:%08llu\r\n", (unsigned long long)key);
	else
		put_line(c, "get key:%08llu\r\n", (unsigned long long)key);
}

static size_t value_size(void)
{
	return mean_size / 2 + draw(mean_size + 1);
}

/* The length of the answer at the start of the text; 0: it is not all there. */
static size_t answer_length(const char *text, size_t have)
{
	const char *end = memmem(text, have, "\r\n", 2);
	size_t line = end == NULL ? 0 : (size_t)(end - text) + 2, value = 0;
	long long told;

	if (line == 0)
		return 0;
	if (text[0] == '-' || strncmp(text, "SERVER_ERROR", 12) == 0 ||
	    strncmp(text, "ERROR", 5) == 0)
		die("the server answered: %.*s", (int)line - 2, text);
	if (redis && text[0] == '$') {
		told = atoll(text + 1);
		value = told < 0 ? 0 : (size_t)told + 2;
	} else if (!redis && strncmp(text, "VALUE ", 6) == 0) {
		told = atoll((const char *)memrchr(text, ' ', line) + 1);
		value = (size_t)told + 2 + strlen("END\r\n");
	}
	return line + value <= have ? line + value : 0;
}

/* --- connections --------------------------------------------------------------------------------
 */

static void connect_all(const char *path, unsigned int count)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (count == 0 || count > MAX_CONNECTIONS || strlen(path) >= sizeof(address.sun_path))
		die("1 to %d connections to a path of at most %zu bytes", MAX_CONNECTIONS,
		    sizeof(address.sun_path) - 1);
	strcpy(address.sun_path, path);
	for (nr_connections = 0; nr_connections < count; nr_connections++) {
		struct connection *c = &connections[nr_connections];

		c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof(address)) != 0)
			die("%s: %s", path, strerror(errno));
		c->out = map(64 * MAX_VALUE);
		c->in = map(4 * MAX_VALUE);
	}
}

static void send_some(struct connection *c)
{
	while (c->out_from < c->out_to) {
		ssize_t n = send(c->fd, c->out + c->out_from, c->out_to - c->out_from,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n < 0)
			die("the server is gone: %s", strerror(errno));
		c->out_from += (size_t)n;
	}
	c->out_from = c->out_to = 0;
}

static void note(uint64_t due, uint64_t took)
{
	if (nr_samples == max_samples)
		die("more than %zu answers", max_samples);
	samples[2 * nr_samples] = due;
	samples[2 * nr_samples + 1] = took;
	nr_samples++;
}

/* Returns how many answers came. */
static unsigned int receive_some(struct connection *c)
{
	ssize_t n = recv(c->fd, c->in + c->in_used, 4 * MAX_VALUE - c->in_used, MSG_DONTWAIT);
	unsigned int answers = 0;
	size_t at = 0, len;
	uint64_t now;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0)
		die("the server closed a connection");
	c->in_used += (size_t)n;
	now = now_ns();
	while ((len = answer_length(c->in + at, c->in_used - at)) > 0) {
		if (c->first == c->last)
			die("an answer that was not asked for");
		if (samples != NULL)
			note(c->due[c->first % WAITING], now - c->due[c->first % WAITING]);
		c->first++;
		at += len;
		answers++;
	}
	memmove(c->in, c->in + at, c->in_used - at);
	c->in_used -= at;
	return answers;
}

/* false: the connection can take no more for now. */
static bool ask(struct connection *c, uint64_t due)
{
	if (c->last - c->first == WAITING || c->out_to > 60 * MAX_VALUE)
		return false;
	c->due[c->last++ % WAITING] = due;
	if (draw(2) == 0)
		put_set(c, draw(keys), value_size());
	else
		put_get(c, draw(keys));
	return true;
}

/* Sleeps until something can be sent or received, at most until `until` (0: LATE_NS). */
static void serve(uint64_t until)
{
	struct pollfd fds[MAX_CONNECTIONS];
	uint64_t now = now_ns(), wait = until == 0 ? LATE_NS : until > now ? until - now : 0;
	struct timespec timeout = {.tv_sec = (time_t)(wait / 1000000000u),
				   .tv_nsec = (long)(wait % 1000000000u)};

	for (unsigned int i = 0; i < nr_connections; i++) {
		struct connection *c = &connections[i];

		fds[i] = (struct pollfd){.fd = c->fd, .events = POLLIN};
		if (c->out_from < c->out_to)
			fds[i].events |= POLLOUT;
	}
	if (ppoll(fds, nr_connections, &timeout, NULL) == 0 && until == 0)
		die("no answer for %llu s", (unsigned long long)(LATE_NS / 1000000000u));
	for (unsigned int i = 0; i < nr_connections; i++) {
		if (fds[i].revents & (POLLIN | POLLHUP | POLLERR))
			receive_some(&connections[i]);
		send_some(&connections[i]);
	}
}

static bool any_waits(void)
{
	for (unsigned int i = 0; i < nr_connections; i++)
		if (connections[i].first != connections[i].last)
			return true;
	return false;
}

static void finish(void)
{
	while (any_waits())
		serve(0);
}

/* --- loads --------------------------------------------------------------------------------------
 */

static void fill(void)
{
	struct connection *c = &connections[0];

	for (uint64_t key = 0; key < keys; key++) {
		while (c->last - c->first >= 1000)
			serve(0);
		c->due[c->last++ % WAITING] = now_ns();
		put_set(c, key, value_size());
		send_some(c);
	}
	finish();
}

static void run_open(double seconds, double rate)
{
	uint64_t begin = now_ns(), count = (uint64_t)(seconds * rate), done = 0;

	while (done < count && !stopping) {
		uint64_t due = begin + (uint64_t)((double)done * 1e9 / rate), now = now_ns();

		if (due > now)
			serve(due);
		/* A connection that can take no more keeps its requests' dates. */
		else if (ask(&connections[done % nr_connections], due))
			send_some(&connections[done++ % nr_connections]);
		else
			serve(now + 1000000);
	}
	finish();
}

static void run_closed(double seconds)
{
	uint64_t end = now_ns() + (uint64_t)(seconds * 1e9), now;

	while ((now = now_ns()) < end && !stopping) {
		for (unsigned int i = 0; i < nr_connections; i++)
			if (connections[i].first == connections[i].last &&
			    ask(&connections[i], now))
				send_some(&connections[i]);
		serve(0);
	}
	finish();
}

static void on_signal(int number)
{
	(void)number;
	stopping = 1;
}

static void samples_begin(double most)
{
	const struct sigaction action = {.sa_handler = on_signal};

	sigaction(SIGTERM, &action, NULL);
	max_samples = (size_t)most + 1;
	samples = map(max_samples * 2 * sizeof(*samples));
}

static void samples_write(void)
{
	const char *at = (const char *)samples;
	size_t left = nr_samples * 2 * sizeof(*samples);

	while (left > 0) {
		ssize_t n = write(STDOUT_FILENO, at, left);

		if (n < 0)
			die("standard output: %s", strerror(errno));
		at += n;
		left -= (size_t)n;
	}
}

static double number(const char *text)
{
	char *end;
	double value = strtod(text, &end);

	if (*text == '\0' || *end != '\0' || !(value > 0))
		die("'%s' is no number above 0", text);
	return value;
}

static void usage(void)
{
	die("usage: redis|memcached SOCKET fill KEYS SIZE | open KEYS SIZE SECONDS RATE "
	    "CONNECTIONS | closed KEYS SIZE SECONDS CONNECTIONS");
}

int main(int argc, char **argv)
{
	if (argc < 6)
		usage();
	redis = strcmp(argv[1], "redis") == 0;
	keys = (uint64_t)number(argv[4]);
	mean_size = (uint64_t)number(argv[5]);
	if ((!redis && strcmp(argv[1], "memcached") != 0) || mean_size > MAX_VALUE / 2)
		usage();
	filler = map(MAX_VALUE);
	memset(filler, 'x', MAX_VALUE);
	if (argc == 6 && strcmp(argv[3], "fill") == 0) {
		connect_all(argv[2], 1);
		fill();
	} else if (argc == 9 && strcmp(argv[3], "open") == 0) {
		samples_begin(number(argv[6]) * number(argv[7]));
		connect_all(argv[2], (unsigned int)number(argv[8]));
		run_open(number(argv[6]), number(argv[7]));
	} else if (argc == 8 && strcmp(argv[3], "closed") == 0) {
		samples_begin(number(argv[6]) * 1e6);
		connect_all(argv[2], (unsigned int)number(argv[7]));
		run_closed(number(argv[6]));
	} else {
		usage();
	}
	samples_write();
	return 0;
}
