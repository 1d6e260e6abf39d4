"""An instance's life through the command line: made, seen, entered, stopped, deleted."""

import json
import os
import re
import signal
import stat
import subprocess
import time

import pytest

from machine import alive, wait_for

LIST_FIELDS = {"name", "status", "node", "image", "ipv4", "ipv6", "profiles", "created_at", "pid", "memory", "processes"}


class Events:
    """`lxmgr events` running beside a test."""

    def __init__(self, cluster, *types):
        self.seen = []
        args = [a for t in types for a in ("--type", t)]
        self.process = cluster.popen("events", "--format", "json", *args, stdout=subprocess.PIPE)
        os.set_blocking(self.process.stdout.fileno(), False)
        time.sleep(0.3)  # until it is subscribed

    def read(self):
        self.seen += [json.loads(line) for line in self.process.stdout]
        return self.seen

    def wait(self, action, subject, seconds=5):
        def there():
            return any(e["action"] == action and e["subject"] == subject for e in self.read())

        wait_for(there, seconds, 0.02, f"event {action} of {subject}")

    def close(self):
        self.process.terminate()
        self.process.wait(5)


@pytest.fixture
def events(cluster):
    watching = Events(cluster, "lifecycle")
    yield watching
    watching.close()


def test_launch_list_delete(cluster):
    cluster.ok("launch", "busybox", "c1")
    listed = cluster.list()["c1"]
    assert LIST_FIELDS <= set(listed)
    assert listed["status"] == "RUNNING"
    assert (listed["node"], listed["image"], listed["profiles"]) == (cluster.node, "busybox", ["default"])
    assert listed["ipv4"].startswith("10.") and ":" in listed["ipv6"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", listed["created_at"])
    assert alive(listed["pid"])
    assert cluster.instance_leftovers(but=["c1"]) == []
    assert cluster.instance_leftovers(), "the check for leftovers must see what runs"

    cluster.ok("delete", "--force", "c1")
    assert cluster.list() == {}
    assert not alive(listed["pid"])
    cluster.wait_clean()


def test_usage_is_reported(cluster):
    cluster.ok("launch", "busybox", "c1")

    def used():
        listed = cluster.list()["c1"]
        return listed["memory"] > 0 and listed["processes"] > 0 and listed["cpu_ns"] > 0

    wait_for(used, 15, 0.1, "memory and processes in the list")


def test_name_is_picked(cluster):
    name = cluster.ok("launch", "busybox", "-q").strip()
    assert list(cluster.list()) == [name]


def test_create_does_not_start(cluster):
    cluster.ok("create", "busybox", "c1")
    listed = cluster.list()["c1"]
    assert (listed["status"], listed["pid"]) == ("STOPPED", 0)
    cluster.ok("start", "c1")
    assert cluster.list()["c1"]["status"] == "RUNNING"


def test_stop_and_start_keep_files(cluster):
    cluster.ok("launch", "busybox", "c1")
    before = cluster.list()["c1"]
    assert cluster.exec("c1", "sh", "-c", "echo kept > /root/note").returncode == 0
    cluster.ok("stop", "c1", "--timeout", "30")
    assert cluster.list()["c1"]["status"] == "STOPPED"
    assert not alive(before["pid"])
    cluster.ok("start", "c1")
    after = cluster.list()["c1"]
    assert after["ipv4"] == before["ipv4"] and after["pid"] != before["pid"]
    assert cluster.exec("c1", "cat", "/root/note").stdout == "kept\n"


def test_stop_by_force(cluster):
    cluster.ok("launch", "busybox", "c1")
    cluster.ok("stop", "--force", "c1")
    assert cluster.list()["c1"]["status"] == "STOPPED"


def test_restart(cluster):
    cluster.ok("launch", "busybox", "c1")
    before = cluster.list()["c1"]["pid"]
    cluster.ok("restart", "c1", "--timeout", "30")
    middle = cluster.list()["c1"]["pid"]
    cluster.ok("restart", "--force", "c1")
    assert len({before, middle, cluster.list()["c1"]["pid"]}) == 3
    assert cluster.status("c1") == "RUNNING"


def test_freeze_stops_time(cluster):
    cluster.ok("launch", "busybox", "c1")
    cluster.exec("c1", "sh", "-c", "(while :; do date +%s%N > /root/now; sleep 0.02; done) > /dev/null 2>&1 &")
    clock = os.path.join(cluster.agent_dir, "instances", "c1", "upper", "root", "now")
    wait_for(lambda: os.path.exists(clock), 5)

    def ticks():
        was = os.stat(clock).st_mtime_ns
        time.sleep(0.3)
        return os.stat(clock).st_mtime_ns != was

    assert ticks()
    pid = cluster.list()["c1"]["pid"]
    cluster.ok("freeze", "c1")
    assert cluster.list()["c1"]["status"] == "FROZEN"
    assert not ticks()
    cluster.ok("unfreeze", "c1")
    assert cluster.list()["c1"]["status"] == "RUNNING"
    assert ticks()
    assert cluster.list()["c1"]["pid"] == pid


def test_delete_frozen(cluster):
    cluster.ok("launch", "busybox", "c1")
    cluster.ok("freeze", "c1")
    cluster.ok("delete", "--force", "c1")
    cluster.wait_clean()


def test_shutdown_from_inside_is_seen(cluster, events):
    cluster.ok("launch", "busybox", "c1")
    cluster.exec("c1", "poweroff")
    events.wait("instance-stopped", "c1", 15)
    assert cluster.list()["c1"]["status"] == "STOPPED"
    cluster.wait_clean(but=["c1"])


def test_killed_guest_is_seen_at_once(cluster, events):
    """By notification: the list says so as soon as the event is there."""
    cluster.ok("launch", "busybox", "c1")
    os.kill(cluster.list()["c1"]["pid"], signal.SIGKILL)
    events.wait("instance-stopped", "c1", 5)
    assert cluster.list()["c1"]["status"] == "STOPPED"


def test_events_of_a_life(cluster, events):
    cluster.ok("launch", "busybox", "c1")
    cluster.ok("freeze", "c1")
    cluster.ok("unfreeze", "c1")
    cluster.ok("stop", "--force", "c1")
    cluster.ok("delete", "c1")
    for action in ("instance-created", "instance-started", "instance-frozen", "instance-resumed", "instance-stopped",
                   "instance-deleted"):
        events.wait(action, "c1")
    assert all({"time", "type", "action", "subject"} <= set(e) for e in events.seen), events.seen[0]


def test_many_in_one_command(cluster):
    names = [f"c{i}" for i in range(4)]
    for name in names:
        cluster.ok("create", "busybox", name)
    cluster.ok("start", *names)
    assert {i["status"] for i in cluster.list().values()} == {"RUNNING"}
    cluster.ok("stop", "--force", "--all")
    assert {i["status"] for i in cluster.list().values()} == {"STOPPED"}
    cluster.ok("delete", *names)
    assert cluster.list() == {}


def test_in_parallel(cluster):
    """Launches do not wait for each other, and none takes another's address or name."""
    running = [cluster.popen("launch", "busybox", f"c{i}", "-q") for i in range(12)]
    assert [p.wait(60) for p in running] == [0] * 12
    listed = cluster.list()
    assert len({i["ipv4"] for i in listed.values()}) == 12
    assert len({i.idmap_base for i in cluster.instances()}) == 12
    running = [cluster.popen("delete", "--force", f"c{i}", "-q") for i in range(12)]
    assert [p.wait(60) for p in running] == [0] * 12
    cluster.wait_clean()


def test_own_ids_and_no_privileges(cluster):
    cluster.ok("launch", "busybox", "c1")
    pid = cluster.list()["c1"]["pid"]
    base = cluster.instance("c1").idmap_base
    with open(f"/proc/{pid}/uid_map", encoding="ascii") as f:
        assert f.read().split() == ["0", str(base), "65536"]
    assert os.stat(f"/proc/{pid}").st_uid == base


# ---------------------------------------------------------------- exec


def test_exec_streams_and_codes(cluster):
    cluster.ok("launch", "busybox", "c1")
    done = cluster.exec("c1", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert cluster.exec("c1", "true").returncode == 0
    assert cluster.exec("c1", "sh", "-c", "kill -9 $$").returncode == 128 + 9
    assert cluster.exec("c1", "no-such-program").returncode == 127
    assert cluster.exec("c1", "/etc/hostname").returncode == 126


def test_exec_stdin_is_passed_and_ends(cluster):
    cluster.ok("launch", "busybox", "c1")
    data = os.urandom(3_000_000)
    done = cluster.exec("c1", "cat", input=data, text=False)
    assert done.returncode == 0 and done.stdout == data
    assert cluster.exec("c1", "wc", "-c", input="").stdout.strip() == "0"


def test_exec_surroundings(cluster):
    cluster.ok("launch", "busybox", "c1")
    say = 'echo "$GREETING $PWD $(id -u):$(id -g) $HOME"'
    done = cluster.cli("exec", "c1", "--env", "GREETING=hi", "--cwd", "/tmp", "--user", "1000:1001", "--", "sh", "-c", say)
    assert done.stdout.split()[:3] == ["hi", "/tmp", "1000:1001"], done
    assert cluster.exec("c1", "sh", "-c", "cat /proc/1/comm; hostname").stdout.split() == ["init", "c1"]
    leaked = cluster.exec("c1", "env").stdout
    assert "LXMGR" not in leaked, leaked


def test_exec_with_terminal(cluster):
    cluster.ok("launch", "busybox", "c1")
    done = cluster.cli("exec", "c1", "-t", "--", "sh", "-c", "test -t 0 && test -t 1 && tty; echo err >&2; exit 3")
    assert done.returncode == 3
    assert "/dev/pts/" in done.stdout and "err" in done.stdout


def test_exec_signal_is_passed_on(cluster):
    cluster.ok("launch", "busybox", "c1")
    running = cluster.popen("exec", "c1", "--", "sh", "-c", "trap 'exit 42' TERM; echo ready; while :; do sleep 0.1; done",
                            stdout=subprocess.PIPE)
    assert running.stdout.readline() == "ready\n"
    running.send_signal(signal.SIGTERM)
    assert running.wait(10) == 42


def test_exec_ends_with_the_client(cluster):
    """A command whose client is killed does not stay behind."""
    cluster.ok("launch", "busybox", "c1")
    running = cluster.popen("exec", "c1", "--", "sleep", "777", stdout=subprocess.PIPE)
    wait_for(lambda: cluster.exec("c1", "pidof", "sleep").returncode == 0, 5)
    running.kill()
    running.wait()
    wait_for(lambda: cluster.exec("c1", "pidof", "sleep").returncode != 0, 10, 0.1, "the end of sleep")


def test_exec_in_parallel(cluster):
    cluster.ok("launch", "busybox", "c1")
    running = [cluster.popen("exec", "c1", "--", "echo", str(i), stdout=subprocess.PIPE) for i in range(20)]
    assert [p.communicate(timeout=30)[0] for p in running] == [f"{i}\n" for i in range(20)]


# ---------------------------------------------------------------- files


def make_tree(top):
    (top / "sub" / "deeper").mkdir(parents=True)
    (top / "sub" / "script").write_text("#!/bin/sh\necho it runs\n")
    os.chmod(top / "sub" / "script", 0o750)
    (top / "sub" / "deeper" / "data").write_bytes(os.urandom(300_000))
    os.chown(top / "sub" / "deeper" / "data", 33, 44)
    os.symlink("script", top / "sub" / "link")
    (top / "empty").write_bytes(b"")
    os.chmod(top / "sub" / "deeper", 0o700)


def describe(top):
    found = {}
    for where, dirs, files in os.walk(top):
        for name in dirs + files:
            path = os.path.join(where, name)
            st = os.lstat(path)
            link = stat.S_ISLNK(st.st_mode)
            content = os.readlink(path) if link else open(path, "rb").read() if stat.S_ISREG(st.st_mode) else None
            found[os.path.relpath(path, top)] = (0 if link else st.st_mode, st.st_uid, st.st_gid, content)
    return found


def test_push_and_pull_a_file(cluster, tmp_path):
    cluster.ok("launch", "busybox", "c1")
    (tmp_path / "a").write_text("hello\n")
    os.chmod(tmp_path / "a", 0o640)
    cluster.ok("file", "push", str(tmp_path / "a"), "c1/root/a")
    assert cluster.exec("c1", "stat", "-c", "%a %u:%g", "/root/a").stdout == "640 0:0\n"
    cluster.ok("file", "push", "--mode", "0600", "--uid", "5", "--gid", "6", str(tmp_path / "a"), "c1/root/b")
    assert cluster.exec("c1", "stat", "-c", "%a %u:%g", "/root/b").stdout == "600 5:6\n"
    cluster.ok("file", "pull", "c1/root/a", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "hello\n"
    assert cluster.ok("file", "pull", "c1/root/a", "-") == "hello\n"
    cluster.ok("file", "push", "-p", "-", "c1/made/on/the/way", input="piped")
    assert cluster.exec("c1", "cat", "/made/on/the/way").stdout == "piped"


def test_trees_keep_modes_and_owners(cluster, tmp_path):
    cluster.ok("launch", "busybox", "c1")
    (tmp_path / "tree").mkdir()
    make_tree(tmp_path / "tree")
    cluster.ok("file", "push", "-r", str(tmp_path / "tree"), "c1/root/")
    assert cluster.exec("c1", "/root/tree/sub/script").stdout == "it runs\n"
    assert cluster.exec("c1", "stat", "-c", "%u:%g", "/root/tree/sub/deeper/data").stdout == "33:44\n"
    cluster.ok("file", "pull", "-r", "c1/root/tree", str(tmp_path / "back"), "-p")
    back = tmp_path / "back" / "tree" if (tmp_path / "back" / "tree").exists() else tmp_path / "back"
    assert describe(back) == describe(tmp_path / "tree")


def test_files_of_a_stopped_instance(cluster):
    """They are reached through its mounts, which it has while it runs."""
    cluster.ok("create", "busybox", "c1")
    done = cluster.cli("file", "push", "-", "c1/root/a", input="x")
    assert done.returncode == 1
    assert "Error: c1 is not running" in done.stderr and "Hint: Start it first: lxmgr start c1" in done.stderr


def test_guest_cannot_lead_files_astray(cluster, tmp_path):
    """Links of the guest are followed inside the guest, never on the host."""
    cluster.ok("launch", "busybox", "c1")
    victim = tmp_path / "victim"
    victim.write_text("host")
    cluster.exec("c1", "ln", "-s", str(tmp_path), "/root/out")
    cluster.cli("file", "push", "-", "c1/root/out/victim", input="guest")
    assert victim.read_text() == "host"
    done = cluster.cli("file", "pull", "c1/root/out/victim", "-")
    assert "host" not in done.stdout


def test_delete_files(cluster):
    cluster.ok("launch", "busybox", "c1")
    cluster.exec("c1", "sh", "-c", "mkdir -p /root/d/e; touch /root/f")
    cluster.ok("file", "delete", "c1/root/f")
    assert cluster.cli("file", "delete", "c1/root/d").returncode == 1
    assert cluster.exec("c1", "ls", "/root").stdout == "d\n"


# ---------------------------------------------------------------- what it says about itself


def test_info_as_json(cluster):
    cluster.ok("launch", "busybox", "c1", "-c", "user.owner=me")
    info = json.loads(cluster.ok("info", "c1", "--format", "json"))
    assert info["name"] == "c1" and info["config"]["user.owner"] == "me"
    assert info["expanded_devices"]["eth0"]["network"] == cluster.network


@pytest.mark.parametrize("form", ["table", "compact", "csv", "yaml", "json"])
def test_list_formats(cluster, form):
    cluster.ok("create", "busybox", "c1")
    assert "c1" in cluster.ok("list", "--format", form)


def test_list_empty_is_valid_json(cluster):
    assert json.loads(cluster.ok("list", "--format", "json")) == []


def test_console_log_shows_the_boot(cluster):
    cluster.ok("launch", "busybox", "c1")
    # It is running before its init has opened the log.
    wait_for(lambda: cluster.cli("console", "c1", "--show-log").returncode == 0)


def test_profiles_stack_in_order(cluster):
    cluster.ok("profile", "create", "small")
    try:
        cluster.ok("profile", "set", "small", "limits.processes=50")
        cluster.ok("launch", "busybox", "c1", "-p", "default", "-p", "small", "-c", "limits.memory=64MiB")
        info = json.loads(cluster.ok("info", "c1", "--format", "json"))
        assert info["expanded_config"]["limits.processes"] == "50"
        assert info["profiles"] == ["default", "small"]
        assert cluster.cli("profile", "delete", "small").returncode == 1, "it is in use"
    finally:
        cluster.remove_instances()
        cluster.ok("profile", "delete", "small")


def test_reflection_is_served(cluster):
    """Generic tools can list the services."""
    import grpc

    channel = grpc.insecure_channel(f"unix:{cluster.socket}", options=[("grpc.default_authority", "localhost")])
    call = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
    answer = next(iter(call(iter([b"\x3a\x00"]), timeout=5)))  # list_services
    channel.close()
    assert b"lxmgr.v1.InstanceService" in answer
