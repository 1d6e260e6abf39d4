/*
 * Devices that bring something from outside into a guest: directories and files of the node, its
 * device nodes, and file systems in memory. What their options mean, and which of them fit
 * together. Pure.
 */
#ifndef LX_PROFILES_HOST_DEVICE_H
#define LX_PROFILES_HOST_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"
#include "lib/map.h"

/* Longest path of the node's or the guest's; beside the instance's own it must fit into PATH_MAX. */
#define LX_DEVICE_PATH_MAX 511

/* The source of a disk that is memory. */
#define LX_SOURCE_TMPFS "tmpfs:"

/* What the file system with an instance's device nodes is called in tables of mounts. */
#define LX_DEVICE_NODES_SOURCE "lxmgr-devices"

enum lx_host_device_kind {
	LX_HOST_DEVICE_DISK,  /* a directory or file of the node */
	LX_HOST_DEVICE_TMPFS, /* memory */
	LX_HOST_DEVICE_NODE,  /* a character or block device */
};

struct lx_host_device {
	enum lx_host_device_kind kind;
	const char *source; /* NULL: a node known by its numbers alone */
	const char *path;   /* in the guest, absolute */
	bool optional;      /* without its source the instance starts nevertheless */

	bool readonly, recursive; /* DISK */
	uint64_t size;            /* TMPFS: bytes; 0: the kernel's default */

	bool block, numbered; /* NODE; numbered: major and minor are given, else they are the source's */
	uint32_t major, minor;
	uint32_t mode, uid, gid; /* as the guest sees them */
};

/*
 * Reads the options of a device that has passed lx_device_check(); texts stay the map's. Returns 1,
 * or 0 when it is of another kind: the root disk, a network card.
 */
int lx_host_device_read(const struct lx_map *options, struct lx_host_device *ret);

/*
 * Does it give a guest something of the node's: files, devices, addresses and what answers there? Asks
 * nothing of the options' correctness.
 */
bool lx_host_device_is_privileged(const struct lx_map *options);

/*
 * For lx_device_check(): options that are good each, but not together. LX_INVALID_ARGUMENT with
 * the device's name and a hint.
 */
int lx_host_device_check_disk(const char *name, const struct lx_map *options, struct lx_err *err);
int lx_host_device_check_node(const char *name, const struct lx_map *options, struct lx_err *err);

/* Where it is in the guest, when it has a place of its own there; else NULL. The root disk has "/". */
const char *lx_host_device_path(const struct lx_map *options);

/* For lx_expand(): one that would lie inside another is refused. `devices`: name -> struct lx_map *. */
int lx_host_devices_check_places(const struct lx_map *devices, struct lx_err *err);

/*
 * What is wrong with a path as such, or NULL: it must be absolute, and have no part that is empty,
 * "." or "..", and no control character.
 */
const char *lx_device_path_fault(const char *path);
/* Is it a place in the guest that is not for devices, such as /proc? */
bool lx_device_path_is_taken(const char *path);

#endif
