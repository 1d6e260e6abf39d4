"""The library that is loaded into CRIU, loaded into something else that opens files as CRIU does."""

import fcntl
import os
import socket
import struct
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

# Looks for the data of memory that processes share, and of files, as CRIU does: from each half of a page on,
# against one page after the other. Its own segments first; then the files that it is told.
SEGMENTS = """
import ctypes, errno, mmap, os, random, struct, sys
PAGE = 4096
libc = ctypes.CDLL(None, use_errno=True)
libc.lseek64.restype = ctypes.c_long
libc.lseek64.argtypes = ctypes.c_int, ctypes.c_long, ctypes.c_int
libc.shmat.restype = libc.mmap.restype = ctypes.c_void_p
libc.shmat.argtypes = ctypes.c_int, ctypes.c_void_p, ctypes.c_int
libc.mmap.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long
lists = os.environ["LX_HIDDEN_PAGES"]
PAGES = 16
random.seed(5)

def seek(fd, at, whence):
    got = libc.lseek64(fd, at, whence)
    return got if got >= 0 else -ctypes.get_errno()

def mapped(address):
    name = next(n for n in os.listdir("/proc/self/map_files") if n.startswith(f"{address:x}-"))
    return os.open(f"/proc/self/map_files/{name}", os.O_RDWR)

def hide(fd, runs, raw=None):
    data = b"".join(struct.pack("=QQ", a * PAGE, b * PAGE) for a, b in runs)
    with open(f"{lists}/shared-{os.fstat(fd).st_ino}", "wb") as f:
        f.write(data if raw is None else raw)

def check(fd, there, runs, why):
    size = os.fstat(fd).st_size
    seen = [p in there and not any(a <= p < b for a, b in runs) for p in range((size + PAGE - 1) // PAGE)]
    libc.lseek64(other, 0, os.SEEK_DATA)  # of another segment: the list is read anew
    for at in range(0, size + 2 * PAGE, PAGE // 2):
        # From there on, or from where the page begins.
        data = [max(at, p * PAGE) for p, s in enumerate(seen) if s and (p + 1) * PAGE > at and max(at, p * PAGE) < size]
        hole = [max(at, p * PAGE) for p, s in enumerate(seen) if not s and (p + 1) * PAGE > at]
        want = (data[0] if data else -errno.ENXIO, min(hole + [size]) if at < size else -errno.ENXIO)
        got = seek(fd, at, os.SEEK_DATA), seek(fd, at, os.SEEK_HOLE)
        assert got == want, (why, at / PAGE, got, want, sorted(there), runs)
    assert seek(fd, 0, os.SEEK_END) == size and seek(fd, 7, os.SEEK_SET) == seek(fd, 0, os.SEEK_CUR) == 7

def fill(fd, there):
    for p in there:
        os.pwrite(fd, b"x" * min(PAGE, os.fstat(fd).st_size - p * PAGE), p * PAGE)

def segments():
    for size in (PAGES * PAGE, (PAGES - 1) * PAGE + 100):
        fd = os.memfd_create("ring")
        os.ftruncate(fd, size)
        yield "memfd", fd, size
        address = libc.mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS, -1, 0)
        yield "anonymous", mapped(address), size
        ident = libc.shmget(0, size, 0o600)
        address = libc.shmat(ident, None, 0)
        libc.shmctl(ident, 0, None)
        yield "System V", mapped(address), size

def some():
    "Runs of pages with gaps between them."
    cuts = sorted(random.sample(range(PAGES + 1), random.randrange(2, 9)))
    return [(a, b) for a, b in zip(cuts[::2], cuts[1::2])]

other = os.memfd_create("other")
for what, fd, size in segments():
    for there in (range(PAGES), set(range(PAGES)) - {0, 4, 5, 15}, {3, 7, 8}):
        libc.fallocate64(fd, 3, ctypes.c_long(0), ctypes.c_long(PAGES * PAGE))
        fill(fd, there)
        check(fd, set(there), [], (what, "no list"))
        for runs in ([(0, 1)], [(15, 16)], [(0, 16)], [(3, 6), (8, 9), (12, 16)], [(0, 40)], [(20, 30)], [(2, 3), (20, 30)]):
            hide(fd, runs)
            check(fd, set(there), runs, what)
        for _ in range(40):
            runs = some()
            hide(fd, runs)
            check(fd, set(there), runs, what)
        hide(fd, [], b"")
        check(fd, set(there), [], (what, "empty list"))
        hide(fd, [], b"damaged")
        check(fd, set(there), [], (what, "less than a run"))
        hide(fd, [], struct.pack("=QQ", PAGE, 3 * PAGE) + b"damaged")
        check(fd, set(there), [(1, 3)], (what, "cut off"))
        where = f"{lists}/shared-{os.fstat(fd).st_ino}"
        os.unlink(where)
        os.mkdir(where)
        check(fd, set(there), [], (what, "a directory"))
        os.rmdir(where)
for path in sys.argv[1:]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.ftruncate(fd, PAGES * PAGE)
    fill(fd, range(PAGES))
    hide(fd, [(0, 5)])
    check(fd, set(range(PAGES)), [], path)
# And without a directory.
fd = os.memfd_create("ring")
os.ftruncate(fd, PAGES * PAGE)
fill(fd, range(PAGES))
hide(fd, [(0, 5)])
del os.environ["LX_HIDDEN_PAGES"]
check(fd, set(range(PAGES)), [], "no directory")
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


def test_what_was_copied_of_shared_memory_is_a_hole(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root, to open what is mapped")
    lists = tmp_path / "lists"
    lists.mkdir()
    files = [str(tmp_path / "file"), f"/dev/shm/lxt-preload-{os.getpid()}"]
    try:
        done = subprocess.run([sys.executable, "-c", SEGMENTS, *files], timeout=60, check=False, text=True, capture_output=True,
                              env={**os.environ, "LD_PRELOAD": LIBRARY, "LX_HIDDEN_PAGES": str(lists)})
    finally:
        os.unlink(files[1])
    assert done.returncode == 0, done.stderr[-800:]


# ---------------------------------------------------------------- shared memory that is in place already

PAGE, BYTES = 4096, 8 * 4096
RESTORE = os.path.join(BUILD, "tests", "memfd-restore")
F_SEAL_SEAL = 1
ENOEXEC = 8
# What pages 0, 1 and 2 are: of the copy that is in place, the second one read later as it always is; all read.
IN_PLACE, READ = "cdc", "pdp"


class Restore:
    """Images of a dump, and a worker that has copies of some of it."""

    def __init__(self, where):
        self.images, self.dir = where / "images", where
        (self.images / "parent").mkdir(parents=True)
        self.fds, self.segments = [], []

    def segment(self, shmid, pages_id, sealable=False):
        for place in (self.images, self.images / "parent"):
            (place / f"pagemap-shmem-{shmid}.img").write_bytes(b"")
        (self.images / "pages-9.img").write_bytes(b"d" * BYTES)
        (self.images / "parent" / f"pages-{pages_id}.img").write_bytes(b"p" * BYTES)
        self.segments += [str(shmid), str(BYTES), str(int(sealable)), str(pages_id)]

    def copy(self, flags=0, size=BYTES):
        fd = os.memfd_create("copy", flags | os.MFD_CLOEXEC)
        os.write(fd, b"c" * size)
        self.fds.append(fd)
        return fd

    def list(self, *records, more=b""):
        """Of (number, number of its pages, process, descriptor)."""
        data = b"".join(struct.pack("=QIii4x", *record) for record in records)
        (self.dir / "shared-copies").write_bytes(data + more)

    def run(self):
        """A list for each segment: inode, seals, flags, bytes, pages as read and as mapped, and what exec says."""
        path = str(self.dir / "hook")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
            listening.bind(path)
            listening.listen()
            listening.settimeout(30)
            worker = threading.Thread(target=answer, args=(listening, (0,), []))
            worker.start()
            done = subprocess.run([RESTORE, str(self.images), *self.segments], capture_output=True, text=True, timeout=60,
                                  env={**os.environ, "LD_PRELOAD": LIBRARY, "LXMGR_HOOK": path}, check=False)
            worker.join()
        os.unlink(path)
        assert done.returncode == 0, done.stderr[-800:]
        said = [line.split() for line in done.stdout.splitlines()]
        assert len(said) == len(self.segments) / 4
        for one in said:
            assert one[2:4] == ["0", str(BYTES)] and one[4] == one[5] and one[6] == str(ENOEXEC), one
        return said


@pytest.fixture
def restore(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root, as CRIU does")
    made = Restore(tmp_path)
    yield made
    for fd in made.fds:
        os.close(fd)


def number(fd):
    return str(os.fstat(fd).st_ino)


def test_shared_memory_in_place_is_taken(restore):
    """Whatever its length was; the one beside it is read, and so is the next, which has its descriptors."""
    restore.segment(17, 1 << 30)
    restore.segment(18, 1)
    restore.segment(19, (1 << 30) + 1, sealable=True)
    short, long = restore.copy(size=3 * PAGE), restore.copy(os.MFD_ALLOW_SEALING, 2 * BYTES)
    restore.list((19, (1 << 30) + 1, os.getpid(), long), (17, 1 << 30, os.getpid(), short))
    said = restore.run()
    assert [one[4] for one in said] == [IN_PLACE, READ, IN_PLACE]
    assert said[0][:2] == [number(short), str(F_SEAL_SEAL)] and said[2][:2] == [number(long), "0"]
    assert said[1][0] not in (number(short), number(long))
    assert os.pread(short, BYTES, PAGE) == b"d" * PAGE + b"c" * PAGE + bytes(BYTES - 3 * PAGE)


def gone():
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


def test_what_does_not_fit_is_read(restore, tmp_path):
    first, me = 1 << 30, os.getpid()
    fd, sealable = restore.copy(), restore.copy(os.MFD_ALLOW_SEALING)
    restore.segment(17, first)
    sealed = restore.copy(os.MFD_ALLOW_SEALING)
    fcntl.fcntl(sealed, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL | fcntl.F_SEAL_WRITE)
    for path in (str(tmp_path / "file"), f"/dev/shm/lxt-preload-{me}"):
        restore.fds.append(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC))
        os.unlink(path)
        os.write(restore.fds[-1], b"c" * BYTES)
    restore.fds += os.pipe()
    records = [(18, first, me, fd), (17, first, me, sealable), (17, first, me, sealed), (17, first, gone(), fd),
               (17, first, me, 9999), (17, first, -1, -1), (17, first, me, -1)]
    records += [(17, first, me, other) for other in restore.fds[3:]]
    for record in records:
        restore.list(record)
        (said,) = restore.run()
        assert said[0] not in map(number, restore.fds) and said[4] == READ, record
    for data in (b"", b"damaged", struct.pack("=QIii", 17, first, me, fd)):
        restore.list(more=data)
        assert restore.run()[0][4] == READ
    os.unlink(restore.dir / "shared-copies")
    assert restore.run()[0][4] == READ
    # More than there may be of them: those that come first count.
    restore.list(*[(100 + i, first, me, fd) for i in range(64)], (17, first, me, fd))
    assert restore.run()[0][4] == READ
    # What was found before a part of a record, is.
    restore.list((17, first, me, fd), more=b"damaged")
    assert restore.run()[0][0] == number(fd)


# More than any machine has, as CRIU asks for it: a list by malloc(3), a mapping to write to by mmap(2).
SIZES = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
size, failed = 4 << 40, ctypes.c_void_p(-1).value
libc.malloc.restype = libc.realloc.restype = libc.mmap64.restype = ctypes.c_void_p
libc.malloc.argtypes, libc.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
libc.realloc.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.mmap64.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
def use(at, size):
    for where in (at, at + size - 1):
        ctypes.memset(where, 7, 1)
        assert ctypes.string_at(where, 1) == b"\x07"
for _ in range(20):
    list_ = libc.malloc(size)
    mapped = libc.mmap64(None, size, 3, 0x22, -1, 0)
    if not list_ or mapped == failed:
        sys.exit(f"none: {list_} {mapped}")
    use(list_, size)
    use(mapped, size)
    list_ = libc.realloc(list_, size * 2)
    assert ctypes.string_at(list_, 1) == b"\x07"
    use(list_, size * 2)
    libc.free(list_)
    libc.munmap(ctypes.c_void_p(mapped), ctypes.c_size_t(size))
small = libc.realloc(libc.malloc(100), 200)
libc.free(small)
print("all")
"""


def test_sizes_that_no_machine_has():
    with open("/proc/sys/vm/overcommit_memory", encoding="ascii") as f:
        if f.read().strip() != "0":
            pytest.skip("this kernel lets a program have all it asks for, or nothing (vm.overcommit_memory)")
    plain = subprocess.run([sys.executable, "-c", SIZES], capture_output=True, text=True, check=False)
    assert "none" in plain.stderr, "it can be had without"
    done = subprocess.run([sys.executable, "-c", SIZES], env={**os.environ, "LD_PRELOAD": LIBRARY}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "all\n"), done.stderr
