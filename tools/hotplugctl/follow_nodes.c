/*
 * What becomes of the kernel's nodes, look by look.
 *
 *	HERE --- a block goes offline ---> LEAVING --- none is online ---> AWAY
 *	 ^  <-- blocks are left, and nothing -- |                            |
 *	 |      has happened for a while                                     | a block is online
 *	 +------------- nothing happens any more ------------- COMING <------+
 *
 * A removal takes one block after the other, and only the one that is just being vacated says so;
 * in between nothing shows that more will follow. So a node is LEAVING until it was quiet for a
 * while.
 */
#include <stdlib.h>

#include "follow.h"
#include "util.h"

#define QUIET_LOOKS 5 /* until a node that was leaving is believed to stay */

static struct watched_node *find_node(struct watched_nodes *nodes, unsigned int number)
{
	for (size_t i = 0; i < nodes->count; i++)
		if (nodes->items[i].number == number)
			return &nodes->items[i];
	return NULL;
}

const struct watched_node *watched_node(const struct follow *follow, unsigned int number)
{
	return find_node((struct watched_nodes *)&follow->nodes, number);
}

static bool same_memory(const struct node_memory *one, const struct node_memory *other)
{
	return one->blocks == other->blocks && one->online == other->online &&
	       one->going == other->going;
}

static enum node_phase first_phase(const struct node_memory *memory)
{
	if (memory->going)
		return NODE_LEAVING;
	return memory->online ? NODE_HERE : NODE_AWAY;
}

static enum node_phase next_phase(const struct watched_node *node, const struct node_memory *memory,
				  uint64_t quiet_ms, uint64_t delay_ms)
{
	if (!memory->online && !memory->going)
		return NODE_AWAY;
	if (memory->going || memory->online < node->memory.online)
		return NODE_LEAVING;
	if (node->phase == NODE_AWAY)
		return NODE_COMING;
	if (node->phase == NODE_LEAVING && quiet_ms >= QUIET_LOOKS * delay_ms)
		return NODE_HERE;
	if (node->phase == NODE_COMING && quiet_ms >= delay_ms)
		return NODE_HERE;
	return node->phase;
}

static const char *what_happens(enum node_phase before, enum node_phase now)
{
	if (now == NODE_HERE)
		return before == NODE_COMING ? "came" : "stays";
	return now == NODE_LEAVING ? "leaving" : now == NODE_AWAY ? "away" : "coming";
}

/* Whether its phase is another now. */
static bool look_at_node(const struct follow *follow, struct watched_node *node,
			 const struct node_memory *memory)
{
	enum node_phase before = node->phase;

	if (!same_memory(&node->memory, memory))
		node->changed = now_ms();
	node->phase = next_phase(node, memory, now_ms() - node->changed, follow->delay_ms);
	node->memory = *memory;
	if (node->phase == before)
		return false;
	node->returned = before == NODE_COMING && node->phase == NODE_HERE;
	if (node->phase != NODE_COMING)
		log_node(follow, node, what_happens(before, node->phase));
	return true;
}

/* Nodes that were never seen count as away; at the first look all are as they are. */
static void take_in(struct follow *follow, const struct machine *machine, bool first)
{
	for (size_t i = 0; i < machine->nodes.count; i++) {
		unsigned int number = machine->nodes.nodes[i];
		struct node_memory memory = memory_of(machine, number);
		struct watched_nodes *nodes = &follow->nodes;

		/* One without memory is none that could leave. */
		if (!memory.blocks || find_node(nodes, number))
			continue;
		nodes->items = grow(nodes->items, (nodes->count + 1) * sizeof(*nodes->items));
		nodes->items[nodes->count++] = (struct watched_node){
			.number = number,
			.phase = first ? first_phase(&memory) : NODE_AWAY,
			.memory = first ? memory : (struct node_memory){0},
			.changed = now_ms(),
		};
	}
}

/* Whether a node is in another phase than it was. */
bool look_at_nodes(struct follow *follow)
{
	bool first = !follow->nodes.items, any = false;
	struct machine machine;

	read_machine(&machine);
	follow->nodes.block_bytes = machine.block_bytes;
	take_in(follow, &machine, first);
	for (size_t i = 0; i < follow->nodes.count; i++) {
		struct watched_node *node = &follow->nodes.items[i];
		struct node_memory memory = memory_of(&machine, node->number);

		any |= look_at_node(follow, node, &memory);
	}
	free_machine(&machine);
	return any;
}

/* Whether something is under way: then processes that have just started matter. */
bool nodes_move(const struct follow *follow)
{
	for (size_t i = 0; i < follow->nodes.count; i++)
		if (follow->nodes.items[i].phase == NODE_LEAVING ||
		    follow->nodes.items[i].phase == NODE_COMING)
			return true;
	return false;
}

/* Everybody knows by now. */
void forget_returns(struct follow *follow)
{
	for (size_t i = 0; i < follow->nodes.count; i++)
		follow->nodes.items[i].returned = false;
}
