"""Which addresses mean something only near this machine, and how do rules refuse them?"""

from collections.abc import Sequence
from typing import Final

# https://www.iana.org/assignments/iana-ipv4-special-registry
NEARBY: Final = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
)


def accept(which: str, addresses: Sequence[str], port: int | None = None) -> list[str]:
    """What goes to these addresses; nothing if there are none."""
    if not addresses:
        return []
    to = f"{which} ip daddr {{ {', '.join(addresses)} }}".strip()
    if port is None:
        return [f"{to} accept"]
    return [f"{to} {kind} dport {port} accept" for kind in ("udp", "tcp")]


def refuse(which: str) -> list[str]:
    """At once: whoever connects learns of other refusals only when it tries again."""
    return [
        f"{which} meta l4proto tcp reject with tcp reset",
        f"{which} reject with icmpx type admin-prohibited",
    ]
