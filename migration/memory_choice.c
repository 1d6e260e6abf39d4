#include "migration/memory_choice.h"

#include <stdarg.h>
#include <stdio.h>

#include "lib/str.h"
#include "migration/soft_dirty.h"
#include "migration/write_track.h"

static const char no_scan[] = "this kernel has no asynchronous write protection (PAGEMAP_SCAN, Linux 6.7)";

__attribute__((format(printf, 2, 3))) static void say(char why[LX_MEMORY_REASON_MAX], const char *fmt, ...)
{
	va_list ap;

	if (!why)
		return;
	va_start(ap, fmt);
	vsnprintf(why, LX_MEMORY_REASON_MAX, fmt, ap);
	va_end(ap);
}

Lxmgr__V1__MoveMemory lx_memory_choice(const char *wanted, uint64_t bytes, char why[LX_MEMORY_REASON_MAX])
{
	bool asked = wanted && !lx_streq(wanted, "auto");

	if (bytes < LX_MEMORY_AHEAD_MIN) {
		say(why, "it has less than %u MiB", (unsigned)(LX_MEMORY_AHEAD_MIN >> 20));
		return LXMGR__V1__MOVE_MEMORY__MOVE_MEMORY_STOP_AND_COPY;
	}
	if (asked)
		say(why, "migration.memory is %s", wanted);
	if (lx_streq(wanted, "stop-and-copy"))
		return LXMGR__V1__MOVE_MEMORY__MOVE_MEMORY_STOP_AND_COPY;
	if (lx_streq(wanted, "content"))
		return LXMGR__V1__MOVE_MEMORY__MOVE_MEMORY_CONTENT;
	if (!asked && lx_write_track_possible()) {
		say(why, "this kernel tells of writes by PAGEMAP_SCAN");
		return LXMGR__V1__MOVE_MEMORY__MOVE_MEMORY_PRE_COPY;
	}
	const char *missing = lx_soft_dirty_missing();

	if (!missing) {
		if (!asked)
			say(why, "%s, but soft-dirty marks", no_scan);
		return LXMGR__V1__MOVE_MEMORY__MOVE_MEMORY_SOFT_DIRTY;
	}
	if (asked)
		say(why, "migration.memory is %s, but of this kernel: %s", wanted, missing);
	else
		say(why, "%s, and %s", no_scan, missing);
	return LXMGR__V1__MOVE_MEMORY__MOVE_MEMORY_CONTENT;
}

bool lx_memory_postcopy(Lxmgr__V1__MoveMemory ahead, uint64_t bytes, char why[LX_MEMORY_REASON_MAX])
{
	char before[LX_MEMORY_REASON_MAX];

	if (bytes < LX_MEMORY_AHEAD_MIN)
		return false;
	snprintf(before, sizeof(before), "%s", why);
	if (ahead == LXMGR__V1__MOVE_MEMORY__MOVE_MEMORY_STOP_AND_COPY)
		say(why, "asked for, and nothing ahead of it: %.180s", before);
	else
		say(why, "asked for, after rounds ahead of it: %.180s", before);
	return true;
}
