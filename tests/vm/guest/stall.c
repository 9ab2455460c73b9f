/*
 * stall.c - how long a redis server lets a client wait.
 *
 *	stall PORT CPU
 *
 * Sends a PING, waits for the answer, rests a millisecond, and so on until SIGTERM.  It runs on the
 * CPU with real-time priority, so that what it waits for is the server.  At each SIGUSR1 it tells
 * of the time since the one before:
 *
 *	waited MS late MS over MS asked N
 *
 * the longest time until an answer came, the longest time by which it woke too late itself, how
 * long it was in all, and the number of requests.
 */
#include "guest.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>

static const char ping[] = "PING\r\n", pong[] = "+PONG\r\n";
static volatile sig_atomic_t end, tell;
static volatile double told_to_at; /* one signal at a time: whoever sends it waits for the line */

static void on_signal(int number)
{
	if (number == SIGTERM)
		end = 1;
	told_to_at = now_sec();
	tell = 1;
}

static int connect_to(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int server = socket(AF_INET, SOCK_STREAM, 0), yes = 1;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
	if (connect(server, (struct sockaddr *)&address, sizeof(address)) != 0)
		die("no server on port %d", port);
	return server;
}

static double ask(int server)
{
	double begin = now_sec();
	char answer[sizeof(pong)] = "";
	size_t got = 0;

	if (send(server, ping, sizeof(ping) - 1, MSG_NOSIGNAL) != (ssize_t)sizeof(ping) - 1)
		die("the server takes no requests");
	while (got < sizeof(pong) - 1) {
		ssize_t n = recv(server, answer + got, sizeof(pong) - 1 - got, 0);

		if (n <= 0)
			die("the server hung up");
		got += (size_t)n;
	}
	if (strcmp(answer, pong) != 0)
		die("the server answered '%s'", answer);
	return now_sec() - begin;
}

/* A millisecond; how much too long it was. */
static double rest(void)
{
	struct timespec time = {0, 1000000};
	double due = now_sec() + 1e-3;

	while (nanosleep(&time, &time) != 0 && errno == EINTR)
		;
	return now_sec() - due;
}

/* What was seen since the last signal. */
struct seen {
	double since, waited, late;
	unsigned long asked;
};

static void tell_of(struct seen *seen)
{
	double until = told_to_at;

	tell = 0;
	printf("waited %.3f late %.3f over %.3f asked %lu\n", seen->waited * 1e3, seen->late * 1e3,
	       (until - seen->since) * 1e3, seen->asked);
	*seen = (struct seen){.since = until};
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	struct sched_param priority = {.sched_priority = 50};
	struct seen seen = {0};
	int server;

	if (argc != 3)
		die("usage: stall PORT CPU");
	setvbuf(stdout, NULL, _IOLBF, 0);
	server = connect_to(atoi(argv[1]));
	run_on(atoi(argv[2]));
	if (sched_setscheduler(0, SCHED_FIFO, &priority) != 0)
		die("no real-time priority");
	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	printf("ready\n");
	seen.since = now_sec();
	while (!end) {
		double waited = ask(server), late = rest();

		seen.waited = waited > seen.waited ? waited : seen.waited;
		seen.late = late > seen.late ? late : seen.late;
		seen.asked++;
		if (tell)
			tell_of(&seen);
	}
	return 0;
}
