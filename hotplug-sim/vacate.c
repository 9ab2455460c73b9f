/*
 * vacate.c - memory of a node that has left is made inaccessible.
 *
 * What should have been vacated faults at its next use, instead of quietly working on the
 * laptop and losing data on the machine that is simulated.  Each stretch of inaccessible pages
 * may split a mapping in three, so the stretches together may cost a quarter of
 * vm.max_map_count mappings, two a stretch; beyond that -ENOSPC, and the caller leaves the rest
 * to the ledger's audit.  The ledger remembers which pages are inaccessible, so restore() opens
 * exactly those, whatever the caller's ranges look like by then.
 */
#include "sim.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define DEFAULT_MAX_MAP_COUNT 65530
#define MAPPINGS_A_STRETCH    2

static size_t stretches SN_GUARDED_BY(&sim_ledger_lock);

static size_t read_max_map_count(void)
{
	char text[24];
	size_t value = 0;
	ssize_t n;
	int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return DEFAULT_MAX_MAP_COUNT;
	n = read(fd, text, sizeof(text));
	close(fd);
	for (ssize_t i = 0; i < n && text[i] >= '0' && text[i] <= '9'; i++)
		value = value * 10 + (size_t)(text[i] - '0');
	return value > 0 ? value : DEFAULT_MAX_MAP_COUNT;
}

/* Before there are other threads. */
void sim_vacate_reset(void) SN_NO_THREAD_SAFETY
{
	stretches = 0;
	sim.budget = read_max_map_count() / 4;
}

static bool is_away(const uint8_t *byte)
{
	return byte != NULL && (*byte & SIM_INACCESSIBLE) != 0;
}

static bool inaccessible(uintptr_t addr) SN_REQUIRES(&sim_ledger_lock)
{
	return is_away(sim_ledger_page(addr));
}

static void mark(uintptr_t addr, uintptr_t end, bool away) SN_REQUIRES(&sim_ledger_lock)
{
	uint8_t *byte = sim_ledger_page(addr);

	for (; addr < end; byte = sim_ledger_next(byte, addr), addr += SN_PAGE_SIZE)
		*byte = (uint8_t)(away ? *byte | SIM_INACCESSIBLE : *byte & ~SIM_INACCESSIBLE);
}

/* Stretches that begin in [addr, end], where what lies before addr has begun earlier. */
static size_t count_stretches(uintptr_t addr, uintptr_t end) SN_REQUIRES(&sim_ledger_lock)
{
	bool before = inaccessible(addr - SN_PAGE_SIZE);
	uint8_t *byte = sim_ledger_page(addr);
	size_t count = 0;

	for (; addr <= end; byte = sim_ledger_next(byte, addr), addr += SN_PAGE_SIZE) {
		bool now = is_away(byte);

		count += now && !before;
		before = now;
	}
	return count;
}

/* One stretch is opened or closed whole. */
static int protect(uintptr_t addr, uintptr_t end, bool away)
{
	int saved = errno, error = 0;

	if (mprotect((void *)addr, end - addr, away ? PROT_NONE : PROT_READ | PROT_WRITE) != 0)
		error = -errno;
	errno = saved;
	return error;
}

int sim_vacate(void *addr, size_t len, unsigned int node)
{
	uintptr_t start = (uintptr_t)addr, end = start + len;
	size_t before, after;
	int error = sim_fault(SN_FAULT_VACATE);

	(void)node;
	if (error == 0)
		error = sim_ledger_reserve(addr, len);
	if (error != 0 || len == 0)
		return error;
	sim_lock(&sim_ledger_lock);
	before = count_stretches(start, end);
	/* Afterwards: one stretch, which continues the one before or swallows the one after. */
	after = !inaccessible(start - SN_PAGE_SIZE);
	if ((stretches - before + after) * MAPPINGS_A_STRETCH > sim.budget)
		error = -ENOSPC;
	if (error == 0)
		error = protect(start, end, true);
	if (error == 0) {
		mark(start, end, true);
		stretches = stretches - before + after;
	}
	sim_unlock(&sim_ledger_lock);
	return error;
}

int sim_restore(void *addr, size_t len, unsigned int node)
{
	uintptr_t start = (uintptr_t)addr, end = start + len;
	int error = sim_fault(SN_FAULT_RESTORE);

	(void)node;
	if (error != 0 || len == 0)
		return error;
	sim_lock(&sim_ledger_lock);
	while (start < end && error == 0) {
		uintptr_t stop = start;
		size_t before;

		if (!inaccessible(start)) {
			start += SN_PAGE_SIZE;
			continue;
		}
		while (stop < end && inaccessible(stop))
			stop += SN_PAGE_SIZE;
		error = protect(start, stop, false);
		if (error != 0)
			break;
		before = count_stretches(start, stop);
		mark(start, stop, false);
		stretches = stretches - before + count_stretches(start, stop);
		start = stop;
	}
	sim_unlock(&sim_ledger_lock);
	return error;
}
