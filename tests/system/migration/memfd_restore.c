/*
 * Restores memory that processes share as CRIU does (criu/memfd.c, criu/shmem.c, CRIU 4.2), for the corners
 * of what its library does then (migration/preload/adopt.c). CRIU itself restores such memory in the test of
 * moves, tests/system/test_cluster_move_shared.py.
 *
 *   memfd_restore IMAGES [SHMID BYTES SEALABLE PAGES_ID]...
 *
 * Asks for the step that comes before a restore, then makes each segment, reads all of its pages out of
 * parent/pages-<PAGES_ID>.img and the second one out of pages-9.img once more, and says in a line:
 *
 *   <inode> <seals> <descriptor's flags> <bytes> <first byte of pages 0, 1 and 2> <as mapped> <error of an
 * exec>
 *
 * Like CRIU it has a store for descriptors, and exports it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE      4096
#define STORE_MAX 64
#define OWN_PAGES 9

static int store[STORE_MAX], n_store;

int fdstore_add(int fd);
int fdstore_get(int id);

static void check(long r, const char *what)
{
	if (r >= 0)
		return;
	fprintf(stderr, "memfd_restore: %s: %s\n", what, strerror(errno));
	exit(1);
}

__attribute__((visibility("default"))) int fdstore_add(int fd)
{
	if (n_store == STORE_MAX)
		return -1;
	store[n_store] = fcntl(fd, F_DUPFD_CLOEXEC, 100);
	check(store[n_store], "store");
	return n_store++;
}

__attribute__((visibility("default"))) int fdstore_get(int id)
{
	return id >= 0 && id < n_store ? dup(store[id]) : -1;
}

static void ask(void)
{
	int status;

	check(setenv("CRTOOLS_SCRIPT_ACTION", "pre-restore", 1), "setenv");
	pid_t pid = fork();

	check(pid, "fork");
	check(waitpid(pid, &status, 0), "waitpid");
	check(unsetenv("CRTOOLS_SCRIPT_ACTION"), "unsetenv");
	if (status != 0)
		exit(1);
}

static int open_image(int dir, const char *format, unsigned long number)
{
	char name[64];

	snprintf(name, sizeof(name), format, number);
	int fd = openat64(dir, name, O_RDONLY);

	check(fd, name);
	return fd;
}

static void read_pages(int dir, unsigned long id, char *to, size_t len, off64_t at)
{
	int fd = open_image(dir, "pages-%lu.img", id);

	while (len > 0) {
		ssize_t n = pread64(fd, to, len, at);

		check(n > 0 ? 0 : -1, "pread");
		to += n;
		at += n;
		len -= (size_t)n;
	}
	close(fd);
}

/* Whether it may be run: that is what it is open for, and nobody else writes to it. */
static int try_exec(int fd)
{
	char empty[] = "", *const none[] = { empty, NULL };
	int status;
	pid_t pid = fork();

	check(pid, "fork");
	if (pid == 0) {
		syscall(SYS_execveat, fd, "", none, none, AT_EMPTY_PATH);
		_exit(errno);
	}
	check(waitpid(pid, &status, 0), "waitpid");
	return WEXITSTATUS(status);
}

static void restore(int images, int parent, unsigned long shmid, size_t len, int sealable,
		    unsigned long pages)
{
	char now[3];
	struct stat st;
	int fd = memfd_create("restored", sealable ? MFD_ALLOW_SEALING : 0);

	check(fd, "memfd_create");
	check(ftruncate(fd, (off_t)len), "ftruncate");
	char *at = mmap64(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	check(at == MAP_FAILED ? -1 : 0, "mmap");
	int list = open_image(images, "pagemap-shmem-%lu.img", shmid),
	    other = open_image(parent, "pagemap-shmem-%lu.img", shmid);

	read_pages(parent, pages, at, len, 0);
	/* Its descriptor is that of the file before it. */
	read_pages(images, OWN_PAGES, at + PAGE, PAGE, PAGE);
	close(list);
	close(other);
	char mapped[] = { at[0], at[PAGE], at[PAGE * 2L] };

	check(munmap(at, len), "munmap");
	for (long i = 0; i < 3; i++)
		check(syscall(SYS_pread64, fd, &now[i], 1, i * PAGE), "pread");
	check(fstat(fd, &st), "fstat");
	int seals = fcntl(fd, F_GET_SEALS), flags = fcntl(fd, F_GETFD);

	printf("%lu %d %d %ld %.3s %.3s %d\n", (unsigned long)st.st_ino, seals, flags, (long)st.st_size, now,
	       mapped, try_exec(fd));
	close(fd);
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	setvbuf(stdout, NULL, _IONBF, 0);
	ask();
	int images = open(argv[1], O_RDONLY | O_DIRECTORY), parent = openat(images, "parent", O_RDONLY);

	check(parent, "parent");
	for (int i = 2; i + 3 < argc; i += 4)
		restore(images, parent, strtoul(argv[i], NULL, 10), strtoul(argv[i + 1], NULL, 10),
			*argv[i + 2] == '1', strtoul(argv[i + 3], NULL, 10));
	return 0;
}
