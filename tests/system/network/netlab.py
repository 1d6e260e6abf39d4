"""A small internet of network namespaces: guests - router - outside.

The router is where agent/network/ runs (through tests/system/network/driver.c), so nothing of
the host's own network is touched. Everything is removed by Lab.close(), also after a failure.
"""

import contextlib
import glob
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
BUILD = os.path.join(TOP, os.environ.get("BUILD", "build"))
DRIVER = os.path.join(BUILD, "tests", "network-driver")
PYTHON = "/usr/bin/python3"

OUTSIDE4, OUTSIDE6 = "203.0.113.2", "2001:db8:203::2"
ROUTER4, ROUTER6 = "203.0.113.1", "2001:db8:203::1"


def run(*argv, check=True, timeout=20, **kw):
    return subprocess.run(argv, check=check, timeout=timeout, text=True, capture_output=True, **kw)


def missing():
    """Why this machine cannot run the tests, or None."""
    if os.geteuid() != 0:
        return "needs root"
    if not os.path.exists(DRIVER):
        return f"{DRIVER} is not built"
    for tool in ("ip", "nft", "dnsmasq", "busybox", "protoc"):
        if not shutil.which(tool, path="/usr/sbin:/sbin:/usr/bin:/bin"):
            return f"needs {tool}"
    probe = f"lxprobe{os.getpid()}"
    if run("ip", "netns", "add", probe, check=False).returncode != 0:
        return "cannot create network namespaces"
    run("ip", "netns", "del", probe)
    return None


def load_protos(directory):
    protos = sorted(glob.glob(os.path.join(TOP, "proto/lxmgr/v1/*.proto")))
    run("protoc", f"--proto_path={TOP}/proto", f"--python_out={directory}", *protos)
    sys.path.insert(0, directory)
    from lxmgr.v1 import agent_pb2

    return agent_pb2


def wait_for(what, seconds=5, every=0.02):
    """Calls until it returns something true, and returns that."""
    end = time.monotonic() + seconds
    while True:
        got = what()
        if got or time.monotonic() > end:
            return got
        time.sleep(every)


def alive(pid):
    """Zombies are gone: it is up to init when it takes notice of them."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Answer:
    def __init__(self, lines):
        self.status = {}
        self.error = self.hint = None
        self.number = None
        for line in lines[:-1]:
            name, _, text = line[len("status "):].partition("\t")
            self.status[name] = text
        words = lines[-1].split("\t")
        if words[0].startswith("error "):
            self.error = words[0][len("error "):] + ": " + words[1]
            self.hint = words[2]
        elif " " in words[0]:
            self.number = int(words[0].split()[1])


class Agent:
    """The driver, in the router's namespace."""

    def __init__(self, lab):
        self.lab = lab
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", lab.router, DRIVER, lab.state, lab.run],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=lab.log, text=True, bufsize=1)

    def send(self, command):
        self.process.stdin.write(command + "\n")

    def answer(self):
        lines = []
        while not lines or lines[-1].startswith("status "):
            line = self.process.stdout.readline()
            assert line, "the driver ended: " + self.lab.read_log()
            lines.append(line.rstrip("\n"))
        return Answer(lines)

    def ask(self, command):
        self.send(command)
        return self.answer()

    def write(self, *networks, revision=None):
        return self.write_request(self.request(*networks, revision=revision))

    def request(self, *networks, revision=None):
        pb = self.lab.pb
        if revision is None:
            self.lab.revision += 1
            revision = self.lab.revision
        request = pb.ApplyNetworksRequest(operation="test", revision=revision)
        for name, config, leases in networks:
            request.networks.append(pb.NetworkSpec(
                name=name, config=config,
                leases=[pb.LeaseSpec(instance=i, hwaddr=m, ipv4=a, ipv6=b) for i, m, a, b in leases]))
        return request

    def write_request(self, request):
        path = os.path.join(self.lab.dir, f"request-{self.lab.next_number()}")
        with open(path, "wb") as f:
            f.write(request.SerializeToString())
        return path

    def apply(self, *networks, revision=None):
        """Each network: (name, config, leases); each lease: (instance, hwaddr, ipv4, ipv6)."""
        return self.ask("apply " + self.write(*networks, revision=revision))

    def close(self):
        """Ends as the daemon ends: the driver checks that no handle was left open."""
        if self.process.poll() is None:
            self.process.stdin.close()
            code = self.process.wait(timeout=20)
            assert code == 0, f"the driver ended with {code}: " + self.lab.read_log()

    def kill(self):
        self.process.kill()
        self.process.wait()


class Lab:
    def __init__(self, pb, tag=""):
        self.pb, self.tag = pb, tag
        self.number = self.revision = 0
        self.dir = tempfile.mkdtemp(prefix="lxnet-")
        os.chmod(self.dir, 0o755)
        self.state, self.run = self.dir + "/state", self.dir + "/run"
        self.log = open(self.dir + "/log", "w+")
        self.namespaces, self.agents, self.children = [], [], []

    def build(self):
        self.router, self.outside = self.namespace("r"), self.namespace("o")
        self.connect_outside()

    # -- making

    def next_number(self):
        self.number += 1
        return self.number

    def namespace(self, suffix):
        name = f"lxt{os.getpid()}{self.tag}{suffix}"
        run("ip", "netns", "add", name)
        self.namespaces.append(name)
        self.at(name, "ip", "link", "set", "lo", "up")
        return name

    def at(self, namespace, *argv, **kw):
        return run("ip", "netns", "exec", namespace, *argv, **kw)

    def connect_outside(self):
        run("ip", "link", "add", "up0", "netns", self.router, "type", "veth", "peer", "name", "eth0",
            "netns", self.outside)
        for ns, dev, v4, v6 in ((self.router, "up0", ROUTER4, ROUTER6), (self.outside, "eth0", OUTSIDE4, OUTSIDE6)):
            self.at(ns, "ip", "addr", "add", v4 + "/24", "dev", dev)
            self.at(ns, "ip", "addr", "add", v6 + "/64", "dev", dev, "nodad")
            self.at(ns, "ip", "link", "set", dev, "up")
        self.at(self.router, "ip", "route", "add", "default", "via", OUTSIDE4)
        self.at(self.router, "ip", "-6", "route", "add", "default", "via", OUTSIDE6)

    def agent(self):
        agent = Agent(self)
        self.agents.append(agent)
        return agent

    def guest(self, bridge, hwaddr, v4=None, v6=None, gateway4=None, gateway6=None):
        n = self.next_number()
        ns = self.namespace(f"g{n}")
        run("ip", "link", "add", f"port{n}", "netns", self.router, "type", "veth", "peer", "name", "eth0",
            "address", hwaddr, "netns", ns)
        self.at(self.router, "ip", "link", "set", f"port{n}", "master", bridge, "up")
        self.at(ns, "ip", "link", "set", "eth0", "up")
        if v4:
            self.at(ns, "ip", "addr", "add", v4, "dev", "eth0")
            self.at(ns, "ip", "route", "add", "default", "via", gateway4)
        if v6:
            self.at(ns, "ip", "addr", "add", v6, "dev", "eth0", "nodad")
            self.at(ns, "ip", "-6", "route", "add", "default", "via", gateway6)
        return ns

    def spawn(self, namespace, *argv):
        child = subprocess.Popen(["ip", "netns", "exec", namespace, *argv], text=True,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.children.append(child)
        return child

    def use_resolver(self, namespace, server):
        """From now on programs started there find this name server in /etc/resolv.conf."""
        directory = f"/etc/netns/{namespace}"  # where ip-netns(8) looks for it
        os.makedirs(directory)
        with open(directory + "/resolv.conf", "w") as f:
            f.write(f"nameserver {server}\n")

    # -- looking

    def read_log(self):
        with open(self.dir + "/log") as f:
            return f.read()

    def router_out(self, *argv):
        return self.at(self.router, *argv).stdout

    def links(self):
        return self.router_out("ip", "-o", "link", "show")

    def addresses(self, dev):
        out = self.at(self.router, "ip", "-o", "addr", "show", "dev", dev, check=False).stdout
        return sorted(line.split()[3] for line in out.splitlines() if "scope link" not in line)

    def link_value(self, dev, key):
        words = self.at(self.router, "ip", "-o", "link", "show", "dev", dev, check=False).stdout.split()
        return words[words.index(key) + 1] if key in words else None

    def rules(self):
        return self.router_out("nft", "-a", "list", "ruleset")

    def dnsmasq(self, bridge):
        """The pid of the live dnsmasq, or None."""
        path = f"{self.run}/network/{bridge}/dnsmasq.pid"
        with contextlib.suppress(OSError, ValueError):
            with open(path) as f:
                pid = int(f.read())
            with open(f"/proc/{pid}/cmdline") as f:
                if path in f.read():
                    return pid
        return None

    def dhcp(self, guest, tries=3):
        """What a DHCP client is told: a dict, empty when nobody answers."""
        script = self.dir + "/udhcpc-script"
        with open(script, "w") as f:
            f.write("#!/bin/sh\n[ \"$1\" = bound ] && env\nexit 0\n")
        os.chmod(script, 0o755)
        out = self.at(guest, "busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", str(tries), "-T", "1",
                      "-O", "mtu", "-s", script, check=False)
        return dict(line.split("=", 1) for line in out.stdout.splitlines() if "=" in line)

    def resolve(self, namespace, name, server):
        """The addresses (or names) DNS answers with, None when there is no answer at all."""
        out = self.at(namespace, "timeout", "2", "busybox", "nslookup", name, server, check=False).stdout
        if "Server:" not in out:
            return None
        answer = out.split("\n\n", 1)[-1]
        found = [line.split(":", 1)[1].strip() for line in answer.splitlines() if line.startswith("Address")]
        return sorted(found + [line.split("= ", 1)[1] for line in answer.splitlines() if "name = " in line])

    # -- the end

    def close(self):
        for agent in self.agents:
            agent.kill()
        for child in self.children:
            child.kill()
            child.wait()
        for path in glob.glob(self.run + "/network/*"):
            pid = self.dnsmasq(os.path.basename(path))
            if pid:
                os.kill(pid, signal.SIGKILL)
        for name in self.namespaces:
            run("ip", "netns", "del", name, check=False)
            shutil.rmtree(f"/etc/netns/{name}", ignore_errors=True)
        with contextlib.suppress(OSError):
            os.rmdir("/etc/netns")  # ours when it is empty
        self.log.close()
        shutil.rmtree(self.dir)
