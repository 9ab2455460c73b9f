/*
 * biased.c - who owns a table, and how others end its bias; see biased.h.
 */
#include "biased.h"

#include "core.h"
#include "rseq.h"
#include "sites.h"

/* Times that the owner alone has taken the lock before it does without again. */
#define QUIET 1024

#if defined(__SANITIZE_THREAD__)
#define THREAD_SANITIZER 1
#elif defined(__has_feature)
#define THREAD_SANITIZER __has_feature(thread_sanitizer)
#else
#define THREAD_SANITIZER 0
#endif

bool sn_biased_enabled;

void sn_biased_init(void)
{
	/* The thread sanitizer does not know what membarrier does. */
	sn_biased_enabled = !THREAD_SANITIZER && !sn_shard_by_cpu && sn_membarrier_init();
}

void sn_biased_end(void)
{
	__atomic_store_n(&sn_biased_enabled, false, __ATOMIC_RELAXED);
	if (!sn_rseq_enabled)
		sn_tables_fence();
}

/* Refused all the same: whatever was on its way to memory is there after a millisecond. */
static SN_COLD void wait_instead(void)
{
	_Atomic uint32_t never = 0;

	sn_futex_wait(&never, 0, 1000000);
}

bool sn_biased_revoke(struct sn_bias *bias)
{
	if (atomic_load_explicit(&bias->biased, memory_order_relaxed) != 0) {
		atomic_store_explicit(&bias->biased, 0, memory_order_seq_cst);
		if (sn_membarrier() != 0)
			wait_instead();
		bias->quiet = 0;
	}
	return __atomic_load_n(&bias->busy, __ATOMIC_ACQUIRE) == 0;
}

uint16_t sn_biased_choose(const struct sn_thread *self, uint16_t shard)
{
	unsigned int unowned = shard;
	bool found = false;

	if (!sn_counter_read(sn_biased_enabled))
		return shard;
	for (unsigned int i = 0; i < sn_nr_shards; i++) {
		unsigned int s = (shard + i) % sn_nr_shards;
		struct sn_table *table = __atomic_load_n(&self->words[s], __ATOMIC_ACQUIRE);
		const void *owner = table == &sn_empty_table
					    ? NULL
					    : sn_counter_read(sn_table_bias(table)->owner);

		if (owner == self) {
			/* An earlier thread's, which may have been cancelled inside. */
			sn_biased_leave(sn_table_bias(table));
			return (uint16_t)s;
		}
		if (owner == NULL && !found) {
			unowned = s;
			found = true;
		}
	}
	return (uint16_t)unowned;
}

bool sn_biased_claim(struct sn_thread *self, struct sn_table *table)
{
	struct sn_bias *bias = sn_table_bias(table);

	/* Sampling sees every call on the slow path. */
	if (!sn_counter_read(sn_biased_enabled) || sn_forking() || sn_sites_on)
		return false;
	if (bias->owner == NULL) {
		sn_counter_set(bias->owner, self);
		bias->quiet = QUIET;
	}
	if (bias->owner != self)
		bias->quiet = 0;
	else if (++bias->quiet >= QUIET) {
		/* In this order: a signal handler of this thread must not get in as well. */
		sn_counter_set(bias->busy, 1);
		atomic_store_explicit(&bias->biased, 1, memory_order_release);
		return true;
	}
	return false;
}
