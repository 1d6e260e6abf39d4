"""Instances through the API: what is refused and how, requests that meet or come twice, and
what runs out."""

import ipaddress
import os

import pytest

from manager.managerlab import Code, grpc, outcome, raw_call, refused, testbed, wait_op  # noqa: F401
import machine  # beside testbed.py
from machine import wait_for

ROOT = {"type": "disk", "path": "/"}


@pytest.fixture
def api(cluster):
    """The API of a cluster with one node; profiles and networks of a test are removed after it."""
    api, pb = cluster.api, cluster.api.pb
    yield api
    cluster.remove_instances()
    for p in api.profiles.List(pb.ListProfilesRequest()).profiles:
        if p.name != "default" and not p.builtin:
            api.profiles.Delete(pb.ProfileRequest(name=p.name))
    for n in api.networks.List(pb.ListNetworksRequest()).networks:
        if n.name != cluster.network:
            api.networks.Delete(pb.NetworkRequest(name=n.name))


def create(api, name, image="busybox", **kw):
    """Makes an instance and waits for it."""
    devices = {k: api.pb.Device(options=v) for k, v in kw.pop("devices", {}).items()}
    op = api.instances.Create(api.pb.CreateInstanceRequest(name=name, image=image, devices=devices, **kw))
    wait_op(api, op)
    return api.instances.Get(api.pb.GetInstanceRequest(name=name))


def act(api, verb, name, **kw):
    return wait_op(api, getattr(api.instances, verb)(api.pb.InstanceActionRequest(name=name, **kw)))


# ---------------------------------------------------------------- bad input

BAD_NAMES = ["A", "1 2", "-a", "a-", "a.b", "a_b", "x" * 64, "../up", "a/b", "ä", "a\nb", "a\x1b[31m", "%s%n", " ",
             "x" * 100_000]


@pytest.mark.parametrize("name", BAD_NAMES, ids=lambda n: repr(n[:12]))
def test_bad_names(api, name):
    with refused(Code.INVALID_ARGUMENT, "instance name", hint="a-z"):
        api.instances.Create(api.pb.CreateInstanceRequest(name=name, image="busybox"))


def test_bad_requests(cluster, api):
    pb = api.pb
    nic = {"type": "nic", "network": cluster.network}

    def request(**kw):
        devices = {k: pb.Device(options=v) for k, v in kw.pop("devices", {}).items()}
        return pb.CreateInstanceRequest(**{"name": "bad", "image": "busybox", **kw}, devices=devices)

    many = {f"user.k{i}": "x" for i in range(600)}
    bad = [
        (Code.INVALID_ARGUMENT, request(image=""), "needs an image", "image list"),
        (Code.NOT_FOUND, request(image="busybix"), "busybix", "busybox"),
        (Code.NOT_FOUND, request(image="0123456789abcdef"), "0123456789abcdef", ""),
        (Code.INVALID_ARGUMENT, request(image="i" * 5000), "", ""),
        (Code.INVALID_ARGUMENT, request(image="a\nb"), "", ""),
        (Code.NOT_FOUND, request(profiles=["default", "nosuch"]), "nosuch", "profile list"),
        (Code.NOT_FOUND, request(profiles=["a\x07b"]), "no profile", "profile list"),
        (Code.INVALID_ARGUMENT, request(profiles=["default"] * 33), "32", ""),
        (Code.NOT_FOUND, request(target="elsewhere"), "elsewhere", "node list"),
        (Code.INVALID_ARGUMENT, request(config={"limits.cpus": "1"}), "limits.cpus", "limits.cpu"),
        (Code.INVALID_ARGUMENT, request(config={"limits.cpu": "-1"}), "limits.cpu", ""),
        (Code.INVALID_ARGUMENT, request(config={"boot.autostart": "1\n"}), "boot.autostart", ""),
        (Code.INVALID_ARGUMENT, request(config=many), "512", ""),
        (Code.INVALID_ARGUMENT, request(config={"user.x": "y" * 70_000}), "user.x", ""),
        (Code.INVALID_ARGUMENT, request(devices={f"d{i}": nic for i in range(65)}), "64", ""),
        (Code.INVALID_ARGUMENT, request(devices={"a b": nic}), "device name", ""),
        (Code.INVALID_ARGUMENT, request(devices={"x": {"type": "gpu"}}), "gpu", ""),
        (Code.NOT_FOUND, request(devices={"x": {**nic, "network": "lxtanone"}}), "no network lxtanone", "network list"),
        (Code.INVALID_ARGUMENT, request(devices={"x": {**nic, "network": "n" * 5000}}), "network", ""),
        (Code.INVALID_ARGUMENT, request(devices={"x": {**nic, "mtu": "9"}}), "mtu", ""),
        (Code.INVALID_ARGUMENT, request(devices={"eth1": {**nic, "name": "eth0"}}), "eth0", ""),
        (Code.INVALID_ARGUMENT, request(no_profiles=True), "no root disk", "root"),
        (Code.INVALID_ARGUMENT, request(devices={"root": {"type": "none"}}), "no root disk", "root"),
        (Code.INVALID_ARGUMENT, request(request_id="r" * 200), "request id", ""),
    ]
    for code, message, word, hint in bad:
        with refused(code, word, hint=hint):
            api.instances.Create(message)
    assert not cluster.instances()
    assert not api.networks.ListLeases(pb.NetworkRequest(name=cluster.network)).leases
    with refused(Code.RESOURCE_EXHAUSTED):
        api.instances.Create(request(config={f"user.{i}": "x" * 60_000 for i in range(80)}))


def test_unknown_instances(api):
    pb = api.pb
    calls = [(getattr(api.instances, v), pb.InstanceActionRequest(name="nosuch"))
             for v in ("Start", "Stop", "Restart", "Freeze", "Unfreeze", "Delete")]
    calls += [(api.instances.Get, pb.GetInstanceRequest(name="nosuch")),
              (api.instances.Update, pb.UpdateInstanceRequest(name="nosuch")),
              (lambda r: list(api.instances.Exec(iter([r]))), pb.ExecRequest(start=pb.ExecStart(instance="nosuch"))),
              (lambda r: list(api.instances.ConsoleLog(r)), pb.ConsoleLogRequest(instance="nosuch")),
              (lambda r: api.instances.PushFile(iter([r])),
               pb.PushFileRequest(start=pb.PushFileStart(instance="nosuch", path="/x"))),
              (lambda r: list(api.instances.PullFile(r)), pb.PullFileRequest(instance="nosuch", path="/x")),
              (api.instances.DeleteFile, pb.DeleteFileRequest(instance="nosuch", path="/x"))]
    for call, request in calls:
        with refused(Code.NOT_FOUND, "no instance nosuch", hint="lxmgr list"):
            call(request)


def test_streams_that_begin_wrong(api):
    pb = api.pb
    for call, request in ((api.instances.Exec, pb.ExecRequest(stdin=b"x")), (api.instances.Exec, pb.ExecRequest()),
                          (lambda r: [api.instances.PushFile(r)], pb.PushFileRequest(data=b"x"))):
        with refused(Code.INVALID_ARGUMENT, "must name an instance"):
            list(call(iter([request])))


# ---------------------------------------------------------------- states


def test_verbs_in_the_wrong_state(api):
    pb = api.pb

    def refuses(verb, *words, hint="", **kw):
        with refused(Code.FAILED_PRECONDITION, "wrong", *words, hint=hint):
            getattr(api.instances, verb)(pb.InstanceActionRequest(name="wrong", **kw))

    def exec_refuses(*words, hint):
        with refused(Code.FAILED_PRECONDITION, "wrong", *words, hint=hint):
            list(api.instances.Exec(iter([pb.ExecRequest(start=pb.ExecStart(instance="wrong", command=["true"]))])))

    create(api, "wrong")
    refuses("Stop", "already stopped")
    refuses("Stop", "already stopped", force=True)
    for verb in ("Restart", "Freeze", "Unfreeze"):
        refuses(verb, "not running", hint="lxmgr start wrong")
    exec_refuses("not running", hint="lxmgr start wrong")
    act(api, "Start", "wrong")
    refuses("Start", "already running")
    refuses("Unfreeze", "not frozen")
    refuses("Delete", "is running", hint="--force")
    act(api, "Freeze", "wrong")
    refuses("Freeze", "already frozen")
    refuses("Start", "already running", hint="lxmgr unfreeze wrong")
    refuses("Stop", "frozen", hint="lxmgr unfreeze wrong")
    refuses("Delete", "is running", hint="--force")
    exec_refuses("not running", hint="lxmgr unfreeze wrong")
    act(api, "Stop", "wrong", force=True)
    act(api, "Delete", "wrong")


def test_a_busy_instance(api):
    """While one operation has it in hand others are refused, and told which one."""
    pb = api.pb
    create(api, "busy")
    futures = [api.instances.Start.future(pb.InstanceActionRequest(name="busy")) for _ in range(5)]
    futures += [api.instances.Delete.future(pb.InstanceActionRequest(name="busy")),
                api.instances.Update.future(pb.UpdateInstanceRequest(name="busy", set_config={"user.x": "1"}))]
    results = [outcome(f) for f in futures]
    assert [c for c, _ in results] == ["OK"] + ["FAILED_PRECONDITION"] * 6
    started = results[0][1]
    for _, error in results[1:-1]:
        assert "busy" in error.details() and started.id in error.details()
    wait_op(api, started)


# ---------------------------------------------------------------- updates


def test_update(cluster, api):
    pb = api.pb
    api.profiles.Create(pb.Profile(name="extra", config={"user.from": "extra"}))
    create(api, "upd", config={"limits.memory": "64MiB"}, start=True)

    def update(**kw):
        return api.instances.Update(pb.UpdateInstanceRequest(name="upd", **kw))

    got = update(set_config={"user.a": "1"}, profiles=["default", "extra"], replace_profiles=True).instance
    assert dict(got.config) == {"limits.memory": "64MiB", "user.a": "1"}
    assert (got.expanded_config["user.from"], got.origin["user.from"]) == ("extra", "profile extra")
    assert got.origin["limits.memory"] == "instance"
    assert list(api.profiles.Get(pb.ProfileRequest(name="extra")).used_by) == ["upd"]
    for verb, request in ((api.profiles.Delete, pb.ProfileRequest(name="extra")),
                          (api.profiles.Rename, pb.RenameProfileRequest(name="extra", new_name="other"))):
        with refused(Code.FAILED_PRECONDITION, "extra", "upd"):
            verb(request)
    changed = api.profiles.Update(pb.Profile(name="extra", config={"user.from": "changed"}))
    assert (list(changed.applied), list(changed.needs_restart)) == (["upd"], [])
    assert api.instances.Get(pb.GetInstanceRequest(name="upd")).expanded_config["user.from"] == "changed"

    assert "user.a" not in update(unset_config=["user.a"]).instance.config
    bad = [
        (Code.NOT_FOUND, dict(unset_config=["user.a"]), "user.a"),
        (Code.NOT_FOUND, dict(remove_devices=["eth7"]), "eth7"),
        (Code.NOT_FOUND, dict(profiles=["nosuch"], replace_profiles=True), "nosuch"),
        (Code.INVALID_ARGUMENT, dict(profiles=[], replace_profiles=True), "no root disk"),
        (Code.INVALID_ARGUMENT, dict(set_config={"limits.memory": "x"}), "limits.memory"),
        (Code.INVALID_ARGUMENT, dict(profiles=["default"] * 33, replace_profiles=True), "32"),
        (Code.INVALID_ARGUMENT, dict(set_devices={"root": pb.Device(options={"type": "none"})}), "no root disk"),
        (Code.NOT_FOUND, dict(set_devices={"x": pb.Device(options={"type": "nic", "network": "lxtanone"})}), "lxtanone"),
    ]
    before = api.instances.Get(pb.GetInstanceRequest(name="upd"))
    for code, request, word in bad:
        with refused(code, "upd" if code == Code.NOT_FOUND and "un" in list(request)[0] else "", word):
            update(**request)
    after = api.instances.Get(pb.GetInstanceRequest(name="upd"))
    for i in (before, after):
        i.ClearField("usage")
    assert after == before
    with refused(Code.FAILED_PRECONDITION, cluster.network, "upd"):
        api.networks.Update(pb.UpdateNetworkRequest(name=cluster.network, set_config={"ipv4.address": "10.251.1.1/24"}))


def test_an_instance_does_not_grow_without_end(api):
    """Every message that carries it must stay below the limit of a message."""
    pb = api.pb
    create(api, "fat")
    with refused(Code.INVALID_ARGUMENT, "512"):
        for i in range(4):
            api.instances.Update(pb.UpdateInstanceRequest(
                name="fat", set_config={f"user.{i}.{k}": "x" for k in range(200)}))
    with refused(Code.INVALID_ARGUMENT, "fat", "bytes"):
        for i in range(100):
            api.instances.Update(pb.UpdateInstanceRequest(name="fat", set_config={f"user.big{i}": "x" * 60_000}))
    with refused(Code.INVALID_ARGUMENT, "64"):
        for i in range(80):
            nothing = pb.Device(options={"type": "none"})
            api.instances.Update(pb.UpdateInstanceRequest(name="fat", set_devices={f"d{i}": nothing}))
    act(api, "Start", "fat")
    full = api.instances.List(pb.ListInstancesRequest(view=pb.INSTANCE_VIEW_FULL)).instances
    assert full[0].name == "fat"


def test_concurrent_updates(api):
    """Changes of different keys that meet, of an instance and of its profile: all of them count."""
    pb = api.pb
    api.profiles.Create(pb.Profile(name="meet"))
    create(api, "meet", profiles=["default", "meet"])
    futures = []
    for i in range(30):
        futures.append(api.instances.Update.future(pb.UpdateInstanceRequest(name="meet", set_config={f"user.k{i}": "x"})))
        if i % 3 == 0:
            futures.append(api.profiles.Update.future(pb.Profile(name="meet", config={"user.round": str(i)})))
    assert {outcome(f)[0] for f in futures} == {"OK"}
    got = api.instances.Get(pb.GetInstanceRequest(name="meet"))
    assert set(got.config) == {f"user.k{i}" for i in range(30)}
    assert got.expanded_config["user.round"] == "27"


# ---------------------------------------------------------------- requests that meet or come twice


def test_one_name_many_requests(cluster, api):
    pb = api.pb
    for round_ in range(5):
        futures = [api.instances.Create.future(pb.CreateInstanceRequest(name=f"one{round_}", image="busybox"))
                   for _ in range(8)]
        results = [outcome(f) for f in futures]
        assert sorted(c for c, _ in results) == ["ALREADY_EXISTS"] * 7 + ["OK"]
        wait_op(api, next(a for c, a in results if c == "OK"))
    leases = api.networks.ListLeases(pb.NetworkRequest(name=cluster.network)).leases
    assert len(leases) == len({lease.ipv4 for lease in leases}) == 5


def test_request_ids(fresh_cluster):
    api, pb = fresh_cluster.api, fresh_cluster.api.pb
    request = pb.CreateInstanceRequest(image="busybox", start=True, request_id="launch-1")
    results = [outcome(f) for f in [api.instances.Create.future(request) for _ in range(6)]]
    assert {c for c, _ in results} == {"OK"} and len({a.id for _, a in results}) == 1
    op = wait_op(api, results[0][1])
    [instance] = fresh_cluster.instances()
    assert instance.name == op.subject

    stop = pb.InstanceActionRequest(name=op.subject, force=True, request_id="stop-1")
    stopped = wait_op(api, api.instances.Stop(stop))
    # The instance is stopped: a new request would be refused, the repeated one is not.
    assert api.instances.Stop(stop).id == stopped.id
    with refused(Code.ALREADY_EXISTS, "stop-1", "instance.stop", hint="new id"):
        api.instances.Start(pb.InstanceActionRequest(name=op.subject, request_id="stop-1"))
    with refused(Code.ALREADY_EXISTS, "stop-1", op.subject):
        api.instances.Stop(pb.InstanceActionRequest(name="other", request_id="stop-1"))
    with refused(Code.ALREADY_EXISTS, "launch-1"):
        api.instances.Create(pb.CreateInstanceRequest(name="another", image="busybox", request_id="launch-1"))

    fresh_cluster.kill("manager")
    fresh_cluster.restart("manager")
    api = fresh_cluster.api
    assert api.instances.Create(request).id == op.id
    assert api.instances.Stop(stop).id == stopped.id
    assert [i.name for i in fresh_cluster.instances()] == [op.subject]


# ---------------------------------------------------------------- addresses


def nic(network, **options):
    return {"type": "nic", "network": network, **{k.replace("_", "."): v for k, v in options.items()}}


def test_fixed_addresses(cluster, api):
    pb, net = api.pb, cluster.slot.network
    fixed, mac = str(net[200]), "00:16:3e:0a:0b:0c"
    first = create(api, "fix1", devices={"eth0": nic(cluster.network, ipv4_address=fixed, hwaddr=mac)})
    assert (first.nics[0].ipv4_address, first.nics[0].hwaddr) == (f"{fixed}/22", mac)
    refusals = [
        (Code.ALREADY_EXISTS, nic(cluster.network, ipv4_address=fixed), (fixed, "taken")),
        (Code.ALREADY_EXISTS, nic(cluster.network, hwaddr=mac.upper()), (mac, "taken")),
        (Code.ALREADY_EXISTS, nic(cluster.network, ipv4_address=str(net[1])), (str(net[1]), "taken")),
        (Code.INVALID_ARGUMENT, nic(cluster.network, ipv4_address=str(net[-1])), (str(net[-1]),)),
        (Code.INVALID_ARGUMENT, nic(cluster.network, ipv4_address="192.0.2.1"), ("192.0.2.1", cluster.network)),
    ]
    for code, device, words in refusals:
        with refused(code, *words):
            create(api, "fix2", devices={"eth0": device})
    # It may keep its own when the card changes otherwise, and gives it back when it changes.
    update = pb.UpdateInstanceRequest(name="fix1")
    update.set_devices["eth0"].options.update(nic(cluster.network, ipv4_address=fixed, hwaddr=mac, mtu="1300"))
    assert api.instances.Update(update).instance.nics[0].mtu == 1300
    update.set_devices["eth0"].options["hwaddr"] = "00:16:3e:0a:0b:0d"
    assert api.instances.Update(update).instance.nics[0].ipv4_address == f"{fixed}/22"
    update.set_devices["eth0"].options["ipv4.address"] = str(net[201])
    moved = api.instances.Update(update).instance.nics[0]
    assert (moved.ipv4_address, moved.hwaddr) == (f"{net[201]}/22", "00:16:3e:0a:0b:0d")
    second = create(api, "fix2", devices={"eth0": nic(cluster.network, ipv4_address=fixed, hwaddr=mac)})
    assert second.nics[0].hwaddr == mac
    leases = {le.instance: le.ipv4 for le in api.networks.ListLeases(pb.NetworkRequest(name=cluster.network)).leases}
    assert leases == {"fix1": str(net[201]), "fix2": fixed}


def test_a_network_without_free_addresses(api):
    """A /29 has five addresses for instances; a sixth is refused, and nothing of it stays."""
    pb = api.pb
    api.networks.Create(pb.Network(name="lxtasmall", config={"ipv4.address": "10.251.1.1/29"}))
    small = {"eth0": nic("lxtasmall")}
    made = [create(api, f"s{i}", devices=small) for i in range(5)]
    addresses = {ipaddress.ip_interface(i.nics[0].ipv4_address).ip for i in made}
    assert addresses == set(ipaddress.ip_network("10.251.1.0/29").hosts()) - {ipaddress.ip_address("10.251.1.1")}
    for _ in range(3):
        with refused(Code.RESOURCE_EXHAUSTED, "lxtasmall", "no free address", "s5"):
            create(api, "s5", devices=small)
    with refused(Code.FAILED_PRECONDITION, "lxtasmall", "s0"):
        api.networks.Delete(pb.NetworkRequest(name="lxtasmall"))
    assert len(api.networks.Get(pb.NetworkRequest(name="lxtasmall")).used_by) == 5
    act(api, "Delete", "s3")
    assert create(api, "s5", devices=small).nics[0].ipv4_address == made[3].nics[0].ipv4_address


def test_host_ids_run_out(able):  # noqa: ARG001
    """Two ranges: two instances. The third is refused until one is deleted."""
    with testbed.Cluster("ids", manager_args=["--idmap-count", "2"]) as cluster:
        testbed.ensure_image(cluster, "busybox")
        api, pb = cluster.api, cluster.api.pb
        bases = {create(api, name).idmap_base for name in ("a", "b")}
        assert bases == {cluster.slot.idmap_base, cluster.slot.idmap_base + 65536}
        with refused(Code.RESOURCE_EXHAUSTED, "65536 host ids", "c", hint="--idmap-count"):
            create(api, "c")
        assert len(api.networks.ListLeases(pb.NetworkRequest(name=cluster.network)).leases) == 2
        cluster.kill("manager")
        cluster.restart("manager")
        api = cluster.api
        with refused(Code.RESOURCE_EXHAUSTED, "65536 host ids"):
            create(api, "c")
        act(api, "Delete", "a")
        assert create(api, "c").idmap_base in bases


# ---------------------------------------------------------------- nodes


def test_nodes(able):  # noqa: ARG001
    cluster = testbed.Cluster("gone")
    try:
        cluster.start()
        testbed.ensure_image(cluster, "busybox")
        node_comes_and_goes(cluster)
    finally:
        cluster.stop(quiet=True)  # an instance runs on, which nobody knows any more
    assert not machine.leftovers(cluster.dir, cluster.cgroup_root, cluster.prefix)


def node_comes_and_goes(cluster):
    api, pb = cluster.api, cluster.api.pb
    node = api.nodes.Get(pb.NodeRequest(name=cluster.node))
    assert (node.status, node.instances) == (pb.NODE_STATUS_ONLINE, 0)
    assert node.facts.kernel and node.facts.cpus and node.facts.memory_bytes and len(node.fingerprint) == 64
    create(api, "kept", start=True)
    with refused(Code.NOT_FOUND, "elsewhere", hint="node list"):
        api.nodes.Get(pb.NodeRequest(name="elsewhere"))
    with refused(Code.FAILED_PRECONDITION, "1 instance", hint="--force"):
        api.nodes.Remove(pb.NodeRequest(name=cluster.node))
    with refused(Code.FAILED_PRECONDITION, "is online"):
        api.nodes.Remove(pb.NodeRequest(name=cluster.node, force=True))

    # Away: unknown, not lost; verbs wait for it, and can be given up.
    cluster.kill("agent")
    wait_for(lambda: cluster.status("kept") == "UNKNOWN", 10)
    with refused(Code.UNAVAILABLE, "offline", hint="node list"):
        list(api.instances.ConsoleLog(pb.ConsoleLogRequest(instance="kept")))
    with refused(Code.UNAVAILABLE, "no node is online", hint="lxagentd"):
        api.instances.Create(pb.CreateInstanceRequest(name="new", image="busybox"))
    with refused(Code.UNAVAILABLE, cluster.node, "offline"):
        api.instances.Create(pb.CreateInstanceRequest(name="new", image="busybox", target=cluster.node))
    waiting = api.instances.Restart(pb.InstanceActionRequest(name="kept", force=True))
    wait_for(lambda: api.operations.Get(pb.OperationRequest(id=waiting.id)).phase == "waiting for node", 5)
    api.operations.Cancel(pb.OperationRequest(id=waiting.id))
    ended = list(api.operations.Watch(pb.OperationRequest(id=waiting.id), timeout=10))[-1]
    assert (ended.status, ended.error_code) == (pb.OPERATION_STATUS_CANCELLED, 1)
    waiting = api.instances.Restart(pb.InstanceActionRequest(name="kept", force=True))

    # Gone for good: the cluster forgets it and what lived there.
    api.nodes.Remove(pb.NodeRequest(name=cluster.node, force=True))
    ended = list(api.operations.Watch(pb.OperationRequest(id=waiting.id), timeout=10))[-1]
    assert ended.status == pb.OPERATION_STATUS_FAILURE and "removed" in ended.error
    assert not cluster.instances() and not api.nodes.List(pb.ListNodesRequest()).nodes
    assert not api.images.Get(pb.ImageRequest(image="busybox")).nodes
    assert not api.networks.ListLeases(pb.NetworkRequest(name=cluster.network)).leases
    cluster.kill("manager")
    cluster.start_manager()
    assert not cluster.instances()
    assert not cluster.api.nodes.List(pb.ListNodesRequest()).nodes


def held_spec(cluster, name):
    """The specification that the agent has on its disk."""
    with open(os.path.join(cluster.agent_dir, "instances", name, "spec.pb"), "rb") as f:
        return cluster.api.pb.InstanceSpec.FromString(f.read())


def test_changes_reach_a_node_that_was_away(fresh_cluster):
    cluster = fresh_cluster
    api, pb = cluster.api, cluster.api.pb
    api.profiles.Create(pb.Profile(name="p"))
    for name in ("far", "same"):
        create(api, name, profiles=["default", "p"] if name == "far" else [], start=True)

    # Nothing has changed: nothing is said when manager and agent meet again.
    for which in ("agent", "manager"):
        cluster.kill(which)
        cluster.restart(which)
    assert 'verb="update"' not in cluster.agent.said(1000)

    api = cluster.api
    cluster.kill("agent")
    wait_for(lambda: cluster.status("far") == "UNKNOWN", 10)
    api.instances.Update(pb.UpdateInstanceRequest(name="far", set_config={"limits.processes": "77"}))
    answer = api.profiles.Update(pb.Profile(name="p", config={"limits.memory": "48MiB"}))
    assert list(answer.applied) + list(answer.needs_restart) == ["far"]
    assert "limits.processes" not in held_spec(cluster, "far").config
    cluster.kill("manager")  # it must not have to remember
    cluster.start_manager()
    cluster.agent.start()
    cluster.wait_online()
    wait_for(lambda: held_spec(cluster, "far").config.get("limits.memory") == "48MiB", 10)
    assert held_spec(cluster, "far").config["limits.processes"] == "77"
    # The agent says so once its worker is done, a moment after the file is there; and it says so once.
    wait_for(lambda: 'verb="update"' in cluster.agent.said(1000), 10)
    assert cluster.exec("far", "true").returncode == 0
    assert cluster.agent.said(1000).count('verb="update"') == 1


def test_verbs_wait_for_a_change_under_way(api):
    """A change on its way to the node is no reason to refuse the verb that follows it."""
    pb = api.pb
    create(api, "fast", start=True)
    for round_ in range(10):
        change = api.instances.Update.future(pb.UpdateInstanceRequest(name="fast", set_config={"user.round": str(round_)}))
        while not change.done() and api.instances.Get(
                pb.GetInstanceRequest(name="fast")).config.get("user.round") != str(round_):
            pass
        act(api, "Freeze" if round_ % 2 == 0 else "Unfreeze", "fast")
        assert outcome(change)[0] == "OK"
