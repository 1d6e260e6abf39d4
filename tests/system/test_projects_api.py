"""Projects as the manager alone keeps them: names, quotas, roles, and that one sees nothing of another."""

import concurrent.futures
import itertools
import os
import threading
import time

import pytest

from manager.accesslab import Client, as_user
from manager.managerlab import (Code, every_method, grpc, manager, outcome, refused,  # noqa: F401
                                running_manager, streams)


def within(project):
    return (("lxmgr-project", project),)


@pytest.fixture
def api(manager):  # noqa: F811
    yield manager.api
    for name in ("shop", "bank"):
        clear(manager.api, name)


def clear(api, name):
    """Whatever a test has left of a project."""
    pb, meta = api.pb, within(name)
    try:
        api.projects.Get(pb.ProjectRequest(name=name))
    except grpc.RpcError:
        return
    for n in api.networks.List(pb.ListNetworksRequest(), metadata=meta).networks:
        if n.project == name:
            api.networks.Delete(pb.NetworkRequest(name=n.name), metadata=meta)
    for p in api.profiles.List(pb.ListProfilesRequest(), metadata=meta).profiles:
        if p.project == name and p.name != "default":
            api.profiles.Delete(pb.ProfileRequest(name=p.name), metadata=meta)
    api.projects.Delete(pb.ProjectRequest(name=name))


def make(api, name, **config):
    return api.projects.Create(api.pb.CreateProjectRequest(
        name=name, config={k.replace("__", "."): v for k, v in config.items()}))


# ---------------------------------------------------------------- projects themselves


def test_life_of_a_project(api):
    pb = api.pb
    made = make(api, "shop", limits__instances="3")
    assert made.name == "shop" and dict(made.config) == {"limits.instances": "3", "restricted.privileged": "true"}
    use = {u.name: u for u in made.use}
    assert (use["instances"].used, use["instances"].limited, use["instances"].limit) == (0, True, 3)
    assert not use["memory"].limited and made.profiles == 1
    assert {p.name for p in api.projects.List(pb.ListProjectsRequest()).projects} == {"default", "shop"}
    changed = api.projects.Update(pb.UpdateProjectRequest(name="shop", set_config={"limits.memory": "1GiB"},
                                                          unset_config=["limits.instances"], description="the shop",
                                                          set_description=True))
    assert dict(changed.config) == {"limits.memory": "1GiB", "restricted.privileged": "true"}
    assert changed.description == "the shop"
    # Its own profile, and the built-in ones.
    profiles = api.profiles.List(pb.ListProfilesRequest(), metadata=within("shop")).profiles
    assert [p.name for p in profiles if not p.builtin] == ["default"]
    assert {p.name for p in profiles if p.builtin} == {
        p.name for p in api.profiles.List(pb.ListProfilesRequest()).profiles if p.builtin}
    api.projects.Delete(pb.ProjectRequest(name="shop"))
    with refused(Code.NOT_FOUND, "shop"):
        api.projects.Get(pb.ProjectRequest(name="shop"))
    with refused(Code.NOT_FOUND, "shop"):
        api.instances.List(pb.ListInstancesRequest(), metadata=within("shop"))


@pytest.mark.parametrize("name, words", [
    ("", "empty"), ("Shop", "lower-case"), ("a_b", "lower-case"), ("-a", "hyphen"), ("1", "digits"), ("*", "lower-case"),
    ("a" * 33, "32"), ("a" * 64, "63"), ("default", "already exists"), ("a:b", "lower-case"), ("a/b", "lower-case"),
])
def test_names_of_projects(api, name, words):
    with refused(Code.ALREADY_EXISTS if name == "default" else Code.INVALID_ARGUMENT, words):
        make(api, name)


@pytest.mark.parametrize("key, value", [
    ("limits.instances", "-1"), ("limits.instances", "many"), ("limits.memory", "x"), ("limits.cpu", "1.5"),
    ("limits.cpus", "1"), ("restricted.privileged", "maybe"), ("restricted.networks", "a,,b"),
    ("restricted.networks", "lxbr0,"), ("security.privileged", "true"), ("", "1"),
])
def test_bad_configuration(api, key, value):
    with refused(Code.INVALID_ARGUMENT):
        api.projects.Create(api.pb.CreateProjectRequest(name="shop", config={key: value}))
    with refused(Code.INVALID_ARGUMENT):
        api.projects.Update(api.pb.UpdateProjectRequest(name="default", set_config={key: value}))
    with refused(Code.NOT_FOUND):
        api.projects.Get(api.pb.ProjectRequest(name="shop"))


def test_the_default_project_stays(api):
    pb = api.pb
    with refused(Code.FAILED_PRECONDITION, "default"):
        api.projects.Delete(pb.ProjectRequest(name="default"))
    api.projects.Update(pb.UpdateProjectRequest(name="default", set_config={"user.note": "x"}))
    assert api.projects.Get(pb.ProjectRequest(name="default")).config["user.note"] == "x"
    api.projects.Update(pb.UpdateProjectRequest(name="default", unset_config=["user.note"]))


def test_deletion_names_what_there_is(api):
    pb = api.pb
    make(api, "shop")
    api.networks.Create(pb.Network(name="shelf", config={"ipv4.address": "10.211.1.1/24"}), metadata=within("shop"))
    api.profiles.Create(pb.Profile(name="small"), metadata=within("shop"))
    with refused(Code.FAILED_PRECONDITION, "1 network (shelf)", "1 profile (small)", hint="--project shop"):
        api.projects.Delete(pb.ProjectRequest(name="shop"))


# ---------------------------------------------------------------- the header


@pytest.mark.parametrize("value", ["Shop", "a b", "../x", "a" * 64, "shop_web1", "shop:x"])
def test_malformed_header(api, value):
    with refused(Code.INVALID_ARGUMENT, "project"):
        api.instances.List(api.pb.ListInstancesRequest(), metadata=within(value))


def test_header_twice_or_for_all(api):
    pb = api.pb
    with refused(Code.INVALID_ARGUMENT, "twice"):
        api.instances.List(pb.ListInstancesRequest(), metadata=within("default") + within("default"))
    with refused(Code.INVALID_ARGUMENT, "one project"):
        api.instances.Get(pb.GetInstanceRequest(name="x"), metadata=within("*"))
    with refused(Code.INVALID_ARGUMENT, "one project"):
        api.profiles.Create(pb.Profile(name="x"), metadata=within("*"))
    with refused(Code.NOT_FOUND, "nowhere"):
        api.profiles.Create(pb.Profile(name="x"), metadata=within("nowhere"))
    api.instances.List(pb.ListInstancesRequest(), metadata=within("*"))


def test_a_key_is_no_name(api):
    """What another project's things are kept under finds nothing."""
    pb = api.pb
    make(api, "shop")
    api.profiles.Create(pb.Profile(name="small"), metadata=within("shop"))
    for name in ("shop:small", "shop_small"):
        with refused(Code.NOT_FOUND):
            api.profiles.Get(pb.ProfileRequest(name=name))
    with refused(Code.NOT_FOUND):
        api.instances.Get(pb.GetInstanceRequest(name="shop_web1"))
    with refused(Code.INVALID_ARGUMENT):
        api.images.Get(pb.ImageRequest(image="shop:x"))


# ---------------------------------------------------------------- who owns what


def test_profiles_and_networks_are_a_projects_own(api):
    pb = api.pb
    make(api, "shop")
    make(api, "bank")
    for project, memory in (("shop", "1GiB"), ("bank", "2GiB")):
        api.profiles.Create(pb.Profile(name="small", config={"limits.memory": memory}), metadata=within(project))
    for project, memory in (("shop", "1GiB"), ("bank", "2GiB")):
        p = api.profiles.Get(pb.ProfileRequest(name="small"), metadata=within(project))
        assert (p.project, p.config["limits.memory"]) == (project, memory)
    with refused(Code.NOT_FOUND):
        api.profiles.Get(pb.ProfileRequest(name="small"))
    renamed = api.profiles.Rename(pb.RenameProfileRequest(name="small", new_name="tiny"), metadata=within("shop"))
    assert renamed.project == "shop"
    api.profiles.Get(pb.ProfileRequest(name="small"), metadata=within("bank"))
    api.profiles.Delete(pb.ProfileRequest(name="tiny"), metadata=within("shop"))

    a = api.networks.Create(pb.Network(name="lan", config={"ipv4.address": "10.211.1.1/24"}), metadata=within("shop"))
    b = api.networks.Create(pb.Network(name="lan", config={"ipv4.address": "10.211.2.1/24"}), metadata=within("bank"))
    assert a.bridge != b.bridge and a.project == "shop" and len(a.bridge) <= 15
    with refused(Code.INVALID_ARGUMENT, "overlaps"):
        api.networks.Create(pb.Network(name="lan2", bridge=a.bridge, config={"ipv4.address": "10.211.1.1/24"}),
                            metadata=within("bank"))
    with refused(Code.NOT_FOUND):
        api.networks.Get(pb.NetworkRequest(name="lan"))
    seen = api.networks.List(pb.ListNetworksRequest(), metadata=within("shop")).networks
    assert {(n.project, n.name) for n in seen if n.project != "default"} == {("shop", "lan")}
    shared = next(n.name for n in seen if n.project == "default")
    api.networks.Get(pb.NetworkRequest(name=shared), metadata=within("shop"))
    with refused(Code.NOT_FOUND, shared, hint="shared"):
        api.networks.Delete(pb.NetworkRequest(name=shared), metadata=within("shop"))
    with refused(Code.NOT_FOUND, shared, hint="shared"):
        api.networks.Update(pb.UpdateNetworkRequest(name=shared, set_config={"ipv4.nat": "false"}),
                            metadata=within("shop"))
    with refused(Code.INVALID_ARGUMENT, "lxn7"):
        api.networks.Create(pb.Network(name="lxn7", config={"ipv4.address": "10.211.3.1/24"}))


def test_quota_of_networks(api):
    pb = api.pb
    make(api, "shop", limits__networks="1")

    def create(i):
        return api.networks.Create.future(pb.Network(name=f"lan{i}", config={"ipv4.address": f"10.211.{i}.1/24"}),
                                          metadata=within("shop"))

    results = [outcome(f) for f in [create(i) for i in range(5)]]
    assert sorted(r for r, _ in results) == ["OK"] + ["RESOURCE_EXHAUSTED"] * 4
    with refused(Code.RESOURCE_EXHAUSTED, "limits.networks", "1"):
        api.projects.Update(pb.UpdateProjectRequest(name="shop", set_config={"limits.networks": "0"}))


# ---------------------------------------------------------------- roles


CLERKS = itertools.count()


@pytest.fixture
def clerk(manager, api):  # noqa: F811
    """An operator of shop, of nothing else."""
    make(api, "shop")
    make(api, "bank")
    client = Client(manager, f"clerk{next(CLERKS)}", "operator", "--project", "shop")
    yield client
    manager.api.identities.Delete(api.pb.IdentityRequest(name=client.name))


def test_a_role_counts_in_its_project_alone(clerk, api):
    """Every method, with a project that is the caller's and with others."""
    pb, mine = api.pb, clerk.api()
    who = mine.identities.WhoAmI(pb.WhoAmIRequest())
    assert who.role == pb.ROLE_UNSPECIFIED and [(p.project, p.role) for p in who.projects] == [("shop", pb.ROLE_OPERATOR)]
    mine.profiles.Create(pb.Profile(name="small"), metadata=within("shop"))
    for project in ("bank", "default", "nowhere"):
        with refused(Code.PERMISSION_DENIED, project):
            mine.profiles.Create(pb.Profile(name="small"), metadata=within(project))
        with refused(Code.PERMISSION_DENIED, project):
            mine.instances.List(pb.ListInstancesRequest(), metadata=within(project))
        with refused(Code.PERMISSION_DENIED):
            mine.projects.Get(pb.ProjectRequest(name=project))
    assert [p.name for p in mine.projects.List(pb.ListProjectsRequest()).projects] == ["shop"]
    for call, request in ((mine.nodes.List, pb.ListNodesRequest()), (mine.identities.List, pb.ListIdentitiesRequest()),
                          (mine.audit.List, pb.ListAuditRequest()), (mine.audit.List, pb.ListAuditRequest(project="shop")),
                          (mine.projects.Update, pb.UpdateProjectRequest(name="shop")),
                          (mine.projects.Delete, pb.ProjectRequest(name="shop")),
                          (mine.networks.Create, pb.Network(name="lan")),
                          (mine.identities.CreateToken, pb.CreateIdentityTokenRequest(name="x", role=3))):
        with refused(Code.PERMISSION_DENIED):
            call(request, metadata=within("shop"))


def test_every_method_refuses_another_project(clerk, api):
    """Whatever a method is for: not in a project in which there is no role."""
    anywhere = {"ListKeys", "Info", "WhoAmI", "Enrol", "Join"}
    channel = clerk.api().channel
    for path, method in every_method(api):
        if method.name in anywhere or path.endswith(("ProjectService/List", "ProjectService/Get")):
            continue
        client, server = streams(path)
        kind = f"{'stream' if client else 'unary'}_{'stream' if server else 'unary'}"
        call = getattr(channel, kind)(path, request_serializer=None, response_deserializer=None)
        with pytest.raises(grpc.RpcError) as info:
            answer = call(iter([b""]) if client else b"", timeout=10, metadata=within("bank"))
            list(answer) if server else answer
        assert info.value.code() is Code.PERMISSION_DENIED, (path, info.value.details())


def test_lists_show_nothing_of_others(clerk, api):
    pb, mine = api.pb, clerk.api()
    for project in ("shop", "bank"):
        api.profiles.Create(pb.Profile(name=f"of-{project}"), metadata=within(project))
        net = {"shop": "10.211.1.1/24", "bank": "10.211.2.1/24"}[project]
        api.networks.Create(pb.Network(name=f"net-{project}", config={"ipv4.address": net}), metadata=within(project))
    for meta in (within("shop"), within("*")):
        texts = [str(mine.profiles.List(pb.ListProfilesRequest(), metadata=meta)),
                 str(mine.networks.List(pb.ListNetworksRequest(), metadata=meta)),
                 str(mine.instances.List(pb.ListInstancesRequest(), metadata=meta)),
                 str(mine.images.List(pb.ListImagesRequest(), metadata=meta)),
                 str(mine.operations.List(pb.ListOperationsRequest(all=True), metadata=meta)),
                 str(mine.projects.List(pb.ListProjectsRequest(), metadata=meta)),
                 str(mine.system.Info(pb.SystemInfoRequest(), metadata=meta))]
        assert "bank" not in "".join(texts)
        assert "of-shop" in texts[0] and "net-shop" in texts[1]
    everything = str(api.profiles.List(pb.ListProfilesRequest(), metadata=within("*")))
    assert "of-bank" in everything and "of-shop" in everything


def test_events_of_others_are_not_seen(clerk, api):
    pb, seen = api.pb, []
    for meta in (within("shop"), within("*")):
        watch = clerk.api().events.Watch(pb.WatchEventsRequest(), metadata=meta)
        thread = threading.Thread(target=lambda w=watch: [seen.append(e) for e in quiet(w)])
        thread.start()
        wait_subscribed(api)
        make(api, "third")
        api.projects.Delete(pb.ProjectRequest(name="third"))
        watch.cancel()
        thread.join(10)
    assert not [e for e in seen if e.project != "shop"], seen


def quiet(stream):
    try:
        yield from stream
    except grpc.RpcError:
        pass


def wait_subscribed(api):
    time.sleep(0.5)


def test_changed_roles_act_at_once(clerk, api):
    pb, mine = api.pb, clerk.api()
    watch = mine.events.Watch(pb.WatchEventsRequest(), metadata=within("shop"))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        end = pool.submit(lambda: outcome_of(watch))
        wait_subscribed(api)
        api.identities.Update(pb.UpdateIdentityRequest(
            name=clerk.name, set_projects=[pb.ProjectRole(project="bank", role=pb.ROLE_VIEWER),
                                        pb.ProjectRole(project="shop", role=pb.ROLE_UNSPECIFIED)]))
        assert end.result(10) is Code.PERMISSION_DENIED
    mine.profiles.List(pb.ListProfilesRequest(), metadata=within("bank"))
    with refused(Code.PERMISSION_DENIED):
        mine.profiles.Create(pb.Profile(name="x"), metadata=within("bank"))
    with refused(Code.FAILED_PRECONDITION, "no role left"):
        api.identities.Update(pb.UpdateIdentityRequest(
            name=clerk.name, set_projects=[pb.ProjectRole(project="bank", role=pb.ROLE_UNSPECIFIED)]))


def outcome_of(stream):
    try:
        for _ in stream:
            pass
    except grpc.RpcError as e:
        return e.code()
    return None


def test_roles_end_with_their_project(clerk, api):
    """One of the same name that is made later is another one."""
    pb, mine = api.pb, clerk.api()
    made = api.identities.CreateToken(pb.CreateIdentityTokenRequest(
        name="late", projects=[pb.ProjectRole(project="shop", role=pb.ROLE_ADMIN)]))
    assert made.token
    api.projects.Delete(pb.ProjectRequest(name="shop"))
    with refused(Code.PERMISSION_DENIED):
        mine.profiles.List(pb.ListProfilesRequest(), metadata=within("shop"))
    make(api, "shop")
    with refused(Code.PERMISSION_DENIED):
        mine.profiles.List(pb.ListProfilesRequest(), metadata=within("shop"))
    assert not api.identities.ListTokens(pb.ListIdentityTokensRequest()).tokens


def test_an_admin_of_a_project_is_none_of_machines(manager, api):  # noqa: F811
    pb = api.pb
    make(api, "shop")
    chief = Client(manager, "chief", "admin", "--project", "shop").api()
    try:
        disk = pb.Device(options={"type": "disk", "source": "/etc", "path": "/mnt"})
        with refused(Code.PERMISSION_DENIED, "admin"):
            chief.profiles.Create(pb.Profile(name="spy", devices={"etc": disk}), metadata=within("shop"))
        with refused(Code.PERMISSION_DENIED):
            chief.networks.Create(pb.Network(name="lan", config={"ipv4.address": "10.211.9.1/24"}),
                                  metadata=within("shop"))
        with refused(Code.PERMISSION_DENIED):
            chief.projects.Update(pb.UpdateProjectRequest(name="shop", unset_config=["restricted.privileged"]))
        chief.profiles.Create(pb.Profile(name="mine"), metadata=within("shop"))
        rows = chief.audit.List(pb.ListAuditRequest(project="shop")).entries
        assert {r.project for r in rows} == {"shop"} and [r for r in rows if r.subject == "mine"]
        with refused(Code.PERMISSION_DENIED):
            chief.audit.List(pb.ListAuditRequest())
        with refused(Code.PERMISSION_DENIED):
            chief.audit.List(pb.ListAuditRequest(project="default"))
    finally:
        api.identities.Delete(pb.IdentityRequest(name="chief"))


def test_a_user_of_the_machine(manager, api):  # noqa: F811
    make(api, "shop")
    manager.ok("identity", "create", "hand", "--user", "4242", "--role", "operator", "--project", "shop")
    os.chmod(manager.dir, 0o755)
    os.chmod(manager.socket, 0o666)
    try:
        done = as_user(manager, 4242, 4242, "--project", "shop", "profile", "create", "mine")
        assert done.returncode == 0, done.stderr
        done = as_user(manager, 4242, 4242, "profile", "list")
        assert done.returncode == 1 and "in project default" in done.stderr
        shown = manager.ok("identity", "list")
        assert "shop:operator" in shown
    finally:
        manager.ok("identity", "delete", "hand")


# ---------------------------------------------------------------- renaming


def rename(api, name, new):
    return api.projects.Rename(api.pb.RenameProjectRequest(name=name, new_name=new))


def test_rename(manager, clerk, api):  # noqa: F811
    """What the project has and who may do what in it follows; of the old name nothing is left."""
    pb, mine = api.pb, clerk.api()
    api.projects.Update(pb.UpdateProjectRequest(name="shop", set_config={"limits.memory": "1GiB"}, description="x",
                                                set_description=True))
    mine.profiles.Create(pb.Profile(name="small", config={"limits.cpu": "1"}), metadata=within("shop"))
    api.identities.CreateToken(pb.CreateIdentityTokenRequest(
        name="late", projects=[pb.ProjectRole(project="shop", role=pb.ROLE_VIEWER)]))
    watch = mine.events.Watch(pb.WatchEventsRequest(), metadata=within("shop"))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        end = pool.submit(lambda: outcome_of(watch))
        wait_subscribed(api)
        renamed = rename(api, "shop", "store")
        assert end.result(10) is Code.PERMISSION_DENIED, "who watches the old name watches nothing"

    def check(api, mine):
        p = api.projects.Get(pb.ProjectRequest(name="store"))
        assert (p.name, p.description, p.config["limits.memory"], p.profiles) == ("store", "x", "1GiB", 2)
        with refused(Code.NOT_FOUND, "there is no project shop"):
            api.projects.Get(pb.ProjectRequest(name="shop"))
        found = {p.name: p for p in mine.profiles.List(pb.ListProfilesRequest(), metadata=within("store")).profiles}
        assert found["small"].project == "store" and found["small"].config["limits.cpu"] == "1"
        assert found["default"].project == "store"
        assert [(p.project, p.role) for p in mine.identities.WhoAmI(pb.WhoAmIRequest()).projects] == \
            [("store", pb.ROLE_OPERATOR)]
        with refused(Code.PERMISSION_DENIED, "shop"):
            mine.profiles.List(pb.ListProfilesRequest(), metadata=within("shop"))
        token, = api.identities.ListTokens(pb.ListIdentityTokensRequest()).tokens
        assert [(p.project, p.role) for p in token.projects] == [("store", pb.ROLE_VIEWER)]

    try:
        assert renamed.name == "store" and renamed.profiles == 2
        check(api, mine)
        entries = api.audit.List(pb.ListAuditRequest()).entries
        assert any(e.method.endswith("ProjectService/Rename") and "shop" in e.request and "store" in e.request
                   for e in entries), "the log names both"
        manager.manager.kill()
        manager.start_manager()
        check(manager.api, clerk.api())
        # Another of the old name has nothing of it.
        make(manager.api, "shop")
        with refused(Code.PERMISSION_DENIED):
            clerk.api().profiles.List(pb.ListProfilesRequest(), metadata=within("shop"))
    finally:
        manager.api.identities.DeleteToken(pb.IdentityRequest(name="late"))
        clear(manager.api, "store")


def test_rename_refused(api):
    """Nothing has changed then."""
    pb = api.pb
    make(api, "shop")
    make(api, "bank")
    for name, new, code, words in (("default", "x", Code.FAILED_PRECONDITION, "cannot be renamed"),
                                   ("nowhere", "x", Code.NOT_FOUND, "there is no project nowhere"),
                                   ("shop", "bank", Code.ALREADY_EXISTS, "project bank already exists"),
                                   ("shop", "shop", Code.ALREADY_EXISTS, "project shop already exists"),
                                   ("shop", "default", Code.ALREADY_EXISTS, "default"),
                                   ("shop", "Bad_Name", Code.INVALID_ARGUMENT, "Bad_Name"),
                                   ("shop", "", Code.INVALID_ARGUMENT, "name"),
                                   ("shop", "a" * 33, Code.INVALID_ARGUMENT, "longer than")):
        with refused(code, words):
            rename(api, name, new)
    api.networks.Create(pb.Network(name="shelf", config={"ipv4.address": "10.211.1.1/24"}), metadata=within("shop"))
    with refused(Code.FAILED_PRECONDITION, "1 network (shelf)", hint="--project shop"):
        rename(api, "shop", "store")
    assert {p.name for p in api.projects.List(pb.ListProjectsRequest()).projects} == {"default", "shop", "bank"}


# ---------------------------------------------------------------- what is written down


def test_survives_kill(able):
    with running_manager() as m:
        pb = m.api.pb
        make(m.api, "shop", limits__memory="1GiB")
        m.api.profiles.Create(pb.Profile(name="small"), metadata=within("shop"))
        m.api.networks.Create(pb.Network(name="lan", config={"ipv4.address": "10.211.1.1/24"}), metadata=within("shop"))
        m.ok("identity", "create", "hand", "--user", "4242", "--role", "viewer", "--project", "shop:operator")

        def kept():
            return m.ok("project", "show", "shop"), m.ok("project", "show", "default"), m.ok("identity", "show", "hand")

        before, stop = kept(), threading.Event()

        def busy():
            i = 0
            while not stop.is_set():
                m.cli("project", "create", f"p{i}")
                m.cli("project", "delete", f"p{i}")
                i += 1

        thread = threading.Thread(target=busy)
        thread.start()
        for _ in range(3):
            time.sleep(0.5)
            m.manager.kill()
            m.start_manager()
        stop.set()
        thread.join(30)
        for p in m.api.projects.List(pb.ListProjectsRequest()).projects:
            if p.name.startswith("p"):
                assert p.profiles == 1
                m.api.projects.Delete(pb.ProjectRequest(name=p.name))
        assert kept() == before
        assert "small" in m.ok("--project", "shop", "profile", "list")
        assert m.ok("--project", "shop", "network", "get", "lan", "ipv4.address").strip() == "10.211.1.1/24"


# ---------------------------------------------------------------- the command line


def test_command_line(manager, api):  # noqa: F811
    manager.ok("project", "create", "shop", "limits.memory=2GiB", "limits.cpu=4")
    assert 'memory: "0B/2GiB"' in manager.ok("project", "show", "shop")
    assert manager.ok("project", "get", "shop", "limits.cpu").strip() == "4"
    manager.ok("project", "set", "shop", "limits.cpu=8")
    manager.ok("project", "unset", "shop", "limits.memory")
    manager.ok("project", "edit", "shop", input="name: shop\nconfig:\n  limits.instances: '7'\n")
    assert manager.ok("project", "get", "shop", "limits.instances").strip() == "7"
    assert manager.ok("project", "get", "shop", "limits.cpu").strip() == ""
    manager.ok("project", "rename", "shop", "bank")
    assert manager.ok("project", "get", "bank", "limits.instances").strip() == "7"
    again = manager.cli("project", "rename", "shop", "x")
    assert again.returncode == 1 and "there is no project shop" in again.stderr
    manager.ok("project", "mv", "bank", "shop")
    bad = manager.cli("--project", "No Such", "list")
    assert bad.returncode == 2 and "invalid project name" in bad.stderr
    gone = manager.cli("--project", "gone", "list")
    assert gone.returncode == 1 and "there is no project gone" in gone.stderr
    manager.ok("list", "--all-projects")
