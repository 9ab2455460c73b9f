/*
 * test_sites.c - the sample of allocation sites: who allocated what lives on a node.
 *
 * Stacks are given, not walked: a frame is whatever site_now says.
 */
#include "unit.h"

#include "sites.h"

#include <sys/wait.h>

#define NODE FIRST

static _Thread_local uintptr_t site_now;

static unsigned int given_stack(void **frame, unsigned int max)
{
	CHECK(max >= 2);
	frame[0] = (void *)site_now;
	frame[1] = (void *)0x1000;
	/* Unwinding may allocate. */
	sn_free(sn_malloc(100));
	return site_now == 0 ? 0 : 2;
}

static void begin(uint64_t mean)
{
	sn_stack_hook = given_stack;
	unit_sample = mean;
	unit_start(2);
}

static struct sn_sites_summary summary;

/* What the table says of a site. */
static struct sn_site site_of(unsigned int node, uintptr_t frame)
{
	static struct sn_site sites[10000];
	unsigned int n = sn_sites_of(node, sites, SN_ARRAY_SIZE(sites), &summary);

	for (unsigned int i = 0; i < n; i++) {
		CHECK(i == 0 || sites[i].bytes <= sites[i - 1].bytes);
		if (frame == 0 ? sites[i].nr_frames == 0 : sites[i].frame[0] == (void *)frame)
			return sites[i];
	}
	return (struct sn_site){0};
}

static void *from(uintptr_t site, size_t size)
{
	void *p;

	site_now = site;
	p = sn_malloc(size);
	CHECK(p != NULL);
	return p;
}

static bool about(uint64_t estimate, uint64_t truth, unsigned int percent)
{
	return estimate * 100 > truth * (100 - percent) && estimate * 100 < truth * (100 + percent);
}

UNIT_TEST(every_object_with_a_mean_of_one)
{
	static void *p[1000];
	void *other = NULL;

	begin(1);
	for (unsigned int i = 0; i < 1000; i++)
		p[i] = from(0x10 + i % 2, i % 2 == 0 ? 64 : 5000);
	CHECK_EQUAL(site_of(NODE, 0x10).objects, 500);
	CHECK_EQUAL(site_of(NODE, 0x10).bytes, 500 * 64);
	CHECK_EQUAL(site_of(NODE, 0x11).bytes, 500 * sn_usable_size(p[1]));
	CHECK_EQUAL(site_of(NODE, 0x11).nr_frames, 2);
	CHECK_EQUAL(site_of(NODE + 1, 0x10).objects, 0);
	site_now = 0x20;
	CHECK((other = sn_malloc_node(64, NODE + 1)) != NULL);
	CHECK_EQUAL(site_of(NODE, 0x20).objects, 0);
	CHECK_EQUAL(site_of(NODE + 1, 0x20).objects, 1);
	site_now = 0;
	sn_free(other);
	other = sn_malloc(10);
	CHECK_EQUAL(site_of(NODE, 0).objects, 1);
	for (unsigned int i = 0; i < 1000; i += 2)
		sn_free(p[i]);
	CHECK_EQUAL(site_of(NODE, 0x10).objects, 0);
	CHECK_EQUAL(site_of(NODE, 0x11).objects, 500);
	for (unsigned int i = 1; i < 1000; i += 2)
		sn_free(p[i]);
	CHECK_EQUAL(site_of(NODE, 0x11).objects, 0);
	CHECK_EQUAL(summary.dropped, 0);
	sn_free(other);
}

UNIT_TEST(realloc_keeps_or_samples_again)
{
	void *p;

	begin(1);
	p = from(0x10, 1000);
	site_now = 0x11;
	CHECK(sn_realloc(p, 900) == p);
	CHECK_EQUAL(site_of(NODE, 0x10).bytes, sn_usable_size(p));
	p = sn_realloc(p, 20000);
	CHECK_EQUAL(site_of(NODE, 0x10).objects, 0);
	CHECK_EQUAL(site_of(NODE, 0x11).bytes, sn_usable_size(p));
	site_now = 0x12;
	p = sn_realloc(p, 100000);
	CHECK_EQUAL(site_of(NODE, 0x12).bytes, sn_usable_size(p));
	site_now = 0x13;
	CHECK(sn_realloc(p, 80000) == p); /* shrinks where it is */
	CHECK_EQUAL(site_of(NODE, 0x12).bytes, sn_usable_size(p));
	CHECK_EQUAL(site_of(NODE, 0x13).objects, 0);
	for (size_t size = 10 * MIB; size < 200 * MIB; size += size / 2) {
		void *q = sn_realloc(p, size);

		CHECK(q != NULL);
		CHECK_EQUAL(site_of(NODE, 0x12).bytes + site_of(NODE, 0x13).bytes,
			    sn_usable_size(q));
		p = q;
	}
	sn_free(p);
	CHECK_EQUAL(site_of(NODE, 0x12).objects + site_of(NODE, 0x13).objects, 0);
}

/* Sizes far below, about and far above the mean. */
UNIT_TEST(estimates_are_unbiased)
{
	static const size_t sizes[] = {16, 400, 3000, 30000, 300000};
	static void *p[5][200000];
	unsigned int count[5];

	begin(16384);
	for (unsigned int s = 0; s < 5; s++) {
		count[s] = (unsigned int)sn_min(48 * MIB / sizes[s], (size_t)200000);
		for (unsigned int i = 0; i < count[s]; i++)
			p[s][i] = from(0x10 + s, sizes[s]);
	}
	/* 3 MiB of the smallest are 195 samples, a deviation of 7 %. */
	for (unsigned int s = 0; s < 5; s++) {
		struct sn_site site = site_of(NODE, 0x10 + s);
		unsigned int percent = s == 0 ? 35 : 12;

		if (!about(site.objects, count[s], percent) ||
		    !about(site.bytes, count[s] * sn_usable_size(p[s][0]), percent))
			unit_fail(__FILE__, __LINE__, "size %zu: %llu objects, not %u", sizes[s],
				  (unsigned long long)site.objects, count[s]);
	}
	for (unsigned int s = 0; s < 5; s++)
		for (unsigned int i = 0; i < count[s]; i++)
			sn_free(p[s][i]);
	for (unsigned int s = 0; s < 5; s++)
		CHECK_EQUAL(site_of(NODE, 0x10 + s).objects, 0);
}

UNIT_TEST(all_have_room_when_all_are_sampled)
{
	static void *p[120000];

	begin(1);
	for (unsigned int i = 0; i < 9000; i++)
		p[i] = from(0x10000 + i, 16);
	CHECK_EQUAL(site_of(NODE, 0x10000).objects, 1);
	CHECK_EQUAL(site_of(NODE, 0).objects, 9000 - 8191); /* of stacks there is a limit */
	for (unsigned int i = 9000; i < SN_ARRAY_SIZE(p); i++)
		p[i] = from(0x10000, i % 100 == 0 ? 100000 : 16);
	CHECK_EQUAL(site_of(NODE, 0x10000).objects, SN_ARRAY_SIZE(p) - 8999);
	CHECK_EQUAL(summary.dropped, 0);
	for (unsigned int i = 0; i < SN_ARRAY_SIZE(p); i++)
		sn_free(p[i]);
	CHECK_EQUAL(site_of(NODE, 0x10000).objects, 0);
	CHECK_EQUAL(site_of(NODE, 0).objects, 0);
}

UNIT_TEST(what_has_no_room_is_counted)
{
	static void *p[120000];
	uint64_t known;

	begin(2); /* of objects of 64 bytes none is passed over, but for one in e^32 */
	for (unsigned int i = 0; i < SN_ARRAY_SIZE(p); i++)
		p[i] = from(0x10000, 64);
	known = site_of(NODE, 0x10000).objects;
	CHECK(known > 60000 && known < 90000);
	CHECK_EQUAL(known + summary.dropped, SN_ARRAY_SIZE(p));
	for (unsigned int i = 0; i < SN_ARRAY_SIZE(p); i++)
		sn_free(p[i]);
	CHECK_EQUAL(site_of(NODE, 0x10000).objects, 0);
	p[0] = from(0x10000, 64); /* there is room again */
	CHECK_EQUAL(site_of(NODE, 0x10000).objects, 1);
}

static _Atomic bool ends;

static void *churn(void *arg)
{
	uint64_t seed = (uintptr_t)arg;
	void *p[300] = {NULL};

	while (!atomic_load(&ends)) {
		unsigned int i = unit_random(&seed) % SN_ARRAY_SIZE(p);

		sn_free(p[i]);
		p[i] = from(0x10 + unit_random(&seed) % 300,
			    1 + unit_random(&seed) % (i % 50 == 0 ? 100000 : 300));
		if (i % 8 == 0)
			p[i] = sn_realloc(p[i], 1 + unit_random(&seed) % 60000);
	}
	for (unsigned int i = 0; i < SN_ARRAY_SIZE(p); i++)
		sn_free(p[i]);
	return NULL;
}

static void churn_for_a_while(void)
{
	pthread_t thread[4];

	for (uintptr_t i = 0; i < 4; i++)
		CHECK(pthread_create(&thread[i], NULL, churn, (void *)(i + 1)) == 0);
	for (unsigned int i = 0; i < 50; i++) {
		site_of(NODE, 1);
		usleep(5000);
	}
	atomic_store(&ends, true);
	for (unsigned int i = 0; i < 4; i++)
		CHECK(pthread_join(thread[i], NULL) == 0);
}

static void check_nothing_is_left(void)
{
	struct sn_site site[1];

	for_each_node(n)
		CHECK_EQUAL(sn_sites_of(n, site, 1, &summary), 0);
	CHECK_EQUAL(summary.dropped, 0);
}

/* Every object that was sampled is taken out again, whoever frees it and while others ask. */
UNIT_TEST(threads_leave_nothing_behind)
{
	begin(1);
	churn_for_a_while();
	check_nothing_is_left();
}

UNIT_TEST(threads_leave_nothing_behind_with_a_mean)
{
	begin(1000);
	churn_for_a_while();
	check_nothing_is_left();
}

UNIT_TEST(a_child_goes_on)
{
	pthread_t thread[3];
	void *p;

	begin(1);
	p = from(0x5000, 64);
	for (uintptr_t i = 0; i < 3; i++)
		CHECK(pthread_create(&thread[i], NULL, churn, (void *)(i + 1)) == 0);
	for (unsigned int i = 0; i < 20; i++) {
		pid_t pid = unit_fork(NULL);

		if (pid == 0) {
			CHECK_EQUAL(site_of(NODE, 0x5000).objects, 1);
			sn_free(p);
			CHECK_EQUAL(site_of(NODE, 0x5000).objects, 0);
			sn_free(from(0x5001, 3000));
			_exit(0);
		}
		unit_child_ends(pid);
	}
	atomic_store(&ends, true);
	for (unsigned int i = 0; i < 3; i++)
		CHECK(pthread_join(thread[i], NULL) == 0);
}

UNIT_TEST(off_it_does_nothing)
{
	begin(0);
	sn_free(from(0x10, 64));
	CHECK(sn_self.fast != NULL || unit_locked);
	CHECK_EQUAL(site_of(NODE, 0x10).objects, 0);
	CHECK_EQUAL(summary.mean, 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_object_with_a_mean_of_one),
		cmocka_unit_test(realloc_keeps_or_samples_again),
		cmocka_unit_test(estimates_are_unbiased),
		cmocka_unit_test(all_have_room_when_all_are_sampled),
		cmocka_unit_test(what_has_no_room_is_counted),
		cmocka_unit_test(threads_leave_nothing_behind),
		cmocka_unit_test(threads_leave_nothing_behind_with_a_mean),
		cmocka_unit_test(a_child_goes_on),
		cmocka_unit_test(off_it_does_nothing),
	};

	unit_arguments(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
