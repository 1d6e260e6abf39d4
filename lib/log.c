/*
 * One log line, one write(2): lines of several threads and processes do not mix, and
 * nothing is buffered when the process dies. A line that is too long is cut. When the
 * journal reads our stderr it stamps the time itself, so the line starts with the
 * syslog priority it understands ("<3>") instead. Logging never fails towards the caller.
 */
#include "lib/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"

#define LOG_LINE_MAX 2048 /* below PIPE_BUF: a write to a pipe stays whole */

static const struct {
	const char *name;
	int priority;
} levels[] = {
	[LX_LOG_ERROR] = { "error", LOG_ERR },
	[LX_LOG_WARN] = { "warn", LOG_WARNING },
	[LX_LOG_INFO] = { "info", LOG_INFO },
	[LX_LOG_DEBUG] = { "debug", LOG_DEBUG },
};

static const char *log_program = "lxmgr";
static enum lx_log_level log_max = LX_LOG_INFO;
static bool log_journal;

/* JOURNAL_STREAM is "<device>:<inode>" of what the service manager gave us as stderr. */
static bool stderr_is_journal(void)
{
	const char *s = getenv("JOURNAL_STREAM");
	char *end = NULL;
	struct stat st;

	if (!s || fstat(STDERR_FILENO, &st) < 0)
		return false;
	uintmax_t dev = strtoumax(s, &end, 10);

	return *end == ':' && st.st_dev == (dev_t)dev && st.st_ino == (ino_t)strtoumax(end + 1, NULL, 10);
}

void lx_log_init(const char *program, enum lx_log_level max)
{
	log_program = program;
	log_max = max;
	log_journal = stderr_is_journal();
}

int lx_log_parse_level(const char *s, enum lx_log_level *ret)
{
	for (size_t i = 0; s && i < LX_ARRAY_SIZE(levels); i++) {
		if (strcmp(s, levels[i].name) == 0) {
			*ret = (enum lx_log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

static int prefix(char *line, size_t n, enum lx_log_level level)
{
	if (log_journal)
		return snprintf(line, n, "<%d>", levels[level].priority);

	uint64_t t = lx_now_realtime_ns();
	char stamp[LX_TIME_TEXT];

	lx_time_rfc3339(t, stamp);
	stamp[strlen(stamp) - 1] = '\0'; /* milliseconds go between the seconds and the Z */
	return snprintf(line, n, "%s.%03uZ %-5s %s: ", stamp,
			(unsigned)(t % LX_NSEC_PER_SEC / LX_NSEC_PER_MSEC), levels[level].name, log_program);
}

/* What snprintf wrote into a space of n bytes, whatever it wished to write. */
static size_t written(int r, size_t n)
{
	if (r < 0)
		return 0;
	return (size_t)r < n ? (size_t)r : n - 1;
}

void lx_log(enum lx_log_level level, const char *msg, const char *fields, ...)
{
	if (level > log_max)
		return;

	int saved = errno;
	char line[LOG_LINE_MAX];
	size_t room = sizeof(line) - 1; /* the newline */
	size_t len = written(prefix(line, room, level), room);
	size_t body = len;

	len += written(snprintf(line + len, room - len, "%s", msg), room - len);
	if (fields[0]) {
		va_list ap;

		va_start(ap, fields);
		len += written(snprintf(line + len, room - len, " "), room - len);
		len += written(vsnprintf(line + len, room - len, fields, ap), room - len);
		va_end(ap);
	}
	/* Foreign text in a field must not forge a second line. */
	for (size_t i = body; i < len; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = ' ';
	line[len++] = '\n';

	/* Nobody to tell when stderr is gone. */
	ssize_t ignored = write(STDERR_FILENO, line, len);

	(void)ignored;
	errno = saved;
}
