/* Moves in words: how one went, what stands in the way of one. */
#ifndef LX_CLI_MOVE_REPORT_H
#define LX_CLI_MOVE_REPORT_H

#include "cli/doc.h"
#include "lxmgr/v1/migration.pb-c.h"

/* "live", "near-live", "cold"; "" when it is not said. */
const char *cli_move_mode(Lxmgr__V1__MoveMode mode);
/* "pre-copy", "stop-and-copy" ...; "" when it is not said. */
const char *cli_move_memory(Lxmgr__V1__MoveMemory memory);

/* Lines of "name: value" for a person; with `phases` also how long each step took, longest first. */
void cli_move_print(const Lxmgr__V1__MoveReport *r, int indent, bool phases);
/* All of it, as member `key` of an object. */
void cli_move_doc(struct cli_doc *d, json_t *to, const char *key, const Lxmgr__V1__MoveReport *r);
/* An array of obstacles, as member `key` of an object. */
void cli_move_obstacles_doc(struct cli_doc *d, json_t *to, const char *key, size_t n,
			    Lxmgr__V1__MoveObstacle *const *obstacles);

#endif
