/* listeners.c - see listeners.h. */
#include "listeners.h"

static const char *const memory_names[] = {"going-online",  "cancel-online",  "online",
					   "going-offline", "cancel-offline", "offline"};
static const char *const node_names[] = {"adding",   "cancel-adding",	"added",
					 "removing", "cancel-removing", "removed"};

char tape[4096];

static void put(const char *text)
{
	size_t used = strlen(tape);

	if (used + strlen(text) + 1 < sizeof(tape))
		strcpy(tape + used, text);
}

static int hear(struct listener *l, const char *event, int os_node, bool refuse)
{
	char line[128];

	snprintf(line, sizeof(line), "%s:%s/%d ", l->name, event, os_node);
	put(line);
	CHECK(sn_in_callback());
	if (l->inside != NULL)
		l->inside(l, event, os_node);
	atomic_fetch_add(&l->heard, 1);
	return refuse ? -EPERM : 0;
}

int on_memory(enum slabnode_mem_action action, const struct slabnode_memory_notify *notify,
	      void *data)
{
	struct listener *l = data;

	return hear(l, memory_names[action], notify->node, l->refuse == (int)action);
}

int on_node(enum slabnode_node_action action, const struct slabnode_node_notify *notify, void *data)
{
	struct listener *l = data;

	return hear(l, node_names[action], notify->node, l->refuse == (int)action);
}

void join_in(struct listener *l, int priority)
{
	l->id = sn_notifier_register(l->name, priority, l->is_node ? NULL : on_memory,
				     l->is_node ? on_node : NULL, l);
	CHECK(l->id > 0);
}

void check_tape(const char *file, int line, const char *want)
{
	if (strcmp(tape, want) != 0)
		unit_fail(file, line, "the tape says \"%s\",\nnot \"%s\"", tape, want);
	tape[0] = '\0';
}

struct listener mem = {.name = "m", .refuse = NOTHING},
		node = {.name = "n", .refuse = NOTHING, .is_node = true};

/* --- a callback that takes its time -------------------------------------------------------- */

static sem_t stalled;
sem_t go_on;
const char *stall_at;

static void stall(struct listener *l, const char *event, int os_node)
{
	(void)l, (void)os_node;
	if (strcmp(event, stall_at) != 0)
		return;
	sem_post(&stalled);
	while (sem_wait(&go_on) != 0)
		;
}

void prepare_stall(struct listener *l, const char *event)
{
	sem_init(&stalled, 0, 0);
	sem_init(&go_on, 0, 0);
	stall_at = event;
	l->inside = stall;
}

void *offline_thread(void *arg)
{
	struct call *call = arg;

	call->error = unit_offline(NODE, call->policy, call->timeout_ms, &call->result);
	atomic_store(&call->over, true);
	return NULL;
}

void *online_thread(void *arg)
{
	struct call *call = arg;

	call->error = sn_online(NODE, false, &call->result);
	atomic_store(&call->over, true);
	return NULL;
}

pthread_t stalled_thread(void *(*change)(void *call), struct call *call)
{
	pthread_t thread = unit_thread(change, call);

	sem_wait(&stalled);
	return thread;
}
