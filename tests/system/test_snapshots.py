"""Snapshots of instances: taken while they run, restored, carried along, and what comes in between.

With real guests on a cluster of two nodes; disks that fill up and sizes are tried on a disk of their own.
"""

import glob
import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import uuid

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "testbed"))
import filedisk  # noqa: E402
import moving  # noqa: E402
import striking  # noqa: E402
import testbed  # noqa: E402
from instance.devicelab import disk, inside, make_private, refused  # noqa: E402
from machine import wait_for  # noqa: E402
from manager.accesslab import Client  # noqa: E402


CLUSTER = "snap"  # of two nodes: conftest.py


@pytest.fixture
def two(whole):
    for daemon in (whole.manager, *whole.agents):
        daemon.begin_log()
    yield whole
    striking.mend_all(whole)
    whole.wait_idle()
    whole.remove_instances()
    moving.wait_clean(whole)
    assert not [p for a in whole.agents for p in os.listdir(f"{a.dir}/instances")]


# ---------------------------------------------------------------- looking


def root_of(cluster, name):
    return f"/proc/{cluster.instance(name).pid}/root"


def describe(path):
    st = os.lstat(path)
    names = [n for n in os.listxattr(path, follow_symlinks=False)]
    what = [stat.S_IFMT(st.st_mode), stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid, st.st_rdev,
            {n: os.getxattr(path, n, follow_symlinks=False) for n in names}]
    if stat.S_ISREG(st.st_mode):
        with open(path, "rb") as f:
            what += [st.st_size, st.st_mtime_ns, st.st_nlink, hashlib.sha256(f.read()).hexdigest()]
    elif stat.S_ISLNK(st.st_mode):
        what.append(os.readlink(path))
    return what


def tree(cluster, name, *tops):
    """What a guest has below these directories, as the machine's root sees it."""
    found, root = {}, root_of(cluster, name)
    for top in tops:
        for where, dirs, files in os.walk(root + top):
            for entry in [where, *(os.path.join(where, e) for e in [*dirs, *files])]:
                found[entry[len(root):]] = describe(entry)
    return found


def several_names(cluster, name):
    """Two names in the image of one file, or None."""
    seen, root = {}, root_of(cluster, name)
    for where, _, files in os.walk(root + "/bin"):
        for f in sorted(files):
            st = os.lstat(os.path.join(where, f))
            if stat.S_ISREG(st.st_mode) and st.st_nlink > 1:
                if st.st_ino in seen:
                    return seen[st.st_ino], f"/bin/{f}"
                seen[st.st_ino] = f"/bin/{f}"
    return None


def snapshots(cluster, name):
    return [s["name"] for s in json.loads(cluster.ok("snapshot", "list", name, "--format", "json"))]


def directory(cluster, name, i=0):
    return f"{cluster.agents[i].dir}/instances/{name}"


def nothing_begun(cluster, name, i=0):
    where = directory(cluster, name, i)
    left = glob.glob(f"{where}/snapshots/.*") + glob.glob(f"{where}/restore.*") + glob.glob(f"{where}/disk/restore.*")
    assert left == [], left


def launch(cluster, name, node=0, *more):
    cluster.ok("launch", "busybox", name, "--target", cluster.node_names[node], *more)


FILES = """
mkdir -p /root/t/sub && cd /root/t
echo one > a; ln a b; ln a sub/c; ln -s a link; ln -s /nowhere dangling; mkfifo fifo
dd if=/dev/urandom of=random bs=1000 count=37 2>/dev/null; dd if=/dev/zero of=sparse bs=1 count=1 seek=5000000 2>/dev/null
chmod 4755 random; chown 7:8 a; touch -d '2001-02-03 04:05:06' b
rm /etc/passwd-; rm /etc/group; mv /etc/hosts /etc/hosts.old
rm -rf /usr/share; mkdir /usr/share; echo new > /usr/share/new; mv /srv /root/t/srv
sync
"""


def test_everything_is_as_it_was(two):
    """Files of every kind, links, attributes, what was removed of the image and what hides it; the name list."""
    launch(two, "c1")
    inside(two, "c1", FILES)
    root = root_of(two, "c1")
    os.setxattr(f"{root}/root/t/a", "user.note", b"kept")
    os.setxattr(f"{root}/root/t", "trusted.note", b"kept too")
    names = several_names(two, "c1")
    if names:
        inside(two, "c1", f"chmod 0751 {names[0]}")
    tops = ("/root", "/usr", "/etc", "/bin", "/sbin")
    before = tree(two, "c1", *tops)
    assert "/etc/group" not in before and before["/root/t/a"][8] == 3

    assert two.ok("snapshot", "create", "c1", "-q") == "snap0\n"
    assert tree(two, "c1", *tops) == before
    inside(two, "c1", "cd /root/t; rm -r a srv sub/c; echo x >> b; mkdir a; rm /usr/share/new; rmdir /usr/share;"
                      "echo back > /etc/group; rm -rf /root/t/fifo; truncate -s 0 random; mv link moved; rm -rf /home")
    if names:
        inside(two, "c1", f"chmod 0700 {names[1]}")
    assert tree(two, "c1", *tops) != before
    for _ in range(2):  # a snapshot is not used up
        two.ok("snapshot", "restore", "c1", "snap0")
        assert two.status("c1") == "RUNNING"
        assert tree(two, "c1", *tops) == before
    assert os.stat(f"{root_of(two, 'c1')}/root/t/sparse").st_blocks < 64
    nothing_begun(two, "c1")

    two.ok("stop", "--force", "c1")
    assert two.ok("snapshot", "create", "c1", "-q") == "snap1\n"
    two.ok("start", "c1")
    inside(two, "c1", "rm -rf /root/t")
    two.ok("stop", "--force", "c1")
    two.ok("snapshot", "restore", "c1", "snap1")
    assert two.status("c1") == "STOPPED"
    two.ok("start", "c1")
    assert tree(two, "c1", *tops) == before


def test_it_is_of_one_moment_and_the_guest_runs_on(two):
    """A file that is always written after another one is never newer, nor by more than one write older."""
    launch(two, "c1")
    inside(two, "c1", "cd /root; (i=0; while :; do i=$((i+1)); echo $i > n; mv n first; echo $i > n; mv n second; done)"
                      " >/dev/null 2>&1 & sleep 0.2")
    pid, processes = two.instance("c1").pid, set(moving.processes(two, "c1", 0))
    for n in range(3):
        two.ok("snapshot", "create", "c1")
        upper = f"{directory(two, 'c1')}/snapshots/snap{n}/upper/root"
        with open(f"{upper}/first", encoding="ascii") as a, open(f"{upper}/second", encoding="ascii") as b:
            first, second = int(a.read()), int(b.read())
        assert first - second in (0, 1), (first, second)
    assert two.instance("c1").pid == pid and not moving.frozen(moving_guest(two, "c1"), 0)
    assert processes & set(moving.processes(two, "c1", 0))
    before = int(inside(two, "c1", "cat /root/first"))
    wait_for(lambda: int(inside(two, "c1", "cat /root/first") or 0) > before, 5, why="it writes on")
    # One that somebody has frozen stays so.
    two.ok("freeze", "c1")
    two.ok("snapshot", "create", "c1", "frozen")
    assert two.status("c1") == "FROZEN" and moving.frozen(moving_guest(two, "c1"), 0)
    two.ok("unfreeze", "c1")


def moving_guest(cluster, name):
    guest = moving.Guest.__new__(moving.Guest)
    guest.cluster, guest.name = cluster, name
    return guest


def test_configuration_comes_back(two):
    two.ok("profile", "create", "mine", "user.from=mine")
    launch(two, "c1", 0, "-p", "default", "-p", "mine", "-c", "user.a=1", "-c", "limits.processes=100")
    try:
        two.ok("snapshot", "create", "c1", "good", "--description", "all well")
        shown = json.loads(two.ok("snapshot", "show", "c1", "good", "--format", "json"))
        assert (shown["config"], shown["profiles"]) == ({"user.a": "1", "limits.processes": "100"}, ["default", "mine"])
        assert (shown["description"], shown["instance"], shown["project"]) == ("all well", "c1", "default")
        assert shown["size"] > 0 and "good" in two.ok("info", "c1")
        address = two.list()["c1"]["ipv4"]

        two.ok("config", "set", "c1", "user.a=2", "user.b=3", "limits.processes=50")
        two.ok("config", "device", "add", "c1", "m", "disk", "source=tmpfs:", "path=/m", "size=1MiB")
        two.ok("profile", "remove", "c1", "mine")
        two.ok("snapshot", "restore", "c1", "good")
        info = json.loads(two.ok("info", "c1", "--format", "json"))
        assert (info["config"], info["devices"]) == ({"user.a": "1", "limits.processes": "100"}, {})
        assert info["profiles"] == ["default", "mine"] and info["expanded_config"]["user.from"] == "mine"
        assert info["ipv4"] == address and [s["name"] for s in info["snapshots"]] == ["good"]
        # The node has it as well: it acts.
        assert "/m " not in inside(two, "c1", "cat /proc/mounts")
        limit = glob.glob(f"{moving.machine.CGROUPS}/**/{two.agents[0].cgroup_root}/c1/payload/pids.max", recursive=True)
        assert [open(p, encoding="ascii").read() for p in limit] == ["100\n"]

        # What it cannot be any more it does not become, and nothing is stopped for that.
        two.ok("profile", "remove", "c1", "mine")
        two.ok("profile", "delete", "mine")
        pid = two.instance("c1").pid
        done = two.cli("snapshot", "restore", "c1", "good")
        assert done.returncode == 1 and "mine" in done.stderr and two.instance("c1").pid == pid
    finally:
        two.cli("delete", "--force", "c1")
        two.cli("profile", "delete", "mine")


def test_what_is_refused(two):
    launch(two, "c1", 0, "-c", "snapshots.max=2")
    two.ok("snapshot", "create", "c1", "one")
    refused(two.cli("snapshot", "create", "c1", "one"), "already")
    for name in ("Bad", "a_b", "../x", ".work", "-x", "x" * 64):
        refused(two.cli("snapshot", "create", "--", "c1", name), "snapshot")
    refused(two.cli("snapshot", "create", "nobody"), "nobody")
    refused(two.cli("snapshot", "list", "nobody"), "nobody")
    for verb in (["show"], ["restore"], ["delete"]):
        refused(two.cli("snapshot", *verb, "c1", "none"), "none", "lxmgr snapshot list c1")
    refused(two.cli("snapshot", "delete", "c1", "one", "none"), "none")
    refused(two.cli("snapshot", "rename", "c1", "one", "Two"), "Two")
    done = two.cli("snapshot", "create", "c1", "two", "--description", "x" * 1025)
    assert done.returncode == 1 and "1024" in done.stderr
    two.ok("snapshot", "rename", "c1", "one", "two")
    refused(two.cli("snapshot", "restore", "c1", "one"), "one")
    two.ok("snapshot", "create", "c1")
    refused(two.cli("snapshot", "create", "c1"), "snapshots.max")
    assert snapshots(two, "c1") == ["two", "snap0"]
    assert two.cli("snapshot", "create").returncode == 2
    two.ok("snapshot", "delete", "c1", "two", "snap0")
    assert snapshots(two, "c1") == [] and sorted(os.listdir(f"{directory(two, 'c1')}/snapshots")) == []


def test_who_may(two):
    """Viewers look, operators do; what only an admin gives an instance comes back by an admin alone."""
    private = make_private(two)
    viewer, operator = (Client(two, f"{r}-{uuid.uuid4().hex[:6]}", r) for r in ("viewer", "operator"))
    launch(two, "c1", 0, *disk("data", private, "/data"))
    done = operator.cli("snapshot", "create", "c1", "s")
    assert done.returncode == 0, done
    assert '"s"' in viewer.cli("snapshot", "list", "c1", "--format", "json").stdout
    for command in (["create", "c1"], ["restore", "c1", "s"], ["delete", "c1", "s"], ["rename", "c1", "s", "t"]):
        assert "needs the role operator" in viewer.cli("snapshot", *command).stderr
    two.ok("config", "device", "remove", "c1", "data")
    refused(operator.cli("snapshot", "restore", "c1", "s"), "needs the role admin")
    two.ok("snapshot", "restore", "c1", "s")
    assert "/data " in inside(two, "c1", "cat /proc/mounts")
    # Another project knows nothing of it.
    two.ok("project", "create", "shop")
    refused(two.cli("--project", "shop", "snapshot", "list", "c1"), "c1")
    two.ok("project", "delete", "shop")
    rows = json.loads(two.ok("audit", "--method", "SnapshotService", "--format", "json"))
    assert {(r["subject"], r["method"]) for r in rows} >= {("c1", "SnapshotService/Create"), ("c1", "SnapshotService/Restore")}


# ---------------------------------------------------------------- moves


@pytest.mark.limit(180)
def test_they_go_along(two):
    """Live, cold, near-live; each time restored where it is then. Nothing of them stays behind."""
    guest = moving.Guest(two, "m1")
    inside(two, "m1", FILES)
    two.ok("snapshot", "create", "m1", "before")
    before = tree(two, "m1", "/root/t", "/usr", "/etc")
    inside(two, "m1", "rm -rf /root/t /usr/share; echo x > /etc/group")
    two.ok("snapshot", "create", "m1", "after")

    op = moving.move(two, "m1", 1)
    assert op.status == two.api.pb.OPERATION_STATUS_SUCCESS, op.error
    guest.check_passenger()
    assert op.move.snapshots == 2 and op.move.bytes_raw >= op.move.snapshot_bytes > 30000
    assert snapshots(two, "m1") == ["before", "after"] and not os.path.exists(directory(two, "m1", 0))
    nothing_begun(two, "m1", 1)
    two.ok("snapshot", "restore", "m1", "before")
    assert tree(two, "m1", "/root/t", "/usr", "/etc") == before

    guest.board()
    op = moving.move(two, "m1", 0, live=two.api.pb.LIVE_MODE_OFF)
    assert op.status == two.api.pb.OPERATION_STATUS_SUCCESS, op.error
    assert tree(two, "m1", "/root/t", "/usr", "/etc") == before
    two.ok("snapshot", "restore", "m1", "after")
    assert inside(two, "m1", "ls /root/t /usr/share 2>/dev/null; cat /etc/group") == "x\n"

    two.ok("stop", "--force", "m1")
    op = moving.move(two, "m1", 1)
    assert op.status == two.api.pb.OPERATION_STATUS_SUCCESS, op.error
    two.ok("snapshot", "restore", "m1", "before")
    two.ok("start", "m1")
    assert tree(two, "m1", "/root/t", "/usr", "/etc") == before
    two.ok("delete", "--force", "m1")
    assert not os.path.exists(directory(two, "m1", 1))


def test_a_move_that_fails_leaves_them(two):
    launch(two, "c1")
    inside(two, "c1", "dd if=/dev/urandom of=/root/big bs=1M count=80 2>/dev/null; echo kept > /root/note")
    two.ok("snapshot", "create", "c1")
    inside(two, "c1", "rm /root/big /root/note")
    ident = two.api.instances.Move(moving.request(two, "c1", 1)).id
    wait_for(lambda: os.path.exists(f"{directory(two, 'c1', 1)}/snapshots/.work"), 20, 0.001, "the snapshot is on its way")
    # Only one at a time has it in hand.
    refused(two.cli("snapshot", "create", "c1"), "busy")
    assert striking.strike_worker(two, 1)
    assert moving.ended(two, ident).status == two.api.pb.OPERATION_STATUS_FAILURE
    wait_for(lambda: not os.path.exists(directory(two, "c1", 1)), 10, why="nothing of it is there")
    two.ok("snapshot", "restore", "c1", "snap0")
    assert inside(two, "c1", "cat /root/note") == "kept\n"


# ---------------------------------------------------------------- what is killed


def begin(cluster, *command):
    return cluster.ok("snapshot", *command, "--no-wait").split()[-1]


def strike(cluster, who):
    """At the node's worker, its agent with the worker, or the manager; what was killed is there again afterwards."""
    if who == "worker":
        assert striking.strike_worker(cluster, 0)
        return
    cluster.kill("manager" if who == "manager" else 0)
    if who == "agent":
        striking.strike_worker(cluster, 0)
    striking.mend_all(cluster)


BIG = "dd if=/dev/urandom of=/root/big bs=1M count=70 2>/dev/null"


@pytest.mark.limit(180)
@pytest.mark.parametrize("what", ["worker", "worker, frozen", "agent", "agent, frozen", "manager"])
def test_killed_while_one_is_taken(two, what):
    launch(two, "c1")
    inside(two, "c1", BIG)
    # So that much is left for when it stands still.
    inside(two, "c1", "(while :; do dd if=/dev/zero of=/root/big bs=1M count=70 conv=notrunc; dd if=/dev/urandom of=/root/big"
                      " bs=1M count=40 conv=notrunc; done) >/dev/null 2>&1 &")
    who, _, when = what.partition(", ")
    ident = begin(two, "create", "c1")
    mark = f"{directory(two, 'c1')}/snapshots/.work" + ("/frozen" if when else "")
    wait_for(lambda: os.path.exists(mark), 20, 0.0005, "it has begun")
    strike(two, who)
    op = moving.ended(two, ident)
    if who == "worker":
        assert op.status == two.api.pb.OPERATION_STATUS_FAILURE and snapshots(two, "c1") == []
    else:
        assert op.status == two.api.pb.OPERATION_STATUS_SUCCESS, op.error
        assert snapshots(two, "c1") == ["snap0"]
    assert two.status("c1") == "RUNNING" and not moving.frozen(moving_guest(two, "c1"), 0)
    assert inside(two, "c1", "echo well") == "well\n"
    nothing_begun(two, "c1")
    on_disk = os.path.isdir(f"{directory(two, 'c1')}/snapshots/snap0")
    assert on_disk == (who != "worker")


@pytest.mark.limit(180)
@pytest.mark.parametrize("who", ["worker", "agent", "manager"])
def test_killed_while_one_is_restored(two, who):
    launch(two, "c1")
    inside(two, "c1", BIG + "; echo old > /root/note; rm /etc/group; sync")
    two.ok("snapshot", "create", "c1")
    inside(two, "c1", "echo new > /root/note; rm /root/big")
    ident = begin(two, "restore", "c1", "snap0")
    wait_for(lambda: os.path.exists(f"{directory(two, 'c1')}/restore.making"), 20, 0.0005, "it has begun")
    strike(two, who)
    op = moving.ended(two, ident)
    wait_for(lambda: two.status("c1") == "RUNNING", 10, why=f"it runs again: {op.error}")
    if who == "worker":
        assert op.status == two.api.pb.OPERATION_STATUS_FAILURE
        assert inside(two, "c1", "cat /root/note") == "new\n"
    else:
        assert op.status == two.api.pb.OPERATION_STATUS_SUCCESS, op.error
        assert inside(two, "c1", "cat /root/note; ls /etc/group 2>/dev/null; wc -c < /root/big") == f"old\n{70 << 20}\n"
    nothing_begun(two, "c1")
    assert snapshots(two, "c1") == ["snap0"]


def test_a_transfer_is_in_the_way(two, tmp_path):
    """What is pushed would go to the files that are taken away."""
    launch(two, "c1")
    two.ok("snapshot", "create", "c1")
    with open(tmp_path / "big", "wb") as f:
        f.truncate(2 << 30)
    push = two.popen("file", "push", f.name, "c1/root/big", "-q")
    wait_for(lambda: "lxmgr-push" in inside(two, "c1", "ls -A /root"), 20, why="the file is on its way")
    push.send_signal(signal.SIGSTOP)
    try:
        two.ok("stop", "--force", "c1")
        refused(two.cli("snapshot", "restore", "c1", "snap0"), "file transfers")
        nothing_begun(two, "c1")
    finally:
        push.kill()
        push.wait()
    wait_for(lambda: two.cli("snapshot", "restore", "c1", "snap0").returncode == 0, 20, 0.2, "nothing is in the way")


def test_nobody_else_gets_to_them(two):
    """Not the guest, whose files they are, nor a user of the machine."""
    launch(two, "c1")
    inside(two, "c1", "cp /bin/busybox /root/su; chmod 4755 /root/su")
    two.ok("snapshot", "create", "c1")
    where = f"{directory(two, 'c1')}/snapshots"
    st = os.stat(where)
    assert (st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)) == (0, 0, 0o700)
    assert os.stat(f"{where}/snap0/upper/root/su").st_mode & stat.S_ISUID
    assert where not in inside(two, "c1", "cat /proc/mounts; find / -xdev -name snapshots 2>/dev/null")


# ---------------------------------------------------------------- disks


@pytest.fixture(scope="module")
def small_whole(able):
    """A node whose disk has sizes, and not much room."""
    try:
        cluster = testbed.Cluster("snapdisk", disks=["btrfs"]).__enter__()
    except filedisk.Unavailable as e:
        pytest.skip(str(e))
    with_error = True
    try:
        testbed.ensure_image(cluster, "busybox")
        yield cluster
        with_error = False
    finally:
        cluster.stop(quiet=with_error)


@pytest.fixture
def small(small_whole):
    yield small_whole
    small_whole.remove_instances()
    small_whole.wait_clean()


def test_a_disk_that_is_full(small):
    """What is left belongs to the instances: nothing half-made stays, and it runs on."""
    ballast = f"{small.agent.dir}/ballast"
    small.ok("launch", "busybox", "c1", "-d", "root,type=disk,path=/,size=120MiB")
    inside(small, "c1", "dd if=/dev/urandom of=/root/big bs=1M count=60 2>/dev/null; echo old > /root/note; sync")
    small.ok("snapshot", "create", "c1")
    inside(small, "c1", "echo new > /root/note")
    os.sync()  # what the snapshot shares with the instance is free again
    fs = os.statvfs(small.agent.dir)
    with open(ballast, "wb") as f:
        os.posix_fallocate(f.fileno(), 0, fs.f_bavail * fs.f_frsize - fs.f_blocks * fs.f_frsize // 20 - (40 << 20))
    try:
        refused(small.cli("snapshot", "create", "c1"), "nearly full")
        refused(small.cli("snapshot", "restore", "c1", "snap0"), "nearly full")
        assert snapshots(small, "c1") == ["snap0"]
        nothing_begun(small, "c1")
        assert small.status("c1") == "RUNNING" and inside(small, "c1", "cat /root/note") == "new\n"
    finally:
        os.unlink(ballast)
    # Both at once are more than it may have; afterwards it is bounded as before.
    small.ok("snapshot", "restore", "c1", "snap0")
    assert inside(small, "c1", "cat /root/note; wc -c < /root/big") == f"old\n{60 << 20}\n"
    done = small.exec("c1", "dd", "if=/dev/urandom", "of=/root/more", "bs=1M", "count=90", "conv=fsync")
    assert done.returncode != 0 and "quota" in done.stderr.lower(), done


def test_equal_blocks_are_shared(small):
    """On btrfs a snapshot takes no room of its own until one of the two is written to; nor do restored files."""
    small.ok("launch", "busybox", "c1")
    inside(small, "c1", "dd if=/dev/urandom of=/root/big bs=1M count=20 2>/dev/null; sync")
    small.ok("snapshot", "create", "c1")
    where = directory(small, "c1")

    def shared(path):
        """Bytes of it that it has in common with another file."""
        out = subprocess.run(["filefrag", "-v", "-b1", path], capture_output=True, text=True, check=True).stdout
        return sum(int(line.split(":")[3]) for line in out.splitlines() if "shared" in line)

    assert shared(f"{where}/snapshots/snap0/upper/root/big") == 20 << 20
    kept = describe(f"{where}/snapshots/snap0/upper/root/big")
    inside(small, "c1", "dd if=/dev/urandom of=/root/big bs=1M count=20 conv=notrunc,fsync 2>/dev/null")
    os.sync()
    assert shared(f"{where}/snapshots/snap0/upper/root/big") == 0
    assert describe(f"{where}/snapshots/snap0/upper/root/big") == kept
    small.ok("snapshot", "restore", "c1", "snap0")
    assert shared(f"{where}/snapshots/snap0/upper/root/big") == 20 << 20
    assert describe(f"{root_of(small, 'c1')}/root/big")[-1] == kept[-1]


def test_a_projects_disk(small):
    """A snapshot counts against limits.disk of its project, as what the instance takes or may take."""
    small.ok("project", "create", "shop", "limits.disk=250MiB")
    shop = ("--project", "shop")
    small.ok(*shop, "launch", "busybox", "c1", "-d", "root,type=disk,path=/,size=200MiB")
    try:
        small.ok(*shop, "exec", "c1", "--", "dd", "if=/dev/urandom", "of=/root/f", "bs=1M", "count=60", "conv=fsync")
        os.sync()
        wait_for(lambda: json.loads(small.ok(*shop, "info", "c1", "--format", "json"))["disk"] > 50 << 20, 20, 0.2,
                 "what it takes is known")
        refused(small.cli(*shop, "snapshot", "create", "c1"), "limits.disk", "shop")
        small.ok("project", "set", "shop", "limits.disk=300MiB")
        small.ok(*shop, "snapshot", "create", "c1")
        refused(small.cli(*shop, "snapshot", "create", "c1"), "limits.disk")
        small.ok(*shop, "snapshot", "delete", "c1", "snap0")
        small.ok(*shop, "snapshot", "create", "c1")
    finally:
        small.cli(*shop, "delete", "--force", "c1")
        small.ok("project", "delete", "shop")
