/*
 * The processes' part of offline and online with --kernel.
 *
 * All processes are asked what they know of the nodes. Those that have a node in service are told
 * to leave it; those that cannot be asked are no obstacle: the kernel moves what they have there,
 * as it does for programs without the library. Processes on simulated nodes have nothing to do with
 * the kernel's, unless SLABNODE_SYSFS names a simulated kernel, too.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "json.h"
#include "kernel.h"
#include "request.h"
#include "result.h"
#include "util.h"

#define CPUSET_LOOKS   20
#define CPUSET_LOOK_MS 100

static const json_t *row_of(const json_t *reply, const char *array, unsigned int node)
{
	const json_t *rows = field_array(reply, array);

	for (size_t i = 0; i < json_array_size(rows); i++)
		if (field_count(json_array_get(rows, i), "node") == node)
			return json_array_get(rows, i);
	return NULL;
}

/* Whether a node that the process knows, or does not know yet, is to be named to it. */
static bool concerns(const struct kernel_change *change, const json_t *row)
{
	const char *state = field_text(row, "state");

	if (!change->offline)
		return true;
	if (!row || json_is_false(json_object_get(row, "allowed")))
		return false;
	return !state || strcmp(state, "offline");
}

/* "offline 2 3 policy=strict" with the nodes that concern it; NULL: none does. */
static char *request_for(const struct kernel_change *change, const json_t *topology)
{
	char *request = copy_text(change->offline ? "offline" : "online");
	size_t named = 0;

	for (size_t i = 0; i < change->operation.nodes.count; i++) {
		unsigned int node = change->operation.nodes.nodes[i];

		if (!concerns(change, row_of(topology, "nodes", node)))
			continue;
		append_text(&request, " %u", node);
		named++;
	}
	if (named && add_lifecycle_options(&change->context, &request))
		return request;
	free(request);
	return NULL;
}

static void add_heap(struct kernel_change *change, const struct session *found, char *request)
{
	struct targets *heaps = &change->heaps;
	size_t count = heaps->processes.count++;

	heaps->processes.items =
		grow(heaps->processes.items, (count + 1) * sizeof(*heaps->processes.items));
	heaps->processes.items[count] = *found->process;
	heaps->sessions = grow(heaps->sessions, (count + 1) * sizeof(*heaps->sessions));
	heaps->sessions[count] = (struct session){.request = request, .fd = -1};
}

static void add_passive(struct kernel_change *change, const struct session *session)
{
	json_array_append_new(change->passive, tag_reply(session));
}

/* Asks all processes; false is for a request that cannot be made, after a complaint. */
bool find_heaps(struct kernel_change *change)
{
	struct exchange exchange = {.request = "topology", .timeout_ms = QUERY_TIMEOUT_MS};
	struct targets all;

	select_all(&all);
	ask_targets(&all, &exchange);
	for (size_t i = 0; i < all.processes.count; i++) {
		const struct session *session = &all.sessions[i];
		char *request;

		if (session->code != EXIT_DONE) {
			add_passive(change, session);
			continue;
		}
		if (field_flag(session->reply, "simulated") && !sysfs_is_another())
			continue;
		request = request_for(change, session->reply);
		if (request)
			add_heap(change, session, request);
	}
	for (size_t i = 0; i < change->heaps.processes.count; i++)
		change->heaps.sessions[i].process = &change->heaps.processes.items[i];
	return true;
}

static bool failed(const struct session *session)
{
	return session->code != EXIT_DONE && session->code != EXIT_NO_PROCESS;
}

/* Whether all that it refused is what its cpuset forbids. */
static bool only_forbidden(const struct session *session)
{
	const json_t *results = field_array(session->reply, "results");
	bool forbidden = results || !strcmp(reply_error(session->reply), "EPERM");

	for (size_t i = 0; i < json_array_size(results); i++) {
		const json_t *row = json_array_get(results, i);

		forbidden &= reply_code(row) == EXIT_DONE || !strcmp(reply_error(row), "EPERM");
	}
	return forbidden;
}

static void pause_ms(unsigned int ms)
{
	const struct timespec pause = {.tv_nsec = ms * 1000000L};

	nanosleep(&pause, NULL);
}

/*
 * Cpusets learn of new memory a moment after it is online: until then it is not allowed. What still
 * is not then, is not meant to be.
 */
static void ask_until_allowed(struct kernel_change *change)
{
	struct exchange exchange = {.timeout_ms = QUERY_TIMEOUT_MS};

	for (int look = 0; look < CPUSET_LOOKS; look++) {
		bool again = false;

		for (size_t i = 0; i < change->heaps.processes.count; i++) {
			struct session *session = &change->heaps.sessions[i];

			if (!failed(session) || !only_forbidden(session))
				continue;
			if (!again)
				pause_ms(CPUSET_LOOK_MS);
			again = true;
			run_exchange(session, 1, &exchange);
		}
		if (!again)
			return;
	}
}

/* False where a process refused: the results say why. */
bool change_heaps(struct kernel_change *change)
{
	struct targets *heaps = &change->heaps;

	if (!heaps->processes.count)
		return true;
	ask_operation(&change->operation, NULL, change->offline, heaps);
	if (!change->offline)
		ask_until_allowed(change);
	for (size_t i = 0; i < heaps->processes.count; i++) {
		if (failed(&heaps->sessions[i]) &&
		    (change->offline || !only_forbidden(&heaps->sessions[i])))
			change->heaps_failed = true;
		else if (heaps->sessions[i].code == EXIT_NO_PROCESS)
			add_passive(change, &heaps->sessions[i]);
	}
	return !change->heaps_failed;
}

/* Of those that refused. */
int heaps_code(const struct kernel_change *change)
{
	int code = NO_CODE;

	for (size_t i = 0; i < change->heaps.processes.count; i++)
		if (failed(&change->heaps.sessions[i]))
			code = combine_codes(code, change->heaps.sessions[i].code);
	return code == NO_CODE ? EXIT_DONE : code;
}

static bool was_taken(const json_t *row)
{
	return reply_code(row) == EXIT_DONE && !field_flag(row, "already");
}

/* The nodes that this process has left for us. */
static char *taken_nodes(const json_t *reply)
{
	const json_t *results = field_array(reply, "results");
	char *nodes = NULL;

	if (!results && was_taken(reply))
		append_text(&nodes, " %llu", (unsigned long long)field_count(reply, "node"));
	for (size_t i = 0; i < json_array_size(results); i++) {
		const json_t *row = json_array_get(results, i);

		if (was_taken(row))
			append_text(&nodes, " %llu", (unsigned long long)field_count(row, "node"));
	}
	return nodes;
}

/* Back in service where we took it out of service; false where one does not come back. */
bool restore_heaps(struct kernel_change *change)
{
	bool restored = true;

	for (size_t i = 0; i < change->heaps.processes.count; i++) {
		const struct session *session = &change->heaps.sessions[i];
		char *nodes = change->offline ? taken_nodes(session->reply) : NULL, *request;
		json_t *reply;
		int code;

		if (!nodes)
			continue;
		request = format_text("online%s", nodes);
		reply = ask_process(session->process, request, &code);
		if (code != EXIT_DONE && code != EXIT_NO_PROCESS) {
			char *why = failure_text(reply);

			complain("pid %d (%s): not back: %s", (int)session->process->pid,
				 session->process->command, why);
			free(why);
			restored = false;
		}
		json_decref(reply);
		free(request);
		free(nodes);
	}
	return restored;
}
