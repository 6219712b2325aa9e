"""How much of this machine may functions use? Measured, not configured."""

import os
from dataclasses import dataclass

_MEMINFO = "/proc/meminfo"
_BYTES_MAX = 16 << 10
STARTS_PER_CPU = 2


@dataclass(frozen=True, slots=True)
class MachineCapacity:
    """Of the machine, the part `memory_fraction` is for functions."""

    memory_fraction: float
    cpu_count: int
    total_mb: int

    @classmethod
    def measure(cls, memory_fraction: float) -> "MachineCapacity":
        return cls(memory_fraction, len(os.sched_getaffinity(0)), meminfo_mb("MemTotal"))

    @property
    def memory_mb(self) -> int:
        return int(self.total_mb * self.memory_fraction)

    @property
    def starting_max(self) -> int:
        return STARTS_PER_CPU * self.cpu_count

    def available_mb(self) -> int:
        """What could be used now without swapping, short of what is kept for the machine."""
        kept_mb = self.total_mb - self.memory_mb
        return max(0, meminfo_mb("MemAvailable") - kept_mb)


def meminfo_mb(name: str) -> int:
    """A row of /proc/meminfo. Raises KeyError if the kernel has no such row."""
    fd = os.open(_MEMINFO, os.O_RDONLY | os.O_CLOEXEC)  # at each start: Python's files are dear
    try:
        text = os.read(fd, _BYTES_MAX)
    finally:
        os.close(fd)
    _, found, rest = (b"\n" + text).partition(f"\n{name}:".encode())
    if not found:
        raise KeyError(name)
    return int(rest.split(None, 1)[0]) // 1024
