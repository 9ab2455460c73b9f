/*
 * core.c - starting the core; see core.h.
 */
#include "core.h"

#include "biased.h"
#include "cache.h"
#include "hardened.h"
#include "rseq.h"
#include "sites.h"
#include "stats.h"
#include "table.h"

void (*sn_slow_hook)(size_t bytes);
int (*sn_fault_hook)(enum sn_fault_point point);
void (*sn_ageing_hook)(void);

static _Atomic uint32_t early_state; /* 0 untouched, 1 being built, 2 done */
static _Atomic uint32_t started;
static const char *fast_path_reason = "not started";

void sn_core_early(void)
{
	uint32_t untouched = 0;

	if (atomic_load_explicit(&early_state, memory_order_acquire) == 2)
		return;
	if (atomic_compare_exchange_strong(&early_state, &untouched, 1)) {
		sn_caches_init();
		if (!sn_node_add_internal())
			sn_fatal("no memory for the allocator's first structures", NULL);
		atomic_store_explicit(&early_state, 2, memory_order_release);
		return;
	}
	while (atomic_load_explicit(&early_state, memory_order_acquire) != 2)
		; /* another thread is at it, a few microseconds */
}

bool sn_core_started(void)
{
	return atomic_load_explicit(&started, memory_order_acquire) != 0;
}

bool sn_core_start(const struct sn_core_config *config)
{
	unsigned int nr_cpus = config->nr_cpus;

	sn_hardened_start(config->hardened, config->seed);
	if (config->sample > 0)
		sn_sites_start(config->sample);
	if (config->locked) {
		fast_path_reason = config->locked_reason;
	} else if (nr_cpus == 0) {
		fast_path_reason = "possible CPUs unknown";
		nr_cpus = 8;
	} else {
		sn_rseq_init(&fast_path_reason);
	}
	if (!sn_tables_init(nr_cpus, config->nr_shards, config->cpu_node))
		return false;
	if (!sn_rseq_enabled)
		sn_biased_init();
	sn_lifecycle_start();
	sn_tables_reset();
	atomic_store_explicit(&started, 1, memory_order_release);
	return true;
}

const char *sn_fast_path_name(void)
{
	return sn_rseq_enabled ? "rseq" : "locked";
}

const char *sn_fast_path_reason(void)
{
	return fast_path_reason;
}
