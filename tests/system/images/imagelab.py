"""Drives the real lx-image-worker: a state directory of its own, and archives made for the purpose."""

import importlib
import io
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import tempfile

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../../.."))
BUILD = os.environ.get("LX_BUILD", os.path.join(ROOT, "build"))
WORKER = os.path.join(BUILD, "libexec", "lx-image-worker")
WORKER_FD = 3
DATAGRAM_MAX = 1 << 20
METADATA = """\
architecture: x86_64
creation_date: 1700000000
properties:
  os: Test
  release: one
  description: "An image made for tests"
templates:
  /etc/hostname:
    when: [create]
    template: hostname.tpl
"""


def missing():
    """Why these tests cannot run here, or None."""
    if os.geteuid() != 0:
        return "needs root"
    if not os.access(WORKER, os.X_OK):
        return f"{WORKER} is not built"
    if os.uname().machine != "x86_64":
        return "the test images say x86_64"
    try:
        importlib.import_module("grpc_tools.protoc")
    except ImportError:
        return "needs python3-grpc-tools"
    return None


def load_protos(out):
    from grpc_tools import protoc

    files = [f"lxmgr/v1/{n}" for n in sorted(os.listdir(f"{ROOT}/proto/lxmgr/v1")) if n.endswith(".proto")]
    if protoc.main(["protoc", f"-I{ROOT}/proto", f"--python_out={out}", *files]) != 0:
        raise RuntimeError("cannot compile the protos")
    sys.path.insert(0, out)

    class Messages:
        pass

    for n in ["worker", "image"]:
        for name, value in vars(importlib.import_module(f"lxmgr.v1.{n}_pb2")).items():
            if not name.startswith("_"):
                setattr(Messages, name, value)
    return Messages


class WorkerFailed(Exception):
    """The worker answered with an error, or died (code None)."""

    def __init__(self, code, message, hint=""):
        super().__init__(f"{code}: {message} [{hint}]")
        self.code, self.message, self.hint = code, message, hint


class Worker:
    """One worker process and its one job."""

    def __init__(self, pb, job, fds=(), path="/usr/sbin:/usr/bin:/sbin:/bin"):
        self.pb = pb
        self.progress = []
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock = ours
        fd = theirs.fileno()
        self.process = subprocess.Popen(
            [WORKER],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={"PATH": path},
            preexec_fn=lambda: os.dup2(fd, WORKER_FD),
            pass_fds=(WORKER_FD,),
        )
        theirs.close()
        if job is not None:
            socket.send_fds(ours, [job.SerializeToString()], list(fds))

    def report(self, timeout=120):
        """The next report, or None at the end."""
        self.sock.settimeout(timeout)
        try:
            data = self.sock.recv(DATAGRAM_MAX)
        except ConnectionResetError:
            data = b""
        return self.pb.WorkerReport.FromString(data) if data else None

    def wait_progress(self, phase):
        """Until it reports that phase; the result must not come first."""
        while True:
            report = self.report()
            assert report is not None and report.WhichOneof("what") == "progress", report
            self.progress.append(report.progress)
            if report.progress.phase == phase:
                return report.progress

    def result(self, timeout=120):
        while True:
            report = self.report(timeout)
            if report is None:
                raise WorkerFailed(None, f"the worker died: {self.process.wait()}")
            kind = report.WhichOneof("what")
            if kind == "progress":
                self.progress.append(report.progress)
                continue
            self.close()
            if kind == "error":
                raise WorkerFailed(report.error.code, report.error.message, report.error.hint)
            return report.result

    def close(self):
        self.sock.close()
        assert self.process.wait(timeout=60) == 0

    def kill(self, sig=signal.SIGKILL):
        self.process.send_signal(sig)
        self.process.wait(timeout=60)
        self.sock.close()


class Lab:
    def __init__(self, pb, state=None):
        self.pb = pb
        self.dir = tempfile.mkdtemp(prefix="lx-images-")
        self.state = state or os.path.join(self.dir, "state")
        os.makedirs(self.state, exist_ok=True)

    def close(self):
        shutil.rmtree(self.dir, ignore_errors=True)

    def job(self):
        job = self.pb.WorkerJob()
        job.context.state_dir = self.state
        return job

    # Jobs: each starts a worker; the ones with an image return it.

    def start_import(self, metadata, rootfs=None, expect="", properties=None):
        job = self.job()
        start = job.import_image.start
        start.split = rootfs is not None
        start.expect_fingerprint = expect
        start.properties.update(properties or {})
        job.import_image.metadata_path = metadata
        job.import_image.rootfs_path = rootfs or ""
        return Worker(self.pb, job)

    def import_image(self, *args, **kwargs):
        return self.start_import(*args, **kwargs).result().image

    def export(self, fingerprint, path, compression=""):
        job = self.job()
        job.export_image.image = fingerprint
        job.export_image.compression = compression
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            return Worker(self.pb, job, [fd]).result()
        finally:
            os.close(fd)

    def start_build(self, template, packages=(), mirror="", **kwargs):
        job = self.job()
        job.build_image.template = template
        job.build_image.packages.extend(packages)
        job.build_image.mirror = mirror
        return Worker(self.pb, job, **kwargs)

    def build(self, template, timeout=600, **kwargs):
        return self.start_build(template, **kwargs).result(timeout).image

    def delete(self, fingerprint):
        job = self.job()
        job.delete_image.fingerprint = fingerprint
        Worker(self.pb, job).result()

    # What is on the disk.

    def images(self):
        """Fingerprints in the store, whole or not."""
        try:
            return sorted(n for n in os.listdir(f"{self.state}/images") if n not in ("incoming", "cache"))
        except FileNotFoundError:
            return []

    def incoming(self):
        try:
            return os.listdir(f"{self.state}/images/incoming")
        except FileNotFoundError:
            return []

    def rootfs(self, fingerprint):
        return f"{self.state}/images/{fingerprint}/rootfs"

    def path(self, name):
        return os.path.join(self.dir, name)

    # Archives.

    def tarball(self, name, add, mode="w", metadata=METADATA):
        """A unified image; `add` puts its entries into the open tarfile."""
        path = self.path(name)
        with tarfile.open(path, mode, format=tarfile.PAX_FORMAT) as tar:
            if metadata is not None:
                add_file(tar, "metadata.yaml", metadata.encode())
            add(tar)
        return path


def entry(name, kind=tarfile.REGTYPE, mode=0o644, link="", uid=0, gid=0, mtime=1_600_000_000, dev=(0, 0), pax=None):
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.linkname = kind, mode, link
    info.uid, info.gid, info.mtime = uid, gid, mtime
    info.devmajor, info.devminor = dev
    info.pax_headers = pax or {}
    return info


def add_file(tar, name, data=b"", **kwargs):
    info = entry(name, **kwargs)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def add_dir(tar, name, mode=0o755, **kwargs):
    tar.addfile(entry(name, tarfile.DIRTYPE, mode, **kwargs))


def snapshot(top):
    """All that an image keeps of a tree, as a comparable value."""
    seen, first = {}, {}
    for base, dirs, files in os.walk(os.fsencode(top)):
        dirs.sort()
        for name in sorted(dirs + files) + ([b"."] if base == os.fsencode(top) else []):
            path = os.path.join(base, name)
            st = os.lstat(path)
            key = os.path.relpath(path, os.fsencode(top))
            what = [stat.S_IFMT(st.st_mode), stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid, st.st_mtime_ns, st.st_rdev]
            if stat.S_ISLNK(st.st_mode):
                what.append(os.readlink(path))
            if stat.S_ISREG(st.st_mode):
                with open(path, "rb") as f:
                    what.append(f.read())
            if not stat.S_ISDIR(st.st_mode):
                what.append(first.setdefault(st.st_ino, key))
            what.append({a: os.getxattr(path, a, follow_symlinks=False) for a in os.listxattr(path, follow_symlinks=False)})
            seen[key] = what
    return seen
