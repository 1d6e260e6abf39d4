/*
 * One line of progress on stderr.
 *
 * On a terminal it is redrawn in place: spinner, what is done, bar, bytes, rate, time
 * left. Elsewhere a plain line appears when the phase changes and every few seconds of a
 * long transfer, so that a log stays readable. Work that ends within a second says nothing.
 */
#ifndef LX_CLI_PROGRESS_H
#define LX_CLI_PROGRESS_H

#include "cli/cli.h"

struct cli_progress_state {
	const char *label;    /* "Launching web1"; borrowed */
	const char *phase;    /* or "" */
	uint64_t done, total; /* total 0: not known */
	const char *unit;     /* "bytes", "files" ...; "" */
};

struct cli_progress {
	bool off, terminal;
	bool drawn;     /* the terminal's line has something on it */
	unsigned frame; /* of the spinner */
	uint64_t started_ns, spoken_ns;
	/* Rate, smoothed. */
	uint64_t sampled_ns, sampled_done;
	double rate; /* units a second; 0: not known yet */
	char spoken_phase[128];
};

void cli_progress_init(struct cli_progress *p, bool quiet);
/* Shows the state; call as often as you like. */
void cli_progress_show(struct cli_progress *p, const struct cli_progress_state *s);
/* Wipes the terminal's line, before anything else is written. */
void cli_progress_clear(struct cli_progress *p);

/* The line itself, at most `width` columns; 0: a plain line, without spinner and bar. */
void cli_progress_format(const struct cli_progress_state *s, double rate, unsigned frame, int width,
			 char *buf, size_t n);

#endif
