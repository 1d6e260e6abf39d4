/* The progress line: see progress.h. */
#include "cli/progress.h"

#include <stdarg.h>
#include <sys/ioctl.h>

#include "lib/clock.h"

#define REDRAW_NS     (100 * LX_NSEC_PER_MSEC)
#define SILENT_NS     LX_NSEC_PER_SEC          /* plain lines: what is quicker says nothing */
#define PLAIN_EACH_NS (10 * LX_NSEC_PER_SEC)   /* plain lines: a transfer's pace */
#define SAMPLE_NS     (500 * LX_NSEC_PER_MSEC) /* how often the rate is measured */
#define BAR_WIDTH     20
#define ETA_MAX       (100.0 * 3600)

void cli_progress_init(struct cli_progress *p, bool quiet)
{
	*p = (struct cli_progress){
		.off = quiet,
		.terminal = isatty(STDERR_FILENO) && !lx_streq(getenv("TERM"), "dumb"),
		.started_ns = lx_now_monotonic_ns(),
	};
}

static void format_amount(uint64_t n, const char *unit, char *buf, size_t len)
{
	if (lx_streq(unit, "bytes"))
		lx_format_size(n, buf, len);
	else
		snprintf(buf, len, "%llu", (unsigned long long)n);
}

static void append(char *buf, size_t n, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void append(char *buf, size_t n, const char *fmt, ...)
{
	size_t len = strlen(buf);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf + len, n - len, fmt, ap);
	va_end(ap);
}

static void append_amounts(const struct cli_progress_state *s, double rate, bool bar, char *buf, size_t n)
{
	char done[LX_SIZE_TEXT_MAX], total[LX_SIZE_TEXT_MAX], pace[LX_SIZE_TEXT_MAX];
	bool bytes = lx_streq(s->unit, "bytes");

	if (s->total) {
		double part = s->done >= s->total ? 1 : (double)s->done / (double)s->total;
		int filled = (int)(part * BAR_WIDTH);
		if (bar)
			append(buf, n, " [%.*s%*s]", filled, "####################", BAR_WIDTH - filled, "");
		append(buf, n, bar ? " %3d%%" : " %d%%", (int)(part * 100));
	}
	if (s->total || s->done) {
		format_amount(s->done, s->unit, done, sizeof(done));
		format_amount(s->total, s->unit, total, sizeof(total));
		bool named = !bytes && !lx_str_empty(s->unit);
		append(buf, n, " %s%s%s%s%s", done, s->total ? "/" : "", s->total ? total : "",
		       named ? " " : "", named ? s->unit : "");
	}
	if (bytes && rate > 0) {
		lx_format_size((uint64_t)rate, pace, sizeof(pace));
		append(buf, n, " %s/s", pace);
		double left = s->total > s->done ? (double)(s->total - s->done) / rate : 0;
		if (left >= 1 && left < ETA_MAX)
			append(buf, n, " %u:%02u left", (unsigned)left / 60, (unsigned)left % 60);
	}
}

void cli_progress_format(const struct cli_progress_state *s, double rate, unsigned frame, int width,
			 char *buf, size_t n)
{
	static const char spinner[] = "|/-\\";

	buf[0] = '\0';
	if (width)
		append(buf, n, "%c ", spinner[frame % 4]);
	append(buf, n, "%s", s->label);
	if (!lx_str_empty(s->phase))
		append(buf, n, ": %s", s->phase);
	append_amounts(s, rate, width > 0, buf, n);
	if (width > 0 && (size_t)width < strlen(buf))
		buf[width] = '\0';
}

static int terminal_width(void)
{
	struct winsize ws;

	return ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_col > 1 ? ws.ws_col - 1 : 79;
}

/* An exponentially weighted mean of what was done between samples. */
static void measure(struct cli_progress *p, uint64_t done, uint64_t now)
{
	if (!p->sampled_ns || done < p->sampled_done) {
		p->sampled_ns = now;
		p->sampled_done = done;
		p->rate = 0;
		return;
	}
	if (now - p->sampled_ns < SAMPLE_NS)
		return;
	double latest =
		(double)(done - p->sampled_done) * (double)LX_NSEC_PER_SEC / (double)(now - p->sampled_ns);
	p->rate = p->rate > 0 ? 0.7 * p->rate + 0.3 * latest : latest;
	p->sampled_ns = now;
	p->sampled_done = done;
}

static void draw(struct cli_progress *p, const struct cli_progress_state *s, uint64_t now)
{
	char line[512];

	if (p->drawn && now - p->spoken_ns < REDRAW_NS)
		return;
	p->spoken_ns = now;
	cli_progress_format(s, p->rate, p->frame++, terminal_width(), line, sizeof(line));
	fputs("\r", stderr);
	cli_put_safe(stderr, line);
	fputs("\033[K", stderr);
	fflush(stderr);
	p->drawn = true;
}

static void speak(struct cli_progress *p, const struct cli_progress_state *s, uint64_t now)
{
	char line[512];
	const char *phase = s->phase ? s->phase : "";
	bool news = strncmp(p->spoken_phase, phase, sizeof(p->spoken_phase) - 1) != 0 || !p->drawn;

	if (now - p->started_ns < SILENT_NS || (!news && now - p->spoken_ns < PLAIN_EACH_NS))
		return;
	if (!news && !s->done)
		return;
	p->drawn = true;
	p->spoken_ns = now;
	snprintf(p->spoken_phase, sizeof(p->spoken_phase), "%s", phase);
	cli_progress_format(s, p->rate, 0, 0, line, sizeof(line));
	cli_put_safe(stderr, line);
	putc('\n', stderr);
}

void cli_progress_show(struct cli_progress *p, const struct cli_progress_state *s)
{
	uint64_t now = lx_now_monotonic_ns();

	if (p->off)
		return;
	measure(p, s->done, now);
	if (p->terminal)
		draw(p, s, now);
	else
		speak(p, s, now);
}

void cli_progress_clear(struct cli_progress *p)
{
	if (p->terminal && p->drawn) {
		fputs("\r\033[K", stderr);
		fflush(stderr);
		p->drawn = false;
	}
}
