"""Proxy devices: connections and datagrams passed on between a node and a guest, with real traffic on loopback.

In guests tests/system/proxy/peer.c is the other end.
"""

import glob
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "testbed"))
import machine  # noqa: E402
import moving  # noqa: E402
import testbed  # noqa: E402
from instance.devicelab import device, inside, refused  # noqa: E402
from machine import wait_for  # noqa: E402
from manager.accesslab import Client  # noqa: E402
from testbed import BUILD  # noqa: E402

PEER = "/root/peer"
SECONDS = 10  # that anything here may take; nothing is said by it


def free_port(kind=socket.SOCK_STREAM, n=1):
    """The first of n ports of this machine that nobody has now."""
    while True:
        with socket.socket(type=kind) as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        taken = []
        try:
            for i in range(n):
                taken.append(socket.socket(type=kind))
                taken[-1].bind(("127.0.0.1", port + i))
            return port
        except (OSError, OverflowError):
            pass
        finally:
            for s in taken:
                s.close()


def proxy(name, listen, connect, **more):
    return device(name, type="proxy", listen=listen, connect=connect, **more)


def board(cluster, name):
    cluster.ok("file", "push", os.path.join(BUILD, "tests", "peer"), f"{name}{PEER}", "--mode", "0755")


def echo(cluster, name, address):
    """Something in the guest that answers at the address."""
    said = f"/tmp/said-{uuid.uuid4().hex[:6]}"
    cluster.exec(name, "sh", "-c", f"{PEER} echo {address} >{said} 2>&1 </dev/null &")
    wait_for(lambda: "ready" in cluster.exec(name, "cat", said).stdout, SECONDS, 0.05, f"{address} answers")


def ask(cluster, name, address, text):
    return cluster.exec(name, PEER, "ask", address, text).stdout


def connect(port):
    s = socket.create_connection(("127.0.0.1", port), SECONDS)
    s.settimeout(SECONDS)
    return s


def asked(s, text):
    """What comes back for it, until the other side ends."""
    with s:
        s.sendall(text)
        s.shutdown(socket.SHUT_WR)
        back = b""
        while piece := s.recv(65536):
            back += piece
        return back


def answered(port, text):
    try:
        return asked(connect(port), text)
    except OSError:
        return None


class Server:
    """On the node: sends back what it gets."""

    def __init__(self, kind=socket.SOCK_STREAM, path=None):
        self.s = socket.socket(socket.AF_UNIX if path else socket.AF_INET, kind)
        self.s.bind(path or ("127.0.0.1", 0))
        self.port = 0 if path else self.s.getsockname()[1]
        self.kind = kind
        if kind == socket.SOCK_STREAM:
            self.s.listen()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        try:
            while True:
                if self.kind == socket.SOCK_DGRAM:
                    data, peer = self.s.recvfrom(65536)
                    self.s.sendto(data, peer)
                    continue
                c, _ = self.s.accept()
                with c:
                    while data := c.recv(65536):
                        c.sendall(data)
        except OSError:
            pass

    def close(self):
        self.s.shutdown(socket.SHUT_RDWR) if self.kind == socket.SOCK_STREAM else None
        self.s.close()


def proxies(cluster):
    """Processes of this cluster's proxies."""
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as f:
                words = f.read().split(b"\0")
        except OSError:
            continue
        if words[0] == b"lx-proxy" and words[1].startswith(os.fsencode(cluster.dir)):
            found.append(int(path.split("/")[2]))
    return found


def no_leftovers(cluster):
    wait_for(lambda: not proxies(cluster), SECONDS, 0.05, "the proxies end")
    assert not glob.glob(f"{cluster.dir}/**/*.proxy", recursive=True)


# ---------------------------------------------------------------- traffic


def test_connections_into_the_guest(cluster):
    """What is sent comes, and the ends of both directions; also much of it, and many at once."""
    port = free_port()
    cluster.ok("launch", "busybox", "c1", *proxy("web", f"tcp:127.0.0.1:{port}", "tcp:127.0.0.1:80"))
    board(cluster, "c1")
    with pytest.raises(OSError):  # nobody is there, which is not an empty answer
        asked(connect(port), b"early")
    echo(cluster, "c1", "tcp:127.0.0.1:80")
    assert asked(connect(port), b"hello") == b"hello"
    much = os.urandom(1 << 20) * 4
    s = connect(port)
    sender = threading.Thread(target=lambda: (s.sendall(much), s.shutdown(socket.SHUT_WR)))
    sender.start()
    back = b""
    while piece := s.recv(1 << 16):
        back += piece
    sender.join()
    s.close()
    assert back == much
    many = [connect(port) for _ in range(200)]
    for i, s in enumerate(many):
        s.sendall(b"%d" % i)
    for i, s in enumerate(many):
        assert asked(s, b"") == b"%d" % i
    # One that is broken off takes the other side along.
    s = connect(port)
    s.sendall(b"x")
    assert s.recv(1) == b"x"
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    s.close()
    assert asked(connect(port), b"again") == b"again"
    cluster.ok("delete", "c1", "--force")
    no_leftovers(cluster)
    with pytest.raises(OSError):
        connect(port)


def test_nobody_is_turned_away_while_the_guest_is_slow(cluster):
    """More than fit into the socket to the half of the proxy that is in the guest, which does not come to its turn."""
    port = free_port()
    cluster.ok("launch", "busybox", "c1", *proxy("web", f"tcp:127.0.0.1:{port}", "tcp:127.0.0.1:80"))
    board(cluster, "c1")
    echo(cluster, "c1", "tcp:127.0.0.1:80")
    assert asked(connect(port), b"first") == b"first"
    (inner,) = [p for p in proxies(cluster) if machine.parent(p) in proxies(cluster)]
    os.kill(inner, signal.SIGSTOP)
    many = [connect(port) for _ in range(600)]
    for i, s in enumerate(many):
        s.sendall(b"%d" % i)
    time.sleep(0.3)  # for the other half to ask for them
    os.kill(inner, signal.SIGCONT)
    for i, s in enumerate(many):
        assert asked(s, b"") == b"%d" % i
    cluster.ok("delete", "c1", "--force")
    no_leftovers(cluster)


def test_a_slow_reader_is_waited_for(cluster):
    """No more is taken of a sender than its reader takes, and the others go on meanwhile."""
    port = free_port()
    cluster.ok("launch", "busybox", "c1", *proxy("web", f"tcp:127.0.0.1:{port}", "tcp:127.0.0.1:80"))
    board(cluster, "c1")
    echo(cluster, "c1", "tcp:127.0.0.1:80")
    slow = connect(port)
    slow.setblocking(False)
    sent = 0
    try:
        while sent < 1 << 28:
            sent += slow.send(b"x" * 65536)
            asked(connect(port), b"y")
    except BlockingIOError:
        pass
    assert sent < 1 << 28, "it was all taken"
    assert asked(connect(port), b"others") == b"others"
    slow.setblocking(True)
    got = 0
    while got < sent:
        got += len(slow.recv(1 << 16))
    slow.close()


def test_ipv6_and_wildcards(cluster):
    """[::] and 0.0.0.0 are two, and may be listened at by two devices."""
    port = free_port()
    cluster.ok("launch", "busybox", "c1", *proxy("six", f"tcp:[::]:{port}", "tcp:127.0.0.1:86"),
               *proxy("four", f"tcp:0.0.0.0:{port}", "tcp:127.0.0.1:84"))
    board(cluster, "c1")
    echo(cluster, "c1", "tcp:127.0.0.1:86")
    assert asked(socket.create_connection(("::1", port), SECONDS), b"six") == b"six"
    assert not answered(port, b"four")
    echo(cluster, "c1", "tcp:127.0.0.1:84")
    assert answered(port, b"four") == b"four"


def test_ranges_of_ports(cluster):
    port, one = free_port(n=3), free_port(n=2)
    cluster.ok("launch", "busybox", "c1", *proxy("all", f"tcp:127.0.0.1:{port}-{port + 2}", "tcp:127.0.0.1:8000-8002"),
               *proxy("one", f"tcp:127.0.0.1:{one}-{one + 1}", "tcp:127.0.0.1:8001"))
    board(cluster, "c1")
    echo(cluster, "c1", "tcp:127.0.0.1:8001")
    assert [answered(port + i, b"x") or b"" for i in range(3)] == [b"", b"x", b""]
    assert [answered(one + i, b"x") for i in range(2)] == [b"x", b"x"]


def test_connections_out_of_the_guest(cluster):
    """bind=instance: a service of the node's, at an address of the guest's."""
    server = Server()
    try:
        cluster.ok("launch", "busybox", "c1", *proxy("db", "tcp:127.0.0.1:543", f"tcp:127.0.0.1:{server.port}", bind="instance"))
        board(cluster, "c1")
        assert ask(cluster, "c1", "tcp:127.0.0.1:543", "hello") == "hello"
        cluster.ok("restart", "c1", "--force")
        assert ask(cluster, "c1", "tcp:127.0.0.1:543", "anew") == "anew"
    finally:
        server.close()
    assert ask(cluster, "c1", "tcp:127.0.0.1:543", "gone") == ""


def test_datagrams(cluster):
    """Both ways; two who ask at once get their own answers."""
    port = free_port(socket.SOCK_DGRAM)
    server = Server(socket.SOCK_DGRAM)
    try:
        cluster.ok("launch", "busybox", "c1", *proxy("in", f"udp:127.0.0.1:{port}", "udp:127.0.0.1:53"),
                   *proxy("out", "udp:127.0.0.1:54", f"udp:127.0.0.1:{server.port}", bind="instance"))
        board(cluster, "c1")
        a, b = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(2))
        for s in (a, b):
            s.settimeout(0.3)
            s.connect(("127.0.0.1", port))
        a.send(b"too early")
        echo(cluster, "c1", "udp:127.0.0.1:53")

        def answers(s, text):
            s.send(text)
            try:
                return s.recv(65536) == text
            except (TimeoutError, ConnectionRefusedError):
                return False

        wait_for(lambda: answers(a, b"a"), SECONDS, 0.05, "datagrams come back")
        a.settimeout(SECONDS)
        b.settimeout(SECONDS)
        for size in (0, 1, 1400, 60000):
            a.send(b"a" * size)
            b.send(b"b" * size)
            assert (a.recv(65536), b.recv(65536)) == (b"a" * size, b"b" * size)
        a.close()
        b.close()
        assert ask(cluster, "c1", "udp:127.0.0.1:54", "out") == "out"
    finally:
        server.close()


def test_unix_sockets(cluster):
    """Paths and abstract names, on either side; what listens has the owner and mode that is asked for."""
    here, name = os.path.join(cluster.dir, "in.sock"), f"lxmgr-test-{uuid.uuid4().hex[:8]}"
    server = Server(path=os.path.join(cluster.dir, "server.sock"))
    try:
        cluster.ok("launch", "busybox", "c1", *proxy("a", f"unix:{here}", "unix:/run/app.sock", mode="600", uid="65534"),
                   *proxy("b", f"unix:@{name}", "unix:@app"),
                   *proxy("c", "unix:/tmp/node.sock", f"unix:{cluster.dir}/server.sock", bind="instance", mode="666", uid="7"))
        board(cluster, "c1")
        inside(cluster, "c1", "mkdir -p /run")
        echo(cluster, "c1", "unix:/run/app.sock")
        echo(cluster, "c1", "unix:@app")
        for address in (here, "\0" + name):
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(SECONDS)
            s.connect(address)
            assert asked(s, b"hello") == b"hello"
        st = os.stat(here)
        assert (st.st_mode & 0o777, st.st_uid) == (0o600, 65534)
        assert ask(cluster, "c1", "unix:/tmp/node.sock", "out") == "out"
        assert inside(cluster, "c1", "stat -c %a:%u /tmp/node.sock").strip() == "666:7"
        # What is left of one that was killed is no hindrance.
        cluster.ok("restart", "c1", "--force")
        assert ask(cluster, "c1", "unix:/tmp/node.sock", "anew") == "anew"
        cluster.ok("stop", "c1", "--force")
        no_leftovers(cluster)
        assert not os.path.exists(here)
    finally:
        server.close()


# ---------------------------------------------------------------- life


def test_it_outlives_agents_and_reboots(cluster):
    port = free_port()
    server = Server()
    try:
        cluster.ok("launch", "busybox", "c1", *proxy("in", f"tcp:127.0.0.1:{port}", "tcp:127.0.0.1:80"),
                   *proxy("out", "tcp:127.0.0.1:543", f"tcp:127.0.0.1:{server.port}", bind="instance"))
        board(cluster, "c1")
        echo(cluster, "c1", "tcp:127.0.0.1:80")
        held = connect(port)
        held.sendall(b"1")
        assert held.recv(1) == b"1"
        before = sorted(proxies(cluster))
        assert len(before) == 2  # one and its half inside
        cluster.kill("agent")
        cluster.restart("agent")
        cluster.wait_online()
        held.sendall(b"2")
        assert held.recv(1) == b"2" and asked(connect(port), b"new") == b"new"
        assert sorted(proxies(cluster)) == before
        held.close()

        cluster.ok("exec", "c1", "--", "reboot")
        wait_for(lambda: cluster.exec("c1", "test", "-e", PEER).returncode == 0 and
                 ask(cluster, "c1", "tcp:127.0.0.1:543", "anew") == "anew", 30, 0.2, "it listens in the rebooted guest")
        echo(cluster, "c1", "tcp:127.0.0.1:80")
        assert asked(connect(port), b"again") == b"again"
        # A guest that ends by itself, while no agent looks.
        cluster.kill("agent")
        os.kill(cluster.instance("c1").pid, 9)
        no_leftovers(cluster)
        cluster.restart("agent")
        cluster.wait_online()
    finally:
        server.close()


def test_devices_come_and_go_while_it_runs(cluster):
    """At once, without a word of restarts; what others pass on meanwhile goes on."""
    a, b, c = (free_port() for _ in range(3))
    cluster.ok("launch", "busybox", "c1")
    board(cluster, "c1")
    echo(cluster, "c1", "tcp:127.0.0.1:80")
    assert not proxies(cluster)
    done = cluster.cli("config", "device", "add", "c1", "one", "proxy", f"listen=tcp:127.0.0.1:{a}", "connect=tcp:127.0.0.1:80")
    assert done.returncode == 0 and "restart" not in done.stderr
    held = connect(a)
    held.sendall(b"1")
    assert held.recv(1) == b"1"
    cluster.ok("config", "device", "add", "c1", "two", "proxy", f"listen=tcp:127.0.0.1:{b}", "connect=tcp:127.0.0.1:80")
    assert asked(connect(b), b"two") == b"two"
    cluster.ok("config", "device", "set", "c1", "two", f"listen=tcp:127.0.0.1:{c}")
    assert asked(connect(c), b"there") == b"there" and answered(b, b"x") is None
    cluster.ok("config", "device", "set", "c1", "two", "connect=tcp:127.0.0.1:81")
    assert not answered(c, b"x")
    held.sendall(b"2")
    assert held.recv(1) == b"2"
    cluster.ok("config", "device", "remove", "c1", "two")
    assert answered(c, b"x") is None and asked(connect(a), b"one") == b"one"
    # Its connections go with it.
    cluster.ok("config", "device", "remove", "c1", "one")
    assert held.recv(1) == b""
    held.close()
    no_leftovers(cluster)


def test_a_taken_port(cluster):
    """A start fails before the guest runs, a change leaves what there was."""
    free, inner = free_port(), free_port()
    server = Server()
    taken = f"tcp:127.0.0.1:{server.port}"
    try:
        refused(cluster.cli("launch", "busybox", "c1", *proxy("web", taken, "tcp:127.0.0.1:80")),
                f"device web: something listens at {taken} on this node already", "ss -tulnp")
        assert not cluster.instances() and not proxies(cluster)
        refused(cluster.cli("launch", "busybox", "c1", *proxy("web", f"tcp:192.0.2.7:{free}", "tcp:127.0.0.1:80")),
                "is none of this node's", "ip address")
        refused(cluster.cli("launch", "busybox", "c1", *proxy("web", "unix:/no/such/dir/s", "tcp:127.0.0.1:80")),
                "there is no directory for unix:/no/such/dir/s")
        cluster.ok("launch", "busybox", "c1", *proxy("web", f"tcp:127.0.0.1:{free}", "tcp:127.0.0.1:80"))
        board(cluster, "c1")
        echo(cluster, "c1", "tcp:127.0.0.1:80")
        refused(cluster.cli("config", "device", "add", "c1", "more", "proxy", f"listen={taken}", "connect=tcp:127.0.0.1:80"),
                "something listens at", "on this node already")
        assert asked(connect(free), b"well") == b"well"
        cluster.ok("config", "device", "remove", "c1", "more")
        refused(cluster.cli("config", "device", "add", "c1", "inner", "proxy", "listen=tcp:127.0.0.1:80",
                            f"connect=tcp:127.0.0.1:{inner}", "bind=instance"), "in the guest already")
        assert asked(connect(free), b"well") == b"well"
        cluster.ok("config", "device", "remove", "c1", "inner")
        # Another instance wants the same.
        refused(cluster.cli("launch", "busybox", "c2", *proxy("web", f"tcp:127.0.0.1:{free}", "tcp:127.0.0.1:80")),
                "something listens at")
        assert [i.name for i in cluster.instances()] == ["c1"]
        # Taken while it stood still: it does not start, and does when it is free again.
        cluster.ok("config", "device", "set", "c1", "web", f"listen=tcp:127.0.0.1:{inner}")
        cluster.ok("stop", "c1", "--force")
        other = socket.socket()
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", inner))
        other.listen()
        refused(cluster.cli("start", "c1"), "something listens at", "on this node already")
        assert cluster.status("c1") == "STOPPED"
        other.close()
        cluster.ok("start", "c1")
        no_more = proxies(cluster)
        assert len(no_more) == 2
    finally:
        server.close()


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("options,why", [
    ({"listen": "tcp:localhost:80", "connect": "tcp:127.0.0.1:80"}, "names are not looked up"),
    ({"listen": "tcp:127.0.0.1", "connect": "tcp:127.0.0.1:80"}, "has no port"),
    ({"listen": "tcp:::1:80", "connect": "tcp:127.0.0.1:80"}, "has an address that is none"),
    ({"listen": "tcp:127.0.0.1:0", "connect": "tcp:127.0.0.1:80"}, "has no port that can be"),
    ({"listen": "tcp:127.0.0.1:70000", "connect": "tcp:127.0.0.1:80"}, "has no port that can be"),
    ({"listen": "tcp:127.0.0.1:90-80", "connect": "tcp:127.0.0.1:80"}, "ends before it begins"),
    ({"listen": "tcp:127.0.0.1:1000-3000", "connect": "tcp:127.0.0.1:80"}, "too many ports"),
    ({"listen": "sctp:127.0.0.1:80", "connect": "tcp:127.0.0.1:80"}, "neither tcp:, udp: nor unix:"),
    ({"listen": "unix:run/x", "connect": "tcp:127.0.0.1:80"}, "is not an absolute path"),
    ({"listen": "unix:/a/../b", "connect": "tcp:127.0.0.1:80"}, 'empty, "." or ".."'),
    ({"listen": "udp:127.0.0.1:80", "connect": "tcp:127.0.0.1:80"}, "cannot be passed on to each other"),
    ({"listen": "tcp:127.0.0.1:80-82", "connect": "tcp:127.0.0.1:80-81"}, "different lengths"),
    ({"listen": "tcp:127.0.0.1:80", "connect": "tcp:127.0.0.1:80", "mode": "600"}, "has an owner and a mode"),
    ({"listen": "tcp:127.0.0.1:80", "connect": "tcp:127.0.0.1:80", "bind": "guest"}, "host or instance"),
    ({"listen": "tcp:127.0.0.1:80"}, "needs the option connect"),
])
def test_what_cannot_be(cluster, options, why):
    done = cluster.cli("launch", "busybox", "c1", *device("web", type="proxy", **options))
    refused(done, why)
    assert not cluster.instances()


def test_whose_it_is_to_give(cluster):
    """Addresses of the node and what answers there are an admin's to give, in both directions."""
    operator = Client(cluster, f"op-{uuid.uuid4().hex[:6]}", "operator")
    port = free_port()
    cluster.ok("launch", "busybox", "c1", *proxy("web", f"tcp:127.0.0.1:{port}", "tcp:127.0.0.1:80"))
    try:
        for command in (["launch", "busybox", "c2", *proxy("p", "tcp:127.0.0.1:1", "tcp:127.0.0.1:80")],
                        ["launch", "busybox", "c2", *proxy("p", "tcp:127.0.0.1:1", "tcp:127.0.0.1:80", bind="instance")],
                        ["config", "device", "add", "c1", "p", "proxy", "listen=unix:@x", "connect=unix:/run/docker.sock",
                         "bind=instance"],
                        ["config", "device", "set", "c1", "web", "connect=tcp:127.0.0.1:22"]):
            refused(operator.cli(*command), "needs the role admin")
        done = operator.cli("config", "device", "remove", "c1", "web")
        assert done.returncode == 0, done.stderr
        no_leftovers(cluster)
    finally:
        cluster.remove_instances()
        cluster.ok("identity", "delete", operator.name)


def test_a_guests_paths_lead_nowhere_else(cluster):
    """A guest lays links where a proxy connects or listens: they end in the guest."""
    port = free_port()
    private = os.path.join(cluster.dir, f"outside-{uuid.uuid4().hex[:6]}")
    os.mkdir(private, 0o777)
    os.chmod(private, 0o777)
    server = Server(path=f"{private}/secret.sock")
    os.chmod(f"{private}/secret.sock", 0o666)
    try:
        cluster.ok("launch", "busybox", "c1", *proxy("web", f"tcp:127.0.0.1:{port}", "unix:/srv/app.sock"))
        board(cluster, "c1")
        inside(cluster, "c1", f"mkdir -p /srv; ln -s {private}/secret.sock /srv/app.sock; ln -s ../../../../../..{private} /out")
        assert not answered(port, b"x")
        done = cluster.cli("config", "device", "add", "c1", "l", "proxy", "listen=unix:/out/new.sock", "connect=tcp:127.0.0.1:9",
                           "bind=instance")
        assert done.returncode != 0 and os.listdir(private) == ["secret.sock"]
    finally:
        server.close()


# ---------------------------------------------------------------- moves


@pytest.mark.limit(200)
def test_moves(able):
    """Connections through a proxy end on its node: a live move is refused, one with a stop takes the devices along."""
    with testbed.Cluster("proxymove", nodes=2) as two:
        try:
            for i in range(2):
                testbed.ensure_image(two, "busybox", node=i)
        except testbed.Unavailable as e:
            pytest.skip(str(e))
        here, there = two.node_names[:2]
        two.ok("launch", "busybox", "c1", "--target", here, *proxy("web", "tcp:127.0.0.1:8080", "tcp:127.0.0.1:80"))
        for command in (["move", "c1", "--target", there], ["move", "c1", "--target", there, "--check"]):
            done = two.cli(*command)
            assert done.returncode != 0 and f"c1 has proxies on node {here}" in done.stdout + done.stderr, done
        assert two.instance("c1").node == here and two.status("c1") == "RUNNING"
        two.ok("move", "c1", "--target", there, "--live=off")
        board(two, "c1")
        echo(two, "c1", "tcp:127.0.0.1:80")
        script = ("import socket; s = socket.create_connection(('127.0.0.1', 8080), 10); s.sendall(b'moved');"
                  "s.shutdown(1); print(s.recv(10).decode())")
        on = [subprocess.run([*two.agents[i].inside, sys.executable, "-c", script], capture_output=True, text=True, check=False)
              for i in range(2)]
        assert on[1].stdout.strip() == "moved" and on[0].returncode != 0, on
        # Where the port is taken it does not go.
        two.ok("launch", "busybox", "c2", "--target", here, *proxy("web", "tcp:127.0.0.1:8080", "tcp:127.0.0.1:80"))
        done = two.cli("move", "c1", "--target", here, "--live=off")
        assert done.returncode != 0 and f"proxies of c1 cannot listen on node {here}: web" in done.stdout + done.stderr
        assert two.instance("c1").node == there and two.status("c1") == "RUNNING"
        # Without the device it moves live.
        two.ok("config", "device", "remove", "c1", "web")
        done = moving.move(two, "c1", 0)
        assert not done.error and two.instance("c1").node == here
        two.ok("delete", "c1", "c2", "--force")
        moving.wait_clean(two)
        no_leftovers(two)
