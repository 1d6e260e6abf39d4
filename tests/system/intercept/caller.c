/*
 * Put into guests whose system calls stop: makes one, or many, and says what came of it, "ok" or the
 * number of an errno.
 *
 *   node PATH c|b MAJOR MINOR [UID]     mknod(2); with UID, as that user
 *   nodeat DIR NAME c|b MAJOR MINOR     mknodat(2) below an open directory
 *   bare ADDRESS                        mknod(2) of /dev/null's numbers, its path at that address
 *   xattr PATH NAME VALUE               setxattr(2)
 *   fxattr PATH NAME VALUE              fsetxattr(2)
 *   sysinfo                             total free swap processes uptime, in bytes and seconds
 *   sysinfo32                           total and free of it as 32-bit programs of x86 ask; "none" elsewhere
 *   keep DIR SECONDS                    nodes made, looked at and removed; "calls failed first-errno"
 *   flood N SECONDS                     N processes ask for what is refused, as fast as they can
 *   race SECONDS                        two threads: one asks for /dev/null's numbers, one changes the path
 *   mount SOURCE TARGET TYPE FLAGS DATA mount(2); DATA "" is none
 *   baremount ADDRESS                   mount(2) of /dev/null with all its pointers at that address
 *   fsopen TYPE                         fsopen(2)
 *   mountrace SOURCE OTHER DATA SECONDS mount(2) of SOURCE to /mnt, while another thread changes it to OTHER,
 *                                       options to DATA and back; "calls made"
 *   hold PATH                           opens it and stays
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define NODE_MODE 0666

static int say(long r)
{
	if (r == 0)
		puts("ok");
	else
		printf("%d\n", errno);
	return 0;
}

static mode_t type_of(const char *text)
{
	return NODE_MODE | (*text == 'b' ? S_IFBLK : S_IFCHR);
}

static dev_t number_of(char **argv)
{
	return makedev((unsigned)strtoul(argv[0], NULL, 10), (unsigned)strtoul(argv[1], NULL, 10));
}

static double now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int do_sysinfo(void)
{
	struct sysinfo s;

	if (sysinfo(&s) < 0)
		return say(-1);
	printf("%llu %llu %llu %u %ld\n", (unsigned long long)s.totalram * s.mem_unit,
	       (unsigned long long)s.freeram * s.mem_unit, (unsigned long long)s.totalswap * s.mem_unit,
	       s.procs, s.uptime);
	return 0;
}

/* What the kernel writes for a program whose long is four bytes; below 4 GiB, where we are linked. */
static struct {
	int32_t uptime;
	uint32_t loads[3], total, free, shared, buffers, swap, swap_free;
	uint16_t procs, pad;
	uint32_t high, high_free, unit;
	char padding[8];
} small;

static int do_sysinfo32(void)
{
#ifdef __x86_64__
	long r = 116; /* sysinfo, of that table */

	__asm__ volatile("int $0x80" : "+a"(r) : "b"(&small) : "memory", "r8", "r9", "r10", "r11");
	errno = (int)-r;
	if (r < 0)
		return say(-1);
	printf("%llu %llu\n", (unsigned long long)small.total * small.unit,
	       (unsigned long long)small.free * small.unit);
#else
	puts("none");
#endif
	return 0;
}

static int keep(const char *dir, double seconds)
{
	unsigned calls = 0, failed = 0;
	int first = 0;
	char path[256];

	snprintf(path, sizeof(path), "%s/kept", dir);
	for (double end = now() + seconds; now() < end; calls++) {
		struct stat st;
		int r = mknod(path, S_IFCHR | NODE_MODE, makedev(1, 3));
		int e = errno;

		if (r < 0 || stat(path, &st) < 0 || st.st_rdev != makedev(1, 3)) {
			failed++;
			first = first ? first : r < 0 ? e : -1;
		}
		(void)unlink(path);
	}
	printf("%u %u %d\n", calls, failed, first);
	return 0;
}

static int flood(int n, double seconds)
{
	double end = now() + seconds;

	for (int i = 0; i < n; i++)
		if (fork() == 0) {
			struct sysinfo s;

			while (now() < end) {
				(void)mknod("/flood", S_IFCHR | NODE_MODE, makedev(1, 1));
				(void)sysinfo(&s);
			}
			_exit(0);
		}
	while (wait(NULL) > 0)
		;
	puts("ok");
	return 0;
}

static char raced[64];
static volatile int racing = 1;

/* The name, and what the name would be: /etc/raced where a path may lead at most is the guest's own. */
static void *change(void *arg)
{
	while (racing) {
		memcpy(raced, "/tmp/raced-here", 16);
		memcpy(raced, "/dev/shm/../../", 16);
	}
	return arg;
}

static int race(double seconds)
{
	pthread_t other;
	unsigned calls = 0, made = 0;

	if (pthread_create(&other, NULL, change, NULL) != 0)
		return 1;
	for (double end = now() + seconds; now() < end; calls++) {
		made += mknod(raced, S_IFCHR | NODE_MODE, makedev(1, 3)) == 0;
		(void)unlink("/tmp/raced-here");
	}
	racing = 0;
	pthread_join(other, NULL);
	printf("%u %u\n", calls, made);
	return 0;
}

static char raced_data[64];
static const char *race_source[2], *race_data[2];

static void *change_mount(void *arg)
{
	for (unsigned i = 0; racing; i++) {
		snprintf(raced, sizeof(raced), "%s", race_source[i & 1]);
		snprintf(raced_data, sizeof(raced_data), "%s", race_data[i & 1]);
	}
	return arg;
}

static int mount_race(char **argv)
{
	pthread_t other;
	unsigned calls = 0, made = 0;

	race_source[0] = argv[0];
	race_source[1] = argv[1];
	race_data[0] = "commit=5";
	race_data[1] = argv[2];
	if (pthread_create(&other, NULL, change_mount, NULL) != 0)
		return 1;
	for (double end = now() + strtod(argv[3], NULL); now() < end; calls++)
		/* Mounted by one who was killed before it could say so, it is there when it is asked for
		 * anew. */
		if (mount(raced, "/mnt", "ext4", 0, raced_data) == 0 || errno == EBUSY) {
			made++;
			(void)umount("/mnt");
		}
	racing = 0;
	pthread_join(other, NULL);
	printf("%u %u\n", calls, made);
	return 0;
}

static int hold(const char *path)
{
	if (open(path, O_RDONLY) < 0)
		return say(-1);
	puts("ok");
	(void)fflush(stdout);
	return pause();
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (strcmp(what, "node") == 0 && argc >= 6) {
		if (argc > 6 && setuid((uid_t)strtoul(argv[6], NULL, 10)) < 0)
			return 1;
		return say(mknod(argv[2], type_of(argv[3]), number_of(argv + 4)));
	}
	if (strcmp(what, "nodeat") == 0 && argc == 7)
		return say(mknodat(open(argv[2], O_RDONLY | O_DIRECTORY), argv[3], type_of(argv[4]),
				   number_of(argv + 5)));
	if (strcmp(what, "bare") == 0 && argc == 3)
		return say(syscall(SYS_mknodat, AT_FDCWD, strtoul(argv[2], NULL, 0), S_IFCHR | NODE_MODE,
				   (unsigned)makedev(1, 3)));
	if (strcmp(what, "xattr") == 0 && argc == 5)
		return say(setxattr(argv[2], argv[3], argv[4], strlen(argv[4]), 0));
	if (strcmp(what, "fxattr") == 0 && argc == 5)
		return say(fsetxattr(open(argv[2], O_RDONLY), argv[3], argv[4], strlen(argv[4]), 0));
	if (strcmp(what, "sysinfo") == 0)
		return do_sysinfo();
	if (strcmp(what, "sysinfo32") == 0)
		return do_sysinfo32();
	if (strcmp(what, "keep") == 0 && argc == 4)
		return keep(argv[2], strtod(argv[3], NULL));
	if (strcmp(what, "flood") == 0 && argc == 4)
		return flood((int)strtol(argv[2], NULL, 10), strtod(argv[3], NULL));
	if (strcmp(what, "race") == 0 && argc == 3)
		return race(strtod(argv[2], NULL));
	if (strcmp(what, "mount") == 0 && argc == 7)
		return say(mount(argv[2], argv[3], argv[4], strtoul(argv[5], NULL, 0),
				 *argv[6] ? argv[6] : NULL));
	if (strcmp(what, "baremount") == 0 && argc == 3) {
		unsigned long at = strtoul(argv[2], NULL, 0);

		return say(syscall(SYS_mount, at, at, at, 0, at));
	}
	if (strcmp(what, "fsopen") == 0 && argc == 3)
		return say(syscall(SYS_fsopen, argv[2], 0) < 0 ? -1 : 0);
	if (strcmp(what, "mountrace") == 0 && argc == 6)
		return mount_race(argv + 2);
	if (strcmp(what, "hold") == 0 && argc == 3)
		return hold(argv[2]);
	fputs("see the source\n", stderr);
	return 2;
}
