/* Processes that come and go, and one that hears nothing any more. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "migration/casualties.h"

#define PROCESSES 8
/* Signals that a process blocks when it is told to. */
#define GO_DEAF SIGUSR1

static volatile sig_atomic_t told;

static void tell(int sig)
{
	told = 1;
}

/* As CRIU leaves one: all but the one it stops by, and those that cannot be blocked. */
static void go_deaf(void)
{
	uint64_t all = ~(1ull << (SIGTRAP - 1));

	/* libc leaves out those of its own. */
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof(all));
}

static pid_t start(const char *name)
{
	int ready[2];
	char byte = 0;

	assert_int_equal(pipe(ready), 0);
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prctl(PR_SET_NAME, name);
		signal(GO_DEAF, tell);
		(void)!write(ready[1], &byte, 1);
		while (!told)
			usleep(1000);
		go_deaf();
		for (;;)
			(void)pause();
	}
	assert_true(pid > 0);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void who_has_gone_is_named(void **state)
{
	pid_t pids[PROCESSES];
	struct lx_roll roll;
	char names[200], want[200], name[16];

	for (int i = 0; i < PROCESSES; i++) {
		snprintf(name, sizeof(name), "ser)v (e%d", i);
		pids[i] = start(name);
	}
	assert_int_equal(lx_roll_take(pids, PROCESSES, &roll, NULL), 0);
	assert_int_equal(roll.n, PROCESSES);
	assert_int_equal(lx_roll_missing(&roll, names, sizeof(names)), 0);
	assert_string_equal(names, "");
	assert_true(lx_roll_lives(&roll, pids[1]));
	/* Not collected yet, and gone all the same. */
	kill(pids[1], SIGKILL);
	siginfo_t how;

	assert_int_equal(waitid(P_PID, (id_t)pids[1], &how, WEXITED | WNOWAIT), 0);
	end(pids[4]);
	assert_false(lx_roll_lives(&roll, pids[1]));
	assert_int_equal(lx_roll_missing(&roll, names, sizeof(names)), 2);
	snprintf(want, sizeof(want), "ser)v (e1 (%d), ser)v (e4 (%d)", (int)pids[1], (int)pids[4]);
	assert_string_equal(names, want);
	for (int i = 0; i < PROCESSES; i++)
		if (i != 4)
			end(pids[i]);
	assert_int_equal(lx_roll_missing(&roll, names, sizeof(names)), PROCESSES);
	assert_non_null(strstr(names, " and 3 more"));
	/* A place that is too small is no harm. */
	assert_int_equal(lx_roll_missing(&roll, names, 10), PROCESSES);
	assert_true(strlen(names) < 10);
	lx_roll_release(&roll);
}

static void who_hears_nothing_is_named(void **state)
{
	pid_t pid = start("deaf");
	struct lx_roll roll;
	char names[64];

	assert_int_equal(lx_roll_take(&pid, 1, &roll, NULL), 0);
	kill(pid, GO_DEAF);
	for (int i = 0; i < 1000 && lx_roll_missing(&roll, names, sizeof(names)) == 0; i++)
		usleep(1000);
	assert_int_equal(lx_roll_missing(&roll, names, sizeof(names)), 1);
	assert_true(lx_roll_lives(&roll, pid));
	lx_roll_release(&roll);
	/* It was so before. */
	assert_int_equal(lx_roll_take(&pid, 1, &roll, NULL), 0);
	assert_int_equal(lx_roll_missing(&roll, names, sizeof(names)), 0);
	lx_roll_release(&roll);
	end(pid);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_has_gone_is_named),
		cmocka_unit_test(who_hears_nothing_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
