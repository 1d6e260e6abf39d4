/*
 * Bringing a file to this program's schema.
 *
 * The version is in PRAGMA user_version. Step N takes it from N to N+1, in a transaction
 * that sets the version too, so that a crash leaves one version or the other. An existing
 * file is copied to <path>.v<version>.bak before the first step changes it; without that
 * copy (a full disk) there is no migration. A version above ours is refused: an older
 * program would not understand what it writes.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "lib/str.h"
#include "store/sqlite.h"

/* ------------------------------------------------------------------ the copy */

static int sync_file(const char *path)
{
	lx_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return fsync(fd) < 0 ? -errno : 0;
}

/* A consistent copy at `temp`, which must not exist; 0600 like the file itself. */
static int copy_database(sqlite3 *db, const char *temp, struct lx_err *err)
{
	int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return lx_err_errno(err, errno, "cannot create %s", temp);
	close(fd);

	lx_autostmt sqlite3_stmt *stmt = NULL;
	struct lx_sql_value name = { .type = LX_SQL_TEXT, .data = temp, .len = strlen(temp) };
	int r = lx_sqlite_prepare(db, "VACUUM INTO ?1", 0, &stmt, err);

	if (r == 0)
		r = lx_sqlite_bind_all(stmt, &name, 1, err);
	if (r < 0)
		return r;
	int rc = sqlite3_step(stmt);

	if (rc != SQLITE_DONE)
		return lx_sqlite_fail(db, rc, err, "cannot write %s", temp);
	r = sync_file(temp);
	return r < 0 ? lx_err_errno(err, r, "cannot flush %s", temp) : 0;
}

static int keep_backup(sqlite3 *db, const char *path, int64_t version, struct lx_err *err)
{
	lx_autofree char *backup = lx_asprintf("%s.v%" PRId64 ".bak", path, version);
	lx_autofree char *temp = lx_asprintf("%s.v%" PRId64 ".bak.tmp", path, version);

	if (!backup || !temp)
		return lx_err_oom(err);
	unlink(temp); /* of an attempt that was cut short */
	int r = copy_database(db, temp, err);

	if (r == 0 && rename(temp, backup) < 0)
		r = lx_err_errno(err, errno, "cannot rename %s to %s", temp, backup);
	if (r < 0) {
		unlink(temp);
		lx_err_wrap(err, "cannot keep a copy before migrating it");
		return r;
	}
	lx_debug("kept a copy of the store", "path=%s", backup);
	return 0;
}

/* ------------------------------------------------------------------ the steps */

/* They are off during the steps, so that tables can be rebuilt; nothing dangling may be committed. */
static int check_foreign_keys(sqlite3 *db, struct lx_err *err)
{
	lx_autofree char *table = NULL;
	int r = lx_sqlite_get_text(db, "PRAGMA foreign_key_check", &table, err);

	if (r == 0 && table[0])
		r = lx_err_set(err, LX_FAILED_PRECONDITION,
			       "rows of table %s refer to rows that do not exist", table);
	return r;
}

static int run_step(sqlite3 *db, const char *step, int64_t to, struct lx_err *err)
{
	char set_version[64];
	int r = lx_sqlite_exec(db, "BEGIN IMMEDIATE", err);

	if (r < 0)
		return r;
	snprintf(set_version, sizeof(set_version), "PRAGMA user_version=%" PRId64, to);
	r = lx_sqlite_exec(db, step, err);
	if (r == 0)
		r = check_foreign_keys(db, err);
	if (r == 0)
		r = lx_sqlite_exec(db, set_version, err);
	if (r == 0)
		r = lx_sqlite_exec(db, "COMMIT", err);
	if (r < 0 && !sqlite3_get_autocommit(db))
		sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	return r;
}

int lx_sqlite_migrate(sqlite3 *db, const char *path, const struct lx_schema *schema, struct lx_err *err)
{
	int64_t version, newest = (int64_t)schema->n_steps;
	int r = lx_sqlite_get_int(db, "PRAGMA user_version", &version, err);

	if (r < 0)
		return r;
	if (version < 0 || version > newest) {
		r = lx_err_set(err, LX_FAILED_PRECONDITION,
			       "it has schema version %" PRId64
			       ", this program knows versions up to %" PRId64,
			       version, newest);
		lx_err_hint(
			err,
			"It was written by a newer lxmgr: install that one again, or put back the copy it "
			"kept of the older store beside it (*.bak).");
		return r;
	}
	if (version > 0 && version < newest) {
		r = keep_backup(db, path, version, err);
		if (r < 0)
			return r;
	}
	/* Cannot be changed within a transaction. */
	r = lx_sqlite_exec(db, "PRAGMA foreign_keys=OFF", err);
	if (r < 0)
		return r;
	for (; version < newest; version++) {
		r = run_step(db, schema->steps[version], version + 1, err);
		if (r < 0) {
			lx_err_wrap(err, "cannot migrate it from schema version %" PRId64 " to %" PRId64,
				    version, version + 1);
			return r;
		}
	}
	return lx_sqlite_exec(db, "PRAGMA foreign_keys=ON", err);
}
