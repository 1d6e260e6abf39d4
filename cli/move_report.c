/*
 * Moves in words: see move_report.h. What did not happen is not mentioned: a cold move has no
 * rounds and no processes.
 */
#include "cli/move_report.h"

#include "lib/clock.h"

typedef Lxmgr__V1__MoveReport report;
typedef Lxmgr__V1__MoveReport__PhasesEntry phase;

const char *cli_move_mode(Lxmgr__V1__MoveMode mode)
{
	switch (mode) {
	case LXMGR__V1__MOVE_MODE__MOVE_MODE_COLD:
		return "cold";
	case LXMGR__V1__MOVE_MODE__MOVE_MODE_LIVE:
		return "live";
	case LXMGR__V1__MOVE_MODE__MOVE_MODE_NEAR_LIVE:
		return "near-live";
	default:
		return "";
	}
}

const char *cli_move_memory(Lxmgr__V1__MoveMemory memory)
{
	switch (memory) {
	case LXMGR__V1__MOVE_MEMORY__MOVE_MEMORY_STOP_AND_COPY:
		return "stop-and-copy";
	case LXMGR__V1__MOVE_MEMORY__MOVE_MEMORY_PRE_COPY:
		return "pre-copy";
	case LXMGR__V1__MOVE_MEMORY__MOVE_MEMORY_CONTENT:
		return "content pre-copy";
	case LXMGR__V1__MOVE_MEMORY__MOVE_MEMORY_SOFT_DIRTY:
		return "soft-dirty pre-copy";
	case LXMGR__V1__MOVE_MEMORY__MOVE_MEMORY_POST_COPY:
		return "post-copy";
	default:
		return "";
	}
}

/* ------------------------------------------------------------------ for people */

static uint64_t positive(int64_t ns)
{
	return ns > 0 ? (uint64_t)ns : 0;
}

static void print_duration(int indent, const char *name, int64_t ns)
{
	char text[LX_DURATION_TEXT_MAX];

	if (ns > 0)
		printf("%*s%s: %s\n", indent, "", name, lx_format_duration(positive(ns), text, sizeof(text)));
}

static void print_count(int indent, const char *name, uint32_t n)
{
	if (n)
		printf("%*s%s: %u\n", indent, "", name, n);
}

/* "20MiB in 312 files, 120KiB while frozen" */
static void print_bytes(int indent, const char *name, uint64_t bytes, uint64_t files, uint64_t part,
			const char *part_is)
{
	char all[LX_SIZE_TEXT_MAX], some[LX_SIZE_TEXT_MAX];

	if (!bytes)
		return;
	printf("%*s%s: %s", indent, "", name, lx_format_size(bytes, all, sizeof(all)));
	if (files)
		printf(" in %llu file%s", (unsigned long long)files, files == 1 ? "" : "s");
	printf(", %s %s\n", lx_format_size(part, some, sizeof(some)), part_is);
}

/* "2, 40MiB, ahead of the rest" */
static void print_snapshots(int indent, const report *r)
{
	char size[LX_SIZE_TEXT_MAX];

	if (r->snapshots)
		printf("%*sSnapshots: %u, %s, ahead of the rest\n", indent, "", r->snapshots,
		       lx_format_size(r->snapshot_bytes, size, sizeof(size)));
}

static int longest_first(const void *a, const void *b)
{
	const phase *x = *(phase *const *)a, *y = *(phase *const *)b;

	return x->value != y->value ? (x->value < y->value ? 1 : -1) : strcmp(x->key, y->key);
}

static void print_phases(const report *r, int indent)
{
	lx_autofree phase **sorted = r->n_phases ? malloc(r->n_phases * sizeof(phase *)) : NULL;
	char text[LX_DURATION_TEXT_MAX];

	if (!sorted)
		return;
	memcpy(sorted, r->phases, r->n_phases * sizeof(phase *));
	qsort(sorted, r->n_phases, sizeof(phase *), longest_first);
	printf("%*sPhases:\n", indent, "");
	for (size_t i = 0; i < r->n_phases; i++) {
		printf("%*s", indent + 2, "");
		cli_put_safe(stdout, sorted[i]->key);
		printf(": %s\n", lx_format_duration(positive(sorted[i]->value), text, sizeof(text)));
	}
}

static void print_text(int indent, const char *name, const char *text)
{
	if (lx_str_empty(text))
		return;
	printf("%*s%s: ", indent, "", name);
	cli_put_safe(stdout, text);
	putchar('\n');
}

static void print_exposed(int indent, const report *r)
{
	char text[LX_DURATION_TEXT_MAX], size[LX_SIZE_TEXT_MAX];

	if (r->exposed_ns > 0)
		printf("%*sExposed: %s, until %s of memory had followed\n", indent, "",
		       lx_format_duration(positive(r->exposed_ns), text, sizeof(text)),
		       lx_format_size(r->memory_after_bytes, size, sizeof(size)));
}

static void print_again(int indent, const report *r)
{
	char text[LX_DURATION_TEXT_MAX];

	if (!r->dumps_failed)
		return;
	printf("%*sDumped: %u times, having stood still for %s before: ", indent, "", r->dumps_failed + 1,
	       lx_format_duration(positive(r->stood_ns), text, sizeof(text)));
	cli_put_safe(stdout, r->dump_reason);
	putchar('\n');
}

void cli_move_print(const report *r, int indent, bool phases)
{
	const char *mode = cli_move_mode(r->mode), *memory = cli_move_memory(r->memory);

	if (*mode)
		printf("%*sMode: %s%s%s%s\n", indent, "", mode, *memory ? " (" : "", memory,
		       *memory ? ")" : "");
	print_text(indent, r->awaited ? "Still to come" : "Incomplete", r->incomplete);
	print_text(indent, "Reason", r->reason);
	print_text(indent, "Memory so because", r->memory_reason);
	print_text(indent, "Booted there, what ran is lost", r->booted);
	print_duration(indent, "Downtime", r->downtime_ns);
	print_duration(indent, "Downtime for a peer", r->peer_downtime_ns);
	print_again(indent, r);
	print_duration(indent, "Total", r->total_ns);
	print_exposed(indent, r);
	print_count(indent, "Rounds", r->rounds);
	print_bytes(indent, "Carried", r->bytes_raw, 0, r->bytes_sent, "on the wire");
	print_bytes(indent, "Memory", r->memory_bytes, 0, r->memory_frozen_bytes, "while frozen");
	print_bytes(indent, "Files", r->file_bytes, r->files, r->file_frozen_bytes,
		    r->mode == LXMGR__V1__MOVE_MODE__MOVE_MODE_LIVE ? "while frozen" : "while stopped");
	print_snapshots(indent, r);
	print_count(indent, "Connections", r->sockets);
	print_count(indent, "Processes", r->processes);
	for (size_t i = 0; i < r->n_notes; i++)
		print_text(indent, "Note", r->notes[i]->cause);
	if (phases)
		print_phases(r, indent);
}

/* ------------------------------------------------------------------ for scripts */

void cli_move_obstacles_doc(struct cli_doc *d, json_t *to, const char *key, size_t n,
			    Lxmgr__V1__MoveObstacle *const *obstacles)
{
	json_t *array = cli_doc_array(d, to, key);

	for (size_t i = 0; i < n; i++) {
		json_t *o = cli_doc_add(d, array);
		cli_doc_str(d, o, "code", obstacles[i]->code);
		cli_doc_str(d, o, "cause", obstacles[i]->cause);
		cli_doc_str(d, o, "cure", obstacles[i]->cure);
		cli_doc_str(d, o, "node", obstacles[i]->node);
		cli_doc_bool(d, o, "blocks", obstacles[i]->blocks);
	}
}

static int by_name(const void *a, const void *b)
{
	return strcmp((*(phase *const *)a)->key, (*(phase *const *)b)->key);
}

static void phases_doc(struct cli_doc *d, json_t *to, const report *r)
{
	json_t *object = cli_doc_object(d, to, "phases_ns");
	lx_autofree phase **sorted = r->n_phases ? malloc(r->n_phases * sizeof(phase *)) : NULL;

	if (!sorted) {
		d->oom = d->oom || r->n_phases;
		return;
	}
	memcpy(sorted, r->phases, r->n_phases * sizeof(phase *));
	qsort(sorted, r->n_phases, sizeof(phase *), by_name);
	for (size_t i = 0; i < r->n_phases; i++)
		cli_doc_int(d, object, sorted[i]->key, positive(sorted[i]->value));
}

void cli_move_doc(struct cli_doc *d, json_t *to, const char *key, const report *r)
{
	json_t *o = cli_doc_object(d, to, key);

	cli_doc_str(d, o, "mode", cli_move_mode(r->mode));
	cli_doc_str(d, o, "memory", cli_move_memory(r->memory));
	cli_doc_str(d, o, "memory_reason", r->memory_reason);
	cli_doc_str(d, o, "reason", r->reason);
	cli_doc_bool(d, o, "awaited", r->awaited);
	cli_doc_str(d, o, "incomplete", r->incomplete);
	cli_doc_str(d, o, "operation", r->operation);
	cli_doc_str(d, o, "source", r->source);
	cli_doc_str(d, o, "target", r->target);
	cli_doc_time(d, o, "finished_at", r->finished_at_ns);
	cli_doc_int(d, o, "total_ns", positive(r->total_ns));
	cli_doc_int(d, o, "downtime_ns", positive(r->downtime_ns));
	cli_doc_int(d, o, "peer_downtime_ns", positive(r->peer_downtime_ns));
	cli_doc_int(d, o, "dumps_failed", r->dumps_failed);
	cli_doc_int(d, o, "stood_ns", positive(r->stood_ns));
	cli_doc_str(d, o, "dump_reason", r->dump_reason);
	cli_doc_int(d, o, "exposed_ns", positive(r->exposed_ns));
	cli_doc_int(d, o, "rounds", r->rounds);
	cli_doc_int(d, o, "bytes_raw", r->bytes_raw);
	cli_doc_int(d, o, "bytes_sent", r->bytes_sent);
	cli_doc_int(d, o, "memory_bytes", r->memory_bytes);
	cli_doc_int(d, o, "memory_frozen_bytes", r->memory_frozen_bytes);
	cli_doc_int(d, o, "memory_after_bytes", r->memory_after_bytes);
	cli_doc_str(d, o, "booted", r->booted);
	cli_doc_int(d, o, "file_bytes", r->file_bytes);
	cli_doc_int(d, o, "file_frozen_bytes", r->file_frozen_bytes);
	cli_doc_int(d, o, "files", r->files);
	cli_doc_int(d, o, "snapshots", r->snapshots);
	cli_doc_int(d, o, "snapshot_bytes", r->snapshot_bytes);
	cli_doc_int(d, o, "sockets", r->sockets);
	cli_doc_int(d, o, "processes", r->processes);
	phases_doc(d, o, r);
	cli_move_obstacles_doc(d, o, "notes", r->n_notes, r->notes);
}
