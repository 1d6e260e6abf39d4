/* CRIU's images, on their way: each as soon as it is complete, and what is left when all are. */
#include "agent/worker/move/send.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"

static int send_dump_data(struct lx_send *s, int fd, uint64_t *sent, struct lx_err *err)
{
	lx_autofree uint8_t *buf = malloc(LX_MOVE_CHUNK);
	uint64_t offset = 0;

	if (!buf)
		return lx_err_oom(err);
	for (;;) {
		Lxmgr__V1__MoveFrame frame = LXMGR__V1__MOVE_FRAME__INIT;
		Lxmgr__V1__DumpData data = LXMGR__V1__DUMP_DATA__INIT;
		ssize_t n = lx_read_full(fd, buf, LX_MOVE_CHUNK);

		if (n < 0)
			return lx_err_errno(err, (int)n, "cannot read the dump");
		if (n == 0)
			return 0;
		data.offset = offset;
		data.data.data = buf;
		data.data.len = (size_t)n;
		frame.what_case = LXMGR__V1__MOVE_FRAME__WHAT_DUMP_DATA;
		frame.dump_data = &data;
		int r = lx_talk_send(&s->m.talk, &frame, err);

		if (r < 0)
			return r;
		offset += (uint64_t)n;
		*sent += (uint64_t)n;
	}
}

/* What tells a file from itself when it is written to again. */
static int file_stamp(int dir, const char *name, char out[LX_DUMP_STAMP])
{
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
		return -ENOENT;
	snprintf(out, LX_DUMP_STAMP, "%lld %lld.%09ld", (long long)st.st_size, (long long)st.st_mtim.tv_sec,
		 st.st_mtim.tv_nsec);
	return 0;
}

static int send_dump_file(struct lx_send *s, int dir, const char *name, struct lx_err *err)
{
	Lxmgr__V1__MoveFrame frame = LXMGR__V1__MOVE_FRAME__INIT;
	Lxmgr__V1__DumpFile file = LXMGR__V1__DUMP_FILE__INIT;
	lx_autoclose int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	uint64_t sent = 0;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return lx_err_errno(err, errno, "cannot read the dump's %s", name);
	file.name = (char *)(uintptr_t)name;
	file.size = (uint64_t)st.st_size;
	frame.what_case = LXMGR__V1__MOVE_FRAME__WHAT_DUMP_FILE;
	frame.dump_file = &file;
	int r = lx_talk_send(&s->m.talk, &frame, err);

	s->dump_files++;
	if (r == 0)
		r = send_dump_data(s, fd, &sent, err);
	s->dump_bytes += sent;
	if (lx_starts_with(name, "pages-"))
		s->m.report->memory_bytes += sent;
	return r;
}

/* Sent while CRIU was still at it, and as it is now? */
static bool is_sent(const struct lx_send *s, int dir, const char *name)
{
	const char *stamp = lx_map_get(&s->dump_sent, name);
	char now[LX_DUMP_STAMP];

	return stamp && file_stamp(dir, name, now) == 0 && lx_streq(stamp, now);
}

int lx_send_dump_ahead(void *arg, const char *name, struct lx_err *err)
{
	struct lx_send *s = arg;
	lx_autoclose int dir = open(s->m.images, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char stamp[LX_DUMP_STAMP];

	if (dir < 0 || name[0] == '.' || lx_ends_with(name, ".log") || lx_memory_is_list(&s->memory, name) ||
	    file_stamp(dir, name, stamp) < 0)
		return 0;
	char *copy = strdup(stamp);

	if (!copy || lx_map_set(&s->dump_sent, name, copy) < 0) {
		free(copy);
		return 0; /* it is sent again at the end */
	}
	return send_dump_file(s, dir, name, err);
}

int lx_send_dump(struct lx_send *s, struct lx_err *err)
{
	Lxmgr__V1__MoveFrame frame = LXMGR__V1__MOVE_FRAME__INIT;
	Lxmgr__V1__DumpEnd end = LXMGR__V1__DUMP_END__INIT;
	lx_autoclosedir DIR *d = opendir(s->m.images);
	int r = 0;

	if (!d)
		return lx_err_errno(err, errno, "cannot read the dump");
	lx_move_progress(&s->m, "dump", s->m.talk.sent, 0);
	for (struct dirent *e; r == 0 && (e = readdir(d));) {
		if (e->d_name[0] != '.' && !lx_ends_with(e->d_name, ".log") &&
		    !lx_memory_is_list(&s->memory, e->d_name) && !is_sent(s, dirfd(d), e->d_name))
			r = send_dump_file(s, dirfd(d), e->d_name, err);
	}
	if (r == 0 && s->memory.on)
		r = lx_memory_rest(&s->memory, dirfd(d), err);
	end.files = s->dump_files + s->memory.files;
	frame.what_case = LXMGR__V1__MOVE_FRAME__WHAT_DUMP_END;
	frame.dump_end = &end;
	return r < 0 ? r : lx_talk_send(&s->m.talk, &frame, err);
}
