"""lxmgr exec, shell and console: bytes, signals, terminals and exit codes.

The other side is a TEST DOUBLE of the manager: cli/fake_manager.py.
"""

import fcntl
import hashlib
import os
import pty
import queue
import resource
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time

import grpc
import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "cli"))
from clilab import LXMGR, lab, manager, needed  # noqa: E402, F401

pytestmark = needed

SHELL = ["/bin/sh", "-c", "if [ -x /bin/bash ]; then exec /bin/bash -l; fi; exec /bin/sh -l"]


class Guest:
    """Answers Exec with a script: a function of this object that yields responses."""

    def __init__(self, lab, script):
        self.lab, self.script = lab, script
        self.start, self.got = None, queue.Queue()
        self.stdin = bytearray()  # grows in place, unlike bytes
        lab.manager.answers["InstanceService/Exec"] = self.serve

    def serve(self, requests, context):
        self.start = next(requests).start
        self.requests, self.context = requests, context
        yield self.lab.pb.ExecResponse(started={"pid": 42})
        yield from self.script(self)

    def out(self, data):
        return self.lab.pb.ExecResponse(stdout=data)

    def err(self, data):
        return self.lab.pb.ExecResponse(stderr=data)

    def exit(self, code=0, signal=0):
        return self.lab.pb.ExecResponse(exit={"code": code, "signal": signal})

    def read_stdin(self):
        """Bytes until the client says there will be no more."""
        for request in self.requests:
            kind = request.WhichOneof("what")
            if kind == "stdin":
                assert 0 < len(request.stdin) <= 65536
                self.stdin += request.stdin
            elif kind == "stdin_closed":
                return

    def pump(self):
        """Other requests, into a queue, from a thread of their own."""

        def run():
            try:
                for request in self.requests:
                    self.got.put(request)
            except Exception:
                pass  # the call ended
            self.got.put(None)

        threading.Thread(target=run, daemon=True).start()

    def wait_for(self, kind, timeout=10):
        end = time.monotonic() + timeout
        while True:
            request = self.got.get(timeout=max(0.01, end - time.monotonic()))
            assert request is not None, "the call ended"
            if request.WhichOneof("what") == kind:
                return request


# ---------------------------------------------------------------- without a terminal


def test_command_and_streams(lab):
    def script(guest):
        guest.read_stdin()
        yield guest.out(b"o\x00ut\xff")
        yield guest.err(b"e\x00rr")
        yield guest.exit(0)

    guest = Guest(lab, script)
    lab.run(*"exec web1 --env A=1 --env B=x=y --cwd /srv --user www-data --".split(), "sh", "-c", "x --help -t", stdin="in")
    start = guest.start
    assert start.instance == "web1" and list(start.command) == ["sh", "-c", "x --help -t"]
    assert dict(start.environment) == {"A": "1", "B": "x=y"}
    assert (start.cwd, start.user, start.terminal, start.console) == ("/srv", "www-data", False, False)
    assert lab.raw == b"o\x00ut\xff" and lab.said == "e\0rr" and guest.stdin == b"in"


def test_options_after_the_name(lab):
    guest = Guest(lab, lambda guest: iter([guest.exit(0)]))
    lab.run("exec", "web1", "-T", "-n", "--user", "1000", "--group", "50", "--", "true", "-n")
    assert list(guest.start.command) == ["true", "-n"] and guest.start.user == "1000:50"
    lab.run("exec", "web1", "true")
    assert list(guest.start.command) == ["true"]


@pytest.mark.parametrize("code", [0, 1, 2, 42, 127, 255])
def test_exit_code(lab, code):
    Guest(lab, lambda guest: iter([guest.exit(code)]))
    assert lab.run("exec", "web1", "--", "x", code=code) == "" and lab.said == ""


def test_killed_by_a_signal(lab):
    Guest(lab, lambda guest: iter([guest.exit(137, 9)]))
    lab.run("exec", "web1", "--", "x", code=137)
    Guest(lab, lambda guest: iter([guest.exit(0, 15)]))
    lab.run("exec", "web1", "--", "x", code=143)


def test_error_is_told(lab):
    from fake_manager import Refusal

    def script(guest):
        raise Refusal(grpc.StatusCode.FAILED_PRECONDITION, "web1 is not running", "Start it: lxmgr start web1")
        yield

    Guest(lab, script)
    lab.run("exec", "web1", "--", "x", code=1)
    assert lab.said == "Error: web1 is not running\nHint: Start it: lxmgr start web1\n"
    Guest(lab, lambda guest: iter([guest.out(b"half")]))
    assert lab.run("exec", "web1", "--", "x", code=1) == "half"
    assert "without the command's exit code" in lab.said


def test_no_stdin(lab):
    def script(guest):
        guest.read_stdin()
        yield guest.exit(0)

    guest = Guest(lab, script)
    p = lab.start("exec", "web1", "-n", "--", "cat")  # our stdin stays open and silent
    assert p.wait(timeout=10) == 0 and guest.stdin == b""
    p.communicate()


def test_stdin_from_a_file_and_from_dev_null(lab, tmp_path):
    def script(guest):
        guest.read_stdin()
        yield guest.exit(0)

    data = os.urandom(300_000)
    (tmp_path / "in").write_bytes(data)
    guest = Guest(lab, script)
    with open(tmp_path / "in", "rb") as f:
        assert lab.start("exec", "web1", "--", "cat", stdin=f).wait(timeout=10) == 0
    assert guest.stdin == data
    guest = Guest(lab, script)
    assert lab.start("exec", "web1", "--", "cat", stdin=subprocess.DEVNULL).wait(timeout=10) == 0
    assert guest.stdin == b""


def test_large_binary_data_both_ways(lab):
    """An echo: what goes in comes out, chunk by chunk, while the input is still coming."""

    def script(guest):
        for request in guest.requests:
            if request.WhichOneof("what") == "stdin_closed":
                break
            yield guest.out(request.stdin)
        yield guest.exit(7)

    Guest(lab, script)
    data = os.urandom(24 << 20)
    lab.run("exec", "web1", "--", "cat", stdin=data, code=7, timeout=60)
    assert hashlib.sha256(lab.raw).digest() == hashlib.sha256(data).digest()


def test_slow_reader_pauses_the_instance(lab):
    """Whoever reads our stdout takes his time: the sender must wait, and we must not hoard."""
    sent = [0]
    chunk = os.urandom(65536)

    def script(guest):
        for _ in range(1024):  # 64 MiB
            sent[0] += len(chunk)
            yield guest.out(chunk)
        yield guest.exit(0)

    Guest(lab, script)
    p = lab.start("exec", "web1", "-n", "--", "cat")
    last = -1
    while sent[0] != last:  # until nothing moves any more
        last = sent[0]
        time.sleep(0.5)
    assert 0 < sent[0] < 24 << 20
    with open(f"/proc/{p.pid}/status") as f:
        rss = next(int(line.split()[1]) for line in f if line.startswith("VmRSS:"))
    assert rss < 40 << 10, f"{rss} kB"
    got = hashlib.sha256()
    size = 0
    while data := p.stdout.read(1 << 20):
        size += len(data)
        got.update(data)
    assert p.wait(timeout=10) == 0 and size == 64 << 20
    want = hashlib.sha256()
    for _ in range(1024):
        want.update(chunk)
    assert got.digest() == want.digest()


def test_slow_instance_pauses_stdin(lab):
    """The command does not read: we must not take in everything our stdin has."""
    go = threading.Event()

    def script(guest):
        go.wait(20)
        guest.read_stdin()
        yield guest.exit(0)

    guest = Guest(lab, script)
    p = lab.start("exec", "web1", "--", "cat")
    fed = [0]

    def feed():
        for _ in range(512):  # 32 MiB
            p.stdin.write(b"x" * 65536)
            fed[0] += 65536
        p.stdin.close()

    t = threading.Thread(target=feed)
    t.start()
    last = -1
    while fed[0] != last:
        last = fed[0]
        time.sleep(0.5)
    assert fed[0] < 24 << 20
    go.set()
    t.join(120)
    assert p.wait(timeout=120) == 0 and len(guest.stdin) == 32 << 20


def test_reader_that_goes_away_ends_the_command(lab):
    ended = threading.Event()

    def script(guest):
        guest.context.add_callback(ended.set)
        while True:
            yield guest.out(b"y\n" * 1000)

    Guest(lab, script)
    p = lab.start("exec", "web1", "-n", "--", "yes")
    assert p.stdout.read(2) == b"y\n"
    p.stdout.close()
    assert p.wait(timeout=10) == 128 + signal.SIGPIPE and p.stderr.read() == b""
    assert ended.wait(10)


def test_full_disk_behind_stdout(lab):
    def script(guest):
        yield guest.out(b"x" * 1000)
        guest.read_stdin()
        yield guest.exit(0)

    Guest(lab, script)
    with open("/dev/full", "wb") as full:
        p = lab.start("exec", "web1", "--", "x", stdout=full)
        assert p.wait(timeout=10) == 1
    assert b"cannot write the output: No space left on device" in p.stderr.read()


def test_stdin_and_stdout_stay_blocking(lab):
    """O_NONBLOCK would stay on a terminal or pipe that others share after we are gone."""
    def script(guest):
        yield guest.out(b"x")
        yield guest.exit(0)

    Guest(lab, script)
    r, w = os.pipe()
    p = lab.start("exec", "web1", "--", "x", stdin=r, stdout=w)
    assert p.wait(timeout=10) == 0
    for fd in (r, w):
        assert not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK
        os.close(fd)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2])
def test_signals_are_passed_on(lab, signum):
    ready = threading.Event()

    def script(guest):
        guest.pump()
        yield guest.out(b"ready\n")
        got = guest.wait_for("signal").signal
        yield guest.exit(128 + got, got)

    Guest(lab, script)
    p = lab.start("exec", "web1", "--", "sleep", "100")
    assert p.stdout.readline() == b"ready\n"
    p.send_signal(signum)
    assert p.wait(timeout=10) == 128 + signum
    p.communicate()
    ready.set()


def test_third_interrupt_leaves(lab):
    def script(guest):
        yield guest.out(b"ready\n")
        for _ in guest.requests:
            pass  # whatever comes, it ignores
        yield guest.exit(0)

    Guest(lab, script)
    p = lab.start("exec", "web1", "--", "stubborn")
    assert p.stdout.readline() == b"ready\n"
    for _ in range(3):
        p.send_signal(signal.SIGINT)
        time.sleep(0.1)
    assert p.wait(timeout=10) == 130
    p.communicate()


# ---------------------------------------------------------------- with a terminal


class Terminal:
    """lxmgr on a pty of its own."""

    def __init__(self, lab, *args, rows=30, cols=100):
        self.master, self.slave = pty.openpty()
        self.size(rows, cols)
        self.before = termios.tcgetattr(self.slave)

        def become():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.p = subprocess.Popen(
            [LXMGR, *args], stdin=self.slave, stdout=self.slave, stderr=self.slave, env=lab.env, preexec_fn=become
        )
        self.seen = b""

    def size(self, rows, cols):
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def type(self, data):
        os.write(self.master, data)

    def expect(self, what, timeout=10):
        end = time.monotonic() + timeout
        while what not in self.seen:
            assert time.monotonic() < end, self.seen
            if select.select([self.master], [], [], 0.1)[0]:
                self.seen += os.read(self.master, 65536)

    def raw(self):
        return not termios.tcgetattr(self.slave)[3] & termios.ICANON

    def close(self, code):
        end = time.monotonic() + 10
        while self.p.poll() is None and time.monotonic() < end:
            if select.select([self.master], [], [], 0.05)[0]:
                self.seen += os.read(self.master, 65536)
        got = self.p.poll()
        if got is None:
            self.p.kill()
            self.p.wait()
        while select.select([self.master], [], [], 0)[0]:
            self.seen += os.read(self.master, 65536)
        after = termios.tcgetattr(self.slave)
        os.close(self.master)
        os.close(self.slave)
        assert got == code, self.seen
        assert after == self.before, "the terminal was not restored"


def interactive(guest):
    """Echoes what is typed until a 'q'."""
    guest.pump()
    yield guest.out(b"hello$ ")
    while request := guest.got.get(timeout=20):
        kind = request.WhichOneof("what")
        if kind == "resize":
            yield guest.out(b"<%dx%d>" % (request.resize.rows, request.resize.cols))
        elif kind == "stdin" and b"q" in request.stdin:
            yield guest.exit(5)
            return
        elif kind == "stdin":
            yield guest.out(b"[" + request.stdin.hex().encode() + b"]")


def test_terminal(lab):
    guest = Guest(lab, interactive)
    t = Terminal(lab, "exec", "web1", "--", "bash")
    t.expect(b"hello$ ")
    assert guest.start.terminal and dict(guest.start.environment) == {"TERM": "xterm"}
    assert (guest.start.size.rows, guest.start.size.cols) == (30, 100)
    assert t.raw()
    t.type(b"a")
    t.expect(b"[61]")
    t.type(b"\x03")  # Ctrl-C is the instance's
    t.expect(b"[03]")
    t.size(50, 120)
    t.p.send_signal(signal.SIGWINCH)
    t.expect(b"<50x120>")
    t.type(b"q")
    t.close(5)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGABRT])
def test_terminal_is_restored_after_a_signal(lab, signum):
    Guest(lab, interactive)
    t = Terminal(lab, "exec", "web1", "--", "bash")
    t.expect(b"hello$ ")
    t.p.send_signal(signum)
    ours = signum in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    t.close(128 + signum if ours else -signum)


def test_terminal_is_restored_when_the_connection_breaks(lab):
    from fake_manager import Refusal

    def script(guest):
        yield guest.out(b"hello$ ")
        time.sleep(0.3)
        raise Refusal(grpc.StatusCode.UNAVAILABLE, "node1 went away")

    Guest(lab, script)
    t = Terminal(lab, "exec", "web1", "--", "bash")
    t.expect(b"hello$ ")
    assert t.raw()
    t.close(1)
    assert b"Error: node1 went away\r\n" in t.seen


def test_stopped_and_continued(lab):
    Guest(lab, interactive)
    t = Terminal(lab, "exec", "web1", "--", "bash")
    t.expect(b"hello$ ")
    t.p.send_signal(signal.SIGTSTP)
    end = time.monotonic() + 5
    while open(f"/proc/{t.p.pid}/stat").read().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < end
        time.sleep(0.02)
    assert not t.raw()
    t.p.send_signal(signal.SIGCONT)
    t.expect(b"<30x100>")
    assert t.raw()
    t.type(b"q")
    t.close(5)


def test_no_terminal_when_told_or_when_stdout_is_none(lab):
    guest = Guest(lab, lambda guest: iter([guest.exit(0)]))
    t = Terminal(lab, "exec", "web1", "-T", "--", "x")
    t.close(0)
    assert not guest.start.terminal
    lab.run("exec", "web1", "-t", "--", "x")
    assert guest.start.terminal


def test_shell(lab):
    guest = Guest(lab, interactive)
    t = Terminal(lab, "shell", "web1", "--user", "ann")
    t.expect(b"hello$ ")
    assert list(guest.start.command) == SHELL and guest.start.user == "ann" and guest.start.terminal
    t.type(b"q")
    t.close(5)


def test_console_and_its_keys(lab):
    guest = Guest(lab, interactive)
    t = Terminal(lab, "console", "web1")
    t.expect(b"hello$ ")
    assert guest.start.console and guest.start.terminal and not guest.start.command
    assert b"press Ctrl-a q" in t.seen
    t.type(b"\x01\x01")
    t.expect(b"[01]")
    t.type(b"\x01x")
    t.expect(b"78]")
    t.type(b"\x01")
    t.type(b"q")
    t.close(0)


def test_console_log(lab):
    def log(request, context):
        yield lab.pb.DataChunk(data=b"booting\n\xff")
        yield lab.pb.DataChunk(data=b"up\n")

    lab.manager.answers["InstanceService/ConsoleLog"] = log
    lab.run("console", "web1", "--show-log")
    assert lab.raw == b"booting\n\xffup\n"
    lab.run("console", "web1", "--lines", "20", "-f")
    got = lab.manager.requests("InstanceService/ConsoleLog")[-1]
    assert got.instance == "web1" and got.lines == 20 and got.follow


def test_exec_is_cheap(lab):
    """Page faults are most of what it costs: this catches a library too many."""
    Guest(lab, lambda guest: iter([guest.exit(0)]))
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt
    lab.run("exec", "web1", "-n", "--", "true")
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt - before < 250


def test_no_descriptors_needed_in_number(lab):
    Guest(lab, lambda guest: iter([guest.exit(3)]))
    p = lab.start("exec", "web1", "-n", "--", "x", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32)))
    assert p.wait(timeout=10) == 3
    p.communicate()
