"""Live moves of guests with large files in a tmpfs: most of them is copied ahead of the dump."""

import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "testbed"))
import moving  # noqa: E402
from moving import Guest  # noqa: E402
from testbed import wait_for  # noqa: E402

CLUSTER = "move"  # of two nodes: conftest.py

# A file that stays, one with holes, one that grows line by line, and one of which pages are written over, as
# are those of a copy on disk.
FILL = """
mkdir -p /mnt/t && mount -t tmpfs -o size=300m t /mnt/t && cd /mnt/t && mkdir deep
dd if=/dev/urandom of=stays bs=1M count=40 2>/dev/null
touch -d '2001-02-03 04:05:06' stays; chmod 640 stays; chown 7:8 stays
truncate -s 64M deep/holes
dd if=/dev/urandom of=deep/holes bs=1M seek=30 count=2 conv=notrunc 2>/dev/null
seq 200000 > grows
dd if=/dev/urandom of=changes bs=1M count=8 2>/dev/null
cp changes /root/changes
sha256sum stays deep/holes > /root/sums
"""
GROW = "i=200000; cd /mnt/t; while [ ! -e /root/stop ]; do i=$((i+1)); echo $i; done >> grows; touch /root/grown"
CHANGE = """
n=0; cd /mnt/t
while [ ! -e /root/stop ]; do
    n=$(( (n + 37) % 2048 ))
    dd if=/dev/urandom of=/root/page bs=4k count=1 2>/dev/null
    dd if=/root/page of=changes bs=4k seek=$n conv=notrunc 2>/dev/null
    dd if=/root/page of=/root/changes bs=4k seek=$n conv=notrunc 2>/dev/null
done
touch /root/changed
"""


@pytest.fixture
def two(whole):
    for daemon in (whole.manager, *whole.agents):
        daemon.begin_log()
    yield whole
    whole.wait_online()
    whole.remove_instances()
    moving.wait_clean(whole)


def sh(guest, script):
    done = guest.cluster.exec(guest.name, "sh", "-ec", script)
    assert done.returncode == 0, f"{script}: {done.stdout}{done.stderr}"
    return done.stdout


def begin(guest, script):
    """A child of init's: what was begun by a command from outside does not move."""
    guest.cluster.ok("exec", guest.name, "--", "sh", "-c",
                     f"cat > /root/script.$$ && (setsid sh /root/script.$$ </dev/null >/dev/null 2>&1 &)", input=script)


def succeeded(two, op):
    assert op.status == two.api.pb.OPERATION_STATUS_SUCCESS, f"{op.error} {op.hint}"
    return op.move


@pytest.mark.limit(120)
def test_files_stay_as_they_are(two):
    guest = Guest(two, "m1")
    sh(guest, FILL)
    begin(guest, GROW)
    begin(guest, CHANGE)
    for target in (1, 0):
        move = succeeded(two, moving.move(two, "m1", target))
        assert move.rounds > 1 and move.memory_bytes > 48 << 20
        assert move.memory_frozen_bytes < 16 << 20, "what was copied ahead was copied again"
        assert guest.home() == target
        guest.check_passenger()
        assert sh(guest, "cd /mnt/t; sha256sum -c /root/sums; stat -c '%a %u %g %Y' stays").splitlines()[-1] == \
            "640 7 8 981173106"
        assert int(sh(guest, "stat -c %b /mnt/t/deep/holes")) * 512 < 4 << 20, "holes are not holes any more"
    sh(guest, "touch /root/stop")
    wait_for(lambda: sh(guest, "ls /root").count("changed") and sh(guest, "ls /root").count("grown"), 20, why="both end")
    assert int(sh(guest, "awk 'NR != $1 { print NR; exit 1 } END { print NR }' /mnt/t/grows")) > 200000
    sh(guest, "cmp /mnt/t/changes /root/changes")


def test_one_that_is_renamed(two):
    """Which file a path means can change until it stands still, and files can be gone."""
    guest = Guest(two, "m1")
    sh(guest, "mkdir -p /mnt/t; mount -t tmpfs t /mnt/t; cd /mnt/t; for i in a b; do dd if=/dev/urandom of=$i bs=1M "
              "count=20 2>/dev/null; done; cat a b | sha256sum > /root/sums")
    begin(guest, "cd /mnt/t; while [ ! -e /root/stop ]; do mv a c; mv b a; mv c b; cp a gone; rm gone; done; touch /root/end")
    move = succeeded(two, moving.move(two, "m1", 1))
    assert move.memory_bytes > 40 << 20
    sh(guest, "touch /root/stop")
    wait_for(lambda: sh(guest, "ls /root").count("end"), 20, why="it ends")
    sums = [sh(guest, f"cd /mnt/t; cat {order} | sha256sum") for order in ("a b", "b a")]
    assert sh(guest, "cat /root/sums") in sums
