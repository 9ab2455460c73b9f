/*
 * The table of commands: names, what they take, what they do. Usage errors, help and dispatch all
 * read it; the bash completion and the manual page name the same words, which the tests compare.
 */
#include <string.h>

#include "hotplugctl.h"
#include "table.h"

#define TABLE_SYNOPSIS "[-o COLUMN,...] [-n] [-b]"

const struct command commands[] = {
	{"list", TABLE_SYNOPSIS, "processes that run with the library",
	 "One row a process: pid, command, nodes in service of all nodes, live and cached bytes. "
	 "A process that cannot be asked is a row that says why.\n"
	 "Columns: PID COMMAND NODES LIVE CACHED SOCKET.",
	 OPT_TABLE, 0, 0, list_columns, run_list},
	{"status", TABLE_SYNOPSIS, "the nodes of a process: states, memory, locality",
	 "One row a node. LIVE is what the program holds, CACHED what the library keeps for it, "
	 "LOCAL% the share of the node's objects that were wanted there, ELSEWHERE what was "
	 "moved away, FALLBACK where allocations go when the node is full or away.\n"
	 "Columns: PID COMMAND NODE STATE CPUS CAPACITY LIVE CACHED SLABS LARGE LOCAL% RESIDENT "
	 "ELSEWHERE OTHER HIT MISS FOREIGN FALLBACK.",
	 OPT_TABLE, 0, 0, status_columns, run_status},
	{"offline",
	 "N... [--policy strict|wait|migrate] [--timeout SEC] [--to M,...] [--max-stall MS] "
	 "[--whole-process] [--detach] [--kernel] [-- COMMAND...]",
	 "takes nodes out of service",
	 "Drains what is cached on the nodes N (numbers, or lists such as 1,3-4) and gives it "
	 "back. "
	 "Live memory: strict refuses, wait waits until it is freed, migrate moves it without "
	 "changing addresses. Ctrl-C cancels, and the node is as before; --detach leaves once the "
	 "process has taken the order. --to names the nodes to move to, --max-stall the longest "
	 "stall of a thread to aim for, --whole-process moves the process's other memory as well. "
	 "--kernel takes the nodes from all processes and then their memory blocks from the "
	 "kernel, or lets COMMAND do that; when one fails, both are as before.",
	 OPT_BYTES | OPT_POLICY | OPT_TIMEOUT | OPT_TO | OPT_MAX_STALL | OPT_WHOLE_PROCESS |
		 OPT_DETACH | OPT_KERNEL,
	 1, -1, NULL, run_offline},
	{"online", "N... [--rebalance] [--kernel] [-- COMMAND...]", "brings nodes back",
	 "Allocations use the nodes again. With --rebalance the memory that was moved away "
	 "returns. --kernel brings their memory blocks online in the kernel first, such that they "
	 "can leave again, or lets COMMAND do that.",
	 OPT_BYTES | OPT_REBALANCE | OPT_KERNEL, 1, -1, NULL, run_online},
	{"cordon", "N", "stops new allocations on a node",
	 "Nothing is drained or moved; 'uncordon' takes it back.", OPT_BYTES, 1, 1, NULL,
	 run_lifecycle},
	{"uncordon", "N", "allows allocations on a cordoned node again",
	 "The opposite of 'cordon'.", OPT_BYTES, 1, 1, NULL, run_lifecycle},
	{"cancel", "N", "cancels an offline that is under way",
	 "The node is online again when this returns. Nothing under way is a success, too.",
	 OPT_BYTES, 1, 1, NULL, run_lifecycle},
	{"plan", "N " TABLE_SYNOPSIS, "what an offline would do",
	 "A dry run: bytes that would be given back, evicted and moved, where to, and what "
	 "stands in the way. Nothing changes. With -o, -n or -a a row a process.\n"
	 "Columns: PID COMMAND NODE FEASIBLE RELEASED EVICT MOVE ROOM LIVE CACHED METADATA OTHER "
	 "OBSTACLES.",
	 OPT_TABLE, 1, 1, plan_columns, run_plan},
	{"why", "N " TABLE_SYNOPSIS, "who keeps a node busy",
	 "Caches with live objects on the node, and large blocks, largest first.\n"
	 "Columns: PID COMMAND CACHE OBJECTS SLABS BYTES.",
	 OPT_TABLE, 1, 1, why_columns, run_why},
	{"drain", "[N...]", "returns cached free memory to the system",
	 "Of the nodes N, or of all. They stay online.", OPT_BYTES, 0, -1, NULL, run_lifecycle},
	{"slabinfo", "[N...] " TABLE_SYNOPSIS, "every cache on every node",
	 "Objects in use (ACTIVE) and in all slabs (NUM), object size, objects a slab (PER), "
	 "full, partial and free slabs, free objects in CPU arrays, shared store and alien "
	 "caches. Caches that never held anything on a node are left out; --json has them.\n"
	 "Columns: PID COMMAND CACHE NODE ACTIVE NUM SIZE PER FULL PART FREE CPU SHARED ALIEN.",
	 OPT_TABLE, 0, -1, slabinfo_columns, run_slabinfo},
	{"topology", "[--draw FILE] " TABLE_SYNOPSIS, "nodes, CPUs, distances, fallback order",
	 "In the shape of numactl -H, with states and fallback orders added; with -o or -n a row "
	 "a node. --draw makes a picture with states and bytes in it, by hwloc's lstopo: FILE "
	 "ends in .svg, .png, .pdf, .ps, .fig or .txt; '-' is SVG on standard output.\n"
	 "Columns: PID COMMAND NODE STATE CPUS SIZE FREE DISTANCES FALLBACK.",
	 OPT_TABLE | OPT_DRAW, 0, 0, topology_columns, run_topology},
	{"events", "[--since K] [--no-follow]", "follows transitions of nodes, a line each",
	 "Until Ctrl-C, or the process ends. --since K begins after event number K, as far back as "
	 "the process remembers; --no-follow ends with the last that has happened.",
	 OPT_SINCE | OPT_NO_FOLLOW, 0, 0, NULL, run_events},
	{"follow", "[--delay SEC] [--timeout SEC]", "does in all processes what the kernel does",
	 "A daemon: until Ctrl-C or SIGTERM, nodes whose memory the kernel takes offline leave "
	 "all processes, as nodes do that a process's cpuset has lost; those that come are "
	 "brought online. Looks each second, or each --delay, and when the kernel announces "
	 "something.\n"
	 "--timeout bounds each try (30 s). A line an event, with --json an object.",
	 OPT_DELAY | OPT_TIMEOUT, 0, 0, NULL, run_follow},
	{"top", "[--delay SEC]", "live screen of nodes and caches",
	 "Nodes above with a bar of live (#), cached (+) and free (.) memory, transitions as they "
	 "happen, the largest caches below; refreshed each second unless --delay says otherwise. "
	 "Keys: q leaves, p pauses, b u a t s c n sort the caches (again: the other way), d shows "
	 "them node by node, + and - change the delay, Tab shows the next process (with -a), ? "
	 "helps.",
	 OPT_DELAY, 0, 0, NULL, run_top},
	{"storm",
	 "[--seed S] [--requests N] [--duration SEC] [--rate HZ] [--clients K] [--policy P]",
	 "random requests, for tests",
	 "Random valid requests of every kind that changes nodes, and questions in between: 10 a "
	 "second for 10 seconds unless told otherwise. --requests ends after so many, --rate 0 "
	 "asks as fast as answers come, --clients asks by several clients at once. The seed is "
	 "printed and reproduces each client's requests. Ends with all nodes back and a table of "
	 "what was tried; busy, cancelled and timed out are no failures.",
	 OPT_SEED | OPT_DURATION | OPT_RATE | OPT_REQUESTS | OPT_CLIENTS | OPT_POLICY, 0, 0, NULL,
	 run_storm},
	{"fault", "SPEC", "arms a fault (simulated topologies only)",
	 "SPEC is passed to the process as it is; 'fault list' names the steps, libslabnode(7) "
	 "tells about them.",
	 0, 1, -1, NULL, run_fault},
	{"metrics", "[--caches] [--http]", "OpenMetrics text of one or all processes",
	 "For a node exporter's textfile collector, or a scrape: all processes unless -p or -s "
	 "names one. Those that cannot be asked are there, with slabnode_process_up 0 and the "
	 "reason. --caches adds a series for every cache on every node; --http answers one HTTP "
	 "request on standard input, for a socket unit, inetd or socat.",
	 OPT_CACHES | OPT_HTTP, 0, 0, NULL, run_metrics},
	{"options", TABLE_SYNOPSIS, "the library's options and their values",
	 "As the process has understood its environment.\n"
	 "Columns: PID COMMAND NAME TYPE VALUE DEFAULT HELP.",
	 OPT_TABLE, 0, 0, options_columns, run_options},
	{"version", "", "versions of hotplugctl and, with a target, of the library",
	 "With -p, -a or -s also the version that the process runs with.", 0, 0, 0, NULL,
	 run_version},
	{"help", "[COMMAND]", "this, or more about one command", "Prints how a command is used.", 0,
	 0, 1, NULL, run_help},
	{0},
};

const struct command *find_command(const char *name)
{
	for (const struct command *command = commands; command->name; command++)
		if (!strcmp(command->name, name))
			return command;
	return NULL;
}

/* Letters that differ, are missing, too many, or have changed places; no more than it takes. */
static size_t distance(const char *one, const char *other)
{
	if (!*one || !*other)
		return strlen(one) + strlen(other);
	if (*one == *other)
		return distance(one + 1, other + 1);
	if (one[1] && one[0] == other[1] && one[1] == other[0])
		return 1 + distance(one + 2, other + 2);
	return 1 + (strlen(one) > strlen(other)	  ? distance(one + 1, other)
		    : strlen(one) < strlen(other) ? distance(one, other + 1)
						  : distance(one + 1, other + 1));
}

/* The command that was probably meant; NULL where none is near. */
const struct command *similar_command(const char *name)
{
	const struct command *best = NULL;
	size_t least = 3;

	for (const struct command *command = commands; command->name; command++) {
		size_t length = strlen(name), far = distance(name, command->name);

		if (length > 2 && !strncmp(name, command->name, length))
			far = 0;
		if (far >= least || far >= strlen(command->name) / 2)
			continue;
		best = command;
		least = far;
	}
	return best;
}
