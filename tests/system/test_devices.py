"""What of a node comes into an instance: directories and files, memory, device nodes.

With real guests: what is read and written on either side, what is refused before anything has
changed, who may set it, and that nothing is left of it afterwards.
"""

import json
import os
import subprocess
import sys
import uuid

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "testbed"))
import moving  # noqa: E402
import testbed  # noqa: E402
from instance.devicelab import device, disk, inside, make_private, node, read, refused, write  # noqa: E402
from manager.accesslab import Client  # noqa: E402
from test_attack_devices import opened_from  # noqa: E402

TUN = "/dev/net/tun"


@pytest.fixture
def private(cluster):
    return make_private(cluster)


def mounts_of_any_process(word):
    """Lines of all tables of mounts on this machine."""
    found = set()
    for entry in os.listdir("/proc"):
        try:
            with open(f"/proc/{entry}/mountinfo", encoding="utf-8", errors="replace") as f:
                found |= {line for line in f if word in line}
        except OSError:
            pass
    return found


# ---------------------------------------------------------------- disks


def test_a_directory_of_the_node(cluster, private):
    """The guest's root owns what the node's root owns; it stays over restarts of all kinds, and goes without a trace."""
    write(f"{private}/from-node", "hello\n")
    write(f"{private}/of-ten")
    os.chown(f"{private}/of-ten", 10, 10)
    cluster.ok("launch", "busybox", "c1", *disk("data", private, "/srv/my data"))

    def check(word):
        assert inside(cluster, "c1", "cat '/srv/my data/from-node'") == "hello\n"
        assert inside(cluster, "c1", "cd '/srv/my data'; stat -c %u:%g from-node of-ten").split() == ["0:0", "10:10"]
        inside(cluster, "c1", f"echo {word} > '/srv/my data/from-guest'")
        assert read(f"{private}/from-guest") == f"{word}\n" and os.stat(f"{private}/from-guest").st_uid == 0
        options = inside(cluster, "c1", "grep my.040data /proc/mounts").split()[3].split(",")
        assert {"nosuid", "nodev", "rw"} <= set(options)

    check("first")
    cluster.restart("agent")
    check("agent")
    cluster.ok("restart", "c1", "--force")
    check("restart")
    cluster.ok("exec", "c1", "--", "reboot")
    testbed.wait_for(lambda: cluster.exec("c1", "test", "-e", "/srv/my data/from-node").returncode == 0, 30, 0.1)
    check("reboot")

    # Changes act at the next start, and that is said.
    assert "device data takes effect when c1 is restarted" in \
        cluster.cli("config", "device", "set", "c1", "data", "readonly=true").stderr
    check("not yet")
    cluster.ok("restart", "c1", "--force")
    assert cluster.exec("c1", "touch", "/srv/my data/x").returncode != 0
    assert "device data takes effect" in cluster.cli("config", "device", "remove", "c1", "data").stderr
    cluster.ok("restart", "c1", "--force")
    assert inside(cluster, "c1", "ls -A '/srv/my data'") == ""
    cluster.ok("delete", "c1", "--force")
    assert not mounts_of_any_process(private) and os.path.exists(f"{private}/from-node")
    cluster.wait_clean()


def test_readonly_and_files(cluster, private):
    write(f"{private}/motd", "words\n")
    cluster.ok("launch", "busybox", "c1", *disk("d", private, "/d", readonly="true"),
               *disk("f", f"{private}/motd", "/etc/motd.d/f", readonly="true"), *disk("w", f"{private}/motd", "/opt/w"))
    assert inside(cluster, "c1", "cat /d/motd /etc/motd.d/f /opt/w") == "words\n" * 3
    for attempt in ("touch /d/x", "echo x > /etc/motd.d/f", "rm /d/motd", "mount -o remount,rw,bind /d"):
        assert cluster.exec("c1", "sh", "-c", attempt).returncode != 0, attempt
    inside(cluster, "c1", "echo more >> /opt/w")
    assert read(f"{private}/motd") == "words\nmore\n"


def test_recursive(cluster, private):
    """With what is mounted below at the start, or without; never what is mounted later."""
    for sub in ("sub", "later"):
        os.mkdir(f"{private}/{sub}")
    subprocess.run(["mount", "-t", "tmpfs", "none", f"{private}/sub"], check=True)
    try:
        write(f"{private}/sub/deep", "deep\n")
        cluster.ok("launch", "busybox", "c1", *disk("all", private, "/all", recursive="true", readonly="true"),
                   *disk("top", private, "/top"))
        assert inside(cluster, "c1", "cat /all/sub/deep; ls /top/sub") == "deep\n"
        assert cluster.exec("c1", "touch", "/all/sub/x").returncode != 0
        subprocess.run(["mount", "-t", "tmpfs", "none", f"{private}/later"], check=True)
        try:
            write(f"{private}/later/secret")
            assert inside(cluster, "c1", "ls /all/later /top/later").split() == ["/all/later:", "/top/later:"]
        finally:
            subprocess.run(["umount", f"{private}/later"], check=True)
        cluster.ok("delete", "c1", "--force")
    finally:
        subprocess.run(["umount", f"{private}/sub"], check=True)


def test_what_cannot_be_mounted_is_refused(cluster, private):
    """The instance does not start with less than asked, and a launch leaves nothing."""
    refused(cluster.cli("launch", "busybox", "c1", *disk("d", f"{private}/gone", "/d")),
            "device d: this node has no", "optional=true")
    refused(cluster.cli("launch", "busybox", "c1", *disk("d", "/proc/sys", "/d", readonly="true")),
            "cannot be mounted with the guest's ids", "ext4")
    refused(cluster.cli("launch", "busybox", "c1", *disk("d", "/dev/null", "/d")), "neither a directory nor a file",
            "unix-char")
    assert not cluster.instances()
    cluster.wait_clean()
    cluster.ok("launch", "busybox", "c1", *disk("d", f"{private}/gone", "/d", optional="true"))
    assert cluster.exec("c1", "test", "-e", "/d").returncode != 0
    os.mkdir(f"{private}/gone")
    cluster.ok("restart", "c1", "--force")
    assert cluster.exec("c1", "touch", "/d/x").returncode == 0 and os.path.exists(f"{private}/gone/x")


def test_memory(cluster):
    cluster.ok("launch", "busybox", "c1", *disk("m", "tmpfs:", "/srv/m", size="1MiB"), *disk("shm", "tmpfs:", "/dev/shm"))
    done = cluster.exec("c1", "dd", "if=/dev/zero", "of=/srv/m/x", "bs=64k", "count=40")
    assert done.returncode != 0 and "No space left" in done.stderr
    assert int(inside(cluster, "c1", "stat -c %s /srv/m/x")) == 1 << 20
    inside(cluster, "c1", "echo x > /dev/shm/x")
    cluster.ok("restart", "c1", "--force")
    assert inside(cluster, "c1", "ls -A /srv/m /dev/shm").split() == ["/dev/shm:", "/srv/m:"]


# ---------------------------------------------------------------- device nodes


def test_character_devices(cluster):
    cluster.ok("launch", "busybox", "plain")
    cluster.ok("launch", "busybox", "c1", *node("z", source="/dev/zero", path="/dev/z/zero2", mode="604", uid=7, gid=8),
               *node("n", path="/srv/null2", major=1, minor=3), *node("gone", source="/dev/none-such", required="false"),
               *node("tun", source=TUN))
    assert inside(cluster, "c1", "head -c 3 /dev/z/zero2 | wc -c").strip() == "3"
    assert inside(cluster, "c1", "stat -c %a:%u:%g:%t:%T /dev/z/zero2 /srv/null2").split() == ["604:7:8:1:5", "660:0:0:1:3"]
    inside(cluster, "c1", "echo x > /srv/null2")
    assert cluster.exec("c1", "test", "-e", "/dev/none-such").returncode != 0
    # What is listed opens, inside and past the filter; what is not does not.
    inside(cluster, "c1", f": <> {TUN}")
    others = [p for p in ("/dev/kmsg", "/dev/loop-control", "/dev/loop0") if os.path.exists(p)]
    assert opened_from(cluster, "c1", [TUN, *others]) == {TUN}
    assert opened_from(cluster, "plain", [TUN, *others]) == set()
    cluster.restart("agent")
    cluster.ok("restart", "c1", "--force")
    assert inside(cluster, "c1", "head -c 3 /dev/z/zero2 | wc -c").strip() == "3"
    assert opened_from(cluster, "c1", [TUN, *others]) == {TUN}

    assert "device tun takes effect" in cluster.cli("config", "device", "remove", "c1", "tun").stderr
    cluster.ok("restart", "c1", "--force")
    assert cluster.exec("c1", "test", "-e", TUN).returncode != 0
    assert opened_from(cluster, "c1", [TUN, *others]) == set()
    cluster.ok("delete", "--force", "c1", "plain")
    assert not {m for m in mounts_of_any_process("lxmgr-devices") if cluster.dir in m}


def test_what_is_no_such_device_is_refused(cluster):
    refused(cluster.cli("launch", "busybox", "c1", *node("d", source="/dev/none-such")), "this node has no /dev/none-such",
            "required=false")
    refused(cluster.cli("launch", "busybox", "c1", *node("d", "block", source="/dev/zero", path="/dev/z2")),
            "/dev/zero is no block device", "unix-char")
    assert not cluster.instances()


def test_block_devices(cluster, private):
    write(f"{private}/image", "on the disk\n".ljust(1 << 16))
    done = subprocess.run(["losetup", "-f", "--show", f"{private}/image"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no loop device: {done.stderr}")
    loop = done.stdout.strip()
    try:
        cluster.ok("launch", "busybox", "c1", *node("b", "block", source=loop, path="/dev/disk0"))
        assert inside(cluster, "c1", "head -n 1 /dev/disk0") == "on the disk\n"
        assert opened_from(cluster, "c1", [loop]) == {loop}
        cluster.ok("delete", "c1", "--force")
    finally:
        subprocess.run(["losetup", "-d", loop], check=True)


# ---------------------------------------------------------------- where they may be


def test_escaping_paths_are_refused(cluster, private):
    """At once, whichever way they come in, and nothing has changed."""
    cluster.ok("launch", "busybox", "c1")
    cluster.ok("profile", "create", "mine")
    try:
        for path in ("relative", "/srv/../../etc", "/srv/..", "/srv//x", "/proc", "/proc/sys/kernel", "/sys/fs", "/dev",
                     "/dev/.lxmgr/proc", "/dev/.lxc", "/dev/null", "/dev/pts/7"):
            for command in (["config", "device", "add", "c1", "d", "disk", f"source={private}", f"path={path}"],
                            ["profile", "device", "add", "mine", "d", "unix-char", "source=/dev/fuse", f"path={path}"],
                            ["launch", "busybox", "c2", *disk("d", "tmpfs:", path)]):
                refused(cluster.cli(*command), "device d: path:")
        for source in ("relative", "/srv/../etc", "tmpfs", "../x"):
            refused(cluster.cli("config", "device", "add", "c1", "d", "disk", f"source={source}", "path=/d"), "source:")
        refused(cluster.cli("config", "device", "add", "c1", "d", "disk", "path=/d"), "needs the option source")
        cluster.ok("config", "device", "add", "c1", "a", "disk", "source=tmpfs:", "path=/a")
        refused(cluster.cli("config", "device", "add", "c1", "b", "disk", "source=tmpfs:", "path=/a/b"), "would lie inside")
        assert cluster.ok("config", "device", "list", "c1").split() == ["a"]
        assert json.loads(cluster.ok("profile", "show", "mine", "--format", "json"))["devices"] == {}
        assert [i.name for i in cluster.instances()] == ["c1"]
    finally:
        cluster.remove_instances()
        cluster.ok("profile", "delete", "mine")


def test_none_masks(cluster, private):
    cluster.ok("profile", "create", "mine")
    try:
        cluster.ok("profile", "device", "add", "mine", "data", "disk", f"source={private}", "path=/data")
        cluster.ok("launch", "busybox", "c1", "-p", "default", "-p", "mine")
        cluster.ok("launch", "busybox", "c2", "-p", "default", "-p", "mine", *device("data", type="none"))
        assert cluster.exec("c1", "touch", "/data/x").returncode == 0 and os.path.exists(f"{private}/x")
        assert cluster.exec("c2", "test", "-e", "/data").returncode != 0
        assert "takes effect" in cluster.cli("config", "device", "add", "c1", "data", "none").stderr
        cluster.ok("restart", "--force", "c1")
        assert inside(cluster, "c1", "ls -A /data") == ""
        cluster.ok("config", "device", "remove", "c1", "data")
        assert "c2 has it now" in cluster.cli("profile", "device", "set", "mine", "data", "readonly=true").stderr
    finally:
        cluster.remove_instances()
        cluster.ok("profile", "delete", "mine")


# ---------------------------------------------------------------- who may


def test_operators_are_refused(cluster, private):
    """What is a node's an admin gives; what an admin has given stays, and memory is for everybody."""
    operator = Client(cluster, f"op-{uuid.uuid4().hex[:6]}", "operator")
    cluster.ok("launch", "busybox", "c1", *disk("data", private, "/data"))
    cluster.ok("profile", "create", "theirs")
    cluster.ok("profile", "create", "ours")
    cluster.ok("profile", "device", "add", "ours", "data", "disk", f"source={private}", "path=/data")
    try:
        for command in (["launch", "busybox", "c2", *disk("d", private, "/d")],
                        ["launch", "busybox", "c2", *node("d", source="/dev/zero", path="/dev/z2")],
                        ["config", "device", "add", "c1", "d", "disk", f"source={private}", "path=/d"],
                        ["config", "device", "add", "c1", "d", "unix-block", "path=/dev/x", "major=253", "minor=0"],
                        ["config", "device", "set", "c1", "data", "source=/"],
                        ["config", "device", "set", "c1", "data", "readonly=false", "path=/etc"],
                        ["profile", "device", "add", "theirs", "d", "disk", "source=/", "path=/d"],
                        ["profile", "device", "set", "ours", "data", "source=/"],
                        ["profile", "copy", "ours", "copied"]):
            refused(operator.cli(*command), "needs the role admin")
        assert [i.name for i in cluster.instances()] == ["c1"]
        for command in (["config", "device", "add", "c1", "m", "disk", "source=tmpfs:", "path=/m"],
                        ["profile", "device", "add", "ours", "m", "disk", "source=tmpfs:", "path=/m"],
                        ["profile", "set", "ours", "user.note=x"], ["config", "set", "c1", "user.note=x"],
                        ["launch", "busybox", "c2", "-p", "default", "-p", "ours"],
                        ["config", "device", "remove", "c1", "data"]):
            done = operator.cli(*command)
            assert done.returncode == 0, (command, done.stderr)
        pb = cluster.api.pb
        api = operator.api()
        with pytest.raises(Exception, match="PERMISSION_DENIED"):
            api.instances.Update(pb.UpdateInstanceRequest(name="c1", set_devices={"d": pb.Device(options={
                "type": "disk", "source": "/", "path": "/d"})}), timeout=10)
        api.close()
        assert "needs the role admin" in cluster.ok("audit", "--format", "json")
    finally:
        cluster.remove_instances()
        cluster.ok("profile", "delete", "theirs", "ours")
        cluster.ok("identity", "delete", operator.name)


# ---------------------------------------------------------------- moves


@pytest.mark.limit(200)
def test_moves(able):
    with testbed.Cluster("devmove", nodes=2) as two:
        try:
            for i in range(2):
                testbed.ensure_image(two, "busybox", node=i)
        except testbed.Unavailable as e:
            pytest.skip(str(e))
        private, here, there = make_private(two), two.node_names[0], two.node_names[1]
        write(f"{private}/file", "words\n")
        at = ["--target", here]
        two.ok("launch", "busybox", "c1", *at, *disk("data", private, "/data"), *node("z", source="/dev/zero", path="/dev/z2"),
               *disk("m", "tmpfs:", "/m", size="1MiB"))
        inside(two, "c1", "echo kept > /m/x")
        for command in (["move", "c1", "--target", there], ["move", "c1", "--target", there, "--check"]):
            done = two.cli(*command)
            assert done.returncode != 0 and f"c1 has devices of node {here}: data, z" in done.stdout + done.stderr
        assert "lxmgr config device remove c1" in done.stdout
        # Gone from its configuration, still in the running guest.
        two.ok("config", "device", "remove", "c1", "z", "data")
        done = two.cli("move", "c1", "--target", there)
        assert done.returncode != 0 and "/dev/z2 is a device of the node" in done.stdout + done.stderr
        assert "/data is a directory of the node" in done.stdout + done.stderr
        assert two.instance("c1").node == here and inside(two, "c1", "cat /data/file /m/x") == "words\nkept\n"

        # Memory goes along, and has its bound there.
        two.ok("restart", "--force", "c1")
        inside(two, "c1", "echo kept > /m/x")
        for target in (1, 0):
            done = moving.move(two, "c1", target)
            assert not done.error, done.error
            assert inside(two, "c1", "cat /m/x") == "kept\n"
            assert two.exec("c1", "dd", "if=/dev/zero", "of=/m/big", "bs=64k", "count=40").returncode != 0
            inside(two, "c1", "rm /m/big")

        # With a stop it goes where the same is, and nowhere else.
        two.ok("config", "device", "add", "c1", "data", "disk", f"source={private}", "path=/data")
        two.ok("restart", "--force", "c1")
        two.ok("move", "c1", "--target", there, "--live=off")
        assert two.instance("c1").node == there and inside(two, "c1", "cat /data/file") == "words\n"
        two.ok("stop", "--force", "c1")
        os.rename(private, f"{private}-away")
        done = two.cli("move", "c1", "--target", here)
        assert done.returncode != 0 and f"node {here} lacks what devices of c1 need: data" in done.stdout + done.stderr
        assert two.instance("c1").node == there
        two.ok("delete", "c1")
        moving.wait_clean(two)
        assert not {m for m in mounts_of_any_process(two.dir) if "/devices" in m}
