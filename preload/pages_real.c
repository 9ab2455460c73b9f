/*
 * pages_real.c - placement on a real machine: memory policies of ranges, moves and queries.
 *
 * Policy of a range, by SLABNODE_PLACEMENT:
 *
 *	preferred	MPOL_BIND over all allowed nodes, with the range's own node as its home
 *			(Linux 5.17): own node first, a full node never kills the program, and no
 *			page lands on a node outside the mask.  Without set_mempolicy_home_node:
 *			MPOL_PREFERRED of the own node.
 *	strict		MPOL_BIND to the own node only
 *	none		first touch, no NUMA calls
 *
 * The allocator's own structures are bound to the mask, first touch deciding among its nodes.
 *
 * When the own node is not in the mask it is leaving or has left: then it is MPOL_BIND over the
 * mask in every case (an offline is an explicit order, strict placement or not), with the
 * nearest node of the mask as home where homes exist.  MPOL_F_STATIC_NODES keeps the numbers what
 * they say when the cpuset changes.  None of these policies lets NUMA balancing move the pages.
 *
 * A call that is refused with EPERM or ENOSYS (containers) is not made again: the placement's
 * name becomes "first-touch", its reason says which call, and everything goes on.  Nothing is
 * printed here.
 *
 * Moves go through move_pages() in units that end at 2 MiB borders, so that a huge page is always
 * wholly in one call.  What the call itself reports is only used to tell reasons: kernels report
 * EBUSY for the tail of a huge page that moved well, and 0 for pages that stayed.  The query that
 * follows decides.  No malloc anywhere: arrays live on the stack.
 *
 * Linux 6.1 to 6.4 hide from move_pages() what NUMA balancing has marked to see who uses it: such
 * pages are neither moved nor found.  Ranges have policies that let it mark nothing, but the
 * allocator's own structures have none before the first transition.  So a page that is not found is
 * looked for with mincore(), and reading it takes the mark off.
 */
#include "numa_module.h"

#include <numaif.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MPOL_F_STATIC_NODES
#define MPOL_F_STATIC_NODES (1 << 15)
#endif
#ifndef SYS_set_mempolicy_home_node
#define SYS_set_mempolicy_home_node 450
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#define UNIT_SHIFT 21
#define UNIT_PAGES ((size_t)1 << (UNIT_SHIFT - SN_PAGE_SHIFT))
#define NOT_SET	   (-4096) /* no status that a kernel writes */

static struct {
	_Atomic bool bind, home, move, move_all;
	_Atomic uint32_t refused; /* somebody has written `reason` */
	char reason[96];
} can;

static struct sn_placement placement;

static bool is_refusal(int error)
{
	return error == EPERM || error == ENOSYS;
}

/* Whoever is first tells why; readers see the old or the new pair of constant strings. */
static void refuse(const char *call, int error)
{
	if (atomic_exchange(&can.refused, 1) != 0)
		return;
	snprintf(can.reason, sizeof(can.reason), "%s is %s", call,
		 error == ENOSYS ? "not available (ENOSYS)" : "not permitted (EPERM)");
	__atomic_store_n(&placement.reason, can.reason, __ATOMIC_RELEASE);
	__atomic_store_n(&placement.name, "first-touch", __ATOMIC_RELEASE);
}

static bool is_known(unsigned int node)
{
	return node >= numa_state.first_index &&
	       node < numa_state.first_index + numa_state.nr_nodes;
}

/* Nodes of `indexes` that have memory, by the system's numbers. */
static void to_os_mask(const struct sn_nodemask *indexes, struct numa_mask *mask)
{
	memset(mask, 0, sizeof(*mask));
	for (unsigned int i = 0; i < numa_state.nr_nodes; i++) {
		unsigned int node = numa_state.first_index + i;

		if (sn_mask_has(indexes, node) && numa_state.has_memory[node])
			numa_mask_add(mask, (unsigned int)numa_state.os_number[node]);
	}
}

/* `node` itself if it is in the mask, else the nearest one that is; SN_NODE_NONE: none. */
static unsigned int nearest(unsigned int node, const struct numa_mask *mask)
{
	const uint8_t *distance = numa_state.distance[node - numa_state.first_index];
	unsigned int best = SN_NODE_NONE;

	if (numa_mask_has(mask, (unsigned int)numa_state.os_number[node]))
		return node;
	for (unsigned int i = 0; i < numa_state.nr_nodes; i++) {
		unsigned int other = numa_state.first_index + i;

		if (!numa_mask_has(mask, (unsigned int)numa_state.os_number[other]))
			continue;
		if (best == SN_NODE_NONE || distance[i] < distance[best - numa_state.first_index])
			best = other;
	}
	return best;
}

static int set_policy(void *addr, size_t len, int mode, const struct numa_mask *mask)
{
	return mbind(addr, len, mode | MPOL_F_STATIC_NODES, mask->word, NUMA_MAXNODE, 0) == 0
		       ? 0
		       : -errno;
}

/* 0, or a negative errno value. -ENOSYS: this kernel knows no homes. */
static int set_home(void *addr, size_t len, unsigned int node)
{
	return syscall(SYS_set_mempolicy_home_node, (unsigned long)addr, len,
		       (unsigned long)numa_state.os_number[node], 0ul) == 0
		       ? 0
		       : -errno;
}

/* Own node first among those of the mask, in the best way this kernel has. */
static int bind_preferred(void *addr, size_t len, unsigned int node, const struct numa_mask *mask)
{
	unsigned int home = nearest(node, mask);
	struct numa_mask own = {{0}};
	int error;

	if (atomic_load(&can.home)) {
		error = set_policy(addr, len, MPOL_BIND, mask);
		if (error == 0)
			error = set_home(addr, len, home);
		else
			return error;
		if (!is_refusal(-error))
			return error;
		atomic_store(&can.home, false);
		if (!atomic_load(&can.refused))
			__atomic_store_n(&placement.reason,
					 "preferred node only, no set_mempolicy_home_node",
					 __ATOMIC_RELEASE);
	}
	if (home != node)
		return set_policy(addr, len, MPOL_BIND, mask);
	numa_mask_add(&own, (unsigned int)numa_state.os_number[node]);
	return set_policy(addr, len, MPOL_PREFERRED, &own);
}

static int bind_by_wish(void *addr, size_t len, unsigned int node, const struct numa_mask *mask)
{
	struct numa_mask own = {{0}};

	if (numa_state.wish == WISH_PREFERRED || nearest(node, mask) != node)
		return bind_preferred(addr, len, node, mask);
	numa_mask_add(&own, (unsigned int)numa_state.os_number[node]);
	return set_policy(addr, len, MPOL_BIND, &own);
}

static int bind_range(void *addr, size_t len, unsigned int node, const struct sn_nodemask *allowed)
{
	struct numa_mask mask;
	int saved = errno, error;

	if (!atomic_load_explicit(&can.bind, memory_order_relaxed))
		return 0;
	to_os_mask(allowed, &mask);
	if (node == SN_NODE_INTERNAL)
		error = set_policy(addr, len, MPOL_BIND, &mask);
	else if (!is_known(node) || nearest(node, &mask) == SN_NODE_NONE)
		return -EINVAL;
	else
		error = bind_by_wish(addr, len, node, &mask);
	if (is_refusal(-error)) {
		atomic_store(&can.bind, false);
		refuse("mbind", -error);
		error = 0;
	}
	errno = saved;
	return error;
}

/* ---- moves and queries, a unit at a time ---- */

struct unit {
	size_t nr;
	void *page[UNIT_PAGES];
	int target[UNIT_PAGES], status[UNIT_PAGES], where[UNIT_PAGES];
};

static size_t unit_fill(struct unit *unit, uintptr_t addr, size_t npages)
{
	uintptr_t border = (addr >> UNIT_SHIFT) + 1;

	unit->nr = sn_min(npages, ((border << UNIT_SHIFT) - addr) >> SN_PAGE_SHIFT);
	for (size_t i = 0; i < unit->nr; i++)
		unit->page[i] = (void *)(addr + (i << SN_PAGE_SHIFT));
	return unit->nr;
}

/* A system call that was refused: remembered, so that it is not tried again. */
static int move_refused(void)
{
	int error = errno;

	if (is_refusal(error)) {
		atomic_store(&can.move, false);
		refuse("move_pages", error);
	}
	return -error;
}

static int ask(void **page, size_t nr, int *where)
{
	if (move_pages(0, nr, page, NULL, where, 0) < 0)
		return move_refused();
	return 0;
}

/* Reads pages that are there and were not found; whether there were any. */
static bool unit_unhide(struct unit *unit)
{
	unsigned char there[UNIT_PAGES];
	bool found = false;

	if (mincore(unit->page[0], unit->nr << SN_PAGE_SHIFT, there) != 0)
		return false;
	for (size_t i = 0; i < unit->nr; i++)
		if (unit->where[i] == -ENOENT && (there[i] & 1) != 0 &&
		    madvise(unit->page[i], SN_PAGE_SIZE, MADV_POPULATE_READ) == 0)
			found = true;
	return found;
}

static bool some_not_found(const struct unit *unit)
{
	for (size_t i = 0; i < unit->nr; i++)
		if (unit->where[i] == -ENOENT)
			return true;
	return false;
}

static int unit_ask(struct unit *unit)
{
	int error = ask(unit->page, unit->nr, unit->where);

	if (error == 0 && some_not_found(unit) && unit_unhide(unit))
		error = ask(unit->page, unit->nr, unit->where);
	return error;
}

static int index_of_status(int status)
{
	if (status >= 0 && status < NUMA_MAX_OS_NODES && numa_state.index_of[status] != 0)
		return numa_state.index_of[status];
	if (status == -EFAULT || status == -ENOENT)
		return -ENOENT;
	return status < 0 ? status : -ENODEV;
}

static int query(void *addr, size_t npages, int *nodes)
{
	uintptr_t at = (uintptr_t)addr & ~(SN_PAGE_SIZE - 1);
	int saved = errno, error = 0;
	struct unit unit;

	if (!atomic_load(&can.move))
		return numa_state.wish == WISH_NONE ? -ENOSYS : -EPERM;
	while (npages > 0 && error == 0) {
		size_t nr = unit_fill(&unit, at, npages);

		error = unit_ask(&unit);
		for (size_t i = 0; i < nr && error == 0; i++)
			nodes[i] = index_of_status(unit.where[i]);
		nodes += nr;
		npages -= nr;
		at += nr << SN_PAGE_SHIFT;
	}
	errno = saved;
	return error;
}

/* ENOENT from the call as a whole: no page of it needed to move. */
static int unit_move(struct unit *unit, int os_target, int flags)
{
	for (size_t i = 0; i < unit->nr; i++) {
		unit->target[i] = os_target;
		unit->status[i] = NOT_SET;
	}
	if (move_pages(0, unit->nr, unit->page, unit->target, unit->status, flags) >= 0 ||
	    errno == ENOENT)
		return 0;
	return -errno;
}

/* Pages that other processes map as well can only be moved with CAP_SYS_NICE. */
static void unit_move_shared(struct unit *unit, int os_target)
{
	void *page[UNIT_PAGES];
	int target[UNIT_PAGES], status[UNIT_PAGES];
	size_t nr = 0;

	for (size_t i = 0; i < unit->nr; i++) {
		if (unit->status[i] != -EACCES)
			continue;
		page[nr] = unit->page[i];
		status[nr] = NOT_SET;
		target[nr++] = os_target;
	}
	if (nr == 0 || !atomic_load(&can.move_all))
		return;
	if (move_pages(0, nr, page, target, status, MPOL_MF_MOVE_ALL) < 0 && is_refusal(errno))
		atomic_store(&can.move_all, false);
}

static void unit_no_room(struct unit *unit)
{
	for (size_t i = 0; i < unit->nr; i++)
		if (unit->status[i] == NOT_SET)
			unit->status[i] = -ENOMEM;
}

static void unit_count(const struct unit *unit, int os_target, struct sn_move_result *result)
{
	for (size_t i = 0; i < unit->nr; i++) {
		int where = unit->where[i], status = unit->status[i];

		if (where == os_target) {
			result->moved++;
			continue;
		}
		if (where == -ENOENT || where == -EFAULT) {
			result->absent++;
			continue;
		}
		/* It is elsewhere.  Without a reason of its own it was in use at that moment. */
		if (status >= 0 || status == NOT_SET || status == -ENOENT || status == -EFAULT)
			status = -EBUSY;
		if (status == -EBUSY || status == -EAGAIN)
			result->busy++;
		else if (status == -EACCES)
			result->shared++;
		else if (status == -ENOMEM)
			result->no_room++;
		else
			result->failed++;
		result->last_error = -status;
	}
}

static int move_unit(struct unit *unit, int os_target, struct sn_move_result *result)
{
	int error = unit_move(unit, os_target, MPOL_MF_MOVE);

	if (is_refusal(-error)) {
		errno = -error;
		return move_refused();
	}
	if (error ==
	    -ENOMEM) /* the call stops at the first page for which the target has no room */
		unit_no_room(unit);
	else if (error != 0)
		return error;
	unit_move_shared(unit, os_target);
	error = unit_ask(unit);
	if (error == 0)
		unit_count(unit, os_target, result);
	return error;
}

static int move(void *addr, size_t len, unsigned int target, struct sn_move_result *result)
{
	uintptr_t at = (uintptr_t)addr & ~(SN_PAGE_SIZE - 1);
	uintptr_t end = (uintptr_t)addr + len;
	int saved = errno, error = 0;
	struct unit unit;

	if (!is_known(target))
		return -EINVAL;
	if (!atomic_load(&can.move))
		return numa_state.wish == WISH_NONE ? -ENOSYS : -EPERM;
	while (at < end && error == 0) {
		at += unit_fill(&unit, at, sn_pages_for(end - at)) << SN_PAGE_SHIFT;
		error = move_unit(&unit, numa_state.os_number[target], result);
	}
	errno = saved;
	return error;
}

/* ---- the rest of the process ---- */

static size_t pages_of_process(unsigned int node)
{
	numa_maps_forget();
	return (numa_maps_resident(node) + numa_maps_other(node)) >> SN_PAGE_SHIFT;
}

/*
 * Everything of the process that is on `from`: stacks, mappings, libraries.  The kernel tells
 * how many pages stayed; what moved is the difference between two looks at numa_maps.
 */
int numa_move_process(unsigned int from, const struct sn_nodemask *to,
		      struct sn_move_result *result)
{
	struct numa_mask from_mask = {{0}}, to_mask;
	size_t before, after;
	int saved = errno;
	long stayed;

	if (!is_known(from))
		return -EINVAL;
	if (numa_state.wish == WISH_NONE)
		return -ENOSYS;
	to_os_mask(to, &to_mask);
	numa_mask_add(&from_mask, (unsigned int)numa_state.os_number[from]);
	before = pages_of_process(from);
	stayed = migrate_pages(0, NUMA_MAXNODE, from_mask.word, to_mask.word);
	if (stayed < 0) {
		int error = -errno;

		errno = saved;
		return error;
	}
	after = pages_of_process(from);
	result->moved += before > after ? before - after : 0;
	result->busy += (size_t)stayed;
	if (stayed > 0)
		result->last_error = EBUSY;
	errno = saved;
	return 0;
}

/* ---- sizes ---- */

static size_t room(unsigned int node)
{
	return is_known(node) ? numa_meminfo(numa_state.os_number[node], "MemFree:") : 0;
}

static size_t resident(unsigned int node)
{
	return is_known(node) ? numa_maps_resident(node) : 0;
}

static size_t other(unsigned int node)
{
	return is_known(node) ? numa_maps_other(node) : 0;
}

static size_t capacity(unsigned int node)
{
	return is_known(node) ? numa_state.size[node] : 0;
}

static struct sn_placement placement = {
	.bind_range = bind_range,
	.move = move,
	.query = query,
	.room = room,
	.resident = resident,
	.capacity = capacity,
	.thread_node = numa_thread_node,
	.allowed = numa_allowed,
	.cpus = numa_cpus,
	.other = other,
};

/* ---- start ---- */

/* Binds, homes and asks for a page of its own; sets what turns out to be refused. */
static void probe_calls(void *page)
{
	struct numa_mask mask = {{0}};
	unsigned int node = numa_state.first_index;
	int error, where;

	/* Where the page is bound does not matter, only whether the call is permitted. */
	while (is_known(node + 1) && !numa_state.has_memory[node])
		node++;
	numa_mask_add(&mask, (unsigned int)numa_state.os_number[node]);
	error = set_policy(page, SN_PAGE_SIZE, MPOL_BIND, &mask);
	if (is_refusal(-error)) {
		atomic_store(&can.bind, false);
		refuse("mbind", -error);
	} else if (error == 0 && is_refusal(-set_home(page, SN_PAGE_SIZE, node))) {
		atomic_store(&can.home, false);
	}
	where = NOT_SET;
	ask(&page, 1, &where);
}

const struct sn_placement *numa_placement_probe(void)
{
	bool wanted = numa_state.wish != WISH_NONE;
	void *page;

	atomic_store(&can.bind, wanted);
	atomic_store(&can.home, wanted);
	atomic_store(&can.move, wanted);
	atomic_store(&can.move_all, wanted);
	atomic_store(&can.refused, 0);
	placement.name = wanted ? "bound" : "first-touch";
	placement.reason = "SLABNODE_PLACEMENT=none";
	if (!wanted)
		return &placement;
	placement.reason = numa_state.wish == WISH_STRICT ? "own node only" : "own node first";
	page = mmap(NULL, SN_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return &placement;
	probe_calls(page);
	munmap(page, SN_PAGE_SIZE);
	if (!atomic_load(&can.refused) && !atomic_load(&can.home) &&
	    numa_state.wish == WISH_PREFERRED)
		placement.reason = "preferred node only, no set_mempolicy_home_node";
	return &placement;
}

void numa_placement_fork_child(void)
{
	numa_maps_forget();
}
