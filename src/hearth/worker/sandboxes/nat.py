"""How do functions reach the outside, and nothing else? Rules of our own, and addresses to give.

(An ordinary user's have slirp.py instead.)

Each sandbox with the network `nat` has a cable of its own to the host (jail_network.py). One table
of nftables, made when the first one is, says what may pass: out into the world, under the host's
address. Closed are the host itself, the other sandboxes, and every address that only means
something near this machine: private, link-local (there the credentials of a cloud's machines are),
loopback, multicast. Settings may open some; name servers are open on their port.

    198.18.0.0/15, which is for laboratories, is cut into 8 blocks; the worker takes one in which
    no address of this machine is, and gives each sandbox four addresses of it.

The table has the instance's name: a later worker of the same one replaces it.
"""

import asyncio
import heapq
import ipaddress
import os
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hearth.base.log import Log
from hearth.worker.sandboxes import slirp
from hearth.worker.sandboxes.contract import SandboxRefused
from hearth.worker.sandboxes.nat_rules import NEARBY, accept, refuse
from hearth.worker.sandboxes.netlink import Netlink
from hearth.worker.sandboxes.slirp import Slirp

log = Log("nat")

RANGE: Final = ipaddress.IPv4Network("198.18.0.0/15")
BLOCK_PREFIX: Final = 18
ADDRESSES_EACH: Final = 4
_WHERE: Final = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin"
_FORWARD: Final = Path("/proc/sys/net/ipv4/ip_forward")
_RESOLVER_FILES: Final = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
_NFT_S: Final = 20.0


class NatRefused(SandboxRefused):
    """This machine, or this user, cannot have it. The text says why and what helps."""


@dataclass(frozen=True, slots=True)
class Link:
    """One sandbox's way out."""

    number: int
    interface: str
    gateway: str
    address: str

    def order(self) -> list[str]:
        return [self.interface, self.gateway, self.address]


class Nat:
    """Of one worker. Nothing is touched before the first take()."""

    def __init__(self, instance: str, opened: Sequence[str] = (), mark: Path | None = None) -> None:
        """`opened` are networks that would be closed otherwise; `mark` is a file that is there
        while our rules are."""
        digits = f"{zlib.crc32(instance.encode()):08x}"
        self.table = f"hearth_{digits}"
        self.prefix = f"hv{digits[:6]}"
        self._mark = mark
        self._opened = opened
        self._block: ipaddress.IPv4Network | None = None
        self._opening = asyncio.Lock()
        self._out = 0
        self._used = 0
        self._returned: list[int] = []

    async def take(self) -> Link | Slirp:
        """Raises NatRefused."""
        if os.geteuid() != 0:
            return self._slirp()
        async with self._opening:
            if self._block is None:
                self._block = await self._open()
        if self._returned:
            number = heapq.heappop(self._returned)
        elif self._used < self._block.num_addresses // ADDRESSES_EACH:
            number = self._used
            self._used += 1
        else:
            raise NatRefused("every address for sandboxes with the network nat is taken")
        self._out += 1
        first = self._block.network_address + number * ADDRESSES_EACH
        return Link(number, f"{self.prefix}{number:x}", str(first + 1), str(first + 2))

    def give(self, link: Link | Slirp) -> None:
        if isinstance(link, Slirp):
            return
        self._out -= 1
        heapq.heappush(self._returned, link.number)

    def _slirp(self) -> Slirp:
        why = why_not()
        if why:
            raise NatRefused(why)
        with Netlink() as here:
            own = here.addresses()
        servers = Path("/etc/resolv.conf")
        return slirp.slirp(
            self._opened, sorted(own), servers.resolve() if servers.exists() else None
        )

    async def close(self) -> None:
        """Take the rules away, if nobody has a link any more. The next take() makes them anew."""
        if self._block is not None and not self._out:
            self._block = None
            await self._remove()

    async def clear_leftovers(self) -> None:
        """Of a worker of this instance that was killed."""
        if self._mark is not None and self._mark.exists():
            await self._remove()

    async def _remove(self) -> None:
        try:
            await _nft(f"table inet {self.table} {{}}\ndelete table inet {self.table}\n")
        except NatRefused as error:
            log.warning("rules were left behind", table=self.table, error=error)
            return
        if self._mark is not None:
            self._mark.unlink(missing_ok=True)

    def why_not(self) -> str:
        """See why_not() below."""
        return why_not()

    async def _open(self) -> ipaddress.IPv4Network:
        why = why_not()
        if why:
            raise NatRefused(why)
        try:
            with Netlink() as here:
                taken = here.addresses()
        except OSError as error:
            raise NatRefused(f"the network nat cannot be had here: {error}") from error
        block = free_block(taken, zlib.crc32(self.table.encode()))
        servers = name_servers()
        rules = Rules(self.table, self.prefix, str(block), tuple(self._opened), servers)
        if self._mark is not None:
            self._mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._mark.touch()
        await _nft(rules.text())
        log.info("network nat is ready", table=self.table, block=block, name_servers=servers)
        return block


@dataclass(frozen=True, slots=True)
class Rules:
    table: str
    prefix: str
    block: str
    opened: tuple[str, ...]
    servers: tuple[str, ...]

    def text(self) -> str:
        """For `nft -f`: all of it or nothing comes into force, and an older table goes."""
        ours, theirs = f'iifname "{self.prefix}*"', f'oifname "{self.prefix}*"'
        dns = accept(ours, self.servers, port=53)
        opened = accept(ours, self.opened)
        chains = {
            "input": [
                "type filter hook input priority -10; policy accept;",
                f"{ours} ct state established,related accept",
                *dns,
                *refuse(ours),
            ],
            "forward": [
                "type filter hook forward priority -10; policy accept;",
                f"{theirs} ct state established,related accept",
                *refuse(theirs),
                *refuse(f"{ours} meta nfproto ipv6"),
                f"{ours} ip saddr != {self.block} drop",
                *dns,
                *opened,
                *refuse(f"{ours} ip daddr {_set(NEARBY)}"),
            ],
            "postrouting": [
                "type nat hook postrouting priority 100; policy accept;",
                f'ip saddr {self.block} oifname != "{self.prefix}*" masquerade',
            ],
        }
        body = "".join(
            f" chain {name} {{\n" + "".join(f"  {rule}\n" for rule in rules) + " }\n"
            for name, rules in chains.items()
        )
        name = f"table inet {self.table}"
        return f"{name} {{}}\ndelete {name}\n{name} {{\n{body}}}\n"


def obstacle() -> tuple[str, str]:
    """Why this worker cannot have the network nat, and what helps; empty if it can, as far as one
    can see."""
    if os.geteuid() != 0:
        return slirp.obstacle()
    if _nft_program() is None:
        return "the network nat needs nftables", "apt install nftables"
    if _read(_FORWARD) != "1":
        return "this machine does not forward packets", "sysctl -w net.ipv4.ip_forward=1"
    return "", ""


def why_not() -> str:
    why, fix = obstacle()
    return f"{why} ({fix})" if why else ""


def free_block(taken: set[str], start: int) -> ipaddress.IPv4Network:
    """The first from the `start`th on that none of these addresses is in. Raises NatRefused."""
    blocks = list(RANGE.subnets(new_prefix=BLOCK_PREFIX))
    used = {ipaddress.IPv4Address(address) for address in taken}
    for number in range(len(blocks)):
        block = blocks[(start + number) % len(blocks)]
        if not any(address in block for address in used):
            return block
    raise NatRefused(f"every block of {RANGE} is in use on this machine")


def resolver_file() -> Path | None:
    """The file that says which name servers there are, for somebody elsewhere: none on loopback."""
    return next((file.resolve() for file in _RESOLVER_FILES if _servers(file)), None)


def name_servers() -> tuple[str, ...]:
    file = resolver_file()
    return _servers(file) if file else ()


def _servers(file: Path) -> tuple[str, ...]:
    found = []
    for line in _read(file).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word != "nameserver":
            continue
        try:
            address = ipaddress.ip_address(rest.strip())
        except ValueError:
            continue
        if address.version == 4 and not address.is_loopback:
            found.append(str(address))
    return tuple(found)


def _set(members: Sequence[str]) -> str:
    return "{ " + ", ".join(members) + " }"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _nft_program() -> str | None:
    return shutil.which("nft", path=_WHERE)


async def _nft(commands: str) -> None:
    """Raises NatRefused."""
    program = _nft_program()
    if program is None:
        raise NatRefused("nft has gone")
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            "-f",
            "-",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(_NFT_S):
            said, _ = await process.communicate(commands.encode())
    except (OSError, TimeoutError) as error:
        raise NatRefused(f"nft failed: {error!r}") from error
    if process.returncode != 0:
        raise NatRefused(f"nft failed: {said.decode(errors='replace').strip()[:500]}")
