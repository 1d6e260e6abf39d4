"""The manager's API under a client nobody here wrote: every service and method, what a generic
client can learn of them, streams, deadlines and cancellation. Instances and images have files
of their own."""

import threading
import time

import pytest

from manager.managerlab import (Code, answers, api_pool, every_method, grpc, manager, outcome,  # noqa: F401
                                raw_call, refused, steady, wait_op)

SERVICES = ["Instance", "Image", "Profile", "Network", "Node", "Operation", "Event", "System", "Identity", "Project",
            "Audit", "Warning", "Denial", "Snapshot"]
REFLECTION = "grpc.reflection.v1alpha.ServerReflection"

# What a method may say to a request that asks for nothing.
PLAIN_REFUSALS = {Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.FAILED_PRECONDITION}


# ---------------------------------------------------------------- what there is


@pytest.fixture(scope="module")
def reflection(manager):
    """Asks the reflection service; built without its generated code, which Debian does not ship."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    # The part of reflection.proto that is used here.
    text = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
    file = descriptor_pb2.FileDescriptorProto(name="reflection-test.proto", package="t", syntax="proto3")

    def message(name, *fields):
        m = file.message_type.add(name=name)
        for field, number, kind, many in fields:
            f = m.field.add(name=field, number=number, label=3 if many else 1)
            if isinstance(kind, str):
                f.type, f.type_name = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE, f".t.{kind}"
            else:
                f.type = kind

    message("Request", ("host", 1, text, False), ("file_by_filename", 3, text, False),
            ("file_containing_symbol", 4, text, False), ("list_services", 7, text, False))
    message("Files", ("file_descriptor_proto", 1, descriptor_pb2.FieldDescriptorProto.TYPE_BYTES, True))
    message("Service", ("name", 1, text, False))
    message("Services", ("service", 1, "Service", True))
    message("Error", ("error_code", 1, descriptor_pb2.FieldDescriptorProto.TYPE_INT32, False),
            ("error_message", 2, text, False))
    message("Response", ("valid_host", 1, text, False), ("original_request", 2, "Request", False),
            ("file_descriptor_response", 4, "Files", False), ("list_services_response", 6, "Services", False),
            ("error_response", 7, "Error", False))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    factory = message_factory.MessageFactory(pool)
    request, response = (factory.GetPrototype(pool.FindMessageTypeByName(f"t.{n}")) for n in ("Request", "Response"))
    call = manager.api.channel.stream_stream(f"/{REFLECTION}/ServerReflectionInfo",
                                             request_serializer=request.SerializeToString,
                                             response_deserializer=response.FromString)

    def ask(*questions):
        return list(call((request(**q) for q in questions), timeout=20))

    return ask


def test_reflection_lists_all_services(reflection):
    [answer] = reflection({"list_services": "*"})
    assert sorted(s.name for s in answer.list_services_response.service) == sorted(
        [REFLECTION] + [f"lxmgr.v1.{s}Service" for s in SERVICES])


def test_reflection_describes_all_it_lists(manager, reflection):
    """A generic client builds every message type from what the server says alone."""
    from google.protobuf import descriptor_pb2, descriptor_pool

    names = [f"lxmgr.v1.{s}Service" for s in SERVICES]
    files = {}
    for answer in reflection(*({"file_containing_symbol": n} for n in names)):
        assert answer.file_descriptor_response.file_descriptor_proto
        for raw in answer.file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(raw)
            files[file.name] = file
    for answer in reflection(*({"file_by_filename": n} for n in files)):
        first = descriptor_pb2.FileDescriptorProto.FromString(
            answer.file_descriptor_response.file_descriptor_proto[0])
        assert first.SerializeToString() == files[first.name].SerializeToString()

    pool = descriptor_pool.DescriptorPool()
    waiting = dict(files)
    while waiting:  # imports first
        ready = [f for f in waiting.values() if not set(f.dependency) & set(waiting)]
        assert ready, "imports go round in circles or are missing"
        for file in ready:
            pool.Add(file)
            del waiting[file.name]
    for name in names:
        for method in pool.FindServiceByName(name).methods:
            # The same messages as in the .proto files that the tests are made from.
            mine = api_pool().FindMethodByName(f"{name}.{method.name}")
            for theirs, ours in ((method.input_type, mine.input_type), (method.output_type, mine.output_type)):
                assert [(f.name, f.number, f.type, f.label) for f in theirs.fields] == [
                    (f.name, f.number, f.type, f.label) for f in ours.fields]


def symbols(file):
    """Every service, method, message and enum of a file, nested ones too."""
    def below(message):
        yield message.full_name
        for enum in message.enum_types:
            yield enum.full_name
        for nested in message.nested_types:
            yield from below(nested)

    for service in file.services_by_name.values():
        yield service.full_name
        for method in service.methods:
            yield method.full_name
    for enum in file.enum_types_by_name.values():
        yield enum.full_name
    for message in file.message_types_by_name.values():
        yield from below(message)


def test_reflection_resolves_every_symbol(reflection):
    nouns = ["instance", "image", "profile", "network", "node", "operation", "event", "stream",
             "identity", "audit"]
    names = [s for n in nouns for s in symbols(api_pool().FindFileByName(f"lxmgr/v1/{n}.proto"))]
    assert len(names) > 150
    for name, answer in zip(names, reflection(*({"file_containing_symbol": n} for n in names))):
        assert not answer.HasField("error_response"), f"{name}: {answer.error_response.error_message}"
        assert answer.original_request.file_containing_symbol == name


def test_reflection_goes_on_after_an_error(reflection):
    wrong = [{"file_containing_symbol": "lxmgr.v1.Nothing"}, {"file_by_filename": "../x"},
             {"file_containing_symbol": "x" * 100_000}, {"host": "nothing asked"}]
    answers_ = reflection(*wrong, {"list_services": "*"})
    assert [a.error_response.error_code for a in answers_[:-1]] == [5, 5, 5, 3]
    assert answers_[-1].list_services_response.service


# ---------------------------------------------------------------- every method


def test_every_method_answers(manager):
    """To an empty request each says something of its own: nothing is unknown, unimplemented or broken."""
    seen = 0
    for path, method in every_method(manager.api):
        if path.endswith("EventService/Watch"):
            continue  # asks for all events, and waits
        try:
            raw_call(manager.api.channel, path, [b""])
        except grpc.RpcError as error:
            assert error.code() in PLAIN_REFUSALS, f"{path}: {error.code()} {error.details()}"
            assert error.details(), path
        seen += 1
    assert seen > 40
    assert answers(manager).instances == 0


def test_streams_without_a_message(manager):
    for path in ("InstanceService/Exec", "InstanceService/PushFile", "ImageService/Import"):
        with refused(Code.INVALID_ARGUMENT):
            raw_call(manager.api.channel, f"/lxmgr.v1.{path}", [])


def test_methods_that_are_not_there(manager):
    for path, words in (("/lxmgr.v1.AgentService/CreateInstance", "AgentService"),
                        ("/lxmgr.v1.InstanceService/Explode", "Explode"),
                        ("/lxmgr.v1.InstanceService/list", "list"), ("/", ""), ("//", ""), ("/x", "")):
        with refused(Code.UNIMPLEMENTED, words):
            raw_call(manager.api.channel, path, [b""])


def test_garbage_for_every_method(manager):
    """Bytes that are no protobuf: a group that never ends, a length beyond the end, a wrong wire type."""
    for path, _ in every_method(manager.api):
        for garbage in (b"\x0b", b"\x0a\xff\xff\xff\xff\x0f", b"\xff" * 40, b"\x0a\x05ab"):
            with refused(Code.INVALID_ARGUMENT):
                raw_call(manager.api.channel, path, [garbage])
    answers(manager)


def text_fields(message):
    """Paths of field numbers to every text of a message; none of ours contains itself."""
    for field in message.fields:
        if field.type == field.TYPE_STRING:
            yield [field.number]
        elif field.type == field.TYPE_MESSAGE:
            yield from ([field.number, *path] for path in text_fields(field.message_type))


def encode(path, text):
    for number in reversed(path):
        text = bytes([number << 3 | 2, len(text)]) + text
    return text


def test_text_that_is_none(manager):
    """Invalid UTF-8 and NULs in every text of every request, however deep."""
    tried = 0
    for path, method in every_method(manager.api):
        for field in text_fields(method.input_type):
            for bad in (b"a\xff\xfeb", b"\xc0\xae", b"\xed\xa0\x80", b"web1\0evil"):
                with refused(Code.INVALID_ARGUMENT):
                    raw_call(manager.api.channel, path, [encode(field, bad)])
                tried += 1
    assert tried > 300


def test_fields_of_the_future_are_tolerated(manager):
    """Field 1000 as varint, fixed, text; an enum value nobody knows."""
    unknown = b"\xc0\x3e\x05" + b"\xc1\x3e12345678" + b"\xc2\x3e\x03abc"
    assert raw_call(manager.api.channel, "/lxmgr.v1.InstanceService/List", [unknown + b"\x08\x63"])
    assert raw_call(manager.api.channel, "/lxmgr.v1.SystemService/Info", [unknown])


# ---------------------------------------------------------------- deadlines, cancellation, the system


def test_info(manager):
    info = answers(manager)
    assert (info.api, info.user, info.nodes) == ("lxmgr.v1", "root", 0)
    assert info.version and len(info.cluster_id) == 36
    assert info.address == f"127.0.0.1:{manager.manager_port}"
    assert abs(info.started_at_ns / 1e9 - time.time()) < 600


def test_deadlines_end_streams(manager):
    api = manager.api
    began = time.monotonic()
    with refused(Code.DEADLINE_EXCEEDED):
        list(api.events.Watch(api.pb.WatchEventsRequest(), timeout=0.3))
    with refused(Code.DEADLINE_EXCEEDED):
        # The client sends nothing and does not end: the import waits for its first message.
        list(api.images.Import(iter(lambda: time.sleep(2), None), timeout=0.3))
    assert time.monotonic() - began < 4


def test_cancelled_watchers_are_forgotten(manager):
    api = manager.api
    with steady(manager):
        for _ in range(10):
            calls = [api.events.Watch(api.pb.WatchEventsRequest(types=["lifecycle"])) for _ in range(100)]
            for call in calls:
                call.initial_metadata  # noqa: B018
                call.cancel()
            for call in calls:
                with refused(Code.CANCELLED):
                    next(call)


def test_too_many_calls_wait(manager):
    """More streams than a connection may have: they wait for their turn, others are served."""
    api = manager.api
    with steady(manager):
        calls = [api.events.Watch(api.pb.WatchEventsRequest(), timeout=20) for _ in range(1500)]
        other = grpc.insecure_channel(f"unix:{manager.socket}", [("grpc.use_local_subchannel_pool", 1),
                                                                 ("grpc.default_authority", "localhost")])
        raw_call(other, "/lxmgr.v1.SystemService/Info", [b""], timeout=5)
        other.close()
        for call in calls:
            call.cancel()


# ---------------------------------------------------------------- events and operations


def test_event_types(manager):
    api, pb = manager.api, manager.api.pb
    with refused(Code.INVALID_ARGUMENT, "lifecicle", "lifecycle, operation, node"):
        next(api.events.Watch(pb.WatchEventsRequest(types=["lifecicle"])))
    with refused(Code.INVALID_ARGUMENT, "more than 16"):
        next(api.events.Watch(pb.WatchEventsRequest(types=["node"] * 17)))


def test_operations_of_nobody(manager):
    api, pb = manager.api, manager.api.pb
    for id_ in ("", "abc", "ffffffff", "x" * 5000, "%s%n"):
        for method in (api.operations.Get, api.operations.Cancel):
            with refused(Code.NOT_FOUND, "no operation", hint="operation list"):
                method(pb.OperationRequest(id=id_))
        with refused(Code.NOT_FOUND, "no operation"):
            next(api.operations.Watch(pb.OperationRequest(id=id_)))


def test_events_and_operations_of_a_life(cluster):
    """What watchers see of one instance, from launch to deletion, in order."""
    api, pb = cluster.api, cluster.api.pb
    watch = api.events.Watch(pb.WatchEventsRequest())
    only_nodes = api.events.Watch(pb.WatchEventsRequest(types=["node"]))
    seen, node_events = [], []
    readers = [threading.Thread(target=collect, args=pair) for pair in ((watch, seen), (only_nodes, node_events))]
    for reader in readers:
        reader.start()
    time.sleep(0.2)

    op = api.instances.Create(pb.CreateInstanceRequest(name="life", image="busybox", start=True))
    states = list(api.operations.Watch(pb.OperationRequest(id=op.id), timeout=30))
    assert states[-1].status == pb.OPERATION_STATUS_SUCCESS
    assert (op.kind, op.subject, op.user, op.node) == ("instance.launch", "life", "root", cluster.node)
    assert states[-1].result["name"] == "life"
    # Somebody who comes late is told the end, by any unique beginning of the id.
    assert [o.status for o in api.operations.Watch(pb.OperationRequest(id=op.id[:13]), timeout=5)] == [
        pb.OPERATION_STATUS_SUCCESS]
    with refused(Code.FAILED_PRECONDITION, "already ended"):
        api.operations.Cancel(pb.OperationRequest(id=op.id))

    frozen = api.instances.Freeze(pb.InstanceActionRequest(name="life"))
    wait_op(api, frozen)
    wait_op(api, api.instances.Unfreeze(pb.InstanceActionRequest(name="life")))
    deleted = wait_op(api, api.instances.Delete(pb.InstanceActionRequest(name="life", force=True)))
    listed = api.operations.List(pb.ListOperationsRequest(all=True, limit=2)).operations
    assert listed[-1].id == deleted.id and len(listed) == 2
    assert not api.operations.List(pb.ListOperationsRequest()).operations

    time.sleep(0.2)
    for call, reader in zip((watch, only_nodes), readers):
        call.cancel()
        reader.join()
    actions = [(e.action, e.subject) for e in seen if e.type == "lifecycle" and e.subject == "life"]
    wanted = ["instance-created", "instance-started", "instance-frozen", "instance-resumed", "instance-deleted"]
    assert [a for a, _ in actions if a in wanted] in (wanted, [wanted[1], wanted[0], *wanted[2:]])
    ended = [e for e in seen if e.type == "operation" and e.action == "operation-ended"]
    assert [e.fields["kind"] for e in ended] == ["instance.launch", "instance.freeze", "instance.unfreeze",
                                                 "instance.delete"]
    assert all(abs(e.time_ns / 1e9 - time.time()) < 60 for e in seen)
    assert node_events == []


def collect(call, into):
    try:
        for event in call:
            into.append(event)
    except grpc.RpcError as error:
        assert error.code() is Code.CANCELLED
