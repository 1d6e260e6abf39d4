/*
 * Post-copy: memory that follows after the commit. From the last page of each process to its first,
 * because a set of pages is cheap to shorten at its end; what the destination waits for comes first.
 */
#include <errno.h>
#include <poll.h>

#include "agent/worker/move/memory.h"
#include "agent/worker/move/memory_send.h"
#include "migration/migration.h"
#include "migration/page_image.h"
#include "proto/pb.h"

/* Along with a page that is waited for: who touches one will touch the next. */
#define AROUND (64u << 10)

static struct lx_memory_process *of_image(struct lx_memory *mem, uint32_t pages_id)
{
	return pages_id > 0 && pages_id <= mem->n ? &mem->p[pages_id - 1] : NULL;
}

/* The run that has it, cut to what is around. False: it was sent, or never missing. */
static bool find_around(const struct lx_page_runs *late, uint64_t address, struct lx_page_run *ret)
{
	uint64_t block = address & ~(uint64_t)(AROUND - 1);

	for (size_t i = 0; i < late->n; i++) {
		const struct lx_page_run *run = &late->v[i];

		if (address < run->start || address >= run->end)
			continue;
		ret->start = block > run->start ? block : run->start;
		ret->end = block + AROUND < run->end ? block + AROUND : run->end;
		return true;
	}
	return false;
}

int lx_memory_wanted(struct lx_memory *mem, const Lxmgr__V1__MemoryWanted *w, struct lx_err *err)
{
	struct lx_memory_process *p = of_image(mem, w->pages_id);
	struct lx_page_run run;

	if (!p || !find_around(&p->late, w->address, &run))
		return 0;
	int r = lx_memory_send_late(mem, p, run.start, run.end, err);

	if (r == 0 && lx_page_runs_drop(&p->late, run.start, run.end) < 0)
		r = lx_err_oom(err);
	return r;
}

static int serve(struct lx_memory *mem, struct lx_err *err)
{
	struct pollfd p = { .fd = mem->m->talk.fd, .events = POLLIN };
	int r = 0;

	while (r == 0 && poll(&p, 1, 0) > 0) {
		Lxmgr__V1__MoveFrame *frame = NULL;

		r = lx_talk_recv(&mem->m->talk, &frame, err);
		/* What it could not do was before it heard of the commit; it goes on by that. */
		if (r == -ECANCELED) {
			r = 0;
			continue;
		}
		if (r < 0)
			return r;
		r = frame->what_case == LXMGR__V1__MOVE_FRAME__WHAT_MEMORY_WANTED
			    ? lx_memory_wanted(mem, frame->memory_wanted, err)
			    : lx_err_set(err, LX_INVALID_ARGUMENT, "frame %d does not belong here",
					 (int)frame->what_case);
		lx_pb_free(frame);
	}
	return r;
}

static int send_all(struct lx_memory *mem, struct lx_memory_process *p, struct lx_err *err)
{
	int r = 0;

	while (r == 0 && p->late.n > 0) {
		struct lx_page_run *last = &p->late.v[p->late.n - 1];
		uint64_t start =
			last->end - last->start > LX_MOVE_CHUNK ? last->end - LX_MOVE_CHUNK : last->start;

		r = lx_memory_send_late(mem, p, start, last->end, err);
		if (start > last->start)
			last->end = start;
		else
			p->late.n--;
		if (r == 0)
			r = serve(mem, err);
	}
	return r;
}

int lx_memory_after(struct lx_memory *mem, struct lx_err *err)
{
	Lxmgr__V1__MoveFrame frame = LXMGR__V1__MOVE_FRAME__INIT;
	Lxmgr__V1__MemoryEnd nothing = LXMGR__V1__MEMORY_END__INIT;
	int r = 0;

	for (size_t i = 0; r == 0 && i < mem->n; i++)
		r = send_all(mem, &mem->p[i], err);
	if (r < 0)
		return r;
	frame.what_case = LXMGR__V1__MOVE_FRAME__WHAT_MEMORY_END;
	frame.memory_end = &nothing;
	return lx_talk_send(&mem->m->talk, &frame, err);
}
