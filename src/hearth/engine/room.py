"""Is there room for what the engine writes? Asked of the file system, and tried."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOM_BYTES_MIN: Final = 1024 * 1024
TRIAL_BYTES: Final = 64 * 1024
TRIAL_NAME: Final = "hearth-room.new"
MB: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    directory: Path
    free_bytes: int
    refusal: str = ""
    """What the system said to the trial; empty if the bytes got to the disk."""

    @property
    def is_enough(self) -> bool:
        return not self.refusal and self.free_bytes >= ROOM_BYTES_MIN

    def __str__(self) -> str:
        """For whoever is refused, too: without the path."""
        free = f"{self.free_bytes / MB:.1f} MB are free where state is kept"
        return f"{self.refusal}; {free}" if self.refusal else free


def measure(directory: Path) -> Room:
    """Blocks for one small write with fsync: quotas and read-only mounts show in nothing else."""
    refusal = ""
    trial = directory / TRIAL_NAME
    free_bytes = 0
    try:
        found = os.statvfs(directory)
        free_bytes = found.f_bavail * found.f_frsize
        with trial.open("wb") as file:
            file.write(bytes(TRIAL_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        refusal = error.strerror or str(error)
    finally:
        _remove(trial)
    return Room(directory=directory, free_bytes=free_bytes, refusal=refusal)


def _remove(trial: Path) -> None:
    try:
        trial.unlink(missing_ok=True)
    except OSError:  # as where nothing can be written: the trial has said so
        return
