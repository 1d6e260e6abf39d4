#!/usr/bin/python3
"""Inside a virtual machine: runs commands for the host, over a virtio port.

At its start it unpacks the disk of programs (a plain tar), gives the machine its address, and says
{"ready": true}. After that one JSON object a line, in any order and several at a time:

    {"id": 1, "argv": [...], "input": "", "timeout": 60}
    {"id": 1, "code": 0, "stdout": "", "stderr": ""}

code is negative for a signal, and -1000 when the command was killed for having taken too long.
"""

import base64
import json
import os
import subprocess
import threading

PORT = "/dev/virtio-ports/lxmgr.runner"
PROGRAMS = "/dev/vdb"
OUTPUT_MAX = 4 << 20
TIMED_OUT = -1000

lock = threading.Lock()


def answer(port, message):
    data = json.dumps(message).encode() + b"\n"
    with lock:
        while data:
            data = data[os.write(port, data):]


def text(data):
    return (data or b"")[-OUTPUT_MAX:].decode(errors="replace")


def work(port, request):
    reply = {"id": request["id"]}
    try:
        child = subprocess.Popen(request["argv"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 start_new_session=True, cwd="/root", env={**os.environ, **request.get("env", {})})
        try:
            out, err = child.communicate(base64.b64decode(request.get("input", "")), request["timeout"])
            reply.update(code=child.returncode, stdout=text(out), stderr=text(err))
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, 9)
            out, err = child.communicate()
            reply.update(code=TIMED_OUT, stdout=text(out), stderr=text(err))
    except OSError as e:
        reply.update(code=127, stdout="", stderr=str(e))
    answer(port, reply)


def setting(name):
    """Of the kernel's command line."""
    with open("/proc/cmdline", encoding="ascii") as f:
        for word in f.read().split():
            if word.startswith(name + "="):
                return word.split("=", 1)[1]
    raise KeyError(name)


def prepare():
    subprocess.run(["tar", "-xf", PROGRAMS, "-C", "/", "--no-same-owner"], check=True)
    subprocess.run(["systemd-sysusers"], check=True)
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    card = next(n for n in sorted(os.listdir("/sys/class/net")) if n != "lo")
    subprocess.run(["ip", "address", "add", setting("lxmgr.address"), "dev", card], check=True)
    subprocess.run(["ip", "link", "set", card, "up"], check=True)


def main():
    port = os.open(PORT, os.O_RDWR)
    try:
        prepare()
    except (OSError, subprocess.SubprocessError, KeyError) as e:
        answer(port, {"ready": False, "why": str(e)})
        return
    answer(port, {"ready": True})
    rest = b""
    while True:
        data = os.read(port, 65536)
        if not data:
            return  # the host has gone
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line.strip():
                threading.Thread(target=work, args=(port, json.loads(line)), daemon=True).start()


main()
