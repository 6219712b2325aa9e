"""How much of this machine may functions use? Measured, not configured."""

import os
from dataclasses import dataclass
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
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
    for line in _MEMINFO.read_text().splitlines():
        row, _, value = line.partition(":")
        if row == name:
            return int(value.split()[0]) // 1024
    raise KeyError(name)
