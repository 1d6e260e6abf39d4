/*
 * Signs of life that services of a restored guest owe their manager (sd_notify(3), WatchdogSec= of
 * systemd.service(5)). One that comes before the manager has asked anew who is who (managers.h) is refused,
 * and it is not said again before half of the time is over that it has: the service is killed then, minutes
 * after a move. Those that are due now are due a moment later, when the manager is at it.
 */
#ifndef LX_MIGRATION_KEEPALIVES_H
#define LX_MIGRATION_KEEPALIVES_H

#include <stddef.h>
#include <sys/types.h>

/* At most so long, and no longer than a quarter of what the watchdog allows. */
#define LX_KEEPALIVE_MS 500u

/*
 * Of these processes, which stand still: the timers (timerfd_create(2), by which sd-event(3) keeps time) of
 * those that have a watchdog. Returns how many were put off.
 */
unsigned lx_keepalives_put_off(const pid_t *pids, size_t n);

#endif
