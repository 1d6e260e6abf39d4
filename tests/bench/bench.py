#!/usr/bin/python3
"""Measures lxmgr and, in the same run, liblxc's own tools on the same root file system.

    make bench                      prints the table, writes build/bench.json
    tests/bench/bench.py --write    also rewrites docs/performance.md's table

Everything runs in a cluster of its own (tests/testbed) that is removed afterwards. Figures are
medians of several rounds; what has a floor is measured against it alternately, because absolute
times move with whatever else the machine does.
"""
import argparse
import concurrent.futures
import json
import os
import statistics
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "testbed"))
import figures  # noqa: E402
from testbed import Cluster, ensure_image  # noqa: E402

BUILD = os.environ.get("BUILD", os.path.join(TOP, "build"))
FLOOR_BASE = 2_100_000_000  # host ids of the floor's container
MANY = 200
AT_ONCE = 8  # command lines
FLOOR_MANY = 48  # of MANY: a rate needs no more


def ms(call):
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def run(*argv):
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def memory(pid):
    """RSS of a process, and what of that is its own and no other's, in MiB."""
    values = {}
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        for line in f:
            name, _, rest = line.partition(":")
            if name in ("Rss", "Private_Clean", "Private_Dirty"):
                values[name] = int(rest.split()[0]) / 1024
    return values["Rss"], values["Private_Clean"] + values["Private_Dirty"]


def parent(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return int(next(line.split()[1] for line in f if line.startswith("PPid")))


class Floor:
    """The same busybox under plain lxc-start: unprivileged, with a veth, same configuration."""

    def __init__(self, cluster, rootfs):
        self.dir = os.path.join(cluster.dir, "floor")
        self.tree = os.path.join(self.dir, "rootfs")
        self.network = cluster.network
        self.cgroup = cluster.cgroup_root + "floor"
        self.names = []
        os.makedirs(self.dir)
        os.chmod(self.dir, 0o755)
        run("cp", "-a", rootfs, self.tree)
        for root, dirs, files in os.walk(self.tree):
            for entry in [root] + [os.path.join(root, f) for f in files]:
                st = os.lstat(entry)
                if st.st_uid < FLOOR_BASE:
                    os.lchown(entry, FLOOR_BASE + st.st_uid, FLOOR_BASE + st.st_gid)
        self.at = self.add("floor")

    def add(self, name):
        """One more container of the same tree; what names it to liblxc's tools."""
        self.names.append(name)
        os.makedirs(os.path.join(self.dir, "lxc", name))
        with open(os.path.join(self.dir, "lxc", name, "config"), "w", encoding="ascii") as f:
            f.write(f"""lxc.uts.name = {name}
lxc.rootfs.path = dir:{self.tree}
lxc.console.path = none
lxc.tty.max = 0
lxc.pty.max = 1024
lxc.idmap = u 0 {FLOOR_BASE} 65536
lxc.idmap = g 0 {FLOOR_BASE} 65536
lxc.mount.auto = proc:mixed sys:rw
lxc.mount.entry = none sys/fs/cgroup cgroup2 rw,nosuid,nodev,noexec,relatime 0 0
lxc.cgroup.dir.container = {self.cgroup}/{name}/payload
lxc.cgroup.dir.monitor = {self.cgroup}/{name}/monitor
lxc.net.0.type = veth
lxc.net.0.link = {self.network}
lxc.net.0.name = eth0
lxc.net.0.flags = up
lxc.init.cmd = /sbin/init
""")
        return "-P", os.path.join(self.dir, "lxc"), "-n", name

    def start(self):
        run("lxc-start", *self.at)

    def stop(self):
        run("lxc-stop", "-k", *self.at)

    def attach(self):
        run("lxc-attach", *self.at, "--", "/bin/true")

    def init_pid(self):
        out = subprocess.run(("lxc-info", *self.at, "-pH"), check=True, capture_output=True, text=True)
        return int(out.stdout)

    def start_at_once(self, n):
        """Starts n more, as many at a time as there are command lines. Returns how many a second."""
        more = [self.add(f"floor{i}") for i in range(n)]
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            took = ms(lambda: list(pool.map(lambda at: run("lxc-start", *at), more)))
        return n / took * 1e3

    def remove(self):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": False}
        for name in self.names:
            subprocess.run(("lxc-stop", "-k", "-P", os.path.join(self.dir, "lxc"), "-n", name), **quiet)
        for controller in os.listdir("/sys/fs/cgroup"):
            for where, _, _ in os.walk(os.path.join("/sys/fs/cgroup", controller, self.cgroup), topdown=False):
                try:
                    os.rmdir(where)
                except OSError:
                    pass


def measure_single(cluster, floor, rounds, out):
    launch, stop, execs = [], [], []
    f_start, f_stop, f_attach = [], [], []
    for i in range(rounds):
        f_start.append(ms(floor.start))
        launch.append(ms(lambda: cluster.cli("launch", "busybox", f"one{i}", "-q", check=True)))
        for _ in range(3):
            f_attach.append(ms(floor.attach))
            execs.append(ms(lambda: cluster.cli("exec", f"one{i}", "--", "true", check=True)))
        if i == 0:
            pid = json.loads(cluster.cli("list", "--format", "json", check=True).stdout)[0]["pid"]
            out["monitor"] = memory(parent(pid))
            out["monitor_floor"] = memory(parent(floor.init_pid()))
        f_stop.append(ms(floor.stop))
        stop.append(ms(lambda: cluster.cli("delete", "--force", f"one{i}", "-q", check=True)))
    median = statistics.median
    out.update(launch=median(launch), start_floor=median(f_start), exec=median(execs), exec_floor=median(f_attach),
               delete=median(stop), stop_floor=median(f_stop))


def measure_many(cluster, floor, out):
    out["starts_per_second_floor"] = floor.start_at_once(FLOOR_MANY)
    floor.remove()
    names = [f"many{i}" for i in range(MANY)]
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        start = time.perf_counter()
        list(pool.map(lambda n: cluster.cli("launch", "busybox", n, "-q", check=True), names))
        out["launches_per_second"] = MANY / (time.perf_counter() - start)
    time.sleep(5)  # the burst's usage reports are in
    out["list"] = statistics.median(ms(lambda: cluster.cli("list", check=True)) for _ in range(21))
    out["list_json"] = statistics.median(
        ms(lambda: cluster.cli("list", "--format", "json", check=True)) for _ in range(21))
    api = subprocess.run((os.path.join(BUILD, "tests", "api_bench"), cluster.socket, "20000", "8"), check=True,
                         capture_output=True, text=True)
    out["api"] = json.loads(api.stdout)
    out["manager"] = memory(cluster.manager_pid)
    out["agent"] = memory(cluster.agent_pid)
    out["delete_many"] = ms(lambda: cluster.cli("delete", "--force", "-q", *names, check=True)) / 1e3


def table(out):
    ratio = lambda a, b: f"{out[a] / out[b]:.1f}x"
    total = out["manager"][0] + out["agent"][0]
    return [
        ("launch busybox, command line to Running", f"{out['launch']:.1f} ms",
         f"lxc-start {out['start_floor']:.1f} ms ({ratio('launch', 'start_floor')})", "60 ms, 3x"),
        ("exec true", f"{out['exec']:.1f} ms", f"lxc-attach {out['exec_floor']:.1f} ms ({ratio('exec', 'exec_floor')})", "2x"),
        ("delete --force, one running", f"{out['delete']:.1f} ms", f"lxc-stop -k {out['stop_floor']:.1f} ms", ""),
        (f"launches at once, {MANY} by {AT_ONCE} command lines", f"{out['launches_per_second']:.0f} /s",
         f"{AT_ONCE} lxc-start at once {out['starts_per_second_floor']:.0f} /s", "30 /s"),
        (f"list, {MANY} running", f"{out['list']:.1f} ms", "", "15 ms"),
        (f"list --format json, {MANY} running", f"{out['list_json']:.1f} ms", "", ""),
        (f"list over the API, {MANY} running", f"{out['api']['calls_per_second']:.0f} /s", "", "2 000 /s"),
        (f"delete --force of {MANY} running", f"{out['delete_many']:.1f} s", "", "10 s"),
        (f"manager + agent resident, {MANY} running",
         f"{total:.1f} MiB ({out['manager'][0]:.1f} + {out['agent'][0]:.1f})", "", "30 MB"),
        ("container monitor: its own memory / RSS", f"{out['monitor'][1]:.2f} / {out['monitor'][0]:.1f} MiB",
         f"lxc-start's {out['monitor_floor'][1]:.2f} / {out['monitor_floor'][0]:.1f} MiB", "no more"),
    ]


def write_docs(rows):
    lines = ["| what | lxmgr | floor in the same run | goal |", "|---|---|---|---|"]
    figures.write("table", "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]), "")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--write", action="store_true", help="rewrite the table in docs/performance.md")
    args = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("bench: needs root")
    out = {}
    with Cluster("bench") as cluster:
        ensure_image(cluster, "busybox")
        image = json.loads(cluster.cli("image", "show", "busybox", "--format", "json", check=True).stdout)
        floor = Floor(cluster, os.path.join(cluster.agent_dir, "images", image["fingerprint"], "rootfs"))
        try:
            print("one at a time ...", flush=True)
            measure_single(cluster, floor, args.rounds, out)
            print(f"{MANY} at once ...", flush=True)
            measure_many(cluster, floor, out)
        finally:
            floor.remove()
    rows = table(out)
    with open(os.path.join(BUILD, "bench.json"), "w", encoding="ascii") as f:
        json.dump(out, f, indent=1)
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    if args.write:
        write_docs(rows)


if __name__ == "__main__":
    main()
