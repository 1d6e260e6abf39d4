/*
 * Memory that processes share: which is found, and what of it differs from what was sent. With real
 * segments of this process and of children. Needs root for what is mapped; skips without.
 */
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/fs.h"
#include "migration/page_image.h"
#include "migration/segments.h"

#define P(n)    ((uint64_t)(n)*LX_PAGE_SIZE)
#define SIZE    (UINT64_C(2) << 20)
#define SECONDS 20 /* an alarm ends the test then */

static void need(void)
{
	if (geteuid() == 0)
		return;
	print_message("needs root, to open what others have mapped\n");
	skip();
}

static ino_t number(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_ino;
}

static struct lx_segment *with_id(const struct lx_segments *s, uint64_t id)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->v[i].id == id)
			return &s->v[i];
	return NULL;
}

static int make(const char *name, unsigned flags, uint64_t size)
{
	int fd = memfd_create(name, MFD_CLOEXEC | flags);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	return fd;
}

/* Of a memfd of this process. */
static struct lx_segments find_one(int fd)
{
	struct lx_segments s = { 0 };
	pid_t self = getpid();

	assert_int_equal(lx_segments_find(&s, &self, 1), 0);
	assert_int_equal(s.n, 1);
	assert_int_equal(s.v[0].id, number(fd));
	return s;
}

/* ------------------------------------------------------------------ finding them */

/* A child that has something, until its end. Where nobody may have it: 0. */
static pid_t child_with(bool (*get)(const void *arg), const void *arg)
{
	int ready[2];
	char said = 0;

	assert_int_equal(pipe(ready), 0);
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ready[0]);
		if (!get(arg) || write(ready[1], "y", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	if (read(ready[0], &said, 1) != 1) {
		waitpid(pid, NULL, 0);
		pid = 0;
	}
	close(ready[0]);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static const struct {
	const char *name;
	unsigned flags;
	int seals;
	bool sealable;
} memfds[] = {
	{ "ring", 0, 0, false },
	{ "", MFD_ALLOW_SEALING, 0, true },
	{ "sealed", MFD_ALLOW_SEALING, F_SEAL_SEAL | F_SEAL_SHRINK, true },
	{ "for ever", MFD_ALLOW_SEALING, F_SEAL_SEAL, false },
	{ "is (deleted)", 0, 0, false },
	{ "two\nlines", 0, 0, false },
};

#define N_MEMFDS (sizeof(memfds) / sizeof(*memfds))

static void finds_memfds_that_are_open(void **state)
{
	struct lx_segments s = { 0 };
	pid_t self = getpid();
	int fds[N_MEMFDS], small = make("small", 0, LX_SEGMENT_MIN - 1),
			   large = make("large", 0, (UINT64_C(1) << 36) + 1);

	for (size_t i = 0; i < N_MEMFDS; i++) {
		fds[i] = make(memfds[i].name, memfds[i].flags, i ? SIZE : LX_SEGMENT_MIN);
		if (memfds[i].seals)
			assert_int_equal(fcntl(fds[i], F_ADD_SEALS, memfds[i].seals), 0);
	}
	/* Again: those that are known already. */
	for (int round = 0; round < 2; round++) {
		assert_int_equal(lx_segments_find(&s, &self, 1), 0);
		assert_int_equal(s.n, N_MEMFDS);
	}
	for (size_t i = 0; i < N_MEMFDS; i++) {
		const struct lx_segment *seg = with_id(&s, number(fds[i]));

		assert_non_null(seg);
		assert_string_equal(seg->name, memfds[i].name);
		assert_int_equal(seg->sealable, memfds[i].sealable);
		assert_false(seg->twice);
		assert_int_equal(lx_segment_bytes(seg), 0);
		assert_int_equal(fcntl(seg->fd, F_GETFL) & O_ACCMODE, O_RDONLY);
		close(fds[i]);
	}
	assert_int_equal(pwrite(small, "x", 1, 0), 1);
	close(small);
	close(large);
	lx_segments_release(&s);
	assert_int_equal(s.n, 0);
	assert_int_equal(lx_segments_find(&s, &self, 1), 0);
	assert_int_equal(s.n, 0);
}

static void finds_what_is_mapped(void **state)
{
	struct lx_segments s = { 0 };
	pid_t self = getpid();
	char path[] = "/dev/shm/lxt-segment-XXXXXX";
	struct stat st;

	need();
	int ring = make("ring", 0, SIZE), file = mkstemp(path), id = shmget(IPC_PRIVATE, SIZE, 0600);
	ino_t ring_number = number(ring);
	char *mapped = mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, ring, 0),
	     /* Below what its line in /proc has so many digits for. */
		*low = mmap((void *)(uintptr_t)SIZE, SIZE, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0),
	     *shared = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0),
	     *own = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
	     *attached = shmat(id, NULL, 0), *of_file;

	assert_true(file >= 0 && id >= 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(ftruncate(file, SIZE), 0);
	of_file = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	close(ring);
	assert_true(mapped != MAP_FAILED && shared != MAP_FAILED && own != MAP_FAILED &&
		    of_file != MAP_FAILED && attached != (void *)-1 && low != MAP_FAILED);
	shmctl(id, IPC_RMID, NULL);
	memset(own, 1, SIZE);
	memset(of_file, 1, SIZE);
	memset(shared, 1, P(3));

	assert_int_equal(lx_segments_find(&s, &self, 1), 0);
	assert_int_equal(s.n, 4);
	const struct lx_segment *seg = with_id(&s, ring_number);

	assert_non_null(seg);
	assert_string_equal(seg->name, "ring");
	seg = with_id(&s, (uint64_t)id);
	assert_non_null(seg);
	assert_null(seg->name);
	size_t anonymous = 0;
	for (size_t i = 0; i < s.n; i++)
		if (s.v[i].name && strcmp(s.v[i].name, "/dev/zero") == 0) {
			anonymous++;
			assert_false(s.v[i].sealable);
			assert_true(lx_segment_bytes(&s.v[i]) == P(3) || lx_segment_bytes(&s.v[i]) == 0);
		}
	assert_int_equal(anonymous, 2);
	for (size_t i = 0; i < s.n; i++) {
		assert_int_equal(fstat(s.v[i].fd, &st), 0);
		assert_int_equal(st.st_size, SIZE);
	}
	lx_segments_release(&s);
	munmap(mapped, SIZE);
	munmap(low, SIZE);
	munmap(shared, SIZE);
	munmap(own, SIZE);
	munmap(of_file, SIZE);
	shmdt(attached);
	close(file);
}

static bool share(const void *arg)
{
	char *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	(void)arg;
	return p != MAP_FAILED && memset(p, 7, SIZE) && memfd_create("small", 0) >= 0;
}

static void outlives_who_had_it(void **state)
{
	struct lx_segments s = { 0 };
	char data[LX_PAGE_SIZE];

	need();
	pid_t pid = child_with(share, NULL);

	assert_true(pid > 0);
	assert_int_equal(lx_segments_find(&s, &pid, 1), 0);
	end(pid);
	assert_int_equal(s.n, 1);
	assert_int_equal(lx_segment_read(&s.v[0], P(3), data, sizeof(data)), sizeof(data));
	assert_int_equal(data[0], 7);
	assert_int_equal(lx_segments_find(&s, &pid, 1), 0); /* there is none of that number */
	assert_int_equal(s.n, 1);
	lx_segments_release(&s);
}

/* In an IPC namespace of its own, a segment of the number that it is told. */
static bool get_numbered(const void *arg)
{
	char text[32];

	snprintf(text, sizeof(text), "%lu", (unsigned long)*(const ino_t *)arg);
	if (unshare(CLONE_NEWIPC) < 0 || lx_write_knob("/proc/sys/kernel/shm_next_id", text) < 0)
		return false;
	int id = shmget(IPC_PRIVATE, SIZE, 0600);

	return id >= 0 && (ino_t)id == *(const ino_t *)arg && shmat(id, NULL, 0) != (void *)-1;
}

static void tells_two_of_one_number(void **state)
{
	struct lx_segments s = { 0 };

	need();
	int fd = make("ring", 0, SIZE);
	ino_t ino = number(fd);
	pid_t self = getpid(), pid = ino <= INT32_MAX ? child_with(get_numbered, &ino) : 0;

	if (pid == 0) {
		close(fd);
		print_message("this kernel does not let it choose a segment's number\n");
		skip();
	}
	for (int first = 0; first < 2; first++) {
		const pid_t both[] = { first ? pid : self, first ? self : pid };

		assert_int_equal(lx_segments_find(&s, both, 2), 0);
		assert_int_equal(s.n, 1);
		assert_true(s.v[0].twice);
		lx_segments_release(&s);
	}
	assert_int_equal(lx_segments_find(&s, &self, 1), 0);
	assert_false(s.v[0].twice);
	lx_segments_release(&s);
	end(pid);
	close(fd);
}

/* Files of its own that are named as such memory is: one that waits for a writer, and one that is large. */
static bool pretend(const void *dir)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", dir, "tmpfs", 0, NULL) < 0 || chdir(dir) < 0 ||
	    syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return false;
	int large = open("/memfd:large", O_RDWR | O_CREAT, 0600);

	return mkfifo("/memfd:waits", 0600) == 0 && open("/memfd:waits", O_RDONLY | O_NONBLOCK) >= 0 &&
	       large >= 0 && ftruncate(large, SIZE) == 0 &&
	       mmap(NULL, SIZE, PROT_READ, MAP_SHARED, large, 0) != MAP_FAILED;
}

static void is_not_held_up_by_other_files(void **state)
{
	struct lx_segments s = { 0 };
	char dir[] = "/tmp/lxt-segments-XXXXXX";

	need();
	assert_non_null(mkdtemp(dir));
	pid_t pid = child_with(pretend, dir);

	assert_true(pid > 0);
	alarm(SECONDS);
	assert_int_equal(lx_segments_find(&s, &pid, 1), 0);
	alarm(0);
	assert_int_equal(s.n, 0);
	end(pid);
	rmdir(dir);
}

/* ------------------------------------------------------------------ comparing */

static void assert_runs(const struct lx_page_runs *got, size_t n, const uint64_t (*pairs)[2])
{
	assert_int_equal(got->n, n);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(got->v[i].start, P(pairs[i][0]));
		assert_int_equal(got->v[i].end, P(pairs[i][1]));
	}
}

#define ASSERT_RUNS(got, ...)                                                                                \
	assert_runs((got), sizeof((uint64_t[][2]){ __VA_ARGS__ }) / sizeof(uint64_t[2]),                     \
		    (const uint64_t[][2]){ __VA_ARGS__ })

struct compared {
	struct lx_page_runs same, other;
};

static void compare(const struct lx_segment *seg, struct compared *c)
{
	assert_int_equal(lx_segment_compare(seg, &c->same, &c->other, NULL), 0);
}

static void release(struct compared *c)
{
	lx_page_runs_release(&c->same);
	lx_page_runs_release(&c->other);
}

/* As if what is not the same had been sent. */
static void send(struct lx_segment *seg)
{
	static char data[LX_PAGE_SIZE];
	struct compared c = { 0 };

	compare(seg, &c);
	for (size_t i = 0; i < c.other.n; i++)
		for (uint64_t at = c.other.v[i].start; at < c.other.v[i].end; at += LX_PAGE_SIZE) {
			memset(data, 0, sizeof(data));
			ssize_t n = lx_segment_read(seg, at, data, sizeof(data));

			assert_true(n >= 0);
			if (n == 0)
				break; /* it has shrunk */
			assert_int_equal(lx_segment_sent(seg, at, data, sizeof(data)), 0);
		}
	release(&c);
}

static void put(int fd, uint64_t page, char what)
{
	char data[LX_PAGE_SIZE];

	memset(data, what, sizeof(data));
	assert_int_equal(pwrite(fd, data, sizeof(data), (off_t)P(page)), sizeof(data));
}

static void tells_what_differs(void **state)
{
	struct compared c = { 0 };
	int fd = make("ring", 0, SIZE);
	char *mapped = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	assert_true(mapped != MAP_FAILED);
	for (uint64_t page = 0; page < 200; page++)
		if (page < 5 || (page >= 100 && page < 190))
			put(fd, page, 'a');
	struct lx_segments s = find_one(fd);
	struct lx_segment *seg = &s.v[0];

	assert_int_equal(lx_segment_bytes(seg), P(95));
	compare(seg, &c);
	ASSERT_RUNS(&c.other, { 0, 5 }, { 100, 190 });
	assert_int_equal(c.same.n, 0);
	send(seg);
	compare(seg, &c);
	ASSERT_RUNS(&c.same, { 0, 5 }, { 100, 190 });
	assert_int_equal(c.other.n, 0);

	/* By a process that has ended when it is looked for. */
	pid_t pid = fork();
	if (pid == 0) {
		mapped[P(2)] = 'b';
		mapped[P(150) + 4095] = 'b';
		_exit(pwrite(fd, "b", 1, (off_t)P(101)) == 1 ? 0 : 1);
	}
	int status = -1;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	compare(seg, &c);
	ASSERT_RUNS(&c.other, { 2, 3 }, { 101, 102 }, { 150, 151 });
	ASSERT_RUNS(&c.same, { 0, 2 }, { 3, 5 }, { 100, 101 }, { 102, 150 }, { 151, 190 });
	/* Either alone. */
	assert_int_equal(lx_segment_compare(seg, NULL, &c.other, NULL), 0);
	ASSERT_RUNS(&c.other, { 2, 3 }, { 101, 102 }, { 150, 151 });
	assert_int_equal(lx_segment_compare(seg, &c.same, NULL, NULL), 0);
	assert_int_equal(c.same.n, 5);
	/* As it was again: what counts is the content. */
	mapped[P(2)] = mapped[P(101)] = mapped[P(150) + 4095] = 'a';
	compare(seg, &c);
	assert_int_equal(c.other.n, 0);

	/* What is given back is in neither. Read afterwards it is there, and is not what was sent. */
	assert_int_equal(madvise(mapped + P(1), P(2), MADV_REMOVE), 0);
	assert_int_equal(
		fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)P(180), (off_t)P(10)), 0);
	compare(seg, &c);
	ASSERT_RUNS(&c.same, { 0, 1 }, { 3, 5 }, { 100, 180 });
	assert_int_equal(c.other.n, 0);
	mapped[P(180)] = 0;
	compare(seg, &c);
	ASSERT_RUNS(&c.other, { 180, 181 });
	release(&c);
	munmap(mapped, SIZE);
	close(fd);
	lx_segments_release(&s);
}

static void is_of_any_size(void **state)
{
	struct compared c = { 0 };
	char data[2 * LX_PAGE_SIZE], page[LX_PAGE_SIZE] = "tail";
	int fd = make("odd", 0, SIZE + 100);
	uint64_t last = SIZE / LX_PAGE_SIZE;

	put(fd, last - 1, 'a');
	assert_int_equal(pwrite(fd, "tail", 4, SIZE), 4);
	struct lx_segments s = find_one(fd);
	struct lx_segment *seg = &s.v[0];

	compare(seg, &c);
	ASSERT_RUNS(&c.other, { last - 1, last + 1 });
	assert_int_equal(lx_segment_read(seg, P(last - 1), data, sizeof(data)), LX_PAGE_SIZE + 100);
	assert_memory_equal(data + LX_PAGE_SIZE, "tail", 5);
	assert_int_equal(lx_segment_sent(seg, P(last), page, sizeof(page)), 0);
	compare(seg, &c);
	ASSERT_RUNS(&c.other, { last - 1, last });
	ASSERT_RUNS(&c.same, { last, last + 1 });
	assert_int_equal(pwrite(fd, "T", 1, SIZE + 99), 1);
	compare(seg, &c);
	assert_int_equal(c.same.n, 0);
	send(seg);

	/* Smaller, also than a piece that is read at once, while it is open. */
	assert_int_equal(ftruncate(fd, (off_t)P(last - 1) + 1), 0);
	compare(seg, &c);
	ASSERT_RUNS(&c.other, { last - 1, last });
	assert_int_equal(c.same.n, 0);
	assert_int_equal(lx_segment_read(seg, P(last - 1), data, sizeof(data)), 1);
	assert_int_equal(lx_segment_read(seg, P(last), data, sizeof(data)), 0);
	assert_int_equal(ftruncate(fd, 0), 0);
	compare(seg, &c);
	assert_int_equal(c.same.n + c.other.n, 0);

	/* And larger, than there is room for what was sent of it. */
	assert_int_equal(ftruncate(fd, (off_t)(4 * SIZE)), 0);
	put(fd, last, 'x'); /* where something else was */
	put(fd, 3 * last, 'x');
	put(fd, 4 * last - 1, 'x');
	compare(seg, &c);
	ASSERT_RUNS(&c.other, { last, last + 1 }, { 3 * last, 3 * last + 1 }, { 4 * last - 1, 4 * last });
	send(seg);
	compare(seg, &c);
	ASSERT_RUNS(&c.same, { last, last + 1 }, { 3 * last, 3 * last + 1 }, { 4 * last - 1, 4 * last });
	release(&c);
	close(fd);
	lx_segments_release(&s);
}

static void bears_changes_while_it_looks(void **state)
{
	struct compared c = { 0 };
	int fd = make("restless", 0, SIZE);
	struct lx_segments s = find_one(fd);
	pid_t pid = fork();

	if (pid == 0) {
		char data[LX_PAGE_SIZE];

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		memset(data, 'r', sizeof(data));
		for (uint64_t i = 0;; i++) {
			uint64_t size = i * 7919 % SIZE;

			if (ftruncate(fd, (off_t)size) < 0 ||
			    pwrite(fd, data, sizeof(data), (off_t)(size / 2)) < 0)
				_exit(1);
		}
	}
	for (int i = 0; i < 500; i++) {
		compare(&s.v[0], &c);
		for (size_t k = 0; k < c.other.n; k++)
			assert_true(c.other.v[k].start % LX_PAGE_SIZE == 0 &&
				    c.other.v[k].end % LX_PAGE_SIZE == 0 && c.other.v[k].end <= SIZE);
		send(&s.v[0]);
	}
	end(pid);
	/* At rest it is what a fresh look says. */
	assert_int_equal(ftruncate(fd, SIZE), 0);
	put(fd, 9, 'z');
	send(&s.v[0]);
	compare(&s.v[0], &c);
	assert_int_equal(c.other.n, 0);
	assert_true(lx_page_runs_bytes(&c.same) > 0);
	release(&c);
	close(fd);
	lx_segments_release(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_memfds_that_are_open),
		cmocka_unit_test(finds_what_is_mapped),
		cmocka_unit_test(outlives_who_had_it),
		cmocka_unit_test(tells_two_of_one_number),
		cmocka_unit_test(is_not_held_up_by_other_files),
		cmocka_unit_test(tells_what_differs),
		cmocka_unit_test(is_of_any_size),
		cmocka_unit_test(bears_changes_while_it_looks),
	};

	return cmocka_run_group_tests_name("migration: memory that processes share", tests, NULL, NULL);
}
