"""What a guest says around a move, and what is said to it, wherever the other one is.

Datagrams with numbers (migration/teller.c) go between the guest and an instance on the source, on the target
and on a third node, and the nodes themselves. TCP would hide a loss behind what it says again.
"""

import json
import os
import signal
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "testbed"))
import moving  # noqa: E402
import striking  # noqa: E402
import testbed  # noqa: E402
from testbed import wait_for  # noqa: E402

TELLER = os.path.join(testbed.BUILD, "tests", "teller")
HEARD = "/run/heard"
TO_GUEST, FROM_GUEST = 9000, 9001
GROUP = "239.255.42.1"
COUNT = 50  # all of it has to find room in the socket of a guest that does not run
TRIES = 10
NODES = 3


@pytest.fixture(scope="module")
def three(able):
    with testbed.Cluster("traffic", nodes=NODES) as cluster:
        for i in range(NODES):
            try:
                testbed.ensure_image(cluster, "busybox", node=i)
            except testbed.Unavailable as e:
                pytest.skip(str(e))
        yield cluster


@pytest.fixture
def site(three, tmp_path):
    site = Site(three, tmp_path)
    yield site
    site.close()
    three.remove_instances()
    moving.wait_clean(three)


class Site:
    """A guest on the first node, and for each node an instance there and a process of its own. By address: who it is."""

    def __init__(self, cluster, directory):
        self.cluster, self.directory, self.processes = cluster, directory, []
        self.names = [self.launch("guest", 0), *(self.launch(f"peer{i}", i) for i in range(NODES))]
        self.addresses = {name: shown["ipv4"] for name, shown in cluster.list().items()}
        self.guest = self.addresses["guest"]
        self.nodes = [self.own_address(i) for i in range(NODES)]
        self.who = {a: name for name, a in self.addresses.items()} | {a: f"node{i}" for i, a in enumerate(self.nodes)}

    def launch(self, name, node):
        self.cluster.ok("launch", "busybox", name, "--target", self.cluster.node_names[node])
        self.cluster.ok("file", "push", TELLER, f"{name}/root/teller", "--mode", "0755")
        return name

    def own_address(self, i):
        return json.loads(self.cluster.ns_exec(i, "ip", "-j", "route", "get", self.guest, check=True).stdout)[0]["prefsrc"]

    def within(self, name, *what):
        """A child of init's: a move takes nothing else along."""
        self.cluster.ok("exec", name, "--", "sh", "-c", f"setsid /root/teller {' '.join(what)} </dev/null >/dev/null 2>&1 &")

    def on_node(self, i, *what):
        self.processes.append(subprocess.Popen([*self.cluster.agents[i].inside, TELLER, *what]))

    def file(self, i):
        return os.path.join(self.directory, f"heard{i}")

    def guest_tells(self):
        for i in range(NODES):
            self.within(f"peer{i}", "hear", str(FROM_GUEST), HEARD)
            self.on_node(i, "hear", str(FROM_GUEST), self.file(i))
        for i in range(NODES):
            self.within("guest", "tell", self.addresses[f"peer{i}"], str(FROM_GUEST))
            self.within("guest", "tell", self.nodes[i], str(FROM_GUEST))
        wait_for(lambda: len(self.heard()) == 2 * NODES, 10, why="all hear it")

    def heard(self):
        """By who has heard the guest: (first number, last, lost)."""
        found = {}
        for i in range(NODES):
            if os.path.exists(self.file(i)):
                with open(self.file(i), encoding="ascii") as f:
                    found |= self.parse(f.read(), f"node{i}")
            found |= self.parse(self.cluster.exec(f"peer{i}", "cat", HEARD).stdout, f"peer{i}")
        return found

    def guest_heard(self):
        return self.parse(self.cluster.exec("guest", "cat", HEARD).stdout)

    def parse(self, text, who=None):
        lines = [line.split() for line in text.splitlines()]
        return {who or self.who[address]: (int(first), int(last), int(lost)) for address, first, last, lost, _ in lines}

    def move(self, target, heard):
        """And wait until all have heard something new since."""
        op = moving.move(self.cluster, "guest", target)
        assert op.status == self.cluster.api.pb.OPERATION_STATUS_SUCCESS, f"{op.error} {op.hint}"
        before = heard()
        wait_for(lambda: all(n > before[who][1] for who, (_, n, _) in heard().items()), 20, why="it goes on")
        return op

    def close(self):
        for p in self.processes:
            p.kill()
            p.wait()


def test_what_it_says(site):
    """It says nothing before it is heard: it runs when its card is plugged in."""
    site.guest_tells()
    for target in (1, 0, 2, 0):
        site.move(target, site.heard)
        assert {who: lost for who, (_, _, lost) in site.heard().items()} == dict.fromkeys(site.heard(), 0)


def told_downtime(op):
    """Of a move with someone who listens: what a peer waits is there, and of the right order."""
    assert 0 < op.move.downtime_ns <= op.move.peer_downtime_ns <= op.move.total_ns, str(op.move)


def test_how_long_a_peer_waits(site):
    """Is in the report, wherever that is shown; of a guest that says nothing there is nothing to tell."""
    cluster = site.cluster
    op = moving.move(cluster, "guest", 1)
    assert op.status == cluster.api.pb.OPERATION_STATUS_SUCCESS and op.move.downtime_ns > 0, f"{op.error} {op.hint}"
    assert op.move.peer_downtime_ns == 0
    assert "for a peer" not in cluster.ok("info", "guest")
    site.guest_tells()
    told_downtime(site.move(0, site.heard))
    assert "  Downtime for a peer: " in cluster.ok("move", "guest", "--target", cluster.node_names[2])
    told = json.loads(cluster.ok("info", "guest", "--format", "json"))["last_move"]
    assert told == json.loads(cluster.ok("operation", "show", told["operation"], "--format", "json"))["move"]
    assert 0 < told["downtime_ns"] <= told["peer_downtime_ns"] <= told["total_ns"]
    # It is stopped then, and nobody speaks after its start.
    op = moving.move(cluster, "guest", 1, live=cluster.api.pb.LIVE_MODE_OFF)
    assert op.move.downtime_ns > 0 and op.move.peer_downtime_ns == 0


def test_it_hears_the_groups_it_has_joined(site):
    """From instances on all nodes: CRIU does not know of what its sockets have joined."""
    site.within("guest", "hear", str(TO_GUEST), HEARD, GROUP)
    for i in range(NODES):
        site.within(f"peer{i}", "tell", GROUP, str(TO_GUEST))
    wait_for(lambda: len(site.guest_heard()) == NODES, 10, why=f"it hears all: {site.guest_heard()}")
    for target in (1, 2, 0):
        site.move(target, site.guest_heard)


# ---------------------------------------------------------------- between COMMIT and the first step on the other node


def restoring(cluster, i):
    """CRIU on node i, without what it restores."""
    where = f"{cluster.agents[i].run_dir}/moves/"
    found = []
    for pid in striking.find(lambda a: a[0].endswith("/criu") and any(where in x for x in a)):
        try:
            with open(f"/proc/{pid}/cgroup", encoding="ascii") as f:
                found += [pid] if "/payload" not in f.read() else []
        except OSError:
            pass
    return found


def is_plugged(cluster, i, card):
    found = json.loads(cluster.ns_exec(i, "ip", "-j", "link", "show", card).stdout or "[]")
    return bool(found) and "master" in found[0]


def standing(cluster, ident, target, card):
    """Stops the destination's CRIU after COMMIT. What it was, or nothing when it was too fast."""
    wait_for(lambda: {"COMMITTED", "DONE", "ABORTED"} & set(striking.states(cluster, target, ident)), 60, 0.0005)
    held = restoring(cluster, target)
    for pid in held:
        os.kill(pid, signal.SIGSTOP)
    if held and not is_plugged(cluster, target, card):
        return held
    let_go(held)
    return []


def let_go(held):
    for pid in held:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass


def directed(cluster, i, target, hwaddr, address):
    """Whether node i sends what is for that card to the target, and the target keeps it."""
    fdb = json.loads(cluster.ns_exec(i, "bridge", "-j", "fdb", "show").stdout)
    there = {e.get("dst") for e in fdb if e["mac"] == hwaddr and "dst" in e}
    route = json.loads(cluster.ns_exec(i, "ip", "-j", "route", "get", address).stdout)[0]
    if i == target:
        return not there and route["dev"] == cluster.network
    return there == {cluster.underlay.address(target)} and route["dev"] != cluster.network


def test_what_is_said_to_it_before_it_runs(site):
    """From the word on that it is the target's, all goes there and waits for it."""
    cluster = site.cluster
    nic = cluster.instance("guest").nics[0]
    site.within("guest", "hear", str(TO_GUEST), HEARD)
    for i in range(NODES):  # who does not know it yet keeps what it would say until there is an answer
        cluster.ok("exec", f"peer{i}", "--", "ping", "-c", "1", site.guest)
        cluster.ns_exec(i, "ping", "-c", "1", site.guest, check=True)
    for target in [1, 0] * (TRIES // 2):
        ident = cluster.api.instances.Move(moving.request(cluster, "guest", target)).id
        held = standing(cluster, ident, target, nic.host_name)
        try:
            if held:
                wait_for(lambda: all(directed(cluster, i, target, nic.hwaddr, site.guest) for i in range(NODES)), 20)
                for i in range(NODES):
                    cluster.ok("exec", f"peer{i}", "--", "/root/teller", "tell", site.guest, str(TO_GUEST), str(COUNT))
                    cluster.ns_exec(i, TELLER, "tell", site.guest, str(TO_GUEST), str(COUNT), check=True)
                assert not is_plugged(cluster, target, nic.host_name)
        finally:
            let_go(held)
        op = moving.ended(cluster, ident)
        assert op.status == cluster.api.pb.OPERATION_STATUS_SUCCESS, f"{op.error} {op.hint}"
        if held:
            break
    else:
        pytest.skip("it was never caught between COMMIT and its first step")
    want = dict.fromkeys([x for i in range(NODES) for x in (f"peer{i}", f"node{i}")], (1, COUNT, 0))
    wait_for(lambda: site.guest_heard().keys() == want.keys(), 10, why=f"all are heard: {site.guest_heard()}")
    assert site.guest_heard() == want


def test_a_node_need_not_ask_for_who_has_come(site):
    cluster = site.cluster
    hwaddr = cluster.instance("guest").nics[0].hwaddr
    for target in (2, 1):
        cluster.ns_exec(target, "ip", "neigh", "flush", "to", site.guest)
        op = moving.move(cluster, "guest", target)
        assert op.status == cluster.api.pb.OPERATION_STATUS_SUCCESS, f"{op.error} {op.hint}"
        known = json.loads(cluster.ns_exec(target, "ip", "-j", "neigh", "show", "to", site.guest).stdout)
        assert [n.get("lladdr") for n in known] == [hwaddr]
