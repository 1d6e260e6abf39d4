/*
 * Watching another process's writes, and having it make a system call: with real processes.
 * Needs root (ptrace without their seccomp filters) and Linux 6.7; skips without.
 */
#include "pupil.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>

#include "migration/remote_call.h"
#include "migration/remote_uffd.h"
#include "migration/write_track.h"

static void need(void)
{
	if (geteuid() == 0 && lx_write_track_possible())
		return;
	print_message("needs root, and Linux 6.7 with userfaultfd\n");
	skip();
}

/* ------------------------------------------------------------------ writes */

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

/* The first moments are those in which the process is at the call. */
static void is_not_harmed_when_a_caller_is_killed(void **state)
{
	need();
	struct pupil p = start(sleep_well);
	char letter = 's';

	for (int i = 0; i < 300; i++) {
		if (i % 50 == 0)
			assert_int_equal(write(p.to, &letter, 1), 1);
		pid_t caller = fork();

		if (caller == 0)
			for (;;)
				close(lx_remote_uffd(p.pid, NULL));
		usleep((useconds_t)(i * 37 % 2000));
		kill(caller, SIGKILL);
		assert_int_equal(waitpid(caller, NULL, 0), caller);
		if (i % 50 == 49)
			assert_int_equal(read(p.from, &letter, 1), 1);
	}
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
		cmocka_unit_test(is_not_harmed_when_a_caller_is_killed),
		cmocka_unit_test(passes_filters_that_would_kill),
		cmocka_unit_test(leaves_a_traced_process_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
