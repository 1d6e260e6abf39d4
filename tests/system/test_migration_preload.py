"""The library that is loaded into CRIU, loaded into something else that opens files as CRIU does."""

import os
import socket
import subprocess
import sys
import threading

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "testbed"))
import machine  # noqa: E402
from testbed import BUILD  # noqa: E402

LIBRARY = os.path.join(BUILD, "libexec", "lx-criu-preload.so")
WATCHES, SECONDS = 45, 4

# Reads what is said of its watches while control groups come and go beside them.
READER = f"""
import ctypes, os, subprocess, sys, time
top = sys.argv[1]
libc = ctypes.CDLL(None, use_errno=True)
watched, plain = libc.inotify_init1(0), os.open("/dev/null", os.O_RDONLY)
for i in range({WATCHES}):
    assert libc.inotify_add_watch(watched, f"{{top}}/{{i}}/cgroup.events".encode(), 2) > 0
me = os.open("/proc/self", os.O_RDONLY | os.O_DIRECTORY)

def opened(which):
    fd = os.open(f"fdinfo/{{which}}", os.O_RDONLY, dir_fd=me)
    name, text = os.readlink(f"/proc/self/fd/{{fd}}"), b""
    while piece := os.read(fd, 1000):
        text += piece
    os.close(fd)
    return name, text

name, text = opened(plain)
assert "memfd" not in name and b"flags:" in text, (name, text)
try:
    os.open("fdinfo/99999", os.O_RDONLY, dir_fd=me)
    sys.exit("there is one that is not there")
except FileNotFoundError:
    pass
end = time.monotonic() + {SECONDS}
while time.monotonic() < end:
    name, text = opened(watched)
    assert "memfd:fdinfo" in name, name
    assert text.count(b"inotify wd:") == text.count(b" fhandle-bytes:") == {WATCHES}, text
"""
CHURN = """
import os, sys
while os.getppid() == int(sys.argv[2]):
    os.mkdir(sys.argv[1])
    os.rmdir(sys.argv[1])
"""

# Forks as CRIU does at its steps, then for another reason.
STEPS = """
import ctypes, os
libc = ctypes.CDLL(None)

def child():
    pid = libc.fork()
    if pid == 0:
        os._exit(42)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

said = [child()]
os.environ["CRTOOLS_SCRIPT_ACTION"], os.environ["CRTOOLS_INIT_PID"] = "post-dump", "77"
said += [child() for _ in range(3)]
del os.environ["CRTOOLS_SCRIPT_ACTION"]
print(said + [child()])
"""


@pytest.fixture
def groups():
    """Control groups to be watched, on version 2's hierarchy."""
    mounts = [line.split() for line in open("/proc/mounts", encoding="utf-8") if line.split()[2] == "cgroup2"]
    if os.geteuid() != 0 or not mounts:
        pytest.skip("needs root and a cgroup2 file system")
    top = os.path.join(mounts[0][1], f"lxt-preload-{os.getpid()}")
    os.mkdir(top)
    try:
        for i in range(WATCHES):
            os.mkdir(f"{top}/{i}")
        yield top
    finally:
        for leaf in os.listdir(top):
            if os.path.isdir(f"{top}/{leaf}"):
                os.rmdir(f"{top}/{leaf}")
        os.rmdir(top)


def test_watched_files_always_have_handles(groups):
    churn = subprocess.Popen([sys.executable, "-c", CHURN, f"{groups}/x", str(os.getpid())])
    try:
        done = subprocess.run([sys.executable, "-c", READER, groups], env={**os.environ, "LD_PRELOAD": LIBRARY},
                              capture_output=True, text=True, timeout=60, check=False)
    finally:
        machine.kill(churn.pid)
        churn.wait()
    assert done.returncode == 0, done.stderr[-800:]


def answer(listening, answers, heard):
    for code in answers:
        with listening.accept()[0] as conn:
            heard.append(conn.recv(100))
            if code is not None:
                conn.send(bytes([code]))


def test_steps_are_asked_for_without_a_program(tmp_path):
    """A worker that goes instead of answering says no."""
    heard, path = [], str(tmp_path / "hook")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(path)
        listening.listen()
        listening.settimeout(30)
        worker = threading.Thread(target=answer, args=(listening, (0, 7, None), heard))
        worker.start()
        done = subprocess.run([sys.executable, "-c", STEPS], env={**os.environ, "LD_PRELOAD": LIBRARY, "LXMGR_HOOK": path},
                              capture_output=True, text=True, timeout=60, check=False)
        worker.join()
    assert done.stdout.split("\n")[0] == "[42, 0, 7, 1, 42]", done.stdout + done.stderr[-800:]
    assert heard == [b"post-dump\x0077"] * 3


def test_policy_goes_into_one_namespace_alone():
    """Of AppArmor namespaces a restore makes the instance's own, whatever the dump says; other directories as ever."""
    where = "/sys/kernel/security/apparmor/policy/namespaces"
    program = ("import os, sys\n"
               "for path in sys.argv[1:]:\n"
               "    try:\n        os.mkdir(path)\n        os.rmdir(path)\n        print('made')\n"
               "    except OSError as e:\n        print(e.strerror)\n")
    paths = [f"{where}/lxc-other", f"{where}/lxc-own/namespaces/lxc-own", f"{where}/../lxc-own", f"{where}/lxc-own"]
    done = subprocess.run([sys.executable, "-c", program, *paths, f"/tmp/preload-{os.getpid()}"], capture_output=True, text=True, check=True,
                          env={**os.environ, "LD_PRELOAD": LIBRARY, "LXMGR_POLICY_NAMESPACE": "lxc-own"})
    said = done.stdout.splitlines()
    assert said[:3] == ["Operation not permitted"] * 3, said
    assert said[3] != "Operation not permitted" and said[4] == "made", said
