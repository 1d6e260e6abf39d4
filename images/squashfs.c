/*
 * Unpacking squashfs without trusting it: neither the kernel mounts it nor does a program
 * with privileges parse it. sqfs2tar (squashfs-tools-ng) turns it into a tar stream, as
 * nobody, without network; the stream goes through the same
 * unpacker as any other archive, with its limits.
 *
 * Ways to fail: the program is not installed; the superblock is nonsense or promises more
 * than the file has; sqfs2tar gives up (its last words are in the error); whatever
 * unpack.c refuses.
 */
#include "images/squashfs.h"

#include <endian.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "images/child.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"

#define PROGRAM       "sqfs2tar"
#define VERSION_MAJOR 4
#define LAST_WORDS    400

/* The beginning of a squashfs image; all numbers little-endian. */
struct superblock {
	char magic[4];
	uint32_t inodes;
	uint32_t made_at;
	uint32_t block_size;
	uint32_t fragments;
	uint16_t compression;
	uint16_t block_log;
	uint16_t flags;
	uint16_t ids;
	uint16_t version_major;
	uint16_t version_minor;
	uint64_t root_inode;
	uint64_t bytes_used;
};

/* The pipe tells nothing of how much of the image was read; how many inodes are done does. */
struct scale {
	const struct lx_progress *progress;
	uint64_t size, inodes, done;
};

static void entry_done(void *arg, uint64_t entries)
{
	struct scale *s = arg;

	s->done = entries < s->inodes ? entries : s->inodes;
}

static int report(void *arg, const char *phase, uint64_t done, uint64_t total, const char *unit)
{
	struct scale *s = arg;

	if (!s->progress)
		return 0;
	return s->progress->report(
		s->progress->arg, phase,
		s->inodes ? (uint64_t)((double)s->size * (double)s->done / (double)s->inodes) : 0, s->size,
		unit);
}

static int read_superblock(int fd, uint64_t size, struct superblock *sb, struct lx_err *err)
{
	ssize_t n = pread(fd, sb, sizeof(*sb), 0);

	if (n < 0)
		return lx_err_errno(err, errno, "cannot read the root file system");
	if ((size_t)n < sizeof(*sb) || memcmp(sb->magic, LX_SQUASHFS_MAGIC, sizeof(sb->magic)) != 0 ||
	    le16toh(sb->version_major) != VERSION_MAJOR)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "the root file system is no squashfs 4 image");
	if (le64toh(sb->bytes_used) > size)
		return lx_err_set(
			err, LX_INVALID_ARGUMENT,
			"the root file system is cut off: its squashfs image has %llu of %llu bytes",
			(unsigned long long)size, (unsigned long long)le64toh(sb->bytes_used));
	if (le32toh(sb->inodes) > LX_UNPACK_MAX_ENTRIES)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "the root file system has more than %d files",
				  LX_UNPACK_MAX_ENTRIES);
	return 0;
}

static int unpack_stream(int pipe, struct scale *scale, int dirfd, struct lx_unpacked *ret,
			 struct lx_err *err)
{
	struct lx_progress progress = { .report = report, .arg = scale };
	struct lx_tar_source source = { .fd = pipe, .name = "the root file system", .progress = &progress };
	struct lx_unpack_options options = { .accounts = "etc", .entry_done = entry_done, .arg = scale };
	lx_autotar struct lx_tar *tar = NULL;
	int r = lx_tar_open(&source, &tar, err);

	return r < 0 ? r : lx_unpack(tar, dirfd, &options, ret, err);
}

/* When the program failed, that is the cause, whatever the unpacker made of the half stream. */
static int program_failed(int code, int words, struct lx_err *err)
{
	char text[LAST_WORDS + 1] = "";
	struct stat st;

	if (fstat(words, &st) == 0) {
		ssize_t n =
			pread(words, text, LAST_WORDS, st.st_size > LAST_WORDS ? st.st_size - LAST_WORDS : 0);

		text[n > 0 ? n : 0] = '\0';
	}
	for (size_t n = strlen(text); n > 0 && text[n - 1] == '\n'; n--)
		text[n - 1] = '\0';
	return lx_err_set(err, LX_INVALID_ARGUMENT,
			  "the root file system cannot be unpacked: " PROGRAM " (exit %d): %s", code,
			  *text ? text : "no message");
}

int lx_squashfs_unpack(int fd, uint64_t size, int dirfd, const struct lx_progress *progress,
		       struct lx_unpacked *ret, struct lx_err *err)
{
	struct superblock sb;
	lx_autofree char *program = NULL;
	struct lx_child child;
	int r = read_superblock(fd, size, &sb, err);

	if (r == 0)
		r = lx_need_program(PROGRAM, "squashfs-tools-ng", &program, err);
	if (r < 0)
		return r;
	/* So that nobody may open it again; the directory it is in stays closed. */
	if (fchmod(fd, 0444) < 0)
		return lx_err_errno(err, errno, "cannot prepare the root file system's file");
	lx_autoclose int words = memfd_create(PROGRAM, MFD_CLOEXEC);

	if (words < 0)
		return lx_err_errno(err, errno, "cannot make a file for messages");
	/* The root's own owner and mode come as the entry "."; what tar cannot hold (sockets) is left out. */
	const char *argv[] = { program, "--root-becomes", ".", LX_CHILD_FD_PATH, NULL };
	struct lx_child_spec spec = {
		.argv = argv, .give_fd = fd, .err_fd = words, .flags = LX_CHILD_SEALED
	};
	struct scale scale = { .progress = progress, .size = size, .inodes = le32toh(sb.inodes) };

	r = lx_child_start(&spec, &child, err);
	if (r < 0)
		return r;
	r = unpack_stream(child.out, &scale, dirfd, ret, err);
	if (r == -ECANCELED) {
		lx_child_kill(&child);
		return r;
	}
	/* Waiting closes the pipe, which ends one that is still writing: that is no failure of its own. */
	int code = lx_child_wait(&child);

	return code != 0 && code != 128 + SIGPIPE ? program_failed(code, words, err) : r;
}
