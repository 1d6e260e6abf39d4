#include "lib/oom.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/fs.h"

#define KNOB  "/proc/self/oom_score_adj"
#define NEVER (-1000)

int lx_oom_get(void)
{
	char line[32];

	return lx_read_line(KNOB, line, sizeof(line)) < 0 ? LX_OOM_USUAL : (int)strtol(line, NULL, 10);
}

void lx_oom_set(int adj)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", adj);
	(void)lx_write_knob(KNOB, text);
}

void lx_oom_spare(void)
{
	lx_oom_set(NEVER);
}

int lx_oom_spare_less(int most)
{
	int was = lx_oom_get();

	if (was < most)
		lx_oom_set(most);
	return was;
}
