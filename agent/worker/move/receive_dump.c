/*
 * The dump, as it comes: its files into memory, and beside them what was copied ahead. CRIU
 * looks for pages that a dump leaves out in the directory "parent" of its images.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/worker/move/receive.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "migration/criu.h"
#include "migration/page_image.h"
#include "proto/pb.h"

#define DUMP_NAME_MAX 200
static void close_file(struct lx_receive *rx)
{
	if (rx->dump_file >= 0)
		close(rx->dump_file);
	rx->dump_file = -1;
}

static int make_parent(struct lx_receive *rx, struct lx_err *err)
{
	if (mkdirat(rx->dump_dir, LX_PAGES_PARENT_DIR, 0755) < 0 && errno != EEXIST)
		return lx_err_errno(err, errno, "cannot make a directory for memory that comes ahead");
	return 0;
}

int lx_dump_take_file(struct lx_receive *rx, const Lxmgr__V1__DumpFile *f, struct lx_err *err)
{
	const char *name = lx_streq(f->name, LX_CRIU_INVENTORY) ? LX_CRIU_INVENTORY_KEPT : f->name;
	char path[DUMP_NAME_MAX + sizeof(LX_PAGES_PARENT_DIR "/")];

	close_file(rx);
	if (*f->name == '\0' || *f->name == '.' || strlen(f->name) > DUMP_NAME_MAX || strchr(f->name, '/'))
		return lx_err_set(err, LX_INVALID_ARGUMENT, "a dump has no file of that name");
	int r = f->ahead ? make_parent(rx, err) : 0;

	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "%s%s", f->ahead ? LX_PAGES_PARENT_DIR "/" : "", name);
	rx->dump_file = openat(rx->dump_dir, path,
			       O_WRONLY | O_CREAT | (f->ahead ? 0 : O_TRUNC) | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (rx->dump_file < 0)
		return lx_err_errno(err, errno, "cannot keep the dump's %s", f->name);
	rx->dump_files++;
	lx_copies_begin(&rx->copies, &rx->m, rx->dump_dir, f);
	return 0;
}

int lx_dump_take_data(struct lx_receive *rx, const Lxmgr__V1__DumpData *d, struct lx_err *err)
{
	size_t at = 0;

	if (rx->dump_file < 0)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "data of a dump came before its file");
	while (at < d->data.len) {
		ssize_t n =
			pwrite(rx->dump_file, d->data.data + at, d->data.len - at, (off_t)(d->offset + at));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return lx_err_errno(err, n < 0 ? errno : EIO, "cannot keep the dump");
		at += (size_t)n;
	}
	lx_copies_note(&rx->copies, &rx->m, rx->dump_dir, d->offset, d->data.len);
	return 0;
}

/* Those that a dump writes. What CRIU waits for here, and what it says, is the restore's own. */
static bool is_of_dump(int dir, const char *name)
{
	struct stat st;

	return name[0] != '.' && !lx_ends_with(name, ".log") &&
	       fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
}

int lx_dump_take_again(struct lx_receive *rx, struct lx_err *err)
{
	lx_autoclose int own = openat(rx->dump_dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	lx_autoclosedir DIR *d = own < 0 ? NULL : fdopendir(own);

	if (rx->dump_ended)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "a dump that is complete is to come again");
	if (!d)
		return lx_err_errno(err, errno, "cannot read the dump");
	(void)lx_move_fd(own);
	close_file(rx);
	for (struct dirent *e; (e = readdir(d));)
		if (is_of_dump(rx->dump_dir, e->d_name) && unlinkat(rx->dump_dir, e->d_name, 0) < 0)
			return lx_err_errno(err, errno, "cannot remove the dump's %s", e->d_name);
	lx_warm_stop(&rx->cgroups);
	lx_pb_free(rx->guest);
	rx->guest = NULL;
	return 0;
}

int lx_dump_take_end(struct lx_receive *rx, const Lxmgr__V1__DumpEnd *end, struct lx_err *err)
{
	close_file(rx);
	rx->dump_ended = true;
	if (end->files == rx->dump_files && rx->guest)
		return 0;
	return lx_err_set(err, LX_INVALID_ARGUMENT, "the dump has %u files, %u came", end->files,
			  rx->dump_files);
}
