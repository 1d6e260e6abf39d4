/*
 * Loaded into CRIU (pages.c): what it reads of files that are watched. The kernel may leave out what
 * it needs, for a moment (migration/watch_lines.h): it is asked again, and CRIU gets what was read
 * when all was there.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "migration/preload/adopt.h"
#include "migration/watch_lines.h"

/* Sixteen milliseconds have been seen. What never has a handle is left to CRIU to tell. */
#define TRIES        400
#define TRY_AGAIN_US 500
#define TEXT_MAX     (4u << 20)

/* All of it, malloc'ed; NULL: it cannot be read. */
static char *read_text(int fd, size_t *ret_len)
{
	size_t room = 64u << 10, len = 0;
	char *text = malloc(room);

	while (text) {
		ssize_t n = read(fd, text + len, room - len - 1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			text[len] = '\0';
			*ret_len = len;
			return n == 0 ? text : (free(text), NULL);
		}
		len += (size_t)n;
		if (room - len > 1)
			continue;
		room *= 2;
		char *grown = room <= TEXT_MAX ? realloc(text, room) : NULL;

		if (!grown)
			free(text);
		text = grown;
	}
	return NULL;
}

/* A file of its own: read again, the kernel's might be another text. */
static int hold(const char *text, size_t len)
{
	int fd = memfd_create("fdinfo", MFD_CLOEXEC);

	if (fd >= 0 && (write(fd, text, len) != (ssize_t)len || lseek(fd, 0, SEEK_SET) < 0)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static int open_fdinfo(int dir, const char *path, int flags)
{
	for (int i = 0;; i++) {
		int fd = (int)syscall(SYS_openat, dir, path, flags), held = -1;
		size_t len = 0;
		char *text = fd < 0 ? NULL : read_text(fd, &len);
		enum lx_watches watches = text ? lx_watch_lines(text) : LX_WATCHES_NONE;

		if (watches == LX_WATCHES_COMPLETE)
			held = hold(text, len);
		free(text);
		if (fd < 0)
			return fd;
		if (watches != LX_WATCHES_INCOMPLETE || i == TRIES) {
			(void)lseek(fd, 0, SEEK_SET);
			if (held < 0)
				return fd;
			close(fd);
			return held;
		}
		close(fd);
		usleep(TRY_AGAIN_US);
	}
}

/* As libc's. */
__attribute__((visibility("default"))) int openat64(int dir, const char *path, int flags, ...)
{
	mode_t mode = 0;

	if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) {
		va_list ap;

		va_start(ap, flags);
		mode = va_arg(ap, mode_t);
		va_end(ap);
	}
	if (strncmp(path, "fdinfo/", strlen("fdinfo/")) == 0 && (flags & O_ACCMODE) == O_RDONLY)
		return open_fdinfo(dir, path, flags);
	int fd = (int)syscall(SYS_openat, dir, path, flags, mode);

	if (fd >= 0)
		lx_adopt_opened(fd, path);
	return fd;
}
