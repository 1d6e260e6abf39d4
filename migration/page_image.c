/* Reading and writing; nothing is trusted, although it comes from our own CRIU. */
#include "migration/page_image.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/cleanup.h"
#include "lxmgr/v1/criu_image.pb-c.h"
#include "migration/criu_messages.h"

#define KIND 0x56084025u /* PAGEMAP_MAGIC */

/* More than any process has, and than a message of a few numbers needs. */
#define ENTRIES_MAX 16000000u
#define MESSAGE_MAX 128u

static int damaged(struct lx_err *err)
{
	return lx_err_set(err, LX_DATA_LOSS, "an image of the dump's pages is damaged");
}

/* The next one, NULL: there is none, or none of a few numbers. */
static const uint8_t *take_message(struct lx_criu_messages *in, size_t *len)
{
	const uint8_t *message;

	return lx_criu_messages_next(in, &message, len) > 0 && *len <= MESSAGE_MAX ? message : NULL;
}

static int take_head(struct lx_criu_messages *in, struct lx_page_image *ret)
{
	size_t len;
	const uint8_t *message = take_message(in, &len);
	Lxmgr__V1__CriuPagemapHead *head =
		message ? lxmgr__v1__criu_pagemap_head__unpack(NULL, len, message) : NULL;

	if (!head)
		return -EBADMSG;
	ret->pages_id = head->pages_id;
	lxmgr__v1__criu_pagemap_head__free_unpacked(head, NULL);
	return 0;
}

static int take_entry(struct lx_criu_messages *in, struct lx_page_entry *ret)
{
	size_t len;
	const uint8_t *message = take_message(in, &len);
	Lxmgr__V1__CriuPagemapEntry *e =
		message ? lxmgr__v1__criu_pagemap_entry__unpack(NULL, len, message) : NULL;

	if (!e)
		return -EBADMSG;
	uint64_t pages = e->nr_pages ? e->nr_pages : e->compat_nr_pages;

	ret->start = e->vaddr;
	ret->end = e->vaddr + pages * LX_PAGE_SIZE;
	ret->flags = e->flags | (e->in_parent ? LX_PAGES_PARENT : 0);
	bool ok = pages > 0 && pages < UINT64_MAX / LX_PAGE_SIZE && ret->end > ret->start;

	lxmgr__v1__criu_pagemap_entry__free_unpacked(e, NULL);
	return ok ? 0 : -EBADMSG;
}

int lx_page_image_read(const void *data, size_t len, struct lx_page_image *ret, struct lx_err *err)
{
	struct lx_criu_messages in;
	size_t room = 0;

	*ret = (struct lx_page_image){ 0 };
	int r = lx_criu_messages_open(data, len, KIND, &in) ? take_head(&in, ret) : -EBADMSG;

	while (r == 0 && in.left > 0) {
		if (ret->n == room) {
			room = room ? 2 * room : 64;
			struct lx_page_entry *grown =
				room <= 2 * ENTRIES_MAX ? realloc(ret->v, room * sizeof(*grown)) : NULL;

			if (!grown) {
				lx_page_image_release(ret);
				return lx_err_oom(err);
			}
			ret->v = grown;
		}
		r = take_entry(&in, &ret->v[ret->n]);
		/* By address, and not over each other. */
		if (r == 0 && ret->n > 0 && ret->v[ret->n].start < ret->v[ret->n - 1].end)
			r = -EBADMSG;
		ret->n += r == 0;
	}
	if (r < 0)
		lx_page_image_release(ret);
	return r < 0 ? damaged(err) : 0;
}

void lx_page_image_release(struct lx_page_image *image)
{
	free(image->v);
	*image = (struct lx_page_image){ 0 };
}

/* ------------------------------------------------------------------ writing */

static int put_message(struct lx_buf *out, const ProtobufCMessage *m)
{
	uint8_t packed[MESSAGE_MAX];
	size_t len = protobuf_c_message_get_packed_size(m);

	if (len > sizeof(packed))
		return -ENOMEM;
	protobuf_c_message_pack(m, packed);
	return lx_criu_messages_put(out, packed, len);
}

static int put_entry(struct lx_buf *out, const struct lx_page_entry *entry)
{
	Lxmgr__V1__CriuPagemapEntry e = LXMGR__V1__CRIU_PAGEMAP_ENTRY__INIT;

	e.vaddr = entry->start;
	e.has_nr_pages = e.has_flags = true;
	e.nr_pages = (entry->end - entry->start) / LX_PAGE_SIZE;
	e.compat_nr_pages = (uint32_t)e.nr_pages;
	e.flags = entry->flags;
	return put_message(out, &e.base);
}

int lx_page_image_write(const struct lx_page_image *image, struct lx_buf *out, struct lx_err *err)
{
	Lxmgr__V1__CriuPagemapHead head = LXMGR__V1__CRIU_PAGEMAP_HEAD__INIT;

	head.pages_id = image->pages_id;
	int r = lx_criu_messages_begin(out, KIND);

	if (r == 0)
		r = put_message(out, &head.base);

	for (size_t i = 0; r == 0 && i < image->n; i++)
		r = put_entry(out, &image->v[i]);
	return r < 0 ? lx_err_oom(err) : 0;
}

/* ------------------------------------------------------------------ copied ahead */

int lx_page_image_sparse(uint32_t pages_id, const struct lx_page_runs *pages, struct lx_buf *out,
			 struct lx_err *err)
{
	struct lx_page_image image = { .pages_id = pages_id,
				       .v = calloc(2 * pages->n + 1, sizeof(*image.v)) };
	uint64_t at = LX_PAGE_SIZE;

	if (!image.v)
		return lx_err_oom(err);
	for (size_t i = 0; i < pages->n; i++) {
		const struct lx_page_run *run = &pages->v[i];

		if (at < run->start)
			image.v[image.n++] = (struct lx_page_entry){ at, run->start, LX_PAGES_PRESENT };
		image.v[image.n++] =
			(struct lx_page_entry){ run->start, run->end, LX_PAGES_LAZY | LX_PAGES_PRESENT };
		at = run->end;
	}
	int r = lx_page_image_write(&image, out, err);

	lx_page_image_release(&image);
	return r;
}

int lx_page_image_lazy_to_parent(struct lx_page_image *image, struct lx_page_runs *ret, struct lx_err *err)
{
	for (size_t i = 0; i < image->n; i++) {
		struct lx_page_entry *e = &image->v[i];

		if (e->flags & LX_PAGES_PRESENT || !(e->flags & LX_PAGES_LAZY))
			continue;
		e->flags |= LX_PAGES_PARENT;
		if (lx_page_runs_append(ret, e->start, e->end) < 0)
			return lx_err_oom(err);
	}
	return 0;
}

/* ------------------------------------------------------------------ what was hidden */

static int runs_of(const struct lx_page_image *image, struct lx_page_runs *ret)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < image->n; i++)
		r = lx_page_runs_append(ret, image->v[i].start, image->v[i].end);
	return r;
}

/* Both are sorted and have nothing in common. */
static void merge(const struct lx_page_image *image, const struct lx_page_runs *more,
		  struct lx_page_entry *out)
{
	size_t i = 0, k = 0;

	while (i < image->n || k < more->n) {
		if (k == more->n || (i < image->n && image->v[i].start < more->v[k].start))
			*out++ = image->v[i++];
		else {
			*out++ = (struct lx_page_entry){ more->v[k].start, more->v[k].end,
							 LX_PAGES_PARENT | LX_PAGES_LAZY };
			k++;
		}
	}
}

int lx_page_image_add_parent(struct lx_page_image *image, const struct lx_page_runs *pages,
			     struct lx_err *err)
{
	struct lx_page_runs seen = { 0 }, more = { 0 };
	struct lx_page_entry *grown = NULL;
	int r = runs_of(image, &seen);

	if (r == 0)
		r = lx_page_runs_without(pages, &seen, &more);
	if (r == 0 && more.n > 0) {
		grown = malloc((image->n + more.n) * sizeof(*grown));
		r = grown ? 0 : -ENOMEM;
	}
	if (grown) {
		merge(image, &more, grown);
		free(image->v);
		image->v = grown;
		image->n += more.n;
	}
	lx_page_runs_release(&seen);
	lx_page_runs_release(&more);
	return r < 0 ? lx_err_oom(err) : 0;
}
