/*
 * table.h - a hash table whose nodes let themselves be moved.
 *
 * Strings to numbers, for any number of threads.  The table's nodes come from a movable object
 * cache of slabnode: when a memory node is taken offline with `migrate` they go to another one by
 * themselves, and when memory is drained, sparsely filled slabs are vacated.
 */
#ifndef TABLE_H
#define TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TABLE_KEY_MAX 47 /* bytes of a key, without the terminating 0 */

struct table;

/* NULL with errno: no memory, or no cache left.  One cache a table: its name shows up in
 * `hotplugctl slabinfo`. */
struct table *table_create(const char *name, size_t buckets);
/* No other thread uses the table any more. */
void table_destroy(struct table *table);

/* 0, or -ENOMEM, or -E2BIG: the key is too long. */
int table_put(struct table *table, const char *key, uint64_t value);
bool table_get(struct table *table, const char *key, uint64_t *value);
bool table_remove(struct table *table, const char *key);

/* Calls fn for every node, one bucket locked at a time: it must not call the table. */
void table_each(struct table *table,
		void (*fn)(const void *node, const char *key, uint64_t value, void *arg),
		void *arg);

#ifdef __cplusplus
}
#endif

#endif
