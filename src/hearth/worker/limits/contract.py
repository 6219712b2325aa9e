"""What limits a sandbox's memory, CPU and processes? The seam between sandboxes and the kernel.

    limits = find_limits(instance)                best of: cgroup v2, cgroup v1, watched
    cell = limits.create(name, bounds, tmp_used)  made before anything runs
    cell.entry                                    how the first process gets in: by itself
    cell.began(pid) ... cell.ended()              a program runs
    cell.freeze() ... cell.thaw()                 ... and stands still
    cell.remove()                                 nothing is left

Memory. Lambda does not count /tmp, but the kernel charges its pages like any other memory. So the
kernel's own limit is memory + /tmp, and whoever is above `memory` *without* /tmp and without what
the kernel may drop at will (cached files) is caught by a look every 50 ms (`is_exceeded`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

MB: Final = 1 << 20
# One whole CPU at this size: https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
MEMORY_MB_PER_CPU: Final = 1769
CPU_PERIOD_US: Final = 20_000
CPU_QUOTA_US_MIN: Final = 1_000  # the kernel takes no less

FULL_LOOK_EVERY: Final = 10
"""So often a peak is measured even if the kernel's sum has not grown: what is counted may have, in
place of a cached file or of one in /tmp."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    memory_bytes: int
    tmp_bytes: int
    processes_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a sandbox's first process does before anything else. Paths are the host's."""

    cgroup_tasks: tuple[str, ...] = ()
    """v1: it writes itself into these."""
    cgroup_directory: str | None = None
    """v2: it is born in this."""
    rlimits: tuple[tuple[int, int], ...] = ()
    processes_in_namespace: int | None = None
    """RLIMIT_NPROC, where no cgroup counts processes. To be set inside the new user namespace: it
    counts those of a uid in a namespace, and outside others may have the same uid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Without /tmp and cached files. The peak is since the last reset_peak()."""

    memory_bytes: int
    memory_peak_bytes: int
    cpu_s: float


class Cell(Protocol):
    """The limits of one sandbox."""

    @property
    def entry(self) -> Entry: ...

    def began(self, pid: int) -> None:
        """A program runs; `pid` is the parent of all its processes."""
        ...

    def ended(self) -> None:
        """It, and all it left, are gone."""
        ...

    def freeze(self) -> None:
        """Nothing in it runs any more, until thaw(). Raises OSError. See freezing.py: what is to be
        killed is thawed first."""
        ...

    def thaw(self) -> None:
        """Does nothing to what is not frozen. Raises OSError."""
        ...

    def rebound(self, bounds: Bounds) -> None:
        """Other bounds for memory and /tmp than it was made with. `entry` may change with them.
        Raises OSError."""
        ...

    def give_way(self, *, gives_way: bool) -> None:
        """Whether others go first where CPU is short. Raises OSError."""
        ...

    def limit_cpu(self, memory_mb: int | None) -> None: ...

    def usage(self) -> Usage: ...

    def peak_bytes(self) -> int:
        """usage().memory_peak_bytes, for who asks often: looks only for what may have grown, and
        in full every FULL_LOOK_EVERY times."""
        ...

    def reset_peak(self) -> None: ...

    def oom_kills(self) -> int:
        """How often the kernel has killed in here because memory ran out."""
        ...

    def is_exceeded(self) -> bool:
        """Whether it holds more memory than it may, right now. Cheap: asked every 50 ms."""
        ...

    async def remove(self) -> None:
        """Give everything back. Only when nothing runs in it; safe to call twice."""
        ...


class Limits(Protocol):
    """One way to limit, on this machine."""

    @property
    def memory(self) -> str:
        """In words that `hearth doctor` prints: `cgroup v2`, ..."""
        ...

    @property
    def cpu(self) -> str: ...

    @property
    def freezer(self) -> str: ...

    @property
    def directories(self) -> tuple[str, ...]:
        """Where the cells are made; what is to be removed if this process cannot."""
        ...

    def create(self, name: str, bounds: Bounds, tmp_used: Callable[[], int]) -> Cell:
        """Raises OSError. `tmp_used` tells the bytes in the sandbox's /tmp."""
        ...

    def close(self) -> None:
        """Give back what `create` needed, when every cell has been removed."""
        ...


def cpu_quota_us(memory_mb: int) -> int:
    """CPU microseconds in each CPU_PERIOD_US for a function of this size."""
    return max(CPU_QUOTA_US_MIN, CPU_PERIOD_US * memory_mb // MEMORY_MB_PER_CPU)
