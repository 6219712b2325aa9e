"""The invoke path with real rooms and fake workers, one behaviour at a time."""

import asyncio

from fakes.virtual_time import run_in_virtual_time
from fakes.worker import Habits
from simulation.world import world


def test_a_burst_of_200_ends_well_with_few_starts_at_a_time() -> None:
    async def scenario() -> None:
        async with world(habits=Habits(starting_max=4)) as w:
            await asyncio.gather(*(w.invoke() for _ in range(200)))
            assert w.audit.outcomes == {"ok": 200}

    run_in_virtual_time(scenario())
