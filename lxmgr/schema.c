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

static const char *const steps[] = { step_1 };

const struct lx_schema lx_manager_schema = { steps, LX_ARRAY_SIZE(steps) };
