/*
 * ledger.c - where the pages are: the simulated machine's physical memory.
 *
 * One byte a page of window address space: the index of the node the page is on, 0 for no page,
 * and SIM_INACCESSIBLE (see vacate.c).  The bytes of 16 MiB of addresses are a block of 4096;
 * blocks hang in a directory of two levels whose parts are allocated at first use and never
 * freed, so that an idle process pays for what it touched.
 *
 *	address - window base
 *	|  directory (10 bits)  |  block (10 bits)  |  byte (12 bits)  |  offset (12 bits)  |
 *
 * A page is charged when memory is handed out, to the node that its range's policy names: the
 * range's own node, or, when the last bind_range() for that node lacks it (the node is leaving
 * or has left), the nearest nodes with room among those that it names, as the page fault on a
 * real machine would do.  It is uncharged where it really is, which a move may have changed.
 *
 * One lock, the innermost of the process, guards bytes, counters and masks; the counters are
 * read without.  Room for the bytes is made before the lock is taken, because the core's
 * metadata allocator ranks before it.
 */
#include "sim.h"

#include <string.h>

#define WINDOW_SHIFT	  44
#define BLOCK_SHIFT	  24
#define BLOCK_PAGES	  ((size_t)1 << (BLOCK_SHIFT - SN_PAGE_SHIFT))
#define DIRECTORY_SHIFT	  34
#define DIRECTORY_ENTRIES ((size_t)1 << (DIRECTORY_SHIFT - BLOCK_SHIFT))
#define ROOT_ENTRIES	  ((size_t)1 << (WINDOW_SHIFT - DIRECTORY_SHIFT))
#define NODE_BITS	  0x7f

typedef _Atomic(uint8_t *) block_slot;
typedef _Atomic(block_slot *) directory_slot;

struct sim_lock sim_ledger_lock;

static struct {
	directory_slot root[ROOT_ENTRIES];
	/* A part that lost the race to be installed waits here for the next need. */
	_Atomic(void *) spare_block, spare_directory;
	_Atomic size_t resident[SN_MAX_NODES + 1]; /* pages, by node index */
	struct sn_nodemask policy[SN_MAX_NODES + 1] SN_GUARDED_BY(&sim_ledger_lock);
	bool has_policy[SN_MAX_NODES + 1] SN_GUARDED_BY(&sim_ledger_lock);
} ledger;

/* Offset in the window; false when [addr, addr+len) is not inside it. */
static bool window_offset(uintptr_t addr, size_t len, uintptr_t *offset)
{
	uintptr_t base = sim.window_base();

	*offset = addr - base;
	return base != 0 && addr >= base && len <= (size_t)1 << WINDOW_SHIFT &&
	       *offset <= ((uintptr_t)1 << WINDOW_SHIFT) - len;
}

static void *take_spare(_Atomic(void *) *spare, size_t size)
{
	void *p = atomic_exchange_explicit(spare, NULL, memory_order_acquire);

	return p != NULL ? p : sim.meta_alloc(sn_align_up(size, SN_PAGE_SIZE));
}

static block_slot *reserve_directory(uintptr_t offset)
{
	directory_slot *slot = &ledger.root[offset >> DIRECTORY_SHIFT];
	block_slot *directory = atomic_load_explicit(slot, memory_order_acquire);
	block_slot *expected = NULL;

	if (directory != NULL)
		return directory;
	directory = take_spare(&ledger.spare_directory, DIRECTORY_ENTRIES * sizeof(*directory));
	if (directory == NULL ||
	    atomic_compare_exchange_strong_explicit(slot, &expected, directory,
						    memory_order_acq_rel, memory_order_acquire))
		return directory;
	atomic_store_explicit(&ledger.spare_directory, directory, memory_order_release);
	return expected;
}

static int reserve_block(uintptr_t offset)
{
	block_slot *directory = reserve_directory(offset), *slot;
	uint8_t *block, *expected = NULL;

	if (directory == NULL)
		return -ENOMEM;
	slot = &directory[(offset >> BLOCK_SHIFT) % DIRECTORY_ENTRIES];
	if (atomic_load_explicit(slot, memory_order_acquire) != NULL)
		return 0;
	block = take_spare(&ledger.spare_block, BLOCK_PAGES);
	if (block == NULL)
		return -ENOMEM;
	if (!atomic_compare_exchange_strong_explicit(slot, &expected, block, memory_order_acq_rel,
						     memory_order_acquire))
		atomic_store_explicit(&ledger.spare_block, block, memory_order_release);
	return 0;
}

int sim_ledger_reserve(const void *addr, size_t len)
{
	uintptr_t offset, end;

	if (len == 0)
		return 0;
	if (!window_offset((uintptr_t)addr, len, &offset))
		return -EINVAL;
	end = offset + len;
	for (offset &= ~(((uintptr_t)1 << BLOCK_SHIFT) - 1); offset < end;
	     offset += (uintptr_t)1 << BLOCK_SHIFT) {
		int error = reserve_block(offset);

		if (error != 0)
			return error;
	}
	return 0;
}

uint8_t *sim_ledger_page(uintptr_t addr)
{
	block_slot *directory;
	uint8_t *block;
	uintptr_t offset;

	if (!window_offset(addr, 1, &offset))
		return NULL;
	directory =
		atomic_load_explicit(&ledger.root[offset >> DIRECTORY_SHIFT], memory_order_acquire);
	if (directory == NULL)
		return NULL;
	block = atomic_load_explicit(&directory[(offset >> BLOCK_SHIFT) % DIRECTORY_ENTRIES],
				     memory_order_acquire);
	return block == NULL ? NULL : &block[(offset >> SN_PAGE_SHIFT) % BLOCK_PAGES];
}

uint8_t *sim_ledger_next(uint8_t *byte, uintptr_t addr)
{
	uintptr_t next = (addr & ~(SN_PAGE_SIZE - 1)) + SN_PAGE_SIZE;

	if (byte != NULL && ((next - sim.window_base()) & (((uintptr_t)1 << BLOCK_SHIFT) - 1)) != 0)
		return byte + 1;
	return sim_ledger_page(next);
}

#define for_each_page(byte, addr, start, len)                                                      \
	for (uintptr_t addr = (uintptr_t)(start) & ~(SN_PAGE_SIZE - 1),                            \
		       addr##_end = (uintptr_t)(start) + (len), addr##_once = 1;                   \
	     addr##_once; addr##_once = 0)                                                         \
		for (uint8_t *byte = addr < addr##_end ? sim_ledger_page(addr) : NULL;             \
		     addr < addr##_end; byte = sim_ledger_next(byte, addr), addr += SN_PAGE_SIZE)

static size_t resident_pages(unsigned int node)
{
	return atomic_load_explicit(&ledger.resident[node], memory_order_relaxed);
}

static size_t room_pages(unsigned int node)
{
	size_t used = resident_pages(node), all = sim.capacity[node] >> SN_PAGE_SHIFT;

	if (sim.capacity[node] == SIM_UNLIMITED)
		return SIZE_MAX >> SN_PAGE_SHIFT;
	return used < all ? all - used : 0;
}

static void put_page(uint8_t *byte, unsigned int node) SN_REQUIRES(&sim_ledger_lock)
{
	unsigned int old = *byte & NODE_BITS;

	*byte = (uint8_t)((*byte & SIM_INACCESSIBLE) | node);
	if (old != 0)
		atomic_fetch_sub_explicit(&ledger.resident[old], 1, memory_order_relaxed);
	if (node != 0)
		atomic_fetch_add_explicit(&ledger.resident[node], 1, memory_order_relaxed);
}

static unsigned int distance(unsigned int from, unsigned int to)
{
	return sim.distance[from - sim.first_index][to - sim.first_index];
}

static bool is_simulated(unsigned int node)
{
	return node >= sim.first_index && node < sim.first_index + sim.nr_nodes;
}

/* The node on which the next page of `home`'s range lands, SN_NODE_NONE: nowhere. */
static unsigned int landing_node(unsigned int home) SN_REQUIRES(&sim_ledger_lock)
{
	const struct sn_nodemask *policy = &ledger.policy[home];
	unsigned int best = SN_NODE_NONE;

	if (!ledger.has_policy[home] || sn_mask_has(policy, home))
		return room_pages(home) > 0 ? home : SN_NODE_NONE;
	for (unsigned int node = sim.first_index; node < sim.first_index + sim.nr_nodes; node++) {
		if (!sn_mask_has(policy, node) || room_pages(node) == 0)
			continue;
		if (best == SN_NODE_NONE || distance(home, node) < distance(home, best))
			best = node;
	}
	return best;
}

/* Room, in pages, on all nodes that pages of `home`'s range may land on. */
static size_t landing_room(unsigned int home) SN_REQUIRES(&sim_ledger_lock)
{
	const struct sn_nodemask *policy = &ledger.policy[home];
	size_t pages = 0;

	if (!ledger.has_policy[home] || sn_mask_has(policy, home))
		return room_pages(home);
	for (unsigned int node = sim.first_index; node < sim.first_index + sim.nr_nodes; node++)
		if (sn_mask_has(policy, node) &&
		    __builtin_add_overflow(pages, room_pages(node), &pages))
			return SIZE_MAX;
	return pages;
}

int sim_populate(void *addr, size_t len, unsigned int node)
{
	unsigned int landing = SN_NODE_NONE;
	size_t absent = 0;
	int error;

	if (!is_simulated(node))
		return -EINVAL;
	error = sim_fault(SN_FAULT_POPULATE);
	if (error == 0)
		error = sim_ledger_reserve(addr, len);
	if (error != 0)
		return error;
	sim_lock(&sim_ledger_lock);
	for_each_page(byte, page, addr, len) absent += (*byte & NODE_BITS) == 0;
	if (absent > landing_room(node)) {
		sim_unlock(&sim_ledger_lock);
		return -ENOMEM;
	}
	for_each_page(byte, page, addr, len)
	{
		if ((*byte & NODE_BITS) != 0)
			continue;
		if (landing == SN_NODE_NONE || room_pages(landing) == 0)
			landing = landing_node(node);
		put_page(byte, landing);
	}
	sim_unlock(&sim_ledger_lock);
	return 0;
}

void sim_depopulate(void *addr, size_t len, unsigned int node)
{
	size_t gone[NODE_BITS + 1] = {0};

	(void)node; /* the ledger knows better where the pages are */
	sim_lock(&sim_ledger_lock);
	for_each_page(byte, page, addr, len)
	{
		if (byte == NULL)
			continue;
		gone[*byte & NODE_BITS]++;
		*byte &= SIM_INACCESSIBLE;
	}
	for (unsigned int n = sim.first_index; n < sim.first_index + sim.nr_nodes; n++)
		if (gone[n] > 0)
			atomic_fetch_sub_explicit(&ledger.resident[n], gone[n],
						  memory_order_relaxed);
	sim_unlock(&sim_ledger_lock);
}

int sim_bind_range(void *addr, size_t len, unsigned int node, const struct sn_nodemask *allowed)
{
	int error;

	(void)addr, (void)len; /* every range of a node is bound alike */
	if (!is_simulated(node))
		return -EINVAL;
	error = sim_fault(SN_FAULT_BIND);
	if (error != 0)
		return error;
	sim_lock(&sim_ledger_lock);
	ledger.policy[node] = *allowed;
	ledger.has_policy[node] = sn_mask_count(allowed) > 0;
	sim_unlock(&sim_ledger_lock);
	return 0;
}

enum fate { FATE_MOVES, FATE_BUSY, FATE_SHARED, FATE_NO_ROOM, FATE_FAILED };

static enum fate fate_of_error(int error)
{
	switch (-error) {
	case 0:
		return FATE_MOVES;
	case EBUSY:
		return FATE_BUSY;
	case EACCES:
		return FATE_SHARED;
	case ENOMEM:
		return FATE_NO_ROOM;
	default:
		return FATE_FAILED;
	}
}

/* What becomes of one page that is elsewhere; *error is set when it stays. */
static void move_page(uint8_t *byte, unsigned int target, int error, struct sn_move_result *result)
	SN_REQUIRES(&sim_ledger_lock)
{
	if (error == 0)
		error = sim_fault(SN_FAULT_MOVE_BUSY);
	if (error == 0)
		error = sim_fault(SN_FAULT_MOVE_SHARED);
	if (error == 0)
		error = sim_fault(SN_FAULT_MOVE_NOMEM);
	if (error == 0 && room_pages(target) == 0)
		error = -ENOMEM;
	switch (fate_of_error(error)) {
	case FATE_MOVES:
		put_page(byte, target);
		result->moved++;
		return;
	case FATE_BUSY:
		result->busy++;
		break;
	case FATE_SHARED:
		result->shared++;
		break;
	case FATE_NO_ROOM:
		result->no_room++;
		break;
	case FATE_FAILED:
		result->failed++;
		break;
	}
	result->last_error = -error;
}

int sim_move(void *addr, size_t len, unsigned int target, struct sn_move_result *result)
{
	uintptr_t offset;
	int error;

	if (!is_simulated(target) || !window_offset((uintptr_t)addr, len, &offset))
		return -EINVAL;
	error = sim_fault(SN_FAULT_MOVE);
	if (error == -EPERM || error == -ENOSYS)
		return error;
	sim_lock(&sim_ledger_lock);
	for_each_page(byte, page, addr, len)
	{
		unsigned int now = byte == NULL ? 0 : *byte & NODE_BITS;

		if (now == 0)
			result->absent++;
		else if (now == target)
			result->moved++;
		else
			move_page(byte, target, error, result);
	}
	sim_unlock(&sim_ledger_lock);
	return 0;
}

int sim_query(void *addr, size_t npages, int *nodes)
{
	int error = sim_fault(SN_FAULT_QUERY);
	size_t i = 0;

	if (error != 0)
		return error;
	sim_lock(&sim_ledger_lock);
	for_each_page(byte, page, addr, npages << SN_PAGE_SHIFT)
	{
		unsigned int now = byte == NULL ? 0 : *byte & NODE_BITS;

		if (i < npages)
			nodes[i++] = now == 0 ? -ENOENT : (int)now;
	}
	sim_unlock(&sim_ledger_lock);
	return 0;
}

size_t sim_room(unsigned int node)
{
	if (!is_simulated(node))
		return 0;
	return sim.capacity[node] == SIM_UNLIMITED ? SIZE_MAX : room_pages(node) << SN_PAGE_SHIFT;
}

size_t sim_resident(unsigned int node)
{
	return is_simulated(node) ? resident_pages(node) << SN_PAGE_SHIFT : 0;
}

size_t sim_capacity(unsigned int node)
{
	return is_simulated(node) ? sim.capacity[node] : 0;
}

/* Before there are other threads. */
void sim_ledger_reset(void) SN_NO_THREAD_SAFETY
{
	memset(&ledger, 0, sizeof(ledger));
}
