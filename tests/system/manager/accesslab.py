"""Clients of every kind against one manager: enrolled, revoked, foreign, nameless, as another user.

    Client(manager, "alice", "viewer")   enrolled as a user would: a token, `lxmgr remote add`
    Outsider(directory)                  a CA of its own, and what it or the cluster's signs
    as_user(manager, uid, gid, ...)      lxmgr run by somebody else on the machine's socket
"""

import os
import shutil
import ssl
import subprocess
import sys

from .managerlab import grpc, testbed

sys.path.insert(0, os.path.join(testbed.TOP, "tests", "testbed"))
import api as testbed_api  # noqa: E402

LXMGR = os.path.join(testbed.BIN, "lxmgr")
# The manager's certificate names no host: whoever holds it is known by the CA and its name.
TLS_NAME = ("grpc.ssl_target_name_override", "manager")


def token(manager, name, role="viewer", *more):
    return manager.ok("identity", "token", name, "--role", role, "-q", *more).strip()


def connect(manager, cert, key, ca, fresh=True):
    """The API over TLS; without a certificate when `cert` is None."""
    credentials = grpc.ssl_channel_credentials(ca, key, cert)
    options = [TLS_NAME, ("grpc.use_local_subchannel_pool", int(fresh)), ("grpc.max_reconnect_backoff_ms", 200)]
    channel = grpc.secure_channel(f"127.0.0.1:{manager.manager_port}", credentials, options)
    return testbed_api.Api(testbed.BUILD, None, channel)


def pki_file(manager, leaf):
    with open(os.path.join(manager.manager_dir, "pki", leaf), "rb") as f:
        return f.read()


class Client:
    """One that has enrolled."""

    def __init__(self, manager, name, role="viewer", *more):
        self.manager, self.name = manager, name
        self.config = os.path.join(manager.dir, f"config-{name}")
        self.env = {"PATH": os.environ["PATH"], "LXMGR_CONFIG_DIR": self.config, "NO_COLOR": "1"}
        done = self.add("there", token(manager, name, role, *more))
        assert done.returncode == 0, done.stderr
        where = os.path.join(self.config, "remotes", "there")
        self.cert, self.key, self.ca = (self._read(where, leaf) for leaf in ("client.crt", "client.key", "ca.crt"))

    @staticmethod
    def _read(where, leaf):
        path = os.path.join(where, leaf)
        assert os.stat(path).st_mode & 0o077 == 0, f"{path} is open to others"
        with open(path, "rb") as f:
            return f.read()

    def add(self, remote, text):
        return self.run("remote", "add", remote, text)

    def run(self, *args):
        return subprocess.run([LXMGR, *args], env=self.env, capture_output=True, text=True, timeout=30,
                              stdin=subprocess.DEVNULL)

    def cli(self, *args):
        return self.run("--remote", "there", *args)

    def api(self):
        return connect(self.manager, self.cert, self.key, self.ca)


class Outsider:
    """openssl(1) with a CA: its own, or with `ca_of` the cluster's, as a thief of its key would have."""

    def __init__(self, directory, ca_of=None):
        self.dir = str(directory)
        os.makedirs(self.dir, mode=0o700, exist_ok=True)
        if ca_of:
            for leaf in ("ca.key", "ca.crt"):
                self._write(leaf, pki_file(ca_of, leaf))
        else:
            self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                         "-subj", "/O=lxmgr/OU=ca/CN=lxmgr cluster CA", "-keyout", "ca.key", "-out", "ca.crt",
                         "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")
        self._write("ca.conf", b"[ca]\ndefault_ca=d\n[d]\ndatabase=index\nserial=serial\nnew_certs_dir=.\n"
                    b"default_md=sha256\npolicy=p\nunique_subject=no\n[p]\norganizationName=optional\n"
                    b"organizationalUnitName=optional\ncommonName=supplied\n[e]\nextendedKeyUsage=clientAuth\n")
        self._write("index", b"")
        self._write("serial", b"01\n")

    def _write(self, leaf, data):
        with open(os.path.join(self.dir, leaf), "wb") as f:
            f.write(data)

    def openssl(self, *argv):
        subprocess.run(["openssl", *argv], cwd=self.dir, check=True, capture_output=True, timeout=30)

    def issue(self, name, unit="client", begin="20200101000000Z", end="20400101000000Z"):
        """(certificate, key), PEM."""
        self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                     "-subj", f"/O=lxmgr/OU={unit}/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        self.openssl("ca", "-batch", "-notext", "-config", "ca.conf", "-extensions", "e", "-keyfile", "ca.key",
                     "-cert", "ca.crt", "-startdate", begin, "-enddate", end, "-in", f"{name}.csr",
                     "-out", f"{name}.crt")
        return self.read(f"{name}.crt"), self.read(f"{name}.key")

    def read(self, leaf):
        with open(os.path.join(self.dir, leaf), "rb") as f:
            return f.read()


def as_user(manager, uid, gid, *args, groups=()):
    """Runs lxmgr as another user of the machine, on the manager's socket."""
    program = os.path.join(manager.dir, "lxmgr")  # where everybody can reach it
    if not os.path.exists(program):
        shutil.copy(LXMGR, program)
        os.chmod(program, 0o755)
    return subprocess.run([program, *args], env={"LXMGR_SOCKET": manager.socket, "HOME": "/nonexistent"}, user=uid,
                          group=gid, extra_groups=list(groups), capture_output=True, text=True, timeout=30,
                          stdin=subprocess.DEVNULL, cwd="/")


def tls_context(client=None, ca=None):
    """For sockets of our own. Trusts what it is shown: here the server is the one that is tested."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    if client:
        where = os.path.join(client.config, "remotes", "there")
        context.load_cert_chain(f"{where}/client.crt", f"{where}/client.key")
    return context
