/*
 * callback.c - see callback.h.
 */
#include "callback.h"

#include "lock.h"
#include "thread.h"

#include <stdio.h>

#define ASK_AGAIN_NS 5000000

/* By node index; what `why` reads.  Written by the thread that calls; two at a time for one node
 * (a transition and a newcomer that is told of it) show the later one. */
static const char *_Atomic running_kind[SN_MAX_NODES + 1];
static const char *_Atomic running_name[SN_MAX_NODES + 1];

static _Thread_local bool in_callback SN_TLS;

static unsigned int generation;

void sn_turn_take(struct sn_turn *turn)
{
	sn_turn_take_unless(turn, NULL, NULL);
}

bool sn_turn_take_unless(struct sn_turn *turn, bool (*stop)(void *arg), void *arg)
{
	uint32_t free = 0;

	if (atomic_compare_exchange_strong(&turn->word, &free, 1))
		return true;
	while (atomic_exchange(&turn->word, 2) != 0) {
		if (stop != NULL && stop(arg))
			return false;
		sn_futex_wait(&turn->word, 2, stop == NULL ? -1 : ASK_AGAIN_NS);
	}
	return true;
}

void sn_turn_give(struct sn_turn *turn)
{
	if (atomic_exchange(&turn->word, 0) == 2)
		sn_futex_wake(&turn->word, 1);
}

void sn_callback_enter(struct sn_callback *call, const char *kind, const char *name,
		       unsigned int node)
{
	call->node = node;
	call->generation = generation;
	call->kind_before = atomic_load(&running_kind[node]);
	call->name_before = atomic_load(&running_name[node]);
	atomic_store(&running_name[node], name);
	atomic_store(&running_kind[node], kind);
	call->internal = sn_internal_suspend();
	in_callback = true;
}

bool sn_callback_leave(const struct sn_callback *call)
{
	bool here = call->generation == generation;

	in_callback = false;
	sn_internal_resume(call->internal);
	atomic_store(&running_kind[call->node], here ? call->kind_before : NULL);
	atomic_store(&running_name[call->node], here ? call->name_before : NULL);
	return here;
}

bool sn_in_callback(void)
{
	return in_callback;
}

bool sn_callback_running(unsigned int node, char *text, size_t size)
{
	const char *kind = atomic_load(&running_kind[node]);
	const char *name = atomic_load(&running_name[node]);

	if (kind == NULL || name == NULL) {
		text[0] = '\0';
		return false;
	}
	snprintf(text, size, "%s %s", kind, name);
	return true;
}

unsigned int sn_callback_generation(void)
{
	return generation;
}

void sn_callback_fork_child(void)
{
	generation++;
	in_callback = false;
	for (unsigned int n = 0; n <= SN_MAX_NODES; n++) {
		atomic_store(&running_kind[n], NULL);
		atomic_store(&running_name[n], NULL);
	}
}
