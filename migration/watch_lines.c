#include "migration/watch_lines.h"

#include <stdbool.h>
#include <string.h>

#define HANDLE " fhandle-bytes:"

static bool begins(const char *line, const char *with)
{
	return strncmp(line, with, strlen(with)) == 0;
}

/* fanotify has lines of other kinds as well. */
static bool is_watch(const char *line)
{
	return begins(line, "inotify wd:") || begins(line, "fanotify ino:");
}

enum lx_watches lx_watch_lines(const char *text)
{
	enum lx_watches found = LX_WATCHES_NONE;

	for (const char *line = text; *line;) {
		const char *end = strchrnul(line, '\n');

		if (is_watch(line)) {
			if (!memmem(line, (size_t)(end - line), HANDLE, strlen(HANDLE)))
				return LX_WATCHES_INCOMPLETE;
			found = LX_WATCHES_COMPLETE;
		}
		line = *end ? end + 1 : end;
	}
	return found;
}
