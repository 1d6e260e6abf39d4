"""The size of a root disk: counted and held to by the file system the agent's state is on.

On btrfs here, with real guests; what is the same on ext4 and xfs is checked on Debian's kernel
(tests/vm/checks/disk.py), and each back end by itself in tests/unit/test_worker_quota.c.
"""

import os
import subprocess

import pytest

import filedisk
import testbed
from instance.devicelab import refused
from machine import wait_for

MIB = 1 << 20


def start(*kinds):
    try:
        return testbed.Cluster("disk", nodes=len(kinds), disks=kinds).__enter__()
    except filedisk.Unavailable as e:
        pytest.skip(str(e))


@pytest.fixture(scope="module")
def disks(able):
    """Three nodes: two whose disks have quotas, and one that has none."""
    cluster = start("btrfs", "btrfs", "btrfs-no-quota")
    with_error = True
    try:
        testbed.ensure_image(cluster, "busybox")
        yield cluster
        with_error = False
    finally:
        cluster.stop(quiet=with_error)


@pytest.fixture
def cluster(disks):
    yield disks
    for agent in disks.agents:
        if not agent.pid:
            disks.restart(disks.agents.index(agent))
    disks.remove_instances()
    disks.wait_clean()


def root(size):
    return ("-d", f"root,type=disk,path=/,size={size}")


def launch(cluster, name, size=None, node=0):
    cluster.ok("launch", "busybox", name, "--target", cluster.node_names[node], *(root(size) if size else ()))


def fill(cluster, name, megabytes, file="/root/filler"):
    """Not with zeros: they become holes when it moves."""
    return cluster.exec(name, "sh", "-c", f"dd if=/dev/urandom of={file} bs=1M count={megabytes} conv=fsync")


def full(cluster, name, megabytes=200):
    done = fill(cluster, name, megabytes, "/root/overflow")
    assert done.returncode != 0 and "quota" in done.stderr.lower(), done
    cluster.exec(name, "rm", "-f", "/root/overflow")


def sync(cluster, node=0):
    """An account on btrfs is right once it has been written back."""
    subprocess.run(["sync", "-f", cluster.agents[node].dir], check=True)


def usage(cluster, name, what, node=0):
    """As the kernel has it once what is written has reached the disk, and the agent has told."""
    sync(cluster, node)
    return cluster.list()[name].get(what, 0)


def qgroups(cluster, node=0):
    """Numbers of those of subvolumes, the file system's own aside."""
    done = subprocess.run(["btrfs", "qgroup", "show", "--raw", cluster.agents[node].dir], capture_output=True, text=True,
                          check=True)
    return {line.split()[0] for line in done.stdout.splitlines() if line.startswith("0/")} - {"0/5"}


def subvolumes(cluster, node=0):
    done = subprocess.run(["btrfs", "subvolume", "list", cluster.agents[node].dir], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


# ---------------------------------------------------------------- the limit


def test_a_guest_is_held_to_its_size(cluster):
    launch(cluster, "c1", "64MiB")
    launch(cluster, "c2")
    assert fill(cluster, "c1", 20).returncode == 0
    full(cluster, "c1")
    # It has filled its own, and nobody else's.
    assert fill(cluster, "c2", 100).returncode == 0
    wait_for(lambda: usage(cluster, "c1", "disk") > 20 * MIB, 30)
    info = cluster.list()["c1"]
    assert info["disk"] <= 65 * MIB and info["disk_limit"] == 64 * MIB, info
    wait_for(lambda: usage(cluster, "c2", "disk") > 100 * MIB, 30)
    assert not cluster.list()["c2"]["disk_limit"]
    assert " of 64MiB" in cluster.ok("info", "c1") and "over the image" in cluster.ok("info", "c2")


def test_a_change_acts_at_once(cluster):
    launch(cluster, "c1", "64MiB")
    full(cluster, "c1", 100)
    done = cluster.cli("config", "device", "set", "c1", "root", "size=200MiB", check=True)
    assert "restart" not in done.stderr
    assert fill(cluster, "c1", 100).returncode == 0
    # Less than what is taken: with the numbers, and nothing has changed.
    refused(cluster.cli("config", "device", "set", "c1", "root", "size=64MiB"), "c1 has 10", "a size of 64MiB is less",
            "remove files")
    assert "200MiB" in cluster.ok("config", "device", "show", "c1")
    cluster.ok("exec", "c1", "--", "rm", "/root/filler")
    cluster.ok("config", "device", "set", "c1", "root", "size=64MiB")
    full(cluster, "c1", 100)
    cluster.ok("config", "device", "unset", "c1", "root", "size")
    assert fill(cluster, "c1", 100).returncode == 0


def test_a_size_is_checked(cluster):
    for wrong in ("1MiB", "lots", "-5"):
        refused(cluster.cli("launch", "busybox", "c1", *root(wrong)), "size" if wrong != "1MiB" else "too small")
    refused(cluster.cli("launch", "busybox", "c1", "-c", "security.privileged=true", *root("64MiB")), "privileged",
            "Launch it unprivileged")
    assert cluster.list() == {}


def reboot(cluster, name):
    was = cluster.list()[name]["pid"]
    cluster.exec(name, "reboot")
    wait_for(lambda: cluster.list()[name]["pid"] not in (0, was) and cluster.exec(name, "true").returncode == 0, 30, 0.1)


def test_in_a_profile(cluster):
    """One size for many, at once: who has more already writes no more until it has less."""
    cluster.ok("profile", "create", "sized")
    cluster.ok("profile", "device", "add", "sized", "root", "disk", "path=/", "size=100MiB")
    try:
        for name in ("c1", "c2"):
            cluster.ok("launch", "busybox", name, "-p", "default", "-p", "sized", "--target", cluster.node_names[0])
        assert fill(cluster, "c1", 70).returncode == 0
        said = cluster.cli("profile", "device", "set", "sized", "root", "size=40MiB")
        assert "needs a restart" not in said.stderr, said
        for _ in range(2):
            full(cluster, "c2", 60)
            full(cluster, "c1", 5)
            cluster.ok("restart", "c1", "--force")
        assert cluster.exec("c1", "rm", "/root/filler").returncode == 0
        sync(cluster)
        assert fill(cluster, "c1", 20).returncode == 0
        full(cluster, "c1", 60)

        # Where nothing holds to it: not now, and no start without it.
        cluster.ok("profile", "device", "unset", "sized", "root", "size")
        cluster.ok("launch", "busybox", "c3", "-p", "default", "-p", "sized", "--target", cluster.node_names[2])
        said = cluster.cli("profile", "device", "set", "sized", "root", "size=80MiB")
        assert "c3 needs a restart" in said.stderr, said
        assert fill(cluster, "c3", 90).returncode == 0
        refused(cluster.cli("restart", "c3", "--force"), "no quotas switched on", "btrfs quota enable")
        assert cluster.status("c3") != "RUNNING"
        subprocess.run(["btrfs", "quota", "enable", cluster.agents[2].dir], check=True)
        refused(cluster.cli("start", "c3"), "after it was created", "lxmgr move c3")
        subprocess.run(["btrfs", "quota", "disable", cluster.agents[2].dir], check=True)
        cluster.ok("profile", "device", "unset", "sized", "root", "size")
        cluster.ok("start", "c3")
    finally:
        cluster.remove_instances()
        cluster.ok("profile", "delete", "sized")


def test_it_holds_over_restarts(cluster):
    launch(cluster, "c1", "64MiB")
    for how in (lambda: cluster.ok("restart", "c1", "--force"), lambda: cluster.restart(0),
                lambda: reboot(cluster, "c1"),
                lambda: (cluster.ok("stop", "c1", "--force"),
                         cluster.ok("config", "device", "set", "c1", "root", "size=80MiB"), cluster.ok("start", "c1"))):
        how()
        full(cluster, "c1", 100)
    assert fill(cluster, "c1", 50).returncode == 0


def test_stopped_and_full(cluster):
    """What fills its disk can still be stopped, configured and started."""
    launch(cluster, "c1", "64MiB")
    fill(cluster, "c1", 100)
    cluster.ok("config", "set", "c1", "limits.memory=100MiB")
    cluster.ok("restart", "c1", "--force")
    assert cluster.exec("c1", "rm", "/root/filler").returncode == 0
    assert fill(cluster, "c1", 20).returncode == 0


# ---------------------------------------------------------------- nodes that cannot


def test_a_node_without_quotas(cluster):
    able, unable = cluster.node_names[0], cluster.node_names[2]
    shown = cluster.ok("node", "show", unable)
    assert "btrfs quota enable" in shown and "no quotas" in shown
    assert '"disk-quota": "yes"' in cluster.ok("node", "show", able, "--format", "json")
    refused(cluster.cli("launch", "busybox", "c1", "--target", unable, *root("64MiB")), "cannot bound the size")
    explained = cluster.cli("launch", "busybox", "c1", "--dry-run", "--explain", *root("64MiB")).stdout
    assert [line for line in explained.splitlines() if line.startswith(unable) and "cannot bound" in line]

    # One without a size runs there, and is told why it cannot get one; nothing changes.
    launch(cluster, "c1", node=2)
    refused(cluster.cli("config", "device", "override", "c1", "root", "size=64MiB"), "no quotas switched on", "btrfs quota enable")
    assert "64MiB" not in cluster.ok("config", "device", "show", "c1")
    assert "disk" not in cluster.list()["c1"] or not cluster.list()["c1"]["disk"]

    # Elsewhere it can have one.
    cluster.ok("move", "c1", "--target", able, "--live=required", timeout=100)
    cluster.ok("config", "device", "override", "c1", "root", "size=64MiB")
    full(cluster, "c1", 100)

    # Nor does one come there that has a size.
    launch(cluster, "c2", "64MiB")
    done = cluster.cli("move", "c2", "--target", unable)
    assert done.returncode != 0 and "no quotas switched on" in done.stdout + done.stderr, done
    assert cluster.list()["c2"]["node"] == able and cluster.status("c2") == "RUNNING"


def test_sizes_are_promised(cluster):
    """The sizes of all on a node add up to no more than its disk."""
    cluster.ok("launch", "busybox", "c1", "--target", cluster.node_names[0], *root("3GiB"))
    cluster.ok("launch", "busybox", "c2", *root("3GiB"))
    assert cluster.list()["c2"]["node"] == cluster.node_names[1]
    refused(cluster.cli("launch", "busybox", "c3", *root("3GiB")), "of disk not promised to others, 3GiB is asked for")


# ---------------------------------------------------------------- moves


@pytest.mark.parametrize("how", ["live", "cold"])
def test_it_goes_along(cluster, how):
    launch(cluster, "c1", "64MiB")
    assert fill(cluster, "c1", 20).returncode == 0
    if how == "cold":
        cluster.ok("stop", "c1", "--force")
    cluster.ok("move", "c1", "--target", cluster.node_names[1], *(["--live=required"] if how == "live" else []), timeout=100)
    if how == "cold":
        cluster.ok("start", "c1")
    full(cluster, "c1", 100)
    wait_for(lambda: usage(cluster, "c1", "disk", 1) > 20 * MIB, 30)
    assert cluster.list()["c1"]["disk_limit"] == 64 * MIB
    wait_for(lambda: not subvolumes(cluster, 0), 10)
    cluster.ok("move", "c1", "--target", cluster.node_names[0], *(["--live=required"] if how == "live" else []), timeout=100)
    full(cluster, "c1", 100)


def test_no_room_where_it_goes(cluster):
    """Nothing is touched: neither here nor there."""
    launch(cluster, "c1", "400MiB")
    assert fill(cluster, "c1", 200).returncode == 0
    wait_for(lambda: usage(cluster, "c1", "disk") > 200 * MIB, 30)
    there = cluster.agents[1].dir
    fs = os.statvfs(there)
    with open(f"{there}/ballast", "wb") as f:
        os.posix_fallocate(f.fileno(), 0, fs.f_bavail * fs.f_frsize - 100 * MIB)
        os.fsync(f.fileno())  # only then statfs knows
    try:
        for how in ("--live=required", "--live=off"):
            done = cluster.cli("move", "c1", "--target", cluster.node_names[1], how)
            assert done.returncode != 0 and "of disk free, the files of c1 take 20" in done.stdout + done.stderr, done
            assert cluster.status("c1") == "RUNNING" and not os.path.exists(f"{there}/instances/c1")
    finally:
        os.unlink(f"{there}/ballast")
    assert cluster.list()["c1"]["node"] == cluster.node_names[0]


# ---------------------------------------------------------------- what is left


def test_nothing_is_left(cluster):
    before = qgroups(cluster)
    launch(cluster, "c1", "64MiB")
    launch(cluster, "c2")
    assert len(subvolumes(cluster)) == 2 and len(qgroups(cluster)) >= 2
    cluster.ok("delete", "c1", "c2", "--force")
    assert not subvolumes(cluster)
    # The kernel removes a subvolume's account itself when that has been cleaned away.
    wait_for(lambda: sync(cluster) or qgroups(cluster) <= before, 60, 0.5)


def test_swept_after_a_kill(cluster):
    """A creation and a deletion that were cut short: the agent removes what is left when it starts."""
    launch(cluster, "c1", "64MiB")
    instances = os.path.join(cluster.agents[0].dir, "instances")
    cluster.ok("stop", "c1", "--force")
    cluster.kill(0)
    os.rename(f"{instances}/c1", f"{instances}/.deleting-c1-0")
    os.makedirs(f"{instances}/half")
    subprocess.run(["btrfs", "subvolume", "create", f"{instances}/half/disk"], check=True, capture_output=True)
    os.makedirs(f"{instances}/half/disk/upper/etc")
    # One whose subvolume had gone already: the record says which account was its.
    done = subprocess.run(["btrfs", "subvolume", "create", f"{instances}/gone"], check=True, capture_output=True)
    number = os.stat(f"{instances}/gone").st_ino and subvolumes(cluster)[-1].split()[1]
    subprocess.run(["btrfs", "subvolume", "delete", "-c", f"{instances}/gone"], check=True, capture_output=True)
    os.makedirs(f"{instances}/.deleting-gone-0")
    with open(f"{instances}/.deleting-gone-0/qgroup", "w", encoding="ascii") as f:
        f.write(f"{number}\n")
    assert done.returncode == 0
    cluster.restart(0)
    wait_for(lambda: os.listdir(instances) == [], 20)
    assert not subvolumes(cluster)
    wait_for(lambda: sync(cluster) or f"0/{number}" not in qgroups(cluster), 60, 0.5)
