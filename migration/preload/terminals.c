/*
 * Loaded into CRIU (pages.c): what lies unread in pseudoterminals. At a dump CRIU reads it at both ends,
 * and writes it back at the other, for a guest that goes on (criu/tty.c, CRIU 4); so it does at a restore.
 * But what passes through a terminal does not stay as it is: lines that no newline ends cannot be read,
 * newlines that were made two characters become three, what was typed is echoed again, control characters
 * have their effect a second time (termios(3)). So a terminal passes all on unchanged for as long as CRIU
 * reads or writes at it. Nothing else that CRIU reads or writes is a terminal.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

/* Documentation/admin-guide/devices.txt: of /dev/ptmx, and of what is in /dev/pts. */
#define MASTER      makedev(5, 2)
#define FIRST_SLAVE 136
#define LAST_SLAVE  143

enum end { NO_PTY, MASTER_END, SLAVE_END };

static enum end end_of(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode))
		return NO_PTY;
	if (st.st_rdev == MASTER)
		return MASTER_END;
	return major(st.st_rdev) >= FIRST_SLAVE && major(st.st_rdev) <= LAST_SLAVE ? SLAVE_END : NO_PTY;
}

/* What was typed so far of a line is there to be read as well. */
static ssize_t read_slave(int fd, void *buf, size_t n)
{
	struct termios was, t;
	bool lines = tcgetattr(fd, &was) == 0 && was.c_lflag & ICANON;

	if (lines) {
		t = was;
		t.c_lflag &= ~(tcflag_t)ICANON;
		t.c_cc[VMIN] = 1; /* "nothing there" is not the end */
		t.c_cc[VTIME] = 0;
		lines = tcsetattr(fd, TCSANOW, &t) == 0;
	}
	ssize_t r = syscall(SYS_read, fd, buf, n);

	if (lines)
		(void)tcsetattr(fd, TCSANOW, &was);
	return r;
}

/* Without the byte before it that packet mode puts there (ioctl_tty(2)). */
static ssize_t read_master(int fd, void *buf, size_t n)
{
	int packets = 0, off = 0;

	if (ioctl(fd, TIOCGPKT, &packets) == 0 && packets)
		(void)ioctl(fd, TIOCPKT, &off);
	ssize_t r = syscall(SYS_read, fd, buf, n);

	if (packets)
		(void)ioctl(fd, TIOCPKT, &packets);
	return r;
}

/* As libc's. */
__attribute__((visibility("default"))) ssize_t read(int fd, void *buf, size_t n)
{
	switch (end_of(fd)) {
	case MASTER_END:
		return read_master(fd, buf, n);
	case SLAVE_END:
		return read_slave(fd, buf, n);
	default:
		return syscall(SYS_read, fd, buf, n);
	}
}

/* Lines stay lines: what has no newline yet is there to be gone on with. */
static void pass_all(struct termios *t)
{
	t->c_iflag = 0;
	t->c_oflag &= ~(tcflag_t)OPOST;
	t->c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ISIG | IEXTEN);
	memset(t->c_cc, _POSIX_VDISABLE, sizeof(t->c_cc));
}

static ssize_t write_unchanged(int fd, bool master, const void *buf, size_t n)
{
	struct pollfd slave = { .fd = -1, .events = POLLIN };
	struct termios was, t;
	bool set = tcgetattr(fd, &was) == 0;

	if (master)
		slave.fd = ioctl(fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK);
	if (set) {
		t = was;
		pass_all(&t);
		set = tcsetattr(fd, TCSANOW, &t) == 0;
	}
	ssize_t r = syscall(SYS_write, fd, buf, n);

	/* What goes to a slave is queued: to ask whether it is there is to have it come. */
	if (slave.fd >= 0) {
		(void)poll(&slave, 1, 0);
		close(slave.fd);
	}
	if (set)
		(void)tcsetattr(fd, TCSANOW, &was);
	return r;
}

/* As libc's. */
__attribute__((visibility("default"))) ssize_t write(int fd, const void *buf, size_t n)
{
	enum end end = end_of(fd);

	return end == NO_PTY ? syscall(SYS_write, fd, buf, n)
			     : write_unchanged(fd, end == MASTER_END, buf, n);
}
