/*
 * What the dlopen row loads and unloads: a C++ library with static objects, whose constructors and
 * destructors allocate, and thread-local storage, which the loader allocates at a thread's first
 * use. (A thread-local object with a destructor would pin the library until the thread ends.)
 * The deepbind row hands objects in and out.
 */
#include <cstdlib>
#include <mutex>
#include <string>
#include <vector>

static std::mutex lock;
static std::vector<std::string> names(100, std::string(100, 'n'));
static thread_local char mine[5000] = "t";

extern "C" int plugin_work(int n);
extern "C" char *plugin_exchange(char *old, size_t size);

/* Frees what somebody else has allocated, and the other way round. */
char *plugin_exchange(char *old, size_t size)
{
	free(old);
	return static_cast<char *>(malloc(size));
}

int plugin_work(int n)
{
	std::lock_guard<std::mutex> guard(lock);

	mine[n % 4999 + 1] = 'u';
	if (names.size() > 200)
		names.resize(100);
	names.emplace_back(300, mine[0]);
	return (int)names.back().size();
}
