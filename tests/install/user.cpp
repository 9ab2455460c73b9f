// A C++ program as others write it: slabnode.h behind RAII, an allocator for containers, callbacks
// without captures. It is compiled in several dialects by several compilers (install.py), links the
// installed library and returns 0 when all of it works.
#include <slabnode.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#define REQUIRE(condition)                                                                         \
	do {                                                                                       \
		if (!(condition))                                                                  \
			return __LINE__;                                                           \
	} while (0)

namespace
{

// Memory of one node, for containers.
template <typename T> struct node_allocator {
	using value_type = T;
	int node;

	explicit node_allocator(int from) : node(from)
	{
	}
	template <typename U> node_allocator(const node_allocator<U> &other) : node(other.node)
	{
	}
	T *allocate(std::size_t n)
	{
		if (void *p = slabnode_malloc_node(n * sizeof(T), node))
			return static_cast<T *>(p);
		throw std::bad_alloc();
	}
	void deallocate(T *p, std::size_t)
	{
		std::free(p);
	}
	template <typename U> bool operator==(const node_allocator<U> &other) const
	{
		return node == other.node;
	}
	template <typename U> bool operator!=(const node_allocator<U> &other) const
	{
		return node != other.node;
	}
};

struct cache_deleter {
	void operator()(slabnode_cache *cache) const
	{
		slabnode_cache_destroy(cache);
	}
};

struct heard {
	int going, offline, online;
};

int containers()
{
	std::vector<long, node_allocator<long>> numbers((node_allocator<long>(2)));

	for (long i = 0; i < 10000; i++)
		numbers.push_back(i);
	REQUIRE(slabnode_node_of(numbers.data()) == 2);
	try {
		std::vector<long, node_allocator<long>> none(10, 0, node_allocator<long>(99));
		return __LINE__;
	} catch (const std::bad_alloc &) {
		REQUIRE(errno == ENODEV);
	}
	return 0;
}

int caches()
{
	std::unique_ptr<slabnode_cache, cache_deleter> cache(slabnode_cache_create(
		"cxx", 100, 64, [](void *object) { std::memset(object, 7, 100); }));
	void *object;

	REQUIRE(cache != nullptr);
	object = slabnode_cache_alloc_node(cache.get(), 1);
	REQUIRE(object != nullptr && static_cast<char *>(object)[99] == 7);
	REQUIRE(slabnode_node_of(object) == 1);
	REQUIRE(slabnode_cache_destroy(cache.get()) == -EBUSY);
	slabnode_cache_free(cache.get(), object);
	REQUIRE(slabnode_cache_set_movable(cache.get(), nullptr, nullptr, nullptr) == 0);
	REQUIRE(slabnode_cache_create(nullptr, 100, 0, nullptr) == nullptr && errno == EINVAL);
	// What comes of one that was not created.
	errno = 0;
	REQUIRE(slabnode_cache_alloc(nullptr) == nullptr && errno == EINVAL);
	errno = 0;
	REQUIRE(slabnode_cache_alloc_node(nullptr, 1) == nullptr && errno == EINVAL);
	REQUIRE(slabnode_cache_shrink(nullptr) == 0 && slabnode_cache_destroy(nullptr) == 0);
	return 0;
}

int lifecycle()
{
	heard told = {0, 0, 0};
	char why[256];
	int id = slabnode_register_memory_notifier(
		"cxx", 0,
		[](slabnode_mem_action action, const slabnode_memory_notify *notify, void *data) {
			heard *to = static_cast<heard *>(data);

			if (notify->node != 3)
				return 0;
			to->going += action == SLABNODE_MEM_GOING_OFFLINE;
			to->offline += action == SLABNODE_MEM_OFFLINE;
			to->online += action == SLABNODE_MEM_ONLINE;
			return 0;
		},
		&told);

	REQUIRE(id > 0);
	REQUIRE(slabnode_offline(3, SLABNODE_MIGRATE, 1000, why, sizeof(why)) == 0);
	REQUIRE(slabnode_node_state(3) == SLABNODE_OFFLINE);
	REQUIRE(slabnode_malloc_node(10, 3) == nullptr && errno == EBUSY);
	REQUIRE(slabnode_online(3, 1, nullptr, 0) == 0);
	REQUIRE(slabnode_unregister_notifier(id) == 0);
	REQUIRE(told.going == 1 && told.offline == 1 && told.online == 1);
	return 0;
}

int threads()
{
	int error = 0;
	std::thread worker([&error] {
		std::vector<std::unique_ptr<int>> kept;

		error = slabnode_prefer_node(1);
		for (int i = 0; i < 1000; i++)
			kept.emplace_back(new int(i));
		if (slabnode_node_of(kept.back().get()) != 1)
			error = -1;
	});

	worker.join();
	REQUIRE(error == 0);
	return 0;
}

} // namespace

int main()
{
	int (*const steps[])() = {containers, caches, lifecycle, threads};

	for (auto step : steps)
		if (int line = step())
			return line;
	return 0;
}
