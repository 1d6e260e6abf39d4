"""What is kept from instances is seen: events, counts, warnings, and rules out of it.

With what every machine has: the filter of system calls (the kernel's audit), memory, processes,
spoofed frames. AppArmor's part is in tests/vm.
"""

import json
import os
import subprocess
import sys
import threading
import time
import uuid

import pytest

for folder in ("attack", "../testbed"):
    sys.path.insert(0, os.path.join(os.path.dirname(__file__), folder))
import moving  # noqa: E402
import testbed  # noqa: E402
import wire  # noqa: E402
from machine import wait_for  # noqa: E402
from manager.accesslab import Client  # noqa: E402
from testbed import BUILD  # noqa: E402

CONFINED = os.path.join(BUILD, "tests", "confined")
HERE = "/root/confined"


class Watch:
    """`lxmgr events` in the background."""

    def __init__(self, cluster, *types):
        self.process = cluster.popen("events", "--format", "json", *(x for t in types for x in ("--type", t)),
                                     stdout=subprocess.PIPE, bufsize=1)
        self.seen = []
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        for line in self.process.stdout:
            self.seen.append(json.loads(line))

    def of(self, action, subject=None):
        return [e for e in list(self.seen) if e["action"] == action and subject in (None, e["subject"])]

    def end(self):
        self.process.terminate()
        self.process.wait(10)
        self.thread.join(10)
        self.process.stdout.close()


@pytest.fixture
def watch(cluster):
    w = Watch(cluster, "security")
    # It watches once something comes: nothing else tells.
    wait_for(lambda: w.process.poll() is None, 5)
    yield w
    w.end()


def launch(cluster, name, *keys):
    cluster.ok("launch", "busybox", name, *(x for key in keys for x in ("-c", key)))
    cluster.ok("file", "push", CONFINED, f"{name}{HERE}", "--mode", "0755")


def counts(cluster, name):
    return json.loads(cluster.ok("info", name, "--format", "json"))["denials"]


def denials(cluster, name, kind):
    return [d for d in json.loads(cluster.ok("warning", "denials", name, "--format", "json")) if d["kind"] == kind]


def warnings(cluster, name, *options):
    """By type, those about it."""
    return {w["type"]: w for w in json.loads(cluster.ok("warning", "list", "--format", "json", *options))
            if w["name"] == name}


def needs_audit(cluster):
    if "denials by AppArmor and of system calls are not seen" in cluster.agents[0].said(100000):
        pytest.skip("neither the kernel's audit nor /dev/kmsg can be read here")


def test_refused_system_calls(cluster, watch):
    needs_audit(cluster)
    launch(cluster, "loud", "security.syscalls.log=true", "security.syscalls.deny=bpf")
    launch(cluster, "quiet", "security.syscalls.deny=bpf")
    for name in ("quiet", "loud"):
        assert cluster.exec(name, HERE, "bpf", "io_uring_setup").returncode == 0
    wait_for(lambda: counts(cluster, "loud").get("syscall-denied", 0) >= 2, 15)
    seen = {d["operation"]: d for d in denials(cluster, "loud", "syscall")}
    assert seen["bpf"]["program"] == "confined" and seen["bpf"]["details"]["architecture"]
    assert seen["bpf"]["count"] == 1 and "io_uring_setup" in seen
    assert counts(cluster, "quiet") == {}, "it was not asked for, and the kernel told nothing"
    wait_for(lambda: watch.of("syscall-denied", "loud"), 10)
    [event] = [e for e in watch.of("syscall-denied", "loud") if e["fields"]["operation"] == "bpf"]
    assert event["node"] and event["fields"]["program"] == "confined"
    assert "syscall-denied" in warnings(cluster, "loud") and not warnings(cluster, "quiet")
    assert "syscall-denied: 2" in cluster.ok("info", "loud")


def test_what_is_alike_is_one_event_a_second(cluster, watch):
    """And a guest that does nothing else costs the agent no more than that."""
    needs_audit(cluster)
    launch(cluster, "loud", "security.syscalls.log=true", "security.syscalls.deny=bpf")
    launch(cluster, "other", "limits.memory=48MiB", "limits.memory.swap=false")
    pid = cluster.agent_pid
    before = cpu_seconds(pid)
    calls = 50000
    assert cluster.exec("loud", HERE, "often", str(calls), "bpf", timeout=100).returncode == 0
    # Another guest's is seen beside it.
    assert cluster.exec("other", "dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1").returncode == 137
    wait_for(lambda: counts(cluster, "other").get("out-of-memory", 0) >= 1, 20)
    wait_for(lambda: counts(cluster, "loud").get("syscall-denied", 0) > 100, 20)
    [record] = [d for d in denials(cluster, "loud", "syscall") if d["operation"] == "bpf"]
    assert record["count"] <= calls
    events = [e for e in watch.of("syscall-denied", "loud") if e["fields"]["operation"] == "bpf"]
    assert 1 <= len(events) <= seconds_between(events) + 2
    assert len(denials(cluster, "loud", "syscall")) < 10
    # Two thousand messages a second at most are looked at: the rest the kernel drops.
    assert cpu_seconds(pid) - before < 5, "the agent was kept busy"
    assert cluster.status("loud") == "RUNNING" and cluster.is_online()


def test_a_guest_that_is_never_denied_the_same_is_bounded(cluster):
    """Each time by another program: a few a second are told apart, the rest is counted."""
    needs_audit(cluster)
    launch(cluster, "loud", "security.syscalls.log=true", "security.syscalls.deny=bpf")
    programs = 300
    script = f"cd /root; i=0; while [ $i -lt {programs} ]; do ln -s confined n$i; ./n$i bpf >/dev/null; i=$((i+1)); done"
    assert cluster.exec("loud", "sh", "-c", script, timeout=100).returncode == 0
    wait_for(lambda: sum(counts(cluster, "loud").values()) >= programs, 20)
    assert counts(cluster, "loud")["omitted"] > 0
    assert sum(counts(cluster, "loud").values()) == programs
    assert len(denials(cluster, "loud", "syscall")) <= 128


def test_a_name_that_looks_like_more(cluster):
    """What a guest calls its program is its name and nothing else."""
    needs_audit(cluster)
    launch(cluster, "loud", "security.syscalls.log=true", "security.syscalls.deny=bpf")
    name = 'a" uid=0 pid=1'
    cluster.exec("loud", "ln", "-s", HERE, f"/root/{name}")
    assert cluster.exec("loud", f"/root/{name}", "bpf").returncode == 0
    wait_for(lambda: denials(cluster, "loud", "syscall"), 20)
    assert [d["program"] for d in denials(cluster, "loud", "syscall")] == [name]


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def seconds_between(events):
    return int(events[-1]["time"][-3:-1]) - int(events[0]["time"][-3:-1]) + \
        60 * (events[-1]["time"][:16] != events[0]["time"][:16])


def test_memory_and_processes(cluster, watch):
    launch(cluster, "c1", "limits.memory=48MiB", "limits.memory.swap=false", "limits.processes=20")
    assert cluster.exec("c1", "dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1").returncode == 137
    cluster.exec("c1", "sh", "-c", "for i in 0 1 2 3 4 5 6 7 8 9 a b c d e f g h i j k l m; do sleep 3 & done; wait")
    wait_for(lambda: {"out-of-memory", "process-limit"} <= set(counts(cluster, "c1")), 20)
    assert counts(cluster, "c1")["out-of-memory"] == 1
    there = warnings(cluster, "c1")
    assert there["out-of-memory"]["count"] == 1 and there["out-of-memory"]["severity"] == "moderate"
    assert watch.of("out-of-memory", "c1") and watch.of("process-limit", "c1")


def test_frames_that_are_not_its_own(cluster, watch):
    cluster.ok("launch", "busybox", "mallory")
    cluster.ok("launch", "busybox", "victim")
    mallory, victim = wire.Guest(cluster, "mallory"), wire.Guest(cluster, "victim")
    before = counts(cluster, "mallory").get("frames-dropped", 0)
    spoofed = wire.ether(victim.hwaddr, mallory.hwaddr, 0x800,
                         wire.ipv4("192.0.2.1", victim.v4, 17, wire.udp(4000, 4001, b"x")))
    for _ in range(5):
        mallory.send(spoofed)
    wait_for(lambda: counts(cluster, "mallory").get("frames-dropped", 0) >= before + 5, 20)
    assert denials(cluster, "mallory", "network")[0]["path"] == "eth0"
    assert warnings(cluster, "mallory")["frames-dropped"]["count"] >= 5
    assert watch.of("frames-dropped", "mallory")


@pytest.mark.skipif(os.path.exists("/sys/module/apparmor"), reason="this kernel has AppArmor")
def test_a_start_that_is_refused_for_want_of_confinement(cluster, watch):
    cluster.ok("launch", "busybox", "c1")
    cluster.ok("stop", "--force", "c1")
    cluster.ok("config", "set", "c1", "security.apparmor=enforce")
    assert "confined by AppArmor" in cluster.cli("start", "c1").stderr
    wait_for(lambda: counts(cluster, "c1").get("start-refused") == 1, 20)
    warning = warnings(cluster, "c1")["start-refused"]
    assert warning["severity"] == "high" and "has a kernel without it" in warning["message"]
    assert "has a kernel without it" in watch.of("start-refused", "c1")[0]["fields"]["reason"]


def test_what_is_remembered_lasts(cluster):
    """Over a restart of both daemons and of the instance."""
    launch(cluster, "c1", "limits.memory=48MiB", "limits.memory.swap=false")
    assert cluster.exec("c1", "dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1").returncode == 137
    wait_for(lambda: counts(cluster, "c1").get("out-of-memory") == 1, 20)
    number = warnings(cluster, "c1")["out-of-memory"]["id"]
    for daemon in ("manager", "agent"):
        cluster.restart(daemon)
        cluster.wait_online()
        assert counts(cluster, "c1") == {"out-of-memory": 1}
        assert warnings(cluster, "c1")["out-of-memory"]["id"] == number
    cluster.ok("restart", "c1", "--force")
    assert cluster.exec("c1", "dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1").returncode == 137
    wait_for(lambda: counts(cluster, "c1").get("out-of-memory") == 2, 20)
    cluster.ok("warning", "forget", "c1")
    assert counts(cluster, "c1") == {} and denials(cluster, "c1", "memory") == []


def test_life_of_a_warning(cluster):
    launch(cluster, "c1", "limits.memory=48MiB", "limits.memory.swap=false")

    def eat(n):
        assert cluster.exec("c1", "dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1").returncode == 137
        wait_for(lambda: counts(cluster, "c1").get("out-of-memory") == n, 20)

    eat(1)
    w = warnings(cluster, "c1")["out-of-memory"]
    number = str(w["id"])
    assert (w["status"], w["entity"], w["count"]) == ("new", "instance", 1) and w["node"]
    assert "used up" in cluster.ok("warning", "show", number)
    assert warnings(cluster, "c1", "--instance", "c1", "--severity", "moderate", "--node", w["node"])
    assert not warnings(cluster, "c1", "--severity", "high") and not warnings(cluster, "c1", "--instance", "c2")

    cluster.ok("warning", "acknowledge", number)
    assert "out-of-memory" not in warnings(cluster, "c1")
    eat(2)
    assert "out-of-memory" not in warnings(cluster, "c1"), "it stays acknowledged"
    again = warnings(cluster, "c1", "--all")["out-of-memory"]
    assert (again["status"], again["count"], str(again["id"])) == ("acknowledged", 2, number)

    cluster.ok("warning", "delete", number)
    assert "out-of-memory" not in warnings(cluster, "c1", "--all")
    assert cluster.cli("warning", "show", number).returncode == 1
    eat(3)
    assert warnings(cluster, "c1")["out-of-memory"]["id"] > int(number), "a new one"
    entries = json.loads(cluster.ok("audit", "--method", "WarningService", "--format", "json"))
    assert {"WarningService/Acknowledge", "WarningService/Delete"} <= {e["method"] for e in entries}

    cluster.ok("delete", "--force", "c1")
    wait_for(lambda: not warnings(cluster, "c1", "--all"), 10, why="nobody needs to know any more")


@pytest.mark.parametrize("arguments, says", [
    (["acknowledge"], "either"), (["acknowledge", "1", "--all"], "either"), (["delete", "x"], "not the number"),
    (["acknowledge", "4000000000"], "there is no warning"), (["list", "--severity", "bad"], "low, moderate or high"),
    (["denials", "nobody"], "nobody"), (["forget", "nobody"], "nobody"), (["show", "0"], "not the number"),
])
def test_bad_input(cluster, arguments, says):
    done = cluster.cli("warning", *arguments)
    assert done.returncode in (1, 2) and says in done.stderr and "Traceback" not in done.stderr


def test_a_node_that_is_away(fresh_cluster):
    """Holds as long as it does."""
    cluster = fresh_cluster
    [node] = cluster.node_names
    wait_for(lambda: cluster.is_online(), 20)
    assert "node-offline" not in warnings(cluster, node)
    cluster.kill("agent")
    wait_for(lambda: "node-offline" in warnings(cluster, node), 20)
    assert warnings(cluster, node)["node-offline"]["severity"] == "high"
    cluster.restart("agent")
    cluster.wait_online()
    wait_for(lambda: "node-offline" not in warnings(cluster, node), 20)
    assert warnings(cluster, node, "--all")["node-offline"]["status"] == "resolved"
    cluster.kill("agent")
    wait_for(lambda: "node-offline" in warnings(cluster, node), 20)
    assert warnings(cluster, node)["node-offline"]["count"] == 2
    cluster.restart("agent")
    cluster.wait_online()


def test_suggestions_for_system_calls(cluster):
    needs_audit(cluster)
    launch(cluster, "c1", "security.syscalls.allow=@guest", "security.syscalls.log=true")
    assert cluster.exec("c1", HERE, "ptrace", "add_key", "add_key", "io_uring_setup").returncode == 0
    wait_for(lambda: {"ptrace", "add_key", "io_uring_setup"} <= {d["operation"] for d in denials(cluster, "c1", "syscall")},
             15)
    rows = {s["value"]: s for s in json.loads(cluster.ok("profile", "suggest", "c1", "--format", "json"))}
    assert rows["add_key"]["key"] == "security.syscalls.allow" and rows["add_key"]["count"] == 2
    assert rows["add_key"]["refused"] == "" and rows["add_key"]["programs"] == "confined"
    assert "never" in rows["io_uring_setup"]["refused"]
    text = cluster.ok("profile", "suggest", "c1", "--apply")
    assert "\nadd_key  # 2 times by confined\n" in text and "\n# io_uring_setup  #" in text
    value = cluster.ok("config", "get", "c1", "security.syscalls.allow")
    assert value.split() == ["@guest"] + [v for v in value.split()[1:]] and {"add_key", "ptrace"} <= set(value.split())
    assert "io_uring_setup" not in value
    cluster.ok("restart", "c1", "--force")
    assert "add_key ok" in cluster.exec("c1", HERE, "add_key").stdout
    left = json.loads(cluster.ok("profile", "suggest", "c1", "--format", "json"))
    assert all(s["refused"] for s in left), "what is there is not suggested again"


def test_suggestions_for_a_profile(cluster):
    needs_audit(cluster)
    cluster.ok("profile", "create", "picky", "security.syscalls.allow=@guest", "security.syscalls.log=true")
    try:
        cluster.ok("launch", "busybox", "c1", "-p", "default", "-p", "picky")
        cluster.ok("file", "push", CONFINED, f"c1{HERE}", "--mode", "0755")
        assert cluster.exec("c1", HERE, "add_key").returncode == 0
        wait_for(lambda: denials(cluster, "c1", "syscall"), 15)
        assert "add_key" in cluster.ok("profile", "suggest", "picky", "--apply")
        assert "add_key" in cluster.ok("profile", "get", "picky", "security.syscalls.allow").split()
        assert cluster.cli("profile", "suggest", "nothing").returncode == 1
        assert "instance" in cluster.cli("profile", "suggest", "c1", "--of", "thing").stderr
    finally:
        cluster.ok("delete", "--force", "c1")
        cluster.ok("profile", "delete", "picky")


def settled(cluster, name):
    """Until what has happened is counted."""
    seen = []
    wait_for(lambda: seen.append(counts(cluster, name)) or time.sleep(2) or counts(cluster, name) == seen[-1], 30)


@pytest.mark.limit(240)
def test_after_a_live_move(able):
    """What was seen goes along, and a filter that CRIU brought back still tells.

    Agents in network namespaces of their own read /dev/kmsg: the kernel's group is not for them. What
    is there the kernel bounds, so each is tried until it is seen.
    """
    with testbed.Cluster("denials", nodes=2) as cluster:
        try:
            testbed.ensure_image(cluster, "busybox", node=0)
        except testbed.Unavailable as e:
            pytest.skip(str(e))
        needs_audit(cluster)
        launch(cluster, "m1", "security.syscalls.log=true", "security.syscalls.deny=bpf,swapon", "limits.memory=48MiB",
               "limits.memory.swap=false")
        first = cluster.instance("m1").node
        # From before the move: all that comes of it has its filter.
        cluster.exec("m1", "sh", "-c", f"(while sleep 1; do [ -e /root/go ] && {HERE} swapon; done) >/dev/null 2>&1 </dev/null &")
        assert cluster.exec("m1", "dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1").returncode == 137
        wait_for(lambda: cluster.exec("m1", HERE, "bpf") and
                 {"syscall-denied", "out-of-memory"} <= set(counts(cluster, "m1")), 30)
        settled(cluster, "m1")
        before = counts(cluster, "m1")
        op = moving.move(cluster, "m1", 1 if cluster.node_names[0] == first else 0)
        assert op.status == cluster.api.pb.OPERATION_STATUS_SUCCESS, f"{op.error} {op.hint}"
        assert op.move.mode == cluster.api.pb.MOVE_MODE_LIVE and counts(cluster, "m1") == before
        cluster.exec("m1", "touch", "/root/go")
        wait_for(lambda: "swapon" in {d["operation"] for d in denials(cluster, "m1", "syscall")}, 30)
        assert cluster.exec("m1", "dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1").returncode == 137
        wait_for(lambda: counts(cluster, "m1")["out-of-memory"] == before["out-of-memory"] + 1, 30)
        assert warnings(cluster, "m1")["out-of-memory"]["node"] != first
        cluster.remove_instances()


# ---------------------------------------------------------------- of one project


@pytest.fixture
def projects(cluster):
    """A warning of an instance "c1" in each of these; a viewer and an operator of the first."""
    for project in ("shop", "bank"):
        cluster.ok("project", "create", project)
    for project in ("shop", "bank", "default"):
        of = ("--project", project)
        cluster.ok(*of, "launch", "busybox", "c1", "-c", "limits.memory=48MiB", "-c", "limits.memory.swap=false")
        done = cluster.cli(*of, "exec", "c1", "--", "dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1")
        assert done.returncode == 137
    wait_for(lambda: len(of_c1(cluster)) == 3, 20, why="a warning of each")
    clients = [Client(cluster, f"{role}-{uuid.uuid4().hex[:6]}", role, "--project", "shop")
               for role in ("viewer", "operator")]
    yield clients
    for client in clients:
        cluster.ok("identity", "delete", client.name)
    cluster.remove_instances()
    for project in ("shop", "bank"):
        cluster.ok("project", "delete", project)


def of_c1(cluster):
    """Numbers by project, as who has a role in all of them sees it."""
    return {w["project"]: w["id"] for w in json.loads(cluster.ok("warning", "list", "--all", "--format", "json"))
            if w["type"] == "out-of-memory" and w["name"] == "c1"}


def seen(client, *options):
    done = client.cli("warning", "list", "--format", "json", *options)
    assert done.returncode == 0, done.stderr
    return [(w["project"], w["name"]) for w in json.loads(done.stdout)]


def test_warnings_of_a_project(cluster, projects):
    """Who has a role in one sees and changes those of its instances, and learns of no others, nor of nodes."""
    viewer, operator = projects
    ids = of_c1(cluster)
    assert any(w["entity"] == "node" for w in json.loads(cluster.ok("warning", "list", "--all", "--format", "json"))), \
        "there is one of a node as well"
    for client in projects:
        for scope in (("--project", "shop"), ("--all-projects",)):
            for all_ in ((), ("--all",)):
                assert seen(client, *scope, *all_) == [("shop", "c1")]
        assert seen(client, "--project", "shop", "--instance", "c1") == [("shop", "c1")]
        assert seen(client, "--project", "shop", "--instance", "bank_c1") == []
        for project in ("default", "bank", "nowhere"):
            done = client.cli("--project", project, "warning", "list")
            assert done.returncode == 1 and "needs the role viewer" in done.stderr
        shown = client.cli("--project", "shop", "warning", "show", str(ids["shop"]))
        assert "name: c1" in shown.stdout and "project: shop" in shown.stdout
        others = [ids["bank"], ids["default"], 4000000000]
        said = {client.cli("--project", "shop", "warning", "show", str(n)).stderr.replace(str(n), "N") for n in others}
        assert len(said) == 1 and "there is no warning N" in said.pop()

    for verb in ("acknowledge", "delete"):
        refused = viewer.cli("--project", "shop", "warning", verb, str(ids["shop"]))
        assert refused.returncode == 1 and "needs the role operator" in refused.stderr
        for number in (ids["bank"], ids["default"]):
            refused = operator.cli("--project", "shop", "warning", verb, str(ids["shop"]), str(number))
            assert refused.returncode == 1 and f"there is no warning {number}" in refused.stderr
    status = {w["project"]: w["status"] for w in json.loads(cluster.ok("warning", "list", "--all", "--format", "json"))
              if w["id"] in ids.values()}
    assert set(status.values()) == {"new"}, "nothing was changed by what was refused"

    done = operator.cli("--project", "shop", "warning", "acknowledge", "--all")
    assert done.returncode == 0 and "1 acknowledged" in done.stderr
    assert seen(viewer, "--project", "shop") == [] and seen(viewer, "--project", "shop", "--all") == [("shop", "c1")]
    assert {w["project"] for w in json.loads(cluster.ok("warning", "list", "--format", "json"))
            if w["id"] in ids.values()} == {"bank", "default"}
    done = operator.cli("--project", "shop", "warning", "delete", "--all")
    assert done.returncode == 0 and "1 deleted" in done.stderr
    assert set(of_c1(cluster)) == {"bank", "default"}


def test_names_of_warnings(cluster, projects):
    """An instance is called what its users call it, wherever one looks from."""
    table = cluster.ok("warning", "list")
    assert "bank/c1" in table and "shop/c1" in table and "bank_c1" not in table
    rows = cluster.ok("--project", "shop", "warning", "list", "--instance", "c1").splitlines()[1:]
    assert len(rows) == 1 and " c1 " in rows[0]
    assert len(cluster.ok("warning", "list", "--instance", "c1").splitlines()[1:]) == 1
