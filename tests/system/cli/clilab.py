"""Runs the real lxmgr against the test double of the manager (fake_manager.py)."""

import os
import shutil
import subprocess
import sys

import pytest

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
BUILD = os.path.join(TOP, os.environ.get("BUILD", "build"))
LXMGR = os.path.join(BUILD, "bin", "lxmgr")


def missing():
    """Why this machine cannot run the tests, or None."""
    if not os.path.exists(LXMGR):
        return f"{LXMGR} is not built"
    try:
        import grpc  # noqa: F401
    except ImportError:
        return "python3-grpcio is not installed"
    return None if shutil.which("protoc") else "protoc is not installed"


needed = pytest.mark.skipif(missing() is not None, reason=str(missing()))


def environment(socket, **more):
    env = {k: v for k, v in os.environ.items() if not k.startswith("LXMGR_") and k not in ("VISUAL", "EDITOR")}
    # Leaks in a sanitizer build are found by the unit tests; here a failed exit would hide the reason.
    return {**env, "LXMGR_SOCKET": socket, "TERM": "xterm", "LC_ALL": "C.UTF-8", "TZ": "UTC", **more}


class Lab:
    """lxmgr as a user calls it, and the manager it talks to."""

    def __init__(self, manager):
        self.manager, self.pb = manager, manager.pb
        self.env = environment(manager.socket)

    def start(self, *args, **more):
        kw = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.env)
        return subprocess.Popen([LXMGR, *args], **{**kw, **more})

    def run(self, *args, stdin="", code=0, timeout=20, env=None, cwd=None):
        """Runs lxmgr to its end and returns its stdout. What it said on stderr is in .said."""
        data = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            [LXMGR, *args], input=data, capture_output=True, env={**self.env, **(env or {})}, timeout=timeout, cwd=cwd
        )
        self.said = done.stderr.decode()
        assert done.returncode == code, (args, done.returncode, done.stdout, self.said)
        self.raw = done.stdout
        return done.stdout.decode(errors="replace")

    def request(self, method):
        return self.manager.request(method)


@pytest.fixture(scope="session")
def manager(tmp_path_factory):
    sys.path.insert(0, os.path.dirname(__file__))
    import fake_manager

    directory = tmp_path_factory.mktemp("cli")
    manager = fake_manager.FakeManager(fake_manager.Messages(str(directory)), str(directory / "lxmgr.sock"))
    yield manager
    manager.stop()


@pytest.fixture
def lab(manager):
    manager.reset()
    return Lab(manager)
