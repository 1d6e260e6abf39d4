"""A guest whose node mounts file systems for it tries to have others mounted, of other devices, with other
options, or elsewhere than in itself."""

import glob
import os
import stat
import subprocess
import time
import uuid

import pytest

from instance.devicelab import inside
from intercept.blockdev import Device
from machine import wait_for
from test_intercept import CALLER, SECONDS, call, guest_init, servers, sh
from test_intercept_mount import launch, mount, options

MS_REMOUNT, MS_BIND, MS_MOVE, MS_SHARED = 32, 4096, 8192, 1 << 20


@pytest.fixture
def given(cluster):
    """/dev/vda of c1."""
    with Device(cluster.dir, "ext4") as d:
        launch(cluster, d)
        yield d
        cluster.remove_instances()


@pytest.fixture
def other(cluster):
    """A disk of the machine that c1 was not given."""
    with Device(cluster.dir, "ext4") as d:
        yield d


def smuggle(cluster, device, path="/evil"):
    """A node of it in the guest's files, where no guest could make one."""
    where = f"/proc/{guest_init(cluster)}/root{path}"
    os.mknod(where, stat.S_IFBLK | 0o666, os.makedev(*device.numbers))
    os.chmod(where, 0o666)


def test_no_other_type(cluster, given):
    """What is not allowed, what no node mounts, what a guest mounts itself, and names that are none."""
    for kind in ("xfs", "vfat", "squashfs", "btrfs", "ext2", "ext3", "erofs", "iso9660", "nfs", "fuseblk", "debugfs", "ext4\n", "ext4,xfs",
                 "ext", "", "x" * 300):
        assert mount(cluster, kind=kind) != "ok", kind
        assert not given.is_mounted(), kind
    assert sh(cluster, "c1", "mount -t tmpfs none /mnt && grep -c ' /mnt tmpfs ' /proc/mounts && umount /mnt").stdout == "1\n"


def test_no_other_device(cluster, given, other):
    smuggle(cluster, other)
    for source in ("/evil", f"/proc/1/root{other.path}", other.path, "/dev/loop-control", "/dev/null", other.image):
        assert mount(cluster, source=source) in ("EPERM", "ENOENT"), source
    assert not other.is_mounted() and not given.is_mounted()
    assert mount(cluster) == "ok"


def test_a_journal_on_another_device(cluster):
    """A superblock says where the journal is, by the numbers of a device: the filter of the instance's devices counts."""
    with Device(cluster.dir) as journal, Device(cluster.dir) as d:
        subprocess.run(["mke2fs", "-q", "-F", "-O", "journal_dev", "-b", "1024", journal.path], check=True)
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "-J", f"device={journal.path}", d.path], check=True)
        launch(cluster, d)
        assert mount(cluster) != "ok" and not d.is_mounted() and not journal.is_mounted()
        cluster.remove_instances()
        # With both it works: it was that device, and nothing else.
        launch(cluster, d, journal)
        assert mount(cluster) == "ok" and journal.is_mounted()
        cluster.remove_instances()


def test_a_file_system_that_would_stop_the_machine(cluster, given):
    """What to do on faults is in the superblock, too: panic."""
    subprocess.run(["tune2fs", "-e", "panic", given.path], check=True, capture_output=True)
    for data in ("", "commit=9"):
        assert mount(cluster, data=data) == "ok"
        assert "errors=remount-ro" in options(cluster)[2] and "errors=panic" not in options(cluster)[2]
        inside(cluster, "c1", "umount /mnt")
    assert mount(cluster, data="errors=panic") == "EPERM" and not given.is_mounted()


def test_no_other_options(cluster, given, other):
    smuggle(cluster, other)
    for data in ("journal_dev=0x700", "journal_path=/evil", "sb=1", "dax", "abort", "debug", "errors=panic", "errors=", "errors",
                 "errors=remount-ro|continue", "commit=-1", "commit=5x", "commit", "usrjquota=/etc/passwd", "test_dummy_encryption",
                 "loop=/etc/passwd", "context=x", "source=/evil", "commit=9,source=/evil", "acl=1", "uid=0", "x" * 5000, "commit=9," * 60):
        assert mount(cluster, data=data) in ("EPERM", "EINVAL"), data
        assert not given.is_mounted() and not other.is_mounted(), data
    for flags in (1 << 6, 1 << 16, 1 << 22, 1 << 23, 1 << 29, 1 << 40):
        assert mount(cluster, flags=flags) != "ok", flags
    assert mount(cluster, data=",,nodiscard,commit=9,,") == "ok"
    # It is told of.
    wait_for(lambda: "ext4 with errors" in cluster.ok("warning", "denials", "c1", "--format", "json"), SECONDS, 0.2, "it is told of")


def test_links_and_roots_lead_nowhere_else(cluster, given):
    name = f"lx-mount-{uuid.uuid4().hex[:6]}"
    os.mkdir(f"/tmp/{name}")
    try:
        inside(cluster, "c1", f"ln -s ../../../../../../../.. /up; ln -s /proc/1/root /one; mkdir -p /jail/mnt /tmp/{name}")
        for way in ("/up", "/one", "/one/up", "/proc/self/root", "/proc/1/cwd"):
            assert mount(cluster, target=f"{way}/tmp/{name}") in ("ok", "EBUSY", "ENOENT"), way
        inside(cluster, "c1", f"cp {CALLER} /jail/caller; mkdir -p /jail/tmp/{name} /jail/dev; mount --rbind /dev /jail/dev")
        inside(cluster, "c1", f"chroot /jail /caller mount /dev/vda /../../tmp/{name} ext4 0 ''")
        with open("/proc/self/mountinfo", encoding="utf-8") as f:
            assert name not in f.read()
        for target in ("/proc", "/sys", "/sys/fs/cgroup"):
            # Where it may mount as well by itself, and nobody but it is concerned.
            mount(cluster, target=target)
        with open("/proc/self/mountinfo", encoding="utf-8") as f:
            assert given.path not in f.read()
    finally:
        os.rmdir(f"/tmp/{name}")


def test_a_call_that_changes_meanwhile(cluster, given, other):
    """The device and the options are read once, and what is read is what is used."""
    smuggle(cluster, other)
    racing = cluster.popen("exec", "c1", "--", CALLER, "mountrace", "/dev/vda", "/evil", "errors=panic", "4", stdout=subprocess.PIPE)
    end = time.monotonic() + 3
    while time.monotonic() < end:
        assert not other.is_mounted()
    calls, made = map(int, racing.communicate(timeout=30)[0].split())
    assert 0 < made <= calls and not given.is_mounted() and not other.is_mounted()


def test_no_rights_gained(cluster, given):
    """Who could mount nothing in the guest has nothing mounted; nor has one in a user namespace of its own making."""
    inside(cluster, "c1", "chmod 666 /dev/vda; chmod 755 /root")
    assert "1" in sh(cluster, "c1", f"su -s /bin/sh nobody -c \"{CALLER} mount /dev/vda /mnt ext4 0 ''\" || echo 1").stdout
    for command in (f"unshare -U -r -m {CALLER} mount /dev/vda /mnt ext4 0 ''", f"unshare -U -r {CALLER} mount /dev/vda /mnt ext4 0 ''"):
        assert "ok" not in sh(cluster, "c1", command).stdout, command
    assert not given.is_mounted()


def test_devices_and_set_uid_programs_on_it(cluster, given):
    """Its content is the guest's to choose: it opens no device, and that cannot be changed."""
    here = os.path.join(cluster.dir, f"prepare-{uuid.uuid4().hex[:6]}")
    os.mkdir(here)
    subprocess.run(["mount", given.path, here], check=True)
    os.mknod(f"{here}/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(f"{here}/disk", stat.S_IFBLK | 0o666, os.makedev(*given.numbers))
    for name in ("null", "disk"):
        os.chmod(f"{here}/{name}", 0o666)
    subprocess.run(["umount", here], check=True)
    assert mount(cluster) == "ok"
    for way in ("", f"{CALLER} mount none /mnt none {MS_REMOUNT | MS_BIND} ''; ", "mount -o remount,bind,dev,suid /mnt; ",
                "mkdir -p /b; mount --bind /mnt /b; mount -o remount,bind,dev /b; umount /b; "):
        done = sh(cluster, "c1", f"{way}head -c 1 /mnt/null; head -c 1 /mnt/disk; true")
        assert done.stderr.count("Permission denied") >= 2, (way, done)
    assert {"nodev", "nosuid"} <= options(cluster)[2]
    # Nor are its options the guest's, once it is mounted.
    assert mount(cluster, flags=MS_REMOUNT, data="errors=continue") == "EPERM"


def test_nonsense(cluster, given):
    for address in ("0", "1", "0x7fffffffffff", "0xffffffffffffffff", "0x8000000000000000"):
        assert call(cluster, "c1", "baremount", address) in ("EFAULT", "EINVAL", "EPERM"), address
    for source, target in (("", "/mnt"), ("/dev/vda", ""), ("/x" * 3000, "/mnt"), ("/dev/vda", "/x" * 3000), ("/dev/vda/", "/mnt"),
                           ("/dev/vda", "/proc/self/fd/0")):
        assert mount(cluster, source=source, target=target) != "ok", (source, target)
    # What makes no new mount does not come here.
    assert mount(cluster, source="/dev/vda", flags=MS_BIND) == "ENOTDIR"
    for flags in (MS_MOVE, MS_SHARED, MS_REMOUNT):
        assert mount(cluster, flags=flags) != "ok", flags
    assert not given.is_mounted() and len(servers(cluster, "c1")) == 1
    assert mount(cluster) == "ok"


def test_the_other_way_to_mount(cluster, given):
    """fsopen is missing: altogether where AppArmor may bound mounts, else for what is mounted here alone."""
    assert [call(cluster, "c1", "fsopen", kind) for kind in ("ext4", "tmpfs")] == ["ENOSYS", "ENOSYS"]
    cluster.ok("config", "set", "c1", "security.apparmor=unconfined")
    cluster.ok("restart", "--force", "c1")
    assert call(cluster, "c1", "fsopen", "ext4") == "ENOSYS"
    assert call(cluster, "c1", "fsopen", "tmpfs") == "ok"
    assert call(cluster, "c1", "fsopen", "nothing") == "ENODEV"


def test_many_at_once(cluster, given):
    """They wait for one another, and for nobody else; nothing is left of them."""
    command = f"for i in $(seq 24); do (mkdir -p /m$i; {CALLER} mount /dev/vda /m$i ext4 0 ''; umount /m$i) & done; wait"
    flood = cluster.popen("exec", "c1", "--", "sh", "-c", command, stdout=subprocess.PIPE)
    cluster.ok("launch", "busybox", "c2")
    assert cluster.exec("c2", "echo", "there").stdout == "there\n"
    assert flood.communicate(timeout=60)[0].split() == ["ok"] * 24
    assert not given.is_mounted() and mount(cluster) == "ok"
    [pid] = servers(cluster, "c1")
    assert len(glob.glob(f"/proc/{pid}/fd/*")) < 64

