/*
 * redisload.c - a client that keeps a redis server busy and compares every byte that it answers.
 *
 *	redisload PORT PREFIX KEYS STOP
 *
 * Fills KEYS keys, writes "ready", then overwrites and reads back random ones in pipelined batches,
 * after each of which it rests as long as that took, until the file STOP appears, reads all keys
 * once more and prints
 *
 *	requests N wrong N failed N longest MS
 *
 * where the last is the time of the slowest batch, from its sending to its last reply.  The status
 * is 0 when nothing was wrong and nothing failed.
 */
#include "guest.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#define BATCH	 16
#define LARGEST	 3000
#define BUFFER	 (256 * KIB)
#define MAX_KEYS 200000

static int server;
static const char *prefix;
static uint32_t version[MAX_KEYS];
static char out[BUFFER], in[BUFFER];
static size_t out_used, in_used, in_at;
static unsigned long requests, wrong, failed;
static double longest;

/* The value of a version of a key: its length and bytes follow from both. */
static size_t value_of(unsigned int key, uint32_t v, char *value)
{
	uint64_t seed = ((uint64_t)key << 32 | v) * 0x9e3779b97f4a7c15ull;
	size_t size = 8 + (seed >> 40) % LARGEST;

	for (size_t i = 0; i < size; i++)
		value[i] = (char)('a' + (seed >> (i % 48) & 15));
	return size;
}

static void put(const void *bytes, size_t size)
{
	if (out_used + size > sizeof(out))
		die("a batch is too large");
	memcpy(out + out_used, bytes, size);
	out_used += size;
}

static void put_string(const char *bytes, size_t size)
{
	char head[32];

	put(head, (size_t)snprintf(head, sizeof(head), "$%zu\r\n", size));
	put(bytes, size);
	put("\r\n", 2);
}

static void put_request(bool set, unsigned int key)
{
	char name[64], value[8 + LARGEST];
	int n = snprintf(name, sizeof(name), "%s:%u", prefix, key);

	put(set ? "*3\r\n" : "*2\r\n", 4);
	put_string(set ? "SET" : "GET", 3);
	put_string(name, (size_t)n);
	if (set)
		put_string(value, value_of(key, version[key], value));
}

static void send_all(void)
{
	for (size_t at = 0; at < out_used;) {
		ssize_t n = send(server, out + at, out_used - at, MSG_NOSIGNAL);

		if (n <= 0)
			die("the server does not take requests");
		at += (size_t)n;
	}
	out_used = 0;
}

/* `size` bytes of what the server says. */
static const char *take(size_t size)
{
	while (in_used - in_at < size) {
		ssize_t n;

		if (in_at > 0) {
			memmove(in, in + in_at, in_used - in_at);
			in_used -= in_at;
			in_at = 0;
		}
		n = recv(server, in + in_used, sizeof(in) - in_used, 0);
		if (n <= 0)
			die("the server hung up");
		in_used += (size_t)n;
	}
	in_at += size;
	return in + in_at - size;
}

static void take_line(char *line, size_t size)
{
	size_t n = 0;

	do {
		if (n + 1 == size)
			die("a line of the server is too long");
		line[n++] = *take(1);
	} while (line[n - 1] != '\n');
	line[n] = '\0';
}

static void check_reply(bool set, unsigned int key)
{
	char line[512], expected[8 + LARGEST];
	size_t size;

	requests++;
	take_line(line, sizeof(line));
	if (set) {
		failed += strcmp(line, "+OK\r\n") != 0;
		return;
	}
	if (line[0] != '$' || line[1] == '-') {
		failed++;
		return;
	}
	size = strtoul(line + 1, NULL, 10);
	if (size != value_of(key, version[key], expected) ||
	    memcmp(take(size), expected, size) != 0)
		wrong++;
	if (memcmp(take(2), "\r\n", 2) != 0)
		die("the server's answers are out of step");
}

struct request {
	bool set;
	unsigned int key;
};

/* Sends them at once; a key is in a batch once at most. How long it took. */
static double batch(struct request *request, size_t nr)
{
	double begin = now_sec(), took;

	for (size_t i = 0; i < nr; i++)
		put_request(request[i].set, request[i].key);
	send_all();
	for (size_t i = 0; i < nr; i++)
		check_reply(request[i].set, request[i].key);
	took = now_sec() - begin;
	longest = took > longest ? took : longest;
	return took;
}

/* All keys, in order. */
static void every(bool set, unsigned int keys)
{
	struct request request[BATCH];

	for (unsigned int first = 0; first < keys; first += BATCH) {
		size_t nr = 0;

		for (unsigned int k = first; k < keys && nr < BATCH; k++)
			request[nr++] = (struct request){set, k};
		batch(request, nr);
	}
}

static void some(unsigned int keys, unsigned int *seed)
{
	struct request request[BATCH];
	unsigned int first = (unsigned int)rand_r(seed) % keys;

	for (unsigned int i = 0; i < BATCH; i++) {
		struct request *r = &request[i];

		r->key = (first + i * 97) % keys;
		r->set = rand_r(seed) % 2 == 0;
		if (r->set)
			version[r->key]++;
	}
	sleep_ms((long)(batch(request, BATCH) * 1000));
}

static void connect_to(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int yes = 1;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	for (int i = 0; i < 600; i++) {
		server = socket(AF_INET, SOCK_STREAM, 0);
		setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
		if (connect(server, (struct sockaddr *)&address, sizeof(address)) == 0)
			return;
		close(server);
		sleep_ms(100);
	}
	die("no server on port %d", port);
}

int main(int argc, char **argv)
{
	unsigned int keys, seed;

	if (argc != 5)
		die("usage: redisload PORT PREFIX KEYS STOP");
	setvbuf(stdout, NULL, _IOLBF, 0);
	prefix = argv[2];
	keys = (unsigned int)atoi(argv[3]);
	seed = keys + (unsigned char)prefix[0];
	if (keys < BATCH * 97 || keys > MAX_KEYS)
		die("between %d and %d keys", BATCH * 97, MAX_KEYS);
	connect_to(atoi(argv[1]));
	every(true, keys);
	printf("ready\n");
	longest = 0;
	while (access(argv[4], F_OK) != 0)
		some(keys, &seed);
	every(false, keys);
	printf("requests %lu wrong %lu failed %lu longest %.0f\n", requests, wrong, failed,
	       longest * 1000);
	return wrong != 0 || failed != 0;
}
