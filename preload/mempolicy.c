/*
 * mempolicy.c - a thread that prefers a node by the system's own means gets that node's memory.
 *
 * Memory policies of threads do not reach into our ranges, which have policies of their own.  What
 * a thread asks for with set_mempolicy() (libnuma's numa_set_preferred(), numa_set_membind(), ...)
 * is therefore seen on its way and makes the node its home: as slabnode_prefer_node() does.  Only a
 * policy that names one node says where; any other gives the thread back to the node of its CPU.
 * A thread that is started later begins as the process did.
 */
#include "internal.h"

#include "../core/thread.h"
#include "mempolicy.h"
#include "modules.h"

/* linux/mempolicy.h, which not every libc6-dev brings. */
#define MODE_PREFERRED	    1
#define MODE_BIND	    2
#define MODE_PREFERRED_MANY 5
#define MODE_FLAGS	    (7 << 13)
#define FLAG_RELATIVE	    (1 << 14)
#define WORD_BITS	    (8 * sizeof(unsigned long))

/* The one node of a mask, or -1. */
static int only_node(const unsigned long *nodes, unsigned long maxnode)
{
	int found = -1;

	for (unsigned long n = 0; nodes != NULL && n + 1 < maxnode; n++) {
		if (!(nodes[n / WORD_BITS] >> n % WORD_BITS & 1))
			continue;
		if (found >= 0)
			return -1;
		found = (int)n;
	}
	return found;
}

void sn_mempolicy_set(int mode, const unsigned long *nodes, unsigned long maxnode)
{
	unsigned int index = SN_NODE_NONE;
	int plain = mode & ~MODE_FLAGS, node = -1;

	if (!sn_core_started() || sn_topology.simulated || sn_topology.nr_nodes < 2)
		return;
	if (!(mode & FLAG_RELATIVE) &&
	    (plain == MODE_PREFERRED || plain == MODE_BIND || plain == MODE_PREFERRED_MANY))
		node = only_node(nodes, maxnode);
	if (node >= 0)
		index = sn_node_find(node);
	sn_thread_prefer(index);
}
