/*
 * Moving an instance: what both sides agree on.
 *
 * A move is a conversation of two workers, one on each node (agent/worker/move/), through
 * their agents. Frames (proto/lxmgr/v1/migration.proto) in the order of a live move:
 *
 *      source                                      destination
 *      open (by its agent)         ------------>   known to the manager? from that node?
 *                                  <------------   welcome
 *      snapshots, each with files  ------------>   complete
 *                                  <------------   synced, for each
 *      files as they are now       ------------>   written
 *      tree_end                    ------------>
 *                                  <------------   synced
 *      memory, in rounds           ------------>   beside where the dump will be
 *   -- freeze ----------------------------------------------------------------
 *      guest                       ------------>   what no dump holds
 *      dump_file, dump_data ...    ------------>   into memory, never onto a disk
 *      files that changed          ------------>
 *     (dump_again                  ------------>   forgotten; back to memory, in rounds)
 *      tree_end(last), dump_end    ------------>   synced; restored, up to its last step
 *                                  <------------   ready
 *      COMMIT: journal, fsync
 *      commit                      ------------>   journal, fsync; network, thaw
 *      post-copy: memory_pages     ------------>   into place
 *                                  <------------   memory_wanted
 *      memory_end                  ------------>
 *                                  <------------   done
 *      nothing is left here                        an instance like any other
 *
 * Until COMMIT the source may give up at any time, and does when the conversation breaks: it
 * thaws and goes on as if nothing had been, its connections too. From COMMIT on there is only
 * forward. A destination that is ready and hears nothing asks the source's agent and never
 * thaws without its word.
 *
 * A cold move has snapshots and the files alone: tree_end(last), ready, commit, done.
 *
 *   tree_send.c, tree_receive.c   the instance's own files
 *   net_save.c, net_load.c        its network, seen from inside
 *   cgroup_save.c, cgroup_load.c  its cgroups and their knobs
 *   quiesce.c                     what must be put in order before a dump
 *   criu.c, hook/                 CRIU's command lines; the program it calls at its steps
 *   preflight*.c                  what stands in the way
 *   record.c                      the journal of an agent
 */
#ifndef LX_MIGRATION_MIGRATION_H
#define LX_MIGRATION_MIGRATION_H

#include "lib/err.h"
#include "lxmgr/v1/migration.pb-c.h"

/* MoveOpen.version, MoveWelcome.version. */
#define LX_MOVE_VERSION 1u

/* Bytes of a file, or of a file of the dump, in one frame. */
#define LX_MOVE_CHUNK (256u * 1024)

/* Where frames go: to the other worker. Blocks while it is slow. */
struct lx_move_out {
	/* 0 or a negative errno: the conversation is over. The frame stays the caller's. */
	int (*send)(void *arg, const Lxmgr__V1__MoveFrame *frame, struct lx_err *err);
	void *arg;
};

#endif
