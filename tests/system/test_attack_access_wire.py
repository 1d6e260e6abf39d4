"""Attacks on the manager's listener below any call: frames that are none, peers that never finish,
crowds that only hold connections. Whoever has a certificate is served meanwhile and afterwards."""

import os
import resource
import socket
import struct
import time

import pytest

from manager.accesslab import Client, tls_context
from manager.managerlab import descriptors, running_manager, steady

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_UNPROVEN = 1024  # rpc/rpc.h: LX_RPC_MAX_UNPROVEN
CROWD = 10_000


@pytest.fixture(scope="module")
def manager(able):
    with running_manager() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def client(manager):
    return Client(manager, "guest", "viewer")


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


SETTINGS = frame(4, 0, 0)


def tls(manager, who=None):
    raw = socket.create_connection(("127.0.0.1", manager.manager_port), 20)
    return tls_context(who).wrap_socket(raw)


def drain(sock, seconds=20):
    """Everything the other side still says until it hangs up; None when it does not."""
    sock.settimeout(seconds)
    said = b""
    try:
        while data := sock.recv(65536):
            said += data
    except TimeoutError:
        return None
    except OSError:
        pass
    return said


MALFORMED = {
    "no preface": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "frame of 16 MiB": PREFACE + SETTINGS + b"\xff\xff\xff" + frame(0, 0, 1)[3:],
    "data on stream 0": PREFACE + SETTINGS + frame(0, 0, 0, b"x"),
    "headers on an even stream": PREFACE + SETTINGS + frame(1, 5, 2, b"\x82"),
    "continuation of nothing": PREFACE + SETTINGS + frame(9, 4, 1, b"\x82"),
    "header block that is none": PREFACE + SETTINGS + frame(1, 5, 1, b"\xff" * 64),
    "settings of 5 bytes": PREFACE + frame(4, 0, 0, b"12345"),
    "window of 2^31 more": PREFACE + SETTINGS + frame(8, 0, 0, b"\x7f\xff\xff\xff") * 2,
    "ping of 7 bytes": PREFACE + SETTINGS + frame(6, 0, 0, b"1234567"),
    "push promise from a client": PREFACE + SETTINGS + frame(5, 4, 1, b"\0\0\0\2\x82"),
    "headers that never end": PREFACE + SETTINGS + frame(1, 1, 1, b"\x82") + frame(1, 1, 3, b"\x82"),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_frames(manager, client, what):
    """The connection that brings them ends; with a certificate or without makes no difference."""
    with steady(manager):
        for who in (None, client):
            sock = tls(manager, who)
            sock.sendall(MALFORMED[what])
            assert drain(sock) is not None, "the manager keeps the connection"
            sock.close()
    assert client.cli("list").returncode == 0


def test_no_tls(manager, client):
    for first in (PREFACE + SETTINGS, b"\0" * 2048, b"\x16\x03\x01\xff\xff" + b"x" * 512, os.urandom(4096)):
        raw = socket.create_connection(("127.0.0.1", manager.manager_port), 20)
        raw.sendall(first)
        assert drain(raw) is not None
        raw.close()
    assert client.cli("list").returncode == 0


def test_floods_of_control_frames(manager, client):
    """Pings, settings and resets without end: answered with the end of the connection."""
    with steady(manager):
        for flood in (frame(6, 0, 0, b"12345678"), SETTINGS,
                      frame(1, 4, 1, b"\x82") + frame(3, 0, 1, b"\0\0\0\x08")):
            sock = tls(manager, client)
            sock.settimeout(20)
            sock.sendall(PREFACE + SETTINGS)
            try:
                for _ in range(400):
                    sock.sendall(flood * 200)
            except OSError:
                pass
            else:
                assert drain(sock) is not None
            sock.close()
    assert client.cli("list").returncode == 0


@pytest.fixture(scope="module")
def nameless(manager):
    """Done with the handshake and without a certificate; and since when."""
    sock = tls(manager)
    sock.sendall(PREFACE + SETTINGS)
    yield sock, time.monotonic()
    sock.close()


def test_slow_loris(manager, client, nameless):
    """A byte now and then of a handshake, of a preface, of nothing: each is over after its time, whatever trickles in.
    The time of the nameless one passes meanwhile."""
    trickling = {}
    for name, begin in (("handshake", lambda: socket.create_connection(("127.0.0.1", manager.manager_port), 20)),
                        ("preface", lambda: tls(manager)), ("with a certificate", lambda: tls(manager, client))):
        trickling[name] = begin()
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 64
    over, sent, end = set(), 0, time.monotonic() + 60
    while len(over) < len(trickling) and time.monotonic() < end:
        for name, sock in trickling.items():
            if name in over:
                continue
            text = hello if name == "handshake" else PREFACE
            try:
                # Never the whole of it.
                sock.sendall(text[sent:sent + 1] if sent < len(text) - 1 else b"")
                sock.settimeout(0.01)
                if sock.recv(4096) == b"":
                    over.add(name)
            except TimeoutError:
                pass
            except OSError:
                over.add(name)
        sent += 1
        time.sleep(1.5)
        assert client.cli("list").returncode == 0
    assert over == set(trickling)
    for sock in trickling.values():
        sock.close()


def test_nameless_connections_end(nameless):
    """There is time enough to enrol, and then it is over."""
    sock, since = nameless
    said = drain(sock, since + 90 - time.monotonic())
    assert said, "the manager keeps the connection"


def settle(manager, at_most):
    """Until it has no more descriptors: one that is closed stays for a moment, so that the last word arrives."""
    end = time.monotonic() + 60
    while descriptors(manager.manager_pid) > at_most and time.monotonic() < end:
        time.sleep(0.2)
    assert descriptors(manager.manager_pid) <= at_most


def open_many(manager, n):
    """As many idle connections as can be had; those that are refused or closed count as had."""
    held = []
    for i in range(n):
        s = socket.socket()
        s.settimeout(20)
        try:
            s.connect(("127.0.0.1", manager.manager_port))
        except OSError:
            s.close()
            continue
        held.append(s)
    return held


def test_ten_thousand_idle_connections(manager, client):
    """They get no further than the few places for strangers, the oldest leave for the newest, and who has a
    certificate does not notice."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(CROWD, hard - 500) if hard != resource.RLIM_INFINITY else CROWD
    if wanted < 2 * MAX_UNPROVEN:
        pytest.skip(f"only {hard} open files are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    before = descriptors(manager.manager_pid)
    try:
        held = open_many(manager, wanted)
        assert len(held) > wanted * 9 // 10
        settle(manager, before + MAX_UNPROVEN + 16)
        for _ in range(5):
            assert client.cli("list").returncode == 0
            assert manager.cli("version").returncode == 0
        for s in held:
            s.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    settle(manager, before + 16)
    assert client.cli("list").returncode == 0
