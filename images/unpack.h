/*
 * Unpacking somebody else's archive into a directory: nothing gets out of it, nothing
 * grows past the limits, and what a container's root may own is all that is made.
 *
 * Kept: content (holes as holes), modes with setuid and sticky bits, numeric owners,
 * modification times, hard and symbolic links, fifos, user.* attributes,
 * security.capability, POSIX ACLs, the device nodes any container has (null, zero, full,
 * random, urandom, tty). Other device nodes and attributes of the host's own making
 * (trusted.*, labels of security modules) are left out.
 */
#ifndef LX_IMAGES_UNPACK_H
#define LX_IMAGES_UNPACK_H

#include <stdint.h>

#include "images/tar_read.h"
#include "lib/err.h"

/* A container has the ids 0 to 65535; a file that belongs to anybody else could not be shown in it. */
#define LX_IMAGE_ID_MAX       65535
#define LX_UNPACK_MAX_ENTRIES 2000000
#define LX_UNPACK_MAX_FILE    (UINT64_C(64) << 30)
#define LX_UNPACK_MAX_XATTR   65536 /* bytes of one value: the kernel's own limit */

struct lx_unpack_options {
	/* NULL-terminated: the names at the top that are wanted; others are passed over. NULL: all. */
	const char *const *only;
	/* Where, in the directory, passwd and group are: "etc". NULL: nowhere. */
	const char *accounts;
	uint64_t max_entries; /* 0: LX_UNPACK_MAX_ENTRIES */
	uint64_t max_file;    /* 0: LX_UNPACK_MAX_FILE */
	/* Called after each entry, may be NULL; for progress that the archive itself cannot tell. */
	void (*entry_done)(void *arg, uint64_t entries);
	void *arg;
};

struct lx_unpacked {
	uint64_t entries;
	uint64_t bytes; /* content of files, hard links counted once */
	uint64_t skipped_devices;
};

/*
 * Unpacks all of `tar` into the directory behind `dirfd`, which should be empty. After a
 * failure the directory holds a part; removing it is the caller's. `ret` is added to.
 */
int lx_unpack(struct lx_tar *tar, int dirfd, const struct lx_unpack_options *options, struct lx_unpacked *ret,
	      struct lx_err *err);

#endif
