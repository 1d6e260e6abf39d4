"""Instances with devices of the machine: directories to give them, options of launch, what they answer."""

import os
import uuid


def make_private(cluster):
    """A directory that no other user of the machine reaches."""
    path = os.path.join(cluster.dir, f"private-{uuid.uuid4().hex[:6]}", "data")
    os.makedirs(path)
    os.chmod(os.path.dirname(path), 0o700)
    return path


def device(name, **options):
    """An option of launch."""
    return ["-d", ",".join([name, *(f"{k}={v}" for k, v in options.items())])]


def disk(name, source, path, **more):
    return device(name, type="disk", source=source, path=path, **more)


def node(name, kind="char", **options):
    return device(name, type=f"unix-{kind}", **options)


def write(path, text=""):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def inside(cluster, name, command):
    """What a shell in the instance says; it must succeed."""
    done = cluster.exec(name, "sh", "-c", command)
    assert done.returncode == 0, done
    return done.stdout


def refused(done, *words):
    """With a cause and a cure, among them these words."""
    assert done.returncode == 1 and "Hint:" in done.stderr, done
    for word in words:
        assert word in done.stderr, done.stderr
