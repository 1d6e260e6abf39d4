/* Time: one place that reads clocks, so that tests can look at it. */
#ifndef LX_LIB_CLOCK_H
#define LX_LIB_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#define LX_NSEC_PER_SEC  1000000000ULL
#define LX_NSEC_PER_MSEC 1000000ULL

uint64_t lx_now_realtime_ns(void); /* since the Unix epoch */
uint64_t lx_now_monotonic_ns(void);

/* "2026-01-31T12:00:00Z" (seconds) for a time since the epoch in ns. Returns buf. */
#define LX_TIME_TEXT 32
char *lx_time_rfc3339(uint64_t realtime_ns, char buf[LX_TIME_TEXT]);

#endif
