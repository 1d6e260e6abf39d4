/* The files of lxcfs, see the header. */
#include "profiles/lxcfs.h"

#include "lib/str.h"

const char *const lx_lxcfs_files[LX_LXCFS_FILES] = {
	"proc/cpuinfo", "proc/diskstats", "proc/loadavg", "proc/meminfo",
	"proc/stat",    "proc/swaps",     "proc/uptime",  "sys/devices/system/cpu/online",
};

enum lx_lxcfs_mode lx_lxcfs_mode_of(const char *value)
{
	if (lx_streq(value, "on"))
		return LX_LXCFS_ON;
	return lx_streq(value, "off") ? LX_LXCFS_OFF : LX_LXCFS_AUTO;
}

enum lx_lxcfs_mode lx_lxcfs_mode(const struct lx_map *config)
{
	return lx_lxcfs_mode_of(lx_map_get(config, LX_KEY_LXCFS));
}

int lx_lxcfs_file_at(const char *path)
{
	for (size_t i = 0; i < LX_LXCFS_FILES; i++)
		if (*path == '/' && lx_streq(path + 1, lx_lxcfs_files[i]))
			return (int)i;
	return -1;
}
