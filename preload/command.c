/*
 * command.c - the requests of the control socket: reading a line, one table of commands, and
 * what each does.
 *
 * A line is COMMAND [ARG...] [key=value...].  Node numbers on the wire are the system's.  What
 * may wait for anything runs as an operation in a worker; the rest answers at once.  Whatever is
 * not understood is EINVAL and changes nothing.
 */
#include <string.h>

#include "../core/stats.h"
#include "command.h"
#include "control.h"
#include "show.h"

#define MAX_ARGUMENTS	160
#define MAX_OPTIONS	16
#define MAX_NODE_NUMBER 1000000
#define MAX_TIMEOUT_MS	((uint64_t)1000 * 60 * 60 * 24 * 365)
#define MAX_STALL_MS	60000
#define MAX_FAULT_TEXT	2048

struct option {
	char *key, *value;
	bool used;
};

struct request {
	struct sn_client *client;
	const struct command *command;
	char *rest; /* the line after the command's name, as it came */
	char *argument[MAX_ARGUMENTS];
	unsigned int arguments;
	struct option option[MAX_OPTIONS];
	unsigned int options;
	unsigned int node[SN_MAX_NODES]; /* indexes, each once */
	unsigned int nodes;
	int error; /* with message, once something was wrong */
	char message[256];
};

enum node_arguments { NO_NODES, ONE_NODE, SOME_NODES, ANY_NODES };

struct command {
	const char *name, *usage, *help;
	enum node_arguments takes;
	void (*run)(struct request *request);
};

/* The first complaint counts. */
static bool complain(struct request *request, int error, const char *what, const char *about)
{
	struct sn_text text;

	if (request->error)
		return false;
	request->error = error;
	sn_text_begin(&text, request->message, sizeof(request->message));
	sn_text_add(&text, what);
	if (about) {
		sn_text_add(&text, ": ");
		sn_text_add(&text, about);
	}
	return false;
}

/* Decimal digits only; advances *at past them. */
static bool read_number(const char **at, uint64_t most, uint64_t *number)
{
	const char *digit = *at;

	*number = 0;
	for (; *digit >= '0' && *digit <= '9'; digit++) {
		*number = *number * 10 + (uint64_t)(*digit - '0');
		if (*number > most)
			return false;
	}
	if (digit == *at)
		return false;
	*at = digit;
	return true;
}

/* "2.5" seconds are 2500 ms; without strtod, whose decimal point follows the locale. */
static bool read_seconds(const char *text, uint64_t *ms)
{
	uint64_t seconds = 0, unit = 100;
	bool digits = *text && *text != '.';

	if (digits && !read_number(&text, MAX_TIMEOUT_MS / 1000, &seconds))
		return false;
	*ms = seconds * 1000;
	if (*text == '.')
		for (text++; *text >= '0' && *text <= '9'; text++, unit /= 10, digits = true)
			*ms += unit * (uint64_t)(*text - '0');
	return digits && !*text;
}

static bool add_node(struct request *request, uint64_t number, unsigned int *node,
		     unsigned int *count)
{
	unsigned int index = sn_node_find((int)number);
	char name[32];
	struct sn_text text;

	if (index == SN_NODE_NONE && sn_control_config->look) {
		sn_control_config->look();
		index = sn_node_find((int)number);
	}
	if (index == SN_NODE_NONE) {
		sn_text_begin(&text, name, sizeof(name));
		sn_text_number(&text, number);
		return complain(request, -ENODEV, "no such node", name);
	}
	for (unsigned int i = 0; i < *count; i++)
		if (node[i] == index)
			return true;
	if (*count < SN_MAX_NODES)
		node[(*count)++] = index;
	return true;
}

/* "3", "1,2", "0-2": system's numbers to indexes. */
static bool read_nodes(struct request *request, const char *list, unsigned int *node,
		       unsigned int *count)
{
	const char *at = list;
	uint64_t first, last;

	do {
		if (!read_number(&at, MAX_NODE_NUMBER, &first))
			return complain(request, -EINVAL, "not a node number", list);
		last = first;
		if (*at == '-') {
			at++;
			if (!read_number(&at, MAX_NODE_NUMBER, &last) || last < first)
				return complain(request, -EINVAL, "not a range of nodes", list);
		}
		for (; first <= last; first++)
			if (!add_node(request, first, node, count))
				return false;
	} while (*at == ',' && at++);
	return *at ? complain(request, -EINVAL, "not a list of nodes", list) : true;
}

static const char *take_option(struct request *request, const char *key)
{
	const char *value = NULL;

	for (unsigned int i = 0; i < request->options; i++) {
		if (strcmp(request->option[i].key, key) != 0)
			continue;
		if (value)
			complain(request, -EINVAL, "given twice", key);
		value = request->option[i].value;
		request->option[i].used = true;
	}
	return value;
}

static bool take_flag(struct request *request, const char *key)
{
	const char *value = take_option(request, key);

	if (value && strcmp(value, "0") != 0 && strcmp(value, "1") != 0)
		complain(request, -EINVAL, "is 0 or 1", key);
	return value && !strcmp(value, "1");
}

/* "max-stall is a whole number from 1 to 60000: 0". */
static void complain_range(struct request *request, const char *key, uint64_t least, uint64_t most,
			   const char *value)
{
	char range[96];
	struct sn_text text;

	sn_text_begin(&text, range, sizeof(range));
	sn_text_add(&text, key);
	sn_text_add(&text, " is a whole number from ");
	sn_text_number(&text, least);
	sn_text_add(&text, " to ");
	sn_text_number(&text, most);
	complain(request, -EINVAL, range, value);
}

static uint64_t take_number(struct request *request, const char *key, uint64_t least, uint64_t most,
			    uint64_t otherwise)
{
	const char *value = take_option(request, key), *end = value;
	uint64_t number = otherwise;

	if (value && (!read_number(&end, most, &number) || *end || number < least))
		complain_range(request, key, least, most, value);
	return number;
}

/* Nothing was misunderstood: to be asked when all known options have been taken. */
static bool is_understood(struct request *request)
{
	for (unsigned int i = 0; i < request->options; i++)
		if (!request->option[i].used)
			complain(request, -EINVAL, "not an option of this command",
				 request->option[i].key);
	return !request->error;
}

static void refuse(struct request *request)
{
	sn_reply_error(&request->client->output, request->error, request->message);
}

static struct sn_operation *new_operation(struct request *request, enum sn_operation_kind kind)
{
	struct sn_operation *operation = sn_operation_new(kind, request->node, request->nodes);

	if (!operation)
		sn_reply_error(&request->client->output, -ENOMEM, "no memory for the operation");
	return operation;
}

static void start(struct request *request, struct sn_operation *operation)
{
	int error = sn_operation_start(operation);

	if (error)
		sn_reply_error(&request->client->output, error,
			       "no thread for the operation: too much is under way");
	else
		request->client->operation = operation;
}

static enum sn_policy take_policy(struct request *request)
{
	const char *value = take_option(request, "policy");

	if (!value)
		return sn_control_config->default_policy;
	for (int policy = SN_STRICT; policy <= SN_MIGRATE; policy++)
		if (!strcmp(value, sn_policy_name((enum sn_policy)policy)))
			return (enum sn_policy)policy;
	complain(request, -EINVAL, "not a policy (strict, wait, migrate)", value);
	return SN_STRICT;
}

static void take_targets(struct request *request, struct sn_nodemask *mask)
{
	const char *value = take_option(request, "to");
	unsigned int node[SN_MAX_NODES], count = 0;

	if (value && !read_nodes(request, value, node, &count))
		return;
	for (unsigned int i = 0; i < count; i++)
		sn_mask_add(mask, node[i]);
}

static void run_offline(struct request *request)
{
	struct sn_offline_request wanted = {.policy = take_policy(request), .timeout_ms = -1};
	const char *timeout = take_option(request, "timeout");
	bool detach = take_flag(request, "detach");
	struct sn_operation *operation;
	uint64_t ms;

	if (timeout) {
		if (!read_seconds(timeout, &ms))
			complain(request, -EINVAL, "timeout is a number of seconds", timeout);
		else
			wanted.timeout_ms = (int64_t)ms;
	}
	take_targets(request, &wanted.to);
	wanted.max_stall_ms = (unsigned int)take_number(request, "max-stall", 1, MAX_STALL_MS, 0);
	wanted.whole_process = take_flag(request, "whole-process");
	if (!is_understood(request)) {
		refuse(request);
		return;
	}
	operation = new_operation(request, SN_DO_OFFLINE);
	if (!operation)
		return;
	operation->request = wanted;
	operation->detach = detach;
	start(request, operation);
}

static void run_online(struct request *request)
{
	bool rebalance = take_flag(request, "rebalance");
	struct sn_operation *operation;

	/* An online is never cancelled by a hang-up; the option is understood all the same. */
	take_flag(request, "detach");
	if (!is_understood(request)) {
		refuse(request);
		return;
	}
	operation = new_operation(request, SN_DO_ONLINE);
	if (!operation)
		return;
	operation->rebalance = rebalance;
	start(request, operation);
}

static void run_plain(struct request *request, enum sn_operation_kind kind)
{
	struct sn_operation *operation;

	if (!is_understood(request)) {
		refuse(request);
		return;
	}
	operation = new_operation(request, kind);
	if (operation)
		start(request, operation);
}

static void run_cancel(struct request *request)
{
	run_plain(request, SN_DO_CANCEL);
}

static void run_cordon(struct request *request)
{
	run_plain(request, SN_DO_CORDON);
}

static void run_uncordon(struct request *request)
{
	run_plain(request, SN_DO_UNCORDON);
}

static void run_plan(struct request *request)
{
	run_plain(request, SN_DO_PLAN);
}

static void run_drain(struct request *request)
{
	run_plain(request, SN_DO_DRAIN);
}

/* Commands without options that answer at once. */
static void show(struct request *request, void (*write)(struct sn_reply *reply))
{
	if (is_understood(request))
		write(&request->client->output);
	else
		refuse(request);
}

static void run_self(struct request *request)
{
	show(request, sn_show_self);
}

static void run_status(struct request *request)
{
	show(request, sn_show_status);
}

static void run_topology(struct request *request)
{
	show(request, sn_show_topology);
}

static void run_options(struct request *request)
{
	show(request, sn_show_options);
}

static void run_version(struct request *request)
{
	show(request, sn_show_version);
}

static void run_slabinfo(struct request *request)
{
	struct sn_nodemask mask = {{0}};

	for (unsigned int i = 0; i < request->nodes; i++)
		sn_mask_add(&mask, request->node[i]);
	if (is_understood(request))
		sn_show_slabinfo(&request->client->output, &mask);
	else
		refuse(request);
}

static void run_why(struct request *request)
{
	if (is_understood(request))
		sn_show_why(&request->client->output, request->node[0]);
	else
		refuse(request);
}

void sn_command_follow(struct sn_client *client)
{
	struct sn_event event;

	/* A client that does not keep up loses what the ring no longer holds: the sequence
	 * numbers show it. */
	while (sn_reply_pending(&client->output) < SN_MAX_LINE * 16 &&
	       sn_event_next(client->followed, &event)) {
		sn_show_event(&client->output, &event);
		client->followed = event.seq;
	}
}

static void run_events(struct request *request)
{
	struct sn_client *client = request->client;
	bool follow = take_flag(request, "follow");
	uint64_t since =
		take_number(request, "since", 0, UINT64_MAX / 16, follow ? sn_event_last() : 0);
	uint64_t last = sn_event_last();
	struct sn_event event;

	if (!is_understood(request)) {
		refuse(request);
		return;
	}
	if (follow) {
		client->followed = since;
		client->following = true;
		return;
	}
	while (since < last && sn_event_next(since, &event)) {
		sn_show_event(&client->output, &event);
		since = event.seq;
	}
	sn_json_begin(&client->output);
	sn_json_bool(&client->output, "ok", true);
	sn_json_bool(&client->output, "end", true);
	sn_json_end(&client->output);
}

/* The specification has a grammar of its own and is passed on as it came. */
static void run_fault(struct request *request)
{
	struct sn_reply *reply = &request->client->output;
	char message[MAX_FAULT_TEXT] = "";
	int error;

	if (!request->rest[0]) {
		sn_reply_error(reply, -EINVAL, "usage: fault SPEC");
		return;
	}
	if (!sn_control_config->simulated || !sn_control_config->fault) {
		sn_reply_error(reply, -EINVAL, "faults are for simulated topologies only");
		return;
	}
	error = sn_control_config->fault(request->rest, message, sizeof(message));
	if (error) {
		sn_reply_error(reply, error, message[0] ? message : "not a fault");
		return;
	}
	sn_json_begin(reply);
	sn_json_bool(reply, "ok", true);
	sn_json_string(reply, "fault", request->rest);
	if (message[0])
		sn_json_string(reply, "note", message);
	sn_json_end(reply);
}

static void run_help(struct request *request);

static const struct command commands[] = {
	{"list-self", "list-self", "this process: pid, command, bytes", NO_NODES, run_self},
	{"status", "status", "a row a node", NO_NODES, run_status},
	{"topology", "topology", "nodes, CPUs, distances, fallback order", NO_NODES, run_topology},
	{"slabinfo", "slabinfo [N...]", "a row a cache and node", ANY_NODES, run_slabinfo},
	{"offline",
	 "offline N [N...] [policy=strict|wait|migrate] [timeout=SEC] [to=M,...] [max-stall=MS] "
	 "[whole-process=1] [detach=1]",
	 "takes nodes out of service", SOME_NODES, run_offline},
	{"online", "online N [N...] [rebalance=1]", "brings nodes back", SOME_NODES, run_online},
	{"cordon", "cordon N", "no new allocations on a node", ONE_NODE, run_cordon},
	{"uncordon", "uncordon N", "allocations on it again", ONE_NODE, run_uncordon},
	{"cancel", "cancel N", "cancels an offline under way", ONE_NODE, run_cancel},
	{"plan", "plan N", "dry run of an offline", ONE_NODE, run_plan},
	{"why", "why N", "who keeps a node busy", ONE_NODE, run_why},
	{"drain", "drain [N...]", "returns cached memory to the system", ANY_NODES, run_drain},
	{"events", "events [since=K] [follow=1]", "state transitions", NO_NODES, run_events},
	{"options", "options", "the library's options and their values", NO_NODES, run_options},
	{"version", "version", "the library's version", NO_NODES, run_version},
	{"fault", "fault SPEC", "arms a fault (simulated topologies)", NO_NODES, run_fault},
	{"help", "help", "this table", NO_NODES, run_help},
};

static void write_help(struct sn_reply *reply)
{
	sn_json_begin(reply);
	sn_json_bool(reply, "ok", true);
	sn_json_open_array(reply, "commands");
	for (size_t i = 0; i < SN_ARRAY_SIZE(commands); i++) {
		sn_json_open_object(reply, NULL);
		sn_json_string(reply, "name", commands[i].name);
		sn_json_string(reply, "usage", commands[i].usage);
		sn_json_string(reply, "help", commands[i].help);
		sn_json_close_object(reply);
	}
	sn_json_close_array(reply);
	sn_json_end(reply);
}

static void run_help(struct request *request)
{
	show(request, write_help);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* Cuts the next word out of *at; NULL at the end. */
static char *next_word(char **at)
{
	char *word, *end;

	for (word = *at; is_blank(*word); word++)
		;
	if (!*word)
		return NULL;
	for (end = word; *end && !is_blank(*end); end++)
		;
	*at = *end ? end + 1 : end;
	*end = '\0';
	return word;
}

static bool read_words(struct request *request, char *at)
{
	char *word;

	while ((word = next_word(&at))) {
		char *equals = strchr(word, '=');

		if (!equals && request->arguments < MAX_ARGUMENTS) {
			request->argument[request->arguments++] = word;
		} else if (equals && request->options < MAX_OPTIONS) {
			*equals = '\0';
			request->option[request->options++] =
				(struct option){.key = word, .value = equals + 1};
		} else {
			return complain(request, -EINVAL, "too many arguments", NULL);
		}
	}
	return true;
}

static bool read_arguments(struct request *request)
{
	enum node_arguments takes = request->command->takes;
	bool fits;

	if (takes == NO_NODES)
		fits = request->arguments == 0;
	else if (takes == ONE_NODE)
		fits = request->arguments == 1;
	else
		fits = takes == ANY_NODES || request->arguments > 0;
	if (!fits)
		return complain(request, -EINVAL, "usage", request->command->usage);
	for (unsigned int i = 0; i < request->arguments; i++)
		if (!read_nodes(request, request->argument[i], request->node, &request->nodes))
			return false;
	if (takes == ONE_NODE && request->nodes != 1)
		return complain(request, -EINVAL, "usage", request->command->usage);
	return true;
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < SN_ARRAY_SIZE(commands); i++)
		if (!strcmp(name, commands[i].name))
			return &commands[i];
	return NULL;
}

/* Text only: a NUL would hide what follows it, other control characters have no business here. */
static bool is_text(const char *line, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (((unsigned char)line[i] < 0x20 && line[i] != '\t') || line[i] == 0x7f)
			return false;
	return true;
}

static bool read_request(struct request *request, char *line, size_t length)
{
	char *name, *end;

	if (length && line[length - 1] == '\r')
		line[--length] = '\0';
	if (!is_text(line, length))
		return complain(request, -EINVAL, "a request is a line of text", NULL);
	for (end = line + length; end > line && is_blank(end[-1]); end--)
		end[-1] = '\0';
	name = next_word(&line);
	if (!name)
		return complain(request, -EINVAL, "an empty request", NULL);
	request->command = find_command(name);
	if (!request->command)
		return complain(request, -EINVAL, "unknown command", name);
	while (is_blank(*line))
		line++;
	request->rest = line;
	if (request->command->run == run_fault)
		return true;
	return read_words(request, line) && read_arguments(request);
}

void sn_command(struct sn_client *client, char *line, size_t length)
{
	struct request request = {.client = client};

	if (read_request(&request, line, length))
		request.command->run(&request);
	else
		refuse(&request);
}
