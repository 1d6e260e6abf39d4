/* An agent's journal of a move: what its states may become, and what is on disk when. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/fs.h"
#include "migration/criu.h"
#include "migration/record.h"
#include "proto/pb.h"

#define OPERATION "c0370b30-2ca4-4a36-a2b1-c405a16430a2"
#define STATE(s)  LXMGR__V1__MOVE_STATE__MOVE_STATE_##s

static char dir[] = "/tmp/lxmgr-record-XXXXXX";

static int enter(void **state)
{
	memcpy(dir + sizeof(dir) - 7, "XXXXXX", 7);
	return mkdtemp(dir) ? 0 : -1;
}

static int leave(void **state)
{
	return lx_rm_rf(dir, NULL);
}

static lx_move_record *record(Lxmgr__V1__MoveRole role, Lxmgr__V1__MoveState at)
{
	lx_move_record *rec = malloc(sizeof(*rec));

	assert_non_null(rec);
	lxmgr__v1__move_record__init(rec);
	assert_int_equal(lx_pb_set(&rec->operation, OPERATION), 0);
	assert_int_equal(lx_pb_set(&rec->instance, "web1"), 0);
	rec->role = role;
	rec->state = at;
	return rec;
}

static Lxmgr__V1__MoveState on_disk(void)
{
	lx_automoverecord lx_move_record *rec = NULL;

	assert_int_equal(lx_move_record_load(dir, OPERATION, &rec, NULL), 0);
	return rec->state;
}

static void what_is_said_is_on_disk(void **state)
{
	lx_automoverecord lx_move_record *rec =
		record(LXMGR__V1__MOVE_ROLE__MOVE_ROLE_SOURCE, STATE(RUNNING));
	struct lx_err err = LX_ERR_INIT;

	assert_int_equal(lx_move_record_save(dir, rec, &err), 0);
	assert_int_equal(on_disk(), STATE(RUNNING));
	assert_int_equal(lx_move_record_advance(dir, rec, STATE(COMMITTED), &err), 0);
	assert_int_equal(on_disk(), STATE(COMMITTED));
	assert_int_equal(lx_move_record_remove(dir, OPERATION, &err), 0);
	assert_int_equal(lx_move_record_remove(dir, OPERATION, &err), 0);
	assert_int_equal(lx_move_record_load(dir, OPERATION, &rec, &err), -ENOENT);
}

/* The point of no return: neither side comes back from it, whatever it is told. */
static void committed_only_goes_forward(void **state)
{
	static const Lxmgr__V1__MoveState back[] = { STATE(EXPECTED), STATE(RUNNING), STATE(READY),
						     STATE(ABORTED) };

	for (int role = 1; role <= 2; role++) {
		lx_automoverecord lx_move_record *rec = record((Lxmgr__V1__MoveRole)role, STATE(COMMITTED));
		struct lx_err why = LX_ERR_INIT, err = LX_ERR_INIT;

		assert_int_equal(lx_move_record_save(dir, rec, NULL), 0);
		for (size_t i = 0; i < sizeof(back) / sizeof(*back); i++)
			assert_true(lx_move_record_advance(dir, rec, back[i], &err) < 0);
		lx_err_set(&why, LX_ABORTED, "somebody gave up");
		assert_true(lx_move_record_abort(dir, rec, &why, &err) < 0);
		assert_int_equal(rec->state, STATE(COMMITTED));
		assert_int_equal(on_disk(), STATE(COMMITTED));
		assert_int_equal(lx_move_record_advance(dir, rec, STATE(DONE), &err), 0);
	}
}

/* Unless the other side is no more: the source's files are the only ones left. */
static void only_a_source_takes_back(void **state)
{
	for (int role = 1; role <= 2; role++) {
		lx_automoverecord lx_move_record *rec = record((Lxmgr__V1__MoveRole)role, STATE(COMMITTED));
		bool source = role == LXMGR__V1__MOVE_ROLE__MOVE_ROLE_SOURCE;
		struct lx_err why = LX_ERR_INIT, err = LX_ERR_INIT;

		assert_int_equal(lx_move_record_save(dir, rec, NULL), 0);
		lx_err_set(&why, LX_ABORTED, "it is no more");
		assert_int_equal(lx_move_record_take_back(dir, rec, &why, &err) == 0, source);
		assert_int_equal(on_disk(), source ? STATE(ABORTED) : STATE(COMMITTED));
		if (source)
			assert_string_equal(rec->error, "it is no more");
	}
}

/* Given up is given up: it cannot be committed any more. */
static void aborted_is_the_end(void **state)
{
	for (int role = 1; role <= 2; role++) {
		lx_automoverecord lx_move_record *rec = record((Lxmgr__V1__MoveRole)role, STATE(RUNNING));
		struct lx_err why = LX_ERR_INIT, err = LX_ERR_INIT;

		lx_err_set(&why, LX_UNAVAILABLE, "the link broke");
		assert_int_equal(lx_move_record_abort(dir, rec, &why, &err), 0);
		assert_int_equal(on_disk(), STATE(ABORTED));
		assert_string_equal(rec->error, "the link broke");
		assert_true(lx_move_record_advance(dir, rec, STATE(COMMITTED), &err) < 0);
		assert_true(lx_move_record_advance(dir, rec, STATE(READY), &err) < 0);
		assert_int_equal(on_disk(), STATE(ABORTED));
	}
}

/* A destination commits only what it has ready; a source is never "ready". */
static void each_role_has_its_own_way(void **state)
{
	lx_automoverecord lx_move_record *dst =
		record(LXMGR__V1__MOVE_ROLE__MOVE_ROLE_DESTINATION, STATE(RUNNING));
	lx_automoverecord lx_move_record *src =
		record(LXMGR__V1__MOVE_ROLE__MOVE_ROLE_SOURCE, STATE(RUNNING));
	struct lx_err err = LX_ERR_INIT;

	assert_true(lx_move_record_advance(dir, dst, STATE(COMMITTED), &err) < 0);
	assert_int_equal(lx_move_record_advance(dir, dst, STATE(READY), &err), 0);
	assert_int_equal(lx_move_record_advance(dir, dst, STATE(COMMITTED), &err), 0);
	assert_true(lx_move_record_advance(dir, src, STATE(READY), &err) < 0);
}

/* What cannot be written has not happened. */
static void a_full_disk_changes_nothing(void **state)
{
	lx_automoverecord lx_move_record *rec =
		record(LXMGR__V1__MOVE_ROLE__MOVE_ROLE_SOURCE, STATE(RUNNING));
	struct lx_err err = LX_ERR_INIT;

	assert_true(lx_move_record_advance("/proc/no-such-place", rec, STATE(COMMITTED), &err) < 0);
	assert_int_equal(rec->state, STATE(RUNNING));
	assert_true(err.code != LX_OK);
}

static void damaged_and_foreign_files_are_refused(void **state)
{
	lx_automoverecord lx_move_record *rec =
		record(LXMGR__V1__MOVE_ROLE__MOVE_ROLE_SOURCE, STATE(RUNNING));
	lx_move_record *got = NULL;
	char path[256];

	assert_int_equal(lx_move_record_save(dir, rec, NULL), 0);
	snprintf(path, sizeof(path), "%s/moves/" OPERATION ".pb", dir);
	assert_int_equal(lx_write_file_atomic(path, "\xff\xff\xff", 3, 0600, NULL), 0);
	assert_true(lx_move_record_load(dir, OPERATION, &got, NULL) < 0);
	/* One under another's name. */
	assert_int_equal(lx_pb_set(&rec->operation, "other"), 0);
	assert_int_equal(lx_move_record_save(dir, rec, NULL), 0);
	char other[256];

	snprintf(other, sizeof(other), "%s/moves/other.pb", dir);
	assert_int_equal(rename(other, path), 0);
	assert_true(lx_move_record_load(dir, OPERATION, &got, NULL) < 0);
}

static void operations_are_names_of_files(void **state)
{
	static const char *const bad[] = {
		"",
		"../x",
		"a/b",
		".",
		"a b",
		"x\n",
		"0123456789012345678901234567890123456789012345678901234567890123456789"
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_true(lx_move_operation_check(bad[i], NULL) < 0);
	assert_int_equal(lx_move_operation_check(OPERATION, NULL), 0);
	assert_int_equal(lx_move_operation_check(OPERATION "-2", NULL), 0);
}

/* ------------------------------------------------------------------ CRIU */

static bool has(const struct lx_criu_args *args, const char *option, const char *value)
{
	for (unsigned i = 0; i < args->n; i++)
		if (strcmp(args->v[i], option) == 0)
			return !value || (i + 1 < args->n && strcmp(args->v[i + 1], value) == 0);
	return false;
}

static void a_dump_says_what_it_must(void **state)
{
	const struct lx_criu_dump how = { .criu = "/sbin/criu",
					  .init = 4711,
					  .images = "/run/x",
					  .freezer = "/sys/fs/cgroup/l/web1/payload",
					  .cgroup = "/l/web1/payload",
					  .hook = "/libexec/hook",
					  .v2_only = "/run/x/yard" };
	struct lx_criu_args args;

	assert_int_equal(lx_criu_dump_args(&how, &args, NULL), 0);
	assert_string_equal(args.v[0], "/sbin/criu");
	assert_string_equal(args.v[1], "dump");
	assert_true(has(&args, "--tree", "4711"));
	assert_true(has(&args, "--images-dir", "/run/x"));
	assert_true(has(&args, "--cgroup-root", "/l/web1/payload"));
	assert_true(has(&args, "--action-script", "/libexec/hook"));
	assert_true(has(&args, "--empty-ns", "net"));
	assert_true(has(&args, "--network-lock", "skip"));
	assert_true(has(&args, "--tcp-established", NULL));
	assert_true(has(&args, "--cgroup-dump-controller", ""));
	assert_true(has(&args, "--cgroup-yard", "/run/x/yard"));
	/* It would let a source go on that has committed. */
	assert_false(has(&args, "--leave-running", NULL));
	assert_true(has(&args, "--leave-stopped", NULL));
	assert_null(args.v[args.n]);
	lx_criu_args_release(&args);
}

static void versions(void **state)
{
	assert_true(lx_criu_version_ok("4.2"));
	assert_true(lx_criu_version_ok("4.2.1"));
	assert_true(lx_criu_version_ok("5.0"));
	assert_false(lx_criu_version_ok("4.1.1"));
	assert_false(lx_criu_version_ok("3.17.1"));
	assert_false(lx_criu_version_ok(""));
	assert_false(lx_criu_version_ok("new"));
}

static void a_log_names_the_cause(void **state)
{
	struct lx_err err = LX_ERR_INIT;

	assert_true(lx_criu_explain(
			    "(00.064) Warn  (criu/kerndat.c:1799): no breakpoints\n"
			    "(00.065) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self\n"
			    "(00.260) Error (criu/mount.c:724): mnt: FS mnt ./x dev 0x33 unsupported id 164\n"
			    "(00.308) Error (criu/cr-dump.c:1975): Dumping FAILED.\n",
			    "dump web1", &err) < 0);
	assert_non_null(strstr(err.msg, "CRIU cannot dump web1: mnt: FS mnt ./x"));
	assert_non_null(strstr(err.hint, "unmount"));
	err = LX_ERR_INIT;
	lx_criu_explain("criu: unrecognized option '--x'\nTry --help\n", "dump web1", &err);
	assert_non_null(strstr(err.msg, "Try --help"));
	err = LX_ERR_INIT;
	lx_criu_explain("", "dump web1", &err);
	assert_non_null(strstr(err.msg, "without a word, as one that is killed"));
	/* What it says in passing was not why. */
	err = LX_ERR_INIT;
	lx_criu_explain("(00.065) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self\n",
			"restore web1", &err);
	assert_string_equal(err.msg,
			    "CRIU cannot restore web1: it ended without a word, as one that is killed");
	err = LX_ERR_INIT;
	lx_criu_explain("(00.308) Error (criu/cr-restore.c:2536): Restoring FAILED.\n", "restore web1", &err);
	assert_string_equal(err.msg, "CRIU cannot restore web1: it failed without a word");
	lx_criu_explain(NULL, "dump web1", NULL);
}

static void a_log_tells_what_passes(void **state)
{
	struct lx_err err = LX_ERR_INIT;

	assert_int_equal(
		lx_criu_explain("(00.1) Error (criu/sk-netlink.c:77): netlink: The socket has data to read\n"
				"(00.2) Error (criu/cr-dump.c:1975): Dumping FAILED.\n",
				"dump web1", &err),
		-EAGAIN);
	assert_non_null(strstr(err.msg, "data to read"));
	assert_non_null(strstr(err.hint, "try again"));
	/* It is the first that counts. */
	assert_int_not_equal(
		lx_criu_explain("(00.1) Error (criu/mount.c:724): mnt: FS mnt ./x unsupported id 164\n"
				"(00.2) Error (criu/sk-netlink.c:77): The socket has data to read\n",
				"dump web1", &err),
		-EAGAIN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_said_is_on_disk, enter, leave),
		cmocka_unit_test_setup_teardown(committed_only_goes_forward, enter, leave),
		cmocka_unit_test_setup_teardown(only_a_source_takes_back, enter, leave),
		cmocka_unit_test_setup_teardown(aborted_is_the_end, enter, leave),
		cmocka_unit_test_setup_teardown(each_role_has_its_own_way, enter, leave),
		cmocka_unit_test_setup_teardown(a_full_disk_changes_nothing, enter, leave),
		cmocka_unit_test_setup_teardown(damaged_and_foreign_files_are_refused, enter, leave),
		cmocka_unit_test(operations_are_names_of_files),
		cmocka_unit_test(a_dump_says_what_it_must),
		cmocka_unit_test(versions),
		cmocka_unit_test(a_log_names_the_cause),
		cmocka_unit_test(a_log_tells_what_passes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
