"""The manager's API as grpcio sees it: message classes and stubs made from proto/ by protoc.

    api = Api(socket)
    api.instances.List(api.pb.ListInstancesRequest())

`pb` holds the messages of all files; `instances`, `images`, ... are the services.
"""

import fcntl
import glob
import importlib
import os
import subprocess
import sys
import tempfile
import types

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # tests start programs, never fork to serve
import grpc  # noqa: E402

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROTOS = ["agent", "audit", "event", "identity", "image", "instance", "migration", "network", "node", "operation",
          "profile", "project", "snapshot", "stream", "warning"]
SERVICES = {
    "instances": "InstanceService",
    "images": "ImageService",
    "profiles": "ProfileService",
    "networks": "NetworkService",
    "nodes": "NodeService",
    "operations": "OperationService",
    "events": "EventService",
    "system": "SystemService",
    "identities": "IdentityService",
    "audit": "AuditService",
    "warnings": "WarningService",
    "denials": "DenialService",
    "projects": "ProjectService",
    "snapshots": "SnapshotService",
}


def generate(build):
    """Python modules below build/tests/pb, made anew when a .proto has changed."""
    out = os.path.join(build, "tests", "pb")
    os.makedirs(out, exist_ok=True)
    with open(os.path.join(out, "lock"), "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another test program may be at it
        _generate(out)
    if out not in sys.path:
        sys.path.insert(0, out)


def _generate(out):
    made = os.path.join(out, "lxmgr")
    sources = sorted(glob.glob(os.path.join(TOP, "proto/lxmgr/v1/*.proto")))
    if os.path.exists(made) and os.path.getmtime(made) >= max(os.path.getmtime(s) for s in sources):
        return
    with tempfile.TemporaryDirectory(dir=out) as tmp:
        argv = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={TOP}/proto", f"--python_out={tmp}",
                f"--grpc_python_out={tmp}", *sources]
        subprocess.run(argv, check=True)
        os.utime(os.path.join(tmp, "lxmgr"))
        if os.path.exists(made):
            os.rename(made, os.path.join(tmp, "old"))
        os.rename(os.path.join(tmp, "lxmgr"), made)


class Api:
    """`target` is the path of a unix socket; or use `channel` for anything else."""

    def __init__(self, build, target, channel=None):
        generate(build)
        self.pb = types.SimpleNamespace()
        grpc_modules = []
        for name in PROTOS:
            vars(self.pb).update(vars(importlib.import_module(f"lxmgr.v1.{name}_pb2")))
            grpc_modules.append(importlib.import_module(f"lxmgr.v1.{name}_pb2_grpc"))
        self.channel = channel or grpc.insecure_channel(
            f"unix:{target}", options=[("grpc.default_authority", "localhost"), ("grpc.max_reconnect_backoff_ms", 200)]
        )
        for attribute, service in SERVICES.items():
            for module in grpc_modules:
                if hasattr(module, f"{service}Stub"):
                    setattr(self, attribute, getattr(module, f"{service}Stub")(self.channel))

    def close(self):
        self.channel.close()
