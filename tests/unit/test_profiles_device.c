/* Devices: types, options, required ones, and what users type wrongly. */
#include "test_profiles.h"

static void accepts_good_devices(void **state)
{
	lx_automap struct lx_map root = map_of("type", "disk", "path", "/", NULL);
	lx_automap struct lx_map nic = map_of("type", "nic", "network", "lxbr0", NULL);
	lx_automap struct lx_map full =
		map_of("type", "nic", "network", "lxbr0", "name", "enp3s0", "hwaddr", "00:16:3e:Aa:bb:0c",
		       "ipv4.address", "10.88.0.7", "ipv6.address", "fd42::7", "mtu", "1400", "limits.max",
		       "64kbit", "limits.ingress", "16Gbit", "limits.egress", "1Mibit",
		       "security.mac_filtering", "false", NULL);
	lx_automap struct lx_map bare = map_of("type", "nic", "network", "a", "ipv4.address", "none",
					       "ipv6.address", "none", "mtu", "", NULL);
	lx_automap struct lx_map none = map_of("type", "none", NULL);
	struct lx_err err = LX_ERR_INIT;

	assert_int_equal(lx_device_check("root", &root, &err), 0);
	assert_int_equal(lx_device_check("eth0", &nic, &err), 0);
	assert_int_equal(lx_device_check("uplink", &full, &err), 0);
	assert_int_equal(lx_device_check("eth1", &bare, &err), 0);
	assert_int_equal(lx_device_check("eth0", &none, &err), 0);
	assert_int_equal(err.code, LX_OK);
}

static void refuse(const char *name, struct lx_map options, const char *msg, const char *hint)
{
	struct lx_err err = LX_ERR_INIT;

	assert_int_equal(lx_device_check(name, &options, &err), -EINVAL);
	assert_int_equal(err.code, LX_INVALID_ARGUMENT);
	if (!lx_starts_with(err.msg, msg))
		fail_msg("message \"%s\"", err.msg);
	if (!strstr(err.hint, hint))
		fail_msg("hint \"%s\"", err.hint);
	lx_map_release(&options);
}

static void refuses_names_and_types(void **state)
{
	refuse("Root", map_of("type", "disk", "path", "/", NULL), "invalid device name \"Root\"",
	       "A name is");
	refuse("../x", map_of("type", "disk", "path", "/", NULL), "invalid device name", "A name is");
	refuse("root", map_of("path", "/", NULL), "device root has no type", "type=disk");
	refuse("root", map_of("type", "", NULL), "device root has no type", "type=disk");
	refuse("gpu", map_of("type", "gpu", NULL), "device gpu: there is no device type \"gpu\"", "type=nic");
	refuse("gpu", map_of("type", "\xff", NULL), "device gpu: there is no device type", "type=nic");
	refuse("eth0", map_of("type", "none", "network", "x", NULL), "device eth0: type none has no options",
	       "");
}

static void refuses_options(void **state)
{
	refuse("root", map_of("type", "disk", NULL), "device root: a disk needs the option path", "path:");
	refuse("root", map_of("type", "disk", "path", "", NULL), "device root: a disk needs the option path",
	       "path:");
	refuse("data", map_of("type", "disk", "path", "srv", NULL), "device data: path: \"srv\" is not",
	       "/srv/data");
	refuse("root", map_of("type", "disk", "path", "/", "pool", "default", NULL),
	       "device root: a disk has no option \"pool\"",
	       "It has type, path, source, size, readonly, optional, recursive, limits.max, limits.read, "
	       "limits.write.");
	refuse("eth0", map_of("type", "nic", NULL), "device eth0: a nic needs the option network",
	       "network:");
	refuse("eth0", map_of("type", "nic", "netwrok", "lxbr0", NULL),
	       "device eth0: a nic has no option \"netwrok\"", "Did you mean network?");
	refuse("eth0", map_of("type", "nic", "network", "lxbr0", "\xff", "1", NULL),
	       "device eth0: a nic has no option",
	       "It has type, network, name, hwaddr, ipv4.address, ipv6.address, mtu, limits.egress,");
}

static void refuses_values(void **state)
{
	static const struct {
		const char *option, *hint, *values[12];
	} bad[] = {
		{ "network", "", { "LXBR0", "a/b", "a-very-long-network", "-x" } },
		{ "name",
		  "eth0",
		  { "lo", "all", "default", ".", "..", "a/b", "a b", "sixteen-letters-", "eth0\n",
		    "\xc3\xa4" } },
		{ "hwaddr",
		  "00:16:3e",
		  { "00:16:3e:12:34", "00:16:3e:12:34:5g", "01:16:3e:12:34:56", "00-16-3e-12-34-56",
		    "00:00:00:00:00:00", "00:16:3e:12:34:567", "ff:ff:ff:ff:ff:ff", "0:16:3e:12:34:567" } },
		{ "ipv4.address",
		  "10.88.0.7",
		  { "10.88.0.7/16", "10.88.0", "0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "::1",
		    "10.88.0.256", "10.88.0.7\n", "auto" } },
		{ "ipv6.address",
		  "fd42::7",
		  { "fd42::7/64", "::", "::1", "ff02::1", "fe80::1", "::ffff:10.0.0.1", "10.0.0.1",
		    "fd42:::7" } },
		{ "mtu", "1280 to 65535", { "1279", "65536", "-1", "big", "1500.0" } },
		{ "limits.egress",
		  "100Mbit",
		  { "100", "Mbit", "63kbit", "17Gbit", "-1Mbit", "100MB", "1.5Mbit", "100 Mbit",
		    "18446744073709551616bit", "18446744073709551615Gbit" } },
		{ "security.mac_filtering", "true", { "maybe", "2" } },
	};

	for (size_t i = 0; i < LX_ARRAY_SIZE(bad); i++) {
		for (size_t j = 0; j < LX_ARRAY_SIZE(bad[i].values) && bad[i].values[j]; j++) {
			struct lx_map m = map_of("type", "nic", "network", "lxbr0", NULL);

			assert_int_equal(lx_map_set(&m, bad[i].option, (void *)(uintptr_t)bad[i].values[j]),
					 0);
			refuse("eth0", m, "device eth0: ", bad[i].hint);
		}
	}
}

/* A nic is called as its device is, when that can be. */
static void wants_a_usable_interface_name(void **state)
{
	lx_automap struct lx_map named = map_of("type", "nic", "network", "lxbr0", "name", "eth0", NULL);

	refuse("a-long-name-for-a-nic", map_of("type", "nic", "network", "lxbr0", NULL),
	       "device a-long-name-for-a-nic: its name cannot be", "name=eth0");
	refuse("lo", map_of("type", "nic", "network", "lxbr0", NULL), "device lo: its name cannot be",
	       "name=eth0");
	assert_int_equal(lx_device_check("a-long-name-for-a-nic", &named, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepts_good_devices),
		cmocka_unit_test(refuses_names_and_types),
		cmocka_unit_test(refuses_options),
		cmocka_unit_test(refuses_values),
		cmocka_unit_test(wants_a_usable_interface_name),
	};

	return cmocka_run_group_tests_name("profiles: devices", tests, NULL, NULL);
}
