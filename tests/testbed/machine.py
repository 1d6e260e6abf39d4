"""What a test cluster leaves on the machine, found by its marks: processes, mounts, control
groups, network namespaces, interfaces, firewall tables. Each `find` is read-only; `remove`
takes all of it away.

The marks of a cluster are its directory (of state, sockets and logs), the name of its cgroup
root (of several nodes: that and what follows it after a dash), and the prefix of its network
names. No other cluster has any of them.
"""

import json
import os
import shutil
import signal
import subprocess
import time

CGROUPS = "/sys/fs/cgroup"
NAMESPACES = "/run/netns"


def run(*argv, check=False, timeout=60):
    return subprocess.run(argv, check=check, timeout=timeout, text=True, capture_output=True, stdin=subprocess.DEVNULL)


def wait_for(what, seconds=10, every=0.02, why=None):
    """Calls until it returns something true, and returns that. Else raises, and says `why`."""
    end = time.monotonic() + seconds
    while True:
        got = what()
        if got:
            return got
        if time.monotonic() > end:
            raise TimeoutError(f"{why or what} did not come true in {seconds} s")
        time.sleep(every)


def start_time(pid):
    """Tells a process from a later one with the same number; None when there is none, or only its zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            fields = f.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def parent(pid):
    """0 when it has gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            return int(f.read().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def alive(pid):
    return start_time(pid) is not None


def kill(pid, number=signal.SIGKILL):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


# ---------------------------------------------------------------- finding


def _text(path):
    try:
        with open(path, "rb") as f:
            return f.read().decode(errors="replace")
    except OSError:
        return ""


def _has_open(pid, below):
    """One of its first descriptors is a file of the cluster: logs are what its daemons and workers have there."""
    for fd in ("1", "2", "3"):
        try:
            if os.readlink(f"/proc/{pid}/fd/{fd}").startswith(below):
                return True
        except OSError:
            pass
    return False


def processes(directory, cgroup_root):
    """{pid: command line} of daemons, workers, monitors, dnsmasq and guests."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid() or not alive(entry):
            continue
        said = _text(f"/proc/{entry}/cmdline").replace("\0", " ").strip()
        # The command lines of tests and of their shells may name the directory too.
        ours = directory + "/" in said and ("lx" in said.split(" ")[0] or "dnsmasq" in said.split(" ")[0])
        groups = _text(f"/proc/{entry}/cgroup")
        ours = ours or f"/{cgroup_root}/" in groups or f"/{cgroup_root}-" in groups
        if ours or _has_open(entry, directory + "/"):
            found[int(entry)] = said or _text(f"/proc/{entry}/comm").strip()
    return found


def mounts(directory):
    """Mount points below the directory, deepest last."""
    found = []
    for line in _text("/proc/self/mountinfo").splitlines():
        where = line.split(" ")[4].encode().decode("unicode_escape")
        if where.startswith(directory + "/"):
            found.append(where)
    return sorted(found)


def cgroups(root):
    """The cluster's trees in all hierarchies, of all its nodes."""
    tops = [CGROUPS, *(os.path.join(CGROUPS, d) for d in sorted(os.listdir(CGROUPS)))]
    return [os.path.join(t, d) for t in tops if os.path.isdir(t) for d in sorted(os.listdir(t))
            if (d == root or d.startswith(f"{root}-")) and os.path.isdir(os.path.join(t, d))]


def instance_cgroups(root):
    return [os.path.join(t, d) for t in cgroups(root) for d in sorted(os.listdir(t))
            if os.path.isdir(os.path.join(t, d)) and not d.startswith("_")]  # the agent's own


def namespaces(prefix):
    """Names of network namespaces."""
    return sorted(n for n in os.listdir(NAMESPACES) if n.startswith(prefix)) if os.path.isdir(NAMESPACES) else []


def interfaces(prefix, inside=()):
    """Bridges by their names, and what is plugged into them. `inside`: a command that runs another in a namespace."""
    links = json.loads(run(*inside, "ip", "-j", "link", "show", check=True).stdout or "[]")
    return [x["ifname"] for x in links if x["ifname"].startswith(prefix) or x.get("master", "").startswith(prefix)]


def interface_exists(name):
    return os.path.exists(f"/sys/class/net/{name}")


def tables(prefix, inside=()):
    """(family, name) of nftables' tables."""
    out = run(*inside, "nft", "-j", "list", "tables").stdout
    if not out:
        return []
    all_tables = [x["table"] for x in json.loads(out)["nftables"] if "table" in x]
    return [(t["family"], t["name"]) for t in all_tables if t["name"].startswith((f"lxmgr_{prefix}", f"lxguard_{prefix}"))]


def leftovers(directory, cgroup_root, prefix):
    """Everything that is there of a cluster that should be gone, as texts."""
    return [
        *(f"process {pid}: {said}" for pid, said in processes(directory, cgroup_root).items()),
        *(f"mount {m}" for m in mounts(directory)),
        *(f"cgroup {c}" for c in cgroups(cgroup_root)),
        *(f"network namespace {n}" for n in namespaces(prefix)),
        *(f"interface {i}" for i in interfaces(prefix)),
        *(f"nftables table {family} {name}" for family, name in tables(prefix)),
    ]


# ---------------------------------------------------------------- removing


def _remove_cgroup(top):
    for where, dirs, _ in os.walk(top, topdown=False):
        for name in dirs:
            try:
                os.rmdir(os.path.join(where, name))
            except OSError:
                pass
    try:
        os.rmdir(top)
    except OSError:
        pass


def power_cut(directory, cgroup_root, prefix):
    """Takes away all but the files, as when the machine loses power."""
    for _ in range(5):  # guests fork, supervisors start again: until none is left
        found = processes(directory, cgroup_root)
        if not found:
            break
        for pid in found:
            kill(pid)
        try:
            wait_for(lambda: not any(alive(pid) for pid in found), 5)
        except TimeoutError:
            pass
    for where in reversed(mounts(directory)):
        run("umount", "-l", where)
    for name in interfaces(prefix):
        run("ip", "link", "delete", name)
    for name in namespaces(prefix):
        run("ip", "netns", "delete", name)
    for family, name in tables(prefix):
        run("nft", "delete", "table", family, name)
    for _ in range(50):  # a group is busy until its last process has been reaped
        for top in cgroups(cgroup_root):
            _remove_cgroup(top)
        if not cgroups(cgroup_root):
            break
        time.sleep(0.1)


def remove(directory, cgroup_root, prefix):
    """Whatever there is of a cluster, in any state. Returns what would not go."""
    power_cut(directory, cgroup_root, prefix)
    rest = leftovers(directory, cgroup_root, prefix)
    if not mounts(directory):
        shutil.rmtree(directory, ignore_errors=True)
        if os.path.exists(directory):
            rest.append(f"directory {directory}")
    return rest
