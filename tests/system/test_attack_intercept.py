"""A guest whose system calls are made for it by its node tries to have others made than the harmless ones, or
elsewhere than in itself, or to hold up or take over who makes them."""

import os
import stat

import pytest

from instance.devicelab import disk, inside, make_private
from test_intercept import CALLER, call, guest_init, hire, init_sh, launch, servers, sh


@pytest.fixture
def guest(cluster):
    launch(cluster)
    return cluster


def test_no_other_device(guest):
    """The machine's disk, memory, console, tunnels; whatever lies beside the harmless ones."""
    for kind, major, minor in (("b", 8, 0), ("b", 1, 3), ("b", 259, 0), ("c", 1, 1), ("c", 1, 2), ("c", 1, 4), ("c", 1, 11),
                               ("c", 5, 1), ("c", 5, 2), ("c", 10, 200), ("c", 10, 237), ("c", 0, 3), ("c", 257, 3), ("c", 1, 259)):
        assert call(guest, "c1", "node", "/evil", kind, major, minor) == "EPERM", (kind, major, minor)
    hire(guest)
    assert init_sh(guest, "c1", f"{CALLER} node /evil b 8 0; {CALLER} node /evil c 1 1") == "1\n1\n"
    assert sh(guest, "c1", "test -e /evil").returncode != 0


def test_other_devices_in_its_files(guest):
    """Its file system is not nodev, because the harmless ones work there: what opens is for the filter of its devices."""
    init = guest_init(guest)
    for path, kind, number in (("kmsg", stat.S_IFCHR, (1, 11)), ("mem", stat.S_IFCHR, (1, 1)), ("disk", stat.S_IFBLK, (8, 0)),
                               ("null", stat.S_IFCHR, (1, 3))):
        os.mknod(f"/proc/{init}/root/{path}", kind | 0o666, os.makedev(*number))
        os.chmod(f"/proc/{init}/root/{path}", 0o666)
    for path in ("kmsg", "mem", "disk"):
        assert "not permitted" in sh(guest, "c1", f"head -c 1 /{path}").stderr, path
    assert sh(guest, "c1", "head -c 1 /null").returncode == 0


def test_links_lead_nowhere_else(guest):
    """A path is gone where the caller goes: its root, its links, its mounts."""
    name = f"lx-escape-{os.getpid()}"
    sh(guest, "c1", "ln -s ../../../../../../../.. /up; ln -s /proc/1/root /one; ln -s /proc/1/cwd /cwd; mkdir -p /jail/in")
    for way in ("/up", "/one", "/cwd", "/one/up"):
        assert call(guest, "c1", "node", f"{way}/{name}", "c", 1, 3) in ("ok", "EEXIST"), way
    assert sh(guest, "c1", f"test -c /{name}").returncode == 0 and not os.path.lexists(f"/{name}")
    # From a root of its own, and from below it.
    sh(guest, "c1", f"cp {CALLER} /jail/caller; chroot /jail /caller node /../../{name} c 1 3")
    assert sh(guest, "c1", f"test -c /jail/{name}").returncode == 0
    # The last name is no link to follow.
    sh(guest, "c1", "ln -s /made /link")
    assert call(guest, "c1", "node", "/link", "c", 1, 3) == "EEXIST" and sh(guest, "c1", "test -e /made").returncode != 0
    for path in (f"/proc/{name}", f"/sys/{name}", f"/sys/fs/cgroup/{name}"):
        assert call(guest, "c1", "node", path, "c", 1, 3) != "ok", path


def test_a_path_that_changes_meanwhile(guest):
    """It is read once, and what is read is what is used."""
    calls, made = map(int, call(guest, "c1", "race", 3).split())
    assert calls > 0 and made <= calls
    assert not os.path.lexists("/tmp/raced-here") and not os.path.lexists("/dev/shm/raced-here")


def test_no_node_in_a_directory_of_the_machine(cluster):
    private = make_private(cluster)
    launch(cluster, name="c2")
    cluster.ok("config", "device", "add", "c2", "data", "disk", f"source={private}", "path=/data")
    cluster.ok("restart", "c2", "--force")
    assert call(cluster, "c2", "node", "/data/null", "c", 1, 3) == "EPERM" and os.listdir(private) == []
    inside(cluster, "c2", "mkdir /data/d")
    assert call(cluster, "c2", "xattr", "/data/d", "trusted.overlay.opaque", "y") == "EPERM"
    assert os.listxattr(f"{private}/d") == []


def test_no_rights_gained(guest):
    """Who could not make a node there in its own right, were it root of a machine, cannot have one made."""
    assert call(guest, "c1", "node", "/tmp/null", "c", 1, 3, 1000) == "EPERM"
    # All capabilities, in a user namespace of its own making.
    done = sh(guest, "c1", f"unshare -U -r {CALLER} node /tmp/null c 1 3")
    assert done.stdout in ("1\n", "") and sh(guest, "c1", "test -e /tmp/null").returncode != 0
    sh(guest, "c1", "mkdir /ro && mount -t tmpfs -o ro none /ro")
    assert call(guest, "c1", "node", "/ro/null", "c", 1, 3) in ("EROFS", "EPERM")
    # Owned by the guest's ids, without what makes programs more.
    assert call(guest, "c1", "node", "/null", "c", 1, 3) == "ok"
    seen = inside(guest, "c1", "stat -c %u:%g:%t:%T /null").strip()
    assert seen == "0:0:1:3"


def test_nonsense(guest):
    """Pointers to nothing, descriptors that are none."""
    for address in ("0", "1", "0x7fffffffffff", "0xffffffffffffffff", "0x8000000000000000"):
        assert call(guest, "c1", "bare", address) == "EFAULT", address
    assert call(guest, "c1", "nodeat", "/no/such/place", "x", "c", 1, 3) == "EBADF"
    assert call(guest, "c1", "node", "", "c", 1, 3) == "ENOENT"
    assert call(guest, "c1", "node", "/" + "x" * 300, "c", 1, 3) == "ENAMETOOLONG"
    assert call(guest, "c1", "node", "/x" * 3000, "c", 1, 3) == "ENAMETOOLONG"
    assert call(guest, "c1", "xattr", "/nothing", "trusted.overlay.opaque", "y") == "ENOENT"
    assert call(guest, "c1", "node", "/null", "c", 1, 3) == "ok"
    assert len(servers(guest, "c1")) == 1


def test_who_makes_them_is_out_of_reach(guest):
    """It is in no namespace of the guest's, and holds no more than it needs."""
    [pid] = servers(guest, "c1")
    assert "lx-intercept" not in sh(guest, "c1", "cat /proc/[0-9]*/comm").stdout
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        status = dict(line.split(":", 1) for line in f.read().splitlines() if ":" in line)
    assert status["NoNewPrivs"].strip() == "1"
    for given_up in (12, 16, 17, 22, 25):  # net_admin, sys_module, sys_rawio, sys_boot, sys_time
        assert not int(status["CapBnd"], 16) >> given_up & 1 and not int(status["CapEff"], 16) >> given_up & 1
