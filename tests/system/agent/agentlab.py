"""Drives a real lxagentd as a manager would: over TLS, with python3-grpcio.

The cluster's CA is made here and the agent's identity put in its place, so that no manager is
needed. Directories, cgroups, bridge and port are the test's own; close() removes all of it,
also what a failed test left.
"""

import contextlib
import importlib
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "../../.."))
BUILD = os.environ.get("LX_BUILD", os.path.join(TOP, "build"))
AGENT = os.path.join(BUILD, "bin", "lxagentd")
IDMAP_BASE = 1_800_000_000
IDMAP_SIZE = 65536
MEMORY = "/sys/fs/cgroup/memory"


def missing():
    """Why these tests cannot run here, or None."""
    if os.geteuid() != 0:
        return "needs root"
    for program in (AGENT, f"{BUILD}/libexec/lx-instance-worker", f"{BUILD}/libexec/lx-image-worker"):
        if not os.access(program, os.X_OK):
            return f"{program} is not built"
    if not os.access("/bin/busybox", os.X_OK):
        return "needs busybox-static"
    for module in ("grpc", "grpc_tools.protoc"):
        try:
            importlib.import_module(module)
        except ImportError:
            return f"needs python3's {module}"
    return None


def load_protos(out):
    """An object with all messages and stubs."""
    from grpc_tools import protoc

    names = sorted(f for f in os.listdir(f"{TOP}/proto/lxmgr/v1") if f.endswith(".proto"))
    files = [f"lxmgr/v1/{n}" for n in names]
    if protoc.main(["protoc", f"-I{TOP}/proto", f"--python_out={out}", f"--grpc_python_out={out}", *files]) != 0:
        raise RuntimeError("cannot compile the protos")
    sys.path.insert(0, out)

    class Messages:
        pass

    for n in ["worker", "agent", "instance", "stream", "image", "node"]:
        for suffix in ("pb2", "pb2_grpc"):
            module = importlib.import_module(f"lxmgr.v1.{n}_{suffix}")
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


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def rss_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))


class Pki:
    """A CA and what it signs, made by openssl(1)."""

    def __init__(self, where, name="lxmgr test CA"):
        self.dir = where
        os.makedirs(where, mode=0o700)
        self.openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", f"/CN={name}", "-keyout", "ca.key", "-out", "ca.crt",
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        )  # fmt: skip

    def openssl(self, *argv):
        subprocess.run(["openssl", *argv], cwd=self.dir, check=True, capture_output=True)

    def issue(self, cn, ou):
        """(certificate, key), PEM."""
        with open(f"{self.dir}/ext", "w", encoding="ascii") as f:
            f.write(f"subjectAltName=DNS:{cn}\nextendedKeyUsage=serverAuth,clientAuth\n")
        self.openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-subj", f"/CN={cn}/OU={ou}", "-keyout", f"{cn}.key", "-out", f"{cn}.csr",
        )  # fmt: skip
        self.openssl(
            "x509", "-req", "-in", f"{cn}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "ext", "-out", f"{cn}.crt",
        )  # fmt: skip
        return self.read(f"{cn}.crt"), self.read(f"{cn}.key")

    def read(self, leaf):
        with open(f"{self.dir}/{leaf}", "rb") as f:
            return f.read()


class Watch:
    """A Watch stream, its events in order."""

    def __init__(self, lab, **request):
        self.lab = lab
        self.call = lab.stub.Watch(lab.pb.AgentWatchRequest(**request))
        self.events = queue.Queue()
        self.seen = []
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        try:
            for event in self.call:
                self.events.put(event)
        except Exception:  # the end of the call is the end of events
            pass
        self.events.put(None)

    def next(self, timeout=10):
        event = self.events.get(timeout=timeout)
        if event is not None:
            self.seen.append(event)
        return event

    def until(self, wanted, timeout=10):
        """The first event, from now on, of which wanted(event) is true."""
        end = time.monotonic() + timeout
        while True:
            try:
                event = self.next(max(0.01, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"waited in vain; came: {self.seen[-20:]}") from None
            if event is None:
                raise AssertionError("the stream has ended")
            if wanted(event):
                return event

    def status(self, name, status, timeout=10):
        value = self.lab.pb.InstanceStatus.Value(f"INSTANCE_STATUS_{status}")
        event = self.until(
            lambda e: e.WhichOneof("what") == "instance" and e.instance.name == name and e.instance.status == value,
            timeout,
        )
        return event.instance

    def removed(self, name, timeout=10):
        return self.until(
            lambda e: e.WhichOneof("what") == "instance" and e.instance.name == name and e.instance.removed, timeout
        ).instance

    def close(self):
        self.call.cancel()


class Lab:
    def __init__(self, pb, node="node1", pki=None):
        """With the Pki of another lab, both agents are in one cluster."""
        self.pb = pb
        self.node = node
        self.tag = f"lxa{os.getpid()}" + ("" if node == "node1" else node[-1])
        self.tmp = tempfile.mkdtemp(prefix="lxmgr-agent-", dir="/var/tmp")
        os.chmod(self.tmp, 0o711)
        self.state, self.run = f"{self.tmp}/state", f"{self.tmp}/run"
        self.cgroup_root = f"{self.tag}-test"
        self.bridge = f"{self.tag}br"[:15]
        self.names = []
        self.operations = 0
        self.process = None
        self.channels = []
        self.image = None
        self.pki = pki or Pki(f"{self.tmp}/pki")
        self.manager = self.pki.issue("manager1", "manager")
        os.makedirs(f"{self.state}/pki")
        cert, key = self.pki.issue(node, "agent")
        for leaf, data in [("agent.crt", cert), ("agent.key", key), ("ca.crt", self.pki.read("ca.crt"))]:
            with open(f"{self.state}/pki/{leaf}", "wb") as f:
                f.write(data)
        os.chmod(self.state, 0o711)
        subprocess.run(["ip", "link", "add", self.bridge, "type", "bridge"], check=True)
        subprocess.run(["ip", "link", "set", self.bridge, "up"], check=True)

    def close(self):
        with contextlib.suppress(Exception):
            if not self.running():
                self.start()
            for name in list(self.names):
                self.delete(name, force=True)
        self.stop_agent()
        for group in self.cgroups(""):
            for base, _, files in os.walk(group):
                for pid in self.procs(base) if "cgroup.procs" in files else []:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            for base, _, _ in sorted(os.walk(group), reverse=True):
                with contextlib.suppress(OSError):
                    wait_for(lambda b=base: not self.procs(b), 5)
                    os.rmdir(base)
        self.log_kept = self.log_text() if os.path.exists(getattr(self, "log", "")) else ""
        subprocess.run(["ip", "link", "del", self.bridge], check=False)
        shutil.rmtree(self.tmp, ignore_errors=True)

    # ------------------------------------------------------------ the agent

    def start(self, *args, wait=True, env=None, level="info"):
        self.log = f"{self.tmp}/log"
        with open(self.log, "ab") as log:
            at = log.tell()
            self.process = subprocess.Popen(
                [AGENT, "--state-dir", self.state, "--run-dir", self.run, "--listen", "127.0.0.1:0",
                 "--cgroup-root", self.cgroup_root, "--log-level", level, *args],
                stderr=log, stdout=log, stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})},
            )  # fmt: skip
        if not wait:
            return
        self.port = int(wait_for(lambda: self.log_match(r"serving .*port=(\d+)", at), 60).group(1))
        self.stub = self.connect(*self.manager)

    def log_text(self, start=0):
        with open(self.log, "rb") as f:
            f.seek(start)
            return f.read().decode(errors="replace")

    def log_match(self, pattern, start=0):
        if self.process.poll() is not None:
            raise AssertionError(f"the agent has ended: {self.process.returncode}\n{self.log_text()[-4000:]}")
        return re.search(pattern, self.log_text(start))

    def running(self):
        return self.process is not None and self.process.poll() is None

    def stop_agent(self, sig=signal.SIGTERM):
        for channel in self.channels:
            channel.close()
        self.channels = []
        if self.running():
            self.process.send_signal(sig)
            self.process.wait(timeout=20)

    def restart(self, sig=signal.SIGTERM, *args):
        self.stop_agent(sig)
        self.start(*args)

    def connect(self, cert, key, ca=None):
        import grpc

        creds = grpc.ssl_channel_credentials(ca or self.pki.read("ca.crt"), key, cert)
        options = [
            ("grpc.ssl_target_name_override", self.node),
            ("grpc.max_receive_message_length", 8 << 20),
            ("grpc.enable_retries", 0),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        channel = grpc.secure_channel(f"127.0.0.1:{self.port}", creds, options)
        self.channels.append(channel)
        return self.pb.AgentServiceStub(channel)

    def watch(self, **request):
        return Watch(self, **request)

    def snapshot(self):
        watch = self.watch()
        try:
            return watch.next().snapshot
        finally:
            watch.close()

    def instance(self, name):
        """What the agent says of it now, or None."""
        return next((i for i in self.snapshot().instances if i.name == name), None)

    def status(self, name):
        i = self.instance(name)
        return self.pb.InstanceStatus.Name(i.status)[len("INSTANCE_STATUS_") :] if i else None

    # ------------------------------------------------------------ images

    def build_busybox(self):
        call = self.stub.BuildImage(
            self.pb.AgentBuildImageRequest(operation="build", build=self.pb.BuildImageRequest(template="busybox"))
        )
        messages = list(call)
        assert messages[-1].WhichOneof("what") == "image"
        self.image = messages[-1].image.fingerprint
        return messages

    # ------------------------------------------------------------ instances

    def new_name(self, stem="web"):
        name = f"{stem}{len(self.names)}"
        self.names.append(name)
        return name

    def spec(self, name, nic=True, config=None, generation=1, image=None):
        n = self.names.index(name) + 1
        spec = self.pb.InstanceSpec(
            name=name,
            uuid=f"00000000-0000-4000-8000-{n:012d}",
            generation=generation,
            image_fingerprint=image or self.image,
            idmap_base=IDMAP_BASE + n * IDMAP_SIZE,
            idmap_size=IDMAP_SIZE,
            created_at_ns=time.time_ns(),
        )
        for k, v in (config or {}).items():
            spec.config[k] = v
        if nic:
            spec.nics.add(
                name="eth0", network=self.bridge, bridge=self.bridge, host_name=self.veth(name),
                hwaddr=f"00:16:3e:01:{n // 256:02x}:{n % 256:02x}",
                ipv4_address=f"10.98.{n // 250}.{n % 250 + 2}/16", ipv4_gateway="10.98.255.254",
            )  # fmt: skip
        return spec

    def veth(self, name):
        return f"{self.tag}v{self.names.index(name)}"[:15]

    def operation(self):
        self.operations += 1
        return f"op-{self.operations}"

    def create(self, name, start=True, operation=None, timeout=60, **spec):
        return self.stub.CreateInstance(
            self.pb.AgentCreateInstanceRequest(
                operation=operation or self.operation(), spec=self.spec(name, **spec), start=start
            ),
            timeout=timeout,
        )

    def verb(self, verb, name, operation=None, generation=1, timeout=60, **fields):
        request = self.pb.AgentInstanceRequest(
            operation=operation or self.operation(), name=name, generation=generation, **fields
        )
        return getattr(self.stub, f"{verb}Instance")(request, timeout=timeout)

    def delete(self, name, force=True):
        return self.verb("Delete", name, force=force, generation=0)

    # ------------------------------------------------------------ exec

    def exec(self, name, *command, stdin=b"", close_stdin=True, timeout=30, **fields):
        """(exit, stdout, stderr)"""
        requests = [self.pb.ExecRequest(start=self.pb.ExecStart(instance=name, command=command, **fields))]
        requests += [self.pb.ExecRequest(stdin=stdin[i : i + 65536]) for i in range(0, len(stdin), 65536)]
        if close_stdin:
            requests.append(self.pb.ExecRequest(stdin_closed=True))
        end, out = None, {"stdout": b"", "stderr": b""}
        for r in self.stub.Exec(iter(requests), timeout=timeout):
            kind = r.WhichOneof("what")
            if kind == "exit":
                end = r.exit
            elif kind in out:
                out[kind] += getattr(r, kind)
        return end, out["stdout"], out["stderr"]

    def sh(self, name, script):
        end, out, err = self.exec(name, "sh", "-c", script)
        assert end.code == 0, (end, out, err)
        return out.decode()

    # ------------------------------------------------------------ what there is

    def hierarchies(self):
        base = "/sys/fs/cgroup"
        if os.path.exists(f"{base}/cgroup.controllers"):
            return [base]
        return [f"{base}/{d}" for d in os.listdir(base) if os.path.isdir(f"{base}/{d}")]

    def cgroups(self, name):
        paths = [f"{h}/{self.cgroup_root}/{name}".rstrip("/") for h in self.hierarchies()]
        return [p for p in paths if os.path.isdir(p)]

    @staticmethod
    def procs(cgroup):
        try:
            with open(f"{cgroup}/cgroup.procs", encoding="ascii") as f:
                return list(map(int, f.read().split()))
        except OSError:
            return []

    def children(self, program="lx-instance-worker"):
        """The agent's worker processes."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as f:
                if f.read().startswith(f"{program}\0{self.state}\0".encode()):
                    found.append(int(pid))
        return found

    def monitors(self, name):
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as f:
                if f.read().startswith(f"[lxc monitor] {self.state}/instances {name}\0".encode()):
                    found.append(int(pid))
        return found

    def left(self, name):
        """Everything of a run that is still there; empty when all is gone."""
        left = [("cgroup", c) for c in self.cgroups(name)]
        left += [("monitor", m) for m in self.monitors(name)]
        if os.path.exists(f"/sys/class/net/{self.veth(name)}"):
            left.append(("veth", self.veth(name)))
        if os.path.exists(f"{self.run}/{name}.pb"):
            left.append(("record", name))
        return left
