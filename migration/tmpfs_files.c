/* Large files in what a guest has mounted as tmpfs: see segments.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "migration/guest_path.h"
#include "migration/mounts.h"
#include "migration/segments.h"

/* Directories below each other, and entries of one file system, that are gone through. */
#define DEPTH_MAX   16u
#define ENTRIES_MAX 20000u

struct walk {
	struct lx_segments *to;
	dev_t dev;
	unsigned entries;
};

static int walk_dir(struct walk *w, int dir, const char *path, unsigned depth);

static int walk_entry(struct walk *w, int dir, const char *path, const char *name, unsigned depth)
{
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_dev != w->dev)
		return 0;
	bool large = S_ISREG(st.st_mode) && (uint64_t)st.st_blocks * 512 >= LX_SEGMENT_MIN;

	if (!large && !S_ISDIR(st.st_mode))
		return 0;
	char *below = lx_asprintf("%s/%s", lx_streq(path, "/") ? "" : path, name);

	if (!below)
		return -ENOMEM;
	if (large)
		return lx_segments_add_file(
			w->to, openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), below);
	int r = depth == DEPTH_MAX
			? 0
			: walk_dir(w, openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
				   below, depth + 1);

	free(below);
	return r;
}

/* Takes the descriptor. */
static int walk_dir(struct walk *w, int dir, const char *path, unsigned depth)
{
	lx_autoclosedir DIR *d = dir < 0 ? NULL : fdopendir(dir);
	int r = 0;

	if (!d && dir >= 0)
		close(dir);
	for (struct dirent *e; d && r == 0 && w->entries < ENTRIES_MAX && (e = readdir(d));) {
		w->entries++;
		if (!lx_streq(e->d_name, ".") && !lx_streq(e->d_name, ".."))
			r = walk_entry(w, dirfd(d), path, e->d_name, depth);
	}
	return r;
}

/* What this node has mounted for itself is not the guest's, and CRIU leaves it where it is. */
static bool is_of(const struct lx_mounts *own, const struct lx_mount *m)
{
	for (size_t i = 0; i < own->n; i++)
		if (own->m[i].major == m->major && own->m[i].minor == m->minor)
			return true;
	return false;
}

int lx_segments_find_files(struct lx_segments *s, pid_t init)
{
	lx_automounts struct lx_mounts mounts = { 0 }, own = { 0 };
	int r = lx_mounts_read(init, &mounts, NULL);

	if (r == 0)
		r = lx_mounts_read(getpid(), &own, NULL);
	if (r < 0)
		return r == -ENOMEM ? r : 0;
	for (size_t i = 0; r == 0 && i < mounts.n; i++) {
		const struct lx_mount *m = &mounts.m[i];
		struct walk w = { .to = s, .dev = makedev(m->major, m->minor) };

		if (lx_streq(m->fstype, "tmpfs") && lx_streq(m->root, "/") && !is_of(&own, m))
			r = walk_dir(&w, lx_guest_open(init, m->point, O_RDONLY | O_DIRECTORY), m->point, 0);
	}
	return r;
}

bool lx_segment_is_there(const struct lx_segment *seg, pid_t init)
{
	lx_autoclose int fd = lx_guest_open(init, seg->path, O_PATH);
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && st.st_dev == seg->dev && st.st_ino == seg->id;
}
