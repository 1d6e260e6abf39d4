/*
 * What lxcfs tells a guest about itself: the files of /proc and /sys that speak of the whole machine,
 * and that lxcfs(1) has a version of in which there are the reader's own limits. Which files there are:
 * its own directory, by these paths from its root on. Pure.
 */
#ifndef LX_PROFILES_LXCFS_H
#define LX_PROFILES_LXCFS_H

#include <stddef.h>
#include <stdint.h>

#include "lib/map.h"

#define LX_KEY_LXCFS "security.lxcfs"
/* Where Debian's package mounts it. */
#define LX_LXCFS_DIR "/var/lib/lxcfs"
/* What its mounts are called in tables of mounts. */
#define LX_LXCFS_FSTYPE "fuse.lxcfs"

/*
 * By where they are in lxcfs, in the guest and on the node alike, without the first slash. Not slabinfo:
 * the kernel shows it to the node's root alone, and lxcfs, which has nothing else to show since
 * cgroups keep none of their own (Linux 5.9), shows the node's to everybody.
 */
#define LX_LXCFS_FILES 8u
extern const char *const lx_lxcfs_files[LX_LXCFS_FILES];
/* A set of them: bit i is lx_lxcfs_files[i]. */
typedef uint32_t lx_lxcfs_set;

enum lx_lxcfs_mode {
	LX_LXCFS_OFF,
	LX_LXCFS_AUTO, /* where the node has it */
	LX_LXCFS_ON,   /* no start without it */
};
/* Of an expanded configuration. */
enum lx_lxcfs_mode lx_lxcfs_mode(const struct lx_map *config);
/* Of the key's value; NULL: the default. */
enum lx_lxcfs_mode lx_lxcfs_mode_of(const char *value);

/* Which of them is at this absolute path; -1: none. */
int lx_lxcfs_file_at(const char *path);

#endif
