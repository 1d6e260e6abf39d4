"""A guest gets at the machine's devices: it makes a node, or is handed one. The filter on its cgroup
refuses the device itself, whoever asks: shown with root of the machine, put into the guest's cgroup,
for whom nothing else would be in the way. After a live move too, where liblxc sets none.

And what an administrator has given it of the machine, a directory or a device, is no way to more."""

import glob
import os
import shutil
import stat
import subprocess
import sys

import pytest

import moving
import testbed
from instance.devicelab import disk, inside, make_private, node, refused

HARMLESS = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"]
# Whatever of these the machine has; opened for reading only, and left alone.
TRY = "\n".join((
    "import os, sys",
    "open(sys.argv[1], 'w').write('0')",
    "for path in sys.argv[2:]:",
    "    try:",
    "        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))",
    "        print(path, 'opened')",
    "    except OSError as e:",
    "        print(path, e.errno)"))
EPERM = "1"


def dangerous():
    found = [p for p in ["/dev/kmsg", "/dev/mem", "/dev/loop-control", "/dev/net/tun", "/dev/fuse", *glob.glob("/dev/[vs]da"),
                         *glob.glob("/dev/loop0")] if os.path.exists(p)]

    def opens(path):
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
            return True
        except OSError:
            return False

    return [p for p in found if opens(p)]


def opened_from(cluster, name, paths, i=0):
    """Which of them root of the machine opens from within the guest's cgroup."""
    v2 = next(m.split()[1] for m in open("/proc/mounts", encoding="ascii") if m.split()[2] == "cgroup2")
    procs = f"{v2}/{cluster.agents[i].cgroup_root}/{name}/payload/cgroup.procs"
    if not os.path.exists(procs):
        procs = procs.replace("/cgroup.procs", "/init.scope/cgroup.procs")
    done = subprocess.run([sys.executable, "-c", TRY, procs, *paths], capture_output=True, text=True, check=True)
    said = dict(line.split() for line in done.stdout.splitlines())
    assert set(said.values()) <= {"opened", EPERM}, said
    return {p for p, how in said.items() if how == "opened"}


def test_no_device_of_the_machine_opens(cluster):
    cluster.ok("launch", "busybox", "c1")
    bad = dangerous()
    if not bad:
        pytest.skip("this machine has no device that could be tried")
    assert opened_from(cluster, "c1", HARMLESS + bad) == set(HARMLESS)
    cluster.restart("agent")
    cluster.wait_online()
    cluster.ok("restart", "c1", "--force")
    assert opened_from(cluster, "c1", HARMLESS + bad) == set(HARMLESS)


def test_its_root_cannot_make_one(cluster):
    cluster.ok("launch", "busybox", "c1")
    for where in ("/root/disk", "/dev/disk", "/tmp/disk"):
        assert cluster.exec("c1", "mknod", where, "b", "253", "0").returncode != 0
    for node in ("null", "zero", "full", "random", "urandom", "tty"):
        assert cluster.exec("c1", "test", "-c", f"/dev/{node}").returncode == 0
    assert cluster.exec("c1", "sh", "-c", "head -c 4 /dev/zero | wc -c; echo x > /dev/null").stdout.strip() == "4"


@pytest.mark.limit(200)
def test_after_a_live_move(able):
    bad = dangerous()
    if not bad:
        pytest.skip("this machine has no device that could be tried")
    with testbed.Cluster("devices", nodes=2) as two:
        try:
            for i in range(2):
                testbed.ensure_image(two, "busybox", node=i)
        except testbed.Unavailable as e:
            pytest.skip(str(e))
        guest = moving.Guest(two, "c1")
        for target in (1, 0):
            done = moving.move(two, "c1", target)
            assert not done.error, done.error
            guest.check_passenger()
            assert opened_from(two, "c1", HARMLESS + bad, target) == set(HARMLESS)


def test_a_node_in_a_shared_directory(cluster):
    """One that the filter would let through opens as a device of the instance, not as a file in a directory."""
    private = make_private(cluster)
    os.mknod(f"{private}/zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    os.chmod(f"{private}/zero", 0o666)
    cluster.ok("launch", "busybox", "c1", *disk("d", private, "/d"), *node("z", source=f"{private}/zero", path="/dev/z2"))
    assert inside(cluster, "c1", "head -c 4 /dev/z2 | wc -c").strip() == "4"
    assert "ermission denied" in cluster.exec("c1", "head", "-c", "4", "/d/zero").stderr
    assert cluster.exec("c1", "mknod", "/d/own", "c", "1", "5").returncode != 0
    # Nor does it open one that is given to another instance.
    cluster.ok("launch", "busybox", "c2", *disk("d", private, "/d"))
    assert cluster.exec("c2", "test", "-e", "/dev/z2").returncode != 0


def test_a_set_uid_program_in_a_shared_directory(cluster):
    """What root of the guest makes there is the machine's root's: nobody may get at it who could run it."""
    private = make_private(cluster)
    above = os.path.dirname(private)
    os.chmod(above, 0o755)
    refused(cluster.cli("launch", "busybox", "c1", *disk("d", private, "/d")), f"users of this node reach {private}",
            "readonly=true")
    refused(cluster.cli("launch", "busybox", "c1", *disk("d", "/", "/d", recursive="true")), "users of this node reach /")
    os.chmod(private, 0o700)  # by itself: the guest could open it again
    refused(cluster.cli("launch", "busybox", "c1", *disk("d", private, "/d")), "users of this node reach")
    assert not cluster.instances()
    cluster.ok("launch", "busybox", "look", *disk("d", private, "/d", readonly="true"))
    assert cluster.exec("look", "touch", "/d/x").returncode != 0
    os.chmod(above, 0o700)
    cluster.ok("launch", "busybox", "c1", *disk("d", private, "/d"))
    inside(cluster, "c1", "cp /bin/busybox /d/sh && chmod 4755 /d/sh")
    made = os.stat(f"{private}/sh")
    assert made.st_uid == 0 and made.st_mode & stat.S_ISUID
    shutil.copy("/bin/true", f"{cluster.dir}/true")
    assert subprocess.run([f"{cluster.dir}/true"], user=65534, group=65534, check=False).returncode == 0
    with pytest.raises(PermissionError):
        subprocess.run([f"{private}/sh", "true"], user=65534, group=65534, check=False)
    # Nor does it make anybody root of another instance that has the directory.
    cluster.ok("launch", "busybox", "c2", *disk("d", private, "/d", readonly="true"))
    assert "nosuid" in inside(cluster, "c2", "grep ' /d ' /proc/mounts").split()[3].split(",")


def test_a_link_in_a_shared_directory(cluster):
    """One guest puts a link where the source of another's device, or of its own, is."""
    private, target = make_private(cluster), make_private(cluster)
    os.mkdir(f"{private}/sub")
    os.mknod(f"{private}/zero", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    cluster.ok("launch", "busybox", "c1", *disk("d", private, "/d"))
    cluster.ok("launch", "busybox", "c2", *disk("s", f"{private}/sub", "/s"))
    inside(cluster, "c1", f"touch /d/sub/x; rm -r /d/sub; ln -s {target} /d/sub; rm /d/zero; ln -s /dev/kmsg /d/zero")
    refused(cluster.cli("restart", "--force", "c2"), "there is a symbolic link in", "realpath")
    cluster.ok("config", "device", "remove", "c2", "s")
    cluster.ok("config", "device", "add", "c2", "s", "unix-char", f"source={private}/zero", "path=/dev/s")
    refused(cluster.cli("start", "c2"), "there is a symbolic link in")
    cluster.ok("config", "device", "set", "c2", "s", f"source={private}/zero2")
    inside(cluster, "c1", "rm /d/zero")
    os.mknod(f"{private}/zero2", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    cluster.ok("start", "c2")
    assert inside(cluster, "c2", "head -c 4 /dev/s | wc -c").strip() == "4"
    assert os.listdir(target) == []


def test_a_link_leads_no_mount_out(cluster):
    """A guest prepares its file system for the next start: nothing appears outside, nothing is begun."""
    private, outside = make_private(cluster), make_private(cluster)
    os.chmod(os.path.dirname(outside), 0o755)
    os.chmod(outside, 0o777)
    cluster.ok("launch", "busybox", "c1")
    inside(cluster, "c1", f"mkdir /ok; ln -s {outside} /ok/link; ln -s ../../../../../.. /up; echo x > /file; mkdir /dir")
    for path, why in (("/ok/link", "/ok/link is a symbolic link"), ("/ok/link/new/deep", "/ok/link is a symbolic link"),
                      (f"/up{outside}/new", "/up is a symbolic link"), ("/file/x", "/file is no directory"),
                      ("/file", "/file is no directory")):
        cluster.ok("config", "device", "add", "c1", "a", "disk", "source=tmpfs:", "path=/a-first")
        cluster.ok("config", "device", "add", "c1", "d", "disk", f"source={private}", f"path={path}")
        cluster.ok("stop", "--force", "c1")
        refused(cluster.cli("start", "c1"), path, why)
        assert cluster.status("c1") == "STOPPED" and os.listdir(outside) == []
        cluster.ok("config", "device", "remove", "c1", "a", "d")
        cluster.ok("start", "c1")
        assert cluster.exec("c1", "test", "-e", "/a-first").returncode != 0, "something was made before the refusal"
    cluster.ok("config", "device", "add", "c1", "d", "unix-char", "source=/dev/zero", "path=/dir")
    refused(cluster.cli("restart", "--force", "c1"), "/dir is a directory")
