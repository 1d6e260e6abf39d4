"""A TEST DOUBLE of lxmgrd: a gRPC server in python (grpcio) with canned answers.

It exists for the tests of the command line alone. It shows which requests lxmgr makes, answers
what a test wants to see handled (also what a real manager would never send), and proves that
lxmgr's client talks to a gRPC server that is not made of the same code.
"""

import concurrent.futures
import os
import subprocess
import threading
import urllib.parse
import uuid

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
PACKAGE = "lxmgr.v1"
NS = 1_000_000_000
T0 = 1_700_000_000 * NS  # 2023-11-14T22:13:20Z


class Messages:
    """Message classes by name, from the .proto files."""

    def __init__(self, directory):
        path = os.path.join(directory, "descriptors.bin")
        protos = [os.path.join("lxmgr/v1", f) for f in os.listdir(f"{TOP}/proto/lxmgr/v1") if f.endswith(".proto")]
        subprocess.run(
            ["protoc", f"--proto_path={TOP}/proto", "--include_imports", f"--descriptor_set_out={path}", *protos],
            check=True,
            timeout=60,
        )
        files = descriptor_pb2.FileDescriptorSet()
        with open(path, "rb") as f:
            files.ParseFromString(f.read())
        self.pool = descriptor_pool.DescriptorPool()
        self.factory = message_factory.MessageFactory(self.pool)
        self.services = []
        for file in files.file:
            self.pool.Add(file)
        for file in files.file:
            self.services += [f"{file.package}.{service.name}" for service in file.service]

    def __getattr__(self, name):
        return self.factory.GetPrototype(self.pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))

    def enum(self, name, value):
        return self.pool.FindEnumTypeByName(f"{PACKAGE}.{name}").values_by_name[value].number


class Refusal(Exception):
    """Raised by an answer: ends the call with this status."""

    def __init__(self, code, message, hint=""):
        super().__init__(message)
        self.code, self.message, self.hint = code, message, hint


class FakeManager:
    """Serves every public method. `answers` maps "InstanceService/List" to what answers it: a
    message, or a function of the request (for client streams: of their iterator) and the context
    that returns a message, or an iterator of them. `requests(method)` is what came in."""

    def __init__(self, messages, socket, credentials=None):
        """`credentials`: listens on TLS at 127.0.0.1, `port`, instead of the socket."""
        self.pb, self.socket, self.credentials = messages, socket, credentials
        self.lock = threading.Lock()
        self.seen = []
        self.operations = {}
        self.answers = {}
        self.server = None
        self.start()

    def start(self):
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(32))
        for name in self.pb.services:
            service = self.pb.pool.FindServiceByName(name)
            handlers = {method.name: self.handler(service, method) for method in service.methods}
            self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
        if self.credentials:
            self.port = self.server.add_secure_port("127.0.0.1:0", self.credentials)
        else:
            self.port = self.server.add_insecure_port(f"unix:{self.socket}")
        assert self.port
        self.server.start()

    def stop(self):
        self.server.stop(None).wait()

    def reset(self):
        self.seen.clear()
        self.operations.clear()
        self.answers = {"OperationService/Watch": self.watch}

    def requests(self, method):
        return [request for name, request in self.seen if name == method]

    def request(self, method):
        got = self.requests(method)
        assert len(got) == 1, (method, [name for name, _ in self.seen])
        return got[0]

    # ------------------------------------------------------------ operations

    def operation(self, *steps, subject="", kind="instance.test", **ended):
        """An answer: an operation that goes through `steps` (dicts of fields) and then ends."""

        def answer(request, context):
            ident = str(uuid.uuid4())
            name = subject or getattr(request, "name", "") or getattr(request, "image", "")
            running = self.pb.enum("OperationStatus", "OPERATION_STATUS_RUNNING")
            success = self.pb.enum("OperationStatus", "OPERATION_STATUS_SUCCESS")
            base = dict(id=ident, kind=kind, subject=name, created_at_ns=T0)
            states = [self.pb.Operation(**{**base, "status": running, **step}) for step in steps]
            states.append(self.pb.Operation(**{**base, "status": success, **ended}))
            with self.lock:
                self.operations[ident] = states
            return self.pb.Operation(**base, status=running)

        return answer

    def failing(self, message, code=9, hint=""):
        failure = self.pb.enum("OperationStatus", "OPERATION_STATUS_FAILURE")
        return self.operation(status=failure, error=message, error_code=code, hint=hint)

    def watch(self, request, context):
        for ident, states in list(self.operations.items()):
            if ident.startswith(request.id):
                yield from states
                return
        raise Refusal(grpc.StatusCode.NOT_FOUND, f"there is no operation {request.id}")

    # ------------------------------------------------------------ serving

    def handler(self, service, method):
        name = f"{service.name}/{method.name}"
        # grpcio's own descriptors of 2022 do not say how a method streams; the .proto does.
        proto = descriptor_pb2.MethodDescriptorProto()
        method.CopyToProto(proto)
        streams_in, streams_out = proto.client_streaming, proto.server_streaming
        request_type = self.factory_type(method.input_type)

        def answer(request, context):
            if not streams_in:
                with self.lock:
                    self.seen.append((name, request))
            made = self.answers.get(name)
            if made is None:
                raise Refusal(grpc.StatusCode.UNIMPLEMENTED, f"the test has no answer for {name}")
            return made(request, context) if callable(made) else made

        def refuse(context, refusal):
            if refusal.hint:
                context.set_trailing_metadata((("lxmgr-hint", urllib.parse.quote(refusal.hint)),))
            context.abort(refusal.code, refusal.message)

        def one(request, context):
            try:
                return answer(request, context)
            except Refusal as refusal:
                refuse(context, refusal)

        def many(request, context):
            try:
                yield from answer(request, context)
            except Refusal as refusal:
                refuse(context, refusal)

        make = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[streams_in, streams_out]
        return make(
            many if streams_out else one,
            request_deserializer=request_type.FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )

    def factory_type(self, descriptor):
        return self.pb.factory.GetPrototype(descriptor)
