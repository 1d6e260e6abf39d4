/*
 * Memory that is put in place while its process runs: the ranges, and, with userfaultfd(2), a
 * process that touches, moves, drops and inherits such memory. The latter skips where the
 * kernel has or allows no userfaultfd.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fd_pass.h"
#include "lib/fs.h"
#include "migration/lazy_memory.h"
#include "migration/page_image.h"

/* ------------------------------------------------------------------ ranges */

/* "10-20@10 ..." in pages of one byte. */
static void assert_ranges(const struct lx_lazy_ranges *s, const char *want)
{
	char text[512] = "";

	for (size_t i = 0; i < s->n; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%llu-%llu@%llu", i ? " " : "",
			 (unsigned long long)s->v[i].start, (unsigned long long)s->v[i].end,
			 (unsigned long long)s->v[i].image);
	assert_string_equal(text, want);
}

static struct lx_lazy_ranges sample(void)
{
	struct lx_lazy_ranges s = { 0 };

	assert_int_equal(lx_lazy_ranges_append(&s, 10, 20), 0);
	assert_int_equal(lx_lazy_ranges_append(&s, 30, 40), 0);
	assert_int_equal(lx_lazy_ranges_append(&s, 50, 60), 0);
	return s;
}

static void test_find(void **state)
{
	(void)state;
	struct lx_lazy_ranges s = sample();

	assert_null(lx_lazy_ranges_find(&s, 9));
	assert_ptr_equal(lx_lazy_ranges_find(&s, 10), &s.v[0]);
	assert_ptr_equal(lx_lazy_ranges_find(&s, 19), &s.v[0]);
	assert_null(lx_lazy_ranges_find(&s, 20));
	assert_ptr_equal(lx_lazy_ranges_find(&s, 55), &s.v[2]);
	assert_null(lx_lazy_ranges_find(&s, 60));
	lx_lazy_ranges_release(&s);
	assert_null(lx_lazy_ranges_find(&s, 10));
}

static void test_drop(void **state)
{
	static const struct {
		uint64_t start, end;
		const char *left;
	} cases[] = {
		{ 0, 10, "10-20@10 30-40@30 50-60@50" },  { 0, 100, "" },
		{ 10, 20, "30-40@30 50-60@50" },          { 12, 15, "10-12@10 15-20@15 30-40@30 50-60@50" },
		{ 15, 55, "10-15@10 55-60@55" },          { 20, 30, "10-20@10 30-40@30 50-60@50" },
		{ 40, 40, "10-20@10 30-40@30 50-60@50" }, { 35, 45, "10-20@10 30-35@30 50-60@50" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct lx_lazy_ranges s = sample();

		assert_int_equal(lx_lazy_ranges_drop(&s, cases[i].start, cases[i].end), 0);
		assert_ranges(&s, cases[i].left);
		lx_lazy_ranges_release(&s);
	}
}

static void test_remap(void **state)
{
	static const struct {
		uint64_t from, to, len;
		const char *now;
	} cases[] = {
		{ 30, 100, 10, "10-20@10 50-60@50 100-110@30" },
		{ 50, 0, 5, "0-5@50 10-20@10 30-40@30 55-60@55" },
		{ 15, 215, 20, "10-15@10 35-40@35 50-60@50 215-220@15 230-235@30" },
		{ 10, 30, 10, "30-40@10 50-60@50" },
		{ 20, 50, 10, "10-20@10 30-40@30" },
		{ 30, 32, 0, "10-20@10 30-40@30 50-60@50" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct lx_lazy_ranges s = sample(), copy = { 0 };

		assert_int_equal(lx_lazy_ranges_remap(&s, cases[i].from, cases[i].to, cases[i].len), 0);
		assert_ranges(&s, cases[i].now);
		assert_int_equal(lx_lazy_ranges_copy(&s, &copy), 0);
		assert_ranges(&copy, cases[i].now);
		lx_lazy_ranges_release(&s);
		lx_lazy_ranges_release(&copy);
	}
}

/* ------------------------------------------------------------------ a process */

#define PAGES   200u
#define BYTES   (PAGES * (size_t)LX_PAGE_SIZE)
#define NUMBER  17
#define PAGE(n) (memory + (n) * (size_t)LX_PAGE_SIZE)

/* What page n holds: never zero. */
static uint8_t mark(unsigned n)
{
	return (uint8_t)(n % 250 + 1);
}

/* Which pages come late, where some do. */
static bool is_late(unsigned n)
{
	return n < 60 || (n >= 90 && n < 150);
}

static void write_list(const char *dir, const char *prefix, const uint8_t *memory, bool (*has)(unsigned n))
{
	struct lx_page_runs pages = { 0 };
	lx_autobuf struct lx_buf list = { 0 };
	uint64_t start = (uint64_t)(uintptr_t)memory;
	char path[128];

	for (unsigned n = 0; n < PAGES; n++)
		if (!has || has(n))
			assert_int_equal(lx_page_runs_append(&pages, start + n * LX_PAGE_SIZE,
							     start + (n + 1) * LX_PAGE_SIZE),
					 0);
	assert_int_equal(lx_page_image_sparse(3, &pages, &list, NULL), 0);
	lx_page_runs_release(&pages);
	snprintf(path, sizeof(path), "%s/%s%d.img", dir, prefix, NUMBER);
	assert_int_equal(lx_write_file_atomic(path, list.data, list.len, 0600, NULL), 0);
}

/* Pages [from, to) of `memory`; with `late` only those that are not. */
static void write_pages(const char *dir, const uint8_t *memory, unsigned from, unsigned to, bool late)
{
	uint64_t start = (uint64_t)(uintptr_t)memory;
	char path[128];

	snprintf(path, sizeof(path), "%s/pages-3.img", dir);
	lx_autoclose int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	for (unsigned n = from; n < to; n++) {
		uint8_t page[LX_PAGE_SIZE];

		if (late && is_late(n))
			continue;

		memset(page, mark(n), sizeof(page));
		assert_int_equal(
			pwrite(fd, page, sizeof(page), (off_t)lx_page_image_offset(start + n * LX_PAGE_SIZE)),
			sizeof(page));
	}
}

/* A directory of images with all of `memory`, as a dump of NUMBER; with `late` without some of it. */
static void make_images(const char *dir, const uint8_t *memory, bool late)
{
	write_list(dir, "pagemap-", memory, NULL);
	write_pages(dir, memory, 0, PAGES, late);
	if (late)
		write_list(dir, LX_LATE_PREFIX, memory, is_late);
}

static int make_uffd(uint8_t *memory)
{
	int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_UNMAP |
			    UFFD_FEATURE_EVENT_REMOVE,
	};
	struct uffdio_register r = {
		.range = { .start = (uint64_t)(uintptr_t)memory, .len = BYTES },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) < 0 || ioctl(uffd, UFFDIO_REGISTER, &r) < 0)
		_exit(77);
	return uffd;
}

#define CHECK(x)                                                                                             \
	do {                                                                                                 \
		if (!(x)) {                                                                                  \
			fprintf(stderr, "line %d: %s\n", __LINE__, #x);                                      \
			_exit(1);                                                                            \
		}                                                                                            \
	} while (0)

static void touch(const uint8_t *page, uint8_t want)
{
	const volatile uint8_t *first = page, *last = page + LX_PAGE_SIZE - 1;

	if (*first == want && *last == want)
		return;
	fprintf(stderr, "process %d finds %u and %u at %p, and not %u\n", (int)getpid(), *first, *last,
		(const void *)page, want);
	_exit(1);
}

/* The process whose memory it is. It never reads the descriptor that it gives away. */
static void be_guest(uint8_t *memory, int to_keeper)
{
	int uffd = make_uffd(memory);
	int status;

	CHECK(lx_fd_send(to_keeper, "x", 1, uffd) == 0);
	close(uffd);

	touch(PAGE(100), mark(100));
	/* Written before it has come: what is new stays. */
	memset(PAGE(3), 0xfe, LX_PAGE_SIZE);
	/* Dropped: empty from now on. */
	CHECK(madvise(PAGE(10), 5 * LX_PAGE_SIZE, MADV_DONTNEED) == 0);
	touch(PAGE(12), 0);
	/* Unmapped, and something else mapped there. */
	CHECK(munmap(PAGE(20), 2 * LX_PAGE_SIZE) == 0);
	CHECK(mmap(PAGE(20), LX_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		   -1, 0) == PAGE(20));
	touch(PAGE(20), 0);
	/* Moved. */
	uint8_t *room = mmap(NULL, 8 * LX_PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(room != MAP_FAILED);
	CHECK(mremap(PAGE(30), 8 * LX_PAGE_SIZE, 8 * LX_PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, room) ==
	      room);
	touch(room + 7 * LX_PAGE_SIZE, mark(37));
	/* A child has all of it, too. */
	pid_t pid = fork();

	CHECK(pid >= 0);
	for (unsigned n = 0; n < PAGES; n++)
		if (n == 3)
			touch(PAGE(n), 0xfe);
		else if (n >= 10 && n < 15)
			touch(PAGE(n), 0);
		else if ((n < 20 || n >= 22) && (n < 30 || n >= 38))
			touch(PAGE(n), mark(n));
	for (unsigned n = 0; n < 8; n++)
		touch(room + n * (size_t)LX_PAGE_SIZE, mark(30 + n));
	if (pid == 0)
		_exit(0);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	_exit(0);
}

/* What comes late: the page that is waited for, or else the last that is missing. */
static void let_come(struct lx_lazy_memory *v, size_t n, struct lx_late_pages *late, const char *dir,
		     const uint8_t *memory)
{
	uint64_t start = (uint64_t)(uintptr_t)memory, page = 0;

	for (size_t i = 0; i < n; i++) {
		if (v[i].wanted)
			page = v[i].wanted;
		v[i].wanted = 0; /* one after the other: who was passed over gets it in its turn */
	}
	if (!page)
		page = late->missing.v[late->missing.n - 1].end - LX_PAGE_SIZE;
	unsigned number = (unsigned)((page - start) / LX_PAGE_SIZE);

	write_pages(dir, memory, number, number + 1, false);
	assert_int_equal(lx_page_runs_drop(&late->missing, page, page + LX_PAGE_SIZE), 0);
	for (size_t i = 0; i < n; i++)
		assert_true(lx_lazy_memory_came(&v[i], page, page + LX_PAGE_SIZE, NULL) >= 0);
}

/* Serves the guest until it ends; with `ahead`, memory comes unasked as well. */
static int keep(struct lx_lazy_memory *v, pid_t guest, bool ahead, struct lx_late_pages *late,
		const char *dir, const uint8_t *memory)
{
	struct lx_err err = LX_ERR_INIT;
	size_t n = 1;
	int status;

	while (waitpid(guest, &status, WNOHANG) == 0) {
		struct pollfd p[2] = { { .fd = v[0].uffd, .events = POLLIN },
				       { .fd = n > 1 ? v[1].uffd : -1, .events = POLLIN } };

		(void)poll(p, 2, ahead ? 0 : 5);
		for (size_t i = 0, served = n; i < served; i++) {
			int r = p[i].revents & POLLIN ? lx_lazy_memory_serve(&v[i], &v[1], &err) : 0;

			assert_true(r >= 0);
			n += r == 1;
			if (ahead)
				assert_true(lx_lazy_memory_step(&v[i], &err) >= 0);
		}
		if (lx_late_pages_any(late))
			let_come(v, n, late, dir, memory);
	}
	return status;
}

static void a_process(bool ahead, bool late)
{
	struct lx_late_pages *missing = NULL;
	char dir[] = "/tmp/lxmgr-lazy-XXXXXX";
	int pair[2], status = 0;
	/* Low: it is also the place in a file, and not every file system has files that long. */
	uint8_t *memory = mmap((void *)0x20000000, BYTES, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	struct lx_lazy_memory v[2] = { { .uffd = -1, .pages = -1 }, { .uffd = -1, .pages = -1 } };

	assert_ptr_not_equal(memory, MAP_FAILED);
	assert_non_null(mkdtemp(dir));
	make_images(dir, memory, late);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	pid_t guest = fork();

	assert_true(guest >= 0);
	if (guest == 0)
		be_guest(memory, pair[1]);
	close(pair[1]);
	char byte;
	int uffd = -1;
	(void)lx_fd_recv(pair[0], &byte, 1, &uffd);
	int images = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (uffd >= 0) {
		assert_int_equal(lx_lazy_memory_open(images, NUMBER, uffd, &v[0], NULL), 0);
		assert_int_equal(lx_late_pages_read(images, NUMBER, &missing, NULL), 0);
		assert_int_equal(lx_late_pages_any(missing), late);
		assert_int_equal(lx_late_pages_listed(images), late);
		v[0].late = lx_late_pages_of(missing, 3);
		status = keep(v, guest, ahead, missing, dir, memory);
		assert_int_equal(lx_late_pages_forget(images, NULL), 0);
		assert_false(lx_late_pages_listed(images));
	} else {
		waitpid(guest, &status, 0);
	}
	lx_lazy_memory_release(&v[0]);
	lx_lazy_memory_release(&v[1]);
	lx_late_pages_free(missing);
	close(images);
	close(pair[0]);
	munmap(memory, BYTES);
	assert_int_equal(lx_rm_rf(dir, NULL), 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(status, 0);
}

static void test_only_what_is_touched(void **state)
{
	(void)state;
	a_process(false, false);
}

static void test_all_of_it(void **state)
{
	(void)state;
	a_process(true, false);
}

/* The guest waits where it touches what has not come, in whatever has become of that place. */
static void test_some_of_it_late(void **state)
{
	(void)state;
	a_process(true, true);
	a_process(false, true);
}

static void test_no_such_images(void **state)
{
	(void)state;
	struct lx_lazy_memory m;
	char dir[] = "/tmp/lxmgr-lazy-XXXXXX", path[64];

	assert_non_null(mkdtemp(dir));
	lx_autoclose int images = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	/* A process that has no such memory. */
	assert_int_equal(lx_lazy_memory_open(images, NUMBER, -1, &m, NULL), 0);
	assert_int_equal(lx_lazy_memory_step(&m, NULL), 1);
	lx_lazy_memory_release(&m);
	snprintf(path, sizeof(path), "%s/pagemap-%d.img", dir, NUMBER);
	assert_int_equal(lx_write_file_atomic(path, "no list", 7, 0600, NULL), 0);
	assert_true(lx_lazy_memory_open(images, NUMBER, -1, &m, NULL) < 0);
	assert_int_equal(lx_rm_rf(dir, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_drop),
		cmocka_unit_test(test_remap),
		cmocka_unit_test(test_only_what_is_touched),
		cmocka_unit_test(test_all_of_it),
		cmocka_unit_test(test_no_such_images),
		cmocka_unit_test(test_some_of_it_late),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
