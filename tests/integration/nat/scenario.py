"""A small internet, and a sandbox in it: `scenario.py BACKEND DIRECTORY`, as root. Prints JSON.
`scenario.py BACKEND DIRECTORY COMMAND ...` has COMMAND do the second part: it makes an ordinary
user of us and runs `scenario.py BACKEND DIRECTORY inside`.

Everything happens in network namespaces that this makes: one is the machine that Hearth runs on,
the other all that is outside of it. Nothing leaves either.

    sandbox --- machine (203.0.113.1, 10.8.0.1) --- outside (203.0.113.2, 10.8.0.2, 169.254.169.254)
"""

import asyncio
import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

from hearth.base.clock import SystemClock
from hearth.base.jobs import Jobs
from hearth.model.ids import SandboxId
from hearth.model.isolation import Network
from hearth.worker.sandboxes.bubblewrap import BubblewrapBackend
from hearth.worker.sandboxes.contract import Program, SandboxFailed, SandboxSpec
from hearth.worker.sandboxes.nat import Nat
from hearth.worker.sandboxes.oci import OciBackend
from hearth.worker.sandboxes.outputs import read_to_end
from hearth.worker.sandboxes.zygote import ZygoteBackend

CLONE_NEWNET = 0x40000000
CLONE_NEWNS = 0x20000
PORT = 7777
OUTSIDE = ("203.0.113.2", "10.8.0.2", "169.254.169.254", "172.16.0.2")
MACHINE = ("203.0.113.1", "10.8.0.1")
PROGRAM = """
import json, socket, sys
said = {}
for name, host in json.loads(sys.argv[1]).items():
    try:
        with socket.create_connection((host, 7777), 5) as s:
            said[name] = s.recv(99).decode()
    except OSError as error:
        said[name] = type(error).__name__
    except Exception as error:
        said[name] = repr(error)
said["interfaces"] = [name for _, name in socket.if_nameindex()]
said["resolv.conf"] = open("/etc/resolv.conf").read()
print(json.dumps(said))
"""
libc = ctypes.CDLL(None, use_errno=True)


def enter_new_network() -> int:
    if libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


class Outside(threading.Thread):
    """Lives in a namespace of its own, and tells whoever connects which address they have."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.ready = threading.Event()
        self.cabled = threading.Event()
        self.listening = threading.Event()
        self.tid = 0

    def run(self) -> None:
        enter_new_network()
        self.tid = threading.get_native_id()
        self.ready.set()
        self.cabled.wait()
        for address in OUTSIDE:
            ip("address", "add", f"{address}/24", "dev", "world")
        ip("link", "set", "world", "up")
        serve(("0.0.0.0", PORT), self.listening)


def serve(address: tuple[str, int], listening: threading.Event) -> None:
    with socket.create_server(address) as server:
        listening.set()
        while True:
            client, peer = server.accept()
            with client:
                client.sendall(peer[0].encode())


def make_internet() -> None:
    enter_new_network()
    ip("link", "set", "lo", "up")
    outside = Outside()
    outside.start()
    outside.ready.wait()
    ip("link", "add", "uplink", "type", "veth", "peer", "name", "world", "netns", str(outside.tid))
    for address in MACHINE:
        ip("address", "add", f"{address}/24", "dev", "uplink")
    ip("link", "set", "uplink", "up")
    outside.cabled.set()
    outside.listening.wait()
    ip("route", "add", "default", "via", OUTSIDE[0])
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    listening = threading.Event()
    threading.Thread(target=serve, args=(("0.0.0.0", PORT), listening), daemon=True).start()
    listening.wait()


async def attempts(backend: BubblewrapBackend, directory: Path) -> dict[str, Any]:
    backend.nat = Nat(directory.name, opened=("172.16.0.0/24",))
    capabilities = await backend.open()
    if not capabilities.usable:
        return {"why_not": capabilities.why_not}
    try:
        found = {"rules before": rules()}
        first = await backend.create(spec("first"))
        targets = {address: address for address in (*OUTSIDE, *MACHINE, "127.0.0.1")}
        targets |= {"gateway": "198.18.0.1", "metadata": "169.254.169.254"}
        found["inside"] = await run(backend, targets)
        neighbour = await listen(first)
        found["neighbour"] = await run(backend, {"neighbour": neighbour})
        found["rules"] = rules()
        found["again"] = await run(backend, {"outside": OUTSIDE[0]})
    finally:
        await backend.close()
    found["rules after"] = rules()
    if os.geteuid() == 0:
        await Nat(directory.name, mark=directory / "mark").take()  # and is killed
        found["left behind"] = rules()
        await Nat(directory.name, mark=directory / "mark").clear_leftovers()
        found["cleared"] = rules()
    return found


def spec(name: str) -> SandboxSpec:
    return SandboxSpec(sandbox=SandboxId(name), memory_mb=128, tmp_mb=4, network=Network.NAT)


def program(code: str, *arguments: str) -> Program:
    argv = ("/usr/bin/python3", "-I", "-S", "-c", code, *arguments)
    return Program(argv=argv, environment={}, working_directory="/", mounts=())


async def run(backend: BubblewrapBackend, targets: dict[str, str]) -> Any:
    sandbox = await backend.create(spec("probe"))
    for _ in range(2):  # and again after a reset
        channels = await sandbox.start(program(PROGRAM, json.dumps(targets)))
        channels.api.close()
        async with asyncio.timeout(60):
            said, errors = await asyncio.gather(
                read_to_end(channels.stdout), read_to_end(channels.stderr)
            )
            await sandbox.wait()
        if not said:
            raise SandboxFailed(errors.decode())
    await sandbox.destroy()
    return json.loads(said)


async def listen(sandbox: Any) -> str:
    code = (
        "import socket\n"
        "u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.connect(('203.0.113.2', 9))\n"
        "s = socket.create_server(('', 7777)); print(u.getsockname()[0], flush=True)\n"
        "while True: s.accept()[0].sendall(b'neighbour')"
    )
    channels = await sandbox.start(program(code))
    channels.api.close()
    line = b""
    async with asyncio.timeout(60):
        while not line.endswith(b"\n"):
            try:
                said = os.read(channels.stdout, 99)
            except BlockingIOError:
                await asyncio.sleep(0.01)
                continue
            if not said:
                raise SandboxFailed("the neighbour did not listen")
            line += said
    os.close(channels.stdout)
    os.close(channels.stderr)
    return line.decode().strip()


def open_tunnels_to_all() -> None:
    """/dev/net/tun as most machines have it, in a mount namespace of our own."""
    if libc.unshare(CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/dev/net"], check=True)
    os.mknod("/dev/net/tun", 0o20666, os.makedev(10, 200))
    Path("/dev/net/tun").chmod(0o666)


def rules() -> str:
    if os.geteuid() != 0:
        return ""
    return subprocess.run(
        ["nft", "list", "tables"], check=True, capture_output=True, text=True
    ).stdout


async def main(kind: str, directory: Path) -> dict[str, Any]:
    kinds = {"bubblewrap": BubblewrapBackend, "zygote": ZygoteBackend}
    make = kinds.get(kind) or partial(OciBackend, runtime=kind)
    async with Jobs() as jobs:
        return await attempts(make(directory.name, directory, SystemClock(), jobs), directory)


if __name__ == "__main__":
    kind, where, *more = sys.argv[1:]
    if more != ["inside"]:
        make_internet()
        open_tunnels_to_all()
    if more in ([], ["inside"]):
        sys.stdout.write(json.dumps(asyncio.run(main(kind, Path(where)))))
    else:
        sys.exit(subprocess.run([*more, __file__, kind, where, "inside"], check=False).returncode)
