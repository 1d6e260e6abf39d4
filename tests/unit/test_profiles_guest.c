/* What is put into guests: their files and the drop-in layer. */
#include "test_profiles.h"

static const char *const dns[] = { "10.88.0.1", "fd42::1", NULL };

static const struct lx_guest_net net0 = {
	.nic = { .name = "eth0",
		 .ipv4 = "10.88.1.7/16",
		 .ipv4_gateway = "10.88.0.1",
		 .ipv6 = "fd42::7/64",
		 .ipv6_gateway = "fd42::1",
		 .mtu = 1450 },
	.dns = dns,
	.dns_domain = "lxmgr",
};

static const char *text_of(const struct lx_guest_file *files, int n, const char *path)
{
	for (int i = 0; i < n; i++)
		if (lx_streq(files[i].path, path))
			return files[i].text;
	return NULL;
}

/* ------------------------------------------------------------------ files */

static void writes_names_and_resolver(void **state)
{
	struct lx_guest_file f[LX_GUEST_FILES_MAX];
	struct lx_guest_probe probe = { 0 };
	int n = lx_guest_files("web1", &probe, &net0, 1, f, NULL);

	assert_int_equal(n, 3);
	for (int i = 0; i < n; i++)
		assert_int_equal(f[i].mode, 0644);
	assert_string_equal(text_of(f, n, "/etc/hostname"), "web1\n");
	assert_string_equal(text_of(f, n, "/etc/hosts"), "127.0.0.1\tlocalhost\n"
							 "127.0.1.1\tweb1.lxmgr web1\n"
							 "::1\tlocalhost ip6-localhost ip6-loopback\n"
							 "ff02::1\tip6-allnodes\n"
							 "ff02::2\tip6-allrouters\n");
	assert_string_equal(text_of(f, n, "/etc/resolv.conf"), "search lxmgr\n"
							       "nameserver 10.88.0.1\n"
							       "nameserver fd42::1\n");
	lx_guest_files_release(f, (size_t)n);
}

static void writes_without_network(void **state)
{
	struct lx_guest_file f[LX_GUEST_FILES_MAX];
	struct lx_guest_probe probe = { .systemd = true, .networkd = true, .ifupdown = true };
	int n = lx_guest_files("web1", &probe, NULL, 0, f, NULL);

	assert_int_equal(n, 4);
	assert_non_null(strstr(text_of(f, n, "/etc/hosts"), "127.0.1.1\tweb1\n"));
	assert_null(text_of(f, n, "/etc/resolv.conf")); /* the image's stays */
	assert_string_equal(text_of(f, n, "/etc/network/interfaces.d/lxmgr"),
			    "# Addresses leased by lxmgr.\n");
	lx_guest_files_release(f, (size_t)n);
}

static void tells_resolved(void **state)
{
	struct lx_guest_file f[LX_GUEST_FILES_MAX];
	struct lx_guest_probe probe = { .systemd = true, .resolved = true };
	int n = lx_guest_files("web1", &probe, &net0, 1, f, NULL);

	assert_int_equal(n, 3);
	assert_null(text_of(f, n, "/etc/resolv.conf"));
	assert_string_equal(text_of(f, n, "/etc/systemd/resolved.conf.d/10-lxmgr.conf"), "[Resolve]\n"
											 "DNS=10.88.0.1\n"
											 "DNS=fd42::1\n"
											 "Domains=lxmgr\n");
	lx_guest_files_release(f, (size_t)n);
	/* A link left over by a systemd that is not there. */
	probe.systemd = false;
	n = lx_guest_files("web1", &probe, &net0, 1, f, NULL);
	assert_non_null(text_of(f, n, "/etc/resolv.conf"));
	lx_guest_files_release(f, (size_t)n);
}

static void tells_networkd(void **state)
{
	struct lx_guest_file f[LX_GUEST_FILES_MAX];
	struct lx_guest_probe probe = { .systemd = true, .networkd = true };
	struct lx_guest_net nets[2] = { net0, { .nic = { .name = "eth1" } } };
	int n = lx_guest_files("web1", &probe, nets, 2, f, NULL);

	assert_int_equal(n, 5);
	assert_string_equal(text_of(f, n, "/etc/systemd/network/10-lxmgr-eth0.network"),
			    "[Match]\n"
			    "Name=eth0\n"
			    "\n"
			    "[Link]\n"
			    "MTUBytes=1450\n"
			    "RequiredForOnline=yes\n"
			    "\n"
			    "[Network]\n"
			    "KeepConfiguration=static\n"
			    "DHCP=no\n"
			    "IPv6AcceptRA=no\n"
			    "Address=10.88.1.7/16\n"
			    "Address=fd42::7/64\n"
			    "Gateway=10.88.0.1\n"
			    "Gateway=fd42::1\n"
			    "DNS=10.88.0.1\n"
			    "DNS=fd42::1\n"
			    "Domains=lxmgr\n");
	assert_string_equal(text_of(f, n, "/etc/systemd/network/10-lxmgr-eth1.network"),
			    "[Match]\n"
			    "Name=eth1\n"
			    "\n"
			    "[Link]\n"
			    "RequiredForOnline=no\n"
			    "\n"
			    "[Network]\n"
			    "KeepConfiguration=static\n"
			    "DHCP=no\n");
	lx_guest_files_release(f, (size_t)n);
}

static void tells_ifupdown(void **state)
{
	struct lx_guest_file f[LX_GUEST_FILES_MAX];
	struct lx_guest_probe probe = { .ifupdown = true };
	int n = lx_guest_files("web1", &probe, &net0, 1, f, NULL);

	assert_int_equal(n, 5);
	assert_string_equal(text_of(f, n, "/etc/network/interfaces"),
			    "auto lo\n"
			    "iface lo inet loopback\n"
			    "\n"
			    "source-directory /etc/network/interfaces.d\n");
	assert_string_equal(text_of(f, n, "/etc/network/interfaces.d/lxmgr"),
			    "# Addresses leased by lxmgr.\n"
			    "\n"
			    "auto eth0\n"
			    "iface eth0 inet manual\n"
			    "\tup ip link set dev $IFACE mtu 1450\n"
			    "\tup ip link set dev $IFACE up\n"
			    "\tup ip addr replace 10.88.1.7/16 broadcast + dev $IFACE\n"
			    "\tup ip -6 addr replace fd42::7/64 dev $IFACE nodad\n"
			    "\tup ip route replace default via 10.88.0.1 dev $IFACE\n"
			    "\tup ip -6 route replace default via fd42::1 dev $IFACE\n"
			    "\tdown ip addr flush dev $IFACE\n");
	lx_guest_files_release(f, (size_t)n);
}

static void names_each_server_once(void **state)
{
	static const char *const more[] = { "10.88.0.1", "9.9.9.9", "1.1.1.1", "8.8.8.8", NULL };
	struct lx_guest_file f[LX_GUEST_FILES_MAX];
	struct lx_guest_probe probe = { 0 };
	struct lx_guest_net nets[2] = { net0, net0 };

	nets[1].nic.name = "eth1";
	nets[1].dns = more;
	nets[0].dns_domain = NULL;
	int n = lx_guest_files("web1", &probe, nets, 2, f, NULL);

	assert_string_equal(text_of(f, n, "/etc/resolv.conf"), "search lxmgr\n"
							       "nameserver 10.88.0.1\n"
							       "nameserver fd42::1\n"
							       "nameserver 9.9.9.9\n");
	lx_guest_files_release(f, (size_t)n);
}

static void takes_as_many_nics_as_an_instance_may_have(void **state)
{
	static char names[LX_GUEST_FILES_MAX][16];
	static struct lx_guest_net nets[LX_GUEST_FILES_MAX];
	struct lx_guest_file f[LX_GUEST_FILES_MAX];
	struct lx_guest_probe probe = {
		.systemd = true, .networkd = true, .ifupdown = true, .resolved = true
	};
	struct lx_err err = LX_ERR_INIT;

	for (int i = 0; i < LX_GUEST_FILES_MAX; i++) {
		snprintf(names[i], sizeof(names[i]), "eth%d", i);
		nets[i] = net0;
		nets[i].nic.name = names[i];
	}
	int n = lx_guest_files("web1", &probe, nets, LX_CONFIG_MAX_DEVICES, f, &err);

	assert_int_equal(n, LX_CONFIG_MAX_DEVICES + 5);
	lx_guest_files_release(f, (size_t)n);
	assert_true(lx_guest_files("web1", &probe, nets, LX_GUEST_FILES_MAX, f, &err) < 0);
	assert_int_equal(err.code, LX_RESOURCE_EXHAUSTED);
}

static void refuses_what_could_say_more(void **state)
{
	static const struct {
		size_t at;
		const char *values[5];
	} bad[] = {
		{ offsetof(struct lx_guest_net, nic.name), { "eth0\nX=1", "", "a/b", "lo" } },
		{ offsetof(struct lx_guest_net, nic.ipv4),
		  { "10.0.0.1", "10.0.0.1/33", "fd42::7/64", "10.0.0.1/8\nDHCP=yes" } },
		{ offsetof(struct lx_guest_net, nic.ipv6),
		  { "fd42::7", "fd42::7/129", "10.0.0.1/8", "x\n/64" } },
		{ offsetof(struct lx_guest_net, nic.ipv4_gateway),
		  { "10.0.0.1/8", "fd42::1", "10.0.0.1;reboot" } },
		{ offsetof(struct lx_guest_net, nic.ipv6_gateway),
		  { "fd42::1/64", "10.0.0.1", "fd42::1 $(reboot)" } },
		{ offsetof(struct lx_guest_net, dns_domain),
		  { "a b", "x\nnameserver 6.6.6.6", "a/b", "$(x)" } },
	};
	struct lx_guest_probe probe = { .systemd = true, .networkd = true, .ifupdown = true };
	static const char *const bad_dns[] = { "10.0.0.1\n", NULL };
	struct lx_guest_file f[LX_GUEST_FILES_MAX];
	struct lx_guest_net net = net0;

	for (size_t i = 0; i < LX_ARRAY_SIZE(bad); i++) {
		for (size_t j = 0; j < LX_ARRAY_SIZE(bad[i].values) && bad[i].values[j]; j++) {
			net = net0;
			*(const char **)(void *)((char *)&net + bad[i].at) = bad[i].values[j];
			assert_int_equal(lx_guest_files("web1", &probe, &net, 1, f, NULL), -EINVAL);
		}
	}
	net = net0;
	net.dns = bad_dns;
	assert_int_equal(lx_guest_files("web1", &probe, &net, 1, f, NULL), -EINVAL);
	assert_int_equal(lx_guest_files("web 1", &probe, &net0, 1, f, NULL), -EINVAL);
	assert_int_equal(lx_guest_files("web1\n", &probe, &net0, 1, f, NULL), -EINVAL);
	assert_int_equal(lx_guest_files("", &probe, &net0, 1, f, NULL), -EINVAL);
}

/* ------------------------------------------------------------------ layer */

static void makes_the_layer(void **state)
{
	struct lx_guest_file f[LX_GUEST_FILES_MAX];
	int n = lx_guest_layer(f, NULL);

	assert_true(n > 0);
	for (int i = 0; i < n; i++) {
		assert_true(lx_starts_with(f[i].path, "/usr/lib/systemd/"));
		assert_int_equal(f[i].mode, 0644);
		assert_int_equal(f[i].text[0], '[');
		assert_true(lx_ends_with(f[i].text, "\n"));
	}
	assert_string_equal(text_of(f, n, "/usr/lib/systemd/system/service.d/10-lxmgr.conf"),
			    "[Service]\n"
			    "ProtectHostname=no\n"
			    "PrivateUsers=no\n"
			    "PrivateIPC=no\n");
	assert_string_equal(text_of(f, n, "/usr/lib/systemd/system.conf.d/10-lxmgr.conf"),
			    "[Manager]\nDefaultMemoryPressureWatch=off\n");
	lx_guest_files_release(f, (size_t)n);
	assert_null(f[0].path);
	lx_guest_files_release(f, (size_t)n); /* released twice: nothing happens */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_names_and_resolver),
		cmocka_unit_test(writes_without_network),
		cmocka_unit_test(tells_resolved),
		cmocka_unit_test(tells_networkd),
		cmocka_unit_test(tells_ifupdown),
		cmocka_unit_test(names_each_server_once),
		cmocka_unit_test(takes_as_many_nics_as_an_instance_may_have),
		cmocka_unit_test(refuses_what_could_say_more),
		cmocka_unit_test(makes_the_layer),
	};

	return cmocka_run_group_tests_name("profiles: guests", tests, NULL, NULL);
}
