/*
 * worker.c - lifecycle operations: see worker.h.
 *
 * An operation is one mapping that its threads and the control thread hold references to.  All
 * operations stand in one list under one lock, a leaf: nothing of the core that takes a lock is
 * called under it.
 *
 * Whom a hang-up cancels: the offline that this client asked for, on the nodes that nobody else
 * waits for.  An offline that joined another one (a second client, or the program itself through
 * the C API) leaves that one alone.  The hang-up may come before the core has claimed the node,
 * when there is nothing to cancel yet; the canceller therefore asks again until the operation is
 * over.
 */
#include <string.h>

#include "../core/stats.h"
#include "control.h"
#include "show.h"
#include "smallfile.h"
#include "spawn.h"
#include "threads.h"
#include "worker.h"

#define WORKER_STACK	 ((size_t)256 << 10)
#define CANCEL_AGAIN_NS	 ((int64_t)10000000)
#define CANCEL_RARELY_NS ((int64_t)1000000000)
/* Times of the core are in whole milliseconds. */
#define CLOCK_SLACK_MS 2
/* A client that reads slowly gets fewer progress lines. */
#define PENDING_PROGRESS ((size_t)32 << 10)
/* Operations at once, and how many more when it is a cancel. */
#define MAX_OPERATIONS 96
#define MAX_CANCELS    32

struct sn_lock sn_operations_lock = SN_LOCK_INIT(SN_RANK_SIMULATION);
static struct sn_operation *list SN_GUARDED_BY(&sn_operations_lock);
static unsigned int list_length SN_GUARDED_BY(&sn_operations_lock);

static void lock(void) SN_ACQUIRE(&sn_operations_lock)
{
	sn_lock_acquire(&sn_operations_lock, SN_RANK_SIMULATION);
}

static void unlock(void) SN_RELEASE(&sn_operations_lock)
{
	sn_lock_release(&sn_operations_lock, SN_RANK_SIMULATION);
}

struct sn_operation *sn_operation_new(enum sn_operation_kind kind, const unsigned int *node,
				      unsigned int count)
{
	size_t results = sn_align_up(sizeof(struct sn_operation), 64);
	size_t wholes = sn_align_up(results + count * sizeof(struct sn_lifecycle_result), 64);
	size_t size = wholes + count * sizeof(struct sn_whole_process);
	struct sn_operation *operation = sn_control_map(size);

	if (!operation)
		return NULL;
	operation->kind = kind;
	operation->size = size;
	operation->result = (void *)((char *)operation + results);
	operation->whole = (void *)((char *)operation + wholes);
	operation->count = count;
	for (unsigned int i = 0; i < count; i++) {
		operation->node[i] = node[i];
		sn_mask_add(&operation->nodes, node[i]);
	}
	return operation;
}

static void put(struct sn_operation *operation)
{
	if (atomic_fetch_sub(&operation->references, 1) != 1)
		return;
	sn_reply_free(&operation->output);
	sn_control_unmap(operation, operation->size);
}

/* Whether another offline that somebody still wants covers the node. */
static bool wanted_by_others(const struct sn_operation *operation, unsigned int node)
	SN_REQUIRES(&sn_operations_lock)
{
	for (const struct sn_operation *other = list; other; other = other->next)
		if (other != operation && other->kind == SN_DO_OFFLINE && !other->cancel_wanted &&
		    sn_mask_has(&other->nodes, node))
			return true;
	return false;
}

static bool enter_list(struct sn_operation *operation)
{
	unsigned int most = MAX_OPERATIONS;
	bool room;

	if (operation->kind == SN_DO_CANCEL)
		most += MAX_CANCELS;
	operation->began_ms = sn_now_ms();
	lock();
	room = list_length < most;
	if (room) {
		operation->next = list;
		list = operation;
		list_length++;
	}
	unlock();
	return room;
}

static void leave_list(struct sn_operation *operation)
{
	struct sn_operation **at = &list;

	lock();
	while (*at && *at != operation)
		at = &(*at)->next;
	if (*at) {
		*at = operation->next;
		list_length--;
	}
	unlock();
}

/* Called by the core in the worker.  The first one, the acknowledgement, always finds room. */
static void on_progress(void *arg, const struct sn_progress *progress)
{
	struct sn_operation *operation = arg;

	lock();
	if (sn_reply_pending(&operation->output) < PENDING_PROGRESS)
		sn_show_progress(&operation->output, progress);
	unlock();
	sn_control_notify();
}

static void set_error(struct sn_lifecycle_result *result, int error, const char *message)
{
	struct sn_text text;

	result->error = error;
	sn_text_begin(&text, result->message, sizeof(result->message));
	sn_text_add(&text, message);
}

static void move_whole_process(struct sn_operation *operation, unsigned int i)
{
	struct sn_nodemask targets = operation->request.to;
	struct sn_whole_process *whole = &operation->whole[i];

	if (sn_mask_count(&targets) == 0)
		sn_node_usable_mask(&targets);
	whole->error = -ENOSYS;
	if (sn_control_config->move_process)
		whole->error = sn_control_config->move_process(operation->node[i], &targets,
							       &whole->moved);
}

static bool is_cancelled(struct sn_operation *operation)
{
	bool cancelled;

	lock();
	cancelled = operation->cancel_wanted;
	unlock();
	return cancelled;
}

static void do_offline(struct sn_operation *operation)
{
	struct sn_lifecycle_result *result = operation->result;
	bool told = false;
	int error;

	for (unsigned int i = 0; i < operation->count; i++) {
		result[i].node = operation->node[i];
		result[i].os_node = sn_nodes[operation->node[i]]->os_number;
		result[i].state = sn_node_state(sn_nodes[operation->node[i]]);
		result[i].policy = operation->request.policy;
	}
	operation->request.progress = on_progress;
	operation->request.arg = operation;
	error = is_cancelled(operation) ? -ECANCELED
					: sn_offline(operation->node, operation->count,
						     &operation->request, result);
	for (unsigned int i = 0; i < operation->count; i++)
		told |= result[i].error != 0;
	/* Whatever was refused as a whole is an error of each node. */
	for (unsigned int i = 0; error && !told && i < operation->count; i++)
		set_error(&result[i], error, "the request was refused");
	for (unsigned int i = 0; operation->request.whole_process && i < operation->count; i++)
		if (!result[i].error && !is_cancelled(operation))
			move_whole_process(operation, i);
}

static void do_each(struct sn_operation *operation)
{
	for (unsigned int i = 0; i < operation->count; i++) {
		struct sn_lifecycle_result *result = &operation->result[i];
		unsigned int node = operation->node[i];
		int error;

		result->node = node;
		result->os_node = sn_nodes[node]->os_number;
		if (operation->kind == SN_DO_ONLINE)
			error = sn_online(node, operation->rebalance, result);
		else if (operation->kind == SN_DO_CANCEL)
			error = sn_cancel(node, result);
		else
			error = sn_cordon(node, operation->kind == SN_DO_CORDON, result);
		if (error && !result->error)
			set_error(result, error, "the request was refused");
	}
}

/* What a result does not say by itself. */
static void show_note(struct sn_reply *reply, const struct sn_operation *operation,
		      const struct sn_lifecycle_result *result)
{
	char note[128];
	struct sn_text text;

	if (result->error)
		return;
	if (result->message[0]) {
		sn_json_string(reply, "note", result->message);
		return;
	}
	if (!result->already || (operation->kind == SN_DO_ONLINE && result->migrated_bytes))
		return;
	sn_text_begin(&text, note, sizeof(note));
	sn_text_add(&text,
		    operation->kind == SN_DO_CANCEL ? "nothing was under way on node " : "node ");
	sn_text_number(&text, (uint64_t)result->os_node);
	/* The heap's part alone: with whole-process=1 the rest may have moved all the same. */
	if (operation->kind == SN_DO_OFFLINE || operation->kind == SN_DO_ONLINE) {
		sn_text_add(&text, " was ");
		sn_text_add(&text, sn_state_name(result->state));
		sn_text_add(&text, " already");
	} else if (operation->kind == SN_DO_CORDON || operation->kind == SN_DO_UNCORDON) {
		sn_text_add(&text, operation->kind == SN_DO_CORDON ? " was cordoned already"
								   : " was not cordoned");
	}
	sn_json_string(reply, "note", note);
}

static void show_whole_process(struct sn_reply *reply, const struct sn_whole_process *whole)
{
	const struct sn_move_result *moved = &whole->moved;

	sn_json_open_object(reply, "whole_process");
	if (whole->error)
		sn_json_error(reply, whole->error,
			      whole->error == -ENOSYS
				      ? "only real nodes have other memory that can be moved"
				      : "the rest of the process was not moved");
	else
		sn_json_bool(reply, "ok", true);
	sn_json_u64(reply, "moved_bytes", (uint64_t)moved->moved * SN_PAGE_SIZE);
	sn_json_u64(reply, "stayed_bytes",
		    (uint64_t)(moved->busy + moved->shared + moved->no_room + moved->failed) *
			    SN_PAGE_SIZE);
	sn_json_close_object(reply);
}

/* Where the node's memory is afterwards, and what else of the process is on it. */
static void show_places(struct sn_reply *reply, const struct sn_operation *operation,
			unsigned int i)
{
	struct sn_node_stats stats = {0};

	sn_node_stats(operation->node[i], &stats);
	sn_json_u64(reply, "elsewhere_bytes", stats.elsewhere_bytes);
	if (operation->kind != SN_DO_OFFLINE)
		return;
	sn_json_u64(reply, "other_bytes", stats.other_bytes);
	if (operation->request.whole_process && !operation->result[i].error)
		show_whole_process(reply, &operation->whole[i]);
}

static void show_one(struct sn_reply *reply, const struct sn_operation *operation, unsigned int i)
{
	const struct sn_lifecycle_result *result = &operation->result[i];

	switch (operation->kind) {
	case SN_DO_OFFLINE:
		sn_show_offline_members(reply, result);
		show_places(reply, operation, i);
		break;
	case SN_DO_ONLINE:
		sn_show_online_members(reply, result);
		show_places(reply, operation, i);
		break;
	case SN_DO_CANCEL:
		sn_show_outcome_members(reply, result);
		break;
	default:
		sn_show_outcome_members(reply, result);
		sn_json_bool(reply, "cordoned",
			     atomic_load(&sn_nodes[result->node]->cordoned) != 0);
		break;
	}
	show_note(reply, operation, result);
}

static void show_results(struct sn_reply *reply, const struct sn_operation *operation)
{
	const struct sn_lifecycle_result *failed = NULL;

	sn_json_begin(reply);
	if (operation->count == 1) {
		show_one(reply, operation, 0);
		sn_json_end(reply);
		return;
	}
	for (unsigned int i = 0; i < operation->count && !failed; i++)
		if (operation->result[i].error)
			failed = &operation->result[i];
	if (failed)
		sn_json_error(reply, failed->error, failed->message);
	else
		sn_json_bool(reply, "ok", true);
	sn_json_open_array(reply, "results");
	for (unsigned int i = 0; i < operation->count; i++) {
		sn_json_open_object(reply, NULL);
		show_one(reply, operation, i);
		sn_json_close_object(reply);
	}
	sn_json_close_array(reply);
	sn_json_end(reply);
}

/* The kernel demotes pages of a full node whatever their policy says: to the node that left, too.
 */
static bool kernel_demotes(void)
{
	char text[8];

	sn_read_small("/sys/kernel/mm/numa/demotion_enabled", text, sizeof(text));
	return text[0] == '1' || text[0] == 't' || text[0] == 'y';
}

static void do_plan(const struct sn_operation *operation, struct sn_reply *reply)
{
	struct sn_plan plan = {0};
	int error = sn_plan(operation->node[0], &plan);

	plan.node = operation->node[0];
	if (!sn_control_config->simulated && kernel_demotes())
		sn_plan_obstacle(&plan, "demotion_enabled: the kernel may put pages back on it");
	if (error)
		sn_reply_error(reply, error, "no memory for the plan");
	else
		sn_show_plan(reply, &plan);
}

static void do_drain(const struct sn_operation *operation, struct sn_reply *reply)
{
	struct sn_drain_result total = {0};
	unsigned int rounds = operation->count ? operation->count : 1;
	int error = 0;

	for (unsigned int i = 0; i < rounds && !error; i++) {
		struct sn_drain_result result = {0};

		error = sn_drain(operation->count ? operation->node[i] : SN_NODE_NONE, true,
				 &result);
		total.drained_objects += result.drained_objects;
		total.evicted_objects += result.evicted_objects;
		total.released_bytes += result.released_bytes;
	}
	sn_json_begin(reply);
	if (error)
		sn_json_error(reply, error, "no such node");
	else
		sn_json_bool(reply, "ok", true);
	sn_json_u64(reply, "drained_objects", total.drained_objects);
	sn_json_u64(reply, "evicted_objects", total.evicted_objects);
	sn_json_u64(reply, "released_bytes", total.released_bytes);
	sn_json_end(reply);
}

static void work(void *arg)
{
	struct sn_operation *operation = arg;
	struct sn_reply reply = {0};

	if (sn_control_config->look)
		sn_control_config->look();
	sn_refresh_allowed();
	switch (operation->kind) {
	case SN_DO_PLAN:
		do_plan(operation, &reply);
		break;
	case SN_DO_DRAIN:
		do_drain(operation, &reply);
		break;
	case SN_DO_OFFLINE:
		do_offline(operation);
		show_results(&reply, operation);
		break;
	default:
		do_each(operation);
		show_results(&reply, operation);
		break;
	}
	leave_list(operation);
	lock();
	/* A reply that is lost for want of memory is noticed in sn_operation_collect(). */
	operation->output.failed = reply.length == 0;
	sn_reply_append(&operation->output, reply.data, reply.length);
	operation->finished = true;
	unlock();
	sn_reply_free(&reply);
	atomic_store(&operation->over, 1);
	sn_futex_wake(&operation->over, 1);
	sn_control_notify();
	put(operation);
}

int sn_operation_start(struct sn_operation *operation)
{
	int error = -EAGAIN;

	/* The control thread's and the worker's. */
	atomic_store(&operation->references, 2);
	if (enter_list(operation)) {
		error = sn_spawn("slabnode-work", work, operation, WORKER_STACK);
		if (!error)
			return 0;
		leave_list(operation);
	}
	put(operation);
	put(operation);
	return error;
}

bool sn_operation_collect(struct sn_operation *operation, struct sn_reply *reply)
{
	bool finished, lost;

	lock();
	finished = operation->finished;
	lost = operation->output.failed;
	if (sn_reply_pending(&operation->output)) {
		sn_reply_append(reply, sn_reply_next(&operation->output),
				sn_reply_pending(&operation->output));
		sn_reply_consume(&operation->output, sn_reply_pending(&operation->output));
	}
	unlock();
	if (!finished)
		return false;
	if (lost)
		sn_reply_error(reply, -ENOMEM, "no memory for the reply");
	put(operation);
	return true;
}

/*
 * Whether what is under way on the node is an offline that this operation began, or joined after
 * another of ours had begun it: it is younger than the oldest operation of ours that asked for it.
 */
static bool is_ours(const struct sn_operation *operation, unsigned int node)
{
	int64_t oldest = operation->began_ms;
	struct sn_transition_info info;
	int64_t began;

	if (!sn_transition_info(node, &info) || info.online)
		return false;
	began = sn_now_ms() - (int64_t)info.elapsed_ms;
	lock();
	for (const struct sn_operation *other = list; other; other = other->next)
		if (other->kind == SN_DO_OFFLINE && sn_mask_has(&other->nodes, node))
			oldest = sn_min(oldest, other->began_ms);
	unlock();
	return began >= oldest - CLOCK_SLACK_MS;
}

static bool may_cancel(const struct sn_operation *operation, unsigned int node)
{
	bool wanted;

	lock();
	wanted = operation->finished || wanted_by_others(operation, node);
	unlock();
	return !wanted && is_ours(operation, node);
}

/* Cancels what nobody else wants, until the operation is over. */
static void cancel(void *arg)
{
	struct sn_operation *operation = arg;
	int64_t pause = CANCEL_AGAIN_NS;

	while (!atomic_load(&operation->over)) {
		struct sn_lifecycle_result result;

		for (unsigned int i = 0; i < operation->count; i++) {
			if (!may_cancel(operation, operation->node[i]))
				continue;
			memset(&result, 0, sizeof(result));
			sn_cancel(operation->node[i], &result);
			pause = CANCEL_AGAIN_NS;
		}
		sn_futex_wait(&operation->over, 0, pause);
		/* What others want may take long; they cancel it themselves, should they go. */
		pause = sn_min(pause * 2, CANCEL_RARELY_NS);
	}
	put(operation);
}

/* Finds one operation whose cancel has yet to begin, and takes a reference for it. */
static struct sn_operation *next_to_cancel(void)
{
	struct sn_operation *operation;

	lock();
	for (operation = list; operation; operation = operation->next)
		if (operation->cancel_wanted && !operation->canceller)
			break;
	if (operation) {
		operation->canceller = true;
		atomic_fetch_add(&operation->references, 1);
	}
	unlock();
	return operation;
}

bool sn_operations_retry(void)
{
	struct sn_operation *operation;

	while ((operation = next_to_cancel())) {
		if (sn_thread_start("slabnode-undo", cancel, operation, WORKER_STACK) == 0)
			continue;
		lock();
		operation->canceller = false;
		unlock();
		put(operation);
		return true;
	}
	return false;
}

void sn_operation_hang_up(struct sn_operation *operation)
{
	lock();
	if (operation->kind == SN_DO_OFFLINE && !operation->detach)
		operation->cancel_wanted = true;
	unlock();
	sn_operations_retry();
	put(operation);
}

static bool any_running(void)
{
	bool any;

	lock();
	any = list != NULL;
	unlock();
	return any;
}

void sn_operations_end(int64_t timeout_ms)
{
	int64_t end = sn_now_ms() + timeout_ms;
	_Atomic uint32_t never = 0;

	lock();
	for (struct sn_operation *operation = list; operation; operation = operation->next)
		operation->cancel_wanted |= operation->kind == SN_DO_OFFLINE;
	unlock();
	while (any_running() && sn_now_ms() < end) {
		sn_operations_retry();
		sn_futex_wait(&never, 0, 1000000);
	}
}

void sn_operations_forget(void) SN_NO_THREAD_SAFETY
{
	sn_lock_reset(&sn_operations_lock);
	list = NULL;
	list_length = 0;
}
