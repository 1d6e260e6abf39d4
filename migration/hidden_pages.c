/*
 * Ways to fail: the process has ended, or its files in /proc cannot be read: then nothing of
 * it is hidden, which is always right.
 */
#include "migration/hidden_pages.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "migration/memory_maps.h"
#include "migration/page_image.h"

/* Smaller mappings are not worth a line of a list. */
#define MAP_MIN (UINT64_C(8) << 20)

static int large_maps(pid_t pid, struct lx_page_runs *ret)
{
	char path[64];
	lx_autobuf struct lx_buf text = { 0 };
	struct lx_proc_map map;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	int r = lx_read_file(path, LX_PROC_MAPS_MAX, &text, NULL);

	if (r < 0)
		return r;
	for (const char *at = lx_buf_str(&text); r == 0 && (at = lx_proc_map_next(at, &map));)
		if (lx_map_goes_ahead(&map) && map.end - map.start >= MAP_MIN)
			r = lx_page_runs_append(ret, map.start, map.end);
	return r;
}

/* "VmLck:	     0 kB" */
static bool locks_memory(pid_t pid)
{
	char path[64];
	lx_autobuf struct lx_buf text = { 0 };

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	if (lx_read_file(path, LX_PROC_MAPS_MAX, &text, NULL) < 0)
		return true;
	const char *line = strstr(lx_buf_str(&text), "\nVmLck:");

	return !line || strtoul(line + strlen("\nVmLck:"), NULL, 10) != 0;
}

/* "35 0x0 ... 0x7ffd1234 0x7f4321", the last two being stack and instruction pointer. */
static int stack_pointer(pid_t pid, const char *thread, uint64_t *ret)
{
	char path[300], line[512];
	char *last[2] = { NULL, NULL };

	snprintf(path, sizeof(path), "/proc/%d/task/%s/syscall", (int)pid, thread);
	int r = lx_read_line(path, line, sizeof(line));

	if (r < 0)
		return r;
	for (char *rest = line, *word; (word = strsep(&rest, " "));) {
		last[0] = last[1];
		last[1] = word;
	}
	if (!last[0] || !lx_starts_with(last[0], "0x"))
		return -EBUSY; /* "running": it does not stand still */
	*ret = strtoull(last[0], NULL, 16);
	return 0;
}

static int without_stacks(pid_t pid, struct lx_page_runs *pages)
{
	char path[64];
	int r = 0;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	lx_autoclosedir DIR *d = opendir(path);

	if (!d)
		return -errno;
	for (struct dirent *e; r == 0 && (e = readdir(d));) {
		struct lx_page_run page = { 0 };
		struct lx_page_runs one = { .v = &page, .n = 1 }, rest = { 0 };
		uint64_t sp = 0;

		if (e->d_name[0] == '.')
			continue;
		r = stack_pointer(pid, e->d_name, &sp);
		page.start = sp - sp % LX_PAGE_SIZE;
		page.end = page.start + LX_PAGE_SIZE;
		if (r == 0)
			r = lx_page_runs_without(pages, &one, &rest);
		if (r == 0) {
			lx_page_runs_release(pages);
			*pages = rest;
		}
	}
	return r;
}

int lx_hidden_pages_choose(pid_t pid, const struct lx_page_runs *clean, struct lx_page_runs *ret)
{
	struct lx_page_runs maps = { 0 };
	int r = locks_memory(pid) ? -EBUSY : large_maps(pid, &maps);

	if (r == 0)
		r = lx_page_runs_common(clean, &maps, ret);
	if (r == 0)
		r = without_stacks(pid, ret);
	lx_page_runs_release(&maps);
	if (r < 0)
		lx_page_runs_release(ret);
	return r;
}

/* Takes the path. */
static int write_runs(char *path, const struct lx_page_runs *hidden, mode_t mode, struct lx_err *err)
{
	lx_autofree char *owned = path;

	return owned ? lx_write_file_atomic(owned, hidden->v, hidden->n * sizeof(*hidden->v), mode, err)
		     : lx_err_oom(err);
}

int lx_hidden_pages_write(const char *dir, pid_t pid, const struct lx_page_runs *hidden, struct lx_err *err)
{
	return write_runs(lx_asprintf("%s/%d", dir, (int)pid), hidden, 0600, err);
}

int lx_hidden_segment_write(const char *dir, uint64_t id, const struct lx_page_runs *hidden,
			    struct lx_err *err)
{
	return write_runs(lx_asprintf("%s/" LX_HIDDEN_SEGMENT "%llu", dir, (unsigned long long)id), hidden,
			  0600, err);
}

int lx_hidden_file_write(const char *dir, dev_t dev, uint64_t id, const struct lx_page_runs *hidden,
			 struct lx_err *err)
{
	return write_runs(
		lx_asprintf("%s/" LX_HIDDEN_FILE, dir, (unsigned long long)dev, (unsigned long long)id),
		hidden, 0644, err);
}
