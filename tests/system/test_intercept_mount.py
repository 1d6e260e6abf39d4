"""File systems on block devices that a node mounts in a guest's place: security.syscalls.intercept.mount.

With loop devices of this machine. What guests try with it is in test_attack_intercept_mount.py.
"""

import os
import signal
import subprocess
import uuid

import pytest

from instance.devicelab import inside, node, refused
from intercept.blockdev import Device, can_mount
from machine import wait_for
from manager.accesslab import Client
from test_intercept import CALLER, PREFIX, SECONDS, board, call, hire, init_begin, init_said, init_sh, kill_server, servers, sh


def launch(cluster, *devices, name="c1", allowed="ext4", more=()):
    """Devices are /dev/vda, /dev/vdb, and so on inside."""
    given = [x for i, d in enumerate(devices) for x in node(f"d{i}", "block", source=d.path, path=f"/dev/vd{chr(97 + i)}")]
    cluster.ok("launch", "busybox", name, "-c", f"{PREFIX}mount=true", "-c", f"{PREFIX}mount.allowed={allowed}", *given, *more)
    board(cluster, name)


def mount(cluster, source="/dev/vda", target="/mnt", kind="ext4", flags=0, data="", name="c1"):
    return call(cluster, name, "mount", source, target, kind, flags, data)


@pytest.fixture
def disk(cluster):
    with Device(cluster.dir, "ext4") as d:
        yield d
        cluster.remove_instances()


def options(cluster, target="/mnt", name="c1"):
    lines = [line.split() for line in inside(cluster, name, "cat /proc/mounts").splitlines()]
    [found] = [words for words in lines if words[1] == target]
    return found[0], found[2], set(found[3].split(","))


def test_read_and_write(cluster, disk):
    """As on a disk of its own: its ids, its name, and gone again when it unmounts it."""
    launch(cluster, disk)
    assert sh(cluster, "c1", "mount -t ext4 /dev/vda /mnt && echo kept > /mnt/file && chown 10:20 /mnt/file").returncode == 0
    name, kind, what = options(cluster)
    assert (name, kind) == ("/dev/vda", "ext4") and {"rw", "nosuid", "nodev"} <= what
    assert inside(cluster, "c1", "stat -c %u:%g /mnt /mnt/file").split() == ["0:0", "10:20"]
    assert disk.is_mounted() and mount(cluster) == "EBUSY"
    inside(cluster, "c1", "umount /mnt")
    assert not disk.is_mounted()
    # It has come to the disk, under the guest's own numbers.
    here = os.path.join(cluster.dir, f"look-{uuid.uuid4().hex[:6]}")
    os.mkdir(here)
    subprocess.run(["mount", "-o", "ro", disk.path, here], check=True)
    try:
        st = os.stat(os.path.join(here, "file"))
        assert (st.st_uid, st.st_gid, st.st_size) == (10, 20, 5)
    finally:
        subprocess.run(["umount", here], check=True)
    # What the kernel is asked for comes as it was asked for.
    assert mount(cluster, flags=1 | 8, data="commit=9") == "ok"  # read-only, no programs
    assert {"ro", "noexec", "commit=9"} <= options(cluster)[2]
    assert "Read-only" in sh(cluster, "c1", "echo > /mnt/new").stderr and inside(cluster, "c1", "cat /mnt/file") == "kept\n"
    assert "Intercepted: mount" in cluster.ok("info", "c1")
    cluster.ok("stop", "c1", "--force")
    wait_for(lambda: not disk.is_mounted(), SECONDS, 0.05, "it is unmounted with its guest")


@pytest.mark.parametrize("kind", ["xfs", "vfat", "squashfs"])
def test_other_file_systems(cluster, kind):
    if not can_mount(kind):
        pytest.skip(f"this machine's kernel has no {kind}")
    with Device(cluster.dir, kind) as d:
        launch(cluster, d, allowed="xfs vfat,squashfs")
        assert mount(cluster, kind=kind, flags=1 if kind == "squashfs" else 0) == "ok"
        if kind == "squashfs":
            assert inside(cluster, "c1", "cat /mnt/file; stat -c %u:%g /mnt/file") == "squashed\n0:0\n"
        else:
            assert inside(cluster, "c1", "echo there > /mnt/file; cat /mnt/file; stat -c %u:%g /mnt/file") == "there\n0:0\n"
        inside(cluster, "c1", "umount /mnt")
        cluster.remove_instances()
        assert not d.is_mounted()


def test_by_init_and_in_other_places(cluster, disk):
    launch(cluster, disk)
    hire(cluster)
    assert init_sh(cluster, "c1", f"{CALLER} mount /dev/vda /mnt ext4 0 ''; umount /mnt && echo gone") == "ok\ngone\n"
    # From a working directory, through links of its own, at a file, at nothing, below a root of its own.
    assert sh(cluster, "c1", "cd /dev && ln -s vda /dev/disk && mkdir /mnt/sub && cd /mnt && mount -t ext4 /dev/disk sub && umount sub"
              ).returncode == 0
    assert mount(cluster, target="/etc/passwd") == "ENOTDIR" and mount(cluster, target="/nothing") == "ENOENT"
    assert mount(cluster, source="/nothing") != "ok" and mount(cluster, source="/etc") != "ok"
    done = sh(cluster, "c1", f"mkdir -p /jail/dev /jail/mnt; cp {CALLER} /jail/caller; mount --rbind /dev /jail/dev;"
                             "chroot /jail /caller mount /dev/vda /mnt ext4 0 '' && grep -c /jail/mnt /proc/mounts && umount /jail/mnt")
    assert done.stdout == "ok\n1\n", done
    # In a mount namespace of its own it is nobody else's.
    done = sh(cluster, "c1", f"unshare -m sh -c '{CALLER} mount /dev/vda /mnt ext4 0 \"\" && grep -c \" /mnt \" /proc/mounts';"
                             "grep -c ' /mnt ' /proc/mounts")
    assert done.stdout.splitlines()[0] == "ok" and not disk.is_mounted() or done.stdout.split()[-1] == "1", done


def test_what_the_kernel_says_is_heard(cluster):
    """A disk without a file system, and one that is read-only."""
    with Device(cluster.dir) as empty, Device(cluster.dir, "ext4") as d:
        launch(cluster, empty, d)
        assert mount(cluster) == "EINVAL"
        subprocess.run(["blockdev", "--setro", d.path], check=True)
        try:
            assert mount(cluster, source="/dev/vdb") in ("EACCES", "EROFS")
            assert mount(cluster, source="/dev/vdb", flags=1) == "ok"
        finally:
            cluster.remove_instances()
            subprocess.run(["blockdev", "--setrw", d.path], check=True)


def test_agents_and_servers_come_and_go(cluster, disk):
    """What is mounted stays, without them; what is mounted later needs the one that mounts."""
    launch(cluster, disk)
    hire(cluster)
    assert mount(cluster) == "ok"
    inside(cluster, "c1", "echo kept > /mnt/file")
    cluster.kill("agent")
    kill_server(cluster)
    cluster.restart("agent")
    cluster.wait_online()
    wait_for(lambda: servers(cluster, "c1"), SECONDS, 0.05, "another one")
    assert inside(cluster, "c1", "cat /mnt/file && umount /mnt") == "kept\n" and not disk.is_mounted()
    # What the instance was started with holds, whatever its configuration says by now.
    cluster.ok("config", "set", "c1", f"{PREFIX}mount.allowed=xfs")
    assert init_sh(cluster, "c1", f"{CALLER} mount /dev/vda /mnt ext4 0 ''") == "ok\n"
    cluster.ok("restart", "c1", "--force")
    assert init_sh(cluster, "c1", f"{CALLER} mount /dev/vda /mnt ext4 0 ''") == "1\n" and not disk.is_mounted()


def test_one_that_is_killed_leaves_nothing(cluster, disk):
    """In the middle of mounts: what has not come to its place is gone, and what has is there once."""
    launch(cluster, disk)
    hire(cluster)
    runs = f"{CALLER} mountrace /dev/vda /dev/vda commit=9 4; umount /mnt; umount /mnt; grep -c ' /mnt ' /proc/mounts"
    init_begin(cluster, "c1", runs)
    for _ in range(3):
        wait_for(disk.is_mounted, SECONDS, 0.001, "it is mounted")
        [pid] = servers(cluster, "c1")
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda pid=pid: servers(cluster, "c1") not in ([], [pid]), SECONDS, 0.05, "another one")
    lines = init_said(cluster, seconds=30).splitlines()
    calls, made = map(int, lines[0].split())
    assert made > 3 and lines[-1] == "0", lines
    assert not disk.is_mounted()


# ---------------------------------------------------------------- what is refused


def test_keys(cluster):
    allowed = f"{PREFIX}mount.allowed"
    refused(cluster.cli("launch", "busybox", "c1", "-c", f"{PREFIX}mount=true"), allowed)
    for wrong, said in (("ext5", "Did you mean ext4?"), ("btrfs", "no file system that a node mounts"), ("tmpfs", "by itself"),
                        ("ext4,x\x01", "no file system"), ("ext4;xfs", "no file system")):
        refused(cluster.cli("launch", "busybox", "c1", "-c", f"{allowed}={wrong}"), said)
    refused(cluster.cli("launch", "busybox", "c1", "-p", "default", "-p", "privileged", "-c", f"{PREFIX}mount=true",
                        "-c", f"{allowed}=ext4"), PREFIX)
    cluster.ok("launch", "busybox", "c1")
    cluster.ok("config", "set", "c1", f"{PREFIX}mount=true", f"{allowed}=ext4, xfs")
    refused(cluster.cli("config", "unset", "c1", allowed), allowed)
    assert not cluster.instances()[0].pid == 0


def test_operators_are_refused(cluster):
    """What the machine's root does for a guest an admin decides; in a profile of an admin's, for others as well."""
    operator = Client(cluster, f"op-{uuid.uuid4().hex[:6]}", "operator")
    key, allowed = f"{PREFIX}mount", f"{PREFIX}mount.allowed"
    cluster.ok("launch", "busybox", "c1", "-c", f"{key}=true", "-c", f"{allowed}=ext4")
    cluster.ok("profile", "create", "theirs")
    cluster.ok("profile", "create", "ours")
    cluster.ok("profile", "set", "ours", f"{key}=true", f"{allowed}=ext4")
    try:
        for command in (["launch", "busybox", "c2", "-c", f"{key}=true", "-c", f"{allowed}=ext4"],
                        ["launch", "busybox", "c2", "-c", f"{allowed}=ext4"],
                        ["config", "set", "c1", f"{allowed}=ext4,xfs"],
                        ["profile", "set", "theirs", f"{key}=true", f"{allowed}=ext4"],
                        ["profile", "set", "ours", f"{allowed}=ext4,xfs"],
                        ["profile", "copy", "ours", "copied"]):
            refused(operator.cli(*command), "needs the role admin")
        for command in (["config", "set", "c1", "user.note=x"], ["profile", "set", "ours", "user.note=x"],
                        ["launch", "busybox", "c2", "-p", "default", "-p", "ours"], ["config", "unset", "c1", key]):
            done = operator.cli(*command)
            assert done.returncode == 0, (command, done.stderr)
    finally:
        cluster.remove_instances()
        for name in ("theirs", "ours"):
            cluster.ok("profile", "delete", name)
