"""Live moves of memory that processes share: mappings of no file, memfds, System V segments.

The guest has a process that shares memory in each of these ways and knows what must be in it
(tests/system/migration/sharer.c), all the time, whoever wrote it and however much was given back.
"""

import glob
import os
import struct
import sys
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "testbed"))
import machine  # noqa: E402
import moving  # noqa: E402
from moving import Guest  # noqa: E402
from striking import END_SECONDS, Moment, brief, find, mend_all, put_in_order, unsettled  # noqa: E402
from testbed import wait_for  # noqa: E402

CLUSTER = "move"  # of two nodes: conftest.py
MEGABYTES = 40
STATUS = "/run/sharer"
# Of ticks: all it has is looked at, also what was given back before the move.
LOOKED_AT = 300


@pytest.fixture
def two(whole):
    for daemon in (whole.manager, *whole.agents):
        daemon.begin_log()
    yield whole
    mend_all(whole)
    whole.remove_instances()
    moving.wait_clean(whole)


class Sharing(Guest):
    def __init__(self, cluster, name):
        super().__init__(cluster, name)
        self.bring("sharer", STATUS, str(MEGABYTES))
        wait_for(self.said, 10, why="it shares memory")
        self.sharer = self.said()[0]

    def said(self):
        """(pid, count, what is wrong), or None."""
        return self.told(STATUS)

    def check_shared(self, ticks, why):
        """It goes on where it was, with all that it had."""
        pid, count, wrong = self.said()
        assert (pid, wrong) == (self.sharer, "well"), f"{why}: process {pid} of {self.sharer} says: {wrong}"
        wait_for(lambda: self.said()[1] > count + ticks or self.said()[2] != "well", 40, 0.1, f"{why}: it goes on from {count}")
        assert self.said()[2] == "well", f"{why}: {self.said()}"


def restorers(cluster, i):
    """Numbers of CRIU's processes on node i."""
    moves = f"{cluster.agents[i].run_dir}/moves/"
    return set(find(lambda a: a[0].endswith("/criu") and any(moves in x for x in a)))


def inodes(pid, wanted=lambda fd: True):
    """Of what a process has open; it may end."""
    top, found = f"/proc/{pid}/fd", set()
    try:
        for fd in os.listdir(top):
            if wanted(int(fd)):
                found.add(os.stat(f"{top}/{fd}").st_ino)
    except OSError:
        pass
    return found


def in_place(cluster, i):
    """Inodes of what a worker of node i has ready for CRIU (migration/shared_copies.h), where only it looks."""
    agent, found = cluster.agents[i], set()
    for pid in find(lambda a: a[0] == "lx-move-worker" and a[1:2] == [agent.dir]):
        for path in glob.glob(f"/proc/{pid}/root{agent.run_dir}/moves/*/shared-copies"):
            with open(path, "rb") as f:
                records = [r[2:] for r in struct.iter_unpack("=QIii4x", f.read())]
            found |= set().union(*(inodes(who, lambda have, fd=fd: have == fd) for who, fd in records))
    return found


def test_there_and_back_and_there(two):
    guest = Sharing(two, "m1")
    for round_, target in enumerate((1, 0, 1)):
        ident = two.api.instances.Move(moving.request(two, "m1", target)).id
        assert Moment("source:COMMITTED").watch(two, ident, 1 - target)
        # The mapping, and both memfds, of which the guest has descriptors.
        ready = in_place(two, target)
        assert len(ready) == 3
        has = set().union(*(inodes(pid) for pid in moving.processes(two, "m1", target)))
        assert len(ready & has) == 2, "CRIU has not taken what was in place"
        op = moving.ended(two, ident)
        assert op.status == two.api.pb.OPERATION_STATUS_SUCCESS, f"{op.error} {op.hint}"
        print(f"{op.move.rounds} rounds, {op.move.memory_bytes >> 10} KiB, of them {op.move.memory_frozen_bytes >> 10} KiB "
              f"standing still, {op.move.downtime_ns / 1e6:.0f} ms")
        assert op.move.memory_bytes > MEGABYTES << 20 and op.move.memory_frozen_bytes < 16 << 20, "it was not copied ahead"
        guest.check_shared(LOOKED_AT if round_ == 2 else 50, f"round {round_}")
        guest.check_passenger()
    assert "memfd:ring" in two.exec("m1", "ls", "-l", f"/proc/{guest.sharer}/fd").stdout


def move_and_strike(two, source):
    """The destination's worker is killed when the source has committed. Returns whether CRIU was called again."""
    ident = two.api.instances.Move(moving.request(two, "m1", 1 - source)).id
    assert Moment("destination:READY").watch(two, ident, source)
    workers = find(lambda a: a[0] == "lx-move-worker" and a[1:2] == [two.agents[1 - source].dir])
    assert Moment("source:COMMITTED").watch(two, ident, source)
    for pid in workers:
        machine.kill(pid)
    first, again = restorers(two, 1 - source), False
    put_in_order(two, "destination worker")
    while not again and unsettled(two):
        now = restorers(two, 1 - source)
        again = bool(now) and not now & first
        time.sleep(0.01)
    op = moving.ended(two, ident, END_SECONDS)
    wait_for(lambda: not unsettled(two), 20, 0.1, f"both journals have ended; {brief(op)}")
    assert op.status == two.api.pb.OPERATION_STATUS_SUCCESS, brief(op)
    return again


def test_restored_again_from_the_images(two):
    """Who has what is in place is killed: then all of it comes out of the images, once CRIU has been too late."""
    guest = Sharing(two, "m1")
    for source in (0, 1, 0):
        again = move_and_strike(two, source)
        assert guest.home() == 1 - source
        wait_for(lambda: two.status("m1") == "RUNNING", 10, 0.1, "it runs")
        guest.check_shared(LOOKED_AT if again else 50, "again")
        guest.check_passenger()
        if again:
            return
    pytest.skip("each time CRIU had come to its end before")
