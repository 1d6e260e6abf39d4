"""lxmgr dev: a cluster of one or several nodes, brought up and down, also from states it should not be in."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "testbed"))
import machine  # noqa: E402
import testbed  # noqa: E402
from slots import Slot, free_port  # noqa: E402

LXMGR = os.path.join(testbed.BIN, "lxmgr")


class Dev:
    """Directories, names and numbers for one cluster of `lxmgr dev`; marked so that testbed.py sweeps it."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix=f"{testbed.MARK}dev-", dir=testbed.WHERE)
        os.chmod(self.dir, 0o755)
        self.slot = Slot()
        (self.manager_port, held1), (self.agent_port, held2) = free_port(), free_port()
        self.held = [held1, held2]
        self.prefix = f"lxt{os.urandom(3).hex()}"
        self.state, self.run_dir = f"{self.dir}/state", f"{self.dir}/run"
        with open(f"{self.dir}/cluster.json", "w", encoding="utf-8") as f:
            me = os.getpid()
            json.dump({"cgroup_root": self.prefix, "prefix": self.prefix, "owner": me, "owner_start": machine.start_time(me)}, f)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("LXMGR_")}

    def run(self, *args, code=0, timeout=100):
        done = subprocess.run(
            [LXMGR, *args], env=self.env, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
        )
        self.said = done.stderr
        assert done.returncode == code, (args, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def cli(self, *args, **kw):
        return self.run("--socket", f"{self.run_dir}/lxmgr.sock", *args, **kw)

    def up(self, *more, **kw):
        return self.run(
            *f"dev up --state-dir {self.state} --run-dir {self.run_dir} --network {self.prefix}b0".split(),
            *f"--network-subnet {self.slot.network} --idmap-base {self.slot.idmap_base} --idmap-count 512".split(),
            *f"--cgroup-root {self.prefix} --manager-listen 127.0.0.1:{self.manager_port}".split(),
            *f"--agent-listen 127.0.0.1:{self.agent_port}".split(),
            *more,
            **kw,
        )

    def down(self, *more, **kw):
        return self.run("dev", "down", "--state-dir", self.state, *more, **kw)

    def pid(self, program):
        try:
            with open(f"{self.run_dir}/{program}.pid", encoding="ascii") as f:
                pid, start = f.read().split()[:2]
        except OSError:
            return None
        return int(pid) if machine.start_time(int(pid)) == int(start) else None

    def leftovers(self):
        return machine.leftovers(self.dir, self.prefix, self.prefix)

    def close(self):
        subprocess.run(
            [LXMGR, "dev", "down", "--state-dir", self.state], env=self.env, capture_output=True, timeout=100,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            machine.remove(self.dir, self.prefix, self.prefix)
        finally:
            shutil.rmtree(self.dir, ignore_errors=True)
            self.slot.release()
            for held in self.held:
                held.close()


@pytest.fixture
def dev(able):
    dev = Dev()
    try:
        yield dev
    finally:
        dev.close()


def test_up_and_down(dev):
    dev.up()
    pids = dev.pid("lxmgrd"), dev.pid("lxagentd")
    assert all(pids)
    for pid in pids:  # daemons: nobody's children here, without our terminal
        with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
            fields = f.read().rpartition(")")[2].split()
        assert int(fields[1]) not in (os.getpid(), 0) and int(fields[4]) == 0
        assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null" and os.readlink(f"/proc/{pid}/cwd") == "/"
    assert "ONLINE" in dev.cli("node", "list")
    out = dev.run("dev", "status", "--state-dir", dev.state)
    assert out.count("RUNNING") == 2 and str(pids[0]) in out

    dev.run("dev", "up", "--state-dir", dev.state)  # the other options are remembered
    assert (dev.pid("lxmgrd"), dev.pid("lxagentd")) == pids

    dev.cli("image", "build", "busybox")
    dev.cli("launch", "busybox", "c1")
    assert machine.interfaces(dev.prefix)
    dev.down()
    assert not dev.pid("lxmgrd") and not dev.pid("lxagentd") and dev.leftovers() == []
    assert dev.run("dev", "status", "--state-dir", dev.state, code=1).count("STOPPED") == 2
    dev.down()  # again: nothing to do

    dev.run("dev", "up", "--state-dir", dev.state)
    assert json.loads(dev.cli("list", "-f", "json"))[0]["status"] == "STOPPED"
    dev.cli("start", "c1")
    dev.down("--clean-state")
    assert dev.leftovers() == [] and not os.path.exists(dev.state) and not os.path.exists(dev.run_dir)
    dev.down("--clean-state")


@pytest.mark.parametrize("which", ["lxmgrd", "lxagentd", "both"])
def test_down_after_a_daemon_was_killed(dev, which):
    """Instances outlive the daemons; down still ends all of them."""
    dev.up()
    dev.cli("image", "build", "busybox")
    dev.cli("launch", "busybox", "c1")
    for program in ("lxmgrd", "lxagentd"):
        if which in (program, "both"):
            machine.kill(dev.pid(program), signal.SIGKILL)
    dev.down("--clean-state")
    assert dev.leftovers() == [] and not os.path.exists(dev.state)


def test_down_while_the_manager_is_dying(dev):
    """Its process is still there, its socket is not: no crash, and no instance is left behind."""
    dev.up()
    dev.cli("image", "build", "busybox")
    dev.cli("launch", "busybox", "c1")
    machine.kill(dev.pid("lxmgrd"), signal.SIGKILL)
    machine.wait_for(lambda: not dev.pid("lxmgrd"))
    dying = subprocess.Popen(["sleep", "100"])  # plays the process that has nothing left but its number
    try:
        with open(f"{dev.run_dir}/lxmgrd.pid", "w", encoding="ascii") as f:
            f.write(f"{dying.pid} {machine.start_time(dying.pid)} {dev.state}\n")
        dev.down(code=1)
        assert "nobody answers on" in dev.said and "Is lxmgrd running?" in dev.said
        down = subprocess.Popen(
            [LXMGR, "dev", "down", "--state-dir", dev.state, "--clean-state"], env=dev.env, stderr=subprocess.PIPE
        )
        time.sleep(0.3)  # it has looked by now
        dying.kill()
        dying.wait()
        _, said = down.communicate(timeout=100)
        assert down.returncode == 0, said
        assert dev.leftovers() == [] and not os.path.exists(dev.state)
    finally:
        dying.kill()
        dying.wait()


def test_pid_files_of_the_past(dev):
    """A pid that is somebody else's by now is neither taken for the daemon nor killed."""
    bystander = subprocess.Popen(["sleep", "100"])
    try:
        os.makedirs(dev.run_dir)
        for program in ("lxmgrd", "lxagentd"):
            with open(f"{dev.run_dir}/{program}.pid", "w", encoding="ascii") as f:
                f.write(f"{bystander.pid} 12345 {dev.state}\n")
        dev.down()
        assert bystander.poll() is None
        with open(f"{dev.run_dir}/lxmgrd.pid", "w", encoding="ascii") as f:
            f.write(f"{bystander.pid} 12345 {dev.state}\n")
        dev.up()
        assert dev.pid("lxmgrd") not in (None, bystander.pid) and bystander.poll() is None
        dev.down("--clean-state")
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_run_directory_of_another_cluster(dev):
    dev.up()
    dev.run("dev", "up", "--state-dir", f"{dev.dir}/other", "--run-dir", dev.run_dir, code=1)
    assert f"belongs to the cluster in {dev.state}" in dev.said and "--run-dir" in dev.said
    dev.run("dev", "down", "--state-dir", f"{dev.dir}/other", "--run-dir", dev.run_dir, code=1)
    assert dev.pid("lxmgrd") and dev.pid("lxagentd")


def test_manager_that_does_not_start(dev):
    began = time.monotonic()
    dev.up("--manager-listen", "256.0.0.1:99999", code=1)
    assert time.monotonic() - began < 15 and "lxmgrd ended as soon as it was started" in dev.said
    assert f"Hint: The end of {dev.state}/log/lxmgrd.log: " in dev.said
    dev.down("--clean-state")
    assert dev.leftovers() == [] and not os.path.exists(dev.state)


def test_clean_state_removes_only_what_up_has_made(dev):
    os.makedirs(dev.state)
    with open(f"{dev.state}/precious", "w", encoding="ascii") as f:
        f.write("x")
    dev.down("--clean-state", "--run-dir", dev.run_dir, code=1)
    assert "was not made by lxmgr dev up" in dev.said and os.listdir(dev.state) == ["precious"]
    with open(f"{dev.state}/dev.json", "w", encoding="ascii") as f:
        f.write("{")
    dev.down("--clean-state", code=1)
    assert "is damaged" in dev.said and "precious" in os.listdir(dev.state)


# ---------------------------------------------------------------- several nodes


def nodes(dev):
    return {n["name"]: n["status"] for n in json.loads(dev.cli("node", "list", "-f", "json"))}


def up(dev, count, *more, **kw):
    return dev.up("--nodes", str(count), "--underlay", str(dev.slot.underlay), *more, **kw)


def again(dev, *more, **kw):
    return dev.run("dev", "up", "--state-dir", dev.state, *more, **kw)


def launch(dev, name, node):
    if not any(node in i["nodes"] for i in json.loads(dev.cli("image", "list", "-f", "json"))):
        dev.cli("image", "build", "busybox", "--target", node, "--alias", f"for-{name}")
    dev.cli("launch", f"for-{name}", name, "--target", node)


def statuses(dev):
    return {i["name"]: i["status"] for i in json.loads(dev.cli("list", "-f", "json"))}


def test_several_nodes(dev):
    up(dev, 3)
    online = {"node1": "ONLINE", "node2": "ONLINE", "node3": "ONLINE"}
    assert nodes(dev) == online
    assert machine.namespaces(dev.prefix) == [f"{dev.prefix}-node2", f"{dev.prefix}-node3"]
    shown = dev.run("dev", "status", "--state-dir", dev.state)
    assert shown.count("RUNNING") == 4 and f"{dev.prefix}-node2" in shown and "lxagentd-node3.log" in shown

    for name, node in ("a", "node1"), ("b", "node2"), ("c", "node3"):
        launch(dev, name, node)
        dev.cli("exec", name, "--", "true")
    gateway = str(dev.slot.underlay[1])
    dev.cli("exec", "c", "--", "ping", "-c", "1", "-W", "5", gateway)
    # The first is this machine itself: its guests answer from here.
    address = json.loads(dev.cli("list", "name=a", "-f", "json"))[0]["ipv4"]
    assert subprocess.run(["ping", "-c", "1", "-W", "5", address], capture_output=True).returncode == 0

    machine.kill(dev.pid("lxagentd-node2"))
    machine.wait_for(lambda: nodes(dev)["node2"] == "OFFLINE" and statuses(dev)["b"] == "UNKNOWN", 15, 0.1)
    assert dev.run("dev", "status", "--state-dir", dev.state, code=1).count("STOPPED") == 1
    manager = dev.pid("lxmgrd")
    again(dev)
    assert nodes(dev) == online and dev.pid("lxmgrd") == manager
    machine.wait_for(lambda: statuses(dev) == {"a": "RUNNING", "b": "RUNNING", "c": "RUNNING"}, 10, 0.1)
    again(dev, "--nodes", "2", code=1)
    assert "has 3 nodes" in dev.said and "--clean-state" in dev.said
    again(dev, "--underlay", "10.255.0.0/24", code=1)
    assert "another subnet" in dev.said

    dev.down()
    assert dev.leftovers() == []
    assert dev.run("dev", "status", "--state-dir", dev.state, code=1).count("STOPPED") == 4
    again(dev)
    assert nodes(dev) == online and set(statuses(dev).values()) == {"STOPPED"}
    dev.cli("start", "b")
    for program in ("lxmgrd", "lxagentd", "lxagentd-node2"):
        machine.kill(dev.pid(program))
    dev.down("--clean-state")
    assert dev.leftovers() == [] and not os.path.exists(dev.state) and not os.path.exists(dev.run_dir)


def test_one_node_becomes_two(dev):
    """Its instances run on untouched, and it is reached at an address that the others reach too."""
    dev.up("--node-name", "old")
    launch(dev, "a", "old")
    before = json.loads(dev.cli("node", "show", "old", "-f", "json"))["address"]
    pid = json.loads(dev.cli("list", "-f", "json"))[0]["pid"]
    up(dev, 2)
    assert nodes(dev) == {"old": "ONLINE", "node2": "ONLINE"}
    after = json.loads(dev.cli("node", "show", "old", "-f", "json"))["address"]
    assert before == f"127.0.0.1:{dev.agent_port}" and after == f"{dev.slot.underlay[1]}:{dev.agent_port}"
    machine.wait_for(lambda: statuses(dev)["a"] == "RUNNING", 10, 0.1)
    assert json.loads(dev.cli("list", "-f", "json"))[0]["pid"] == pid
    launch(dev, "b", "node2")
    dev.down("--clean-state")
    assert dev.leftovers() == []


def test_underlay_is_mended(dev):
    up(dev, 3)
    launch(dev, "b", "node2")
    agent = dev.pid("lxagentd-node2")
    for command in (
        f"ip link delete {dev.prefix}u2",
        f"ip netns delete {dev.prefix}-node2",  # its agent and guest keep it alive
        f"nft delete table ip lxmgr_{dev.prefix}u0",
        f"ip -n {dev.prefix}-node3 address flush dev eth0",
        f"ip link delete {dev.prefix}u0",
    ):
        machine.run(*command.split(), check=True)
        again(dev)
        assert set(nodes(dev).values()) == {"ONLINE"}, command
        assert machine.tables(dev.prefix), command
    assert dev.pid("lxagentd-node2") == agent
    dev.cli("exec", "b", "--", "ping", "-c", "1", "-W", "5", str(dev.slot.underlay[1]))
    dev.down("--clean-state")
    assert dev.leftovers() == []


def test_join_that_was_cut_short(dev):
    """The manager has the node, the node does not know: it joins anew, unless instances live there."""
    up(dev, 2)
    machine.kill(dev.pid("lxagentd-node2"))
    shutil.rmtree(f"{dev.state}/agent-node2/pki")
    again(dev)
    assert nodes(dev) == {"node1": "ONLINE", "node2": "ONLINE"}
    launch(dev, "b", "node2")
    dev.cli("stop", "--force", "b")
    machine.kill(dev.pid("lxagentd-node2"))
    os.rename(f"{dev.state}/agent-node2/pki", f"{dev.dir}/pki")
    again(dev, code=1)
    assert "node2 is already part of the cluster" in dev.said
    os.rename(f"{dev.dir}/pki", f"{dev.state}/agent-node2/pki")
    again(dev)
    dev.cli("delete", "b")
    machine.kill(dev.pid("lxagentd-node2"))
    dev.cli("node", "remove", "node2", "--force")  # the only copy of its image goes with it
    again(dev, code=1)
    assert "node2 was taken out of the cluster" in dev.said and "/pki" in dev.said


def test_names_and_numbers_that_others_have(dev):
    network = str(dev.slot.underlay)
    for count, said in ("0", "from 1 to"), ("33", "from 1 to"), ("two", "from 1 to"):
        dev.up("--nodes", count, code=2)
        assert said in dev.said
    for subnet in ("10.0.0.0", "10.0.0.0/30", "fd00::/64", "300.0.0.0/24"):
        dev.up("--nodes", "2", "--underlay", subnet, code=1)
        assert "is not a subnet for the nodes" in dev.said
    dev.up("--nodes", "2", "--cgroup-root", f"{dev.prefix}/below", code=1)
    assert "--cgroup-root" in dev.said
    assert dev.leftovers() == [] and not os.path.exists(f"{dev.state}/dev.json")

    machine.run("ip", "link", "add", f"{dev.prefix}d0", "type", "bridge", check=True)
    machine.run("ip", "address", "add", f"{dev.slot.underlay[9]}/24", "dev", f"{dev.prefix}d0", check=True)
    machine.run("ip", "link", "set", f"{dev.prefix}d0", "up", check=True)
    up(dev, 2, code=1)
    assert f"subnet {network} is in use: there is a route through {dev.prefix}d0" in dev.said
    machine.run("ip", "link", "delete", f"{dev.prefix}d0", check=True)

    machine.run(*f"ip link add {dev.prefix}u0 type veth peer name {dev.prefix}d1".split(), check=True)
    up(dev, 2, code=1)
    assert f"network link {dev.prefix}u0 is there and not of this cluster" in dev.said
    dev.down()
    assert machine.interface_exists(f"{dev.prefix}u0")
    machine.run("ip", "link", "delete", f"{dev.prefix}u0", check=True)

    machine.run("ip", "netns", "add", f"{dev.prefix}-node2", check=True)
    up(dev, 2, code=1)
    assert f"network namespace {dev.prefix}-node2 is there and not of this cluster" in dev.said
    dev.down()
    assert dev.leftovers() == [f"network namespace {dev.prefix}-node2"]
    machine.run("ip", "netns", "delete", f"{dev.prefix}-node2", check=True)
    up(dev, 2)
    assert nodes(dev) == {"node1": "ONLINE", "node2": "ONLINE"}
    dev.down("--clean-state")
    assert dev.leftovers() == []
