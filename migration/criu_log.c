/*
 * CRIU's log, read for its last error. Lines look like
 *
 *   (00.260217) Error (criu/mount.c:724): mnt: FS mnt ./x dev 0x33 root / unsupported id 164
 *
 * and the very last one mostly says no more than "Dumping FAILED.".
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "migration/criu.h"

#define ERROR_MARK "Error ("
#define LINE_MAX   400

/* What CRIU says in passing, also when all goes well. */
static const char *const noise[] = {
	"Dumping FAILED",  "Restoring FAILED",        "Can't setup RLIMIT_NOFILE",
	"Unable to wait",  "exited, status=",         "killed by signal",
	"cg: Unable to",   "Aborting restore due to", "Killing processes",
	"Timeout reached",
};

#define PASSES "It passes by itself: try again. If it does not, move it with a short stop, --live=off."

static const struct {
	const char *says, *hint;
	bool passes;
} known[] = {
	/* criu/sk-netlink.c, criu/sk-unix.c, criu/sk-queue.c: what a process is about to take; criu/pidfd.c:
	   of one that was started from outside, and is about to be gone. */
	{ "The socket has data to read", PASSES, true },
	{ "is not a part of process tree", PASSES, true },
	{ "In-flight connection on", PASSES, true },
	{ "Non-empty write queue on an in-flight socket", PASSES, true },
	{ "Found a closed in-flight socket", PASSES, true },
	{ "Control messages in queue", PASSES, true },
	{ "Unseizable non-zombie", PASSES, true }, /* compel: it did not stop in the time it has */
	{ "More than 1 SCM", PASSES, true },
	{ "Unexpected 2nd SCM_RIGHTS", PASSES, true },
	{ "unsupported id", "A file system is mounted inside that cannot be carried: unmount it first.",
	  false },
	{ "Can't dump nested",
	  "A service inside has namespaces of its own that cannot be carried: lxmgr move "
	  "--check names it.",
	  false },
	{ "external socket", "A process is connected to a unix socket outside: stop it first.", false },
	{ "is too big", "A deleted file that is still open is too large to be carried: restart its process.",
	  false },
	{ "Connected TCP socket", "Established connections could not be carried; try again.", false },
	{ "Can't lookup mount",
	  "A file is open on a file system that is mounted nowhere any more: restart "
	  "its process.",
	  false },
	{ "No space left", "Memory for the dump ran out on the node: free some, or move with --live=off.",
	  false },
	{ "Cannot allocate memory", "Memory ran out on the node: free some, or move with --live=off.",
	  false },
};

static bool is_noise(const char *line)
{
	for (size_t i = 0; i < LX_ARRAY_SIZE(noise); i++)
		if (strstr(line, noise[i]))
			return true;
	return false;
}

/* Copies the text behind "Error (file:line): ". */
static bool take_error(const char *line, size_t len, char out[LINE_MAX])
{
	char copy[LINE_MAX];

	snprintf(copy, sizeof(copy), "%.*s", (int)(len < sizeof(copy) ? len : sizeof(copy) - 1), line);
	const char *mark = strstr(copy, ERROR_MARK);
	const char *text = mark ? strstr(mark, "): ") : NULL;

	if (!text || is_noise(text))
		return false;
	snprintf(out, LINE_MAX, "%s", text + 3);
	return true;
}

/* Before it has a log CRIU complains in plain words, the reason last. What it says in passing is none. */
static void last_line(const char *text, char out[LINE_MAX])
{
	for (const char *line = text; line && *line;) {
		char copy[LINE_MAX];
		size_t n = strcspn(line, "\n");

		snprintf(copy, sizeof(copy), "%.*s", (int)(n < LINE_MAX ? n : LINE_MAX - 1), line);
		if (*copy && !is_noise(copy))
			memcpy(out, copy, sizeof(copy));
		line += n + (line[n] == '\n');
	}
}

int lx_criu_explain(const char *log, const char *doing, struct lx_err *err)
{
	char first[LINE_MAX] = "";

	/* The first error is the cause, those after it follow from it. */
	for (const char *line = log; line && *line && !*first;) {
		const char *end = strchr(line, '\n');

		(void)take_error(line, end ? (size_t)(end - line) : strlen(line), first);
		line = end ? end + 1 : NULL;
	}
	if (!*first)
		last_line(log, first);
	if (!*first)
		snprintf(first, sizeof(first), "%s",
			 log && strstr(log, "FAILED") ? "it failed without a word"
						      : "it ended without a word, as one that is killed");
	int r = lx_err_set(err, LX_FAILED_PRECONDITION, "CRIU cannot %s: %s", doing, first);

	for (size_t i = 0; i < LX_ARRAY_SIZE(known); i++)
		if (strstr(first, known[i].says)) {
			lx_err_hint(err, "%s", known[i].hint);
			return known[i].passes ? -EAGAIN : r;
		}
	return r;
}
