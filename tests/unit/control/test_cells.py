"""What is a caller told when the engine does not write?"""

import pytest

from fakes.virtual_time import run_in_virtual_time
from hearth.control.cells import Cells
from hearth.control.replica import Replica
from hearth.engine.memory import MemoryEngine, Outage
from hearth.model.errors import InternalFailure


@pytest.mark.parametrize(
    ("outage", "text"),
    [
        (Outage.NO_WRITES, "The engine takes no writes at present: the disk is full."),
        (Outage.UNREACHABLE, "The Lambda service encountered an internal error."),
    ],
)
def test_that_writes_are_refused_at_present_is_said(outage: Outage, text: str) -> None:
    async def scenario() -> None:
        engine = MemoryEngine()
        bucket = await engine.bucket("META")
        cells = Cells(bucket, Replica(bucket))
        engine.outage = outage
        with pytest.raises(InternalFailure) as written:
            await cells.write("b", b"2", None, b"2".__eq__)
        assert (written.value.message, written.value.status) == (text, 500)

    run_in_virtual_time(scenario())
