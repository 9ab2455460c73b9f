/*
 * The kernel's part of offline and online with --kernel: which memory blocks there are to change,
 * why the kernel would refuse, and the way back.
 *
 * Blocks leave from the highest down, as chmem does it, and come back from the lowest up; they come
 * back as movable, since others may not leave again.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "json.h"
#include "kernel.h"
#include "util.h"

static const char movable_word[] = "online_movable", kernel_word[] = "online_kernel";

/* Takes the message over. */
json_t *kernel_failure(const char *error, unsigned int node, char *message, const char *hint)
{
	json_t *failure = make_failure(error, message);

	json_object_set_new(failure, "node", json_integer(node));
	if (hint)
		json_object_set_new(failure, "hint", json_string(hint));
	free(message);
	return failure;
}

static bool refuse(struct kernel_change *change, const char *error, unsigned int node,
		   char *message, const char *hint)
{
	change->failure = kernel_failure(error, node, message, hint);
	return false;
}

/* ---- before anything changes ---- */

static bool check_permission(struct kernel_change *change, unsigned int node, unsigned int block)
{
	char *path = block_path(block, "state");
	int file = open(path, O_WRONLY | O_CLOEXEC), error = errno;

	free(path);
	if (file >= 0) {
		close(file);
		return true;
	}
	return refuse(change, strerrorname_np(error), node,
		      format_text("the state of memory block %u cannot be written: %s", block,
				  strerror(error)),
		      error == EROFS ? "/sys is read-only, as in containers: run it on the host"
				     : "memory blocks are changed by root");
}

static bool other_memory(const struct kernel_change *change)
{
	for (size_t i = 0; i < change->before.count; i++) {
		const struct memory_block *block = &change->before.blocks[i];

		if (block->state == BLOCK_ONLINE &&
		    !list_has(&change->operation.nodes, block->node))
			return true;
	}
	return false;
}

static bool check_node(struct kernel_change *change, unsigned int node)
{
	struct node_memory memory = memory_of(&change->before, node);

	if (!change->before.count)
		return refuse(change, "ENODEV", node, copy_text("this kernel has no memory blocks"),
			      "memory hotplug is missing in it (CONFIG_MEMORY_HOTPLUG, "
			      "CONFIG_MEMORY_HOTREMOVE), or this is a container without them");
	if (!memory.blocks)
		return refuse(change, "ENODEV", node,
			      format_text(list_has(&change->before.nodes, node)
						  ? "the kernel's node %u has no memory blocks"
						  : "the kernel has no node %u",
					  node),
			      "'lsmem -o NODE,RANGE,SIZE,STATE' shows what there is");
	if (change->offline && memory.online && !other_memory(change))
		return refuse(change, "EBUSY", node,
			      format_text("no memory would remain without node %u", node),
			      "bring another node online first");
	return true;
}

/* The kernel says so beforehand where it can: kernels before 5.8 look, later ones always say yes.
 */
static bool check_block(struct kernel_change *change, const struct memory_block *block)
{
	char *removable = read_block_file(block->number, "removable"),
	     *zone = read_block_file(block->number, "valid_zones");
	bool fixed = !strcmp(removable, "0"), spread = !strcmp(zone, "none");

	free(removable);
	free(zone);
	if (fixed)
		return refuse(change, "EBUSY", block->node,
			      format_text("memory block %u is not removable", block->number),
			      "the kernel keeps memory of its own there; memory that comes online "
			      "with online_movable can leave");
	if (spread)
		return refuse(change, "EINVAL", block->node,
			      format_text("memory block %u lies in several zones or nodes",
					  block->number),
			      "such a block cannot go offline; other nodes' blocks can");
	return true;
}

static bool add_block(struct kernel_change *change, const struct memory_block *block)
{
	struct kernel_job *job = &change->job;
	char *zone;

	if (change->offline && !change->context.wrapped && !check_block(change, block))
		return false;
	zone = read_block_file(block->number, "valid_zones");
	job->blocks = grow(job->blocks, (job->count + 1) * sizeof(*job->blocks));
	change->movable = grow(change->movable, (job->count + 1) * sizeof(*change->movable));
	change->movable[job->count] = !strcmp(zone, "Movable");
	job->blocks[job->count++] = (struct block_job){
		.number = block->number, .node = block->node, .result = BLOCK_UNTOUCHED};
	free(zone);
	return true;
}

/* What is to be changed, and whether it may be; false with the failure set. */
bool find_blocks(struct kernel_change *change)
{
	const struct machine *machine = &change->before;

	read_machine(&change->before);
	for (size_t i = 0; i < change->operation.nodes.count; i++)
		/* A node that is to come may be made by the command. */
		if ((change->offline || !change->context.wrapped) &&
		    !check_node(change, change->operation.nodes.nodes[i]))
			return false;
	for (size_t i = 0; i < machine->count; i++) {
		const struct memory_block *block =
			&machine->blocks[change->offline ? machine->count - 1 - i : i];

		if (list_has(&change->operation.nodes, block->node) &&
		    (block->state == BLOCK_OFFLINE) != change->offline && !add_block(change, block))
			return false;
	}
	return !change->job.count || change->context.wrapped ||
	       check_permission(change, change->job.blocks[0].node, change->job.blocks[0].number);
}

/* ---- changing them ---- */

static void on_tick(const struct kernel_job *job, void *data)
{
	struct kernel_change *change = data;
	unsigned int node =
		job->count ? job->blocks[job->done < job->count ? job->done : 0].node : 0;
	struct session shown = {.hello = json_true(), .started = change->started};

	if (job->command)
		return;
	shown.progress = json_pack("{s:s, s:i, s:I, s:I}", "phase", "kernel", "node", node, "done",
				   (json_int_t)(job->done * change->before.block_bytes), "total",
				   (json_int_t)(job->count * change->before.block_bytes));
	draw_progress(&change->operation.progress, &shown, 1);
	json_decref(shown.progress);
}

static const char *refusal_hint(const struct kernel_change *change, size_t index)
{
	int error = change->job.blocks[index].result;

	if (error == EINTR || error == BLOCK_UNTOUCHED)
		return "--timeout gives the kernel more time";
	if (!change->offline)
		return error == EINVAL ? "the kernel's log (dmesg) says why" : NULL;
	if (error == EBUSY || error == EAGAIN)
		return change->movable[index]
			       ? "pages are held there (direct I/O, RDMA, a device, huge pages "
				 "without room elsewhere); the kernel's log (dmesg) names them"
			       : "it is not in zone Movable: the kernel keeps memory of its own "
				 "there; memory that comes online with online_movable can leave";
	if (error == ENOMEM)
		return "the other nodes have no room for what is there";
	if (error == EINVAL)
		return "the block lies in several zones, or changed its state meanwhile";
	return NULL;
}

static bool fail_block(struct kernel_change *change, size_t index)
{
	const struct block_job *block = &change->job.blocks[index];
	bool late = change->job.late;
	int error = block->result == EINTR || block->result == BLOCK_UNTOUCHED ? ETIMEDOUT
									       : block->result;

	return refuse(change, strerrorname_np(late ? ETIMEDOUT : error), block->node,
		      format_text("memory block %u would not go %s%s: %s", block->number,
				  change->offline ? "offline" : "online", late ? " in time" : "",
				  strerror(error)),
		      refusal_hint(change, index));
}

/* The block that says why, for want of time or for good. */
static size_t refused_block(const struct kernel_job *job)
{
	size_t found = 0;

	for (size_t i = 0; i < job->count; i++) {
		int result = job->blocks[i].result;

		if (result > 0 && result != EBUSY && result != EAGAIN && result != EINTR)
			return i;
		if (result && !job->blocks[found].result)
			found = i;
	}
	return found;
}

static bool fail_command(struct kernel_change *change)
{
	const char *command = change->context.wrapped[0];
	unsigned int node = change->operation.nodes.nodes[0];
	int status = change->job.status;
	char *how = status < 0		  ? copy_text("could not be started")
		    : WIFSIGNALED(status) ? format_text("was ended by signal %d", WTERMSIG(status))
					  : format_text("ended with %d", WEXITSTATUS(status));

	refuse(change, "EBUSY", node, format_text("%s %s", command, how), NULL);
	free(how);
	return false;
}

bool change_blocks(struct kernel_change *change)
{
	struct kernel_job *job = &change->job;
	unsigned int node = change->operation.nodes.nodes[0];

	job->word = change->offline ? "offline" : movable_word;
	job->second_word = change->offline ? NULL : "online";
	job->command = change->context.wrapped;
	job->deadline = change->deadline;
	job->on_tick = on_tick;
	job->data = change;
	run_kernel_job(job);
	clear_progress(&change->operation.progress);
	if (job->command ? job->status == 0 : job->done == job->count)
		return true;
	if (job->interrupted)
		return refuse(change, "ECANCELED", node, copy_text("cancelled"), NULL);
	if (job->late && job->command)
		return refuse(change, "ETIMEDOUT", node,
			      format_text("%s did not end in time", job->command[0]), NULL);
	return job->command ? fail_command(change) : fail_block(change, refused_block(job));
}

/* ---- the way back ---- */

static int restore_block(const struct kernel_change *change, size_t index)
{
	unsigned int block = change->job.blocks[index].number;
	const char *word = !change->offline	    ? "offline"
			   : change->movable[index] ? movable_word
						    : kernel_word;
	int error = write_block_state(block, word);

	return error == EINVAL && change->offline ? write_block_state(block, "online") : error;
}

/* Whatever is not as it was, whoever changed it. False where the kernel does not take it back. */
bool restore_blocks(struct kernel_change *change)
{
	bool restored = true;

	for (size_t i = change->job.count; i-- > 0;) {
		const struct block_job *block = &change->job.blocks[i];
		char *state = read_block_file(block->number, "state");
		bool changed = !strcmp(state, change->offline ? "offline" : "online");
		int error = changed ? restore_block(change, i) : 0;

		free(state);
		if (!error)
			continue;
		complain("memory block %u stays %s: %s", block->number,
			 change->offline ? "offline" : "online", strerror(error));
		restored = false;
	}
	return restored;
}

/* A row a node, as the kernel has it now. */
json_t *block_rows(const struct kernel_change *change)
{
	json_t *rows = json_array();
	struct machine now;

	read_machine(&now);
	for (size_t i = 0; i < change->operation.nodes.count; i++) {
		unsigned int node = change->operation.nodes.nodes[i];
		struct node_memory memory = memory_of(&now, node),
				   before = memory_of(&change->before, node);
		const char *state = !memory.online		     ? "offline"
				    : memory.online == memory.blocks ? "online"
								     : "partly online";

		json_array_append_new(
			rows, json_pack("{s:i, s:s, s:I, s:I, s:I, s:b}", "node", node, "state",
					state, "blocks", (json_int_t)memory.blocks, "blocks_online",
					(json_int_t)memory.online, "bytes",
					(json_int_t)(memory.blocks * now.block_bytes), "already",
					memory.online == before.online &&
						memory.blocks == before.blocks));
	}
	free_machine(&now);
	return rows;
}
