/*
 * threads.c - which simulated CPU a thread runs on.
 *
 * Threads take CPUs in turn, in the order in which they first ask, and keep what they got; the
 * main thread has the first, whenever it asks.  The turns go around the nodes that have CPUs:
 * the first CPU of each, then the second of each, and so on, then from the start again, so that
 * a program with as many threads as nodes uses every node.
 *
 * The thread's turn is four bytes of initial-exec thread-local storage.  A module opened at run
 * time may have that much: glibc keeps a surplus of static TLS for it, and this module is opened
 * at process start, before anything else can have used the surplus up.  No other model would
 * do: the general one allocates at the first access, inside malloc.
 */
#include "sim.h"

#include <string.h>

static _Thread_local uint32_t my_turn SN_TLS; /* turn + 1; 0: none yet */

static struct {
	uint8_t *node; /* by turn */
	size_t nr;
	_Atomic uint32_t next; /* the next turn to give; 0 is the main thread's */
} turns;

/* Nodes in the order of their first CPUs, and how many CPUs each has. */
struct order {
	unsigned int nr;
	uint8_t node[SN_MAX_NODES + 1];
	uint32_t cpus[SN_MAX_NODES + 1]; /* by node index */
	uint32_t most;
};

static void find_order(struct order *order)
{
	memset(order, 0, sizeof(*order));
	for (size_t cpu = 0; cpu < sim.nr_cpus; cpu++) {
		uint8_t node = sim.cpu_node[cpu];

		if (node == SN_NODE_NONE)
			continue;
		if (order->cpus[node]++ == 0)
			order->node[order->nr++] = node;
		order->most = sn_max(order->most, order->cpus[node]);
	}
}

int sim_threads_init(void)
{
	struct order order;

	find_order(&order);
	turns.nr = 0;
	atomic_store_explicit(&turns.next, 1, memory_order_relaxed);
	turns.node = sim.meta_alloc(sn_align_up(sn_max(sim.nr_cpus, 1u), SN_PAGE_SIZE));
	if (turns.node == NULL)
		return -ENOMEM;
	for (uint32_t round = 0; round < order.most; round++)
		for (unsigned int i = 0; i < order.nr; i++)
			if (order.cpus[order.node[i]] > round)
				turns.node[turns.nr++] = order.node[i];
	if (turns.nr == 0)
		turns.node[turns.nr++] = (uint8_t)sim.first_index;
	return 0;
}

static uint32_t take_turn(void)
{
	if (sim.in_main_thread())
		return 0;
	return atomic_fetch_add_explicit(&turns.next, 1, memory_order_relaxed);
}

unsigned int sim_thread_node(void)
{
	if (my_turn == 0)
		my_turn = (uint32_t)(take_turn() % turns.nr) + 1;
	return turns.node[(my_turn - 1) % turns.nr];
}
