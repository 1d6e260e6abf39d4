"""A guest gets at the machine's devices: it makes a node, or is handed one. The filter on its cgroup
refuses the device itself, whoever asks: shown with root of the machine, put into the guest's cgroup,
for whom nothing else would be in the way. After a live move too, where liblxc sets none."""

import glob
import os
import subprocess
import sys

import pytest

import moving
import testbed

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
