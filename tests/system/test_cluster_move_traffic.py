"""Nothing is lost of what a guest says while it moves, wherever who listens is.

Datagrams with numbers (migration/teller.c) go from the guest to an instance on the source, on the
target and on a third node, and the nodes themselves. TCP would hide a loss behind what it says again.
"""

import json
import os
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "testbed"))
import moving  # noqa: E402
import testbed  # noqa: E402
from testbed import wait_for  # noqa: E402

TELLER = os.path.join(testbed.BUILD, "tests", "teller")
HEARD = "/run/heard"
FROM_GUEST = 9001
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
        """By who has heard the guest: (last number, lost)."""
        found = {}
        for i in range(NODES):
            if os.path.exists(self.file(i)):
                with open(self.file(i), encoding="ascii") as f:
                    found |= self.parse(f.read(), f"node{i}")
            found |= self.parse(self.cluster.exec(f"peer{i}", "cat", HEARD).stdout, f"peer{i}")
        return found

    def parse(self, text, who=None):
        lines = [line.split() for line in text.splitlines()]
        return {who or self.who[address]: (int(last), int(lost)) for address, last, lost, _ in lines}

    def move(self, target, heard):
        """And wait until all have heard something new since."""
        op = moving.move(self.cluster, "guest", target)
        assert op.status == self.cluster.api.pb.OPERATION_STATUS_SUCCESS, f"{op.error} {op.hint}"
        before = heard()
        wait_for(lambda: all(n > before[who][0] for who, (n, _) in heard().items()), 20, why="it goes on")

    def close(self):
        for p in self.processes:
            p.kill()
            p.wait()


def test_what_it_says(site):
    """It says nothing before it is heard: it runs when its card is plugged in."""
    site.guest_tells()
    for target in (1, 0, 2, 0):
        site.move(target, site.heard)
        assert {who: lost for who, (_, lost) in site.heard().items()} == dict.fromkeys(site.heard(), 0)
