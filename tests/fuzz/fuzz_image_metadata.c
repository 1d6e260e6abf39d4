/*
 * Fuzzing what is read of an image's own texts: metadata.yaml, passwd, apt's sources. What
 * metadata.yaml says must survive being written and read again.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "images/apt_sources.h"
#include "images/entry_path.h"
#include "images/ids.h"
#include "images/metadata.h"
#include "lib/cleanup.h"
#include "lib/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void metadata(const uint8_t *data, size_t size)
{
	struct lx_metadata m, again;
	struct lx_err err = LX_ERR_INIT;
	lx_autobuf struct lx_buf text = { 0 };

	if (lx_metadata_parse(data, size, &m, &err) == 0) {
		assert(err.code == LX_OK && m.architecture);
		assert(lx_metadata_format(&m, &text) == 0);
		assert(lx_metadata_parse(text.data, text.len, &again, &err) == 0);
		assert(strcmp(m.architecture, again.architecture) == 0);
		assert(m.creation_date == again.creation_date && m.expiry_date == again.expiry_date);
		assert(lx_map_count(&m.properties) == lx_map_count(&again.properties));
		for (struct lx_map_entry *e = lx_map_first(&m.properties); e; e = lx_map_next(e))
			assert(lx_streq(lx_map_value(e), lx_map_get(&again.properties, lx_map_key(e))));
		lx_metadata_release(&again);
	} else {
		assert(err.code != LX_OK && err.msg[0] && !strchr(err.msg, '\n'));
	}
	lx_metadata_release(&m);
}

static void texts(const char *text)
{
	struct lx_apt_mirrors mirrors = { 0 };
	struct lx_ids ids;
	lx_autobuf struct lx_buf settings = { 0 };
	char path[LX_ENTRY_PATH_MAX];

	assert(lx_apt_sources_list(text, &mirrors) == 0);
	assert(lx_apt_sources_deb822(text, &mirrors) == 0);
	assert(!mirrors.archive || lx_mirror_valid(mirrors.archive));
	assert(!mirrors.security || lx_mirror_valid(mirrors.security));
	lx_apt_mirrors_release(&mirrors);
	assert(lx_apt_fetch_settings(text, true, &settings) == 0);

	lx_ids_init(&ids);
	assert(lx_ids_parse(&ids.users, text) == 0);
	for (struct lx_map_entry *e = lx_map_first(&ids.users); e; e = lx_map_next(e))
		assert(lx_ids_find(&ids.users, lx_map_key(e)) >= 0);
	lx_ids_release(&ids);

	if (lx_entry_path(text, path, NULL) == 0) {
		assert(path[0] != '/' && !lx_ends_with(path, "/") && !strstr(path, "//"));
		assert(!lx_starts_with(path, "../") && !strstr(path, "/../") && !lx_streq(path, ".."));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	lx_autofree char *text = calloc(1, size + 1);

	if (!text)
		return 0;
	if (size > 0)
		memcpy(text, data, size);
	metadata(data, size);
	texts(text);
	return 0;
}
