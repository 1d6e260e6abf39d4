"""Live moves between the machines of a busybox instance that would notice any change."""

import json
import time

from lab import SLOW, Failed

NAME, CLIENT, LARGE = "traveller", "client", "large"
MEGABYTES = 48  # more than what is copied at once
STATUS, SHARED, PORT = "/run/passenger", "/run/sharer", 7007
# A line a second over one connection, until told to stop; what comes back is kept.
TALK = ("rm -f /tmp/stop /tmp/back; i=0; while [ ! -e /tmp/stop ]; do i=$((i+1)); echo word $i; sleep 1; done "
        "| nc %s %d >/tmp/back")


class Talk:
    """One TCP connection from another instance, over which something goes all the time."""

    def __init__(self, lab, address):
        self.lab = lab
        self.end = lab.machines[0].start("lxmgr", "exec", CLIENT, "--", "sh", "-c", TALK % (address, PORT), timeout=1500)
        self.wait_for(3)

    def heard(self):
        said = self.lab.inside(CLIENT, "cat", "/tmp/back").splitlines()
        assert said == [f"word {i + 1}" for i in range(len(said))], said[-20:]
        return len(said)

    def wait_for(self, more):
        """Until that many more lines have come back, all in order."""
        self.lab.machines[0].until("lxmgr", "exec", CLIENT, "--", "test", "-s", "/tmp/back", why="the first echo")
        want, end = self.heard() + more, time.monotonic() + SLOW
        while self.heard() < want:
            if time.monotonic() > end:
                raise Failed(f"the connection has been silent for {SLOW} s after line {self.heard()}")
            time.sleep(2)

    def stop(self):
        self.lab.inside(CLIENT, "touch", "/tmp/stop")
        return self.heard()


def board(lab, name, *args):
    """The passenger (tests/system/migration/passenger.c) gets on; its number."""
    lab.lxmgr("file", "push", lab.file("passenger"), f"{name}/root/passenger", "--mode", "0755")
    lab.inside(name, "/root/passenger", STATUS, str(PORT), *map(str, args))
    lab.machines[0].until("lxmgr", "exec", name, "--", "test", "-s", STATUS)
    return status(lab, name)[0]


def status(lab, name):
    pid, count, wrong = lab.inside(name, "cat", STATUS).split(" ", 2)
    return int(pid), int(count), wrong.strip()


def is_well(lab, name, pid):
    """The passenger counts on under its old number, and misses nothing: it sums its memory up every 16th time."""
    _, before, _ = status(lab, name)
    lab.machines[0].until("sh", "-c", f"test $(lxmgr exec {name} -- cut -d' ' -f2 {STATUS}) -gt {before + 16}", seconds=SLOW)
    now = status(lab, name)
    assert now[0] == pid and now[2] == "well", now


def check_with_a_connection(lab):
    """There, back and there again: memory, files, terminal and a connection from another instance go on"""
    lab.lxmgr("launch", "busybox", NAME, "--target", "vm1")
    lab.lxmgr("launch", "busybox", CLIENT, "--target", "vm2")
    pid = board(lab, NAME, 8)
    talk = Talk(lab, lab.instance(NAME)["ipv4"])
    for _ in range(3):
        lab.move(NAME)
        lab.home(NAME)
        talk.wait_for(3)
        is_well(lab, NAME, pid)
        assert lab.inside(NAME, "cat", f"/proc/{pid}/attr/current").strip() == f"lxmgr-{NAME} (enforce)"
    talk.stop()


def check_after_moves(lab):
    """A moved instance is stopped, started and removed like any other; nothing of it stays on either machine"""
    lab.lxmgr("restart", NAME)
    assert lab.inside(NAME, "hostname").strip() == NAME
    lab.delete(NAME, CLIENT)
    for m in lab.machines:
        left = m.ok("sh", "-c", "ls /sys/fs/cgroup/lxmgr /var/lib/lxmgr/agent/instances 2>/dev/null; "
                    "findmnt -rno TARGET | grep /lxmgr/agent/ || true").split()
        left = [x for x in left if NAME in x or CLIENT in x]
        assert not left, f"on {m.name}: {left}"


def check_marks(lab):
    """The kernel's marks of written pages, and what they do not tell: the unit test, which skips on other kernels"""
    done = lab.machines[0].run(lab.file("test_migration_soft_dirty"))
    assert done.code == 0 and "SKIPPED" not in done.out + done.err, done


def plan(lab, how):
    """With that migration.memory: what `move --check` says of memory, and why."""
    lab.lxmgr("config", "set", LARGE, f"migration.memory={how}")
    said = json.loads(lab.lxmgr("move", LARGE, "--target", lab.other(LARGE), "--check", "--format", "json"))
    return said["memory"], said["memory_reason"]


def check_memory_ahead(lab):
    """Memory that goes on changing is copied in rounds while it runs, by its marks, there and back; none of it is wrong"""
    lab.lxmgr("launch", "busybox", LARGE, "--target", "vm1")
    pid = board(lab, LARGE, MEGABYTES, 4)
    assert plan(lab, "content") == ("content pre-copy", "migration.memory is content")
    for how in "auto", "soft-dirty":
        expected = plan(lab, how)
        assert expected[0] == "soft-dirty pre-copy", expected
        assert ("PAGEMAP_SCAN" if how == "auto" else how) in expected[1], expected
        report = lab.move(LARGE)
        lab.home(LARGE)
        assert (report["memory"], report["memory_reason"]) == expected and report["rounds"] > 1, report
        assert report["memory_bytes"] > MEGABYTES << 20, report
        assert report["memory_frozen_bytes"] < MEGABYTES << 19, f"what was copied ahead was copied again: {report}"
        is_well(lab, LARGE, pid)
    lab.delete(LARGE)


def check_files_in_memory(lab):
    """A large file in a tmpfs inside is copied ahead, and counts for the instance that has it, there and back"""
    lab.lxmgr("launch", "busybox", LARGE, "--target", "vm1", "-c", "limits.memory=256MiB")
    pid = board(lab, LARGE, 8)
    lab.inside(LARGE, "sh", "-ec", f"mkdir /mnt/t; mount -t tmpfs t /mnt/t; "
                                   f"dd if=/dev/urandom of=/mnt/t/large bs=1M count={MEGABYTES} 2>/dev/null; "
                                   "sha256sum /mnt/t/large >/root/sum")
    for _ in range(2):
        report = lab.move(LARGE)
        home = lab.home(LARGE)
        assert report["memory_bytes"] > MEGABYTES << 20 and report["memory_frozen_bytes"] < MEGABYTES << 19, report
        lab.inside(LARGE, "sha256sum", "-c", "/root/sum")
        is_well(lab, LARGE, pid)
        used = home.ok("cat", f"/sys/fs/cgroup/lxmgr/{LARGE}/memory.current")
        assert int(used) > MEGABYTES << 20, used
    lab.delete(LARGE)


def check_shared(lab):
    """Memory that processes share (tests/system/migration/sharer.c) goes on as it was, there and back"""
    lab.lxmgr("launch", "busybox", LARGE, "--target", "vm1")
    lab.lxmgr("file", "push", lab.file("sharer"), f"{LARGE}/root/sharer", "--mode", "0755")
    lab.inside(LARGE, "/root/sharer", SHARED, str(MEGABYTES))
    lab.machines[0].until("lxmgr", "exec", LARGE, "--", "test", "-s", SHARED)

    def said():
        return lab.inside(LARGE, "cat", SHARED).split(" ", 2)

    pid = said()[0]
    for _ in range(2):
        report = lab.move(LARGE)
        lab.home(LARGE)
        assert report["memory_bytes"] > MEGABYTES << 20 and report["memory_frozen_bytes"] < MEGABYTES << 19, report
        before = int(said()[1])
        lab.machines[0].until("sh", "-c", f"test $(lxmgr exec {LARGE} -- cut -d' ' -f2 {SHARED}) -gt {before + 16}", seconds=SLOW)
        assert said()[0] == pid and said()[2].strip() == "well", said()
    lab.delete(LARGE)
