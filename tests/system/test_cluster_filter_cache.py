"""The kept filter of system calls (agent/worker/instance/filter_cache.h) is the one that would have been made."""

import ctypes
import glob
import os
import signal
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "testbed"))
import testbed  # noqa: E402

PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH, PTRACE_SECCOMP_GET_FILTER = 0x4206, 0x4207, 17, 0x420C
INSTRUCTION = 8
STRICT = "security.syscalls.allow=@guest"

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.restype, libc.ptrace.argtypes = ctypes.c_long, [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]


def filters(pid):
    """All that a process has been given, the last one first, as the kernel has them."""
    assert libc.ptrace(PTRACE_SEIZE, pid, None, None) == 0, os.strerror(ctypes.get_errno())
    try:
        assert libc.ptrace(PTRACE_INTERRUPT, pid, None, None) == 0
        os.waitpid(pid, 0)
        found = []
        while (n := libc.ptrace(PTRACE_SECCOMP_GET_FILTER, pid, len(found), None)) > 0:
            text = ctypes.create_string_buffer(n * INSTRUCTION)
            assert libc.ptrace(PTRACE_SECCOMP_GET_FILTER, pid, len(found), text) == n
            found.append(text.raw)
        return found
    finally:
        libc.ptrace(PTRACE_DETACH, pid, None, None)


@pytest.fixture(scope="module")
def cluster():
    with testbed.Cluster("filters") as c:
        testbed.ensure_image(c, "busybox")
        yield c


def start(cluster, name):
    """Its filters, and when and how large the file is in which one is kept."""
    cluster.ok("start", name)
    found = filters(cluster.list()[name]["pid"])
    path = kept(cluster, name)
    st = os.stat(path) if path else None
    cluster.ok("stop", name, "--force")
    return found, (st.st_ino, st.st_size) if st else None


def kept(cluster, name):
    return next(iter(glob.glob(f"{cluster.dir}/agent*/instances/{name}/seccomp.bpf")), None)


def test_a_second_start_has_the_same_filters(cluster):
    cluster.ok("create", "busybox", "c1", "-c", STRICT)
    first, made = start(cluster, "c1")
    second, again = start(cluster, "c1")
    assert made and again == made
    assert len(first) == 1 and len(first[0]) > 100 * INSTRUCTION and second == first


def test_who_enters_has_it_too(cluster):
    cluster.ok("create", "busybox", "c2", "-c", STRICT)
    cluster.ok("start", "c2")
    with cluster.popen("exec", "c2", "--", "sleep", "100") as run:
        pid = testbed.wait_for(lambda: next((p for p in pids_of(cluster, "c2") if is_sleep(p)), None))
        assert filters(pid) == filters(cluster.list()["c2"]["pid"])
        os.kill(pid, signal.SIGKILL)
        run.wait()
    cluster.ok("stop", "c2", "--force")


def pids_of(cluster, name):
    init = cluster.list()[name]["pid"]
    space = os.readlink(f"/proc/{init}/ns/pid")
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/ns/pid") == space and int(pid) != init:
                yield int(pid)
        except OSError:
            continue


def is_sleep(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return f.read().split(b"\0")[:2] == [b"sleep", b"100"]
    except OSError:
        return False


def test_another_policy_is_not_mistaken_for_it(cluster):
    cluster.ok("create", "busybox", "c3", "-c", STRICT)
    before, _ = start(cluster, "c3")
    cluster.ok("config", "set", "c3", "security.syscalls.deny=personality")
    after, _ = start(cluster, "c3")
    assert after != before
    assert start(cluster, "c3")[0] == after


@pytest.mark.parametrize("damage", ["cut", "empty", "longer", "other head"])
def test_a_damaged_one_is_made_again(cluster, damage):
    name = "d" + damage[:2]
    cluster.ok("create", "busybox", name, "-c", STRICT)
    whole, made = start(cluster, name)
    path = kept(cluster, name)
    with open(path, "r+b") as f:
        if damage == "longer":
            f.seek(0, os.SEEK_END)
            f.write(b"more")
        elif damage == "other head":
            f.seek(50)
            f.write(b"\xff")
        else:
            f.truncate(100 if damage == "cut" else 0)
    again, fresh = start(cluster, name)
    assert again == whole and fresh[0] != made[0] and fresh[1] == made[1]
