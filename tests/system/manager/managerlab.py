"""What the tests of the manager share: a manager alone, and how a refusal must look.

    manager       a manager without any node, for a whole file of tests
    refused()     a call that must fail: with this code, these words, this hint
    steady()      whatever is done inside, the manager answers afterwards and has not grown
"""

import contextlib
import os
import subprocess
import sys
import time
import unicodedata
import urllib.parse

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "testbed"))
import testbed  # noqa: E402

grpc = pytest.importorskip("grpc", reason="python3-grpcio is not installed")
Code = grpc.StatusCode

GROWTH_KIB = 8 * 1024  # what an attack may leave in the manager's memory


@contextlib.contextmanager
def running_manager(*args, **kw):
    """A manager without nodes."""
    cluster = testbed.Cluster("manager", manager_args=args, **kw)
    try:
        cluster.start_manager()
        yield cluster
        cluster.stop()
    except BaseException:
        cluster.stop(quiet=True)
        raise


@pytest.fixture(scope="module")
def manager(able):
    with running_manager() as cluster:
        yield cluster


# ---------------------------------------------------------------- refusals


def trailer(error, name):
    for key, value in error.trailing_metadata() or ():
        if key == name:
            return urllib.parse.unquote(value)
    return ""


def check_refusal(error, code, words=(), hint=()):
    details = error.details()
    assert error.code() is code, f"{error.code()}: {details}"
    assert details and len(details) < 1024
    everything = details + trailer(error, "lxmgr-hint")
    assert not [c for c in everything if unicodedata.category(c) == "Cc"], repr(everything)
    for word in words:
        assert word in details, details
    for word in hint:
        assert word in trailer(error, "lxmgr-hint"), f"{details} / {trailer(error, 'lxmgr-hint')}"


@contextlib.contextmanager
def refused(code, *words, hint=()):
    """The call inside must fail; `words` are in its message, `hint` (a word or several) in its hint."""
    with pytest.raises(grpc.RpcError) as info:
        yield
    check_refusal(info.value, code, words, [hint] if isinstance(hint, str) else hint)


def outcome(future):
    """("OK", answer) or (name of the code, error) of a call made with .future()."""
    try:
        return "OK", future.result(timeout=30)
    except grpc.RpcError as error:
        return error.code().name, error


def wait_op(api, op, seconds=30):
    """The operation at its end, which must be a success."""
    last = list(api.operations.Watch(api.pb.OperationRequest(id=op.id), timeout=seconds))[-1]
    assert last.status == api.pb.OPERATION_STATUS_SUCCESS, f"{last.kind} of {last.subject}: {last.error}"
    return last


# ---------------------------------------------------------------- the process


def rss_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as f:
        for line in f:
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    raise RuntimeError(f"process {pid} has no memory")


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def answers(cluster, seconds=5):
    return cluster.api.system.Info(cluster.api.pb.SystemInfoRequest(), timeout=seconds)


@contextlib.contextmanager
def steady(cluster, growth_kib=GROWTH_KIB):
    """The manager lives through what is done inside, answers, keeps no descriptor and little memory."""
    answers(cluster)
    pid, memory, fds = cluster.manager_pid, rss_kib(cluster.manager_pid), descriptors(cluster.manager_pid)
    yield
    assert cluster.manager_pid == pid, f"the manager died:\n{cluster.manager.said()}"
    answers(cluster)
    grown = rss_kib(pid) - memory
    assert grown < growth_kib, f"the manager grew by {grown} KiB"
    end = time.monotonic() + 5
    while descriptors(pid) > fds + 2 and time.monotonic() < end:
        time.sleep(0.05)
    assert descriptors(pid) <= fds + 2, "descriptors stay open"


# ---------------------------------------------------------------- methods by name


def every_method(api):
    """(service, method, its descriptor) of the public API."""
    for service in ("Instance", "Image", "Profile", "Network", "Node", "Operation", "Event", "System", "Identity",
                    "Audit", "Project"):
        name = f"lxmgr.v1.{service}Service"
        descriptor = api_pool().FindServiceByName(name)
        for method in descriptor.methods:
            yield f"/{name}/{method.name}", method


def api_pool():
    from google.protobuf import descriptor_pool

    return descriptor_pool.Default()


def streams(path):
    """(the client streams, the server streams): the descriptors that protoc makes for Python do not say."""
    client = {"Exec", "PushFile", "Import"}
    server = {"Exec", "ConsoleLog", "PullFile", "Import", "Export", "Watch"}
    method = path.rsplit("/", 1)[1]
    return method in client, method in server


def raw_call(channel, path, requests, timeout=10):
    """Calls a method of any kind with bytes; returns the list of answers as bytes."""
    client, server = streams(path)
    kind = f"{'stream' if client else 'unary'}_{'stream' if server else 'unary'}"
    call = getattr(channel, kind)(path, request_serializer=None, response_deserializer=None)
    answer = call(iter(requests) if client else requests[0], timeout=timeout)
    return list(answer) if server else [answer]


def run(*argv, **kw):
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True, **kw)
