/*
 * Where an instance's snapshots are, for workers and for the agent:
 *
 *	<instance>/snapshots/		0700 root: nobody else gets in, the guest's root included
 *		<name>/snapshot.pb	SnapshotRecord
 *		<name>/upper/		its own files, in the form in which they travel (migration/tree.h)
 *		.work/			what is being made, or removed; gone when nothing is
 *		.work/frozen		the instance stands still for it
 *
 * A snapshot appears under its name whole, by a rename, and disappears the same way.
 */
#ifndef LX_WORKER_SNAPSHOT_DIR_H
#define LX_WORKER_SNAPSHOT_DIR_H

#define LX_SNAPSHOTS_DIR   "snapshots"
#define LX_SNAPSHOT_WORK   LX_SNAPSHOTS_DIR "/.work"
#define LX_SNAPSHOT_FROZEN LX_SNAPSHOT_WORK "/frozen"
#define LX_SNAPSHOT_RECORD "snapshot.pb"
#define LX_SNAPSHOT_UPPER  "upper"
/* In the instance's directory: the operation that has restored a snapshot last. */
#define LX_SNAPSHOT_RESTORED "restored"
/* More than any key allows: what other nodes may send. */
#define LX_SNAPSHOTS_MAX 1000u

#endif
