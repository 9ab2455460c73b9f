/*
 * locked.c - the locked variant of the restartable sequences.
 *
 * Used where rseq is missing (valgrind, sandboxes, other architectures) or not wanted.  "CPU"
 * is then a shard: each thread begins at one of its own and leaves a busy one for the next.  As
 * long as it is alone there it needs no lock, see biased.h.  The table is read again under its
 * lock, so that one lock-and-unlock by the control side, after the word was replaced, has the
 * effect of the fence:
 *
 *	thread				control
 *	loads words[shard]: table
 *					words[shard] = empty table
 *					takes and drops table->lock
 *	takes table->lock
 *	takes an object			<- handed out after the drain, were the word not read again
 *
 * clang cannot follow a lock that a function finds and returns, hence SN_NO_THREAD_SAFETY.
 */
#include "biased.h"

#include <sched.h>

static uint16_t current_cpu(void)
{
	int cpu = sched_getcpu();

	return cpu < 0 || (unsigned int)cpu >= sn_nr_cpus ? 0 : (uint16_t)cpu;
}

static struct sn_table *enter_as_owner(struct sn_thread *self, struct sn_table *table)
{
	if (!sn_biased_enter(sn_table_bias(table)))
		return NULL;
	self->own = table;
	self->shard = table->cpu;
	return table;
}

/* The table that the thread's shard names, its lock held, or entered as its owner; NULL: none, or
 * all shards are busy. */
static struct sn_table *enter_table(struct sn_thread *self, bool *owned) SN_NO_THREAD_SAFETY
{
	*owned = self->own != NULL && enter_as_owner(self, self->own) != NULL;
	if (*owned)
		return self->own;
	if (sn_shard_by_cpu)
		self->shard = current_cpu();
	else if (self->own != NULL) /* back there, where the bias can come back */
		self->shard = self->own->cpu;
	for (unsigned int tries = 0; tries < sn_nr_shards; tries++) {
		void *const *word = &self->words[self->shard];
		struct sn_table *table = __atomic_load_n(word, __ATOMIC_ACQUIRE);

		if (table == &sn_empty_table)
			return NULL;
		/* While a table is biased a word names it: who replaces the word ends the bias. */
		*owned = sn_counter_read(sn_table_bias(table)->owner) == self &&
			 enter_as_owner(self, table) != NULL;
		if (*owned)
			return table;
		if (sn_table_try(table)) {
			if (__atomic_load_n(word, __ATOMIC_ACQUIRE) == table) {
				*owned = sn_biased_claim(self, table);
				if (*owned) {
					self->own = table;
					sn_table_unlock(table);
				}
				return table;
			}
			sn_table_unlock(table);
		}
		self->shard = (uint16_t)((self->shard + 1u) % sn_nr_shards);
	}
	return NULL;
}

static void leave_table(struct sn_table *table, bool owned) SN_NO_THREAD_SAFETY
{
	if (owned)
		sn_biased_leave(sn_table_bias(table));
	else
		sn_table_unlock(table);
}

void *sn_locked_pop(struct sn_thread *self, unsigned int cache)
{
	bool owned;
	struct sn_table *table = enter_table(self, &owned);
	void *object;

	if (table == NULL)
		return NULL;
	object = *table->top[cache];
	if (object != NULL)
		sn_counter_sub(table->top[cache], 1);
	leave_table(table, owned);
	return object;
}

unsigned int sn_locked_pop_many(struct sn_thread *self, unsigned int cache, void **objects,
				unsigned int want)
{
	bool owned;
	struct sn_table *table = enter_table(self, &owned);
	unsigned int n = 0;

	if (table == NULL)
		return 0;
	while (n < want && *table->top[cache] != NULL) {
		objects[n++] = *table->top[cache];
		sn_counter_sub(table->top[cache], 1);
	}
	leave_table(table, owned);
	return n;
}

unsigned int sn_locked_push_many(struct sn_thread *self, unsigned int cache, void *const *objects,
				 unsigned int count, unsigned int home)
{
	bool owned;
	struct sn_table *table = enter_table(self, &owned);
	unsigned int n = 0;

	if (table == NULL)
		return 0;
	if (sn_node_standin(home) == table->node) {
		void **end = __atomic_load_n(&table->end[cache], __ATOMIC_ACQUIRE);

		while (n < count && table->top[cache] < end) {
			sn_counter_set(table->top[cache][1], objects[n++]); /* statistics read it */
			sn_counter_add(table->top[cache], 1);
		}
	}
	leave_table(table, owned);
	return n;
}
