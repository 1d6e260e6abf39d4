/*
 * Files that are mapped shared and writable. A process' maps are read for the ranges, and each
 * range's file looked at through /proc/<pid>/map_files, which leads to the file itself whatever
 * the guest has mounted over its path. Processes that end meanwhile have nothing mapped.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "migration/proc_text.h"
#include "migration/tree_entry.h"
#include "migration/tree_send.h"

#define SET_MIN 16u

void lx_tree_set_release(struct lx_tree_set *s)
{
	free(s->v);
	*s = (struct lx_tree_set){ 0 };
}

static size_t place_of(const struct lx_tree_set *s, uint64_t value)
{
	size_t low = 0, high = s->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (s->v[mid] < value)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

bool lx_tree_set_has(const struct lx_tree_set *s, uint64_t value)
{
	size_t at = place_of(s, value);

	return at < s->n && s->v[at] == value;
}

int lx_tree_set_add(struct lx_tree_set *s, uint64_t value)
{
	size_t at = place_of(s, value);

	if (at < s->n && s->v[at] == value)
		return 0;
	if (s->n == s->cap) {
		size_t cap = s->cap ? s->cap * 2 : SET_MIN;
		uint64_t *grown = realloc(s->v, cap * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		s->v = grown;
		s->cap = cap;
	}
	memmove(&s->v[at + 1], &s->v[at], (s->n - at) * sizeof(*s->v));
	s->v[at] = value;
	s->n++;
	return 0;
}

int lx_tree_sender_mapped(struct lx_tree_sender *s, const char *path, struct lx_err *err)
{
	struct open_how how = { .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
				.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV };
	struct stat st;

	if (!*path || !lx_tree_path_ok(path))
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "\"%.200s\" is no path below the instance's files", path);
	lx_autoclose int fd = (int)syscall(SYS_openat2, s->upper, path, &how, sizeof(how));

	/* Not changed by the instance, so not written to by it. */
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		return lx_err_errno(err, errno, "cannot look at \"%.200s\"", path);
	return lx_tree_set_add(&s->mapped_inodes, st.st_ino) < 0 ? lx_err_oom(err) : 0;
}

/* "7f00-7f10 rw-s 00000000 08:01 4711   /path": whether it is shared, writable and of a file. */
static bool parse_line(const char *line, struct lx_proc_map *ret)
{
	char perms[8], inode[32];

	if (sscanf(line, "%*s %7s %*s %*s %31s", perms, inode) != 2 || !lx_proc_map_next(line, ret))
		return false;
	return strlen(perms) == 4 && perms[1] == 'w' && perms[3] == 's' && strcmp(inode, "0") != 0;
}

static bool has_ended(int errnum)
{
	return errnum == ENOENT || errnum == ESRCH || errnum == ENOTDIR;
}

static int mapped_by_one(struct lx_tree_sender *s, pid_t pid, struct lx_err *err)
{
	char path[64];
	lx_autofree char *line = NULL;
	size_t cap = 0;
	struct lx_proc_map map;
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	lx_autofclose FILE *maps = fopen(path, "re");
	snprintf(path, sizeof(path), "/proc/%d/map_files", (int)pid);
	lx_autoclose int files = maps ? open(path, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;

	if (files < 0)
		return has_ended(errno)
			       ? 0
			       : lx_err_errno(err, errno, "cannot read the mappings of process %d", (int)pid);
	while (errno = 0, getline(&line, &cap, maps) > 0) {
		if (!parse_line(line, &map))
			continue;
		if (fstatat(files, map.range, &st, 0) < 0) {
			if (has_ended(errno))
				continue;
			return lx_err_errno(err, errno, "cannot look at mapping %s of process %d", map.range,
					    (int)pid);
		}
		if (S_ISREG(st.st_mode) && lx_tree_set_add(&s->mapped_sizes, (uint64_t)st.st_size) < 0)
			return lx_err_oom(err);
	}
	return errno && !has_ended(errno)
		       ? lx_err_errno(err, errno, "cannot read the mappings of process %d", (int)pid)
		       : 0;
}

int lx_tree_sender_mapped_by(struct lx_tree_sender *s, const pid_t *pids, size_t n, struct lx_err *err)
{
	for (size_t i = 0; i < n; i++) {
		int r = mapped_by_one(s, pids[i], err);

		if (r < 0)
			return r;
	}
	return 0;
}
