"""Attacks on the manager's door: who is nobody, who may less than it tries, who was let in once.

Every attack is made for real, over the manager's own listener and socket, and must fail with a
reason; and whoever has a right to come in must still get in."""

import base64
import hashlib
import json
import socket
import sqlite3
import ssl
import subprocess
import threading
import time

import pytest

from manager.accesslab import Client, Outsider, as_user, connect, pki_file, token
from manager.managerlab import (Code, answers, every_method, grpc, outcome, raw_call, refused, running_manager)

GROUP, GID = "daemon", 1  # of every Debian; the socket is its
UID = 4_000_001           # nobody's


@pytest.fixture(scope="module")
def manager(able):
    with running_manager("--socket-group", GROUP, "--socket-role", "none") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def clients(manager):
    """One of each role."""
    return {role: Client(manager, f"c-{role}", role) for role in ("viewer", "operator", "admin")}


@pytest.fixture
def fresh(manager, request):
    """One that the test may revoke."""
    name = "x-" + hashlib.sha256(request.node.name.encode()).hexdigest()[:8]
    yield Client(manager, name, "operator")
    manager.cli("identity", "delete", name)


def audit(manager, *args):
    return json.loads(manager.ok("audit", "--format", "json", *args))


def secret_of(text):
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))["s"]


def nobody(manager, name):
    """A client that has not enrolled yet."""
    client = Client.__new__(Client)
    client.manager, client.name, client.config = manager, name, f"{manager.dir}/config-{name}"
    client.env = {"PATH": "/usr/bin:/bin", "LXMGR_CONFIG_DIR": client.config}
    return client


def info(api):
    return api.system.Info(api.pb.SystemInfoRequest(), timeout=10)


# ---------------------------------------------------------------- certificates


def test_without_a_certificate(manager):
    """Nothing can be called but what checks a token, and that refuses."""
    api = connect(manager, None, None, pki_file(manager, "ca.crt"))
    open_ = {"/lxmgr.v1.NodeService/Join", "/lxmgr.v1.IdentityService/Enrol"}
    for path, _ in every_method(manager.api):
        with pytest.raises(grpc.RpcError) as caught:
            raw_call(api.channel, path, [b""])
        expected = {Code.INVALID_ARGUMENT} if path in open_ else {Code.UNAUTHENTICATED}
        assert caught.value.code() in expected, f"{path}: {caught.value.code()} {caught.value.details()}"
    api.close()


def test_foreign_ca(manager, tmp_path):
    """One that says it is our CA, by name, with certificates for everybody who may something."""
    outsider = Outsider(tmp_path / "pki")
    for name, unit in (("c-admin", "client"), ("root", "admin"), ("manager", "manager"), ("node1", "agent")):
        api = connect(manager, *outsider.issue(name, unit), pki_file(manager, "ca.crt"))
        with refused(Code.UNAVAILABLE):
            info(api)
        api.close()
    answers(manager)


def test_expired_and_not_yet_valid(manager, tmp_path):
    """Signed by the cluster's own CA, as ours would be after their time and before it."""
    thief = Outsider(tmp_path / "pki", ca_of=manager)
    for begin, end in (("20200101000000Z", "20210101000000Z"), ("20350101000000Z", "20400101000000Z")):
        api = connect(manager, *thief.issue("c-admin", "client", begin, end), pki_file(manager, "ca.crt"))
        with refused(Code.UNAVAILABLE):
            info(api)
        api.close()


def test_signed_but_never_let_in(manager, tmp_path):
    """A certificate of our CA alone is nothing: neither with the name of an admin nor with a unit of old."""
    thief = Outsider(tmp_path / "pki", ca_of=manager)
    for name, unit, code in (("c-admin", "client", Code.UNAUTHENTICATED), ("root", "admin", Code.UNAUTHENTICATED),
                             ("node1", "agent", Code.PERMISSION_DENIED), ("manager", "manager", Code.PERMISSION_DENIED)):
        api = connect(manager, *thief.issue(name, unit), pki_file(manager, "ca.crt"))
        with refused(code, name):
            info(api)
        api.close()


def test_a_clients_certificate_serves_nobody(manager, clients):
    """It cannot stand in for the manager: it is for clients only, and says so."""
    text = subprocess.run(["openssl", "x509", "-noout", "-text"], input=clients["admin"].cert, capture_output=True,
                          check=True).stdout.decode()
    assert "TLS Web Client Authentication" in text and "TLS Web Server Authentication" not in text
    assert "OU = client" in text


# ---------------------------------------------------------------- roles


def role_needed(path):
    """As a reader of the documentation would say it."""
    service, method = path.removeprefix("/lxmgr.v1.").split("/")
    if path.endswith(("NodeService/Join", "IdentityService/Enrol")):
        return None
    if service == "AuditService" or service == "IdentityService" and method != "WhoAmI":
        return "admin"
    reads = method in ("List", "Get", "ListLeases", "ListKeys", "Watch", "Info", "Explain", "WhoAmI")
    if reads:
        return "viewer"
    return "admin" if service in ("NodeService", "NetworkService", "ProjectService") else "operator"


RANK = {"viewer": 1, "operator": 2, "admin": 3}


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
def test_every_method_with_every_role(manager, clients, role):
    """What a role is not for is refused, whatever is asked; what it is for gets to its handler."""
    api = clients[role].api()
    for path, _ in every_method(manager.api):
        needed = role_needed(path)
        if path.endswith("EventService/Watch") or needed is None:
            continue  # waits; takes tokens
        code = Code.OK
        try:
            raw_call(api.channel, path, [b""])
        except grpc.RpcError as error:
            code = error.code()
        if RANK[role] < RANK[needed]:
            assert code is Code.PERMISSION_DENIED, f"{role} called {path}: {code}"
        else:
            assert code not in (Code.PERMISSION_DENIED, Code.UNAUTHENTICATED), f"{role} could not call {path}"
    api.close()


def test_viewers_change_nothing(manager, clients):
    before = manager.ok("profile", "list", "--format", "json"), manager.ok("identity", "list", "--format", "json")
    viewer = clients["viewer"]
    for attempt in (["profile", "create", "evil"], ["profile", "set", "default", "limits.memory=1GiB"],
                    ["profile", "delete", "default"], ["node", "token"], ["network", "create", "evil"],
                    ["identity", "set-role", "c-viewer", "admin"], ["identity", "token", "me", "--role", "admin"],
                    ["identity", "delete", "c-admin"], ["launch", "busybox", "evil"], ["audit"]):
        done = viewer.cli(*attempt)
        assert done.returncode == 1 and "needs the role" in done.stderr, (attempt, done.stderr)
    assert before == (manager.ok("profile", "list", "--format", "json"),
                      manager.ok("identity", "list", "--format", "json"))
    assert viewer.cli("list").returncode == 0


def test_operators_do_not_rise(manager, clients):
    operator = clients["operator"]
    for attempt in (["identity", "set-role", "c-operator", "admin"], ["identity", "token", "me", "--role", "admin"],
                    ["node", "token"], ["audit"]):
        done = operator.cli(*attempt)
        assert done.returncode == 1 and "needs the role admin" in done.stderr, (attempt, done.stderr)
    assert operator.cli("profile", "create", "mine").returncode == 0
    assert operator.cli("profile", "delete", "mine").returncode == 0


def test_metadata_does_not_make_an_admin(manager, clients):
    """What a client says of itself counts for nothing."""
    api = clients["viewer"].api()
    for key in ("x-role", "role", "authorization", "x-forwarded-client-cert", "user", "lxmgr-user", "grpc-internal-role"):
        with refused(Code.PERMISSION_DENIED):
            api.profiles.Create(api.pb.Profile(name="evil"), timeout=10, metadata=[(key, "admin"), ("x-uid", "0")])
    api.close()


# ---------------------------------------------------------------- the machine's own users


def test_unix_socket(manager):
    """Members of the socket's group reach it, and may what their identity says; others do not reach it."""
    assert as_user(manager, UID, GID + 100_000, "list").returncode == 1
    stranger = as_user(manager, UID, GID, "list")
    assert stranger.returncode == 1 and "may not use this cluster" in stranger.stderr

    manager.ok("identity", "create", "u1", "--user", str(UID), "--role", "viewer")
    try:
        assert as_user(manager, UID, GID, "list").returncode == 0
        who = json.loads(as_user(manager, UID, GID, "identity", "whoami", "--format", "json").stdout)
        assert (who["name"], who["role"]) == ("u1", "viewer")
        assert "needs the role operator" in as_user(manager, UID, GID, "profile", "create", "evil").stderr
        assert as_user(manager, UID + 1, GID, "list").returncode == 1
        manager.ok("identity", "set-role", "u1", "operator")
        assert as_user(manager, UID, GID, "profile", "create", "mine").returncode == 0
        assert as_user(manager, UID, GID, "profile", "delete", "mine").returncode == 0
        assert [e["subject"] for e in audit(manager, "--identity", "u1", "--method", "ProfileService/Create",
                                            "--limit", "1")] == ["mine"]
    finally:
        manager.ok("identity", "delete", "u1")
    assert as_user(manager, UID, GID, "list").returncode == 1


def test_unix_groups(manager):
    """A group's members have its role; a member's own identity comes first, also when it may less."""
    manager.ok("identity", "create", "g1", "--group", GROUP, "--role", "operator")
    try:
        assert as_user(manager, UID, GID, "identity", "whoami").returncode == 0
        manager.ok("identity", "create", "u2", "--user", str(UID), "--role", "viewer")
        assert "needs the role operator" in as_user(manager, UID, GID, "profile", "create", "evil").stderr
        manager.ok("identity", "delete", "u2")
    finally:
        manager.ok("identity", "delete", "g1")
    assert as_user(manager, UID, GID, "list").returncode == 1


def test_bad_identities(manager):
    for args, word in ((["A!", "--user", "1000"], "identity"), (["a", "--user", "root"], "root is an admin"),
                       (["a", "--user", "no-such-user-here"], "has no user"),
                       (["a", "--group", "no-such-group-here"], "has no group"), (["c-x", "--csr", "/dev/null"], "")):
        done = manager.cli("identity", "create", *args, "--role", "viewer")
        assert done.returncode in (1, 2) and word in done.stderr, (args, done.stderr)
    for args in (["a", "--user", "1", "--group", "1", "--role", "viewer"], ["a", "--user", "1"],
                 ["a", "--user", "1", "--role", "root"], ["a", "--role", "viewer"]):
        assert manager.cli("identity", "create", *args).returncode == 2, args
    api = manager.api
    for request in (dict(name="a", user="1000"), dict(name="a", user="1000", role=99),
                    dict(name="a", user="1000", group="1", role=1), dict(name="a", role=1),
                    dict(name="a", user="x" * 1000, role=1), dict(name="a", csr_pem="x", role=1),
                    dict(name="a", csr_pem="x" * 20000, role=1), dict(name="a", user="1000", role=1, description="x" * 2000)):
        with refused(Code.INVALID_ARGUMENT):
            api.identities.Create(api.pb.CreateIdentityRequest(**request), timeout=10)
    assert "a" not in [i["name"] for i in json.loads(manager.ok("identity", "list", "--format", "json"))]


# ---------------------------------------------------------------- revocation


def outcome_of(call):
    try:
        for _ in call:
            pass
        return Code.OK
    except grpc.RpcError as error:
        return error.code()


def wait_known(manager, api, name):
    """Until the manager serves a call of that client's connection."""
    assert info(api).user == name


def test_revoked_with_an_open_stream(manager, fresh):
    """The stream ends at once, and nothing is answered any more, on the same connection and on a new one."""
    api = fresh.api()
    wait_known(manager, api, fresh.name)
    calls = [api.events.Watch(api.pb.WatchEventsRequest(), timeout=60) for _ in range(3)]
    info(api)  # behind them on the same connection: they have begun
    manager.ok("identity", "delete", fresh.name)
    assert [outcome_of(c) for c in calls] == [Code.UNAUTHENTICATED] * 3
    for again in (api, fresh.api()):
        with refused(Code.UNAUTHENTICATED, fresh.name, hint="identity token"):
            again.system.Info(again.pb.SystemInfoRequest(), timeout=10, wait_for_ready=True)
        again.close()
    assert "no longer, of this cluster" in fresh.cli("list").stderr


def test_demoted_with_an_open_stream(manager, fresh):
    """A call that needs more than what is left ends; one that does not goes on."""
    api = fresh.api()
    wait_known(manager, api, fresh.name)
    gate = threading.Event()

    def slowly():
        gate.wait(30)
        return
        yield

    pushing = api.images.Import(slowly(), timeout=60)  # an operator's, waits for its first message
    watching = api.events.Watch(api.pb.WatchEventsRequest(), timeout=60)
    info(api)
    manager.ok("identity", "set-role", fresh.name, "viewer")
    assert outcome_of(pushing) is Code.PERMISSION_DENIED
    gate.set()
    assert info(api).role == "viewer"
    assert watching.is_active()
    watching.cancel()
    api.close()


def test_the_name_again(manager, fresh):
    """Somebody new with a revoked one's name does not give its certificate back."""
    old = fresh.cert, fresh.key, fresh.ca
    manager.ok("identity", "delete", fresh.name)
    again = Client(manager, fresh.name, "admin") if not fresh.run("remote", "remove", "there").returncode else None
    assert again.cli("identity", "list").returncode == 0
    api = connect(manager, *old)
    with refused(Code.UNAUTHENTICATED):
        info(api)
    api.close()


def test_revocation_lasts(manager, fresh):
    """Over a restart of the manager, and so do roles and tokens."""
    kept = token(manager, "kept", "viewer")
    manager.ok("identity", "delete", fresh.name)
    manager.kill("manager")
    manager.start_manager()
    assert "no longer, of this cluster" in fresh.cli("list").stderr
    client = nobody(manager, "kept")
    assert client.add("there", kept).returncode == 0
    assert client.cli("identity", "whoami").returncode == 0
    manager.ok("identity", "delete", "kept")


# ---------------------------------------------------------------- tokens


def test_token_twice(manager):
    first = Client(manager, "once", "viewer")
    assert first.cli("list").returncode == 0
    text = token(manager, "twice", "admin")
    assert first.add("second", text).returncode == 0
    done = first.add("third", text)
    assert done.returncode == 1 and "unknown, used" in done.stderr
    assert not [r for r in json.loads(first.run("remote", "list", "--format", "json").stdout) if r["name"] == "third"]
    manager.ok("identity", "delete", "once", "twice")


def test_token_twice_at_once(manager):
    """Of many who use it in the same moment one gets in."""
    text = token(manager, "race", "viewer")
    secret = secret_of(text)
    api = connect(manager, None, None, pki_file(manager, "ca.crt"))
    csr = subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                          "-keyout", "/dev/null", "-subj", "/CN=whoever"], capture_output=True, check=True).stdout
    request = api.pb.EnrolRequest(secret=secret, csr_pem=csr)
    found = [outcome(f)[0] for f in [api.identities.Enrol.future(request, timeout=20) for _ in range(30)]]
    assert sorted(set(found)) == ["OK", "PERMISSION_DENIED"] and found.count("OK") == 1
    api.close()
    manager.ok("identity", "delete", "race")


def test_token_late(manager):
    text = token(manager, "late", "admin", "--ttl", "1s")
    end = time.monotonic() + 20
    while manager.ok("identity", "list-tokens", "--format", "csv") and time.monotonic() < end:
        time.sleep(0.1)
    client = nobody(manager, "late")
    done = client.add("there", text)
    assert done.returncode == 1 and "expired" in done.stderr
    assert "late" not in manager.ok("identity", "list")


def test_token_taken_back(manager):
    text = token(manager, "back", "admin")
    manager.ok("identity", "revoke-token", "back")
    client = nobody(manager, "back")
    assert client.add("there", text).returncode == 1
    assert manager.cli("identity", "revoke-token", "back").returncode == 1


def test_tokens_of_the_other_kind(manager):
    """A machine's token makes no client, a client's no machine; each says what it is."""
    client = nobody(manager, "other")
    done = client.add("there", manager.ok("node", "token", "-q").strip())
    assert done.returncode == 1 and "lxagentd --join" in done.stderr
    for bad in ("", "x", "eyJ2IjoxfQ", "A" * 5000):
        assert client.add("there", bad).returncode == 1
    node = manager.ok("node", "token", "-q").strip()
    secret = secret_of(node)
    api = connect(manager, None, None, pki_file(manager, "ca.crt"))
    with refused(Code.PERMISSION_DENIED, "enrolment token"):
        api.identities.Enrol(api.pb.EnrolRequest(secret=secret, csr_pem="x"), timeout=10)
    mine = token(manager, "other", "admin")
    secret = secret_of(mine)
    csr = Outsider(manager.dir + "/pki-other")
    csr.issue("node9", "agent")
    with refused(Code.PERMISSION_DENIED, "join token"):
        api.nodes.Join(api.pb.JoinRequest(secret=secret, name="node9", address="127.0.0.1:1",
                                          csr_pem=csr.read("node9.csr")), timeout=10)
    api.close()
    manager.ok("identity", "revoke-token", "other")


def test_someone_in_between(manager, tmp_path):
    """A server that is not the token's manager learns no secret: the client hangs up before it says it."""
    text = token(manager, "trap", "admin")
    outsider = Outsider(tmp_path / "pki")
    outsider.issue("manager", "manager")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pki/manager.crt", tmp_path / "pki/manager.key")
    context.set_alpn_protocols(["h2"])
    listener = socket.create_server(("127.0.0.1", 0))
    fields = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    fields["a"] = [f"127.0.0.1:{listener.getsockname()[1]}"]
    said = []

    def serve():
        raw, _ = listener.accept()
        raw.settimeout(10)
        try:
            with context.wrap_socket(raw, server_side=True) as tls:
                said.append(tls.recv(65536))
        except OSError:
            pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    client = nobody(manager, "trap")
    done = client.add("there", base64.urlsafe_b64encode(json.dumps(fields).encode()).decode().rstrip("="))
    thread.join(15)
    listener.close()
    assert done.returncode == 1 and "is not signed by the CA with fingerprint" in done.stderr
    assert not [s for s in said if fields["s"].encode() in s]
    manager.ok("identity", "revoke-token", "trap")


# ---------------------------------------------------------------- replays


def test_replayed_request_id(manager, clients):
    """The same request again is answered as then and done once; its id for something else is refused."""
    api = clients["operator"].api()
    request = api.pb.BuildImageRequest(template="no/such", request_id="r-1")
    first = outcome(api.images.Build.future(request, timeout=10))
    again = outcome(api.images.Build.future(request, timeout=10))
    assert first[0] == again[0] != "OK"
    # A viewer who has seen an id gets nothing for it.
    viewer = clients["viewer"].api()
    with refused(Code.PERMISSION_DENIED):
        viewer.images.Build(request, timeout=10)
    for api_ in (api, viewer):
        api_.close()


# ---------------------------------------------------------------- the audit log


def test_audit_names_who_and_what(manager, clients):
    assert clients["operator"].cli("profile", "create", "seen").returncode == 0
    clients["operator"].cli("profile", "set", "seen", "environment.PASSWORD=hunter2", "limits.memory=1GiB")
    assert clients["viewer"].cli("profile", "delete", "seen").returncode == 1
    assert clients["operator"].cli("profile", "delete", "seen").returncode == 0
    rows = [e for e in audit(manager) if e["method"].startswith("ProfileService/")][:4]
    assert [(e["identity"], e["method"], e["result"]) for e in rows] == [
        ("c-operator", "ProfileService/Delete", "OK"), ("c-viewer", "ProfileService/Delete", "PERMISSION_DENIED"),
        ("c-operator", "ProfileService/Update", "OK"), ("c-operator", "ProfileService/Create", "OK")]
    assert "limits.memory=1GiB" in rows[2]["request"] and "environment.PASSWORD=***" in rows[2]["request"]
    assert rows[0]["peer"] == "127.0.0.1" and rows[0]["subject"] == "seen"
    ids = [e["id"] for e in audit(manager, "--limit", "0")]
    assert ids == sorted(ids, reverse=True)


def test_audit_has_no_secrets(manager):
    text = token(manager, "quiet", "viewer")
    secret = secret_of(text)
    client = nobody(manager, "quiet")
    assert client.add("there", text).returncode == 0
    everything = manager.ok("audit", "--limit", "0", "--format", "json")
    assert "quiet" in everything
    assert secret not in everything and text not in everything and "BEGIN CERTIFICATE" not in everything
    with open(manager.manager.log, encoding="utf-8", errors="replace") as f:
        assert secret not in f.read()
    manager.ok("identity", "delete", "quiet")


def test_audit_of_reads_is_empty(manager, clients):
    """Readers leave no rows, and so cost no write."""
    before = audit(manager, "--limit", "1")[0]["id"]
    for args in (["list"], ["profile", "list"], ["identity", "whoami"], ["node", "list"]):
        assert clients["viewer"].cli(*args).returncode == 0
    assert audit(manager, "--limit", "1")[0]["id"] == before


def test_audit_filters(manager, clients):
    clients["operator"].cli("profile", "create", "f1")
    clients["operator"].cli("profile", "delete", "f1")
    assert {e["identity"] for e in audit(manager, "--identity", "c-operator")} == {"c-operator"}
    assert {e["method"] for e in audit(manager, "--method", "Create")} >= {"ProfileService/Create"}
    assert all(e["method"].startswith("ProfileService/") for e in audit(manager, "--method", "ProfileService"))
    assert all(e["result"] != "OK" for e in audit(manager, "--refused"))
    assert audit(manager, "--until", "2020-01-01") == [] and audit(manager, "--since", "1h")
    assert manager.cli("audit", "--since", "yesterday").returncode == 2
    for evil in ("' OR 1=1 --", "%", "_"):
        assert audit(manager, "--identity", evil) == [] and audit(manager, "--method", evil) == []
    api = manager.api
    with refused(Code.INVALID_ARGUMENT):
        api.audit.List(api.pb.ListAuditRequest(limit=100_000), timeout=10)
    with refused(Code.INVALID_ARGUMENT):
        api.audit.List(api.pb.ListAuditRequest(identity="x" * 10_000), timeout=10)


def test_flood_of_refused_calls_is_bounded(manager, clients):
    """Who is refused a thousand times fills no log; how often it was is said."""
    api = clients["viewer"].api()
    before = len(audit(manager, "--limit", "0", "--identity", "c-viewer", "--refused"))
    found = [outcome(f)[0] for f in [api.profiles.Create.future(api.pb.Profile(name="evil"), timeout=30)
                                     for _ in range(1000)]]
    assert set(found) == {"PERMISSION_DENIED"}
    assert len(audit(manager, "--limit", "0", "--identity", "c-viewer", "--refused")) - before < 100
    end, said = time.monotonic() + 20, False
    while not said and time.monotonic() < end:
        clients["viewer"].cli("profile", "create", "evil")
        said = any("more before it" in e["error"] for e in audit(manager, "--identity", "c-viewer", "--refused"))
    assert said
    api.close()


def test_the_store_keeps_the_log(manager):
    """Not even with SQL are rows changed, or deleted before their time."""
    db = sqlite3.connect(f"{manager.manager_dir}/store.db", timeout=10)
    try:
        assert db.execute("SELECT count(*) FROM audit").fetchone()[0] > 10
        for sql in ("UPDATE audit SET identity = 'nobody'", "DELETE FROM audit", "DELETE FROM audit WHERE ok = 0",
                    "UPDATE audit SET ok = 1 WHERE ok = 0"):
            with pytest.raises(sqlite3.IntegrityError, match="the audit log"):
                db.execute(sql)
            db.rollback()
    finally:
        db.close()
    answers(manager)
