"""Whom the kernel takes when memory runs out: guests as anything else, daemons and who moves a guest last."""

from lab import CGROUPS

NAME = "taken"


def spared(m, pids):
    return {int(m.ok("cat", f"/proc/{pid}/oom_score_adj")) for pid in pids}


def payload(lab):
    m = lab.home(NAME)
    pids = m.ok("sh", "-c", f"find {CGROUPS}/{NAME}/payload -name cgroup.procs -exec cat {{}} + | sort -un").split()
    assert pids
    return spared(m, pids)


def check_guests_are_not(lab):
    """Started, entered, restarted inside and moved: no process of a guest has what its agent has"""
    for m in lab.machines:
        assert spared(m, [m.ok("systemctl", "show", "-P", "MainPID", "lxagentd").strip()]) == {-900}
    lab.lxmgr("launch", "busybox", NAME, "--target", "vm1")
    assert payload(lab) == {0}
    # Nor can its root have it back.
    script = "cat /proc/self/oom_score_adj; echo -1 >/proc/self/oom_score_adj 2>/dev/null && echo lowered; true"
    assert lab.inside(NAME, "sh", "-c", script) == "0\n"
    lab.inside(NAME, "sh", "-c", "(echo 300 >/proc/self/oom_score_adj; exec setsid sleep 100000) </dev/null >/dev/null 2>&1 &")
    assert payload(lab) == {0, 300}
    for _ in range(2):
        lab.move(NAME)
        assert payload(lab) == {0, 300}
    assert lab.inside(NAME, "sh", "-c", script) == "0\n"
    lab.delete(NAME)
