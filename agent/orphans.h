/* Workers that an agent before us has left at work. */
#ifndef LX_AGENT_ORPHANS_H
#define LX_AGENT_ORPHANS_H

/*
 * Waits until none of `state_dir` is left: what they do must not mix with what we do. They
 * have a moment to finish; then they are killed, and what they were at is tidied up as after
 * any crash. Blocks; for the start of the agent.
 */
void lx_orphans_end(const char *state_dir);

#endif
