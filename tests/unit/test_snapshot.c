/*
 * Snapshots as they lie on disk, as they are copied, and as they travel: with a source and a destination of a
 * move that talk over a socket pair, but have nothing else of one.
 */
#include "tree_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/worker/move/receive.h"
#include "agent/worker/move/send.h"
#include "agent/worker/snapshot/copy.h"
#include "agent/worker/snapshot/snapshot.h"
#include "agent/worker/snapshot/store.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "proto/pb.h"

#define TEXT(s) ((char *)(uintptr_t)(s))

struct node {
	struct pair p; /* its directories, and how they are compared */
	struct lx_job job;
};

static void make_node(struct node *n)
{
	*n = (struct node){ .job = { .report = -1, .name = "c1" } };
	begin_in(&n->p, "/tmp");
	snprintf(n->job.state_dir, sizeof(n->job.state_dir), "%s", n->p.top);
	snprintf(n->job.dir, sizeof(n->job.dir), "%s/instances/c1", n->p.top);
	assert_int_equal(lx_mkdir_p(n->job.dir, 0700, NULL), 0);
}

/* One with this in its file "f". */
static void make_snapshot(struct node *n, const char *name, const char *operation, const char *text)
{
	lx_snapshot rec = LXMGR__V1__SNAPSHOT_RECORD__INIT;
	lx_autoclose int dir = -1;

	assert_int_equal(lx_snapshot_begin(&n->job, &dir, NULL), 0);
	put_text(dir, "f", text);
	assert_int_equal(linkat(dir, "f", dir, "g", 0), 0);
	rec.name = TEXT(name);
	rec.operation = TEXT(operation);
	rec.created_at_ns = 7;
	assert_int_equal(lx_snapshot_commit(&n->job, &rec, NULL), 0);
	assert_int_equal(lx_snapshot_work_end(&n->job, NULL), 0);
	assert_true(rec.size_bytes > 0);
}

static void has(struct node *n, const char *name, const char *operation, const char *text)
{
	lx_snapshot *rec = NULL;
	char buf[256];

	assert_int_equal(lx_snapshot_load(&n->job, name, &rec, NULL), 0);
	assert_string_equal(rec->name, name);
	assert_string_equal(rec->operation, operation);
	assert_int_equal(rec->created_at_ns, 7);
	lx_pb_free(rec);
	lx_autoclose int dir = lx_snapshot_open(&n->job, name, NULL);

	assert_true(dir >= 0);
	assert_string_equal(text_of(dir, "g", buf), text);
	assert_int_equal(stat_of(dir, "g").st_nlink, 2);
}

static void names_are(struct node *n, const char *expected)
{
	char text[256] = "";
	char **names;
	size_t count;

	assert_int_equal(lx_snapshot_names(&n->job, &count, &names, NULL), 0);
	for (size_t i = 0; i < count; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i ? " " : "", names[i]);
	lx_pb_strv_free(&count, &names);
	assert_string_equal(text, expected);
}

static bool any_work(const struct node *n)
{
	char path[LX_JOB_PATH_MAX];

	lx_job_path(&n->job, path, LX_SNAPSHOT_WORK);
	return lx_path_exists(path);
}

/* ------------------------------------------------------------------ on disk */

static void they_are_made_renamed_and_removed(void **state)
{
	struct lx_err err = LX_ERR_INIT;
	lx_snapshot *rec = NULL;
	struct node n;

	make_node(&n);
	names_are(&n, "");
	make_snapshot(&n, "b", "op1", "one");
	make_snapshot(&n, "a", "op2", "two");
	names_are(&n, "a b");
	has(&n, "b", "op1", "one");
	/* Another one takes its place, whole. */
	make_snapshot(&n, "b", "op3", "three");
	has(&n, "b", "op3", "three");
	assert_int_equal(lx_snapshot_rename(&n.job, "b", "c", NULL), 0);
	names_are(&n, "a c");
	has(&n, "c", "op3", "three");
	assert_int_equal(lx_snapshot_work_begin(&n.job, NULL), 0);
	assert_int_equal(lx_snapshot_drop(&n.job, "a", NULL), 0);
	assert_int_equal(lx_snapshot_drop(&n.job, "a", NULL), 0);
	names_are(&n, "c");
	assert_int_equal(lx_snapshot_work_end(&n.job, NULL), 0);
	assert_int_equal(lx_snapshot_load(&n.job, "a", &rec, &err), -ENOENT);
	assert_int_equal(err.code, LX_NOT_FOUND);
	assert_false(any_work(&n));
	end(&n.p);
}

static void what_was_not_finished_is_nothing(void **state)
{
	lx_autoclose int dir = -1, again = -1;
	struct node n;

	make_node(&n);
	assert_int_equal(lx_snapshot_begin(&n.job, &dir, NULL), 0);
	put_text(dir, "f", "half");
	names_are(&n, "");
	assert_true(any_work(&n));
	assert_int_equal(lx_snapshot_begin(&n.job, &again, NULL), 0);
	assert_false(exists(again, "f"));
	assert_int_equal(lx_snapshot_work_end(&n.job, NULL), 0);
	end(&n.p);
}

/* ------------------------------------------------------------------ copies */

static void a_copy_is_the_same(void **state)
{
	static const uint8_t capability[20] = { 0, 0, 0, 2, 1 };
	struct lx_tree_copy c;
	struct node n;

	needs_root();
	make_node(&n);
	int d = n.p.from;

	make_dir(d, "dir");
	put_noise(d, "dir/noise", 3 * MIB + 5);
	put_at(d, "sparse", 40 * MIB, "end");
	put_text(d, "a", "of several names");
	assert_int_equal(linkat(d, "a", d, "dir/b", 0), 0);
	assert_int_equal(mknodat(d, "whiteout", S_IFCHR, 0), 0);
	assert_int_equal(mknodat(d, "fifo", S_IFIFO | 0640, 0), 0);
	assert_int_equal(symlinkat("/nowhere", d, "link"), 0);
	set_attr(d, "dir", "trusted.overlay.opaque", "y", 1);
	set_attr(d, "dir", "trusted.overlay.origin", "theirs", 6);
	set_attr(d, "a", "security.capability", capability, sizeof(capability));
	set_attr(d, "a", "user.note", "kept", 4);
	assert_int_equal(fchownat(d, "a", OWNER + 1, OWNER + 2, 0), 0);

	const struct lx_tree_source source = { .upper = d, .lower = -1, .index = -1, .id_base = OWNER };

	assert_int_equal(lx_tree_copy_open(&c, &source, n.p.to, &n.p.err), 0);
	assert_int_equal(lx_tree_copy_pass(&c, false, &n.p.err), 0);
	/* What changes between the two passes is in it. */
	put_at(d, "dir/noise", MIB, "changed");
	assert_int_equal(unlinkat(d, "fifo", 0), 0);
	put_text(d, "new", "late");
	assert_int_equal(lx_tree_copy_pass(&c, true, &n.p.err), 0);
	assert_int_equal(lx_tree_copy_end(&c, &n.p.err), 0);
	lx_tree_copy_release(&c);
	/* It belongs to the node's own lower directory, and does not go along. */
	assert_true(has_attr(d, "dir", "trusted.overlay.origin"));
	assert_false(has_attr(n.p.to, "dir", "trusted.overlay.origin"));
	same(&n.p);
	end(&n.p);
}

static void a_copy_without_its_last_pass_has_no_end(void **state)
{
	struct lx_tree_copy c;
	struct node n;

	make_node(&n);
	const struct lx_tree_source source = { .upper = n.p.from, .lower = -1, .index = -1 };

	assert_int_equal(lx_tree_copy_open(&c, &source, n.p.to, NULL), 0);
	assert_true(lx_tree_copy_end(&c, NULL) < 0);
	lx_tree_copy_release(&c);
	end(&n.p);
}

/* ------------------------------------------------------------------ what a killed restoration leaves */

static void own(const struct node *n, const char *leaf, const char *text)
{
	char path[LX_JOB_PATH_MAX];

	lx_job_own_path(&n->job, path, leaf);
	assert_int_equal(lx_mkdir_p(path, 0755, NULL), 0);
	lx_autoclose int dir = open_at(AT_FDCWD, path);

	put_text(dir, "f", text);
}

static void own_is(const struct node *n, const char *leaf, const char *text)
{
	char path[LX_JOB_PATH_MAX], buf[256];

	lx_job_own_path(&n->job, path, leaf);
	if (!text) {
		assert_false(lx_path_exists(path));
		return;
	}
	lx_autoclose int dir = open_at(AT_FDCWD, path);

	if (*text)
		assert_string_equal(text_of(dir, "f", buf), text);
	else
		assert_false(exists(dir, "f"));
}

static void a_restoration_is_finished_or_undone(void **state)
{
	static const struct {
		/* NULL: is not there. What restore.c says of each. */
		const char *upper, *work, *making, *ready, *old, *old_work;
		const char *then; /* in upper; its work directory is another one, or the same */
		bool fresh;
	} cases[] = {
		{ "old", "old", NULL, NULL, NULL, NULL, "old", false },
		{ "old", "old", "half", NULL, NULL, NULL, "old", false },
		{ "old", "old", NULL, "new", NULL, NULL, "new", true },
		{ NULL, "old", NULL, "new", "old", NULL, "new", true },
		{ NULL, NULL, NULL, "new", "old", "old", "new", true },
		{ NULL, "again", NULL, "new", "old", "old", "new", true },
		{ "new", "fresh", NULL, NULL, "old", "old", "new", false },
		{ "new", "fresh", NULL, NULL, NULL, "old", "new", false },
	};

	needs_root();
	for (size_t i = 0; i < LX_ARRAY_SIZE(cases); i++) {
		const char *const leaves[][2] = {
			{ "upper", cases[i].upper },           { "work", cases[i].work },
			{ "restore.making", cases[i].making }, { "restore.ready", cases[i].ready },
			{ "restore.old", cases[i].old },       { "restore.work", cases[i].old_work },
		};
		lx_spec spec = LXMGR__V1__INSTANCE_SPEC__INIT;
		struct lx_err err = LX_ERR_INIT;
		struct node n;

		make_node(&n);
		spec.idmap_base = OWNER;
		spec.idmap_size = 65536;
		spec.image_fingerprint = TEXT("none");
		for (size_t k = 0; k < LX_ARRAY_SIZE(leaves); k++)
			if (leaves[k][1])
				own(&n, leaves[k][0], leaves[k][1]);
		/* Twice: there is nothing left to do. */
		for (int twice = 0; twice < 2; twice++) {
			if (lx_restoration_settle(&n.job, &spec, &err) < 0)
				fail_msg("case %zu: %s", i, err.msg);
			own_is(&n, "upper", cases[i].then);
			own_is(&n, "work", cases[i].fresh ? "" : cases[i].work);
			for (size_t k = 2; k < LX_ARRAY_SIZE(leaves); k++)
				own_is(&n, leaves[k][0], NULL);
		}
		end(&n.p);
	}
}

/* ------------------------------------------------------------------ moves */

struct ends {
	struct node from, to;
	struct lx_send s;
	struct lx_receive rx;
	lx_spec spec;
	lx_move_record rec;
	Lxmgr__V1__MoveReport report;
};

static void begin_move(struct ends *e, bool takes_snapshots)
{
	int pair[2];

	*e = (struct ends){ .rx = { .snapshot = { .dir = -1 } } };
	make_node(&e->from);
	make_node(&e->to);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	lxmgr__v1__instance_spec__init(&e->spec);
	lxmgr__v1__move_record__init(&e->rec);
	lxmgr__v1__move_report__init(&e->report);
	e->rec.peer = TEXT("node2");
	e->s.m.job = &e->from.job;
	e->s.m.rec = &e->rec;
	e->s.m.report = &e->report;
	e->s.m.talk.fd = pair[0];
	e->s.spec = &e->spec;
	e->s.other.snapshots = takes_snapshots;
	e->rx.m.job = &e->to.job;
	e->rx.m.talk.fd = pair[1];
}

static void end_move(struct ends *e)
{
	for (size_t i = 0; i < e->report.n_phases; i++) {
		free(e->report.phases[i]->key);
		free(e->report.phases[i]);
	}
	free(e->report.phases);
	lx_take_snapshot_release(&e->rx.snapshot);
	close(e->s.m.talk.fd);
	close(e->rx.m.talk.fd);
	end(&e->from.p);
	end(&e->to.p);
}

/* Frames up to the end of the conversation. */
static int take_all(struct ends *e, struct lx_err *err)
{
	int r = 0;

	while (r == 0) {
		Lxmgr__V1__MoveFrame *frame = NULL;

		if (lx_talk_recv(&e->rx.m.talk, &frame, NULL) < 0)
			return 0;
		if (e->rx.snapshot.tree)
			r = lx_take_snapshot_frame(&e->rx, frame, err);
		else if (frame->what_case == LXMGR__V1__MOVE_FRAME__WHAT_SNAPSHOT)
			r = lx_take_snapshot(&e->rx, frame->snapshot, err);
		else
			r = -EPROTO;
		lx_pb_free(frame);
	}
	return r;
}

static void they_travel(void **state)
{
	struct lx_err err = LX_ERR_INIT;
	struct ends e;
	int status;

	needs_root();
	begin_move(&e, true);
	make_snapshot(&e.from, "one", "op1", "first");
	make_snapshot(&e.from, "two", "op2", "second");
	pid_t source = fork();

	if (source == 0) {
		close(e.rx.m.talk.fd);
		_exit(lx_send_snapshots(&e.s, NULL) == 0 ? 0 : 1);
	}
	close(e.s.m.talk.fd);
	e.s.m.talk.fd = -1;
	assert_int_equal(take_all(&e, &err), 0);
	assert_int_equal(waitpid(source, &status, 0), source);
	assert_int_equal(status, 0);
	names_are(&e.to, "one two");
	has(&e.to, "one", "op1", "first");
	has(&e.to, "two", "op2", "second");
	assert_false(any_work(&e.to));
	has(&e.from, "one", "op1", "first");
	end_move(&e);
}

/* An older one would lose them. */
static void a_destination_that_cannot_take_them_gets_nothing(void **state)
{
	struct lx_err err = LX_ERR_INIT;
	char byte;
	struct ends e;

	begin_move(&e, false);
	assert_int_equal(lx_send_snapshots(&e.s, &err), 0);
	make_snapshot(&e.from, "one", "op1", "first");
	assert_true(lx_send_snapshots(&e.s, &err) < 0);
	assert_int_equal(err.code, LX_FAILED_PRECONDITION);
	assert_non_null(strstr(err.msg, "node2"));
	assert_non_null(strstr(err.hint, "lxmgr snapshot list c1"));
	assert_int_equal(recv(e.rx.m.talk.fd, &byte, 1, MSG_DONTWAIT), -1);
	end_move(&e);
}

static void what_no_source_sends_is_refused(void **state)
{
	static const char *const names[] = { "", ".", "..", "../x", "a/b", ".work", "A", "x_y" };
	Lxmgr__V1__MoveFrame frame = LXMGR__V1__MOVE_FRAME__INIT;
	Lxmgr__V1__TreeEntry entry = LXMGR__V1__TREE_ENTRY__INIT;
	Lxmgr__V1__TreeEnd tree_end = LXMGR__V1__TREE_END__INIT;
	lx_snapshot rec = LXMGR__V1__SNAPSHOT_RECORD__INIT;
	struct lx_err err = LX_ERR_INIT;
	struct ends e;

	begin_move(&e, true);
	for (size_t i = 0; i < LX_ARRAY_SIZE(names); i++) {
		rec.name = TEXT(names[i]);
		assert_true(lx_take_snapshot(&e.rx, &rec, &err) < 0);
		assert_int_equal(err.code, LX_INVALID_ARGUMENT);
	}
	assert_false(any_work(&e.to));
	rec.name = TEXT("s");
	assert_int_equal(lx_take_snapshot(&e.rx, &rec, &err), 0);
	/* One in another; a path that leads out; an end that does not fit what came. */
	assert_true(lx_take_snapshot(&e.rx, &rec, &err) < 0);
	frame.what_case = LXMGR__V1__MOVE_FRAME__WHAT_ENTRY;
	frame.entry = &entry;
	entry.path = TEXT("../../../f");
	entry.mode = S_IFREG | 0644;
	assert_true(lx_take_snapshot_frame(&e.rx, &frame, &err) < 0);
	frame.what_case = LXMGR__V1__MOVE_FRAME__WHAT_TREE_END;
	frame.tree_end = &tree_end;
	assert_true(lx_take_snapshot_frame(&e.rx, &frame, &err) < 0);
	assert_int_equal(err.code, LX_DATA_LOSS);
	names_are(&e.to, "");
	end_move(&e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(they_are_made_renamed_and_removed),
		cmocka_unit_test(what_was_not_finished_is_nothing),
		cmocka_unit_test(a_copy_is_the_same),
		cmocka_unit_test(a_copy_without_its_last_pass_has_no_end),
		cmocka_unit_test(a_restoration_is_finished_or_undone),
		cmocka_unit_test(they_travel),
		cmocka_unit_test(a_destination_that_cannot_take_them_gets_nothing),
		cmocka_unit_test(what_no_source_sends_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, remove_tops);
}
