/* Proxy devices: their addresses, and which options fit together. */
#include "test_profiles.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "agent/worker/endpoint.h"
#include "profiles/host_device.h"
#include "profiles/proxy.h"

#define PORTS "tcp:127.0.0.1:80"

static struct lx_map a_proxy(const char *listen, const char *connect, const char *key, const char *value)
{
	return map_of("type", "proxy", "listen", listen, "connect", connect, key, value, NULL);
}

/* ------------------------------------------------------------------ addresses */

static void reads_addresses(void **state)
{
	struct lx_proxy_address a;

	assert_null(lx_proxy_address_read("tcp:10.1.2.3:8000-8010", &a));
	assert_true(a.kind == LX_PROXY_TCP && !a.v6 && a.ipv4.s_addr == htonl(0x0a010203));
	assert_true(a.port == 8000 && a.n_ports == 11);
	assert_null(lx_proxy_address_read("udp:[fd42::7]:53", &a));
	assert_true(a.kind == LX_PROXY_UDP && a.v6 && a.ipv6.s6_addr[15] == 7 && a.port == 53 &&
		    a.n_ports == 1);
	assert_null(lx_proxy_address_read("tcp:[::]:65535", &a));
	assert_int_equal(a.port, 65535);
	assert_null(lx_proxy_address_read("unix:/run/a b.sock", &a));
	assert_string_equal(a.path, "/run/a b.sock");
	assert_null(lx_proxy_address_read("unix:@x", &a));
	assert_string_equal(a.path, "@x");
}

static void refuses_addresses(void **state)
{
	static const char *const bad[] = {
		"",
		"tcp",
		"tcp:",
		"tcp::80",
		"tcp:80",
		"tcp:1.2.3:80",
		"tcp:1.2.3.4",
		"tcp:1.2.3.4:",
		"tcp:1.2.3.4:0",
		"tcp:1.2.3.4:65536",
		"tcp:1.2.3.4:99999999999999999999",
		"tcp:1.2.3.4:+80",
		"tcp:1.2.3.4: 80",
		"tcp:1.2.3.4:80-",
		"tcp:1.2.3.4:-80",
		"tcp:1.2.3.4:80-79",
		"tcp:1.2.3.4:80-90-91",
		"tcp:1.2.3.4:1000-1256",
		"tcp:fd42::7:80",
		"tcp:[fd42::7:80",
		"tcp:[1.2.3.4]:80",
		"tcp:[]:80",
		"tcp:a.host.with.a.name.that.is.longer.than.any.address.could.ever.be.in.the.world:80",
		"unix:",
		"unix:@",
		"unix:/",
		"unix:a",
		"unix:/a/../b",
		"unix:@a\nb",
		"http://x",
	};
	lx_autofree char *longest = lx_asprintf("unix:/%0*d", (int)LX_PROXY_PATH_MAX - 1, 0);
	lx_autofree char *longer = lx_asprintf("unix:/%0*d", (int)LX_PROXY_PATH_MAX, 0);
	struct lx_proxy_address a = { .port = 7 };

	for (size_t i = 0; i < LX_ARRAY_SIZE(bad); i++)
		if (!lx_proxy_address_read(bad[i], &a))
			fail_msg("%s is taken", bad[i]);
	assert_int_equal(a.port, 7);
	assert_null(lx_proxy_address_read("tcp:1.2.3.4:1000-1255", &a));
	assert_null(lx_proxy_address_read(longest, &a));
	assert_non_null(lx_proxy_address_read(longer, &a));
}

static void becomes_a_socket_address(void **state)
{
	struct lx_proxy_address a;
	struct lx_endpoint e;
	const struct sockaddr_un *un = (const struct sockaddr_un *)&e.addr;

	assert_null(lx_proxy_address_read("udp:127.0.0.1:100-102", &a));
	lx_endpoint_of(&a, 2, &e);
	assert_true(e.type == SOCK_DGRAM && e.addr.ss_family == AF_INET);
	assert_int_equal(((const struct sockaddr_in *)&e.addr)->sin_port, htons(102));
	assert_null(lx_proxy_address_read("unix:/a", &a));
	lx_endpoint_of(&a, 0, &e);
	assert_string_equal(un->sun_path, "/a");
	assert_int_equal(e.len, offsetof(struct sockaddr_un, sun_path) + 3);
	assert_null(lx_proxy_address_read("unix:@a", &a));
	lx_endpoint_of(&a, 0, &e);
	assert_true(un->sun_path[0] == '\0' && un->sun_path[1] == 'a');
	assert_int_equal(e.len, offsetof(struct sockaddr_un, sun_path) + 2);
}

/* ------------------------------------------------------------------ devices */

static void checks_devices(void **state)
{
	static const struct {
		const char *listen, *connect, *key, *value;
		bool good;
	} cases[] = {
		{ PORTS, "unix:/x", "bind", "instance", true },
		{ PORTS, "tcp:[::1]:80", "bind", "host", true },
		{ PORTS, PORTS, "bind", "guest", false },
		{ PORTS, PORTS, "mode", "600", false },
		{ "unix:@x", PORTS, "uid", "0", false },
		{ "unix:/x", PORTS, "mode", "600", true },
		{ "unix:/x", PORTS, "gid", "65536", false },
		{ "udp:127.0.0.1:1", "udp:127.0.0.1:2", "bind", "", true },
		{ "udp:127.0.0.1:1", PORTS, "bind", "", false },
		{ PORTS, "udp:127.0.0.1:2", "bind", "", false },
		{ "tcp:127.0.0.1:1-3", "tcp:127.0.0.1:5-7", "bind", "", true },
		{ "tcp:127.0.0.1:1-3", "tcp:127.0.0.1:5-6", "bind", "", false },
		{ "tcp:127.0.0.1:1-3", "unix:/x", "bind", "", true },
		{ PORTS, "tcp:127.0.0.1:5-6", "bind", "", false },
		{ PORTS, "", "bind", "", false },
		{ PORTS, PORTS, "path", "/x", false },
	};

	for (size_t i = 0; i < LX_ARRAY_SIZE(cases); i++) {
		lx_automap struct lx_map m =
			a_proxy(cases[i].listen, cases[i].connect, cases[i].key, cases[i].value);
		struct lx_err err = LX_ERR_INIT;
		int r = lx_device_check("web", &m, &err);

		if ((r == 0) != cases[i].good)
			fail_msg("case %zu: %s", i, r < 0 ? err.msg : "taken");
		assert_true(r == 0 || (err.code == LX_INVALID_ARGUMENT && *err.hint));
		assert_true(lx_host_device_is_privileged(&m));
	}
}

static void reads_devices(void **state)
{
	lx_automap struct lx_map m = a_proxy("unix:/x", PORTS, "mode", "604");
	lx_automap struct lx_map inner = a_proxy(PORTS, "unix:@y", "bind", "instance");
	lx_automap struct lx_map disk = map_of("type", "disk", "listen", PORTS, "connect", PORTS, NULL);
	struct lx_proxy p;

	assert_int_equal(lx_proxy_read(&m, &p), 1);
	assert_true(!p.in_guest && p.mode == 0604 && p.uid == 0);
	assert_int_equal(lx_proxy_read(&inner, &p), 1);
	assert_true(p.in_guest && p.mode == 0660 && p.connect.kind == LX_PROXY_UNIX);
	assert_int_equal(lx_proxy_read(&disk, &p), 0);
}

/* ------------------------------------------------------------------ together */

static bool go_together(const char *one, const char *other, const char *bind)
{
	lx_automap struct lx_map a = a_proxy(one, PORTS, "bind", "host"),
				 b = a_proxy(other, PORTS, "bind", bind);
	lx_automap struct lx_map devices = map_of(NULL, NULL);
	struct lx_err err = LX_ERR_INIT;

	assert_int_equal(lx_map_set(&devices, "a", &a), 0);
	assert_int_equal(lx_map_set(&devices, "b", &b), 0);
	return lx_proxies_check(&devices, &err) == 0;
}

static void compares_places(void **state)
{
	assert_false(go_together(PORTS, PORTS, "host"));
	assert_true(go_together(PORTS, PORTS, "instance"));
	assert_true(go_together(PORTS, "tcp:127.0.0.2:80", "host"));
	assert_false(go_together(PORTS, "tcp:0.0.0.0:80", "host"));
	assert_true(go_together(PORTS, "tcp:[::]:80", "host"));
	assert_false(go_together("tcp:[::]:80", "tcp:[::1]:80", "host"));
	assert_true(go_together(PORTS, "udp:127.0.0.1:80", "host"));
	assert_false(go_together("tcp:127.0.0.1:70-90", PORTS, "host"));
	assert_false(go_together(PORTS, "tcp:127.0.0.1:70-80", "host"));
	assert_true(go_together(PORTS, "tcp:127.0.0.1:70-79", "host"));
	assert_true(go_together("unix:/a", "unix:/b", "host"));
	assert_false(go_together("unix:@a", "unix:@a", "host"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_addresses),
		cmocka_unit_test(refuses_addresses),
		cmocka_unit_test(becomes_a_socket_address),
		cmocka_unit_test(checks_devices),
		cmocka_unit_test(reads_devices),
		cmocka_unit_test(compares_places),
	};

	return cmocka_run_group_tests_name("profiles: proxies", tests, NULL, NULL);
}
