/*
 * What a process is told. Whenever something has changed it is asked what it has, and then told the
 * first thing that differs from what it is to have; after the answer again, until nothing differs.
 * So it does not matter what was missed, or who else gives orders.
 *
 * A node is to be offline while the kernel takes it away or has taken it, and when the process's
 * cpuset has lost it. It is to be online when it has come, when the process does not know it, and
 * when it is offline because of us. What an operator took offline stays so until the kernel brings
 * the node anew.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "follow.h"
#include "json.h"
#include "result.h"
#include "util.h"

#define ANSWER_MS	 15000 /* beyond the time that an offline may take */
#define FIRST_RETRY_MS	 1000
#define NEXT_LOOK_MS	 50 /* a process that says "done" and is not must not keep us busy */
#define LONGEST_RETRY_MS 60000

/* ---- which processes there are ---- */

static void free_follower(struct follower *follower, struct session *session)
{
	close_session(session);
	json_decref(session->hello);
	json_decref(session->progress);
	json_decref(session->reply);
	free_process(follower->process);
	free(follower->process);
	free(follower->trouble);
	free(follower->allowed.nodes);
	free(follower->allowed_before.nodes);
	free(follower->forbidden.nodes);
	free(follower->empty.nodes);
	free(follower->taken.nodes);
	free(follower->due.nodes);
	free(follower->deed_nodes.nodes);
	free(follower->request);
}

/* The nodes of "Mems_allowed_list:"; none where the process is gone. */
static struct node_list read_cpuset(pid_t pid)
{
	static const char name[] = "\nMems_allowed_list:\t";
	struct node_list list = {0};
	char path[64], status[8192];
	char *at;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	read_small_file(path, status, sizeof(status));
	at = strstr(status, name);
	if (!at)
		return list;
	at += sizeof(name) - 1;
	at[strcspn(at, "\n")] = '\0';
	if (!parse_nodes(at, &list))
		list.count = 0;
	return list;
}

/* Takes the process over. */
static void add_follower(struct follow *follow, const struct process *process, uint64_t born)
{
	size_t count = follow->count++;
	struct process *own = grow(NULL, sizeof(*own));

	*own = *process;
	follow->followers = grow(follow->followers, follow->count * sizeof(*follow->followers));
	follow->sessions = grow(follow->sessions, follow->count * sizeof(*follow->sessions));
	follow->followers[count] = (struct follower){
		.process = own,
		.born = born,
		.seen = true,
		.stale = true,
		.allowed = read_cpuset(process->pid),
		.allowed_before = read_cpuset(process->pid),
	};
	follow->sessions[count] = (struct session){.process = own, .fd = -1, .done = true};
}

static struct follower *known(struct follow *follow, pid_t pid, uint64_t born)
{
	for (size_t i = 0; i < follow->count; i++)
		if (follow->followers[i].process->pid == pid && follow->followers[i].born == born)
			return &follow->followers[i];
	return NULL;
}

static void drop_unseen(struct follow *follow)
{
	size_t kept = 0;

	for (size_t i = 0; i < follow->count; i++) {
		if (!follow->followers[i].seen) {
			free_follower(&follow->followers[i], &follow->sessions[i]);
			continue;
		}
		follow->followers[kept] = follow->followers[i];
		follow->sessions[kept++] = follow->sessions[i];
	}
	follow->count = kept;
}

/* Those that have come are added, those that have gone are dropped. */
void search_processes(struct follow *follow)
{
	struct process_list found;

	find_processes(&found);
	for (size_t i = 0; i < follow->count; i++)
		follow->followers[i].seen = false;
	for (size_t i = 0; i < found.count; i++) {
		uint64_t born = process_born(found.items[i].pid);
		struct follower *follower = known(follow, found.items[i].pid, born);

		if (follower) {
			follower->seen = true;
			free_process(&found.items[i]);
		} else if (born) {
			add_follower(follow, &found.items[i], born);
		} else {
			free_process(&found.items[i]);
		}
	}
	free(found.items);
	drop_unseen(follow);
}

/* ---- cpusets ---- */

static bool same_list(const struct node_list *one, const struct node_list *other)
{
	for (size_t i = 0; i < one->count; i++)
		if (!list_has(other, one->nodes[i]))
			return false;
	return one->count == other->count;
}

/* Nodes of `all` that are not in `without` and that the kernel has. */
static struct node_list difference(const struct follow *follow, const struct node_list *all,
				   const struct node_list *without)
{
	struct node_list list = {0};

	for (size_t i = 0; i < all->count; i++) {
		const struct watched_node *node = watched_node(follow, all->nodes[i]);

		if (node && node->phase == NODE_HERE && !list_has(without, all->nodes[i]))
			list_add(&list, all->nodes[i]);
	}
	return list;
}

static void change_cpuset(struct follow *follow, struct follower *follower, struct node_list now)
{
	struct node_list lost = difference(follow, &follower->allowed, &now),
			 gained = difference(follow, &now, &follower->allowed);

	for (size_t i = 0; i < lost.count; i++)
		list_add(&follower->forbidden, lost.nodes[i]);
	for (size_t i = 0; i < now.count; i++)
		list_remove(&follower->forbidden, now.nodes[i]);
	if ((lost.count || gained.count) && !follower->foreign)
		log_cpuset(follow, follower, &lost, &gained);
	follower->stale = true;
	free(follower->allowed.nodes);
	follower->allowed = now;
	free(lost.nodes);
	free(gained.nodes);
}

/*
 * A change counts when it is seen twice: where a node goes away, cpusets lose it at the same time,
 * and by the second look that is known.
 */
void look_at_cpusets(struct follow *follow)
{
	for (size_t i = 0; i < follow->count; i++) {
		struct follower *follower = &follow->followers[i];
		struct node_list now = read_cpuset(follower->process->pid);
		bool again = same_list(&now, &follower->allowed_before);

		free(follower->allowed_before.nodes);
		follower->allowed_before = now;
		if (!now.count || !again || same_list(&now, &follower->allowed))
			continue;
		now = (struct node_list){0};
		for (size_t k = 0; k < follower->allowed_before.count; k++)
			list_add(&now, follower->allowed_before.nodes[k]);
		change_cpuset(follow, follower, now);
	}
}

/* ---- what it is to have ---- */

static bool is_to_leave(const struct follower *follower, const struct watched_node *node)
{
	return node->phase == NODE_LEAVING || node->phase == NODE_AWAY ||
	       list_has(&follower->forbidden, node->number);
}

static bool is_to_return(const struct follower *follower, const struct watched_node *node)
{
	return node->phase == NODE_HERE && !list_has(&follower->forbidden, node->number) &&
	       (list_has(&follower->taken, node->number) || list_has(&follower->due, node->number));
}

/* A node has changed its phase: everybody is asked anew. */
void expect_changes(struct follow *follow)
{
	for (size_t i = 0; i < follow->count; i++) {
		struct follower *follower = &follow->followers[i];

		follower->stale = true;
		follower->failures = 0;
		follower->retry_at = 0;
		for (size_t k = 0; k < follow->nodes.count; k++)
			if (follow->nodes.items[k].returned)
				list_add(&follower->due, follow->nodes.items[k].number);
	}
}

static const json_t *node_row(const json_t *reply, unsigned int number)
{
	const json_t *nodes = field_array(reply, "nodes");

	for (size_t i = 0; i < json_array_size(nodes); i++)
		if (field_count(json_array_get(nodes, i), "node") == number)
			return json_array_get(nodes, i);
	return NULL;
}

static bool is_state(const json_t *row, const char *state)
{
	const char *text = field_text(row, "state");

	return text && !strcmp(text, state);
}

/* What a process may not use, it refuses to leave where it has nothing on it: then for all nodes of
 * the request. So such a node has a request of its own. */
static void add_leaving(struct follower *follower, const json_t *row, struct node_list *barred)
{
	unsigned int node = (unsigned int)field_count(row, "node");

	if (!json_is_false(json_object_get(row, "allowed"))) {
		list_remove(&follower->empty, node);
		list_add(&follower->deed_nodes, node);
	} else if (!barred->count && !list_has(&follower->empty, node)) {
		list_add(barred, node);
	}
}

/*
 * Compares what it has with what it is to have. Those that have to leave go first, and together, so
 * that none of them is another's target. On its way by somebody's order: that is waited for.
 */
static enum deed choose_deed(struct follow *follow, struct follower *follower, const json_t *reply)
{
	struct node_list online = {0}, barred = {0};

	follower->deed_nodes.count = 0;
	for (size_t i = 0; i < follow->nodes.count; i++) {
		const struct watched_node *node = &follow->nodes.items[i];
		const json_t *row = node_row(reply, node->number);

		if (!row && node->phase == NODE_HERE)
			list_add(&follower->due, node->number);
		if (is_state(row, "online"))
			list_remove(&follower->due, node->number);
		if (is_state(row, "going-offline") || is_state(row, "going-online"))
			follower->retry_at = now_ms() + FIRST_RETRY_MS;
		else if (is_to_leave(follower, node) && is_state(row, "online"))
			add_leaving(follower, row, &barred);
		else if (is_to_return(follower, node) && !is_state(row, "online"))
			list_add(&online, node->number);
	}
	if (!follower->deed_nodes.count && barred.count)
		list_add(&follower->deed_nodes, barred.nodes[0]);
	free(barred.nodes);
	if (follower->deed_nodes.count) {
		free(online.nodes);
		return DEED_OFFLINE;
	}
	free(follower->deed_nodes.nodes);
	follower->deed_nodes = online;
	return online.count ? DEED_ONLINE : DEED_NONE;
}

/* ---- telling it ---- */

static void send(struct follow *follow, size_t index, enum deed deed,
		 const struct exchange *exchange)
{
	struct follower *follower = &follow->followers[index];
	struct session *session = &follow->sessions[index];
	char *nodes = join_nodes(&follower->deed_nodes, " ");
	double seconds = strtod(follow->timeout, NULL);

	free(follower->request);
	session->timeout_ms = ANSWER_MS;
	if (deed == DEED_OFFLINE) {
		follower->request =
			format_text("offline %s policy=migrate timeout=%s", nodes, follow->timeout);
		session->timeout_ms += (int)(seconds * 1000);
	} else if (deed == DEED_ONLINE) {
		follower->request = format_text("online %s", nodes);
	} else {
		follower->request = copy_text("topology");
	}
	free(nodes);
	session->request = follower->request;
	follower->deed = deed;
	ask_session(session, exchange);
}

/* Begins with the question for what it has; the rest follows from the answers. */
void tell_process(struct follow *follow, size_t index, const struct exchange *exchange)
{
	struct follower *follower = &follow->followers[index];

	if (follower->foreign || follower->deed == DEED_LOOK)
		return;
	if (follower->deed == DEED_NONE && follower->stale && now_ms() >= follower->retry_at) {
		follower->stale = false;
		follower->deed_nodes.count = 0;
		send(follow, index, DEED_LOOK, exchange);
	} else if (follower->deed != DEED_NONE && !follower->request) {
		send(follow, index, follower->deed, exchange);
	}
}

bool has_answer(const struct follow *follow, size_t index)
{
	return follow->followers[index].request && follow->sessions[index].done;
}

static uint64_t retry_later(struct follower *follower)
{
	uint64_t wait = (uint64_t)FIRST_RETRY_MS
			<< (follower->failures < 6 ? follower->failures : 6);

	if (wait > LONGEST_RETRY_MS)
		wait = LONGEST_RETRY_MS;
	follower->failures++;
	follower->stale = true;
	follower->retry_at = now_ms() + wait;
	return wait;
}

/* Whether it would be told anything if it could be. */
static bool is_missed(const struct follow *follow, const struct follower *follower)
{
	for (size_t i = 0; i < follow->nodes.count; i++)
		if (is_to_leave(follower, &follow->nodes.items[i]) ||
		    is_to_return(follower, &follow->nodes.items[i]))
			return true;
	return false;
}

/* Each reason is told once. */
static void take_trouble(struct follow *follow, struct follower *follower, const json_t *reply)
{
	char *why;

	if (!is_missed(follow, follower))
		return;
	retry_later(follower);
	if (!process_exists(follower->process->pid))
		return;
	why = problem_words(EXIT_NO_PROCESS, reply);
	if (follower->trouble && !strcmp(follower->trouble, why)) {
		free(why);
		return;
	}
	free(follower->trouble);
	follower->trouble = why;
	log_trouble(follow, follower);
}

static void take_row(struct follow *follow, struct follower *follower, const json_t *row)
{
	unsigned int node = (unsigned int)field_count(row, "node");
	bool offline = follower->deed == DEED_OFFLINE;

	if (reply_code(row) == EXIT_DONE) {
		if (!field_flag(row, "already"))
			log_deed(follow, follower, row, 0);
		if (offline && !field_flag(row, "already"))
			list_add(&follower->taken, node);
		if (!offline) {
			list_remove(&follower->taken, node);
			list_remove(&follower->due, node);
		}
		follower->failures = 0;
		follower->stale = true;
		follower->retry_at = now_ms() + NEXT_LOOK_MS;
		return;
	}
	/* It cannot know it: one node only, or simulated ones. */
	if (!strcmp(reply_error(row), "ENODEV")) {
		list_remove(&follower->taken, node);
		list_remove(&follower->due, node);
		return;
	}
	if (offline && !strcmp(reply_error(row), "EINVAL")) {
		list_add(&follower->empty, node);
		follower->stale = true;
		return;
	}
	/* Cpusets learn of a node's return a moment later. */
	if (!offline && !strcmp(reply_error(row), "EPERM") && follower->failures < 2)
		retry_later(follower);
	else
		log_deed(follow, follower, row, retry_later(follower));
}

static void take_rows(struct follow *follow, struct follower *follower, json_t *reply)
{
	json_t *results = field_array(reply, "results");

	for (size_t i = 0; i < json_array_size(results); i++)
		take_row(follow, follower, json_array_get(results, i));
	if (results)
		return;
	/* A refusal of the request as a whole names no node. */
	if (!field_present(reply, "node"))
		json_object_set_new(reply, "node", json_integer(follower->deed_nodes.nodes[0]));
	take_row(follow, follower, reply);
}

void take_answer(struct follow *follow, size_t index)
{
	struct follower *follower = &follow->followers[index];
	struct session *session = &follow->sessions[index];
	enum deed deed = follower->deed;

	free(follower->request);
	follower->request = NULL;
	session->request = NULL;
	if (session->code == EXIT_NO_PROCESS) {
		take_trouble(follow, follower, session->reply);
	} else if (deed == DEED_LOOK) {
		follower->foreign = field_flag(session->reply, "simulated") && !sysfs_is_another();
		follower->deed = follower->foreign || session->code != EXIT_DONE
					 ? DEED_NONE
					 : choose_deed(follow, follower, session->reply);
		if (follower->retry_at > now_ms())
			follower->stale = true;
		return;
	} else {
		take_rows(follow, follower, session->reply);
	}
	follower->deed = DEED_NONE;
}

/* The kernel keeps what this process is leaving: hanging up has it roll back. */
void recall_offline(struct follow *follow, size_t index)
{
	struct follower *follower = &follow->followers[index];
	bool wanted = false;

	if (follower->deed != DEED_OFFLINE || !follower->request)
		return;
	for (size_t i = 0; i < follower->deed_nodes.count; i++)
		wanted |=
			is_to_leave(follower, watched_node(follow, follower->deed_nodes.nodes[i]));
	if (wanted)
		return;
	close_session(&follow->sessions[index]);
	follow->sessions[index].done = true;
	free(follower->request);
	follower->request = NULL;
	follow->sessions[index].request = NULL;
	follower->deed = DEED_NONE;
	follower->stale = true;
	follower->retry_at = now_ms() + FIRST_RETRY_MS;
}
