/*
 * The kernel's format is a version word and 8 bytes an entry, little-endian, sorted by
 * tag. A list with named users or groups needs a mask; one that comes without gets the
 * widest that changes nothing.
 */
#include "images/acl.h"

#include <endian.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>

#include "images/unpack.h"
#include "lib/cleanup.h"

static const struct {
	uint16_t kernel;
	int archive;
} tags[] = {
	/* In the order the kernel wants them. */
	{ ACL_USER_OBJ, ARCHIVE_ENTRY_ACL_USER_OBJ },   { ACL_USER, ARCHIVE_ENTRY_ACL_USER },
	{ ACL_GROUP_OBJ, ARCHIVE_ENTRY_ACL_GROUP_OBJ }, { ACL_GROUP, ARCHIVE_ENTRY_ACL_GROUP },
	{ ACL_MASK, ARCHIVE_ENTRY_ACL_MASK },           { ACL_OTHER, ARCHIVE_ENTRY_ACL_OTHER },
};

static int put(struct lx_buf *out, uint16_t tag, int perm, uint32_t id)
{
	struct posix_acl_xattr_entry e = {
		.e_tag = htole16(tag),
		.e_perm = htole16((uint16_t)(perm & 7)),
		.e_id = htole32(id),
	};

	return lx_buf_append(out, &e, sizeof(e));
}

struct sums {
	int count;
	int group_bits; /* what any group or named user may do */
	bool named, mask;
};

static bool is_named(int tag)
{
	return tag == ARCHIVE_ENTRY_ACL_USER || tag == ARCHIVE_ENTRY_ACL_GROUP;
}

static int look_up(const struct lx_ids *ids, int tag, const char *name)
{
	if (!ids || !name)
		return -1;
	return lx_ids_find(tag == ARCHIVE_ENTRY_ACL_USER ? &ids->users : &ids->groups, name);
}

/* Appends all entries of one tag. libarchive iterates in its own order, so once a tag. */
static int put_tag(struct archive_entry *entry, int type, size_t i, const struct lx_ids *ids,
		   struct lx_buf *out, struct sums *sums)
{
	int etype, perm, tag, id;
	const char *name;

	archive_entry_acl_reset(entry, type);
	while (archive_entry_acl_next(entry, type, &etype, &perm, &tag, &id, &name) == ARCHIVE_OK) {
		bool named = is_named(tag);

		if (tag != tags[i].archive)
			continue;
		if (named && id == -1)
			id = look_up(ids, tag, name);
		if (named && id == -1)
			continue;
		if (named && (id < 0 || id > LX_IMAGE_ID_MAX))
			return -EINVAL;
		if (++sums->count > LX_ACL_MAX_ENTRIES)
			return -E2BIG;
		sums->named |= named;
		sums->mask |= tag == ARCHIVE_ENTRY_ACL_MASK;
		if (named || tag == ARCHIVE_ENTRY_ACL_GROUP_OBJ)
			sums->group_bits |= perm;
		int r = put(out, tags[i].kernel, perm, named ? (uint32_t)id : (uint32_t)ACL_UNDEFINED_ID);

		if (r < 0)
			return r;
	}
	return 0;
}

int lx_acl_to_xattr(struct archive_entry *entry, int type, const struct lx_ids *ids, struct lx_buf *out)
{
	struct posix_acl_xattr_header header = { .a_version = htole32(POSIX_ACL_XATTR_VERSION) };
	struct sums sums = { 0 };
	size_t before = out->len;

	if (archive_entry_acl_count(entry, type) == 0)
		return 0;
	int r = lx_buf_append(out, &header, sizeof(header));

	for (size_t i = 0; r == 0 && i < LX_ARRAY_SIZE(tags); i++) {
		if (tags[i].kernel == ACL_OTHER && sums.named && !sums.mask)
			r = put(out, ACL_MASK, sums.group_bits, (uint32_t)ACL_UNDEFINED_ID);
		if (r == 0)
			r = put_tag(entry, type, i, ids, out, &sums);
	}
	if (r < 0 || sums.count == 0)
		out->len = before;
	return r;
}

bool lx_acl_has_names(struct archive_entry *entry)
{
	static const int types[] = { ARCHIVE_ENTRY_ACL_TYPE_ACCESS, ARCHIVE_ENTRY_ACL_TYPE_DEFAULT };
	int etype, perm, tag, id;
	const char *name;

	for (size_t i = 0; i < LX_ARRAY_SIZE(types); i++) {
		archive_entry_acl_reset(entry, types[i]);
		while (archive_entry_acl_next(entry, types[i], &etype, &perm, &tag, &id, &name) == ARCHIVE_OK)
			if (is_named(tag) && id == -1)
				return true;
	}
	return false;
}

int lx_acl_from_xattr(struct archive_entry *entry, int type, const void *value, size_t len)
{
	struct posix_acl_xattr_header header;
	const uint8_t *p = value;

	if (len < sizeof(header))
		return -EINVAL;
	memcpy(&header, p, sizeof(header));
	p += sizeof(header);
	len -= sizeof(header);
	if (le32toh(header.a_version) != POSIX_ACL_XATTR_VERSION ||
	    len % sizeof(struct posix_acl_xattr_entry))
		return -EINVAL;
	for (; len > 0; len -= sizeof(struct posix_acl_xattr_entry)) {
		struct posix_acl_xattr_entry e;
		int tag = 0;

		memcpy(&e, p, sizeof(e));
		p += sizeof(e);
		for (size_t i = 0; i < LX_ARRAY_SIZE(tags); i++)
			if (tags[i].kernel == le16toh(e.e_tag))
				tag = tags[i].archive;
		if (!tag)
			return -EINVAL;
		int id = tag == ARCHIVE_ENTRY_ACL_USER || tag == ARCHIVE_ENTRY_ACL_GROUP
				 ? (int)le32toh(e.e_id)
				 : -1;

		if (archive_entry_acl_add_entry(entry, type, le16toh(e.e_perm), tag, id, NULL) != ARCHIVE_OK)
			return -ENOMEM;
	}
	return 0;
}
