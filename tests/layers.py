#!/usr/bin/python3
"""Proves from the includes that dependencies point one way (ARCHITECTURE.md, "The house").

    tests/layers.py             checks this tree
    tests/layers.py DIRECTORY   checks another one

Each folder names the folders it may include from, and each outside library the folders that
may use it. A header brings along what it includes itself, so libraries are followed through
our own headers: an agent that includes a header that includes liblxc's is found as well.

Exits 0 and says how many files it read, or 1 and names each include that is wrong.
"""

import os
import re
import sys

# Folder -> folders it may include from, itself among them. The longest that matches decides.
# "wire" is what protoc-c makes of proto/: <lxmgr/v1/x.pb-c.h> is not the manager's folder.
LIBRARIES = ["lib", "wire", "proto", "rpc", "profiles", "images", "migration"]
MAY_INCLUDE = {
    "lib": ["lib"],
    "proto": ["lib", "wire", "proto"],
    "rpc": ["lib", "wire", "proto", "rpc"],
    "store": ["lib", "wire", "proto", "store"],
    "profiles": ["lib", "wire", "proto", "profiles"],
    "images": ["lib", "wire", "proto", "images"],
    "migration": LIBRARIES,
    "agent": [*LIBRARIES, "agent", "agent/network", "agent/worker"],
    "agent/network": ["lib", "wire", "proto", "agent", "agent/network"],
    "agent/worker": ["lib", "wire", "proto", "profiles", "images", "migration", "agent/worker"],
    "agent/worker/instance": ["lib", "wire", "proto", "profiles", "migration", "agent/worker", "agent/worker/instance"],
    "agent/worker/move": ["lib", "wire", "proto", "profiles", "migration", "agent/worker", "agent/worker/instance",
                          "agent/worker/move", "agent/worker/snapshot"],
    "agent/worker/snapshot": ["lib", "wire", "proto", "profiles", "migration", "agent/worker", "agent/worker/instance",
                              "agent/worker/snapshot"],
    "agent/worker/image": ["lib", "wire", "proto", "images", "agent/worker", "agent/worker/image"],
    "agent/worker/proxy": ["lib", "wire", "proto", "profiles", "agent/worker", "agent/worker/instance", "agent/worker/proxy"],
    "agent/worker/intercept": ["lib", "wire", "proto", "profiles", "agent/worker", "agent/worker/instance",
                               "agent/worker/intercept"],
    "lxmgr": [*LIBRARIES, "store", "lxmgr"],
    "cli": ["lib", "wire", "proto", "rpc", "cli"],
}

# Header of an outside library (or its folder) -> folders that may use it, those below included.
MAY_USE = {
    "lxc/": ["agent/worker/instance", "agent/worker/intercept"],
    "archive": ["images", "agent/worker/image"],
    "sqlite3.h": ["store"],
    "nghttp2/": ["rpc"],
    "openssl/ssl.h": ["rpc"],
    "openssl/": ["rpc", "images", "migration", "agent", "lxmgr"],
    "netlink/": ["migration", "agent"],
    "libsmartcols/": ["cli"],
    "uv.h": ["rpc", "store", "migration", "agent", "lxmgr", "cli"],
}
# Libraries that a folder must not even get through a header of ours.
NEVER = {
    "agent": ["lxc/", "archive"],
    "agent/worker": ["uv.h", "openssl/", "nghttp2/", "sqlite3.h"],
    "agent/worker/instance": ["archive", "openssl/", "uv.h"],
    "agent/worker/image": ["lxc/", "uv.h"],
    "agent/worker/intercept": ["archive", "openssl/", "nghttp2/", "sqlite3.h", "uv.h"],
    "agent/worker/proxy": ["lxc/", "archive", "openssl/", "nghttp2/", "sqlite3.h"],
    "lxmgr": ["lxc/", "archive", "netlink/"],
    "cli": ["lxc/", "archive", "sqlite3.h", "netlink/"],
}
# Expansion, checks and texts have no input and output in them: not even the headers for it.
PURE = {"profiles": ["fcntl.h", "unistd.h", "sys/stat.h", "sys/socket.h", "dirent.h", "lib/fs.h", "lib/notify.h"]}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^">]+)[">]', re.M)
# Generated: from the wire's messages, not from the manager's folder.
GENERATED = re.compile(r"^(lxmgr/v1|grpc/reflection/v1alpha)/[a-z_]+\.pb-c\.h$")


def read_tree(top):
    """Path of each C file below the known folders -> [(line, header as written)]."""
    files = {}
    for folder in sorted({f.split("/")[0] for f in MAY_INCLUDE}):
        for where, _, names in os.walk(os.path.join(top, folder)):
            for name in names:
                if name.endswith((".c", ".h")):
                    path = os.path.join(where, name)
                    with open(path, encoding="utf-8") as f:
                        text = f.read()
                    files[os.path.relpath(path, top)] = [
                        (text.count("\n", 0, m.start(1)) + 1, m[2]) for m in INCLUDE.finditer(text)
                    ]
    return files


def longest(path, table):
    """The entry of the table for the folder that the path is in, or None."""
    folder = os.path.dirname(path)
    while folder and folder not in table:
        folder = os.path.dirname(folder)
    return folder or None


def is_below(folder, tops):
    return any(folder == t or folder.startswith(t + "/") for t in tops)


def target_of(path, header, files):
    """Our folder that an include leads to, and the file; (None, None) for those of libraries."""
    if GENERATED.match(header):
        return "wire", None
    neighbour = os.path.normpath(os.path.join(os.path.dirname(path), header))
    if neighbour in files or header.startswith("."):
        return longest(neighbour, MAY_INCLUDE), neighbour
    folder = longest(header, MAY_INCLUDE)
    return folder, header if folder else None


def library_rule(header):
    names = [n for n in MAY_USE if header.startswith(n)]
    return max(names, key=len) if names else None


def reached(path, files, seen=None, chain=()):
    """Every header that comes along, ours and others', with the way to it."""
    seen = set() if seen is None else seen
    for _, header in files.get(path, []):
        _, ours = target_of(path, header, files)
        if header in seen:
            continue
        seen.add(header)
        yield header, (*chain, header)
        if ours:
            yield from reached(ours, files, seen, (*chain, header))


def check(top):
    """(complaints, number of files)"""
    files = read_tree(top)
    wrong = []
    for path, includes in sorted(files.items()):
        folder = longest(path, MAY_INCLUDE)
        for line, header in includes:
            target, _ = target_of(path, header, files)
            rule = library_rule(header)
            if target and target not in MAY_INCLUDE[folder]:
                wrong.append(f"{path}:{line}: {folder}/ must not include from {target}/: {header}")
            if not target and rule and not is_below(os.path.dirname(path), MAY_USE[rule]):
                wrong.append(f"{path}:{line}: {folder}/ must not use {header}; only {', '.join(MAY_USE[rule])} may")
            if header in PURE.get(folder, []):
                wrong.append(f"{path}:{line}: {folder}/ is pure and must not use {header}")
        never = NEVER.get(longest(path, NEVER) or "", [])
        for header, chain in reached(path, files):
            if any(header.startswith(n) for n in never):
                wrong.append(f"{path}: {header} must not come along: {' > '.join(chain)}")
    return wrong, len(files)


def main():
    top = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    wrong, n = check(top)
    for text in wrong:
        print(text)
    if not n:
        print(f"there is no source below {top}")
    else:
        print(f"{n} files, {len(wrong)} wrong includes")
    return 1 if wrong or not n else 0


if __name__ == "__main__":
    sys.exit(main())
