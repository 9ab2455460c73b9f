/*
 * exitstats.c - see exitstats.h.  Written with dprintf: at this point stdio of the program may
 * be closed already.
 */
#include "exitstats.h"

#include "fd.h"
#include "internal.h"
#include "options.h"

#include "../core/cache.h"
#include "../core/stats.h"
#include "../core/tell.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static unsigned long long ull(uint64_t value)
{
	return value;
}

static void print_tables(int fd)
{
	dprintf(fd, "slabnode: nodes at exit (fast path %s: %s)\n", sn_fast_path_name(),
		sn_fast_path_reason());
	dprintf(fd, "%5s %-13s %14s %14s %8s %14s %12s %12s\n", "NODE", "STATE", "LIVE", "CACHED",
		"SLABS", "LARGE", "HIT", "MISS");
	for_each_node(n) {
		struct sn_node_stats s;

		sn_node_stats(n, &s);
		dprintf(fd, "%5d %-13s %14llu %14llu %8llu %14llu %12llu %12llu\n", s.os_node,
			sn_state_name(s.state), ull(s.live_bytes), ull(s.cached_bytes),
			ull(s.slabs), ull(s.large_bytes), ull(s.numa_hit), ull(s.numa_miss));
	}
	dprintf(fd, "%-20s %4s %8s %10s %10s %7s %7s %7s %7s %7s %7s\n", "CACHE", "NODE", "OBJSIZE",
		"ACTIVE", "TOTAL", "FULL", "PARTIAL", "FREE", "ARRAYS", "SHARED", "ALIEN");
	for (unsigned int c = 1; c < sn_cache_end; c++)
		for_each_node(n) {
			struct sn_slabinfo i;

			if (!sn_slabinfo(c, n, &i))
				continue;
			dprintf(fd,
				"%-20s %4d %8u %10llu %10llu %7llu %7llu %7llu %7llu %7llu %7llu\n",
				i.cache, i.os_node, i.object_size, ull(i.active_objects),
				ull(i.total_objects), ull(i.slabs_full), ull(i.slabs_partial),
				ull(i.slabs_free), ull(i.cpu_arrays), ull(i.shared), ull(i.alien));
		}
}

/* False: the file cannot be written to. */
static bool print_json(int fd)
{
	const char *comma = "";

	dprintf(fd, "{\"pid\":%d,\"fast_path\":\"%s\",\"nodes\":[", (int)getpid(),
		sn_fast_path_name());
	for_each_node(n) {
		struct sn_node_stats s;

		sn_node_stats(n, &s);
		dprintf(fd,
			"%s{\"node\":%d,\"state\":\"%s\",\"live_bytes\":%llu,\"cached_bytes\":%llu,"
			"\"slabs\":%llu,\"large_bytes\":%llu,\"numa_hit\":%llu,\"numa_miss\":%llu,"
			"\"numa_foreign\":%llu}",
			comma, s.os_node, sn_state_name(s.state), ull(s.live_bytes),
			ull(s.cached_bytes), ull(s.slabs), ull(s.large_bytes), ull(s.numa_hit),
			ull(s.numa_miss), ull(s.numa_foreign));
		comma = ",";
	}
	dprintf(fd, "],\"caches\":[");
	comma = "";
	for (unsigned int c = 1; c < sn_cache_end; c++)
		for_each_node(n) {
			struct sn_slabinfo i;

			if (!sn_slabinfo(c, n, &i))
				continue;
			dprintf(fd,
				"%s{\"cache\":\"%s\",\"node\":%d,\"object_size\":%u,"
				"\"active_objects\":%llu,\"total_objects\":%llu,"
				"\"objects_per_slab\":%u,\"slabs_full\":%llu,\"slabs_partial\":%"
				"llu,"
				"\"slabs_free\":%llu,\"cpu_arrays\":%llu,\"shared\":%llu,"
				"\"alien\":%llu}",
				comma, i.cache, i.os_node, i.object_size, ull(i.active_objects),
				ull(i.total_objects), i.objects_per_slab, ull(i.slabs_full),
				ull(i.slabs_partial), ull(i.slabs_free), ull(i.cpu_arrays),
				ull(i.shared), ull(i.alien));
			comma = ",";
		}
	return dprintf(fd, "]}\n") >= 0;
}

static int stderr_copy = -1;

void sn_exit_stats_prepare(void)
{
	if (sn_options.stats != NULL)
		stderr_copy = sn_fd_copy(STDERR_FILENO, 1000);
	if (stderr_copy < 0)
		stderr_copy = STDERR_FILENO;
}

static void tell_unwritten(const char *path, int error)
{
	char line[SN_TELL_MAX];
	int n = snprintf(line, sizeof(line),
			 "slabnode: SLABNODE_STATS: %.*s cannot be written: %s\n", SN_PATH_SHOWN,
			 path, sn_errno_name(error));

	sn_tell(stderr_copy, line, (size_t)n);
}

static void write_json(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

	if (fd < 0 || !print_json(fd))
		tell_unwritten(path, errno);
	if (fd >= 0)
		close(fd);
}

void sn_exit_stats(void)
{
	struct sn_tell tell;

	if (sn_options.stats == NULL || !sn_core_started())
		return;
	sn_internal_enter();
	sn_tell_begin(&tell);
	if (strcmp(sn_options.stats, "exit") == 0)
		print_tables(stderr_copy);
	else
		write_json(sn_options.stats + 5);
	sn_tell_end(&tell, true);
	sn_internal_leave();
}
