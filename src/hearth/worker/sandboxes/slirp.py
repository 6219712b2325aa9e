"""How do functions of an ordinary user reach the outside? By slirp4netns, one for each sandbox.

It is a TCP/IP stack in a process of the user's: what comes out of the sandbox's network namespace
is sent on by ordinary sockets. What may come out is decided by rules in that namespace, which
belongs to the launcher's user namespace: the program has no power over them.
"""

import ipaddress
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hearth.worker.sandboxes.nat_rules import NEARBY, accept, refuse

WHERE: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NAME_SERVER: Final = "10.0.2.3"
_TUN: Final = Path("/dev/net/tun")


@dataclass(frozen=True, slots=True)
class Slirp:
    """The way out of one sandbox. Nothing has to be given back."""

    program: str
    nft: str
    rules: str
    resolver: str
    """The host's file that says which name servers there are; empty if there is none."""

    def order(self) -> dict[str, str]:
        return {
            "program": self.program,
            "nft": self.nft,
            "rules": self.rules,
            "resolver": self.resolver,
        }


def obstacle() -> tuple[str, str]:
    """Why an ordinary user cannot have the network nat, and what helps; empty if it may."""
    for program in ("slirp4netns", "nft"):
        if shutil.which(program, path=WHERE) is None:
            package = {"nft": "nftables"}.get(program, program)
            return f"the network nat of an ordinary user needs {program}", f"apt install {package}"
    if not _TUN.exists():
        return "the kernel has no /dev/net/tun", "sudo modprobe tun"
    if not os.access(_TUN, os.R_OK | os.W_OK):
        return "ordinary users may not open /dev/net/tun", "sudo chmod 0666 /dev/net/tun"
    return "", ""


def slirp(opened: Sequence[str], own: Sequence[str], resolver: Path | None) -> Slirp:
    """`own` are the machine's addresses, which are closed."""
    program, nft = (shutil.which(name, path=WHERE) for name in ("slirp4netns", "nft"))
    assert program is not None
    assert nft is not None
    return Slirp(
        str(Path(program).resolve()),
        str(Path(nft).resolve()),
        rules(opened, own),
        str(resolver or ""),
    )


def rules(opened: Sequence[str], own: Sequence[str]) -> str:
    """For the sandbox's own namespace."""
    lines = [
        "type filter hook output priority 0; policy accept;",
        'oifname "lo" accept',
        *accept("", [NAME_SERVER], port=53),
        *accept("", opened),
        *refuse("meta nfproto ipv6"),
        *refuse("ip daddr { " + ", ".join([*NEARBY, *_outside_of_nearby(own)]) + " }"),
    ]
    return "table inet hearth {\n chain output {\n" + "".join(f"  {r}\n" for r in lines) + " }\n}\n"


def _outside_of_nearby(addresses: Sequence[str]) -> list[str]:
    nearby = [ipaddress.IPv4Network(network) for network in NEARBY]
    found = (ipaddress.IPv4Address(address) for address in sorted(addresses))
    return [str(a) for a in found if not any(a in network for network in nearby)]
