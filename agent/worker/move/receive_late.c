/*
 * Post-copy at the destination: memory that comes after COMMIT goes into the images, as all that came
 * before, and the keeper is told; what the keeper's guest waits for is passed on to the source.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/worker/move/receive.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "migration/late_pages.h"
#include "migration/page_image.h"
#include "proto/pb.h"

#define LOOK_MS 500

static int keep(const struct lx_receive *rx, const Lxmgr__V1__MemoryPages *pages, struct lx_err *err)
{
	char name[64];

	if (pages->start < LX_PAGE_SIZE || pages->start % LX_PAGE_SIZE || pages->data.len % LX_PAGE_SIZE ||
	    pages->start + pages->data.len < pages->start)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "the source sends memory that is no pages");
	snprintf(name, sizeof(name), LX_PAGES_PARENT_DIR "/pages-%u.img", pages->pages_id);
	lx_autoclose int fd = openat(rx->dump_dir, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return lx_err_errno(err, errno, "cannot open the image of memory that comes late");
	for (size_t at = 0; at < pages->data.len;) {
		ssize_t n = pwrite(fd, pages->data.data + at, pages->data.len - at,
				   (off_t)(lx_page_image_offset(pages->start) + at));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return lx_err_errno(err, n < 0 ? errno : EIO, "cannot keep memory that comes late");
		at += (size_t)n;
	}
	lx_lazy_came(&rx->lazy, pages->pages_id, pages->start, pages->start + pages->data.len);
	return 0;
}

/* From here on the source is not needed. */
static int end(struct lx_receive *rx, struct lx_err *err)
{
	lx_autoclose int images =
		openat(rx->dump_dir, LX_PAGES_PARENT_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	rx->late = false;
	rx->exposed_ns = (int64_t)(lx_now_monotonic_ns() - rx->committed_ns);
	if (images < 0)
		return lx_err_errno(err, errno, "cannot open the images of memory");
	return lx_late_pages_forget(images, err);
}

int lx_late_take(struct lx_receive *rx, const Lxmgr__V1__MoveFrame *frame, struct lx_err *err)
{
	if (rx->late && frame->what_case == LXMGR__V1__MOVE_FRAME__WHAT_MEMORY_PAGES)
		return keep(rx, frame->memory_pages, err);
	if (rx->late && rx->word && frame->what_case == LXMGR__V1__MOVE_FRAME__WHAT_MEMORY_END)
		return end(rx, err);
	/* The agent's word in place of the source's comes here when the source's had been heard. */
	if (rx->word && frame->what_case == LXMGR__V1__MOVE_FRAME__WHAT_COMMIT)
		return lx_err_set(err, LX_UNAVAILABLE,
				  "the source is gone, and not all memory had come from it");
	return lx_err_set(err, LX_INVALID_ARGUMENT, "frame %d does not belong here", (int)frame->what_case);
}

int lx_late_hear(struct lx_receive *rx, struct lx_err *err)
{
	Lxmgr__V1__MoveFrame *frame = NULL;
	int r = lx_talk_recv(&rx->m.talk, &frame, err);

	if (r == 0)
		r = lx_late_take(rx, frame, err);
	lx_pb_free(frame);
	return r;
}

int lx_late_want(struct lx_receive *rx, struct lx_err *err)
{
	Lxmgr__V1__MoveFrame frame = LXMGR__V1__MOVE_FRAME__INIT;
	Lxmgr__V1__MemoryWanted wanted = LXMGR__V1__MEMORY_WANTED__INIT;
	struct lx_lazy_word w;

	ssize_t n = recv(rx->lazy.keeper, &w, sizeof(w), MSG_DONTWAIT);

	if (n == 0)
		lx_lazy_hang_up(&rx->lazy);
	if (n != sizeof(w))
		return lx_lazy_failed(&rx->m, &rx->lazy, err) ? -ECHILD : 0;
	wanted.pages_id = w.pages_id;
	wanted.address = w.start;
	frame.what_case = LXMGR__V1__MOVE_FRAME__WHAT_MEMORY_WANTED;
	frame.memory_wanted = &wanted;
	return lx_talk_send(&rx->m.talk, &frame, err);
}

int lx_late_take_all(struct lx_receive *rx, struct lx_err *err)
{
	int r = 0;

	while (r == 0 && rx->late) {
		struct pollfd p[] = { { .fd = rx->m.talk.fd, .events = POLLIN },
				      { .fd = rx->lazy.keeper, .events = POLLIN } };

		if (poll(p, LX_ARRAY_SIZE(p), LOOK_MS) < 0 && errno != EINTR)
			return lx_err_errno(err, errno, "cannot wait for the memory of the guest");
		if (lx_lazy_failed(&rx->m, &rx->lazy, err))
			return -ECHILD;
		if (p[1].revents)
			r = lx_late_want(rx, err);
		if (r == 0 && p[0].revents)
			r = lx_late_hear(rx, err);
	}
	return r;
}
