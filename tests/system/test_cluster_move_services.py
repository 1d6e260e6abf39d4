"""A whole distribution at work, moved there and back: databases under load, a web server, sessions of users."""

import os
import re
import select
import subprocess
import sys
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "testbed"))
import moving  # noqa: E402
import testbed  # noqa: E402
from testbed import wait_for  # noqa: E402

PACKAGES = ["postgresql", "nginx-light", "redis-server", "openssh-server", "openssh-client", "cron"]
SERVICES = ["postgresql@*-main", "nginx", "redis-server", "ssh", "cron", "guarded"]

MOVES = 2
WORD_SECONDS = 20

GUARDED = r"""
systemd-run --unit=guarded --property=DynamicUser=yes --property=PrivateTmp=yes --property=ProtectSystem=strict \
  --property=PrivateDevices=yes --property=ProtectKernelTunables=yes --property=RestrictNamespaces=yes \
  --property=SystemCallFilter=@system-service --property=MemoryMax=64M --property=TasksMax=20 \
  sh -c 'n=0; while :; do n=$((n+1)); echo $n > /tmp/n; sleep 0.1; done'
"""


@pytest.fixture(params=["debian/12"])
def two(able, request):
    with testbed.Cluster("services", nodes=2) as cluster:
        try:
            for i in range(2):
                testbed.ensure_image(cluster, request.param, node=i)
        except testbed.Unavailable as e:
            pytest.skip(str(e))
        cluster.ok("launch", request.param, "d1", "--target", cluster.node_names[0], timeout=120)
        assert cluster.booted("d1") == "running"
        yield cluster


def sh(cluster, script, timeout=60):
    done = cluster.cli("exec", "d1", "--", "sh", "-c", script, timeout=timeout)
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout


def install(cluster):
    env = ["--env", "DEBIAN_FRONTEND=noninteractive"]
    done = cluster.cli("exec", "d1", *env, "--", "apt-get", "update", timeout=300)
    if done.returncode != 0 or re.search(r"^(W|Err).*(Failed|Could not)", done.stdout + done.stderr, re.M):
        pytest.skip(f"no package mirror can be reached from here: {(done.stderr or done.stdout).strip()[-200:]}")
    # It need not survive a power cut: dpkg waits for the disk at each file else.
    done = cluster.cli("exec", "d1", *env, "--", "apt-get", "install", "-y", "--no-install-recommends",
                       "-o", "Dpkg::Options::=--force-unsafe-io", *PACKAGES, timeout=400)
    assert done.returncode == 0, done


def processes(cluster):
    """Number and name of each that is to stay, as the guest sees them."""
    return set(sh(cluster, "ps -eo pid,comm --no-headers | grep -E 'systemd|postgres|pgbench|nginx|redis|sshd|cron|bash'").splitlines())


def services(cluster):
    return {s: sh(cluster, f"systemctl show -p MainPID,ActiveState,InvocationID,NRestarts '{s}'") for s in SERVICES}


class Line:
    """A client on the node that stays connected: says a line, hears one."""

    def __init__(self, argv):
        self.p = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def ask(self, line, want):
        self.p.stdin.write(line)
        self.p.stdin.flush()
        got, end = b"", time.monotonic() + WORD_SECONDS
        while not re.search(want, got):
            left = end - time.monotonic()
            data = os.read(self.p.stdout.fileno(), 65536) if select.select([self.p.stdout], [], [], max(left, 0))[0] else None
            assert data, f"{line}: {'the connection broke' if data == b'' else 'no answer'}, after {got!r}"
            got += data
        return re.search(want, got)

    def close(self):
        self.p.kill()
        self.p.communicate()


def redis(cluster, i, address):
    code = ("import socket,sys,shutil\n"
            f"s=socket.create_connection(('{address}',6379),10); s.settimeout(None)\n"
            "while l:=sys.stdin.buffer.readline():\n"
            "  s.sendall(l.strip()+b'\\r\\n'); sys.stdout.buffer.write(s.recv(4096)); sys.stdout.buffer.flush()\n")
    return Line([*cluster.agents[i].inside, sys.executable, "-c", code])


def user(cluster, i, address, directory):
    """One logged in over ssh, with a shell on a terminal."""
    key = os.path.join(directory, "key")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    with open(f"{key}.pub", encoding="ascii") as f:
        public = f.read().strip()
    sh(cluster, f"useradd -m -s /bin/bash alice; cd ~alice; mkdir .ssh; echo '{public}' > .ssh/authorized_keys; chown -R alice .ssh")
    return Line([*cluster.agents[i].inside, "ssh", "-tt", "-i", key, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                 "-o", "LogLevel=ERROR", f"alice@{address}"])


def page(cluster, i, address):
    code = f"import urllib.request as u; print(u.urlopen('http://{address}/', timeout=10).read())"
    return cluster.ns_exec(i, sys.executable, "-c", code, check=True).stdout


def load_report(cluster):
    """Of the seconds of pgbench: when the last was, and what failed."""
    said = sh(cluster, "journalctl -u load --no-pager -o cat")
    assert not re.search("error|abort|FATAL", said), said[-600:]
    return [float(x) for x in re.findall(r"progress: ([0-9.]+) s", said)]


@pytest.mark.limit(900)
def test_databases_and_sessions_go_along(two, tmp_path):
    install(two)
    sh(two, "sed -i 's/^bind .*/bind 0.0.0.0/; s/^protected-mode .*/protected-mode no/' /etc/redis/redis.conf; systemctl restart redis-server")
    sh(two, GUARDED)
    sh(two, "su - postgres -c 'createdb load && pgbench -q -i -s 2 load'", 120)
    sh(two, "systemd-run --unit=load --property=User=postgres --property=WorkingDirectory=/tmp "
            "pgbench -n -c 4 -T 3600 -P 1 load")
    sh(two, "echo '* * * * * root date >> /root/cron' > /etc/cron.d/often")
    address = two.list()["d1"]["ipv4"]
    cache, alice = redis(two, 0, address), user(two, 0, address, str(tmp_path))
    try:
        alice.ask(b"echo pid-$$\n", rb"pid-[0-9]+\r\n")
        alice.ask(b"x=kept; sleep 10000 &\n", rb"\[1\] [0-9]+")
        wait_for(lambda: len(load_report(two)) > 1, 30, 0.5, "pgbench is at work")
        state, known, ours = sh(two, "systemctl is-system-running"), services(two), processes(two)
        for n in range(MOVES):
            cache.ask(b"INCR n\n", rb":%d\r" % (n + 1))
            done = two.cli("move", "d1", "--target", two.node_names[1 - n % 2], "--live=required", timeout=180)
            assert done.returncode == 0, done
            print(done.stdout)
            before = load_report(two)[-1]
            assert sh(two, "systemctl is-system-running") == state
            assert services(two) == known
            # What the node puts into its units is as old there.
            assert sh(two, "systemctl show -p NeedDaemonReload --value systemd-networkd systemd-logind").split() == ["no", "no"]
            assert not ours - processes(two)
            alice.ask(b"jobs; echo $x-$((2+3))\n", rb"(?s)Running.*sleep 10000.*kept-5")
            assert "nginx" in page(two, 0, address)
            wait_for(lambda b=before: load_report(two)[-1] > b + 2, 30, 0.5, "pgbench goes on")
            count = int(sh(two, "cat /proc/$(systemctl show -p MainPID --value guarded)/root/tmp/n"))
            wait_for(lambda c=count: int(sh(two, "cat /proc/$(systemctl show -p MainPID --value guarded)/root/tmp/n")) > c,
                     10, 0.2, "the guarded one counts")
        cache.ask(b"GET n\n", rb"%d\r" % MOVES)
        sh(two, "systemctl stop load; cd /; su postgres -c \"psql -Atc 'select count(*) from pgbench_history' load\"")
    finally:
        alice.close()
        cache.close()
    two.ok("restart", "d1", "--timeout", "60", timeout=120)
    assert two.booted("d1") == "running"
    assert "nginx" in sh(two, "systemctl is-active nginx postgresql redis-server ssh cron && echo nginx")
