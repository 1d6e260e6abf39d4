"""Drives the real lx-instance-worker: directories, an image, a bridge and cgroups of its own.

Everything carries the test process' number in its name, and close() removes all of it,
also what a failed test left.
"""

import contextlib
import hashlib
import importlib
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../../.."))
BUILD = os.environ.get("LX_BUILD", os.path.join(ROOT, "build"))
WORKER = os.path.join(BUILD, "libexec", "lx-instance-worker")
BUSYBOX = "/bin/busybox"
IDMAP_BASE = 1_700_000_000
IDMAP_SIZE = 65536
WORKER_FD = 3
DATAGRAM_MAX = 1 << 20

INITTAB = """\
::sysinit:/bin/echo guest is up
::respawn:/bin/sleep 1000000
::ctrlaltdel:/sbin/reboot
::shutdown:/bin/echo guest goes down
"""
PASSWD = "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001:Web:/home/web:/bin/ash\n"
GROUP = "root:x:0:\nwebs:x:1001:\nmedia:x:44:web,other\naudio:x:29:other\n"


def missing():
    """Why these tests cannot run here, or None."""
    if os.geteuid() != 0:
        return "needs root"
    if not os.access(WORKER, os.X_OK):
        return f"{WORKER} is not built"
    if not os.access(BUSYBOX, os.X_OK):
        return "needs busybox-static"
    if subprocess.run(["ldd", BUSYBOX], capture_output=True, check=False).returncode == 0:
        return "needs busybox-static, this busybox has libraries"
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

    for n in ["worker", "agent", "instance", "stream"]:
        module = importlib.import_module(f"lxmgr.v1.{n}_pb2")
        for name, value in vars(module).items():
            if not name.startswith("_"):
                setattr(Messages, name, value)
    return Messages


def wait_for(what, timeout=10.0, step=0.01):
    """What `what()` returns once it is true."""
    end = time.monotonic() + timeout
    while True:
        got = what()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError("waited in vain")
        time.sleep(step)


class WorkerFailed(Exception):
    """The worker answered with an error, or died (code None)."""

    def __init__(self, code, message, hint=""):
        super().__init__(f"{code}: {message} [{hint}]")
        self.code, self.message, self.hint = code, message, hint


class Worker:
    """One worker process and its one job."""

    def __init__(self, pb, job, fds=(), env=None):
        self.pb = pb
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * DATAGRAM_MAX)
        self.sock = ours
        fd = theirs.fileno()
        self.process = subprocess.Popen(
            [WORKER],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=env or {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            preexec_fn=lambda: os.dup2(fd, WORKER_FD),
            pass_fds=(WORKER_FD,),
        )
        theirs.close()
        if job is not None:
            socket.send_fds(ours, [job.SerializeToString()], list(fds))

    def report(self, timeout=60):
        """The next report and the descriptor beside it; (None, None) at the end."""
        self.sock.settimeout(timeout)
        data, fds, _, _ = socket.recv_fds(self.sock, DATAGRAM_MAX, 1)
        if not data:
            return None, None
        return self.pb.WorkerReport.FromString(data), fds[0] if fds else None

    def started(self):
        report, fd = self.report()
        if report is None:
            raise WorkerFailed(None, f"the worker died: {self.process.wait()}")
        if report.WhichOneof("what") == "error":
            e = report.error
            raise WorkerFailed(e.code, e.message, e.hint)
        assert report.WhichOneof("what") == "started", report
        return report.started.pid, fd

    def result(self, timeout=60):
        while True:
            report, fd = self.report(timeout)
            if fd is not None:
                os.close(fd)
            if report is None:
                raise WorkerFailed(None, f"the worker died: {self.process.wait()}")
            kind = report.WhichOneof("what")
            if kind == "error":
                self.close()
                raise WorkerFailed(report.error.code, report.error.message, report.error.hint)
            if kind == "result":
                self.close()
                return report.result

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.sock.close()

    def close(self):
        self.sock.close()
        self.process.wait(timeout=30)


class Lab:
    def __init__(self, pb):
        self.pb = pb
        self.tag = f"lxt{os.getpid()}"
        self.tmp = tempfile.mkdtemp(prefix="lxmgr-test-", dir="/var/tmp")
        os.chmod(self.tmp, 0o711)
        self.state, self.run = f"{self.tmp}/state", f"{self.tmp}/run"
        self.lxc_path = f"{self.state}/instances"
        self.cgroup_root = f"{self.tag}-test"
        self.bridge = f"{self.tag}br"[:15]
        self.names = []
        os.makedirs(self.state, mode=0o711)
        subprocess.run(["ip", "link", "add", self.bridge, "type", "bridge"], check=True)
        subprocess.run(["ip", "link", "set", self.bridge, "up"], check=True)
        self.image = self.make_image("busybox", self.fill_busybox)

    def close(self):
        for name in self.names:
            with contextlib.suppress(WorkerFailed, AssertionError):
                self.destroy(name)
        for group in self.cgroups(""):
            for base, _, _ in sorted(os.walk(group), reverse=True):
                with contextlib.suppress(OSError):
                    os.rmdir(base)
        subprocess.run(["ip", "link", "del", self.bridge], check=False)
        shutil.rmtree(self.tmp, ignore_errors=True)

    # ------------------------------------------------------------ image

    def make_image(self, name, fill):
        fingerprint = hashlib.sha256(name.encode()).hexdigest()
        tree = f"{self.state}/images/{fingerprint}/rootfs"
        os.makedirs(tree)
        os.chmod(f"{self.state}/images", 0o700)
        os.chmod(tree, 0o755)
        fill(tree)
        with open(f"{self.state}/images/{fingerprint}/image.pb", "wb"):
            pass
        return fingerprint

    @staticmethod
    def fill_busybox(tree):
        for d in ["bin", "sbin", "etc", "proc", "sys", "dev", "root", "home", "var/log", "run", "usr/bin", "mnt"]:
            os.makedirs(f"{tree}/{d}")
        os.mkdir(f"{tree}/tmp")
        os.chmod(f"{tree}/tmp", 0o1777)
        os.chmod(f"{tree}/root", 0o700)
        os.mkdir(f"{tree}/home/web")
        os.chown(f"{tree}/home/web", 1000, 1001)
        shutil.copy(BUSYBOX, f"{tree}/bin/busybox")
        for applet in subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True).stdout.split():
            if applet not in ("busybox", "init"):
                os.symlink("busybox", f"{tree}/bin/{applet}")
        os.symlink("../bin/busybox", f"{tree}/sbin/init")
        for path, text in [("inittab", INITTAB), ("passwd", PASSWD), ("group", GROUP)]:
            with open(f"{tree}/etc/{path}", "w", encoding="utf-8") as f:
                f.write(text)

    # ------------------------------------------------------------ jobs

    def new_name(self, stem="web"):
        name = f"{stem}{len(self.names)}"
        self.names.append(name)
        return name

    def spec(self, name, nic=True, image=None, config=None, index=None):
        n = index if index is not None else self.names.index(name) + 1
        spec = self.pb.InstanceSpec(
            name=name,
            uuid="00000000-0000-4000-8000-000000000000",
            generation=1,
            image_fingerprint=image or self.image,
            idmap_base=IDMAP_BASE + n * IDMAP_SIZE,
            idmap_size=IDMAP_SIZE,
        )
        for k, v in (config or {}).items():
            spec.config[k] = v
        if nic:
            spec.nics.add(
                name="eth0",
                network="lxbr0",
                bridge=self.bridge,
                hwaddr=f"00:16:3e:00:{n // 256:02x}:{n % 256:02x}",
                host_name=self.veth(name),
                ipv4_address=f"10.99.{n // 250}.{n % 250 + 2}/16",
                ipv4_gateway="10.99.255.254",
                dns=["10.99.255.254"],
                dns_domain="lxd.test",
            )
        return spec

    def veth(self, name):
        return f"{self.tag}v{self.names.index(name)}"[:15]

    def job(self, name=None, spec=None):
        job = self.pb.WorkerJob()
        job.context.state_dir = self.state
        job.context.run_dir = self.run
        job.context.cgroup_root = self.cgroup_root
        job.context.lxc_path = self.lxc_path
        if spec is not None:
            job.spec.CopyFrom(spec)
        elif name is not None:
            job.spec.name = name
        return job

    def submit(self, job, fds=()):
        return Worker(self.pb, job, fds)

    def verb(self, verb, name, spec=None, **fields):
        job = self.job(name, spec)
        getattr(job, verb).SetInParent()
        for k, v in fields.items():
            setattr(getattr(job, verb), k, v)
        return self.submit(job).result()

    def start(self, name, **kw):
        return self.verb("start", name, self.spec(name, **kw))

    def stop(self, name, force=True, timeout=0):
        return self.verb("stop", name, force=force, timeout_seconds=timeout)

    def destroy(self, name):
        return self.verb("destroy", name)

    def probe(self, name):
        return self.verb("probe", name)

    # ------------------------------------------------------------ exec

    def exec_job(self, name, command, **fields):
        job = self.job()
        job.exec.instance = name
        job.exec.command.extend(command)
        for k, v in fields.pop("environment", {}).items():
            job.exec.environment[k] = v
        size = fields.pop("size", None)
        if size:
            job.exec.size.rows, job.exec.size.cols = size
        for k, v in fields.items():
            setattr(job.exec, k, v)
        return job

    def exec(self, name, *command, stdin=b"", **fields):
        """(exit, stdout, stderr)"""
        with tempfile.TemporaryFile() as i, tempfile.TemporaryFile() as o, tempfile.TemporaryFile() as e:
            i.write(stdin)
            i.seek(0)
            w = self.submit(self.exec_job(name, command, **fields), [i.fileno(), o.fileno(), e.fileno()])
            w.started()
            end = w.result().exit
            o.seek(0)
            e.seek(0)
            return end, o.read(), e.read()

    def sh(self, name, script):
        end, out, err = self.exec(name, "sh", "-c", script)
        assert end.code == 0, (end, out, err)
        return out.decode()

    # ------------------------------------------------------------ files

    @staticmethod
    def frames(messages):
        for m in messages:
            data = m.SerializeToString()
            yield struct.pack(">I", len(data)) + data

    def push(self, name, path, entries, **fields):
        """entries: FileEntry, or (FileEntry, bytes)."""
        job = self.job()
        job.push.instance, job.push.path = name, path
        for k, v in fields.items():
            setattr(job.push, k, v)
        messages = []
        for e in entries:
            e, data = e if isinstance(e, tuple) else (e, None)
            messages.append(self.pb.PushFileRequest(entry=e))
            if data is not None:
                messages += [
                    self.pb.PushFileRequest(data=data[i : i + 65536]) for i in range(0, len(data), 65536)
                ]
        return self.push_raw(job, b"".join(self.frames(messages)))

    def push_raw(self, job, data):
        ours, theirs = socket.socketpair()
        w = self.submit(job, [theirs.fileno()])
        theirs.close()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            ours.sendall(data)
            ours.shutdown(socket.SHUT_WR)
        try:
            return w.result().push
        finally:
            ours.close()

    def entry(self, path, kind="REGULAR", **fields):
        e = self.pb.FileEntry(path=path, type=self.pb.FileType.Value(f"FILE_TYPE_{kind}"), mode=0o644)
        for k, v in fields.items():
            setattr(e, k, v)
        return e

    def file(self, path, data=b"", **fields):
        return self.entry(path, size=len(data), **fields), data

    def pull(self, name, path, recursive=False):
        """{path: (FileEntry, bytes)}"""
        job = self.job()
        job.pull.instance, job.pull.path, job.pull.recursive = name, path, recursive
        ours, theirs = socket.socketpair()
        w = self.submit(job, [theirs.fileno()])
        theirs.close()
        got, current = {}, None
        with ours, ours.makefile("rb") as stream:
            while header := stream.read(4):
                m = self.pb.PullFileResponse.FromString(stream.read(struct.unpack(">I", header)[0]))
                if m.WhichOneof("what") == "entry":
                    current = m.entry.path
                    got[current] = (m.entry, b"")
                else:
                    got[current] = (got[current][0], got[current][1] + m.data)
        w.result()
        return got

    # ------------------------------------------------------------ what there is

    def hierarchies(self):
        base = "/sys/fs/cgroup"
        if os.path.exists(f"{base}/cgroup.controllers"):
            return {"": base}
        return {d: f"{base}/{d}" for d in os.listdir(base) if os.path.isdir(f"{base}/{d}")}

    def cgroups(self, name):
        """Directories of an instance (or of all) in the hierarchies."""
        paths = [f"{h}/{self.cgroup_root}/{name}".rstrip("/") for h in self.hierarchies().values()]
        return [p for p in paths if os.path.isdir(p)]

    def payload_file(self, name, *candidates):
        """Contents of the first of these files that the payload has."""
        for h in self.hierarchies().values():
            for c in candidates:
                path = f"{h}/{self.cgroup_root}/{name}/payload/{c}"
                if os.path.exists(path):
                    with open(path, encoding="ascii") as f:
                        return f.read().strip()
        raise AssertionError(f"none of {candidates}")

    def mounts(self, name):
        """Mounts below the instance's directory in any mount namespace on the machine."""
        found = set()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/mounts", encoding="utf-8") as f:
                found |= {line.split()[1] for line in f if f"{self.state}/instances/{name}/" in line}
        return found

    def has_veth(self, name):
        return os.path.exists(f"/sys/class/net/{self.veth(name)}")

    def processes(self, name):
        """Of the instance: by cgroup, and monitors by title."""
        found = set()
        for group in self.cgroups(name):
            for base, _, files in os.walk(group):
                if "cgroup.procs" in files:
                    with contextlib.suppress(OSError), open(f"{base}/cgroup.procs", encoding="ascii") as f:
                        found |= set(map(int, f.read().split()))
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as f:
                if f.read().startswith(f"[lxc monitor] {self.lxc_path} {name}\0".encode()):
                    found.add(int(pid))
        return found

    def left(self, name):
        """Everything of a run that is still there; empty when all is gone."""
        left = []
        if self.processes(name):
            left.append(("processes", self.processes(name)))
        if self.cgroups(name):
            left.append(("cgroups", self.cgroups(name)))
        if self.mounts(name):
            left.append(("mounts", self.mounts(name)))
        if self.has_veth(name):
            left.append(("veth", self.veth(name)))
        if os.path.exists(f"{self.run}/{name}.pb"):
            left.append(("record", name))
        return left


def read_until(fd, needle, timeout=10):
    """Reads from a descriptor until `needle` appears."""
    got = b""
    end = time.monotonic() + timeout
    while needle not in got:
        ready, _, _ = select.select([fd], [], [], max(0, end - time.monotonic()))
        if not ready:
            raise AssertionError(f"no {needle!r} in {got!r}")
        try:
            data = os.read(fd, 65536)
        except OSError:
            data = b""
        if not data:
            raise AssertionError(f"end before {needle!r}: {got!r}")
        got += data
    return got
