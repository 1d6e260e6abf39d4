"""The library that is loaded into CRIU, loaded into something else that opens files as CRIU does."""

import os
import subprocess
import sys

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
