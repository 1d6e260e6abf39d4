/*
 * The busybox image: one static program, the links that name its parts, and the few files
 * an init, a shell and a web server want. Two megabytes, boots in milliseconds: for first
 * steps and for tests. (`httpd -f -h /var/www` serves a page.)
 *
 * The program is the node's own /bin/busybox, and the epoch is that file's time: the same
 * busybox always gives the same image.
 *
 * Ways to fail: busybox is not installed, or it is not the static one.
 */
#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "images/build_internal.h"
#include "images/child.h"
#include "images/describe.h"
#include "images/tree.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"

#define BUSYBOX_MAX (32 * 1024 * 1024)
#define LIST_MAX    (64 * 1024)

static const struct {
	const char *path;
	mode_t mode;
} dirs[] = {
	{ "bin", 0755 },
	{ "sbin", 0755 },
	{ "usr", 0755 },
	{ "usr/bin", 0755 },
	{ "usr/sbin", 0755 },
	{ "dev", 0755 },
	{ "etc", 0755 },
	{ "etc/network", 0755 },
	{ "home", 0755 },
	{ "lib", 0755 },
	{ "mnt", 0755 },
	{ "proc", 0555 },
	{ "root", 0700 },
	{ "run", 0755 },
	{ "run/lock", 0755 },
	{ "srv", 0755 },
	{ "sys", 0555 },
	{ "tmp", 01777 },
	{ "var", 0755 },
	{ "var/tmp", 01777 },
	{ "var/log", 0755 },
	{ "var/spool", 0755 },
	{ "var/spool/cron", 0755 },
	{ "var/www", 0755 },
};

static const struct {
	const char *path;
	mode_t mode;
	const char *text;
} files[] = {
	{ "etc/inittab", 0644,
	  "::sysinit:/etc/init.d/rcS\n"
	  "::ctrlaltdel:/sbin/reboot\n"
	  "::shutdown:/etc/init.d/rcK\n" },
	/*
	 * Nothing but what the shell can do itself while all is well, because each program that a guest
	 * starts is paid again by every guest that boots: lo and the card are usually up and the address
	 * there before init is. Only without one is a server asked, and nothing waits.
	 */
	{ "etc/init.d/rcS", 0755,
	  "#!/bin/sh\n"
	  "# Runs once at boot; then every executable in /etc/rc.d does.\n"
	  "for nic in /sys/class/net/lo /sys/class/net/eth*; do\n"
	  "\t[ -e \"$nic\" ] || continue\n"
	  "\tread flags <\"$nic/flags\"\n"
	  "\tnic=${nic##*/}\n"
	  "\t[ $((flags & 1)) = 1 ] || ip link set \"$nic\" up 2>/dev/null\n"
	  "\t[ \"$nic\" = lo ] && continue\n"
	  "\taddress=\n"
	  "\twhile read -r name rest; do\n"
	  "\t\t[ \"$name\" = \"$nic\" ] && address=yes\n"
	  "\tdone </proc/net/route\n"
	  "\t[ \"$address\" ] ||\n"
	  "\t\tudhcpc -S -t 10 -A 5 -i \"$nic\" -p \"/run/udhcpc.$nic.pid\" >/dev/null 2>&1 &\n"
	  "done\n"
	  "for script in /etc/rc.d/*; do\n"
	  "\t[ -x \"$script\" ] && \"$script\" start\n"
	  "done\n"
	  "exit 0\n" },
	{ "etc/init.d/rcK", 0755,
	  "#!/bin/sh\n"
	  "for script in /etc/rc.d/*; do\n"
	  "\t[ -x \"$script\" ] && \"$script\" stop\n"
	  "done\n"
	  "exit 0\n" },
	{ "etc/rc.d/README", 0644,
	  "Executables in here are called with \"start\" at boot and \"stop\" before the end.\n" },
	{ "etc/udhcpc/default.script", 0755,
	  "#!/bin/sh\n"
	  "case \"$1\" in\n"
	  "deconfig)\n"
	  "\tip -4 addr flush dev \"$interface\"\n"
	  "\tip link set \"$interface\" up\n"
	  "\t;;\n"
	  "bound | renew)\n"
	  "\tip -4 addr flush dev \"$interface\"\n"
	  "\tip addr add \"$ip/${mask:-24}\" dev \"$interface\"\n"
	  "\t[ -n \"$router\" ] && ip route replace default via \"${router%% *}\" dev \"$interface\"\n"
	  "\t: >/etc/resolv.conf\n"
	  "\t[ -n \"$domain\" ] && echo \"search $domain\" >>/etc/resolv.conf\n"
	  "\tfor server in $dns; do\n"
	  "\t\techo \"nameserver $server\" >>/etc/resolv.conf\n"
	  "\tdone\n"
	  "\t;;\n"
	  "esac\n" },
	{ "etc/os-release", 0644, "PRETTY_NAME=\"BusyBox\"\nNAME=\"BusyBox\"\nID=busybox\n" },
	{ "etc/passwd", 0644,
	  "root:x:0:0:root:/root:/bin/sh\n"
	  "daemon:x:1:1:daemon:/usr/sbin:/bin/false\n"
	  "www-data:x:33:33:www-data:/var/www:/bin/false\n"
	  "nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n" },
	{ "etc/shadow", 0600,
	  "root:*:19000:0:99999:7:::\n"
	  "daemon:*:19000:0:99999:7:::\n"
	  "www-data:*:19000:0:99999:7:::\n"
	  "nobody:*:19000:0:99999:7:::\n" },
	{ "etc/group", 0644,
	  "root:x:0:\n"
	  "daemon:x:1:\n"
	  "tty:x:5:\n"
	  "www-data:x:33:\n"
	  "nogroup:x:65534:\n" },
	{ "etc/hosts", 0644, "127.0.0.1\tlocalhost\n::1\tlocalhost\n" },
	{ "etc/shells", 0644, "/bin/sh\n/bin/ash\n" },
	{ "etc/profile", 0644,
	  "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
	  "export PAGER=less\n"
	  "PS1='\\u@\\h:\\w\\$ '\n" },
	{ "etc/services", 0644,
	  "ssh\t22/tcp\ndomain\t53/tcp\ndomain\t53/udp\nhttp\t80/tcp\nhttps\t443/tcp\n" },
	{ "var/www/index.html", 0644, "<!DOCTYPE html>\n<title>busybox</title>\n<p>It works.</p>\n" },
};

/* ------------------------------------------------------------------ the program */

/* A dynamic program names its interpreter in a program header. */
static bool is_static_elf(const uint8_t *data, size_t len)
{
	Elf64_Ehdr h;

	if (len < sizeof(h))
		return false;
	memcpy(&h, data, sizeof(h));
	if (memcmp(h.e_ident, ELFMAG, SELFMAG) != 0 || h.e_ident[EI_CLASS] != ELFCLASS64)
		return false;
	for (size_t i = 0; i < h.e_phnum; i++) {
		Elf64_Phdr p;
		size_t at = h.e_phoff + i * sizeof(p);

		if (h.e_phoff > len || at > len - sizeof(p))
			return false;
		memcpy(&p, data + at, sizeof(p));
		if (p.p_type == PT_INTERP)
			return false;
	}
	return true;
}

static int copy_program(struct lx_build *b, const char *program, struct lx_err *err)
{
	lx_autobuf struct lx_buf data = { 0 };
	struct stat st;
	int r = lx_read_file(program, BUSYBOX_MAX, &data, err);

	if (r < 0)
		return r;
	if (stat(program, &st) < 0)
		return lx_err_errno(err, errno, "cannot look at %s", program);
	if (!is_static_elf(data.data, data.len)) {
		r = lx_err_set(err, LX_FAILED_PRECONDITION,
			       "%s needs libraries: it cannot be all of an image", program);
		lx_err_hint(err, "Install the static one on the node: apt-get install busybox-static");
		return r;
	}
	b->epoch = st.st_mtim.tv_sec;
	return lx_tree_file(b->root, "bin/busybox", 0755, data.data, data.len, err);
}

/* "sbin/init" for each thing it can be. */
static int link_parts(struct lx_build *b, const char *program, struct lx_err *err)
{
	const char *argv[] = { program, "--list-full", NULL };
	lx_autobuf struct lx_buf list = { 0 };
	char *at = NULL;
	int r = lx_child_output(argv, LIST_MAX, &list, err);

	if (r < 0)
		return r;
	lx_autofree char *copy = strdup(lx_buf_str(&list));

	if (!copy)
		return lx_err_oom(err);
	r = 0;
	for (char *path = strtok_r(copy, "\n", &at); r == 0 && path; path = strtok_r(NULL, "\n", &at))
		if (!lx_streq(path, "bin/busybox"))
			r = lx_tree_link(b->root, path, "/bin/busybox", err);
	if (r == 0 && !strstr(lx_buf_str(&list), "sbin/init"))
		r = lx_err_set(err, LX_FAILED_PRECONDITION, "%s has no init", program);
	return r;
}

/* ------------------------------------------------------------------ the whole */

int lx_build_busybox(struct lx_build *b, struct lx_err *err)
{
	lx_autofree char *program = NULL;
	int r = lx_need_program("busybox", "busybox-static", &program, err);

	for (size_t i = 0; r == 0 && i < LX_ARRAY_SIZE(dirs); i++)
		r = lx_tree_dir(b->root, dirs[i].path, dirs[i].mode, err);
	if (r == 0)
		r = copy_program(b, program, err);
	if (r == 0)
		r = link_parts(b, program, err);
	for (size_t i = 0; r == 0 && i < LX_ARRAY_SIZE(files); i++)
		r = lx_tree_text(b->root, files[i].path, files[i].mode, files[i].text, err);
	if (r == 0)
		r = lx_tree_clamp_times(b->root, b->epoch, err);
	if (r == 0 && lx_metadata_set(&b->meta, LX_PROPERTY_INIT, "busybox") < 0)
		r = lx_err_oom(err);
	return r;
}
