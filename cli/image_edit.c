/*
 * lxmgr image alias, image edit, image *-property: names and properties of images.
 */
#include "cli/connection.h"
#include "cli/editor.h"
#include "cli/image.h"
#include "cli/settings.h"
#include "proto/pb.h"

typedef Lxmgr__V1__UpdateImageRequest update_request;

static int get_image(struct cli *cli, const char *name, Lxmgr__V1__Image **ret, struct lx_err *err)
{
	Lxmgr__V1__ImageRequest req = LXMGR__V1__IMAGE_REQUEST__INIT;

	req.image = (char *)name;
	return cli_call(cli, CLI_IMAGES, "Get", &req, ret, err);
}

/* ------------------------------------------------------------------ aliases */

static int alias_list_run(struct cli *cli, struct lx_err *err)
{
	static const char *const headings[] = { "ALIAS", "FINGERPRINT", "DESCRIPTION", NULL };
	Lxmgr__V1__ListImagesRequest req = LXMGR__V1__LIST_IMAGES_REQUEST__INIT;
	cli_autopb Lxmgr__V1__ListImagesResponse *resp = NULL;
	cli_autotable struct cli_table t = { 0 };
	cli_autodoc struct cli_doc d = { 0 };
	struct cli_format f;
	int r = cli_format(cli, CLI_OUT_TABLE, &f, err);

	if (r == 0)
		r = cli_call(cli, CLI_IMAGES, "List", &req, &resp, err);
	if (r != 0)
		return r;
	cli_table_init(&t, headings);
	json_t *array = cli_doc_init(&d, true);
	for (size_t i = 0; i < resp->n_images; i++) {
		const Lxmgr__V1__Image *image = resp->images[i];
		for (size_t a = 0; a < image->n_aliases; a++) {
			json_t *object = cli_doc_add(&d, array);
			cli_doc_str(&d, object, "alias", image->aliases[a]);
			cli_doc_str(&d, object, "fingerprint", image->fingerprint);
			cli_doc_str(&d, object, "description", image->description);
			cli_table_row(&t);
			cli_table_set(&t, 0, image->aliases[a]);
			cli_table_setf(&t, 1, "%.*s", CLI_FINGERPRINT_SHORT, image->fingerprint);
			cli_table_set(&t, 2, image->description);
		}
	}
	if (cli_is_document(&f))
		return cli_doc_print(&d, &f, stdout, err);
	cli_table_sort(&t, 0);
	return cli_table_print(&t, &f, stdout, err);
}

static int alias_create_run(struct cli *cli, struct lx_err *err)
{
	update_request req = LXMGR__V1__UPDATE_IMAGE_REQUEST__INIT;

	req.add_aliases = &cli->args.operands[0];
	req.n_add_aliases = 1;
	req.image = cli->args.operands[1];
	req.move_aliases = cli_flag(cli, "reuse");
	return cli_call(cli, CLI_IMAGES, "Update", &req, NULL, err);
}

/* Images answer to their aliases, so the alias names its image too. */
static int alias_delete_run(struct cli *cli, struct lx_err *err)
{
	int r = 0;

	for (int i = 0; r == 0 && i < cli->args.n_operands; i++) {
		update_request req = LXMGR__V1__UPDATE_IMAGE_REQUEST__INIT;
		req.image = cli->args.operands[i];
		req.remove_aliases = &cli->args.operands[i];
		req.n_remove_aliases = 1;
		r = cli_call(cli, CLI_IMAGES, "Update", &req, NULL, err);
	}
	return r;
}

static int alias_rename_run(struct cli *cli, struct lx_err *err)
{
	update_request req = LXMGR__V1__UPDATE_IMAGE_REQUEST__INIT;

	req.image = cli->args.operands[0];
	req.remove_aliases = &cli->args.operands[0];
	req.add_aliases = &cli->args.operands[1];
	req.n_remove_aliases = req.n_add_aliases = 1;
	return cli_call(cli, CLI_IMAGES, "Update", &req, NULL, err);
}

/* ------------------------------------------------------------------ properties */

static int update(struct cli *cli, const struct lx_map *set, char **unset, size_t n_unset, struct lx_err *err)
{
	cli_autopb update_request *req = cli_pb_new(&lxmgr__v1__update_image_request__descriptor);

	if (!req || lx_pb_set(&req->image, cli_operand(cli, 0)) < 0 ||
	    lx_pb_strv_copy(&req->n_unset_properties, &req->unset_properties, n_unset, unset) < 0 ||
	    (set && lx_pb_map_from(&lxmgr__v1__update_image_request__set_properties_entry__descriptor,
				   &req->n_set_properties, &req->set_properties, set) < 0))
		return lx_err_oom(err);
	return cli_call(cli, CLI_IMAGES, "Update", req, NULL, err);
}

static int set_run(struct cli *cli, struct lx_err *err)
{
	cli_automap struct lx_map set;

	cli_map_init(&set);
	int r = cli_pairs(cli, 1, &set, err);
	return r < 0 ? r : update(cli, &set, NULL, 0, err);
}

static int unset_run(struct cli *cli, struct lx_err *err)
{
	return update(cli, NULL, cli->args.operands + 1, (size_t)cli->args.n_operands - 1, err);
}

static int get_run(struct cli *cli, struct lx_err *err)
{
	cli_autopb Lxmgr__V1__Image *image = NULL;
	int r = get_image(cli, cli_operand(cli, 0), &image, err);

	if (r < 0)
		return r;
	const char *value = lx_pb_map_get(image->n_properties, image->properties, cli_operand(cli, 1));
	printf("%s\n", value ? value : "");
	return 0;
}

static int apply_edit(struct cli *cli, const json_t *doc, void *arg, struct lx_err *err)
{
	static const char *const known[] = { "properties", NULL };
	const Lxmgr__V1__Image *before = arg;
	cli_automap struct lx_map set;
	size_t n_unset = 0;
	char **unset = NULL;
	int r = cli_doc_check_keys(doc, known, err);

	cli_map_init(&set);
	if (r == 0)
		r = cli_doc_read_map(doc, "properties", &set, err);
	for (size_t i = 0; r == 0 && i < before->n_properties; i++)
		if (!lx_map_has(&set, before->properties[i]->key) &&
		    lx_pb_strv_add(&n_unset, &unset, before->properties[i]->key) < 0)
			r = lx_err_oom(err);
	if (r == 0)
		r = update(cli, &set, unset, n_unset, err);
	lx_pb_strv_free(&n_unset, &unset);
	return r;
}

static int edit_run(struct cli *cli, struct lx_err *err)
{
	cli_autopb Lxmgr__V1__Image *image = NULL;
	int r = get_image(cli, cli_operand(cli, 0), &image, err);

	if (r < 0)
		return r;
	cli_autodoc struct cli_doc d;
	cli_doc_map(&d, cli_doc_init(&d, false), "properties", image->n_properties, image->properties);
	return cli_edit(cli, &d, "The properties of an image.", apply_edit, image, err);
}

/* ------------------------------------------------------------------ the table */

static const struct cli_option list_options[] = { CLI_FORMAT_OPTION, { .name = NULL } };
static const struct cli_option reuse_options[] = {
	{ "reuse", 0, NULL, "take the alias away from the image that has it", 0 },
	{ .name = NULL },
};

const struct cli_verb cli_image_edit_verbs[] = {
	{ .name = "image alias list",
	  .aliases = "ls",
	  .summary = "List aliases",
	  .examples = "lxmgr image alias list",
	  .options = list_options,
	  .run = alias_list_run },
	{ .name = "image alias create",
	  .aliases = "add",
	  .operands = "ALIAS IMAGE",
	  .summary = "Give an image another name",
	  .examples = "lxmgr image alias create web-base 3f2a77c01b9e\nlxmgr image alias create web-base "
		      "debian/13 --reuse",
	  .options = reuse_options,
	  .min = 2,
	  .max = 2,
	  .kinds = { CLI_TEXT, CLI_IMAGE },
	  .run = alias_create_run },
	{ .name = "image alias delete",
	  .aliases = "rm,remove",
	  .operands = "ALIAS...",
	  .summary = "Take names away from images",
	  .examples = "lxmgr image alias delete web-base",
	  .min = 1,
	  .max = CLI_MANY,
	  .kinds = { CLI_IMAGE },
	  .run = alias_delete_run },
	{ .name = "image alias rename",
	  .operands = "ALIAS NEW-ALIAS",
	  .summary = "Change an alias",
	  .examples = "lxmgr image alias rename web-base web/1",
	  .min = 2,
	  .max = 2,
	  .kinds = { CLI_IMAGE, CLI_TEXT },
	  .run = alias_rename_run },
	{ .name = "image edit",
	  .operands = "IMAGE",
	  .summary = "Edit an image's properties as YAML",
	  .details = "In your editor, or from stdin when that is no terminal.",
	  .examples = "lxmgr image edit debian/12",
	  .min = 1,
	  .max = 1,
	  .kinds = { CLI_IMAGE },
	  .run = edit_run },
	{ .name = "image set-property",
	  .operands = "IMAGE KEY=VALUE...",
	  .summary = "Set properties of an image",
	  .examples = "lxmgr image set-property debian/12 owner=web-team",
	  .min = 2,
	  .max = CLI_MANY,
	  .kinds = { CLI_IMAGE, CLI_TEXT },
	  .run = set_run },
	{ .name = "image get-property",
	  .operands = "IMAGE KEY",
	  .summary = "Print a property of an image",
	  .examples = "lxmgr image get-property debian/12 owner",
	  .min = 2,
	  .max = 2,
	  .kinds = { CLI_IMAGE, CLI_TEXT },
	  .run = get_run },
	{ .name = "image unset-property",
	  .operands = "IMAGE KEY...",
	  .summary = "Remove properties of an image",
	  .examples = "lxmgr image unset-property debian/12 owner",
	  .min = 2,
	  .max = CLI_MANY,
	  .kinds = { CLI_IMAGE, CLI_TEXT },
	  .run = unset_run },
	{ .name = NULL },
};
