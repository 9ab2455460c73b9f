/*
 * numa_maps.c - what the kernel says about memory: /proc/self/numa_maps and a node's meminfo, read
 * with plain system calls into small buffers on the stack, since no caller may allocate.
 *
 * A line of numa_maps begins with the mapping's address; "N1=20" counts pages on node 1, and
 * "kernelpagesize_kB=4", at the end, is their size.  The file is read once for all nodes and the
 * result kept for a tenth of a second, because `status` asks for each node in turn.
 */
#include "numa_module.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FRESH_NS 100000000ll

const char *numa_sysfs_nodes = "/sys/devices/system/node";

static struct {
	_Atomic uint32_t busy;
	_Atomic int64_t read_at; /* monotonic, 0: never */
	_Atomic size_t resident[SN_MAX_NODES + 1], other[SN_MAX_NODES + 1];
} maps;

/* ---- numa_maps ---- */

struct parser {
	char word[64]; /* longer words are of no interest and are cut */
	size_t len;
	unsigned int words;
	bool in_range;
	size_t page_kb;
	size_t pages[SN_MAX_NODES + 1];
	size_t resident[SN_MAX_NODES + 1], other[SN_MAX_NODES + 1];
};

static const char *parse_decimal(const char *p, uint64_t *value)
{
	const char *start = p;

	for (*value = 0; *p >= '0' && *p <= '9'; p++)
		*value = *value * 10 + (uint64_t)(*p - '0');
	return p == start ? NULL : p;
}

static uintptr_t parse_hex(const char *p)
{
	uintptr_t value = 0;

	for (;; p++) {
		if (*p >= '0' && *p <= '9')
			value = value << 4 | (uintptr_t)(*p - '0');
		else if (*p >= 'a' && *p <= 'f')
			value = value << 4 | (uintptr_t)(*p - 'a' + 10);
		else
			return value;
	}
}

static void end_word(struct parser *p)
{
	static const char size[] = "kernelpagesize_kB=";
	uint64_t node, count;
	const char *at;

	if (p->len == 0)
		return;
	p->word[p->len] = '\0';
	p->len = 0;
	if (p->words++ == 0) {
		p->in_range = numa_state.in_range(parse_hex(p->word));
	} else if (strncmp(p->word, size, sizeof(size) - 1) == 0) {
		if (parse_decimal(p->word + sizeof(size) - 1, &count) != NULL)
			p->page_kb = count;
	} else if (p->word[0] == 'N') {
		at = parse_decimal(p->word + 1, &node);
		if (at == NULL || *at != '=' || parse_decimal(at + 1, &count) == NULL)
			return;
		if (node < NUMA_MAX_OS_NODES && numa_state.index_of[node] != 0)
			p->pages[numa_state.index_of[node]] += count;
	}
}

static void end_line(struct parser *p)
{
	size_t *sum = p->in_range ? p->resident : p->other;

	end_word(p);
	for (unsigned int n = 0; n <= SN_MAX_NODES; n++)
		sum[n] += p->pages[n] * (p->page_kb << 10);
	memset(p->pages, 0, sizeof(p->pages));
	p->page_kb = SN_PAGE_SIZE >> 10;
	p->words = 0;
	p->in_range = false;
}

static void parse(struct parser *p, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '\n')
			end_line(p);
		else if (text[i] == ' ')
			end_word(p);
		else if (p->len < sizeof(p->word) - 1)
			p->word[p->len++] = text[i];
	}
}

static void read_maps(void)
{
	struct parser p = {.page_kb = SN_PAGE_SIZE >> 10};
	char buffer[4096];
	ssize_t n;
	int fd = open("/proc/self/numa_maps", O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		while ((n = read(fd, buffer, sizeof(buffer))) > 0 || (n < 0 && errno == EINTR))
			parse(&p, buffer, n > 0 ? (size_t)n : 0);
		close(fd);
	}
	for (unsigned int i = 0; i <= SN_MAX_NODES; i++) {
		atomic_store_explicit(&maps.resident[i], p.resident[i], memory_order_relaxed);
		atomic_store_explicit(&maps.other[i], p.other[i], memory_order_relaxed);
	}
}

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Nobody waits for a reader: who comes second takes the previous numbers. */
static void refresh(void)
{
	int saved = errno;
	int64_t at = atomic_load_explicit(&maps.read_at, memory_order_acquire);

	if (at != 0 && now_ns() - at < FRESH_NS)
		return;
	if (atomic_exchange_explicit(&maps.busy, 1, memory_order_acquire) != 0)
		return;
	read_maps();
	atomic_store_explicit(&maps.read_at, now_ns(), memory_order_release);
	atomic_store_explicit(&maps.busy, 0, memory_order_release);
	errno = saved;
}

size_t numa_maps_resident(unsigned int node)
{
	refresh();
	return atomic_load_explicit(&maps.resident[node], memory_order_relaxed);
}

size_t numa_maps_other(unsigned int node)
{
	refresh();
	return atomic_load_explicit(&maps.other[node], memory_order_relaxed);
}

void numa_maps_forget(void)
{
	atomic_store_explicit(&maps.read_at, 0, memory_order_relaxed);
	atomic_store_explicit(&maps.busy, 0, memory_order_relaxed);
}

/* ---- sysfs ---- */

bool numa_read_sysfs(const char *name, char *text, size_t size)
{
	char path[256];
	int saved = errno, fd;
	ssize_t n;

	snprintf(path, sizeof(path), "%s/%s", numa_sysfs_nodes, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, size - 1);
	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	errno = saved;
	return n > 0;
}

size_t numa_meminfo(int os_node, const char *key)
{
	char name[64], text[4096];
	uint64_t kb = 0;
	const char *at;

	snprintf(name, sizeof(name), "node%d/meminfo", os_node);
	numa_read_sysfs(name, text, sizeof(text));
	at = strstr(text, key);
	if (at == NULL)
		return 0;
	at += strlen(key);
	at += strspn(at, " \t");
	return parse_decimal(at, &kb) == NULL ? 0 : (size_t)kb << 10;
}
