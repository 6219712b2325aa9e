"""How does `hearth mappings` see what runs? One route of the admin API.

GET  /mappings                                                   list of MappingRow
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from hearth.api.admin import Parameters, Routes


class MappingRow(msgspec.Struct, frozen=True, kw_only=True):
    """One event source mapping. Counts are records, since the start of Hearth."""

    uuid: str
    account: str
    region: str
    function: str
    """With its qualifier, if it has one."""
    source: str
    """Its ARN."""
    state: str
    result: str
    pollers: int
    running: int
    """Batches that its function has at present."""
    polled: int
    filtered: int
    invoked: int
    failed: int
    dropped: int


class MappingTable(Protocol):
    """What this needs of the platform; app supplies it."""

    def rows(self) -> Sequence[MappingRow]: ...


def mapping_routes(table: MappingTable) -> Routes:
    async def list_mappings(_: Parameters) -> Sequence[MappingRow]:
        return table.rows()

    return {"/mappings": ("GET", list_mappings)}
