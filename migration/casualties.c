/* Processes are told apart by when they started; one that is ending counts as gone. */
#include "migration/casualties.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "migration/proc_text.h"

#define STATUS_MAX 16384u
#define EXITING    0x4u /* PF_EXITING, of field 9 of /proc/PID/stat: the kernel is ending it */
#define NAMES_MAX  5u

/* Who is stopped by CRIU's code has them all blocked but the two that cannot be, and the one it stopped by.
 */
#define BIT(sig)  (1ull << ((sig)-1))
#define ALL_BUT   (BIT(SIGKILL) | BIT(SIGSTOP) | BIT(SIGTRAP))
#define DEAF_MASK (~ALL_BUT)

struct lx_roll_entry {
	pid_t pid;
	uint64_t start;
	unsigned long inside; /* its number in the innermost namespace */
	uint64_t blocked;
	char name[16];
};

/* 0, or -ESRCH: gone, or going. */
static int read_stat(pid_t pid, struct lx_roll_entry *e)
{
	char path[64], line[1024];
	char state;
	unsigned flags;
	unsigned long long start;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (lx_read_line(path, line, sizeof(line)) < 0)
		return -ESRCH;
	const char *open = strchr(line, '('), *close = strrchr(line, ')');

	/* NOLINTBEGIN(cert-err34-c): the kernel's numbers */
	if (!open || !close ||
	    sscanf(close,
		   ") %c %*d %*d %*d %*d %*d %u %*u %*u %*u %*u %*u %*u %*d %*d %*d "
		   "%*d %*d %*d %llu",
		   &state, &flags, &start) != 3)
		return -ESRCH;
	/* NOLINTEND(cert-err34-c) */
	if (state == 'Z' || state == 'X' || (flags & EXITING))
		return -ESRCH;
	e->pid = pid;
	e->start = start;
	lx_proc_printable(open + 1, (size_t)(close - open - 1), e->name, sizeof(e->name));
	return 0;
}

static void read_status(pid_t pid, struct lx_roll_entry *e)
{
	lx_autobuf struct lx_buf text = { 0 };
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	if (lx_read_file(path, STATUS_MAX, &text, NULL) < 0)
		return;
	const char *inside = strstr(lx_buf_str(&text), "\nNSpid:"),
		   *blocked = strstr(lx_buf_str(&text), "\nSigBlk:");

	if (inside) {
		size_t n = strcspn(inside + 1, "\n") + 1;

		while (n > 0 && inside[n - 1] != '\t')
			n--;
		e->inside = strtoul(inside + n, NULL, 10);
	}
	if (blocked)
		e->blocked = strtoull(blocked + strlen("\nSigBlk:"), NULL, 16);
}

int lx_roll_take(const pid_t *pids, size_t n, struct lx_roll *ret, struct lx_err *err)
{
	*ret = (struct lx_roll){ .entries = calloc(n + 1, sizeof(*ret->entries)) };
	if (!ret->entries)
		return lx_err_oom(err);
	for (size_t i = 0; i < n; i++) {
		struct lx_roll_entry *e = &ret->entries[ret->n];

		if (read_stat(pids[i], e) < 0)
			continue;
		read_status(pids[i], e);
		ret->n++;
	}
	return 0;
}

static bool is_well(const struct lx_roll_entry *then)
{
	struct lx_roll_entry now = { .pid = 0 };

	if (read_stat(then->pid, &now) < 0 || now.start != then->start)
		return false;
	read_status(then->pid, &now);
	return now.blocked == then->blocked || now.blocked != DEAF_MASK;
}

size_t lx_roll_missing(const struct lx_roll *roll, char *names, size_t size)
{
	size_t missing = 0, at = 0;

	*names = '\0';
	for (size_t i = 0; i < roll->n; i++) {
		const struct lx_roll_entry *e = &roll->entries[i];

		if (is_well(e))
			continue;
		if (missing++ < NAMES_MAX && at < size)
			at += (size_t)snprintf(names + at, size - at, "%s%s (%lu)", at ? ", " : "", e->name,
					       e->inside);
	}
	if (missing > NAMES_MAX && at < size)
		snprintf(names + at, size - at, " and %zu more", missing - NAMES_MAX);
	return missing;
}

bool lx_roll_lives(const struct lx_roll *roll, pid_t pid)
{
	struct lx_roll_entry now = { .pid = 0 };

	for (size_t i = 0; i < roll->n; i++)
		if (roll->entries[i].pid == pid)
			return read_stat(pid, &now) == 0 && now.start == roll->entries[i].start;
	return false;
}

void lx_roll_release(struct lx_roll *roll)
{
	free(roll->entries);
	*roll = (struct lx_roll){ 0 };
}
