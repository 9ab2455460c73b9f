/*
 * movable_table_cxx.cpp - the example's header, and the movable part of slabnode.h, from C++.
 */
#include "../../docs/examples/movable-table/table.h"

#include <slabnode.h>

#include <cstdlib>
#include <new>
#include <string>

namespace
{

struct Point {
	double x = 0, y = 0;
	bool used = false;
};

void check(bool ok)
{
	if (!ok)
		std::abort();
}

void *get(slabnode_cache *, unsigned int, void **, void *)
{
	return nullptr; /* not now, whenever */
}

void reclaim(const slabnode_reclaim *request, void *)
{
	for (unsigned int i = 0; i < request->count; i++)
		request->answers[i] = SLABNODE_WILL_NOT;
}

} // namespace

extern "C" void cxx_uses_the_table()
{
	table *t = table_create("c++", 64);
	std::string key = "from C++";
	uint64_t value = 0;
	char why[200];

	check(t && table_put(t, key.c_str(), 7) == 0);
	check(table_get(t, key.c_str(), &value) && value == 7);
	check(slabnode_offline(1, SLABNODE_MIGRATE, -1, why, sizeof(why)) == 0);
	check(slabnode_online(1, 0, why, sizeof(why)) == 0);
	check(table_remove(t, key.c_str()) && !table_get(t, key.c_str(), &value));
	table_destroy(t);

	slabnode_cache *points = slabnode_cache_create("points", sizeof(Point), alignof(Point),
						       [](void *p) { new (p) Point; });
	check(points && slabnode_cache_set_movable(points, get, reclaim, nullptr) == 0);
	check(slabnode_cache_set_movable(points, get, nullptr, nullptr) < 0);
	void *point = slabnode_cache_alloc_node(points, 1);
	check(point && !static_cast<Point *>(point)->used);
	check(slabnode_offline(1, SLABNODE_MIGRATE, -1, why, sizeof(why)) == 0);
	slabnode_cache_free(points, point);
	check(slabnode_cache_destroy(points) == 0);
}
