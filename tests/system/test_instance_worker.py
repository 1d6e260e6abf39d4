"""The instance worker (agent/worker/instance/), driven as the agent drives it.

A busybox guest on an own bridge, with directories and cgroups of its own; see instance/lab.py.
"""

import concurrent.futures
import contextlib
import fcntl
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "instance"))
import instancelab as worker  # noqa: E402
from instancelab import IDMAP_BASE, IDMAP_SIZE, WorkerFailed, read_until, wait_for  # noqa: E402

WHY_NOT = worker.missing()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))

INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, RESOURCE_EXHAUSTED, FAILED_PRECONDITION = 3, 4, 5, 8, 9


@pytest.fixture(scope="module")
def pb(tmp_path_factory):
    return worker.load_protos(str(tmp_path_factory.mktemp("protos")))


@pytest.fixture(scope="module")
def lab(pb):
    lab = worker.Lab(pb)
    try:
        yield lab
    finally:
        lab.close()


@pytest.fixture
def name(lab):
    """A new instance's name; whatever became of it is destroyed."""
    name = lab.new_name()
    yield name
    lab.destroy(name)
    assert lab.left(name) == []
    assert not os.path.exists(f"{lab.state}/instances/{name}")


@pytest.fixture(scope="module")
def guest(lab):
    """A running guest that tests share and leave as it was."""
    name = lab.new_name("guest")
    lab.start(name, config={"environment.COLOUR": "green"})
    yield name
    lab.destroy(name)


def fails(code, *words):
    """The error has that code and names all that it should."""

    @contextlib.contextmanager
    def check():
        with pytest.raises(WorkerFailed) as e:
            yield e
        assert e.value.code == code, e.value
        for word in words:
            assert word in e.value.message + " " + e.value.hint

    return check()


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


# ---------------------------------------------------------------- create, start, probe, destroy


def test_create_makes_the_guests_files_with_its_ids(lab, name):
    lab.verb("create", name, lab.spec(name))
    base = IDMAP_BASE + (lab.names.index(name) + 1) * IDMAP_SIZE
    d = f"{lab.state}/instances/{name}"
    assert os.path.exists(f"{d}/spec.pb")
    st = os.stat(d)
    assert (st.st_uid, st.st_gid, st.st_mode & 0o777) == (0, base, 0o710)
    st = os.stat(f"{d}/upper")
    assert (st.st_uid, st.st_gid, st.st_mode & 0o777) == (base, base, 0o755)
    with open(f"{d}/upper/etc/hostname", encoding="ascii") as f:
        assert f.read() == f"{name}\n"
    assert os.stat(f"{d}/upper/etc/hostname").st_uid == base
    # The directory above it kept what the image gave it.
    assert os.stat(f"{d}/upper/etc").st_mode & 0o777 == 0o755
    assert not lab.probe(name).running
    assert lab.left(name) == []


def test_create_again_changes_nothing_but_the_spec(lab, name):
    lab.verb("create", name, lab.spec(name))
    mark = f"{lab.state}/instances/{name}/upper/mark"
    with open(mark, "w", encoding="ascii"):
        pass
    lab.verb("create", name, lab.spec(name, config={"user.x": "1"}))
    assert os.path.exists(mark)
    with open(f"{lab.state}/instances/{name}/spec.pb", "rb") as f:
        assert lab.pb.InstanceSpec.FromString(f.read()).config["user.x"] == "1"


def test_create_that_was_cut_short_begins_anew(lab, name):
    lab.verb("create", name, lab.spec(name))
    d = f"{lab.state}/instances/{name}"
    os.unlink(f"{d}/spec.pb")
    with open(f"{d}/upper/half", "w", encoding="ascii"):
        pass
    lab.verb("create", name, lab.spec(name))
    assert not os.path.exists(f"{d}/upper/half")
    assert os.path.exists(f"{d}/upper/etc/hostname")


def test_image_and_ids_are_for_life(lab, name):
    lab.verb("create", name, lab.spec(name))
    spec = lab.spec(name)
    spec.idmap_base += IDMAP_SIZE * 1000
    with fails(INVALID_ARGUMENT, "id range", name):
        lab.verb("create", name, spec)


def test_missing_image_is_named(lab, name):
    with fails(NOT_FOUND, "abababababab", name):
        lab.start(name, image="ab" * 32)


@pytest.mark.parametrize("image", ["../../etc", "short", "AB" * 32])
def test_image_must_be_a_fingerprint(lab, name, image):
    with fails(INVALID_ARGUMENT, "fingerprint"):
        lab.start(name, image=image)


@pytest.mark.parametrize("bad", ["", "..", "a/b", "Web", "x" * 64])
def test_names_are_checked(lab, bad):
    with fails(INVALID_ARGUMENT):
        lab.verb("probe", bad)


def test_start_creates_runs_and_stops_without_a_trace(lab, name):
    r = lab.start(name)
    assert r.running and alive(r.init_pid) and alive(r.monitor_pid)
    found = lab.probe(name)
    assert (found.running, found.init_pid, found.monitor_pid) == (True, r.init_pid, r.monitor_pid)
    assert lab.has_veth(name) and len(found.veths) == 1
    out = lab.sh(name, "hostname; id -u; cat /proc/1/comm; cat /proc/1/uid_map; ip -4 -o addr show eth0")
    base = IDMAP_BASE + (lab.names.index(name) + 1) * IDMAP_SIZE
    assert out.split()[:3] == [name, "0", "init"]
    assert str(base) in out and "10.99." in out
    # Nothing is mounted in the node's own namespace.
    with open("/proc/self/mounts", encoding="utf-8") as f:
        assert lab.state not in f.read()
    lab.stop(name)
    assert lab.left(name) == []
    assert not lab.probe(name).running
    # What it wrote is there at the next start.
    lab.start(name)
    lab.sh(name, "echo kept > /root/kept")
    lab.stop(name)
    lab.start(name)
    assert lab.sh(name, "cat /root/kept") == "kept\n"


def test_start_of_a_running_one(lab, name):
    first = lab.start(name)
    assert lab.start(name) == first
    with fails(FAILED_PRECONDITION, "running already", name):
        lab.start(name, config={"user.x": "1"})


def test_two_guests_share_the_image_not_the_ids(lab, name):
    other = lab.new_name()
    lab.start(name)
    lab.start(other)
    try:
        lab.sh(name, "echo mine > /bin/mine")
        assert lab.exec(other, "cat", "/bin/mine")[0].code == 1
        image = f"{lab.state}/images/{lab.image}/rootfs"
        assert not os.path.exists(f"{image}/bin/mine")
        assert os.stat(f"{image}/bin/busybox").st_uid == 0
        assert lab.sh(other, "stat -c %u /bin/busybox") == "0\n"
    finally:
        lab.destroy(other)


def test_devices_of_an_image_are_of_no_use(lab, name):
    tree = f"{lab.state}/images/{lab.image}/rootfs"
    os.mknod(f"{tree}/mnt/null", 0o666 | 0o20000, os.makedev(1, 3))
    try:
        lab.start(name)
        end, _, err = lab.exec(name, "sh", "-c", "echo x > /mnt/null")
        assert end.code != 0 and b"ermission denied" in err
    finally:
        os.unlink(f"{tree}/mnt/null")


def test_destroy_of_what_never_was(lab):
    lab.destroy("nobody")
    lab.verb("cleanup", "nobody")
    lab.stop("nobody")
    lab.stop("nobody", force=False)
    assert not lab.probe("nobody").running


def test_destroy_sweeps_what_earlier_ones_left(lab, name):
    stale = f"{lab.state}/instances/.deleting-gone-0/upper/deep"
    os.makedirs(stale)
    lab.start(name)
    lab.destroy(name)
    assert [d for d in os.listdir(f"{lab.state}/instances") if d.startswith(".deleting")] == []


def test_record_lost_is_written_anew(lab, name):
    r = lab.start(name)
    os.unlink(f"{lab.run}/{name}.pb")
    assert lab.probe(name) == r
    assert os.path.exists(f"{lab.run}/{name}.pb")


def test_record_of_another_process_is_not_believed(lab, name):
    lab.start(name)
    lab.stop(name)
    with open(f"{lab.run}/{name}.pb", "wb") as f:
        f.write(lab.pb.RunRecord(monitor_pid=os.getpid(), monitor_start=1, init_pid=1).SerializeToString())
    assert not lab.probe(name).running
    with open(f"{lab.run}/{name}.pb", "wb") as f:
        f.write(b"\xff\xff\xff")
    assert not lab.probe(name).running


# ---------------------------------------------------------------- failing starts


def test_missing_bridge(lab, name):
    spec = lab.spec(name)
    spec.nics[0].bridge = "lxtnone0"
    with fails(FAILED_PRECONDITION, "network bridge lxtnone0 does not exist on this node"):
        lab.verb("start", name, spec)
    assert lab.left(name) == []


def test_left_over_card_is_replaced_another_interface_is_not(lab, name):
    veth = lab.veth(name)
    subprocess.run(["ip", "link", "add", veth, "type", "veth", "peer", "name", f"{veth}p"[-15:]], check=True)
    lab.start(name)
    lab.stop(name)
    assert lab.left(name) == []
    subprocess.run(["ip", "link", "add", veth, "type", "bridge"], check=True)
    try:
        with fails(FAILED_PRECONDITION, veth):
            lab.start(name)
        lab.verb("cleanup", name)
        assert os.path.exists(f"/sys/class/net/{veth}")
    finally:
        subprocess.run(["ip", "link", "del", veth], check=True)


def test_no_init(lab, name):
    image = lab.make_image("no-init", lambda tree: os.makedirs(f"{tree}/etc"))
    with fails(FAILED_PRECONDITION, name, "/sbin/init"):
        lab.start(name, image=image)
    assert lab.left(name) == []


def test_init_that_cannot_run(lab, name):
    def fill(tree):
        for d in ["sbin", "proc", "sys", "dev", "etc"]:
            os.makedirs(f"{tree}/{d}")
        with open(f"{tree}/sbin/init", "w", encoding="ascii") as f:
            f.write("not a program")
        os.chmod(f"{tree}/sbin/init", 0o755)

    image = lab.make_image("bad-init", fill)
    with fails(FAILED_PRECONDITION, name, "/sbin/init"):
        lab.start(name, image=image)
    assert lab.left(name) == []


def test_init_that_ends_at_once(lab, name):
    def fill(tree):
        lab.fill_busybox(tree)
        os.unlink(f"{tree}/sbin/init")
        with open(f"{tree}/sbin/init", "w", encoding="ascii") as f:
            f.write("#!/bin/sh\nexit 0\n")
        os.chmod(f"{tree}/sbin/init", 0o755)

    image = lab.make_image("short-lived", fill)
    try:
        lab.start(name, image=image)
    except WorkerFailed as e:
        assert e.code is not None and name in e.message
    wait_for(lambda: not lab.probe(name).running)
    lab.verb("cleanup", name)
    assert lab.left(name) == []


def test_lingering_cgroups_do_not_matter(lab, name):
    for h in lab.hierarchies().values():
        os.makedirs(f"{h}/{lab.cgroup_root}/{name}/payload/a/b")
        os.makedirs(f"{h}/{lab.cgroup_root}/{name}/monitor")
    assert lab.start(name).running
    for h in lab.hierarchies().values():
        assert not os.path.exists(f"{h}/{lab.cgroup_root}/{name}/payload-1")


def test_state_directory_closed_to_others(lab, name):
    os.chmod(lab.state, 0o700)
    try:
        with fails(FAILED_PRECONDITION, lab.state, "chmod o+x"):
            lab.start(name)
    finally:
        os.chmod(lab.state, 0o711)
    assert lab.left(name) == []


def test_worker_killed_while_starting(lab, name):
    """At any moment: cleanup leaves nothing, and the next start works."""
    rng = random.Random(7)
    begin = time.monotonic()
    lab.start(name)
    usual = time.monotonic() - begin
    lab.destroy(name)
    for _ in range(25):
        job = lab.job(spec=lab.spec(name))
        job.start.SetInParent()
        w = lab.submit(job)
        time.sleep(rng.uniform(0, 1.3 * usual))
        w.kill()
        if rng.random() < 0.3:
            # liblxc may go on without the worker for a while.
            time.sleep(0.05)
        lab.verb("cleanup", name)
        assert lab.left(name) == []
        assert not lab.probe(name).running
    r = lab.start(name)
    assert alive(r.init_pid)


def test_killed_worker_whose_guest_runs_is_found(lab, name):
    job = lab.job(spec=lab.spec(name))
    job.start.SetInParent()
    w = lab.submit(job)
    w.report()
    w.kill()
    os.unlink(f"{lab.run}/{name}.pb")
    r = lab.probe(name)
    assert r.running and alive(r.init_pid)


# ---------------------------------------------------------------- stop


def test_clean_stop(lab, name):
    lab.start(name)
    assert "guest is up" in wait_for(lambda: console(lab, name))
    begin = time.monotonic()
    lab.stop(name, force=False, timeout=20)
    assert time.monotonic() - begin < 15
    assert lab.left(name) == []
    # It was asked, not killed.
    assert "guest goes down" in console(lab, name)


def test_clean_stop_that_takes_too_long(lab, name):
    def fill(tree):
        lab.fill_busybox(tree)
        os.unlink(f"{tree}/sbin/init")
        with open(f"{tree}/sbin/init", "w", encoding="ascii") as f:
            f.write("#!/bin/sh\ntrap : TERM PWR\nwhile :; do sleep 1; done\n")
        os.chmod(f"{tree}/sbin/init", 0o755)

    r = lab.start(name, image=lab.make_image("stubborn", fill))
    wait_for(lambda: lab.sh(name, "cat /proc/1/status | grep SigCgt").split()[1] != "0" * 16)
    begin = time.monotonic()
    with fails(DEADLINE_EXCEEDED, name, "within 1 s", f"lxmgr stop {name} --force"):
        lab.stop(name, force=False, timeout=1)
    assert 0.9 < time.monotonic() - begin < 4
    assert alive(r.init_pid)
    lab.stop(name)
    assert lab.left(name) == []


def test_clean_stop_of_an_init_that_hears_nothing(lab, name):
    def fill(tree):
        lab.fill_busybox(tree)
        os.unlink(f"{tree}/sbin/init")
        with open(f"{tree}/sbin/init", "w", encoding="ascii") as f:
            f.write("#!/bin/sh\nexec sleep 1000000\n")
        os.chmod(f"{tree}/sbin/init", 0o755)

    lab.start(name, image=lab.make_image("deaf", fill))
    wait_for(lambda: lab.sh(name, "cat /proc/1/comm") == "sleep\n")
    with fails(FAILED_PRECONDITION, name, "--force"):
        lab.stop(name, force=False, timeout=1)


def test_force_stop_of_a_wedged_monitor(lab, name):
    r = lab.start(name)
    os.kill(r.monitor_pid, signal.SIGSTOP)
    lab.stop(name)
    assert lab.left(name) == []


def test_wedged_monitor_whose_record_is_lost(lab, name):
    r = lab.start(name)
    os.unlink(f"{lab.run}/{name}.pb")
    os.kill(r.monitor_pid, signal.SIGSTOP)
    lab.verb("cleanup", name)
    assert lab.left(name) == []


def test_killed_monitor(lab, name):
    r = lab.start(name)
    os.kill(r.monitor_pid, signal.SIGKILL)
    wait_for(lambda: not lab.probe(name).running)
    lab.verb("cleanup", name)
    assert lab.left(name) == []
    assert lab.start(name).running


def test_poweroff_inside(lab, name):
    r = lab.start(name)
    lab.exec(name, "poweroff")
    wait_for(lambda: not alive(r.monitor_pid))
    assert not lab.probe(name).running
    lab.verb("cleanup", name)
    assert lab.left(name) == []


def test_reboot_inside(lab, name):
    first = lab.start(name)
    lab.sh(name, "touch /run/before")
    lab.exec(name, "reboot")
    again = wait_for(lambda: (r := lab.probe(name)).init_pid not in (0, first.init_pid) and r)
    assert again.running and again.monitor_pid == first.monitor_pid
    assert lab.sh(name, "cat /proc/1/comm; ip -4 -o addr show eth0").startswith("init\n")
    assert console(lab, name).count("guest is up") == 2
    lab.stop(name)
    assert lab.left(name) == []


def test_deep_cgroups_of_the_guest_are_removed(lab, name):
    lab.start(name)
    lab.sh(name, "cd /sys/fs/cgroup && for i in $(seq 60); do mkdir d e && cd d || exit 1; done")
    lab.stop(name)
    assert lab.left(name) == []


@pytest.mark.limit(300)
def test_two_hundred_are_deleted_by_force(lab):
    names = [lab.new_name("many") for _ in range(200)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        try:
            list(pool.map(lab.start, names))
            list(pool.map(lab.destroy, names))
            assert [n for n in names if lab.cgroups(n) or lab.has_veth(n)] == []
        finally:
            left = [n for n in names if lab.cgroups(n) or lab.has_veth(n)]
            list(pool.map(lab.destroy, left))


# ---------------------------------------------------------------- freeze


def test_freeze(lab, name):
    lab.start(name)
    lab.sh(name, "(while :; do date +%s%N > /tmp/t; done) >/dev/null 2>&1 & sleep 0.2")
    lab.verb("freeze", name, frozen=True)
    path = f"{lab.state}/instances/{name}/upper/tmp/t"

    def read():
        with open(path, encoding="ascii") as f:
            return f.read()

    before = read()
    time.sleep(0.3)
    assert read() == before
    with fails(FAILED_PRECONDITION, "frozen", "unfreeze"):
        lab.exec(name, "true")
    with fails(FAILED_PRECONDITION, "frozen", "--force"):
        lab.stop(name, force=False, timeout=1)
    assert lab.probe(name).running
    lab.verb("freeze", name, frozen=True)
    lab.verb("freeze", name, frozen=False)
    wait_for(lambda: read() not in (before, ""))
    assert lab.exec(name, "true")[0].code == 0
    lab.verb("freeze", name, frozen=True)
    lab.stop(name)
    assert lab.left(name) == []


def test_freeze_of_a_stopped_one(lab, name):
    lab.verb("create", name, lab.spec(name))
    with fails(FAILED_PRECONDITION, f"{name} is not running", f"lxmgr start {name}"):
        lab.verb("freeze", name, frozen=True)


# ---------------------------------------------------------------- limits

LIMITS = {"limits.memory": "64MiB", "limits.processes": "123", "limits.cpu": "0-0", "limits.cpu.allowance": "50%"}
MEMORY = ("memory.limit_in_bytes", "memory.max")


def test_limits_at_start(lab, name):
    lab.start(name, config=LIMITS)
    assert lab.payload_file(name, *MEMORY) == str(64 << 20)
    assert lab.payload_file(name, "pids.max") == "123"
    assert lab.payload_file(name, "cpuset.cpus") == "0"
    assert lab.payload_file(name, "cpu.shares", "cpu.weight") in ("512", "50")


def test_limits_change_on_a_running_one(lab, name):
    lab.start(name, config=LIMITS)

    def change(**config):
        r = lab.verb("limits", name, lab.spec(name, config={k.replace("__", "."): v for k, v in config.items()}))
        assert r.running
        return lab.payload_file(name, *MEMORY)

    assert change(limits__memory="32MiB") == str(32 << 20)
    assert lab.payload_file(name, "pids.max") == "max"
    assert change(limits__memory="1GiB", limits__memory__swap="false") == str(1 << 30)
    assert change(limits__memory="16MiB", limits__memory__swap="false") == str(16 << 20)
    assert change(limits__memory="512MiB") == str(512 << 20)
    assert int(change().replace("max", str(1 << 62))) > 1 << 40
    with open(f"{lab.state}/instances/{name}/spec.pb", "rb") as f:
        assert not lab.pb.InstanceSpec.FromString(f.read()).config


def test_limits_say_what_needs_a_restart(lab, name):
    lab.start(name, config={"limits.kernel.nofile": "100"})
    spec = lab.spec(name, config={"limits.kernel.nofile": "200", "security.syscalls.deny": "swapon", "user.a": "b"})
    spec.nics[0].mtu = 1400
    r = lab.verb("limits", name, spec)
    assert sorted(r.needs_restart) == ["device eth0", "limits.kernel.nofile", "security.syscalls.deny"]
    # Stored: the same again needs nothing more.
    assert list(lab.verb("limits", name, spec).needs_restart) == []
    lab.stop(name)
    r = lab.verb("limits", name, lab.spec(name))
    assert not r.running and list(r.needs_restart) == []


def test_limit_the_kernel_refuses(lab, name):
    lab.start(name)
    lab.sh(name, "mkdir -p /dev/shm; mount -t tmpfs none /dev/shm; head -c 60000000 /dev/zero > /dev/shm/x")
    with fails(FAILED_PRECONDITION, name, "memory"):
        lab.verb("limits", name, lab.spec(name, config={"limits.memory": "8MiB", "limits.processes": "55"}))
    # Nothing of it stayed.
    assert lab.payload_file(name, "pids.max") == "max"
    with open(f"{lab.state}/instances/{name}/spec.pb", "rb") as f:
        assert not lab.pb.InstanceSpec.FromString(f.read()).config


def test_memory_limit_kills_the_hog_not_the_guest(lab, name):
    lab.start(name, config={"limits.memory": "32MiB", "limits.memory.swap": "false"})
    end, _, _ = lab.exec(name, "sh", "-c", "x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo ${#x}")
    assert end.code != 0
    assert lab.probe(name).running


# ---------------------------------------------------------------- exec


def test_exec_codes(lab, guest):
    assert lab.exec(guest, "true")[0].code == 0
    assert lab.exec(guest, "sh", "-c", "exit 42")[0].code == 42
    end, _, err = lab.exec(guest, "no-such-program")
    assert end.code == 127 and b"no-such-program: command not found" in err
    end, _, err = lab.exec(guest, "/etc/passwd")
    assert end.code == 126 and b"ermission denied" in err
    end, _, _ = lab.exec(guest, "sh", "-c", "kill -TERM $$")
    assert (end.code, end.signal) == (128 + 15, 15)


def test_exec_stdio(lab, guest):
    end, out, err = lab.exec(guest, "sh", "-c", "cat; echo oops >&2", stdin=b"hello\0\xff")
    assert (end.code, out, err) == (0, b"hello\0\xff", b"oops\n")


def test_exec_does_not_leak_descriptors(lab, guest):
    assert set(lab.sh(guest, "ls /proc/self/fd").split()) <= {"0", "1", "2", "3"}


def test_exec_is_in_the_guests_cgroups_and_confined(lab, guest):
    ours = lab.sh(guest, "cat /proc/self/cgroup; grep -E 'Seccomp:|CapBnd' /proc/self/status")
    init = lab.sh(guest, "cat /proc/1/cgroup; grep -E 'Seccomp:|CapBnd' /proc/1/status")
    assert "Seccomp:\t2" in ours
    assert ours.splitlines()[-2:] == init.splitlines()[-2:]
    w = start_sleep(lab, guest)
    pid, _ = w.started()
    assert cgroups_of(pid)["0"].startswith(f"/{lab.cgroup_root}/{guest}/payload")
    assert {**cgroups_of(pid), "0": ""} == {**cgroups_of(lab.probe(guest).init_pid), "0": ""}
    os.kill(-pid, signal.SIGKILL)
    assert w.result().exit.signal == signal.SIGKILL


def cgroups_of(pid):
    with open(f"/proc/{pid}/cgroup", encoding="ascii") as f:
        return {line.split(":")[0]: line.strip().split(":", 2)[2] for line in f}


def start_sleep(lab, guest, *command):
    null = os.open("/dev/null", os.O_RDWR)
    w = lab.submit(lab.exec_job(guest, command or ("sleep", "1000")), [null, null, null])
    os.close(null)
    return w


def test_exec_signal_goes_to_the_group(lab, guest):
    w = start_sleep(lab, guest, "sh", "-c", "sleep 1000; sleep 1000")
    pid, _ = w.started()
    wait_for(lambda: os.path.exists(f"/proc/{pid}/task/{pid}/children") and children(pid))
    child = children(pid)[0]
    assert os.getpgid(pid) == pid == os.getsid(pid)
    os.kill(-pid, signal.SIGTERM)
    end = w.result().exit
    assert (end.code, end.signal) == (143, 15)
    wait_for(lambda: not alive(child))


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        return list(map(int, f.read().split()))


def test_exec_environment(lab, guest):
    env = dict(
        line.split("=", 1)
        for line in lab.exec(guest, "env", environment={"A": "1 2", "HOME": "/x"})[1].decode().splitlines()
    )
    assert env == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/x",
        "USER": "root",
        "LOGNAME": "root",
        "SHELL": "/bin/sh",
        "COLOUR": "green",
        "A": "1 2",
    }
    assert lab.exec(guest, "env", environment={"COLOUR": "red"})[1].count(b"COLOUR=red") == 1
    with fails(INVALID_ARGUMENT, "A=B"):
        lab.exec(guest, "env", environment={"A=B": "x"})


def test_exec_user(lab, guest):
    def who(user):
        return lab.exec(guest, "sh", "-c", "id -u; id -g; id -G; pwd; echo $HOME $USER $SHELL", user=user)[1]

    assert who("web").decode().split("\n")[:5] == ["1000", "1001", "1001 44", "/home/web", "/home/web web /bin/ash"]
    assert who("1000") == who("web")
    assert who("web:media").decode().split("\n")[:3] == ["1000", "44", "44"]
    assert who("0:44").decode().split("\n")[:3] == ["0", "44", "44"]
    assert who("4242").decode().split("\n")[:5] == ["4242", "4242", "4242", "/", "/ 4242 /bin/sh"]
    with fails(INVALID_ARGUMENT, "nobody-here"):
        who("nobody-here")
    with fails(INVALID_ARGUMENT, "no-group"):
        who("web:no-group")
    with fails(INVALID_ARGUMENT, "guest"):
        who("70000")


def test_exec_cwd(lab, guest):
    assert lab.exec(guest, "pwd", cwd="/etc")[1] == b"/etc\n"
    assert lab.exec(guest, "pwd")[1] == b"/root\n"
    with fails(NOT_FOUND, "/no/where"):
        lab.exec(guest, "pwd", cwd="/no/where")


def test_exec_in_a_stopped_one(lab, name):
    lab.verb("create", name, lab.spec(name))
    with fails(FAILED_PRECONDITION, f"{name} is not running", f"lxmgr start {name}"):
        lab.exec(name, "true")


def test_exec_without_command_or_descriptors(lab, guest):
    with fails(INVALID_ARGUMENT, "no command"):
        lab.exec(guest)
    with fails(INVALID_ARGUMENT, "descriptors"):
        lab.submit(lab.exec_job(guest, ["true"])).started()


@contextlib.contextmanager
def on_terminal(lab, guest, *command, **fields):
    w = lab.submit(lab.exec_job(guest, command, terminal=not fields.get("console"), **fields))
    pid, pty = w.started()
    try:
        yield w, pid, pty
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-pid, signal.SIGKILL)
        w.close()
        with contextlib.suppress(OSError):
            os.close(pty)


def test_exec_terminal(lab, guest):
    with on_terminal(lab, guest, "sh", size=(33, 77)) as (w, _, pty):
        os.write(pty, b"tty; stty size; echo $TERM; echo err >&2; id -u\n")
        got = read_until(pty, b"err\r\n0\r\n")
        assert b"/dev/pts/" in got and b"33 77" in got and b"xterm" in got
        fcntl.ioctl(pty, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        os.write(pty, b"stty size\n")
        read_until(pty, b"40 100")
        # Ctrl-C reaches the foreground job, not the shell.
        os.write(pty, b"sleep 1000\n")
        time.sleep(0.2)
        os.write(pty, b"\x03")
        os.write(pty, b"echo still-here\n")
        read_until(pty, b"still-here\r\n")
        os.write(pty, b"exit 3\n")
        assert w.result().exit.code == 3


def test_exec_terminal_belongs_to_the_user(lab, guest):
    with on_terminal(lab, guest, "sh", "-c", "stat -c %u $(tty); read x", user="web") as (_, _, pty):
        read_until(pty, b"1000")


def test_exec_terminal_hangs_up_with_its_master(lab, guest):
    w = lab.submit(lab.exec_job(guest, ["sleep", "1000"], terminal=True))
    _, pty = w.started()
    os.close(pty)
    assert w.result().exit.signal == signal.SIGHUP


def test_exec_does_not_trust_the_guests_ptmx(lab, name):
    lab.start(name)
    lab.sh(name, "touch /root/fake; mount -o bind /root/fake /dev/pts/ptmx")
    with fails(FAILED_PRECONDITION, name):
        try:
            lab.submit(lab.exec_job(name, ["sh"], terminal=True)).started()
        except WorkerFailed as e:
            # ENOTTY is answered by the guest's half, a faked master by ours.
            raise WorkerFailed(FAILED_PRECONDITION, e.message, e.hint) from None


def test_exec_does_not_hang_on_a_fifo_for_passwd(lab, name):
    lab.start(name)
    lab.sh(name, "rm /etc/passwd; mkfifo /etc/passwd")
    assert lab.exec(name, "true")[0].code == 0


def test_console_logs_in(lab, guest):
    with on_terminal(lab, guest, console=True) as (_, _, pty):
        read_until(pty, b"login:")


def test_console_without_login_is_a_login_shell(lab, name):
    lab.start(name)
    lab.sh(name, "rm /bin/login")
    with on_terminal(lab, name, console=True) as (_, _, pty):
        os.write(pty, b"echo $0-$((40 + 2))\n")
        read_until(pty, b"-sh-42")


def test_agent_gone_before_the_start_is_told(lab, guest):
    null = os.open("/dev/null", os.O_RDWR)
    w = lab.submit(lab.exec_job(guest, ("sleep", "98765")), [null, null, null])
    os.close(null)
    w.sock.close()
    w.process.wait(timeout=10)
    wait_for(lambda: "98765" not in lab.sh(guest, "ps -o args | grep -v grep"))


# ---------------------------------------------------------------- console log


def console(lab, name, **fields):
    job = lab.job()
    job.console_log.instance = name
    for k, v in fields.items():
        setattr(job.console_log, k, v)
    r, w = os.pipe()
    process = lab.submit(job, [w])
    os.close(w)
    with open(r, "rb") as f:
        text = f.read().decode()
    try:
        process.result()
    except WorkerFailed:
        return ""
    return text


def test_console_log(lab, name):
    lab.start(name)
    wait_for(lambda: console(lab, name) == "guest is up\n")
    lab.sh(name, "for i in 1 2 3 4 5; do echo line $i >> /var/log/console.log; done")
    assert console(lab, name, lines=2) == "line 4\nline 5\n"
    assert console(lab, name, lines=100).startswith("guest is up\n")
    lab.stop(name)
    assert console(lab, name, lines=1) == "line 5\n"


def test_console_log_follows(lab, name):
    lab.start(name)
    job = lab.job()
    job.console_log.instance, job.console_log.follow = name, True
    r, w = os.pipe()
    process = lab.submit(job, [w])
    os.close(w)
    read_until(r, b"guest is up\n")
    lab.sh(name, "echo and on >> /var/log/console.log")
    read_until(r, b"and on\n")
    lab.stop(name)
    process.result(timeout=10)
    os.close(r)


def test_console_log_ends_with_its_reader(lab, guest):
    job = lab.job()
    job.console_log.instance, job.console_log.follow = guest, True
    r, w = os.pipe()
    process = lab.submit(job, [w])
    os.close(w)
    read_until(r, b"guest is up\n")
    os.close(r)
    process.result(timeout=10)


def test_console_log_that_grew_is_begun_anew(lab, name):
    lab.start(name)
    lab.sh(name, "head -c 2000000 /dev/zero >> /var/log/console.log")
    lab.stop(name)
    lab.start(name)
    wait_for(lambda: console(lab, name) == "guest is up\n")


def test_console_log_may_be_anything(lab, name):
    lab.start(name)
    lab.sh(name, "rm /var/log/console.log; ln -s /etc/passwd /var/log/console.log; head -c 2000000 /dev/zero > /etc/big")
    lab.stop(name)
    # The guest's own link within the guest's own files: nothing of the node's is read or cut.
    lab.start(name)
    assert lab.sh(name, "wc -c < /etc/big") == "2000000\n"
    lab.sh(name, "rm /var/log/console.log; mkdir /var/log/console.log")
    lab.stop(name)
    assert lab.start(name).running


def test_console_log_of_nothing(lab, name):
    lab.verb("create", name, lab.spec(name))
    job = lab.job()
    job.console_log.instance = name
    r, w = os.pipe()
    with fails(FAILED_PRECONDITION, name):
        lab.submit(job, [w]).result()
    os.close(r)
    os.close(w)


# ---------------------------------------------------------------- files


@pytest.fixture(params=["running", "stopped"])
def files(request, lab, name):
    """An instance to move files in and out of, running or not."""
    if request.param == "running":
        lab.start(name)
    else:
        lab.verb("create", name, lab.spec(name))
    return name


def test_push_and_pull_a_tree(lab, files):
    when = 1_600_000_000_123_456_789
    big = random.Random(1).randbytes(300_000)
    r = lab.push(
        files,
        "/srv/data",
        [
            lab.entry("", "DIRECTORY", mode=0o751, uid=1000, gid=1001, mtime_ns=when),
            lab.file("a", b"hello", mode=0o640, uid=1000, gid=44, mtime_ns=when + 1),
            lab.entry("sub", "DIRECTORY", mode=0o2700, mtime_ns=when + 2),
            lab.file("sub/big", big, mode=0o4755, mtime_ns=when + 3),
            lab.file("sub/empty", mtime_ns=when + 4),
            lab.entry("link", "SYMLINK", target="../../etc/shadow", uid=7, gid=8, mtime_ns=when + 5),
        ],
        create_dirs=True,
    )
    assert (r.files, r.bytes) == (6, 300_005)
    got = lab.pull(files, "/srv/data", recursive=True)
    assert sorted(got) == ["", "a", "link", "sub", "sub/big", "sub/empty"]
    assert (got["a"][1], got["sub/big"][1]) == (b"hello", big)

    def attributes(path):
        e = got[path][0]
        return oct(e.mode), e.uid, e.gid, e.mtime_ns - when

    assert attributes("") == ("0o751", 1000, 1001, 0)
    assert attributes("a") == ("0o640", 1000, 44, 1)
    assert attributes("sub") == ("0o2700", 0, 0, 2)
    assert attributes("sub/big") == ("0o4755", 0, 0, 3)
    assert got["link"][0].target == "../../etc/shadow"
    assert (got["link"][0].uid, got["link"][0].gid, got["link"][0].mtime_ns - when) == (7, 8, 5)
    # Directories come before what is in them.
    order = list(got)
    assert order.index("sub") < order.index("sub/big")
    assert lab.left(files) == [] or lab.probe(files).running


def test_push_one_file(lab, files):
    lab.push(files, "/tmp/x", [lab.file("", b"one")])
    assert lab.pull(files, "/tmp/x")[""][1] == b"one"
    lab.push(files, "/tmp/x", [lab.file("", b"two")])
    lab.push(files, "/tmp", [lab.file("y", b"three")], into_directory=True)
    assert lab.pull(files, "/tmp/x")[""][1] == b"two"
    assert lab.pull(files, "/tmp/y")[""][1] == b"three"
    assert sorted(lab.pull(files, "/tmp", recursive=True)) == ["", "x", "y"]
    # /tmp itself stays as it was.
    assert lab.pull(files, "/tmp", recursive=True)[""][0].mode == 0o1777


def test_push_errors_name_the_path(lab, files):
    with fails(NOT_FOUND, "/no/such", "--create-dirs", files):
        lab.push(files, "/no/such/file", [lab.file("", b"x")])
    with fails(NOT_FOUND, "/no/such"):
        lab.push(files, "/no/such", [lab.file("a", b"x")], into_directory=True)
    with pytest.raises(WorkerFailed) as e:
        lab.push(files, "/etc", [lab.file("", b"x")])
    assert "directory" in e.value.message + e.value.hint
    with fails(INVALID_ARGUMENT, "begin with /"):
        lab.push(files, "etc/x", [lab.file("", b"x")])
    with fails(INVALID_ARGUMENT, "/tmp/x", "70000"):
        lab.push(files, "/tmp/x", [lab.file("", b"x", uid=70000)])
    assert sorted(lab.pull(files, "/tmp", recursive=True)) == [""]


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/x", "a//b", "./x", "a/.", ".."])
def test_push_stays_below_its_path(lab, files, path):
    with fails(INVALID_ARGUMENT):
        lab.push(
            files,
            "/tmp/d",
            [lab.entry("", "DIRECTORY", mode=0o755), lab.entry("a", "DIRECTORY", mode=0o755), lab.file(path, b"x")],
        )


def test_push_half_a_file_leaves_nothing(lab, files):
    lab.push(files, "/tmp/x", [lab.file("", b"old")])
    e = lab.entry("", size=1000)
    with pytest.raises(WorkerFailed):
        lab.push(files, "/tmp/x", [(e, b"only this")])
    with fails(INVALID_ARGUMENT, "announced"):
        lab.push(files, "/tmp/x", [(lab.entry("", size=3), b"too much")])
    job = lab.job()
    job.push.instance, job.push.path = files, "/tmp/x"
    with pytest.raises(WorkerFailed):
        lab.push_raw(job, b"\0\0\0\x05ab")
    with fails(INVALID_ARGUMENT, "limit"):
        lab.push_raw(job, b"\xff\xff\xff\xff")
    with fails(INVALID_ARGUMENT):
        lab.push_raw(job, b"\0\0\0\x04\xff\xff\xff\xff")
    got = lab.pull(files, "/tmp", recursive=True)
    assert sorted(got) == ["", "x"] and got["x"][1] == b"old"


def test_hostile_links_lead_nowhere(lab, files, tmp_path):
    """Whatever links a guest has, what is written and read is the guest's own."""
    upper = f"{lab.state}/instances/{files}/upper"
    running = lab.probe(files).running
    canary = "/etc/lxmgr-canary"
    plant = f"ln -s / /tmp/root; ln -s ../../../../../../../../.. /tmp/up; ln -s /proc/1/root /tmp/proc; ln -s {canary} /tmp/abs"
    if not running:
        lab.start(files)
    lab.sh(files, plant)
    if not running:
        lab.stop(files)
    for via in ["/tmp/root", "/tmp/up", "/tmp/up/.."]:
        lab.push(files, f"{via}{canary}", [lab.file("", b"guest's")])
        assert not os.path.exists(canary)
        assert lab.pull(files, canary)[""][1] == b"guest's"
        job = lab.job()
        job.delete_file.instance, job.delete_file.path = files, f"{via}{canary}"
        lab.submit(job).result()
    # A link at the end of the path is replaced, one below it refused.
    lab.push(files, "/tmp/abs", [lab.file("", b"x")])
    assert lab.pull(files, "/tmp", recursive=True)["abs"][0].type == lab.pb.FileType.Value("FILE_TYPE_REGULAR")
    with fails(FAILED_PRECONDITION, "symbolic link"):
        lab.push(files, "/tmp", [lab.file("root/etc/x", b"x")], into_directory=True)
    # The node's files cannot be read through /proc either.
    with pytest.raises(WorkerFailed):
        lab.pull(files, f"/tmp/proc{tmp_path}")
    assert os.path.exists(upper)


def test_push_cannot_make_devices_or_foreign_ids(lab, files):
    e = lab.entry("", mode=0o20666)
    lab.push(files, "/tmp/dev", [(e, b"")])
    got = lab.pull(files, "/tmp/dev")[""][0]
    assert got.mode == 0o666
    with fails(INVALID_ARGUMENT):
        lab.push(files, "/tmp/x", [lab.file("", uid=IDMAP_BASE)])


def test_pull_errors(lab, files):
    with fails(NOT_FOUND, "/etc/none", files):
        lab.pull(files, "/etc/none")
    with fails(FAILED_PRECONDITION, "/etc", "--recursive"):
        lab.pull(files, "/etc")
    with fails(INVALID_ARGUMENT):
        lab.pull(files, "etc/passwd")


def test_pull_follows_the_path_not_the_tree(lab, name):
    lab.start(name)
    lab.sh(name, "mkdir /tmp/d; ln -s /etc/passwd /tmp/d/l; mkfifo /tmp/d/fifo; echo 1 > /tmp/d/f")
    assert b"root:" in lab.pull(name, "/tmp/d/l")[""][1]
    got = lab.pull(name, "/tmp/d", recursive=True)
    assert sorted(got) == ["", "f", "l"]
    with fails(FAILED_PRECONDITION, "/tmp/d/fifo"):
        lab.pull(name, "/tmp/d/fifo")


def test_pull_reader_gone(lab, name):
    lab.start(name)
    lab.sh(name, "head -c 50000000 /dev/zero > /tmp/big")
    job = lab.job()
    job.pull.instance, job.pull.path = name, "/tmp/big"
    ours, theirs = socket.socketpair()
    w = lab.submit(job, [theirs.fileno()])
    theirs.close()
    ours.recv(1000)
    ours.close()
    with pytest.raises(WorkerFailed) as e:
        w.result()
    assert e.value.code is not None


def test_delete_file(lab, files):
    def delete(path, recursive=False):
        job = lab.job()
        job.delete_file.instance, job.delete_file.path, job.delete_file.recursive = files, path, recursive
        return lab.submit(job).result()

    lab.push(files, "/tmp/d", [lab.entry("", "DIRECTORY", mode=0o755), lab.file("f", b"x")])
    with fails(FAILED_PRECONDITION, "/tmp/d", "--recursive"):
        delete("/tmp/d")
    delete("/tmp/d/f")
    delete("/tmp/d/")
    with fails(NOT_FOUND, "/tmp/d"):
        delete("/tmp/d")
    lab.push(files, "/tmp/d", [lab.entry("", "DIRECTORY", mode=0o755), lab.file("f", b"x")])
    lab.push(files, "/tmp/l", [lab.entry("", "SYMLINK", target="d")])
    delete("/tmp/l", True)
    delete("/tmp/d", True)
    # What the image has can be deleted as well, in this instance only.
    delete("/bin/vi")
    assert os.path.lexists(f"{lab.state}/images/{lab.image}/rootfs/bin/vi")
    with fails(INVALID_ARGUMENT, "root directory"):
        delete("/", True)
    assert sorted(lab.pull(files, "/tmp", recursive=True)) == [""]


# ---------------------------------------------------------------- the process itself


def test_waiting_worker_leaves_when_the_agent_goes(lab):
    w = worker.Worker(lab.pb, None)
    w.sock.close()
    assert w.process.wait(timeout=5) == 0


def test_job_it_does_not_know(lab):
    job = lab.job("web")
    with pytest.raises(WorkerFailed) as e:
        lab.submit(job).result()
    assert e.value.code == 12


def test_garbage_for_a_job(lab):
    w = worker.Worker(lab.pb, None)
    w.sock.send(b"\xff\xff\xff")
    with pytest.raises(WorkerFailed):
        w.result()


def test_monitor_stays_small(lab, name):
    """The monitor is a fork of the worker: what the worker has, each running guest has."""
    lab.start(name)
    with open(f"/proc/{lab.probe(name).monitor_pid}/smaps_rollup", encoding="ascii") as f:
        size = {line.split(":")[0]: int(line.split()[1]) for line in f if "kB" in line}
    # What it shares with all others (the C library, liblxc) is there as the kernel has read it around what was asked for.
    assert size["Rss"] < 4500 and size["Private_Dirty"] < 900, size
    with open(f"/proc/{lab.probe(name).monitor_pid}/status", encoding="ascii") as f:
        assert "Threads:\t1\n" in f.read()
    fds = os.listdir(f"/proc/{lab.probe(name).monitor_pid}/fd")
    links = [os.readlink(f"/proc/{lab.probe(name).monitor_pid}/fd/{fd}") for fd in fds]
    # The agent's socket above all: it would never see the worker's end.
    assert [x for x in links if x.startswith(lab.state) and not x.endswith("lxc.log")] == []
