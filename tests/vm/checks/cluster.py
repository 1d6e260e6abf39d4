"""The machines as nodes: what they say about themselves, and that instances run on both."""


import time

from lab import SLOW


def facts_of(lab, name):
    """With what CRIU says of itself: the agent asks it when it has started, which takes a while."""
    end = time.monotonic() + SLOW
    while True:
        facts = lab.json("node", "show", name)
        if facts["features"].get("soft-dirty") or time.monotonic() > end:
            return facts
        time.sleep(2)


def check_facts(lab):
    """Nodes report Debian's kernel, pure cgroup v2, AppArmor, and a CRIU that tracks dirty memory"""
    for name, m in lab.by_name.items():
        facts = facts_of(lab, name)
        assert facts["kernel"] == m.ok("uname", "-r").strip(), facts
        assert facts["cgroup_layout"] == "v2", facts
        assert facts["lsm"] == "apparmor", facts
        m.until("sh", "-c", "lxmgr_criu=/usr/local/libexec/lxmgr/criu/sbin/criu; $lxmgr_criu check --feature mem_dirty_track")
        assert facts["criu_version"], facts
        assert facts["features"]["soft-dirty"] == "yes", facts
        assert not any("AppArmor" in w for w in facts.get("warnings", [])), facts


def check_images(lab):
    """An image is imported once, and fetched by the other node when it launches from it"""
    lab.lxmgr("image", "import", lab.file("busybox.tar.zst"), "--alias", "busybox", "--target", "vm1")
    for node in lab.by_name:
        lab.lxmgr("launch", "busybox", f"first-{node}", "--target", node)
    for node in lab.by_name:
        assert lab.inside(f"first-{node}", "hostname").strip() == f"first-{node}"
        lab.home(f"first-{node}")


def check_network(lab):
    """Instances on different nodes reach each other; both nodes' filters hold all their rules"""
    address = lab.instance("first-vm2")["ipv4"]
    lab.machines[0].until("lxmgr", "exec", "first-vm1", "--", "ping", "-c", "1", "-W", "5", address, seconds=60)
    for m in lab.machines:
        assert "goto v6_icmp" in m.ok("nft", "list", "chain", "bridge", "lxguard_lxbr0", "v6_from")


def check_stop_and_start(lab):
    """Stop, start, restart and delete leave no control group behind"""
    for verb in ("stop", "start", "restart"):
        lab.lxmgr(verb, "first-vm1")
    lab.home("first-vm1")
    lab.delete("first-vm1", "first-vm2")
    for m in lab.machines:
        left = m.ok("find", "/sys/fs/cgroup/lxmgr", "-mindepth", "1", "-maxdepth", "1", "-name", "first-*").split()
        assert not left, left
