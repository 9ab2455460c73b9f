/*
 * thread.c - see thread.h.
 */
#include "thread.h"

#include "biased.h"
#include "core.h"
#include "hardened.h"
#include "rseq.h"
#include "sites.h"

_Thread_local struct sn_thread sn_self SN_TLS;
unsigned int sn_thread_preferred;

static _Atomic uint32_t next_shard;

/* Everything is to be seen by the slow path, or the thread has no words yet. */
static bool fast_allowed(const struct sn_thread *self)
{
	return sn_rseq_enabled && self->ready && self->internal == 0 && sn_hardened == 0 &&
	       !sn_sites_on;
}

/* The signal fences: a handler between two of these stores may allocate. */
static void gates_open(struct sn_thread *self)
{
	if (!fast_allowed(self))
		return;
	self->fast = self->words;
	atomic_signal_fence(memory_order_seq_cst);
	self->gate_malloc = SN_SMALL_MAX + 1;
	self->gate_free = SN_WINDOW_SEGS;
}

static void gates_shut(struct sn_thread *self)
{
	self->gate_malloc = 0;
	self->gate_free = 0;
	atomic_signal_fence(memory_order_seq_cst);
	self->fast = NULL;
}

void sn_internal_enter(void)
{
	sn_self.internal++;
	gates_shut(&sn_self);
	sn_self.own = NULL;
}

void sn_internal_leave(void)
{
	sn_self.internal--;
	gates_open(&sn_self);
}

unsigned int sn_internal_suspend(void)
{
	unsigned int depth = sn_self.internal;

	sn_self.internal = 0;
	gates_open(&sn_self);
	return depth;
}

void sn_internal_resume(unsigned int depth)
{
	sn_self.internal = (uint16_t)depth;
	if (depth > 0) {
		gates_shut(&sn_self);
		sn_self.own = NULL;
	}
}

bool sn_thread_ends(void)
{
	uintptr_t nobody = 0;

	if (sn_ending())
		return false;
	sn_internal_enter();
	sn_self.internal = (uint16_t)(sn_self.internal + SN_ENDING);
	sn_lock_check_suspend(true);
	atomic_compare_exchange_strong(&sn_fork_owner, &nobody,
				       (uintptr_t)__builtin_thread_pointer());
	return true;
}

static void use_set(struct sn_thread *self, unsigned int set)
{
	void *const *words = sn_set_words(set);

	if (words == NULL)
		return;
	self->set = (uint8_t)set;
	self->words = words;
	self->own = NULL;
	self->ready = 1;
	gates_open(self);
}

/* On real nodes a thread's home follows its CPU; in simulation it is given one to keep. */
static unsigned int default_set(void)
{
	unsigned int node;

	if (sn_thread_preferred != SN_NODE_NONE)
		return sn_thread_preferred;
	if (!sn_placement->simulated || sn_placement->thread_node == NULL)
		return SN_SET_LOCAL;
	node = sn_placement->thread_node();
	return node < sn_node_end && sn_nodes[node] != NULL ? node : SN_FIRST_NODE;
}

bool sn_thread_setup(struct sn_thread *self)
{
	if (self->ready)
		return true;
	if (!sn_core_started())
		return false;
	self->shard = (uint16_t)(atomic_fetch_add(&next_shard, 1) % sn_nr_shards);
	use_set(self, default_set());
	if (self->ready)
		self->shard = sn_biased_choose(self, self->shard);
	return self->ready;
}

int sn_thread_prefer(unsigned int node)
{
	struct sn_thread *self = &sn_self;

	if (!sn_thread_setup(self))
		return -EAGAIN;
	if (node != SN_NODE_NONE && (node >= sn_node_end || sn_nodes[node] == NULL))
		return -ENODEV;
	use_set(self, node == SN_NODE_NONE ? default_set() : node);
	return 0;
}

unsigned int sn_thread_cpu(const struct sn_thread *self)
{
	int cpu;

	if (!sn_rseq_enabled)
		return self->shard;
	cpu = sn_rseq_cpu();
	return cpu < 0 || (unsigned int)cpu >= sn_nr_cpus ? 0 : (unsigned int)cpu;
}

unsigned int sn_thread_home(const struct sn_thread *self)
{
	return sn_set_home(self->set, sn_thread_cpu(self));
}
