"""Live moves between the machines of a busybox instance that would notice any change."""

import time

from lab import SLOW, Failed

NAME, CLIENT = "traveller", "client"
STATUS, PORT = "/run/passenger", 7007
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


def status(lab):
    pid, count, wrong = lab.inside(NAME, "cat", STATUS).split(" ", 2)
    return int(pid), int(count), wrong.strip()


def is_well(lab, pid):
    """The passenger counts on under its old number, and misses nothing."""
    _, before, _ = status(lab)
    lab.machines[0].until("sh", "-c", f"test $(lxmgr exec {NAME} -- cut -d' ' -f2 {STATUS}) -gt {before + 16}", seconds=SLOW)
    assert status(lab)[0] == pid and status(lab)[2] == "well", status(lab)


def check_with_a_connection(lab):
    """There, back and there again: memory, files, terminal and a connection from another instance go on"""
    lab.lxmgr("launch", "busybox", NAME, "--target", "vm1")
    lab.lxmgr("launch", "busybox", CLIENT, "--target", "vm2")
    lab.lxmgr("file", "push", lab.file("passenger"), f"{NAME}/root/passenger", "--mode", "0755")
    lab.inside(NAME, "sh", "-c", f"/root/passenger {STATUS} {PORT} 8")
    lab.machines[0].until("lxmgr", "exec", NAME, "--", "test", "-s", STATUS)
    pid = status(lab)[0]
    talk = Talk(lab, lab.instance(NAME)["ipv4"])
    for _ in range(3):
        lab.move(NAME)
        lab.home(NAME)
        talk.wait_for(3)
        is_well(lab, pid)
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
