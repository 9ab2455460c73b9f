/*
 * A program with operators new and delete of its own: its definitions win over a preloaded
 * library's, for its own code and for what the C++ runtime allocates on its behalf.
 */
#include "check.h"

#include <atomic>
#include <new>
#include <sstream>
#include <string>

static std::atomic<long> news, deletes;

/* A header makes a mix-up with anybody else's operators visible at once. */
static const uint64_t magic = 0x736c61626e6f6465ULL;

void *operator new(size_t size)
{
	uint64_t *p = static_cast<uint64_t *>(malloc(size + 16));

	if (!p)
		throw std::bad_alloc();
	p[0] = magic;
	news++;
	return p + 2;
}

void operator delete(void *ptr) noexcept
{
	uint64_t *p = static_cast<uint64_t *>(ptr);

	if (!p)
		return;
	CHECK_MSG(p[-2] == magic, "delete of what another new gave");
	p[-2] = 0;
	deletes++;
	free(p - 2);
}

void operator delete(void *ptr, size_t) noexcept
{
	operator delete(ptr);
}

static void own()
{
	long before = news, freed = deletes;

	for (int i = 0; i < 1000; i++) {
		std::string s(500, 'a');
		std::ostringstream out;
		int *a = new int[100];

		out << s << i;
		CHECK(out.str().size() > 500);
		opaque(a);
		delete[] a;
	}
	CHECK_MSG(news - before >= 3000, "only %ld of the program's own new were called",
		  news - before);
	CHECK(deletes - freed == news - before);
}

static const struct row rows[] = {{"own", own}};

int main(int argc, char **argv)
{
	return run_rows(argc, argv, rows, ARRAY_SIZE(rows));
}
