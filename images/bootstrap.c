/*
 * Filling a root file system with Debian, by mmdebstrap or, where that is not installed,
 * debootstrap.
 *
 * The happy path: take the cache of downloaded packages (one build at a time per release
 * has it), run the program contained, its output going into a log and its steps into the
 * progress, until it ends well.
 *
 * Ways to fail: neither program is there; the mirror, a key, a package is not; the disk is
 * full. The error carries what the program complained of and where the whole log lies.
 * Cancelled or killed, the program and all it started and mounted go too (see child.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "images/build_internal.h"
#include "images/child.h"
#include "images/tree.h"
#include "images/walk.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"

/* Past this the cache is emptied before a build. */
#define CACHE_MAX_BYTES (UINT64_C(2) << 30)
#define LINE_MAX_BYTES  4096
#define COMPLAINTS_MAX  420
#define CANCEL_POLL_MS  300

/* ------------------------------------------------------------------ what it says */

struct output {
	struct lx_build *build;
	const char *program;
	char *log_path;
	int log;
	unsigned step;
	char line[LINE_MAX_BYTES];
	size_t len;
	char complaints[COMPLAINTS_MAX]; /* lines that begin with "E: " */
	char last[COMPLAINTS_MAX];       /* the last line, when there is none of those */
};

/* How far it is when it says one of these; both programs begin such lines with "I: ". */
static const char *const steps[] = {
	"running apt-get update", "Retrieving",  "downloading packages",   "Validating",
	"extracting archives",    "Extracting",  "installing essential",   "Unpacking",
	"installing remaining",   "Configuring", "cleaning package lists", "Base system installed",
};

#define STEPS (LX_ARRAY_SIZE(steps) / 2)

static const struct {
	const char *says;
	enum lx_code code;
	const char *hint;
} causes[] = {
	{ "NO_PUBKEY", LX_FAILED_PRECONDITION,
	  "The node does not have the release's key yet: apt-get install --only-upgrade "
	  "debian-archive-keyring" },
	{ "not signed", LX_FAILED_PRECONDITION,
	  "The node does not have the release's key yet: apt-get install --only-upgrade "
	  "debian-archive-keyring" },
	{ "No space left", LX_RESOURCE_EXHAUSTED, "Free some space on the node's disk." },
	{ "Unable to locate package", LX_INVALID_ARGUMENT,
	  "See what the release has: https://packages.debian.org" },
	{ "Couldn't find these debs", LX_INVALID_ARGUMENT,
	  "See what the release has: https://packages.debian.org" },
	{ "resolving", LX_UNAVAILABLE,
	  "The package mirror must be reachable from the node; another one: --mirror URL" },
	{ "onnect", LX_UNAVAILABLE,
	  "The package mirror must be reachable from the node; another one: --mirror URL" },
	{ "404", LX_UNAVAILABLE, "This mirror does not have the release; another one: --mirror URL" },
};

static void add_complaint(struct output *o, const char *line)
{
	size_t used = strlen(o->complaints);

	if (strstr(o->complaints, line) || used + 2 >= sizeof(o->complaints))
		return;
	snprintf(o->complaints + used, sizeof(o->complaints) - used, "%s%s", used ? "; " : "", line);
}

static void take_line(struct output *o, const char *line)
{
	if (lx_starts_with(line, "E: "))
		add_complaint(o, line + 3);
	else if (lx_starts_with(line, "W: GPG error"))
		add_complaint(o, line + 3);
	else if (*line)
		snprintf(o->last, sizeof(o->last), "%.*s", COMPLAINTS_MAX - 1, line);
	for (unsigned i = 0; lx_starts_with(line, "I: ") && i < LX_ARRAY_SIZE(steps); i++)
		if (lx_starts_with(line + 3, steps[i]) && i / 2 + 1 > o->step)
			o->step = i / 2 + 1;
}

static void take(struct output *o, const char *data, size_t n)
{
	/* The log is a help, not a promise. */
	(void)lx_write_full(o->log, data, n);
	for (size_t i = 0; i < n; i++) {
		if (data[i] != '\n' && o->len < sizeof(o->line) - 1) {
			o->line[o->len++] = data[i];
			continue;
		}
		o->line[o->len] = '\0';
		take_line(o, o->line);
		o->len = 0;
	}
}

/* Reads until the program has closed its end. */
static int follow(struct output *o, int fd, struct lx_err *err)
{
	char chunk[4096];

	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		int r = lx_progress_report(o->build->progress, "bootstrap", o->step, STEPS + 1, "steps", err);

		if (r < 0)
			return r;
		/* Interrupted or not: the next round looks whether to go on. */
		if (poll(&p, 1, CANCEL_POLL_MS) <= 0)
			continue;
		ssize_t n = read(fd, chunk, sizeof(chunk));

		if (n == 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return lx_err_errno(err, errno, "cannot read what %s says", o->program);
		if (n > 0)
			take(o, chunk, (size_t)n);
	}
}

static int failed(const struct output *o, int code, struct lx_err *err)
{
	const char *why = *o->complaints ? o->complaints : o->last;
	enum lx_code kind = LX_INTERNAL;
	const char *hint = NULL;

	for (size_t i = 0; !hint && i < LX_ARRAY_SIZE(causes); i++) {
		if (!strstr(why, causes[i].says))
			continue;
		kind = causes[i].code;
		hint = causes[i].hint;
	}
	int r = lx_err_set(err, kind, "%s failed (exit %d): %s", o->program, code, why);

	lx_err_hint(err, "%s%sThe whole log on the node: %s", hint ? hint : "", hint ? " " : "", o->log_path);
	return r;
}

/* ------------------------------------------------------------------ the cache */

struct cache {
	char *path;
	int fd; /* of the directory; locked */
};

static int count(void *arg, const struct lx_walk_entry *e, struct lx_err *err)
{
	*(uint64_t *)arg += (uint64_t)e->st->st_size;
	return 0;
}

static int lock_cache(struct lx_build *b, struct cache *c, struct lx_err *err)
{
	while (flock(c->fd, LOCK_EX | LOCK_NB) < 0) {
		int r = errno == EWOULDBLOCK || errno == EINTR ? 0 : -errno;

		if (r < 0)
			return lx_err_errno(err, r, "cannot lock %s", c->path);
		r = lx_progress_report(b->progress, "wait", 0, 0, "", err);
		if (r < 0)
			return r;
		poll(NULL, 0, CANCEL_POLL_MS);
	}
	return 0;
}

static int open_cache(struct lx_build *b, const char *suite, struct cache *c, struct lx_err *err)
{
	lx_autofree char *top = lx_image_cache_path(b->state_dir);
	uint64_t bytes = 0;

	c->path = lx_asprintf("%s/apt/%s", top ? top : "", suite);
	lx_autofree char *partial = lx_asprintf("%s/partial", c->path ? c->path : "");

	if (!top || !c->path || !partial)
		return lx_err_oom(err);
	int r = lx_mkdir_p(partial, 0700, err);

	if (r < 0)
		return r;
	c->fd = open(c->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->fd < 0)
		return lx_err_errno(err, errno, "cannot open %s", c->path);
	r = lock_cache(b, c, err);
	if (r == 0)
		r = lx_walk(c->fd, count, &bytes, err);
	if (r == 0 && bytes > CACHE_MAX_BYTES) {
		r = lx_tree_empty(c->fd, "", err);
		if (r == 0)
			r = lx_mkdir_p(partial, 0700, err);
	}
	return r;
}

static void close_cache(struct cache *c)
{
	if (c->fd >= 0)
		close(c->fd);
	free(c->path);
}

/* ------------------------------------------------------------------ running it */

struct command {
	const char *argv[64];
	size_t n;
	char *owned[24];
	size_t n_owned;
	bool oom;
};

static void add(struct command *c, const char *arg)
{
	c->argv[c->n++] = arg;
}

__attribute__((format(printf, 2, 3))) static void addf(struct command *c, const char *fmt, ...)
{
	va_list ap;
	char *s = NULL;

	va_start(ap, fmt);
	if (vasprintf(&s, fmt, ap) < 0)
		s = NULL;
	va_end(ap);
	c->oom |= !s;
	c->owned[c->n_owned++] = s;
	add(c, s ? s : "");
}

static void command_release(struct command *c)
{
	for (size_t i = 0; i < c->n_owned; i++)
		free(c->owned[i]);
}

static void add_source(struct command *c, const char *uri, const char *suite)
{
	addf(c, "deb [signed-by=" LX_DEBIAN_KEYRING "] %s %s main", uri, suite);
}

/*
 * The cache is mounted over the place where apt downloads to, for as long as this takes.
 * Documentation, translations and manual pages of what is installed now are left out; of
 * what is installed later they are not.
 */
static void mmdebstrap(struct command *c, const struct lx_bootstrap *w, const char *target,
		       const char *settings)
{
	static const char setup_hook[] = "--setup-hook=mkdir -p \"$1/var/cache/apt/archives\" && "
					 "mount --bind \"$LX_CACHE\" \"$1/var/cache/apt/archives\"";
	const char *const options[] = {
		"--mode=root",
		"--variant=minbase",
		"--format=directory",
		"--skip=download/empty",
		"--skip=essential/unlink",
		setup_hook,
		"--customize-hook=umount \"$1/var/cache/apt/archives\"",
		"--aptopt=APT::Sandbox::User \"root\"",
		"--aptopt=Acquire::Languages \"none\"",
		"--dpkgopt=force-unsafe-io",
		"--dpkgopt=path-exclude=/usr/share/doc/*",
		"--dpkgopt=path-include=/usr/share/doc/*/copyright",
		"--dpkgopt=path-exclude=/usr/share/man/*",
		"--dpkgopt=path-exclude=/usr/share/info/*",
		"--dpkgopt=path-exclude=/usr/share/lintian/*",
		"--dpkgopt=path-exclude=/usr/share/locale/*",
		"--dpkgopt=path-include=/usr/share/locale/locale.alias",
	};

	for (size_t i = 0; i < LX_ARRAY_SIZE(options); i++)
		add(c, options[i]);
	/* A file: its lines are taken as they are. */
	addf(c, "--aptopt=%s", settings);
	addf(c, "--include=%s", w->packages);
	add(c, w->suite);
	add(c, target);
	add_source(c, w->archive, w->suite);
	if (!lx_streq(w->suite, "sid"))
		addf(c, "deb [signed-by=" LX_DEBIAN_KEYRING "] %s %s-updates main", w->archive, w->suite);
	if (w->security)
		addf(c, "deb [signed-by=" LX_DEBIAN_KEYRING "] %s %s-security main", w->security, w->suite);
}

/* It knows one source only: updates come when the guest asks for them. */
static void debootstrap(struct command *c, const struct lx_bootstrap *w, const char *target,
			const char *cache)
{
	add(c, "--variant=minbase");
	add(c, "--keyring=" LX_DEBIAN_KEYRING);
	addf(c, "--cache-dir=%s", cache);
	addf(c, "--include=%s", w->packages);
	add(c, w->suite);
	add(c, target);
	add(c, w->archive);
}

static int run(struct lx_build *b, struct command *c, const char *cache, struct output *o, struct lx_err *err)
{
	lx_autofree char *cache_env = lx_asprintf("LX_CACHE=%s", cache);
	lx_autofree char *tmp_env = lx_asprintf("TMPDIR=%s/tmp", b->stage.path);
	lx_autofree char *epoch_env = lx_asprintf("SOURCE_DATE_EPOCH=%lld", (long long)b->epoch);

	if (c->oom || !cache_env || !tmp_env || !epoch_env)
		return lx_err_oom(err);
	const char *env[] = { cache_env,    tmp_env,          epoch_env,
			      "HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive",
			      NULL };
	struct lx_child_spec spec = {
		.argv = c->argv, .env = env, .give_fd = -1, .err_fd = -1, .flags = LX_CHILD_CONTAINED
	};
	struct lx_child child;
	int r = lx_child_start(&spec, &child, err);

	if (r < 0)
		return r;
	r = follow(o, child.out, err);
	if (r < 0) {
		lx_child_kill(&child);
		return r;
	}
	int code = lx_child_wait(&child);

	return code == 0 ? 0 : failed(o, code, err);
}

static int open_log(struct lx_build *b, struct output *o, struct lx_err *err)
{
	lx_autofree char *top = lx_image_cache_path(b->state_dir);

	o->log_path = lx_asprintf("%s/build-%s.log", top ? top : "", b->template->release);
	if (!top || !o->log_path)
		return lx_err_oom(err);
	o->log = open(o->log_path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	return o->log < 0 ? lx_err_errno(err, errno, "cannot create %s", o->log_path) : 0;
}

/* Where mmdebstrap keeps its own files meanwhile, and what apt is told. */
static int prepare(struct lx_build *b, const struct lx_bootstrap *what, struct lx_err *err)
{
	int r = lx_tree_dir(b->stage.fd, "tmp", 0700, err);

	return r < 0 ? r : lx_tree_text(b->stage.fd, "tmp/apt.conf", 0644, what->apt_settings, err);
}

static int bootstrap_with(struct lx_build *b, const struct lx_bootstrap *what, struct cache *cache,
			  struct output *o, struct lx_err *err)
{
	lx_autofree char *new = lx_find_program("mmdebstrap");
	lx_autofree char *old = new ? NULL : lx_find_program("debootstrap");
	lx_autofree char *target = lx_path_join(b->stage.path, "rootfs");
	lx_autofree char *settings = lx_path_join(b->stage.path, "tmp/apt.conf");
	struct command c = { .n = 0 };

	if (!target || !settings)
		return lx_err_oom(err);
	if (!new && !old) {
		int r = lx_err_set(err, LX_FAILED_PRECONDITION,
				   "neither mmdebstrap nor debootstrap is installed on the node");

		lx_err_hint(err, "Install one there: apt-get install mmdebstrap");
		return r;
	}
	o->program = new ? "mmdebstrap" : "debootstrap";
	add(&c, new ? new : old);
	if (new)
		mmdebstrap(&c, what, target, settings);
	else
		debootstrap(&c, what, target, cache->path);
	int r = run(b, &c, cache->path, o, err);

	command_release(&c);
	return r;
}

int lx_bootstrap(struct lx_build *b, const struct lx_bootstrap *what, struct lx_err *err)
{
	lx_autofree struct output *o = calloc(1, sizeof(*o));
	struct cache cache = { .fd = -1 };

	if (!o)
		return lx_err_oom(err);
	o->build = b;
	o->log = -1;
	int r = open_cache(b, what->suite, &cache, err);

	if (r == 0)
		r = open_log(b, o, err);
	if (r == 0)
		r = prepare(b, what, err);
	if (r == 0)
		r = bootstrap_with(b, what, &cache, o, err);
	if (r == 0)
		r = lx_tree_remove(b->stage.fd, "tmp", err);
	close_cache(&cache);
	if (o->log >= 0)
		close(o->log);
	free(o->log_path);
	return r;
}
