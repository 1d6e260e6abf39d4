/* Reading clocks. The clocks used here cannot fail on Linux. */
#include "lib/clock.h"

#include <stdio.h>
#include <time.h>

static uint64_t now(clockid_t id)
{
	struct timespec ts = { 0 };

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * LX_NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

uint64_t lx_now_realtime_ns(void)
{
	return now(CLOCK_REALTIME);
}

uint64_t lx_now_monotonic_ns(void)
{
	return now(CLOCK_MONOTONIC);
}

char *lx_time_rfc3339(uint64_t realtime_ns, char buf[LX_TIME_TEXT])
{
	/* 2^64 ns reach the year 2554: gmtime_r cannot overflow. */
	time_t t = (time_t)(realtime_ns / LX_NSEC_PER_SEC);
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(buf, LX_TIME_TEXT, "%Y-%m-%dT%H:%M:%SZ", &tm);
	return buf;
}
