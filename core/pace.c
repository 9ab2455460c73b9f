/*
 * pace.c - see pace.h.
 */
#include "pace.h"

#include <time.h>

uint64_t sn_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void sn_pace_end(struct sn_pace *pace, uint64_t begin_ns)
{
	uint64_t took;

	if (pace == NULL)
		return;
	took = sn_now_ns() - begin_ns;
	pace->longest_ns = sn_max(pace->longest_ns, took);
	if (took > pace->wanted_ns && pace->batch > SN_PACE_LEAST)
		pace->batch /= 2;
	else if (took < pace->wanted_ns / 4 && pace->batch < SN_PACE_MOST)
		pace->batch *= 2;
}
