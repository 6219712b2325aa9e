"""What does this machine give? Findings in plain words, each with the command that helps."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """`what`: two or three words ("memory limit"); `detail`: what was found, a plain sentence;
    `fix`: the command or the step that makes it better, empty where nothing is to be done."""

    level: Level
    what: str
    detail: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    findings: tuple[Finding, ...]
    functions_can_be_sandboxed: bool
    """By the sandbox that `hearth up` would choose with these settings."""
