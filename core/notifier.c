/*
 * notifier.c - see notifier.h.
 *
 * One delivery goes on at a time: the deliverer holds `turn` (callback.h).  Callbacks may allocate,
 * free, create caches and take any time; what they may not do is change nodes or the chain.
 *
 * Each slot remembers, by node, whether it was told of a beginning whose end is still to come.
 * An end is delivered to exactly those; a newcomer in the middle of a transition is told of its
 * beginning under `turn`, so that it falls into line before the end.
 */
#include "notifier.h"

#include "callback.h"
#include "fault.h"
#include "probe.h"
#include "stats.h"

#include <string.h>

#define MAX_NOTIFIERS 64

struct notifier {
	int id; /* 0: free */
	int priority;
	slabnode_memory_fn *memory;
	slabnode_node_fn *node;
	void *data;
	struct sn_nodemask begun; /* told of a beginning, not yet of the end */
	char name[32];
};

/* Under way on a node, for newcomers. */
struct under_way {
	bool active, online;
	enum sn_policy policy;
};

/* Guards all that follows. */
static struct sn_turn turn;
static struct notifier notifiers[MAX_NOTIFIERS];
static int last_id;

/* In the order of calling.  A change builds the other one and then switches, so that a child of a
 * fork at any moment finds a whole one. */
struct chain {
	unsigned int nr;
	struct notifier *at[MAX_NOTIFIERS];
};
static struct chain chains[2];
static struct chain *_Atomic chain = &chains[0];
static struct under_way under_way[SN_MAX_NODES + 1];

/* A callback that forks returns in the child, too, where the transition was undone: nobody else
 * hears of it there, and it ends.  *here says whether it has not. */
static int call(struct notifier *n, struct sn_node *node, enum slabnode_mem_action memory,
		enum slabnode_node_action event, enum sn_policy policy, bool *here)
{
	bool begins = memory == SLABNODE_MEM_GOING_ONLINE || memory == SLABNODE_MEM_GOING_OFFLINE;
	struct sn_callback frame;
	int result, injected;

	sn_callback_enter(&frame, SN_CALLBACK_NOTIFIER, n->name, node->index);
	injected = sn_fault(begins ? SN_FAULT_NOTIFIER : SN_FAULT_NOTIFIER_END);
	if (n->memory != NULL) {
		struct slabnode_memory_notify notify = {
			.node = node->os_number,
			.policy = (int)policy,
			.live_bytes = sn_live_bytes(node->index),
		};

		result = n->memory(memory, &notify, n->data);
	} else {
		struct slabnode_node_notify notify = {.node = node->os_number};

		result = n->node(event, &notify, n->data);
	}
	*here = sn_callback_leave(&frame);
	SN_PROBE(notifier, node->os_number, n->name, n->memory != NULL,
		 n->memory != NULL ? (int)memory : (int)event, result);
	if (!*here)
		return -ECANCELED;
	return result < 0 ? result : injected;
}

static int tell_begin(struct notifier *n, struct sn_node *node, bool online, enum sn_policy policy)
{
	bool here;
	int result = call(n, node, online ? SLABNODE_MEM_GOING_ONLINE : SLABNODE_MEM_GOING_OFFLINE,
			  online ? SLABNODE_NODE_ADDING_FIRST_MEMORY
				 : SLABNODE_NODE_REMOVING_LAST_MEMORY,
			  policy, &here);

	if (here)
		sn_mask_add(&n->begun, node->index);
	return result < 0 ? result : 0;
}

static void tell_end(struct notifier *n, struct sn_node *node, bool online, bool cancelled,
		     enum sn_policy policy)
{
	bool here;

	if (!sn_mask_has(&n->begun, node->index))
		return;
	sn_mask_remove(&n->begun, node->index);
	if (cancelled)
		call(n, node, online ? SLABNODE_MEM_CANCEL_ONLINE : SLABNODE_MEM_CANCEL_OFFLINE,
		     online ? SLABNODE_NODE_CANCEL_ADDING_FIRST_MEMORY
			    : SLABNODE_NODE_CANCEL_REMOVING_LAST_MEMORY,
		     policy, &here);
	else
		call(n, node, online ? SLABNODE_MEM_ONLINE : SLABNODE_MEM_OFFLINE,
		     online ? SLABNODE_NODE_ADDED_FIRST_MEMORY : SLABNODE_NODE_REMOVED_LAST_MEMORY,
		     policy, &here);
}

/* Node events enclose the memory actions at the beginning; at the end they come first, but for a
 * cancel, which undoes in the opposite order (the kernel's offline_pages and online_pages). */
int sn_notify_begin(struct sn_node *node, bool online, enum sn_policy policy,
		    struct sn_notify_request *request)
{
	int error = 0;

	request->told = sn_turn_take_unless(&turn, request->stop, request->arg);
	if (!request->told)
		return -ECANCELED;
	under_way[node->index] = (struct under_way){true, online, policy};
	for (int memory = 0; memory < 2 && error == 0; memory++)
		for (unsigned int i = 0; i < chain->nr && error == 0; i++) {
			struct notifier *n = chain->at[i];

			if ((n->memory != NULL) != memory)
				continue;
			error = tell_begin(n, node, online, policy);
			if (error != 0)
				memcpy(request->who, n->name, sizeof(n->name));
		}
	sn_turn_give(&turn);
	return error;
}

void sn_notify_end(struct sn_node *node, bool online, bool cancelled, enum sn_policy policy)
{
	sn_turn_take(&turn);
	under_way[node->index].active = false;
	for (int pass = 0; pass < 2; pass++)
		for (unsigned int i = 0; i < chain->nr; i++)
			if ((chain->at[i]->memory != NULL) == (cancelled ? pass == 0 : pass == 1))
				tell_end(chain->at[i], node, online, cancelled, policy);
	sn_turn_give(&turn);
}

static struct chain *other_chain(void)
{
	return chain == &chains[0] ? &chains[1] : &chains[0];
}

/* Behind those of the same priority. */
static void insert(struct notifier *n)
{
	const struct chain *old = chain;
	struct chain *new = other_chain();
	unsigned int i = 0;

	for (; i < old->nr && old->at[i]->priority >= n->priority; i++)
		new->at[i] = old->at[i];
	new->at[i] = n;
	for (; i < old->nr; i++)
		new->at[i + 1] = old->at[i];
	new->nr = old->nr + 1;
	atomic_store(&chain, new);
}

static void take_out(const struct notifier *n)
{
	const struct chain *old = chain;
	struct chain *new = other_chain();

	new->nr = 0;
	for (unsigned int i = 0; i < old->nr; i++)
		if (old->at[i] != n)
			new->at[new->nr++] = old->at[i];
	atomic_store(&chain, new);
}

static struct notifier *find(int id)
{
	for (unsigned int i = 0; i < MAX_NOTIFIERS; i++)
		if (notifiers[i].id == id)
			return &notifiers[i];
	return NULL;
}

int sn_notifier_register(const char *name, int priority, slabnode_memory_fn *memory,
			 slabnode_node_fn *node, void *data)
{
	struct notifier *n;
	int id = -ENOSPC;

	if (!SN_HOTPLUG)
		return -ENOTSUP;
	if (name == NULL || (memory == NULL) == (node == NULL))
		return -EINVAL;
	if (sn_in_callback())
		return -EDEADLK;
	sn_turn_take(&turn);
	n = find(0);
	if (n != NULL) {
		*n = (struct notifier){.id = ++last_id,
				       .priority = priority,
				       .memory = memory,
				       .node = node,
				       .data = data};
		strncpy(n->name, name, sizeof(n->name) - 1);
		id = n->id;
		insert(n);
		for_each_node(i)
			if (under_way[i].active && tell_begin(n, sn_nodes[i], under_way[i].online,
							      under_way[i].policy) < 0)
				sn_transition_veto(i, n->name);
	}
	sn_turn_give(&turn);
	return id;
}

int sn_notifier_unregister(int id)
{
	struct notifier *n;

	if (sn_in_callback())
		return -EDEADLK;
	sn_turn_take(&turn);
	n = id > 0 ? find(id) : NULL;
	if (n != NULL) {
		take_out(n);
		n->id = 0;
	}
	sn_turn_give(&turn);
	return n == NULL ? -ENOENT : 0;
}

void sn_notifier_fork_child(void)
{
	atomic_store(&turn.word, 0);
	memset(under_way, 0, sizeof(under_way));
	for (unsigned int i = 0; i < chain->nr; i++)
		chain->at[i]->begun = (struct sn_nodemask){{0}};
}
