#include "migration/memory_choice.h"

#include "lib/str.h"
#include "migration/write_track.h"

Lxmgr__V1__MoveMemory lx_memory_choice(const char *wanted, uint64_t bytes)
{
	if (bytes < LX_MEMORY_AHEAD_MIN || lx_streq(wanted, "stop-and-copy"))
		return LXMGR__V1__MOVE_MEMORY__MOVE_MEMORY_STOP_AND_COPY;
	if (lx_streq(wanted, "content") || !lx_write_track_possible())
		return LXMGR__V1__MOVE_MEMORY__MOVE_MEMORY_CONTENT;
	return LXMGR__V1__MOVE_MEMORY__MOVE_MEMORY_PRE_COPY;
}
