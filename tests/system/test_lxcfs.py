"""A guest sees its own memory and processors where its node has lxcfs: at starts, in live moves between nodes
that have one or not, and when lxcfs ends or stands still.

Each node has an lxcfs of the test's own.
"""

import json
import os
import re
import signal
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "testbed"))
import lxcfs  # noqa: E402
import machine  # noqa: E402
import moving  # noqa: E402
import testbed  # noqa: E402
from moving import Guest  # noqa: E402
from testbed import wait_for  # noqa: E402

FILES = {"/proc/cpuinfo", "/proc/diskstats", "/proc/loadavg", "/proc/meminfo", "/proc/stat", "/proc/swaps",
         "/proc/uptime", "/sys/devices/system/cpu/online"}
MEMORY = 200 << 10  # KiB
LIMIT = ("-c", "limits.memory=200MiB")


@pytest.fixture(scope="module")
def whole(able):
    why = lxcfs.missing()
    if why:
        pytest.skip(why)
    cluster = testbed.Cluster("lxcfs", nodes=2)
    servers = lxcfs.prepare(cluster)
    with cluster:
        try:
            for i in range(2):
                testbed.ensure_image(cluster, "busybox", node=i)
        except testbed.Unavailable as e:
            pytest.skip(str(e))
        cluster.lxcfs = servers
        yield cluster
        for server in servers:
            server.end()


@pytest.fixture
def two(whole):
    """Both nodes have one that serves, and have said so."""
    for i, server in enumerate(whole.lxcfs):
        if not server.process:
            server.end()
            server.start()
        said(whole, i, "yes")
    for daemon in (whole.manager, *whole.agents):
        daemon.begin_log()
    yield whole
    for server in whole.lxcfs:
        if server.process:
            server.send(signal.SIGCONT)
    whole.remove_instances()
    moving.wait_clean(whole)


def feature(cluster, i):
    return json.loads(cluster.ok("node", "show", cluster.node_names[i], "--format", "json"))["features"]["lxcfs"]


def said(cluster, i, word):
    wait_for(lambda: word in feature(cluster, i), 20, 0.2, why=f"node {i} says of lxcfs: {word}")


def end(cluster, i):
    cluster.lxcfs[i].end()
    said(cluster, i, "is not mounted")


def inside(cluster, name, command):
    done = cluster.exec(name, "sh", "-c", command)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def memory(cluster, name):
    """What it says it has, in KiB."""
    return int(re.search(r"MemTotal: *(\d+) kB", inside(cluster, name, "cat /proc/meminfo"))[1])


def mounted(cluster, name):
    """Places of files of lxcfs in the guest."""
    return {line.split()[4] for line in inside(cluster, name, "cat /proc/self/mountinfo").splitlines()
            if " - fuse.lxcfs " in line}


def check(cluster, name, i):
    """What `move --check` says to node i: (possible, obstacles)."""
    done = cluster.cli("move", name, "--target", cluster.node_names[i], "--check", "--format", "json")
    found = json.loads(done.stdout)
    return done.returncode == 0, found["obstacles"]


def move(cluster, name, i):
    op = moving.move(cluster, name, i)
    assert op.status == cluster.api.pb.OPERATION_STATUS_SUCCESS, f"{op.error} {op.hint}"
    assert op.move.mode == cluster.api.pb.MOVE_MODE_LIVE


def warning(cluster, name):
    found = [w for w in json.loads(cluster.ok("warning", "list", "--all", "--format", "json"))
             if w["type"] == "lxcfs-lost" and w["name"] == name]
    return found[0] if found else None


def holder(cluster, name):
    """A process of the guest's with all of them open, and another one's command line to look at them."""
    redirections = " ".join(f"{fd}<{path}" for fd, path in enumerate(sorted(FILES), 11))
    inside(cluster, name, f"setsid sleep 100000 {redirections} </dev/null >/dev/null 2>&1 &")
    wait_for(lambda: cluster.exec(name, "pidof", "sleep").returncode == 0, 10, why="it has opened them")
    return "for f in /proc/$(pidof sleep)/fd/1?; do readlink $f; cat $f >/dev/null || exit; done"


# ---------------------------------------------------------------- starts


def test_a_guest_sees_its_own(two):
    two.ok("launch", "busybox", "c1", "--target", two.node_names[0], *LIMIT, "-c", "limits.cpu=0-0")
    assert mounted(two, "c1") == FILES and memory(two, "c1") == MEMORY
    assert inside(two, "c1", "grep -c ^processor /proc/cpuinfo; cat /sys/devices/system/cpu/online").split() == ["1", "0"]
    assert float(inside(two, "c1", "cat /proc/uptime").split()[0]) < 3600
    # The kernel shows the slabs to the machine's root alone, lxcfs to everybody.
    assert two.exec("c1", "cat", "/proc/slabinfo").returncode != 0
    # A change of the limit is seen at once, and a restart of any kind changes nothing.
    two.ok("config", "set", "c1", "limits.memory=100MiB")
    assert memory(two, "c1") == MEMORY // 2
    two.ok("exec", "c1", "--", "reboot")
    wait_for(lambda: two.exec("c1", "true").returncode == 0 and mounted(two, "c1") == FILES, 30, 0.1)
    two.restart(0)
    two.ok("restart", "c1", "--force")
    assert mounted(two, "c1") == FILES


def test_off(two):
    two.ok("launch", "busybox", "c1", "--target", two.node_names[0], *LIMIT, "-c", "security.lxcfs=off")
    assert not mounted(two, "c1") and memory(two, "c1") > MEMORY
    assert "security.lxcfs takes effect" in two.cli("config", "set", "c1", "security.lxcfs=auto").stderr
    assert not mounted(two, "c1")
    two.ok("restart", "c1", "--force")
    assert mounted(two, "c1") == FILES
    refused = two.cli("config", "set", "c1", "security.lxcfs=maybe")
    assert refused.returncode == 1 and "auto" in refused.stderr


def test_it_cannot_be_written_or_taken_away(two):
    two.ok("launch", "busybox", "c1", "--target", two.node_names[0], *LIMIT)
    for attempt in ("echo 1 > /proc/meminfo", "rm /proc/meminfo", "echo 0 > /sys/devices/system/cpu/online"):
        assert two.exec("c1", "sh", "-c", attempt).returncode != 0, attempt
    # Root inside may unmount it, as all of its /proc: then it sees what it would without.
    inside(two, "c1", "umount /proc/meminfo")
    assert memory(two, "c1") > MEMORY
    move(two, "c1", 1)
    assert mounted(two, "c1") == FILES - {"/proc/meminfo"}


def test_a_node_without(two):
    end(two, 1)
    two.ok("launch", "busybox", "auto", "--target", two.node_names[1], *LIMIT)
    assert not mounted(two, "auto") and memory(two, "auto") > MEMORY
    refused = two.cli("launch", "busybox", "on", "--target", two.node_names[1], "-c", "security.lxcfs=on")
    assert refused.returncode == 1 and "security.lxcfs=on" in refused.stderr
    two.ok("launch", "busybox", "on", "-c", "security.lxcfs=on")
    assert two.instance("on").node == two.node_names[0] and mounted(two, "on") == FILES


# ---------------------------------------------------------------- live moves


def test_live(two):
    """What it sees goes along, and so does what it has open."""
    guest = Guest(two, "m1", config=LIMIT)
    look = holder(two, "m1")
    for target in (1, 0, 1, 0):
        assert check(two, "m1", target) == (True, [])
        move(two, "m1", target)
        assert mounted(two, "m1") == FILES and memory(two, "m1") == MEMORY
        assert set(inside(two, "m1", look).split()) == FILES
        guest.check_passenger()
    # Nothing that is mounted inside gets out by them.
    inside(two, "m1", "mount -t tmpfs none /tmp; echo x > /tmp/x; mount -o bind /tmp/x /proc/meminfo")
    assert machine.run(*two.lxcfs[0].enter, "head", "-c8", f"{two.lxcfs[0].dir}/proc/meminfo").stdout == "MemTotal"


@pytest.mark.limit(240)
def test_live_with_services(two):
    """In a Debian some have mounts of their own, with copies of those files."""
    try:
        for i in range(2):
            testbed.ensure_image(two, "debian/12", node=i)
    except testbed.Unavailable as e:
        pytest.skip(str(e))
    two.ok("launch", "debian/12", "d1", "--target", two.node_names[0], *LIMIT)
    before = two.booted("d1")
    for target in (1, 0):
        assert check(two, "d1", target) == (True, [])
        move(two, "d1", target)
        assert memory(two, "d1") == MEMORY and two.booted("d1") == before


def test_live_to_a_node_without_and_back(two):
    """It is told of, and no reason not to go."""
    guest = Guest(two, "m1", config=LIMIT)
    look = holder(two, "m1")
    end(two, 1)
    possible, obstacles = check(two, "m1", 1)
    assert possible and [(o["code"], o["blocks"]) for o in obstacles] == [("lxcfs-missing", False)]
    assert two.node_names[1] in obstacles[0]["cause"] and "start lxcfs there" in obstacles[0]["cure"]
    for target in (1, 0, 1, 0):
        move(two, "m1", target)
        assert (memory(two, "m1") == MEMORY) == (target == 0)
        assert mounted(two, "m1") == (set() if target else FILES)
        assert set(inside(two, "m1", look).split()) == FILES
        guest.check_passenger()


def test_one_that_must_have_it_goes_to_no_other(two):
    Guest(two, "m1", config=(*LIMIT, "-c", "security.lxcfs=on"))
    end(two, 1)
    for live in ("required", "off"):
        refused = two.cli("move", "m1", "--target", two.node_names[1], f"--live={live}")
        assert refused.returncode == 1 and "security.lxcfs" in refused.stderr
    assert two.instance("m1").node == two.node_names[0] and memory(two, "m1") == MEMORY


# ---------------------------------------------------------------- lxcfs ends


def test_one_that_ends(two):
    """Guests that have its files are told of; starts and moves go on."""
    guest = Guest(two, "m1", config=LIMIT)
    two.ok("launch", "busybox", "on", "--target", two.node_names[0], "-c", "security.lxcfs=on")
    two.ok("launch", "busybox", "off", "--target", two.node_names[0], "-c", "security.lxcfs=off")
    holder(two, "m1")
    two.lxcfs[0].kill()
    said(two, 0, "has ended")
    assert "lxcfs has ended" in two.cli("node", "show", two.node_names[0]).stderr
    for name in ("m1", "on"):
        found = wait_for(lambda n=name: warning(two, n), 10)
        assert found["status"] == "new" and "lxcfs of its node has ended" in found["message"]
    assert not warning(two, "off")
    # A start: without it, or refused with the cause.
    two.ok("launch", "busybox", "new", "--target", two.node_names[0], *LIMIT)
    assert not mounted(two, "new")
    refused = two.cli("restart", "on", "--force")
    assert refused.returncode == 1 and "lxcfs has ended" in refused.stderr and "security.lxcfs=auto" in refused.stderr
    # What is open can be read no more: that cannot be carried. All else can, and is well again there.
    possible, obstacles = check(two, "m1", 1)
    assert not possible and {o["code"] for o in obstacles} == {"lxcfs"}
    assert "sleep" in str(obstacles[0]) and "Restart it" in obstacles[0]["cure"]
    inside(two, "m1", "killall sleep")
    move(two, "m1", 1)
    assert memory(two, "m1") == MEMORY
    guest.check_passenger()
    wait_for(lambda: warning(two, "m1")["status"] == "resolved", 10)
    # A new one serves whoever starts from now on.
    two.lxcfs[0].end()
    two.lxcfs[0].start()
    two.ok("start", "on")
    assert mounted(two, "on") == FILES
    wait_for(lambda: warning(two, "on")["status"] == "resolved", 10)


def test_one_that_stands_still(two):
    """Nothing waits for it."""
    two.ok("launch", "busybox", "m1", "--target", two.node_names[0], *LIMIT)
    two.lxcfs[0].send(signal.SIGSTOP)
    said(two, 0, "does not answer")
    possible, obstacles = check(two, "m1", 1)
    assert not possible and "lxcfs" in {o["code"] for o in obstacles}
    two.ok("launch", "busybox", "new", "--target", two.node_names[0], *LIMIT)
    assert not mounted(two, "new")
    two.lxcfs[0].send(signal.SIGCONT)
    said(two, 0, "yes")
    assert check(two, "m1", 1) == (True, [])
    assert memory(two, "m1") == MEMORY
