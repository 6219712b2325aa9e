"""Which cases are there, and whose facts stay in memory? Those used last, up to a size."""

from typing import Final

from hearth.durable.case import Case
from hearth.durable.store import Record, Store

HELD_BYTES_MAX: Final = 64 * 1024 * 1024


class Shelf:
    def __init__(self, held_bytes_max: int = HELD_BYTES_MAX) -> None:
        self._held_bytes_max = held_bytes_max
        self._cases: dict[str, Case] = {}
        self._held: dict[str, int] = {}
        """Their sizes, the least recently used first."""
        self._held_bytes = 0

    def case(self, record: Record, store: Store) -> Case:
        """The only one of this execution."""
        case = self._cases.get(record.id)
        if case is None:
            case = self._cases[record.id] = Case(record, store)
        return case

    def used(self, case: Case) -> None:
        """Its facts are in memory now; perhaps others' no longer."""
        self._held_bytes -= self._held.pop(case.id, 0)
        size = self._held[case.id] = case.size_bytes
        self._held_bytes += size
        if self._held_bytes > self._held_bytes_max:
            self._make_room()

    def drop(self, id_: str) -> None:
        self._held_bytes -= self._held.pop(id_, 0)
        self._cases.pop(id_, None)

    def _make_room(self) -> None:
        for id_ in list(self._held)[:-1]:
            case = self._cases.get(id_)
            if case is None or not case.is_idle:
                continue
            case.forget()
            self._held_bytes -= self._held.pop(id_)
            if case.ended.is_set():
                del self._cases[id_]
            if self._held_bytes <= self._held_bytes_max:
                return
