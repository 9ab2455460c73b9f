/*
 * operator new and delete in all forms, and what the C++ runtime promises when memory runs out:
 * bad_alloc, the new-handler called again and again, nullptr from the nothrow forms.
 */
#include "check.h"

#include <malloc.h>
#include <map>
#include <memory>
#include <new>
#include <pthread.h>
#include <string>
#include <sys/resource.h>
#include <thread>
#include <unordered_map>
#include <vector>

static void plain_one(size_t size)
{
	void *p = ::operator new(size);
	void *q = ::operator new[](size);

	CHECK(p && q && p != q);
	CHECK(((uintptr_t)p & 15) == 0 && ((uintptr_t)q & 15) == 0);
	fill(p, size, 1);
	fill(q, size, 2);
	CHECK_INTACT(p, size, 1);
	CHECK_INTACT(q, size, 2);
	::operator delete(p);
	::operator delete[](q);
}

static void plain()
{
	for (size_t size = 0; size < 4 * MIB; size = size * 2 + 1)
		plain_one(size);
	::operator delete(nullptr);
	::operator delete[](nullptr);
	::operator delete(nullptr, std::nothrow);
}

static void nothrow()
{
	for (size_t size = 0; size < 4 * MIB; size = size * 2 + 1) {
		void *p = ::operator new(size, std::nothrow);
		void *q = ::operator new[](size, std::nothrow);

		CHECK(p && q);
		fill(p, size, 1);
		fill(q, size, 2);
		CHECK_INTACT(p, size, 1);
		::operator delete(p, std::nothrow);
		::operator delete[](q, std::nothrow);
	}
}

static void sized()
{
	for (size_t size = 0; size < 4 * MIB; size = size * 2 + 1) {
		void *p = ::operator new(size);
		void *q = ::operator new[](size);

		CHECK(p && q);
		::operator delete(p, size);
		::operator delete[](q, size);
	}
}

static void aligned()
{
	for (size_t a = 1; a <= 1 << 20; a *= 2) {
		std::align_val_t al{a};

		for (size_t size = 0; size < 300000; size = size * 3 + 1) {
			void *p[4] = {::operator new(size, al), ::operator new[](size, al),
				      ::operator new(size, al, std::nothrow),
				      ::operator new[](size, al, std::nothrow)};

			for (unsigned i = 0; i < 4; i++) {
				CHECK(p[i] && (uintptr_t)p[i] % a == 0);
				fill(p[i], size, i);
			}
			for (unsigned i = 0; i < 4; i++)
				CHECK_INTACT(p[i], size, i);
			::operator delete(p[0], al);
			::operator delete[](p[1], size, al);
			::operator delete(p[2], al, std::nothrow);
			::operator delete[](p[3], al, std::nothrow);
		}
	}
	void *p = ::operator new (100, std::align_val_t{64});
	::operator delete (p, 100, std::align_val_t{64});
}

/* new with free and malloc with delete are undefined, but one heap keeps old programs alive. */
static void one_heap()
{
	for (size_t size = 1; size < MIB; size *= 3) {
		void *p = ::operator new(size);

		CHECK(malloc_usable_size(p) >= size);
		::operator delete(p);
		p = opaque(malloc(size));
		::operator delete(p);
	}
}

static const size_t too_much = (size_t)PTRDIFF_MAX - 4096;

template <typename F> static void must_throw(F f)
{
	bool caught = false;

	try {
		opaque(f());
	} catch (const std::bad_alloc &) {
		caught = true;
	}
	CHECK_MSG(caught, "no bad_alloc");
}

static void bad_alloc()
{
	size_t n = opaque_size(too_much);
	std::align_val_t al{256};

	for (int i = 0; i < 1000; i++) {
		must_throw([=] { return ::operator new(n); });
		must_throw([=] { return ::operator new[](n); });
		must_throw([=] { return ::operator new(n, al); });
		must_throw([=] { return ::operator new[](n, al); });
		CHECK(!opaque(::operator new(n, std::nothrow)));
		CHECK(!opaque(::operator new[](n, std::nothrow)));
		CHECK(!opaque(::operator new(n, al, std::nothrow)));
		CHECK(!opaque(::operator new[](n, al, std::nothrow)));
	}
	must_throw([=] { return ::operator new(opaque_size(SIZE_MAX)); });
	bool caught = false;
	try {
		opaque(new long[opaque_size(SIZE_MAX / 4)]);
	} catch (const std::bad_alloc &) {
		caught = true;
	}
	CHECK(caught);
}

static int handler_calls;

static void counting_handler()
{
	if (++handler_calls == 5)
		std::set_new_handler(nullptr);
}

struct own_error {
};

static void throwing_handler()
{
	if (++handler_calls == 3)
		throw own_error();
}

struct derived_bad_alloc : std::bad_alloc {
};

static void bad_handler()
{
	handler_calls++;
	throw derived_bad_alloc();
}

static void new_handler()
{
	size_t n = opaque_size(too_much);
	bool caught = false;

	std::set_new_handler(counting_handler);
	must_throw([=] { return ::operator new(n); });
	CHECK_MSG(handler_calls == 5, "the handler was called %d times", handler_calls);

	handler_calls = 0;
	std::set_new_handler(counting_handler);
	must_throw([=] { return ::operator new[](n, std::align_val_t{64}); });
	CHECK(handler_calls == 5);

	handler_calls = 0;
	std::set_new_handler(throwing_handler);
	try {
		opaque(::operator new[](n));
	} catch (const own_error &) {
		caught = true;
	}
	CHECK(caught && handler_calls == 3);
	std::set_new_handler(nullptr);
}

static void nothrow_handler()
{
	size_t n = opaque_size(too_much);

	std::set_new_handler(counting_handler);
	CHECK(!opaque(::operator new(n, std::nothrow)));
	CHECK(handler_calls == 5);
	handler_calls = 0;
	std::set_new_handler(bad_handler);
	CHECK(!opaque(::operator new(n, std::nothrow)));
	CHECK(!opaque(::operator new[](n, std::align_val_t{64}, std::nothrow)));
	CHECK(handler_calls == 2);
	std::set_new_handler(nullptr);
}

static void *reserve;

static void release_reserve()
{
	handler_calls++;
	if (!reserve)
		throw std::bad_alloc();
	free(reserve);
	reserve = nullptr;
}

/* The classic use: the handler gives up a reserve and the same new then succeeds. */
static void handler_reserve()
{
	std::vector<void *> held;
	struct rlimit rl = {(rlim_t)status_kib("VmSize:") * 1024 + 192 * MIB, RLIM_INFINITY};

	held.reserve(100000);
	reserve = malloc(64 * MIB);
	CHECK(reserve);
	CHECK(setrlimit(RLIMIT_AS, &rl) == 0);
	std::set_new_handler(release_reserve);
	try {
		while (held.size() < 100000)
			held.push_back(::operator new(MIB));
	} catch (const std::bad_alloc &) {
	}
	CHECK_MSG(handler_calls >= 2 && !reserve, "handler called %d times", handler_calls);
	CHECK_MSG(held.size() >= 96 && held.size() < 260, "%zu MiB were granted", held.size());
	std::set_new_handler(nullptr);
	for (void *p : held)
		::operator delete(p);
	void *again = ::operator new(32 * MIB);
	CHECK(again);
	::operator delete(again);
}

struct alignas(128) wide {
	char bytes[300];
};

static void containers()
{
	std::map<std::string, std::vector<wide>> m;
	std::unordered_map<uint64_t, std::shared_ptr<std::string>> h;
	uint64_t seed = 11;

	for (int i = 0; i < 20000; i++) {
		std::string key = std::to_string(rnd(&seed) % 500);
		std::vector<wide> &v = m[key];

		v.emplace_back();
		CHECK(((uintptr_t)&v.back() & 127) == 0);
		memset(v.back().bytes, (int)v.size(), sizeof(v.back().bytes));
		if (v.size() > 20)
			m.erase(key);
		h[rnd(&seed) % 3000] = std::make_shared<std::string>(i % 700, 'x');
	}
	for (auto &kv : m)
		for (size_t i = 0; i < kv.second.size(); i++)
			CHECK(kv.second[i].bytes[299] == (char)(i + 1));
	for (auto &kv : h)
		CHECK(kv.second->find_first_not_of('x') == std::string::npos);
}

static void exceptions()
{
	std::vector<std::thread> t;

	for (int k = 0; k < 4; k++) {
		t.emplace_back([] {
			for (int i = 0; i < 5000; i++) {
				try {
					throw std::string(i % 300, 'e');
				} catch (const std::string &s) {
					CHECK(s.size() == (size_t)(i % 300));
				}
			}
		});
	}
	for (auto &th : t)
		th.join();
}

static std::unique_ptr<std::vector<int>> leftover;

/* thread_local objects are destroyed late in a thread and free and allocate there. */
struct late {
	std::vector<char> data = std::vector<char>(1000, 'x');
	~late()
	{
		std::string s(3000, 'y');

		CHECK(data[999] == 'x' && s[2999] == 'y');
		data = std::vector<char>(5000, 'z');
	}
};

static thread_local late late_first;
static thread_local std::string late_second;

static void thread_local_dtors()
{
	long before = 0;

	for (int i = 0; i < 4000; i++) {
		std::thread([i] {
			late_first.data[0] = 'x';
			late_second.assign(2000, 'q');
			if (i % 2)
				free(opaque(malloc(20)));
		}).join();
		if (i == 400)
			before = rss_kib();
	}
	CHECK_MSG(rss_kib() - before < 4096, "RSS grew by %ld KiB", rss_kib() - before);
	leftover.reset(new std::vector<int>(10000));
}

static const struct row rows[] = {
	{"plain", plain},
	{"nothrow", nothrow},
	{"sized", sized},
	{"aligned", aligned},
	{"one-heap", one_heap},
	{"bad-alloc", bad_alloc},
	{"new-handler", new_handler},
	{"nothrow-handler", nothrow_handler},
	{"handler-reserve", handler_reserve},
	{"containers", containers},
	{"exceptions", exceptions},
	{"thread-local", thread_local_dtors},
};

int main(int argc, char **argv)
{
	return run_rows(argc, argv, rows, ARRAY_SIZE(rows));
}
