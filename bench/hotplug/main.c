/* SPDX-License-Identifier: MIT */
/*
 * slabnode-hotplug - what taking a node out of service costs.
 *
 *	slabnode-hotplug offline LIVE CACHED REST REPEAT [STALL [LARGE]]	in MiB, ms
 *	slabnode-hotplug empty REST REPEAT
 *	slabnode-hotplug requests REST REPEAT
 *
 * offline: node 1 holds LIVE and CACHED memory in objects of all sizes and LARGE in large blocks,
 * the other nodes together REST.  The bare loop
 * and an offline take turns.  empty: offlines and onlines of a node that holds nothing, with a
 * pause after each.  requests: the same back to back, while threads allocate.
 *
 * The topology comes from SLABNODE_TOPOLOGY; run sets it.  Each repetition is printed
 * as one JSON object a line.
 */
#include "hotplug.h"

#include "../../core/lifecycle.h"
#include "../../core/stats.h"
#include "../../core/thread.h"

#include <stdarg.h>
#include <sys/mman.h>
#include <time.h>

#define BATCH_PAGES ((size_t)512)

void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fprintf(stderr, "slabnode-hotplug: ");
	vfprintf(stderr, format, args);
	fprintf(stderr, "\n");
	va_end(args);
	exit(1);
}

uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void *map_own(size_t size)
{
	void *p = mmap(NULL, sn_align_up(size, SN_PAGE_SIZE), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("no memory for the benchmark itself");
	return p;
}

static double ms(uint64_t ns)
{
	return (double)ns / 1e6;
}

static double mib(uint64_t bytes)
{
	return (double)bytes / (double)MIB;
}

static unsigned int node_one(void)
{
	unsigned int index = sn_node_find(1);

	if (index == SN_NODE_NONE || sn_placement->move == NULL)
		die("SLABNODE_TOPOLOGY: a simulated topology with a node 1 is needed");
	return index;
}

/* When an offline entered each phase. */
struct phases {
	uint64_t at[SN_PHASE_ROLLBACK + 1];
};

static void note_phase(void *arg, const struct sn_progress *progress)
{
	struct phases *phases = arg;

	if (phases->at[progress->phase] == 0)
		phases->at[progress->phase] = now_ns();
}

static void offline(unsigned int node, unsigned int stall_ms, struct phases *phases,
		    struct sn_lifecycle_result *result)
{
	const struct sn_offline_request request = {.policy = SN_MIGRATE,
						   .timeout_ms = -1,
						   .max_stall_ms = stall_ms,
						   .progress = phases != NULL ? note_phase : NULL,
						   .arg = phases};

	if (sn_offline(&node, 1, &request, result) != 0)
		die("offline: %s", result->message);
}

static void online(unsigned int node, bool rebalance, struct sn_lifecycle_result *result)
{
	if (sn_online(node, rebalance, result) != 0)
		die("online: %s", result->message);
}

/* The longest iteration of the heartbeats while nothing happens, for as long as an offline takes.
 */
static uint64_t quiet_gap(uint64_t ns)
{
	struct timespec pause = {.tv_sec = (time_t)(ns / 1000000000u),
				 .tv_nsec = (long)(ns % 1000000000u)};

	heartbeats_longest_ns();
	nanosleep(&pause, NULL);
	return heartbeats_longest_ns();
}

static uint64_t median(uint64_t *values, size_t n)
{
	for (size_t i = 1; i < n; i++)
		for (size_t k = i; k > 0 && values[k - 1] > values[k]; k--) {
			uint64_t swap = values[k];

			values[k] = values[k - 1];
			values[k - 1] = swap;
		}
	return values[n / 2];
}

/* The same before either measurement: cached memory whose pages came in the same order. */
static void warm(unsigned int node, unsigned int target)
{
	heap_cache_again();
	bare_touch(node);
	sn_thread_prefer(target);
}

static void offline_once(unsigned int node, unsigned int target, unsigned int stall_ms)
{
	struct sn_lifecycle_result off, on;
	uint64_t begin, end, cpu, took, gap_bare, gap_off, gap_quiet;
	struct sn_node_stats held;
	struct phases phases = {{0}};
	struct bare bare;

	warm(node, target);
	heartbeats_longest_ns();
	bare_loop(node, target, BATCH_PAGES, &bare);
	gap_bare = heartbeats_longest_ns();
	gap_quiet = quiet_gap(bare.madvise_ns + bare.move_ns);
	warm(node, target);
	sn_node_stats(node, &held);
	heartbeats_longest_ns();
	cpu = cpu_ns();
	begin = now_ns();
	offline(node, stall_ms, &phases, &off);
	end = now_ns();
	cpu = cpu_ns() - cpu;
	took = end - begin;
	gap_off = heartbeats_longest_ns();
	online(node, true, &on);
	printf("{\"close_ms\": %.3f, \"drain_ms\": %.3f, \"release_ms\": %.3f, "
	       "\"migrate_ms\": %.3f, \"commit_ms\": %.3f, ",
	       ms(phases.at[SN_PHASE_DRAIN] - begin),
	       ms(phases.at[SN_PHASE_RELEASE] - phases.at[SN_PHASE_DRAIN]),
	       ms(phases.at[SN_PHASE_MIGRATE] - phases.at[SN_PHASE_RELEASE]),
	       ms(phases.at[SN_PHASE_COMMIT] - phases.at[SN_PHASE_MIGRATE]),
	       ms(end - phases.at[SN_PHASE_COMMIT]));
	printf("\"live_mib\": %.2f, \"cached_mib\": %.2f, \"released_mib\": %.2f, "
	       "\"moved_mib\": %.2f, \"drained\": %llu, \"offline_ms\": %.3f, \"offline_cpu_ms\": "
	       "%.3f, \"bare_cpu_ms\": %.3f, \"stall_ms\": %.3f, "
	       "\"bare_ms\": %.3f, \"bare_madvise_ms\": %.3f, \"bare_move_ms\": %.3f, "
	       "\"bare_cached_mib\": %.2f, \"bare_live_mib\": %.2f, \"bare_calls\": %zu, "
	       "\"bare_stall_ms\": %.3f, \"gap_offline_ms\": %.3f, \"gap_bare_ms\": %.3f, "
	       "\"gap_quiet_ms\": %.3f, \"online_ms\": %.3f, \"returned_mib\": %.2f, "
	       "\"proof_mib\": %.2f, \"proof_ms\": %.3f}\n",
	       mib(held.live_bytes), mib(held.cached_bytes), mib(off.released_bytes),
	       mib(off.migrated_bytes), (unsigned long long)off.drained_objects, ms(took), ms(cpu),
	       ms(bare.cpu_ns), off.max_stall_ms, ms(bare.madvise_ns + bare.move_ns),
	       ms(bare.madvise_ns), ms(bare.move_ns), mib(bare.cached_bytes), mib(bare.live_bytes),
	       bare.madvises + bare.moves, ms(bare.longest_ns), ms(gap_off), ms(gap_bare),
	       ms(gap_quiet), on.elapsed_ms, mib(on.migrated_bytes), mib(off.proof_bytes),
	       off.proof_ms);
	fflush(stdout);
}

/* `rest` MiB on all nodes but this one. */
static void fill_rest(unsigned int node, size_t rest)
{
	unsigned int others = sn_node_end - SN_FIRST_NODE - 1;

	for_each_node(n)
		if (n != node && rest > 0)
			heap_rest(n, rest * MIB / others);
}

static void run_offline(size_t live, size_t cached, size_t large, size_t rest, unsigned int repeat,
			unsigned int stall_ms)
{
	unsigned int node = node_one(), target = sn_nodes[node]->fallback[0];

	fill_rest(node, rest);
	heap_large(node, large * MIB);
	heap_mixed(node, live * MIB, cached * MIB);
	sn_thread_prefer(target);
	heartbeats_start(node, target);
	for (unsigned int i = 0; i < repeat; i++)
		offline_once(node, target, stall_ms);
	heartbeats_stop();
}

/* Medians of offlines and onlines of a node that holds nothing. */
static void print_cycle(uint64_t *off, uint64_t *on, size_t n, uint64_t total)
{
	printf("{\"nodes\": %u, \"offline_us\": %.1f, \"online_us\": %.1f, "
	       "\"cycles\": %zu, \"requests_per_s\": %.0f}\n",
	       sn_node_end - SN_FIRST_NODE, (double)median(off, n) / 1e3,
	       (double)median(on, n) / 1e3, n, 2.0 * (double)n / ((double)total / 1e9));
}

static void cycles(size_t rest, unsigned int repeat, long pause_ns)
{
	const struct timespec pause = {.tv_nsec = pause_ns};
	uint64_t *off = map_own(repeat * sizeof(*off)), *on = map_own(repeat * sizeof(*on));
	unsigned int node = node_one();
	struct sn_lifecycle_result result;
	uint64_t start, begin;

	fill_rest(node, rest);
	start = now_ns();
	for (unsigned int i = 0; i < repeat; i++) {
		begin = now_ns();
		offline(node, 0, NULL, &result);
		off[i] = now_ns() - begin;
		begin = now_ns();
		online(node, false, &result);
		on[i] = now_ns() - begin;
		if (pause_ns > 0)
			nanosleep(&pause, NULL);
	}
	print_cycle(off, on, repeat, now_ns() - start);
}

static size_t number(const char *text)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*text == '\0' || *end != '\0')
		die("'%s' is no number", text);
	return value;
}

int main(int argc, char **argv)
{
	size_t n[6] = {0};

	for (int i = 2; i < argc && i < 8; i++)
		n[i - 2] = number(argv[i]);
	if (argc >= 6 && argc <= 8 && strcmp(argv[1], "offline") == 0) {
		run_offline(n[0], n[1], n[5], n[2], (unsigned int)n[3], (unsigned int)n[4]);
	} else if (argc == 4 && n[1] > 0 && strcmp(argv[1], "empty") == 0) {
		cycles(n[0], (unsigned int)n[1], 1000000);
	} else if (argc == 4 && n[1] > 0 && strcmp(argv[1], "requests") == 0) {
		heartbeats_start(node_one(), sn_nodes[node_one()]->fallback[0]);
		cycles(n[0], (unsigned int)n[1], 0);
		heartbeats_stop();
	} else {
		die("usage: offline LIVE CACHED REST REPEAT [STALL [LARGE]] | empty REST REPEAT | "
		    "requests REST REPEAT");
	}
	return 0;
}
