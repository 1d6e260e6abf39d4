"""Several nodes: images that come where they are needed, and instances that go where there is room."""

import json
import os
import signal
import subprocess
import sys
import tarfile
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "testbed"))
import testbed  # noqa: E402
from testbed import wait_for  # noqa: E402

BIG = 300_000_000


@pytest.fixture(scope="module")
def whole(able):
    with testbed.Cluster("place", nodes=3) as cluster:
        try:
            testbed.cached_image("busybox")
        except testbed.Unavailable as e:
            pytest.skip(str(e))
        yield cluster


@pytest.fixture
def cluster(whole):
    """Three nodes; the image busybox on the first alone."""
    for daemon in (whole.manager, *whole.agents):
        daemon.begin_log()
    testbed.ensure_image(whole, "busybox", node=0)
    yield whole
    if not whole.manager.pid:
        whole.start_manager()
    for agent in whole.agents:
        if not agent.pid:
            agent.start()
    whole.wait_online()
    whole.wait_idle()
    whole.remove_instances()
    for image in images(whole):
        whole.ok("image", "delete", image["fingerprint"], timeout=60)
    for node, shown in nodes(whole).items():
        if shown["cordoned"]:
            whole.ok("node", "uncordon", node)
        if shown["labels"]:
            whole.ok("node", "label", node, *[f"{k}-" for k in shown["labels"]])
    whole.wait_clean()


def images(cluster):
    return json.loads(cluster.ok("image", "list", "--format", "json"))


def holders(cluster, image="busybox"):
    shown = json.loads(cluster.ok("image", "show", image, "--format", "json"))
    return sorted(shown["nodes"])


def nodes(cluster):
    return {n["name"]: n for n in json.loads(cluster.ok("node", "list", "--format", "json"))}


def where(cluster, name):
    return cluster.list()[name]["node"]


def tree(agent, fingerprint):
    top = os.path.join(agent.dir, "images", fingerprint, "rootfs")
    found = {}
    for base, dirs, files in os.walk(top):
        for name in dirs + files:
            st = os.lstat(os.path.join(base, name))
            found[os.path.join(base, name)[len(top):]] = (st.st_mode, st.st_uid, st.st_gid, st.st_size, st.st_mtime_ns)
    return found


def big_image(cluster, tmp_path, node=0):
    """Busybox and something that takes a while to send."""
    path = tmp_path / "big.tar"
    with tarfile.open(path, "w") as tar:
        unpacked = tmp_path / "unpacked"
        unpacked.mkdir()
        subprocess.run(["tar", "xf", testbed.cached_image("busybox"), "-C", unpacked], check=True)
        with open(unpacked / "rootfs" / "ballast", "wb") as f:
            for _ in range(BIG // 1_000_000):
                f.write(os.urandom(1_000_000))
        tar.add(unpacked, ".")
    cluster.ok("image", "import", str(path), "--alias", "big", "--target", cluster.node_names[node], timeout=120)
    path.unlink()
    return json.loads(cluster.ok("image", "show", "big", "--format", "json"))["fingerprint"]


# ---------------------------------------------------------------- images come


def test_a_launch_fetches_the_image(cluster):
    one, two, three = cluster.node_names
    before = json.loads(cluster.ok("image", "show", "busybox", "--format", "json"))
    cluster.ok("launch", "busybox", "a", "--target", two)
    assert where(cluster, "a") == two and holders(cluster) == sorted([one, two])
    assert cluster.exec("a", "hostname").stdout == "a\n"
    after = json.loads(cluster.ok("image", "show", "busybox", "--format", "json"))
    assert after["fingerprint"] == before["fingerprint"]
    assert tree(cluster.agents[0], before["fingerprint"]) == tree(cluster.agents[1], before["fingerprint"])
    # Two at once on the third: one transfer.
    launches = [cluster.popen("launch", "busybox", n, "--target", three) for n in ("b", "c")]
    assert [p.wait(60) for p in launches] == [0, 0]
    assert len(holders(cluster)) == 3
    # And gone from all of them.
    cluster.remove_instances()
    cluster.ok("image", "delete", "busybox")
    assert not any(os.path.exists(os.path.join(a.dir, "images", before["fingerprint"])) for a in cluster.agents)


def test_fetch_on_its_own(cluster):
    one, two, _ = cluster.node_names
    assert "has busybox" in cluster.cli("image", "fetch", "busybox", "--target", two, check=True).stderr
    assert holders(cluster) == sorted([one, two])
    cluster.ok("image", "fetch", "busybox", "--target", two)
    last = [o for o in cluster.operations(all=True) if o.kind == "image.fetch"][0]
    assert last.node == two and last.result["fingerprint"] == last.subject

    assert cluster.cli("image", "fetch", "busybox").returncode == 2
    for args, words in ((("nosuch", "--target", two), "nosuch"), (("busybox", "--target", "nowhere"), "nowhere")):
        refused = cluster.cli("image", "fetch", *args)
        assert refused.returncode == 1 and words in refused.stderr, refused


def test_an_image_whose_nodes_are_away(cluster):
    one, two, _ = cluster.node_names
    cluster.kill(0)
    wait_for(lambda: nodes(cluster)[one]["status"] == "OFFLINE")
    for args in (("launch", "busybox", "a", "--target", two), ("launch", "busybox", "a")):
        refused = cluster.cli(*args)
        assert refused.returncode == 1 and "no node that has it is online" in refused.stderr, refused.stderr
    assert cluster.list() == {}


def killed_while_fetching(cluster, tmp_path, which):
    """The launch of a big image on the second node, with a daemon killed in the middle and started again."""
    fingerprint = big_image(cluster, tmp_path)
    launch = cluster.popen("launch", "big", "a", "--target", cluster.node_names[1],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(lambda: [o for o in cluster.operations() if o.phase == "fetch image" and o.progress_done > BIG // 10], 30)
    cluster.kill(which)
    cluster.restart(which)
    said = launch.communicate(timeout=120)
    cluster.wait_idle(120)
    return fingerprint, launch.returncode, said


@pytest.mark.limit(240)
@pytest.mark.parametrize("which", ["manager", 0, 1], ids=["manager", "source", "target"])
def test_a_daemon_killed_while_an_image_is_fetched(cluster, tmp_path, which):
    fingerprint, code, said = killed_while_fetching(cluster, tmp_path, which)
    assert code == 0, said
    assert cluster.status("a") == "RUNNING" and where(cluster, "a") == cluster.node_names[1]
    assert tree(cluster.agents[0], fingerprint) == tree(cluster.agents[1], fingerprint)
    cluster.wait_clean(but=["a"])


def test_a_fetch_can_be_cancelled(cluster, tmp_path):
    one, two, _ = cluster.node_names
    fingerprint = big_image(cluster, tmp_path)
    launch = cluster.popen("launch", "big", "a", "--target", two, stderr=subprocess.PIPE)
    running = wait_for(lambda: [o for o in cluster.operations() if o.phase == "fetch image" and o.progress_done], 30)[0]
    assert 0 < running.progress_done < running.progress_total and running.progress_unit == "bytes"
    refused = cluster.cli("image", "delete", "big")
    assert refused.returncode == 1 and "used by instance a" in refused.stderr
    cluster.ok("operation", "cancel", running.id)
    assert launch.wait(60) == 1
    assert cluster.list() == {} and holders(cluster, "big") == [one]
    cluster.wait_clean()

    fetch = cluster.popen("image", "fetch", "big", "--target", two, stderr=subprocess.PIPE)
    wait_for(lambda: [o for o in cluster.operations() if o.phase == "fetch image" and o.progress_done], 30)
    refused = cluster.cli("image", "delete", "big")
    assert refused.returncode == 1 and "being fetched" in refused.stderr
    assert fetch.wait(60) == 0 and holders(cluster, "big") == sorted([one, two])
    assert not os.path.exists(os.path.join(cluster.agents[2].dir, "images", fingerprint))


# ---------------------------------------------------------------- instances go


def test_instances_spread(cluster):
    for i in range(6):
        cluster.ok("create", "busybox", f"s{i}")
    homes = [i["node"] for i in cluster.list().values()]
    assert sorted(homes.count(n) for n in cluster.node_names) == [2, 2, 2]


def test_memory_that_is_promised_is_not_promised_again(cluster):
    memory = min(n["memory"] for n in nodes(cluster).values())
    for i in range(3):
        cluster.ok("create", "busybox", f"m{i}", "-c", f"limits.memory={memory * 6 // 10}")
    assert len({i["node"] for i in cluster.list().values()}) == 3
    refused = cluster.cli("create", "busybox", "m3", "-c", f"limits.memory={memory // 2}")
    assert refused.returncode == 1 and "no node fits" in refused.stderr
    assert all(n in refused.stderr for n in cluster.node_names) and "promised" in refused.stderr
    assert "--target" in refused.stderr.split("Hint:")[1]
    cluster.ok("create", "busybox", "m3", "-c", f"limits.memory={memory // 2}", "--target", cluster.node_names[2])
    cluster.ok("create", "busybox", "m4")  # asks for nothing
    cluster.ok("delete", "m0")
    cluster.ok("create", "busybox", "m5", "-c", f"limits.memory={memory // 4}")


def test_labels_and_cordons(cluster):
    one, two, three = cluster.node_names
    cluster.ok("node", "label", two, "disk=ssd", "zone=a")
    cluster.ok("node", "label", three, "disk=ssd")
    assert nodes(cluster)[two]["labels"] == {"disk": "ssd", "zone": "a"}
    for i in range(4):
        cluster.ok("create", "busybox", f"l{i}", "-c", "placement.labels=disk=ssd")
    assert {i["node"] for i in cluster.list().values()} == {two, three}
    for i in range(4, 8):
        cluster.ok("create", "busybox", f"l{i}", "-c", "placement.labels=disk,zone=a")
        assert where(cluster, f"l{i}") == two
    refused = cluster.cli("create", "busybox", "l8", "-c", "placement.labels=zone=b")
    assert refused.returncode == 1 and "has no label zone=b" in refused.stderr
    refused = cluster.cli("create", "busybox", "l8", "-c", "placement.labels=zone=")
    assert refused.returncode == 1 and "has no label zone=" in refused.stderr
    refused = cluster.cli("create", "busybox", "l8", "-c", "placement.labels=a b")
    assert refused.returncode == 1 and "is no list of labels" in refused.stderr

    cluster.ok("node", "cordon", two, three)
    assert f"{two} " in cluster.ok("node", "list") and "ONLINE,CORDONED" in cluster.ok("node", "list")
    for i in range(3):
        cluster.ok("create", "busybox", f"c{i}")
        assert where(cluster, f"c{i}") == one
    cluster.ok("create", "busybox", "c3", "--target", two)
    # Both outlive the manager.
    cluster.restart("manager", signal.SIGKILL)
    shown = nodes(cluster)
    assert shown[two]["cordoned"] and shown[two]["labels"] == {"disk": "ssd", "zone": "a"} and not shown[one]["cordoned"]
    cluster.ok("node", "cordon", one)
    refused = cluster.cli("create", "busybox", "c4")
    assert refused.returncode == 1 and "uncordon" in refused.stderr
    cluster.ok("node", "uncordon", one, two, three)
    cluster.ok("node", "label", two, "zone-", "disk=nvme")
    assert nodes(cluster)[two]["labels"] == {"disk": "nvme"}
    for args, code, words in (((two, "zone-"), 1, "no label zone"), ((two, "zone"), 2, "KEY-"), ((two, "a/=b"), 1, "is no label"),
                              (("nowhere", "a=b"), 1, "nowhere"), ((two, "k=" + "v" * 64), 1, "is no label")):
        refused = cluster.cli("node", "label", *args)
        assert refused.returncode == code and words in refused.stderr, refused
    assert nodes(cluster)[two]["labels"] == {"disk": "nvme"}
    many = cluster.cli("node", "label", two, *[f"k{i}=" for i in range(64)])
    assert many.returncode == 1 and "more than 64" in many.stderr


def test_explain(cluster):
    one, two, three = cluster.node_names
    cluster.ok("node", "cordon", three)
    dry = cluster.ok("launch", "busybox", "e1", "--dry-run", "--explain")
    lines = {line.split()[0]: line for line in dry.splitlines()}
    assert " taken " in lines[one] and "there" in lines[one]
    assert " yes " in lines[two] and "to fetch" in lines[two]
    assert " no " in lines[three] and "cordoned" in lines[three]
    assert cluster.ok("launch", "busybox", "e1", "--dry-run") == f"e1 would go to {one}\n"
    assert cluster.list() == {} and not cluster.operations()

    done = cluster.cli("launch", "busybox", "-q", "--explain", check=True)
    name = done.stdout.strip()
    assert " taken " in done.stderr and list(cluster.list()) == [name] and where(cluster, name) == one
    # With a node that was asked for, and with nothing that fits.
    assert cluster.ok("create", "busybox", "--dry-run", "--target", three) == f"It would go to {three}\n"
    refused = cluster.cli("create", "busybox", "--dry-run", "--explain", "-c", "placement.labels=nosuch")
    assert refused.returncode == 1 and "has no label nosuch" in refused.stdout and "no node fits" in refused.stderr
    refused = cluster.cli("create", "busybox", "--dry-run", "-c", "placement.labels=nosuch")
    assert refused.returncode == 1 and "has no label nosuch" in refused.stderr
    refused = cluster.cli("create", "nosuch", "--dry-run")
    assert refused.returncode == 1 and "nosuch" in refused.stderr


# ---------------------------------------------------------------- nodes leave


def test_removing_nodes(whole):
    """Last: it takes nodes away."""
    one, two, three = whole.node_names
    testbed.ensure_image(whole, "busybox", node=0)
    whole.ok("launch", "busybox", "a", "--target", three)
    refused = whole.cli("node", "remove", three)
    assert refused.returncode == 1 and "still has 1 instance" in refused.stderr
    refused = whole.cli("node", "remove", three, "--force")
    assert refused.returncode == 1 and "is online" in refused.stderr
    whole.ok("delete", "--force", "a")
    whole.ok("node", "remove", three)
    assert sorted(nodes(whole)) == sorted([one, two]) and holders(whole) == [one]
    refused = whole.cli("node", "remove", one)
    assert refused.returncode == 1 and "only copy" in refused.stderr and "image fetch" in refused.stderr
    whole.ok("image", "fetch", "busybox", "--target", two)
    whole.ok("create", "busybox", "a", "--target", one)
    whole.kill(0)
    wait_for(lambda: nodes(whole)[one]["status"] == "OFFLINE")
    assert whole.cli("node", "remove", one).returncode == 1
    whole.ok("node", "remove", one, "--force")
    assert list(nodes(whole)) == [two] and whole.list() == {} and holders(whole) == [two]
    # It comes back and is nobody: the manager does not know it.
    whole.agents[0].start()
    time.sleep(1)
    assert list(nodes(whole)) == [two]
    whole.ok("node", "remove", two)
    for i in range(3):
        whole.kill(i, signal.SIGTERM)
