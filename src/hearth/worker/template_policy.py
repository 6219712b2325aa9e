"""Which templates are kept, and how many of their forks wait for a start that nobody asked for yet?

Pure: told what there is, what was wanted and when, it answers what to do. A shell (templates.py,
snapshots.py) does it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from hearth.worker.stem_policy import Demand, stems_wanted

TEMPLATES_MAX: Final = 16
MEMORY_MB_MAX: Final = 1024
"""Of all templates together, without what their forks have copied."""
IDLE_S_MAX: Final = 3600.0
FORKS_FLOOR: Final = 1
FORKS_MAX: Final = 6
"""That wait, of one template."""
FORK_MB: Final = 16
"""What one that waits is taken to hold of its own."""

Version = TypeVar("Version")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A template, for the decision whether it stays."""

    used_s: float
    """When an environment was last wanted of it."""
    memory_mb: int


def to_end(templates: Mapping[Version, Kept], now_s: float) -> list[Version]:
    """Those that were not wanted for long, and those wanted longest ago where there are too many
    or they hold too much. The one that was wanted last stays, however large it is."""
    ended: list[Version] = []
    memory_mb = 0
    by_use = sorted(templates, key=lambda version: templates[version].used_s, reverse=True)
    for place, version in enumerate(by_use):
        kept = templates[version]
        is_idle = now_s - kept.used_s >= IDLE_S_MAX
        is_too_much = place > 0 and memory_mb + kept.memory_mb > MEMORY_MB_MAX
        if is_idle or is_too_much or place >= TEMPLATES_MAX:
            ended.append(version)
        else:
            memory_mb += kept.memory_mb
    return ended


def forks_wanted(demand: Demand, make_s: float, now_s: float) -> int:
    """How many should wait: as stems do, within narrower bounds."""
    return min(FORKS_MAX, max(FORKS_FLOOR, stems_wanted(demand, make_s, FORKS_FLOOR, now_s)))
