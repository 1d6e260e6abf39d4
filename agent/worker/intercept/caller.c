/* Looking at who has made a call, see the header. */
#include "agent/worker/intercept/caller.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs.h"

#define STATUS_MAX 16384
#define PAGE       4096u

bool lx_caller_waits(const struct lx_caller *c)
{
	return ioctl(c->listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &c->id) == 0;
}

static void read_program(struct lx_caller *c)
{
	lx_autoclose int fd = openat(c->proc, "comm", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, c->program, sizeof(c->program) - 1);

	c->program[n < 0 ? 0 : n] = '\0';
	c->program[strcspn(c->program, "\n")] = '\0';
	for (char *p = c->program; *p; p++)
		if (!isprint((unsigned char)*p))
			*p = '?';
}

int lx_caller_open(int listener, const struct seccomp_notif *n, struct lx_caller *ret)
{
	char path[64], status[STATUS_MAX];

	*ret = (struct lx_caller){ .listener = listener, .id = n->id, .proc = -1, .mem = -1 };
	snprintf(path, sizeof(path), "/proc/%u", n->pid);
	ret->proc = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (ret->proc < 0)
		return -errno;
	ret->mem = openat(ret->proc, "mem", O_RDWR | O_CLOEXEC);
	if (ret->mem < 0)
		return -errno;
	lx_autoclose int fd = openat(ret->proc, "status", O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -errno : lx_read_full(fd, status, sizeof(status) - 1);

	if (len < 0)
		return (int)len;
	status[len] = '\0';
	read_program(ret);
	/* It is the caller that all of this was about. */
	return lx_caller_waits(ret) ? lx_caller_parse(status, ret) : -ESRCH;
}

bool lx_caller_may(const struct lx_caller *c, pid_t init, uint64_t capabilities)
{
	char path[64];
	struct stat its, guests;

	snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)init);
	return init > 0 && (c->capabilities & capabilities) == capabilities &&
	       fstatat(c->proc, "ns/user", &its, 0) == 0 && stat(path, &guests) == 0 &&
	       its.st_dev == guests.st_dev && its.st_ino == guests.st_ino && lx_caller_waits(c);
}

int lx_caller_bytes(const struct lx_caller *c, uint64_t address, void *out, size_t len)
{
	ssize_t n = pread(c->mem, out, len, (off_t)address);

	if (!lx_caller_waits(c))
		return -ESRCH;
	return n == (ssize_t)len ? 0 : -EFAULT;
}

/* Page by page: what lies behind the text need not be there. */
int lx_caller_text(const struct lx_caller *c, uint64_t address, char *out, size_t size)
{
	size_t have = 0;

	while (have < size) {
		size_t part = PAGE - (size_t)((address + have) % PAGE);
		ssize_t n = pread(c->mem, out + have, part < size - have ? part : size - have,
				  (off_t)(address + have));

		if (!lx_caller_waits(c))
			return -ESRCH;
		if (n <= 0)
			return -EFAULT;
		if (memchr(out + have, '\0', (size_t)n))
			return 0;
		have += (size_t)n;
	}
	return -ENAMETOOLONG;
}

int lx_caller_write(const struct lx_caller *c, uint64_t address, const void *data, size_t len)
{
	if (!lx_caller_waits(c))
		return -ESRCH;
	return pwrite(c->mem, data, len, (off_t)address) == (ssize_t)len ? 0 : -EFAULT;
}

int lx_caller_become(const struct lx_caller *c)
{
	if (prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0) < 0 ||
	    setgroups(c->n_groups, c->groups) < 0 || setresgid(c->gid, c->gid, c->gid) < 0 ||
	    setresuid(c->uid, c->uid, c->uid) < 0)
		return -errno;
	return 0;
}

int lx_caller_take_capabilities(const struct lx_caller *c)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3] = {
		{ .effective = (uint32_t)c->capabilities, .permitted = (uint32_t)c->capabilities },
		{ .effective = (uint32_t)(c->capabilities >> 32),
		  .permitted = (uint32_t)(c->capabilities >> 32) },
	};

	return syscall(SYS_capset, &header, caps) < 0 ? -errno : 0;
}
