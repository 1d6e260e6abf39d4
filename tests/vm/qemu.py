"""A virtual machine: one qemu process, told what to do over a virtio port.

    with Machine("vm1", image, ...) as m:
        m.wait_ready()
        m.run("systemctl", "start", "lxmgrd", check=True)

Without hardware help (TCG) and with one processor: several threads of emulation have panicked
kernels in CRIU's work. What a machine says is kept in files: console (kernel), journal. qemu ends
with status 0 after a panic as well, so nothing is read from that.
"""

import base64
import json
import os
import queue
import socket
import subprocess
import threading
import time

QEMU = "qemu-system-x86_64"
MEMORY_MIB = 2048
READY_SECONDS = 300
RUN_SECONDS = 120
POLL_SECONDS = 2  # a command costs the machine about a second
TIMED_OUT = -1000


class Gone(Exception):
    """The machine has ended, or does not answer."""


class Failed(AssertionError):
    """A command in it has failed."""


class Done:
    def __init__(self, argv, answer):
        self.argv, self.code = argv, answer["code"]
        self.out, self.err = answer["stdout"], answer["stderr"]

    def __repr__(self):
        how = "took too long" if self.code == TIMED_OUT else f"exit code {self.code}"
        return f"{' '.join(self.argv)}: {how}\n{self.out}{self.err}"


class Machine:
    def __init__(self, name, image, programs, address, mac, link, where, logs):
        """`link`: the netdev option that joins it to the other machine; `where`: for its socket and what it writes."""
        self.name, self.where = name, where
        self.console, self.journal, self.said = (os.path.join(logs, f"{name}-{x}.log") for x in ("console", "journal", "qemu"))
        self.port = os.path.join(where, f"{name}.port")
        self.argv = [
            # Ends with us, also when we are killed.
            "setpriv", "--pdeathsig", "KILL", QEMU, "-nodefaults", "-display", "none", "-no-reboot", "-accel", "tcg,thread=single", "-machine", "q35",
            "-cpu", "qemu64", "-smp", "1", "-m", str(MEMORY_MIB), "-name", name,
            "-kernel", image.kernel, "-initrd", image.initrd, "-append",
            f"console=ttyS0 root=/dev/vda rw panic=-1 quiet loglevel=5 systemd.hostname={name} lxmgr.address={address} "
            "systemd.show_status=no mitigations=off",
            "-drive", f"file={image.disk},if=virtio,format=raw,snapshot=on,cache=unsafe",
            "-drive", f"file={programs},if=virtio,format=raw,readonly=on",
            "-netdev", f"{link},id=n0", "-device", f"virtio-net-pci,netdev=n0,mac={mac}",
            "-device", "virtio-serial-pci", "-device", "virtio-rng-pci",
            "-chardev", f"socket,id=port,path={self.port},server=on,wait=off",
            "-device", "virtserialport,chardev=port,name=lxmgr.runner",
            "-chardev", f"file,id=journal,path={self.journal}", "-device", "virtconsole,chardev=journal",
            "-serial", f"file:{self.console}",
        ]
        self.process = self.socket = None
        self.waiting, self.next_id, self.lock = {}, 1, threading.Lock()
        self.ready = queue.Queue()

    def __enter__(self):
        with open(self.said, "wb") as log:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True, env={**os.environ, "TMPDIR": self.where})
        try:
            self._connect()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, kind, value, trace):
        self.end()

    def _connect(self):
        end = time.monotonic() + 60
        self.socket = socket.socket(socket.AF_UNIX)
        while True:
            try:
                self.socket.connect(self.port)
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    raise Gone(f"qemu did not start:\n{self._tail(self.said)}") from None
                time.sleep(0.1)
        threading.Thread(target=self._listen, daemon=True).start()

    @staticmethod
    def _tail(path):
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read()[-4000:]

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.socket:
            self.socket.close()

    # ------------------------------------------------------------ the port

    def _listen(self):
        try:
            for line in self.socket.makefile("rb"):
                message = json.loads(line)
                if "ready" in message:
                    self.ready.put(message)
                else:
                    self.waiting.pop(message["id"]).put(message)
        except (OSError, ValueError):
            pass
        gone = {"ready": False, "why": "qemu has ended"}
        self.ready.put(gone)
        for waiting in list(self.waiting.values()):
            waiting.put(None)

    def wait_ready(self):
        try:
            message = self.ready.get(timeout=READY_SECONDS)
        except queue.Empty:
            message = {"ready": False, "why": f"no sign of life in {READY_SECONDS} s"}
        if not message["ready"]:
            raise Gone(f"{self.name} did not boot: {message['why']}\n{self._tail(self.console)}")

    def start(self, *argv, timeout=RUN_SECONDS, input="", env=None):
        """Begins a command; returns a function that waits for its Done."""
        answer = queue.Queue()
        with self.lock:
            number, self.next_id = self.next_id, self.next_id + 1
            self.waiting[number] = answer
            data = base64.b64encode(input.encode()).decode()
            request = {"id": number, "argv": argv, "timeout": timeout, "input": data, "env": env or {}}
            self.socket.sendall(json.dumps(request).encode() + b"\n")

        def wait():
            try:
                message = answer.get(timeout=timeout + 60)
            except queue.Empty:
                message = None
            if message is None:
                raise Gone(f"{self.name} does not answer any more ({' '.join(argv)})\n{self._tail(self.console)}")
            return Done(argv, message)

        return wait

    def run(self, *argv, **kw):
        return self.start(*argv, **kw)()

    def ok(self, *argv, **kw):
        """What a command that must succeed prints."""
        done = self.run(*argv, **kw)
        if done.code != 0:
            raise Failed(f"on {self.name}: {done}")
        return done.out

    def read(self, path):
        return self.ok("cat", path).strip()

    def until(self, *argv, seconds=RUN_SECONDS, why=None):
        """Runs a command until it succeeds. The last answer's output."""
        end = time.monotonic() + seconds
        while True:
            done = self.run(*argv)
            if done.code == 0:
                return done.out
            if time.monotonic() > end:
                raise Failed(f"on {self.name}, waited {seconds} s for {why or 'this to succeed'}: {done}")
            time.sleep(POLL_SECONDS)
