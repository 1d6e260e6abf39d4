/* Passes over the messages; those that are not changed are copied as they are. */
#include "migration/file_image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "lxmgr/v1/criu_image.pb-c.h"
#include "migration/criu_messages.h"
#include "profiles/lxcfs.h"
#include "proto/pb.h"

#define KIND 0x56303138u /* FILES_MAGIC */

/* Wherever it is mounted; of a file of the guest's own with such a path nothing is lost but the comparison.
 */
static bool is_of_lxcfs(const char *name)
{
	char end[64];

	for (size_t i = 0; i < LX_LXCFS_FILES; i++) {
		snprintf(end, sizeof(end), "/%s", lx_lxcfs_files[i]);
		if (lx_ends_with(name, end) || lx_streq(name, lx_lxcfs_files[i]))
			return true;
	}
	return false;
}

/* protobuf-c reads some numbers of fields that it cannot write: a message that has one is damaged. */
static bool can_be_read(const uint8_t *message, size_t len)
{
	Lxmgr__V1__CriuFile *f = lxmgr__v1__criu_file__unpack(NULL, len, message);

	lx_pb_free(f);
	return f != NULL;
}

/* ------------------------------------------------------------------ the messages */

static int damaged(struct lx_err *err)
{
	lx_err_set(err, LX_DATA_LOSS, "the image of the dump's open files is damaged");
	return -EBADMSG;
}

/* Each in turn; a function that returns less than 0 ends it. */
static int each(const void *data, size_t len, int (*fn)(void *arg, const uint8_t *message, size_t n),
		void *arg)
{
	struct lx_criu_messages in;
	const uint8_t *message;
	size_t n;
	int r = lx_criu_messages_open(data, len, KIND, &in) ? 0 : -EBADMSG;

	while (r >= 0) {
		int more = lx_criu_messages_next(&in, &message, &n);

		if (more <= 0)
			return more;
		r = fn(arg, message, n);
	}
	return r;
}

/* ------------------------------------------------------------------ changes */

struct change {
	bool (*one)(Lxmgr__V1__CriuFile *f); /* whether it was changed */
	struct lx_buf made;
	bool changed;
};

static int put_one(void *arg, const uint8_t *message, size_t n)
{
	struct change *c = arg;
	Lxmgr__V1__CriuFile *f = lxmgr__v1__criu_file__unpack(NULL, n, message);
	int r = f ? 0 : -EBADMSG;

	if (f && c->one(f)) {
		size_t len = 0;
		lx_autofree uint8_t *packed = lx_pb_pack(&f->base, &len);

		c->changed = true;
		r = !packed                    ? -ENOMEM
		    : can_be_read(packed, len) ? lx_criu_messages_put(&c->made, packed, len)
					       : -EBADMSG;
	} else if (r == 0) {
		r = lx_criu_messages_put(&c->made, message, n);
	}
	lx_pb_free(f);
	return r;
}

/* `out` stays empty when nothing was changed. */
static int change(const void *data, size_t len, bool (*one)(Lxmgr__V1__CriuFile *f), struct lx_buf *out,
		  struct lx_err *err)
{
	struct change c = { .one = one };
	int r = lx_criu_messages_begin(&c.made, KIND);

	if (r >= 0)
		r = each(data, len, put_one, &c);
	if (r >= 0 && c.changed) {
		*out = c.made;
		return 0;
	}
	lx_buf_release(&c.made);
	if (r == -EBADMSG)
		return damaged(err);
	return r < 0 ? lx_err_oom(err) : 0;
}

static bool unsize(Lxmgr__V1__CriuFile *f)
{
	if (!f->regular || !f->regular->name || !is_of_lxcfs(f->regular->name))
		return false;
	f->regular->has_size = false;
	return true;
}

int lx_file_image_unsize(const void *data, size_t len, struct lx_buf *out, struct lx_err *err)
{
	return change(data, len, unsize, out, err);
}

static bool arm(Lxmgr__V1__CriuFile *f)
{
	Lxmgr__V1__CriuTimer *t = f->timer;

	if (!t || t->value_s || t->value_ns)
		return false;
	/* Setting it takes the ticks away: with some it has expired since, and is armed by the next read. */
	if (t->ticks && (t->interval_s || t->interval_ns)) {
		t->value_s = t->interval_s;
		t->value_ns = t->interval_ns;
	} else if (!(t->settime_flags & TFD_TIMER_ABSTIME)) {
		return false;
	}
	/* CRIU adds the time of day, or of the clock, to what is left. */
	t->settime_flags &= ~(uint32_t)(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET);
	return true;
}

int lx_file_image_arm(const void *data, size_t len, struct lx_buf *out, struct lx_err *err)
{
	return change(data, len, arm, out, err);
}

/* ------------------------------------------------------------------ those that only name a file */

static int note_name(void *arg, const uint8_t *message, size_t n)
{
	struct lx_file_names *names = arg;
	Lxmgr__V1__CriuFile *f = lxmgr__v1__criu_file__unpack(NULL, n, message);
	uint32_t *grown;
	int r = f ? 0 : -EBADMSG;

	if (f && f->id >= names->unused)
		names->unused = f->id + 1;
	/* The last number there is: none is left. */
	if (f && f->id == UINT32_MAX)
		r = -EBADMSG;
	if (r == 0 && f->regular && f->regular->flags & O_PATH) {
		grown = realloc(names->ids, (names->n + 1) * sizeof(*grown));
		r = grown ? 0 : -ENOMEM;
		if (grown) {
			names->ids = grown;
			grown[names->n++] = f->id;
		}
	}
	lx_pb_free(f);
	return r;
}

int lx_file_image_names(const void *data, size_t len, struct lx_file_names *ret, struct lx_err *err)
{
	*ret = (struct lx_file_names){ .unused = 1 };
	int r = each(data, len, note_name, ret);

	if (r >= 0)
		return 0;
	free(ret->ids);
	*ret = (struct lx_file_names){ 0 };
	return r == -EBADMSG ? damaged(err) : lx_err_oom(err);
}

bool lx_file_names_has(const struct lx_file_names *names, uint32_t id)
{
	for (size_t i = 0; i < names->n; i++)
		if (names->ids[i] == id)
			return true;
	return false;
}

struct add {
	uint32_t id, as;
	struct lx_buf made;
	bool found;
};

static int add_one(void *arg, const uint8_t *message, size_t n)
{
	struct add *a = arg;
	Lxmgr__V1__CriuFile *f = lxmgr__v1__criu_file__unpack(NULL, n, message);
	int r = f ? 0 : -EBADMSG;

	if (f && f->id == a->id && f->regular && !a->found) {
		size_t len = 0;

		a->found = true;
		f->id = f->regular->id = a->as;
		f->regular->flags = O_RDONLY;
		uint8_t *packed = lx_pb_pack(&f->base, &len);

		r = !packed                    ? -ENOMEM
		    : can_be_read(packed, len) ? lx_criu_messages_put(&a->made, packed, len)
					       : -EBADMSG;
		free(packed);
	}
	lx_pb_free(f);
	return r;
}

int lx_file_image_add(const void *data, size_t len, uint32_t id, uint32_t as, struct lx_buf *out,
		      struct lx_err *err)
{
	struct add a = { .id = id, .as = as };
	int r = lx_buf_append(&a.made, data, len);

	if (r >= 0)
		r = each(data, len, add_one, &a);
	if (r >= 0 && a.found) {
		*out = a.made;
		return 0;
	}
	lx_buf_release(&a.made);
	return r == -ENOMEM ? lx_err_oom(err) : damaged(err);
}
