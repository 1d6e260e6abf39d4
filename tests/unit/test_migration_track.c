/*
 * Watching another process's writes, and having it make a system call: with real processes.
 * Needs root (ptrace without their seccomp filters) and Linux 6.7; skips without.
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
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "migration/page_image.h"
#include "migration/remote_call.h"
#include "migration/write_track.h"

#define PAGES 256u
#define BYTES (PAGES * LX_PAGE_SIZE)

/* What the process is to do next: a letter over a pipe, answered by one. */
struct pupil {
	pid_t pid;
	int to, from;
	uint8_t *memory;
};

static struct pupil start(void (*act)(uint8_t *memory, char letter))
{
	struct pupil p = { 0 };
	int down[2], up[2];

	assert_int_equal(pipe(down) | pipe(up), 0);
	p.memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(p.memory != MAP_FAILED);
	p.pid = fork();
	if (p.pid == 0) {
		char letter = 0;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(down[1]);
		memset(p.memory, 1, BYTES);
		while (write(up[1], &letter, 1) == 1 && read(down[0], &letter, 1) == 1)
			act(p.memory, letter);
		_exit(0);
	}
	assert_true(p.pid > 0);
	close(down[0]);
	close(up[1]);
	p.to = down[1];
	p.from = up[0];
	assert_int_equal(read(p.from, &(char){ 0 }, 1), 1);
	return p;
}

static void tell(const struct pupil *p, char letter)
{
	assert_int_equal(write(p->to, &letter, 1), 1);
	assert_int_equal(read(p->from, &(char){ 0 }, 1), 1);
}

/* It must end by itself, unhurt. */
static void end(struct pupil *p)
{
	int status = -1;

	close(p->to);
	assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
	assert_int_equal(status, 0);
	close(p->from);
	munmap(p->memory, BYTES);
}

/* Pages of the pupil's memory that are in the set. */
static uint64_t within(const struct lx_page_runs *s, const struct pupil *p, uint64_t first, uint64_t n)
{
	struct lx_page_runs there = { 0 }, common = { 0 };
	uint64_t start = (uintptr_t)p->memory + first * LX_PAGE_SIZE;

	assert_int_equal(lx_page_runs_append(&there, start, start + n * LX_PAGE_SIZE), 0);
	assert_int_equal(lx_page_runs_common(s, &there, &common), 0);
	uint64_t pages = lx_page_runs_bytes(&common) / LX_PAGE_SIZE;

	lx_page_runs_release(&there);
	lx_page_runs_release(&common);
	return pages;
}

static void need(void)
{
	if (geteuid() == 0 && lx_write_track_possible())
		return;
	print_message("needs root, and Linux 6.7 with userfaultfd\n");
	skip();
}

/* ------------------------------------------------------------------ writes */

static void touch(uint8_t *memory, char letter)
{
	void *moved;

	switch (letter) {
	case 'w': /* three pages */
		for (size_t i = 10; i < 13; i++)
			memory[i * LX_PAGE_SIZE]++;
		break;
	case 'p': /* a page that may not be read afterwards */
		memory[20 * LX_PAGE_SIZE]++;
		mprotect(memory + 20 * LX_PAGE_SIZE, LX_PAGE_SIZE, PROT_NONE);
		break;
	case 'r': /* another mapping where this one was */
		if (mmap(memory, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
			 0) == memory)
			memset(memory, 2, BYTES);
		break;
	case 'm': /* another one moved to where it was */
		moved = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		memset(moved, 3, BYTES);
		(void)mremap(moved, BYTES, BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, memory);
		break;
	default:
		break;
	}
}

static void tells_what_was_written(void **state)
{
	struct lx_page_runs watched = { 0 }, written = { 0 };
	struct lx_write_track t;

	need();
	struct pupil p = start(touch);

	assert_int_equal(lx_write_track_open(p.pid, &t, NULL), 0);
	assert_int_equal(lx_write_track_take(&t, &written, NULL), 0);
	assert_int_equal(within(&written, &p, 0, PAGES), PAGES);
	tell(&p, '-');
	assert_int_equal(lx_write_track_take(&t, &written, NULL), 0);
	assert_int_equal(within(&written, &p, 0, PAGES), 0);
	tell(&p, 'w');
	/* Looking changes nothing. */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(lx_write_track_look(&t, &watched, &written, NULL), 0);
		assert_int_equal(within(&watched, &p, 0, PAGES), PAGES);
		assert_int_equal(within(&written, &p, 0, PAGES), 3);
	}
	assert_int_equal(within(&written, &p, 10, 3), 3);
	assert_int_equal(lx_write_track_take(&t, &written, NULL), 0);
	assert_int_equal(within(&written, &p, 0, PAGES), 3);
	tell(&p, 'p');
	assert_int_equal(lx_write_track_look(&t, &watched, &written, NULL), 0);
	assert_true(within(&watched, &p, 20, 1) == 0 || within(&written, &p, 20, 1) == 1);
	lx_write_track_close(&t);
	lx_page_runs_release(&watched);
	lx_page_runs_release(&written);
	end(&p);
}

/* A mapping is not believed to be what it was for lying where another one lay. */
static void is_not_deceived_by_other_mappings(void **state)
{
	need();
	for (const char *how = "rm"; *how; how++) {
		struct lx_page_runs watched = { 0 }, written = { 0 };
		struct lx_write_track t;
		struct pupil p = start(touch);

		assert_int_equal(lx_write_track_open(p.pid, &t, NULL), 0);
		assert_int_equal(lx_write_track_take(&t, &written, NULL), 0);
		tell(&p, *how);
		assert_int_equal(lx_write_track_look(&t, &watched, &written, NULL), 0);
		/* Not watched, or all of it written: never clean. */
		assert_true(within(&watched, &p, 0, PAGES) == 0 || within(&written, &p, 0, PAGES) == PAGES);
		assert_int_equal(lx_write_track_take(&t, &written, NULL), 0);
		assert_int_equal(within(&written, &p, 0, PAGES), PAGES);
		lx_write_track_close(&t);
		lx_page_runs_release(&watched);
		lx_page_runs_release(&written);
		end(&p);
	}
}

static void fails_when_the_process_has_gone(void **state)
{
	struct lx_page_runs written = { 0 };
	struct lx_write_track t;

	need();
	struct pupil p = start(touch);

	assert_int_equal(lx_write_track_open(p.pid, &t, NULL), 0);
	end(&p);
	assert_true(lx_write_track_take(&t, &written, NULL) < 0);
	lx_write_track_close(&t);
	assert_true(lx_write_track_open(p.pid, &t, NULL) < 0);
	assert_int_equal(t.uffd, -1);
	lx_page_runs_release(&written);
}

/* ------------------------------------------------------------------ calls */

static void watch_often(pid_t pid)
{
	for (int i = 0; i < 20; i++) {
		struct lx_write_track t;

		assert_int_equal(lx_write_track_open(pid, &t, NULL), 0);
		lx_write_track_close(&t);
	}
}

static void sleep_well(uint8_t *memory, char letter)
{
	struct timespec second = { .tv_sec = 0, .tv_nsec = 300000000 };

	/* Calls that the kernel restarts in different ways; an error ends the process with a status. */
	if (nanosleep(&second, NULL) < 0)
		_exit(1);
	if (poll(NULL, 0, 300) != 0)
		_exit(2);
	/* What it has on its stack and in its registers goes on as well. */
	volatile uint64_t sum = 0;

	for (uint64_t i = 0; i < 20000000; i++)
		sum += i;
	if (sum != 199999990000000u)
		_exit(3);
	(void)memory;
	(void)letter;
}

static void leaves_the_process_as_it_was(void **state)
{
	need();
	struct pupil p = start(sleep_well);
	char letter = 's';

	assert_int_equal(write(p.to, &letter, 1), 1);
	for (int i = 0; i < 20; i++) {
		watch_often(p.pid);
		usleep(30000);
	}
	assert_int_equal(read(p.from, &letter, 1), 1);
	end(&p);
}

/* Kills whoever calls userfaultfd(2) or close(2). */
static void refuse_calls(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_close, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { .len = sizeof(code) / sizeof(*code), .filter = code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0)
		_exit(4);
}

static void confine(uint8_t *memory, char letter)
{
	(void)memory;
	if (letter == 'c')
		refuse_calls();
}

static void passes_filters_that_would_kill(void **state)
{
	need();
	struct pupil p = start(confine);

	tell(&p, 'c');
	watch_often(p.pid);
	tell(&p, '-');
	end(&p);
}

static void leaves_a_traced_process_alone(void **state)
{
	struct lx_remote remote, second;

	need();
	struct pupil p = start(touch);

	assert_int_equal(lx_remote_begin(p.pid, &remote, NULL), 0);
	assert_int_equal(lx_remote_begin(p.pid, &second, NULL), -EBUSY);
	const unsigned long none[6] = { 0 };

	assert_int_equal(lx_remote_call(&remote, SYS_getpid, none, NULL), p.pid);
	assert_int_equal(lx_remote_call(&remote, SYS_close, (const unsigned long[6]){ 9999 }, NULL), -EBADF);
	lx_remote_end(&remote);
	tell(&p, '-');
	end(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tells_what_was_written),
		cmocka_unit_test(is_not_deceived_by_other_mappings),
		cmocka_unit_test(fails_when_the_process_has_gone),
		cmocka_unit_test(leaves_the_process_as_it_was),
		cmocka_unit_test(passes_filters_that_would_kill),
		cmocka_unit_test(leaves_a_traced_process_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
