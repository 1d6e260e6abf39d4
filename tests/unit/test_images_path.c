/* Names in archives, the jail they are unpacked in, and what a node's apt says. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "images/apt_sources.h"
#include "images/entry_path.h"
#include "images/jail.h"
#include "lib/fs.h"

static void cleans(const char *name, const char *want)
{
	char got[LX_ENTRY_PATH_MAX];
	struct lx_err err = LX_ERR_INIT;
	int r = lx_entry_path(name, got, &err);

	assert_int_equal(r, want ? 0 : -EINVAL);
	if (want)
		assert_string_equal(got, want);
	else
		assert_true(err.msg[0]);
}

static void names_are_cleaned(void **state)
{
	cleans("a/b", "a/b");
	cleans("./a//b/./c/", "a/b/c");
	cleans(".", "");
	cleans("./", "");
	cleans("", "");
	cleans("...", "...");
	cleans("a/..b/c..", "a/..b/c..");
	cleans(" ", " ");
	cleans("\xff\n", "\xff\n");
}

static void names_are_refused(void **state)
{
	char name[LX_ENTRY_PATH_MAX + 64];

	cleans("/etc/passwd", NULL);
	cleans("//", NULL);
	cleans("..", NULL);
	cleans("a/..", NULL);
	cleans("a/../../b", NULL);
	cleans("./../x", NULL);

	memset(name, 'x', sizeof(name));
	name[LX_ENTRY_NAME_MAX] = '\0';
	cleans(name, name);
	name[LX_ENTRY_NAME_MAX] = 'x';
	name[LX_ENTRY_NAME_MAX + 1] = '\0';
	cleans(name, NULL);

	/* As long as the kernel takes, and one more. */
	memset(name, 'x', sizeof(name));
	for (size_t i = 200; i < sizeof(name); i += 200)
		name[i] = '/';
	name[LX_ENTRY_PATH_MAX - 1] = '\0';
	cleans(name, name);
	name[LX_ENTRY_PATH_MAX - 1] = 'x';
	name[LX_ENTRY_PATH_MAX] = '\0';
	cleans(name, NULL);

	for (size_t i = 0; i < LX_ENTRY_DEPTH_MAX + 1; i++)
		memcpy(name + 2 * i, "d/", 2);
	name[2 * LX_ENTRY_DEPTH_MAX - 1] = '\0';
	cleans(name, name);
	name[2 * LX_ENTRY_DEPTH_MAX - 1] = '/';
	name[2 * LX_ENTRY_DEPTH_MAX + 1] = '\0';
	cleans(name, NULL);
}

static void jail_follows_no_link(void **state)
{
	char top[] = "/tmp/lx-jail-XXXXXX";
	struct lx_err err = LX_ERR_INIT;
	struct lx_jail jail;
	const char *name;

	assert_non_null(mkdtemp(top));
	int root = open(top, O_RDONLY | O_DIRECTORY);

	assert_true(root >= 0);
	assert_int_equal(symlinkat("/tmp", root, "out"), 0);
	assert_int_equal(symlinkat("real", root, "in"), 0);
	lx_jail_init(&jail, root);
	assert_true(lx_jail_parent(&jail, "real/deep/file", &name, &err) >= 0);
	assert_string_equal(name, "file");
	assert_int_equal(faccessat(root, "real/deep", F_OK, 0), 0);
	/* Once more, from memory, and another one. */
	assert_true(lx_jail_parent(&jail, "real/deep/other", &name, &err) >= 0);
	assert_true(lx_jail_parent(&jail, "top", &name, &err) >= 0);
	assert_string_equal(name, "top");
	assert_true(lx_jail_parent(&jail, "out/file", &name, &err) < 0);
	assert_int_equal(err.code, LX_INVALID_ARGUMENT);
	assert_non_null(strstr(err.msg, "symbolic link"));
	assert_true(lx_jail_parent(&jail, "in/file", &name, &err) < 0);
	assert_true(lx_jail_parent(&jail, "in/new/file", &name, &err) < 0);
	assert_int_equal(lx_jail_open(&jail, "out", O_RDONLY), -ELOOP);
	assert_int_equal(lx_jail_open(&jail, "absent", O_RDONLY), -ENOENT);
	lx_jail_release(&jail);
	close(root);
	assert_int_equal(lx_rm_rf(top, &err), 0);
}

/* ------------------------------------------------------------------ apt */

static void reads_one_line_sources(void **state)
{
	struct lx_apt_mirrors m = { 0 };

	assert_int_equal(
		lx_apt_sources_list(
			"# deb http://no.example/debian bookworm main\n"
			"deb-src http://src.example/debian bookworm main\n"
			"deb https://packages.example/apt bookworm main\n"
			"deb [signed-by=/usr/share/keyrings/other.gpg] http://o.example/debian bookworm "
			"main\n"
			"deb cdrom:[Debian]/ bookworm main\n"
			"deb http://third.example/debian bookworm stable\n"
			"deb http://pg.example/debian bookworm-pgdg main\n"
			"deb [ arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg ] "
			"http://m.example/debian/ bookworm main contrib # yes\n"
			"deb http://later.example/debian bookworm main\n"
			"deb http://security.debian.org/debian-security bookworm-security main\n",
			&m),
		0);
	assert_string_equal(m.archive, "http://m.example/debian");
	assert_string_equal(m.security, "http://security.debian.org/debian-security");
	lx_apt_mirrors_release(&m);
}

static void reads_paragraph_sources(void **state)
{
	struct lx_apt_mirrors m = { 0 };

	assert_int_equal(
		lx_apt_sources_deb822(
			"Types: deb\nURIs: https://deb.nodesource.com/node_20.x\nSuites: nodistro\n"
			"Components: main\nSigned-By: /usr/share/keyrings/nodesource.gpg\n"
			"\n"
			"Types: deb\nURIs: http://off.example/debian\nSuites: bookworm\n"
			"Components: main\nEnabled: no\n"
			"\n"
			"# Debian itself\n"
			"types: deb deb-src\nURIs:\n http://m.example/debian\n"
			"Suites: trixie\n trixie-updates\nComponents: main non-free-firmware\n"
			"Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
			"\n\n"
			"Types: deb\nURIs: http://m.example/debian-security/\nSuites: trixie-security\n"
			"Components: main",
			&m),
		0);
	assert_string_equal(m.archive, "http://m.example/debian");
	assert_string_equal(m.security, "http://m.example/debian-security");
	lx_apt_mirrors_release(&m);
	/* Somebody's own key, written out. */
	assert_int_equal(lx_apt_sources_deb822(
				 "Types: deb\nURIs: http://x.example/debian\nSuites: sid\nComponents: main\n"
				 "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n",
				 &m),
			 0);
	assert_null(m.archive);
}

static void checks_mirrors(void **state)
{
	assert_true(lx_mirror_valid("http://deb.debian.org/debian"));
	assert_true(lx_mirror_valid("https://user@[::1]:8080/x") == false);
	assert_true(lx_mirror_valid("https://user@host:8080/x_y-z~1"));
	assert_false(lx_mirror_valid("ftp://host/debian"));
	assert_false(lx_mirror_valid("http://"));
	assert_false(lx_mirror_valid("http:///debian"));
	assert_false(lx_mirror_valid("http://host/a b"));
	assert_false(lx_mirror_valid("http://host/$(id)"));
	assert_false(lx_mirror_valid("http://host/\nx"));
	assert_false(lx_mirror_valid("file:///srv/debian"));
}

static void picks_fetch_settings(void **state)
{
	static const char dump[] = "Acquire \"\";\n"
				   "Acquire::Check-Valid-Until \"false\";\n"
				   "Acquire::Check-Valid-Until::x \"no\";\n"
				   "Acquire::http::Proxy \"http://127.0.0.1:3142\";\n"
				   "Acquire::https::Proxy \"\";\n"
				   "Acquire::https::Proxy::deb.example \"http://proxy.example:3142\";\n"
				   "APT::Install-Recommends \"false\";\n"
				   "DPkg::Post-Invoke:: \"rm -rf /\";\n"
				   "Acquire::Retries \"3\";";
	struct lx_buf node = { 0 }, guest = { 0 };

	assert_int_equal(lx_apt_fetch_settings(dump, false, &node), 0);
	assert_string_equal(lx_buf_str(&node),
			    "Acquire::Check-Valid-Until \"false\";\n"
			    "Acquire::http::Proxy \"http://127.0.0.1:3142\";\n"
			    "Acquire::https::Proxy::deb.example \"http://proxy.example:3142\";\n"
			    "Acquire::Retries \"3\";\n");
	assert_int_equal(lx_apt_fetch_settings(dump, true, &guest), 0);
	assert_null(strstr(lx_buf_str(&guest), "127.0.0.1"));
	assert_non_null(strstr(lx_buf_str(&guest), "proxy.example"));
	lx_buf_release(&node);
	lx_buf_release(&guest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_cleaned),       cmocka_unit_test(names_are_refused),
		cmocka_unit_test(jail_follows_no_link),    cmocka_unit_test(reads_one_line_sources),
		cmocka_unit_test(reads_paragraph_sources), cmocka_unit_test(checks_mirrors),
		cmocka_unit_test(picks_fetch_settings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
