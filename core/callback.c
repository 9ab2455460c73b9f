/*
 * callback.c - see callback.h.
 */
#include "callback.h"

#include "lock.h"
#include "thread.h"

#include <stdio.h>
#include <string.h>

#define ASK_AGAIN_NS 5000000
#define NAME_WORDS   4 /* 32 bytes, the last of them zero, as names of notifiers and caches have */

/*
 * What runs, for `why`.  Written by whoever has the turn of the kind; the name is copied, because
 * its owner may be gone, and another in its place, while somebody reads.  seq is odd while it is
 * written: whoever reads looks again.
 */
static struct {
	_Atomic uint32_t seq;
	_Atomic uint32_t node; /* 0: nothing runs */
	_Atomic uint64_t name[NAME_WORDS];
} running[SN_CALLBACK_KINDS];
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

static void set_running(enum sn_callback_kind kind, unsigned int node, const char *name)
{
	uint64_t words[NAME_WORDS] = {0};

	strncpy((char *)words, name, sizeof(words) - 1);
	atomic_fetch_add(&running[kind].seq, 1);
	atomic_store(&running[kind].node, node);
	for (unsigned int i = 0; i < NAME_WORDS; i++)
		atomic_store(&running[kind].name[i], words[i]);
	atomic_fetch_add(&running[kind].seq, 1);
}

/* The node that it runs for, 0 for none, and its name. */
static unsigned int get_running(enum sn_callback_kind kind, char *name)
{
	uint64_t words[NAME_WORDS];
	uint32_t seq, node;

	do {
		seq = atomic_load(&running[kind].seq);
		node = atomic_load(&running[kind].node);
		for (unsigned int i = 0; i < NAME_WORDS; i++)
			words[i] = atomic_load(&running[kind].name[i]);
	} while (seq % 2 != 0 || atomic_load(&running[kind].seq) != seq);
	memcpy(name, words, sizeof(words));
	return node;
}

void sn_callback_enter(struct sn_callback *call, enum sn_callback_kind kind, const char *name,
		       unsigned int node)
{
	call->kind = kind;
	call->node = node;
	call->generation = generation;
	call->internal = sn_internal_suspend();
	set_running(kind, node, name);
	in_callback = true;
}

bool sn_callback_leave(const struct sn_callback *call)
{
	bool here = call->generation == generation;

	in_callback = false;
	sn_internal_resume(call->internal);
	/* In a forked child the turn, and with it the word, may be somebody else's by now. */
	if (here)
		set_running(call->kind, 0, "");
	return here;
}

bool sn_in_callback(void)
{
	return in_callback;
}

bool sn_callback_running(unsigned int node, char *text, size_t size)
{
	char name[NAME_WORDS * sizeof(uint64_t)];

	for (unsigned int kind = 0; kind < SN_CALLBACK_KINDS; kind++)
		if (get_running(kind, name) == node) {
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
	for (unsigned int kind = 0; kind < SN_CALLBACK_KINDS; kind++) {
		atomic_store(&running[kind].node, 0);
		atomic_store(&running[kind].seq, 0);
	}
}
