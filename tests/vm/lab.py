"""Virtual machines as a cluster, two or one, installed as a user would: programs, units, a join token.

    with Lab(image, programs, logs) as lab:
        lab.boot()
        lab.join()
        lab.lxmgr("launch", "busybox", "c1", "--target", "vm1")

The manager runs on the first, an agent on each.
"""

import json
import os
import shutil
import tempfile
import time

from qemu import Failed, Machine

NAMES = ["vm1", "vm2"]
ADDRESSES = ["10.99.0.1", "10.99.0.2"]
CGROUPS = "/sys/fs/cgroup/lxmgr"
PAYLOAD = "/opt/lxmgr-vm"  # where files for the checks lie in the machines
SLOW = 300  # seconds for what takes a few on hardware


class Lab:
    def __init__(self, image, programs, logs, names=NAMES):
        self.names = names
        # Names of sockets are short: not below the build directory.
        self.dir = tempfile.mkdtemp(prefix="lxmgr-vm-", dir="/var/tmp")
        wire = f"addr.type=unix,addr.path={self.dir}/wire"
        links = [f"stream,server=on,{wire}", f"stream,server=off,{wire}"] if len(names) > 1 else ["hubport,hubid=0"]
        self.machines = [Machine(name, image, programs, f"{ADDRESSES[i]}/24", f"52:54:00:99:00:0{i + 1}", links[i],
                                 self.dir, logs) for i, name in enumerate(names)]
        self.by_name = dict(zip(names, self.machines))
        self.logs = logs

    def __enter__(self):
        try:
            for m in self.machines:
                m.__enter__()
                while len(self.names) > 1 and not os.path.exists(f"{self.dir}/wire"):  # the first holds it, the second plugs into it
                    time.sleep(0.1)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind, value, trace):
        for m in self.machines:
            m.end()
        shutil.rmtree(self.dir, ignore_errors=True)

    # ------------------------------------------------------------ bringing it up

    def boot(self):
        for m in self.machines:
            m.wait_ready()

    def join(self):
        """The manager, then an agent on each machine, by their units and with a token each."""
        first = self.machines[0]
        # A machine may have no processor for many seconds here.
        first.ok("sh", "-c", "echo LXMGRD_OPTIONS=--offline-after=60 >/etc/default/lxmgrd")
        first.ok("systemctl", "enable", "--now", "lxmgrd", timeout=SLOW)
        first.until("lxmgr", "version", seconds=SLOW, why="the manager")
        for m in self.machines:
            token = first.ok("lxmgr", "node", "token", "--quiet").strip()
            options = f"LXAGENTD_OPTIONS=--join {token}\n"
            m.ok("sh", "-c", "mkdir -p /etc/default && cat >/etc/default/lxagentd", input=options)
            m.ok("systemctl", "enable", "--now", "lxagentd", timeout=SLOW)
        self.wait_online()

    def wait_online(self):
        end = time.monotonic() + SLOW
        while True:
            nodes = {n["name"]: n["status"] for n in self.json("node", "list")}
            if all(nodes.get(n) == "ONLINE" for n in self.names):
                return
            if time.monotonic() > end:
                raise Failed(f"the nodes are not online: {nodes}")
            time.sleep(2)

    # ------------------------------------------------------------ using it

    def run(self, *args, timeout=SLOW, **kw):
        """lxmgr on the first machine; its Done."""
        return self.machines[0].run("lxmgr", *args, timeout=timeout, **kw)

    def lxmgr(self, *args, timeout=SLOW, **kw):
        """The same for what must succeed; what it prints."""
        return self.machines[0].ok("lxmgr", *args, timeout=timeout, **kw)

    def json(self, *args):
        return json.loads(self.lxmgr(*args, "--format", "json"))

    def instance(self, name):
        found = [i for i in self.json("list") if i["name"] == name]
        return found[0] if found else None

    def home(self, name):
        """The machine on which it runs, as the manager says; checked against the machines themselves."""
        node = self.instance(name)["node"]
        for n, m in self.by_name.items():
            runs = m.run("grep", "-q", "populated 1", f"{CGROUPS}/{name}/payload/cgroup.events").code == 0
            if runs != (n == node):
                raise Failed(f"{name} is said to run on {node}, and {'runs' if runs else 'does not run'} on {n}")
        return self.by_name[node]

    def other(self, name):
        node = self.instance(name)["node"]
        return NAMES[1 - NAMES.index(node)]

    def inside(self, name, *command, **kw):
        """What a command in an instance prints."""
        return self.lxmgr("exec", name, "--", *command, **kw)

    def move(self, name, *args):
        """Moves it live to the other machine; the report."""
        self.lxmgr("move", name, "--target", self.other(name), "--live=required", *args)
        moves = [o for o in self.json("operation", "list", "--all") if o["subject"] == name and "move" in o]
        return max(moves, key=lambda o: o["created_at"])["move"]

    def delete(self, *names):
        """These, or all; what is not there is not missed."""
        there = [i["name"] for i in self.json("list") if not names or i["name"] in names]
        if there:
            self.lxmgr("delete", "--force", *there)

    def file(self, name):
        return f"{PAYLOAD}/{name}"

    def keep_logs(self):
        """The whole journals and what liblxc and CRIU wrote, beside the consoles."""
        for m in self.machines:
            script = ("journalctl -b -o short-monotonic --no-pager; "
                      "for f in /var/lib/lxmgr/agent/instances/*/lxc.log; do echo \"== $f\"; cat $f; done; "
                      "dmesg | grep -i apparmor")
            try:
                done = m.run("sh", "-c", script, timeout=120)
            except Exception as e:  # it has gone: what it said on its consoles is kept
                print(f"   {e}")
                continue
            with open(os.path.join(self.logs, f"{m.name}-full.log"), "w", encoding="utf-8") as f:
                f.write(done.out + done.err)
