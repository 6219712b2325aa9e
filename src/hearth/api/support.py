"""How well does Hearth answer an operation? Three answers and no fourth; see compatibility.py."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Status(StrEnum):
    WORKS = "works"
    WORKS_BUT = "works but"
    UNSUPPORTED = "not supported"


@dataclass(frozen=True, slots=True)
class Support:
    """`note`: what does not work, or what the operation waits for."""

    status: Status
    note: str = ""


WORKS: Final = Support(Status.WORKS)


def works(*names: str) -> dict[str, Support]:
    return dict.fromkeys(names, WORKS)


def works_but(note: str, *names: str) -> dict[str, Support]:
    return dict.fromkeys(names, Support(Status.WORKS_BUT, note))


def unsupported(note: str, *names: str) -> dict[str, Support]:
    return dict.fromkeys(names, Support(Status.UNSUPPORTED, note))
