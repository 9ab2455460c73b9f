/*
 * where.c - where the memory of a process is, by two accounts of the kernel.
 *
 *	where PID [NODE]
 *
 * prints for each class of mappings and each node the pages that /proc/PID/numa_maps counts there
 * and those that move_pages() finds there:
 *
 *	CLASS NODE PAGES PAGES
 *
 * and, last, the kilobytes of the heap that lie in huge pages:
 *
 *	huge KB
 *
 * With NODE each mapping of the heap that has pages there comes first: "at" and its line of
 * numa_maps.
 *
 * heap: mappings bound to node numbers (bind=static), which are slabnode's ranges and structures;
 * anon: other anonymous memory; library: libslabnode.so and its zeroed data; stack, brk, file.
 */
#include "guest.h"

enum kind { HEAP, ANON, LIBRARY, STACK, BRK, MAPPED_FILE, NR_KINDS };
static const char *const names[] = {"heap", "anon", "library", "stack", "brk", "file"};

static size_t counted[NR_KINDS][MAX_NODES], found[NR_KINDS][MAX_NODES];

struct mapping {
	uintptr_t start, end;
	bool is_heap;
	char name[256];
};

static struct mapping mappings[4096];
static size_t nr_mappings;

static FILE *open_of(int pid, const char *name)
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	f = fopen(path, "re");
	if (f == NULL)
		die("%s", path);
	return f;
}

static void read_maps(int pid)
{
	FILE *f = open_of(pid, "maps");
	char line[1024];

	while (fgets(line, sizeof(line), f) != NULL && nr_mappings < 4096) {
		struct mapping *m = &mappings[nr_mappings];

		m->name[0] = '\0';
		if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %255[^\n]", &m->start, &m->end, m->name) <
		    2)
			continue;
		if (nr_mappings > 0 && m->name[0] == '\0' && m[-1].end == m->start &&
		    strstr(m[-1].name, ".so") != NULL) {
			/* What the file of a library does not fill. */
			memcpy(m->name, m[-1].name, sizeof(m->name));
		}
		nr_mappings++;
	}
	fclose(f);
}

static struct mapping *mapping_at(uintptr_t start)
{
	for (size_t i = 0; i < nr_mappings; i++)
		if (mappings[i].start == start)
			return &mappings[i];
	return NULL;
}

static enum kind kind_of(const char *line, const struct mapping *m)
{
	/* Static: the process's own policy (numactl) is told for every mapping that has none. */
	if (strstr(line, " bind=static") != NULL)
		return HEAP;
	if (strstr(m->name, "libslabnode.so") != NULL)
		return LIBRARY;
	if (strstr(line, " stack") != NULL)
		return STACK;
	if (strstr(line, " heap") != NULL)
		return BRK;
	return m->name[0] == '\0' ? ANON : MAPPED_FILE;
}

/* Pages of one line of numa_maps on a node. */
static size_t counted_on(const char *line, int node)
{
	const char *size = strstr(line, "kernelpagesize_kB="), *at;
	size_t pages = size == NULL ? 1 : strtoul(size + 18, NULL, 10) / 4;
	char word[16];

	snprintf(word, sizeof(word), " N%d=", node);
	at = strstr(line, word);
	return at == NULL ? 0 : strtoul(at + strlen(word), NULL, 10) * pages;
}

/* Pages that are not there are left out beforehand: most of a range is empty. */
static void find(int pid, int pagemap, const struct mapping *m, enum kind kind)
{
	enum { BATCH = 1024 };
	static uint64_t entry[BATCH];
	static void *page[BATCH];
	static int node[BATCH];

	for (uintptr_t at = m->start; at < m->end; at += BATCH * PAGE) {
		size_t n = (m->end - at) / PAGE, nr = 0;
		ssize_t got;

		n = n < BATCH ? n : BATCH;
		got = pread(pagemap, entry, n * 8, (off_t)(at / PAGE * 8));
		for (size_t i = 0; got > 0 && i < (size_t)got / 8; i++)
			if (entry[i] >> 63 & 1)
				page[nr++] = (void *)(at + i * PAGE);
		if (nr > 0)
			where_are(pid, page, node, nr);
		for (size_t i = 0; i < nr; i++)
			if (node[i] >= 0 && node[i] < MAX_NODES)
				found[kind][node[i]]++;
	}
}

static size_t huge_kb_of_heap(int pid)
{
	FILE *f = open_of(pid, "smaps");
	struct mapping *m = NULL;
	size_t sum = 0, kb;
	uintptr_t start;
	char line[1024];

	while (fgets(line, sizeof(line), f) != NULL) {
		if (sscanf(line, "%lx-%*x ", &start) == 1 && strchr(line, '-') != NULL &&
		    mapping_at(start) != NULL)
			m = mapping_at(start);
		else if (m != NULL && m->is_heap && sscanf(line, "AnonHugePages: %zu", &kb) == 1)
			sum += kb;
	}
	fclose(f);
	return sum;
}

int main(int argc, char **argv)
{
	static char line[4096], path[64];
	int pid, pagemap, node;
	FILE *f;

	if (argc != 2 && argc != 3)
		die("usage: where PID [NODE]");
	pid = atoi(argv[1]);
	node = argc == 3 ? atoi(argv[2]) : -1;
	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	pagemap = open(path, O_RDONLY | O_CLOEXEC);
	if (pagemap < 0)
		die("%s", path);
	read_maps(pid);
	f = open_of(pid, "numa_maps");
	while (fgets(line, sizeof(line), f) != NULL) {
		struct mapping *m = mapping_at(strtoul(line, NULL, 16));
		enum kind kind;

		if (m == NULL)
			continue;
		kind = kind_of(line, m);
		m->is_heap = kind == HEAP;
		for (int n = 0; n < MAX_NODES; n++)
			counted[kind][n] += counted_on(line, n);
		if (kind == HEAP && node >= 0 && counted_on(line, node) > 0)
			printf("at %s", line);
		find(pid, pagemap, m, kind);
	}
	fclose(f);
	for (int c = 0; c < NR_KINDS; c++)
		for (int n = 0; n < MAX_NODES; n++)
			if (counted[c][n] != 0 || found[c][n] != 0)
				printf("%s %d %zu %zu\n", names[c], n, counted[c][n], found[c][n]);
	printf("huge %zu\n", huge_kb_of_heap(pid));
	return 0;
}
