/*
 * alien.c - see alien.h.
 *
 * Both nodes must be ONLINE: an object of a leaving node enters no store, and a leaving node's
 * own alien caches must stay empty once they were drained.
 *
 * alien->lock comes before the list_lock of the object's home; an object enters only while its
 * home is ONLINE, read under alien->lock (the reason stands at the top of cache.c).
 */
#include "alien.h"

#include "fault.h"
#include "meta.h"
#include "probe.h"
#include "table.h"

#include <string.h>

#define ALIEN_LIMIT 32

struct sn_alien *sn_alien_of(unsigned int here, unsigned int home, unsigned int cache)
{
	struct sn_cache_node *cn = sn_cache_node(sn_nodes[here], cache);
	struct sn_alien *_Atomic *row = atomic_load_explicit(&cn->alien, memory_order_acquire);

	return row == NULL ? NULL : atomic_load_explicit(&row[home], memory_order_acquire);
}

/* Under the lock, so that a fork finds either all of a new alien cache or nothing. */
static struct sn_alien *alien_build_locked(struct sn_cache_node *cn, unsigned int home)
	SN_REQUIRES(&sn_tables_lock)
{
	struct sn_alien *_Atomic *row = atomic_load_explicit(&cn->alien, memory_order_relaxed);
	struct sn_alien *alien;

	if (sn_fault(SN_FAULT_ALIEN) != 0)
		return NULL;
	if (row == NULL) {
		row = sn_meta_alloc((SN_MAX_NODES + 1) * sizeof(*row), 64);
		if (row == NULL)
			return NULL;
		atomic_store_explicit(&cn->alien, row, memory_order_release);
	}
	alien = atomic_load_explicit(&row[home], memory_order_relaxed);
	if (alien != NULL)
		return alien;
	alien = sn_meta_alloc(sizeof(*alien) + ALIEN_LIMIT * sizeof(void *), 64);
	if (alien != NULL) {
		alien->limit = ALIEN_LIMIT;
		atomic_store_explicit(&row[home], alien, memory_order_release);
	}
	return alien;
}

static struct sn_alien *alien_build(unsigned int here, unsigned int home, unsigned int cache)
{
	struct sn_alien *alien;

	sn_lock_acquire(&sn_tables_lock, SN_RANK_TABLES);
	alien = alien_build_locked(sn_cache_node(sn_nodes[here], cache), home);
	sn_lock_release(&sn_tables_lock, SN_RANK_TABLES);
	return alien;
}

bool sn_alien_put(unsigned int here, unsigned int home, unsigned int cache, void *object)
{
	struct sn_alien *alien = sn_alien_of(here, home, cache);
	void *full[ALIEN_LIMIT];
	unsigned int n = 0;
	bool done = false;

	if (alien == NULL)
		alien = alien_build(here, home, cache);
	if (alien == NULL || sn_fault(SN_FAULT_ALIEN_PUT) != 0)
		return false;
	sn_lock_acquire(&alien->lock, SN_RANK_ALIEN);
	if (sn_node_state(sn_nodes[home]) == SN_ONLINE &&
	    sn_node_state(sn_nodes[here]) == SN_ONLINE &&
	    !(SN_HOTPLUG && sn_counter_read(sn_cache_node(sn_nodes[home], cache)->vacating))) {
		if (alien->avail == alien->limit) {
			n = alien->avail;
			memcpy(full, alien->entry, n * sizeof(*full));
			sn_counter_set(alien->avail, 0);
		}
		alien->entry[alien->avail] = object;
		sn_counter_add(alien->avail, 1);
		done = true;
	}
	sn_lock_release(&alien->lock, SN_RANK_ALIEN);
	if (n > 0) {
		SN_PROBE(alien_flush, sn_nodes[here]->os_number, sn_nodes[home]->os_number,
			 sn_caches[cache].name, n);
		sn_cache_flush(sn_nodes[home], cache, full, n);
	}
	return done;
}

unsigned int sn_alien_drain(unsigned int here, unsigned int home, unsigned int cache, bool to_slabs)
{
	struct sn_alien *alien = sn_alien_of(here, home, cache);
	void *objects[ALIEN_LIMIT];
	unsigned int n;

	if (alien == NULL)
		return 0;
	sn_lock_acquire(&alien->lock, SN_RANK_ALIEN);
	n = alien->avail;
	memcpy(objects, alien->entry, n * sizeof(*objects));
	sn_counter_set(alien->avail, 0);
	sn_lock_release(&alien->lock, SN_RANK_ALIEN);
	if (n > 0 && to_slabs)
		sn_cache_free_block(sn_nodes[home], cache, objects, n);
	else if (n > 0)
		sn_cache_flush(sn_nodes[home], cache, objects, n);
	return n;
}
