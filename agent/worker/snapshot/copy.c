#include "agent/worker/snapshot/copy.h"

#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>

#include "lib/str.h"

/* What is left to others: a part of the disk, but no more than this. */
#define RESERVE_PART 20u
#define RESERVE_MAX  (UINT64_C(1) << 30)
/* How much is written before the disk is looked at again. */
#define LOOK_EVERY (UINT64_C(8) << 20)

/* What is written may not be on the disk yet, and not be counted by it: so it is taken off here. */
static int check_room(struct lx_tree_copy *c, bool begin, struct lx_err *err)
{
	struct statvfs fs;
	char left[LX_SIZE_TEXT_MAX];

	if (fstatvfs(c->dir, &fs) < 0)
		return lx_err_errno(err, errno, "cannot find out how much room there is");
	uint64_t size = (uint64_t)fs.f_blocks * fs.f_frsize, has = (uint64_t)fs.f_bavail * fs.f_frsize;
	uint64_t reserve = size / RESERVE_PART < RESERVE_MAX ? size / RESERVE_PART : RESERVE_MAX;

	if (begin) {
		c->room = has;
		c->written = 0;
	}
	c->look_at = c->written + LOOK_EVERY;
	uint64_t own = c->room > c->written ? c->room - c->written : 0;

	if (has > own)
		has = own;
	if (has > reserve)
		return 0;
	int r = lx_err_set(err, LX_RESOURCE_EXHAUSTED,
			   "the disk of this node is nearly full (%s left), and the rest is kept for its "
			   "instances",
			   lx_format_size(has, left, sizeof(left)));

	lx_err_hint(err,
		    "Delete snapshots (lxmgr snapshot delete) or instances there, or free room in them.");
	return r;
}

/* A frame of the sender's, straight to the receiver. */
static int pass_on(void *arg, const Lxmgr__V1__MoveFrame *frame, struct lx_err *err)
{
	struct lx_tree_copy *c = arg;
	int r = 0;

	if (frame->what_case == LXMGR__V1__MOVE_FRAME__WHAT_TREE_END) {
		const Lxmgr__V1__TreeEnd *end = frame->tree_end;

		if (!end->last) {
			r = lx_tree_receive_end(c->to, end, err);
			return r < 0 ? r : check_room(c, true, err);
		}
		if (end->digest.len > sizeof(c->digest))
			return lx_err_set(err, LX_INTERNAL, "a digest of %zu bytes", end->digest.len);
		memcpy(c->digest, end->digest.data, end->digest.len);
		c->digest_len = end->digest.len;
		c->last = true;
		return 0;
	}
	if (frame->what_case == LXMGR__V1__MOVE_FRAME__WHAT_TREE_DATA)
		c->written += frame->tree_data->data.len;
	if (c->written >= c->look_at)
		r = check_room(c, false, err);
	return r < 0 ? r : lx_tree_receive(c->to, frame, err);
}

int lx_tree_copy_open(struct lx_tree_copy *c, const struct lx_tree_source *source, int dir,
		      struct lx_err *err)
{
	const struct lx_move_out out = { .send = pass_on, .arg = c };

	*c = (struct lx_tree_copy){ .dir = dir };
	int r = check_room(c, true, err);

	if (r == 0)
		r = lx_tree_receiver_open(dir, &c->to, err);
	return r < 0 ? r : lx_tree_sender_open(source, &out, &c->from, err);
}

int lx_tree_copy_pass(struct lx_tree_copy *c, bool last, struct lx_err *err)
{
	return lx_tree_send(c->from, last, err);
}

int lx_tree_copy_end(struct lx_tree_copy *c, struct lx_err *err)
{
	Lxmgr__V1__TreeEnd end = LXMGR__V1__TREE_END__INIT;

	if (!c->last)
		return lx_err_set(err, LX_INTERNAL, "a copy without a last pass");
	end.last = true;
	end.digest.data = c->digest;
	end.digest.len = c->digest_len;
	return lx_tree_receive_end(c->to, &end, err);
}

void lx_tree_copy_release(struct lx_tree_copy *c)
{
	lx_tree_sender_free(c->from);
	lx_tree_receiver_free(c->to);
}
