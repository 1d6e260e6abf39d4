"""The layer check finds what it is there to find."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import layers  # noqa: E402

GOOD = {
    "lib/err.h": "#include <stdbool.h>\n",
    "proto/pb.h": '#include "lib/err.h"\n#include "lxmgr/v1/agent.pb-c.h"\n',
    "rpc/rpc.h": '#include <uv.h>\n#include "lib/err.h"\n',
    "store/store.c": '#include <sqlite3.h>\n#include "lib/err.h"\n',
    "profiles/keys.c": '#include "lib/err.h"\n',
    "images/unpack.h": "#include <archive.h>\n",
    "images/ref.h": '#include "lib/err.h"\n',
    "agent/main.c": '#include "rpc/rpc.h"\n#include "images/ref.h"\n#include "agent/network/network.h"\n',
    "agent/network/network.h": '#include "lxmgr/v1/agent.pb-c.h"\n',
    "agent/worker/proto.h": '#include "proto/pb.h"\n',
    "agent/worker/instance/start.c": "#include <lxc/lxccontainer.h>\n",
    "agent/worker/image/import.c": '#include "images/unpack.h"\n',
    "lxmgr/main.c": '#include "rpc/rpc.h"\n#include "lxmgr/manager.h"\n',
    "lxmgr/manager.h": '#include "lxmgr/v1/agent.pb-c.h"\n',
    "cli/main.c": '#include <libsmartcols/libsmartcols.h>\n#include "rpc/rpc.h"\n',
}

BAD = [
    ("lib/err.h", "rpc/rpc.h", "must not include from rpc/"),
    ("store/store.c", "rpc/rpc.h", "must not include from rpc/"),
    ("profiles/keys.c", "images/ref.h", "must not include from images/"),
    ("profiles/keys.c", "fcntl.h", "is pure"),
    ("agent/main.c", "store/store.h", "must not include from store/"),
    ("agent/main.c", "lxmgr/manager.h", "must not include from lxmgr/"),
    ("agent/main.c", "lxc/lxccontainer.h", "must not use lxc/lxccontainer.h"),
    ("agent/main.c", "images/unpack.h", "archive.h must not come along: images/unpack.h > archive.h"),
    ("agent/worker/instance/start.c", "images/ref.h", "must not include from images/"),
    ("agent/worker/image/import.c", "lxc/lxccontainer.h", "must not use lxc/lxccontainer.h"),
    ("lxmgr/main.c", "agent/worker/proto.h", "must not include from agent/worker/"),
    ("lxmgr/main.c", "lxc/lxccontainer.h", "must not use"),
    ("lxmgr/main.c", "sqlite3.h", "must not use sqlite3.h; only store may"),
    ("cli/main.c", "lxmgr/manager.h", "must not include from lxmgr/"),
    ("cli/main.c", "profiles/profiles.h", "must not include from profiles/"),
]


def write(top, files):
    for path, text in files.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(text)


def test_good_tree(tmp_path):
    write(tmp_path, GOOD)
    assert layers.check(str(tmp_path)) == ([], len(GOOD))


@pytest.mark.parametrize("path,header,complaint", BAD)
def test_bad_include(tmp_path, path, header, complaint):
    write(tmp_path, {**GOOD, path: GOOD[path] + f'#include "{header}"\n'})
    wrong, _ = layers.check(str(tmp_path))
    assert len(wrong) == 1 or all(header in w for w in wrong)
    assert any(w.startswith(path) and complaint in w for w in wrong), wrong


def test_include_as_neighbour(tmp_path):
    """A header named without its folder is still in its folder."""
    write(tmp_path, {**GOOD, "cli/main.c": '#include "../store/store.h"\n'})
    assert "must not include from store/" in layers.check(str(tmp_path))[0][0]


def test_empty_tree(tmp_path):
    assert layers.check(str(tmp_path)) == ([], 0)
