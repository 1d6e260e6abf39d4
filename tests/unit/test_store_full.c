/*
 * A full disk. Each test runs on a small tmpfs in a mount namespace of this process, so
 * that nothing of it is seen outside or left behind. Needs root, or user namespaces.
 */
#include "test_store_fixture.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>

#define DISK_SIZE   "size=4m"
#define FILLER_SIZE (1 << 20)
#define LUMP_SIZE   (64 << 10)

static char filler[96];
static bool have_disk;

/* As root of a user namespace, where an ordinary user may have one. */
static int own_users(void)
{
	lx_autofree char *uids = lx_asprintf("0 %d 1", (int)getuid());
	lx_autofree char *gids = lx_asprintf("0 %d 1", (int)getgid());

	if (!uids || !gids || unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		return -1;
	if (lx_write_knob("/proc/self/setgroups", "deny") < 0 ||
	    lx_write_knob("/proc/self/uid_map", uids) < 0 || lx_write_knob("/proc/self/gid_map", gids) < 0)
		return -1;
	return 0;
}

/* Before any thread exists. */
static int own_mounts(void **state)
{
	have_disk = (unshare(CLONE_NEWNS) == 0 || own_users() == 0) &&
		    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
	if (!have_disk)
		print_message("skipped: needs root or user namespaces to mount a small disk\n");
	return 0;
}

static int leave_small_disk(void **state)
{
	lx_store_close(store);
	store = NULL;
	uv_run(&loop, UV_RUN_DEFAULT);
	umount2(dir, MNT_DETACH);
	return leave_dir(state);
}

static int enter_small_disk(void **state)
{
	if (enter_dir(state) < 0)
		return -1;
	if (!have_disk)
		return 0;
	snprintf(filler, sizeof(filler), "%s/filler", dir);
	lx_autoclose int fd = -1;

	if (mount("none", dir, "tmpfs", 0, DISK_SIZE) < 0 ||
	    (fd = open(filler, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)) < 0 ||
	    posix_fallocate(fd, 0, FILLER_SIZE) != 0) {
		leave_small_disk(state);
		return -1;
	}
	open_store();
	return 0;
}

static struct lx_txn *lump(int64_t id, size_t size)
{
	struct lx_txn *t = lx_txn_new(NULL);
	lx_autofree char *photo = calloc(1, size);

	lx_txn_exec(t, "INSERT INTO person (id, photo) VALUES (?1, ?2)");
	lx_txn_int(t, id);
	lx_txn_blob(t, photo, size);
	return t;
}

static int fill_up(void)
{
	for (int i = 0; i < 1000; i++) {
		struct outcome o = run_txn(lump(i, LUMP_SIZE));

		if (o.err.code == LX_OK)
			continue;
		assert_int_equal(o.err.code, LX_RESOURCE_EXHAUSTED);
		assert_true(strlen(o.err.hint) > 0);
		return i;
	}
	fail_msg("a disk of %s took everything", DISK_SIZE);
	return -1;
}

static void stays_usable(void **state)
{
	if (!have_disk)
		skip();
	int n = fill_up();

	/* What was acknowledged is there, what failed is not, and reading works. */
	assert_true(n > 5);
	assert_int_equal(number("SELECT count(*) FROM person"), n);
	assert_int_equal(run_txn(lump(n, LUMP_SIZE)).err.code, LX_RESOURCE_EXHAUSTED);

	assert_int_equal(unlink(filler), 0);
	assert_int_equal(run_txn(lump(n, LUMP_SIZE)).err.code, LX_OK);
	assert_int_equal(number("SELECT count(*) FROM person"), n + 1);
	close_store();
	open_store();
	assert_int_equal(number("SELECT count(*) FROM person WHERE length(photo) = 65536"), n + 1);
	assert_int_equal(number("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'"),
			 1);
}

/* Requests that fit must not fail for one in their batch that does not. */
static void only_what_does_not_fit_fails(void **state)
{
	struct outcome primer, o[20];

	if (!have_disk)
		skip();
	sqlite3 *held = open_raw(path);

	run_raw(held, "BEGIN IMMEDIATE");
	submit(insert_person(NULL, 1000, "primer"), &primer);
	usleep(50000);
	for (int i = 0; i < 20; i++)
		submit(lump(i, i == 10 ? 5 << 20 : 1000), &o[i]);
	run_raw(held, "COMMIT");
	sqlite3_close(held);
	wait_all();
	for (int i = 0; i < 20; i++)
		assert_int_equal(o[i].err.code, i == 10 ? LX_RESOURCE_EXHAUSTED : LX_OK);
	assert_int_equal(number("SELECT count(*) FROM person WHERE id < 20"), 19);
}

static void no_copy_no_migration(void **state)
{
	static const char *steps[] = { NULL, "CREATE TABLE later (x)" };
	const struct lx_schema newer = { steps, 2 };
	struct lx_err err;

	if (!have_disk)
		skip();
	steps[0] = people_steps[0];
	int n = fill_up();

	close_store();
	assert_true(try_open(&newer, &err) < 0);
	assert_int_equal(err.code, LX_RESOURCE_EXHAUSTED);
	assert_non_null(strstr(err.msg, "cannot keep a copy"));
	assert_true(strlen(err.hint) > 0);
	open_store();
	assert_int_equal(number("PRAGMA user_version"), 1);
	assert_int_equal(number("SELECT count(*) FROM person"), n);
}

int main(void)
{
#define ON_SMALL_DISK(t) cmocka_unit_test_setup_teardown(t, enter_small_disk, leave_small_disk)
	const struct CMUnitTest tests[] = {
		ON_SMALL_DISK(stays_usable),
		ON_SMALL_DISK(only_what_does_not_fit_fails),
		ON_SMALL_DISK(no_copy_no_migration),
	};

	return cmocka_run_group_tests(tests, own_mounts, NULL);
}
