"""What stands in the way of a live move (migration/preflight*.c) and quiescing (migration/quiesce.c).

A busybox guest with real processes in it that cannot be moved: tests/system/migration/culprit.c
makes them from outside, because the guest's filter of system calls refuses some.
"""

import os
import re
import signal
import socket
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "instance"))
import instancelab as worker  # noqa: E402
from instancelab import BUILD, wait_for  # noqa: E402

DRIVER = f"{BUILD}/tests/preflight-driver"
CULPRIT = f"{BUILD}/tests/preflight-culprit"


def missing():
    for program in (DRIVER, CULPRIT):
        if not os.access(program, os.X_OK):
            return f"{program} is not built (make check-bins)"
    return worker.missing()


WHY_NOT = missing()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    lab = worker.Lab(worker.load_protos(str(tmp_path_factory.mktemp("protos"))))
    try:
        yield lab
    finally:
        lab.close()


class Guest:
    def __init__(self, lab, name):
        self.lab, self.name = lab, name
        unified = [h for h in lab.hierarchies().values() if os.path.exists(f"{h}/cgroup.controllers")][0]
        self.cgroup = f"{unified}/{lab.cgroup_root}/{name}/payload"
        self.init = next(pid for pid in self.pids() if self.inside(pid) == 1)

    def pids(self, group=""):
        found = []
        for base, _, _ in os.walk(f"{self.cgroup}/{group}"):
            with open(f"{base}/cgroup.procs", encoding="ascii") as f:
                found += map(int, f.read().split())
        return found

    @staticmethod
    def inside(pid):
        """Its number in the guest; None when it is gone, as the helpers of a start soon are."""
        try:
            with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as f:
                return int(re.search(r"^NSpid:.*\s(\d+)$", f.read(), re.M)[1])
        except (FileNotFoundError, ProcessLookupError):
            return None

    def scan(self):
        """[(code, blocks, cause, cure)]"""
        done = subprocess.run([DRIVER, "scan", str(self.init), self.cgroup], capture_output=True, check=True)
        lines = [line.split("\t") for line in done.stdout.decode("utf-8").splitlines()]
        assert all(len(line) == 4 and line[1] in ("blocks", "passes") for line in lines), done.stdout
        return lines

    def quiesce(self):
        subprocess.run([DRIVER, "quiesce", str(self.init), self.cgroup], check=True)

    def mounts(self, pid=None):
        with open(f"/proc/{pid or self.init}/mountinfo", encoding="utf-8") as f:
            return [line.split() for line in f]

    def kill(self, unit):
        with open(f"{self.cgroup}/{unit}/cgroup.kill", "w", encoding="ascii") as f:
            f.write("1")
        wait_for(lambda: not self.pids(unit))
        os.rmdir(f"{self.cgroup}/{unit}")


@pytest.fixture(scope="module")
def guest(lab):
    name = lab.new_name("guest")
    lab.start(name)
    return Guest(lab, name)


@pytest.fixture
def culprit(guest):
    """Starts one; its pid inside."""
    units = []

    def start(kind, unit="culprit.service"):
        if unit not in units:
            units.append(unit)
        done = subprocess.run(
            [CULPRIT, str(guest.init), guest.cgroup, unit, kind], capture_output=True, text=True, check=False, timeout=30
        )
        if done.returncode or not done.stdout:
            pytest.skip(f"this machine has no {kind}: {done.stderr.strip()}")
        return int(done.stdout)

    yield start
    for unit in units:
        guest.kill(unit)


def test_nothing_stands_in_the_way_of_an_idle_guest(guest):
    assert guest.scan() == []


def test_what_can_be_moved_is_no_obstacle(guest, culprit):
    culprit("harmless")
    assert guest.scan() == []


@pytest.mark.parametrize(
    "kind, code, words",
    [
        ("io-uring", "io-uring", "uses io_uring"),
        ("bpf", "bpf", "BPF map"),
        ("unix-peer", "unix-peer", "made outside"),
        ("file-outside", "file-outside", "/proc/version"),
        ("socket-mptcp", "socket-mptcp", "Multipath TCP"),
        ("socket-vsock", "socket-vsock", "vsock"),
        ("nested-namespace", "nested-namespace", "UTS namespace"),
        ("network", "nested-namespace", "network namespace"),
        ("ghost-file", "ghost-file", "deleted file of 1.1GiB"),
        ("secretmem", "secretmem", "secret memory"),
    ],
)
def test_each_is_found_with_process_and_unit(guest, culprit, kind, code, words):
    pid = culprit(kind)
    (found,) = guest.scan()
    assert found[0] == code and found[1] == "blocks"
    # Its name has a newline in it; the kernel shows that as \n.
    assert found[2].startswith(f"process {pid} (culprit\\n"), found
    assert "unit culprit.service" in found[2]
    assert words in found[2]
    assert found[3]


def test_a_traced_process_names_its_tracer(guest, culprit):
    pid = culprit("traced")
    (found,) = [o for o in guest.scan() if o[0] == "traced"]
    assert f"is traced by process {pid} (culprit" in found[2]


def test_equal_ones_are_one(guest, culprit):
    for _ in range(3):
        culprit("nested-namespace")
    culprit("nested-namespace", "other.service")
    found = guest.scan()
    assert len(found) == 2
    assert sum("and 2 more like it" in o[2] for o in found) == 1
    assert "systemctl edit culprit.service" in "".join(o[3] for o in found)


def test_exec_sessions_are_said_to_end(guest, lab):
    with open(os.devnull, "r+b") as null:
        session = lab.submit(lab.exec_job(guest.name, ["sleep", "1000"]), [null.fileno()] * 3)
        pid, _ = session.started()
    try:
        wait_for(lambda: any("(sleep)" in o[2] for o in guest.scan()))
        (found,) = guest.scan()
        assert found[0] == "outside-process" and found[1] == "passes"
    finally:
        os.kill(pid, signal.SIGKILL)
        session.result()
    assert guest.scan() == []


def test_mounts_that_cannot_be_moved(guest, lab):
    lab.sh(guest.name, "mkdir -p /mnt/r && mount -t ramfs ramfs /mnt/r")
    try:
        (found,) = guest.scan()
        assert found[0] == "mount" and found[2].startswith("/mnt/r is a ramfs")
    finally:
        lab.sh(guest.name, "umount /mnt/r")
    assert guest.scan() == []


def test_quiesce_drops_finished_credentials_and_keeps_those_in_use(guest, lab, culprit):
    culprit("harmless")
    lab.sh(
        guest.name,
        "for u in done culprit empty; do d=/run/credentials/$u.service; mkdir -p $d; mount -t ramfs ramfs $d; done;"
        "cd /run/credentials; echo secret > culprit.service/key; chmod 400 culprit.service/key;"
        "chmod 500 culprit.service; echo old > done.service/key",
    )
    try:
        guest.quiesce()
        (left,) = [m for m in guest.mounts() if m[4].startswith("/run/credentials")]
        assert left[4] == "/run/credentials/culprit.service"
        assert left[left.index("-") + 1] == "tmpfs" and left[5].startswith("ro,nosuid,nodev,noexec")
        key = f"/proc/{guest.init}/root/run/credentials/culprit.service/key"
        with open(key, encoding="ascii") as f:
            assert f.read() == "secret\n"
        assert os.stat(key).st_mode & 0o7777 == 0o400
        assert os.stat(key).st_uid == os.stat(f"/proc/{guest.init}").st_uid
        # Once more: nothing changes.
        guest.quiesce()
        assert left in guest.mounts()
    finally:
        lab.sh(guest.name, "umount /run/credentials/*; true")


def test_quiesce_makes_slaves_of_services_private(guest, lab, culprit):
    lab.sh(guest.name, "mount -t tmpfs tmpfs /run && mount --make-shared /run && mkdir -p /run/p/a /run/p/b /run/p/c /run/in")
    for unit in ("a", "b", "c"):
        culprit("harmless", f"{unit}.service")
        pid = guest.pids(f"{unit}.service")[0]
        script = (
            "mount --make-slave /run"
            f" && mount --bind /run/p/{unit} /run/in && mount --make-shared /run"
        )
        subprocess.run(["nsenter", "-m", "-t", str(pid), "/bin/busybox", "sh", "-c", script], check=True)

    def slaves():
        found = []
        for unit in ("a", "b", "c"):
            for m in guest.mounts(guest.pids(f"{unit}.service")[0]):
                if m[4] == "/run/in":
                    found.append(any(x.startswith("master:") for x in m))
        return found

    try:
        assert slaves() == [True, True, True]
        guest.quiesce()
        assert slaves().count(True) <= 1
        guest.quiesce()
        assert slaves().count(True) <= 1
    finally:
        lab.sh(guest.name, "umount -l /run")


def test_quiesce_gives_a_tmpfs_of_a_service_a_root(guest, culprit):
    """As systemd makes it with PrivateTmp=disconnected; what is in use stays, and is said."""
    culprit("harmless", "apart.service")
    pid = guest.pids("apart.service")[0]

    def inside(script):
        return subprocess.run(["nsenter", "-m", "-t", str(pid), "/bin/busybox", "sh", "-c", script], check=True, capture_output=True, text=True).stdout

    def mounted():
        """(root of the file system, where, its options)"""
        return [(m[3], m[4], m[-1]) for m in guest.mounts(pid) if m[4] in ("/tmp", "/var/tmp")]

    inside("mount --make-rprivate / && mkdir -p /tmp /var/tmp /mnt && mount -t tmpfs -o size=12m,nr_inodes=77 t /mnt && mkdir /mnt/tmp /mnt/var-tmp"
           " && chmod 1777 /mnt/tmp && mount --bind /mnt/tmp /tmp && mount --bind /mnt/var-tmp /var/tmp && umount /mnt && touch /var/tmp/kept")
    assert [m[:2] for m in mounted()] == [("/tmp", "/tmp"), ("/var-tmp", "/var/tmp")]
    found = guest.scan()
    assert [(o[0], o[1]) for o in found] == [("mount-rootless", "blocks")] and "/var/tmp" in found[0][2] and "apart.service" in found[0][2], found
    guest.quiesce()
    assert sorted(m[:2] for m in mounted()) == [("/", "/tmp"), ("/var-tmp", "/var/tmp")]
    tmp = next(m for m in mounted() if m[1] == "/tmp")
    assert "size=12288k" in tmp[2] and "nr_inodes=77" in tmp[2], tmp
    assert inside("stat -c %a /tmp; ls /var/tmp") == "1777\nkept\n"
    inside("rm /var/tmp/kept")
    assert guest.scan() == []
    guest.quiesce()
    assert sorted(m[:2] for m in mounted()) == [("/", "/tmp"), ("/", "/var/tmp")]


def test_a_socket_that_is_mounted_in_a_service(guest, culprit):
    """As haproxy's unit has the log's in its directory."""
    culprit("harmless", "proxy.service")
    pid = guest.pids("proxy.service")[0]
    script = "mount --make-rprivate / && mkdir -p /tmp /mnt && mount -t tmpfs t /mnt && touch /tmp/log"
    subprocess.run(["nsenter", "-m", "-t", str(pid), "/bin/busybox", "sh", "-c", script], check=True)
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(f"/proc/{pid}/root/mnt/log")
    assert guest.scan() == []
    subprocess.run(["nsenter", "-m", "-t", str(pid), "/bin/busybox", "mount", "--bind", "/mnt/log", "/tmp/log"], check=True)
    found = guest.scan()
    assert [(o[0], o[1]) for o in found] == [("mount-socket", "blocks")], found
    assert "proxy.service" in found[0][2] and "/tmp/log" in found[0][2], found


def test_a_guest_that_is_not_there(guest):
    done = subprocess.run([DRIVER, "scan", str(os.getpid()), guest.cgroup], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "its init" in done.stderr
    done = subprocess.run([DRIVER, "scan", "1", f"{guest.cgroup}/none"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "cannot read" in done.stderr
