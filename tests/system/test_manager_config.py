"""Profiles and networks through the API: what is accepted, what is refused and how, changes
that meet, and that all of it is there after a restart."""

import pytest

from manager.managerlab import Code, grpc, manager, outcome, raw_call, refused, running_manager  # noqa: F401

ROOT = {"type": "disk", "path": "/"}


def devices(pb, **named):
    return {name.replace("_", "-"): pb.Device(options=options) for name, options in named.items()}


def profile(pb, name, config=None, **named):
    return pb.Profile(name=name, config=config or {}, devices=devices(pb, **named))


@pytest.fixture
def api(manager):
    """The manager's API; what a test made is removed after it."""
    api, pb = manager.api, manager.api.pb
    yield api
    for p in api.profiles.List(pb.ListProfilesRequest()).profiles:
        if p.name != "default" and not p.builtin:
            api.profiles.Delete(pb.ProfileRequest(name=p.name))
    for n in api.networks.List(pb.ListNetworksRequest()).networks:
        if n.name != manager.network:
            api.networks.Delete(pb.NetworkRequest(name=n.name))


# ---------------------------------------------------------------- profiles


def test_default_profile(manager, api):
    default = api.profiles.Get(api.pb.ProfileRequest(name="default"))
    assert dict(default.devices["root"].options) == ROOT
    assert default.devices["eth0"].options["network"] == manager.network
    with refused(Code.FAILED_PRECONDITION, "default"):
        api.profiles.Delete(api.pb.ProfileRequest(name="default"))
    with refused(Code.FAILED_PRECONDITION, "default"):
        api.profiles.Rename(api.pb.RenameProfileRequest(name="default", new_name="other"))


def test_profile_life(api):
    pb = api.pb
    made = api.profiles.Create(profile(pb, "web", {"limits.memory": "256MiB"}, root=ROOT))
    assert (made.name, made.revision, list(made.used_by)) == ("web", 1, [])
    with refused(Code.ALREADY_EXISTS, "web"):
        api.profiles.Create(profile(pb, "web"))

    changed = profile(pb, "web", {"limits.memory": "512MiB", "user.note": "x"})
    changed.revision, changed.description = 1, "the web"
    changed.used_by.append("not mine to say")
    answer = api.profiles.Update(changed)
    assert (answer.profile.revision, list(answer.applied), list(answer.needs_restart)) == (2, [], [])
    got = api.profiles.Get(pb.ProfileRequest(name="web"))
    assert (got.description, dict(got.config), len(got.devices), list(got.used_by)) == (
        "the web", {"limits.memory": "512MiB", "user.note": "x"}, 0, [])

    # Whoever read revision 1 has missed something; without a revision the last one wins.
    with refused(Code.ABORTED, "web", hint="Read it again"):
        api.profiles.Update(changed)
    changed.revision = 0
    assert api.profiles.Update(changed).profile.revision == 3

    renamed = api.profiles.Rename(pb.RenameProfileRequest(name="web", new_name="www"))
    assert (renamed.name, renamed.revision) == ("www", 4)
    with refused(Code.NOT_FOUND, "web"):
        api.profiles.Get(pb.ProfileRequest(name="web"))
    with refused(Code.ALREADY_EXISTS, "default"):
        api.profiles.Rename(pb.RenameProfileRequest(name="www", new_name="default"))
    with refused(Code.INVALID_ARGUMENT, "profile name"):
        api.profiles.Rename(pb.RenameProfileRequest(name="www", new_name="W W"))
    assert [p.name for p in api.profiles.List(pb.ListProfilesRequest()).profiles if not p.builtin] == ["default", "www"]
    api.profiles.Delete(pb.ProfileRequest(name="www"))
    for call, request in ((api.profiles.Get, pb.ProfileRequest(name="www")),
                          (api.profiles.Delete, pb.ProfileRequest(name="www")),
                          (api.profiles.Update, pb.Profile(name="www")),
                          (api.profiles.Rename, pb.RenameProfileRequest(name="www", new_name="x"))):
        with refused(Code.NOT_FOUND, "no profile www", hint="profile list"):
            call(request)


def test_bad_profiles(manager, api):
    pb = api.pb
    nic = {"type": "nic", "network": manager.network}
    bad = [
        (profile(pb, ""), "name", ""),
        (profile(pb, "a b"), "name", "a-z"),
        (profile(pb, "x" * 64), "name", ""),
        (profile(pb, "p", {"limits.memry": "1GiB"}), "limits.memry", "limits.memory"),
        (profile(pb, "p", {"limits.memory": "lots"}), "limits.memory", "size"),
        (profile(pb, "p", {"limits.memory": "1GiB\nlimits.cpu"}), "limits.memory", ""),
        (profile(pb, "p", {"": "x"}), "", ""),
        (profile(pb, "p", {"user." + "k" * 300: "x"}), "", ""),
        (profile(pb, "p", {"user.big": "x" * 70_000}), "user.big", ""),
        (profile(pb, "p", {f"user.k{i}": "" for i in range(513)}), "512", ""),
        (profile(pb, "p", {"user.\x1b[31m": "x"}), "", ""),
        (profile(pb, "p", **{f"d{i}": ROOT for i in range(65)}), "64", ""),
        (profile(pb, "p", root={"type": "disc", "path": "/"}), "disc", ""),
        (profile(pb, "p", root={"path": "/"}), "root", ""),
        (profile(pb, "p", root={**ROOT, "pth": "/x"}), "pth", ""),
        (profile(pb, "p", eth0={**nic, "hwaddr": "00:16:3e:zz:00:00"}), "hwaddr", ""),
        (profile(pb, "p", eth0={**nic, "ipv4.address": "10.0.0.300"}), "ipv4.address", ""),
        (profile(pb, "p", eth0={**nic, "name": "eth0/../x"}), "name", ""),
        (profile(pb, "p", eth0={"type": "nic"}), "eth0", ""),
        (pb.Profile(name="p", description="d" * 2000), "description", ""),
    ]
    for request, word, hint in bad:
        with refused(Code.INVALID_ARGUMENT, word, hint=hint):
            api.profiles.Create(request)
    with refused(Code.NOT_FOUND, "no network lxtanone", hint="network list"):
        api.profiles.Create(profile(pb, "p", eth0={"type": "nic", "network": "lxtanone"}))
    api.profiles.Create(profile(pb, "p"))
    with refused(Code.INVALID_ARGUMENT, "limits.memry"):
        api.profiles.Update(profile(pb, "p", {"limits.memry": "1GiB"}))


def entry(key, value):
    """A map entry as it is on the wire."""
    return b"".join(bytes([tag, len(text)]) + text for tag, text in ((10, key), (18, value)))


def test_maps_that_say_one_thing_twice(manager, api):
    """The wire allows it, and every reader would pick another one."""
    name = bytes([10, 1]) + b"p"
    twice = [entry(b"limits.cpu", b"1"), entry(b"limits.cpu", b"2")]
    options = b"".join(bytes([10, len(e)]) + e for e in (entry(b"type", b"disk"), entry(b"path", b"/")))
    none = entry(b"type", b"none")
    roots = [entry(b"root", options)] * 2
    retyped = entry(b"root", options + bytes([10, len(none)]) + none)
    for field, entries in ((26, twice), (34, roots), (34, [retyped])):
        request = name + b"".join(bytes([field, len(e)]) + e for e in entries)
        with refused(Code.INVALID_ARGUMENT, "twice"):
            raw_call(manager.api.channel, "/lxmgr.v1.ProfileService/Create", [request])
    twice = [entry(b"ipv4.address", b"10.251.1.1/24"), entry(b"ipv4.address", b"10.251.2.1/24")]
    with refused(Code.INVALID_ARGUMENT, "twice"):
        raw_call(manager.api.channel, "/lxmgr.v1.NetworkService/Create",
                 [name + b"".join(bytes([26, len(e)]) + e for e in twice)])
    # A device without a value is one without options.
    with refused(Code.INVALID_ARGUMENT, "root"):
        raw_call(manager.api.channel, "/lxmgr.v1.ProfileService/Create", [name + bytes([34, 6, 10, 4]) + b"root"])


def test_profiles_with_control_characters_in_values(api):
    """A value may be any text; it comes back as it was given, and never into a message raw."""
    text = "line\nand \x1b[31mcolour\x1b[0m\ttab \u202e\u0000".rstrip("\0")
    api.profiles.Create(profile(api.pb, "odd", {"user.text": text}))
    assert api.profiles.Get(api.pb.ProfileRequest(name="odd")).config["user.text"] == text


def test_concurrent_profile_changes(api):
    """Of those who change what they have read exactly one succeeds, whatever meets."""
    pb = api.pb
    for round_ in range(20):
        name = f"race{round_}"
        created = [outcome(f) for f in [api.profiles.Create.future(profile(pb, name)) for _ in range(4)]]
        assert sorted(c for c, _ in created) == ["ALREADY_EXISTS"] * 3 + ["OK"]

        updates = [pb.Profile(name=name, revision=1, description=f"by {i}") for i in range(4)]
        results = [outcome(f) for f in [api.profiles.Update.future(u) for u in updates]]
        assert sorted(c for c, _ in results) == ["ABORTED"] * 3 + ["OK"]
        winner = next(answer for code, answer in results if code == "OK")
        assert api.profiles.Get(pb.ProfileRequest(name=name)).description == winner.profile.description

        # A change, a renaming and a deletion at once: whatever comes out is whole.
        futures = [api.profiles.Update.future(pb.Profile(name=name, description="last")),
                   api.profiles.Rename.future(pb.RenameProfileRequest(name=name, new_name=f"{name}x")),
                   api.profiles.Delete.future(pb.ProfileRequest(name=name)),
                   api.profiles.Update.future(pb.Profile(name=name, description="too late"))]
        assert {outcome(f)[0] for f in futures} <= {"OK", "NOT_FOUND", "ABORTED"}
        left = [p.name for p in api.profiles.List(pb.ListProfilesRequest()).profiles if p.name.startswith(name)]
        assert len(left) <= 1
        for there in left:
            api.profiles.Delete(pb.ProfileRequest(name=there))


def test_profiles_have_a_number(api):
    pb = api.pb
    futures = [api.profiles.Create.future(profile(pb, f"many{i}")) for i in range(1010)]
    results = [outcome(f)[0] for f in futures]
    assert results.count("OK") == 999 and results.count("RESOURCE_EXHAUSTED") == 11


def test_keys(api):
    keys = api.profiles.ListKeys(api.pb.ListKeysRequest()).keys
    names = {k.name for k in keys}
    assert {"limits.memory", "limits.cpu", "limits.processes", "boot.autostart", "user.*"} <= names
    assert all(k.type and k.help and k.scope in ("live", "restart") and k.applies_to for k in keys)


# ---------------------------------------------------------------- networks


def network(pb, name, **config):
    return pb.Network(name=name, config={k.replace("_", "."): v for k, v in config.items()})


def test_default_network(manager, api):
    [n] = api.networks.List(api.pb.ListNetworksRequest()).networks
    assert n.name == manager.network
    assert n.config["ipv4.address"] == str(manager.slot.network[1]) + "/22"
    assert n.config["ipv6.address"].startswith("fd") and n.config["ipv4.nat"] == "true"
    with refused(Code.FAILED_PRECONDITION, "profile default"):
        api.networks.Delete(api.pb.NetworkRequest(name=n.name))


def test_network_life(api):
    pb = api.pb
    asked = network(pb, "lxtanet", ipv4_address="10.251.1.1/24", ipv4_nat="true")
    asked.used_by.append("not mine to say")
    asked.status = "not mine to say"
    made = api.networks.Create(asked)
    assert (made.name, list(made.used_by), made.status) == ("lxtanet", [], "pending")
    with refused(Code.ALREADY_EXISTS, "lxtanet"):
        api.networks.Create(asked)
    update = pb.UpdateNetworkRequest(name="lxtanet", set_config={"ipv4.address": "10.251.2.1/24", "ipv4.dhcp": "false"},
                                     unset_config=["ipv4.nat"], description="mine", set_description=True)
    assert api.networks.Update(update).config["ipv4.address"] == "10.251.2.1/24"
    got = api.networks.Get(pb.NetworkRequest(name="lxtanet"))
    assert (dict(got.config), got.description) == ({"ipv4.address": "10.251.2.1/24", "ipv4.dhcp": "false"}, "mine")
    assert not api.networks.ListLeases(pb.NetworkRequest(name="lxtanet")).leases
    api.networks.Delete(pb.NetworkRequest(name="lxtanet"))
    for call in (api.networks.Get, api.networks.Delete, api.networks.ListLeases):
        with refused(Code.NOT_FOUND, "no network lxtanet", hint="network list"):
            call(pb.NetworkRequest(name="lxtanet"))
    with refused(Code.NOT_FOUND, "no network lxtanet"):
        api.networks.Update(pb.UpdateNetworkRequest(name="lxtanet"))


BAD_IPV4 = ["", "10.0.0.1", "10.0.0.1/33", "10.0.0.1/31", "10.0.0.1/7", "10.0.0/24", "10.0.0.1/24 ", "10.0.0.1/-1",
            "010.0.0.1/24", "::1/64", "10.0.0.1/24/24", "x" * 5000,
            # No address that a bridge can have: the network's own, its broadcast, loopback, multicast, nobody's.
            "10.251.3.0/24", "10.251.3.255/24", "127.0.0.1/8", "224.0.0.1/24", "0.0.0.1/8"]
BAD_IPV6 = ["", "fd00::1", "fd00::1/129", "fd00::1/31", "fd00::1/113", "fd00:::1/64", "10.0.0.1/24",
            "fd00:251::/64", "::1/64", "ff02::1/64", "fe80::1/64"]


@pytest.mark.parametrize("family,bad", [("ipv4", a) for a in BAD_IPV4] + [("ipv6", a) for a in BAD_IPV6])
def test_bad_addresses(api, family, bad):
    pb = api.pb
    key = f"{family}.address"
    with refused(Code.INVALID_ARGUMENT, "lxtabad", key, hint="like"):
        api.networks.Create(pb.Network(name="lxtabad", config={key: bad}))
    good = {"ipv4": "10.251.9.1/24", "ipv6": "fd00:251:9::1/64"}[family]
    api.networks.Create(pb.Network(name="lxtabad", config={key: good}))
    with refused(Code.INVALID_ARGUMENT, "lxtabad", key, hint="like"):
        api.networks.Update(pb.UpdateNetworkRequest(name="lxtabad", set_config={key: bad}))


def test_bad_networks(manager, api):
    pb = api.pb
    good = "10.251.3.1/24"
    bad = [
        (network(pb, "", ipv4_address=good), "name"),
        (network(pb, "lxta net", ipv4_address=good), "name"),
        (network(pb, "lxta/../x", ipv4_address=good), "name"),
        (network(pb, "lxta-longer-than-15", ipv4_address=good), "15"),
        (network(pb, "lxtanet"), "needs an ipv4.address"),
        (network(pb, "lxtanet", ipv4_address="none", ipv6_address="none"), "needs an ipv4.address"),
        (network(pb, "lxtanet", ipv4_address=good, ipv4_natt="true"), "ipv4.natt"),
        (network(pb, "lxtanet", ipv4_address=good, ipv4_nat="maybe"), "ipv4.nat"),
        (network(pb, "lxtanet", ipv4_address=good, bridge_mtu="60"), "bridge.mtu"),
        (network(pb, "lxtanet", ipv4_address=good, bridge_mtu="1e3"), "bridge.mtu"),
        (network(pb, "lxtanet", ipv4_address=good, dns_domain="-x"), "dns.domain"),
        (network(pb, "lxtanet", ipv4_address=good, dns_domain="a\nb"), "dns.domain"),
        (network(pb, "lxtanet", ipv4_address=good, dns_domain="a..b"), "dns.domain"),
        (network(pb, "lxtanet", ipv4_address=good, dns_domain="x" * 300), "dns.domain"),
        (pb.Network(name="lxtanet", description="d" * 2000, config={"ipv4.address": good}), "description"),
    ]
    for request, word in bad:
        with refused(Code.INVALID_ARGUMENT, word):
            api.networks.Create(request)
    # Two networks cannot share addresses: their routes on a node would be the same.
    taken = str(manager.slot.network[300]) + "/24"
    with refused(Code.INVALID_ARGUMENT, taken, manager.network):
        api.networks.Create(network(pb, "lxtanet", ipv4_address=taken))
    api.networks.Create(network(pb, "lxtanet", ipv4_address=good))
    with refused(Code.INVALID_ARGUMENT, "lxtanet"):
        api.networks.Create(network(pb, "lxtanet2", ipv4_address="10.251.0.1/16"))
    with refused(Code.INVALID_ARGUMENT, manager.network):
        api.networks.Update(pb.UpdateNetworkRequest(name="lxtanet", set_config={"ipv4.address": taken}))
    with refused(Code.INVALID_ARGUMENT, "needs an ipv4.address"):
        api.networks.Update(pb.UpdateNetworkRequest(name="lxtanet", unset_config=["ipv4.address"]))
    api.networks.Update(pb.UpdateNetworkRequest(name="lxtanet", set_config={"ipv4.address": "10.251.3.9/25"}))


def test_concurrent_network_changes(api):
    """Changes of different keys at once: none is lost."""
    pb = api.pb
    for round_ in range(10):
        name = f"lxtarace{round_}"
        created = [api.networks.Create.future(network(pb, name, ipv4_address=f"10.251.{4 + round_}.1/24"))
                   for _ in range(3)]
        assert sorted(outcome(f)[0] for f in created) == ["ALREADY_EXISTS"] * 2 + ["OK"]
        keys = {"ipv4.nat": "true", "ipv4.dhcp": "true", "dns.domain": "x.test", "bridge.mtu": "1400"}
        changes = [api.networks.Update.future(pb.UpdateNetworkRequest(name=name, set_config={k: v}))
                   for k, v in keys.items()]
        assert {outcome(f)[0] for f in changes} == {"OK"}
        got = dict(api.networks.Get(pb.NetworkRequest(name=name)).config)
        got.pop("ipv4.address")
        assert got == keys
        gone = [api.networks.Delete.future(pb.NetworkRequest(name=name)),
                api.networks.Update.future(pb.UpdateNetworkRequest(name=name, set_config={"ipv4.nat": "false"})),
                api.networks.Delete.future(pb.NetworkRequest(name=name)),
                api.profiles.Create.future(profile(pb, name, eth0={"type": "nic", "network": name}))]
        codes = [outcome(f)[0] for f in gone]
        assert codes[0] == "OK" and codes[3] in ("NOT_FOUND", "FAILED_PRECONDITION"), codes


# ---------------------------------------------------------------- after a restart


def kept(api, pb):
    """What a restart must not change. A network's status is what nodes say of it, and is asked for anew."""
    networks = sorted(api.networks.List(pb.ListNetworksRequest()).networks, key=lambda n: n.name)
    for network in networks:
        network.status = ""
    profiles = api.profiles.List(pb.ListProfilesRequest()).profiles
    return {p.name: p for p in profiles}, {n.name: n for n in networks}


def test_it_lasts(able):  # noqa: ARG001
    with running_manager() as cluster:
        api, pb = cluster.api, cluster.api.pb
        api.profiles.Create(profile(pb, "kept", {"user.a": "1"}, root=ROOT))
        api.profiles.Update(profile(pb, "kept", {"user.a": "2"}))
        api.profiles.Create(profile(pb, "gone"))
        api.profiles.Delete(pb.ProfileRequest(name="gone"))
        api.profiles.Create(profile(pb, "old"))
        api.profiles.Rename(pb.RenameProfileRequest(name="old", new_name="new"))
        api.networks.Create(network(pb, "lxtakept", ipv4_address="10.251.1.1/24"))
        identity = api.system.Info(pb.SystemInfoRequest()).cluster_id
        before = kept(api, pb)
        cluster.kill("manager")
        cluster.start_manager()
        api = cluster.api
        info = api.system.Info(pb.SystemInfoRequest(), wait_for_ready=True)
        after = kept(api, pb)
        assert after == before and {n for n, p in after[0].items() if not p.builtin} == {"default", "kept", "new"}
        assert info.cluster_id == identity
