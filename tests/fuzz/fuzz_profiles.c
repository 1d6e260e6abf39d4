/*
 * Fuzzing what users may send as configuration: the input is lines of "key=value" (with
 * NUL for a newline in a value), "@option=value" for a device. Whatever passes the checks
 * must plan, and what is generated from it must be whole lines. And what a guest sends, as a
 * mount's options: "!type=options".
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/str.h"
#include "profiles/apparmor_namespace.h"
#include "profiles/host_device.h"
#include "profiles/intercept_mount.h"
#include "profiles/privileged.h"
#include "profiles/profiles.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX 65536

/* What passes is a list of single options, none of which stops the machine. */
static void try_mount(const char *type, char *data)
{
	struct lx_mount_plan p;
	const char *fault = NULL;

	if (lx_mount_plan(type, 0, data, &p, &fault) < 0) {
		assert(fault);
		return;
	}
	for (size_t i = 0; i < p.n_options; i++) {
		assert(*p.options[i].name && !strpbrk(p.options[i].name, ",="));
		assert(!p.options[i].value || (*p.options[i].value && !strpbrk(p.options[i].value, ",=/")));
		assert(!p.options[i].value || strcmp(p.options[i].value, "panic") != 0);
	}
}

/* Puts each line into the map it is for. The maps borrow from `text`. */
static void split(char *text, size_t size, struct lx_map *config, struct lx_map *options)
{
	char *end = text + size;

	for (char *line = text; line < end;) {
		char *stop = memchr(line, '\n', (size_t)(end - line));
		char *next = stop ? stop + 1 : end;

		if (!stop)
			stop = end;
		*stop = '\0';
		for (char *p = line; p < stop; p++)
			if (*p == '\0')
				*p = '\n';
		char *eq = strchr(line, '=');

		if (eq) {
			*eq = '\0';
			if (line[0] == '!')
				try_mount(line + 1, eq + 1);
			else if (line[0] == '@')
				(void)lx_map_set(options, line + 1, eq + 1);
			else
				(void)lx_map_set(config, line, eq + 1);
		}
		line = next;
	}
}

/* Keeps what the checks let pass, as the manager does. */
static void keep_good(struct lx_map *config)
{
	for (struct lx_map_entry *e = lx_map_first(config), *next; e; e = next) {
		struct lx_err err = LX_ERR_INIT;

		next = lx_map_next(e);
		if (lx_config_check(lx_map_key(e), lx_map_value(e), &err) == 0)
			continue;
		assert(err.code == LX_INVALID_ARGUMENT && err.msg[0] && !strchr(err.msg, '\n'));
		lx_map_del(config, lx_map_key(e));
	}
}

/* "lxc.", some of it, " = ", some of it: no line that we did not mean. */
static void check_lines(const char *text)
{
	while (*text) {
		const char *end = strchr(text, '\n'), *eq = strstr(text, " = ");

		assert(end && eq && eq < end && lx_starts_with(text, "lxc."));
		text = end + 1;
	}
}

static void use(const struct lx_map *config, enum lx_cgroup_layout layout)
{
	struct lx_host_facts host = { .memory_bytes = UINT64_C(1) << 33,
				      .cpus = 8192,
				      .memory = layout,
				      .cpu = layout,
				      .cpuset = layout,
				      .pids = layout,
				      .swap_accounting = true };
	struct lx_knob knobs[LX_KNOBS_MAX];
	lx_autobuf struct lx_buf text = { 0 }, policy = { 0 };
	int n = lx_limits_plan(config, &host, knobs, NULL);

	/* Only swap without memory on v1, and more soft than hard, are good and still impossible. */
	assert(n > 0 || lx_map_has(config, "limits.memory.soft") ||
	       (layout == LX_CGROUP_V1 && lx_map_has(config, "limits.memory.swap")));
	struct lx_lxc_input in = { .name = "web1",
				   .rootfs = "/r",
				   .cgroup_root = "lxmgr",
				   .hostname = "web1",
				   .init = "/sbin/init",
				   .log_path = "/l",
				   .idmap_base = 1000000,
				   .idmap_size = 65536,
				   .config = config,
				   .knobs = knobs,
				   .n_knobs = n > 0 ? (size_t)n : 0 };

	/* Keys that do not go together have no configuration. */
	if (lx_lxc_config(&in, &text, NULL) < 0 && lx_privileged_check(config, NULL) == 0 &&
	    lx_mount_check_keys(config, NULL) == 0 && lx_apparmor_namespace_check(config, NULL) == 0)
		abort();
	check_lines(lx_buf_str(&text));
	if (lx_seccomp_policy(config, &policy, NULL) < 0)
		abort();
}

/* A good device has a place in the guest, and liblxc's line for it is one line. */
static void use_device(const struct lx_map *options)
{
	struct lx_map config;
	struct lx_host_device d;
	lx_autobuf struct lx_buf text = { 0 };

	if (lx_host_device_read(options, &d) != 1)
		return;
	assert(!lx_device_path_fault(d.path) && !lx_device_path_is_taken(d.path) && d.path[1]);
	assert(d.kind != LX_HOST_DEVICE_DISK || !lx_device_path_fault(d.source));
	assert((d.kind == LX_HOST_DEVICE_TMPFS) == !lx_host_device_is_privileged(options));
	const struct lx_lxc_mount mount = { d.source, d.path, "bind", true };
	struct lx_lxc_input in = { .name = "web1",
				   .rootfs = "/r",
				   .cgroup_root = "lxmgr",
				   .hostname = "web1",
				   .init = "/sbin/init",
				   .log_path = "/l",
				   .idmap_base = 1000000,
				   .idmap_size = 65536,
				   .config = &config,
				   .mounts = &mount,
				   .n_mounts = 1 };

	lx_map_init(&config, NULL);
	if (lx_lxc_config(&in, &text, NULL) < 0)
		abort();
	check_lines(lx_buf_str(&text));
	lx_map_release(&config);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > INPUT_MAX)
		return 0;
	char *text = malloc(size + 1);
	struct lx_map config, options;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	lx_map_init(&config, NULL);
	lx_map_init(&options, NULL);
	split(text, size, &config, &options);
	keep_good(&config);
	use(&config, LX_CGROUP_V1);
	use(&config, LX_CGROUP_V2);

	struct lx_err err = LX_ERR_INIT;

	if (lx_device_check("eth0", &options, &err) < 0)
		assert(err.code == LX_INVALID_ARGUMENT && err.msg[0] && !strchr(err.msg, '\n'));
	else
		use_device(&options);
	lx_map_release(&config);
	lx_map_release(&options);
	free(text);
	return 0;
}
