"""Our server under a client nobody here wrote, and our client against such a server.

Needs python3-grpcio, python3-protobuf and protoc; the programs come from `make check-rpc`.
"""

import concurrent.futures
import os
import subprocess
import threading
import time

import pytest

grpc = pytest.importorskip("grpc", reason="python3-grpcio is not installed")

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../../.."))
BUILD = os.environ.get("LX_BUILD", os.path.join(ROOT, "build"))
SERVER = os.path.join(BUILD, "tests/rpc_echo_server")
CLIENT = os.path.join(BUILD, "tests/rpc_echo_client")
DESCRIPTORS = os.path.join(BUILD, "gen/tests/echo.desc")
SERVICE = "/lxmgr.test.v1.Echo/"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"

pytestmark = pytest.mark.skipif(not os.path.exists(SERVER), reason="run through `make check-rpc`")


def load_messages():
    """Message classes from the compiled descriptors, without generated modules."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    pool = descriptor_pool.DescriptorPool()
    files = descriptor_pb2.FileDescriptorSet()
    with open(DESCRIPTORS, "rb") as f:
        files.ParseFromString(f.read())
    for file in files.file:
        pool.Add(file)
    factory = message_factory.MessageFactory(pool)

    def get(name):
        return factory.GetPrototype(pool.FindMessageTypeByName(name))

    return get


message = load_messages() if os.path.exists(DESCRIPTORS) else lambda name: None
Request = message("lxmgr.test.v1.EchoRequest")
Reply = message("lxmgr.test.v1.EchoReply")


class Stub:
    def __init__(self, channel):
        coding = dict(request_serializer=Request.SerializeToString, response_deserializer=Reply.FromString)
        self.unary = channel.unary_unary(SERVICE + "Unary", **coding)
        self.server_stream = channel.unary_stream(SERVICE + "ServerStream", **coding)
        self.client_stream = channel.stream_unary(SERVICE + "ClientStream", **coding)
        self.bidi = channel.stream_stream(SERVICE + "Bidi", **coding)


# ---------------------------------------------------------------- our server, their client


def openssl(*args, **kw):
    subprocess.run(["openssl", *args], check=True, capture_output=True, **kw)


def make_certificates(path):
    """A CA, and certificates of it for a server and a client."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    openssl("req", "-x509", *key, "-subj", "/CN=test CA", "-keyout", "ca.key", "-out", "ca.crt", cwd=path)
    for name in ("server", "client"):
        openssl("req", *key, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr", cwd=path)
        with open(path / "ext", "w") as f:
            f.write(f"subjectAltName=DNS:{name}\n")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "1", "-extfile", "ext", "-out", f"{name}.crt", cwd=path)


class Running:
    """rpc_echo_server; stopping it checks that it freed everything."""

    def __init__(self, *args):
        self.process = subprocess.Popen([SERVER, *args, DESCRIPTORS], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline().split()
        assert line and line[0] == "ready", line
        self.port = int(line[1])

    def stop(self):
        self.process.terminate()
        out, _ = self.process.communicate(timeout=20)
        assert out == "gone\n"
        assert self.process.returncode == 0


@pytest.fixture(params=["unix", "tls"])
def channel(request, tmp_path):
    if request.param == "unix":
        server = Running("unix", str(tmp_path / "s"))
        ch = grpc.insecure_channel(f"unix:{tmp_path}/s")
    else:
        make_certificates(tmp_path)
        files = [str(tmp_path / f) for f in ("server.crt", "server.key", "ca.crt")]
        server = Running("tls", "127.0.0.1:0", *files)
        pem = [(tmp_path / f).read_bytes() for f in ("ca.crt", "client.key", "client.crt")]
        ch = grpc.secure_channel(f"127.0.0.1:{server.port}", grpc.ssl_channel_credentials(*pem),
                                 [("grpc.ssl_target_name_override", "server")])
    try:
        yield ch
        ch.close()
    finally:
        server.stop()


def test_unary(channel):
    reply, call = Stub(channel).unary.with_call(Request(text="hello", data=b"\0\1\2"), timeout=10)
    assert reply.text == "hello"
    assert reply.data == b"\0\1\2"
    assert ("echo-trailer", "yes") in [(m.key, m.value) for m in call.trailing_metadata()]


def test_server_stream(channel):
    replies = list(Stub(channel).server_stream(Request(count=500, size=10000), timeout=20))
    assert [r.index for r in replies] == list(range(500))
    assert all(len(r.data) == 10000 for r in replies)


def test_client_stream(channel):
    reply = Stub(channel).client_stream((Request(data=bytes(10000)) for _ in range(500)), timeout=20)
    assert (reply.messages, reply.bytes) == (500, 5000000)


def test_bidi(channel):
    turn = threading.Event()
    turn.set()

    def requests():
        for i in range(50):
            turn.wait(10)
            turn.clear()
            yield Request(text=str(i))

    n = 0
    for reply in Stub(channel).bidi(requests(), timeout=20):
        assert reply.text == str(n)
        n += 1
        turn.set()
    assert n == 50


def test_bidi_volume(channel):
    replies = list(Stub(channel).bidi((Request(data=bytes(100000)) for _ in range(200)), timeout=30))
    assert sum(len(r.data) for r in replies) == 20000000


def test_slow_reader(channel):
    n = 0
    for reply in Stub(channel).server_stream(Request(count=100, size=200000), timeout=30):
        n += len(reply.data)
        if n % 2000000 == 0:
            time.sleep(0.05)
    assert n == 20000000


def test_error(channel):
    request = Request(fail_code=9, fail_message="busy: 100% \u00fc %41", fail_hint="Wait.")
    with pytest.raises(grpc.RpcError) as e:
        Stub(channel).unary(request, timeout=10)
    assert e.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert e.value.details() == "busy: 100% \u00fc %41"
    assert ("lxmgr-hint", "Wait.") in [(m.key, m.value) for m in e.value.trailing_metadata()]


def test_deadline(channel):
    start = time.monotonic()
    with pytest.raises(grpc.RpcError) as e:
        Stub(channel).unary(Request(delay_ms=5000), timeout=0.2)
    assert e.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - start < 2


def test_cancel(channel):
    stub = Stub(channel)
    call = stub.server_stream(Request(count=100000, delay_ms=1), timeout=20)
    next(call)
    call.cancel()
    with pytest.raises(grpc.RpcError) as e:
        list(call)
    assert e.value.code() == grpc.StatusCode.CANCELLED
    assert stub.unary(Request(text="still there"), timeout=10).text == "still there"


def test_large(channel):
    stub = Stub(channel)
    data = os.urandom(4 * 1024 * 1024 - 100)
    assert stub.unary(Request(data=data), timeout=20).data == data
    with pytest.raises(grpc.RpcError) as e:
        stub.unary(Request(data=bytes(5000000)), timeout=20)
    assert e.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "5000005 bytes, the limit is 4194304" in e.value.details()
    assert stub.unary(Request(text="next"), timeout=20).text == "next"


def test_many_at_once(channel):
    stub = Stub(channel)
    calls = [stub.unary.future(Request(text=str(i), size=2000), timeout=60) for i in range(2000)]
    for i, call in enumerate(calls):
        reply = call.result()
        assert reply.text == str(i) and len(reply.data) == 2000


def test_what_is_not_there(channel):
    call = channel.unary_unary("/no.Such/Thing")
    with pytest.raises(grpc.RpcError) as e:
        call(b"", timeout=10)
    assert e.value.code() == grpc.StatusCode.UNIMPLEMENTED
    call = channel.unary_unary(SERVICE + "Unary")
    with pytest.raises(grpc.RpcError) as e:
        call(b"\x0a\xffnonsense", timeout=10)
    assert e.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_compression(channel):
    """We take no compressed messages and say so; grpcio then knows."""
    with pytest.raises(grpc.RpcError) as e:
        Stub(channel).unary(Request(data=bytes(100000)), timeout=10, compression=grpc.Compression.Gzip)
    assert e.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_metadata_limit(channel):
    with pytest.raises(grpc.RpcError) as e:
        Stub(channel).unary(Request(), metadata=[("x-big", "x" * 20000)], timeout=10)
    assert e.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert Stub(channel).unary(Request(text="next"), timeout=10).text == "next"


def test_reflection(channel):
    from google.protobuf import descriptor_pb2

    Info = message("grpc.reflection.v1alpha.ServerReflectionRequest")
    Answer = message("grpc.reflection.v1alpha.ServerReflectionResponse")
    call = channel.stream_stream(REFLECTION, request_serializer=Info.SerializeToString,
                                 response_deserializer=Answer.FromString)
    asked = [
        Info(list_services=""),
        Info(file_containing_symbol="lxmgr.test.v1.Echo"),
        Info(file_containing_symbol="lxmgr.test.v1.Echo.Bidi"),
        Info(file_containing_symbol="lxmgr.test.v1.EchoReply.index"),
        Info(file_by_filename="echo.proto"),
        Info(file_containing_symbol="lxmgr.test.v1.Nothing"),
    ]
    answers = list(call(iter(asked), timeout=10))
    assert len(answers) == len(asked)
    services = {s.name for s in answers[0].list_services_response.service}
    assert services == {"lxmgr.test.v1.Echo", "grpc.reflection.v1alpha.ServerReflection"}
    for answer in answers[1:5]:
        file = descriptor_pb2.FileDescriptorProto.FromString(answer.file_descriptor_response.file_descriptor_proto[0])
        assert file.name == "echo.proto"
        assert [m.name for m in file.service[0].method] == ["Unary", "ServerStream", "ClientStream", "Bidi"]
    assert answers[5].error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    assert answers[5].original_request == asked[5]


def test_stop_with_open_calls(tmp_path):
    server = Running("unix", str(tmp_path / "s"))
    with grpc.insecure_channel(f"unix:{tmp_path}/s") as ch:
        stub = Stub(ch)
        call = stub.server_stream(Request(count=100000, delay_ms=1), timeout=20)
        next(call)
        waiting = stub.unary.future(Request(delay_ms=20000), timeout=30)
        time.sleep(0.2)
        server.stop()
        with pytest.raises(grpc.RpcError) as e:
            list(call)
        assert e.value.code() == grpc.StatusCode.UNAVAILABLE
        assert waiting.code() == grpc.StatusCode.UNAVAILABLE


def test_no_certificate(tmp_path):
    make_certificates(tmp_path)
    files = [str(tmp_path / f) for f in ("server.crt", "server.key", "ca.crt")]
    server = Running("tls", "127.0.0.1:0", *files)
    try:
        credentials = grpc.ssl_channel_credentials((tmp_path / "ca.crt").read_bytes())
        with grpc.secure_channel(f"127.0.0.1:{server.port}", credentials,
                                 [("grpc.ssl_target_name_override", "server")]) as ch:
            with pytest.raises(grpc.RpcError) as e:
                Stub(ch).unary(Request(), timeout=5)
            assert e.value.code() == grpc.StatusCode.UNAVAILABLE
    finally:
        server.stop()


# ---------------------------------------------------------------- their server, our client


class Echo(grpc.GenericRpcHandler):
    """The service of tests/proto/echo.proto in Python."""

    def __init__(self):
        self.metadata = []

    def service(self, details):
        coding = dict(request_deserializer=Request.FromString, response_serializer=Reply.SerializeToString)
        return {
            SERVICE + "Unary": grpc.unary_unary_rpc_method_handler(self.unary, **coding),
            SERVICE + "ServerStream": grpc.unary_stream_rpc_method_handler(self.server_stream, **coding),
            SERVICE + "ClientStream": grpc.stream_unary_rpc_method_handler(self.client_stream, **coding),
            SERVICE + "Bidi": grpc.stream_stream_rpc_method_handler(self.bidi, **coding),
        }.get(details.method)

    def unary(self, request, context):
        self.metadata.append(dict((m.key, m.value) for m in context.invocation_metadata()))
        if request.fail_code:
            code = next(c for c in grpc.StatusCode if c.value[0] == request.fail_code)
            context.abort(code, request.fail_message)
        time.sleep(request.delay_ms / 1000)
        return Reply(text=request.text, data=bytes(request.size))

    def server_stream(self, request, context):
        for i in range(request.count):
            yield Reply(text=request.text, data=bytes(request.size), index=i)

    def client_stream(self, requests, context):
        sizes = [len(r.data) for r in requests]
        return Reply(messages=len(sizes), bytes=sum(sizes))

    def bidi(self, requests, context):
        for r in requests:
            yield Reply(text=r.text, data=r.data)


def test_our_client(tmp_path):
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
    echo = Echo()
    server.add_generic_rpc_handlers((echo,))
    server.add_insecure_port(f"unix:{tmp_path}/s")
    server.start()
    try:
        out = subprocess.run([CLIENT, f"unix:{tmp_path}/s"], check=True, capture_output=True, text=True, timeout=60)
    finally:
        server.stop(None)
    lines = dict(line.split(" ", 1) for line in out.stdout.splitlines())
    assert lines["unary"] == "OK text=hello bytes=0 messages=1"
    assert lines["large"] == "OK text=hello bytes=3000000 messages=1"
    assert lines["server-stream"] == "OK text=hello bytes=3000000 messages=300"
    assert lines["client-stream"] == "OK text= bytes=3000000 messages=1"
    assert lines["bidi"] == "OK text=hello bytes=3000000 messages=30"
    assert lines["error"] == "NOT_FOUND text= bytes=0 messages=0 error=no such thing: \u00e4 100%"
    assert lines["deadline"].startswith("DEADLINE_EXCEEDED")
    assert lines["cancel"].startswith("CANCELLED")
    assert lines["unknown"].startswith("UNIMPLEMENTED")
    assert echo.metadata[0]["x-test"] == "from here"
    assert echo.metadata[0]["user-agent"].startswith("lxmgr/")
