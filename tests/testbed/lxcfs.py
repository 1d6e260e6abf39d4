"""An lxcfs of a test's own for each node of a cluster, in the node's mounts, where its agent looks for it."""

import os
import shutil
import signal
import subprocess

import machine
from machine import wait_for


def missing():
    """Why none can run here, or None."""
    if not shutil.which("lxcfs"):
        return "lxcfs is not installed (scripts/install-deps)"
    return None if os.path.exists("/dev/fuse") else "there is no /dev/fuse"


def prepare(cluster):
    """Before the cluster starts: one for each of its nodes, which does not run yet."""
    return [Lxcfs(cluster, i) for i in range(len(cluster.agents))]


class Lxcfs:
    def __init__(self, cluster, i):
        self.enter = cluster.underlay.enter(i) if cluster.underlay else []
        self.dir = os.path.join(cluster.dir, f"lxcfs-{i + 1}")
        self.process = None
        cluster.agents[i].argv += ["--lxcfs", self.dir]

    def _there(self):
        return machine.run(*self.enter, "test", "-e", f"{self.dir}/proc/meminfo").returncode == 0

    def start(self):
        os.makedirs(self.dir, exist_ok=True)
        with open(f"{self.dir}.log", "ab") as log:
            self.process = subprocess.Popen([*self.enter, "lxcfs", "-f", "-p", f"{self.dir}.pid", self.dir],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(self._there, why=f"lxcfs serves at {self.dir}")

    def send(self, number):
        self.process.send_signal(number)

    def kill(self):
        """Its mount stays, and is dead."""
        self.send(signal.SIGKILL)
        self.process.wait()
        self.process = None

    def end(self):
        if self.process:
            self.send(signal.SIGCONT)
            self.process.terminate()
            self.process.wait(10)
            self.process = None
        while machine.run(*self.enter, "umount", "-l", self.dir).returncode == 0:  # one that was killed leaves it
            pass
