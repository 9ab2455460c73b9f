/* SPDX-License-Identifier: MIT */
/*
 * The workloads' common program: `slabnode-bench NAME [-t THREADS] [-s SCALE]
 * [-a SECONDS,...]`.
 *
 * It runs one workload in a process of its own and prints `key=value` pairs
 * about it on one line. Times that are compared come from outside (launch.c);
 * loop_s here is only the part between start-up and exit. `list` prints the
 * workloads in a form the runner reads, `probe` tells which object malloc comes
 * from, by which the runner makes sure that a preload took effect.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define MAX_THREADS 1024
#define MAX_REPORTS 16

static const struct workload *const workloads[] = {
	&workload_pairs, &workload_batch,    &workload_live_small,   &workload_live_wide,
	&workload_churn, &workload_prodcons, &workload_mixed_runs,   &workload_mixed_ages,
	&workload_relay, &workload_swarm,    &workload_share_active, &workload_share_passive,
	&workload_large, &workload_regrow,   &workload_frag,	     &workload_idle,
};

static struct {
	char key[24];
	uint64_t value;
} reports[MAX_REPORTS];
static unsigned int report_count;

struct start {
	struct bench_thread self;
	void (*fn)(struct bench_thread *);
	pthread_barrier_t *barrier;
};

void bench_die(const char *format, ...)
{
	va_list args;

	fputs("slabnode-bench: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	_exit(1);
}

void *bench_map(size_t bytes)
{
	void *ptr = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (ptr == MAP_FAILED)
		bench_die("mmap of %zu bytes failed: %s", bytes, strerror(errno));
	return ptr;
}

void bench_unmap(void *ptr, size_t bytes)
{
	munmap(ptr, bytes);
}

uint64_t bench_share(const struct bench_params *params, uint64_t count)
{
	uint64_t share = (uint64_t)((double)count * params->scale / params->threads);

	return share ? share : 1;
}

static void *thread_main(void *arg)
{
	struct start *start = arg;

	pthread_barrier_wait(start->barrier);
	start->fn(&start->self);
	return NULL;
}

void bench_threads(const struct bench_params *params, void (*fn)(struct bench_thread *), void *arg)
{
	unsigned int count = params->threads;
	struct start *starts = bench_map(count * sizeof(*starts));
	pthread_t *ids = bench_map(count * sizeof(*ids));
	pthread_barrier_t barrier;

	pthread_barrier_init(&barrier, NULL, count);
	for (unsigned int i = 0; i < count; i++) {
		starts[i].self.id = i;
		starts[i].self.params = params;
		starts[i].self.arg = arg;
		rng_seed(&starts[i].self.rng, i);
		starts[i].fn = fn;
		starts[i].barrier = &barrier;
	}
	/* The main thread is one of the workers. */
	for (unsigned int i = 1; i < count; i++)
		if (pthread_create(&ids[i], NULL, thread_main, &starts[i]))
			bench_die("cannot create thread %u", i);
	thread_main(&starts[0]);
	for (unsigned int i = 1; i < count; i++)
		pthread_join(ids[i], NULL);
	pthread_barrier_destroy(&barrier);
	bench_unmap(ids, count * sizeof(*ids));
	bench_unmap(starts, count * sizeof(*starts));
}

void bench_report(const char *key, uint64_t value)
{
	if (report_count == MAX_REPORTS)
		bench_die("too many reports");
	snprintf(reports[report_count].key, sizeof(reports[0].key), "%s", key);
	reports[report_count++].value = value;
}

uint64_t bench_status_kib(const char *field)
{
	size_t length = strlen(field);
	unsigned long value = 0;
	char line[256];
	FILE *file = fopen("/proc/self/status", "r");

	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file)) {
		if (strncmp(line, field, length) || line[length] != ':')
			continue;
		value = strtoul(line + length + 1, NULL, 10);
		break;
	}
	fclose(file);
	return value;
}

double bench_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static int list(void)
{
	for (size_t i = 0; i < sizeof(workloads) / sizeof(workloads[0]); i++)
		printf("%s\t%u\t%u\t%s\n", workloads[i]->name, workloads[i]->min_threads,
		       workloads[i]->max_threads, workloads[i]->help);
	return 0;
}

static int probe(void)
{
	void *entry = dlsym(RTLD_DEFAULT, "malloc");
	Dl_info info;

	if (!entry || !dladdr(entry, &info))
		bench_die("malloc has no object");
	puts(info.dli_fname);
	return 0;
}

static const struct workload *find(const char *name)
{
	for (size_t i = 0; i < sizeof(workloads) / sizeof(workloads[0]); i++)
		if (!strcmp(workloads[i]->name, name))
			return workloads[i];
	bench_die("no workload named %s", name);
}

static void parse_pauses(char *list, unsigned int *pauses)
{
	unsigned int count = 0;
	char *word;

	while ((word = strsep(&list, ","))) {
		unsigned int seconds = (unsigned int)strtoul(word, NULL, 10);

		if (count == MAX_PAUSES || seconds <= (count ? pauses[count - 1] : 0))
			bench_die("pauses: at most %d rising numbers of seconds", MAX_PAUSES);
		pauses[count++] = seconds;
	}
}

static void parse(int argc, char **argv, struct bench_params *params)
{
	int option;

	while ((option = getopt(argc, argv, "t:s:a:")) != -1) {
		if (option == 't')
			params->threads = (unsigned int)strtoul(optarg, NULL, 10);
		else if (option == 's')
			params->scale = strtod(optarg, NULL);
		else if (option == 'a')
			parse_pauses(optarg, params->pauses);
		else
			exit(2);
	}
	if (params->threads < 1 || params->threads > MAX_THREADS)
		bench_die("threads: 1 to %d", MAX_THREADS);
	if (!(params->scale > 0))
		bench_die("scale: above 0");
}

int main(int argc, char **argv)
{
	struct bench_params params = {.threads = 1, .scale = 1.0};
	const struct workload *workload;
	double begin;

	if (argc < 2)
		bench_die("usage: slabnode-bench list | probe | NAME [-t THREADS] [-s SCALE] "
			  "[-a SECONDS,...]");
	if (!strcmp(argv[1], "list"))
		return list();
	if (!strcmp(argv[1], "probe"))
		return probe();
	workload = find(argv[1]);
	parse(argc - 1, argv + 1, &params);
	if (params.threads < workload->min_threads ||
	    (workload->max_threads && params.threads > workload->max_threads))
		bench_die("%s does not run with %u threads", workload->name, params.threads);
	begin = bench_seconds();
	workload->run(&params);
	printf("loop_s=%.6f rss_kib=%llu hwm_kib=%llu", bench_seconds() - begin,
	       (unsigned long long)bench_status_kib("VmRSS"),
	       (unsigned long long)bench_status_kib("VmHWM"));
	for (unsigned int i = 0; i < report_count; i++)
		printf(" %s=%llu", reports[i].key, (unsigned long long)reports[i].value);
	putchar('\n');
	return 0;
}
