"""A guest's network taken from one namespace and made in another (migration/net.h, sockets.h).

Host and guests are network namespaces of their own; guests belong to user namespaces, like those of
unprivileged containers. The library is driven by tests/system/migration/net_driver.c.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys

import pytest

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
DRIVER = os.path.join(TOP, os.environ.get("BUILD", "build"), "tests", "move-net-driver")
NICS = ("eth0=lxmh0=lxmbr0", "eth1=lxmh1=")

# Seconds that pass while we look.
AGES = re.compile(r"(valid_lft|preferred_lft|expires) \d+sec")
CHANGING = {"link_netnsid", "link_index", "valid_life_time", "preferred_life_time", "expires"}


def missing():
    if os.geteuid() != 0:
        return "needs root"
    if not os.path.exists(DRIVER):
        return f"{DRIVER} is not built"
    for tool in ("ip", "nft", "nsenter", "unshare", "sysctl"):
        if not shutil.which(tool, path="/usr/sbin:/sbin:/usr/bin:/bin"):
            return f"needs {tool}"
    return None


WHY_NOT = missing()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))


class Space:
    """A process that holds a network namespace; a guest's belongs to a user namespace as well."""

    def __init__(self, guest):
        flags = ["--user", "--net"] if guest else ["--net"]
        self.process = subprocess.Popen(["unshare", *flags, "sh", "-c", "echo ready; exec sleep 600"],
                                        stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"
        self.pid = str(self.process.pid)
        if guest:
            for which in ("uid_map", "gid_map"):
                with open(f"/proc/{self.pid}/{which}", "w") as f:
                    f.write("0 100000 65536")

    def __call__(self, command, input=None, check=True):
        done = subprocess.run(["nsenter", "-t", self.pid, "-n", *command.split()], input=input, text=True,
                              capture_output=True, timeout=60)
        assert not check or done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def json(self, command):
        return without_changing(json.loads(self(f"ip -j {command}") or "[]"))

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def without_changing(value):
    if isinstance(value, dict):
        return {k: without_changing(v) for k, v in value.items() if k not in CHANGING}
    return [without_changing(v) for v in value] if isinstance(value, list) else value


@pytest.fixture
def spaces():
    """host, source, destination"""
    made = []
    try:
        for guest in (False, True, True):
            made.append(Space(guest))
        yield made
    finally:
        for space in made:
            space.close()


def driver(host, *args, check=True):
    done = subprocess.run(["nsenter", "-t", host.pid, "-n", DRIVER, *args], text=True, capture_output=True,
                          timeout=60)
    assert not check or done.returncode == 0, done.stderr
    return done


def plug_cables(host, guest):
    host("ip link add lxmbr0 type bridge")
    host("ip link set lxmbr0 up")
    host(f"ip link add lxmh0 type veth peer name eth0 address 02:00:00:00:00:07 netns {guest.pid}")
    host(f"ip link add eth1 index 77 address 02:00:00:00:00:08 mtu 1400 netns {guest.pid} type veth "
         "peer name lxmh1 mtu 1400")
    host("ip link set lxmh0 up master lxmbr0")
    host("ip link set lxmh1 up")


FILL = """
ip link property add dev eth0 altname lan0 altname a-name-longer-than-fifteen
ip link set lo up
ip link set eth0 up txqueuelen 555
ip link set eth1 addrgenmode none
ip link set eth1 up
ip addr add 10.9.0.7/24 brd + dev eth0
ip addr add 10.9.0.8/24 dev eth0
ip addr add 10.9.0.9/32 dev lo
ip addr add 10.10.0.1/24 dev eth1 noprefixroute valid_lft 1000 preferred_lft 900
ip addr add fd42::7/64 dev eth0 nodad
ip addr add fd42:1::7/64 dev eth0 nodad valid_lft 1000 preferred_lft 0
ip addr add fe80::1234/64 dev eth1 nodad
ip route add default via 10.9.0.1 metric 100 proto dhcp src 10.9.0.8
ip route add 10.10.0.0/24 dev eth1 proto static
ip route add 192.168.0.0/16 nexthop via 10.9.0.1 weight 1 nexthop via 10.10.0.9 weight 2
ip route add 172.16.0.0/12 via 10.9.0.2 table 100
ip route add blackhole 198.51.100.0/24
ip route add 1.2.3.4 via 192.0.2.1 dev eth0 onlink
ip -6 route add default via fd42::1 metric 300
ip -6 route add fd99::/64 via fe80::9 dev eth1
ip -6 route add fd98::/64 via fd42::1 expires 500
ip rule add from 10.9.0.8 table 100 prio 1000
ip rule add fwmark 7 lookup 101
ip -6 rule add to fd99::/64 table 102
ip neigh add 10.9.0.33 lladdr 02:00:00:00:00:33 dev eth0 nud permanent
ip neigh add fd42::33 lladdr 02:00:00:00:00:33 dev eth0 nud permanent
ip neigh add 10.9.0.34 lladdr 02:00:00:00:00:34 dev eth0 nud stale
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.eth1.accept_ra=0 net.ipv4.conf.eth0.rp_filter=2
sysctl -qw net.core.somaxconn=99 net.ipv6.conf.all.forwarding=1 net.ipv4.ip_unprivileged_port_start=80
"""
RULES = """
table inet guest {
    set s { type ipv4_addr; elements = { 10.0.0.1, 10.0.0.2 }; }
    map m { type inet_service : verdict; elements = { 22 : accept, 80 : goto web }; }
    chain web { counter packets 3 bytes 99 accept; }
    chain in { type filter hook input priority 0; policy accept; ip saddr @s drop; tcp dport vmap @m; }
}
table ip nat { chain post { type nat hook postrouting priority srcnat; oifname "eth1" masquerade; }; }
"""
CRIU = "table inet CRIU-123 { chain c { type filter hook input priority 0; policy drop; }; }\n"


def routes(guest, family):
    """In their order, but for those that the kernel makes by itself."""
    found = guest.json(f"{family}route show table all")
    return sorted(found, key=lambda r: json.dumps(r) if r.get("table") == "local" else "")


def snapshot(guest):
    knobs = dict(line.split(" = ", 1) for line in guest("sysctl -a --pattern ^net", check=False).splitlines())
    return {
        "links": guest.json("-d link"), "addresses": guest.json("addr"),
        "routes": routes(guest, ""), "routes6": routes(guest, "-6 "),
        "rules": guest.json("rule"), "rules6": guest.json("-6 rule"),
        "neighbours": guest.json("neigh show nud permanent"), "learned": guest.json("neigh show to 10.9.0.34"), "filter": guest("nft list ruleset"),
        "sysctls": {k: v for k, v in knobs.items() if "conntrack_count" not in k},
    }


def settled(guest):
    """No address is being looked for on the link any more."""
    for _ in range(200):
        if "tentative" not in guest("ip addr"):
            return
        subprocess.run(["sleep", "0.05"])
    raise AssertionError(guest("ip addr"))


def fill(host, guest):
    plug_cables(host, guest)
    for command in FILL.strip().splitlines():
        guest(command)
    guest("nft -f -", input=RULES)
    settled(guest)


def test_everything_comes_back(spaces, tmp_path):
    host, source, destination = spaces
    fill(host, source)
    before = snapshot(source)
    source("nft -f -", input=CRIU)
    driver(host, "save", source.pid, f"{tmp_path}/net", *NICS)
    host("ip link del lxmh0")
    host("ip link del lxmh1")
    driver(host, "load", destination.pid, f"{tmp_path}/net", *NICS)
    assert "tentative" not in destination("ip addr")
    after = snapshot(destination)
    for what, value in before.items():
        assert after[what] == value, what
    assert {link["ifname"]: link["ifindex"] for link in after["links"]}["eth1"] == 77
    # and again, over the host ends that are there
    driver(host, "save", destination.pid, f"{tmp_path}/again", *NICS)
    third = Space(True)
    try:
        driver(host, "load", third.pid, f"{tmp_path}/again", *NICS)
        assert snapshot(third) == before
    finally:
        third.close()


def test_no_link_local_address_of_its_own_is_made(spaces, tmp_path):
    host, source, destination = spaces
    plug_cables(host, source)
    for command in ("ip link set eth0 up", "ip -6 addr flush dev eth0", "ip addr add fe80::77/64 dev eth0 nodad"):
        source(command)
    driver(host, "save", source.pid, f"{tmp_path}/net", *NICS)
    driver(host, "load", destination.pid, f"{tmp_path}/net", *NICS)
    settled(destination)
    links = {a["ifname"]: [i["local"] for i in a["addr_info"]] for a in destination.json("addr")}
    assert links["eth0"] == ["fe80::77"]
    assert destination("cat /proc/sys/net/ipv6/conf/eth0/addr_gen_mode") == "0\n"


def master(host, name):
    link = json.loads(host(f"ip -j link show {name}"))[0]
    return link.get("master"), "UP" in link["flags"]


def test_plug_unplug_silence(spaces):
    host, source, _ = spaces
    plug_cables(host, source)
    driver(host, "unplug", *NICS)
    assert master(host, "lxmh0") == (None, True)
    driver(host, "silence", *NICS)
    assert master(host, "lxmh0") == master(host, "lxmh1") == (None, False)
    driver(host, "plug", *NICS)
    assert (master(host, "lxmh0"), master(host, "lxmh1")) == (("lxmbr0", True), (None, True))
    host("ip link del lxmh0")
    driver(host, "unplug", *NICS)
    driver(host, "silence", *NICS)
    done = driver(host, "plug", *NICS, check=False)
    assert done.returncode == 1 and "cannot plug in network card eth0 (lxmh0)" in done.stderr
    assert master(host, "lxmh1") == (None, True)  # the other one all the same
    done = driver(host, "plug", "eth1=lxmh1=nobr0", check=False)
    assert "cannot find bridge nobr0" in done.stderr


def test_a_foreign_interface_is_in_the_way(spaces, tmp_path):
    host, source, destination = spaces
    fill(host, source)
    driver(host, "save", source.pid, f"{tmp_path}/net", *NICS)
    host("ip link del lxmh0")
    host("ip link add lxmh0 type bridge")
    done = driver(host, "load", destination.pid, f"{tmp_path}/net", *NICS, check=False)
    assert done.stderr.startswith("FAILED_PRECONDITION\t") and "lxmh0 exists and is no veth" in done.stderr


@pytest.mark.parametrize("bad", [b"\xff\xff", b"\x12\x02ab", b"\x1a\x04abcd", b"\x0a\x04\x0a\x02..",
                                 b"\x0a\x0b\x0a\x04eth0\x10\x02\x4a\x01x"])
def test_what_is_no_network_is_refused(spaces, tmp_path, bad):
    host, _, destination = spaces
    (tmp_path / "net").write_bytes(bad)
    done = driver(host, "load", destination.pid, f"{tmp_path}/net", *NICS, check=False)
    assert done.stderr.startswith("INVALID_ARGUMENT\t")
    assert host("ip -j link show type veth") in ("", "[]", "[]\n")


# ---------------------------------------------------------------- obstacles


def obstacles(host, guest):
    lines = driver(host, "check", guest.pid, *NICS).stdout.splitlines()
    return {line.split("\t")[0]: line.split("\t")[1:] for line in lines}


def test_obstacles(spaces, tmp_path):
    host, source, _ = spaces
    fill(host, source)
    assert obstacles(host, source) == {}
    source("ip link add dum0 type bridge")
    found = obstacles(host, source)
    assert found["link"][0] == "1" and "dum0 (bridge)" in found["link"][1]
    done = driver(host, "save", source.pid, f"{tmp_path}/net", *NICS, check=False)
    assert done.stderr.startswith("FAILED_PRECONDITION\t") and "dum0" in done.stderr
    source("ip link del dum0")
    if subprocess.run(["nsenter", "-t", source.pid, "-n", "tc", "qdisc", "add", "dev", "eth0", "root", "handle", "1:",
                       "pfifo"], capture_output=True).returncode == 0:
        assert obstacles(host, source)["qdisc"][0] == "0"


def test_a_veth_of_the_guests_own_is_no_card(spaces):
    host, source, destination = spaces
    plug_cables(host, source)
    source(f"ip link add inner type veth peer name other netns {destination.pid}")
    assert "inner (veth)" in obstacles(host, source)["link"][1]


def test_rules_of_iptables(spaces):
    host, source, _ = spaces
    plug_cables(host, source)
    if not shutil.which("iptables-nft"):
        pytest.skip("needs iptables-nft")
    source("iptables-nft -A INPUT -m comment --comment hello -j ACCEPT")
    found = obstacles(host, source)
    assert found["iptables-nft"][0] == "1" and "table filter" in found["iptables-nft"][1]


# ---------------------------------------------------------------- after a CRIU that was killed

REPAIRED = """
import socket, sys
TCP_REPAIR = 19
listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]
a = socket.create_connection(("127.0.0.1", port))
b, _ = listener.accept()
for s in (a, b):
    s.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
copy = a.dup()
print("ready", flush=True)
sys.stdin.readline()
states = [s.getsockopt(socket.IPPROTO_TCP, TCP_REPAIR) for s in (a, b)]
a.settimeout(10); b.settimeout(10)
a.sendall(b"to b"); b.sendall(b"to a")
print(states, b.recv(10), a.recv(10), flush=True)
port = listener.getsockname()[1]
listener.close()
socket.create_server(("127.0.0.1", port))  # with SO_REUSEADDR
print("bound again", flush=True)
"""


def test_sockets_are_mended(spaces):
    host, _, _ = spaces
    host("ip link set lo up")
    process = subprocess.Popen(["nsenter", "-t", host.pid, "-n", sys.executable, "-c", REPAIRED],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        assert driver(host, "count", host.pid).stdout == "2\n"
        assert driver(host, "mend", str(process.pid), host.pid, "4194303").stdout == "2\n"
        assert driver(host, "mend", str(process.pid)).stdout == "0\n"
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline() == "[0, 0] b'to b' b'to a'\n"
        assert process.stdout.readline() == "bound again\n"
    finally:
        process.kill()
        process.communicate()


def test_unlock_removes_only_criu_tables(spaces):
    host, source, _ = spaces
    driver(host, "unlock", source.pid)
    source("nft -f -", input=CRIU + CRIU.replace("123", "77") + "table ip guest { }\n")
    driver(host, "unlock", source.pid)
    assert source("nft list tables") == "table ip guest\n"
    done = driver(host, "unlock", "4194303", check=False)
    assert done.stderr.startswith("NOT_FOUND\t")
