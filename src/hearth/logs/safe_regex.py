"""How is a caller's regular expression searched for, when the text is a function's?

Python's `re` tries all ways to match: with three stars and a long line it is at it for hours, and
nothing else of this process runs meanwhile. So it is asked only where the text is too short for
that. Else all ways are followed at once, character by character: slower, but never more than
proportional to the text.

AWS's expressions have no groups, so one is alternatives of sequences of atoms that may repeat.
Each atom, as often as it may, is a bit of an integer; those that a repetition lets pass are in
`skips`, those that may come again in `loops`. What a character makes of a set of bits is
remembered: a set is a state of the automaton that nobody has to write down first.
Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
"""

import re
from dataclasses import dataclass
from typing import Final

LENGTH_MAX: Final = 256
ATOMS_MAX: Final = 1_000
"""With repetitions written out."""
STATES_MAX: Final = 2_000
STEPS_MAX: Final = 1_000_000
"""Tries that `re` may need: a few milliseconds."""

_ATOM: Final = re.compile(
    r"\[\^?\]?(?:\\.|[^\]\\])*\]"  # a class
    r"|\\x[0-9a-fA-F]{2}|\\[dDsSwWtnrfv]|\\[^0-9A-Za-z]"
    r"|\{(?![0-9,}])|[^\\^$*+?|(){\[]"
)
_REPEATED: Final = re.compile(r"[*+?]|\{(\d{1,4})(,?)(\d{0,4})\}")


class SafeRegex:
    """Raises ValueError for what is none, or is none of AWS's."""

    def __init__(self, expression: str) -> None:
        if len(expression) > LENGTH_MAX:
            raise ValueError(f"Unsupported regular expression: {expression}")
        parsed = _Parsed(expression)
        try:
            self._quick = re.compile(expression, re.ASCII)
        except (re.error, FutureWarning) as error:
            raise ValueError(f"Invalid regular expression: {expression}") from error
        self._choices, self._places = parsed.choices, len(parsed.places)
        self._automaton = _Automaton(parsed)

    def is_in(self, text: str) -> bool:
        """Whether any part of the text matches."""
        if len(text) ** (self._choices + 1) * self._places <= STEPS_MAX:
            return self._quick.search(text) is not None
        return self._automaton.search(text)


@dataclass(slots=True)
class _Place:
    """One atom, at one of the times that it may be there."""

    atom: str
    may_miss: bool = False
    may_repeat: bool = False


class _Parsed:
    """The alternatives, one after another in one list; bits of a set are places in it."""

    def __init__(self, expression: str) -> None:
        self.places: list[_Place] = []
        self.choices = 0
        """How many repetitions may be of several lengths."""
        self.starts: list[tuple[int, bool]] = []
        """Where alternatives begin, and whether only at the text's beginning."""
        self.ends: list[tuple[int, bool]] = []
        """Behind their last places, and whether only at the text's end."""
        self._expression = expression
        at = 0
        while True:
            at = self._alternative(at)
            if at >= len(expression):
                return
            at += 1

    def _alternative(self, at: int) -> int:
        """Up to the end or the next `|`."""
        text = self._expression
        is_first = text.startswith("^", at)
        at += is_first
        self.starts.append((len(self.places), is_first))
        while at < len(text) and text[at] not in "|$":
            atom = _ATOM.match(text, at)
            if atom is None:
                raise self._unsupported()
            at = self._add(atom[0], atom.end())
            if len(self.places) > ATOMS_MAX:
                raise self._unsupported()
        is_last = text.startswith("$", at)
        at += is_last
        if at < len(text) and text[at] != "|":
            raise self._unsupported()
        self.ends.append((len(self.places), is_last))
        self.places.append(_Place(""))  # nothing is it: what comes behind an alternative's last
        return at

    def _add(self, atom: str, at: int) -> int:
        """An atom as often as it says."""
        repeated = _REPEATED.match(self._expression, at)
        if repeated is None:
            self.places.append(_Place(atom))
            return at
        least, most = _bounds(repeated)
        if (most is not None and least > most) or max(least, most or 0) > ATOMS_MAX:
            raise self._unsupported()
        self.choices += least != most
        self.places += [_Place(atom) for _ in range(least)]
        if most is not None:
            self.places += [_Place(atom, may_miss=True) for _ in range(most - least)]
        elif least:
            self.places[-1].may_repeat = True
        else:
            self.places.append(_Place(atom, may_miss=True, may_repeat=True))
        return repeated.end()

    def _unsupported(self) -> ValueError:
        return ValueError(f"Unsupported regular expression: {self._expression}")


def _bounds(repeated: re.Match[str]) -> tuple[int, int | None]:
    """Least and most; None is without an end."""
    match repeated[0]:
        case "*":
            return 0, None
        case "+":
            return 1, None
        case "?":
            return 0, 1
        case _:
            least = int(repeated[1])
            if not repeated[2]:
                return least, least
            return least, int(repeated[3]) if repeated[3] else None


class _Automaton:
    """`wanted` below: the places whose atom may be the next character."""

    def __init__(self, parsed: _Parsed) -> None:
        places = parsed.places
        self._atoms = [re.compile(one.atom, re.ASCII) if one.atom else None for one in places]
        self._loops = sum(1 << i for i, one in enumerate(places) if one.may_repeat)
        self._skips = sum(1 << i for i, one in enumerate(places) if one.may_miss)
        self._anywhere = self._passed(sum(1 << i for i, is_first in parsed.starts if not is_first))
        self._first = self._passed(sum(1 << i for i, _ in parsed.starts))
        self._over = sum(1 << i for i, is_last in parsed.ends if not is_last)
        self._over_at_end = sum(1 << i for i, _ in parsed.ends)
        self._fitting: dict[str, int] = {}
        self._next: dict[tuple[int, str], int] = {}

    def search(self, text: str) -> bool:
        wanted = self._first
        known, over, last = self._next, self._over, len(text) - 1
        for at, character in enumerate(text):
            if wanted & over or (at == last and character == "\n" and wanted & self._over_at_end):
                return True
            after = known.get((wanted, character))
            wanted = self._step(wanted, character) if after is None else after
        return bool(wanted & self._over_at_end)

    def _step(self, wanted: int, character: str) -> int:
        found = wanted & self._places_of(character)
        after = self._passed((found << 1) | (found & self._loops)) | self._anywhere
        if len(self._next) >= STATES_MAX:
            self._next.clear()
        self._next[wanted, character] = after
        return after

    def _passed(self, wanted: int) -> int:
        """With the places behind those that may be missing."""
        new = wanted
        while new := (new & self._skips) << 1 & ~wanted:
            wanted |= new
        return wanted

    def _places_of(self, character: str) -> int:
        """Those whose atom it is."""
        fitting = self._fitting.get(character)
        if fitting is None:
            fitting = sum(
                1 << i
                for i, atom in enumerate(self._atoms)
                if atom is not None and atom.fullmatch(character)
            )
            if len(self._fitting) >= STATES_MAX:
                self._fitting.clear()
            self._fitting[character] = fitting
        return fitting
