/*
 * liblxc's calls into libseccomp end here first, as the one in seccomp_load.c does. The file:
 *
 *      struct head, instructions, the policy's text
 */
#include "agent/worker/instance/filter_cache.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf_common.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "lib/str.h"

#define POLICY_MAX (1u << 20)
#define ARGS_MAX   6 /* of a system call */

struct head {
	char magic[8], boot[40];
	uint32_t version[3], api, arch; /* of libseccomp; SCMP_ARCH_ */
	uint32_t text, n;               /* bytes, instructions */
	uint32_t zero;
};

/* What the process that loads the filter, a child of this one, has made of it. */
struct made {
	uint32_t n;
	struct sock_filter v[BPF_MAXINSNS];
};

static struct {
	struct lx_buf text; /* of the policy */
	const struct sock_filter *v;
	uint32_t n; /* 0: none fits */
	struct made *made;
} cache;

static void cache_path(const struct lx_job *job, char out[LX_JOB_PATH_MAX])
{
	lx_job_path(job, out, "seccomp.bpf");
}

static int describe(const struct lx_buf *text, struct head *ret)
{
	const struct scmp_version *v = seccomp_version();

	*ret = (struct head){ .magic = "lxfilt1", .api = seccomp_api_get(), .arch = seccomp_arch_native() };
	if (!v || lx_read_line("/proc/sys/kernel/random/boot_id", ret->boot, sizeof(ret->boot)) < 0)
		return -ENOTSUP;
	ret->version[0] = v->major;
	ret->version[1] = v->minor;
	ret->version[2] = v->micro;
	ret->text = (uint32_t)text->len;
	return 0;
}

static size_t file_size(const struct head *h)
{
	return sizeof(*h) + h->n * sizeof(struct sock_filter) + h->text;
}

/* Is that whole, and of this policy? Its number of instructions is its own. */
static bool fits(const char *file, size_t size, const struct head *want, const struct lx_buf *text)
{
	struct head h;

	if (size < sizeof(h))
		return false;
	memcpy(&h, file, sizeof(h));
	if (h.n == 0 || h.n > BPF_MAXINSNS || size != file_size(&h))
		return false;
	struct head as_wanted = *want;

	as_wanted.n = h.n;
	return memcmp(&h, &as_wanted, sizeof(h)) == 0 &&
	       memcmp(file + size - text->len, text->data, text->len) == 0;
}

/* The map stays, in the monitor as well: pages of a file, which are nobody's own. */
static bool find(const char *path, const struct head *want)
{
	lx_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size < (off_t)sizeof(*want) || st.st_size > 2 * POLICY_MAX)
		return false;
	size_t size = (size_t)st.st_size;
	char *file = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);

	if (file == MAP_FAILED)
		return false;
	if (!fits(file, size, want, &cache.text)) {
		munmap(file, size);
		return false;
	}
	cache.n = ((const struct head *)(void *)file)->n;
	cache.v = (const void *)(file + sizeof(*want));
	return true;
}

void lx_filter_cache_open(const struct lx_job *job, bool keep)
{
	char policy[LX_JOB_PATH_MAX], path[LX_JOB_PATH_MAX];
	struct head want;

	lx_job_path(job, policy, "seccomp");
	cache_path(job, path);
	if (lx_read_file(policy, POLICY_MAX, &cache.text, NULL) < 0 || cache.text.len == 0 ||
	    strstr(lx_buf_str(&cache.text), " notify") || describe(&cache.text, &want) < 0)
		return;
	if (find(path, &want) || !keep)
		return;
	void *p = mmap(NULL, sizeof(*cache.made), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	cache.made = p == MAP_FAILED ? NULL : p;
}

/* ------------------------------------------------------------------ in the guest's init to be */

static int load_kept(bool log)
{
	struct sock_fprog prog = { .len = (unsigned short)cache.n,
				   .filter = (struct sock_filter *)(uintptr_t)cache.v };

	if (log && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_LOG, &prog) == 0)
		return 1;
	/* A kernel before 4.14 has no flag for it: the filter matters more. */
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) == 0 ? 1 : -errno;
}

static void note(void *filter)
{
	lx_autoclose int fd = memfd_create("filter", MFD_CLOEXEC);
	struct stat st;

	if (fd < 0 || seccomp_export_bpf(filter, fd) < 0 || fstat(fd, &st) < 0 ||
	    st.st_size > (off_t)sizeof(cache.made->v) || st.st_size % (off_t)sizeof(*cache.made->v) != 0 ||
	    pread(fd, cache.made->v, (size_t)st.st_size, 0) != st.st_size)
		return;
	cache.made->n = (uint32_t)((size_t)st.st_size / sizeof(*cache.made->v));
}

int lx_filter_cache_load(void *filter, bool log)
{
	if (cache.n > 0)
		return load_kept(log);
	if (cache.made)
		note(filter);
	return 0;
}

/* ------------------------------------------------------------------ afterwards */

static void write_file(const char *path)
{
	lx_autobuf struct lx_buf file = { 0 };
	struct head h;
	struct lx_err err = LX_ERR_INIT;

	if (describe(&cache.text, &h) < 0)
		return;
	h.n = cache.made->n;
	if (lx_buf_append(&file, &h, sizeof(h)) < 0 ||
	    lx_buf_append(&file, cache.made->v, h.n * sizeof(*cache.made->v)) < 0 ||
	    lx_buf_append(&file, cache.text.data, cache.text.len) < 0)
		return;
	if (lx_write_file_volatile(path, file.data, file.len, 0600, &err) < 0)
		lx_debug("a filter of system calls is not kept", "error=\"%s\"", err.msg);
}

void lx_filter_cache_close(const struct lx_job *job, bool started)
{
	char path[LX_JOB_PATH_MAX];

	cache_path(job, path);
	if (started && cache.made && cache.made->n > 0)
		write_file(path);
	else if (!started)
		(void)unlink(path);
	if (cache.made)
		munmap(cache.made, sizeof(*cache.made));
	cache.made = NULL;
	lx_buf_release(&cache.text);
}

/* ------------------------------------------------------------------ liblxc's rules */

typedef int (*add_function)(scmp_filter_ctx, uint32_t, int, unsigned, const struct scmp_arg_cmp *);

static int add(const char *name, scmp_filter_ctx ctx, uint32_t action, int call, unsigned n,
	       const struct scmp_arg_cmp *args)
{
	add_function real = (add_function)dlsym(RTLD_NEXT, name);

	return !real ? -ENOSYS : cache.n > 0 ? 0 : real(ctx, action, call, n, args);
}

static int add_some(const char *name, scmp_filter_ctx ctx, uint32_t action, int call, unsigned n, va_list ap)
{
	struct scmp_arg_cmp args[ARGS_MAX];

	if (n > ARGS_MAX)
		return -EINVAL;
	for (unsigned i = 0; i < n; i++)
		args[i] = va_arg(ap, struct scmp_arg_cmp);
	return add(name, ctx, action, call, n, args);
}

int seccomp_rule_add_exact_array(scmp_filter_ctx ctx, uint32_t action, int call, unsigned n,
				 const struct scmp_arg_cmp *args)
{
	return add("seccomp_rule_add_exact_array", ctx, action, call, n, args);
}

int seccomp_rule_add_exact(scmp_filter_ctx ctx, uint32_t action, int call, unsigned n, ...)
{
	va_list ap;

	va_start(ap, n);
	int r = add_some("seccomp_rule_add_exact_array", ctx, action, call, n, ap);

	va_end(ap);
	return r;
}

int seccomp_rule_add(scmp_filter_ctx ctx, uint32_t action, int call, unsigned n, ...)
{
	va_list ap;

	va_start(ap, n);
	int r = add_some("seccomp_rule_add_array", ctx, action, call, n, ap);

	va_end(ap);
	return r;
}
