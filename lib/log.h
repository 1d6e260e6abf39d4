/*
 * Structured log lines on stderr (or to the journal when stderr is connected to it):
 *
 *   2026-01-31T12:00:00.123Z info  lxagentd: instance started instance=web1 pid=4711
 *
 * `msg` is a constant sentence, `fields` a printf format of logfmt pairs ("" for none).
 * Four verbs, no more. Library code (everything but agent/, lxmgr/, cli/) uses
 * lx_debug only. Never pass a secret. Never both log an error and return it.
 */
#ifndef LX_LIB_LOG_H
#define LX_LIB_LOG_H

enum lx_log_level {
	LX_LOG_ERROR,
	LX_LOG_WARN,
	LX_LOG_INFO,
	LX_LOG_DEBUG,
};

/* `program` is borrowed and must outlive the process' logging. */
void lx_log_init(const char *program, enum lx_log_level max);
/* "error", "warn", "info", "debug"; 0 or -EINVAL. */
int lx_log_parse_level(const char *s, enum lx_log_level *ret);
void lx_log(enum lx_log_level level, const char *msg, const char *fields, ...)
	__attribute__((format(printf, 3, 4)));

#define lx_error(msg, ...) lx_log(LX_LOG_ERROR, msg, __VA_ARGS__)
#define lx_warn(msg, ...)  lx_log(LX_LOG_WARN, msg, __VA_ARGS__)
#define lx_info(msg, ...)  lx_log(LX_LOG_INFO, msg, __VA_ARGS__)
#define lx_debug(msg, ...) lx_log(LX_LOG_DEBUG, msg, __VA_ARGS__)

#endif
