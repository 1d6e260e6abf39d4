"""Projects with real instances on two nodes: the same name twice, quotas, images, moves, and what ends in the middle."""

import concurrent.futures
import json
import os
import sys
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "testbed"))
from manager.managerlab import Code, grpc, outcome, refused, wait_op  # noqa: E402
from testbed import wait_for  # noqa: E402

PROJECTS = ("shop", "bank")


CLUSTER = "projects"  # of two nodes: conftest.py


@pytest.fixture
def two(whole):
    """Two projects without anything in them."""
    for project in PROJECTS:
        whole.ok("project", "create", project)
    yield whole
    for project in PROJECTS:
        clear(whole, project)
    whole.remove_instances()
    whole.wait_clean()


def clear(cluster, project):
    for i in listed(cluster, "--project", project):
        cluster.ok("--project", project, "delete", "--force", i["name"])
    for n in json.loads(cluster.ok("--project", project, "network", "list", "--format", "json")):
        if n["project"] == project:
            cluster.ok("--project", project, "network", "delete", n["name"])
    for i in cluster.api.images.List(cluster.api.pb.ListImagesRequest(), metadata=within(project)).images:
        if i.project == project:
            cluster.ok("--project", project, "image", "delete", i.fingerprint)
    cluster.ok("project", "delete", project)


def within(project):
    return (("lxmgr-project", project),)


def listed(cluster, *args):
    return json.loads(cluster.ok(*args, "list", "--format", "json"))


def one(cluster, project, name):
    return next(i for i in listed(cluster, "--project", project) if i["name"] == name)


def run(cluster, project, name, *command):
    return cluster.cli("--project", project, "exec", name, "--", *command)


def test_the_same_name_in_three_projects(two):
    """On one node, with one shared network: each is found, entered and named as if it were alone."""
    node = two.node_names[0]
    for project in ("default", *PROJECTS):
        two.ok("--project", project, "launch", "busybox", "web1", "--target", node)
    everywhere = json.loads(two.ok("list", "--all-projects", "--format", "json"))
    assert [(i["project"], i["name"], i["status"]) for i in everywhere] == [
        ("bank", "web1", "RUNNING"), ("default", "web1", "RUNNING"), ("shop", "web1", "RUNNING")]
    assert len({i["ipv4"] for i in everywhere}) == len({i["uuid"] for i in everywhere}) == 3
    for project in ("default", *PROJECTS):
        assert [i["project"] for i in listed(two, "--project", project)] == [project]
        assert run(two, project, "web1", "hostname").stdout == "web1\n"
        two.ok("--project", project, "file", "push", "-", "web1/root/whose", input=project)
        assert two.ok("--project", project, "file", "pull", "web1/root/whose", "-") == project
    assert run(two, "shop", "web1", "cat", "/root/whose").stdout == "shop"
    assert "PROJECT" in two.ok("list", "--all-projects")

    # The DNS of the shared network tells them apart.
    for project, name in (("default", "web1.lxmgr"), ("shop", "web1.shop.lxmgr"), ("bank", "web1.bank.lxmgr")):
        address = one(two, project, "web1")["ipv4"]
        wait_for(lambda n=name, a=address: a in run(two, "default", "web1", "nslookup", n).stdout, 10, 0.3,
                 f"{name} is {address}")
    # And a guest that asks for a short name means its own project.
    address = one(two, "shop", "web1")["ipv4"]
    wait_for(lambda: address in run(two, "shop", "web1", "nslookup", "web1").stdout, 10, 0.3, "web1 of shop in shop")

    two.ok("--project", "shop", "stop", "--force", "web1")
    assert one(two, "shop", "web1")["status"] == "STOPPED" and one(two, "bank", "web1")["status"] == "RUNNING"
    two.ok("--project", "shop", "start", "web1")
    two.ok("--project", "shop", "delete", "--force", "web1")
    assert listed(two, "--project", "shop") == []
    assert run(two, "bank", "web1", "cat", "/root/whose").stdout == "bank"


def test_move_and_evacuate(two):
    there, back = two.node_names
    for project in PROJECTS:
        two.ok("--project", project, "launch", "busybox", "web1", "--target", there)
        run(two, project, "web1", "sh", "-c", f"echo {project} > /root/whose; sleep 1000 &")
    two.ok("--project", "shop", "move", "web1", "--target", back)
    assert (one(two, "shop", "web1")["node"], one(two, "bank", "web1")["node"]) == (back, there)
    assert run(two, "shop", "web1", "cat", "/root/whose").stdout == "shop\n"
    assert run(two, "shop", "web1", "hostname").stdout == "web1\n"
    two.ok("--project", "shop", "move", "web1", "--target", there)
    two.ok("node", "evacuate", there)
    try:
        assert {one(two, p, "web1")["node"] for p in PROJECTS} == {back}
        operations = json.loads(two.ok("operation", "list", "--all", "--format", "json"))
        done = next(o for o in operations if o["kind"] == "node.evacuate")
        assert set(done["result"]) == {"shop/web1", "bank/web1"}
    finally:
        two.ok("node", "restore", there)
    assert {one(two, p, "web1")["node"] for p in PROJECTS} == {there}
    for project in PROJECTS:
        assert run(two, project, "web1", "cat", "/root/whose").stdout == f"{project}\n"


def test_nodes_errors_name_instances_as_people_do(two):
    """A node calls it shop_web1; whoever works in the project never sees that."""
    here, there = two.node_names
    two.ok("--project", "shop", "launch", "busybox", "web1", "--target", here)

    def said(*args):
        done = two.cli("--project", "shop", *args)
        text = done.stdout + done.stderr
        assert "shop_web1" not in text, text
        return done.returncode, text

    # What a stream ends with.
    for args in (("exec", "web1", "--", "no-such-program"), ("exec", "web1", "--user", "nobody-here", "--", "true"),
                 ("file", "pull", "web1/no/such/file", "/dev/null"), ("file", "delete", "web1/no/such/file")):
        assert said(*args)[0] != 0
    # What stands in the way of a move, found on the source.
    two.ok("--project", "shop", "config", "device", "add", "web1", "dev", "unix-char", "source=/dev/zero", "path=/dev/z")
    code, text = said("move", "web1", "--target", there, "--check")
    assert code != 0 and "web1 has devices of node" in text and "lxmgr config device remove web1" in text
    code, text = said("move", "web1", "--target", there, "--live=required")
    assert code != 0 and "web1 has devices of node" in text
    # A start that its node refuses, in what the operation keeps of it.
    two.ok("--project", "shop", "stop", "--force", "web1")
    two.ok("--project", "shop", "config", "device", "set", "web1", "dev", "source=/dev/no-such-device")
    code, text = said("start", "web1")
    assert code != 0 and "cannot start web1" in text
    assert "cannot start web1" in said("operation", "list", "--all", "--format", "json")[1]
    assert said("info", "web1")[0] == 0 and said("list", "--format", "json")[0] == 0


def test_restarts_of_the_daemons(two):
    for project in PROJECTS:
        two.ok("--project", project, "launch", "busybox", "web1", "--target", two.node_names[0])
    before = {p: one(two, p, "web1")["pid"] for p in PROJECTS}
    two.manager.kill()
    two.agents[0].kill()
    two.start_manager()
    two.agents[0].start()
    two.wait_online()
    wait_for(lambda: all(one(two, p, "web1")["status"] == "RUNNING" for p in PROJECTS), 20, 0.2, "both are known again")
    assert {p: one(two, p, "web1")["pid"] for p in PROJECTS} == before
    assert run(two, "bank", "web1", "true").returncode == 0


def test_quotas_with_many_at_once(two):
    api, pb = two.api, two.api.pb
    two.ok("project", "set", "shop", "limits.instances=3", "limits.memory=96MiB", "limits.processes=1000")
    with refused(Code.FAILED_PRECONDITION, "limits.", hint="limits."):
        api.instances.Create(pb.CreateInstanceRequest(name="w", image="busybox"), metadata=within("shop"))
    with refused(Code.FAILED_PRECONDITION, "limits.memory", hint="limits.memory=512MiB"):
        api.instances.Create(pb.CreateInstanceRequest(name="w", image="busybox", config={
            "limits.memory": "10%", "limits.processes": "10"}), metadata=within("shop"))

    def create(i, memory="32MiB", processes="100"):
        return api.instances.Create.future(pb.CreateInstanceRequest(name=f"w{i}", image="busybox", config={
            "limits.memory": memory, "limits.processes": processes}), metadata=within("shop"))

    results = [outcome(f) for f in [create(i) for i in range(8)]]
    assert sorted(r for r, _ in results) == ["OK"] * 3 + ["RESOURCE_EXHAUSTED"] * 5
    for code, op in results:
        if code == "OK":
            list(api.operations.Watch(pb.OperationRequest(id=op.id), metadata=within("shop"), timeout=60))
    names = [i["name"] for i in listed(two, "--project", "shop")]
    assert len(names) == 3
    use = {u.name: u for u in api.projects.Get(pb.ProjectRequest(name="shop")).use}
    assert (use["instances"].used, use["memory"].used, use["processes"].used) == (3, 96 << 20, 300)

    # Each way to more of it is the same quota.
    with refused(Code.RESOURCE_EXHAUSTED, "limits.memory", "96MiB", "97MiB"):
        api.instances.Update(pb.UpdateInstanceRequest(name=names[0], set_config={"limits.memory": "33MiB"}),
                             metadata=within("shop"))
    with refused(Code.FAILED_PRECONDITION, names[0]):
        api.instances.Update(pb.UpdateInstanceRequest(name=names[0], unset_config=["limits.memory"]),
                             metadata=within("shop"))
    api.profiles.Create(pb.Profile(name="many", config={"limits.processes": "100"}), metadata=within("shop"))
    api.instances.Update(pb.UpdateInstanceRequest(name=names[0], unset_config=["limits.processes"],
                                                  profiles=["default", "many"], replace_profiles=True),
                         metadata=within("shop"))
    with refused(Code.RESOURCE_EXHAUSTED, "many", "limits.processes"):
        api.profiles.Update(pb.Profile(name="many", config={"limits.processes": "801"}), metadata=within("shop"))
    api.profiles.Update(pb.Profile(name="many", config={"limits.processes": "800"}), metadata=within("shop"))
    for key, value in (("limits.instances", "2"), ("limits.memory", "95MiB"), ("limits.processes", "999")):
        with refused(Code.RESOURCE_EXHAUSTED, key):
            api.projects.Update(pb.UpdateProjectRequest(name="shop", set_config={key: value}))
    with refused(Code.FAILED_PRECONDITION, "limits.cpu"):
        api.projects.Update(pb.UpdateProjectRequest(name="shop", set_config={"limits.cpu": "100"}))
    # Another project has nothing to do with it, and what is deleted makes room.
    two.ok("--project", "bank", "launch", "busybox", "big")
    two.ok("--project", "shop", "delete", "--force", names[1])
    assert outcome(create(9))[0] == "OK"
    wait_for(lambda: len(listed(two, "--project", "shop")) == 3, 10)
    api.instances.Update(pb.UpdateInstanceRequest(name=names[0], profiles=["default"], replace_profiles=True,
                                                  set_config={"limits.processes": "1"}), metadata=within("shop"))
    two.ok("project", "unset", "shop", "limits.instances", "limits.memory", "limits.processes")
    two.ok("--project", "shop", "profile", "delete", "many")


def test_restrictions(two):
    api, pb = two.api, two.api.pb
    two.ok("project", "set", "shop", "restricted.nesting=true", "restricted.lowlevel=true")
    for config, words in (({"security.privileged": "true"}, "restricted.privileged"),
                          ({"security.nesting": "true"}, "restricted.nesting"),
                          ({"security.apparmor": "my-own-profile"}, "restricted.lowlevel")):
        with refused(Code.PERMISSION_DENIED, words, hint="administrator"):
            api.instances.Create(pb.CreateInstanceRequest(name="w", image="busybox", config=config),
                                 metadata=within("shop"))
    with refused(Code.PERMISSION_DENIED, "restricted.privileged"):
        api.instances.Create(pb.CreateInstanceRequest(name="w", image="busybox", profiles=["default", "privileged"]),
                             metadata=within("shop"))
    two.ok("--project", "shop", "launch", "busybox", "web1")
    with refused(Code.PERMISSION_DENIED, "restricted.networks"):
        api.projects.Update(pb.UpdateProjectRequest(name="shop", set_config={"restricted.networks": "none"}))
    two.ok("project", "set", "shop", f"restricted.networks={two.network}")
    two.ok("--project", "shop", "delete", "--force", "web1")
    two.ok("project", "set", "shop", "restricted.networks=none")
    with refused(Code.PERMISSION_DENIED, "restricted.networks", two.network):
        api.instances.Create(pb.CreateInstanceRequest(name="w", image="busybox"), metadata=within("shop"))


def test_images_are_shared_or_a_projects_own(two, tmp_path):
    api, pb = two.api, two.api.pb
    shared = api.images.Get(pb.ImageRequest(image="busybox"), metadata=within("shop"))
    assert shared.project == "default"
    with refused(Code.PERMISSION_DENIED, "shared"):
        api.images.Delete(pb.ImageRequest(image="busybox"), metadata=within("shop"))
    with refused(Code.PERMISSION_DENIED, "shared"):
        api.images.Update(pb.UpdateImageRequest(image="busybox", add_aliases=["mine"]), metadata=within("shop"))

    # The same content as the project's own: nodes keep it once, it goes with the last who has it.
    file = str(tmp_path / "busybox.tar")
    two.ok("image", "export", "busybox", file)
    two.ok("project", "set", "shop", "limits.images=1")
    done = two.ok("--project", "shop", "image", "import", file, "--alias", "busybox")
    own = api.images.Get(pb.ImageRequest(image="busybox"), metadata=within("shop"))
    assert own.project == "shop", done
    second = two.cli("--project", "shop", "image", "import", file, "--alias", "other")
    assert second.returncode == 1 and "limits.images" in second.stderr
    assert api.images.Get(pb.ImageRequest(image="busybox"), metadata=within("bank")).project == "default"
    with refused(Code.NOT_FOUND):
        api.images.Get(pb.ImageRequest(image=own.fingerprint[:12] + "0"), metadata=within("bank"))
    two.ok("--project", "shop", "launch", "busybox", "web1")
    used = two.cli("--project", "shop", "image", "delete", "busybox")
    assert used.returncode == 1 and "web1" in used.stderr
    two.ok("--project", "shop", "delete", "--force", "web1")
    two.ok("--project", "shop", "image", "delete", own.fingerprint)
    two.ok("launch", "busybox", "still")


def test_networks_of_a_project(two):
    """Its own network: two nodes, its own names, seen by nobody else."""
    two.ok("--project", "shop", "network", "create", "lan", "ipv4.address=10.224.8.1/24", "ipv6.address=none")
    bridge = two.api.networks.Get(two.api.pb.NetworkRequest(name="lan"), metadata=within("shop")).bridge
    try:
        for i in range(2):
            wait_for(lambda n=i: two.ns_exec(n, "ip", "link", "show", bridge).returncode == 0, 10, 0.1, "its bridge")
        for i, node in enumerate(two.node_names):
            two.ok("--project", "shop", "launch", "busybox", f"c{i}", "-n", "lan", "--target", node)
        other = one(two, "shop", "c1")["ipv4"]
        assert other.startswith("10.224.8.")
        wait_for(lambda: run(two, "shop", "c0", "ping", "-c", "1", "-W", "1", other).returncode == 0, 15, 0.3)
        wait_for(lambda: other in run(two, "shop", "c0", "nslookup", "c1").stdout, 10, 0.3, "c1 by name")
        gone = two.cli("--project", "bank", "launch", "busybox", "c0", "-n", "lan")
        assert gone.returncode == 1 and "no network lan" in gone.stderr
        assert "lan" not in two.ok("--project", "bank", "network", "list")
        leases = two.ok("--project", "shop", "network", "leases", "lan")
        assert "c0" in leases and "c1" in leases
        two.ok("--project", "shop", "move", "c1", "--target", two.node_names[0])
        wait_for(lambda: run(two, "shop", "c0", "ping", "-c", "1", "-W", "1", other).returncode == 0, 15, 0.3)
    finally:
        for i in range(2):
            two.cli("--project", "shop", "delete", "--force", f"c{i}")


def test_leases_of_others_are_not_shown(two):
    api, pb = two.api, two.api.pb
    for project in PROJECTS:
        two.ok("--project", project, "launch", "busybox", f"of-{project}")
    two.ok("identity", "create", "hand", "--user", "4243", "--role", "viewer", "--project", "shop")
    from manager.accesslab import as_user
    os.chmod(two.dir, 0o755)
    os.chmod(two.socket, 0o666)
    try:
        said = [as_user(two, 4243, 4243, "--project", "shop", *words) for words in (
            ("network", "leases", two.network), ("network", "show", two.network), ("list", "--all-projects"),
            ("operation", "list", "--all"), ("list",), ("profile", "list"), ("image", "list"), ("project", "list"))]
        assert all(d.returncode == 0 for d in said), [d.stderr for d in said]
        assert "of-bank" not in "".join(d.stdout for d in said) and "bank" not in "".join(d.stdout for d in said)
        assert "of-shop" in said[0].stdout and "of-shop" in said[2].stdout
        for words in (("exec", "of-shop", "--", "true"), ("stop", "of-shop"), ("file", "pull", "of-shop/etc/hosts", "-")):
            assert as_user(two, 4243, 4243, "--project", "shop", *words).returncode == 1
        operation = next(o for o in api.operations.List(pb.ListOperationsRequest(all=True), metadata=within("bank")).operations
                         if o.subject == "of-bank")
        hidden = as_user(two, 4243, 4243, "--project", "shop", "operation", "show", operation.id)
        assert hidden.returncode == 1 and "there is no operation" in hidden.stderr
    finally:
        two.ok("identity", "delete", "hand")


def test_deleted_while_a_launch_runs(two):
    """Either the launch was first, and the project stays; or it is gone, and there was none."""
    api, pb = two.api, two.api.pb
    for i in range(4):
        two.ok("project", "create", "brief")
        with concurrent.futures.ThreadPoolExecutor() as pool:
            launched = pool.submit(outcome, api.instances.Create.future(
                pb.CreateInstanceRequest(name="w", image="busybox", start=True), metadata=within("brief")))
            time.sleep(0.003 * i)
            deleted = pool.submit(outcome, api.projects.Delete.future(pb.ProjectRequest(name="brief")))
            made, gone = launched.result(30), deleted.result(30)
        if made[0] == "OK":
            assert gone[0] == "FAILED_PRECONDITION", gone
            list(api.operations.Watch(pb.OperationRequest(id=made[1].id), metadata=within("brief"), timeout=60))
            two.ok("--project", "brief", "delete", "--force", "w")
            two.ok("project", "delete", "brief")
        else:
            assert gone[0] == "OK" and made[0] == "NOT_FOUND", (made, gone)


def test_manager_killed_in_a_launch(two):
    for i in range(3):
        started = two.popen("--project", "shop", "launch", "busybox", f"k{i}")
        time.sleep(0.02 + 0.05 * i)
        two.manager.kill()
        started.wait(60)
        two.start_manager()
        two.wait_online()

    def settled():
        ops = json.loads(two.ok("--project", "shop", "operation", "list", "--format", "json"))
        return not ops

    wait_for(settled, 60, 0.3, "all operations have ended")
    assert {i["status"] for i in listed(two, "--project", "shop")} <= {"RUNNING"}
    assert listed(two) == []


@pytest.mark.parametrize("name", ["a" * 59, "a" * 58])
def test_how_long_a_name_may_be(two, name):
    """PROJECT_NAME is a name of a node: 63."""
    done = two.cli("--project", "shop", "launch", "busybox", name)
    if len(name) > 58:
        assert done.returncode == 1 and "58" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        assert run(two, "shop", name, "hostname").stdout.strip() == name


def test_wait_op_finds_only_its_own(two):
    api, pb = two.api, two.api.pb
    op = api.instances.Create(pb.CreateInstanceRequest(name="w", image="busybox", request_id="r-1"), metadata=within("shop"))
    with pytest.raises(grpc.RpcError):
        wait_op(api, op)
    with refused(Code.ALREADY_EXISTS, "r-1"):
        api.instances.Create(pb.CreateInstanceRequest(name="w", image="busybox", request_id="r-1"), metadata=within("bank"))
    again = api.instances.Create(pb.CreateInstanceRequest(name="w", image="busybox", request_id="r-1"),
                                 metadata=within("shop"))
    assert again.id == op.id
    with refused(Code.NOT_FOUND):
        api.operations.Cancel(pb.OperationRequest(id=op.id), metadata=within("bank"))
    list(api.operations.Watch(pb.OperationRequest(id=op.id), metadata=within("shop"), timeout=60))
