"""Whom can it talk to? Only loopback is tried, and addresses that nobody has."""

import ctypes
import fcntl
import socket
import struct
from typing import Any

from integration.escape.inside.common import TARGETS, answer, attempt, call, facts, libc

API = ("169.254.100.1", 9001)
SIOCADDRT, SIOCSIFFLAGS, SIOCSIFADDR = 0x890B, 0x8914, 0x8916
SOL_TCP, TCP_REPAIR, IP_TRANSPARENT = 6, 19, 19
SO_MARK, SO_RCVBUFFORCE = 36, 33
RTM_NEWLINK, NLM_F_REQUEST_CREATE_ACK = 16, 0x405
FAMILIES = {
    "unix": (1, 1, 0),
    "inet6": (10, 1, 0),
    "netlink route": (16, 3, 0),
    "netlink netfilter": (16, 3, 12),
    "netlink audit": (16, 3, 9),
    "netlink kobject": (16, 3, 15),
    "packet": (17, 3, 0),
    "raw": (2, 3, 1),
    "raw, of version 6": (10, 3, 58),
    "key": (15, 3, 2),
    "vsock": (40, 1, 0),
    "alg": (38, 5, 0),
    "bluetooth": (31, 3, 1),
    "xdp": (44, 3, 0),
    "rds": (21, 5, 0),
    "tipc": (30, 5, 0),
    "can": (29, 3, 1),
    "vsock, high bits set": ((1 << 32) + 40, 1, 0),
    "netfilter, high bits set": ((1 << 32) + 16, 3, (1 << 32) + 12),
}


def run() -> None:
    facts["interfaces"] = [name for _, name in socket.if_nameindex()]
    reach()
    own()
    for name, arguments in FAMILIES.items():
        attempt(f"socket: {name}", call, "socket", *arguments)
    configure()


def reach() -> None:
    port, marker = TARGETS["port"], TARGETS["marker"]
    attempt("connect to the host's loopback", connect, socket.AF_INET, ("127.0.0.1", port))
    attempt("connect to the host's loopback, version 6", connect, socket.AF_INET6, ("::1", port))
    attempt("connect to the host by 0.0.0.0", connect, socket.AF_INET, ("0.0.0.0", port))
    attempt("connect to the host's abstract socket", connect, socket.AF_UNIX, "\0" + marker)
    attempt("connect to the worker's socket file", connect, socket.AF_UNIX, TARGETS["socket"])
    attempt("connect to the other sandbox", connect, socket.AF_INET, ("127.0.0.1", 9999))
    attempt("connect to its abstract socket", connect, socket.AF_UNIX, "\0neighbours")
    attempt("connect to the engine's usual port", connect, socket.AF_INET, ("127.0.0.1", 4222))
    attempt("connect to Hearth's usual port", connect, socket.AF_INET, ("127.0.0.1", 4566))
    attempt("connect to the metadata service", connect, socket.AF_INET, ("169.254.169.254", 80))
    attempt("connect to a private network", connect, socket.AF_INET, ("10.255.255.1", 80))
    attempt("connect to a public address", connect, socket.AF_INET, ("192.0.2.1", 80))
    attempt("send to everybody", broadcast)
    attempt("resolve a name", resolve)


def own() -> None:
    attempt("connect to its own loopback", own_loopback)
    attempt("connect to its own Runtime API", connect, socket.AF_INET, API)
    attempt("take the Runtime API's place", take_place, 0)
    attempt("share the Runtime API's place", take_place, socket.SO_REUSEPORT)


def connect(family: int, address: Any) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(3)
        client.connect(address)


def broadcast() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        client.sendto(b"x", ("255.255.255.255", 9))


def resolve() -> str:
    try:
        socket.getaddrinfo("host.invalid", 80)
    except socket.gaierror:
        return "no answer"
    return "OPEN"


def own_loopback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        connect(socket.AF_INET, server.getsockname())


def take_place(option: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
        if option:
            server.setsockopt(socket.SOL_SOCKET, option, 1)
        server.bind(API)


def configure() -> None:
    """Network settings, even of its own namespace: others there are those who accept."""
    loopback = struct.pack("16sH14x", b"lo", 0)
    address = struct.pack("16sHH4s8x", b"lo", socket.AF_INET, 0, bytes([10, 0, 0, 1]))
    attempt("take loopback down", interface, SIOCSIFFLAGS, loopback)
    attempt("give itself another address", interface, SIOCSIFADDR, address)
    attempt("add a route", interface, SIOCADDRT, bytes(120))
    attempt("make a network interface", make_interface)
    attempt("mark its packets", option, socket.SOL_SOCKET, SO_MARK)
    attempt("take a larger buffer by force", option, socket.SOL_SOCKET, SO_RCVBUFFORCE)
    attempt("send from other addresses", option, socket.SOL_IP, IP_TRANSPARENT)
    attempt("rewrite a connection's state", option, SOL_TCP, TCP_REPAIR)


def interface(request: int, argument: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, request, argument)


def option(level: int, name: int) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as made:
        one = ctypes.c_int(1)
        return answer(libc.setsockopt(made.fileno(), level, name, ctypes.byref(one), 4))


def make_interface() -> None:
    """A dummy one, by netlink; the kernel answers with the error's number."""
    kind = struct.pack("=HH8s", 9, 1, b"dummy\0\0\0")
    info = struct.pack("=HH", 4 + len(kind), 18) + kind
    body = struct.pack("=BxHiII", 0, 0, 0, 0, 0) + info
    head = struct.pack("=IHHII", 16 + len(body), RTM_NEWLINK, NLM_F_REQUEST_CREATE_ACK, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as route:
        route.settimeout(3)
        route.send(head + body)
        code = struct.unpack_from("=i", route.recv(4096), 16)[0]
    if code:
        raise OSError(-code, "netlink")
