/*
 * loan.c - see loan.h.
 */
#include "loan.h"

#include "drain.h"
#include "table.h"

void sn_loan_give(unsigned int node, unsigned int to)
{
	if (to != SN_NODE_NONE)
		sn_mask_add(&sn_nodes[node]->lent_to, to);
	atomic_store(&sn_standin[node], (uint8_t)to);
}

void sn_loans_find(void)
{
	for_each_node(n) {
		if (sn_node_state(sn_nodes[n]) != SN_OFFLINE || atomic_load(&sn_standin[n]) != 0)
			continue;
		sn_loan_give(n, sn_node_target(n));
	}
}

void sn_loans_recall(unsigned int node, struct sn_nodemask *recalled)
{
	for_each_node(n)
		if (n != node && atomic_load(&sn_standin[n]) == node) {
			atomic_store(&sn_standin[n], SN_NODE_NONE);
			sn_mask_add(recalled, n);
		}
}

int sn_loan_empty_tables(unsigned int node, uint64_t *stall_ns)
{
	uint64_t begin = sn_now_ns();
	int error;

	sn_tables_close(node);
	error = sn_tables_fence();
	*stall_ns = sn_max(*stall_ns, sn_now_ns() - begin);
	if (error == 0)
		sn_tables_drain(node, false);
	sn_tables_open(node);
	return error;
}

void sn_loans_move(uint64_t *stall_ns)
{
	struct sn_nodemask old = {{0}};

	sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	for_each_node(n) {
		unsigned int standin = atomic_load(&sn_standin[n]);

		if (sn_node_state(sn_nodes[n]) != SN_OFFLINE || standin == SN_NODE_NONE ||
		    standin == sn_node_target(n))
			continue;
		atomic_store(&sn_standin[n], SN_NODE_NONE);
		sn_mask_add(&old, standin);
	}
	sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	if (sn_mask_count(&old) == 0)
		return;
	for_each_node(n)
		if (sn_mask_has(&old, n))
			sn_loan_empty_tables(n, stall_ns);
	sn_lock_acquire(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
	sn_loans_find();
	sn_lock_release(&sn_lifecycle_lock, SN_RANK_LIFECYCLE);
}

int sn_loans_end(const struct sn_nodemask *lent_to, uint64_t *stall_ns)
{
	int error = 0;

	for_each_node(n)
		if (sn_mask_has(lent_to, n) && error == 0)
			error = sn_loan_empty_tables(n, stall_ns);
	return error;
}
