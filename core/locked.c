/*
 * locked.c - the locked variant of the restartable sequences.
 *
 * Used where rseq is missing (valgrind, sandboxes, other architectures) or not wanted.  "CPU"
 * is then a shard: each thread begins at one of its own choice and leaves a busy one for the
 * next.  The table is read again under its lock, so that one lock-and-unlock by the control
 * side, after the word was replaced, has the effect of the fence:
 *
 *	thread				control
 *	loads words[shard]: table
 *					words[shard] = empty table
 *					takes and drops table->lock
 *	takes table->lock
 *	takes an object			<- handed out after the drain, were the word not read again
 */
#include "table.h"

#include <sched.h>

static uint16_t current_cpu(void)
{
	int cpu = sched_getcpu();

	return cpu < 0 || (unsigned int)cpu >= sn_nr_cpus ? 0 : (uint16_t)cpu;
}

/* The table that words[*shard] names, its lock held; NULL: none, or all shards are busy. */
static struct sn_table *lock_table(void *const *words, uint16_t *shard)
{
	if (sn_shard_by_cpu)
		*shard = current_cpu();
	for (unsigned int tries = 0; tries < sn_nr_shards; tries++) {
		void *const *word = &words[*shard];
		struct sn_table *table = __atomic_load_n(word, __ATOMIC_ACQUIRE);

		if (table == &sn_empty_table)
			return NULL;
		if (sn_table_try(table)) {
			if (__atomic_load_n(word, __ATOMIC_ACQUIRE) == table)
				return table;
			sn_table_unlock(table);
		}
		*shard = (uint16_t)((*shard + 1u) % sn_nr_shards);
	}
	return NULL;
}

void *sn_locked_pop(void *const *words, uint16_t *shard, unsigned int cache)
{
	struct sn_table *table = lock_table(words, shard);
	struct sn_slot *slot;
	void *object;

	if (table == NULL)
		return NULL;
	slot = sn_table_slot(table, cache);
	object = *slot->top;
	if (object != NULL)
		sn_counter_sub(slot->top, 1);
	sn_table_unlock(table);
	return object;
}

unsigned int sn_locked_pop_many(void *const *words, uint16_t *shard, unsigned int cache,
				void **objects, unsigned int want)
{
	struct sn_table *table = lock_table(words, shard);
	struct sn_slot *slot;
	unsigned int n = 0;

	if (table == NULL)
		return 0;
	slot = sn_table_slot(table, cache);
	while (n < want && *slot->top != NULL) {
		objects[n++] = *slot->top;
		sn_counter_sub(slot->top, 1);
	}
	sn_table_unlock(table);
	return n;
}

unsigned int sn_locked_push_many(void *const *words, uint16_t *shard, unsigned int cache,
				 void *const *objects, unsigned int count, unsigned int home)
{
	struct sn_table *table = lock_table(words, shard);
	unsigned int n = 0;

	if (table == NULL)
		return 0;
	if (atomic_load_explicit(&sn_standin[home], memory_order_relaxed) == table->node) {
		struct sn_slot *slot = sn_table_slot(table, cache);
		void **end = __atomic_load_n(&slot->end, __ATOMIC_ACQUIRE);

		while (n < count && slot->top < end) {
			sn_counter_set(slot->top[1], objects[n++]); /* statistics read it */
			sn_counter_add(slot->top, 1);
		}
	}
	sn_table_unlock(table);
	return n;
}
