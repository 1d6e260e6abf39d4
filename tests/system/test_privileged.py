"""Instances without a user namespace: that they work as others do, that the fact is on record, and what they refuse.

What one of them tries on its machine is in test_attack_privileged.py.
"""

import json
import os
import sys
import uuid

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "testbed"))
import moving  # noqa: E402
import testbed  # noqa: E402
from instance.devicelab import disk, inside, make_private, read, refused, write  # noqa: E402
from machine import wait_for  # noqa: E402
from manager.accesslab import Client  # noqa: E402

PRIVILEGED = ["-p", "default", "-p", "privileged"]


def owner(cluster, name, path, i=0):
    """On the machine, of a file that was made in the guest."""
    st = os.lstat(os.path.join(cluster.agents[i].dir, "instances", name, "upper", path))
    return st.st_uid, st.st_gid


def test_it_lives_as_others_do(cluster):
    """Commands, files, restarts of all kinds; what it owns the machine's own ids own."""
    cluster.ok("launch", "busybox", "c1", *PRIVILEGED, "-c", "environment.WORD=hi")
    inside(cluster, "c1", "echo $WORD > /root/mine; touch /root/tens; chown 10:11 /root/tens")
    assert (owner(cluster, "c1", "root/mine"), owner(cluster, "c1", "root/tens")) == ((0, 0), (10, 11))
    local = os.path.join(cluster.dir, "local")
    write(local, "pushed\n")
    cluster.ok("file", "push", local, "c1/srv/deep/file", "--create-dirs", "--uid", "10")
    assert inside(cluster, "c1", "cat /srv/deep/file; stat -c %u /srv/deep/file").split() == ["pushed", "10"]
    cluster.ok("file", "pull", "c1/root/mine", f"{local}-2")
    assert read(f"{local}-2") == "hi\n"

    def check():
        assert inside(cluster, "c1", "cat /root/mine; cat /proc/self/uid_map | tr -s ' '") == "hi\n 0 0 4294967295\n"
        assert inside(cluster, "c1", "ip -4 addr show eth0 | grep -c inet").strip() == "1"

    check()
    cluster.ok("restart", "c1", "--force")
    check()
    cluster.restart("agent")
    cluster.wait_online()
    check()
    cluster.ok("exec", "c1", "--", "reboot")
    wait_for(lambda: cluster.exec("c1", "test", "-e", "/root/mine").returncode == 0, 30, 0.1)
    wait_for(lambda: cluster.status("c1") == "RUNNING", 30, 0.1)
    check()
    cluster.ok("freeze", "c1")
    cluster.ok("unfreeze", "c1")
    cluster.ok("config", "set", "c1", "limits.memory=96MiB")
    check()
    cluster.ok("stop", "c1", "--force")
    cluster.ok("start", "c1")
    check()
    cluster.ok("delete", "c1", "--force")
    cluster.wait_clean()


def test_what_is_seen_of_it(cluster):
    cluster.ok("launch", "busybox", "c1", *PRIVILEGED)
    cluster.ok("launch", "busybox", "c2", "-c", "security.privileged=true")
    cluster.ok("launch", "busybox", "c3")
    for name, word in (("c1", True), ("c2", True), ("c3", False)):
        text = cluster.ok("info", name)
        assert ("Privileged: yes" in text, "Host ids:" in text) == (word, not word)
    assert "security.privileged: true  (profile privileged)" in cluster.ok("info", "c1")
    entries = json.loads(cluster.ok("audit", "--format", "json", "--method", "Create"))
    newest = {e["subject"]: e["request"].startswith("PRIVILEGED ") for e in reversed(entries)}
    assert [newest[name] for name in ("c1", "c2", "c3")] == [True, True, False]
    built_in = json.loads(cluster.ok("profile", "list", "--format", "json"))
    assert next(p for p in built_in if p["name"] == "privileged")["builtin"]


def test_whose_it_is_to_give(cluster):
    """Operators and admins make them; viewers do not, and no way of theirs leads to one."""
    viewer = Client(cluster, f"v-{uuid.uuid4().hex[:6]}", "viewer")
    operator = Client(cluster, f"o-{uuid.uuid4().hex[:6]}", "operator")
    try:
        for command in (["launch", "busybox", "c1", *PRIVILEGED], ["profile", "create", "mine", "security.privileged=true"],
                        ["profile", "copy", "privileged", "mine"]):
            done = viewer.cli(*command)
            assert done.returncode == 1 and "needs the role operator" in done.stderr, done.stderr
        done = operator.cli("launch", "busybox", "c1", *PRIVILEGED)
        assert done.returncode == 0, done.stderr
        entry = json.loads(cluster.ok("audit", "--format", "json", "--method", "Create"))[0]
        assert entry["identity"] == operator.name and entry["request"].startswith("PRIVILEGED "), entry
    finally:
        cluster.remove_instances()
        cluster.ok("identity", "delete", viewer.name)
        cluster.ok("identity", "delete", operator.name)


def test_it_stays_what_it_was_made(cluster):
    """Its files belong to ids; a change by whatever way is refused before anything is stored."""
    cluster.ok("profile", "create", "mine")
    cluster.ok("launch", "busybox", "c1", "-p", "default", "-p", "mine")
    cluster.ok("launch", "busybox", "c2", *PRIVILEGED)
    try:
        for command in (["config", "set", "c1", "security.privileged=true"], ["profile", "set", "mine", "security.privileged=yes"],
                        ["profile", "add", "c1", "privileged"]):
            refused(cluster.cli(*command), "c1 was made unprivileged and stays so", "-p default -p privileged", "lxmgr file pull")
        for command in (["config", "set", "c2", "security.privileged=false"], ["profile", "remove", "c2", "privileged"]):
            refused(cluster.cli(*command), "c2 was made privileged and stays so", "lxmgr file pull")
        assert "security.privileged" not in cluster.ok("profile", "show", "mine") + cluster.ok("config", "show", "c1")
        cluster.ok("config", "set", "c2", "security.privileged=true")  # no change
        cluster.ok("profile", "remove", "c2", "privileged")
        cluster.ok("restart", "c1", "c2", "--force")
        assert inside(cluster, "c2", "cat /proc/self/uid_map").split()[1] == "0"
        refused(cluster.cli("launch", "busybox", "c3", *PRIVILEGED, "-p", "nesting"), "do not go together", "Leave one of them away")
        assert "true, false" in cluster.cli("launch", "busybox", "c3", "-c", "security.privileged=perhaps").stderr.replace(" or", ",")
    finally:
        cluster.remove_instances()
        cluster.ok("profile", "delete", "mine")


@pytest.mark.limit(200)
def test_moves(able):
    """Live it does not go, and that is said before; with a stop it does, owners, devices and all."""
    with testbed.Cluster("privmove", nodes=2) as two:
        try:
            for i in range(2):
                testbed.ensure_image(two, "busybox", node=i)
        except testbed.Unavailable as e:
            pytest.skip(str(e))
        private, here, there = make_private(two), two.node_names[0], two.node_names[1]
        two.ok("launch", "busybox", "c1", "--target", here, *PRIVILEGED, *disk("data", private, "/data"))
        inside(two, "c1", "echo hi > /data/x; touch /root/tens; chown 10:11 /root/tens; chmod 4711 /root/tens; echo $$ > /tmp/pid")
        inside(two, "c1", "mknod /root/null c 1 3; ln /root/tens /root/other; rm -r /srv")
        pid = two.instance("c1").pid
        for command in (["move", "c1", "--target", there], ["move", "c1", "--target", there, "--check"]):
            done = two.cli(*command)
            assert done.returncode != 0 and "c1 is privileged" in done.stdout + done.stderr, done
        assert "--live=off" in done.stdout
        assert two.instance("c1").node == here and two.instance("c1").pid == pid and two.status("c1") == "RUNNING"
        for i, target in ((1, there), (0, here)):
            two.ok("move", "c1", "--target", target, "--live=off")
            assert two.instance("c1").node == target and inside(two, "c1", "cat /data/x") == "hi\n"
            assert inside(two, "c1", "stat -c %u:%g:%a:%h /root/tens; stat -c %F:%t:%T /root/null; ls -d /srv || :").splitlines() == [
                "10:11:4711:2", "character special file:1:3"]
            assert owner(two, "c1", "root/tens", i) == (10, 11)
        two.ok("delete", "c1", "--force")
        moving.wait_clean(two)


@pytest.mark.limit(300)
def test_a_whole_debian(debian):
    debian.ok("launch", "debian/12", "c1", *PRIVILEGED)
    assert debian.booted("c1") == "running", debian.exec("c1", "systemctl", "--failed", "--no-pager").stdout
    assert inside(debian, "c1", "cat /proc/1/comm").strip() == "systemd"
    assert inside(debian, "c1", "su nobody -s /bin/sh -c 'id -u'").strip() == "65534"
    assert inside(debian, "c1", "ip -4 -o addr show eth0 | wc -l; ip -6 -o addr show eth0 scope global | wc -l").split() == ["1", "1"]
    assert inside(debian, "c1", "ip route show default | cut -d' ' -f1").strip() == "default"
    debian.ok("stop", "c1")
