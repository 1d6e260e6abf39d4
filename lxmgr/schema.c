/*
 * The store's schema. Steps are only ever appended: step N takes version N to N+1.
 * Specs are kept as packed protobuf (the messages of proto/lxmgr/v1), what must be unique
 * or looked up stands in columns of its own, so that SQLite guards it.
 */
#include "lxmgr/manager.h"

#include "lib/cleanup.h"

static const char step_1[] =
	"CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE nodes (name TEXT PRIMARY KEY, spec BLOB NOT NULL) WITHOUT ROWID;" /* Node */
	"CREATE TABLE tokens (secret_hash TEXT PRIMARY KEY, node TEXT NOT NULL, expires_at INTEGER NOT NULL)"
	" WITHOUT ROWID;"
	"CREATE TABLE images (fingerprint TEXT PRIMARY KEY, spec BLOB NOT NULL) WITHOUT ROWID;" /* Image */
	"CREATE TABLE image_aliases (alias TEXT PRIMARY KEY,"
	" fingerprint TEXT NOT NULL REFERENCES images(fingerprint) ON DELETE CASCADE) WITHOUT ROWID;"
	"CREATE TABLE profiles (name TEXT PRIMARY KEY, spec BLOB NOT NULL) WITHOUT ROWID;" /* Profile */
	"CREATE TABLE networks (name TEXT PRIMARY KEY, spec BLOB NOT NULL) WITHOUT ROWID;" /* Network */
	"CREATE TABLE instances (uuid TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, node TEXT NOT NULL,"
	" generation INTEGER NOT NULL, idmap_base INTEGER NOT NULL UNIQUE, image TEXT NOT NULL,"
	" spec BLOB NOT NULL) WITHOUT ROWID;" /* Instance */
	"CREATE TABLE leases (instance TEXT NOT NULL REFERENCES instances(uuid) ON DELETE CASCADE,"
	" nic TEXT NOT NULL, network TEXT NOT NULL, hwaddr TEXT NOT NULL UNIQUE, ipv4 TEXT, ipv6 TEXT,"
	" PRIMARY KEY (instance, nic), UNIQUE (network, ipv4), UNIQUE (network, ipv6)) WITHOUT ROWID;"
	"CREATE TABLE operations (id TEXT PRIMARY KEY, ended INTEGER NOT NULL, updated_at INTEGER NOT NULL,"
	" request_id TEXT UNIQUE, kind TEXT NOT NULL, args BLOB NOT NULL, spec BLOB NOT NULL) WITHOUT ROWID;"
	"CREATE INDEX operations_ended ON operations (ended, updated_at);";

/*
 * Identities, tokens for them, and the audit log. `seq` counts the rows of a class (ok or not)
 * without a gap, so that both how many are kept and what the triggers guard costs one look-up.
 * 100000 and 10000 are LX_AUDIT_KEEP and LX_AUDIT_KEEP_REFUSED of that time: what the triggers
 * let go may grow in a later step only.
 */
static const char step_2[] =
	"CREATE TABLE identities (name TEXT PRIMARY KEY, type INTEGER NOT NULL, subject TEXT NOT NULL,"
	" spec BLOB NOT NULL, UNIQUE (type, subject)) WITHOUT ROWID;" /* Identity */
	"CREATE TABLE identity_tokens (secret_hash TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
	" expires_at INTEGER NOT NULL, spec BLOB NOT NULL) WITHOUT ROWID;" /* IdentityToken */
	"CREATE TABLE audit (id INTEGER PRIMARY KEY AUTOINCREMENT, ok INTEGER NOT NULL, seq INTEGER NOT NULL,"
	" time_ns INTEGER NOT NULL, identity TEXT NOT NULL, peer TEXT NOT NULL, method TEXT NOT NULL,"
	" subject TEXT NOT NULL, project TEXT NOT NULL, code INTEGER NOT NULL, error TEXT NOT NULL,"
	" request TEXT NOT NULL, UNIQUE (ok, seq));"
	"CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit BEGIN"
	" SELECT RAISE(ABORT, 'the audit log is not changed'); END;"
	"CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit"
	" WHEN OLD.seq > (SELECT max(seq) FROM audit WHERE ok = OLD.ok)"
	" - CASE OLD.ok WHEN 1 THEN 100000 ELSE 10000 END BEGIN"
	" SELECT RAISE(ABORT, 'the audit log is kept'); END;";

/* Warnings and what was kept from instances (warnings/save.c). An id of a warning is never used twice. */
static const char step_3[] =
	"CREATE TABLE warnings (id INTEGER PRIMARY KEY AUTOINCREMENT, spec BLOB NOT NULL);" /* Warning */
	"CREATE TABLE denials (instance TEXT PRIMARY KEY REFERENCES instances(uuid) ON DELETE CASCADE,"
	" spec BLOB NOT NULL) WITHOUT ROWID;"; /* Denials */

/*
 * Projects. What they own is in the tables above, under keys that hold the project's name
 * (project.h); all that was there before is the default one's as it is.
 */
static const char step_4[] =
	"CREATE TABLE projects (name TEXT PRIMARY KEY, spec BLOB NOT NULL) WITHOUT ROWID;"; /* Project */

/* Snapshots of instances (snapshot.h). */
static const char step_5[] =
	"CREATE TABLE snapshots (instance TEXT NOT NULL REFERENCES instances(uuid) ON DELETE CASCADE,"
	" name TEXT NOT NULL, spec BLOB NOT NULL," /* Snapshot */
	" PRIMARY KEY (instance, name)) WITHOUT ROWID;";

/* What agents still know of moves that have ended (operations/move_forget.h). */
static const char step_6[] =
	"CREATE TABLE move_forgets (operation TEXT PRIMARY KEY, id TEXT NOT NULL, instance TEXT NOT NULL,"
	" name TEXT NOT NULL, first TEXT NOT NULL, second TEXT NOT NULL, awaited INTEGER NOT NULL) WITHOUT "
	"ROWID;";

static const char *const steps[] = { step_1, step_2, step_3, step_4, step_5, step_6 };

const struct lx_schema lx_manager_schema = { steps, LX_ARRAY_SIZE(steps) };
