/*
 * A service that its systemd watches (sd_notify(3), WatchdogSec= of systemd.service(5)): it says that it is
 * ready, and from then on many times a second, by a timer, that it is well. If that does not come to be heard
 * it is killed.
 *
 * Linked statically: the guest has another libc, or none.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define TICK_MS 20

int main(void)
{
	struct sockaddr_un where = { .sun_family = AF_UNIX };
	const char *path = getenv("NOTIFY_SOCKET"), *word = "READY=1";
	const struct itimerspec every = { { .tv_nsec = TICK_MS * 1000000L },
					  { .tv_nsec = TICK_MS * 1000000L } };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0),
	    timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	uint64_t ticks;

	if (!path || strlen(path) >= sizeof(where.sun_path) || fd < 0) {
		fputs("watched: there is no NOTIFY_SOCKET\n", stderr);
		return 1;
	}
	memcpy(where.sun_path, path, strlen(path));
	if (timer < 0 || timerfd_settime(timer, 0, &every, NULL) < 0) {
		perror("watched: timer");
		return 1;
	}
	for (;; word = "WATCHDOG=1") {
		if (sendto(fd, word, strlen(word), 0, (const struct sockaddr *)&where, sizeof(where)) < 0)
			perror("watched: sendto");
		if (read(timer, &ticks, sizeof(ticks)) != sizeof(ticks)) {
			perror("watched: timer");
			return 1;
		}
	}
}
