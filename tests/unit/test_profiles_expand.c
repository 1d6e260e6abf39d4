/* Expansion of profile stacks: by example, and against a naive model on random stacks. */
#include "test_profiles.h"

static struct lx_layer layer(const char *origin, struct lx_map *config, struct lx_map *devices)
{
	return (struct lx_layer){ .origin = origin, .config = config, .devices = devices };
}

static const char *option(const struct lx_expanded *e, const char *device, const char *name)
{
	const struct lx_map *options = lx_map_get(&e->devices, device);

	return options ? lx_map_get(options, name) : NULL;
}

static void later_layers_win(void **state)
{
	lx_automap struct lx_map c1 = map_of("limits.memory", "1GiB", "limits.cpu", "2", "user.a", "1", NULL);
	lx_automap struct lx_map c2 = map_of("limits.memory", "2GiB", "limits.cpu", "", NULL);
	lx_automap struct lx_map c3 = map_of("user.b", "3", NULL);
	struct lx_layer layers[] = { layer("profile default", &c1, NULL), layer("profile big", &c2, NULL),
				     layer("instance", &c3, NULL) };
	struct lx_expanded e;

	assert_int_equal(lx_expand(layers, 3, &e, NULL), 0);
	assert_int_equal(lx_map_count(&e.config), 3);
	assert_string_equal(lx_map_get(&e.config, "limits.memory"), "2GiB");
	assert_string_equal(lx_map_get(&e.origin, "limits.memory"), "profile big");
	assert_string_equal(lx_map_get(&e.config, "user.a"), "1");
	assert_string_equal(lx_map_get(&e.origin, "user.a"), "profile default");
	assert_string_equal(lx_map_get(&e.origin, "user.b"), "instance");
	assert_false(lx_map_has(&e.config, "limits.cpu")); /* unset by the empty value */
	assert_false(lx_map_has(&e.origin, "limits.cpu"));
	lx_expanded_release(&e);
	lx_expanded_release(NULL);
}

static void whole_devices_win(void **state)
{
	lx_automap struct lx_map root = map_of("type", "disk", "path", "/", NULL);
	lx_automap struct lx_map eth0 = map_of("type", "nic", "network", "lxbr0", "mtu", "1400", NULL);
	lx_automap struct lx_map eth0b = map_of("type", "nic", "network", "other", "hwaddr", "", NULL);
	lx_automap struct lx_map eth1 = map_of("type", "nic", "network", "lxbr0", NULL);
	lx_automap struct lx_map none = map_of("type", "none", NULL);
	lx_automap struct lx_map d1, d2;
	struct lx_expanded e;

	lx_map_init(&d1, NULL);
	lx_map_init(&d2, NULL);
	lx_map_set(&d1, "root", &root);
	lx_map_set(&d1, "eth0", &eth0);
	lx_map_set(&d1, "eth1", &eth1);
	lx_map_set(&d2, "eth0", &eth0b);
	lx_map_set(&d2, "eth1", &none);
	lx_map_set(&d2, "eth9", &none); /* covers nothing */
	struct lx_layer layers[] = { layer("profile default", NULL, &d1), layer("instance", NULL, &d2) };

	assert_int_equal(lx_expand(layers, 2, &e, NULL), 0);
	assert_int_equal(lx_map_count(&e.devices), 2);
	assert_string_equal(option(&e, "root", "path"), "/");
	assert_string_equal(option(&e, "eth0", "network"), "other");
	assert_null(option(&e, "eth0", "mtu"));    /* not merged */
	assert_null(option(&e, "eth0", "hwaddr")); /* empty: as if not given */
	assert_string_equal(lx_map_get(&e.origin, "device eth0"), "instance");
	assert_string_equal(lx_map_get(&e.origin, "device root"), "profile default");
	assert_false(lx_map_has(&e.origin, "device eth1"));
	lx_expanded_release(&e);
}

static void nothing_expands_to_nothing(void **state)
{
	struct lx_expanded e;

	assert_int_equal(lx_expand(NULL, 0, &e, NULL), 0);
	assert_int_equal(lx_map_count(&e.config) + lx_map_count(&e.devices) + lx_map_count(&e.origin), 0);
	lx_expanded_release(&e);
}

static void refuses_devices_that_clash(void **state)
{
	lx_automap struct lx_map root = map_of("type", "disk", "path", "/", NULL);
	lx_automap struct lx_map root2 = map_of("type", "disk", "path", "/", NULL);
	lx_automap struct lx_map eth0 = map_of("type", "nic", "network", "lxbr0", NULL);
	lx_automap struct lx_map eth1 = map_of("type", "nic", "network", "lxbr0", "name", "eth0", NULL);
	lx_automap struct lx_map disks, nics;
	struct lx_err err = LX_ERR_INIT;
	struct lx_expanded e;

	lx_map_init(&disks, NULL);
	lx_map_init(&nics, NULL);
	lx_map_set(&disks, "root", &root);
	lx_map_set(&disks, "rootfs", &root2);
	lx_map_set(&nics, "eth0", &eth0);
	lx_map_set(&nics, "eth1", &eth1);
	struct lx_layer two_disks = layer("instance", NULL, &disks),
			two_nics = layer("instance", NULL, &nics);

	assert_int_equal(lx_expand(&two_disks, 1, &e, &err), -EINVAL);
	assert_string_equal(err.msg, "devices root and rootfs are both / in the guest");
	assert_non_null(strstr(err.hint, "root=none"));
	assert_int_equal(lx_expand(&two_nics, 1, &e, &err), -EINVAL);
	assert_string_equal(err.msg, "devices eth0 and eth1 are both eth0 in the guest");
}

static void refuses_too_many(void **state)
{
	lx_automap struct lx_map a, b, devices;
	lx_automap struct lx_map nic = map_of("type", "nic", "network", "x", NULL);
	struct lx_err err = LX_ERR_INIT;
	struct lx_expanded e;
	char name[32];

	lx_map_init(&a, NULL);
	lx_map_init(&b, NULL);
	lx_map_init(&devices, NULL);
	for (int i = 0; i < LX_CONFIG_MAX_KEYS; i++) {
		snprintf(name, sizeof(name), "user.%d", i);
		assert_int_equal(lx_map_set(&a, name, (void *)(uintptr_t) "x"), 0);
	}
	lx_map_set(&b, "user.more", (void *)(uintptr_t) "x");
	for (int i = 0; i <= LX_CONFIG_MAX_DEVICES; i++) {
		snprintf(name, sizeof(name), "eth%d", i);
		assert_int_equal(lx_map_set(&devices, name, &nic), 0);
	}
	struct lx_layer layers[] = { layer("profile a", &a, NULL), layer("instance", &b, NULL),
				     layer("profile devices", NULL, &devices) };

	assert_int_equal(lx_expand(layers, 1, &e, NULL), 0);
	lx_expanded_release(&e);
	assert_int_equal(lx_expand(layers, 2, &e, &err), -EINVAL);
	assert_string_equal(err.msg, "513 configuration keys are more than 512");
	assert_int_equal(lx_expand(&layers[2], 1, &e, &err), -EINVAL);
	assert_string_equal(err.msg, "profile devices: 65 devices are more than 64");
}

/* ------------------------------------------------------------------ against a model */

#define MODEL_LAYERS 5
#define MODEL_KEYS   6
#define MODEL_ROUNDS 3000

static uint32_t seed = 12345;

static uint32_t draw(uint32_t below)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 16) % below;
}

/*
 * Random stacks of few keys and devices. The model: the last layer that names a key
 * decides, empty or none meaning that it is gone.
 */
static void agrees_with_the_model(void **state)
{
	static const char *const keys[MODEL_KEYS] = { "user.a", "user.b", "user.c",
						      "user.d", "user.e", "user.f" };
	static const char *const values[] = { "", "1", "2", "3" };
	static const char *const origins[MODEL_LAYERS] = { "profile a", "profile b", "profile c", "profile d",
							   "instance" };
	lx_automap struct lx_map nic = map_of("type", "nic", "network", "x", NULL);
	lx_automap struct lx_map none = map_of("type", "none", NULL);

	for (int round = 0; round < MODEL_ROUNDS; round++) {
		struct lx_map config[MODEL_LAYERS], devices[MODEL_LAYERS];
		struct lx_layer layers[MODEL_LAYERS];
		int value_of[MODEL_KEYS], key_from[MODEL_KEYS], device_from[MODEL_KEYS];
		size_t n = 1 + draw(MODEL_LAYERS), left = 0, devices_left = 0;
		struct lx_expanded e;

		for (int k = 0; k < MODEL_KEYS; k++)
			value_of[k] = 0, key_from[k] = device_from[k] = -1;
		for (size_t i = 0; i < n; i++) {
			lx_map_init(&config[i], NULL);
			lx_map_init(&devices[i], NULL);
			for (int k = 0; k < MODEL_KEYS; k++) {
				if (draw(3) == 0) {
					value_of[k] = (int)draw(LX_ARRAY_SIZE(values));
					key_from[k] = (int)i;
					lx_map_set(&config[i], keys[k],
						   (void *)(uintptr_t)values[value_of[k]]);
				}
				if (draw(3) == 0) {
					bool gone = draw(3) == 0;

					device_from[k] = gone ? -1 : (int)i;
					lx_map_set(&devices[i], keys[k] + 5, gone ? &none : &nic);
				}
			}
			layers[i] = layer(origins[i], &config[i], &devices[i]);
		}
		assert_int_equal(lx_expand(layers, n, &e, NULL), 0);
		for (int k = 0; k < MODEL_KEYS; k++) {
			const char *want = value_of[k] ? values[value_of[k]] : NULL;
			char origin[32];

			assert_true(lx_streq(lx_map_get(&e.config, keys[k]), want));
			assert_true(
				lx_streq(lx_map_get(&e.origin, keys[k]), want ? origins[key_from[k]] : NULL));
			snprintf(origin, sizeof(origin), "device %s", keys[k] + 5);
			assert_true(lx_streq(lx_map_get(&e.origin, origin),
					     device_from[k] < 0 ? NULL : origins[device_from[k]]));
			assert_int_equal(lx_map_has(&e.devices, keys[k] + 5), device_from[k] >= 0);
			left += want != NULL;
			devices_left += device_from[k] >= 0;
		}
		assert_int_equal(lx_map_count(&e.config), left);
		assert_int_equal(lx_map_count(&e.devices), devices_left);
		assert_int_equal(lx_map_count(&e.origin), left + devices_left);
		lx_expanded_release(&e);
		for (size_t i = 0; i < n; i++) {
			lx_map_release(&config[i]);
			lx_map_release(&devices[i]);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(later_layers_win),           cmocka_unit_test(whole_devices_win),
		cmocka_unit_test(nothing_expands_to_nothing), cmocka_unit_test(refuses_devices_that_clash),
		cmocka_unit_test(refuses_too_many),           cmocka_unit_test(agrees_with_the_model),
	};

	return cmocka_run_group_tests_name("profiles: expansion", tests, NULL, NULL);
}
