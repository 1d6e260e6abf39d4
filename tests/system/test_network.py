"""The machine's networks (agent/network/): bridges, rules, DHCP and DNS, and what breaks them.

Runs in network namespaces of its own; see network/lab.py.
"""

import ipaddress
import os
import re
import signal
import sys
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "network"))
import netlab as net  # noqa: E402
from netlab import OUTSIDE4, OUTSIDE6, ROUTER4, ROUTER6, wait_for  # noqa: E402

WHY_NOT = net.missing()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))

BR = "lxtbr0"
CONFIG = {"ipv4.address": "10.88.0.1/16", "ipv6.address": "fd42:88::1/64"}
WEB1 = ("web1", "02:00:00:00:00:05", "10.88.0.5", "fd42:88::5")
WEB2 = ("web2", "02:00:00:00:00:06", "10.88.0.6", "")


@pytest.fixture(scope="session")
def pb(tmp_path_factory):
    return net.load_protos(str(tmp_path_factory.mktemp("protos")))


@pytest.fixture
def lab(pb):
    lab = net.Lab(pb)
    try:
        lab.build()
        yield lab
    finally:
        lab.close()


@pytest.fixture
def agent(lab):
    agent = lab.agent()
    yield agent
    agent.close()


def up(agent, *leases, name=BR, **config):
    answer = agent.apply((name, {**CONFIG, **{k.replace("_", "."): v for k, v in config.items()}}, leases))
    assert answer.status == {name: ""}
    return answer


# ---------------------------------------------------------------- the bridge and its rules


def test_bridge_addresses_and_rules(lab, agent):
    up(agent)
    assert lab.addresses(BR) == ["10.88.0.1/16", "fd42:88::1/64"]
    assert "UP" in lab.link_value(BR, f"{BR}:")
    assert "alias lxmgr" in lab.router_out("ip", "link", "show", BR)
    assert lab.link_value(BR, "link/ether").startswith("02:")
    rules = lab.rules()
    assert f"table inet lxmgr_{BR}" in rules
    assert f'ip saddr 10.88.0.0/16 ip daddr != 10.88.0.0/16 oifname != "{BR}" masquerade' in rules
    assert f'ip6 saddr fd42:88::/64 ip6 daddr != fd42:88::/64 oifname != "{BR}" masquerade' in rules
    assert lab.router_out("cat", "/proc/sys/net/ipv4/ip_forward") == "1\n"
    assert lab.router_out("cat", "/proc/sys/net/ipv6/conf/all/forwarding") == "1\n"
    assert agent.ask(f"mtu {BR}").number == 1500
    assert agent.ask("mtu nowhere").number == 0
    assert agent.ask("names").status == {BR: ""}


def test_uplink_keeps_listening_to_router_advertisements(lab, agent):
    up(agent)
    assert lab.router_out("cat", "/proc/sys/net/ipv6/conf/up0/accept_ra") == "2\n"
    assert lab.router_out("cat", f"/proc/sys/net/ipv6/conf/{BR}/accept_ra") == "0\n"


def test_hwaddr_is_the_same_after_a_boot(lab, agent):
    up(agent)
    before = lab.link_value(BR, "link/ether")
    assert agent.ask("teardown").error is None
    up(agent)
    assert lab.link_value(BR, "link/ether") == before


def test_applying_again_changes_nothing(lab, agent):
    up(agent, WEB1)
    before = lab.links(), lab.rules(), lab.dnsmasq(BR)
    up(agent, WEB1)
    assert (lab.links(), lab.rules(), lab.dnsmasq(BR)) == before


def test_changed_configuration_is_applied_in_place(lab, agent):
    up(agent, WEB1)
    index, pid = lab.links().split(f" {BR}:")[0].split()[-1], lab.dnsmasq(BR)
    lease = ("web1", WEB1[1], "10.99.0.5", "")
    up(agent, lease, ipv4_address="10.99.0.1/24", ipv6_address="none", ipv4_nat="false")
    assert lab.addresses(BR) == ["10.99.0.1/24"]
    assert lab.links().split(f" {BR}:")[0].split()[-1] == index
    assert "masquerade" not in lab.rules()
    assert lab.router_out("cat", f"/proc/sys/net/ipv6/conf/{BR}/disable_ipv6") == "1\n"
    assert lab.dnsmasq(BR) not in (None, pid)
    assert lab.dhcp(lab.guest(BR, WEB1[1]))["ip"] == "10.99.0.5"


def test_network_without_addresses_is_a_bare_bridge(lab, agent):
    assert agent.apply((BR, {}, [])).status == {BR: ""}
    assert lab.addresses(BR) == [] and lab.dnsmasq(BR) is None
    assert BR in lab.links()


# ---------------------------------------------------------------- DHCP and DNS


def test_dhcp_gives_the_leased_address(lab, agent):
    up(agent, WEB1, WEB2)
    told = lab.dhcp(lab.guest(BR, WEB1[1]))
    assert (told["ip"], told["mask"], told["router"], told["dns"]) == ("10.88.0.5", "16", "10.88.0.1", "10.88.0.1")
    assert (told["hostname"], told["domain"], told["mtu"]) == ("web1", "lxmgr", "1500")
    assert lab.dhcp(lab.guest(BR, WEB2[1]))["ip"] == "10.88.0.6"


def test_dhcp_ignores_who_has_no_lease(lab, agent):
    up(agent, WEB1)
    assert lab.dhcp(lab.guest(BR, "02:00:00:00:00:99"), tries=1) == {}


def test_dhcp_can_be_off(lab, agent):
    up(agent, WEB1, ipv4_dhcp="false")
    assert lab.dhcp(lab.guest(BR, WEB1[1]), tries=1) == {}


def test_dns_names(lab, agent):
    up(agent, WEB1, dns_domain="lab.example")
    guest = lab.guest(BR, WEB2[1], "10.88.0.6/16", None, "10.88.0.1")
    assert lab.resolve(guest, "web1.lab.example", "10.88.0.1") == ["10.88.0.5", "fd42:88::5"]
    assert lab.resolve(guest, "10.88.0.5", "10.88.0.1") == ["web1.lab.example"]
    assert lab.resolve(guest, "fd42:88::5", "10.88.0.1") == ["web1.lab.example"]
    assert lab.resolve(guest, "nobody.lab.example", "10.88.0.1") == []


def test_dns_asks_the_machines_own_name_server(lab):
    lab.use_resolver(lab.router, OUTSIDE4)
    upstream = lab.spawn(lab.outside, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv",
                         "--no-hosts", "--pid-file=", "--log-facility=-", "--address=/example.org/192.0.2.80",
                         "--address=/lxmgr/192.0.2.81")
    assert "started" in upstream.stdout.readline()
    agent = lab.agent()
    up(agent, WEB1)
    guest = lab.guest(BR, WEB1[1], "10.88.0.5/16", None, "10.88.0.1")
    assert lab.resolve(guest, "www.example.org", "10.88.0.1") == ["192.0.2.80"]
    assert lab.resolve(guest, "nobody.lxmgr", "10.88.0.1") == []  # its own domain it does not ask about
    agent.close()


def test_leases_come_and_go_without_a_restart(lab, agent):
    up(agent, WEB1)
    pid = lab.dnsmasq(BR)
    guest = lab.guest(BR, WEB2[1])
    assert lab.dhcp(guest, tries=1) == {}
    up(agent, WEB1, WEB2)
    assert wait_for(lambda: lab.dhcp(guest).get("ip")) == "10.88.0.6"
    lab.at(guest, "ip", "addr", "add", "10.88.0.6/16", "dev", "eth0")
    assert lab.resolve(guest, "web1.lxmgr", "10.88.0.1") == ["10.88.0.5", "fd42:88::5"]
    up(agent, WEB2)
    assert wait_for(lambda: lab.resolve(guest, "web1.lxmgr", "10.88.0.1") == [])
    assert lab.dhcp(lab.guest(BR, WEB1[1]), tries=1) == {}
    assert lab.dnsmasq(BR) == pid


def test_address_changes_hands_while_the_old_lease_runs(lab, agent):
    up(agent, WEB1)
    assert lab.dhcp(lab.guest(BR, WEB1[1]))["ip"] == "10.88.0.5"
    up(agent, ("web9", "02:00:00:00:00:09", "10.88.0.5", ""))
    guest = lab.guest(BR, "02:00:00:00:00:09")
    told = lab.dhcp(guest)
    assert (told.get("ip"), told.get("hostname")) == ("10.88.0.5", "web9")


def faults_of_children(pid):
    """Page faults of the programs it has started and that have ended: each has some."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        return int(f.read().rpartition(")")[2].split()[8])


def test_many_leases_are_cheap(lab, agent):
    """No program is started for a lease."""
    up(agent)
    # "ip netns exec" has become the driver.
    pid, leases = agent.process.pid, []
    before, server = faults_of_children(pid), lab.dnsmasq(BR)
    for i in range(50):
        leases.append((f"c{i}", f"02:00:00:00:01:{i:02x}", f"10.88.1.{i + 1}", ""))
        up(agent, *leases)
    for i in range(50):
        leases.pop()
        up(agent, *leases)
    assert faults_of_children(pid) == before and lab.dnsmasq(BR) == server


# ---------------------------------------------------------------- in and out

SERVER = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
s = socket.socket(family)
s.bind((sys.argv[1], 7777))
s.listen()
print("ready", flush=True)
while True:
    c, a = s.accept()
    c.sendall(a[0].encode())
    c.close()
"""
CLIENT = """
import socket, sys
c = socket.create_connection((sys.argv[1], 7777), 3)
print(c.recv(100).decode())
"""
UDP_SEND = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], 0))
s.sendto(sys.argv[1].encode(), (sys.argv[2], 7778))
"""
UDP_RECEIVE = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], 7778))
print("ready", flush=True)
while True:
    print(s.recv(100).decode(), flush=True)
"""


def seen_from(lab, guest, outside):
    """The source address a server outside sees."""
    server = lab.spawn(lab.outside, net.PYTHON, "-c", SERVER, outside)
    assert server.stdout.readline() == "ready\n"
    return lab.at(guest, net.PYTHON, "-c", CLIENT, outside, check=False).stdout.strip()


@pytest.mark.parametrize("v6", [False, True], ids=["ipv4", "ipv6"])
def test_nat_to_the_outside(lab, agent, v6):
    up(agent, WEB1)
    guest = lab.guest(BR, WEB1[1], "10.88.0.5/16", "fd42:88::5/64", "10.88.0.1", "fd42:88::1")
    assert seen_from(lab, guest, OUTSIDE6 if v6 else OUTSIDE4) == (ROUTER6 if v6 else ROUTER4)


def test_without_nat_guests_are_routed_as_they_are(lab, agent):
    up(agent, WEB1, ipv4_nat="false")
    lab.at(lab.outside, "ip", "route", "add", "10.88.0.0/16", "via", ROUTER4)
    guest = lab.guest(BR, WEB1[1], "10.88.0.5/16", None, "10.88.0.1")
    assert seen_from(lab, guest, OUTSIDE4) == "10.88.0.5"


def test_foreign_sources_do_not_leave_the_bridge(lab, agent):
    up(agent, WEB1, ipv4_nat="false")
    lab.at(lab.router, "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", f"net.ipv4.conf.{BR}.rp_filter=0")
    guest = lab.guest(BR, WEB1[1], "10.88.0.5/16", None, "10.88.0.1")
    lab.at(guest, "ip", "addr", "add", "192.0.2.99/32", "dev", "eth0")
    receiver = lab.spawn(lab.outside, net.PYTHON, "-c", UDP_RECEIVE, OUTSIDE4)
    assert receiver.stdout.readline() == "ready\n"
    lab.at(guest, net.PYTHON, "-c", UDP_SEND, "192.0.2.99", OUTSIDE4)
    lab.at(guest, net.PYTHON, "-c", UDP_SEND, "10.88.0.5", OUTSIDE4)
    assert receiver.stdout.readline() == "10.88.0.5\n"


def test_no_open_resolver(lab, agent):
    up(agent, WEB1)
    lab.at(lab.outside, "ip", "route", "add", "10.88.0.0/16", "via", ROUTER4)
    assert lab.resolve(lab.router, "web1.lxmgr", "10.88.0.1") == ["10.88.0.5", "fd42:88::5"]
    assert lab.resolve(lab.outside, "web1.lxmgr", "10.88.0.1") is None


def test_two_networks_side_by_side(lab, agent):
    other = ("lxtbr1", {"ipv4.address": "10.89.0.1/16"}, [("db1", "02:00:00:00:00:07", "10.89.0.7", "")])
    assert agent.apply((BR, CONFIG, [WEB1]), other).status == {BR: "", "lxtbr1": ""}
    assert lab.dhcp(lab.guest(BR, WEB1[1]))["ip"] == "10.88.0.5"
    assert lab.dhcp(lab.guest("lxtbr1", "02:00:00:00:00:07"))["ip"] == "10.89.0.7"
    pid = lab.dnsmasq("lxtbr1")
    up(agent, WEB1)
    assert "lxtbr1" not in lab.links() and "lxtbr1" not in lab.rules()
    assert not net.alive(pid) and not os.path.exists(lab.run + "/network/lxtbr1")


def test_mtu_follows_the_uplink(lab, agent):
    fixed = ("lxtbr1", {"ipv4.address": "10.89.0.1/16", "bridge.mtu": "1300"}, [])
    assert agent.apply((BR, CONFIG, [WEB1]), fixed).status == {BR: "", "lxtbr1": ""}
    guest = lab.guest(BR, WEB1[1])
    lab.at(lab.router, "ip", "link", "set", "up0", "mtu", "1400")
    assert wait_for(lambda: lab.link_value(BR, "mtu") == "1400")
    assert wait_for(lambda: lab.dhcp(guest).get("mtu") == "1400")
    assert lab.link_value("lxtbr1", "mtu") == "1300"
    # Another way out, with an MTU of its own.
    lab.at(lab.router, "ip", "link", "add", "dum0", "mtu", "9000", "type", "bridge")
    lab.at(lab.router, "ip", "link", "set", "dum0", "up")
    lab.at(lab.router, "ip", "route", "replace", "default", "dev", "dum0")
    assert wait_for(lambda: lab.link_value(BR, "mtu") == "9000")


# ---------------------------------------------------------------- restarts and faults


def test_agent_restart_adopts_what_runs(lab):
    first = lab.agent()
    up(first, WEB1)
    before = lab.links(), lab.rules(), lab.dnsmasq(BR)
    first.kill()
    second = lab.agent()
    assert second.ask("load").status == {BR: ""}
    after = lab.links(), lab.rules(), lab.dnsmasq(BR)
    assert after[0] == before[0] and after[2] == before[2]
    assert "masquerade" in after[1]
    assert lab.dhcp(lab.guest(BR, WEB1[1]))["ip"] == "10.88.0.5"
    # An adopted one is looked after as one's own.
    os.kill(before[2], signal.SIGKILL)
    assert wait_for(lambda: lab.dnsmasq(BR) not in (None, before[2]))
    second.close()


def test_clean_exit_leaves_networking_up(lab):
    agent = lab.agent()
    up(agent, WEB1)
    agent.close()
    assert lab.dnsmasq(BR) and "masquerade" in lab.rules()
    assert lab.dhcp(lab.guest(BR, WEB1[1]))["ip"] == "10.88.0.5"


def test_after_a_boot_networks_come_back_without_a_manager(lab):
    agent = lab.agent()
    up(agent, WEB1)
    assert agent.ask("teardown").error is None
    agent.close()
    agent = lab.agent()
    assert agent.ask("load").status == {BR: ""}
    assert lab.dhcp(lab.guest(BR, WEB1[1]))["ip"] == "10.88.0.5"
    agent.close()


def test_killed_in_the_middle(lab):
    """Killed at many moments of a first apply, then loaded: always whole, never two dnsmasqs."""
    for pause in (0, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05):
        agent = lab.agent()
        agent.ask("names")
        agent.send("apply " + agent.write((BR, CONFIG, [WEB1])))
        time.sleep(pause)
        agent.kill()
        agent = lab.agent()
        agent.ask("load")
        up(agent, WEB1)
        assert lab.addresses(BR) == ["10.88.0.1/16", "fd42:88::1/64"]
        listeners = lab.router_out("ss", "-Hlnup", "sport", "=", ":67")
        assert len(re.findall(r"pid=(\d+)", listeners)) == 1, listeners
        assert agent.ask("teardown").error is None
        assert BR not in lab.links() and "lxmgr" not in lab.rules()
        agent.close()


def test_dnsmasq_killed_comes_back(lab, agent):
    up(agent, WEB1)
    for _ in range(3):
        pid = lab.dnsmasq(BR)
        os.kill(pid, signal.SIGKILL)
        assert wait_for(lambda: lab.dnsmasq(BR) not in (None, pid))
    assert lab.dhcp(lab.guest(BR, WEB1[1]))["ip"] == "10.88.0.5"


def test_flushed_rules_come_back(lab, agent):
    up(agent)
    lab.at(lab.router, "nft", "flush", "ruleset")
    assert wait_for(lambda: "masquerade" in lab.rules())


def test_deleted_bridge_comes_back(lab, agent):
    up(agent, WEB1)
    lab.at(lab.router, "ip", "link", "delete", BR)
    assert wait_for(lambda: lab.addresses(BR) == ["10.88.0.1/16", "fd42:88::1/64"])
    assert wait_for(lambda: lab.dhcp(lab.guest(BR, WEB1[1])).get("ip")) == "10.88.0.5"


def test_reused_pid_is_not_mistaken_for_dnsmasq(lab):
    agent = lab.agent()
    up(agent)
    agent.close()
    os.kill(lab.dnsmasq(BR), signal.SIGKILL)
    other = lab.spawn(lab.router, "sleep", "100")
    with open(f"{lab.run}/network/{BR}/dnsmasq.pid", "w") as f:
        f.write(f"{other.pid}\n")
    agent = lab.agent()
    assert agent.ask("load").status == {BR: ""}
    assert lab.dnsmasq(BR) not in (None, other.pid)
    assert agent.ask("teardown").error is None
    assert other.poll() is None
    agent.close()


def test_port_in_use_is_explained(lab, agent):
    taken = lab.spawn(lab.router, net.PYTHON, "-c", """
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 53))
print("ready", flush=True)
time.sleep(100)
""")
    assert taken.stdout.readline() == "ready\n"
    status = agent.apply((BR, CONFIG, [])).status[BR]
    assert "cannot start DNS and DHCP" in status and "in use" in status and "ss -lnup" in status
    taken.kill()
    taken.wait()
    assert wait_for(lambda: lab.dnsmasq(BR), 10)
    up(agent)


def test_other_firewall_is_explained(lab, agent):
    lab.at(lab.router, "nft", "add table ip filter; "
           "add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }")
    status = agent.apply((BR, CONFIG, [])).status[BR]
    assert "FORWARD" in status and f"iptables -I FORWARD -i {BR} -j ACCEPT" in status
    assert agent.apply((BR, CONFIG, [])).status[BR] == status
    lab.at(lab.router, "nft", f'insert rule ip filter FORWARD iifname "{BR}" accept')
    assert agent.apply((BR, CONFIG, [])).status[BR] == ""


def test_damaged_file_is_reported_and_mended(lab, agent):
    up(agent)
    agent.close()
    with open(lab.state + "/networks.pb", "wb") as f:
        f.write(b"\xff\xff\xff")
    agent = lab.agent()
    answer = agent.ask("load")
    assert "DATA_LOSS" in answer.error and "networks.pb is damaged" in answer.error and answer.hint
    up(agent)
    agent.close()


def test_old_revision_is_ignored(lab, agent):
    assert agent.apply((BR, CONFIG, []), revision=7).status == {BR: ""}
    assert agent.apply(revision=6).status == {BR: ""}
    assert BR in lab.links()
    assert agent.apply(revision=8).status == {}
    assert BR not in lab.links()


def test_calls_that_overlap_are_carried_out_in_order(lab, agent):
    requests = [agent.write((BR, CONFIG, [WEB1][:i % 2])) for i in range(10)]
    for path in requests:
        agent.send("apply " + path)
    for path in requests:
        assert agent.answer().status == {BR: ""}
    assert lab.dhcp(lab.guest(BR, WEB1[1]))["ip"] == "10.88.0.5"


@pytest.mark.parametrize("pause", [0, 0.01])
def test_close_answers_who_waits(lab, pause):
    agent = lab.agent()
    agent.ask("names")
    for path in [agent.write((BR, CONFIG, [])) for _ in range(3)]:
        agent.send("apply " + path)
    time.sleep(pause)
    agent.send("close")
    for answer in [agent.answer() for _ in range(3)]:
        assert answer.status == {BR: ""} or answer.error == "CANCELLED: the agent is shutting down"
    assert agent.process.stdout.readline() == "closed\n"
    assert agent.process.wait(timeout=10) == 0


# ---------------------------------------------------------------- refusals


def test_subnet_in_use_is_refused(lab, agent):
    lab.at(lab.router, "ip", "link", "add", "dum0", "type", "bridge")
    lab.at(lab.router, "ip", "link", "set", "dum0", "up")
    lab.at(lab.router, "ip", "addr", "add", "10.88.7.1/24", "dev", "dum0")
    status = agent.apply((BR, CONFIG, [])).status[BR]
    assert "ipv4.address 10.88.0.1/16 overlaps with address 10.88.7.1/24 of interface dum0" in status
    assert BR not in lab.links() and BR not in lab.rules()
    proposal = re.search(rf"lxmgr network set {BR} ipv4.address=(\S+)", status)[1]
    up(agent, ipv4_address=proposal)
    assert ipaddress.ip_interface(proposal).network.is_private


def test_routed_subnet_is_refused(lab, agent):
    lab.at(lab.router, "ip", "route", "add", "10.80.0.0/12", "via", OUTSIDE4)
    status = agent.apply((BR, CONFIG, [])).status[BR]
    assert "overlaps with the machine's route to 10.80.0.0/12 through up0" in status
    lab.at(lab.router, "ip", "-6", "route", "add", "blackhole", "fd42::/16")
    lab.at(lab.router, "ip", "route", "del", "10.80.0.0/12")
    assert "ipv6.address fd42:88::1/64 overlaps" in agent.apply((BR, CONFIG, [])).status[BR]


def test_overlapping_networks_are_refused(lab, agent):
    other = ("lxtbr1", {"ipv4.address": "10.88.3.1/24"}, [])
    answer = agent.apply((BR, CONFIG, []), other)
    assert answer.status[BR] == ""
    assert f"overlaps with 10.88.0.0/16 of network {BR}" in answer.status["lxtbr1"]
    # The one that runs has the older right, whatever the order.
    answer = agent.apply(other, (BR, CONFIG, []))
    assert answer.status[BR] == "" and "overlaps" in answer.status["lxtbr1"]


def test_refused_change_leaves_the_network_running(lab, agent):
    up(agent, WEB1)
    answer = agent.apply((BR, {"ipv4.address": ROUTER4 + "/24"}, [WEB1]))
    assert "overlaps" in answer.status[BR]
    assert lab.addresses(BR) == ["10.88.0.1/16", "fd42:88::1/64"]
    answer = agent.apply((BR, {"ipv4.adress": "10.99.0.1/16"}, [WEB1, WEB2]))
    assert answer.status[BR] == 'unknown configuration key "ipv4.adress". Did you mean ipv4.address?'
    assert lab.dhcp(lab.guest(BR, WEB2[1]))["ip"] == "10.88.0.6"


def test_running_network_survives_a_later_conflict(lab):
    agent = lab.agent()
    up(agent, WEB1)
    lab.at(lab.router, "ip", "route", "add", "10.80.0.0/12", "via", OUTSIDE4)
    agent.close()
    agent = lab.agent()
    assert agent.ask("load").status == {BR: ""}
    agent.close()


def test_foreign_interface_is_refused_and_left_alone(lab, agent):
    lab.at(lab.router, "ip", "link", "add", BR, "type", "bridge")
    before = lab.links()
    status = agent.apply((BR, CONFIG, [])).status[BR]
    assert f"interface {BR} exists and was not made by lxmgr (bridge)" in status
    assert agent.apply(("up0", CONFIG, [])).status["up0"].startswith("interface up0 exists")
    assert agent.ask("teardown").error is None
    assert lab.links() == before and "lxmgr" not in lab.rules()


@pytest.mark.parametrize("name, config, why", [
    ("averylongname123", {}, "at most 15 characters"),
    ("", {}, "invalid network name"),
    ("Bad_Name", {}, "invalid network name"),
    ("../../etc", {}, "invalid network name"),
    ("x; reboot", {}, "invalid network name"),
    (BR, {"ipv4.address": "garbage"}, 'ipv4.address: "garbage" is not an IPv4 address'),
    (BR, {"ipv4.address": "10.88.0.1"}, "with a prefix length"),
    (BR, {"ipv4.address": "10.88.0.1/33"}, "with a prefix length"),
    (BR, {"ipv4.address": "10.88.0.1/31"}, "outside 8 to 30"),
    (BR, {"ipv4.address": "10.88.0.1/-1"}, "with a prefix length"),
    (BR, {"ipv4.address": "10.88.0.0/16"}, "the address of the subnet itself"),
    (BR, {"ipv4.address": "10.88.255.255/16"}, "broadcast"),
    (BR, {"ipv4.address": "127.0.0.1/8"}, "loopback"),
    (BR, {"ipv4.address": "fd42::1/64"}, "is not an IPv4 address"),
    (BR, {"ipv6.address": "10.88.0.1/16"}, "is not an IPv6 address"),
    (BR, {"ipv6.address": "fe80::1/64"}, "link-local"),
    (BR, {"ipv4.nat": "maybe"}, "neither true nor false"),
    (BR, {"bridge.mtu": "99"}, "bridge.mtu"),
    (BR, {"bridge.mtu": "1000", "ipv6.address": "fd42::1/64"}, "at least 1280"),
    (BR, {"dns.domain": "-x"}, "not a domain name"),
    (BR, {"dns.domain": "a..b"}, "not a domain name"),
    (BR, {"dns.domain": "x/\nserver=/x/10.0.0.1"}, "not a domain name"),
    (BR, {"dns.domain": "a" * 64}, "not a domain name"),
    (BR, {"raw.dnsmasq": "x"}, 'unknown configuration key "raw.dnsmasq"'),
])
def test_bad_input_is_refused(lab, agent, name, config, why):
    answer = agent.apply((name, config, []))
    assert answer.error is None and why in answer.status[name]
    assert BR not in lab.links() and "lxmgr" not in lab.rules()


@pytest.mark.parametrize("lease, why", [
    (("web2", "02:00:00:00:00:06", "10.99.0.6", ""), "outside the network's 10.88.0.0/16"),
    (("web2", "02:00:00:00:00:06", "10.88.0.1", ""), "the bridge's own address"),
    (("web2", "02:00:00:00:00:06", "10.88.0.0", ""), "the subnet itself"),
    (("web2", "02:00:00:00:00:06", "10.88.0.5", ""), "10.88.0.5 is already leased to web1"),
    (("web2", "02:00:00:00:00:05", "10.88.0.6", ""), "02:00:00:00:00:05 is already leased to web1"),
    (("web2", "02:00:00:00:00", "10.88.0.6", ""), "not the hardware address"),
    (("web2", "03:00:00:00:00:06", "10.88.0.6", ""), "not the hardware address"),
    (("web\n2", "02:00:00:00:00:06", "10.88.0.6", ""), "invalid instance name"),
    (("web2", "02:00:00:00:00:06", "10.88.0.6,x", ""), "not an IPv4 address"),
])
def test_bad_lease_is_named_and_the_others_count(lab, agent, lease, why):
    status = agent.apply((BR, CONFIG, [WEB1, lease])).status[BR]
    assert why in status
    assert lab.dhcp(lab.guest(BR, WEB1[1]))["ip"] == "10.88.0.5"


def test_network_listed_twice(lab, agent):
    assert "listed twice" in agent.apply((BR, CONFIG, []), (BR, CONFIG, [])).status[BR]


def test_too_many_networks(lab, agent):
    answer = agent.apply(*[(f"b{i}", {}, []) for i in range(65)])
    assert "RESOURCE_EXHAUSTED" in answer.error and "65 networks" in answer.error
    assert " b0:" not in lab.links()


def test_full_disk_changes_nothing(lab, agent):
    up(agent, WEB1)
    agent.close()
    net.run("mount", "-t", "tmpfs", "-o", "size=4k", "none", lab.state)
    try:
        agent = lab.agent()
        with open(lab.state + "/filler", "wb") as f:
            with pytest.raises(OSError):
                f.write(b"x" * 65536)
                f.flush()
            answer = agent.apply((BR, CONFIG, [WEB1, WEB2]))
        assert "RESOURCE_EXHAUSTED" in answer.error and answer.hint
        agent.close()
    finally:
        net.run("umount", lab.state)


# ---------------------------------------------------------------- the end


def test_teardown_leaves_nothing(lab):
    links, rules = lab.links(), lab.rules()
    agent = lab.agent()
    assert agent.apply((BR, CONFIG, [WEB1]), ("lxtbr1", {"ipv4.address": "10.89.0.1/24"}, [])).error is None
    pids = [lab.dnsmasq(BR), lab.dnsmasq("lxtbr1")]
    agent.kill()
    cleaner = lab.agent()  # loads nothing
    assert cleaner.ask("teardown").error is None
    cleaner.close()
    assert lab.links() == links and lab.rules() == rules
    assert not any(net.alive(pid) for pid in pids)
    assert os.listdir(lab.run + "/network") == []
    assert os.path.exists(lab.state + "/networks.pb")


def test_teardown_of_nothing(lab, agent):
    assert agent.ask("teardown").error is None
