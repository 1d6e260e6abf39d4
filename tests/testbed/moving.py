"""A guest that tells whether a move has changed anything, and who watches it from outside.

A busybox instance with a passenger inside (tests/system/migration/passenger.c: memory, a deleted
file, a socket pair, a terminal, a TCP server) and a file that was there before; outside, TCP
connections to it, from a node's network and from another instance.
"""

import glob
import os
import select
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import machine  # noqa: E402
from machine import wait_for  # noqa: E402
from testbed import BIN, BUILD  # noqa: E402

PORT = 7007
CONNECT_SECONDS = 10
ECHO_SECONDS = 20
STATUS = "/run/passenger"


class Echo:
    """A TCP connection to the guest's server from a network namespace (`inside` leads there), or another instance."""

    def __init__(self, argv):
        self.n = 0
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.check(CONNECT_SECONDS)

    @classmethod
    def from_node(cls, cluster, i, address):
        code = ("import socket,sys,threading\n"
                f"s=socket.create_connection(('{address}',{PORT}),{CONNECT_SECONDS}); s.settimeout(None)\n"
                "s.setsockopt(socket.IPPROTO_TCP,socket.TCP_NODELAY,1)\n"
                "def back():\n"
                "  while True:\n"
                "    d=s.recv(65536)\n"
                "    if not d: break\n"
                "    sys.stdout.buffer.write(d); sys.stdout.buffer.flush()\n"
                "threading.Thread(target=back,daemon=True).start()\n"
                "while True:\n"
                "  l=sys.stdin.buffer.readline()\n"
                "  if not l: break\n"
                "  s.sendall(l)\n")
        return cls([*cluster.agents[i].inside, sys.executable, "-c", code])

    @classmethod
    def from_instance(cls, cluster, name, address):
        lxmgr = os.path.join(BIN, "lxmgr")
        return cls(["env", f"LXMGR_SOCKET={cluster.socket}", lxmgr, "exec", name, "--", "nc", address, str(PORT)])

    def send(self):
        self.n += 1
        self.process.stdin.write(b"word %d\n" % self.n)
        self.process.stdin.flush()

    def check(self, seconds=ECHO_SECONDS):
        """What is said comes back, in order: nothing was lost on the way and the connection is the same."""
        self.send()
        want, got, end = b"word %d\n" % self.n, b"", time.monotonic() + seconds
        while not got.endswith(want):
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise AssertionError(f"the connection is silent for {seconds} s, after {got!r}")
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                raise AssertionError(f"the connection broke: {self.process.stderr.read()!r}")
            got += data

    def close(self):
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            try:
                pipe.close()
            except OSError:
                pass


def talk(cluster, name):
    """From now on it sends something every fraction of a millisecond, to a port where nobody listens."""
    cluster.ok("file", "push", os.path.join(BUILD, "tests", "teller"), f"{name}/root/teller", "--mode", "0755")
    to = cluster.exec(name, "sh", "-c", "ip route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p'", check=True).stdout.strip()
    # A child of init's: a move takes nothing else along.
    cluster.ok("exec", name, "--", "sh", "-c", f"setsid /root/teller tell {to} 9 </dev/null >/dev/null 2>&1 &")


def processes(cluster, name, i):
    """An instance's processes on node i, as the machine sees them: all of its payload."""
    root = cluster.agents[i].cgroup_root
    found = set()
    for hierarchy in [machine.CGROUPS, *glob.glob(f"{machine.CGROUPS}/*")]:
        for procs in glob.glob(f"{hierarchy}/{root}/{name}/payload/**/cgroup.procs", recursive=True):
            try:
                with open(procs, encoding="ascii") as f:
                    found |= {int(p) for p in f.read().split()}
            except OSError:
                pass
    return sorted(p for p in found if machine.alive(p))


class Guest:
    """Launched and filled; `check` after each move. `tests`: where the passenger is."""

    def __init__(self, cluster, name, node=0, megabytes=0, config=(), tests=os.path.join(BUILD, "tests")):
        self.cluster, self.name = cluster, name
        cluster.ok("launch", "busybox", name, "--target", cluster.node_names[node], *config)
        cluster.ok("file", "push", os.path.join(tests, "passenger"), f"{name}/root/passenger", "--mode", "0755")
        self.board(megabytes)
        self.address = cluster.list()[name]["ipv4"]
        # Whoever had that address before it may still be known to the nodes.
        for i in range(len(cluster.agents)):
            cluster.ns_exec(i, "ip", "neigh", "flush", "to", self.address)

    def board(self, megabytes=0):
        """A passenger, as a service is: a child of init's."""
        script = f"echo kept > /root/note; rm -f {STATUS}; sync; /root/passenger {STATUS} {PORT} {megabytes}"
        done = self.cluster.exec(self.name, "sh", "-c", script)
        if done.returncode != 0:
            raise AssertionError(f"passenger: {done.stdout}{done.stderr}")
        wait_for(self.status, 10, why="the passenger is seated")
        self.pid = self.status()[0]

    def bring(self, program, *args):
        """Another of the tests' programs, run inside; it leaves a process behind that goes on."""
        self.cluster.ok("file", "push", os.path.join(BUILD, "tests", program), f"{self.name}/root/{program}", "--mode", "0755")
        done = self.cluster.exec(self.name, f"/root/{program}", *args)
        if done.returncode != 0:
            raise AssertionError(f"{program}: {done.stdout}{done.stderr}")

    def read(self, path):
        return self.cluster.exec(self.name, "cat", path).stdout

    def told(self, path):
        """(pid, count, what is wrong), as such a process writes it there, or None."""
        said = self.read(path).split(" ", 2)
        return (int(said[0]), int(said[1]), said[2].strip()) if len(said) == 3 else None

    def status(self):
        """(pid, count, what is wrong), or None."""
        return self.told(STATUS)

    def aboard(self):
        """Whether the passenger is still there; it is not after a boot."""
        return self.cluster.exec(self.name, "kill", "-0", str(self.pid)).returncode == 0

    def home(self):
        """Number of the node that the manager names."""
        return self.cluster.node_names.index(self.cluster.instance(self.name).node)

    def init(self, i):
        """Its processes on node i, as the machine sees them: all of its payload."""
        return processes(self.cluster, self.name, i)

    def check_files(self):
        assert self.read("/root/note") == "kept\n"

    def check_passenger(self):
        """It goes on counting where it was, under the same number, and misses nothing."""
        before = self.status()
        # Its memory it looks at every now and then.
        wait_for(lambda: self.status()[1] > before[1] + 16, 10, why=f"it counts on from {before}")
        pid, _, wrong = self.status()
        assert (pid, wrong) == (self.pid, "well"), f"process {pid} of {self.pid} says: {wrong}"


def frozen(guest, i):
    """Whether it stands still on that node."""
    for hierarchy in [machine.CGROUPS, *glob.glob(f"{machine.CGROUPS}/*")]:
        where = f"{hierarchy}/{guest.cluster.agents[i].cgroup_root}/{guest.name}/payload/"
        for knob, word in (("cgroup.freeze", "1"), ("freezer.state", "FROZEN")):
            try:
                with open(where + knob, encoding="ascii") as f:
                    if f.read().strip() == word:
                        return True
            except OSError:
                pass
    return False


# ---------------------------------------------------------------- moving


def request(cluster, name, target, **kw):
    kw.setdefault("live", cluster.api.pb.LIVE_MODE_REQUIRED)
    return cluster.api.pb.MoveInstanceRequest(name=name, target=cluster.node_names[target], **kw)


def operation(cluster, ident):
    return next((o for o in cluster.operations(all=True) if o.id == ident), None)


def ended(cluster, ident, seconds=60):
    """The operation when it has ended; the manager may be away for a while."""
    pb = cluster.api.pb

    def look():
        found = operation(cluster, ident)
        return found if found and found.status in (pb.OPERATION_STATUS_SUCCESS, pb.OPERATION_STATUS_FAILURE,
                                                   pb.OPERATION_STATUS_CANCELLED) else None

    return wait_for(look, seconds, 0.05, f"the end of operation {ident}: {operation(cluster, ident)}")


def move(cluster, name, target, seconds=60, **kw):
    """Moves and waits; the ended operation."""
    return ended(cluster, cluster.api.instances.Move(request(cluster, name, target, **kw)).id, seconds)


# ---------------------------------------------------------------- what a move leaves


def parent(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            return int(f.read().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def workers(cluster):
    """{pid: command line} of what works for a move: CRIU, its hooks, liblxc's restore; and of workers without an agent."""
    found, agents = {}, {a.pid for a in cluster.agents}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as f:
                argv = f.read().decode(errors="replace").split("\0")
        except OSError:
            continue
        # An agent keeps some that wait for work.
        here = any(a.dir in argv[1:2] for a in cluster.agents) and argv[0].startswith("lx-") and parent(entry) not in agents
        if (here or any(f"{a.run_dir}/moves/" in " ".join(argv) for a in cluster.agents)) and machine.alive(entry):
            found[int(entry)] = " ".join(argv).strip()[:200]
    return found


def leftovers(cluster, but=()):
    found = [f"process {pid}: {said}" for pid, said in workers(cluster).items()]
    for agent in cluster.agents:
        for where in glob.glob(f"{agent.run_dir}/moves/*"):
            found.append(f"directory {where}")
    for i in cluster.instances():
        if i.name in but and i.pid:
            out = machine.run("nsenter", f"--net=/proc/{i.pid}/ns/net", "nft", "list", "tables").stdout
            found += [f"in {i.name}: {line}" for line in out.splitlines() if "CRIU" in line]
    for agent in cluster.agents:
        for top in glob.glob(f"{agent.dir}/instances/*/upper"):
            for where, dirs, files in os.walk(top):
                found += [f"file {where}/{f}" for f in files if f.startswith("link_remap.")]
    return found + cluster.instance_leftovers(but)


def wait_clean(cluster, but=(), seconds=15):
    found = []

    def clean():
        found[:] = leftovers(cluster, but)
        return not found

    try:
        wait_for(clean, seconds, 0.1)
    except TimeoutError:
        raise AssertionError("left behind:\n" + "\n".join(found)) from None
