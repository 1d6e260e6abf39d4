/* A writer that never pauses, a slow reader and one who has nothing to do with it: who of them may run. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "migration/drain.h"
#include "migration/sockets.h"

enum { WRITER, READER, BYSTANDER, PROCESSES };

struct lab {
	pid_t pids[PROCESSES];
	_Atomic unsigned long *did; /* how often each has done what it does */
	struct lx_drain drain;
};

__attribute__((noreturn)) static void be(int who, int sock, _Atomic unsigned long *did)
{
	char message[64] = "y";

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;; did[who]++) {
		if (who == WRITER && write(sock, message, sizeof(message)) < 0)
			_exit(1);
		if (who == READER && read(sock, message, sizeof(message)) < 0)
			_exit(1);
		if (who != WRITER)
			usleep(who == READER ? 200 : 1000);
	}
}

static int setup(void **state)
{
	struct lab *lab = calloc(1, sizeof(*lab));
	int s[2], on = 1;

	assert_non_null(lab);
	lab->did = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(lab->did, MAP_FAILED);
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, s), 0);
	assert_int_equal(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
	for (int who = 0; who < PROCESSES; who++) {
		lab->pids[who] = fork();
		assert_true(lab->pids[who] >= 0);
		if (lab->pids[who] == 0) {
			close(s[who == WRITER ? 1 : 0]);
			if (who == BYSTANDER)
				close(s[1]);
			be(who, s[who == WRITER ? 0 : 1], lab->did);
		}
	}
	close(s[0]);
	close(s[1]);
	while (!lab->did[BYSTANDER]) /* it has let go of what it was born with */
		usleep(1000);
	*state = lab;
	return 0;
}

static int teardown(void **state)
{
	struct lab *lab = *state;

	lx_drain_end(&lab->drain);
	for (int who = 0; who < PROCESSES; who++) {
		kill(lab->pids[who], SIGKILL);
		waitpid(lab->pids[who], NULL, 0);
	}
	munmap(lab->did, 4096);
	free(lab);
	return 0;
}

static bool unread(const struct lab *lab)
{
	bool is = false;

	assert_int_equal(lx_sockets_unread(lab->pids, PROCESSES, &is, NULL), 0);
	return is;
}

static bool comes_to(const struct lab *lab, bool wanted)
{
	for (int i = 0; i < 2000; i++, usleep(5000))
		if (unread(lab) == wanted)
			return true;
	return false;
}

static bool runs(const struct lab *lab, int who)
{
	unsigned long before = lab->did[who];

	for (int i = 0; i < 2000 && lab->did[who] == before; i++)
		usleep(1000);
	return lab->did[who] != before;
}

/* It was told to stop, and does so where it is next. */
static bool stands(const struct lab *lab, int who)
{
	for (int i = 0; i < 200; i++) {
		unsigned long before = lab->did[who];

		usleep(50000);
		if (lab->did[who] == before)
			return true;
	}
	return false;
}

static int hold(struct lab *lab)
{
	/* At some moment the reader may have taken all. */
	for (int i = 0; i < 100; i++) {
		int held = lx_drain_begin(&lab->drain, getpid(), lab->pids, PROCESSES, NULL);

		if (held != 0)
			return held;
	}
	return 0;
}

static void only_writers_are_held(void **state)
{
	struct lab *lab = *state;

	assert_true(comes_to(lab, true));
	assert_int_equal(hold(lab), 1);
	assert_true(stands(lab, WRITER));
	lx_drain_wait(lab->pids, PROCESSES, 10000);
	assert_false(unread(lab));
	assert_true(runs(lab, BYSTANDER));
	lx_drain_end(&lab->drain);
	for (int who = 0; who < PROCESSES; who++)
		assert_true(runs(lab, who));
	assert_true(comes_to(lab, true));
}

/* Whatever becomes of who holds them. */
static void all_go_on_when_it_is_killed(void **state)
{
	struct lab *lab = *state;

	assert_true(comes_to(lab, true));
	assert_int_equal(hold(lab), 1);
	assert_true(stands(lab, WRITER));
	assert_int_equal(kill(lab->drain.child, SIGKILL), 0);
	for (int who = 0; who < PROCESSES; who++)
		assert_true(runs(lab, who));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(only_writers_are_held),
		TEST(all_go_on_when_it_is_killed),
	};

	return cmocka_run_group_tests_name("migration_drain", tests, NULL, NULL);
}
