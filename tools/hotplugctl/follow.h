/*
 * The command follow: does in all processes what the kernel does to the machine's memory.
 *
 * follow.c has the loop, follow_nodes.c what becomes of the kernel's nodes, follow_process.c what a
 * process is told, follow_log.c the lines.
 */
#ifndef HOTPLUGCTL_FOLLOW_H
#define HOTPLUGCTL_FOLLOW_H

#include <jansson.h>

#include "exchange.h"
#include "hotplugctl.h"
#include "machine.h"

enum node_phase {
	NODE_HERE,    /* the kernel has it, and nothing happens to it */
	NODE_LEAVING, /* blocks go offline, or did a moment ago */
	NODE_AWAY,    /* no block is online, or there is no such node */
	NODE_COMING,  /* blocks come online */
};

struct watched_node {
	unsigned int number;
	enum node_phase phase;
	struct node_memory memory;
	uint64_t changed; /* when that was last another, by now_ms() */
	bool returned;	  /* it is here since the last look */
};

struct watched_nodes {
	struct watched_node *items;
	size_t count;
	uint64_t block_bytes;
};

enum deed { DEED_NONE, DEED_LOOK, DEED_OFFLINE, DEED_ONLINE };

/* A process, and what is between it and us. Its session stands in an array of its own. */
struct follower {
	struct process *process;
	uint64_t born;
	bool seen;     /* in the latest search */
	bool foreign;  /* its nodes are simulated */
	bool stale;    /* what it has may not be what it is to have */
	char *trouble; /* why it could not be asked, as it was logged */

	struct node_list allowed, allowed_before; /* by its cpuset: as believed, as read last */
	struct node_list forbidden;		  /* nodes that its cpuset has lost meanwhile */
	struct node_list empty; /* nodes that it may not use, and has nothing on */
	struct node_list taken; /* nodes that it left because of us */
	struct node_list due;	/* nodes that it is to use as soon as it can */

	enum deed deed; /* under way */
	struct node_list deed_nodes;
	char *request;
	unsigned int failures; /* in a row */
	uint64_t retry_at;
};

struct follow {
	const struct context *context;
	struct watched_nodes nodes;
	struct follower *followers;
	struct session *sessions;
	size_t count;
	uint64_t delay_ms;
	const char *timeout; /* of an offline, seconds */
};

/* follow_nodes.c */
bool look_at_nodes(struct follow *follow);
bool nodes_move(const struct follow *follow);
const struct watched_node *watched_node(const struct follow *follow, unsigned int number);
void forget_returns(struct follow *follow);

/* follow_process.c */
void search_processes(struct follow *follow);
void look_at_cpusets(struct follow *follow);
void expect_changes(struct follow *follow);
void tell_process(struct follow *follow, size_t index, const struct exchange *exchange);
void take_answer(struct follow *follow, size_t index);
bool has_answer(const struct follow *follow, size_t index);
void recall_offline(struct follow *follow, size_t index);

/* follow_log.c */
void log_start(const struct follow *follow, int uevents);
void log_end(const struct follow *follow);
void log_node(const struct follow *follow, const struct watched_node *node, const char *what);
void log_cpuset(const struct follow *follow, const struct follower *follower,
		const struct node_list *lost, const struct node_list *gained);
void log_deed(const struct follow *follow, const struct follower *follower, const json_t *row,
	      uint64_t retry_ms);
void log_trouble(const struct follow *follow, const struct follower *follower);

#endif
