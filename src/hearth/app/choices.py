"""Which parts do these settings mean? From settings to a sandbox backend, a socket, runtimes."""

import hashlib
import platform
import resource
import secrets
from collections.abc import Callable
from pathlib import Path

from hearth.base.clock import Clock, SystemClock
from hearth.base.flow import Rate
from hearth.base.http1 import HttpLimits
from hearth.base.jobs import Jobs
from hearth.model import limits
from hearth.model.ids import SandboxId
from hearth.model.isolation import Network, Tier
from hearth.runtimes import interpreters
from hearth.runtimes.registry import Runtimes
from hearth.settings import NodeSdk, SandboxChoice, Settings, StartRefused, Surroundings
from hearth.worker.sandboxes.bubblewrap import BubblewrapBackend
from hearth.worker.sandboxes.contract import Capabilities, SandboxBackend
from hearth.worker.sandboxes.nat import Nat
from hearth.worker.sandboxes.nat import why_not as nat_why_not
from hearth.worker.sandboxes.oci import OciBackend
from hearth.worker.sandboxes.process import ProcessBackend
from hearth.worker.sandboxes.stems import StemStatistics, together
from hearth.worker.sandboxes.tiered import TieredBackend
from hearth.worker.sandboxes.zygote import ZygoteBackend
from hearth.worker.stem_policy import StemBounds

RANDOM_BYTES = 4096
CONNECTIONS_MAX = 4096


def choose_backend(settings: Settings, clock: Clock, jobs: Jobs) -> TieredBackend:
    """The backend that these settings ask for; `open` tells whether it works here."""
    instance = instance_of(settings.state)
    directory = settings.paths.run / "sandboxes"
    nat = Nat(instance, settings.nat_allow, settings.paths.run / "nat")
    default = tier_of(settings.sandbox)

    def make(tier: Tier) -> SandboxBackend:
        # The platform's own has the plain name: it is the one that earlier versions had too.
        name = instance if tier is default else f"{instance}{tier}"
        if tier is Tier.PROCESS:
            return ProcessBackend(name, directory, clock, jobs)
        backend = _make_isolating(tier, name, directory, clock, jobs, settings)
        backend.nat = nat
        backend.uid_share = (list(Tier).index(tier), len(Tier))
        return backend

    return TieredBackend(default, settings.network, make, nat)


def tier_of(choice: SandboxChoice) -> Tier:
    return Tier.ZYGOTE if choice is SandboxChoice.AUTO else Tier(choice)


def _make_isolating(
    tier: Tier, instance: str, directory: Path, clock: Clock, jobs: Jobs, settings: Settings
) -> BubblewrapBackend:
    stems = StemBounds(floor=settings.stems_min, memory_mb=settings.stems_mb)
    if tier is Tier.BUBBLEWRAP:
        return BubblewrapBackend(instance, directory, clock, jobs)
    if tier is Tier.ZYGOTE:
        return ZygoteBackend(instance, directory, clock, jobs, stems)
    return OciBackend(instance, directory, clock, jobs, runtime=tier, stems=stems)


def stems_of(backend: TieredBackend) -> StemStatistics:
    """Of all tiers that are open and have such a thing."""
    return together(
        [own.stems() for own in backend.opened if isinstance(own, ZygoteBackend | OciBackend)]
    )


def instance_of(state: Path) -> str:
    """A short name for this state directory: what leftovers of an earlier run are known by."""
    return hashlib.sha256(str(state).encode()).hexdigest()[:12]


def refuse_unusable(capabilities: Capabilities) -> None:
    """Raises StartRefused if functions could not be sandboxed."""
    if capabilities.usable:
        return
    fix = f" {capabilities.fix}" if capabilities.fix else ""
    raise StartRefused(
        f"Functions cannot be sandboxed on this machine: {capabilities.why_not}{fix}\n"
        "`hearth doctor` says more. To run functions WITHOUT any isolation, as plain processes "
        "that can read and do whatever you can, start with --sandbox process."
    )


def refuse_unreachable(settings: Settings) -> None:
    """Raises StartRefused if functions could not have the network that they are to have."""
    if settings.network is Network.NAT and (why := nat_why_not()):
        raise StartRefused(f"--network nat cannot be had here: {why}.")


def make_runtimes(
    surroundings: Surroundings, jobs: Jobs, node_sdk: NodeSdk = NodeSdk.BUNDLED
) -> Runtimes:
    return Runtimes(
        surroundings.cache / "runtimes",
        surroundings.search_path,
        surroundings.home,
        platform.machine(),
        jobs,
        with_node_sdk=node_sdk is NodeSdk.BUNDLED,
    )


def compiler(surroundings: Surroundings) -> Callable[[str], Path | None]:
    """Finds the interpreter that compiles a package for a runtime. Blocks."""

    def find(runtime: str) -> Path | None:
        found = interpreters.find(runtime, surroundings.search_path, surroundings.home)
        return None if found is None else found.executable

    return find


def open_files_max() -> int | None:
    """How many this process may have open now; None for any number."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def edge_limits(files_max: int | None) -> HttpLimits:
    """What clients may cost. At most half of the open files are for their connections, idle ones
    too: a sandbox holds four, and with none left nothing works, not even the engine."""
    connections_max = CONNECTIONS_MAX if files_max is None else min(CONNECTIONS_MAX, files_max // 2)
    return HttpLimits(
        body_bytes_max=limits.REQUEST_BODY_BYTES_MAX, connections_max=max(1, connections_max)
    )


def stream_rate(settings: Settings) -> Rate | None:
    """How fast a streamed response may go, once its first megabytes are through."""
    if not settings.stream_mb_per_s:
        return None
    return Rate(settings.stream_mb_per_s * 1024 * 1024, limits.STREAM_BURST_BYTES)


class Randomness:
    """Unpredictable bytes, fetched from the kernel for many ids at a time: an invoke needs two ids,
    and a system call for each would be a tenth of its decisions."""

    def __init__(self, read: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._read = read
        self._hex = ""
        self._at = 0

    def digits(self, count: int) -> str:
        """So many lower-case hex digits, given to nobody else."""
        at = self._at
        if at + count > len(self._hex):
            self._hex, at = self._read(RANDOM_BYTES).hex(), 0
        self._at = at + count
        return self._hex[at : at + count]


_randomness = Randomness()


def new_id() -> str:
    """A random UUID (version 4), as a request id or a revision."""
    d = _randomness.digits(32)
    variant = "89ab"[int(d[16], 16) & 3]
    return f"{d[:8]}-{d[8:12]}-4{d[13:16]}-{variant}{d[17:20]}-{d[20:]}"


def new_span_id() -> str:
    """16 hex digits, not all of them 0."""
    digits = _randomness.digits(16)
    return digits if digits.strip("0") else new_span_id()


def new_sandbox_id() -> SandboxId:
    return SandboxId(secrets.token_hex(8))


class TraceIds:
    """`Root=1-<epoch seconds, hex>-<24 hex digits>`: neither a parent nor a decision yet.

    https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader
    """

    def __init__(self, clock: SystemClock) -> None:
        self._clock = clock

    def new(self) -> str:
        epoch_s = self._clock.epoch_ms() // 1000
        return f"Root=1-{epoch_s:08x}-{_randomness.digits(24)}"
