/*
 * lxmgr image: list, show, build, import, export, fetch, delete.
 */
#include "cli/image.h"

#include "cli/operations.h"
#include "lib/clock.h"
#include "proto/pb.h"

typedef Lxmgr__V1__Image image;

int cli_image_aliases(struct cli *cli, size_t *n, char ***aliases, struct lx_err *err)
{
	const char *alias;

	for (size_t i = 0; (alias = cli_opt_next(cli, "alias", &i));)
		if (lx_pb_strv_add(n, aliases, alias) < 0)
			return lx_err_oom(err);
	return 0;
}

/* ------------------------------------------------------------------ list, show */

static void image_doc(struct cli_doc *d, json_t *to, const image *i)
{
	cli_doc_str(d, to, "fingerprint", i->fingerprint);
	cli_doc_strv(d, to, "aliases", i->n_aliases, i->aliases);
	cli_doc_str(d, to, "project", i->project);
	cli_doc_str(d, to, "description", i->description);
	cli_doc_str(d, to, "architecture", i->architecture);
	cli_doc_str(d, to, "os", i->os);
	cli_doc_str(d, to, "release", i->release);
	cli_doc_str(d, to, "variant", i->variant);
	cli_doc_int(d, to, "size", i->size_bytes);
	cli_doc_int(d, to, "unpacked_size", i->unpacked_bytes);
	cli_doc_time(d, to, "created_at", i->created_at_ns);
	cli_doc_time(d, to, "imported_at", i->imported_at_ns);
	cli_doc_str(d, to, "source", i->source);
	cli_doc_strv(d, to, "nodes", i->n_nodes, i->nodes);
	cli_doc_map(d, to, "properties", i->n_properties, i->properties);
}

static void join(struct cli_table *t, size_t column, size_t n, char *const *v)
{
	lx_autobuf struct lx_buf text = { 0 };

	for (size_t i = 0; i < n; i++)
		if (lx_buf_printf(&text, "%s%s", i ? "\n" : "", v[i]) < 0)
			t->oom = true;
	cli_table_set(t, column, lx_buf_str(&text));
}

static void image_row(struct cli_table *t, const image *i)
{
	char text[LX_TIME_TEXT], size[LX_SIZE_TEXT_MAX];
	uint64_t bytes = i->size_bytes ? i->size_bytes : i->unpacked_bytes;

	cli_table_row(t);
	join(t, 0, i->n_aliases, i->aliases);
	cli_table_setf(t, 1, "%.*s", CLI_FINGERPRINT_SHORT, i->fingerprint);
	cli_table_set(t, 2, i->description);
	cli_table_set(t, 3, i->architecture);
	cli_table_set(t, 4, lx_format_size(bytes, size, sizeof(size)));
	join(t, 5, i->n_nodes, i->nodes);
	if (i->imported_at_ns)
		cli_table_set(t, 6, lx_time_rfc3339((uint64_t)i->imported_at_ns, text));
}

static int list_run(struct cli *cli, struct lx_err *err)
{
	static const char *const headings[] = { "ALIAS", "FINGERPRINT", "DESCRIPTION", "ARCHITECTURE",
						">SIZE", "NODES",       "ADDED",       NULL };
	Lxmgr__V1__ListImagesRequest req = LXMGR__V1__LIST_IMAGES_REQUEST__INIT;
	cli_autopb Lxmgr__V1__ListImagesResponse *resp = NULL;
	struct cli_format f;
	int r = cli_format(cli, CLI_OUT_TABLE, &f, err);

	req.filters = cli->args.operands;
	req.n_filters = (size_t)cli->args.n_operands;
	if (r == 0)
		r = cli_call(cli, CLI_IMAGES, "List", &req, &resp, err);
	if (r != 0)
		return r;
	if (cli_is_document(&f)) {
		cli_autodoc struct cli_doc d;
		json_t *array = cli_doc_init(&d, true);
		for (size_t i = 0; i < resp->n_images; i++)
			image_doc(&d, cli_doc_add(&d, array), resp->images[i]);
		return cli_doc_print(&d, &f, stdout, err);
	}
	cli_autotable struct cli_table t;
	cli_table_init(&t, headings);
	if (cli_all_projects(cli))
		cli_table_column(&t, "PROJECT");
	for (size_t i = 0; i < resp->n_images; i++) {
		image_row(&t, resp->images[i]);
		if (cli_all_projects(cli))
			cli_table_set(&t, LX_ARRAY_SIZE(headings) - 1, resp->images[i]->project);
	}
	cli_table_sort(&t, 0);
	return cli_table_print(&t, &f, stdout, err);
}

static int show_run(struct cli *cli, struct lx_err *err)
{
	Lxmgr__V1__ImageRequest req = LXMGR__V1__IMAGE_REQUEST__INIT;
	cli_autopb image *i = NULL;
	struct cli_format f;
	int r = cli_format(cli, CLI_OUT_YAML, &f, err);

	req.image = cli->args.operands[0];
	if (r == 0)
		r = cli_call(cli, CLI_IMAGES, "Get", &req, &i, err);
	if (r != 0)
		return r;
	cli_autodoc struct cli_doc d;
	image_doc(&d, cli_doc_init(&d, false), i);
	return cli_doc_print(&d, &f, stdout, err);
}

/* ------------------------------------------------------------------ build, delete */

static int fill_build(struct cli *cli, Lxmgr__V1__BuildImageRequest *req, struct lx_err *err)
{
	const char *package;
	int r = cli_image_aliases(cli, &req->n_aliases, &req->aliases, err);

	for (size_t i = 0; r == 0 && (package = cli_opt_next(cli, "package", &i));)
		if (lx_pb_strv_add(&req->n_packages, &req->packages, package) < 0)
			r = lx_err_oom(err);
	if (r == 0 && (lx_pb_set(&req->template_, cli_operand(cli, 0)) < 0 ||
		       lx_pb_set(&req->mirror, cli_opt(cli, "mirror")) < 0 ||
		       lx_pb_set(&req->node, cli_opt(cli, "target")) < 0))
		r = lx_err_oom(err);
	req->move_aliases = cli_flag(cli, "reuse");
	return r < 0 ? r : cli_request_id(&req->request_id, err);
}

static int build_run(struct cli *cli, struct lx_err *err)
{
	cli_autopb Lxmgr__V1__BuildImageRequest *req =
		cli_pb_new(&lxmgr__v1__build_image_request__descriptor);
	cli_autopb Lxmgr__V1__Operation *last = NULL;
	int r = req ? fill_build(cli, req, err) : lx_err_oom(err);

	if (r == 0)
		r = cli_op_run(cli, "Building", cli_operand(cli, 0), CLI_IMAGES, "Build", req, &last, err);
	if (r != 0 || cli_no_wait(cli))
		return r;
	const char *fingerprint = lx_pb_map_get(last->n_result, last->result, "fingerprint");
	if (fingerprint)
		cli_note(cli, "Built %s: %.*s", cli_operand(cli, 0), CLI_FINGERPRINT_SHORT, fingerprint);
	return 0;
}

static int delete_run(struct cli *cli, struct lx_err *err)
{
	size_t n = (size_t)cli->args.n_operands;
	lx_autofree struct cli_op *ops = calloc(n, sizeof(*ops));
	lx_autofree Lxmgr__V1__ImageRequest *reqs = calloc(n, sizeof(*reqs));

	if (!ops || !reqs)
		return lx_err_oom(err);
	for (size_t i = 0; i < n; i++) {
		lxmgr__v1__image_request__init(&reqs[i]);
		reqs[i].image = cli->args.operands[i];
		reqs[i].force = cli_flag(cli, "force");
		ops[i] = (struct cli_op){ .subject = reqs[i].image, .req = &reqs[i].base };
	}
	const struct cli_ops run = { .doing = "Deleting",
				     .service = CLI_IMAGES,
				     .method = "Delete",
				     .no_wait = cli_no_wait(cli),
				     .ops = ops,
				     .n = n };
	int r = cli_ops_run(cli, &run, err);
	cli_ops_release(ops, n);
	return r;
}

/* ------------------------------------------------------------------ fetch */

static int fill_fetch(struct cli *cli, Lxmgr__V1__FetchImageRequest *req, struct lx_err *err)
{
	if (!cli_opt(cli, "target"))
		return cli_usage(cli, err, "--target NODE says which machine is to have it");
	if (lx_pb_set(&req->image, cli_operand(cli, 0)) < 0 ||
	    lx_pb_set(&req->node, cli_opt(cli, "target")) < 0)
		return lx_err_oom(err);
	return cli_request_id(&req->request_id, err);
}

static int fetch_run(struct cli *cli, struct lx_err *err)
{
	cli_autopb Lxmgr__V1__FetchImageRequest *req =
		cli_pb_new(&lxmgr__v1__fetch_image_request__descriptor);
	cli_autopb Lxmgr__V1__Operation *last = NULL;
	int r = req ? fill_fetch(cli, req, err) : lx_err_oom(err);

	if (r == 0)
		r = cli_op_run(cli, "Fetching", req->image, CLI_IMAGES, "Fetch", req, &last, err);
	if (r == 0 && !cli_no_wait(cli))
		cli_note(cli, "Node %s has %s", req->node, req->image);
	return r;
}

/* ------------------------------------------------------------------ the table */

static const struct cli_option list_options[] = { CLI_FORMAT_OPTION, { .name = NULL } };
static const struct cli_option list_all_options[] = { CLI_ALL_PROJECTS_OPTION,
						      CLI_FORMAT_OPTION,
						      { .name = NULL } };

static const struct cli_option build_options[] = {
	{ "alias", 0, "NAME", "an alias instead of the template's name; may be repeated", 0 },
	{ "package", 0, "NAME", "add a package; may be repeated", 0 },
	{ "mirror", 0, "URL", "where the packages come from (else what the node itself uses)", 0 },
	{ "reuse", 0, NULL, "take the aliases away from the image that has them", 0 },
	{ "target", 0, "NODE", "build on this node", CLI_NODE },
	CLI_NO_WAIT_OPTION,
	{ .name = NULL },
};

static const struct cli_option fetch_options[] = {
	{ "target", 0, "NODE", "the machine that is to have it", CLI_NODE },
	CLI_NO_WAIT_OPTION,
	{ .name = NULL },
};

static const struct cli_option delete_options[] = {
	{ "force", 'f', NULL, "also when instances were made from it", 0 },
	CLI_NO_WAIT_OPTION,
	{ .name = NULL },
};

const struct cli_verb cli_image_verbs[] = {
	{ .name = "image list",
	  .aliases = "ls",
	  .operands = "[FILTER...]",
	  .summary = "List images",
	  .details = "FILTER is a pattern of an alias or fingerprint ('debian/*'), or KEY=VALUE of the "
		     "properties.",
	  .examples = "lxmgr image list\nlxmgr image list 'debian/*' --format json",
	  .options = list_all_options,
	  .max = CLI_MANY,
	  .kinds = { CLI_IMAGE },
	  .run = list_run },
	{ .name = "image show",
	  .aliases = "info",
	  .operands = "IMAGE",
	  .summary = "Show everything about an image",
	  .examples = "lxmgr image show debian/12\nlxmgr image show 3f2a77c01b9e --format json",
	  .options = list_options,
	  .min = 1,
	  .max = 1,
	  .kinds = { CLI_IMAGE },
	  .run = show_run },
	{ .name = "image build",
	  .operands = "TEMPLATE",
	  .summary = "Make an image from a distribution's packages",
	  .details = "TEMPLATE is debian/12, debian/13, debian/sid or busybox; its name becomes the alias. "
		     "Packages "
		     "are checked against the distribution's keys.",
	  .examples = "lxmgr image build debian/12\n"
		      "lxmgr image build debian/13 --alias web-base --package nginx --package curl\n"
		      "lxmgr image build debian/12 --reuse  # anew; the alias moves to the new one",
	  .options = build_options,
	  .min = 1,
	  .max = 1,
	  .kinds = { CLI_TEMPLATE },
	  .run = build_run },
	{ .name = "image import",
	  .operands = "TARBALL [ROOTFS] [KEY=VALUE...]",
	  .summary = "Upload an image",
	  .details = "TARBALL is a unified image (metadata.yaml and rootfs/), as made by image export, "
		     "Incus, LXD or "
		     "distrobuilder; or, with ROOTFS (a tarball or squashfs), the metadata alone. KEY=VALUE "
		     "sets "
		     "properties. The fingerprint is printed.",
	  .examples = "lxmgr image import debian.tar.zst --alias debian/custom\n"
		      "lxmgr image import metadata.tar.xz rootfs.squashfs --alias alpine/3.19",
	  .options = cli_image_import_options,
	  .min = 1,
	  .max = CLI_MANY,
	  .kinds = { CLI_LOCAL_PATH },
	  .run = cli_image_import },
	{ .name = "image export",
	  .operands = "IMAGE [TARGET]",
	  .summary = "Download an image as a unified tarball",
	  .details = "TARGET is a file, a directory (the file is named after the fingerprint) or \"-\" for "
		     "stdout. "
		     "Without it the file goes into the current directory.",
	  .examples = "lxmgr image export debian/12\n"
		      "lxmgr image export debian/12 /srv/images/ --compression xz\n"
		      "lxmgr image export busybox - --compression none | tar t",
	  .options = cli_image_export_options,
	  .min = 1,
	  .max = 2,
	  .kinds = { CLI_IMAGE, CLI_LOCAL_PATH },
	  .run = cli_image_export },
	{ .name = "image fetch",
	  .aliases = "prefetch",
	  .operands = "IMAGE --target NODE",
	  .summary = "Copy an image to another machine of the cluster",
	  .details = "A launch or a move to a machine without the image does so by itself; this takes the "
		     "time for it beforehand. It comes from a machine that has it, not through the manager.",
	  .examples = "lxmgr image fetch debian/12 --target node2",
	  .options = fetch_options,
	  .min = 1,
	  .max = 1,
	  .kinds = { CLI_IMAGE },
	  .run = fetch_run },
	{ .name = "image delete",
	  .aliases = "rm",
	  .operands = "IMAGE...",
	  .summary = "Delete images",
	  .examples = "lxmgr image delete debian/12\nlxmgr image delete 3f2a77c01b9e 88aa01",
	  .options = delete_options,
	  .min = 1,
	  .max = CLI_MANY,
	  .kinds = { CLI_IMAGE },
	  .run = delete_run },
	{ .name = NULL },
};
