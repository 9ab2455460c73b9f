/*
 * cpulist.h - CPU numbers as text, "0-3,8": shared by the two topology modules, which link
 * neither each other nor the core.
 */
#ifndef SLABNODE_CPULIST_H
#define SLABNODE_CPULIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/*
 * Writes the CPUs below `nr` for which is_member() holds into buf, always terminated.  A list
 * that does not fit ends, after the last whole entry that does, in "...".  No malloc.
 */
static inline void sn_cpulist_format(char *buf, size_t size, size_t nr,
				     bool (*is_member)(const void *arg, size_t cpu),
				     const void *arg)
{
	size_t used = 0;

	if (size == 0)
		return;
	buf[0] = '\0';
	for (size_t cpu = 0; cpu < nr; cpu++) {
		char entry[48];
		size_t first = cpu;
		int n;

		if (!is_member(arg, cpu))
			continue;
		while (cpu + 1 < nr && is_member(arg, cpu + 1))
			cpu++;
		n = snprintf(entry, sizeof(entry), "%s%zu", used > 0 ? "," : "", first);
		if (first != cpu)
			n += snprintf(entry + n, sizeof(entry) - (size_t)n, "-%zu", cpu);
		if (used + (size_t)n + sizeof("...") > size) {
			snprintf(buf + used, size - used, "...");
			return;
		}
		for (int i = 0; i <= n; i++)
			buf[used + (size_t)i] = entry[i];
		used += (size_t)n;
	}
}

#endif
