#!/usr/bin/python3
"""A cluster for a test: manager and agent of its own, beside any other.

    with Cluster("demo") as cluster:
        ensure_image(cluster, "busybox")
        cluster.cli("launch", "busybox", "c1", check=True)

Of one machine, or of several, each with an agent in a network namespace (underlay.py); nodes are
counted from 0, and what is said of "the" agent is then said of the first:

    with Cluster("demo", nodes=3) as cluster:
        ensure_image(cluster, "busybox", node=1)
        cluster.cli("launch", "busybox", "c1", "--target", cluster.node_names[1], check=True)
        cluster.cut(0, 1)              the agents no longer reach each other
        cluster.agents[2].kill()

Its state is below one directory of its own in /var/tmp; names, addresses, ports and host ids are
its own too (slots.py). stop() removes all of it whatever state it is in (machine.py), and raises
when something stays. What a killed test program left is swept by the next one, or by

    tests/testbed/testbed.py sweep
"""

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import machine  # noqa: E402
from filedisk import FileDisk  # noqa: E402
from machine import wait_for  # noqa: E402
from slots import Slot, free_port  # noqa: E402
from underlay import MANAGER, Underlay  # noqa: E402

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(TOP, os.environ.get("BUILD", "build"))
BIN = os.environ.get("LXMGR_BIN", os.path.join(BUILD, "bin"))
DISK = os.environ.get("LXMGR_TEST_DISK")  # a kind of disk for all agents' state (filedisk.py)
CACHE = os.environ.get("LXMGR_TEST_CACHE", os.path.join(BUILD, "test-cache"))
WHERE, MARK = "/var/tmp", "lxmgr-test-"

START_SECONDS = 20
CLI_SECONDS = 60


class Daemon:
    """One of the two: started, stopped and killed by process id; its log is a file."""

    def __init__(self, name, argv, log):
        self.name, self.argv, self.log = name, argv, log
        self.process = None
        self.mark = 0  # what the log said before is of no interest

    @property
    def pid(self):
        return self.process.pid if self.process and self.process.poll() is None else None

    def start(self, *extra):
        with open(self.log, "ab") as log:
            # Of the environment only what a service manager would give: tests set much of their own.
            self.process = subprocess.Popen([*self.argv, *extra], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env={"PATH": os.environ["PATH"]}, start_new_session=True)

    def send(self, number):
        if self.pid:
            os.kill(self.pid, number)

    def end(self, number=signal.SIGTERM, seconds=15):
        """Returns the exit status; a daemon that does not end is killed and is an error."""
        if not self.process:
            return None
        self.send(number)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise RuntimeError(f"{self.name} did not end {seconds} s after signal {number}:\n{self.said()}") from None

    def kill(self):
        return self.end(signal.SIGKILL)

    def restart(self, number=signal.SIGTERM):
        self.end(number)
        self.start()

    def begin_log(self):
        self.mark = os.path.getsize(self.log)

    def said(self, lines=40):
        try:
            with open(self.log, "rb") as f:
                f.seek(self.mark)
                return "\n".join(f.read().decode(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""


class Agent(Daemon):
    """A node: its agent, and where that keeps what."""

    def __init__(self, cluster, ending, underlay=None, i=0, args=(), programs=BIN):
        self.node = f"node-{cluster.id}{ending}"
        self.dir = os.path.join(cluster.dir, f"agent{ending}")
        self.run_dir = os.path.join(cluster.dir, f"run{ending}")
        self.cgroup_root = cluster.prefix + ending
        self.netns = underlay.namespace(i) if underlay else None
        self.inside = underlay.inside(i) if underlay else []  # what to put before a command to run it there
        self.base = [*(underlay.enter(i) if underlay else []), os.path.join(programs, "lxagentd"), "--state-dir", self.dir,
                     "--run-dir", self.run_dir, "--cgroup-root", self.cgroup_root]
        self.base += ["--lxcfs", ""]  # the machine's is none of a test's business (lxcfs.py)
        address = underlay.address(i) if underlay else "127.0.0.1"
        super().__init__("lxagentd" + ending, [*self.base, "--listen", f"{address}:{cluster.agent_port}", "--node-name",
                                               self.node, *args], os.path.join(cluster.dir, f"lxagentd{ending}.log"))

    def tear_down(self):
        """Removes what a stopped agent leaves up. Returns what went wrong."""
        if not os.path.exists(self.dir):
            return []
        try:
            done = machine.run(*self.base, "--teardown")
        except subprocess.TimeoutExpired as e:
            return [str(e)]
        return [f"{self.name} --teardown: {done.stderr}"] if done.returncode != 0 else []


class Cluster:
    def __init__(self, name="test", manager_args=(), agent_args=(), log_level="info", nodes=1, disks=(), manager_bin=BIN,
                 agent_bins=()):
        """`disks`: for each node the kind of disk (filedisk.py) its agent's state is on; None: this machine's.
        `manager_bin`, and `agent_bins` for each node: where the programs are, when not all are of one version."""
        self.dir = tempfile.mkdtemp(prefix=f"{MARK}{name}-", dir=WHERE)
        os.chmod(self.dir, 0o755)
        self.slot = Slot()
        self.id = os.urandom(3).hex()
        self.prefix = f"lxt{self.id}"  # of interfaces, tables and namespaces
        self.network = f"{self.prefix}b0"
        self.cgroup_root = self.prefix
        self.socket = os.path.join(self.dir, "lxmgr.sock")
        self.manager_dir = os.path.join(self.dir, "manager")
        (self.manager_port, held1), (self.agent_port, held2) = free_port(), free_port()
        self.held = [held1, held2]
        self._api = None
        self.veths = set()
        with open(os.path.join(self.dir, "cluster.json"), "w", encoding="utf-8") as f:
            owner = os.getpid()
            json.dump({"cgroup_root": self.cgroup_root, "prefix": self.prefix, "owner": owner,
                       "owner_start": machine.start_time(owner)}, f)

        self.underlay = Underlay(self.dir, self.prefix, self.slot.underlay, nodes) if nodes > 1 else None
        self.manager = Daemon("lxmgrd", [
            os.path.join(manager_bin, "lxmgrd"), "--state-dir", self.manager_dir, "--socket", self.socket,
            "--listen", f"{self.underlay.manager_address if self.underlay else '127.0.0.1'}:{self.manager_port}",
            "--network", self.network, "--network-subnet", str(self.slot.network),
            "--idmap-base", str(self.slot.idmap_base), "--idmap-count", "512", "--log-level", log_level, *manager_args,
        ], os.path.join(self.dir, "lxmgrd.log"))
        self.agents = [Agent(self, f"-{i + 1}" if nodes > 1 else "", self.underlay, i, ["--log-level", log_level, *agent_args],
                             (agent_bins or [BIN] * nodes)[i]) for i in range(nodes)]
        self.node_names = [a.node for a in self.agents]
        self.disk_kinds, self.disks = disks or [DISK] * nodes, []
        # Of the one, or the first.
        self.agent = self.agents[0]
        self.node, self.agent_dir, self.run_dir = self.agent.node, self.agent.dir, self.agent.run_dir
        self.agent_base = self.agent.base

    # ------------------------------------------------------------ life

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.stop(quiet=True)
            raise

    def __exit__(self, kind, value, trace):
        self.stop(quiet=kind is not None)

    def start(self):
        for agent, kind in zip(self.agents, self.disk_kinds):
            if kind:
                self.disks.append(FileDisk(kind, f"{agent.dir}.img", agent.dir))
        if self.underlay:
            self.underlay.create()
        self.start_manager()
        for agent in self.agents:
            self.join_token = self.token()
            agent.start("--join", self.join_token)
        self.wait_online()
        return self

    def start_manager(self):
        self._drop_api()
        self.manager.start()
        self.wait_manager()

    def wait_manager(self):
        self._wait(self.manager, lambda: self.cli("version").returncode == 0)

    def wait_online(self, *which):
        """Until these agents' nodes (their numbers; else all) are online."""
        for agent in [self.agents[i] for i in which] or self.agents:
            self._wait(agent, lambda a=agent: self.is_online(a.node))

    def _wait(self, daemon, ready):
        end = time.monotonic() + START_SECONDS
        while not ready():
            if not daemon.pid or time.monotonic() > end:
                raise RuntimeError(f"{daemon.name} is not up:\n{daemon.said()}")
            time.sleep(0.02)

    def token(self):
        return self.ok("node", "token", "-q").strip()

    def is_online(self, node=None):
        nodes = self.api.nodes.List(self.api.pb.ListNodesRequest(), wait_for_ready=True, timeout=5).nodes
        return any(n.name == (node or self.node) and n.status == self.api.pb.NODE_STATUS_ONLINE for n in nodes)

    def daemon(self, which):
        """"manager", "agent", or the number of one of several agents."""
        return self.agents[which] if isinstance(which, int) else {"manager": self.manager, "agent": self.agent}[which]

    def kill(self, which, number=signal.SIGKILL):
        """Ends a daemon and waits until it is gone."""
        return self.daemon(which).end(number)

    def restart(self, which, number=signal.SIGTERM):
        """Ends it unless it has ended, starts it again, waits until it and what it talks to are there."""
        daemon = self.daemon(which)
        daemon.end(number)
        if which == "manager":
            self.start_manager()
            self.wait_online(*(i for i, a in enumerate(self.agents) if a.pid or len(self.agents) == 1))
        else:
            daemon.start()
            self.wait_online(self.agents.index(daemon))

    def power_cut(self):
        """What a restart of the machine does: only files are left, and not those of /run. All daemons are down."""
        machine.power_cut(self.dir, self.cgroup_root, self.prefix)
        for daemon in (self.manager, *self.agents):
            daemon.process.wait()
        for agent in self.agents:
            shutil.rmtree(agent.run_dir, ignore_errors=True)
            with open(os.path.join(agent.dir, "boot-id"), "w", encoding="ascii") as f:
                f.write("00000000-0000-0000-0000-000000000000\n")
        if self.underlay:
            self.underlay.cuts.clear()
            self.underlay.create()

    # ------------------------------------------------------------ between several nodes

    def netns(self, i):
        """Name of node i's network namespace; None in a cluster of one."""
        return self.agents[i].netns

    def ns_exec(self, i, *command, **kw):
        """Runs a command of this machine in node i's network."""
        return machine.run(*self.agents[i].inside, *command, **kw)

    def cut(self, i, j):
        """Nothing goes any more between the agents of nodes i and j."""
        self.underlay.cut(i, j)

    def mend(self, i, j):
        self.underlay.mend(i, j)

    def cut_manager(self, i):
        """Nothing goes any more between node i and the manager."""
        self.underlay.cut(i, MANAGER)

    def mend_manager(self, i):
        self.underlay.mend(i, MANAGER)

    # ------------------------------------------------------------ talking to it

    @property
    def api(self):
        if not self._api:
            from api import Api  # needs grpcio: not for all users of this file

            self._api = Api(BUILD, self.socket)
        return self._api

    def _drop_api(self):
        """grpcio tells of a connection that has ended at the next call: make that one on a new one."""
        if self._api:
            self._api.close()
            self._api = None

    @property
    def manager_pid(self):
        return self.manager.pid

    @property
    def agent_pid(self):
        return self.agent.pid

    @property
    def environment(self):
        return {**os.environ, "LXMGR_SOCKET": self.socket, "NO_COLOR": "1"}

    def cli(self, *args, check=False, timeout=CLI_SECONDS, text=True, input=None, **kw):
        """Runs lxmgr; with `check` a failure raises and shows what it said."""
        if input is None and "stdin" not in kw:
            kw["stdin"] = subprocess.DEVNULL
        done = subprocess.run([os.path.join(BIN, "lxmgr"), *args], env=self.environment, timeout=timeout, text=text,
                              input=input, capture_output=True, **kw)
        if check and done.returncode != 0:
            raise RuntimeError(f"lxmgr {' '.join(args)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def ok(self, *args, **kw):
        """What a command that must succeed prints."""
        return self.cli(*args, check=True, **kw).stdout

    def popen(self, *args, **kw):
        kw.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen([os.path.join(BIN, "lxmgr"), *args], env=self.environment, text=True, **kw)

    def list(self, *args):
        """`lxmgr list --format json` by name."""
        return {i["name"]: i for i in json.loads(self.ok("list", "--format", "json", *args))}

    def instance(self, name):
        """The API's Instance, or None."""
        for i in self.instances():
            if i.name == name:
                return i
        return None

    def instances(self):
        found = self.api.instances.List(self.api.pb.ListInstancesRequest(), wait_for_ready=True, timeout=30).instances
        self.veths.update(nic.host_name for i in found for nic in i.nics)
        return found

    def status(self, name):
        """"RUNNING", "STOPPED" ...; None when there is no such instance."""
        i = self.instance(name)
        return self.api.pb.InstanceStatus.Name(i.status).removeprefix("INSTANCE_STATUS_") if i else None

    def operations(self, all=False):
        request = self.api.pb.ListOperationsRequest(all=all)
        return self.api.operations.List(request, wait_for_ready=True, timeout=30).operations

    def wait_idle(self, seconds=60):
        """Until no operation is under way."""
        wait_for(lambda: not self.operations(), seconds, 0.05, "the end of all operations")

    def booted(self, name):
        """What systemd says when it has come up: "running", or "degraded". At first it does not listen,
        or is not there yet."""

        def ask():
            said = self.exec(name, "systemctl", "is-system-running", "--wait", timeout=90).stdout.strip()
            return None if said == "offline" else said

        return machine.wait_for(ask, 60, 0.1, f"systemd of {name} answers")

    def exec(self, name, *command, **kw):
        return self.cli("exec", name, "--", *command, **kw)

    # ------------------------------------------------------------ what is there

    def instance_leftovers(self, but=()):
        """What there is on the machine of instances other than those named, and of those where they do not live."""
        homes = {i.name: i.node for i in self.instances()}
        found = []
        for agent in self.agents:
            keep = {name for name in but if len(self.agents) == 1 or homes.get(name, agent.node) == agent.node}
            found += self._node_leftovers(agent, keep)
        return found

    def _node_leftovers(self, agent, keep):
        dirs = [(os.path.join(agent.dir, "instances"), ""), (os.path.join(agent.dir, "images", "incoming"), ""),
                (agent.run_dir, ".pb")]
        found = []
        for where, ending in dirs:
            for entry in sorted(os.listdir(where)) if os.path.isdir(where) else []:
                if entry.endswith(ending) and entry.removesuffix(ending) not in keep:
                    found.append(f"file {os.path.join(where, entry)}")
        below = os.path.join(agent.dir, "instances") + "/"
        found += [f"mount {m}" for m in machine.mounts(agent.dir) + machine.mounts(agent.run_dir)
                  if not (m.startswith(below) and m[len(below):].split("/")[0] in keep)]
        found += [f"cgroup {c}" for c in machine.instance_cgroups(agent.cgroup_root) if os.path.basename(c) not in keep]
        kept = {nic.host_name for i in self.instances() if i.name in keep for nic in i.nics}
        # A bridge's tunnel to the other nodes (lxv...) is the network's.
        plugged = {i for i in machine.interfaces(self.prefix, agent.inside) if not i.startswith((self.prefix, "lxv"))}
        found += [f"interface {i}" for i in sorted(plugged | self.veths) if i not in kept and self._has_interface(agent, i)]
        for pid, said in machine.processes(agent.dir, agent.cgroup_root).items():
            if said.startswith("[lxc monitor]") and said.split(" ")[-1] not in keep:
                found.append(f"process {pid}: {said}")
        return found

    def _has_interface(self, agent, name):
        if not agent.netns:
            return machine.interface_exists(name)
        return self.ns_exec(self.agents.index(agent), "ip", "link", "show", name).returncode == 0

    def wait_clean(self, but=(), seconds=10):
        """Until nothing is left of other instances than those named."""
        found = []

        def clean():
            found[:] = self.instance_leftovers(but)
            return not found

        try:
            wait_for(clean, seconds, 0.1)
        except TimeoutError:
            raise AssertionError("left behind:\n" + "\n".join(found)) from None

    def remove_instances(self):
        """Of all projects."""
        found = self.api.instances.List(self.api.pb.ListInstancesRequest(), wait_for_ready=True, timeout=30,
                                        metadata=(("lxmgr-project", "*"),)).instances
        for project in {i.project for i in found}:
            names = [i.name for i in found if i.project == project]
            self.cli("--project", project, "delete", "--force", "-q", *names, timeout=120)

    # ------------------------------------------------------------ the end

    def stop(self, quiet=False):
        """Ends and removes everything, in whatever state it is. Raises when something does not go, unless `quiet`."""
        wrong = []
        try:
            if self.underlay:
                for i, j in [tuple(c) for c in self.underlay.cuts]:
                    self.underlay.mend(i, j)
            if self.manager.pid and all(a.pid for a in self.agents):
                if self.underlay:
                    self.wait_online()  # what was cut off needs a moment
                self.remove_instances()
        except Exception as e:  # what could not be asked for is removed below
            wrong.append(f"instances: {e}")
        self._drop_api()
        for daemon in (*self.agents, self.manager):
            try:
                daemon.end()
            except RuntimeError as e:
                wrong.append(str(e))
        for agent in self.agents:
            wrong += agent.tear_down()
        if self.underlay:
            for i in range(len(self.agents)):
                wrong += self.underlay.leftovers(i)
            self.underlay.remove()
        for disk in self.disks:
            wrong += disk.close()
        wrong += machine.leftovers(self.dir, self.cgroup_root, self.prefix)
        wrong += [f"interface {v}" for v in self.veths if machine.interface_exists(v)]
        # Its own logs say why; the directory is removed in any case.
        said = "\n".join(d.said() for d in (self.manager, *self.agents)) if wrong else ""
        wrong += [f"would not go: {x}" for x in machine.remove(self.dir, self.cgroup_root, self.prefix)]
        for veth in self.veths:
            if machine.interface_exists(veth):
                machine.run("ip", "link", "delete", veth)
        self.slot.release()
        for held in self.held:
            held.close()
        if wrong and not quiet:
            raise AssertionError("the cluster left behind:\n" + "\n".join(wrong) + "\n" + said)


# ---------------------------------------------------------------- images


class Unavailable(Exception):
    """An image cannot be made here; says why."""


_unavailable = {}


def _cache_path(name, packages):
    """How an image is built is part of its file's name: another way makes another file."""
    with open(os.path.join(TOP, "images", f"build_{name.split('/')[0]}.c"), "rb") as f:
        how = hashlib.sha256(f.read()).hexdigest()[:8]
    return os.path.join(CACHE, f"{'-'.join([name.replace('/', '-'), *packages])}-{how}.tar.zst")


def cached_image(name, make_in=None, packages=()):
    """Path of a tarball of "busybox" or "debian/12", with more packages, built once for all runs."""
    path = _cache_path(name, packages)
    if path in _unavailable:
        raise Unavailable(_unavailable[path])
    if os.path.exists(path):
        return path
    os.makedirs(CACHE, exist_ok=True)
    with open(f"{path}.lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another test program may be building the same
        if os.path.exists(path):
            return path
        try:
            if make_in:
                _build(make_in, name, packages, path)
            else:
                with Cluster("images") as cluster:
                    _build(cluster, name, packages, path)
        except Unavailable as e:
            _unavailable[path] = str(e)
            raise
    return path


def _build(cluster, name, packages, path):
    more = [word for package in packages for word in ("--package", package)]
    done = cluster.cli("image", "build", name, "--alias", "built", *more, timeout=900)
    if done.returncode != 0:
        raise Unavailable(f"image {name} cannot be built here: {done.stderr.strip()}")
    with tempfile.TemporaryDirectory(dir=CACHE) as tmp:  # complete, or not there
        made = os.path.join(tmp, "image.tar.zst")
        cluster.ok("image", "export", "built", made, timeout=300)
        os.rename(made, path)
    cluster.ok("image", "delete", "built")


def ensure_image(cluster, name, node=None):
    """Puts an image into the cluster, from the cache; in one of several, onto the node of that number."""
    if node is not None:
        target = cluster.node_names[node]
        shown = cluster.cli("image", "show", name, "--format", "json")
        if shown.returncode != 0 or target not in json.loads(shown.stdout)["nodes"]:
            cluster.ok("image", "import", cached_image(name), "--alias", name, "--reuse", "--target", target,
                       timeout=300)
    elif cluster.cli("image", "show", name).returncode != 0:
        path = cached_image(name)
        cluster.ok("image", "import", path, "--alias", name, timeout=300)


# ---------------------------------------------------------------- what this machine can do


def missing():
    """Why no cluster can run here, or None."""
    if os.geteuid() != 0:
        return "needs root"
    for program in ("lxmgr", "lxmgrd", "lxagentd"):
        if not os.access(os.path.join(BIN, program), os.X_OK):
            return f"{os.path.join(BIN, program)} is not built"
    for tool in ("ip", "nft", "dnsmasq"):
        if not shutil.which(tool):
            return f"needs {tool}"
    if machine.run("unshare", "--user", "true").returncode != 0:
        return "the kernel gives no user namespaces"
    with open("/proc/filesystems", encoding="ascii") as f:
        if "overlay" not in f.read() and machine.run("modprobe", "overlay").returncode != 0:
            return "the kernel has no overlay file system"
    return None


def sweep():
    """Removes clusters whose test program is gone. Returns what could not be removed."""
    wrong = []
    for entry in os.listdir(WHERE):
        directory = os.path.join(WHERE, entry)
        if not entry.startswith(MARK):
            continue
        try:
            with open(os.path.join(directory, "cluster.json"), encoding="utf-8") as f:
                facts = json.load(f)
        except (OSError, ValueError):
            continue
        if machine.start_time(facts["owner"]) != facts["owner_start"]:
            wrong += machine.remove(directory, facts["cgroup_root"], facts["prefix"])
    return wrong


if __name__ == "__main__":
    if sys.argv[1:] != ["sweep"]:
        sys.exit(__doc__)
    problems = sweep()
    print("\n".join(problems))
    sys.exit(1 if problems else 0)
