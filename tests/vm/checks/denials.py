"""What AppArmor and the filter of system calls keep from instances is seen, and rules come out of it."""

import time

from lab import SLOW, Failed

NAME = "watched"
PASSWD = "audit deny /etc/passwd r,"


def denials(lab, kind):
    return [d for d in lab.json("warning", "denials", NAME) if d["kind"] == kind]


def wait_seen(lab, kind, wanted):
    """Until one of a kind is as it is wanted."""
    until = time.monotonic() + SLOW
    while time.monotonic() < until:
        found = [d for d in denials(lab, kind) if wanted(d)]
        if found:
            return found[0]
        time.sleep(1)
    raise Failed(f"nothing like it was seen among {denials(lab, kind)}")


def check_enforced(lab):
    """What AppArmor denies is told with operation, path and program"""
    lab.lxmgr("launch", "busybox", NAME, "--target", "vm1", "-c", "security.apparmor=enforce", "-c",
              f"raw.apparmor={PASSWD}", "-c", "security.syscalls.log=true", "-c", "security.syscalls.deny=bpf")
    assert lab.run("exec", NAME, "--", "cat", "/etc/passwd").code != 0
    seen = wait_seen(lab, "apparmor", lambda d: d["path"] == "/etc/passwd")
    assert (seen["operation"], seen["mask"], seen["program"], seen["allowed"]) == ("open", "r", "cat", False), seen
    [warning] = [w for w in lab.json("warning", "list", "--instance", NAME) if w["type"] == "apparmor-denied"]
    assert warning["node"] == "vm1" and "/etc/passwd" in warning["message"], warning
    assert lab.json("info", NAME)["denials"]["apparmor-denied"] >= 1


def check_complain(lab):
    """In complain mode it is told of and let pass, and becomes a rule that compiles"""
    lab.lxmgr("config", "set", NAME, "security.apparmor=complain")
    lab.lxmgr("restart", "--force", NAME)
    lab.lxmgr("warning", "forget", NAME)
    lab.inside(NAME, "cat", "/etc/passwd")
    lab.inside(NAME, "sh", "-c", "cat /etc/passwd /proc/self/mounts >/dev/null")
    assert wait_seen(lab, "apparmor", lambda d: d["path"] == "/etc/passwd")["allowed"]
    # What lxmgr's own rules deny stays denied in this mode.
    assert lab.run("exec", NAME, "--", "sh", "-c", "echo x > /proc/sysrq-trigger").code != 0
    text = lab.lxmgr("profile", "suggest", NAME, "--apply")
    assert '"/etc/passwd" r,  #' in text, text
    rules = lab.lxmgr("config", "get", NAME, "raw.apparmor")
    assert rules.splitlines() == [PASSWD, '"/etc/passwd" r,'], rules


def check_moves(lab):
    """What was seen goes along with a live move, and a filter that CRIU has brought back still tells"""
    # What enters the guest reads that file as well.
    before = lab.json("info", NAME)["denials"]["apparmor-allowed"]
    lab.lxmgr("file", "push", lab.file("confined"), f"{NAME}/root/confined", "--mode", "0755")
    lab.inside(NAME, "sh", "-c", "cd /root; setsid ./confined when /root/go bpf >/root/said 2>&1 </dev/null &")
    lab.move(NAME)
    assert lab.json("info", NAME)["denials"]["apparmor-allowed"] >= before
    lab.inside(NAME, "touch", "/root/go")
    assert wait_seen(lab, "syscall", lambda d: d["operation"] == "bpf")["program"] == "confined"
    lab.delete(NAME)
    if any(w["name"] == NAME for w in lab.json("warning", "list", "--all")):
        raise Failed("warnings of an instance outlive it")
