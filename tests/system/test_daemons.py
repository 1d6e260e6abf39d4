"""The two daemons as programs: options, usage errors, manual pages that tell the truth."""

import os
import re
import resource
import shutil
import subprocess

import pytest

import testbed

DAEMONS = ["lxmgrd", "lxagentd"]


def run(daemon, *args):
    return subprocess.run([os.path.join(testbed.BIN, daemon), *args], capture_output=True, text=True, timeout=10,
                          stdin=subprocess.DEVNULL)


pytestmark = pytest.mark.skipif(not os.path.exists(os.path.join(testbed.BIN, "lxagentd")), reason="nothing is built")


@pytest.mark.parametrize("daemon", DAEMONS)
def test_version_and_help(daemon):
    assert re.fullmatch(rf"{daemon} \d+\.\d+\.\d+\n", run(daemon, "--version").stdout)
    helped = run(daemon, "--help")
    assert helped.returncode == 0 and helped.stdout.startswith(f"Usage: {daemon} ") and helped.stderr == ""


@pytest.mark.parametrize("args", [["--colour"], ["word"], ["--log-level", "loud"], ["--state-dir"]], ids=" ".join)
@pytest.mark.parametrize("daemon", DAEMONS)
def test_wrong_usage_is_exit_2(daemon, args):
    done = run(daemon, *args)
    assert done.returncode == 2 and done.stdout == "" and daemon in done.stderr, done


@pytest.mark.parametrize("name,why", [("lxBr", "only lower-case letters"), ("a-name-of-16-chars", "longer than 15")])
def test_network_name_is_checked_at_once(name, why):
    """A bridge is to be called so on every node."""
    done = run("lxmgrd", "--network", name)
    assert done.returncode == 2 and why in done.stderr, done


@pytest.mark.parametrize("daemon", DAEMONS)
def test_manual_has_every_option_and_no_other(daemon):
    page = os.path.join(testbed.TOP, "docs", "man", f"{daemon}.8")
    helped = set(re.findall(r"--([a-z-]+)", run(daemon, "--help").stdout))
    if daemon == "lxmgrd":
        helped -= {"join", "quiet"}  # of the others' command lines in its example
    with open(page, encoding="utf-8") as f:
        listed = set(re.findall(r"-([a-z][a-z-]+)", "".join(line for line in f if line.startswith(".It Fl"))))
    assert listed == helped


@pytest.mark.skipif(not shutil.which("man"), reason="needs man-db")
@pytest.mark.parametrize("page", sorted(os.listdir(os.path.join(testbed.TOP, "docs", "man"))))
def test_manual_is_well_formed(page):
    done = subprocess.run(["man", "--warnings", "-l", os.path.join(testbed.TOP, "docs", "man", page)],
                          capture_output=True, text=True, timeout=30, env={**os.environ, "LC_ALL": "C.UTF-8", "MANPAGER": "cat"})
    assert done.returncode == 0 and done.stderr == "", done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_agent_wants_root(tmp_path):
    done = subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", os.path.join(testbed.BIN, "lxagentd")],
                          capture_output=True, text=True, timeout=10)
    assert done.returncode == 1 and "root" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_manager_needs_no_root(able):
    cluster = testbed.Cluster("plain")
    try:
        os.chown(cluster.dir, 65534, 65534)
        cluster.manager.argv = ["setpriv", "--reuid=65534", "--clear-groups", *cluster.manager.argv]
        cluster.start()
        with open(f"/proc/{cluster.manager_pid}/status", encoding="ascii") as f:
            assert re.search(r"^Uid:\s+65534\s", f.read(), re.M)
        testbed.ensure_image(cluster, "busybox")
        cluster.ok("launch", "busybox", "c1")
    finally:
        cluster.stop()


def status(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def threads(pid):
    return [status(f"{pid}/task/{t}") for t in os.listdir(f"/proc/{pid}/task")]


def children(pid):
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as f:
            found += f.read().split()
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: what root's manager keeps is the question")
@pytest.mark.parametrize("user", ["root", "nobody"])
def test_manager_confines_itself(able, user):
    """Whoever starts it: nothing to gain from, nothing to read, and all of its threads."""
    cluster = testbed.Cluster("plain")
    try:
        if user == "nobody":
            os.chown(cluster.dir, 65534, 65534)
            cluster.manager.argv = ["setpriv", "--reuid=65534", "--clear-groups", *cluster.manager.argv]
        cluster.start_manager()
        cluster.ok("list")
        pid = cluster.manager_pid
        found = threads(pid)
        assert len(found) > 1  # the store has one of its own
        for thread in found:
            assert (thread["NoNewPrivs"], thread["Seccomp"]) == ("1", "2"), thread
            kept = ["CapInh", "CapPrm", "CapEff", "CapAmb"] + (["CapBnd"] if user == "root" else [])
            assert {thread[c] for c in kept} == {"0" * 16}, thread
        with open(f"/proc/{pid}/limits", encoding="ascii") as f:
            assert re.search(r"^Max core file size\s+0\s+0\s", f.read(), re.M)
        # Of a process that is not dumpable, everything in /proc is root's.
        assert os.stat(f"/proc/{pid}/mem").st_uid == 0
        # Its own user reads nothing of it, not even with the same id; its twin is as readable as any.
        look = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "cat"]
        if user == "nobody":
            twin = subprocess.Popen(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sleep", "60"])
            try:
                testbed.wait_for(lambda: status(twin.pid)["Name"] == "sleep")
                assert subprocess.run([*look, f"/proc/{twin.pid}/environ"], capture_output=True, check=False).returncode == 0
            finally:
                twin.kill()
                twin.wait()
        refused = subprocess.run([*look, f"/proc/{pid}/environ"], capture_output=True, text=True, check=False)
        assert refused.returncode != 0 and "denied" in refused.stderr
    finally:
        cluster.stop()


def statuses(pids):
    """Of those that are still there: one may have done its job."""
    for pid in pids:
        try:
            yield status(pid)
        except FileNotFoundError:
            pass


GIVEN_UP = {16: "sys_module", 17: "sys_rawio", 20: "sys_pacct", 26: "sys_tty_config", 32: "mac_override",
            35: "wake_alarm", 36: "block_suspend"}


def test_units_and_manual_name_what_the_agent_gives_up():
    with open(os.path.join(testbed.TOP, "packaging", "systemd", "lxagentd.service"), encoding="utf-8") as f:
        unit = re.search(r"^CapabilityBoundingSet=~(.*)$", f.read(), re.M)[1].lower().split()
    assert sorted(unit) == sorted(f"cap_{name}" for name in GIVEN_UP.values())
    with open(os.path.join(testbed.TOP, "docs", "man", "lxagentd.8"), encoding="utf-8") as f:
        assert set(GIVEN_UP.values()) <= set(re.findall(r"\w+", f.read()))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to run containers")
def test_agent_confines_itself(able):
    """It and its workers lack what nothing needs; a guest has all it had, and no filter of the agent's."""
    cluster = testbed.Cluster("plain")
    try:
        cluster.start()
        testbed.ensure_image(cluster, "busybox")
        cluster.ok("launch", "busybox", "c1")
        pid = cluster.agent.pid
        given_up = sum(1 << cap for cap in GIVEN_UP)
        own = int(status("self")["CapBnd"], 16)
        workers = children(pid)
        assert workers  # one waits for its job
        for process in [*threads(pid), *statuses(workers)]:
            for kept in ("CapInh", "CapPrm", "CapEff", "CapBnd"):
                assert int(process[kept], 16) & given_up == 0, process
            assert int(process["CapBnd"], 16) == own & ~given_up, process
        assert os.stat(f"/proc/{pid}/mem").st_uid == 0
        guest = dict(line.split(":\t", 1) for line in cluster.ok("exec", "c1", "--", "cat", "/proc/1/status").splitlines()
                     if ":\t" in line)
        assert guest["NoNewPrivs"] == "0"
        # Of its own user namespace; what the kernel has, but for the five that no guest has.
        with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as f:
            every = (2 << int(f.read())) - 1
        none = sum(1 << cap for cap in (16, 17, 25, 32, 33))
        assert int(guest["CapBnd"], 16) == every & ~none
        core = resource.getrlimit(resource.RLIMIT_CORE)[1]
        inside = cluster.ok("exec", "c1", "--", "sh", "-c", "grep 'core file' /proc/1/limits").split()
        assert inside[5] == ("unlimited" if core == resource.RLIM_INFINITY else str(core))
    finally:
        cluster.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_roots_manager_becomes_the_owner_of_its_state(able):
    """Started by hand it writes no file into a packaged manager's state that this one cannot read later."""
    cluster = testbed.Cluster("plain")
    try:
        os.chown(cluster.dir, 65534, 65534)
        os.mkdir(cluster.manager_dir, 0o700)
        os.chown(cluster.manager_dir, 65534, 65534)
        cluster.start_manager()
        cluster.ok("list")
        assert status(cluster.manager_pid)["Uid"].split() == ["65534"] * 4
        for where, _, names in os.walk(cluster.manager_dir):
            assert {os.stat(os.path.join(where, n)).st_uid for n in names} <= {65534}
    finally:
        cluster.stop()
