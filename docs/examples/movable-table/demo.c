/*
 * demo.c - the table at work: its nodes leave memory node 1 by themselves when that goes offline.
 */
#include "table.h"

#include <slabnode.h>
#include <stdio.h>

#define KEYS 10000

static void count(const void *node, const char *key, uint64_t value, void *arg)
{
	unsigned int *on_node = arg;

	(void)key, (void)value;
	on_node[slabnode_node_of(node) == 1]++;
}

static int show(struct table *table)
{
	unsigned int on_node[2] = {0, 0}, wrong = 0;

	table_each(table, count, on_node);
	for (unsigned int i = 0; i < KEYS; i++) {
		uint64_t value;
		char key[32];

		snprintf(key, sizeof(key), "key %u", i);
		wrong += !table_get(table, key, &value) || value != i;
	}
	printf("on node 1: %u, elsewhere: %u, wrong: %u\n", on_node[1], on_node[0], wrong);
	return wrong != 0;
}

int main(void)
{
	struct table *table = table_create("demo", 1024);
	char key[32], why[256];
	int failed;

	slabnode_prefer_node(1);
	for (unsigned int i = 0; table && i < KEYS; i++) {
		snprintf(key, sizeof(key), "key %u", i);
		if (table_put(table, key, i))
			return 1;
	}
	if (!table)
		return 1;
	failed = show(table);
	if (slabnode_offline(1, SLABNODE_MIGRATE, 5000, why, sizeof(why))) {
		printf("node 1 stays: %s\n", why);
		return 1;
	}
	printf("node 1 is offline\n");
	failed |= show(table);
	table_destroy(table);
	return failed;
}
