/*
 * callback.c - see callback.h.
 */
#include "callback.h"

#include "lock.h"
#include "thread.h"

#include <stdio.h>

#define ASK_AGAIN_NS 5000000

/* Names, by node index; what `why` reads.  Written by whoever has the turn of the kind. */
static const char *_Atomic running[SN_CALLBACK_KINDS][SN_MAX_NODES + 1];
static const char *const prefix[] = {"notifier", "reclaim of"};

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

void sn_callback_enter(struct sn_callback *call, enum sn_callback_kind kind, const char *name,
		       unsigned int node)
{
	call->kind = kind;
	call->node = node;
	call->generation = generation;
	call->internal = sn_internal_suspend();
	atomic_store(&running[kind][node], name);
	in_callback = true;
}

bool sn_callback_leave(const struct sn_callback *call)
{
	bool here = call->generation == generation;

	in_callback = false;
	sn_internal_resume(call->internal);
	/* In a forked child the turn, and with it the word, may be somebody else's by now. */
	if (here)
		atomic_store(&running[call->kind][call->node], NULL);
	return here;
}

bool sn_in_callback(void)
{
	return in_callback;
}

bool sn_callback_running(unsigned int node, char *text, size_t size)
{
	for (unsigned int kind = 0; kind < SN_CALLBACK_KINDS; kind++) {
		const char *name = atomic_load(&running[kind][node]);

		if (name == NULL)
			continue;
		snprintf(text, size, "%s %s", prefix[kind], name);
		return true;
	}
	text[0] = '\0';
	return false;
}

unsigned int sn_callback_generation(void)
{
	return generation;
}

void sn_callback_fork_child(void)
{
	generation++;
	in_callback = false;
	for (unsigned int kind = 0; kind < SN_CALLBACK_KINDS; kind++)
		for (unsigned int n = 0; n <= SN_MAX_NODES; n++)
			atomic_store(&running[kind][n], NULL);
}
