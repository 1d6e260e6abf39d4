/* vm.unprivileged_userfaultfd, while somebody needs it. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "agent/worker/move/lazy.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/log.h"

#define SYSCTL "/proc/sys/vm/unprivileged_userfaultfd"
/* In the move's directory: it was this move that changed it. */
#define NOTE "lazy.allowed"

bool lx_lazy_may_allow(void)
{
	return access(SYSCTL, W_OK) == 0;
}

int lx_lazy_allow(const char *move)
{
	lx_autofree char *note = lx_path_join(move, NOTE);
	lx_autoclose int fd = open(SYSCTL, O_RDWR | O_CLOEXEC);
	bool alone = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
	char value = '0';

	if (fd < 0 || !note || (alone && pread(fd, &value, 1, 0) == 1 && value == '1'))
		return -1;
	(void)flock(fd, LOCK_SH);
	if (lx_write_file_atomic(note, "", 0, 0600, NULL) < 0 || pwrite(fd, "1", 1, 0) != 1)
		return -1;
	return lx_move_fd(fd);
}

void lx_lazy_forbid(const char *move, int permission)
{
	lx_autofree char *note = lx_path_join(move, NOTE);
	lx_autoclose int fd = permission >= 0 ? permission : open(SYSCTL, O_RDWR | O_CLOEXEC);

	if (fd < 0 || !note || !lx_path_exists(note))
		return;
	/* Who else is at it has the shared lock, and takes it back later. */
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return;
	if (pwrite(fd, "0", 1, 0) != 1)
		lx_warn("userfaultfd stays allowed to all users", "file=" SYSCTL);
	(void)unlink(note);
}
