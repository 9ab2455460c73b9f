/*
 * The rows of caches on the live screen: summed up over the nodes or not, in the order that was
 * asked for. Rows that are equal in it stay in the order of names, so that they do not change
 * places from one second to the next.
 */
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "table.h"
#include "top.h"
#include "util.h"

static const char order_keys[NR_ORDERS] = {
	[BY_BYTES] = 'b', [BY_USE] = 'u',    [BY_ACTIVE] = 'a', [BY_TOTAL] = 't',
	[BY_SIZE] = 's',  [BY_CACHED] = 'c', [BY_NAME] = 'n',
};

/* The same key again turns the order round. */
bool choose_order(struct top_view *view, int key)
{
	for (int order = 0; order < NR_ORDERS; order++) {
		if (key != order_keys[order])
			continue;
		view->reversed = view->order == (enum top_order)order && !view->reversed;
		view->order = (enum top_order)order;
		view->first_cache = 0;
		return true;
	}
	return false;
}

static double figure(const struct cache_row *row, enum top_order order)
{
	switch (order) {
	case BY_BYTES:
		return (double)row->total * (double)row->size;
	case BY_USE:
		return row->total ? (double)row->active / (double)row->total : 0;
	case BY_ACTIVE:
		return (double)row->active;
	case BY_TOTAL:
		return (double)row->total;
	case BY_SIZE:
		return (double)row->size;
	case BY_CACHED:
		return (double)row->cached;
	default:
		return 0;
	}
}

/* Largest first, names from A to Z. */
static int compare(const void *left, const void *right, void *data)
{
	const struct cache_row *a = left, *b = right;
	const struct top_view *view = data;
	double one = figure(a, view->order), other = figure(b, view->order);
	int result = (one < other) - (one > other);

	if (!result)
		result = strverscmp(a->name, b->name);
	if (!result)
		result = a->node - b->node;
	return view->reversed ? -result : result;
}

static struct cache_row *find_row(struct cache_rows *rows, const char *name, int node)
{
	for (size_t i = rows->count; i-- > 0;)
		if (rows->items[i].node == node && !strcmp(rows->items[i].name, name))
			return &rows->items[i];
	rows->items = grow(rows->items, (rows->count + 1) * sizeof(*rows->items));
	rows->items[rows->count] = (struct cache_row){.name = name, .node = node};
	return &rows->items[rows->count++];
}

static void add_cache(struct cache_rows *rows, const json_t *cache, bool by_node)
{
	const char *name = field_text(cache, "cache");
	int node = by_node ? (int)field_count(cache, "node") : -1;
	struct cache_row *row = find_row(rows, name ? name : "?", node);

	row->size = field_count(cache, "object_size");
	row->active += field_count(cache, "active_objects");
	row->total += field_count(cache, "total_objects");
	row->slabs += field_count(cache, "slabs_full") + field_count(cache, "slabs_partial") +
		      field_count(cache, "slabs_free");
	row->cached += field_count(cache, "cpu_arrays") + field_count(cache, "shared") +
		       field_count(cache, "alien");
}

/* The names belong to the reply. The caller frees the items. */
void sort_caches(const struct top_view *view, struct cache_rows *rows)
{
	const json_t *caches = field_array(view->caches, "caches");

	*rows = (struct cache_rows){0};
	for (size_t i = 0; i < json_array_size(caches); i++)
		if (cache_used(json_array_get(caches, i)))
			add_cache(rows, json_array_get(caches, i), view->by_node);
	if (rows->count)
		qsort_r(rows->items, rows->count, sizeof(*rows->items), compare, (void *)view);
}
